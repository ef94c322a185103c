"""The parts of SciPy that programs differentiate and compile: special functions, statistics, linear algebra, ...

Submodules are imported when they are first used: ``tracejit.scipy.stats.norm.logpdf`` works without an import of its
own.
"""
from __future__ import annotations

import importlib

__all__ = [
    "cluster", "fft", "integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial",
    "special", "stats",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'tracejit.scipy' has no attribute {name!r}; there are {', '.join(__all__)}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return __all__

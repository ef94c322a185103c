"""What `eval` rules compute with: NumPy and SciPy functions at the precision that compiled code has."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit.ir.types import is_float


def is_half(dtype: np.dtype) -> bool:
    return dtype.itemsize == 2 and is_float(dtype)


def in_f32(f: Callable, *xs: np.ndarray) -> np.ndarray:
    """f of arrays, which for 16-bit floats is computed in float32 and rounded once."""
    dtype = xs[0].dtype
    if not is_half(dtype):
        return np.asarray(f(*xs), dtype)
    return np.asarray(f(*[x.astype(np.float32) for x in xs])).astype(dtype)


def special(name: str) -> Callable:
    """A function of scipy.special, which is imported when first needed: compiled programs never need it."""
    import scipy.special
    return getattr(scipy.special, name)


def lapack(name: str, *arrays: np.ndarray) -> Callable:
    """SciPy's wrapper of a LAPACK routine for arrays of this dtype; as slow to import as scipy.special."""
    from scipy.linalg.lapack import get_lapack_funcs
    return get_lapack_funcs((name,), arrays)[0]

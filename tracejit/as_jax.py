"""`import jax` -> tracejit, in this process: programs and libraries written for JAX's public API run unchanged.

    import tracejit
    tracejit.install_as_jax()
    import optax                       # its `import jax.numpy as jnp` finds tracejit.numpy

`import jax.x.y` gives the module `tracejit.x.y` itself, so arrays, classes and registrations are shared with programs
that use tracejit by its own name. Private modules (`jax._src...`) resolve only where they have a public twin.
"""
from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tracejit
from tracejit.absent import API_VERSION, instead
from tracejit.config import config


class JaxModule(types.ModuleType):
    """The module `jax`: all names of tracejit, and the version of the API that it follows."""

    __version__ = API_VERSION
    __version_info__ = tuple(int(part) for part in API_VERSION.split("."))
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module("jax._src") if name == "_src" else getattr(tracejit, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(tracejit), "__version__", "__version_info__"})


# Private modules of JAX that widely used libraries read, and the public modules that have these names here.
PRIVATE = {"jax._src.ad_util": "tracejit.interpreters.ad", "jax._src.checkify": "tracejit.experimental.checkify",
           "jax._src.state.types": "tracejit.experimental.hijax", "jax._src.public_test_util": "tracejit.test_util",
           "jax._src.xla_bridge": "tracejit.extend.backend",
           **dict.fromkeys(("jaxlib._jax", "jaxlib.version", "jaxlib.xla_client"), "tracejit.extend.jaxlib")}
# Modules with no names of their own: packages, and private modules in which libraries look for what may be missing.
EMPTY = {"jax._src", "jax._src.state", "jax._src.compiler", "jax._src.dispatch", "jaxlib"}


# What `import jax` itself brings into sys.modules, where libraries and tools look without importing it.
LOADED_WITH_JAX = ("core", "custom_batching", "custom_derivatives", "debug", "dtypes", "errors", "image", "lax", "lax.linalg",
                   "nn", "nn.initializers", "numpy", "numpy.fft", "numpy.linalg", "ops", "random", "scipy", "sharding", "stages",
                   "tree", "tree_util", "typing")


def version_module() -> types.ModuleType:
    """The module `jax.version`."""
    made = types.ModuleType("jax.version", "The version of JAX's public API that is followed.")
    made.__version__, made.__version_info__ = JaxModule.__version__, JaxModule.__version_info__
    return made


def counterpart(name: str) -> str:
    """The module of tracejit that a module of jax stands for.

    >>> counterpart("jax.scipy.special"), counterpart("jax._src.flatten_util")
    ('tracejit.scipy.special', 'tracejit.flatten_util')
    """
    return PRIVATE.get(name) or "tracejit" + name.removeprefix("jax").replace("._src.", ".", 1)


def submodule_of(parent: str, name: str) -> types.ModuleType:
    """A module inside a package that is reached as an attribute before anything imported it."""
    try:
        return importlib.import_module(f"{parent}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(str(error)) from None


class Loader:
    """Puts the module of tracejit where the import system looks for the module of jax."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return JaxModule("jax", tracejit.__doc__) if spec.name == "jax" else None

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == "jax":
            module.version = sys.modules["jax.version"] = version_module()
            for name in LOADED_WITH_JAX:
                sys.modules[f"jax.{name}"] = importlib.import_module(f"tracejit.{name}")
            sys.modules["jax.numpy"].__name__ = "jax.numpy"  # by this name array_api_compat and SciPy know JAX's arrays
        elif module.__name__ in EMPTY:
            module.__version__ = API_VERSION
            module.__getattr__ = functools.partial(submodule_of, module.__name__)
        else:
            sys.modules[module.__name__] = importlib.import_module(counterpart(module.__name__))


class Finder:
    """A finder for `sys.meta_path` that knows jax and its modules."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None
                  ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in ("jax", "jaxlib"):
            return None
        if name != "jax" and name not in EMPTY and not exists(counterpart(name)):
            raise ModuleNotFoundError(instead(name), name=name)
        return importlib.machinery.ModuleSpec(name, Loader(), is_package=True)

    def find_distributions(self, context: importlib.metadata.DistributionFinder.Context
                           ) -> Iterable[importlib.metadata.Distribution]:
        """What `importlib.metadata.version("jax")` reads; libraries compare it with the least version they need."""
        if context.name in ("jax", "jaxlib"):
            yield Metadata(context.name)


class Metadata(importlib.metadata.Distribution):
    """The version of jax's API that tracejit follows, as an installed distribution says it."""

    def __init__(self, name: str) -> None:
        self.files_by_name = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {API_VERSION}\n"}

    def read_text(self, filename: str) -> str | None:
        return self.files_by_name.get(filename)

    def locate_file(self, path: Any) -> Path:
        return Path(tracejit.__file__).parent / path


def exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def install_as_jax(environ: Mapping[str, str] = os.environ) -> None:
    """Make `import jax` and everything under it resolve to tracejit, from here on and in this process only.

    As JAX does, 64-bit inputs are then truncated to 32 bits unless x64 is enabled: by `JAX_ENABLE_X64=1`, or
    `jax.config.update("jax_enable_x64", True)`, or by tracejit's own setting. Other `JAX_...` environment variables
    that name a setting count too. RuntimeError if JAX itself is already imported: two sorts of arrays would meet.

    >>> import tracejit
    >>> tracejit.install_as_jax()                                 # doctest: +SKIP
    >>> import jax.numpy as jnp                                   # doctest: +SKIP
    """
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if "jax" in sys.modules:
        raise RuntimeError("install_as_jax: JAX itself is already imported; call this before anything imports jax")
    if config.enable_x64 is None:
        config.update("enable_x64", False)
    config.update("wrap_callback_errors", True)
    for name in config.settings:
        if "JAX_" + name.upper() in environ:
            config.update(name, environ["JAX_" + name.upper()])
    sys.meta_path.insert(0, Finder())

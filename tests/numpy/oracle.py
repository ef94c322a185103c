"""Compares a call of tracejit.numpy with the same call of NumPy and, where it is installed, of jax.numpy."""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import tracejit.numpy as jnp

try:
    import jax.numpy as jax_numpy
except ImportError:
    jax_numpy = None


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) or (hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, type))


def convert(x: Any, to: Any) -> Any:
    """NumPy arrays in an argument, inside lists and tuples too, as arrays of another library."""
    if isinstance(x, np.ndarray):
        return to(x)
    if isinstance(x, (list, tuple)) and any(isinstance(i, (np.ndarray, list, tuple)) for i in x):
        return type(x)(convert(i, to) for i in x)
    return x


def narrow(x: Any) -> Any:
    """64-bit arguments as 32-bit ones: JAX has no others by default."""
    return convert(x, lambda v: v.astype({"int64": "int32", "float64": "float32", "complex128": "complex64"}.get(v.dtype.name, v.dtype)))


def leaves(x: Any) -> list:
    if isinstance(x, (list, tuple)):
        return [leaf for i in x for leaf in leaves(i)]
    return [x]


def tolerance(dtype: np.dtype) -> float:
    return {2: 2e-2 if dtype.name == "bfloat16" else 2e-3, 4: 2e-5, 8: 1e-11 if dtype.kind != "c" else 2e-5}.get(dtype.itemsize, 1e-11)


def assert_same(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, dtypes: bool = False,
                weak: bool = True) -> None:
    """Leaves equal in shape and value (and dtype, and weakness)."""
    actual, expected = leaves(actual), leaves(expected)
    assert len(actual) == len(expected), (actual, expected)
    for a, e in zip(actual, expected, strict=True):
        if dtypes and is_array(e):
            assert a.dtype == e.dtype, (a.dtype, e.dtype)
            assert a.weak_type == e.weak_type or a.dtype == bool or not weak, f"weak_type {a.weak_type}, expected {e.weak_type}"
        a, e = np.asarray(a), np.asarray(e)
        assert a.shape == e.shape, (a.shape, e.shape)
        if a.dtype.kind in "fcV" or e.dtype.kind in "fcV":
            tol = rtol or max(tolerance(a.dtype), tolerance(e.dtype))
            wide = np.complex128 if "c" in (a.dtype.kind, e.dtype.kind) else np.float64
            np.testing.assert_allclose(a.astype(wide), e.astype(wide), rtol=tol, atol=tol if atol is None else atol)
        else:
            np.testing.assert_array_equal(a, e)


def check(name: str, *args: Any, numpy: Any = True, jax: bool = True, rtol: float | None = None, atol: float | None = None,
          exact_dtype: bool = True, weak: bool = True, **kwargs: Any) -> None:
    """jnp.name(*args) against np.name (numpy: another function, or False) and jax.numpy.name, dtypes included."""
    function = getattr_path(jnp, name)
    args, kwargs = tuple(narrow(a) for a in args), {k: narrow(v) for k, v in kwargs.items()}
    actual = function(*convert(args, jnp.asarray), **convert_all(kwargs, jnp.asarray))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if numpy is not False:
            reference = getattr_path(np, name) if numpy is True else numpy
            assert_same(actual, reference(*args, **kwargs), rtol, atol)
        if jax and jax_numpy is not None:
            expected = getattr_path(jax_numpy, name)(*convert(args, jax_numpy.asarray), **convert_all(kwargs, jax_numpy.asarray))
            assert_same(actual, expected, rtol, atol, dtypes=exact_dtype, weak=weak)


def convert_all(kwargs: dict, to: Any) -> dict:
    return {k: convert(v, to) for k, v in kwargs.items()}


def getattr_path(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


rng = np.random.default_rng(0)


def floats(*shape: int, low: float = -3, high: float = 3, dtype: Any = "float32") -> np.ndarray:
    return rng.uniform(low, high, shape).astype(dtype)


def ints(*shape: int, low: int = -9, high: int = 9, dtype: Any = "int32") -> np.ndarray:
    return rng.integers(low, high, shape).astype(dtype)


def complexes(*shape: int, dtype: Any = "complex64") -> np.ndarray:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def bools(*shape: int) -> np.ndarray:
    return rng.random(shape) < 0.5

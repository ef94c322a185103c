"""Maps arrays to running sums, products and differences along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit import lax
from tracejit.ir.types import requested_dtype, default_dtype, is_inexact
from tracejit.numpy.compiled import compiled
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    canonical_axis,
    check_arraylike,
    check_no_out,
    convert,
    promote_dtypes,
)


def _running(
    name: str,
    a: ArrayLike,
    axis: int | None,
    dtype: DTypeLike | None,
    out: None,
    scan: Callable,
    fill_nan: int | None = None,
) -> Array:
    check_no_out(name, out)
    check_arraylike(name, a)
    x = as_array(a)
    if axis is None:
        x, axis = lax.reshape(x, (x.size,)), 0
    axis = canonical_axis(axis, x.ndim)
    if fill_nan is not None and is_inexact(x.dtype):
        x = lax.select(lax.ne(x, x), lax.full_like(x, fill_nan), x)
    result = requested_dtype(dtype) if dtype is not None else x.dtype
    if result.kind == "b":  # counted as integers, and asked for booleans told which are not 0
        running = scan(lax.convert_element_type(lax.convert_element_type(x, result), default_dtype("i")), axis)
        return running if dtype is None else lax.convert_element_type(running, result)
    return scan(lax.convert_element_type(x, result) if x.weak_type or x.dtype != result else x, axis)


@compiled
def cumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running sums along an axis (of the flattened array if axis is None).

    >>> jnp.cumsum(jnp.array([1, 2, 3]))
    Array([1, 3, 6], dtype=int32)
    """
    return _running("cumsum", a, axis, dtype, out, lax.cumsum)


@compiled
def cumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running products along an axis (of the flattened array if axis is None).

    >>> jnp.cumprod(jnp.array([1, 2, 3]))
    Array([1, 2, 6], dtype=int32)
    """
    return _running("cumprod", a, axis, dtype, out, lax.cumprod)


@compiled
def nancumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running sums with nan counted as 0.

    >>> jnp.nancumsum(jnp.array([1, jnp.nan, 3]))
    Array([1., 1., 4.], dtype=float32)
    """
    return _running("nancumsum", a, axis, dtype, out, lax.cumsum, 0)


@compiled
def nancumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
    """Running products with nan counted as 1.

    >>> jnp.nancumprod(jnp.array([2, jnp.nan, 3]))
    Array([2., 2., 6.], dtype=float32)
    """
    return _running("nancumprod", a, axis, dtype, out, lax.cumprod, 1)


def _cumulative(
    name: str,
    x: ArrayLike,
    axis: int | None,
    dtype: DTypeLike | None,
    include_initial: bool,
    scan: Callable,
    identity: int,
) -> Array:
    check_arraylike(name, x)
    x = as_array(x)
    if x.ndim == 0:
        raise ValueError(
            f"The input must be non-scalar to take a {name.replace('_', ' ')}, but a scalar was given."
        )
    if axis is None:
        if x.ndim > 1:
            raise ValueError(
                f"The input array has rank {x.ndim}, however axis was not set to an explicit value. "
                "The axis argument is only optional for one-dimensional arrays."
            )
        axis = 0
    axis = canonical_axis(axis, x.ndim)
    if dtype is None and x.dtype.kind in "iu" and x.dtype.itemsize < default_dtype("i").itemsize:
        dtype = default_dtype(x.dtype.kind)
    out = _running(name, x, axis, dtype, None, scan)
    if not include_initial:
        return out
    first = lax.full(tuple(1 if i == axis else d for i, d in enumerate(x.shape)), identity, out.dtype)
    return lax.concatenate([first, out], axis)


@compiled
def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running sums along an axis, optionally with a leading 0 (array API standard).

    >>> jnp.cumulative_sum(jnp.array([1, 2]), include_initial=True)
    Array([0, 1, 3], dtype=int32)
    """
    return _cumulative("cumulative_sum", x, axis, dtype, include_initial, lax.cumsum, 0)


@compiled
def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running products along an axis, optionally with a leading 1 (array API standard).

    >>> jnp.cumulative_prod(jnp.array([2, 3]), include_initial=True)
    Array([1, 2, 6], dtype=int32)
    """
    return _cumulative("cumulative_prod", x, axis, dtype, include_initial, lax.cumprod, 1)


@compiled
def diff(
    a: ArrayLike, n: int = 1, axis: int = -1, prepend: ArrayLike | None = None, append: ArrayLike | None = None
) -> Array:
    """The n-th differences of neighbours along an axis.

    >>> jnp.diff(jnp.array([1, 4, 9]))
    Array([3, 5], dtype=int32)
    """
    check_arraylike("diff", a)
    x = as_array(a)
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    if x.ndim == 0:
        raise ValueError("diff requires input that is at least one dimensional; got a scalar")
    if n == 0:
        return x
    axis = canonical_axis(axis, x.ndim)
    ends = [None if e is None else _as_end(e, x, axis) for e in (prepend, append)]
    parts = [p for p in (ends[0], x, ends[1]) if p is not None]
    if len(parts) > 1:
        x = lax.concatenate(promote_dtypes("diff", *parts), axis)
    for _ in range(n):
        size = x.shape[axis]
        if size == 0:
            break
        ahead, behind = lax.slice_in_dim(x, 1, size, axis=axis), lax.slice_in_dim(x, 0, size - 1, axis=axis)
        x = lax.ne(ahead, behind) if x.dtype.kind == "b" else lax.sub(ahead, behind)
    return x


def _as_end(end: ArrayLike, x: Array, axis: int) -> Array:
    check_arraylike("diff", end)
    end = as_array(end)
    return (
        end if end.ndim else lax.broadcast_in_dim(end, tuple(1 if i == axis else d for i, d in enumerate(x.shape)), ())
    )


@compiled
def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Array:
    """Differences of neighbours in the flattened array, with given values before and after.

    >>> jnp.ediff1d(jnp.array([1, 4, 9]), to_begin=0)
    Array([0, 3, 5], dtype=int32)
    """
    check_arraylike("ediff1d", ary)
    x = as_array(ary)
    x = lax.reshape(x, (x.size,))
    parts = [diff(x)]
    for values, front in ((to_begin, True), (to_end, False)):
        if values is not None:
            check_arraylike("ediff1d", values)
            parts.insert(
                0 if front else len(parts), lax.reshape(convert(as_array(values), x.dtype), (np.size(values),))
            )
    return lax.concatenate(parts, 0) if len(parts) > 1 else parts[0]

"""Maps bounds and shapes to evenly spaced numbers, grids, identities and triangles of ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype, is_float, kind_of
from tracejit.ir.types import promote as join_types
from tracejit.ir.types import type_of as type_of_any
from tracejit.numpy import promotion
from tracejit.numpy.compiled import compiled
from tracejit.numpy.creation import dtype_arg, made_at_once, place_on
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    Var,
    as_array,
    canonical_axis,
    canonical_shape,
    cast_numpy,
    check_arraylike,
    check_fits,
    concrete,
    concrete_int,
    convert,
    expand_to,
)
from tracejit.numpy.remembered import remembered
from tracejit.transforms.vmap import vmap


@remembered
def arange(
    start: Any,
    stop: Any = None,
    step: Any = None,
    dtype: DTypeLike | None = None,
    *,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Evenly spaced values in [start, stop). The bounds must be known while tracing: they fix the shape.

    >>> jnp.arange(2, 8, 3)
    Array([2, 5], dtype=int32)
    """
    if start is None and stop is None:
        raise TypeError("arange: start is missing")
    given = [x for x in (start, stop, step) if x is not None]
    for x in given:
        check_arraylike("arange", x)
    if dtype is None:
        common, weak = join_types([(t.dtype, t.weak_type) for t in map(type_of_any, given)])
        dtype = default_dtype(kind_of(common)) if weak and not _is_wide(given) else common
    dtype = dtype_arg(dtype)
    names = ("start" if stop is not None else "stop", "stop", "step")     # arange(n) has no start
    numbers = [None if x is None else concrete(x, f"It arose in the jnp.arange argument '{name}', which")[()]
               for name, x in zip(names, (start, stop, step), strict=True)]
    lo, hi = (0, numbers[0]) if stop is None else (0 if numbers[0] is None else numbers[0], numbers[1])
    return place_on(_evenly_spaced(lo, hi, 1 if step is None else numbers[2], dtype), device, out_sharding)


def _is_wide(numbers: Sequence) -> bool:
    return any(isinstance(x, int) and not -(2**31) <= x < 2**31 for x in numbers)


def _evenly_spaced(start: Any, stop: Any, step: Any, dtype: np.dtype) -> Array:
    if dtype.kind == "b":
        return as_array(np.arange(start, stop, step, dtype=dtype))
    if step == 0:
        raise ZeroDivisionError("arange: step is zero")
    n = max(math.ceil((_exact(stop) - _exact(start)) / _exact(step)), 0)
    if made_at_once(n) and (start == 0 or step == 1 or kind_of(dtype) in "iu"):
        return as_array(cast_numpy(np.arange(n) * step + start, dtype))
    if kind_of(dtype) in "iu" and not all(float(x).is_integer() for x in (start, step)):
        return as_array(cast_numpy(np.arange(start, stop, step), dtype))
    counts = lax.iota(dtype, n)
    if step != 1:
        counts = lax.mul(counts, cast_numpy(step, dtype))
    return counts if start == 0 else lax.add(counts, cast_numpy(start, dtype))


def _exact(x: Any) -> Any:
    """A number whose differences do not overflow: Python's own."""
    return x.item() if hasattr(x, "item") else x


@remembered
def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """num evenly spaced values from start to stop along a new axis; with retstep also the spacing.

    >>> jnp.linspace(0, 1, 3)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    check_arraylike("linspace", start, stop)
    num = concrete_int(num, "num")
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    computed = promotion.inexact_type(
        promotion.common_type("linspace", promotion.types_of("linspace", (start, stop)))[0]
    )
    result_dtype = computed if dtype is None else dtype_arg(dtype)
    lo, hi = (as_array(convert(x, computed)) for x in (start, stop))
    values, step = _spaced(lo, hi, num, endpoint, computed, result_dtype, axis)
    values = place_on(values, device)
    return (values, step) if retstep else values


@compiled
def _spaced(
    start: ArrayLike, stop: ArrayLike, num: int, endpoint: bool, dtype: np.dtype, result: np.dtype, axis: int
) -> tuple[Array, Array]:
    shape = promotion.broadcast_shape("linspace", [np.shape(start), np.shape(stop)])
    promotion.check_rank_promotion("linspace", [np.shape(start), np.shape(stop)])
    lo, hi = expand_to(start, shape), expand_to(stop, shape)
    values, step = _interpolate(lo, hi, num, endpoint, dtype)
    axis = canonical_axis(axis, lo.ndim + 1)
    if axis:
        values = lax.transpose(values, [*range(1, axis + 1), 0, *range(axis + 1, lo.ndim + 1)])
    if kind_of(result) in "iu" and is_float(dtype):
        values = lax.floor(values)
    return lax.convert_element_type(values, result), step


def _interpolate(lo: Array, hi: Array, num: int, endpoint: bool, dtype: np.dtype) -> tuple[Array, Array]:
    """num values along a new leading axis; the last is exactly hi where the end point is included."""
    parts = num - 1 if endpoint else num
    if parts <= 0:
        step = lax.full(lo.shape, np.nan, dtype)
        return lax.broadcast_in_dim(lo, (num, *lo.shape), tuple(range(1, lo.ndim + 1))), step
    real = np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
    wide = np.dtype("f4") if real.itemsize < 4 else real  # a half has no room for the count of many points
    shape = (num, *lo.shape)
    counts = lax.broadcasted_iota(wide, shape, 0)
    working = dtype if dtype.kind == "c" else wide
    share = lambda x: lax.div(lax.convert_element_type(x, working), cast_numpy(parts, working))
    spread = lambda x: lax.broadcast_in_dim(x, shape, tuple(range(1, len(shape))))
    times = lambda x, n: lax.mul(spread(share(x)), lax.convert_element_type(n, working))
    # Equal ends with opposite signs meet at 0, and steps that are numbers of the dtype hit every value exactly.
    values = lax.add(times(lo, lax.sub(cast_numpy(parts, wide), counts)), times(hi, counts))
    values = lax.convert_element_type(values, dtype)
    values = lax.select(lax.eq(counts, cast_numpy(0, wide)), spread(lo), values)  # exact, as the last is
    if endpoint:
        values = lax.select(lax.eq(counts, cast_numpy(parts, wide)), spread(hi), values)
    return values, lax.div(lax.sub(hi, lo), cast_numpy(parts, dtype))


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """base to the power of evenly spaced exponents.

    >>> jnp.logspace(0, 2, 3)
    Array([  1.,  10., 100.], dtype=float32)
    """
    check_arraylike("logspace", start, stop)
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    base, exponents = promotion.promote_inexact("logspace", base, exponents)
    values = lax.pow(as_array(base) if np.ndim(base) else expand_to(base, exponents.shape), exponents)
    return values if dtype is None else lax.convert_element_type(values, dtype_arg(dtype))


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """num values from start to stop with a constant ratio.

    >>> jnp.geomspace(1, 8, 4)
    Array([1., 2., 4., 8.], dtype=float32)
    """
    lo, hi = promotion.promote_inexact("geomspace", start, stop)
    if promotion.dtype_of(lo).kind == "c":
        sign = lax.div(lo, lax.convert_element_type(lax.abs(lo), promotion.dtype_of(lo)))
    else:
        sign = lax.sign(lo)
    lo, hi = as_array(lax.div(lo, sign)), as_array(lax.div(hi, sign))
    values = lax.exp(linspace(lax.log(lo), lax.log(hi), num, endpoint, axis=axis))
    sign = lax.expand_dims(as_array(sign), (axis if axis >= 0 else values.ndim + axis,)) if np.ndim(sign) else sign
    values = lax.mul(values, expand_to(sign, values.shape))
    return values if dtype is None else lax.convert_element_type(values, dtype_arg(dtype))


@remembered
def eye(N: int, M: int | None = None, k: Any = 0, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """Ones on the k-th diagonal of an N by M matrix.

    >>> jnp.eye(2)
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if isinstance(k, int):
        k = max(-N, min(k, N if M is None else M))  # beyond the corners there is nothing to tell apart
    return place_on(_by_place(lax.eq, np.equal, N, M, k, dtype_arg(dtype)), device)


def _by_place(compare: Callable, host: Callable, n: int, m: int | None, k: Any, dtype: np.dtype) -> Array:
    """Ones where row + k compares to column."""
    shape = canonical_shape((n, n if m is None else m))
    shifted = isinstance(k, (Array, Var))
    if made_at_once(math.prod(shape)) and not shifted:
        return as_array(host.outer(np.arange(shape[0]) + k, np.arange(shape[1])).astype(dtype))
    rows = lax.broadcasted_iota(np.dtype("int32"), shape, 0)
    if shifted or k != 0:
        rows = lax.add(rows, convert(k, np.dtype("int32")))
    return lax.convert_element_type(compare(rows, lax.broadcasted_iota(np.dtype("int32"), shape, 1)), dtype)


@remembered
def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    """The n by n identity matrix.

    >>> jnp.identity(2, int)
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    return eye(n, dtype=dtype)


@remembered
def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones at and below the k-th diagonal of an N by M matrix.

    >>> jnp.tri(2, dtype=int)
    Array([[1, 0],
           [1, 1]], dtype=int32)
    """
    if isinstance(k, int):
        check_fits(k, np.dtype("int32"))
    return _by_place(lax.ge, np.greater_equal, N, M, k, dtype_arg(dtype))


def meshgrid(*xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> list[Array]:
    """Coordinate grids of vectors: 'xy' (columns first) or 'ij'.

    >>> [g.shape for g in jnp.meshgrid(jnp.arange(2), jnp.arange(3))]
    [(3, 2), (3, 2)]
    """
    check_arraylike("meshgrid", *xi)
    if indexing not in ("xy", "ij"):
        raise ValueError(f"Valid values for indexing are 'xy' and 'ij', got {indexing}")
    if not copy:
        raise ValueError("jax.numpy.meshgrid only supports copy=True")
    order = list(range(len(xi)))
    if indexing == "xy" and len(xi) >= 2:
        order[:2] = [1, 0]
    vectors = [lax.reshape(x, (np.size(x),)) for x in map(as_array, xi)]
    for x in xi:
        if np.ndim(x) > 1:
            raise ValueError(f"Arguments to jnp.meshgrid must be at most 1D, got shape {np.shape(x)}")
    sizes = [vectors[i].shape[0] for i in order]
    shape_of = lambda i: tuple(s if order[d] == i else 1 for d, s in enumerate(sizes)) if sparse else tuple(sizes)
    return [lax.broadcast_in_dim(v, shape_of(i), (order.index(i),)) for i, v in enumerate(vectors)]


def indices(dimensions: Sequence[int], dtype: DTypeLike | None = None, sparse: bool = False) -> Any:
    """The index grids of a shape, stacked on a leading axis (or a tuple of thin grids if sparse).

    >>> jnp.indices((2, 2))[0]
    Array([[0, 0],
           [1, 1]], dtype=int32)
    """
    dtype = dtype_arg(int if dtype is None else dtype)
    shape = canonical_shape(dimensions)
    n = len(shape)
    if sparse:
        return tuple(
            lax.broadcasted_iota(dtype, tuple(d if i == j else 1 for j, d in enumerate(shape)), i) for i in range(n)
        )
    if not n:
        return lax.full((0,), 0, dtype)
    return lax.concatenate([lax.expand_dims(lax.broadcasted_iota(dtype, shape, i), (0,)) for i in range(n)], 0)


def fromfunction(function: Callable[..., Array], shape: Any, *, dtype: DTypeLike = float, **kwargs: Any) -> Array:
    """function applied to each index of a shape; what it returns for one becomes the last axes of the result.

    >>> jnp.fromfunction(lambda i, j: i + j, (2, 2), dtype=int)
    Array([[0, 1],
           [1, 2]], dtype=int32)
    """
    shape = canonical_shape(shape)
    for axis in range(len(shape)):
        function = vmap(function, in_axes=tuple(0 if i == axis else None for i in reversed(range(len(shape)))))
    return function(*(arange(n, dtype=dtype) for n in shape), **kwargs)

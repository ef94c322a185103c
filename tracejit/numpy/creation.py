"""Maps Python objects, shapes and ranges to new arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import SHORT_NAMES, canonicalize_dtype, default_dtype, is_float, is_inexact, kind_of
from tracejit.ir.types import promote as join_types
from tracejit.ir.types import type_of as type_of_any
from tracejit.numpy import promotion
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
    concrete,
    concrete_int,
    convert,
    expand_to,
)
from tracejit.runtime.transfer import device_put

# --- from Python objects -----------------------------------------------------------------------------


def array(
    object: Any,
    dtype: DTypeLike | None = None,
    copy: bool = True,
    order: str | None = "K",
    ndmin: int = 0,
    *,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """An array of a scalar, nested sequences or another array; floats are float32 unless the object says otherwise.

    >>> jnp.array([[1, 2.5], [3, 4]])
    Array([[1. , 2.5],
           [3. , 4. ]], dtype=float32)
    """
    if order not in (None, "K"):
        raise NotImplementedError("Only implemented for order='K'")
    result = _from_object(object, None if dtype is None else canonicalize_dtype(dtype), copy)
    if ndmin > result.ndim:
        result = lax.expand_dims(result, tuple(range(ndmin - result.ndim)))
    return place_on(result, device, out_sharding)


def asarray(
    a: Any,
    dtype: DTypeLike | None = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """`array`, which copies only if copy is True.

    >>> jnp.asarray([True, 2]).dtype
    dtype('int32')
    """
    if isinstance(a, (Array, Var)) and dtype is None and not copy and order is None and device is None:
        return a
    if copy is False and isinstance(a, (Array, Var)) and dtype is not None and canonicalize_dtype(dtype) != a.dtype:
        raise ValueError(f"jnp.asarray: cannot convert to {dtype} without a copy (copy=False)")
    return array(a, dtype, bool(copy), order, device=device, out_sharding=out_sharding)


def place_on(x: Array, device: Any, sharding: Any = None) -> Array:
    """x on the device asked for, if one is."""
    target = device if device is not None else sharding
    return x if target is None else device_put(x, target)


def _from_object(x: Any, dtype: np.dtype | None, copy: bool) -> Array:
    if hasattr(x, "__jax_array__"):
        x = x.__jax_array__()
    if isinstance(x, (Array, Var)):
        return _from_array(x, dtype, copy)
    if isinstance(x, (bool, int, float, complex, np.generic)):
        return as_array(x if dtype is None else _checked_cast(x, dtype))
    if isinstance(x, (list, tuple, range)):
        return _from_sequence(x, dtype)
    if x is None:
        raise ValueError("None is not a valid value for jnp.array")
    numbers = np.asarray(x)
    return as_array(_checked(np.array(numbers, dtype=dtype or canonicalize_dtype(numbers.dtype)), x))


def _from_array(x: Array, dtype: np.dtype | None, copy: bool) -> Array:
    if dtype is not None and (x.dtype != dtype or x.weak_type):
        return lax.convert_element_type(lax.real(x) if x.dtype.kind == "c" and is_float(dtype) else x, dtype)
    if copy and isinstance(x, Array) and not isinstance(x, Var) and not x.weak_type:
        return as_array(np.array(x))  # its own memory: the original may be donated later
    return x


def _checked(numbers: np.ndarray, source: Any) -> np.ndarray:
    if numbers.dtype not in SHORT_NAMES:
        raise DtypeError(
            f"Value {str(source)[:80]!r} with dtype {numbers.dtype} is not a valid array type. "
            "Only arrays of numeric types are supported."
        )
    return numbers


def _checked_cast(x: Any, dtype: np.dtype) -> np.ndarray:
    if dtype not in SHORT_NAMES:
        raise DtypeError(f"{dtype} is not a dtype of arrays")
    if type(x) is int and dtype.kind in "iu":
        return np.array(x, dtype)  # raises OverflowError for a Python int that does not fit
    return cast_numpy(x, dtype)


def _from_sequence(x: Sequence, dtype: np.dtype | None) -> Array:
    leaves = list(_leaves(x))
    if dtype is None:
        dtype = _dtype_of_leaves(x, leaves)
    if dtype.kind in "iu" and leaves and {type(leaf) for leaf in leaves} <= {int, bool}:
        return as_array(np.array(x, dtype))  # raises OverflowError for a Python int that does not fit
    if any(isinstance(leaf, Var) for leaf in leaves):
        return _stack_nested(x, dtype)
    numbers = np.array(_without_arrays(x) if any(isinstance(leaf, Array) for leaf in leaves) else x)
    return as_array(cast_numpy(numbers, dtype) if leaves else np.zeros(numbers.shape, dtype))


def _leaves(x: Any) -> Iterator[Any]:
    for item in x:
        if isinstance(item, (list, tuple, range)):
            yield from _leaves(item)
        else:
            yield item.__jax_array__() if hasattr(item, "__jax_array__") else item


def _dtype_of_leaves(x: Sequence, leaves: list) -> np.dtype:
    if not leaves:
        return default_dtype("f")
    kinds = {type(leaf) for leaf in leaves}
    if kinds <= {bool, float, complex} or (kinds <= {bool, int, float, complex} and kinds & {float, complex}):
        return default_dtype("c" if complex in kinds else "f" if float in kinds else "b")
    pairs = set()
    for leaf in leaves:
        if isinstance(leaf, (str, bytes)) or leaf is None or isinstance(leaf, dict):
            raise DtypeError(f"Value {str(x)[:80]!r} is not a valid array. Only arrays of numeric types are supported.")
        t = (
            type_of_any(leaf)
            if not hasattr(leaf, "__array__") or hasattr(leaf, "dtype")
            else type_of_any(np.asarray(leaf))
        )
        pairs.add((t.dtype, t.weak_type))
    dtype, weak = join_types(sorted(pairs, key=str))
    return default_dtype(kind_of(dtype)) if weak and is_inexact(dtype) else dtype


def _without_arrays(x: Any) -> Any:
    if isinstance(x, (list, tuple, range)):
        return [_without_arrays(item) for item in x]
    return np.asarray(x)


def _stack_nested(x: Any, dtype: np.dtype) -> Array:
    if not isinstance(x, (list, tuple, range)):
        return as_array(convert(x, dtype))
    parts = [_stack_nested(item, dtype) for item in x]
    if len({p.shape for p in parts}) > 1:
        raise ValueError(f"setting an array element with a sequence: the shapes {[p.shape for p in parts]} differ")
    return lax.concatenate([lax.expand_dims(p, (0,)) for p in parts], 0)


def copy(a: ArrayLike, order: str | None = None) -> Array:
    """A copy of an array with its own memory.

    >>> jnp.copy(jnp.array([1, 2]))
    Array([1, 2], dtype=int32)
    """
    check_arraylike("copy", a)
    return array(a, copy=True)


def frombuffer(buffer: Any, dtype: DTypeLike = float, count: int = -1, offset: int = 0) -> Array:
    """An array from the bytes of a buffer. As in NumPy, `float` means 64-bit values in the buffer.

    >>> jnp.frombuffer(b"\\x01\\x02", dtype=jnp.uint8)
    Array([1, 2], dtype=uint8)
    """
    return asarray(np.frombuffer(buffer, dtype=np.dtype(dtype), count=count, offset=offset), dtype=dtype)


def fromstring(string: str, dtype: DTypeLike = float, count: int = -1, *, sep: str) -> Array:
    """An array from text of numbers separated by `sep`.

    >>> jnp.fromstring("1 2", dtype=jnp.int32, sep=" ")
    Array([1, 2], dtype=int32)
    """
    return asarray(np.fromstring(string, dtype=np.dtype(dtype), count=count, sep=sep), dtype=dtype)


def fromfile(*args: Any, **kwargs: Any) -> Array:
    """Not implemented: reading a file is no traceable function; use jnp.asarray(np.fromfile(...))."""
    raise NotImplementedError("fromfile has side effects; use jnp.asarray(np.fromfile(...))")


def fromiter(*args: Any, **kwargs: Any) -> Array:
    """Not implemented: consuming an iterator is no traceable function; use jnp.asarray(np.fromiter(...))."""
    raise NotImplementedError("fromiter has side effects; use jnp.asarray(np.fromiter(...))")


def fromfunction(function: Callable[..., Array], shape: Any, *, dtype: DTypeLike = float, **kwargs: Any) -> Array:
    """function applied to the index grids of a shape.

    >>> jnp.fromfunction(lambda i, j: i + j, (2, 2), dtype=int)
    Array([[0, 1],
           [1, 2]], dtype=int32)
    """
    return function(*indices(canonical_shape(shape), dtype=dtype), **kwargs)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array from an object of another library that has `__dlpack__`.

    >>> jnp.from_dlpack(np.arange(2, dtype="int32"))
    Array([0, 1], dtype=int32)
    """
    if isinstance(x, Array):
        return asarray(x, copy=copy, device=device)
    return asarray(np.from_dlpack(x), copy=copy, device=device)


# --- constant arrays ---------------------------------------------------------------------------------


def zeros(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """An array of zeros.

    >>> jnp.zeros(2)
    Array([0., 0.], dtype=float32)
    """
    return place_on(lax.full(canonical_shape(shape), 0, _dtype_arg(dtype)), device, out_sharding)


def ones(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """An array of ones.

    >>> jnp.ones((1, 2), dtype=int)
    Array([[1, 1]], dtype=int32)
    """
    return place_on(lax.full(canonical_shape(shape), 1, _dtype_arg(dtype)), device, out_sharding)


def empty(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """As `zeros`: no array has undefined contents.

    >>> jnp.empty(2)
    Array([0., 0.], dtype=float32)
    """
    return zeros(shape, dtype, device=device, out_sharding=out_sharding)


def full(
    shape: Any, fill_value: ArrayLike, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """An array of copies of fill_value, which broadcasts to shape.

    >>> jnp.full((2, 2), jnp.array([1, 2]))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    check_arraylike("full", fill_value)
    shape = canonical_shape(shape)
    if np.ndim(fill_value) == 0:
        result = lax.full(shape, fill_value, None if dtype is None else canonicalize_dtype(dtype))
    else:
        result = expand_to(asarray(fill_value, dtype), shape)
    return place_on(result, device, out_sharding)


def _dtype_arg(dtype: DTypeLike | None) -> np.dtype:
    result = canonicalize_dtype(float if dtype is None else dtype)
    if result not in SHORT_NAMES:
        raise DtypeError(f"{result} is not a dtype of arrays")
    return result


def _like(name: str, a: Any, fill: ArrayLike, dtype: DTypeLike | None, shape: Any, device: Any) -> Array:
    if not (hasattr(a, "shape") and hasattr(a, "dtype")):
        check_arraylike(name, a)
        a = as_array(a)
    shape = tuple(a.shape) if shape is None else canonical_shape(shape)
    if dtype is None and getattr(a, "weak_type", False):
        return place_on(full(shape, convert(fill, a.dtype, weak=True)), device)
    return place_on(full(shape, fill, a.dtype if dtype is None else dtype), device)


def zeros_like(
    a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """Zeros of the shape and dtype of another array, where not said otherwise.

    >>> jnp.zeros_like(jnp.array([1, 2]))
    Array([0, 0], dtype=int32)
    """
    return _like("zeros_like", a, 0, dtype, shape, device if device is not None else out_sharding)


def ones_like(
    a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """Ones of the shape and dtype of another array, where not said otherwise.

    >>> jnp.ones_like(jnp.array([3, 2]))
    Array([1, 1], dtype=int32)
    """
    return _like("ones_like", a, 1, dtype, shape, device if device is not None else out_sharding)


def empty_like(prototype: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None) -> Array:
    """As `zeros_like`.

    >>> jnp.empty_like(jnp.array([3, 2]))
    Array([0, 0], dtype=int32)
    """
    return _like("empty_like", prototype, 0, dtype, shape, device)


def full_like(
    a: Any,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    shape: Any = None,
    *,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Copies of fill_value in the shape and dtype of another array.

    >>> jnp.full_like(jnp.array([3, 2]), 7.5)
    Array([7, 7], dtype=int32)
    """
    check_arraylike("full_like", fill_value)
    return _like("full_like", a, fill_value, dtype, shape, device if device is not None else out_sharding)


# --- ranges and grids --------------------------------------------------------------------------------


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
    dtype = _dtype_arg(dtype)
    numbers = [None if x is None else concrete(x, "arange")[()] for x in (start, stop, step)]
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
    if kind_of(dtype) in "iu" and not all(float(x).is_integer() for x in (start, step)):
        return as_array(cast_numpy(np.arange(start, stop, step), dtype))
    counts = lax.iota(dtype, n)
    if step != 1:
        counts = lax.mul(counts, cast_numpy(step, dtype))
    return counts if start == 0 else lax.add(counts, cast_numpy(start, dtype))


def _exact(x: Any) -> Any:
    """A number whose differences do not overflow: Python's own."""
    return x.item() if hasattr(x, "item") else x


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
    result_dtype = computed if dtype is None else _dtype_arg(dtype)
    lo, hi = promotion.broadcast_operands("linspace", [as_array(convert(x, computed)) for x in (start, stop)])
    lo, hi = (
        expand_to(lo, np.broadcast_shapes(lo.shape, hi.shape)),
        expand_to(hi, np.broadcast_shapes(lo.shape, hi.shape)),
    )
    values, step = _interpolate(lo, hi, num, endpoint, computed)
    axis = canonical_axis(axis, lo.ndim + 1)
    if axis:
        values = lax.transpose(values, [*range(1, axis + 1), 0, *range(axis + 1, lo.ndim + 1)])
    if kind_of(result_dtype) in "iu" and is_float(computed):
        values = lax.floor(values)
    values = place_on(lax.convert_element_type(values, result_dtype), device)
    return (values, step) if retstep else values


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
    part = lax.convert_element_type(lax.div(counts, cast_numpy(parts, wide)), dtype)
    spread = lambda x: lax.broadcast_in_dim(x, shape, tuple(range(1, len(shape))))
    values = lax.add(lax.mul(spread(lo), lax.sub(cast_numpy(1, dtype), part)), lax.mul(spread(hi), part))
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
    return values if dtype is None else lax.convert_element_type(values, _dtype_arg(dtype))


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
    return values if dtype is None else lax.convert_element_type(values, _dtype_arg(dtype))


def eye(N: int, M: int | None = None, k: Any = 0, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """Ones on the k-th diagonal of an N by M matrix.

    >>> jnp.eye(2)
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    rows, columns = _row_and_column(N, M, k)
    return place_on(lax.convert_element_type(lax.eq(rows, columns), _dtype_arg(dtype)), device)


def _row_and_column(n: int, m: int | None, k: Any) -> tuple[Array, Array]:
    shape = canonical_shape((n, n if m is None else m))
    rows = lax.broadcasted_iota(np.dtype("int32"), shape, 0)
    if isinstance(k, (Array, Var)) or k != 0:
        rows = lax.add(rows, convert(k, np.dtype("int32")))
    return rows, lax.broadcasted_iota(np.dtype("int32"), shape, 1)


def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    """The n by n identity matrix.

    >>> jnp.identity(2, int)
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones at and below the k-th diagonal of an N by M matrix.

    >>> jnp.tri(2, dtype=int)
    Array([[1, 0],
           [1, 1]], dtype=int32)
    """
    rows, columns = _row_and_column(N, M, k)
    return lax.convert_element_type(lax.ge(rows, columns), _dtype_arg(dtype))


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
    dtype = _dtype_arg(int if dtype is None else dtype)
    shape = canonical_shape(dimensions)
    n = len(shape)
    if sparse:
        return tuple(
            lax.broadcasted_iota(dtype, tuple(d if i == j else 1 for j, d in enumerate(shape)), i) for i in range(n)
        )
    if not n:
        return lax.full((0,), 0, dtype)
    return lax.concatenate([lax.expand_dims(lax.broadcasted_iota(dtype, shape, i), (0,)) for i in range(n)], 0)

"""Maps arrays to larger ones: pad in every mode of NumPy's, insert and delete."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype, is_inexact
from tracejit.numpy import quantiles, reductions, rounding
from tracejit.numpy.indexing import get_item
from tracejit.numpy.joining import concatenate
from tracejit.numpy.manipulation import moveaxis, ravel
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    concrete,
    concrete_int,
    convert,
    expand_to,
    is_traced,
)
from tracejit.numpy.selection import nonzero

INT = np.dtype("int32")
_ALLOWED = {
    "constant": {"constant_values"},
    "edge": set(),
    "empty": set(),
    "linear_ramp": {"end_values"},
    "maximum": {"stat_length"},
    "mean": {"stat_length"},
    "median": {"stat_length"},
    "minimum": {"stat_length"},
    "reflect": {"reflect_type"},
    "symmetric": {"reflect_type"},
    "wrap": set(),
}


def pad(array: ArrayLike, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Array:
    """The array with elements added before and after each axis, in any mode of numpy.pad.

    >>> jnp.pad(jnp.array([1, 2, 3]), (1, 2), mode="reflect")
    Array([2, 1, 2, 3, 2, 1], dtype=int32)
    """
    check_arraylike("pad", array)
    x = as_array(array)
    widths = [
        (concrete_int(lo, "pad_width"), concrete_int(hi, "pad_width"))
        for lo, hi in _pairs(_widths(pad_width, x.ndim), x.ndim, "pad_width")
    ]
    if any(w < 0 for pair in widths for w in pair):
        raise ValueError("index can't contain negative values")
    if callable(mode):
        return _pad_with_function(x, widths, mode, **kwargs)
    if mode not in _ALLOWED:
        raise NotImplementedError(f"Unimplemented padding mode '{mode}' for np.pad.")
    unknown = set(kwargs) - _ALLOWED[mode]
    if unknown:
        raise ValueError(f"unsupported keyword arguments for mode '{mode}': {sorted(unknown)}")
    if mode in ("constant", "empty"):
        return convert(_pad_constant(x, widths, kwargs.get("constant_values", 0)), x.dtype, x.weak_type)
    step = {"edge": _edge, "linear_ramp": _ramp, "reflect": _mirror, "symmetric": _mirror, "wrap": _wrap}.get(
        mode, _statistic
    )
    options = _pairs(next(iter(kwargs.values()), None), x.ndim, mode) if mode not in ("reflect", "symmetric") else None
    for axis, (low, high) in enumerate(widths):
        if low or high:
            if x.shape[axis] == 0:
                raise ValueError(f"can't extend empty axis {axis} using modes other than 'constant' or 'empty'")
            option = kwargs.get("reflect_type", "even") if options is None else options[axis]
            x = step(x, axis, low, high, option, mode)
    return x


def _widths(pad_width: Any, ndim: int) -> Any:
    """A dict of axis -> width as a list for all axes."""
    if not isinstance(pad_width, dict):
        return pad_width
    out: list = [(0, 0)] * ndim
    for axis, width in pad_width.items():
        out[canonical_axis(axis, ndim)] = (width, width) if np.ndim(width) == 0 else tuple(width)
    return out


def _pairs(value: Any, ndim: int, name: str) -> list[tuple]:
    """A value, a pair, or a pair (or one-element list) for each axis, as a pair for each axis."""
    if value is None:
        return [(None, None)] * ndim
    depth = _depth(value)
    if depth == 0:
        return [(value, value)] * ndim
    rows = list(value)
    if depth == 1:
        if len(rows) not in (1, 2):
            raise ValueError(
                f"jnp.pad: {name} with nd={ndim} has unsupported shape {np.shape(value)}. Valid shapes are "
                f"({ndim}, 2), (1, 2), (2,), (1,), or ()."
            )
        return [(rows[0], rows[-1])] * ndim
    pairs = [(tuple(r)[0], tuple(r)[-1]) for r in rows]
    if len(pairs) not in (1, ndim):
        raise ValueError(
            f"jnp.pad: {name} with nd={ndim} has unsupported shape {np.shape(value)}. Valid shapes are "
            f"({ndim}, 2), (1, 2), (2,), (1,), or ()."
        )
    return pairs * ndim if len(pairs) == 1 else pairs


def _depth(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return 1 + max((_depth(v) for v in value), default=0)
    return np.ndim(value)


def _pad_constant(x: Array, widths: list[tuple[int, int]], values: Any) -> Array:
    pairs = _pairs(values, x.ndim, "constant_values")
    same = all(np.ndim(v) == 0 and not is_traced(v) and v is pairs[0][0] for pair in pairs for v in pair)
    scalar = lambda v: lax.convert_element_type(v, x.dtype) if is_traced(v) else cast_numpy(v, x.dtype)
    if not pairs:
        return x
    if same:
        return lax.pad(x, scalar(pairs[0][0]), [(lo, hi, 0) for lo, hi in widths])
    for axis, ((low, high), (first, last)) in enumerate(zip(widths, pairs, strict=True)):
        lead, rest = [(0, 0, 0)] * axis, [(0, 0, 0)] * (len(widths) - axis - 1)
        x = lax.pad(x, scalar(first), [*lead, (low, 0, 0), *rest])
        x = lax.pad(x, scalar(last), [*lead, (0, high, 0), *rest])
    return x


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return lax.slice_in_dim(x, start, stop, axis=axis)


def _repeated(x: Array, axis: int, n: int) -> Array:
    return lax.broadcast_in_dim(x, tuple(n if i == axis else d for i, d in enumerate(x.shape)), tuple(range(x.ndim)))


def _edge(x: Array, axis: int, low: int, high: int, option: Any, mode: str) -> Array:
    n = x.shape[axis]
    return concatenate(
        [_repeated(_part(x, axis, 0, 1), axis, low), x, _repeated(_part(x, axis, n - 1, n), axis, high)], axis
    )


def _wrap(x: Array, axis: int, low: int, high: int, option: Any, mode: str) -> Array:
    n = x.shape[axis]
    if low + high > 2 * n:
        index = np.arange(-low, n + high) % n
        return get_item(x, (slice(None),) * axis + (index,))
    ends = [(max(n - low, 0), n), (0, n), (0, min(high, n))]    # slices are read where they lie; an index must be looked up
    if low > n:
        ends.insert(0, (2 * n - low, n))
    if high > n:
        ends.append((0, high - n))
    return concatenate([_part(x, axis, start, stop) for start, stop in ends if start < stop], axis)


def _mirror(x: Array, axis: int, low: int, high: int, reflect_type: str, mode: str) -> Array:
    """Reflected at the first and last element ("reflect": without repeating it), as often as needed."""
    if reflect_type not in ("even", "odd"):
        raise ValueError(f"unsupported value for keyword argument `reflect_type`: {reflect_type!r}")
    n = x.shape[axis]
    if n == 1:
        return _edge(x, axis, low, high, None, mode)
    skip = mode == "reflect"
    for count, front in ((low, True), (high, False)):
        while count > 0:
            size = x.shape[axis]
            take = min(count, size - 1 if skip else size)
            part = _part(x, axis, skip, skip + take) if front else _part(x, axis, size - take - skip, size - skip)
            part = lax.rev(part, (axis,))
            if reflect_type == "odd":
                end = _part(x, axis, 0, 1) if front else _part(x, axis, size - 1, size)
                part = lax.sub(_repeated(lax.add(end, end), axis, take), part)
            x = lax.concatenate([part, x] if front else [x, part], axis)
            count -= take
    return x


def _ramp(x: Array, axis: int, low: int, high: int, ends: tuple, mode: str) -> Array:
    n = x.shape[axis]
    real = x.dtype if is_inexact(x.dtype) else default_dtype("f")
    parts = [x]
    for count, end, front in ((low, ends[0], True), (high, ends[1], False)):
        edge = _repeated(_part(x, axis, 0, 1) if front else _part(x, axis, n - 1, n), axis, count)
        steps = lax.broadcasted_iota(real, edge.shape, axis)
        end = convert(0 if end is None else end, real)
        distance = steps if front else lax.sub(cast_numpy(count - 1, real), steps)
        edge = lax.convert_element_type(edge, real)
        ramp = lax.add(lax.mul(lax.div(lax.sub(edge, end), cast_numpy(max(count, 1), real)), distance), end)
        ramp = lax.convert_element_type(ramp if is_inexact(x.dtype) else rounding.floor(ramp), x.dtype)
        parts.insert(0 if front else len(parts), ramp)
    return lax.concatenate(parts, axis)


def _statistic(x: Array, axis: int, low: int, high: int, lengths: tuple, mode: str) -> Array:
    reduce: Callable = {
        "maximum": reductions.max,
        "minimum": reductions.min,
        "mean": reductions.mean,
        "median": quantiles.median,
    }[mode]
    n = x.shape[axis]
    sizes = [n if length is None else min(concrete_int(length, "stat_length"), n) for length in lengths]
    if min(sizes) < 1:
        raise ValueError("stat_length of 0 yields no value for padding")
    values = [
        reduce(part, axis, keepdims=True) for part in (_part(x, axis, 0, sizes[0]), _part(x, axis, n - sizes[1], n))
    ]
    if not is_inexact(x.dtype):
        values = [rounding.round(v) for v in values]
    values = [lax.convert_element_type(v, x.dtype) for v in values]
    return lax.concatenate([_repeated(values[0], axis, low), x, _repeated(values[1], axis, high)], axis)


def _pad_with_function(x: Array, widths: list[tuple[int, int]], function: Callable, **kwargs: Any) -> Array:
    """function(padded vector, (low, high), axis, kwargs) gives each padded vector along each axis."""
    x = _pad_constant(x, widths, 0)
    for axis, pair in enumerate(widths):
        rows = moveaxis(x, axis, -1)
        flat = (
            lax.reshape(rows, (math.prod(rows.shape[:-1]), rows.shape[-1]))
            if rows.ndim > 1
            else lax.expand_dims(rows, (0,))
        )
        done = [function(get_item(flat, i), pair, axis, kwargs) for i in range(flat.shape[0])]
        if any(d is None for d in done):
            raise ValueError(
                "jnp.pad: a mode function must return the padded vector: arrays cannot be changed in place"
            )
        x = moveaxis(
            lax.reshape(concatenate([lax.expand_dims(as_array(d), (0,)) for d in done], 0), rows.shape), -1, axis
        )
    return x


# --- insert and delete -------------------------------------------------------------------------------


def _flattened(x: Array, axis: int | None) -> tuple[Array, int]:
    return (lax.reshape(x, (x.size,)), 0) if axis is None else (x, canonical_axis(axis, x.ndim))


def delete(arr: ArrayLike, obj: Any, axis: int | None = None, *, assume_unique_indices: bool = False) -> Array:
    """Without the elements at obj (an integer, a slice, indices or a mask). A traced integer is allowed.

    >>> jnp.delete(jnp.array([1, 2, 3]), 1)
    Array([1, 3], dtype=int32)
    """
    check_arraylike("delete", arr)
    x, axis = _flattened(as_array(arr), axis)
    n = x.shape[axis]
    if is_traced(obj) and obj.dtype.kind != "b":
        return _delete_traced(x, obj, axis, assume_unique_indices)
    keep = np.ones(n, bool)
    if isinstance(obj, slice):
        keep[obj] = False
    else:
        index = concrete(obj, "delete")
        if index.dtype.kind == "b" and index.shape != (n,):
            raise ValueError(
                f"delete: a boolean obj must be one-dimensional with the length of the axis: {n}"
            )
        if index.dtype.kind not in "biu":
            index = index.astype(int)
        if index.dtype.kind != "b" and index.size and (index.min() < -n or index.max() >= n):
            index = np.where(index < -n, 0, np.minimum(index, n - 1)) if n else index[:0]
        keep[index] = False
    return get_item(x, (slice(None),) * axis + (np.nonzero(keep)[0],))


def _delete_traced(x: Array, obj: Array, axis: int, unique: bool) -> Array:
    """Each index shifts the elements behind it by one."""
    n = x.shape[axis]
    if obj.size != 1 and not unique:
        concrete(obj, "delete (or pass assume_unique_indices=True)")
    index = lax.reshape(obj, (obj.size,))
    index = lax.select(lax.lt(index, cast_numpy(0, index.dtype)), lax.add(index, cast_numpy(n, index.dtype)), index)
    index = lax.clamp(cast_numpy(0, index.dtype), index, cast_numpy(n - 1, index.dtype))
    keep = lax.full((n,), True, np.dtype(bool)).at[index].set(False)
    rows = nonzero(keep, size=n - obj.size)[0]
    return get_item(x, (slice(None),) * axis + (rows,))


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Array:
    """With values inserted before the positions obj (an integer, a slice or indices) along an axis.

    >>> jnp.insert(jnp.array([1, 2]), 1, 9)
    Array([1, 9, 2], dtype=int32)
    """
    check_arraylike("insert", arr, values)
    x, axis = _flattened(as_array(arr), axis)
    n = x.shape[axis]
    index = np.arange(n)[obj] if isinstance(obj, slice) else obj
    index = as_array(np.asarray(index) if not is_traced(index) else index)
    values = as_array(convert(values, x.dtype))
    if values.ndim < x.ndim:
        values = lax.reshape(values, (1,) * (x.ndim - values.ndim) + values.shape)
    if index.ndim == 0:
        values = moveaxis(values, 0, axis)
    index = ravel(index)
    if index.dtype.kind == "b":
        index = nonzero(index)[0]
    index = lax.convert_element_type(index, INT)
    index = lax.select(lax.lt(index, np.int32(0)), lax.add(index, np.int32(n)), index)
    index = lax.clamp(np.int32(0), index, np.int32(n))
    count = values.shape[axis] if index.shape[0] == 1 else index.shape[0]
    values = expand_to(values, tuple(count if i == axis else d for i, d in enumerate(x.shape)))
    index = expand_to(index, (count,))
    order = lax.sort((index, lax.iota(INT, count)), is_stable=True, num_keys=1)[1]
    places = index.at[order].add(lax.iota(INT, count), unique_indices=True)
    old = nonzero(lax.full((n + count,), True, np.dtype(bool)).at[places].set(False), size=n)[0]
    lead = (slice(None),) * axis
    out = lax.full(tuple(n + count if i == axis else d for i, d in enumerate(x.shape)), 0, x.dtype)
    return out.at[(*lead, places)].set(values, unique_indices=True).at[(*lead, old)].set(x, unique_indices=True)

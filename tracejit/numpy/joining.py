"""Maps several arrays to one, and one to several: concatenate, stack, block, split, tile, repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import requested_dtype
from tracejit.numpy.compiled import compiled
from tracejit.numpy.manipulation import atleast_1d, atleast_2d, atleast_3d, moveaxis, ravel
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    Var,
    as_array,
    canonical_axis,
    check_arraylike,
    check_no_out,
    concrete,
    concrete_int,
    convert,
    expand_to,
    is_traced,
    promote_dtypes,
)

# --- joining -----------------------------------------------------------------------------------------


def _parts(name: str, arrays: Any) -> list:
    """The arrays to join: a sequence, or one array taken along its first axis."""
    if isinstance(arrays, (Array, Var, np.ndarray)):
        if arrays.ndim == 0:
            raise TypeError(f"{name}: zero-dimensional arrays cannot be joined")
        return [as_array(arrays)[i] for i in range(arrays.shape[0])]
    if not hasattr(arrays, "__iter__"):
        raise TypeError(f"{name} requires a sequence of arrays, got {type(arrays)}")
    arrays = list(arrays)
    check_arraylike(name, *arrays)
    if not arrays:
        raise ValueError(f"Need at least one array to {name}.")
    return arrays


def _one_dtype(name: str, arrays: list, dtype: DTypeLike | None) -> list[Array]:
    if dtype is None:
        return [as_array(x) for x in promote_dtypes(name, *arrays)]
    dtype = requested_dtype(dtype)
    return [as_array(convert(x, dtype)) for x in arrays]


@compiled
def concatenate(arrays: Sequence[ArrayLike], axis: int | None = 0, dtype: DTypeLike | None = None) -> Array:
    """Arrays joined along an existing axis; flattened first if axis is None.

    >>> jnp.concatenate([jnp.array([1, 2]), jnp.array([3.5])])
    Array([1. , 2. , 3.5], dtype=float32)
    """
    arrays = _one_dtype("concatenate", _parts("concatenate", arrays), dtype)
    if axis is None:
        arrays, axis = [lax.reshape(x, (x.size,)) for x in arrays], 0
    if arrays[0].ndim == 0:
        raise ValueError("Zero-dimensional arrays cannot be concatenated.")
    axis = canonical_axis(axis, arrays[0].ndim)
    rest = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in arrays}
    if len(rest) > 1 or len({x.ndim for x in arrays}) > 1:
        raise ShapeError(
            "Cannot concatenate arrays with shapes that differ in dimensions other than the one being "
            f"concatenated: concatenating along dimension {axis} for shapes {', '.join(str(x.shape) for x in arrays)}.",
            fix="along a new axis: jnp.stack; a missing axis is added with x[None]"
        )
    return lax.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]


def concat(arrays: Sequence[ArrayLike], /, *, axis: int | None = 0) -> Array:
    """As `concatenate` (array API standard).

    >>> jnp.concat([jnp.array([1]), jnp.array([2])])
    Array([1, 2], dtype=int32)
    """
    return concatenate(arrays, axis)


@compiled
def stack(arrays: Sequence[ArrayLike], axis: int = 0, out: None = None, dtype: DTypeLike | None = None) -> Array:
    """Arrays of one shape joined along a new axis.

    >>> jnp.stack([jnp.array([1, 2]), jnp.array([3, 4])], axis=1)
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    check_no_out("stack", out)
    if isinstance(arrays, (Array, Var, np.ndarray)) and arrays.ndim:
        return moveaxis(
            arrays if dtype is None else lax.convert_element_type(arrays, requested_dtype(dtype)), 0, axis
        )
    arrays = _one_dtype("stack", _parts("stack", arrays), dtype)
    if len({x.shape for x in arrays}) > 1:
        raise ShapeError(f"All input arrays must have the same shape, got {', '.join(str(x.shape) for x in arrays)}")
    axis = canonical_axis(axis, arrays[0].ndim + 1)
    return lax.concatenate([lax.expand_dims(x, (axis,)) for x in arrays], axis)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The parts of an array along an axis, without that axis.

    >>> jnp.unstack(jnp.array([[1, 2], [3, 4]]))
    (Array([1, 2], dtype=int32), Array([3, 4], dtype=int32))
    """
    check_arraylike("unstack", x)
    x = as_array(x)
    if x.ndim == 0:
        raise ValueError("Unstack requires arrays with rank > 0, however a scalar array was passed.")
    axis = canonical_axis(axis, x.ndim)
    return tuple(lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis]))


@compiled
def vstack(tup: Sequence[ArrayLike], dtype: DTypeLike | None = None) -> Array:
    """Rows on top of each other.

    >>> jnp.vstack([jnp.array([1, 2]), jnp.array([3, 4])]).shape
    (2, 2)
    """
    return concatenate(_listed(atleast_2d(*_parts("vstack", tup))), 0, dtype)


@compiled
def hstack(tup: Sequence[ArrayLike], dtype: DTypeLike | None = None) -> Array:
    """Side by side: along the second axis, or the only one.

    >>> jnp.hstack([jnp.array([1, 2]), jnp.array([3])])
    Array([1, 2, 3], dtype=int32)
    """
    arrays = _listed(atleast_1d(*_parts("hstack", tup)))
    return concatenate(arrays, 0 if arrays[0].ndim == 1 else 1, dtype)


@compiled
def dstack(tup: Sequence[ArrayLike], dtype: DTypeLike | None = None) -> Array:
    """Along the third axis.

    >>> jnp.dstack([jnp.array([1, 2]), jnp.array([3, 4])]).shape
    (1, 2, 2)
    """
    return concatenate(_listed(atleast_3d(*_parts("dstack", tup))), 2, dtype)


@compiled
def column_stack(tup: Sequence[ArrayLike]) -> Array:
    """Vectors as the columns of a matrix.

    >>> jnp.column_stack([jnp.array([1, 2]), jnp.array([3, 4])])
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    arrays = [as_array(x) for x in _parts("column_stack", tup)]
    return concatenate([lax.reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in arrays], 1)


def _listed(x: Any) -> list:
    return x if isinstance(x, list) else [x]


def block(arrays: Any) -> Array:
    """An array put together of nested lists of blocks: the innermost lists join along the last axis.

    >>> jnp.block([[jnp.ones((1, 1)), jnp.zeros((1, 2))]])
    Array([[1., 0., 0.]], dtype=float32)
    """
    out, _ = _block(arrays, _block_depth(arrays))
    return out


def _block_depth(arrays: Any) -> int:
    if isinstance(arrays, tuple):
        raise TypeError("block: only lists can be used to arrange blocks, and tuples are not allowed")
    if not isinstance(arrays, list):
        return 0
    if not arrays:
        raise ValueError("block: lists cannot be empty")
    depths = {_block_depth(x) for x in arrays}
    if len(depths) > 1:
        raise ValueError("block: list depths are mismatched")
    return depths.pop() + 1


def _block(arrays: Any, depth: int) -> tuple[Array, int]:
    leaves = _block_leaves(arrays)
    check_arraylike("block", *leaves)
    rank = max(depth, *(np.ndim(x) for x in leaves)) if len(leaves) > 1 else max(depth, np.ndim(leaves[0]))
    return _join_block(arrays, depth, rank), rank


def _block_leaves(arrays: Any) -> list:
    return [leaf for x in arrays for leaf in _block_leaves(x)] if isinstance(arrays, list) else [arrays]


def _join_block(arrays: Any, depth: int, rank: int) -> Array:
    if not isinstance(arrays, list):
        x = as_array(arrays)
        return lax.expand_dims(x, tuple(range(rank - x.ndim))) if x.ndim < rank else x
    return concatenate([_join_block(x, depth - 1, rank) for x in arrays], axis=-depth)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """arr followed by values, along an axis or both flattened.

    >>> jnp.append(jnp.array([1, 2]), 3)
    Array([1, 2, 3], dtype=int32)
    """
    check_arraylike("append", arr, values)
    if axis is None:
        return concatenate([ravel(arr), ravel(values)], 0)
    return concatenate([as_array(arr), as_array(values)], axis)


# --- splitting ---------------------------------------------------------------------------------------


def _split(name: str, ary: ArrayLike, where: Any, axis: int, even: bool) -> list[Array]:
    check_arraylike(name, ary)
    x = as_array(ary)
    axis = canonical_axis(axis, x.ndim)
    n = x.shape[axis]
    if not isinstance(where, (list, tuple)) and np.ndim(where) == 0:
        parts = int(concrete(where, f"the number of sections of {name}"))
        if parts <= 0:
            raise ValueError("number sections must be larger than 0.")
        if n % parts and even:
            raise ShapeError(f"array split does not result in an equal division: rest is {n % parts}",
                             fix="array_split allows parts of different sizes")
        sizes = [n // parts + (i < n % parts) for i in range(parts)]
        bounds = [sum(sizes[:i]) for i in range(parts + 1)]
    else:
        cuts = [concrete_int(c, name) for c in (where if isinstance(where, (list, tuple)) else concrete(where, name))]
        bounds = [0, *[slice(c).indices(n)[1] for c in cuts], n]
    pairs = zip(bounds[:-1], bounds[1:], strict=True)
    return [lax.slice_in_dim(x, low, max(low, high), axis=axis) for low, high in pairs]


def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Equal parts along an axis, or the parts between given positions.

    >>> jnp.split(jnp.arange(4), 2)
    [Array([0, 1], dtype=int32), Array([2, 3], dtype=int32)]
    """
    return _split("split", ary, indices_or_sections, axis, even=True)


def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """As `split`, where the parts may differ by one in length.

    >>> [len(p) for p in jnp.array_split(jnp.arange(5), 2)]
    [3, 2]
    """
    return _split("array_split", ary, indices_or_sections, axis, even=False)


def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """split along the first axis.

    >>> len(jnp.vsplit(jnp.ones((4, 2)), 2))
    2
    """
    return _split("vsplit", ary, indices_or_sections, 0, even=True)


def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """split along the second axis, or the only one.

    >>> len(jnp.hsplit(jnp.ones((4, 2)), 2))
    2
    """
    check_arraylike("hsplit", ary)
    return _split("hsplit", ary, indices_or_sections, 0 if np.ndim(ary) == 1 else 1, even=True)


def dsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Array]:
    """split along the third axis.

    >>> len(jnp.dsplit(jnp.ones((1, 2, 4)), 2))
    2
    """
    return _split("dsplit", ary, indices_or_sections, 2, even=True)


# --- repeating ---------------------------------------------------------------------------------------


@compiled
def tile(A: ArrayLike, reps: Any) -> Array:
    """The array put beside itself reps times along each axis.

    >>> jnp.tile(jnp.array([1, 2]), 2)
    Array([1, 2, 1, 2], dtype=int32)
    """
    check_arraylike("tile", A)
    x = as_array(A)
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    reps = tuple(concrete_int(r, "reps") for r in reps)
    rank = max(len(reps), x.ndim)
    reps, own = (1,) * (rank - len(reps)) + reps, (1,) * (rank - x.ndim) + x.shape
    pairs = [d for r, n in zip(reps, own, strict=True) for d in (r, n)]
    places = tuple(2 * (rank - x.ndim + i) + 1 for i in range(x.ndim))
    out = lax.broadcast_in_dim(x, tuple(pairs), places)
    return lax.reshape(out, tuple(r * n for r, n in zip(reps, own, strict=True)))


def repeat(
    a: ArrayLike,
    repeats: Any,
    axis: int | None = None,
    *,
    total_repeat_length: int | None = None,
    out_sharding: Any = None,
) -> Array:
    """Each element repeated. A traced count for each element needs total_repeat_length, the length of the result.

    >>> jnp.repeat(jnp.array([1, 2]), jnp.array([2, 1]))
    Array([1, 1, 2], dtype=int32)
    """
    check_arraylike("repeat", a)
    x = as_array(a)
    if axis is None:
        x, axis = lax.reshape(x, (x.size,)), 0
    if x.ndim == 0:
        x = lax.reshape(x, (1,))
    axis = canonical_axis(axis, x.ndim)
    if total_repeat_length is None and np.size(repeats if not is_traced(repeats) else np.zeros(repeats.shape)) == 1:
        count = int(np.ravel(concrete(repeats, "repeats"))[0])
        return _repeat_each(x, count, axis)
    return _repeat_counts(x, repeats, axis, total_repeat_length)


def _repeat_each(x: Array, count: int, axis: int) -> Array:
    wide = (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])
    out = lax.broadcast_in_dim(x, wide, tuple(i + (i > axis) for i in range(x.ndim)))
    return lax.reshape(out, (*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :]))


def _repeat_counts(x: Array, repeats: Any, axis: int, total: int | None) -> Array:
    n = x.shape[axis]
    if total is None:
        counts = np.ravel(concrete(repeats, "repeats"))
        if counts.size != n:
            raise ShapeError(f"repeat: {counts.size} counts for an axis of length {n}")
        which = np.repeat(np.arange(n, dtype=np.int32), counts)
        return _take_rows(x, which, axis)
    counts = as_array(np.asarray(repeats, np.int32) if not isinstance(repeats, (Array, Var)) else repeats)
    counts = expand_to(lax.reshape(counts, (counts.size,)), (n,))
    if n == 0 or total == 0:
        return lax.full((*x.shape[:axis], total, *x.shape[axis + 1 :]), 0, x.dtype)
    ends = lax.cumsum(lax.convert_element_type(counts, np.dtype("int32")), 0)
    place = lax.broadcasted_iota(np.dtype("int32"), (total, n), 0)
    passed = lax.ge(place, lax.broadcast_in_dim(ends, (total, n), (1,)))
    which = lax.reduce_sum(lax.convert_element_type(passed, np.dtype("int32")), (1,))
    return _take_rows(x, lax.min(which, np.int32(n - 1)), axis)


def _take_rows(x: Array, which: Any, axis: int) -> Array:
    return x[(slice(None),) * axis + (which,)]


def resize(a: ArrayLike, new_shape: Any) -> Array:
    """A new shape, filled with the elements again and again.

    >>> jnp.resize(jnp.array([1, 2]), (2, 2))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    check_arraylike("resize", a)
    target = (new_shape,) if np.ndim(new_shape) == 0 else tuple(new_shape)
    if any(d < 0 for d in target):
        raise ValueError("all elements of `new_shape` must be non-negative")
    flat, n = ravel(a), math.prod(target)
    if n == 0 or flat.size == 0:
        return lax.full(target, 0, flat.dtype)
    flat = tile(flat, -(-n // flat.size)) if n > flat.size else flat
    return lax.reshape(lax.slice_in_dim(flat, 0, n), target)

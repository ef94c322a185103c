"""Maps arrays to the same elements in another shape or order: reshape, transpose, join, split, repeat, roll, pad."""
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import canonicalize_dtype
from tracejit.numpy.creation import asarray
from tracejit.numpy.promotion import Array, ArrayLike, Axis, DTypeLike, Shape, Var, as_array, broadcast_operands
from tracejit.numpy.promotion import broadcast_shape, canonical_axes, canonical_axis, canonical_shape, cast_numpy
from tracejit.numpy.promotion import check_arraylike, check_no_out, concrete, concrete_int, convert, expand_to, is_traced
from tracejit.numpy.promotion import promote_dtypes


# --- shape -------------------------------------------------------------------------------------------

def shape(a: Any) -> tuple[int, ...]:
    """The shape of an array.

    >>> jnp.shape(jnp.ones((2, 3)))
    (2, 3)
    """
    check_arraylike("shape", a)
    return tuple(np.shape(a))


def ndim(a: Any) -> int:
    """The number of axes.

    >>> jnp.ndim(jnp.ones((2, 3)))
    2
    """
    check_arraylike("ndim", a)
    return len(np.shape(a))


def size(a: Any, axis: Axis = None) -> int:
    """The number of elements, or the length of axes.

    >>> jnp.size(jnp.ones((2, 3))), jnp.size(jnp.ones((2, 3)), 1)
    (6, 3)
    """
    check_arraylike("size", a)
    own = np.shape(a)
    return math.prod(own[i] for i in canonical_axes(axis, len(own)))


def resolve_shape(x: Array, new: Any) -> tuple[int, ...]:
    """A new shape with its -1 filled in."""
    sizes = (new,) if np.ndim(new) == 0 else tuple(new)
    sizes = [concrete_int(d, "shape") for d in sizes]
    if sizes.count(-1) > 1:
        raise ShapeError(f"can only specify one unknown axis size with a `-1` value, got {tuple(sizes)}")
    if any(d < -1 for d in sizes):
        raise ShapeError(f"shapes have no negative sizes, got {tuple(sizes)}")
    if -1 in sizes:
        known = math.prod(d for d in sizes if d != -1)
        if x.size % known if known else x.size:
            raise ShapeError(f"cannot reshape array of shape {x.shape} (size {x.size}) into shape {tuple(sizes)} because the "
                             f"product of specified axis sizes ({known}) does not evenly divide {x.size}")
        sizes[sizes.index(-1)] = x.size // known if known else 0
    if math.prod(sizes) != x.size:
        raise ShapeError(f"cannot reshape array of shape {x.shape} (size {x.size}) into shape {tuple(sizes)} "
                         f"(size {math.prod(sizes)})")
    return tuple(sizes)


def reshape(a: ArrayLike, shape: Any = None, order: str = "C", *, copy: bool | None = None, out_sharding: Any = None,
            newshape: Any = None) -> Array:
    """The elements in row-major order ("C") or column-major order ("F") in a new shape; one size may be -1.

    >>> jnp.reshape(jnp.arange(4), (2, -1))
    Array([[0, 1],
           [2, 3]], dtype=int32)
    """
    check_arraylike("reshape", a)
    x = as_array(a)
    sizes = resolve_shape(x, newshape if shape is None else shape)
    if order == "F":
        flipped = lax.transpose(x, tuple(range(x.ndim))[::-1])
        return lax.transpose(lax.reshape(flipped, sizes[::-1]), tuple(range(len(sizes)))[::-1])
    if order == "A":
        raise NotImplementedError("np.reshape order=A is not implemented.")
    if order != "C":
        raise ValueError(f"Unexpected value for 'order' argument: {order}.")
    return x if sizes == x.shape and not copy else lax.reshape(x, sizes)


def ravel(a: ArrayLike, order: str = "C", *, out_sharding: Any = None) -> Array:
    """All elements in one axis.

    >>> jnp.ravel(jnp.ones((2, 2)))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    check_arraylike("ravel", a)
    if order == "K":
        raise NotImplementedError("Ravel not implemented for order='K'.")
    return reshape(a, (np.size(a) if not is_traced(a) else a.size,), order)


def expand_dims(a: ArrayLike, axis: int | Sequence[int]) -> Array:
    """New axes of length 1 at these places of the result.

    >>> jnp.expand_dims(jnp.ones(2), (0, 2)).shape
    (1, 2, 1)
    """
    check_arraylike("expand_dims", a)
    x = as_array(a)
    n = x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1)
    axes = canonical_axes(axis if isinstance(axis, (tuple, list)) else (axis,), n)
    return lax.expand_dims(x, axes) if axes else x


def squeeze(a: ArrayLike, axis: Axis = None) -> Array:
    """Without axes of length 1: all of them, or those named.

    >>> jnp.squeeze(jnp.ones((1, 2, 1))).shape
    (2,)
    """
    check_arraylike("squeeze", a)
    x = as_array(a)
    axes = tuple(i for i, d in enumerate(x.shape) if d == 1) if axis is None else canonical_axes(axis, x.ndim)
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError(f"cannot select an axis to squeeze out which has size not equal to one, got shape={x.shape} and "
                         f"dimensions={axes}")
    return lax.squeeze(x, axes) if axes else x


def atleast_1d(*arys: ArrayLike) -> Any:
    """Arrays with at least one axis.

    >>> jnp.atleast_1d(3)
    Array([3], dtype=int32, weak_type=True)
    """
    return _at_least("atleast_1d", arys, lambda x: lax.reshape(x, (1,)) if x.ndim == 0 else x)


def atleast_2d(*arys: ArrayLike) -> Any:
    """Arrays with at least two axes; new ones come first.

    >>> jnp.atleast_2d(jnp.ones(3)).shape
    (1, 3)
    """
    return _at_least("atleast_2d", arys, lambda x: lax.expand_dims(x, tuple(range(2 - x.ndim))) if x.ndim < 2 else x)


def _to_3d(x: Array) -> Array:
    if x.ndim == 0:
        return lax.reshape(x, (1, 1, 1))
    if x.ndim == 1:
        return lax.expand_dims(x, (0, 2))
    return lax.expand_dims(x, (2,)) if x.ndim == 2 else x


def atleast_3d(*arys: ArrayLike) -> Any:
    """Arrays with at least three axes: (n,) becomes (1, n, 1) and (m, n) becomes (m, n, 1).

    >>> jnp.atleast_3d(jnp.ones(3)).shape
    (1, 3, 1)
    """
    return _at_least("atleast_3d", arys, _to_3d)


def _at_least(name: str, arys: Sequence, change: Any) -> Any:
    check_arraylike(name, *arys)
    out = [change(as_array(x)) for x in arys]
    return out[0] if len(out) == 1 else out


# --- broadcasting ------------------------------------------------------------------------------------

def broadcast_to(array: ArrayLike, shape: Any, *, out_sharding: Any = None) -> Array:
    """The array repeated along new and length-1 axes to a shape.

    >>> jnp.broadcast_to(jnp.array([1, 2]), (2, 2))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    check_arraylike("broadcast_to", array)
    target = canonical_shape(shape)
    own = np.shape(array)
    if len(own) > len(target) or any(a not in (1, b) for a, b in zip(own[::-1], target[::-1], strict=False)):
        raise ShapeError(f"Incompatible shapes for broadcasting: {own} and requested shape {target}")
    return expand_to(array, target)


def broadcast_arrays(*args: ArrayLike) -> list[Array]:
    """Arrays broadcast together.

    >>> [x.shape for x in jnp.broadcast_arrays(jnp.ones((2, 1)), jnp.ones(3))]
    [(2, 3), (2, 3)]
    """
    check_arraylike("broadcast_arrays", *args)
    target = broadcast_shape("broadcast_arrays", [np.shape(x) for x in args])
    return [expand_to(x, target) for x in args]


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that shapes broadcast to.

    >>> jnp.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    if not shapes:
        return ()
    return broadcast_shape("broadcast_shapes", [(s,) if np.ndim(s) == 0 else tuple(map(operator.index, s)) for s in shapes])


# --- axes --------------------------------------------------------------------------------------------

def transpose(a: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """Axes in another order: reversed, if none is given.

    >>> jnp.transpose(jnp.ones((2, 3, 4)), (1, 2, 0)).shape
    (3, 4, 2)
    """
    check_arraylike("transpose", a)
    x = as_array(a)
    if axes is None:
        order = tuple(range(x.ndim))[::-1]
    else:
        axes = (axes,) if np.ndim(axes) == 0 else axes
        if len(axes) != x.ndim:
            raise ShapeError(f"transpose permutation {tuple(axes)} does not name each of the {x.ndim} axes of shape {x.shape}")
        order = canonical_axes(tuple(axes), x.ndim)
    return x if order == tuple(range(x.ndim)) else lax.transpose(x, order)


def permute_dims(a: ArrayLike, /, axes: tuple[int, ...]) -> Array:
    """As `transpose` with axes given.

    >>> jnp.permute_dims(jnp.ones((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return transpose(a, axes)


def matrix_transpose(x: ArrayLike, /) -> Array:
    """The last two axes swapped.

    >>> jnp.matrix_transpose(jnp.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    check_arraylike("matrix_transpose", x)
    if np.ndim(x) < 2:
        raise ValueError(f"x must be at least two-dimensional for matrix_transpose; got ndim={np.ndim(x)}")
    return swapaxes(x, -1, -2)


def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Array:
    """Two axes exchanged.

    >>> jnp.swapaxes(jnp.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    check_arraylike("swapaxes", a)
    n = np.ndim(a)
    order = list(range(n))
    i, j = canonical_axis(axis1, n), canonical_axis(axis2, n)
    order[i], order[j] = j, i
    return transpose(a, order)


def moveaxis(a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Axes moved to new places; the others keep their order.

    >>> jnp.moveaxis(jnp.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    check_arraylike("moveaxis", a)
    n = np.ndim(a)
    sources = canonical_axes((source,) if np.ndim(source) == 0 else tuple(source), n)
    targets = canonical_axes((destination,) if np.ndim(destination) == 0 else tuple(destination), n)
    if len(sources) != len(targets):
        raise ValueError(f"Inconsistent number of elements: {len(sources)} vs {len(targets)}")
    order = [i for i in range(n) if i not in sources]
    for target, source_axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source_axis)
    return transpose(a, order)


def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """An axis moved to lie before position start.

    >>> jnp.rollaxis(jnp.ones((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    check_arraylike("rollaxis", a)
    n = np.ndim(a)
    axis = canonical_axis(axis, n)
    if not -n <= start <= n:
        raise ValueError(f"start={start} must satisfy {-n}<=start<={n}")
    start = start + n if start < 0 else start
    return moveaxis(a, axis, start - (axis < start))


# --- order -------------------------------------------------------------------------------------------

def flip(m: ArrayLike, axis: Axis = None) -> Array:
    """Axes reversed; all of them if none is given.

    >>> jnp.flip(jnp.array([1, 2, 3]))
    Array([3, 2, 1], dtype=int32)
    """
    check_arraylike("flip", m)
    x = as_array(m)
    axes = canonical_axes(axis, x.ndim)
    return lax.rev(x, axes) if axes else x


def flipud(m: ArrayLike) -> Array:
    """The first axis reversed.

    >>> jnp.flipud(jnp.array([1, 2, 3]))
    Array([3, 2, 1], dtype=int32)
    """
    return flip(m, 0)


def fliplr(m: ArrayLike) -> Array:
    """The second axis reversed.

    >>> jnp.fliplr(jnp.array([[1, 2, 3]]))
    Array([[3, 2, 1]], dtype=int32)
    """
    return flip(m, 1)


def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """A plane turned by k quarter turns, from the first axis towards the second.

    >>> jnp.rot90(jnp.array([[1, 2], [3, 4]]))
    Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    check_arraylike("rot90", m)
    if np.ndim(m) < 2:
        raise ValueError("rot90 requires its first argument to have ndim at least two, but got first argument of "
                         f"shape {np.shape(m)}")
    first, second = (canonical_axis(i, np.ndim(m)) for i in axes)
    if first == second:
        raise ValueError("Axes must be different")
    turns = {0: lambda: as_array(m), 1: lambda: swapaxes(flip(m, second), first, second),
             2: lambda: flip(m, (first, second)), 3: lambda: flip(swapaxes(m, first, second), second)}
    return turns[k % 4]()


def roll(a: ArrayLike, shift: Any, axis: Axis = None) -> Array:
    """Elements shifted along axes; those pushed out at one end come in at the other. The shift may be traced.

    >>> jnp.roll(jnp.array([1, 2, 3]), 1)
    Array([3, 1, 2], dtype=int32)
    """
    check_arraylike("roll", a)
    x = as_array(a)
    if axis is None:
        return lax.reshape(roll(lax.reshape(x, (x.size,)), shift, 0), x.shape)
    axes = [canonical_axis(i, x.ndim) for i in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    shifts = shift if isinstance(shift, (tuple, list)) else list(np.ravel(shift)) if not is_traced(shift) and np.ndim(shift) else [shift]
    if len(shifts) == 1:
        shifts = list(shifts) * len(axes)
    axes = axes * len(shifts) if len(axes) == 1 else axes
    if len(shifts) != len(axes):
        raise ValueError("roll: shift and axis must have the same number of elements")
    for s, i in zip(shifts, axes, strict=True):
        x = _roll_axis(x, s, i)
    return x


def _roll_axis(x: Array, shift: Any, axis: int) -> Array:
    n = x.shape[axis]
    if n == 0:
        return x
    if isinstance(shift, (int, np.integer)):
        k = int(shift) % n
        ends = (lax.slice_in_dim(x, n - k, n, axis=axis), lax.slice_in_dim(x, 0, n - k, axis=axis))
        return lax.concatenate(ends, axis) if k else x
    shift = lax.convert_element_type(shift, np.dtype("int32"))
    size = np.int32(n)
    start = lax.sub(size, lax.rem(lax.add(lax.rem(shift, size), size), size))
    return lax.dynamic_slice_in_dim(lax.concatenate([x, x], axis), start, n, axis)


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
    dtype = canonicalize_dtype(dtype)
    return [as_array(convert(x, dtype)) for x in arrays]


def concatenate(arrays: Any, axis: int | None = 0, dtype: DTypeLike | None = None) -> Array:
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
    rest = {(*x.shape[:axis], *x.shape[axis + 1:]) for x in arrays}
    if len(rest) > 1 or len({x.ndim for x in arrays}) > 1:
        raise ShapeError("Cannot concatenate arrays with shapes that differ in dimensions other than the one being "
                         f"concatenated: concatenating along dimension {axis} for shapes {', '.join(str(x.shape) for x in arrays)}.")
    return lax.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]


def concat(arrays: Sequence[ArrayLike], /, *, axis: int | None = 0) -> Array:
    """As `concatenate` (array API standard).

    >>> jnp.concat([jnp.array([1]), jnp.array([2])])
    Array([1, 2], dtype=int32)
    """
    return concatenate(arrays, axis)


def stack(arrays: Any, axis: int = 0, out: None = None, dtype: DTypeLike | None = None) -> Array:
    """Arrays of one shape joined along a new axis.

    >>> jnp.stack([jnp.array([1, 2]), jnp.array([3, 4])], axis=1)
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    check_no_out("stack", out)
    if isinstance(arrays, (Array, Var, np.ndarray)) and arrays.ndim:
        return moveaxis(arrays if dtype is None else lax.convert_element_type(arrays, canonicalize_dtype(dtype)), 0, axis)
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


def vstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Rows on top of each other.

    >>> jnp.vstack([jnp.array([1, 2]), jnp.array([3, 4])]).shape
    (2, 2)
    """
    return concatenate(_listed(atleast_2d(*_parts("vstack", tup))), 0, dtype)


def hstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Side by side: along the second axis, or the only one.

    >>> jnp.hstack([jnp.array([1, 2]), jnp.array([3])])
    Array([1, 2, 3], dtype=int32)
    """
    arrays = _listed(atleast_1d(*_parts("hstack", tup)))
    return concatenate(arrays, 0 if arrays[0].ndim == 1 else 1, dtype)


def dstack(tup: Any, dtype: DTypeLike | None = None) -> Array:
    """Along the third axis.

    >>> jnp.dstack([jnp.array([1, 2]), jnp.array([3, 4])]).shape
    (1, 2, 2)
    """
    return concatenate(_listed(atleast_3d(*_parts("dstack", tup))), 2, dtype)


def column_stack(tup: Any) -> Array:
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
    if np.ndim(where) == 0 and not isinstance(where, (list, tuple)):
        parts = concrete_int(where, name)
        if parts <= 0:
            raise ValueError("number sections must be larger than 0.")
        if n % parts and even:
            raise ValueError(f"array split does not result in an equal division: rest is {n % parts}")
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


def repeat(a: ArrayLike, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None,
           out_sharding: Any = None) -> Array:
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
    wide = (*x.shape[:axis + 1], count, *x.shape[axis + 1:])
    out = lax.broadcast_in_dim(x, wide, tuple(i + (i > axis) for i in range(x.ndim)))
    return lax.reshape(out, (*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1:]))


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
        return lax.full((*x.shape[:axis], total, *x.shape[axis + 1:]), 0, x.dtype)
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

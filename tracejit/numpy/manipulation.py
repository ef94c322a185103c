"""Maps arrays to the same elements in another shape or order: reshape, broadcast, transpose, flip, roll."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.numpy.compiled import compiled
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    Axis,
    as_array,
    axes_given,
    broadcast_shape,
    canonical_axes,
    canonical_axis,
    canonical_shape,
    check_arraylike,
    concrete_int,
    expand_to,
    is_arraylike,
    is_traced,
)

# --- shape -------------------------------------------------------------------------------------------


def own_shape(name: str, a: Any) -> tuple[int, ...]:
    """The shape that `a` says it has, array or not; that of the array that a list or a number would be. Anything else has
    shape () and a DeprecationWarning, as in JAX."""
    if not isinstance(a, (list, tuple)) and not hasattr(a, "shape") and not is_arraylike(a):
        warnings.warn(f"{name}: {type(a).__name__} is no array; this will be an error", DeprecationWarning, stacklevel=3)
    return tuple(np.shape(a))


def shape(a: Any) -> tuple[int, ...]:
    """The shape of an array.

    >>> jnp.shape(jnp.ones((2, 3)))
    (2, 3)
    """
    return own_shape("shape", a)


def ndim(a: Any) -> int:
    """The number of axes.

    >>> jnp.ndim(jnp.ones((2, 3)))
    2
    """
    return len(own_shape("ndim", a))


def size(a: Any, axis: Axis = None) -> int:
    """The number of elements, or the length of axes.

    >>> jnp.size(jnp.ones((2, 3))), jnp.size(jnp.ones((2, 3)), 1)
    (6, 3)
    """
    own = own_shape("size", a)
    return math.prod(own[i] for i in canonical_axes(axis, len(own)))


def resolve_shape(x: Array, new: Any) -> tuple[int, ...]:
    """A new shape with its -1 filled in."""
    sizes = [concrete_int(d, "shape") for d in axes_given(new)]
    if sizes.count(-1) > 1:
        raise ShapeError(f"can only specify one unknown axis size with a `-1` value, got {tuple(sizes)}")
    if any(d < -1 for d in sizes):
        raise ShapeError(f"shapes have no negative sizes, got {tuple(sizes)}")
    if -1 in sizes:
        known = math.prod(d for d in sizes if d != -1)
        if x.size % known if known else x.size:
            raise ShapeError(
                f"cannot reshape array of shape {x.shape} (size {x.size}) into shape {tuple(sizes)} because the "
                f"product of specified axis sizes ({known}) does not evenly divide {x.size}"
            )
        sizes[sizes.index(-1)] = x.size // known if known else 0
    if math.prod(sizes) != x.size:
        raise ShapeError(
            f"cannot reshape array of shape {x.shape} (size {x.size}) into shape {tuple(sizes)} "
            f"(size {math.prod(sizes)})", fix="the sizes must multiply to that of the array; -1 stands for what is left"
        )
    return tuple(sizes)


def reshape(
    a: ArrayLike,
    shape: Any = None,
    order: str = "C",
    *,
    copy: bool | None = None,
    out_sharding: Any = None,
    newshape: Any = None,
) -> Array:
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
    axis = axes_given(axis)
    axes = canonical_axes(axis, x.ndim + len(axis))
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
        raise ShapeError(
            f"cannot select an axis to squeeze out which has size not equal to one, got shape={x.shape} and "
            f"dimensions={axes}", fix="x[0] takes one row of several, reshape joins axes"
        )
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


@compiled
def broadcast_to(array: ArrayLike, shape: Any, *, out_sharding: Any = None) -> Array:
    """The array repeated along new and length-1 axes to a shape.

    >>> jnp.broadcast_to(jnp.array([1, 2]), (2, 2))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    check_arraylike("broadcast_to", array)
    target = canonical_shape(shape)
    own = np.shape(array)
    if len(own) > len(target):
        raise ShapeError(f"Cannot broadcast to shape with fewer dimensions: {own} to {target}")
    if any(a not in (1, b) for a, b in zip(own[::-1], target[::-1], strict=False)):
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
    return broadcast_shape(
        "broadcast_shapes", [(s,) if np.ndim(s) == 0 else tuple(map(operator.index, s)) for s in shapes]
    )


# --- axes --------------------------------------------------------------------------------------------


@compiled
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
        axes = axes_given(axes)
        if len(axes) != x.ndim or len({canonical_axis(a, x.ndim) for a in axes}) != x.ndim:
            raise ShapeError(
                f"transpose permutation {tuple(axes)} does not name each of the {x.ndim} axes of shape {x.shape}"
            )
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


@compiled
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


@compiled
def moveaxis(a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """Axes moved to new places; the others keep their order.

    >>> jnp.moveaxis(jnp.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    check_arraylike("moveaxis", a)
    n = np.ndim(a)
    sources = canonical_axes(axes_given(source), n)
    targets = canonical_axes(axes_given(destination), n)
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


@compiled
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


@compiled
def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """A plane turned by k quarter turns, from the first axis towards the second.

    >>> jnp.rot90(jnp.array([[1, 2], [3, 4]]))
    Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    check_arraylike("rot90", m)
    if np.ndim(m) < 2:
        raise ValueError(
            "rot90 requires its first argument to have ndim at least two, but got first argument of "
            f"shape {np.shape(m)}"
        )
    first, second = (canonical_axis(i, np.ndim(m)) for i in axes)
    if first == second:
        raise ValueError("Axes must be different")
    turns = {
        0: lambda: as_array(m),
        1: lambda: swapaxes(flip(m, second), first, second),
        2: lambda: flip(m, (first, second)),
        3: lambda: flip(swapaxes(m, first, second), second),
    }
    return turns[k % 4]()


@compiled
def roll(a: ArrayLike, shift: Any, axis: Axis = None) -> Array:
    """Elements shifted along axes; those pushed out at one end come in at the other. The shift may be traced.

    >>> jnp.roll(jnp.array([1, 2, 3]), 1)
    Array([3, 1, 2], dtype=int32)
    """
    check_arraylike("roll", a)
    x = as_array(a)
    if axis is None:
        return lax.reshape(roll(lax.reshape(x, (x.size,)), shift, 0), x.shape)
    axes = [canonical_axis(i, x.ndim) for i in axes_given(axis)]
    shifts = (
        shift
        if isinstance(shift, (tuple, list))
        else list(np.ravel(shift))
        if not is_traced(shift) and np.ndim(shift)
        else [shift]
    )
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

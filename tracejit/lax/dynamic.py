"""Slices that start where run-time integers say: `dynamic_slice` reads one, `dynamic_update_slice` writes one.

A start counts from the end where it is negative, and is then moved so that the whole slice lies in the operand.
"""
from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, is_integer, type_of
from tracejit.lax.broadcast import axis_of, full, ints
from tracejit.lax.compare import lt, select
from tracejit.lax.convert import convert_element_type, of_one_dtype
from tracejit.lax.elementwise import Max, add
from tracejit.lax.index import Gather, Scatter
from tracejit.lax.kinds import View, hull, is_linear, op_dataclass
from tracejit.lax.shape import broadcast_in_dim, concatenate, expand_dims, index_in_dim, squeeze

INT64 = np.dtype("int64")


def check_starts(name: str, operand: ArrayType, sizes: tuple[int, ...], starts: Sequence[ArrayType]) -> None:
    if len(sizes) != operand.ndim or len(starts) != operand.ndim:
        raise ShapeError(f"{name}: {operand} needs {operand.ndim} starts and sizes; there are {len(starts)} and "
                         f"{len(sizes)}", source=user_source(), fix="give one of each per axis")
    if any(not 0 <= s <= n for s, n in zip(sizes, operand.shape)):
        raise ShapeError(f"{name}: a slice of sizes {sizes} does not fit in {operand}", source=user_source(),
                         fix="a slice may be at most as large as the operand")
    for t in starts:
        if t.ndim or not is_integer(t.dtype):
            raise DtypeError(f"{name}: a start must be a zero-dimensional integer, not {t}", source=user_source(),
                             fix="give one integer per axis")


def region(shape: tuple[int, ...], sizes: tuple[int, ...], starts) -> tuple[slice, ...]:
    """NumPy's meaning of the starts."""
    wrapped = [int(i) + (n if i < 0 else 0) for i, n in zip(starts, shape)]
    first = [min(max(i, 0), n - size) for i, n, size in zip(wrapped, shape, sizes)]
    return tuple(slice(i, i + size) for i, size in zip(first, sizes))


def origin(b, read, first: int, sizes: tuple[int, ...], types, wraps: bool) -> list:
    """Where the slice begins along each axis; operands from number `first` are the starts."""
    places = []
    for d, (n, size) in enumerate(zip(types[0].shape, sizes)):
        if n == size:
            places.append(0)
            continue
        start = b.convert(read(first + d, ()), INT64)
        if wraps and types[first + d].dtype.kind == "i":
            start = b.select(b.lt(start, 0), b.add(start, b.const(n, INT64)), start)
        places.append(b.as_index(start, n - size + 1))
    return places


def index_vectors(ctx, shape, starts, batched):
    """The starts of all lanes, counted from 0, as gather's index vectors [lane, axis]."""
    columns = []
    for n, start, is_batched in zip(shape, starts, batched):
        start = from_zero(start, n)
        columns.append(start if is_batched else broadcast_in_dim(start, (ctx.size,), ()))
    return concatenate([expand_dims(c, (1,)) for c in columns], 1)


def from_zero(start, n: int):
    """A start along an axis of n elements, counted from the axis's beginning."""
    start = convert_element_type(start, INT64)
    return select(lt(start, 0), add(start, n), start)


def check_inside(ctx, shape, sizes, starts) -> None:
    """Tell checkify's ctx of a slice that had to be moved into the operand."""
    if starts:
        vector = concatenate([expand_dims(from_zero(s, n), (0,)) for s, n in zip(starts, shape)], 0)
        ctx.outside(shape, range(len(shape)), vector, [n - size for n, size in zip(shape, sizes)])


@op_dataclass
class DynamicSlice(View):
    """out[i] = x[start + i]."""
    slice_sizes: tuple[int, ...]
    wraps: bool = dataclasses.field(default=True, repr=False)     # False: no start is negative

    def infer(self, x, *starts):
        check_starts("dynamic_slice", x, self.slice_sizes, starts)
        return ArrayType(self.slice_sizes, x.dtype, x.weak_type)

    def eval(self, x, *starts): return x[region(x.shape, self.slice_sizes, starts)]

    def pull(self, b, index, read, types):
        start = origin(b, read, 1, self.slice_sizes, types, self.wraps)
        return read(0, tuple(i + s for i, s in zip(index, start)))

    def checked(self, ctx, args):
        check_inside(ctx, type_of(args[0]).shape, self.slice_sizes, args[1:])
        return super().checked(ctx, args)

    def transpose(self, ctx, ct, x, *starts):
        zeros = full(x.shape, 0, type_of(ct).dtype)
        return bind(DynamicUpdateSlice(), zeros, ct, *starts), *[None] * len(starts)

    def batch(self, ctx, args, batched):
        x, *starts = args
        if not any(batched[1:]):
            return bind(DynamicSlice((ctx.size, *self.slice_sizes)), x, 0, *starts), True
        n = len(starts)
        shape = type_of(x).shape[batched[0]:]
        lanes = (0,) if batched[0] else ()
        op = Gather(tuple(range(1, n + 1)), (), tuple(range(len(lanes), n + len(lanes))), lanes, lanes,
                    (1,) * len(lanes) + self.slice_sizes, "clip")
        return bind(op, x, index_vectors(ctx, shape, starts, batched[1:])), True


@op_dataclass
class DynamicUpdateSlice(View):
    """x with the slice that begins at start replaced by y."""
    wraps: bool = dataclasses.field(default=True, repr=False)     # False: no start is negative
    joins: ClassVar[bool] = True

    def bounds(self, types, x, y, *starts): return hull(x, y)

    def infer(self, x, y, *starts):
        if x.dtype != y.dtype or x.ndim != y.ndim:
            raise (DtypeError if x.ndim == y.ndim else ShapeError)(
                f"dynamic_update_slice: cannot write {y} into {x}", source=user_source(),
                fix="the update needs the operand's dtype and number of axes")
        check_starts("dynamic_update_slice", x, y.shape, starts)
        return ArrayType(x.shape, x.dtype, x.weak_type and y.weak_type)

    def eval(self, x, y, *starts):
        out = x.copy()
        out[region(x.shape, y.shape, starts)] = y
        return out

    def pull(self, b, index, read, types):
        start = origin(b, read, 2, types[1].shape, types, self.wraps)
        place = tuple(i - s for i, s in zip(index, start))
        inside = [b.inside(i, 0, size) for i, size, n in zip(place, types[1].shape, types[0].shape) if size < n]
        if not inside:
            return read(1, place)
        return b.where(b.all(inside), lambda: read(1, place), lambda: read(0, index))

    def checked(self, ctx, args):
        check_inside(ctx, type_of(args[0]).shape, type_of(args[1]).shape, args[2:])
        return super().checked(ctx, args)

    def transpose(self, ctx, ct, x, y, *starts):
        ct_x = bind(self, ct, full(y.shape, 0, type_of(ct).dtype), *starts) if is_linear(x) else None
        ct_y = bind(DynamicSlice(y.shape), ct, *starts) if is_linear(y) else None
        return ct_x, ct_y, *[None] * len(starts)

    def batch(self, ctx, args, batched):
        x, y = ctx.materialize(args[0], batched[0]), ctx.materialize(args[1], batched[1])
        if not any(batched[2:]):
            return bind(self, x, y, 0, *args[2:]), True
        n = len(args) - 2
        op = Scatter(tuple(range(1, n + 1)), (), tuple(range(1, n + 1)), (0,), (0,), (1, *type_of(y).shape[1:]), "clip",
                     True)
        return bind(op, x, index_vectors(ctx, type_of(x).shape[1:], args[2:], batched[2:]), y), True


def starts_of(indices: Any, allow_negative: bool | Sequence[bool]) -> list:
    """Start indices, given one by one or as a vector, as zero-dimensional values."""
    if not isinstance(indices, (list, tuple)):
        indices = [index_in_dim(indices, i, 0, keepdims=False) for i in range(type_of(indices).shape[0])]
    if allow_negative is True:
        return indices
    allowed = [allow_negative] * len(indices) if isinstance(allow_negative, bool) else allow_negative
    return [i if ok else bind(Max(), *of_one_dtype(i, 0)) for i, ok in zip(indices, allowed, strict=True)]


def dynamic_slice(operand: Any, start_indices: Any, slice_sizes: Sequence[int], *,
                  allow_negative_indices: bool | Sequence[bool] = True) -> Any:
    """The slice of slice_sizes that begins at start_indices (a sequence of integers, or a vector).

    Negative starts count from the end (unless not allowed: then they are 0), and the slice is moved into the operand.

    >>> print(dynamic_slice(np.arange(6), [4], (3,)))
    [3 4 5]
    """
    return bind(DynamicSlice(ints(slice_sizes)), operand, *starts_of(start_indices, allow_negative_indices))


def dynamic_update_slice(operand: Any, update: Any, start_indices: Any, *,
                         allow_negative_indices: bool | Sequence[bool] = True) -> Any:
    """operand with the slice that begins at start_indices replaced by update; starts are as for dynamic_slice.

    >>> print(dynamic_update_slice(np.arange(4), np.array([7, 8]), [1]))
    [0 7 8 3]
    """
    x, y = of_one_dtype(operand, update)
    return bind(DynamicUpdateSlice(), x, y, *starts_of(start_indices, allow_negative_indices))


def dynamic_slice_in_dim(operand: Any, start_index: Any, slice_size: int, axis: int = 0, *,
                         allow_negative_indices: bool = True) -> Any:
    """The slice of slice_size elements from start_index on, along one axis."""
    sizes = list(type_of(operand).shape)
    axis = axis_of("dynamic_slice_in_dim", axis, len(sizes), from_end=True)
    sizes[axis] = operator.index(slice_size)
    starts = [start_index if d == axis else 0 for d in range(len(sizes))]
    return dynamic_slice(operand, starts, sizes, allow_negative_indices=allow_negative_indices)


def dynamic_index_in_dim(operand: Any, index: Any, axis: int = 0, keepdims: bool = True, *,
                         allow_negative_indices: bool = True) -> Any:
    """The element at index along one axis, which stays with size 1 unless keepdims is false."""
    out = dynamic_slice_in_dim(operand, index, 1, axis, allow_negative_indices=allow_negative_indices)
    return out if keepdims else squeeze(out, (axis,))


def dynamic_update_slice_in_dim(operand: Any, update: Any, start_index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """operand with the slice from start_index on, along one axis, replaced by update."""
    ndim = type_of(operand).ndim
    axis = axis_of("dynamic_update_slice_in_dim", axis, ndim, from_end=True)
    starts = [start_index if d == axis else 0 for d in range(ndim)]
    return dynamic_update_slice(operand, update, starts, allow_negative_indices=allow_negative_indices)


def dynamic_update_index_in_dim(operand: Any, update: Any, index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """operand with the element at index along one axis replaced by update, which may lack that axis."""
    ndim = type_of(operand).ndim
    axis = axis_of("dynamic_update_index_in_dim", axis, ndim, from_end=True)
    if type_of(update).ndim == ndim - 1:
        update = expand_dims(update, (axis,))
    return dynamic_update_slice_in_dim(operand, update, index, axis, allow_negative_indices=allow_negative_indices)

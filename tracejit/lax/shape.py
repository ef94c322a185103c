"""Rearrangements of elements: reshape, slice, pad, concatenate and what is made of them.

All are Views: fused kernels read the operand at another index, and nothing is copied.
"""
from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.broadcast import (axes_of, axis_of, broadcast_in_dim, full, full_like, ints, is_own, reduce_sum, resized,
                                    shape_of, transpose)
from tracejit.lax.compare import select
from tracejit.lax.convert import of_one_dtype
from tracejit.lax.elementwise import sub
from tracejit.lax.kinds import Cut, View, is_linear, op_dataclass


@op_dataclass
class Reshape(View):
    """The same elements in row-major order, in another shape."""
    shape: tuple[int, ...]

    def infer(self, x):
        if min(self.shape, default=0) < 0 or math.prod(self.shape) != x.size:
            raise ShapeError(f"reshape: {x} has {x.size} elements, shape {self.shape} needs {math.prod(self.shape)}",
                             source=user_source(), fix="give sizes whose product is the number of elements")
        return ArrayType(self.shape, x.dtype, x.weak_type)

    def lies_as(self, x): return True
    def eval(self, x): return x.reshape(self.shape)
    def pull(self, b, index, read, types): return read(0, regrouped(index, self.shape, types[0].shape))
    def transpose(self, ctx, ct, x): return (reshape(ct, x.shape),)
    def batch(self, ctx, args, batched): return bind(Reshape((ctx.size, *self.shape)), *args), True
    def part(self, axis, start, size, args): return bind(Reshape(resized(self.shape, axis, size)), *args)

    def cuts(self, types, out):
        """Along axes that stay as they are: as long, and with as many elements before them."""
        places = lambda shape: {(math.prod(shape[:a]), n): a for a, n in enumerate(shape) if n > 1}
        old = places(types[0].shape)
        return [Cut(a, (old[place],)) for place, a in places(self.shape).items() if place in old]


def regrouped(index: tuple, shape: tuple[int, ...], old: tuple[int, ...]) -> tuple:
    """The index into `old` of the element at `index` of `shape`, by the smallest groups of axes of equal size."""
    if 0 in shape:
        return (0,) * len(old)  # there is no element
    out: list = []
    i = 0
    while len(out) < len(old):
        first, count, size = len(out), 1, old[len(out)]
        mine, filled = [], 1
        while filled != size:
            if filled < size:
                mine.append(i)
                filled, i = filled * shape[i], i + 1
            else:
                size, count = size * old[first + count], count + 1
        out += _digits(_flat(index, shape, mine), old[first:first + count])
    return tuple(out)


def _flat(index: tuple, shape: tuple[int, ...], axes: list[int]):
    axes = [a for a in axes if shape[a] != 1]
    if not axes:
        return 0
    flat = index[axes[0]]
    for a in axes[1:]:
        flat = flat * shape[a] + index[a]
    return flat


def _digits(flat: Any, sizes: tuple[int, ...]) -> list:
    if len(sizes) == 1:
        return [flat]
    digits = []
    for k, n in enumerate(sizes):
        stride = math.prod(sizes[k + 1:])
        digit = flat // stride if stride != 1 else flat
        digits.append(0 if n == 1 else digit % n if k else digit)
    return digits


def reshape(operand: Any, new_sizes: Sequence[int], dimensions: Sequence[int] | None = None, *,
            out_sharding: Any = None) -> Any:
    """The elements of operand in row-major order (after transposing it by `dimensions`) in shape new_sizes.

    >>> print(reshape(np.arange(4), (2, 2), (0,)))
    [[0 1]
     [2 3]]
    """
    shape = shape_of(new_sizes)
    if dimensions is not None:
        operand = transpose(operand, dimensions)
    if is_own(operand) and type_of(operand).shape == shape:
        return operand
    return bind(Reshape(shape), operand)


@op_dataclass
class Rev(View):
    """x read backwards along some axes."""
    dimensions: tuple[int, ...]

    def infer(self, x):
        axes_of("rev", self.dimensions, x.ndim)
        return x

    def eval(self, x): return np.flip(x, self.dimensions)
    def transpose(self, ctx, ct, x): return (bind(self, ct),)
    def batch(self, ctx, args, batched): return bind(Rev(tuple(d + 1 for d in self.dimensions)), *args), True

    def pull(self, b, index, read, types):
        return read(0, tuple(i * -1 + (n - 1) if d in self.dimensions else i
                             for d, (i, n) in enumerate(zip(index, types[0].shape))))


def rev(operand: Any, dimensions: Sequence[int]) -> Any:
    """operand backwards along the given axes.

    >>> print(rev(np.array([1, 2, 3]), (0,)))
    [3 2 1]
    """
    return bind(Rev(ints(dimensions)), operand)


@op_dataclass
class Slice(View):
    """out[i] = x[start + i * stride], up to but without limit."""
    start_indices: tuple[int, ...]
    limit_indices: tuple[int, ...]
    strides: tuple[int, ...]

    def infer(self, x):
        start, limit, stride = self.start_indices, self.limit_indices, self.strides
        if not len(start) == len(limit) == len(stride) == x.ndim:
            raise ShapeError(f"slice: {x} needs {x.ndim} starts, limits and strides; there are {len(start)}, "
                             f"{len(limit)} and {len(stride)}", source=user_source(), fix="give one of each per axis")
        for axis, (a, z, s, n) in enumerate(zip(start, limit, stride, x.shape)):
            if not (0 <= a <= z <= n and s > 0):
                raise ShapeError(f"slice: {a}:{z}:{s} does not lie in axis {axis} of {x}", source=user_source(),
                                 fix="0 <= start <= limit <= size and stride > 0 must hold (slice_in_dim takes "
                                 "negative positions)")
        sizes = tuple([-((a - z) // s) for a, z, s in zip(start, limit, stride)])
        return ArrayType(sizes, x.dtype, x.weak_type)

    def eval(self, x): return x[tuple(map(_slice, self.start_indices, self.limit_indices, self.strides))]

    def pull(self, b, index, read, types):
        return read(0, tuple(i * s + a for i, a, s in zip(index, self.start_indices, self.strides)))

    def transpose(self, ctx, ct, x):
        config = [(a, n - (a + (m - 1) * s + 1), s - 1) if m else (0, n, 0)
                  for a, s, n, m in zip(self.start_indices, self.strides, x.shape, type_of(ct).shape)]
        return (pad(ct, 0, config),)

    def cuts(self, types, out):
        whole = zip(self.start_indices, self.limit_indices, self.strides, types[0].shape)
        return [Cut(a, (a,)) for a, (start, limit, stride, n) in enumerate(whole) if (start, limit, stride) == (0, n, 1)]

    def part(self, axis, start, size, args):
        return bind(Slice(self.start_indices, resized(self.limit_indices, axis, size), self.strides), *args)

    def batch(self, ctx, args, batched):
        return bind(Slice((0, *self.start_indices), (ctx.size, *self.limit_indices), (1, *self.strides)), *args), True


_slice = slice  # the builtin, which this module's own function hides


def slice(operand: Any, start_indices: Sequence[int], limit_indices: Sequence[int],
          strides: Sequence[int] | None = None) -> Any:
    """operand[start : limit : stride] on every axis; ShapeError unless 0 <= start <= limit <= size.

    >>> print(slice(np.arange(6), (1,), (6,), (2,)))
    [1 3 5]
    """
    start, limit = ints(start_indices), ints(limit_indices)
    strides = (1,) * len(start) if strides is None else ints(strides)
    if not any(start) and is_own(operand) and limit == type_of(operand).shape and all([s == 1 for s in strides]):
        return operand
    return bind(Slice(start, limit, strides), operand)


def slice_in_dim(operand: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0) -> Any:
    """operand[start : limit : stride] along one axis; None and negative positions as in Python.

    >>> print(slice_in_dim(np.arange(6), -2, None))
    [4 5]
    """
    shape = type_of(operand).shape
    axis = axis_of("slice_in_dim", axis, len(shape), from_end=True)
    at = lambda i, default: default if i is None else operator.index(i) + (shape[axis] if i < 0 else 0)
    start, limit, strides = [0] * len(shape), list(shape), [1] * len(shape)
    start[axis], limit[axis], strides[axis] = at(start_index, 0), at(limit_index, shape[axis]), operator.index(stride)
    return slice(operand, start, limit, strides)


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Any:
    """The element at a fixed position along one axis, which stays with size 1 unless keepdims is false."""
    n = type_of(operand).shape[axis_of("index_in_dim", axis, type_of(operand).ndim, from_end=True)]
    i = operator.index(index)
    if not -n <= i < n:
        raise IndexError(f"index_in_dim: index {i} is out of bounds for axis {axis} with size {n}")
    out = slice_in_dim(operand, i % n, i % n + 1, 1, axis)
    return out if keepdims else squeeze(out, (axis,))


@op_dataclass
class Pad(View):
    """x with (low, high, interior) times `value` before, after and between its elements along each axis.

    Negative low and high cut off instead.
    """
    padding_config: tuple[tuple[int, int, int], ...]
    joins: ClassVar[bool] = True

    def infer(self, x, value):
        if x.dtype != value.dtype:
            raise DtypeError(f"pad: cannot pad {x} with {value}", source=user_source(), fix="convert the padding value")
        config = self.padding_config
        sizes = [lo + hi + n + max(n - 1, 0) * inner for n, (lo, hi, inner) in zip(x.shape, config)]
        if len(config) != x.ndim or value.ndim or any(inner < 0 for *_, inner in config) or min(sizes, default=0) < 0:
            wrong = "padding_value must be a scalar" if value.ndim else "padding_config must have an entry for each axis" if \
                len(config) != x.ndim else "interior padding in padding_config must be nonnegative" if \
                any(inner < 0 for *_, inner in config) else f"Dimension size after padding is not at least 0, got {tuple(sizes)}"
            raise ShapeError(f"pad: cannot pad {x} with {value} by {config}: {wrong}", source=user_source(),
                             fix="give (low, high, interior >= 0) per axis and a zero-dimensional value; "
                             "do not cut off more than there is")
        return ArrayType(tuple(sizes), x.dtype, x.weak_type and value.weak_type)

    def eval(self, x, value):
        for axis, (lo, hi, inner) in enumerate(self.padding_config):
            x = np.moveaxis(_padded(np.moveaxis(x, axis, 0), value, lo, hi, inner), 0, axis)
        return x

    def pull(self, b, index, read, types):
        inside, at = [], []
        for i, n, (lo, hi, inner) in zip(index, types[0].shape, self.padding_config):
            place = i - lo
            if lo > 0 or hi > 0:
                inside.append(b.inside(place, 0, n + (n - 1) * inner))
            if inner:
                inside.append(b.inside(place % (inner + 1), 0, 1))
            at.append(place // (inner + 1) if inner else place)
        if not inside:
            return read(0, tuple(at))
        return b.where(b.all(inside), lambda: read(0, tuple(at)), lambda: read(1, ()))

    def transpose(self, ctx, ct, x, value):
        ct_x = ct_value = None
        if is_linear(x) or is_linear(value):
            cut = pad(ct, 0, [(-lo, -hi, 0) for lo, hi, _ in self.padding_config])
            inner = slice(cut, (0,) * len(x.shape), type_of(cut).shape, [k + 1 for *_, k in self.padding_config])
            ct_x = inner if is_linear(x) else None
        if is_linear(value):
            everywhere = range(type_of(ct).ndim)
            ct_value = sub(reduce_sum(ct, everywhere), reduce_sum(inner, everywhere))
        return ct_x, ct_value

    def cuts(self, types, out): return [Cut(a, (a, None)) for a, widths in enumerate(self.padding_config) if widths == (0, 0, 0)]

    def batch(self, ctx, args, batched):
        x, value = args
        config = ((0, 0, 0), *self.padding_config)
        if not batched[1]:
            return bind(Pad(config), x, value), True
        x = ctx.materialize(x, batched[0])
        padded = bind(Pad(config), x, np.zeros((), type_of(x).dtype))
        outside = pad(full_like(x, False, np.bool_), True, config)
        shape = type_of(padded).shape
        return select(outside, broadcast_in_dim(value, shape, (0,)), padded), True


def _padded(x: np.ndarray, value, lo: int, hi: int, inner: int) -> np.ndarray:
    """x padded along its first axis."""
    spread = np.full((len(x) + max(len(x) - 1, 0) * inner, *x.shape[1:]), value, x.dtype)
    spread[::inner + 1] = x
    side = lambda n: np.full((max(n, 0), *x.shape[1:]), value, x.dtype)
    whole = np.concatenate([side(lo), spread, side(hi)])
    return whole[max(-lo, 0):len(whole) - max(-hi, 0)]


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """operand with padding_value around (low, high) and between (interior) its elements, per axis.

    >>> print(pad(np.array([1, 2]), 0, [(1, -1, 2)]))
    [0 1 0 0]
    """
    config = tuple([ints(c) for c in padding_config])
    return bind(Pad(config), *of_one_dtype(operand, padding_value))


@op_dataclass
class Concatenate(View):
    """The operands one after another along an axis."""
    dimension: int
    joins: ClassVar[bool] = True

    def infer(self, *types):
        first, axis = types[0], axis_of("concatenate", self.dimension, types[0].ndim)
        rest = lambda t: t.shape[:axis] + t.shape[axis + 1:]
        if any(t.ndim != first.ndim or rest(t) != rest(first) for t in types):
            raise ShapeError(f"concatenate: {', '.join(map(str, types))} differ in other axes than axis {axis}",
                             source=user_source(), fix="make the other axes' sizes equal")
        if any(t.dtype != first.dtype for t in types):
            raise DtypeError(f"concatenate: operands have different dtypes: {', '.join(map(str, types))}",
                             source=user_source(), fix="convert them with lax.convert_element_type")
        size = sum(t.shape[axis] for t in types)
        return ArrayType(first.shape[:axis] + (size,) + first.shape[axis + 1:], first.dtype,
                         all(t.weak_type for t in types))

    def eval(self, *xs): return np.concatenate(xs, self.dimension)
    def offsets(self, types): return [0, *itertools.accumulate(t.shape[self.dimension] for t in types)]

    def pull(self, b, index, read, types):
        d, offsets = self.dimension, self.offsets(types)

        def among(first: int, last: int):
            if last - first == 1:
                return read(first, (*index[:d], index[d] - offsets[first], *index[d + 1:]))
            middle = (first + last) // 2
            below = b.inside(index[d], 0, offsets[middle])
            return b.where(below, lambda: among(first, middle), lambda: among(middle, last))
        return among(0, len(types))

    def transpose(self, ctx, ct, *xs):
        ends = self.offsets(xs)
        return [slice_in_dim(ct, a, z, 1, self.dimension) if is_linear(x) else None
                for x, a, z in zip(xs, ends, ends[1:])]

    def batch(self, ctx, args, batched):
        return bind(Concatenate(self.dimension + 1), *map(ctx.materialize, args, batched)), True


def concatenate(operands: Sequence[Any], dimension: int) -> Any:
    """The operands one after another along axis `dimension`; they agree in dtype and in the other axes.

    >>> print(concatenate([np.array([1, 2]), np.array([3])], 0))
    [1 2 3]
    """
    if not len(operands):
        raise ValueError("concatenate needs at least one operand")
    axis = axis_of("concatenate", dimension, type_of(operands[0]).ndim)
    if len(operands) == 1 and is_own(operands[0]):
        return operands[0]
    return bind(Concatenate(axis), *operands)


# --- made of the above -----------------------------------------------------------------------------------

def broadcast(operand: Any, sizes: Sequence[int], *, out_sharding: Any = None) -> Any:
    """operand repeated along new leading axes of the given sizes."""
    shape, sizes = type_of(operand).shape, shape_of(sizes)
    return broadcast_in_dim(operand, sizes + shape, range(len(sizes), len(sizes) + len(shape)))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that these broadcast to by NumPy's rules; ValueError if there is none.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    return np.broadcast_shapes(*map(ints, shapes))


def broadcast_to_rank(x: Any, rank: int) -> Any:
    """x with leading axes of size 1, so that it has `rank` axes."""
    return expand_dims(x, range(rank - type_of(x).ndim))


def broadcast_like(arr: Any, like_arr: Any) -> Any:
    """arr broadcast to the shape of like_arr by NumPy's rules."""
    shape, own = type_of(like_arr).shape, type_of(arr).shape
    return broadcast_in_dim(arr, shape, range(len(shape) - len(own), len(shape)))


def expand_dims(array: Any, dimensions: Sequence[int]) -> Any:
    """array with new axes of size 1, at these positions of the result.

    >>> expand_dims(np.zeros(3), (0, 2)).shape
    (1, 3, 1)
    """
    shape = type_of(array).shape
    new = axes_of("expand_dims", dimensions, len(shape) + len(dimensions), from_end=True)
    sizes, kept = iter(shape), [d for d in range(len(shape) + len(new)) if d not in new]
    return broadcast_in_dim(array, [1 if d in new else next(sizes) for d in range(len(shape) + len(new))], kept)


def squeeze(array: Any, dimensions: Sequence[int]) -> Any:
    """array without these axes, which must have size 1."""
    shape = type_of(array).shape
    gone = axes_of("squeeze", dimensions, len(shape), from_end=True)
    for d in gone:
        if shape[d] != 1:
            raise ShapeError(f"squeeze: cannot select an axis to squeeze out which has size not equal to one: axis {d} of "
                             f"{type_of(array)} has size {shape[d]}, not 1", source=user_source(),
                             fix="squeeze axes of size 1 only")
    return reshape(array, [n for d, n in enumerate(shape) if d not in gone])


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """operand with its axes start <= d < stop made into one.

    >>> collapse(np.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    shape = type_of(operand).shape
    start, stop, _ = _slice(start_dimension, stop_dimension).indices(len(shape))
    if stop < start:
        raise ValueError(f"collapse: axes {start_dimension} to {stop_dimension} of {type_of(operand)} are not a range")
    return reshape(operand, shape[:start] + (math.prod(shape[start:stop]),) + shape[stop:])


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list:
    """operand cut along an axis into pieces of these sizes, which must add up to the axis's."""
    axis = axis_of("split", axis, type_of(operand).ndim, from_end=True)
    ends = [0, *itertools.accumulate(ints(sizes))]
    if min(ints(sizes), default=0) < 0:
        raise ShapeError(f"split: Sizes passed to split must be nonnegative, got {list(sizes)}", source=user_source(),
                         fix="give sizes that add up to the axis's")
    if ends[-1] != type_of(operand).shape[axis]:
        raise ShapeError(f"split: Sum of sizes {ends[-1]} must be equal to the size of axis {axis} of {type_of(operand)}",
                         source=user_source(), fix="give sizes that add up to the axis's")
    return [slice_in_dim(operand, a, z, 1, axis) for a, z in zip(ends, ends[1:])]


def stack(operands: Sequence[Any], axis: int = 0) -> Any:
    """Operands of one shape along a new axis."""
    axis = axis_of("stack", axis, type_of(operands[0]).ndim + 1, from_end=True)
    return concatenate([expand_dims(x, (axis,)) for x in operands], axis)


def unstack(x: Any, axis: int = 0) -> tuple:
    """The elements along an axis, as a tuple of arrays without it."""
    axis = axis_of("unstack", axis, type_of(x).ndim, from_end=True)
    return tuple(index_in_dim(x, i, axis, keepdims=False) for i in range(type_of(x).shape[axis]))


def tile(operand: Any, reps: Sequence[int]) -> Any:
    """operand repeated reps[k] times along each axis k.

    >>> print(tile(np.array([1, 2]), (2,)))
    [1 2 1 2]
    """
    shape, reps = type_of(operand).shape, ints(reps)
    if len(reps) != len(shape) or min(reps, default=0) < 0:
        raise ShapeError(f"tile: {type_of(operand)} needs {len(shape)} repetitions >= 0, not {reps}",
                         source=user_source(), fix="give one number per axis")
    spread = broadcast_in_dim(operand, itertools.chain(*zip(reps, shape)), range(1, 2 * len(shape), 2))
    return reshape(spread, [r * n for r, n in zip(reps, shape)])


def shape_as_value(shape: Sequence[int]) -> Any:
    """The sizes as an int32 array."""
    shape = ints(shape)
    parts = [full((1,), n, np.int32) for n in shape]
    return concatenate(parts, 0) if parts else full((0,), 0, np.int32)

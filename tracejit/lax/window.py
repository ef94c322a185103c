"""Reductions over sliding windows -> a view of all windows (`Slide`), and an ordinary reduction of it.

    x[8]  --slide-->  windows[3, 6]  --reduce over axis 0-->  out[6]        out[p] = x[p] + x[p+1] + x[p+2]

The view vanishes at fusion. It is its own transpose with other numbers, so gradients of pooling are the same two
steps: every input element collects from the windows that it is in, and nothing is scattered.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tracejit import tree
from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.trace import bind, trace
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.broadcast import broadcast_in_dim, broadcasted_iota, reduce_sum
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import add, mul
from tracejit.lax.kinds import View, hull, is_linear, op_dataclass
from tracejit.lax.padding import Pads, dilated_size, ints_of, padtype_to_pads, pairs_of, window_count
from tracejit.lax.reduce import ReduceMax, ReduceMin, argmax, argmin, monoid_of, reduce
from tracejit.lax.shape import reshape


class Track(NamedTuple):
    """One axis that windows slide over: result element (k, p) reads element (k, (p*stride + k*step + start) / holes).

    `window` and `axis` are the axes of k and p, `count` the size of the latter in the result.
    """
    window: int
    axis: int
    count: int
    stride: int
    step: int
    start: int
    holes: int = 1


@op_dataclass
class Slide(View):
    """out[k, p] = x[k, (p*stride + k*step + start) / holes] where that is an element of x, else the fill value."""
    tracks: tuple[Track, ...]

    def infer(self, x: ArrayType, fill: ArrayType) -> ArrayType:
        if x.dtype != fill.dtype or fill.ndim:
            raise DtypeError(f"slide: the fill value of {x} must be a scalar of its dtype, got {fill}")
        shape = list(x.shape)
        for track in self.tracks:
            shape[track.axis] = track.count
        return ArrayType(tuple(shape), x.dtype)

    def bounds(self, types, x, fill): return hull(x, fill)

    def eval(self, x, fill):
        for t in self.tracks:
            size = x.shape[t.axis]
            place = np.arange(t.count) * t.stride + np.arange(x.shape[t.window])[:, None] * t.step + t.start
            inside = (place % t.holes == 0) & (place >= 0) & (place < size * t.holes)
            front = np.moveaxis(x, (t.window, t.axis), (0, 1))
            if size == 0:
                front, place = np.full((front.shape[0], 1, *front.shape[2:]), fill), np.zeros_like(place)
            moved = front[np.arange(front.shape[0])[:, None], np.where(inside, place // t.holes, 0)]
            moved = np.where(inside.reshape(inside.shape + (1,) * (moved.ndim - 2)), moved, fill).astype(x.dtype)
            x = np.moveaxis(moved, (0, 1), (t.window, t.axis))
        return x

    def pull(self, b, index: tuple, read, types):
        source, conditions = list(index), []
        for t in self.tracks:
            place = index[t.axis] * t.stride + index[t.window] * t.step + t.start
            conditions.append(b.inside(place, 0, types[0].shape[t.axis] * t.holes))
            if t.holes > 1:
                conditions.append(b.inside(place % t.holes, 0, 1))
                place = place // t.holes
            source[t.axis] = place
        return b.where(b.all(conditions), lambda: read(0, tuple(source)), lambda: read(1, ()))

    def transposed(self, x: ArrayType) -> Slide:
        """Solve i * holes = p * stride + k * step + start for p."""
        return Slide(tuple(Track(t.window, t.axis, x.shape[t.axis], t.holes, -t.step, -t.start, t.stride)
                           for t in self.tracks))

    def transpose(self, ctx, ct, x, fill):
        ct_x = ct_fill = None
        if is_linear(x):
            ct_x = bind(self.transposed(x.type), ct, np.zeros((), ct.dtype))
        if is_linear(fill):
            inside = bind(self, broadcast_in_dim(np.True_, x.shape, ()), np.False_)
            outside = select(inside, broadcast_in_dim(np.zeros((), ct.dtype), ct.shape, ()), ct)
            ct_fill = reduce_sum(outside, tuple(range(ct.ndim)))
        return ct_x, ct_fill

    def batch(self, ctx, args, batched):
        x, fill = args
        if batched[1]:
            return ctx.loop_over_lanes(self, args, batched)
        tracks = tuple(t._replace(window=t.window + 1, axis=t.axis + 1) for t in self.tracks)
        return bind(Slide(tracks), x, fill), True


class FirstExtreme:
    """A window's extreme, whose derivative goes to its first extreme element alone, as in pooling layers."""

    def jvp(self, ctx, primals, tangents):
        x, t = primals[0], tangents[0]
        shape = type_of(x).shape
        if not type_of(x).size:
            out = bind(self, x)
            return out, ctx.zeros(type_of(out))
        rest = [a for a in range(len(shape)) if a not in self.axes]
        chosen = broadcast_in_dim(self.position(x), shape, rest)
        return bind(self, x), reduce_sum(select(eq(chosen, self.number(shape)), t, ctx.zeros(type_of(t))), self.axes)

    def position(self, x):
        """Which element of each window is the first extreme, numbered row-major over the window axes (adjacent)."""
        shape, first, n = type_of(x).shape, self.axes[0], len(self.axes)
        flat = reshape(x, (*shape[:first], math.prod(shape[first:first + n]), *shape[first + n:]))
        return self.arg(flat, first, np.int32)

    def number(self, shape: tuple[int, ...]):
        """Every element's number in its window."""
        sizes = [shape[a] for a in self.axes]
        weights = [math.prod(sizes[i + 1:]) for i in range(len(sizes))]
        terms = [mul(broadcasted_iota(np.int32, shape, a), np.int32(w)) for a, w in zip(self.axes, weights)]
        return functools.reduce(add, terms)


@op_dataclass
class WindowMax(FirstExtreme, ReduceMax):
    """The largest element of each window."""
    arg: ClassVar[Callable] = staticmethod(argmax)


@op_dataclass
class WindowMin(FirstExtreme, ReduceMin):
    """The smallest element of each window."""
    arg: ClassVar[Callable] = staticmethod(argmin)


def windows_of(x: Any, fill: Any, tracks: Sequence[Track], sizes: Sequence[int]):
    """x seen through all windows: window axes of these sizes lead, then x's axes with a place per window."""
    shape, n = type_of(x).shape, len(sizes)
    spread = broadcast_in_dim(x, (*sizes, *shape), range(n, n + len(shape)))
    return bind(Slide(tuple(tracks)), spread, fill)


class Geometry(NamedTuple):
    """A checked window: one entry per axis of the operand."""
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]

    def counts(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(window_count(dilated_size(n, b) + low + high, dilated_size(k, d), s)
                     for n, k, s, (low, high), b, d in zip(shape, *self))

    def tracks(self, shape: Sequence[int]) -> tuple[list[Track], list[int]]:
        """The axes that a window moves over (at least one), numbered behind as many window axes; their window sizes."""
        still = (1, 1, (0, 0), 1, 1)
        moving = [a for a, entry in enumerate(zip(*self)) if entry != still] or [0]
        counts = self.counts(shape)
        return [Track(i, len(moving) + a, counts[a], self.strides[a], self.window_dilation[a], -self.pads[a][0],
                      self.base_dilation[a]) for i, a in enumerate(moving)], [self.sizes[a] for a in moving]


def geometry(shape: Sequence[int], window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
             window_dilation: Any) -> Geometry:
    rank = len(shape)
    sizes = ints_of(window_dimensions, rank, "reduce_window: window_dimensions")
    strides = ints_of(window_strides, rank, "reduce_window: window_strides")
    base = ints_of(base_dilation, rank, "reduce_window: base_dilation")
    holes = ints_of(window_dilation, rank, "reduce_window: window_dilation")
    if isinstance(padding, str):
        spread = [dilated_size(n, d) for n, d in zip(shape, base)]
        padding = padtype_to_pads(spread, [dilated_size(k, d) for k, d in zip(sizes, holes)], strides, padding)
    pads = pairs_of(padding, rank, "reduce_window")
    return Geometry(sizes, strides, pads, base, holes)


def reduce_window(operand: Any, init_value: Any, computation: Callable, window_dimensions: Sequence[int],
                  window_strides: Sequence[int] | None = None, padding: str | Sequence[tuple[int, int]] = "VALID",
                  base_dilation: Sequence[int] | None = None, window_dilation: Sequence[int] | None = None):
    """Reduces every window of an array, or of a tree of arrays of one shape, with a function of two elements.

    `init_value` starts each window and fills the padding. All sequences have one entry per axis. `computation` must be
    associative; the derivative of a maximum or minimum goes to the first extreme element of the window.

    >>> import numpy as np
    >>> from tracejit import lax
    >>> np.asarray(reduce_window(np.float32([1, 2, 3, 4]), 0.0, lax.add, (2,), (2,)))
    array([3., 7.], dtype=float32)
    """
    xs, structure = tree.flatten(operand)
    inits = tree.leaves(init_value)
    if not xs or len(xs) != len(inits):
        raise ValueError(f"reduce_window: {len(xs)} operands need as many init values, got {len(inits)}")
    shape = type_of(xs[0]).shape
    if any(type_of(x).shape != shape for x in xs):
        raise ShapeError(f"reduce_window: operands {', '.join(str(type_of(x)) for x in xs)} have different shapes",
                         fix="broadcast them to one shape first")
    inits = [convert_element_type(i, type_of(x).dtype) for i, x in zip(inits, xs)]
    if not shape:
        return computation(tree.unflatten(structure, inits), operand)
    box = geometry(shape, window_dimensions, window_strides, padding, base_dilation, window_dilation)
    tracks, sizes = box.tracks(shape)
    views = [windows_of(x, i, tracks, sizes) for x, i in zip(xs, inits)]
    axes = tuple(range(len(sizes)))
    extreme = extreme_of(computation, type_of(xs[0])) if len(xs) == 1 else None
    if extreme is not None:
        out = computation(inits[0], bind(extreme(axes), views[0]))
        return tree.unflatten(structure, [out])
    return reduce(tree.unflatten(structure, views), tree.unflatten(structure, inits), computation, axes)


def extreme_of(computation: Callable, t: ArrayType) -> type[FirstExtreme] | None:
    """WindowMax or WindowMin if that is what folding with this function of two scalars does."""
    graph, _ = trace(lambda x, y: [computation(x, y)], [ArrayType((), t.dtype)] * 2)
    known = monoid_of(graph)
    return next((kind for kind in (WindowMax, WindowMin) if known and issubclass(kind, known)), None)


def reduce_window_shape_tuple(operand_shape: Sequence[int], window_dimensions: Sequence[int],
                              window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]],
                              base_dilation: Sequence[int] | None = None,
                              window_dilation: Sequence[int] | None = None) -> tuple[int, ...]:
    """The shape of `reduce_window`'s result.

    >>> reduce_window_shape_tuple((1, 8, 8, 3), (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    (1, 4, 4, 3)
    """
    box = geometry(operand_shape, window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return box.counts(operand_shape)


__all__ = ["reduce_window", "reduce_window_shape_tuple"]

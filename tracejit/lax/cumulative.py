"""Running folds along an axis: cumsum, cumprod, cummax, cummin, cumlogsumexp."""
from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.broadcast import axis_of
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementary import exp
from tracejit.lax.elementwise import Add, Float, Max, Min, Mul, sub
from tracejit.lax.kinds import Elementwise, Op, Opaque, has_tangent, op_dataclass
from tracejit.lax.reduce import highest, lowest
from tracejit.lax.reference import is_half
from tracejit.lax.shape import pad


@op_dataclass
class Cumulative(Opaque):
    """out[i] = the fold of x[0] ... x[i] along an axis (of x[i] ... x[n-1] in reverse), with `monoid`.

    `init`, `combine` and `finish` are as in a Reduction.
    """
    makes_nan: ClassVar[bool] = True
    axis: int
    reverse: bool
    monoid: ClassVar[Elementwise]
    ufunc: ClassVar[np.ufunc]
    widens: ClassVar[bool] = False    # 16-bit floats are folded in float32 by the public function

    def infer(self, x):
        axis_of(self.name, self.axis, x.ndim)
        self.accepted(x.dtype)
        return x

    def neutral(self, dtype: np.dtype) -> Any:
        raise NotImplementedError

    def init(self, b, types): return (b.const(self.neutral(types[0].dtype), types[0].dtype),)
    def combine(self, b, x, y): return (self.monoid.scalar(b, x[0], y[0]),)
    def finish(self, b, x): return x[0]

    def eval(self, x):
        turn = lambda v: np.flip(v, self.axis) if self.reverse else v
        return turn(self.ufunc.accumulate(turn(x), self.axis, dtype=x.dtype))

    def jvp(self, ctx, primals, tangents):
        """By doubling the distance folded, log2(n) times (Hillis and Steele), with the monoid's derivative."""
        out, (x,), (t,) = bind(self, *primals), primals, tangents
        if not has_tangent(out):
            return out, None
        neutral, distance = self.neutral(type_of(x).dtype), 1
        while distance < type_of(x).shape[self.axis]:
            before, t_before = self.shifted(x, distance, neutral), self.shifted(t, distance, 0)
            joined = bind(self.monoid, before, x)
            d_before, d_x = self.monoid.partials(joined, before, x)
            t = ctx.sum([ctx.scale(t_before, d_before), ctx.scale(t, d_x)], type_of(x))
            x, distance = joined, 2 * distance
        return out, t

    def shifted(self, x, distance: int, fill):
        sides = (-distance, distance, 0) if self.reverse else (distance, -distance, 0)
        return pad(x, fill, [sides if d == self.axis else (0, 0, 0) for d in range(type_of(x).ndim)])

    def batch(self, ctx, args, batched): return bind(dataclasses.replace(self, axis=self.axis + 1), *args), True

    def call(self, b, ins, outs, types):
        """Native loops over the axes before, then columns (in vectors) of the axes after, then the axis itself."""
        t = types[0]
        n, inner = t.shape[self.axis], math.prod(t.shape[self.axis + 1:])
        lanes = b.isa.lanes(t.dtype)
        whole = inner - inner % lanes
        with b.loop(0, math.prod(t.shape[:self.axis])) as outer:
            first = b.mul(outer.index, n * inner)
            for start, stop, step in ((0, whole, lanes), (whole, inner, 1)):
                if start < stop:
                    with b.loop(start, stop, step) as column:
                        self.fold_column(b, ins[0], outs[0], types, b.add(first, column.index), step)

    def device_lanes(self, types): return types[0].size // max(1, types[0].shape[self.axis])

    def device_lane(self, b, lane, ins, outs, types):
        shape = types[0].shape
        n, inner = shape[self.axis], math.prod(shape[self.axis + 1:])
        outer = b.div(lane, inner)
        column = b.sub(lane, b.mul(outer, inner))
        self.fold_column(b, ins[0], outs[0], types, b.add(b.mul(outer, n * inner), column), 1)

    def fold_column(self, b, source, target, types, first, lanes: int):
        t = types[0]
        n, inner = t.shape[self.axis], math.prod(t.shape[self.axis + 1:])
        neutral = tuple(b.splat(v, lanes) for v in self.init(b, types))
        with b.loop(0, n, carries=neutral) as loop:
            k = b.sub(n - 1, loop.index) if self.reverse else loop.index
            at = b.add(first, b.mul(k, inner))
            folded = self.combine(b, loop.carries, (b.load(t.dtype, b.gep(source, at, t.dtype), lanes),))
            b.store(self.finish(b, folded), b.gep(target, at, t.dtype))
            loop.carry(*folded)


def running(kind: type[Cumulative], operand: Any, axis: int, reverse: bool) -> Any:
    t = type_of(operand)
    op = kind(axis_of(kind.name, axis, t.ndim), bool(reverse))
    if is_half(t.dtype) and op.widens:
        return convert_element_type(bind(op, convert_element_type(operand, np.float32)), t.dtype)
    return bind(op, operand)


@op_dataclass
class Cumsum(Cumulative):
    """Running sums along an axis."""
    monoid: ClassVar[Elementwise] = Add()
    ufunc: ClassVar[np.ufunc] = np.add
    accepts: ClassVar[str] = "iufc"
    widens: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    ulp: ClassVar[float] = 64

    def neutral(self, dtype): return 0
    def jvp(self, ctx, primals, tangents): return Op.jvp(self, ctx, primals, tangents)
    def transpose(self, ctx, ct, x): return (bind(Cumsum(self.axis, not self.reverse), ct),)


def cumsum(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running sums along an axis, from its end if reverse.

    >>> print(cumsum(np.array([1, 2, 3])))
    [1 3 6]
    """
    return running(Cumsum, operand, axis, reverse)


@op_dataclass
class Cumprod(Cumulative):
    """Running products along an axis."""
    monoid: ClassVar[Elementwise] = Mul()
    ufunc: ClassVar[np.ufunc] = np.multiply
    accepts: ClassVar[str] = "iufc"
    widens: ClassVar[bool] = True
    ulp: ClassVar[float] = 64

    def neutral(self, dtype): return 1


def cumprod(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running products along an axis, from its end if reverse."""
    return running(Cumprod, operand, axis, reverse)


@op_dataclass
class Cummax(Cumulative):
    """Running maxima along an axis; nan from the first nan on."""
    monoid: ClassVar[Elementwise] = Max()
    ufunc: ClassVar[np.ufunc] = np.maximum

    def neutral(self, dtype): return lowest(dtype)


def cummax(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running maxima along an axis, from its end if reverse."""
    return running(Cummax, operand, axis, reverse)


@op_dataclass
class Cummin(Cumulative):
    """Running minima along an axis; nan from the first nan on."""
    monoid: ClassVar[Elementwise] = Min()
    ufunc: ClassVar[np.ufunc] = np.minimum

    def neutral(self, dtype): return highest(dtype)


def cummin(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running minima along an axis, from its end if reverse."""
    return running(Cummin, operand, axis, reverse)


@op_dataclass
class LogAddExp(Float):
    """log(exp(x) + exp(y)), without overflow."""
    ulp: ClassVar[float] = 8

    def eval(self, x, y): return np.logaddexp(x, y)

    def scalar(self, b, x, y):
        larger, smaller = b.max(x, y), b.min(x, y)
        gap = b.select(b.eq(larger, smaller), b.const(0, x.dtype), b.sub(smaller, larger))  # inf - inf would be nan
        return b.add(larger, b.log1p(b.exp(gap)))

    def partials(self, out, x, y):
        share = lambda v: exp(select(eq(v, out), 0.0, sub(v, out)))
        return share(x), share(y)


@op_dataclass
class Cumlogsumexp(Cumulative):
    """Running logarithms of sums of exponentials along an axis."""
    monoid: ClassVar[Elementwise] = LogAddExp()
    ufunc: ClassVar[np.ufunc] = np.logaddexp
    accepts: ClassVar[str] = "f"
    widens: ClassVar[bool] = True
    ulp: ClassVar[float] = 64

    def neutral(self, dtype): return -np.inf


def cumlogsumexp(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running log(sum(exp(x))) along an axis, from its end if reverse."""
    return running(Cumlogsumexp, operand, axis, reverse)

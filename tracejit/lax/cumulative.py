"""Running folds along an axis: cumsum, cumprod, cummax, cummin, cumlogsumexp."""
from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import is_complex, type_of
from tracejit.lax.broadcast import axis_of
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementary import exp
from tracejit.lax.elementwise import Add, Float, Max, Min, Mul, sub
from tracejit.lax.kinds import Elementwise, Op, Opaque, has_tangent, op_dataclass
from tracejit.lax.logaddexp import logaddexp
from tracejit.lax.reduce import highest, lowest
from tracejit.lax.reference import is_half
from tracejit.lax.shape import pad

I64 = np.dtype("int64")
BLOCK = 1 << 13         # elements of a long row that one task folds at a time
FEW_ROWS = 8            # more rows than this keep all threads busy uncut
WIDE = 4                # vectors side by side
MOST_SHARES = 64


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

    def lengths(self, t) -> tuple[int, int, int]:
        """Elements before, along and behind the axis."""
        return math.prod(t.shape[:self.axis]), t.shape[self.axis], math.prod(t.shape[self.axis + 1:])

    def blocks(self, t) -> int:
        """Into how many blocks few long rows are cut; by their shape alone, so that all threads give the same bits."""
        outer, n, inner = self.lengths(t)
        return -(-n // BLOCK) if inner == 1 and outer < FEW_ROWS and n >= 4 * BLOCK else 1

    def scratch_bytes(self, types):
        return (self.blocks(types[0]) + 1) * self.lengths(types[0])[0] * 16

    def call(self, b, ins, outs, types):
        outer, n, inner = self.lengths(types[0])
        operands = [(ins[0], 0), (outs[0], 0)]
        if not types[0].size:
            return
        if inner > 1:
            strips = -(-inner // (WIDE * b.isa.lanes(types[0].dtype)))
            emit = lambda f, pointers, scratch: self.fold_strip(f, *pointers, types, strips)
            b.lanes(outer * strips, min(outer * strips, MOST_SHARES), operands, 0, emit)
        elif self.blocks(types[0]) == 1:
            emit = lambda f, pointers, scratch: self.fold_row(
                f, *[self.at(f, p, types, f.mul(f.lane, n)) for p in pointers], types, f.const(n, I64), self.init(f, types))
            b.lanes(outer, min(outer, MOST_SHARES), operands, 0, emit)
        else:
            self.fold_in_blocks(b, operands, types)

    def at(self, f, base, types, index): return f.gep(base, index, types[0].dtype)

    def device_lanes(self, types): return types[0].size // max(1, types[0].shape[self.axis])

    def device_lane(self, b, lane, ins, outs, types):
        """A thread folds what lies along the axis; long axes of few lanes were cut into parts before."""
        _, n, inner = self.lengths(types[0])
        outer = b.div(lane, inner)
        first = b.add(b.mul(outer, n * inner), b.sub(lane, b.mul(outer, inner)))
        with b.loop(0, n, carries=self.init(b, types)) as loop:
            k = b.sub(n - 1, loop.index) if self.reverse else loop.index
            at = b.add(first, b.mul(k, inner))
            folded = self.combine(b, tuple(loop.carries), (b.load(types[0].dtype, self.at(b, ins[0], types, at)),))
            b.store(self.finish(b, folded), self.at(b, outs[0], types, at))
            loop.carry(*folded)

    # --- the last axis: a running fold inside each vector, then with what came before it

    def fold_row(self, f, source, target, types, n, states):
        """Fold a row of n elements on from `states`."""
        t, lanes = types[0], f.isa.lanes(types[0].dtype)
        whole = f.sub(n, f.rem(n, f.const(lanes, I64)))
        neutral = tuple(f.splat(x, lanes) for x in self.init(f, types))
        last = 0 if self.reverse else lanes - 1

        def place(i, width: int):
            return f.sub(f.sub(n, i), width) if self.reverse else i
        with f.loop(0, whole, lanes, carries=states) as loop:
            at = place(loop.index, lanes)
            here = (f.load(t.dtype, self.at(f, source, types, at), lanes),)
            for distance in (1 << k for k in range(lanes.bit_length() - 1)):
                here = self.combine(f, self.moved(f, here, neutral, distance), here)
            total = tuple(f.extract(x, last) for x in here)
            folded = self.combine(f, tuple(f.splat(x, lanes) for x in loop.carries), here)
            f.store(self.finish(f, folded), self.at(f, target, types, at))
            loop.carry(*self.combine(f, tuple(loop.carries), total))
        with f.loop(whole, n, carries=loop.results) as loop:
            at = place(loop.index, 1)
            folded = self.combine(f, tuple(loop.carries), (f.load(t.dtype, self.at(f, source, types, at)),))
            f.store(self.finish(f, folded), self.at(f, target, types, at))
            loop.carry(*folded)

    def moved(self, f, states, neutral, distance: int):
        """Each lane's neighbour from which it is folded on."""
        lanes = neutral[0].lanes
        order = [lanes + i + distance if i + distance < lanes else i for i in range(lanes)] if self.reverse else \
            [i if i < distance else lanes + i - distance for i in range(lanes)]
        return tuple(f.shuffle(e, x, order) for e, x in zip(neutral, states))

    def fold_in_blocks(self, b, operands, types):
        """The fold of each block; then where each begins; then all blocks side by side."""
        outer, n, _ = self.lengths(types[0])
        blocks, dtype = self.blocks(types[0]), types[0].dtype
        nbytes = dtype.itemsize

        def bounds(f):
            """Row, number in the order of folding, first element and length of the lane's block."""
            row = f.div(f.lane, blocks)
            k = f.sub(f.lane, f.mul(row, blocks))
            first = f.mul(k, BLOCK)
            length = f.min(f.sub(f.const(n, I64), first), f.const(BLOCK, I64))
            first = f.sub(f.sub(f.const(n, I64), first), length) if self.reverse else first
            return row, k, f.add(f.mul(row, n), first), length
        start = lambda f, scratch, row, k: f.gep(scratch, f.mul(f.add(f.mul(row, blocks + 1), k), nbytes))

        def totals(f, pointers, scratch):
            row, k, first, length = bounds(f)
            f.store(self.fold_of(f, self.at(f, pointers[0], types, first), types, length)[0], start(f, scratch, row, f.add(k, 1)))

        def begins(f, pointers, scratch):
            f.store(self.init(f, types)[0], start(f, scratch, f.lane, 0))
            with f.loop(1, blocks + 1) as loop:
                before = f.load(dtype, start(f, scratch, f.lane, f.sub(loop.index, 1)))
                here = start(f, scratch, f.lane, loop.index)
                f.store(self.combine(f, (before,), (f.load(dtype, here),))[0], here)

        def fold(f, pointers, scratch):
            row, k, first, length = bounds(f)
            source, target = [self.at(f, p, types, first) for p in pointers]
            self.fold_row(f, source, target, types, length, (f.load(dtype, start(f, scratch, row, k)),))
        shares = min(outer * blocks, MOST_SHARES)
        b.lanes(outer * blocks, shares, operands, 0, totals)
        b.lanes(outer, 1, operands, 0, begins)
        b.lanes(outer * blocks, shares, operands, 0, fold)

    def fold_of(self, f, source, types, n):
        """The fold of n elements, in vectors."""
        t, lanes = types[0], f.isa.lanes(types[0].dtype)
        neutral = self.init(f, types)
        whole = f.sub(n, f.rem(n, f.const(WIDE * lanes, I64)))
        with f.loop(0, whole, WIDE * lanes, carries=[f.splat(neutral[0], lanes)] * WIDE) as loop:
            at = [self.at(f, source, types, f.add(loop.index, u * lanes)) for u in range(WIDE)]
            loop.carry(*[self.combine(f, (s,), (f.load(t.dtype, p, lanes),))[0] for s, p in zip(loop.carries, at)])
        wide = list(loop.results)
        while len(wide) > 1:
            wide = [self.combine(f, (x,), (y,))[0] for x, y in zip(wide[::2], wide[1::2])]
        [x] = wide
        while x.lanes > 1:
            x = self.combine(f, *[(half,) for half in f.split(x, x.lanes // 2)])[0]
        with f.loop(whole, n, carries=[x]) as loop:
            loop.carry(*self.combine(f, tuple(loop.carries), (f.load(t.dtype, self.at(f, source, types, loop.index)),)))
        return loop.results

    # --- other axes: lanes are neighbouring columns

    def fold_strip(self, f, source, target, types, strips: int):
        """Some vectors of columns side by side, then the columns that fill none."""
        _, n, inner = self.lengths(types[0])
        lanes = f.isa.lanes(types[0].dtype)
        row = f.div(f.lane, strips)
        first = f.mul(f.sub(f.lane, f.mul(row, strips)), WIDE * lanes)
        last = f.min(f.add(first, WIDE * lanes), f.const(inner, I64))
        base = f.mul(row, n * inner)
        full = f.eq(f.sub(last, first), f.const(WIDE * lanes, I64))
        columns = lambda at, lanes, count: self.fold_columns(f, source, target, types, f.add(base, at), lanes, count)

        def rest():
            stop = f.sub(last, f.rem(f.sub(last, first), f.const(lanes, I64)))
            for begin, end, step in ((first, stop, lanes), (stop, last, 1)):
                with f.loop(begin, end, step) as column:
                    columns(column.index, step, 1)
        f.cond(full, lambda: columns(first, lanes, WIDE), rest)

    def fold_columns(self, f, source, target, types, first, lanes: int, count: int):
        t = types[0]
        _, n, inner = self.lengths(t)
        neutral = f.splat(self.init(f, types)[0], lanes)
        with f.loop(0, n, carries=[neutral] * count) as loop:
            k = f.sub(n - 1, loop.index) if self.reverse else loop.index
            at = f.add(first, f.mul(k, inner))
            folded = []
            for u, before in enumerate(loop.carries):
                place = f.add(at, u * lanes)
                folded += self.combine(f, (before,), (f.load(t.dtype, self.at(f, source, types, place), lanes),))
                f.store(self.finish(f, tuple(folded[-1:])), self.at(f, target, types, place))
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
    accepts: ClassVar[str] = "iufc"

    def neutral(self, dtype): return lowest(dtype)


def cummax(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running maxima along an axis, from its end if reverse."""
    return running(Cummax, operand, axis, reverse)


@op_dataclass
class Cummin(Cumulative):
    """Running minima along an axis; nan from the first nan on."""
    monoid: ClassVar[Elementwise] = Min()
    ufunc: ClassVar[np.ufunc] = np.minimum
    accepts: ClassVar[str] = "iufc"

    def neutral(self, dtype): return highest(dtype)


def cummin(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running minima along an axis, from its end if reverse."""
    return running(Cummin, operand, axis, reverse)


@op_dataclass
class LogAddExp(Float):
    """log(exp(x) + exp(y)), without overflow."""
    is_long: ClassVar[bool] = True
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
    """Running log(sum(exp(x))) along an axis, from its end if reverse.

    >>> print(cumlogsumexp(np.array([0j, 0j])).round(3))
    [0.   +0.j 0.693+0.j]
    """
    t = type_of(operand)
    if not is_complex(t.dtype):
        return running(Cumlogsumexp, operand, axis, reverse)
    op, distance = Cumlogsumexp(axis_of("cumlogsumexp", axis, t.ndim), bool(reverse)), 1
    while distance < t.shape[op.axis]:      # by doubling the distance folded, as derivatives are
        operand = logaddexp(op.shifted(operand, distance, -np.inf), operand)
        distance *= 2
    return operand

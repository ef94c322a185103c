"""A long Fourier transform on all threads, or one of many on each: n = a b numbers as a matrix, columns first, then rows (Bailey).

    x[i b + j]  --columns, times exp(2 pi i k j / n)-->  between[k, j]  --rows-->  out[k + a l]

A task takes `lanes` columns or rows side by side. What lies between them is in squares of lanes x lanes, turned on the way.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.lax.fourier import (I64, Planar, Roots, chirp_size, chirp_tables, constants, factors_of, passes, times,
                                   unmixed)
from tracejit.lax.long_sort import in_parts
from tracejit.lax.shares import MOST_SHARES, Shares

F64 = np.dtype("f8")


def sides_of(n: int) -> tuple[int, int]:
    """(a, b) with n = a b and a <= b, as near to each other as the radices allow."""
    products = {1}
    for r in factors_of(n) or ():
        products |= {p * r for p in products}
    a = max(p for p in products if p * p <= n)
    return a, n // a


def fills_squares(n: int, part: np.dtype) -> bool:
    """Whether n numbers make a matrix of nearly whole squares: then one transform at a time, which stays in the first-level
    cache, is faster than several side by side."""
    if factors_of(n) is None:
        n = chirp_size(n)
    sides, lanes = sides_of(n), 64 // part.itemsize
    return sides[0] >= lanes and 2 * math.prod(-(-side // lanes) * lanes for side in sides) <= 3 * n


@dataclass(frozen=True)
class Dense:
    """Complex numbers, or real ones, in an array; what is stored is multiplied by `scale` first."""
    pointer: Any
    dtype: np.dtype
    scale: float = 1.0

    def at(self, pointer: Any) -> Dense:
        return Dense(pointer, self.dtype, self.scale)

    def load(self, f: Any, i: Any, lanes: int, mask: Any = None) -> tuple:
        zero = f.const(0, self.dtype)
        x = f.load(self.dtype, f.gep(self.pointer, i, self.dtype), lanes, mask=mask, other=None if mask is None else zero)
        return (x.re, x.im) if self.dtype.kind == "c" else (x, f.splat(zero, lanes))

    def store(self, f: Any, i: Any, x: tuple, mask: Any = None) -> None:
        re, im = (v if self.scale == 1 else f.mul(v, self.scale) for v in x)
        f.store(f.complex(re, im) if self.dtype.kind == "c" else re, f.gep(self.pointer, i, self.dtype), mask=mask)


@dataclass(frozen=True)
class Strip:
    """Columns first ... first + lanes - 1 of a row-major matrix; number i is in row i / lanes."""
    matrix: Dense
    columns: int
    first: Any
    lanes: int

    def place(self, f: Any, i: Any, step: int) -> tuple:
        row, column = f.div(i, self.lanes), f.add(self.first, f.rem(i, self.lanes))
        mask = f.lane_mask(f.sub(self.columns, column), step) if self.columns % self.lanes else None
        return f.add(f.mul(row, self.columns), column), mask

    def load(self, f: Any, i: Any, step: int) -> tuple:
        at, mask = self.place(f, i, step)
        return self.matrix.load(f, at, step, mask)

    def store(self, f: Any, i: Any, x: tuple) -> None:
        at, mask = self.place(f, i, x[0].lanes)
        self.matrix.store(f, at, x, mask)


class LongTransform:
    """Transforms of n numbers with small factors by one program `b`, or inside of one of its lanes (`alone`); `scratch_bytes`
    from the start of its scratch memory."""

    def __init__(self, n: int, sign: int, part: np.dtype, alone: bool = False):
        self.n, self.sign, self.part, self.lanes = n, sign, part, 64 // part.itemsize
        self.a, self.b = sides_of(n)
        self.blocks, self.groups = -(-self.a // self.lanes), -(-self.b // self.lanes)
        size = 2 * self.groups * self.lanes**2
        areas = [(size, part), (size, part), (2 * self.lanes**2, part)]
        most = 1 if alone else MOST_SHARES
        self.column_shares, self.row_shares = (Shares.of(count, areas, most) for count in (self.groups, self.blocks))
        self.between = max(self.column_shares.nbytes, self.row_shares.nbytes)
        self.plane = self.blocks * self.groups * self.lanes**2
        self.scratch_bytes = self.between + 2 * self.plane * part.itemsize

    def emit(self, b: Any, source: Dense, target: Dense) -> None:
        """The source may be the target."""
        between = b.scratch(self.between)
        self.column_shares.run(b, [source.pointer, between],
                               lambda f, p, areas: self.columns(f, source.at(p[0]), self.squares(f, p[1]), areas))
        self.row_shares.run(b, [between, target.pointer],
                            lambda f, p, areas: self.rows(f, self.squares(f, p[0]), target.at(p[1]), areas))

    def squares(self, f: Any, pointer: Any) -> Planar:
        return Planar(pointer, f.gep(pointer, self.plane, self.part), self.part)

    def side_by_side(self, f: Any, n: int, source: Any, areas: list, target: Any = None) -> Any:
        """Transform `lanes` sequences of n numbers, to the target or an area; where they are."""
        size = self.groups * self.lanes**2
        front, back = (Planar(p, f.gep(p, size, self.part), self.part) for p in areas[:2])
        count = len(factors_of(n, self.lanes))
        places = [source, *[(front, back)[k % 2] for k in range(count)]]
        if target is not None:
            places[-1] = target
        passes(f, n, self.lanes, self.sign, self.part, places)
        return places[-1]

    def columns(self, f: Any, source: Dense, between: Planar, areas: list) -> None:
        lanes, first = self.lanes, f.mul(f.lane, self.lanes)
        found = self.side_by_side(f, self.a, Strip(source, self.b, first, lanes), areas)
        twiddles = Twiddles(f, self, first, areas[2])
        with f.loop(0, self.blocks) as block:
            at = f.mul(block.index, lanes)
            factor = twiddles.of_block(block.index)
            rows = [times(f, found.load(f, f.mul(f.add(at, u), lanes), lanes), times(f, factor, twiddles.of_row(u)))
                    for u in range(lanes)]
            target = f.mul(f.add(f.mul(block.index, self.groups * lanes), first), lanes)
            for v, x in enumerate(zip(*[f.turned(list(plane)) for plane in zip(*rows)])):
                between.store(f, f.add(target, v * lanes), x)

    def rows(self, f: Any, between: Planar, target: Dense, areas: list) -> None:
        start = f.mul(f.lane, self.groups * self.lanes**2)
        source = Planar(f.gep(between.re, start, self.part), f.gep(between.im, start, self.part), self.part)
        self.side_by_side(f, self.b, source, areas, Strip(target, self.a, f.mul(f.lane, self.lanes), self.lanes))


class Twiddles:
    """exp(sign 2 pi i k j / n) for rows k = lanes * block + u and columns j = first + v, v < lanes, as vectors.

    The product of one factor for the block and one for u, each a scalar, computed in double precision, times a vector.
    """

    def __init__(self, f: Any, long: LongTransform, first: Any, area: Any):
        self.f, self.long, self.first, lanes = f, long, first, long.lanes
        self.roots = Roots(f, long.n, F64)
        self.blocks = self.table(np.arange(long.blocks) * lanes)
        self.area = Planar(area, f.gep(area, lanes**2, long.part), long.part)
        rows = self.table(np.arange(lanes))
        with f.loop(0, lanes) as loop:
            self.area.store(f, f.mul(loop.index, lanes), self.product(rows, loop.index, loop.index))

    def table(self, rows: np.ndarray) -> Planar:
        turns = self.long.sign * 2 * np.pi / self.long.n * np.outer(rows, np.arange(self.long.lanes))
        return Planar(*[self.f.module.table(part(turns).astype(self.long.part)) for part in (np.cos, np.sin)], self.long.part)

    def product(self, table: Planar, i: Any, row: Any) -> tuple:
        f, long = self.f, self.long
        root = self.roots.at(f.mul(row, self.first), long.sign)
        return times(f, table.load(f, f.mul(i, long.lanes), long.lanes),
                     tuple(f.splat(f.convert(v, long.part), long.lanes) for v in root))

    def of_block(self, block: Any) -> tuple:
        return self.product(self.blocks, block, self.f.mul(block, self.long.lanes))

    def of_row(self, u: int) -> tuple:
        return self.area.load(self.f, u * self.long.lanes, self.long.lanes)


class LongChirps:
    """Bluestein's algorithm, for n numbers of which n has a large prime factor; see Transform.bluestein."""

    def __init__(self, n: int, sign: int, part: np.dtype, alone: bool = False):
        self.n, self.sign, self.part, self.size = n, sign, part, chirp_size(n)
        self.there, self.back = (LongTransform(self.size, s, part, alone) for s in (sign, -sign))
        self.areas = -(-self.there.scratch_bytes // 64) * 64
        self.scratch_bytes = self.areas + 4 * self.size * part.itemsize

    def emit(self, b: Any, source: Dense, target: Dense) -> None:
        dtype, lanes, tables = np.result_type(self.part, "c8"), b.isa.lanes(self.part), chirp_tables(self.n, self.sign)
        work, filter_ = (Dense(b.scratch(self.areas + k * self.size * dtype.itemsize), dtype) for k in range(2))
        step = lanes if tables else 1       # a chirp that is not a table is computed number by number

        def chirp_at(f: Any, k: Any, count: int) -> tuple:
            if tables:
                return constants(f, tables[0], self.part).load(f, k, count)
            return Roots(f, 2 * self.n, self.part).at(f.rem(f.mul(k, k), 2 * self.n), self.sign)

        def fill(f: Any, p: list, k: Any, count: int) -> None:
            work.at(p[0]).store(f, k, times(f, source.at(p[1]).load(f, k, count), chirp_at(f, k, count)))

        def clear(f: Any, p: list, i: Any, count: int) -> None:
            zero = f.const(0, self.part, count)
            work.at(p[0]).store(f, f.add(i, self.n), (zero, zero))

        def multiply(f: Any, p: list, i: Any, count: int) -> None:
            by = constants(f, tables[1], self.part) if tables else filter_.at(p[1])
            x = times(f, work.at(p[0]).load(f, i, count), by.load(f, i, count))
            work.at(p[0]).store(f, i, x if tables else tuple(f.mul(v, 1 / self.size) for v in x))

        def finish(f: Any, p: list, k: Any, count: int) -> None:
            target.at(p[1]).store(f, k, times(f, work.at(p[0]).load(f, k, count), chirp_at(f, k, count)))
        in_parts(b, self.n, [work.pointer, source.pointer], step, fill, repeatable=True)
        in_parts(b, self.size - self.n, [work.pointer], lanes, clear, repeatable=True)
        if not tables:
            self.fill_filter(b, filter_, chirp_at)
        self.there.emit(b, work, work)
        in_parts(b, self.size, [work.pointer, filter_.pointer], lanes, multiply)
        self.back.emit(b, work, work)
        in_parts(b, self.n, [work.pointer, target.pointer], step, finish, repeatable=True)

    def fill_filter(self, b: Any, filter_: Dense, chirp_at: Callable) -> None:
        """The transform of the conjugate chirp, wrapped around."""
        def clear(f: Any, p: list, i: Any, count: int) -> None:
            zero = f.const(0, self.part, count)
            filter_.at(p[0]).store(f, i, (zero, zero))

        def fill(f: Any, p: list, k: Any, count: int) -> None:
            re, im = chirp_at(f, k, 1)
            wrapped = filter_.at(p[0])
            wrapped.store(f, k, (re, f.neg(im)))
            f.when(f.gt(k, 0), lambda: wrapped.store(f, f.sub(self.size, k), (re, f.neg(im))))
        in_parts(b, self.size, [filter_.pointer], b.isa.lanes(self.part), clear, repeatable=True)
        in_parts(b, self.n, [filter_.pointer], 1, fill)
        self.there.emit(b, filter_, filter_)


def long_transform(n: int, sign: int, part: np.dtype, alone: bool) -> LongTransform | LongChirps:
    return (LongChirps if factors_of(n) is None else LongTransform)(n, sign, part, alone)


# --- half spectra, as in fourier.py

def mix_halves(b: Any, h: int, source: Dense, target: Dense, part: np.dtype, to_spectrum: bool) -> None:
    """The spectrum of h numbers x[0::2] + i x[1::2] to the spectrum of x (h + 1 numbers), or from it."""
    def mix(f: Any, p: list, i: Any, step: int) -> None:
        own, out = source.at(p[0]), target.at(p[1])
        k = f.add(i, 1)
        turn = times(f, tuple(f.splat(v, step) for v in roots_of(f).at(k, sign)), first_turns(f, step))
        x, y = own.load(f, k, step), own.load(f, f.sub(h - step + 1, k), step)
        out.store(f, k, unmixed(f, x, reversed_lanes(f, y), turn, to_spectrum))

    def ends(f: Any, p: list, areas: Any) -> None:
        own, out = source.at(p[0]), target.at(p[1])
        x, y = own.load(f, f.const(0, I64), 1), own.load(f, f.const(0 if to_spectrum else h, I64), 1)
        zero, one = f.const(0, part), f.const(1, part)
        if to_spectrum:
            out.store(f, f.const(h, I64), unmixed(f, x, y, (f.const(-1, part), zero), True))
        else:  # the first and the last frequency are real, whatever is given
            x, y = (x[0], zero), (y[0], zero)
        out.store(f, f.const(0, I64), unmixed(f, x, y, (one, zero), to_spectrum))

    def first_turns(f: Any, step: int) -> tuple:
        turns = sign * np.pi / h * np.arange(step)
        return tuple(f.load(part, f.module.table(g(turns).astype(part)), step, invariant=True) for g in (np.cos, np.sin))
    sign, roots_of = -1 if to_spectrum else 1, lambda f: Roots(f, 2 * h, part)
    pointers = [source.pointer, target.pointer]
    in_parts(b, h - 1, pointers, b.isa.lanes(part), mix, repeatable=True)
    b.lanes(1, 1, [(p, 0) for p in pointers], 0, ends)


def copy_half(b: Any, n: int, source: Dense, target: Dense) -> None:
    in_parts(b, n // 2 + 1, [source.pointer, target.pointer], b.isa.lanes(target.dtype),
             lambda f, p, i, step: target.at(p[1]).store(f, i, source.at(p[0]).load(f, i, step)), repeatable=True)


def mirror(b: Any, n: int, source: Dense, target: Dense) -> None:
    """The whole spectrum of n (odd) real numbers from its first half; the first of them is real, whatever is given."""
    def both(f: Any, p: list, i: Any, step: int) -> None:
        k, out = f.add(i, 1), target.at(p[1])
        re, im = source.at(p[0]).load(f, k, step)
        out.store(f, k, (re, im))
        out.store(f, f.sub(n - step + 1, k), reversed_lanes(f, (re, f.neg(im))))

    def first(f: Any, p: list, areas: Any) -> None:
        re, _ = source.at(p[0]).load(f, f.const(0, I64), 1)
        target.at(p[1]).store(f, f.const(0, I64), (re, f.const(0, re.dtype)))
    pointers = [source.pointer, target.pointer]
    in_parts(b, n // 2, pointers, b.isa.lanes(source.dtype), both, repeatable=True)
    b.lanes(1, 1, [(p, 0) for p in pointers], 0, first)


def reversed_lanes(f: Any, x: tuple) -> tuple:
    return tuple(f.shuffle(v, None, range(v.lanes - 1, -1, -1)) for v in x) if x[0].lanes > 1 else x

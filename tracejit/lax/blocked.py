"""LU factors of a large real matrix, and large triangular systems, in blocks: most of the work is in products.

Matrices are row-major and stay where they are. A block is as wide as `VECTORS` registers of 64 bytes, whatever the processor's
are. What is larger is halved: the second half is updated by one product with a negated copy of the first half's solution.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.lax.lapack import INT, permutation

I64 = np.dtype("i8")
WIDTH, VECTORS = 64, 4
FEWEST_COLUMNS = 8      # with fewer right-hand sides a vector of them would be mostly empty
MOST_TASKS, ROWS = 64, 4


def lanes_of(dtype: np.dtype) -> int:
    return WIDTH // dtype.itemsize


def block_of(dtype: np.dtype) -> int:
    """Columns of a block."""
    return VECTORS * lanes_of(dtype)


@dataclass(frozen=True)
class Strided:
    """A matrix in memory; its strides are in elements."""
    pointer: Any
    dtype: np.dtype
    row: int
    column: int = 1

    def at(self, f: Any, i: Any, j: Any) -> Any:
        return f.gep(self.pointer, f.add(f.mul(f.index(i), self.row), f.mul(f.index(j), self.column)), self.dtype)

    def number(self, f: Any, i: Any, j: Any) -> Any:
        return f.load(self.dtype, self.at(f, i, j))

    def transposed(self) -> Strided:
        return Strided(self.pointer, self.dtype, self.column, self.row)

    def moved(self, pointer: Any) -> Strided:
        return Strided(pointer, self.dtype, self.row, self.column)


@dataclass(frozen=True)
class Columns:
    """Some columns of a row-major matrix as vectors: (first of a vector's columns, mask) for each."""
    matrix: Strided
    places: list

    @staticmethod
    def of(f: Any, matrix: Strided, first: Any, count: int | Any) -> Columns:
        """`count` columns, at most a block's: a Value where it is not known that the block is whole."""
        lanes, fixed = lanes_of(matrix.dtype), isinstance(count, int)
        places = []
        for k in range(-(-count // lanes) if fixed else VECTORS):
            left = f.sub(f.index(count), k * lanes)
            mask = None if fixed and (k + 1) * lanes <= count else f.lane_mask(left, lanes)
            places.append((f.add(first, k * lanes), mask))
        return Columns(matrix, places)

    def load(self, f: Any, i: Any) -> list:
        lanes, zero = lanes_of(self.matrix.dtype), f.const(0, self.matrix.dtype)
        return [f.load(self.matrix.dtype, self.matrix.at(f, i, j), lanes, mask=mask, other=None if mask is None else zero)
                for j, mask in self.places]

    def store(self, f: Any, i: Any, xs: list) -> None:
        for (j, mask), x in zip(self.places, xs):
            f.store(x, self.matrix.at(f, i, j), mask=mask)

    def exchange(self, f: Any, pivots: Any, start: Any, stop: Any, backwards: bool = False) -> None:
        """Exchange rows i and pivots[i] for each i in order."""
        with f.loop(start, stop) as loop:
            i = f.sub(f.sub(stop, 1), loop.index) if backwards else loop.index
            self.swap(f, i, f.convert(f.load(INT, f.gep(pivots, i, INT)), I64))

    def swap(self, f: Any, i: Any, j: Any) -> None:
        x, y = self.load(f, i), self.load(f, j)
        self.store(f, i, y)
        self.store(f, j, x)


# --- triangular systems

def substitute(f: Any, a: Strided, x: Columns, minus: Columns | None, base: int, first: int, count: int, forwards: bool,
               unit: bool) -> None:
    """Solve with rows and columns first ... first + count - 1 of a triangle; `minus` gets -x, row i of it in row i - base."""
    dtype, last = a.dtype, first + count
    with f.loop(0, count) as step:
        i = f.add(step.index, first) if forwards else f.sub(last - 1, step.index)
        start, stop = (first, i) if forwards else (f.add(i, 1), last)
        with f.loop(start, stop, carries=x.load(f, i)) as loop:
            factor = f.neg(a.number(f, i, loop.index))
            terms = zip(x.load(f, loop.index), loop.carries)
            loop.carry(*[f.mad(f.splat(factor, lanes_of(dtype)), v, total) for v, total in terms])
        found = loop.results
        if not unit:
            inverse = f.splat(f.div(f.const(1, dtype), a.number(f, i, i)), lanes_of(dtype))
            found = [f.mul(v, inverse) for v in found]
        x.store(f, i, found)
        if minus is not None:
            minus.store(f, f.sub(i, base), [f.neg(v) for v in found])


def column_blocks(b: Any, x: Strided, minus: Strided, count: int, pointers: list, emit: Callable) -> None:
    """emit(f, columns of x, the same of minus, pointers) for blocks of `count` columns, in parallel."""
    block = block_of(x.dtype)
    n = -(-count // block)

    def one(f: Any, p: list, scratch: Any) -> None:
        first = f.mul(f.lane, block)
        size = block if count % block == 0 else f.sub(count, first)
        emit(f, *[Columns.of(f, m.moved(q), first, size) for m, q in zip((x, minus), p)], p[2:])
    b.lanes(n, min(n, MOST_TASKS), [(p, 0) for p in (x.pointer, minus.pointer, *pointers)], 0, one)


def copy_columns(b: Any, x: Strided, source: Any, n: int, columns: int) -> None:
    def copy(f: Any, own: Columns, given: Columns, p: list) -> None:
        with f.loop(0, n) as loop:
            own.store(f, loop.index, given.load(f, loop.index))
    column_blocks(b, x, x.moved(source), columns, [], copy)


def exchange_rows(b: Any, x: Strided, pivots: Any, start: int, stop: int, columns: int, backwards: bool = False) -> None:
    """Exchange rows i and pivots[i] of x for each i in order."""
    column_blocks(b, x, x, columns, [pivots],
                  lambda f, own, _, p: own.exchange(f, p[0], f.index(start), f.index(stop), backwards))


def products(dtype: np.dtype, m: int, n: int) -> list[tuple]:
    """The largest of the products that are made for m x n numbers."""
    return [(dtype, m, n, m)]


def area_bytes(dtype: np.dtype, m: int, n: int) -> int:
    """Of the work area: m x n numbers, or a block of so many rows."""
    return -(-m * max(n, block_of(dtype)) * dtype.itemsize // 64) * 64


def halved(count: int, dtype: np.dtype) -> int:
    """About half of `count` rows or columns, in whole blocks."""
    block = block_of(dtype)
    return -(-count // (2 * block)) * block


def triangular_solve(b: Any, a: Strided, x: Strided, area: Any, n: int, columns: int, forwards: bool, unit: bool) -> None:
    """x becomes the solution y of a y = x, a lower (forwards) or upper triangular. The area has as many elements as x."""
    solve_rows(b, a, x, Strided(area, a.dtype, columns), 0, 0, n, columns, forwards, unit)


def solve_rows(b: Any, a: Strided, x: Strided, minus: Strided, base: int, first: int, count: int, columns: int, forwards: bool,
               unit: bool) -> None:
    """As `triangular_solve`, for rows first ... first + count - 1; row i of x comes to be, negated, row i - base of `minus`."""
    if count <= block_of(a.dtype):
        return column_blocks(b, x, minus, columns, [a.pointer], lambda f, own, negated, p: substitute(
            f, a.moved(p[0]), own, negated, base, first, count, forwards, unit))
    half = halved(count, a.dtype)
    parts = [(first, half), (first + half, count - half)]
    (known, n_known), (rest, n_rest) = parts if forwards else reversed(parts)
    solve_rows(b, a, x, minus, base, known, n_known, columns, forwards, unit)
    b.add_product(a.dtype, x.at(b, rest, 0), x.row, (a.at(b, rest, known), a.row, a.column),
                  (minus.at(b, known - base, 0), columns, 1), n_rest, columns, n_known)
    solve_rows(b, a, x, minus, base, rest, n_rest, columns, forwards, unit)


# --- LU factors

def lu(b: Any, a: Strided, pivots: Any, order: Any, area: Any, m: int, n: int) -> None:
    """L and U in place of a, with row exchanges for the largest number of each column, and the permutation they amount to."""
    k = min(m, n)
    factor_columns(b, a, pivots, area, m, 0, k)
    if k < n:
        eliminate_right(b, a, pivots, area, m, 0, k, n - k)
    b.lanes(1, 1, [(order, 0), (pivots, 0)], 0, lambda f, p, scratch: permutation(f, p[0], p[1], k, m))


def factor_columns(b: Any, a: Strided, pivots: Any, area: Any, m: int, first: int, count: int) -> None:
    """The factors of rows first ... m - 1 of some columns, left half first."""
    if count <= block_of(a.dtype):
        return b.lanes(1, 1, [(a.at(b, first, first), 0), (b.gep(pivots, first, INT), 0), (area, 0)], 0,
                       lambda f, p, scratch: copied_panel(f, a.moved(p[0]), p[1], p[2], first, count, m - first))
    half = halved(count, a.dtype)
    middle, last = first + half, first + count
    factor_columns(b, a, pivots, area, m, first, half)
    eliminate_right(b, a, pivots, area, m, first, half, count - half)
    factor_columns(b, a, pivots, area, m, middle, count - half)
    exchange_rows(b, a.moved(a.at(b, 0, first)), pivots, middle, last, half)


def eliminate_right(b: Any, a: Strided, pivots: Any, area: Any, m: int, first: int, count: int, columns: int) -> None:
    """What the factors of `count` columns do to those right of them."""
    last = first + count
    right, minus = a.moved(a.at(b, 0, last)), Strided(area, a.dtype, columns)
    exchange_rows(b, right, pivots, first, last, columns)
    solve_rows(b, a, right, minus, first, first, count, columns, forwards=True, unit=True)
    if last < m:
        b.add_product(a.dtype, a.at(b, last, last), a.row, (a.at(b, last, first), a.row, 1), (area, columns, 1), m - last, columns,
                      count)


def copied_panel(f: Any, a: Strided, pivots: Any, area: Any, first: int, count: int, m: int) -> None:
    """The factors of a block's columns, in an area where their rows lie together: a power of two from row to row would be a single
    line of the cache. `first` is added to the pivots."""
    dense = Strided(area, a.dtype, block_of(a.dtype))
    own, copy = (Columns.of(f, x, f.index(0), count) for x in (a, dense))
    with f.loop(0, m) as loop:
        copy.store(f, loop.index, own.load(f, loop.index))
    panel(f, dense, pivots, count, m)
    with f.loop(0, m) as loop:
        own.store(f, loop.index, copy.load(f, loop.index))
    with f.loop(0, count) as loop:
        place = f.gep(pivots, loop.index, INT)
        f.store(f.add(f.load(INT, place), first), place)


def panel(f: Any, a: Strided, pivots: Any, count: int, m: int) -> None:
    """The factors of m rows of a block's columns: strips of one vector, what is right of each updated after it."""
    whole, lanes = Columns.of(f, a, f.index(0), count), lanes_of(a.dtype)
    for at in range(0, count, lanes):
        width = min(lanes, count - at)
        strip(f, a, Columns.of(f, a, f.index(at), width), whole, pivots, at, width, m)
        rest = Columns.of(f, a, f.index(at + width), count - at - width)
        if rest.places:
            substitute(f, a, rest, None, at, at, width, forwards=True, unit=True)
            update(f, a, rest, at, width, m)


def strip(f: Any, a: Strided, own: Columns, whole: Columns, pivots: Any, first: int, width: int, m: int) -> None:
    """The factors of a few columns that are one vector; each pass over the rows also looks for the next column's pivot."""
    lanes, dtype = lanes_of(a.dtype), a.dtype
    numbers = f.iota(lanes, INT)
    with f.loop(0, width, carries=[largest_rows(f, f.index(first), m, dtype, lambda i: own.load(f, i)[0])]) as step:
        t, (place,) = step.index, step.carries
        j = f.add(t, first)
        pivot_row = f.extract(place, t)
        f.store(pivot_row, f.gep(pivots, j, INT))
        whole.swap(f, j, f.convert(pivot_row, I64))
        pivot = a.number(f, j, j)
        tiny = np.finfo(dtype).tiny
        grow = f.select(f.lt(f.abs(pivot), tiny), f.const(1 / np.finfo(dtype).eps, dtype), f.const(1, dtype))
        inverse = f.div(f.const(1, dtype), f.select(f.eq(pivot, 0), f.const(1, dtype), f.mul(pivot, grow)))
        number = f.splat(f.convert(t, INT), lanes)
        here, after = f.eq(numbers, number), f.gt(numbers, number)
        row = f.neg(f.select(after, own.load(f, j)[0], f.const(0, dtype, lanes)))

        def eliminate(i: Any) -> Any:
            factor = f.splat(f.mul(f.mul(a.number(f, i, j), grow), inverse), lanes)
            x = f.select(here, factor, f.mad(factor, row, own.load(f, i)[0]))
            own.store(f, i, [x])
            return x
        step.carry(largest_rows(f, f.add(j, 1), m, dtype, eliminate))


def largest_rows(f: Any, start: Any, stop: int, dtype: np.dtype, row_at: Callable) -> Any:
    """For each lane of the rows start <= i < stop, the first i with the largest size."""
    lanes = lanes_of(dtype)
    fresh = [f.const(-1, dtype, lanes), f.splat(f.convert(start, INT), lanes)]

    def look(i: Any, best: Any, place: Any) -> list:
        size = f.abs(row_at(i))
        larger = f.gt(size, best)
        return [f.select(larger, size, best), f.select(larger, f.splat(f.convert(i, INT), lanes), place)]
    whole = f.sub(stop, f.rem(f.sub(stop, start), ROWS))
    with f.loop(start, whole, ROWS, carries=fresh * ROWS) as loop:      # a chain of comparisons for each of some rows
        pairs = zip(loop.carries[::2], loop.carries[1::2])
        loop.carry(*[v for k, pair in enumerate(pairs) for v in look(f.add(loop.index, k), *pair)])
    best, place, *others = loop.results
    for size, other in zip(others[::2], others[1::2]):
        better = f.or_(f.gt(size, best), f.and_(f.eq(size, best), f.lt(other, place)))
        best, place = f.select(better, size, best), f.select(better, other, place)
    with f.loop(whole, stop, carries=[best, place]) as loop:
        loop.carry(*look(loop.index, *loop.carries))
    return loop.results[1]


def update(f: Any, a: Strided, rest: Columns, first: int, width: int, m: int) -> None:
    """Rows below a strip less its factors times its rows, in the columns that are left."""
    lanes, start = lanes_of(a.dtype), first + width

    def rows(i: Any, count: int) -> None:
        own = [f.add(i, k) for k in range(count)]
        n = len(rest.places)
        with f.loop(first, start, carries=[v for r in own for v in rest.load(f, r)]) as loop:
            above = rest.load(f, loop.index)
            factors = [f.splat(f.neg(a.number(f, r, loop.index)), lanes) for r in own]
            loop.carry(*[f.mad(factors[k // n], above[k % n], total) for k, total in enumerate(loop.carries)])
        for k, r in enumerate(own):
            rest.store(f, r, loop.results[k * n:(k + 1) * n])
    whole = start + max(0, m - start) // ROWS * ROWS
    for begin, end, count in ((start, whole, ROWS), (whole, m, 1)):
        if begin < end:
            with f.loop(begin, end, count) as loop:
                rows(loop.index, count)

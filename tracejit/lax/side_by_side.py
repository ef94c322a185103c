"""Many small matrices -> one in each lane of vector registers: factors and solutions without a library call each.

A group of `WIDTH` bytes' worth of matrices is spread over work areas, element (i, j) of all of them next to each other;
every step of the algorithm is then one vector operation. Rows are exchanged by selection, lane by lane. Complex numbers
have their real parts there, then their imaginary parts.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.ir.types import real_dtype

WIDTH = 64          # bytes: fixed, so that results do not depend on the processor
LARGEST = 48        # above this order LAPACK is as fast
TINY = 8            # up to this order (complex: half) a group is worth it for one matrix; above it, for as many as it has lanes
INT, I64 = np.dtype("int32"), np.dtype("int64")


def lanes_of(dtype: np.dtype) -> int:
    return WIDTH // real_dtype(dtype).itemsize


class Group:
    """The matrices that a group works on: lane k holds matrix first + k, of `n` in all; the last fills lanes beyond."""

    def __init__(self, f: Any, n: int, dtype: np.dtype):
        self.f, self.dtype, self.lanes = f, dtype, lanes_of(dtype)
        first = f.mul(f.lane, self.lanes)
        self.numbers = [f.min(f.add(first, k), n - 1) for k in range(self.lanes)]

    def get(self, source: Any, size: int, dtype: np.dtype, area: Any) -> None:
        """Array -> work area: squares of elements are read as rows and written as columns."""
        f, lanes = self.f, self.lanes

        def block(at: Any, mask: Any, count: int) -> None:
            rows = [f.load(dtype, f.gep(source, f.add(f.mul(k, size), at), dtype), lanes, mask=mask) for k in self.numbers]
            for e, x in enumerate(f.turned(rows)[:count]):
                self.store(x, area, f.add(at, e), dtype)
        self.blocks(size, block)

    def put(self, area: Any, size: int, dtype: np.dtype, target: Any) -> None:
        """Work area -> array."""
        f, lanes = self.f, self.lanes

        def block(at: Any, mask: Any, count: int) -> None:
            columns = [self.load(area, f.add(at, e), dtype) for e in range(count)]
            columns += columns[:1] * (lanes - count)
            for k, x in zip(self.numbers, f.turned(columns)):
                f.store(x, f.gep(target, f.add(f.mul(k, size), at), dtype), mask=mask)
        self.blocks(size, block)

    def blocks(self, size: int, block: Callable) -> None:
        """block(first element, mask, elements) for as many elements as there are lanes; the last blocks may overlap."""
        f, lanes = self.f, self.lanes
        if size < lanes:
            return block(f.const(0, I64), f.lane_mask(f.const(size, I64), lanes), size)
        with f.loop(0, -(-size // lanes)) as loop:
            block(f.min(f.mul(loop.index, lanes), size - lanes), None, lanes)

    def planes(self, area: Any, i: Any, dtype: np.dtype) -> list:
        """Where the parts of element i of all matrices are."""
        f, part, n = self.f, real_dtype(dtype), 2 if dtype.kind == "c" else 1
        return [f.gep(area, f.mul(f.add(f.mul(i, n), k), self.lanes), part) for k in range(n)]

    def load(self, area: Any, i: Any, dtype: np.dtype) -> Any:
        parts = [self.f.load(real_dtype(dtype), p, self.lanes) for p in self.planes(area, i, dtype)]
        return self.f.complex(*parts) if dtype.kind == "c" else parts[0]

    def store(self, x: Any, area: Any, i: Any, dtype: np.dtype) -> None:
        parts = [self.f.real(x), self.f.imag(x)] if dtype.kind == "c" else [x]
        for part, place in zip(parts, self.planes(area, i, dtype)):
            self.f.store(part, place)

    def matrix(self, area: Any, columns: int, dtype: np.dtype | None = None, transposed: bool = False,
               conjugated: bool = False) -> Matrix:
        return Matrix(self, area, columns, dtype or self.dtype, transposed, conjugated)


@dataclass(frozen=True)
class Matrix:
    """Matrices in a work area: m[i, j] loads element (i, j) of all, m[i, j] = x stores it."""
    group: Group
    area: Any
    columns: int
    dtype: np.dtype
    transposed: bool
    conjugated: bool

    def at(self, place: tuple) -> tuple[Any, Any]:
        """Where the row begins, which inner loops over columns need not compute again, and the column."""
        f, (i, j) = self.group.f, place[::-1] if self.transposed else place
        size = self.columns * self.group.lanes * self.dtype.itemsize
        return f.gep(self.area, f.mul(i, size)), f.index(j)

    def turn(self, x: Any) -> Any:
        return self.group.f.conj(x) if self.conjugated else x

    def __getitem__(self, place: tuple) -> Any:
        return self.turn(self.group.load(*self.at(place), self.dtype))

    def __setitem__(self, place: tuple, x: Any) -> None:
        x = self.turn(self.group.f.splat(x, self.group.lanes))
        self.group.store(x, *self.at(place), self.dtype)


def size_of(f: Any, x: Any) -> Any:
    """|x|, or the sum of both parts' for complex x: what LAPACK compares."""
    return f.add(f.abs(f.real(x)), f.abs(f.imag(x))) if x.dtype.kind == "c" else f.abs(x)


def minus_products(f: Any, start: Any, stop: Any, x: Any, left: Callable, right: Callable) -> Any:
    """x - sum of left(k) right(k) over start <= k < stop."""
    with f.loop(start, stop, carries=[x]) as loop:
        loop.carry(f.mad(f.neg(left(loop.index)), right(loop.index), loop.carries[0]))
    return loop.results[0]


def cholesky(group: Group, a: Matrix, n: int) -> None:
    """The lower half becomes L, zeros above; all nan where a pivot is not positive."""
    f, lanes, dtype = group.f, group.lanes, group.dtype
    with f.loop(0, n, carries=[f.const(True, np.dtype(bool), lanes)]) as column:
        j, (ok,) = column.index, column.carries
        pivot = f.real(minus_products(f, 0, j, a[j, j], lambda k: a[j, k], lambda k: f.conj(a[j, k])))
        root = f.sqrt(pivot)
        a[j, j] = f.convert(root, dtype)
        inverse = f.convert(f.div(f.const(1, pivot.dtype, lanes), root), dtype)
        with f.loop(f.add(j, 1), n) as row:
            i = row.index
            rest = minus_products(f, 0, j, a[i, j], lambda k: a[i, k], lambda k: f.conj(a[j, k]))
            a[i, j] = f.mul(rest, inverse)
        column.carry(f.and_(ok, f.gt(pivot, 0)))
    nan = f.const(np.nan, dtype, lanes)
    with f.loop(0, n) as row:
        i = row.index
        with f.loop(0, f.add(i, 1)) as column_:
            a[i, column_.index] = f.select(column.results[0], a[i, column_.index], nan)
        with f.loop(f.add(i, 1), n) as column_:
            a[i, column_.index] = f.const(0, dtype, lanes)


def exchange(f: Any, mask: Any, m: Matrix, i: Any, j: Any, columns: int) -> None:
    """Exchange rows i and j of those matrices where the mask is true, if there is one."""
    def swap() -> None:
        with f.loop(0, columns) as loop:
            c = loop.index
            x, y = m[i, c], m[j, c]
            m[i, c] = f.select(mask, y, x)
            m[j, c] = f.select(mask, x, y)
    f.when(f.any(mask), swap)


def lu(group: Group, a: Matrix, pivots: Matrix, order: Matrix, m: int, n: int) -> None:
    """L and U in place of a, with row exchanges for the largest pivot of each column."""
    f, lanes = group.f, group.lanes
    numbers = lambda i: f.splat(f.convert(i, INT), lanes)
    with f.loop(0, m) as loop:
        order[loop.index, 0] = numbers(loop.index)
    with f.loop(0, min(m, n)) as step:
        k = step.index
        after = f.add(k, 1)
        with f.loop(after, m, carries=[size_of(f, a[k, k]), numbers(k)]) as loop:
            most, place = loop.carries
            size = size_of(f, a[loop.index, k])
            larger = f.gt(size, most)
            loop.carry(f.select(larger, size, most), f.select(larger, numbers(loop.index), place))
        _, place = loop.results
        pivots[k, 0] = place
        with f.loop(after, m) as loop:
            mask = f.eq(place, numbers(loop.index))
            exchange(f, mask, a, k, loop.index, n)
            exchange(f, mask, order, k, loop.index, 1)
        pivot = a[k, k]
        one = f.const(1, group.dtype, lanes)
        inverse = f.div(one, f.select(f.eq(pivot, 0), one, pivot))  # below a zero pivot there are only zeros
        with f.loop(after, m) as row:
            i = row.index
            factor = f.mul(a[i, k], inverse)
            a[i, k] = factor
            with f.loop(after, n) as column:
                a[i, column.index] = f.mad(f.neg(factor), a[k, column.index], a[i, column.index])


def substitute(group: Group, a: Matrix, x: Matrix, n: int, columns: int, forwards: bool, unit: bool) -> None:
    """x becomes the solution y of a y = x, a lower (forwards) or upper triangular."""
    f = group.f
    with f.loop(0, n) as loop:
        i = loop.index if forwards else f.sub(n - 1, loop.index)
        start, stop = (0, i) if forwards else (f.add(i, 1), n)
        inverse = None if unit else f.div(f.const(1, group.dtype, group.lanes), a[i, i])
        with f.loop(0, columns) as column:
            c = column.index
            rest = minus_products(f, start, stop, x[i, c], lambda k: a[i, k], lambda k: x[k, c])
            x[i, c] = rest if unit else f.mul(rest, inverse)


def exchange_all(group: Group, x: Matrix, pivots: Matrix, n: int, columns: int, backwards: bool) -> None:
    """Do the row exchanges of an LU factorization, or undo them."""
    f = group.f
    with f.loop(0, n) as loop:
        k = f.sub(n - 1, loop.index) if backwards else loop.index
        place = pivots[k, 0]
        with f.loop(f.add(k, 1), n) as row:
            mask = f.eq(place, f.splat(f.convert(row.index, INT), group.lanes))
            exchange(f, mask, x, k, row.index, columns)


def reflect(group: Group, a: Matrix, taus: Matrix, m: int, n: int) -> None:
    """R in place of a's upper half, under it the vectors of the reflectors H1 H2 ... = Q, with LAPACK's signs."""
    f = group.f
    with f.loop(0, min(m, n)) as step:
        j = step.index
        tau = reflector(group, a, j, m)
        taus[j, 0] = tau
        with f.loop(f.add(j, 1), n) as column:
            reflect_column(group, a, j, f.conj(tau), a, m, column.index)


def reflector(group: Group, a: Matrix, j: Any, m: int) -> Any:
    """tau, of the reflector that makes column j zero below the diagonal, where its vector comes to be (LAPACK's larfg)."""
    f, dtype, part, lanes = group.f, group.dtype, real_dtype(group.dtype), group.lanes
    const = lambda x: f.const(x, part, lanes)
    after, alpha = f.add(j, 1), a[j, j]
    with f.loop(j, m, carries=[const(np.finfo(part).tiny)]) as loop:
        loop.carry(f.max(loop.carries[0], size_of(f, a[loop.index, j])))
    largest, = loop.results
    shrink = f.div(const(1), largest)     # squares of what it multiplies can be added up
    shrunk = lambda x: f.mul(x, f.convert(shrink, dtype))
    square = lambda x: f.real(f.mad(x, f.conj(x), f.const(0, dtype, lanes)))
    with f.loop(after, m, carries=[const(0)]) as loop:
        loop.carry(f.add(loop.carries[0], square(shrunk(a[loop.index, j]))))
    tail, first = loop.results[0], shrunk(alpha)
    done = f.eq(tail, 0)                  # and real: no reflection, as LAPACK has it
    done = f.and_(done, f.eq(f.imag(alpha), 0)) if dtype.kind == "c" else done
    beta = f.neg(f.copysign(f.sqrt(f.add(tail, square(first))), f.real(alpha)))
    apart = f.sub(first, f.convert(beta, dtype))
    inverse = f.div(f.const(1, dtype, lanes), f.select(done, f.const(1, dtype, lanes), apart))
    with f.loop(after, m) as loop:
        a[loop.index, j] = f.mul(shrunk(a[loop.index, j]), inverse)
    a[j, j] = f.select(done, alpha, f.convert(f.mul(beta, largest), dtype))
    over = f.convert(f.div(const(-1), f.select(done, const(1), beta)), dtype)
    return f.select(done, f.const(0, dtype, lanes), f.mul(apart, over))


def reflect_column(group: Group, v: Matrix, j: Any, tau: Any, x: Matrix, m: int, c: Any) -> None:
    """Column c of x less tau v adjoint(v) times it, for the reflector of column j."""
    f = group.f
    after = f.add(j, 1)
    with f.loop(after, m, carries=[x[j, c]]) as loop:
        loop.carry(f.mad(f.conj(v[loop.index, j]), x[loop.index, c], loop.carries[0]))
    along = f.mul(tau, loop.results[0])
    x[j, c] = f.sub(x[j, c], along)
    with f.loop(after, m) as loop:
        i = loop.index
        x[i, c] = f.mad(f.neg(along), v[i, j], x[i, c])


def product_of_reflectors(group: Group, v: Matrix, taus: Matrix, q: Matrix, m: int, k: int, count: int) -> None:
    """q becomes the first k columns of H1 H2 ... of `count` reflectors, the last applied first: their columns are still few."""
    f = group.f
    with f.loop(0, m) as row, f.loop(0, k) as column:
        one = f.select(f.eq(row.index, column.index), f.const(1, group.dtype), f.const(0, group.dtype))
        q[row.index, column.index] = one
    with f.loop(0, count) as step:
        j = f.sub(count - 1, step.index)
        tau = taus[j, 0]
        with f.loop(j, k) as column:
            reflect_column(group, v, j, tau, q, m, column.index)


def fits(n: int, types: Sequence[Any], largest: int = LARGEST, alone: int = TINY) -> bool:
    """Whether a stack of n of these is done side by side: up to the order `largest`, or `alone` where they do not fill a group."""
    sizes, dtype = [d for t in types for d in t.shape], types[0].dtype
    if 0 in sizes or max(sizes) > largest:
        return False
    return max(sizes) <= (min(alone, TINY // 2) if dtype.kind == "c" else alone) or n >= lanes_of(dtype)

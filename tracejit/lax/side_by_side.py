"""Many small real matrices -> one in each lane of vector registers: factors and solutions without a library call each.

A group of `WIDTH` bytes' worth of matrices is spread over work areas, element (i, j) of all of them next to each other;
every step of the algorithm is then one vector operation. Rows are exchanged by selection, lane by lane.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.lax.lapack import turned

WIDTH = 64          # bytes: fixed, so that results do not depend on the processor
LARGEST = 48        # above this order LAPACK is as fast
TINY = 8            # up to this order a group is worth it even for one matrix; above it, for as many as it has lanes
INT, I64 = np.dtype("int32"), np.dtype("int64")


def lanes_of(dtype: np.dtype) -> int:
    return WIDTH // dtype.itemsize


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
            for e, x in enumerate(turned(f, rows)[:count]):
                f.store(x, f.gep(area, f.mul(f.add(at, e), lanes), dtype))
        self.blocks(size, block)

    def put(self, area: Any, size: int, dtype: np.dtype, target: Any) -> None:
        """Work area -> array."""
        f, lanes = self.f, self.lanes

        def block(at: Any, mask: Any, count: int) -> None:
            columns = [f.load(dtype, f.gep(area, f.mul(f.add(at, e), lanes), dtype), lanes) for e in range(count)]
            columns += columns[:1] * (lanes - count)
            for k, x in zip(self.numbers, turned(f, columns)):
                f.store(x, f.gep(target, f.add(f.mul(k, size), at), dtype), mask=mask)
        self.blocks(size, block)

    def blocks(self, size: int, block: Callable) -> None:
        """block(first element, mask, elements) for as many elements as there are lanes; the last blocks may overlap."""
        f, lanes = self.f, self.lanes
        if size < lanes:
            return block(f.const(0, I64), f.lane_mask(f.const(size, I64), lanes), size)
        with f.loop(0, -(-size // lanes)) as loop:
            block(f.min(f.mul(loop.index, lanes), size - lanes), None, lanes)

    def matrix(self, area: Any, columns: int, dtype: np.dtype | None = None, transposed: bool = False) -> Matrix:
        return Matrix(self, area, columns, dtype or self.dtype, transposed)


class Matrix:
    """Matrices in a work area: m[i, j] loads element (i, j) of all, m[i, j] = x stores it."""

    def __init__(self, group: Group, area: Any, columns: int, dtype: np.dtype, transposed: bool):
        self.group, self.area, self.columns, self.dtype, self.transposed = group, area, columns, dtype, transposed

    def at(self, place: tuple) -> Any:
        f, (i, j) = self.group.f, place[::-1] if self.transposed else place
        return f.gep(self.area, f.mul(f.add(f.mul(i, self.columns), j), self.group.lanes), self.dtype)

    def __getitem__(self, place: tuple) -> Any:
        return self.group.f.load(self.dtype, self.at(place), self.group.lanes)

    def __setitem__(self, place: tuple, x: Any) -> None:
        self.group.f.store(self.group.f.splat(x, self.group.lanes), self.at(place))


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
        pivot = minus_products(f, 0, j, a[j, j], lambda k: a[j, k], lambda k: a[j, k])
        root = f.sqrt(pivot)
        a[j, j] = root
        inverse = f.div(f.const(1, dtype, lanes), root)
        with f.loop(f.add(j, 1), n) as row:
            i = row.index
            rest = minus_products(f, 0, j, a[i, j], lambda k: a[i, k], lambda k: a[j, k])
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
        with f.loop(after, m, carries=[f.abs(a[k, k]), numbers(k)]) as loop:
            most, place = loop.carries
            size = f.abs(a[loop.index, k])
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


def fits(n: int, types: Sequence[Any]) -> bool:
    """Whether a stack of n of these is done side by side."""
    sizes, dtype = [d for t in types for d in t.shape], types[0].dtype
    if dtype.kind != "f" or 0 in sizes or max(sizes) > LARGEST:
        return False
    return max(sizes) <= TINY or n >= lanes_of(dtype)

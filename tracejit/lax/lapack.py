"""What the native code of linear algebra ops is made of: memory layouts, work areas, nan for failures.

LAPACK reads columns where arrays here are rows: a row-major m x n matrix is, as it lies, LAPACK's n x m transposed one.
"""
from __future__ import annotations

from typing import Any

import numpy as np

INT = np.dtype("int32")


def transposed(f: Any, target: Any, source: Any, rows: int, columns: int, dtype: np.dtype) -> None:
    """target[j][i] = source[i][j] for i < rows, j < columns, both dense: in squares of registers, then the borders."""
    item = np.dtype(f"u{dtype.itemsize}") if dtype.itemsize <= 8 else dtype
    side = 64 // dtype.itemsize
    whole_rows, whole_columns = (n - n % side if item is not dtype else 0 for n in (rows, columns))
    place = lambda p, i, j, width: f.gep(p, f.add(f.mul(i, width), j), item)
    if whole_rows and whole_columns:
        with f.loop(0, whole_rows, side) as row, f.loop(0, whole_columns, side) as column:
            i, j = row.index, column.index
            square = [f.load(item, place(source, f.add(i, k), j, columns), side) for k in range(side)]
            for k, x in enumerate(f.turned(square)):
                f.store(x, place(target, f.add(j, k), i, rows))
    else:
        whole_rows = whole_columns = 0
    for first, last, left in ((0, whole_rows, whole_columns), (whole_rows, rows, 0)):
        with f.loop(first, last) as row, f.loop(left, columns) as column:
            i, j = row.index, column.index
            f.store(f.load(item, place(source, i, j, columns)), place(target, j, i, rows))


def fill_nan_if(f: Any, info: Any, target: Any, count: int, dtype: np.dtype) -> None:
    """Where LAPACK reported a failure, `count` elements become nan."""
    def fill() -> None:
        with f.loop(0, count) as loop:
            f.store(f.const(np.nan, dtype), f.gep(target, loop.index, dtype))
    f.when(f.ne(f.load(INT, info), 0), fill)


def swap_rows(f: Any, x: Any, i: Any, j: Any, columns: int, dtype: np.dtype) -> None:
    """Exchange two rows of a row-major matrix."""
    with f.loop(0, columns) as loop:
        here = f.gep(x, f.add(f.mul(i, columns), loop.index), dtype)
        there = f.gep(x, f.add(f.mul(j, columns), loop.index), dtype)
        a, b = f.load(dtype, here), f.load(dtype, there)
        f.store(b, here)
        f.store(a, there)


def identity(f: Any, target: Any, rows: int, columns: int, dtype: np.dtype) -> None:
    with f.loop(0, rows) as row, f.loop(0, columns) as column:
        value = f.select(f.eq(row.index, column.index), f.const(1, dtype), f.const(0, dtype))
        f.store(value, f.gep(target, f.add(f.mul(row.index, columns), column.index), dtype))


def count_up(f: Any, target: Any, size: int) -> None:
    """0, 1, 2, ..."""
    with f.loop(0, size) as loop:
        f.store(f.convert(loop.index, INT), f.gep(target, loop.index, INT))


def permutation(f: Any, target: Any, pivots: Any, n_pivots: int, size: int) -> None:
    """0, 1, 2, ... with elements k and pivots[k] exchanged for each k in order."""
    count_up(f, target, size)
    with f.loop(0, n_pivots) as loop:
        swap_rows(f, target, loop.index, f.convert(f.load(INT, f.gep(pivots, loop.index, INT)), np.dtype("i8")), 1, INT)

"""Eigenvalues and singular values of many small matrices side by side, by Jacobi's rotations of two rows and columns at a time.

A rotation makes one number off the diagonal zero: of a symmetric matrix, or of the products of its columns (Hestenes 1958). Each
lane stays as it is once its numbers are small enough, so it does not depend on what its neighbours hold.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.types import real_dtype
from tracejit.lax.side_by_side import Group, Matrix, exchange, product_of_reflectors, reflect, size_of

MOST_SWEEPS = 40    # ten are many


def eigh(group: Group, given: Matrix, half: Matrix, values: Matrix, vectors: Matrix | None, n: int) -> None:
    """Ascending eigenvalues, and eigenvectors, of the matrices whose upper halves are given; nan where a number is not finite.

    The work is done in `half`, with columns that do not fall into the same lines of the cache.
    """
    f, part = group.f, real_dtype(group.dtype)
    finite, scale = rescaled(group, given, half, n, n, lambda row: row)
    with f.loop(0, n) as loop:
        values[loop.index, 0] = f.real(half[loop.index, loop.index])
    if vectors is not None:
        set_identity(group, vectors, n)
    limit = f.const(np.finfo(part).eps / 4, part, group.lanes)    # the largest numbers are between 1 and 2

    def pair(p: Any, q: Any) -> Any:
        x = half[p, q]
        size = modulus(f, x)
        turning = f.gt(size, limit)
        f.when(f.any(turning), lambda: rotate_symmetric(group, half, values, vectors, n, p, q, x, size, turning))
        return turning
    sweep(group, n, pair)
    sort_columns(group, values, [(vectors, n)] if vectors is not None else [], n, f.lt)
    finish(group, values, n, 1, finite, scale)
    if vectors is not None:
        finish(group, vectors, n, n, finite)


def rotate_symmetric(group: Group, half: Matrix, values: Matrix, vectors: Matrix | None, n: int, p: Any, q: Any, x: Any,
                     size: Any, turning: Any) -> None:
    """Make x, number (p, q), zero: the diagonal, the rest of both rows and columns, and the vectors."""
    f = group.f
    tangent, cosine, sine = rotation(group, f.sub(values[q, 0], values[p, 0]), x, size, turning)
    change = f.mul(tangent, size)
    values[p, 0], values[q, 0] = f.sub(values[p, 0], change), f.add(values[q, 0], change)
    half[p, q] = f.select(turning, f.const(0, group.dtype, group.lanes), x)
    other = replace(half, transposed=not half.transposed, conjugated=not half.conjugated)    # the other half of the matrix
    turn(group, (half, p), (half, q), 0, p, cosine, sine)
    turn(group, (other, p), (half, q), f.add(p, 1), q, cosine, sine)
    turn(group, (other, p), (other, q), f.add(q, 1), n, cosine, sine)
    if vectors is not None:
        turn(group, (vectors, p), (vectors, q), 0, n, cosine, sine)


def svd(group: Group, given: Matrix, x: Matrix, values: Matrix, m: int, n: int) -> None:
    """Descending singular values of m x n matrices, m >= n; nan where a number is not finite. The work is done in x."""
    finite, scale = orthogonalized(group, given, x, None, m, n)
    column_norms(group, x, values, m, n)
    sort_columns(group, values, [], n, group.f.gt)
    finish(group, values, n, 1, finite, scale)


def svd_vectors(group: Group, given: Matrix, x: Matrix, values: Matrix, left: Matrix, right: Matrix, taus: Matrix, m: int, n: int,
                k: int) -> None:
    """As `svd`, with n right singular vectors and k left ones.

    x times all rotations has orthogonal columns. Reflectors turn these into orthonormal ones, whichever of them are zero.
    """
    f = group.f
    set_identity(group, right, n)
    finite, scale = orthogonalized(group, given, x, right, m, n)
    column_norms(group, x, values, m, n)
    sort_columns(group, values, [(x, m), (right, n)], n, f.gt)
    reflect(group, x, taus, m, n)
    product_of_reflectors(group, x, taus, left, m, k, n)
    with f.loop(0, n) as column:
        j = column.index
        opposite = f.lt(f.real(x[j, j]), 0)
        with f.loop(0, m) as row:
            i = row.index
            left[i, j] = f.select(opposite, f.neg(left[i, j]), left[i, j])
    finish(group, values, n, 1, finite, scale)
    finish(group, left, m, k, finite)
    finish(group, right, n, n, finite)


def orthogonalized(group: Group, given: Matrix, x: Matrix, right: Matrix | None, m: int, n: int) -> tuple:
    """x becomes what is given with columns rotated, and so are those of `right`, until x's are orthogonal; which lanes are finite,
    and what x was divided by."""
    f, dtype = group.f, group.dtype
    part = real_dtype(dtype)
    found = rescaled(group, given, x, m, n, lambda row: 0)
    limit = f.const(math.sqrt(m) * np.finfo(part).eps, part, group.lanes)
    vanishing = np.finfo(part).tiny / np.finfo(part).eps    # the largest numbers are between 1 and 2

    def pair(p: Any, q: Any) -> Any:
        zero = f.const(0, dtype, group.lanes)
        with f.loop(0, m, carries=[zero, zero, zero]) as loop:
            a, b = x[loop.index, p], x[loop.index, q]
            terms = (a, f.conj(a)), (b, f.conj(b)), (f.conj(a), b)
            loop.carry(*[f.mad(*term, total) for term, total in zip(terms, loop.carries)])
        first, second, (product, size) = *map(f.real, loop.results[:2]), (loop.results[2], modulus(f, loop.results[2]))
        turning = f.gt(size, f.max(f.mul(limit, f.mul(f.sqrt(first), f.sqrt(second))), vanishing))

        def rotate() -> None:
            _, cosine, sine = rotation(group, f.sub(second, first), product, size, turning)
            turn(group, (x, p), (x, q), 0, m, cosine, sine)
            if right is not None:
                turn(group, (right, p), (right, q), 0, n, cosine, sine)
        f.when(f.any(turning), rotate)
        return turning
    sweep(group, n, pair)
    return found


def column_norms(group: Group, x: Matrix, values: Matrix, m: int, n: int) -> None:
    f, dtype = group.f, group.dtype
    with f.loop(0, n) as column:
        with f.loop(0, m, carries=[f.const(0, dtype, group.lanes)]) as row:
            a = x[row.index, column.index]
            row.carry(f.mad(a, f.conj(a), row.carries[0]))
        values[column.index, 0] = f.sqrt(f.real(row.results[0]))


# --- what both are made of

def modulus(f: Any, x: Any) -> Any:
    """|x|, without squares that could vanish."""
    if x.dtype.kind == "f":
        return f.abs(x)
    re, im = f.abs(x.re), f.abs(x.im)
    major = f.max(re, im)
    ratio = f.div(f.min(re, im), f.max(major, np.finfo(re.dtype).tiny))
    return f.mul(major, f.sqrt(f.mad(ratio, ratio, f.const(1, re.dtype, re.lanes))))


def rescaled(group: Group, given: Matrix, x: Matrix, m: int, n: int, first: Callable) -> tuple:
    """x becomes the given numbers (i, j), first(i) <= j, divided by a power of two that brings the largest near 1; which lanes are
    finite, and it."""
    f, part, lanes = group.f, real_dtype(group.dtype), group.lanes
    with f.loop(0, m, carries=[f.const(0, part, lanes)]) as row:
        with f.loop(first(row.index), n, carries=row.carries) as column:
            column.carry(f.max(column.carries[0], size_of(f, given[row.index, column.index])))
        row.carry(*column.results)
    largest, = row.results
    bits, bias = np.dtype(f"i{part.itemsize}"), np.finfo(part).maxexp - 1
    shift = np.finfo(part).nmant
    exponent = f.max(f.min(f.shr_logical(f.bitcast(largest, bits), shift), 2 * bias - 1), 1)
    scale, inverse = (f.bitcast(f.shl(e, shift), part) for e in (exponent, f.sub(2 * bias, exponent)))
    with f.loop(0, m) as row, f.loop(first(row.index), n) as column:
        i, j = row.index, column.index
        x[i, j] = times_real(f, given[i, j], inverse)
    return f.lt(largest, np.inf), scale


def set_identity(group: Group, x: Matrix, n: int) -> None:
    f = group.f
    with f.loop(0, n) as row, f.loop(0, n) as column:
        i, j = row.index, column.index
        x[i, j] = f.select(f.eq(i, j), f.const(1, group.dtype), f.const(0, group.dtype))


def transpose_in_place(group: Group, x: Matrix, n: int) -> None:
    f = group.f
    with f.loop(1, n) as row, f.loop(0, row.index) as column:
        i, j = row.index, column.index
        above, below = x[j, i], x[i, j]
        x[j, i], x[i, j] = below, above


def sweep(group: Group, n: int, pair: Callable) -> None:
    """pair(p, q) for all p < q, until it finds nothing more to turn in any lane."""
    f = group.f
    nothing = f.const(False, np.dtype(bool), group.lanes)

    def all_pairs(state: list) -> list:
        with f.loop(0, n - 1, carries=[nothing]) as first:
            p = first.index
            with f.loop(f.add(p, 1), n, carries=first.carries) as second:
                second.carry(f.or_(second.carries[0], pair(p, second.index)))
            first.carry(*second.results)
        return [f.add(state[0], 1), f.any(first.results[0])]
    f.while_loop([f.index(0), f.const(n > 1, np.dtype(bool))],
                 lambda state: f.and_(state[1], f.lt(state[0], MOST_SWEEPS)), all_pairs)


def rotation(group: Group, apart: Any, x: Any, size: Any, turning: Any) -> tuple:
    """(tangent, cosine, sine times x / |x|) of the angle that makes x zero between numbers `apart`; of 0 elsewhere."""
    f, part = group.f, real_dtype(group.dtype)
    one, zero = (f.const(k, part, group.lanes) for k in (1, 0))
    safe = f.select(turning, size, one)
    ratio = f.div(f.mul(apart, 0.5), safe)
    tangent = f.div(one, f.add(f.abs(ratio), f.sqrt(f.mad(ratio, ratio, one))))
    tangent = f.select(turning, f.copysign(tangent, ratio), zero)
    cosine = f.div(one, f.sqrt(f.mad(tangent, tangent, one)))
    sine = f.div(f.mul(tangent, cosine), safe)
    sine = f.mul(x, f.convert(sine, group.dtype))
    return tangent, cosine, f.select(turning, sine, f.const(0, group.dtype, group.lanes))


def turn(group: Group, first: tuple, second: tuple, start: Any, stop: Any, cosine: Any, sine: Any) -> None:
    """Columns p and q, (matrix, column) each, become cosine p - conj(sine) q and sine p + cosine q."""
    f, ((a, p), (b, q)) = group.f, (first, second)
    with f.loop(start, stop) as loop:
        i = loop.index
        x, y = a[i, p], b[i, q]
        a[i, p] = f.mad(f.neg(f.conj(sine)), y, times_real(f, x, cosine))
        b[i, q] = f.mad(sine, x, times_real(f, y, cosine))


def times_real(f: Any, x: Any, factor: Any) -> Any:
    return f.scale_real(x, factor) if x.dtype.kind == "c" else f.mul(x, factor)


def sort_columns(group: Group, values: Matrix, matrices: list, n: int, before: Callable) -> None:
    """Put values in order, and with them the columns of matrices, each given with its number of rows."""
    f = group.f
    with f.loop(0, n - 1) as first:
        i = first.index
        with f.loop(f.add(i, 1), n) as second:
            j = second.index
            mask = before(values[j, 0], values[i, 0])
            exchange(f, mask, values, i, j, 1)
            for matrix, rows in matrices:
                exchange(f, mask, replace(matrix, transposed=not matrix.transposed), i, j, rows)


def finish(group: Group, x: Matrix, m: int, n: int, finite: Any, scale: Any = None) -> None:
    """Multiply by the scale; nan in lanes that are not finite."""
    f = group.f
    nan = f.const(np.nan, x.dtype, group.lanes)
    with f.loop(0, m) as row, f.loop(0, n) as column:
        i, j = row.index, column.index
        value = x[i, j] if scale is None else f.mul(x[i, j], scale)
        x[i, j] = f.select(finite, value, nan)

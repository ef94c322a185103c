"""Triangular and orthogonal factors of stacks of matrices: cholesky, lu, qr, and what applies them."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, real_dtype, type_of
from tracejit.lax import blocked, side_by_side
from tracejit.lax.broadcast import broadcast_in_dim
from tracejit.lax.compare import select
from tracejit.lax.convert import convert_element_type, stop_gradient
from tracejit.lax.elementwise import add, mul, sub
from tracejit.lax.kinds import Opaque, op_dataclass
from tracejit.lax.lapack import INT, fill_nan_if, permutation, transposed
from tracejit.lax.matrix import (adjoint, as_columns, diagonal_part, identity_like, is_diagonal, lower, matmul,
                                 real_part, upper)
from tracejit.lax.reference import lapack
from tracejit.lax.shape import concatenate, pad, slice_in_dim
from tracejit.lax.solve import LuSolve, triangular_solve
from tracejit.lax.sort import take_along
from tracejit.lax.stacks import Stacked, letter, nan_like, stacked

def work_size(*sizes: int) -> int:
    """Elements of LAPACK's work space: enough for its largest blocks."""
    return 64 * (sum(sizes) + 65)


def reflectors(dtype: np.dtype, name: str) -> str:
    """LAPACK's name of a routine on reflectors: orthogonal (real) or unitary (complex)."""
    return letter(dtype) + ("un" if dtype.kind == "c" else "or") + name


def symmetrized(x: Any):
    """(x + adjoint x) / 2."""
    return mul(add(x, adjoint(x)), np.asarray(0.5, type_of(x).dtype))


@op_dataclass
class Cholesky(Stacked):
    """L with x = L adjoint(L), lower triangular; read from x's lower half. nan where x is not positive definite."""
    ulp: ClassVar[float] = 64

    def infer(self, x):
        self.lead(x), self.square(x)
        return x.strong()

    def one(self, x):
        found, info = lapack("potrf", x)(x, lower=1, clean=1) if x.size else (x, 0)
        return np.tril(nan_like(x)) if info else found

    def whole(self, library, x): return (np.linalg.cholesky(x),)

    def jvp(self, ctx, primals, tangents):
        """L' = L phi(inv(L) x' inv(adjoint L)), phi: lower half, half the diagonal (Murray 2016, arXiv:1602.07527)."""
        factor = bind(self, *primals)
        solved = triangular_solve(factor, tangents[0], lower=True, transpose_a=True, conjugate_a=True)
        solved = lower(triangular_solve(factor, solved, left_side=True, lower=True))
        half = mul(solved, np.asarray(0.5, type_of(solved).dtype))
        return factor, matmul(factor, select(is_diagonal(solved), half, solved))

    def areas(self, x): return [(1, INT)]

    def lane(self, f, ins, outs, areas, types):
        """The lower half of rows is the upper half of LAPACK's columns, whose U is L as rows."""
        (x,), (out,), (info,), (t,) = ins, outs, areas, types
        n = t.shape[0]
        f.copy(out, x, t.nbytes)
        f.routine(letter(t.dtype) + "potrf", "U", n, out, n, info)
        fill_nan_if(f, info, out, t.size, t.dtype)
        with f.loop(0, n) as row, f.loop(f.add(row.index, 1), n) as column:
            f.store(f.const(0, t.dtype), f.gep(out, f.add(f.mul(row.index, n), column.index), t.dtype))

    def group_areas(self, x): return [(x.size, x.dtype)]

    def group(self, group, ins, outs, areas, types):
        t = types[0]
        group.get(ins[0], t.size, t.dtype, areas[0])
        side_by_side.cholesky(group, group.matrix(areas[0], t.shape[0]), t.shape[0])
        group.put(areas[0], t.size, t.dtype, outs[0])


def cholesky(x: Any, *, symmetrize_input: bool = True):
    """The lower triangular L with x = L adjoint(L), of a stack of positive definite matrices.

    `symmetrize_input` takes (x + adjoint x) / 2 first; otherwise x's lower half is read. Where a matrix is not
    positive definite its L is nan.

    >>> import numpy as np
    >>> np.asarray(cholesky(np.float64([[4, 2], [2, 5]])))
    array([[2., 0.],
           [1., 2.]])
    """
    if symmetrize_input:
        Cholesky().infer(type_of(x))
        x = symmetrized(x)
    return bind(Cholesky(), x)


@op_dataclass
class Lu(Stacked):
    """L and U packed into one matrix, LAPACK's row exchanges, and the same as a permutation: x[permutation] = L U."""
    ulp: ClassVar[float] = 64
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, (m, n) = self.lead(x), x.shape[-2:]
        return x.strong(), stacked(lead, min(m, n), of=INT), stacked(lead, m, of=INT)

    def one(self, x):
        found, pivots, _ = lapack("getrf", x)(x) if x.size else (x, np.zeros(0, INT), 0)
        return found, pivots, permutation_of(pivots, x.shape[0])

    def whole(self, library, x):
        packed, pivots = library.lu(x)
        return packed, pivots, library.permutation(pivots, x.shape[-2])

    def jvp(self, ctx, primals, tangents):
        """With M = inv(L) x' inv(U): L' = L tril(M, -1), U' = triu(M) U (de Hoog, Anderssen, Lukas 2011)."""
        packed, pivots, permutation = bind(self, *primals)
        t, ndim = type_of(packed), type_of(packed).ndim
        (m, n), k = t.shape[-2:], min(t.shape[-2:])
        moved = take_along(tangents[0], as_columns(permutation, tangents[0]), ndim - 2)
        left = padded_to(lower(slice_in_dim(packed, 0, k, axis=ndim - 1), -1), m, m)
        left = add(left, identity_like(left))
        right = padded_to(upper(slice_in_dim(packed, 0, k, axis=ndim - 2)), n, n)
        right = add(right, below(identity_like(right), k))
        middle = triangular_solve(left, moved, left_side=True, lower=True, unit_diagonal=True)
        middle = triangular_solve(right, middle)
        return ([packed, pivots, permutation],
                [add(matmul(left, lower(middle, -1)), matmul(upper(middle), right)), None, None])

    def areas(self, x): return [(x.size, x.dtype), (1, INT)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (out, pivots, order), (columns, info), (t,) = ins, outs, areas, types
        m, n = t.shape
        transposed(f, columns, x, m, n, t.dtype)
        f.routine(letter(t.dtype) + "getrf", m, n, columns, m, pivots, info)
        transposed(f, out, columns, n, m, t.dtype)
        with f.loop(0, min(m, n)) as loop:  # LAPACK counts from 1
            place = f.gep(pivots, loop.index, INT)
            f.store(f.sub(f.load(INT, place), 1), place)
        permutation(f, order, pivots, min(m, n), m)

    def block_columns(self, x): return x.shape[1]

    def blocks(self, b, ins, outs, area, types):
        (t,), (out, pivots, order) = types, outs
        a = blocked.Strided(out, t.dtype, t.shape[1])
        blocked.copy_columns(b, a, ins[0], *t.shape)
        blocked.lu(b, a, pivots, order, area, *t.shape)

    def group_areas(self, x): return [(x.size, x.dtype), (min(x.shape), INT), (x.shape[0], INT)]

    def group(self, group, ins, outs, areas, types):
        (t,), (m, n) = types, types[0].shape
        group.get(ins[0], t.size, t.dtype, areas[0])
        pivots, order = (group.matrix(area, 1, INT) for area in areas[1:])
        side_by_side.lu(group, group.matrix(areas[0], n), pivots, order, m, n)
        for area, out, size, dtype in zip(areas, outs, (t.size, min(m, n), m), (t.dtype, INT, INT)):
            group.put(area, size, dtype, out)


def padded_to(x: Any, m: int, n: int):
    """x with zero rows and columns behind it."""
    t = type_of(x)
    grow = [(0, 0, 0)] * (t.ndim - 2) + [(0, m - t.shape[-2], 0), (0, n - t.shape[-1], 0)]
    return pad(x, np.zeros((), t.dtype), grow)


def below(x: Any, k: int):
    """x with its first k rows zeroed."""
    ndim = type_of(x).ndim
    rest = slice_in_dim(x, k, None, axis=ndim - 2)
    return pad(rest, np.zeros((), type_of(x).dtype), [(0, 0, 0)] * (ndim - 2) + [(k, 0, 0), (0, 0, 0)])


def lu(x: Any):
    """LU factors with partial pivoting of a stack of m x n matrices.

    Returns L (unit diagonal, not stored) and U packed in one matrix, the int32 row exchanges, and the int32
    permutation that they amount to: `x[permutation] = L @ U`.

    >>> import numpy as np
    >>> np.asarray(lu(np.float64([[1, 2], [4, 4]]))[0])
    array([[4.  , 4.  ],
           [0.25, 1.  ]])
    """
    return list(bind(Lu(), x))


def solve(a: Any, b: Any):
    """x with a x = b, for stacks of square matrices a and of matrices b, by LU factors with partial pivoting.

    >>> import numpy as np
    >>> np.asarray(solve(np.float64([[0, 2], [4, 0]]), np.float64([[2], [8]])))
    array([[2.],
           [1.]])
    """
    factors, pivots, _ = lu(stop_gradient(a))
    return bind(LuSolve(), a, factors, pivots, b)


def permutation_of(pivots: np.ndarray, size: int) -> np.ndarray:
    order = np.arange(size, dtype=INT)
    for i, j in enumerate(pivots):
        order[[i, j]] = order[[j, i]]
    return order


@op_dataclass
class LuPivotsToPermutation(Opaque):
    """Row exchanges, done in order on 0, 1, 2, ..."""
    size: int

    def infer(self, pivots):
        if pivots.dtype != INT or not pivots.ndim or pivots.shape[-1] > self.size:
            raise ShapeError(f"lu_pivots_to_permutation: pivots {pivots} must be int32, at most {self.size} of them")
        return ArrayType((*pivots.shape[:-1], self.size), INT)

    def eval(self, pivots):
        rows = [permutation_of(row, self.size) for row in pivots.reshape(math.prod(pivots.shape[:-1]), -1)]
        return np.array(rows, INT).reshape(*pivots.shape[:-1], self.size)

    def jvp(self, ctx, primals, tangents): return bind(self, *primals), None
    def batch(self, ctx, args, batched): return bind(self, *args), True

    def device_lanes(self, types): return math.prod(types[0].shape[:-1])

    def device_lane(self, b, lane, ins, outs, types):
        """A thread makes the exchanges of one matrix."""
        k = types[0].shape[-1]
        place = lambda i: b.gep(outs[0], b.add(b.mul(lane, self.size), i), INT)
        with b.loop(0, self.size) as loop:
            b.store(b.convert(loop.index, INT), place(loop.index))
        with b.loop(0, k) as loop:
            other = b.wide(b.load(INT, b.gep(ins[0], b.add(b.mul(lane, k), loop.index), INT)))
            here, there = b.load(INT, place(loop.index)), b.load(INT, place(other))
            b.store(there, place(loop.index))
            b.store(here, place(other))

    def call(self, b, ins, outs, types):
        pivots, n = types[0], math.prod(types[0].shape[:-1])
        b.lanes(n, min(n, 16), [(ins[0], 4 * pivots.shape[-1]), (outs[0], 4 * self.size)], 0,
                lambda f, p, scratch: permutation(f, p[1], p[0], pivots.shape[-1], self.size))


def lu_pivots_to_permutation(pivots: Any, permutation_size: int):
    """The permutation that LAPACK's row exchanges amount to.

    >>> import numpy as np
    >>> np.asarray(lu_pivots_to_permutation(np.int32([2, 2]), 3))
    array([2, 0, 1], dtype=int32)
    """
    return bind(LuPivotsToPermutation(int(permutation_size)), pivots)


@op_dataclass
class Qr(Stacked):
    """x = Q R with orthonormal columns in Q and upper triangular R; with pivoting, x[:, p] = Q R."""
    pivoting: bool
    full_matrices: bool
    ulp: ClassVar[float] = 64
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, (m, n) = self.lead(x), x.shape[-2:]
        k = m if self.full_matrices else min(m, n)
        factors = stacked(lead, m, k, of=x.dtype), stacked(lead, k, n, of=x.dtype)
        return (*factors, stacked(lead, n, of=INT)) if self.pivoting else factors

    def one(self, x):
        m, n = x.shape
        k = m if self.full_matrices else min(m, n)
        if not x.size:
            return np.eye(m, k), np.zeros((k, n)), *([np.arange(n)] if self.pivoting else [])
        if self.pivoting:
            packed, order, taus, *_ = lapack("geqp3", x)(x)
        else:
            packed, taus, *_ = lapack("geqrf", x)(x)
        q = product_of_reflectors(packed[:, :min(m, n)], taus, k)
        return q, np.triu(packed[:k]), *([order - 1] if self.pivoting else [])

    def whole(self, library, x):
        return None if self.pivoting else np.linalg.qr(x, mode="complete" if self.full_matrices else "reduced")

    def jvp(self, ctx, primals, tangents):
        outs = bind(self, *primals)
        (q, r), (x,), (t,) = outs[:2], primals, tangents
        ndim, (m, n) = type_of(x).ndim, type_of(x).shape[-2:]
        if self.pivoting:
            order = broadcast_in_dim(outs[2], type_of(x).shape, (*range(ndim - 2), ndim - 1))
            x, t = take_along(x, order, ndim - 1), take_along(t, order, ndim - 1)
        k = min(m, n)
        left = lambda v: slice_in_dim(v, 0, k, axis=ndim - 1)
        right = lambda v: slice_in_dim(v, k, None, axis=ndim - 1)
        square = slice_in_dim(left(r), 0, k, axis=ndim - 2)
        q_dot, r_dot = thin_qr_tangents(left(q), square, left(t))
        if m < n:  # R = [R1 R2] with R2 = adjoint(Q) X2
            rest = add(matmul(adjoint(q_dot), right(x)), matmul(adjoint(q), right(t)))
            r_dot = concatenate([r_dot, rest], ndim - 1)
        elif m > n and self.full_matrices:
            q_dot, r_dot = concatenate([q_dot, extra_columns_tangent(q, q_dot)], ndim - 1), padded_to(r_dot, m, n)
        return outs, [q_dot, r_dot, None][:len(outs)]

    def areas(self, x):
        (m, n), k = x.shape, x.shape[0] if self.full_matrices else min(x.shape)
        return [(m * max(n, k), x.dtype), (min(m, n), x.dtype), (1, INT), (2 * n, real_dtype(x.dtype)),
                (work_size(m, n), x.dtype)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (q, r, *order), (columns, taus, info, reals, work), (t,) = ins, outs, areas, types
        m, n = t.shape
        k = m if self.full_matrices else min(m, n)
        transposed(f, columns, x, m, n, t.dtype)
        if self.pivoting:
            self.pivoted(f, columns, order[0], taus, reals, work, info, t)
        else:
            f.routine(letter(t.dtype) + "geqrf", m, n, columns, m, taus, work, work_size(m, n), info)
        with f.loop(0, k) as row, f.loop(0, n) as column:
            i, j = row.index, column.index
            value = f.load(t.dtype, f.gep(columns, f.add(f.mul(j, m), i), t.dtype))
            f.store(f.select(f.ge(j, i), value, f.const(0, t.dtype)), f.gep(r, f.add(f.mul(i, n), j), t.dtype))
        f.routine(reflectors(t.dtype, "gqr"), m, k, min(m, n), columns, m, taus, work, work_size(m, n), info)
        transposed(f, q, columns, k, m, t.dtype)

    def group_areas(self, x):
        (m, n), k = x.shape, x.shape[0] if self.full_matrices else min(x.shape)
        return None if self.pivoting else [(m * n, x.dtype), (min(m, n), x.dtype), (m * k, x.dtype)]

    def group(self, group, ins, outs, areas, types):
        (m, n), dtype, f = types[0].shape, types[0].dtype, group.f
        k, count = m if self.full_matrices else min(m, n), min(m, n)
        group.get(ins[0], m * n, dtype, areas[0])
        a, taus, q = (group.matrix(area, columns) for area, columns in zip(areas, (n, 1, k)))
        side_by_side.reflect(group, a, taus, m, n)
        side_by_side.product_of_reflectors(group, a, taus, q, m, k, count)
        group.put(areas[2], m * k, dtype, outs[0])
        with f.loop(0, count) as column, f.loop(f.add(column.index, 1), k) as row:
            a[row.index, column.index] = f.const(0, dtype)
        group.put(areas[0], k * n, dtype, outs[1])

    def pivoted(self, f, columns, order, taus, reals, work, info, t):
        m, n = t.shape
        with f.loop(0, n) as loop:  # 0: every column may move
            f.store(f.const(0, INT), f.gep(order, loop.index, INT))
        extra = [reals] if t.dtype.kind == "c" else []
        f.routine(letter(t.dtype) + "geqp3", m, n, columns, m, order, taus, work, work_size(m, n), *extra, info)
        with f.loop(0, n) as loop:
            place = f.gep(order, loop.index, INT)
            f.store(f.sub(f.load(INT, place), 1), place)


def thin_qr_tangents(q: Any, r: Any, x_dot: Any) -> tuple:
    """For m >= n, M = adjoint(Q) x' inv(R), W = tril(M, -1) - adjoint: Q' = x' inv(R) + Q (W - M), R' = (M - W) R."""
    scaled = triangular_solve(r, x_dot)
    inner = matmul(adjoint(q), scaled)
    skew = sub(lower(inner, -1), adjoint(lower(inner, -1)))
    if type_of(inner).dtype.kind == "c":  # R's diagonal is real
        skew = add(skew, diagonal_part(sub(inner, convert_element_type(real_part(inner), type_of(inner).dtype))))
    return add(matmul(q, sub(skew, inner)), scaled), matmul(sub(inner, skew), r)


def extra_columns_tangent(q: Any, q_dot: Any):
    """The tangent of Q's columns beyond n, which reflectors make of the first n (arXiv:2409.13374, eqs. 32 and 33)."""
    ndim, n = type_of(q).ndim, type_of(q_dot).shape[-1]
    rows = lambda v, *ends: slice_in_dim(v, *ends, axis=ndim - 2)
    first, extra = slice_in_dim(q, 0, n, axis=ndim - 1), slice_in_dim(q, n, None, axis=ndim - 1)
    top, bottom = rows(first, 0, n), rows(first, n, None)
    z = adjoint(solve(adjoint(sub(top, identity_like(top))), adjoint(bottom)))
    moved = sub(rows(q_dot, n, None), matmul(z, rows(q_dot, 0, n)))
    return sub(matmul(q_dot, adjoint(z)), matmul(add(first, matmul(extra, z)), adjoint(moved)))


def qr(x: Any, *, pivoting: bool = False, full_matrices: bool = True, use_magma: bool | None = None):
    """Q and R of a stack of m x n matrices; with `pivoting` also the int32 order p of columns: x[:, p] = Q R.

    Q is m x m and R m x n with `full_matrices`, else m x k and k x n with k = min(m, n).

    >>> import numpy as np
    >>> q, r = qr(np.float64([[3, 1], [4, 2]]), full_matrices=False)
    >>> np.round(abs(np.asarray(r)), 6)
    array([[5. , 2.2],
           [0. , 0.4]])
    """
    return tuple(bind(Qr(bool(pivoting), bool(full_matrices)), x))


def product_of_reflectors(packed: np.ndarray, taus: np.ndarray, columns: int) -> np.ndarray:
    """NumPy: the first columns of H1 H2 ..., of reflectors as geqrf leaves them."""
    full = np.zeros((packed.shape[0], columns), packed.dtype)
    full[:, :packed.shape[1]] = packed
    if not full.size:
        return full
    name = "ungqr" if packed.dtype.kind == "c" else "orgqr"
    return lapack(name, full)(full, taus)[0] if taus.size else np.eye(*full.shape, dtype=full.dtype)


@op_dataclass
class HouseholderProduct(Stacked):
    """The first n columns of H1 H2 ... Hk, reflectors given below the diagonal of an m x n matrix and by k factors."""
    ranks: ClassVar[tuple[int, ...]] = (2, 1)
    ulp: ClassVar[float] = 64

    def infer(self, a, taus):
        self.lead(a, taus)
        (m, n), k = a.shape[-2:], taus.shape[-1]
        if not k <= n <= m:
            raise ShapeError(f"householder_product: {k} factors {taus} for {a}: need factors <= columns <= rows")
        return a.strong()

    def one(self, a, taus): return product_of_reflectors(a, taus, a.shape[1])
    def areas(self, a, taus): return [(a.size, a.dtype), (1, INT), (work_size(*a.shape), a.dtype)]

    def lane(self, f, ins, outs, areas, types):
        (a, taus), (columns, info, work), (t, k) = ins, areas, types
        m, n = t.shape
        transposed(f, columns, a, m, n, t.dtype)
        f.routine(reflectors(t.dtype, "gqr"), m, n, k.size, columns, m, taus, work, work_size(m, n), info)
        transposed(f, outs[0], columns, n, m, t.dtype)


def householder_product(a: Any, taus: Any):
    """The m x n matrix of the first n columns of the product of elementary reflectors (LAPACK's orgqr, ungqr).

    >>> import numpy as np
    >>> np.asarray(householder_product(np.zeros((2, 1)), np.float64([2.]))) + 0
    array([[-1.],
           [ 0.]])
    """
    return bind(HouseholderProduct(), a, taus)


@op_dataclass
class Ormqr(Stacked):
    """Q c, c Q or with the adjoint of Q, where Q is the product of the reflectors that geqrf leaves."""
    left: bool
    transposed: bool
    ranks: ClassVar[tuple[int, ...]] = (2, 1, 2)
    ulp: ClassVar[float] = 64

    def infer(self, a, taus, c):
        self.lead(a, taus, c)
        order = c.shape[-2 if self.left else -1]
        if a.shape[-2] != order or a.shape[-1] != taus.shape[-1]:
            raise ShapeError(f"ormqr: reflectors {a} with factors {taus} do not apply to {c} from the "
                             f"{'left' if self.left else 'right'}")
        return c.strong()

    def one(self, a, taus, c):
        q = product_of_reflectors(a, taus, a.shape[0])
        q = q.conj().T if self.transposed else q
        return q @ c if self.left else c @ q

    def areas(self, a, taus, c):
        return [(a.size, a.dtype), (c.size, c.dtype), (1, INT), (work_size(*c.shape), c.dtype)]

    def lane(self, f, ins, outs, areas, types):
        (a, taus, c), (reflected, columns, info, work), (t, k, u) = ins, areas, types
        (order, _), (m, n) = t.shape, u.shape
        transposed(f, reflected, a, *t.shape, t.dtype)
        transposed(f, columns, c, m, n, t.dtype)
        form = "N" if not self.transposed else "C" if t.dtype.kind == "c" else "T"
        f.routine(reflectors(t.dtype, "mqr"), "L" if self.left else "R", form, m, n, k.size, reflected, order, taus,
                  columns, m, work, work_size(m, n), info)
        transposed(f, outs[0], columns, n, m, t.dtype)


def ormqr(a: Any, taus: Any, c: Any, *, left: bool = True, transpose: bool = False):
    """Multiply c by the Q of a QR factorization in reflector form, or by its adjoint (`transpose`).

    >>> import numpy as np
    >>> np.asarray(ormqr(np.zeros((2, 1)), np.float64([2.]), np.eye(2)))
    array([[-1.,  0.],
           [ 0.,  1.]])
    """
    return bind(Ormqr(bool(left), bool(transpose)), a, taus, c)

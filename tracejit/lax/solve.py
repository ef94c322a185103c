"""Systems of linear equations, in stacks: triangular, general (through LU factors), tridiagonal."""
from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax import blocked, side_by_side
from tracejit.lax.elementwise import add, mul, neg
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.lapack import INT, fill_nan_if, swap_rows, transposed
from tracejit.lax.matrix import as_columns, conjugated, lower, matmul, swapped, upper
from tracejit.lax.reference import lapack
from tracejit.lax.shape import pad, reshape, transpose
from tracejit.lax.stacks import Stacked, letter


def system_order(op, a: ArrayType, b: ArrayType, left: bool = True) -> int:
    n = op.square(a)
    if b.shape[-2 if left else -1] != n:
        raise ShapeError(f"{op.name}: {n}x{n} matrices {a} do not fit {b}, whose axis {b.ndim - (2 if left else 1)} is "
                         f"{b.shape[-2 if left else -1]}", fix=f"give it size {n}"
                         + ("; for a vector use b[..., None]" if b.ndim < a.ndim else ""))
    return n


@op_dataclass
class TriangularSolve(Stacked):
    """x with op(a) x = b, or x op(a) = b, where op may transpose and conjugate a triangular matrix."""
    left_side: bool
    lower: bool
    transpose_a: bool
    conjugate_a: bool
    unit_diagonal: bool
    ranks: ClassVar[tuple[int, ...]] = (2, 2)
    ulp: ClassVar[float] = 64

    def infer(self, a, b):
        self.lead(a, b)
        system_order(self, a, b, self.left_side)
        return b.strong()

    def one(self, a, b):
        if not b.size:
            return b
        matrix = np.tril(a) if self.lower else np.triu(a)
        matrix = matrix.conj() if self.conjugate_a else matrix
        direct = self.left_side != self.transpose_a  # else the transposed matrix stands left of (transposed) x
        x = np.array(b if self.left_side else b.T)
        matrix, n = (matrix if direct else matrix.T), len(a)
        forwards = self.lower == direct
        for i in (range(n) if forwards else reversed(range(n))):
            x[i] /= 1 if self.unit_diagonal else matrix[i, i]
            rest = slice(i + 1, n) if forwards else slice(0, i)
            x[rest] -= matrix[rest, i, None] * x[i]
        return x if self.left_side else x.T

    def whole(self, library, a, b):
        """The transposed equation where the unknown stands left."""
        turned = lambda v: v if self.left_side else np.swapaxes(v, -1, -2)
        a = a.conj() if self.conjugate_a else a
        x = library.solve_triangular(a, turned(b), self.lower, self.transpose_a == self.left_side, self.unit_diagonal)
        return (turned(x),)

    def jvp(self, ctx, primals, tangents):
        """x' = inv(op a) (b' - op(a') x)."""
        (a, b), (a_dot, b_dot) = primals, tangents
        x = bind(self, a, b)
        terms = [] if b_dot is None else [b_dot]
        if a_dot is not None:
            k = 1 if self.unit_diagonal else 0
            a_dot = lower(a_dot, -k) if self.lower else upper(a_dot, k)
            a_dot = swapped(a_dot) if self.transpose_a else a_dot
            a_dot = conjugated(a_dot) if self.conjugate_a else a_dot
            terms.append(neg(matmul(a_dot, x) if self.left_side else matmul(x, a_dot)))
        return x, bind(self, a, ctx.sum(terms, type_of(x)))

    def transpose(self, ctx, ct, a, b):
        return None, bind(dataclasses.replace(self, transpose_a=not self.transpose_a), a, ct)

    def batch(self, ctx, args, batched):
        """Many right-hand sides of one matrix are one system with more columns."""
        a, b = args
        if batched[0]:
            return super().batch(ctx, args, batched)
        n = type_of(b).ndim
        side = n - 1 if self.left_side else n - 2  # the axis of b that counts right-hand sides
        order = [*range(1, n)]
        order.insert(side - 1, 0)
        many = transpose(b, order)
        shape = type_of(many).shape
        x = bind(self, a, reshape(many, (*shape[:side - 1], shape[side - 1] * shape[side], *shape[side + 1:])))
        return transpose(reshape(x, shape), np.argsort(order)), True

    def areas(self, a, b):
        return [(a.size, a.dtype)] if self.conjugate_a and not self.transpose_a else []

    def lane(self, f, ins, outs, areas, types):
        """As columns: V = transposed a and transposed b; op(a) x = b is then (transposed x) op'(V) = transposed b."""
        (a, b), (out,), (t, u) = ins, outs, types
        n, (rows, columns) = t.shape[0], u.shape
        f.copy(out, b, u.nbytes)
        form = "N" if not self.transpose_a else "C" if self.conjugate_a else "T"
        if areas:
            with f.loop(0, t.size) as loop:
                f.store(f.conj(f.load(t.dtype, f.gep(a, loop.index, t.dtype))), f.gep(areas[0], loop.index, t.dtype))
            a = areas[0]
        f.routine(letter(t.dtype) + "trsm", "R" if self.left_side else "L", "U" if self.lower else "L", form,
                  "U" if self.unit_diagonal else "N", columns, rows, t.dtype.type(1), a, n, out, columns)

    def block_columns(self, a, b): return b.shape[1] if self.left_side and b.shape[1] >= blocked.FEWEST_COLUMNS else None

    def blocks(self, b, ins, outs, area, types):
        t, (n, columns) = types[0], types[1].shape
        a, x = (blocked.Strided(p, t.dtype, width) for p, width in ((ins[0], n), (outs[0], columns)))
        blocked.copy_columns(b, x, ins[1], n, columns)
        a = a.transposed() if self.transpose_a else a
        blocked.triangular_solve(b, a, x, area, n, columns, self.lower != self.transpose_a, self.unit_diagonal)

    def group_areas(self, a, b): return [(a.size, a.dtype), (b.size, b.dtype)]

    def group(self, group, ins, outs, areas, types):
        (t, u), direct = types, self.left_side != self.transpose_a
        for source, own, area in zip(ins, types, areas):
            group.get(source, own.size, own.dtype, area)
        matrix = group.matrix(areas[0], t.shape[1], transposed=not direct, conjugated=self.conjugate_a)
        x = group.matrix(areas[1], u.shape[1], transposed=not self.left_side)
        columns = u.shape[1 if self.left_side else 0]
        side_by_side.substitute(group, matrix, x, t.shape[0], columns, self.lower == direct, self.unit_diagonal)
        group.put(areas[1], u.size, u.dtype, outs[0])


def triangular_solve(a: Any, b: Any, *, left_side: bool = False, lower: bool = False, transpose_a: bool = False,
                     conjugate_a: bool = False, unit_diagonal: bool = False):
    """Solves op(a) x = b (`left_side`) or x op(a) = b for stacks of triangular matrices a.

    Only a's lower or upper half is read. op transposes and conjugates as asked; `unit_diagonal` takes a's diagonal for
    ones. One matrix may be given with a vector b for the last axis. Raises ShapeError where sizes do not fit.

    >>> import numpy as np
    >>> np.asarray(triangular_solve(np.float64([[2, 0], [1, 4]]), np.float64([[2], [9]]), left_side=True, lower=True))
    array([[1.],
           [2.]])
    """
    conjugates = bool(conjugate_a) and type_of(a).dtype.kind == "c"
    op = TriangularSolve(bool(left_side), bool(lower), bool(transpose_a), conjugates, bool(unit_diagonal))
    if type_of(b).ndim == type_of(a).ndim - 1:
        ndim, shape = type_of(b).ndim, type_of(b).shape
        column = (*shape, 1) if left_side else (*shape[:ndim - 1], 1, shape[-1])
        return reshape(bind(op, a, reshape(b, column)), shape)
    return bind(op, a, b)


@op_dataclass
class LuSolve(Stacked):
    """x with a x = b (or transposed), by a's LU factors. a itself is read by the derivative only."""
    transposed: bool = False
    ranks: ClassVar[tuple[int, ...]] = (2, 2, 1, 2)
    integers: ClassVar[tuple[int, ...]] = (2,)
    ulp: ClassVar[float] = 64

    def infer(self, a, lu, pivots, b):
        self.lead(a, lu, pivots, b)
        system_order(self, a, b)
        return b.strong()

    def one(self, a, lu, pivots, b):
        return lapack("getrs", lu, b)(lu, pivots, b, trans=int(self.transposed))[0] if b.size else b

    def whole(self, library, a, lu, pivots, b):
        order = library.permutation(pivots, b.shape[-2])
        rows = lambda x, order: np.take_along_axis(x, order[..., None], -2)
        by_lower = lambda x: library.solve_triangular(lu, x, True, self.transposed, True)
        by_upper = lambda x: library.solve_triangular(lu, x, False, self.transposed, False)
        if self.transposed:
            return (rows(by_lower(by_upper(b)), np.argsort(order, axis=-1)),)
        return (by_upper(by_lower(rows(b, order))),)

    def jvp(self, ctx, primals, tangents):
        """x' = inv(a) (b' - a' x); the factors are functions of a, so their tangents are not asked for."""
        (a, lu, pivots, b), (a_dot, _, _, b_dot) = primals, tangents
        x = bind(self, a, lu, pivots, b)
        terms = [] if b_dot is None else [b_dot]
        if a_dot is not None:
            terms.append(neg(matmul(swapped(a_dot) if self.transposed else a_dot, x)))
        return x, bind(self, a, lu, pivots, ctx.sum(terms, type_of(x))) if terms else None

    def transpose(self, ctx, ct, a, lu, pivots, b):
        return None, None, None, bind(LuSolve(not self.transposed), a, lu, pivots, ct)

    def batch(self, ctx, args, batched):
        if any(batched[:3]):
            return super().batch(ctx, args, batched)
        a, lu, pivots, b = args
        n = type_of(b).ndim
        order = [*range(1, n - 1), 0, n - 1]
        many = transpose(b, order)
        shape = type_of(many).shape
        x = bind(self, a, lu, pivots, reshape(many, (*shape[:-2], shape[-2] * shape[-1])))
        return transpose(reshape(x, shape), np.argsort(order)), True

    def lane(self, f, ins, outs, areas, types):
        """As columns the factors are transposed: L is an upper, U a lower triangle, and they stand right of x."""
        (_, factors, pivots, b), (out,), (t, *_, u) = ins, outs, types
        n, columns, one = t.shape[0], u.shape[1], t.dtype.type(1)
        f.copy(out, b, u.nbytes)

        def substitute(half: str, diagonal: str) -> None:
            if columns == 1:
                form = "N" if self.transposed else "T"
                return f.routine(letter(t.dtype) + "trsv", half, form, diagonal, n, factors, n, out, 1)
            f.routine(letter(t.dtype) + "trsm", "R", half, "T" if self.transposed else "N", diagonal, columns, n, one,
                      factors, n, out, columns)

        def exchange() -> None:
            with f.loop(0, n) as loop:
                k = f.sub(n - 1, loop.index) if self.transposed else loop.index
                other = f.convert(f.load(INT, f.gep(pivots, k, INT)), np.dtype("i8"))
                swap_rows(f, out, k, other, columns, t.dtype)
        steps = [exchange, lambda: substitute("U", "U"), lambda: substitute("L", "N")]
        for step in reversed(steps) if self.transposed else steps:
            step()

    def block_columns(self, a, lu, pivots, b): return b.shape[1] if b.shape[1] >= blocked.FEWEST_COLUMNS else None

    def blocks(self, b, ins, outs, area, types):
        t, (n, columns) = types[0], types[3].shape
        factors, x = (blocked.Strided(p, t.dtype, width) for p, width in ((ins[1], n), (outs[0], columns)))
        factors = factors.transposed() if self.transposed else factors
        blocked.copy_columns(b, x, ins[3], n, columns)
        if not self.transposed:
            blocked.exchange_rows(b, x, ins[2], 0, n, columns)
        for forwards in (True, False):      # L, then U; transposed, U is the lower triangle
            blocked.triangular_solve(b, factors, x, area, n, columns, forwards, unit=forwards != self.transposed)
        if self.transposed:
            blocked.exchange_rows(b, x, ins[2], 0, n, columns, backwards=True)

    def group_areas(self, a, lu, pivots, b): return [(a.size, a.dtype), (pivots.size, INT), (b.size, b.dtype)]

    def group(self, group, ins, outs, areas, types):
        (*_, u), n, columns = types, types[0].shape[0], types[3].shape[1]
        for source, own, area in zip(ins[1:], types[1:], areas):
            group.get(source, own.size, own.dtype, area)
        factors = group.matrix(areas[0], n, transposed=self.transposed)
        pivots, x = group.matrix(areas[1], 1, INT), group.matrix(areas[2], columns)
        if not self.transposed:
            side_by_side.exchange_all(group, x, pivots, n, columns, backwards=False)
        side_by_side.substitute(group, factors, x, n, columns, forwards=True, unit=not self.transposed)
        side_by_side.substitute(group, factors, x, n, columns, forwards=False, unit=self.transposed)
        if self.transposed:
            side_by_side.exchange_all(group, x, pivots, n, columns, backwards=True)
        group.put(areas[2], u.size, u.dtype, outs[0])


@op_dataclass
class TridiagonalSolve(Stacked):
    """x with A x = b, A[i, i-1] = dl[i], A[i, i] = d[i], A[i, i+1] = du[i]; Gaussian elimination with row exchanges."""
    ranks: ClassVar[tuple[int, ...]] = (1, 1, 1, 2)
    ulp: ClassVar[float] = 64

    def infer(self, dl, d, du, b):
        self.lead(dl, d, du, b)
        if not dl.shape[-1] == d.shape[-1] == du.shape[-1] == b.shape[-2]:
            raise ShapeError(f"tridiagonal_solve: diagonals {dl}, {d}, {du} and right-hand sides {b} must be as long",
                             fix="the first element of dl and the last of du are there but not read")
        return b.strong()

    def one(self, dl, d, du, b):
        if d.size < 2 or not b.size:
            return b / d[:, None]
        *_, x, info = lapack("gtsv", d, b)(dl[1:], d, du[:-1], b)
        return np.full_like(x, np.nan) if info else x

    def jvp(self, ctx, primals, tangents):
        *diagonals, b = primals
        *moved, b_dot = tangents
        x = bind(self, *primals)
        terms = [] if b_dot is None else [b_dot]
        if any(t is not None for t in moved):
            terms.append(neg(tridiagonal_product(*ctx.instantiate(diagonals, moved), x)))
        return x, bind(self, *diagonals, ctx.sum(terms, type_of(x)))

    def transpose(self, ctx, ct, dl, d, du, b):
        last = type_of(d).ndim - 1
        return None, None, None, bind(self, shifted(du, 1, last), d, shifted(dl, -1, last), ct)

    def areas(self, dl, d, du, b):
        return [(d.size, d.dtype), (d.size, d.dtype), (d.size, d.dtype), (b.size, d.dtype), (1, INT)]

    def lane(self, f, ins, outs, areas, types):
        (dl, d, du, b), (low, middle, high, columns, info), t = ins, areas, types[3]
        (n, k), size = t.shape, t.dtype.itemsize
        f.copy(low, f.gep(dl, 1, t.dtype), (n - 1) * size)
        f.copy(middle, d, n * size)
        f.copy(high, du, (n - 1) * size)
        transposed(f, columns, b, n, k, t.dtype)
        f.routine(letter(t.dtype) + "gtsv", n, k, low, middle, high, columns, n, info)
        fill_nan_if(f, info, columns, t.size, t.dtype)
        transposed(f, outs[0], columns, k, n, t.dtype)


def shifted(x: Any, by: int, axis: int):
    """x moved along an axis, zeros coming in."""
    config = [(0, 0, 0)] * type_of(x).ndim
    config[axis] = (by, -by, 0)
    return pad(x, np.zeros((), type_of(x).dtype), config)


def tridiagonal_product(dl: Any, d: Any, du: Any, x: Any):
    row = type_of(x).ndim - 2
    before, after = shifted(x, 1, row), shifted(x, -1, row)
    terms = [mul(as_columns(k, x), v) for k, v in ((dl, before), (d, x), (du, after))]
    return add(add(terms[0], terms[1]), terms[2])


def tridiagonal_solve(dl: Any, d: Any, du: Any, b: Any, *, perturb_singular: bool = False):
    """Solves stacks of tridiagonal systems. All diagonals have length m; dl[0] and du[m-1] are not read.

    >>> import numpy as np
    >>> one = np.ones(3)
    >>> np.asarray(tridiagonal_solve(one, 2 * one, one, np.float64([[3], [4], [3]])))
    array([[1.],
           [1.],
           [1.]])
    """
    if perturb_singular:
        raise NotImplementedError("tridiagonal_solve: perturb_singular=True is not supported; singular systems give "
                                  "nan")
    return bind(TridiagonalSolve(), dl, d, du, b)

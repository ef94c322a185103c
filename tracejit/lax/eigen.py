"""Eigenvalues and singular values of stacks of matrices."""
from __future__ import annotations

import enum
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import complex_dtype, real_dtype, type_of
from tracejit.lax import jacobi
from tracejit.lax.broadcast import reduce_sum
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import add, complex, div, mul, neg, reciprocal, sub
from tracejit.lax.elementwise import abs as absolute
from tracejit.lax.elementwise import conj, imag, real
from tracejit.lax.factorize import solve, symmetrized, work_size
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.lapack import INT, fill_nan_if, transposed
from tracejit.lax.matrix import (adjoint, as_columns, as_rows, diagonal_part, identity_like, is_diagonal, matmul,
                                 real_part, row_and_column, zeros_like)
from tracejit.lax.reduce import argmax
from tracejit.lax.reference import lapack
from tracejit.lax.shape import slice_in_dim
from tracejit.lax.stacks import Stacked, letter, nan_like, stacked


class EighImplementation(enum.Enum):
    """Algorithms that peers choose between; LAPACK's divide and conquer here, Jacobi's for stacks of small matrices."""
    QR = "QR"
    JACOBI = "Jacobi"
    QDWH = "QDWH"


class EigImplementation(enum.Enum):
    """Where peers compute nonsymmetric eigenvalues; this one always takes LAPACK."""
    CUSOLVER = "cusolver"
    MAGMA = "magma"
    LAPACK = "lapack"


class SvdAlgorithm(enum.Enum):
    """Algorithms that peers choose between; LAPACK's divide and conquer here, Jacobi's for stacks of small matrices."""
    DEFAULT = "default"
    QR = "QR"
    JACOBI = "Jacobi"
    POLAR = "polar"
    DIVIDE_AND_CONQUER = "divide_and_conquer"


def diagonal_of(x: Any):
    """The diagonals of square matrices, as rows."""
    return reduce_sum(diagonal_part(x), (type_of(x).ndim - 1,))


def inverse_gaps(values: Any, like: Any):
    """1 / (values[j] - values[i]) with zeros on the diagonal."""
    gaps = sub(as_rows(values, like), as_columns(values, like))
    return select(is_diagonal(like), zeros_like(gaps), reciprocal(add(gaps, identity_like(gaps))))


@op_dataclass
class Eigh(Stacked):
    """Orthonormal eigenvectors (columns) and ascending real eigenvalues of symmetric or Hermitian matrices, or these alone."""
    lower: bool = True
    vectors: bool = True
    largest_in_groups: ClassVar[int] = 32
    largest_alone: ClassVar[int] = 0       # of a few matrices the vectors have the signs that LAPACK chooses, as elsewhere
    own_threads: ClassVar[int] = 40
    ulp: ClassVar[float] = 256
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, n = self.lead(x), self.square(x)
        values = stacked(lead, n, of=real_dtype(x.dtype))
        return (x.strong(), values) if self.vectors else (values,)

    def one(self, x):
        if not x.size:
            return (x, np.zeros(0)) if self.vectors else [np.zeros(0)]
        routine = lapack("heevd" if x.dtype.kind == "c" else "syevd", x)
        values, vectors, info = routine(x, compute_v=int(self.vectors), lower=int(self.lower))
        outs = [vectors, values] if self.vectors else [values]
        return [nan_like(v) for v in outs] if info else outs

    def whole(self, library, x):
        half = "L" if self.lower else "U"
        if not self.vectors:
            return (np.linalg.eigvalsh(x, UPLO=half),)
        values, vectors = np.linalg.eigh(x, UPLO=half)
        return vectors, values

    def jvp(self, ctx, primals, tangents):
        """With M = adjoint(V) x' V: w' = diag(M), V' = V (M[i,j] / (w[j] - w[i]))."""
        vectors, values = bind(Eigh(self.lower), *primals)
        inner = matmul(matmul(adjoint(vectors), tangents[0]), vectors)
        values_dot = diagonal_of(real_part(inner))
        if not self.vectors:
            return [values], [values_dot]
        scaled = mul(inner, inverse_gaps(convert_element_type(values, type_of(inner).dtype), inner))
        return [vectors, values], [matmul(vectors, scaled), values_dot]

    def areas(self, x):
        n = x.shape[0]
        work, reals = self.work(n)
        return [(x.size, x.dtype), (work, x.dtype), (5 * n + 3, INT), (1, INT), (reals, real_dtype(x.dtype))]

    def work(self, n: int) -> tuple[int, int]:
        """Elements of LAPACK's work space, and of its further one for complex matrices."""
        square = 2 * n * n if self.vectors else 0
        return square + work_size(n), square + 5 * n + 1

    def lane(self, f, ins, outs, areas, types):
        (x,), (*vectors, values), (columns, work, ints, info, reals), (t,) = ins, outs, areas, types
        n, is_complex = t.shape[0], t.dtype.kind == "c"
        transposed(f, columns, x, n, n, t.dtype)
        n_work, n_reals = self.work(n)
        extra = [reals, n_reals] if is_complex else []
        name = letter(t.dtype) + ("heevd" if is_complex else "syevd")
        f.routine(name, "V" if self.vectors else "N", "L" if self.lower else "U", n, columns, n, values, work,
                  n_work, *extra, ints, 5 * n + 3, info)
        fill_nan_if(f, info, values, n, real_dtype(t.dtype))
        for out in vectors:
            fill_nan_if(f, info, columns, t.size, t.dtype)
            transposed(f, out, columns, n, n, t.dtype)

    def group_areas(self, x):
        n = x.shape[0]
        return [(x.size, x.dtype), (n * (n | 1), x.dtype), (n, real_dtype(x.dtype))]

    def group(self, group, ins, outs, areas, types):
        """The vectors are rows while the work is done, and come where the matrix was."""
        t, n = types[0], types[0].shape[0]
        part = real_dtype(t.dtype)
        group.get(ins[0], t.size, t.dtype, areas[0])
        given, half = (group.matrix(area, width, transposed=self.lower, conjugated=self.lower)
                       for area, width in zip(areas, (n, n | 1)))
        values, square = group.matrix(areas[2], 1, part), group.matrix(areas[0], n)
        vectors = replace(square, transposed=True) if self.vectors else None
        jacobi.eigh(group, given, half, values, vectors, n)
        group.put(areas[2], n, part, outs[-1])
        if self.vectors:
            jacobi.transpose_in_place(group, square, n)
            group.put(areas[0], t.size, t.dtype, outs[0])


def eigh(x: Any, *, lower: bool = True, symmetrize_input: bool = True, sort_eigenvalues: bool = True,
         subset_by_index: tuple[int, int] | None = None, implementation: EighImplementation | None = None):
    """Eigenvectors (columns) and ascending eigenvalues of stacks of symmetric or Hermitian matrices.

    `symmetrize_input` takes (x + adjoint x) / 2 first, else x's `lower` or upper half is read. `subset_by_index=(i, j)`
    keeps the eigenvalues i to j - 1. Where LAPACK does not converge the results are nan.

    >>> import numpy as np
    >>> v, w = eigh(np.float64([[2, 1], [1, 2]]))
    >>> np.asarray(w)
    array([1., 3.])
    """
    vectors, values = symmetric_eigen(x, lower, symmetrize_input, vectors=True)
    if subset_by_index is None:
        return vectors, values
    start, stop = subset_by_index
    last = type_of(values).ndim - 1
    return slice_in_dim(vectors, start, stop, axis=last + 1), slice_in_dim(values, start, stop, axis=last)


def eigvalsh(x: Any, *, lower: bool = True, symmetrize_input: bool = True):
    """The ascending eigenvalues alone, as `eigh` gives them, in about half of its time.

    >>> import numpy as np
    >>> np.asarray(eigvalsh(np.float64([[2, 1], [1, 2]])))
    array([1., 3.])
    """
    return symmetric_eigen(x, lower, symmetrize_input, vectors=False)[0]


def symmetric_eigen(x: Any, lower: bool, symmetrize_input: bool, vectors: bool) -> list:
    op = Eigh(bool(lower), vectors)
    op.infer(type_of(x))
    return bind(op, symmetrized(x) if symmetrize_input else x)


@op_dataclass
class Eig(Stacked):
    """Complex eigenvalues, and left and right eigenvectors (columns of norm 1, largest component real)."""
    left: bool
    right: bool
    with_derivatives: bool
    own_threads: ClassVar[int] = 40
    ulp: ClassVar[float] = 256
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, n, dtype = self.lead(x), self.square(x), complex_dtype(x.dtype)
        return stacked(lead, n, of=dtype), *[stacked(lead, n, n, of=dtype)] * (self.left + self.right)

    def one(self, x):
        if not x.size:
            return np.zeros(0), *[x] * (self.left + self.right)
        *values, left, right, info = lapack("geev", x)(x, compute_vl=int(self.left), compute_vr=int(self.right))
        w = values[0] if len(values) == 1 else values[0] + 1j * values[1]
        found = [v for v, wanted in ((left, self.left), (right, self.right)) if wanted]
        outs = [w, *[v if x.dtype.kind == "c" else paired(v, values[1]) for v in found]]
        return [np.full_like(v, np.nan) for v in outs] if info else outs

    def jvp(self, ctx, primals, tangents):
        if (self.left or self.right) and not self.with_derivatives:
            raise NotImplementedError("eig: eigenvectors of a general matrix have derivatives only where eigenvalues "
                                      "are distinct; pass enable_eigvec_derivs=True to say that they are")
        x, t = primals[0], convert_element_type(tangents[0], complex_dtype(type_of(tangents[0]).dtype))
        outs = bind(Eig(self.left, True, self.with_derivatives), x)
        w, right = outs[0], outs[-1]
        inner = solve(right, matmul(t, right))
        moved = [diagonal_of(inner)]
        if self.left:
            other = matmul(adjoint(t), outs[1])
            moved.append(eigenvector_tangents(conj(w), outs[1], solve(outs[1], other)))
        if self.right:
            moved.append(eigenvector_tangents(w, right, inner))
        return outs[:len(moved)], moved

    def areas(self, x):
        n, part = x.shape[0], real_dtype(x.dtype)
        return [(x.size, x.dtype)] * 3 + [(work_size(n, n), x.dtype), (2 * n, part), (1, INT)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (w, *wanted), (columns, left, right, work, reals, info), (t,) = ins, outs, areas, types
        n, is_complex, part, out = t.shape[0], t.dtype.kind == "c", real_dtype(t.dtype), complex_dtype(t.dtype)
        imaginary = f.gep(reals, n, part)
        transposed(f, columns, x, n, n, t.dtype)
        f.routine(letter(t.dtype) + "geev", "V" if self.left else "N", "V" if self.right else "N", n, columns, n,
                  *([w] if is_complex else [reals, imaginary]), left, n, right, n, work, work_size(n, n),
                  *([reals] if is_complex else []), info)
        if not is_complex:
            with f.loop(0, n) as loop:
                parts = [f.load(part, f.gep(p, loop.index, part)) for p in (reals, imaginary)]
                f.store(f.complex(*parts), f.gep(w, loop.index, out))
        fill_nan_if(f, info, w, n, out)
        for source, target in zip([v for v, flag in ((left, self.left), (right, self.right)) if flag], wanted):
            if is_complex:
                transposed(f, target, source, n, n, t.dtype)
            else:
                pair_columns(f, target, source, imaginary, n, part, out)
            fill_nan_if(f, info, target, n * n, out)


def paired(v: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Complex eigenvectors from LAPACK's real form: columns (re, im) for each conjugate pair."""
    out = v.astype(complex_dtype(v.dtype))
    for j in np.flatnonzero(imaginary > 0):
        out[:, j] = v[:, j] + 1j * v[:, j + 1]
        out[:, j + 1] = v[:, j] - 1j * v[:, j + 1]
    return out


def pair_columns(f: Any, target: Any, source: Any, imaginary: Any, n: int, part: np.dtype, out: np.dtype) -> None:
    """`paired` as native code: a conjugate pair's columns hold the real and the imaginary part of its first vector."""
    with f.loop(0, n) as column:
        j = column.index
        sign_of = f.load(part, f.gep(imaginary, j, part))
        first, second = f.gt(sign_of, 0), f.lt(sign_of, 0)
        real_at = f.select(second, f.sub(j, 1), j)
        imag_at = f.min(f.add(real_at, 1), n - 1)
        factor = f.select(first, f.const(1, part), f.select(second, f.const(-1, part), f.const(0, part)))
        with f.loop(0, n) as row:
            at = lambda k: f.load(part, f.gep(source, f.add(f.mul(k, n), row.index), part))
            value = f.complex(at(real_at), f.mul(factor, at(imag_at)))
            f.store(value, f.gep(target, f.add(f.mul(row.index, n), j), out))


def eigenvector_tangents(w: Any, v: Any, inner: Any):
    """V' of V with columns of norm 1 whose largest component is real: V (M / gaps) + V c, c keeping both properties."""
    free = matmul(v, mul(inner, inverse_gaps(w, inner)))
    ndim = type_of(v).ndim
    largest = argmax(absolute(v), ndim - 2, np.int32)
    pick = lambda x: reduce_sum(select(eq(row_and_column(v)[0], as_rows(largest, v)), x, zeros_like(x)), (ndim - 2,))
    along = real(reduce_sum(mul(conj(v), free), (ndim - 2,)))
    turn = div(imag(pick(free)), real(pick(v)))
    return add(free, mul(v, as_rows(complex(neg(along), neg(turn)), v)))


def eig(x: Any, *, compute_left_eigenvectors: bool = True, compute_right_eigenvectors: bool = True,
        enable_eigvec_derivs: bool = False, implementation: EigImplementation | None = None,
        use_magma: bool | None = None) -> list:
    """Eigenvalues, and left and right eigenvectors as asked, of stacks of general square matrices; all complex.

    Derivatives of eigenvectors need `enable_eigvec_derivs=True`: they exist where eigenvalues are distinct.

    >>> import numpy as np
    >>> w, = eig(np.float64([[0, 1], [-1, 0]]), compute_left_eigenvectors=False, compute_right_eigenvectors=False)
    >>> np.asarray(w).imag
    array([ 1., -1.])
    """
    op = Eig(bool(compute_left_eigenvectors), bool(compute_right_eigenvectors), bool(enable_eigvec_derivs))
    return list(bind(op, x))


@op_dataclass
class Svd(Stacked):
    """Descending singular values; with vectors, x = U diag(s) Vh, all columns of U and V or the first min(m, n)."""
    vectors: bool
    full_matrices: bool
    largest_in_groups: ClassVar[int] = 32
    largest_alone: ClassVar[int] = 0       # of a few matrices the vectors have the signs that LAPACK chooses, as elsewhere
    own_threads: ClassVar[int] = 40
    ulp: ClassVar[float] = 256
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, (m, n) = self.lead(x), x.shape[-2:]
        k = min(m, n)
        s = stacked(lead, k, of=real_dtype(x.dtype))
        if not self.vectors:
            return (s,)
        columns, rows = (m, n) if self.full_matrices else (k, k)
        return s, stacked(lead, m, columns, of=x.dtype), stacked(lead, rows, n, of=x.dtype)

    def one(self, x):
        if not x.size:
            shapes = [t.shape for t in self.infer(type_of(x))]
            return [np.zeros(shapes[0]), *[np.eye(*shape) for shape in shapes[1:]]]
        u, s, vh, info = lapack("gesdd", x)(x, compute_uv=int(self.vectors), full_matrices=int(self.full_matrices))
        outs = [s, u, vh] if self.vectors else [s]
        return [nan_like(v) for v in outs] if info else outs

    def whole(self, library, x):
        if not self.vectors:
            return (np.linalg.svd(x, full_matrices=False, compute_uv=False),)
        u, s, vh = np.linalg.svd(x, full_matrices=self.full_matrices)
        return s, u, vh

    def jvp(self, ctx, primals, tangents):
        (x,), (t,) = primals, tangents
        m, n = type_of(x).shape[-2:]
        if self.vectors and self.full_matrices and m != n:
            raise NotImplementedError("svd: the extra singular vectors (full_matrices=True) are not unique and have no "
                                      "derivative; use full_matrices=False")
        s, u, vh = bind(Svd(True, False), x)
        inner = matmul(matmul(adjoint(u), t), adjoint(vh))
        s_dot = diagonal_of(real_part(inner))
        if not self.vectors:
            return [s], [s_dot]
        return [s, u, vh], [s_dot, *singular_vector_tangents(t, inner, s, u, adjoint(vh))]

    def areas(self, x):
        small, large = sorted(x.shape)
        reals = max(5 * small * small + 7 * small, 2 * large * small + 2 * small * small + small)
        vectors = [(t.size, t.dtype) for t in self.infer(x)[1:]] or [(0, x.dtype)] * 2
        own = [(x.size, x.dtype), (self.work(x), x.dtype), (8 * small, INT), (1, INT), (reals, real_dtype(x.dtype))]
        return own + vectors

    def work(self, x) -> int:
        small = min(x.shape)
        return 4 * small * small + work_size(*x.shape)

    def lane(self, f, ins, outs, areas, types):
        (x,), (s, *vectors), (columns, work, ints, info, reals, left, right), (t,) = ins, outs, areas, types
        m, n = t.shape
        s_type, *shapes = self.infer(t)
        transposed(f, columns, x, m, n, t.dtype)
        job = "N" if not self.vectors else "A" if self.full_matrices else "S"
        extra = [reals] if t.dtype.kind == "c" else []
        rows = shapes[1].shape[0] if shapes else 1
        f.routine(letter(t.dtype) + "gesdd", job, m, n, columns, m, s, left, m, right, rows, work,
                  self.work(t), *extra, ints, info)
        fill_nan_if(f, info, s, s_type.size, s_type.dtype)
        for out, source, own in zip(vectors, (left, right), shapes):
            fill_nan_if(f, info, source, own.size, own.dtype)
            transposed(f, out, source, *own.shape[::-1], own.dtype)

    def group_areas(self, x):
        s, *vectors = self.infer(x)
        return [(x.size, x.dtype), (x.size, x.dtype), (s.size, s.dtype), (s.size, x.dtype), *[(t.size, t.dtype) for t in vectors]]

    def group(self, group, ins, outs, areas, types):
        """Of a wide matrix, those of its adjoint. Columns that are rotated lie together."""
        (t,), (m, n), (s, *vectors) = types, types[0].shape, self.infer(types[0])
        wide = m < n
        group.get(ins[0], t.size, t.dtype, areas[0])
        given = group.matrix(areas[0], n, transposed=wide, conjugated=wide)
        x, values = group.matrix(areas[1], max(m, n), transposed=True), group.matrix(areas[2], 1, s.dtype)
        if vectors:
            taus, u = group.matrix(areas[3], 1), group.matrix(areas[4], vectors[0].shape[1], transposed=wide)
            v = group.matrix(areas[5], n, transposed=True, conjugated=True)
            left, right, k = (v, u, vectors[1].shape[0]) if wide else (u, v, vectors[0].shape[1])
            jacobi.svd_vectors(group, given, x, values, left, right, taus, max(m, n), min(m, n), k)
            if wide:
                jacobi.transpose_in_place(group, u, m)
        else:
            jacobi.svd(group, given, x, values, max(m, n), min(m, n))
        for area, out, own in zip((areas[2], *areas[4:]), outs, (s, *vectors)):
            group.put(area, own.size, own.dtype, out)


def singular_vector_tangents(t: Any, inner: Any, s: Any, u: Any, v: Any) -> tuple:
    """U' and (V')^H (Giles 2008, An extended collection of matrix derivative results; Townsend 2016)."""
    dtype, (m, n) = type_of(inner).dtype, type_of(t).shape[-2:]
    values = convert_element_type(s, dtype)
    squares = inverse_gaps(mul(values, values), inner)
    by_row, by_column = as_rows(values, inner), as_columns(values, inner)
    half = np.asarray(0.5, dtype)
    zero = eq(s, zeros_like(s))
    inverse = select(zero, zeros_like(values), reciprocal(select(zero, add(values, np.asarray(1, dtype)), values)))
    left, right = mul(by_row, inner), mul(by_column, inner)
    turn = mul(mul(half, sub(inner, adjoint(inner))), mul(identity_like(inner), as_rows(inverse, inner)))
    u_dot = matmul(u, add(mul(squares, add(left, adjoint(left))), turn))
    v_dot = matmul(v, mul(squares, add(right, adjoint(right))))
    rest = lambda y, q: div(sub(y, matmul(q, matmul(adjoint(q), y))), as_rows(values, y))
    u_dot = add(u_dot, rest(matmul(t, v), u)) if m > n else u_dot
    v_dot = add(v_dot, rest(matmul(adjoint(t), u), v)) if n > m else v_dot
    return u_dot, adjoint(v_dot)


def svd(x: Any, *, full_matrices: bool = True, compute_uv: bool = True, subset_by_index: tuple[int, int] | None = None,
        algorithm: SvdAlgorithm | None = None):
    """(U, s, Vh) with x = U diag(s) Vh for stacks of m x n matrices, or s alone; s descends.

    U is m x m and Vh n x n with `full_matrices`, else they have k = min(m, n) columns and rows.
    `subset_by_index=(i, j)` keeps the singular values i to j - 1. Where LAPACK does not converge the results are nan.

    >>> import numpy as np
    >>> np.asarray(svd(np.float64([[3, 0], [0, 4]]), compute_uv=False))
    array([4., 3.])
    """
    if subset_by_index is not None and compute_uv and full_matrices:
        raise ValueError("svd: full_matrices and subset_by_index cannot both be set")
    outs = bind(Svd(bool(compute_uv), bool(full_matrices and compute_uv)), x)
    s, last = outs[0], type_of(x).ndim - 2
    if subset_by_index is not None:
        start, stop = subset_by_index
        s = slice_in_dim(s, start, stop, axis=last)
        outs = [s, *([slice_in_dim(outs[1], start, stop, axis=last + 1),
                      slice_in_dim(outs[2], start, stop, axis=last)] if compute_uv else [])]
    return (outs[1], s, outs[2]) if compute_uv else s

"""Forms that eigenvalues are found from, of stacks of matrices: Schur, Hessenberg, tridiagonal."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import real_dtype
from tracejit.lax.factorize import work_size
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.lapack import INT, fill_nan_if, transposed
from tracejit.lax.reference import lapack
from tracejit.lax.stacks import Stacked, letter, nan_like, stacked


@op_dataclass
class Schur(Stacked):
    """x = Q T adjoint(Q), Q unitary; T upper triangular, for real x with 2x2 blocks for complex pairs."""
    vectors: bool
    own_threads: ClassVar[int] = 40
    ulp: ClassVar[float] = 256
    multiple: ClassVar[bool] = True

    def infer(self, x):
        self.lead(x), self.square(x)
        return (x.strong(),) * (1 + self.vectors)

    def one(self, x):
        if not x.size:
            return (x,) * (1 + self.vectors)
        found = lapack("gees", x)(lambda *_: 0, x, compute_v=int(self.vectors))
        outs = [found[0], found[-3]][:1 + self.vectors]
        return [nan_like(v) for v in outs] if found[-1] else outs

    def areas(self, x):
        n = x.shape[0]
        return [(x.size, x.dtype), (x.size, x.dtype), (work_size(n), x.dtype), (2 * n, x.dtype), (n + 2, INT)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (columns, vectors, work, values, ints), (t,) = ins, areas, types
        n, is_complex = t.shape[0], t.dtype.kind == "c"
        selected, info, flags = (f.gep(ints, k, INT) for k in range(3))
        transposed(f, columns, x, n, n, t.dtype)
        second = f.gep(values, n, t.dtype)
        f.routine(letter(t.dtype) + "gees", "V" if self.vectors else "N", "N", None, n, columns, n, selected,
                  *([values] if is_complex else [values, second]), vectors, n, work, work_size(n),
                  *([second] if is_complex else []), flags, info)
        for out, source in zip(outs, (columns, vectors)):
            fill_nan_if(f, info, source, t.size, t.dtype)
            transposed(f, out, source, n, n, t.dtype)


def schur(x: Any, *, compute_schur_vectors: bool = True, sort_eig_vals: bool = False, select_callable: Any = None):
    """The Schur form T, and Q with x = Q T adjoint(Q), of stacks of square matrices; real input has a real form.

    >>> import numpy as np
    >>> t, q = schur(np.float64([[2, 0], [0, 3]]))
    >>> np.asarray(t)
    array([[2., 0.],
           [0., 3.]])
    """
    if sort_eig_vals or select_callable is not None:
        raise NotImplementedError("schur: the order of the eigenvalues is LAPACK's; sorting them is not supported")
    return list(bind(Schur(bool(compute_schur_vectors)), x))


@op_dataclass
class Hessenberg(Stacked):
    """x reduced to zeros below the first subdiagonal by reflectors, which are stored there, and their factors."""
    ulp: ClassVar[float] = 64
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, n = self.lead(x), self.square(x)
        if n == 0:
            raise ShapeError(f"hessenberg: {x} has empty matrices", fix="give matrices of order 1 or more")
        return x.strong(), stacked(lead, n - 1, of=x.dtype)

    def one(self, x):
        return lapack("gehrd", x)(x)[:2] if len(x) > 1 else (x, np.zeros(0))

    def areas(self, x): return [(x.size, x.dtype), (work_size(*x.shape), x.dtype), (1, INT)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (out, taus), (columns, work, info), (t,) = ins, outs, areas, types
        n = t.shape[0]
        transposed(f, columns, x, n, n, t.dtype)
        f.routine(letter(t.dtype) + "gehrd", n, 1, n, columns, n, taus, work, work_size(n, n), info)
        transposed(f, out, columns, n, n, t.dtype)


def hessenberg(a: Any):
    """(packed, taus): the Hessenberg form of square matrices with its reflectors below the first subdiagonal.

    >>> import numpy as np
    >>> [x.shape for x in hessenberg(np.eye(3))]
    [(3, 3), (2,)]
    """
    return list(bind(Hessenberg(), a))


@op_dataclass
class Tridiagonal(Stacked):
    """A symmetric or Hermitian matrix in tridiagonal form: packed reflectors, diagonal, off-diagonal, factors."""
    lower: bool
    ulp: ClassVar[float] = 64
    multiple: ClassVar[bool] = True

    def infer(self, x):
        lead, n, part = self.lead(x), self.square(x), real_dtype(x.dtype)
        if n == 0:
            raise ShapeError(f"tridiagonal: {x} has empty matrices", fix="give matrices of order 1 or more")
        return x.strong(), stacked(lead, n, of=part), stacked(lead, n - 1, of=part), stacked(lead, n - 1, of=x.dtype)

    def one(self, x):
        if len(x) == 1:
            return x, x[0].real, np.zeros(0), np.zeros(0)
        return lapack("hetrd" if x.dtype.kind == "c" else "sytrd", x)(x, lower=int(self.lower))[:4]

    def areas(self, x): return [(x.size, x.dtype), (work_size(*x.shape), x.dtype), (1, INT)]

    def lane(self, f, ins, outs, areas, types):
        (x,), (out, *parts), (columns, work, info), (t,) = ins, outs, areas, types
        n = t.shape[0]
        transposed(f, columns, x, n, n, t.dtype)
        name = letter(t.dtype) + ("hetrd" if t.dtype.kind == "c" else "sytrd")
        f.routine(name, "L" if self.lower else "U", n, columns, n, *parts, work, work_size(n, n), info)
        transposed(f, out, columns, n, n, t.dtype)


def tridiagonal(a: Any, *, lower: bool = True):
    """(packed, d, e, taus): the tridiagonal form of symmetric or Hermitian matrices, read from one half.

    `d` is its diagonal, `e` its off-diagonal; the reflectors are stored beyond that in `packed`, their factors in
    `taus`.

    >>> import numpy as np
    >>> [x.shape for x in tridiagonal(np.eye(3))]
    [(3, 3), (3,), (2,), (2,)]
    """
    return list(bind(Tridiagonal(bool(lower)), a))

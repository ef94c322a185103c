"""The namespace lax.linalg: factorizations, solvers and eigenvalues of stacks of matrices (the last two axes)."""
from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.types import type_of
from tracejit.lax.broadcast import full_like
from tracejit.lax.compare import lt, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.eigen import EighImplementation as EighImplementation
from tracejit.lax.eigen import EigImplementation as EigImplementation
from tracejit.lax.eigen import SvdAlgorithm as SvdAlgorithm
from tracejit.lax.eigen import diagonal_of
from tracejit.lax.eigen import eig as eig
from tracejit.lax.eigen import eigh as eigh
from tracejit.lax.schur import hessenberg as hessenberg
from tracejit.lax.schur import schur as schur
from tracejit.lax.eigen import svd as svd
from tracejit.lax.schur import tridiagonal as tridiagonal
from tracejit.lax.elementwise import add, mul, neg
from tracejit.lax.factorize import cholesky as cholesky
from tracejit.lax.factorize import householder_product as householder_product
from tracejit.lax.factorize import lu as lu
from tracejit.lax.factorize import lu_pivots_to_permutation as lu_pivots_to_permutation
from tracejit.lax.factorize import ormqr as ormqr
from tracejit.lax.factorize import qr as qr
from tracejit.lax.factorize import solve as solve
from tracejit.lax.matrix import adjoint, as_columns, matmul, swapped, zeros_like
from tracejit.lax.shape import concatenate, reshape
from tracejit.lax.solve import triangular_solve as triangular_solve
from tracejit.lax.solve import tridiagonal_solve as tridiagonal_solve


def cholesky_update(r_matrix: Any, w_vector: Any):
    """The upper triangular S with SᵀS = RᵀR + w wᵀ: R's rows and w rotated together until w is zero.

    It is the R factor of the n + 1 rows, with R's signs kept positive.

    >>> import numpy as np
    >>> np.asarray(cholesky_update(np.float64([[3, 0], [0, 1]]), np.float64([4, 0]))) + 0
    array([[5., 0.],
           [0., 1.]])
    """
    r, w = type_of(r_matrix), type_of(w_vector)
    if r.ndim < 2 or r.shape[-1] != r.shape[-2] or w.shape != r.shape[:-1]:
        raise ShapeError(f"cholesky_update: {r} must hold square matrices and {w} one vector for each")
    rows = concatenate([r_matrix, reshape(w_vector, (*w.shape[:-1], 1, w.shape[-1]))], r.ndim - 2)
    _, factor = qr(rows, full_matrices=False)
    diagonal = diagonal_of(factor)
    ones = full_like(diagonal, 1)
    return mul(factor, as_columns(select(lt(diagonal, zeros_like(diagonal)), neg(ones), ones), factor))


def symmetric_product(a_matrix: Any, c_matrix: Any, *, alpha: float = 1.0, beta: float = 0.0,
                      symmetrize_output: bool = False):
    """alpha a aᵀ + beta c for stacks of matrices a and symmetric c; the result is whole, both halves.

    >>> import numpy as np
    >>> np.asarray(symmetric_product(np.float64([[1], [2]]), np.eye(2), beta=1.0))
    array([[2., 2.],
           [2., 5.]])
    """
    a, c = type_of(a_matrix), type_of(c_matrix)
    if a.ndim < 2 or c.shape != (*a.shape[:-1], a.shape[-2]):
        raise ShapeError(f"symmetric_product: {c} does not have the shape of a aᵀ for a of type {a}")
    product = mul(matmul(a_matrix, swapped(a_matrix)), np.asarray(alpha, a.dtype))
    return add(product, mul(c_matrix, np.asarray(beta, c.dtype)))


def qdwh(x: Any, *, is_hermitian: bool = False, max_iterations: int | None = None, eps: float | None = None,
         dynamic_shape: tuple[int, int] | None = None):
    """(u, h, iterations, converged): the polar decomposition x = u h, u with orthonormal columns and h positive.

    For m x n matrices with m >= n. It is made of singular values rather than by the iteration of the name, so
    `max_iterations` and `eps` have no effect and iterations is 0.

    >>> import numpy as np
    >>> u, h, _, _ = qdwh(np.float64([[0, -2], [3, 0]]))
    >>> np.round(np.asarray(h), 6) + 0
    array([[3., 0.],
           [0., 2.]])
    """
    t = type_of(x)
    if t.ndim < 2 or t.shape[-2] < t.shape[-1]:
        raise ShapeError(f"qdwh: {t} must hold matrices with at least as many rows as columns", fix="transpose it")
    if dynamic_shape is not None:
        raise NotImplementedError("qdwh: dynamic_shape is not supported; cut the matrix out first")
    left, values, right = svd(x, full_matrices=False)
    weights = convert_element_type(as_columns(values, right), type_of(right).dtype)
    return matmul(left, right), matmul(adjoint(right), mul(weights, right)), np.int32(0), np.bool_(True)

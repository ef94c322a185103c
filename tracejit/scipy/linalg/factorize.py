"""Matrices -> factors: Cholesky, LU, QR, polar and Hessenberg; and solving with Cholesky and LU factors.

Arguments named ``overwrite_*`` and ``check_finite`` are SciPy's; they are accepted and have no effect.
"""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import promote_dtypes_inexact

from .solve import solve_triangular


def matrices(name: str, *arrays) -> list:
    """The arrays in their common floating dtype."""
    return [jnp.asarray(x) for x in promote_dtypes_inexact(name, *(jnp.asarray(x) for x in arrays))]


def check_square(name: str, *arrays) -> None:
    for a in arrays:
        if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
            raise ValueError(f"{name} takes square matrices [..., n, n], got shape {a.shape}")


def adjoint(a):
    return jnp.conj(jnp.swapaxes(a, -1, -2))


@partial(jit, static_argnames=("lower", "overwrite_a", "check_finite"))
def cholesky(a, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True):
    """The upper triangular U with ``U^H U = a`` (``lower``: L with ``L L^H = a``) of positive definite matrices [...,
    n, n].

    Only that triangle of ``a`` is read. nan where ``a`` is not positive definite.

    >>> import tracejit.numpy as jnp
    >>> print(cholesky(jnp.array([[4.0]])))
    [[2.]]
    """
    (a,) = matrices("cholesky", a)
    if lower:
        return lax.linalg.cholesky(a, symmetrize_input=False)
    return adjoint(lax.linalg.cholesky(adjoint(a), symmetrize_input=False))


def cho_factor(a, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True):
    """``(factor, lower)``: the Cholesky factor of ``a`` as `cho_solve` takes it.

    >>> import tracejit.numpy as jnp
    >>> print(cho_factor(jnp.array([[4.0]]))[0])
    [[2.]]
    """
    return cholesky(a, lower), lower


def cho_solve(c_and_lower, b, overwrite_b: bool = False, check_finite: bool = True):
    """The solution x of ``a x = b`` for a positive definite ``a`` that `cho_factor` factored.

    >>> import tracejit.numpy as jnp
    >>> print(cho_solve(cho_factor(jnp.array([[4.0]])), jnp.array([2.0])))
    [0.5]
    """
    factor, lower = c_and_lower
    y = solve_triangular(factor, b, trans=0 if lower else 2, lower=lower)
    return solve_triangular(factor, y, trans=2 if lower else 0, lower=lower)


@jit
def packed_lu(a):
    lu, pivots, _ = lax.linalg.lu(*matrices("lu_factor", a))
    return lu, pivots


def lu_factor(a, overwrite_a: bool = False, check_finite: bool = True):
    """``(lu, pivots)``: L (its unit diagonal left out) and U in one matrix, and the row exchanges that partial
    pivoting made.

    >>> import tracejit.numpy as jnp
    >>> print(lu_factor(jnp.array([[4.0, 2.0], [2.0, 2.0]]))[0])
    [[4.  2. ]
     [0.5 1. ]]
    """
    return packed_lu(a)


@partial(jit, static_argnames=("trans", "overwrite_b", "check_finite"))
def lu_solve(lu_and_piv, b, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True):
    """The solution x of ``a x = b`` for an ``a`` that `lu_factor` factored; ``trans`` 1 solves with a^T, 2 with a^H.

    >>> import tracejit.numpy as jnp
    >>> print(lu_solve(lu_factor(jnp.array([[4.0]])), jnp.array([2.0])))
    [0.5]
    """
    if trans not in (0, 1, 2):
        raise ValueError(f"lu_solve: trans must be 0, 1 or 2, got {trans}")
    factors, pivots = lu_and_piv
    factors, b = matrices("lu_solve", factors, b)
    order = lax.linalg.lu_pivots_to_permutation(pivots, factors.shape[-1])
    vector = b.ndim == factors.ndim - 1
    x = b[..., None] if vector else b
    if x.shape[-2] != factors.shape[-1]:
        raise ValueError(f"lu_solve: a right-hand side of shape {b.shape} does not fit factors of shape {factors.shape}")
    batch = np.broadcast_shapes(x.shape[:-2], factors.shape[:-2])
    x = jnp.broadcast_to(x, (*batch, *x.shape[-2:]))
    factors = jnp.broadcast_to(factors, (*batch, *factors.shape[-2:]))
    order = jnp.broadcast_to(order, (*batch, order.shape[-1]))[..., None]
    if trans == 0:
        x = solve_triangular(factors, jnp.take_along_axis(x, order, -2), lower=True, unit_diagonal=True)
        x = solve_triangular(factors, x)
    else:
        x = solve_triangular(factors, x, trans=trans)
        x = solve_triangular(factors, x, trans=trans, lower=True, unit_diagonal=True)
        x = jnp.take_along_axis(x, jnp.argsort(order, axis=-2), -2)
    return x[..., 0] if vector else x


@partial(jit, static_argnames=("permute_l", "overwrite_a", "check_finite"))
def lu(a, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True):
    """``(P, L, U)`` with ``a = P L U``: a permutation, a unit lower and an upper triangular matrix; or ``(P L, U)``.

    >>> import tracejit.numpy as jnp
    >>> print(lu(jnp.array([[0.0, 2.0], [4.0, 2.0]]))[2])
    [[4. 2.]
     [0. 2.]]
    """
    (a,) = matrices("lu", a)
    packed, _, order = lax.linalg.lu(a)
    rows, columns = a.shape[-2:]
    size = min(rows, columns)
    lower = jnp.tril(packed[..., :size], -1) + jnp.eye(rows, size, dtype=a.dtype)
    upper = jnp.triu(packed[..., :size, :])
    permutation = (order[..., None, :] == jnp.arange(rows)[:, None]).astype(a.real.dtype)
    return (permutation.astype(a.dtype) @ lower, upper) if permute_l else (permutation, lower, upper)


@partial(jit, static_argnames=("overwrite_a", "lwork", "mode", "pivoting", "check_finite"))
def qr(a, overwrite_a: bool = False, lwork=None, mode: str = "full", pivoting: bool = False, check_finite: bool = True):
    """``(Q, R)`` with ``a = Q R``; with ``pivoting`` ``(Q, R, P)`` with ``a[:, P] = Q R``.

    ``mode`` 'full' gives a square Q, 'economic' one with min(m, n) columns, 'r' leaves Q out.

    >>> import tracejit.numpy as jnp
    >>> abs(qr(jnp.array([[3.0], [4.0]]), mode='economic')[1]).tolist()
    [[5.0]]
    """
    if mode not in ("full", "economic", "r"):
        raise ValueError(f"qr: mode must be 'full', 'economic' or 'r', got {mode!r}")
    (a,) = matrices("qr", a)
    factors = lax.linalg.qr(a, pivoting=pivoting, full_matrices=mode != "economic")
    return tuple(factors[1:]) if mode == "r" else tuple(factors)


@partial(jit, static_argnames=("mode", "pivoting", "conjugate", "overwrite_a", "overwrite_c"))
def qr_multiply(a, c, mode: str = "right", pivoting: bool = False, conjugate: bool = False, overwrite_a: bool = False,
                overwrite_c: bool = False):
    """``(c Q, R)`` or with ``mode='left'`` ``(Q c, R)`` for the economic QR factors of ``a``; with ``pivoting`` also P.

    ``conjugate`` takes the complex conjugate of Q. A vector c counts as a row on the left of Q and a column on its
    right.

    >>> import tracejit.numpy as jnp
    >>> abs(qr_multiply(jnp.array([[2.0]]), jnp.array([3.0]))[0]).tolist()
    [3.0]
    """
    if mode not in ("left", "right"):
        raise ValueError(f"qr_multiply: mode must be 'left' or 'right', got {mode!r}")
    a, c = matrices("qr_multiply", a, c)
    q, *rest = lax.linalg.qr(a, pivoting=pivoting, full_matrices=False)
    wide = (c[:, None] if mode == "left" else c[None]) if c.ndim == 1 else c
    if (wide.shape[-2] if mode == "left" else wide.shape[-1]) != q.shape[-1 if mode == "left" else -2]:
        raise ValueError(f"qr_multiply: c of shape {c.shape} does not fit Q of shape {q.shape} on its {mode}")
    q = jnp.conj(q) if conjugate else q
    product = q @ wide if mode == "left" else wide @ q
    return product.ravel() if c.ndim == 1 else product, *rest


@partial(jit, static_argnames=("side", "method", "eps", "max_iterations"))
def polar(a, side: str = "right", *, method: str = "qdwh", eps=None, max_iterations=None):
    """``(U, P)`` with ``a = U P`` (``side='left'``: ``a = P U``): U with orthonormal columns, P positive semidefinite.

    From the singular value decomposition; ``method``, ``eps`` and ``max_iterations`` are accepted as in JAX.

    >>> import tracejit.numpy as jnp
    >>> polar(jnp.array([[-2.0]]))[1].tolist()
    [[2.0]]
    """
    if side not in ("left", "right"):
        raise ValueError(f"polar: side must be 'left' or 'right', got {side!r}")
    if method not in ("qdwh", "svd"):
        raise ValueError(f"polar: method must be 'qdwh' or 'svd', got {method!r}")
    (a,) = matrices("polar", a)
    if a.ndim < 2:
        raise ValueError(f"polar takes matrices [..., m, n], got shape {a.shape}")
    left, values, right = jnp.linalg.svd(a, full_matrices=False)
    scaled = values[..., None, :]
    return left @ right, (adjoint(right) * scaled) @ right if side == "right" else (left * scaled) @ adjoint(left)


@partial(jit, static_argnames=("calc_q", "overwrite_a", "check_finite"))
def hessenberg(a, *, calc_q: bool = False, overwrite_a: bool = False, check_finite: bool = True):
    """H, zero below its first subdiagonal, with ``a = Q H Q^H``; with ``calc_q`` ``(H, Q)``.

    >>> import tracejit.numpy as jnp
    >>> hessenberg(jnp.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    (a,) = matrices("hessenberg", a)
    check_square("hessenberg", a)
    if a.shape[-1] == 0:
        return (a, a) if calc_q else a
    packed, taus = lax.linalg.hessenberg(a)
    h = jnp.triu(packed, -1)
    if not calc_q:
        return h
    inner = lax.linalg.householder_product(packed[..., 1:, :-1], taus)
    corner = jnp.zeros_like(a).at[..., 0, 0].set(1)
    return h, corner.at[..., 1:, 1:].set(inner)

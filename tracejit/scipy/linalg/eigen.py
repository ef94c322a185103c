"""Eigenvalues and Schur forms, and what is solved with them: generalised and tridiagonal problems, Sylvester
equations."""
from __future__ import annotations

import math
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax
from tracejit.ir.types import complex_dtype

from .factorize import adjoint, check_square, matrices
from .solve import solve_triangular


EIGH_OPTIONS = ("lower", "eigvals_only", "overwrite_a", "overwrite_b", "turbo", "eigvals", "type", "check_finite")


@partial(jit, static_argnames=EIGH_OPTIONS)
def eigh(a, b=None, lower: bool = True, eigvals_only: bool = False, overwrite_a: bool = False,
         overwrite_b: bool = False, turbo: bool = True, eigvals=None, type: int = 1, check_finite: bool = True):
    """``(w, v)``: ascending eigenvalues and the eigenvectors (columns) of symmetric or Hermitian matrices.

    With a positive definite ``b`` the generalised problem of ``type`` 1 (``a v = w b v``), 2 (``a b v = w v``) or 3
    (``b a v = w v``). ``eigvals_only`` gives w alone. A range ``eigvals`` is not offered.

    >>> import tracejit.numpy as jnp
    >>> print(eigh(jnp.array([[2.0, 0.0], [0.0, 1.0]]), eigvals_only=True))
    [1. 2.]
    """
    if eigvals is not None:
        raise NotImplementedError("eigh: a subset of the eigenvalues (eigvals=) is not supported; slice the result")
    if type not in (1, 2, 3):
        raise ValueError(f"eigh: type must be 1, 2 or 3, got {type}")
    if b is None:
        function = jnp.linalg.eigvalsh if eigvals_only else jnp.linalg.eigh
        return function(a, UPLO="L" if lower else "U")
    a, b = matrices("eigh", a, b)
    factor = jnp.linalg.cholesky(b)
    if type == 1:
        half = solve_triangular(factor, a, lower=True)
        reduced = adjoint(solve_triangular(factor, adjoint(half), lower=True))
    else:
        reduced = adjoint(factor) @ a @ factor
    if eigvals_only:
        return jnp.linalg.eigvalsh(reduced)
    values, vectors = jnp.linalg.eigh(reduced)
    return values, factor @ vectors if type == 3 else solve_triangular(factor, vectors, trans=2, lower=True)


def eigh_tridiagonal(d, e, *, eigvals_only: bool = False, select: str = "a", select_range=None, tol=None, key=None):
    """Eigenvalues ``w``, or ``(w, v)``, of the symmetric tridiagonal matrix with diagonal ``d [n]`` and off-diagonal
    ``e [n-1]``.

    ``select`` 'a' is all of them, 'i' those of index select_range[0] .. select_range[1], 'v' those in the half-open
    interval ``(low, high]``, which must be known while tracing. ``tol`` and ``key`` are accepted as in JAX.

    >>> import tracejit.numpy as jnp
    >>> print(eigh_tridiagonal(jnp.array([2.0, 1.0]), jnp.array([0.0]), eigvals_only=True))
    [1. 2.]
    """
    d, e = jnp.asarray(d), jnp.asarray(e)
    if d.dtype != e.dtype or not jnp.issubdtype(d.dtype, np.inexact):
        raise TypeError(f"eigh_tridiagonal takes d and e of one floating dtype, got {d.dtype} and {e.dtype}")
    if select not in ("a", "i", "v"):
        raise ValueError(f"eigh_tridiagonal: select must be 'a', 'i' or 'v', got {select!r}")
    values, vectors = dense_tridiagonal(d, e)
    if select == "i":
        first, last = select_range
        values, vectors = values[first:last + 1], vectors[:, first:last + 1]
    elif select == "v":
        low, high = select_range
        first, last = np.searchsorted(np.asarray(values), [low, high], side="right")
        values, vectors = values[first:last], vectors[:, first:last]
    return values if eigvals_only else (values, vectors)


@jit
def dense_tridiagonal(d, e):
    full = jnp.diag(d.real).astype(d.dtype) + jnp.diag(e, -1) + jnp.diag(jnp.conj(e), 1)
    return jnp.linalg.eigh(full)


@partial(jit, static_argnames=("output",))
def schur(a, output: str = "real"):
    """``(T, Z)`` with ``a = Z T Z^H``: T upper triangular, or for real a and output 'real' with 2 by 2 blocks; Z
    unitary.

    >>> import tracejit.numpy as jnp
    >>> print(schur(jnp.array([[3.0]]))[0])
    [[3.]]
    """
    if output not in ("real", "complex"):
        raise ValueError(f"schur: output must be 'real' or 'complex', got {output!r}")
    (a,) = matrices("schur", a)
    check_square("schur", a)
    return tuple(lax.linalg.schur(a.astype(complex_dtype(a.dtype)) if output == "complex" else a))


@partial(jit, static_argnames=("check_finite",))
def rsf2csf(T, Z, check_finite: bool = True):
    """The complex Schur form ``(T, Z)`` of a real one: 2 by 2 blocks are made triangular by rotations.

    >>> import tracejit.numpy as jnp
    >>> rsf2csf(jnp.eye(2), jnp.eye(2))[0].dtype
    dtype('complex64')
    """
    T, Z = matrices("rsf2csf", T, Z)
    check_square("rsf2csf", T, Z)
    if T.shape[-1] != Z.shape[-1]:
        raise ValueError(f"rsf2csf: T and Z must have the same size, got {T.shape} and {Z.shape}")
    dtype = complex_dtype(T.dtype)
    rotate = jnp.vectorize(triangularized, signature="(n,n),(n,n)->(n,n),(n,n)")
    return rotate(T.astype(dtype), Z.astype(dtype))


def triangularized(t, z):
    n = t.shape[-1]
    for m in range(n - 1, 0, -1):
        t, z = rotated(t, z, m)
    return jnp.triu(t), z


def rotated(t, z, m: int):
    """Make t[m, m-1] zero by a rotation of rows and columns m-1 and m (Golub and Van Loan, section 7.4.1)."""
    (a, b), (c, d) = t[m - 1, m - 1:m + 1], t[m, m - 1:m + 1]
    shift = (a - d) / 2 + jnp.sqrt(((a - d) / 2) ** 2 + b * c)
    length = jnp.sqrt(jnp.abs(shift) ** 2 + jnp.abs(c) ** 2)
    done = jnp.abs(c) == 0
    length = jnp.where(done, 1, length).astype(t.dtype)
    cosine, sine = jnp.where(done, 1, shift / length), jnp.where(done, 0, c / length)
    rotation = jnp.array([[jnp.conj(cosine), sine], [-sine, cosine]])
    t = t.at[m - 1:m + 1].set(rotation @ t[m - 1:m + 1])
    t = t.at[:, m - 1:m + 1].set(t[:, m - 1:m + 1] @ adjoint(rotation))
    return t, z.at[:, m - 1:m + 1].set(z[:, m - 1:m + 1] @ adjoint(rotation))


@partial(jit, static_argnames=("method", "tol"))
def solve_sylvester(A, B, C, *, method: str = "schur", tol: float = 1e-8):
    """The solution X of ``A X + X B = C``, for square A and B; nan where A and -B have a (nearly) common eigenvalue.

    Bartels and Stewart (1972) with ``method='schur'``, or the eigendecompositions of A and B with 'eigen'.

    >>> import tracejit.numpy as jnp
    >>> print(solve_sylvester(jnp.array([[1.0]]), jnp.array([[2.0]]), jnp.array([[6.0]])))
    [[2.]]
    """
    if method not in ("schur", "eigen"):
        raise ValueError(f"solve_sylvester: method must be 'schur' or 'eigen', got {method!r}")
    A, B, C = matrices("solve_sylvester", A, B, C)
    check_square("solve_sylvester", A, B)
    m, n = C.shape[-2:]
    if A.shape[-1] != m or B.shape[-1] != n:
        raise ValueError(f"solve_sylvester takes A [m, m], B [n, n] and C [m, n], got {A.shape}, {B.shape} and "
                         f"{C.shape}")
    return sylvester(method, tol, A, B, C)


@partial(custom_jvp, nondiff_argnums=(0, 1))
def sylvester(method, tol, A, B, C):
    solver = bartels_stewart if method == "schur" else by_eigenvectors
    X = jnp.vectorize(partial(solver, tol=tol), signature="(m,m),(n,n),(m,n)->(m,n)")(A, B, C)
    return X if jnp.issubdtype(C.dtype, np.complexfloating) else X.real


@sylvester.defjvp
def _(method, tol, primals, tangents):
    (A, B, C), (dA, dB, dC) = primals, tangents
    X = sylvester(method, tol, A, B, C)
    return X, sylvester(method, tol, A, B, dC - dA @ X - X @ dB)


def bartels_stewart(A, B, C, tol):
    (R, U), (S, V) = schur(A, "complex"), schur(B, "complex")
    F = adjoint(U) @ C.astype(R.dtype) @ V
    identity = jnp.eye(R.shape[0], dtype=R.dtype)

    def column(k, Y):
        # Columns not yet solved are zero, so that the product takes the solved ones alone.
        right = lax.dynamic_index_in_dim(F - Y @ S, k, 1, keepdims=False)
        y = solve_triangular(R + identity * S[k, k], right)
        return lax.dynamic_update_index_in_dim(Y, y, k, 1)

    Y = lax.fori_loop(0, S.shape[0], column, jnp.zeros_like(F))
    return jnp.where(apart(jnp.diagonal(R), jnp.diagonal(S), tol), U @ Y @ adjoint(V), math.nan)


def by_eigenvectors(A, B, C, tol):
    (a, P), (b, Q) = jnp.linalg.eig(A), jnp.linalg.eig(B)
    inner = jnp.linalg.solve(P, C.astype(P.dtype) @ Q) / (a[:, None] + b[None])
    return jnp.where(apart(a, b, tol), P @ jnp.linalg.solve(Q.T, inner.T).T, math.nan)


def apart(a, b, tol):
    return jnp.abs(a[:, None] + b[None]).min(initial=math.inf) >= tol

"""Krylov solvers: a matrix-vector product and a right-hand side -> the solution, differentiable in both.

Operators and right-hand sides may be pytrees of arrays. Derivatives are those of the solution, obtained by another
solve, not those of the iteration.
"""
from __future__ import annotations

import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.flatten_util import ravel_pytree
from tracejit.tree_util import tree_map, tree_structure


def product_with(A, name: str):
    """The function v -> A v of a function or a square matrix."""
    if callable(A):
        return A
    if not hasattr(A, "__matmul__"):
        raise TypeError(f"{name} takes a function or a square matrix as operator, got {type(A).__name__}")
    if len(A.shape) != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(f"{name} takes a square matrix as operator, got shape {A.shape}")
    return partial(operator.matmul, A)


def solved(name: str, iterate, A, b, x0, M, maxiter, symmetric: bool):
    """Solve on flat vectors, as `lax.custom_linear_solve` so that derivatives are solves too."""
    b = tree_map(jnp.asarray, b)
    x0 = tree_map(jnp.zeros_like, b) if x0 is None else tree_map(jnp.asarray, x0)
    if tree_structure(x0) != tree_structure(b):
        raise ValueError(f"{name}: x0 and b must have the same tree structure: {tree_structure(x0)}, "
                         f"{tree_structure(b)}")
    if tree_map(np.shape, x0) != tree_map(np.shape, b):
        raise ValueError(f"{name}: x0 and b must have the same shapes")
    right, unravel = ravel_pytree(b)
    start = ravel_pytree(x0)[0].astype(right.dtype)

    def on_vectors(function):
        return lambda v: ravel_pytree(function(unravel(v)))[0]

    apply = on_vectors(product_with(A, name))
    precondition = (lambda v: v) if M is None else on_vectors(product_with(M, name))
    limit = 10 * right.size if maxiter is None else maxiter

    def solve(matvec, vector):
        return iterate(matvec, vector, start, precondition, limit)

    symmetric = symmetric and not jnp.issubdtype(right.dtype, np.complexfloating)
    x = lax.custom_linear_solve(apply, right, solve=solve, transpose_solve=solve, symmetric=symmetric)
    return unravel(x), None


def square_of(v):
    return jnp.vdot(v, v).real


def cg(A, b, x0=None, *, tol=1e-5, atol=0.0, maxiter=None, M=None):
    """``(x, None)`` with ``A x = b`` for a Hermitian positive definite A, by conjugate gradients (Hestenes, Stiefel,
    1952).

    Args:
      A: a function v -> A v or a square matrix; M: likewise, an approximate inverse of A.
      b: the right-hand side, a vector or a pytree of arrays; x0: where to start (default: 0).
      tol, atol: stop when the residual's norm is below ``max(tol norm(b), atol)``; maxiter: or after so many steps
        (default: 10 times the size of b).

    >>> import tracejit.numpy as jnp
    >>> print(cg(jnp.array([[4.0]]), jnp.array([2.0]))[0])
    [0.5]
    """
    def iterate(matvec, b, x, precondition, limit):
        goal = jnp.maximum(tol * tol * square_of(b), atol * atol)

        def step(state):
            x, r, p, gamma, k = state
            product = matvec(p)
            alpha = gamma / jnp.vdot(p, product)
            x, r = x + alpha * p, r - alpha * product
            z = precondition(r)
            new = jnp.vdot(r, z)
            return x, r, z + new / gamma * p, new, k + 1

        r = b - matvec(x)
        z = precondition(r)
        start = x, r, z, jnp.vdot(r, z), 0
        return lax.while_loop(lambda s: (square_of(s[1]) > goal) & (s[4] < limit), step, start)[0]

    return solved("cg", iterate, A, b, x0, M, maxiter, symmetric=True)


def bicgstab(A, b, x0=None, *, tol=1e-5, atol=0.0, maxiter=None, M=None):
    """``(x, None)`` with ``A x = b`` by the stabilised biconjugate gradient method (van der Vorst, 1992); see `cg`.

    >>> import tracejit.numpy as jnp
    >>> print(bicgstab(jnp.array([[4.0]]), jnp.array([2.0]))[0])
    [0.5]
    """
    def iterate(matvec, b, x, precondition, limit):
        goal = jnp.maximum(tol * tol * square_of(b), atol * atol)

        def step(state):
            x, r, p, v, rho, alpha, omega, k, _ = state
            new_rho = jnp.vdot(shadow, r)
            p = r + new_rho / rho * (alpha / omega) * (p - omega * v)
            direction = precondition(p)
            v = matvec(direction)
            alpha = new_rho / jnp.vdot(shadow, v)
            s = r - alpha * v
            second = precondition(s)
            t = matvec(second)
            omega = jnp.vdot(t, s) / jnp.vdot(t, t)
            early = square_of(s) <= goal
            x = x + alpha * direction + jnp.where(early, 0, omega * second)
            broken = (new_rho == 0) | (alpha == 0) | (omega == 0)
            return x, jnp.where(early, s, s - omega * t), p, v, new_rho, alpha, omega, k + 1, broken

        shadow = r = b - matvec(x)
        one, nothing = jnp.ones((), b.dtype), jnp.zeros_like(b)
        start = x, r, nothing, nothing, one, one, one, 0, jnp.asarray(False)
        return lax.while_loop(lambda s: (square_of(s[1]) > goal) & (s[7] < limit) & ~s[8], step, start)[0]

    return solved("bicgstab", iterate, A, b, x0, M, maxiter, symmetric=False)


def gmres(A, b, x0=None, *, tol=1e-5, atol=0.0, restart: int = 20, maxiter=None, M=None, solve_method: str = "batched"):
    """``(x, 0)`` with ``A x = b``, ``(x, -1)`` where x is nan, by the generalised minimal residual method; see `cg`.

    The method is that of Saad and Schultz (1986). Each of up to ``maxiter`` cycles builds a Krylov basis of ``restart``
    vectors. ``solve_method`` 'batched' or 'incremental' is accepted as in JAX; both solve the small least-squares problem
    once per cycle.

    >>> import tracejit.numpy as jnp
    >>> print(gmres(jnp.array([[4.0]]), jnp.array([2.0]))[0])
    [0.5]
    """
    if solve_method not in ("batched", "incremental"):
        raise ValueError(f"gmres: solve_method must be 'batched' or 'incremental', got {solve_method!r}")

    def iterate(matvec, b, x, precondition, limit):
        goal = jnp.maximum(tol * jnp.sqrt(square_of(precondition(b))), atol)
        size = min(restart, b.size)

        def residual(x):
            return precondition(b - matvec(x))

        def cycle(state):
            x, r, k = state
            x = x + krylov_correction(lambda v: precondition(matvec(v)), r, size)
            return x, residual(x), k + 1

        start = x, residual(x), 0
        return lax.while_loop(lambda s: (jnp.sqrt(square_of(s[1])) > goal) & (s[2] < limit), cycle, start)[0]

    x, _ = solved("gmres", iterate, A, b, x0, M, maxiter, symmetric=False)
    failed = jnp.isnan(ravel_pytree(x)[0]).any()
    return x, jnp.where(failed, -1, 0)


def krylov_correction(matvec, r, size: int):
    """The vector in span(r, A r, ...) of the given size that makes r - A x smallest, by Arnoldi's method."""
    norm = jnp.sqrt(square_of(r))
    basis = jnp.zeros((size + 1, r.size), r.dtype).at[0].set(r / jnp.where(norm > 0, norm, 1))
    hessenberg = jnp.zeros((size + 1, size), r.dtype)

    def extend(k, state):
        basis, hessenberg = state
        v = matvec(basis[k])
        length = jnp.sqrt(square_of(v))
        # Orthogonalised twice: once leaves rounding errors along the basis.
        first = jnp.conj(basis) @ v
        v = v - first @ basis
        second = jnp.conj(basis) @ v
        v = v - second @ basis
        left = jnp.sqrt(square_of(v))
        # Nothing left: the basis already spans the solution.
        kept = left > float(jnp.finfo(r.dtype).eps) * length
        column = (first + second).at[k + 1].set(jnp.where(kept, left, 0))
        return basis.at[k + 1].set(jnp.where(kept, v / jnp.where(kept, left, 1), 0)), hessenberg.at[:, k].set(column)

    basis, hessenberg = lax.fori_loop(0, size, extend, (basis, hessenberg))
    target = jnp.zeros(size + 1, r.dtype).at[0].set(norm)
    return jnp.linalg.lstsq(hessenberg, target)[0] @ basis[:-1]

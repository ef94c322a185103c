"""Functions of matrices: exponential, its derivative, square root, general functions through the Schur form."""
from __future__ import annotations

import math
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, jvp, lax

from .eigen import rsf2csf, schur, sylvester
from .factorize import adjoint, check_square, matrices
from .solve import solve_triangular


def pade_coefficients(degree: int) -> list[float]:
    """Numerator of the diagonal Pade approximant of exp, lowest power first, scaled to integers."""
    factorial = math.factorial
    return [factorial(2 * degree - k) * factorial(degree) // (factorial(k) * factorial(degree - k)) / factorial(degree)
            for k in range(degree + 1)]


# Higham, "The scaling and squaring method for the matrix exponential revisited" (2005): the largest 1-norm for which
# the approximant of this degree is as good as the dtype.
SINGLE, DOUBLE = (7, 3.925724783138660), (13, 5.371920351148152)


@partial(jit, static_argnames=("upper_triangular", "max_squarings"))
def expm(A, *, upper_triangular: bool = False, max_squarings: int = 16):
    """The exponential of square matrices, by scaling and squaring of a Pade approximant (Higham, 2005).

    nan where the norm would need more than ``max_squarings`` squarings. ``upper_triangular`` promises such an A.

    >>> import tracejit.numpy as jnp
    >>> print(expm(jnp.zeros((2, 2))))
    [[1. 0.]
     [0. 1.]]
    """
    (A,) = matrices("expm", A)
    check_square("expm", A)
    degree, theta = DOUBLE if A.dtype.itemsize == (16 if jnp.issubdtype(A.dtype, np.complexfloating) else 8) else SINGLE
    norm = jnp.abs(A).sum(-2).max(-1, initial=0)
    squarings = jnp.maximum(0, jnp.ceil(jnp.log2(jnp.maximum(lax.stop_gradient(norm), 1e-30) / theta)))
    scaled = A * jnp.exp2(-jnp.minimum(squarings, max_squarings + 1)).astype(A.dtype)[..., None, None]
    even, odd = pade(scaled, degree)
    solve = solve_triangular if upper_triangular else jnp.linalg.solve
    power = solve(even - odd, even + odd)

    def square(i, power):
        left = i < squarings
        again = lax.cond(left.any(), lambda x: x @ x, lambda x: x, power)
        return jnp.where(left[..., None, None], again, power)

    power = lax.fori_loop(0, max_squarings, square, power)
    return jnp.where((squarings > max_squarings)[..., None, None], math.nan, power)


def pade(a, degree):
    """Even and odd parts of the approximant's numerator."""
    coefficients = pade_coefficients(degree)
    square, power = a @ a, jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    even, odd = coefficients[0] * power, coefficients[1] * power
    for k in range(2, degree + 1, 2):
        power = square if k == 2 else power @ square
        even = even + coefficients[k] * power
        odd = odd + coefficients[k + 1] * power
    return even, a @ odd


@partial(jit, static_argnames=("method", "compute_expm"))
def expm_frechet(A, E, *, method=None, compute_expm: bool = True):
    """``(exp(A), L)``, L the derivative of the matrix exponential at A in the direction E; L alone without
    ``compute_expm``.

    >>> import tracejit.numpy as jnp
    >>> print(expm_frechet(jnp.zeros((1, 1)), jnp.ones((1, 1)), compute_expm=False))
    [[1.]]
    """
    if method not in (None, "SPS", "blockEnlarge"):
        raise ValueError(f"expm_frechet: method must be None, 'SPS' or 'blockEnlarge', got {method!r}")
    A, E = matrices("expm_frechet", A, E)
    check_square("expm_frechet", A, E)
    if A.shape != E.shape:
        raise ValueError(f"expm_frechet: A and E must have the same shape, got {A.shape} and {E.shape}")
    value, derivative = jvp(expm, (A,), (E,))
    return (value, derivative) if compute_expm else derivative


@partial(jit, static_argnames=("blocksize",))
def sqrtm(A, blocksize: int = 1):
    """The principal square root of square matrices, complex, through the Schur form (Bjoerck and Hammarling, 1983).

    >>> import tracejit.numpy as jnp
    >>> print(sqrtm(jnp.array([[4.0]])).real)
    [[2.]]
    """
    if blocksize > 1:
        raise NotImplementedError("sqrtm: blocksize must be 1")
    (A,) = matrices("sqrtm", A)
    check_square("sqrtm", A)
    return root(A)


@custom_jvp
def root(A):
    T, Z = schur(A, "complex")
    return Z @ jnp.vectorize(triangular_root, signature="(n,n)->(n,n)")(T) @ adjoint(Z)


@root.defjvp
def _(primals, tangents):
    X = root(primals[0])
    return X, sylvester("schur", 0.0, X, X, tangents[0].astype(X.dtype))


def triangular_root(T):
    n = T.shape[-1]
    diagonal = jnp.sqrt(jnp.diagonal(T))
    identity, rows = jnp.eye(n, dtype=T.dtype), jnp.arange(n)

    def column(j, root):
        # Above row j the column r solves (root + root[j, j]) r = T[:, j]; the rows from j on are left out.
        above = rows < j
        system = jnp.where(above[:, None] & above[None], root + identity * diagonal[j], identity)
        right = jnp.where(above, lax.dynamic_index_in_dim(T, j, 1, keepdims=False), 0)
        solved = solve_triangular(system, right) + jnp.where(rows == j, diagonal, 0)
        return lax.dynamic_update_index_in_dim(root, solved, j, 1)

    return lax.fori_loop(0, n, column, jnp.zeros_like(T))


def funm(A, func, disp: bool = True):
    """``func`` of a square matrix, complex, by Parlett's recurrence on its Schur form; poor where eigenvalues are
    close.

    ``func`` maps an array of eigenvalues elementwise. Without ``disp`` the pair (result, estimated relative error).

    >>> import tracejit.numpy as jnp
    >>> print(funm(jnp.array([[4.0]]), jnp.sqrt).real)
    [[2.]]
    """
    (A,) = matrices("funm", A)
    if A.ndim != 2:
        raise ValueError(f"funm takes one square matrix, got shape {A.shape}")
    check_square("funm", A)
    T, Z = rsf2csf(*schur(A))
    F, smallest = parlett(T, func(jnp.diagonal(T)).astype(T.dtype))
    F = Z @ F @ adjoint(Z)
    if disp:
        return F
    tolerance = float(jnp.finfo(F.dtype).eps)
    smallest = jnp.where(smallest == 0, tolerance, smallest)
    error = jnp.clip(tolerance / smallest * jnp.linalg.norm(jnp.triu(T, 1), 1), tolerance, 1)
    return F, jnp.where(jnp.isinf(F).any(), math.inf, error)


@jit
def parlett(T, values):
    """f(T) from f of its diagonal, one superdiagonal after the other, and the smallest difference divided by."""
    n = T.shape[0]
    strict, eigenvalues = jnp.triu(T, 1), jnp.diagonal(T)
    gaps = eigenvalues[None] - eigenvalues[:, None]
    safe = jnp.where(gaps == 0, 1, gaps)
    offset = jnp.arange(n)[None] - jnp.arange(n)[:, None]

    def superdiagonal(p, F):
        # Entries of F farther from the diagonal are still zero, and those nearer are all that is needed.
        terms = strict * (values[None] - values[:, None]) + strict @ F - F @ strict
        return jnp.where(offset == p, terms / safe, F)

    F = lax.fori_loop(1, n, superdiagonal, jnp.zeros_like(T)) + jnp.diag(values)
    first = jnp.abs(eigenvalues[:1]).min(initial=math.inf)
    return F, jnp.minimum(first, jnp.where(offset > 0, jnp.abs(gaps), math.inf).min(initial=math.inf))

"""Systems of linear equations: triangular, general, positive definite, Sylvester; inverse and determinant."""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import promote_dtypes_inexact

TRANSPOSES = {0: "N", 1: "T", 2: "C", "N": "N", "T": "T", "C": "C"}
STRUCTURES = ("gen", "sym", "her", "pos")


@partial(jit, static_argnames=("trans", "lower", "unit_diagonal", "overwrite_b", "debug", "check_finite"))
def solve_triangular(a, b, trans=0, lower: bool = False, unit_diagonal: bool = False, overwrite_b: bool = False,
                     debug=None, check_finite: bool = True):
    """The solution x of ``a x = b`` for a triangular ``a [..., n, n]``, of which the other triangle is not read.

    ``b`` is ``[..., n]`` (one axis fewer than a) or ``[..., n, k]``. ``trans`` 1 or 'T' solves with a^T, 2 or 'C' with
    a^H. ``unit_diagonal`` takes the diagonal of a as 1.

    >>> import tracejit.numpy as jnp
    >>> print(solve_triangular(jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([3.0, 4.0])))
    [1. 1.]
    """
    if trans not in TRANSPOSES:
        raise ValueError(f"solve_triangular: trans must be 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    a, b = (jnp.asarray(x) for x in promote_dtypes_inexact("solve_triangular", jnp.asarray(a), jnp.asarray(b)))
    vector = b.ndim == a.ndim - 1
    x = b[..., None] if vector else b
    batch = np.broadcast_shapes(a.shape[:-2], x.shape[:-2])
    a, x = (jnp.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (a, x))
    code = TRANSPOSES[trans]
    out = lax.linalg.triangular_solve(a, x, left_side=True, lower=lower, transpose_a=code != "N",
                                      conjugate_a=code == "C", unit_diagonal=unit_diagonal)
    return out[..., 0] if vector else out


@partial(jit, static_argnames=("lower", "overwrite_a", "overwrite_b", "debug", "check_finite", "assume_a"))
def solve(a, b, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False, debug: bool = False,
          check_finite: bool = True, assume_a: str = "gen"):
    """The solution x of ``a x = b`` for square ``a``; b is ``[..., n]`` or ``[..., n, k]``.

    ``assume_a='pos'`` promises a positive definite a, of which the upper (``lower``: lower) triangle is read.

    >>> import tracejit.numpy as jnp
    >>> print(solve(jnp.array([[2.0]]), jnp.array([3.0])))
    [1.5]
    """
    if assume_a not in STRUCTURES:
        raise ValueError(f"solve: assume_a must be one of {STRUCTURES}, got {assume_a!r}")
    if assume_a != "pos":
        a, b = jnp.asarray(a), jnp.asarray(b)
        return jnp.linalg.solve(a, b[..., None])[..., 0] if b.ndim == a.ndim - 1 else jnp.linalg.solve(a, b)
    a, b = (jnp.asarray(x) for x in promote_dtypes_inexact("solve", jnp.asarray(a), jnp.asarray(b)))
    triangle = a if lower else jnp.conj(jnp.swapaxes(a, -1, -2))
    factor = lax.linalg.cholesky(triangle, symmetrize_input=False)
    return solve_triangular(factor, solve_triangular(factor, b, lower=True), trans=2, lower=True)


@partial(jit, static_argnames=("overwrite_a", "check_finite"))
def inv(a, overwrite_a: bool = False, check_finite: bool = True):
    """The inverse of square matrices.

    >>> import tracejit.numpy as jnp
    >>> print(inv(jnp.array([[2.0]])))
    [[0.5]]
    """
    return jnp.linalg.inv(a)


@partial(jit, static_argnames=("overwrite_a", "check_finite"))
def det(a, overwrite_a: bool = False, check_finite: bool = True):
    """The determinant of square matrices.

    >>> import tracejit.numpy as jnp
    >>> print(det(jnp.array([[2.0]])))
    2.0
    """
    return jnp.linalg.det(a)

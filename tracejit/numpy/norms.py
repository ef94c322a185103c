"""Maps vectors and (stacks of) matrices to norms and condition numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.numpy import manipulation, reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.matrices import as_matrices, as_square, inv, svdvals
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    canonical_axes,
    check_arraylike,
    convert,
    literal,
    promote_dtypes_inexact,
)
from tracejit.numpy.selection import choose_by


@compiled
def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """The norm of vectors (one axis) or matrices (two axes), by any `ord` of numpy.linalg.norm.

    >>> jnp.linalg.norm(jnp.array([3.0, 4.0]))
    Array(5., dtype=float32)
    """
    check_arraylike("jnp.linalg.norm", x)
    x = as_array(promote_dtypes_inexact("norm", x)[0])
    if axis is None:
        if ord is None:
            return _root_of_squares(x, tuple(range(x.ndim)), keepdims)
        axes = tuple(range(x.ndim))
    else:
        axes = canonical_axes(axis, x.ndim)
    if len(axes) == 1:
        return vector_norm(x, ord=2 if ord is None else ord, axis=axes, keepdims=keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)
    raise ValueError(
        f"Improper number of axes for norm: axes={axes}. Pass one axis to compute a vector-norm, or two axes to "
        "compute a matrix-norm."
    )


def _root_of_squares(x: Array, axes: Any, keepdims: bool) -> Array:
    squares = lax.square(x) if x.dtype.kind != "c" else lax.real(lax.mul(x, lax.conj(x)))
    return lax.sqrt(reductions.sum(squares, axes, keepdims=keepdims))


@compiled
def vector_norm(x: ArrayLike, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norm of vectors along axes (of the flattened array if None).

    >>> jnp.linalg.vector_norm(jnp.array([3.0, -4.0]), ord=1)
    Array(7., dtype=float32)
    """
    check_arraylike("jnp.linalg.vector_norm", x)
    x = as_array(promote_dtypes_inexact("vector_norm", x)[0])
    axes = canonical_axes(axis, x.ndim)
    fold = lambda v, reduce: reduce(v, axes, keepdims=keepdims)
    if ord is None or ord == 2:
        return _root_of_squares(x, axes, keepdims)
    if isinstance(ord, str):
        raise ValueError(f"Invalid order '{ord}' for vector norm.")
    size = lax.abs(x)
    if ord == np.inf:
        return fold(size, reductions.max)
    if ord == -np.inf:
        return fold(size, reductions.min)
    if ord == 0:
        return reductions.sum(lax.ne(x, literal(0, x.dtype)), axes, dtype=size.dtype, keepdims=keepdims)
    if ord == 1:
        return fold(size, reductions.sum)
    power = convert(ord, size.dtype)
    return lax.pow(fold(lax.pow(size, power), reductions.sum), lax.div(literal(1, size.dtype), power))


@compiled
def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of the matrices in the last two axes.

    >>> jnp.linalg.matrix_norm(jnp.array([[3.0, 0.0], [0.0, 4.0]]), ord=2)
    Array(4., dtype=float32)
    """
    (x,) = as_matrices("matrix_norm", x)
    return _matrix_norm(x, ord, (x.ndim - 2, x.ndim - 1), keepdims)


def _matrix_norm(x: Array, ord: Any, axes: tuple[int, int], keepdims: bool) -> Array:
    row, column = axes
    if row == column:
        raise ValueError(f"Duplicate axes given: {axes}")
    if ord in ("fro", "f"):
        return _root_of_squares(x, axes, keepdims)
    best = {1: reductions.max, -1: reductions.min, np.inf: reductions.max, -np.inf: reductions.min}
    if ord in best:
        first, second = (row, column) if abs(ord) == 1 else (column, row)
        return (
            best[ord](reductions.sum(lax.abs(x), first, keepdims=True), second, keepdims=True)
            if keepdims
            else best[ord](reductions.sum(lax.abs(x), first), second - (second > first))
        )
    if ord not in (2, -2, "nuc"):
        raise ValueError(f"Invalid order '{ord}' for matrix norm.")
    s = svdvals(manipulation.moveaxis(x, axes, (-2, -1)))
    out = {2: reductions.max, -2: reductions.min, "nuc": reductions.sum}[ord](s, -1)
    return manipulation.expand_dims(out, axes) if keepdims else out


@compiled
def cond(x: ArrayLike, p: Any = None) -> Array:
    """The condition number: the norm of x times that of its inverse; by singular values for p None, 2 and -2.

    >>> jnp.linalg.cond(jnp.array([[2.0, 0.0], [0.0, 1.0]]))
    Array(2., dtype=float32)
    """
    (x,) = as_matrices("cond", x)
    if x.size == 0:
        raise ValueError(f"jnp.linalg.cond: input array must not be empty; got {x.shape}")
    if p in (None, 2, -2):
        s = svdvals(x)
        ratio = (s[..., 0], s[..., -1]) if p != -2 else (s[..., -1], s[..., 0])
        out = lax.div(*ratio)
    else:
        x = as_square("cond", x)
        out = lax.mul(norm(x, p, (-2, -1)), norm(inv(x), p, (-2, -1)))
    has_nan = reductions.any(lax.ne(x, x), (-2, -1))
    return choose_by(lax.bitwise_and(lax.ne(out, out), lax.bitwise_not(has_nan)), lax.full_like(out, np.inf), out)

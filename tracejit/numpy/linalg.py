"""jax.numpy.linalg: factorizations, solutions, norms and products of (stacks of) matrices."""

# ruff: noqa: F401  (imported names are public here)
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.numpy import linear, manipulation
from tracejit.numpy.matrices import (
    EighResult,
    EigResult,
    QRResult,
    SlogdetResult,
    SVDResult,
    cholesky,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    lstsq,
    matrix_power,
    matrix_rank,
    pinv,
    qr,
    slogdet,
    solve,
    svd,
    svdvals,
)
from tracejit.numpy.norms import cond, matrix_norm, norm, vector_norm
from tracejit.numpy.promotion import Array, ArrayLike, DTypeLike, as_array, check_arraylike


def matmul(
    x1: ArrayLike, x2: ArrayLike, /, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """As jnp.matmul.

    >>> jnp.linalg.matmul(jnp.ones((1, 2)), jnp.ones((2, 1)))
    Array([[2.]], dtype=float32)
    """
    return linear.matmul(x1, x2, precision=precision, preferred_element_type=preferred_element_type)


def vecdot(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """As jnp.vecdot.

    >>> jnp.linalg.vecdot(jnp.array([1, 2]), jnp.array([3, 4]))
    Array(11, dtype=int32)
    """
    return linear.vecdot(x1, x2, axis=axis, precision=precision, preferred_element_type=preferred_element_type)


def tensordot(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    axes: Any = 2,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """As jnp.tensordot.

    >>> jnp.linalg.tensordot(jnp.ones((2, 2)), jnp.ones((2, 2)))
    Array(4., dtype=float32)
    """
    return linear.tensordot(x1, x2, axes, precision=precision, preferred_element_type=preferred_element_type)


def matrix_transpose(x: ArrayLike, /) -> Array:
    """As jnp.matrix_transpose.

    >>> jnp.linalg.matrix_transpose(jnp.ones((1, 2))).shape
    (2, 1)
    """
    return manipulation.matrix_transpose(x)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The products of every pair of elements of two vectors.

    >>> jnp.linalg.outer(jnp.array([1, 2]), jnp.array([3, 4])).shape
    (2, 2)
    """
    check_arraylike("jnp.linalg.outer", x1, x2)
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError(
            f"Input arrays must be one-dimensional, but they are x1.ndim={np.ndim(x1)} x2.ndim={np.ndim(x2)}"
        )
    return linear.outer(x1, x2)


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of 3 components.

    >>> jnp.linalg.cross(jnp.array([1, 0, 0]), jnp.array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    check_arraylike("jnp.linalg.cross", x1, x2)
    if np.shape(x1)[axis] != 3 or np.shape(x2)[axis] != 3:
        raise ValueError(
            f"Both input arrays must be (arrays of) 3-dimensional vectors, but they have shape {np.shape(x1)[axis]=} "
            f"and {np.shape(x2)[axis]=}"
        )
    return linear.cross(x1, x2, axis=axis)


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Array:
    """The diagonals of the matrices in the last two axes.

    >>> jnp.linalg.diagonal(jnp.array([[1, 2], [3, 4]]))
    Array([1, 4], dtype=int32)
    """
    return linear.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Array:
    """The traces of the matrices in the last two axes.

    >>> jnp.linalg.trace(jnp.array([[1, 2], [3, 4]]))
    Array(5, dtype=int32)
    """
    return linear.trace(x, offset, -2, -1, dtype)


def multi_dot(arrays: Sequence[ArrayLike], *, precision: Any = None) -> Array:
    """The product of several matrices in the cheapest order; the first and last may be vectors.

    >>> jnp.linalg.multi_dot([jnp.ones((2, 9)), jnp.ones((9, 9)), jnp.ones(9)]).shape
    (2,)
    """
    check_arraylike("jnp.linalg.multi_dot", *arrays)
    arrays = [as_array(x) for x in arrays]
    if len(arrays) < 2:
        raise ValueError(f"multi_dot requires at least two arrays; got len(arrays)={len(arrays)}")
    if not all(x.ndim in (1, 2) for x in (arrays[0], arrays[-1])) or not all(x.ndim == 2 for x in arrays[1:-1]):
        raise ValueError(
            f"multi_dot: input arrays must all be two-dimensional, except for the first and last array which may be "
            f"one-dimensional. Got array shapes {[x.shape for x in arrays]}"
        )
    rows = [1 if arrays[0].ndim == 1 else arrays[0].shape[0]]
    sizes = rows + [x.shape[0] for x in arrays[1:]] + [1 if arrays[-1].ndim == 1 else arrays[-1].shape[1]]
    if any(a.shape[-1] != b.shape[0] for a, b in zip(arrays[:-1], arrays[1:], strict=True)):
        raise ValueError(
            f"multi_dot: last dimension of each array must match first dimension of following array. Got array shapes "
            f"{[x.shape for x in arrays]}"
        )
    return _chain(arrays, _cheapest_cuts(sizes), 0, len(arrays) - 1, precision)


def _cheapest_cuts(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut each run of matrices: dynamic programming over runs of rising length."""
    n = len(sizes) - 1
    cost, cut = {(i, i): 0 for i in range(n)}, {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [(cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i, j], cut[i, j] = min(options)
    return cut


def _chain(arrays: list[Array], cut: dict, i: int, j: int, precision: Any) -> Array:
    if i == j:
        return arrays[i]
    k = cut[i, j]
    return linear.dot(
        _chain(arrays, cut, i, k, precision), _chain(arrays, cut, k + 1, j, precision), precision=precision
    )


def tensorinv(a: ArrayLike, ind: int = 2) -> Array:
    """The inverse for tensordot over the first `ind` axes.

    >>> jnp.linalg.tensorinv(jnp.eye(4).reshape(2, 2, 4)).shape
    (4, 2, 2)
    """
    check_arraylike("jnp.linalg.tensorinv", a)
    a = as_array(a)
    if ind <= 0:
        raise ValueError(f"ind must be a positive integer; got ind={ind}")
    left, right = a.shape[:ind], a.shape[ind:]
    if math.prod(left) != math.prod(right):
        raise ValueError(f"product of dimensions before and after ind={ind} must be equal. Got {left} and {right}")
    return lax.reshape(inv(lax.reshape(a, (math.prod(left), math.prod(right)))), (*right, *left))


def tensorsolve(a: ArrayLike, b: ArrayLike, axes: tuple[int, ...] | None = None) -> Array:
    """x with tensordot(a, x, x.ndim) = b; `axes` of a are moved to the end first.

    >>> jnp.linalg.tensorsolve(jnp.eye(4).reshape(2, 2, 4), jnp.ones((2, 2))).shape
    (4,)
    """
    check_arraylike("jnp.linalg.tensorsolve", a, b)
    a, b = as_array(a), as_array(b)
    if axes is not None:
        a = manipulation.moveaxis(a, axes, tuple(range(a.ndim - len(axes), a.ndim)))
    rest = a.shape[b.ndim :]
    if a.shape[: b.ndim] != b.shape or math.prod(rest) != b.size:
        raise ValueError(
            f"After moving axes to end, leading shape of a must match shape of b. got {a.shape} and {b.shape}"
        )
    return lax.reshape(solve(lax.reshape(a, (b.size, b.size)), lax.reshape(b, (b.size,))), rest)

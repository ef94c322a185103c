"""Maps arrays to products of vectors, matrices and tensors, and to diagonals and triangles."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import requested_dtype
from tracejit.numpy import joining, manipulation, reductions
from tracejit.numpy.arithmetic import multiply
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import conjugate
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    axes_given,
    canonical_axes,
    canonical_axis,
    check_arraylike,
    check_no_out,
    concrete_int,
    convert,
    expand_to,
    promote_dtypes,
    strong,
)
from tracejit.numpy.ranges import tri
from tracejit.numpy.selection import choose_by


def contract(
    name: str,
    a: ArrayLike,
    b: ArrayLike,
    contracting: tuple,
    batch: tuple = ((), ()),
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """dot_general of promoted arguments, with sizes checked."""
    a, b = (as_array(x) for x in promote_dtypes(name, a, b))
    for i, j in zip(contracting[0], contracting[1], strict=True):
        if a.shape[i] != b.shape[j]:
            raise ShapeError(
                f"{name}: dot_general requires contracting dimensions to have the same shape, got {a.shape} and "
                f"{b.shape}: axis {i} of the first is {a.shape[i]}, axis {j} of the second is {b.shape[j]}"
            )
    preferred = None if preferred_element_type is None else requested_dtype(preferred_element_type)
    return lax.dot_general(a, b, (contracting, batch), precision=precision, preferred_element_type=preferred)


@compiled
def dot(
    a: ArrayLike,
    b: ArrayLike,
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """Sums of products over the last axis of a and the second-last (or only) axis of b; scalars multiply.

    >>> jnp.dot(jnp.array([[1, 2], [3, 4]]), jnp.array([1, 1]))
    Array([3, 7], dtype=int32)
    """
    check_arraylike("dot", a, b)
    n, m = np.ndim(a), np.ndim(b)
    if n == 0 or m == 0:
        return _as_preferred(multiply(a, b), preferred_element_type)
    return contract(
        "dot", a, b, ((n - 1,), (max(m - 2, 0),)), precision=precision, preferred_element_type=preferred_element_type
    )


def _as_preferred(x: Array, dtype: DTypeLike | None) -> Array:
    return x if dtype is None else lax.convert_element_type(x, requested_dtype(dtype))


@compiled
def matmul(
    a: ArrayLike,
    b: ArrayLike,
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """The matrix product over the last two axes, broadcast over the others; vectors are rows left, columns right.

    >>> jnp.matmul(jnp.array([[1, 2], [3, 4]]), jnp.array([[1, 0], [0, 1]]))
    Array([[1, 2],
           [3, 4]], dtype=int32)
    """
    check_arraylike("matmul", a, b)
    for i, x in enumerate((a, b)):
        if np.ndim(x) < 1:
            raise ValueError(f"matmul input operand {i} must have ndim at least 1, but it has ndim {np.ndim(x)}")
    a, b = (as_array(x) for x in promote_dtypes("matmul", a, b))
    left_vector, right_vector = a.ndim == 1, b.ndim == 1
    if a.shape[-1] != b.shape[0 if right_vector else -2]:
        raise ShapeError(
            f"matmul: dot_general requires contracting dimensions to have the same shape, got {a.shape} and {b.shape}: "
            f"the first has {a.shape[-1]} columns, the second {b.shape[0 if right_vector else -2]} rows",
            fix="did you mean x @ y.T?" if b.ndim == 2 and b.shape[-1] == a.shape[-1] else
                f"the second must have {a.shape[-1]} rows")
    plan = _matmul_axes(a.shape[:-1] if left_vector else a.shape[:-2], b.shape[:-1] if right_vector else b.shape[:-2])
    return _matmul(a, b, plan, left_vector, right_vector, precision, preferred_element_type)


def _matmul_axes(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(left, right)
    except ValueError:
        raise ShapeError(f"matmul: batch axes {left} and {right} cannot be broadcast together") from None


def _matmul(
    a: Array,
    b: Array,
    batch: tuple[int, ...],
    left_vector: bool,
    right_vector: bool,
    precision: Any,
    preferred: DTypeLike | None,
) -> Array:
    """Axes shared by both are batch axes of dot_general; one that only one of them has stays a free axis."""
    a_core, b_core = (1 if left_vector else 2), (1 if right_vector else 2)
    rank = len(batch)
    a_batch = (1,) * (rank - (a.ndim - a_core)) + a.shape[: a.ndim - a_core]
    b_batch = (1,) * (rank - (b.ndim - b_core)) + b.shape[: b.ndim - b_core]
    shared = [i for i in range(rank) if a_batch[i] == b_batch[i]]
    a_axes = [i for i in range(rank) if a_batch[i] != 1 or i in shared]
    b_axes = [i for i in range(rank) if b_batch[i] != 1 or i in shared]
    a = _reshaped(a, tuple(a_batch[i] for i in a_axes) + a.shape[a.ndim - a_core :])
    b = _reshaped(b, tuple(b_batch[i] for i in b_axes) + b.shape[b.ndim - b_core :])
    contracting = ((a.ndim - 1,), (b.ndim - b_core,))
    batch_dims = (tuple(a_axes.index(i) for i in shared), tuple(b_axes.index(i) for i in shared))
    out = contract("matmul", a, b, contracting, batch_dims, precision, preferred)
    order_of = {("batch", i): k for k, i in enumerate(shared)}
    free = [("batch", i) for i in a_axes if i not in shared] + ([] if left_vector else ["row"])
    free += [("batch", i) for i in b_axes if i not in shared] + ([] if right_vector else ["column"])
    order_of.update({name: len(shared) + k for k, name in enumerate(free)})
    order = [order_of[("batch", i)] for i in range(rank) if ("batch", i) in order_of] + [
        order_of[n] for n in ("row", "column") if n in order_of
    ]
    out = manipulation.transpose(out, order) if order != list(range(out.ndim)) else out
    return _reshaped(out, (*batch, *out.shape[out.ndim - (not left_vector) - (not right_vector) :]))


def _reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    return x if x.shape == shape else lax.reshape(x, shape)


@compiled
def tensordot(
    a: ArrayLike,
    b: ArrayLike,
    axes: Any = 2,
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """Sums of products over the last axes of a and the first of b (axes: how many), or over named axes of both.

    >>> jnp.tensordot(jnp.ones((2, 3)), jnp.ones((3, 4)), 1).shape
    (2, 4)
    """
    check_arraylike("tensordot", a, b)
    n, m = np.ndim(a), np.ndim(b)
    if isinstance(axes, (tuple, list)):
        if len(axes) != 2:
            raise ValueError(f"axes tuple to jnp.tensordot must have length 2, got {axes}")
        if any(isinstance(x, str) for x in axes):
            raise TypeError(f"tensordot requires both axes lists to be either ints, tuples or lists, got {axes[0]} and {axes[1]}")
        left, right = map(axes_given, axes)
        if len(left) != len(right):
            raise ShapeError(f"tensordot requires axes lists to have equal length, got {axes[0]} and {axes[1]}.")
        pair = canonical_axes(tuple(left), n), canonical_axes(tuple(right), m)
    else:
        if not isinstance(axes, (int, np.integer)):
            raise TypeError("tensordot axes argument must be an int, a pair of ints, or a pair of lists/tuples of ints.")
        count = operator.index(axes)
        if count > min(n, m):
            raise TypeError(f"Number of tensordot axes (axes={count}) exceeds input ranks ({n} and {m})")
        pair = tuple(range(n - count, n)), tuple(range(count))
    return contract("tensordot", a, b, pair, precision=precision, preferred_element_type=preferred_element_type)


@compiled
def vdot(
    a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """The sum of conj(a) * b over all elements.

    >>> jnp.vdot(jnp.array([1, 2]), jnp.array([3, 4]))
    Array(11, dtype=int32)
    """
    check_arraylike("vdot", a, b)
    return dot(
        conjugate(manipulation.ravel(a)),
        manipulation.ravel(b),
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


@compiled
def vecdot(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The sums of conj(x1) * x2 along an axis, broadcast over the others.

    >>> jnp.vecdot(jnp.ones((2, 3)), jnp.ones(3))
    Array([3., 3.], dtype=float32)
    """
    check_arraylike("vecdot", x1, x2)
    x1, x2 = (manipulation.moveaxis(x, axis, -1) for x in (x1, x2))
    if x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"axes must match; got shapes {x1.shape} and {x2.shape} with axis={axis}")
    left, right = manipulation.expand_dims(conjugate(x1), -2), manipulation.expand_dims(x2, -1)
    out = matmul(left, right, precision=precision, preferred_element_type=preferred_element_type)
    return lax.reshape(out, out.shape[:-2])


@compiled
def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Matrices times vectors, broadcast over leading axes.

    >>> jnp.matvec(jnp.ones((2, 3)), jnp.ones((5, 3))).shape
    (5, 2)
    """
    check_arraylike("matvec", x1, x2)
    out = matmul(x1, manipulation.expand_dims(x2, -1))
    return lax.squeeze(out, (out.ndim - 1,))


@compiled
def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Conjugated vectors times matrices, broadcast over leading axes.

    >>> jnp.vecmat(jnp.ones((5, 2)), jnp.ones((2, 3))).shape
    (5, 3)
    """
    check_arraylike("vecmat", x1, x2)
    out = matmul(manipulation.expand_dims(conjugate(x1), -2), x2)
    return lax.squeeze(out, (out.ndim - 2,))


@compiled
def inner(
    a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """Sums of products over the last axes of both.

    >>> jnp.inner(jnp.array([1, 2]), jnp.array([3, 4]))
    Array(11, dtype=int32)
    """
    check_arraylike("inner", a, b)
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return _as_preferred(multiply(a, b), preferred_element_type)
    return tensordot(a, b, (-1, -1), precision=precision, preferred_element_type=preferred_element_type)


@compiled
def outer(a: ArrayLike, b: ArrayLike, out: None = None) -> Array:
    """Products of every pair of elements of two flattened arrays.

    >>> jnp.outer(jnp.array([1, 2]), jnp.array([3, 4]))
    Array([[3, 4],
           [6, 8]], dtype=int32)
    """
    check_no_out("outer", out)
    check_arraylike("outer", a, b)
    return multiply(lax.reshape(as_array(a), (np.size(a), 1)), lax.reshape(as_array(b), (1, np.size(b))))


@compiled
def kron(a: ArrayLike, b: ArrayLike) -> Array:
    """The Kronecker product: each element of a times the whole of b.

    >>> jnp.kron(jnp.array([1, 10]), jnp.array([1, 2]))
    Array([ 1,  2, 10, 20], dtype=int32)
    """
    check_arraylike("kron", a, b)
    a, b = as_array(a), as_array(b)
    rank = max(a.ndim, b.ndim)
    a, b = (lax.reshape(x, (1,) * (rank - x.ndim) + x.shape) for x in (a, b))
    product = multiply(
        lax.expand_dims(a, tuple(range(1, 2 * rank, 2))), lax.expand_dims(b, tuple(range(0, 2 * rank, 2)))
    )
    return lax.reshape(product, tuple(m * n for m, n in zip(a.shape, b.shape, strict=True)))


@compiled
def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """The cross product of vectors of 3 (or 2) components.

    >>> jnp.cross(jnp.array([1, 0, 0]), jnp.array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = (as_array(x) for x in promote_dtypes("cross", a, b))
    a, b = manipulation.moveaxis(a, axisa, -1), manipulation.moveaxis(b, axisb, -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError("Dimension must be either 2 or 3 for cross product")
    if a.shape[-1] == 2 and b.shape[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    batch = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    parts = [
        [expand_to(x[..., i], batch) if i < x.shape[-1] else lax.full(batch, 0, x.dtype) for i in range(3)]
        for x in (a, b)
    ]
    (a0, a1, a2), (b0, b1, b2) = parts
    return joining.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=axisc)


# --- diagonals and triangles -------------------------------------------------------------------------


@compiled
def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The offset-th diagonal of the planes of two axes, as a new last axis.

    >>> jnp.diagonal(jnp.array([[1, 2], [3, 4]]))
    Array([1, 4], dtype=int32)
    """
    check_arraylike("diagonal", a)
    if np.ndim(a) < 2:
        raise ValueError("diagonal requires an array of at least two dimensions.")
    offset = concrete_int(offset, "offset")
    x = manipulation.moveaxis(a, (axis1, axis2), (-2, -1))
    n = max(0, min(x.shape[-2] + min(offset, 0), x.shape[-1] - max(offset, 0)))
    steps = np.arange(n, dtype=np.int32)
    return x[..., steps - min(offset, 0), steps + max(offset, 0)]


@compiled
def diag(v: ArrayLike, k: int = 0) -> Array:
    """A matrix with v on its k-th diagonal, or the k-th diagonal of the matrix v.

    >>> jnp.diag(jnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    check_arraylike("diag", v)
    v, k = as_array(v), concrete_int(k, "k")
    if v.ndim == 2:
        return diagonal(v, offset=k)
    if v.ndim != 1:
        raise ValueError("diag input must be 1d or 2d")
    n = v.shape[0] + abs(k)
    zero = convert(0, v.dtype, v.weak_type)
    spread = lax.pad(v, zero, ((max(0, k), max(0, -k), 0),))
    rows, columns = (lax.broadcasted_iota(np.dtype("int32"), (n, n), i) for i in (0, 1))
    return choose_by(lax.eq(lax.add(rows, np.int32(k)), columns), lax.broadcast_in_dim(spread, (n, n), (1,)), zero)


def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """A matrix with the flattened v on its k-th diagonal.

    >>> jnp.diagflat(jnp.array([[1, 2]])).shape
    (2, 2)
    """
    return strong(diag(manipulation.ravel(v), k))


@compiled
def trace(
    a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DTypeLike | None = None, out: None = None
) -> Array:
    """The sum of a diagonal.

    >>> jnp.trace(jnp.array([[1, 2], [3, 4]]))
    Array(5, dtype=int32)
    """
    check_no_out("trace", out)
    check_arraylike("trace", a)
    if np.ndim(a) > 1 and canonical_axis(axis1, np.ndim(a)) == canonical_axis(axis2, np.ndim(a)):
        raise ValueError(f"axis1 and axis2 can not be same. axis1={axis1} and axis2={axis2}")
    return reductions.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def _triangle(name: str, m: ArrayLike, k: int) -> tuple[Array, Array]:
    check_arraylike(name, m)
    x = as_array(m)
    if x.ndim < 1:
        raise ValueError(f"Argument to jax.numpy.{name} must be at least 1D")
    if x.ndim == 1:
        x = expand_to(x, (x.shape[0], x.shape[0]))
    return x, expand_to(tri(*x.shape[-2:], k=k, dtype=bool), x.shape)


@compiled
def tril(m: ArrayLike, k: int = 0) -> Array:
    """Zero above the k-th diagonal.

    >>> jnp.tril(jnp.ones((2, 2), int))
    Array([[1, 0],
           [1, 1]], dtype=int32)
    """
    x, mask = _triangle("tril", m, k)
    return lax.select(mask, x, lax.full_like(x, 0))


@compiled
def triu(m: ArrayLike, k: int = 0) -> Array:
    """Zero below the k-th diagonal.

    >>> jnp.triu(jnp.ones((2, 2), int))
    Array([[1, 1],
           [0, 1]], dtype=int32)
    """
    x, mask = _triangle("triu", m, k - 1)
    return lax.select(mask, lax.full_like(x, 0), x)


@compiled
def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Array:
    """Powers of x as columns.

    >>> jnp.vander(jnp.array([1, 2, 3]), 3)
    Array([[1, 1, 1],
           [4, 2, 1],
           [9, 3, 1]], dtype=int32)
    """
    check_arraylike("vander", x)
    x = strong(x)
    if x.ndim != 1:
        raise ValueError("x must be a one-dimensional array")
    n = x.shape[0] if N is None else operator.index(N)
    if n < 0:
        raise ValueError("N must be nonnegative")
    powers = [lax.integer_pow(x, k) if k else lax.full_like(x, 1) for k in range(n)]
    return joining.stack(powers if increasing else powers[::-1], axis=1) if n else lax.full((x.shape[0], 0), 0, x.dtype)

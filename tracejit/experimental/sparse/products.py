"""Products of BCOO arrays: with dense arrays, with each other, and at given places of the result only."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental.sparse.base import is_inside, limits, over_batch, read, scattered, spread
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_sum_duplicates, made
from tracejit.experimental.sparse.views import bcoo_update_layout

DimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


def bcoo_dot_general(lhs: Any, rhs: Any, *, dimension_numbers: DimensionNumbers, precision: Any = None,
                     preferred_element_type: Any = None, out_sharding: Any = None) -> Any:
    """lax.dot_general where one operand, or both, are BCOO arrays. Of two the product is BCOO, else it is dense.

    Every specified element is multiplied with what it meets; two sparse operands are compared element by element (nse of
    the one times nse of the other). The batch axes of the product must be batch axes of a sparse operand.

    >>> M = BCOO.fromdense(jnp.eye(2))
    >>> bcoo_dot_general(M, jnp.ones((2, 3)), dimension_numbers=(((1,), (0,)), ((), ()))).shape
    (2, 3)
    """
    (lc, rc), (lb, rb) = [[tuple(int(d) for d in axes) for axes in pair] for pair in dimension_numbers]
    swapped = ((rc, lc), (rb, lb))
    if isinstance(lhs, BCOO) and isinstance(rhs, BCOO):
        out = sparse_product(lhs, rhs, (lc, rc), (lb, rb))
        return out if preferred_element_type is None else out.replaced(out.data.astype(preferred_element_type), out.indices)
    if isinstance(lhs, BCOO):
        out = dense_product(lhs, jnp.asarray(rhs), (lc, rc), (lb, rb))
    elif isinstance(rhs, BCOO):
        out = dense_product(rhs, jnp.asarray(lhs), *swapped)
        n, own = len(rb), rhs.ndim - len(rc)
        out = lax.transpose(out, (*range(n), *range(own, out.ndim), *range(n, own)))
    else:
        return lax.dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)
    return out if preferred_element_type is None else out.astype(preferred_element_type)


def without_free_batch(mat: BCOO, batch: tuple[int, ...], contracted: tuple[int, ...]) -> tuple[BCOO, list[int], list[int]]:
    """The array with only `batch` as batch axes, and where its contracted and its free axes now are."""
    if any(d >= mat.n_batch for d in batch):
        raise NotImplementedError(f"bcoo_dot_general: the batch axes {batch} of the product must be among the n_batch="
                                  f"{mat.n_batch} leading axes of the sparse operand; use update_layout or todense")
    order = [*batch, *[d for d in range(mat.n_batch) if d not in batch]]
    n = mat.n_batch
    data = lax.transpose(mat.data, (*order, *range(n, mat.data.ndim)))
    indices = lax.transpose(mat.indices, (*order, n, n + 1))
    moved = bcoo_update_layout(made(data, indices, mat.sparse_shape, unique_indices=mat.unique_indices), n_batch=len(batch))
    where = {d: i for i, d in enumerate([*order, *range(n, mat.ndim)])}
    free = [where[d] for d in range(mat.ndim) if d not in batch and d not in contracted]
    return moved, [where[d] for d in contracted], free


def dense_product(mat: BCOO, x: Any, contracted: tuple, batch: tuple) -> Any:
    """mat . x, dense: batch axes, free axes of mat, free axes of x."""
    n = len(batch[0])
    mat, axes, free = without_free_batch(mat, batch[0], contracted[0])
    first_dense = n + mat.n_sparse
    order = np.argsort(axes)                # of contracted axes: the sparse ones come before the dense ones
    axes, others = [axes[i] for i in order], [contracted[1][i] for i in order]
    rest = [d for d in range(x.ndim) if d not in batch[1] and d not in others]
    x = lax.transpose(x, (*batch[1], *others, *rest))
    sparse = [a - n for a in axes if a < first_dense]
    dense = [a - first_dense for a in axes if a >= first_dense]
    kept = [d - n for d in free if d < first_dense]

    def product(data, indices, x):
        met = read(x, indices[:, np.asarray(sparse, int)]) if sparse else x
        lead = ((0,), (0,)) if sparse else ((), ())
        inner = [i + len(lead[1]) for i in range(len(dense))]
        terms = lax.dot_general(data, met, (([d + 1 for d in dense], inner), lead))
        inside = is_inside(indices, mat.sparse_shape)
        terms = jnp.where(spread(inside, terms.ndim), terms, 0)
        return scattered(terms, indices[:, np.asarray(kept, int)], [mat.sparse_shape[d] for d in kept])
    dtype = jnp.result_type(mat.dtype, x.dtype)
    out = over_batch(product, n, mat.data.astype(dtype), mat.indices, x.astype(dtype))
    return jnp.broadcast_to(out, (*mat.shape[:n], *out.shape[n:]))


def sparse_product(lhs: BCOO, rhs: BCOO, contracted: tuple, batch: tuple) -> BCOO:
    """lhs . rhs, sparse: each element of the one with each of the other whose contracted indices are the same."""
    if lhs.n_dense or rhs.n_dense:
        raise NotImplementedError("bcoo_dot_general: two sparse operands must have n_dense=0; use update_layout or todense")
    n = len(batch[0])
    lhs, l_axes, l_free = without_free_batch(lhs, batch[0], contracted[0])
    rhs, r_axes, r_free = without_free_batch(rhs, batch[1], contracted[1])
    pick = lambda i, axes: i[:, np.asarray([a - n for a in axes], int)]
    sizes = [*[lhs.sparse_shape[d - n] for d in l_free], *[rhs.sparse_shape[d - n] for d in r_free]]
    many = min((lhs.nse if l_free else 1) * (rhs.nse if r_free else 1), math.prod(sizes))

    def product(l_data, l_indices, r_data, r_indices):
        meets = (pick(l_indices, l_axes)[:, None] == pick(r_indices, r_axes)[None]).all(-1)
        meets &= is_inside(l_indices, lhs.sparse_shape)[:, None] & is_inside(r_indices, rhs.sparse_shape)[None]
        return pairs(l_data, pick(l_indices, l_free), r_data, pick(r_indices, r_free), meets, sizes)
    dtype = jnp.result_type(lhs.dtype, rhs.dtype)
    data, indices = over_batch(product, n, lhs.data.astype(dtype), lhs.indices, rhs.data.astype(dtype), rhs.indices)
    out = made(data, indices, sizes)
    return bcoo_sum_duplicates(out, many) if many < out.nse else out


def pairs(l_data: Any, l_free: Any, r_data: Any, r_free: Any, meets: Any, sizes: Sequence[int]) -> tuple[Any, Any]:
    """Data and indices of all products of two elements that meet."""
    n, m = meets.shape
    data = jnp.where(meets, l_data[:, None] * r_data[None], 0)
    parts = [jnp.broadcast_to(l_free[:, None], (n, m, l_free.shape[1])),
             jnp.broadcast_to(r_free[None], (n, m, r_free.shape[1])).astype(l_free.dtype)]
    indices = jnp.where(meets[..., None], jnp.concatenate(parts, 2), limits(sizes, l_free.dtype))
    return data.reshape(n * m), indices.reshape(n * m, len(sizes))


def bcoo_dot_general_sampled(A: Any, B: Any, indices: Any, *, dimension_numbers: DimensionNumbers) -> Any:
    """The product of two dense arrays at BCOO indices only: the data of its elements there.

    >>> bcoo_dot_general_sampled(jnp.arange(3.), jnp.arange(3.), jnp.array([[1, 2]]), dimension_numbers=(((), ()), ((), ())))
    Array([2.], dtype=float32)
    """
    (lc, rc), (lb, rb) = [[tuple(int(d) for d in axes) for axes in pair] for pair in dimension_numbers]
    n_batch, n_sparse = indices.ndim - 2, indices.shape[-1]
    l_free, r_free = ([d for d in range(x.ndim) if d not in c and d not in b] for x, c, b in ((A, lc, lb), (B, rc, rb)))
    n = len(lb)
    if n_batch != n or n_sparse != len(l_free) + len(r_free):
        out = lax.dot_general(A, B, dimension_numbers)
        return over_batch(read, n_batch, out, indices)
    A, B = lax.transpose(A, (*lb, *l_free, *lc)), lax.transpose(B, (*rb, *r_free, *rc))

    def sampled(a, b, indices):
        rows, columns = read(a, indices[:, :len(l_free)]), read(b, indices[:, len(l_free):])
        return lax.dot_general(rows, columns, ((range(1, rows.ndim), range(1, columns.ndim)), ((0,), (0,))))
    return over_batch(sampled, n, A, B, indices)


# --- element by element --------------------------------------------------------------------------------------------

def bcoo_multiply_dense(sp_mat: BCOO, v: Any) -> Any:
    """The data of a sparse array times a dense one that broadcasts to its shape.

    >>> bcoo_multiply_dense(BCOO.fromdense(jnp.eye(2)), jnp.array([2., 3.]))
    Array([2., 3.], dtype=float32)
    """
    v = jnp.asarray(v)
    if v.ndim == 0:
        return sp_mat.data * v
    if jnp.broadcast_shapes(v.shape, sp_mat.shape) != sp_mat.shape:
        raise NotImplementedError(f"multiply: {sp_mat} times an array of shape {v.shape} would be larger than the sparse "
                                  "array; use todense() if that is meant")
    n = sp_mat.n_batch
    v = lax.expand_dims(v, range(sp_mat.ndim - v.ndim))

    def product(data, indices, v):
        fixed = [i for i in range(indices.shape[1]) if v.shape[i] == 1]
        return data * read(v, indices * np.where(np.isin(np.arange(indices.shape[1]), fixed), 0, 1).astype(indices.dtype))
    return over_batch(product, n, sp_mat.data, sp_mat.indices, v)


def bcoo_multiply_sparse(lhs: BCOO, rhs: BCOO) -> BCOO:
    """The product element by element of two sparse arrays of one shape (or with axes of size 1).

    >>> M = BCOO.fromdense(jnp.eye(2))
    >>> bcoo_multiply_sparse(M, M).todense()
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if lhs.ndim != rhs.ndim:
        raise TypeError(f"multiply: {lhs} and {rhs} have different numbers of axes")
    if lhs.n_dense != rhs.n_dense:
        raise NotImplementedError(f"multiply: {lhs} and {rhs} have different numbers of dense axes; use update_layout")
    n = min(lhs.n_batch, rhs.n_batch)
    lhs, rhs = bcoo_update_layout(lhs, n_batch=n), bcoo_update_layout(rhs, n_batch=n)
    sizes = jnp.broadcast_shapes(lhs.sparse_shape, rhs.sparse_shape)
    both = np.asarray([a == b for a, b in zip(lhs.sparse_shape, rhs.sparse_shape)], bool)

    def product(l_data, l_indices, r_data, r_indices):
        meets = ((l_indices[:, None] == r_indices[None]) | ~both).all(-1)
        meets &= is_inside(l_indices, lhs.sparse_shape)[:, None] & is_inside(r_indices, rhs.sparse_shape)[None]
        data = jnp.where(spread(meets, l_data.ndim + 1), l_data[:, None] * r_data[None], 0)
        where = jnp.maximum(l_indices[:, None], r_indices[None])
        where = jnp.where(meets[..., None], where, limits(sizes, where.dtype))
        return data.reshape(-1, *data.shape[2:]), where.reshape(-1, len(sizes))
    data, indices = over_batch(product, n, lhs.data, lhs.indices, rhs.data, rhs.indices)
    return made(data, indices, sizes)

"""BCOO arrays with their elements elsewhere: transposed, reshaped, sliced, joined; and sums over axes."""
from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental.sparse.base import (SparseEfficiencyError, SparseEfficiencyWarning, is_inside, limits,
                                               over_batch, spread)
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_sum_duplicates, made, whole_batch


def cut(mat: BCOO, values: Sequence[Any]) -> tuple[list, list, list]:
    """What is given per axis, for the batch, sparse and dense axes."""
    values = list(values)
    return values[:mat.n_batch], values[mat.n_batch:mat.n_batch + mat.n_sparse], values[mat.n_batch + mat.n_sparse:]


# --- layout ---------------------------------------------------------------------------------------------------------

def bcoo_update_layout(mat: BCOO, *, n_batch: int | None = None, n_dense: int | None = None,
                       on_inefficient: str | None = "error") -> BCOO:
    """The same array with other numbers of batch and dense axes.

    More of them store zeros unless the axes have size 1: SparseEfficiencyError (or a warning, or nothing, as told).

    >>> bcoo_update_layout(BCOO.fromdense(jnp.eye(3), n_batch=1), n_batch=0)
    BCOO(float32[3, 3], nse=3)
    """
    n_batch = mat.n_batch if n_batch is None else operator.index(n_batch)
    n_dense = mat.n_dense if n_dense is None else operator.index(n_dense)
    if min(n_batch, n_dense, mat.ndim - n_batch - n_dense) < 0:
        raise ValueError(f"update_layout: {mat} has no room for n_batch={n_batch}, n_dense={n_dense}")
    if on_inefficient not in ("error", "warn", None):
        raise ValueError(f"update_layout: on_inefficient={on_inefficient!r} must be 'error', 'warn' or None")
    grown = [*mat.shape[mat.n_batch:n_batch], *mat.shape[mat.ndim - n_dense:mat.ndim - mat.n_dense]]
    if any(n > 1 for n in grown) and on_inefficient:
        text = f"update_layout: {mat} with n_batch={n_batch}, n_dense={n_dense} would store zeros of axes of sizes {grown}"
        if on_inefficient == "error":
            raise SparseEfficiencyError(text + "; pass on_inefficient='warn' or None if that is meant")
        warnings.warn(text, SparseEfficiencyWarning, stacklevel=2)
    for _ in range(mat.n_dense - n_dense):
        mat = dense_to_sparse(mat)
    for _ in range(mat.n_batch - n_batch):
        mat = batch_to_sparse(mat)
    for _ in range(n_dense - mat.n_dense):
        mat = sparse_to_dense(mat)
    for _ in range(n_batch - mat.n_batch):
        mat = sparse_to_batch(mat)
    return mat


def dense_to_sparse(mat: BCOO) -> BCOO:
    """The first dense axis as the last sparse one."""
    n = mat.data.shape[mat.n_batch + 1]

    def f(data, indices):
        nse, k = indices.shape
        own = jnp.broadcast_to(jnp.arange(n, dtype=indices.dtype)[None, :, None], (nse, n, 1))
        both = jnp.concatenate([jnp.broadcast_to(indices[:, None], (nse, n, k)), own], 2)
        return data.reshape(nse * n, *data.shape[2:]), both.reshape(nse * n, k + 1)
    return made(*over_batch(f, mat.n_batch, mat.data, mat.indices), (*mat.sparse_shape, n), unique_indices=mat.unique_indices)


def batch_to_sparse(mat: BCOO) -> BCOO:
    """The last batch axis as the first sparse one."""
    n, size = mat.n_batch - 1, mat.shape[mat.n_batch - 1]

    def f(data, indices):
        data, indices = (jnp.broadcast_to(x, (size, *x.shape[1:])) for x in (data, indices))
        _, nse, k = indices.shape
        own = jnp.broadcast_to(jnp.arange(size, dtype=indices.dtype)[:, None, None], (size, nse, 1))
        both = jnp.concatenate([own, indices], 2)
        return data.reshape(size * nse, *data.shape[2:]), both.reshape(size * nse, k + 1)
    return made(*over_batch(f, n, mat.data, mat.indices), (size, *mat.sparse_shape), unique_indices=mat.unique_indices)


def sparse_to_dense(mat: BCOO) -> BCOO:
    """The last sparse axis as the first dense one: each element becomes a row of zeros but one."""
    n = mat.sparse_shape[-1]

    def f(data, indices):
        here = indices[:, -1:] == jnp.arange(n, dtype=indices.dtype)
        return jnp.where(spread(here, data.ndim + 1), data[:, None], 0), indices[:, :-1]
    return made(*over_batch(f, mat.n_batch, mat.data, mat.indices), mat.sparse_shape[:-1])


def sparse_to_batch(mat: BCOO) -> BCOO:
    """The first sparse axis as the last batch one: each lane keeps the elements that are its own."""
    n = mat.sparse_shape[0]

    def f(data, indices):
        here = indices[None, :, 0] == jnp.arange(n, dtype=indices.dtype)[:, None]
        rest = jnp.where(here[..., None], indices[None, :, 1:], limits(mat.sparse_shape[1:], indices.dtype))
        return jnp.where(spread(here, data.ndim + 1), data[None], 0), rest
    return made(*over_batch(f, mat.n_batch, mat.data, mat.indices), mat.sparse_shape[1:])


# --- transposition and shape -------------------------------------------------------------------------------------

def bcoo_transpose(mat: BCOO, *, permutation: Sequence[int]) -> BCOO:
    """Axes in another order; batch, sparse and dense axes stay among themselves.

    >>> bcoo_transpose(BCOO.fromdense(jnp.ones((2, 3))), permutation=(1, 0))
    BCOO(float32[3, 2], nse=6)
    """
    permutation = [operator.index(p) for p in permutation]
    if sorted(permutation) != list(range(mat.ndim)):
        raise ValueError(f"bcoo_transpose: {permutation} is not an order of the {mat.ndim} axes")
    batch, sparse, dense = cut(mat, permutation)
    n, first_dense = mat.n_batch, mat.n_batch + mat.n_sparse
    if sorted(batch) != list(range(n)) or any(p < first_dense for p in dense):
        raise NotImplementedError(f"bcoo_transpose: batch, sparse and dense axes cannot be mixed: {permutation} of {mat}; "
                                  "use update_layout first")
    inner = [p - n for p in sparse]
    data = lax.transpose(mat.data, (*batch, n, *[p - first_dense + n + 1 for p in dense]))
    indices = lax.transpose(mat.indices, (*batch, n, n + 1))
    if inner != sorted(inner):
        indices = indices[..., np.asarray(inner)]
    return made(data, indices, [mat.sparse_shape[p] for p in inner], mat.indices_sorted and inner == sorted(inner),
                mat.unique_indices)


def bcoo_reshape(mat: BCOO, *, new_sizes: Sequence[int], dimensions: Sequence[int] | None = None,
                 sharding: Any = None) -> BCOO:
    """Another shape for the same elements in row-major order; batch, sparse and dense axes are not mixed.

    >>> bcoo_reshape(BCOO.fromdense(jnp.eye(2)), new_sizes=(4,)).indices
    Array([[0],
           [3]], dtype=int32)
    """
    if dimensions is not None:
        mat = bcoo_transpose(mat, permutation=dimensions)
    new_sizes = tuple(operator.index(n) for n in new_sizes)
    if math.prod(new_sizes) != mat.size:
        raise TypeError(f"bcoo_reshape: {mat} has {mat.size} elements, which do not fill the shape {new_sizes}")
    parts = cut(mat, mat.shape)
    batch, sparse, dense = grouped(mat, new_sizes, [math.prod(p) for p in parts])
    mat = whole_batch(mat)
    data = mat.data.reshape(*batch, mat.nse, *dense)
    indices = mat.indices.reshape(*batch, mat.nse, mat.n_sparse)
    inside = is_inside(indices, mat.sparse_shape)[..., None]
    flat = flat_index(indices, mat.sparse_shape)
    columns = jnp.unravel_index(flat, sparse) if sparse else ()
    indices = jnp.stack(columns, -1).astype(indices.dtype) if sparse else indices[..., :0]
    return made(data, jnp.where(inside, indices, limits(sparse, indices.dtype)), sparse)


def grouped(mat: BCOO, sizes: tuple[int, ...], wanted: list[int]) -> list[tuple[int, ...]]:
    """The new sizes cut into those of batch, sparse and dense axes."""
    parts, rest = [], list(sizes)
    for k, total in enumerate(wanted[:2]):
        part: list[int] = []
        least = (mat.n_batch, mat.n_sparse)[k] > 0
        while rest and (math.prod(part) != total or (least and not part)):
            part.append(rest.pop(0))
        later = math.prod(wanted[k + 1:])
        while rest and rest[0] == 1 and k == 1 and math.prod(rest) == later and len(rest) > mat.n_dense:
            part.append(rest.pop(0))
        if math.prod(part) != total:
            raise ValueError(f"bcoo_reshape: batch, sparse and dense axes of {mat} cannot be mixed in the shape {sizes}")
        parts.append(tuple(part))
    return [*parts, tuple(rest)]


def flat_index(indices: Any, shape: Sequence[int]) -> Any:
    """Index vectors as positions in row-major order."""
    strides = np.cumprod([1, *shape[:0:-1]])[::-1].astype(indices.dtype)[:len(shape)]
    return (indices * strides).sum(-1, dtype=indices.dtype)


def bcoo_broadcast_in_dim(mat: BCOO, *, shape: Sequence[int], broadcast_dimensions: Sequence[int],
                          sharding: Any = None) -> BCOO:
    """The array repeated along new axes and along axes of size 1; axis i becomes broadcast_dimensions[i].

    >>> bcoo_broadcast_in_dim(BCOO.fromdense(jnp.ones(2)), shape=(3, 2), broadcast_dimensions=(1,)).todense().shape
    (3, 2)
    """
    shape, places = tuple(shape), [operator.index(d) for d in broadcast_dimensions]
    if len(places) != mat.ndim or any(mat.shape[i] not in (1, shape[d]) for i, d in enumerate(places)):
        raise ValueError(f"bcoo_broadcast_in_dim: {mat} does not broadcast to {shape} by {tuple(places)}")
    batch, sparse, dense = cut(mat, places)
    first, last = max(batch, default=min(places, default=len(shape)) - 1) + 1, min(dense, default=len(shape))
    lead = lambda x: [x.shape[batch.index(d)] if d in batch else 1 for d in range(first)]
    data = lax.broadcast_in_dim(mat.data, (*lead(mat.data), mat.nse, *shape[last:]),
                                (*batch, first, *[d - last + first + 1 for d in dense]))
    indices = lax.broadcast_in_dim(mat.indices, (*lead(mat.indices), mat.nse, mat.n_sparse), (*batch, first, first + 1))
    sizes = dict(zip(sparse, mat.sparse_shape))
    columns = {d: indices[..., i] for i, d in enumerate(sparse)}
    zeros = jnp.zeros(indices.shape[:-1], indices.dtype)
    inner = [columns.get(d, zeros) for d in range(first, last)]
    out = made(data, jnp.stack(inner, -1) if inner else indices, [sizes.get(d, 1) for d in range(first, last)])
    for d in range(first, last):
        out = repeated(out, d - first, shape[d]) if sizes.get(d, 1) != shape[d] else out
    return with_batch(out, list(shape[:first]))


def repeated(mat: BCOO, axis: int, n: int) -> BCOO:
    """A sparse axis of size 1 repeated n times: every element is stored n times."""
    def f(data, indices):
        nse, k = indices.shape
        own = jnp.arange(n, dtype=indices.dtype)[:, None, None] * (np.arange(k) == axis).astype(indices.dtype)
        moved = jnp.where(indices[None, :, axis:axis + 1] == 0, indices[None] + own, n)
        return jnp.tile(data, (n,) + (1,) * (data.ndim - 1)), moved.reshape(n * nse, k)
    sizes = [n if i == axis else s for i, s in enumerate(mat.sparse_shape)]
    return made(*over_batch(f, mat.n_batch, mat.data, mat.indices), sizes)


def bcoo_squeeze(arr: BCOO, *, dimensions: Sequence[int]) -> BCOO:
    """Without some axes of size 1.

    >>> bcoo_squeeze(BCOO.fromdense(jnp.ones((1, 3))), dimensions=(0,))
    BCOO(float32[3], nse=3)
    """
    gone = {operator.index(d) % arr.ndim for d in dimensions}
    if any(arr.shape[d] != 1 for d in gone):
        raise ValueError(f"bcoo_squeeze: {arr} has axes {sorted(gone)} that are not of size 1")
    n, first_dense = arr.n_batch, arr.n_batch + arr.n_sparse
    batch = [d for d in gone if d < n]
    kept = [d - n for d in range(n, first_dense) if d not in gone]
    data = lax.squeeze(arr.data, [*batch, *[d - first_dense + n + 1 for d in gone if d >= first_dense]])
    inside = is_inside(arr.indices, arr.sparse_shape)[..., None]
    sizes = [arr.sparse_shape[d] for d in kept]
    indices = jnp.where(inside, arr.indices[..., np.asarray(kept, int)], limits(sizes, arr.indices.dtype))
    return made(data, lax.squeeze(indices, batch), sizes, arr.indices_sorted, arr.unique_indices)


def bcoo_rev(operand: BCOO, dimensions: Sequence[int]) -> BCOO:
    """Read backwards along some axes."""
    n, first_dense = operand.n_batch, operand.n_batch + operand.n_sparse
    batch = [d for d in dimensions if d < n]
    turn = lambda x, axes: lax.rev(x, [a for a in axes if x.shape[a] > 1])
    data = turn(operand.data, [*batch, *[d - first_dense + n + 1 for d in dimensions if d >= first_dense]])
    indices = turn(operand.indices, batch)
    inside = is_inside(indices, operand.sparse_shape)[..., None]
    backwards = np.isin(np.arange(n, first_dense), dimensions)
    last = limits(operand.sparse_shape, indices.dtype) - indices.dtype.type(1)
    return made(data, jnp.where(inside & backwards, last - indices, indices), operand.sparse_shape,
                unique_indices=operand.unique_indices)


# --- joining and cutting -----------------------------------------------------------------------------------------

def bcoo_concatenate(operands: Sequence[BCOO], *, dimension: int) -> BCOO:
    """Arrays of one layout one after another along a batch or sparse axis.

    >>> M = BCOO.fromdense(jnp.eye(2))
    >>> bcoo_concatenate([M, M], dimension=0)
    BCOO(float32[4, 2], nse=4)
    """
    first = operands[0]
    dimension = operator.index(dimension) % first.ndim
    layouts = {(x.n_batch, x.n_sparse, x.n_dense) for x in operands}
    shapes = {tuple(n for i, n in enumerate(x.shape) if i != dimension) for x in operands}
    if len(layouts) > 1 or len(shapes) > 1:
        raise ValueError(f"bcoo_concatenate: arrays differ in layout or in another axis: {list(operands)}")
    n = first.n_batch
    if dimension >= n + first.n_sparse:
        raise NotImplementedError("bcoo_concatenate: dense axes cannot be joined; use update_layout first")
    operands = [whole_batch(x) for x in operands]
    if dimension < n:
        nse = max(x.nse for x in operands)
        operands = [padded(x, nse) for x in operands]
        return made(*[jnp.concatenate([b[k] for b in map(buffers, operands)], dimension) for k in (0, 1)], first.sparse_shape)
    axis, starts = dimension - n, np.cumsum([0, *[x.shape[dimension] for x in operands]])
    sizes = [int(starts[-1]) if i == axis else s for i, s in enumerate(first.sparse_shape)]
    moved = [placed(x, axis, int(start), sizes) for x, start in zip(operands, starts)]
    return made(jnp.concatenate([x.data for x in operands], n), jnp.concatenate(moved, n), sizes)


def buffers(mat: BCOO) -> tuple[Any, Any]:
    return mat.data, mat.indices


def placed(mat: BCOO, axis: int, start: int, sizes: list[int]) -> Any:
    """The indices of an array that becomes a part of a larger one."""
    offset = np.where(np.arange(mat.n_sparse) == axis, start, 0).astype(mat.indices.dtype)
    inside = is_inside(mat.indices, mat.sparse_shape)[..., None]
    return jnp.where(inside, mat.indices + offset, limits(sizes, mat.indices.dtype))


def padded(mat: BCOO, nse: int) -> BCOO:
    """The same with nse elements, the new ones outside of the shape."""
    n, more = mat.n_batch, nse - mat.nse
    data = jnp.concatenate([mat.data, jnp.zeros((*mat.data.shape[:n], more, *mat.data.shape[n + 1:]), mat.dtype)], n)
    outside = jnp.broadcast_to(limits(mat.sparse_shape, mat.indices.dtype), (*mat.indices.shape[:n], more, mat.n_sparse))
    return mat.replaced(data, jnp.concatenate([mat.indices, outside], n))


def bcoo_slice(mat: BCOO, *, start_indices: Sequence[int], limit_indices: Sequence[int],
               strides: Sequence[int] | None = None) -> BCOO:
    """The elements from start (inclusive) to limit (exclusive) along each axis, every stride-th.

    >>> bcoo_slice(BCOO.fromdense(jnp.arange(6.)), start_indices=(1,), limit_indices=(6,), strides=(2,)).todense()
    Array([1., 3., 5.], dtype=float32)
    """
    strides = [1] * mat.ndim if strides is None else list(strides)
    starts, ends = list(start_indices), list(limit_indices)
    if not (len(starts) == len(ends) == len(strides) == mat.ndim) or any(s <= 0 for s in strides) or not all(
            0 <= a <= b <= n for a, b, n in zip(starts, ends, mat.shape)):
        raise ValueError(f"bcoo_slice: {starts}, {ends}, {strides} are no slice of {mat}")
    parts = [cut(mat, map(slice, starts, ends, strides))[k] for k in (0, 1, 2)]
    take = lambda x, rest: x[(*[s if x.shape[i] > 1 else slice(None) for i, s in enumerate(parts[0])], slice(None), *rest)]
    sizes = [len(range(s.start, s.stop, s.step)) for s in parts[1]]
    a, b, step = (np.asarray([getattr(s, name) for s in parts[1]], mat.indices.dtype) for name in ("start", "stop", "step"))
    indices = take(mat.indices, [slice(None)])
    keep = ((indices >= a) & (indices < b) & ((indices - a) % step == 0)).all(-1)
    out = selected(mat, take(mat.data, parts[2]), indices, keep, (indices - a) // step, sizes)
    return with_batch(out, [len(range(n)[s]) for n, s in zip(mat.shape, parts[0])])


def with_batch(mat: BCOO, batch: list[int]) -> BCOO:
    """The array with batch axes of these sizes."""
    n = mat.n_batch
    data = mat.data if list(mat.shape[:n]) == batch else jnp.broadcast_to(mat.data, (*batch, *mat.data.shape[n:]))
    return mat.replaced(data, mat.indices)


def selected(mat: BCOO, data: Any, indices: Any, keep: Any, moved: Any, sizes: list[int]) -> BCOO:
    """The elements to keep at their new places; no more are stored than the new shape has room for."""
    if not mat.n_sparse:
        return made(data, indices, [])
    data = jnp.where(spread(keep, data.ndim), data, 0)
    out = made(data, jnp.where(keep[..., None], moved, limits(sizes, indices.dtype)), sizes)
    return bcoo_sum_duplicates(out, math.prod(sizes)) if mat.nse > math.prod(sizes) else out


def bcoo_dynamic_slice(mat: BCOO, start_indices: Sequence[Any], slice_sizes: Sequence[int]) -> BCOO:
    """lax.dynamic_slice: a slice of fixed sizes that starts at run-time indices, moved into the array."""
    sizes = [operator.index(n) for n in slice_sizes]
    starts = [jnp.asarray(i) for i in start_indices]
    if not (len(starts) == len(sizes) == mat.ndim) or not all(0 <= s <= n for s, n in zip(sizes, mat.shape)):
        raise TypeError(f"bcoo_dynamic_slice: starts {starts} and sizes {sizes} do not fit {mat}")
    starts = [jnp.clip(jnp.where(i < 0, i + n, i), 0, n - s).astype(mat.indices.dtype)
              for i, n, s in zip(starts, mat.shape, sizes)]
    (b0, s0, d0), (b1, s1, d1) = cut(mat, starts), cut(mat, sizes)
    zero = mat.indices.dtype.type(0)

    def take(x, first, rest):
        lead = [(i, s) if x.shape[k] > 1 else (zero, x.shape[k]) for k, (i, s) in enumerate(zip(b0, b1))]
        at, of = zip(*lead, *zip(first, rest))
        return lax.dynamic_slice(x, at, of)
    data, indices = take(mat.data, [zero, *d0], [mat.nse, *d1]), take(mat.indices, [zero, zero], [mat.nse, mat.n_sparse])
    if not mat.n_sparse:
        return with_batch(made(data, indices, []), b1)
    begin = jnp.stack(s0)
    keep = ((indices >= begin) & (indices < begin + limits(s1, indices.dtype))).all(-1)
    return with_batch(selected(mat, data, indices, keep, indices - begin, s1), b1)


def bcoo_gather(operand: BCOO, start_indices: Any, dimension_numbers: Any, slice_sizes: Sequence[int], *,
                unique_indices: bool = False, indices_are_sorted: bool = False, mode: Any = None,
                fill_value: Any = None) -> BCOO:
    """lax.gather where it is one slice at a run-time place, as x[i] and x[:, i] are.

    NotImplementedError for several windows.
    """
    if jnp.ndim(start_indices) != 1 or dimension_numbers.operand_batching_dims:
        raise NotImplementedError("bcoo_gather: only one window can be read; use x[i] with an integer i, or todense()")
    starts: list[Any] = [0] * operand.ndim
    for k, d in enumerate(dimension_numbers.start_index_map):
        starts[d] = start_indices[k]
    out = bcoo_dynamic_slice(operand, starts, slice_sizes)
    gone = dimension_numbers.collapsed_slice_dims
    return bcoo_squeeze(out, dimensions=gone) if gone else out


# --- sums -----------------------------------------------------------------------------------------------------------

def bcoo_reduce_sum(mat: BCOO, *, axes: Sequence[int]) -> BCOO:
    """The sum over some axes. Sparse axes only lose their index: elements at one place add up.

    >>> bcoo_reduce_sum(BCOO.fromdense(jnp.eye(3)), axes=(0,)).todense()
    Array([1., 1., 1.], dtype=float32)
    """
    gone = {operator.index(a) % mat.ndim for a in axes}
    n, first_dense = mat.n_batch, mat.n_batch + mat.n_sparse
    batch = [d for d in gone if d < n]
    mat = whole_batch(mat) if batch else mat
    data = mat.data.sum(tuple(d - first_dense + n + 1 for d in gone if d >= first_dense), dtype=mat.dtype)
    data = jnp.where(spread(is_inside(mat.indices, mat.sparse_shape), data.ndim), data, 0)
    kept = [d - n for d in range(n, first_dense) if d not in gone]
    indices = mat.indices[..., np.asarray(kept, int)]
    stay = [d for d in range(n) if d not in gone]

    def flattened(x):
        x = lax.transpose(x, (*stay, *batch, *range(n, x.ndim)))
        sizes = [x.shape[i] for i in range(len(stay))]
        return x.reshape(*sizes, math.prod(x.shape[len(stay):n + 1]), *x.shape[n + 1:])
    if batch:
        data, indices = flattened(data), flattened(indices)
    return made(data, indices, [mat.sparse_shape[d] for d in kept])

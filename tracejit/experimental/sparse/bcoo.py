"""BCOO: an array as the coordinates and values of its specified elements, in batches, with dense blocks as elements.

    shape    = batch... + sparse... + dense...
    data     [batch..., nse, dense...]
    indices  [batch..., nse, n_sparse]     elements at one place add up; those outside of the shape do not count

A batch axis of data or indices may have size 1: it is then the same for the whole batch.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental.sparse.base import JAXSparse, is_inside, limits, over_batch, read, scattered, spread
from tracejit.tree_util import register_pytree_node_class


@register_pytree_node_class
class BCOO(JAXSparse):
    """A batched sparse array (data, indices) in coordinate format; see the module.

    It has the operators and methods of arrays where the result stays sparse, or is smaller: `@`, `*`, `/`, `+`, `-`, `**`,
    `sum`, `reshape`, `astype`, `transpose`, indexing; `sparsify` makes functions of arrays accept it. A pytree whose leaves
    are data and indices: it passes through jit, vmap (along a batch axis) and loops. For derivatives see `grad` here.

    >>> M = BCOO.fromdense(jnp.array([[0., 2., 0.], [1., 0., 4.]]))
    >>> M, M.data
    (BCOO(float32[2, 3], nse=3), Array([2., 1., 4.], dtype=float32))
    >>> M @ jnp.ones(3)
    Array([2., 5.], dtype=float32)
    """

    def __init__(self, args: tuple[Any, Any], *, shape: Sequence[int], indices_sorted: bool = False,
                 unique_indices: bool = False) -> None:
        self.data, self.indices = map(jnp.asarray, args)
        shape = tuple(operator.index(n) for n in shape)
        n = self.n_batch
        check_buffers(self.data, self.indices, shape)
        self.sparse_shape = shape[n:n + self.n_sparse]
        self.indices_sorted, self.unique_indices = indices_sorted, unique_indices
        if self.shape != shape:  # a batch axis that neither data nor indices have in full
            self.data = jnp.broadcast_to(self.data, (*shape[:n], *self.data.shape[n:]))

    @property
    def shape(self) -> tuple[int, ...]:
        n = self.n_batch
        batch = tuple(d if i == 1 else i for d, i in zip(self.data.shape[:n], self.indices.shape[:n]))
        return (*batch, *self.sparse_shape, *self.data.shape[n + 1:])

    @property
    def nse(self) -> int:
        return self.indices.shape[-2]

    @property
    def n_batch(self) -> int:
        """The number of leading axes that run over a batch."""
        if self.indices.ndim < 2:
            raise ValueError("BCOO: vmap over an axis that is not a batch axis; use update_layout(n_batch=...) first")
        return self.indices.ndim - 2

    @property
    def n_sparse(self) -> int:
        """The number of axes that have indices."""
        return self.indices.shape[-1]

    @property
    def n_dense(self) -> int:
        """The number of trailing axes that are stored in full."""
        return self.data.ndim - 1 - self.n_batch

    def layout(self) -> dict[str, int]:
        return {k: v for k, v in (("n_batch", self.n_batch), ("n_dense", self.n_dense)) if v}

    def replaced(self, data: Any, indices: Any, sparse_shape: Sequence[int] | None = None, **how: bool) -> BCOO:
        """One with other elements and the same batch axes."""
        flags = {"indices_sorted": False, "unique_indices": False, **how}
        return made(data, indices, self.sparse_shape if sparse_shape is None else sparse_shape, **flags)

    def tree_flatten(self) -> tuple[tuple[Any, Any], tuple]:
        return (self.data, self.indices), (self.sparse_shape, self.indices_sorted, self.unique_indices)

    @classmethod
    def tree_unflatten(cls, aux: tuple, leaves: Sequence[Any]) -> BCOO:
        return made(*leaves, *aux)

    @classmethod
    def fromdense(cls, mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32, n_dense: int = 0,
                  n_batch: int = 0) -> BCOO:
        """The elements of an array that are not zero; see `bcoo_fromdense`."""
        return bcoo_fromdense(mat, nse=nse, index_dtype=index_dtype, n_dense=n_dense, n_batch=n_batch)

    @classmethod
    def from_scipy_sparse(cls, mat: Any, *, index_dtype: Any = None, n_dense: int = 0, n_batch: int = 0) -> BCOO:
        """A matrix of scipy.sparse."""
        if n_dense or n_batch:
            raise NotImplementedError("BCOO.from_scipy_sparse: n_dense and n_batch must be 0")
        coordinates = mat.tocoo()
        indices = np.stack([coordinates.row, coordinates.col], 1).astype(index_dtype or np.int32)
        return cls((coordinates.data, indices), shape=mat.shape)

    @classmethod
    def _empty(cls, shape: Sequence[int], *, dtype: Any = None, index_dtype: Any = "int32", n_dense: int = 0,
               n_batch: int = 0, nse: int = 0) -> BCOO:
        n_sparse = len(shape) - n_dense - n_batch
        if min(n_sparse, n_dense, n_batch, nse) < 0:
            raise ValueError(f"empty: shape {tuple(shape)} has no room for {n_dense=}, {n_batch=}, {nse=}")
        batch, inner, dense = shape[:n_batch], shape[n_batch:n_batch + n_sparse], shape[n_batch + n_sparse:]
        outside = jnp.broadcast_to(limits(inner, index_dtype), (*batch, nse, n_sparse))
        return cls((jnp.zeros((*batch, nse, *dense), dtype), outside), shape=shape, indices_sorted=True, unique_indices=True)

    @classmethod
    def _eye(cls, N: int, M: int, k: int, *, dtype: Any = None, index_dtype: Any = "int32", n_batch: int = 0,
             n_dense: int = 0) -> BCOO:
        if n_batch or n_dense:
            return cls.fromdense(jnp.eye(N, M, k, dtype=dtype), n_batch=n_batch, n_dense=n_dense, index_dtype=index_dtype)
        diagonal = np.arange(max(0, min(N, M - k) if k > 0 else min(N + k, M)), dtype=index_dtype)
        indices = np.stack([diagonal - min(k, 0), diagonal + max(k, 0)], 1)
        return cls((jnp.ones(len(diagonal), dtype), indices), shape=(N, M), indices_sorted=True, unique_indices=True)

    def todense(self) -> Any:
        """The array with all its elements."""
        return bcoo_todense(self)

    def sort_indices(self) -> BCOO:
        """The same elements in lexicographic order of their indices."""
        return bcoo_sort_indices(self)

    def sum_duplicates(self, nse: int | None = None, remove_zeros: bool = True) -> BCOO:
        """Elements at one place added up, in order, and (unless told otherwise) zeros removed.

        How many are left depends on the values, so under jit `nse` must say it: more are filled up with elements outside
        of the shape, fewer lose elements.
        """
        return bcoo_eliminate_zeros(self, nse) if remove_zeros else bcoo_sum_duplicates(self, nse)


def made(data: Any, indices: Any, sparse_shape: Sequence[int], indices_sorted: bool = False,
         unique_indices: bool = False) -> BCOO:
    """A BCOO without a look at its arrays, which may be anything that stands for arrays in a pytree."""
    out = object.__new__(BCOO)
    out.data, out.indices, out.sparse_shape = data, indices, tuple(sparse_shape)
    out.indices_sorted, out.unique_indices = indices_sorted, unique_indices
    return out


def check_buffers(data: Any, indices: Any, shape: tuple[int, ...]) -> None:
    """ValueError if data, indices and shape do not fit together."""
    n_batch, (nse, n_sparse) = indices.ndim - 2, indices.shape[-2:]
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"BCOO: indices must be integers, got {indices.dtype}")
    fits = len(shape) >= n_batch + n_sparse and all(
        d in (1, n) for x in (data, indices) for d, n in zip(x.shape[:n_batch], shape[:n_batch]))
    if not fits or data.shape[n_batch:] != (nse, *shape[n_batch + n_sparse:]):
        raise ValueError(f"BCOO: data of shape {data.shape} and indices of shape {indices.shape} do not make an array of "
                         f"shape {shape}: data is [batch..., nse, dense...], indices are [batch..., nse, n_sparse]")


# --- to and from dense arrays --------------------------------------------------------------------------------

def bcoo_todense(mat: BCOO) -> Any:
    """The array with all its elements.

    >>> bcoo_todense(BCOO((jnp.array([1., 2.]), jnp.array([[1], [1]])), shape=(3,)))
    Array([0., 3., 0.], dtype=float32)
    """
    n, batch = mat.n_batch, mat.shape[:mat.n_batch]
    out = over_batch(lambda d, i: scattered(d, i, mat.sparse_shape), n, mat.data, mat.indices)
    return jnp.broadcast_to(out, (*batch, *out.shape[n:]))


def bcoo_fromdense(mat: Any, *, nse: int | None = None, n_batch: int = 0, n_dense: int = 0,
                   index_dtype: Any = np.int32) -> BCOO:
    """The elements of an array that are not zero, `nse` of them per batch (as many as there are, outside of jit).

    >>> bcoo_fromdense(jnp.eye(3), n_batch=1)
    BCOO(float32[3, 3], nse=1, n_batch=1)
    """
    mat = jnp.asarray(mat)
    n_sparse = mat.ndim - n_batch - n_dense
    mask = (mat != 0).any(tuple(range(n_batch + n_sparse, mat.ndim)))
    counts = mask.sum(tuple(range(n_batch, mask.ndim)))
    nse = int(counts.max(initial=0)) if nse is None else operator.index(nse)
    shape = mask.shape[n_batch:]

    def elements(x, mask):
        found = jnp.nonzero(mask, size=nse, fill_value=shape) if shape else ()
        indices = jnp.stack(found, 1).astype(index_dtype) if shape else jnp.zeros((nse, 0), index_dtype)
        there = jnp.arange(nse) < mask.sum()
        return jnp.where(spread(there, 1 + n_dense), read(x, indices), 0), indices
    return made(*over_batch(elements, n_batch, mat, mask), shape, True, True)


def bcoo_extract(sparr: BCOO, arr: Any, *, assume_unique: bool | None = None) -> BCOO:
    """A dense array at the places of a sparse one; where two elements share a place, the first gets it all.

    >>> bcoo_extract(BCOO.fromdense(jnp.eye(2)), jnp.array([[1., 2.], [3., 4.]])).data
    Array([1., 4.], dtype=float32)
    """
    if not isinstance(sparr, BCOO):
        raise TypeError(f"bcoo_extract: the first argument must be a BCOO array, got {type(sparr)}")
    arr = jnp.asarray(arr)
    if arr.shape != sparr.shape:
        raise ValueError(f"bcoo_extract: shapes differ: {sparr.shape} and {arr.shape}")
    data = over_batch(read, sparr.n_batch, arr, sparr.indices)
    if not (sparr.unique_indices if assume_unique is None else assume_unique):
        first = over_batch(lambda i: is_first(i, sparr.sparse_shape), sparr.n_batch, sparr.indices)
        data = jnp.where(spread(first, data.ndim), data, 0)
    return sparr.replaced(data, sparr.indices, indices_sorted=sparr.indices_sorted, unique_indices=sparr.unique_indices)


# --- order and duplicates --------------------------------------------------------------------------------------

def order_of(indices: Any) -> tuple[Any, Any]:
    """(index vectors in lexicographic order, where each was)."""
    nse, n = indices.shape
    if not n or not nse:
        return indices, jnp.arange(nse)
    *columns, places = lax.sort((*[indices[:, i] for i in range(n)], jnp.arange(nse)), num_keys=n)
    return jnp.stack(columns, 1), places


def starts_group(ordered: Any) -> Any:
    """Which of the ordered index vectors differ from the one before."""
    return jnp.concatenate([jnp.ones(1, bool), (ordered[1:] != ordered[:-1]).any(-1)])[:ordered.shape[0]]


def is_first(indices: Any, shape: Sequence[int]) -> Any:
    """Which index vectors no earlier one equals."""
    ordered, places = order_of(indices)
    return jnp.zeros(indices.shape[0], bool).at[places].set(starts_group(ordered))


def bcoo_sort_indices(mat: BCOO) -> BCOO:
    """The same elements in lexicographic order of their indices."""
    def ordered(data, indices):
        indices, places = order_of(indices)
        return data[places], indices
    buffers = over_batch(ordered, mat.n_batch, mat.data, mat.indices)
    return mat.replaced(*buffers, indices_sorted=True, unique_indices=mat.unique_indices)


def bcoo_sum_duplicates(mat: BCOO, nse: int | None = None) -> BCOO:
    """Elements at one place added up, in lexicographic order, `nse` of them (as many as there are, outside of jit)."""
    inside = over_batch(lambda i: jnp.where(is_inside(i, mat.sparse_shape)[:, None], i, limits(mat.sparse_shape, i.dtype)),
                        mat.n_batch, mat.indices)
    if nse is None:
        found = over_batch(lambda i: count_places(i, mat.sparse_shape), mat.n_batch, inside)
        nse = int(found.max(initial=0))

    def summed(data, indices):
        ordered, places = order_of(indices)
        group = jnp.cumsum(starts_group(ordered)) - 1
        data = jnp.where(spread(is_inside(ordered, mat.sparse_shape), data.ndim), data[places], 0)
        total = jnp.zeros((nse, *data.shape[1:]), data.dtype).at[group].add(data, mode="drop")
        outside = jnp.broadcast_to(limits(mat.sparse_shape, indices.dtype), (nse, indices.shape[1]))
        return total, outside.at[group].set(ordered, mode="drop")
    buffers = over_batch(summed, mat.n_batch, mat.data, inside)
    return mat.replaced(*buffers, indices_sorted=True, unique_indices=True)


def count_places(indices: Any, shape: Sequence[int]) -> Any:
    """How many different places inside of a shape there are."""
    ordered, _ = order_of(indices)
    return (starts_group(ordered) & is_inside(ordered, shape)).sum()


def bcoo_eliminate_zeros(mat: BCOO, nse: int | None = None) -> BCOO:
    """The sums of duplicates, without elements that are zero."""
    zero = (mat.data == 0).all(tuple(range(mat.n_batch + 1, mat.data.ndim)))
    shared = tuple(i for i, d in enumerate(mat.indices.shape[:mat.n_batch]) if d == 1)
    zero = zero.all(shared, keepdims=True)
    mark = lambda i, gone: jnp.where(gone[:, None], limits(mat.sparse_shape, i.dtype), i)
    return bcoo_sum_duplicates(mat.replaced(mat.data, over_batch(mark, mat.n_batch, mat.indices, zero)), nse)


def whole_batch(mat: BCOO) -> BCOO:
    """One whose data and indices have all batch axes in full."""
    n, batch = mat.n_batch, mat.shape[:mat.n_batch]
    data, indices = (jnp.broadcast_to(x, (*batch, *x.shape[n:])) for x in (mat.data, mat.indices))
    return mat.replaced(data, indices, indices_sorted=mat.indices_sorted, unique_indices=mat.unique_indices)

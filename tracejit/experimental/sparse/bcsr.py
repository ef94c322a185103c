"""BCSR: batches of matrices whose elements are stored row by row, with dense blocks as elements.

    shape    = batch... + (rows, columns) + dense...
    data     [batch..., nse, dense...]
    indices  [batch..., nse]           the column of each element
    indptr   [batch..., rows + 1]      where each row begins
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit.experimental.sparse import views
from tracejit.experimental.sparse.base import JAXSparse, over_batch
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_extract, bcoo_fromdense, made
from tracejit.experimental.sparse.products import bcoo_dot_general
from tracejit.tree_util import register_pytree_node_class


@register_pytree_node_class
class BCSR(JAXSparse):
    """A batched sparse matrix (data, indices, indptr) in compressed row format; see the module.

    >>> BCSR.fromdense(jnp.array([[0., 2.], [0., 0.], [1., 3.]])).indptr
    Array([0, 1, 1, 3], dtype=int32)
    """

    def __init__(self, args: tuple[Any, Any, Any], *, shape: Sequence[int], indices_sorted: bool = False,
                 unique_indices: bool = False) -> None:
        self.data, self.indices, self.indptr = map(jnp.asarray, args)
        shape, n = tuple(operator.index(k) for k in shape), self.n_batch
        self.columns = shape[n + 1] if len(shape) > n + 1 else -1
        self.indices_sorted, self.unique_indices = indices_sorted, unique_indices
        if self.indptr.shape[n:] != (shape[n] + 1,) or self.data.shape[n:n + 1] != self.indices.shape[n:] or self.shape != shape:
            raise ValueError(f"BCSR: data of shape {self.data.shape}, indices of shape {self.indices.shape} and indptr of shape "
                             f"{self.indptr.shape} do not make an array of shape {shape}: they are [batch..., nse, dense...], "
                             "[batch..., nse] and [batch..., rows + 1]")

    @property
    def shape(self) -> tuple[int, ...]:
        n = self.n_batch
        batch = tuple(max(sizes) for sizes in zip(*[x.shape[:n] for x in (self.data, self.indices, self.indptr)]))
        return (*batch, self.indptr.shape[-1] - 1, self.columns, *self.data.shape[n + 1:])

    @property
    def nse(self) -> int:
        return self.indices.shape[-1]

    @property
    def n_batch(self) -> int:
        """The number of leading axes that run over a batch."""
        return self.indices.ndim - 1

    @property
    def n_sparse(self) -> int:
        """The number of axes that have indices: rows and columns."""
        return 2

    @property
    def n_dense(self) -> int:
        """The number of trailing axes that are stored in full."""
        return self.data.ndim - self.indices.ndim

    def layout(self) -> dict[str, int]:
        return {k: v for k, v in (("n_batch", self.n_batch), ("n_dense", self.n_dense)) if v}

    def tree_flatten(self) -> tuple[tuple[Any, Any, Any], tuple]:
        return (self.data, self.indices, self.indptr), (self.columns, self.indices_sorted, self.unique_indices)

    @classmethod
    def tree_unflatten(cls, aux: tuple, leaves: Sequence[Any]) -> BCSR:
        out = object.__new__(cls)
        (out.data, out.indices, out.indptr), (out.columns, out.indices_sorted, out.unique_indices) = leaves, aux
        return out

    @classmethod
    def fromdense(cls, mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32, n_dense: int = 0,
                  n_batch: int = 0) -> BCSR:
        """The elements of an array that are not zero; see `bcoo_fromdense`."""
        return bcsr_fromdense(mat, nse=nse, n_batch=n_batch, n_dense=n_dense, index_dtype=index_dtype)

    @classmethod
    def from_bcoo(cls, arr: BCOO) -> BCSR:
        """A BCOO array with two sparse axes, its elements sorted by row."""
        if arr.n_sparse != 2:
            raise NotImplementedError(f"BCSR.from_bcoo: the array must have two sparse axes, {arr} has {arr.n_sparse}")
        arr = arr if arr.indices_sorted else arr.sort_indices()
        rows = arr.sparse_shape[0]

        def begin(indices):
            counts = jnp.zeros(rows + 1, indices.dtype).at[indices[:, 0] + 1].add(1, mode="drop")
            return jnp.cumsum(counts, dtype=indices.dtype)
        indptr = over_batch(begin, arr.n_batch, arr.indices)
        return cls((arr.data, arr.indices[..., 1], indptr), shape=arr.shape)

    @classmethod
    def from_scipy_sparse(cls, mat: Any, *, index_dtype: Any = None, n_dense: int = 0, n_batch: int = 0) -> BCSR:
        """A matrix of scipy.sparse."""
        if n_dense or n_batch:
            raise NotImplementedError("BCSR.from_scipy_sparse: n_dense and n_batch must be 0")
        rows = mat.tocsr()
        dtype = index_dtype or np.int32
        return cls((rows.data, rows.indices.astype(dtype), rows.indptr.astype(dtype)), shape=mat.shape)

    def to_bcoo(self) -> BCOO:
        """The same elements with both indices."""
        def both(indices, indptr):
            row = jnp.cumsum(jnp.zeros(indices.shape[0] + 1, indices.dtype).at[indptr].add(1))[:-1] - 1
            return jnp.stack([row.astype(indices.dtype), indices], 1)
        indices = over_batch(both, self.n_batch, self.indices, self.indptr)
        return made(self.data, indices, (self.indptr.shape[-1] - 1, self.columns), self.indices_sorted, self.unique_indices)

    @classmethod
    def _empty(cls, shape: Sequence[int], *, dtype: Any = None, index_dtype: Any = "int32", n_dense: int = 0,
               n_batch: int = 0, nse: int = 0) -> BCSR:
        return cls.from_bcoo(BCOO._empty(shape, dtype=dtype, index_dtype=index_dtype, n_dense=n_dense, n_batch=n_batch, nse=nse))

    def todense(self) -> Any:
        """The array with all its elements."""
        return self.to_bcoo().todense()

    def sum_duplicates(self, nse: int | None = None, remove_zeros: bool = True) -> BCSR:
        """Elements at one place added up, in order, and (unless told otherwise) zeros removed."""
        return BCSR.from_bcoo(self.to_bcoo().sum_duplicates(nse, remove_zeros))


def bcsr_fromdense(mat: Any, *, nse: int | None = None, n_batch: int = 0, n_dense: int = 0, index_dtype: Any = np.int32) -> BCSR:
    """The elements of an array that are not zero, `nse` of them per batch (as many as there are, outside of jit)."""
    mat = jnp.asarray(mat)
    if mat.ndim - n_batch - n_dense != 2:
        raise ValueError(f"bcsr_fromdense: two axes must be sparse; {mat.shape} has n_batch={n_batch}, n_dense={n_dense}")
    return BCSR.from_bcoo(bcoo_fromdense(mat, nse=nse, n_batch=n_batch, n_dense=n_dense, index_dtype=index_dtype))


def bcsr_todense(mat: BCSR) -> Any:
    """The array with all its elements."""
    return mat.todense()


def bcsr_sum_duplicates(mat: BCSR, nse: int | None = None) -> BCSR:
    """Elements at one place added up."""
    return mat.sum_duplicates(nse, remove_zeros=False)


def bcsr_extract(indices: Any, indptr: Any, mat: Any) -> Any:
    """The elements of a dense array at the places of a BCSR array: its data there.

    >>> bcsr_extract(jnp.array([1, 0]), jnp.array([0, 1, 2]), jnp.array([[1., 2.], [3., 4.]]))
    Array([2., 3.], dtype=float32)
    """
    indices, indptr, mat = map(jnp.asarray, (indices, indptr, mat))
    n = indices.ndim - 1
    pattern = BCSR((jnp.zeros((*indices.shape, *mat.shape[n + 2:])), indices, indptr), shape=mat.shape)
    return bcoo_extract(pattern.to_bcoo(), mat, assume_unique=True).data


def bcsr_dot_general(lhs: Any, rhs: Any, *, dimension_numbers: Any, precision: Any = None,
                     preferred_element_type: Any = None, out_sharding: Any = None) -> Any:
    """lax.dot_general where operands may be BCSR arrays; see `bcoo_dot_general`."""
    lhs, rhs = (x.to_bcoo() if isinstance(x, BCSR) else x for x in (lhs, rhs))
    out = bcoo_dot_general(lhs, rhs, dimension_numbers=dimension_numbers, preferred_element_type=preferred_element_type)
    return BCSR.from_bcoo(out) if isinstance(out, BCOO) else out


def bcsr_concatenate(operands: Sequence[BCSR], *, dimension: int) -> BCSR:
    """Arrays one after another along a batch axis, the rows or the columns."""
    return BCSR.from_bcoo(views.bcoo_concatenate([x.to_bcoo() for x in operands], dimension=dimension))


def bcsr_broadcast_in_dim(mat: BCSR, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], sharding: Any = None) -> BCSR:
    """The array repeated along new axes; axis i becomes broadcast_dimensions[i]. New axes are batch or dense ones."""
    wide = views.bcoo_broadcast_in_dim(mat.to_bcoo(), shape=shape, broadcast_dimensions=broadcast_dimensions)
    return BCSR.from_bcoo(views.bcoo_update_layout(wide, n_batch=wide.n_batch + max(0, wide.n_sparse - 2), on_inefficient=None))


def row_major(mat: Any) -> Any:
    """A BCSR array as BCOO; anything else as it is."""
    return mat.to_bcoo() if isinstance(mat, BCSR) else mat



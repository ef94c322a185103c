"""COO, CSR and CSC: single matrices, as coordinates or compressed by rows or columns. Each is a BCOO in another dress."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit.experimental.sparse.base import JAXSparse
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_fromdense, made
from tracejit.experimental.sparse.bcsr import BCSR
from tracejit.tree_util import register_pytree_node_class


class Matrix(JAXSparse):
    """A sparse matrix of a fixed shape; `leaves` are its arrays, the first of which is data."""
    _shape: tuple[int, int]
    names: tuple[str, ...]

    def __init__(self, args: Sequence[Any], *, shape: Sequence[int], **flags: bool) -> None:
        self._shape = tuple(shape)
        for name, x in zip(self.names, args, strict=True):
            setattr(self, name, jnp.asarray(x))

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    @property
    def nse(self) -> int:
        return self.data.size

    def tree_flatten(self) -> tuple[tuple, tuple]:
        return tuple(getattr(self, name) for name in self.names), self._shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, int], leaves: Sequence[Any]) -> Any:
        out = object.__new__(cls)
        out._shape = shape
        for name, x in zip(cls.names, leaves, strict=True):
            setattr(out, name, x)
        return out

    def to_bcoo(self) -> BCOO:
        raise NotImplementedError

    @classmethod
    def from_bcoo(cls, mat: BCOO) -> Any:
        raise NotImplementedError

    @classmethod
    def fromdense(cls, mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32) -> Any:
        """The elements of a matrix that are not zero, `nse` of them (as many as there are, outside of jit)."""
        return cls.from_bcoo(bcoo_fromdense(mat, nse=nse, index_dtype=index_dtype))

    @classmethod
    def _empty(cls, shape: Sequence[int], *, dtype: Any = None, index_dtype: Any = "int32") -> Any:
        if len(shape) != 2:
            raise ValueError(f"empty: a {cls.__name__} matrix has two axes, not {tuple(shape)}")
        return cls.from_bcoo(BCOO._empty(shape, dtype=dtype, index_dtype=index_dtype))

    @classmethod
    def _eye(cls, N: int, M: int, k: int, *, dtype: Any = None, index_dtype: Any = "int32") -> Any:
        return cls.from_bcoo(BCOO._eye(N, M, k, dtype=dtype, index_dtype=index_dtype))

    def todense(self) -> Any:
        """The matrix with all its elements."""
        return self.to_bcoo().todense()

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, JAXSparse):
            raise NotImplementedError(f"{type(self).__name__} @ {type(other).__name__}; use BCOO for both")
        return self.to_bcoo() @ jnp.asarray(other)


@register_pytree_node_class
class COO(Matrix):
    """A matrix as (data, row, col); elements at one place add up.

    >>> COO.fromdense(jnp.eye(2)) @ jnp.ones(2)
    Array([1., 1.], dtype=float32)
    """
    names = "data", "row", "col"

    def __init__(self, args: Sequence[Any], *, shape: Sequence[int], rows_sorted: bool = False, cols_sorted: bool = False) -> None:
        super().__init__(args, shape=shape)

    def to_bcoo(self) -> BCOO:
        return made(self.data, jnp.stack([self.row, self.col], -1), self._shape)

    @classmethod
    def from_bcoo(cls, mat: BCOO) -> COO:
        return cls((mat.data, mat.indices[:, 0], mat.indices[:, 1]), shape=mat.shape)

    def transpose(self, axes: Sequence[int] | None = None) -> COO:
        check_axes(axes)
        return COO((self.data, self.col, self.row), shape=self._shape[::-1])


@register_pytree_node_class
class CSR(Matrix):
    """A matrix as (data, indices, indptr): the elements row by row, their columns, and where each row begins."""
    names = "data", "indices", "indptr"

    def to_bcoo(self) -> BCOO:
        return BCSR((self.data, self.indices, self.indptr), shape=self._shape).to_bcoo()

    @classmethod
    def from_bcoo(cls, mat: BCOO) -> CSR:
        rows = BCSR.from_bcoo(mat)
        return cls((rows.data, rows.indices, rows.indptr), shape=mat.shape)

    def transpose(self, axes: Sequence[int] | None = None) -> CSC:
        check_axes(axes)
        return CSC((self.data, self.indices, self.indptr), shape=self._shape[::-1])


@register_pytree_node_class
class CSC(Matrix):
    """A matrix as (data, indices, indptr): the elements column by column, their rows, and where each column begins."""
    names = "data", "indices", "indptr"

    def to_bcoo(self) -> BCOO:
        return self.transpose().to_bcoo().T

    @classmethod
    def from_bcoo(cls, mat: BCOO) -> CSC:
        return CSR.from_bcoo(mat.T).transpose()

    def transpose(self, axes: Sequence[int] | None = None) -> CSR:
        check_axes(axes)
        return CSR((self.data, self.indices, self.indptr), shape=self._shape[::-1])


def check_axes(axes: Sequence[int] | None) -> None:
    if axes is not None and tuple(axes) != (1, 0):
        raise NotImplementedError(f"transpose: a matrix has the axes (1, 0) to go to, not {tuple(axes)}")


def coo_fromdense(mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32) -> COO:
    """The elements of a matrix that are not zero."""
    return COO.fromdense(mat, nse=nse, index_dtype=index_dtype)


def csr_fromdense(mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32) -> CSR:
    """The elements of a matrix that are not zero."""
    return CSR.fromdense(mat, nse=nse, index_dtype=index_dtype)


def coo_todense(mat: COO) -> Any:
    """The matrix with all its elements."""
    return mat.todense()


def csr_todense(mat: CSR) -> Any:
    """The matrix with all its elements."""
    return mat.todense()


def coo_matvec(mat: COO, v: Any, transpose: bool = False) -> Any:
    """mat @ v, or mat.T @ v."""
    return (mat.T if transpose else mat) @ v


def coo_matmat(mat: COO, B: Any, *, transpose: bool = False) -> Any:
    """mat @ B, or mat.T @ B."""
    return (mat.T if transpose else mat) @ B


def csr_matvec(mat: CSR, v: Any, transpose: bool = False) -> Any:
    """mat @ v, or mat.T @ v."""
    return (mat.T if transpose else mat) @ v


def csr_matmat(mat: CSR, B: Any, *, transpose: bool = False) -> Any:
    """mat @ B, or mat.T @ B."""
    return (mat.T if transpose else mat) @ B

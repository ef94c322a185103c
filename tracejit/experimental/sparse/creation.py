"""Sparse arrays from nothing, in any format, and any of them as a dense array."""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import tracejit.numpy as jnp
from tracejit.experimental.sparse.base import JAXSparse
from tracejit.experimental.sparse.bcoo import BCOO
from tracejit.experimental.sparse.bcsr import BCSR
from tracejit.experimental.sparse.coordinates import COO, CSC, CSR
from tracejit.experimental.sparse.sparsify import Todense
from tracejit.ir.trace import bind, is_traced

FORMATS: dict[str, Any] = {"bcoo": BCOO, "bcsr": BCSR, "coo": COO, "csr": CSR, "csc": CSC}


def format_of(name: str) -> Any:
    if name not in FORMATS:
        raise ValueError(f"sparse_format={name!r} not recognized; must be one of {list(FORMATS)}")
    return FORMATS[name]


def empty(shape: Sequence[int], dtype: Any = None, index_dtype: Any = "int32", sparse_format: str = "bcoo", **kwds: Any) -> Any:
    """A sparse array without elements; further arguments (n_batch, n_dense, nse) are the format's.

    >>> from tracejit.experimental import sparse
    >>> sparse.empty((2, 3))
    BCOO(float32[2, 3], nse=0)
    """
    return format_of(sparse_format)._empty(tuple(shape), dtype=dtype, index_dtype=index_dtype, **kwds)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None, index_dtype: Any = "int32", sparse_format: str = "bcoo",
        **kwds: Any) -> Any:
    """The N x M matrix with ones on the k-th diagonal.

    >>> from tracejit.experimental import sparse
    >>> sparse.eye(3, k=1)
    BCOO(float32[3, 3], nse=2)
    """
    n, m, k = operator.index(N), operator.index(N if M is None else M), operator.index(k)
    if sparse_format == "bcsr":
        return BCSR.from_bcoo(BCOO._eye(n, m, k, dtype=dtype, index_dtype=index_dtype, **kwds))
    return format_of(sparse_format)._eye(n, m, k, dtype=dtype, index_dtype=index_dtype, **kwds)


def todense(arr: Any) -> Any:
    """A sparse array with all its elements; a dense one as it is. Under sparsify too.

    >>> from tracejit.experimental import sparse
    >>> sparse.todense(sparse.eye(2))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if isinstance(arr, JAXSparse):
        return arr.todense()
    return bind(Todense(""), arr) if is_traced(arr) else jnp.asarray(arr)

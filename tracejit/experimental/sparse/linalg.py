"""Linear algebra with sparse matrices: spsolve."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental.sparse.bcsr import BCSR
from tracejit.lax.callback import pure_callback
from tracejit.transforms.inspect import ShapeDtypeStruct


def spsolve(data: Any, indices: Any, indptr: Any, b: Any, tol: float = 1e-6, reorder: int = 1) -> Any:
    """x with A x = b for a square matrix in compressed rows; b is a vector. By SuperLU, on the host.

    Differentiable in both modes with respect to data and b, as the solution. tol and reorder change nothing: they are
    for iterative and GPU solvers.

    >>> from tracejit.experimental import sparse
    >>> A = sparse.BCSR.fromdense(jnp.array([[2., 0.], [1., 4.]]))
    >>> spsolve(A.data, A.indices, A.indptr, jnp.array([2., 9.]))
    Array([1., 2.], dtype=float32)
    """
    data, indices, indptr, b = map(jnp.asarray, (data, indices, indptr, b))
    n = b.size
    if b.ndim != 1 or indptr.shape != (n + 1,):
        raise ValueError(f"spsolve: A has {indptr.size - 1} rows and b the shape {b.shape}; b must be a vector of A's size")
    dtype = jnp.promote_types(data.dtype, b.dtype)
    data, b = data.astype(dtype), b.astype(dtype)
    matrix = BCSR((data, indices, indptr), shape=(n, n)).to_bcoo()

    def by_superlu(transpose: bool) -> Callable:
        result = ShapeDtypeStruct((n,), dtype)
        return lambda _, right: pure_callback(solve_on_host(transpose), result, lax.stop_gradient(data), indices, indptr, right,
                                              vmap_method="sequential")
    return lax.custom_linear_solve(lambda x: matrix @ x, b, by_superlu(False), by_superlu(True))


def solve_on_host(transpose: bool) -> Callable:
    return solve_transposed if transpose else solve


def solve(data: Any, indices: Any, indptr: Any, b: Any) -> np.ndarray:
    data, indices, indptr, b = map(np.asarray, (data, indices, indptr, b))
    rows = scipy.sparse.csr_matrix((data, indices, indptr), shape=(b.size, b.size))
    return scipy.sparse.linalg.spsolve(rows.tocsc(), b).astype(b.dtype)


def solve_transposed(data: Any, indices: Any, indptr: Any, b: Any) -> np.ndarray:
    data, indices, indptr, b = map(np.asarray, (data, indices, indptr, b))
    columns = scipy.sparse.csc_matrix((data, indices, indptr), shape=(b.size, b.size))
    return scipy.sparse.linalg.spsolve(columns, b).astype(b.dtype)

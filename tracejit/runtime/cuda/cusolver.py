"""LU factors, row exchanges and triangular systems of stacks of matrices, by cuSOLVER and cuBLAS as CuPy calls them.

Written from CuPy's sources; it has not run on a GPU.
"""
from __future__ import annotations

import functools
import warnings
from typing import Any

import cupy
import cupyx.scipy.linalg
import numpy as np
from cupy.linalg import _decomposition

EXCHANGES = """
    for (int j = 0; j < size; j++) order[i * size + j] = j;
    for (int j = 0; j < count; j++) {
        int there = pivots[i * count + j], held = order[i * size + j];
        order[i * size + j] = order[i * size + there];
        order[i * size + there] = held;
    }
"""


@functools.cache
def exchanges() -> Any:
    """A thread makes the exchanges of one matrix, as `LuPivotsToPermutation` does."""
    return cupy.ElementwiseKernel("raw int32 pivots, int32 count, int32 size", "raw int32 order", EXCHANGES, "tracejit_exchanges")


class DeviceFactors:
    """The same as `routines.HostFactors`, on arrays of CuPy."""

    def lu(self, x: Any) -> tuple[Any, Any]:
        if x.shape[-1] == x.shape[-2]:      # many at a time, on transposed matrices, with exchanges counted from 1
            turned, pivots, _ = _decomposition._lu_factor(np.swapaxes(x, -1, -2), x.dtype)
            return np.swapaxes(turned, -1, -2), pivots - 1
        packed, pivots = cupy.empty(x.shape, x.dtype), cupy.empty((*x.shape[:-2], min(x.shape[-2:])), np.int32)
        for k in np.ndindex(x.shape[:-2]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)     # of singular matrices, which have factors
                packed[k], pivots[k] = cupyx.scipy.linalg.lu_factor(x[k], check_finite=False)
        return packed, pivots

    def permutation(self, pivots: Any, size: int) -> Any:
        batch, count = pivots.shape[:-1], pivots.shape[-1]
        order = cupy.empty((*batch, size), np.int32)
        exchanges()(cupy.ascontiguousarray(pivots), count, size, order, size=order.size // size)
        return order

    def solve_triangular(self, a: Any, b: Any, lower: bool, transpose: bool, unit: bool) -> Any:
        return cupyx.scipy.linalg.solve_triangular(a, b, trans="T" if transpose else "N", lower=lower, unit_diagonal=unit,
                                                   check_finite=False)

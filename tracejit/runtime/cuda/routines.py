"""Products and convolutions on arrays of an array library `xp`, NumPy or CuPy: what a Runtime does where it has nothing better.
And factorizations that NumPy lacks, on its arrays; `cusolver.py` has the same on CuPy's."""
from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from tracejit.codegen.cuda.interface import ConvWindow, Epilogue
from tracejit.ir.types import bfloat16

HALVES = (np.dtype("float16"), bfloat16)
GELU_SCALE, GELU_CUBE = 0.7978845608028654, 0.044715


def wide(x: Any) -> Any:
    """16-bit floats as float32, in which they are summed."""
    return x.astype(np.float32) if x.dtype in HALVES else x


def multiply(xp: Any, x: Any, y: Any, out: Any, epilogue: Epilogue | None, bias: Any, accumulate: bool) -> None:
    """out[...] = x @ y (+ out), then the epilogue."""
    total = xp.matmul(wide(x), wide(y))
    if accumulate:
        total = total + wide(out)
    if epilogue is not None:
        total = finished(xp, total, epilogue.activation, bias)
    out[...] = total.astype(out.dtype)


def finished(xp: Any, x: Any, activation: str | None, bias: Any) -> Any:
    if bias is not None:
        x = x + wide(bias)
    if activation == "relu":
        return xp.maximum(x, x.dtype.type(0))
    if activation == "gelu":
        half, scale, cube = (x.dtype.type(c) for c in (0.5, GELU_SCALE, GELU_CUBE))
        return half * x * (1 + xp.tanh(scale * (x + cube * x * x * x)))
    return x


# --- convolution ----------------------------------------------------------------------------------------

def convolve(xp: Any, x: Any, w: Any, out: Any, window: ConvWindow) -> None:
    """out[N, O, ...] by gathering windows of x and one product per group."""
    padded = dilated_and_padded(xp, wide(x), window)
    views = windows_of(xp, padded, w.shape[2:], out.shape[2:], window)
    n_groups = window.groups * window.batch_groups
    channels, features = w.shape[1], w.shape[0] // n_groups
    batch = out.shape[0]
    for g in range(n_groups):
        rows = slice(g * batch, (g + 1) * batch) if window.batch_groups > 1 else slice(None)
        columns = slice(g * channels, (g + 1) * channels) if window.groups > 1 else slice(None)
        kept = slice(g * features, (g + 1) * features)
        k = len(window.strides)
        taps = list(range(2 + k, 2 + 2 * k))
        found = xp.tensordot(views[rows, columns], wide(w[kept]), axes=([1, *taps], [1, *range(2, 2 + k)]))
        out[:, kept] = xp.moveaxis(found, -1, 1).astype(out.dtype)


def dilated_and_padded(xp: Any, x: Any, window: ConvWindow) -> Any:
    """x with zeros between its elements and around them; negative padding cuts."""
    spatial = [(n - 1) * d + 1 if n else 0 for n, d in zip(x.shape[2:], window.x_dilation)]
    around = [(max(low, 0), max(high, 0)) for low, high in window.padding]
    full = xp.zeros((*x.shape[:2], *[n + low + high for n, (low, high) in zip(spatial, around)]), x.dtype)
    inside = [slice(low, low + n, d) for n, (low, _), d in zip(spatial, around, window.x_dilation)]
    full[(slice(None), slice(None), *inside)] = x
    cut = [slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(full.shape[2:], window.padding)]
    return full[(slice(None), slice(None), *cut)]


def windows_of(xp: Any, x: Any, taps: tuple[int, ...], outs: tuple[int, ...], window: ConvWindow) -> Any:
    """x[N, C, out..., tap...] without copying."""
    steps = x.strides[2:]
    moved = [step * s for step, s in zip(steps, window.strides)]
    tapped = [step * d for step, d in zip(steps, window.w_dilation)]
    return xp.lib.stride_tricks.as_strided(x, (*x.shape[:2], *outs, *taps), (*x.strides[:2], *moved, *tapped))


# --- factorizations of stacks of matrices ---------------------------------------------------------------

class HostFactors:
    """LU, row exchanges and triangular systems by SciPy."""

    def lu(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L and U packed, and LAPACK's row exchanges counted from 0."""
        packed, pivots = np.empty_like(x), np.empty((*x.shape[:-2], min(x.shape[-2:])), np.int32)
        getrf, = scipy.linalg.get_lapack_funcs(("getrf",), (x,))
        for k in np.ndindex(x.shape[:-2]):
            packed[k], pivots[k], _ = getrf(x[k])
        return packed, pivots

    def permutation(self, pivots: np.ndarray, size: int) -> np.ndarray:
        order = np.empty((*pivots.shape[:-1], size), np.int32)
        order[...] = np.arange(size)
        for k in np.ndindex(pivots.shape[:-1]):
            for i, j in enumerate(pivots[k]):
                order[k][[i, j]] = order[k][[j, i]]
        return order

    def solve_triangular(self, a: np.ndarray, b: np.ndarray, lower: bool, transpose: bool, unit: bool) -> np.ndarray:
        """x with a x = b, or with a's transpose."""
        x = np.empty(b.shape, b.dtype)
        trtrs, = scipy.linalg.get_lapack_funcs(("trtrs",), (a, b))
        for k in np.ndindex(a.shape[:-2]):
            x[k], info = trtrs(a[k], b[k], lower=lower, trans=int(transpose), unitdiag=unit)
            if info:        # LAPACK stops at a zero; its kernels divide by it
                raise np.linalg.LinAlgError(f"element {info} of the diagonal is zero")
        return x

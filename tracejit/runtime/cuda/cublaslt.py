"""Matrix products with epilogues by cuBLASLt: a plan per shapes, dtypes and epilogue, run on addresses.

Written from NVIDIA's documentation and checked against the signatures of nvmath-python 1.0; it has not run on a GPU.
cuBLASLt thinks in columns, so a row-major product x @ y is asked for as y^T @ x^T, whose memory is the same.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from nvmath import CudaDataType
from nvmath.bindings import cublas, cublasLt

from tracejit.codegen.cuda.interface import Buffer, Epilogue, View
from tracejit.ir.types import bfloat16

WORKSPACE = 32 << 20
DATA = {np.dtype("float32"): CudaDataType.CUDA_R_32F, np.dtype("float64"): CudaDataType.CUDA_R_64F,
        np.dtype("float16"): CudaDataType.CUDA_R_16F, bfloat16: CudaDataType.CUDA_R_16BF,
        np.dtype("complex64"): CudaDataType.CUDA_C_32F, np.dtype("complex128"): CudaDataType.CUDA_C_64F}
WIDE = (np.dtype("float64"), np.dtype("complex128"))
FULL, FAST_DTYPES = cublas.ComputeType.COMPUTE_32F, (np.dtype("float32"), np.dtype("complex64"))
FAST = {"tensorfloat32": cublas.ComputeType.COMPUTE_32F_FAST_TF32, "high": cublas.ComputeType.COMPUTE_32F_FAST_TF32,
        "bfloat16": cublas.ComputeType.COMPUTE_32F_FAST_16BF, "fastest": cublas.ComputeType.COMPUTE_32F_FAST_16BF}
EPILOGUES = {(False, None): cublasLt.Epilogue.DEFAULT, (True, None): cublasLt.Epilogue.BIAS,
             (False, "relu"): cublasLt.Epilogue.RELU, (True, "relu"): cublasLt.Epilogue.RELU_BIAS,
             (False, "gelu"): cublasLt.Epilogue.GELU, (True, "gelu"): cublasLt.Epilogue.GELU_BIAS}
TRANSPOSED = 1
SUMMED_WIDE = cublasLt.ReductionScheme.COMPUTE_TYPE     # parts of a sum are added in its own type, in a fixed order
MOST_ALIGNED = 256     # bytes; more does not help


class Matrix(NamedTuple):
    """A matrix as cuBLASLt sees it: columns `leading` elements apart, of `rows` elements each."""
    rows: int
    columns: int
    leading: int
    is_transposed: bool     # relative to what the product needs


def strides_of(view: View) -> tuple[int, ...]:
    if view.strides is not None:
        return view.strides
    return tuple(math.prod(view.shape[k + 1:]) for k in range(len(view.shape)))


def matrix_of(view: View) -> Matrix | None:
    """The last two axes in columns; None where neither is dense, or columns overlap.

    >>> matrix_of(View(0, (3, 5), np.dtype("float32")))
    Matrix(rows=5, columns=3, leading=5, is_transposed=False)
    """
    (n, m), (across, along) = view.shape[-2:], strides_of(view)[-2:]
    if (along == 1 or m == 1) and (across >= m or n == 1):
        return Matrix(m, n, max(across, m), False)
    if (across == 1 or n == 1) and (along >= n or m == 1):
        return Matrix(n, m, max(along, n), True)
    return None


class Plan:
    """One product of fixed shapes: what to call with which addresses."""

    def __init__(self, x: View, y: View, out: View, precision: str, activation: str | None, bias: View | None,
                 accumulate: bool, handle: int) -> None:
        self.handle, self.item = handle, x.dtype.itemsize
        wide = x.dtype in WIDE
        compute = (cublas.ComputeType.COMPUTE_64F if wide else FAST.get(precision, FULL) if x.dtype in FAST_DTYPES else FULL)
        scale = np.result_type("f8" if wide else "f4", x.dtype if x.dtype.kind == "c" else "f4")
        self.alpha, self.beta = np.array(1, scale), np.array(float(accumulate), scale)
        self.operation = cublasLt.matmul_desc_create(compute, DATA[scale])
        batch = batch_axes(x, y, out)
        self.inner, self.outer = batch[-1:], batch[:-1]
        self.layouts = [self.layout(view, k) for k, view in enumerate((y, x, out))]
        attributes = cublasLt.MatmulDescAttribute
        self.set(attributes.TRANSA, np.int32(TRANSPOSED * matrix_of(y).is_transposed))
        self.set(attributes.TRANSB, np.int32(TRANSPOSED * matrix_of(x).is_transposed))
        self.set(attributes.EPILOGUE, np.uint32(EPILOGUES[bias is not None, activation]))
        if bias is not None:
            self.set(attributes.BIAS_POINTER, np.uint64(bias.address))
        self.algorithm = self.chosen([self.alignment(v.address, k) for k, v in enumerate((y, x, out))])

    def alignment(self, address: int, k: int) -> int:
        """The bytes that each matrix of operand k starts at a multiple of."""
        return alignment_of(address, *[self.item * steps[k] for _, steps in (*self.inner, *self.outer)])

    def set(self, attribute: int, value: np.generic) -> None:
        held = np.array(value)
        cublasLt.matmul_desc_set_attribute(self.operation, attribute, held.ctypes.data, held.nbytes)

    def layout(self, view: View, k: int) -> int:
        m = matrix_of(view)
        made = cublasLt.matrix_layout_create(DATA[view.dtype], m.rows, m.columns, m.leading)
        if self.inner:
            size, steps = self.inner[0]
            attributes = cublasLt.MatrixLayoutAttribute
            count, step = np.array(size, np.int32), np.array(steps[k], np.int64)
            for attribute, held in ((attributes.BATCH_COUNT, count), (attributes.STRIDED_BATCH_OFFSET, step)):
                cublasLt.matrix_layout_set_attribute(made, attribute, held.ctypes.data, held.nbytes)
        return made

    def chosen(self, alignments: Sequence[int]) -> np.ndarray:
        """The algorithm that the library's heuristic puts first."""
        preference, attributes = cublasLt.matmul_preference_create(), cublasLt.MatmulPreferenceAttribute
        y, x, out = map(np.uint32, alignments)
        for attribute, value in ((attributes.MAX_WORKSPACE_BYTES, np.uint64(WORKSPACE)),
                                 (attributes.REDUCTION_SCHEME_MASK, np.uint32(SUMMED_WIDE)),
                                 (attributes.MIN_ALIGNMENT_A_BYTES, y), (attributes.MIN_ALIGNMENT_B_BYTES, x),
                                 (attributes.MIN_ALIGNMENT_C_BYTES, out), (attributes.MIN_ALIGNMENT_D_BYTES, out)):
            held = np.array(value)
            cublasLt.matmul_preference_set_attribute(preference, attribute, held.ctypes.data, held.nbytes)
        found, count = np.zeros(1, cublasLt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        a, b, c = self.layouts
        cublasLt.matmul_algo_get_heuristic(self.handle, self.operation, a, b, c, c, preference, 1, found.ctypes.data,
                                           count.ctypes.data)
        cublasLt.matmul_preference_destroy(preference)
        if not count[0] or found["state"][0]:
            raise ValueError("cuBLASLt knows no algorithm for this product")
        return found

    def run(self, addresses: Sequence[int], bias: int | None, workspace: int, stream: int) -> None:
        """addresses of y, x and out."""
        if bias is not None:
            self.set(cublasLt.MatmulDescAttribute.BIAS_POINTER, np.uint64(bias))
        for index in product(*[range(size) for size, _ in self.outer]):
            a, b, c = [at + self.item * sum(i * steps[k] for i, (_, steps) in zip(index, self.outer))
                       for k, at in enumerate(addresses)]
            la, lb, lc = self.layouts
            cublasLt.matmul(self.handle, self.operation, self.alpha.ctypes.data, a, la, b, lb, self.beta.ctypes.data, c, lc,
                            c, lc, self.algorithm["algo"].ctypes.data, workspace, WORKSPACE, stream)


def alignment_of(address: int, *steps: int) -> int:
    """The largest power of two, up to 256, that divides an address and the steps taken from it.

    >>> alignment_of(0x5000, 96), alignment_of(0x5004)
    (32, 4)
    """
    return math.gcd(MOST_ALIGNED, address, *steps)


def batch_axes(x: View, y: View, out: View) -> list[tuple[int, tuple[int, int, int]]]:
    """(size, steps of y, x and out) of each batch axis; neighbours that are one walk through memory are one axis.

    >>> f4 = np.dtype("float32")
    >>> batch_axes(View(0, (2, 3, 4, 5), f4), View(0, (2, 3, 5, 6), f4), View(0, (2, 3, 4, 6), f4))
    [(6, (30, 20, 24))]
    """
    axes: list[tuple[int, tuple[int, int, int]]] = []
    steps = [strides_of(v)[:-2] for v in (y, x, out)]
    for size, *here in zip(out.shape[:-2], *steps):
        if size == 1:
            continue
        if axes and all(outer == size * inner for outer, inner in zip(axes[-1][1], here)):
            axes[-1] = axes[-1][0] * size, tuple(here)
        else:
            axes.append((size, tuple(here)))
    return axes


class Products:
    """The plans of one device; None for a product that the library refused."""

    def __init__(self, workspace: Buffer) -> None:
        self.handle, self.workspace = cublasLt.create(), workspace
        self.plans: dict[Any, Plan | None] = {}

    @staticmethod
    def can(x: View, y: View, out: View) -> bool:
        """Whether cuBLASLt has a product as it stands: known dtypes, dense matrices, something to do."""
        result = matrix_of(out)
        return (x.dtype == y.dtype == out.dtype and x.dtype in DATA and 0 not in (*x.shape, *y.shape)
                and result is not None and not result.is_transposed and matrix_of(x) is not None and matrix_of(y) is not None)

    def plan(self, tried: Callable[..., Any], x: View, y: View, out: View, precision: str, epilogue: Epilogue,
             accumulate: bool) -> Callable[..., None] | None:
        """A function of x, y, out, bias and the stream; None where the library does not have this product."""
        if not self.can(x, y, out):
            return None
        bias = epilogue.bias
        alignments = [alignment_of(v.address) for v in (x, y, out)]
        key = (*[(v.shape, v.strides, v.dtype) for v in (x, y, out)], *alignments, precision, epilogue.activation, bias is not None,
               accumulate)
        if key not in self.plans:
            self.plans[key] = tried(lambda: Plan(x, y, out, precision, epilogue.activation, bias, accumulate, self.handle))
        plan = self.plans[key]
        return None if plan is None else functools.partial(self.run, plan)

    def run(self, plan: Plan, x: View, y: View, out: View, bias: View | None, stream: int) -> None:
        plan.run((y.address, x.address, out.address), None if bias is None else bias.address, self.workspace.address, stream)

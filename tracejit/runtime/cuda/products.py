"""Products and convolutions of a GPU program -> the Runtime's `gemm` and `conv`, on strided Views of the operands as they lie."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cuda.interface import ConvWindow, Epilogue, Runtime, View
from tracejit.lax.conv import ConvGeneralDilated
from tracejit.lax.dot import DotGeneral
from tracejit.lax.kinds import Contraction
from tracejit.transforms.passes.products import merged_axes


def contract(runtime: Runtime, op: Contraction, x: View, y: View, out: View, epilogue: Epilogue | None = None) -> None:
    if isinstance(op, ConvGeneralDilated):
        turns = zip((x, y, out), op.dimension_numbers)
        return runtime.conv(*[turned(v, order) for v, order in turns], window_of(op), precision=arithmetic(op.precision))
    assert isinstance(op, DotGeneral)
    spec = op.spec(len(x.shape), len(y.shape))
    left = as_matrices(x, spec.batch[0], spec.free[0], spec.contract[0])
    right = as_matrices(y, spec.batch[1], spec.contract[1], spec.free[1])
    batch = left.shape[:-2]
    return runtime.gemm(left, right, out._replace(shape=(*batch, left.shape[-2], right.shape[-1])), epilogue=epilogue,
                        precision=arithmetic(op.precision))


def arithmetic(precision: Any) -> str:
    """What factors of float32 may be rounded to, by an op's precision: they keep all their bits unless less is asked for.

    >>> arithmetic(None), arithmetic(("highest", "high")), arithmetic(("high", "high")), arithmetic("BF16_BF16_F32")
    ('float32', 'float32', 'tensorfloat32', 'bfloat16')
    """
    if precision is None or "highest" in precision:
        return "float32"
    if isinstance(precision, tuple):
        return "tensorfloat32"
    return {"TF32_TF32_F32": "tensorfloat32", "BF16_BF16_F32": "bfloat16"}.get(precision, "float32")


def as_matrices(view: View, batch: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> View:
    """A dense array as [batch..., rows, columns]; the products pass has left one stride in each group of axes."""
    strides = dense_strides(view.shape)
    [(m, row)], [(n, column)] = merged_axes(view.shape, rows), merged_axes(view.shape, columns)
    return view._replace(shape=(*[view.shape[a] for a in batch], m, n), strides=(*[strides[a] for a in batch], row, column))


def dense_strides(shape: Sequence[int]) -> list[int]:
    strides, step = [], 1
    for n in reversed(shape):
        strides, step = [step, *strides], step * n
    return strides


def turned(view: View, order: Sequence[int]) -> View:
    """A dense array with its axes in another order."""
    strides = dense_strides(view.shape)
    return view._replace(shape=tuple(view.shape[a] for a in order), strides=tuple(strides[a] for a in order))


def window_of(op: ConvGeneralDilated) -> ConvWindow:
    return ConvWindow(op.window_strides, op.padding, op.lhs_dilation, op.rhs_dilation, op.feature_group_count,
                      op.batch_group_count)

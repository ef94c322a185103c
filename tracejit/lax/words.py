"""The form of products of small numbers that back ends take: what the pass over products makes, on the way to machine code."""
from __future__ import annotations

import numpy as np

from tracejit.ir.types import ArrayType
from tracejit.lax.dot import DotGeneral
from tracejit.lax.kinds import op_dataclass


@op_dataclass
class WordProduct(DotGeneral):
    """A product of small numbers, of which processors multiply and add up all in a word of 32 bits at a time.

    x: (batch, i, k) of `dtype`; y: (batch, j, k) of it, or (batch, words of k, j) as uint32. Result: int32 or float32.
    """
    dtype: np.dtype | None = None

    def infer(self, x: ArrayType, y: ArrayType) -> ArrayType:
        n = y.shape[2 if y.dtype != self.dtype else 1]
        return ArrayType((*x.shape[:2], n), self.preferred)

    def eval(self, x, y):
        if y.dtype != self.dtype:
            b, words, n = y.shape
            y = np.swapaxes(np.ascontiguousarray(np.swapaxes(y, 1, 2)).view(self.dtype).reshape(b, n, -1), 1, 2)
        return super().eval(x, y)

"""Expressions of the Loop IR at a thread's point -> Values of the Builder; indices are 32 bits wide wherever they fit."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit.codegen.cpu.expressions import I32, I64, Position
from tracejit.codegen.cpu.value import Value
from tracejit.codegen.cuda.builder import Builder
from tracejit.ir.loops import Axis, Index


def index_dtype(index: Index):
    lo, hi = index.range
    return I32 if -2**31 <= lo and hi < 2**31 else I64


class Point(Position):
    """A Position of one lane."""

    def number(self, index: Index) -> Value:
        kind = index_dtype(index)
        return self.sum_of([(self.atom(a, kind), c) for a, c in index.terms], index.const, kind)

    def inner(self, axes, vector=None, lanes: int = 1, mask=None) -> Point:
        return Point(self.b, self.buffers, self.depends, axes, outer=self)


def divided(b: Builder, x: Value, by: int) -> tuple[Value, Value]:
    """Quotient and remainder of a number that is not negative."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    whole = b.renamed(b.binary("udiv", b.renamed(x, unsigned), b.const(by, unsigned)), x.dtype)
    return whole, b.sub(x, b.mul(whole, by))


def point_of(b: Builder, t: Value, axes: Sequence[Axis]) -> dict[Axis, Value]:
    """The point with row-major number t."""
    point = {}
    for axis in reversed(axes[1:]):
        t, point[axis] = divided(b, t, axis.size)
    return point | {axis: t for axis in axes[:1]}

"""Expressions of the Loop IR at a thread's point -> Values of the Builder; indices are 32 bits wide wherever they fit."""
from __future__ import annotations

from tracejit.codegen.cpu.expressions import I32, I64, Position
from tracejit.codegen.cpu.value import Value
from tracejit.ir.loops import Index


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

"""Values that the compiler must take as new: what is computed from them is not merged with what was computed before."""
from __future__ import annotations

from typing import Any, ClassVar

from tracejit import tree
from tracejit.ir.trace import bind
from tracejit.lax.kinds import Elementwise, View, has_tangent, op_dataclass


@op_dataclass
class OptimizationBarrier(View):
    """The first operand, not before the others are computed."""

    def infer(self, x, *after): return x
    def eval(self, x, *after): return x
    def pull(self, b, index, read, types): return read(0, index)

    def jvp(self, ctx, primals, tangents):
        out = bind(self, *primals)
        return out, None if tangents[0] is None or not has_tangent(out) else bind(self, tangents[0], *primals[1:])

    def transpose(self, ctx, ct, x, *after): return (bind(self, ct), *[None] * len(after))

    def batch(self, ctx, args, batched): return bind(self, *args), batched[0]


@op_dataclass
class Copy(Elementwise):
    """x, in memory of its own if several read it."""
    linear: ClassVar[bool] = True

    def eval(self, x): return x
    def scalar(self, b, x): return x
    def transpose(self, ctx, ct, x): return (ct,)


def optimization_barrier(operand: Any, /) -> Any:
    """The arrays of a tree, which the compiler takes as new: computations before and after are not merged.

    >>> optimization_barrier(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return tree.map(lambda x: bind(OptimizationBarrier(), x), operand)

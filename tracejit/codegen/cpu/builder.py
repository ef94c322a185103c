"""The Builder that ops' `scalar` rules and kernels are written against: typed values -> LLVM IR text.

    b = Builder(Module(host_isa()), "k", [("x", PTR), ("out", PTR), ("n", np.dtype("i8"))])
    x, out, n = b.params
    with b.loop(0, n, 16) as loop:
        b.store(b.exp(b.load(F32, b.gep(x, loop.index, F32), 16)), b.gep(out, loop.index, F32))
    b.ret()
    b.finish()
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .control import Control
from .elementary import Elementary
from .module import Module
from .value import PTR, AnyValue, ComplexValue, Value, type_text


class Builder(Elementary, Control):
    """One function under construction in a Module. See the bases, each a subject of its own:
    `Instructions` (constants, lanes, calls), `Arithmetic`, `Complex`, `Conversion`, `Memory`,
    `Control` and `Elementary` (exp, sin, ...).
    """

    repeated: frozenset = frozenset()   # the ops that are functions of their own: see `expressions.repeated`

    def applied(self, op: Any, args: Sequence[AnyValue]) -> AnyValue:
        """By a call if it is `repeated`, and there are vectors."""
        if op not in self.repeated or any(isinstance(x, ComplexValue) for x in args) or max(x.lanes for x in args) == 1:
            return super().applied(op, args)
        given = [x for x in args if x.const is None]
        types = [type_text(x.dtype, x.lanes) if x.const is None else x.text for x in args]
        name = self.module.functions.setdefault((op, *types), f"{type(op).__name__}{len(self.module.functions)}")

        def body(inner: Builder, *params: Value) -> AnyValue:
            rest = iter(params)
            return op.scalar(inner, *[next(rest) if x.const is None else x for x in args])
        return self.called(name, body, given)

    def internal_function(self, name: str, params: Sequence[tuple]) -> Builder:
        """The builder of another function of the module, visible only there."""
        return Builder(self.module, name, params, linkage="internal")

    def function_in(self, module: Module, name: str, params: Sequence[tuple]) -> Builder:
        """The builder of a function of another module."""
        return Builder(module, name, params)


__all__ = ["PTR", "Builder", "ComplexValue", "Module", "Value"]

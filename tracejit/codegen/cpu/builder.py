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

from .control import Control
from .elementary import Elementary
from .module import Module
from .value import PTR, ComplexValue, Value


class Builder(Elementary, Control):
    """One function under construction in a Module. See the bases, each a subject of its own:
    `Instructions` (constants, lanes, calls), `Arithmetic`, `Complex`, `Conversion`, `Memory`,
    `Control` and `Elementary` (exp, sin, ...).
    """

    def internal_function(self, name: str, params: Sequence[tuple]) -> Builder:
        """The builder of another function of the module, visible only there."""
        return Builder(self.module, name, params, linkage="internal")

    def function_in(self, module: Module, name: str, params: Sequence[tuple]) -> Builder:
        """The builder of a function of another module."""
        return Builder(module, name, params)


__all__ = ["PTR", "Builder", "ComplexValue", "Module", "Value"]

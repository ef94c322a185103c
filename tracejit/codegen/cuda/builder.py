"""The Builder that ops' `scalar` rules and kernels are written against: typed values -> Numba-CUDA source.

    b = Builder("k", [("x", PTR), ("out", PTR), ("n", np.dtype("i4"))])
    x, out, n = b.params
    at = b.thread()
    with b.block(f"if {b.lt(at, n).name}:"):
        b.store(b.exp(b.load(F32, b.gep(x, at))), b.gep(out, at))

The rules, elementary functions included, are the CPU's: they use nothing but exactly rounded operations, so a value has
the same bits here and there, wherever the CPU has fused multiply-add.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.codegen.cpu.elementary import Elementary
from tracejit.codegen.cpu.value import PTR, AnyValue, is_half
from tracejit.codegen.cuda.control import Control


class Builder(Elementary, Control):
    """One device function. An elementary function becomes a function of its own, which Numba types once."""

    def _apply(self, real: Callable, *xs: Any) -> AnyValue:
        xs = self.match(*xs)
        if is_half(xs[0].dtype):
            return self.widened(lambda *wide: self._apply(real, *wide), *xs)
        return self.device_function(real.__name__, lambda b, *params: super()._apply(real, *params), xs)


__all__ = ["PTR", "Builder"]

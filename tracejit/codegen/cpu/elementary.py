"""Elementary functions of a Value -> the polynomial code of `vecmath`, by kind of number."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .control import Control
from .value import AnyValue, ComplexValue, is_float, is_half, is_integer
from .vecmath import complex_functions, erf, exp, gamma, hyperbolic, inverse_trig, log, power, trig


class Elementary(Control):
    """f16 and bf16 are computed in f32 and rounded; complex has formulas of its own."""

    def _apply(self, real: Callable, complex_: Callable | None, *xs: Any) -> AnyValue:
        xs = self.match(*xs)
        if isinstance(xs[0], ComplexValue):
            if complex_ is None:
                raise TypeError(f"{real.__name__} is not defined for {xs[0].dtype}")
            return complex_(self, *xs)
        if is_half(xs[0].dtype):
            return self.widened(lambda *wide: real(self, *wide), *xs)
        if not is_float(xs[0].dtype):
            raise TypeError(f"{real.__name__} needs a float, not {xs[0].dtype}")
        return real(self, *xs)

    # ---- exponentials and logarithms ----

    def exp(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.exp, complex_functions.exp, x)

    def exp2(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.exp2, complex_functions.exp2, x)

    def expm1(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.expm1, complex_functions.expm1, x)

    def log(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log, complex_functions.log, x)

    def log2(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log2, None, x)

    def log1p(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log1p, complex_functions.log1p, x)

    def logistic(self, x: AnyValue) -> AnyValue:
        """1 / (1 + exp(-x))."""
        return self._apply(exp.logistic, complex_functions.logistic, x)

    # ---- trigonometric ----

    def sin(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.sin, complex_functions.sin, x)

    def cos(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.cos, complex_functions.cos, x)

    def tan(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.tan, complex_functions.tan, x)

    def asin(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.asin, complex_functions.asin, x)

    def acos(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.acos, complex_functions.acos, x)

    def atan(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.atan, complex_functions.atan, x)

    def atan2(self, y: Any, x: Any) -> AnyValue:
        """The angle of the point (x, y), in [-pi, pi]."""
        return self._apply(inverse_trig.atan2, complex_functions.atan2, y, x)

    # ---- hyperbolic ----

    def sinh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.sinh, complex_functions.sinh, x)

    def cosh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.cosh, complex_functions.cosh, x)

    def tanh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.tanh, complex_functions.tanh, x)

    def asinh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.asinh, complex_functions.asinh, x)

    def acosh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.acosh, complex_functions.acosh, x)

    def atanh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.atanh, complex_functions.atanh, x)

    # ---- powers ----

    def pow(self, x: Any, y: Any) -> AnyValue:
        """x to the power y (floats or complex); C's rules at zeros, ones, infinities and nan."""
        return self._apply(power.pow, complex_functions.pow, x, y)

    def integer_pow(self, x: AnyValue, n: int) -> AnyValue:
        """x multiplied n times, by squaring; negative n gives 1 / x**-n (floats and complex only)."""
        if is_half(x.dtype):
            return self.widened(lambda wide: self.integer_pow(wide, n), x)
        if n < 0:
            if is_integer(x.dtype):
                raise TypeError("an integer cannot be raised to a negative power")
            return self.div(self.const(1, x.dtype, x.lanes), self.integer_pow(x, -n))
        out = None
        while n:
            if n & 1:
                out = x if out is None else self.mul(out, x)
            n >>= 1
            x = self.mul(x, x) if n else x
        return self.const(1, x.dtype, x.lanes) if out is None else out

    def cbrt(self, x: AnyValue) -> AnyValue:
        return self._apply(power.cbrt, None, x)

    # ---- error function and gamma ----

    def erf(self, x: AnyValue) -> AnyValue:
        return self._apply(erf.erf, None, x)

    def erfc(self, x: AnyValue) -> AnyValue:
        """1 - erf(x), accurate in the tail."""
        return self._apply(erf.erfc, None, x)

    def erf_inv(self, x: AnyValue) -> AnyValue:
        """The y with erf(y) = x; +-inf at +-1, nan outside."""
        return self._apply(erf.erf_inv, None, x)

    def lgamma(self, x: AnyValue) -> AnyValue:
        """log |gamma(x)|."""
        return self._apply(gamma.lgamma, None, x)

    def digamma(self, x: AnyValue) -> AnyValue:
        """The derivative of lgamma; nan at the poles."""
        return self._apply(gamma.digamma, None, x)

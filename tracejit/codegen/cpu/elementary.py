"""Elementary functions of a Value -> the polynomial code of `vecmath`, by kind of number."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .value import AnyValue, ComplexValue, is_float, is_half, is_integer
from .vecmath import complex_functions, erf, exp, gamma, hyperbolic, inverse_trig, log, power, trig


class Elementary:
    """f16 and bf16 are computed in f32 and rounded; complex has formulas of its own."""

    def _apply(self, real: Callable, *xs: Any) -> AnyValue:
        """`real` on floats; on complex numbers the function of the same name in `complex_functions`."""
        xs = self.match(*xs)
        if isinstance(xs[0], ComplexValue):
            complex_ = getattr(complex_functions, real.__name__, None)
            if complex_ is None:
                raise TypeError(f"{real.__name__} is not defined for {xs[0].dtype}")
            return complex_(self, *xs)
        if is_half(xs[0].dtype):
            return self.widened(lambda *wide: real(self, *wide), *xs)
        if not is_float(xs[0].dtype):
            raise TypeError(f"{real.__name__} needs a float, not {xs[0].dtype}")
        return real(self, *xs)

    def applied(self, op: Any, args: Sequence[AnyValue]) -> AnyValue:
        """An op of elements; here: written out where it is used."""
        return op.scalar(self, *args)

    # ---- exponentials and logarithms ----

    def exp(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.exp, x)

    def exp2(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.exp2, x)

    def expm1(self, x: AnyValue) -> AnyValue:
        return self._apply(exp.expm1, x)

    def log(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log, x)

    def log2(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log2, x)

    def log1p(self, x: AnyValue) -> AnyValue:
        return self._apply(log.log1p, x)

    def logistic(self, x: AnyValue) -> AnyValue:
        """1 / (1 + exp(-x))."""
        return self._apply(exp.logistic, x)

    # ---- trigonometric ----

    def sin(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.sin, x)

    def cos(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.cos, x)

    def tan(self, x: AnyValue) -> AnyValue:
        return self._apply(trig.tan, x)

    def asin(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.asin, x)

    def acos(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.acos, x)

    def atan(self, x: AnyValue) -> AnyValue:
        return self._apply(inverse_trig.atan, x)

    def atan2(self, y: Any, x: Any) -> AnyValue:
        """The angle of the point (x, y), in [-pi, pi]."""
        return self._apply(inverse_trig.atan2, y, x)

    # ---- hyperbolic ----

    def sinh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.sinh, x)

    def cosh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.cosh, x)

    def tanh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.tanh, x)

    def asinh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.asinh, x)

    def acosh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.acosh, x)

    def atanh(self, x: AnyValue) -> AnyValue:
        return self._apply(hyperbolic.atanh, x)

    # ---- powers ----

    def pow(self, x: Any, y: Any) -> AnyValue:
        """x to the power y (floats or complex); C's rules at zeros, ones, infinities and nan."""
        return self._apply(power.pow, x, y)

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
        return self._apply(power.cbrt, x)

    # ---- error function and gamma ----

    def erf(self, x: AnyValue) -> AnyValue:
        return self._apply(erf.erf, x)

    def erfc(self, x: AnyValue) -> AnyValue:
        """1 - erf(x), accurate in the tail."""
        return self._apply(erf.erfc, x)

    def erfcx(self, x: AnyValue) -> AnyValue:
        """exp(x**2) erfc(x)."""
        return self._apply(erf.erfcx, x)

    def erf_inv(self, x: AnyValue) -> AnyValue:
        """The y with erf(y) = x; +-inf at +-1, nan outside."""
        return self._apply(erf.erf_inv, x)

    def lgamma(self, x: AnyValue) -> AnyValue:
        """log |gamma(x)|."""
        return self._apply(gamma.lgamma, x)

    def lgamma1p(self, x: AnyValue) -> AnyValue:
        """log gamma(1 + x) for x >= -1/4, accurate near its zeros at 0 and 1."""
        return self._apply(gamma.lgamma1p, x)

    def digamma(self, x: AnyValue) -> AnyValue:
        """The derivative of lgamma; nan at the poles."""
        return self._apply(gamma.digamma, x)

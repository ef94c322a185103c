"""Exponentials, logarithms, trigonometric and hyperbolic functions, element by element."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.convert import operands
from tracejit.lax.elementwise import Float, Inexact, add, div, log, mul, neg, rsqrt, sqrt, square, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special


@op_dataclass
class Transcendental(Inexact):
    """Real or complex functions that take tens of instructions."""
    is_long: ClassVar[bool] = True


@op_dataclass
class Exp(Transcendental):
    """e to the power x."""

    def eval(self, x): return np.exp(x)
    def partials(self, out, x): return (out,)


def exp(x: Any, *, accuracy: Any = None) -> Any: return bind(Exp(), x)


@op_dataclass
class Exp2(Transcendental):
    """2 to the power x."""

    def eval(self, x):
        if x.dtype.kind != "c":
            return np.exp2(x)
        whole = np.where(np.abs(x.real) < 2000, np.rint(x.real), 0)
        out = np.empty(x.shape, np.complex128)  # part by part: a complex product makes nan of inf * 0
        out.real, out.imag = (x.real - whole) * np.log(2.0), x.imag * np.log(2.0)
        np.exp(out, out=out)
        out.real, out.imag = (np.ldexp(part, whole.astype(int)) for part in (out.real, out.imag))
        return out.astype(x.dtype)

    def partials(self, out, x): return (mul(math.log(2), out),)


def exp2(x: Any, *, accuracy: Any = None) -> Any: return bind(Exp2(), x)


@op_dataclass
class Expm1(Transcendental):
    """exp(x) - 1, exact for small x."""
    ulp: ClassVar[float] = 2

    def eval(self, x): return np.expm1(x)
    def partials(self, out, x): return (add(out, 1.0),)


def expm1(x: Any, *, accuracy: Any = None) -> Any: return bind(Expm1(), x)


@op_dataclass
class Log1p(Transcendental):
    """log(1 + x), exact for small x."""
    ulp: ClassVar[float] = 2

    def eval(self, x):
        if x.dtype.kind != "c":
            return np.log1p(x)
        return special("log1p")(x.astype(np.complex128)).astype(x.dtype)    # NumPy's loses the digits of small numbers

    def partials(self, out, x): return (div(1.0, add(x, 1.0)),)


def log1p(x: Any, *, accuracy: Any = None) -> Any: return bind(Log1p(), x)


@op_dataclass
class Logistic(Transcendental):
    """1 / (1 + exp(-x))."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(special("expit") if x.dtype.kind != "c" else lambda x: 1 / (1 + np.exp(-x)), x)
    def partials(self, out, x): return (mul(out, sub(1.0, out)),)


def logistic(x: Any, *, accuracy: Any = None) -> Any: return bind(Logistic(), x)


@op_dataclass
class Sin(Transcendental):
    """Sine of x in radians."""

    def eval(self, x): return np.sin(x)
    def partials(self, out, x): return (cos(x),)


def sin(x: Any, *, accuracy: Any = None) -> Any: return bind(Sin(), x)


@op_dataclass
class Cos(Transcendental):
    """Cosine of x in radians."""

    def eval(self, x): return np.cos(x)
    def partials(self, out, x): return (neg(sin(x)),)


def cos(x: Any, *, accuracy: Any = None) -> Any: return bind(Cos(), x)


@op_dataclass
class Tan(Transcendental):
    """Tangent of x in radians."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.tan(x)
    def partials(self, out, x): return (add(1.0, square(out)),)


def tan(x: Any, *, accuracy: Any = None) -> Any: return bind(Tan(), x)


@op_dataclass
class Asin(Transcendental):
    """The angle in [-pi/2, pi/2] whose sine is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arcsin(x)
    def partials(self, out, x): return (rsqrt(sub(1.0, square(x))),)


def asin(x: Any) -> Any: return bind(Asin(), x)


@op_dataclass
class Acos(Transcendental):
    """The angle in [0, pi] whose cosine is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arccos(x)
    def partials(self, out, x): return (neg(rsqrt(sub(1.0, square(x)))),)


def acos(x: Any) -> Any: return bind(Acos(), x)


@op_dataclass
class Atan(Transcendental):
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arctan(x)
    def partials(self, out, x): return (div(1.0, add(1.0, square(x))),)


def atan(x: Any) -> Any: return bind(Atan(), x)


@op_dataclass
class Atan2(Float):
    """The angle in [-pi, pi] of the point (y, x)."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 4

    def eval(self, x, y): return in_f32(np.arctan2, x, y)

    def partials(self, out, x, y):
        length2 = add(square(x), square(y))
        return div(y, length2), neg(div(x, length2))


def atan2(x: Any, y: Any) -> Any:
    """The angle of (y, x); of complex numbers -i log((y + i x) / sqrt(x^2 + y^2)).

    >>> print(atan2(1.0, -1.0))
    2.3561945
    """
    x, y = operands(x, y)
    if type_of(x).dtype.kind != "c":
        return bind(Atan2(), x, y)
    return mul(-1j, log(div(add(y, mul(1j, x)), sqrt(add(square(x), square(y))))))


@op_dataclass
class Sinh(Transcendental):
    """Hyperbolic sine of x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.sinh(x)
    def partials(self, out, x): return (cosh(x),)


def sinh(x: Any) -> Any: return bind(Sinh(), x)


@op_dataclass
class Cosh(Transcendental):
    """Hyperbolic cosine of x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.cosh(x)
    def partials(self, out, x): return (sinh(x),)


def cosh(x: Any) -> Any: return bind(Cosh(), x)


@op_dataclass
class Tanh(Transcendental):
    """Hyperbolic tangent of x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.tanh(x)
    def partials(self, out, x): return (mul(add(1.0, out), sub(1.0, out)),)


def tanh(x: Any, *, accuracy: Any = None) -> Any: return bind(Tanh(), x)


@op_dataclass
class Asinh(Transcendental):
    """The number whose hyperbolic sine is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arcsinh(x)
    def partials(self, out, x): return (rsqrt(add(square(x), 1.0)),)


def asinh(x: Any) -> Any: return bind(Asinh(), x)


@op_dataclass
class Acosh(Transcendental):
    """The number that is not negative whose hyperbolic cosine is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arccosh(x)
    def partials(self, out, x): return (mul(rsqrt(sub(x, 1.0)), rsqrt(add(x, 1.0))),)


def acosh(x: Any) -> Any: return bind(Acosh(), x)


@op_dataclass
class Atanh(Transcendental):
    """The number whose hyperbolic tangent is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.arctanh(x)
    def partials(self, out, x): return (div(1.0, mul(add(1.0, x), sub(1.0, x))),)


def atanh(x: Any) -> Any: return bind(Atanh(), x)

"""Error functions and the gamma function's logarithm and derivatives, element by element."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import scipy.special

from tracejit.ir.trace import bind
from tracejit.lax.convert import in_f32
from tracejit.lax.elementary import exp
from tracejit.lax.elementwise import Float, mul, neg, square
from tracejit.lax.kinds import op_dataclass


@op_dataclass
class Erf(Float):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(scipy.special.erf, x)
    def partials(self, out, x): return (mul(2 / math.sqrt(math.pi), exp(neg(square(x)))),)


def erf(x: Any) -> Any: return bind(Erf(), x)


@op_dataclass
class Erfc(Float):
    """1 - erf(x), exact for large x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(scipy.special.erfc, x)
    def partials(self, out, x): return (mul(-2 / math.sqrt(math.pi), exp(neg(square(x)))),)


def erfc(x: Any) -> Any: return bind(Erfc(), x)


@op_dataclass
class ErfInv(Float):
    """The number whose erf is x."""
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(scipy.special.erfinv, x)
    def partials(self, out, x): return (mul(math.sqrt(math.pi) / 2, exp(square(out))),)


def erf_inv(x: Any) -> Any: return bind(ErfInv(), x)


@op_dataclass
class Lgamma(Float):
    """The logarithm of the absolute value of the gamma function."""
    ulp: ClassVar[float] = 8

    def eval(self, x): return in_f32(scipy.special.gammaln, x)
    def partials(self, out, x): return (digamma(x),)


def lgamma(x: Any) -> Any: return bind(Lgamma(), x)


@op_dataclass
class Digamma(Float):
    """The derivative of lgamma."""
    ulp: ClassVar[float] = 8

    def eval(self, x): return in_f32(scipy.special.digamma, x)
    def partials(self, out, x): return (polygamma(1, x),)


def digamma(x: Any) -> Any: return bind(Digamma(), x)

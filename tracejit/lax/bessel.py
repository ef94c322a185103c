"""Modified Bessel functions of the first kind, scaled by exp(-|x|), element by element."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.lax.compare import eq, select
from tracejit.lax.elementwise import Float, add, div, mul, sign, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special

F64 = np.dtype("float64")
SERIES_TERMS, ASYMPTOTIC_TERMS, BORDER = 60, 32, 25.0


def scaled_bessel(b, x, order: int):
    """exp(-x) I(order, x) for x >= 0: the power series, above the border Hankel's expansion (DLMF 10.25, 10.40)."""
    low = b.min(x, BORDER)
    quarter = b.mul(b.mul(low, low), 0.25)
    series = b.const(1.0, F64)
    for k in range(SERIES_TERMS, 0, -1):
        series = b.add(b.mul(b.mul(series, quarter), 1 / (k * (k + order))), 1.0)
    series = b.mul(b.mul(series, b.exp(b.neg(low))), b.integer_pow(b.mul(low, 0.5), order) if order else 1.0)
    inverse = b.div(1.0, b.mul(b.max(x, BORDER), 8.0))
    tail = b.const(1.0, F64)
    for k in range(ASYMPTOTIC_TERMS, 0, -1):
        tail = b.add(b.mul(b.mul(tail, inverse), ((2 * k - 1) ** 2 - 4 * order**2) / k), 1.0)
    tail = b.mul(tail, b.sqrt(b.mul(inverse, 4 / math.pi)))
    return b.select(b.le(x, BORDER), series, b.select(b.ne(x, x), x, tail))


@op_dataclass
class BesselI0e(Float):
    """exp(-|x|) times the modified Bessel function of order 0."""
    ulp: ClassVar[float] = 16

    def eval(self, x): return in_f32(special("i0e"), x)
    def scalar(self, b, x): return b.convert(scaled_bessel(b, b.abs(b.convert(x, F64)), 0), x.dtype)
    def partials(self, out, x): return (sub(bessel_i1e(x), mul(sign(x), out)),)


def bessel_i0e(x: Any) -> Any: return bind(BesselI0e(), x)


@op_dataclass
class BesselI1e(Float):
    """exp(-|x|) times the modified Bessel function of order 1."""
    ulp: ClassVar[float] = 16

    def eval(self, x): return in_f32(special("i1e"), x)

    def scalar(self, b, x):
        wide = b.convert(x, F64)
        return b.convert(b.mul(b.sign(wide), scaled_bessel(b, b.abs(wide), 1)), x.dtype)

    def partials(self, out, x):
        at_zero = eq(x, 0.0)
        safe = select(at_zero, 1.0, x)
        slope = sub(bessel_i0e(safe), mul(out, add(sign(safe), div(1.0, safe))))
        return (select(at_zero, 0.5, slope),)


def bessel_i1e(x: Any) -> Any: return bind(BesselI1e(), x)

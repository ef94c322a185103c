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

F32, F64 = np.dtype("float32"), np.dtype("float64")
# Working dtype: terms of the power series, terms of Hankel's expansion, and where one takes over from the other.
TERMS = {F32: (26, 8, 9.0), F64: (60, 32, 25.0)}


def scaled_bessel(b, x, order: int):
    """exp(-|x|) I(order, x): the power series, from a border on Hankel's expansion (DLMF 10.25, 10.40)."""
    dtype = F64 if x.dtype == F64 else F32
    series_terms, tail_terms, border = TERMS[dtype]
    size = b.abs(b.convert(x, dtype))
    low, high = b.min(size, border), b.max(size, border)
    half = b.mul(low, 0.5)
    quarter, series = b.mul(half, half), b.const(1.0, dtype)
    for k in range(series_terms, 0, -1):
        series = b.mad(b.mul(series, quarter), b.const(1 / (k * (k + order)), dtype), b.const(1.0, dtype))
    series = b.mul(b.mul(series, half) if order else series, b.exp(b.neg(low)))
    inverse, tail = b.div(0.125, high), b.const(1.0, dtype)
    for k in range(tail_terms, 0, -1):
        ratio = b.const(((2 * k - 1) ** 2 - 4 * order**2) / k, dtype)
        tail = b.mad(b.mul(tail, inverse), ratio, b.const(1.0, dtype))
    tail = b.mul(tail, b.div(1 / math.sqrt(2 * math.pi), b.sqrt(high)))
    out = b.select(b.le(size, border), series, b.select(b.ne(size, size), size, tail))
    return b.convert(b.mul(out, b.sign(b.convert(x, dtype))) if order else out, x.dtype)


@op_dataclass
class BesselI0e(Float):
    """exp(-|x|) times the modified Bessel function of order 0."""
    ulp: ClassVar[float] = 16

    def eval(self, x): return in_f32(special("i0e"), x)
    def scalar(self, b, x): return scaled_bessel(b, x, 0)
    def partials(self, out, x): return (sub(bessel_i1e(x), mul(sign(x), out)),)


def bessel_i0e(x: Any) -> Any: return bind(BesselI0e(), x)


@op_dataclass
class BesselI1e(Float):
    """exp(-|x|) times the modified Bessel function of order 1."""
    ulp: ClassVar[float] = 16

    def eval(self, x): return in_f32(special("i1e"), x)

    def scalar(self, b, x): return scaled_bessel(b, x, 1)

    def partials(self, out, x):
        at_zero = eq(x, 0.0)
        safe = select(at_zero, 1.0, x)
        slope = sub(bessel_i0e(safe), mul(out, add(sign(safe), div(1.0, safe))))
        return (select(at_zero, 0.5, slope),)


def bessel_i1e(x: Any) -> Any: return bind(BesselI1e(), x)

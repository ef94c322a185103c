"""asin, acos, atan and atan2: reduction to a small argument, a minimax polynomial, a base angle."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, Value, bits_dtype
from .poly import estrin, horner

if TYPE_CHECKING:
    from ..builder import Builder

# (atan(t) - t) / t**3 in t**2 on |t| <= tan(pi / 8); Remez, weighted error 2**-29.6 and 2**-58.5.
ATAN_F32 = (-3.3333328e-01, 1.9999108e-01, -1.4254113e-01, 1.0664208e-01, -6.2412307e-02)
ATAN_F64 = (
    -0.3333333333333332, 0.19999999999988086, -0.14285714283499015, 0.11111110939924078, -0.0909090202320079,
    0.07692132269317777, -0.06663883520252187, 0.05853298958994337, -0.05062604968719451, 0.03863163420625092,
    -0.018503247959926528,
)
# (asin(t) - t) / t**3 in t**2 on |t| <= 1/2; Remez, weighted error 2**-31.1 and 2**-55.2.
ASIN_F32 = (1.6666664e-01, 7.500282e-02, 4.455408e-02, 3.1530555e-02, 1.5391875e-02, 3.6284328e-02)
ASIN_F64 = (
    0.1666666666666654, 0.07500000000090432, 0.04464285701517104, 0.030381952036323826, 0.02237191574827769,
    0.01735749112283747, 0.01390568174011534, 0.012043152701829452, 0.007041848656568349,
    0.018198277433089695, -0.014244493445705036, 0.030621499851101328,
)
# pi / 2 and pi / 4 as a float and what it lacks.
HALF_PI_F32, HALF_PI_F64 = (1.5707963705062866, -4.371138828673793e-08), (1.5707963267948966, 6.123233995736766e-17)
TAN_PI_8 = 0.41421356237309503


def _half_pi(x: Value) -> tuple[float, float]:
    return HALF_PI_F32 if x.dtype == F32 else HALF_PI_F64


def _angle(b: Builder, rise: Value, run: Value) -> Value:
    """atan(rise / run) in [0, pi / 2] for rise, run >= 0, not both 0 or infinite.

    One division serves all three of atan(t), pi/4 + atan((t - 1) / (t + 1)) and pi/2 - atan(1 / t).
    """
    low = b.le(rise, b.mul(run, TAN_PI_8))
    high = b.gt(b.mul(rise, TAN_PI_8), run)
    top = b.select(low, rise, b.select(high, b.neg(run), b.sub(rise, run)))
    bottom = b.select(low, run, b.select(high, rise, b.add(rise, run)))
    t = b.div(top, bottom)
    z = b.mul(t, t)
    p = horner(b, z, ATAN_F32) if t.dtype == F32 else estrin(b, z, ATAN_F64)
    head, tail = _half_pi(t)
    zero, lanes = b.const(0.0, t.dtype, t.lanes), t.lanes

    def base(part: float) -> Value:
        quarter = b.const(part / 2, t.dtype, lanes)
        return b.select(low, zero, b.select(high, b.const(part, t.dtype, lanes), quarter))

    small = b.add(b.mul(p, b.mul(z, t)), base(tail))
    # t alone keeps its sign of zero and denormals; elsewhere the base dominates.
    return b.add(base(head), b.add(t, small))


def atan(b: Builder, x: Value) -> Value:
    size = b.abs(x)
    # Beyond 2**60 the angle is pi / 2 to the last digit; a bound keeps infinity out.
    bounded = b.min(size, 2.0**60)
    return b.copysign(_angle(b, bounded, b.const(1.0, x.dtype, x.lanes)), x)


def atan2(b: Builder, y: Value, x: Value) -> Value:
    """The angle of the point (x, y) in [-pi, pi], with C's rules for zeros and infinities."""
    rise, run = _comparable(b, b.abs(y), b.abs(x))
    angle = _angle(b, rise, run)
    head, tail = _half_pi(x)
    left = b.lt(b.bitcast(x, bits_dtype(x.dtype)), 0)
    turned = b.add(b.sub(2 * head, angle), 2 * tail)
    angle = b.select(left, turned, angle)
    nan = b.or_(b.ne(x, x), b.ne(y, y))
    return b.select(nan, b.const(np.nan, x.dtype, x.lanes), b.copysign(angle, y))


def _comparable(b: Builder, rise: Value, run: Value) -> tuple[Value, Value]:
    """The same ratio without 0 / 0, inf / inf, an overflow of the sum or denormals."""
    one, zero = b.const(1.0, rise.dtype, rise.lanes), b.const(0.0, rise.dtype, rise.lanes)
    top, inf = b.max(rise, run), np.inf
    infinite = b.eq(top, inf)
    most, least = (2.0**100, 2.0**-60) if rise.dtype == F32 else (2.0**1000, 2.0**-900)
    scale = b.select(b.lt(top, least), 2.0**60, b.select(b.gt(top, most), 2.0**-10, one))
    at_inf = [b.select(b.eq(v, inf), one, zero) for v in (rise, run)]
    rise = b.select(infinite, at_inf[0], b.mul(rise, scale))
    run = b.select(infinite, at_inf[1], b.mul(run, scale))
    return rise, b.select(b.eq(top, 0.0), one, run)


def _asin_tail(b: Builder, t: Value, z: Value) -> Value:
    """asin(t) - t for z = t**2 <= 1/4."""
    p = estrin(b, z, ASIN_F32) if t.dtype == F32 else horner(b, z, (*ASIN_F64[:2], estrin(b, z, ASIN_F64[2:])))
    return b.mul(p, b.mul(z, t))


def _root_of_half(b: Builder, size: Value) -> tuple[Value, Value, Value]:
    """z = (1 - size) / 2, s = sqrt(z) and the rounding error of s."""
    z = b.mul(b.sub(1.0, size), 0.5)
    s = b.sqrt(z)
    error = b.div(b.fma(b.neg(s), s, z), b.mul(s, 2.0))
    return z, s, b.select(b.eq(s, 0.0), b.const(0.0, s.dtype, s.lanes), error)


def asin(b: Builder, x: Value) -> Value:
    """The angle with sine x in [-pi/2, pi/2]; nan beyond 1.

    Above 1/2 it is pi/2 - 2 asin(sqrt((1 - x) / 2)).
    """
    size = b.abs(x)
    large = b.gt(size, 0.5)
    z, s, error = _root_of_half(b, size)
    t = b.select(large, s, size)
    tail = _asin_tail(b, t, b.select(large, z, b.mul(size, size)))
    head, low = _half_pi(x)
    wide = b.add(b.sub(head, b.mul(s, 2.0)), b.sub(low, b.mul(b.add(tail, error), 2.0)))
    return b.copysign(b.select(large, wide, b.add(size, tail)), x)


def acos(b: Builder, x: Value) -> Value:
    """The angle with cosine x in [0, pi]; nan beyond 1."""
    size = b.abs(x)
    large = b.gt(size, 0.5)
    z, s, error = _root_of_half(b, size)
    t = b.select(large, s, x)
    tail = _asin_tail(b, t, b.select(large, z, b.mul(x, x)))
    head, low = _half_pi(x)
    middle = b.sub(head, b.add(b.sub(tail, low), x))
    right = b.mul(b.add(s, b.add(tail, error)), 2.0)
    left = b.sub(2 * head, b.sub(right, 2 * low))
    return b.select(large, b.select(b.lt(x, 0.0), left, right), middle)

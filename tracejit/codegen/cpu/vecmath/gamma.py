"""lgamma and digamma: recurrence into a short interval or Stirling's series, reflection below 0."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, F64, Value
from .log import log
from .poly import estrin, horner
from .trig import PI_F64, quarter_turns

if TYPE_CHECKING:
    from ..builder import Builder

# lgamma(2 + y) / y on [-1/2, 1]; Remez, absolute error 2**-63.0.
LGAMMA = (
    0.42278433509846713, 0.3224670334241132, -0.06735230105319805, 0.020580808427784304,
    -0.007385551028678408, 0.0028905103307574793, -0.0011927539115636117, 0.0005096695242429456,
    -0.00022315476050336358, 9.945752128783269e-05, -4.492622297547564e-05, 2.0507130381905554e-05,
    -9.439502702191366e-06, 4.375316280903183e-06, -2.0395789686173988e-06, 9.53922066322841e-07,
    -4.4703783682598576e-07, 2.1270362732603883e-07, -1.051389558115925e-07, 5.151411807401819e-08,
    -2.1185671003698354e-08, 5.82167108902428e-09, -7.537998798061091e-10,
)
# lgamma(1 + y) / y on [-1/4, 1/2]; Remez, absolute error 2**-62.0.
LGAMMA_AT_1 = (
    -0.5772156649015329, 0.8224670334241132, -0.400685634386531, 0.27058080842778065, -0.2073855510288155,
    0.1695571769984293, -0.14404989675097288, 0.12550966939672903, -0.11133426691893968, 0.10009946622217565,
    -0.09095398896331038, 0.0833535030927617, -0.07693263456457394, 0.07144031003107186, -0.06668060691033927,
    0.06242106572668151, -0.05853445496273242, 0.05572135466366826, -0.055099106307737095,
    0.05400113044811355, -0.044420538330124305, 0.02441386287334841, -0.006322424730780961,
)
# x (lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2) in 1 / x**2 for x >= 8; Remez, 2**-60.6.
STIRLING = (
    0.08333333333333333, -0.0027777777777740994, 0.0007936507898350029, -0.0005952366069673081,
    0.000841472848840947, -0.001890539818067803, 0.005069244177019833,
)
# x**2 (log(x) - 1 / (2 x) - digamma(x)) in 1 / x**2 for x >= 10; Remez, 2**-61.1.
DIGAMMA = (
    0.08333333333333333, -0.008333333333329201, 0.003968253961577532, -0.004166662613973472,
    0.007574581186437888, -0.020915900838887076, 0.069831002620329,
)
# digamma(x) / (x - ROOT) in x - 3/2 on [1, 2]; Remez, absolute error 2**-58.5.
DIGAMMA_MIDDLE = (
    0.9510558760318328, -0.4236274212814606, 0.24054248424078778, -0.1484049230538801, 0.09498872445276256,
    -0.06192213327556095, 0.040760833948832835, -0.02697579665688638, 0.01790724806142699,
    -0.011908220169527738, 0.007927026578566533, -0.005279936419079, 0.003518050868917843,
    -0.0023455016325578423, 0.0015637861680712758, -0.001036422639068165, 0.0006889246727413667,
    -0.00048606460729589253, 0.00032992702881841216, -0.00014460281995715848, 8.647956624382518e-05,
    -0.00017837437016709475, 0.00012613056229794956,
)
# The positive zero of digamma as a double and what it lacks.
ROOT, ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
HALF_LOG_2_PI = 0.9189385332046728


def lgamma(b: Builder, x: Value) -> Value:
    """log |gamma(x)|; inf at 0 and the negative integers (f32: computed in f64)."""
    if x.dtype == F32:
        return b.convert(lgamma(b, b.convert(x, F64)), F32)
    size = b.abs(x)
    right = _lgamma_positive(b, size)
    negative = b.lt(x, 0.0)
    out = b.cond(b.any(negative), lambda: [_reflect_lgamma(b, negative, size, right)], lambda: [right])[0]
    return b.select(b.eq(size, np.inf), np.inf, out)


def lgamma1p(b: Builder, x: Value) -> Value:
    """log gamma(1 + x) for x >= -1/4, accurate near its zeros at 0 and 1 (f32: computed in f64)."""
    if x.dtype == F32:
        return b.convert(lgamma1p(b, b.convert(x, F64)), F32)
    from_two = b.sub(x, 1.0)
    near_one, near_two = b.mul(x, _stable(b, x, LGAMMA_AT_1)), b.mul(from_two, _stable(b, from_two, LGAMMA))
    near = b.select(b.lt(x, 0.5), near_one, near_two)
    return b.select(b.lt(x, 2.0), near, _lgamma_positive(b, b.add(x, 1.0)))


def _lgamma_positive(b: Builder, x: Value) -> Value:
    """For x >= 0. From 8 up by Stirling's series; near the zeros at 1 and 2 polynomials; elsewhere
    a few steps of gamma(x + 1) = x gamma(x) lead there, and one logarithm serves all cases."""
    one = b.const(1.0, F64, x.lanes)
    very_low, low, large = b.lt(x, 0.5), b.lt(x, 0.75), b.ge(x, 8.0)
    at_one = b.and_(b.lt(x, 1.5), b.not_(low))
    y, product = b.sub(x, 2.0), one
    for _ in range(5):  # down from [3, 8)
        again = b.ge(y, 1.0)
        y = b.select(again, b.sub(y, 1.0), y)
        product = b.mul(product, b.select(again, b.add(y, 2.0), one))
    y = b.select(low, b.select(very_low, x, b.sub(x, 1.0)), y)
    product = b.select(low, b.select(very_low, b.mul(x, b.add(x, 1.0)), x), product)
    logarithm = log(b, b.select(large, x, product))
    y = b.select(large, 0.0, b.select(at_one, b.sub(x, 1.0), y))
    slope = b.select(at_one, _stable(b, y, LGAMMA_AT_1), _stable(b, y, LGAMMA))
    near = b.mad(y, slope, b.select(low, b.neg(logarithm), logarithm))
    return b.select(large, _stirling(b, x, logarithm), near)


def _stable(b: Builder, x: Value, coefficients: tuple[float, ...]) -> Value:
    """A long polynomial as a tree, but for the last two steps, which make most of the error."""
    return horner(b, x, (*coefficients[:2], estrin(b, x, coefficients[2:])))


def _stirling(b: Builder, x: Value, logarithm: Value) -> Value:
    inverse = b.div(1.0, x)
    series = b.mad(inverse, horner(b, b.mul(inverse, inverse), STIRLING), HALF_LOG_2_PI - 0.5)
    return b.mad(b.sub(x, 0.5), b.sub(logarithm, 1.0), series)


def _reflect_lgamma(b: Builder, negative: Value, size: Value, right: Value) -> Value:
    """log(pi / |x sin(pi x)|) - lgamma(-x) in the lanes with x < 0."""
    sine, _ = quarter_turns(b, b.sub(size, b.rint(size)))
    denominator = b.mul(size, b.abs(sine))
    left = b.sub(math.log(math.pi), b.add(log(b, denominator), right))
    left = b.select(b.lt(size, 2.0**-60), right, left)     # where the product vanishes
    # At the poles the sine is 0; beyond 2**52 every number is an integer, a pole.
    return b.select(negative, b.select(b.eq(sine, 0.0), np.inf, left), right)


def digamma(b: Builder, x: Value) -> Value:
    """d/dx lgamma(x); nan at the negative integers, -inf at 0, +inf at -0 (f32: computed in f64)."""
    if x.dtype == F32:
        return b.convert(digamma(b, b.convert(x, F64)), F32)
    negative = b.lt(x, 0.0)
    flipped = b.select(negative, b.sub(1.0, x), x)
    right = _digamma_positive(b, flipped)

    def mend() -> list[Value]:
        sine, cosine = quarter_turns(b, b.sub(x, b.rint(x)))
        left = b.sub(right, b.div(b.mul(cosine, PI_F64[0]), sine))
        pole = b.eq(sine, 0.0)
        return [b.select(negative, b.select(pole, np.nan, left), right)]

    out = b.cond(b.any(negative), mend, lambda: [right])[0]
    infinite = b.copysign(b.const(np.inf, F64, x.lanes), b.neg(x))
    return b.select(b.eq(x, 0.0), infinite, b.select(b.eq(x, np.inf), x, b.select(b.eq(x, -np.inf), np.nan, out)))


def _digamma_positive(b: Builder, x: Value) -> Value:
    """For x > 0: the series from 10 up; else steps of digamma(x + 1) = digamma(x) + 1 / x into
    [1, 2], their sum kept as one fraction, and there a polynomial times the distance to the zero."""
    one, zero = b.const(1.0, F64, x.lanes), b.const(0.0, F64, x.lanes)
    at, top, bottom = x, zero, one
    for _ in range(8):
        again = b.ge(at, 2.0)
        at = b.select(again, b.sub(at, 1.0), at)
        factor = b.select(again, at, one)
        top = b.mad(top, factor, b.select(again, bottom, zero))
        bottom = b.mul(bottom, factor)
    low, large = b.lt(x, 1.0), b.ge(x, 10.0)
    at = b.select(low, b.add(x, 1.0), at)
    top, bottom = b.select(low, -1.0, top), b.select(low, x, bottom)
    from_zero = b.sub(b.sub(at, ROOT), ROOT_LOW)
    middle = b.mul(from_zero, _stable(b, b.sub(at, 1.5), DIGAMMA_MIDDLE))
    return b.select(large, _digamma_series(b, x), b.add(middle, b.div(top, bottom)))


def _digamma_series(b: Builder, x: Value) -> Value:
    inverse = b.div(1.0, x)
    square = b.mul(inverse, inverse)
    return b.sub(log(b, x), b.mad(square, horner(b, square, DIGAMMA), b.mul(inverse, 0.5)))

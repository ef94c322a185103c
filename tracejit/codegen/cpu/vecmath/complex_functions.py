"""Elementary functions of complex numbers -> real ones of the parts.

The inverse functions follow W. Kahan, "Branch cuts for complex elementary functions" (1987);
they and pow are computed in complex128 also for complex64, whose cancellations they so outlive.
"""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..value import C64, C128, F32, F64, ComplexValue, Value
from .poly import two_product

if TYPE_CHECKING:
    from ..builder import Builder


LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17


def _in_double(function):
    """`function` on complex128, for complex64 by way of it."""
    def widened(b: Builder, *zs: ComplexValue) -> ComplexValue:
        if zs[0].dtype != C64:
            return function(b, *zs)
        return b.convert(function(b, *[b.convert(z, C128) for z in zs]), C64)

    widened.__name__ = function.__name__
    widened.__doc__ = function.__doc__
    return widened


def _infinite(b: Builder, x: Value) -> Value:
    return b.eq(b.abs(x), np.inf)


def _times(b: Builder, x: Value, y: Value) -> Value:
    """A product in which 0 times infinity or nan is 0, of the product's sign."""
    out = b.mul(x, y)
    lost = b.and_(b.ne(out, out), b.or_(b.eq(x, 0.0), b.eq(y, 0.0)))
    return b.select(lost, b.mul(b.copysign(0.0, x), b.copysign(b.const(1.0, y.dtype, y.lanes), y)), out)


def _box(b: Builder, x: Value) -> Value:
    """Where a value lies as seen from infinity: +-1 for +-inf, +-0 for what is finite, nan for nan."""
    return b.select(_infinite(b, x), b.copysign(b.const(1.0, x.dtype, x.lanes), x), b.mul(x, 0.0))


def _any_infinite(b: Builder, z: ComplexValue) -> Value:
    return b.or_(_infinite(b, z.re), _infinite(b, z.im))


def _times_i(b: Builder, z: ComplexValue) -> ComplexValue:
    return ComplexValue(b.neg(z.im), z.re)


def _over_i(b: Builder, z: ComplexValue) -> ComplexValue:
    return ComplexValue(z.im, b.neg(z.re))


def _one_plus(b: Builder, z: ComplexValue) -> ComplexValue:
    return ComplexValue(b.add(z.re, 1.0), z.im)


def exp(b: Builder, z: ComplexValue) -> ComplexValue:
    """e**re (cos im + i sin im)."""
    limit, shift = (88.0, 40.0) if z.re.dtype == F32 else (709.0, 200.0)
    large = b.gt(z.re, limit)
    size = b.exp(b.select(large, b.sub(z.re, shift), z.re))
    factor = b.select(large, b.const(math.exp(shift), z.re.dtype, z.lanes), b.const(1.0, z.re.dtype, z.lanes))
    vanishes = b.eq(z.re, -np.inf)
    angle = b.select(b.and_(vanishes, b.not_(b.is_finite(z.im))), 0.0, z.im)
    re = _exp_real(b, z, b.mul(b.mul(size, b.cos(angle)), factor))
    im = b.mul(b.mul(size, b.sin(angle)), factor)
    return ComplexValue(re, b.select(b.eq(z.im, 0.0), z.im, im))


def _exp_real(b: Builder, z: ComplexValue, re: Value) -> Value:
    """The real part of an exponential: infinite at an infinite re, also where the angle has no sine."""
    return b.select(b.and_(b.eq(z.re, np.inf), b.not_(b.is_finite(z.im))), z.re, re)


def exp2(b: Builder, z: ComplexValue) -> ComplexValue:
    """2**re, turned by im log 2, whose rounding error turns the result a little further."""
    vanishes = b.and_(b.eq(z.re, -np.inf), b.not_(b.is_finite(z.im)))
    angle = b.select(vanishes, 0.0, z.im)
    high, low = two_product(b, angle, b.const(LN2, z.re.dtype, z.lanes))
    low = b.mad(angle, LN2 - float(z.re.dtype.type(LN2)) if z.re.dtype == F32 else LN2_LOW, low)
    low = b.select(b.lt(b.abs(low), 0.5), low, 0.0)  # of a huge angle only the size of the result means something
    c, s = b.cos(high), b.sin(high)
    size = b.exp2(z.re)
    im = b.mul(b.mad(c, low, s), size)
    re = _exp_real(b, z, b.mul(size, b.mad(b.neg(s), low, c)))
    return ComplexValue(re, b.select(b.eq(z.im, 0.0), z.im, im))


def expm1(b: Builder, z: ComplexValue) -> ComplexValue:
    """expm1(re) cos(im) - 2 sin(im / 2)**2 in the real part, which keeps small results exact."""
    half = b.sin(b.mul(z.im, 0.5))
    grown = b.expm1(z.re)
    re = b.sub(b.mul(grown, b.cos(z.im)), b.mul(b.mul(half, half), 2.0))
    return ComplexValue(re, _times(b, b.sin(z.im), b.exp(z.re)))


def log(b: Builder, z: ComplexValue) -> ComplexValue:
    """log |z| + i arg(z)."""
    return ComplexValue(_log_abs(b, z), b.atan2(z.im, z.re))


def _log_abs(b: Builder, z: ComplexValue) -> Value:
    """log |z|; near |z| = 1 from |z|**2 - 1 = (a - 1)(a + 1) + c**2, a the larger part."""
    a, c = b.max(b.abs(z.re), b.abs(z.im)), b.min(b.abs(z.re), b.abs(z.im))
    first, error = two_product(b, b.sub(a, 1.0), b.add(a, 1.0))
    square, square_error = two_product(b, c, c)
    excess = b.add(b.add(first, square), b.add(error, square_error))
    close = b.and_(b.gt(a, 0.5), b.lt(a, 1.5))
    near = b.mul(b.log1p(b.select(close, excess, 0.0)), 0.5)
    return b.select(close, near, b.log(b.complex_abs(z)))


@_in_double
def log1p(b: Builder, z: ComplexValue) -> ComplexValue:
    """log(1 + z), accurate near 0."""
    size = b.max(b.abs(z.re), b.abs(z.im))
    square = b.mad(z.im, z.im, b.mul(z.re, b.add(z.re, 2.0)))
    small = b.lt(size, 0.5)
    near = b.mul(b.log1p(b.select(small, square, 0.0)), 0.5)
    one = _one_plus(b, z)
    return ComplexValue(b.select(small, near, _log_abs(b, one)), b.atan2(z.im, one.re))


def sin(b: Builder, z: ComplexValue) -> ComplexValue:
    re = b.mul(b.sin(z.re), b.cosh(z.im))
    im = b.mul(b.sinh(z.im), b.cos(z.re))
    whole = b.and_(b.not_(b.is_finite(z.re)), b.or_(b.eq(z.im, 0.0), _infinite(b, z.im)))  # 0 and inf, also times no cosine
    return ComplexValue(b.select(b.eq(z.re, 0.0), z.re, re), b.select(whole, z.im, im))


def cos(b: Builder, z: ComplexValue) -> ComplexValue:
    im = _times(b, b.sin(z.re), b.sinh(z.im))
    re = b.mul(b.cos(z.re), b.cosh(z.im))
    re = b.select(b.and_(_infinite(b, z.im), b.not_(b.is_finite(z.re))), b.abs(z.im), re)
    return ComplexValue(re, b.neg(im))


def tan(b: Builder, z: ComplexValue) -> ComplexValue:
    return _over_i(b, tanh(b, _times_i(b, z)))


def sinh(b: Builder, z: ComplexValue) -> ComplexValue:
    return _over_i(b, sin(b, _times_i(b, z)))


def cosh(b: Builder, z: ComplexValue) -> ComplexValue:
    return cos(b, _times_i(b, z))


def tanh(b: Builder, z: ComplexValue) -> ComplexValue:
    """Kahan's form in tan(im) and sinh(re); far from 0 the limits +-1 and a decaying imaginary part."""
    far = b.gt(b.abs(z.re), 9.0 if z.re.dtype == F32 else 20.0)
    near_re = b.select(far, 0.0, z.re)
    t, s = b.tan(z.im), b.sinh(near_re)
    beta = b.mad(t, t, 1.0)
    bottom = b.mad(b.mul(beta, s), s, 1.0)
    re = b.div(b.mul(b.mul(beta, b.sqrt(b.mad(s, s, 1.0))), s), bottom)
    im = b.div(t, bottom)
    decay = b.exp(b.mul(b.abs(z.re), -2.0))
    wave = b.mul(b.mul(b.sin(z.im), b.cos(z.im)), 4.0)
    far_im = b.select(b.eq(decay, 0.0), b.copysign(0.0, wave), b.mul(wave, decay))
    one = b.copysign(b.const(1.0, z.re.dtype), z.re)
    turned = b.and_(b.is_finite(z.re), b.not_(b.is_finite(z.im)))  # by an angle that is none
    none = b.const(np.nan, z.re.dtype, z.lanes)
    re, im = b.select(turned, none, b.select(far, one, re)), b.select(turned, none, b.select(far, far_im, im))
    return ComplexValue(b.select(b.eq(z.re, 0.0), z.re, re), b.select(b.eq(z.im, 0.0), z.im, im))


def _roots(b: Builder, z: ComplexValue) -> tuple[ComplexValue, ComplexValue]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    minus = ComplexValue(b.sub(1.0, z.re), b.neg(z.im))
    return b.complex_sqrt(minus), b.complex_sqrt(_one_plus(b, z))


def _imaginary_of_product(b: Builder, x: ComplexValue, y: ComplexValue) -> Value:
    """Im(conj(x) y)."""
    return b.sub(b.mul(x.re, y.im), b.mul(x.im, y.re))


def _real_of_product(b: Builder, x: ComplexValue, y: ComplexValue) -> Value:
    """Re(x y)."""
    return b.sub(b.mul(x.re, y.re), b.mul(x.im, y.im))


def _infinity(b: Builder, z: ComplexValue) -> Value:
    return b.const(np.inf, z.re.dtype, z.lanes)


def _twice_angle(b: Builder, z: ComplexValue, y: Value, x: Value, im: Value) -> Value:
    """The angle 2 atan2(y, x) of an inverse cosine of z; at infinity the angle of (re, im), at re = 0 a right angle."""
    far = _any_infinite(b, z)
    angle = b.atan2(b.select(far, _box(b, im), y), b.select(far, _box(b, z.re), x))
    right = b.copysign(b.const(math.pi / 2, z.re.dtype, z.lanes), im)
    return b.select(b.eq(z.re, 0.0), right, b.select(far, angle, b.mul(angle, 2.0)))


@_in_double
def asin(b: Builder, z: ComplexValue) -> ComplexValue:
    minus, plus = _roots(b, z)
    far = _any_infinite(b, z)
    re = b.atan2(b.select(far, _box(b, z.re), z.re), b.select(far, _box(b, b.abs(z.im)), _real_of_product(b, minus, plus)))
    im = b.asinh(_imaginary_of_product(b, minus, plus))
    return ComplexValue(b.select(b.eq(z.re, 0.0), z.re, re), b.select(far, b.copysign(_infinity(b, z), z.im), im))


@_in_double
def acos(b: Builder, z: ComplexValue) -> ComplexValue:
    minus, plus = _roots(b, z)
    re = _twice_angle(b, z, minus.re, plus.re, b.abs(z.im))
    im = b.asinh(_imaginary_of_product(b, plus, minus))
    return ComplexValue(re, b.select(_any_infinite(b, z), b.copysign(_infinity(b, z), b.neg(z.im)), im))


def asinh(b: Builder, z: ComplexValue) -> ComplexValue:
    return _over_i(b, asin(b, _times_i(b, z)))


@_in_double
def acosh(b: Builder, z: ComplexValue) -> ComplexValue:
    minus = b.complex_sqrt(ComplexValue(b.sub(z.re, 1.0), z.im))
    plus = b.complex_sqrt(_one_plus(b, z))
    re = b.asinh(b.add(b.mul(minus.re, plus.re), b.mul(minus.im, plus.im)))
    return ComplexValue(b.select(_any_infinite(b, z), np.inf, re), _twice_angle(b, z, minus.im, plus.re, z.im))


@_in_double
def atanh(b: Builder, z: ComplexValue) -> ComplexValue:
    """log1p(4 re / ((1 - re)**2 + im**2)) / 4, and half the angle of (1 + z) / (1 - z)."""
    from_one = b.sub(1.0, b.abs(z.re))
    square = b.mul(z.im, z.im)
    ratio = b.div(b.mul(b.abs(z.re), 4.0), b.mad(from_one, from_one, square))
    pole = b.and_(b.eq(from_one, 0.0), b.lt(b.abs(z.im), 2.0**-500))  # whose square is lost
    ratio = b.select(pole, b.div(2.0, b.abs(z.im)), ratio)
    far = b.or_(_any_infinite(b, z), b.gt(b.max(b.abs(z.re), b.abs(z.im)), 2.0**60))
    size = b.mul(b.log1p(b.select(far, 0.0, ratio)), b.select(pole, b.const(0.5, F64, z.lanes), b.const(0.25, F64, z.lanes)))
    re = b.select(b.eq(z.re, 0.0), z.re, b.copysign(size, z.re))
    angle = b.atan2(b.mul(z.im, 2.0), b.sub(b.mul(from_one, b.add(b.abs(z.re), 1.0)), square))
    half_turn = b.select(b.ne(z.im, z.im), z.im, b.copysign(b.const(math.pi, F64, z.lanes), z.im))
    angle = b.select(far, half_turn, angle)
    return ComplexValue(re, b.mul(angle, 0.5))


def atan(b: Builder, z: ComplexValue) -> ComplexValue:
    return _over_i(b, atanh(b, _times_i(b, z)))


@_in_double
def atan2(b: Builder, y: ComplexValue, x: ComplexValue) -> ComplexValue:
    """-i log((x + i y) / sqrt(x**2 + y**2))."""
    top = b.complex_add(x, _times_i(b, y))
    square = b.complex_add(b.complex_mul(x, x), b.complex_mul(y, y))
    return _over_i(b, log(b, b.complex_div(top, b.complex_sqrt(square))))


@_in_double
def pow(b: Builder, x: ComplexValue, y: ComplexValue) -> ComplexValue:
    """exp(y log(x)); anything to the power 0 is 1, and 0 to another power is 0 if its real part is positive, else nan."""
    out = exp(b, b.complex_mul(y, log(b, x)))
    zero, one, nan = [b.const(c, C128, out.lanes) for c in (0.0, 1.0, complex(np.nan, np.nan))]
    out = b.select(b.eq(x, zero), b.select(b.gt(y.re, 0.0), zero, nan), out)
    return b.select(b.eq(y, zero), one, out)


@_in_double
def logistic(b: Builder, z: ComplexValue) -> ComplexValue:
    one = b.const(1.0, z.dtype, z.lanes)
    return b.complex_div(one, b.complex_add(one, exp(b, b.neg(z))))

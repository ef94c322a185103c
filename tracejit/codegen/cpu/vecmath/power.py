"""pow and cbrt: a logarithm with extra digits times y, exponentiated; and Newton's iteration."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, F64, I64, U64, Value
from .exp import LN2_F64, expm1_reduced, reduce_ln2, scale_down
from .log import decompose
from .poly import estrin, fast_two_sum, two_product, two_sum

if TYPE_CHECKING:
    from ..builder import Builder

# 2 atanh(s) / s = 2 + s**2 (2/3 + s**2 L(s**2)) on |s| <= 1/5; Remez, absolute error 2**-55.3.
LOG_EXTRA = (
    0.39999999999999997, 0.2857142857143579, 0.2222222221845379, 0.1818181893061318, 0.15384542423396405,
    0.13337183339609351, 0.11652798289147819, 0.1219571002258342,
)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# log 2 in three parts; the first two have 40 bits, so that times any exponent they are exact.
LN2_PARTS = (0.6931471805592082, 7.371002565161996e-13, 5.8029889835956905e-25)
# log2(1 + f) / s in s**2, s = f / (2 + f), and (2**r - 1) / r, for f32.
# Remez, absolute error 2**-40.8 and 2**-32.5.
SHORT_LOG2 = (
    2.885390081777422, 0.9617966948292255, 0.5770777548440278, 0.4122262251040417, 0.3192835823171998,
    0.2908456384840373,
)
SHORT_EXP2 = (
    0.6931471805538642, 0.24022650922667388, 0.05550410928490621, 0.009618056604618404, 0.001333345477688636,
    0.00015461472999564113, 1.531002361347927e-05,
)


def pow(b: Builder, x: Value, y: Value) -> Value:
    """x**y with C's rules; 0.6 ulp (f32), 1 ulp (f64)."""
    size = b.abs(x)
    out = _pow_f32(b, size, y) if x.dtype == F32 else _pow_f64(b, size, y)
    usual = b.and_(b.and_(b.gt(x, 0.0), b.lt(x, np.inf)), b.lt(b.abs(y), np.inf))
    return b.cond(b.all(usual), lambda: [out], lambda: [_special_cases(b, x, y, size, out)])[0]


def _pow_f32(b: Builder, size: Value, y: Value) -> Value:
    """In f64, with polynomials no longer than f32 needs."""
    f, e = (b.convert(part, F64) for part in decompose(b, size))
    s = b.div(f, b.add(f, 2.0))
    log2 = b.mad(estrin(b, b.mul(s, s), SHORT_LOG2), s, e)
    t = b.mul(log2, b.convert(y, F64))
    t = b.max(b.min(t, 400.0), -400.0)
    n = b.rint(t)
    r = b.sub(t, n)
    p = b.mad(estrin(b, r, SHORT_EXP2), r, 1.0)
    return b.convert(b.mul(p, _double_power(b, n)), F32)


def _double_power(b: Builder, n: Value) -> Value:
    biased = b.add(n, 1.5 * 2.0**52 + 1023)
    return b.bitcast(b.shl(b.bitcast(biased, I64), 52), F64)


def _pow_f64(b: Builder, size: Value, y: Value) -> Value:
    """exp(y log(size)), the logarithm and the product as a sum of two doubles."""
    high, low = _log_extra(b, size)
    # A product beyond exp's range is kept finite, for its error term to stay meaningful.
    y = b.max(b.min(y, 2.0**75), -(2.0**75))
    t, error = two_product(b, y, high)
    t_low = b.add(error, b.mul(y, low))
    t, t_low = fast_two_sum(b, t, t_low)
    beyond = b.gt(b.abs(t), 750.0)
    t_low = b.select(beyond, 0.0, t_low)
    t = b.max(b.min(t, 750.0), -750.0)
    n, r = reduce_ln2(b, t)
    head = b.mad(b.neg(n), LN2_F64[0], t)  # exact; r lost digits when the second part was added
    r_low = b.add(b.mad(b.neg(n), LN2_F64[1], b.sub(head, r)), t_low)
    p = expm1_reduced(b, r)
    p = b.mad(r_low, b.add(p, 1.0), p)
    return scale_down(b, b.add(p, 1.0), n, b.lt(t, -746.0))


def _log_extra(b: Builder, x: Value) -> tuple[Value, Value]:
    """log(x) as a sum of two doubles, relative error 2**-62."""
    f, e = decompose(b, x)
    bottom, bottom_low = fast_two_sum(b, b.const(2.0, F64, x.lanes), f)
    s = b.div(f, bottom)
    residual = b.sub(b.fma(b.neg(s), bottom, f), b.mul(s, bottom_low))
    s_low = b.mul(residual, b.mad(s, -0.5, 0.5))  # 1 / (2 + f) is (1 - s) / 2
    z, z_low = two_product(b, s, s)
    z_low = b.mad(b.mul(s, 2.0), s_low, z_low)
    # c = 2/3 + z L(z), then cubic = s z c, all in two parts.
    c, c_low = fast_two_sum(b, b.const(TWO_THIRDS[0], F64, x.lanes), b.mul(z, estrin(b, z, LOG_EXTRA)))
    c_low = b.add(c_low, TWO_THIRDS[1])
    sz, sz_low = two_product(b, s, z)
    sz_low = b.add(sz_low, b.mad(s, z_low, b.mul(s_low, z)))
    cubic, cubic_low = two_product(b, sz, c)
    cubic_low = b.add(cubic_low, b.mad(sz, c_low, b.mul(sz_low, c)))
    total, errors = b.mul(e, LN2_PARTS[0]), b.mul(e, LN2_PARTS[2])
    for part in (b.mul(e, LN2_PARTS[1]), b.mul(s, 2.0), cubic):
        total, error = two_sum(b, total, part)
        errors = b.add(errors, error)
    return fast_two_sum(b, total, b.add(errors, b.mad(s_low, 2.0, cubic_low)))


def _special_cases(b: Builder, x: Value, y: Value, size: Value, out: Value) -> Value:
    """0, 1, infinities, nan and the sign of a negative base."""
    inf, zero = b.const(np.inf, x.dtype, x.lanes), b.const(0.0, x.dtype, x.lanes)
    grows = b.ne(b.gt(size, 1.0), b.lt(y, 0.0))
    extreme = b.or_(b.or_(b.eq(size, 0.0), b.eq(size, inf)), b.eq(b.abs(y), inf))
    out = b.select(extreme, b.select(grows, inf, zero), out)
    integral = b.eq(b.rint(y), y)
    odd = b.and_(integral, b.ne(b.rint(b.mul(y, 0.5)), b.mul(y, 0.5)))
    odd = b.and_(odd, b.lt(b.abs(y), inf))
    out = b.select(odd, b.copysign(out, x), out)
    real = b.or_(b.or_(b.ge(x, 0.0), integral), b.eq(size, inf))
    out = b.select(real, out, np.nan)
    out = b.select(b.or_(b.ne(x, x), b.ne(y, y)), np.nan, out)
    one = b.or_(b.eq(x, 1.0), b.eq(y, 0.0))
    one = b.or_(one, b.and_(b.eq(x, -1.0), b.eq(b.abs(y), inf)))
    return b.select(one, 1.0, out)


def cbrt(b: Builder, x: Value) -> Value:
    """The real cube root: a third of the exponent, a polynomial, one Newton step (f32: in f64)."""
    same = b.or_(b.eq(x, 0.0), b.not_(b.is_finite(x)))
    wide = b.select(same, 1.0, b.abs(b.convert(x, F64)))    # of 0, the steps are slow
    up, down = _cube_scale(b, wide)
    normal = b.mul(wide, up)
    t = _rough_cbrt(b, normal)
    t = b.mul(t, _halley(b, t, normal))
    if x.dtype != F32:
        t = _newton(b, t, normal)
    out = b.copysign(b.convert(b.mul(t, down), x.dtype), x)
    return b.select(same, x, out)


def _cube_scale(b: Builder, x: Value) -> tuple[Value, Value]:
    """A power of 8 that brings a very large or small x to where its square neither overflows nor
    loses digits, and the inverse of its cube root."""
    large, small = b.gt(x, 2.0**600), b.lt(x, 2.0**-600)
    one = b.const(1.0, F64, x.lanes)
    up = b.select(large, 2.0**-600, b.select(small, 2.0**600, one))
    return up, b.select(large, 2.0**200, b.select(small, 2.0**-200, one))


def _rough_cbrt(b: Builder, x: Value) -> Value:
    """Within 4 %: the bits divided by three, through the high word as a float."""
    high = b.shr_logical(b.bitcast(x, U64), 32)
    magic = 2.0**52
    as_float = b.sub(b.bitcast(b.or_(high, 0x4330000000000000), F64), magic)
    third = b.mad(as_float, 1 / 3, 715094163.0)
    low = b.bitcast(b.add(b.floor(third), magic), U64)
    return b.bitcast(b.shl(low, 32), F64)


def _halley(b: Builder, t: Value, x: Value) -> Value:
    """Twice Halley's factor (t**3 + 2 x) / (2 t**3 + x), relative error 4 % -> 2**-15 -> 2**-44."""
    cube = b.mul(b.mul(t, t), t)
    first = b.div(b.mad(x, 2.0, cube), b.mad(cube, 2.0, x))
    t = b.mul(t, first)
    cube = b.mul(b.mul(t, t), t)
    return b.mul(first, b.div(b.mad(x, 2.0, cube), b.mad(cube, 2.0, x)))


def _newton(b: Builder, t: Value, x: Value) -> Value:
    """t - (t**3 - x) / (3 t**2), the residual taken without error."""
    square, square_low = two_product(b, t, t)
    cube, cube_low = two_product(b, square, t)
    residual = b.add(b.sub(cube, x), b.mad(square_low, t, cube_low))
    return b.sub(t, b.div(residual, b.mul(square, 3.0)))



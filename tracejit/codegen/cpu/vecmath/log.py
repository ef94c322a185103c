"""log, log2 and log1p: x = 2**e (1 + f) with f in [-1/4, 1/2), a minimax polynomial in f."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, Value, bits_dtype
from . import avx512
from .exp import LN2_F32, LN2_F64
from .poly import estrin, mantissa_bits, power_of_two, small_int_to_float

if TYPE_CHECKING:
    from ..builder import Builder

# (log(1 + f) - f + f**2 / 2) / f**3 on [-1/4, 1/2]; Remez, absolute error 2**-25.5.
LOG_F32 = (
    3.333333e-01, -2.500005e-01, 2.0000303e-01, -1.6661455e-01, 1.4262666e-01, -1.261707e-01, 1.1718418e-01,
    -9.787033e-02, 4.509578e-02,
)
# (2 atanh(s) - 2 s) / s**3 as a polynomial in s**2 on |s| <= 1/5; Remez, absolute error 2**-55.2.
LOG_F64 = (
    0.6666666666666666, 0.4000000000000791, 0.28571428567294943, 0.22222223044449504, 0.18181737979839419,
    0.1538885210817153, 0.13210043226816148, 0.1360628428395984,
)
LOG2_E_F32 = (1.4426950216293335, 1.9259629911266175e-08)
LOG2_E_F64 = (1.4426950408889634, 2.0355273740931033e-17)


def decompose(b: Builder, x: Value) -> tuple[Value, Value]:
    """f in [-1/4, 1/2) and integral e with x = 2**e (1 + f), for 0 < x < inf, denormals included."""
    if b.isa.has_avx512:
        m = avx512.getmant(b, x)
        return b.sub(m, 1.0), b.sub(avx512.getexp(b, x), avx512.getexp(b, m))
    bits, int_type = mantissa_bits(x), bits_dtype(x.dtype)
    small = b.lt(x, 2.0**-126 if x.dtype == F32 else 2.0**-1022)
    normal = b.select(small, b.mul(x, 2.0 ** (bits + 1)), x)
    three_quarters = b.bitcast(b.const(0.75, x.dtype), int_type)
    i = b.bitcast(normal, int_type)
    e = b.shr_arith(b.sub(i, b.splat(three_quarters, x.lanes)), bits)
    m = b.bitcast(b.sub(i, b.shl(e, bits)), x.dtype)
    shift = b.select(small, b.const(bits + 1.0, x.dtype, x.lanes), b.const(0.0, x.dtype, x.lanes))
    return b.sub(m, 1.0), b.sub(small_int_to_float(b, e, x.dtype), shift)


def _log1p_tail(b: Builder, f: Value) -> Value:
    """log(1 + f) - f for f in [-1/4, 1/2)."""
    square = b.mul(f, f)
    if f.dtype == F32:
        return b.mad(square, -0.5, b.mul(estrin(b, f, LOG_F32), b.mul(square, f)))
    s = b.div(f, b.add(f, 2.0))
    z = b.mul(s, s)
    h = b.mul(square, 0.5)
    rest = b.mul(estrin(b, z, LOG_F64), z)
    return b.sub(b.mul(s, b.add(h, rest)), h)


def log_parts(b: Builder, f: Value, e: Value, extra: Value | None = None) -> Value:
    """log(1 + f) + e log 2 + extra, where extra is a small correction of f."""
    high, low = LN2_F32 if f.dtype == F32 else LN2_F64
    tail = b.mad(e, low, _log1p_tail(b, f))
    tail = tail if extra is None else b.add(tail, extra)
    return b.mad(e, high, b.add(f, tail))


def _patch_domain(b: Builder, x: Value, out: Value) -> Value:
    """log at 0, negative numbers and infinity, which integer decomposition gets wrong."""
    if b.isa.has_avx512:
        return out  # getexp and getmant already lead to -inf, nan and inf
    out = b.select(b.eq(x, np.inf), np.inf, out)
    out = b.select(b.ge(x, 0.0), out, np.nan)
    return b.select(b.eq(x, 0.0), -np.inf, out)


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm; 0.9 ulp."""
    return _patch_domain(b, x, log_parts(b, *decompose(b, x)))


def log2(b: Builder, x: Value) -> Value:
    """The logarithm to base 2, exact at powers of two."""
    f, e = decompose(b, x)
    high, low = LOG2_E_F32 if x.dtype == F32 else LOG2_E_F64
    tail = b.mad(_log1p_tail(b, f), high, b.mul(f, low))
    return _patch_domain(b, x, b.add(e, b.mad(f, high, tail)))


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x): what the rounding of 1 + x lost corrects the logarithm."""
    u = b.add(x, 1.0)
    # Where x is so large that u - 1 is rounded too, the correction is below notice.
    out = log_of_sum(b, u, b.sub(x, b.sub(u, 1.0)))
    return b.copysign(out, x)


def log_of_sum(b: Builder, u: Value, lost: Value) -> Value:
    """log(u + lost) for |lost| <= ulp(u); as log(u) at 0, infinity and below 0."""
    f, e = decompose(b, u)
    if b.isa.has_avx512:
        scaled = avx512.scalef(b, lost, b.neg(e))
    else:
        scaled = b.mul(lost, power_of_two(b, b.neg(e)))
    scaled = b.select(b.lt(b.abs(scaled), 1.0), scaled, 0.0)  # nan at 0 and infinity
    # log(1 + f + s) - log(1 + f) = s / (1 + f), for which s (1 - f) is near enough.
    extra = b.mad(b.neg(scaled), f, scaled)
    return _patch_domain(b, u, log_parts(b, f, e, extra))

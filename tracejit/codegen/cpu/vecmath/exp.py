"""exp, exp2, expm1 and logistic: reduction by n log 2, a minimax polynomial, scaling by 2**n."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..value import F32, Value
from . import avx512
from .poly import clamp, estrin, horner, power_of_two

if TYPE_CHECKING:
    from ..builder import Builder

# (exp(r) - 1 - r) / r**2 on |r| <= log(2) / 2; Remez, absolute error 2**-23.9 and 2**-59.3.
EXP_F32 = (0.5, 1.6666576e-01, 4.1666377e-02, 8.36321e-03, 1.3940997e-03)
EXP_F64 = (
    0.5, 0.1666666666666667, 0.041666666666666685, 0.008333333333326112, 0.0013888888888874417,
    0.00019841269874903929, 2.480158734730483e-05, 2.7557255295030083e-06, 2.755725293737803e-07,
    2.5105260619664025e-08, 2.092158332871734e-09,
)
# (2**r - 1) / r on |r| <= 1/2; Remez, absolute error 2**-27.0 and 2**-62.4.
EXP2_F32 = (6.931472e-01, 2.402265e-01, 5.550357e-02, 9.618031e-03, 1.339098e-03, 1.5469859e-04)
EXP2_F64 = (
    0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.009618129107628487,
    0.0013333558146406295, 0.00015403530393354547, 1.525273384178266e-05, 1.321548682349725e-06,
    1.0178056971583231e-07, 7.054891387636431e-09, 4.455838552856591e-10, 2.573793155106378e-11,
)
LOG2_E, LN2 = 1.4426950408889634, 0.6931471805599453
# log 2 in two parts: the first times any exponent is exact without fma.
LN2_F32 = (0.693145751953125, 1.4286068203094173e-06)
LN2_F64 = (0.6931471805592082, 7.371002565167799e-13)


def reduce_ln2(b: Builder, x: Value) -> tuple[Value, Value]:
    """n = rint(x / log 2) and r = x - n log 2."""
    n = b.rint(b.mul(x, LOG2_E))
    high, low = LN2_F32 if x.dtype == F32 else LN2_F64
    return n, b.mad(b.neg(n), low, b.mad(b.neg(n), high, x))


def expm1_reduced(b: Builder, r: Value) -> Value:
    """exp(r) - 1 for |r| <= log(2) / 2."""
    if r.dtype == F32:
        return b.mad(estrin(b, r, EXP_F32), b.mul(r, r), r)
    return b.mad(estrin(b, r, EXP_F64), b.mul(r, r), r)


def scale(b: Builder, x: Value, n: Value) -> Value:
    """x * 2**n for x near 1, rounded once also into the denormals."""
    if b.isa.has_avx512:
        return avx512.scalef(b, x, n)
    half = b.floor(b.mul(n, 0.5))
    return b.mul(b.mul(x, power_of_two(b, half)), power_of_two(b, b.sub(n, half)))


def scale_down(b: Builder, x: Value, n: Value, is_lost: Value) -> Value:
    """Like `scale`, where some lanes are known to become 0: rounding a number to nothing takes some processors 150 cycles."""
    return scale(b, b.select(is_lost, 0.0, x), n)


def exp(b: Builder, x: Value) -> Value:
    """e**x; 1.0 ulp."""
    is_lost = b.lt(x, -103.9721 if x.dtype == F32 else -745.1333)
    x = clamp(b, x, -104.0, 89.0) if x.dtype == F32 else clamp(b, x, -746.0, 710.0)
    n, r = reduce_ln2(b, x)
    return scale_down(b, b.add(expm1_reduced(b, r), 1.0), n, is_lost)


def exp_not_large(b: Builder, x: Value) -> Value:
    """e**x where x <= 0 is known and results below the normal range may be 0."""
    x = b.max(x, -87.0 if x.dtype == F32 else -708.0)
    n, r = reduce_ln2(b, x)
    return b.mul(b.add(expm1_reduced(b, r), 1.0), power_of_two(b, n))


def exp2(b: Builder, x: Value) -> Value:
    """2**x, exact at integers."""
    is_lost = b.lt(x, -150.0 if x.dtype == F32 else -1075.0)
    x = clamp(b, x, -151.0, 129.0) if x.dtype == F32 else clamp(b, x, -1076.0, 1025.0)
    n = b.rint(x)
    r = b.sub(x, n)
    coefficients = EXP2_F32 if x.dtype == F32 else EXP2_F64
    return scale_down(b, b.mad(horner(b, r, coefficients), r, 1.0), n, is_lost)


def expm1(b: Builder, x: Value) -> Value:
    """e**x - 1, accurate near 0: 2**n p + (2**n - 1), halved so that 2**n cannot overflow early."""
    kept = x
    x = clamp(b, x, -20.0, 89.0) if x.dtype == F32 else clamp(b, x, -40.0, 710.0)
    n, r = reduce_ln2(b, x)
    p = expm1_reduced(b, r)
    half = power_of_two(b, b.sub(n, 1.0))
    scaled = b.mul(b.mad(half, p, b.sub(half, 0.5)), 2.0)
    out = b.select(b.eq(n, 0.0), p, scaled)
    return b.copysign(out, kept)


def logistic(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x)) as e / (1 + e) for negative x, so that small results keep their digits."""
    e = exp(b, b.neg(b.abs(x)))
    top = b.select(b.lt(x, 0.0), e, 1.0)
    return b.div(top, b.add(e, 1.0))



"""sinh, cosh, tanh and their inverses: shared exponential reduction, and log1p of exact sums."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, Value
from .exp import EXP2_F32, LN2, LOG2_E, expm1_reduced, reduce_ln2
from .log import log_of_sum
from .poly import fast_two_sum, horner, power_of_two, two_product, two_sum

if TYPE_CHECKING:
    from ..builder import Builder

# (sinh(r) - r) / r**3 and (cosh(r) - 1) / r**2 in r**2 on |r| <= log(2) / 2.
# Remez, weighted error 2**-36.6, 2**-73.5 and 2**-33.4, 2**-69.6.
SINH_F32 = (1.6666667e-01, 8.333298e-03, 1.9899345e-04)
SINH_F64 = (
    0.16666666666666666, 0.008333333333333335, 0.00019841269841259474, 2.7557319255078045e-06,
    2.505206424219474e-08, 1.608876782407899e-10,
)
COSH_F32 = (0.5, 4.1666355e-02, 1.3941174e-03)
COSH_F64 = (
    0.5, 0.041666666666666685, 0.0013888888888873333, 2.4801587348234073e-05, 2.755725299843819e-07,
    2.0921348321495112e-09,
)
# (tanh(x) - x) / x**3 in x**2 on |x| <= 0.55; Remez, weighted error 2**-29.3.
TANH_F32 = (-3.3333325e-01, 1.3332826e-01, -5.3874504e-02, 2.1154521e-02, -6.382284e-03)


def _parts(b: Builder, x: Value) -> tuple[Value, Value, Value, Value]:
    """A, B, S and C with sinh(|x|) = B (1 + C) + A S, cosh(x) = A (1 + C) + B S, all halved.

    x = n log 2 + r, A and B are cosh and sinh of n log 2, S = sinh(r), C = cosh(r) - 1: no
    cancellation and no division. Halved, so that A does not overflow before the result.
    """
    n, r = reduce_ln2(b, b.min(b.abs(x), 89.5 if x.dtype == F32 else 710.6))
    up = power_of_two(b, b.sub(n, 2.0))
    down = power_of_two(b, b.sub(-2.0, b.min(n, 100.0)))
    z = b.mul(r, r)
    single = x.dtype == F32
    s = b.mad(b.mul(horner(b, z, SINH_F32 if single else SINH_F64), z), r, r)
    c = b.mul(horner(b, z, COSH_F32 if single else COSH_F64), z)
    return b.add(up, down), b.sub(up, down), s, c


def sinh(b: Builder, x: Value) -> Value:
    """(e**x - e**-x) / 2."""
    a, d, s, c = _parts(b, x)
    half = b.add(d, b.mad(a, s, b.mul(d, c)))
    # Below log(2) / 2 all is in S, which must not be halved where it is denormal.
    out = b.select(b.eq(d, 0.0), s, b.mul(half, 2.0))
    return b.copysign(b.select(b.ne(x, x), x, out), x)


def cosh(b: Builder, x: Value) -> Value:
    """(e**x + e**-x) / 2."""
    a, d, s, c = _parts(b, x)
    return b.mul(b.add(a, b.mad(d, s, b.mul(a, c))), 2.0)


def tanh(b: Builder, x: Value) -> Value:
    """sinh(x) / cosh(x)."""
    return _tanh_f32(b, x) if x.dtype == F32 else _tanh_f64(b, x)


def _tanh_f32(b: Builder, x: Value) -> Value:
    """A polynomial below 0.55; 1 - 2 / (exp(2 a) + 1) above, where 1 dominates the errors."""
    a = b.abs(x)
    y = b.mul(b.min(a, 9.1), 2 * LOG2_E)
    n = b.rint(y)
    f = b.sub(y, n)
    e = b.mul(b.mad(horner(b, f, EXP2_F32), f, 1.0), power_of_two(b, n))
    far = b.sub(1.0, b.div(2.0, b.add(e, 1.0)))
    z = b.mul(a, a)
    near = b.mad(b.mul(horner(b, z, TANH_F32), z), a, a)
    return b.copysign(b.select(b.gt(a, 0.55), far, near), x)


def _tanh_f64(b: Builder, x: Value) -> Value:
    """e / (e + 2) with e = exp(2 a) - 1; 2.3 ulp."""
    twice = b.mul(b.min(b.abs(x), 20.0), 2.0)
    n, r = reduce_ln2(b, twice)
    up = power_of_two(b, n)
    e = b.mad(up, expm1_reduced(b, r), b.sub(up, 1.0))
    out = b.div(e, b.add(e, 2.0))
    return b.copysign(b.select(b.lt(twice, 2.0**-28), x, out), x)


def _log1p_exact(b: Builder, high: Value, low: Value) -> Value:
    """log(1 + high + low) for |low| far below high >= 0."""
    u, lost = two_sum(b, b.const(1.0, high.dtype, high.lanes), high)
    return log_of_sum(b, u, b.add(lost, low))


def asinh(b: Builder, x: Value) -> Value:
    """sign(x) log1p(a + a**2 / (1 + sqrt(1 + a**2))) with a = |x|; log(2 a) for large a."""
    a = b.abs(x)
    large = b.gt(a, 2.0**30)
    square = b.mul(a, a)
    bump = b.div(square, b.add(b.sqrt(b.add(square, 1.0)), 1.0))
    high, low = fast_two_sum(b, b.select(large, 0.0, b.max(a, bump)), b.select(large, 0.0, b.min(a, bump)))
    out = _large_or(b, large, a, high, low)
    small = b.lt(a, 2.0**-13 if x.dtype == F32 else 2.0**-27)
    return b.copysign(b.select(small, _cubic(b, a, -1 / 6), out), x)


def _cubic(b: Builder, x: Value, c: float) -> Value:
    return b.mad(b.mul(b.mul(x, x), c), x, x)


def _large_or(b: Builder, large: Value, a: Value, high: Value, low: Value) -> Value:
    """log(2 a) where `large`, else log(1 + high + low), with one logarithm."""
    u, lost = two_sum(b, b.const(1.0, a.dtype, a.lanes), high)
    u, lost = b.select(large, a, u), b.select(large, 0.0, b.add(lost, low))
    out = log_of_sum(b, u, lost)
    return b.add(out, b.select(large, b.const(LN2, a.dtype, a.lanes), b.const(0.0, a.dtype, a.lanes)))


def acosh(b: Builder, x: Value) -> Value:
    """log1p(t + sqrt(t (t + 2))) with t = x - 1; log(2 x) for large x; nan below 1."""
    large = b.gt(x, 2.0**30)
    t, t_low = two_sum(b, x, b.const(-1.0, x.dtype, x.lanes))
    t2, t2_low = two_sum(b, x, b.const(1.0, x.dtype, x.lanes))
    square, square_low = two_product(b, t, t2)
    square_low = b.add(square_low, b.mad(t, t2_low, b.mul(t2, t_low)))
    root = b.sqrt(square)
    root_low = b.div(b.add(b.fma(b.neg(root), root, square), square_low), b.mul(root, 2.0))
    root_low = b.select(b.or_(large, b.eq(root, 0.0)), 0.0, root_low)
    root, t, t_low = (b.select(large, 0.0, v) for v in (root, t, t_low))
    high, low = two_sum(b, root, t)
    out = _large_or(b, large, x, high, b.add(low, b.add(t_low, root_low)))
    return b.select(b.ge(x, 1.0), out, np.nan)


def atanh(b: Builder, x: Value) -> Value:
    """log1p(2 a / (1 - a)) / 2 with a = |x|; inf at 1, nan beyond."""
    a = b.abs(x)
    below, below_low = two_sum(b, b.const(1.0, x.dtype, x.lanes), b.neg(a))
    top = b.mul(a, 2.0)
    q = b.div(top, below)
    residual = b.sub(b.fma(b.neg(q), below, top), b.mul(q, below_low))
    q_low = b.mul(residual, b.mad(q, 0.5, 1.0))  # 1 / (1 - a) is 1 + q / 2
    out = b.mul(_log1p_exact(b, q, q_low), 0.5)
    small = b.lt(a, 2.0**-13 if x.dtype == F32 else 2.0**-27)
    return b.copysign(b.select(small, _cubic(b, a, 1 / 3), out), x)

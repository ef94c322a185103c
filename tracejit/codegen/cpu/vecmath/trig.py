"""sin, cos and tan: x = q pi + r exactly enough for every float, then a minimax polynomial in r."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, F64, I64, Value
from .poly import estrin, exponent_bias, fast_two_sum, horner, low_bits, mantissa_bits, two_product, two_sum

if TYPE_CHECKING:
    from ..builder import Builder

# (sin(r) - r) / r**3 in r**2 on |r| <= pi / 2; Remez, weighted error 2**-35.5 and 2**-71.3; the f32 ones are then
# moved by a few units so that sin(pi / 2) and cos(0) are exactly 1.
SIN_F32 = (-1.6666667e-01, 8.333333e-03, -1.9840898e-04, 2.7527005e-06, -2.3914836e-08)
SIN_F64 = (
    -0.16666666666666666, 0.008333333333333333, -0.00019841269841269703, 2.7557319223947048e-06,
    -2.505210837927379e-08, 1.605904324890344e-10, -7.647129335998971e-13, 2.8102470952043797e-15,
    -7.9853073184743e-18,
)
# The same on |r| <= pi / 4 (2**-37.3, 2**-68.4), and (cos(r) - 1 + r**2 / 2) / r**4 (2**-42.0, 2**-62.8).
QUARTER_SIN_F32 = (-1.6666667e-01, 8.33333e-03, -1.983943e-04, 2.7190486e-06)
QUARTER_SIN_F64 = (
    -0.16666666666666666, 0.008333333333333326, -0.0001984126984125831, 2.7557319215628447e-06,
    -2.5052105240355884e-08, 1.6058404089813555e-10, -7.580382605690295e-13,
)
QUARTER_COS_F32 = (4.1666668e-02, -1.3888886e-03, 2.4800078e-05, -2.7251528e-07)
QUARTER_COS_F64 = (
    0.04166666666666666, -0.0013888888888884488, 2.4801587295740247e-05, -2.7557316091446873e-07,
    2.0875950370082262e-09, -1.1370947030335014e-11,
)
# pi in three parts of 24 and of 53 bits, rounded down.
PI_F32 = (3.141592502593994, 1.5099578831723193e-07, 1.0780605716316238e-14)
PI_F64 = (3.141592653589793, 1.224646799147353e-16, 2.165713347843828e-32)
# Up to these bounds the three parts leave r its full precision (no float comes closer to a
# multiple of pi than their error times 2**24, 2**53).
FAST_F32, FAST_F64 = 2.0**17, 2.0**30
INVERSE_PI = 0.3183098861837907

# 1 / pi: its first 1248 bits, as hexadecimal digits after the point.
_INVERSE_PI_DIGITS = (
    "517cc1b727220a94fe13abe8fa9a6ee06db14acc9e21c820ff28b1d5ef5de2b0db92371d2126e9"
    "700324977504e8c90e7f0ef58e5894d39f74411afa975da24274ce38135a2fbf209cc8eb1cc1a9"
    "9cfa4e422fc5defc941d8ffc4bffef02cc07f79788c5ad05368fb69b3f6793e584dba7a31fb34f"
    "2ff516ba93dd63f5f2f8bd9e839cfbc529497535fdafd88fc6ae842b0198237e3db5d5f867de10"
)
_STRIDE = 24


def _inverse_pi_table() -> np.ndarray:
    """Entry k: the 48 bits of 1 / pi from bit 24 k on, as a fraction."""
    digits = 2 * _STRIDE // 4
    starts = range(0, len(_INVERSE_PI_DIGITS) - digits + 1, _STRIDE // 4)
    return np.array([int(_INVERSE_PI_DIGITS[i : i + digits], 16) * 2.0**-48 for i in starts])


def _quotient(b: Builder, turns: Value, unit: float, offset: float) -> Value:
    """The nearest of offset + unit * integers."""
    if unit == 1.0:
        steps = b.rint(b.sub(turns, offset) if offset else turns)
    else:
        steps = b.mul(b.rint(b.mul(turns, 1 / unit)), unit)
    return b.add(steps, offset) if offset else steps


def _reduce_fast(b: Builder, x: Value, unit: float, offset: float) -> tuple[Value, Value, Value | None]:
    """q and r (and for tan its rounding error) for |x| up to FAST: Cody and Waite's method with fma."""
    q = _quotient(b, b.mul(x, INVERSE_PI), unit, offset)
    minus_q = b.neg(q)
    parts = PI_F32 if x.dtype == F32 else PI_F64
    first = b.fma(minus_q, parts[0], x)
    if unit == 1.0:
        return q, b.fma(minus_q, parts[2], b.fma(minus_q, parts[1], first)), None
    product, lost = two_product(b, minus_q, b.const(parts[1], x.dtype, x.lanes))
    r, error = two_sum(b, first, product)
    return q, r, b.add(error, b.fma(minus_q, parts[2], lost))


def _reduce_large(b: Builder, x: Value, unit: float, offset: float) -> tuple[Value, Value, Value]:
    """The same for any f64 x, by Payne and Hanek's method: x times those bits of 1 / pi that matter.

    Bits of 1 / pi whose product with x is a multiple of 2 are skipped; of the rest five
    48-bit pieces are multiplied without error.
    """
    bits = b.bitcast(x, I64)
    exponent = b.sub(b.and_(b.shr_logical(bits, 52), 0x7FF), exponent_bias(x) + mantissa_bits(x) + 1)
    start = b.div(b.max(exponent, 0), _STRIDE)
    table = b.module.table(_inverse_pi_table())
    scale = b.bitcast(b.shl(b.sub(1023, b.mul(start, _STRIDE)), 52), F64)
    m = b.mul(x, scale)
    pieces = [b.gather(F64, b.gep(table, 2 * i, F64), start) for i in range(5)]
    highs, lows = zip(*[two_product(b, m, b.mul(p, 2.0 ** (-48 * i))) for i, p in enumerate(pieces)])
    parts = [_modulo_2(b, highs[0]), _modulo_2(b, lows[0]), _modulo_2(b, highs[1]), highs[2], lows[1]]
    q = _quotient(b, b.add(b.add(parts[0], parts[1]), b.add(parts[2], parts[3])), unit, offset)
    f, *errors = _sum_exactly(b, [b.sub(parts[0], q), *parts[1:]])
    f, *errors = _sum_exactly(b, [f, *errors])  # again: f may have cancelled down to the errors
    tiny = b.add(b.add(lows[2], highs[3]), b.add(lows[3], highs[4]))
    for error in errors:
        tiny = b.add(tiny, error)
    f, rest = fast_two_sum(b, f, tiny)
    r, error = two_product(b, f, b.const(PI_F64[0], F64, x.lanes))
    return q, r, b.add(error, b.fma(rest, PI_F64[0], b.mul(f, PI_F64[1])))


def _sum_exactly(b: Builder, terms: list[Value]) -> list[Value]:
    """The rounded sum of the terms and the errors that make it exact."""
    total, errors = terms[0], []
    for term in terms[1:]:
        total, error = two_sum(b, total, term)
        errors.append(error)
    return [total, *errors]


def _modulo_2(b: Builder, x: Value) -> Value:
    return b.sub(x, b.mul(b.rint(b.mul(x, 0.5)), 2.0))


def _any_range(b: Builder, name: str, x: Value, finish, unit: float, offset: float) -> Value:
    """finish(b, q, r, error of r), where a vector holding a large number takes the long way.

    The other lanes of such a vector keep the result of the short way: what a number
    maps to must not depend on its neighbours.
    """
    fast = finish(b, *_reduce_fast(b, x, unit, offset))
    large = b.gt(b.abs(x), FAST_F32 if x.dtype == F32 else FAST_F64)

    def slow(inner: Builder, x: Value) -> Value:
        wide = inner.convert(x, F64)
        return inner.convert(finish(inner, *_reduce_large(inner, wide, unit, offset)), x.dtype)

    def mend() -> list[Value]:
        return [b.select(large, b.outline(f"{name}_large", slow, x), fast)]

    return b.cond(b.any(large), mend, lambda: [fast])[0]


def _flip_sign(b: Builder, x: Value, odd: Value) -> Value:
    """x, negated where the integral float `odd` is odd."""
    sign = b.shl(low_bits(b, odd), x.dtype.itemsize * 8 - 1)
    return b.bitcast(b.xor(b.bitcast(x, sign.dtype), sign), x.dtype)


def _sine_of(b: Builder, r: Value, error: Value | None) -> Value:
    z = b.mul(r, r)
    p = horner(b, z, SIN_F32) if r.dtype == F32 else horner(b, z, (*SIN_F64[:2], estrin(b, z, SIN_F64[2:])))
    if error is None:
        return b.mad(b.mul(p, z), r, r)
    # The error counts cos(r) times, for which 1 - 0.4 r**2 is near enough.
    tail = b.mul(error, b.mad(z, -0.4, 1.0))
    return b.add(b.mad(b.mul(p, z), r, tail), r)


def sin(b: Builder, x: Value) -> Value:
    """The sine of x radians, any x."""
    def finish(b: Builder, q: Value, r: Value, error: Value | None) -> Value:
        return _flip_sign(b, _sine_of(b, r, error), q)

    out = _any_range(b, "sin", x, finish, 1.0, 0.0)
    return b.select(b.eq(x, 0.0), x, out)


def cos(b: Builder, x: Value) -> Value:
    """The cosine of x radians, any x: with q = n + 1/2 it is (-1)**(n + 1) sin(r)."""
    def finish(b: Builder, q: Value, r: Value, error: Value | None) -> Value:
        return _flip_sign(b, _sine_of(b, r, error), b.add(q, 0.5))

    return _any_range(b, "cos", x, finish, 1.0, 0.5)


def tan(b: Builder, x: Value) -> Value:
    """The tangent of x radians, any x: sin(r) / cos(r), or -cos(r) / sin(r) in odd quarters."""
    def finish(b: Builder, q: Value, r: Value, error: Value | None) -> Value:
        s, c = _quarter_sine(b, r, error), _quarter_cosine(b, r, error)
        odd = b.ne(b.and_(low_bits(b, b.mul(q, 2.0)), 1), 0)
        return b.div(b.select(odd, b.neg(c), s), b.select(odd, s, c))

    out = _any_range(b, "tan", x, finish, 0.5, 0.0)
    return b.select(b.eq(x, 0.0), x, out)


def _quarter_sine(b: Builder, r: Value, error: Value | None) -> Value:
    z = b.mul(r, r)
    p = horner(b, z, QUARTER_SIN_F32 if r.dtype == F32 else QUARTER_SIN_F64)
    return b.add(b.mad(p, b.mul(z, r), error if error is not None else 0.0), r)


def _quarter_cosine(b: Builder, r: Value, error: Value | None) -> Value:
    z = b.mul(r, r)
    p = horner(b, z, QUARTER_COS_F32 if r.dtype == F32 else QUARTER_COS_F64)
    tail = b.mul(b.mul(z, z), p)
    if error is not None:
        tail = b.sub(tail, b.mul(r, error))
    # 1 - z / 2 rounded, and what the rounding lost.
    head = b.mad(z, -0.5, 1.0)
    return b.add(head, b.add(tail, b.mad(z, -0.5, b.sub(1.0, head))))


def quarter_turns(b: Builder, turns: Value) -> tuple[Value, Value]:
    """sin(pi t) and cos(pi t) of an f64 |t| <= 1/2."""
    size = b.abs(turns)
    steep = b.gt(size, 0.25)
    angle = b.mul(b.select(steep, b.sub(0.5, size), size), PI_F64[0])
    s, c = _quarter_sine(b, angle, None), _quarter_cosine(b, angle, None)
    return b.copysign(b.select(steep, c, s), turns), b.select(steep, s, c)

"""Polynomials, powers of two and error-free sums that the elementary functions share."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..value import F32, Value, bits_dtype

if TYPE_CHECKING:
    from ..builder import Builder


def horner(b: Builder, x: Value, coefficients: Sequence[float | Value]) -> Value:
    """The polynomial with `coefficients` from the constant term up: fewest operations."""
    out = b.lift(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        out = b.mad(out, x, c)
    return out


def estrin(b: Builder, x: Value, coefficients: Sequence[float | Value]) -> Value:
    """The same polynomial as a tree: a shorter chain, for functions bound by latency."""
    terms, power = list(coefficients), x
    while len(terms) > 1:
        pairs = [b.mad(hi, power, lo) for lo, hi in zip(terms[::2], terms[1::2])]
        terms = pairs + terms[len(terms) - len(terms) % 2:]
        power = b.mul(power, power) if len(terms) > 1 else power
    return b.lift(terms[0], x)


def clamp(b: Builder, x: Value, low: float, high: float) -> Value:
    """x kept within [low, high]; nan stays nan."""
    return b.max(b.min(x, high), low)


def mantissa_bits(x: Value) -> int:
    return 23 if x.dtype == F32 else 52


def exponent_bias(x: Value) -> int:
    return 127 if x.dtype == F32 else 1023


def shifter(x: Value) -> float:
    """Added to a small integral float, it leaves the integer in the low bits of the sum.

    Conversions between f64 and i64 are scalar code before AVX-512.
    """
    return 1.5 * 2.0 ** mantissa_bits(x)


def power_of_two(b: Builder, n: Value) -> Value:
    """2**n of an integral float n within the normal exponents."""
    biased = b.add(n, shifter(n) + exponent_bias(n))
    return b.bitcast(b.shl(b.bitcast(biased, bits_dtype(n.dtype)), mantissa_bits(n)), n.dtype)


def low_bits(b: Builder, n: Value) -> Value:
    """An integer whose low bits are those of the integral float n (|n| < 2**22 or 2**51)."""
    return b.bitcast(b.add(n, shifter(n)), bits_dtype(n.dtype))


def small_int_to_float(b: Builder, i: Value, dtype) -> Value:
    """An integer |i| < 2**22 or 2**51 as a float of the same width."""
    probe = b.const(0, dtype)
    magic = b.bitcast(b.const(shifter(probe), dtype), i.dtype)
    return b.sub(b.bitcast(b.add(i, b.splat(magic, i.lanes)), dtype), shifter(probe))


def two_sum(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """The rounded sum and its error, exactly (Knuth)."""
    total = b.add(x, y)
    back = b.sub(total, x)
    return total, b.add(b.sub(x, b.sub(total, back)), b.sub(y, back))


def fast_two_sum(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """The rounded sum and its error, for |x| >= |y| (Dekker)."""
    total = b.add(x, y)
    return total, b.sub(y, b.sub(total, x))


def two_product(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """The rounded product and its error, exactly."""
    product = b.mul(x, y)
    return product, b.fma(x, y, b.neg(product))

"""Maps numbers to their integer parts, binary parts, signs and neighbours, elementwise."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.ir.types import FLOAT0, is_float, kind_of
from tracejit.numpy.compiled import compiled
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    cast_numpy,
    check_arraylike,
    check_no_out,
    convert,
    dtype_of,
    expand_to,
    inexact,
    literal,
    promote_inexact,
    strong,
)
from tracejit.numpy.transcendental import full_operands
from tracejit.runtime.eager import eager
from tracejit.transforms.custom import custom_jvp

_UNSIGNED = {2: np.dtype("uint16"), 4: np.dtype("uint32"), 8: np.dtype("uint64")}
_SIGNED = {2: np.dtype("int16"), 4: np.dtype("int32"), 8: np.dtype("int64")}


def _real_or_same(name: str, x: ArrayLike, round_: Any) -> Array:
    """Integers are whole already; complex numbers are refused."""
    check_arraylike(name, x)
    kind = dtype_of(x).kind
    if kind == "c":
        raise TypeError(f"ufunc '{name}' does not support complex dtypes")
    return as_array(x) if kind in "biu" else round_(x)


@eager
def floor(x: ArrayLike, /) -> Array:
    """The largest whole number not above x.

    >>> jnp.floor(jnp.array([1.7, -1.2]))
    Array([ 1., -2.], dtype=float32)
    """
    return _real_or_same("floor", x, lax.floor)


@eager
def ceil(x: ArrayLike, /) -> Array:
    """The smallest whole number not below x.

    >>> jnp.ceil(jnp.array([1.2, -1.7]))
    Array([ 2., -1.], dtype=float32)
    """
    return _real_or_same("ceil", x, lax.ceil)


@eager
def trunc(x: ArrayLike) -> Array:
    """x without its fraction.

    >>> jnp.trunc(jnp.array([1.7, -1.7]))
    Array([ 1., -1.], dtype=float32)
    """
    return _real_or_same("trunc", x, _toward_zero)


def _toward_zero(x: ArrayLike) -> Array:
    x = as_array(x)
    return lax.select(lax.lt(x, cast_numpy(0, x.dtype)), lax.ceil(x), lax.floor(x))


@eager
def rint(x: ArrayLike, /) -> Array:
    """The nearest whole number, ties to even; integers give floats.

    >>> jnp.rint(jnp.array([0.5, 1.5, 2.6]))
    Array([0., 2., 3.], dtype=float32)
    """
    check_arraylike("rint", x)
    if kind_of(dtype_of(x)) in "iub":
        return strong(inexact("rint", x))
    return _round_even(as_array(x))


def _round_even(x: Array) -> Array:
    even = lax.RoundingMethod.TO_NEAREST_EVEN
    if x.dtype.kind == "c":
        return lax.complex(lax.round(lax.real(x), even), lax.round(lax.imag(x), even))
    return lax.round(x, even)


@compiled
def round(a: ArrayLike, decimals: int = 0, out: None = None) -> Array:
    """a rounded to `decimals` places, ties to even.

    >>> jnp.round(jnp.array([1.24, 1.26]), 1)
    Array([1.2, 1.3], dtype=float32)
    """
    check_no_out("round", out)
    check_arraylike("round", a)
    x = as_array(a)
    if kind_of(x.dtype) == "b" or (kind_of(x.dtype) in "iu" and decimals >= 0):
        return x
    if kind_of(x.dtype) in "iu":
        raise NotImplementedError("integer np.round not implemented for decimals < 0")
    if decimals == 0:
        return _round_even(x)
    wide = np.dtype("float32") if is_float(x.dtype) and x.dtype.itemsize < 4 else x.dtype
    if decimals > math.log10(np.finfo(wide).max):  # more than any number of the dtype has
        return x
    factor = literal(10.0 ** abs(decimals), wide)
    scale, unscale = (lax.mul, lax.div) if decimals > 0 else (lax.div, lax.mul)
    return convert(unscale(_round_even(scale(convert(x, wide), factor)), factor), x.dtype)


around = round


@compiled
def modf(x: ArrayLike, /, out: None = None) -> tuple[Array, Array]:
    """(fraction, whole part), both with the sign of x.

    >>> jnp.modf(jnp.array([1.5, -2.25]))
    (Array([ 0.5 , -0.25], dtype=float32), Array([ 1., -2.], dtype=float32))
    """
    check_no_out("modf", out)
    x = as_array(inexact("modf", x))
    whole = _toward_zero(x)
    infinite = lax.eq(lax.abs(x), cast_numpy(np.inf, x.dtype))
    return copysign(lax.select(infinite, lax.full_like(x, 0), lax.sub(x, whole)), x), whole


# --- the bits of a float -----------------------------------------------------------------------------


@eager
def signbit(x: ArrayLike, /) -> Array:
    """Whether the sign bit is set: true for -0.0.

    >>> jnp.signbit(jnp.array([-0.0, 1.0]))
    Array([ True, False], dtype=bool)
    """
    check_arraylike("signbit", x)
    x = as_array(x)
    if x.dtype.kind in "ub":
        return lax.full_like(x, False, np.dtype(bool))
    if kind_of(x.dtype) == "i":
        return lax.lt(x, cast_numpy(0, x.dtype))
    if not is_float(x.dtype):
        raise ValueError("jax.numpy.signbit is not well defined for complex inputs")
    signed = _SIGNED[x.dtype.itemsize]
    return lax.lt(lax.bitcast_convert_type(x, signed), cast_numpy(0, signed))


@eager
def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 with the sign of x2.

    >>> jnp.copysign(jnp.array([1.0, -2.0]), -0.0)
    Array([-1., -2.], dtype=float32)
    """
    x1, x2 = full_operands("copysign", x1, x2)
    if x1.dtype.kind == "c":
        raise TypeError("copysign does not support complex-valued inputs")
    size = lax.abs(x1)
    return lax.select(signbit(x2), lax.neg(size), size)


@eager
def nextafter(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The next number after x towards y.

    >>> jnp.nextafter(1.0, 2.0) - 1.0
    Array(1.1920929e-07, dtype=float32, weak_type=True)
    """
    return lax.nextafter(*promote_inexact("nextafter", x, y))


@eager
def spacing(x: ArrayLike, /) -> Array:
    """The distance to the next number away from 0.

    >>> jnp.spacing(jnp.float32(1.0))
    Array(1.1920929e-07, dtype=float32)
    """
    x = as_array(inexact("spacing", x))
    if x.dtype.kind == "c":
        raise ValueError("jnp.spacing is not defined for complex inputs.")
    if x.dtype == np.float16:   # as in NumPy, towards inf and not away from 0
        return lax.sub(lax.nextafter(x, lax.full_like(x, np.inf)), x)
    bits = _UNSIGNED[x.dtype.itemsize]
    above = lax.bitcast_convert_type(lax.add(lax.bitcast_convert_type(lax.abs(x), bits), cast_numpy(1, bits)), x.dtype)
    gap = copysign(lax.sub(above, lax.abs(x)), x)
    return lax.select(lax.is_finite(x), gap, lax.full_like(x, np.nan))


def _layout(dtype: np.dtype) -> tuple[int, int]:
    """(bits of the fraction, bias of the exponent)."""
    info = ml_dtypes.finfo(dtype)
    return info.nmant, 1 - int(info.minexp)


@eager
def frexp(x: ArrayLike, /) -> tuple[Array, Array]:
    """(m, e) with x = m * 2 ** e and 0.5 <= |m| < 1.

    >>> jnp.frexp(jnp.array([8.0, 0.3]))
    (Array([0.5, 0.6], dtype=float32), Array([ 4, -1], dtype=int32))
    """
    x = as_array(inexact("frexp", x))
    if x.dtype.kind == "c":
        raise TypeError("frexp does not support complex-valued inputs")
    return _mantissa_and_exponent(x)


@custom_jvp
def _mantissa_and_exponent(x: Array) -> tuple[Array, Array]:
    fraction_bits, bias = _layout(x.dtype)
    unsigned, integer = _UNSIGNED[x.dtype.itemsize], np.dtype("int32")
    zero = cast_numpy(0, x.dtype)
    tiny = lax.lt(lax.abs(x), cast_numpy(2.0 ** (1 - bias), x.dtype))  # subnormal: scaled into the normal range first
    scaled = lax.select(tiny, lax.mul(x, cast_numpy(2.0 ** (fraction_bits + 1), x.dtype)), x)
    bits = lax.bitcast_convert_type(scaled, unsigned)
    field = (1 << (x.dtype.itemsize * 8 - 1 - fraction_bits)) - 1
    exponent = lax.bitwise_and(
        lax.shift_right_logical(bits, cast_numpy(fraction_bits, unsigned)), cast_numpy(field, unsigned)
    )
    exponent = lax.sub(lax.convert_element_type(exponent, integer), cast_numpy(bias - 1, integer))
    exponent = lax.select(tiny, lax.sub(exponent, cast_numpy(fraction_bits + 1, integer)), exponent)
    cleared = lax.bitwise_and(bits, cast_numpy((1 << x.dtype.itemsize * 8) - 1 - (field << fraction_bits), unsigned))
    mantissa = lax.bitcast_convert_type(
        lax.bitwise_or(cleared, cast_numpy((bias - 1) << fraction_bits, unsigned)), x.dtype
    )
    special = lax.bitwise_or(lax.bitwise_not(lax.is_finite(x)), lax.eq(x, zero))
    return lax.select(special, x, mantissa), lax.select(special, lax.full_like(exponent, 0), exponent)


@_mantissa_and_exponent.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    """The exponent is constant nearly everywhere: m' = x' / 2 ** e."""
    m, e = _mantissa_and_exponent(*primals)
    return (m, e), (ldexp(*tangents, lax.neg(e)), np.zeros(e.shape, FLOAT0))


@eager
def ldexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 * 2 ** x2, for integers x2.

    >>> jnp.ldexp(jnp.array([1.0, 3.0]), 2)
    Array([ 4., 12.], dtype=float32)
    """
    check_arraylike("ldexp", x1, x2)
    if kind_of(dtype_of(x2)) not in "biu" or dtype_of(x1).kind == "c":
        raise ValueError(f"ldexp not supported for input types {dtype_of(x1)}, {dtype_of(x2)}")
    x1 = as_array(inexact("ldexp", x1))
    shape = np.broadcast_shapes(x1.shape, np.shape(x2))
    from_int = lambda n: lax.convert_element_type(n, x1.dtype)
    x1, exponent = expand_to(x1, shape), expand_to(lax.convert_element_type(x2, np.dtype("int32")), shape)
    # In three factors, since 2 ** x2 alone may overflow or vanish where the product does not.
    third = lax.div(exponent, cast_numpy(3, exponent.dtype))
    rest = lax.sub(exponent, lax.add(third, third))
    two = lambda n: lax.exp2(from_int(n))
    return lax.mul(lax.mul(lax.mul(x1, two(third)), two(third)), two(rest))

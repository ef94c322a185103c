"""Maps arrays to exponentials, logarithms, trigonometric and hyperbolic functions and their relatives, elementwise."""

from __future__ import annotations

import math

import numpy as np

from tracejit import lax
from tracejit.ir.types import is_complex, real_dtype
from tracejit.lax.logaddexp import larger_and_gap
from tracejit.lax.logaddexp import logaddexp as lax_logaddexp
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    cast_numpy,
    check_arraylike,
    dtype_of,
    expand_to,
    inexact,
    literal,
    promote_inexact,
    strong,
)
from tracejit.numpy.ufuncs import binary_ufunc
from tracejit.runtime.eager import eager


@eager
def sin(x: ArrayLike, /) -> Array:
    """The sine of x (in radians).

    >>> jnp.sin(jnp.array([0.0, 0.5]))
    Array([0.        , 0.47942555], dtype=float32)
    """
    return lax.sin(inexact("sin", x))


@eager
def cos(x: ArrayLike, /) -> Array:
    """The cosine of x (in radians).

    >>> jnp.cos(jnp.array([0.0, 0.5])).round(3)
    Array([1.   , 0.878], dtype=float32)
    """
    return lax.cos(inexact("cos", x))


@eager
def tan(x: ArrayLike, /) -> Array:
    """The tangent of x (in radians).

    >>> jnp.tan(jnp.array([0.0, 0.5]))
    Array([0.       , 0.5463025], dtype=float32)
    """
    return lax.tan(inexact("tan", x))


@eager
def arcsin(x: ArrayLike, /) -> Array:
    """The inverse sine, in [-pi/2, pi/2]; nan outside [-1, 1].

    >>> jnp.arcsin(jnp.array([0.0, 0.5]))
    Array([0.       , 0.5235988], dtype=float32)
    """
    return lax.asin(inexact("arcsin", x))


asin = arcsin


@eager
def arccos(x: ArrayLike, /) -> Array:
    """The inverse cosine, in [0, pi]; nan outside [-1, 1].

    >>> jnp.arccos(jnp.array([0.0, 0.5]))
    Array([1.5707964, 1.0471976], dtype=float32)
    """
    return lax.acos(inexact("arccos", x))


acos = arccos


@eager
def arctan(x: ArrayLike, /) -> Array:
    """The inverse tangent, in [-pi/2, pi/2].

    >>> jnp.arctan(jnp.array([0.0, 0.5])).round(3)
    Array([0.   , 0.464], dtype=float32)
    """
    return lax.atan(inexact("arctan", x))


atan = arctan


@eager
def sinh(x: ArrayLike, /) -> Array:
    """The hyperbolic sine.

    >>> jnp.sinh(jnp.array([0.0, 0.5])).round(3)
    Array([0.   , 0.521], dtype=float32)
    """
    return lax.sinh(inexact("sinh", x))


@eager
def cosh(x: ArrayLike, /) -> Array:
    """The hyperbolic cosine.

    >>> jnp.cosh(jnp.array([0.0, 0.5]))
    Array([1.      , 1.127626], dtype=float32)
    """
    return lax.cosh(inexact("cosh", x))


@eager
def tanh(x: ArrayLike, /) -> Array:
    """The hyperbolic tangent.

    >>> jnp.tanh(jnp.array([0.0, 0.5]))
    Array([0.        , 0.46211717], dtype=float32)
    """
    return lax.tanh(inexact("tanh", x))


@eager
def arcsinh(x: ArrayLike, /) -> Array:
    """The inverse hyperbolic sine.

    >>> jnp.arcsinh(jnp.array([0.0, 0.5]))
    Array([0.        , 0.48121184], dtype=float32)
    """
    return lax.asinh(inexact("arcsinh", x))


asinh = arcsinh


@eager
def arccosh(x: ArrayLike, /) -> Array:
    """The inverse hyperbolic cosine; nan below 1.

    >>> jnp.arccosh(jnp.array([1.0, 2.0]))
    Array([0.      , 1.316958], dtype=float32)
    """
    return lax.acosh(inexact("arccosh", x))


acosh = arccosh


@eager
def arctanh(x: ArrayLike, /) -> Array:
    """The inverse hyperbolic tangent; nan outside [-1, 1].

    >>> jnp.arctanh(jnp.array([0.0, 0.5]))
    Array([0.        , 0.54930615], dtype=float32)
    """
    return lax.atanh(inexact("arctanh", x))


atanh = arctanh


@eager
def exp(x: ArrayLike, /) -> Array:
    """e to the power x.

    >>> jnp.exp(jnp.array([0.0, 0.5]))
    Array([1.       , 1.6487212], dtype=float32)
    """
    return lax.exp(inexact("exp", x))


@eager
def exp2(x: ArrayLike, /) -> Array:
    """2 to the power x.

    >>> jnp.exp2(jnp.array([0.0, 0.5]))
    Array([1.       , 1.4142135], dtype=float32)
    """
    return lax.exp2(inexact("exp2", x))


@eager
def expm1(x: ArrayLike, /) -> Array:
    """exp(x) - 1, accurate near 0.

    >>> jnp.expm1(jnp.array([0.0, 0.5]))
    Array([0.       , 0.6487213], dtype=float32)
    """
    return lax.expm1(inexact("expm1", x))


@eager
def log(x: ArrayLike, /) -> Array:
    """The natural logarithm; nan below 0, -inf at 0.

    >>> jnp.log(jnp.array([1.0, 2.0]))
    Array([0.       , 0.6931472], dtype=float32)
    """
    return lax.log(inexact("log", x))


@eager
def log1p(x: ArrayLike, /) -> Array:
    """log(1 + x), accurate near 0.

    >>> jnp.log1p(jnp.array([0.0, 0.5]))
    Array([0.       , 0.4054651], dtype=float32)
    """
    return lax.log1p(inexact("log1p", x))


@eager
def sqrt(x: ArrayLike, /) -> Array:
    """The square root; nan below 0.

    >>> jnp.sqrt(jnp.array([4.0, 2.0]))
    Array([2.       , 1.4142135], dtype=float32)
    """
    return lax.sqrt(inexact("sqrt", x))


@eager
def cbrt(x: ArrayLike, /) -> Array:
    """The real cube root.

    >>> jnp.cbrt(jnp.array([8.0, -1.0]))
    Array([ 2., -1.], dtype=float32)
    """
    return lax.cbrt(inexact("cbrt", x))


def _log_to_base(x: ArrayLike, base: int) -> Array:
    y, scale = lax.log(x), lax.log(cast_numpy(base, real_dtype(dtype_of(x))))
    if not is_complex(dtype_of(x)):
        return lax.div(y, scale)
    return lax.complex(lax.div(lax.real(y), scale), lax.div(lax.imag(y), scale))  # by parts: one may be infinite


@eager
def log2(x: ArrayLike, /) -> Array:
    """The logarithm to base 2.

    >>> jnp.log2(jnp.array([1.0, 8.0]))
    Array([0., 3.], dtype=float32)
    """
    x = inexact("log2", x)
    return _log_to_base(x, 2)


@eager
def log10(x: ArrayLike, /) -> Array:
    """The logarithm to base 10.

    >>> jnp.log10(jnp.array([1.0, 100.0]))
    Array([0., 2.], dtype=float32)
    """
    x = inexact("log10", x)
    return _log_to_base(x, 10)


def full_operands(name: str, *args: ArrayLike) -> list[Array]:
    """Promoted floating arguments, all of the full shape."""
    args = promote_inexact(name, *args)
    shape = np.broadcast_shapes(*map(np.shape, args))
    return [expand_to(x, shape) for x in args]


@binary_ufunc(identity=-np.inf)
def logaddexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """log(exp(x1) + exp(x2)) without overflow.

    >>> jnp.logaddexp(jnp.array([0.0, 1000.0]), 1000.0)
    Array([1000.    , 1000.6931], dtype=float32)
    """
    return lax_logaddexp(*full_operands("logaddexp", x1, x2))


@binary_ufunc(identity=-np.inf)
def logaddexp2(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """log2(2 ** x1 + 2 ** x2) without overflow.

    >>> jnp.logaddexp2(jnp.array([0.0, 200.0]), 200.0)
    Array([200., 201.], dtype=float32)
    """
    large, gap = larger_and_gap(*full_operands("logaddexp2", x1, x2))
    return lax.add(large, lax.div(lax.log1p(lax.exp2(gap)), literal(math.log(2), large.dtype)))


@eager
def arctan2(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The angle of the point (x2, x1), in (-pi, pi].

    >>> jnp.arctan2(jnp.array([1.0, -1.0]), 0.0)
    Array([ 1.5707964, -1.5707964], dtype=float32)
    """
    return lax.atan2(*promote_inexact("arctan2", x1, x2))


atan2 = arctan2


@eager
def hypot(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """sqrt(x1 ** 2 + x2 ** 2) without overflow.

    >>> jnp.hypot(jnp.array([3.0, 1e30]), 4.0)
    Array([5.e+00, 1.e+30], dtype=float32)
    """
    x1, x2 = full_operands("hypot", x1, x2)
    if x1.dtype.kind == "c":
        raise ValueError("jnp.hypot is not well defined for complex-valued inputs.")
    x1, x2 = lax.abs(x1), lax.abs(x2)
    infinity = literal(np.inf, x1.dtype)
    infinite = lax.bitwise_or(lax.eq(x1, infinity), lax.eq(x2, infinity))
    large, small = lax.max(x1, x2), lax.min(x1, x2)
    zero = lax.eq(large, literal(0, x1.dtype))
    ratio = lax.div(small, lax.select(zero, lax.full_like(large, 1), large))
    length = lax.select(zero, large, lax.mul(large, lax.sqrt(lax.add(lax.square(ratio), literal(1, x1.dtype)))))
    return lax.select(infinite, lax.full_like(length, np.inf), length)


@eager
def deg2rad(x: ArrayLike, /) -> Array:
    """Degrees as radians.

    >>> jnp.deg2rad(180.0)
    Array(3.1415927, dtype=float32, weak_type=True)
    """
    return _scaled("deg2rad", x, math.pi / 180)


radians = deg2rad


@eager
def rad2deg(x: ArrayLike, /) -> Array:
    """Radians as degrees.

    >>> jnp.rad2deg(jnp.pi)
    Array(180., dtype=float32, weak_type=True)
    """
    return _scaled("rad2deg", x, 180 / math.pi)


degrees = rad2deg


def _scaled(name: str, x: ArrayLike, factor: float) -> Array:
    x = inexact(name, x)
    return lax.mul(x, factor if np.ndim(x) == 0 and not isinstance(x, np.ndarray) else cast_numpy(factor, dtype_of(x)))


@eager
def sinc(x: ArrayLike, /) -> Array:
    """sin(pi x) / (pi x), and 1 at 0.

    >>> jnp.sinc(jnp.array([0.0, 0.5])).round(3)
    Array([1.   , 0.637], dtype=float32)
    """
    x = as_array(inexact("sinc", x))
    t = lax.mul(x, literal(math.pi, x.dtype))
    near = lax.lt(lax.abs(t), cast_numpy(0.05, real_dtype(x.dtype)))
    safe = lax.select(near, lax.full_like(t, 1), t)
    # Taylor's polynomial near 0 keeps the derivatives of every order finite there.
    square = lax.square(t)
    series = lax.full_like(t, 1 / 362880)
    for coefficient in (-1 / 5040, 1 / 120, -1 / 6, 1):
        series = lax.add(lax.mul(series, square), literal(coefficient, x.dtype))
    return lax.select(near, series, lax.div(lax.sin(safe), safe))


@eager
def i0(x: ArrayLike) -> Array:
    """The modified Bessel function of the first kind, order 0.

    >>> jnp.i0(jnp.array([0.0, 1.0]))
    Array([1.       , 1.2660658], dtype=float32)
    """
    check_arraylike("i0", x)
    if dtype_of(x).kind == "c":
        raise ValueError("Unsupported input type to jax.numpy.i0: complex")
    x = lax.abs(inexact("i0", x))
    return lax.mul(lax.exp(x), lax.bessel_i0e(x))


@eager
def heaviside(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """0 below 0, x2 at 0, 1 above 0.

    >>> jnp.heaviside(jnp.array([-1.0, 0.0, 2.0]), 0.5)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    x1, x2 = full_operands("heaviside", x1, x2)
    zero = literal(0, x1.dtype)
    step = lax.select(lax.gt(x1, zero), lax.full_like(x1, 1), lax.full_like(x1, 0))
    step = lax.select(lax.ne(x1, x1), x1, step)
    return strong(lax.select(lax.eq(x1, zero), x2, step))

"""The error function and its kin: Faddeeva, Dawson and Fresnel functions, the normal distribution, Owen's T."""
from __future__ import annotations

import math

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax
from tracejit.numpy.promotion import inexact

from . import tables
from .real import polynomial, rational, real_function

TWO_OVER_ROOT_PI, ROOT_2 = 2 / math.sqrt(math.pi), math.sqrt(2)


def faddeeva_coefficients(n: int) -> tuple[float, tuple[float, ...]]:
    """Weideman, "Computation of the complex error function" (1994): scale L and polynomial, highest power first."""
    points = 2 * n
    scale = math.sqrt(n / math.sqrt(2))
    t = scale * np.tan(np.arange(1 - points, points) * np.pi / (2 * points))
    samples = np.concatenate([[0], np.exp(-t * t) * (scale * scale + t * t)])
    series = np.fft.fft(np.fft.fftshift(samples)).real / (2 * points)
    return float(scale), tuple(series[n:0:-1].tolist())


# By the size in bytes of a real number: relative errors of 5e-8 and 2e-14.
FADDEEVA = {4: faddeeva_coefficients(20), 8: faddeeva_coefficients(40)}


def upper_faddeeva(z):
    """w(z) for imag(z) >= 0."""
    return faddeeva_formula(lax.complex(-z.imag, z.real))


def faddeeva_formula(iz):
    scale, coefficients = FADDEEVA[iz.real.dtype.itemsize]
    below = scale - iz
    ratio = (scale + iz) / below
    return 2 * polynomial(coefficients, ratio) / (below * below) + (1 / math.sqrt(math.pi)) / below


@custom_jvp
def faddeeva(z):
    upper = z.imag >= 0
    value = upper_faddeeva(jnp.where(upper, z, -z))
    # The exponential overflows where it is not needed.
    correction = 2 * jnp.exp(-jnp.where(upper, 0, z * z)) - value
    return jnp.where(upper, value, correction)


@faddeeva.defjvp
def _(primals, tangents):
    (z,), (dz,) = primals, tangents
    value = faddeeva(z)
    return value, dz * (jnp.asarray(TWO_OVER_ROOT_PI * 1j, z.dtype) - 2 * z * value)


@jit
def wofz(z):
    """The Faddeeva function exp(-z**2) erfc(-i z), complex.

    >>> print(wofz(0.0).real)
    1.0
    """
    z = jnp.asarray(inexact("wofz", z))
    return faddeeva(z if jnp.issubdtype(z.dtype, np.complexfloating) else lax.complex(z, jnp.zeros_like(z)))


@jit
def erfcx(x):
    """exp(x**2) erfc(x), which decays like 1 / x, for real or complex x.

    >>> print(erfcx(0.0))
    1.0
    """
    x = jnp.asarray(inexact("erfcx", x))
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return faddeeva(lax.complex(-x.imag, x.real))
    return lax.erfcx(x)


@jit
def erf(x):
    """The error function, the integral of exp(-t**2) 2 / sqrt(pi) from 0 to x.

    >>> print(erf(0.0))
    0.0
    """
    return lax.erf(inexact("erf", x))


@jit
def erfc(x):
    """1 - erf(x), without cancellation.

    >>> print(erfc(0.0))
    1.0
    """
    return lax.erfc(inexact("erfc", x))


@jit
def erfinv(x):
    """The inverse of erf on [-1, 1].

    >>> print(erfinv(1.0))
    inf
    """
    return lax.erf_inv(inexact("erfinv", x))


@custom_jvp
def dawson(x):
    size = jnp.abs(x)
    arguments = (jnp.square(jnp.minimum(size, 3.25)), 1 / jnp.square(jnp.clip(size, 3.25, 6.25)),
                 1 / jnp.square(jnp.maximum(size, 6.25)))
    near, middle, far = map(rational, tables.DAWSON, arguments)
    beyond = jnp.maximum(size, 3.25)
    tail = jnp.where(size < 6.25, middle, far)
    outside = 0.5 / beyond * (1 + tail / jnp.square(beyond))
    return jnp.sign(x) * jnp.where(size < 3.25, size * near, outside)


@dawson.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    value = dawson(x)
    return value, dx * (1 - 2 * x * value)


@real_function
def dawsn(x):
    """Dawson's integral: exp(-x**2) times the integral of exp(t**2) from 0 to x.

    >>> print(dawsn(0.0))
    0.0
    """
    return dawson(x)


@real_function
def ndtr(x):
    """The distribution function of the standard normal distribution.

    >>> print(ndtr(0.0))
    0.5
    """
    return 0.5 * lax.erfc(x * -math.sqrt(0.5))


@custom_jvp
def normal_quantile(p):
    centre, tail, far_tail = tables.NORMAL_QUANTILE
    upper = p > 1 - math.exp(-2)
    small = jnp.where(upper, 1 - p, p)
    inside = jnp.where(small > 0, small, 0.5)
    offset = inside - 0.5
    about_half = math.sqrt(2 * math.pi) * (offset + offset * offset * offset * rational(centre, jnp.square(offset)))
    z = jnp.sqrt(-2 * jnp.log(jnp.minimum(inside, math.exp(-2))))
    correction = jnp.where(z < 8, rational(tail, 1 / z), rational(far_tail, 1 / z)) / z
    in_tail = correction + jnp.log(z) / z - z
    value = jnp.where(small > math.exp(-2), about_half, jnp.where(upper, -in_tail, in_tail))
    value = jnp.where(p == 0, -np.inf, jnp.where(p == 1, np.inf, value))
    return jnp.where((p < 0) | (p > 1) | jnp.isnan(p), np.nan, value)


@normal_quantile.defjvp
def _(primals, tangents):
    (p,), (dp,) = primals, tangents
    value = normal_quantile(p)
    return value, dp * math.sqrt(2 * math.pi) * jnp.exp(0.5 * jnp.square(value))


@real_function
def ndtri(p):
    """The inverse of `ndtr`: the quantile of the standard normal distribution.

    >>> print(ndtri(0.5))
    0.0
    """
    return normal_quantile(p)


@custom_jvp
def log_normal_cdf(x):
    """log(ndtr(-t) exp(t^2 / 2)) - t^2 / 2 below 0, log1p(-ndtr(-t)) above, t = abs(x): by one logarithm."""
    scaled = 0.5 * lax.erfcx(jnp.abs(x) * math.sqrt(0.5))
    square = 0.5 * jnp.square(x)
    upper = scaled * jnp.exp(-square)
    rest = 1 - upper
    lost = (1 - rest) - upper
    return jnp.log(jnp.where(x < 0, scaled, rest)) + jnp.where(x < 0, -square, lost / rest)


@log_normal_cdf.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    value = log_normal_cdf(x)
    return value, dx * jnp.exp(-0.5 * jnp.square(x) - 0.5 * math.log(2 * math.pi) - value)


def log_ndtr(x, series_order: int = 3):
    """log(ndtr(x)), accurate in both tails. ``series_order`` (0 .. 30) is accepted and not needed.

    >>> print(log_ndtr(-100.0))
    -5005.524
    """
    if not isinstance(series_order, int):
        raise TypeError(f"log_ndtr: series_order must be an integer, got {type(series_order).__name__}")
    if not 0 <= series_order <= 30:
        raise ValueError(f"log_ndtr: series_order must be in 0 .. 30, got {series_order}")
    return real_log_ndtr(x)


@real_function
def real_log_ndtr(x):
    return log_normal_cdf(x)


OWEN_NODES, OWEN_WEIGHTS = ((points + shift) / 2 for points, shift in zip(np.polynomial.legendre.leggauss(32), (1, 0)))


@custom_jvp
def owen(h, a):
    """By quadrature for abs(a) <= 1; else T(h, a) + T(a h, 1 / a) is (p + q) / 2 - p q, p = ndtr(h), q = ndtr(a h)."""
    h, size = jnp.abs(h), jnp.abs(a)
    swap = size > 1
    width = jnp.where(swap, 1 / jnp.where(swap, size, 1), size)
    height = jnp.where(swap, size * h, h)
    nodes, weights = (x.astype(h.dtype).reshape((1,) * h.ndim + (-1,)) for x in (OWEN_NODES, OWEN_WEIGHTS))
    exponent = 1 + jnp.square(width)[..., None] * jnp.square(nodes)
    integrand = jnp.exp(-0.5 * jnp.square(height)[..., None] * exponent) / exponent
    area = width / (2 * np.pi) * (integrand * weights).sum(-1)
    tail_h, tail_ah = lax.erfc(h / ROOT_2), lax.erfc(size * h / ROOT_2)
    return jnp.sign(a) * jnp.where(swap, 0.25 * (tail_h + tail_ah - tail_h * tail_ah) - area, area)


@owen.defjvp
def _(primals, tangents):
    (h, a), (dh, da) = primals, tangents
    slope_h = -jnp.exp(-0.5 * h * h) * lax.erf(a * h / ROOT_2) / (2 * math.sqrt(2 * math.pi))
    slope_a = jnp.exp(-0.5 * (1 + a * a) * h * h) / (2 * np.pi * (1 + a * a))
    return owen(h, a), dh * slope_h + da * slope_a


@real_function
def owens_t(h, a):
    """Owen's T: the probability of X > h and 0 < Y < a X for independent standard normals X, Y.

    >>> print(owens_t(0.0, 0.0))
    0.0
    """
    return owen(h, a)


def fresnel_terms(first: int) -> tuple[float, ...]:
    """Coefficients of the power series of C (first = 0) or S (first = 1) in x^4, highest power first."""
    half = math.pi / 2
    terms = ((-1) ** (n // 2) * half**n / (math.factorial(n) * (2 * n + 1)) for n in range(first, 28, 2))
    return tuple(terms)[::-1]


FRESNEL_COSINE, FRESNEL_SINE = fresnel_terms(0), fresnel_terms(1)


@custom_jvp
def fresnel_pair(x):
    size = jnp.abs(x)
    small = jnp.minimum(size, 1.25)
    fourth = jnp.square(jnp.square(small))
    sine, cosine = small**3 * polynomial(FRESNEL_SINE, fourth), small * polynomial(FRESNEL_COSINE, fourth)
    # Beyond, C + i S = (1 + i) / 2 (1 - exp(i pi x^2 / 2) w((1 + i) x sqrt(pi) / 2)).
    large = jnp.clip(size, 1.25, 1e18)
    w = upper_faddeeva(lax.complex(large, large) * (math.sqrt(math.pi) / 2))
    angle = np.pi * (large * large / 2 % 2)
    wave = lax.complex(jnp.cos(angle), jnp.sin(angle)) * w
    far_cosine, far_sine = 0.5 * (1 - wave.real + wave.imag), 0.5 * (1 - wave.real - wave.imag)
    sign = jnp.sign(x)
    return sign * jnp.where(size < 1.25, sine, far_sine), sign * jnp.where(size < 1.25, cosine, far_cosine)


@fresnel_pair.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    angle = np.pi / 2 * x * x
    return fresnel_pair(x), (dx * jnp.sin(angle), dx * jnp.cos(angle))


@real_function
def fresnel(x):
    """The Fresnel integrals (S, C): of sin(pi t**2 / 2) and cos(pi t**2 / 2) from 0 to x.

    >>> print(fresnel(0.0)[0])
    0.0
    """
    return fresnel_pair(x)

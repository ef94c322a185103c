"""Exponential, sine and cosine integrals and the dilogarithm."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, lax

from . import tables
from .real import rational, real_function

MAX_STEPS = 2000


@custom_jvp
def generalized(n, x):
    """E_n(x): the power series up to 1, beyond it the continued fraction."""
    series = power_series(n, jnp.clip(x, 0, 1))
    value = jnp.where(x <= 1, series, continued_fraction(n, jnp.maximum(x, 1)))
    value = jnp.where(n == 0, jnp.exp(-x) / x, value)
    value = jnp.where(x == 0, jnp.where(n > 1, 1 / jnp.where(n > 1, n - 1, 1), np.inf), value)
    return jnp.where((n < 0) | (x < 0) | jnp.isnan(x), np.nan, value)


@generalized.defjvp
def _(primals, tangents):
    (n, x), (_, dx) = primals, tangents
    slope = jnp.where(n == 0, -jnp.exp(-x) * (1 / x + 1 / (x * x)), -generalized(jnp.maximum(n - 1, 0), x))
    return generalized(n, x), dx * slope


def power_series(n, x):
    """Abramowitz and Stegun 5.1.12, for integers n >= 1 and 0 < x <= 1."""
    safe = jnp.where(x > 0, x, 1)
    logarithm = lax.digamma(jnp.maximum(n, 1)) - jnp.log(safe)

    def add(k, state):
        power, total = state
        k = k.astype(x.dtype)
        order = k - (n - 1)
        term = jnp.where(order == 0, power * logarithm, -power / jnp.where(order == 0, 1, order))
        return power * -safe / (k + 1), total + term

    # The term with the logarithm has index n - 1: it is negligible for n above the number of terms.
    terms = 24 if x.dtype == np.float64 else 14
    return lax.fori_loop(0, terms, add, (jnp.ones_like(x), jnp.zeros_like(x)))[1]


def continued_fraction(n, x):
    """exp(-x) / (x + n - 1 n / (x + n + 2 - 2 (n + 1) / (x + n + 4 - ...))), by the modified method of Lentz."""
    epsilon = float(jnp.finfo(x.dtype).eps)

    def unfinished(state):
        step, *_, ratio = state
        return (jnp.abs(ratio - 1) > epsilon).any() & (step < MAX_STEPS)

    def extend(state):
        step, b, c, d, value, ratio = state
        k = step.astype(x.dtype)
        a, b = -k * (n - 1 + k), b + 2
        d, c = 1 / (a * d + b), b + a / c
        # Lanes that are done stay as they are, so that their value does not depend on the others.
        new = jnp.where(jnp.abs(ratio - 1) > epsilon, c * d, 1)
        return step + 1, b, c, d, value * new, new

    b = x + n
    start = (jnp.int32(1), b, jnp.full_like(b, 1 / float(jnp.finfo(x.dtype).tiny) ** 0.5), 1 / b, 1 / b,
             jnp.full_like(b, 2))
    return lax.while_loop(unfinished, extend, start)[4] * jnp.exp(-x)


@real_function
def expn(n, x):
    """The generalised exponential integral E_n(x) of exp(-x t) / t**n from 1 to infinity, for integers n >= 0, x >= 0.

    >>> print(expn(2, 0.0))
    1.0
    """
    return generalized(*jnp.broadcast_arrays(n, x))


@real_function
def exp1(x):
    """The exponential integral E_1(x) of exp(-t) / t from x to infinity, for x >= 0.

    >>> print(exp1(0.0))
    inf
    """
    return generalized(jnp.ones_like(x), x)


@custom_jvp
def exponential_integral(x):
    positive = jnp.where(x > 0, x, 1)
    first, *others = tables.EXPONENTIAL_INTEGRAL
    value = jnp.minimum(positive, 2) * rational(first, jnp.minimum(positive, 2)) + np.euler_gamma + jnp.log(positive)
    for power, pair in enumerate(others, 1):
        inverse = 1 / jnp.maximum(positive, 2.0**power)
        value = jnp.where(positive > 2.0**power, jnp.exp(positive) * inverse * (1 + inverse * rational(pair, inverse)),
                          value)
    value = jnp.where(x > 0, value, -generalized(jnp.ones_like(x), jnp.maximum(-x, 0)))
    return jnp.where(jnp.isnan(x), np.nan, jnp.where(x == np.inf, np.inf, value))


@exponential_integral.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return exponential_integral(x), dx * jnp.exp(x) / x


@real_function
def expi(x):
    """The exponential integral Ei(x), the principal value of the integral of exp(t) / t from -infinity to x.

    >>> print(expi(0.0))
    -inf
    """
    return exponential_integral(x)


@custom_jvp
def sine_and_cosine_integral(x):
    size = jnp.abs(x)
    square = jnp.square(jnp.minimum(size, 4))
    sine = size * rational(tables.SINE_INTEGRAL[0], square)
    cosine = np.euler_gamma + jnp.log(size) + square * rational(tables.COSINE_INTEGRAL[0], square)
    large = jnp.maximum(size, 4)
    inverse = 1 / jnp.square(large)
    f, g = (jnp.where(large < 8, rational(low, inverse), rational(high, inverse))
            for low, high in (tables.AUXILIARY_F, tables.AUXILIARY_G))
    f, g = f / large, g * inverse
    wave = jnp.where(jnp.isinf(large), 0, large)
    s, c = jnp.sin(wave), jnp.cos(wave)
    sine = jnp.sign(x) * jnp.where(size <= 4, sine, np.pi / 2 - f * c - g * s)
    cosine = jnp.where(size <= 4, cosine, f * s - g * c)
    return sine, jnp.where(x == -np.inf, np.nan, cosine)


@sine_and_cosine_integral.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return sine_and_cosine_integral(x), (dx * jnp.sinc(x / np.pi), dx * jnp.cos(x) / x)


@real_function
def sici(x):
    """The sine and cosine integrals (Si, Ci): of sin(t) / t from 0 to x, and of cos(t) / t from infinity to x.

    >>> print(sici(0.0)[0])
    0.0
    """
    return sine_and_cosine_integral(x)


@custom_jvp
def dilogarithm(x):
    inverted = x > 1.5
    y = jnp.where(inverted, 1 / jnp.where(inverted, x, 1), x)
    reflected = y < 0.5
    w = jnp.where(reflected, -y, y - 1)
    value = -w * rational(tables.DILOGARITHM[0], w)
    log_y = jnp.log(jnp.where(y > 0, y, 1))
    other = np.pi**2 / 6 - log_y * jnp.log1p(-jnp.where(reflected, y, 0)) - value
    value = jnp.where(reflected, other, value)
    value = jnp.where(inverted, -0.5 * jnp.square(log_y) - value, value)
    return jnp.where(x < 0, np.nan, value)


@dilogarithm.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    at_one = x == 1
    return dilogarithm(x), dx * jnp.where(at_one, -1, jnp.log(x) / jnp.where(at_one, 1, 1 - x))


@real_function
def spence(x):
    """Spence's function, the dilogarithm of 1 - x: the integral of log(t) / (1 - t) from 1 to x, for x >= 0.

    >>> print(spence(1.0))
    -0.0
    """
    return dilogarithm(x)

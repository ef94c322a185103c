"""Confluent and Gauss hypergeometric functions of real arguments, by series and linear transformations."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jvp, lax

from .gammas import gammasgn
from .real import real_function

MAX_TERMS = 5000


def series(ratio, shape, dtype):
    """1 + t_1 + t_2 + ... where t_(k+1) = ratio(k) t_k, until the terms no longer count."""
    epsilon = float(jnp.finfo(dtype).eps)

    def unfinished(state):
        k, term, total = state
        return (jnp.abs(term) > epsilon * jnp.abs(total)).any() & (k < MAX_TERMS)

    def add(state):
        k, term, total = state
        # A lane may pass through a small term before large ones; all go on until all are done.
        term = term * ratio(k)
        return k + 1, term, total + term

    start = (jnp.zeros((), dtype), jnp.ones(shape, dtype), jnp.ones(shape, dtype))
    return lax.while_loop(unfinished, add, start)[2]


def confluent_series(a, b, x):
    return series(lambda k: (a + k) / (b + k) * x / (k + 1), x.shape, x.dtype)


def decaying(terms, ratio, shape, dtype):
    """The first terms of an asymptotic series, up to the smallest."""
    term, total, falling = jnp.ones(shape, dtype), jnp.ones(shape, dtype), jnp.ones(shape, bool)
    for k in range(terms):
        new = term * ratio(k)
        falling = falling & (jnp.abs(new) < jnp.abs(term))
        term = jnp.where(falling, new, 0)
        total = total + term
    return total


def confluent(a, b, x):
    """Kummer's transformation makes x positive; beyond 100 the asymptotic series (Abramowitz and Stegun 13.5.1)."""
    polynomial = (a <= 0) & (a == jnp.floor(a))
    flipped = (x < 0) & ~polynomial
    p, y = jnp.where(flipped, b - a, a), jnp.where(flipped, -x, x)
    near = (y < 100) | polynomial | ((p <= 0) & (p == jnp.floor(p)))
    small = jnp.where(near, y, 0)
    value = confluent_series(p, b, small) * jnp.where(flipped, jnp.exp(-small), 1)
    large = jnp.where(near, 100, y)
    tail = decaying(40, lambda k: (b - p + k) * (1 - p + k) / ((k + 1) * large), x.shape, x.dtype)
    sign = gammasgn(b) * gammasgn(jnp.where(near, 1, p))
    scale = lax.lgamma(b) - lax.lgamma(jnp.where(near, 1, p)) + (p - b) * jnp.log(large) + jnp.where(flipped, 0, large)
    value = jnp.where(near, value, sign * jnp.exp(scale) * tail)
    return jnp.where((b <= 0) & (b == jnp.floor(b)) & ~(polynomial & (a >= b)), np.inf, value)


@custom_jvp
def kummer(a, b, x):
    return confluent(a, b, x)


@kummer.defjvp
def _(primals, tangents):
    (a, b, x), (da, db, dx) = primals, tangents
    slope_a, slope_b = (slope(confluent, primals, i) for i in (0, 1))
    return kummer(a, b, x), da * slope_a + db * slope_b + dx * a / b * kummer(a + 1, b + 1, x)


def slope(function, primals, position):
    """The derivative of a function of arrays with respect to one of them."""
    unit = tuple(jnp.ones_like(x) if i == position else jnp.zeros_like(x) for i, x in enumerate(primals))
    return jvp(function, primals, unit)[1]


@real_function
def hyp1f1(a, b, x):
    """The confluent hypergeometric function, the sum of (a)_k / (b)_k x**k / k!.

    >>> print(hyp1f1(1.0, 1.0, 0.0))
    1.0
    """
    return kummer(*jnp.broadcast_arrays(a, b, x))


def is_ending(a):
    return (a <= 0) & (a == jnp.floor(a))


def gauss_series(a, b, c, x):
    return series(lambda k: (a + k) * (b + k) / ((c + k) * (k + 1)) * x, x.shape, x.dtype)


def near_one(a, b, c, x):
    """Abramowitz and Stegun 15.3.6: from x to 1 - x, where c - a - b is no integer."""
    d, y = c - a - b, 1 - x
    first = gauss_series(a, b, 1 - d, y) * gamma_quotient((c, d), (c - a, c - b))
    second = gauss_series(c - a, c - b, 1 + d, y) * gamma_quotient((c, -d), (a, b))
    return first + y**d * second


def gamma_quotient(above, below):
    """gamma(above[0]) gamma(above[1]) / (gamma(below[0]) gamma(below[1])), 0 at a pole below."""
    log = sum(map(lax.lgamma, above)) - sum(map(lax.lgamma, below))
    sign = gammasgn(above[0]) * gammasgn(above[1])
    for x in below:
        pole = is_ending(x)
        sign, log = jnp.where(pole, 0, sign * gammasgn(jnp.where(pole, 1, x))), jnp.where(pole, 0, log)
    return sign * jnp.exp(log)


def on_unit_interval(a, b, c, x):
    """For 0 <= x < 1, or any x where the series ends."""
    ending, d = is_ending(a) | is_ending(b), c - a - b
    fraction = jnp.abs(d - jnp.round(d))
    close = (x > 0.9) & ~ending & (fraction > 1e-3)
    # Euler's transformation speeds up the series where its terms grow first.
    euler = (d < 0) & ~ending & ~close
    p, q = jnp.where(euler, c - a, a), jnp.where(euler, c - b, b)
    y = jnp.where(close, 0, x)
    value = gauss_series(p, q, c, y) * jnp.where(euler, (1 - y) ** jnp.where(euler, d, 1), 1)
    half = jnp.asarray(0.5, x.dtype)
    safe = [jnp.where(close, v, other) for v, other in ((a, half), (b, half), (c, 1 + half), (x, 1.0))]
    return jnp.where(close, near_one(*safe), value)


def gauss(a, b, c, x):
    ending = is_ending(a) | is_ending(b)
    # Pfaff's transformation brings negative x to (0, 1).
    flipped = (x < 0) & ~ending
    y = jnp.where(flipped, x / (x - 1), x)
    inside = ending | (y < 1)
    q = jnp.where(flipped, c - b, b)
    factor = jnp.where(flipped, (1 - jnp.where(flipped, x, 0)) ** -a, 1)
    value = on_unit_interval(a, q, c, jnp.where(inside, y, 0)) * factor
    at_one = jnp.where(c - a - b > 0, gamma_quotient((c, jnp.maximum(c - a - b, 1e-30)), (c - a, c - b)), np.inf)
    value = jnp.where(inside, value, jnp.where(x == 1, at_one, np.inf))
    ends_first = (is_ending(a) & (a >= c)) | (is_ending(b) & (b >= c))
    value = jnp.where(is_ending(c) & ~ends_first, np.inf, value)
    return jnp.where((x == 0) | (a == 0) | (b == 0), 1, value)


@custom_jvp
def hypergeometric(a, b, c, x):
    return gauss(a, b, c, x)


@hypergeometric.defjvp
def _(primals, tangents):
    (a, b, c, x), (*parameters, dx) = primals, tangents
    change = sum(d * slope(gauss, primals, i) for i, d in enumerate(parameters))
    return hypergeometric(a, b, c, x), change + dx * a * b / c * hypergeometric(a + 1, b + 1, c + 1, x)


@real_function
def hyp2f1(a, b, c, x):
    """Gauss's hypergeometric function, the sum of (a)_k (b)_k / (c)_k x**k / k!, continued to x <= 1; inf beyond.

    >>> print(hyp2f1(1.0, 2.0, 3.0, 0.0))
    1.0
    """
    return hypergeometric(*jnp.broadcast_arrays(a, b, c, x))

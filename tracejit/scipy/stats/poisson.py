"""The Poisson distribution of mean mu."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from ..special import entr, gammaincc, xlogy
from .support import INF, NAN, promoted


@numeric_function
def logpmf(k, mu, loc=0):
    """The logarithm of the probability of k."""
    k, mu, loc = promoted("poisson.logpmf", k, mu, loc)
    x = k - loc
    inside = ~((x < 0) | (x > jnp.floor(x)))
    x = jnp.where(inside, x, 0)
    return jnp.where(inside, xlogy(x, mu) - mu - lax.lgamma(x + 1), -INF)


@numeric_function
def pmf(k, mu, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, mu, loc))


@numeric_function
def cdf(k, mu, loc=0):
    """The distribution function at k."""
    k, mu, loc = promoted("poisson.cdf", k, mu, loc)
    x = jnp.floor(k - loc)
    return jnp.where(x < 0, 0, gammaincc(jnp.maximum(x, 0) + 1, mu))


@numeric_function
def entropy(mu, loc=0):
    """The entropy in nats: a sum over the likely values, for large means a series in 1 / mu."""
    mu, loc = promoted("poisson.entropy", mu, loc)
    few = mu < 100
    k = jnp.arange(250, dtype=mu.dtype).reshape(-1, *(1,) * mu.ndim)
    total = entr(pmf(k, jnp.where(few, mu, 1))).sum(0)
    large = jnp.where(few, 100, mu)
    series = 0.5 * jnp.log(2 * math.pi * math.e * large) - (1 / 12 + (1 / 24 + 19 / (360 * large)) / large) / large
    value = jnp.where(few, total, series)
    return jnp.broadcast_to(jnp.where(mu >= 0, value, NAN), jnp.broadcast_shapes(mu.shape, loc.shape))

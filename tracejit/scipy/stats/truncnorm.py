"""The normal distribution truncated to ``[loc + a scale, loc + b scale]``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import log_ndtr, ndtr
from . import norm
from .support import INF, NAN, standardized


def log_mass(a, b):
    """log(ndtr(b) - ndtr(a)), with both bounds in the same tail moved to the left one."""
    right = a > 0
    low, high = jnp.where(right, -b, a), jnp.where(right, -a, b)
    log_high, log_low = log_ndtr(high), log_ndtr(low)
    # The difference is -inf - -inf where both bounds are far out or equal.
    ratio = jnp.where(jnp.isneginf(log_low), -INF, log_low - jnp.where(jnp.isneginf(log_high), 0, log_high))
    tail = log_high + jnp.log1p(-jnp.exp(jnp.minimum(ratio, 0)))
    central = jnp.log1p(-ndtr(a) - ndtr(-b))
    return jnp.where((a <= 0) & (b > 0), central, tail)


@numeric_function
def logpdf(x, a, b, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale, a, b = standardized("truncnorm.logpdf", x, loc, scale, a, b)
    value = norm.logpdf(z) - jnp.log(scale) - log_mass(a, b)
    return jnp.where(a < b, jnp.where((z < a) | (z > b), -INF, value), NAN)


@numeric_function
def pdf(x, a, b, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, a, b, loc, scale))


@numeric_function
def logcdf(x, a, b, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    z, _, a, b = standardized("truncnorm.logcdf", x, loc, scale, a, b)
    inside, mass = jnp.clip(z, a, b), log_mass(a, b)
    below, above = log_mass(a, inside) - mass, log_mass(inside, b) - mass
    value = jnp.where(below > -0.1, jnp.log1p(-jnp.exp(above)), below)
    return jnp.where(a < b, jnp.where(z >= b, 0, jnp.where(z <= a, -INF, value)), NAN)


@numeric_function
def cdf(x, a, b, loc=0, scale=1):
    """The distribution function at x."""
    return jnp.exp(logcdf(x, a, b, loc, scale))


@numeric_function
def logsf(x, a, b, loc=0, scale=1):
    """The logarithm of `sf`."""
    z, _, a, b = standardized("truncnorm.logsf", x, loc, scale, a, b)
    return logcdf(-z, -b, -a)


@numeric_function
def sf(x, a, b, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    return jnp.exp(logsf(x, a, b, loc, scale))

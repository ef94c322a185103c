"""The exponential distribution of mean ``scale`` on ``[loc, inf)``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import INF, promoted, quantile, standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("expon.logpdf", x, loc, scale)
    return jnp.where(z < 0, -INF, -z - jnp.log(scale))


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    z, _ = standardized("expon.cdf", x, loc, scale)
    return -jnp.expm1(-jnp.maximum(z, 0))


@numeric_function
def logcdf(x, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    z, _ = standardized("expon.logcdf", x, loc, scale)
    return jnp.where(z < 0, -INF, jnp.log1p(-jnp.exp(-jnp.maximum(z, 0))))


@numeric_function
def logsf(x, loc=0, scale=1):
    """The logarithm of `sf`."""
    z, _ = standardized("expon.logsf", x, loc, scale)
    return -jnp.maximum(z, 0)


@numeric_function
def sf(x, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    return jnp.exp(logsf(x, loc, scale))


@numeric_function
def ppf(q, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    q, loc, scale = promoted("expon.ppf", q, loc, scale)
    return quantile(q, loc - scale * jnp.log1p(-q))

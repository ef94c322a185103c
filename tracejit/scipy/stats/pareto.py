"""The Pareto distribution with shape parameter b: density ``b / z**(b + 1)`` for ``z = (x - loc) / scale >= 1``, over
scale."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import INF, promoted, quantile, standardized


@numeric_function
def logpdf(x, b, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale, b = standardized("pareto.logpdf", x, loc, scale, b)
    return jnp.where(z < 1, -INF, jnp.log(b) - jnp.log(scale) - (b + 1) * jnp.log(jnp.maximum(z, 1)))


@numeric_function
def pdf(x, b, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, b, loc, scale))


@numeric_function
def cdf(x, b, loc=0, scale=1):
    """The distribution function at x."""
    return -jnp.expm1(logsf(x, b, loc, scale))


@numeric_function
def logcdf(x, b, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    return jnp.log1p(-sf(x, b, loc, scale))


@numeric_function
def logsf(x, b, loc=0, scale=1):
    """The logarithm of `sf`."""
    z, _, b = standardized("pareto.logsf", x, loc, scale, b)
    return -b * jnp.log(jnp.maximum(z, 1))


@numeric_function
def sf(x, b, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    return jnp.exp(logsf(x, b, loc, scale))


@numeric_function
def ppf(q, b, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    q, b, loc, scale = promoted("pareto.ppf", q, b, loc, scale)
    return quantile(q, loc + scale * jnp.exp(-jnp.log1p(-q) / b))

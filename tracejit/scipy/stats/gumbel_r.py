"""The Gumbel distribution of largest values."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import NAN, promoted, quantile, standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("gumbel_r.logpdf", x, loc, scale)
    return jnp.where(scale > 0, -(z + jnp.exp(-z)) - jnp.log(scale), NAN)


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def logcdf(x, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    z, scale = standardized("gumbel_r.logcdf", x, loc, scale)
    return jnp.where(scale > 0, -jnp.exp(-z), NAN)


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    return jnp.exp(logcdf(x, loc, scale))


@numeric_function
def sf(x, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    z, scale = standardized("gumbel_r.sf", x, loc, scale)
    return jnp.where(scale > 0, -jnp.expm1(-jnp.exp(-z)), NAN)


@numeric_function
def logsf(x, loc=0, scale=1):
    """The logarithm of `sf`."""
    return jnp.log(sf(x, loc, scale))


@numeric_function
def ppf(p, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    p, loc, scale = promoted("gumbel_r.ppf", p, loc, scale)
    return quantile(p, loc - scale * jnp.log(-jnp.log(p)))

"""The gamma distribution with shape parameter a, on ``[loc, inf)``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from ..special import gammainc, gammaincc, xlogy
from .support import INF, between, standardized


@numeric_function
def logpdf(x, a, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale, a = standardized("gamma.logpdf", x, loc, scale, a)
    inside = between(z, 0, INF)
    z = jnp.where(inside, z, 1)
    return jnp.where(inside, xlogy(a - 1, z) - z - lax.lgamma(a) - jnp.log(scale), -INF)


@numeric_function
def pdf(x, a, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, a, loc, scale))


@numeric_function
def cdf(x, a, loc=0, scale=1):
    """The distribution function at x."""
    z, _, a = standardized("gamma.cdf", x, loc, scale, a)
    return gammainc(a, jnp.maximum(z, 0))


@numeric_function
def logcdf(x, a, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    return jnp.log(cdf(x, a, loc, scale))


@numeric_function
def sf(x, a, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    z, _, a = standardized("gamma.sf", x, loc, scale, a)
    return gammaincc(a, jnp.maximum(z, 0))


@numeric_function
def logsf(x, a, loc=0, scale=1):
    """The logarithm of `sf`."""
    return jnp.log(sf(x, a, loc, scale))

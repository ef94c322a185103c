"""The chi-square distribution with df degrees of freedom: gamma with shape df / 2 and twice the scale."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from . import gamma
from .support import promoted


@numeric_function
def logpdf(x, df, loc=0, scale=1):
    """The logarithm of the density at x."""
    x, df, loc, scale = promoted("chi2.logpdf", x, df, loc, scale)
    return gamma.logpdf(x, df / 2, loc, 2 * scale)


@numeric_function
def pdf(x, df, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, df, loc, scale))


@numeric_function
def cdf(x, df, loc=0, scale=1):
    """The distribution function at x."""
    x, df, loc, scale = promoted("chi2.cdf", x, df, loc, scale)
    return gamma.cdf(x, df / 2, loc, 2 * scale)


@numeric_function
def logcdf(x, df, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    x, df, loc, scale = promoted("chi2.logcdf", x, df, loc, scale)
    return gamma.logcdf(x, df / 2, loc, 2 * scale)


@numeric_function
def sf(x, df, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    x, df, loc, scale = promoted("chi2.sf", x, df, loc, scale)
    return gamma.sf(x, df / 2, loc, 2 * scale)


@numeric_function
def logsf(x, df, loc=0, scale=1):
    """The logarithm of `sf`."""
    x, df, loc, scale = promoted("chi2.logsf", x, df, loc, scale)
    return gamma.logsf(x, df / 2, loc, 2 * scale)

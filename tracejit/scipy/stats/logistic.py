"""The logistic distribution: the distribution function is the sigmoid of ``(x - loc) / scale``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from ..special import logit
from .support import promoted, standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("logistic.logpdf", x, loc, scale)
    return -jnp.abs(z) - 2 * jnp.log1p(jnp.exp(-jnp.abs(z))) - jnp.log(scale)


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    return lax.logistic(standardized("logistic.cdf", x, loc, scale)[0])


@numeric_function
def sf(x, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    return lax.logistic(-standardized("logistic.sf", x, loc, scale)[0])


@numeric_function
def ppf(x, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    x, loc, scale = promoted("logistic.ppf", x, loc, scale)
    return logit(x) * scale + loc


@numeric_function
def isf(x, loc=0, scale=1):
    """The inverse of `sf`."""
    x, loc, scale = promoted("logistic.isf", x, loc, scale)
    return loc - logit(x) * scale

"""The normal distribution with mean ``loc`` and standard deviation ``scale``."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import log_ndtr, ndtr, ndtri
from .support import promoted, standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("norm.logpdf", x, loc, scale)
    return -0.5 * (z * z + math.log(2 * math.pi)) - jnp.log(scale)


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    return ndtr(standardized("norm.cdf", x, loc, scale)[0])


@numeric_function
def logcdf(x, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    return log_ndtr(standardized("norm.logcdf", x, loc, scale)[0])


@numeric_function
def sf(x, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    return ndtr(-standardized("norm.sf", x, loc, scale)[0])


@numeric_function
def logsf(x, loc=0, scale=1):
    """The logarithm of `sf`."""
    return log_ndtr(-standardized("norm.logsf", x, loc, scale)[0])


@numeric_function
def ppf(q, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    q, loc, scale = promoted("norm.ppf", q, loc, scale)
    return ndtri(q) * scale + loc


@numeric_function
def isf(q, loc=0, scale=1):
    """The inverse of `sf`."""
    q, loc, scale = promoted("norm.isf", q, loc, scale)
    return loc - ndtri(q) * scale

"""The Cauchy distribution: density ``1 / (pi (1 + z**2))`` of ``z = (x - loc) / scale``, over scale."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import INF, promoted, quantile, standardized


def tangent(turns):
    """tan(pi turns), infinite at -1/2 and 1/2."""
    inside = jnp.abs(turns) < 0.5
    return jnp.where(inside, jnp.tan(math.pi * jnp.where(inside, turns, 0)), jnp.sign(turns) * INF)


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("cauchy.logpdf", x, loc, scale)
    return -jnp.log1p(z * z) - jnp.log(scale) - math.log(math.pi)


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    z, _ = standardized("cauchy.cdf", x, loc, scale)
    # atan2(1, -z) keeps its digits in the left tail.
    return jnp.arctan2(jnp.ones_like(z), -z) / math.pi


@numeric_function
def logcdf(x, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    return jnp.log(cdf(x, loc, scale))


@numeric_function
def sf(x, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    z, _ = standardized("cauchy.sf", x, loc, scale)
    return jnp.arctan2(jnp.ones_like(z), z) / math.pi


@numeric_function
def logsf(x, loc=0, scale=1):
    """The logarithm of `sf`."""
    return jnp.log(sf(x, loc, scale))


@numeric_function
def ppf(q, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    q, loc, scale = promoted("cauchy.ppf", q, loc, scale)
    return quantile(q, loc + scale * tangent(q - 0.5))


@numeric_function
def isf(q, loc=0, scale=1):
    """The inverse of `sf`."""
    q, loc, scale = promoted("cauchy.isf", q, loc, scale)
    return quantile(q, loc + scale * tangent(0.5 - q))

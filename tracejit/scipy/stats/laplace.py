"""The Laplace distribution: density ``exp(-abs(z)) / 2`` of ``z = (x - loc) / scale``, over scale."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("laplace.logpdf", x, loc, scale)
    return -jnp.abs(z) - jnp.log(scale) - math.log(2)


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    z, _ = standardized("laplace.cdf", x, loc, scale)
    tail = 0.5 * jnp.exp(-jnp.abs(z))
    return jnp.where(z <= 0, tail, 1 - tail)

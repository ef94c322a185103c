"""The generalised normal distribution: density proportional to ``exp(-abs(x)**beta)``."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from ..special import gammainc
from .support import promoted


@numeric_function
def logpdf(x, beta):
    """The logarithm of the density at x."""
    x, beta = promoted("gennorm.logpdf", x, beta)
    return jnp.log(beta) - math.log(2) - lax.lgamma(1 / beta) - jnp.abs(x) ** beta


@numeric_function
def pdf(x, beta):
    """The density at x."""
    return jnp.exp(logpdf(x, beta))


@numeric_function
def cdf(x, beta):
    """The distribution function at x."""
    x, beta = promoted("gennorm.cdf", x, beta)
    return 0.5 * (1 + jnp.sign(x) * gammainc(1 / beta, jnp.abs(x) ** beta))

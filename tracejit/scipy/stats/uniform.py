"""The uniform distribution on ``[loc, loc + scale]``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import INF, promoted, quantile, standardized


@numeric_function
def logpdf(x, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale = standardized("uniform.logpdf", x, loc, scale)
    return jnp.where((z < 0) | (z > 1), -INF, -jnp.log(scale))


@numeric_function
def pdf(x, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, loc, scale))


@numeric_function
def cdf(x, loc=0, scale=1):
    """The distribution function at x."""
    return jnp.clip(standardized("uniform.cdf", x, loc, scale)[0], 0, 1)


@numeric_function
def ppf(q, loc=0, scale=1):
    """The quantile: the inverse of the distribution function."""
    q, loc, scale = promoted("uniform.ppf", q, loc, scale)
    return quantile(q, loc + scale * q)

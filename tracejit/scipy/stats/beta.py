"""The beta distribution with shape parameters a and b, on ``[loc, loc + scale]``."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import betainc, betaln, xlog1py, xlogy
from .support import INF, NAN, between, standardized


@numeric_function
def logpdf(x, a, b, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale, a, b = standardized("beta.logpdf", x, loc, scale, a, b)
    inside = between(z, 0, 1)
    z = jnp.where(inside, z, 0.5)
    value = xlogy(a - 1, z) + xlog1py(b - 1, -z) - betaln(a, b) - jnp.log(scale)
    return jnp.where((a > 0) & (b > 0) & (scale > 0), jnp.where(inside, value, -INF), NAN)


@numeric_function
def pdf(x, a, b, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, a, b, loc, scale))


@numeric_function
def cdf(x, a, b, loc=0, scale=1):
    """The distribution function at x."""
    z, _, a, b = standardized("beta.cdf", x, loc, scale, a, b)
    return betainc(a, b, jnp.clip(z, 0, 1))


@numeric_function
def logcdf(x, a, b, loc=0, scale=1):
    """The logarithm of the distribution function at x."""
    return jnp.log(cdf(x, a, b, loc, scale))


@numeric_function
def sf(x, a, b, loc=0, scale=1):
    """1 - cdf(x), without cancellation."""
    z, _, a, b = standardized("beta.sf", x, loc, scale, a, b)
    return betainc(b, a, 1 - jnp.clip(z, 0, 1))


@numeric_function
def logsf(x, a, b, loc=0, scale=1):
    """The logarithm of `sf`."""
    return jnp.log(sf(x, a, b, loc, scale))

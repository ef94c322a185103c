"""The negative binomial distribution: failures before the n-th success of probability p."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from ..special import xlog1py, xlogy
from .support import INF, promoted


@numeric_function
def logpmf(k, n, p, loc=0):
    """The logarithm of the probability of k."""
    k, n, p, loc = promoted("nbinom.logpmf", k, n, p, loc)
    x = jnp.maximum(k - loc, 0)
    log_ways = lax.lgamma(x + n) - lax.lgamma(n) - lax.lgamma(x + 1)
    return jnp.where(k < loc, -INF, log_ways + xlogy(n, p) + xlog1py(x, -p))


@numeric_function
def pmf(k, n, p, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, n, p, loc))

"""The binomial distribution: successes in n trials of success probability p."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import betaln, xlog1py, xlogy
from .support import INF, between, promoted


@numeric_function
def logpmf(k, n, p, loc=0):
    """The logarithm of the probability of k."""
    k, n, p, loc = promoted("binom.logpmf", k, n, p, loc)
    x = k - loc
    inside = between(x, 0, n)
    x = jnp.where(inside, x, 0)
    log_ways = -jnp.log1p(n) - betaln(n - x + 1, x + 1)
    return jnp.where(inside, log_ways + xlogy(x, p) + xlog1py(n - x, -p), -INF)


@numeric_function
def pmf(k, n, p, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, n, p, loc))

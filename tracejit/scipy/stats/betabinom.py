"""The beta-binomial distribution: binomial in n trials, with a success probability of beta distribution (a, b)."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import betaln
from .support import INF, NAN, between, promoted


@numeric_function
def logpmf(k, n, a, b, loc=0):
    """The logarithm of the probability of k."""
    k, n, a, b, loc = promoted("betabinom.logpmf", k, n, a, b, loc)
    x = jnp.floor(k) - loc
    inside = between(x, 0, n)
    x = jnp.where(inside, x, 0)
    log_ways = -jnp.log1p(n) - betaln(n - x + 1, x + 1)
    value = jnp.where(inside, log_ways + betaln(x + a, n - x + b) - betaln(a, b), -INF)
    return jnp.where((n >= 0) & (a > 0) & (b > 0), value, NAN)


@numeric_function
def pmf(k, n, a, b, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, n, a, b, loc))

"""The Bernoulli distribution: 1 with probability p, else 0."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import xlog1py, xlogy
from .support import INF, NAN, between, promoted


@numeric_function
def logpmf(k, p, loc=0):
    """The logarithm of the probability of k."""
    k, p, loc = promoted("bernoulli.logpmf", k, p, loc)
    x = k - loc
    return jnp.where(between(x, 0, 1), xlogy(x, p) + xlog1py(1 - x, -p), -INF)


@numeric_function
def pmf(k, p, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, p, loc))


@numeric_function
def cdf(k, p):
    """The distribution function at k."""
    k, p = promoted("bernoulli.cdf", k, p)
    value = jnp.where(k < 0, 0, jnp.where(k < 1, 1 - p, 1))
    return jnp.where((p >= 0) & (p <= 1) & ~jnp.isnan(k), value, NAN)


@numeric_function
def ppf(q, p):
    """The quantile: the inverse of the distribution function."""
    q, p = promoted("bernoulli.ppf", q, p)
    valid = (p >= 0) & (p <= 1) & (q >= 0) & (q <= 1)
    return jnp.where(valid, (q > 1 - p).astype(q.dtype), NAN)

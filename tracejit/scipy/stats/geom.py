"""The geometric distribution: trials of success probability p up to and with the first success."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from ..special import xlog1py
from .support import INF, promoted


@numeric_function
def logpmf(k, p, loc=0):
    """The logarithm of the probability of k."""
    k, p, loc = promoted("geom.logpmf", k, p, loc)
    x = k - loc
    later = jnp.where(x <= 0, 1, x) - 1
    return jnp.where(x <= 0, -INF, xlog1py(later, -p) + jnp.log(p))


@numeric_function
def pmf(k, p, loc=0):
    """The probability of k."""
    return jnp.exp(logpmf(k, p, loc))

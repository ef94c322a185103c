"""The multinomial distribution: counts of n draws from categories of probabilities p."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import inexact

from ..special import xlogy
from .support import INF


@jit
def logpmf(x, n, p):
    """The logarithm of the probability of the counts x, integers with the categories along the last axis."""
    p, x, n = jnp.asarray(inexact("multinomial.logpmf", p)), jnp.asarray(x), jnp.asarray(n)
    if not (jnp.issubdtype(x.dtype, np.integer) and jnp.issubdtype(n.dtype, np.integer)):
        raise ValueError(f"multinomial.logpmf takes integers x and n, got {x.dtype} and {n.dtype}")
    fits, x, n = x.sum(-1) == n, x.astype(p.dtype), n.astype(p.dtype)
    value = lax.lgamma(n + 1) + (xlogy(x, p) - lax.lgamma(x + 1)).sum(-1)
    return jnp.where(fits, value, -INF)


@jit
def pmf(x, n, p):
    """The probability of the counts x."""
    return jnp.exp(logpmf(x, n, p))

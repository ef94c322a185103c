"""The wrapped Cauchy distribution on ``[0, 2 pi]``, with ``0 < c < 1``."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function

from .support import INF, NAN, between, promoted


@numeric_function
def logpdf(x, c):
    """The logarithm of the density at x."""
    x, c = promoted("wrapcauchy.logpdf", x, c)
    value = jnp.log1p(-c * c) - math.log(2 * math.pi) - jnp.log1p(c * c - 2 * c * jnp.cos(x))
    inside = between(x, 0, 2 * math.pi)
    return jnp.where((c > 0) & (c < 1), jnp.where(inside, value, -INF), NAN)


@numeric_function
def pdf(x, c):
    """The density at x."""
    return jnp.exp(logpdf(x, c))

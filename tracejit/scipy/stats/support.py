"""What distributions share: arguments -> promoted arrays and the standardised variable, values outside the support."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit.numpy.promotion import promote_inexact

INF, NAN = float("inf"), float("nan")


def promoted(name: str, *args) -> list:
    return [jnp.asarray(x) for x in promote_inexact(name, *args)]


def standardized(name: str, x, loc, scale, *shape) -> list:
    """(x - loc) / scale, then scale and the shape parameters, in their common floating dtype."""
    x, loc, scale, *shape = promoted(name, x, loc, scale, *shape)
    return [(x - loc) / scale, scale, *shape]


def between(x, low, high):
    """low <= x <= high, and where x is nan, which stays nan."""
    return ~((x < low) | (x > high))


def quantile(q, value):
    """``value`` where q is a probability, else nan."""
    return jnp.where((q >= 0) & (q <= 1), value, NAN)

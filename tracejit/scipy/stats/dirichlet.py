"""The Dirichlet distribution over points of the simplex."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import promote_dtypes_inexact

from ..special import xlogy
from .support import INF


@jit
def logpdf(x, alpha):
    """The logarithm of the density at x, whose first axis has as many entries as alpha, or one fewer."""
    x, alpha = (jnp.asarray(v) for v in promote_dtypes_inexact("dirichlet.logpdf", x, alpha))
    if alpha.ndim != 1 or x.shape[0] not in (alpha.shape[0], alpha.shape[0] - 1):
        raise ValueError(f"dirichlet.logpdf takes x of shape [n, ...] or [n - 1, ...] and alpha of shape [n], got "
                         f"{x.shape} and {alpha.shape}")
    if x.shape[0] != alpha.shape[0]:
        x = jnp.concatenate([x, 1 - x.sum(0, keepdims=True)])
    inside = (x > 0).all(0) & (jnp.abs(x.sum(0) - 1) < 1e-6)
    power = (alpha - 1).reshape(-1, *(1,) * (x.ndim - 1))
    value = xlogy(power, x).sum(0) + lax.lgamma(alpha.sum()) - lax.lgamma(alpha).sum()
    return jnp.where(inside | jnp.isnan(value), value, -INF)


@jit
def pdf(x, alpha):
    """The density at x."""
    return jnp.exp(logpdf(x, alpha))

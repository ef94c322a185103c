"""The normal distribution of vectors."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import jit
from tracejit.numpy.promotion import promote_dtypes_inexact
from tracejit.scipy.linalg import solve_triangular


def logpdf(x, mean, cov, allow_singular=None):
    """The logarithm of the density at x ``[..., n]`` for mean ``[..., n]`` and covariance ``[..., n, n]``, or scalars.

    Raises NotImplementedError if ``allow_singular`` is given: the covariance must have a Cholesky factor.
    """
    if allow_singular is not None:
        raise NotImplementedError("multivariate_normal.logpdf: allow_singular is not supported")
    x, mean, cov = (jnp.asarray(v) for v in promote_dtypes_inexact("multivariate_normal.logpdf", x, mean, cov))
    return log_density(x, mean, cov)


@jit
def log_density(x, mean, cov):
    if mean.ndim == 0:
        return -0.5 * (jnp.square(x - mean) / cov + math.log(2 * math.pi) + jnp.log(cov))
    n = mean.shape[-1]
    if cov.ndim == 0:
        return -0.5 * (jnp.square(x - mean).sum(-1) / cov + n * (math.log(2 * math.pi) + jnp.log(cov)))
    if cov.shape[-2:] != (n, n):
        raise ValueError(f"multivariate_normal.logpdf takes mean [..., n] and cov [..., n, n], got {mean.shape} and "
                         f"{cov.shape}")
    factor, offset = jnp.linalg.cholesky(cov), x - mean
    batch = jnp.broadcast_shapes(offset.shape[:-1], cov.shape[:-2])
    factors = jnp.broadcast_to(factor, (*batch, n, n))
    y = solve_triangular(factors, jnp.broadcast_to(offset, (*batch, n))[..., None], lower=True)[..., 0]
    log_det = jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
    return -0.5 * (jnp.square(y).sum(-1) + n * math.log(2 * math.pi)) - log_det


def pdf(x, mean, cov):
    """The density at x; arguments as for `logpdf`."""
    return jnp.exp(logpdf(x, mean, cov))

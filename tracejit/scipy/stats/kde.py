"""Kernel density estimation: points -> a smooth density, a sum of normal densities around them."""
from __future__ import annotations

import math

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, random
from tracejit.numpy.promotion import promote_dtypes_inexact
from tracejit.tree_util import register_pytree_node_class

from ..linalg import cho_factor, cho_solve
from ..special import logsumexp, ndtr


@register_pytree_node_class
class gaussian_kde:
    """The density estimate of a dataset ``[d, n]`` (or ``[n]``), optionally with weights ``[n]``.

    ``bw_method`` sets the bandwidth: 'scott' (default), 'silverman', a number, or a function of this object.
    Attributes: dataset, weights, neff (effective number of points), covariance (of the kernel), inv_cov.

    >>> import tracejit.numpy as jnp
    >>> gaussian_kde(jnp.array([0., 1., 2.]))(jnp.array([1.])).shape
    (1,)
    """

    def __init__(self, dataset, bw_method=None, weights=None):
        dataset = jnp.atleast_2d(dataset)
        if jnp.issubdtype(dataset.dtype, np.complexfloating):
            raise NotImplementedError("gaussian_kde takes real data")
        if dataset.size <= 1:
            raise ValueError("gaussian_kde takes a dataset of more than one element")
        dataset, weights = normalized(dataset, weights)
        self.dataset, self.weights, self.neff = dataset, weights, 1 / jnp.sum(weights**2)
        covariance = jnp.atleast_2d(jnp.cov(dataset, rowvar=True, bias=False, aweights=weights))
        factor = self.bandwidth(bw_method)
        self.covariance, self.inv_cov = covariance * factor**2, jnp.linalg.inv(covariance) / factor**2

    def bandwidth(self, method):
        power = -1.0 / (self.d + 4)
        if method is None or isinstance(method, str):
            if method not in (None, "scott", "silverman"):
                raise ValueError(f"gaussian_kde: bw_method must be 'scott', 'silverman', a number or a function, got "
                                 f"{method!r}")
            return (self.neff * (self.d + 2) / 4 if method == "silverman" else self.neff) ** power
        return method(self) if callable(method) else method

    def tree_flatten(self):
        return (self.neff, self.dataset, self.weights, self.covariance, self.inv_cov), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        kde = cls.__new__(cls)
        kde.neff, kde.dataset, kde.weights, kde.covariance, kde.inv_cov = leaves
        return kde

    @property
    def d(self) -> int:
        return self.dataset.shape[0]

    @property
    def n(self) -> int:
        return self.dataset.shape[1]

    def evaluate(self, points):
        """The density at points ``[d, m]`` (or one point ``[d]``): ``[m]``."""
        return jnp.exp(self.logpdf(points))

    __call__ = pdf = evaluate

    def logpdf(self, x):
        """The logarithm of the density at points ``[d, m]``: ``[m]``."""
        return log_density(self, self.columns(x))

    def columns(self, points):
        points = jnp.atleast_2d(points)
        if jnp.issubdtype(points.dtype, np.complexfloating):
            raise NotImplementedError("gaussian_kde takes real points")
        if points.shape[0] != self.d:
            if points.shape != (1, self.d):
                raise ValueError(f"gaussian_kde: points have dimension {points.shape[0]}, the dataset has dimension "
                                 f"{self.d}")
            points = points.reshape(self.d, 1)
        return points

    def integrate_gaussian(self, mean, cov):
        """The integral of the density times a normal density of the given mean ``[d]`` and covariance ``[d, d]``."""
        mean, cov = jnp.atleast_1d(jnp.squeeze(mean)), jnp.atleast_2d(cov)
        if mean.shape != (self.d,) or cov.shape != (self.d, self.d):
            raise ValueError(f"integrate_gaussian: mean and cov must have dimension {self.d}, got {mean.shape} and "
                             f"{cov.shape}")
        return jnp.sum(overlaps(self.covariance + cov, self.dataset, mean[:, None])[:, 0] * self.weights)

    def integrate_kde(self, other):
        """The integral of the product of two density estimates."""
        if other.d != self.d:
            raise ValueError(f"integrate_kde: dimensions {self.d} and {other.d} differ")
        pairs = overlaps(self.covariance + other.covariance, self.dataset, other.dataset)
        return self.weights @ pairs @ other.weights

    def integrate_box_1d(self, low, high):
        """The integral of a one-dimensional density from low to high."""
        if self.d != 1 or np.ndim(low) or np.ndim(high):
            raise ValueError("integrate_box_1d takes scalars, and one-dimensional densities only")
        deviation = jnp.sqrt(self.covariance[0, 0])
        low, high = ((limit - self.dataset[0]) / deviation for limit in (low, high))
        return jnp.sum(self.weights * (ndtr(high) - ndtr(low)))

    def integrate_box(self, low_bounds, high_bounds, maxpts=None):
        raise NotImplementedError("gaussian_kde integrates boxes in one dimension only: use integrate_box_1d")

    def set_bandwidth(self, bw_method=None):
        raise NotImplementedError("a gaussian_kde does not change: make another with the bandwidth wanted")

    def resample(self, key, shape=()):
        """Random points from the density: ``[d, *shape]``."""
        index_key, noise_key = random.split(key)
        chosen = random.choice(index_key, self.n, shape=shape, p=self.weights)
        origin = jnp.zeros(self.d, self.covariance.dtype)
        noise = random.multivariate_normal(noise_key, origin, self.covariance, shape=shape, dtype=self.dataset.dtype)
        return self.dataset[:, chosen] + noise.T


def normalized(dataset, weights):
    """Dataset and weights with sum 1, in one floating dtype."""
    if weights is None:
        (dataset,) = promote_dtypes_inexact("gaussian_kde", dataset)
        return dataset, jnp.full(dataset.shape[1], 1 / dataset.shape[1], dataset.dtype)
    dataset, weights = promote_dtypes_inexact("gaussian_kde", dataset, jnp.atleast_1d(weights))
    if weights.shape != dataset.shape[1:]:
        raise ValueError(f"gaussian_kde: weights must have shape {dataset.shape[1:]}, got {weights.shape}")
    return dataset, weights / weights.sum()


@jit
def log_density(kde, points):
    whitening = jnp.linalg.cholesky(kde.inv_cov)
    log_scale = jnp.log(jnp.diagonal(whitening)).sum() - 0.5 * kde.d * math.log(2 * math.pi)
    centres, points = whitening.T @ kde.dataset, whitening.T @ points
    exponents = -0.5 * jnp.square(centres[:, :, None] - points[:, None, :]).sum(0)
    return logsumexp(exponents + jnp.log(kde.weights)[:, None], axis=0) + log_scale


def overlaps(covariance, left, right):
    """The normal density of every difference between columns of left and right."""
    factor = cho_factor(covariance)
    differences = left[:, :, None] - right[:, None, :]
    flat = differences.reshape(left.shape[0], -1)
    exponents = 0.5 * (flat * cho_solve(factor, flat)).sum(0).reshape(differences.shape[1:])
    scale = math.sqrt(2 * math.pi) ** left.shape[0] * jnp.prod(jnp.abs(jnp.diagonal(factor[0])))
    return jnp.exp(-exponents) / scale

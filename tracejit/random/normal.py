"""Uniform samples -> normal ones and what is made of them: truncated, multivariate, log-normal, Maxwell, Wald,
orthogonal."""
from __future__ import annotations

import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax

from .arguments import broadcast_shape, cast_to, check_castable, check_shape, dtype_of, exact, float_dtype, shape_of
from .keys import single_key, split_key
from .uniform import signs, uniform_floats

FACTORS = ("cholesky", "eigh", "svd")


def normal(key, shape=(), dtype=None, *, out_sharding=None):
    """Standard normal samples, by the inverse error function; a complex dtype has total variance 1.

    >>> from tracejit import random
    >>> random.normal(random.key(0), (2, 3)).shape
    (2, 3)
    """
    key, dtype = single_key("normal", key), dtype_of("normal", dtype, float, np.inexact)
    return normal_samples(key, shape_of(shape), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def normal_samples(key, shape, dtype):
    if not jnp.issubdtype(dtype, np.complexfloating):
        return real_normal(key, shape, dtype)
    part = np.zeros((), dtype).real.dtype
    real, imag = (real_normal(half, shape, part) for half in split_key(key))
    return lax.complex(real, imag) / np.array(np.sqrt(2), dtype)


def real_normal(key, shape, dtype):
    # From just above -1: erf_inv(-1) is -inf.
    lowest = np.array(np.nextafter(np.array(-1, dtype), np.array(0, dtype), dtype=dtype))
    return lax.erf_inv(uniform_floats(key, lowest, np.ones((), dtype), shape, dtype)) * np.array(np.sqrt(2), dtype)


def truncated_normal(key, lower, upper, shape=None, dtype=None, *, out_sharding=None):
    """Standard normal samples given that they fall into the open interval ``(lower, upper)``; the bounds broadcast.

    >>> from tracejit import random
    >>> x = random.truncated_normal(random.key(0), -1.0, 2.0, (100,))
    >>> bool((x > -1).all() and (x < 2).all())
    True
    """
    key, dtype = single_key("truncated_normal", key), float_dtype("truncated_normal", dtype)
    shape = broadcast_shape("truncated_normal", shape, lower, upper)
    return truncated_samples(key, *exact(dtype, lower, upper), shape, dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def truncated_samples(key, lower, upper, shape, dtype):
    lower, upper = (lax.convert_element_type(bound, dtype) for bound in (lower, upper))
    root2, inf = np.array(np.sqrt(2), dtype), np.array(np.inf, dtype)
    u = uniform_floats(key, lax.erf(lower / root2), lax.erf(upper / root2), shape, dtype)
    inside_low = jnp.nextafter(lax.stop_gradient(lower), inf)
    inside_high = jnp.nextafter(lax.stop_gradient(upper), -inf)
    return jnp.clip(root2 * lax.erf_inv(u), inside_low, inside_high)


def multivariate_normal(key, mean, cov, shape=None, dtype=None, method="cholesky", *, out_sharding=None):
    """Normal vectors of the given ``mean [..., n]`` and covariance ``cov [..., n, n]``: shape ``[*shape, n]``.

    ``method`` says how the covariance is factored: 'cholesky', or 'eigh' or 'svd' where it may be singular. The default
    shape is the broadcast batch shape of the parameters.

    >>> import tracejit.numpy as jnp
    >>> from tracejit import random
    >>> random.multivariate_normal(random.key(0), jnp.zeros(2), jnp.eye(2), (5,)).shape
    (5, 2)
    """
    key = single_key("multivariate_normal", key)
    if method not in FACTORS:
        raise ValueError(f"random.multivariate_normal: method must be one of {FACTORS}, got {method!r}")
    mean, cov = inexact(mean, cov)
    dtype = mean.dtype if dtype is None else float_dtype("multivariate_normal", dtype)
    batch = mean_and_cov_batch(mean.shape, cov.shape)
    if shape is None:
        shape = np.broadcast_shapes(*batch)
    shape = shape_of(shape)
    check_shape("multivariate_normal", shape, *batch)
    return multivariate_samples(key, mean, cov, shape, dtype, method)


def mean_and_cov_batch(mean_shape, cov_shape):
    if len(mean_shape) < 1 or len(cov_shape) < 2 or cov_shape[-2:] != mean_shape[-1:] * 2:
        raise ValueError("random.multivariate_normal takes mean of shape [..., n] and cov of shape [..., n, n], got "
                         f"{mean_shape} and {cov_shape}")
    return mean_shape[:-1], cov_shape[:-2]


def inexact(*arrays):
    """The arrays in their common floating-point dtype."""
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, np.inexact):
        dtype = jnp.result_type(dtype, float)
    return [lax.convert_element_type(x, np.dtype(dtype)) for x in arrays]


@partial(jit, static_argnames=("shape", "dtype", "method"))
def multivariate_samples(key, mean, cov, shape, dtype, method):
    samples = normal_samples(key, shape + mean.shape[-1:], dtype)
    return mean + jnp.einsum("...ij,...j->...i", factor_of(cov, method), samples)


def factor_of(cov, method):
    """F with F F^T = cov."""
    if method == "cholesky":
        return jnp.linalg.cholesky(cov)
    if method == "eigh":
        values, vectors = jnp.linalg.eigh(cov)
    else:
        vectors, values, _ = jnp.linalg.svd(cov)
    return vectors * jnp.sqrt(values[..., None, :])


def lognormal(key, sigma=1.0, shape=None, dtype=None, *, out_sharding=None):
    """exp of a normal of mean 0 and standard deviation ``sigma``.

    >>> from tracejit import random
    >>> bool(random.lognormal(random.key(0), 0.5) > 0)
    True
    """
    key, dtype = single_key("lognormal", key), dtype_of("lognormal", dtype, float, np.inexact)
    check_castable("lognormal", dtype, sigma)
    return lognormal_samples(key, *exact(dtype, sigma), broadcast_shape("lognormal", shape, sigma), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def lognormal_samples(key, sigma, shape, dtype):
    return jnp.exp(normal_samples(key, shape, dtype) * lax.convert_element_type(sigma, dtype))


def maxwell(key, shape=(), dtype=None, *, out_sharding=None):
    """Maxwell samples: the length of a standard normal vector in three dimensions.

    >>> from tracejit import random
    >>> bool(random.maxwell(random.key(0)) > 0)
    True
    """
    return maxwell_samples(single_key("maxwell", key), shape_of(shape), float_dtype("maxwell", dtype))


@partial(jit, static_argnames=("shape", "dtype"))
def maxwell_samples(key, shape, dtype):
    return jnp.linalg.norm(normal_samples(key, (*shape, 3), dtype), axis=-1)


def double_sided_maxwell(key, loc, scale, shape=(), dtype=None):
    """Maxwell samples with a random sign, scaled and shifted: shape ``shape + broadcast(loc, scale)``.

    As in JAX, an empty ``shape`` counts as the parameters' shape, so that shape then appears twice.

    >>> from tracejit import random
    >>> random.double_sided_maxwell(random.key(0), 0.0, 1.0, (4,)).shape
    (4,)
    """
    key, dtype = single_key("double_sided_maxwell", key), float_dtype("double_sided_maxwell", dtype)
    return double_sided_samples(key, *exact(dtype, loc, scale), shape_of(shape), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def double_sided_samples(key, loc, scale, shape, dtype):
    parameters = np.broadcast_shapes(np.shape(loc), np.shape(scale))
    shape = (shape or parameters) + parameters
    length_key, sign_key = split_key(key)
    return signs(sign_key, shape, dtype) * maxwell_samples(length_key, shape, dtype) * scale + loc


def wald(key, mean, shape=None, dtype=None, *, out_sharding=None):
    """Wald (inverse Gaussian) samples of the given mean and scale 1.

    Michael, Schucany and Haas, "Generating random variates using transformations with multiple roots" (1976).

    >>> from tracejit import random
    >>> bool(random.wald(random.key(0), 2.0) > 0)
    True
    """
    key, dtype = single_key("wald", key), float_dtype("wald", dtype)
    check_castable("wald", dtype, mean)
    return wald_samples(key, *exact(dtype, mean), broadcast_shape("wald", shape, mean), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def wald_samples(key, mean, shape, dtype):
    normal_key, uniform_key = split_key(key)
    (mean,) = cast_to(dtype, shape, mean)
    y = jnp.square(normal_samples(normal_key, shape, dtype))
    u = uniform_floats(uniform_key, 0.0, 1.0, shape, dtype)
    root = jnp.sqrt(4 * mean * y + jnp.square(mean) * jnp.square(y))
    x = mean + jnp.square(mean) * y / 2 - mean / 2 * root
    return jnp.where(u <= mean / (mean + x), x, jnp.square(mean) / x)


def orthogonal(key, n, shape=(), dtype=None, m=None, *, out_sharding=None):
    """Orthogonal (for a complex dtype: unitary) matrices ``[*shape, n, m]``, uniform under the group's measure.

    With ``m != n`` the rows or columns, whichever are fewer, are orthonormal. Mezzadri, "How to generate random
    matrices from the classical compact groups" (2007).

    >>> from tracejit import random
    >>> q = random.orthogonal(random.key(0), 3)
    >>> bool(abs(q @ q.T - jnp.eye(3)).max() < 1e-5)
    True
    """
    key, dtype = single_key("orthogonal", key), dtype_of("orthogonal", dtype, float, np.inexact)
    n = operator.index(n)
    return orthogonal_samples(key, n, n if m is None else operator.index(m), shape_of(shape), dtype)


@partial(jit, static_argnames=("n", "m", "shape", "dtype"))
def orthogonal_samples(key, n, m, shape, dtype):
    q, r = jnp.linalg.qr(normal_samples(key, (*shape, max(n, m), min(n, m)), dtype))
    # QR leaves the signs of R's diagonal free; the measure is uniform only once they are fixed.
    q = q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return jnp.swapaxes(q, -2, -1) if n < m else q

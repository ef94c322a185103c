"""Gamma samples by rejection, differentiable in the shape parameter, and what is made of them.

Marsaglia and Tsang, "A simple method for generating gamma variables" (2000): beta, chi-square, Dirichlet, F, Student's
t, the generalized normal and the uniform distribution in a ball follow from it.
"""
from __future__ import annotations

import math
import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax, vmap

from .arguments import broadcast_shape, cast_to, check_castable, check_shape, exact, float_dtype, shape_of
from .inverse import exponential_samples
from .keys import single_key, split_key
from .normal import normal_samples
from .uniform import signs, uniform_floats


def gamma(key, a, shape=None, dtype=None, *, out_sharding=None):
    """Gamma samples of scale 1: density proportional to ``x**(a - 1) exp(-x)``, ``a > 0``.

    Differentiable in ``a`` by implicit reparameterisation (Figurnov et al., 2018).

    >>> from tracejit import random
    >>> bool(random.gamma(random.key(0), 3.0) > 0)
    True
    """
    key, dtype = single_key("gamma", key), float_dtype("gamma", dtype)
    return gamma_samples(key, *exact(dtype, a), broadcast_shape("gamma", shape, a), dtype)


def loggamma(key, a, shape=None, dtype=None, *, out_sharding=None):
    """Logarithms of gamma samples: precise also for small ``a``, where the samples underflow.

    >>> from tracejit import random
    >>> bool(random.loggamma(random.key(0), 1e-3) < 0)
    True
    """
    key, dtype = single_key("loggamma", key), float_dtype("loggamma", dtype)
    return loggamma_samples(key, *exact(dtype, a), broadcast_shape("loggamma", shape, a), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def gamma_samples(key, a, shape, dtype):
    return differentiable_gamma(key, *cast_to(dtype, shape, a))


@partial(jit, static_argnames=("shape", "dtype"))
def loggamma_samples(key, a, shape, dtype):
    return differentiable_loggamma(key, *cast_to(dtype, shape, a))


@custom_jvp
def differentiable_gamma(key, a):
    return one_each(partial(one_gamma, logarithm=False), key, a)


@custom_jvp
def differentiable_loggamma(key, a):
    return one_each(partial(one_gamma, logarithm=True), key, a)


@differentiable_gamma.defjvp
def _(primals, tangents):
    key, a = primals
    sample = differentiable_gamma(key, a)
    return sample, tangents[1] * lax.random_gamma_grad(a, sample)


@differentiable_loggamma.defjvp
def _(primals, tangents):
    key, a = primals
    log_sample = differentiable_loggamma(key, a)
    # A sample that underflows to 0 has no derivative of its own; the smallest normal number stands for it.
    sample = jnp.exp(log_sample)
    sample = jnp.where(sample == 0, jnp.finfo(a.dtype).tiny, sample)
    return log_sample, tangents[1] * (lax.random_gamma_grad(a, sample) / sample)


def one_each(sampler, key, a):
    """A sample for each element of ``a``, each from a key of its own."""
    keys = split_key(key, (math.prod(a.shape),))
    return vmap(sampler)(keys, a.reshape(-1)).reshape(a.shape)


def one_gamma(key, a, logarithm: bool):
    loop_key, boost_key = split_key(key)
    boosted = jnp.where(a >= 1, a, a + 1)
    d = boosted - np.array(1 / 3, a.dtype)
    v = accepted_cube(loop_key, d, np.array(1 / 3, a.dtype) / jnp.sqrt(d))
    # For a < 1: gamma(a) = gamma(a + 1) * u**(1 / a).
    if logarithm:
        log_u = -exponential_samples(boost_key, (), a.dtype)
        return jnp.log(d) + jnp.log(v) + jnp.where((a >= 1) | (log_u == 0), 0, log_u * (1 / a))
    u = 1 - uniform_floats(boost_key, 0.0, 1.0, (), a.dtype)
    return d * v * jnp.where(a >= 1, 1, jnp.power(u, 1 / a))


def accepted_cube(key, d, c):
    """v = (1 + c x)**3 for a normal x, accepted with probability proportional to what makes d v a gamma sample."""
    zero, one, two = (np.array(value, d.dtype) for value in (0, 1, 2))

    def rejected(state):
        _, square, v, u = state
        squeezed = u < one - np.array(0.0331, d.dtype) * square * square
        return ~squeezed & (jnp.log(u) >= square * 0.5 + d * (one - v + jnp.log(v)))

    def draw(state):
        key, x_key, u_key = split_key(state[0], (3,))
        x, v = positive_line(x_key, c)
        return key, x * x, v * v * v, uniform_floats(u_key, 0.0, 1.0, (), d.dtype)

    start = (key, *(jnp.broadcast_to(value, d.shape) for value in (zero, one, two)))
    return lax.while_loop(rejected, draw, start)[2]


def positive_line(key, c):
    """A normal x and 1 + c x, given that the latter is positive."""

    def draw(state):
        key, x_key = split_key(state[0])
        x = normal_samples(x_key, (), c.dtype)
        return key, x, 1 + x * c

    start = (key, jnp.zeros((), c.dtype), jnp.full((), -1, c.dtype))
    return lax.while_loop(lambda state: state[2] <= 0, draw, start)[1:]


def beta(key, a, b, shape=None, dtype=None, *, out_sharding=None):
    """Beta samples: density proportional to ``x**(a - 1) (1 - x)**(b - 1)`` on ``[0, 1]``.

    >>> from tracejit import random
    >>> bool(random.beta(random.key(0), 2.0, 3.0) <= 1)
    True
    """
    key, dtype = single_key("beta", key), float_dtype("beta", dtype)
    check_castable("beta", dtype, a, b)
    return beta_samples(key, *exact(dtype, a, b), broadcast_shape("beta", shape, a, b), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def beta_samples(key, a, b, shape, dtype):
    key_a, key_b = split_key(key)
    log_a, log_b = loggamma_samples(key_a, a, shape, dtype), loggamma_samples(key_b, b, shape, dtype)
    largest = jnp.maximum(log_a, log_b)
    scaled_a, scaled_b = jnp.exp(log_a - largest), jnp.exp(log_b - largest)
    return scaled_a / (scaled_a + scaled_b)


def dirichlet(key, alpha, shape=None, dtype=None, *, out_sharding=None):
    """Dirichlet samples, ``[*shape, n]``, for concentrations ``alpha [..., n]``: non-negative with sum 1.

    >>> import tracejit.numpy as jnp
    >>> from tracejit import random
    >>> bool(abs(random.dirichlet(random.key(0), jnp.ones(3)).sum() - 1) < 1e-5)
    True
    """
    key, dtype = single_key("dirichlet", key), float_dtype("dirichlet", dtype)
    if np.ndim(alpha) < 1:
        raise ValueError("random.dirichlet takes alpha of shape [..., n], got a scalar")
    batch = np.shape(alpha)[:-1]
    shape = batch if shape is None else shape_of(shape)
    check_shape("dirichlet", shape, batch)
    return dirichlet_samples(key, alpha, shape + np.shape(alpha)[-1:], dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def dirichlet_samples(key, alpha, shape, dtype):
    logs = loggamma_samples(key, alpha, shape, dtype)
    weights = jnp.exp(logs - lax.stop_gradient(jnp.max(logs, axis=-1, keepdims=True)))
    return weights / weights.sum(axis=-1, keepdims=True)


def chisquare(key, df, shape=None, dtype=None, *, out_sharding=None):
    """Chi-square samples of ``df`` degrees of freedom.

    >>> from tracejit import random
    >>> bool(random.chisquare(random.key(0), 4.0) > 0)
    True
    """
    key, dtype = single_key("chisquare", key), float_dtype("chisquare", dtype)
    check_castable("chisquare", dtype, df)
    return chisquare_samples(key, *exact(dtype, df), broadcast_shape("chisquare", shape, df), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def chisquare_samples(key, df, shape, dtype):
    return 2 * jnp.exp(loggamma_samples(key, lax.convert_element_type(df, dtype) / 2, shape, dtype))


def f(key, dfnum, dfden, shape=None, dtype=None, *, out_sharding=None):
    """F samples: the ratio of two chi-squares, each over its degrees of freedom.

    >>> from tracejit import random
    >>> bool(random.f(random.key(0), 3.0, 4.0) > 0)
    True
    """
    key, dtype = single_key("f", key), float_dtype("f", dtype)
    check_castable("f", dtype, dfnum, dfden)
    return f_samples(key, *exact(dtype, dfnum, dfden), broadcast_shape("f", shape, dfnum, dfden), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def f_samples(key, dfnum, dfden, shape, dtype):
    key_den, key_num = split_key(key)
    dfnum, dfden = (lax.convert_element_type(df, dtype) for df in (dfnum, dfden))
    numerator = chisquare_samples(key_num, dfnum, shape, dtype) / dfnum
    return numerator / (chisquare_samples(key_den, dfden, shape, dtype) / dfden)


def t(key, df, shape=None, dtype=None, *, out_sharding=None):
    """Student's t samples of ``df`` degrees of freedom.

    >>> from tracejit import random
    >>> random.t(random.key(0), 5.0, (3,)).shape
    (3,)
    """
    key, dtype = single_key("t", key), float_dtype("t", dtype)
    check_castable("t", dtype, df)
    return t_samples(key, *exact(dtype, df), broadcast_shape("t", shape, df), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def t_samples(key, df, shape, dtype):
    normal_key, gamma_key = split_key(key)
    half = lax.convert_element_type(df, dtype) / 2
    return normal_samples(normal_key, shape, dtype) * jnp.sqrt(half / gamma_samples(gamma_key, half, shape, dtype))


def generalized_normal(key, p, shape=(), dtype=None, *, out_sharding=None):
    """Generalized normal samples: density proportional to ``exp(-|x|**p)``.

    >>> from tracejit import random
    >>> random.generalized_normal(random.key(0), 1.5, (3,)).shape
    (3,)
    """
    key, dtype = single_key("generalized_normal", key), float_dtype("generalized_normal", dtype)
    return generalized_samples(key, *exact(dtype, p), shape_of(shape), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def generalized_samples(key, p, shape, dtype):
    gamma_key, sign_key = split_key(key)
    check_shape("generalized_normal", shape, np.shape(p))
    return signs(sign_key, shape, dtype) * gamma_samples(gamma_key, 1 / p, shape, dtype) ** (1 / p)


def ball(key, d, p=2, shape=(), dtype=None, *, out_sharding=None):
    """Points ``[*shape, d]`` uniform in the unit ball of the L^p norm.

    Barthe et al., "A probabilistic approach to the geometry of the l_p^n ball" (2005).

    >>> from tracejit import random
    >>> bool((random.ball(random.key(0), 3) ** 2).sum() <= 1)
    True
    """
    key, dtype = single_key("ball", key), float_dtype("ball", dtype)
    return ball_samples(key, *exact(dtype, p), operator.index(d), shape_of(shape), dtype)


@partial(jit, static_argnames=("d", "shape", "dtype"))
def ball_samples(key, p, d, shape, dtype):
    direction_key, length_key = split_key(key)
    x = generalized_samples(direction_key, p, (*shape, d), dtype)
    length = (jnp.abs(x) ** p).sum(-1) + exponential_samples(length_key, shape, dtype)
    return x / (length ** (1 / p))[..., None]

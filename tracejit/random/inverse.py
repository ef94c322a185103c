"""Uniform samples -> other distributions through the inverse of their cumulative distribution function."""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax

from .arguments import broadcast_shape, cast_to, check_castable, dtype_of, exact, float_dtype, shape_of
from .keys import random_bits, single_key
from .normal import inexact
from .uniform import uniform_floats

GUMBEL_MODES = ("highest", "high", "low")


def exponential(key, shape=(), dtype=None, *, out_sharding=None):
    """Exponential samples of rate 1: density ``exp(-x)`` on ``[0, inf)``.

    >>> from tracejit import random
    >>> bool(random.exponential(random.key(0)) >= 0)
    True
    """
    return exponential_samples(single_key("exponential", key), shape_of(shape), float_dtype("exponential", dtype))


@partial(jit, static_argnames=("shape", "dtype"))
def exponential_samples(key, shape, dtype):
    return -jnp.log1p(-uniform_floats(key, 0.0, 1.0, shape, dtype))


def cauchy(key, shape=(), dtype=None, *, out_sharding=None):
    """Standard Cauchy samples: density proportional to ``1 / (1 + x**2)``.

    >>> from tracejit import random
    >>> random.cauchy(random.key(0), (3,)).shape
    (3,)
    """
    return cauchy_samples(single_key("cauchy", key), shape_of(shape), float_dtype("cauchy", dtype))


@partial(jit, static_argnames=("shape", "dtype"))
def cauchy_samples(key, shape, dtype):
    u = uniform_floats(key, np.array(jnp.finfo(dtype).eps, dtype), 1.0, shape, dtype)
    return jnp.tan(np.array(np.pi, dtype) * (u - 0.5))


def laplace(key, shape=(), dtype=None, *, out_sharding=None):
    """Laplace samples: density ``exp(-|x|) / 2``.

    >>> from tracejit import random
    >>> random.laplace(random.key(0), (3,)).shape
    (3,)
    """
    return laplace_samples(single_key("laplace", key), shape_of(shape), float_dtype("laplace", dtype))


@partial(jit, static_argnames=("shape", "dtype"))
def laplace_samples(key, shape, dtype):
    lowest = np.array(float(jnp.finfo(dtype).epsneg) - 1, dtype)
    u = uniform_floats(key, lowest, 1.0, shape, dtype)
    return jnp.sign(u) * jnp.log1p(-jnp.abs(u))


def logistic(key, shape=(), dtype=None, *, out_sharding=None):
    """Logistic samples: density ``exp(-x) / (1 + exp(-x))**2``.

    >>> from tracejit import random
    >>> random.logistic(random.key(0), (3,)).shape
    (3,)
    """
    return logistic_samples(single_key("logistic", key), shape_of(shape), float_dtype("logistic", dtype))


@partial(jit, static_argnames=("shape", "dtype"))
def logistic_samples(key, shape, dtype):
    u = uniform_floats(key, np.array(jnp.finfo(dtype).tiny, dtype), 1.0, shape, dtype)
    return jnp.log(u) - jnp.log1p(-u)


def gumbel(key, shape=(), dtype=None, mode=None, *, out_sharding=None):
    """Gumbel samples: density ``exp(-(x + exp(-x)))``.

    ``mode`` says how many bits are drawn for a float32: 'low' (the default) gives values up to about 16, 'high' (two
    words) up to about 32, 'highest' the full precision of 64 bits in both tails.

    >>> from tracejit import random
    >>> random.gumbel(random.key(0), (3,), mode='high').shape
    (3,)
    """
    mode = "low" if mode is None else mode
    if mode not in GUMBEL_MODES:
        raise ValueError(f"random.gumbel: mode must be one of {GUMBEL_MODES}, got {mode!r}")
    return gumbel_samples(single_key("gumbel", key), shape_of(shape), float_dtype("gumbel", dtype), mode)


@partial(jit, static_argnames=("shape", "dtype", "mode"))
def gumbel_samples(key, shape, dtype, mode):
    info = jnp.finfo(dtype)
    if mode == "low":
        return -jnp.log(-jnp.log(uniform_floats(key, np.array(info.tiny, dtype), 1.0, shape, dtype)))
    if mode == "highest" and dtype == np.float32:
        return gumbel_of_64_bits(random_bits(key, 32, (2, *shape)))
    coarse, fine = uniform_floats(key, 0.0, 1.0, (2, *shape), dtype)
    u = jnp.where(coarse >= 0.5, coarse, coarse + 2.0**-info.nmant * fine + float(info.tiny))
    return -jnp.log(-jnp.log1p(-u))


def gumbel_of_64_bits(words):
    """Gumbel samples from 64-bit integers n as -log(-log(n / 2**64)), from whichever end of (0, 1) is nearer."""
    high, low = words
    small = high < np.uint32(2**31)
    carry = (low == 0).astype("uint32")
    u = fraction_of_64_bits(jnp.where(small, high, ~high + carry), jnp.where(small, low, ~low + np.uint32(1)))
    return jnp.where(small, -jnp.log(-jnp.log1p(-u)), -jnp.log(-jnp.log(u)))


def fraction_of_64_bits(high, low):
    """The 64-bit integer (high, low) / 2**64 as a float32, truncated; leading zeros cost no precision."""
    zeros = jnp.where(high == 0, np.uint32(32) + lax.clz(low), lax.clz(high))
    # The leading 32 significant bits; shifts by 32 or more give 0.
    leading = jnp.where(high == 0, low << (zeros - np.uint32(32)), (high << zeros) | (low >> (np.uint32(32) - zeros)))
    exponent = (np.uint32(126) - zeros) << np.uint32(23)
    return lax.bitcast_convert_type(exponent | ((leading >> np.uint32(8)) & np.uint32(2**23 - 1)), np.dtype("float32"))


def pareto(key, b, shape=None, dtype=None, *, out_sharding=None):
    """Pareto samples of shape parameter ``b``: density ``b / x**(b + 1)`` on ``[1, inf)``.

    >>> from tracejit import random
    >>> bool(random.pareto(random.key(0), 3.0) >= 1)
    True
    """
    key, dtype = single_key("pareto", key), float_dtype("pareto", dtype)
    check_castable("pareto", dtype, b)
    return pareto_samples(key, *exact(dtype, b), broadcast_shape("pareto", shape, b), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def pareto_samples(key, b, shape, dtype):
    return jnp.exp(exponential_samples(key, shape, dtype) / lax.convert_element_type(b, dtype))


def weibull_min(key, scale, concentration, shape=(), dtype=None):
    """Weibull samples: density proportional to ``x**(c - 1) exp(-(x / scale)**c)``; the result has shape ``shape``
    broadcast with the parameters.

    >>> from tracejit import random
    >>> bool(random.weibull_min(random.key(0), 2.0, 1.5) > 0)
    True
    """
    key, dtype = single_key("weibull_min", key), float_dtype("weibull_min", dtype)
    return weibull_samples(key, *exact(dtype, scale, concentration), shape_of(shape), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def weibull_samples(key, scale, concentration, shape, dtype):
    return jnp.power(exponential_samples(key, shape, dtype), 1.0 / concentration) * scale


def rayleigh(key, scale, shape=None, dtype=None, *, out_sharding=None):
    """Rayleigh samples: density proportional to ``x exp(-x**2 / (2 scale**2))`` on ``[0, inf)``.

    >>> from tracejit import random
    >>> bool(random.rayleigh(random.key(0), 2.0) >= 0)
    True
    """
    key, dtype = single_key("rayleigh", key), float_dtype("rayleigh", dtype)
    check_castable("rayleigh", dtype, scale)
    return rayleigh_samples(key, *exact(dtype, scale), broadcast_shape("rayleigh", shape, scale), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def rayleigh_samples(key, scale, shape, dtype):
    (scale,) = cast_to(dtype, shape, scale)
    return scale * jnp.sqrt(-2 * jnp.log(uniform_floats(key, 0.0, 1.0, shape, dtype)))


def triangular(key, left, mode, right, shape=None, dtype=None, *, out_sharding=None):
    """Triangular samples: the density rises from ``left`` to its peak at ``mode`` and falls to ``right``.

    >>> from tracejit import random
    >>> bool(random.triangular(random.key(0), 0.0, 1.0, 2.0) <= 2)
    True
    """
    key, dtype = single_key("triangular", key), float_dtype("triangular", dtype)
    check_castable("triangular", dtype, left, mode, right)
    shape = broadcast_shape("triangular", shape, left, mode, right)
    return triangular_samples(key, *exact(dtype, left, mode, right), shape, dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def triangular_samples(key, left, mode, right, shape, dtype):
    left, mode, right = cast_to(dtype, shape, left, mode, right)
    u = uniform_floats(key, 0.0, 1.0, shape, dtype)
    rising = left + jnp.sqrt(u * (right - left) * (mode - left))
    falling = right - jnp.sqrt((1 - u) * (right - left) * (right - mode))
    return jnp.where(u < (mode - left) / (right - left), rising, falling)


def geometric(key, p, shape=None, dtype=None, *, out_sharding=None):
    """Geometric samples: the number of trials of success probability ``p`` up to and with the first success.

    >>> from tracejit import random
    >>> bool(random.geometric(random.key(0), 0.3) >= 1)
    True
    """
    key, dtype = single_key("geometric", key), dtype_of("geometric", dtype, int, np.integer)
    return geometric_samples(key, p, broadcast_shape("geometric", shape, p), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def geometric_samples(key, p, shape, dtype):
    (p,) = inexact(p)
    u = uniform_floats(key, 0.0, 1.0, shape, p.dtype)
    trials = jnp.log(jnp.where(u == 0, np.ones((), p.dtype), u)) / jnp.log1p(-p)
    return (jnp.floor(trials) + 1).astype(dtype)

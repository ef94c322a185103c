"""Bits -> uniform samples: raw bits, floats in an interval, integers in a range, coin flips and signs."""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax

from .arguments import broadcast_shape, check_shape, dtype_of, exact, float_dtype, shape_of
from .keys import random_bits, single_key, split_key
from .threefry import UINT_OF_WIDTH

INT32 = np.dtype("int32")


def bits(key, shape=(), dtype=None, *, out_sharding=None):
    """Random unsigned integers of the given shape and dtype (default: uint32), every bit 0 or 1 with equal probability.

    >>> from tracejit import random
    >>> print(random.bits(random.key(0), (2,)))
    [4070199207 4202968722]
    """
    key = single_key("bits", key)
    dtype = default_uint() if dtype is None else dtype_of("bits", dtype, int, np.unsignedinteger)
    return random_bits(key, 8 * dtype.itemsize, shape_of(shape))


def default_uint() -> np.dtype:
    return UINT_OF_WIDTH[8 * np.dtype(jnp.result_type(int)).itemsize]


def uniform(key, shape=(), dtype=None, minval=0.0, maxval=1.0, *, out_sharding=None):
    """Uniform floats in ``[minval, maxval)``; the bounds broadcast to ``shape``.

    >>> from tracejit import random
    >>> x = random.uniform(random.key(0), (1000,))
    >>> bool((x >= 0).all() and (x < 1).all())
    True
    """
    key, dtype = single_key("uniform", key), float_dtype("uniform", dtype)
    return uniform_floats(key, *exact(dtype, minval, maxval), shape_of(shape), dtype)


def unit_floats(key, shape, dtype):
    """Floats in [0, 1): random mantissa bits under the exponent of 1.0, minus 1."""
    info = jnp.finfo(dtype)
    # 8 bits are enough for a bfloat16, whose mantissa has 7.
    drawn = 8 if info.nmant < 8 else info.bits
    word = UINT_OF_WIDTH[info.bits]
    mantissa = random_bits(key, drawn, shape).astype(word) >> word.type(drawn - info.nmant)
    one = np.ones((), dtype)
    return lax.bitcast_convert_type(mantissa | one.view(word)[()], dtype) - one


@partial(jit, static_argnames=("shape", "dtype"))
def uniform_floats(key, minval, maxval, shape, dtype):
    minval, maxval = (lax.convert_element_type(bound, dtype) for bound in (minval, maxval))
    check_shape("uniform", shape, np.shape(minval), np.shape(maxval))
    # Rounding can carry u * (maxval - minval) + minval below minval.
    return jnp.maximum(unit_floats(key, shape, dtype) * (maxval - minval) + minval, minval)


def randint(key, shape, minval, maxval, dtype=None, *, out_sharding=None):
    """Uniform integers in ``[minval, maxval)``; the bounds broadcast to ``shape`` and are clipped to the dtype's range.

    The remainder of twice as many bits as the dtype has: the bias is about the span over 2**64 for 32-bit integers.

    >>> from tracejit import random
    >>> print(random.randint(random.key(0), (5,), 0, 10))
    [9 0 2 3 1]
    """
    key, dtype, shape = single_key("randint", key), dtype_of("randint", dtype, int, np.integer), shape_of(shape)
    if dtype.itemsize >= 4:
        return random_integers(key, minval, maxval, shape, dtype)
    low, high = int(jnp.iinfo(dtype).min), int(jnp.iinfo(dtype).max)
    minval, maxval = (jnp.clip(jnp.asarray(bound).astype(INT32), low, high + top)
                      for top, bound in enumerate((minval, maxval)))
    return random_integers(key, minval, maxval, shape, INT32).astype(dtype)


def clipped(value, dtype):
    """Integers in another integer dtype: the nearest value that it has."""
    own, wanted = jnp.iinfo(value.dtype), jnp.iinfo(dtype)
    low, high = max(int(own.min), int(wanted.min)), min(int(own.max), int(wanted.max))
    return jnp.clip(value, np.array(low, value.dtype), np.array(high, value.dtype)).astype(dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def random_integers(key, minval, maxval, shape, dtype):
    check_shape("randint", shape, np.shape(minval), np.shape(maxval))
    minval, maxval = jnp.asarray(minval), jnp.asarray(maxval)
    minval, maxval = (x if jnp.issubdtype(x.dtype, np.integer) else x.astype(int) for x in (minval, maxval))
    # A maxval one past the largest integer cannot be written in the dtype: the clipped bound stands for one more.
    past_end = maxval > clipped(jnp.asarray(np.array(jnp.iinfo(dtype).max, dtype)), maxval.dtype)
    minval, maxval = clipped(minval, dtype), clipped(maxval, dtype)
    offset = random_below(key, span_of(minval, maxval, past_end), shape, dtype)
    return minval + offset.astype(dtype)


def span_of(minval, maxval, past_end):
    """maxval - minval as an unsigned integer, where 0 stands for the whole range of the dtype; an empty range counts
    1."""
    word = UINT_OF_WIDTH[8 * maxval.dtype.itemsize]
    span = (maxval - minval).astype(word)
    span = jnp.where(maxval <= minval, np.ones((), word), span)
    return jnp.where(past_end & (maxval > minval), span + np.ones((), word), span)


def random_below(key, span, shape, dtype):
    """(high * 2**n + low) mod span, for two n-bit words, in n-bit arithmetic."""
    width = 8 * dtype.itemsize
    high, low = (random_bits(half, width, shape) for half in split_key(key))
    root = lax.full_like(span, 2 ** (width // 2))
    multiplier = remainder(root, span)
    multiplier = remainder(multiplier * multiplier, span)
    span = jnp.broadcast_to(span, shape)
    return remainder(remainder(high, span) * multiplier + remainder(low, span), span)


def remainder(x, y):
    """x mod y where x mod 0 is x, so that a span of 0 means the whole range."""
    return jnp.where(y == 0, x, lax.rem(x, jnp.where(y == 0, np.ones((), y.dtype), y)))


def bernoulli(key, p=0.5, shape=None, mode="low", *, out_sharding=None):
    """True with probability ``p`` (a float or floats; the shape of the result unless ``shape`` is given).

    ``mode='high'`` uses twice the bits, for probabilities below about 1e-7.

    >>> from tracejit import random
    >>> print(random.bernoulli(random.key(0), 0.3, (4,)))
    [False False False False]
    """
    if mode not in ("high", "low"):
        raise ValueError(f"random.bernoulli: mode must be 'high' or 'low', got {mode!r}")
    key, dtype = single_key("bernoulli", key), np.dtype(jnp.result_type(p))
    if not jnp.issubdtype(dtype, np.floating):
        raise TypeError(f"random.bernoulli: p must be of a float dtype, got {dtype}")
    return coin_flips(key, *exact(dtype, p), broadcast_shape("bernoulli", shape, p), mode)


@partial(jit, static_argnames=("shape", "mode"))
def coin_flips(key, p, shape, mode):
    if mode == "low":
        return uniform_floats(key, 0.0, 1.0, shape, p.dtype) < p
    coarse, fine = uniform_floats(key, 0.0, 1.0, (2, *shape), p.dtype)
    return fine * 2.0 ** -jnp.finfo(p.dtype).nmant < p - coarse


def rademacher(key, shape=(), dtype=None, *, out_sharding=None):
    """-1 or 1 with equal probability, of any numeric dtype (default: int).

    >>> from tracejit import random
    >>> print(abs(random.rademacher(random.key(0), (4,))))
    [1 1 1 1]
    """
    dtype = np.dtype(jnp.result_type(int if dtype is None else dtype))
    return signs(single_key("rademacher", key), shape_of(shape), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def signs(key, shape, dtype):
    half = jnp.asarray(0.5, jnp.result_type(float))
    return (2 * coin_flips(key, half, shape, "low").astype(dtype) - 1).astype(dtype)

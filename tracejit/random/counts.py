"""Samples that count: Poisson, binomial and multinomial, by inversion for small means and by rejection for large
ones."""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax

from .arguments import broadcast_shape, check_shape, dtype_of, float_dtype, shape_of
from .keys import THREEFRY, single_key, split_key
from .normal import inexact
from .uniform import uniform_floats

FLOAT32 = np.dtype("float32")
INT32_MAX = np.iinfo(np.int32).max
# log(k!) - (log(2 pi)/2 + (k + 1/2) log(k + 1) - (k + 1)) for k = 0 .. 9.
STIRLING_TAIL = (0.08106146679532726, 0.04134069595540929, 0.02767792568499834, 0.02079067210376509,
                 0.01664469118982119, 0.01387612882307075, 0.01189670994589177, 0.01041126526197209,
                 0.009255462182712733, 0.008330563433362871)


def poisson(key, lam, shape=None, dtype=None, *, out_sharding=None):
    """Poisson samples of mean ``lam >= 0``, as integers; nan means give -1.

    Knuth's product of uniforms for ``lam < 10``, else Hörmann's transformed rejection PTRS (1993).

    >>> from tracejit import random
    >>> bool(random.poisson(random.key(0), 4.0) >= 0)
    True
    """
    key, dtype = single_key("poisson", key), dtype_of("poisson", dtype, int, np.integer)
    if key.generator is not THREEFRY:
        raise NotImplementedError(f"random.poisson takes a threefry2x32 key, got a {key.generator.name} key")
    shape = np.shape(lam) if shape is None else shape_of(shape)
    return poisson_samples(key, jnp.broadcast_to(lax.convert_element_type(lam, FLOAT32), shape), dtype)


@partial(jit, static_argnames=("dtype",))
def poisson_samples(key, lam, dtype):
    few = jnp.isnan(lam) | (lam < 10)
    limit = min(int(jnp.iinfo(dtype).max), INT32_MAX)
    # Each method sees harmless means in the lanes that it does not decide.
    by_product = poisson_by_product(key, jnp.where(few, lam, 0), dtype, limit)
    by_rejection = poisson_by_rejection(key, jnp.where(few, np.float32(1e5), lam), limit).astype(dtype)
    return jnp.where(lam == 0, dtype.type(0), jnp.where(few, by_product, by_rejection))


def poisson_by_product(key, lam, dtype, limit):
    """How many uniforms can be multiplied before the product falls below exp(-lam)."""

    def unfinished(state):
        step, _, _, log_product = state
        return (log_product > -lam).any() & (step < limit)

    def multiply(state):
        step, count, key, log_product = state
        key, draw_key = split_key(key)
        count = jnp.where(log_product > -lam, count + dtype.type(1), count)
        return step + 1, count, key, log_product + jnp.log(uniform_floats(draw_key, 0.0, 1.0, lam.shape, FLOAT32))

    start = (jnp.int32(0), jnp.zeros(lam.shape, dtype), key, jnp.zeros(lam.shape, FLOAT32))
    return lax.while_loop(unfinished, multiply, start)[1] - dtype.type(1)


def poisson_by_rejection(key, lam, limit):
    log_lam = jnp.log(lam)
    b = 0.931 + 2.53 * jnp.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)

    def draw(u_key, v_key):
        u = uniform_floats(u_key, 0.0, 1.0, lam.shape, FLOAT32) - 0.5
        v = uniform_floats(v_key, 0.0, 1.0, lam.shape, FLOAT32)
        room = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / room + b) * u + lam + 0.43)
        quickly = (room >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        out = (k < 0) | ((room < 0.013) & (v > room))
        exactly = jnp.log(v * inverse_alpha / (a / (room * room) + b)) <= k * log_lam - lam - lax.lgamma(k + 1)
        return k, quickly | (~out & exactly)

    return until_accepted(draw, key, lam.shape, FLOAT32, limit)


def until_accepted(draw, key, shape, dtype, limit):
    """``draw(key1, key2) -> (samples, accepted)`` again and again, until each element was accepted; -1 where none was.

    An element that is accepted more than once takes its last value, which has the same distribution.
    """

    def unfinished(state):
        step, _, done, _ = state
        return ~done.all() & (step < limit)

    def again(state):
        step, samples, done, key = state
        key, key1, key2 = split_key(key, (3,))
        drawn, accepted = draw(key1, key2)
        return step + 1, jnp.where(accepted, drawn, samples), done | accepted, key

    start = (jnp.int32(0), jnp.full(shape, -1, dtype), jnp.zeros(shape, bool), key)
    return lax.while_loop(unfinished, again, start)[1]


def binomial(key, n, p, shape=None, dtype=None):
    """Binomial samples, as floats: the number of successes in ``n`` trials of success probability ``p``.

    Geometric inversion for ``n min(p, 1 - p) <= 10``, else Hörmann's transformed rejection BTRS (1993). Invalid
    parameters give nan.

    >>> from tracejit import random
    >>> bool(random.binomial(random.key(0), 10, 0.3) <= 10)
    True
    """
    key, dtype = single_key("binomial", key), float_dtype("binomial", dtype)
    return binomial_samples(key, n, p, broadcast_shape("binomial", shape, n, p), dtype)


@partial(jit, static_argnames=("shape", "dtype"))
def binomial_samples(key, n, p, shape, dtype):
    (p,) = inexact(p)
    n, p = (jnp.broadcast_to(lax.convert_element_type(x, p.dtype), shape) for x in (n, p))
    rare = jnp.where(p < 0.5, p, 1 - p)
    no_count, no_chance = jnp.isnan(n) | (n < 0), jnp.isnan(rare) | (rare < 0)
    safe = jnp.where(no_chance, p.dtype.type(0.01), rare)
    few, whole = no_count | (n * safe <= 10), jnp.floor(n)
    # Each method sees harmless parameters in the lanes that it does not decide.
    by_inversion = binomial_by_inversion(key, jnp.where(few, whole, 0), safe)
    by_rejection = binomial_by_rejection(key, jnp.where(few, p.dtype.type(1e4), whole),
                                         jnp.where(few, p.dtype.type(0.5), safe))
    samples = jnp.where(few, by_inversion, by_rejection).astype(dtype)
    samples = jnp.where(no_chance | no_count, dtype.type(np.nan), samples)
    samples = jnp.where(jnp.isinf(n) & ~no_chance & ~no_count, dtype.type(np.inf), samples)
    mirrored = ~((p < 0.5) | no_count | jnp.isnan(rare) | jnp.isinf(n))
    return jnp.where(mirrored, whole.astype(dtype) - samples, samples)


def binomial_by_inversion(key, n, p):
    """How many geometric waiting times fit into n trials."""
    log_failure = jnp.log1p(-p)

    def unfinished(state):
        step, _, waited, _ = state
        return (waited <= n).any() & (step < INT32_MAX)

    def wait(state):
        step, count, waited, key = state
        draw_key, key = split_key(key)
        count = jnp.where(waited <= n, count + 1, count)
        u = uniform_floats(draw_key, 0.0, 1.0, n.shape, n.dtype)
        return step + 1, count, waited + jnp.ceil(jnp.log(u) / log_failure), key

    return lax.while_loop(unfinished, wait, (jnp.int32(0), jnp.zeros_like(n), jnp.zeros_like(n), key))[1] - 1


def binomial_by_rejection(key, n, p):
    deviation = jnp.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    odds, mode = p / (1 - p), jnp.floor((n + 1) * p)
    alpha = (2.83 + 5.1 / b) * deviation

    def draw(u_key, v_key):
        u = uniform_floats(u_key, 0.0, 1.0, n.shape, n.dtype) - 0.5
        v = uniform_floats(v_key, 0.0, 1.0, n.shape, n.dtype)
        room = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / room + b) * u + (n * p + 0.5))
        quickly = (room >= 0.07) & (v <= 0.92 - 4.2 / b)
        exactly = jnp.log(v * alpha / (a / (room * room) + b)) <= log_ratio_to_mode(n, k, mode, odds)
        return k, quickly | (~((k < 0) | (k > n)) & exactly)

    return until_accepted(draw, key, n.shape, n.dtype, INT32_MAX)


def log_ratio_to_mode(n, k, mode, odds):
    """The logarithm of the binomial probability of k over that of the mode, by Stirling's formula with its tail."""
    ratio = (mode + 0.5) * jnp.log((mode + 1) / (odds * (n - mode + 1)))
    ratio += (n + 1) * jnp.log((n - mode + 1) / (n - k + 1))
    ratio += (k + 0.5) * jnp.log(odds * (n - k + 1) / (k + 1))
    return ratio + stirling_tail(mode) + stirling_tail(n - mode) - stirling_tail(k) - stirling_tail(n - k)


def stirling_tail(k):
    square = jnp.square(jnp.clip(k, 0, 9) + 1)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (jnp.clip(k, 0, 9) + 1)
    table = jnp.asarray(np.array(STIRLING_TAIL, k.dtype))
    return jnp.where(k <= 9, table[jnp.clip(k, 0, 9).astype("int32")], series)


def multinomial(key, n, p, *, shape=None, dtype=None, unroll=1):
    """Multinomial samples, as floats: how often each category of probabilities ``p [..., k]`` occurs in ``n`` draws.

    ``shape`` (default: that of ``p``) includes the axis of categories. One binomial per category, conditioned on the
    ones before.

    >>> import tracejit.numpy as jnp
    >>> from tracejit import random
    >>> float(random.multinomial(random.key(0), 10, jnp.array([0.2, 0.3, 0.5])).sum())
    10.0
    """
    key = single_key("multinomial", key)
    n, p = inexact(n, p)
    shape = p.shape if shape is None else shape_of(shape)
    check_shape("multinomial", shape, p.shape)
    return multinomial_samples(key, n, p, shape, float_dtype("multinomial", dtype), unroll)


@partial(jit, static_argnames=("shape", "dtype", "unroll"))
def multinomial_samples(key, n, p, shape, dtype, unroll):
    p = jnp.moveaxis(jnp.broadcast_to(p, shape), -1, 0)
    remaining = lax.cumsum(p, axis=0, reverse=True)
    chances = p / jnp.where(remaining == 0, 1, remaining)

    def take(left, category):
        chance, key = category
        count = binomial_samples(key, left, jnp.clip(chance, 0, 1), left.shape, left.dtype)
        return left - count, count

    keys = split_key(key, (shape[-1],))
    _, counts = lax.scan(take, jnp.broadcast_to(n, shape[:-1]), (chances, keys), unroll=unroll)
    return jnp.moveaxis(counts, 0, -1).astype(dtype)

"""Samples of given things: permutations, choices from an array, categories of given log-probabilities."""
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import concrete_int

from .arguments import check_shape, shape_of
from .inverse import gumbel
from .keys import random_bits, single_key, split_key
from .normal import inexact
from .uniform import randint, uniform_floats


def permutation(key, x, axis=0, independent=False, *, out_sharding=None):
    """``x`` with its entries along ``axis`` in random order, or the numbers 0 .. x-1 in random order for an integer.

    ``independent`` shuffles every line along the axis in an order of its own.

    >>> from tracejit import random
    >>> print(random.permutation(random.key(0), 5).sum())
    10
    """
    key = single_key("permutation", key)
    if np.ndim(x) == 0:
        if not jnp.issubdtype(jnp.result_type(x), np.integer):
            raise TypeError(f"random.permutation takes an integer or an array with axes, got a {jnp.result_type(x)} "
                            "scalar")
        axis_of("permutation", axis, 1)
        return shuffled(key, jnp.arange(concrete_int(x, "x")), 0)
    x = jnp.asarray(x)
    axis = axis_of("permutation", axis, x.ndim)
    if independent or x.ndim == 1:
        return shuffled(key, x, axis)
    return jnp.take(x, shuffled(key, jnp.arange(x.shape[axis]), 0), axis=axis)


def axis_of(caller: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"random.{caller}: axis {axis} is out of range for an array of {ndim} axes")
    return axis % ndim


@partial(jit, static_argnames=("axis",))
def shuffled(key, x, axis):
    """Sort by random 32-bit keys, so often that ties (which keep their order) no longer matter: 2**32 over size
    cubed."""
    rounds = math.ceil(3 * math.log(max(1, x.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, sort_key = split_key(key)
        _, x = lax.sort_key_val(random_bits(sort_key, 32, x.shape), x, axis)
    return x


def choice(key, a, shape=(), replace=True, p=None, axis=0, mode=None):
    """Random entries of ``a`` along ``axis``, or of the numbers 0 .. a-1 for an integer.

    The sampled axis is replaced by the axes of ``shape``. ``p [n]`` gives the probabilities (default: equal). Without
    replacement and with ``p`` it is Gumbel top-k; ``mode`` is then that of `gumbel`.

    >>> from tracejit import random
    >>> print(sorted(random.choice(random.key(0), 4, (4,), replace=False).tolist()))
    [0, 1, 2, 3]
    """
    key = single_key("choice", key)
    if not isinstance(shape, Sequence):
        raise TypeError(f"random.choice: shape must be a sequence, got {shape}")
    shape, entries = shape_of(shape), jnp.asarray(a)
    count = operator.index(a) if entries.ndim == 0 else entries.shape[axis_of("choice", axis, entries.ndim)]
    axis = axis % max(entries.ndim, 1)
    result_shape = entries.shape[:axis] + shape + entries.shape[axis + 1:]
    if math.prod(shape) == 0:
        return jnp.zeros(result_shape if entries.ndim else shape, entries.dtype)
    check_draws(math.prod(shape), count, replace)
    if p is None and not replace:
        shuffled_entries = permutation(key, count if entries.ndim == 0 else entries, axis)
        return lax.slice_in_dim(shuffled_entries, 0, math.prod(shape), axis=axis).reshape(result_shape)
    indices = randint(key, shape, 0, count) if p is None else weighted_indices(key, count, shape, replace, p, mode)
    return indices if entries.ndim == 0 else jnp.take(entries, indices.reshape(-1), axis=axis).reshape(result_shape)


def check_draws(draws: int, count: int, replace: bool) -> None:
    if count <= 0:
        raise ValueError("random.choice: there is nothing to choose from: a must be greater than 0")
    if not replace and draws > count:
        raise ValueError(f"random.choice: cannot take {draws} of {count} entries without replacement")


def weighted_indices(key, count, shape, replace, p, mode):
    (p,) = inexact(jnp.asarray(p))
    if p.shape != (count,):
        raise ValueError(f"random.choice: p must have shape ({count},), one probability per entry, got {p.shape}")
    if not replace:
        scores = gumbel(key, (count,), p.dtype, mode) + jnp.log(p)
        return lax.top_k(scores, math.prod(shape))[1].astype(int).reshape(shape)
    cumulative = jnp.cumsum(p)
    target = cumulative[-1] * (1 - uniform_floats(key, 0.0, 1.0, shape, p.dtype))
    return jnp.searchsorted(cumulative, target).astype(int)


def categorical(key, logits, axis=-1, shape=None, replace=True, mode=None, *, out_sharding=None):
    """Random category indices for unnormalised log-probabilities along ``axis`` of ``logits``, by the Gumbel-max trick.

    ``shape`` is extra leading axes followed by the batch shape (that of ``logits`` without ``axis``), which is the
    default. Without replacement the categories along the extra axes differ.

    >>> import tracejit.numpy as jnp
    >>> from tracejit import random
    >>> print(random.categorical(random.key(0), jnp.array([0.0, 100.0])))
    1
    """
    key, logits = single_key("categorical", key), jnp.asarray(logits)
    axis = axis_of("categorical", axis, logits.ndim)
    batch = logits.shape[:axis] + logits.shape[axis + 1:]
    shape = batch if shape is None else shape_of(shape)
    check_shape("categorical", shape, batch)
    prefix = shape[:len(shape) - len(batch)]
    if replace:
        batch = shape[len(prefix):]
        noise = gumbel(key, (*prefix, *batch[:axis], logits.shape[axis], *batch[axis:]), logits.dtype, mode)
        return jnp.argmax(noise + logits, axis=axis - logits.ndim)
    return distinct_categories(logits + gumbel(key, logits.shape, logits.dtype, mode), axis, prefix, shape)


def distinct_categories(scores, axis, prefix, shape):
    draws = math.prod(prefix)
    if draws > scores.shape[axis]:
        raise ValueError(f"random.categorical: Number of samples without replacement ({draws}) cannot exceed number of "
                         f"categories ({scores.shape[axis]}).")
    _, indices = lax.top_k(jnp.moveaxis(scores, axis, -1), draws)
    return jnp.moveaxis(indices, -1, 0).reshape(shape)

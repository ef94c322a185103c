"""The generators ``rbg`` and ``unsafe_rbg``: key data ``uint32[4]``, bits from ``lax.rng_bit_generator``.

``rbg`` splits with Threefry on each half of the key; ``unsafe_rbg`` splits with the bit generator itself, which is
faster and has no statistical guarantee between the resulting streams.
"""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import lax, vmap

from . import threefry


def seed(value):
    half = threefry.seed(value)
    return jnp.concatenate([half, half])


def split(key, shape: tuple[int, ...]):
    halves = vmap(lambda half: threefry.split(half, shape), out_axes=len(shape))(key.reshape(2, 2))
    return halves.reshape(*shape, 4)


def fold_in(key, data):
    return vmap(lambda half: threefry.fold_in(half, data))(key.reshape(2, 2)).reshape(4)


def random_bits(key, width: int, shape: tuple[int, ...]):
    return lax.rng_bit_generator(key, shape, dtype=threefry.UINT_OF_WIDTH[width])[1]


def unsafe_split(key, shape: tuple[int, ...]):
    _, words = lax.rng_bit_generator(key, (10 * math.prod(shape), 4), dtype=threefry.UINT_OF_WIDTH[32])
    return words[::10].reshape(*shape, 4)


def unsafe_fold_in(key, data):
    _, words = lax.rng_bit_generator(seed(data), (10, 4), dtype=threefry.UINT_OF_WIDTH[32])
    return key ^ words[-1]

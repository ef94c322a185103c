"""Threefry-2x32: (key, 64-bit counter) -> 64 random bits, and the key algebra built on it.

Everything here works on raw key data, an array ``uint32[2]``, and is elementwise on iota counters, so that
random bits fuse with whatever consumes them and never exist in memory.
"""
from __future__ import annotations

import math

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config

# Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), table 2 and section 3.
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
UINT_OF_WIDTH = {8: np.dtype("uint8"), 16: np.dtype("uint16"), 32: np.dtype("uint32"), 64: np.dtype("uint64")}


def rotate_left(x, distance: int):
    return (x << np.uint32(distance)) | (x >> np.uint32(32 - distance))


def threefry2x32(key, high, low):
    """The block function: 20 rounds that mix the counter words ``(high, low)``, with a key injected after every
    fourth."""
    k0, k1 = lax.index_in_dim(key, 0, keepdims=False), lax.index_in_dim(key, 1, keepdims=False)
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = k0 + high, k1 + low
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = rotate_left(x1, distance) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def counters(size: int):
    """The counter words of positions 0 .. size-1; the high word stays a scalar while it is zero everywhere."""
    if size <= 2**32:
        return np.uint32(0), lax.iota(np.dtype("uint32"), size)
    position = lax.iota(np.dtype("uint64"), size)
    return (position >> np.uint64(32)).astype("uint32"), position.astype("uint32")


def stream(key, size: int):
    """The first words of a stream of exactly this length, as `threefry_partitionable` off has it: word ``i`` of the first
    half comes from the block of the counters ``i`` and ``i`` plus half the length, whose second word is that of the other half.
    """
    half = (size + 1) // 2
    counter = lax.iota(np.dtype("uint32"), half)
    other = counter + np.uint32(half)
    if size % 2:
        other = jnp.where(other < np.uint32(size), other, np.uint32(0))
    return jnp.concatenate(threefry2x32(key, counter, other))[:size]


def seed(value):
    """Key data of an integer scalar: its high and low 32 bits (a 32-bit integer has high bits 0)."""
    if value.dtype.itemsize < 8:
        low = lax.convert_element_type(value, np.dtype("uint32"))
        return jnp.stack([jnp.zeros_like(low), low])
    wide = lax.convert_element_type(value, np.dtype("uint64"))
    return jnp.stack([(wide >> np.uint64(32)).astype("uint32"), wide.astype("uint32")])


def split(key, shape: tuple[int, ...]):
    """``shape`` independent keys: block ``i`` of the stream is key ``i``."""
    if not config.threefry_partitionable:
        return stream(key, 2 * math.prod(shape)).reshape(*shape, 2)
    words = threefry2x32(key, *counters(math.prod(shape)))
    return jnp.stack(words, axis=-1).reshape(*shape, 2)


def fold_in(key, data):
    """The key that ``key`` and the uint32 scalar ``data`` determine."""
    return jnp.stack(threefry2x32(key, np.uint32(0), data))


def random_bits(key, width: int, shape: tuple[int, ...]):
    """Unsigned integers of ``width`` bits; element ``i`` depends on block ``i`` alone."""
    if not config.threefry_partitionable:
        return sequential_bits(key, width, math.prod(shape)).reshape(shape)
    high, low = threefry2x32(key, *counters(math.prod(shape)))
    if width == 64:
        bits = (high.astype("uint64") << np.uint64(32)) | low.astype("uint64")
    else:
        bits = (high ^ low).astype(UINT_OF_WIDTH[width])
    return lax.reshape(bits, shape)


def sequential_bits(key, width: int, size: int):
    """`size` unsigned integers cut from one stream of 32-bit words; wide ones take their high bits from its first half."""
    words = stream(key, -(-size * width // 32))
    if width == 64:
        high, low = jnp.split(words.astype("uint64"), 2)
        return (high << np.uint64(32)) | low
    places = np.arange(0, 32, width, dtype=np.uint32)
    return (words[:, None] >> places).reshape(-1)[:size].astype(UINT_OF_WIDTH[width])

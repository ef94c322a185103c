"""Threefry-2x32: (key, 64-bit counter) -> 64 random bits, and the key algebra built on it.

Everything here works on raw key data, an array ``uint32[2]``, and is elementwise on iota counters, so that
random bits fuse with whatever consumes them and never exist in memory.
"""
from __future__ import annotations

import math

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax

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


def seed(value):
    """Key data of an integer scalar: its high and low 32 bits (a 32-bit integer has high bits 0)."""
    if value.dtype.itemsize < 8:
        low = lax.convert_element_type(value, np.dtype("uint32"))
        return jnp.stack([jnp.zeros_like(low), low])
    wide = lax.convert_element_type(value, np.dtype("uint64"))
    return jnp.stack([(wide >> np.uint64(32)).astype("uint32"), wide.astype("uint32")])


def split(key, shape: tuple[int, ...]):
    """``shape`` independent keys: block ``i`` of the stream is key ``i``."""
    words = threefry2x32(key, *counters(math.prod(shape)))
    return jnp.stack(words, axis=-1).reshape(*shape, 2)


def fold_in(key, data):
    """The key that ``key`` and the uint32 scalar ``data`` determine."""
    return jnp.stack(threefry2x32(key, np.uint32(0), data))


def random_bits(key, width: int, shape: tuple[int, ...]):
    """Unsigned integers of ``width`` bits; element ``i`` depends on block ``i`` alone."""
    high, low = threefry2x32(key, *counters(math.prod(shape)))
    if width == 64:
        bits = (high.astype("uint64") << np.uint64(32)) | low.astype("uint64")
    else:
        bits = (high ^ low).astype(UINT_OF_WIDTH[width])
    return lax.reshape(bits, shape)

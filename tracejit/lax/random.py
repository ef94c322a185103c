"""Counter-based random bits: a key and a counter -> as many words as wanted, and the counter that follows.

    state = uint32[4] (key low, key high, counter low, counter high), or the same as uint64[2]
"""
from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import DtypeError, ShapeError, called_by_program, user_source
from tracejit.ir.types import requested_dtype, type_of
from tracejit.lax.bits import bitwise_or, bitwise_xor, shift_left, shift_right_logical
from tracejit.lax.broadcast import broadcast_in_dim, full_like, ints, iota
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import add, mul
from tracejit.lax.reinterpret import bitcast_convert_type
from tracejit.lax.shape import index_in_dim, reshape, slice_in_dim, stack

U32, U64 = np.dtype("uint32"), np.dtype("uint64")


class RandomAlgorithm(enum.IntEnum):
    """Which generator; the default is Philox."""
    RNG_DEFAULT = 0
    RNG_THREE_FRY = 1
    RNG_PHILOX = 2


def low(x): return convert_element_type(x, U32)


def high(x): return convert_element_type(shift_right_logical(x, 32), U32)


def joined(lo, hi): return bitwise_or(convert_element_type(lo, U64), shift_left(convert_element_type(hi, U64), 32))


PHILOX_MULTIPLIERS, PHILOX_WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


def philox(key: Sequence, counter: Sequence) -> list:
    """Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011): 2 key and 4 counter words to 4 random words."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    times = lambda x, m: mul(convert_element_type(x, U64), full_like(x, m, U64))
    for _ in range(10):
        first, second = times(c0, PHILOX_MULTIPLIERS[0]), times(c2, PHILOX_MULTIPLIERS[1])
        c0, c1, c2, c3 = (bitwise_xor(bitwise_xor(high(second), c1), k0), low(second),
                          bitwise_xor(bitwise_xor(high(first), c3), k1), low(first))
        k0, k1 = add(k0, np.uint32(PHILOX_WEYL[0])), add(k1, np.uint32(PHILOX_WEYL[1]))
    return [c0, c1, c2, c3]


ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: Sequence, counter: Sequence) -> list:
    """Threefry 2x32-20 (same paper): 2 key and 2 counter words to 2 random words."""
    keys = [*key, bitwise_xor(bitwise_xor(key[0], key[1]), np.uint32(0x1BD11BDA))]
    x, y = add(counter[0], keys[0]), add(counter[1], keys[1])
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x = add(x, y)
            y = bitwise_xor(bitwise_or(shift_left(y, r), shift_right_logical(y, 32 - r)), x)
        x = add(x, keys[(group + 1) % 3])
        y = add(add(y, keys[(group + 2) % 3]), np.uint32(group + 1))
    return [x, y]


def philox_bits(key: Sequence, counter, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Any, int]:
    """Words in blocks of four, one per element (its low bits) or two; and how far the counter moves."""
    size, per = math.prod(shape), 2 if dtype == U64 else 1
    blocks = -(-size * per // 4)
    place = add(iota(U64, blocks), counter)
    # XLA counts in 128 bits, of which the key is the upper half.
    upper = [broadcast_in_dim(k, (blocks,), ()) for k in key]
    words = reshape(stack(philox(key, [low(place), high(place), *upper]), 1), (4 * blocks,))
    words = slice_in_dim(words, 0, size * per)
    if dtype == U64:
        return reshape(bitcast_convert_type(reshape(words, (size, 2)), U64), shape), blocks
    return reshape(convert_element_type(words, dtype), shape), blocks


def threefry_bits(key: Sequence, counter, shape: tuple[int, ...], dtype: np.dtype) -> tuple[Any, int]:
    """Words in pairs: neighbours along the first even axis, else along the longest, where the last is dropped."""
    if dtype == U64:
        size = math.prod(shape)
        place = add(iota(U64, size), counter)
        return reshape(joined(*threefry(key, [low(place), high(place)])), shape), size
    whole = shape or (1,)
    axis = next((i for i, n in enumerate(whole) if n % 2 == 0), whole.index(max(whole)))
    half = (*whole[:axis], -(-whole[axis] // 2), *whole[axis + 1:])
    place = reshape(add(iota(U64, math.prod(half)), counter), half)
    both = stack(threefry(key, [low(place), high(place)]), axis + 1)
    words = reshape(both, (*whole[:axis], 2 * half[axis], *whole[axis + 1:]))
    return reshape(convert_element_type(slice_in_dim(words, 0, whole[axis], 1, axis), dtype), shape), math.prod(half)


@config.setting(enable_x64=True)  # words are multiplied and counted in 64 bits, also where a program's inputs are truncated
def rng_bit_generator(key: Any, shape: Sequence[int], dtype: Any = np.uint32,
                      algorithm: RandomAlgorithm = RandomAlgorithm.RNG_DEFAULT, *, out_sharding: Any = None) -> tuple:
    """(the state that follows, random unsigned integers of `shape`) from a state, uint32[4] or uint64[2].

    The bits are those of XLA's generator on the CPU. ShapeError and DtypeError for other states and dtypes.

    >>> state, bits = rng_bit_generator(np.zeros(4, np.uint32), (2,))
    >>> print(state, bits)
    [0 0 1 0] [1713891541 3781805453]
    """
    t, dtype, shape = type_of(key), requested_dtype(dtype, called_by_program()), ints(shape)
    if (t.shape, t.dtype) not in (((4,), U32), ((2,), U64)):
        raise ShapeError(f"rng_bit_generator: the state must be uint32[4] or uint64[2], not {t}", source=user_source(),
                         fix="use tracejit.random.key, which makes states")
    if dtype.kind != "u":
        raise DtypeError(f"rng_bit_generator: bits come as unsigned integers, not {dtype}", source=user_source(),
                         fix="convert them, or use tracejit.random")
    words = key if t.dtype == U32 else reshape(bitcast_convert_type(key, U32), (4,))
    k0, k1, c0, c1 = (index_in_dim(words, i, 0, keepdims=False) for i in range(4))
    counter = joined(c0, c1)
    make = threefry_bits if algorithm == RandomAlgorithm.RNG_THREE_FRY else philox_bits
    bits, moved = make((k0, k1), counter, shape, dtype)
    counter = add(counter, np.uint64(moved))
    state = stack([k0, k1, low(counter), high(counter)])
    return state if t.dtype == U32 else bitcast_convert_type(reshape(state, (2, 2)), U64), bits

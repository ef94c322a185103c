"""Maps integers and integer exponents to powers, by repeated squaring."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import kind_of
from tracejit.numpy.promotion import Array, cast_numpy, expand_to


def integer_to_integer(x1: Array, x2: Array) -> Array:
    """By repeated squaring, which wraps around as products do; negative exponents give 0, or +-1 for a base of +-1."""
    shape = np.broadcast_shapes(np.shape(x1), np.shape(x2))
    x1, x2 = expand_to(x1, shape), expand_to(x2, shape)
    zero, one = cast_numpy(0, x1.dtype), cast_numpy(1, x1.dtype)
    bits = x1.dtype.itemsize * 8 - (kind_of(x1.dtype) == "i")

    def step(_: Any, state: tuple) -> tuple:
        out, base, exponent = state
        odd = lax.ne(lax.bitwise_and(exponent, one), zero)
        out = lax.mul(out, lax.select(odd, base, lax.full_like(base, 1)))
        return out, lax.mul(base, base), lax.shift_right_logical(exponent, one)

    out, *_ = lax.fori_loop(0, bits, step, (lax.full_like(x1, 1, x1.dtype), x1, x2))
    if kind_of(x1.dtype) == "u":
        return out
    unit = lax.bitwise_or(lax.eq(x1, one), lax.eq(x1, cast_numpy(-1, x1.dtype)))
    return lax.select(lax.bitwise_and(lax.lt(x2, zero), lax.bitwise_not(unit)), lax.full_like(out, 0), out)

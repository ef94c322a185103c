"""Maps arrays of bits to bytes and back."""

from __future__ import annotations

import numpy as np

from tracejit import lax
from tracejit.numpy import reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.manipulation import moveaxis, ravel
from tracejit.numpy.promotion import Array, ArrayLike, as_array, canonical_axis, check_arraylike, expand_to

BYTE = np.dtype("uint8")


def _shifts(bitorder: str) -> np.ndarray:
    if bitorder not in ("little", "big"):
        raise ValueError("'order' must be either 'little' or 'big'")
    order = np.arange(8, dtype=BYTE)
    return order if bitorder == "little" else order[::-1].copy()


@compiled
def packbits(a: ArrayLike, axis: int | None = None, bitorder: str = "big") -> Array:
    """Eight truth values along an axis as one byte; missing ones are 0.

    >>> jnp.packbits(jnp.array([1, 0, 1]))
    Array([160], dtype=uint8)
    """
    check_arraylike("packbits", a)
    x = as_array(a)
    if x.dtype.kind not in "biu":
        raise TypeError("Expected an input array of integer or boolean data type")
    x = ravel(x) if axis is None else x
    axis = 0 if axis is None else canonical_axis(axis, x.ndim)
    x = moveaxis(lax.convert_element_type(lax.convert_element_type(x, np.dtype(bool)), BYTE), axis, -1)
    missing = -x.shape[-1] % 8
    x = lax.pad(x, np.uint8(0), [(0, missing if i == x.ndim - 1 else 0, 0) for i in range(x.ndim)]) if missing else x
    x = lax.reshape(x, (*x.shape[:-1], x.shape[-1] // 8, 8))
    x = lax.shift_left(x, expand_to(_shifts(bitorder), x.shape))
    return moveaxis(reductions.sum(x, -1, dtype=BYTE), -1, axis)


@compiled
def unpackbits(a: ArrayLike, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Array:
    """The bits of bytes along an axis: `count` of them, or all but `-count`.

    >>> jnp.unpackbits(jnp.array([160], dtype=jnp.uint8), count=3)
    Array([1, 0, 1], dtype=uint8)
    """
    check_arraylike("unpackbits", a)
    x = as_array(a)
    if x.dtype != BYTE:
        raise TypeError("Expected an input array of unsigned byte data type")
    x = ravel(x) if axis is None else x
    axis = 0 if axis is None else canonical_axis(axis, x.ndim)
    x = moveaxis(x, axis, -1)
    shape = (*x.shape, 8)
    bits = lax.shift_right_logical(
        lax.broadcast_in_dim(x, shape, tuple(range(x.ndim))), expand_to(_shifts(bitorder), shape)
    )
    bits = lax.reshape(lax.bitwise_and(bits, np.uint8(1)), (*x.shape[:-1], x.shape[-1] * 8))
    if count is not None:
        n = bits.shape[-1]
        keep = count if count >= 0 else max(n + count, 0)
        if keep > n:
            bits = lax.pad(bits, np.uint8(0), [(0, keep - n if i == bits.ndim - 1 else 0, 0) for i in range(bits.ndim)])
        bits = lax.slice_in_dim(bits, 0, keep, axis=bits.ndim - 1)
    return moveaxis(bits, -1, axis)

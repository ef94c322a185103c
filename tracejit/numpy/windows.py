"""Maps a length to a window function of signal processing."""

from __future__ import annotations

import math

from tracejit import lax
from tracejit.ir.types import default_dtype
from tracejit.numpy.promotion import Array, ArrayLike, cast_numpy, concrete_int, convert
from tracejit.numpy.transcendental import i0


def _angles(M: int, turns: int) -> tuple[int, Array]:
    """(length, angles that go round `turns` times from the first to the last point)."""
    M = concrete_int(M, "M")
    dtype = default_dtype("f")
    return M, lax.mul(lax.iota(dtype, max(M, 0)), cast_numpy(2 * math.pi * turns / max(M - 1, 1), dtype))


def _cosines(M: int, coefficients: tuple[float, ...]) -> Array:
    if M <= 1:
        return lax.full((max(M, 0),), 1, default_dtype("f"))
    out = lax.full((M,), coefficients[0], default_dtype("f"))
    for turns, c in enumerate(coefficients[1:], 1):
        out = lax.add(out, lax.mul(cast_numpy(c, out.dtype), lax.cos(_angles(M, turns)[1])))
    return out


def blackman(M: int) -> Array:
    """The Blackman window: 0.42 - 0.5 cos + 0.08 cos of twice the angle.

    >>> jnp.abs(jnp.blackman(3).round(2))
    Array([0., 1., 0.], dtype=float32)
    """
    return _cosines(concrete_int(M, "M"), (0.42, -0.5, 0.08))


def hamming(M: int) -> Array:
    """The Hamming window: 0.54 - 0.46 cos.

    >>> jnp.hamming(3).round(2)
    Array([0.08, 1.  , 0.08], dtype=float32)
    """
    return _cosines(concrete_int(M, "M"), (0.54, -0.46))


def hanning(M: int) -> Array:
    """The Hann window: 0.5 - 0.5 cos.

    >>> jnp.hanning(3).round(2)
    Array([0., 1., 0.], dtype=float32)
    """
    return _cosines(concrete_int(M, "M"), (0.5, -0.5))


def bartlett(M: int) -> Array:
    """The triangular window with zeros at the ends.

    >>> jnp.bartlett(3)
    Array([0., 1., 0.], dtype=float32)
    """
    M, dtype = concrete_int(M, "M"), default_dtype("f")
    if M <= 1:
        return lax.full((max(M, 0),), 1, dtype)
    place = lax.mul(lax.iota(dtype, M), cast_numpy(2 / (M - 1), dtype))
    return lax.sub(cast_numpy(1, dtype), lax.abs(lax.sub(place, cast_numpy(1, dtype))))


def kaiser(M: int, beta: ArrayLike) -> Array:
    """The Kaiser window I0(beta sqrt(1 - t^2)) / I0(beta).

    >>> jnp.kaiser(3, 0.0)
    Array([1., 1., 1.], dtype=float32)
    """
    M, dtype = concrete_int(M, "M"), default_dtype("f")
    if M <= 1:
        return lax.full((max(M, 0),), 1, dtype)
    half = cast_numpy((M - 1) / 2, dtype)
    t = lax.div(lax.sub(lax.iota(dtype, M), half), half)
    beta = convert(beta, dtype)
    root = lax.sqrt(lax.max(lax.sub(cast_numpy(1, dtype), lax.square(t)), cast_numpy(0, dtype)))
    return lax.div(i0(lax.mul(beta, root)), i0(beta))

"""Cosine transforms of type 2 and their inverses, by fast Fourier transforms of the same length."""
from __future__ import annotations

import math
import operator

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.numpy.promotion import canonical_axis, inexact


def checked(name: str, x, type: int, norm):
    if type != 2:
        raise NotImplementedError(f"{name}: only type 2 is supported, got {type}")
    if norm not in (None, "backward", "ortho"):
        raise ValueError(f"{name}: norm must be None, 'backward' or 'ortho', got {norm!r}")
    return jnp.asarray(inexact(name, x))


def sized(x, n: int | None, axis: int):
    """x cut or padded with zeros to n entries along an axis."""
    if n is None or n == x.shape[axis]:
        return x
    x = lax.slice_in_dim(x, 0, min(n, x.shape[axis]), axis=axis)
    return jnp.pad(x, [(0, n - size if i == axis else 0) for i, size in enumerate(x.shape)])


def along(values, axis: int, ndim: int):
    return values.reshape(*(-1 if i == axis else 1 for i in range(ndim)))


def ortho_factors(n: int) -> np.ndarray:
    """What makes the transform matrix orthogonal."""
    return np.where(np.arange(n) == 0, math.sqrt(1 / (4 * n)), math.sqrt(1 / (2 * n)))


def dct(x, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None):
    """The cosine transform 2 sum x[j] cos(pi k (2 j + 1) / (2 n)) along an axis; norm 'ortho' makes it orthogonal.

    >>> import tracejit.numpy as jnp
    >>> print(dct(jnp.ones(1)))
    [2.]
    """
    x = checked("dct", x, type, norm)
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return lax.complex(dct(x.real, type, n, axis, norm), dct(x.imag, type, n, axis, norm))
    axis = canonical_axis(axis, x.ndim)
    x = sized(x, n, axis)
    n = x.shape[axis]
    # Makhoul (1980): even entries forwards, then odd ones backwards, make one transform of n points enough.
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])
    spectrum = jnp.fft.fft(jnp.take(x, order, axis=axis), axis=axis)
    angle = np.pi * np.arange(n) / (2 * n)
    cosine, sine = (along(jnp.asarray(2 * wave, x.dtype), axis, x.ndim) for wave in (np.cos(angle), np.sin(angle)))
    out = spectrum.real * cosine + spectrum.imag * sine
    return out * along(jnp.asarray(ortho_factors(n), x.dtype), axis, x.ndim) if norm == "ortho" else out


def idct(x, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None):
    """The inverse of `dct` with the same arguments.

    >>> import tracejit.numpy as jnp
    >>> print(idct(jnp.array([2.])))
    [1.]
    """
    x = checked("idct", x, type, norm)
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return lax.complex(idct(x.real, type, n, axis, norm), idct(x.imag, type, n, axis, norm))
    axis = canonical_axis(axis, x.ndim)
    x = sized(x, n, axis)
    n = x.shape[axis]
    if norm == "ortho":
        x = x / along(jnp.asarray(ortho_factors(n), x.dtype), axis, x.ndim)
    # The spectrum of the reordered signal is (x[k] - i x[n - k]) exp(i pi k / (2 n)) / 2, with x[n] = 0.
    reverse = jnp.roll(jnp.flip(x, axis), 1, axis)
    reverse = jnp.where(along(jnp.arange(n) == 0, axis, x.ndim), 0, reverse)
    angle = np.pi * np.arange(n) / (2 * n)
    cosine, sine = (along(jnp.asarray(wave / 2, x.dtype), axis, x.ndim) for wave in (np.cos(angle), np.sin(angle)))
    spectrum = lax.complex(x * cosine + reverse * sine, x * sine - reverse * cosine)
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])
    return jnp.take(jnp.fft.ifft(spectrum, axis=axis).real, np.argsort(order), axis=axis)


def axes_and_sizes(x, s, axes) -> list[tuple[int, int | None]]:
    sizes = None if s is None else [operator.index(size) for size in (s if np.ndim(s) else (s,))]
    if axes is None:
        axes = range(x.ndim) if sizes is None else range(x.ndim - len(sizes), x.ndim)
    axes = [canonical_axis(axis, x.ndim) for axis in (axes if np.ndim(axes) else (axes,))]
    if sizes is not None and len(sizes) != len(axes):
        raise ValueError(f"s must have one size per axis, got {sizes} for axes {axes}")
    return list(zip(axes, sizes or [None] * len(axes)))


def dctn(x, type: int = 2, s=None, axes=None, norm: str | None = None):
    """`dct` along several axes (default: all, or the last ones if sizes s are given).

    >>> import tracejit.numpy as jnp
    >>> print(dctn(jnp.ones((1, 1))))
    [[4.]]
    """
    x = checked("dctn", x, type, norm)
    for axis, size in axes_and_sizes(x, s, axes):
        x = dct(x, type, size, axis, norm)
    return x


def idctn(x, type: int = 2, s=None, axes=None, norm: str | None = None):
    """The inverse of `dctn` with the same arguments.

    >>> import tracejit.numpy as jnp
    >>> print(idctn(jnp.array([[4.]])))
    [[1.]]
    """
    x = checked("idctn", x, type, norm)
    for axis, size in axes_and_sizes(x, s, axes):
        x = idct(x, type, size, axis, norm)
    return x

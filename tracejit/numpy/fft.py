"""jax.numpy.fft: discrete Fourier transforms of any length along any axes, in terms of lax.fft."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import complex_dtype
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import conjugate
from tracejit.numpy.creation import place_on
from tracejit.numpy.manipulation import moveaxis, roll
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    canonical_axes,
    cast_numpy,
    check_arraylike,
    convert,
    dtype_or,
    inexact,
)

_FORWARD, _INVERSE = ("fft", "rfft"), ("ifft", "irfft")
_KIND = {"fft": "FFT", "ifft": "IFFT", "rfft": "RFFT", "irfft": "IRFFT"}


def _transform(
    name: str, kind: str, a: ArrayLike, s: Sequence[int] | None, axes: Sequence[int] | None, norm: str | None
) -> Array:
    """The transform over several axes; those past the third one by one, since lax.fft takes three at most."""
    check_arraylike(f"jnp.fft.{name}", a)
    x = as_array(inexact(name, a))
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f'Invalid norm value {norm!r}; should be "backward", "ortho" or "forward".')
    if s is not None and axes is not None and len(s) != len(axes):
        raise ValueError(f"jax.numpy.fft.{name}: axes and s must have the same length; got {s=} {axes=}")
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    if len(set(axes)) < len(axes):
        raise ValueError(f"jax.numpy.fft.{name} does not support repeated axes. Got axes {axes}.")
    axes = canonical_axes(tuple(axes), x.ndim)
    if not axes:
        return lax.convert_element_type(x, complex_dtype(x.dtype)) if kind != "irfft" else lax.real(x)
    if kind == "rfft" and x.dtype.kind == "c":
        raise ValueError(f"input to jax.numpy.fft.{name} must be real, got {x.dtype}.")
    if kind != "rfft":
        x = convert(x, complex_dtype(x.dtype))
    sizes = _sizes(x, kind, s, axes)
    if 0 in sizes:
        shape = [dict(zip(axes, sizes)).get(d, n) for d, n in enumerate(x.shape)]
        return lax.full(shape, 0, x.real.dtype if kind == "irfft" else x.dtype)
    x = moveaxis(x, axes, range(x.ndim - len(axes), x.ndim)) if axes != tuple(range(x.ndim - len(axes), x.ndim)) else x
    wanted = (*sizes[:-1], sizes[-1] // 2 + 1) if kind == "irfft" else sizes
    x = _resized(x, wanted)
    out = _in_threes(x, kind, sizes)
    out = _scaled(out, kind, sizes, norm)
    return (
        moveaxis(out, range(out.ndim - len(axes), out.ndim), axes)
        if axes != tuple(range(out.ndim - len(axes), out.ndim))
        else out
    )


def _sizes(x: Array, kind: str, s: Sequence[int] | None, axes: tuple[int, ...]) -> tuple[int, ...]:
    sizes = [x.shape[i] for i in axes] if s is None else [operator.index(n) for n in s]
    if s is None and kind == "irfft":
        sizes[-1] = max(2 * (sizes[-1] - 1), 0)
    empty = s is None and kind != "rfft" and min(sizes) == 0  # what has no elements has no frequencies either
    if min(sizes) < 1 and not empty:
        raise ValueError(f"Shape should be non-negative and not empty, got {sizes}.")
    return tuple(sizes)


def _resized(x: Array, sizes: tuple[int, ...]) -> Array:
    """The last axes cut, or filled with zeros, to these sizes."""
    lead = x.ndim - len(sizes)
    limits = (*x.shape[:lead], *(min(n, d) for n, d in zip(sizes, x.shape[lead:], strict=True)))
    x = lax.slice(x, (0,) * x.ndim, limits) if limits != x.shape else x
    if x.shape[lead:] == sizes:
        return x
    config = [(0, 0, 0)] * lead + [(0, n - d, 0) for n, d in zip(sizes, x.shape[lead:], strict=True)]
    return lax.pad(x, cast_numpy(0, x.dtype), config)


def _in_threes(x: Array, kind: str, sizes: tuple[int, ...]) -> Array:
    if len(sizes) <= 3:
        return lax.fft(x, _KIND[kind], sizes)
    lead, last = sizes[:-3], sizes[-3:]
    others = tuple(range(x.ndim - len(sizes), x.ndim - 3))
    complex_kind = "fft" if kind in _FORWARD else "ifft"
    if kind in _FORWARD:
        x = lax.fft(x, _KIND[kind], last)
    for axis, n in zip(others, lead, strict=True):
        x = moveaxis(lax.fft(moveaxis(x, axis, -1), _KIND[complex_kind], (n,)), -1, axis)
    return x if kind in _FORWARD else lax.fft(x, _KIND[kind], last)


def _scaled(x: Array, kind: str, sizes: tuple[int, ...], norm: str | None) -> Array:
    n = float(np.prod([float(d) for d in sizes]))
    forward = kind in _FORWARD
    factor = {None: 1.0, "backward": 1.0, "ortho": n ** (-0.5 if forward else 0.5), "forward": 1 / n if forward else n}[
        norm
    ]
    return x if factor == 1.0 else lax.mul(x, cast_numpy(factor, x.dtype))


def _one(n: int | None) -> list[int] | None:
    return None if n is None else [operator.index(n)]


def _one_axis(name: str, axis: Any) -> list[int]:
    if isinstance(axis, (tuple, list)):
        raise ValueError(f"jax.numpy.fft.{name} does not support multiple axes. Please use jax.numpy.fft.{name}n. "
                         f"Got axis = {axis!r}.")
    return [axis]


@compiled
def fft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The discrete Fourier transform along an axis, cut or padded to length n.

    >>> jnp.fft.fft(jnp.array([1.0, 0.0]))
    Array([1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _transform("fft", "fft", a, _one(n), _one_axis("fft", axis), norm)


@compiled
def ifft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `fft`.

    >>> jnp.fft.ifft(jnp.array([1.0, 1.0]))
    Array([1.+0.j, 0.+0.j], dtype=complex64)
    """
    return _transform("ifft", "ifft", a, _one(n), _one_axis("ifft", axis), norm)


@compiled
def rfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The transform of real values: the n // 2 + 1 non-redundant frequencies.

    >>> jnp.fft.rfft(jnp.ones(4)).shape
    (3,)
    """
    return _transform("rfft", "rfft", a, _one(n), _one_axis("rfft", axis), norm)


@compiled
def irfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `rfft`, n real values (2 (m - 1) of m frequencies by default).

    >>> jnp.fft.irfft(jnp.array([4.0, 0.0, 0.0]))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    return _transform("irfft", "irfft", a, _one(n), _one_axis("irfft", axis), norm)


def _swapped_norm(norm: str | None) -> str:
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f'Invalid norm value {norm!r}; should be "backward", "ortho" or "forward".')
    return {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}[norm]


@compiled
def hfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The transform of a signal with Hermitian symmetry, which is real.

    >>> jnp.fft.hfft(jnp.array([1.0, 0.0, 0.0]))
    Array([1., 1., 1., 1.], dtype=float32)
    """
    check_arraylike("jnp.fft.hfft", a)
    return _transform("hfft", "irfft", conjugate(a), _one(n), _one_axis("hfft", axis), _swapped_norm(norm))


@compiled
def ihfft(a: ArrayLike, n: int | None = None, axis: int = -1, norm: str | None = None) -> Array:
    """The inverse of `hfft`.

    >>> jnp.fft.ihfft(jnp.ones(4)).shape
    (3,)
    """
    return conjugate(_transform("ihfft", "rfft", a, _one(n), _one_axis("ihfft", axis), _swapped_norm(norm)))


def fftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The transform over several axes, all by default.

    >>> jnp.fft.fftn(jnp.ones((2, 2)))[0, 0]
    Array(4.+0.j, dtype=complex64)
    """
    return _transform("fftn", "fft", a, s, axes, norm)


def ifftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The inverse of `fftn`.

    >>> jnp.fft.ifftn(jnp.ones((2, 2)))[0, 0]
    Array(1.+0.j, dtype=complex64)
    """
    return _transform("ifftn", "ifft", a, s, axes, norm)


def rfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The transform of real values over several axes; the last one keeps its non-redundant half.

    >>> jnp.fft.rfftn(jnp.ones((2, 4))).shape
    (2, 3)
    """
    return _transform("rfftn", "rfft", a, s, axes, norm)


def irfftn(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str | None = None
) -> Array:
    """The inverse of `rfftn`.

    >>> jnp.fft.irfftn(jnp.ones((2, 3))).shape
    (2, 4)
    """
    return _transform("irfftn", "irfft", a, s, axes, norm)


def _two(name: str, axes: Sequence[int]) -> Sequence[int]:
    if len(axes) != 2:
        raise ValueError(f"jax.numpy.fft.{name} only supports 2 axes. Got axes = {axes!r}.")
    return axes


def fft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
) -> Array:
    """The transform over two axes.

    >>> jnp.fft.fft2(jnp.ones((2, 2)))[0, 0]
    Array(4.+0.j, dtype=complex64)
    """
    return _transform("fft2", "fft", a, s, _two("fft2", axes), norm)


def ifft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
) -> Array:
    """The inverse of `fft2`.

    >>> jnp.fft.ifft2(jnp.ones((2, 2)))[0, 0]
    Array(1.+0.j, dtype=complex64)
    """
    return _transform("ifft2", "ifft", a, s, _two("ifft2", axes), norm)


def rfft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
) -> Array:
    """The transform of real values over two axes.

    >>> jnp.fft.rfft2(jnp.ones((2, 4))).shape
    (2, 3)
    """
    return _transform("rfft2", "rfft", a, s, _two("rfft2", axes), norm)


def irfft2(
    a: ArrayLike, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1), norm: str | None = None
) -> Array:
    """The inverse of `rfft2`.

    >>> jnp.fft.irfft2(jnp.ones((2, 3))).shape
    (2, 4)
    """
    return _transform("irfft2", "irfft", a, s, _two("irfft2", axes), norm)


def _spaced(counts: Array, n: int, d: ArrayLike, dtype: np.dtype, device: Any) -> Array:
    step = lax.mul(as_array(convert(d, dtype)), cast_numpy(n, dtype))
    return place_on(lax.div(lax.convert_element_type(counts, dtype), step), device)


def _count(name: str, n: int, d: ArrayLike) -> int:
    if isinstance(n, (list, tuple)):
        raise ValueError(f"The n argument of jax.numpy.fft.{name} only takes an int. Got n = {list(n)}.")
    if isinstance(d, (list, tuple)):
        raise ValueError(f"The d argument of jax.numpy.fft.{name} only takes a single value. Got d = {list(d)}.")
    return operator.index(n)


def fftfreq(n: int, d: ArrayLike = 1.0, *, dtype: DTypeLike | None = None, device: Any = None) -> Array:
    """The frequencies of fft's results, for samples at distance d.

    >>> jnp.fft.fftfreq(4)
    Array([ 0.  ,  0.25, -0.5 , -0.25], dtype=float32)
    """
    n = _count("fftfreq", n, d)
    counts = np.concatenate([np.arange((n - 1) // 2 + 1), np.arange(-(n // 2), 0)]).astype(np.int32)
    return _spaced(as_array(counts), n, d, dtype_or(dtype, float), device)


def rfftfreq(n: int, d: ArrayLike = 1.0, *, dtype: DTypeLike | None = None, device: Any = None) -> Array:
    """The frequencies of rfft's results, for samples at distance d.

    >>> jnp.fft.rfftfreq(4)
    Array([0.  , 0.25, 0.5 ], dtype=float32)
    """
    n = _count("rfftfreq", n, d)
    return _spaced(lax.iota(np.dtype("int32"), n // 2 + 1), n, d, dtype_or(dtype, float), device)


@compiled
def fftshift(x: ArrayLike, axes: Any = None) -> Array:
    """The zero frequency moved to the middle.

    >>> jnp.fft.fftshift(jnp.array([0, 1, -1]))
    Array([-1,  0,  1], dtype=int32)
    """
    check_arraylike("jnp.fft.fftshift", x)
    axes = canonical_axes(axes, np.ndim(x))
    return roll(x, tuple(np.shape(x)[i] // 2 for i in axes), axes)


@compiled
def ifftshift(x: ArrayLike, axes: Any = None) -> Array:
    """The inverse of `fftshift`.

    >>> jnp.fft.ifftshift(jnp.array([-1, 0, 1]))
    Array([ 0,  1, -1], dtype=int32)
    """
    check_arraylike("jnp.fft.ifftshift", x)
    axes = canonical_axes(axes, np.ndim(x))
    return roll(x, tuple(-(np.shape(x)[i] // 2) for i in axes), axes)

"""Convolution and correlation of arrays of any number of axes, by sums of products or by Fourier transforms."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.numpy.promotion import canonical_axis, promote_dtypes_inexact

MODES = ("full", "same", "valid")


def operands(name: str, in1, in2, mode: str):
    if mode not in MODES:
        raise ValueError(f"{name}: mode must be one of {MODES}, got {mode!r}")
    in1, in2 = (jnp.asarray(x) for x in promote_dtypes_inexact(name, jnp.asarray(in1), jnp.asarray(in2)))
    if in1.ndim != in2.ndim:
        raise ValueError(f"{name} takes two arrays of as many axes, got shapes {in1.shape} and {in2.shape}")
    return in1, in2


def ordered(name: str, in1, in2):
    """The pair with the larger one first, where one must be at least as large as the other along every axis."""
    if all(a >= b for a, b in zip(in1.shape, in2.shape)):
        return in1, in2
    if all(a <= b for a, b in zip(in1.shape, in2.shape)):
        return in2, in1
    raise ValueError(f"{name}: one input must be at least as large as the other along every axis, got {in1.shape} and "
                     f"{in2.shape}")


def direct(name: str, in1, in2, mode: str, precision):
    in1, in2 = operands(name, in1, in2, mode)
    if 0 in in1.shape or 0 in in2.shape:
        raise ValueError(f"{name} does not take empty arrays, got shapes {in1.shape} and {in2.shape}")
    large, small = ordered(name, in1, in2)
    # 'same' means the size of in1 even where that is the smaller one.
    padding = [{"full": (s - 1, s - 1), "valid": (0, 0),
                "same": (s - 1 - (own - 1) // 2, s - own + (own - 1) // 2)}[mode]
               for s, own in zip(small.shape, in2.shape)]
    out = lax.conv_general_dilated(large[None, None], jnp.flip(small)[None, None], (1,) * large.ndim, padding,
                                   precision=precision)
    return out[0, 0]


def convolve(in1, in2, mode: str = "full", method: str = "auto", precision=None):
    """The convolution of two arrays of as many axes.

    ``mode`` 'full' is all of it, 'valid' where they overlap completely, 'same' the centre, of in1's size. ``method`` is
    'direct' (also 'auto') or 'fft'.

    >>> import tracejit.numpy as jnp
    >>> print(convolve(jnp.array([1., 2.]), jnp.array([1., 1.])))
    [1. 3. 2.]
    """
    if method not in ("auto", "direct", "fft"):
        raise ValueError(f"convolve: method must be 'auto', 'direct' or 'fft', got {method!r}")
    return fftconvolve(in1, in2, mode) if method == "fft" else direct("convolve", in1, in2, mode, precision)


def correlate(in1, in2, mode: str = "full", method: str = "auto", precision=None):
    """The cross-correlation of two arrays: the convolution with in2 reversed and conjugated; arguments as for
    `convolve`.

    >>> import tracejit.numpy as jnp
    >>> print(correlate(jnp.array([1., 2.]), jnp.array([1., 0.])))
    [0. 1. 2.]
    """
    return convolve(in1, jnp.flip(jnp.conj(jnp.asarray(in2))), mode, method, precision)


def check_plane(name: str, in1, in2, boundary, fillvalue) -> None:
    if boundary != "fill" or not isinstance(fillvalue, (int, float)) or fillvalue != 0:
        raise NotImplementedError(f"{name}: the boundary must be filled with 0")
    if np.ndim(in1) != 2 or np.ndim(in2) != 2:
        raise ValueError(f"{name} takes arrays of 2 axes, got {np.ndim(in1)} and {np.ndim(in2)}")


def convolve2d(in1, in2, mode: str = "full", boundary: str = "fill", fillvalue=0, precision=None):
    """`convolve` for two arrays of two axes; the boundary can be filled with zeros only.

    >>> import tracejit.numpy as jnp
    >>> print(convolve2d(jnp.ones((1, 2)), jnp.ones((1, 2))))
    [[1. 2. 1.]]
    """
    check_plane("convolve2d", in1, in2, boundary, fillvalue)
    return direct("convolve2d", in1, in2, mode, precision)


def correlate2d(in1, in2, mode: str = "full", boundary: str = "fill", fillvalue=0, precision=None):
    """`correlate` for two arrays of two axes; the boundary can be filled with zeros only.

    >>> import tracejit.numpy as jnp
    >>> print(correlate2d(jnp.ones((1, 2)), jnp.ones((1, 2))))
    [[1. 2. 1.]]
    """
    check_plane("correlate2d", in1, in2, boundary, fillvalue)
    in1, in2 = jnp.asarray(in1), jnp.asarray(in2)
    swapped = mode == "valid" and in1.shape != in2.shape and all(a <= b for a, b in zip(in1.shape, in2.shape))
    if swapped:
        return direct("correlate2d", jnp.flip(in2), jnp.conj(in1), mode, precision)
    # Reversing in1 and the result rather than in2 centres 'same' as SciPy does for even sizes.
    return jnp.flip(direct("correlate2d", jnp.flip(in1), jnp.conj(in2), mode, precision))


def fftconvolve(in1, in2, mode: str = "full", axes=None):
    """`convolve` by fast Fourier transforms, along the given axes (default: all); the others must agree in size.

    >>> import tracejit.numpy as jnp
    >>> fftconvolve(jnp.array([1., 2.]), jnp.array([1., 1.])).shape
    (3,)
    """
    in1, in2 = operands("fftconvolve", in1, in2, mode)
    axes = range(in1.ndim) if axes is None else np.atleast_1d(axes).tolist()
    axes = sorted(canonical_axis(axis, in1.ndim) for axis in axes)
    if any(a != b for i, (a, b) in enumerate(zip(in1.shape, in2.shape)) if i not in axes):
        raise ValueError(f"fftconvolve: axes other than {axes} must agree in size, got {in1.shape} and {in2.shape}")
    large, small = ordered("fftconvolve", in1, in2) if mode == "valid" else (in1, in2)
    sizes = [large.shape[axis] + small.shape[axis] - 1 for axis in axes]
    is_complex = jnp.issubdtype(in1.dtype, np.complexfloating)
    forward, back = (jnp.fft.fftn, jnp.fft.ifftn) if is_complex else (jnp.fft.rfftn, jnp.fft.irfftn)
    out = back(forward(large, sizes, axes) * forward(small, sizes, axes), sizes, axes)
    for axis, size in zip(axes, sizes):
        kept = {"full": size, "same": in1.shape[axis], "valid": large.shape[axis] - small.shape[axis] + 1}[mode]
        out = lax.slice_in_dim(out, (size - kept) // 2, (size - kept) // 2 + kept, axis=axis)
    return out

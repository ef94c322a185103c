"""Signals -> spectra over time: detrending, the short-time Fourier transform and its inverse, Welch's method."""
from __future__ import annotations

import math
import operator
import warnings

import numpy as np

import tracejit.numpy as jnp
from tracejit.ir.types import complex_dtype
from tracejit.numpy.promotion import canonical_axis, promote_dtypes_inexact

from .windows import window_of


def detrend(data, axis: int = -1, type: str = "linear", bp=0, overwrite_data=None):
    """``data`` minus its mean ('constant') or its least-squares line ('linear') along an axis.

    ``bp`` are known break points: the pieces between them get a line each.

    >>> import tracejit.numpy as jnp
    >>> print(detrend(jnp.array([1., 3.]), type='constant'))
    [-1.  1.]
    """
    if overwrite_data is not None:
        raise NotImplementedError("detrend: overwrite_data is not supported")
    if type not in ("constant", "linear"):
        raise ValueError(f"detrend: type must be 'constant' or 'linear', got {type!r}")
    (data,) = promote_dtypes_inexact("detrend", jnp.asarray(data))
    if type == "constant":
        return data - data.mean(axis, keepdims=True)
    data = jnp.moveaxis(data, axis, -1)
    ends = np.unique(np.concatenate([[0], np.atleast_1d(bp), [data.shape[-1]]])).tolist()
    if ends[0] < 0 or ends[-1] > data.shape[-1]:
        raise ValueError(f"detrend: break points must be within 0 .. {data.shape[-1]}, got {bp}")
    pieces = [without_line(data[..., start:end]) for start, end in zip(ends, ends[1:])]
    return jnp.moveaxis(jnp.concatenate(pieces, -1), -1, axis)


def without_line(piece):
    """Minus the projections on the constant and on the centred ramp, which are orthogonal."""
    centred = piece - piece.mean(-1, keepdims=True)
    n = piece.shape[-1]
    ramp = np.arange(n) - (n - 1) / 2
    if n == 1:
        return centred
    ramp = jnp.broadcast_to(jnp.asarray(ramp / math.sqrt((ramp**2).sum()), piece.dtype), piece.shape)
    return centred - (centred * ramp).sum(-1, keepdims=True) * ramp


def segment_lengths(name: str, window, nperseg, noverlap, nfft, size: int, warn: bool = True) -> tuple:
    """(window array, points per segment, step, transform length), checked."""
    given = nperseg is not None
    points = operator.index(nperseg) if given else (256 if isinstance(window, (str, tuple)) else np.shape(window)[-1])
    if points < 1:
        raise ValueError(f"{name}: nperseg must be positive, got {points}")
    if isinstance(window, (str, tuple)) and points > size:
        if given and warn:
            warnings.warn(f"{name}: nperseg={points} is greater than the signal's length {size}; using {size}",
                          stacklevel=4)
        points = size
    win = window_of(window, points)
    if np.ndim(win) != 1 or np.shape(win)[0] != points:
        raise ValueError(f"{name}: the window must be one-dimensional of nperseg={points} points, got shape "
                         f"{np.shape(win)}")
    overlap = points // 2 if noverlap is None else operator.index(noverlap)
    length = points if nfft is None else operator.index(nfft)
    if overlap >= points:
        raise ValueError(f"{name}: noverlap={overlap} must be less than nperseg={points}")
    if length < points:
        raise ValueError(f"{name}: nfft={length} must be at least nperseg={points}")
    return win, points, points - overlap, length


EXTENSIONS = {
    "even": lambda x, n: jnp.concatenate([jnp.flip(x[..., 1:n + 1], -1), x, jnp.flip(x[..., -n - 1:-1], -1)], -1),
    "odd": lambda x, n: jnp.concatenate([2 * x[..., :1] - jnp.flip(x[..., 1:n + 1], -1), x,
                                         2 * x[..., -1:] - jnp.flip(x[..., -n - 1:-1], -1)], -1),
    "constant": lambda x, n: jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(n, n)], mode="edge"),
    "zeros": lambda x, n: jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(n, n)]),
}


def framed(x, points: int, step: int):
    """Overlapping segments of the last axis: [..., segments, points]."""
    count = (x.shape[-1] - points) // step + 1
    index = step * np.arange(count)[:, None] + np.arange(points)
    return jnp.take(x, index, axis=-1)


def transformed(x, win, points, step, length, detrend_with, onesided):
    """Fourier transforms [..., segments, frequencies] of the windowed, detrended segments."""
    frames = framed(x, points, step)
    if callable(detrend_with):
        frames = detrend_with(frames)
    elif detrend_with:
        frames = detrend(frames, type=detrend_with)
    frames = frames * jnp.broadcast_to(win, frames.shape)
    return jnp.fft.rfft(frames.real, n=length) if onesided else jnp.fft.fft(frames, n=length)


def is_complex(*arrays) -> bool:
    return any(jnp.issubdtype(x.dtype, np.complexfloating) for x in arrays)


def one_sided(name: str, wanted: bool, *arrays) -> bool:
    if wanted and is_complex(*arrays):
        warnings.warn(f"{name}: the input is complex, so that the spectrum has two sides", stacklevel=3)
        return False
    return wanted


def frequencies(length: int, fs, onesided: bool, dtype):
    numbers = np.arange(length // 2 + 1) if onesided else np.fft.ifftshift(np.arange(length) - length // 2)
    return jnp.asarray(numbers / length, dtype) * fs


def scale_of(name: str, scaling: str, win, fs):
    if scaling == "density":
        return 1 / (fs * (win * win).sum())
    if scaling == "spectrum":
        return 1 / win.sum() ** 2
    raise ValueError(f"{name}: scaling must be 'density' or 'spectrum', got {scaling!r}")


def stft(x, fs=1.0, window="hann", nperseg: int = 256, noverlap=None, nfft=None, detrend=False,
         return_onesided: bool = True, boundary: str | None = "zeros", padded: bool = True, axis: int = -1):
    """``(frequencies, times, Z)``: the short-time Fourier transform along an axis, scaled so that a sine keeps its
    amplitude.

    Segments of ``nperseg`` points overlap by ``noverlap`` (default: half) and are multiplied with the window (a name,
    (name, parameters), or points). ``boundary`` ('zeros', 'even', 'odd', 'constant', None) extends the signal by half
    a segment; ``padded`` completes the last one. Z has the frequencies in place of the axis and the times last.

    >>> import tracejit.numpy as jnp
    >>> stft(jnp.ones(64), nperseg=16)[2].shape
    (9, 9)
    """
    (x,) = promote_dtypes_inexact("stft", jnp.asarray(x))
    axis = canonical_axis(axis, x.ndim)
    if boundary is not None and boundary not in EXTENSIONS:
        raise ValueError(f"stft: boundary must be one of {(*EXTENSIONS, None)}, got {boundary!r}")
    win, points, step, length = segment_lengths("stft", window, nperseg, noverlap, nfft, x.shape[axis])
    win = jnp.asarray(win, x.real.dtype)
    x = jnp.moveaxis(x, axis, -1)
    if boundary is not None:
        x = EXTENSIONS[boundary](x, points // 2)
    if padded:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -(x.shape[-1] - points) % step % points)])
    onesided = one_sided("stft", return_onesided, x)
    spectra = transformed(x, win, points, step, length, detrend, onesided)
    spectra = spectra * jnp.sqrt(scale_of("stft", "spectrum", win, fs)).astype(spectra.dtype)
    times = (jnp.arange(spectra.shape[-2], dtype=win.dtype) * step + (0 if boundary else points / 2)) / fs
    spectra = jnp.moveaxis(spectra, -2, -1)
    return frequencies(length, fs, onesided, win.dtype), times, jnp.moveaxis(spectra, -2, axis)


def csd(x, y, fs=1.0, window="hann", nperseg=None, noverlap=None, nfft=None, detrend="constant",
        return_onesided: bool = True, scaling: str = "density", axis: int = -1, average: str = "mean"):
    """``(frequencies, P)``: the cross power spectral density of x and y along an axis, by Welch's method.

    Periodograms of overlapping windowed segments are averaged by 'mean' or 'median'. ``scaling`` 'density' is per unit
    of frequency, 'spectrum' is power. The shorter signal is extended with zeros. Other arguments as for `stft`.

    >>> import tracejit.numpy as jnp
    >>> csd(jnp.ones(64), jnp.ones(64), nperseg=16)[1].shape
    (9,)
    """
    x, y = promote_dtypes_inexact("csd", jnp.asarray(x), jnp.asarray(x if y is None else y))
    axis = canonical_axis(axis, max(x.ndim, y.ndim))
    x, y = (jnp.moveaxis(signal, axis - max(x.ndim, y.ndim), -1) for signal in (x, y))
    size = max(x.shape[-1], y.shape[-1])
    x, y = (jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, size - signal.shape[-1])]) for signal in (x, y))
    win, points, step, length = segment_lengths("csd", window, nperseg, noverlap, nfft, size)
    win = jnp.asarray(win, x.real.dtype)
    onesided = one_sided("csd", return_onesided, x, y)
    left, right = (transformed(signal, win, points, step, length, detrend, onesided) for signal in (x, y))
    power = jnp.conj(left) * right * scale_of("csd", scaling, win, fs)
    if onesided:
        # Negative frequencies fold onto positive ones; the first has no partner, nor has the last of an even length.
        last = None if length % 2 else -1
        power = power.at[..., 1:last].multiply(2)
    return frequencies(length, fs, onesided, win.dtype), jnp.moveaxis(averaged(power, average), -1, axis)


def averaged(power, average: str):
    if average == "mean":
        return power.mean(-2)
    if average != "median":
        raise ValueError(f"csd: average must be 'mean' or 'median', got {average!r}")
    # The median of exponentially distributed values is below their mean by this factor.
    odd = np.arange(2, power.shape[-2] + 1 - (power.shape[-2] + 1) % 2, 2)
    bias = 1 + (1 / (odd + 1) - 1 / odd).sum()
    if not is_complex(power):
        return jnp.median(power, -2) / bias
    return (jnp.median(power.real, -2) + 1j * jnp.median(power.imag, -2)) / bias


def welch(x, fs=1.0, window="hann", nperseg=None, noverlap=None, nfft=None, detrend="constant",
          return_onesided: bool = True, scaling: str = "density", axis: int = -1, average: str = "mean"):
    """``(frequencies, P)``: the power spectral density of x along an axis, by Welch's method; arguments as for `csd`.

    >>> import tracejit.numpy as jnp
    >>> welch(jnp.ones(64), nperseg=16)[1].shape
    (9,)
    """
    x = jnp.asarray(x)
    f, power = csd(x, x, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis, average)
    return f, power.real


def istft(Zxx, fs=1.0, window="hann", nperseg=None, noverlap=None, nfft=None, input_onesided: bool = True,
          boundary: bool = True, time_axis: int = -1, freq_axis: int = -2):
    """``(times, x)``: the signal whose `stft` is Zxx, by overlap and add; the arguments must be those of `stft`.

    >>> import tracejit.numpy as jnp
    >>> istft(stft(jnp.ones(64), nperseg=16)[2], nperseg=16)[1].shape
    (64,)
    """
    Zxx = jnp.asarray(Zxx)
    if Zxx.ndim < 2:
        raise ValueError(f"istft takes arrays of 2 axes at least, got shape {Zxx.shape}")
    Zxx = Zxx.astype(complex_dtype(Zxx.dtype))
    freq_axis, time_axis = canonical_axis(freq_axis, Zxx.ndim), canonical_axis(time_axis, Zxx.ndim)
    if freq_axis == time_axis:
        raise ValueError(f"istft: time_axis and freq_axis must differ, got {time_axis} twice")
    full = 2 * (Zxx.shape[freq_axis] - 1) if input_onesided else Zxx.shape[freq_axis]
    points = full if nperseg is None else operator.index(nperseg)
    # A one-sided spectrum does not tell an odd length from the even one below.
    length = (full + (input_onesided and points == full + 1)) if nfft is None else operator.index(nfft)
    win, points, step, length = segment_lengths("istft", window, points, noverlap, length, points)
    spectra = jnp.moveaxis(Zxx, (time_axis, freq_axis), (-2, -1))
    frames = (jnp.fft.irfft if input_onesided else jnp.fft.ifft)(spectra, n=length)[..., :points]
    win = jnp.asarray(win, frames.real.dtype)
    x = overlap_added(frames * jnp.broadcast_to(win * win.sum(), frames.shape).astype(frames.dtype), step)
    norm = jnp.broadcast_to(overlap_added(jnp.broadcast_to(win * win, frames.shape[-2:]), step), x.shape)
    if boundary:
        x, norm = (signal[..., points // 2:signal.shape[-1] - points // 2] for signal in (x, norm))
    x = x / jnp.where(norm > 1e-10, norm, 1).astype(x.dtype)
    times = jnp.arange(x.shape[-1], dtype=win.dtype) / fs
    return times, jnp.moveaxis(x, -1, time_axis - (freq_axis < time_axis)) if x.ndim > 1 else x


def overlap_added(frames, step: int):
    """The sum of segments [..., segments, points] that start ``step`` apart."""
    count, points = frames.shape[-2:]
    index = step * np.arange(count)[:, None] + np.arange(points)
    return jnp.zeros((*frames.shape[:-2], (count - 1) * step + points), frames.dtype).at[..., index].add(frames)

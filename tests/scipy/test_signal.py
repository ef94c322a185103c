"""tracejit.scipy.signal, .fft and .ndimage against SciPy."""
from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal as reference

import tracejit
import tracejit.numpy as jnp
from tracejit.scipy import fft, ndimage, signal
from tracejit.scipy.signal import windows

RNG = np.random.RandomState(0)
LONG, SHORT, PLANE, PATCH, EVEN = RNG.randn(9), RNG.randn(4), RNG.randn(6, 7), RNG.randn(3, 4), RNG.randn(2, 2)
X, Y = RNG.randn(3, 500), RNG.randn(3, 500)


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("method", ["direct", "fft"])
def test_convolution(mode, method):
    for a, b in ((LONG, SHORT), (LONG + 1j * LONG[::-1], SHORT * 1j), (PLANE, PATCH)):
        close(signal.convolve(a, b, mode, method), reference.convolve(a, b, mode, method))
        close(signal.correlate(a, b, mode, method), reference.correlate(a, b, mode, method))
    close(signal.fftconvolve(PLANE, PLANE[:, :3], mode, axes=1), reference.fftconvolve(PLANE, PLANE[:, :3], mode, axes=1))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_planes(mode):
    for a, b in ((PLANE, PATCH), (PLANE, EVEN), (PLANE, PLANE), (PLANE * 1j, PATCH + 1j)):
        close(signal.convolve2d(a, b, mode), reference.convolve2d(a, b, mode))
        close(signal.correlate2d(a, b, mode), reference.correlate2d(a, b, mode))
    if mode == "valid":
        close(signal.correlate2d(PATCH, PLANE, mode), reference.correlate2d(PATCH, PLANE, mode))


def test_convolution_derivative():
    slope = tracejit.grad(lambda b: (signal.convolve(LONG, b) ** 2).sum())(jnp.asarray(SHORT))
    step = np.eye(4)[2] * 1e-6
    expected = ((reference.convolve(LONG, SHORT + step) ** 2).sum() - (reference.convolve(LONG, SHORT - step) ** 2).sum()) / 2e-6
    assert float(slope[2]) == pytest.approx(expected, rel=1e-6)


WINDOWS = [*windows.COSINES, "bartlett", "triang", "cosine", ("kaiser", 5.0), ("gaussian", 3.0), ("tukey", 0.3), ("general_gaussian", 1.5, 3.0),
           ("exponential", None, 2.0), ("general_hamming", 0.6), ("general_cosine", (0.5, 0.3, 0.2))]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_window(window):
    for n in (1, 2, 8, 9):
        np.testing.assert_allclose(windows.window_of(window, n), reference.get_window(window, n), atol=1e-12)


def test_detrend():
    for kind in ("constant", "linear"):
        close(signal.detrend(PLANE, 0, kind), reference.detrend(PLANE, 0, kind))
    close(signal.detrend(PLANE, 1, "linear", [2, 5]), reference.detrend(PLANE, 1, "linear", [2, 5]))


SPECTRA = [{}, {"nperseg": 64}, {"nperseg": 65, "noverlap": 10}, {"nperseg": 64, "nfft": 100}, {"window": "blackman", "nperseg": 50, "scaling": "spectrum"},
           {"nperseg": 64, "return_onesided": False}, {"nperseg": 64, "detrend": "linear"}, {"nperseg": 64, "detrend": False, "average": "median"},
           {"window": np.hanning(32)}, {"nperseg": 40, "fs": 10.0}]


@pytest.mark.parametrize("options", SPECTRA, ids=range(len(SPECTRA)))
def test_power_spectra(options):
    for ours, theirs in zip(signal.welch(X, **options), reference.welch(X, **options)):
        close(ours, theirs)
    for ours, theirs in zip(signal.csd(X, Y, **options), reference.csd(X, Y, **options)):
        close(ours, theirs)


def test_power_spectra_along_other_axes_and_of_unequal_length():
    for ours, theirs in zip(signal.welch(X.T, axis=0, nperseg=64), reference.welch(X.T, axis=0, nperseg=64)):
        close(ours, theirs)
    for ours, theirs in zip(signal.csd(X, Y[:, :300], nperseg=64), reference.csd(X, Y[:, :300], nperseg=64)):
        close(ours, theirs)


SHORT_TIME = [{}, {"nperseg": 65, "noverlap": 10, "fs": 3.0}, {"nperseg": 64, "nfft": 100}, {"nperseg": 64, "boundary": "even"},
              {"nperseg": 64, "boundary": "odd"}, {"nperseg": 64, "boundary": "constant"}, {"nperseg": 64, "return_onesided": False}]


@pytest.mark.parametrize("options", SHORT_TIME, ids=range(len(SHORT_TIME)))
def test_stft_and_back(options):
    ours = signal.stft(X, **options)
    for a, b in zip(ours, reference.stft(X, **options)):
        close(a, b)
    back = {k: v for k, v in options.items() if k in ("nperseg", "noverlap", "nfft", "fs")}
    _, x = signal.istft(ours[2], input_onesided=options.get("return_onesided", True), **back)
    np.testing.assert_allclose(np.asarray(x.real)[:, :500], X, atol=1e-8)


def test_stft_along_another_axis():
    ours = signal.stft(X.T, nperseg=64, axis=0)
    for a, b in zip(ours, reference.stft(X.T, nperseg=64, axis=0)):
        close(a, b)
    close(signal.istft(ours[2], nperseg=64, freq_axis=0)[1], reference.istft(np.asarray(ours[2]), nperseg=64, freq_axis=0)[1])


@pytest.mark.parametrize("norm", [None, "ortho", "backward"])
@pytest.mark.parametrize("name", ["dct", "idct"])
def test_cosine_transforms(name, norm):
    ours, theirs = getattr(fft, name), getattr(scipy.fft, name)
    for options in ({}, {"axis": 0}, {"n": 4}, {"n": 12}, {"n": 1}):
        close(ours(PLANE, norm=norm, **options), theirs(PLANE, norm=norm, **options))
    for options in ({}, {"axes": (0,)}, {"s": (4, 9)}):
        close(getattr(fft, name + "n")(PLANE, norm=norm, **options), getattr(scipy.fft, name + "n")(PLANE, norm=norm, **options))
    close(ours(PLANE + 1j * PLANE[::-1], norm=norm), theirs(PLANE + 1j * PLANE[::-1], norm=norm))
    with pytest.raises(NotImplementedError):
        ours(PLANE, type=3)


@pytest.mark.parametrize("mode", ["nearest", "mirror", "reflect", "grid-wrap"])
@pytest.mark.parametrize("order", [0, 1])
def test_map_coordinates(mode, order):
    at = RNG.rand(2, 40) * [[9], [10]] - 2
    ours = ndimage.map_coordinates(PLANE, at, order, "wrap" if mode == "grid-wrap" else mode)
    close(ours, scipy.ndimage.map_coordinates(PLANE, at, order=order, mode=mode))


def test_map_coordinates_outside_and_between():
    values = ndimage.map_coordinates(jnp.array([1.0, 2.0]), [jnp.array([-1.0, -0.5, 0.5, 1.5, 2.5])], 1, cval=10.0)
    close(values, [10, 5.5, 1.5, 6, 10])
    assert ndimage.map_coordinates(jnp.array([0, 10]), [jnp.array([0.27])], 1).tolist() == [3]
    slope = tracejit.grad(lambda x: ndimage.map_coordinates(jnp.array([1.0, 4.0]), [x[None]], 1)[0])(jnp.float32(0.3))
    assert float(slope) == pytest.approx(3)
    with pytest.raises(NotImplementedError):
        ndimage.map_coordinates(PLANE, np.zeros((2, 1)), 3)


@pytest.mark.parametrize("call", [
    lambda: signal.convolve(LONG, PLANE), lambda: signal.convolve(LONG, SHORT, "x"), lambda: signal.convolve(LONG, SHORT[:0]),
    lambda: signal.convolve(PLANE, PATCH.T[:, :2].repeat(4, 1)), lambda: signal.stft(X, nperseg=64, noverlap=64), lambda: signal.stft(X, boundary="x"),
    lambda: signal.welch(X, scaling="x"), lambda: signal.welch(X, window="x"), lambda: signal.detrend(X, type="x"), lambda: signal.istft(X[0]),
])
def test_errors(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("module", [signal, fft])
def test_signatures_are_those_of_jax(module):
    jax_module = pytest.importorskip("jax.scipy." + module.__name__.rpartition(".")[2])
    for name in (name for name in dir(jax_module) if not name.startswith("_")):
        assert list(inspect.signature(getattr(module, name)).parameters) == list(inspect.signature(getattr(jax_module, name)).parameters)

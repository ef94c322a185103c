"""Signal processing: convolution, detrending, spectra."""
from .convolution import convolve, convolve2d, correlate, correlate2d, fftconvolve
from .spectral import csd, detrend, istft, stft, welch

__all__ = [
    "convolve", "convolve2d", "correlate", "correlate2d", "csd", "detrend", "fftconvolve", "istft", "stft", "welch",
]

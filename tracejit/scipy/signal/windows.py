"""Window functions: a name (or name and parameters) and a length -> the window, periodic as spectra want it."""
from __future__ import annotations

import math

import numpy as np

# Coefficients of cosine sums, as in Harris (1978), Nuttall (1981) and D'Antona (2006).
COSINES = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.50, 0.08),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
ALIASES = {"hanning": "hann", "rectangular": "boxcar", "box": "boxcar", "ones": "boxcar", "triangle": "triang",
           "bart": "bartlett"}


def cosine_sum(phase, coefficients):
    return sum((-1) ** k * a * np.cos(k * phase) for k, a in enumerate(coefficients))


def triangle(n):
    """As scipy.signal.windows.triang: no zeros at the ends."""
    total = n + n % 2
    rising = (2 * np.arange(1, (n + 1) // 2 + 1) - (1 - n % 2)) / total
    return np.concatenate([rising, rising[::-1][n % 2:]])


def tukey(n, alpha=0.5):
    at = np.abs(np.arange(n) - (n - 1) / 2) / ((n - 1) / 2)
    taper = 0.5 * (1 + np.cos(np.pi * (at - (1 - alpha)) / alpha)) if alpha > 0 else np.ones(n)
    return np.where(at > 1 - alpha, taper, 1.0)


# Symmetric windows of n points by further parameters.
SHAPES = {
    "bartlett": np.bartlett,
    "triang": triangle,
    "cosine": lambda n: np.sin(np.pi * (np.arange(n) + 0.5) / n),
    "kaiser": np.kaiser,
    "gaussian": lambda n, std: np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / std) ** 2),
    "general_gaussian": lambda n, p, sig: np.exp(-0.5 * np.abs((np.arange(n) - (n - 1) / 2) / sig) ** (2 * p)),
    "exponential": lambda n, center=None, tau=1.0: np.exp(-np.abs(np.arange(n) - (n - 1) / 2) / tau),
    "tukey": tukey,
    "general_hamming": lambda n, alpha: cosine_sum(2 * np.pi * np.arange(n) / (n - 1), (alpha, 1 - alpha)),
    "general_cosine": lambda n, a: cosine_sum(2 * np.pi * np.arange(n) / (n - 1), a),
}


def window_of(window, n: int) -> np.ndarray:
    """A window of n points from its name, (name, parameters...), a Kaiser beta, or the points themselves."""
    if isinstance(window, (int, float)):
        window = ("kaiser", window)
    if not isinstance(window, (str, tuple)):
        return window
    name, *parameters = (window,) if isinstance(window, str) else window
    name = ALIASES.get(name, name)
    if n == 1:
        return np.ones(1)
    if name in COSINES and not parameters:
        return cosine_sum(2 * math.pi * np.arange(n) / n, COSINES[name])
    if name not in SHAPES:
        raise ValueError(f"unknown window {name!r}; there are {', '.join([*COSINES, *SHAPES])}")
    # One point more than asked for, cut off: the next period begins with it.
    return SHAPES[name](n + 1, *parameters)[:-1]

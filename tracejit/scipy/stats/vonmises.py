"""The von Mises distribution on the circle, with concentration kappa > 0 and mean 0."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from .support import NAN, promoted


@numeric_function
def logpdf(x, kappa):
    """The logarithm of the density at x."""
    x, kappa = promoted("vonmises.logpdf", x, kappa)
    value = kappa * (jnp.cos(x) - 1) - jnp.log(lax.bessel_i0e(kappa)) - math.log(2 * math.pi)
    return jnp.where(kappa > 0, value, NAN)


@numeric_function
def pdf(x, kappa):
    """The density at x."""
    return jnp.exp(logpdf(x, kappa))

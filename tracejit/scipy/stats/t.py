"""Student's t distribution with df degrees of freedom."""
from __future__ import annotations

import math

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.nn.numeric import numeric_function

from .support import standardized


@numeric_function
def logpdf(x, df, loc=0, scale=1):
    """The logarithm of the density at x."""
    z, scale, df = standardized("t.logpdf", x, loc, scale, df)
    quotient = lax.lgamma((df + 1) / 2) - lax.lgamma(df / 2)
    return quotient - 0.5 * jnp.log(math.pi * df) - jnp.log(scale) - (df + 1) / 2 * jnp.log1p(z * z / df)


@numeric_function
def pdf(x, df, loc=0, scale=1):
    """The density at x."""
    return jnp.exp(logpdf(x, df, loc, scale))

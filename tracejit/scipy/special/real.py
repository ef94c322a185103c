"""What functions of real arguments share: the refusal of complex numbers, half precision computed in single."""
from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import tracejit.numpy as jnp
from tracejit.nn.numeric import numeric_function


def real_function(function: Callable) -> Callable:
    """`numeric_function` for real arguments only.

    float16 and bfloat16 are computed in float32 and rounded at the end: the approximations are made for no less.
    """
    @functools.wraps(function)
    def real(*args):
        dtype = args[0].dtype
        if jnp.issubdtype(dtype, np.complexfloating):
            raise ValueError(f"{function.__name__} does not support complex-valued inputs")
        if dtype.itemsize >= 4:
            return function(*args)
        out = function(*(x.astype("float32") for x in args))
        return tuple(x.astype(dtype) for x in out) if isinstance(out, tuple) else out.astype(dtype)

    return numeric_function(real)


def polynomial(coefficients, x):
    """Horner's scheme, highest power first."""
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def rational(pair, x):
    numerator, denominator = pair
    return polynomial(numerator, x) / polynomial(denominator, x)

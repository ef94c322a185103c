"""What functions of real arguments share: promotion, the refusal of complex numbers, half precision computed in
single."""
from __future__ import annotations

import functools
import inspect

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit
from tracejit.numpy.promotion import promote_inexact


def real_function(function):
    """A jitted function of real arrays of one dtype, float32 at least, as one of any real arguments.

    float16 and bfloat16 are computed in float32 and rounded at the end: the approximations are made for no less.
    """
    name = function.__name__

    @jit
    def computed(*args):
        args = [jnp.asarray(x) for x in promote_inexact(name, *args)]
        dtype = args[0].dtype
        if jnp.issubdtype(dtype, np.complexfloating):
            raise ValueError(f"{name} does not support complex-valued inputs")
        if dtype.itemsize >= 4:
            return function(*args)
        out = function(*(x.astype("float32") for x in args))
        return tuple(x.astype(dtype) for x in out) if isinstance(out, tuple) else out.astype(dtype)

    parameters = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def public(*args, **kwargs):
        if kwargs:
            args = (*args, *(kwargs.pop(name) for name in parameters[len(args):] if name in kwargs))
        if kwargs or len(args) != len(parameters):
            raise TypeError(f"{name} takes the arguments {', '.join(parameters)}")
        return computed(*args)

    return public


def polynomial(coefficients, x):
    """Horner's scheme, highest power first."""
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def rational(pair, x):
    numerator, denominator = pair
    return polynomial(numerator, x) / polynomial(denominator, x)

"""How functions of numbers are made: arguments are promoted, then one compiled function does the rest.

Promotion comes first, outside the compiled function: inside, a Python float would already be rounded to the default dtype.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import tracejit.numpy as jnp
from tracejit import jit
from tracejit.numpy.promotion import promote_inexact


def numeric_function(function: Callable, name: str | None = None) -> Callable:
    """A function of arrays of one floating dtype, compiled, as one of any numbers; its defaults are numbers too."""
    name, parameters = name or function.__name__, inspect.signature(function).parameters
    defaults = [p.default for p in parameters.values()]
    compiled = jit(lambda *args: function(*(jnp.asarray(x) for x in args)))

    @functools.wraps(function)
    def public(*args, **kwargs):
        given = [*args, *defaults[len(args):]]
        for keyword, value in kwargs.items():
            if keyword not in positions or positions[keyword] < len(args):
                raise TypeError(f"{name} got an unexpected or repeated argument {keyword!r}")
            given[positions[keyword]] = value
        if len(args) > len(defaults) or any(x is inspect.Parameter.empty for x in given):
            raise TypeError(f"{name} takes the arguments {', '.join(map(str, parameters.values()))}")
        return compiled(*promote_inexact(name, *given))

    positions = {parameter: i for i, parameter in enumerate(parameters)}
    return public

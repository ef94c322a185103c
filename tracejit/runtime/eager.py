"""A function of arrays -> the same function, compiled once per types for calls on known arrays: x + y in 80 ns.

    ArrayImpl.__add__ = eager(add)      # add(x, y) itself runs for anything but arrays and numbers, and while tracing
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.trace import current_builder
from tracejit.runtime.array import CONCRETE
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.jit import Compiler, Programs, Signature

PLAIN = frozenset({bool, int, float, complex, np.ndarray})


def is_plain(x: Any) -> bool:
    return x.__class__ in CONCRETE or x.__class__ in PLAIN or isinstance(x, np.generic)


def is_wide_int(x: Any) -> bool:
    """Whether `fun` must see the number itself, to refuse it where it does not fit."""
    return x.__class__ is int and not -2**31 <= x < 2**31


def eager(fun: Callable[..., Any]) -> Any:
    """`fun` with a compiled path for positional arguments that are all arrays or numbers, at least one an Array.

    The result is a native callable that binds as a method. Numbers are not baked in: x + 1.0 and x + 2.0 share code.
    `fun` must be traceable and must not look at the values of its arguments.

    >>> from tracejit import lax
    >>> from tracejit.runtime.array import from_numpy
    >>> double = eager(lambda x: lax.add(x, x))
    >>> double(from_numpy(np.arange(3.0)))
    Array([0., 2., 4.], dtype=float64)
    """
    compiler = Compiler(fun, Programs(Signature(fun, None, None, None, None)))

    def slow(*args: Any, **kwargs: Any) -> Any:
        known = not kwargs and all(map(is_plain, args)) and any(x.__class__ in CONCRETE for x in args)
        if known and current_builder() is None and not any(map(is_wide_int, args)):
            return compiler(*args)
        return fun(*args, **kwargs)

    compiler.jitted = Jitted(slow)
    return functools.update_wrapper(compiler.jitted, fun)

"""A function of arrays -> the same function, compiled once per types for calls on known arrays: x + y in 80 ns.

    ArrayImpl.__add__ = eager(add)      # add(x, y) itself runs for anything but arrays and numbers, and while tracing
    sum = eager(sum, ["axis"])          # compiled once for each axis
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.errors import strip_unless_shown
from tracejit.ir.trace import current_builder
from tracejit.runtime.array import CONCRETE
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.jit import Compiler, Programs, Signature

PLAIN = frozenset({bool, int, float, complex, np.ndarray})
MOST_PROGRAMS = 4096    # of one function: what varies more is not worth remembering


def is_plain(x: Any) -> bool:
    return x.__class__ in CONCRETE or x.__class__ in PLAIN or isinstance(x, np.generic)


def is_wide_int(x: Any) -> bool:
    """Whether `fun` must see the number itself, to refuse it where it does not fit."""
    return x.__class__ is int and not -2**31 <= x < 2**31


def is_data(x: Any) -> bool:
    """Whether x, or a sequence, is made of what enters programs."""
    if x.__class__ is list or x.__class__ is tuple:
        return all(map(is_data, x))
    return x is None or is_plain(x) and not is_wide_int(x)


def holds_array(x: Any) -> bool:
    return x.__class__ in CONCRETE or x.__class__ in (list, tuple) and any(map(holds_array, x))


def is_hashable(x: Any) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


def eager(fun: Callable[..., Any], static: Sequence[str] = ()) -> Any:
    """`fun` with a compiled path for arguments that are all arrays or numbers, at least one an Array; those named
    `static` are constants of the program.

    The result is a native callable that binds as a method. Numbers are not baked in: x + 1.0 and x + 2.0 share code.
    `fun` must be traceable and must not look at the values of its arguments. Without `static` it takes them by position.

    >>> from tracejit import lax
    >>> from tracejit.runtime.array import from_numpy
    >>> double = eager(lambda x: lax.add(x, x))
    >>> double(from_numpy(np.arange(3.0)))
    Array([0., 2., 4.], dtype=float64)
    """
    signature = Signature(fun, None, [*static] or None, None, None)
    compiler = Compiler(fun, Programs(signature))
    fixed, names = frozenset(static), signature.names

    def is_known(args: tuple, kwargs: dict) -> bool:
        if not fixed:
            known = not kwargs and all(is_plain(x) and not is_wide_int(x) for x in args)
            return known and any(x.__class__ in CONCRETE for x in args)
        if len(args) > len(names):
            return False
        given = [*zip(names, args), *kwargs.items()]
        return all(is_hashable(x) if name in fixed else is_data(x) for name, x in given) and \
            any(holds_array(x) for name, x in given if name not in fixed)

    def slow(*args: Any, **kwargs: Any) -> Any:
        try:
            if current_builder() is None and is_known(args, kwargs):
                if len(compiler.compiled) >= MOST_PROGRAMS:
                    compiler.clear()
                return compiler(*args, **kwargs)
            return fun(*args, **kwargs)
        except Exception as error:
            strip_unless_shown(error)
            raise   # a bare raise adds no entry for this frame

    compiler.jitted = Jitted(slow)
    return functools.update_wrapper(compiler.jitted, fun)

"""Maps a jnp function made of several ops to one that runs as a single compiled program on known arrays.

    @compiled
    def mean(a: ArrayLike, axis=None, ...): ...    # parameters annotated ArrayLike are data, the others are static

While a function is being traced the decorated function is called as it stands.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tracejit.ir.trace import current_builder
from tracejit.runtime.array import CONCRETE
from tracejit.runtime.eager import eager, is_plain

MOST_PROGRAMS = 4096  # of one function: beyond this its static arguments are not worth remembering


def compiled(f: Callable) -> Callable:
    """f, traced and compiled once per static arguments and types of arrays when it is called outside of a trace.

    What it returns and raises is as if called directly. f must not look at the values of its ArrayLike parameters.
    """
    parameters = inspect.signature(f).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    data = frozenset(p.name for p in parameters if str(p.annotation).startswith("ArrayLike"))
    programs: dict[tuple, Callable] = {}

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        if current_builder() is not None or len(args) > len(names):
            return f(*args, **kwargs)
        arrays, key, known = [], [], False
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in data and is_plain(value):
                arrays.append(value)
                key.append(name)
                known = known or value.__class__ in CONCRETE
            else:
                key.append((name, value.__class__, value))  # the class: 1, 1.0 and True are equal
        if not known:
            return f(*args, **kwargs)
        key = (len(args), *key)
        try:
            program = programs.get(key)
        except TypeError:  # a list among the static arguments
            return f(*args, **kwargs)
        if program is None:
            program = specialized(f, key)
            if len(programs) < MOST_PROGRAMS:
                programs[key] = program
        return program(*arrays)
    return call


def specialized(f: Callable, key: tuple) -> Callable:
    """f of its data alone, compiled; `key` says how many arguments are positional and holds the static ones."""
    positional, *entries = key

    def run(*arrays: Any) -> Any:
        data = iter(arrays)
        values = [next(data) if entry.__class__ is str else entry[2] for entry in entries]
        names = [entry if entry.__class__ is str else entry[0] for entry in entries[positional:]]
        return f(*values[:positional], **dict(zip(names, values[positional:], strict=True)))
    run.__name__ = run.__qualname__ = f.__name__
    return eager(run)

"""Maps a jnp function made of several ops to one that runs as a single compiled program on known arrays.

    @compiled
    def mean(a: ArrayLike, axis=None, ...): ...    # parameters annotated ArrayLike (or Sequence[ArrayLike]) are data

The others are static. While a function is being traced the decorated function is called as it stands.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable

from tracejit.runtime.eager import eager


def compiled(f: Callable) -> Callable:
    """f, traced and compiled once per static arguments and types of arrays when it is called outside of a trace.

    What it returns and raises is as if called directly. f must not look at the values of its ArrayLike parameters.
    """
    parameters = inspect.signature(f).parameters.values()
    return eager(f, [p.name for p in parameters if "ArrayLike" not in str(p.annotation)])

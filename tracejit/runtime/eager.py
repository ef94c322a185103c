"""A function of arrays -> the same function, compiled once per types for calls on known arrays: x + y in 80 ns.

    ArrayImpl.__add__ = eager(add)      # add(x, y) itself runs for anything but arrays and numbers, and while tracing
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.ir.trace import current_builder
from tracejit.ir.types import type_of
from tracejit.pytree import tree_flatten
from tracejit.runtime import specs
from tracejit.runtime.array import CONCRETE
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.guards import Guarded
from tracejit.runtime.jit import Compiler, Signature
from tracejit.runtime.trees import result_of, spec_of

WIDE = frozenset({np.dtype("float64"), np.dtype("complex128")})
WIDE_NUMBER = {float: np.float64, complex: np.complex128}  # whose types are weak, as those of Python's numbers
PLAIN = frozenset({bool, int, float, complex, np.ndarray})


def is_plain(x: Any) -> bool:
    return x.__class__ in CONCRETE or x.__class__ in PLAIN or isinstance(x, np.generic)


def is_wide_int(x: Any) -> bool:
    """Whether `fun` must see the number itself, to refuse it where it does not fit."""
    return x.__class__ is int and not -2**31 <= x < 2**31


def with_wide_numbers(args: tuple) -> tuple:
    """The arguments, where a number beside a float64 array is float64: 0.1 as a float32 would be another number."""
    if not any(x.__class__ in CONCRETE and x.dtype in WIDE for x in args):
        return args
    return tuple([WIDE_NUMBER[x.__class__](x) if x.__class__ in WIDE_NUMBER else x for x in args])


class EagerCompiler(Compiler):
    """Compiles for positional arrays and numbers."""

    def call(self, args: tuple) -> Any:
        given = with_wide_numbers(args)
        count = len(self.compiled)
        out = self(*given)
        if given is not args and len(self.compiled) > count:
            self.teach_numbers(args, given)
        return out

    def teach_numbers(self, args: tuple, given: tuple) -> None:
        """Let native dispatch convert Python numbers to the wide type itself."""
        leaves, tree = tree_flatten((list(given), {}))
        key = self.key_of(tree, leaves, (), len(given))
        if key not in self.compiled or isinstance(self.compiled[key], Guarded):
            return
        described = [specs.Scalar(type_of(wide), type(x)) if wide is not x else spec_of(x) for x, wide in zip(args, given)]
        self.jitted.add_entry(described, self.compiled[key], result_of(self.traced[key].out_tree))


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
    compiler = EagerCompiler(fun, Signature(fun, None, None, None, None))

    def slow(*args: Any, **kwargs: Any) -> Any:
        known = not kwargs and all(map(is_plain, args)) and any(x.__class__ in CONCRETE for x in args)
        if known and current_builder() is None and not any(map(is_wide_int, args)):
            return compiler.call(args)
        return fun(*args, **kwargs)

    compiler.jitted = Jitted(slow)
    return functools.update_wrapper(compiler.jitted, fun)

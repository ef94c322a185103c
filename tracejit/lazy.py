"""Operators and methods of arrays before `tracejit.numpy` is loaded: the first use of one loads it, and runs.

Loading it takes longer than all the rest; a program that only jits functions of `lax` never needs it.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tracejit.ir.graph import Var
from tracejit.runtime.array import CONCRETE

BINARY = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift"
OTHERS = "lt le gt ge eq ne neg pos abs invert round getitem contains setitem array_namespace"
OF_TRACED = "bool int float complex index array len iter"


def stand_in(name: str) -> Callable:
    def load_and_run(self: Any, *args: Any, **kwargs: Any) -> Any:
        importlib.import_module("tracejit.numpy")  # puts the real method in this one's place
        return getattr(type(self), name)(self, *args, **kwargs)
    load_and_run.is_stand_in = True
    return load_and_run


def load_attribute(self: Any, name: str) -> Any:
    """An attribute that the class does not have yet."""
    if not name.startswith("_") and hasattr(type(self), "__getattr__"):
        importlib.import_module("tracejit.numpy")
        return getattr(self, name)
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


load_attribute.is_stand_in = True


def attach(cls: type, names: str) -> None:
    for name in names.split():
        for method in (f"__{name}__", f"__r{name}__") if name in BINARY.split() else (f"__{name}__",):
            if getattr(cls, method, None) is getattr(object, method, None):  # neither its own nor inherited
                setattr(cls, method, stand_in(method))
    cls.__getattr__ = load_attribute


for concrete in CONCRETE:
    attach(concrete, f"{BINARY} {OTHERS}")
attach(Var, f"{BINARY} {OTHERS} {OF_TRACED}")

"""The compiler, which is loaded when the first program is compiled: it is half of the package, and many imports never need it."""
from __future__ import annotations

import importlib
from typing import Any

from tracejit.ir.trace import hooks
from tracejit.runtime.array import as_array
from tracejit.runtime.forks import compiling


class OnDemand:
    """A module that is loaded when somebody first asks for something in it."""

    def __init__(self, name: str):
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        with compiling:
            return getattr(importlib.import_module(self.__name__), attribute)


compiler = OnDemand("tracejit.runtime.compile")

# The module puts the functions themselves in the place of these.
hooks.run_graph = lambda graph, args: compiler.run_graph(graph, args)
hooks.run_op = lambda op, args: compiler.run_op(op, args)
hooks.as_array = as_array

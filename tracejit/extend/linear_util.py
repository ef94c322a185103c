"""Functions that transformations are stacked on, and what each transformation leaves behind."""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracejit.absent import getter

__all__ = ["DebugInfo", "StoreException", "WrappedFun", "transformation", "transformation2", "transformation_with_aux",
           "transformation_with_aux2", "wrap_init"]


@dataclass(frozen=True)
class DebugInfo:
    """What is traced, for messages."""
    traced_for: str
    func_name: str


class StoreException(Exception):
    """What a transformation leaves behind was read before the function ran."""


class Store:
    """What a transformation leaves behind when the function runs."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def store(self, value: Any) -> None:
        self.found = [value]

    def read(self) -> Any:
        if not self.found:
            raise StoreException("the transformed function has not run yet, so there is nothing to read")
        return self.found[0]


class WrappedFun:
    """A function with static params and the transformations around it; `call_wrapped(*args)` runs the whole."""

    def __init__(self, f: Callable, call: Callable, debug_info: Any = None):
        self.f, self.call, self.debug_info = f, call, debug_info

    @property
    def __name__(self) -> str:
        return getattr(self.f, "__name__", "<unnamed function>")

    def wrap(self, transformation: Callable, *static: Any) -> WrappedFun:
        """With one more transformation: transformation(call, *static, *args)."""
        return WrappedFun(self.f, functools.partial(transformation, self.call, *static), self.debug_info)

    def call_wrapped(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Wrapped function: {self.__name__}"


def wrap_init(f: Callable, params: dict[str, Any] | None = None, *, debug_info: Any = None) -> WrappedFun:
    """A function with no transformation yet; params are given to it by name.

    >>> from tracejit.extend.linear_util import wrap_init
    >>> wrap_init(lambda x, scale: x * scale, {"scale": 3}).call_wrapped(2)
    6
    """
    return WrappedFun(f, functools.partial(f, **(params or {})), debug_info)


def transformation2(gen: Callable, fun: WrappedFun, *static: Any) -> WrappedFun:
    """One more transformation, gen(call, *static, *args) -> outputs."""
    return fun.wrap(gen, *static)


def transformation_with_aux2(gen: Callable, fun: WrappedFun, *static: Any) -> tuple[WrappedFun, Callable[[], Any]]:
    """One more transformation, gen(call, store, *static, *args); and a function that gives what it stored."""
    store = Store()
    return fun.wrap(gen, store, *static), store.read


def transformation(gen: Callable) -> Callable[..., WrappedFun]:
    """A decorator. The generator yields (args, kwargs) for the function, is sent its outputs and yields its own."""
    def run(call: Callable, static: tuple, *args: Any, **kwargs: Any) -> Any:
        steps = gen(*static, *args, **kwargs)
        inner, named = next(steps)
        return steps.send(call(*inner, **named))
    return lambda fun, *static: fun.wrap(run, static)


def transformation_with_aux(gen: Callable) -> Callable[..., tuple[WrappedFun, Callable[[], Any]]]:
    """As transformation, of a generator that yields (outputs, what it leaves behind) in the end."""
    def run(call: Callable, store: Store, static: tuple, *args: Any, **kwargs: Any) -> Any:
        steps = gen(*static, *args, **kwargs)
        inner, named = next(steps)
        outs, aux = steps.send(call(*inner, **named))
        store.store(aux)
        return outs
    return lambda fun, *static: transformation_with_aux2(run, fun, static)


__getattr__ = getter(__name__)

"""Base classes of JAX's high-level types, which libraries subclass. Making a value of one raises: every value of a
program here is an array."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.absent import getter
from tracejit.core import AbstractValue, ShapedArray
from tracejit.interpreters.ad import Zero, instantiate_zeros, is_undefined_primal
from tracejit.ref import AbstractRef, Ref

__all__ = ["AbstractRef", "AbstractValue", "AvalMutableQDD", "AvalQDD", "HiPrimitive", "HiType", "MutableHiType", "Ref",
           "ShapedArray", "TransformedRef", "VJPHiPrimitive", "Zero", "aval_method", "aval_property",
           "control_flow_allowed_effects", "instantiate_zeros", "is_undefined_primal", "register_hitype"]


def refuse(what: str) -> NotImplementedError:
    return NotImplementedError(f"{what}: there are no high-level types here; every value of a program is an "
                               "array. Use the library's settings that keep plain arrays")


class HiType:
    """A type whose values are not arrays. It can be subclassed, not be instantiated."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise refuse(type(self).__name__)


class MutableHiType(HiType):
    """A HiType whose values change."""


class AvalQDD(HiType):
    """A type together with the present state of a value that changes."""


class AvalMutableQDD(HiType):
    """A type together with the state of a value, which a primitive may change."""


class TransformedRef(HiType):
    """A part of a ref: no value is one."""


class HiPrimitive:
    """An operation on HiTypes. It can be made, and refuses to be applied."""
    multiple_results = False

    def __init__(self, name: str):
        self.name = name

    def bind(self, *args: Any, **params: Any) -> Any:
        raise refuse(f"primitive '{self.name}'")


class VJPHiPrimitive(HiPrimitive):
    """A HiPrimitive that comes with its derivative."""


class AllowedEffects(set):
    """The classes of effects that loops and branches may have: whatever a program does there runs in order."""

    def add_type(self, effect: type) -> None:
        self.add(effect)


control_flow_allowed_effects = AllowedEffects()
aval_method = staticmethod
aval_property = property


def register_hitype(cls: type, typeof: Callable[[Any], HiType]) -> None:
    """Nothing: values of the class never become types, since no operation takes them."""


__getattr__ = getter(__name__)

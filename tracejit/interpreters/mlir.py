"""What a program's own primitives are compiled to: `register_lowering(primitive, lower_fun(f))`."""
from collections.abc import Callable
from typing import Any

from tracejit.absent import getter
from tracejit.transforms.primitives import Lowered, Primitive, lowerings

__all__ = ["LoweringRuleContext", "lower_fun", "register_lowering"]


class LoweringRuleContext:
    """What a rule that writes MLIR is given, for annotations: no such rule is called here."""


def lower_fun(fun: Callable, multiple_results: bool = True) -> Lowered:
    """The lowering rule that compiles a primitive to the program of a function of its operands and params.

    >>> from tracejit.interpreters.mlir import lower_fun
    >>> lower_fun(abs, multiple_results=False).multiple_results
    False
    """
    return Lowered(fun, multiple_results)


def register_lowering(prim: Primitive, rule: Any, platform: str | None = None, **settings: Any) -> None:
    """Say what a primitive is compiled to. A rule that writes MLIR is refused when the primitive is first compiled, and one
    for another platform than the CPU is not looked at."""
    if platform in (None, "cpu"):
        lowerings[prim] = rule


__getattr__ = getter(__name__)

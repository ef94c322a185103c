"""What a program's own primitives are compiled to: `register_lowering(primitive, lower_fun(f))`.

A lowering rule is called with traced values where JAX's compiler has MLIR's. It may hand them to `lower_fun(f)` and to
`emit_python_callback`.
"""
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.lax.callback import io_callback, pure_callback
from tracejit.transforms.primitives import Lowered, LoweringRuleContext, Primitive, lowerings

__all__ = ["LoweringRuleContext", "emit_python_callback", "lower_fun", "register_lowering"]


def emit_python_callback(ctx: LoweringRuleContext, callback: Callable, token: Any, operands: Sequence[Any],
                         operand_avals: Sequence[Any], result_avals: Sequence[Any], *, has_side_effect: bool,
                         returns_token: bool = True, partitioned: bool = False, sharding: Any = None) -> tuple[list, Any, None]:
    """(results of a Python function of the operands, the token, nothing that must be kept alive)."""
    call = io_callback if has_side_effect else pure_callback
    return list(call(lambda *args: tuple(callback(*args)), tuple(result_avals), *operands)), token, None


def lower_fun(fun: Callable, multiple_results: bool = True) -> Lowered:
    """The lowering rule that compiles a primitive to the program of a function of its operands and params.

    >>> from tracejit.interpreters.mlir import lower_fun
    >>> lower_fun(abs, multiple_results=False).multiple_results
    False
    """
    return Lowered(fun, multiple_results)


def register_lowering(prim: Primitive, rule: Callable, platform: str | None = None, **settings: Any) -> None:
    """Say what a primitive is compiled to: rule(ctx, *operands, **params) -> results. A rule that writes MLIR is refused when the
    primitive is first compiled, and one for another platform than the CPU is not looked at."""
    if platform in (None, "cpu"):
        lowerings[prim] = rule


__getattr__ = getter(__name__)

"""Functions with derivatives of their own, under JAX's module name."""
from typing import Any

from tracejit.absent import getter
from tracejit.ir.types import type_of
from tracejit.transforms.custom import closure_convert as closure_convert
from tracejit.transforms.custom import custom_gradient as custom_gradient
from tracejit.transforms.custom import custom_jvp as custom_jvp
from tracejit.transforms.custom import custom_vjp as custom_vjp
from tracejit.transforms.custom_rules import CustomVJPPrimal as CustomVJPPrimal
from tracejit.transforms.custom_rules import SymbolicZero as SymbolicZero
from tracejit.transforms.custom_rules import zero_tangent
from tracejit.transforms.linear_call import linear_call as linear_call
from tracejit.transforms.primitives import Primitive as Primitive
from tracejit.tree_util import tree_map

custom_jvp_call_p = Primitive("custom_jvp_call")  # for tables of rules: calls here are ops that hold their rule


def zero_from_primal(val: Any, symbolic_zeros: bool = False) -> Any:
    """The zero tangents of a tree of values: arrays (float0 for integers), or SymbolicZeros where asked.

    >>> zero_from_primal(2.0)
    Array(0., dtype=float32)
    """
    def zero(x: Any) -> Any:
        t = type_of(x).to_tangent_aval()
        return SymbolicZero(t) if symbolic_zeros else zero_tangent(t)
    return tree_map(zero, val)


def custom_vjp_primal_tree_values(tree: Any) -> Any:
    """The values of the arguments of a forward rule that was registered with symbolic_zeros=True."""
    def value(leaf: Any) -> Any:
        if not isinstance(leaf, CustomVJPPrimal):
            raise TypeError(f"custom_vjp_primal_tree_values: expected a CustomVJPPrimal, got {type(leaf).__name__}")
        return leaf.value
    return tree_map(value, tree)


__getattr__ = getter(__name__)

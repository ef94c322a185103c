"""Functions with derivatives of their own, under JAX's module name."""
from typing import Any

from tracejit.absent import getter
from tracejit.transforms.custom import CustomVJPPrimal as CustomVJPPrimal
from tracejit.transforms.custom import SymbolicZero as SymbolicZero
from tracejit.transforms.custom import closure_convert as closure_convert
from tracejit.transforms.custom import custom_gradient as custom_gradient
from tracejit.transforms.custom import custom_jvp as custom_jvp
from tracejit.transforms.custom import custom_vjp as custom_vjp
from tracejit.transforms.primitives import Primitive as Primitive
from tracejit.tree_util import tree_map

custom_jvp_call_p = Primitive("custom_jvp_call")  # for tables of rules: calls here are ops that hold their rule


def custom_vjp_primal_tree_values(tree: Any) -> Any:
    """The values of the arguments of a forward rule that was registered with symbolic_zeros=True."""
    def value(leaf: Any) -> Any:
        if not isinstance(leaf, CustomVJPPrimal):
            raise TypeError(f"custom_vjp_primal_tree_values: expected a CustomVJPPrimal, got {type(leaf).__name__}")
        return leaf.value
    return tree_map(value, tree)


__getattr__ = getter(__name__)

"""Derivative rules of a program's own primitives: the registries, and rules of common forms."""
from typing import Any

from tracejit.absent import getter
from tracejit.ir.graph import Tracer
from tracejit.ir.trace import is_perturbed
from tracejit.lax.convert import stop_gradient_p
from tracejit.transforms.primitives import (UndefinedPrimal, Zero, defbilinear, defjvp, defjvp2, deflinear, deflinear2,
                                            instantiate_zeros)
from tracejit.transforms.primitives import jvp_rules as primitive_jvps
from tracejit.transforms.primitives import transpose_rules as primitive_transposes

__all__ = ["JVPTracer", "UndefinedPrimal", "Zero", "defbilinear", "defjvp", "defjvp2", "deflinear", "deflinear2",
           "instantiate_zeros", "is_undefined_primal", "primitive_jvps", "primitive_transposes",
           "stop_gradient_p"]


class TracersWithTangents(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tracer) and x.builder is not None and is_perturbed(x)


class JVPTracer(metaclass=TracersWithTangents):
    """By isinstance: a traced value that depends on what the innermost function around it is differentiated by."""


def is_undefined_primal(x: Any) -> bool:
    """Whether x is an operand that a transpose rule is linear in."""
    return isinstance(x, UndefinedPrimal)


__getattr__ = getter(__name__)

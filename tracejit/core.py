"""Names of the tracing core that programs look at: Tracer, ShapedArray, eval_jaxpr."""
import importlib
from collections.abc import Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.ir.graph import Eqn as JaxprEqn
from tracejit.ir.graph import Graph as Jaxpr
from tracejit.ir.graph import Lit as Literal
from tracejit.ir.graph import Tracer, Var
from tracejit.ir.trace import call, current_builder
from tracejit.ir.types import ArrayType as ShapedArray
from tracejit.ir.types import type_of_own as pytype_aval_mappings
from tracejit.transforms.inspect import ClosedGraph as ClosedJaxpr
from tracejit.transforms.inspect import ensure_compile_time_eval

Atom = Tracer | Literal
AbstractValue = ShapedArray
Value = Any

__all__ = ["AbstractValue", "Atom", "ClosedJaxpr", "Jaxpr", "JaxprEqn", "Literal", "ShapedArray", "Trace", "Tracer", "Value",
           "Var", "ensure_compile_time_eval", "eval_jaxpr", "pytype_aval_mappings", "trace_state_clean"]


class Trace:
    """The base of JAX's interpreters. It can be subclassed; transforms here are rewrites of programs, so making one raises."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError(f"{type(self).__name__}: programs are not interpreted here, they are traced and rewritten; "
                                  "walk over make_jaxpr(f)(*args).eqns instead")


def trace_state_clean() -> bool:
    """Whether no function is being traced."""
    return current_builder() is None


def eval_jaxpr(jaxpr: Jaxpr, consts: Sequence[Any], *args: Any) -> list[Any]:
    """Run a program on the values it closes over and on flat arguments.

    >>> import tracejit as tj
    >>> made = tj.make_jaxpr(lambda x: x * 2.)(1.)
    >>> eval_jaxpr(made.jaxpr, made.consts, 4.)
    [Array(8., dtype=float32, weak_type=True)]
    """
    return call(jaxpr, [*consts, *args])


absent = getter(__name__)


def __getattr__(name: str) -> Any:
    """JAX moved much of this module to `extend.core` and still finds it here."""
    extended = importlib.import_module("tracejit.extend.core")
    return getattr(extended, name) if name in extended.__all__ else absent(name)

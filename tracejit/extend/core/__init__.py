"""Parts of traced programs, primitives that a library defines, and what tells one trace from another."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tracejit.absent import getter
from tracejit.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, eval_jaxpr
from tracejit.errors import ConcretizationTypeError
from tracejit.extend.linear_util import DebugInfo
from tracejit.ir.trace import building, concrete_value, current_builder, no_trace
from tracejit.ir.types import FLOAT0, ArrayType, canonicalize_dtype, is_inexact, type_of
from tracejit.transforms.primitives import Primitive

__all__ = ["ClosedJaxpr", "DebugInfo", "DropVar", "Effect", "Effects", "Jaxpr", "JaxprEqn", "Literal", "OpaqueTraceState",
           "Primitive", "TraceTag", "Var", "concrete_or_error", "find_top_trace", "get_opaque_trace_state", "jaxpr_as_fun",
           "jaxprs_in_params", "mapped_aval", "no_effects", "primal_dtype_to_tangent_dtype", "set_current_trace", "subjaxprs",
           "take_current_trace", "unmapped_aval", "valid_jaxtype"]


class DropVar(Literal):
    """A result of an equation that nobody reads, as JAX marks it. Equations here always name their results."""


class TraceTag:
    """What tells the values of one of a library's own traces from those of others."""


class Effect:
    """The base of a library's classes that name a side effect. Effects here are a property of each op."""


Effects = Set[Effect]
no_effects: Effects = frozenset()


@dataclass(frozen=True)
class OpaqueTraceState:
    """The innermost trace; states are equal while it stays the same."""
    builder: Any
    convention: str = ""


def get_opaque_trace_state(trace: Any = None, convention: str = "") -> OpaqueTraceState:
    """What can be compared later to see whether the same function is still being traced.

    >>> import tracejit as tj
    >>> outside, seen = get_opaque_trace_state(), []
    >>> _ = tj.jit(lambda x: seen.append(get_opaque_trace_state()) or x)(1.)
    >>> outside == get_opaque_trace_state(), outside == seen[0]
    (True, False)
    """
    return OpaqueTraceState(current_builder(), convention)


def find_top_trace(xs: Any) -> Any:
    """The innermost trace, None where nothing is being traced."""
    return current_builder()


@contextlib.contextmanager
def take_current_trace() -> Iterator[Any]:
    """Inside, nothing is being traced; gives the trace that was."""
    builder = current_builder()
    with no_trace():
        yield builder


@contextlib.contextmanager
def set_current_trace(trace: Any) -> Iterator[None]:
    """Inside, a trace that take_current_trace gave is the innermost one again."""
    with no_trace() if trace is None else building(trace):
        yield


def jaxpr_as_fun(closed_jaxpr: ClosedJaxpr) -> Callable[..., list[Any]]:
    """A program as a function of flat arguments.

    >>> import tracejit as tj
    >>> jaxpr_as_fun(tj.make_jaxpr(lambda x: x + 1.)(0.))(2.)
    [Array(3., dtype=float32, weak_type=True)]
    """
    return lambda *args: eval_jaxpr(closed_jaxpr.jaxpr, closed_jaxpr.consts, *args)


def jaxprs_in_params(params: dict[str, Any]) -> list[Jaxpr]:
    """The programs among the static parameters of an equation."""
    values = [v for value in params.values() for v in (value if isinstance(value, (tuple, list)) else [value])]
    return [v.jaxpr if isinstance(v, ClosedJaxpr) else v for v in values if isinstance(v, (Jaxpr, ClosedJaxpr))]


def subjaxprs(jaxpr: Jaxpr) -> list[Jaxpr]:
    """The programs that the equations of a program run."""
    return [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]


def valid_jaxtype(x: Any) -> bool:
    """Whether x can be an argument of a traced function.

    >>> valid_jaxtype(1.0), valid_jaxtype("a")
    (True, False)
    """
    try:
        type_of(x)
    except TypeError:
        return False
    return True


def concrete_or_error(force: Callable | None, x: Any, context: str = "") -> Any:
    """force(x) of a value that is known while tracing; ConcretizationTypeError with the context where only its type is.

    >>> concrete_or_error(int, 3.7)
    3
    """
    known = concrete_value(x)
    if known is None and isinstance(x, Var):
        raise ConcretizationTypeError(f"{context} Its value must be known while tracing; this one is a traced {x.type}".lstrip())
    x = x if known is None else known
    return x if force is None else force(x)


def primal_dtype_to_tangent_dtype(dtype: Any) -> np.dtype:
    """The dtype of derivatives with respect to values of a dtype: float0 for integers and booleans."""
    dtype = canonicalize_dtype(dtype)
    return dtype if is_inexact(dtype) else FLOAT0


def mapped_aval(size: int, axis: int | None, aval: ArrayType) -> ArrayType:
    """The type of one lane of an array with `size` lanes along an axis."""
    if axis is None:
        return aval
    return ArrayType(tuple(d for i, d in enumerate(aval.shape) if i != axis % aval.ndim), aval.dtype, aval.weak_type)


def unmapped_aval(size: int, axis: int | None, aval: ArrayType) -> ArrayType:
    """The type of an array with `size` lanes of a type along an axis.

    >>> import tracejit as tj
    >>> unmapped_aval(3, 0, tj.core.ShapedArray((2,), "float32"))
    f32[3,2]
    """
    if axis is None:
        return aval
    at = axis % (aval.ndim + 1)
    return ArrayType((*aval.shape[:at], size, *aval.shape[at:]), aval.dtype, aval.weak_type)


_absent = getter(__name__)


def __getattr__(name: str) -> Any:
    return import_module("tracejit.extend.core.primitives") if name == "primitives" else _absent(name)

"""Tracing a function of which some arguments are known: what depends only on those is computed at once."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.extend.linear_util import WrappedFun
from tracejit.ir.graph import CapturingGraph, Graph, Var, live_eqns
from tracejit.ir.graph import Tracer as DynamicJaxprTracer  # what the function that is traced sees
from tracejit.ir.trace import call, trace
from tracejit.ir.types import ArrayType, type_of

__all__ = ["DynamicJaxprTracer", "PartialVal", "trace_to_jaxpr_nounits"]


class PartialVal(tuple):
    """(None, value) for a known value, (type, None) for an unknown one."""

    @classmethod
    def known(cls, const: Any) -> PartialVal:
        return cls((None, const))

    @classmethod
    def unknown(cls, aval: ArrayType) -> PartialVal:
        return cls((aval, None))

    def is_known(self) -> bool:
        return self[0] is None

    def get_known(self) -> Any:
        """The value, None if it is not known."""
        return self[1]

    def get_aval(self) -> ArrayType:
        """The type."""
        return type_of(self[1]) if self[0] is None else self[0]


def trace_to_jaxpr_nounits(fun: WrappedFun, pvals: Sequence[PartialVal], instantiate: bool = False
                           ) -> tuple[CapturingGraph, list[PartialVal], list[Any]]:
    """(program of the unknown results, all results as PartialVals, the values that the program closes over).

    With instantiate=True all results are unknown.
    """
    def f(*unknown: Any) -> list:
        rest = iter(unknown)
        return list(fun.call_wrapped(*[value if aval is None else next(rest) for aval, value in pvals]))
    graph, captured = trace(f, [aval for aval, _ in pvals if aval is not None])
    n = len(captured)
    unknown = depending_on(graph, graph.params[n:])
    late = [instantiate or (r.__class__ is Var and r in unknown) for r in graph.results]
    early = Graph(graph.params[:n], [], [r for r, is_late in zip(graph.results, late) if not is_late])
    early.eqns = live_eqns(Graph(early.params, graph.eqns, early.results))
    known = iter(call(early, captured))
    outs = [PartialVal.unknown(r.type) if is_late else PartialVal.known(next(known)) for r, is_late in zip(graph.results, late)]
    results = [r for r, is_late in zip(graph.results, late) if is_late]
    rest = Graph(graph.params, live_eqns(Graph(graph.params, graph.eqns, results)), results)
    return CapturingGraph(rest, n), outs, captured


def depending_on(graph: Graph, params: Sequence[Var]) -> set[Var]:
    """The variables that some of these params go into."""
    found = set(params)
    for eqn in graph.eqns:
        if any(x.__class__ is Var and x in found for x in eqn.inputs):
            found.update(eqn.outputs)
    return found


__getattr__ = getter(__name__)

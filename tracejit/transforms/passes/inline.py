"""Inlining: after this, no Call (custom rules, checkpoint) remains. What a checkpoint computes again reads its
operands through barriers, so it is neither merged with what was computed before nor computed earlier than needed."""
from __future__ import annotations

import dataclasses

from tracejit.ir.graph import Eqn, Graph, Var, fields_of, is_graphs, subgraphs
from tracejit.lax.barrier import OptimizationBarrier
from tracejit.lax.custom import Call, Checkpoint, Rematerialized


def inline_calls(graph: Graph) -> Graph:
    """Replaces each call by the equations of its sub-graph, in sub-graphs too."""
    if not any(isinstance(eqn.op, Call) or has_subgraphs(eqn.op) for eqn in graph.eqns):
        return graph
    eqns: list[Eqn] = []
    renamed: dict[Var, object] = {}
    add_inlined(graph.eqns, renamed, eqns)
    return Graph(graph.params, eqns, [renamed.get(r, r) if isinstance(r, Var) else r for r in graph.results])


def has_subgraphs(op) -> bool:
    return any(is_graphs(value) for _, value in fields_of(op))


def add_inlined(source: list[Eqn], renamed: dict, eqns: list[Eqn], fresh: bool = False) -> None:
    for eqn in source:
        inputs = [renamed.get(x, x) if isinstance(x, Var) else x for x in eqn.inputs]
        if isinstance(eqn.op, Call):
            inner = dict(zip(eqn.op.graph.params, behind_barriers(eqn, inputs, eqns)))
            add_inlined(eqn.op.graph.eqns, inner, eqns, True)
            results = [inner.get(r, r) if isinstance(r, Var) else r for r in eqn.op.graph.results]
            renamed.update(zip(eqn.outputs, results))
            continue
        outputs = eqn.outputs
        if fresh:  # a sub-graph may be called several times
            outputs = [Var(v.type) for v in eqn.outputs]
            renamed.update(zip(eqn.outputs, outputs))
        eqns.append(Eqn(with_inlined_subgraphs(eqn.op), inputs, outputs, eqn.source))


def behind_barriers(eqn: Eqn, inputs: list, eqns: list[Eqn]) -> list:
    """The operands of a recomputation, none before the last: that is a tangent or a cotangent."""
    if not isinstance(eqn.op, (Checkpoint, Rematerialized)):
        return inputs
    out: list = []
    for x in inputs:
        if isinstance(x, Var):
            after = [inputs[-1]] if x is not inputs[-1] else []
            made = Eqn(OptimizationBarrier(), [x, *after], [Var(x.type)], eqn.source)
            eqns.append(made)
            x = made.outputs[0]
        out.append(x)
    return out


def with_inlined_subgraphs(op):
    changes = {}
    for name, value in fields_of(op):
        if is_graphs(value):
            subs = tuple(inline_calls(g) for g in subgraphs(value))
            changes[name] = subs if isinstance(value, tuple) else subs[0]
    return dataclasses.replace(op, **changes) if changes else op

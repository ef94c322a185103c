"""Joins of values that must be in memory anyway are read from there.

    y = concatenate(a, b)            y = concatenate(a, b)
    return y, sin(y)            ->   z = copy(y)
                                     return z, sin(z)

Views are pulled into what reads them, and a join makes each reader choose where an element comes from. Where its elements are
wanted in one place (a result, a loop's carry, an operand of a library), it is cheaper to put them there first. In a loop that
changes a part of its carry, the change is then made in the carry's own memory.
"""
from __future__ import annotations

from tracejit.ir.graph import Eqn, Graph, Var, replay
from tracejit.ir.trace import bind, record_eqn, rewrite, sourced
from tracejit.lax.barrier import Copy
from tracejit.lax.kinds import Elementwise, Reduction, View

SMALL = 1 << 10     # elements from which memory traffic counts


def store_joins(graph: Graph) -> Graph:
    stored = joins_to_store(graph)
    if not stored:
        return graph

    def apply(eqn: Eqn, inputs):
        with sourced(eqn.source):
            outs = record_eqn(eqn, inputs)
            return [bind(Copy(), out) if var in stored else out for var, out in zip(eqn.outputs, outs)]
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def joins_to_store(graph: Graph) -> set[Var]:
    """The joins that are wanted in memory and that fused operations read as well."""
    joins = {v for eqn in graph.eqns if isinstance(eqn.op, View) and eqn.op.joins
             for v in eqn.outputs if v.type.size >= SMALL}
    if not joins:
        return joins
    in_memory, fused = {r for r in graph.results if isinstance(r, Var)}, set()
    for eqn in graph.eqns:
        is_fused = isinstance(eqn.op, (View, Elementwise, Reduction))
        (fused if is_fused else in_memory).update(x for x in eqn.inputs if isinstance(x, Var))
    return joins & in_memory & fused

"""Choices by lane. After this, no Cond has a vector of indices: its branches all run and each lane picks its own result."""
from __future__ import annotations

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, replay
from tracejit.ir.trace import inline, record_eqn, sourced, trace_closed
from tracejit.ir.types import type_of
from tracejit.lax.branches import Cond


def lower_lane_choices(graph: Graph) -> Graph:
    if not any(is_lane_choice(eqn) for eqn in graph.eqns):
        return graph

    def apply(eqn: Eqn, inputs):
        if not is_lane_choice(eqn):
            return record_eqn(eqn, inputs)
        with sourced(eqn.source):
            return choose(eqn.op, *inputs)
    return trace_closed(lambda *args: replay(graph, args, apply), graph.in_types)


def is_lane_choice(eqn: Eqn) -> bool:
    return isinstance(eqn.op, Cond) and bool(eqn.inputs[0].type.ndim)


def choose(op: Cond, index, *operands) -> list:
    results = [inline(lower_lane_choices(g), operands) for g in op.branches]
    if len(op.branches) == 2:
        index = lax.ne(index, 0)
    lanes = type_of(index).ndim

    def pick(*ys):
        shape = type_of(ys[0]).shape
        which = lax.broadcast_in_dim(index, shape, tuple(range(lanes)))
        return lax.select_n(which, *ys)
    return [pick(*ys) for ys in zip(*results)]

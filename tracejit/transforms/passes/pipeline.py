"""The passes in their order: what every program goes through before code generation."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tracejit.ir.graph import Eqn, Graph, fields_of, is_graphs, live_eqns, subgraphs
from tracejit.transforms.passes.products import lower_products
from tracejit.transforms.passes.inline import inline_calls
from tracejit.transforms.passes.lanes import lower_lane_choices

Pass = Callable[[Graph], Graph]


def remove_dead(graph: Graph) -> Graph:
    """Drops equations that no result and no effect needs."""
    return Graph(graph.params, live_eqns(graph), graph.results)


def everywhere(change: Pass) -> Pass:
    """The pass applied to sub-graphs of loops and branches first, then to the graph itself."""
    def apply(graph: Graph) -> Graph:
        eqns = [in_subgraphs(eqn, apply) for eqn in graph.eqns]
        return change(Graph(graph.params, eqns, graph.results))
    return apply


def in_subgraphs(eqn: Eqn, change: Pass) -> Eqn:
    changes = {}
    for name, value in fields_of(eqn.op):
        if is_graphs(value):
            subs = tuple(change(g) for g in subgraphs(value))
            changes[name] = subs if isinstance(value, tuple) else subs[0]
    return Eqn(dataclasses.replace(eqn.op, **changes), eqn.inputs, eqn.outputs, eqn.source) if changes else eqn


PASSES: tuple[tuple[str, Pass], ...] = (
    ("inline calls", inline_calls),
    ("remove dead code", everywhere(remove_dead)),
    ("choose lanes", everywhere(lower_lane_choices)),
    ("lower products", everywhere(lower_products)),
)

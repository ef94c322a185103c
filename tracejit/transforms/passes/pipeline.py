"""The passes in their order: what every program goes through before code generation."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from tracejit.ir.graph import Eqn, Graph, fields_of, is_graphs, subgraphs
from tracejit.transforms.passes.accumulators import add_in_loops
from tracejit.transforms.passes.dead import remove_dead
from tracejit.transforms.passes.inline import inline_calls
from tracejit.transforms.passes.joins import store_joins
from tracejit.transforms.passes.lanes import lower_choices
from tracejit.transforms.passes.loops import lighten_loops
from tracejit.transforms.passes.masks import leave_out_masked
from tracejit.transforms.passes.moments import fold_moments_at_once
from tracejit.transforms.passes.parts import cut_large_values
from tracejit.transforms.passes.products import lower_products
from tracejit.transforms.passes.ranges import decide_by_ranges
from tracejit.transforms.passes.updates import lower_updates
from tracejit.transforms.passes.scans import lower_scans
from tracejit.transforms.passes.scatters import lower_scatters
from tracejit.transforms.passes.selections import select_updates
from tracejit.transforms.passes.simplify import simplify

Pass = Callable[[Graph], Graph]


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


INLINING: tuple[tuple[str, Pass], ...] = (
    ("inline calls", inline_calls),
    ("remove dead code", remove_dead),
)   # what is left says all of what the program computes

def improving(halves: bool = False, parts: bool = True, words: Mapping[str, str] = {}) -> tuple[tuple[str, Pass], ...]:
    """`halves`: the back end multiplies 16-bit floats. `parts`: its loops cost little. `words`: dtypes that it multiplies by
    the word, and what it wants in the words."""
    return (
        ("decide by ranges", decide_by_ranges),
        ("simplify", simplify),
        ("remove what became dead", remove_dead),
        ("lighten loops", lighten_loops),
        ("remove what was moved", remove_dead),
        *((("leave out what masks drop", everywhere(leave_out_masked)), ("cut large values", everywhere(cut_large_values)),
           ("remove what was cut", remove_dead), ("fold moments at once", everywhere(fold_moments_at_once)),
           ("remove unread means", remove_dead)) if parts else ()),
        ("choose lanes", everywhere(lower_choices)),
        ("lower products", everywhere(partial(lower_products, halves=halves, words=words))),
        ("lower updates", everywhere(lower_updates)),
        ("add in inner loops", everywhere(add_in_loops)),
        ("select updates of rows", everywhere(select_updates)),
        ("remove what was replaced", remove_dead),
        ("store joins", everywhere(store_joins)),
    )


IMPROVING = improving()
PASSES = (*INLINING, *IMPROVING)
# For machines of many threads that multiply 16-bit floats: GPUs.
DEVICE_PASSES = (*INLINING, *improving(halves=True, parts=False), ("cut running folds", everywhere(lower_scans)),
                 ("sort what is added", everywhere(lower_scatters)),
                 ("simplify what was cut", simplify), ("remove what became dead", remove_dead))

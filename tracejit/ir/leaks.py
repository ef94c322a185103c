"""Which traced values outlive the function that was traced: those that something other than its graph still refers to."""
from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from tracejit.ir.graph import Graph, Var


def leaked_vars(graph: Graph) -> list[Var]:
    """The values of a finished graph that a global, a closure, an attribute or the like holds."""
    values = [*graph.params, *[v for eqn in graph.eqns for v in eqn.outputs]]
    own = {id(x) for x in [values, graph.params, graph.eqns, graph.results]}
    for eqn in graph.eqns:
        own |= {id(eqn), id(eqn.inputs), id(eqn.outputs)}
    if not are_held(values, own):
        return []
    gc.collect()    # cycles that nobody refers to hold nothing
    return [v for v in values if are_held((v,), own)]


def are_held(values: Sequence[Var], own: set[int]) -> bool:
    """Whether an object refers to one of the values that is none of these and no running function."""
    own = {*own, id(values), *map(id, running_frames())}
    return any(id(x) not in own for x in gc.get_referrers(*values))


def running_frames() -> Iterator[FrameType]:
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back

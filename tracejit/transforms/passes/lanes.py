"""Choices without a branch. After this, no Cond has a vector of indices, and none has branches that cost less than
a jump: their branches all run, and each lane picks its own result."""
from __future__ import annotations

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.trace import inline, replaced
from tracejit.ir.types import TapeType, type_of
from tracejit.lax.branches import Cond
from tracejit.lax.kinds import Elementwise, View


CHEAP = 64      # additions


def lower_choices(graph: Graph) -> Graph:
    return replaced(graph, lambda eqn: is_lane_choice(eqn) or is_cheap_choice(eqn), choose)


def is_lane_choice(eqn: Eqn) -> bool:
    return isinstance(eqn.op, Cond) and bool(eqn.inputs[0].type.ndim)


def is_cheap_choice(eqn: Eqn) -> bool:
    """Whether all branches together are a few elementwise operations on few elements."""
    if not isinstance(eqn.op, Cond) or eqn.op.has_effects:
        return False
    inner = [e for g in eqn.op.branches for e in g.eqns]
    if not all(isinstance(e.op, (Elementwise, View)) for e in inner) or any(isinstance(v.type, TapeType) for v in eqn.outputs):
        return False
    return sum(e.outputs[0].type.size for e in inner) + sum(v.type.size for v in eqn.outputs) <= CHEAP


def choose(op: Cond, index, *operands) -> list:
    results = [inline(lower_choices(g), operands) for g in op.branches]
    if len(op.branches) == 2:
        index = lax.ne(index, 0)
    elif not type_of(index).ndim:
        index = lax.clamp(np.int32(0), index, np.int32(len(results) - 1))
    lanes = type_of(index).ndim

    def pick(*ys):
        shape = type_of(ys[0]).shape
        which = lax.broadcast_in_dim(index, shape, tuple(range(lanes))) if lanes else index
        return lax.select_n(which, *ys)
    return [pick(*ys) for ys in zip(*results)]

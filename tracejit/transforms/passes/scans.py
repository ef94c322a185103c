"""Running folds for machines with many threads. After this, a Cumulative is along a short axis, or there are many of its lanes.

    out[p, i] = total of the parts before p  (+)  running fold of part p at i

The totals of the parts are themselves folded so, until few are left.
"""
from __future__ import annotations

import dataclasses

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.trace import bind, replaced
from tracejit.lax.cumulative import Cumulative

PART = 64           # elements that one thread folds
LONG = 4 * PART     # an axis that is worth cutting
MANY = 1 << 15      # lanes that keep a machine busy


def lower_scans(graph: Graph) -> Graph:
    return replaced(graph, is_long, lambda op, x: [in_parts(op, x)])


def is_long(eqn: Eqn) -> bool:
    if not isinstance(eqn.op, Cumulative):
        return False
    t = eqn.inputs[0].type
    n = t.shape[eqn.op.axis]
    return n >= LONG and t.size < MANY * n


def in_parts(op: Cumulative, x):
    shape, axis, neutral = x.type.shape, op.axis, op.neutral(x.type.dtype)
    n = shape[axis]
    x = lax.pad(x, x.type.dtype.type(neutral), [(0, -n % PART if d == axis else 0, 0) for d in range(len(shape))])
    parts = x.type.shape[axis] // PART
    inner = dataclasses.replace(op, axis=axis + 1)
    folded = bind(inner, lax.reshape(x, (*shape[:axis], parts, PART, *shape[axis + 1:])))
    totals = lax.index_in_dim(folded, 0 if op.reverse else PART - 1, axis + 1, keepdims=False)
    running = in_parts(op, totals) if parts >= LONG else bind(op, totals)
    before = op.shifted(running, 1, x.type.dtype.type(neutral))
    kept = tuple(d for d in range(folded.type.ndim) if d != axis + 1)
    out = bind(op.monoid, lax.broadcast_in_dim(before, folded.type.shape, kept), folded)
    return lax.slice_in_dim(lax.reshape(out, x.type.shape), 0, n, axis=axis)

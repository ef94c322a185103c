"""Small updates of large arrays. After this, a DynamicUpdateSlice that writes less than half of its operand is a
Scatter, which code generation runs in the operand's own memory where nobody reads it afterwards."""
from __future__ import annotations

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Lit, replay
from tracejit.ir.trace import bind, record_eqn, sourced, trace_closed
from tracejit.ir.types import type_of
from tracejit.lax.dynamic import DynamicUpdateSlice
from tracejit.lax.index import Scatter

INT64 = np.dtype("int64")


def lower_updates(graph: Graph) -> Graph:
    if not any(is_small_update(eqn) for eqn in graph.eqns):
        return graph

    def apply(eqn: Eqn, inputs):
        if not is_small_update(eqn):
            return record_eqn(eqn, inputs)
        with sourced(eqn.source):
            return [as_scatter(*inputs)]
    return trace_closed(lambda *args: replay(graph, args, apply), graph.in_types)


def is_small_update(eqn: Eqn) -> bool:
    if not isinstance(eqn.op, DynamicUpdateSlice):
        return False
    x, y = (v.type for v in eqn.inputs[:2])
    return bool(y.ndim) and 0 < 2 * y.size <= x.size


def as_scatter(x, y, *starts):
    n = len(starts)
    where = lax.concatenate([index_of(start, size) for start, size in zip(starts, type_of(x).shape)], 0)
    op = Scatter(tuple(range(n)), (), tuple(range(n)), (), (), type_of(y).shape, "clip", True)
    return bind(op, x, where, y)


def index_of(start, size: int):
    """A start index, counted from 0, as a vector of one element."""
    if isinstance(start, Lit):
        at = int(start.value)
        return lax.full((1,), at + size if at < 0 else at, INT64)
    at = lax.convert_element_type(start, INT64)
    return lax.reshape(lax.select(lax.lt(at, 0), lax.add(at, size), at), (1,))

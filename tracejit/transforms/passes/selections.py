"""Additions to zeros of one number in each row -> a selection, which fuses with what reads it.

    scatter_add(zeros, y, ct)  ->  select(position == y, ct, 0)     the cotangent of x[arange(n), y], of take_along_axis

After this, such a result need not be in memory: the gradient of a cross entropy is one kernel.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Atom, Eqn, Graph, replay
from tracejit.ir.trace import record_eqn, rewrite, sourced
from tracejit.lax.index import ScatterAdd
from tracejit.lax.shape import Concatenate
from tracejit.transforms.passes.masks import known_value
from tracejit.transforms.passes.regions import Uses
from tracejit.transforms.passes.updates import is_zero


class Rows(NamedTuple):
    """Where the updates of rows fall: along which axis of the operand, by which column of the indices, and which axis of the
    updates each other axis of the operand is."""
    axis: int
    column: int
    others: tuple[int, ...]


def select_updates(graph: Graph) -> Graph:
    uses = Uses(graph)
    found = {eqn: rows for eqn in graph.eqns if (rows := rows_of(uses, eqn)) is not None}
    if not found:
        return graph

    def apply(eqn: Eqn, inputs):
        if eqn not in found:
            return record_eqn(eqn, inputs)
        with sourced(eqn.source):
            return [selection(eqn.op, found[eqn], *inputs)]
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def rows_of(uses: Uses, eqn: Eqn) -> Rows | None:
    """Of an addition of single elements to zeros: how each row gets one of them; None if that is not known."""
    op = eqn.op
    if type(op) is not ScatterAdd or not is_zero(uses.made, eqn.inputs[0]) or not eqn.inputs[2].type.size:
        return None
    shape, batch = eqn.inputs[0].type.shape, eqn.inputs[1].type.shape[:-1]
    if any(n != 1 for n in op.sizes):
        return None
    given = dict(zip(op.operand_batching, op.indices_batching))
    chosen = []
    for column, axis in enumerate(op.index_map):
        own = position_axis(uses, eqn.inputs[1], column, batch, shape[axis], given.values())
        if own is None:
            chosen.append((axis, column))
        else:
            given[axis] = own
    left = [n for a, n in enumerate(batch) if a not in given.values()]
    if len(chosen) != 1 or any(n != 1 for n in left):
        return None
    (axis, column), = chosen
    others = [a for a in range(len(shape)) if a != axis]
    has_all = all(shape[a] == 1 or a in given for a in others)
    return Rows(axis, column, tuple(given[a] for a in others if a in given)) if has_all else None


def position_axis(uses: Uses, indices: Atom, column: int, batch: tuple[int, ...], size: int, taken) -> int | None:
    """The axis of the updates whose position a column of the indices is, if there is one of this size that is not taken."""
    eqn = uses.made.get(indices)
    if eqn is None or not isinstance(eqn.op, Concatenate) or eqn.op.dimension != len(batch) or \
            any(x.type.shape[-1] != 1 for x in eqn.inputs):
        return None
    free = [a for a, n in enumerate(batch) if n == size and a not in taken]
    known = known_value(uses, eqn.inputs[column], {}) if free else None
    if known is None:
        return None
    own = known.reshape(batch)
    return next((a for a in free if (own == np.arange(size).reshape([-1 if d == a else 1 for d in range(len(batch))])).all()), None)


def selection(op: ScatterAdd, rows: Rows, zeros, indices, updates):
    shape = zeros.type.shape
    batch = indices.type.shape[:-1]
    order = (*rows.others, *(a for a in range(len(batch)) if a not in rows.others))
    sizes = tuple(n for a, n in enumerate(shape) if a != rows.axis)
    others = tuple(a for a in range(len(shape)) if a != rows.axis)
    spread = lambda x: lax.broadcast_in_dim(lax.reshape(lax.transpose(x, order), sizes), shape, others)
    where = lax.index_in_dim(indices, rows.column, len(batch), keepdims=False)
    if where.type.dtype.itemsize < 4:       # which may not hold all positions
        where = lax.convert_element_type(where, np.int32)
    if op.clips:
        where = lax.clamp(0, where, shape[rows.axis] - 1)
    position = lax.broadcasted_iota(where.type.dtype, shape, rows.axis)
    return lax.select(lax.eq(position, spread(where)), lax.add(zeros, spread(lax.reshape(updates, batch))), zeros)

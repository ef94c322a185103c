"""Carried arrays that stay in memory while the rest of a loop's carry is in registers: each trip changes few elements of them.

    table' = scatter(table, i, v)      table[j] is a load; table'[i] = v is a store at the end of the trip
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import Expr, Pull, as_index, linear
from tracejit.lax.index import Scatter

MOST_WRITES = 8     # elements that a trip changes one by one: more fill vectors


@dataclass(eq=False)
class Write:
    """What a trip changes of a carried array: old -> op.combine(old, value) at `place`, where all of `inside` hold."""
    carry: int
    place: Expr
    inside: tuple[Expr, ...]
    value: Expr
    op: Scatter

    @property
    def roots(self) -> list[Expr]:
        return [self.place, *self.inside, self.value]


def tables_of(body: Graph, params: list[Var]) -> dict[int, list[Eqn]]:
    """Which carries are tables, by their numbers, with the updates that make each from what it was."""
    producers = {v: eqn for eqn in body.eqns for v in eqn.outputs}
    found = {k: updates_of(r, p, producers) for k, (r, p) in enumerate(zip(body.results, params))}
    few = lambda updates: 0 < sum(eqn.inputs[2].type.size for eqn in updates) <= MOST_WRITES
    return {k: updates for k, updates in found.items() if few(updates)}


def updates_of(result: Any, param: Var, producers: dict[Var, Eqn]) -> list[Eqn]:
    """The updates, one after another, that make a value of a param; none if it is anything else."""
    updates: list[Eqn] = []
    while result is not param:
        eqn = producers.get(result) if isinstance(result, Var) else None
        if eqn is None or not isinstance(eqn.op, Scatter):
            return []
        updates.insert(0, eqn)
        result = eqn.inputs[0]
    return updates


def writes_of(pull: Pull, carry: int, eqn: Eqn) -> list[Write]:
    """What one update writes, element by element."""
    types = [x.type for x in eqn.inputs]
    read = lambda k, at: pull.value(eqn.inputs[k], tuple(map(as_index, at)))
    writes = []
    for index in eqn.op.order(types[2].shape):
        place, inside = eqn.op.windows.at(pull, index, lambda at: read(1, at), types[0], types[1], eqn.op.clips)
        offset = linear(tuple(map(as_index, place)), types[0].shape)
        writes.append(Write(carry, pull.index_value(offset, "int64"), tuple(inside), read(2, index), eqn.op))
    return writes

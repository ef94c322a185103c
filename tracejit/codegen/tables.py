"""Carried arrays that stay in memory while the rest of a loop's carry is in registers: each trip changes few elements of them.

    table' = scatter(table, i, v)      table[j] is a load; table'[i] = v is a store at the end of the trip

What one of the next trips loads again, such as v stored at t + 1 where the next trip reads at its t, stays in a register as
well: a load would have to wait for the store.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import CARRY, LOAD, Axis, Dynamic, Expr, Index, Pull, as_index, indices_of, linear, postorder
from tracejit.ir.types import ArrayType
from tracejit.lax.index import Scatter

MOST_WRITES = 8     # elements that a trip changes one by one: more fill vectors
OLDEST = 4          # trips after which nothing that was written is in a register


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
        place, inside = eqn.op.windows.at(pull, index, lambda at: read(1, at), types[0], eqn.op.clips, clamped=False)
        offset = linear(tuple(map(as_index, place)), types[0].shape)
        conditions = tuple(e for e in inside if not e.truth)
        writes.append(Write(carry, pull.index_value(offset, "int64"), conditions, read(2, index), eqn.op))
    return writes


# --- what was written a few trips ago ------------------------------------------------------------------------------

@dataclass(eq=False)
class Kept:
    """An element that an earlier trip wrote, in a register."""
    first: Expr             # before the loop: a load
    now: Expr               # what a trip calls it
    next: Expr              # what the next trip calls so
    loads: list[Expr]       # the loads that it stands for


def kept_writes(pull: Pull, writes: list[Write], types: list[ArrayType], time: Axis, start: int, step: int) -> list[Kept]:
    """What trips load that one of the last ones wrote; time is `start` at the first trip, and grows by `step`."""
    kept: list[Kept] = []
    reads = [e for e in pull.nodes if is_read(e)]
    for w in writes:
        buffer, place = ("out", w.carry), w.place.data
        if w.inside or type(w.op) is not Scatter or not moves_with(time, place):
            continue
        places = [place.substitute({time: Index({time: 1}, -age * step)}) for age in range(OLDEST + 1)]
        loads = [[e for e in reads if e.data == (buffer, at, ())] for at in places]
        oldest = max((age for age, found in enumerate(loads) if found), default=0)
        others = [v.place.data for v in writes if v is not w and v.carry == w.carry]
        if any(may_meet(other, at) for other in others for at in places[:oldest]):
            continue
        following = w.value
        for age in range(1, oldest + 1):
            at = pull.index_value(places[age].substitute({time: Index((), start)}), "int64")
            first = pull.node(LOAD, (), (buffer, pull.as_index(at, types[w.carry].size), ()), following.dtype)
            now = pull.node(CARRY, (), (buffer, places[age]), following.dtype)
            kept.append(Kept(first, now, following, loads[age]))
            following = now
    return kept


def moves_with(time: Axis, place: Index) -> bool:
    """Whether a place moves with time, and with nothing else that differs between trips."""
    changes = lambda e: e.kind == CARRY or is_read(e) or any(time in i.atoms() for i in indices_of(e))
    fixed = lambda atom: isinstance(atom, Dynamic) and not any(map(changes, postorder(atom.value, ())))
    return place.coefficient(time) != 0 and all(atom is time or fixed(atom) for atom, _ in place.terms)


def is_read(e: Expr) -> bool:
    return e.kind == LOAD and isinstance(e.data[0], tuple)


def may_meet(x: Index, y: Index) -> bool:
    apart = x - y
    return bool(apart.terms) or apart.const == 0

"""Carried arrays that stay in memory while the rest of a loop's carry is in registers: each trip changes few elements of them,
itself or by the loops and branches inside of it.

    table' = scatter(table, i, v)      table[j] is a load; table'[i] = v is a store

From one change to the next an array is one Memory. What one of the next trips loads again, such as v stored at t + 1 where the
next trip reads at its t, stays in a register as well: a load would have to wait for the store.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import CARRY, LOAD, Axis, Dependence, Dynamic, Expr, Index, Pull, as_index, linear
from tracejit.ir.types import ArrayType
from tracejit.lax.branches import Cond
from tracejit.lax.index import Scatter
from tracejit.lax.loops import Scan, While

MOST_WRITES = 8     # elements that a trip changes one by one: more fill vectors
OLDEST = 4          # trips after which nothing that was written is in a register


@dataclass(eq=False)
class Memory:
    """An array that a loop changes, from one change to the next, or one that a loop inside of it stacks.

    `key` says where it is: ("out", k) of the outermost loop or ("stack", byte); `owner` is the time of the loop that changes it.
    """
    key: tuple[str, int]
    owner: Axis


class Change(NamedTuple):
    """What an equation changes in place: the value before and the one after it."""
    eqn: Eqn
    before: Var
    after: Var


@dataclass(eq=False)
class Write:
    """What a trip changes of an array: old -> op.combine(old, value) at `place`, where all of `inside` hold."""
    memory: Memory
    place: Expr
    inside: tuple[Expr, ...]
    value: Expr
    op: Scatter

    @property
    def roots(self) -> list[Expr]:
        return [self.place, *self.inside, self.value]

    def mapped(self, image: Callable[[Expr], Expr]) -> Write:
        return Write(self.memory, image(self.place), tuple(map(image, self.inside)), image(self.value), self.op)


def tables_of(body: Graph, params: list[Var]) -> dict[int, list[Change]]:
    """Which carries are tables, by their numbers, with the changes that make each from what it was."""
    producers = {v: eqn for eqn in body.eqns for v in eqn.outputs}
    found = {}
    for k, (result, param) in enumerate(zip(body.results, params)):
        root, changes = changes_of(result, producers)
        if root is param and 0 < sum(map(elements_changed, changes)) <= MOST_WRITES:
            found[k] = changes
    return found


def changes_of(result: Any, producers: dict[Var, Eqn]) -> tuple[Any, list[Change]]:
    """What a value was before the changes that make it, and these, one after another."""
    changes: list[Change] = []
    while isinstance(result, Var) and result in producers:
        eqn = producers[result]
        before = changed_operand(eqn, eqn.outputs.index(result))
        if before is None:
            break
        changes.insert(0, Change(eqn, before, result))
        result = before
    return result, changes


def changed_operand(eqn: Eqn, k: int) -> Var | None:
    """The operand of which result k is a changed version."""
    op, found = eqn.op, None
    if isinstance(op, Scatter):
        found = eqn.inputs[0]
    elif isinstance(op, (Scan, While)):
        found = op.parts(eqn.inputs)[2][k] if k in carried_tables(op) else None
    elif isinstance(op, Cond):
        places = {g.params.index(root) if root in g.params else -1 for g, (root, _) in zip(op.branches, branch_changes(op, k))}
        found = eqn.inputs[1 + min(places)] if len(places) == 1 and min(places) >= 0 else None
    return found if isinstance(found, Var) else None


def carried_tables(op: Scan | While) -> dict[int, list[Change]]:
    first = op.n_consts if isinstance(op, Scan) else op.n_body_consts
    return tables_of(op.body, op.body.params[first:first + op.n_carry])


def branch_changes(op: Cond, k: int) -> list[tuple[Any, list[Change]]]:
    """Of each branch: what its result k was before the branch, and how it is changed."""
    return [changes_of(g.results[k], {v: eqn for eqn in g.eqns for v in eqn.outputs}) for g in op.branches]


def elements_changed(change: Change) -> int:
    """How many elements a change is written out to."""
    op, k = change.eqn.op, change.eqn.outputs.index(change.after)
    if isinstance(op, Scatter):
        return change.eqn.inputs[2].type.size
    inner = [carried_tables(op)[k]] if isinstance(op, (Scan, While)) else [changes for _, changes in branch_changes(op, k)]
    return sum(elements_changed(c) for changes in inner for c in changes)


def writes_of(pull: Pull, memory: Memory, eqn: Eqn) -> list[Write]:
    """What one update writes, element by element."""
    types = [x.type for x in eqn.inputs]
    read = lambda k, at: pull.value(eqn.inputs[k], tuple(map(as_index, at)))
    writes = []
    for index in eqn.op.order(types[2].shape):
        place, inside = eqn.op.windows.at(pull, index, lambda at: read(1, at), types[0], eqn.op.clips, clamped=False)
        offset = linear(tuple(map(as_index, place)), types[0].shape)
        conditions = tuple(e for e in inside if not e.truth)
        writes.append(Write(memory, pull.index_value(offset, "int64"), conditions, read(2, index), eqn.op))
    return writes


# --- what was written a few trips ago ------------------------------------------------------------------------------

@dataclass(eq=False)
class Kept:
    """An element that an earlier trip wrote, in a register."""
    first: Expr             # before the loop: a load
    now: Expr               # what a trip calls it
    next: Expr              # what the next trip calls so
    loads: list[Expr]       # the loads that it stands for


def kept_writes(pull: Pull, writes: list[tuple[Write, Memory, ArrayType]], time: Axis, start: int, step: int, changing: set
                ) -> list[Kept]:
    """What trips load that one of the last ones wrote; time is `start` at the first trip, and grows by `step`.

    Of each write: the memory in which a trip finds its array, and the array's type. What depends on
    `changing` differs between trips.
    """
    kept: list[Kept] = []
    depends = Dependence()
    reads = [e for e in pull.nodes if is_read(e)]
    for w, memory, t in writes:
        place = w.place.data
        if w.inside or type(w.op) is not Scatter or not moves_with(time, place, depends, changing):
            continue
        places = [place.substitute({time: Index({time: 1}, -age * step)}) for age in range(OLDEST + 1)]
        loads = [[e for e in reads if e.data == (memory, at, ())] for at in places]
        oldest = max((age for age, found in enumerate(loads) if found), default=0)
        others = [v.place.data for v, other, _ in writes if v is not w and other is memory]
        if any(may_meet(other, at) for other in others for at in places[:oldest]):
            continue
        following = w.value
        for age in range(1, oldest + 1):
            at = pull.index_value(places[age].substitute({time: Index((), start)}), "int64")
            first = pull.node(LOAD, (), (memory, pull.as_index(at, t.size), ()), following.dtype)
            now = pull.node(CARRY, (), (memory, places[age]), following.dtype)
            kept.append(Kept(first, now, following, loads[age]))
            following = now
    return kept


def moves_with(time: Axis, place: Index, depends: Dependence, changing: set) -> bool:
    """Whether a place moves with time, and with nothing else that differs between trips."""
    fixed = lambda atom: isinstance(atom, Axis) or isinstance(atom, Dynamic) and not depends(atom.value) & changing
    return place.coefficient(time) != 0 and all(atom is time or fixed(atom) for atom, _ in place.terms)


def is_read(e: Expr) -> bool:
    return e.kind == LOAD and isinstance(e.data[0], Memory)


def may_meet(x: Index, y: Index) -> bool:
    apart = x - y
    return bool(apart.terms) or apart.const == 0

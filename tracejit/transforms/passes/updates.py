"""Small updates of large arrays, which code generation runs in the operand's own memory where nobody reads it afterwards.

    dynamic_update_slice(x, y, i)                  ->  scatter(x, i, y)         y less than half of x
    x + scatter_add(zeros, i, y)                   ->  scatter_add(x, i, y)
    x + dynamic_update_slice(zeros, y, i)          ->  scatter_add(x, i, y)

Reverse mode makes the sums: each is the cotangent of x[i], and in a loop x is what the trips before added up. A trip then
costs as much as what it reads, not as much as x. (An element -0.0 of x that no update meets stays -0.0.)
"""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Lit, Var, replay
from tracejit.ir.trace import bind, record_eqn, rewrite, sourced
from tracejit.ir.types import type_of
from tracejit.lax.broadcast import BroadcastInDim
from tracejit.lax.dynamic import DynamicUpdateSlice
from tracejit.lax.elementwise import Add
from tracejit.lax.index import Scatter, ScatterAdd

INT64 = np.dtype("int64")


def lower_updates(graph: Graph) -> Graph:
    sums = Sums(graph)
    added = {eqn: found for eqn in graph.eqns if (found := sums.of_updates(eqn))}
    if not added and not any(is_small_update(eqn) for eqn in graph.eqns):
        return graph

    def run(*args):
        values: dict[Var, Any] = dict(zip(graph.params, args))

        def apply(eqn: Eqn, inputs):
            with sourced(eqn.source):
                if eqn in added:
                    outs = [with_added(values, *added[eqn])]
                else:
                    outs = [as_scatter(Scatter, *inputs, wraps=eqn.op.wraps)] if is_small_update(eqn) else record_eqn(eqn, inputs)
            values.update(zip(eqn.outputs, outs))
            return outs
        return replay(graph, args, apply)
    return rewrite(run, graph.in_types)


class Sums:
    """Finds sums with updates of zeros that nobody else reads."""

    def __init__(self, graph: Graph):
        self.made = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
        self.reads = Counter(x for eqn in graph.eqns for x in eqn.inputs if isinstance(x, Var))
        self.reads.update(r for r in graph.results if isinstance(r, Var))
        self.found: set[Var] = set()    # values that are updates of zeros, one after another
        for eqn in graph.eqns:
            if [self.reads[v] for v in eqn.outputs] == [1] and self.is_made_of_updates(eqn):
                self.found.update(eqn.outputs)

    def is_made_of_updates(self, eqn: Eqn) -> bool:
        if isinstance(eqn.op, Add):
            return all(map(self.is_found, eqn.inputs))
        if isinstance(eqn.op, ScatterAdd):
            return self.is_found(eqn.inputs[0]) or is_zero(self.made, eqn.inputs[0])
        return is_small_update(eqn) and is_zero(self.made, eqn.inputs[0])

    def is_found(self, x: Any) -> bool:
        return isinstance(x, Var) and x in self.found

    def of_updates(self, eqn: Eqn) -> tuple[Any, list[Eqn]] | None:
        """Of an addition: the operand that is added to, and the updates added to it."""
        if not isinstance(eqn.op, Add):
            return None
        for x, y in (eqn.inputs, eqn.inputs[::-1]):
            found = self.updates(y) if isinstance(x, Var) and x.type.shape == eqn.outputs[0].type.shape else []
            if found:
                return x, found
        return None

    def updates(self, x: Any) -> list[Eqn]:
        """The updates that a value is made of, in their order; none if it is anything else."""
        found, rest = [], [x]
        while rest:     # the last first
            x = rest.pop()
            if self.is_found(x):
                eqn = self.made[x]
                found += [] if isinstance(eqn.op, Add) else [eqn]
                rest += eqn.inputs if isinstance(eqn.op, Add) else eqn.inputs[:1]
        return found[::-1]


def is_zero(made: dict[Var, Eqn], x: Any) -> bool:
    if isinstance(x, Var):
        eqn = made.get(x)
        return eqn is not None and isinstance(eqn.op, BroadcastInDim) and is_zero(made, eqn.inputs[0])
    return x.value == 0


def with_added(values: dict[Var, Any], x: Var, updates: list[Eqn]) -> Any:
    total = values[x]
    for eqn in updates:
        _, *others = [values[a] if isinstance(a, Var) else a for a in eqn.inputs]
        total = bind(eqn.op, total, *others) if isinstance(eqn.op, ScatterAdd) else \
            as_scatter(ScatterAdd, total, *others, wraps=eqn.op.wraps)
    return total


def is_small_update(eqn: Eqn) -> bool:
    if not isinstance(eqn.op, DynamicUpdateSlice):
        return False
    x, y = (v.type for v in eqn.inputs[:2])
    return bool(y.ndim) and 0 < 2 * y.size <= x.size


def as_scatter(kind: type[Scatter], x, y, *starts, wraps: bool = True):
    n = len(starts)
    where = lax.concatenate([index_of(start, size, wraps) for start, size in zip(starts, type_of(x).shape)], 0)
    op = kind(tuple(range(n)), (), tuple(range(n)), (), (), type_of(y).shape, "clip", True)
    return bind(op, x, where, y)


def index_of(start, size: int, wraps: bool):
    """A start index, counted from 0, as a vector of one element."""
    if isinstance(start, Lit):
        at = int(start.value)
        return lax.full((1,), at + size if at < 0 else at, INT64)
    at = lax.convert_element_type(start, INT64)
    return lax.reshape(at, (1,)) if not wraps else lax.reshape(lax.select(lax.lt(at, 0), lax.add(at, size), at), (1,))

"""Integers whose ranges are known, and what that decides: choices between them, and whether places lie inside an array.

    in fori_loop(0, n, ...):   where(i < 0, i + n, i)  ->  i;     x.at[i].set(v), dropped outside  ->  always inside

After this, no choice is left whose condition the ranges of loop counters, constants, lengths and clips decide; an update or
a read that cannot miss says so, and so does a slice whose starts are not negative. Ranges of carries are such that one
more trip does not leave them.
"""
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracejit.ir.graph import Atom, Eqn, Graph, Lit, Var
from tracejit.ir.types import TapeType
from tracejit.lax.bits import BitwiseAnd
from tracejit.lax.branches import Cond
from tracejit.lax.compare import Comparison, Ge, Gt, Le, Lt, SelectN
from tracejit.lax.dynamic import DynamicSlice, DynamicUpdateSlice
from tracejit.lax.elementwise import Add, Rem, Sub
from tracejit.lax.index import Indexed
from tracejit.lax.kinds import Range, hull
from tracejit.lax.loops import Scan, While
from tracejit.lax.shape import Concatenate

MOST_TRIPS = 3      # that the ranges of carries are followed for

Ranges = list[Range]


def decide_by_ranges(graph: Graph) -> Graph:
    return decided(graph, [full(p.type) for p in graph.params])


def full(t: Any) -> Range:
    """All that an array of a type can hold."""
    return (0, 0) if isinstance(t, TapeType) else limits(t.dtype)


@functools.cache
def limits(dtype: np.dtype) -> Range:
    if dtype.kind not in "iu":
        return 0, int(dtype.kind == "b")
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def fitted(found: Range | None, t: Any) -> Range:
    """A range of the results of an operation, in a type where they may wrap around."""
    lo, hi = full(t)
    return found if found is not None and lo <= found[0] and found[1] <= hi else (lo, hi)


# --- which ranges ------------------------------------------------------------------------------------------------------

class Known:
    """The ranges of a graph's values, of those of its params."""

    def __init__(self, graph: Graph, params: Sequence[Range]):
        self.ranges: dict[Var, Range] = dict(zip(graph.params, params))
        self.made: dict[Var, Eqn] = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
        self.inside: dict[Var, tuple[Ranges, Ranges]] = {}     # of a loop, by its first result: the body's params, results
        for eqn in graph.eqns:
            self.ranges.update(zip(eqn.outputs, self.results(eqn, [self.of(x) for x in eqn.inputs])))

    def of(self, x: Atom) -> Range:
        if isinstance(x, Var):
            return self.ranges[x]
        return (int(x.value), int(x.value)) if x.type.dtype.kind in "biu" else full(x.type)

    def results(self, eqn: Eqn, ranges: Ranges) -> Ranges:
        op, outs = eqn.op, [v.type for v in eqn.outputs]
        if isinstance(op, (Scan, While)) and outs:
            found = self.inside[eqn.outputs[0]] = scan_ranges(op, ranges) if isinstance(op, Scan) else while_ranges(op, ranges)
            return [*found[1], *map(full, outs[len(found[1]):])]
        if isinstance(op, Cond):
            found = [results_of(g, ranges[1:]) for g in op.branches]
            return [fitted(hull(*some), t) for some, t in zip(zip(*found), outs)]
        if op.multiple or full(outs[0]) == (0, 0):
            return [full(t) for t in outs]
        return [fitted(op.bounds([x.type for x in eqn.inputs], *ranges), outs[0])]

    def columns(self, indices: Atom) -> Ranges:
        """The ranges of the components of index vectors."""
        n, made = indices.type.shape[-1], self.made.get(indices) if isinstance(indices, Var) else None
        if made is not None and isinstance(made.op, Concatenate) and made.op.dimension == indices.type.ndim - 1:
            return [self.of(x) for x in made.inputs for _ in range(x.type.shape[-1])]
        return [self.of(indices)] * n


def results_of(graph: Graph, params: Sequence[Range]) -> Ranges:
    known = Known(graph, params)
    return [known.of(r) for r in graph.results]


def scan_ranges(op: Scan, ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The ranges of the body's params in all trips, and of the results."""
    count, consts, carry, xs = op.parts(ranges)
    trips = op.length if op.length is not None else max(count[0][1], 0)
    counters = counters_of(op.body, op.n_consts, op.n_carry, carry, trips)
    types = [p.type for p in op.body.params[op.n_consts:]]
    inside, after = carried(carry, types, counters, lambda now: results_of(op.body, [*consts, *now, *xs]))
    return [*consts, *inside, *xs], after


def counters_of(body: Graph, n_consts: int, n_carry: int, carry: Ranges, trips: int) -> dict[int, Range]:
    """Carries that change by a constant: the ranges that they have in a trip."""
    made, found = {v: eqn for eqn in body.eqns for v in eqn.outputs}, {}
    for k, (param, result) in enumerate(zip(body.params[n_consts:n_consts + n_carry], body.results)):
        eqn = made.get(result) if isinstance(result, Var) else None
        if eqn is None or not isinstance(eqn.op, Add) or param not in eqn.inputs or param.type.dtype.kind not in "iu":
            continue
        steps = [int(x.value) for x in eqn.inputs if isinstance(x, Lit)]
        far = steps[0] * max(trips - 1, 0) if steps else None
        moved = (carry[k][0] + min(far, 0), carry[k][1] + max(far, 0)) if steps else full(param.type)
        if steps and fitted((moved[0] + min(steps[0], 0), moved[1] + max(steps[0], 0)), param.type) != full(param.type):
            found[k] = moved
    return found


def carried(start: Ranges, types: Sequence, counters: dict[int, Range], trip: Callable[[Ranges], Ranges]) -> tuple[Ranges, Ranges]:
    """Of carries: the ranges that they have before any trip, and after the last.

    An end that moves for some trips goes as far as a trip takes it from anywhere (Cousot and Cousot, "Abstract interpretation:
    a unified lattice model", 1977: widening, then one step back).
    """
    joined = lambda now, ends: [counters[k] if k in counters else hull(r, end) for k, (r, end) in enumerate(zip(now, ends))]
    now, far = joined(start, start), None
    for n in itertools.count():
        ends = trip(now)
        grown = joined(now, ends)
        if grown == now:
            break
        far = far or joined(start, trip([counters.get(k, full(t)) for k, t in enumerate(types)]))
        limits = far if n < 2 * MOST_TRIPS else map(full, types)
        now = grown if n < MOST_TRIPS else [widened(*some) for some in zip(now, grown, limits)]
    now = joined(start, ends)
    ends = trip(now) if far else ends
    return now, [*map(hull, start, ends), *ends[len(start):]]


def widened(was: Range, now: Range, far: Range) -> Range:
    return now[0] if now[0] == was[0] else min(now[0], far[0]), now[1] if now[1] == was[1] else max(now[1], far[1])


def while_ranges(op: While, ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The ranges of the body's params in all trips, and of the carries after the last."""
    cond_consts, consts, carry = op.parts(ranges)
    types = [p.type for p in op.body.params[op.n_body_consts:]]

    def trip(now: Ranges) -> Ranges:
        inside = limited(op.cond, cond_consts, now)
        return now if inside is None else results_of(op.body, [*consts, *inside])[:len(carry)]
    now, after = carried(carry, types, {}, trip)
    return [*consts, *(limited(op.cond, cond_consts, now) or now)], after


def limited(cond: Graph, consts: Ranges, carry: Ranges) -> Ranges | None:
    """The ranges of carries for which a loop may go on; None if it cannot."""
    known, pending = Known(cond, [*consts, *carry]), list(cond.results)
    while pending:
        eqn = known.made.get(pending.pop())
        if eqn is not None and isinstance(eqn.op, BitwiseAnd):
            pending += eqn.inputs
        elif eqn is not None and type(eqn.op) in LIMITS and eqn.inputs[0].type.dtype.kind in "iu":
            (x, a), (y, b) = ((v, known.of(v)) for v in eqn.inputs)
            for v, (lo, hi) in zip((x, y), LIMITS[type(eqn.op)](a, b)):
                if lo > hi:
                    return None
                if isinstance(v, Var):
                    known.ranges[v] = lo, hi
    return [known.of(p) for p in cond.params[len(consts):]]


below = lambda x, y, apart: ((x[0], min(x[1], y[1] - apart)), (max(y[0], x[0] + apart), y[1]))
LIMITS: dict[type, Callable[[Range, Range], tuple[Range, Range]]] = {     # what is left of x and y where the comparison holds
    Lt: lambda x, y: below(x, y, 1),
    Le: lambda x, y: below(x, y, 0),
    Gt: lambda x, y: below(y, x, 1)[::-1],
    Ge: lambda x, y: below(y, x, 0)[::-1],
}


# --- what they decide --------------------------------------------------------------------------------------------------

def decided(graph: Graph, params: Sequence[Range]) -> Graph:
    known, same = Known(graph, params), {}
    eqns = []
    for eqn in graph.eqns:
        eqn = Eqn(eqn.op, [same.get(x, x) for x in eqn.inputs], eqn.outputs, eqn.source)
        found = choice(eqn, known)
        if found is not None:
            same[eqn.outputs[0]] = found
            continue
        if is_next_round(eqn, known):
            eqns += remainder_by_choice(eqn)
            continue
        op = op_of(eqn, known)
        eqns.append(eqn if op is eqn.op else Eqn(op, eqn.inputs, eqn.outputs, eqn.source))
    return Graph(graph.params, eqns, [same.get(r, r) for r in graph.results])


def choice(eqn: Eqn, known: Known) -> Atom | None:
    """The value that an equation always chooses, or the answer that it always gives."""
    out = eqn.outputs[0].type if len(eqn.outputs) == 1 else None
    if isinstance(eqn.op, Comparison) and not out.ndim:
        lo, hi = known.ranges[eqn.outputs[0]]
        return Lit(bool(lo), out) if lo == hi else None
    if isinstance(eqn.op, SelectN):
        first, last = (min(max(k, 0), len(eqn.inputs) - 2) for k in known.of(eqn.inputs[0]))
        found = eqn.inputs[1 + first]
        return found if first == last and found.type.shape == out.shape else None
    return None


def is_next_round(eqn: Eqn, known: Known) -> bool:
    """Whether this is the remainder of a number that is less than twice the divisor, such as the next place in a ring."""
    if not isinstance(eqn.op, Rem) or eqn.inputs[0].type.dtype.kind not in "iu":
        return False
    (lo, hi), (n, _) = map(known.of, eqn.inputs)
    return lo >= 0 and hi < 2 * n and eqn.inputs[0].type.shape == eqn.outputs[0].type.shape


def remainder_by_choice(eqn: Eqn) -> list[Eqn]:
    """x rem n -> x - n where x >= n, else x."""
    t, is_past = eqn.outputs[0].type, Var(eqn.outputs[0].type.update(dtype=np.dtype(bool)))
    less = Var(t)
    make = lambda op, inputs, out: Eqn(op, inputs, [out], eqn.source)
    return [make(Ge(), eqn.inputs, is_past), make(Sub(), eqn.inputs, less),
            make(SelectN(), [is_past, eqn.inputs[0], less], eqn.outputs[0])]


def op_of(eqn: Eqn, known: Known) -> Any:
    """The op of an equation, with all that the ranges say about it."""
    op, ranges = eqn.op, [known.of(x) for x in eqn.inputs]
    if isinstance(op, (Scan, While)) and not eqn.outputs:
        return op
    if isinstance(op, Scan):
        most = max(ranges[0][1], 0) if op.length is None and ranges[0][1] < full(eqn.inputs[0].type)[1] else None
        return replace(op, body=decided(op.body, known.inside[eqn.outputs[0]][0]), most=most)
    if isinstance(op, While):
        inside, after = known.inside[eqn.outputs[0]]
        before = [*ranges[:op.n_cond_consts], *map(hull, op.parts(ranges)[2], after)]
        return replace(op, cond=decided(op.cond, before), body=decided(op.body, inside))
    if isinstance(op, Cond):
        return replace(op, branches=tuple(decided(g, ranges[1:]) for g in op.branches))
    if isinstance(op, (DynamicSlice, DynamicUpdateSlice)):
        starts = ranges[1 if isinstance(op, DynamicSlice) else 2:]
        return replace(op, wraps=False) if all(lo >= 0 for lo, _ in starts) else op
    if isinstance(op, Indexed) and not op.clips:
        last = [eqn.inputs[0].type.shape[d] - op.sizes[d] for d in op.index_map]
        inside = all(lo >= 0 and hi <= n for (lo, hi), n in zip(known.columns(eqn.inputs[1]), last))
        return replace(op, mode="clip") if inside else op
    return op

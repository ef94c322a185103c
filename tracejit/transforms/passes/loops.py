"""Moving work out of loops: what is the same on every trip is computed once, products of all trips at once."""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Var, replay
from tracejit.ir.trace import bind, inline, record_eqn, rewrite, sourced
from tracejit.lax.branches import Cond
from tracejit.lax.broadcast import BroadcastInDim
from tracejit.lax.dot import DotGeneral
from tracejit.lax.kinds import Control, Elementwise, View
from tracejit.lax.loops import Scan, While, counters
from tracejit.transforms.batching import Batch
from tracejit.transforms.passes.ahead import compute_ahead
from tracejit.transforms.passes.residuals import absorb, cheap_results, computed
from tracejit.transforms.passes.sums import scan_with_late_products

LITTLE = 1 << 12            # bytes that may always be kept from before a loop
MOST_BYTES = 1 << 28        # of products kept from before a loop
LEAST_WORK = 1 << 10        # multiply-adds per trip of a product that is worth moving


def lighten_loops(graph: Graph) -> Graph:
    """The graph with what its loops need not repeat moved before them, inner loops first."""
    if not any(isinstance(eqn.op, Control) for eqn in graph.eqns):
        return graph

    def apply(eqn: Eqn, inputs):
        op = eqn.op
        with sourced(eqn.source):
            if isinstance(op, Scan):
                return lighten_scan(dataclasses.replace(op, body=lighten_loops(op.body)), inputs)
            if isinstance(op, While):
                return lighten_while(dataclasses.replace(op, cond=lighten_loops(op.cond), body=lighten_loops(op.body)), inputs)
            if isinstance(op, Cond):
                return bind(Cond(tuple(map(lighten_loops, op.branches))), *inputs)
        return record_eqn(eqn, inputs)
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def lighten_scan(op: Scan, inputs: list) -> list:
    if op.length == 1 and not op.has_effects:
        return run_once(op, inputs)
    op, inputs = absorb(op, inputs)
    count, consts, carry, xs = op.parts(inputs)
    again, consts = repeated_inside(op.body, consts)
    op = dataclasses.replace(op, body=again)
    fixed = fixed_carries(op.body, op.n_consts, op.n_carry)
    same, moving = parted(carry, fixed)
    body = consts_first(op.body, op.n_consts, fixed)
    body = Graph(body.params, body.eqns, parted(op.body.results[:op.n_carry], fixed)[1] + op.body.results[op.n_carry:])
    body, values = hoist_invariants(body, len(consts) + len(same), consts + same)
    consts = consts + same + values
    body, products = hoist_products(body, op.length, consts, len(moving), xs)
    body, ahead = compute_ahead(body, op.length, op.reverse, consts, moving, [*xs, *products])
    products += ahead
    known = known_ys(op, body, consts, moving, [*xs, *products])
    again = cheap_results(body, len(consts), len(moving)) if not count else {}
    stored = [y is None and r not in again for y, r in zip(known, body.results[len(moving):])]
    short = Graph(body.params, body.eqns, body.results[:len(moving)] + parted(body.results[len(moving):], stored)[0])
    scan = dataclasses.replace(op, body=short, n_consts=len(consts), n_carry=len(moving))
    outs = scan_with_late_products(scan, count, consts, moving, [*xs, *products])
    found = joined(outs[len(moving):], parted(known, stored)[1], stored)
    ys = all_ys(body, len(consts), len(moving), [*consts, *[None] * len(moving), *xs, *products], found, again)
    return joined(same, outs[:len(moving)], fixed) + ys


def known_ys(op: Scan, body: Graph, consts: Sequence, carry: Sequence, xs: Sequence) -> list:
    """The stacked results that need no loop: a value that is the same on every trip, an input handed through, or a counter."""
    results, length = body.results[len(carry):], op.length
    if length is None:
        return [None] * len(results)
    outside = dict(zip(body.params[:len(consts)], consts))
    handed = dict(zip(body.params[len(consts) + len(carry):], xs))
    counted = {body.params[len(consts) + k]: how for k, how in counters(body, len(consts), carry, length).items()}

    def known(r):
        if isinstance(r, Var) and r in handed:
            return handed[r]
        if isinstance(r, Var) and r in counted:
            (first, step), trips = counted[r], lax.iota(r.type.dtype, length)
            trips = lax.sub(np.asarray(length - 1, r.type.dtype), trips) if op.reverse else trips
            return lax.add(lax.mul(trips, np.asarray(step, r.type.dtype)), np.asarray(first, r.type.dtype))
        same = r if not isinstance(r, Var) else outside.get(r)
        return None if same is None else lax.broadcast_in_dim(same, (length, *r.type.shape), range(1, 1 + r.type.ndim))
    return [known(r) for r in results]


def all_ys(body: Graph, n_consts: int, n_carry: int, operands: Sequence, found: Sequence, again: dict[Var, list[Eqn]]) -> list:
    """The stacked results, those that are computed `again` from the others too."""
    values = {p: x for k, (p, x) in enumerate(zip(body.params, operands)) if not n_consts <= k < n_consts + n_carry}
    ys = body.results[n_carry:]
    single = {p for p in body.params[:n_consts] if not p.type.ndim}    # one number for all trips, also where it is a result
    values.update((r, y) for r, y in zip(ys, found) if isinstance(r, Var) and y is not None and r not in single)
    computed(again, values)
    return [values[r] if y is None else y for r, y in zip(ys, found)]


def lighten_while(op: While, inputs: list) -> list:
    cond_consts, consts, carry = op.parts(inputs)
    (test, cond_consts), (again, consts) = repeated_inside(op.cond, cond_consts), repeated_inside(op.body, consts)
    op = dataclasses.replace(op, cond=test, body=again)
    fixed = fixed_carries(op.body, op.n_body_consts, op.n_carry)
    same, moving = parted(carry, fixed)
    body = consts_first(op.body, op.n_body_consts, fixed)
    body = Graph(body.params, body.eqns, parted(op.body.results[:op.n_carry], fixed)[1] + op.body.results[op.n_carry:])
    cond, tested = hoist_invariants(consts_first(op.cond, op.n_cond_consts, fixed), len(cond_consts + same), cond_consts + same)
    body, values = hoist_invariants(body, len(consts + same), consts + same)
    lead = [*cond_consts, *same, *tested], [*consts, *same, *values]
    outs = bind(While(cond, body, len(lead[0]), len(lead[1]), op.record), *lead[0], *lead[1], *moving)
    return joined(same, outs[:len(moving)], fixed) + outs[len(moving):]


def run_once(op: Scan, inputs: list) -> list:
    """A loop of one trip is its body."""
    _, consts, carry, xs = op.parts(inputs)
    outs = inline(op.body, [*consts, *carry, *[lax.reshape(x, x.type.shape[1:]) for x in xs]])
    ys = [lax.broadcast_in_dim(y, (1, *y.type.shape), range(1, 1 + y.type.ndim)) for y in outs[op.n_carry:]]
    return outs[:op.n_carry] + ys


# --- consts that repeat a smaller array, as vmap makes them of what all lanes read, are repeated in the loop ----------

def repeated_inside(graph: Graph, consts: Sequence) -> tuple[Graph, list]:
    """A loop's sub-graph and its first operands without those repetitions: views cost nothing where they are read."""
    made = [x.eqn if isinstance(x, Var) and repeats(x) else None for x in consts]
    if not any(made):
        return graph, list(consts)

    def body(*args):
        wide = [x if eqn is None else bind(eqn.op, x) for x, eqn in zip(args, made)]
        return inline(graph, [*wide, *args[len(made):]])
    sources = [x if eqn is None else eqn.inputs[0] for x, eqn in zip(consts, made)]
    return rewrite(body, [*[x.type for x in sources], *graph.in_types[len(made):]]), sources


def repeats(x: Var) -> bool:
    return x.eqn is not None and isinstance(x.eqn.op, BroadcastInDim) and isinstance(x.eqn.inputs[0], Var) and \
        x.eqn.inputs[0].type.size < x.type.size


# --- carries that never change are constants of the loop ------------------------------------------------------------

def fixed_carries(body: Graph, first: int, n: int) -> list[bool]:
    return [body.results[i] is body.params[first + i] for i in range(n)]


def parted(values: Sequence, flags: Sequence[bool]) -> tuple[list, list]:
    """The values whose flag is true, and the others."""
    return [x for x, f in zip(values, flags, strict=True) if f], [x for x, f in zip(values, flags, strict=True) if not f]


def joined(true: Sequence, false: Sequence, flags: Sequence[bool]) -> list:
    a, b = iter(true), iter(false)
    return [next(a) if f else next(b) for f in flags]


def consts_first(graph: Graph, n_consts: int, fixed: Sequence[bool]) -> Graph:
    """The fixed carries among the params (which begin after the consts) moved to the end of the consts."""
    end = n_consts + len(fixed)
    same, moving = parted(graph.params[n_consts:end], fixed)
    return Graph(graph.params[:n_consts] + same + moving + graph.params[end:], graph.eqns, graph.results)


# --- invariants ------------------------------------------------------------------------------------------------------

def hoist_invariants(body: Graph, n_consts: int, consts: Sequence) -> tuple[Graph, list]:
    """What depends only on the consts, recorded here: the body taking it as further consts, and the values.

    Views stay in the loop, where they cost nothing, and so does what is larger than all it is computed from.
    """
    same = set(body.params[:n_consts])
    made: dict[Var, Eqn] = {}
    for eqn in body.eqns:
        reads = [x for x in eqn.inputs if isinstance(x, Var)]
        if not (eqn.op.has_effects or isinstance(eqn.op, Control)) and reads and same.issuperset(reads):
            same.update(eqn.outputs)
            made.update((v, eqn) for v in eqn.outputs)
    hoisted, kept = frontier(body, made)
    if not hoisted:
        return body, []
    before = Graph(body.params[:n_consts], list(dict.fromkeys(made.values())), hoisted)
    params = body.params[:n_consts] + hoisted + body.params[n_consts:]
    return Graph(params, [e for e in body.eqns if e in kept], body.results), inline(before, consts)


def frontier(body: Graph, made: dict[Var, Eqn]) -> tuple[list[Var], set[Eqn]]:
    """The invariant values that the loop reads from before it, and the equations that stay in it."""
    invariant = set(made.values())
    kept = {eqn for eqn in body.eqns if eqn not in invariant}
    stack = [x for eqn in body.eqns if eqn in kept for x in eqn.inputs] + list(body.results)
    hoisted: dict[Var, None] = {}
    while stack:
        eqn = made.get(stack[-1]) if isinstance(stack[-1], Var) else None
        v = stack.pop()
        if eqn is None or eqn in kept:
            continue
        if isinstance(eqn.op, View) or not is_small(eqn):
            kept.add(eqn)
            stack += eqn.inputs
        else:
            hoisted[v] = None
    return list(hoisted), kept


def is_small(eqn: Eqn) -> bool:
    made, read = (sum(x.type.nbytes for x in xs) for xs in (eqn.outputs, set(eqn.inputs)))
    return made <= max(LITTLE, read)


# --- products ----------------------------------------------------------------------------------------------------------

def hoist_products(body: Graph, length: int | None, consts: Sequence, n_carry: int, xs: Sequence) -> tuple[Graph, list]:
    """Products of the xs with consts, for all trips at once: one large product instead of many small ones."""
    if length is None or not length:
        return body, []
    n = len(consts)
    first = n + n_carry
    same, from_xs = set(body.params[:n]), set(body.params[first:])
    products: list[Var] = []
    for eqn in body.eqns:
        reads = {x for x in eqn.inputs if isinstance(x, Var)}
        if reads <= same and reads and isinstance(eqn.op, (Elementwise, View)):
            same.update(eqn.outputs)
        elif reads <= same | from_xs and is_worth_moving(eqn, same, length):
            products += eqn.outputs
            from_xs.update(eqn.outputs)
        elif reads and reads <= same | from_xs and isinstance(eqn.op, (Elementwise, View)):
            from_xs.update(eqn.outputs)
    if not products:
        return body, []
    params = body.params[:n] + body.params[first:]
    before, _ = Batch(length).batch(Graph(params, independent(body, products), products), [False] * n + [True] * len(xs),
                                    [True] * len(products))
    moved = set(products)
    eqns = [eqn for eqn in body.eqns if moved.isdisjoint(eqn.outputs)]
    return Graph(body.params + products, eqns, body.results), inline(before, [*consts, *xs])


def is_worth_moving(eqn: Eqn, same: set, length: int) -> bool:
    """Whether an equation is a product of which exactly one side is the same on every trip."""
    if not isinstance(eqn.op, DotGeneral):
        return False
    sides = [isinstance(x, Var) and x not in same for x in eqn.inputs]
    if sum(sides) != 1:
        return False
    t, out = eqn.inputs[0].type, eqn.outputs[0].type
    work = out.size * math.prod(t.shape[a] for a in eqn.op.contract[0])
    return work >= LEAST_WORK and out.nbytes * length <= MOST_BYTES


def independent(body: Graph, results: Sequence[Var]) -> list[Eqn]:
    """The equations that these results need."""
    needed, kept = set(results), []
    for eqn in reversed(body.eqns):
        if any(v in needed for v in eqn.outputs):
            kept.append(eqn)
            needed.update(x for x in eqn.inputs if isinstance(x, Var))
    return kept[::-1]

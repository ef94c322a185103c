"""What trips of a loop compute from their inputs and their number alone, computed for all trips at once, in vectors.

    scan(lambda c, i: c + normal(fold_in(key, i)), c, arange(n))   ->   zs = normal of n keys;   scan(lambda c, z: c + z, c, zs)

One by one, elementary functions and random numbers of few elements take the time of a whole vector.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Var, live_eqns
from tracejit.ir.trace import inline
from tracejit.lax.kinds import Elementwise, View
from tracejit.lax.loops import counters
from tracejit.transforms.batching import Batch

LEAST_TRIPS = 16
FEW = 8             # elements of a trip that would not fill vectors
LONG = 20           # operations that an elementary function counts for
LEAST_OPS = 16      # per element, below which a trip computes a value itself rather than read it from memory
MOST_BYTES = 1 << 25


def compute_ahead(body: Graph, length: int | None, reverse: bool, consts: Sequence, carry: Sequence,
                  xs: Sequence) -> tuple[Graph, list]:
    """The body taking such values as further slices, and the values of all trips, recorded here."""
    if length is None or length < LEAST_TRIPS:
        return body, []
    n, first = len(consts), len(consts) + len(carry)
    found = counters(body, n, carry, length)
    inputs = [body.params[n + k] for k in found] + body.params[first:]
    free = independent_of_carry(body, body.params[:n], inputs)
    values = worth_computing(body, free, length)
    if not values:
        return body, []
    params = body.params[:n] + inputs
    before = Graph(params, live_eqns(Graph(params, free, values)), values)
    batched, _ = Batch(length).batch(before, [False] * n + [True] * len(inputs), [True] * len(values))
    numbers = [counted(length, reverse, *found[k], body.params[n + k].type.dtype) for k in found]
    moved = set(values)
    rest = Graph(body.params + values, [e for e in body.eqns if moved.isdisjoint(e.outputs)], body.results)
    return rest, inline(batched, [*consts, *numbers, *xs])


def counted(length: int, reverse: bool, first: int, step: int, dtype: np.dtype):
    """What a counter is in each trip, in the order of the slices."""
    first, step = (first + step * (length - 1), -step) if reverse else (first, step)
    number = lambda k: lax.full((), k, dtype)
    return lax.add(lax.mul(lax.iota(dtype, length), number(step)), number(first))


def independent_of_carry(body: Graph, consts: Sequence[Var], inputs: Sequence[Var]) -> list[Eqn]:
    """Elementwise equations, and views, of what differs from trip to trip but does not depend on earlier ones."""
    same, varying, found = set(consts), set(inputs), []
    for eqn in body.eqns:
        reads = {x for x in eqn.inputs if isinstance(x, Var)}
        if isinstance(eqn.op, (Elementwise, View)) and reads <= same | varying:
            (varying if reads & varying else same).update(eqn.outputs)
            found.append(eqn)
    return found


def worth_computing(body: Graph, free: list[Eqn], length: int) -> list[Var]:
    """Those of these values that the rest of the body reads, of few elements that take long, unless they need much memory."""
    made = {v: eqn for eqn in free for v in eqn.outputs}
    rest = [x for eqn in body.eqns if made.keys().isdisjoint(eqn.outputs) for x in eqn.inputs] + body.results
    found: dict[Var, None] = {}
    seen: set[Var] = set()
    stack = [x for x in rest if isinstance(x, Var)]
    while stack:
        v = stack.pop()
        if v in seen or v not in made:
            continue
        seen.add(v)
        if isinstance(made[v].op, View) or v.type.size > FEW or v.type.dtype.kind == "c":
            stack += [x for x in made[v].inputs if isinstance(x, Var)]
        elif operations(v, made) >= LEAST_OPS:
            found[v] = None
    return list(found) if length * sum(v.type.nbytes for v in found) <= MOST_BYTES else []


def operations(v: Var, made: dict[Var, Eqn]) -> int:
    """What one element takes."""
    seen: set[Eqn] = set()
    stack = [v]
    while stack:
        eqn = made.get(stack.pop())
        if eqn is not None and eqn not in seen:
            seen.add(eqn)
            stack += [x for x in eqn.inputs if isinstance(x, Var)]
    return sum(LONG if eqn.op.is_long else 1 for eqn in seen if isinstance(eqn.op, Elementwise))

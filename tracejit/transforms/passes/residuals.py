"""What a loop hands to a later one through memory, made less: results that cost little are computed again by who reads them.

A gradient's first loop stores for its second what each trip computed; of s, 1 - s and s * (1 - s) only s is stored.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.trace import bind, inline, rewrite
from tracejit.lax.kinds import Elementwise
from tracejit.lax.loops import Scan, slice_type

MOST_OPS = 6        # to compute one result again


def is_cheap(eqn: Eqn | None) -> bool:
    """Whether an equation is better computed again than stored, and can be on one element or on all trips' alike."""
    return eqn is not None and isinstance(eqn.op, Elementwise) and \
        all(x.type.shape in ((), eqn.outputs[0].type.shape) for x in eqn.inputs)


def cheap_results(body: Graph, n_consts: int, n_carry: int) -> dict[Var, list[Eqn]]:
    """The stacked results that follow from other stacked results, inputs and constants by little arithmetic, and how."""
    made = {v: eqn for eqn in body.eqns for v in eqn.outputs}
    order = {eqn: i for i, eqn in enumerate(body.eqns)}
    results = [r for r in dict.fromkeys(body.results[n_carry:]) if isinstance(r, Var)]
    there = {*results, *body.params[n_consts + n_carry:]}
    single = {p for p in body.params[:n_consts] if not p.type.ndim}
    found: dict[Var, list[Eqn]] = {}
    for r in sorted((r for r in results if r in made), key=lambda r: order[made[r]]):     # so that operands come first
        if r.type.ndim and is_cheap(made[r]):
            eqns = recipe(r, made, there, single)
            if eqns is not None:
                found[r] = sorted(eqns, key=order.__getitem__)
    return found


def recipe(r: Var, made: dict[Var, Eqn], there: set[Var], single: set[Var]) -> set[Eqn] | None:
    """The equations that compute a value from others that are there; None if that takes too many."""
    eqns, stack = {made[r]}, list(made[r].inputs)
    while stack:
        x = stack.pop()
        if not isinstance(x, Var) or x in single or (x in there and x.type.shape == r.type.shape) or made.get(x) in eqns:
            continue
        if not is_cheap(made.get(x)) or x.type.shape != r.type.shape or len(eqns) == MOST_OPS:
            return None
        eqns.add(made[x])
        stack += made[x].inputs
    return eqns


def computed(results: dict[Var, list[Eqn]], values: dict[Var, Any]) -> None:
    """Add the values of these results for all trips at once to the others."""
    for eqns in results.values():
        for eqn in eqns:
            out = eqn.outputs[0]
            if out not in values:
                values[out] = bind(eqn.op, *[values[x] if isinstance(x, Var) else x for x in eqn.inputs])


def absorb(op: Scan, inputs: Sequence) -> tuple[Scan, list]:
    """The loop computing from their operands those of its xs that cost little, if that is not more to read."""
    count, consts, carry, xs = op.parts(inputs)
    recipes = [] if count else [cheap_source(x) for x in xs]
    if not any(recipes):
        return op, list(inputs)
    eqns = list(dict.fromkeys(eqn for found in recipes for eqn in found))
    inside = {eqn.outputs[0] for eqn in eqns}
    leaves = dict.fromkeys(x for x, found in zip(xs, recipes) if not found)
    leaves.update(dict.fromkeys(x for eqn in eqns for x in eqn.inputs if isinstance(x, Var) and x not in inside))
    scalars, stacked = [v for v in leaves if not v.type.ndim], [v for v in leaves if v.type.ndim]
    if sum(v.type.nbytes for v in stacked) > sum(v.type.nbytes for v in dict.fromkeys(xs)):
        return op, list(inputs)
    n = len(consts)

    def body(*args):
        values = dict(zip(scalars, args[n:])) | dict(zip(stacked, args[n + len(scalars) + len(carry):]))
        for eqn in eqns:
            values[eqn.outputs[0]] = bind(eqn.op, *[values[x] if isinstance(x, Var) else x for x in eqn.inputs])
        at = n + len(scalars)
        return inline(op.body, [*args[:n], *args[at:at + len(carry)], *[values[x] if isinstance(x, Var) else x for x in xs]])
    operands = [*consts, *scalars, *carry, *stacked]
    types = [x.type for x in operands[:len(operands) - len(stacked)]] + [slice_type(x.type) for x in stacked]
    return dataclasses.replace(op, body=rewrite(body, types), n_consts=n + len(scalars), n_carry=len(carry)), operands


def cheap_source(x: Any) -> list[Eqn]:
    """How an operand of a loop is computed from arrays of its own shape; nothing if that is not cheap."""
    if not isinstance(x, Var) or not is_cheap(x.eqn):
        return []
    eqns: dict[Eqn, None] = {}
    stack = [x.eqn]
    while stack:
        eqn = stack.pop()
        if eqn in eqns:
            continue
        if len(eqns) == MOST_OPS:
            return []
        eqns[eqn] = None
        stack += [v.eqn for v in eqn.inputs if isinstance(v, Var) and v.type.ndim and is_cheap(v.eqn)]
    return ordered(x.eqn, eqns)


def ordered(last: Eqn, eqns: dict[Eqn, None]) -> list[Eqn]:
    """These equations with each after those that it reads."""
    out: dict[Eqn, None] = {}

    def visit(eqn: Eqn) -> None:
        for v in eqn.inputs:
            if isinstance(v, Var) and v.eqn in eqns and v.eqn not in out:
                visit(v.eqn)
        out[eqn] = None
    visit(last)
    return list(out)

"""Dead code: equations, carries, recorded values and operands of loops and branches that no result and no effect needs."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tracejit.ir.graph import Eqn, Graph, Var, fields_of, is_graphs, live_eqns, subgraphs
from tracejit.lax.branches import Cond
from tracejit.lax.loops import Scan, While


def remove_dead(graph: Graph) -> Graph:
    """The graph without what nobody needs, in sub-graphs too."""
    needed = {r for r in graph.results if isinstance(r, Var)}
    kept: list[Eqn] = []
    for eqn in reversed(graph.eqns):
        used = [v in needed for v in eqn.outputs]
        if not (eqn.op.has_effects or any(used)):
            continue
        kept.append(smaller(eqn, used))
        needed.update(x for x in kept[-1].inputs if isinstance(x, Var))
    return Graph(graph.params, kept[::-1], graph.results)


def smaller(eqn: Eqn, used: list[bool]) -> Eqn:
    """The equation without what only its unused outputs need."""
    if isinstance(eqn.op, Scan):
        return smaller_scan(eqn, eqn.op, used)
    if isinstance(eqn.op, While):
        return smaller_while(eqn, eqn.op, used)
    if isinstance(eqn.op, Cond):
        return smaller_cond(eqn, eqn.op, used)
    changes = {}
    for name, value in fields_of(eqn.op):
        if is_graphs(value):
            subs = tuple(map(remove_dead, subgraphs(value)))
            changes[name] = subs if isinstance(value, tuple) else subs[0]
    return Eqn(dataclasses.replace(eqn.op, **changes), eqn.inputs, eqn.outputs, eqn.source) if changes else eqn


def params_read(graph: Graph, wanted: Sequence[bool]) -> list[bool]:
    """Which params the wanted results and the effects need."""
    results = keep(graph.results, wanted)
    read = {x for eqn in live_eqns(Graph(graph.params, graph.eqns, results)) for x in eqn.inputs if isinstance(x, Var)}
    read.update(r for r in results if isinstance(r, Var))
    return [p in read for p in graph.params]


def keep(values: Sequence, flags: Sequence[bool]) -> list:
    return [x for x, wanted in zip(values, flags, strict=True) if wanted]


def part_of(graph: Graph, params: Sequence[bool], results: Sequence[bool]) -> Graph:
    return remove_dead(Graph(keep(graph.params, params), graph.eqns, keep(graph.results, results)))


def live_carries(body: Graph, carries: list[bool], rest: list[bool], first: int, also: list[bool] | None = None) -> list[bool]:
    """Grow the flags of carries (params from `first` on) to those that some wanted result of the body reads."""
    carries = [a or b for a, b in zip(carries, also)] if also else carries
    while True:
        read = params_read(body, carries + rest)[first:first + len(carries)]
        grown = [a or b for a, b in zip(carries, read)]
        if grown == carries:
            return carries
        carries = grown


def smaller_scan(eqn: Eqn, op: Scan, used: list[bool]) -> Eqn:
    n, ys = op.n_carry, used[op.n_carry:]
    carries = live_carries(op.body, used[:n], ys, op.n_consts)
    read = params_read(op.body, carries + ys)
    params = read[:op.n_consts] + carries + read[op.n_consts + n:]
    body = part_of(op.body, params, carries + ys)
    new = dataclasses.replace(op, body=body, n_consts=sum(params[:op.n_consts]), n_carry=sum(carries))
    return Eqn(new, keep(eqn.inputs, [True] * op.n_lead + params), keep(eqn.outputs, carries + ys), eqn.source)


def smaller_while(eqn: Eqn, op: While, used: list[bool]) -> Eqn:
    n, n_bc = op.n_carry, op.n_body_consts
    records = used[n + 1:] if op.record else []
    tested = params_read(op.cond, [True])
    carries = live_carries(op.body, used[:n], records, n_bc, tested[op.n_cond_consts:])
    read = params_read(op.body, carries + records)
    cond_consts, consts = tested[:op.n_cond_consts], read[:n_bc]
    new = While(part_of(op.cond, cond_consts + carries, [True]), part_of(op.body, consts + carries, carries + records),
                sum(cond_consts), sum(consts), op.record)
    outputs = carries + ([True, *records] if op.record else [])
    return Eqn(new, keep(eqn.inputs, cond_consts + consts + carries), keep(eqn.outputs, outputs), eqn.source)


def smaller_cond(eqn: Eqn, op: Cond, used: list[bool]) -> Eqn:
    reads = [params_read(g, used) for g in op.branches]
    params = [any(flags) for flags in zip(*reads)]
    branches = tuple(part_of(g, params, used) for g in op.branches)
    return Eqn(Cond(branches), keep(eqn.inputs, [True, *params]), keep(eqn.outputs, used), eqn.source)

"""Inner loops add to what the outer loop has added up, rather than to zeros that are added to it afterwards.

    x + loop(zeros, ...)  ->  loop(x, ...)      where each trip only adds to some elements of that carry

Reverse mode makes these sums: x is the cotangent of an array that loops inside of loops read. After this a trip of the outer
loop costs what it adds, not a pass over x. Sums of whole arrays or numbers stay in the order in which they are written.
"""
from __future__ import annotations

from collections import Counter

from tracejit.ir.graph import Eqn, Graph, Var, replay
from tracejit.ir.trace import record_eqn, rewrite, sourced
from tracejit.lax.elementwise import Add
from tracejit.lax.index import ScatterAdd
from tracejit.lax.loops import Scan, While
from tracejit.transforms.passes.updates import is_zero


def add_in_loops(graph: Graph) -> Graph:
    sums, begins = sums_of_loops(graph)
    if not sums:
        return graph

    def run(*args):
        values = dict(zip(graph.params, args))

        def apply(eqn: Eqn, inputs):
            if eqn in sums:
                outs = [values[sums[eqn]]]
            else:
                inputs = [values[begins[eqn, k]] if (eqn, k) in begins else x for k, x in enumerate(inputs)]
                with sourced(eqn.source):
                    outs = record_eqn(eqn, inputs)
            values.update(zip(eqn.outputs, outs))
            return outs
        return replay(graph, args, apply)
    return rewrite(run, graph.in_types)


def sums_of_loops(graph: Graph) -> tuple[dict[Eqn, Var], dict[tuple[Eqn, int], Var]]:
    """Of each addition that a loop can do: the loop's result. Of each operand of these loops: what they begin with instead."""
    made = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
    reads, place = reads_of(graph), {eqn: i for i, eqn in enumerate(graph.eqns)}
    sums: dict[Eqn, Var] = {}
    begins: dict[tuple[Eqn, int], Var] = {}
    instead: dict[Var, Var] = {}        # of such a sum: the result that it is
    for eqn in graph.eqns:
        for x, y in (eqn.inputs, eqn.inputs[::-1]) if isinstance(eqn.op, Add) else ():
            if not isinstance(x, Var) or not isinstance(y, Var) or x.type.shape != y.type.shape or x.type.dtype != y.type.dtype:
                continue
            loop, start = made.get(y), instead.get(x, x)
            k = place_of_zeros(loop, y, made) if loop is not None and reads[y] == 1 else None
            if k is not None and (start not in made or place[made[start]] < place[loop]):
                sums[eqn], begins[loop, k], instead[eqn.outputs[0]] = y, start, y
                break
    return sums, begins


def reads_of(graph: Graph) -> Counter:
    reads = Counter(x for eqn in graph.eqns for x in eqn.inputs if isinstance(x, Var))
    reads.update(r for r in graph.results if isinstance(r, Var))
    return reads


def place_of_zeros(loop: Eqn, y: Var, made: dict[Var, Eqn]) -> int | None:
    """Which operand of a loop are the zeros that it adds up to y; None if it does anything else."""
    op, k = loop.op, loop.outputs.index(y)
    if not isinstance(op, (Scan, While)) or k >= op.n_carry or not only_adds(op, k):
        return None
    at = len(loop.inputs) - len([x for part in op.parts(loop.inputs)[2:] for x in part]) + k
    return at if is_zero(made, loop.inputs[at]) else None


def only_adds(op: Scan | While, k: int) -> bool:
    """Whether each trip does nothing with a carry but add to elements of it."""
    body, first = op.body, op.n_consts if isinstance(op, Scan) else op.n_body_consts
    if isinstance(op, While) and reads_of(op.cond)[op.cond.params[op.n_cond_consts + k]]:
        return False
    now, reads = body.params[first + k], reads_of(body)
    for eqn in body.eqns:
        if now not in eqn.inputs:
            continue
        if reads[now] != 1:
            return False
        n, inner = eqn.inputs.index(now), eqn.op
        if isinstance(inner, ScatterAdd) and n == 0:
            now = eqn.outputs[0]
        elif isinstance(inner, (Scan, While)):
            carries = inner.parts(eqn.inputs)[2]
            if now not in carries or not only_adds(inner, carries.index(now)):
                return False
            now = eqn.outputs[carries.index(now)]
        else:
            return False
    return reads[now] == 1 and body.results[k] is now

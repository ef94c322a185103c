"""Values far larger than all that they are made of and that is made of them are computed and used up part by part.

    p = softmax(q @ k.T); out = p @ v     ->   a loop over blocks of queries: p is never there as a whole

This is blockwise attention (Rabe and Staats, "Self-attention does not need O(n^2) memory", 2021) for whatever is written in that
way: masks, biases and gradients need no form of their own. A gradient is a second loop. It reads what the first stored of its
large values, as long as that is not much, and computes them again beyond.
"""
from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Atom, Eqn, Graph, Var
from tracejit.ir.trace import bind, rewrite, sourced
from tracejit.ir.types import ArrayType
from tracejit.lax.broadcast import resized
from tracejit.lax.kinds import Contraction, Cut, Elementwise, View
from tracejit.lax.loops import Scan
from tracejit.transforms.passes.regions import EXPANSION, Region, Uses, cuts_of, find_region, variables

PART_BYTES = 1 << 20    # of one large value that a part has, if parts are computed at once: it stays in a thread's cache
SHARED_BYTES = 1 << 22  # if one part is computed after another: it is work for many threads
KEPT_BYTES = 1 << 27    # of large values that one loop may store for a later one
MOST_PRODUCTS = 1.5     # times as many as before, as some are computed again
LEAST_ROWS = 8
DEEPEST = 256           # of a part that products sum over: they read it across its lines, which then leave the caches too early

Key = tuple[Var, int | None]    # a value and its axis that is cut; None: all of it


def cut_large_values(graph: Graph) -> Graph:
    tried: set[Key] = set()
    while True:
        seed = next((seed for eqn in graph.eqns for seed in seeds(eqn) if seed not in tried), None)
        if seed is None:
            return graph
        tried.add(seed)
        graph = cut_around(graph, *seed) or graph


def seeds(eqn: Eqn) -> list[Key]:
    """The result of a product that is large in itself and beside its operands, with each of its axes."""
    if not isinstance(eqn.op, Contraction) or eqn.outputs[0].type.nbytes < 2 * PART_BYTES:
        return []
    out = eqn.outputs[0]
    if out.type.size < EXPANSION * max(x.type.size for x in eqn.inputs):
        return []
    return [(out, c.out) for c in cuts_of(eqn) if c.out is not None and out.type.shape[c.out] > 1]


def cut_around(graph: Graph, product: Var, axis: int) -> Graph | None:
    """The graph with loops around a product, along one of its axes; None if that does not pay."""
    uses = Uses(graph)
    region = find_region(uses, uses.made[product], axis)
    loops = plan_loops(region)
    step = part_size(region, loops)
    with sourced(uses.made[product].source):
        return spliced(graph, region, loops, lambda loop: loop_graph(loop, region.size, step)) if step else None


# --- what each loop computes ------------------------------------------------------------------------------------------

@dataclass
class Loop:
    """The members that one loop computes part by part, in order and some of them again; what it reads and what it hands on."""
    steps: dict[Key, tuple[Eqn, Cut]]
    inputs: list[Key]
    outputs: list[Key]


def plan_loops(region: Region) -> list[Loop]:
    uses, n = region.uses, 1 + max(region.level.values())
    again = computed_again(region)
    inside = [members_of(region, level, again) for level in range(n)]
    loops = []
    for level, members in enumerate(inside):
        own = sorted((eqn for eqn in members if region.level[eqn] == level), key=uses.place.__getitem__)

        def leaves(eqn: Eqn) -> bool:
            v, readers = eqn.outputs[0], uses.readers.get(eqn.outputs[0], ())
            return v in uses.results or region.members[eqn].out is None or any(
                r not in region.members or any(r in m and eqn not in m for m in inside) for r in readers)
        outputs = [(eqn.outputs[0], region.members[eqn].out) for eqn in own if leaves(eqn)]
        loops.append(plan_steps(region, sorted(members, key=uses.place.__getitem__), outputs))
    return loops


def computed_again(region: Region) -> set[Eqn]:
    """Members whose large values later loops compute again rather than read: cheap ones, and all if they are too large to keep."""
    crossing = {x: None for eqn, cut in region.members.items() for x, a in zip(eqn.inputs, cut.ins)
                if region.carries(x, a) and region.is_large(x) and region.level[region.uses.made[x]] < region.level[eqn]}
    dear = [x for x in crossing if not region.is_made_of_little(x)]
    kept = dear if sum(x.type.nbytes for x in dear) <= KEPT_BYTES else []
    return {eqn for eqn in region.members if region.is_large(eqn.outputs[0]) and eqn.outputs[0] not in kept}


def members_of(region: Region, level: int, again: set[Eqn]) -> set[Eqn]:
    """The members of a level, and those of earlier ones that it computes again."""
    found: set[Eqn] = set()
    waiting = [eqn for eqn in region.members if region.level[eqn] == level]
    while waiting:
        eqn = waiting.pop()
        if eqn not in found:
            found.add(eqn)
            made = [region.uses.made[x] for x, a in zip(eqn.inputs, region.members[eqn].ins) if region.carries(x, a)]
            waiting += [e for e in made if region.level[e] == level or e in again]
    return found


def plan_steps(region: Region, members: Sequence[Eqn], outputs: list[Key]) -> Loop:
    loop = Loop({}, [], outputs)
    for eqn in members:
        add_step(region, loop, eqn, region.members[eqn])
    loop.inputs = list(dict.fromkeys(key for eqn, cut in loop.steps.values() for key in zip(eqn.inputs, cut.ins)
                                     if isinstance(key[0], Var) and key not in loop.steps))
    return loop


def add_step(region: Region, loop: Loop, eqn: Eqn, cut: Cut) -> None:
    """An equation, and before it what it reads if that is made of next to nothing, such as a mask."""
    if not isinstance(eqn.op, Contraction):     # it reads memory
        for x, a in zip(eqn.inputs, cut.ins):
            made = region.uses.made.get(x) if isinstance(x, Var) else None
            if made is not None and made not in region.members and (x, a) not in loop.steps and is_virtual(region.uses, x, a):
                fits = Cut(None, (None,) * len(made.inputs)) if a is None else next(c for c in cuts_of(made) if c.out == a)
                add_step(region, loop, made, fits)
    loop.steps[eqn.outputs[0], cut.out] = eqn, cut


def is_virtual(uses: Uses, x: Var, axis: int | None) -> bool:
    """Whether a value is better computed where it is read: by views and arithmetic, of less memory than it would take."""
    eqn = uses.made[x]
    if not isinstance(eqn.op, (View, Elementwise)) or axis is not None and all(c.out != axis for c in cuts_of(eqn)):
        return False
    sources: dict[Var, None] = {}
    waiting, count = [x], 0
    while waiting:
        v = waiting.pop()
        made = uses.made.get(v)
        count += 1
        if made is not None and isinstance(made.op, (View, Elementwise)) and count < 16:
            waiting += variables(made.inputs)
        else:
            sources[v] = None
    return 2 * sum(v.type.nbytes for v in sources) <= (x.type.nbytes if axis is not None else 0)


# --- how large the parts are ----------------------------------------------------------------------------------------

def part_size(region: Region, loops: Sequence[Loop]) -> int:
    """How far one trip goes along the axis; 0 if cutting does not pay."""
    stored = {v for loop in loops for v, _ in loop.outputs if region.is_large(v)}
    in_memory = {x for eqn in region.members if isinstance(eqn.op, Contraction) for x in variables([*eqn.inputs, *eqn.outputs])
                 if region.is_large(x) and region.uses.made.get(x) in region.members}
    around = {v for loop in loops for v, _ in [*loop.inputs, *loop.outputs] if not region.is_large(v)}
    saved = sum(v.type.nbytes for v in in_memory - stored)
    products = [sum(isinstance(eqn.op, Contraction) for eqn in eqns)
                for eqns in (region.members, [eqn for loop in loops for eqn, _ in loop.steps.values()])]
    if MOST_PRODUCTS * products[0] < products[1] or saved < max(PART_BYTES, sum(v.type.nbytes for v in around)):
        return 0
    every_trip = max(sum(v.type.nbytes for v, a in {*loop.inputs, *loop.outputs} if a is None) for loop in loops)
    per_index = max(v.type.nbytes for v in in_memory) // region.size
    is_summed = any(a is None for loop in loops for _, a in loop.outputs)
    wanted = min(SHARED_BYTES, DEEPEST * per_index) if is_summed else PART_BYTES
    step = max(wanted, every_trip) // max(per_index, 1)
    return rounded_part(region.size, step) if 2 * step <= region.size else 0


def rounded_part(size: int, step: int) -> int:
    """A divisor of the size if there is one near, else a multiple of LEAST_ROWS."""
    step = max(step, 1)
    divisor = max(d for d in range(1, step + 1) if size % d == 0)
    return divisor if 2 * divisor > step else max(step // LEAST_ROWS * LEAST_ROWS, 1)


# --- the loop as a program ----------------------------------------------------------------------------------------------

def loop_graph(loop: Loop, size: int, step: int) -> Graph:
    """A graph from all that the loop reads to all that it hands on."""
    sources = list(dict.fromkeys(v for v, _ in loop.inputs))
    count, rest = divmod(size, step)

    def f(*arrays):
        whole = dict(zip(sources, arrays))
        outs = run_loop(loop, whole, count, step, rest == 0)
        if rest:
            start = np.int32(count * step)
            last = one_part(loop, whole, {}, start, rest)
            outs = [lax.add(x, y) if a is None else lax.concatenate([x, y], a) for (_, a), x, y in zip(loop.outputs, outs, last)]
        return outs
    return rewrite(f, [v.type for v in sources])


def run_loop(loop: Loop, whole: dict[Var, Atom], count: int, step: int, is_even: bool) -> list:
    stacked = [(v, a) for v, a in loop.inputs if a is not None and is_even and math.prod(v.type.shape[:a]) == 1]
    sources = list(dict.fromkeys(v for v, a in loop.inputs if (v, a) not in stacked))
    sums = [v.type for v, a in loop.outputs if a is None]
    slices = [ArrayType(resized(v.type.shape, a, step), v.type.dtype) for v, a in stacked]

    def trip(*values):
        consts, rest = values[:len(sources)], values[len(sources):]
        totals, start, parts = rest[:len(sums)], rest[len(sums)], rest[len(sums) + 1:]
        outs = one_part(loop, dict(zip(sources, consts)), dict(zip(stacked, parts)), start, step)
        added = [x for (_, a), x in zip(loop.outputs, outs) if a is None]
        return [*map(lax.add, totals, added), *[x for (_, a), x in zip(loop.outputs, outs) if a is not None]]
    types = [v.type for v in sources]
    body = cut_large_values(rewrite(trip, [*types, *sums, ArrayType((), np.dtype("int32")), *slices]))
    starts = lax.mul(lax.iota(np.int32, count), np.int32(step))
    stacks = [lax.reshape(whole[v], (count, *t.shape)) for (v, _), t in zip(stacked, slices)]
    zeros = [lax.full(t.shape, 0, t.dtype) for t in sums]
    outs = bind(Scan(body, len(sources), len(sums), count), *[whole[v] for v in sources], *zeros, starts, *stacks)
    totals, parts = iter(outs[:len(sums)]), iter(outs[len(sums):])
    return [next(totals) if a is None else joined(next(parts), a) for _, a in loop.outputs]


def joined(parts: Var, axis: int) -> Var:
    """Parts stacked along a leading axis -> the whole."""
    count, *shape = parts.type.shape
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(shape) + 1))
    return lax.reshape(lax.transpose(parts, order), resized(tuple(shape), axis, count * shape[axis]))


def one_part(loop: Loop, whole: dict[Var, Atom], parts: dict[Key, Atom], start: Atom, size: int) -> list:
    """What the loop hands on, for `size` elements of the axis from `start` on; `parts` of what it reads are there already."""
    made = dict(parts)

    def read(x: Atom, axis: int | None) -> Atom:
        if not isinstance(x, Var):
            return x
        if (x, axis) not in made:
            made[x, axis] = whole[x] if axis is None else lax.dynamic_slice_in_dim(whole[x], start, size, axis)
        return made[x, axis]
    for key, (eqn, cut) in loop.steps.items():
        with sourced(eqn.source):
            args = [read(x, a) for x, a in zip(eqn.inputs, cut.ins)]
            made[key] = bind(eqn.op, *args) if cut.out is None else eqn.op.part(cut.out, start, size, args)
    return [made[key] for key in loop.outputs]


# --- the loops in the place of the members ------------------------------------------------------------------------------

@dataclass(eq=False)
class Node:
    """What is put into the new graph as one: an equation that stays, or a loop."""
    place: int
    reads: list[Var]
    writes: list[Var]
    put: Callable[[], list[Eqn]]


def spliced(graph: Graph, region: Region, loops: Sequence[Loop], graph_of: Callable[[Loop], Graph]) -> Graph | None:
    """The graph with what is put for each loop; None if what is between two of them needs what they would only give later."""
    renamed: dict[Atom, Atom] = {}
    rename = lambda x: renamed.get(x, x) if isinstance(x, Var) else x
    nodes = [Node(i, list(variables(eqn.inputs)), list(eqn.outputs),
                  lambda eqn=eqn: [Eqn(eqn.op, [*map(rename, eqn.inputs)], eqn.outputs, eqn.source)])
             for i, eqn in enumerate(graph.eqns) if eqn not in region.members]
    for loop in loops:
        sources = list(dict.fromkeys(v for v, _ in loop.inputs))

        def put(loop: Loop = loop, sources: list[Var] = sources) -> list[Eqn]:
            inner = graph_of(loop)
            own: dict[Atom, Atom] = dict(zip(inner.params, map(rename, sources)))
            take = lambda x: own.get(x, x) if isinstance(x, Var) else x
            renamed.update((v, take(r)) for (v, _), r in zip(loop.outputs, inner.results))
            return [Eqn(e.op, [*map(take, e.inputs)], e.outputs, e.source) for e in inner.eqns]
        last = max(region.uses.place[eqn] for eqn, _ in loop.steps.values())
        nodes.append(Node(last, sources, [v for v, _ in loop.outputs], put))
    order = in_order(nodes)
    if order is None:
        return None
    eqns = [eqn for node in order for eqn in node.put()]
    return Graph(graph.params, eqns, [*map(rename, graph.results)])


def in_order(nodes: Sequence[Node]) -> list[Node] | None:
    """The nodes with each after those that it reads, else in their places; None if there is a circle."""
    maker = {v: node for node in nodes for v in node.writes}
    waits = {node: {maker[v] for v in node.reads if v in maker} for node in nodes}
    readers: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node, needed in waits.items():
        for other in needed:
            readers[other].append(node)
    left = {node: len(needed) for node, needed in waits.items()}
    ready = [(node.place, k, node) for k, node in enumerate(nodes) if not left[node]]
    heapq.heapify(ready)
    number, order = {node: k for k, node in enumerate(nodes)}, []
    while ready:
        node = heapq.heappop(ready)[2]
        order.append(node)
        for other in readers[node]:
            left[other] -= 1
            if not left[other]:
                heapq.heappush(ready, (other.place, number[other], other))
    return order if len(order) == len(nodes) else None

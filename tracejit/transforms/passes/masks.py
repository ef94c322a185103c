"""What a known mask throws away is not computed: a value is cut into parts along one axis, and of each only what some row of it
keeps is made.

    softmax(where(row >= column, q @ k.T, -1e30)) @ v   ->   for each part of the rows, with the columns up to its last row

The columns left out of a part are alike: each row has one number in all of them, here -1e30, after exp(x - max) its exponential. It
is carried along as one column, the `rest`, so that nothing need be known about that number: a sum adds it as often as it occurs, a
product multiplies it with the sum of the rows of `v` that belong to it (and is nan where these are not finite, as before).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Atom, Eqn, Graph, Lit, Var
from tracejit.ir.trace import bind, inline, rewrite, sourced
from tracejit.ir.types import is_inexact
from tracejit.lax.broadcast import BroadcastInDim, ReduceSum, resized
from tracejit.lax.compare import SelectN
from tracejit.lax.dot import DotGeneral, accumulator
from tracejit.lax.kinds import Cut, Elementwise, Reduction, View
from tracejit.lax.reference import is_half
from tracejit.lax.reduce import ReduceMax, ReduceMin
from tracejit.transforms.passes.parts import Key, Loop, one_part, plan_loops, seeds, spliced
from tracejit.transforms.passes.regions import Region, Uses, cuts_of, find_region, variables

MOST_PARTS, LEAST_PART = 8, 128     # of the axis that is cut
WORTH = 0.8                         # of the large value that is still computed makes it pay
MOST_KNOWN = 1 << 24                # elements of a mask that are looked at

Values = Sequence[np.ndarray | None]    # of a graph's params, where they are known
Pair = tuple[Atom, Atom | None]     # what is kept of a value along an axis; the rest, without that axis: None if it is not alike


class NotAlike(Exception):
    """A value is needed as a whole though parts of it were left out."""


def leave_out_masked(graph: Graph) -> Graph:
    for product, axis in [seed for eqn in graph.eqns for seed in seeds(eqn)]:
        uses = Uses(graph)
        if product in uses.made:
            graph = without_masked(graph, uses, product, axis) or graph
    return graph


def without_masked(graph: Graph, uses: Uses, product: Var, axis: int) -> Graph | None:
    """The graph with parts around a product, along one of its axes; None if that leaves too little out."""
    region = find_region(uses, uses.made[product], axis)
    if not any(isinstance(eqn.op, SelectN) and is_of_nothing(uses, eqn.inputs[0]) for eqn in region.members):
        return None
    loops = plan_loops(region)
    if len(loops) > 1 or any(a is None or region.is_large(v) for v, a in loops[0].outputs):
        return None
    with sourced(uses.made[product].source):
        pieces = narrow_parts(region, loops[0])
        return spliced(graph, region, loops, lambda loop: joined_parts(loop, pieces)) if pieces else None


def is_of_nothing(uses: Uses, x: Atom) -> bool:
    """Whether a value is made of positions and constants alone."""
    eqn = uses.made.get(x) if isinstance(x, Var) else None
    if eqn is None:
        return isinstance(x, Lit)
    return isinstance(eqn.op, (Elementwise, View)) and all(is_of_nothing(uses, y) for y in eqn.inputs)


# --- the parts ----------------------------------------------------------------------------------------------------------

def narrow_parts(region: Region, loop: Loop) -> list[Graph]:
    """What each part computes, from all that the loop reads; none if that does not pay."""
    size, known = region.size, {}
    values = [known_value(region.uses, v, known) for v in sources_of(loop)]
    count = min(MOST_PARTS, size // LEAST_PART)
    edges = [size * i // count for i in range(count + 1)] if count > 1 else []
    parts = list(zip(edges, edges[1:]))
    if not any(kept_ranges(part_graph(loop, *part), values) for part in parts[::max(count - 1, 1)]):    # the first and the last
        return []
    found = [narrow_part(part_graph(loop, *part), values) for part in parts]
    done = sum((stop - start) * share for (start, stop), (_, share) in zip(parts, found))
    return [graph for graph, _ in found] if done < WORTH * size else []


def narrow_part(graph: Graph, values: Values) -> tuple[Graph, float]:
    """The graph with as much left out as can be, and the share that is left of its large value."""
    for kept in kept_ranges(graph, values):
        narrow = narrowed(graph, values, kept)
        if narrow is not None:
            return narrow, kept.share
    return graph, 1.0


def sources_of(loop: Loop) -> list[Var]:
    return list(dict.fromkeys(v for v, _ in loop.inputs))


def part_graph(loop: Loop, start: int, stop: int) -> Graph:
    sources = sources_of(loop)

    def f(*arrays):
        whole = dict(zip(sources, arrays))
        parts = {(v, a): lax.slice_in_dim(whole[v], start, stop, axis=a) for v, a in loop.inputs if a is not None}
        return one_part(loop, whole, parts, np.int32(start), stop - start)
    return rewrite(f, [v.type for v in sources])


def joined_parts(loop: Loop, graphs: Sequence[Graph]) -> Graph:
    def f(*arrays):
        outs = [inline(graph, arrays) for graph in graphs]
        return [lax.concatenate(pieces, a) for (_, a), pieces in zip(loop.outputs, zip(*outs))]
    return rewrite(f, [v.type for v in sources_of(loop)])


# --- what a mask keeps --------------------------------------------------------------------------------------------------

class Kept(NamedTuple):
    """What a known mask may take from either case: from start to stop along an axis of `size`. All else is of one case."""
    chosen: Var
    axis: int
    start: int
    stop: int
    size: int

    @property
    def share(self) -> float:
        return (self.stop - self.start) / self.size


def kept_ranges(graph: Graph, values: Values) -> list[Kept]:
    """Of all selections by known masks, the shortest first."""
    uses, known = Uses(graph), dict(zip(graph.params, values))
    found = []
    for eqn in graph.eqns:
        mask = known_mask(uses, eqn, known)
        if mask is not None:
            found += [Kept(eqn.outputs[0], axis, *where) for axis in range(mask.ndim) for where in kept_range(mask, axis)]
    return sorted(found, key=lambda kept: kept.share)


def known_mask(uses: Uses, eqn: Eqn, known: dict[Var, np.ndarray | None]) -> np.ndarray | None:
    which = eqn.inputs[0] if isinstance(eqn.op, SelectN) else None
    return known_value(uses, which, known) if which is not None and which.type.dtype == bool else None


def known_value(uses: Uses, x: Atom, known: dict[Var, np.ndarray | None]) -> np.ndarray | None:
    if isinstance(x, Lit):
        return np.asarray(x.value)
    if x not in known:
        eqn, known[x] = uses.made.get(x), None
        if eqn is not None and isinstance(eqn.op, (Elementwise, View)) and x.type.size <= MOST_KNOWN:
            args = [known_value(uses, y, known) for y in eqn.inputs]
            known[x] = None if any(y is None for y in args) else np.asarray(eqn.op.eval(*args))
    return known[x]


def kept_range(mask: np.ndarray, axis: int) -> list[tuple[int, int, int]]:
    """From where to where along an axis a mask differs from its last element, or else from its first, and the size."""
    size, found = mask.shape[axis], []
    once = mask[tuple(slice(0, 1) if step == 0 else slice(None) for step in mask.strides)]
    lines = np.moveaxis(once, axis, 0).reshape(once.shape[axis], -1)
    for value in {bool(mask.flat[-1]), bool(mask.flat[0])} if mask.size else ():
        differ = np.flatnonzero((lines != value).any(1))
        if len(lines) == size and differ.size and differ[-1] + 1 - differ[0] < size:
            found.append((int(differ[0]), int(differ[-1]) + 1, size))
    return found


# --- a part without what its mask throws away ---------------------------------------------------------------------------

def narrowed(graph: Graph, values: Values, kept: Kept) -> Graph | None:
    """The graph with values along the axis of a selection made only where it keeps some; None if others need all of them."""
    marked = values_along(graph, kept.chosen, kept.axis)

    def f(*args):
        narrow = Narrow(Uses(graph), kept, marked, dict(zip(graph.params, args)), dict(zip(graph.params, values)))
        return [narrow.whole(r) for r in graph.results]
    try:
        return rewrite(f, [v.type for v in graph.params])
    except NotAlike:
        return None


def values_along(graph: Graph, start: Var, axis: int) -> dict[Var, int]:
    """The values made from one element by element along an axis, each with that axis of its own."""
    marked = {start: axis}
    for eqn in graph.eqns:
        reads = [x for x in variables(eqn.inputs) if x in marked]
        if reads and eqn.outputs[0] not in marked:
            agrees = lambda x, a: not isinstance(x, Var) or a == marked.get(x, a)
            fits = lambda c: c.out is not None and all(map(agrees, eqn.inputs, c.ins))
            cut = next(filter(fits, cuts_of(eqn)), None)
            marked.update({eqn.outputs[0]: cut.out} if cut else {})
    return marked


@dataclass
class Narrow:
    """Records what is needed of a graph in the active trace."""
    uses: Uses
    kept: Kept
    marked: dict[Var, int]
    wholes: dict[Var, Atom]
    known: dict[Var, np.ndarray | None]
    pairs: dict[Key, Pair] = field(default_factory=dict)

    def whole(self, x: Atom) -> Atom:
        if not isinstance(x, Var):
            return x
        if x in self.marked:
            raise NotAlike
        if x not in self.wholes:
            eqn = self.uses.made[x]
            with sourced(eqn.source):
                self.wholes[x] = self.folded(eqn) if any(y in self.marked for y in variables(eqn.inputs)) else \
                    bind(eqn.op, *map(self.whole, eqn.inputs))
        return self.wholes[x]

    def folded(self, eqn: Eqn) -> Atom:
        """A fold or a product over the axis: of what is kept, then of the rest."""
        if isinstance(eqn.op, DotGeneral):
            return self.product(eqn)
        x, = eqn.inputs
        if not isinstance(eqn.op, (ReduceSum, ReduceMax, ReduceMin)) or self.marked[x] not in eqn.op.axes:
            raise NotAlike
        axis = self.marked[x]
        kept, rest = map(widened, self.alike(x, axis))
        if len(eqn.op.axes) > 1:
            rest = bind(eqn.op, with_axis(rest, x.type.shape, axis))
        if isinstance(eqn.op, ReduceSum):
            rest = lax.mul(rest, np.asarray(self.left_out, rest.type.dtype))
        return lax.convert_element_type(bind(eqn.op.monoid, bind(eqn.op, kept), rest), x.type.dtype)

    @property
    def left_out(self) -> int:
        return self.kept.size - (self.kept.stop - self.kept.start)

    def cut(self, x: Atom, axis: int) -> Atom:
        return lax.slice_in_dim(x, self.kept.start, self.kept.stop, axis=axis)

    def product(self, eqn: Eqn) -> Atom:
        """The rest meets the sum of the other operand, taken as a mean times a count: a mean does not overflow.

        Of 16-bit floats both products are float32, so that their sum is rounded once, as the product was.
        """
        side = 0 if eqn.inputs[0] in self.marked else 1
        x, y = eqn.inputs[side], eqn.inputs[1 - side]
        contracted = dict(zip(eqn.op.contract[side], eqn.op.contract[1 - side]))
        axis = self.marked[x]
        if y in self.marked or axis not in contracted or not is_inexact(x.type.dtype):
            raise NotAlike
        (kept, rest), y, b = self.alike(x, axis), self.whole(y), contracted[axis]
        out = eqn.outputs[0].type.dtype
        op = replace(eqn.op, preferred=np.promote_types(accumulator(out), np.float32)) if is_half(x.type.dtype) else eqn.op
        of = lambda p, q: bind(op, *((p, q) if side == 0 else (q, p)))
        mean = self.mean_left_out(y, b)
        rest = with_axis(lax.mul(widened(rest), np.asarray(self.left_out, mean.type.dtype)), x.type.shape, axis)
        return lax.convert_element_type(lax.add(of(kept, self.cut(y, b)), of(rest, mean)), out)

    def mean_left_out(self, y: Atom, axis: int) -> Atom:
        """The mean of what is left out along an axis, which stays with one element."""
        around = [(0, self.kept.start), (self.kept.stop, self.kept.size)]
        pieces = [widened(lax.slice_in_dim(y, i, j, axis=axis)) for i, j in around if i < j]
        sums = [bind(ReduceSum((axis,)), lax.mul(piece, np.asarray(1 / self.left_out, piece.type.dtype))) for piece in pieces]
        return lax.expand_dims(sums[0] if len(sums) == 1 else lax.add(*sums), (axis,))

    def alike(self, x: Atom, axis: int) -> tuple[Atom, Atom]:
        kept, rest = self.pair(x, axis)
        if rest is None:
            raise NotAlike
        return kept, rest

    def pair(self, x: Atom, axis: int) -> Pair:
        if (x, axis) not in self.pairs:
            eqn = self.uses.made.get(x)
            cut = next((c for c in cuts_of(eqn) if c.out == axis), None) if eqn is not None else None
            if eqn is None or cut is None:
                self.pairs[x, axis] = self.cut(self.whole(x), axis), None
            else:
                with sourced(eqn.source):
                    self.pairs[x, axis] = self.computed(eqn, cut)
        return self.pairs[x, axis]

    def computed(self, eqn: Eqn, cut: Cut) -> Pair:
        args = [(self.whole(x), self.whole(x)) if a is None else self.pair(x, a) for x, a in zip(eqn.inputs, cut.ins)]
        start, stop = self.kept.start, self.kept.stop
        kept = eqn.op.part(cut.out, np.int32(start), stop - start, [k for k, _ in args])
        return kept, self.rest(eqn, cut, [rest for _, rest in args])

    def rest(self, eqn: Eqn, cut: Cut, rests: list[Atom | None]) -> Atom | None:
        chosen, shape, axis = self.chosen(eqn, cut.out), eqn.outputs[0].type.shape, cut.out
        if chosen is not None:
            return rests[chosen]
        if any(rest is None for rest in rests):
            return None
        if isinstance(eqn.op, Elementwise):
            return bind(eqn.op, *rests)
        if isinstance(eqn.op, BroadcastInDim) and cut.ins == (None,) and axis not in eqn.op.dimensions:
            return lax.broadcast_in_dim(rests[0], without(shape, axis), [d - (d > axis) for d in eqn.op.dimensions])
        if not isinstance(eqn.op, (Reduction, View)) or all(a is None for a in cut.ins):
            return None
        args = [rest if a is None else with_axis(rest, x.type.shape, a) for rest, x, a in zip(rests, eqn.inputs, cut.ins)]
        return lax.reshape(eqn.op.part(axis, np.int32(0), 1, args), without(shape, axis))

    def chosen(self, eqn: Eqn, axis: int) -> int | None:
        """The operand that a selection takes of everything left out; None if that is not known, or not one."""
        mask = known_mask(self.uses, eqn, self.known)
        if mask is None or mask.shape[axis:axis + 1] != (self.kept.size,):
            return None
        outside = np.delete(mask, slice(self.kept.start, self.kept.stop), axis)
        return None if outside.any() != outside.all() else len(eqn.inputs) - 1 if outside.any() else 1


def widened(x: Atom) -> Atom:
    """16-bit floats as float32."""
    return lax.convert_element_type(x, accumulator(x.type.dtype))


def without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1:]


def with_axis(rest: Atom, shape: tuple[int, ...], axis: int) -> Atom:
    """The rest of a value of this shape, with the axis again."""
    return lax.reshape(rest if rest.type.shape else lax.broadcast_in_dim(rest, without(shape, axis), ()), resized(shape, axis, 1))

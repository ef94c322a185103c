"""A product far larger than its operands -> the region of equations that make and use up such large values, and an axis along
which all of them can be computed part by part: `softmax(q @ k.T) @ v` along the queries.

    members     equations with a value as large as the product, or between two such; each with its `Cut`
    level       how often a member must wait for all parts of members before it: a gradient's members have level 1, as
                they need a cotangent that is made of the whole result
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tracejit.ir.graph import Atom, Eqn, Graph, Var
from tracejit.lax.kinds import Contraction, Cut, Elementwise, View

EXPANSION = 2       # times as many elements as the larger operand has make a product large
FRACTION = 8        # a value is large if it has this part of the product's elements


class Uses:
    """Who makes and who reads each value of a graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.place = {eqn: i for i, eqn in enumerate(graph.eqns)}
        self.made = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
        self.readers: dict[Var, list[Eqn]] = {}
        for eqn in graph.eqns:
            for x in variables(eqn.inputs):
                self.readers.setdefault(x, []).append(eqn)
        self.results = set(variables(graph.results))


def variables(atoms: Iterable[Atom]) -> dict[Var, None]:
    return {x: None for x in atoms if isinstance(x, Var)}


def cuts_of(eqn: Eqn) -> list[Cut]:
    """The ways to compute an equation part by part; sums of 16-bit floats are not taken apart."""
    if eqn.op.multiple or eqn.op.has_effects:
        return []
    out = eqn.outputs[0].type
    cuts = eqn.op.cuts([x.type for x in eqn.inputs], out)
    return [c for c in cuts if c.out is not None or out.dtype.itemsize > 2]


@dataclass
class Region:
    uses: Uses
    size: int                                               # of the axis that is cut
    least: int                                              # elements of a large value
    axis: dict[Var, int] = field(default_factory=dict)      # of large values
    members: dict[Eqn, Cut] = field(default_factory=dict)
    level: dict[Eqn, int] = field(default_factory=dict)

    def is_large(self, x: Atom) -> bool:
        return isinstance(x, Var) and x.type.size >= self.least

    def carries(self, x: Atom, axis: int | None) -> bool:
        """Whether a part of a member's result is what another member reads of it."""
        made = self.members.get(self.uses.made.get(x)) if isinstance(x, Var) else None
        return made is not None and made.out is not None and made.out == axis

    def is_made_of_little(self, x: Atom) -> bool:
        """Whether a value is computed from small ones without a product or a fold."""
        if not self.is_large(x):
            return True
        eqn = self.uses.made.get(x)
        return eqn in self.members and isinstance(eqn.op, (View, Elementwise)) and all(map(self.is_made_of_little, eqn.inputs))


def find_region(uses: Uses, product: Eqn, axis: int) -> Region:
    out = product.outputs[0]
    operands = max(x.type.size for x in product.inputs)
    region = Region(uses, out.type.shape[axis], max(EXPANSION * operands, out.type.size // FRACTION), {out: axis})
    grow(region, out)
    join_between(region)
    find_levels(region)
    return region


def grow(region: Region, start: Var) -> None:
    """All equations around large values that can be cut as those found before them want it."""
    waiting = [start]
    while waiting:
        v = waiting.pop()
        for eqn in [region.uses.made.get(v), *region.uses.readers.get(v, ())]:
            cut = fitting(region, eqn) if eqn is not None and eqn not in region.members else None
            if cut is not None:
                region.members[eqn] = cut
                for x, a in zip([*eqn.inputs, eqn.outputs[0]], [*cut.ins, cut.out]):
                    if region.is_large(x) and x not in region.axis:
                        region.axis[x] = a
                        waiting.append(x)


def fitting(region: Region, eqn: Eqn) -> Cut | None:
    def fits(cut: Cut) -> bool:
        pairs = list(zip([*eqn.inputs, *eqn.outputs], [*cut.ins, cut.out]))
        return all(a is not None and region.axis.get(x, a) == a for x, a in pairs if region.is_large(x))
    return next(filter(fits, cuts_of(eqn)), None)


def join_between(region: Region) -> None:
    """Small values on the way from large ones to large ones: the sum of a row, by which the row is divided."""
    carried = {eqn.outputs[0]: cut.out for eqn, cut in region.members.items() if cut.out is not None}
    found: dict[Eqn, Cut] = {}
    for eqn in region.uses.graph.eqns:
        reads = carried.keys() & variables(eqn.inputs)
        if reads and eqn not in region.members and not isinstance(eqn.op, Contraction):
            fits = lambda c: all(carried.get(x, a) == a for x, a in zip(eqn.inputs, c.ins) if isinstance(x, Var))
            cut = next((c for c in cuts_of(eqn) if c.out is not None and fits(c)), None)
            if cut is not None:
                found[eqn], carried[eqn.outputs[0]] = cut, cut.out
    read = {pair for eqn, cut in region.members.items() for pair in zip(eqn.inputs, cut.ins)}
    for eqn in reversed(found):
        if (eqn.outputs[0], found[eqn].out) in read:
            region.members[eqn] = found[eqn]
            read.update(zip(eqn.inputs, found[eqn].ins))


def find_levels(region: Region) -> None:
    after: dict[Var, int] = {}      # the level at which all of a value is there
    for eqn in region.uses.graph.eqns:
        cut = region.members.get(eqn)
        if cut is None:
            there = max((after.get(x, 0) for x in variables(eqn.inputs)), default=0)
        else:
            level = lambda x, a: region.level[region.uses.made[x]] if region.carries(x, a) else after.get(x, 0)
            region.level[eqn] = max((level(x, a) for x, a in zip(eqn.inputs, cut.ins) if isinstance(x, Var)), default=0)
            there = region.level[eqn] + 1
        if there:
            after.update((v, there) for v in eqn.outputs)

"""Loops in registers without lanes: what is computed alike for several elements is computed in vectors.

    y0 = a[0] * x + z0,  y1 = a[1] * x + z1, ...   ->   y = line(a[0]) * x + lanes(z0, z1, ...)

Elements of a carried array and of what a trip stacks are packed if all are made by the same operation, then the operands
of those operations, and so on. After this an Expr may stand for several lanes, a scalar among its operands for as many
equal ones, and a point of a carried array for the elements from there on that share a vector.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from tracejit.codegen.contraction import name_of
from tracejit.codegen.kernels import Store
from tracejit.codegen.registers import Carried, RegisterLoop
from tracejit.codegen.scopes import Inner
from tracejit.codegen.tables import Memory
from tracejit.ir.loops import (APPLY, CARRY, CONST, INDEX, LOAD, METHOD, RESULT, Axis, Expr, Index, children, in_order, indices_of,
                               postorder)

LINE = "line"       # args[0], a read of memory, and what follows it; data: how many
LANES = "lanes"     # the args side by side
PICK = "pick"       # lanes of args[0], or of it and args[1] behind it; data: their numbers; of a single one, a scalar
WIDTHS = (2, 4, 8, 16)
TRAPS = {"div", "rem"}      # of integers: one instruction for each lane
WORTH = .97                 # of a trip's time may be left

# cycles until a result is there; what else takes 4
LATENCY = {"div": 12, "sqrt": 15, "rsqrt": 20, "select": 2, "select_n": 2, "eq": 3, "ne": 3, "lt": 3, "le": 3, "gt": 3, "ge": 3}
LONG = (20, 50)             # instructions and cycles of an elementary function
ISSUED = {"div": 5, "sqrt": 6, "rsqrt": 9}      # instructions' worth of a port; what else takes 1
PORTS = 3.2                 # instructions per cycle
ONE_PORT = 32               # bytes of a vector; an instruction on a longer one takes two ports, and its division twice as long


def packed(loop: RegisterLoop, lanes_of: Callable[[np.dtype], int]) -> RegisterLoop:
    """The loop with vectors of at most `lanes_of(dtype)` elements, if its trips take less time so."""
    if loop.steps:
        loop = replace(loop, steps=[packed_inner(s, lanes_of) if isinstance(s, Inner) else s for s in loop.steps])
    if loop.lanes or not any(is_packable(e) for e in loop.roots):
        return loop
    try:
        found = Packer(loop, lanes_of).packed()
    except RecursionError:
        return loop
    return found if trip_time(found) < WORTH * trip_time(loop) else loop


def packed_inner(step: Inner, lanes_of: Callable[[np.dtype], int]) -> Inner:
    """A loop in a trip, which takes elements that share a vector side by side."""
    loop, init = packed(step.loop, lanes_of), []
    for c, row in zip(loop.carried, step.init):
        parts = [row[first:first + n] for first, n in zip(itertools.accumulate(c.widths, initial=0), c.widths)] if c.widths else \
            [[e] for e in row]
        init.append([part[0] if len(part) == 1 else Expr(LANES, padded(part), None, c.type.dtype) for part in parts])
    return replace(step, loop=loop, init=init)


def is_packable(e: Expr) -> bool:
    return e.dtype.kind in "biu" or e.dtype.kind == "f" and e.dtype.itemsize >= 4


def padded(lanes: Sequence[Expr]) -> tuple[Expr, ...]:
    """As many as a vector has: what is missing repeats the last, so that idle lanes compute nothing new."""
    width = next(n for n in WIDTHS if n >= len(lanes))
    return (*lanes, *[lanes[-1]] * (width - len(lanes)))


class Packer:
    def __init__(self, loop: RegisterLoop, lanes_of: Callable[[np.dtype], int]):
        self.loop, self.lanes_of = loop, lanes_of
        self.nodes: dict[Expr, Expr] = {}
        self.made: dict[tuple[Expr, ...], Expr] = {}
        self.order: dict[frozenset[Expr], tuple[Expr, ...]] = {}    # in which the vector of these scalars has them
        self.home: dict[Expr, tuple[Expr, int]] = {}                # which vector has a scalar, and where
        self.width: dict[Expr, int] = {}
        self.groups = [self.parts_of(row) for row in loop.next]
        self.scalar = Scalars(self)

    def packed(self) -> RegisterLoop:
        loop = self.loop
        carried = [self.carried_of(k, c) for k, c in enumerate(loop.carried)]
        inner = [s for s in loop.steps if isinstance(s, Inner)]
        for c in [c for s in inner for c in s.loop.carried]:
            for point, n in zip(c.points, c.widths or ()):
                self.home_of(RESULT, c, point, n)
        for e in [e for s in inner for row in s.init for e in row if e.kind == LANES]:
            self.vector(e.args)
        for row in loop.arrays:
            for part in self.parts_of(row):
                self.vector(padded(row[part]))
        following = [[self.vector(padded(row[part])) if len(row[part]) > 1 else None for part in parts]
                     for row, parts in zip(loop.next, self.groups)]
        stores = [(s, self.exactly(lanes)) for s, lanes in self.stores()]
        self.scalar = scalar = Scalars(self)    # again, now that all vectors are there
        following = [[scalar(row[part.start]) if e is None else e for e, part in zip(found, parts)]
                     for found, row, parts in zip(following, loop.next, self.groups)]
        stores = [replace(s, expr=scalar(s.expr) if e is None else e) for s, e in stores]
        records = [replace(r, elements=[(at, scalar(e)) for at, e in r.elements]) for r in loop.records]
        writes = [w.mapped(scalar) for w in loop.writes]
        kept = [replace(k, next=scalar(k.next)) for k in loop.kept]
        image = lambda e: self.made[e.args] if e.kind == LANES and e.args in self.made else scalar(e)
        steps = [s.mapped(image) for s in loop.steps]
        return replace(loop, carried=carried, next=following, stores=stores, records=records, writes=writes, kept=kept, steps=steps,
                       alive=loop.alive and scalar(loop.alive))

    def parts_of(self, row: Sequence[Expr]) -> list[slice]:
        """Which neighbours share a vector."""
        is_alone = not row or row[0].dtype.kind == "b" or not all(map(is_packable, row))
        width = 1 if is_alone else min(self.lanes_of(row[0].dtype), WIDTHS[-1])
        return [slice(k, min(k + width, len(row))) for k in range(0, len(row), width)]

    def carried_of(self, k: int, c: Carried) -> Carried:
        """A carried array as vectors, which are the homes of its elements."""
        parts = self.groups[k]
        for part in parts:
            self.home_of(CARRY, c, c.points[part.start], part.stop - part.start)
        return replace(c, points=[c.points[part.start] for part in parts], widths=[part.stop - part.start for part in parts])

    def home_of(self, kind: str, c: Carried, point: tuple[Index, ...], n: int) -> None:
        """The vector in which n elements of a carried array are, from a point on."""
        first = c.offset(point).const
        if n > 1:
            elements = padded([self.node(kind, (), (c.slot, first + i), c.type.dtype) for i in range(n)])
            self.settle(elements, self.node(kind, (), (c.slot, first, n), c.type.dtype, width=len(elements)))

    def stores(self) -> list[tuple[Store, list[Expr]]]:
        """Stores of neighbouring elements as one, with the elements."""
        rows: dict[tuple, list[Store]] = {}
        for s in self.loop.stores:
            rows.setdefault((s.var, s.offset.terms), []).append(s)
        rows = [sorted(row, key=lambda s: s.offset.const) for row in rows.values()]
        parts = [row[part] for row in rows for part in self.parts_of([s.expr for s in row])]
        return [(part[0], [s.expr for s in part]) for part in parts]

    def exactly(self, lanes: list[Expr]) -> Expr | None:
        """A vector of these lanes and no idle ones; None for a single one."""
        if len(lanes) == 1:
            return None
        wide = self.vector(padded(lanes))
        if wide not in self.width:      # a scalar
            return self.side_by_side([wide] * len(lanes))
        return wide if len(lanes) in WIDTHS else self.node(PICK, (wide,), tuple(range(len(lanes))), wide.dtype, width=len(lanes))

    def node(self, kind: str, args: Iterable[Expr], data, dtype: np.dtype, cost: float = 0, width: int = 1) -> Expr:
        made = Expr(kind, tuple(args), data, dtype, cost)
        made = self.nodes.setdefault(made, made)
        if width > 1:
            self.width[made] = width
        return made

    # --- vectors

    def vector(self, lanes: tuple[Expr, ...]) -> Expr:
        """These scalars side by side; what is the same in all lanes stays a scalar."""
        if lanes in self.made:
            return self.made[lanes]
        distinct = tuple(dict.fromkeys(lanes))
        if len(distinct) == 1:
            return self.scalar(distinct[0])
        full = self.order.get(frozenset(distinct)) or padded(distinct)
        if full not in self.made:
            found = self.alike(distinct)
            if found is not None:
                self.settle(full, found)
        if full in self.made and lanes == full:
            return self.made[full]
        self.made[lanes] = self.gathered(lanes) or self.side_by_side([self.scalar(e) for e in lanes])
        return self.made[lanes]

    def side_by_side(self, scalars: list[Expr]) -> Expr:
        return self.node(LANES, scalars, None, scalars[0].dtype, width=len(scalars))

    def settle(self, lanes: tuple[Expr, ...], vector: Expr) -> None:
        self.made[lanes] = vector
        self.order.setdefault(frozenset(lanes), lanes)
        for i, e in enumerate(lanes):
            self.home.setdefault(e, (vector, i))

    def alike(self, distinct: tuple[Expr, ...]) -> Expr | None:
        """Scalars made by the same operation, or that are neighbours in memory, as a vector; None if they are not."""
        first, full = distinct[0], padded(distinct)
        if any(e.kind != first.kind or e.dtype != first.dtype or len(e.args) != len(first.args) for e in distinct):
            return None
        if first.kind == LOAD:
            return self.line(distinct)
        if first.kind not in (APPLY, METHOD) or any(e.data != first.data for e in distinct) or not packs(first):
            return None
        sources = {self.home.get(e, (None,))[0] for e in distinct}
        if None not in sources and len(sources) <= 2:       # as quick to gather
            return None
        args = [self.vector(lanes) for lanes in zip(*[e.args for e in full])]
        return self.node(first.kind, args, first.data, first.dtype, first.cost, len(full))

    def line(self, distinct: tuple[Expr, ...]) -> Expr | None:
        var, offset, guards = distinct[0].data
        if isinstance(var, Memory):     # what the last trip stored in parts cannot be loaded as a whole without waiting for all
            return None
        if any(e.data != (var, offset + i, guards) for i, e in enumerate(distinct)) or guards:
            return None
        n, full = len(distinct), padded(distinct)
        line = self.node(LINE, distinct[:1], n, distinct[0].dtype, width=n)
        order = tuple(min(i, n - 1) for i in range(len(full)))
        return line if n == len(full) else self.node(PICK, (line,), order, line.dtype, width=len(full))

    def gathered(self, lanes: tuple[Expr, ...]) -> Expr | None:
        """A vector of lanes that others have; None if some are in none."""
        if any(e not in self.home for e in lanes):
            return None
        found, places = None, [-1] * len(lanes)
        for source in dict.fromkeys(self.home[e][0] for e in lanes):
            mine = {i: self.home[e][1] for i, e in enumerate(lanes) if self.home[e][0] is source}
            if found is None:
                found, places = source, [mine.get(i, -1) for i in range(len(lanes))]
                continue
            width = max(self.width[found], self.width[source])
            pair = [self.widened(v, width) for v in (found, source)]
            order = tuple(mine[i] + width if i in mine else places[i] for i in range(len(lanes)))
            found = self.node(PICK, pair, order, source.dtype, width=len(lanes))
            places = [i if at >= 0 else -1 for i, at in enumerate(order)]
        whole = places == list(range(self.width[found]))
        return found if whole else self.node(PICK, (found,), tuple(places), found.dtype, width=len(lanes))

    def widened(self, vector: Expr, width: int) -> Expr:
        n = self.width[vector]
        order = (*range(n), *[-1] * (width - n))
        return vector if n == width else self.node(PICK, (vector,), order, vector.dtype, width=width)


class Scalars:
    """Scalar expressions as those made of lanes of the vectors that there are."""

    def __init__(self, packer: Packer):
        self.packer, self.memo = packer, {}

    def __contains__(self, e: Expr) -> bool:
        return e in self.memo or e in self.packer.home

    def __call__(self, root: Expr) -> Expr:
        for e in postorder(root, self):
            args = [self.found(a) for a in e.args]
            same = all(a is b for a, b in zip(args, e.args))
            self.memo[e] = e if same else self.packer.node(e.kind, args, e.data, e.dtype, e.cost)
        return self.found(root)

    def found(self, e: Expr) -> Expr:
        if e in self.packer.home:
            vector, lane = self.packer.home[e]
            return self.packer.node(PICK, (vector,), (lane,), e.dtype)
        return self.memo[e]


def packs(e: Expr) -> bool:
    """Whether an operation takes vectors: on integers, division takes an instruction for each lane."""
    return is_packable(e) and all(map(is_packable, e.args)) and not (e.dtype.kind in "iu" and name_of(e) in TRAPS)


# --- how long a trip takes

def trip_time(loop: RegisterLoop) -> float:
    """Cycles: what a trip issues, or what it waits for from one carry to the next, with half of the other."""
    order = in_order(loop.roots)
    varies: dict[Expr, bool] = {}
    ready: dict[Expr, float] = {}
    width: dict[Expr, int] = {}
    work = float(len(loop.stores))
    for e in order:
        below = children(e)
        own = e.kind == CARRY or any(isinstance(a, Axis) for index in indices_of(e) for a in index.atoms())
        varies[e] = own or any(varies[a] for a in below)
        start = max((ready[a] for a in below), default=-math.inf)
        width[e] = lanes_in(e, width)
        ports = 2 if any(width[x] * x.dtype.itemsize > ONE_PORT for x in (e, *e.args)) else 1
        ready[e] = 0 if e.kind == CARRY else start + latency(e) * (ports if name_of(e) in ISSUED else 1)
        work += issued(e, varies) * ports if varies[e] else 0
    wait = max((ready[e] for row in loop.next for e in row), default=0)
    issue = work / PORTS
    return max(issue, wait) + max(min(issue, wait), 0) / 2


def lanes_in(e: Expr, width: dict[Expr, int]) -> int:
    """How many lanes a value has, given those of its operands."""
    if e.kind in (LANES, PICK):
        return len(e.args if e.kind == LANES else e.data)
    if e.kind == LINE:
        return e.data
    if e.kind in (CARRY, RESULT):
        return e.data[2] if len(e.data) > 2 else 1
    return max((width[a] for a in e.args), default=1)


def latency(e: Expr) -> float:
    if e.kind in (CONST, INDEX):
        return 0
    if e.kind in (PICK, LANES):
        return 3
    if e.kind == APPLY and e.data.is_long:
        return LONG[1]
    return LATENCY.get(name_of(e), 4 if e.dtype.kind == "f" else 1)


def issued(e: Expr, varies: dict[Expr, bool]) -> float:
    if e.kind in (CONST, INDEX, CARRY, RESULT):
        return 0
    if e.kind == LANES:
        return sum(varies[a] for a in e.args) * (2 if e.dtype.kind == "b" else 1)
    if e.kind == PICK:
        return 0 if e.data == (0,) and e.dtype.kind == "f" else len(e.args) * (3 if e.dtype.kind == "b" else 1)
    if e.kind == APPLY and e.data.is_long:
        return LONG[0]
    return ISSUED.get(name_of(e), 1)

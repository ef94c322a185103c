"""Loops whose carry fits in registers: a Scan or While -> expressions of each carried element for one trip.

Every element of the carry is pulled back, through the whole body, to elements of the carry before the trip, of
the consts and of the slices. Large axes that no element crosses are *lanes*: each lane runs the whole loop by itself,
so a loop over batches of small states becomes one kernel with the loop inside.

    x_{t+1}[l, 0] = f(x_t[l, 0], x_t[l, 1], w[0])      l: lane axis; 0, 1: written out
"""
from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tracejit.codegen.kernels import Store
from tracejit.codegen.scopes import (ALIGN, LANE_SUM, MOST_ELEMENTS, Branch, Inner, NotInRegisters, Scope, Step, Writes, lane_dims,
                                     read_in_time)
from tracejit.codegen.tables import Kept, Memory, Write, is_read, kept_writes, tables_of
from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import APPLY, CARRY, CONST, LOAD, METHOD, Axis, Expr, Index, Slot, in_order, linear, postorder
from tracejit.ir.types import ArrayType
from tracejit.lax.branches import Cond
from tracejit.lax.dot import DotGeneral
from tracejit.lax.index import Scatter
from tracejit.lax.kinds import Elementwise, Reduction, View
from tracejit.lax.loops import Scan, While, counters

MOST_SIDE_BY_SIDE = 512 # carried elements, where they may share vectors
MOST_WRITTEN_OUT = 3200 # elements that a trip of such a loop computes
MOST_STACKED = 1 << 18  # bytes that loops inside of a trip stack
STEP = 50               # elements that take as long to compile as one op's own step does
KERNEL = 30             # elements that take as long to compile as one kernel does
MOST_NODES = 6000
SHORT = 3000            # nodes that any loop may have
LANE_SIZE = 9           # axes at least this long are lanes


@dataclass(eq=False)
class Carried:
    """One carried array: which of its axes are lanes, and its other indices, all written out."""
    type: ArrayType
    lane_dims: tuple[int, ...]
    points: list[tuple[Index, ...]]
    in_memory: bool = False     # a table: it has no points
    widths: list[int] | None = None     # how many elements, from each point on, share a vector
    slot: Any = None            # what its elements are called before a trip, in CARRY expressions

    def offset(self, index: tuple[Index, ...]) -> Index:
        return linear(index, self.type.shape)


@dataclass(eq=False)
class Copy:
    """What a trip stacks of an array in memory, at its end: to the op's output of this number, or to a stack."""
    memory: Memory
    target: int | Memory
    nbytes: int


@dataclass(eq=False)
class Record:
    """One value pushed on a tape: its elements by their offsets."""
    type: ArrayType
    elements: list[tuple[int, Expr]]


@dataclass(eq=False)
class RegisterLoop:
    """What one trip computes. Buffers are the body's params (inputs) and the op's outputs."""
    lanes: list[Axis]
    time: Axis
    carried: list[Carried]
    next: list[list[Expr]]                  # per carried array, per point
    stores: list[Store]                     # of ys; `var` is the output's number
    alive: Expr | None = None               # of a While: whether a lane goes on
    summed: list[tuple[int, int]] = field(default_factory=list)  # (carried, point) that all lanes add to
    records: list[Record] = field(default_factory=list)          # what a While pushes on its tapes at each trip
    steps: list[Step] = field(default_factory=list)              # loops, branches and updates that the rest of a trip waits for
    copies: list[Copy] = field(default_factory=list)             # of arrays that a trip stacks
    writes: list[Write] = field(default_factory=list)            # to carries in memory, at the end of a trip
    stack_bytes: int = 0                    # memory for what the loops inside stack
    arrays: list[list[Expr]] = field(default_factory=list)       # the elements of each array that the body computes, in its order
    kept: list[Kept] = field(default_factory=list)               # of what the last trips wrote to tables

    @functools.cached_property
    def roots(self) -> list[Expr]:
        """All that a trip computes, in the loops and branches inside too."""
        return [e for s in self.steps for e in s.roots] + self.last + ([self.alive] if self.alive is not None else [])

    @property
    def last(self) -> list[Expr]:
        """What a trip computes after its steps."""
        return [e for row in self.next for e in row] + [s.expr for s in self.stores] + \
            [e for r in self.records for _, e in r.elements] + [e for w in self.writes for e in w.roots]

    @property
    def loops(self) -> list[RegisterLoop]:
        """It and all loops inside of it."""
        return [self, *(found for loop in loops_of(self.steps) for found in loop.loops)]

    @property
    def may_not_end(self) -> bool:
        """Whether it, or a loop inside, runs for as long as a condition holds."""
        return any(loop.alive is not None for loop in self.loops)

    def mapped(self, image: Callable[[Expr], Expr]) -> RegisterLoop:
        """The loop with its expressions replaced."""
        return replace(
            self, next=[list(map(image, row)) for row in self.next], stores=[replace(s, expr=image(s.expr)) for s in self.stores],
            records=[replace(r, elements=[(at, image(e)) for at, e in r.elements]) for r in self.records],
            steps=[s.mapped(image) for s in self.steps], writes=[w.mapped(image) for w in self.writes],
            kept=[replace(k, next=image(k.next)) for k in self.kept], arrays=[list(map(image, row)) for row in self.arrays],
            alive=self.alive and image(self.alive))


def register_loop(eqn: Eqn, graphs: list[Graph], side_by_side: bool = False) -> RegisterLoop:
    """The loop in registers; NotInRegisters if it does not fit. `side_by_side`: elements may share vectors.
    (Without a carry it is trips that run side by side.)"""
    try:
        try:
            return Builder(eqn, graphs).build()
        except NotInRegisters:
            if not side_by_side or not eqn.op.n_carry or not is_written_out(graphs[-1], trips_of(eqn.op)):
                raise
        return Builder(eqn, graphs, MOST_SIDE_BY_SIDE).build()
    except RecursionError:
        raise NotInRegisters("its body is too deep") from None


def is_written_out(body: Graph, trips: int) -> bool:
    """Whether a trip computes so few elements that each may be an expression.

    An element takes about 80 us to compile and saves 40 ns of a trip: as many as there are trips pay after 2000 calls."""
    eqns = [e for e in body.eqns if not isinstance(e.op, View)]
    return all(isinstance(e.op, (Elementwise, Reduction, DotGeneral)) for e in eqns) and \
        sum(map(terms, eqns)) <= min(MOST_WRITTEN_OUT, trips + STEP * len(eqns))


def trips_of(op: Scan | While) -> int:
    """How many trips at most."""
    return 1 << 62 if isinstance(op, While) else op.at_most


def terms(eqn: Eqn) -> int:
    """How many elements an equation makes, or folds."""
    contracted = math.prod(eqn.inputs[0].type.shape[a] for a in eqn.op.contract[0]) if isinstance(eqn.op, DotGeneral) else 1
    return contracted * max(x.type.size for x in (eqn.outputs if contracted > 1 else (*eqn.inputs, *eqn.outputs)))


class Builder(Scope):
    """A loop; `outer` is the scope in whose trips it runs."""

    def __init__(self, eqn: Eqn, graphs: list[Graph], most: int = MOST_ELEMENTS, outer: Scope | None = None):
        self.eqn, self.op, self.most = eqn, eqn.op, most
        self.body = graphs[-1]
        self.cond = graphs[0] if isinstance(self.op, While) else None
        if isinstance(self.op, While):
            self.n_consts, self.n_carry = self.op.n_body_consts, self.op.n_carry
        else:
            self.n_consts, self.n_carry = self.op.n_consts, self.op.n_carry
        self.tables = tables_of(self.body, self.body.params[self.n_consts:self.n_consts + self.n_carry])
        self.trips = trips_of(self.op)
        self.time = Axis("t", self.trips)
        self.all_trips = self.trips * (outer.root.all_trips if outer else 1)
        self.stack_bytes = 0
        super().__init__(graphs, self.time, outer)
        self.changes = {c.after: c for changes in self.tables.values() for c in changes}
        self.check_ops(graphs)

    def build(self) -> RegisterLoop:
        n = self.n_carry
        outs = self.body.results
        carry_types = [r.type for r in outs[:n]]
        sizes = lane_sizes([t for k, t in enumerate(carry_types) if k not in self.tables], self.most)
        if sizes and (self.tables or self.outer):
            raise NotInRegisters("its lanes change an array at places known only at run time" if self.tables else
                                 "a loop inside of it has lanes")
        self.lane_axes = [Axis(f"l{k}", size) for k, size in enumerate(sizes)]
        self.check_products()
        self.carried = [self.carried_of(k, t) for k, t in enumerate(carry_types)]
        if sum(len(c.points) for c in self.carried) > self.most:
            raise NotInRegisters("its carry does not fit in registers")
        self.counters = self.counters_of(self.eqn)
        self.roles = self.params_of(self.body, self.n_consts, self.op.parts(self.eqn.inputs)[1])
        self.make_steps(self.body)
        following = [[self.pull.value(r, p) for p in c.points] for r, c in zip(outs[:n], self.carried)]
        summed = [(k, j) for k, row in enumerate(following) for j, e in enumerate(row) if self.is_sum(k, j, e)]
        for k, j in summed:
            following[k][j] = self.per_lane(following[k][j])
        stores, copies = self.y_stores()
        loop = RegisterLoop(self.lane_axes, self.time, self.carried, following, stores, summed=summed, steps=self.steps,
                            copies=copies, kept=self.kept())
        if self.cond is not None:
            loop.records = self.recorded()
        loop.writes = self.last_writes(loop)
        read_in_time(loop.steps, loop.last)
        if self.cond is not None:
            loop.alive = self.alive(loop)
        loop.arrays = self.arrays()
        loop.stack_bytes = self.stack_bytes
        self.root.check_length()
        self.check_uniform(loop)
        self.check_sums(loop)
        return loop

    # --- inside of another loop

    def inner_loop(self, eqn: Eqn, scope: Scope) -> Inner:
        """A loop in a trip of this one."""
        op = eqn.op
        if self.lane_axes:
            raise NotInRegisters("its lanes hold loops")
        if getattr(op, "record", False) or isinstance(op, Scan) and op.length is None and len(op.body.results) > op.n_carry:
            raise NotInRegisters("a loop inside of it records a number of values that is known only at its end")
        builder = Builder(eqn, [op.body] if isinstance(op, Scan) else [op.cond, op.body], outer=scope)
        loop = builder.build()
        inits = op.parts(eqn.inputs)[2]
        init = [[scope.pull.value(x, p) for p in c.points] for x, c in zip(inits, loop.carried)]
        trips = None
        if isinstance(op, Scan):
            trips = scope.pull.const(op.length, "int64") if op.length is not None else scope.pull.value(eqn.inputs[0], ())
        scope.results |= {v: c.slot for v, c in zip(eqn.outputs, loop.carried) if not c.in_memory}
        for k, stacked in enumerate(eqn.outputs[op.n_carry:]):
            scope.memory[stacked] = builder.stacks[k]
        return Inner(loop, trips, isinstance(op, Scan) and op.reverse, init)

    @functools.cached_property
    def stacks(self) -> list[Memory]:
        """Where an inner loop stacks what its trips give."""
        found = []
        for v in self.eqn.outputs[self.n_carry:]:
            found.append(Memory(("stack", self.root.stack_bytes), self.time))
            self.root.stack_bytes += -(-v.type.nbytes // ALIGN) * ALIGN
        if self.root.stack_bytes > MOST_STACKED:
            raise NotInRegisters("loops inside of it stack large arrays")
        return found

    def last_writes(self, loop: RegisterLoop) -> list[Write]:
        """The updates that nothing in the trip waits for, which become its last step: all that it reads was read."""
        roots = [*(e for s in loop.steps for e in s.roots), *loop.last]
        read = {e.data[0] for e in in_order(roots) if is_read(e)} | {c.memory for c in loop.copies}
        found: list[Write] = []
        while loop.steps and isinstance(loop.steps[-1], Writes) and not read & set(loop.steps[-1].makes):
            found = loop.steps.pop().writes + found
        return found

    def check_length(self) -> None:
        if len(self.pull.nodes) > self.most_nodes:
            raise NotInRegisters("its body is too long")

    @functools.cached_property
    def most_nodes(self) -> int:
        """As `is_written_out`: few trips do not pay for a long body, unless many lanes make them."""
        if self.lane_axes or self.most > MOST_ELEMENTS:
            return MOST_NODES
        return min(MOST_NODES, max(SHORT, 3 * self.trips))

    def check_products(self) -> None:
        """Before they are written out: an element of a product is folded from a product and a sum for each term."""
        products = [e for e in self.body.eqns if isinstance(e.op, DotGeneral)]
        if not self.lane_axes and 2 * sum(map(terms, products)) > self.most_nodes:
            raise NotInRegisters("its body is too long")
        controls = [e for e in self.body.eqns if isinstance(e.op, (Scan, While, Cond))]
        others = [e for e in self.body.eqns if not isinstance(e.op, (View, Scan, While, Cond, Scatter))]
        if controls and sum(map(terms, others)) > self.all_trips + KERNEL * len(others):
            raise NotInRegisters("it makes too few trips to pay for their compilation")

    def counters_of(self, eqn: Eqn) -> dict[int, Index]:
        """Carried integers that begin as a constant and change by one: what each is in terms of the trip."""
        if self.cond is not None or self.op.reverse and self.op.length is None:
            return {}
        n = self.trips
        found = counters(self.body, self.n_consts, self.op.parts(eqn.inputs)[2], n)
        return {k: Index({self.time: -step}, first + step * (n - 1)) if self.op.reverse else Index({self.time: step}, first)
                for k, (first, step) in found.items()}

    def kept(self) -> list[Kept]:
        op, params = self.op, self.body.params[self.n_consts:]
        if not isinstance(op, Scan) or op.reverse and op.length is None:
            return []
        start, step = (op.length - 1, -1) if op.reverse else (0, 1)
        elsewhere = {m.key for s in self.steps if not isinstance(s, Writes) for m in s.ends}
        first = {self.memory[params[k]].key: (self.memory[params[k]], params[k].type) for k in self.tables}
        writes = [(w, *first[w.memory.key]) for s in self.steps if isinstance(s, Writes) for w in s.writes
                  if w.memory.key not in elsewhere]
        changing = {self.time, *(owner for s in self.steps for owner in s.owners), *(() if self.outer else (CARRY,))}
        return kept_writes(self.pull, writes, self.time, start, step, changing)

    def is_sum(self, k: int, j: int, e: Expr) -> bool:
        """Whether a carried element without lanes goes on as itself plus sums over all lanes."""
        terms = terms_of(e)
        own = [t for t in terms if t.kind == CARRY]
        return not self.carried[k].lane_dims and len(own) == 1 and own[0].data == (k, self.place(k, j)) and \
            len(terms) > 1 and all(t.kind == LANE_SUM for t in terms if t is not own[0]) and e.dtype.kind in "fiu"

    def place(self, k: int, j: int) -> int:
        """The offset of a carried array's j-th point, its lanes at 0."""
        c = self.carried[k]
        return linear([Index() if d in c.lane_dims else i for d, i in enumerate(c.points[j])], c.type.shape).const

    def per_lane(self, e: Expr) -> Expr:
        """Each lane adds its own part; the lanes are added up after the loop."""
        if e.kind == LANE_SUM:
            return e.args[0]
        return e if e.kind == CARRY else self.pull.node(e.kind, tuple(map(self.per_lane, e.args)), e.data, e.dtype, e.cost)

    def check_sums(self, loop: RegisterLoop) -> None:
        """Sums over lanes must be nothing but added to their own carry."""
        if not self.lane_axes:
            return
        mine = {(k, self.place(k, j)): loop.next[k][j] for k, j in loop.summed}
        for root in loop.roots:
            for e in postorder(root, ()):
                if e.kind == LANE_SUM or e.kind == CARRY and e.data in mine and root is not mine[e.data]:
                    raise NotInRegisters("its lanes need the sum of all lanes")

    def carried_of(self, k: int, t: ArrayType) -> Carried:
        slot = k if self.outer is None else Slot(self.time, k)
        if k in self.tables:
            self.memory[self.body.params[self.n_consts + k]] = self.memory_of(k)
            return Carried(t, (), [], True, slot=slot)
        dims = lane_dims(t.shape, [a.size for a in self.lane_axes])
        if dims is None:
            if t.size > self.most:
                raise NotInRegisters(f"a carry of type {t} shares no lanes with the others")
            dims = ()
        ranges = [range(1) if d in dims else range(n) for d, n in enumerate(t.shape)]
        lane_of = {d: Index({a: 1}) for d, a in zip(dims, self.lane_axes)}
        points = [tuple(lane_of.get(d, Index((), k)) for d, k in enumerate(at)) for at in itertools.product(*ranges)]
        return Carried(t, dims, points, slot=slot)

    def memory_of(self, k: int) -> Memory:
        """Where a table is at the beginning of a trip."""
        key = ("out", k) if self.outer is None else \
            self.outer.changed(self.op.parts(self.eqn.inputs)[2][k], self.eqn.outputs[k]).key
        return Memory(key, self.time)

    def params_of(self, graph: Graph, n_consts: int, consts: list) -> dict[Var, tuple[str, int]]:
        """What the params are; those that come from the scope around are its business."""
        params = graph.params
        for k in self.tables:
            self.memory[params[n_consts + k]] = self.memory[self.body.params[self.n_consts + k]]
        if self.outer is not None:
            self.operands |= {p: (x, ()) for p, x in zip(params, consts)}
            if graph is self.body and isinstance(self.op, Scan):
                now, xs = (Index({self.time: 1}),), self.op.parts(self.eqn.inputs)[3]
                self.operands |= {p: (x, now) for p, x in zip(params[n_consts + self.n_carry:], xs)}
            return {p: ("carry", k) for k, p in enumerate(params[n_consts:n_consts + self.n_carry])}
        kinds = ["const"] * n_consts + ["carry"] * self.n_carry + ["x"] * (len(graph.params) - n_consts - self.n_carry)
        starts = {"const": 0, "carry": n_consts, "x": n_consts + self.n_carry}
        return {p: (kind, i - starts[kind]) for i, (p, kind) in enumerate(zip(graph.params, kinds))}

    def leaf(self, var: Var, index: tuple) -> Expr | None:
        role = self.roles.get(var)
        if role is None or var in self.memory:
            return super().leaf(var, index)
        self.root.check_length()
        kind, k = role
        if kind == "const":
            return self.pull.load(var, index)
        if kind == "x":
            offset = Index({self.time: var.type.size}) + linear(index, var.type.shape)
            return self.pull.node(LOAD, (), (var, offset, self.pull.guards), var.type.dtype)
        found = self.carried[k]
        if k in self.counters:
            return self.pull.index_value(self.counters[k], var.type.dtype)
        for d, i in enumerate(index):
            if d in found.lane_dims and i != Index({self.lane_axes[found.lane_dims.index(d)]: 1}):
                raise NotInRegisters("an element depends on other lanes, or on a place known only at run time")
        return self.element(CARRY, found.slot, var, tuple(Index() if d in found.lane_dims else i for d, i in enumerate(index)))

    def y_stores(self) -> tuple[list[Store], list[Copy]]:
        stores: list[Store] = []
        copies: list[Copy] = []
        if isinstance(self.op, While):
            return stores, copies
        for k, result in enumerate(self.body.results[self.n_carry:]):
            t = result.type
            target = self.n_carry + k if self.outer is None else self.stacks[k]
            if result in self.memory:
                if any(self.memory[result] in s.ends for s in self.steps):
                    raise NotInRegisters("it stacks an array that it changes as it was before")
                copies.append(Copy(self.memory[result], target, t.nbytes))
                continue
            dims = lane_dims(t.shape, [a.size for a in self.lane_axes])
            if dims is None:
                if t.size > self.most or self.lane_axes and t.size > 1:
                    raise NotInRegisters("what it stacks shares no lanes with the carry")
                dims = ()
            lane_of = {d: Index({a: 1}) for d, a in zip(dims, self.lane_axes)}
            ranges = [range(1) if d in dims else range(n) for d, n in enumerate(t.shape)]
            if math.prod(map(len, ranges)) > self.most:
                raise NotInRegisters("it stacks many elements")
            for at in itertools.product(*ranges):
                index = tuple(lane_of.get(d, Index((), i)) for d, i in enumerate(at))
                offset = Index({self.time: t.size}) + linear(index, t.shape)
                stores.append(Store(target, offset, self.pull.value(result, index)))
        return stores, copies

    def arrays(self) -> list[list[Expr]]:
        """What was pulled of each array, in the order of the body and of memory; not of what is only folded row by row."""
        folded = {x for eqn in self.body.eqns if isinstance(eqn.op, Reduction) and eqn.outputs[0].type.size > 1 for x in eqn.inputs}
        found: dict[Var, dict[int, Expr]] = {v: {} for eqn in self.body.eqns for v in eqn.outputs if v not in folded}
        for (var, index, guards), e in self.pull.memo.items():
            if var in found and not guards and not any(i.terms for i in index):
                found[var][linear(index, var.type.shape).const] = e
        return [[elements[k] for k in sorted(elements)] for elements in found.values() if len(elements) > 1]

    def recorded(self) -> list[Record]:
        results = self.body.results[self.n_carry:]
        if results and self.lane_axes:
            raise NotInRegisters("its lanes record different numbers of trips")
        if sum(r.type.size for r in results) > MOST_ELEMENTS:
            raise NotInRegisters("it records many elements")
        points = lambda t: itertools.product(*map(range, t.shape))
        return [Record(r.type, [(k, self.pull.value(r, tuple(Index((), i) for i in at)))
                                for k, at in enumerate(points(r.type))]) for r in results]

    def alive(self, loop: RegisterLoop) -> Expr:
        """The condition of one lane. Of a condition on all lanes only `any`, where a lane that has stopped keeps its carry."""
        self.roles = {**self.roles, **self.params_of(self.cond, self.op.n_cond_consts, self.op.parts(self.eqn.inputs)[0])}
        result = self.cond.results[0]
        if not self.lane_axes:
            return self.pull.value(result, ())
        lanes = result
        while isinstance(lanes, Var) and lanes in self.producers and self.producers[lanes].op.name == "reduce_or":
            [lanes] = self.producers[lanes].inputs
        if lanes is result or result.type.ndim or lanes.type.shape != tuple(a.size for a in self.lane_axes):
            raise NotInRegisters("its condition is on all lanes together")
        alive = self.pull.value(lanes, tuple(Index({a: 1}) for a in self.lane_axes))
        for k, (row, c) in enumerate(zip(loop.next, self.carried)):
            for e, point in zip(row, c.points):
                rest = tuple(Index() if d in c.lane_dims else i for d, i in enumerate(point))
                before = self.pull.node(CARRY, (), (k, linear(rest, c.type.shape).const), c.type.dtype)
                if e is not before and not keeps(e, alive, before):
                    raise NotInRegisters("a lane that has stopped would still change")
        return alive

    def check_uniform(self, loop: RegisterLoop) -> None:
        """Carries without lanes must not depend on any."""
        if not self.lane_axes:
            return
        lanes = set(self.lane_axes)
        uniform = [k for k, c in enumerate(self.carried) if not c.lane_dims]
        summed = {e for k, j in loop.summed for e in [loop.next[k][j]]}
        seen: dict[Expr, bool] = {}

        def varies(e: Expr) -> bool:
            if e not in seen:
                seen[e] = False
                own = e.kind == CARRY and e.data[0] not in uniform
                indexed = e.kind == LOAD and bool(lanes & e.data[1].atoms()) or e.kind == "index" and bool(lanes & e.data.atoms())
                seen[e] = own or indexed or any(varies(a) for a in e.args)
            return seen[e]
        outs = [e for k in uniform for e in loop.next[k] if e not in summed]
        outs += [s.expr for s in loop.stores if not lanes & s.offset.atoms()]
        if any(varies(e) for e in outs):
            raise NotInRegisters("a carry without lanes depends on the lanes")


def loops_of(steps: list[Step]) -> list[RegisterLoop]:
    """The loops among steps, those in branches too."""
    blocks = [inside for s in steps if isinstance(s, Branch) for inside, _ in s.blocks]
    return [s.loop for s in steps if isinstance(s, Inner)] + [loop for inside in blocks for loop in loops_of(inside)]


def terms_of(e: Expr) -> list[Expr]:
    """The terms of a chain of additions."""
    if e.kind == APPLY and e.data.name == "add" or e.kind == METHOD and e.data[0] == "add":
        return [t for a in e.args for t in terms_of(a)]
    return [e]


def keeps(e: Expr, alive: Expr, before: Expr) -> bool:
    """Whether an expression is select(alive, something, before)."""
    if e.kind != APPLY or e.data.name not in ("select_n", "select") or len(e.args) != 3:
        return False
    pred, if_false, if_true = e.args
    return if_false is before and without_conversions(pred) is alive


def without_conversions(e: Expr) -> Expr:
    """The truth value that `bool -> int -> bool` was made of."""
    if e.kind == APPLY and e.data.name == "ne" and e.args[1].kind == CONST and not any(e.args[1].data[0]):
        e = e.args[0]
    while e.kind == APPLY and e.data.name == "convert_element_type":
        e = e.args[0]
    return e


def lane_sizes(types: list[ArrayType], most: int) -> list[int]:
    """The lane axes' sizes, from the largest carried array; none if everything is small."""
    largest = max(types, key=lambda t: t.size, default=None)
    if largest is None or sum(t.size for t in types) <= most:
        return []
    return [n for n in largest.shape if n >= LANE_SIZE]

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
from dataclasses import dataclass, field
from functools import partial

from tracejit.codegen.kernels import Store
from tracejit.codegen.tables import Kept, Write, kept_writes, tables_of, writes_of
from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import APPLY, CARRY, CONST, LOAD, METHOD, Axis, Expr, Index, Pull, linear, postorder
from tracejit.ir.types import ArrayType
from tracejit.lax.kinds import Elementwise, Reduction, View, pairwise
from tracejit.lax.dot import DotGeneral
from tracejit.lax.index import Scatter
from tracejit.lax.loops import Scan, While, counters, cut

LANE_SUM = "lane sum"   # Expr: the sum of args[0] over all lanes
MOST_ELEMENTS = 48      # carried elements per lane
MOST_SIDE_BY_SIDE = 512 # carried elements, where they may share vectors
MOST_WRITTEN_OUT = 3200 # elements that a trip of such a loop computes
STEP = 50               # elements that take as long to compile as one op's own step does
MOST_NODES = 6000
SHORT = 3000            # nodes that any loop may have
MOST_FOLDED = 64
LANE_SIZE = 9           # axes at least this long are lanes


class NotInRegisters(Exception):
    """The loop is compiled step by step instead; the message says why."""


@dataclass(eq=False)
class Carried:
    """One carried array: which of its axes are lanes, and its other indices, all written out."""
    type: ArrayType
    lane_dims: tuple[int, ...]
    points: list[tuple[Index, ...]]
    in_memory: bool = False     # a table: it has no points
    widths: list[int] | None = None     # how many elements, from each point on, share a vector

    def offset(self, index: tuple[Index, ...]) -> Index:
        return linear(index, self.type.shape)


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
    writes: list[Write] = field(default_factory=list)            # to carries in memory, at the end of a trip
    arrays: list[list[Expr]] = field(default_factory=list)       # the elements of each array that the body computes, in its order
    kept: list[Kept] = field(default_factory=list)               # of what the last trips wrote to tables

    @functools.cached_property
    def roots(self) -> list[Expr]:
        """All that a trip computes."""
        return [e for row in self.next for e in row] + [s.expr for s in self.stores] + \
            ([self.alive] if self.alive is not None else []) + [e for r in self.records for _, e in r.elements] + \
            [e for w in self.writes for e in w.roots]


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


class Builder:
    def __init__(self, eqn: Eqn, graphs: list[Graph], most: int = MOST_ELEMENTS):
        self.eqn, self.op, self.most = eqn, eqn.op, most
        self.body = graphs[-1]
        self.cond = graphs[0] if isinstance(self.op, While) else None
        if isinstance(self.op, While):
            self.n_consts, self.n_carry = self.op.n_body_consts, self.op.n_carry
        else:
            self.n_consts, self.n_carry = self.op.n_consts, self.op.n_carry
        self.tables = tables_of(self.body, self.body.params[self.n_consts:self.n_consts + self.n_carry])
        updates = {eqn for updates in self.tables.values() for eqn in updates}
        for g in graphs:
            if g.effects or any(isinstance(e.op, (Scan, While)) or not isinstance(e.op, (Elementwise, Reduction, View, DotGeneral))
                                for e in g.eqns if e not in updates):
                raise NotInRegisters("its body holds steps that are not elementwise")
        self.trips = trips_of(self.op)
        self.time = Axis("t", self.trips)
        self.producers = {v: e for g in graphs for e in g.eqns for v in e.outputs}

    def build(self) -> RegisterLoop:
        n = self.n_carry
        outs = self.body.results
        carry_types = [r.type for r in outs[:n]]
        sizes = lane_sizes([t for k, t in enumerate(carry_types) if k not in self.tables], self.most)
        if sizes and self.tables:
            raise NotInRegisters("its lanes change an array at places known only at run time")
        self.lane_axes = [Axis(f"l{k}", size) for k, size in enumerate(sizes)]
        self.check_products()
        self.carried = [Carried(t, (), [], True) if k in self.tables else self.carried_of(t) for k, t in enumerate(carry_types)]
        if sum(len(c.points) for c in self.carried) > self.most:
            raise NotInRegisters("its carry does not fit in registers")
        self.pull = Pull(self.leaf, self.producers)
        self.counters = self.counters_of(self.eqn)
        self.roles = self.params_of(self.body, self.n_consts)
        following = [[self.pull.value(r, p) for p in c.points] for r, c in zip(outs[:n], self.carried)]
        summed = [(k, j) for k, row in enumerate(following) for j, e in enumerate(row) if self.is_sum(k, j, e)]
        for k, j in summed:
            following[k][j] = self.per_lane(following[k][j])
        writes = [w for k, updates in self.tables.items() for eqn in updates for w in writes_of(self.pull, k, eqn)]
        loop = RegisterLoop(self.lane_axes, self.time, self.carried, following, self.y_stores(), summed=summed, writes=writes,
                            kept=self.kept(writes))
        if self.cond is not None:
            loop.alive = self.alive(loop)
            loop.records = self.recorded()
        loop.arrays = self.arrays()
        self.check_length()
        self.check_uniform(loop)
        self.check_sums(loop)
        return loop

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

    def counters_of(self, eqn: Eqn) -> dict[int, Index]:
        """Carried integers that begin as a constant and change by one: what each is in terms of the trip."""
        if self.cond is not None or self.op.reverse and self.op.length is None:
            return {}
        n = self.trips
        found = counters(self.body, self.n_consts, self.op.parts(eqn.inputs)[2], n)
        return {k: Index({self.time: -step}, first + step * (n - 1)) if self.op.reverse else Index({self.time: step}, first)
                for k, (first, step) in found.items()}

    def kept(self, writes: list[Write]) -> list[Kept]:
        op = self.op
        if not isinstance(op, Scan) or op.reverse and op.length is None:
            return []
        start, step = (op.length - 1, -1) if op.reverse else (0, 1)
        return kept_writes(self.pull, writes, [c.type for c in self.carried], self.time, start, step)

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

    def carried_of(self, t: ArrayType) -> Carried:
        dims = lane_dims(t.shape, [a.size for a in self.lane_axes])
        if dims is None:
            if t.size > self.most:
                raise NotInRegisters(f"a carry of type {t} shares no lanes with the others")
            dims = ()
        ranges = [range(1) if d in dims else range(n) for d, n in enumerate(t.shape)]
        lane_of = {d: Index({a: 1}) for d, a in zip(dims, self.lane_axes)}
        points = [tuple(lane_of.get(d, Index((), k)) for d, k in enumerate(at)) for at in itertools.product(*ranges)]
        return Carried(t, dims, points)

    def params_of(self, graph: Graph, n_consts: int) -> dict[Var, tuple[str, int]]:
        kinds = ["const"] * n_consts + ["carry"] * self.n_carry + ["x"] * (len(graph.params) - n_consts - self.n_carry)
        starts = {"const": 0, "carry": n_consts, "x": n_consts + self.n_carry}
        return {p: (kind, i - starts[kind]) for i, (p, kind) in enumerate(zip(graph.params, kinds))}

    def leaf(self, var: Var, index: tuple) -> Expr | None:
        self.check_length()     # here too: guarded views of products can grow to hundreds of times what fits
        role = self.roles.get(var)
        if role is None:
            eqn = self.producers[var]
            if isinstance(eqn.op, DotGeneral):
                return self.contracted(eqn, index)
            if isinstance(eqn.op, Scatter):
                raise NotInRegisters("it reads an array that it has just changed")
            return self.folded(eqn, index) if isinstance(eqn.op, Reduction) else None
        kind, k = role
        if kind == "const":
            return self.pull.load(var, index)
        if kind == "x":
            offset = Index({self.time: var.type.size}) + linear(index, var.type.shape)
            return self.pull.node(LOAD, (), (var, offset, self.pull.guards), var.type.dtype)
        found = self.carried[k]
        if k in self.counters:
            return self.pull.index_value(self.counters[k], var.type.dtype)
        if found.in_memory:
            return self.pull.load(var, index, ("out", k))
        for d, i in enumerate(index):
            lane = self.lane_axes[found.lane_dims.index(d)] if d in found.lane_dims else None
            if (i != Index({lane: 1})) if lane is not None else bool(i.terms):
                raise NotInRegisters("an element depends on other lanes, or on a place known only at run time")
        rest = tuple(Index() if d in found.lane_dims else i for d, i in enumerate(index))
        at = linear(rest, var.type.shape)
        inside = all(0 <= i.const < max(n, 1) for i, n in zip(rest, var.type.shape))
        if not inside:  # under a guard that never holds
            return self.pull.const(0, var.type.dtype)
        return self.pull.node(CARRY, (), (k, at.const), var.type.dtype)

    def folded(self, eqn: Eqn, index: tuple) -> Expr:
        """A reduction of few elements, written out pairwise."""
        op: Reduction = eqn.op
        types = [x.type for x in eqn.inputs]
        shape = types[0].shape
        if op.name == "reduce_sum" and self.lane_axes and math.prod(shape[a] for a in op.axes) > MOST_FOLDED // 2:
            return self.lane_sum(eqn, index)
        if math.prod(shape[a] for a in op.axes) > MOST_FOLDED:
            raise NotInRegisters("it folds many elements")
        kept = iter(index)
        base = [None if d in op.axes else next(kept) for d in range(len(shape))]
        terms = []
        for at in itertools.product(*(range(shape[a]) for a in op.axes)):
            place = dict(zip(op.axes, at))
            full = tuple(Index((), place[d]) if d in place else base[d] for d in range(len(shape)))
            xs = [self.pull.value(x, full if x.type.ndim else ()) for x in eqn.inputs]
            terms.append(tuple(op.element(self.pull, tuple(Index((), k) for k in at), *xs)))
        if not terms:
            return op.finish(self.pull, tuple(op.init(self.pull, types)))
        return op.finish(self.pull, pairwise(partial(op.combine, self.pull), terms))

    def lane_sum(self, eqn: Eqn, index: tuple) -> Expr:
        """A sum over axes as long as the lanes: each lane has its own element of them."""
        [x], axes = eqn.inputs, eqn.op.axes

        def term(place: dict[int, Index]) -> Expr:
            kept = iter(index)
            return self.pull.value(x, tuple(place[d] if d in place else next(kept) for d in range(x.type.ndim)))
        return self.sum_of(axes, [x.type.shape[a] for a in axes], term)

    def contracted(self, eqn: Eqn, index: tuple) -> Expr:
        """An element of a product of arrays, written out, or with the contracted axes as lanes."""
        x, y = eqn.inputs
        spec = eqn.op.spec(x.type.ndim, y.type.ndim)
        batch, rows, columns = cut(index, [len(spec.batch[0]), len(spec.free[0]), len(spec.free[1])])

        def element(v, side: int, free: list, place: dict[int, Index]) -> Expr:
            at = dict(zip(spec.batch[side], batch)) | dict(zip(spec.free[side], free))
            at |= {a: place[k] for k, a in enumerate(spec.contract[side])}
            return self.pull.value(v, tuple(at[d] for d in range(v.type.ndim)))

        def term(place: dict[int, Index]) -> Expr:
            return self.pull.mul(element(x, 0, rows, place), element(y, 1, columns, place))
        sizes = [x.type.shape[a] for a in spec.contract[0]]
        return self.sum_of(range(len(sizes)), sizes, term)

    def sum_of(self, axes, sizes: list[int], term) -> Expr:
        """The sum of term({axis: index}) over all indices; over lanes if the axes are as long as they are."""
        found = lane_dims(sizes, [a.size for a in self.lane_axes]) if self.lane_axes else None
        lane_of = {axes[d]: Index({lane: 1}) for d, lane in zip(found or (), self.lane_axes)}
        rest = [(a, n) for a, n in zip(axes, sizes) if a not in lane_of]
        if math.prod(n for _, n in rest) > MOST_FOLDED:
            raise NotInRegisters("it folds many elements")
        terms = [term({**lane_of, **{a: Index((), k) for (a, _), k in zip(rest, at)}})
                 for at in itertools.product(*(range(n) for _, n in rest))]
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [self.pull.add(a, b) for a, b in zip(terms[:half], terms[half:])] + terms[2 * half:]
        if not terms:
            raise NotInRegisters("it folds nothing")
        return self.pull.node(LANE_SUM, (terms[0],), None, terms[0].dtype) if lane_of else terms[0]

    def y_stores(self) -> list[Store]:
        stores = []
        if isinstance(self.op, While):
            return stores
        for k, result in enumerate(self.body.results[self.n_carry:]):
            t = result.type
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
                stores.append(Store(self.n_carry + k, offset, self.pull.value(result, index)))
        return stores

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
        self.roles = {**self.roles, **self.params_of(self.cond, self.op.n_cond_consts)}
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


def lane_dims(shape, sizes: list[int]) -> tuple[int, ...] | None:
    """Where the lane axes are in a shape, in order; None if they are not there."""
    dims, start = [], 0
    for size in sizes:
        found = next((d for d in range(start, len(shape)) if shape[d] == size), None)
        if found is None:
            return None
        dims.append(found)
        start = found + 1
    return tuple(dims)

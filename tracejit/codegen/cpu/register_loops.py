"""A RegisterLoop -> an LLVM function `void(ptr buffers, i64 task)`: blocks of lanes, the whole loop inside."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, ComplexValue, Module, Value
from tracejit.codegen.cpu.value import AnyValue
from tracejit.codegen.cpu.expressions import I64, Position, repeated
from tracejit.codegen.cpu.inside import Inside
from tracejit.codegen.packs import padded
from tracejit.codegen.registers import Carried, RegisterLoop
from tracejit.codegen.schedule import filled_lanes, widest_bytes
from tracejit.codegen.scopes import MOST_ELEMENTS
from tracejit.codegen.tables import Memory, is_read
from tracejit.ir.graph import Eqn, Var, eqns_within
from tracejit.ir.loops import APPLY, CARRY, LOAD, Axis, Dependence, Expr, Index, in_order
from tracejit.lax.dot import DotGeneral
from tracejit.lax.elementary import Transcendental
from tracejit.lax.elementwise import Log, Pow
from tracejit.lax.kinds import Reduction

I32, BOOL = np.dtype("i4"), np.dtype(bool)
SETTLING = 8                # trips between two looks whether anything changes
LEAST_STRIP, MOST_STRIP = 128, 512
MOST_STATE = 1 << 12        # carried elements of a strip
TASK_COST = 1 << 16
MOST_UNSEEN = 1 << 24       # operations that run without a look at Ctrl-C, and how many lie between two looks
BETWEEN_LOOKS = 1 << 18
FUNCTION_LANES = 8          # elementary functions that take the time of one in vectors
STEP_COST = 6               # elementary functions that take the time of a step on arrays
MOST_TASKS = 256
OFTEN_WAITED_FOR = 9        # uses from which a long op is a function, where each trip waits for the call and what it spills


def refusal(eqn: Eqn, loop: RegisterLoop) -> str:
    """Without lanes, elementary functions may be scalar ones: beyond some, steps on vectors take less time."""
    if loop.lanes:
        return ""
    if sum(len(c.points) for c in loop.carried) > MOST_ELEMENTS:
        return "its carry does not fit in registers"
    eqns = eqns_within(eqn)
    folds = sum(isinstance(e.op, (Reduction, DotGeneral)) for e in eqns)
    long = [e for e in eqns if isinstance(e.op, (Transcendental, Log, Pow))]
    ops = {e.op for e in long}
    calls = sum(e.kind == APPLY and e.data in ops for e in in_order(loop.roots))
    saved = calls - sum(-(-e.outputs[0].type.size // FUNCTION_LANES) for e in long)
    return "its elementary functions fill vectors" if saved > STEP_COST * (1 + folds) else ""


class RegisterLoopEmitter(Inside):
    """`buffers` are the keys of the pointers in the table: body params, ("init", k) and ("out", k)."""

    def __init__(self, module: Module, name: str, loop: RegisterLoop, buffers: Sequence[Any], trips: int | None,
                 reverse: bool, may_stop: bool):
        self.loop, self.trips, self.reverse, self.may_stop = loop, trips, reverse, may_stop
        self.b = b = Builder(module, name, [("buffers", PTR), ("task", I64)])
        b.repeated = repeated(loop.roots) if loop.lanes else repeated(loop.roots, OFTEN_WAITED_FOR)
        self.nodes = set(in_order(loop.roots))
        self.bases = {v: b.load(PTR, b.gep(b.params[0], k, PTR)) for k, v in enumerate(buffers)}
        memories = [e.data[0] for e in in_order(loop.roots) if is_read(e)] + \
            [s.var for each in loop.loops for s in each.stores if isinstance(s.var, Memory)]
        self.bases |= {memory: self.place_of(memory) for memory in memories}
        self.depends = Dependence()
        self.summed = {at: number for number, at in enumerate(loop.summed)}
        self.vector = loop.lanes[-1] if loop.lanes else None
        lanes = module.isa.lanes(np.dtype(f"i{widest_bytes(loop.roots)}"))
        self.lanes = filled_lanes(lanes, self.vector.size) if self.vector else 1
        elements = sum(len(c.points) for c in loop.carried)
        self.unroll = 1
        while self.vector and self.unroll < 4 and elements * self.unroll * 2 <= module.isa.n_registers // 2 and \
                self.vector.size >= 2 * self.unroll * self.lanes:
            self.unroll *= 2
        self.strip = self.strip_width()
        self.step = step = self.strip or self.lanes * self.unroll
        self.blocks = -(-self.vector.size // step) if self.vector else 1
        self.units = math.prod(a.size for a in loop.lanes[:-1]) * self.blocks
        self.per_task = max(1, TASK_COST // (self.trip_cost * min(trips or 1000, 1 << 20)), -(-self.units // MOST_TASKS))
        long = trips is None or trips * self.trip_cost * self.units > MOST_UNSEEN
        self.polls = may_stop and (long or loop.may_not_end or len(loop.loops) > 1)   # somebody may press Ctrl-C

    @property
    def trip_cost(self) -> int:
        return max(1, sum(1 + e.cost for e in in_order(self.loop.roots)) * self.step)

    def strip_width(self) -> int:
        """Lanes that make each trip together, with their carry in the first-level cache; 0: few lanes, in registers.

        Where a trip reads rows of arrays, a few lanes at a time would jump from row to row, a page each time, and wait.
        """
        loop, elements = self.loop, sum(len(c.points) for c in self.loop.carried)
        if self.vector is None or loop.alive is not None or loop.summed or self.vector.size < 2 * LEAST_STRIP:
            return 0
        offsets = {e.data[:2] for e in in_order(loop.roots) if e.kind == LOAD}
        streams = sum(o.coefficient(self.vector) == 1 and o.coefficient(loop.time) != 0 for _, o in offsets)
        if elements > 4 * streams or elements * MOST_STRIP > MOST_STATE:
            return 0
        return min(MOST_STRIP, -(-self.vector.size // 2 // LEAST_STRIP) * LEAST_STRIP)

    @property
    def n_tasks(self) -> int:
        return -(-self.units // self.per_task)

    def emit(self) -> None:
        b = self.b
        lo = b.mul(b.params[1], self.per_task)
        hi = b.min(b.add(lo, self.per_task), b.const(self.units, I64))
        if self.polls and self.per_task > 1:
            def some(carries: list) -> list:
                self.unit(carries[0])
                return [unless_stopped(b, b.add(carries[0], 1), hi)]
            b.while_loop([lo], lambda carries: b.lt(carries[0], hi), some)
        else:
            with b.loop(lo, hi) as units:
                self.unit(units.index)
        b.ret()
        b.finish()

    def unit(self, unit: Value) -> None:
        b, loop = self.b, self.loop
        self.now = unit
        point: dict[Axis, Value] = {}
        top = Position(b, self.bases, self.depends, {})
        if self.vector is None:
            return self.run([top.inner({})])
        whole = b.binary("udiv", unit, b.const(self.blocks, I64))
        block = b.sub(unit, b.mul(whole, self.blocks))
        for axis in reversed(loop.lanes[:-1]):
            rest = b.binary("udiv", whole, b.const(axis.size, I64))
            point[axis], whole = b.sub(whole, b.mul(rest, axis.size)), rest
        here = top.inner(point)
        if self.strip:
            return self.run_strip(here, b.mul(block, self.strip))
        first, n = b.mul(block, self.lanes * self.unroll), self.vector.size
        places = []
        for u in range(self.unroll):
            at = b.add(first, u * self.lanes)
            mask = b.lane_mask(b.sub(b.const(n, I64), at), self.lanes) if n % (self.lanes * self.unroll) else None
            places.append(here.inner({self.vector: at}, self.vector, self.lanes, mask))
        self.run(places)

    def run(self, places: list[Position]) -> None:
        """The whole loop for some vectors of lanes side by side."""
        b, loop = self.b, self.loop
        state = [v for p in places for v in [*self.initial(p), *[p.inner({}).value(k.first) for k in loop.kept]]]
        if loop.alive is not None:
            state = self.run_while(places, state)
        else:
            n = b.const(self.trips, I64) if self.trips is not None else b.convert(b.load(np.dtype("i4"), self.bases["count"]), I64)
            for p in places:
                p.hoist(loop.roots, {loop.time, CARRY, *(owner for step in loop.steps for owner in step.owners)})
            if self.may_settle():
                state = self.run_until_settled(places, state, n)
            else:
                state = self.in_turns(state, n, lambda now, start, stop: self.trips_of(places, now, start, stop, n))
        for u, (p, mine) in enumerate(zip(places, self.per_place(places, state))):
            self.store(p, mine, u)

    def in_turns(self, state, n: Value, run: Callable[[list, Value, Value], list]) -> list:
        """run(state, start, stop) for all n trips, with looks at Ctrl-C between some and the next."""
        b, m = self.b, len(state)
        most = 1 if len(self.loop.loops) > 1 else max(1, BETWEEN_LOOKS // self.trip_cost)
        if not self.polls or n.const is not None and n.const <= most:
            return run(state, b.const(0, I64), n)
        bits = (1 << 31 if n.const is None else n.const).bit_length()

        def turn(carries: list) -> list:
            start = b.and_(carries[m], b.const((1 << bits) - 1, I64))  # so that LLVM sees: it is not negative
            stop = b.min(b.add(start, most), n)
            return [*run(carries[:m], start, stop), unless_stopped(b, stop, n)]
        return b.while_loop([*state, b.const(0, I64)], lambda carries: b.lt(carries[m], n), turn)[:m]

    def trips_of(self, places: list[Position], state, start: Value, stop: Value, n: Value) -> list:
        b = self.b
        with b.loop(start, stop, carries=state) as trips:
            at = b.sub(b.sub(n, b.const(1, I64)), trips.index) if self.reverse else trips.index
            trips.carry(*self.trip(places, trips.carries, {self.loop.time: at}))
        return trips.results

    # --- masked loops: a trip that changed nothing is the last, if all trips are alike

    def may_settle(self) -> bool:
        """Whether trips depend on their carry alone, and some of it is kept where a condition says so."""
        loop = self.loop
        if self.vector is None or loop.stores or loop.summed or any(loop.time in self.depends(e) for e in loop.roots):
            return False
        own = [Expr(CARRY, (), (k, c.offset(self.without_lanes(c, point)).const), c.type.dtype) for k, c, point in self.elements()]
        return any(e.kind == APPLY and e.data.name == "select_n" and x in e.args[1:] for e, x in zip(self.next(), own))

    def run_until_settled(self, places: list[Position], state, n: Value) -> list:
        b, m = self.b, len(state)

        def some(carries: list) -> list:
            *now, i = carries
            stop = b.min(b.add(i, SETTLING), n)
            before = self.trips_of(places, now, i, b.sub(stop, 1), n)
            after = self.trip(places, before, {})
            following = b.select(self.differ(places, before, after), stop, n)
            return [*after, unless_stopped(b, following, n) if self.polls else following]
        return b.while_loop([*state, b.const(0, I64)], lambda s: b.lt(s[m], n), some)[:m]

    def differ(self, places: list[Position], before, after) -> Value:
        """Whether a trip has changed a bit of any lane."""
        b, found = self.b, None
        for p, old, new in zip(places, self.per_place(places, before), self.per_place(places, after)):
            for x, y in zip(old, new):
                for part, other in zip(parts_of(x), parts_of(y)):
                    changed = b.any(b.ne(bits_of(b, part), bits_of(b, other)))
                    found = changed if found is None else b.or_(found, changed)
        return found

    # --- strips: all lanes of one make a trip before the next trip begins

    def run_strip(self, here: Position, first: Value) -> None:
        b, loop = self.b, self.loop
        last = b.min(b.add(first, self.strip), b.const(self.vector.size, I64))
        areas = [b.alloca((self.strip + self.lanes) * c.type.dtype.itemsize) if c.lane_dims else None
                 for _, c, _ in self.elements()]
        start = [None if area else here.load(("init", k), c.offset(point), (), c.type.dtype)
                 for area, (k, c, point) in zip(areas, self.elements())]

        def place(p: Position, k: int) -> Value:
            return b.gep(areas[k], b.sub(p.axes[self.vector], first), self.elements()[k][1].type.dtype)

        def state(p: Position, common: Sequence) -> list:
            return [b.load(c.type.dtype, place(p, k), self.lanes) if c.lane_dims else common[k]
                    for k, (_, c, _) in enumerate(self.elements())]

        def keep(p: Position, values: Sequence) -> None:
            for k, value in enumerate(values):
                if areas[k] is not None:
                    b.store(b.splat(value, self.lanes), place(p, k))
        self.sweep(here, first, last, lambda p: keep(p, self.initial(p)))
        here.hoist(loop.roots, {loop.time, self.vector, CARRY})
        n = b.const(self.trips, I64) if self.trips is not None else b.convert(b.load(np.dtype("i4"), self.bases["count"]), I64)

        def trips_of(now: list, start: Value, stop: Value) -> list:
            with b.loop(start, stop, carries=now) as trips:
                given = iter(trips.carries)
                common = [None if area else next(given) for area in areas]
                time = {loop.time: b.sub(b.sub(n, b.const(1, I64)), trips.index) if self.reverse else trips.index}
                row = here.inner(time)
                row.hoist(loop.roots, {self.vector, CARRY})
                following = self.seeded(row, [b.const(0, c.type.dtype) if c.lane_dims else x
                                              for x, (_, c, _) in zip(common, self.elements())], {})
                wanted = [following.value(e) for e, area in zip(self.next(), areas) if area is None]
                self.sweep(row, first, last, lambda p: keep(p, self.trip([p], state(p, common), {})))
                trips.carry(*wanted)
            return trips.results
        ended = iter(self.in_turns([x for x in start if x is not None], n, trips_of))
        common = [None if area else next(ended) for area in areas]
        self.sweep(here, first, last, lambda p: self.store(p, state(p, common), 0))

    def next(self) -> list[Expr]:
        return [e for row in self.loop.next for e in row]

    def sweep(self, here: Position, first: Value, last: Value, visit: Callable[[Position], None]) -> None:
        """visit(position) for each vector of a strip's lanes, the last one masked."""
        b, whole = self.b, self.vector.size % self.lanes == 0
        stop = last if whole else b.sub(last, b.rem(b.sub(last, first), b.const(self.lanes, I64)))
        with b.loop(first, stop, self.lanes) as loop:
            visit(here.inner({self.vector: loop.index}, self.vector, self.lanes))
        if not whole:
            mask = lambda: b.lane_mask(b.sub(last, stop), self.lanes)
            b.when(b.lt(stop, last), lambda: visit(here.inner({self.vector: stop}, self.vector, self.lanes, mask())))

    # --- while

    def run_while(self, places, state) -> list:
        """Trips while any lane is alive. What a trip records goes on tapes: (address, capacity in bytes) in registers."""
        b, loop, n = self.b, self.loop, len(state)
        end = self.trips_while_alive(places, state)
        if ("out", len(loop.carried)) in self.bases:
            b.store(b.convert(end[n], np.dtype("i4")), self.bases["out", len(loop.carried)])
        for k in range(len(loop.records)):
            tape = self.bases["out", len(loop.carried) + 1 + k]
            b.store(end[n + 1 + 2 * k], tape)
            b.store(end[n + 2 + 2 * k], b.gep(tape, 8))
        return end[:n]

    def trips_while_alive(self, places, state) -> list:
        """The carry after all trips, how many there were, and the tapes."""
        b, loop, n = self.b, self.loop, len(state)
        tapes = [v for _ in loop.records for v in (Value("null", PTR), b.const(0, I64))]
        inside = {CARRY, loop.time, *(owner for step in loop.steps for owner in step.owners)}

        def enter() -> list[Position]:
            known = [p.inner({}, p.vector, p.lanes, p.mask) for p in places]
            for p in known:
                p.hoist(loop.roots, inside)
            return known

        def trip(s: list, known: list[Position]) -> list:
            return self.trip(known, s[:n], {}, s[n:])
        alive = lambda s, known: self.any_alive(known or places, s[:n])
        return self.until_dead([*state, b.const(0, I64), *tapes], alive, trip, enter)

    def until_dead(self, state: list, alive: Callable[[list, Any], Value], trip: Callable, enter: Callable) -> list:
        """Trips until none is wanted, or until Ctrl-C stops them. The flag is looked at before each trip but the first of a turn:
        so a thread that it does not concern goes on while it is up."""
        b = self.b
        if not self.polls:
            return b.repeat(state, alive, trip, enter)
        yes, no = b.const(True, BOOL), b.const(False, BOOL)
        is_quiet = lambda: b.eq(interrupt_flag(b), b.const(0, I32))

        def turn(carries: list) -> list:
            go_on = lambda s, known: alive(s, known) if known is None else b.and_(alive(s, known), is_quiet())
            ended = b.repeat(carries[:-1], go_on, trip, enter)
            again = lambda: b.and_(alive(ended, None), b.eq(b.call("tj_poll", I32, []), b.const(0, I32)))
            return [*ended, b.cond(is_quiet(), lambda: no, again)[0]]
        return b.while_loop([*state, yes], lambda s: s[-1], turn)[:-1]

    def push(self, p: Position, trips: Value, *tapes: Value) -> list[Value]:
        """Write what this trip records behind what the earlier ones did, in memory that doubles when it is full;
        how many trips there are now, and the tapes."""
        b, out = self.b, [self.b.add(trips, self.b.const(1, I64))]
        for k, record in enumerate(self.loop.records):
            data, capacity = tapes[2 * k:2 * k + 2]
            start = b.mul(trips, record.type.nbytes)
            end = b.add(start, record.type.nbytes)

            def grown(data=data, end=end) -> list[Value]:
                room = b.add(b.mul(end, 2), 1024)
                return [b.call("realloc", PTR, [data, room]), room]
            data, capacity = b.cond(b.gt(end, capacity), grown, lambda: [data, capacity])
            for offset, e in record.elements:
                at = b.gep(b.gep(data, start), offset, e.dtype)
                b.store(p.value(e), at)
            out += [data, capacity]
        return out

    def per_place(self, places, state) -> list[list]:
        n = len(state) // len(places)
        return [list(state[k * n:(k + 1) * n]) for k in range(len(places))]

    def elements(self) -> list[tuple[int, Carried, tuple[Index, ...]]]:
        return [(k, c, point) for k, c in enumerate(self.loop.carried) for point in c.points]

    @property
    def widths(self) -> list[int]:
        return [n for c in self.loop.carried for n in c.widths or [1] * len(c.points)]

    def initial(self, p: Position) -> list:
        b, summed = self.b, self.summed
        return [self.line(k, c, point, n) if n > 1 else
                b.const(0, c.type.dtype, p.lanes) if (k, c.points.index(point)) in summed else
                b.splat(p.load(("init", k), c.offset(point), (), c.type.dtype), p.lanes if c.lane_dims else 1)
                for (k, c, point), n in zip(self.elements(), self.widths)]

    def line(self, k: int, c: Carried, point: tuple[Index, ...], n: int) -> Value:
        """Neighbouring elements where the carry begins, as a vector; idle lanes repeat the last."""
        b, dtype = self.b, c.type.dtype
        found = b.load(dtype, b.gep(self.bases["init", k], c.offset(point).const, dtype), n)
        return b.shuffle(found, None, [min(i, n - 1) for i in range(len(padded(range(n))))])

    def store(self, p: Position, state, u: int) -> None:
        b = self.b
        for (k, c, point), n, value in zip(self.elements(), self.widths, state):
            number = self.summed.get((k, c.points.index(point)))
            if n > 1:
                b.store(b.shuffle(value, None, range(n)), b.gep(self.bases["out", k], c.offset(point).const, c.type.dtype))
                continue
            if number is None:
                p.store(("out", k), c.offset(point), value, c.type.dtype)
                continue
            if p.mask is not None:
                value = b.select(p.mask, value, b.const(0, value.dtype, p.lanes))
            part = b.add(b.mul(self.now, self.unroll), u)
            at = b.gep(self.bases["parts"], b.mul(b.add(b.mul(part, len(self.summed)), number), 8))
            b.store(b.reduce("add", value) if value.lanes > 1 else value, at)

    @property
    def parts_bytes(self) -> int:
        """Memory for what each vector of lanes has added up: [unit, place, summed element] of 8 bytes."""
        return 8 * len(self.summed) * self.units * self.unroll

    def seeded(self, p: Position, state, axes) -> Position:
        inner, elements = p.inner(axes, p.vector, p.lanes, p.mask), self.elements()
        for (_, c, point), n, value in zip(elements, self.widths, state):
            self.known(inner, CARRY, c, c.offset(self.without_lanes(c, point)).const, n, value)
        for kept, value in zip(self.loop.kept, state[len(elements):]):
            for e in (kept.now, *kept.loads):
                inner.values[e] = value
        return inner

    def without_lanes(self, c: Carried, point: tuple[Index, ...]) -> tuple[Index, ...]:
        return tuple(Index() if d in c.lane_dims else i for d, i in enumerate(point))

    def trip(self, places, state, axes, tapes: Sequence[Value] = ()) -> list:
        """The carry after a trip, and the number of trips and the tapes where these are given."""
        out, pushed = [], list(tapes)
        for p, mine in zip(places, self.per_place(places, state)):
            inner = self.seeded(p, mine, axes)
            self.run_steps(inner, self.loop.steps)
            for made in self.loop.copies:
                self.stack(inner, made)
            for s in self.loop.stores:
                inner.store(s.var if isinstance(s.var, Memory) else ("out", s.var), s.offset, inner.value(s.expr), s.expr.dtype)
            new = [inner.value(e) for e in [*self.next(), *[kept.next for kept in self.loop.kept]]]
            out += [self.b.splat(v, was.lanes) for v, was in zip(new, mine)]
            if tapes:
                pushed = self.push(inner, *tapes)
            self.write(inner, self.loop.writes)
        return [*out, *pushed]

    def any_alive(self, places, state) -> Value:
        b, any_of = self.b, None
        for p, mine in zip(places, self.per_place(places, state)):
            alive = self.seeded(p, mine, {}).value(self.loop.alive)
            if p.lanes > 1:
                alive = b.splat(alive, p.lanes)
                alive = b.any(alive if p.mask is None else b.and_(alive, p.mask))
            any_of = alive if any_of is None else b.or_(any_of, alive)
        return any_of


def parts_of(x: AnyValue) -> list[Value]:
    return [x.re, x.im] if isinstance(x, ComplexValue) else [x]


def bits_of(b: Builder, x: Value) -> Value:
    return b.bitcast(x, np.dtype(f"u{x.dtype.itemsize}")) if x.dtype.kind not in "biu" else x


def interrupt_flag(b: Builder) -> Value:
    """Nonzero once Ctrl-C was pressed."""
    b.module.declare_global("tj_interrupt", "i32")
    return b.impure("load atomic i32, ptr @tj_interrupt monotonic, align 4", I32)


def unless_stopped(b: Builder, following: Value, end: Value) -> Value:
    """The number of the following trip, or the end if Ctrl-C stops what runs here."""
    def ask() -> Value:
        return b.select(b.eq(b.call("tj_poll", I32, []), b.const(0, I32)), following, end)
    return b.cond(b.ne(interrupt_flag(b), b.const(0, I32)), ask, lambda: following)[0]


def loads_in(loop: RegisterLoop) -> list[Any]:
    """The body params that the loop reads from memory."""
    return list(dict.fromkeys(e.data[0] for e in in_order(loop.roots) if e.kind == LOAD and isinstance(e.data[0], Var)))

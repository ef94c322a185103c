"""A scheduled kernel -> an LLVM function `void(ptr buffers, i64 task)`.

The vector axis is a row axis here (see rows.py for vectors along a folded one). Each unit of work is a block of it at one point of
the other row axes; folds run inside, with one accumulator per lane. A fold that is cut into parts writes the states of each part to
memory; combine.py folds the parts.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Module, Value
from tracejit.codegen.cpu.expressions import BOOL, I64, Dependence, Position, repeated
from tracejit.codegen.cpu.squares import Square, each_line
from tracejit.codegen.kernels import Fold, Kernel, Stage, Store, long_ops
from tracejit.codegen.schedule import NEIGHBOURS, Schedule, lies_across, place_in_group, stage_with, turns
from tracejit.codegen.zones import Zone, zones_of
from tracejit.ir.loops import ROW, Axis, Expr, Index, loads_of

UNROLLED_FOLD = 4       # an inner fold of at most that many trips is written out
CHAINS = 8              # that many states of columns take turns, or each would wait for the one before


def state_dtypes(fold: Fold) -> list[np.dtype]:
    return [e.dtype for e in fold.states]


def row_count(kernel: Kernel) -> int:
    return math.prod(a.size for a in kernel.row_axes)


def partial_layout(plan: Schedule) -> list[tuple[Fold, int, int, np.dtype]]:
    """Of a kernel whose folds are cut: (fold, state, byte offset, dtype) in the buffer of parts."""
    rows = row_count(plan.kernel)
    out, offset = [], 0
    for fold in plan.kernel.stages[0].folds:
        for k, dtype in enumerate(state_dtypes(fold)):
            out.append((fold, k, offset, dtype))
            offset += -(-rows * plan.n_parts * dtype.itemsize // 64) * 64
    return out


def partial_bytes(plan: Schedule) -> int:
    rows = row_count(plan.kernel)
    return sum(-(-rows * plan.n_parts * dtype.itemsize // 64) * 64 for *_, dtype in partial_layout(plan))


class KernelEmitter:
    """Emits one kernel function into a module."""
    params = [("buffers", PTR), ("task", I64)]

    def __init__(self, module: Module, name: str, plan: Schedule, buffers: Sequence[Any]):
        self.plan, self.kernel = plan, plan.kernel
        self.b = b = Builder(module, name, self.params)
        b.repeated = repeated(plan.kernel.roots)
        table = b.params[0]
        self.bases: dict[Any, Value] = {v: b.load(PTR, b.gep(table, k, PTR)) for k, v in enumerate(buffers)}
        self.parts = b.load(PTR, b.gep(table, len(buffers), PTR)) if plan.chunk or self.kernel.column_folds else None
        for copy in self.kernel.scratch:
            n = int(np.prod([a.size for a in self.kernel.fold_axes], dtype=np.int64))
            width = plan.lanes * plan.unroll if not plan.along else 1
            self.bases[copy] = b.alloca(n * width * copy.type.dtype.itemsize)
        self.depends = Dependence(plan.kernel.passed_on)
        self.is_long = bool(long_ops(plan.kernel.roots))
        self.zones = [] if plan.along or plan.by_rows else zones_of(plan.kernel, plan.vector, plan.lanes)

    def emit(self) -> None:
        b, plan = self.b, self.plan
        lo = b.mul(b.params[1], plan.per_task)
        hi = b.min(b.add(lo, plan.per_task), b.const(plan.units, I64))
        top = self.top()
        with b.loop(lo, hi) as loop:
            self.unit(top, loop.index)
        if plan.streams and b.isa.triple.startswith("x86_64"):
            b.call("llvm.x86.sse.sfence", None, [])     # such stores are not ordered with those that end the task
        b.ret()
        b.finish()

    def top(self) -> Position:
        top = Position(self.b, self.bases, self.depends, {})
        top.starts = self.kernel.starts
        top.row_pitch = self.plan.lanes * self.plan.unroll if not self.plan.along else 1
        return top

    def unit(self, top: Position, unit: Value) -> None:
        """One unit of work: which part, which point of the outer row axes, which block of the vector axis."""
        plan = self.plan
        part = None
        if plan.chunk:
            unit, part = self.divided(unit, plan.n_parts)
        block = None
        if plan.block:
            unit, block = self.divided(unit, -(-plan.vector.size // plan.block))
        self.work(top.inner(self.outer_point(unit)), block, part)

    def work(self, here: Position, block: Value | None, part: Value | None) -> None:
        """What is done at one point of the outer row axes."""
        b, plan = self.b, self.plan
        if block is None:
            return self.columns([here], part)
        first = b.mul(block, plan.block)
        last = b.min(b.add(first, plan.block), b.const(plan.vector.size, I64))
        if plan.across is not None:
            self.squares(here, first, last)
        elif self.zones:
            self.block_in_zones(here, first, last, part)
        else:
            self.block(here, first, last, part)

    def outer_point(self, number: Value) -> dict[Axis, Value]:
        """A point of the outer row axes by its number."""
        point = {}
        for axis in reversed(self.plan.outer):
            number, point[axis] = self.divided(number, axis.size)
        return point

    def divided(self, x: Value, by: int) -> tuple[Value, Value]:
        b = self.b
        if by == 1:
            return x, b.const(0, I64)
        whole = b.binary("udiv", x, b.const(by, I64))
        return whole, b.sub(x, b.mul(whole, by))

    def block_in_zones(self, here: Position, first: Value, last: Value, part: Value | None) -> None:
        """A block piece by piece: each is in one of the zones, or in none of them."""
        b, vector = self.b, self.plan.vector
        active = [self.contains(zone, here) for zone in self.zones]
        spans = [[b.const(end, I64) for end in zone.box[vector]] for zone in self.zones]

        def piece(carries: list) -> list:
            [at] = carries
            end = last      # a piece in no zone ends where the next zone begins
            for here_too, (begin, _) in zip(active, spans):
                end = b.select(b.and_(here_too, b.gt(begin, at)), b.min(end, begin), end)
            return choose(0, at, end)

        def choose(k: int, at: Value, end: Value) -> list:
            if k == len(spans):
                self.block(here.inner({}), at, end, part)
                return [end]
            begin, behind = spans[k]
            now = b.and_(active[k], b.and_(b.ge(at, begin), b.lt(at, behind)))

            def zoned() -> list:
                stop = b.min(last, behind)
                self.zone_block(self.zones[k], here.inner({}), at, stop, part)
                return [stop]
            return b.cond(now, zoned, lambda: choose(k + 1, at, end))
        b.while_loop([first], lambda carries: b.lt(carries[0], last), piece)

    def contains(self, zone: Zone, here: Position) -> Value:
        """Whether a zone's outer axes hold this point."""
        b, found = self.b, self.b.const(True, BOOL)
        for axis in self.plan.outer:
            lo, hi = zone.box[axis]
            if (lo, hi) != (0, axis.size):
                at = here.axes[axis]
                found = b.and_(found, b.and_(b.ge(at, b.const(lo, I64)), b.lt(at, b.const(hi, I64))))
        return found

    def zone_block(self, zone: Zone, here: Position, first: Value, last: Value, part: Value | None) -> None:
        """Whole vectors only: a zone begins and ends at one."""
        b, plan, whole = self.b, self.plan, self.kernel
        self.kernel = zone.kernel
        step = plan.lanes * plan.unroll
        self.hoist(here, {plan.vector, *self.kernel.fold_axes})
        stop = b.sub(last, b.rem(b.sub(last, first), b.const(step, I64)))
        for begin, end, by in ((first, stop, step), (stop, last, plan.lanes))[:2 if plan.unroll > 1 else 1]:
            with b.loop(begin, end, by) as loop:
                self.columns(self.side_by_side(here, loop.index, by // plan.lanes), part)
        self.kernel = whole

    def side_by_side(self, here: Position, first: Value, n: int) -> list[Position]:
        """n neighbouring vectors."""
        plan, places = self.plan, []
        for u in range(n):
            places.append(here.inner({plan.vector: self.b.add(first, u * plan.lanes)}, plan.vector, plan.lanes))
            places[-1].column = u * plan.lanes
        return places

    def block(self, here: Position, first: Value, last: Value, part: Value | None) -> None:
        b, plan = self.b, self.plan
        step, n = plan.lanes * plan.unroll, plan.vector.size
        whole = n % step == 0 and plan.block % step == 0 and not self.zones
        stop = last if whole else b.sub(last, b.rem(b.sub(last, first), b.const(step, I64)))
        self.hoist(here, {plan.vector, *self.kernel.fold_axes})
        if not whole and self.is_written_once():
            with b.loop(first, last, step) as loop:
                [p] = self.side_by_side(here, loop.index, 1)
                p.left = b.sub(last, loop.index)
                self.columns([p], part)
            return
        with b.loop(first, stop, step) as loop:
            self.columns(self.side_by_side(here, loop.index, plan.unroll), part)
        if whole:
            return
        with b.loop(stop, last, plan.lanes) as loop:
            mask = b.lane_mask(b.sub(last, loop.index), plan.lanes) if plan.lanes > 1 else None
            self.columns([here.inner({plan.vector: loop.index}, plan.vector, plan.lanes, mask)], part)

    def is_written_once(self) -> bool:
        """Whether one loop does whole vectors and what is left: half the code, with a branch at each access of memory."""
        plan, kernel = self.plan, self.kernel
        if plan.unroll > 1 or plan.lanes == 1 or kernel.fold_axes:
            return False
        offsets = [e.data[1] for e in kernel.loads] + [s.offset for stage in kernel.stages for s in stage.stores + stage.row_stores]
        return not any(offset.coefficient(plan.vector) in NEIGHBOURS for offset in offsets)

    def squares(self, here: Position, first: Value, last: Value) -> None:
        """A tile in squares as wide as a vector: what lies along the other axis is loaded along it, and turned."""
        b, plan, lanes = self.b, self.plan, self.plan.lanes
        crossing = [e for e in self.kernel.loads if turns(e, plan.across, plan.vector)]
        self.hoist(here, {plan.vector, plan.across})
        with b.loop(first, last, lanes) as along:
            column = here.inner({plan.vector: along.index}, plan.vector, lanes)
            column.hoist(self.kernel.roots, {plan.across})
            with b.loop(0, plan.across.size, lanes) as across:
                corner = here.inner({plan.across: across.index, plan.vector: along.index})
                squares = self.squares_of(crossing, corner, plan.vector, lanes)

                def row(k: Value, carries: list) -> list:
                    here = column.inner({plan.across: b.add(across.index, k)}, plan.vector, lanes)
                    here.values.own |= {e: square[k] for e, square in squares.items()}
                    self.columns([here], None)
                    return carries
                each_line(b, range(lanes), self.is_long, [], row)

    def squares_of(self, loads: Sequence[Expr], corner: Position, vector: Axis, lanes: int) -> dict[Expr, Square]:
        """What lies along another axis than the vectors, in vectors."""
        squares = {e: Square(self.b, e.dtype, lanes, self.is_long) for e in loads}
        for e, square in squares.items():
            var, offset, _ = e.data
            square.read(corner.place(var, offset, e.dtype), offset.coefficient(vector))
        return squares

    def hoist(self, here: Position, inside: set) -> None:
        here.hoist([e for e in self.kernel.roots], {*inside, ROW})

    def columns(self, places: list[Position], part: Value | None) -> None:
        """All stages for some vectors of rows side by side."""
        for stage in self.kernel.stages:
            states = [[self.start(fold, p) for fold in stage.folds] for p in places]
            if stage.folds or stage.stores:
                states = self.fold_loops(places, stage, states, part, self.kernel.fold_axes)
            if part is not None:
                for p, mine in zip(places, states):
                    self.store_part(p, stage, mine, part)
                continue
            for p, mine in zip(places, states):
                self.finish_rows(p, stage, mine)

    def start(self, fold: Fold, p: Position) -> list:
        return [self.b.splat(s, p.lanes) for s in fold.op.init(self.b, fold.types)]

    def fold_loops(self, places, stage: Stage, states, part, axes: list[Axis]):
        """Nested loops over the folded axes; in the innermost, one element per place joins its states."""
        b = self.b
        if not axes:
            return [self.points([p], stage, mine) for p, mine in zip(places, states)]
        axis, *rest = axes
        lo, hi = self.bounds(axis, part)
        if not rest and axis.size <= UNROLLED_FOLD and part is None:
            for k in range(axis.size):
                there = stage_with(stage, {axis: Index((), k)}, {})
                states = [self.points([p], there, mine) for p, mine in zip(places, states)]
            return states
        for p in places:
            p.hoist(stage.roots, {axis, *rest})
        if not rest and part is None and any(self.crossing(stage, axis, places[0])):
            return [self.turned_fold(p, stage, mine, axis) for p, mine in zip(places, states)]
        depth = 1 if rest else stage.joins
        n = max(1, CHAINS // len(places) // depth) if not rest and len(places) < UNROLLED_FOLD and \
            axis.size >= CHAINS * UNROLLED_FOLD else 1
        chains = [states] + [[[self.start(fold, p) for fold in stage.folds] for p in places] for _ in range(n - 1)]
        whole = b.sub(hi, b.rem(b.sub(hi, lo), b.const(n * depth, I64)))
        chains = self.fold_chains(places, stage, chains, axis, rest, lo, whole, depth)
        states = [self.folded_together(stage, mine, p) for p, mine in zip(places, zip(*chains))]
        return self.fold_chains(places, stage, [states], axis, rest, whole, hi)[0] if n * depth > 1 else states

    def fold_chains(self, places, stage: Stage, chains: list, axis: Axis, rest: list[Axis], lo: Value, hi: Value,
                    depth: int = 1) -> list:
        """Neighbouring points (or groups of `depth`) join states of their own, so that few columns do not wait for one
        another's sums."""
        b, n = self.b, len(chains)
        shape = [[len(s) for s in mine] for states in chains for mine in states]
        with b.loop(lo, hi, n * depth, carries=[v for states in chains for mine in states for s in mine for v in s]) as loop:
            flat = regroup(loop.carries, shape)
            new = []
            for k in range(n):
                lines = [[p.inner({axis: b.add(loop.index, k * depth + r)}, p.vector, p.lanes, p.mask) for p in places]
                         for r in range(depth)]
                current = flat[k * len(places):(k + 1) * len(places)]
                new += self.fold_loops(lines[0], stage, current, None, rest) if rest else \
                    [self.points(column, stage, mine) for column, mine in zip(zip(*lines), current)]
            loop.carry(*[v for mine in new for s in mine for v in s])
        results = regroup(loop.results, shape)
        return [results[k * len(places):(k + 1) * len(places)] for k in range(n)]

    def folded_together(self, stage: Stage, chains: Sequence, p: Position) -> list:
        """The states of one place's chains as one, in a fixed order."""
        total, *others = chains
        for other in others:
            total = [self.combined(fold, mine, more, p) for fold, mine, more in zip(stage.folds, total, other)]
        return total

    def crossing(self, stage: Stage, axis: Axis, p: Position) -> tuple[list[Expr], list[Store]]:
        """The loads and stores of a stage that go in squares: of rows along the folded axis, in whole vectors of rows."""
        if p.is_partial or not 1 < p.lanes <= axis.size:
            return [], []
        seen: dict = {}
        loads = {e: None for root in stage.roots for e in loads_of(root, seen)}
        return [e for e in loads if e not in p.values and turns(e, axis, p.vector)], \
            [s for s in stage.stores if s.var not in self.kernel.scratch and
             lies_across(s.offset, s.var.type.dtype, axis, p.vector)]

    def turned_fold(self, p: Position, stage: Stage, states, axis: Axis):
        """A short folded axis, a square at a time; the last square ends with the axis, and begins inside of the one before."""
        b, lanes, n = self.b, p.lanes, axis.size
        shape = [[len(s) for s in states]]
        with b.loop(0, n - n % lanes, lanes, carries=[v for s in states for v in s]) as loop:
            [mine] = regroup(loop.carries, shape)
            loop.carry(*[v for s in self.turned_square(p, stage, mine, axis, loop.index) for v in s])
        [states] = regroup(loop.results, shape)
        if n % lanes:
            states = self.turned_square(p, stage, states, axis, b.const(n - lanes, I64), lanes - n % lanes)
        return states

    def turned_square(self, p: Position, stage: Stage, states, axis: Axis, first: Value, done: int = 0):
        """Of a square, the columns from `done` on are folded, and all are stored."""
        b, lanes, top = self.b, p.lanes, p.axes[p.vector]
        loads, stores = self.crossing(stage, axis, p)
        corner = p.inner({p.vector: top, axis: first})
        squares = self.squares_of(loads, corner, p.vector, lanes)
        kept = {s: Square(b, s.expr.dtype, lanes, self.is_long) for s in stores}
        folding = Stage([s for s in stage.stores if s not in stores], stage.folds)
        shape = [[len(s) for s in states]]

        def column(k: Value, carries: list, to_fold: Stage) -> list:
            point = p.inner({axis: b.add(first, k)}, p.vector, lanes)
            point.values.own |= {e: square[k] for e, square in squares.items()}
            for s, square in kept.items():
                square[k] = b.splat(point.value(s.expr), lanes)
            [mine] = regroup(carries, shape if to_fold.folds else [[]])
            return [v for s in self.points([point], to_fold, mine) for v in s]
        flat = [v for s in states for v in s]
        if done and kept:
            each_line(b, range(done), self.is_long, [], lambda k, _: column(k, [], Stage([], [])))
        flat = each_line(b, range(done, lanes), self.is_long, flat, lambda k, carries: column(k, carries, folding))
        for s, square in kept.items():
            square.write(corner.place(s.var, s.offset, s.expr.dtype), s.offset.coefficient(p.vector))
        return regroup(flat, shape)[0]

    def bounds(self, axis: Axis, part: Value | None):
        b, plan = self.b, self.plan
        if part is None:
            return b.const(0, I64), b.const(axis.size, I64)
        lo = b.mul(part, plan.chunk)
        return lo, b.min(b.add(lo, plan.chunk), b.const(axis.size, I64))

    def points(self, places: Sequence[Position], stage: Stage, states):
        """Points of one row: values to store, elements to fold into its states, all at once."""
        for p in places:
            self.store_all(p, stage.stores)
        return [self.joined(fold, mine, [[p.value(e) for e in fold.states] for p in places])
                for fold, mine in zip(stage.folds, states)]

    def joined(self, fold: Fold, states, elements: Sequence[Sequence]) -> list:
        b = self.b
        splat = lambda values: tuple(b.splat(x, s.lanes) for x, s in zip(values, states))
        return list(splat(fold.op.join(b, tuple(states), [splat(x) for x in elements])))

    def store_all(self, p: Position, stores: Sequence[Store]) -> None:
        """All values are computed before the first is stored: it may take the memory of what another reads."""
        values = {s: p.value(s.expr) for s in stores}
        for group in self.groups(p, stores):
            if len(group) > 1:
                p.store_group(group[0].var, group[0].offset, [values[s] for s in group], group[0].var.type.dtype)
            else:
                [s] = group
                p.store(s.var, s.offset, values[s], s.var.type.dtype, self.plan.streams and s.var not in self.kernel.scratch)

    def groups(self, p: Position, stores: Sequence[Store]) -> list[list[Store]]:
        """Stores to neighbouring places in each lane together, if they leave no gap between lanes."""
        out: list[list[Store]] = []
        for s in stores:
            stride = p.stride(s.offset) if p.lanes > 1 and not p.is_partial and p.is_vector(s.offset) else 1
            group = out[-1] if out else []
            if stride in NEIGHBOURS and 0 < len(group) < stride and group[0].var is s.var and \
                    s.offset == group[0].offset + len(group):
                group.append(s)
            else:
                out.append([s])
        complete = lambda group: len(group) == p.stride(group[0].offset) and \
            place_in_group(group[0].var, group[0].offset, p.vector, group[0].var.type.dtype) is not None
        return [part for group in out for part in ([group] if len(group) == 1 or complete(group) else [[s] for s in group])]

    def combined(self, fold: Fold, states, element, p: Position, mask: Value | None = None):
        b = self.b
        element = [b.splat(x, s.lanes) for x, s in zip(element, states)]
        new = [b.splat(x, s.lanes) for x, s in zip(fold.op.combine(b, tuple(states), tuple(element)), states)]
        return [b.select(mask, x, s) for x, s in zip(new, states)] if mask is not None else new

    def finish_rows(self, p: Position, stage: Stage, states) -> None:
        """Reduced values become known to the row; what is computed once per row is stored."""
        for fold, mine in zip(stage.folds, states):
            p.values[Expr(ROW, (), fold.var, fold.var.type.dtype)] = fold.op.finish(self.b, tuple(mine))
        self.store_all(p, stage.row_stores)

    # --- folds cut into parts

    def store_part(self, p: Position, stage: Stage, states, part: Value) -> None:
        """parts[part * rows + row] = states."""
        b = self.b
        at = b.add(b.mul(part, row_count(self.kernel)), self.row_number(p))
        for (_, _, offset, dtype), value in zip(partial_layout(self.plan), [v for s in states for v in s]):
            b.store(b.splat(value, p.lanes), b.gep(b.gep(self.parts, offset), at, dtype), mask=p.mask)

    def row_number(self, p: Position) -> Value:
        b, row = self.b, self.b.const(0, I64)
        for axis in self.kernel.row_axes:
            row = b.add(b.mul(row, axis.size), p.axes[axis])
        return row


def regroup(flat: Sequence, shape: list[list[int]]) -> list[list[list]]:
    values = iter(flat)
    return [[[next(values) for _ in range(n)] for n in mine] for mine in shape]


def emit_kernel(module: Module, name: str, plan: Schedule, buffers: Sequence[Any]) -> None:
    KernelEmitter(module, name, plan, buffers).emit()

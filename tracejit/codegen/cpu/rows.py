"""A scheduled kernel whose vectors lie along its rows -> an LLVM function: each unit of work is one row, whose lanes are folded
together at its end.

Folds over the rows, in passing, have states of their own in each task; they are combined as the parts of columns are.
"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from tracejit.codegen.cpu.builder import Module, Value
from tracejit.codegen.cpu.expressions import I64, Position
from tracejit.codegen.cpu.kernel import KernelEmitter, partial_layout, regroup, row_count, state_dtypes
from tracejit.codegen.kernels import Fold, Stage
from tracejit.codegen.schedule import Schedule, columns_of
from tracejit.ir.loops import Axis, Expr, loads_of
from tracejit.lax.kinds import pairwise


class RowEmitter(KernelEmitter):
    def top(self) -> Position:
        self.column_states = self.start_columns(columns_of(self.plan)) if self.kernel.column_folds else {}
        return super().top()

    def work(self, here: Position, block: Value | None, part: Value | None) -> None:
        self.row(here, part)

    def row(self, here: Position, part: Value | None) -> None:
        self.hoist(here, set(self.kernel.fold_axes))
        for stage in self.kernel.stages:
            states = [self.start(fold, here) for fold in stage.folds]
            if self.kernel.fold_axes:
                here.hoist(stage.roots, {*self.kernel.fold_axes})
                states = self.row_loops(here, stage, states, part, self.kernel.fold_axes)
            elif stage.folds or stage.stores:
                states = self.points([here], stage, states)
            if part is not None:
                self.store_part(here, stage, states, part)
            else:
                self.finish_rows(here, stage, states)

    def row_loops(self, here: Position, stage: Stage, states, part, axes: list[Axis]):
        b = self.b
        axis, *rest = axes
        lo, hi = self.bounds(axis, part)
        if rest:
            shape = [len(s) for s in states]
            with b.loop(lo, hi, carries=[v for s in states for v in s]) as loop:
                inner = here.inner({axis: loop.index})
                new = self.row_loops(inner, stage, regroup([*loop.carries], [shape])[0], None, rest)
                loop.carry(*[v for s in new for v in s])
            return regroup(loop.results, [shape])[0]
        return self.vector_loop(here, stage, states, axis, lo, hi)

    def vector_loop(self, here: Position, stage: Stage, states, axis: Axis, lo: Value, hi: Value):
        """The innermost folded axis in vectors: `unroll` accumulators, then the rest, then lanes together."""
        b, plan = self.b, self.plan
        lanes, unroll, depth = plan.lanes, plan.unroll, stage.joins
        step = lanes * unroll * depth
        here.hoist(stage.roots, {axis})
        whole = axis.size % step == 0 and (not plan.chunk or plan.chunk % step == 0)
        stop = hi if whole else b.sub(hi, b.rem(b.sub(hi, lo), b.const(step, I64)))
        neutral = [[b.splat(s, lanes) for s in fold.op.init(b, fold.types)] for fold in stage.folds]
        wide = [neutral for _ in range(unroll)]
        shape = [[len(s) for s in neutral] for _ in range(unroll)]
        flat = lambda groups: [v for mine in groups for s in mine for v in s]
        with b.loop(lo, stop, step, carries=flat(wide)) as loop:
            places = [here.inner({axis: b.add(loop.index, k * lanes)}, axis, lanes) for k in range(unroll * depth)]
            new = [self.points(places[u * depth:(u + 1) * depth], stage, mine)
                   for u, mine in enumerate(regroup(loop.carries, shape))]
            for e in self.read_first_before(stage):
                for p in places:
                    p.ask_for(e, self.kernel.row_axes[-1])
            loop.carry(*flat(new))
        wide = regroup(loop.results, shape)
        if not whole:
            with b.loop(stop, hi, lanes, carries=flat(wide[:1])) as loop:
                mask = b.lane_mask(b.sub(hi, loop.index), lanes) if lanes > 1 else None
                p = here.inner({axis: loop.index}, axis, lanes, mask)
                [mine] = regroup(loop.carries, shape[:1])
                loop.carry(*flat([self.masked_point(p, stage, mine, mask)]))
            wide[0] = regroup(loop.results, shape[:1])[0]
        return [self.together(fold, mine, [w[k] for w in wide]) for k, (fold, mine) in enumerate(zip(stage.folds, states))]

    def read_first_before(self, stage: Stage) -> list[Expr]:
        """What the stage before was the first to read of a row: now of the next row, it is asked for from memory, which
        would have nothing to do until then."""
        stages = self.kernel.stages[:self.kernel.stages.index(stage)]
        if not stages or not self.kernel.row_axes:
            return []
        *earlier, before = [{e: None for root in s.roots for e in loads_of(root)} for s in stages]
        return [e for e in before if not any(e in loads for loads in earlier) and e.data[0] in self.kernel.inputs]

    def masked_point(self, p: Position, stage: Stage, states, mask):
        self.store_all(p, stage.stores)
        self.fold_columns([p], stage)
        return [self.combined(fold, mine, [p.value(e) for e in fold.states], p, mask)
                for fold, mine in zip(stage.folds, states)]

    def together(self, fold: Fold, states, wide):
        """Accumulators and then lanes, pairwise in a fixed tree, then with what was there before."""
        b, op = self.b, fold.op
        x = pairwise(partial(op.combine, b), [tuple(w) for w in wide])
        while x[0].lanes > 1:
            halves = [b.split(s, s.lanes // 2) for s in x]
            x = list(op.combine(b, tuple(h[0] for h in halves), tuple(h[1] for h in halves)))
        return list(op.combine(b, tuple(states), tuple(x)))

    # --- folds over the rows, in passing

    def start_columns(self, columns: Schedule) -> dict[Any, list[Value]]:
        """Make this task's states of each column those of no rows. Returns where they are, for each fold."""
        b, n, lanes = self.b, row_count(columns.kernel), columns.lanes
        found: dict[Any, list[Value]] = {}
        for fold, k, offset, dtype in partial_layout(columns):
            base = b.gep(b.gep(self.parts, offset), b.mul(b.params[1], n), dtype)
            found.setdefault(fold.var, []).append(base)
            fresh = b.splat(fold.op.init(b, fold.types)[k], lanes)
            with b.loop(0, n - n % lanes, lanes) as loop:
                b.store(fresh, b.gep(base, loop.index, dtype))
            if n % lanes:
                b.store(fresh, b.gep(base, n - n % lanes, dtype), mask=b.lane_mask(b.const(n % lanes, I64), lanes))
        return found

    def points(self, places: Sequence[Position], stage: Stage, states):
        self.fold_columns(places, stage)
        return super().points(places, stage, states)

    def fold_columns(self, places: Sequence[Position], stage: Stage) -> None:
        """Points of a row join the states of their columns, in memory."""
        for p, (fold, s) in itertools.product(places, zip(stage.column_folds, stage.column_stores)):
            dtypes = state_dtypes(fold)
            memory = [p.address(base, s.offset, dtype) for base, dtype in zip(self.column_states[fold.var], dtypes)]
            states = [self.b.load(dtype, at, p.lanes, mask=p.mask) for at, dtype in zip(memory, dtypes)]
            for at, new in zip(memory, self.joined(fold, states, [[p.value(e) for e in fold.states]])):
                self.b.store(new, at, mask=p.mask)


def emit_rows(module: Module, name: str, plan: Schedule, buffers: Sequence[Any]) -> None:
    RowEmitter(module, name, plan, buffers).emit()

"""A scheduled fold of columns -> an LLVM function that passes over a wide strip of them row by row, as memory lies.

The states of the strip's columns are in memory, in the first-level cache.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.codegen.cpu.builder import Module, Value
from tracejit.codegen.cpu.expressions import I64, Position
from tracejit.codegen.cpu.kernel import KernelEmitter, regroup, state_dtypes
from tracejit.codegen.kernels import Stage
from tracejit.ir.loops import Axis

ROWS = 4        # at least that many rows per visit of a column's states


class StripEmitter(KernelEmitter):
    def block(self, here: Position, first: Value, last: Value, part: Value | None) -> None:
        [stage] = self.kernel.stages
        states = [self.array(dtype) for fold in stage.folds for dtype in state_dtypes(fold)]
        sweep = lambda visit: self.visit_vectors([here], first, last, lambda places: visit(places[0]))
        sweep(lambda p: self.save(p, first, states, self.fresh_states(p, stage)))
        self.rows(here, first, last, stage, states, self.kernel.fold_axes, part)
        if part is not None:
            sweep(lambda p: self.store_part(p, stage, self.states(states, p, first, stage), part))
        else:
            sweep(lambda p: self.finish_rows(p, stage, self.states(states, p, first, stage)))

    def array(self, dtype) -> Value:
        return self.b.alloca((self.plan.block + self.plan.lanes) * dtype.itemsize)

    def visit_vectors(self, lines: list[Position], first: Value, last: Value, visit: Callable) -> None:
        """visit(positions, one per line) for each vector of columns, the last one masked."""
        b, plan = self.b, self.plan
        whole = plan.vector.size % plan.lanes == 0
        stop = last if whole else b.sub(last, b.rem(b.sub(last, first), b.const(plan.lanes, I64)))

        def at(index: Value, mask: Value | None) -> None:
            visit([line.inner({plan.vector: index}, plan.vector, plan.lanes, mask) for line in lines])
        with b.loop(first, stop, plan.lanes) as loop:
            at(loop.index, None)
        if not whole:
            b.when(b.lt(stop, last), lambda: at(stop, b.lane_mask(b.sub(last, stop), plan.lanes)))

    def load(self, base: Value, dtype, index: Value, first: Value):
        return self.b.load(dtype, self.b.gep(base, self.b.sub(index, first), dtype), self.plan.lanes)

    def save(self, p: Position, first: Value, arrays: Sequence[Value], values: Sequence[Any]) -> None:
        b, at = self.b, self.b.sub(p.axes[self.plan.vector], first)
        for base, value in zip(arrays, values, strict=True):
            b.store(b.splat(value, self.plan.lanes), b.gep(base, at, value.dtype))

    def fresh_states(self, p: Position, stage: Stage) -> list:
        return [s for fold in stage.folds for s in self.start(fold, p)]

    def rows(self, here: Position, first: Value, last: Value, stage: Stage, states, axes: list[Axis],
             part: Value | None = None) -> None:
        """The loops over the folded axes; in the innermost, a few rows at a time."""
        b, n = self.b, max(ROWS, stage.joins)
        axis, *rest = axes
        begin, end = self.bounds(axis, part)
        if rest:
            with b.loop(begin, end) as loop:
                self.rows(here.inner({axis: loop.index}), first, last, stage, states, rest)
            return
        most = b.sub(end, b.rem(b.sub(end, begin), b.const(n, I64)))
        leaves_none = axis.size % n == 0 and (part is None or self.plan.chunk % n == 0)
        for lo, hi, step in ((begin, most, n), (most, end, 1))[:1 if leaves_none else 2]:
            with b.loop(lo, hi, step) as loop:
                lines = [here.inner({axis: b.add(loop.index, r)}) for r in range(step)]
                self.visit_vectors(lines, first, last, lambda places: self.join(places, first, stage, states))

    def join(self, places: list[Position], first: Value, stage: Stage, arrays: Sequence[Value]) -> None:
        """Fold some rows of one vector of columns into its states."""
        mine = self.points(places, stage, self.states(arrays, places[0], first, stage))
        self.save(places[0], first, arrays, [s for fold in mine for s in fold])

    def states(self, arrays: Sequence[Value], p: Position, first: Value, stage: Stage) -> list[list]:
        """The states of one vector of columns."""
        index, dtypes = p.axes[self.plan.vector], [state_dtypes(fold) for fold in stage.folds]
        flat = [dtype for mine in dtypes for dtype in mine]
        loaded = [self.load(base, dtype, index, first) for base, dtype in zip(arrays, flat)]
        return regroup(loaded, [[len(mine) for mine in dtypes]])[0]


def emit_strips(module: Module, name: str, plan, buffers: Sequence[Any]) -> None:
    StripEmitter(module, name, plan, buffers).emit()

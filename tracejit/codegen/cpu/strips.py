"""A scheduled fold of columns -> an LLVM function that passes over a wide strip of them row by row, as memory lies.

The states of the strip's columns are in memory (in the first-level cache), and so is what later stages
know of each column.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.codegen.cpu.builder import Module, Value
from tracejit.codegen.cpu.expressions import I64, Position
from tracejit.codegen.cpu.kernel import KernelEmitter, regroup, state_dtypes
from tracejit.codegen.kernels import Stage
from tracejit.ir.loops import CONST, ROW, Axis, Expr, children

ROWS = 4        # at least that many rows per visit of a column's states


class StripEmitter(KernelEmitter):
    def block(self, here: Position, first: Value, last: Value, part: Value | None) -> None:
        known: dict[Expr, Value] = {}       # what is the same in a column: where its values for the strip are
        for k, stage in enumerate(self.kernel.stages):
            states = [self.array(dtype) for fold in stage.folds for dtype in state_dtypes(fold)]
            self.sweep(here, first, last, known, lambda p: self.save(p, first, states, self.fresh_states(p, stage)))
            self.rows(here, first, last, stage, known, states, self.kernel.fold_axes, part)
            if part is not None:
                store = lambda p: self.store_part(p, stage, self.states(states, p, first, stage), part)
                self.sweep(here, first, last, known, store)
                return
            wanted = {e: self.array(e.dtype) for later in self.kernel.stages[k + 1:] for e in self.of_columns(later)
                      if e not in known}
            self.sweep(here, first, last, known, lambda p: self.finish(p, first, stage, states, wanted))
            known |= wanted

    def array(self, dtype) -> Value:
        return self.b.alloca((self.plan.block + self.plan.lanes) * dtype.itemsize)

    def sweep(self, here: Position, first: Value, last: Value, known: dict[Expr, Value], visit: Callable) -> None:
        """visit(position) for each vector of the strip's columns."""
        self.visit_vectors([here], first, last, known, lambda places: visit(places[0]))

    def visit_vectors(self, lines: list[Position], first: Value, last: Value, known: dict[Expr, Value], visit: Callable) -> None:
        """visit(positions, one per line) for each vector of columns, the last one masked."""
        b, plan = self.b, self.plan
        whole = plan.vector.size % plan.lanes == 0
        stop = last if whole else b.sub(last, b.rem(b.sub(last, first), b.const(plan.lanes, I64)))

        def at(index: Value, mask: Value | None) -> None:
            places = [line.inner({plan.vector: index}, plan.vector, plan.lanes, mask) for line in lines]
            for e, base in known.items():
                value = self.load(base, e.dtype, index, first)
                for p in places:
                    p.values[e] = value
            visit(places)
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

    def rows(self, here: Position, first: Value, last: Value, stage: Stage, known, states, axes: list[Axis],
             part: Value | None = None) -> None:
        """The loops over the folded axes; in the innermost, a few rows at a time."""
        b, n = self.b, max(ROWS, stage.joins)
        axis, *rest = axes
        begin, end = self.bounds(axis, part)
        if rest:
            with b.loop(begin, end) as loop:
                self.rows(here.inner({axis: loop.index}), first, last, stage, known, states, rest)
            return
        most = b.sub(end, b.rem(b.sub(end, begin), b.const(n, I64)))
        leaves_none = axis.size % n == 0 and (part is None or self.plan.chunk % n == 0)
        for lo, hi, step in ((begin, most, n), (most, end, 1))[:1 if leaves_none else 2]:
            with b.loop(lo, hi, step) as loop:
                lines = [here.inner({axis: b.add(loop.index, r)}) for r in range(step)]
                self.visit_vectors(lines, first, last, known, lambda places: self.join(places, first, stage, states))

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

    def finish(self, p: Position, first: Value, stage: Stage, arrays: Sequence[Value], wanted: dict[Expr, Value]) -> None:
        self.finish_rows(p, stage, self.states(arrays, p, first, stage))
        self.save(p, first, list(wanted.values()), [p.value(e) for e in wanted])

    def of_columns(self, stage: Stage) -> list[Expr]:
        """The largest expressions in a stage that are the same in a column and known only after a fold."""
        inside, found, seen = set(self.kernel.fold_axes), {}, set()
        stack = stage.roots + [s.expr for s in stage.row_stores]
        while stack:
            e = stack.pop()
            if e in seen or e.kind == CONST:
                continue
            seen.add(e)
            depends = self.depends(e)
            if ROW not in depends:
                continue
            if depends & inside or self.is_later(e, stage):
                stack += children(e)
            else:
                found[e] = None
        return list(found)

    def is_later(self, e: Expr, stage: Stage) -> bool:
        """Whether an expression needs what this stage or a later one folds."""
        k = self.kernel.stages.index(stage)
        later = {fold.var for s in self.kernel.stages[k:] for fold in s.folds}
        stack, seen = [e], set()
        while stack:
            x = stack.pop()
            if x.kind == ROW and x.data in later:
                return True
            if x not in seen:
                seen.add(x)
                stack += children(x)
        return False


def emit_strips(module: Module, name: str, plan, buffers: Sequence[Any]) -> None:
    StripEmitter(module, name, plan, buffers).emit()

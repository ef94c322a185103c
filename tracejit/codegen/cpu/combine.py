"""The parts of folds that were cut -> an LLVM function that folds them together, in their order."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cpu.builder import Module
from tracejit.codegen.cpu.expressions import I64, Position
from tracejit.codegen.cpu.kernel import KernelEmitter, partial_layout, regroup, row_count
from tracejit.codegen.schedule import Schedule


class CombineEmitter(KernelEmitter):
    """Folds the parts of each row and stores what is computed per row."""

    def emit(self) -> None:
        b, plan = self.b, self.plan
        with b.loop(0, math.prod(a.size for a in plan.outer)) as loop:
            here = self.top().inner(self.outer_point(loop.index))
            if plan.along:
                self.combine(here)
            else:
                self.vectors(here)
        b.ret()
        b.finish()

    def vectors(self, here: Position) -> None:
        b, plan = self.b, self.plan
        axis, lanes = plan.vector, plan.lanes
        whole = axis.size - axis.size % lanes
        with b.loop(0, whole, lanes) as loop:
            self.combine(here.inner({axis: loop.index}, axis, lanes))
        if whole < axis.size:
            mask = b.lane_mask(b.const(axis.size - whole, I64), lanes)
            self.combine(here.inner({axis: b.const(whole, I64)}, axis, lanes, mask))

    def combine(self, p: Position) -> None:
        b, plan, layout = self.b, self.plan, partial_layout(self.plan)
        [stage] = plan.kernel.stages
        states = [self.start(fold, p) for fold in stage.folds]
        shape, row = [[len(s) for s in states]], self.row_number(p)
        with b.loop(0, plan.n_parts, carries=[v for s in states for v in s]) as loop:
            at = b.add(b.mul(loop.index, row_count(plan.kernel)), row)
            found = [b.load(dtype, b.gep(b.gep(self.parts, offset), at, dtype), p.lanes, mask=p.mask)
                     for _, _, offset, dtype in layout]
            [mine], [new] = regroup(loop.carries, shape), regroup(found, shape)
            loop.carry(*[v for fold, x, y in zip(stage.folds, mine, new) for v in self.combined(fold, x, y, p)])
        self.finish_rows(p, stage, regroup(loop.results, shape)[0])


def emit_combine(module: Module, name: str, plan: Schedule, buffers: Sequence[Any]) -> None:
    CombineEmitter(module, name, plan, buffers).emit()

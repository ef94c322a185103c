"""A Kernel that folds across memory (columns) -> Numba-CUDA source with 32 neighbouring rows of results per block.

Thread (y, x) of a block folds every `height`-th element of column x from y on; then the threads of a column fold
together in shared memory, in a fixed tree, and go on to the next stage.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cpu.value import BOOL, AnyValue, Value
from tracejit.codegen.cuda.expressions import I32, I64, Point, divided, point_of
from tracejit.codegen.cuda.general import KernelEmitter, regrouped
from tracejit.codegen.cuda.groups import WARP, held, like, parts_of
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.kernels import Kernel, Stage

MOST_SHARED = 40_000    # bytes for the states of a block


def height_of(kernel: Kernel) -> int:
    """Threads per column: as many as there is work for, and shared memory for their states."""
    n = math.prod(a.size for a in kernel.fold_axes)
    state = sum(e.dtype.itemsize for stage in kernel.stages for f in stage.folds for e in f.states)
    height = 1
    while height < 32 and 4 * height <= n and 2 * height * WARP * state <= MOST_SHARED:
        height *= 2
    return height


class ColumnEmitter(KernelEmitter):
    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any]):
        super().__init__(name, kernel, buffers)
        self.height = height_of(kernel)
        self.threads = self.height * WARP

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.rows // WARP),)

    def emit(self) -> None:
        b = self.b
        self.y, self.x = divided(b, b.pure("cuda.threadIdx.x", I32), WARP)
        row = b.add(b.mul(b.pure("cuda.blockIdx.x", I32), WARP), self.x)
        self.active = b.lt(row, self.rows)
        row = b.min(row, b.const(self.rows - 1, row.dtype))     # the last block's idle threads wait at the barriers too
        here = Point(b, self.bases, self.depends, point_of(b, row, self.kernel.row_axes))
        for stage in self.kernel.stages:
            states = self.passed(here, stage)
            if stage.folds:
                states = self.folded(stage, states)
            for fold, mine in zip(stage.folds, states):
                self.know(here, fold, mine)
            if stage.row_stores:
                values = [here.value(s.expr) for s in stage.row_stores]
                first = b.and_(self.active, b.eq(self.y, 0))
                b.when(first, lambda stage=stage, values=values: [here.store(s.var, s.offset, v, s.var.type.dtype)
                                                                  for s, v in zip(stage.row_stores, values)])

    def passed(self, here: Point, stage: Stage) -> list[list[AnyValue]]:
        """This thread's share of the column."""
        b, axes = self.b, self.kernel.fold_axes
        n = math.prod(a.size for a in axes)
        here.hoist(stage.roots, set(axes))
        start = [v for s in self.start(stage) for v in s]
        kind = I32 if n < 2**31 else I64
        with b.loop(b.convert(self.y, kind), b.const(n, kind), b.const(self.height, kind), carries=start) as loop:
            p = here.inner(point_of(b, loop.index, axes))
            values = [p.value(s.expr) for s in stage.stores]
            new = self.joined(stage, regrouped(loop.carries, self.sizes(stage)), self.element(p, stage.folds))
            if stage.stores:
                b.when(self.active, lambda: [p.store(s.var, s.offset, v, s.var.type.dtype) for s, v in zip(stage.stores, values)])
            loop.carry(*[v for mine in new for v in mine])
        return regrouped(loop.results, self.sizes(stage))

    def folded(self, stage: Stage, states: list[list[AnyValue]]) -> list[list[AnyValue]]:
        """The fold of all of a column's threads, in each of them."""
        if self.height == 1:
            return states
        b, mine = self.b, [v for s in states for v in s]
        parts = parts_of(mine)
        arrays = [b.impure(f"cuda.shared.array({self.threads}, {memory_word(x.dtype)})", x.dtype) for x in parts]
        self.keep(arrays, parts)
        b.effect("cuda.syncthreads()")
        half = self.height // 2
        while half:
            with b.block(f"if {self.y.name} < {half}:"):
                own, other = (regrouped(like(mine, self.kept(arrays, shift)), self.sizes(stage)) for shift in (0, half))
                self.keep(arrays, parts_of([v for s in self.joined(stage, own, other) for v in s]))
            b.effect("cuda.syncthreads()")
            half //= 2
        total = [held(b, f"{a.name}[{self.x.name}]", a.dtype) for a in arrays]
        return regrouped(like(mine, total), self.sizes(stage))

    def keep(self, arrays: Sequence[Value], parts: Sequence[Value]) -> None:
        at = self.b.pure("cuda.threadIdx.x", I32)
        for array, x in zip(arrays, parts):
            self.b.effect(f"{array.name}[{at.name}] = {f'u1({x.name})' if x.dtype == BOOL else x.name}")

    def kept(self, arrays: Sequence[Value], shift: int) -> list[Value]:
        at = self.b.pure("cuda.threadIdx.x", I32)
        return [held(self.b, f"{a.name}[{self.b.add(at, shift * WARP).name}]", a.dtype) for a in arrays]

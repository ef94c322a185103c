"""Folds cut into parts: first each part, then for each row its parts, both in a fixed tree. Two launches, always the same bits.

Part p of row r keeps state s at scratch[s][p * rows + r].
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cuda.expressions import Point, divided, index_dtype, point_of
from tracejit.codegen.cuda.general import GeneralEmitter, KernelEmitter, global_thread, regrouped
from tracejit.codegen.cuda.groups import WARP, fold_group
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.lower import aligned
from tracejit.ir.loops import Index

BUSY = 1 << 17          # threads that keep a large GPU busy
SHORTEST = 16           # elements that a part is worth
FEW_PARTS = 16          # folded by one thread
MANY_ROWS = 1024        # whose parts are each folded by one thread: neighbours then read neighbours


def part_dtypes(kernel: Kernel) -> list[np.dtype]:
    return [e.dtype for fold in kernel.stages[0].folds for e in fold.states]


def part_offsets(kernel: Kernel, n_parts: int) -> list[int]:
    """Where the parts of each state begin in scratch memory, and where all end."""
    rows, offsets = math.prod(a.size for a in kernel.row_axes), [0]
    for dtype in part_dtypes(kernel):
        offsets.append(offsets[-1] + aligned(rows * n_parts * dtype.itemsize))
    return offsets


class PartEmitter(GeneralEmitter):
    """One thread per part of a row; neighbouring threads take neighbouring rows."""

    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any], chunk: int):
        self.chunk, self.n_parts = chunk, -(-kernel.fold_axes[0].size // chunk)
        super().__init__(name, kernel, buffers)

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.rows * self.n_parts // self.threads),)

    def emit(self) -> None:
        t = global_thread(self.b, self.rows * self.n_parts)
        self.part, self.row = divided(self.b, t, self.rows)
        here = Point(self.b, self.bases, self.depends, point_of(self.b, self.row, self.kernel.row_axes))
        [stage] = self.kernel.stages
        self.store_part(stage, self.fold(here, stage, self.start(stage), self.kernel.fold_axes))

    def bounds(self, axis):
        if axis is not self.kernel.fold_axes[0]:
            return super().bounds(axis)
        b, kind = self.b, index_dtype(Index({axis: 1}))
        low = b.mul(b.convert(self.part, kind), self.chunk)
        return low, b.min(b.add(low, self.chunk), b.const(axis.size, kind))


class CombineEmitter(KernelEmitter):
    """Folds the parts of each row and stores what is computed per row: a thread for few parts, a warp for many."""

    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any], n_parts: int):
        self.n_parts, self.chunk = n_parts, 1
        super().__init__(name, kernel, buffers)
        self.group = 1 if n_parts <= FEW_PARTS or self.rows >= MANY_ROWS else WARP

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.rows * self.group // self.threads),)

    def emit(self) -> None:
        b, [stage] = self.b, self.kernel.stages
        t = global_thread(b, self.rows * self.group)
        row, thread = divided(b, t, self.group) if self.group > 1 else (t, b.const(0, t.dtype))
        here = Point(b, self.bases, self.depends, point_of(b, row, self.kernel.row_axes))
        start = [v for s in self.start(stage) for v in s]
        combine = lambda x, y: [v for s in self.joined(stage, *(regrouped(z, self.sizes(stage)) for z in (x, y))) for v in s]
        with b.loop(thread, b.const(self.n_parts, t.dtype), b.const(self.group, t.dtype), carries=start) as loop:
            at = b.add(b.mul(b.wide(loop.index), self.rows), b.wide(row))
            found = [b.load(dtype, b.gep(base, at)) for base, dtype in zip(self.scratch, self.part_dtypes)]
            loop.carry(*combine(loop.carries, found))
        states = fold_group(b, thread, loop.results, combine, self.group) if self.group > 1 else loop.results
        if self.group == 1:
            return self.finish_rows(here, stage, regrouped(states, self.sizes(stage)))
        for fold, mine in zip(stage.folds, regrouped(states, self.sizes(stage))):
            self.know(here, fold, mine)
        values = [here.value(s.expr) for s in stage.row_stores]
        with b.block(f"if {thread.name} == 0:"):
            for s, value in zip(stage.row_stores, values):
                here.store(s.var, s.offset, value, s.var.type.dtype)


def chunk_of_rows(kernel: Kernel) -> int:
    """Elements per part of few long contiguous rows; 0: they are not cut."""
    rows, n = math.prod(a.size for a in kernel.row_axes), kernel.fold_axes[0].size
    parts = min(n // 8192, -(-512 // rows)) if rows else 0
    if len(kernel.stages) > 1 or parts < 2:
        return 0
    return -(-n // parts // 4096) * 4096


def chunk_of_columns(kernel: Kernel) -> int:
    """Elements of the first folded axis per part, where too few threads would have a row each; 0: rows are not cut."""
    if len(kernel.stages) > 1 or not kernel.fold_axes:
        return 0
    rows, n = math.prod(a.size for a in kernel.row_axes), kernel.fold_axes[0].size
    rest = math.prod(a.size for a in kernel.fold_axes[1:])
    parts = min(-(-BUSY // max(rows, 1)), n * rest // SHORTEST, n, 64)
    return -(-n // parts) if parts > 1 else 0


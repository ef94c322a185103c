"""Any Kernel -> Numba-CUDA source with one thread per row, which folds by itself: right for every shape, the fastest for few."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


from tracejit.codegen.cpu.value import PTR, Value
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.expressions import I32, I64, Point, index_dtype, point_of
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.codegen.kernels import Fold, Kernel, Stage, Store
from tracejit.ir.loops import ROW, Axis, Dependence, Expr, Index

THREADS = 256


def global_thread(b: Builder, n: int, threads: int = THREADS) -> Value:
    """The number of this thread among all; the threads from n on leave."""
    kind = I32 if n + threads < 2**31 else I64
    block, thread = b.pure("cuda.blockIdx.x", I32), b.pure("cuda.threadIdx.x", I32)
    t = b.add(b.mul(b.convert(block, kind), threads), b.convert(thread, kind))
    b.effect(f"if {t.name} >= {n}: return")
    return t


class KernelEmitter:
    """What all schedules share: the builder, the buffers' pointers, and how points are computed and stored."""
    threads = THREADS
    needs_alignment = False     # of all buffers, to 16 bytes

    chunk = 0                   # elements of a part, where folds are cut into parts: see parts.py

    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any]):
        self.kernel, self.buffers = kernel, buffers
        self.part_dtypes = [e.dtype for fold in kernel.stages[0].folds for e in fold.states] if self.chunk else []
        self.b = Builder(name, [(f"p{k}", PTR) for k in range(len(buffers) + len(self.part_dtypes))])
        self.bases = dict(zip(buffers, self.b.params))
        self.scratch = self.b.params[len(buffers):]
        self.depends = Dependence(kernel.passed_on)

    def source(self) -> KernelSource:
        self.emit()
        b = self.b
        signature = tuple(f"*{memory_word(d)}" for d in [*[v.type.dtype for v in self.buffers], *self.part_dtypes])
        return KernelSource(b.name, b.text(), signature, self.threads, functions=tuple(f.text for f in b.functions.values()))

    def emit(self) -> None:
        raise NotImplementedError

    @property
    def rows(self) -> int:
        return math.prod(a.size for a in self.kernel.row_axes)

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.rows // self.threads),)

    def store_all(self, p: Point, stores: Sequence[Store]) -> None:
        """All values are computed before the first is stored: it may take the memory of what another reads."""
        values = [p.value(s.expr) for s in stores]
        for s, value in zip(stores, values):
            p.store(s.var, s.offset, value, s.var.type.dtype)

    def finish_rows(self, p: Point, stage: Stage, states: Sequence[Sequence]) -> None:
        for fold, mine in zip(stage.folds, states):
            self.know(p, fold, mine)
        self.store_all(p, stage.row_stores)

    def know(self, p: Point, fold: Fold, states: Sequence) -> None:
        """The value of a fold is known at its row from now on."""
        p.values[Expr(ROW, (), fold.var, fold.var.type.dtype)] = fold.op.finish(self.b, tuple(states))

    def sizes(self, stage: Stage) -> list[int]:
        """How many states each fold has."""
        return [len(fold.states) for fold in stage.folds]

    def store_part(self, stage: Stage, states: Sequence[Sequence]) -> None:
        """The states of this thread's `part` of its `row`."""
        b = self.b
        at = b.add(b.mul(b.wide(self.part), self.rows), b.wide(self.row))
        for base, value in zip(self.scratch, [v for s in states for v in s]):
            b.store(value, b.gep(base, at))

    def start(self, stage: Stage) -> list[list]:
        return [list(fold.op.init(self.b, fold.types)) for fold in stage.folds]

    def joined(self, stage: Stage, x: Sequence[Sequence], y: Sequence[Sequence]) -> list[list]:
        return [list(fold.op.combine(self.b, tuple(a), tuple(b))) for fold, a, b in zip(stage.folds, x, y)]

    def element(self, p: Point, folds: Sequence[Fold]) -> list[list]:
        return [[p.value(e) for e in fold.states] for fold in folds]


class GeneralEmitter(KernelEmitter):
    """One thread per row."""

    def emit(self) -> None:
        t = global_thread(self.b, self.rows)
        here = Point(self.b, self.bases, self.depends, point_of(self.b, t, self.kernel.row_axes))
        for stage in self.kernel.stages:
            states = self.start(stage)
            if stage.folds or stage.stores:
                states = self.fold(here, stage, states, self.kernel.fold_axes)
            self.finish_rows(here, stage, states)

    def fold(self, p: Point, stage: Stage, states, axes: list[Axis]) -> list[list]:
        if not axes:
            element = self.element(p, stage.folds)
            self.store_all(p, stage.stores)
            return self.joined(stage, states, element)
        axis, *rest = axes
        shape = [len(s) for s in states]
        with self.b.loop(*self.bounds(axis), carries=[v for s in states for v in s]) as loop:
            new = self.fold(p.inner({axis: loop.index}), stage, regrouped(loop.carries, shape), rest)
            loop.carry(*[v for s in new for v in s])
        return regrouped(loop.results, shape)

    def bounds(self, axis: Axis) -> tuple[Value, Value]:
        kind = index_dtype(Index({axis: 1}))
        return self.b.const(0, kind), self.b.const(axis.size, kind)


def regrouped(flat: Sequence, shape: Sequence[int]) -> list[list]:
    values = iter(flat)
    return [[next(values) for _ in range(n)] for n in shape]

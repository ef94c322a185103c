"""A Kernel that folds contiguous rows -> Numba-CUDA source with a warp or a block per row.

A short row stays in registers from stage to stage: softmax reads and writes memory once. Of a longer one each stage
passes over memory again. Few long rows are cut into parts; `parts.py` folds the parts.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracejit.codegen.cpu.value import AnyValue, Value
from tracejit.codegen.cuda.accesses import is_aligned, lanes_for, load_vector, store_vector, vector_loads
from tracejit.codegen.cuda.expressions import I32, Point, divided, index_dtype, point_of
from tracejit.codegen.cuda.general import KernelEmitter, regrouped
from tracejit.codegen.cuda.groups import WARP, fold_group
from tracejit.codegen.kernels import Kernel, Stage
from tracejit.ir.loops import CONST, Expr, Index, in_order, loads_of

MOST_HELD = 32          # elements of a row that a thread keeps in registers
MOST_STATEMENTS = 1200  # of a kernel's text: Numba takes one to two milliseconds for each
WARPS_PER_BLOCK = 4     # where a row takes one warp
LONGEST_OF_A_WARP = 16  # elements per thread from which a row takes a whole block


@dataclass(frozen=True)
class RowShape:
    """How a row is shared: `group` threads take `lanes` neighbours each, one vector after another."""
    lanes: int
    group: int

    @property
    def step(self) -> int:
        return self.lanes * self.group


def row_lanes(kernel: Kernel) -> int:
    [axis] = kernel.fold_axes
    lanes = lanes_for(kernel, axis)
    while lanes > 1 and 2 * lanes * weight(kernel) > MOST_STATEMENTS:
        lanes //= 2
    stores = [s for stage in kernel.stages for s in stage.stores]
    while lanes > 1 and (axis.size % lanes or not all(is_aligned(s.offset, axis, lanes) for s in stores)):
        lanes //= 2
    return lanes


def weight(kernel: Kernel) -> int:
    """About how many statements a kernel has for each element."""
    return sum(e.kind != CONST for e in in_order(kernel.roots))


def row_shape(kernel: Kernel, length: int) -> RowShape:
    """For rows, or parts of rows, of this many elements."""
    lanes, group = row_lanes(kernel), WARP
    while group < 1024 and length > LONGEST_OF_A_WARP * group:
        group = 128 if group == WARP else 2 * group
    return RowShape(lanes, group)


class RowEmitter(KernelEmitter):
    """One warp or block per row; with `chunk`, per part of `chunk` elements, whose states go to one more buffer."""

    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any], chunk: int = 0):
        [self.axis] = kernel.fold_axes
        self.chunk, self.n_parts = chunk, -(-self.axis.size // chunk) if chunk else 1
        super().__init__(name, kernel, buffers)
        self.shape = row_shape(kernel, chunk or self.axis.size)
        self.rows_per_block = WARPS_PER_BLOCK if self.shape.group == WARP else 1
        self.threads = self.shape.group * self.rows_per_block
        self.needs_alignment = self.shape.lanes > 1
        self.vectors = vector_loads(kernel, self.axis, self.shape.lanes)

    @property
    def units(self) -> int:
        return self.rows * self.n_parts

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.units // self.rows_per_block),)

    @property
    def holds_rows(self) -> bool:
        """Whether a row stays in registers."""
        per_thread = -(-self.axis.size // self.shape.step) * self.shape.lanes
        most = MOST_HELD if self.shape.group < 1024 else MOST_HELD // 2     # 1024 threads have 64 registers each
        fits = per_thread * max(1, len(self.vectors)) <= most and per_thread * weight(self.kernel) <= MOST_STATEMENTS
        return fits and not self.chunk

    def emit(self) -> None:
        b = self.b
        block, self.thread = b.pure("cuda.blockIdx.x", I32), b.pure("cuda.threadIdx.x", I32)
        unit = block
        if self.rows_per_block > 1:
            unit = b.add(b.mul(block, self.rows_per_block), b.pure(f"{self.thread.name} >> 5", I32))
            self.thread = b.pure(f"{self.thread.name} & 31", I32)
            b.effect(f"if {unit.name} >= {self.units}: return")
        row, self.part = (unit, None) if not self.chunk else divided(b, unit, self.n_parts)
        self.row = row
        here = Point(b, self.bases, self.depends, point_of(b, row, self.kernel.row_axes))
        run = self.held_row() if self.holds_rows else None
        for stage in self.kernel.stages:
            here.hoist(stage.roots, {self.axis})
            states = self.held(here, stage, run) if run is not None else self.passed(here, stage)
            self.end(here, stage, states)

    def end(self, here: Point, stage: Stage, states: list[list[AnyValue]]) -> None:
        """All threads fold together; the first stores what there is one of per row."""
        b, flat = self.b, [v for s in states for v in s]
        combine = lambda x, y: [v for s in self.joined(stage, *(regrouped(z, self.sizes(stage)) for z in (x, y))) for v in s]
        flat = fold_group(b, self.thread, flat, combine, self.shape.group) if flat else flat
        states = regrouped(flat, self.sizes(stage))
        if self.chunk:
            with b.block(f"if {self.thread.name} == 0:"):
                self.store_part(stage, states)
            return
        for fold, mine in zip(stage.folds, states):
            self.know(here, fold, mine)
        if stage.row_stores:
            values = [here.value(s.expr) for s in stage.row_stores]
            with b.block(f"if {self.thread.name} == 0:"):
                for s, value in zip(stage.row_stores, values):
                    here.store(s.var, s.offset, value, s.var.type.dtype)

    # --- a row in registers

    def held_row(self) -> list[Chunk]:
        b, chunks = self.b, []
        for first in range(0, self.axis.size, self.shape.step):
            at = b.add(b.mul(self.thread, self.shape.lanes), first)
            active = None
            if first + self.shape.step > self.axis.size:
                active = b.lt(at, self.axis.size)
                at = b.select(active, at, 0)        # threads beyond the end read the row's first elements, for nothing
            chunks.append(Chunk(at, active))
        return chunks

    def held(self, here: Point, stage: Stage, chunks: list[Chunk]) -> list[list[AnyValue]]:
        start = self.start(stage)
        wide = [start] * self.shape.lanes
        for chunk in chunks:
            chunk.read(self, here, stage)
            wide = [self.added(stage, mine, p, chunk.active) for mine, p in zip(wide, chunk.points)]
            if stage.stores:
                self.store_chunk(stage, chunk.points, chunk.active)
        return self.lanes_joined(stage, wide)

    def added(self, stage: Stage, states, p: Point, active: Value | None) -> list[list[AnyValue]]:
        new = self.joined(stage, states, self.element(p, stage.folds))
        if active is None:
            return new
        return [[self.b.select(active, x, was) for x, was in zip(xs, ws)] for xs, ws in zip(new, states)]

    def lanes_joined(self, stage: Stage, wide: list) -> list[list[AnyValue]]:
        while len(wide) > 1:
            half = len(wide) // 2
            wide = [self.joined(stage, x, y) for x, y in zip(wide[:half], wide[half:])]
        return wide[0]

    def store_chunk(self, stage: Stage, points: list[Point], active: Value | None) -> None:
        values = [[p.value(s.expr) for p in points] for s in stage.stores]

        def store() -> None:
            for s, mine in zip(stage.stores, values):
                store_vector(self.b, self.bases[s.var], points[0].number(s.offset), mine)
        store() if active is None else self.b.when(active, store)

    # --- a row in memory

    def passed(self, here: Point, stage: Stage) -> list[list[AnyValue]]:
        """One pass over the row, with accumulators for each of the neighbours that a thread takes."""
        b, n = self.b, self.shape.lanes
        start = [v for s in self.start(stage) for v in s]
        kind = index_dtype(Index({self.axis: 1}))
        first, stop = b.convert(b.mul(self.thread, n), kind), b.const(self.axis.size, kind)
        if self.part is not None:
            low = b.mul(b.convert(self.part, kind), self.chunk)
            first, stop = b.add(low, first), b.min(b.add(low, self.chunk), stop)
        with b.loop(first, stop, b.const(self.shape.step, kind), carries=start * n) as loop:
            chunk = Chunk(loop.index, None)
            chunk.read(self, here, stage)
            wide = [regrouped(mine, self.sizes(stage)) for mine in cut(loop.carries, len(start), n)]
            new = [self.added(stage, mine, p, None) for mine, p in zip(wide, chunk.points)]
            if stage.stores:
                self.store_chunk(stage, chunk.points, None)
            loop.carry(*[v for mine in new for s in mine for v in s])
        return self.lanes_joined(stage, [regrouped(mine, self.sizes(stage)) for mine in cut(loop.results, len(start), n)])


class Chunk:
    """The neighbours that a thread takes at one place of a row."""

    def __init__(self, at: Value, active: Value | None):
        self.at, self.active = at, active
        self.points: list[Point] = []
        self.known: set[Expr] = set()

    def read(self, plan: RowEmitter, here: Point, stage: Stage) -> None:
        """Read what the stage is the first to need, by vectors."""
        b, n = plan.b, plan.shape.lanes
        if not self.points:
            self.points = [here.inner({plan.axis: b.add(self.at, u)}) for u in range(n)]
        needed: dict[Expr, None] = {}
        for root in stage.roots:
            needed |= loads_of(root)
        for e in plan.vectors:
            if e in needed and e not in self.known:
                self.known.add(e)
                elements = load_vector(b, plan.bases[e.data[0]], self.points[0].number(e.data[1]), e.dtype, n)
                for p, x in zip(self.points, elements):
                    p.values[e] = x


def cut(values: Sequence, size: int, n: int) -> list[Sequence]:
    return [values[k * size:(k + 1) * size] for k in range(n)]

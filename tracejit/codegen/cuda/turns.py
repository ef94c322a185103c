"""An elementwise Kernel that reads along another axis than it writes -> Numba-CUDA source by tiles in shared memory.

A block of 256 threads takes 32 x 32 points. It reads what is turned with neighbouring threads along the axis that is contiguous
there, and writes with neighbouring threads along the last axis. Rows of 33 keep both ways free of bank conflicts.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cpu.value import BOOL, Value
from tracejit.codegen.cuda.accesses import is_even
from tracejit.codegen.cuda.expressions import I32, Point, divided, point_of
from tracejit.codegen.cuda.general import THREADS, KernelEmitter
from tracejit.codegen.cuda.groups import held, like, parts_of
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import Axis, Expr

TILE, PITCH = 32, 33
SHORTEST = 16       # axes along which a tile pays
MOST_TURNED = 4     # reads by tiles in one kernel


def turned_reads(kernel: Kernel) -> tuple[Axis, list[Expr]] | None:
    """The axis along which most of memory is read that is not read along the last axis, and those reads."""
    if kernel.fold_axes or len(kernel.stages) != 1 or len(kernel.row_axes) < 2:
        return None
    *others, last = kernel.row_axes
    stores = kernel.stages[0].stores + kernel.stages[0].row_stores
    if last.size < SHORTEST or not all(is_even(s.offset, last) for s in stores):
        return None
    along = {axis: [e for e in kernel.loads if is_even(e.data[1], axis) and last in e.data[1].atoms()] for axis in others}
    axis = max(along, key=lambda a: len(along[a]))
    return (axis, along[axis]) if axis.size >= SHORTEST and 0 < len(along[axis]) <= MOST_TURNED else None


class TurnEmitter(KernelEmitter):
    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any]):
        super().__init__(name, kernel, buffers)
        self.axis, self.turned = turned_reads(kernel)
        self.last = kernel.row_axes[-1]
        self.outer = [a for a in kernel.row_axes if a not in (self.axis, self.last)]

    @property
    def tiles(self) -> list[Axis]:
        return [*self.outer, *[Axis(f"{a.name}tile", -(-a.size // TILE)) for a in (self.axis, self.last)]]

    @property
    def grid(self) -> tuple[int, ...]:
        return (math.prod(a.size for a in self.tiles),)

    def emit(self) -> None:
        b, tiles = self.b, self.tiles
        place = point_of(b, b.pure("cuda.blockIdx.x", I32), tiles)
        self.corner = [b.mul(place.pop(tile), TILE) for tile in tiles[-2:]]
        here = Point(b, self.bases, self.depends, place)
        down, across = divided(b, b.pure("cuda.threadIdx.x", I32), TILE)
        words = [memory_word(part.dtype) for e in self.turned for part in parts_of([b.const(0, e.dtype)])]
        arrays = [b.impure(f"cuda.shared.array({TILE * PITCH}, {word})", I32) for word in words]
        for k in range(0, TILE, THREADS // TILE):
            row = b.add(down, k)
            with b.block(f"if {self.inside(across, row).name}:"):
                p = here.inner(self.point(across, row))
                at = b.add(b.mul(row, PITCH), across)
                for array, x in zip(arrays, parts_of([p.value(e) for e in self.turned])):
                    b.effect(f"{array.name}[{at.name}] = {f'u1({x.name})' if x.dtype == BOOL else x.name}")
        b.effect("cuda.syncthreads()")
        for k in range(0, TILE, THREADS // TILE):
            row = b.add(down, k)
            with b.block(f"if {self.inside(row, across).name}:"):
                self.write(here, row, across, arrays)

    def point(self, along: Value, last: Value) -> dict[Axis, Value]:
        return {a: self.b.add(c, i) for a, c, i in zip((self.axis, self.last), self.corner, (along, last))}

    def inside(self, along: Value, last: Value) -> Value:
        b, p = self.b, self.point(along, last)
        return b.and_(*[b.lt(p[a], a.size) for a in (self.axis, self.last)])

    def write(self, here: Point, along: Value, last: Value, arrays: Sequence[Value]) -> None:
        b, p = self.b, here.inner(self.point(along, last))
        at = b.add(b.mul(last, PITCH), along)
        zeros = [b.const(0, e.dtype) for e in self.turned]
        parts = [held(b, f"{array.name}[{at.name}]", x.dtype) for array, x in zip(arrays, parts_of(zeros))]
        for e, value in zip(self.turned, like(zeros, parts)):
            p.values[e] = value
        stage = self.kernel.stages[0]
        self.store_all(p, stage.stores + stage.row_stores)

"""The epilogue of a product -> an LLVM function `void(ptr buffers, ptr c, i64 row, i64 col, i64 rows, i64 cols, i64 pitch)`,
which the product's routine calls for each block of its result."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Module, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.isa import Isa
from tracejit.codegen.cpu.kernel import KernelEmitter
from tracejit.codegen.cpu.products import panel_width
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.schedule import Schedule, filled_lanes, widest_bytes
from tracejit.codegen.steps import NativeStep

PARAMS = [("buffers", PTR), ("c", PTR), *((name, I64) for name in ("row", "col", "rows", "cols", "pitch"))]


class EpilogueEmitter(KernelEmitter):
    """Walks one block, its rows from outside and its columns in vectors."""
    params = PARAMS

    def emit(self) -> None:
        b = self.b
        row, col, rows, cols = b.params[2:6]
        if self.kernel.row_axes[0].size == 1 and self.kernel.row_axes[1].size > 1:
            row, col, rows, cols = self.one_row(row, col, rows, cols)
        with b.loop(row, b.add(row, rows)) as loop:
            here = self.top().inner({self.kernel.row_axes[0]: loop.index})
            self.block(here, col, b.add(col, cols), None)
        b.ret()
        b.finish()

    def one_row(self, row: Value, col: Value, rows: Value, cols: Value) -> tuple[Value, ...]:
        """A block of one row or of one column as a row."""
        b = self.b
        return b.const(0, I64), b.add(row, col), b.const(1, I64), b.mul(rows, cols)


def epilogue_schedule(kernel: Kernel, isa: Isa, width: int) -> Schedule:
    """`width`: all blocks but the last ones are a multiple of it wide."""
    cols = kernel.row_axes[1]
    lanes = filled_lanes(isa.lanes(np.dtype(f"i{widest_bytes([*kernel.roots, *kernel.loads])}")), cols.size)
    unroll = 2 if width % (2 * lanes) == 0 and cols.size >= 2 * lanes else 1
    return Schedule(kernel, cols, False, lanes, unroll, width, 0, 1, 1)


def epilogue_of(emitter, step: NativeStep, place) -> tuple[Value, Value] | None:
    """The function and its context, as the routine wants them."""
    if step.epilogue is None:
        return None
    width = panel_width(step.eqn, emitter.isa)
    buffers = [*step.epilogue.inputs, *step.epilogue.outputs]
    table = emitter.table(place.begun(step.epilogue, buffers))
    name = emitter.kernel_function(emit_epilogue, epilogue_schedule(step.epilogue, emitter.isa, width), buffers)
    emitter.module.declare(name, "void", ["ptr", "ptr", *["i64"] * 5])
    return Value(f"@{name}", PTR), table


def emit_epilogue(module: Module, name: str, plan: Schedule, buffers: Sequence[Any]) -> None:
    EpilogueEmitter(module, name, plan, buffers).emit()

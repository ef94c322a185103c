"""Which schedule a kernel gets on a GPU, by its shape alone: its launches in order."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cuda.columns import ColumnEmitter, height_of
from tracejit.codegen.cuda.general import GeneralEmitter, KernelEmitter
from tracejit.codegen.cuda.groups import WARP
from tracejit.codegen.cuda.parts import BUSY, CombineEmitter, PartEmitter, chunk_of_columns, chunk_of_rows
from tracejit.codegen.cuda.rows import RowEmitter
from tracejit.codegen.cuda.tiles import TileEmitter, tile_lanes
from tracejit.codegen.cuda.turns import TurnEmitter, turned_reads
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.schedule import vector_axis

NAME = "kernel"
SHORT_ROW = 16      # elements of a row that one thread folds by itself
LONG_COLUMN = 64    # elements of a column that several threads share
MANY_ROWS = 1 << 18     # that keep a device busy with one thread each


def plans_of(kernel: Kernel, buffers: Sequence[Any], aligned: bool = True) -> list[KernelEmitter]:
    """The fastest schedule that fits. One that needs no alignment of the buffers, unless they are `aligned`."""
    if turned_reads(kernel):
        return [TurnEmitter(NAME, kernel, buffers)]
    if aligned and tile_lanes(kernel) > 1:
        return [TileEmitter(NAME, kernel, buffers)]
    if not kernel.fold_axes or not kernel.row_axes and not math.prod(a.size for a in kernel.fold_axes):
        return [GeneralEmitter(NAME, kernel, buffers)]
    if aligned and folds_rows(kernel):
        return in_parts(RowEmitter, kernel, buffers, chunk_of_rows(kernel)) or [RowEmitter(NAME, kernel, buffers)]
    if folds_many_columns(kernel):
        return [ColumnEmitter(NAME, kernel, buffers)]
    return in_parts(PartEmitter, kernel, buffers, chunk_of_columns(kernel)) or [GeneralEmitter(NAME, kernel, buffers)]


def folds_rows(kernel: Kernel) -> bool:
    """Whether what is folded is contiguous, and long enough for a warp."""
    return len(kernel.fold_axes) == 1 and kernel.fold_axes[0].size > SHORT_ROW and vector_axis(kernel)[1]


def folds_many_columns(kernel: Kernel) -> bool:
    """Whether a thread per row would have much to do, and a block per 32 rows keeps the device busy or has stages."""
    rows, n = (math.prod(a.size for a in axes) for axes in (kernel.row_axes, kernel.fold_axes))
    return WARP <= rows < MANY_ROWS and n >= LONG_COLUMN and height_of(kernel) > 1 and \
        (len(kernel.stages) > 1 or rows * height_of(kernel) >= BUSY)


def in_parts(kind: Any, kernel: Kernel, buffers: Sequence[Any], chunk: int) -> list[KernelEmitter]:
    if not chunk:
        return []
    first = kind(NAME, kernel, buffers, chunk)
    return [first, CombineEmitter(NAME, kernel, buffers, first.n_parts)]

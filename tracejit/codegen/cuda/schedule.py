"""Which schedule a kernel gets on a GPU, by its shape alone."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cuda.general import GeneralEmitter, KernelEmitter
from tracejit.codegen.cuda.tiles import TileEmitter, tile_lanes
from tracejit.codegen.kernels import Kernel


def plan_of(kernel: Kernel, buffers: Sequence[Any]) -> KernelEmitter:
    """The fastest schedule that fits."""
    if tile_lanes(kernel) > 1:
        return TileEmitter("kernel", kernel, buffers)
    return GeneralEmitter("kernel", kernel, buffers)

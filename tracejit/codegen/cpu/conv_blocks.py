"""A call of the native convolution -> how its work is cut: images per chunk, blocks per task, steps of the sum at a time."""
from __future__ import annotations

import math
from collections.abc import Mapping

from .gemm_tile import Tile

OUTER, LEVELS = range(5), range(4)
OUTER_PRODUCT, DEPTHWISE, DOT = range(3)  # the kinds of kernels, see conv_tile.py

TASK_WORK = 1 << 20
_TASK_ROWS = 112
_CHUNK_BYTES = 1 << 21  # padded copies are made for that much of the input at a time
_PANEL_BYTES = 1 << 19
_STEP_BYTES = 1 << 15


def copy_bytes(copy: Mapping[str, int]) -> int:
    """Size of the padded copy: of one image if it is made chunk by chunk, else of all."""
    first = 1 if copy["copy_chunked"] else copy["r_count0"]
    return copy["row_pitch"] * first * math.prod(copy[f"r_count{i}"] for i in OUTER[1:])


def blocks_of_call(call: Mapping[str, int], tile: Tile, image_bytes: int, chunked: bool) -> dict[str, int]:
    """Images per chunk and blocks per task: independent of the number of threads."""
    taps = math.prod(call[f"size{i}"] for i in LEVELS)
    panels, tiles = -(-call["cols"] // call["nr"]), -(-call["rows"] // tile.mr)
    position = max(1, call["rows"] * call["cols"] * taps)
    inner = math.prod(call[f"count{i}"] for i in OUTER[1:])
    chunk = call["count0"]
    if chunked:
        wanted = max(_CHUNK_BYTES // image_bytes, 16 * TASK_WORK // (position * inner), 1)
        chunk = -(-chunk // -(-chunk // wanted))
    panel_block = min(panels, max(1, _PANEL_BYTES // max(1, taps * call["nr"] * tile.size)))
    panel_blocks = -(-panels // panel_block)
    rows = _TASK_ROWS * max(1, taps * call["nr"] * tile.size >> 17)
    block = max(-(-TASK_WORK // position), -(-rows // call["rows"]))
    block = max(1, min(block, chunk * inner * panel_blocks // 16))
    tasks = -(-chunk * inner // block) * panel_blocks
    at_once = panel_block if call["kernel"] == DEPTHWISE else 1  # a pixel's features lie together, and little is done with each
    return {"chunk": chunk, "outer_block": block, "panel_block": panel_block, "panels_at_once": at_once,
            "row_blocks": min(tiles, -(-16 // tasks)), "steps1": _steps_at_once(call, tile, tiles),
            "fork": int(chunk * inner * position >= 2 * TASK_WORK)}


def _steps_at_once(call: Mapping[str, int], tile: Tile, tiles: int) -> int:
    """Steps of level 1 for all tiles of a position before the next ones: what several tiles read stays in the first cache."""
    step = call["size0"] * (min(call["cols"], call["nr"]) + min(call["rows"], 4 * tile.mr)) * tile.size
    return max(1, min(call["size1"], _STEP_BYTES // max(1, step)) if tiles > 2 else call["size1"])

"""A kernel that is best done by several -> those kernels.

    y = concatenate(f(x), g(z), ...)    each piece by itself: else every element asks which piece it is in
    y[i, j] = f(x[j, i])                in square tiles that are read and written line by line: row by row, it would read one
                                        number of each line of x, and the line again for the next i
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tracejit.codegen.kernels import Kernel
from tracejit.codegen.schedule import LEAST_STRIDE, collapse, substituted
from tracejit.codegen.zones import MOST_ZONES, conditions_of, inside, intervals_of
from tracejit.ir.loops import Axis, Expr, Index, in_order

LINE_BYTES = 64
WIDTH = 64              # elements of a tile along the axis that is written
MOST_PIECES = 8         # of a kernel with conditions that reads across
MOST_JOINED = 128       # of one that joins pieces
LEAST_JOINED = 64       # elements of such pieces, in the mean
LEAST_WIDTH = 16        # and the least along the last axis
NEAR_BYTES = 1 << 14    # what an array may be to be read in any order


def tiles_of(kernel: Kernel) -> list[tuple[Kernel, Axis | None]]:
    """Kernels that together do what one does, or the kernel itself. Of a tile also its first axis."""
    return [tile for piece in pieces_of(kernel) for tile in tiles_of_piece(piece)]


def pieces_of(kernel: Kernel) -> list[Kernel]:
    """A kernel that joins many pieces, or reads across (a sum of padded arrays), cut where its conditions change."""
    if kernel.fold_axes or len(kernel.stages) > 1:
        return [kernel]
    cuts = intervals(kernel.row_axes, in_order(kernel.roots))
    n = math.prod(map(len, cuts))
    if n == 1 or not joins(cuts) and (n > MOST_PIECES or crossing(kernel) is None):
        return [kernel]
    boxes = [dict(zip(kernel.row_axes, box)) for box in itertools.product(*cuts)]
    pieces = [inside(kernel, box) for box in boxes]
    return [kernel] if any(map(asks, pieces)) else [collapse(part(piece, box)) for piece, box in zip(pieces, boxes)]


def intervals(axes: Sequence[Axis], nodes: Iterable[Expr]) -> list[list[tuple[int, int]]]:
    """Those of each axis in which the conditions of expressions do not change."""
    conditions = {c: None for e in nodes for c in conditions_of(e)}
    return [intervals_of(axis, conditions) for axis in axes]


def joins(cuts: list[list[tuple[int, int]]]) -> bool:
    """Whether many pieces meet that lie in these intervals of each axis, none of them much larger than the others."""
    lengths = [[last - first for first, last in pieces] for pieces in cuts]
    n = math.prod(map(len, lengths))
    if not MOST_ZONES < n <= MOST_JOINED or 1 < len(lengths[-1]) and min(lengths[-1]) < LEAST_WIDTH:
        return False
    volumes = sorted(map(math.prod, itertools.product(*lengths)), reverse=True)
    return sum(volumes) >= n * LEAST_JOINED and 5 * sum(volumes[:MOST_ZONES]) < 4 * sum(volumes)


def asks(kernel: Kernel) -> bool:
    return any(conditions_of(e) for e in in_order(kernel.roots))


def tiles_of_piece(kernel: Kernel) -> list[tuple[Kernel, Axis | None]]:
    """Those of whole tiles first."""
    found = None if asks(kernel) else crossing(kernel)
    if found is None:
        return [(kernel, None)]
    (across, height), along = found, kernel.row_axes[-1]
    whole = {across: across.size - across.size % height, along: along.size - along.size % WIDTH}
    tile = tiled(part(kernel, {a: (0, n) for a, n in whole.items()}), kernel.row_axes.index(across), height)
    out: list[tuple[Kernel, Axis | None]] = [(tile, tile.row_axes[-2])]
    if whole[along] < along.size:
        out.append((part(kernel, {along: (whole[along], along.size)}), None))
    if whole[across] < across.size:
        out.append((part(kernel, {across: (whole[across], across.size), along: (0, whole[along])}), None))
    return out


def crossing(kernel: Kernel) -> tuple[Axis, int] | None:
    """The axis along which an operand lies that is read across, and how many of its elements are in a line."""
    if kernel.fold_axes or len(kernel.stages) > 1 or len(kernel.row_axes) < 2 or kernel.row_axes[-1].size < WIDTH:
        return None
    along = kernel.row_axes[-1]
    for e in kernel.loads:
        offset, item = e.data[1], e.dtype.itemsize
        far = abs(offset.coefficient(along)) >= LEAST_STRIDE and e.data[0].type.nbytes > NEAR_BYTES
        axis = next((a for a in kernel.row_axes[:-1] if offset.coefficient(a) == 1), None) if far else None
        if axis is not None and axis.size >= LEAST_STRIDE:
            return axis, min(axis.size, max(1, LINE_BYTES // item))
    return None


def part(kernel: Kernel, box: dict[Axis, tuple[int, int]]) -> Kernel:
    """The kernel on some of the points of some axes."""
    axes = {a: Axis(a.name, hi - lo) for a, (lo, hi) in box.items()}
    images = {a: Index({axes[a]: 1}, lo) for a, (lo, _) in box.items()}
    return replace(substituted(kernel, images), row_axes=[axes.get(a, a) for a in kernel.row_axes])


def tiled(kernel: Kernel, at: int, height: int) -> Kernel:
    """With the axis number `at` and the last one cut, and the points of a tile walked before those of the next."""
    across, along = kernel.row_axes[at], kernel.row_axes[-1]
    outer = [Axis(a.name + "t", a.size // n) for a, n in ((across, height), (along, WIDTH))]
    within = [Axis(across.name, height), Axis(along.name, WIDTH)]
    images = {across: Index({outer[0]: height, within[0]: 1}), along: Index({outer[1]: WIDTH, within[1]: 1})}
    rest = [a for a in kernel.row_axes[:-1] if a is not across]
    return replace(substituted(kernel, images), row_axes=[*rest, *outer, *within])

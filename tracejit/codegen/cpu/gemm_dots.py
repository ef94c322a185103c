"""Products of lines, A[i, k] and B[j, k] with k last in both and few lines in one of them -> inner products in tiles.

A tile is a few lines of A by a few of B: for each vector along k, one load per line and a multiply-add per pair. Nothing is
packed, and memory is read along its lines. A lane sums every lanes-th term; the lanes are added up at the end of a block of K.
"""
from __future__ import annotations

import functools
from collections.abc import Mapping

from .gemm_call import CALL, ENTRY_PARAMS, MOST_TASKS, TASK_WORK, run_tasks, zext
from .gemm_text import RARELY, Function, Record, Vector
from .gemm_tile import Tile, finish_block, row_bases, row_steps, tile_rows
from .routine import Part, part_of

MOST_LINES = 96         # of the operand that has fewer; with more, a packed copy of the other is read often enough
LINES_PER_DEPTH = 1 / 8     # of K; with more, adding up the lanes takes longer than packing
_DEPTH_BYTES = 4096     # of a line that are read before the next tile: the lines of a tile stay in the first cache
_BLOCK_TILES = 4        # that share a panel of lines of B

_JOB = Record("*A", "*B", "*C", "*D", "rs", "bs", "ldc", "ldd", "cols", "depth", "tiles", "tile_rows", "wide_tiles",
              "row_blocks", "blocks", "tasks", "*epilogue", "*ctx", "row", "col", "pitch", "*kernels")
_PARAMS = "ptr %A, i64 %rs, ptr %B, i64 %bs, i64 %kc, ptr %C, i64 %ldc, ptr %D, i64 %ldd, i64 %nr"


def is_of_lines(tile: Tile, fields: Mapping[str, int]) -> bool:
    """Whether calls with these members are best done so."""
    few = min(fields["M"], fields["N"])
    return (fields["a_col"] == fields["b_row"] == 1 and tile.element is None
            and 1 < few <= min(MOST_LINES, LINES_PER_DEPTH * fields["K"]))


def line_cols(tile: Tile) -> int:
    """Lines of B in a tile."""
    return min(4, tile.vector.lanes)


def line_rows(tile: Tile) -> int:
    """Lines of A in a tile: sums fill the registers, but for a vector of each line of B and one of A."""
    return (tile.isa.n_registers - line_cols(tile) - 2) // line_cols(tile)


@functools.cache
def dots_part(tile: Tile, rows: int) -> Part:
    """The kernel for so many lines of A and up to line_cols lines of B (%nr)."""
    f, vector, cols = Function("ENTRY", _PARAMS), tile.vector, line_cols(tile)
    last = f.sub("%nr", 1)
    lines = [f.opaque(f.offset("%B", f.mul(f.min(last, j), "%bs")), "ptr") for j in range(cols)]
    whole = f.value(f"and i64 %kc, {-vector.lanes}")
    bases = row_bases(f, "%A", rows)
    kinds = ["ptr"] * (len(bases) + cols) + [vector.type] * (rows * cols)
    state = [*bases, *lines, *["zeroinitializer"] * (rows * cols)]
    for start, stop, is_rest in ((0, whole, False), (whole, "%kc", True)):
        mask = vector.mask(f, f.sub("%kc", whole)) if is_rest else None
        with f.loop(start, stop, vector.lanes, list(zip(kinds, state))) as loop:
            loop.next = _step(f, vector, loop.carried, rows, cols, mask)
        state = loop.result
    sums = state[len(bases) + cols:]
    _finish(f, vector, [_added_up(f, vector, sums[i * cols:(i + 1) * cols]) for i in range(rows)], cols)
    head = vector.declarations() + (vector.short(cols).masked_declarations() if cols < vector.lanes else "")
    return part_of(tile.isa, f"dots_{tile.dtype.str[1:]}_{rows}", head, f.text())


def _step(f: Function, vector: Vector, carried: list[str], rows: int, cols: int, mask: str | None) -> list[str]:
    """A vector of each line."""
    n_bases = len(carried) - cols - rows * cols
    bases, lines, sums = carried[:n_bases], carried[n_bases:n_bases + cols], carried[n_bases + cols:]
    steps = row_steps(f)
    b, new = [vector.load(f, line, mask) for line in lines], []
    for i in range(rows):
        a = vector.load(f, f.offset(bases[i // 3], steps[i % 3]), mask)
        new += [vector.fma(f, a, x, s) for x, s in zip(b, sums[i * cols:(i + 1) * cols])]
    return [*(f.offset(p, vector.bytes) for p in (*bases, *lines)), *new]


def _added_up(f: Function, vector: Vector, sums: list[str]) -> str:
    """The sum of the lanes of each vector, as one short vector: halves of two are added in one, until all are in one."""
    lanes, n, width = vector.lanes, len(sums), vector.lanes
    while len(sums) > 1:
        half = width // 2
        part = lambda x, y, at: vector.shuffled(f, x, y, [k // width * width + k % width + at for k in range(2 * lanes)
                                                          if k % width < half])
        sums = [vector.add(f, part(x, y, 0), part(x, y, half)) for x, y in zip(sums[::2], sums[1::2])]
        width = half
    total, = sums
    while width > 1:
        width //= 2
        total = vector.add(f, total, vector.shuffled(f, total, total, [k ^ width for k in range(lanes)]))
    return vector.shuffled(f, total, total, [k * (lanes // n) for k in range(n)])


def _finish(f: Function, vector: Vector, rows: list[str], cols: int) -> None:
    """C = sums + D, where D may be absent."""
    short = vector.short(cols)
    mask = short.mask(f, "%nr")
    at = lambda base, stride, i: f.offset(base, f.mul(stride, i)) if i else base
    present = f.compare("ne", "%D", "null", "ptr")
    rows = f.updated(present, short.type, rows,
                     lambda i, value: short.add(f, value, short.load(f, at("%D", "%ldd", i), mask)))
    for i, value in enumerate(rows):
        short.store(f, value, at("%C", "%ldc", i), mask)


def lines_text(tile: Tile) -> str:
    """@product, of one batch entry."""
    return _lines_task(tile) + _product(tile)


def _lines_task(tile: Tile) -> str:
    """Task t computes an equal share of the blocks: some row tiles by a panel of lines of B, a piece of K after another."""
    f, size = Function("lines_task", "ptr %job, i64 %task", "internal"), tile.size
    row_blocks, blocks, tasks, tiles, cols, depth = _JOB.get(f, "%job", "row_blocks", "blocks", "tasks", "tiles", "cols", "depth")
    c, = _JOB.get(f, "%job", "C")
    share = [f.div(f.mul(blocks, f.add("%task", e)), tasks) for e in (0, 1)]
    with f.loop(*share) as block:
        i, col = f.rem(block.index, row_blocks), f.mul(f.div(block.index, row_blocks), tile.nr)
        first, last = (f.div(f.mul(tiles, f.add(i, e)), row_blocks) for e in (0, 1))
        width = f.min(f.sub(cols, col), tile.nr)
        with f.loop(0, depth, _DEPTH_BYTES // size) as piece, f.loop(first, last) as row:
            _tile_by_panel(f, tile, row.index, col, width, piece.index)
        finish_block(f, _JOB, f.offset(c, f.mul(col, size)), col, width, first, last)
    return f.text()


def _tile_by_panel(f: Function, tile: Tile, index: str, col: str, width: str, start: str) -> None:
    """A piece of K of some lines of A times those of a panel of B; the sums are added to D at first, then to C."""
    size, cols = tile.size, line_cols(tile)
    names = "A", "B", "C", "D", "rs", "bs", "ldc", "ldd", "depth", "kernels"
    a, b, c, d, rs, bs, ldc, ldd, depth, kernels = _JOB.get(f, "%job", *names)
    row, rows = tile_rows(f, _JOB, index)
    kernel = f.load("ptr", f.offset(kernels, f.mul(f.sub(rows, 1), 8)))
    is_first = f.compare("eq", start, 0)
    base, pitch = f.select(is_first, d, c, "ptr"), f.select(is_first, ldd, ldc)
    absent = f.compare("eq", base, "null", "ptr")
    a = f.offset(a, f.add(f.mul(row, rs), f.mul(start, size)))
    kc = f.min(f.sub(depth, start), _DEPTH_BYTES // size)
    with f.loop(0, width, cols) as group:
        at = f.add(col, group.index)
        b_at = f.offset(b, f.add(f.mul(at, bs), f.mul(start, size)))
        place = lambda base, pitch: f.value(f"getelementptr i8, ptr {base}, i64 {f.add(f.mul(row, pitch), f.mul(at, size))}")
        f.call(kernel, ("ptr", a), ("i64", rs), ("ptr", b_at), ("i64", bs), ("i64", kc), ("ptr", place(c, ldc)), ("i64", ldc),
               ("ptr", f.select(absent, "null", place(base, pitch), "ptr")), ("i64", pitch),
               ("i64", f.min(f.sub(width, group.index), cols)))


def _product(tile: Tile) -> str:
    f, size = Function("product", ENTRY_PARAMS, "internal", RARELY), tile.size
    job = _JOB.allocate(f)
    m, n, k, epilogue, ctx, kernels, pitch = CALL.get(f, "%call", "M", "N", "K", "epilogue", "ctx", "kernels", "ldc")
    rs, bs, ldc, ldd = (f.mul(x, size) for x in CALL.get(f, "%call", "a_row", "b_col", "ldc", "ldd"))
    work = f.div(f.mul(f.mul(m, n), k), TASK_WORK // 2)
    fork = f.mul("%fork", zext(f, f.compare("sgt", work, 2)))
    wanted = f.select(f.compare("eq", fork, 0), 1, f.min(work, MOST_TASKS))
    tiles, panels = f.ceil_div(m, line_rows(tile)), f.ceil_div(n, tile.nr)
    row_blocks = f.min(tiles, f.max(f.ceil_div(tiles, _BLOCK_TILES), f.ceil_div(wanted, panels)))
    blocks = f.mul(row_blocks, panels)
    tasks = f.min(wanted, blocks)
    _JOB.put(f, job, A="%A", B="%B", C="%C", D="%D", rs=rs, bs=bs, ldc=ldc, ldd=ldd, cols=n, depth=k, tiles=tiles,
             tile_rows=f.div(m, tiles), wide_tiles=f.rem(m, tiles), row_blocks=row_blocks, blocks=blocks, tasks=tasks,
             epilogue=epilogue, ctx=ctx, row="%first_row", col=0, pitch=pitch, kernels=kernels)
    run_tasks(f, "@lines_task", job, tasks, fork)
    return f.text()

"""A dtype (f32, f64, integer) and an instruction set -> one native matrix product of all sizes, as LLVM IR.

The routine is `void NAME(ptr call)`; `call` points to a `CALL` record of 8-byte members:

    for each batch entry:  C[i, j] = sum over k of A[i, k] * B[k, j]  + D[i, j]

| member | meaning |
|---|---|
| A, B, C | data pointers; C must not overlap A or B |
| D | added to the product; null: nothing. A bias row: ldd = 0. C itself (accumulate): ldd = ldc |
| M, N, K | sizes, any of them may be 0 |
| a_row, a_col, b_row, b_col | strides of A and B in elements; any values, unit in one of the two is fast |
| ldc, ldd | row pitch of C and D in elements; their columns are contiguous |
| batch0, batch1 | sizes of two batch axes (1 and 1: no batch) |
| a0, a1, b0, b1, c0, c1, d0, d1 | strides of the batch axes in elements, 0 to reuse |
| epilogue, ctx | null, or a function called once per finished block of C while it is in the cache |
| scratch, scratch_bytes | 64-byte aligned memory of `gemm_scratch(...)` bytes |
| kernels | the table of copies and kernels, `gemm_routine(...).kernels` |

The epilogue is `void(ptr ctx, ptr c, i64 row, i64 col, i64 rows, i64 cols, i64 ldc)`; `c` is the first element
of the block, `row` counts as if the batch entries lay below each other, `ldc` is in elements.

Each element of C is summed in an order that depends on K alone (for few rows or few columns: on their
number and the strides too), never on the number of threads or on the position in the batch.
"""
from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .gemm_call import (CALL, DECLARATIONS, ENTRY_ARGS, ENTRY_PARAMS, MOST_TASKS, TASK_WORK, batch_task, entry_text, run_tasks,
                        run_text, zext)
from .gemm_dots import dots_part, is_of_lines, line_rows, lines_text
from .gemm_pack import copy_block, kernels_of, pack_table
from .gemm_text import RARELY, Function, Record
from .gemm_tile import Tile, even_parts, finish_block, tile_part, tile_rows
from .gemm_vector import DOT_ROWS, sweep_group, vector_text
from .gemm_vector import JOB as VECTOR_JOB
from .isa import Isa
from .routine import Part, Routine, part_of, routine_of

# What the tasks of one (N chunk, K block, M chunk) share; strides and steps in bytes, `col` in elements.
_JOB = Record("*A", "*B", "*C", "*D", "rows", "cols", "depth", "rs", "cs", "bk", "bn", "ldc", "ldd",
              "*a_packed", "*b_packed", "a_step", "b_step", "b_tasks", "tiles", "tile_rows", "wide_tiles",
              "panels", "*tile_a", "tile_rs", "tile_cs", "*panel_b", "panel_bs",
              "panel_step", "row_blocks", "col_blocks", "*epilogue", "*ctx", "row", "col", "pitch",
              "pack_a", "pack_b", "pack_late", "*kernels")

_DEPTH_BYTES = 5120  # K per block: deep, as C is read and written once per block
_CHUNK_BYTES = 8192  # N per chunk and M per chunk: packed A and B stay in the last cache
_VECTOR_WORK = 1 << 17  # and of a matrix times vector
_BLOCK_TILES = 8  # at most that many row tiles per task: their part of A stays in the second cache
_BLOCK_PANELS = 16
_LARGE_N = 8  # panels of B; with fewer, each element of A is read too seldom for a copy to pay
_PASSES, _PASSES_ALIASING = 4, 2  # over B, before a copy pays; lines that alias do not stay
_PASSES_AHEAD, _PASSES_AHEAD_ALIASING = 16, 8  # where its rows are asked for before they are used
_LEAST_REUSED = 1 << 15  # bytes of B, which otherwise stays in the first cache
_SHALLOW = 48  # below that K, C is written along its rows, as memory is then what limits
_PACK_BYTES = 512  # read at a time from each row of B or column of A: less, and the time goes into waiting for lines
_PACK_DEPTH = 256  # of K, that one task packs


@dataclass(frozen=True)
class _Plan:
    """The blocking constants of one tile shape."""

    tile: Tile

    @property
    def size(self) -> int:
        return self.tile.size

    @property
    def depth(self) -> int:
        return _DEPTH_BYTES // self.size

    @property
    def most_depth(self) -> int:
        """A block may be a quarter deeper rather than leave a shallow one."""
        return self.depth + self.depth // 4

    @property
    def cols(self) -> int:
        return _CHUNK_BYTES // self.size // self.tile.nr * self.tile.nr

    @property
    def rows(self) -> int:
        return _CHUNK_BYTES // self.size // self.tile.mr * self.tile.mr

    @property
    def lanes(self) -> int:
        return self.tile.vector.lanes

    @property
    def pack_panels(self) -> int:
        """Panels of B that one task packs."""
        return max(1, _PACK_BYTES // (self.tile.nr * self.size))

    @property
    def pack_rows(self) -> int:
        """Rows of A that one task packs."""
        return _PACK_BYTES // self.size

    @property
    def passes(self) -> int:
        """Over B in place, before a copy pays."""
        return _PASSES_AHEAD if self.tile.asks_ahead else _PASSES

    @property
    def passes_aliasing(self) -> int:
        """The same where the lines of a panel compete for few places in the cache."""
        return _PASSES_AHEAD_ALIASING if self.tile.asks_ahead else _PASSES_ALIASING

    def packed_depth(self, depth: int) -> int:
        """Elements from row to row of packed A: whole panels, and a vector more against cache aliasing."""
        return -(-depth // self.tile.nr) * self.tile.nr + self.lanes


@functools.cache
def gemm_scratch(dtype: np.dtype, isa: Isa, m: int, n: int, k: int, batch: int = 1, element: np.dtype | None = None) -> int:
    """Bytes that a call with these sizes may use as scratch memory.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> gemm_scratch(np.dtype("f4"), host_isa(), 8, 8, 8) % 64
    0
    """
    plan = _Plan(Tile(isa, np.dtype(dtype), element))
    tile, depth = plan.tile, plan.packed_depth(max(1, min(k, plan.most_depth)))
    b_items = -(-min(n, plan.cols) // tile.nr) * tile.nr * depth
    a_items = -(-min(m, plan.rows) // plan.lanes) * plan.lanes * depth
    one = -(-(a_items + b_items + k + 64) * plan.size // 64) * 64
    return one * (min(batch, MOST_TASKS) if batch > 1 else 1)


def gemm_routine(dtype: np.dtype, isa: Isa, fields: Mapping[str, int], element: np.dtype | None = None) -> Routine:
    """The matrix product (f32, f64, or integers, which wrap) for calls with these members of CALL. `element`: what the operands
    are made of, where they are read by the word (K and strides count words, and a_col is 1); `dtype` is then that of the sums.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> one = dict(M=1, N=9, K=9, a_row=9, a_col=1, b_row=9, b_col=1)
    >>> gemm_routine(np.dtype("f4"), host_isa(), one).name.split("_")[0]
    'gemv'
    """
    tile = Tile(isa, np.dtype(dtype), element)
    if fields["K"] and is_vector(fields) and not element:
        step = fields["b_row"] if fields["N"] == 1 and 1 in (fields["a_row"], fields["a_col"]) else fields["a_col"]
        return routine_of(_vector_part(tile), pack_table(tile, {"any"} if step != 1 else ()))
    if is_of_lines(tile, fields):
        rows = even_parts(fields["M"], line_rows(tile))
        return routine_of(_lines_part(tile), [dots_part(tile, r) if r in rows else None for r in range(1, line_rows(tile) + 1)])
    packs = pack_table(tile, _kinds_of_copies(_Plan(tile), fields))
    return routine_of(_matrix_part(tile), packs + _kernel_table(_Plan(tile), fields["M"], fields["N"]))


def _kinds_of_copies(plan: _Plan, fields: Mapping[str, int]) -> set[str]:
    """What blocks of A and B may be copied by: see `_start_job`, `_pack_a` and `_pack_b`."""
    tile, (m, n, k) = plan.tile, (fields[name] for name in "MNK")
    if not k:
        return {"any"}
    kinds = set()
    if m > 2 * tile.mr and n > _LARGE_N * tile.nr:
        kinds |= {"rows"} if fields["a_col"] == 1 else {"columns"} if fields["a_row"] == 1 else set()
    if fields["b_col"] != 1:
        kinds.add("columns" if fields["b_row"] == 1 else "any")
    elif (tile.in_tiles or m > plan.passes_aliasing * tile.mr and n * k * plan.size > _LEAST_REUSED
          or not tile.free_masks and n % plan.lanes):
        kinds.add("panels")
    return kinds


def is_vector(fields: Mapping[str, int]) -> bool:
    """One row or one column, where the vector kernels can walk the matrix."""
    return (fields["N"] == 1 and 1 in (fields["a_row"], fields["a_col"])
            or fields["M"] == 1 and 1 in (fields["b_row"], fields["b_col"]))


def _kernel_table(plan: _Plan, m: int, n: int) -> list[Part | None]:
    """The kernels that the blocks of such a result need, by ((masked * nv) + vectors - 1) * mr + rows - 1."""
    tile, m, n = plan.tile, max(m, 1), max(n, 1)
    blocks = lambda size, chunk, unit: {min(step, size - i) for step in [_step(size, chunk, unit)] for i in range(0, size, step)}
    rows = set().union(*(even_parts(block, tile.mr) for block in blocks(m, plan.rows, tile.mr)))
    widths = {min(tile.nr, block - at) for block in blocks(n, plan.cols, tile.nr) for at in (0, block // tile.nr * tile.nr)}
    wanted = {(int(width % plan.lanes > 0), -(-width // plan.lanes)) for width in widths if width}
    return [tile_part(tile, masked, v, r) if (masked, v) in wanted and r in rows else None
            for masked in (0, 1) for v in range(1, tile.nv + 1) for r in range(1, tile.mr + 1)]


def _step(size: int, chunk: int, unit: int) -> int:
    """How long the chunks are if none is longer than `chunk` and all but the last are equal multiples of `unit`."""
    even = -(-size // -(-size // chunk))
    return -(-even // unit) * unit


def _declarations(tile: Tile) -> str:
    return f"{DECLARATIONS}%element = type {tile.vector.element}\n{tile.vector.declarations()}"


@functools.cache
def _matrix_part(tile: Tile) -> Part:
    plan = _Plan(tile)
    body = "".join((run_text(), _pack_b(plan), _pack_task(plan), _tile_task(plan), _product(plan), batch_task(), entry_text()))
    return part_of(tile.isa, f"gemm_{tile.element or tile.dtype.str[1:]}", _declarations(tile), body)


@functools.cache
def _vector_part(tile: Tile) -> Part:
    plan = _Plan(tile)
    body = "".join((vector_text(tile), run_text(), _vector_product(plan), _either_vector(), batch_task(), entry_text()))
    return part_of(tile.isa, f"gemv_{tile.dtype.str[1:]}", _declarations(tile), body)


@functools.cache
def _lines_part(tile: Tile) -> Part:
    body = "".join((lines_text(tile), run_text(), batch_task(), entry_text()))
    return part_of(tile.isa, f"gemd_{tile.dtype.str[1:]}", _declarations(tile), body)


def _pack_task(plan: _Plan) -> str:
    """Task t packs a piece of K of a few panels of B or, from b_tasks on, of some rows of A."""
    f = Function("pack_task", "ptr %job, i64 %task", "internal", RARELY)
    depth, b_tasks, panels = _JOB.get(f, "%job", "depth", "b_tasks", "panels")
    pieces = f.ceil_div(depth, _PACK_DEPTH)
    start = f.mul(f.rem("%task", pieces), _PACK_DEPTH)
    n = f.min(f.sub(depth, start), _PACK_DEPTH)
    group = f.div("%task", pieces)
    with f.when(f.compare("slt", group, b_tasks)):
        first = f.mul(group, plan.pack_panels)
        end = f.min(f.add(first, plan.pack_panels), panels)
        f.call("@pack_b", ("ptr", "%job"), ("i64", first), ("i64", end), ("i64", start), ("i64", n))
        f.leave()
    _pack_a(f, plan, f.sub(group, b_tasks), start, n)
    return f.text()


def _pack_b(plan: _Plan) -> str:
    """@pack_b, `depth` rows of some panels of B: a row at a time where rows are contiguous, else a panel at a time."""
    f = Function("pack_b", "ptr %job, i64 %first, i64 %end, i64 %row, i64 %depth", "internal", RARELY)
    nr, size, depth = plan.tile.nr, plan.size, "%depth"
    source, bk, bn, target, step, cols, kernels = _JOB.get(f, "%job", "B", "bk", "bn", "b_packed", "b_step", "cols", "kernels")
    start = f.mul("%first", nr)
    width = f.min(f.sub(cols, start), f.mul(f.sub("%end", "%first"), nr))
    source = f.offset(source, f.add(f.mul(start, bn), f.mul("%row", bk)))
    target = f.offset(target, f.add(f.mul("%first", step), f.mul("%row", nr * size)))
    with f.when(f.compare("eq", bn, size)):
        copy_block(f, kernels, "panels", source, bk, target, step, depth, width)
        f.leave()
    with f.loop(0, width, nr) as col:
        source, target = f.offset(source, f.mul(col.index, bn)), f.offset(target, f.mul(f.div(col.index, nr), step))
        wide, pitch = f.min(f.sub(width, col.index), nr), nr * size
        columns = f.compare("eq", bk, size)
        with f.when(columns):
            copy_block(f, kernels, "columns", source, bn, target, pitch, depth, wide)
        with f.when(f.value(f"xor i1 {columns}, true")):
            copy_block(f, kernels, "any", source, bk, target, pitch, depth, wide, ("i64", bn))
    return f.text()


def _pack_a(f: Function, plan: _Plan, group: str, start: str, depth: str) -> None:
    """`depth` elements of each of some rows of A, plain or transposed, as rows."""
    names = "rows", "A", "rs", "cs", "a_packed", "a_step", "kernels"
    rows, source, rs, cs, target, step, kernels = _JOB.get(f, "%job", *names)
    row = f.mul(group, plan.pack_rows)
    n = f.min(f.sub(rows, row), plan.pack_rows)
    source = f.offset(source, f.add(f.mul(row, rs), f.mul(start, cs)))
    target = f.offset(target, f.add(f.mul(row, step), f.mul(start, plan.size)))
    with f.when(f.compare("eq", cs, plan.size)):
        copy_block(f, kernels, "rows", source, rs, target, step, n, depth)
        f.leave()
    copy_block(f, kernels, "columns", source, cs, target, step, n, depth)


def _tile_task(plan: _Plan) -> str:
    """Task t computes one block of C: a range of row tiles by a range of panels."""
    f = Function("tile_task", "ptr %job, i64 %task", "internal")
    row_blocks, col_blocks, tiles, panels, depth = _JOB.get(f, "%job", "row_blocks", "col_blocks", "tiles", "panels", "depth")
    i, j = f.rem("%task", row_blocks), f.div("%task", row_blocks)
    first, last = (f.div(f.mul(tiles, f.add(i, e)), row_blocks) for e in (0, 1))
    start, stop = (f.div(f.mul(panels, f.add(j, e)), col_blocks) for e in (0, 1))
    late = f.compare("ne", _JOB.get(f, "%job", "pack_late")[0], 0)
    with f.loop(start, stop, plan.pack_panels) as group:
        end = f.min(f.add(group.index, plan.pack_panels), stop)
        with f.when(late):
            f.call("@pack_b", ("ptr", "%job"), ("i64", group.index), ("i64", end), ("i64", 0), ("i64", depth))
        with f.loop(group.index, end) as panel:
            _one_panel(f, plan, panel.index, first, last)
    return f.text()


def _one_panel(f: Function, plan: _Plan, panel: str, first: str, last: str) -> None:
    tile, size = plan.tile, plan.size
    panel_b, panel_step, bs, cols = _JOB.get(f, "%job", "panel_b", "panel_step", "panel_bs", "cols")
    c, d, ldc, ldd, depth = _JOB.get(f, "%job", "C", "D", "ldc", "ldd", "depth")
    a, rs, cs = _JOB.get(f, "%job", "tile_a", "tile_rs", "tile_cs")
    col = f.mul(panel, tile.nr)
    width, at = f.min(f.sub(cols, col), tile.nr), f.mul(col, size)
    b = f.offset(panel_b, f.mul(panel, panel_step))
    kernels = kernels_of(f, tile, _JOB.get(f, "%job", "kernels")[0], width)
    c, d_at = f.offset(c, at), f.value(f"getelementptr i8, ptr {d}, i64 {at}")
    absent = f.compare("eq", d, "null", "ptr")
    with f.loop(first, last) as loop:
        row, rows = tile_rows(f, _JOB, loop.index)
        kernel = f.load("ptr", f.offset(kernels, f.mul(f.sub(rows, 1), 8)))
        d_tile = f.select(absent, "null", f.value(f"getelementptr i8, ptr {d_at}, i64 {f.mul(row, ldd)}"), "ptr")
        f.call(kernel, ("ptr", f.offset(a, f.mul(row, rs))), ("i64", rs), ("i64", cs), ("ptr", b), ("i64", bs), ("i64", depth),
               ("ptr", f.offset(c, f.mul(row, ldc))), ("i64", ldc), ("ptr", d_tile), ("i64", ldd), ("i64", width))
    finish_block(f, _JOB, c, col, width, first, last)


def _product(plan: _Plan) -> str:
    """The blocked product of one batch entry: N chunks, K blocks, M chunks, each packed and then computed."""
    f = Function("product", ENTRY_PARAMS, "internal", RARELY)
    job = _JOB.allocate(f)
    m, n, k = CALL.get(f, "%call", "M", "N", "K")
    _start_job(f, plan, job, m, n, k)
    fork = f.mul("%fork", zext(f, f.compare("sge", f.mul(f.mul(m, n), k), 2 * TASK_WORK)))
    k_blocks = f.ceil_div(f.max(f.sub(k, plan.depth // 4), 1), plan.depth)
    k_step = f.round_up(f.ceil_div(k, k_blocks), plan.tile.step)
    n_step = f.round_up(f.ceil_div(n, f.ceil_div(n, plan.cols)), plan.tile.nr)
    m_step = f.round_up(f.ceil_div(m, f.ceil_div(m, plan.rows)), plan.tile.mr)
    with f.loop(0, n, n_step) as cols, f.loop(0, k_blocks) as block, f.loop(0, m, m_step) as rows:
        depth = f.mul(block.index, k_step)
        _JOB.put(f, job, rows=f.min(f.sub(m, rows.index), m_step), cols=f.min(f.sub(n, cols.index), n_step),
                 depth=f.min(f.sub(k, depth), k_step))
        _place(f, plan, job, rows.index, cols.index, depth, block.index, f.sub(k_blocks, 1))
        _choose_sources(f, plan, job)
        _cut_blocks(f, plan, job, fork)
        _pack(f, plan, job, f.compare("eq", rows.index, 0), fork)
        row_blocks, col_blocks = _JOB.get(f, job, "row_blocks", "col_blocks")
        run_tasks(f, "@tile_task", job, f.mul(row_blocks, col_blocks), fork)
    return f.text()


def _either_vector() -> str:
    """The product of one batch entry where it has one row or one column."""
    f = Function("product", ENTRY_PARAMS, "internal", RARELY)
    m, n, a_row, a_col, b_row, b_col = CALL.get(f, "%call", "M", "N", "a_row", "a_col", "b_row", "b_col")
    for one, across, down, kind in ((n, a_row, a_col, 0), (m, b_col, b_row, 1)):
        unit = f.either(f.compare("eq", across, 1), f.compare("eq", down, 1))
        with f.when(f.both(f.compare("eq", one, 1), unit)):
            f.call("@vector_product", *ENTRY_ARGS, ("i64", "%fork"), ("i64", kind))
            f.leave()
    return f.text()


def _start_job(f: Function, plan: _Plan, job: str, m: str, n: str, k: str) -> None:
    """Fill in what all blocks share and decide whether A and B are worth packing."""
    size, tile = plan.size, plan.tile
    rs, cs, bk, bn, ldc = (f.mul(s, size) for s in CALL.get(f, "%call", "a_row", "a_col", "b_row", "b_col", "ldc"))
    large = f.both(f.compare("sgt", m, 2 * tile.mr), f.compare("sgt", n, _LARGE_N * tile.nr))
    aliasing = f.either(f.compare("sgt", k, plan.most_depth), f.compare("eq", f.rem(rs, 2048), 0))
    plain = f.both(f.compare("eq", cs, size), aliasing)
    pack_a = f.both(large, f.either(plain, f.compare("eq", rs, size)))
    aliases = f.compare("eq", f.rem(bk, 4096), 0)
    passes = f.select(aliases, plan.passes_aliasing, plan.passes)
    reused = f.both(f.compare("sgt", m, f.mul(passes, tile.mr)), f.compare("sgt", f.mul(f.mul(n, k), size), _LEAST_REUSED))
    pack_b = f.either(reused, f.compare("ne", bn, size))
    if not tile.free_masks or tile.in_tiles:
        pack_b = f.either(pack_b, f.compare("ne", f.rem(n, plan.lanes), 0))
    ctx, pitch, kernels = CALL.get(f, "%call", "ctx", "ldc", "kernels")
    _JOB.put(f, job, kernels=kernels, rs=rs, cs=cs, bk=bk, bn=bn, ldc=ldc, ctx=ctx, pitch=pitch,
             pack_a=zext(f, pack_a), pack_b=zext(f, pack_b))


def _place(f: Function, plan: _Plan, job: str, row: str, col: str, depth: str, block: str, last_block: str) -> None:
    """The pointers of one block; D is the caller's at the first K block, then what is in C."""
    size = plan.size
    rs, cs, bk, bn, ldc = _JOB.get(f, job, "rs", "cs", "bk", "bn", "ldc")
    ldd, epilogue = CALL.get(f, "%call", "ldd", "epilogue")
    ldd = f.mul(ldd, size)
    at = f.mul(col, size)
    a = f.offset("%A", f.add(f.mul(row, rs), f.mul(depth, cs)))
    b = f.offset("%B", f.add(f.mul(depth, bk), f.mul(col, bn)))
    c = f.offset("%C", f.add(f.mul(row, ldc), at))
    d = f.value(f"getelementptr i8, ptr %D, i64 {f.add(f.mul(row, ldd), at)}")
    d = f.select(f.compare("eq", "%D", "null", "ptr"), "null", d, "ptr")
    first = f.compare("eq", block, 0)
    _JOB.put(f, job, A=a, B=b, C=c, D=f.select(first, d, c, "ptr"), ldd=f.select(first, ldd, ldc),
             row=f.add("%first_row", row), col=col,
             epilogue=f.select(f.compare("eq", block, last_block), epilogue, "null", "ptr"))


def _choose_sources(f: Function, plan: _Plan, job: str) -> None:
    """Where and with which strides the tile kernels read A and B, packed or as they are."""
    tile, size, lanes = plan.tile, plan.size, plan.lanes
    rows, cols, depth = _JOB.get(f, job, "rows", "cols", "depth")
    tiles, panels = f.ceil_div(rows, tile.mr), f.ceil_div(cols, tile.nr)
    a, b, rs, cs, bk = _JOB.get(f, job, "A", "B", "rs", "cs", "bk")
    a_packed, b_packed = (f.compare("ne", flag, 0) for flag in _JOB.get(f, job, "pack_a", "pack_b"))
    padded = f.round_up(depth, tile.nr)
    b_step = f.mul(f.add(padded, 1), tile.nr * size)  # a row more, as panels a power of two apart compete for places in the cache
    b_bytes = f.select(b_packed, f.mul(panels, b_step), 0)
    a_memory = f.offset("%scratch", b_bytes)
    a_step = f.mul(f.add(padded, lanes), size)
    _JOB.put(f, job, tiles=tiles, panels=panels, tile_rows=f.div(rows, tiles), wide_tiles=f.rem(rows, tiles),
             a_packed=a_memory, b_packed="%scratch", a_step=a_step, b_step=b_step,
             tile_a=f.select(a_packed, a_memory, a, "ptr"),
             tile_rs=f.select(a_packed, a_step, rs), tile_cs=f.select(a_packed, size, cs),
             panel_b=f.select(b_packed, "%scratch", b, "ptr"), panel_bs=f.select(b_packed, tile.nr * size, bk),
             panel_step=f.select(b_packed, b_step, tile.nr * size))


def _pack(f: Function, plan: _Plan, job: str, first_rows: str, fork: str) -> None:
    """Panels of B (once for all M chunks) and rows of A, in one set of tasks.

    Panels that only one task reads are packed by that task, a few at a time, and are then still in its cache.
    """
    pack_a, pack_b, rows, panels, depth, row_blocks = _JOB.get(f, job, "pack_a", "pack_b", "rows", "panels", "depth", "row_blocks")
    pack_b = f.mul(pack_b, zext(f, first_rows))
    late = f.mul(pack_b, zext(f, f.compare("eq", row_blocks, 1)))
    b_tasks = f.mul(f.ceil_div(panels, plan.pack_panels), f.sub(pack_b, late))
    _JOB.put(f, job, b_tasks=b_tasks, pack_late=late)
    groups = f.add(b_tasks, f.mul(f.ceil_div(rows, plan.pack_rows), pack_a))
    run_tasks(f, "@pack_task", job, f.mul(groups, f.ceil_div(depth, _PACK_DEPTH)), fork)


def _cut_blocks(f: Function, plan: _Plan, job: str, fork: str) -> None:
    """Cut C into blocks: small enough for the caches and, if forking pays, enough of them to share out."""
    tiles, panels, rows, cols, depth = _JOB.get(f, job, "tiles", "panels", "rows", "cols", "depth")
    work = f.div(f.mul(f.mul(rows, cols), f.min(depth, plan.depth // 2)), TASK_WORK)  # deep: larger tasks, not more
    wanted = f.select(f.compare("eq", fork, 0), 1, f.max(f.min(work, MOST_TASKS), 1))
    block_tiles = f.select(f.compare("slt", depth, _SHALLOW), 1, _BLOCK_TILES)
    row_blocks, col_blocks = f.ceil_div(tiles, block_tiles), f.ceil_div(panels, _BLOCK_PANELS)
    row_blocks = f.min(tiles, f.max(row_blocks, f.ceil_div(wanted, f.mul(col_blocks, 4))))
    col_blocks = f.min(panels, f.max(col_blocks, f.ceil_div(wanted, row_blocks)))
    row_blocks = f.min(tiles, f.max(row_blocks, f.ceil_div(wanted, col_blocks)))
    _JOB.put(f, job, row_blocks=row_blocks, col_blocks=col_blocks)


def _vector_product(plan: _Plan) -> str:
    """M or N is 1 (%is_row: M): fill in the vector job and run it in blocks of outputs."""
    f, size = Function("vector_product", ENTRY_PARAMS + ", i64 %is_row", "internal", RARELY), plan.size
    job = VECTOR_JOB.allocate(f)
    m, n, k, ldc, ldd = CALL.get(f, "%call", "M", "N", "K", "ldc", "ldd")
    a_row, a_col, b_row, b_col = CALL.get(f, "%call", "a_row", "a_col", "b_row", "b_col")
    epilogue, ctx = CALL.get(f, "%call", "epilogue", "ctx")
    is_row = f.compare("ne", "%is_row", 0)

    def pick(row: str | int, column: str | int, kind: str = "i64") -> str:
        return f.select(is_row, row, column, kind)

    across, down, outputs = pick(b_col, a_row), pick(b_row, a_col), pick(n, m)
    x_step = f.mul(pick(a_col, b_row), size)
    VECTOR_JOB.put(f, job, matrix=pick("%B", "%A", "ptr"), x=pick("%A", "%B", "ptr"), x_step=x_step, y="%C", d="%D",
                   y_step=f.mul(pick(1, ldc), size), d_step=f.mul(pick(1, ldd), size), outputs=outputs, depth=k,
                   epilogue=epilogue, ctx=ctx, row="%first_row", is_row="%is_row", ldc=ldc)
    fork = f.mul("%fork", zext(f, f.compare("sge", f.mul(outputs, k), _VECTOR_WORK)))
    share = f.max(f.ceil_div(outputs, MOST_TASKS // 2), f.div(_VECTOR_WORK // 4, k))
    with f.when(f.compare("eq", down, 1)):
        _gather(f, plan, job, x_step, k)
        block = f.round_up(f.max(share, 1), DOT_ROWS)
        VECTOR_JOB.put(f, job, step=f.mul(across, size), block=block)
        run_tasks(f, "@dot_task", job, f.ceil_div(outputs, block), fork)
        f.leave()
    block = f.round_up(f.max(share, 1), sweep_group(plan.tile))
    VECTOR_JOB.put(f, job, step=f.mul(down, size), block=block)
    run_tasks(f, "@sweep_task", job, f.ceil_div(outputs, block), fork)
    return f.text()


def _gather(f: Function, plan: _Plan, job: str, x_step: str, k: str) -> None:
    """The dot kernel loads whole registers of x: make it contiguous."""
    x, = VECTOR_JOB.get(f, job, "x")
    with f.when(f.compare("ne", x_step, plan.size)):
        copy_block(f, CALL.get(f, "%call", "kernels")[0], "any", x, x_step, "%scratch", plan.size, k, "1", ("i64", 0))
        VECTOR_JOB.put(f, job, x="%scratch")



"""Blocks of A and B -> packed copies that the tile kernels can stream through.

Packed B: one panel per `nr` columns, row after row of `nr` elements, zero-padded at the right edge.
Packed A: rows, plain or transposed to be so, with a pitch that does not alias in the cache.
"""
from __future__ import annotations

import functools
from collections.abc import Collection

from .gemm_text import Function
from .gemm_tile import Tile
from .routine import Part, part_of

_ROWS_AHEAD = 4  # asked for while a row is copied: rows may lie in pages of their own, which no prefetcher foresees
_AHEAD = 512  # bytes of a panel that are asked for before they are written
COPY_PARAMS = "ptr %from, i64 %step, ptr %to, i64 %pitch, i64 %n, i64 %width"


KINDS = ("rows", "panels", "columns", "any")
TABLE_BYTES = 8 * len(KINDS)  # what these take at the start of a routine's table of kernels


def pack_table(tile: Tile, kinds: Collection[str]) -> list[Part | None]:
    """The functions of these KINDS: (from, row step, to, pitch, rows, width), in bytes and elements."""
    return [pack_part(tile, kind) if kind in kinds else None for kind in KINDS]


def kernels_of(f: Function, tile: Tile, table: str, width: str) -> str:
    """The kernels for tiles of this width, in the table behind these functions: by registers, and by whether the last is full."""
    masked = f.value(f"zext i1 {f.compare('ne', f.rem(width, tile.vector.lanes), 0)} to i64")
    kind = f.add(f.mul(masked, tile.nv), f.sub(f.ceil_div(width, tile.vector.lanes), 1))
    return f.offset(table, f.add(f.mul(kind, 8 * tile.mr), TABLE_BYTES))


@functools.cache
def pack_part(tile: Tile, kind: str) -> Part:
    head = f"declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n{tile.vector.declarations()}"
    body = {"rows": _pack_rows, "panels": _pack_panels, "columns": _pack_columns, "any": _pack_any}[kind](tile)
    return part_of(tile.isa, f"pack_{kind}_{tile.dtype.str[1:]}", head, body)


def copy_block(f: Function, kernels: str, kind: str, source: str, step: str, target: str, pitch: str | int, n: str, width: str,
               *more: tuple[str, str]) -> None:
    """Call the function of this kind, which the table `kernels` must have."""
    function = f.load("ptr", f.offset(kernels, 8 * KINDS.index(kind)))
    f.call(function, ("ptr", source), ("i64", step), ("ptr", target), ("i64", pitch), ("i64", n), ("i64", width), *more)


def _pack_rows(tile: Tile) -> str:
    """Copy n rows of `width` contiguous elements; the copy is padded to whole vectors."""
    f, vector = Function("ENTRY", COPY_PARAMS), tile.vector
    full = f.mul(f.div("%width", vector.lanes), vector.bytes)
    rest = f.rem("%width", vector.lanes)
    mask, has_rest = vector.mask(f, rest), f.compare("ne", rest, 0)
    with f.loop(0, "%n", carry=[("ptr", "%from"), ("ptr", "%to")]) as row:
        source, target = row.carried
        with f.loop(0, full, vector.bytes) as at:
            vector.store(f, vector.load(f, f.offset(source, at.index)), f.offset(target, at.index))
        with f.when(has_rest):
            vector.store(f, vector.load(f, f.offset(source, full), mask), f.offset(target, full))
        row.next = [f.offset(source, "%step"), f.offset(target, "%pitch")]
    return f.text()


def _pack_panels(tile: Tile) -> str:
    """Cut n rows of `width` contiguous elements into panels of nr columns, `pitch` bytes apart.

    Several panels at once, as a row of one panel is too little to read from each page of memory.
    """
    f, vector = Function("ENTRY", COPY_PARAMS), tile.vector
    line = tile.nr * vector.size
    full, rest = f.div("%width", tile.nr), f.rem("%width", tile.nr)
    masks, has_rest = [vector.mask(f, rest, v * vector.lanes) for v in range(tile.nv)], f.compare("ne", rest, 0)

    def copy(source: str, target: str, masks: list[str | None]) -> None:
        for v, mask in enumerate(masks):
            vector.store(f, vector.load(f, f.offset(source, v * vector.bytes), mask), f.offset(target, v * vector.bytes))

    ahead = f.mul("%step", _ROWS_AHEAD)
    with f.loop(0, "%n", carry=[("ptr", "%from"), ("ptr", "%to")]) as row:
        source, target = row.carried
        with f.loop(0, full, carry=[("ptr", source), ("ptr", target)]) as panel:
            f.do(f"call void @llvm.prefetch.p0(ptr {f.offset(panel.carried[1], _AHEAD)}, i32 1, i32 3, i32 1)")
            for at in range(0, line, 64):
                later = f.value(f"getelementptr i8, ptr {f.offset(panel.carried[0], at)}, i64 {ahead}")
                f.do(f"call void @llvm.prefetch.p0(ptr {later}, i32 0, i32 3, i32 1)")
            copy(*panel.carried, [None] * tile.nv)
            panel.next = [f.offset(panel.carried[0], line), f.offset(panel.carried[1], "%pitch")]
        with f.when(has_rest):
            copy(*panel.result, masks)
        row.next = [f.offset(source, "%step"), f.offset(target, line)]
    return f.text()


def _pack_columns(tile: Tile) -> str:
    """Transpose: `width` columns, each `step` bytes apart and contiguous down its n rows, to rows.

    nr columns at a time, so that most cache lines are written whole. Those beyond `width` repeat the last one
    (nobody reads what they fill); the rows are written up to the next multiple of the vector length.
    """
    f, vector = Function("ENTRY", COPY_PARAMS), tile.vector
    last = f.sub("%width", 1)
    with f.loop(0, "%width", tile.nr) as block:
        columns = [f.offset("%from", f.mul(f.min(f.add(block.index, i), last), "%step")) for i in range(tile.nr)]
        target = f.offset("%to", f.mul(block.index, vector.size))
        with f.loop(0, "%n", vector.lanes) as row:
            mask = vector.mask(f, f.min(f.sub("%n", row.index), vector.lanes))
            at = f.mul(row.index, vector.size)
            out = f.offset(target, f.mul(row.index, "%pitch"))
            for v in range(tile.nv):
                group = columns[v * vector.lanes:(v + 1) * vector.lanes]
                lines = vector.transpose(f, [vector.load(f, f.offset(c, at), mask) for c in group])
                for i, line in enumerate(lines):
                    vector.store(f, line, f.offset(out, f.add(f.mul("%pitch", i), v * vector.bytes)))
    return f.text()


def _pack_any(tile: Tile) -> str:
    """Copy elements one by one: row step in %step, column step in %across."""
    f, vector = Function("ENTRY", COPY_PARAMS + ", i64 %across"), tile.vector
    with f.loop(0, "%n") as row:
        source = f.offset("%from", f.mul(row.index, "%step"))
        target = f.offset("%to", f.mul(row.index, "%pitch"))
        with f.loop(0, "%width") as column:
            value = f.load(vector.element, f.offset(source, f.mul(column.index, "%across")), vector.size)
            f.store(vector.element, value, f.offset(target, f.mul(column.index, vector.size)), vector.size)
    return f.text()

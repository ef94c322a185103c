"""A float dtype and an instruction set -> one native convolution for all sizes and layouts, as LLVM IR.

The routine is `void NAME(ptr call)`; `call` points to a `CONV` record of 8-byte members (conv_plan.py).
The caller sets the pointers x, w, y, d (or null), scratch (64-byte aligned), kernels, epilogue and ctx (or
null); all other members come from `conv_calls`, which turns shapes and strides into one or more
calls, to be made one after the other:

    calls, scratch_bytes = conv_calls(Convolution(...), dtype, isa)
    routine = conv_routine(calls[0], dtype, isa)

The epilogue is `void(ptr ctx, ptr c, i64 row, i64 col, i64 rows, i64 cols, i64 pitch)`, called once per
finished block of y; element (i, j) of the block is element (row + i) * pitch + col + j of y's memory.

Nothing is expanded to patches: the tile kernels read x in place, or, where a line must be padded, from
a copy with zeros at its ends. Each element of y is summed in an order that depends on shapes and strides only.
"""
from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from .conv_plan import CONV, LEVELS, OUTER, Convolution, conv_calls
from .conv_tile import segment_part
from .gemm_call import DECLARATIONS, run_tasks, run_text
from .gemm_pack import copy_block, kernels_of, pack_table
from .gemm_text import RARELY, Function, Record
from .gemm_tile import Tile, even_parts
from .isa import Isa
from .routine import Part, Routine, part_of, routine_of

__all__ = ["CONV", "Convolution", "conv_calls", "conv_routine"]

# What the tasks of one chunk of images share.
_JOB = Record("*call", "*A", "*B", "*C", "*D", "images", "first_image", "positions", "panels", "panel_blocks", "tiles",
              "*image", "lines", "line_block")

_COPY_ITEMS = 1 << 12  # elements of a padded copy that one task makes
_INDEX = Record(*(f"i{i}" for i in OUTER))


def conv_routine(call: Mapping[str, int], dtype: np.dtype, isa: Isa) -> Routine:
    """The f32 or f64 convolution for a call with these members of CONV."""
    tile = Tile(isa, np.dtype(dtype))
    return routine_of(_control_part(tile), pack_table(tile, _kinds_of_copies(tile, call)) + _kernel_table(tile, call))


def _kinds_of_copies(tile: Tile, call: Mapping[str, int]) -> set[str]:
    """What lines of x and w may be copied by: see `_copy_line` and `_pack_lines`."""
    kinds = set()
    if call.get("copy"):
        kinds.add("rows" if call["c_step"] == tile.size else "any")
    if call.get("pack"):
        step, n_step = call.get("pack0", 0), call["pack_n"]
        kinds.add("rows" if n_step == tile.size else "columns" if step == tile.size and n_step else "any")
    return kinds


def _kernel_table(tile: Tile, call: Mapping[str, int]) -> list[Part | None]:
    """The kernels that a call needs, by ((masked * nv) + vectors - 1) * mr + rows - 1."""
    lanes, kind = tile.vector.lanes, ("outer", "depthwise", "dot")[call["kernel"]]
    widths = {min(call["nr"], call["cols"]), call["cols"] % call["nr"] or call["nr"]}
    wanted = {(int(width % lanes != 0), -(-width // lanes)) for width in widths}
    rows = even_parts(call["rows"], tile.mr)
    return [segment_part(tile, kind, masked, v, r) if (masked, v) in wanted and r in rows else None
            for masked in (0, 1) for v in range(1, tile.nv + 1) for r in range(1, tile.mr + 1)]


@functools.cache
def _control_part(tile: Tile) -> Part:
    body = "".join((run_text(), _clear(tile), _copy_task(tile), _pack_task(tile), _position(tile), _compute_task(tile),
                    _fold_task(tile), _entry(tile), *([_fetch_lines()] if tile.isa.wants_prefetches else [])))
    zeros = f"@zeros = internal constant [{tile.nr} x {tile.vector.element}] zeroinitializer, align 64\n"
    head = f"{DECLARATIONS}{tile.vector.declarations()}{zeros}"
    return part_of(tile.isa, f"conv_{tile.dtype.str[1:]}", head, body)


def _names(what: str, numbers: range) -> list[str]:
    return [f"{what}{i}" for i in numbers]


def _inner_product(f: Function, indices: list[str], steps: list[str]) -> str | int:
    total: str | int = 0
    for index, step in zip(indices, steps, strict=True):
        total = f.add(total, f.mul(index, step))
    return total


def _split(f: Function, flat: str, sizes: list[str]) -> list[str]:
    """A flat index -> indices, the last axis fastest; the first size is not needed."""
    indices = []
    for size in reversed(sizes[1:]):
        indices.append(f.rem(flat, size))
        flat = f.div(flat, size)
    return [flat, *indices[::-1]]


def _nonzero(f: Function, call: str, member: str) -> str:
    return f.compare("ne", CONV.get(f, call, member)[0], 0)


def _move(f: Function, pointer: str, n_bytes: str | int) -> str:
    """Like offset, but may pass through addresses outside the array."""
    return f.value(f"getelementptr i8, ptr {pointer}, i64 {n_bytes}")


def _entry(tile: Tile) -> str:
    """Repack w, then chunk by chunk: pad the input if need be, and compute."""
    f = Function("ENTRY", "ptr %call", attributes=RARELY)
    job = _JOB.allocate(f)
    _start_job(f, tile, job)
    fork, count, chunk = CONV.get(f, "%call", "fork", "count0", "chunk")
    copied = _nonzero(f, "%call", "copy")
    with f.when(_nonzero(f, "%call", "pack")):
        groups, panels = *CONV.get(f, "%call", "pack_groups"), *_JOB.get(f, job, "panels")
        run_tasks(f, "@pack_task", job, f.mul(groups, panels), fork)
    a, b = _operands(f, job, copied)
    with f.loop(0, count, chunk) as loop:
        _start_chunk(f, job, a, b, loop.index, f.min(f.sub(count, loop.index), chunk))
        with f.when(copied):
            lines, block = _JOB.get(f, job, "lines", "line_block")
            run_tasks(f, "@copy_task", job, f.ceil_div(lines, block), fork)
        _run_compute(f, job, fork)
    with f.when(_nonzero(f, "%call", "fold")):
        items, pitch = CONV.get(f, "%call", "y_items", "pitch")
        run_tasks(f, "@fold_task", "%call", f.ceil_div(items, _fold_block(f, pitch)), fork)
    return f.text()


def _in_parts(f: Function, call: str) -> str:
    return f.compare("sgt", CONV.get(f, call, "parts")[0], 1)


def _fold_block(f: Function, pitch: str) -> str:
    """Elements of y, in whole lines, that one task adds up."""
    return f.mul(f.add(f.div(_COPY_ITEMS, pitch), 1), pitch)


def _fold_task(tile: Tile) -> str:
    """Task t adds up the parts of some lines of y, and calls the epilogue on them."""
    f, vector = Function("fold_task", "ptr %call, i64 %task", "internal"), tile.vector
    names = "y", "scratch", "parts_at", "parts", "y_items", "pitch", "epilogue", "ctx"
    y, scratch, at, parts, items, pitch, epilogue, ctx = CONV.get(f, "%call", *names)
    block = _fold_block(f, pitch)
    start = f.mul("%task", block)
    stop, step = f.min(f.add(start, block), items), f.mul(items, tile.size)
    with f.loop(start, stop, vector.lanes) as loop:
        mask = vector.mask(f, f.min(f.sub(stop, loop.index), vector.lanes))
        place = f.mul(loop.index, tile.size)
        first = f.offset(scratch, f.add(at, place))
        with f.loop(1, parts, carry=[(vector.type, vector.load(f, first, mask))], guard=False) as part:
            value = vector.load(f, f.offset(first, f.mul(part.index, step)), mask)
            part.next = [vector.add(f, part.carried[0], value)]
        vector.store(f, part.result[0], f.offset(y, place), mask)
    with f.when(f.compare("ne", epilogue, "null", "ptr")):
        row = f.div(start, pitch)
        f.call(epilogue, ("ptr", ctx), ("ptr", f.offset(y, f.mul(start, tile.size))), ("i64", row), ("i64", 0),
               ("i64", f.sub(f.div(stop, pitch), row)), ("i64", pitch), ("i64", pitch))
    return f.text()


def _start_job(f: Function, tile: Tile, job: str) -> None:
    cols, nr, rows, panel_block = CONV.get(f, "%call", "cols", "nr", "rows", "panel_block")
    scratch, copy_at = CONV.get(f, "%call", "scratch", "copy_at")
    panels = f.ceil_div(cols, nr)
    _JOB.put(f, job, call="%call", image=f.offset(scratch, copy_at), panels=panels,
             panel_blocks=f.ceil_div(panels, panel_block), tiles=f.ceil_div(rows, tile.mr))


def _operands(f: Function, job: str, copied: str) -> tuple[str, str]:
    """Where A and B start: x or its padded copy, w or its panels, in the order that the plan wants."""
    x, w, scratch, x_at, w_at = CONV.get(f, "%call", "x", "w", "scratch", "x_offset", "w_offset")
    x = _move(f, f.select(copied, _JOB.get(f, job, "image")[0], x, "ptr"), x_at)
    w = f.select(_nonzero(f, "%call", "pack"), scratch, _move(f, w, w_at), "ptr")
    swapped = _nonzero(f, "%call", "swapped")
    return f.select(swapped, w, x, "ptr"), f.select(swapped, x, w, "ptr")


def _start_chunk(f: Function, job: str, a: str, b: str, first: str, images: str) -> None:
    """Pointers and counts for some of the images; a chunked copy holds just these."""
    counts = CONV.get(f, "%call", *_names("count", OUTER))
    a0, b0, c0, d0 = CONV.get(f, "%call", "a0", "b0", "c0", "d0")
    y, d, y_at, d_at = CONV.get(f, "%call", "y", "d", "y_offset", "d_offset")
    scratch, parts_at = CONV.get(f, "%call", "scratch", "parts_at")
    y = f.select(_in_parts(f, "%call"), f.offset(scratch, parts_at), y, "ptr")
    lines, pitch, r_count0 = 1, *CONV.get(f, "%call", "row_pitch", "r_count0")
    chunked, swapped = _nonzero(f, "%call", "copy_chunked"), _nonzero(f, "%call", "swapped")
    a_step = f.select(chunked, f.select(swapped, a0, 0), a0)
    b_step = f.select(chunked, f.select(swapped, 0, b0), b0)
    positions: str | int = images
    for count in counts[1:]:
        positions = f.mul(positions, count)
    for count in (f.select(chunked, images, r_count0), *CONV.get(f, "%call", *_names("r_count", OUTER[1:]))):
        lines = f.mul(lines, count)
    d_here = _move(f, d, f.add(d_at, f.mul(first, d0)))
    _JOB.put(f, job, images=images, first_image=f.select(chunked, first, 0), positions=positions, lines=lines,
             line_block=f.add(f.div(_COPY_ITEMS, f.add(pitch, 1)), 1),
             A=_move(f, a, f.mul(first, a_step)), B=_move(f, b, f.mul(first, b_step)),
             C=_move(f, y, f.add(y_at, f.mul(first, c0))),
             D=f.select(f.compare("eq", d, "null", "ptr"), "null", d_here, "ptr"))


def _run_compute(f: Function, job: str, fork: str) -> None:
    positions, panel_blocks = _JOB.get(f, job, "positions", "panel_blocks")
    block, row_blocks = CONV.get(f, "%call", "outer_block", "row_blocks")
    tasks = f.mul(f.mul(f.ceil_div(positions, block), panel_blocks), row_blocks)
    run_tasks(f, "@compute_task", job, tasks, fork)


def _clear(tile: Tile) -> str:
    """@clear: n elements, rounded up to whole registers."""
    f, vector = Function("clear", "ptr %to, i64 %n", "internal"), tile.vector
    with f.loop(0, "%n", vector.lanes) as loop:
        vector.store(f, "zeroinitializer", f.offset("%to", f.mul(loop.index, vector.size)))
    return f.text()


def _copy_task(tile: Tile) -> str:
    """Task t copies a few lines of x, with zeros at their ends (or without what is cropped)."""
    f = Function("copy_task", "ptr %job, i64 %task", "internal", RARELY)
    call, lines, block, image, first = _JOB.get(f, "%job", "call", "lines", "line_block", "image", "first_image")
    x, pitch = CONV.get(f, call, "x", "row_pitch")
    counts, steps = (CONV.get(f, call, *_names(what, OUTER)) for what in ("r_count", "r_step"))
    start = f.mul("%task", block)
    with f.loop(start, f.min(f.add(start, block), lines)) as line:
        indices = _split(f, line.index, counts)
        indices[0] = f.add(indices[0], first)
        _copy_line(f, tile, call, _move(f, x, _inner_product(f, indices, steps)), f.offset(image, f.mul(line.index, pitch)))
    return f.text()


def _copy_line(f: Function, tile: Tile, call: str, source: str, target: str) -> None:
    out, low, size, step = CONV.get(f, call, "w_out", "w_low", "w_in", "w_step")
    count, c_step, kernels = CONV.get(f, call, "c_count", "c_step", "kernels")
    pixel = f.mul(count, tile.size)
    start = f.min(f.max(low, 0), out)
    stop = f.max(f.min(f.add(size, low), out), start)
    n = f.sub(stop, start)
    f.call("@clear", ("ptr", target), ("i64", f.mul(start, count)))
    source, middle = _move(f, source, f.mul(f.sub(start, low), step)), f.offset(target, f.mul(start, pixel))
    plain, dense = f.compare("eq", c_step, tile.size), f.compare("eq", step, pixel)
    with f.when(plain):
        copy_block(f, kernels, "rows", source, step, middle, pixel, f.select(dense, _zext(f, f.compare("sgt", n, 0)), n),
                   f.select(dense, f.mul(n, count), count))
    with f.when(f.value(f"xor i1 {plain}, true")):
        copy_block(f, kernels, "any", source, step, middle, pixel, n, count, ("i64", c_step))
    f.call("@clear", ("ptr", f.offset(target, f.mul(stop, pixel))), ("i64", f.mul(f.sub(out, stop), count)))


def _zext(f: Function, condition: str) -> str:
    return f.value(f"zext i1 {condition} to i64")


def _pack_task(tile: Tile) -> str:
    """Task t repacks one panel of w: nr output features of one group, in the order of the sum."""
    f = Function("pack_task", "ptr %job, i64 %task", "internal", RARELY)
    call, panels = _JOB.get(f, "%job", "call", "panels")
    w, at, scratch, cols, nr, kernels = CONV.get(f, call, "w", "w_offset", "scratch", "cols", "nr", "kernels")
    group_step, n_step, panel_step = CONV.get(f, call, "pack_group", "pack_n", "panel_step")
    sizes, steps = (CONV.get(f, call, *_names(what, OUTER)) for what in ("pack_size", "pack"))
    group, panel = f.div("%task", panels), f.rem("%task", panels)
    col, line = f.mul(panel, nr), f.mul(nr, tile.size)
    width = f.min(f.sub(cols, col), nr)
    source = _move(f, w, f.add(at, f.add(f.mul(group, group_step), f.mul(col, n_step))))
    target = f.offset(scratch, f.mul("%task", panel_step))
    with f.loop(0, sizes[4]) as i4, f.loop(0, sizes[3]) as i3, f.loop(0, sizes[2]) as i2, f.loop(0, sizes[1]) as i1:
        indices = [i.index for i in (i4, i3, i2, i1)]
        flat = indices[0]
        for index, size in zip(indices[1:], (sizes[3], sizes[2], sizes[1])):
            flat = f.add(f.mul(flat, size), index)
        here = _move(f, source, _inner_product(f, indices, steps[:0:-1]))
        there = f.offset(target, f.mul(f.mul(flat, sizes[0]), line))
        _pack_lines(f, tile, kernels, here, steps[0], n_step, there, line, sizes[0], width)
    return f.text()


def _pack_lines(f: Function, tile: Tile, kernels: str, source: str, step: str, n_step: str, target: str, line: str, n: str,
                width: str) -> None:
    """n lines of `width` features, whichever of the two axes is contiguous, if any."""
    done = f.compare("eq", n_step, tile.size)
    with f.when(done):
        copy_block(f, kernels, "rows", source, step, target, line, n, width)
    turned = f.both(f.value(f"xor i1 {done}, true"), f.compare("eq", step, tile.size),
                    f.compare("ne", n_step, 0))
    with f.when(turned):
        copy_block(f, kernels, "columns", source, n_step, target, line, n, width)
    with f.when(f.value(f"xor i1 {f.either(done, turned)}, true")):
        copy_block(f, kernels, "any", source, step, target, line, n, width, ("i64", n_step))


def _compute_task(tile: Tile) -> str:
    """Task t computes a block of row tiles, panels and outer positions; no other task touches it."""
    f = Function("compute_task", "ptr %job, i64 %task", "internal")
    call, panels, panel_blocks, tiles, positions = _JOB.get(f, "%job", "call", "panels", "panel_blocks", "tiles", "positions")
    row_blocks, panel_block, block, size3 = CONV.get(f, call, "row_blocks", "panel_block", "outer_block", "size3")
    at_once, = CONV.get(f, call, "panels_at_once")
    outer, panel, row = _split(f, "%task", ["", panel_blocks, row_blocks])
    first, last = (f.div(f.mul(tiles, f.add(row, e)), row_blocks) for e in (0, 1))
    start, origin = f.mul(outer, block), f.mul(panel, panel_block)
    stop = f.min(f.add(origin, panel_block), panels)
    with (f.loop(0, f.max(size3, 1)) as step, f.loop(origin, stop, at_once) as panel,
          f.loop(start, f.min(f.add(start, block), positions)) as position):
        end = f.min(f.add(panel.index, at_once), stop)
        if tile.isa.wants_prefetches:
            with f.when(f.compare("sgt", at_once, 1)):
                f.call("@fetch_lines", ("ptr", "%job"), ("ptr", call), ("i64", f.add(position.index, 1)))
        f.call("@position", ("ptr", "%job"), ("ptr", call), ("i64", position.index), ("i64", panel.index), ("i64", end),
               ("i64", step.index), ("i64", first), ("i64", last))
    return f.text()


def _fetch_lines() -> str:
    """Ask for the lines of x that a position is the first to read, and for its line of y.

    They are walked a few features of each pixel at a time, which not all processors foresee.
    """
    f = Function("fetch_lines", "ptr %job, ptr %call, i64 %position", "internal")
    indices = _split(f, "%position", CONV.get(f, "%call", *_names("count", OUTER)))
    a, c = (_move(f, start, _inner_product(f, indices, CONV.get(f, "%call", *_names(what, OUTER))))
            for start, what in zip(_JOB.get(f, "%job", "A", "C"), "ac"))
    rows, a_m, c_m, size, mul, step = CONV.get(f, "%call", "rows", "a_m", "c_m", "size1", "mul1", "la1")
    last = _move(f, a, f.mul(f.sub(size, 1), step))
    with f.loop(0, mul) as line:
        _fetch(f, _move(f, last, f.value(f"sub i64 0, {f.mul(line.index, step)}")), f.mul(rows, a_m), 0)
    _fetch(f, c, f.mul(rows, c_m), 1)
    return f.text()


def _fetch(f: Function, start: str, n_bytes: str, for_writing: int) -> None:
    with f.loop(0, n_bytes, 64) as at:
        f.do(f"call void @llvm.prefetch.p0(ptr {_move(f, start, at.index)}, i32 {for_writing}, i32 2, i32 1)")


def _position(tile: Tile) -> str:
    """One outer position, some panels, one step of the outermost sum: all row tiles from first to last."""
    f = Function("position", "ptr %job, ptr %call, i64 %position, i64 %panel, i64 %end, i64 %step, i64 %first, i64 %last",
                 "internal")
    memory = _INDEX.allocate(f)
    indices = _split(f, "%position", CONV.get(f, "%call", *_names("count", OUTER)))
    _INDEX.put(f, memory, **{f"i{i}": index for i, index in enumerate(indices)})
    ranges = [_range(f, memory, level) for level in LEVELS]
    within = f.both(f.compare("sle", ranges[3][0], "%step"), f.compare("slt", "%step", f.add(*ranges[3])))
    active = f.both(within, *(f.compare("sgt", count, 0) for _, count in ranges[:3]))
    c, d, width = _columns(f, tile, indices)
    with f.when(f.either(active, f.compare("eq", "%step", 0))):
        _sum(f, tile, indices, ranges, active, c, d, width)
    _finished(f, tile, c, width)
    return f.text()


def _range(f: Function, memory: str, level: int) -> tuple[str, str]:
    """First and number of the steps of a level that meet the input: 0 <= i * mul + t * tap - low < extent."""
    names = [f"{what}{level}" for what in ("size", "limit", "mul", "tap", "low", "extent")]
    size, limit, mul, tap, low, extent = CONV.get(f, "%call", *names)
    index = f.load("i64", f.offset(memory, f.mul(limit, 8)))
    low = f.sub(low, f.mul(index, mul))
    start = f.max(_floor_div(f, f.sub(f.add(low, tap), 1), tap), 0)
    stop = f.min(f.add(_floor_div(f, f.sub(f.add(low, extent), 1), tap), 1), size)
    return start, f.max(f.sub(stop, start), 0)


def _floor_div(f: Function, a: str, b: str) -> str:
    """Most often b is 1, and a division costs as much as a small tile."""
    return f.updated(f.compare("ne", b, 1), "i64", [a], lambda _, value: f.floor_div(value, b))[0]


def _columns(f: Function, tile: Tile, indices: list[str]) -> tuple[str, str, str]:
    """Where the panels' part of C and D starts, and how wide it is."""
    c, d = _JOB.get(f, "%job", "C", "D")
    nr, cols = CONV.get(f, "%call", "nr", "cols")
    c_steps, d_steps = (CONV.get(f, "%call", *_names(what, OUTER)) for what in ("c", "d"))
    col = f.mul("%panel", nr)
    at = f.mul(col, tile.size)
    c = _move(f, c, f.add(_inner_product(f, indices, c_steps), at))
    d_here = _move(f, d, f.add(_inner_product(f, indices, d_steps), at))
    d = f.select(f.compare("eq", d, "null", "ptr"), "null", d_here, "ptr")
    return c, d, f.sub(f.min(cols, f.mul("%end", nr)), col)


def _sum(f: Function, tile: Tile, indices: list[str], ranges: list[tuple[str, str]], active: str, c: str, d: str,
         width: str) -> None:
    """Where no step meets the input, one step over zeros writes D."""
    def chosen(value: str | int, otherwise: str | int = 0, kind: str = "i64") -> str:
        return f.select(active, value, otherwise, kind)

    a, b = _JOB.get(f, "%job", "A", "B")
    nr, a_n, a_m, panel_step = CONV.get(f, "%call", "nr", "a_n", "a_m", "panel_step")
    steps = {what: CONV.get(f, "%call", *_names(what, OUTER)) for what in "ab"}
    la, lb = ([chosen(s) for s in CONV.get(f, "%call", *_names(what, LEVELS))] for what in ("la", "lb"))
    a_at = f.add(_inner_product(f, indices, steps["a"]), f.mul(f.mul("%panel", nr), a_n))
    b_at = f.add(_inner_product(f, indices, steps["b"]), f.mul("%panel", panel_step))
    inner = [ranges[0][0], "%step"]
    a = chosen(_move(f, a, f.add(a_at, _inner_product(f, inner, [la[0], la[3]]))), "@zeros", "ptr")
    b = chosen(_move(f, b, f.add(b_at, _inner_product(f, inner, [lb[0], lb[3]]))), "@zeros", "ptr")
    (first, count), (start, many) = ((chosen(at), chosen(n, 1)) for at, n in ranges[1:3])
    end, at_once = f.add(first, count), CONV.get(f, "%call", "steps1")[0]
    with f.loop(start, f.add(start, many), guard=False) as loop, f.loop(first, end, at_once, guard=False) as lines:
        fresh = f.both(f.compare("eq", "%step", 0), f.compare("eq", loop.index, start), f.compare("eq", lines.index, first))
        d_m, c_m = CONV.get(f, "%call", "d_m", "c_m")
        a_here, b_here = (_move(f, p, _inner_product(f, [lines.index, loop.index], l[1:3])) for p, l in ((a, la), (b, lb)))
        arguments = (chosen(a_m), la, a_here, b_here, lb, chosen(ranges[0][1], 1), f.min(f.sub(end, lines.index), at_once))
        _tiles(f, tile, arguments, c, c_m, f.select(fresh, d, c, "ptr"), f.select(fresh, d_m, c_m), width)


def _tiles(f: Function, tile: Tile, arguments: tuple, c: str, c_m: str, d: str, d_m: str, width: str) -> None:
    rs, la, a, b, lb, k0, k1 = arguments
    rows, nr, a_n, panel_step = CONV.get(f, "%call", "rows", "nr", "a_n", "panel_step")
    tiles, = _JOB.get(f, "%job", "tiles")
    short, wide = f.div(rows, tiles), f.rem(rows, tiles)
    absent = f.compare("eq", d, "null", "ptr")
    with f.loop("%first", "%last") as loop, f.loop(0, f.sub("%end", "%panel")) as panel:
        row, col = f.add(f.mul(loop.index, short), f.min(loop.index, wide)), f.mul(panel.index, nr)
        n, cols = f.add(short, _zext(f, f.compare("slt", loop.index, wide))), f.min(f.sub(width, col), nr)
        kernel = f.load("ptr", f.offset(kernels_of(f, tile, CONV.get(f, "%call", "kernels")[0], cols), f.mul(f.sub(n, 1), 8)))
        at = f.mul(col, tile.size)
        a_tile = _move(f, a, f.add(f.mul(row, rs), f.mul(col, a_n)))
        d_tile = f.select(absent, "null", _move(f, d, f.add(f.mul(row, d_m), at)), "ptr")
        f.call(kernel, ("ptr", a_tile), ("i64", rs), ("i64", la[0]), ("i64", la[1]),
               ("ptr", _move(f, b, f.mul(panel.index, panel_step))), ("i64", lb[0]), ("i64", lb[1]), ("i64", k0), ("i64", k1),
               ("ptr", _move(f, c, f.add(f.mul(row, c_m), at))), ("i64", c_m), ("ptr", d_tile), ("i64", d_m), ("i64", cols))


def _finished(f: Function, tile: Tile, c: str, width: str) -> None:
    """Call the epilogue after the last step of the sum."""
    epilogue, ctx, size3, pitch, y = CONV.get(f, "%call", "epilogue", "ctx", "size3", "pitch", "y")
    last = f.compare("sge", f.add("%step", 1), size3)
    whole = f.value(f"xor i1 {_in_parts(f, '%call')}, true")
    with f.when(f.both(last, whole, f.compare("ne", epilogue, "null", "ptr"))):
        rows, c_m = CONV.get(f, "%call", "rows", "c_m")
        tiles, = _JOB.get(f, "%job", "tiles")
        short, wide = f.div(rows, tiles), f.rem(rows, tiles)
        first, end = (f.add(f.mul(t, short), f.min(t, wide)) for t in ("%first", "%last"))
        block = _move(f, c, f.mul(first, c_m))
        distance = f.value(f"sub i64 {f.value(f'ptrtoint ptr {block} to i64')}, {f.value(f'ptrtoint ptr {y} to i64')}")
        element = f.div(distance, tile.size)
        f.call(epilogue, ("ptr", ctx), ("ptr", block), ("i64", f.div(element, pitch)), ("i64", f.rem(element, pitch)),
               ("i64", f.sub(end, first)), ("i64", width), ("i64", pitch))

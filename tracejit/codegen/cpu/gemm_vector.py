"""Matrix times vector (M or N is 1) -> two kernels that run at the bandwidth of the memory.

`sweep`: outputs are contiguous across a row of the matrix, rows are swept with the sums in registers.
`dot`: each output is the inner product of a contiguous row of the matrix with the vector.
"""
from __future__ import annotations

from .gemm_text import Function, Record, Vector
from .gemm_tile import Tile

# Steps in bytes. `step` is from one row of the matrix to the next; `is_row` says that M is 1.
JOB = Record("*matrix", "step", "*x", "x_step", "*y", "y_step", "*d", "d_step", "outputs", "depth", "block",
             "*epilogue", "*ctx", "row", "is_row", "ldc")

DOT_ROWS = 4
_PREFETCH_ROWS = 6


def sweep_group(tile: Tile) -> int:
    """How many outputs one pass over the rows computes; tasks get multiples of it."""
    return tile.isa.n_registers // 2 * tile.vector.lanes


def vector_text(tile: Tile) -> str:
    """@sweep_task and @dot_task, void(ptr job, i64 task), and what they call."""
    lanes, group = tile.vector.lanes, sweep_group(tile)
    sweeps = [(group, f"@sweep_{group // lanes}"), (4 * lanes, "@sweep_4"), (lanes, "@sweep_1")]
    dots = [(DOT_ROWS, f"@dot_{DOT_ROWS}"), (1, "@dot_1")]
    return (_sweep(tile, group // lanes, False) + _sweep(tile, 4, False) + _sweep(tile, 1, True)
            + _dot(tile, DOT_ROWS, 2) + _dot(tile, 1, 4) + _put(tile)
            + _task(tile, "sweep_task", sweeps, 0, tile.size) + _task(tile, "dot_task", dots, 1, 0))


def _sweep(tile: Tile, vectors: int, masked: bool) -> str:
    """out[j] = sum over k of x[k] * matrix[k, j] for `vectors` registers of j."""
    params = "ptr %matrix, i64 %step, ptr %x, i64 %x_step, i64 %depth, ptr %out, i64 %n"
    f, vector = Function(f"sweep_{vectors}", params, "internal"), tile.vector
    mask = vector.mask(f, "%n") if masked else None
    ahead = f.mul("%step", _PREFETCH_ROWS)
    carry = [("ptr", "%matrix"), ("ptr", "%x")] + [(vector.type, "zeroinitializer")] * vectors
    with f.loop(0, "%depth", carry=carry) as loop:
        row, x, *sums = loop.carried
        factor = vector.splat(f, f.load(vector.element, x, vector.size))
        lines = [f.offset(row, v * vector.bytes) for v in range(vectors)]
        for line in lines:
            later = f.value(f"getelementptr i8, ptr {line}, i64 {ahead}")
            f.do(f"call void @llvm.prefetch.p0(ptr {later}, i32 0, i32 3, i32 1)")
        new = [vector.fma(f, factor, vector.load(f, line, mask), s) for line, s in zip(lines, sums)]
        loop.next = [f.offset(row, "%step"), f.offset(x, "%x_step"), *new]
    for v, value in enumerate(loop.result[2:]):
        vector.store(f, value, f.offset("%out", v * vector.bytes))
    return f.text()


def _dot(tile: Tile, rows: int, unroll: int) -> str:
    """out[i] = sum over k of matrix[i, k] * x[k] for `rows` rows; both contiguous along k."""
    params = "ptr %matrix, i64 %step, ptr %x, i64 %x_step, i64 %depth, ptr %out, i64 %n"
    f, vector = Function(f"dot_{rows}", params, "internal"), tile.vector
    lines = [f.offset("%matrix", f.mul("%step", i)) if i else "%matrix" for i in range(rows)]
    end = f.mul("%depth", vector.size)
    main = f.sub(end, f.rem(end, unroll * vector.bytes))
    with f.loop(0, main, unroll * vector.bytes, [(vector.type, "zeroinitializer")] * (rows * unroll)) as loop:
        loop.next = _dot_step(f, vector, lines, loop.index, loop.carried, unroll, None)
    sums = [_tree(f, vector, loop.result[i * unroll:(i + 1) * unroll]) for i in range(rows)]
    with f.loop(main, end, vector.bytes, [(vector.type, s) for s in sums]) as tail:
        left = f.div(f.sub(end, tail.index), vector.size)
        mask = vector.mask(f, f.min(left, vector.lanes))
        tail.next = _dot_step(f, vector, lines, tail.index, tail.carried, 1, mask)
    for i, value in enumerate(tail.result):
        f.store(vector.element, vector.sum(f, value), f.offset("%out", i * vector.size), vector.size)
    return f.text()


def _dot_step(f: Function, vector: Vector, lines: list[str], at: str, sums: list[str], unroll: int,
              mask: str | None) -> list[str]:
    places = [f.add(at, u * vector.bytes) for u in range(unroll)]
    x = [vector.load(f, f.offset("%x", place), mask) for place in places]
    return [vector.fma(f, vector.load(f, f.offset(line, places[u]), mask), x[u], sums[i * unroll + u])
            for i, line in enumerate(lines) for u in range(unroll)]


def _tree(f: Function, vector: Vector, values: list[str]) -> str:
    while len(values) > 1:
        values = [vector.add(f, values[i], values[i + 1]) for i in range(0, len(values), 2)]
    return values[0]


def _put(tile: Tile) -> str:
    """y[i] = sums[i] + d[i], with steps; contiguous outputs go a register at a time."""
    params = "ptr %sums, i64 %n, ptr %y, i64 %y_step, ptr %d, i64 %d_step"
    f, vector = Function("put_outputs", params, "internal"), tile.vector
    absent = f.compare("eq", "%d", "null", "ptr")
    dense = f.both(f.compare("eq", "%y_step", vector.size), f.either(absent, f.compare("eq", "%d_step", vector.size)))
    with f.when(dense):
        with f.loop(0, "%n", vector.lanes) as loop:
            mask = vector.mask(f, f.min(f.sub("%n", loop.index), vector.lanes))
            at = f.mul(loop.index, vector.size)
            value = vector.load(f, f.offset("%sums", at))
            present = f.compare("ne", "%d", "null", "ptr")
            value, = f.updated(present, vector.type, [value],
                               lambda _, v: vector.add(f, v, vector.load(f, f.offset("%d", at), mask)))
            vector.store(f, value, f.offset("%y", at), mask)
        f.leave()
    with f.loop(0, "%n") as loop:
        value = f.load(vector.element, f.offset("%sums", f.mul(loop.index, vector.size)), vector.size)
        value, = f.updated(f.compare("ne", "%d", "null", "ptr"), vector.element, [value],
                           lambda _, v: _plus(f, vector, v, f.offset("%d", f.mul(loop.index, "%d_step"))))
        f.store(vector.element, value, f.offset("%y", f.mul(loop.index, "%y_step")), vector.size)
    return f.text()


def _plus(f: Function, vector: Vector, value: str, pointer: str) -> str:
    return vector.add(f, value, f.load(vector.element, pointer, vector.size), vector.element)


def _task(tile: Tile, name: str, routines: list[tuple[int, str]], per_step: int, per_output: int) -> str:
    """Outputs task * block ... of the job, by routines for fewer and fewer outputs at a time.

    Output i starts at i * (per_step * step + per_output) in the matrix.
    """
    f, vector = Function(name, "ptr %job, i64 %task", "internal"), tile.vector
    step, block, n = JOB.get(f, "%job", "step", "block", "outputs")
    out = f.value(f"alloca [{max(routines[0][0], vector.lanes)} x {vector.element}], align 64")
    first = f.mul("%task", block)
    last = f.min(f.add(first, block), n)
    stride = f.add(f.mul(step, per_step) if per_step else 0, per_output)
    start = first
    for width, routine in routines:
        whole = f.add(start, f.mul(f.div(f.sub(last, start), width), width))
        stop = last if width == routines[-1][0] else whole
        with f.loop(start, stop, width) as loop:
            _outputs(f, routine, loop.index, f.min(f.sub(last, loop.index), width), stride, out)
        start = stop
    y, y_step = JOB.get(f, "%job", "y", "y_step")
    _epilogue(f, first, last, y, y_step)
    return f.text()


def _outputs(f: Function, routine: str, index: str, count: str, stride: str | int, out: str) -> None:
    """Compute `count` outputs in `out`, add d and put them in their places."""
    matrix, step, x, x_step, depth = JOB.get(f, "%job", "matrix", "step", "x", "x_step", "depth")
    y, y_step, d, d_step = JOB.get(f, "%job", "y", "y_step", "d", "d_step")
    f.call(routine, ("ptr", f.offset(matrix, f.mul(index, stride))), ("i64", step), ("ptr", x), ("i64", x_step),
           ("i64", depth), ("ptr", out), ("i64", count))
    d_here = f.value(f"getelementptr i8, ptr {d}, i64 {f.mul(index, d_step)}")
    d_here = f.select(f.compare("eq", d, "null", "ptr"), "null", d_here, "ptr")
    f.call("@put_outputs", ("ptr", out), ("i64", count), ("ptr", f.offset(y, f.mul(index, y_step))), ("i64", y_step),
           ("ptr", d_here), ("i64", d_step))


def _epilogue(f: Function, first: str, last: str, y: str, y_step: str) -> None:
    epilogue, ctx, row, is_row, ldc = JOB.get(f, "%job", "epilogue", "ctx", "row", "is_row", "ldc")
    with f.when(f.compare("ne", epilogue, "null", "ptr")):
        across = f.compare("ne", is_row, 0)
        count = f.sub(last, first)
        f.call(epilogue, ("ptr", ctx), ("ptr", f.offset(y, f.mul(first, y_step))),
               ("i64", f.select(across, row, f.add(row, first))), ("i64", f.select(across, first, 0)),
               ("i64", f.select(across, 1, count)), ("i64", f.select(across, count, 1)), ("i64", ldc))

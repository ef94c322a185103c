"""An element size and an instruction set -> one native transposing copy for all shapes, as LLVM IR.

The routine is `void NAME(ptr call)`; `call` points to a `TRANSPOSE` record of 8-byte members, of which the
caller sets the pointers x and y and gets the rest from `transpose_fields`. For all indices of four outer axes

    y[outer, j, i] = x[outer, i, j]     with i contiguous in y (n_i of them) and j contiguous in x (n_j)

Squares of registers are transposed by shuffles, so that each cache line is read and written once.
"""
from __future__ import annotations

import hashlib
import math

import numpy as np

from .gemm_call import DECLARATIONS, run_tasks, run_text
from .gemm_text import Function, Record, Vector
from .isa import Isa

_AXES = range(4)
TRANSPOSE = Record("*x", "*y", *(f"{what}{a}" for what in ("count", "x", "y") for a in _AXES),
                   "n_i", "x_i", "n_j", "y_j", "blocks", "task_blocks", "fork")

_BLOCK = 128  # elements of a block, each way: its pages fit in the first translation cache
_TASK_ITEMS = 1 << 14
_FORK_ITEMS = 1 << 17


def transpose_fields(axes: list[tuple[int, int, int]], item_bytes: int) -> dict[str, int] | None:
    """The members but x and y for a copy over (size, stride in x, stride in y) axes; strides in elements.

    None if the routine is not for this case: no axis is contiguous in x only and another one in y
    only, the copy is empty, or more than four axes are left besides these two.

    >>> transpose_fields([(3, 1, 2), (2, 3, 1)], 4)["n_i"]
    2
    """
    if not math.prod(size for size, _, _ in axes):
        return None
    axes = _merged(axes)
    inner = [a for a, (_, _, y) in enumerate(axes) if y == 1]
    across = [a for a, (_, x, _) in enumerate(axes) if x == 1]
    if len(inner) != 1 or len(across) != 1 or inner == across or len(axes) > len(_AXES) + 2:
        return None
    (n_i, x_i, _), (n_j, _, y_j) = axes[inner[0]], axes[across[0]]
    outer = [axis for a, axis in enumerate(axes) if a not in (inner[0], across[0])]
    outer = [(1, 0, 0)] * (len(_AXES) - len(outer)) + outer
    blocks = math.prod(size for size, _, _ in outer) * -(-n_i // _BLOCK) * -(-n_j // _BLOCK)
    block_items, items = min(n_i, _BLOCK) * min(n_j, _BLOCK), math.prod(size for size, _, _ in axes)
    fields = {"n_i": n_i, "x_i": x_i * item_bytes, "n_j": n_j, "y_j": y_j * item_bytes, "blocks": blocks,
              "task_blocks": max(1, _TASK_ITEMS // block_items), "fork": int(items >= _FORK_ITEMS)}
    for a, (size, x, y) in enumerate(outer):
        fields |= {f"count{a}": size, f"x{a}": x * item_bytes, f"y{a}": y * item_bytes}
    return fields


def _merged(axes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbours in y that also lie together in x become one axis."""
    merged: list[tuple[int, int, int]] = []
    for size, x, y in sorted(axes, key=lambda axis: -axis[2]):
        if size == 1:
            continue
        if merged and merged[-1][1:] == (x * size, y * size):
            merged[-1] = merged[-1][0] * size, x, y
        else:
            merged.append((size, x, y))
    return merged


def transpose_module(item_bytes: int, isa: Isa) -> tuple[str, str]:
    """The name and the LLVM IR text of the transposing copy of items of 1, 2, 4 or 8 bytes.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> name, text = transpose_module(4, host_isa())
    >>> f"@{name}(ptr %call)" in text
    True
    """
    vector = Vector(isa, np.dtype(f"i{item_bytes}"))
    body = run_text() + _square(vector) + _block(vector) + _task(vector) + _entry()
    text = f"{isa.header}{DECLARATIONS}{vector.declarations()}{body}attributes #0 = {{ {isa.attributes} }}\n"
    name = f"transpose_{item_bytes}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return name, text.replace("@ENTRY(", f"@{name}(")


def _square(vector: Vector) -> str:
    """At most a register by a register: y[j, i] = x[i, j]."""
    f = Function("square", "ptr %x, i64 %x_i, i64 %n_i, ptr %y, i64 %y_j, i64 %n_j", "internal")
    full = f.both(f.compare("eq", "%n_i", vector.lanes), f.compare("eq", "%n_j", vector.lanes))
    with f.when(full):
        rows = [vector.load(f, f.offset("%x", f.mul("%x_i", i)) if i else "%x") for i in range(vector.lanes)]
        for j, line in enumerate(vector.transpose(f, rows)):
            vector.store(f, line, f.offset("%y", f.mul("%y_j", j)) if j else "%y")
        f.leave()
    last = f.sub("%n_i", 1)
    wide, tall = vector.mask(f, "%n_j"), vector.mask(f, "%n_i")
    rows = [vector.load(f, f.offset("%x", f.mul("%x_i", f.min(i, last))), wide) for i in range(vector.lanes)]
    for j, line in enumerate(vector.transpose(f, rows)):
        with f.when(f.compare("slt", j, "%n_j")):
            vector.store(f, line, f.offset("%y", f.mul("%y_j", j)) if j else "%y", tall)
    return f.text()


def _block(vector: Vector) -> str:
    f = Function("block", "ptr %x, i64 %x_i, i64 %n_i, ptr %y, i64 %y_j, i64 %n_j", "internal")
    with f.loop(0, "%n_j", vector.lanes) as j, f.loop(0, "%n_i", vector.lanes) as i:
        x = f.offset("%x", f.add(f.mul(i.index, "%x_i"), f.mul(j.index, vector.size)))
        y = f.offset("%y", f.add(f.mul(j.index, "%y_j"), f.mul(i.index, vector.size)))
        n_i, n_j = (f.min(f.sub(n, loop.index), vector.lanes) for n, loop in (("%n_i", i), ("%n_j", j)))
        f.call("@square", ("ptr", x), ("i64", "%x_i"), ("i64", n_i), ("ptr", y), ("i64", "%y_j"), ("i64", n_j))
    return f.text()


def _task(vector: Vector) -> str:
    """Task t transposes a few blocks of the outer positions that they belong to."""
    f = Function("task", "ptr %call, i64 %task", "internal")
    n_i, x_i, n_j, y_j, blocks, count = TRANSPOSE.get(f, "%call", "n_i", "x_i", "n_j", "y_j", "blocks", "task_blocks")
    start = f.mul("%task", count)
    with f.loop(start, f.min(f.add(start, count), blocks)) as loop:
        rest, i = _next(f, loop.index, f.ceil_div(n_i, _BLOCK))
        rest, j = _next(f, rest, f.ceil_div(n_j, _BLOCK))
        i, j = f.mul(i, _BLOCK), f.mul(j, _BLOCK)
        x_at, y_at = _outer(f, rest)
        x, y = TRANSPOSE.get(f, "%call", "x", "y")
        x = f.offset(x, f.add(x_at, f.add(f.mul(i, x_i), f.mul(j, vector.size))))
        y = f.offset(y, f.add(y_at, f.add(f.mul(j, y_j), f.mul(i, vector.size))))
        n = [("i64", f.min(f.sub(size, at), _BLOCK)) for size, at in ((n_i, i), (n_j, j))]
        f.call("@block", ("ptr", x), ("i64", x_i), n[0], ("ptr", y), ("i64", y_j), n[1])
    return f.text()


def _next(f: Function, flat: str, size: str) -> tuple[str, str]:
    return f.div(flat, size), f.rem(flat, size)


def _outer(f: Function, flat: str) -> tuple[str | int, str | int]:
    """Byte offsets in x and y of a flat position on the outer axes."""
    x_at: str | int = 0
    y_at: str | int = 0
    for a in reversed(_AXES):
        count, x_step, y_step = TRANSPOSE.get(f, "%call", f"count{a}", f"x{a}", f"y{a}")
        flat, index = _next(f, flat, count)
        x_at, y_at = f.add(x_at, f.mul(index, x_step)), f.add(y_at, f.mul(index, y_step))
    return x_at, y_at


def _entry() -> str:
    f = Function("ENTRY", "ptr %call")
    blocks, count, fork = TRANSPOSE.get(f, "%call", "blocks", "task_blocks", "fork")
    run_tasks(f, "@task", "%call", f.ceil_div(blocks, count), fork)
    return f.text()

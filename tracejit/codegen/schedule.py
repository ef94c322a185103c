"""How a kernel walks its space: which axes are walked as one, which is vectorised, how work is cut into tasks."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracejit.codegen.fuse import MOST_FOLDED, SPLIT_ELEMENTS
from tracejit.codegen.kernels import Kernel, Stage, Store, long_ops, total_cost
from tracejit.codegen.zones import MOST_NODES, inside
from tracejit.ir.loops import Axis, Expr, Index, Quotient, Remainder, in_order, zero

TASK_COST = 1 << 16         # element operations that are worth a task of their own
MOST_TASKS = 256
MOST_PARTS = 64
CACHE_BYTES = 1 << 22       # what is read from beyond the second-level cache is best read in long pieces
LINE_BYTES = 64             # a line of the cache: no register is wider
STREAM_BYTES = 1 << 25      # what is written beyond the last cache's size is best not read into it first
MOST_WRITTEN = 4            # elements of a last axis that is written out
LEAST_CUT = 16              # elements of a last axis that is cut off
LEAST_BESIDE = 32           # and of the axis before it
STRIP = 1024                # elements of a row in such a piece
LEAST_ROWS = 64             # in a part of a strip
MOST_PARTIAL = 1 << 16      # sums of parts
NEIGHBOURS = (2, 3, 4)      # strides of which whole vectors are loaded or stored and sorted with shuffles
LEAST_STRIDE = 5            # neighbours further apart than those
LEAST_CHAIN = 8             # operations of a kernel whose vectors fill two registers


@dataclass(eq=False)
class Schedule:
    """The decisions for one kernel on one machine."""
    kernel: Kernel
    vector: Axis | None         # the axis whose neighbouring elements share a vector register
    along: bool                 # it is a folded axis (else a row axis)
    lanes: int
    unroll: int
    block: int                  # elements of the vector axis per unit of work, if it is a row axis
    chunk: int                  # elements of the first folded axis per part; 0: folds are not cut
    units: int
    per_task: int
    streams: bool = False       # stores go past the caches, which could not hold the results
    by_rows: bool = False       # a block is wide and passed over row by row, its states in memory: see cpu/strips.py
    across: Axis | None = None  # the row axis of a tile along which some operands lie: squares of them are turned

    @property
    def n_tasks(self) -> int:
        return -(-self.units // self.per_task) if self.units else 0

    @property
    def n_parts(self) -> int:
        return -(-self.kernel.fold_axes[0].size // self.chunk) if self.chunk else 1

    @property
    def outer(self) -> list[Axis]:
        """The row axes that units of work run over."""
        return [a for a in self.kernel.row_axes if a is not self.vector and a is not self.across]


def collapse(kernel: Kernel) -> Kernel:
    """Walk neighbouring axes as one wherever every index allows it."""
    for group in ("row_axes", "fold_axes"):
        d = len(getattr(kernel, group)) - 2
        while d >= 0:
            axes = getattr(kernel, group)
            a, b = axes[d], axes[d + 1]
            if all(coherent(index, a, b) for index in kernel.indices()):
                kernel = merged(kernel, group, d)
            d -= 1
    return kernel


def coherent(index: Index, a: Axis, b: Axis) -> bool:
    """Whether a and b only occur as a * size(b) + b."""
    if index.coefficient(a) != index.coefficient(b) * b.size:
        return False
    return all(coherent(atom.of, a, b) for atom, _ in index.terms if isinstance(atom, (Quotient, Remainder)))


def merged(kernel: Kernel, group: str, d: int) -> Kernel:
    axes = getattr(kernel, group)
    a, b = axes[d], axes[d + 1]
    both = Axis(a.name + b.name, a.size * b.size)
    images = {a: Index(), b: Index({both: 1})}
    new_axes = [*axes[:d], both, *axes[d + 2:]]
    return replace(substituted(kernel, images), **{group: new_axes})


def substituted(kernel: Kernel, images: dict) -> Kernel:
    memo: dict[Expr, Expr] = {}
    stages = [stage_with(stage, images, memo) for stage in kernel.stages]
    return replace(kernel, stages=stages, scratch={v: i.substitute(images) for v, i in kernel.scratch.items()})


def stage_with(stage: Stage, images: dict, memo: dict[Expr, Expr]) -> Stage:
    """A stage with axes replaced by indices."""
    return stage.mapped(lambda e: e.substitute(images, memo), lambda offset: offset.substitute(images))


def cut(kernel: Kernel) -> Kernel:
    """With row axes cut in two where indices ask for their quotients and remainders: what is repeated, tiled or regrouped
    is read evenly along the parts."""
    for d, axis in enumerate(kernel.row_axes if not kernel.fold_axes else ()):
        by = period(kernel, axis)
        if by and (d < len(kernel.row_axes) - 1 or by <= MOST_WRITTEN or by >= LEAST_CUT):
            whole, part = Axis(axis.name + "q", axis.size // by), Axis(axis.name + "r", by)
            axes = [*kernel.row_axes[:d], whole, part, *kernel.row_axes[d + 1:]]
            return cut(replace(substituted(kernel, {axis: Index({whole: by, part: 1})}), row_axes=axes))
    return kernel


def period(kernel: Kernel, axis: Axis) -> int:
    """The largest number that divides the axis and by which an index divides it; 0 if there is none."""
    atoms = {atom for index in kernel.indices() for atom in index.atoms() if isinstance(atom, (Quotient, Remainder))}
    alone = Index({axis: 1})
    return max((a.by for a in atoms if a.of == alone and axis.size % a.by == 0 and a.by < axis.size), default=0)


def written_out(kernel: Kernel) -> Kernel:
    """With a last axis shorter than a vector (coordinates, colours) written out: its neighbours are vectors instead."""
    if len(kernel.row_axes) < 2 or kernel.fold_axes or len(kernel.stages) > 1:
        return kernel
    last, before = kernel.row_axes[-1], kernel.row_axes[-2]
    [stage] = kernel.stages
    stores = stage.stores + stage.row_stores
    nodes = in_order([s.expr for s in stores])
    if not 1 < last.size <= MOST_WRITTEN or before.size < LEAST_BESIDE or len(nodes) * last.size > MOST_NODES or \
            any(s.offset.coefficient(last) != 1 or s.offset.coefficient(before) != last.size for s in stores):
        return kernel
    copies = []
    for k in range(last.size):
        there = inside(kernel, {last: (k, k + 1)})
        copies.append(substituted(there, {last: Index((), k)}).stages[0])
    each = lambda of: [s for same in zip(*map(of, copies)) for s in same]
    return replace(kernel, row_axes=kernel.row_axes[:-1],
                   stages=[Stage(each(lambda c: c.stores), [], each(lambda c: c.row_stores))])


def regular(kernel: Kernel) -> Kernel:
    """With the axes that suit its indices: cut, written out and walked as one."""
    return collapse(written_out(collapse(cut(kernel))))


def schedule(kernel: Kernel, lanes_of, across: Axis | None = None) -> Schedule:
    """Of a `regular` kernel, or of one of tiles; `lanes_of(dtype)` is how many elements fit a vector register."""
    vector, along = vector_axis(kernel)
    widest = widest_bytes([*kernel.roots, *kernel.loads])
    lanes = lanes_of(np.dtype(f"i{widest}"))
    turned = along and not kernel.column_folds and turns_rows(kernel, lanes)
    vector, along = (kernel.row_axes[-1], False) if turned else (vector, along)
    cost = sum(total_cost(root) for root in kernel.roots) or 1
    n = vector.size if vector else 1
    joins = max(stage.joins for stage in kernel.stages)
    lanes, unroll = vectors_of(kernel, vector, across, lanes, cost, joins)
    if across is not None and (across.size % lanes or n % lanes):
        across = None
    unroll = 1 if across is not None else unroll
    block = 0
    rows = math.prod(a.size for a in kernel.row_axes if a is not across)
    per_row = math.prod(a.size for a in kernel.fold_axes)
    if kernel.fold_axes and not along and rows * 4 > lanes * unroll:
        unroll = 1 if turned else min(4, max(1, n // lanes)) if cost < 60 else unroll
    chunk = chunk_of(kernel, rows, per_row, lanes * unroll * joins if along and len(kernel.fold_axes) == 1 else 1)
    outer = rows // max(n, 1) if vector and not along else rows
    unit_cost = max(1, cost * per_row) * (1 if across is None else across.size)
    if vector and not along:
        step = lanes * unroll
        block = min(-(-max(n, 1) // step) * step, max(step, int(TASK_COST / unit_cost) // step * step))
        units, unit_cost = outer * -(-n // block), unit_cost * max(1, min(block, n))
    else:
        units = outer
    parts = -(-kernel.fold_axes[0].size // chunk) if chunk else 1
    units, unit_cost = units * parts, unit_cost / parts
    if not turned and goes_by_rows(kernel, vector, along, lanes * unroll, widest):
        return by_rows(kernel, vector, lanes, unroll)
    most = MOST_TASKS if not kernel.column_folds else min(MOST_PARTS, MOST_PARTIAL // per_row)
    per_task = max(1, int(TASK_COST / unit_cost), -(-units // most))
    streams = vector is not None and (along or not kernel.fold_axes) and not chunk and may_stream(kernel, vector, lanes)
    return Schedule(kernel, vector, along, lanes, unroll, block, chunk, units, per_task, streams, across=across)


def widest_bytes(exprs: Iterable[Expr]) -> int:
    """Of the numbers that elements are made of, complex ones of two; what decides how many fit a vector register."""
    return max((e.dtype.itemsize // (2 if e.dtype.kind == "c" else 1) for e in exprs), default=4)


def filled_lanes(lanes: int, n: int) -> int:
    """The lanes of the shortest vector that n elements need, at most these."""
    while lanes > 1 and n <= lanes // 2:
        lanes //= 2
    return lanes


def vectors_of(kernel: Kernel, vector: Axis | None, across: Axis | None, lanes: int, cost: float, joins: int) -> tuple[int, int]:
    """The lanes of a vector, no more than fill it, and how many vectors each trip of the loop takes."""
    n = vector.size if vector else 1
    lanes = filled_lanes(lanes, n)
    unroll = 4 if cost <= 12 else 2 if cost <= 48 else 1
    if not kernel.fold_axes and (cost > 48 or long_ops(kernel.roots)):
        unroll = 1      # such operations fill a loop by themselves, and are most of what LLVM has to do
        if across is None and n >= 8 * lanes and goes_abreast(kernel, vector, cost):
            lanes *= 2
    unroll = max(1, unroll // joins)
    while unroll > 1 and n < lanes * unroll:
        unroll //= 2
    return lanes, unroll


def chunk_of(kernel: Kernel, rows: int, per_row: int, step: int) -> int:
    """Elements of the first folded axis per part, whole steps, where a long fold into few results is cut; 0: it is not."""
    if not kernel.fold_axes or per_row < SPLIT_ELEMENTS or rows >= 512 or len(kernel.stages) > 1 or kernel.column_folds:
        return 0
    first = kernel.fold_axes[0].size
    parts = min(MOST_PARTS, first, max(2, per_row * rows // SPLIT_ELEMENTS))
    chunk = -(-first // parts)
    chunk = min(first, -(-chunk // step) * step)
    return 0 if chunk == first else chunk


def columns_of(plan: Schedule) -> Schedule:
    """What the tasks of a row kernel have folded over their rows, as columns whose parts the tasks are."""
    kernel = plan.kernel
    folds = [replace(fold, states=[zero(e.dtype) for e in fold.states]) for fold in kernel.column_folds]
    stage = Stage(folds=folds, row_stores=[s for stage in kernel.stages for s in stage.column_stores])
    columns = Kernel(kernel.fold_axes, [Axis("rows", plan.units)], [stage], kernel.eqns)
    return replace(plan, kernel=columns, along=False, chunk=plan.per_task, streams=False)


def goes_abreast(kernel: Kernel, vector: Axis | None, cost: float) -> bool:
    """Whether a vector fills two registers, whose instructions take turns: in a long chain, each would wait for the one
    before, and the next vector's are beyond what a processor looks ahead."""
    if vector is None or cost <= LEAST_CHAIN and sum(long_ops(kernel.roots).values()) < 2:
        return False
    accesses = [(e.dtype, e.data[1]) for e in kernel.loads]
    accesses += [(s.expr.dtype, s.offset) for stage in kernel.stages for s in stage.stores + stage.row_stores]
    return all(dtype.kind != "c" and offset.coefficient(vector) in (0, 1) for dtype, offset in accesses)


def turns_rows(kernel: Kernel, lanes: int) -> bool:
    """Whether short rows are folded side by side, one in each lane: squares of them are loaded and turned."""
    if len(kernel.fold_axes) != 1 or not kernel.row_axes or kernel.row_axes[-1].size < MOST_FOLDED:
        return False
    row, fold = kernel.row_axes[-1], kernel.fold_axes[0]
    stores = [s for stage in kernel.stages for s in stage.stores if s.var not in kernel.scratch]
    return 1 < lanes <= fold.size <= MOST_FOLDED and any(turns(e, fold, row) for e in kernel.loads) and \
        all(lies_across(s.offset, s.var.type.dtype, fold, row) for s in stores)


def turns(e: Expr, across: Axis, along: Axis) -> bool:
    """Whether a load reads far neighbours along one axis and near ones across: squares can be read across and turned."""
    _, offset, guards = e.data
    return not guards and lies_across(offset, e.dtype, across, along)


def lies_across(offset: Index, dtype: np.dtype, across: Axis, along: Axis) -> bool:
    return dtype.kind in "fiu" and offset.coefficient(across) == 1 and abs(offset.coefficient(along)) >= LEAST_STRIDE and \
        all(isinstance(atom, Axis) for atom, _ in offset.terms)


def goes_by_rows(kernel: Kernel, vector: Axis | None, along: bool, width: int, widest: int) -> bool:
    """Whether columns are folded of more than the cache holds, and more of them than registers do (`width`)."""
    if along or vector is None or not kernel.fold_axes or len(kernel.stages) > 1 or vector.size <= width:
        return False
    return kernel.size * widest > CACHE_BYTES and kernel.fold_axes[-1].size >= 16


def by_rows(kernel: Kernel, vector: Axis, lanes: int, unroll: int) -> Schedule:
    """Strips of columns; where these are few, their rows are cut into parts."""
    first, rows = kernel.fold_axes[0].size, math.prod(a.size for a in kernel.row_axes)
    strip = min(STRIP, -(-vector.size // lanes) * lanes)
    units = rows // vector.size * -(-vector.size // strip)
    least = -(-LEAST_ROWS * first // math.prod(a.size for a in kernel.fold_axes))
    parts = max(1, min(MOST_PARTS // units, MOST_PARTIAL // rows, first // least))
    chunk = -(-first // parts) if parts > 1 else 0
    parts = -(-first // chunk) if chunk else 1
    return Schedule(kernel, vector, False, lanes, unroll, strip, chunk, units * parts, 1, by_rows=True)


def may_stream(kernel: Kernel, vector: Axis, lanes: int) -> bool:
    """Whether a kernel writes much, in whole aligned vector registers."""
    stores = [s for stage in kernel.stages for s in stage.stores + ([] if kernel.fold_axes else stage.row_stores)]
    stores = [s for s in stores if s.var not in kernel.scratch]
    if kernel.size * sum(s.var.type.dtype.itemsize for s in stores) < STREAM_BYTES:
        return False

    def is_aligned(s: Store) -> bool:
        itemsize, others = s.var.type.dtype.itemsize, [c for a, c in s.offset.terms if a is not vector]
        nbytes = min(lanes * itemsize, LINE_BYTES)
        return s.offset.coefficient(vector) == 1 and not any(c * itemsize % nbytes for c in (*others, s.offset.const)) and \
            s.var.type.dtype.kind in "fiu" and nbytes in (16, 32, LINE_BYTES) and \
            all(isinstance(a, Axis) for a, _ in s.offset.terms)
    return all(map(is_aligned, stores))


def vector_axis(kernel: Kernel) -> tuple[Axis | None, bool]:
    """The axis to vectorise: the one along which most memory is contiguous; and whether it is folded."""
    row = kernel.row_axes[-1] if kernel.row_axes else None
    fold = kernel.fold_axes[-1] if kernel.fold_axes else None
    if fold is None:
        return row, False
    if row is None or kernel.column_folds:
        return fold, True
    offsets = [e.data[1] for e in kernel.loads] + [s.offset for stage in kernel.stages for s in stage.stores]
    contiguous = lambda axis: sum(elements_of(o) for o in offsets if o.coefficient(axis) == 1)
    along, beside = contiguous(fold), contiguous(row)
    if fold.size < 8 and row.size >= 4 * fold.size:
        return row, False
    if 3 * beside >= 2 * along > 0 and row.size >= max(fold.size, 4):    # windows: no lanes to add up at their ends
        return row, False
    return (fold, True) if along >= beside or row.size < 4 else (row, False)


def place_in_group(var: Any, offset: Index, axis: Axis | None, dtype: Any) -> int | None:
    """Where in a group an index reads, if it is one place in groups of neighbours along an axis, whole in the array."""
    stride = offset.coefficient(axis)
    if stride not in NEIGHBOURS or np.dtype(dtype).kind not in "fiu" or not hasattr(var, "type") or \
            any(c % stride for _, c in offset.terms):
        return None
    place = offset.const % stride
    lo, hi = (offset - place).range
    return place if lo >= 0 and hi + stride <= var.type.size else None


def elements_of(index: Index) -> int:
    """How many elements of an array an index reads or writes, at most."""
    return math.prod(atom.size for atom in index.atoms() if isinstance(atom, Axis))

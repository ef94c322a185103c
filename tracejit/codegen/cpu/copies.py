"""A kernel that only copies, between memory orders -> a call of the transposing routine."""
from __future__ import annotations

import functools
from typing import NamedTuple

from tracejit.codegen.cpu.products import call_routine
from tracejit.codegen.cpu.transpose import TRANSPOSE, transpose_fields, transpose_module
from tracejit.codegen.kernels import Kernel
from tracejit.ir.graph import Var
from tracejit.ir.loops import LOAD, Axis, Index

_LEAST = 1 << 10  # elements below which a loop is as good as a call
transpose_text = functools.lru_cache(maxsize=None)(transpose_module)


class Copy(NamedTuple):
    """target[...] = source[...] with offsets in bytes and the numbers for the routine."""

    source: Var
    source_at: int
    target: Var
    target_at: int
    item_bytes: int
    fields: dict[str, int]


def transposing_copy(kernel: Kernel) -> Copy | None:
    """The copy that a kernel is, if it exchanges axes and does nothing else."""
    stage = kernel.stages[0]
    if len(kernel.stages) != 1 or kernel.fold_axes or stage.folds or stage.row_stores or len(stage.stores) != 1:
        return None
    store = stage.stores[0]
    if store.expr.kind != LOAD or kernel.size < _LEAST or store.var.type.dtype.itemsize > 8:
        return None
    source, offset, masks = store.expr.data
    if masks or not isinstance(source, Var) or source.type.dtype != store.var.type.dtype:
        return None
    x, y = strides_of(offset), strides_of(store.offset)
    if x is None or y is None or {*x, *y} - {*kernel.row_axes}:
        return None
    size = store.var.type.dtype.itemsize
    fields = transpose_fields([(a.size, x.get(a, 0), y.get(a, 0)) for a in kernel.row_axes], size)
    if fields is None:
        return None
    return Copy(source, size * offset.const, store.var, size * store.offset.const, size, fields)


def strides_of(index: Index) -> dict[Axis, int] | None:
    """How far each axis moves, if the index is nothing but that."""
    if any(not isinstance(atom, Axis) for atom, _ in index.terms):
        return None
    return dict(index.terms)


def emit_copy(emitter, copy: Copy, place) -> None:
    b = emitter.b
    routine = emitter.add_named(*transpose_text(copy.item_bytes, emitter.isa))
    pointers = {"x": b.gep(place.of(copy.source), copy.source_at), "y": b.gep(place.of(copy.target), copy.target_at)}
    call_routine(b, routine, TRANSPOSE, pointers, copy.fields)

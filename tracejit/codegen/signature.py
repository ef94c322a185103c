"""A scheduled kernel -> a key that is equal for kernels of equal code, whatever their buffers and axes are called."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tracejit.codegen.kernels import Store
from tracejit.codegen.schedule import NEIGHBOURS, Schedule, place_in_group
from tracejit.ir.loops import LOAD, ROW, Axis, Dynamic, Expr, Index, Inside, Quotient, postorder

PLAIN = ("along", "lanes", "unroll", "block", "chunk", "units", "per_task", "streams", "by_rows")


class Signature:
    """Numbers buffers, axes and expressions in the order in which they are met."""

    def __init__(self, plan: Schedule, buffers: Sequence[Any]):
        kernel = plan.kernel
        self.axes = {a: k for k, a in enumerate([*kernel.row_axes, *kernel.fold_axes])}
        self.buffers = {v: k for k, v in enumerate([*buffers, *kernel.scratch])}
        self.folds = {fold.var: k for k, fold in enumerate(f for stage in kernel.stages for f in stage.folds + stage.column_folds)}
        self.starts = kernel.starts
        self.numbers: dict[Expr, int] = {}
        self.nodes: list[tuple] = []

    def of(self, plan: Schedule) -> tuple:
        kernel = plan.kernel
        folds = lambda of: tuple((f.op, tuple(f.types), f.var.type, tuple(map(self.expr, f.states))) for f in of)
        stages = tuple((self.stores(stage.stores), folds(stage.folds), self.stores(stage.row_stores), folds(stage.column_folds),
                        self.stores(stage.column_stores)) for stage in kernel.stages)
        scratch = tuple((v.type, self.index(offset)) for v, offset in kernel.scratch.items())
        sizes = tuple(a.size for a in self.axes), len(kernel.row_axes)
        how = tuple(getattr(plan, name) for name in PLAIN), tuple(self.axes.get(a) for a in (plan.vector, plan.across))
        return how, sizes, stages, scratch, tuple(self.nodes)

    def stores(self, stores: Sequence[Store]) -> tuple:
        return tuple((self.place(s.var, s.offset, s.var.type.dtype), s.var.type.dtype, self.expr(s.expr)) for s in stores)

    def expr(self, root: Expr) -> int:
        for e in postorder(root, self.numbers):
            if e.kind == LOAD:
                buffer, offset, guards = e.data
                data = self.place(buffer, offset, e.dtype), self.data(guards)
            else:
                data = self.folds[e.data] if e.kind == ROW else self.data(e.data)
            self.numbers[e] = len(self.nodes)
            self.nodes.append((e.kind, tuple(self.numbers[a] for a in e.args), data, e.dtype))
        return self.numbers[root]

    def place(self, var: Any, offset: Index, dtype: Any) -> tuple:
        """A place in a buffer, from where the kernel begins in it."""
        groups = tuple(place_in_group(var, offset, a, dtype) for a, c in offset.terms if c in NEIGHBOURS)
        return self.buffers[var], self.index(offset - self.starts.get(var, 0)), groups

    def data(self, x: Any) -> Any:
        if isinstance(x, Index):
            return self.index(x)
        if isinstance(x, Inside):
            return self.index(x.index), x.lo, x.hi
        return tuple(map(self.data, x)) if isinstance(x, tuple) else x

    def index(self, index: Index) -> tuple:
        return tuple((self.atom(a), c) for a, c in index.terms), index.const

    def atom(self, atom: Any) -> tuple | int:
        if isinstance(atom, Axis):
            return self.axes[atom]
        if isinstance(atom, Dynamic):
            return "dynamic", self.expr(atom.value), atom.size, atom.clamped
        return "quotient" if isinstance(atom, Quotient) else "remainder", self.index(atom.of), atom.by


def signature(plan: Schedule, buffers: Sequence[Any]) -> tuple:
    assert {f.name for f in fields(plan)} == {"kernel", "vector", "across", *PLAIN}, "a decision is missing from the key"
    return Signature(plan, buffers).of(plan)

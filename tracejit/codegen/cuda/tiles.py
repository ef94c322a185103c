"""An elementwise Kernel -> Numba-CUDA source: each thread takes neighbours that fill one 128-bit access.

What is computed of one element is a device function, the lane: Numba types it once, not once per neighbour.
"""
from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cpu.value import PTR, AnyValue, ComplexValue, Value
from tracejit.codegen.cuda.accesses import is_aligned, is_even, lanes_for, load_vector, store_vector, vector_loads
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.expressions import Point, index_dtype, point_of
from tracejit.codegen.cuda.general import KernelEmitter, global_thread
from tracejit.codegen.cuda.instructions import DeviceFunction
from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import CONST, LOAD, Axis, Expr, Index, children, loads_of


def tile_lanes(kernel: Kernel) -> int:
    """How many neighbours a thread of a tile takes; 1 where that is no better than one thread per point."""
    if kernel.fold_axes or len(kernel.stages) != 1 or not kernel.row_axes:
        return 1
    axis = kernel.row_axes[-1]
    lanes = lanes_for(kernel, axis)
    while lanes > 1 and (len(kernel.row_axes) > 1 and axis.size % lanes or axis.size < lanes):
        lanes //= 2
    stores = kernel.stages[0].stores + kernel.stages[0].row_stores
    even, whole = [e for e in kernel.loads if is_even(e.data[1], axis)], vector_loads(kernel, axis, lanes)
    few = len(whole) < len(even) - len(whole)   # what a thread reads element by element, neighbouring threads should read together
    return 1 if few or not all(is_aligned(s.offset, axis, lanes) for s in stores) else lanes


class TileEmitter(KernelEmitter):
    needs_alignment = True

    def __init__(self, name: str, kernel: Kernel, buffers: Sequence[Any]):
        super().__init__(name, kernel, buffers)
        self.lanes, self.axis = tile_lanes(kernel), kernel.row_axes[-1]
        self.stores = kernel.stages[0].stores + kernel.stages[0].row_stores
        self.vectors = vector_loads(kernel, self.axis, self.lanes)

    @property
    def units(self) -> int:
        """Vectors, the last of which may be short."""
        return math.prod(a.size for a in self.kernel.row_axes[:-1]) * -(-self.axis.size // self.lanes)

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.units // self.threads),)

    def emit(self) -> None:
        b, n = self.b, self.axis.size
        t = global_thread(b, self.units, self.threads)
        unit = Axis("unit", -(-n // self.lanes))
        point = point_of(b, t, [*self.kernel.row_axes[:-1], unit])
        first = b.mul(b.convert(point.pop(unit), index_dtype(Index({self.axis: 1}))), self.lanes)
        here = Point(b, self.bases, self.depends, point)
        self.lane = Lane(self, here.inner({self.axis: first}))
        if n % self.lanes == 0:
            return self.vector(here, first)
        with b.block(f"if {b.add(first, self.lanes).name} <= {n}:"):
            self.vector(here, first)
        with b.block("else:"), b.loop(first, b.const(n, first.dtype)) as loop:
            p = here.inner({self.axis: loop.index})
            values = self.lane.call(p, [p.value(e) for e in self.vectors])
            for s, value in zip(self.stores, values):
                p.store(s.var, s.offset, value, s.var.type.dtype)

    def vector(self, here: Point, first: Value) -> None:
        b, p = self.b, here.inner({self.axis: first})
        loaded = [load_vector(b, self.bases[e.data[0]], p.number(e.data[1]), e.dtype, self.lanes) for e in self.vectors]
        rows = [self.lane.call(here.inner({self.axis: b.add(first, u)}), [v[u] for v in loaded]) for u in range(self.lanes)]
        for s, values in zip(self.stores, zip(*rows)):
            store_vector(b, self.bases[s.var], p.number(s.offset), values)


class Lane:
    """What a kernel computes of one point, as a device function of the elements read by vectors, of values that all lanes
    share, of the point's indices, and of the pointers that it reads by itself."""

    def __init__(self, plan: TileEmitter, here: Point):
        self.b, self.axis = plan.b, plan.axis
        roots = [s.expr for s in plan.stores]
        self.shared = shared_values(roots, plan.depends, plan.axis, plan.vectors)
        hidden = {*plan.vectors, *self.shared}
        inside = [e for e in reads_of(roots, hidden)]
        self.axes = [a for a in plan.kernel.row_axes if any(a in plan.depends(e) for e in inside) or a is plan.axis]
        self.pointers = list(dict.fromkeys(e.data[0] for e in inside if e.kind == LOAD))
        self.index_dtypes = [here.axes[a].dtype for a in self.axes]
        self.values = [here.value(e) for e in self.shared]
        self.bases = plan.bases
        self.name, self.dtypes = self.define(plan, roots)

    def define(self, plan: TileEmitter, roots: Sequence[Expr]) -> tuple[str, list]:
        numbers = [(f"n{k}", dtype) for k, dtype in enumerate(self.index_dtypes)]
        elements = [(f"x{k}", e.dtype) for k, e in enumerate([*plan.vectors, *self.shared])]
        inner = Builder("LANE", [*[(f"p{k}", PTR) for k in range(len(self.pointers))], *numbers, *elements], self.b.functions)
        params = iter(inner.params)
        bases = {v: next(params) for v in self.pointers}
        p = Point(inner, bases, plan.depends, {a: next(params) for a in self.axes})
        for e in [*plan.vectors, *self.shared]:
            p.values[e] = next(params)
        results = [p.value(e) for e in roots]
        inner.effect(f"return {', '.join(inner.names_of(results))}")
        text = inner.text()
        name = f"lane_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self.b.functions[name] = DeviceFunction(text.replace("def LANE(", f"def {name}(", 1), results[0].dtype)
        return name, [r.dtype for r in results]

    def call(self, p: Point, elements: Sequence[AnyValue]) -> list[AnyValue]:
        b = self.b
        numbers = [p.axes[a] for a in self.axes]
        args = [*[self.bases[v] for v in self.pointers], *numbers, *elements, *self.values]
        found = b.impure(f"{self.name}({', '.join(b.names_of(args))})", self.dtypes[0])
        names = iter([found.name] if len(self.dtypes) == 1 and self.dtypes[0].kind != "c" else
                     [f"{found.name}[{k}]" for k in range(2 * len(self.dtypes))])

        def taken(dtype) -> AnyValue:
            if dtype.kind == "c":
                part = b.const(0, dtype).re.dtype
                return ComplexValue(Value(next(names), part), Value(next(names), part))
            return Value(next(names), dtype)
        return [taken(dtype) for dtype in self.dtypes]


def shared_values(roots: Sequence[Expr], depends, axis: Axis, known: Sequence[Expr]) -> list[Expr]:
    """The largest expressions below the roots that are the same all along an axis."""
    found: dict[Expr, None] = {}
    seen, stack = set(known), list(roots)
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if axis not in depends(e) and loads_of(e):
            found[e] = None
        elif e.kind != CONST:
            stack += children(e)
    return list(found)


def reads_of(roots: Sequence[Expr], hidden: set[Expr]) -> list[Expr]:
    """The nodes below the roots that mention axes or memory, but for what is hidden."""
    found: dict[Expr, None] = {}
    seen, stack = set(hidden), list(roots)
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            found[e] = None
            stack += children(e)
    return list(found)

"""Expressions of the Loop IR -> Values of the Builder, for one position of the loops around them."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import Builder, Value
from tracejit.codegen.kernels import Scratch, long_ops
from tracejit.codegen.packs import LANES, LINE, PICK
from tracejit.codegen.schedule import LINE_BYTES, NEIGHBOURS, place_in_group
from tracejit.ir.loops import (APPLY, CONST, INDEX, LOAD, METHOD, WHERE, Axis, Dependence, Dynamic, Expr, Index, Inside, Quotient,
                               children, postorder)

OFTEN = 3                   # uses of a long op in a kernel from which it is a function
I32, I64, BOOL = np.dtype("i4"), np.dtype("i8"), np.dtype("?")


def repeated(roots: Iterable[Expr], often: int = OFTEN) -> frozenset:
    """The long ops that occur so often in a kernel that they are emitted once, as functions: LLVM takes a millisecond
    for each, a call a few nanoseconds."""
    return frozenset(op for op, n in long_ops(roots).items() if n >= often)


class Chained:
    """A table that falls back on the table around it."""

    def __init__(self, outer=None):
        self.outer, self.own = outer, {}

    def __contains__(self, key) -> bool:
        return key in self.own or (self.outer is not None and key in self.outer)

    def __getitem__(self, key):
        return self.own[key] if key in self.own else self.outer[key]

    def __setitem__(self, key, value) -> None:
        self.own[key] = value


class Position:
    """A point of the loops: the axes' index Values, and the vector axis with its lanes and the mask of those in use."""

    def __init__(self, b: Builder, buffers: dict, depends: Dependence, axes: dict[Axis, Value], vector: Axis | None = None,
                 lanes: int = 1, mask: Value | None = None, outer: Position | None = None):
        self.b, self.buffers, self.depends = b, buffers, depends
        self.axes = axes if outer is None else {**outer.axes, **axes}
        self.vector, self.lanes, self.given_mask = vector, lanes, mask
        self.left: Value | None = None      # how many elements there are, if this may be the last vector of several
        self.values = Chained(outer.values if outer else None)
        self.groups: dict[tuple, list] = {}
        # where lanes are rows, each point of a row-local buffer holds a value per row of the block
        self.row_pitch: int = outer.row_pitch if outer else 1
        self.column: int = outer.column if outer else 0
        self.starts: dict[Any, int] = outer.starts if outer else {}     # the elements that buffers' pointers point to

    def inner(self, axes: dict[Axis, Value], vector=None, lanes: int = 1, mask=None) -> Position:
        return Position(self.b, self.buffers, self.depends, axes, vector, lanes, mask, self)

    @property
    def is_partial(self) -> bool:
        """Whether some lanes may not be in use."""
        return self.given_mask is not None or self.left is not None

    @property
    def mask(self) -> Value | None:
        return self.given_mask if self.left is None else self.b.lane_mask(self.left, self.lanes)

    def whole_or_part(self, access: Callable[[Value | None], list | None]) -> list:
        """access(None) if all lanes are in use, else access(mask): a branch that is foreseen costs less than a mask."""
        if self.left is None:
            return access(self.mask)
        is_whole = self.b.ge(self.left, self.b.const(self.lanes, I64))
        return self.b.cond(is_whole, lambda: access(None), lambda: access(self.mask))

    def hoist(self, roots: Iterable[Expr], inside: set) -> None:
        """Compute here all that the loops over the axes `inside` would compute again and again."""
        stack, seen = list(roots), set()
        while stack:
            e = stack.pop()
            if e in seen or e in self.values:
                continue
            seen.add(e)
            if not self.depends(e) & inside:
                if e.kind != CONST:
                    self.value(e)
            else:
                stack += children(e)

    def value(self, root: Expr):
        for e in postorder(root, self.values):
            self.values[e] = self.compute(e)
        return self.values[root]

    def compute(self, e: Expr):
        b, args = self.b, [self.values[a] for a in e.args]
        if e.kind == CONST:
            raw, dtype = e.data
            return b.const(np.frombuffer(raw, dtype)[0], dtype)
        if e.kind == LOAD:
            return self.load(*e.data, e.dtype)
        if e.kind == APPLY:
            return b.applied(e.data, args)
        if e.kind == INDEX:
            return b.convert(self.number(e.data), e.dtype)
        if e.kind == METHOD:
            return getattr(b, e.data[0])(*args, *e.data[1])
        if e.kind == WHERE:
            condition = self.condition(e.data)
            return args[0] if condition is None else b.select(condition, *args)
        if e.kind == LINE:
            var, offset, _ = e.args[0].data
            return b.load(e.dtype, self.place(var, offset, e.dtype), e.data)
        if e.kind == PICK:
            return b.shuffle(*args[:1], args[1] if len(args) > 1 else None, e.data)
        if e.kind == LANES:
            return functools.reduce(lambda v, k: b.insert(v, args[k], k), range(len(args)), b.undef(e.dtype, len(args)))
        raise AssertionError(f"{e.kind} has no value here")

    # --- indices

    def is_vector(self, index: Index) -> bool:
        return self.vector is not None and any(self.moves(atom) for atom, _ in index.terms)

    def moves(self, atom) -> bool:
        """Whether an atom differs from lane to lane."""
        if isinstance(atom, Axis):
            return atom is self.vector
        if isinstance(atom, Dynamic):
            return self.values[atom.value].lanes > 1
        return self.is_vector(atom.of)

    def number(self, index: Index) -> Value:
        """An index as an i64 (i32 lanes where it differs from lane to lane and fits)."""
        if not self.is_vector(index):
            return self.sum_of([(self.atom(a, I64), c) for a, c in index.terms], index.const, I64)
        lo, hi = index.range
        kind = I32 if -2**31 <= lo and hi < 2**31 else I64
        return self.sum_of([(self.atom(a, kind), c) for a, c in index.terms], index.const, kind)

    def sum_of(self, terms, const: int, kind) -> Value:
        b = self.b
        flat = sorted(terms, key=lambda t: t[0].lanes)     # scalars first: one splat instead of many
        total = b.const(const, kind)
        for value, c in flat:
            value = b.convert(value, kind)
            total = b.add(total, value if c == 1 else b.mul(value, b.const(c, kind)))
        return total

    def atom(self, atom, kind) -> Value:
        b = self.b
        if isinstance(atom, Axis):
            at = b.convert(self.axes[atom], kind)
            return b.add(b.splat(at, self.lanes), b.iota(self.lanes, kind)) if atom is self.vector and self.lanes > 1 else at
        if isinstance(atom, Dynamic):
            wide = b.convert(self.values[atom.value], I64) if self.values[atom.value].dtype != kind else self.values[atom.value]
            if not atom.clamped:
                return b.convert(wide, kind)
            limited = b.max(b.min(wide, b.const(max(atom.size - 1, 0), wide.dtype)), b.const(0, wide.dtype))
            return b.convert(limited, kind)
        of = self.number(atom.of)
        unsigned = np.dtype(f"u{of.dtype.itemsize}")
        shift = atom.by.bit_length() - 1
        whole = b.bitcast(of, unsigned)
        if atom.by == 1 << shift:
            out = b.shr_logical(whole, b.const(shift, unsigned)) if isinstance(atom, Quotient) else \
                b.and_(whole, b.const(atom.by - 1, unsigned))
        else:
            operation = "udiv" if isinstance(atom, Quotient) else "urem"
            out = b.binary(operation, whole, b.const(atom.by, unsigned, whole.lanes))
        return b.convert(b.bitcast(out, of.dtype), kind)

    def condition(self, insides: tuple[Inside, ...]) -> Value | None:
        """Whether all hold; None if they always do."""
        b, out = self.b, None
        for inside in insides:
            lo, hi = inside.index.range
            at = self.number(inside.index)
            tests = [b.ge(at, b.const(inside.lo, at.dtype))] if lo < inside.lo else []
            tests += [b.lt(at, b.const(inside.hi, at.dtype))] if hi >= inside.hi else []
            for test in tests:
                out = test if out is None else b.and_(out, test)
        return out

    # --- memory

    def load(self, var, offset: Index, guards: tuple[Inside, ...], dtype):
        b, base, group = self.b, self.buffers[var], place_in_group(var, offset, self.vector, dtype)
        offset = self.from_start(var, offset)
        if isinstance(var, Scratch) and self.row_pitch > 1:
            return b.load(dtype, self.local(base, offset, dtype), self.lanes)
        mask = self.condition(guards) if guards else None
        if not self.is_vector(offset) and (mask is None or mask.lanes == 1):
            return b.load(dtype, b.gep(base, self.number(offset), dtype), mask=mask, other=0 if mask is not None else None)
        stride = self.stride(offset)
        if stride == 1 and mask is None:
            at = self.address(base, offset, dtype)
            return self.whole_or_part(lambda mask: [b.load(dtype, at, self.lanes, mask=mask, other=None if mask is None else 0)])[0]
        mask = self.all_masks(mask)
        other = None if mask is None else 0
        if stride == 1:
            return b.load(dtype, self.address(base, offset, dtype), self.lanes, mask=mask, other=other)
        if mask is None and stride in NEIGHBOURS and group is not None:
            return self.group(var, offset - group, stride, dtype)[group]
        if stride == -1 and self.lanes > 1:
            return self.backwards(base, offset, dtype, mask, other)
        at = b.splat(self.number(offset), self.lanes)
        return b.gather(dtype, base, at, mask, other)

    def ask_for(self, e: Expr, axis: Axis) -> None:
        """Prefetch what a load would read one further along an axis, if that is known without reading indices."""
        var, offset, _ = e.data
        step = offset.coefficient(axis)
        if step and not any(isinstance(a, Dynamic) for a in offset.atoms()) and self.stride(offset) == 1:
            self.b.prefetch(self.address(self.buffers[var], self.from_start(var, offset + step), e.dtype))

    def place(self, var, offset: Index, dtype) -> Value:
        """Where an element of this scalar position is."""
        return self.b.gep(self.buffers[var], self.number(self.from_start(var, offset)), dtype)

    def from_start(self, var, offset: Index) -> Index:
        return offset - self.starts.get(var, 0)

    def backwards(self, base: Value, offset: Index, dtype, mask: Value | None, other):
        """Lanes that lie in memory in reverse order: a vector that ends with the first lane."""
        b, turned = self.b, range(self.lanes - 1, -1, -1)
        start = b.gep(self.address(base, offset, dtype), 1 - self.lanes, dtype)
        mask = None if mask is None else b.shuffle(mask, None, turned)
        return b.shuffle(b.load(dtype, start, self.lanes, mask=mask, other=other), None, turned)

    def group(self, var, offset: Index, n: int, dtype) -> list:
        """n values of each lane that lie side by side in memory, as n vectors: whole vectors are loaded and sorted out."""
        key = var, offset
        if key not in self.groups:
            flat = self.b.load(dtype, self.address(self.buffers[var], offset, dtype), self.lanes * n)
            self.groups[key] = [self.b.shuffle(flat, None, range(k, self.lanes * n, n)) for k in range(n)]
        return self.groups[key]

    def store_group(self, var, offset: Index, values: list, dtype) -> None:
        """The opposite of `group`."""
        offset = self.from_start(var, offset)
        b, n, lanes = self.b, len(values), self.lanes
        values = [b.splat(v, lanes) for v in values]
        pairs = [b.shuffle(values[k], values[min(k + 1, n - 1)], range(2 * lanes)) for k in range(0, n, 2)]
        order = [k * lanes + i for i in range(lanes) for k in range(n)]
        flat = b.shuffle(pairs[0], pairs[1] if n > 2 else None, order)
        b.store(flat, self.address(self.buffers[var], offset, dtype))

    def local(self, base: Value, offset: Index, dtype) -> Value:
        """The place of this block's rows in a row-local buffer."""
        b = self.b
        return b.gep(base, b.add(b.mul(self.number(offset), self.row_pitch), self.column), dtype)

    def all_masks(self, mask: Value | None) -> Value | None:
        if mask is None or not self.is_partial:
            return self.mask if mask is None else self.b.splat(mask, self.lanes)
        return self.b.and_(self.b.splat(mask, self.lanes), self.mask)

    def stride(self, offset: Index) -> int | None:
        """The distance of neighbouring lanes in elements; None if it varies."""
        if any(a is not self.vector and self.moves(a) for a, _ in offset.terms):
            return None
        return offset.coefficient(self.vector)

    def address(self, base: Value, offset: Index, dtype) -> Value:
        """Where the first lane is."""
        terms = [(self.axes[a] if a is self.vector else self.atom(a, I64), c) for a, c in offset.terms]
        return self.b.gep(base, self.sum_of(terms, offset.const, I64), dtype)

    def store(self, var, offset: Index, value, dtype, nontemporal: bool = False) -> None:
        b, base, offset = self.b, self.buffers[var], self.from_start(var, offset)
        if isinstance(var, Scratch) and self.row_pitch > 1:
            return b.store(b.splat(value, self.lanes), self.local(base, offset, dtype))
        if self.vector is None or self.lanes == 1 or not self.is_vector(offset):
            return b.store(value, b.gep(base, self.number(offset), dtype))
        value = b.splat(value, self.lanes)
        if self.stride(offset) == 1:
            at = self.address(base, offset, dtype)
            align = min(self.lanes * np.dtype(dtype).itemsize, LINE_BYTES) if nontemporal else None

            def access(mask: Value | None) -> None:
                b.store(value, at, align if mask is None else None, mask, nontemporal and mask is None)
            return self.whole_or_part(access)
        return b.scatter(value, base, b.splat(self.number(offset), self.lanes), self.mask)

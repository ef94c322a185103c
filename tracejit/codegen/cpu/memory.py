"""Loads, stores, gathers and scatters of any dtype -> their LLVM forms (bool a byte, complex a pair)."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arithmetic import Arithmetic
from .complex import Complex
from .conversion import Conversion
from .instructions import Instructions
from .module import INVARIANT, NONTEMPORAL
from .value import (
    BOOL, I32, PTR, U8, AnyValue, ComplexValue, Value, is_complex, memory_text, real_dtype, suffix_text,
    type_text,
)

PAGE = 4096     # no smaller ones are in use anywhere


class Memory(Conversion, Complex, Arithmetic, Instructions):
    """Addresses are Values of dtype PTR; indices are i64 (or i32) Values or Python ints."""

    def gep(self, ptr: Value, index: int | Value, dtype: np.dtype | None = None) -> Value:
        """The address `index` elements of `dtype` (bytes if None) after `ptr`."""
        index = self.index(index)
        if index.const == 0 and index.lanes == 1:
            return ptr
        element = "i8" if dtype is None else memory_text(np.dtype(dtype))
        text = f"getelementptr inbounds {element}, {ptr.text}, {index.text}"
        return self.pure(text, PTR, max(ptr.lanes, index.lanes))

    def copy(self, target: Value, source: Value, nbytes: int | Value) -> None:
        """Copy memory; the areas must not overlap."""
        self.module.declare("llvm.memcpy.p0.p0.i64", "void", ["ptr", "ptr", "i64", "i1"])
        size = self.index(nbytes).text
        self.effect(f"call void @llvm.memcpy.p0.p0.i64({target.text}, {source.text}, {size}, i1 false)")

    # ---- consecutive elements ----

    def load(
        self,
        dtype: np.dtype,
        ptr: Value,
        lanes: int = 1,
        align: int | None = None,
        mask: Value | None = None,
        other: AnyValue | None = None,
        invariant: bool = False,
    ) -> AnyValue:
        """`lanes` consecutive elements at `ptr`; where `mask` is false `other` (or anything), untouched.

        `invariant` says that the memory never changes while the function runs: equal loads are merged.
        """
        dtype = np.dtype(dtype)
        if is_complex(dtype):
            return self._load_complex(dtype, ptr, lanes, align, mask, other, invariant)
        if dtype == BOOL:
            bytes_of = self.convert(self._other(other, BOOL, lanes), U8) if other is not None else None
            return self.ne(self.load(U8, ptr, lanes, align, mask, bytes_of, invariant), 0)
        align = align or dtype.itemsize
        if mask is not None:
            return self._masked_load(dtype, ptr, lanes, align, mask, other)
        emit = self.pure if invariant else self.impure
        tail = INVARIANT if invariant else ""
        return emit(f"load {type_text(dtype, lanes)}, {ptr.text}, align {align}{tail}", dtype, lanes)

    def _masked_load(self, dtype, ptr, lanes, align, mask, other) -> Value:
        other = self._other(other, dtype, lanes)
        if lanes == 1:
            return self._maybe(mask, lambda: self.load(dtype, ptr, 1, align), other)
        if not self.isa.masks(dtype):
            return self.outline("masked_load", one_by_one_load, other, ptr, self._bool_bytes(mask), merge=False)
        name = f"llvm.masked.load.{suffix_text(dtype, lanes)}.p0"
        return self.call_text(name, dtype, lanes, (f"ptr align {align} {ptr.name}", mask, other), merge=False)

    def _other(self, other: AnyValue | float | None, dtype: np.dtype, lanes: int) -> AnyValue:
        if other is None:
            return self.undef(dtype, lanes)
        return self.splat(other if isinstance(other, (Value, ComplexValue)) else self.const(other, dtype), lanes)

    def _maybe(self, mask: Value, read, other: Value) -> Value:
        return self.cond(mask, lambda: [read()], lambda: [other])[0]

    def _load_complex(self, dtype, ptr, lanes, align, mask, other, invariant) -> ComplexValue:
        part = real_dtype(dtype)
        pairs = self.interleave(self._other(other, dtype, lanes)) if other is not None else None
        twice = self._mask_pairs(mask, lanes) if mask is not None else None
        flat = self.load(part, ptr, 2 * lanes, align, twice, pairs, invariant)
        return self.deinterleave(flat)

    def _mask_pairs(self, mask: Value, lanes: int) -> Value:
        return self.shuffle(mask, None, [i // 2 for i in range(2 * lanes)])

    def deinterleave(self, flat: Value) -> ComplexValue:
        """(re, im, re, im, ...) as a complex vector of half the lanes."""
        even, odd = range(0, flat.lanes, 2), range(1, flat.lanes, 2)
        return ComplexValue(self.shuffle(flat, None, even), self.shuffle(flat, None, odd))

    def interleave(self, x: ComplexValue) -> Value:
        """The parts of a complex vector as (re, im, re, im, ...)."""
        n = x.lanes
        return self.shuffle(x.re, x.im, [i // 2 + (i % 2) * n for i in range(2 * n)])

    def store(
        self,
        value: AnyValue,
        ptr: Value,
        align: int | None = None,
        mask: Value | None = None,
        nontemporal: bool = False,
    ) -> None:
        """Write the lanes of `value` at `ptr`, only those where `mask` is true.

        A nontemporal store needs `align` to be that of the whole vector.
        """
        if isinstance(value, ComplexValue):
            twice = self._mask_pairs(mask, value.lanes) if mask is not None else None
            return self.store(self.interleave(value), ptr, align, twice, nontemporal)
        if value.dtype == BOOL:
            return self.store(self._bool_bytes(value), ptr, align, mask, nontemporal)
        align = align or value.dtype.itemsize
        if mask is None:
            tail = NONTEMPORAL if nontemporal else ""
            return self.effect(f"store {value.text}, {ptr.text}, align {align}{tail}")
        if value.lanes == 1:
            return self.when(mask, lambda: self.store(value, ptr, align))
        if not self.isa.masks(value.dtype):
            self.outline("masked_store", one_by_one_store, value, ptr, self._bool_bytes(mask), merge=False)
            return None
        name = f"llvm.masked.store.{suffix_text(value.dtype, value.lanes)}.p0"
        return self._effect_call(name, (value, f"ptr align {align} {ptr.name}", mask))

    def prefetch(self, ptr: Value) -> None:
        """Have a line of memory brought into the second-level cache; `ptr` may point anywhere."""
        self.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        self.effect(f"call void @llvm.prefetch.p0({ptr.text}, i32 0, i32 2, i32 1)")

    def _bool_bytes(self, value: Value) -> Value:
        if value.const is not None:
            return self.const(value.const, U8, value.lanes)
        return self.pure(f"zext {value.text} to {type_text(U8, value.lanes)}", U8, value.lanes)

    def _effect_call(self, name: str, args: tuple[Value | str, ...]) -> None:
        texts = [a if isinstance(a, str) else a.text for a in args]
        types = [t.rsplit(" ", 1)[0] if isinstance(a, str) else type_text(a.dtype, a.lanes)
                 for a, t in zip(args, texts)]
        self.module.declare(name, "void", types)
        self.effect(f"call void @{name}({', '.join(texts)})")

    # ---- elements at computed places ----

    def gather(
        self, dtype: np.dtype, base: Value, index: Value, mask: Value | None = None, other: AnyValue | None = None
    ) -> AnyValue:
        """Lane i is element index[i] of `dtype` after `base`; `other` (or anything) where mask is false."""
        dtype = np.dtype(dtype)
        if is_complex(dtype):
            return self._gather_complex(dtype, base, index, mask, other)
        if index.lanes == 1:
            return self.load(dtype, self.gep(base, index, dtype), 1, None, mask, other)
        if dtype == BOOL:
            bytes_of = self.convert(self._other(other, BOOL, index.lanes), U8) if other is not None else None
            return self.ne(self.gather(U8, base, index, mask, bytes_of), 0)
        lanes = index.lanes
        where = self.gep(base, index, dtype)
        mask = self.splat(mask, lanes) if mask is not None else self.const(True, BOOL, lanes)
        other = self._other(other, dtype, lanes)
        kind = f"<{lanes} x ptr> align {dtype.itemsize}"
        name = f"llvm.masked.gather.{suffix_text(dtype, lanes)}.{suffix_text(PTR, lanes)}"
        return self.call_text(name, dtype, lanes, (f"{kind} {where.name}", mask, other), merge=False)

    def _gather_complex(self, dtype, base, index, mask, other) -> ComplexValue:
        part = real_dtype(dtype)
        twice = self.mul(index, 2)
        filler = self._other(other, dtype, index.lanes)
        parts = (filler.re, filler.im) if other is not None else (None, None)
        re = self.gather(part, base, twice, mask, parts[0])
        return ComplexValue(re, self.gather(part, self.gep(base, 1, part), twice, mask, parts[1]))

    def scatter(self, value: AnyValue, base: Value, index: Value, mask: Value | None = None) -> None:
        """Write lane i to element index[i] after `base`; the last of equal indices wins."""
        if isinstance(value, ComplexValue):
            part, twice = value.re.dtype, self.mul(index, 2)
            self.scatter(value.re, base, twice, mask)
            return self.scatter(value.im, self.gep(base, 1, part), twice, mask)
        if value.dtype == BOOL:
            return self.scatter(self._bool_bytes(value), base, index, mask)
        if index.lanes == 1:
            return self.store(value, self.gep(base, index, value.dtype), None, mask)
        lanes = index.lanes
        value = self.splat(value, lanes)
        where = self.gep(base, index, value.dtype)
        mask = self.splat(mask, lanes) if mask is not None else self.const(True, BOOL, lanes)
        name = f"llvm.masked.scatter.{suffix_text(value.dtype, lanes)}.{suffix_text(PTR, lanes)}"
        kind = f"<{lanes} x ptr> align {value.dtype.itemsize}"
        return self._effect_call(name, (value, f"{kind} {where.name}", mask))

    def lane_mask(self, count: Value, lanes: int) -> Value:
        """true in the first `count` (an i64) lanes."""
        narrow = self.convert(self.min(count, lanes), I32)      # fewer registers to compare
        return self.gt(self.splat(narrow, lanes), self.iota(lanes, I32))


# LLVM writes a masked access that the processor does not have as a branch per lane, in place; these are rare: the ends of rows.

def one_by_one_load(b: Memory, other: Value, ptr: Value, mask: Value) -> Value:
    """`other`, with the elements at `ptr` where the bytes of `mask` are not zero."""
    nbytes, wanted = other.lanes * other.dtype.itemsize, b.ne(mask, 0)
    place = b.and_(b.pure(f"ptrtoint {ptr.text} to i64", np.dtype("i8")), PAGE - 1)
    readable = b.and_(b.any(wanted), b.le(place, PAGE - nbytes))    # one lane is, and the others are in its page

    def slow() -> list[Value]:
        memory = b.alloca(nbytes)
        b.store(other, memory)
        each_lane(b, mask, lambda i: b.store(b.load(other.dtype, b.gep(ptr, i, other.dtype)), b.gep(memory, i, other.dtype)))
        return [b.load(other.dtype, memory, other.lanes)]
    return b.cond(readable, lambda: [b.select(wanted, b.load(other.dtype, ptr, other.lanes), other)], slow)[0]


def one_by_one_store(b: Memory, value: Value, ptr: Value, mask: Value) -> Value:
    def slow() -> None:
        memory = b.alloca(value.lanes * value.dtype.itemsize)
        b.store(value, memory)
        each_lane(b, mask, lambda i: b.store(b.load(value.dtype, b.gep(memory, i, value.dtype)), b.gep(ptr, i, value.dtype)))
    b.cond(b.any(b.eq(mask, 0)), slow, lambda: b.store(value, ptr))
    return value


def each_lane(b: Memory, mask: Value, visit: Callable[[Value], None]) -> None:
    flags = b.alloca(mask.lanes)
    b.store(mask, flags)
    with b.loop(0, mask.lanes) as loop:
        b.when(b.ne(b.load(U8, b.gep(flags, loop.index)), 0), lambda: visit(loop.index))

"""Neighbouring elements of memory as one access: which offsets allow it, and the loads and stores of 64 and 128 bits."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit.codegen.cpu.value import BOOL, AnyValue, ComplexValue, Value, is_complex, real_dtype
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.control import Pointer
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import Axis, Dynamic, Expr, Index, Quotient, Remainder

WIDEST = 16     # bytes of one access


def is_even(index: Index, axis: Axis) -> bool:
    """Whether neighbours along the axis are neighbours in memory."""
    inside = any(isinstance(a, (Quotient, Remainder)) and axis in a.of.atoms() or isinstance(a, Dynamic) for a, _ in index.terms)
    return index.coefficient(axis) == 1 and not inside


def is_aligned(index: Index, axis: Axis, lanes: int) -> bool:
    """Whether `lanes` neighbours from a multiple of `lanes` on are one access, in memory that is aligned itself."""
    return is_even(index, axis) and all(c % lanes == 0 for a, c in index.terms if a is not axis) and index.const % lanes == 0


def lanes_for(kernel: Kernel, axis: Axis) -> int:
    """How many neighbours along an axis a thread should take: those of the widest type fill one access."""
    sizes = [e.dtype.itemsize for e in kernel.loads if is_even(e.data[1], axis)]
    sizes += [s.var.type.dtype.itemsize for stage in kernel.stages for s in stage.stores if is_even(s.offset, axis)]
    return max(1, WIDEST // max(sizes)) if sizes else 1


def load_vector(b: Builder, base: Pointer, at: Value, dtype: np.dtype, lanes: int) -> list[AnyValue]:
    """`lanes` elements from element `at` on, in the fewest accesses."""
    if is_complex(dtype):
        parts = load_vector(b, base, b.add(b.wide(at), b.wide(at)), real_dtype(dtype), 2 * lanes)
        return [ComplexValue(re, im) for re, im in zip(parts[::2], parts[1::2])]
    word, held = memory_word(dtype), np.dtype("u1") if dtype == BOOL else dtype
    per = min(lanes, WIDEST // dtype.itemsize)
    if per == 1 or per * dtype.itemsize < 8:
        return [b.load(dtype, b.gep(base, b.add(at, k))) for k in range(lanes)]
    found = []
    for first in range(0, lanes, per):
        whole = b.impure(f"vload_{word}x{per}({base.name}, {b.add(at, first).name})", held)
        found += [b.pure(f"{whole.name}[{k}]", held) for k in range(per)]
    return [b.pure(f"{v.name} != u1(0)", BOOL) for v in found] if dtype == BOOL else found


def store_vector(b: Builder, base: Pointer, at: Value, values: Sequence[AnyValue]) -> None:
    dtype, lanes = values[0].dtype, len(values)
    if is_complex(dtype):
        return store_vector(b, base, b.add(b.wide(at), b.wide(at)), [p for v in values for p in (v.re, v.im)])
    word, per = memory_word(dtype), min(lanes, WIDEST // dtype.itemsize)
    if per == 1 or per * dtype.itemsize < 8:
        for k, value in enumerate(values):
            b.store(value, b.gep(base, b.add(at, k)))
        return None
    names = [f"u1({v.name})" if dtype == BOOL else v.name for v in values]
    for first in range(0, lanes, per):
        b.effect(f"vstore_{word}x{per}({base.name}, {b.add(at, first).name}, ({', '.join(names[first:first + per])}))")
    return None


def vector_loads(kernel: Kernel, axis: Axis, lanes: int) -> list[Expr]:
    """The reads that are one access for `lanes` neighbours. A guarded one reads only where its guard holds, so it is none."""
    return [e for e in kernel.loads if not e.data[2] and is_aligned(e.data[1], axis, lanes)]

"""Values of the threads of a warp or a block, folded together in a fixed tree: shuffles, then shared memory between warps."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tracejit.codegen.cpu.value import BOOL, AnyValue, ComplexValue, Value
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.instructions import memory_word, word_of

WARP = 32
Combine = Callable[[Sequence[AnyValue], Sequence[AnyValue]], Sequence[AnyValue]]


def parts_of(values: Sequence[AnyValue]) -> list[Value]:
    return [p for v in values for p in ((v.re, v.im) if isinstance(v, ComplexValue) else (v,))]


def like(values: Sequence[AnyValue], parts: Sequence[Value]) -> list[AnyValue]:
    """The parts, paired where the values are complex."""
    rest = iter(parts)
    return [ComplexValue(next(rest), next(rest)) if isinstance(v, ComplexValue) else next(rest) for v in values]


def shuffled(b: Builder, x: Value, mask: int) -> Value:
    """The value of the lane whose number differs in the bits of `mask`."""
    if x.dtype == BOOL:
        return b.pure(f"shfl_xor_i4(i4({x.name}), {mask}) != 0", BOOL)
    if x.dtype.itemsize < 4:
        word = "i4" if x.dtype.kind == "i" else "u4"
        return b.pure(f"{word_of(x.dtype)}(shfl_xor_{word}({word}({x.name}), {mask}))", x.dtype)
    return b.pure(f"shfl_xor_{word_of(x.dtype)}({x.name}, {mask})", x.dtype)


def fold_lanes(b: Builder, state: Sequence[AnyValue], combine: Combine, n: int) -> list[AnyValue]:
    """The fold of every n neighbouring lanes, in each of them; n is a power of two."""
    state, mask = list(state), n // 2
    while mask:
        other = like(state, [shuffled(b, x, mask) for x in parts_of(state)])
        state, mask = list(combine(state, other)), mask // 2
    return state


def fold_group(b: Builder, thread: Value, state: Sequence[AnyValue], combine: Combine, n: int) -> list[AnyValue]:
    """The fold over the n threads of a row, in each of them: a warp, or a whole block of n threads."""
    state = fold_lanes(b, state, combine, min(n, WARP))
    if n <= WARP:
        return state
    warps, parts = n // WARP, parts_of(state)
    kept = [b.impure(f"cuda.shared.array({warps}, {memory_word(x.dtype)})", x.dtype) for x in parts]
    with b.block(f"if {thread.name} & 31 == 0:"):
        for array, x in zip(kept, parts):
            b.effect(f"{array.name}[{thread.name} >> 5] = {f'u1({x.name})' if x.dtype == BOOL else x.name}")
    b.effect("cuda.syncthreads()")
    found = [held(b, f"{array.name}[{thread.name} & {warps - 1}]", x.dtype) for array, x in zip(kept, parts)]
    return fold_lanes(b, like(state, found), combine, warps)


def held(b: Builder, text: str, dtype: np.dtype) -> Value:
    """What is in shared memory; a bool is a byte there."""
    return b.impure(f"{text} != u1(0)" if dtype == BOOL else text, dtype)



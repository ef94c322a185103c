"""Products of small numbers by the word of 32 bits: two or four neighbours along K, which one instruction multiplies and adds.

In vectors (int16), or in the processor's own registers for tiles (Intel's AMX: int8, bfloat16), with kernels of their own. Sums
are int32, which wrap, or float32, in which the instruction for bfloat16 takes numbers below the normal range to be zero.
"""
from __future__ import annotations

import numpy as np

from .gemm_text import Function, Vector
from .isa import Isa

ROWS, WORDS = 16, 16        # of a register
LINE = 4 * WORDS
PER_SIDE = 2                # registers of A and of B, and the square of it of C
TILES = """declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tilestored64(i8, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8, i8, i8)
declare void @llvm.x86.tdpbssd(i8, i8, i8)
"""
_MULTIPLY = {"int8": "tdpbssd", "bfloat16": "tdpbf16ps"}


class WordVector(Vector):
    """A vector of int32 sums; what is multiplied are words of two int16."""

    def __init__(self, isa: Isa, dtype: np.dtype):
        super().__init__(isa, dtype)
        self._multiply = "@llvm.x86." + {512: "avx512.pmaddw.d.512", 256: "avx2.pmadd.wd", 128: "sse2.pmadd.wd"}[isa.vector_bits]
        self._small = f"<{2 * self.lanes} x i16>"

    def declarations(self) -> str:
        return f"{super().declarations()}declare {self.type} {self._multiply}({self._small}, {self._small})\n"

    def fma(self, f: Function, a: str, b: str, c: str) -> str:
        a, b = (f.value(f"bitcast {self.type} {x} to {self._small}") for x in (a, b))
        return self.add(f, f.value(f"call {self.type} {self._multiply}({self._small} {a}, {self._small} {b})"), c)


def words_kernel(f: Function, vector: Vector, element: np.dtype, rows: int, masks: list[str | None]) -> None:
    """The body of a tile kernel (gemm_tile.KERNEL_PARAMS) for `rows` rows; K counts words, A's words follow each other."""
    tile = _Registers(f, rows, len(masks))
    f.do(f"%sums = alloca [{PER_SIDE * ROWS} x [{PER_SIDE * LINE} x i8]], align 64")
    f.do("%shape = alloca [64 x i8], align 64")
    rest = f.value(f"and i64 %kc, {WORDS - 1}")
    whole, has_rest = f.sub("%kc", rest), f.compare("ne", rest, 0)
    with f.when(has_rest):      # the shape of a register can only be changed together with what is in it
        tile.shape(rest)
        tile.clear()
        tile.multiply(f.offset("%A", f.mul(whole, 4)), f.offset("%B", f.mul(whole, "%bs")), _MULTIPLY[str(element)])
        tile.each_sum("tilestored64")
    tile.shape(WORDS)
    tile.clear()
    with f.when(has_rest):
        tile.each_sum("tileloadd64")
    step_b = f.mul("%bs", WORDS)
    with f.loop(0, whole, WORDS, [("ptr", "%A"), ("ptr", "%B")]) as loop:
        a, b = loop.carried
        tile.multiply(a, b, _MULTIPLY[str(element)])
        loop.next = [f.offset(a, LINE), f.offset(b, step_b)]
    tile.each_sum("tilestored64")
    f.do("call void @llvm.x86.tilerelease()")
    _put(f, vector, rows, masks)


class _Registers:
    """The tile registers of one block of C: sums, then those of A, then those of B."""

    def __init__(self, f: Function, rows: int, vectors: int):
        self.f, self.vectors = f, vectors
        self.heights = [min(ROWS, rows - at) for at in range(0, rows, ROWS)]
        self.sums = [(i, v) for i in range(len(self.heights)) for v in range(vectors)]

    def shape(self, words: str | int) -> None:
        """Set the sizes of all registers, for so many words of K."""
        f = self.f
        f.store("<64 x i8>", "zeroinitializer", "%shape", 64)
        f.store("i8", 1, "%shape", 1)
        width = f.mul(words, 4)
        width, depth = (f.value(f"trunc i64 {v} to i16") if isinstance(v, str) else v for v in (width, words))
        for i, v in self.sums:
            self._size(PER_SIDE * i + v, LINE, self.heights[i])
        for i, height in enumerate(self.heights):
            self._size(PER_SIDE ** 2 + i, width, height)
        for v in range(self.vectors):
            self._size(PER_SIDE ** 2 + PER_SIDE + v, LINE, depth)
        f.do("call void @llvm.x86.ldtilecfg(ptr %shape)")

    def _size(self, register: int, n_bytes: str | int, rows: str | int) -> None:
        f = self.f
        f.store("i16", n_bytes, f.offset("%shape", 16 + 2 * register), 2)
        rows = f.value(f"trunc i16 {rows} to i8") if isinstance(rows, str) else rows
        f.store("i8", rows, f.offset("%shape", 48 + register), 1)

    def clear(self) -> None:
        for i, v in self.sums:
            self.f.do(f"call void @llvm.x86.tilezero(i8 {PER_SIDE * i + v})")

    def each_sum(self, how: str) -> None:
        """Load or store the sums, in %sums."""
        for i, v in self.sums:
            at = self.f.offset("%sums", (i * ROWS * PER_SIDE + v) * LINE)
            self.f.do(f"call void @llvm.x86.{how}(i8 {PER_SIDE * i + v}, ptr {at}, i64 {PER_SIDE * LINE})")

    def multiply(self, a: str, b: str, how: str) -> None:
        f, in_a, in_b = self.f, PER_SIDE ** 2, PER_SIDE ** 2 + PER_SIDE
        for v in range(self.vectors):
            f.do(f"call void @llvm.x86.tileloadd64(i8 {in_b + v}, ptr {f.offset(b, v * LINE)}, i64 %bs)")
        for i in range(len(self.heights)):
            place = f.offset(a, f.mul("%rs", i * ROWS))
            f.do(f"call void @llvm.x86.tileloadd64(i8 {in_a + i}, ptr {place}, i64 %rs)")
            for v in range(self.vectors):
                f.do(f"call void @llvm.x86.{how}(i8 {PER_SIDE * i + v}, i8 {in_a + i}, i8 {in_b + v})")


def _put(f: Function, vector: Vector, rows: int, masks: list[str | None]) -> None:
    """C = sums + D, where D may be absent."""
    absent = f.compare("eq", "%D", "null", "ptr")
    with f.loop(0, rows, guard=False) as row:
        line, target = f.offset("%sums", f.mul(row.index, PER_SIDE * LINE)), f.offset("%C", f.mul(row.index, "%ldc"))
        values = [vector.load(f, f.offset(line, v * LINE)) for v in range(len(masks))]
        d = f.value(f"getelementptr i8, ptr %D, i64 {f.mul(row.index, '%ldd')}")
        present = f.value(f"xor i1 {absent}, true")
        values = f.updated(present, vector.type, values,
                           lambda v, value: vector.add(f, value, vector.load(f, f.offset(d, v * LINE), masks[v])))
        for v, value in enumerate(values):
            vector.store(f, value, f.offset(target, v * LINE), masks[v])

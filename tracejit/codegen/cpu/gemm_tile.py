"""An instruction set -> the register tile of a matrix product and the kernels that compute one tile.

A tile is up to `mr` rows by `nv` vectors of C, held in registers over the whole loop on K (the
outer-product formulation of Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008). Rows of A are read as broadcast scalars with any two strides, so that plain,
transposed and packed A all run through the same kernels.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gemm_text import Function, Vector
from .isa import Isa

KERNEL_PARAMS = ("ptr %A, i64 %rs, i64 %cs, ptr %B, i64 %bs, i64 %kc, "
                 "ptr %C, i64 %ldc, ptr %D, i64 %ldd, i64 %nr")


@dataclass(frozen=True)
class Tile:
    """The register tile for one dtype: f32, f64 or an integer.

    >>> from tracejit.codegen.cpu.isa import Isa
    >>> tile = Tile(Isa("avx512", "", "", 512, 32, "", ""), np.dtype("f4"))
    >>> tile.mr, tile.nv, tile.nr
    (14, 2, 32)
    """

    isa: Isa
    dtype: np.dtype

    @property
    def size(self) -> int:
        return self.dtype.itemsize

    @property
    def vector(self) -> Vector:
        return Vector(self.isa, self.dtype)

    @property
    def nv(self) -> int:
        return 2 if self.isa.vector_bits >= 256 or self.isa.n_registers < 32 else 3

    @property
    def mr(self) -> int:
        """Rows: all registers but those for one row of B and one element of A."""
        return (self.isa.n_registers - self.nv - 1) // self.nv

    @property
    def nr(self) -> int:
        return self.nv * self.vector.lanes

    @property
    def panel_rows(self) -> int:
        """The row pitch of a packed panel of transposed A: `mr` in whole vectors."""
        return -(-self.mr // self.vector.lanes) * self.vector.lanes

    @property
    def free_masks(self) -> bool:
        """Do masked loads cost nothing, so that the edge of B need not be packed?"""
        return self.isa.has_avx512


def kernels_text(tile: Tile) -> str:
    """All kernels and `@kernels`, the table of them by (vectors - 1) * mr + rows - 1."""
    shapes = [(m, v) for v in range(1, tile.nv + 1) for m in range(1, tile.mr + 1)]
    table = ", ".join(f"ptr @tile_{m}_{v}" for m, v in shapes)
    text = "".join(_kernel(tile, m, v) for m, v in shapes)
    return text + f"@kernels = internal constant [{len(shapes)} x ptr] [{table}]\n"


def _kernel(tile: Tile, rows: int, vectors: int) -> str:
    f, vector = Function(f"tile_{rows}_{vectors}", KERNEL_PARAMS, "internal"), tile.vector
    masks: list[str | None] = [vector.mask(f, "%nr", v * vector.lanes) for v in range(vectors)]
    prefetch_tile(f, vector, rows, vectors)
    product = _products(f, tile, rows, vectors, masks if tile.free_masks else [None] * vectors)
    if tile.free_masks:
        finish_tile(f, vector, product, masks)
        return f.text()
    with f.when(f.compare("eq", "%nr", vectors * vector.lanes)):
        finish_tile(f, vector, product, [None] * vectors)
        f.leave()
    finish_tile(f, vector, product, masks)
    return f.text()


def prefetch_tile(f: Function, vector: Vector, rows: int, vectors: int) -> None:
    """Ask for D now: its rows lie far apart, and the loop on K hides the wait."""
    with f.when(f.compare("ne", "%D", "null", "ptr")):
        for i in range(rows):
            row = f.offset("%D", f.mul("%ldd", i)) if i else "%D"
            for v in range(0, vectors * vector.bytes, 64):
                f.do(f"call void @llvm.prefetch.p0(ptr {f.offset(row, v)}, i32 0, i32 3, i32 1)")


def _products(f: Function, tile: Tile, rows: int, vectors: int, masks: list[str | None]) -> list[str]:
    """The loop on K (at least 1): one row of B times one column of A per round, added to the whole tile."""
    vector, n_bases = tile.vector, (rows + 2) // 3
    carry = [("ptr", f.opaque(f.offset("%A", f.mul("%rs", 3 * g)), "ptr")) for g in range(n_bases)]
    carry += [("ptr", "%B")] + [(vector.type, "zeroinitializer")] * (rows * vectors)
    with f.loop(0, "%kc", carry=carry, guard=False) as loop:
        bases, b_row, sums = loop.carried[:n_bases], loop.carried[n_bases], loop.carried[n_bases + 1:]
        b = [vector.load(f, f.offset(b_row, v * vector.bytes), masks[v]) for v in range(vectors)]
        new, steps = [], row_steps(f)
        for i in range(rows):
            a = vector.splat(f, f.load(vector.element, f.offset(bases[i // 3], steps[i % 3]), vector.size))
            new += [vector.fma(f, a, b[v], sums[i * vectors + v]) for v in range(vectors)]
        loop.next = [f.offset(p, "%cs") for p in bases] + [f.offset(b_row, "%bs")] + new
    return loop.result[n_bases + 1:]


def row_steps(f: Function) -> tuple[int, str, str]:
    """Rows are reached as base + {0, 1, 2} * stride: what one addressing mode can do.

    Bases and stride are opaque: knowing how they relate, LLVM keeps a pointer per row and spills
    them, or walks from row to row with a chain of additions as long as the arithmetic itself.
    """
    stride = f.opaque("%rs")
    return 0, stride, f.value(f"shl i64 {stride}, 1")


def finish_tile(f: Function, vector: Vector, product: list[str], masks: list[str | None]) -> None:
    """C = product + D, where D may be absent, a bias row (stride 0), C itself or another matrix."""
    vectors = len(masks)

    def at(base: str, stride: str, i: int) -> str:
        row = f.offset(base, f.mul(stride, i // vectors)) if i >= vectors else base
        return f.offset(row, i % vectors * vector.bytes)

    def plus_d(i: int, value: str) -> str:
        return vector.add(f, value, vector.load(f, at("%D", "%ldd", i), masks[i % vectors]))

    present = f.compare("ne", "%D", "null", "ptr")
    for i, value in enumerate(f.updated(present, vector.type, product, plus_d)):
        vector.store(f, value, at("%C", "%ldc", i), masks[i % vectors])

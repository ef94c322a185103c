"""An instruction set -> the register tile of a matrix product and the kernels that compute one tile.

A tile is up to `mr` rows by `nv` vectors of C, held in registers over the whole loop on K (the
outer-product formulation of Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008). Rows of A are read as broadcast scalars with any two strides, so that plain,
transposed and packed A all run through the same kernels.
"""
from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .gemm_text import Function, Record, Vector
from .gemm_words import PER_SIDE, ROWS, TILES, WORDS, WordVector, words_kernel
from .isa import Isa
from .routine import Part, part_of

KERNEL_PARAMS = ("ptr %A, i64 %rs, i64 %cs, ptr %B, i64 %bs, i64 %kc, "
                 "ptr %C, i64 %ldc, ptr %D, i64 %ldd, i64 %nr")


_ROUND = 48  # multiply-adds per round; many more, and LLVM takes long and spills
_AHEAD = 8  # rows of B: how far ahead of its use a row is asked for


@dataclass(frozen=True)
class Tile:
    """The register tile for one dtype: f32, f64 or an integer. `element`: what lies in the words of 32 bits that the operands
    are made of, where instructions multiply all of a word; the dtype is then that of the sums.

    >>> from tracejit.codegen.cpu.isa import Isa
    >>> tile = Tile(Isa("avx512", "", "", 512, 32, "", ""), np.dtype("f4"))
    >>> tile.mr, tile.nv, tile.nr
    (14, 2, 32)
    """

    isa: Isa
    dtype: np.dtype
    element: np.dtype | None = None

    @property
    def size(self) -> int:
        return self.dtype.itemsize

    @functools.cached_property
    def vector(self) -> Vector:
        return WordVector(self.isa, self.dtype) if self.element and not self.in_tiles else Vector(self.isa, self.dtype)

    @property
    def in_tiles(self) -> bool:
        """Are sums and operands in registers of tiles, rather than vectors?"""
        return str(self.element) in ("int8", "bfloat16")

    @property
    def nv(self) -> int:
        return 2 if self.isa.vector_bits >= 256 or self.isa.n_registers < 32 else 3

    @property
    def mr(self) -> int:
        """Rows: all registers but those for one row of B and one element of A."""
        if self.in_tiles:
            return PER_SIDE * ROWS
        return (self.isa.n_registers - self.nv - 1) // self.nv

    @property
    def nr(self) -> int:
        return self.nv * self.vector.lanes

    @property
    def step(self) -> int:
        """K is cut at multiples of it."""
        return WORDS if self.in_tiles else 8

    @property
    def unroll(self) -> int:
        """Steps of K per round: enough multiply-adds that counting and addressing are few beside them."""
        return max(1, _ROUND // (self.mr * self.nv))

    @property
    def asks_ahead(self) -> bool:
        """Do the kernels ask for rows of B ahead of their use? Where a round of many multiply-adds hides what that costs."""
        return self.unroll == 1 and not self.in_tiles and self.isa.triple.startswith("x86_64")

    @property
    def free_masks(self) -> bool:
        """Are masked loads so cheap that the edge of B need not be packed?"""
        return self.isa.has_avx512


@functools.cache
def tile_part(tile: Tile, masked: int, vectors: int, rows: int) -> Part:
    """The kernel for a tile of this size; `masked`: its last register is not full.

    A kernel without masks of its own, as a masked load takes a turn of a unit that multiplies on Intel's processors.
    """
    head = f"declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n{tile.vector.declarations()}"
    head += TILES if tile.in_tiles else ""
    name = f"tile_{tile.element or tile.dtype.str[1:]}_{masked}_{vectors}_{rows}"
    return part_of(tile.isa, name, head, _kernel(tile, rows, vectors, masked))


def even_parts(size: int, most: int) -> set[int]:
    """The sizes of the parts when `size` is cut into as few equal ones as can be, of at most `most`."""
    count = -(-size // most)
    return {size // count, -(-size // count)}


def _kernel(tile: Tile, rows: int, vectors: int, masked: int) -> str:
    f, vector = Function("ENTRY", KERNEL_PARAMS), tile.vector
    masks = tile_masks(f, vector, vectors, masked)
    if tile.in_tiles:
        words_kernel(f, vector, tile.element, rows, masks)
        return f.text()
    prefetch_tile(f, vector, rows, vectors)
    finish_tile(f, vector, _products(f, tile, rows, vectors, masks if tile.free_masks else [None] * vectors), masks)
    return f.text()


def tile_masks(f: Function, vector: Vector, vectors: int, masked: int) -> list[str | None]:
    """Which lanes of each register are columns below %nr; None: all of them, as in all registers but the last."""
    return [vector.mask(f, "%nr", v * vector.lanes) if masked and v == vectors - 1 else None for v in range(vectors)]


def prefetch_tile(f: Function, vector: Vector, rows: int, vectors: int) -> None:
    """Ask for C and D now: their rows lie far apart, and the loop on K hides the wait."""
    def ask(base: str, stride: str, to_write: int) -> None:
        for i in range(rows):
            row = f.offset(base, f.mul(stride, i)) if i else base
            for v in range(0, vectors * vector.bytes, 64):
                f.do(f"call void @llvm.prefetch.p0(ptr {f.offset(row, v)}, i32 {to_write}, i32 3, i32 1)")
    ask("%C", "%ldc", 1)
    with f.when(f.compare("ne", "%D", "null", "ptr")):
        ask("%D", "%ldd", 0)


def _products(f: Function, tile: Tile, rows: int, vectors: int, masks: list[str | None]) -> list[str]:
    zeros = ["zeroinitializer"] * (rows * vectors)
    return accumulate(f, tile, rows, masks, "%A", "%B", zeros, "%kc", "%cs", "%bs")[1:]


def accumulate(f: Function, tile: Tile, rows: int, masks: list[str | None], a: str, b: str, sums: list[str],
               depth: str, cs: str, bs: str) -> list[str]:
    """`depth` (at least 1) rows of B times columns of A, added to `sums`; first in the result: the row of B behind them.

    Several steps per round where rows of A are contiguous: their elements are then reached by constants
    in the instructions, and nearly all that is left to execute are loads and multiply-adds.
    """
    vector, bases = tile.vector, row_bases(f, a, rows)
    n_bases = len(bases)
    ahead = f.opaque(f.mul(bs, _AHEAD)) if tile.asks_ahead else None
    kinds = ["ptr"] * (n_bases + 1) + [vector.type] * len(sums)
    state = [*bases, b, *sums]
    whole: str | int = 0
    if tile.unroll > 1:
        dense = f.compare("eq", cs, vector.size)
        whole = f.select(dense, f.value(f"and i64 {depth}, {-tile.unroll}"), 0)
        with f.loop(0, whole, tile.unroll, list(zip(kinds, state))) as loop:
            loop.next = _round(f, vector, rows, masks, loop.carried, vector.size, bs, tile.unroll, None)
        state = loop.result
    with f.loop(whole, depth, carry=list(zip(kinds, state)), guard=tile.unroll > 1) as loop:
        loop.next = _round(f, vector, rows, masks, loop.carried, cs, bs, 1, ahead)
    return loop.result[n_bases:]


def _round(f: Function, vector: Vector, rows: int, masks: list[str | None], carried: list[str], cs: str | int,
           bs: str, steps: int, ahead: str | None) -> list[str]:
    """`steps` rows of B times as many columns of A, which lie `cs` bytes apart (several: a constant). `ahead`: how far behind
    the row of B memory is asked for.

    With one step the strides are opaque, with several the pointers and the order of the steps: LLVM otherwise
    loads the columns of all steps first, and spills them.
    """
    n_bases = (rows + 2) // 3
    *bases, b_row = carried[:n_bases + 1] if steps == 1 else [f.opaque(p, "ptr") for p in carried[:n_bases + 1]]
    sums = carried[n_bases + 1:]
    for v in range(len(masks) if ahead else 0):
        b_row = f.asking_for(b_row, ahead, v * vector.bytes)
    rs = row_steps(f) if steps == 1 else [0, "%rs", f.value("shl i64 %rs, 1")]
    for step in range(steps):
        if step:
            f.fence()
        line = f.offset(b_row, f.mul(bs, step))
        b = [vector.load(f, f.offset(line, v * vector.bytes), mask) for v, mask in enumerate(masks)]
        new = []
        for i in range(rows):
            at = f.offset(f.offset(bases[i // 3], rs[i % 3]), step * cs if step else 0)
            a = vector.splat(f, f.load(vector.element, at, vector.size))
            new += [vector.fma(f, a, row, sums[i * len(b) + v]) for v, row in enumerate(b)]
        sums = new
    return [f.offset(p, f.mul(cs, steps)) for p in bases] + [f.offset(b_row, f.mul(bs, steps)), *sums]


def row_bases(f: Function, a: str, rows: int) -> list[str]:
    """The place of every third row; see `row_steps`."""
    return [f.opaque(f.offset(a, f.mul("%rs", i)), "ptr") for i in range(0, rows, 3)]


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


# What blocks of tiles have in common; `%job` is a record of this layout.

def tile_rows(f: Function, job: Record, tile_index: str) -> tuple[str, str]:
    """First row and number of rows of a tile: tiles are as equal as can be, the taller ones first."""
    rows, wide = job.get(f, "%job", "tile_rows", "wide_tiles")
    row = f.add(f.mul(tile_index, rows), f.min(tile_index, wide))
    return row, f.add(rows, f.value(f"zext i1 {f.compare('slt', tile_index, wide)} to i64"))


def finish_block(f: Function, job: Record, c: str, col: str, width: str, first: str, last: str) -> None:
    """Hand a block that is done to the epilogue: rows of the tiles from first to last, `width` columns from `col` on."""
    epilogue, ctx, row0, col0 = job.get(f, "%job", "epilogue", "ctx", "row", "col")
    ldc, pitch = job.get(f, "%job", "ldc", "pitch")
    with f.when(f.compare("ne", epilogue, "null", "ptr")):
        row, end = tile_rows(f, job, first)[0], tile_rows(f, job, last)[0]
        f.call(epilogue, ("ptr", ctx), ("ptr", f.offset(c, f.mul(row, ldc))), ("i64", f.add(row0, row)),
               ("i64", f.add(col0, col)), ("i64", f.sub(end, row)), ("i64", width), ("i64", pitch))

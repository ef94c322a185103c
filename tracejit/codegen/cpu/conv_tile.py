"""A register tile -> the kernels of a convolution: sums over two nested axes of any strides.

    C[i, j] = sum over s < k1, t < k0 of A(s, t)[i] * B(s, t)[j]  + D[i, j]

`outer` kernels read A as broadcast scalars (row step %rs); `depthwise` kernels multiply rows of A
and the row of B lane by lane, for convolutions in which every channel is on its own; `dot` kernels
do the same and then add up the lanes, for one column and a sum over contiguous features.
"""
from __future__ import annotations

import functools

from .gemm_text import Function, Vector
from .gemm_tile import Tile, accumulate, finish_tile, prefetch_tile, row_steps, tile_masks
from .routine import Part, part_of

PARAMS = ("ptr %A, i64 %rs, i64 %a0, i64 %a1, ptr %B, i64 %b0, i64 %b1, i64 %k0, i64 %k1, "
          "ptr %C, i64 %ldc, ptr %D, i64 %ldd, i64 %nr")


@functools.cache
def segment_part(tile: Tile, kind: str, masked: int, vectors: int, rows: int) -> Part:
    """The `outer`, `depthwise` or `dot` kernel for a tile of this size; `masked`: its last register is not full."""
    kernel = {"outer": _outer, "depthwise": _depthwise, "dot": _dot}[kind]
    head = f"declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n{tile.vector.declarations()}"
    return part_of(tile.isa, f"{kind}_{tile.dtype.str[1:]}_{masked}_{vectors}_{rows}", head, kernel(tile, rows, vectors, masked))


def _outer(tile: Tile, rows: int, vectors: int, masked: int) -> str:
    f, vector = Function("ENTRY", PARAMS), tile.vector
    masks = tile_masks(f, vector, vectors, masked)
    prefetch_tile(f, vector, rows, vectors)

    def segment(a: str, b: str, sums: list[str]) -> list[str]:
        return accumulate(f, tile, rows, masks, a, b, sums, "%k0", "%a0", "%b0")[1:]

    finish_tile(f, vector, _segments(f, vector, rows * vectors, segment), masks)
    return f.text()


def _depthwise(tile: Tile, rows: int, vectors: int, masked: int) -> str:
    f, vector = Function("ENTRY", PARAMS), tile.vector
    masks = tile_masks(f, vector, vectors, masked)
    finish_tile(f, vector, _lane_products(f, vector, rows, masks), masks)
    return f.text()


def _dot(tile: Tile, rows: int, vectors: int, masked: int) -> str:
    f, vector = Function("ENTRY", PARAMS), tile.vector
    sums = [vector.sum(f, product) for product in _lane_products(f, vector, rows, [None])]

    def plus_d(i: int, value: str) -> str:
        d = f.load(vector.element, f.offset("%D", f.mul("%ldd", i)), vector.size)
        return vector.add(f, value, d, vector.element)

    present = f.compare("ne", "%D", "null", "ptr")
    for i, value in enumerate(f.updated(present, vector.element, sums, plus_d)):
        f.store(vector.element, value, f.offset("%C", f.mul("%ldc", i)), vector.size)
    return f.text()


def _lane_products(f: Function, vector: Vector, rows: int, masks: list[str | None]) -> list[str]:
    n_bases = (rows + 2) // 3

    def segment(a: str, b: str, sums: list[str]) -> list[str]:
        carry = [("ptr", f.opaque(f.offset(a, f.mul("%rs", 3 * g)), "ptr")) for g in range(n_bases)]
        with f.loop(0, "%k0", carry=[*carry, ("ptr", b), *((vector.type, s) for s in sums)], guard=False) as loop:
            bases, b_row, sums = loop.carried[:n_bases], loop.carried[n_bases], loop.carried[n_bases + 1:]
            places = [v * vector.bytes for v in range(len(masks))]
            line, steps = [vector.load(f, f.offset(b_row, at), mask) for at, mask in zip(places, masks)], row_steps(f)
            new = []
            for i in range(rows):
                row = f.offset(bases[i // 3], steps[i % 3])
                x = [vector.load(f, f.offset(row, at), mask) for at, mask in zip(places, masks)]
                new += [vector.fma(f, *pair, sums[len(new) + v]) for v, pair in enumerate(zip(x, line))]
            loop.next = [f.offset(p, "%a0") for p in bases] + [f.offset(b_row, "%b0"), *new]
        return loop.result[n_bases + 1:]

    return _segments(f, vector, rows * len(masks), segment)


def _segments(f: Function, vector: Vector, n_sums: int, segment) -> list[str]:
    """The outer loop (at least one round) around segment(A, B, sums) -> sums, the inner one."""
    zeros = [(vector.type, "zeroinitializer")] * n_sums
    with f.loop(0, "%k1", carry=[("ptr", "%A"), ("ptr", "%B"), *zeros], guard=False) as loop:
        a, b, *sums = loop.carried
        loop.next = [f.offset(a, "%a1"), f.offset(b, "%b1"), *segment(a, b, sums)]
    return loop.result[2:]

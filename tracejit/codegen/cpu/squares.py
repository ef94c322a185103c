"""Squares of vectors: reading and writing them turned, and going over their lines.

    a b      a c
    c d  ->  b d        code for each line is written out, or, where it is long, is a loop over lines in memory
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Value
from tracejit.codegen.cpu.expressions import I64


def loaded(b: Builder, start: Value, stride: Value, dtype: np.dtype, n: int) -> list[Value]:
    return [b.load(dtype, b.gep(start, b.mul(stride, k), dtype), n) for k in range(n)]


def store_turned(b: Builder, lines: list[Value], start: Value, stride: Value) -> None:
    for k, line in enumerate(b.turned(lines)):
        b.store(line, b.gep(start, b.mul(stride, k), line.dtype))


class Square:
    """A vector for each of `n` lines: a table of registers, or `in_memory`, where a loop can ask for any of them."""

    def __init__(self, b: Builder, dtype: np.dtype, n: int, in_memory: bool):
        self.b, self.dtype, self.n = b, dtype, n
        self.memory = b.alloca(n * n * dtype.itemsize) if in_memory else None
        self.lines: dict[int, Value] = {}

    def place(self, k: Value) -> Value:
        return self.b.gep(self.memory, self.b.mul(k, self.n), self.dtype)

    def __getitem__(self, k: Value) -> Value:
        return self.lines[k.const] if self.memory is None else self.b.load(self.dtype, self.place(k), self.n)

    def __setitem__(self, k: Value, line: Value) -> None:
        if self.memory is None:
            self.lines[k.const] = line
        else:
            self.b.store(line, self.place(k))

    def read(self, start: Value, stride: int) -> Square:
        """Line k becomes the k-th elements of the vectors that begin `stride` elements apart."""
        b, step = self.b, self.b.const(stride, I64)
        if self.memory is None:
            self.lines = dict(enumerate(b.turned(loaded(b, start, step, self.dtype, self.n))))
        else:
            self.copy_turned(start, step, self.memory, b.const(self.n, I64))
        return self

    def write(self, start: Value, stride: int) -> None:
        """The opposite of `read`."""
        b, step = self.b, self.b.const(stride, I64)
        if self.memory is None:
            store_turned(b, [self.lines[k] for k in range(self.n)], start, step)
        else:
            self.copy_turned(self.memory, b.const(self.n, I64), start, step)

    def copy_turned(self, source: Value, source_step: Value, target: Value, target_step: Value) -> None:
        """By a function that all kernels share: LLVM takes a fifth of a millisecond for each shuffle."""
        bits, n = np.dtype(f"i{self.dtype.itemsize}"), self.n

        def body(b: Builder, source: Value, source_step: Value, target: Value, target_step: Value) -> None:
            store_turned(b, loaded(b, source, source_step, bits, n), target, target_step)
        params = [("source", PTR), ("source_step", I64), ("target", PTR), ("target_step", I64)]
        name = self.b.shared_function(f"turn.{bits.name}.{n}", params, body)
        self.b.call(name, None, [source, source_step, target, target_step])


def each_line(b: Builder, lines: range, as_loop: bool, carries: list, body: Callable[[Value, list], list]) -> list:
    """carries = body(k, carries) for each line k; written out, or as a loop."""
    if not as_loop:
        for k in lines:
            carries = body(b.const(k, I64), carries)
        return carries
    with b.loop(lines.start, lines.stop, carries=carries) as loop:
        loop.carry(*body(loop.index, [*loop.carries]))
    return [*loop.results]

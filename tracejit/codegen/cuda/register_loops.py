"""A RegisterLoop -> Numba-CUDA source with one thread per lane and the whole loop inside; sums over lanes in a second kernel."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cpu.register_loops import RegisterLoopEmitter
from tracejit.codegen.cpu.value import PTR
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.expressions import I32, I64, Point, point_of
from tracejit.codegen.cuda.general import global_thread
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.codegen.kernels import Fold, Kernel, Stage, Store
from tracejit.codegen.registers import RegisterLoop
from tracejit.ir.graph import Eqn, Lit, Var
from tracejit.ir.loops import APPLY, CONST, LOAD, ROW, Axis, Dependence, Expr, Index
from tracejit.ir.types import ArrayType
from tracejit.lax.broadcast import ReduceSum
from tracejit.lax.elementwise import Add

THREADS = 128


def refusal(eqn: Eqn, loop: RegisterLoop) -> str:
    """Why a loop cannot be one kernel: memory cannot grow inside one, its threads stop at different trips,
    and one thread alone is slow."""
    if loop.steps:
        return "its trips hold loops or branches"
    if loop.writes:
        return "it changes an array in place"
    if loop.records:
        return "it records a number of values that is known only at its end"
    return "its lanes count their trips together" if loop.lanes and getattr(eqn.op, "record", False) else ""


def lanes_of(loop: RegisterLoop) -> int:
    return math.prod(a.size for a in loop.lanes)


def part_bytes(loop: RegisterLoop) -> int:
    """Memory for what each lane has added up: [summed element, lane] of at most 8 bytes."""
    return 8 * len(loop.summed) * lanes_of(loop)


class LaneLoopEmitter(RegisterLoopEmitter):
    """`buffers` maps the keys of the pointers (body params, ("init", k), ("out", k), "count", "parts") to their dtypes."""

    def __init__(self, name: str, loop: RegisterLoop, buffers: dict[Any, np.dtype], trips: int | None, reverse: bool):
        self.loop, self.trips, self.reverse, self.buffers = loop, trips, reverse, buffers
        self.b = Builder(name, [(f"p{k}", PTR) for k in range(len(buffers))])
        self.bases = dict(zip(buffers, self.b.params))
        self.depends = Dependence()
        self.summed = {at: number for number, at in enumerate(loop.summed)}
        self.total = lanes_of(loop)

    @property
    def grid(self) -> tuple[int, ...]:
        return (-(-self.total // THREADS),)

    def source(self) -> KernelSource:
        self.emit()
        signature = tuple(f"*{memory_word(dtype)}" for dtype in self.buffers.values())
        functions = tuple(f.text for f in self.b.functions.values())
        return KernelSource(self.b.name, self.b.text(), signature, THREADS, functions=functions)

    def emit(self) -> None:
        b, loop = self.b, self.loop
        self.now = global_thread(b, self.total, THREADS)
        here = Point(b, self.bases, self.depends, point_of(b, self.now, loop.lanes))
        state = self.initial(here)
        if loop.alive is not None:
            state = self.run_alive(here, state)
        else:
            state = self.run_counted(here, state)
        self.store(here, state)

    def run_counted(self, here: Point, state: list) -> list:
        b = self.b
        n = b.load(I32, self.bases["count"]) if self.trips is None else \
            b.const(self.trips, I32 if self.trips < 2**31 else I64)
        with b.loop(0, n, carries=state) as trips:
            at = b.sub(b.sub(n, 1), trips.index) if self.reverse else trips.index
            trips.carry(*self.trip([here], trips.carries, {self.loop.time: at}))
        return trips.results

    def run_alive(self, here: Point, state: list) -> list:
        b = self.b
        alive = lambda s: self.seeded(here, s[1:], {}).value(self.loop.alive)
        trip = lambda s: [b.add(s[0], 1), *self.trip([here], s[1:], {})]
        count, *state = b.while_loop([b.const(0, I32), *state], alive, trip)
        if ("out", len(self.loop.carried)) in self.bases:
            b.store(count, self.bases["out", len(self.loop.carried)])
        return state

    def store(self, p: Point, state: Sequence, u: int = 0) -> None:
        """Each lane stores its own elements, the first also those that all share; what lanes add up goes into parts."""
        b, shared = self.b, []
        for (k, c, point), value in zip(self.elements(), state):
            number = self.summed.get((k, c.points.index(point)))
            if number is not None:
                at = b.add(b.wide(self.now), number * self.total)
                b.store(b.convert(value, self.buffers["parts"]), b.gep(self.bases["parts"], at))
            elif c.lane_dims or not self.loop.lanes:
                p.store(("out", k), c.offset(point), value, c.type.dtype)
            else:
                shared.append((("out", k), c.offset(point), value, c.type.dtype))
        if shared:
            b.when(b.eq(self.now, 0), lambda: [p.store(*how) for how in shared])


def parts_type(loop: RegisterLoop) -> ArrayType:
    """Parts have one dtype, which holds those of all summed elements: sums of floats have one dtype in a loop."""
    return ArrayType((len(loop.summed) * lanes_of(loop),), np.result_type(*[loop.carried[k].type.dtype for k, _ in loop.summed]))


def sum_kernel(loop: RegisterLoop, number: int, parts: Var, init: Var | Lit, out: Var) -> Kernel:
    """The kernel that adds what all lanes added up for one element to what it began with."""
    (k, j), n = loop.summed[number], lanes_of(loop)
    c = loop.carried[k]
    offset, dtype, lane = c.offset(c.points[j]), c.type.dtype, Axis("lane", n)
    part = Expr(LOAD, (), (parts, Index({lane: 1}, number * n), ()), parts.type.dtype)
    total = Var(ArrayType((), parts.type.dtype))
    fold = Fold(total, ReduceSum((0,)), [ArrayType((n,), parts.type.dtype)], [part])
    begun = Expr(LOAD, (), (init, offset, ()), dtype) if isinstance(init, Var) else \
        Expr(CONST, (), (np.asarray(init.value, dtype).tobytes(), dtype), dtype)
    both = Expr(APPLY, (begun, Expr(ROW, (), total, total.type.dtype)), Add(), dtype)
    return Kernel([], [lane], [Stage(folds=[fold], row_stores=[Store(out, offset, both)])], [])


"""Loops and branches inside of a trip of a loop in registers -> loops and branches of the same LLVM function."""
from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracejit.codegen.cpu.builder import Value
from tracejit.codegen.cpu.expressions import I64, Position
from tracejit.codegen.packs import padded
from tracejit.codegen.registers import Carried, Copy
from tracejit.codegen.scopes import Branch, Inner, Step, Writes
from tracejit.codegen.tables import Memory, Write
from tracejit.ir.loops import RESULT, Expr

if TYPE_CHECKING:
    from tracejit.codegen.cpu.register_loops import RegisterLoopEmitter


class Inside:
    """The steps of a trip: a part of what emits the loop."""

    def run_steps(self: RegisterLoopEmitter, p: Position, steps: Sequence[Step]) -> None:
        for step in steps:
            for e in step.before:
                p.value(e)
            if isinstance(step, Inner):
                self.run_inner(p, step)
            elif isinstance(step, Branch):
                self.run_branch(p, step)
            elif isinstance(step, Writes):
                self.write(p, step.writes)

    def run_inner(self: RegisterLoopEmitter, p: Position, step: Inner) -> None:
        b, loop, inside = self.b, step.loop, copy.copy(self)
        inside.loop, inside.reverse, inside.summed = loop, step.reverse, {}
        state = [*inside.begun(p, step.init), *[p.inner({}).value(k.first) for k in loop.kept]]
        if step.trips is None:
            after = inside.trips_while_alive([p], state)[:len(state)]
        else:
            n = b.convert(p.value(step.trips), I64)
            p.hoist(loop.roots, step.owners)
            run = lambda now, start, stop: inside.trips_of([p], now, start, stop, n)
            # as many trips as an integer may say take no more than seconds, if there is no loop inside of them
            may_be_long = n.const is not None or len(loop.loops) > 1
            after = inside.in_turns(state, n, run) if may_be_long else run(state, b.const(0, I64), n)
        for (_, c, point), n, value in zip(inside.elements(), inside.widths, after):
            inside.known(p, RESULT, c, c.offset(point).const, n, value)

    def begun(self: RegisterLoopEmitter, p: Position, init: list[list[Expr]]) -> list[Any]:
        """The carry of an inner loop before it, neighbours in vectors where they share one."""
        values = [p.value(e) for row in init for e in row]
        return [self.b.splat(value, len(padded(range(n)))) if n > 1 else value for value, n in zip(values, self.widths)]

    def known(self: RegisterLoopEmitter, p: Position, kind: str, c: Carried, first: int, n: int, value: Any) -> None:
        """A vector of n elements of a carried array, or a single one, is known at a position."""
        p.values[Expr(kind, (), (c.slot, first, n) if n > 1 else (c.slot, first), c.type.dtype)] = value
        for e in [Expr(kind, (), (c.slot, first + i), c.type.dtype) for i in range(n if n > 1 else 0)]:
            if e in self.nodes:
                p.values[e] = self.b.extract(value, e.data[1] - first)

    def run_branch(self: RegisterLoopEmitter, p: Position, step: Branch) -> None:
        b, which = self.b, p.value(step.index)

        def block(k: int) -> list:
            steps, values = step.blocks[k]
            q = p.inner({})
            self.run_steps(q, steps)
            return [q.value(e) for e in values]

        def chosen(k: int) -> list:
            if k == len(step.blocks) - 1:
                return block(k)
            return b.cond(b.eq(which, b.const(k, which.dtype)), lambda: block(k), lambda: chosen(k + 1))
        for e, value in zip(step.results, chosen(0)):
            p.values[e] = value

    def write(self: RegisterLoopEmitter, p: Position, writes: Sequence[Write]) -> None:
        """Change arrays that stay in memory, after all that these updates read of them was read."""
        b = self.b
        known = [(w, [p.value(e) for e in w.roots]) for w in writes]
        for w, (place, *inside, value) in known:
            dtype = w.value.dtype
            to = b.gep(self.bases[w.memory.key], place, dtype)
            write = lambda: b.store(w.op.combine(b, b.load(dtype, to), value), to)
            if inside:
                b.when(functools.reduce(b.and_, inside), write)
            else:
                write()

    def stack(self: RegisterLoopEmitter, p: Position, made: Copy) -> None:
        """Copy an array to its place among those of the other trips."""
        b, target = self.b, made.target
        to = self.place_of(target) if isinstance(target, Memory) else self.bases["out", target]
        b.copy(b.gep(to, b.mul(p.axes[self.loop.time], made.nbytes)), self.place_of(made.memory), made.nbytes)

    def place_of(self: RegisterLoopEmitter, memory: Memory) -> Value:
        name, at = memory.key
        return self.b.gep(self.bases["stack"], at) if name == "stack" else self.bases[memory.key]

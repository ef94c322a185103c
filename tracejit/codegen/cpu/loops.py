"""Scan, While and Cond -> native loops and branches around the steps of their sub-programs.

A loop's carry lives in two copies that change places after each trip; slices of xs and ys are read and
written in place. Tapes are growable stacks, allocated while the program runs and freed at its end.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.register_loops import RegisterLoopEmitter, interrupt_flag, loads_in
from tracejit.codegen.cpu.trips import emit_trips
from tracejit.codegen.lower import ControlStep, aligned, carry_operands, carry_params, size_of
from tracejit.codegen.registers import RegisterLoop
from tracejit.ir.graph import Var
from tracejit.lax.branches import Cond
from tracejit.lax.loops import Scan, slice_type

I32 = np.dtype("i4")


class LoopEmitter:
    def __init__(self, emitter, place, step: ControlStep):
        self.emitter, self.b, self.place, self.step = emitter, emitter.b, place, step
        self.op, self.eqn = step.eqn.op, step.eqn
        self.ins = [place.operand(x) for x in step.eqn.inputs]
        self.outs = [place.of(v) for v in step.eqn.outputs]
        self.region, self.used = place.scratch(step.region), max((p.arena for p in step.programs), default=0)

    def emit(self) -> None:
        if self.step.registers is not None:
            self.in_registers(self.step.registers)
        elif isinstance(self.op, Scan):
            self.scan()
        elif isinstance(self.op, Cond):
            self.cond()
        else:
            self.while_loop()

    def in_registers(self, loop: RegisterLoop) -> None:
        """One kernel with the whole loop inside."""
        b, op, emitter = self.b, self.op, self.emitter
        is_scan = isinstance(op, Scan)
        pointers: dict[Any, Value] = {}
        if is_scan:
            count, consts, carry, xs = op.parts(self.ins)
            pointers |= {"count": count[0]} if count else {}
            pointers |= dict(zip(op.body.params, [*consts, *carry, *[self.tape_data(x) if count else x for x in xs]]))
        else:
            cond_consts, consts, carry = op.parts(self.ins)
            pointers |= dict(zip(op.cond.params, cond_consts)) | dict(zip(op.body.params, consts))
        outs = self.outs
        if is_scan and count:
            n = b.convert(b.load(I32, count[0]), I64)
            outs = outs[:op.n_carry] + self.open_tapes(n, op.body.out_types[op.n_carry:])
        pointers |= {("init", k): p for k, p in enumerate(carry)} | {("out", k): p for k, p in enumerate(outs)}
        used = [v for v in loads_in(loop)]
        pointers |= {"stack": self.region} if loop.stack_bytes else {}
        buffers = [*used, *[k for k in pointers if isinstance(k, (tuple, str))], *(["parts"] if loop.summed else [])]
        module = emitter.new_module()
        kernel = RegisterLoopEmitter(module, "KERNEL", loop, buffers, op.length if is_scan else None,
                                     is_scan and op.reverse, b.can_leave)
        kernel.emit()
        if loop.summed:
            pointers["parts"] = b.call("malloc", PTR, [b.const(kernel.parts_bytes, I64)])
        stay = [k for k, c in enumerate(loop.carried) if c.in_memory]
        table = b.alloca(8 * len(buffers))
        for k, v in enumerate(buffers):
            b.store(pointers[v], b.gep(table, k, PTR))
        name = emitter.add_module(module.text(), "KERNEL", "tj_loop")
        self.empty_tapes(len(loop.records))
        self.bring(stay)
        b.parallel(name, table, kernel.n_tasks, kernel.polls)
        if kernel.polls:
            self.leave_if_interrupted()
        if loop.summed:
            self.add_parts(kernel, pointers)
            b.call("free", None, [pointers["parts"]])

    def add_parts(self, kernel: RegisterLoopEmitter, pointers: dict[Any, Value]) -> None:
        """What the lanes have added up, onto where the carry began: in the order of the lanes."""
        b, n = self.b, len(kernel.summed)
        for (k, j), number in kernel.summed.items():
            c = kernel.loop.carried[k]
            at = c.offset(c.points[j]).const
            dtype = c.type.dtype
            total = b.load(dtype, b.gep(pointers["init", k], at, dtype))
            with b.loop(0, kernel.units * kernel.unroll, carries=[total]) as loop:
                place = b.mul(b.add(b.mul(loop.index, n), number), 8)
                loop.carry(b.add(loop.carries[0], b.load(dtype, b.gep(pointers["parts"], place))))
            b.store(loop.results[0], b.gep(pointers["out", k], at, dtype))

    def bring(self, carries: Iterable[int]) -> None:
        """Copy carries to where they are changed in place, unless that is where they are."""
        atoms, home = carry_operands(self.eqn), self.place.program.home
        for k in carries:
            out = self.eqn.outputs[k]
            if not isinstance(atoms[k], Var) or home(atoms[k]) is not home(out):
                self.emitter.copy(self.outs[k], self.place.operand(atoms[k]), size_of(out.type))

    def leave_if_interrupted(self) -> None:
        """After Ctrl-C leave the entry point, unless the user's handler decides to go on."""
        b = self.b
        if b.can_leave:
            b.when(b.ne(interrupt_flag(b), b.const(0, I32)), lambda: b.fail_if(b.call("tj_leave", I32, [])))

    def take(self, nbytes: int) -> Value:
        """Bytes of the step's region, beyond its programs' scratch."""
        at = self.b.gep(self.region, self.used)
        self.used += aligned(nbytes)
        return at

    def run(self, k: int, params, targets) -> None:
        self.emitter.run(self.step.programs[k], params, targets, self.region)

    # --- Cond

    def cond(self) -> None:
        b = self.b
        index, *operands = self.ins
        which = b.load(I32, index)

        def branch(k: int) -> None:
            if k == len(self.step.programs) - 1:
                return self.run(k, operands, self.outs)
            return b.cond(b.eq(which, b.const(k, I32)), lambda: self.run(k, operands, self.outs), lambda: branch(k + 1))
        branch(0)

    # --- Scan

    def scan(self) -> None:
        b, op = self.b, self.op
        count, consts, carry, xs = op.parts(self.ins)
        types = [x.type for x in self.eqn.inputs]
        n = b.convert(b.load(I32, count[0]), I64) if count else b.const(op.length, I64)
        x_slices = [slice_type(t) for t in op.parts(types)[3]]
        y_types = op.body.out_types[op.n_carry:]
        ys = self.open_tapes(n, y_types) if count else self.outs[op.n_carry:]
        xs = [self.tape_data(x) for x in xs] if count else xs

        def trip(i: Value, consts, now, xs, following, ys, scratch: Value) -> None:
            b = self.emitter.b
            at = b.sub(b.sub(n, b.const(1, I64)), i) if op.reverse else i
            element = lambda base, t: b.gep(base, b.mul(at, b.const(t.nbytes, I64)))
            self.emitter.run(self.step.programs[0], [*consts, *now, *map(element, xs, x_slices)],
                             [*following, *map(element, ys, y_types)], scratch)
        if self.step.shares > 1:
            return self.at_once(consts, xs, ys, trip)
        return self.counted(n, carry, lambda i, now, following: trip(i, consts, now, xs, following, ys, self.region))

    def at_once(self, consts, xs, ys, trip) -> None:
        """The trips of a loop without a carry, on all threads."""
        n, m = len(consts), len(consts) + len(xs)
        run = emit_trips(self.emitter, self.step, self.op.length, [*consts, *xs, *ys], self.region,
                         lambda i, at, scratch: trip(i, at[:n], [], at[n:m], [], at[m:], scratch))
        run()
        self.leave_if_interrupted()

    def counted(self, n: Value, init: list[Value], trip) -> None:
        """trip(i, carry, where the next carry goes) for i < n; the last carry is copied to the outputs."""
        b, memory = self.b, CarryMemory(self, init)
        m = len(memory.moving)
        with b.loop(b.const(0, I64), n, carries=memory.pointers) as loop:
            now, following, spare = loop.carries[:m], loop.carries[m:2 * m], loop.carries[2 * m:]
            trip(loop.index, memory.all(now), memory.all(following))
            self.leave_if_interrupted()
            loop.carry(*following, *spare, *following)
        memory.deliver(loop.results[:m])

    # --- While

    def while_loop(self) -> None:
        b, op, n = self.b, self.op, self.op.n_carry
        cond_consts, consts, carry = op.parts(self.ins)
        memory, flag = CarryMemory(self, carry), self.take(1)
        m = len(memory.moving)
        recorded = op.body.out_types[n:]
        tapes = self.empty_tapes(len(recorded)) if op.record else []
        records = [self.take(t.nbytes) for t in recorded]

        def alive(values) -> Value:
            self.run(0, [*cond_consts, *memory.all(values[:m])], [flag])
            return b.load(np.dtype(bool), flag)

        def body(values):
            now, following, spare, trips = values[:m], values[m:2 * m], values[2 * m:3 * m], values[3 * m]
            self.run(1, [*consts, *memory.all(now)], [*memory.all(following), *records])
            for tape, record, t in zip(tapes, records, recorded):
                self.push(tape, trips, record, t.nbytes)
            self.leave_if_interrupted()
            return [*following, *spare, *following, b.add(trips, b.const(1, I64))]
        end = b.while_loop([*memory.pointers, b.const(0, I64)], alive, body)
        memory.deliver(end[:m])
        if op.record:
            b.store(b.convert(end[3 * m], I32), self.outs[n])

    # --- tapes: in memory { ptr data, i64 capacity in bytes }

    def empty_tapes(self, n: int) -> list[Value]:
        tapes = self.outs[-n:] if n else []
        for tape in tapes:  # what an earlier trip of a loop around this one recorded is not needed any more
            self.emitter.free_tape(tape)
        return tapes

    def open_tapes(self, n: Value, types) -> list[Value]:
        """Tapes with room for n elements; where their data is."""
        data = []
        for tape, t in zip(self.empty_tapes(len(types)), types):
            self.reserve(tape, self.b.mul(n, self.b.const(max(t.nbytes, 1), I64)))
            data.append(self.tape_data(tape))
        return data

    def tape_data(self, tape: Value) -> Value:
        return self.b.load(PTR, tape)

    def reserve(self, tape: Value, nbytes: Value) -> None:
        b = self.b
        data = b.call("realloc", PTR, [self.tape_data(tape), nbytes])
        b.store(data, tape)
        b.store(nbytes, b.gep(tape, 8))

    def push(self, tape: Value, index: Value, record: Value, nbytes: int) -> None:
        b = self.b
        start = b.mul(index, b.const(nbytes, I64))
        end = b.add(start, b.const(nbytes, I64))
        have = b.load(I64, b.gep(tape, 8))
        b.when(b.gt(end, have), lambda: self.reserve(tape, b.add(b.mul(end, b.const(2, I64)), b.const(1024, I64))))
        self.emitter.copy(b.gep(self.tape_data(tape), start), record, nbytes)


class CarryMemory:
    """Where a loop's carry is: two copies that change places after each trip, but one, in the output's own
    memory, of what the body changes in place."""

    def __init__(self, loop: LoopEmitter, init: list[Value]):
        program = loop.step.programs[-1]
        params = carry_params(loop.op)
        types = [p.type for p in params]
        self.loop, self.types = loop, types
        self.fixed = {k: loop.outs[k] for k, p in enumerate(params) if program.stays(k, p)}
        self.moving = [k for k in range(len(params)) if k not in self.fixed]
        start = []
        loop.bring(k for k, p in enumerate(params) if p in program.overwritten)
        for k, p in enumerate(params):
            if k not in self.fixed:
                start.append(loop.outs[k] if p in program.overwritten else init[k])
        copies = [[loop.take(size_of(types[k])) for k in self.moving] for _ in range(2)]
        self.pointers = [*start, *copies[0], *copies[1]]

    def all(self, moving: list[Value]) -> list[Value]:
        rest = iter(moving)
        return [self.fixed[k] if k in self.fixed else next(rest) for k in range(len(self.types))]

    def deliver(self, last: list[Value]) -> None:
        for k, at in zip(self.moving, last):
            self.loop.emitter.copy(self.loop.outs[k], at, size_of(self.types[k]))

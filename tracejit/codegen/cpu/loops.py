"""Scan, While and Cond -> native loops and branches around the steps of their sub-programs.

A loop's carry lives in two copies that change places after each trip; slices of xs and ys are read and
written in place. Tapes are growable stacks, allocated while the program runs and freed at its end.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Module, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.register_loops import RegisterLoopEmitter, interrupt_flag, loads_in
from tracejit.codegen.lower import ControlStep, aligned, size_of
from tracejit.codegen.registers import RegisterLoop
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
        buffers = [*used, *[k for k in pointers if isinstance(k, (tuple, str))]]
        table = b.alloca(8 * len(buffers))
        for k, v in enumerate(buffers):
            b.store(pointers[v], b.gep(table, k, PTR))
        module = Module(emitter.isa)
        kernel = RegisterLoopEmitter(module, "KERNEL", loop, buffers, op.length if is_scan else None,
                                     is_scan and op.reverse)
        kernel.emit()
        name = emitter.add_module(module.text(), "KERNEL", "tj_loop")
        if is_scan:
            return b.parallel(name, table, kernel.n_tasks)
        again = b.fresh("again")
        b.br(again)
        b.label(again)     # an interrupted loop has stopped early: leave, or if the user's handler goes on, run it anew
        b.parallel(name, table, kernel.n_tasks)
        self.leave_if_interrupted(again)

    def leave_if_interrupted(self, again: str | None = None) -> None:
        """After Ctrl-C leave the entry point; if the user's handler decides to go on, jump to `again`."""
        b = self.b
        stop, done = b.fresh("interrupted"), b.fresh("undisturbed")
        b.condbr(b.ne(interrupt_flag(b), b.const(0, I32)), stop, done)
        b.label(stop)
        b.fail_if(b.call("tj_poll", I32, []))
        b.br(again or done)
        b.label(done)

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

        def trip(i: Value, now: list[Value], following: list[Value]) -> None:
            at = b.sub(b.sub(n, b.const(1, I64)), i) if op.reverse else i
            element = lambda base, t: b.gep(base, b.mul(at, b.const(t.nbytes, I64)))
            self.run(0, [*consts, *now, *[element(x, t) for x, t in zip(xs, x_slices)]],
                     [*following, *[element(y, t) for y, t in zip(ys, y_types)]])
        self.counted(n, carry, trip)

    def counted(self, n: Value, init: list[Value], trip) -> None:
        """trip(i, carry, where the next carry goes) for i < n; the last carry is copied to the outputs."""
        b = self.b
        types = [v.type for v in self.eqn.outputs[:len(init)]]
        first, second = ([self.take(size_of(t)) for t in types] for _ in range(2))
        with b.loop(b.const(0, I64), n, carries=[*init, *first, *second]) as loop:
            k = len(init)
            now, following, spare = loop.carries[:k], loop.carries[k:2 * k], loop.carries[2 * k:]
            trip(loop.index, now, following)
            self.leave_if_interrupted()
            loop.carry(*following, *spare, *following)
        for out, at, t in zip(self.outs, loop.results[:len(init)], types):
            self.emitter.copy(out, at, size_of(t))

    # --- While

    def while_loop(self) -> None:
        b, op = self.b, self.op
        cond_consts, consts, carry = op.parts(self.ins)
        types = [v.type for v in self.eqn.outputs[:op.n_carry]]
        first, second = ([self.take(size_of(t)) for t in types] for _ in range(2))
        flag = self.take(1)
        k = op.n_carry
        recorded = op.body.out_types[k:]
        tapes = self.empty_tapes(len(recorded)) if op.record else []
        records = [self.take(t.nbytes) for t in recorded]

        def alive(values) -> Value:
            self.run(0, [*cond_consts, *values[:k]], [flag])
            return b.load(np.dtype(bool), flag)

        def body(values):
            now, following, spare, trips = values[:k], values[k:2 * k], values[2 * k:3 * k], values[3 * k]
            self.run(1, [*consts, *now], [*following, *records])
            for tape, record, t in zip(tapes, records, recorded):
                self.push(tape, trips, record, t.nbytes)
            self.leave_if_interrupted()
            return [*following, *spare, *following, b.add(trips, b.const(1, I64))]
        end = b.while_loop([*carry, *first, *second, b.const(0, I64)], alive, body)
        for out, at, t in zip(self.outs, end[:k], types):
            self.emitter.copy(out, at, size_of(t))
        if op.record:
            b.store(b.convert(end[3 * k], I32), self.outs[k])

    # --- tapes: in memory { ptr data, i64 capacity in bytes }

    def empty_tapes(self, n: int) -> list[Value]:
        b = self.b
        tapes = self.outs[-n:] if n else []
        for tape in tapes:
            b.store(Value("null", PTR), tape)
            b.store(b.const(0, I64), b.gep(tape, 8))
        self.emitter.tapes += tapes
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

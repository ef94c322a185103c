"""The commands of a GPU program -> calls of a Runtime, once the addresses of its params and results are known.

Loops and branches that are not kernels run from the host: a condition is downloaded, the carry alternates between
two buffers. Tapes are device buffers that double when they are full.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tracejit.codegen.cuda.interface import Buffer, Epilogue, Runtime, View
from tracejit.codegen.cuda.program import ALIGNMENT, Block, Code, ControlFlow, Copy, Kernels, Launch, Library, OpenTape, Place
from tracejit.codegen.lower import aligned, carry_params, size_of
from tracejit.ir.types import ArrayType
from tracejit.lax.branches import Cond
from tracejit.lax.kinds import Contraction
from tracejit.lax.loops import Scan, slice_type
from tracejit.runtime.cuda.products import contract


TRIPS = "the number of trips of a loop"     # why it is copied


@dataclass
class Tape:
    """A stack of records in device memory."""
    buffer: Buffer | None = None

    @property
    def address(self) -> int:
        return self.buffer.address if self.buffer is not None else 0


    def reserve(self, runtime: Runtime, nbytes: int) -> None:
        """Room for so many bytes; what was there before is lost."""
        self.buffer = runtime.allocate(max(nbytes, 1), "what a loop records")


@dataclass
class Frame:
    """One run of a block: the addresses of its params and results (or Tapes), and its arena."""
    params: Sequence[Any]
    results: Sequence[int]
    arena: int
    scratch: int
    tapes: dict[int, Tape] = field(default_factory=dict)


class Executor:
    """A program on a Runtime. Its kernels and literals are loaded once."""

    def __init__(self, code: Code, runtime: Runtime):
        self.code, self.runtime = code, runtime
        loaded = runtime.load(code.sources)
        self.kernels = dict(zip((s.name for s in code.sources), loaded))
        self.launchers: dict[Launch, Callable[..., None]] = {}
        self.literals = [self.uploaded(x) for x in code.literals]

    def uploaded(self, array: np.ndarray) -> Buffer:
        buffer = self.runtime.allocate(max(array.nbytes, 1), "a constant of the program")
        if array.nbytes:
            self.runtime.upload(buffer.address, array, "a constant of the program")
        return buffer

    def arena(self) -> Buffer:
        """Memory for one run."""
        return self.runtime.allocate(max(self.code.arena_bytes, 1), self.arena_text)

    @cached_property
    def arena_text(self) -> str:
        """What the arena holds, and the user's line of its largest value: an error about memory shows it."""
        program = self.code.program
        made = {v: eqn.source for eqn in program.graph.eqns for v in eqn.outputs if v in program.offsets}
        largest = max(made, key=lambda v: size_of(v.type), default=None)
        if largest is None:
            return "intermediate values of a program"
        place = "" if made[largest] is None else f" at {made[largest].place}"
        return f"intermediate values of a program, the largest {largest.type}{place}"

    @property
    def is_capturable(self) -> bool:
        """Whether a run neither waits for the device nor allocates, so that it can be replayed on the same addresses."""
        return all(isinstance(c, (Kernels, Copy)) or isinstance(c, Library) and isinstance(c.eqn.op, Contraction)
                   for c in self.code.block.commands)

    def run(self, params: Sequence[int], results: Sequence[int], arena: Buffer | None = None) -> None:
        """Run on these addresses: of the graph's params, and of memory for its results; in a given arena, or a new one."""
        arena = arena or self.arena()
        self.block(self.code.block, Frame(params, results, arena.address, arena.address + self.code.plan_bytes))

    def block(self, block: Block, frame: Frame) -> None:
        for command in block.commands:
            self.perform(command, frame)

    def perform(self, command: Any, frame: Frame) -> None:
        if isinstance(command, Kernels):
            self.launch(command, frame)
        elif isinstance(command, Copy):
            self.copy(self.address(command.target, frame), self.address(command.source, frame), command.nbytes)
        elif isinstance(command, Library):
            self.library(command, frame)
        elif isinstance(command, OpenTape):
            count = int(self.runtime.download(View(self.address(command.count, frame), (), np.dtype("i4")), TRIPS))
            self.place(command.tape, frame).reserve(self.runtime, count * command.nbytes)
        else:
            ControlRunner(self, command, frame).run()

    def launch(self, kernels: Kernels, frame: Frame) -> None:
        calls = [(launch, [self.address(p, frame) for p in launch.places]) for launch in kernels.launches]
        if kernels.unaligned and any(a % ALIGNMENT for _, addresses in calls for a in addresses):
            calls = [(launch, [self.address(p, frame) for p in launch.places]) for launch in kernels.unaligned]
        for launch, addresses in calls:
            self.launcher(launch)(*addresses)

    def launcher(self, launch: Launch) -> Callable[..., None]:
        found = self.launchers.get(launch)
        if found is None:
            kernel = self.kernels.get(launch.source.name) or self.runtime.load([launch.source])[0]
            found = self.launchers[launch] = self.runtime.launcher(
                kernel, launch.grid, None if None in launch.extents else launch.extents)
        return found

    def copy(self, target: int, source: int, nbytes: int) -> None:
        if nbytes and target != source:
            self.runtime.copy(target, source, nbytes)

    def place(self, place: Place, frame: Frame) -> Any:
        """The address of a place, or its Tape."""
        base, number = place
        if base == "arena":
            return frame.arena + number
        if base == "scratch":
            return frame.scratch + number
        if base == "param":
            return frame.params[number]
        if base == "result":
            return frame.results[number]
        return self.literals[number].address if base == "literal" else frame.tapes.setdefault(number, Tape())

    def address(self, place: Place, frame: Frame) -> int:
        found = self.place(place, frame)
        return found.address if isinstance(found, Tape) else found

    # --- library calls

    def library(self, command: Library, frame: Frame) -> None:
        eqn = command.eqn
        view = lambda place, t: View(self.address(place, frame), t.shape, t.dtype)
        ins = [view(p, x.type) for p, x in zip(command.ins, eqn.inputs)]
        outs = [view(p, v.type) for p, v in zip(command.outs, eqn.outputs)]
        if isinstance(eqn.op, Contraction):
            contract(self.runtime, eqn.op, *ins, *outs, self.epilogue(command, frame))
        else:
            with self.runtime.library():
                eqn.op.device_call(self.runtime, ins, outs)

    def epilogue(self, command: Library, frame: Frame) -> Epilogue | None:
        found = command.epilogue
        if found is None:
            return None
        if command.bias is None:
            return Epilogue(None, found.activation)
        t = found.bias.type
        return Epilogue(View(self.address(command.bias, frame), (t.size,), t.dtype), found.activation)


class ControlRunner:
    """One run of a loop or a branch from the host."""

    def __init__(self, executor: Executor, flow: ControlFlow, frame: Frame):
        self.executor, self.flow, self.runtime = executor, flow, executor.runtime
        self.op = flow.step.eqn.op
        self.ins = [executor.place(p, frame) for p in flow.ins]
        self.outs = [executor.place(p, frame) for p in flow.outs]
        self.region, self.scratch = executor.address(flow.region, frame), frame.scratch
        self.used = max((b.program.arena for b in flow.blocks), default=0)

    def run(self) -> None:
        if isinstance(self.op, Cond):
            which = self.number(self.ins[0], np.dtype("i4"), "the condition of a branch")
            self.block(min(max(which, 0), len(self.flow.blocks) - 1), self.ins[1:], self.outs)
        elif isinstance(self.op, Scan):
            self.scan()
        else:
            self.while_loop()

    def block(self, k: int, params: Sequence[Any], results: Sequence[int]) -> None:
        self.executor.block(self.flow.blocks[k], Frame(params, results, self.region, self.scratch))

    def number(self, address: int, dtype: np.dtype, why: str) -> int:
        return int(self.runtime.download(View(address, (), dtype), why))

    def take(self, nbytes: int) -> int:
        """Bytes of the step's region, beyond its programs' arenas."""
        at = self.region + self.used
        self.used += aligned(nbytes)
        return at

    def scan(self) -> None:
        op = self.op
        count, consts, carry, xs = op.parts(self.ins)
        types = [x.type for x in self.flow.step.eqn.inputs]
        n = self.number(count[0], np.dtype("i4"), TRIPS) if count else op.length
        x_types = [slice_type(t) for t in op.parts(types)[3]]
        y_types = op.body.out_types[op.n_carry:]
        ys = [self.reserved(tape, n, t) if count else tape for tape, t in zip(self.outs[op.n_carry:], y_types)]
        xs = [x.address if isinstance(x, Tape) else x for x in xs]
        memory = CarryMemory(self, carry)
        for i in reversed(range(n)) if op.reverse else range(n):
            here = [x + i * size_of(t) for x, t in zip(xs, x_types)]
            there = [y + i * size_of(t) for y, t in zip(ys, y_types)]
            self.block(0, [*consts, *memory.now(), *here], [*memory.following(), *there])
            memory.advance()
        memory.deliver()

    def while_loop(self) -> None:
        op, n = self.op, self.op.n_carry
        cond_consts, consts, carry = op.parts(self.ins)
        memory, flag = CarryMemory(self, carry), self.take(1)
        types = op.body.out_types[n:]
        tapes = self.outs[n + 1:] if op.record else []
        trips = 0
        while True:
            self.block(0, [*cond_consts, *memory.now()], [flag])
            if not self.number(flag, np.dtype(bool), "the condition of a loop"):
                break
            records = [self.pushed(tape, trips, t) for tape, t in zip(tapes, types)]
            self.block(1, [*consts, *memory.now()], [*memory.following(), *records])
            memory.advance()
            trips += 1
        memory.deliver()
        if op.record:
            self.runtime.upload(self.outs[n], np.array(trips, np.int32), TRIPS)

    # --- tapes

    def reserved(self, tape: Tape, n: int, t: ArrayType) -> int:
        tape.reserve(self.runtime, n * size_of(t))
        return tape.address

    def pushed(self, tape: Tape, index: int, t: ArrayType) -> int:
        """Where record number `index` goes, in memory that doubles when it is full."""
        start, end = index * size_of(t), (index + 1) * size_of(t)
        if index == 0 or end > tape.buffer.nbytes:
            grown = self.runtime.allocate(2 * end + 1024, "what a loop records")
            if index:
                self.runtime.copy(grown.address, tape.address, start)
            tape.buffer = grown
        return tape.address + start


class CarryMemory:
    """Where a loop's carry is: two copies that change places after each trip, but one, in the output's own
    memory, of what the body changes in place."""

    def __init__(self, runner: ControlRunner, init: Sequence[Any]):
        program = runner.flow.blocks[-1].program
        params = carry_params(runner.op)
        self.runner, self.sizes = runner, [size_of(p.type) for p in params]
        self.fixed = [program.stays(k, p) for k, p in enumerate(params)]
        self.state: list[Any] = []
        for k, p in enumerate(params):
            if p in program.overwritten:
                runner.executor.copy(runner.outs[k], init[k], self.sizes[k])
            self.state.append(runner.outs[k] if p in program.overwritten else init[k])
        self.copies = [[runner.take(n) for n in self.sizes] for _ in range(2)]

    def now(self) -> list[Any]:
        return self.state

    def following(self) -> list[Any]:
        return [was if fixed else copy for was, fixed, copy in zip(self.state, self.fixed, self.copies[0])]

    def advance(self) -> None:
        self.state = self.following()
        self.copies.reverse()

    def deliver(self) -> None:
        for k, at in enumerate(self.state):
            self.runner.executor.copy(self.runner.outs[k], at, self.sizes[k])

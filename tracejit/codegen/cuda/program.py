"""A Program -> commands for a Runtime: launches, library calls, copies, loops and branches, over places known by name.

The places of a value are those of the CPU's plan: params, results, and offsets in one arena. Addresses are only known
when the program runs (`runtime/cuda/executor.py`).
"""
from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from tracejit.codegen.cuda.epilogues import LibraryEpilogue, library_epilogue, product_blocks
from tracejit.codegen.cuda.general import KernelEmitter
from tracejit.codegen.cuda.parts import part_offsets
from tracejit.codegen.cuda.schedule import plans_of
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.codegen.cuda.lanes import lane_source
from tracejit.codegen.cuda.prepare import prepared
from tracejit.codegen.cuda.register_loops import LaneLoopEmitter, part_bytes, parts_type, refusal, sum_kernel
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.lower import ControlStep, KernelStep, NativeStep, Program, Target, aligned, lower, size_of
from tracejit.codegen.cpu.register_loops import loads_in
from tracejit.codegen.schedule import collapse
from tracejit.ir.graph import Eqn, Graph, Lit, Var
from tracejit.ir.types import TapeType
from tracejit.lax.custom import Constant
from tracejit.lax.loops import Scan


ALIGNMENT = 16      # bytes of the widest access


class Place(NamedTuple):
    """Where a value is: `number` says which param, result, literal or tape, or the offset in the arena."""
    base: str
    number: int


@dataclass(frozen=True)
class Launch:
    """A kernel on `grid` blocks; it may touch extents[k] bytes from places[k] on."""
    source: KernelSource
    grid: tuple[int, ...]
    places: tuple[Place, ...]
    extents: tuple[int | None, ...]    # None: up to the end of the memory


@dataclass(frozen=True)
class Kernels:
    """The launches of one kernel of the Loop IR; `unaligned`, if any, run where an address is not a multiple of ALIGNMENT."""
    launches: tuple[Launch, ...]
    unaligned: tuple[Launch, ...] = ()


@dataclass(frozen=True)
class Library:
    """An op on whole arrays; a product may have an epilogue, and its bias."""
    eqn: Eqn
    ins: tuple[Place, ...]
    outs: tuple[Place, ...]
    epilogue: LibraryEpilogue | None = None
    bias: Place | None = None


@dataclass(frozen=True)
class Copy:
    target: Place
    source: Place
    nbytes: int


@dataclass(frozen=True)
class ControlFlow:
    """A loop or a branch whose sub-programs run from the host; `region` is their scratch memory."""
    step: ControlStep
    blocks: tuple[Block, ...]
    ins: tuple[Place, ...]
    outs: tuple[Place, ...]
    region: Place


@dataclass(frozen=True)
class OpenTape:
    """Give a tape room for as many records as `count` says."""
    tape: Place
    count: Place
    nbytes: int


Command = Kernels | Library | Copy | ControlFlow | OpenTape


@dataclass(frozen=True)
class Block:
    """The commands of one program, and the program."""
    program: Program
    commands: tuple[Command, ...]


@dataclass
class Code:
    """What the compiler made of a graph for a GPU."""
    block: Block
    sources: list[KernelSource]
    literals: list[np.ndarray]
    plan_bytes: int         # of the memory plan; scratch memory follows it in the arena
    scratch_bytes: int
    kernels: list[Kernel] = field(default_factory=list)

    @property
    def program(self) -> Program:
        return self.block.program

    @property
    def arena_bytes(self) -> int:
        return self.plan_bytes + self.scratch_bytes


class ProgramEmitter:
    """Turns programs into commands, and collects the kernels and the literals that they use."""

    def __init__(self) -> None:
        self.sources: dict[str, KernelSource] = {}
        self.literals: list[np.ndarray] = []
        self.kernels: list[Kernel] = []
        self.scratch = 0        # bytes that kernels in parts need, one kernel at a time

    def block(self, program: Program) -> Block:
        return BlockEmitter(self, program).emit()

    def literal(self, array: np.ndarray) -> Place:
        self.literals.append(np.ascontiguousarray(array))
        return Place("literal", len(self.literals) - 1)

    def named(self, source: KernelSource) -> KernelSource:
        source = renamed(source)
        return self.sources.setdefault(source.name, source)


def renamed(source: KernelSource) -> KernelSource:
    """A source under a name made of its content."""
    content = "\0".join([source.text, *source.functions, *source.signature])
    name = f"tj_{hashlib.sha256(content.encode()).hexdigest()[:24]}"
    return replace(source, name=name, text=source.text.replace(f"def {source.name}(", f"def {name}(", 1))


class BlockEmitter:
    def __init__(self, emitter: ProgramEmitter, program: Program):
        self.emitter, self.program = emitter, program
        self.tapes: dict[Var, Place] = {}
        self.found: dict[Any, Place] = {p: Place("param", k) for k, p in enumerate(program.graph.params)}
        for k, result in enumerate(program.graph.results):
            if isinstance(result, Var):
                self.found.setdefault(program.home(result), Place("result", k))

    def place(self, x: Any) -> Place:
        if isinstance(x, Lit):
            return self.emitter.literal(np.asarray(x.value, x.type.dtype))
        home = self.program.home(x)
        if home in self.found:
            return self.found[home]
        if isinstance(home.type, TapeType):
            return self.found.setdefault(home, Place("tape", sum(p.base == "tape" for p in self.found.values())))
        return Place("arena", self.program.offsets[home])

    def places(self, xs: Sequence) -> tuple[Place, ...]:
        return tuple(map(self.place, xs))

    def emit(self) -> Block:
        commands: list[Command] = []
        for step in self.program.steps:
            commands += self.kernel(step.kernel) if isinstance(step, KernelStep) else \
                self.control(step) if isinstance(step, ControlStep) else self.native(step)
        for k, result in enumerate(self.program.graph.results):
            target, source = Place("result", k), self.place(result)
            if target != source and size_of(result.type):
                commands.append(Copy(target, source, size_of(result.type)))
        return Block(self.program, tuple(commands))

    def kernel(self, kernel: Kernel) -> list[Command]:
        kernel = collapse(prepared(kernel))
        self.emitter.kernels.append(kernel)
        buffers = [*kernel.inputs, *kernel.outputs]
        if not math.prod(a.size for a in kernel.row_axes):
            return []
        plans = plans_of(kernel, buffers)
        unaligned: tuple[Launch, ...] = ()
        if any(plan.needs_alignment for plan in plans):
            unaligned = tuple(self.planned(plan, buffers, kept=False) for plan in plans_of(kernel, buffers, aligned=False))
        first, *rest = [self.planned(plan, buffers) for plan in plans]
        return [Kernels((first, *rest), unaligned)]

    def planned(self, plan: KernelEmitter, buffers: Sequence, kept: bool = True) -> Launch:
        """The launch of a schedule, whose parts, if it has any, are in the scratch memory that all kernels share."""
        launch = self.launch(plan.source(), plan.grid, buffers, kept)
        if not plan.chunk:
            return launch
        *offsets, end = part_offsets(plan.kernel, plan.n_parts)
        self.emitter.scratch = max(self.emitter.scratch, end)
        places = [Place("scratch", at) for at in offsets]
        sizes = [stop - start for start, stop in zip([*offsets, end], [*offsets, end][1:])]
        return replace(launch, places=(*launch.places, *places), extents=(*launch.extents, *sizes))

    def launch(self, source: KernelSource, grid: tuple[int, ...], buffers: Sequence, kept: bool = True) -> Launch:
        """Of a kernel that is not `kept`, the device is told only where it is needed."""
        source = self.emitter.named(source) if kept else renamed(source)
        return Launch(source, grid, self.places(buffers), tuple(size_of(v.type) for v in buffers))

    def native(self, step: NativeStep) -> list[Command]:
        eqn = step.eqn
        types = [x.type for x in eqn.inputs]
        if not any(v.type.size for v in eqn.outputs) and not eqn.op.has_effects:
            return []
        if isinstance(eqn.op, Constant):
            [out] = eqn.outputs
            return [Copy(self.place(out), self.emitter.literal(np.asarray(eqn.op.eval(), out.type.dtype)), out.type.nbytes)]
        lanes = eqn.op.device_lanes(types)
        if lanes is None:
            return self.library(step)
        before = self.overwritten(eqn)
        if not lanes:
            return before
        source = lane_source("kernel", eqn, types)
        launch = self.launch(source, (-(-lanes // source.threads),), [*eqn.inputs, *eqn.outputs])
        return [*before, Kernels((launch,))]

    def library(self, step: NativeStep) -> list[Command]:
        """The call; where the product is needed as well as what its epilogue makes of it, that is a kernel of its own."""
        eqn, kernel = step.eqn, step.epilogue
        call = Library(eqn, self.places(eqn.inputs), self.places(eqn.outputs))
        if kernel is None:
            return [call]
        out = eqn.outputs[0]
        if self.program.home(out) is out:
            return [call, *self.kernel(kernel)]
        epilogue = library_epilogue(kernel, out)
        return [replace(call, epilogue=epilogue, bias=None if epilogue.bias is None else self.place(epilogue.bias))]

    def overwritten(self, eqn: Eqn) -> list[Command]:
        """An op that changes a copy of an operand finds the copy in its result."""
        if eqn.op.overwrites is None:
            return []
        source, target = self.place(eqn.inputs[eqn.op.overwrites]), self.place(eqn.outputs[0])
        return [Copy(target, source, eqn.outputs[0].type.nbytes)] if source != target else []

    def control(self, step: ControlStep) -> list[Command]:
        if step.registers is not None:
            return self.loop(step)
        blocks = tuple(map(self.emitter.block, step.programs))
        eqn = step.eqn
        return [ControlFlow(step, blocks, self.places(eqn.inputs), self.places(eqn.outputs), self.region(step))]

    def region(self, step: ControlStep) -> Place:
        return Place("arena", self.program.offsets[step.region])

    def loop(self, step: ControlStep) -> list[Command]:
        """A loop that is one kernel, with memory for what it stacks before it, and the sums over its lanes after it."""
        eqn, op, loop = step.eqn, step.eqn.op, step.registers
        is_scan = isinstance(op, Scan)
        lead, consts, carry, xs = op.parts(eqn.inputs) if is_scan else (*op.parts(eqn.inputs), [])
        params = [*consts, *carry, *xs]
        given: dict[Any, Any] = dict(zip(op.body.params, params))
        given |= {"count": lead[0]} if is_scan and lead else dict(zip(op.cond.params, lead)) if not is_scan else {}
        given |= {("init", k): x for k, x in enumerate(carry)} | {("out", k): v for k, v in enumerate(eqn.outputs)}
        used = {*loads_in(loop), *[k for k in given if isinstance(k, (tuple, str))]}
        places = {key: self.place(x) for key, x in given.items() if key in used}
        dtypes = {key: element_dtype(x) for key, x in given.items() if key in used}
        if loop.summed:
            places["parts"], dtypes["parts"] = self.region(step), parts_type(loop).dtype
        plan = LaneLoopEmitter("kernel", loop, dtypes, op.length if is_scan else None, is_scan and op.reverse)
        opened = [OpenTape(self.place(v), self.place(lead[0]), v.type.element.nbytes)
                  for v in eqn.outputs if isinstance(v.type, TapeType)]
        extents = tuple(None if isinstance(getattr(given.get(k), "type", None), TapeType) else
                        part_bytes(loop) if k == "parts" else given[k].type.nbytes for k in places)
        launch = Launch(self.emitter.named(plan.source()), plan.grid, tuple(places.values()), extents)
        return [*opened, *([Kernels((launch,))] if plan.total else []), *self.lane_sums(step)]

    def lane_sums(self, step: ControlStep) -> list[Command]:
        loop, eqn = step.registers, step.eqn
        if not loop.summed:
            return []
        parts = Var(parts_type(loop))
        self.found[parts] = self.region(step)
        carry = eqn.op.parts(eqn.inputs)[2]
        return [c for number, (k, _) in enumerate(loop.summed)
                for c in self.kernel(sum_kernel(loop, number, parts, carry[k], eqn.outputs[k]))]


def element_dtype(x: Any) -> np.dtype:
    """The dtype of what is in a value's memory."""
    return x.type.element.dtype if isinstance(x.type, TapeType) else x.type.dtype


TARGET = Target(scratch_of=lambda eqn: 0, blocks_of=product_blocks, refusal=refusal, loop_bytes=part_bytes,
                takes=lambda kernel, product: library_epilogue(kernel, product) is not None)


def generate(graph: Graph, donated: Sequence[Var] = ()) -> Code:
    """The GPU code of a graph; results may take the memory of its `donated` params."""
    program = lower(graph, TARGET, donated=donated)
    emitter = ProgramEmitter()
    block = emitter.block(program)
    return Code(block, list(emitter.sources.values()), emitter.literals, aligned(program.arena), emitter.scratch, emitter.kernels)

"""A Program -> the LLVM text of one entry point `i32 entry(ptr ins, ptr outs, ptr arena)` and of its kernels.

Kernels are named by the hash of their text, so equal kernels are one function, compiled and cached once.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Module, Value
from tracejit.codegen.cpu.combine import emit_combine
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.isa import Isa
from tracejit.codegen.cpu.lanes import emit_lanes
from tracejit.codegen.cpu.kernel import emit_kernel, partial_bytes
from tracejit.codegen.cpu.loops import LoopEmitter
from tracejit.codegen.cpu.copies import emit_copy, transposing_copy
from tracejit.codegen.cpu.epilogues import epilogue_of
from tracejit.codegen.cpu.rows import emit_rows
from tracejit.codegen.cpu.strips import emit_strips
from tracejit.codegen.cpu.products import blocks_of, emit_added_product, emit_contraction, op_scratch_bytes
from tracejit.codegen.cpu.register_loops import refusal
from tracejit.codegen.cpu.trips import shares_of
from tracejit.codegen.packs import packed
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.lower import ControlStep, KernelStep, NativeStep, Program, Target, lower, size_of
from tracejit.codegen.schedule import Schedule, columns_of, regular, schedule
from tracejit.codegen.signature import signature
from tracejit.codegen.tiles import tiles_of
from tracejit.ir.graph import Graph, Lit, Var
from tracejit.ir.types import TapeType
from tracejit.lax.kinds import Contraction

I32 = np.dtype("i4")


@dataclass
class Code:
    """What the compiler made of a graph: module texts, the entry's name, and how it was done."""
    entry: str
    modules: list[str]
    arena_bytes: int
    program: Program
    schedules: list[Schedule] = field(default_factory=list)
    host: list[HostCall] = field(default_factory=list)   # what the code calls in Python


@dataclass(frozen=True)
class HostCall:
    """A Python function of NumPy arrays that the code calls by a symbol, which stands for it with these types."""
    symbol: str
    function: Any
    in_types: tuple
    out_types: tuple


class EntryBuilder(Builder):
    """The Builder of an entry point, with what ops that emit their own code may ask for."""

    def __init__(self, module: Module, name: str, emitter: ProgramEmitter):
        super().__init__(module, name, [("ins", PTR), ("outs", PTR), ("arena", PTR)], ret=I32)
        self.emitter = emitter
        self.scratch_at: Value | None = None
        self.op_scratch = 0

    shared_bytes = 0
    can_leave = True    # the program, before its end

    def scratch(self, offset: int = 0) -> Value:
        """The scratch memory of the current step (its op's `scratch_bytes`)."""
        return self.gep(self.scratch_at, offset)

    def lanes(self, n: int, tasks: int, operands: list, scratch_bytes: int, emit: Any) -> None:
        """emit(f, pointers, scratch) for each of n lanes, in parallel shares; see `lanes.emit_lanes`."""
        emit_lanes(self, n, tasks, operands, scratch_bytes, emit)

    def add_product(self, dtype: Any, target: Value, pitch: int, left: tuple, right: tuple, m: int, n: int, k: int) -> None:
        """target += left right, m x n; both are (pointer, stride of rows, of columns). The op lists it in `products`."""
        emit_added_product(self, dtype, target, pitch, left, right, (m, n, k), self.scratch(self.op_scratch))

    def host_call(self, symbol: str, function: Any, ins: list[Value], in_types: Any, outs: list[Value], out_types: Any) -> None:
        """Call a Python function of NumPy arrays; leave the entry point if it raises. `symbol` names the function."""
        call = HostCall(f"{symbol}_{digest(f'{in_types}{out_types}')}", function, tuple(in_types), tuple(out_types))
        self.emitter.host.append(call)
        tables = []
        for pointers in (ins, outs):
            tables.append(self.alloca(8 * max(len(pointers), 1)))
            for k, pointer in enumerate(pointers):
                self.store(pointer, self.gep(tables[-1], k, PTR))
        self.fail_if(self.call(call.symbol, I32, tables))

    def alloca_zeroed(self, nbytes: int) -> Value:
        """Stack memory that is zero from the start of the function on."""
        memory = self.alloca(nbytes)
        self._entry_lines.append(f"  store [{nbytes} x i8] zeroinitializer, {memory.text}, align 8")
        return memory

    def shared_stack(self, nbytes: int) -> Value:
        """Stack memory for what lives during one step: the same for all steps, as large as the largest asks for."""
        self.shared_bytes = max(self.shared_bytes, nbytes)
        return Value("%shared", PTR)

    def finish(self) -> str:
        if self.shared_bytes:
            self._entry_lines.append(f"  %shared = alloca [{self.shared_bytes} x i8], align 64")
        return super().finish()

    def fail_if(self, status: Value) -> None:
        """Leave the entry point with this i32 if it is not zero."""
        def leave() -> None:
            for tape in self.emitter.tapes:
                self.call("free", None, [self.load(PTR, tape)])
            self.effect(f"ret i32 {status.name}")
            self._start(self.fresh("unreachable"))
        self.when(self.ne(status, self.const(0, I32)), leave)

    def parallel(self, function: str, context: Value, n: int | Value, polls: bool = False) -> None:
        """function(context, i) for i < n on the thread pool; if it `polls` for Ctrl-C, so does who waits for the others."""
        if isinstance(n, int) and n == 1:
            self.module.declare(function, "void", ["ptr", "i64"])
            return self.effect(f"call void @{function}({context.text}, i64 0)")
        n = self.index(n)
        self.module.declare(function, "void", ["ptr", "i64"])
        pool = "tj_parallel_loops" if polls else "tj_parallel"
        self.module.declare(pool, "void", ["ptr", "ptr", "i64"])
        return self.effect(f"call void @{pool}(ptr @{function}, {context.text}, {n.text})")


class TaskBuilder(EntryBuilder):
    """Builds a function of the entry point's module that runs a part of the program as a task: `void(ptr context, i64 share)`."""
    can_leave = False

    def __init__(self, module: Module, name: str, emitter: ProgramEmitter):
        Builder.__init__(self, module, name, [("context", PTR), ("share", I64)], linkage="internal")
        self.emitter = emitter
        self.scratch_at = None


class ProgramEmitter:
    """Emits the entry point of a program, and collects the kernels that it calls."""

    def __init__(self, isa: Isa):
        self.isa = isa
        self.modules: dict[str, str] = {}
        self.schedules: list[Schedule] = []
        self.kernels: dict[tuple, str] = {}
        self.host: list[HostCall] = []
        self.tapes: list[Value] = []
        self.shared: dict[str, str] = {}
        self.module = Module(isa)
        self.n_tasks = 0

    def emit(self, program: Program) -> Code:
        self.b = b = EntryBuilder(self.module, "ENTRY", self)
        ins, outs, arena = b.params
        params = [b.load(PTR, b.gep(ins, k, PTR)) for k in range(len(program.graph.params))]
        targets = [b.load(PTR, b.gep(outs, k, PTR)) for k in range(len(program.graph.results))]
        self.run(program, params, targets, arena)
        for tape in self.tapes:
            self.free_tape(tape)
        b.ret(b.const(0, I32))
        b.finish()
        text = self.module.text()
        entry = f"tj_entry_{digest(text)}"
        self.modules[entry] = text.replace("@ENTRY(", f"@{entry}(")
        return Code(entry, list(self.modules.values()), program.arena, program, self.schedules, self.host)

    @contextmanager
    def task(self) -> Iterator[TaskBuilder]:
        """What is emitted inside goes to a function of its own."""
        self.n_tasks += 1
        outer, self.b = self.b, TaskBuilder(self.module, f"task{self.n_tasks}", self)
        yield self.b
        self.b = outer

    # --- tapes: { ptr data, i64 capacity in bytes } on the stack

    def new_tape(self) -> Value:
        """An empty tape, made at the start of the entry point and freed at its end."""
        tape = self.b.alloca_zeroed(16)
        self.tapes.append(tape)
        return tape

    def free_tape(self, tape: Value) -> None:
        b = self.b
        b.call("free", None, [b.load(PTR, tape)])
        b.store(Value("null", PTR), tape)
        b.store(b.const(0, I64), b.gep(tape, 8))

    # --- programs

    def run(self, program: Program, params: list[Value], targets: list[Value], arena: Value) -> None:
        """Emit a program's steps; `targets` are where its results go."""
        place = Places(self.b, program, params, targets, arena)
        for step in program.steps:
            if isinstance(step, KernelStep):
                self.kernel(step.kernel, place)
            elif isinstance(step, ControlStep):
                LoopEmitter(self, place, step).emit()
            else:
                self.native(step, place)
        for k, result in enumerate(program.graph.results):
            self.deliver(result, targets[k], place)

    def deliver(self, result, target: Value, place: Places) -> None:
        b = self.b
        if isinstance(result, Lit):
            return b.store(b.const(result.value, result.type.dtype), target)
        self.copy(target, place.of(result), size_of(result.type))

    def copy(self, target: Value, source: Value, nbytes: int) -> None:
        if nbytes and target.name != source.name:
            self.b.copy(target, source, nbytes)

    def native(self, step: NativeStep, place: Places) -> None:
        b, eqn = self.b, step.eqn
        ins = [place.operand(x) for x in eqn.inputs]
        outs = [place.of(v) for v in eqn.outputs]
        types = [x.type for x in eqn.inputs]
        b.scratch_at = place.scratch(step)
        if isinstance(eqn.op, Contraction):
            emit_contraction(self, eqn, ins, outs[0], epilogue_of(self, step, place))
        else:
            b.op_scratch = eqn.op.scratch_bytes(types)
            eqn.op.call(b, ins, outs, types)

    # --- kernels

    def kernel(self, kernel: Kernel, place: Places) -> None:
        copy = transposing_copy(kernel)
        if copy is not None:
            return emit_copy(self, copy, place)
        for part, across in tiles_of(regular(kernel)):
            self.run_kernel(schedule(part, self.isa.lanes, across), place)

    def run_kernel(self, plan: Schedule, place: Places) -> None:
        self.schedules.append(plan)
        kernel = plan.kernel
        buffers = [*kernel.inputs, *kernel.outputs]
        if not plan.units:
            return
        pointers = place.begun(kernel, buffers)
        parts = columns_of(plan) if kernel.column_folds else plan
        if parts.chunk:
            pointers.append(self.b.shared_stack(partial_bytes(parts)))
        table = self.table(pointers)
        emit = emit_strips if plan.by_rows else emit_rows if plan.along else emit_kernel
        run = lambda how: self.b.parallel(self.kernel_function(emit, how, buffers), table, plan.n_tasks)
        if plan.streams:
            aligned = self.are_aligned(pointers[len(kernel.inputs):])
            self.b.cond(aligned, lambda: run(plan), lambda: run(replace(plan, streams=False)))
        else:
            run(plan)
        if parts.chunk:
            self.b.parallel(self.kernel_function(emit_combine, parts, buffers), table, 1)

    def are_aligned(self, pointers: list[Value]) -> Value:
        """Whether these addresses suit every vector register."""
        b, bits = self.b, self.b.const(0, I64)
        for pointer in pointers:
            bits = b.or_(bits, b.pure(f"ptrtoint {pointer.text} to i64", I64))
        return b.eq(b.and_(bits, b.const(63, I64)), b.const(0, I64))

    def table(self, pointers: list[Value]) -> Value:
        """The pointers, in memory."""
        table = self.b.alloca(8 * max(len(pointers), 1))
        for k, pointer in enumerate(pointers):
            self.b.store(pointer, self.b.gep(table, k, PTR))
        return table

    def kernel_function(self, emit, plan: Schedule, buffers: list) -> str:
        key = emit, signature(plan, buffers)
        if key not in self.kernels:     # deep programs repeat their layers
            module = self.new_module()
            emit(module, "KERNEL", plan, buffers)
            self.kernels[key] = self.add_module(module.text(), "KERNEL", "tj_kernel")
        return self.kernels[key]

    def new_module(self) -> Module:
        """A module for one kernel; long rarely taken paths are shared by all kernels."""
        return Module(self.isa, self.shared)

    def add_module(self, text: str, placeholder: str, stem: str) -> str:
        """A module with one public function, under a name made of its content."""
        name = f"{stem}_{digest(text)}"
        for symbol, shared in self.shared.items():
            self.modules.setdefault(symbol, shared)     # callees are loaded before their callers
        self.modules.setdefault(name, text.replace(f"@{placeholder}(", f"@{name}("))
        return name

    def add_named(self, name: str, text: str) -> str:
        self.modules.setdefault(name, text)
        return name


class Places:
    """Where the values of one run of a program are: pointers."""

    def __init__(self, b: Builder, program: Program, params, targets, arena: Value):
        self.b, self.program, self.arena = b, program, arena
        self.found: dict[Any, Value] = dict(zip(program.graph.params, params))
        for result, target in zip(program.graph.results, targets):
            if isinstance(result, Var):
                self.found.setdefault(program.home(result), target)

    def of(self, var: Var) -> Value:
        home = self.program.home(var)
        if isinstance(home.type, TapeType) and home not in self.found:
            self.found[home] = self.b.emitter.new_tape()
        if home not in self.found:
            return self.b.gep(self.arena, self.program.offsets[home])
        return self.found[home]

    def begun(self, kernel: Kernel, buffers: Sequence[Any]) -> list[Value]:
        """Pointers to where a kernel begins in its buffers."""
        return [self.b.gep(self.of(v), kernel.starts.get(v, 0), v.type.dtype) for v in buffers]

    def operand(self, x) -> Value:
        """A pointer to an operand, which may be a literal."""
        return self.b.module.table(np.asarray(x.value).reshape(1)) if isinstance(x, Lit) else self.of(x)

    def scratch(self, key: Any) -> Value:
        return self.b.gep(self.arena, self.program.offsets[key])


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def generate(graph: Graph, isa: Isa, donated: Sequence[Var] = ()) -> Code:
    """The LLVM text of a graph; results may take the memory of its `donated` params."""
    target = Target(lambda eqn: op_scratch_bytes(isa, eqn), lambda eqn: blocks_of(isa, eqn), refusal, lambda loop: loop.stack_bytes,
                    shares_of=shares_of, vectors=True, by_pieces=True, packed=lambda loop: packed(loop, isa.lanes))
    return ProgramEmitter(isa).emit(lower(graph, target, donated=donated))

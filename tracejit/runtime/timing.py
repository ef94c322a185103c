"""A compiled program -> what each of its steps moves and computes, and how fast it runs alone."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.codegen.cpu.counting import counts
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.steps import ControlStep, KernelStep, NativeStep, Program
from tracejit.config import config
from tracejit.ir.graph import Eqn, Graph, Var, eqns_within
from tracejit.ir.loops import APPLY, postorder
from tracejit.ir.types import TapeType
from tracejit.ir.verify import random_array
from tracejit.lax.loops import While
from tracejit.runtime.array import from_numpy
from tracejit.runtime.work import Work, work_of

Compile = Callable[[Graph], Any]    # graph -> Executable


def work_of_kernel(kernel: Kernel) -> Work:
    return Work(0, *counts(kernel, host_isa()))


@dataclass(frozen=True)
class StepTime:
    """One step of a program. `seconds` is None if it could not be run alone."""
    step: Any
    name: str
    seconds: float | None
    reads: float        # bytes
    writes: float
    work: Work
    itemsize: int       # bytes of the widest number that it computes with

    @property
    def nbytes(self) -> float:
        return self.reads + self.writes

    def line(self) -> str:
        if self.seconds is None:
            return f"{self.name[:90]}: not timed alone"
        return f"{self.name[:90]}: {1e6 * self.seconds:.1f} us, {self.nbytes:.0f} bytes, {self.speed()}"

    def speed(self) -> str:
        """Both rates; those of operations in GFLOP/s."""
        moved = f"{self.nbytes / self.seconds / 1e9:.1f} GB/s"
        return moved + (f", {self.work.operations / self.seconds / 1e9:.1f} GFLOP/s" if self.work.operations else "")


# --- what a step is --------------------------------------------------------------------------------------------------

def name_of(step: Any) -> str:
    if isinstance(step, KernelStep):
        return name_of_kernel(step.kernel)
    epilogue = step.epilogue if isinstance(step, NativeStep) else None
    return step.eqn.op.name + (f" + {names_of(epilogue.eqns)}" if epilogue else "")


def name_of_kernel(kernel: Kernel) -> str:
    """Its operations; a copy computes what its view is of where that is not in memory."""
    inlined: dict[str, None] = {}
    for root in () if kernel.eqns else kernel.roots:
        inlined |= {e.data.name: None for e in postorder(root, ()) if e.kind == APPLY}
    return names_of(kernel.eqns) or " ".join([*inlined, "copy"])


def names_of(eqns: Sequence[Eqn]) -> str:
    return " ".join(dict.fromkeys(e.op.name for e in eqns))


def work_of_step(step: Any) -> Work:
    if isinstance(step, KernelStep):
        return work_of_kernel(step.kernel)
    epilogue = step.epilogue if isinstance(step, NativeStep) else None
    return work_of(step.eqn) + (work_of_kernel(epilogue) if epilogue else Work())


def bytes_of(variables: Sequence[Any]) -> float:
    return float(sum(v.type.nbytes for v in variables if not isinstance(v.type, TapeType)))


def bytes_read(step: Any) -> float:
    """A kernel reads no more of a value than it has loads at all of its points: a gather not the whole table."""
    if not isinstance(step, KernelStep):
        return bytes_of(step.reads)
    loads: dict[Any, int] = {}
    for load in step.kernel.loads:
        loads[load.data[0]] = loads.get(load.data[0], 0) + 1
    most = {v: n * step.kernel.size * v.type.dtype.itemsize for v, n in loads.items() if hasattr(v.type, "dtype")}
    return float(sum(min(v.type.nbytes, most.get(v, v.type.nbytes)) for v in step.reads if not isinstance(v.type, TapeType)))


def itemsize_of(step: Any) -> int:
    dtypes = [v.type.dtype for v in (*step.reads, *step.writes) if hasattr(v.type, "dtype")]
    return max((t.itemsize // (2 if t.kind == "c" else 1) for t in dtypes), default=4)


# --- running steps alone -----------------------------------------------------------------------------------------------

def step_graph(step: Any, program: Program) -> Graph | None:
    """What a step computes, as a program of its own; None if it cannot run alone."""
    if not step.writes or any(isinstance(v.type, TapeType) for v in [*step.reads, *step.writes]):
        return None
    known, needed, wanted = set(step.reads), list(step.writes), set()
    while needed:
        v = needed.pop()
        eqn = program.producers.get(v)
        if v not in known and eqn is None:      # a step that puts a part into its place does not read the other parts
            return None
        if v not in known and eqn not in wanted:
            wanted.add(eqn)
            needed += [x for x in eqn.inputs if isinstance(x, Var)]
    if any(eqn.op.has_effects for eqn in wanted):
        return None
    return Graph(step.reads, [eqn for eqn in program.graph.eqns if eqn in wanted], step.writes)


def needs_values(step: Any) -> bool:
    """Whether it might never end on numbers that it was not made for."""
    return isinstance(step, ControlStep) and any(isinstance(eqn.op, While) for eqn in eqns_within(step.eqn))


def best_time(run: Callable, least: float = 2e-3) -> float:
    """The shortest time of at least three calls, which last `least` seconds together."""
    best, spent, calls = float("inf"), 0.0, 0
    while spent < least or calls < 3:
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best


def measured(program: Program, compile_graph: Compile, values: Mapping[Var, Any] | None = None) -> list[StepTime]:
    """Each step, timed alone on `values`, or else on random numbers."""
    return [measured_step(step, program, compile_graph, values or {}) for step in program.steps]


def measured_step(step: Any, program: Program, compile_graph: Compile, values: Mapping[Var, Any]) -> StepTime:
    graph = step_graph(step, program)
    seconds = None
    if graph is not None and (not needs_values(step) or all(v in values for v in step.reads)):
        rng = np.random.default_rng(0)
        arrays = [values[v] if v in values else from_numpy(random_array(v.type, rng), weak=v.type.weak_type)
                  for v in graph.params]
        with config.setting(debug=0, check=False, log_compiles=False):
            code = compile_graph(graph)
        seconds = best_time(lambda: code.run(arrays))
    return StepTime(step, name_of(step), seconds, bytes_read(step), bytes_of(step.writes), work_of_step(step), itemsize_of(step))

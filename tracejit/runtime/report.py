"""What happens while a program is compiled -> a Report: stages and times, checks (TRACEJIT_CHECK) and the log (TRACEJIT_DEBUG)."""
from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracejit.codegen.kernels import Kernel, total_cost
from tracejit.codegen.steps import ControlStep, KernelStep, NativeStep, Program
from tracejit.config import config
from tracejit.errors import CompileError
from tracejit.ir.graph import Graph, Var, evaluate, fields_of, subgraphs
from tracejit.ir.types import TapeType, is_inexact, real_dtype
from tracejit.ir.verify import random_array, verify
from tracejit.lax.loops import While
from tracejit.runtime import llvm
from tracejit.runtime.array import from_numpy

MOST_CHECKED = 1 << 20      # elements of a program's values above which it is not tried on random numbers


@dataclass
class Report:
    """How one compilation went: what `explain` and the debug log show."""
    source: Graph | None
    stages: list[tuple[str, float, Any]] = field(default_factory=list)   # name, seconds, output
    compiled: int = 0
    from_disk: int = 0
    kernels: int = 0
    seconds: float = 0.0
    finished: float = 0.0       # on the clock of time.perf_counter
    code: Any = None

    def stage(self, name: str, change: Callable, *args) -> Any:
        start = time.perf_counter()
        out = change(*args)
        self.stages.append((name, time.perf_counter() - start, out))
        if isinstance(out, Graph):
            if config.check:
                check_stage(name, args[0], out)
            if config.debug >= 3:
                log(difference(name, args[0], out))
        return out

    def finish(self, code: Any, built: Any, isa: Any, compile_graph: Callable) -> None:
        """Keep the report, and log what the debug level asks for; `code` is None for a program that was on disk."""
        self.code, self.kernels, self.finished = code, len(built.objects) - 1, time.perf_counter()
        if reports:
            reports[-1].forget()
        reports.append(self)
        if config.debug >= 1 or config.log_compiles:
            log(self.line())
        if code is None:
            return
        if config.debug >= 2:
            for _, text in measured(code.program, compile_graph):
                log("    " + text)
        if config.debug >= 4:
            log("\n".join(map(repr, (step.kernel.eqns for step in code.program.steps if isinstance(step, KernelStep)))))
        for text in code.modules if config.debug >= 5 else ():
            log(text)
            if config.debug >= 6:
                log(llvm.assembly_of(text, isa.cpu, isa.features))

    def line(self) -> str:
        """One line: types, equations -> kernels, milliseconds, where the code came from."""
        types = ", ".join(map(str, self.source.in_types)) if self.source else ""
        n = len(self.source.eqns) if self.source else 0
        how = f"{self.compiled} compiled, {self.from_disk} from disk" if self.compiled + self.from_disk else "all in memory"
        return f"compiled ({types[:120]}): {n} equations -> {self.kernels} kernels, {1e3 * self.seconds:.1f} ms, {how}"

    def forget(self) -> None:
        """Keep only times: graphs of all programs ever compiled would fill the memory."""
        self.stages = [(name, seconds, None) for name, seconds, _ in self.stages]
        self.source = self.code = None


reports: list[Report] = []      # of this process, oldest first; only the last one holds its graphs


def log(text: str) -> None:
    print(f"tracejit: {text}", file=sys.stderr)


def difference(name: str, before: Graph, after: Graph) -> str:
    lines = difflib.unified_diff(before.key().splitlines(), after.key().splitlines(), "before", name, lineterm="", n=1)
    return "\n".join(lines) or f"{name}: no change"


# --- checks ----------------------------------------------------------------------------------------------------------

def check_stage(name: str, before: Graph, after: Graph) -> None:
    """CompileError that names the pass which broke a graph, or changed what it means on random numbers."""
    try:
        verify(after)
    except CompileError as error:
        raise CompileError(f"the pass `{name}` made a graph that is not well formed: {error.what}", error.source) from error
    if not (is_tried(before) and is_tried(after)):
        return
    rng = np.random.default_rng(0)
    args = [random_array(t, rng) for t in before.in_types]
    with np.errstate(all="ignore"):
        for k, (a, b) in enumerate(zip(evaluate(before, args), evaluate(after, args))):
            if not agree(a, b):
                raise CompileError(f"the pass `{name}` changed result {k} of the program: {a} became {b}")


def is_tried(graph: Graph) -> bool:
    """Whether a program can be run on random numbers: it ends, has no effects, and is not too large."""
    if graph.effects or any(isinstance(t, TapeType) for t in graph.in_types):
        return False
    for eqn in graph.eqns:
        subs = [g for _, value in fields_of(eqn.op) for g in subgraphs(value)]
        if isinstance(eqn.op, While) or not all(map(is_tried, subs)):
            return False
    values = [*graph.params, *[v for eqn in graph.eqns for v in eqn.outputs]]
    return sum(v.type.size for v in values if not isinstance(v.type, TapeType)) <= MOST_CHECKED


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    if not is_inexact(a.dtype):
        return np.array_equal(a, b)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    tolerance = 2.0**-5 if a.dtype.itemsize == 2 else 1e3 * float(np.finfo(real_dtype(a.dtype)).eps)
    size = np.max(np.abs(b.astype(wide)), initial=0, where=np.isfinite(b))
    return bool(np.allclose(a.astype(wide), b.astype(wide), rtol=tolerance, atol=tolerance * (1 + size), equal_nan=True))


# --- kernels -----------------------------------------------------------------------------------------------------------

def kernel_graph(outputs: Sequence[Var], inputs: Sequence[Var], program: Program) -> Graph:
    """What one step computes, as a program of its own."""
    known, needed, wanted = set(inputs), list(outputs), set()
    while needed:
        v = needed.pop()
        eqn = program.producers.get(v)
        if v not in known and eqn is not None and eqn not in wanted:
            wanted.add(eqn)
            needed += [x for x in eqn.inputs if isinstance(x, Var)]
    return Graph(inputs, [eqn for eqn in program.graph.eqns if eqn in wanted], outputs)


def bytes_moved(graph: Graph) -> int:
    return sum(v.type.nbytes for v in [*graph.params, *graph.results] if not isinstance(v.type, TapeType))


def flops_of(kernel: Kernel) -> float:
    return kernel.size * sum(total_cost(root) for root in kernel.roots)


def best_time(run: Callable, least: float = 2e-3) -> float:
    """The shortest time of several calls, which last `least` seconds together."""
    best, spent = float("inf"), 0.0
    while spent < least or best == float("inf"):
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best


def step_graph(step: Any, program: Program) -> Graph | None:
    """The program of a step that can be run alone, else None."""
    if isinstance(step, ControlStep) or any(isinstance(v.type, TapeType) for v in [*step.reads, *step.writes]):
        return None
    if isinstance(step, NativeStep):
        params = list(dict.fromkeys(x for x in step.eqn.inputs if isinstance(x, Var)))
        return None if step.eqn.op.has_effects else Graph(params, [step.eqn], step.writes)
    return kernel_graph(step.writes, step.reads, program)


def measured(program: Program, compile_graph: Callable) -> list[tuple[Any, str]]:
    """A line for each step of a program: what it computes, and how fast it runs alone on random numbers."""
    rng, lines = np.random.default_rng(0), []
    for step in program.steps:
        graph = step_graph(step, program)
        name = " ".join(dict.fromkeys(e.op.name for e in step.kernel.eqns)) or "copy" if isinstance(step, KernelStep) else \
            step.eqn.op.name
        if graph is None:
            lines.append((step, f"{name}: not timed alone"))
            continue
        with config.setting(debug=0, check=False, log_compiles=False):
            code, last = compile_graph(graph), reports.pop()
        arrays = [from_numpy(random_array(t, rng), weak=t.weak_type) for t in graph.in_types]
        seconds = best_time(lambda: code.run(arrays))
        nbytes = bytes_moved(graph)
        speed = f"{nbytes / seconds / 1e9:.1f} GB/s"
        if isinstance(step, KernelStep):
            speed += f", {flops_of(step.kernel) / seconds / 1e9:.1f} Gop/s"
        lines.append((step, f"{name[:90]}: {1e6 * seconds:.1f} us, {nbytes} bytes, {speed}"))
        last.forget()
    return lines

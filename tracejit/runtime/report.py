"""What happens while a program is compiled -> a Report: stages and times, checks (TRACEJIT_CHECK) and the log (TRACEJIT_DEBUG)."""
from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracejit.codegen.steps import KernelStep
from tracejit.config import config
from tracejit.errors import CompileError
from tracejit.ir.graph import Graph, evaluate, fields_of, subgraphs
from tracejit.ir.types import TapeType, is_inexact, real_dtype
from tracejit.ir.verify import random_array, verify
from tracejit.lax.loops import While
from tracejit.runtime import llvm
from tracejit.runtime.timing import measured

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

    def keep(self, code: Any, kernels: int) -> None:
        """Keep the report, and log its line if it is asked for."""
        self.code, self.kernels, self.finished = code, kernels, time.perf_counter()
        if reports:
            reports[-1].forget()
        reports.append(self)
        if config.debug >= 1 or config.log_compiles:
            log(self.line())

    def finish_on_device(self, code: Any) -> None:
        """The same for a program of a GPU; from level 4 on its kernels' texts are logged."""
        self.keep(code, len(code.sources))
        for source in code.sources if config.debug >= 4 else ():
            log(source.text)

    def finish(self, code: Any, built: Any, isa: Any, compile_graph: Callable) -> None:
        """Keep the report, and log what the debug level asks for; `code` is None for a program that was on disk."""
        self.keep(code, len(built.objects) - 1)
        if code is None:
            return
        if config.debug >= 2:
            for step in measured(code.program, quiet(compile_graph)):
                log("    " + step.line())
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


def quiet(compile_graph: Callable) -> Callable:
    """A compilation that leaves no report."""
    def compiled(graph: Graph) -> Any:
        code, own = compile_graph(graph), reports.pop()
        own.forget()
        return code
    return compiled


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

"""A function and arguments -> what the compiler made of it: stages, steps and the machine's limit, what is not fused, memory."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracejit.codegen.steps import ControlStep, KernelStep, NativeStep, Program
from tracejit.config import config
from tracejit.ir.graph import Graph, Var, live_eqns
from tracejit.ir.trace import trace
from tracejit.ir.types import TapeType, type_of
from tracejit.pytree import tree_flatten, unflatten
from tracejit.runtime.array import as_array, from_numpy
from tracejit.runtime.compile import compile_graph
from tracejit.runtime.placed import place_of
from tracejit.runtime.report import Report, quiet, reports
from tracejit.runtime.timing import StepTime, best_time, measured, name_of
from tracejit.tools import picture
from tracejit.tools.device_report import DeviceExplanation, explain_on
from tracejit.tools.limits import Limits, machine_limits, measured_again
from tracejit.tools.unfused import Unfused, why_not_fused

MOST_BYTES = 1 << 30        # of the values between steps; beyond, steps are timed on random numbers
HEAD = f"{'':4} {'step':44} {'time':>10} {'share':>6} {'moved':>9} {'GB/s':>7} {'GFLOP/s':>8}  of the limit"


@dataclass
class Explanation:
    """How one program is compiled and how fast its steps are. It prints as a text; a notebook shows tables and the graph."""
    name: str
    graph: Graph
    trace_seconds: float
    report: Report
    call_seconds: float
    kernels: list[StepTime]     # every step of the program, in order
    on_real_values: bool        # else the steps were timed on random numbers
    unfused: list[Unfused]
    limits: Limits

    @property
    def program(self) -> Program:
        return self.report.code.program

    @property
    def least_seconds(self) -> float:
        """What the steps would take at the machine's limit."""
        return sum(self.limit_of(step) for step in self.kernels)

    @property
    def beats_limits(self) -> bool:
        """Whether a step is faster than these limits allow: then something else ran while they were measured."""
        return any(step.seconds is not None and self.bound(step)[0] > 100 for step in self.kernels)

    def limit_of(self, step: StepTime) -> float:
        return self.limits.seconds(step.reads, step.writes, step.work, step.itemsize)

    def bound(self, step: StepTime) -> tuple[float, str]:
        """Percentage of the machine's limit that a step reaches, and which limit that is."""
        memory = self.limits.memory_seconds(step.reads, step.writes)
        return 100 * self.limit_of(step) / step.seconds, "memory" if memory >= self.limit_of(step) else "arithmetic"

    # --- text

    def __repr__(self) -> str:
        numbers = "the values of this call" if self.on_real_values else "random numbers"
        unfused = ["not fused:", *(f"  {line}" for line in self.unfused or ["nothing"])]
        return "\n".join([self.head(), "", *self.stage_lines(), "", f"steps, each timed alone on {numbers}:", HEAD,
                          *self.step_lines(), "", *unfused, "", *self.memory_lines()])

    def head(self) -> str:
        ins, outs = (", ".join(map(str, types)) for types in (self.graph.in_types, self.graph.out_types))
        return (f"{self.name}: ({ins}) -> ({outs})\n{1e6 * self.call_seconds:.1f} us per call; at the machine's limit about "
                f"{1e6 * self.least_seconds:.1f} us ({self.limits.threads} threads, {self.limits.isa})")

    def stage_lines(self) -> list[str]:
        lines = [f"{'stage':24} {'ms':>8}  equations", f"{'trace':24} {1e3 * self.trace_seconds:8.2f}  {len(self.graph.eqns)}"]
        for name, seconds, out in self.report.stages:
            lines.append(f"{name:24} {1e3 * seconds:8.2f}  {len(out.eqns) if isinstance(out, Graph) else ''}".rstrip())
        return [*lines, self.report.line()]

    def step_lines(self) -> list[str]:
        lines = []
        for k, step in enumerate(self.kernels):
            lines.append(f"{k:3}. {step.name[:44]:44} " + " ".join(self.cells(step)))
            lines += [f"       {detail}" for detail in self.details(step)]
        return lines

    def cells(self, step: StepTime) -> list[str]:
        if step.seconds is None:
            return [f"{'not timed alone':>17}", f"{size_text(step.nbytes):>9}"]
        percent, which = self.bound(step)
        rates = step.nbytes / step.seconds / 1e9, step.work.operations / step.seconds / 1e9
        return [f"{1e6 * step.seconds:7.1f} us", f"{100 * step.seconds / self.call_seconds:4.0f} %", f"{size_text(step.nbytes):>9}",
                f"{rates[0]:7.1f}", f"{rates[1]:8.1f}", f" {percent:4.0f} % of {which}"]

    def details(self, step: StepTime) -> list[str]:
        """How a kernel walks its space; what the body of a loop consists of."""
        if isinstance(step.step, KernelStep):
            return [self.walk(step.step)]
        if isinstance(step.step, ControlStep):
            where = "runs in registers" if step.step.registers else f"not in registers: {step.step.why_not}" if step.step.why_not \
                else "runs step by step"
            where += f"; up to {step.step.shares} trips at once" if step.step.shares > 1 else ""
            return [where, *(f"- {line}" for program in step.step.programs for line in inner_lines(program))]
        return []

    def walk(self, step: KernelStep) -> str:
        plans = {plan.kernel.eqns[0] if plan.kernel.eqns else None: plan for plan in self.report.code.schedules}
        kernel, plan = step.kernel, plans.get(step.kernel.eqns[0] if step.kernel.eqns else None)
        how = f", {plan.lanes} lanes, {plan.n_tasks} tasks" if plan else ""
        return f"rows {sizes(kernel.row_axes)}, folded {sizes(kernel.fold_axes)}, {len(kernel.stages)} passes per row{how}"

    def memory_lines(self) -> list[str]:
        lines = [f"memory: {self.program.arena} bytes of scratch"]
        for v, offset in sorted(self.program.offsets.items(), key=lambda item: item[1]):
            what = f"{v.type}" if hasattr(v, "type") and not isinstance(v.type, TapeType) else type(v).__name__
            lines.append(f"  {offset:>10}  {what}")
        return lines

    # --- HTML

    def _repr_html_(self) -> str:
        return picture.fragment(self)

    def html(self) -> str:
        """The same as a page of its own, to be written to a file."""
        return picture.page(self)

    def edges(self) -> list[tuple[int, int, str]]:
        """(from step, to step, type of the value) for what one step writes and a later one reads."""
        made: dict[Var, int] = {}
        found: dict[tuple[int, int, str], None] = {}
        for k, step in enumerate(self.kernels):
            for v in dict.fromkeys(map(self.program.home, step.step.reads)):
                if v in made:
                    found[made[v], k, str(v.type)] = None
            made |= {self.program.home(v): k for v in step.step.writes}
        return list(found)


def size_text(nbytes: float) -> str:
    """
    >>> size_text(800_000), size_text(12)
    ('800 kB', '12 B')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= scale:
            return f"{nbytes / scale:.3g} {unit}"
    return f"{nbytes:.0f} B"


def sizes(axes: Sequence[Any]) -> str:
    return " x ".join(str(a.size) for a in axes) or "none"


def inner_lines(program: Program) -> list[str]:
    """The steps of a loop's body."""
    return [name_of(step) for step in program.steps]


# --- the values between steps --------------------------------------------------------------------------------------------

def step_values(program: Program, arrays: Sequence[Any]) -> dict[Var, Any]:
    """What each step reads when the program runs on these arrays; empty if that cannot be had, or is too much."""
    graph = program.graph
    wanted = list(dict.fromkeys(v for step in program.steps for v in step.reads
                                if v not in graph.params and not isinstance(v.type, TapeType)))
    if graph.effects or sum(v.type.nbytes for v in wanted) > MOST_BYTES:
        return {}
    probe = Graph(graph.params, graph.eqns, wanted)
    found = quiet(compile_graph)(Graph(probe.params, live_eqns(probe), wanted)).run(arrays) if wanted else []
    given = {p: x for p, x in zip(graph.params, arrays)}
    return {v: x if x.type is v.type else from_numpy(np.asarray(x), weak=v.type.weak_type)
            for v, x in (given | dict(zip(wanted, found))).items()}


# --- the public function ---------------------------------------------------------------------------------------------

def explain(fun: Callable) -> Callable[..., Explanation | DeviceExplanation]:
    """explain(f)(*args): how f is compiled for these arguments, as an object that prints as a report.

    It compiles f, runs it, and times it and each of its steps alone, beside the limits of this machine. These are measured on
    first use, in a second or two, and kept in the cache folder. In a notebook the object shows tables and the graph of
    the steps; `.html()` is the same as a page. For arrays on a GPU it tells launches, library calls and copies instead.

    >>> import tracejit.numpy as jnp
    >>> found = explain(lambda x: jnp.exp(x) / jnp.exp(x).sum())(jnp.ones(8))
    >>> [step.name for step in found.kernels]
    ['exp reduce_sum div']
    """
    def explained(*args, **kwargs) -> Explanation | DeviceExplanation:
        leaves, tree = tree_flatten((args, kwargs))

        def flat(*values):
            given, named = unflatten(tree, values)
            return tree_flatten(fun(*given, **named))[0]
        start = time.perf_counter()
        graph, captured = trace(flat, [type_of(x) for x in leaves])
        traced = time.perf_counter() - start
        device = place_of([*captured, *leaves])
        if device is not None:
            return explain_on(device, getattr(fun, "__name__", "function"), graph, captured, leaves)
        limits = machine_limits()
        with config.setting(debug=0, log_compiles=False):
            code = compile_graph(graph, whole=True)
            report = reports.pop()
            arrays = [as_array(x) for x in [*captured, *leaves]]
            code.run(arrays)
            seconds = best_time(lambda: code.run(arrays), 5e-3)
            program = report.code.program
            values = step_values(program, arrays)
            steps = measured(program, quiet(compile_graph), values)
        reports.append(report)
        within = {eqn for s in program.steps if isinstance(s, NativeStep) and s.epilogue for eqn in s.epilogue.eqns}
        found = Explanation(getattr(fun, "__name__", "function"), graph, traced, report, seconds, steps, bool(values),
                            why_not_fused(program.graph, within), limits)
        return replace(found, limits=measured_again(limits)) if found.beats_limits else found
    return explained

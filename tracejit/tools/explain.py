"""A function and arguments -> what the compiler made of it: stages, kernels with their speed, what was not fused, memory."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracejit.codegen.fuse import MOST_BUFFERS, MOST_MEMBERS, Fuser, Group, Reads
from tracejit.codegen.steps import ControlStep, KernelStep, Program
from tracejit.config import config
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.trace import trace
from tracejit.ir.types import TapeType, type_of
from tracejit.lax.kinds import Elementwise, Reduction, View
from tracejit.pytree import tree_flatten, unflatten
from tracejit.runtime.array import as_array
from tracejit.runtime.compile import compile_graph
from tracejit.runtime.report import Report, best_time, measured, reports


@dataclass
class Explanation:
    """How one program is compiled; prints as a text with a block per stage."""
    name: str
    graph: Graph
    trace_seconds: float
    report: Report
    call_seconds: float
    kernels: list[tuple[Any, str]]
    unfused: list[str]

    def __repr__(self) -> str:
        steps = ["steps, each timed alone on random numbers:", *self.step_lines()]
        unfused = ["not fused:", *(f"  {line}" for line in self.unfused or ["nothing"])]
        return "\n".join([self.head(), "", *self.stage_lines(), "", *steps, "", *unfused, "", *self.memory_lines()])

    def head(self) -> str:
        ins, outs = (", ".join(map(str, types)) for types in (self.graph.in_types, self.graph.out_types))
        return f"{self.name}: ({ins}) -> ({outs})\n{1e6 * self.call_seconds:.1f} us per call"

    def stage_lines(self) -> list[str]:
        lines = [f"{'stage':24} {'ms':>8}  equations", f"{'trace':24} {1e3 * self.trace_seconds:8.2f}  {count(self.graph)}"]
        for name, seconds, out in self.report.stages:
            lines.append(f"{name:24} {1e3 * seconds:8.2f}  {count(out) if isinstance(out, Graph) else ''}".rstrip())
        return [*lines, self.report.line()]

    def step_lines(self) -> list[str]:
        plans = {plan.kernel.eqns[0] if plan.kernel.eqns else None: plan for plan in self.report.code.schedules}
        lines = []
        for k, (step, line) in enumerate(self.kernels):
            lines.append(f"  {k}. {line}")
            if isinstance(step, KernelStep):
                plan = plans.get(step.kernel.eqns[0] if step.kernel.eqns else None)
                lines.append(f"     rows {sizes(step.kernel.row_axes)}, folded {sizes(step.kernel.fold_axes)}, "
                             f"{len(step.kernel.stages)} passes per row"
                             + (f", {plan.lanes} lanes, {plan.n_tasks} tasks" if plan else ""))
            if isinstance(step, ControlStep):
                lines += [f"     {line}" for program in step.programs for line in inner_lines(program)]
        return lines

    def memory_lines(self) -> list[str]:
        program = self.report.code.program
        lines = [f"memory: {program.arena} bytes of scratch"]
        for v, offset in sorted(program.offsets.items(), key=lambda item: item[1]):
            what = f"{v.type}" if hasattr(v, "type") and not isinstance(v.type, TapeType) else type(v).__name__
            lines.append(f"  {offset:>10}  {what}")
        return lines


def count(graph: Graph) -> int:
    return len(graph.eqns)


def sizes(axes: list) -> str:
    return " x ".join(str(a.size) for a in axes) or "none"


def inner_lines(program: Program) -> list[str]:
    """The steps of a loop's body."""
    lines = []
    for step in program.steps:
        eqns = step.kernel.eqns if isinstance(step, KernelStep) else [step.eqn]
        lines.append("- " + (" ".join(dict.fromkeys(e.op.name for e in eqns)) or "copy"))
    return lines


# --- why not fused ---------------------------------------------------------------------------------------------------

class ExplainingFuser(Fuser):
    """Fuses as usual, and notes why an equation did not join the group of a value that it reads."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.notes: dict[tuple[Eqn, int], str] = {}

    def level_in(self, group: Group, eqn: Eqn, reads: Reads) -> str | None:
        level = super().level_in(group, eqn, reads)
        if level is None:
            self.notes[eqn, group.number] = self.reason(group, eqn, reads)
        return level

    def makes_cycle(self, group: Group, needs: int) -> bool:
        found = super().makes_cycle(group, needs)
        if found:
            self.notes[None, group.number] = "something that it needs must run in between"
        return found

    def reason(self, group: Group, eqn: Eqn, reads: Reads) -> str:
        if len(group.eqns) >= MOST_MEMBERS or len(group.operands) + len(reads.operands) > MOST_BUFFERS:
            return "the kernel would be too large"
        if reads.space == group.domain and reads.reduced is not None and group.reduced not in (None, reads.reduced):
            return f"it folds other axes ({reads.reduced}, not {group.reduced})"
        if reads.space not in (group.domain, group.rows):
            folded = f" folded to {group.rows}" if group.reduced else ""
            return f"it runs over {reads.space}, the kernel over {group.domain}{folded}"
        if not group.may_have_rows:
            return "a row is too long to be passed over again while it is in the cache"
        return "it reads the kernel's values at other places than its own"


def why_not_fused(graph: Graph) -> list[str]:
    """A line for each equation that reads a kernel's value from memory: why it is not in that kernel."""
    fuser = ExplainingFuser(graph)
    fuser.run()
    lines: dict[str, None] = {}
    for eqn in graph.eqns:
        if isinstance(eqn.op, View):
            continue
        mine = fuser.step_of.get(eqn.outputs[0])
        for number in bits(fuser.needs(eqn.inputs)):
            other = fuser.steps.get(number)
            if other is None or other is mine:
                continue
            names = [" ".join(dict.fromkeys(e.op.name for e in other.eqns)) if isinstance(other, Group) else other.eqn.op.name]
            lines[f"{eqn.op.name} after {names[0]}: {why(fuser, eqn, other)}"] = None
    return list(lines)


def why(fuser: ExplainingFuser, eqn: Eqn, other: Any) -> str:
    if not isinstance(other, Group):
        return f"{other.eqn.op.name} is a call of its own"
    if not isinstance(eqn.op, (Elementwise, Reduction)):
        return f"{eqn.op.name} is a call of its own"
    return fuser.notes.get((eqn, other.number)) or fuser.notes.get((None, other.number)) or "it joined another kernel first"


def bits(number: int) -> list[int]:
    return [k for k in range(number.bit_length()) if number >> k & 1]


# --- the public function ---------------------------------------------------------------------------------------------

def explain(fun: Callable) -> Callable[..., Explanation]:
    """explain(f)(*args): how f is compiled for these arguments, as an object that prints as a report.

    It compiles f and times it, and each of its steps alone.

    >>> import tracejit.numpy as jnp
    >>> found = explain(lambda x: jnp.exp(x) / jnp.exp(x).sum())(jnp.ones(8))
    >>> [line.split(":")[0] for _, line in found.kernels]
    ['exp reduce_sum div']
    """
    def explained(*args, **kwargs) -> Explanation:
        leaves, tree = tree_flatten((args, kwargs))

        def flat(*values):
            given, named = unflatten(tree, values)
            return tree_flatten(fun(*given, **named))[0]
        start = time.perf_counter()
        graph, captured = trace(flat, [type_of(x) for x in leaves])
        traced = time.perf_counter() - start
        with config.setting(debug=0, log_compiles=False):
            code = compile_graph(graph, whole=True)
            report = reports.pop()
            arrays = [as_array(x) for x in [*captured, *leaves]]
            code.run(arrays)
            seconds = best_time(lambda: code.run(arrays), 5e-3)
            steps = measured(report.code.program, compile_graph)
        reports.append(report)
        return Explanation(getattr(fun, "__name__", "function"), graph, traced, report, seconds, steps,
                           why_not_fused(report.code.program.graph))
    return explained

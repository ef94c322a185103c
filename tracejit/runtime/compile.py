"""The compiler on one page: a closed Graph -> an Executable; and running things where no trace is active."""
from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from tracejit.codegen.cpu.isa import Isa, host_isa
from tracejit.codegen.cpu.program import Code, generate
from tracejit.codegen.steps import KernelStep
from tracejit.config import config
from tracejit.ir.graph import Eqn, Graph, Lit, Var
from tracejit.ir.trace import bind, hooks, trace_closed
from tracejit.ir.types import ArrayType
from tracejit.runtime import builtins as builtins  # makes the functions that LLVM may call known to the loader
from tracejit.runtime import cache, callbacks, programs, threads
from tracejit.runtime.array import ArrayImpl, as_array, from_numpy, view_of
from tracejit.runtime.device import Device
from tracejit.runtime.executable import Executable
from tracejit.runtime.forks import compiling
from tracejit.runtime.guards import Guarded, is_guarding
from tracejit.runtime.on_demand import OnDemand
from tracejit.runtime.placed import PlacedArray, on_host, place_of
from tracejit.runtime.report import Report as Report
from tracejit.runtime.report import log as log
from tracejit.runtime.report import reports as reports
from tracejit.transforms.passes.pipeline import INLINING, improving

for_device = OnDemand("tracejit.runtime.cuda.executable")
LONG_KERNEL = 1 << 17       # elements of a kernel from which a call releases the GIL


def compile_graph(graph: Graph, consts: Sequence[Any] = (), donated: Sequence[int] = (), device: Device | None = None,
                  whole: bool = False) -> Executable:
    """A graph as native code, or as a program on a device. `consts` are the values of its last params; results may take
    the memory of the params whose numbers are `donated`. A program that is on disk is loaded from there, unless every
    stage is wanted (`whole`)."""
    donated = () if is_guarding() else donated      # a second run needs the arguments
    with compiling:
        if device is None:
            made = compile_for_host(graph, [as_array(on_host(x)) for x in consts], donated, whole)
        else:
            made = for_device.compile_graph(graph, consts, donated, device)
    return Guarded(made, graph, consts, run_op) if is_guarding() else made


def compile_for_host(graph: Graph, consts: Sequence[Any], donated: Sequence[int], whole: bool) -> Executable:
    report, source, isa = Report(graph), graph, host_isa()
    start, before = time.perf_counter(), (cache.stats.compiled, cache.stats.disk)
    for name, change in INLINING:
        graph = report.stage(name, change, graph)
    key = None if whole else programs.key_of_program(graph, isa, donated)
    built, code, kept = report.stage("look up", programs.find, key), None, []
    if built is None:
        for name, change in improving(words=isa.words):
            graph = report.stage(name, change, graph)
        code = report.stage("generate", generate, graph, isa, [graph.params[i] for i in donated])
        kept = [callbacks.offer(c.symbol, callbacks.Callback(c.function, c.in_types, c.out_types)) for c in code.host]
        built = report.stage("compile", build, code, isa)
        programs.keep(None if kept else key, built)
    report.compiled, report.from_disk = cache.stats.compiled - before[0], cache.stats.disk - before[1]
    report.seconds = time.perf_counter() - start
    report.finish(code, built, isa, compile_graph)
    n = len(graph.params) - len(consts)
    return Executable(cache.address_of(built.entry, built.objects), source.in_types[:n], source.out_types, consts,
                      built.arena_bytes, built.long_running, built.donated, keep=kept)


def build(code: Code, isa: Isa) -> programs.Built:
    """Compile what is neither loaded nor on disk, callees before the entry that calls them."""
    objects = cache.make_objects(code.modules, isa.cpu, isa.features, effort, threads.thread_count())
    return programs.Built(code.entry, tuple(objects), code.arena_bytes, is_long(code), code.program.reused)


def effort(text: str) -> int:
    """How hard LLVM should try: little for code that has no loop, such as the entry of most programs."""
    return 2 if " phi " in text else 0


def is_long(code: Code) -> bool:
    """Whether a call may take long enough to let other Python threads run: large kernels, products and loops."""
    return any(plan.kernel.size >= LONG_KERNEL for plan in code.schedules) or any(
        not isinstance(step, KernelStep) for step in code.program.steps)


# --- running outside of a trace ---------------------------------------------------------------------------------------

lock = threading.RLock()
graph_code: dict[tuple, Executable] = {}
op_code: dict[tuple, Executable] = {}


def code_of_graph(graph: Graph, device: Device | None) -> Executable:
    """The Executable of a graph, made once per process, device and setting."""
    key = graph, device, config.key()
    found = graph_code.get(key)
    if found is None:
        with compiling, lock:
            found = graph_code.get(key) or graph_code.setdefault(key, compile_graph(graph, device=device))
    return found


def run_graph(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Run a graph now. One that differs from an earlier one only in its numbers (a learning rate, a step count)
    is compiled once more with the numbers as inputs, and then never again."""
    device = place_of(args)
    if (graph, device, config.key()) not in graph_code:
        general, numbers = with_numbers_as_params(graph)
        if numbers and general in seen:
            graph, args = general, [*args, *numbers]
        seen.add(general)
    arrays = [as_array(x) for x in args]
    return code_of_graph(graph, device).run([as_type(x, p.type) for x, p in zip(arrays, graph.params)])


def as_type(x: Any, t: ArrayType) -> Any:
    """An array of a type that differs at most in its weakness."""
    return x if x.type is t else x.retyped(t) if x.__class__ is PlacedArray else from_numpy(x)


seen: set[Graph] = set()


def with_numbers_as_params(graph: Graph) -> tuple[Graph, list[Lit]]:
    """The graph with its float literals as further params, and the literals."""
    numbers: list[Lit] = []
    params: list[Var] = []

    def lifted(x: Any) -> Any:
        if x.__class__ is not Lit or x.type.dtype.kind not in "fc":
            return x
        numbers.append(x)
        params.append(Var(x.type))
        return params[-1]
    eqns = [Eqn(e.op, [lifted(x) for x in e.inputs], e.outputs, e.source) for e in graph.eqns]
    return Graph([*graph.params, *params], eqns, graph.results), numbers


def run_op(op: Any, args: Sequence[Any]) -> Any:
    """One op on concrete values: compiled once per signature."""
    arrays = [as_array(x) for x in args]
    types = tuple([x.type for x in arrays])
    if op.lies_as(*types) and arrays[0].__class__ is ArrayImpl:
        return view_of(arrays[0], op.infer(*types))
    device = place_of(arrays)
    key = op, types, device, config.key()
    code = op_code.get(key)
    if code is None:
        with compiling, lock:
            code = op_code.get(key) or op_code.setdefault(key, compile_graph(graph_of_op(op, key[1]), device=device))
    outs = code.run(arrays)
    return outs if op.multiple else outs[0]


def graph_of_op(op: Any, types: Sequence) -> Graph:
    if not op.moves and any(t.is_narrow for t in types):
        return trace_closed(lambda *xs: (lambda out: out if op.multiple else [out])(bind(op, *xs)), types)
    params = [Var(t) for t in types]
    out_types = op.infer(*types)
    outs = [Var(t) for t in (out_types if op.multiple else (out_types,))]
    return Graph(params, [Eqn(op, params, outs)], outs)


hooks.run_graph, hooks.run_op = run_graph, run_op

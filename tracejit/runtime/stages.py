"""A jitted function, stage by stage: jit(f).trace(*args) -> Traced, .lower() -> Lowered, .compile() -> Compiled."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tracejit.errors import TracejitRuntimeError, TreeError, user_source
from tracejit.ir.float0 import flatten_result
from tracejit.ir.graph import Graph, Var
from tracejit.ir.types import WIDE, type_of, wide_number
from tracejit.lax.control import convert_type
from tracejit.pytree import PyTreeDef, unflatten
from tracejit.runtime.array import as_array, unshared
from tracejit.runtime.device import Device
from tracejit.runtime.executable import Executable
from tracejit.runtime.on_demand import OnDemand, compiler
from tracejit.runtime.placed import on_host
from tracejit.ir.arguments import argument_names
from tracejit.transforms.inspect import ClosedGraph, struct_of

work = OnDemand("tracejit.runtime.work")


@dataclasses.dataclass(frozen=True)
class ArgInfo:
    """What is known of an argument before the call."""
    shape: tuple[int, ...]
    dtype: Any
    donated: bool


# Those that are no switches of XLA; none of either changes what is compiled here.
OPTIONS = frozenset({"exec_time_optimization_effort", "memory_fitting_effort", "num_partitions", "num_replicas",
                     "use_shardy_partitioner", "use_spmd_partitioning"})


def check_options(options: dict[str, Any] | None) -> None:
    """Options of another compiler are taken, so that programs which set them run; misspelled ones are not."""
    for name in options or ():
        if not name.startswith("xla_") and name not in OPTIONS:
            raise TracejitRuntimeError(f"No such compile option: {name!r}")


def costs(graph: Graph) -> dict[str, float]:
    """Operations that one run needs, multiplications and additions of products each counted; bytes of arguments and results."""
    nbytes = sum(t.nbytes for t in [*graph.in_types, *graph.out_types])
    return {"flops": work.work_of_graph(graph).operations, "bytes accessed": float(nbytes)}


class Stage:
    """What the stages share: the program and the structure of its arguments and results."""

    def __init__(self, graph: Graph, consts: list, in_tree: PyTreeDef, out_tree: PyTreeDef, fun: Callable, fixed: tuple,
                 donated: list[int], device: Device | None):
        self.graph, self.consts, self.in_tree, self.out_tree = graph, consts, in_tree, out_tree
        self.fun, self.fixed, self.donated, self.device = fun, fixed, donated, device

    def parts(self) -> tuple:
        return self.graph, self.consts, self.in_tree, self.out_tree, self.fun, self.fixed, self.donated, self.device

    @property
    def in_avals(self) -> Any:
        """The types of the arguments, (args, kwargs)."""
        args, kwargs = unflatten(self.in_tree, self.graph.in_types[len(self.consts):])
        return tuple(args), kwargs

    @property
    def args_info(self) -> Any:
        types = self.graph.in_types[len(self.consts):]
        args, kwargs = unflatten(self.in_tree, [ArgInfo(t.shape, t.dtype, i in self.donated) for i, t in enumerate(types)])
        return tuple(args), kwargs

    @property
    def out_info(self) -> Any:
        """The shapes and dtypes of the results."""
        return unflatten(self.out_tree, map(struct_of, self.graph.out_types))

    def cost_analysis(self) -> dict[str, float]:
        """Floating-point operations, and bytes of arguments and results."""
        return costs(self.graph)


class Traced(Stage):
    """A function traced at one signature."""

    @property
    def jaxpr(self) -> ClosedGraph:
        return ClosedGraph(self.graph, self.consts, self.in_tree, self.out_tree)

    def lower(self, *, lowering_platforms: Any = None) -> Lowered:
        """The program, ready to compile."""
        return Lowered(*self.parts())


class Lowered(Stage):
    """A program that is about to be compiled."""

    def as_text(self, dialect: str | None = None, *, debug_info: bool = False) -> str:
        """The program as text; with debug_info each equation names its source line."""
        return repr(self.graph) if debug_info else self.graph.key()

    def compiler_ir(self, dialect: str | None = None) -> Graph:
        return self.graph

    def compile(self, compiler_options: Any = None) -> Compiled:
        """Native code for exactly these shapes and dtypes."""
        check_options(compiler_options)
        n = len(self.consts)
        reordered = Graph(self.graph.params[n:] + self.graph.params[:n], self.graph.eqns, self.graph.results)
        consts = [as_array(x) for x in self.consts]
        code = compiler.compile_graph(reordered, consts, self.donated, self.device, whole=True)
        return Compiled(self, code, compiler.reports[-1].code)


class Compiled(Stage):
    """Native code for one signature, called with arguments of exactly that structure, shape and dtype, without the
    static ones, which are part of the code."""

    def __init__(self, lowered: Lowered, code: Executable, emitted: Any):
        super().__init__(*lowered.parts())
        self.code, self.emitted = code, emitted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten_result((args, kwargs))
        for x in leaves:
            if isinstance(x, Var):
                raise TypeError("Cannot apply JAX transformations to a function lowered and compiled for a particular signature. "
                                f"Detected argument of Tracer type {type(x)}.")
        if tree != self.in_tree:
            raise TreeError("Function compiled with input pytree does not match the input pytree it was called with: "
                            f"compiled for {self.in_tree}, called with {tree}", source=user_source())
        types = self.graph.in_types[len(self.consts):]
        leaves = [wide_number(x) if t.dtype in WIDE else x for t, x in zip(types, leaves)]
        got = [type_of(x) for x in leaves]
        wrong = [i for i, (t, u) in enumerate(zip(types, got)) if (u.shape, u.dtype) != (t.shape, t.dtype)]
        if wrong:
            names = argument_names(self.fun, args, kwargs)
            lines = [f"Argument '{names[i]}' compiled with {types[i].str_short()} and called with {got[i].str_short()}"
                     for i in wrong]
            raise TypeError("Argument types differ from the types for which this computation was compiled; the jitted function "
                            "itself compiles for each type. The mismatches are:\n" + "\n".join(lines))
        arrays = [as_array(x if self.device else on_host(x)) for x in leaves]
        inputs = [x if x.type is t else convert_type(x, t) for x, t in zip(arrays, types)]
        for i in self.donated:
            inputs[i] = unshared(inputs[i])
        outs = self.code.run(inputs)
        for i in self.donated:
            if not arrays[i].is_deleted() and not any(arrays[i] is y for y in outs):
                arrays[i].delete()
        return unflatten(self.out_tree, outs)

    def as_text(self) -> str:
        """The LLVM IR that was compiled."""
        return "\n".join(self.emitted.modules) if self.emitted is not None else self.graph.key()

    def memory_analysis(self) -> MemoryAnalysis:
        """Bytes of arguments, results, scratch memory."""
        size = lambda types: sum(t.nbytes for t in types)
        return MemoryAnalysis(size(self.code.in_types), size(self.code.out_types), self.code.arena_bytes)

    def runtime_executable(self) -> Executable:
        return self.code


@dataclasses.dataclass(frozen=True)
class MemoryAnalysis:
    """Bytes that one call needs."""
    argument_size_in_bytes: int
    output_size_in_bytes: int
    temp_size_in_bytes: int
    alias_size_in_bytes: int = 0
    generated_code_size_in_bytes: int = 0


class Staged:
    """The methods that look at a jitted function's stages, given its compiler."""

    def __init__(self, compiler: Any):
        self.compiler = compiler

    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """The function's program for these arguments, arrays or ShapeDtypeStructs."""
        traced, tree, fixed, donated, device = self.compiler.traced_at(args, kwargs)
        return Traced(traced.graph, traced.captured, tree, traced.out_tree, self.compiler.fun, fixed, donated,
                      device)

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The function's program for these arguments, ready to compile: jit(f).lower(x).compile()."""
        return self.trace(*args, **kwargs).lower()

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shapes and dtypes of the results for these arguments, without computing them."""
        return self.trace(*args, **kwargs).out_info

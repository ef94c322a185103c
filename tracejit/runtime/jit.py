"""jit: a Python function as a native callable that traces and compiles once per signature."""
from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from types import FunctionType, NoneType
from typing import Any

from tracejit.config import config
from tracejit.errors import (DonatedArrayError, DtypeError, OuterWriteError, StaticArgumentError, check_callable, filtered,
                             user_source)
from tracejit.ir.cells import Cell, CellType, cells_in, read_all, write_all
from tracejit.ir.float0 import flatten_result
from tracejit.ir.graph import Graph, Var
from tracejit.ir.trace import bound_axes, current_builder, inline, trace_with_writes
from tracejit.ir.types import is_array_like, type_of, with_wide_numbers
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten
from tracejit.runtime import specs
from tracejit.runtime.array import CONCRETE, as_array, is_shared, unshared
from tracejit.runtime.device import Device
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.executable import Executable
from tracejit.runtime.guards import Guarded
from tracejit.runtime.misses import CallKey, explain
from tracejit.runtime.on_demand import compiler
from tracejit.runtime.placed import on_host, place_of, resolved
from tracejit.runtime.stages import Staged, check_options
from tracejit.runtime.trees import result_of, spec_of
from tracejit.ir.arguments import argument_names


# Calls of one program may differ to native dispatch: its arrays may be NumPy's, its numbers Python's.
MOST_TAUGHT = 8


@dataclass
class Traced:
    """A function traced at one signature. The last results of the graph are new values of cells: of those arguments
    `written_args` (numbers of leaves), then of `written`, which lie outside of the function."""
    graph: Graph
    captured: list
    out_tree: PyTreeDef
    written_args: list[int]
    written: list[Cell]

    @property
    def is_pure(self) -> bool:
        return not (self.written_args or self.written or cells_in(self.captured))

    def finish(self, leaves: Sequence, outs: Sequence) -> Any:
        """The function's result, after writing to cells what the program gave."""
        cells = [*[leaves[i] for i in self.written_args], *self.written]
        n = len(outs) - len(cells)
        write_all(cells, outs[n:])
        return unflatten(self.out_tree, outs[:n])


class Signature:
    """Which arguments are static or donated, by position and by name."""

    def __init__(self, fun: Callable, static_argnums, static_argnames, donate_argnums, donate_argnames):
        self.names = positional_names(fun)
        nums, names = as_tuple(static_argnums), as_tuple(static_argnames)
        self.static_nums, self.static_names = self.completed(static_argnums, static_argnames)
        donate, donate_names = as_tuple(donate_argnums), as_tuple(donate_argnames)
        check_arguments(fun, self.names, {"static_argnums": nums, "donate_argnums": donate},
                        {"static_argnames": names, "donate_argnames": donate_names})
        self.donate_nums, self.donate_names = self.completed(donate_argnums, donate_argnames)
        for kind, both in (("argnames", self.static_names & self.donate_names), ("argnums", self.static_nums & self.donate_nums)):
            if both:
                raise StaticArgumentError(f"static_{kind} and donate_{kind} cannot intersect: {sorted(both)} are in both")

    def completed(self, argnums: int | Sequence[int] | None, argnames: str | Iterable[str] | None) -> tuple[set[int], set[str]]:
        """Arguments that were told by number or by name, as numbers and as names; told by both, each stands for itself."""
        nums, names = as_tuple(argnums), as_tuple(argnames)
        if argnums is None:
            nums = [self.names.index(n) for n in names if n in self.names]
        elif argnames is None:
            names = [self.names[n] for n in nums if -len(self.names) <= n < len(self.names)]
        return {*nums}, {*names}

    def split(self, args: tuple, kwargs: dict):
        """(dynamic args by position, dynamic kwargs, hashable static part, whether each of `dynamic_parts` is donated)."""
        n = len(args)
        static = {i % n for i in self.static_nums if -n <= i < n}
        dynamic = tuple(x for i, x in enumerate(args) if i not in static)
        fixed = tuple((i, args[i]) for i in sorted(static))
        fixed += tuple((k, kwargs[k]) for k in sorted(kwargs) if k in self.static_names)
        for where, value in fixed:
            check_hashable(where, value)
        rest = {k: v for k, v in kwargs.items() if k not in self.static_names}
        donated = [i in self.donate_nums or i - n in self.donate_nums for i in range(n) if i not in static]
        donated += [name in self.donate_names for name in sorted(rest)]
        return dynamic, rest, fixed, donated

    def joined(self, dynamic: Sequence, kwargs: dict, fixed: tuple) -> tuple[list, dict]:
        """The call's arguments from their dynamic and static parts."""
        by_position = {where: value for where, value in fixed if isinstance(where, int)}
        named = {where: value for where, value in fixed if isinstance(where, str)}
        rest = iter(dynamic)
        args = [by_position[i] if i in by_position else next(rest) for i in range(len(dynamic) + len(by_position))]
        return args, {**kwargs, **named}


def dynamic_parts(dynamic: Sequence, named: dict) -> list:
    """The arguments that are not static in the order of their leaves."""
    return [*dynamic, *[named[name] for name in sorted(named)]]


def positional_names(fun: Callable) -> list[str]:
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def check_arguments(fun: Callable, names: list[str], numbers: dict[str, tuple], named: dict[str, tuple]) -> None:
    """Positions and names that fun does not have are mistakes, unless it takes *args or **kwargs."""
    try:
        parameters = inspect.signature(fun).parameters
    except (TypeError, ValueError):
        return
    kinds = {p.kind for p in parameters.values()}
    for option, given in numbers.items():
        for i in given:
            if not -len(names) <= i < len(names) and inspect.Parameter.VAR_POSITIONAL not in kinds:
                raise StaticArgumentError(f"jit: {option} names argument {i} of {fun.__name__}, which has {len(names)} "
                                          "positional arguments", source=user_source(), fix=f"numbers from 0 to {len(names) - 1}")
    by_name = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for option, words in named.items():
        for word in words:
            if word not in by_name and (word in parameters or inspect.Parameter.VAR_KEYWORD not in kinds):
                how = "can only be passed by position" if word in parameters else "is no argument of it"
                raise StaticArgumentError(f"jit: {option} names {word!r}, which {how}: {fun.__name__}",
                                          source=user_source(), fix=f"one of {', '.join(by_name)}")


def as_tuple(x: Any) -> tuple:
    if x is None:
        return ()
    return (x,) if isinstance(x, (int, str)) else tuple(x)


def check_hashable(where: int | str, value: Any) -> None:
    if isinstance(value, Var):
        raise StaticArgumentError(f"jit: static argument {where!r} is a traced value of type {value.type}, whose value is "
                                  "not known here", source=user_source(), fix="do not mark it static")
    try:
        hash(value)
    except TypeError:
        name = f"argument {where}" if isinstance(where, int) else f"argument {where!r}"
        raise StaticArgumentError("Non-hashable static arguments are not supported: "
                                  f"static {name} is of type {type(value).__name__}", source=user_source(),
                                  fix="pass a tuple instead of a list, or a frozen dataclass; arrays cannot be static") from None


class Programs:
    """What a function was traced and compiled to, with one set of options, by the keys of its calls."""

    def __init__(self, signature: Signature):
        self.signature = signature
        self.traced: dict[Hashable, Traced] = {}
        self.compiled: dict[Hashable, Executable] = {}


# As long as a function lives, so do its programs: jit(f)(x), written where it runs many times, compiles once.
kept: weakref.WeakKeyDictionary[Callable, dict[Hashable, Programs]] = weakref.WeakKeyDictionary()


def programs_of(fun: Callable, device: Any, *options: Any) -> Programs:
    """Those of earlier jit(fun) with the same options. Only plain functions, which are equal to nothing but themselves."""
    options = [x if x is None else as_tuple(x) for x in options]
    if not isinstance(fun, FunctionType) or not isinstance(device, (str, Device, NoneType)):
        return Programs(Signature(fun, *options))
    earlier, key = kept.setdefault(fun, {}), (device, *options)
    if key not in earlier:
        earlier[key] = Programs(Signature(fun, *options))
    return earlier[key]


class Compiler:
    """What a jitted function does on calls that native dispatch does not know yet."""

    def __init__(self, fun: Callable, programs: Programs, device: Any = None):
        self.fun, self.signature, self.device = fun, programs.signature, device
        self.traced, self.compiled = programs.traced, programs.compiled
        self.taught: Counter[Hashable] = Counter()
        self.jitted: Any = None
        made.add(self)

    def __call__(self, *args, **kwargs):
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        dynamic, named, fixed, donated = self.signature.split(args, kwargs)
        given, tree = flatten_result((dynamic, named))
        parts = dynamic_parts(dynamic, named)
        check_distinct(given)
        gone = donated_leaves(parts, donated) if any(donated) else []
        check_donated(given, gone)
        leaves, key, traced = self.traced_for(given, tree, fixed, len(args))
        if current_builder() is not None:
            return traced.finish(leaves, inline(traced.graph, read_all([*traced.captured, *leaves])))
        device = self.device_of(key, traced)
        code = self.compiled.get(key)
        if code is None:
            if config.explain_cache_misses:
                compiler.log(explain(getattr(self.fun, "__name__", repr(self.fun)), key, self.compiled))
            warn_unusable(key.types, gone, traced.graph.out_types)
            code = self.compiled[key] = compile_traced(traced, gone, device)
        teachable = device is None and self.taught[key] < MOST_TAUGHT and not any(is_shared(leaves[i]) for i in gone)
        if config.no_execution:
            raise RuntimeError(f"jit: {self.fun.__name__} was to be run, which no_execution forbids")
        inputs = read_all([*leaves, *cells_in(traced.captured)])
        if device is None:
            inputs = [as_array(on_host(x)) for x in inputs]
            for i in gone:
                inputs[i] = unshared(inputs[i])
        outs = traced.finish(leaves, code.run(inputs))
        if teachable:   # a call that failed, with a deleted array say, is no example
            self.taught[key] += 1
            if not isinstance(code, Guarded) and traced.is_pure and not cells_in(leaves):
                self.teach(args, kwargs, code, traced, donated, leaves is not given)
        for x, gone in zip(parts, donated):
            if gone:
                donate(x, outs)
        return outs

    def key_of(self, tree, leaves, fixed, n_args: int) -> CallKey:
        device = place_of(leaves) if self.device is None else resolved(self.device)
        try:
            types = tuple(map(leaf_type, leaves))
        except TypeError:
            raise not_an_array(self.fun, *self.signature.joined(*unflatten(tree, leaves), fixed)) from None
        return CallKey(tree, types, fixed, tuple(type(v) for _, v in fixed), config.key(),
                       tuple(bound_axes().items()), n_args, device)

    def device_of(self, key: CallKey, traced: Traced) -> Device | None:
        """Where the call runs; arrays that the function captured count where no argument is on a device."""
        return place_of(traced.captured) if key.device is None and self.device is None else key.device

    def traced_at(self, args, kwargs):
        """(the traced function, structure of its arguments, static arguments, numbers of the donated leaves, device)."""
        dynamic, named, fixed, donated = self.signature.split(args, kwargs)
        leaves, tree = flatten_result((dynamic, named))
        _, key, traced = self.traced_for(leaves, tree, fixed, len(args))
        if cells_in(leaves) or not traced.is_pure:
            raise OuterWriteError("a function that reads or writes refs has no stages", fix="call jit(f)(...) itself, or pass the "
                                  "values of the refs and return the new ones")
        gone = donated_leaves(dynamic_parts(dynamic, named), donated)
        return traced, tree, fixed, gone, self.device_of(key, traced)

    def traced_for(self, leaves: Sequence, tree, fixed, n_args: int) -> tuple[Sequence, CallKey, Traced]:
        """(the leaves, numbers widened beside float64 arrays, given or captured; their key; the traced function)."""
        leaves = with_wide_numbers(leaves)
        key = self.key_of(tree, leaves, fixed, n_args)
        traced = self.trace(key, tree, key.types, fixed)
        wide = with_wide_numbers([*leaves, *traced.captured])[:len(leaves)]
        if all(x is y for x, y in zip(leaves, wide)):
            return leaves, key, traced
        key = self.key_of(tree, wide, fixed, n_args)
        return wide, key, self.trace(key, tree, key.types, fixed)

    def trace(self, key, tree, types, fixed) -> Traced:
        found = self.traced.get(key)
        if found is not None:
            return found
        if config.no_tracing:
            raise RuntimeError(f"jit: {self.fun.__name__} has to be traced for new types, which no_tracing forbids")
        out_tree, changed = None, []

        def flat(*values):
            nonlocal out_tree, changed
            dynamic, named = unflatten(tree, values)
            args, kwargs = self.signature.joined(dynamic, named, fixed)
            outs, out_tree = flatten_result(self.fun(*args, **kwargs))
            changed = [i for i, x in enumerate(values) if isinstance(x, Cell) and x.is_written]
            return [*outs, *[Cell.read(values[i]) for i in changed]]
        graph, captured, written = trace_with_writes(flat, types)
        traced = Traced(graph, captured, out_tree, changed, written)
        if not any(type_is_traced(x) for x in [*captured, *written]):  # a graph that reads an outer trace's values is of one use
            self.traced[key] = traced
        return traced

    def teach(self, args, kwargs, code: Executable, traced: Traced, donated, wide: bool) -> None:
        """Let native dispatch handle calls of this signature from now on."""
        try:
            described = [self.spec(i, x, len(args), wide) for i, x in enumerate(args)]
            described += [specs.Static(v) if k in self.signature.static_names else spec_of(v, wide)
                          for k, v in kwargs.items()]
        except specs.Unsupported:
            return
        result, consumed = result_of(traced.out_tree), donated_inputs(described, tuple(kwargs), donated)
        leaves = specs.leaves_of_call(described, tuple(kwargs))
        if any(isinstance(leaves[i], (specs.HostArray, specs.HostScalar)) for i in consumed):
            return      # the program may overwrite what is donated, but not NumPy's memory
        self.jitted.add_entry(described, code, result, tuple(kwargs), consumed)

    def spec(self, i: int, x: Any, n: int, wide: bool) -> Any:
        return specs.Static(x) if i in self.signature.static_nums or i - n in self.signature.static_nums else spec_of(x, wide)

    def clear(self) -> None:
        self.traced.clear()
        self.compiled.clear()
        self.taught.clear()
        self.jitted.clear_entries()


def type_is_traced(x: Any) -> bool:
    return isinstance(x, Cell) and x.home is not None or not isinstance(x, CONCRETE) and hasattr(x, "builder")


def leaf_type(x: Any):
    return CellType(x.__class__, x.type) if isinstance(x, Cell) else type_of(x)


def not_an_array(fun: Callable, args: Sequence, kwargs: dict) -> DtypeError:
    """The error for a call with a leaf that has no type."""
    names = argument_names(fun, tuple(args), kwargs)
    path, x = next((path, x) for path, x in zip(names, tree_flatten((args, kwargs))[0]) if not is_typed(x))
    return DtypeError(f"Error interpreting argument to {fun} as an abstract array. The problematic value is of type {type(x)} and "
                      f"was passed to the function at path {path}.", fix="if it is a constant of the program, name it in "
                      "static_argnums or static_argnames")


def is_typed(x: Any) -> bool:
    return isinstance(x, Cell) or is_array_like(x)


def check_distinct(leaves: Sequence) -> None:
    cells = cells_in(leaves)
    if len(set(cells)) < len(cells):
        raise ValueError("jit: one ref was given as two arguments; a write to one would have to change the other")


def check_donated(leaves: Sequence, donated: Sequence[int]) -> None:
    """What is given away must not be another argument as well."""
    for i in donated:
        if isinstance(leaves[i], CONCRETE) and sum(x is leaves[i] for x in leaves) > 1:
            raise DonatedArrayError(f"jit: one array of type {leaves[i].type} was donated and passed as another argument too",
                                    fix="pass a copy, or do not donate it")


def warn_unusable(types: Sequence, donated: Sequence[int], out_types: Sequence) -> None:
    """Memory that was given away is of use for a result of its size only."""
    free, unusable = [(t.shape, t.dtype) for t in out_types], []
    for t in (types[i] for i in donated):
        if (t.shape, t.dtype) in free:
            free.remove((t.shape, t.dtype))
        else:
            unusable.append(t.str_short())
    if unusable:
        warnings.warn(f"Some donated buffers were not usable: {', '.join(unusable)}", UserWarning, stacklevel=3)


def donated_inputs(described: Sequence[Any], names: Sequence[str], donated: Sequence[bool]) -> list[int]:
    """The numbers of the inputs that belong to donated arguments; keywords are numbered by name."""
    n = len(described) - len(names)
    ordered = [*described[:n], *[described[n + k] for k in sorted(range(len(names)), key=names.__getitem__)]]
    dynamic = [specs.leaves_of(spec) for spec in ordered if not isinstance(spec, specs.Static)]
    flags = [gone for leaves, gone in zip(dynamic, [*donated, *[False] * len(dynamic)]) for _ in leaves]
    return [i for i, gone in enumerate(flags) if gone]


def donated_leaves(parts: Sequence[Any], donated: Sequence[bool]) -> list[int]:
    """The numbers of the leaves of donated arguments."""
    flags = [gone for x, gone in zip(parts, donated) for _ in flatten_result(x)[0]]
    return [i for i, gone in enumerate(flags) if gone]


def compile_traced(traced: Traced, donated: Sequence[int], device: Device | None) -> Executable:
    """Compile with the captured arrays as constants: they come last in native calls, after the values of captured cells."""
    graph, n = traced.graph, len(traced.captured)
    cells = [p for p, x in zip(graph.params, traced.captured) if isinstance(x, Cell)]
    fixed = [(p, x) for p, x in zip(graph.params, traced.captured) if not isinstance(x, Cell)]
    reordered = Graph([*graph.params[n:], *cells, *[p for p, _ in fixed]], graph.eqns, graph.results)
    return compiler.compile_graph(reordered, [as_array(x) for _, x in fixed], donated, device)


def donate(x: Any, outs: Any) -> None:
    """Donated arguments are gone after the call."""
    kept = {id(y) for y in tree_flatten(outs)[0]}
    for leaf in tree_flatten(x)[0]:
        if isinstance(leaf, CONCRETE) and id(leaf) not in kept and not leaf.is_deleted():
            leaf.delete()


made: weakref.WeakSet[Compiler] = weakref.WeakSet()     # the compilers of all jitted functions


def jit(fun: Callable | None = None, *, static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Iterable[str] | None = None, donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Iterable[str] | None = None, keep_unused: bool = False, inline: bool = False,
        device: Any = None, backend: Any = None, in_shardings: Any = None, out_shardings: Any = None,
        compiler_options: Any = None, abstracted_axes: Any = None) -> Any:
    """Compile a function of arrays (and pytrees of them) to native code, once per shapes and dtypes.

    The function is traced: it runs once per signature with values that have shapes and dtypes but no numbers.
    Arguments named by static_argnums or static_argnames are Python constants of the trace (hashable); buffers of
    donated arguments may be reused for results, and the arguments are deleted. It runs on the device of its array
    arguments, else on the setting default_device; `device` (a Device, "cpu" or "gpu") overrides both. DeviceError for
    arguments on several devices.

    >>> import tracejit as tj
    >>> @tj.jit
    ... def f(x):
    ...     return 2 * x + 1
    >>> f(3.)
    Array(7., dtype=float32, weak_type=True)
    """
    if fun is None:
        return functools.partial(jit, static_argnums=static_argnums, static_argnames=static_argnames,
                                 donate_argnums=donate_argnums, donate_argnames=donate_argnames, device=device,
                                 backend=backend)
    check_callable(fun)
    check_options(compiler_options)
    device = backend if device is None else device
    compiler = Compiler(fun, programs_of(fun, device, static_argnums, static_argnames, donate_argnums, donate_argnames), device)
    jitted = Jitted(filtered(compiler.__call__))
    compiler.jitted = jitted
    functools.update_wrapper(jitted, fun)
    jitted.clear_cache, jitted._cache_size = compiler.clear, compiler.compiled.__len__
    staged = Staged(compiler)
    jitted.trace, jitted.lower, jitted.eval_shape = (filtered(f) for f in (staged.trace, staged.lower, staged.eval_shape))
    jitted._compiler = compiler
    return jitted

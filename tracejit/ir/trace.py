"""Tracing: run a Python function once on Vars and record what it asks for as a Graph.

The innermost active Builder records. A Var of an outer builder, or a concrete array, that a function
closes over becomes a leading param of the Graph (closure conversion), so graphs are always closed.
"""
from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracejit.config import config
from tracejit.errors import DtypeError, OuterWriteError, Source, UnexpectedTracerError, user_source
from tracejit.ir.graph import Atom, Eqn, Graph, Lit, Tracer, Var, replay
from tracejit.ir.leaks import leaked_vars
from tracejit.ir.types import ExtendedDType, is_inexact, type_of
from tracejit.pytree import COMPOSITES

class Hooks:
    """What higher layers provide: running things now, where no trace is active, and transforms."""
    run_op: Callable[[Any, Sequence], Any]             # one op on concrete arrays
    run_graph: Callable[[Graph, Sequence], list]       # a closed graph on concrete arrays
    as_array: Callable[[Any], Any]                     # an Array of a NumPy array or scalar
    constant: Callable[[Any, Var], Eqn]                # the equation that makes a variable a known array
    vmap: Callable[[Callable], Callable]               # a function of one slice -> of many along the leading axis
    transpose_graph: Callable[[Graph, Sequence], Graph]  # a graph, params that it is linear in -> its transpose
    jvp_graph: Callable[[Graph, tuple, tuple], tuple]  # a graph, params that move, results that do -> its jvp, and which do
    run_on_parts: Callable[[Any, Sequence], Any]       # one op on arrays that are made of arrays
    bind_wide: Callable[[Any, Sequence, Sequence], list]  # one op on narrow numbers, given the types of its results


hooks = Hooks()


class _Local(threading.local):
    def __init__(self):
        self.stack: list[Builder] = []
        self.source = None
        self.known_run_now = False              # ops whose operands are all known run at once, also inside a trace
        self.axes: dict[Any, int] = {}
        self.substitutes: dict[int, Any] = {}   # id of a captured Var -> the value that stands for it in a rule


_local = _Local()


def current_builder() -> Builder | None:
    return _local.stack[-1] if _local.stack else None


class Place:
    """What is read again whenever a program runs that has read it while it was traced; see cells.py."""
    __slots__ = ()
    type: Any

    def read(self) -> Any:
        raise NotImplementedError

    def value_around(self, stack: Sequence[Builder]) -> Any:
        """The value to the innermost of these traces that has one of its own."""
        raise NotImplementedError


UNKNOWN: Any = "unknown"    # what a Var carries in place of a value where others of its builder have theirs


def known_or_unknown(x: Any) -> Any:
    """What a Var that stands for x carries: x itself, unless that is known to have no value."""
    if x is None or isinstance(x, Var) and (x.concrete is UNKNOWN or x.concrete is None and not x.builder.concrete):
        return UNKNOWN
    return x


class Builder:
    """Records the equations of one function while it runs."""

    def __init__(self, concrete: bool = False, kind: type[Var] = Tracer):
        self.concrete = concrete          # params may carry values, so `if x > 0` in the function works
        self.differentiated = False       # with respect to its params
        self.kind = kind                  # what the function sees
        self.params: list[Var] = []
        self.eqns: list[Eqn] = []
        self.captured: dict[Any, tuple[Any, Var]] = {}
        self.seen: dict[tuple, list[Var]] = {}  # common subexpressions are found at birth
        self.cells: dict[Place, Any] = {}       # what they hold at this point of the trace
        self.own_cells: frozenset[Place] = frozenset()  # whose values are arguments and results of the function anyway
        self.written: dict[Place, None] = {}    # those of the function's surroundings that it wrote, in order

    @property
    def main(self) -> Builder:
        """What all values of one trace share, as libraries ask for it."""
        return self

    def param(self, type, concrete=None) -> Any:
        if isinstance(getattr(type, "dtype", None), ExtendedDType):
            return type.dtype.wrap(self.param(type.dtype.type_of_data(type.shape)))
        if hasattr(type, "enter"):
            return type.enter(self.param(type.type))
        v = self.kind(type, self, concrete=known_or_unknown(concrete) if self.concrete else None)
        self.params.append(v)
        return v

    def lift(self, x: Any) -> Atom:
        """A value as an operand of an equation in this builder."""
        if isinstance(x, Var):
            return x if x.builder is self else self.capture(x)
        if x.__class__ is Lit:
            return x
        if isinstance(x, Place):
            raise TypeError("a ref is not an array; read it first: ref[...]")
        t = type_of(x)
        if t.ndim == 0 and not hasattr(x, "block_until_ready"):
            return Lit(x, t)
        return self.capture(x)

    def capture(self, x: Any) -> Atom:
        key = id(x)
        if key in _local.substitutes and _local.substitutes[key] is not x:
            return self.lift(_local.substitutes[key])
        found = self.captured.get(key)
        if found is None:
            if isinstance(x, Var) and x.builder not in _local.stack:
                raise leaked(x)
            if isinstance(x, Place):
                value, known = x, x.value_around(_local.stack[:_local.stack.index(self)])
            else:
                value = known = x if isinstance(x, Var) else hooks.as_array(x)
            found = self.captured[key] = (x, value, self.kind(value.type, self, concrete=known_or_unknown(known)))
        return found[-1]

    def record(self, op, inputs: list[Atom], types: Sequence | None = None, source: Source | None = None) -> list[Var]:
        """The results of an equation, of these `types` where they are known."""
        key = None if op.has_effects or self.creates(inputs) else (op, *[x if x.__class__ is Lit else id(x) for x in inputs])
        if key is not None:
            found = self.seen.get(key)
            if found is not None:
                return found
        if types is None:
            types = op.infer(*[x.type for x in inputs])
            types = types if op.multiple else (types,)
        if not op.moves and any([x.type.is_narrow for x in inputs]):
            return hooks.bind_wide(op, inputs, types)
        eqn = Eqn(op, inputs, (), source or _local.source or user_source())
        unknown = self.concrete and (op.lane_dependent or any(isinstance(x, Var) and x.concrete is UNKNOWN for x in inputs))
        eqn.outputs = [self.kind(t, self, eqn, UNKNOWN if unknown else None) for t in types]
        self.eqns.append(eqn)
        if key is not None:
            self.seen[key] = eqn.outputs
        return eqn.outputs

    def creates(self, inputs: list[Atom]) -> bool:
        """Is this an array that the traced function makes of nothing: one more each time, for programs that ask which array they
        hold (`zeros(3) is zeros(3)`, constants of closures)? Passes merge equal ones."""
        return self.kind is Tracer and all([x.__class__ is Lit for x in inputs])

    def record_again(self, eqn: Eqn, inputs: Sequence) -> list[Var]:
        """An equation of another trace on these values: on such of its own types its results have theirs."""
        lifted = [self.lift(x) for x in inputs]
        for x, own in zip(lifted, eqn.inputs):
            if x.type is not own.type:
                return self.record(eqn.op, lifted, source=eqn.source)
        return self.record(eqn.op, lifted, [v.type for v in eqn.outputs], eqn.source)

    def result(self, x: Any) -> Atom:
        try:
            return self.lift(x)
        except UnexpectedTracerError:
            raise
        except TypeError:
            raise DtypeError(f"a traced function must return arrays and numbers, but one of its results is {x!r}, of type "
                             f"{type(x).__name__}", fix="return it by another way, or compute it outside") from None

    def graph(self, results: Sequence) -> tuple[Graph, list]:
        """The finished Graph and the captured values, which are its leading params."""
        outs = [self.result(r) for r in results]
        captured = list(self.captured.values())
        self.forget()
        return Graph([v for *_, v in captured] + self.params, self.eqns, outs), [x for _, x, _ in captured]

    def forget(self) -> None:
        """Let go of all values: graphs are kept for reuse, and must not keep the arrays of their first call alive. What
        was traced is a program now: its Tracers are Vars."""
        for v in [*self.params, *[v for *_, v in self.captured.values()], *[v for e in self.eqns for v in e.outputs]]:
            v.concrete, v.__class__ = None, Var
        self.captured, self.seen, self.cells = {}, {}, {}


def leaked(x: Var, what: str = "Encountered an unexpected tracer",
           how: str = "was used after the function that was being traced had returned") -> UnexpectedTracerError:
    made_by = x.eqn and x.eqn.source
    return UnexpectedTracerError(
        f"{what}: a traced value with type {x.type.str_short()} {how}"
        + (f"; it was created on line {made_by}" if made_by else ""),
        source=user_source(),
        fix="return the value from the traced function instead of storing it in a global, a list or an attribute")


@contextlib.contextmanager
def building(builder: Builder):
    _local.stack.append(builder)
    try:
        yield builder
    finally:
        _local.stack.pop()


class sourced:
    """Equations recorded inside carry this source line, not that of the transform that records them."""
    __slots__ = ("source", "before")

    def __init__(self, source):
        self.source = source

    def __enter__(self):
        self.before, _local.source = _local.source, self.source

    def __exit__(self, *_):
        _local.source = self.before


@contextlib.contextmanager
def no_trace():
    """Run ops at once, outside of any trace."""
    before, _local.stack = _local.stack, []
    try:
        yield
    finally:
        _local.stack = before


@contextlib.contextmanager
def running_known(on: bool = True):
    """Inside, ops on known arrays run at once; those on traced values are recorded as ever."""
    before, _local.known_run_now = _local.known_run_now, on
    try:
        yield
    finally:
        _local.known_run_now = before


def bind(op, *args) -> Any:
    """Apply an op: record it in the active trace, or run it now where there is none."""
    if not COMPOSITES.isdisjoint(map(type, args)):
        return hooks.run_on_parts(op, args)
    stack = _local.stack
    if stack:
        builder = stack[-1]
        if _local.known_run_now and not any(isinstance(x, Var) for x in args):
            with running_known(False), no_trace():
                return hooks.run_op(op, [x.value if x.__class__ is Lit else x for x in args])
        outs = builder.record(op, [builder.lift(x) for x in args])
        return list(outs) if op.multiple else outs[0]
    for x in args:
        if isinstance(x, Var):
            raise leaked(x)
    return hooks.run_op(op, args)


@contextlib.contextmanager
def axis_bound(name: Any, size: int):
    """Inside, the name of a vmap axis can be used by psum and the like."""
    before = _local.axes
    if name is not None:
        _local.axes = {**before, name: size}
    try:
        yield
    finally:
        _local.axes = before


def bound_axes() -> dict[Any, int]:
    """The named axes in scope, with their sizes."""
    return _local.axes


def trace(f: Callable, types: Sequence, concrete: Sequence | None = None, differentiated: bool = False) -> tuple[Graph, list]:
    """Trace f (flat values -> flat list of values) on params of these types; (Graph, captured values)."""
    graph, captured, written = trace_with_writes(f, types, concrete, differentiated)
    if written:
        raise OuterWriteError("a function that is being traced writes to a ref from outside of it", cells=written)
    return graph, [x.read() if isinstance(x, Place) else x for x in captured]


def trace_with_writes(f: Callable, types: Sequence, concrete: Sequence | None = None,
                      differentiated: bool = False) -> tuple[Graph, list, list]:
    """Trace f; (Graph, captured values and places, places that it writes: their new values are the last results)."""
    builder = Builder(concrete is not None)
    builder.differentiated = differentiated
    values = concrete if concrete is not None else [None] * len(types)
    with building(builder):
        params = [builder.param(t, v) for t, v in zip(types, values, strict=True)]
        outs = f(*params)
        written = list(builder.written)
        graph, captured = builder.graph([*outs, *[builder.cells[place] for place in written]])
    if config.check_tracer_leaks:
        del params, outs
        refuse_leaks(builder, graph)
    return graph, captured, written


def refuse_leaks(builder: Builder, graph: Graph) -> None:
    builder.params = []
    for x in leaked_vars(graph):
        raise leaked(x, "Leaked trace", "is still referred to after the function that was being traced has returned")


def trace_closed(f: Callable, types: Sequence) -> Graph:
    """Trace the output of a transform, which takes all its values as arguments. Arrays that a custom rule reads become
    constants of the program."""
    return closed(*trace(f, types))


def rewrite(f: Callable, types: Sequence) -> Graph:
    """Trace what a pass makes of a program. It sees plain Vars, so that it may look up what it has made as well."""
    builder = Builder(kind=Var)
    with building(builder):
        return closed(*builder.graph(f(*map(builder.param, types))))


def replaced(graph: Graph, is_wanted: Callable[[Eqn], bool], by: Callable[..., Sequence]) -> Graph:
    """The graph with by(op, *inputs), a sequence of its results, in place of each equation that is wanted."""
    if not any(map(is_wanted, graph.eqns)):
        return graph

    def apply(eqn: Eqn, inputs):
        if not is_wanted(eqn):
            return record_eqn(eqn, inputs)
        with sourced(eqn.source):
            return by(eqn.op, *inputs)
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def closed(graph: Graph, captured: Sequence) -> Graph:
    """The graph with constants in place of the arrays that it captured."""
    eqns = []
    for x, var in zip(captured, graph.params):
        if isinstance(x, Var):
            raise UnexpectedTracerError(f"a custom derivative rule uses a traced value of type {x.type} that is not among "
                                        "its arguments", source=(x.eqn and x.eqn.source) or user_source(),
                                        fix="make it an argument of the function, or use it in the function itself as well")
        eqns.append(hooks.constant(x, var))
    return Graph(graph.params[len(captured):], eqns + graph.eqns, graph.results) if captured else graph


@contextlib.contextmanager
def substituting(captured: Sequence, values: Sequence):
    """Inside, the values stand for what a function had captured when it was traced."""
    before = _local.substitutes
    _local.substitutes = {**before, **{id(x): value for x, value in zip(captured, values)}}
    try:
        yield
    finally:
        _local.substitutes = before


def record_eqn(eqn: Eqn, inputs: Sequence) -> list:
    """`apply` for replay: record the equation again in the active trace, with its own source line."""
    if _local.stack and not _local.known_run_now and COMPOSITES.isdisjoint(map(type, inputs)):
        return [*_local.stack[-1].record_again(eqn, inputs)]
    with sourced(eqn.source):
        outs = bind(eqn.op, *inputs)
    return outs if eqn.op.multiple else [outs]


def as_array(x: Any) -> Any:
    """The Array of a NumPy array or a number, on the default device."""
    return hooks.as_array(x)


def runs_known() -> bool:
    """Whether operations on known arrays run at once here, also inside a trace."""
    return _local.known_run_now


def is_running(x: Var) -> bool:
    """Whether the trace that made x has not ended."""
    return x.builder in _local.stack


def is_traced(x: Any) -> bool:
    return isinstance(x, Var)


def inline(graph: Graph, args: Sequence) -> list:
    """Record a graph's equations again in the active trace."""
    return replay(graph, args, record_eqn)


def call(graph: Graph, args: Sequence) -> list:
    """Run a closed graph: inline it into the active trace, or compile and run it now."""
    if _local.stack:
        return inline(graph, args)
    return hooks.run_graph(graph, args)


def knows_values() -> bool:
    """Whether values traced here may carry concrete ones: not under jit or in a loop."""
    return all(b.concrete for b in _local.stack)


# --- concrete values ride along ----------------------------------------------------------------------

def concrete_value(x: Any) -> Any:
    """The array behind a Var that was traced from concrete inputs, computed when first asked for; else None."""
    if not isinstance(x, Var):
        return x if x.__class__ is not Lit else x.value
    if x.concrete is UNKNOWN:
        return None
    if x.concrete is not None:
        return concrete_value(x.concrete) if isinstance(x.concrete, Var) else x.concrete
    if x.eqn is None or not x.builder.concrete:
        return None
    pending = [x.eqn]
    while pending:  # an explicit stack: chains may be longer than Python's recursion limit
        eqn = pending[-1]
        waiting = [i.eqn for i in eqn.inputs if isinstance(i, Var) and i.concrete is None and i.eqn is not None]
        if waiting:
            pending += waiting
            continue
        pending.pop()
        if not _evaluate(eqn):
            return None
    return x.concrete


def _evaluate(eqn: Eqn) -> bool:
    values = [concrete_value(i) for i in eqn.inputs]
    if any(v is None for v in values) or eqn.op.has_effects:
        return False
    with no_trace():
        outs = bind(eqn.op, *values)
    for var, value in zip(eqn.outputs, outs if eqn.op.multiple else [outs], strict=True):
        var.concrete = value
    return True


def is_differentiated(x: Any) -> bool:
    """Whether x depends on what its trace, or one around it, is differentiated by: taken as a number, it would be a constant."""
    return isinstance(x, Var) and any(is_direction(v) or is_differentiated(v.concrete) for v in smooth_sources(x))


def is_perturbed(x: Var) -> bool:
    """Whether x depends on what its own trace is differentiated by."""
    return any(map(is_direction, smooth_sources(x)))


def is_direction(v: Var) -> bool:
    """Whether v is what a derivative is taken by."""
    return v.builder.differentiated and any(v is p for p in v.builder.params)


def smooth_sources(x: Var) -> Iterator[Var]:
    """The arguments and captured values of x's trace that x has derivatives by."""
    pending, seen = [x], set()
    while pending:
        v = pending.pop()
        if not isinstance(v, Var) or id(v) in seen or not is_inexact(v.type.dtype):
            continue
        seen.add(id(v))
        if v.eqn is None:
            yield v
        elif not v.eqn.op.stops_derivatives:
            pending += v.eqn.inputs

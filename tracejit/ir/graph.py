"""Programs as closed, typed SSA graphs, and `replay`, the one forward walk over them."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import ConcretizationTypeError, Source
from tracejit.ir.types import SHORT_NAMES, ArrayType, TapeType, Typed


class Var(Typed):
    """A value computed by a program."""

    __slots__ = ("type", "builder", "eqn", "concrete", "__weakref__")
    __hash__ = object.__hash__  # programs are looked at through dictionaries of Vars, which are told apart by identity

    def __init__(self, type: ArrayType | TapeType, builder=None, eqn=None, concrete=None):
        self.type, self.builder, self.eqn, self.concrete = type, builder, eqn, concrete

    @property
    def aval(self) -> ArrayType:
        return self.type

    @property
    def _trace(self) -> Any:
        """What is being traced when the value is made, as libraries ask for it."""
        return self.builder

    def __repr__(self) -> str:
        return f"Traced<{self.type}>"


class Tracer(Var):
    """A Var of a function that is being traced: what the function sees as its arrays. When it has returned, its Tracers
    become plain Vars (`Builder.forget`)."""

    __slots__ = ()  # nothing but a Var, so that one can become the other

    __hash__ = None  # type: ignore[assignment]  # programs ask `isinstance(x, Hashable)`; errors.tracer_hash_error says more

    def __reduce__(self) -> Any:
        raise ConcretizationTypeError("Abstract tracer value encountered where concrete value is expected: a traced array with "
                                      f"shape {self.type.str_short()} was pickled or copied (its method __reduce__)",
                                      fix="pickle the result of the function, outside of it")


class Lit:
    """A scalar constant written into the program."""

    __slots__ = ("value", "type", "key")

    def __init__(self, value: Any, type: ArrayType):
        self.value = np.asarray(value).astype(type.dtype)[()]
        self.type = type
        self.key = (type, np.asarray(self.value).tobytes())  # bytes tell -0.0 from 0.0 and find nan equal to itself

    def __eq__(self, other) -> bool:
        return isinstance(other, Lit) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def val(self) -> Any:
        return self.value

    @property
    def aval(self) -> ArrayType:
        return self.type

    def __repr__(self) -> str:
        return f"Lit({self.value!r})"


Atom = Var | Lit


class Operation:
    """What an equation applies. All that the IR knows of an op; `lax.kinds.Op` says the rest."""
    name: ClassVar[str]
    multiple: ClassVar[bool]
    has_effects: ClassVar[bool]
    has_transpose: ClassVar[bool]
    stops_derivatives: ClassVar[bool] = False
    moves: ClassVar[bool] = False       # elements stay as they are, or sub-graphs see to them: see types.NARROW

    def calls(self, *types) -> list:
        """Its sub-graphs with the types of the values that it gives to each."""
        return []


class Eqn:
    """One step: outputs = op(*inputs), and the user's line that asked for it."""

    __slots__ = ("op", "inputs", "outputs", "source")

    def __init__(self, op, inputs: Sequence[Atom], outputs: Sequence[Var], source: Source | None = None):
        self.op, self.inputs, self.outputs, self.source = op, inputs, outputs, source

    @property
    def invars(self) -> Sequence[Atom]:
        return self.inputs

    @property
    def outvars(self) -> Sequence[Var]:
        return self.outputs

    @property
    def source_info(self) -> Source | None:
        """The user's line."""
        return self.source

    @property
    def primitive(self) -> Any:
        """What a program that walks over equations tells them apart by; `primitive.bind(*values, **params)` applies it."""
        return self.op.primitive

    @property
    def params(self) -> dict[str, Any]:
        """The op's static parameters by name."""
        return self.op.params


class Graph:
    """A closed program: params -> results by a list of equations in dependency order."""

    __slots__ = ("params", "eqns", "results", "_text")

    def __init__(self, params: Sequence[Var], eqns: Sequence[Eqn], results: Sequence[Atom]):
        self.params, self.eqns, self.results = list(params), list(eqns), list(results)
        self._text: str | None = None

    @property
    def in_types(self) -> list:
        return [p.type for p in self.params]

    @property
    def out_types(self) -> list:
        return [r.type for r in self.results]

    @property
    def invars(self) -> list[Var]:
        """The params that are arguments, not captured values."""
        return self.params[len(self.constvars):]

    @property
    def constvars(self) -> list[Var]:
        """The params that stand for captured values: none, where they are not told apart."""
        return []

    @property
    def outvars(self) -> list[Atom]:
        return self.results

    @property
    def effects(self) -> bool:
        """Whether some equation must run even if nobody reads its outputs."""
        return any(eqn.op.has_effects for eqn in self.eqns)

    @property
    def lane_dependent(self) -> bool:
        """Whether some equation looks across the lanes of a vmap."""
        return any(eqn.op.lane_dependent for eqn in self.eqns)

    def __repr__(self) -> str:
        return "\n".join(lines_of(self, sources=True))

    # Two graphs with one text are one program: ops that hold sub-graphs compare by it.
    def __eq__(self, other) -> bool:
        return self is other or (isinstance(other, Graph) and self.key() == other.key())

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> str:
        """The program's text without source lines."""
        if self._text is None:
            self._text = "\n".join(lines_of(self))
        return self._text


class CapturingGraph(Graph):
    """A graph whose first params stand for values that the traced function captured."""

    __slots__ = ("n_captured",)

    def __init__(self, graph: Graph, n_captured: int):
        super().__init__(graph.params, graph.eqns, graph.results)
        self.n_captured = n_captured

    @property
    def constvars(self) -> list[Var]:
        return self.params[:self.n_captured]


Apply = Callable[[Eqn, list], Sequence]


def replay(graph: Graph, args: Sequence, apply: Apply) -> list:
    """Walk the equations in order: `apply(eqn, input values)` gives the output values of each."""
    env: dict[Var, Any] = dict(zip(graph.params, args, strict=True))
    read = lambda atom: env[atom] if atom.__class__ is Var else atom
    for eqn in graph.eqns:
        env.update(zip(eqn.outputs, apply(eqn, [read(x) for x in eqn.inputs]), strict=True))
    return [read(x) for x in graph.results]


def evaluate(graph: Graph, args: Sequence) -> list:
    """Run a graph by the ops' NumPy meaning: the oracle that compiled programs are tested against."""
    def apply(eqn: Eqn, inputs):
        outs = eqn.op.eval(*[x.value if x.__class__ is Lit else x for x in inputs])
        return outs if eqn.op.multiple else [outs]
    outs = replay(graph, [np.asarray(x) for x in args], apply)
    return [np.asarray(x.value if x.__class__ is Lit else x) for x in outs]


def live_eqns(graph: Graph) -> list[Eqn]:
    """The equations that some result or effect needs."""
    needed = {r for r in graph.results if isinstance(r, Var)}
    kept = []
    for eqn in reversed(graph.eqns):
        if eqn.op.has_effects or any(v in needed for v in eqn.outputs):
            kept.append(eqn)
            needed.update(x for x in eqn.inputs if isinstance(x, Var))
    return kept[::-1]


# --- text: deterministic numbering, types on binders only, params in field order, no addresses -------

@functools.cache
def field_names(cls: type) -> tuple[str, ...]:
    """The names of an op's static parameters, in the order of its fields."""
    return tuple([f.name for f in dataclasses.fields(cls)])


def fields_of(op) -> list[tuple[str, Any]]:
    """An op's static parameters, in the order of its fields."""
    return [(name, getattr(op, name)) for name in field_names(op.__class__)]


@functools.cache
def unsaid(cls: type) -> dict[str, Any]:
    """The parameters that text leaves out where they have these values."""
    return {f.name: f.default for f in dataclasses.fields(cls) if not f.repr}


def show(value: Any) -> str:
    """A static parameter as text that `ir.text.parse` reads back."""
    if isinstance(value, np.dtype):
        return SHORT_NAMES.get(value, str(value))
    if isinstance(value, (tuple, list)):
        return "(" + ",".join(map(show, value)) + ")"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"<{value.__qualname__}@{id(value):x}>"  # host functions are told apart by identity
    return repr(value).replace(" ", "")


def lines_of(graph: Graph, sources: bool = False, indent: str = "") -> list[str]:
    """The graph's text, line by line."""
    names: dict[Var, str] = {}

    types: dict[Any, str] = {}

    def type_text(t: Any) -> str:
        found = types.get(t)
        if found is None:
            found = types[t] = f"{t}{'~' if t.weak_type else ''}"
        return found

    def bind(v: Var) -> str:
        names[v] = name = f"%{len(names)}"
        return f"{name}: {type_text(v.type)}"

    def use(atom: Atom) -> str:
        return f"{atom.value!s}:{type_text(atom.type)}" if atom.__class__ is Lit else names[atom]

    lines = [f"{indent}graph({', '.join(map(bind, graph.params))}):"]
    for eqn in graph.eqns:
        silent = unsaid(eqn.op.__class__)
        fields = [(k, v) for k, v in fields_of(eqn.op) if k not in silent or v != silent[k]]
        static = " ".join([f"{k}={show(v)}" for k, v in fields if not is_graphs(v)])
        args = " ".join(map(use, eqn.inputs))
        where = f"    # {eqn.source}" if sources and eqn.source else ""
        lines.append(f"{indent}  {', '.join(map(bind, eqn.outputs))} = {eqn.op.name}[{static}] {args}{where}".rstrip())
        for _, value in fields:
            for sub in subgraphs(value):
                lines += lines_of(sub, sources, indent + "    ")
    lines.append(f"{indent}  return {', '.join(map(use, graph.results))}")
    return lines


def subgraphs(value: Any) -> tuple[Graph, ...]:
    """The graphs that a static parameter holds: itself, or the members of a tuple."""
    if isinstance(value, Graph):
        return (value,)
    return value if is_graphs(value) else ()


def eqns_within(eqn: Eqn) -> list[Eqn]:
    """An equation and all that its sub-graphs hold."""
    inner = [e for _, value in fields_of(eqn.op) for g in subgraphs(value) for e in g.eqns]
    return [eqn, *[found for e in inner for found in eqns_within(e)]]


def is_graphs(value: Any) -> bool:
    return isinstance(value, Graph) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Graph))

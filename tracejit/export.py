"""A jitted function at given types -> bytes that another process, or a later one, can run.

What is kept is the traced program as text, its constants, and the structure of its arguments and results; it is compiled
where it is run. Custom derivative rules are not kept: a loaded function is differentiated as what it computes.
"""
from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tracejit.absent import getter
from tracejit.errors import DtypeError, InconclusiveDimensionOperation, ShapeError, TreeError
from tracejit.ir.graph import Graph
from tracejit.ir.text import parse
from tracejit.ir.trace import call
from tracejit.ir.types import ArrayType, canonicalize_dtype, type_of
from tracejit.lax.control import convert_type
from tracejit.ir.dims import Dim
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten
from tracejit.symbolic import (OpenProgram, SymbolicScope, SymbolicType, is_symbolic_dim, open_program, open_type, sample_points,
                               symbolic_args_specs, symbolic_shape)
from tracejit.transforms.inspect import ShapeDtypeStruct
from tracejit.transforms.passes.inline import inline_calls
from tracejit.tree_util import tree_leaves, tree_map

__all__ = ["DisabledSafetyCheck", "Exported", "SymbolicScope", "default_export_platform", "deserialize", "export",
           "is_symbolic_dim", "maximum_supported_calling_convention_version", "minimum_supported_calling_convention_version",
           "register_namedtuple_serialization", "register_pytree_node_serialization", "symbolic_args_specs", "symbolic_shape"]

VERSION = 1
maximum_supported_calling_convention_version = minimum_supported_calling_convention_version = VERSION


@dataclass(frozen=True)
class DisabledSafetyCheck:
    """A check that export may leave out; there is nothing here that it could be about."""
    name: str

    @classmethod
    def platform(cls) -> DisabledSafetyCheck:
        return cls("platform")

    @classmethod
    def custom_call(cls, target_name: str) -> DisabledSafetyCheck:
        return cls(f"custom_call:{target_name}")


graph_of = functools.lru_cache(maxsize=256)(parse)


@dataclass(frozen=True)
class Exported:
    """A function at given types: `call` it, or `serialize` it for `deserialize`."""
    fun_name: str
    in_tree: PyTreeDef
    in_avals: tuple[ArrayType | SymbolicType, ...]
    out_tree: PyTreeDef
    out_avals: tuple[ArrayType | SymbolicType, ...]
    program: str                    # the graph's text: constants, then arguments; with symbolic shapes, at one size
    constants: tuple[np.ndarray, ...]
    platforms: tuple[str, ...] = ("cpu",)
    calling_convention_version: int = VERSION
    nr_devices: ClassVar[int] = 1
    ordered_effects: ClassVar[tuple] = ()
    unordered_effects: ClassVar[tuple] = ()
    disabled_safety_checks: ClassVar[tuple] = ()
    open: OpenProgram | None = None  # of symbolic shapes

    def at(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Graph, Sequence[ArrayType]]:
        """The program and the types of its arguments, where these have the shapes."""
        if self.open is None:
            return graph_of(self.program), self.in_avals
        if [len(s) for s in shapes] != [len(t.shape) for t in self.in_avals]:
            raise ShapeError(f"{self.fun_name}: exported for {list(self.in_avals)}, called with shapes {shapes}")
        sizes = self.open.sizes_of(self.in_avals, shapes)
        return graph_of(self.open.text(sizes)), [t.at(sizes) for t in self.in_avals]

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results. Works under jit, vmap and grad. TreeError or DtypeError for arguments of other types."""
        leaves, tree = tree_flatten((args, kwargs))
        if tree != self.in_tree:
            raise TreeError(f"{self.fun_name}: exported for arguments {self.in_tree}, called with {tree}")
        graph, types = self.at([type_of(x).shape for x in leaves])
        for x, t in zip(leaves, types, strict=True):
            have = type_of(x)
            if have.shape != t.shape or (have.dtype != t.dtype and not have.weak_type):
                raise DtypeError(f"{self.fun_name}: exported for an argument of type {t}, called with one of type {have}",
                                 fix="export the function for this type too")
        inputs = [convert_type(x, t) for x, t in zip(leaves, types)]
        return unflatten(self.out_tree, call(graph, [*self.constants, *inputs]))

    def mlir_module(self, serialized: bool = True) -> str:
        """The program's text, which is tracejit's own."""
        return self.program

    def in_shardings_jax(self, mesh: Any) -> tuple[None, ...]:
        """None for each argument: there is one device."""
        return (None,) * len(self.in_avals)

    def out_shardings_jax(self, mesh: Any) -> tuple[None, ...]:
        """None for each result: there is one device."""
        return (None,) * len(self.out_avals)

    def has_vjp(self) -> bool:
        """Whether it can be differentiated: always, by tracejit.vjp of `call`."""
        return True

    def serialize(self, vjp_order: int = 0) -> bytearray:
        """Bytes for `deserialize`. Containers that are not Python's own must be registered here for it."""
        head = {"version": VERSION, "name": self.fun_name, "program": self.program, "constants": len(self.constants),
                "in": encoded(unflatten(self.in_tree, range(len(self.in_avals)))),
                "out": encoded(unflatten(self.out_tree, range(len(self.out_avals))))}
        if self.open is not None:
            head["open"] = {"pieces": [p if isinstance(p, str) else written(p) for p in self.open.pieces],
                            "constraints": self.open.constraints, "types": [[written_type(t) for t in types] for types in (
                                self.in_avals, self.out_avals)]}
        file = io.BytesIO()
        np.savez(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8),
                 **{f"c{i}": np.frombuffer(x.tobytes(), np.uint8) for i, x in enumerate(self.constants)})
        return bytearray(file.getvalue())


def export(fun_jit: Callable, *, platforms: Sequence[str] | None = None,
           disabled_checks: Sequence[DisabledSafetyCheck] = ()) -> Callable[..., Exported]:
    """A function of arguments (arrays, or ShapeDtypeStructs) that exports a jitted function for their types.

    Sizes may be left open with `symbolic_shape`; InconclusiveDimensionOperation for a function that is not one program at
    all of them. ValueError for a program that calls Python functions, which have no text.

    >>> exported = export(tj.jit(lambda x: 2 * x))(tj.ShapeDtypeStruct((3,), "float32"))
    >>> deserialize(exported.serialize()).call(jnp.arange(3.))
    Array([0., 2., 4.], dtype=float32)
    >>> rows = tj.ShapeDtypeStruct(symbolic_shape("b, 3"), "float32")
    >>> export(tj.jit(lambda x: x.sum(1)))(rows).call(jnp.ones((2, 3)))
    Array([3., 3.], dtype=float32)
    """
    if any(p != "cpu" for p in platforms or ()):
        raise ValueError(f"export: programs are for the platform cpu here, not for {tuple(platforms or ())}")
    if not hasattr(fun_jit, "_compiler"):
        raise ValueError(f"export: the function must be the result of jit, but is {fun_jit!r}; give jit(f)")
    compiler = fun_jit._compiler

    def make(*args: Any, **kwargs: Any) -> Exported:
        dims = [d for x in tree_leaves((args, kwargs)) for d in getattr(x, "shape", ()) if isinstance(d, Dim)]
        return made_open(dims, args, kwargs) if dims else made(args, kwargs)

    def made_open(dims: Sequence[Dim], args: tuple, kwargs: dict) -> Exported:
        constraints = list(dict.fromkeys(c for d in dims for c in d.constraints))
        points = sample_points({name for d in dims for name in d.names}, constraints)
        every = [made_at(point, args, kwargs) for point in points]
        first = every[0]
        if any(not same_constants(e, first) for e in every):
            raise InconclusiveDimensionOperation("export: the function closes over an array that depends on open sizes",
                                                 fix="make the array in the function, with jnp")
        opened = open_program(points, [e.program for e in every], constraints)
        ins, outs = [tuple(open_type(points, types) for types in zip(*columns)) for columns in (
            [e.in_avals for e in every], [e.out_avals for e in every])]
        return dataclasses.replace(first, in_avals=ins, out_avals=outs, open=opened)

    def made_at(point: dict[str, int], args: tuple, kwargs: dict) -> Exported:
        try:
            return made(*tree_map(lambda x: at_point(x, point), (args, kwargs)))
        except ShapeError as error:
            sizes = ", ".join(f"{name} = {size}" for name, size in point.items())
            raise InconclusiveDimensionOperation(f"export: the function is not defined for all sizes. With {sizes}: {error.what}",
                                                 source=error.source, fix="say with constraints which sizes there are") from None

    def made(args: tuple, kwargs: dict) -> Exported:
        traced, tree, *_ = compiler.traced_at(args, kwargs)
        graph = inline_calls(traced.graph)
        n = len(traced.captured)
        dynamic = tree_flatten((args, kwargs))[1] if tree.num_leaves == len(tree_leaves((args, kwargs))) else tree
        text = graph.key()
        check_readable(text)
        return Exported(getattr(compiler.fun, "__name__", "function"), dynamic, tuple(graph.in_types[n:]), traced.out_tree,
                        tuple(graph.out_types), text, tuple(np.asarray(x) for x in traced.captured))
    return make


def at_point(x: Any, sizes: dict[str, int]) -> Any:
    """A ShapeDtypeStruct of symbolic shape at these sizes; anything else itself."""
    if not any(isinstance(d, Dim) for d in getattr(x, "shape", ())):
        return x
    t = SymbolicType(x.shape, x.dtype, x.weak_type).at(sizes)
    return ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type)


def same_constants(a: Exported, b: Exported) -> bool:
    return len(a.constants) == len(b.constants) and all(map(np.array_equal, a.constants, b.constants))


def written(d: Dim) -> list:
    return [[str(c), list(m)] for m, c in d.terms.items()]


def read_dim(terms: list) -> Dim:
    return Dim({tuple(m): c for c, m in terms})


def written_type(t: SymbolicType) -> list:
    return [[written(d) if isinstance(d, Dim) else d for d in t.shape], str(t.dtype), t.weak_type]


def read_type(shape: list, dtype: str, weak: bool) -> SymbolicType:
    return SymbolicType(tuple(read_dim(d) if isinstance(d, list) else d for d in shape), canonicalize_dtype(dtype), weak)


def check_readable(text: str) -> None:
    """ValueError unless the text says the whole program."""
    try:
        same = parse(text).key() == text
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"export: the program holds something that has no text, such as a Python function: {error}") from None
    if not same:
        raise ValueError("export: the program's text does not say all of it")


def deserialize(blob: bytes | bytearray) -> Exported:
    """What `Exported.serialize` made. ValueError for bytes of another version or origin."""
    try:
        stored = np.load(io.BytesIO(bytes(blob)))
        head = json.loads(stored["head"].tobytes())
    except (ValueError, OSError, KeyError, json.JSONDecodeError):
        raise ValueError("deserialize: these bytes were not made by Exported.serialize") from None
    if head["version"] != VERSION:
        raise ValueError(f"deserialize: the bytes have version {head['version']}, this is version {VERSION}")
    graph, n = parse(head["program"]), head["constants"]
    constants = [np.frombuffer(stored[f"c{i}"].tobytes(), t.dtype).reshape(t.shape) for i, t in enumerate(graph.in_types[:n])]
    in_tree, out_tree = (tree_flatten(decoded(head[k]))[1] for k in ("in", "out"))
    made = Exported(head["name"], in_tree, tuple(graph.in_types[n:]), out_tree, tuple(graph.out_types), head["program"],
                    tuple(constants))
    if "open" not in head:
        return made
    pieces = [p if isinstance(p, str) else read_dim(p) for p in head["open"]["pieces"]]
    ins, outs = [tuple(read_type(*t) for t in types) for types in head["open"]["types"]]
    opened = OpenProgram(tuple(pieces), tuple(head["open"]["constraints"]))
    return dataclasses.replace(made, in_avals=ins, out_avals=outs, open=opened)


def default_export_platform() -> str:
    """The platform that programs are exported for.

    >>> default_export_platform()
    'cpu'
    """
    return "cpu"


# --- structures as JSON ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Registered:
    """How containers of one type are written: take(x) -> (what JSON can say, children), make(that, children) -> x."""
    name: str
    take: Callable[[Any], tuple[str, Sequence[Any]]]
    make: Callable[[str, Sequence[Any]], Any]


registered: dict[type, Registered] = {}


def encoded(x: Any) -> Any:
    kind = registered.get(type(x))
    if kind is not None:
        static, children = kind.take(x)
        return {"node": kind.name, "static": static, "children": [encoded(c) for c in children]}
    if type(x) is dict:
        return {"dict": [[k, encoded(v)] for k, v in x.items()]}
    if type(x) in (tuple, list):
        return {type(x).__name__: [encoded(v) for v in x]}
    if x is None or type(x) is int:
        return x
    raise ValueError(f"serialize: containers of type {type(x).__name__} must be registered with "
                     "register_pytree_node_serialization")


def decoded(x: Any) -> Any:
    if not isinstance(x, dict):
        return x
    if "dict" in x:
        return {k: decoded(v) for k, v in x["dict"]}
    if "node" not in x:
        return tuple(map(decoded, x["tuple"])) if "tuple" in x else list(map(decoded, x["list"]))
    kind = next((r for r in registered.values() if r.name == x["node"]), None)
    if kind is None:
        raise ValueError(f"deserialize: the type {x['node']!r} is not registered in this process")
    return kind.make(x["static"], [decoded(c) for c in x["children"]])


def register_pytree_node_serialization(nodetype: type, *, serialized_name: str, serialize_auxdata: Callable[[Any], bytes],
                                       deserialize_auxdata: Callable[[bytes], Any],
                                       from_children: Callable[[Any, Sequence[Any]], Any] | None = None) -> type:
    """Let a registered container type occur in exported functions; its static part is written as bytes."""
    def take(x: Any) -> tuple[str, Sequence[Any]]:
        children, aux = x.tree_flatten()
        return serialize_auxdata(aux).hex(), children
    build = from_children or nodetype.tree_unflatten
    registered[nodetype] = Registered(serialized_name, take, lambda static, c: build(deserialize_auxdata(bytes.fromhex(static)), c))
    return nodetype


def register_namedtuple_serialization(nodetype: type, *, serialized_name: str) -> type:
    """Let a named tuple type occur in exported functions."""
    registered[nodetype] = Registered(serialized_name, lambda x: ("", list(x)), lambda static, c: nodetype(*c))
    return nodetype


__getattr__ = getter(__name__)

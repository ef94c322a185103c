"""Looking at programs without running them: make_jaxpr (make_graph), eval_shape, ShapeDtypeStruct, typeof."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracejit.errors import filtered, wraps
from tracejit.ir.dims import Dim
from tracejit.ir.float0 import flatten_result
from tracejit.ir.graph import CapturingGraph, Eqn, Graph, evaluate
from tracejit.ir.trace import axis_bound, bound_axes, running_known, trace
from tracejit.ir.types import ArrayType, canonicalize_dtype, is_inexact, type_of, with_wide_numbers
from tracejit.pytree import COMPOSITES, PyTreeDef, tree_flatten, unflatten
from tracejit.transforms.ad import linearize_graph
from tracejit.ir.arguments import argument_names
from tracejit.tree_util import tree_map


class ShapeDtypeStruct:
    """The shape and dtype of an array, without its elements.

    >>> import tracejit as tj, numpy as np
    >>> tj.ShapeDtypeStruct((2, 3), np.float32)
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    __slots__ = ("shape", "dtype", "sharding", "weak_type")

    def __init__(self, shape: Sequence[int], dtype: Any, *, sharding: Any = None, weak_type: bool = False,
                 manual_axis_type: Any = None, is_ref: bool = False):
        if dtype is None:
            raise ValueError("ShapeDtypeStruct: dtype must be specified")
        self.shape = tuple(d if isinstance(d, Dim) else int(d) for d in shape)
        self.dtype = canonicalize_dtype(dtype)
        self.sharding, self.weak_type = sharding, bool(weak_type)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return ArrayType(self.shape, self.dtype).size

    @classmethod
    def like(cls, x: Any) -> ShapeDtypeStruct:
        """That of an array or a number."""
        t = type_of(x)
        return cls(t.shape, t.dtype, weak_type=t.weak_type)

    def update(self, **changes: Any) -> ShapeDtypeStruct:
        """The same with some of shape, dtype, sharding, weak_type replaced."""
        return ShapeDtypeStruct(**{"shape": self.shape, "dtype": self.dtype, "sharding": self.sharding,
                                   "weak_type": self.weak_type} | changes)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple:
        return self.shape, self.dtype, self.sharding, self.weak_type

    def __repr__(self) -> str:
        weak = ", weak_type=True" if self.weak_type else ""
        placed = f", sharding={self.sharding}" if self.sharding is not None else ""
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype.name}{weak}{placed})"


def struct_of(t: ArrayType) -> ShapeDtypeStruct:
    return ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type)


def typeof(x: Any) -> ArrayType:
    """The type of an array, a traced value or a number: shape, dtype and weakness. What has an `aval` says its own.

    >>> import tracejit as tj
    >>> tj.typeof(1.)
    f32[]
    """
    own = getattr(x, "aval", None)
    return type_of(x) if own is None else own


# --- traced functions ----------------------------------------------------------------------------------------------------

class ClosedGraph:
    """A traced function: its Graph, and the values of the leading params that it closes over (`consts`)."""

    def __init__(self, graph: Graph, consts: list, in_tree: PyTreeDef, out_tree: PyTreeDef):
        self.graph, self.consts, self.in_tree, self.out_tree = graph, consts, in_tree, out_tree

    @property
    def jaxpr(self) -> CapturingGraph:
        return CapturingGraph(self.graph, len(self.consts))

    @property
    def eqns(self) -> list[Eqn]:
        return self.graph.eqns

    @property
    def in_avals(self) -> list:
        return self.graph.in_types[len(self.consts):]

    @property
    def out_avals(self) -> list:
        return self.graph.out_types

    @property
    def literals(self) -> list:
        return self.consts

    def eval(self, *args: Any) -> list:
        """The results by the ops' NumPy meaning, from flat arguments."""
        return evaluate(self.graph, [*self.consts, *args])

    def __str__(self) -> str:
        return self.graph.key()

    def __repr__(self) -> str:
        return self.graph.key()


def traced(fun: Callable, args: tuple, kwargs: dict, static: Sequence[int] = ()) -> ClosedGraph:
    fixed = {i % len(args): args[i] for i in static if -len(args) <= i < len(args)}
    rest = [x for i, x in enumerate(args) if i not in fixed]
    leaves, in_tree = tree_flatten((tuple(rest), kwargs))
    leaves = with_wide_numbers(leaves)
    out_tree = None

    def flat(*values: Any) -> list:
        nonlocal out_tree
        given, named = unflatten(in_tree, values)
        given = iter(given)
        outs, out_tree = flatten_result(fun(*[fixed[i] if i in fixed else next(given) for i in range(len(args))], **named))
        return outs
    graph, captured = trace(flat, [type_of(x) for x in leaves])
    return ClosedGraph(graph, captured, in_tree, out_tree)


def make_jaxpr(fun: Callable, static_argnums: int | Sequence[int] = (), axis_env: Sequence[tuple[Any, int]] | None = None,
               return_shape: bool = False, abstracted_axes: Any = None) -> Callable:
    """A function of fun's arguments that returns fun's program; with return_shape, (program, shapes of the results).

    The arguments may be arrays or ShapeDtypeStructs. axis_env gives names and sizes of axes for collectives.

    >>> import tracejit as tj
    >>> print(tj.make_jaxpr(lambda x: x * 2. + 1.)(3.))
    graph(%0: f32[]~):
      %1: f32[]~ = mul[] %0 2.0:f32[]~
      %2: f32[]~ = add[] %1 1.0:f32[]~
      return %2
    """
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @filtered
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as names:
            for name, size in axis_env or ():
                names.enter_context(axis_bound(name, size))
            made = traced(fun, args, kwargs, static)
        return (made, unflatten(made.out_tree, map(struct_of, made.graph.out_types))) if return_shape else made
    return wrapped


make_graph = make_jaxpr


@filtered
def eval_shape(fun: Callable, *args: Any, **kwargs: Any) -> Any:
    """The shapes and dtypes of fun(*args, **kwargs), as ShapeDtypeStructs, without computing it. A ShapeDtypeStruct that
    fun returns is its own.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> tj.eval_shape(lambda x: jnp.sum(x, 0), tj.ShapeDtypeStruct((2, 3), jnp.float32))
    ShapeDtypeStruct(shape=(3,), dtype=float32)
    """
    given: list[ShapeDtypeStruct | None] = []

    def with_numbers(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = tree_flatten(fun(*args, **kwargs))
        given[:] = [x if isinstance(x, ShapeDtypeStruct) else None for x in leaves]
        return unflatten(tree, [x if own is None else 0 for x, own in zip(leaves, given)])
    made = traced(with_numbers, args, kwargs)
    structs = [struct_of(t) if own is None else own for t, own in zip(made.graph.out_types, given)]
    return tree_map(lambda x: ShapeDtypeStruct.like(x) if x.__class__ in COMPOSITES else x, unflatten(made.out_tree, structs))


# --- names and phases --------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def named_scope(name: str) -> Iterator[str]:
    """A name for a part of a function, for the reader: programs here know the source line of each equation anyway."""
    if not isinstance(name, str):
        raise TypeError(f"named_scope: the name must be a string, got {name!r}")
    yield name


def named_call(fun: Callable, *, name: str | None = None) -> Callable:
    """fun itself, under a name for the reader."""
    return fun


@contextlib.contextmanager
def ensure_compile_time_eval() -> Iterator[None]:
    """Inside, operations on known arrays run at once, also while a function is being traced; those on traced values are
    recorded as ever.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> @tj.jit
    ... def f(x):
    ...     with tj.ensure_compile_time_eval():
    ...         n = int(jnp.arange(4).sum())
    ...     return x * n
    >>> f(1.)
    Array(6., dtype=float32, weak_type=True)
    """
    with running_known():
        yield


def axis_sizes() -> dict[Any, int]:
    """The named axes in scope, with their sizes."""
    return dict(bound_axes())


# --- what reverse mode keeps ---------------------------------------------------------------------------------------

def print_saved_residuals(f: Callable, *args: Any, **kwargs: Any) -> None:
    """Print which values reverse mode of f at these arguments keeps: arguments, and results of operations with their line.

    >>> from tracejit import lax
    >>> print_saved_residuals(lambda x: lax.mul(x, x), 1.0)
    f32[] from the argument x
    """
    leaves, tree = tree_flatten((args, kwargs))

    def flat(*values):
        a, k = unflatten(tree, values)
        return tree_flatten(f(*a, **k))[0]
    graph, captured = trace(flat, [type_of(x) for x in leaves])
    lin = linearize_graph(graph, [False] * len(captured) + [is_inexact(type_of(x).dtype) for x in leaves])
    paths = argument_names(f, args, kwargs)
    names = dict(zip(lin.known.params, [*["a constant"] * len(captured), *[f"the argument {p}" for p in paths]]))
    made = {v: eqn for eqn in lin.known.eqns for v in eqn.outputs}
    for value in lin.known.results[lin.n_results:]:
        if value in names:
            print(f"{value.type} from {names[value]}")
        else:
            where = made[value].source
            print(f"{value.type} output of {made[value].op.name}" + (f" from {where.place}" if where else ""))

"""Public derivatives of Python functions on pytrees: grad, jvp, vjp, linearize, Jacobians, Hessians."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import LossError, TreeError, check_callable, filtered, user_source, wraps
from tracejit.ir.cells import read_all, write_all
from tracejit.ir.float0 import is_float0
from tracejit.ir.graph import Graph
from tracejit.ir.trace import call, inline, knows_values, trace, trace_closed, trace_with_writes
from tracejit.ir.types import FLOAT0, ArrayType, is_array_like, is_inexact, type_of, with_wide_numbers
from tracejit.lax.control import convert_type
from tracejit.lax.kinds import Linear
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten
from tracejit.transforms.ad import Jvp, Linearized, jvp_graph, linearize_graph, self_contained, split, transpose_values, vjp_values
from tracejit.transforms.tangents import (JVP, LINEARIZE, VJP, check_inputs, check_output, check_scalar, check_tangent,
                                          is_weak_beside, normalized_argnums)
from tracejit.transforms.vmap import vmap
from tracejit.tree_util import register_pytree_node


def trace_here(f: Callable, leaves: Sequence) -> tuple[Graph, list]:
    """Trace a flat function at these leaves; where values are known they ride along."""
    return trace(f, [type_of(x) for x in leaves], list(leaves) if knows_values() else None, differentiated=True)


@dataclass
class Fixed:
    """Stands in an aux result for what is no array; unflattens to it."""
    value: Any


register_pytree_node(Fixed, lambda x: ((), x.value), lambda value, _: value)


def with_fixed_aux(result: Any) -> Any:
    """A pair (value, aux) whose aux has arrays for leaves, and anything else as a part of its structure."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TreeError(f"expected function with aux output to return a two-element tuple, but got type {type(result)} "
                        f"with value {result}", source=user_source())
    leaves, tree = tree_flatten(result[1])
    return result[0], unflatten(tree, [x if is_array_like(x) else Fixed(x) for x in leaves])


def flat_function(f: Callable, args: tuple, kwargs: dict, argnums: tuple[int, ...], has_aux: bool = False):
    """f as a flat function of the leaves of some positional args: (function, leaves, treedef, box of the out tree)."""
    leaves, treedef = tree_flatten(tuple(args[i] for i in argnums))
    leaves = with_wide_numbers(leaves)
    out: list[Any] = []

    def flat(*values):
        filled = list(args)
        for i, value in zip(argnums, unflatten(treedef, values)):
            filled[i] = value
        result = f(*filled, **kwargs)
        outs, tree = tree_flatten(with_fixed_aux(result) if has_aux else result)
        out[:] = [tree]
        return outs
    return flat, leaves, treedef, out


def zero_cotangent(t: ArrayType):
    return lax.full(t.shape, 0, t.dtype) if is_inexact(t.dtype) else np.zeros(t.shape, FLOAT0)


def value_and_grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
                   allow_int: bool = False, reduce_axes: Sequence = ()) -> Callable:
    """A function that returns (fun's value, its gradient with respect to the arguments `argnums`).

    fun returns a scalar (with has_aux: a pair of a scalar and anything). The gradient has the structure of the
    argument, or is a tuple of such for several argnums. Method: reverse-mode differentiation.

    >>> import tracejit as tj
    >>> tj.value_and_grad(lambda x: x * x)(3.)
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    @filtered
    @wraps(fun, "Value and gradient of {fun} with respect to positional argument(s) " + str(argnums) + ".")
    def wrapped(*args, **kwargs):
        what = "grad"
        nums = normalized_argnums(argnums, len(args))
        check_inputs(what, args, nums, holomorphic, allow_int)
        flat, leaves, treedef, out = flat_function(fun, args, kwargs, nums, has_aux)
        aux_tree: list = []

        def scalar_and_aux(*values):
            outs = flat(*values)
            if has_aux:
                outs = split_aux(outs, out, aux_tree)
            return outs
        graph, captured, written = trace_with_writes(scalar_and_aux, [type_of(x) for x in leaves],
                                                     list(leaves) if knows_values() else None, differentiated=True)
        captured, n = read_all(captured), len(graph.results) - len(written)
        check_scalar(what, graph.out_types[:1 if has_aux else n], holomorphic)
        wanted = [False] * len(captured) + [is_inexact(type_of(x).dtype) for x in leaves]
        outs = call(gradient_graph(graph, tuple(wanted)), [*captured, *leaves])
        write_all(written, outs[n:n + len(written)])
        found = iter(outs[n + len(written):])
        grads = unflatten(treedef, [next(found) if w else zero_cotangent(type_of(x))
                                    for x, w in zip(leaves, wanted[len(captured):])])
        value = (outs[0], unflatten(aux_tree[0], outs[1:n])) if has_aux else outs[0]
        return value, grads[0] if isinstance(argnums, (int, np.integer)) else grads
    return wrapped


def split_aux(outs: list, out: list, aux_tree: list) -> list:
    value, aux = out[0].children()
    if value.num_leaves != 1:
        raise LossError(f"Gradient only defined for scalar-output functions. The first of (value, aux) was {value}",
                        source=user_source())
    aux_tree[:] = [aux]
    return outs


@functools.lru_cache(maxsize=1024)
def gradient_graph(graph: Graph, wanted: tuple[bool, ...]) -> Graph:
    """(params) -> results, gradient of the first result with respect to the wanted params."""
    def f(*args):
        outs, pullback = vjp_values(graph, args, wanted)
        cts = pullback([lax.full_like(outs[0], 1)] + [None] * (len(outs) - 1))
        types = [p.type for p, w in zip(graph.params, wanted) if w]
        return outs + [convert_type(Jvp.zeros(t) if ct is None else ct, t) for ct, t in zip(cts, types)]
    return trace_closed(f, graph.in_types)


def grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
         allow_int: bool = False, reduce_axes: Sequence = ()) -> Callable:
    """The gradient function of a scalar function; with has_aux, the pair (gradient, aux).

    >>> import tracejit as tj
    >>> tj.grad(tj.grad(lambda x: x * x * x))(2.)
    Array(12., dtype=float32, weak_type=True)
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int)

    @filtered
    @wraps(fun, "Gradient of {fun} with respect to positional argument(s) " + str(argnums) + ".")
    def wrapped(*args, **kwargs):
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads
    return wrapped


# --- jvp, vjp, linearize -------------------------------------------------------------------------------------------

@filtered
def jvp(fun: Callable, primals: Sequence, tangents: Sequence, has_aux: bool = False) -> tuple:
    """fun's value at primals and its directional derivative along tangents (forward mode).

    >>> import tracejit as tj
    >>> tj.jvp(lambda x: x * x, (3.,), (1.,))
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun)
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("primal and tangent arguments to jax.jvp must be tuples or lists; found "
                        f"{type(primals).__name__} and {type(tangents).__name__}.")
    flat, leaves, treedef, out = flat_function(fun, tuple(primals), {}, tuple(range(len(primals))), has_aux)
    t_leaves, t_tree = tree_flatten(tuple(tangents))
    if t_tree != treedef or type(primals) is not type(tangents):
        raise TreeError("primal and tangent arguments to jax.jvp must have the same tree structure; primals have tree structure "
                        f"{tree_flatten(primals)[1]} whereas tangents have {tree_flatten(tangents)[1]}", source=user_source())
    for x, t in zip(leaves, t_leaves):
        check_tangent(JVP, type_of(x), t)
    graph, captured = trace_here(flat, leaves)
    float_in = [is_inexact(type_of(x).dtype) for x in leaves]
    nonzero = (False,) * len(captured) + tuple(float_in)
    moved, out_nonzero = pushforward_graph(graph, nonzero)
    t_leaves = [convert_type(t, type_of(x).strong()) for x, t, ok in zip(leaves, t_leaves, float_in) if ok]
    outs = call(moved, [*captured, *leaves, *t_leaves])
    n = len(graph.results)
    found = iter(outs[n:])
    ts = [next(found) if nz else zero_cotangent(t) for nz, t in zip(out_nonzero, graph.out_types)]
    ts = [convert_type(x, t) if is_inexact(t.dtype) else x for x, t in zip(ts, graph.out_types)]
    if has_aux:
        value, aux = out[0].children()
        k = value.num_leaves
        return unflatten(value, outs[:k]), unflatten(value, ts[:k]), unflatten(aux, outs[k:n])
    return unflatten(out[0], outs[:n]), unflatten(out[0], ts)


@functools.lru_cache(maxsize=1024)
def pushforward_graph(graph: Graph, nonzero: tuple[bool, ...]) -> tuple[Graph, list[bool]]:
    return jvp_graph(graph, nonzero)


class Cotangents:
    """The function that vjp returns: cotangents of the outputs -> cotangents of the arguments."""

    def __init__(self, lin: Linearized, residuals: list, in_tree, in_types, out_tree, out_types, name: str):
        self.lin, self.residuals, self.name = lin, residuals, name
        self.in_tree, self.in_types, self.out_tree, self.out_types = in_tree, in_types, out_tree, out_types

    @filtered
    def __call__(self, *cts):
        if len(cts) != 1:
            raise TypeError(f"The function returned by `jax.vjp` applied to {self.name} was called with {len(cts)} arguments, "
                            "but it takes one, the cotangent of the output: a tuple of cotangents for a tuple")
        ct_leaves, tree = tree_flatten(cts[0])
        if tree != self.out_tree:
            raise TreeError(f"unexpected tree structure of the argument to the VJP function of {self.name}: {tree}, the output is "
                            f"{self.out_tree}", source=user_source())
        for t, ct in zip(self.out_types, ct_leaves):
            check_tangent(VJP, t, ct)
        live = [convert_type(ct, t.strong()) for t, ct, nz in zip(self.out_types, ct_leaves, self.lin.out_nonzero) if nz]
        outs = iter(call(pullback_graph(self.lin), [*self.residuals, *live]))
        wanted = self.lin.wanted[len(self.lin.wanted) - len(self.in_types):]
        return unflatten(self.in_tree, [next(outs) if w else zero_cotangent(t) for w, t in zip(wanted, self.in_types)])


class Same:
    """A thing that is equal to itself only, as a part of a tree's structure."""

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


# A vjp function is a pytree of its residuals, so jit can return it, and take it as an argument.
register_pytree_node(
    Cotangents,
    lambda f: (f.residuals, (Same(f.lin), f.in_tree, tuple(f.in_types), f.out_tree, tuple(f.out_types), f.name)),
    lambda structure, residuals: Cotangents(structure[0].thing, list(residuals), *structure[1:]))


def pullback_graph(lin: Linearized) -> Graph:
    """residuals, cotangents of the nonzero results -> cotangents of the wanted params."""
    if lin.pullback_graph is None:
        n = lin.n_residuals
        types = [p.type for p, wanted in zip(lin.known.params, lin.wanted) if wanted]

        def f(*values):
            found = iter(values[n:])
            cts = lin.pullback(values[:n], [next(found) if nz else None for nz in lin.out_nonzero])
            return [convert_type(Jvp.zeros(t) if ct is None else ct, t) for ct, t in zip(cts, types)]
        res_types = [p.type for p in lin.linear.params[:n]]
        lin.pullback_graph = trace_closed(f, res_types + [r.type.strong() for r in lin.linear.results])
    return lin.pullback_graph


@functools.lru_cache(maxsize=1024)
def linearized(graph: Graph, wanted: tuple[bool, ...]) -> Linearized:
    return self_contained(linearize_graph(graph, wanted))


@dataclass
class Point:
    """A function linearized at its primals, with what it takes to give and take pytrees."""
    lin: Linearized
    outs: list
    residuals: list
    in_tree: PyTreeDef
    in_types: list[ArrayType]
    out_tree: PyTreeDef
    out_types: list[ArrayType]
    aux: tuple

    @property
    def value(self) -> Any:
        return unflatten(self.out_tree, self.outs)


def linearized_at(fun: Callable, primals: tuple, has_aux: bool) -> Point:
    flat, leaves, in_tree, out = flat_function(fun, primals, {}, tuple(range(len(primals))), has_aux)
    graph, captured = trace_here(flat, leaves)
    types = [type_of(x) for x in leaves]
    wanted = (False,) * len(captured) + tuple(is_inexact(t.dtype) for t in types)
    lin = linearized(graph, wanted)
    outs = call(lin.known, [*captured, *leaves])
    outs, residuals = outs[:lin.n_results], outs[lin.n_results:]
    if not has_aux:
        return Point(lin, outs, residuals, in_tree, types, out[0], graph.out_types, ())
    out_tree, aux_tree = out[0].children()
    k = out_tree.num_leaves
    aux = (unflatten(aux_tree, outs[k:]),)
    return Point(lin.of_first_results(k), outs[:k], residuals, in_tree, types, out_tree, graph.out_types[:k], aux)


@filtered
def vjp(fun: Callable, *primals: Any, has_aux: bool = False, reduce_axes: Sequence = ()) -> tuple:
    """fun's value at primals, and the function that pulls a cotangent of it back to the primals (reverse mode).

    >>> import tracejit as tj
    >>> y, pull = tj.vjp(lambda x: x * x, 3.)
    >>> pull(1.)
    (Array(6., dtype=float32, weak_type=True),)
    """
    at = linearized_at(fun, primals, has_aux)
    pull = Cotangents(at.lin, at.residuals, at.in_tree, at.in_types, at.out_tree, at.out_types, getattr(fun, "__name__", repr(fun)))
    return at.value, pull, *at.aux


@filtered
def linearize(fun: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """fun's value at primals, and its derivative there as a linear function of tangents, computed once.

    >>> import tracejit as tj
    >>> y, push = tj.linearize(lambda x: x * x, 3.)
    >>> push(1.)
    Array(6., dtype=float32, weak_type=True)
    """
    at = linearized_at(fun, primals, has_aux)

    def push(*tangents):
        leaves, tree = tree_flatten(tangents)
        if tree != at.in_tree:
            raise TreeError(f"linearized function: expected {at.in_tree}, got {tree}", source=user_source())
        for t, tangent in zip(at.in_types, leaves):
            check_tangent(LINEARIZE, t, tangent)
        live = [convert_type(x, t.strong()) for x, t in zip(leaves, at.in_types) if is_inexact(t.dtype)]
        found = iter(call(at.lin.linear, [*at.residuals, *live]))
        ts = [next(found) if nz else zero_cotangent(t) for nz, t in zip(at.lin.out_nonzero, at.out_types)]
        return unflatten(at.out_tree, [convert_type(x, t) if is_inexact(t.dtype) else x for x, t in zip(ts, at.out_types)])
    return at.value, push, *at.aux


@filtered
def linear_transpose(fun: Callable, *primals: Any, reduce_axes: Sequence = ()) -> Callable:
    """The transpose of a linear function: cotangent of its output -> tuple of cotangents of its arguments.

    primals give shapes and dtypes only (arrays or ShapeDtypeStruct).

    >>> import tracejit as tj
    >>> tj.linear_transpose(lambda x: 3. * x, 1.)(2.)
    (Array(6., dtype=float32, weak_type=True),)
    """
    leaves, treedef = tree_flatten(primals)
    out_tree = None

    def flat(*values):
        nonlocal out_tree
        outs, out_tree = tree_flatten(fun(*unflatten(treedef, values)))
        return outs
    types = [type_of(x) for x in leaves]
    graph, captured = trace(flat, types)
    back = transposed_graph(graph, len(captured))

    @filtered
    def transposed(ct):
        ct_leaves, ct_tree = tree_flatten(ct)
        if ct_tree != out_tree:
            raise TreeError(f"cotangent tree does not match function output, expected {out_tree} but got {ct_tree}",
                            source=user_source())
        for x, r in zip(ct_leaves, graph.out_types):
            got = type_of(x)
            if got.shape != r.shape or got.dtype != r.dtype and not is_weak_beside(x, r):
                raise TypeError(f"cotangent type does not match function output, expected {r} but got {got}")
        live = [convert_type(ct, r.strong()) for ct, r in zip(ct_leaves, graph.out_types)]
        return unflatten(treedef, call(back, [*captured, *live]))
    return transposed


def transposed_graph(graph: Graph, n: int) -> Graph:
    """Of a graph that is linear in all params but the first n: those and cotangents of its results -> of its other params."""
    types = graph.in_types[n:]
    if len({is_inexact(t.dtype) for t in [*types, *graph.out_types]}) > 1:
        raise TypeError("linear_transpose only supports [float or complex] -> [float or complex], and integer -> integer "
                        f"functions, but got {[str(t.dtype) for t in types]} -> {[str(t.dtype) for t in graph.out_types]}.")
    parts = split(graph, [False] * n + [True] * len(types))
    if not all(parts.out_linear):
        raise TypeError("linear_transpose: some outputs do not depend on the arguments, so the function is not linear")

    def back(*values):
        residuals = inline(parts.known, values[:n])
        args = residuals + [Linear(t) for t in types]
        cts = transpose_values(parts.linear, args, list(values[n:]))[len(residuals):]
        return [convert_type(Jvp.zeros(t) if ct is None else ct, t) for ct, t in zip(cts, types)]
    return trace_closed(back, [*graph.in_types[:n], *[r.strong() for r in graph.out_types]])


# --- Jacobians -------------------------------------------------------------------------------------------------------

def basis(leaves: Sequence) -> list:
    """For each leaf, a batch of unit vectors in the space of all leaves together."""
    sizes = [type_of(x).size for x in leaves]
    total, start, out = sum(sizes), 0, []
    for x, size in zip(leaves, sizes):
        t = type_of(x)
        eye = lax.eq(lax.broadcasted_iota(np.int32, (total, size), 0),
                     lax.add(lax.broadcasted_iota(np.int32, (total, size), 1), np.int32(start)))
        out.append(lax.reshape(lax.convert_element_type(eye, t.dtype), (total, *t.shape)))
        start += size
    return out


def unstacked(stack, leaves: Sequence, axis: int) -> list:
    """Cut the axis that runs over the elements of all leaves into one array per leaf, with its shape there."""
    out, start, shape = [], 0, stack.shape
    if is_float0(stack):
        return [np.zeros((*shape[:axis], *type_of(x).shape, *shape[axis + 1:]), FLOAT0) for x in leaves]
    for x in leaves:
        t = type_of(x)
        piece = lax.slice_in_dim(stack, start, start + t.size, axis=axis)
        out.append(lax.reshape(piece, (*shape[:axis], *t.shape, *shape[axis + 1:])))
        start += t.size
    return out


def jacfwd(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False) -> Callable:
    """The Jacobian by forward mode, column by column in one batch: efficient for few inputs.

    Each leaf of the output is replaced by the pytree of its derivatives, of shape out.shape + in.shape.
    """
    @filtered
    @wraps(fun)
    def wrapped(*args, **kwargs):
        nums = normalized_argnums(argnums, len(args))
        check_inputs("jacfwd", args, nums, holomorphic, False)
        part, picked = partial_function(fun, args, kwargs, nums)
        leaves, treedef = tree_flatten(picked)
        push = lambda *ts: jvp(part, picked, unflatten(treedef, ts), has_aux=has_aux)[1:]
        tangents, *aux = vmap(push, out_axes=(-1, None) if has_aux else (-1,))(*basis(leaves))
        jac = tree_of_jacobian(tangents, lambda y: unstacked(y, leaves, y.ndim - 1), treedef, argnums)
        return (jac, *aux) if has_aux else jac
    return wrapped


def jacrev(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
           allow_int: bool = False) -> Callable:
    """The Jacobian by reverse mode, row by row in one batch: efficient for few outputs."""
    @filtered
    @wraps(fun)
    def wrapped(*args, **kwargs):
        nums = normalized_argnums(argnums, len(args))
        check_inputs("jacrev", args, nums, holomorphic, allow_int)
        part, picked = partial_function(fun, args, kwargs, nums)
        y, pull, *aux = vjp(part, *picked, has_aux=has_aux)
        y_leaves, y_tree = tree_flatten(y)
        for leaf in y_leaves:
            check_output("jacrev", type_of(leaf).dtype, holomorphic)
        rows = vmap(lambda *cts: pull(unflatten(y_tree, cts)))(*basis(y_leaves))
        row_leaves, in_tree = tree_flatten(rows)
        by_input = [unstacked(r, y_leaves, 0) for r in row_leaves]
        per_output = [unflatten(in_tree, [pieces[k] for pieces in by_input]) for k in range(len(y_leaves))]
        single = isinstance(argnums, (int, np.integer))
        jac = unflatten(y_tree, [j[0] if single else j for j in per_output])
        return (jac, *aux) if has_aux else jac
    return wrapped


def partial_function(fun: Callable, args: tuple, kwargs: dict, nums: tuple[int, ...]):
    def part(*values):
        filled = list(args)
        for i, value in zip(nums, values):
            filled[i] = value
        return fun(*filled, **kwargs)
    return part, tuple(args[i] for i in nums)


def tree_of_jacobian(ys: Any, cut: Callable, treedef, argnums):
    leaves, tree = tree_flatten(ys)
    single = isinstance(argnums, (int, np.integer))
    trees = [unflatten(treedef, cut(y)) for y in leaves]
    return unflatten(tree, [t[0] if single else t for t in trees])


def hessian(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False) -> Callable:
    """Second derivatives: forward mode over reverse mode.

    >>> import tracejit as tj
    >>> tj.hessian(lambda x: x * x * x)(2.)
    Array(12., dtype=float32, weak_type=True)
    """
    return jacfwd(jacrev(fun, argnums, has_aux=has_aux, holomorphic=holomorphic), argnums, has_aux=has_aux,
                  holomorphic=holomorphic)

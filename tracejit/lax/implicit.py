"""Solutions that are differentiated by what they solve, not by how: custom_linear_solve and custom_root.

    A x = b        dx = solve(A, db - dA x),                 ct_b = solve(transpose of A, ct_x)
    f(x, t) = 0    dx = -tangent_solve(df/dx, df/dt dt)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import ShapeError, TreeError, filtered, user_source
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.trace import bind, hooks, inline
from tracejit.ir.types import type_of
from tracejit.lax.control import convert_type, converted, trace_tree, union_of, with_captures
from tracejit.lax.custom import Call
from tracejit.lax.elementwise import neg, sub
from tracejit.lax.kinds import is_linear, op_dataclass
from tracejit.pytree import tree_flatten, unflatten


@op_dataclass
class LinearSolve(Call):
    """graph(*consts, *b) gives x with A x = b, and then other results that have no derivative.

    A is `matvec`, which reads the consts at `places`. `adjoint` solves with the transpose of A; None where no solver was given.
    """
    matvec: Graph
    places: tuple[int, ...]
    adjoint: Graph | None

    @property
    def size(self) -> int:
        return len(self.matvec.results)

    def jvp(self, ctx, primals, tangents):
        n, size = len(primals) - self.size, self.size
        outs = bind(self, *primals)
        t_consts, t_b = [tangents[i] for i in self.places], ctx.instantiate(primals[n:], tangents[n:])
        moving = [t is not None for t in t_consts]
        if any(moving):
            graph, nonzero = ctx.jvp(self.matvec, [*moving, *[False] * size])
            consts = [primals[i] for i in self.places]
            moved = iter(inline(graph, [*consts, *outs[:size], *[t for t in t_consts if t is not None]])[size:])
            t_b = [sub(b, next(moved)) if nz else b for b, nz in zip(t_b, nonzero)]
        return outs, bind(self, *primals[:n], *t_b)[:size] + [None] * (len(outs) - size)

    def split(self, ctx, eqn: Eqn, linear):
        return [], [eqn]

    def transpose(self, ctx, cts, *args):
        n, size = len(args) - self.size, self.size
        if self.adjoint is None:
            raise TypeError("transpose_solve required for backwards mode automatic differentiation of custom_linear_solve, or "
                            "symmetric=True")
        cts = [ctx.zeros(t.strong()) if ct is None else ct for ct, t in zip(cts[:size], self.graph.out_types)]
        vecmat = ctx.transpose(self.matvec, [False] * len(self.places) + [True] * size)
        op = LinearSolve(self.adjoint, vecmat, self.places, self.graph)
        found = bind(op, *args[:n], *cts)[:size]
        return [None] * n + [ct if is_linear(b) else None for ct, b in zip(found, args[n:])]

    def batch(self, ctx, args, batched):
        n = len(args) - self.size
        flags = [*batched[:n], *[True] * self.size]
        lanes = lambda g, flags: ctx.batch(g, flags, [True] * len(g.results))[0]
        matvec = lanes(self.matvec, [*[batched[i] for i in self.places], *flags[n:]])
        op = LinearSolve(lanes(self.graph, flags), matvec, self.places, self.adjoint and lanes(self.adjoint, flags))
        return bind(op, *args[:n], *map(ctx.materialize, args[n:], batched[n:])), True


def places_of(values: Sequence, among: Sequence) -> tuple[int, ...]:
    where = {id(x): i for i, x in enumerate(among)}
    return tuple(where[id(x)] for x in values)


def solver_of(what: str, like: str, solve: Callable, tree: Any, types: Sequence) -> tuple[Graph, list, Any]:
    """A traced solver of a tree of these types, called `like` by the user, whose result must be such a tree."""
    graph, captured, out_tree = trace_tree(solve, (tree,), types)
    structure = tree_flatten(tree)[1]
    shapes = [t.shape for t in graph.out_types[:len(types)]]
    if out_tree != structure:
        raise TreeError(f"{what}() output pytree structure must match {like}, got {out_tree} and {structure}.",
                        source=user_source())
    if shapes != [t.shape for t in types]:
        raise ShapeError(f"{what}() output shapes must match {like}, got {shapes} and {[t.shape for t in types]}",
                         source=user_source())
    return converted(graph, types), captured, out_tree


@filtered
def custom_linear_solve(matvec: Callable, b: Any, solve: Callable, transpose_solve: Callable | None = None,
                        symmetric: bool = False, has_aux: bool = False) -> Any:
    """x with matvec(x) = b, found by solve(matvec, b) and differentiated as the solution, however it was found.

    b is a tree of arrays, matvec a linear function from such trees to such trees. With has_aux, solve returns
    (x, more), and so does this. Reverse mode calls transpose_solve(transpose of matvec, ct); for symmetric maps, solve.

    >>> from tracejit import lax
    >>> print(custom_linear_solve(lambda x: lax.mul(x, 4.0), 2.0, lambda matvec, b: lax.div(b, 4.0)))
    0.5
    """
    leaves, structure = tree_flatten(b)
    types = [type_of(x).strong() for x in leaves]
    whole = lambda f: (lambda right: f(right)[0]) if has_aux else f
    mat_graph, mat_captured, _ = solver_of("matvec", "b", matvec, b, types)
    run = lambda right: solve(matvec, right)
    graph, captured, _ = solver_of("solve", "b", whole(run), b, types)
    aux_tree = None
    if has_aux:
        graph, captured, aux_tree = trace_tree(run, (b,), types)
    adjoint, adjoint_captured = None, []
    if symmetric or transpose_solve is not None:
        transposed = mat_graph if symmetric else hooks.transpose_graph(mat_graph, [False] * len(mat_captured) + [True] * len(types))

        def vecmat(ct):
            cts = [convert_type(x, t) for x, t in zip(tree_flatten(ct)[0], types)]
            return unflatten(structure, inline(transposed, [*mat_captured, *cts]))
        back = lambda ct: (solve if transpose_solve is None else transpose_solve)(vecmat, ct)
        adjoint, adjoint_captured, _ = solver_of("transpose_solve", "b", whole(back), b, types)
    consts = union_of(mat_captured, captured, adjoint_captured)
    op = LinearSolve(with_captures(graph, captured, consts), mat_graph, places_of(mat_captured, consts),
                     adjoint and with_captures(adjoint, adjoint_captured, consts))
    outs = bind(op, *consts, *map(convert_type, leaves, types))
    return unflatten(aux_tree if has_aux else structure, outs)


# --- roots of nonlinear functions --------------------------------------------------------------------------

@op_dataclass
class Root(Call):
    """graph(*consts, *guess) gives x with f(x) = 0, and then other results that have no derivative.

    f reads the consts at `places`. `tangent` (consts, x, y) solves J z = y, J being f's derivative at x; the message of an
    error where that could not be traced, which matters to derivatives only.
    """
    f: Graph
    places: tuple[int, ...]
    tangent: Graph | str

    @property
    def size(self) -> int:
        return len(self.f.results)

    def jvp(self, ctx, primals, tangents):
        n, size, outs = len(primals) - self.size, self.size, bind(self, *primals)
        x, t_consts = outs[:size], [tangents[i] for i in self.places]
        moving, consts = [t is not None for t in t_consts], [primals[i] for i in self.places]
        if not any(moving):
            return outs, [None] * len(outs)
        if isinstance(self.tangent, str):
            raise TypeError(f"custom_root has no derivative, as tangent_solve raised {self.tangent}")
        graph, _ = ctx.jvp(self.f, [*moving, *[False] * size], [True] * size)
        pushed = inline(graph, [*consts, *x, *[t for t in t_consts if t is not None]])[size:]
        solved = inline(self.tangent, [*primals[:n], *x, *pushed])
        return outs, [neg(t) for t in solved] + [None] * (len(outs) - size)

    def batch(self, ctx, args, batched):
        n, size = len(args) - self.size, self.size
        lanes = lambda g, flags: ctx.batch(g, flags, [True] * len(g.results))[0]
        own = [*[batched[i] for i in self.places], *[True] * size]
        tangent = self.tangent if isinstance(self.tangent, str) else lanes(self.tangent, [*batched[:n], *[True] * (2 * size)])
        op = Root(lanes(self.graph, [*batched[:n], *[True] * size]), lanes(self.f, own), self.places, tangent)
        return bind(op, *args[:n], *map(ctx.materialize, args[n:], batched[n:])), True


@filtered
def custom_root(f: Callable, initial_guess: Any, solve: Callable, tangent_solve: Callable,
                has_aux: bool = False) -> Any:
    """x with f(x) = 0, found by solve(f, initial_guess) and differentiated by the implicit function theorem.

    tangent_solve(g, y) solves g(z) = y for the linear g, f's derivative at x; for reverse mode it must be linear in y,
    as custom_linear_solve is. With has_aux, solve returns (x, more), and so does this. The guess has no derivative.

    >>> from tracejit import lax
    >>> newton = lambda f, x: lax.fori_loop(0, 20, lambda i, x: lax.mul(0.5, lax.add(x, lax.div(2.0, x))), x)
    >>> print(custom_root(lambda x: lax.sub(lax.mul(x, x), 2.0), 1.0, newton, lambda g, y: lax.div(y, g(1.0))))
    1.4142135
    """
    leaves, structure = tree_flatten(initial_guess)
    types = [type_of(x).strong() for x in leaves]
    f_graph, f_captured, _ = solver_of("f", "initial_guess", f, initial_guess, types)
    run = lambda guess: solve(f, guess)
    graph, captured, out_tree = trace_tree(run, (initial_guess,), types) if has_aux else \
        solver_of("solve", "initial_guess", run, initial_guess, types)
    tangent, t_captured = traced_tangent(tangent_solve, f_graph, f_captured, initial_guess, types)
    consts = union_of(f_captured, captured, t_captured)
    op = Root(with_captures(graph, captured, consts), f_graph, places_of(f_captured, consts),
              tangent if isinstance(tangent, str) else with_captures(tangent, t_captured, consts))
    return unflatten(out_tree, bind(op, *consts, *map(convert_type, leaves, types)))


def traced_tangent(solve: Callable, f: Graph, captured: Sequence, guess: Any, types: Sequence) -> tuple[Graph | str, list]:
    """(x, y) -> z with J z = y, J being f's derivative at x, and what it captures; the message of an error in it."""
    structure = tree_flatten(guess)[1]

    def tangent(x, y):
        jvp = hooks.jvp_graph(f, (False,) * len(captured) + (True,) * len(types), (True,) * len(types))[0]

        def g(z):
            zs = [convert_type(v, t) for v, t in zip(tree_flatten(z)[0], types)]
            return unflatten(structure, inline(jvp, [*captured, *tree_flatten(x)[0], *zs])[len(types):])
        return solve(g, y)
    try:
        graph, found, _ = trace_tree(tangent, (guess, guess), types * 2)
    except Exception as error:
        return f"{type(error).__name__}: {error}", []
    return converted(graph, types), found

"""Graph -> CompileError where it breaks a rule that every stage may rely on.

A graph is closed, each value is made once and before it is read, and each equation's outputs have the types that its
op infers from its inputs. Weakness of types only matters while a function is traced, and is not compared.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracejit.errors import CompileError
from tracejit.ir.graph import Eqn, Graph, Lit, Var, evaluate, fields_of, subgraphs
from tracejit.ir.types import TapeType, is_inexact


def verify(graph: Graph) -> Graph:
    """The graph itself; CompileError, which names the equation, if it is not well formed."""
    defined: set[Var] = set()
    for p in graph.params:
        define(p, defined, "as a parameter", None)
    for eqn in graph.eqns:
        verify_eqn(eqn, defined)
    for k, result in enumerate(graph.results):
        check(is_known(result, defined), f"result {k} is not computed by the graph", None)
    return graph


def verify_eqn(eqn: Eqn, defined: set[Var]) -> None:
    name = eqn.op.name
    for k, x in enumerate(eqn.inputs):
        check(is_known(x, defined), f"{name}: operand {k} ({getattr(x, 'type', x)}) is read before it is computed", eqn)
    for _, value in fields_of(eqn.op):
        for sub in subgraphs(value):
            verify(sub)
    types = [x.type for x in eqn.inputs]
    for sub, given in eqn.op.calls(*types):
        check(same(sub.in_types, given), f"{name}: a sub-graph takes {sub.in_types} and is given {given}", eqn)
    wanted = eqn.op.infer(*types)
    wanted, found = list(wanted) if eqn.op.multiple else [wanted], [v.type for v in eqn.outputs]
    check(same(wanted, found), f"{name}: outputs have types {found}, infer gives {wanted}", eqn)
    for v in eqn.outputs:
        define(v, defined, f"by {name}", eqn)


def is_known(x, defined: set[Var]) -> bool:
    return isinstance(x, Lit) or x in defined


def define(v: Var, defined: set[Var], how: str, eqn: Eqn | None) -> None:
    check(v not in defined, f"a value of type {v.type} is made a second time, {how}", eqn)
    defined.add(v)


def same(a: Sequence, b: Sequence) -> bool:
    """Whether types agree up to weakness."""
    return len(a) == len(b) and all(s.strong() is t.strong() for s, t in zip(a, b))


def check(holds: bool, message: str, eqn: Eqn | None) -> None:
    if not holds:
        raise CompileError(message, eqn.source if eqn else None)


def verify_linear(graph: Graph, linear_in: Sequence[bool], known: Sequence | None = None) -> Graph:
    """The graph itself; CompileError if it is not linear in the params marked: f(known, a s + b t) = a f(s) + b f(t).

    What reads a linear value must have a transpose rule; the equation is tried on random numbers, beside the values
    of the other params in `known` (random ones by default).
    """
    verify(graph)
    linear = {p for p, lin in zip(graph.params, linear_in, strict=True) if lin}
    for eqn in graph.eqns:
        if any(isinstance(x, Var) and x in linear for x in eqn.inputs):
            check(eqn.op.has_transpose, f"{eqn.op.name} reads a linear value and has no transpose rule", eqn)
            linear.update(eqn.outputs)
    if graph.effects or any(isinstance(t, TapeType) for t in graph.in_types):
        return graph
    rng = np.random.default_rng(0)
    given = iter(known) if known is not None else (random_array(p.type, rng) for p in graph.params if p not in linear)
    s = [random_array(p.type, rng) if lin else next(given) for p, lin in zip(graph.params, linear_in)]
    t = [random_array(p.type, rng) if lin else x for p, x, lin in zip(graph.params, s, linear_in)]
    mixed = [2 * x - 3 * y if lin else x for x, y, lin in zip(s, t, linear_in)]
    with np.errstate(all="ignore"):
        wanted = [2 * x - 3 * y for x, y in zip(evaluate(graph, s), evaluate(graph, t))]
        found = evaluate(graph, [np.asarray(x, p.type.dtype) for x, p in zip(mixed, graph.params)])
    for k, (a, b) in enumerate(zip(found, wanted)):
        size = 1 + np.max(np.abs(b), initial=0, where=np.isfinite(b))
        check(np.allclose(a, b, rtol=1e-2, atol=1e-2 * size, equal_nan=True), f"result {k} is not linear", None)
    return graph


def random_array(t, rng: np.random.Generator) -> np.ndarray:
    """Numbers of moderate size: what programs are tried on. Integers are small enough to be sizes and places."""
    if t.dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, t.shape) == 1)
    if not is_inexact(t.dtype):
        return np.asarray(rng.integers(0, 3, t.shape), t.dtype)
    x = rng.normal(size=t.shape)
    return np.asarray(x + 1j * rng.normal(size=t.shape) if t.dtype.kind == "c" else x).astype(t.dtype)

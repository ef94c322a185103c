"""Variances of more than a cache holds -> one pass over memory.

    sum((x - spread(sum(x) / n))**2)  ->  squared_deviations(x)

A row (or column) that stays in the cache is passed over twice in less time than once with means that are corrected; one that
does not would be read from memory twice.
"""
from __future__ import annotations

import math

import numpy as np

from tracejit.ir.graph import Atom, Eqn, Graph, Var, replay
from tracejit.ir.loops import APPLY, CONST, LOAD, Expr, Pull, axes_of, index_of, linear
from tracejit.ir.trace import record_eqn, rewrite, sourced
from tracejit.lax.broadcast import ReduceSum
from tracejit.lax.elementwise import Div, IntegerPow, Mul, Square, Sub
from tracejit.lax.kinds import Elementwise, View
from tracejit.lax.moments import squared_deviations

LARGE = 1 << 22         # bytes of an array of which columns are folded
LONG = 1 << 16          # bytes of a row that is folded

Makers = dict[Var, Eqn]


def fold_moments_at_once(graph: Graph) -> Graph:
    """After this, no variance of many elements waits for their mean."""
    made = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
    found = {eqn: x for eqn in graph.eqns if (x := what_varies(made, eqn)) is not None}
    if not found:
        return graph

    def run(*args):
        values = dict(zip(graph.params, args))

        def apply(eqn: Eqn, inputs):
            with sourced(eqn.source):
                outs = [squared_deviations(values[found[eqn]], eqn.op.axes)] if eqn in found else record_eqn(eqn, inputs)
            values.update(zip(eqn.outputs, outs))
            return outs
        return replay(graph, args, apply)
    return rewrite(run, graph.in_types)


def what_varies(made: Makers, eqn: Eqn) -> Var | None:
    """The value of whose large variance this sum is the numerator."""
    if type(eqn.op) is not ReduceSum or not is_large(eqn.inputs[0].type, eqn.op.axes):
        return None
    apart = made.get(root_of(made.get(eqn.inputs[0])))
    if apart is None or type(apart.op) is not Sub:
        return None
    either = (apart.inputs, reversed(apart.inputs))
    return next((x for x, centre in either if is_mean(made, centre, x, eqn.op.axes)), None)


def is_large(t, axes: tuple[int, ...]) -> bool:
    if t.dtype.kind != "f" or t.dtype.itemsize < 4:
        return False
    folded = math.prod(t.shape[a] for a in axes) * t.dtype.itemsize
    last = max((a for a, n in enumerate(t.shape) if n > 1), default=-1)
    return folded > LONG if last in axes else t.nbytes > LARGE


def root_of(square: Eqn | None) -> Atom | None:
    """What an equation squares."""
    if square is None:
        return None
    op, x = square.op, square.inputs[0]
    is_square = type(op) is Square or type(op) is IntegerPow and op.y == 2 or type(op) is Mul and square.inputs[1] is x
    return x if is_square else None


def is_mean(made: Makers, centre: Atom, x: Atom, axes: tuple[int, ...]) -> bool:
    """Whether each element of a value is the mean of x over these axes, at its place along the others."""
    if not isinstance(centre, Var) or not isinstance(x, Var):
        return False
    place = index_of(axes_of(x.type.shape))
    kept = tuple(i for a, i in enumerate(place) if a not in axes)

    def leaf(var: Var, index: tuple) -> Expr | None:
        is_pulled = var in made and isinstance(made[var].op, (View, Elementwise))
        return None if is_pulled else pull.load(var, index)
    pull = Pull(leaf, made)
    mean = pull.value(centre, place)
    if mean.kind != APPLY or type(mean.data) not in (Div, Mul) or mean.args[0].kind != LOAD or mean.args[1].kind != CONST:
        return False
    total, offset, _ = mean.args[0].data
    raw, dtype = mean.args[1].data
    n = math.prod(x.type.shape[a] for a in axes)
    return total in made and made[total].op == ReduceSum(axes) and made[total].inputs[0] is x and \
        offset == linear(kept, total.type.shape) and \
        np.frombuffer(raw, dtype)[0] == dtype.type(n if type(mean.data) is Div else 1 / n)

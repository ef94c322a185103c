"""Differentiation: forward mode by the ops' jvp rules, reverse mode as jvp -> split -> transpose.

    graph(x) -> y                    a program
    jvp      (x, dx) -> (y, dy)      replayed with each op's jvp rule
    split    known: x -> (y, r)      what does not depend on dx, with the residuals r that the rest reads,
             linear: (r, dx) -> dy   and the rest, which is linear in dx
    transpose (r, ct_y) -> ct_x      the linear part walked backwards

All values here may be traced, so a derivative is again an ordinary program.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Var, live_eqns, replay
from tracejit.ir.trace import hooks, inline, record_eqn, sourced, trace_closed
from tracejit.ir.types import ArrayType, TapeType, type_of
from tracejit.lax.kinds import Linear
from tracejit.transforms.answers import Answers


# --- forward mode ------------------------------------------------------------------------------------------

class Jvp:
    """What jvp rules may ask for."""

    def __init__(self):
        self.answers = Answers()

    @staticmethod
    def zeros(t: ArrayType):
        return lax.full(t.shape, 0, t.dtype)

    def instantiate(self, primals, tangents) -> list:
        return [self.zeros(type_of(p)) if t is None else t for p, t in zip(primals, tangents)]

    @staticmethod
    def scale(t, partial):
        """t * partial, where the partial may be the Python number 1 or -1."""
        if partial.__class__ is int:
            return t if partial == 1 else lax.neg(t)
        dtype = type_of(t).dtype    # the partial of a weak 16-bit value may be a wider one
        return lax.mul(t, partial if type_of(partial).dtype == dtype else lax.convert_element_type(partial, dtype))

    @staticmethod
    def sum(terms, t: ArrayType):
        """The sum of tangent terms, at the result's shape (a zero-dimensional operand's term is repeated)."""
        total = terms[0]
        for term in terms[1:]:
            total = lax.add(total, term)
        return total if type_of(total).shape == t.shape else lax.broadcast_in_dim(total, t.shape, ())

    def jvp(self, graph: Graph, nonzero: Sequence[bool], force: Sequence[bool] | None = None) -> tuple[Graph, list[bool]]:
        """(params, tangents of the nonzero ones) -> (results, tangents of the nonzero ones)."""
        question = tuple(nonzero), None if force is None else tuple(force)
        derivative, out_nonzero = self.answers.to(graph, question, lambda: jvp_graph(graph, *question, self))
        return derivative, list(out_nonzero)


def jvp_values(graph: Graph, primals: Sequence, tangents: Sequence, ctx: Jvp) -> tuple[list, list]:
    """Run a graph on values and tangents (None: zero)."""
    def apply(eqn: Eqn, inputs):
        pairs = [x if x.__class__ is tuple else (x, None) for x in inputs]
        xs, ts = [x for x, _ in pairs], [t for _, t in pairs]
        if all(t is None for t in ts):
            return [(out, None) for out in record_eqn(eqn, xs)]
        with sourced(eqn.source):
            outs, out_ts = eqn.op.jvp(ctx, xs, ts)
        return list(zip(outs, out_ts, strict=True)) if eqn.op.multiple else [(outs, out_ts)]

    results = replay(graph, list(zip(primals, tangents, strict=True)), apply)
    results = [r if r.__class__ is tuple else (r, None) for r in results]
    return [x for x, _ in results], [t for _, t in results]


def jvp_graph(graph: Graph, nonzero: tuple[bool, ...], force: tuple[bool, ...] | None = None,
              ctx: Jvp | None = None) -> tuple[Graph, list[bool]]:
    out_nonzero: list[bool] = []
    ctx = ctx or Jvp()
    n = len(graph.params)
    tangent_types = [p.type.strong() for p, nz in zip(graph.params, nonzero) if nz]

    def f(*values):
        given = iter(values[n:])
        outs, ts = jvp_values(graph, values[:n], [next(given) if nz else None for nz in nonzero], ctx)
        if force is not None:
            ts = [Jvp.zeros(type_of(x)) if t is None and want else t for x, t, want in zip(outs, ts, force)]
        out_nonzero[:] = [t is not None for t in ts]
        return outs + [t for t in ts if t is not None]

    return trace_closed(f, graph.in_types + tangent_types), out_nonzero


hooks.jvp_graph = jvp_graph


# --- splitting a program into what is known and what is linear --------------------------------------------------

@dataclass
class Split:
    """known: known params -> known results, residuals.   linear: residuals, linear params -> linear results."""
    known: Graph
    linear: Graph
    out_linear: list[bool]
    residuals: list[Var]      # in the original graph's Vars, for rules that pass some residuals by another way


def split(graph: Graph, linear_in: Sequence[bool], force_linear: Sequence[bool] | None = None,
          keep_tapes: bool = True, ctx: SplitContext | None = None) -> Split:
    """Cut a graph that is linear in some params. A known result that is forced linear (a zero) becomes a residual.

    Without `keep_tapes` no residual is a tape: the linear part runs the loops that record them again.
    """
    ctx = ctx or SplitContext()
    linear = {p for p, is_lin in zip(graph.params, linear_in) if is_lin}
    known_eqns: list[Eqn] = []
    linear_eqns: list[Eqn] = []
    for eqn in live_eqns(graph):
        depends = [x.__class__ is Var and x in linear for x in eqn.inputs]
        if not any(depends):
            known_eqns.append(eqn)
        elif eqn.op.multiple and not all(depends):
            known, rest = eqn.op.split(ctx, eqn, depends)
            known_eqns += known
            linear_eqns += rest
            linear.update(v for e in rest for v in e.outputs)
        else:
            linear_eqns.append(eqn)
            linear.update(eqn.outputs)
    out_linear = [r.__class__ is Var and r in linear for r in graph.results]
    if force_linear is not None:
        out_linear = [lin or want for lin, want in zip(out_linear, force_linear)]
    linear_results = [r for r, is_lin in zip(graph.results, out_linear) if is_lin]
    linear_eqns = live_eqns(Graph([], linear_eqns, linear_results))
    reads = [x for e in linear_eqns for x in e.inputs] + linear_results
    residuals = list(dict.fromkeys(x for x in reads if x.__class__ is Var and x not in linear))
    known_results = [r for r, is_lin in zip(graph.results, out_linear) if not is_lin]
    known_params = [p for p in graph.params if p not in linear]
    linear_params = [p for p in graph.params if p in linear]
    if not keep_tapes and any(isinstance(r.type, TapeType) for r in residuals):
        linear_eqns = live_eqns(Graph([], [e for e in known_eqns if not e.op.has_effects] + linear_eqns, linear_results))
        residuals = known_params
    return Split(Graph(known_params, known_eqns, known_results + residuals),
                 Graph(residuals + linear_params, linear_eqns, linear_results), out_linear, residuals)


# --- transposition ------------------------------------------------------------------------------------------------

class Transpose:
    """What transpose rules may ask for."""
    zeros = staticmethod(Jvp.zeros)

    @staticmethod
    def unbroadcast(ct, x):
        """A cotangent for an operand that may have been zero-dimensional; None if the operand is known."""
        if not isinstance(x, Linear):
            return None
        if type_of(ct).ndim and not x.type.ndim:
            return lax.reduce_sum(ct, tuple(range(type_of(ct).ndim)))
        return ct

    @staticmethod
    def transpose(graph: Graph, linear_in: Sequence[bool]) -> Graph:
        """(known params, cotangents of the results) -> cotangents of the linear params (zeros where none)."""
        known = [p.type for p, lin in zip(graph.params, linear_in) if not lin]
        outs = [r.type for r in graph.results]

        def f(*values):
            given = iter(values[:len(known)])
            args = [Linear(p.type) if lin else next(given) for p, lin in zip(graph.params, linear_in)]
            cts = transpose_values(graph, args, list(values[len(known):]))
            return [Jvp.zeros(p.type.strong()) if ct is None else ct
                    for p, ct, lin in zip(graph.params, cts, linear_in) if lin]
        return trace_closed(f, known + [t.strong() for t in outs])


TRANSPOSE = Transpose()
hooks.transpose_graph = TRANSPOSE.transpose


class SplitContext:
    """What split rules may ask for."""

    def __init__(self):
        self.answers = Answers()

    def split(self, graph: Graph, linear_in: Sequence[bool], force_linear: Sequence[bool] | None = None,
              keep_tapes: bool = True) -> Split:
        question = tuple(linear_in), tuple(force_linear or ()), keep_tapes
        return self.answers.to(graph, question, lambda: split(graph, linear_in, force_linear, keep_tapes, self))


def add_cotangents(x, y):
    return y if x is None else x if y is None else lax.add(x, y)


def transpose_values(graph: Graph, args: Sequence, cts: Sequence) -> list:
    """Cotangents of the params given as Linear, from cotangents of the results (None: zero)."""
    values: dict[Var, Any] = dict(zip(graph.params, args, strict=True))
    read = lambda x: values[x] if x.__class__ is Var else x
    linear_eqns = []
    for eqn in graph.eqns:  # what depends on no linear param is computed forwards first
        inputs = [read(x) for x in eqn.inputs]
        if any(isinstance(x, Linear) for x in inputs):
            linear_eqns.append(eqn)
            values.update((v, Linear(v.type)) for v in eqn.outputs)
        else:
            values.update(zip(eqn.outputs, record_eqn(eqn, inputs)))
    cotangents: dict[Var, Any] = {}
    for result, ct in zip(graph.results, cts, strict=True):
        if result.__class__ is Var and ct is not None:
            cotangents[result] = add_cotangents(cotangents.get(result), ct)
    for eqn in reversed(linear_eqns):
        out_cts = [cotangents.pop(v, None) for v in eqn.outputs]
        if all(ct is None for ct in out_cts):
            continue
        with sourced(eqn.source):
            in_cts = eqn.op.transpose(TRANSPOSE, out_cts if eqn.op.multiple else out_cts[0],
                                      *[read(x) for x in eqn.inputs])
        for x, ct in zip(eqn.inputs, in_cts, strict=True):
            if ct is not None and x.__class__ is Var and isinstance(read(x), Linear):
                cotangents[x] = add_cotangents(cotangents.get(x), ct)
    return [cotangents.get(p) for p in graph.params]


# --- reverse mode ---------------------------------------------------------------------------------------------------

@dataclass
class Linearized:
    """A program split at its inputs: run `known` on them, then `linear` or its transpose as often as wanted."""
    known: Graph               # params -> results, residuals
    linear: Graph              # residuals, tangents of the wanted params -> tangents of the nonzero results
    out_nonzero: list[bool]
    wanted: list[bool]         # params with respect to which it was linearized
    pullback_graph: Graph | None = None   # made when first asked for

    @property
    def n_results(self) -> int:
        return len(self.out_nonzero)

    @property
    def n_residuals(self) -> int:
        return len(self.linear.params) - sum(self.wanted)

    def of_first_results(self, k: int) -> Linearized:
        """The derivative of the first k results only."""
        live = sum(self.out_nonzero[:k])
        linear = Graph(self.linear.params, self.linear.eqns, self.linear.results[:live])
        return Linearized(self.known, linear, self.out_nonzero[:k], self.wanted)

    def pullback(self, residuals: Sequence, cts: Sequence) -> list:
        """Cotangents of the wanted params (None: zero) from those of all results."""
        n = len(residuals)
        args = [*residuals, *[Linear(p.type) for p in self.linear.params[n:]]]
        return transpose_values(self.linear, args, [ct for ct, nz in zip(cts, self.out_nonzero) if nz])[n:]


def linearize_graph(graph: Graph, wanted: Sequence[bool]) -> Linearized:
    jvp, out_nonzero = jvp_graph(graph, tuple(wanted), None)
    n = len(graph.params)
    parts = split(jvp, [False] * n + [True] * (len(jvp.params) - n))
    # a tangent that turned out not to depend on the inputs' tangents is a constant zero
    flags = iter(parts.out_linear[len(graph.results):])
    nonzero = [nz and next(flags) for nz in out_nonzero]
    n_known = len(graph.results)
    extra = sum(out_nonzero) - sum(nonzero)
    known = parts.known
    if extra:
        known = Graph(known.params, known.eqns, known.results[:n_known] + known.results[n_known + extra:])
    return Linearized(known, parts.linear, nonzero, list(wanted))


def self_contained(lin: Linearized) -> Linearized:
    """The same derivative for use outside of the program: tapes cannot leave it, so their loops are run again."""
    residuals = lin.linear.params[:lin.n_residuals]
    if not any(isinstance(r.type, TapeType) for r in residuals):
        return lin
    known = lin.known
    again = dict(zip(residuals, known.results[lin.n_results:]))  # residual params of `linear` by their values in `known`
    eqns = [Eqn(e.op, [again.get(x, x) if x.__class__ is Var else x for x in e.inputs], e.outputs, e.source)
            for e in lin.linear.eqns]
    results = [again.get(r, r) if r.__class__ is Var else r for r in lin.linear.results]
    linear = Graph(known.params + lin.linear.params[lin.n_residuals:], known.eqns + eqns, results)
    first = Graph(known.params, known.eqns, known.results[:lin.n_results] + known.params)
    return Linearized(first, linear, lin.out_nonzero, lin.wanted)


def vjp_values(graph: Graph, args: Sequence, wanted: Sequence[bool]):
    """(results, pullback) where pullback(cts of the results) -> cts of the wanted args (None: zero)."""
    lin = linearize_graph(graph, wanted)
    outs = inline(lin.known, args)
    residuals = outs[lin.n_results:]
    return outs[:lin.n_results], lambda cts: lin.pullback(residuals, cts)

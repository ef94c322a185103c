"""Functions with rules of their own: custom_jvp, custom_vjp, checkpoint. Inlined when a program is compiled."""
from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import UnexpectedTracerError, user_source
from tracejit.ir.graph import Eqn, Graph, Lit, Var, evaluate
from tracejit.ir.trace import bind, hooks, inline, sourced, trace_closed
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.kinds import Op, Opaque, View, is_linear, op_dataclass
from tracejit.lax.reduce import reduce_sum


@op_dataclass
class Call(Op):
    """Runs a sub-graph; what it is compiled to is the sub-graph itself."""
    multiple: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    graph: Graph

    @property
    def has_effects(self) -> bool:
        return self.graph.effects

    def infer(self, *types): return tuple(self.graph.out_types)
    def calls(self, *types): return [(self.graph, list(types))]
    def eval(self, *args): return evaluate(self.graph, args)

    def jvp(self, ctx, primals, tangents):
        graph, out_nonzero = ctx.jvp(self.graph, [t is not None for t in tangents])
        outs = bind(replace(self, graph=graph), *primals, *[t for t in tangents if t is not None])
        n = len(out_nonzero)
        ts = iter(outs[n:])
        return outs[:n], [next(ts) if nz else None for nz in out_nonzero]

    def split(self, ctx, eqn: Eqn, linear):
        """A call of its known part, and one of its linear part."""
        part = ctx.split(self.graph, linear)
        pick = lambda values, flags, want: [v for v, f in zip(values, flags) if f is want]
        residuals = [Var(r.type) for r in part.residuals]
        known = Eqn(Call(part.known), pick(eqn.inputs, linear, False), pick(eqn.outputs, part.out_linear, False) + residuals,
                    eqn.source)
        rest = Eqn(Rematerialized(part.linear), residuals + pick(eqn.inputs, linear, True),
                   pick(eqn.outputs, part.out_linear, True), eqn.source)
        return [known], [rest]

    def transpose(self, ctx, cts, *args):
        """A call of the transposed sub-graph."""
        return self.transposed(Call, ctx, cts, args)

    def transposed(self, kind: type[Call], ctx, cts, args):
        linear = [is_linear(x) for x in args]
        cts = [ctx.zeros(t.strong()) if ct is None else ct for ct, t in zip(cts, self.graph.out_types)]
        known = [x for x in args if not is_linear(x)]
        outs = iter(bind(kind(ctx.transpose(self.graph, linear)), *known, *cts))
        return [next(outs) if lin else None for lin in linear]

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched)
        return bind(replace(self, graph=graph), *args), out_batched

    def checked(self, ctx, args):
        """What can fail inside comes out as further results."""
        graph, sites = ctx.checked(self.graph)
        outs, n = bind(self.with_results(graph), *args), len(self.graph.results)
        ctx.add(sites, outs[n:])
        return outs[:n]

    def with_results(self, graph: Graph) -> Call:
        """The same with a graph that has further results, without derivatives, after its own."""
        return replace(self, graph=graph)


class Held:
    """A known array inside a program; the same array is the same object."""
    _interned: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
    _serials = itertools.count()

    def __init__(self, array: Any):
        self.array, self.serial = array, next(self._serials)

    @classmethod
    def of(cls, array: Any) -> Held:
        found = cls._interned.get(id(array))  # an array lives as long as what holds it
        if found is None:
            found = cls._interned.setdefault(id(array), cls(array))
        return found

    def __repr__(self) -> str:
        return f"array#{self.serial}"


@op_dataclass
class Constant(Opaque):
    """A known array, written into the program: what a custom rule reads besides its arguments."""
    moves: ClassVar[bool] = True
    value: Held

    def infer(self): return self.value.array.type
    def eval(self): return np.asarray(self.value.array)

    def call(self, b, ins, outs, types):
        x = np.asarray(self.value.array)
        if x.size:
            b.emitter.copy(outs[0], b.module.table(x.reshape(-1)), x.nbytes)


def constant(x: Any, var: Var) -> Eqn:
    """The equation that makes a variable a known array; a scalar is a literal, which fuses."""
    if type_of(x).ndim:
        return Eqn(Constant(Held.of(x)), [], [var])
    return Eqn(Name(""), [Lit(np.asarray(x), type_of(x))], [var])


hooks.constant = constant


@op_dataclass
class Name(View):
    """x itself, under a name that a checkpoint policy can ask for."""
    label: str

    def infer(self, x: ArrayType) -> ArrayType: return x
    def eval(self, x): return x
    def pull(self, b, index, read, types): return read(0, index)
    def transpose(self, ctx, ct, x): return (ct,)
    def batch(self, ctx, args, batched): return bind(self, *args), batched[0]


@op_dataclass
class CustomJvp(Call):
    """graph(*consts, *args), whose tangents come from rule(consts, args, tangents) -> (outputs, tangents), flat.

    `consts` are what the function had captured, and after that what only the rule had (`n_unread` values); the rule gives
    no derivative with respect to them. A tangent is None where it is zero.
    """
    rule: Callable
    n_consts: int = 0
    n_unread: int = 0

    def jvp(self, ctx, primals, tangents):
        n = self.n_consts
        check_consts("custom_jvp", tangents[:n - self.n_unread])
        if all(t is None for t in tangents[n:]):
            return bind(self, *primals), [None] * len(self.graph.results)
        with sourced(None):
            return self.rule(primals[:n], primals[n:], tangents[n:])

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched, [True] * len(self.graph.results))
        n, types = self.n_consts, self.graph.in_types

        def rule(consts, primals, tangents):
            moving = [t is not None for t in tangents]
            nonzero: list[bool] = []

            def both(*v):
                given = iter(v[len(types):])
                outs, ts = self.rule(v[:n], v[n:len(types)], [next(given) if m else None for m in moving])
                nonzero[:] = [t is not None for t in ts]
                return [*outs, *[t for t in ts if t is not None]]
            strong = [t.strong() for t, m in zip(types[n:], moving) if m]
            one = trace_closed(both, types + strong)
            flags = [*batched, *[b for b, m in zip(batched[n:], moving) if m]]
            lanes, _ = ctx.batch(one, flags, [True] * len(one.results))
            outs = inline(lanes, [*consts, *primals, *[t for t in tangents if t is not None]])
            ts = iter(outs[len(nonzero):])
            return outs[:len(nonzero)], [next(ts) if nz else None for nz in nonzero]
        return bind(replace(self, graph=graph, rule=rule), *args), out_batched


    def with_results(self, graph: Graph) -> CustomJvp:
        n = len(self.graph.results)

        def rule(consts, primals, tangents):
            outs, ts = self.rule(consts, primals, tangents)
            more = inline(graph, [*consts, *primals])[n:]
            return [*outs, *more], [*ts, *[None] * len(more)]
        return replace(self, graph=graph, rule=rule)


def check_consts(what: str, tangents) -> None:
    if any(t is not None for t in tangents):
        raise UnexpectedTracerError(f"{what}: the function is differentiated with respect to a value that it closes over, "
                                    "for which its rule says nothing", source=user_source(),
                                    fix="make that value an argument of the function")


@op_dataclass
class CustomVjp(Call):
    """graph(*consts, *args), whose reverse mode is fwd(consts, args, perturbed) -> (outputs, residuals, bwd) and
    bwd(residuals, cts) -> cts of args."""
    fwd: Callable
    n_consts: int = 0
    n_unread: int = 0

    def jvp(self, ctx, primals, tangents):
        n = self.n_consts
        check_consts("custom_vjp", tangents[:n - self.n_unread])
        args, moving = primals[n:], [t is not None for t in tangents[n:]]
        if not any(moving):
            return bind(self, *primals), [None] * len(self.graph.results)
        with sourced(None):
            outs, residuals, bwd = self.fwd(primals[:n], args, moving)
        live = [x for x, m in zip(args, moving) if m]
        op = Pullback(tuple(type_of(x).strong() for x in live), tuple(type_of(y).strong() for y in outs), len(residuals),
                      bwd if all(moving) else only(bwd, tuple(moving)))
        return outs, bind(op, *residuals, *[t for t in tangents[n:] if t is not None])

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched, [True] * len(self.graph.results))
        n, n_out, types = self.n_consts, len(self.graph.results), self.graph.in_types

        def fwd(consts, primals, moving):
            found = []

            def flat(*v):
                outs, residuals, bwd = self.fwd(v[:n], v[n:], moving)
                found[:] = [bwd]
                return [*outs, *residuals]
            both = trace_closed(flat, types)
            lanes, _ = ctx.batch(both, batched, [True] * len(both.results))
            outs = inline(lanes, [*consts, *primals])
            return outs[:n_out], outs[n_out:], sum_unbatched(batched_bwd(ctx, found[0], n_out), batched[n:])
        return bind(replace(self, graph=graph, fwd=fwd), *args), out_batched


    def with_results(self, graph: Graph) -> CustomVjp:
        n = len(self.graph.results)

        def fwd(consts, primals, moving):
            outs, residuals, bwd = self.fwd(consts, primals, moving)
            more = inline(graph, [*consts, *primals])[n:]
            return [*outs, *more], residuals, lambda residuals, cts: bwd(residuals, cts[:n])
        return replace(self, graph=graph, fwd=fwd)


def only(bwd: Callable, moving: tuple[bool, ...]) -> Callable:
    """bwd, of which only some cotangents are asked for."""
    return lambda residuals, cts: [ct for ct, m in zip(bwd(residuals, cts), moving) if m]


def batched_bwd(ctx, bwd: Callable, n_out: int) -> Callable:
    """bwd over lanes: every residual and cotangent is batched."""
    def lanes_bwd(residuals, cts):
        lane = lambda x: type_of(x).update(shape=type_of(x).shape[1:])
        n, given = len(residuals), [ct for ct in cts if ct is not None]
        present: list[bool] = []

        def flat(*v):
            rest = iter(v[n:])
            outs = bwd(v[:n], [None if ct is None else next(rest) for ct in cts])
            present[:] = [ct is not None for ct in outs]
            return [ct for ct in outs if ct is not None]
        one = trace_closed(flat, [lane(x) for x in (*residuals, *given)])
        lanes, _ = ctx.batch(one, [True] * len(one.params), [True] * len(one.results))
        found = iter(inline(lanes, [*residuals, *given]))
        return [next(found) if there else None for there in present]
    return lanes_bwd


def sum_unbatched(bwd: Callable, batched) -> Callable:
    """Cotangents of arguments that all lanes share are summed over the lanes."""
    def summed(residuals, cts):
        return [ct if b or ct is None else reduce_sum(ct, (0,)) for ct, b in zip(bwd(residuals, cts), batched)]
    return summed


@op_dataclass
class Pullback(Op):
    """The linear map of which only the transpose is given: a custom_vjp's derivative."""
    moves: ClassVar[bool] = True
    multiple: ClassVar[bool] = True
    in_types: tuple
    out_types: tuple
    n_residuals: int
    bwd: Callable

    def infer(self, *types): return self.out_types

    def split(self, ctx, eqn: Eqn, linear):
        return [], [eqn]

    def eval(self, *args): raise forward_mode_error()
    def jvp(self, ctx, primals, tangents): raise forward_mode_error()
    def call(self, b, ins, outs, types): raise forward_mode_error()

    def transpose(self, ctx, cts, *args):
        n = self.n_residuals
        with sourced(None):
            in_cts = self.bwd(args[:n], cts)
        return [None] * n + [ct if is_linear(x) else None for ct, x in zip(in_cts, args[n:])]

    def batch(self, ctx, args, batched):
        everything = [ctx.materialize(x, b) for x, b in zip(args, batched)]
        lanes = lambda types: tuple(ctx.lanes_of(t) for t in types)
        op = Pullback(lanes(self.in_types), lanes(self.out_types), self.n_residuals,
                      batched_bwd(ctx, self.bwd, len(self.out_types)))
        return bind(op, *everything), True


@op_dataclass
class LinearCall(Call):
    """graph(*residuals, *xs), linear in the xs, whose transpose is the call of `back`(*residuals, *cotangents)."""
    back: Graph
    n_residuals: int

    def jvp(self, ctx, primals, tangents):
        n = self.n_residuals
        check_consts("linear_call", tangents[:n])
        outs, ts = bind(self, *primals), tangents[n:]
        if all(t is None for t in ts):
            return outs, [None] * len(outs)
        given = [ctx.zeros(type_of(x).strong()) if t is None else t for x, t in zip(primals[n:], ts)]
        return outs, bind(self, *primals[:n], *given)

    def split(self, ctx, eqn: Eqn, linear):
        return [], [eqn]

    def transpose(self, ctx, cts, *args):
        n = self.n_residuals
        cts = [ctx.zeros(t.strong()) if ct is None else ct for ct, t in zip(cts, self.graph.out_types)]
        in_cts = bind(LinearCall(self.back, self.graph, n), *args[:n], *cts)
        return [None] * n + [ct if is_linear(x) else None for ct, x in zip(in_cts, args[n:])]

    def batch(self, ctx, args, batched):
        lanes = lambda graph: ctx.batch(graph, [True] * len(graph.params), [True] * len(graph.results))[0]
        everything = [ctx.materialize(x, b) for x, b in zip(args, batched)]
        return bind(LinearCall(lanes(self.graph), lanes(self.back), self.n_residuals), *everything), True

    def with_results(self, graph: Graph) -> Call:
        return Call(graph)


def forward_mode_error() -> TypeError:
    return TypeError("can't apply forward-mode autodiff (jvp) to a custom_vjp function. "
                     "It has only a reverse rule: use reverse mode, or give the function a custom_jvp rule.")


@op_dataclass
class Checkpoint(Call):
    """graph(*args), whose reverse mode keeps only the arguments (and what the policy names) and computes the rest again."""
    policy: Callable | None = None      # equation -> whether its outputs are kept

    def split(self, ctx, eqn: Eqn, linear):
        part = ctx.split(self.graph, linear)
        n = len(self.graph.results) - sum(part.out_linear)
        saved, again = saved_and_recomputed(part, n, self.policy)
        pick = lambda values, want: [v for v, lin in zip(values, linear) if lin is want]
        known_outs = [v for v, lin in zip(eqn.outputs, part.out_linear) if not lin]
        linear_outs = [v for v, lin in zip(eqn.outputs, part.out_linear) if lin]
        kept = [Var(v.type) for v in saved]
        first = Graph(part.known.params, part.known.eqns, part.known.results[:n] + saved)
        n_res = len(part.residuals)
        second = Graph(saved + [p for p in again.params] + part.linear.params[n_res:],
                       again.eqns + part.linear.eqns, part.linear.results)
        return ([Eqn(Call(first), pick(eqn.inputs, False), known_outs + kept, eqn.source)],
                [Eqn(Rematerialized(second), kept + pick(eqn.inputs, False) + pick(eqn.inputs, True), linear_outs,
                     eqn.source)])


def saved_and_recomputed(part, n_known: int, policy) -> tuple[list[Var], Graph]:
    """The values that the policy keeps, and the known part as recomputed from them and the params."""
    wanted = set(part.known.results[n_known:])
    saved = [v for eqn in part.known.eqns if policy is not None and policy(eqn) for v in eqn.outputs]
    kept = set(saved)
    needed, eqns = wanted - kept, []
    for eqn in reversed(part.known.eqns):
        if any(v in needed for v in eqn.outputs) and not any(v in kept for v in eqn.outputs):
            eqns.append(eqn)
            needed.update(x for x in eqn.inputs if isinstance(x, Var) and x not in kept)
    return saved, Graph(part.known.params, eqns[::-1], [])


@op_dataclass
class Rematerialized(Call):
    """The linear part of a checkpointed function, together with what it computes again."""

    def split(self, ctx, eqn: Eqn, linear):
        return [], [eqn]

    def jvp(self, ctx, primals, tangents):
        return Checkpoint(self.graph).jvp(ctx, primals, tangents)

    def transpose(self, ctx, cts, *args):
        return self.transposed(Checkpoint, ctx, cts, args)

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched)
        return bind(Rematerialized(graph), *args), out_batched

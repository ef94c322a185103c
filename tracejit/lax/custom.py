"""Functions with rules of their own: custom_jvp, custom_vjp, checkpoint. Inlined when a program is compiled."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from tracejit.ir.graph import Eqn, Graph, Var, evaluate
from tracejit.ir.trace import bind, inline, trace_closed
from tracejit.ir.types import type_of
from tracejit.lax.kinds import Op, is_linear, op_dataclass
from tracejit.lax.reduce import reduce_sum


@op_dataclass
class Call(Op):
    """Runs a sub-graph; what it is compiled to is the sub-graph itself."""
    multiple: ClassVar[bool] = True
    graph: Graph

    @property
    def has_effects(self) -> bool:
        return self.graph.effects

    def infer(self, *types): return tuple(self.graph.out_types)
    def eval(self, *args): return evaluate(self.graph, args)


@op_dataclass
class CustomJvp(Call):
    """graph(*args), whose tangents come from rule(primals, tangents) -> (outputs, tangents) on flat values."""
    rule: Callable

    def jvp(self, ctx, primals, tangents):
        return self.rule(primals, ctx.instantiate(primals, tangents))

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched, [True] * len(self.graph.results))
        types = self.graph.in_types
        n = len(args)

        def rule(primals, tangents):
            strong = [t.strong() for t in types]
            both = trace_closed(lambda *v: [x for part in self.rule(v[:n], v[n:]) for x in part], types + strong)
            lanes, _ = ctx.batch(both, list(batched) * 2, [True] * len(both.results))
            outs = inline(lanes, [*primals, *tangents])
            return outs[:len(outs) // 2], outs[len(outs) // 2:]
        return bind(CustomJvp(graph, rule), *args), out_batched


@op_dataclass
class CustomVjp(Call):
    """graph(*args), whose reverse mode is fwd(args) -> (outputs, residuals) and bwd(residuals, cts) -> cts."""
    fwd: Callable
    bwd: Callable

    def jvp(self, ctx, primals, tangents):
        outs, residuals = self.fwd(primals)
        op = Pullback(tuple(type_of(x).strong() for x in primals), tuple(type_of(y).strong() for y in outs),
                      len(residuals), self.bwd)
        return outs, bind(op, *residuals, *ctx.instantiate(primals, tangents))

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched, [True] * len(self.graph.results))
        n_out, types = len(self.graph.results), self.graph.in_types

        def fwd(primals):
            both = trace_closed(lambda *v: [x for part in self.fwd(v) for x in part], types)
            lanes, _ = ctx.batch(both, batched, [True] * len(both.results))
            outs = inline(lanes, primals)
            return outs[:n_out], outs[n_out:]
        bwd = batched_bwd(ctx, self.bwd, n_out)
        return bind(CustomVjp(graph, fwd, sum_unbatched(bwd, batched)), *args), out_batched


def batched_bwd(ctx, bwd: Callable, n_out: int) -> Callable:
    """bwd over lanes: every residual and cotangent is batched."""
    def lanes_bwd(residuals, cts):
        lane = lambda x: type_of(x).update(shape=type_of(x).shape[1:])
        n = len(residuals)
        one = trace_closed(lambda *v: bwd(v[:n], v[n:]), [lane(x) for x in (*residuals, *cts)])
        lanes, _ = ctx.batch(one, [True] * len(one.params), [True] * len(one.results))
        return inline(lanes, [*residuals, *cts])
    return lanes_bwd


def sum_unbatched(bwd: Callable, batched) -> Callable:
    """Cotangents of arguments that all lanes share are summed over the lanes."""
    def summed(residuals, cts):
        return [ct if b else reduce_sum(ct, (0,)) for ct, b in zip(bwd(residuals, cts), batched)]
    return summed


@op_dataclass
class Pullback(Op):
    """The linear map of which only the transpose is given: a custom_vjp's derivative."""
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

    def transpose(self, ctx, cts, *args):
        n = self.n_residuals
        cts = [ctx.zeros(t) if ct is None else ct for ct, t in zip(cts, self.out_types)]
        in_cts = self.bwd(args[:n], cts)
        return [None] * n + [ct if is_linear(x) else None for ct, x in zip(in_cts, args[n:])]

    def batch(self, ctx, args, batched):
        everything = [ctx.materialize(x, b) for x, b in zip(args, batched)]
        lanes = lambda types: tuple(ctx.lanes_of(t) for t in types)
        op = Pullback(lanes(self.in_types), lanes(self.out_types), self.n_residuals,
                      batched_bwd(ctx, self.bwd, len(self.out_types)))
        return bind(op, *everything), True


def forward_mode_error() -> TypeError:
    return TypeError("forward mode (jvp, jacfwd, linearize) cannot go through a custom_vjp function: "
                     "it has only a reverse rule. Use reverse mode, or give the function a custom_jvp rule.")


@op_dataclass
class Checkpoint(Call):
    """graph(*args), whose reverse mode keeps only the arguments (and what the policy names) and computes the rest again."""
    policy: Callable | None = None      # equation -> whether its outputs are kept

    def jvp(self, ctx, primals, tangents):
        nonzero = [t is not None for t in tangents]
        graph, out_nonzero = ctx.jvp(self.graph, nonzero)
        outs = bind(replace(self, graph=graph), *primals, *[t for t in tangents if t is not None])
        n = len(out_nonzero)
        ts = iter(outs[n:])
        return outs[:n], [next(ts) if nz else None for nz in out_nonzero]

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

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched)
        return bind(replace(self, graph=graph), *args), out_batched


def saved_and_recomputed(part, n_known: int, policy) -> tuple[list[Var], Graph]:
    """The values that the policy keeps, and the known part as recomputed from them and the params."""
    wanted = set(part.known.results[n_known:])
    saved = [v for eqn in part.known.eqns if policy is not None and policy(eqn) for v in eqn.outputs]
    needed, eqns = wanted - set(saved), []
    for eqn in reversed(part.known.eqns):
        if any(v in needed for v in eqn.outputs) and not any(v in saved for v in eqn.outputs):
            eqns.append(eqn)
            needed.update(x for x in eqn.inputs if isinstance(x, Var) and x not in saved)
    return saved, Graph(part.known.params, eqns[::-1], [])


@op_dataclass
class Rematerialized(Call):
    """The linear part of a checkpointed function, together with what it computes again."""

    def split(self, ctx, eqn: Eqn, linear):
        return [], [eqn]

    def jvp(self, ctx, primals, tangents):
        return Checkpoint(self.graph).jvp(ctx, primals, tangents)

    def transpose(self, ctx, cts, *args):
        linear = [is_linear(x) for x in args]
        cts = [ctx.zeros(t.strong()) if ct is None else ct for ct, t in zip(cts, self.graph.out_types)]
        known = [x for x in args if not is_linear(x)]
        outs = iter(bind(Checkpoint(ctx.transpose(self.graph, linear)), *known, *cts))
        return [next(outs) if lin else None for lin in linear]

    def batch(self, ctx, args, batched):
        graph, out_batched = ctx.batch(self.graph, batched)
        return bind(Rematerialized(graph), *args), out_batched

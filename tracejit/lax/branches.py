"""Cond: one of several sub-graphs, chosen at run time. Lowered to a native branch."""
from __future__ import annotations

import numpy as np

from tracejit.ir.graph import Eqn, Graph, Var, evaluate
from tracejit.ir.trace import bind, inline, trace_closed
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.compare import eq, select
from tracejit.lax.kinds import Control, is_linear, op_dataclass
from tracejit.lax.reduce import reduce_or
from tracejit.lax.shape import full


@op_dataclass
class Cond(Control):
    """branches[index](*operands).

    A zero-dimensional index takes one branch. A vector of indices (what vmap makes of it) chooses per lane:
    branches see whole batches, and the lanes of the results are picked after them. Differentiating branch by
    branch and picking lanes last keeps the nan of a branch that a lane did not take out of its derivative.
    """
    branches: tuple[Graph, ...]

    @property
    def has_effects(self) -> bool:
        return any(g.effects for g in self.branches)

    def infer(self, index, *operands):
        return tuple(self.branches[0].out_types)

    def calls(self, index, *operands):
        return [(g, list(operands)) for g in self.branches]

    def eval(self, index, *operands):
        if np.ndim(index) == 0:
            return evaluate(self.branches[int(index)], operands)
        outs = [evaluate(g, operands) for g in self.branches]
        pick = lambda *ys: np.stack([ys[k][lane] for lane, k in enumerate(index)]) if len(index) else ys[0]
        return [pick(*ys) for ys in zip(*outs)]

    def jvp(self, ctx, primals, tangents):
        index, *operands = primals
        nonzero = [t is not None for t in tangents[1:]]
        some = [ctx.jvp(g, nonzero)[1] for g in self.branches]
        out_nonzero = [any(flags) for flags in zip(*some)]
        branches = tuple(ctx.jvp(g, nonzero, out_nonzero)[0] for g in self.branches)
        outs = bind(Cond(branches), index, *operands, *[t for t in tangents[1:] if t is not None])
        n = len(out_nonzero)
        ts = iter(outs[n:])
        return outs[:n], [next(ts) if nz else None for nz in out_nonzero]

    def split(self, ctx, eqn: Eqn, linear: list[bool]):
        """A known Cond that returns the residuals of every branch (zeros for those not taken), and a linear one."""
        index, operands = eqn.inputs[0], eqn.inputs[1:]
        maybe = [ctx.split(g, linear[1:]).out_linear for g in self.branches]
        out_linear = [any(flags) for flags in zip(*maybe)]
        parts = [ctx.split(g, linear[1:], out_linear, keep_tapes=False) for g in self.branches]
        known_operands = [x for x, lin in zip(operands, linear[1:]) if not lin]
        linear_operands = [x for x, lin in zip(operands, linear[1:]) if lin]
        slots = [v.type.strong() for part in parts for v in part.residuals]
        known, rest, first = [], [], 0
        for part in parts:
            n, n_known = len(part.residuals), len(out_linear) - sum(out_linear)
            known.append(with_slots(part.known, n_known, slots, first))
            rest.append(reading_slots(part.linear, n, slots, first))
            first += n
        residuals = [Var(t) for t in slots]
        known_outs = [v for v, lin in zip(eqn.outputs, out_linear) if not lin]
        linear_outs = [v for v, lin in zip(eqn.outputs, out_linear) if lin]
        return ([Eqn(Cond(tuple(known)), [index, *known_operands], known_outs + residuals, eqn.source)],
                [Eqn(Cond(tuple(rest)), [index, *residuals, *linear_operands], linear_outs, eqn.source)])

    def transpose(self, ctx, cts, index, *operands):
        linear = [is_linear(x) for x in operands]
        branches = tuple(ctx.transpose(g, linear) for g in self.branches)
        known = [x for x in operands if not is_linear(x)]
        cts = [ctx.zeros(t.strong()) if ct is None else ct for ct, t in zip(cts, self.branches[0].out_types)]
        in_cts = iter(bind(Cond(branches), index, *known, *cts))
        return [None, *[next(in_cts) if lin else None for lin in linear]]

    def checked(self, ctx, args):
        """Each branch returns the failures of all, none in the places of the others'."""
        index, *operands = args
        parts = [ctx.checked(g) for g in self.branches]
        n, branches, first = len(self.branches[0].results), [], 0
        if type_of(index).ndim or not any(sites for _, sites in parts):
            return self.checked_apart(ctx, index, operands, parts)
        every = [(sites, graph.out_types[n + 1:]) for graph, sites in parts]
        for graph, sites in parts:
            branches.append(ctx.among(graph, n, sites, first, every))
            first += len(sites)
        outs = bind(Cond(tuple(branches)), *args)
        ctx.add([site for _, sites in parts for site in sites], outs[n:])
        return outs[:n]

    def checked_apart(self, ctx, index, operands, parts):
        """Branches checked beside the choice: where all of them run, a failure counts if some lane takes the branch."""
        n = len(self.branches[0].results)
        branches = tuple(Graph(g.params, g.eqns, g.results[:n]) for g, _ in parts)
        for k, (graph, sites) in enumerate(parts):
            if sites:
                code, *payload = inline(graph, operands)[n:]
                ctx.add(sites, [select(reduce_or(eq(index, k), (0,)), code, -1), *payload])
        return bind(Cond(branches), index, *operands)

    def batch(self, ctx, args, batched):
        index, *operands = args
        if not batched[0]:
            flags = [ctx.batch(g, batched[1:])[1] for g in self.branches]
            out_batched = [any(f) for f in zip(*flags)]
            if type_of(index).ndim:  # already by lane of another vmap: lanes of every operand and result agree
                return self.batch_lanes(ctx, index, operands, batched[1:], False)
            branches = tuple(ctx.batch(g, batched[1:], out_batched)[0] for g in self.branches)
            return bind(Cond(branches), *args), out_batched
        return self.batch_lanes(ctx, index, operands, batched[1:], True)

    def batch_lanes(self, ctx, index, operands, batched, index_batched):
        everything = [True] * len(operands)
        branches = tuple(ctx.batch(g, everything, [True] * len(g.results))[0] for g in self.branches)
        lanes = [ctx.materialize(x, b) for x, b in zip(operands, batched)]
        return bind(Cond(branches), ctx.materialize(index, index_batched), *lanes), [True] * len(branches[0].results)


def with_slots(known: Graph, n_known: int, slots: list[ArrayType], first: int) -> Graph:
    """A branch's known part that returns all branches' residual slots, its own at `first`."""
    mine = known.results[n_known:]
    eqns, results = list(known.eqns), []
    for i, t in enumerate(slots):
        if first <= i < first + len(mine):
            results.append(mine[i - first])
        else:
            zero = trace_closed(lambda: [full(t.shape, 0, t.dtype)], [])
            eqns += zero.eqns
            results += zero.results
    return Graph(known.params, eqns, known.results[:n_known] + results)


def reading_slots(linear: Graph, n: int, slots: list[ArrayType], first: int) -> Graph:
    """A branch's linear part that takes all branches' residual slots and reads its own."""
    params = [linear.params[i - first] if first <= i < first + n else Var(t) for i, t in enumerate(slots)]
    return Graph(params + linear.params[n:], linear.eqns, linear.results)

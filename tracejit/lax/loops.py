"""Scan and While: sub-graphs run again and again. Lowered to native loops of the same executable.

Both carry values from trip to trip. Scan also reads a slice of its xs and writes a slice of its ys on each
trip. A Scan whose trip count is known only at run time (`length=None`) takes the count as its first operand,
and its xs and ys are tapes: stacks that grow while the program runs. Reverse mode of While records what
the derivative needs on such tapes and then scans over them backwards.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

import numpy as np

from tracejit.ir.graph import Eqn, Graph, Lit, Var, evaluate
from tracejit.ir.trace import bind, inline, trace_closed
from tracejit.ir.types import ArrayType, TapeType, type_of
from tracejit.lax.branches import Cond
from tracejit.lax.elementwise import add, convert_element_type, lt, sub
from tracejit.lax.kinds import Control, is_linear, op_dataclass
from tracejit.lax.reduce import reduce_max, reduce_or
from tracejit.lax.shape import full, transpose

COUNT = ArrayType((), np.dtype("int32"))


def slice_type(t):
    return t.element if isinstance(t, TapeType) else ArrayType(t.shape[1:], t.dtype, t.weak_type)


def counters(body: Graph, n_consts: int, inits: Sequence, length: int) -> dict[int, tuple[int, int]]:
    """Carried integers that begin as a literal and change by a literal: which, where each begins, and by how much."""
    made, found = {v: eqn for eqn in body.eqns for v in eqn.outputs}, {}
    for k, (init, param, result) in enumerate(zip(inits, body.params[n_consts:], body.results)):
        step = step_of(param, made.get(result)) if isinstance(result, Var) else None
        if step is None or not isinstance(init, Lit):
            continue
        first, last, limits = int(init.value), int(init.value) + step * length, np.iinfo(param.type.dtype)
        if limits.min <= min(first, last) and max(first, last) <= limits.max:
            found[k] = first, step
    return found


def step_of(param: Var, made: Eqn | None) -> int | None:
    """The constant that is added to an integer param, if that makes this value."""
    if made is None or made.op.name not in ("add", "sub") or param.type.ndim or param.type.dtype.kind not in "iu":
        return None
    x, y = made.inputs
    if made.op.name == "sub":
        return -int(y.value) if x is param and isinstance(y, Lit) else None
    other = y if x is param else x
    return int(other.value) if (x is param or y is param) and isinstance(other, Lit) else None


@op_dataclass
class Scan(Control):
    """carry, ys[i] = body(consts, carry, xs[i]) for i = 0 .. length-1 (from the end if reverse)."""
    body: Graph                # consts, carry, x -> carry, y
    n_consts: int
    n_carry: int
    length: int | None
    reverse: bool = False
    most: int | None = field(default=None, repr=False)     # a bound of the length, where that is known only at run time

    @property
    def has_effects(self) -> bool:
        return self.body.effects

    @property
    def n_lead(self) -> int:
        """Operands before the consts: the run-time trip count, if there is one."""
        return 1 if self.length is None else 0

    @property
    def at_most(self) -> int:
        """A bound of the number of trips."""
        bounds = [n for n in (self.length, self.most) if n is not None]
        return min(bounds, default=np.iinfo(COUNT.dtype).max)

    def parts(self, values) -> tuple[list, list, list, list]:
        """Operands (or flags for them) as count, consts, carry, xs."""
        values = list(values)
        a, b = self.n_lead, self.n_lead + self.n_consts
        return values[:a], values[a:b], values[b:b + self.n_carry], values[b + self.n_carry:]

    def stacked(self, t):
        return TapeType(t) if self.length is None else ArrayType((self.length, *t.shape), t.dtype, t.weak_type)

    def infer(self, *types):
        outs = self.body.out_types
        return (*outs[:self.n_carry], *map(self.stacked, outs[self.n_carry:]))

    def calls(self, *types):
        _, consts, carry, xs = self.parts(types)
        kept = self.body.out_types[:self.n_carry]
        return [(self.body, [*consts, *carry, *map(slice_type, xs)]), (self.body, [*consts, *kept, *map(slice_type, xs)])]

    def eval(self, *args):
        count, consts, carry, xs = self.parts(args)
        n = self.length if self.length is not None else int(count[0])
        ys: list = [None] * n
        for i in reversed(range(n)) if self.reverse else range(n):
            outs = evaluate(self.body, [*consts, *carry, *[x[i] for x in xs]])
            carry, ys[i] = outs[:self.n_carry], outs[self.n_carry:]
        types = self.body.out_types[self.n_carry:]
        stacks = [np.stack(y) for y in zip(*ys)] if n else [np.zeros((0, *t.shape), t.dtype) for t in types]
        return [*carry, *stacks]

    # the carry is nonzero (batched, linear) if it starts so or if the body makes it so: iterate to the fixpoint
    def fixpoint(self, flags, step) -> tuple[list[bool], list[bool]]:
        """flags of carry and ys, from flags of the operands and step(body params' flags) -> body results' flags."""
        _, consts, carry, xs = self.parts(flags)
        while True:
            outs = step(consts + carry + xs)
            grown = [a or b for a, b in zip(carry, outs[:self.n_carry])]
            if grown == carry:
                return carry, outs[self.n_carry:]
            carry = grown

    def jvp(self, ctx, primals, tangents):
        nonzero = [t is not None for t in tangents]
        carry_nz, _ = self.fixpoint(nonzero, lambda flags: ctx.jvp(self.body, flags)[1])
        count, consts, carry, xs = self.parts(primals)
        _, d_consts, d_carry, d_xs = self.parts(tangents)
        flags = [t is not None for t in d_consts] + carry_nz + [t is not None for t in d_xs]
        force = carry_nz + [False] * (len(self.body.results) - self.n_carry)
        body, out_nz = ctx.jvp(self.body, flags, force)
        d_carry = [(ctx.zeros(type_of(c).strong()) if t is None else t) if nz else None
                   for c, t, nz in zip(carry, d_carry, carry_nz)]
        live = lambda ts: [t for t in ts if t is not None]
        op, order = interleaved(self, body, flags, out_nz)
        outs = bind(op, *count, *consts, *live(d_consts), *carry, *live(d_carry), *xs, *live(d_xs))
        return order(outs)

    def split(self, ctx, eqn: Eqn, linear: list[bool]):
        """A known Scan that stacks the residuals of each trip as further ys, and a linear one that reads them as xs."""
        carry_lin, _ = self.fixpoint(linear, lambda flags: ctx.split(self.body, flags).out_linear)
        count, consts, carry, xs = self.parts(eqn.inputs)
        _, consts_lin, _, xs_lin = self.parts(linear)
        force = carry_lin + [False] * (len(self.body.results) - self.n_carry)
        part = ctx.split(self.body, consts_lin + carry_lin + xs_lin, force, keep_tapes=False)
        pick = lambda values, flags, want: [v for v, f in zip(values, flags) if f is want]
        n_known_out = len(part.out_linear) - sum(part.out_linear)
        body_consts = dict(zip(self.body.params[:self.n_consts], consts))
        invariant = [r for r in part.residuals if r in body_consts]  # the same on every trip: passed, not stacked
        varying = [r for r in part.residuals if r not in body_consts]
        # a linear carry that starts as a known value enters the linear scan as one
        known_body = Graph(part.known.params, part.known.eqns, part.known.results[:n_known_out] + varying)
        n_res = len(part.residuals)
        rest = part.linear.params[n_res:]
        n_lin = (sum(consts_lin), sum(carry_lin))
        linear_body = Graph(invariant + rest[:n_lin[0]] + rest[n_lin[0]:sum(n_lin)] + varying + rest[sum(n_lin):],
                            part.linear.eqns, part.linear.results)
        known_op = replace(self, body=known_body, n_consts=self.n_consts - n_lin[0], n_carry=self.n_carry - n_lin[1])
        linear_op = replace(self, body=linear_body, n_consts=len(invariant) + n_lin[0], n_carry=n_lin[1])
        stacks = [Var(self.stacked(r.type.strong())) for r in varying]
        known_outs = pick(eqn.outputs, part.out_linear, False)
        linear_outs = pick(eqn.outputs, part.out_linear, True)
        known = Eqn(known_op, count + pick(consts, consts_lin, False) + pick(carry, carry_lin, False)
                    + pick(xs, xs_lin, False), known_outs + stacks, eqn.source)
        rest = Eqn(linear_op, count + [body_consts[r] for r in invariant] + pick(consts, consts_lin, True)
                   + pick(carry, carry_lin, True) + stacks + pick(xs, xs_lin, True), linear_outs, eqn.source)
        return [known], [rest]

    def transpose(self, ctx, cts, *args):
        """A scan the other way whose carry is the cotangent of the carry, and the sums for the linear consts."""
        count, consts, carry, xs = self.parts(args)
        c_lin, x_lin = [is_linear(c) for c in consts], [is_linear(x) for x in xs]
        known_consts = [c for c in consts if not is_linear(c)]
        known_xs = [x for x in xs if not is_linear(x)]
        body_t = ctx.transpose(self.body, c_lin + [True] * self.n_carry + x_lin)
        const_types = [p.type.strong() for p, lin in zip(self.body.params, c_lin) if lin]
        carry_types = [t.strong() for t in self.body.out_types[:self.n_carry]]
        y_types = [t.strong() for t in self.body.out_types[self.n_carry:]]
        sizes = [len(known_consts), len(const_types), self.n_carry, len(known_xs), len(y_types)]

        def step(*values):
            kc, sums, ct_carry, kx, ct_y = cut(values, sizes)
            outs = inline(body_t, [*kc, *kx, *ct_carry, *ct_y])
            n = len(sums)
            return [add(s, o) for s, o in zip(sums, outs[:n])] + outs[n:]
        x_types = [slice_type(type_of(x)) for x in known_xs]
        body = trace_closed(step, [type_of(c) for c in known_consts] + const_types + carry_types + x_types + y_types)
        op = replace(self, body=body, n_consts=len(known_consts), n_carry=len(const_types) + self.n_carry,
                     reverse=not self.reverse)
        ct_carry = [ctx.zeros(t) if ct is None else ct for ct, t in zip(cts, carry_types)]
        ct_ys = [self.zero_stack(ctx, count, t) if ct is None else ct for ct, t in zip(cts[self.n_carry:], y_types)]
        outs = iter(bind(op, *count, *known_consts, *map(ctx.zeros, const_types), *ct_carry, *known_xs, *ct_ys))
        by = lambda flags: [next(outs) if lin else None for lin in flags]
        return [None] * self.n_lead + by(c_lin) + [ct if is_linear(c) else None
                                                   for ct, c in zip(by([True] * self.n_carry), carry)] + by(x_lin)

    def zero_stack(self, ctx, count, t):
        if self.length is not None:
            return ctx.zeros(self.stacked(t))
        zeros = trace_closed(lambda: [full(t.shape, 0, t.dtype)], [])
        return bind(Scan(zeros, 0, 0, None), *count)[0]

    def batch(self, ctx, args, batched):
        if self.length is None and batched[0]:
            return self.batch_counts(ctx, args, batched)
        carry_b, ys_b = self.fixpoint(batched, lambda flags: ctx.batch(self.body, flags)[1])
        count, consts, carry, xs = self.parts(args)
        _, consts_b, was_b, xs_b = self.parts(batched)
        body, _ = ctx.batch(self.body, consts_b + carry_b + xs_b, carry_b + ys_b)
        carry = [ctx.materialize(c, was) if now else c for c, was, now in zip(carry, was_b, carry_b)]
        xs = [time_first(x) if b else x for x, b in zip(xs, xs_b)]
        outs = bind(replace(self, body=body), *count, *consts, *carry, *xs)
        n = self.n_carry
        return outs[:n] + [time_first(y) if b else y for y, b in zip(outs[n:], ys_b)], carry_b + ys_b

    def checked(self, ctx, args):
        """The failures of the first trip that has some are carried along."""
        graph, sites = ctx.checked(self.body)
        if not sites:
            return bind(replace(self, body=graph), *args)
        count, consts, carry, xs = self.parts(args)
        state = ctx.no_failure(graph.out_types[len(self.body.results) + 1:])
        body = with_state(ctx, graph, self.n_consts, len(self.body.results), [type_of(x) for x in state])
        outs = bind(replace(self, body=body, n_carry=self.n_carry + len(state)), *count, *consts, *state, *carry, *xs)
        ctx.add(sites, outs[:len(state)])
        return outs[len(state):]

    def batch_counts(self, ctx, args, batched):
        """Lanes with trip counts of their own: run to the largest; a lane that has finished keeps its carry."""
        count, consts, carry, xs = self.parts(args)
        last = reduce_max(count[0], (0,))
        n, n_y = self.n_carry, len(self.body.results) - self.n_carry
        idle = trace_closed(lambda *v: [*v[self.n_consts:self.n_consts + n],
                                        *[full(t.shape, 0, t.dtype) for t in self.body.out_types[n:]]],
                            self.body.in_types)
        choice = Cond((idle, self.body))
        everything = [True] * (1 + len(self.body.params))
        first = sub(last, full((), 1, COUNT.dtype)) if self.reverse else full((), 0, COUNT.dtype)

        def step(counts, *values):
            head, i, tail = values[:self.n_consts], values[self.n_consts], values[self.n_consts + 1:]
            active = convert_element_type(lt(ctx.spread(i, False, ()), counts), np.int32)
            outs, _ = choice.batch(ctx, [active, *head, *tail], everything)
            return [add(i, full((), -1 if self.reverse else 1, COUNT.dtype)), *outs]
        lanes = [ctx.lanes_of(p.type) for p in self.body.params]
        body = trace_closed(step, [ctx.lanes_of(COUNT), *lanes[:self.n_consts], COUNT, *lanes[self.n_consts:]])
        op = replace(self, body=body, n_consts=self.n_consts + 1, n_carry=n + 1)
        _, consts_b, carry_b, xs_b = self.parts(batched)
        full_lanes = lambda values, flags: [ctx.materialize(x, b) for x, b in zip(values, flags)]
        if not all(xs_b):
            xs = [x if b else batched_tape(ctx, last, x) for x, b in zip(xs, xs_b)]
        outs = bind(op, last, count[0], *full_lanes(consts, consts_b), first, *full_lanes(carry, carry_b), *xs)
        return outs[1:], [True] * (n + n_y)


def with_state(ctx, graph: Graph, n_consts: int, n_results: int, state: list[ArrayType]) -> Graph:
    """A checked loop body that carries the first failure: consts, state, carry ... -> state, carry ..."""
    def step(*values):
        consts, before, rest = cut(values, [n_consts, len(state), len(graph.params) - n_consts])
        outs = inline(graph, [*consts, *rest])
        return [*ctx.first(before, outs[n_results:]), *outs[:n_results]]
    types = graph.in_types
    return trace_closed(step, types[:n_consts] + state + types[n_consts:])


def batched_tape(ctx, count, tape):
    """A tape whose elements are repeated for every lane."""
    element = type_of(tape).element
    body = trace_closed(lambda x: [ctx.materialize(x, False)], [element])
    return bind(Scan(body, 0, 0, None), count, tape)[0]


def time_first(x):
    """Swap the batch axis and the time axis of a stacked array; a tape is a stack of batches already."""
    t = type_of(x)
    return x if isinstance(t, TapeType) else transpose(x, (1, 0, *range(2, t.ndim)))


def cut(values, sizes) -> list[list]:
    """Consecutive pieces of these sizes."""
    values = iter(values)
    return [[next(values) for _ in range(n)] for n in sizes]


def interleaved(op: Scan, body: Graph, nonzero: list[bool], out_nz: list[bool]):
    """A jvp'd body takes (all values, all tangents); as a scan its tangents must sit beside their values.

    The scan op over the reordered body, and the function that sorts its results into (values, tangents).
    """
    n_in, n_out = len(nonzero), len(out_nz)
    at = iter(range(n_in, len(body.params)))
    tangent_of = [next(at) if nz else None for nz in nonzero]
    groups = [range(op.n_consts), range(op.n_consts, op.n_consts + op.n_carry), range(op.n_consts + op.n_carry, n_in)]
    order = [i for g in groups for i in [*g, *(tangent_of[j] for j in g if tangent_of[j] is not None)]]
    out_at = iter(range(n_out, len(body.results)))
    out_tangent_of = [next(out_at) if nz else None for nz in out_nz]
    out_groups = [range(op.n_carry), range(op.n_carry, n_out)]
    out_order = [i for g in out_groups for i in [*g, *(out_tangent_of[j] for j in g if out_tangent_of[j] is not None)]]
    new_body = Graph([body.params[i] for i in order], body.eqns, [body.results[i] for i in out_order])
    count = lambda g: len(g) + sum(tangent_of[j] is not None for j in g)
    new_op = replace(op, body=new_body, n_consts=count(groups[0]), n_carry=count(groups[1]))

    def sort(outs):
        value = dict(zip(out_order, outs))
        return [value[i] for i in range(n_out)], [None if t is None else value[t] for t in out_tangent_of]
    return new_op, sort


@op_dataclass
class While(Control):
    """carry = body(carry) while cond(carry).

    With `record`, the body's further results are pushed on tapes at each trip, and the results are
    the carry, the number of trips, and the tapes.
    """
    cond: Graph                # cond_consts, carry -> bool
    body: Graph                # body_consts, carry -> carry, recorded values
    n_cond_consts: int
    n_body_consts: int
    record: bool = False
    by_lanes: bool = False     # the condition is whether any lane goes on, and the body leaves lanes that have stopped as they are

    @property
    def has_effects(self) -> bool:
        return self.cond.effects or self.body.effects

    @property
    def n_carry(self) -> int:
        return len(self.body.params) - self.n_body_consts

    def parts(self, values) -> list[list]:
        return cut(values, [self.n_cond_consts, self.n_body_consts, self.n_carry])

    def infer(self, *types):
        outs, n = self.body.out_types, self.n_carry
        return (*outs[:n], *([COUNT, *map(TapeType, outs[n:])] if self.record else []))

    def calls(self, *types):
        cond_consts, consts, carry = self.parts(types)
        kept = self.body.out_types[:self.n_carry]
        return [(g, [*c, *values]) for values in (carry, kept) for g, c in ((self.cond, cond_consts), (self.body, consts))]

    def eval(self, *args):
        cond_consts, consts, carry = self.parts(args)
        records = []
        while evaluate(self.cond, [*cond_consts, *carry])[0]:
            outs = evaluate(self.body, [*consts, *carry])
            carry = outs[:self.n_carry]
            records.append(outs[self.n_carry:])
        if not self.record:
            return carry
        types = self.body.out_types[self.n_carry:]
        tapes = [np.stack(r) for r in zip(*records)] if records else [np.zeros((0, *t.shape), t.dtype) for t in types]
        return [*carry, np.int32(len(records)), *tapes]

    def as_scan(self) -> Scan:
        """The body as a scan body, whose rules the While shares."""
        return Scan(self.body, self.n_body_consts, self.n_carry, None)

    def jvp(self, ctx, primals, tangents):
        cond_consts, consts, carry = self.parts(primals)
        _, d_consts, d_carry = self.parts(tangents)
        scan = self.as_scan()
        nonzero = [False] + [t is not None for t in d_consts + d_carry]
        carry_nz, _ = scan.fixpoint(nonzero, lambda flags: ctx.jvp(self.body, flags)[1])
        flags = [t is not None for t in d_consts] + carry_nz
        body, out_nz = ctx.jvp(self.body, flags, carry_nz + [False] * (len(self.body.results) - self.n_carry))
        d_carry = [(ctx.zeros(type_of(c).strong()) if t is None else t) if nz else None
                   for c, t, nz in zip(carry, d_carry, carry_nz)]
        live = lambda ts: [t for t in ts if t is not None]
        op, sort = interleaved(scan, body, flags, out_nz)
        extra = [Var(type_of(t)) for t in live(d_carry)]  # the condition does not look at tangents
        cond = Graph(self.cond.params + extra, self.cond.eqns, self.cond.results)
        new = While(cond, op.body, self.n_cond_consts, op.n_consts, self.record)
        outs = bind(new, *cond_consts, *consts, *live(d_consts), *carry, *live(d_carry))
        if not self.record:
            return sort(outs)
        n = op.n_carry
        values, ts = sort(outs[:n] + outs[n + 1:])
        return [*values[:self.n_carry], outs[n], *values[self.n_carry:]], [*ts[:self.n_carry], None, *ts[self.n_carry:]]

    def split(self, ctx, eqn: Eqn, linear: list[bool]):
        """The known While records residuals on tapes; the linear part is a Scan over them of as many trips."""
        cond_consts, consts, carry = self.parts(eqn.inputs)
        n, scan = self.n_carry, self.as_scan()
        count = eqn.outputs[n] if self.record else Var(COUNT)
        outs = [*eqn.outputs[:n], *eqn.outputs[n + 1:]]
        as_scan = Eqn(scan, [count, *consts, *carry], outs, eqn.source)
        [known], [rest] = scan.split(ctx, as_scan, [False, *linear[self.n_cond_consts:]])
        op, m = known.op, known.op.n_carry
        flags = scan.fixpoint([False, *linear[self.n_cond_consts:]], lambda f: ctx.split(self.body, f).out_linear)[0]
        kept = [p for p, lin in zip(self.cond.params[self.n_cond_consts:], flags) if not lin]
        cond = Graph(self.cond.params[:self.n_cond_consts] + kept, self.cond.eqns, self.cond.results)
        new = While(cond, op.body, self.n_cond_consts, op.n_consts, True)
        return [Eqn(new, [*cond_consts, *known.inputs[1:]], [*known.outputs[:m], count, *known.outputs[m:]],
                    eqn.source)], [rest]

    def checked(self, ctx, args):
        """The condition is tested once more in each trip, for what can fail in it."""
        (test, test_sites), (graph, sites) = ctx.checked(self.cond), ctx.checked(self.body)
        if not sites and not test_sites:
            return bind(replace(self, cond=test, body=graph), *args)
        cond_consts, consts, carry = self.parts(args)
        n, n_cond = len(self.body.results), self.n_cond_consts
        if test_sites:
            ctx.add(test_sites, inline(test, [*cond_consts, *carry])[1:])
            graph = followed_by(ctx, graph, sites, n, test, n_cond, self.n_carry)
            sites, consts = [*sites, *test_sites], [*cond_consts, *consts]
        state = ctx.no_failure(graph.out_types[n + 1:])
        body = with_state(ctx, graph, len(consts), n, [type_of(x) for x in state])
        unread = [Var(type_of(x)) for x in state]
        cond = Graph([*test.params[:n_cond], *unread, *test.params[n_cond:]], test.eqns, test.results[:1])
        outs = bind(While(cond, body, n_cond, len(consts), self.record), *cond_consts, *consts, *state, *carry)
        ctx.add(sites, outs[:len(state)])
        return outs[len(state):]

    def batch(self, ctx, args, batched):
        cond_consts, consts, carry = self.parts(args)
        cond_b, consts_b, was_b = self.parts(batched)
        carry_b, _ = self.as_scan().fixpoint([False] + consts_b + was_b, lambda flags: ctx.batch(self.body, flags)[1])
        n_rec = len(self.body.results) - self.n_carry
        cond, [differs] = ctx.batch(self.cond, cond_b + carry_b)
        if differs and not self.by_lanes:
            return self.batch_lanes(ctx, args, batched)
        if differs:
            each = cond
            cond = trace_closed(lambda *values: [reduce_or(inline(each, values)[0], (0,))], each.in_types)
        body, out_b = ctx.batch(self.body, consts_b + carry_b, carry_b + [False] * n_rec)
        carry = [ctx.materialize(c, was) if now else c for c, was, now in zip(carry, was_b, carry_b)]
        outs = bind(replace(self, cond=cond, body=body), *cond_consts, *consts, *carry)
        return outs, [*out_b[:self.n_carry], *([False, *out_b[self.n_carry:]] if self.record else [])]

    def batch_lanes(self, ctx, args, batched):
        """Each lane runs until its own condition fails; the loop runs until all have stopped.

        A lane that has stopped takes the branch that returns its carry, so the body's nan beyond the end of
        a lane reaches neither its value nor its derivative. With `record` the count is each lane's own.
        """
        cond_consts, consts, carry = self.parts(args)
        cond_b, consts_b, carry_b = self.parts(batched)
        n, n_bc = self.n_carry, self.n_body_consts
        lanes_cond, _ = ctx.batch(self.cond, [True] * len(self.cond.params), [True])
        recorded = self.body.out_types[n:]
        idle = trace_closed(lambda *v: [*v[n_bc:], *[full(t.shape, 0, t.dtype) for t in recorded]], self.body.in_types)
        choice, everything = Cond((idle, self.body)), [True] * (1 + len(self.body.params))
        n_cc = self.n_cond_consts
        counts = [full((ctx.size,), 0, COUNT.dtype)] if self.record else []
        k = len(counts)

        def alive(cc, values):
            return inline(lanes_cond, [*cc, *values])[0]

        def step(*values):
            cc, bc, tally, values = cut(values, [n_cc, n_bc, k, n])
            active = convert_element_type(alive(cc, values), np.int32)
            outs, _ = choice.batch(ctx, [active, *bc, *values], everything)
            return [*[add(c, active) for c in tally], *outs]
        lanes = lambda types: [ctx.lanes_of(t) for t in types]
        cc_types, body_types = lanes(self.cond.in_types[:n_cc]), lanes(self.body.in_types)
        tally_types = [type_of(c) for c in counts]
        body = trace_closed(step, cc_types + body_types[:n_bc] + tally_types + body_types[n_bc:])
        cond = trace_closed(lambda *v: [reduce_or(alive(v[:n_cc], v[n_cc + k:]), (0,))],
                            cc_types + tally_types + body_types[n_bc:])
        full_lanes = lambda values, flags: [ctx.materialize(x, b) for x, b in zip(values, flags)]
        cc = full_lanes(cond_consts, cond_b)
        op = While(cond, body, n_cc, n_cc + n_bc, self.record, by_lanes=True)
        outs = bind(op, *cc, *cc, *full_lanes(consts, consts_b), *counts, *full_lanes(carry, carry_b))
        if not self.record:
            return outs, [True] * n
        tally, values, _, tapes = cut(outs, [1, n, 1, len(recorded)])
        return [*values, *tally, *tapes], [True] * (n + 1 + len(recorded))


def followed_by(ctx, body: Graph, sites: list, n_results: int, test: Graph, n_cond: int, n_carry: int) -> Graph:
    """A checked body (cond_consts, body_consts, carry) that also tests its new carry, for what can fail in the test."""
    def step(*values):
        outs = inline(body, values[n_cond:])
        failure = inline(test, [*values[:n_cond], *outs[:n_carry]])[1:]
        return [*outs[:n_results], *ctx.joined(len(sites), outs[n_results:], failure)]
    return trace_closed(step, test.in_types[:n_cond] + body.in_types)

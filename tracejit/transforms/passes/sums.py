"""Products in a loop whose results the loop itself never reads: left to one large product after it.

    ys[t] = a[t] @ w                     ->  ys = as @ w                 w the same on every trip
    c     = c + a[t].T @ b[t]            ->  c  = c + as.T @ bs          contracted over trips too
    c     = c + sum(a[t], 0)             ->  c  = c + sum(as, (0, 1))    where as is there anyway

The loop then stacks the operands. Reverse mode makes such loops: the second form is the gradient of a weight.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.trace import bind, inline
from tracejit.lax.broadcast import ReduceSum
from tracejit.lax.dot import DotGeneral
from tracejit.lax.elementwise import Add
from tracejit.lax.kinds import View
from tracejit.lax.loops import Scan
from tracejit.transforms.batching import Batch

MOST_BYTES = 1 << 28        # of operands kept for after a loop


@dataclasses.dataclass
class Late:
    """A product computed after the loop: `result` is made of it by views, or is a carry that it is added to."""
    position: int               # among the body's results
    product: Eqn
    views: list[Eqn]            # from the product to the value stacked or added
    value: Any
    is_sum: bool


class Uses:
    """Who reads a value in a body: equations, and positions of results."""

    def __init__(self, body: Graph):
        self.made = {v: eqn for eqn in body.eqns for v in eqn.outputs}
        self.eqns: dict[Any, list[Eqn]] = {}
        self.results: dict[Any, list[int]] = {}
        for eqn in body.eqns:
            for x in eqn.inputs:
                if isinstance(x, Var):
                    self.eqns.setdefault(x, []).append(eqn)
        for k, r in enumerate(body.results):
            if isinstance(r, Var):
                self.results.setdefault(r, []).append(k)

    def count(self, v: Any) -> int:
        return len(self.eqns.get(v, ())) + len(self.results.get(v, ()))

    def product_of(self, v: Any) -> tuple[Eqn, list[Eqn]] | None:
        """The product (or sum) that a value is a view of and that nobody else reads, with the views in order."""
        views: list[Eqn] = []
        while isinstance(v, Var) and v in self.made and self.count(v) == 1:
            eqn = self.made[v]
            if isinstance(eqn.op, (DotGeneral, ReduceSum)):
                return eqn, views[::-1]
            if not isinstance(eqn.op, View) or len(eqn.inputs) != 1:
                return None
            views.append(eqn)
            v = eqn.inputs[0]
        return None


def late_products(body: Graph, n_consts: int, n_carry: int, length: int) -> list[Late]:
    uses, consts, found = Uses(body), set(body.params[:n_consts]), []
    for k, r in enumerate(body.results):
        late = sum_at(k, r, body.params[n_consts + k], uses) if k < n_carry else stacked_at(k, r, uses)
        if late is None or not isinstance(late.product.op, DotGeneral):
            continue
        operands = late.product.inputs
        varying = [x for x in operands if isinstance(x, Var) and x not in consts]
        if len(varying) == (2 if late.is_sum else 1) and len(operands) == 2 and is_worth(late, varying, length):
            found.append(late)
    return found + late_sums(body, n_carry, consts, uses, found)


def late_sums(body: Graph, n_carry: int, consts: set[Var], uses: Uses, products: list[Late]) -> list[Late]:
    """Carries that add up sums of what is kept of all trips for another reason."""
    there = {*body.params[len(consts) + n_carry:], *(r for r in body.results[n_carry:] if isinstance(r, Var))}
    there.update(x for late in products for x in late.product.inputs if isinstance(x, Var))
    found = [sum_at(k, body.results[k], body.params[len(consts) + k], uses) for k in range(n_carry)]
    return [late for late in found if late and isinstance(late.product.op, ReduceSum) and late.product.inputs[0] in there - consts]


def sum_at(k: int, r: Any, carry: Var, uses: Uses) -> Late | None:
    """The carry as itself plus a product, if that is all the loop does with it."""
    eqn = uses.made.get(r) if isinstance(r, Var) else None
    if eqn is None or not isinstance(eqn.op, Add) or uses.count(r) != 1 or uses.count(carry) != 1:
        return None
    others = [x for x in eqn.inputs if x is not carry]
    if len(others) != 1:
        return None
    made = uses.product_of(others[0])
    return Late(k, *made, others[0], True) if made and others[0].type.shape == carry.type.shape else None


def stacked_at(k: int, r: Any, uses: Uses) -> Late | None:
    made = uses.product_of(r)
    return Late(k, *made, r, False) if made else None


def is_worth(late: Late, varying: Sequence[Var], length: int) -> bool:
    """Whether the operands are not much larger than the result, so that keeping them costs no more."""
    kept, made = sum(x.type.nbytes for x in set(varying)), late.product.outputs[0].type.nbytes
    return kept <= 2 * made and kept * length <= MOST_BYTES


def scan_with_late_products(op: Scan, count: list, consts: list, carry: list, xs: list) -> list:
    """The scan's results, with products that may wait computed after it."""
    late = late_products(op.body, op.n_consts, op.n_carry, op.length) if op.length and not op.has_effects else []
    if not late:
        return bind(op, *count, *consts, *carry, *xs)
    body, gone = op.body, {item.position for item in late}
    operands = list(dict.fromkeys(x for item in late for x in item.product.inputs if isinstance(x, Var)))
    outside = dict(zip(body.params[:op.n_consts], consts)) | dict(zip(body.params[op.n_consts + op.n_carry:], xs))
    kept = [k for k in range(op.n_carry) if k not in gone]
    rest = [k for k in range(op.n_carry, len(body.results)) if k not in gone]
    ys = {body.results[k]: k for k in rest if isinstance(body.results[k], Var)}
    stacked = [x for x in operands if x not in outside and x not in ys]
    params = body.params[:op.n_consts] + [body.params[op.n_consts + k] for k in kept] + body.params[op.n_consts + op.n_carry:]
    sums = {body.results[item.position] for item in late if item.is_sum}     # they read carries that are no params any more
    eqns = [eqn for eqn in body.eqns if sums.isdisjoint(eqn.outputs)]
    new = Graph(params, eqns, [body.results[k] for k in kept + rest] + stacked)
    outs = bind(dataclasses.replace(op, body=new, n_carry=len(kept)), *count, *consts, *[carry[k] for k in kept], *xs)
    outside.update(zip(stacked, outs[len(kept) + len(rest):]))
    found = dict(zip(kept + rest, outs))
    outside.update((x, found[k]) for x, k in ys.items())
    for item in late:
        found[item.position] = after_loop(item, outside, set(body.params[:op.n_consts]), op.length, carry)
    return [found[k] for k in range(len(body.results))]


def after_loop(late: Late, outside: dict, consts: set, length: int, carry: list) -> Any:
    operands = [outside[v] for v in late.product.inputs]
    if late.is_sum:
        total = bind(over_trips(late.product.op), *operands)
        views = Graph(late.product.outputs, late.views, [late.value])
        return lax.add(carry[late.position], inline(views, [total])[0])
    params = list(late.product.inputs)
    chain = Graph(params, [late.product, *late.views], [late.value])
    flags = [v not in consts for v in params]
    many, _ = Batch(length).batch(chain, flags, [True])
    return inline(many, operands)[0]


def over_trips(op: DotGeneral | ReduceSum) -> DotGeneral | ReduceSum:
    """The product (or sum) of stacked operands, contracted over the stacking axis too."""
    shift = lambda axes: tuple(a + 1 for a in axes)
    if isinstance(op, ReduceSum):
        return dataclasses.replace(op, axes=(0, *shift(op.axes)))
    (xc, yc), (xb, yb) = op.contract, op.batch_axes
    return dataclasses.replace(op, contract=((0, *shift(xc)), (0, *shift(yc))), batch_axes=(shift(xb), shift(yb)))

"""Sums of products in loops in registers, rounded once: x y + z -> mad(x, y, z), where that ends a trip sooner.

Each trip waits for the one before, and one operation answers sooner than two. It does not if z is what comes last: then
the product is ready before, and an addition is quicker.

Sums stay as they are where a last bit would decide: below comparisons, conversions to integers, and places in memory, and
in differences of products, which would no longer be 0 for equal products. They stay where they do not wait for carried
floats, so random numbers are the same inside and outside of loops. And only what is carried on has a say, so that a loop
carries on the same bits whatever else it stacks or records.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable

from tracejit.codegen.registers import RegisterLoop
from tracejit.ir.loops import APPLY, CARRY, METHOD, Dynamic, Expr, in_order, indices_of

SUMS, PRODUCTS = {"add", "sub"}, {"mul", "square"}
STEPS = {"floor", "ceil", "round", "rint", "round_away", "trunc", "sign", "rem"}
NEVER = -math.inf


def contract(loop: RegisterLoop) -> RegisterLoop:
    """The loop with a product and the sum that alone waits for it as one operation."""
    roots = [e for each in loop.loops for row in each.next for e in row]
    fused = contractions(roots, below_decisions(in_order(loop.roots)))
    return rewritten(loop, fused) if fused else loop


def contractions(roots: list[Expr], fixed: Container[Expr]) -> dict[Expr, int]:
    """The sums to be fused, with the number of the operand that is their product."""
    order = in_order(roots)
    waits = waits_of(order)
    uses = Counter([*roots, *(a for e in order for a in e.args)])
    fused = {}
    for e in order:
        if name_of(e) not in SUMS or not is_real(e) or e in fixed or is_difference_of_products(e):
            continue
        ready = {k: max(waits[a] for a in x.args) for k, x in enumerate(e.args)
                 if name_of(x) in PRODUCTS and uses[x] == 1 and x not in fixed}
        best = max(ready, key=lambda k: ready[k], default=None)
        if best is not None and NEVER < ready[best] and waits[e.args[1 - best]] <= ready[best]:
            fused[e] = best
    return fused


def is_difference_of_products(e: Expr) -> bool:
    """Whether equal products must cancel, as in b b - 4 a c below a root."""
    return name_of(e) == "sub" and all(name_of(x) in PRODUCTS for x in e.args)


def name_of(e: Expr) -> str:
    return e.data.name if e.kind == APPLY else e.data[0] if e.kind == METHOD else ""


def is_real(e: Expr) -> bool:
    return e.dtype.kind == "f" and e.dtype.itemsize >= 4


def waits_of(order: Iterable[Expr]) -> dict[Expr, float]:
    """How many operations after the start of a trip an expression is ready; NEVER if it waits for no carried float."""
    waits: dict[Expr, float] = {}
    for e in order:
        waits[e] = 0 if e.kind == CARRY and is_real(e) else 1 + max((waits[a] for a in e.args), default=NEVER)
    return waits


def below_decisions(order: Iterable[Expr]) -> set[Expr]:
    """What truth values, integers, steps and places in memory are made of."""
    roots = [a.value for e in order for index in indices_of(e) for a in index.atoms() if isinstance(a, Dynamic)]
    roots += [a for e in order if e.dtype.kind in "biu" or name_of(e) in STEPS for a in e.args]
    return set(in_order(roots))


def rewritten(loop: RegisterLoop, fused: dict[Expr, int]) -> RegisterLoop:
    images: dict[Expr, Expr] = {}
    for e in in_order(loop.roots):
        args = tuple(images[a] for a in e.args)
        same = all(a is b for a, b in zip(args, e.args))
        images[e] = multiply_add(e, fused[e], images) if e in fused else \
            e if same else Expr(e.kind, args, e.data, e.dtype, e.cost)
    return loop.mapped(lambda e: images.get(e, e))


def multiply_add(e: Expr, product: int, images: dict[Expr, Expr]) -> Expr:
    """A sum whose operand `product` is a product, in one operation."""
    factors = [images[a] for a in e.args[product].args]
    x, y = factors if len(factors) == 2 else factors * 2
    z = images[e.args[1 - product]]
    if name_of(e) == "sub":
        x, z = (x, negated(z)) if product == 0 else (negated(x), z)
    return Expr(METHOD, (x, y, z), ("mad", ()), e.dtype, e.cost)


def negated(e: Expr) -> Expr:
    return Expr(METHOD, (e,), ("neg", ()), e.dtype)

"""Kernels as a GPU wants them: without row-local memory (what a later stage reads again is computed again, or stays in
registers), and without a read beyond a buffer's end, whose value would only be thrown away."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tracejit.codegen.kernels import Kernel, Scratch
from tracejit.ir.loops import LOAD, WHERE, Expr, Inside, postorder


def prepared(kernel: Kernel) -> Kernel:
    kernel = without_scratch(kernel)
    memo: dict[Expr, Expr] = {}
    return mapped(kernel, lambda e: guarded(e, memo))


def mapped(kernel: Kernel, change: Callable[[Expr], Expr]) -> Kernel:
    """The kernel with each of its expressions changed."""
    return replace(kernel, stages=[stage.mapped(change) for stage in kernel.stages])


def rebuilt(e: Expr, args: tuple[Expr, ...]) -> Expr:
    return e if all(a is b for a, b in zip(args, e.args)) else Expr(e.kind, args, e.data, e.dtype, e.cost)


def without_scratch(kernel: Kernel) -> Kernel:
    """The kernel with each read of a row-local copy replaced by what was stored there at the same point."""
    if not kernel.scratch:
        return kernel
    stored: dict[Scratch, Expr] = {}
    memo: dict[Expr, Expr] = {}

    def expanded(root: Expr) -> Expr:
        for e in postorder(root, memo):
            is_copy = e.kind == LOAD and isinstance(e.data[0], Scratch)
            memo[e] = stored[e.data[0]] if is_copy else rebuilt(e, tuple(memo[a] for a in e.args))
        return memo[root]
    stages = []
    for stage in kernel.stages:
        kept = Kernel(kernel.row_axes, kernel.fold_axes, [stage], [])
        [new] = mapped(kept, expanded).stages
        stages.append(replace(new, stores=[s for s in new.stores if not isinstance(s.var, Scratch)]))
        stored |= {s.var: s.expr for s in new.stores if isinstance(s.var, Scratch)}
    return replace(kernel, stages=stages, scratch={})


def guarded(root: Expr, memo: dict[Expr, Expr]) -> Expr:
    """The expression whose reads in the `else` of a condition happen only where the condition fails, if they could otherwise
    lie outside of their buffer."""
    for e in postorder(root, memo):
        args = tuple(memo[a] for a in e.args)
        fails = complement(e.data) if e.kind == WHERE else None
        if fails is not None:
            args = (args[0], with_guard(args[1], fails))
        memo[e] = rebuilt(e, args)
    return memo[root]


def complement(conditions: tuple[Inside, ...]) -> Inside | None:
    """Where one condition fails, if that is one interval."""
    if len(conditions) != 1:
        return None
    [inside] = conditions
    low, high = inside.index.range
    if inside.lo <= low:
        return Inside(inside.index, inside.hi, high + 1)
    return Inside(inside.index, low, inside.lo) if inside.hi > high else None


def with_guard(root: Expr, guard: Inside) -> Expr:
    memo: dict[Expr, Expr] = {}
    for e in postorder(root, memo):
        new = rebuilt(e, tuple(memo[a] for a in e.args))
        if e.kind == LOAD:
            var, offset, guards = e.data
            low, high = offset.range
            if guard not in guards and (low < 0 or high >= var.type.size):
                new = Expr(LOAD, (), (var, offset, (*guards, guard)), e.dtype)
        memo[e] = new
    return memo[root]

"""Kernels without row-local memory: what a later stage reads again is computed again, or stays in registers."""
from __future__ import annotations

from dataclasses import replace

from tracejit.codegen.kernels import Fold, Kernel, Scratch, Stage, Store
from tracejit.ir.loops import LOAD, Expr, postorder


def without_scratch(kernel: Kernel) -> Kernel:
    """The kernel with each read of a row-local copy replaced by what was stored there at the same point."""
    if not kernel.scratch:
        return kernel
    stored: dict[Scratch, Expr] = {}
    memo: dict[Expr, Expr] = {}

    def expanded(root: Expr) -> Expr:
        for e in postorder(root, memo):
            if e.kind == LOAD and isinstance(e.data[0], Scratch):
                memo[e] = stored[e.data[0]]
            else:
                args = tuple(memo[a] for a in e.args)
                memo[e] = e if all(a is b for a, b in zip(args, e.args)) else Expr(e.kind, args, e.data, e.dtype, e.cost)
        return memo[root]
    stages = []
    for stage in kernel.stages:
        store = lambda s: Store(s.var, s.offset, expanded(s.expr))
        own = [store(s) for s in stage.stores if not isinstance(s.var, Scratch)]
        folds = [Fold(f.var, f.op, f.types, [expanded(e) for e in f.states]) for f in stage.folds]
        stages.append(Stage(own, folds, [store(s) for s in stage.row_stores]))
        stored |= {s.var: expanded(s.expr) for s in stage.stores if isinstance(s.var, Scratch)}
    return replace(kernel, stages=stages, scratch={})

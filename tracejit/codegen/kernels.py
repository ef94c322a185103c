"""A fused group -> a Kernel: loop nests over symbolic axes, with an expression for each value stored or folded."""
from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tracejit.codegen.fuse import Group, is_view, sources_of
from tracejit.ir.graph import Eqn, Var
from tracejit.ir.loops import (APPLY, LOAD, ROW, Axis, Expr, Index, Pull, axes_of, index_of, indices_of, linear, loads_of,
                                postorder)
from tracejit.lax.kinds import Reduction

FOLDED = ("reduce", "column")
CHEAP = 8       # a value that costs no more than this is computed again in a later stage rather than kept


@dataclass(eq=False)
class Store:
    """expr -> buffer[offset] at each point."""
    var: Var
    offset: Index
    expr: Expr


@dataclass(eq=False)
class Fold:
    """A reduction: the op, and what one point contributes to each of the monoid's states."""
    var: Var
    op: Reduction
    types: list
    states: list[Expr]


@dataclass(eq=False)
class Stage:
    """One pass over the reduced axes of a row: full stores and folds, then what is computed once per row. What is folded
    over the rows in passing, a state for each point of a row, is known only after all of them."""
    stores: list[Store] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    row_stores: list[Store] = field(default_factory=list)
    column_folds: list[Fold] = field(default_factory=list)
    column_stores: list[Store] = field(default_factory=list)

    @property
    def joins(self) -> int:
        """How many points are best folded at once."""
        return max((fold.op.joins for fold in self.folds), default=1)

    @property
    def roots(self) -> list[Expr]:
        """What is computed at each point: stored or folded."""
        return [s.expr for s in self.stores] + [e for fold in self.folds + self.column_folds for e in fold.states]

    @property
    def all_stores(self) -> list[Store]:
        return self.stores + self.row_stores + self.column_stores

    def mapped(self, expr: Callable[[Expr], Expr], offset: Callable[[Index], Index] = lambda index: index) -> Stage:
        """The stage with its expressions and offsets changed."""
        stores = lambda of: [Store(s.var, offset(s.offset), expr(s.expr)) for s in of]
        folds = lambda of: [Fold(f.var, f.op, f.types, [expr(e) for e in f.states]) for f in of]
        return Stage(stores(self.stores), folds(self.folds), stores(self.row_stores), folds(self.column_folds),
                     stores(self.column_stores))


@dataclass(eq=False)
class Scratch:
    """Stands for a row-local copy of a full value that a later stage reads again."""
    var: Var

    @property
    def type(self):
        return self.var.type


@dataclass(eq=False)
class Kernel:
    """Loops over `row_axes` (in parallel) and within each row over `fold_axes`, once per stage."""
    row_axes: list[Axis]
    fold_axes: list[Axis]
    stages: list[Stage]
    eqns: list[Eqn]
    scratch: dict[Scratch, Index] = field(default_factory=dict)   # row-local buffers: offset in the row

    @property
    def loads(self) -> list[Expr]:
        seen: dict = {}
        return list({e: None for root in self.roots for e in loads_of(root, seen)})

    @property
    def roots(self) -> list[Expr]:
        out = []
        for stage in self.stages:
            out += stage.roots + [s.expr for s in stage.row_stores + stage.column_stores]
        return out

    @property
    def inputs(self) -> list[Any]:
        outputs = set(self.outputs)
        return [v for v in dict.fromkeys(e.data[0] for e in self.loads) if v not in outputs and not isinstance(v, Scratch)]

    @property
    def outputs(self) -> list[Var]:
        stores = [s for stage in self.stages for s in stage.all_stores]
        return list(dict.fromkeys(s.var for s in stores if not isinstance(s.var, Scratch)))

    @functools.cached_property
    def starts(self) -> dict[Any, int]:
        """Where in each buffer the kernel begins, if not at its first element. Code counts from there: kernels that differ in
        nothing else, such as those of x[0] to x[9] in a Python loop, are one."""
        places = [(e.data[0], e.data[1]) for e in self.loads] + [
            (s.var, s.offset) for stage in self.stages for s in stage.all_stores]
        least: dict[Any, int] = {}
        for var, offset in places:
            least[var] = min(least.get(var, offset.const), offset.const)
        return {v: n for v, n in least.items() if n > 0 and not isinstance(v, Scratch)}

    @property
    def passed_on(self) -> set[Any]:
        """What one stage stores and a later one may read."""
        return {s.var for stage in self.stages[:-1] for s in stage.stores}

    @property
    def column_folds(self) -> list[Fold]:
        return [fold for stage in self.stages for fold in stage.column_folds]

    @property
    def size(self) -> int:
        return math.prod(a.size for a in self.row_axes + self.fold_axes)

    def indices(self) -> list[Index]:
        """Every index that the kernel mentions: what decides which axes can be walked as one."""
        out = [s.offset for stage in self.stages for s in stage.all_stores]
        seen: set = set()
        stack = list(self.roots)
        while stack:
            e = stack.pop()
            if e in seen:
                continue
            seen.add(e)
            stack += e.args
            found = indices_of(e)
            out += found
            for index in found:
                stack += [a.value for a in index.atoms() if hasattr(a, "value")]
        return out


class KernelBuilder:
    """Pulls the expressions of a group's members over one set of axes."""

    def __init__(self, group: Group, producers: dict[Var, Eqn], stored: set[Var], recomputed: set[Var]):
        self.group, self.producers, self.stored, self.recomputed = group, producers, stored, recomputed
        self.axes = tuple(Axis(f"i{d}", n) for d, n in enumerate(group.domain))
        self.own = index_of(self.axes)
        self.rows = tuple(i for d, i in enumerate(self.own) if d not in (group.reduced or ()))
        self.stage = 0
        self.kept: dict[Var, Any] = {}      # full members available in memory in the current stage
        self.scratch: dict[Scratch, Index] = {}
        self.pull = Pull(self.leaf, producers)

    def leaf(self, var: Var, index: tuple) -> Expr | None:
        level = self.group.level.get(var)
        if level is None:
            inside = is_view(var, self.producers) or var in self.recomputed
            return None if inside else self.pull.load(var, index)
        if level in FOLDED:
            return self.pull.node(ROW, (), var, var.type.dtype)
        if level == "full" and self.group.stage[var] < self.stage and var in self.kept:
            buffer, offset = self.kept[var]
            return self.pull.node(LOAD, (), (buffer, offset, ()), var.type.dtype)
        return None

    def spread(self, var_type, index: tuple) -> tuple:
        """The squeezed index at a value's full rank."""
        it = iter(index)
        return tuple(next(it) if n != 1 else Index() for n in var_type.shape)

    def build(self) -> Kernel:
        group = self.group
        n_stages = 1 + max((s for s in group.stage.values()), default=0)
        stages = []
        for k in range(n_stages):
            self.stage, self.pull.memo = k, {}
            for var, level in group.level.items():  # in order, so that no chain is pulled deeper than one step
                if level not in FOLDED and group.stage[var] <= k:
                    self.pull.value(var, self.spread(var.type, self.rows if level == "row" else self.own))
            stages.append(self.build_stage([e for e in group.eqns if group.stage[e.outputs[0]] == k]))
            self.keep_for_later(stages[-1], k)
        reduced = group.reduced or ()
        row_axes = [a for d, a in enumerate(self.axes) if d not in reduced]
        fold_axes = [a for d, a in enumerate(self.axes) if d in reduced]
        return Kernel(row_axes, fold_axes, stages, group.eqns, self.scratch)

    def build_stage(self, eqns: list[Eqn]) -> Stage:
        stage = Stage()
        for eqn in eqns:
            var = eqn.outputs[0]
            level = self.group.level[var]
            if level == "reduce":
                stage.folds.append(self.fold(eqn))
                if var in self.stored:
                    stage.row_stores.append(self.store(var, self.rows))
            elif level == "column":
                stage.column_folds.append(self.fold(eqn))
                stage.column_stores.append(self.store(var, tuple(self.own[d] for d in self.group.reduced)))
            elif var in self.stored:
                if level == "row":
                    stage.row_stores.append(self.store(var, self.rows))
                else:
                    stage.stores.append(self.store(var, self.own))
        return stage

    def store(self, var: Var, index: tuple) -> Store:
        at = self.spread(var.type, index)
        return Store(var, linear(at, var.type.shape), self.pull.value(var, at))

    def fold(self, eqn: Eqn) -> Fold:
        t = eqn.inputs[0].type
        at = self.spread(t, self.own)
        operands = [self.pull.value(x, at if x.type.ndim else ()) for x in eqn.inputs]
        states = eqn.op.element(self.pull, tuple(at[d] for d in eqn.op.axes), *operands)
        return Fold(eqn.outputs[0], eqn.op, [x.type for x in eqn.inputs], list(states))

    def keep_for_later(self, stage: Stage, k: int) -> None:
        """Full values of this stage that a later stage reads: re-read the output, or keep a copy of the row if costly."""
        for var, level in self.group.level.items():
            if level != "full" or self.group.stage[var] != k or not self.read_later(var, k):
                continue
            stored = next((s for s in stage.stores if s.var is var), None)
            if stored is not None:
                self.kept[var] = (var, stored.offset)
            elif self.is_dear(self.pull.value(var, self.spread(var.type, self.own))):
                copy = Scratch(var)
                fold_axes = [d for d in self.group.reduced or ()]
                offset = linear([self.own[d] for d in fold_axes], [self.group.domain[d] for d in fold_axes])
                self.scratch[copy] = offset
                self.kept[var] = (copy, offset)
                stage.stores.append(Store(copy, offset, self.pull.value(var, self.spread(var.type, self.own))))

    def is_dear(self, expr: Expr) -> bool:
        """Whether a value is kept rather than computed again: exponentials where a row lies together in memory."""
        along = len(self.group.domain) - 1 in (self.group.reduced or ())
        return total_cost(expr) > CHEAP or along and bool(long_ops([expr]))

    def read_later(self, var: Var, k: int) -> bool:
        group = self.group
        return any(group.stage[e.outputs[0]] > k and var in sources_of(e.inputs, self.producers) for e in group.eqns)


def total_cost(expr: Expr) -> float:
    seen, cost, stack = set(), 0.0, [expr]
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            cost += e.cost + (e.kind == LOAD)
            stack += e.args
    return cost


def long_ops(roots: Iterable[Expr]) -> Counter:
    """How often each op of tens of instructions occurs."""
    seen: dict[Expr, None] = {}
    for root in roots:
        seen.update(dict.fromkeys(postorder(root, seen)))
    return Counter(e.data for e in seen if e.kind == APPLY and e.data.is_long)


def build_kernel(group: Group, producers: dict[Var, Eqn], stored: set[Var], recomputed: set[Var]) -> Kernel:
    """`recomputed` are values of other groups that are computed again rather than read from memory."""
    return KernelBuilder(group, producers, stored, recomputed).build()


def copy_kernel(var: Var, producers: dict[Var, Eqn], recomputed: set[Var]) -> Kernel:
    """A kernel that writes a view (or a literal) to memory."""
    shape = var.type.shape
    axes = axes_of(shape)

    def leaf(v: Var, at: tuple) -> Expr | None:
        return None if is_view(v, producers) or v in recomputed else pull.load(v, at)
    pull = Pull(leaf, producers)
    at = index_of(axes)
    store = Store(var, linear(at, shape), pull.value(var, at))
    return Kernel([a for a in axes if a.size != 1], [], [Stage([store])], [])

"""Where the expressions of a loop in registers come from: its body, and the loops and branches inside of a trip.

A Scope pulls elements of its graph's values. What it takes from outside it asks of the scope around it, so a loop inside of
another reads the outer one's arrays where they are, and shares its numbers. Loops and branches are Steps of a trip, in order:

    for i: ...                      steps: [Inner(while, init = [i, x[i]]), Writes(x[RESULT 0] = ...)]
        while x[j] > v: ...         RESULT k: the k-th carry of the inner loop after its last trip

A step may change arrays in place. What anybody after it still needs of what they were is loaded before.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tracejit.codegen.kernels import CHEAP, total_cost
from tracejit.codegen.tables import Change, Memory, Write, changes_of, is_read, writes_of
from tracejit.ir.graph import Eqn, Graph, Lit, Var
from tracejit.ir.loops import RESULT, Axis, Dependence, Expr, Index, Pull, Slot, in_order, linear
from tracejit.lax.branches import Cond
from tracejit.lax.dot import DotGeneral
from tracejit.lax.index import Scatter
from tracejit.lax.kinds import Elementwise, Reduction, View, pairwise
from tracejit.lax.loops import Scan, While, cut

if TYPE_CHECKING:
    from tracejit.codegen.registers import RegisterLoop

LANE_SUM = "lane sum"   # Expr: the sum of args[0] over all lanes
MOST_ELEMENTS = 48      # carried elements per lane
MOST_FOLDED = 64
ALIGN = 64


class NotInRegisters(Exception):
    """The loop is compiled step by step instead; the message says why."""


# --- what happens in a trip, in order -----------------------------------------------------------------------------------

@dataclass(eq=False)
class Step:
    """A part of a trip that must be done before what follows it. `before` is loaded first: the step changes it."""
    ends: list[Memory] = field(default_factory=list, kw_only=True)
    makes: list[Memory] = field(default_factory=list, kw_only=True)
    before: list[Expr] = field(default_factory=list, kw_only=True)

    @property
    def roots(self) -> list[Expr]: raise NotImplementedError

    @property
    def owners(self) -> set[Axis]:
        """The times of all loops, and the branches, inside."""
        return set()

    def mapped(self, image: Callable[[Expr], Expr]) -> Step: raise NotImplementedError


@dataclass(eq=False)
class Writes(Step):
    """An update that the rest of the trip reads."""
    writes: list[Write]

    @property
    def roots(self): return [e for w in self.writes for e in w.roots]

    def mapped(self, image): return replace(self, writes=[w.mapped(image) for w in self.writes])


@dataclass(eq=False)
class Inner(Step):
    """A loop. `init` are the elements of its carry before it, array by array; of a Scan, `trips` says how many."""
    loop: RegisterLoop
    trips: Expr | None
    reverse: bool
    init: list[list[Expr]]

    @property
    def roots(self): return [e for row in self.init for e in row] + ([] if self.trips is None else [self.trips]) + self.loop.roots

    @property
    def owners(self): return {self.loop.time}.union(*(s.owners for s in self.loop.steps))

    def mapped(self, image):
        return replace(self, loop=self.loop.mapped(image), trips=self.trips and image(self.trips),
                       init=[list(map(image, row)) for row in self.init])


@dataclass(eq=False)
class Branch(Step):
    """One of several blocks of steps, each with the values of the slots' elements after it."""
    owner: Axis
    index: Expr
    blocks: list[tuple[list[Step], list[Expr]]]
    results: list[Expr]

    @property
    def roots(self):
        inside = [e for steps, values in self.blocks for e in [*(r for s in steps for r in s.roots), *values]]
        return [self.index, *inside]

    @property
    def owners(self): return {self.owner}.union(*(s.owners for steps, _ in self.blocks for s in steps))

    def mapped(self, image):
        return replace(self, index=image(self.index),
                       blocks=[([s.mapped(image) for s in steps], list(map(image, values))) for steps, values in self.blocks])


def read_in_time(steps: Sequence[Step], last: Iterable[Expr]) -> None:
    """Say what each step must load before it changes memory, for itself and whatever follows; `last` follows all steps."""
    depends, later, hidden = Dependence(), list(last), set()
    for step in reversed(steps):
        later = [*step.roots, *later]
        hidden |= {*step.owners, *step.makes}
        if step.ends:
            step.before = [e for e in in_order(later) if is_read(e) and e.data[0] in step.ends]
            if any(depends(e) & hidden for e in step.before):
                raise NotInRegisters("it reads an array that it has changed as it was before")


# --- scopes ------------------------------------------------------------------------------------------------------------------

class Scope:
    """A graph whose elements are pulled. `owner` is what stands for it: the time of a loop."""

    def __init__(self, graphs: Sequence[Graph], owner: Axis, outer: Scope | None, lanes: Sequence[Axis] = ()):
        self.owner, self.outer, self.lane_axes = owner, outer, list(lanes)
        self.producers = {v: e for g in graphs for e in g.eqns for v in e.outputs}
        self.pull = Pull(self.leaf, self.producers)
        self.root: Any = self if outer is None else outer.root
        if outer is not None:
            self.pull.nodes = outer.pull.nodes
        self.memory: dict[Var, Memory] = {}             # of arrays in memory, as far as the steps have been made
        self.results: dict[Var, Slot] = {}              # of what steps leave in registers
        self.operands: dict[Var, tuple[Any, tuple]] = {}    # params from outside: what they are there, and leading indices
        self.changes: dict[Var, Change] = {}            # by what is there after each
        self.steps: list[Step] = []

    def leaf(self, var: Var, index: tuple) -> Expr | None:
        self.root.check_length()     # here too: guarded views of products can grow to hundreds of times what fits
        if var in self.memory:
            return self.pull.load(var, index, self.memory[var])
        if var in self.operands:
            operand, lead = self.operands[var]
            return self.outer.taken(operand, (*lead, *index), self.pull.guards, self.owner)
        if var in self.results:
            return self.element(RESULT, self.results[var], var, index)
        eqn = self.producers[var]
        if isinstance(eqn.op, DotGeneral):
            return self.contracted(eqn, index)
        if isinstance(eqn.op, Scatter):
            raise NotInRegisters("it reads an array that it has just changed")
        return self.folded(eqn, index) if isinstance(eqn.op, Reduction) else None

    def taken(self, operand: Any, index: tuple, guards: tuple, owner: Axis) -> Expr:
        """An element for a scope inside of this one."""
        before, self.pull.guards = self.pull.guards, guards
        found = self.pull.value(operand, index)
        self.pull.guards = before
        if total_cost(found) > CHEAP and owner in Dependence()(found):
            raise NotInRegisters("a loop inside of it would compute again what it reads")
        return found

    def element(self, kind: str, slot: Any, var: Var, index: tuple) -> Expr:
        """An element of an array in registers."""
        if any(i.terms for i in index):
            raise NotInRegisters("an element depends on other lanes, or on a place known only at run time")
        if not all(0 <= i.const < max(n, 1) for i, n in zip(index, var.type.shape)):    # under a guard that never holds
            return self.pull.const(0, var.type.dtype)
        return self.pull.node(kind, (), (slot, linear(index, var.type.shape).const), var.type.dtype)

    def elements(self, atom: Var | Lit) -> list[Expr]:
        return [self.pull.value(atom, tuple(Index((), i) for i in at)) for at in itertools.product(*map(range, atom.type.shape))]

    # --- steps

    def check_ops(self, graphs: Sequence[Graph]) -> None:
        updates = {change.eqn for change in self.changes.values()}
        for g in graphs:
            if g.effects or not all(isinstance(e.op, (Elementwise, Reduction, View, DotGeneral, Scan, While, Cond))
                                    for e in g.eqns if e not in updates):
                raise NotInRegisters("its body holds steps that are not elementwise")

    def make_steps(self, body: Graph) -> None:
        updates = {change.eqn for change in self.changes.values()}
        for eqn in body.eqns:
            if isinstance(eqn.op, (Scan, While)):
                self.add_step(self.root.inner_loop(eqn, self), eqn)
            elif isinstance(eqn.op, Cond):
                self.add_step(self.branch(eqn), eqn)
            elif eqn in updates:
                self.add_step(Writes(writes_of(self.pull, self.memory[eqn.inputs[0]], eqn)), eqn)

    def add_step(self, step: Step, eqn: Eqn) -> None:
        """A step that changes what its equation does."""
        for v in eqn.outputs:
            if v in self.changes:
                before = self.memory[self.changes[v].before]
                if any(before in s.ends for s in self.steps) or before in step.ends:
                    raise NotInRegisters("it changes an array in two ways")
                self.memory[v] = Memory(before.key, self.owner)
                step.ends.append(before)
                step.makes.append(self.memory[v])
        self.steps.append(step)

    def changed(self, operand: Any, after: Var) -> Memory:
        """The memory of an array that a loop or branch inside changes: one that this scope changes so itself."""
        if after not in self.changes or self.changes[after].before is not operand or operand not in self.memory:
            raise NotInRegisters("a loop inside of it changes an array that it does not")
        return self.memory[operand]

    def branch(self, eqn: Eqn) -> Branch:
        op, [index, *operands] = eqn.op, eqn.inputs
        if index.type.ndim:
            raise NotInRegisters("it chooses in each lane")
        owner = Axis("branch", 1)
        kept = [k for k, v in enumerate(eqn.outputs) if v not in self.changes]
        if sum(eqn.outputs[k].type.size for k in kept) > MOST_ELEMENTS:
            raise NotInRegisters("it chooses between large arrays")
        slots = {k: Slot(owner, k) for k in kept}
        blocks = [self.block(g, operands, owner, eqn, kept) for g in op.branches]
        results = [self.pull.node(RESULT, (), (slots[k], i), eqn.outputs[k].type.dtype)
                   for k in kept for i in range(eqn.outputs[k].type.size)]
        self.results |= {eqn.outputs[k]: slots[k] for k in kept}
        return Branch(owner, self.pull.value(index, ()), blocks, results)

    def block(self, graph: Graph, operands: list, owner: Axis, eqn: Eqn, kept: list[int]) -> tuple[list[Step], list[Expr]]:
        """The steps of a branch, and the elements of what it gives that is not in memory."""
        scope = Scope([graph], owner, self)
        scope.operands = {p: (x, ()) for p, x in zip(graph.params, operands)}
        for k, v in enumerate(eqn.outputs):
            if v in self.changes:
                root, changes = changes_of(graph.results[k], scope.producers)
                scope.memory[root] = Memory(self.changed(scope.operands[root][0], v).key, owner)
                scope.changes |= {c.after: c for c in changes}
        scope.check_ops([graph])
        scope.make_steps(graph)
        values = [e for k in kept for e in scope.elements(graph.results[k])]
        read_in_time(scope.steps, values)
        return scope.steps, values
    # --- folds and products, written out

    def folded(self, eqn: Eqn, index: tuple) -> Expr:
        """A reduction of few elements, written out pairwise."""
        op: Reduction = eqn.op
        types = [x.type for x in eqn.inputs]
        shape = types[0].shape
        if op.name == "reduce_sum" and self.lane_axes and math.prod(shape[a] for a in op.axes) > MOST_FOLDED // 2:
            return self.lane_sum(eqn, index)
        if math.prod(shape[a] for a in op.axes) > MOST_FOLDED:
            raise NotInRegisters("it folds many elements")
        kept = iter(index)
        base = [None if d in op.axes else next(kept) for d in range(len(shape))]
        terms = []
        for at in itertools.product(*(range(shape[a]) for a in op.axes)):
            place = dict(zip(op.axes, at))
            full = tuple(Index((), place[d]) if d in place else base[d] for d in range(len(shape)))
            xs = [self.pull.value(x, full if x.type.ndim else ()) for x in eqn.inputs]
            terms.append(tuple(op.element(self.pull, tuple(Index((), k) for k in at), *xs)))
        if not terms:
            return op.finish(self.pull, tuple(op.init(self.pull, types)))
        return op.finish(self.pull, pairwise(partial(op.combine, self.pull), terms))

    def lane_sum(self, eqn: Eqn, index: tuple) -> Expr:
        """A sum over axes as long as the lanes: each lane has its own element of them."""
        [x], axes = eqn.inputs, eqn.op.axes

        def term(place: dict[int, Index]) -> Expr:
            kept = iter(index)
            return self.pull.value(x, tuple(place[d] if d in place else next(kept) for d in range(x.type.ndim)))
        return self.sum_of(axes, [x.type.shape[a] for a in axes], term)

    def contracted(self, eqn: Eqn, index: tuple) -> Expr:
        """An element of a product of arrays, written out, or with the contracted axes as lanes."""
        x, y = eqn.inputs
        spec = eqn.op.spec(x.type.ndim, y.type.ndim)
        batch, rows, columns = cut(index, [len(spec.batch[0]), len(spec.free[0]), len(spec.free[1])])

        def element(v, side: int, free: list, place: dict[int, Index]) -> Expr:
            at = dict(zip(spec.batch[side], batch)) | dict(zip(spec.free[side], free))
            at |= {a: place[k] for k, a in enumerate(spec.contract[side])}
            return self.pull.value(v, tuple(at[d] for d in range(v.type.ndim)))

        def term(place: dict[int, Index]) -> Expr:
            return self.pull.mul(element(x, 0, rows, place), element(y, 1, columns, place))
        sizes = [x.type.shape[a] for a in spec.contract[0]]
        return self.sum_of(range(len(sizes)), sizes, term)

    def sum_of(self, axes, sizes: list[int], term) -> Expr:
        """The sum of term({axis: index}) over all indices; over lanes if the axes are as long as they are."""
        found = lane_dims(sizes, [a.size for a in self.lane_axes]) if self.lane_axes else None
        lane_of = {axes[d]: Index({lane: 1}) for d, lane in zip(found or (), self.lane_axes)}
        rest = [(a, n) for a, n in zip(axes, sizes) if a not in lane_of]
        if math.prod(n for _, n in rest) > MOST_FOLDED:
            raise NotInRegisters("it folds many elements")
        terms = [term({**lane_of, **{a: Index((), k) for (a, _), k in zip(rest, at)}})
                 for at in itertools.product(*(range(n) for _, n in rest))]
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [self.pull.add(a, b) for a, b in zip(terms[:half], terms[half:])] + terms[2 * half:]
        if not terms:
            raise NotInRegisters("it folds nothing")
        return self.pull.node(LANE_SUM, (terms[0],), None, terms[0].dtype) if lane_of else terms[0]


def lane_dims(shape, sizes: list[int]) -> tuple[int, ...] | None:
    """Where the lane axes are in a shape, in order; None if they are not there."""
    dims, start = [], 0
    for size in sizes:
        found = next((d for d in range(start, len(shape)) if shape[d] == size), None)
        if found is None:
            return None
        dims.append(found)
        start = found + 1
    return tuple(dims)

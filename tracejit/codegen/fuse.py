"""Fusion: the equations of a graph -> groups, each to become one kernel, and single equations for everything else.

A group shares one iteration space, the *domain*. Its members are
    full    one value per point of the domain (elementwise), never stored unless someone outside reads it
    reduce  folds some axes of the domain: the rest are the *rows*
    row     one value per row, computed from reductions
    column  a fold over the rows, in passing: the gradient of a layer normalisation's scale. Nobody in the group reads it
A full member may use a row value (softmax: x - max(x)); it then belongs to the next *stage*: each row is
passed over once per stage, while it is in the cache. Views are not members: they are pulled into their readers.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

from tracejit.ir.graph import Eqn, Graph, Var
from tracejit.ir.loops import LOAD, Axis, Index, Pull, axes_of, index_of
from tracejit.lax.kinds import Elementwise, Reduction, View

MOST_MEMBERS = 240          # longer chains are cut: code size and compile time grow faster than what fusion saves
MOST_BUFFERS = 48
ROW_BYTES = 1 << 18         # a row that is passed over several times must stay in the second-level cache
SERIAL_ELEMENTS = 1 << 14   # a whole array of at most this size may be one row
MOST_LINES = 512            # elements of a column that is passed over several times
CACHED_ELEMENTS = 1 << 20   # of an array whose columns may be longer
MOST_FOLDED = 24            # elements of rows that are folded side by side
MOST_COLUMNS = 1 << 13      # elements of a row of which folds over the rows keep a state
LEAST_TAIL = 8              # rows of which elementary functions take longer one by one than a kernel of its own does
SPLIT_ELEMENTS = 1 << 15    # a reduction of this many elements per row into few rows is cut into parts


@dataclass(eq=False)
class Step:
    """What runs as a unit. `before` is the bit set of the numbers of all steps that must run earlier."""
    number: int = -1
    before: int = 0


@dataclass(eq=False)
class Single(Step):
    """One equation that is not fused: a library call, a product, a loop."""
    eqn: Eqn = None  # type: ignore[assignment]


@dataclass(eq=False)
class Group(Step):
    """Equations that become one kernel."""
    domain: tuple[int, ...] = ()                    # sizes of the axes longer than 1
    reduced: tuple[int, ...] | None = None          # positions in the domain that its reductions fold
    eqns: list[Eqn] = field(default_factory=list)
    level: dict[Var, str] = field(default_factory=dict)
    stage: dict[Var, int] = field(default_factory=dict)
    operands: set[Var] = field(default_factory=set)

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(n for d, n in enumerate(self.domain) if d not in (self.reduced or ()))

    @property
    def reduced_size(self) -> int:
        return math.prod(self.domain[d] for d in self.reduced or ())

    @property
    def is_split(self) -> bool:
        """Few long rows: each is folded in parts by several tasks."""
        return self.reduced is not None and self.reduced_size >= SPLIT_ELEMENTS and math.prod(self.rows) < 64

    @property
    def folds_rows(self) -> bool:
        """Whether vectors lie along what is folded, so that rows come one after another."""
        side_by_side = self.reduced_size <= MOST_FOLDED <= (self.rows or (0,))[-1]
        return bool(self.reduced) and len(self.domain) - 1 in self.reduced and not side_by_side

    @property
    def may_have_rows(self) -> bool:
        """Whether one task can pass over a row several times: the row is small, or the whole array is."""
        return not self.is_split and (math.prod(self.domain) <= SERIAL_ELEMENTS or 4 * self.reduced_size <= ROW_BYTES)


def is_view(var: Var, producers: dict[Var, Eqn]) -> bool:
    """Whether a value only moves elements of others, and is read by pulling its index back to them."""
    made = producers.get(var)
    return made is not None and isinstance(made.op, View)


def sources_of(atoms, producers: dict[Var, Eqn]) -> dict[Var, None]:
    """The values that these are made of, views pulled away; the views themselves are among them."""
    found: dict[Var, None] = {}
    stack = [x for x in atoms if isinstance(x, Var)]
    while stack:
        v = stack.pop()
        if v not in found:
            found[v] = None
            if is_view(v, producers):
                stack += [x for x in producers[v].inputs if isinstance(x, Var)]
    return found


def squeezed(shape) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


@dataclass
class Reads:
    """What an equation reads, with views pulled away, at an element of its own space."""
    space: tuple[int, ...]                          # squeezed sizes of the points it computes or folds
    axes: tuple[Axis, ...]
    reduced: tuple[int, ...] | None                 # positions in `space` that it folds
    operands: list[tuple[Var, tuple[Index, ...]]]   # (value, squeezed index in it)


def reads_of(eqn: Eqn, producers: dict[Var, Eqn]) -> Reads:
    is_reduction = isinstance(eqn.op, Reduction)
    shape = eqn.inputs[0].type.shape if is_reduction else eqn.outputs[0].type.shape
    axes = axes_of(shape)
    found: dict[tuple, None] = {}

    def leaf(var: Var, index):
        if is_view(var, producers):
            return None
        at = tuple(i for i, n in zip(index, var.type.shape) if n != 1)
        found[var, at] = None
        return pull.node(LOAD, (), (var, Index(), ()), var.type.dtype)
    pull = Pull(leaf, producers)
    index = index_of(axes)
    for x in eqn.inputs:
        pull.value(x, index if x.type.ndim else ())
    kept = [d for d, n in enumerate(shape) if n != 1]
    reduced = tuple(i for i, d in enumerate(kept) if d in eqn.op.axes) if is_reduction else None
    return Reads(squeezed(shape), tuple(axes[d] for d in kept), reduced, list(found))


class Fuser:
    """One walk over the equations; each joins the groups that it may join, or opens its own."""

    def __init__(self, graph: Graph, vectors: bool):
        self.graph, self.vectors = graph, vectors
        self.producers = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
        self.order = {eqn: i for i, eqn in enumerate(graph.eqns)}
        self.steps: dict[int, Step] = {}
        self.step_of: dict[Var, Step] = {}
        self.readers: dict[Var, list[Group]] = {}   # groups that read a value from memory
        # Folds that leave the last axis are placed as late as possible: joined early, they would
        # fix the way a group is walked and shut out folds of its rows.
        self.waiting: dict[Var, Eqn] = {}
        self.count = 0
        self.last_effect = 0

    def run(self) -> list[Step]:
        for eqn in self.graph.eqns:
            if isinstance(eqn.op, View):
                continue
            self.place_waiting(eqn)
            if folds_columns(eqn):
                self.waiting[eqn.outputs[0]] = eqn
            elif isinstance(eqn.op, (Elementwise, Reduction)):
                self.place(eqn)
            else:
                self.add(Single(eqn=eqn), eqn, self.needs(eqn.inputs))
        for eqn in list(self.waiting.values()):
            self.place(eqn)
        if self.vectors:
            for group in [g for g in self.steps.values() if isinstance(g, Group)]:
                self.detach_tail(group)
        return sorted(self.steps.values(), key=lambda step: (step.before.bit_count(), step.number))

    def add(self, step: Step, eqn: Eqn, direct: int) -> None:
        step.number, self.count = self.count, self.count + 1
        if eqn.op.has_effects:  # effects keep the program's order
            direct |= self.last_effect
            self.last_effect = 1 << step.number
        step.before = self.closure(direct)
        self.steps[step.number] = step
        self.step_of.update((v, step) for v in eqn.outputs)

    def closure(self, direct: int) -> int:
        bits = direct
        for number in bits_of(direct):
            bits |= self.steps[number].before
        return bits

    def place_waiting(self, reader: Eqn) -> None:
        """Place the column folds that an equation reads."""
        if self.waiting:
            for v in sources_of(reader.inputs, self.producers):
                if v in self.waiting:
                    self.place(self.waiting.pop(v))

    def needs(self, atoms) -> int:
        """Bit set of the steps that compute these values, through views."""
        bits = 0
        for v in sources_of(atoms, self.producers):
            if v in self.step_of:
                bits |= 1 << self.step_of[v].number
        return bits

    def place(self, eqn: Eqn) -> None:
        reads = reads_of(eqn, self.producers)
        needs = self.needs(eqn.inputs)
        joined: Group | None = None
        for group in self.candidates(reads):
            if joined is None:
                level = self.level_in(group, eqn, reads)
                if level and not self.makes_cycle(group, needs):
                    self.join(group, eqn, reads, level, needs)
                    joined = group
            elif group is not joined and self.may_merge(joined, group):
                joined = self.merge(joined, group)
        if joined is None:
            group = Group(domain=reads.space, reduced=reads.reduced)
            self.add(group, eqn, needs)
            self.enter(group, eqn, reads, "reduce" if reads.reduced is not None else "full")

    def candidates(self, reads: Reads) -> list[Group]:
        """Groups whose members the equation reads, latest first; then those that read the same memory."""
        members = [self.step_of[v] for v, _ in reads.operands if isinstance(self.step_of.get(v), Group)]
        members.sort(key=lambda g: -g.number)
        beside = [g for v, _ in reads.operands if v not in self.step_of or isinstance(self.step_of[v], Single)
                  for g in self.readers.get(v, ()) if g.number in self.steps]
        return list(dict.fromkeys(members + beside[-4:]))

    def level_in(self, group: Group, eqn: Eqn, reads: Reads) -> str | None:
        """As what the equation could be a member of the group; None if it cannot."""
        if len(group.eqns) >= MOST_MEMBERS or len(group.operands) + len(reads.operands) > MOST_BUFFERS:
            return None
        if reads.space == group.domain:
            if reads.reduced is None:
                level = "full"
            elif group.reduced in (None, reads.reduced) and reads.reduced:
                level = "reduce"
            elif self.vectors and group.folds_rows and folds_over_rows(eqn, group, reads):
                level = "column"
            else:
                return None
        elif group.reduced and reads.reduced is None and reads.space == group.rows and group.may_have_rows:
            level = "row"
        else:
            return None
        own = index_of(reads.axes)
        rows = tuple(i for d, i in enumerate(own) if d not in (group.reduced or ()))
        for v, at in reads.operands:
            of = group.level.get(v)
            if of is None:
                continue
            if of == "column":
                return None
            if of == "full":
                if level == "row" or at != own:
                    return None
            elif at != (own if level == "row" else rows) or not (level == "row" or self.passes_again(group)):
                return None
        return level

    def passes_again(self, group: Group) -> bool:
        """Whether what reads a row's folds passes over the row again in the same kernel, while it is in the cache. Long columns
        are best folded as memory lies, all at once, and read again by another kernel."""
        columns = self.vectors and bool(group.reduced) and len(group.domain) - 1 not in group.reduced
        lie_in_cache = group.reduced_size <= MOST_LINES or math.prod(group.domain) <= CACHED_ELEMENTS
        return group.may_have_rows and (not columns or lie_in_cache)

    def makes_cycle(self, group: Group, needs: int) -> bool:
        """Whether something else that the equation needs must itself run after the group."""
        return any(self.steps[n].before >> group.number & 1 for n in bits_of(needs) if n != group.number)

    def join(self, group: Group, eqn: Eqn, reads: Reads, level: str, needs: int) -> None:
        if level == "reduce":
            group.reduced = reads.reduced
        self.enter(group, eqn, reads, level)
        self.step_of[eqn.outputs[0]] = group
        self.depend(group, self.closure(needs & ~(1 << group.number)))

    def depend(self, group: Group, more: int) -> None:
        """The group, and all that runs after it, now runs after `more` too."""
        bit = 1 << group.number
        more &= ~bit
        group.before |= more
        for step in self.steps.values():
            if step.before & bit:
                step.before |= more

    def enter(self, group: Group, eqn: Eqn, reads: Reads, level: str) -> None:
        stage = 0
        for v, _ in reads.operands:
            if v in group.level:
                later = level != "row" and group.level[v] != "full"
                stage = max(stage, group.stage[v] + later)
            else:
                group.operands.add(v)
                self.readers.setdefault(v, []).append(group)
        out = eqn.outputs[0]
        group.eqns.append(eqn)
        group.level[out], group.stage[out] = level, stage

    def detach_tail(self, group: Group) -> None:
        """Make row values a group of their own, if they hold elementary functions and only others read them: as rows they
        are computed one by one, there in vectors."""
        tail = self.tail_of(group)
        if not group.folds_rows or math.prod(group.rows) < LEAST_TAIL or not any(eqn.op.is_long for eqn in tail):
            return
        for eqn in tail:
            group.eqns.remove(eqn)
            del group.level[eqn.outputs[0]], group.stage[eqn.outputs[0]]
        own = Group(domain=group.rows)
        self.add(own, tail[0], 1 << group.number | group.before)
        for eqn in tail:
            self.step_of[eqn.outputs[0]] = own
            self.enter(own, eqn, reads_of(eqn, self.producers), "full")
        for step in self.steps.values():
            if step.before >> group.number & 1 and step is not own:
                step.before |= 1 << own.number

    def tail_of(self, group: Group) -> list[Eqn]:
        """The row values of which nothing else in the group is made."""
        used: set[Var] = set()
        tail: list[Eqn] = []
        for eqn in reversed(group.eqns):
            if group.level[eqn.outputs[0]] == "row" and eqn.outputs[0] not in used:
                tail.insert(0, eqn)
            else:
                used.update(sources_of(eqn.inputs, self.producers))
        return tail

    def may_merge(self, a: Group, b: Group) -> bool:
        """Whether the group b, of which the equation reads members at its own points, can be taken into a."""
        if a.domain != b.domain or b.number not in self.steps:
            return False
        if a.reduced is not None and b.reduced is not None and a.reduced != b.reduced:
            return False
        if len(a.eqns) + len(b.eqns) > MOST_MEMBERS or len(a.operands | b.operands) > MOST_BUFFERS:
            return False
        both = Group(domain=a.domain, reduced=a.reduced if a.reduced is not None else b.reduced)
        if not both.may_have_rows and any(lv == "row" for g in (a, b) for lv in g.level.values()):
            return False
        for first, last in ((a, b), (b, a)):  # nothing may have to run between the two
            between = last.before & ~(1 << first.number)
            if any(self.steps[n].before >> first.number & 1 for n in bits_of(between)):
                return False
        return self.reads_fit(a, b) and self.reads_fit(b, a)

    def reads_fit(self, reader: Group, made: Group) -> bool:
        """Whether all that one group reads of the other it reads at its own points."""
        shared = reader.operands & set(made.level)
        if not shared:
            return True
        probe = Group(domain=made.domain, reduced=reader.reduced if made.reduced is None else made.reduced, level=made.level)
        for eqn in reader.eqns:
            reads = reads_of(eqn, self.producers)
            if any(v in made.level for v, _ in reads.operands) and \
                    self.level_in(probe, eqn, reads) not in (reader.level[eqn.outputs[0]],):
                return False
        return True

    def merge(self, a: Group, b: Group) -> Group:
        eqns = sorted(a.eqns + b.eqns, key=self.order.__getitem__)
        merged_before = (a.before | b.before) & ~(1 << a.number) & ~(1 << b.number)
        a.reduced = a.reduced if a.reduced is not None else b.reduced
        levels = a.level | b.level
        a.eqns, a.level, a.stage, a.operands = [], {}, {}, set()
        del self.steps[b.number]
        for step in self.steps.values():
            if step.before >> b.number & 1:
                step.before = step.before & ~(1 << b.number) | 1 << a.number
        for eqn in eqns:
            self.step_of[eqn.outputs[0]] = a
            self.enter(a, eqn, reads_of(eqn, self.producers), levels[eqn.outputs[0]])
        a.before = merged_before
        self.depend(a, merged_before)
        return a


def folds_over_rows(eqn: Eqn, group: Group, reads: Reads) -> bool:
    """Whether an equation folds all that a group's rows are numbered by, of rows that are short and many."""
    return set(reads.reduced or ()) == set(range(len(group.domain))) - set(group.reduced or ()) and eqn.op.joins == 1 and \
        not group.is_split and group.reduced_size <= MOST_COLUMNS


def folds_columns(eqn: Eqn) -> bool:
    """Whether an equation folds other axes than the last."""
    if not isinstance(eqn.op, Reduction):
        return False
    shape = eqn.inputs[0].type.shape
    long = [d for d, n in enumerate(shape) if n != 1]
    return bool(long) and bool(eqn.op.axes) and long[-1] not in eqn.op.axes


def bits_of(bits: int):
    """The positions of the ones."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def fuse(graph: Graph, vectors: bool) -> list[Step]:
    """The graph as steps in an order in which they can run; with `vectors`, rows are folded one after another."""
    return Fuser(graph, vectors).run()

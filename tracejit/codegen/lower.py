"""A graph -> a Program: steps in order, each a kernel, a native call or a loop over sub-programs, and where values live."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit.codegen.contraction import contract
from tracejit.codegen.epilogue import BlocksOf, Takes, attach_epilogues
from tracejit.codegen.fuse import MOST_MEMBERS, Group, Single, fuse, is_view, reads_of, sources_of, squeezed
from tracejit.codegen.kernels import Kernel, build_kernel, copy_kernel
from tracejit.codegen.registers import NotInRegisters, RegisterLoop, register_loop
from tracejit.codegen.steps import ControlStep, KernelStep, NativeStep, Program, Region, Step
from tracejit.codegen.tiles import intervals, joins
from tracejit.ir.graph import Eqn, Graph, Var, live_eqns
from tracejit.ir.loops import LOAD, Axis, Index, Pull, axes_of, index_of, linear, postorder
from tracejit.ir.types import TapeType
from tracejit.lax.branches import Cond
from tracejit.lax.kinds import Elementwise
from tracejit.lax.loops import Scan, While
from tracejit.transforms.passes.joins import SMALL

ALIGN = 64
MOST_LOADS = 2          # large elements that a reader may load to compute one again
LONG_ROW = 64           # elements of a row, of which most are in code without conditions


@dataclass(frozen=True)
class Target:
    """What lowering asks of a back end: the scratch memory of an equation that is not fused, how it computes a product,
    why it cannot run a loop in registers ("": it can), the scratch memory of one that does, which epilogues it takes,
    how many trips of a loop it runs at once, whether it folds rows one after another in vectors, whether it computes the
    pieces of a join one by one, and how it computes elements of a loop in registers side by side (None: not)."""
    scratch_of: Callable[[Eqn], int]
    blocks_of: BlocksOf
    refusal: Callable[[Eqn, RegisterLoop], str] = lambda eqn, loop: ""
    loop_bytes: Callable[[RegisterLoop], int] = lambda loop: 0
    takes: Takes = lambda kernel, product: True
    shares_of: Callable[[Eqn, Sequence[Program]], int] = lambda eqn, programs: 1
    vectors: bool = False
    by_pieces: bool = False
    packed: Callable[[RegisterLoop], RegisterLoop] | None = None


def lower(graph: Graph, target: Target, owned: Sequence[Var] = (), donated: Sequence[Var] = ()) -> Program:
    """The program may overwrite its `owned` params, and put results into the memory of its `donated` params."""
    graph = Graph(graph.params, live_eqns(graph), graph.results)
    program = Lowering(graph, target).run()
    attach_epilogues(program, target.blocks_of, donated, target.takes)
    update_in_place(program, {*owned, *donated})
    program.reused = reusable(program, donated)
    plan_memory(program)
    return program


class Lowering:
    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self.producers = {v: eqn for eqn in graph.eqns for v in eqn.outputs}
        self.alias: dict[Var, Var] = {}
        self.steps: list[Step] = []
        self.in_memory: set[Var] = set(graph.params)

    def run(self) -> Program:
        order = fuse(self.graph, self.target.vectors)
        needed = self.needed_in_memory(order)
        self.recomputed = self.cheaper_again(order, needed)
        needed -= self.recomputed
        for group, v in self.read_once(order, needed):  # computed where the copy that reads it is written
            self.recomputed |= set(group.level)
            needed.discard(v)
        for step in order:
            if isinstance(step, Group):
                self.add_kernel(step, needed)
            else:
                self.add_single(step.eqn)
        for r in self.graph.results:
            if isinstance(r, Var):
                self.materialize(r)
        return Program(self.graph, self.steps, self.alias, self.producers)

    def needed_in_memory(self, order) -> set[Var]:
        """Members of groups that somebody outside of their group reads."""
        needed: set[Var] = set()
        group_of = {v: step for step in order if isinstance(step, Group) for v in step.level}

        def read(atoms, reader) -> None:
            needed.update(v for v in sources_of(atoms, self.producers) if v in group_of and group_of[v] is not reader)
        for step in order:
            if isinstance(step, Group):
                read([x for eqn in step.eqns for x in eqn.inputs], step)
            else:
                read(step.eqn.inputs, None)
        read(self.graph.results, None)
        return needed

    def cheaper_again(self, order, needed: set[Var]) -> set[Var]:
        """Values that their readers compute again from what is in memory anyway, rather than store them.

        Their small operands (such as a row's mean) are stored for it.
        """
        fixed = set(sources_of(self.graph.results, self.producers))
        for step in order:
            if isinstance(step, Single):
                fixed.update(sources_of(step.eqn.inputs, self.producers))
        again: dict[Var, int] = {}          # to the number of large elements that its readers load instead of one
        above: dict[Var, set[Var]] = {}     # to the values that are computed again from it, directly or not
        members = [e for step in order if isinstance(step, Group) for e in step.eqns if isinstance(e.op, Elementwise)]
        for eqn in reversed(members):
            v = eqn.outputs[0]
            if v not in needed or v in fixed or v.type.size < SMALL:
                continue
            read = [x for x, _ in reads_of(eqn, self.producers).operands]
            large = [x for x in read if x.type.size >= v.type.size // 4]
            users = above.get(v, set())
            more = len(large) - 1
            if all(x not in self.producers or x in needed for x in large) and \
                    len(large) <= MOST_LOADS and all(again[user] + more <= MOST_LOADS for user in users):
                again[v] = len(large)
                for user in users:
                    again[user] += more
                for x in large:
                    above.setdefault(x, set()).update(users, (v,))
                needed.update(x for x in read if x in self.producers)
        return set(again)

    def read_once(self, order, needed: set[Var]) -> list[tuple[Group, Var]]:
        """Elementwise groups of one stored value that nobody reads but one join of it with others, if that stays short enough."""
        readers: dict[Var, list] = {}
        for step in order:
            atoms = [x for eqn in step.eqns for x in eqn.inputs] if isinstance(step, Group) else []
            for v in sources_of(atoms, self.producers):
                readers.setdefault(v, []).append(step)
        copied = [x for step in order if isinstance(step, Single) for x in step.eqn.inputs] + list(self.graph.results)
        for x in copied:
            for v in sources_of([x], self.producers):
                readers.setdefault(v, []).append(x)
        found = []
        length = {step: len(step.eqns) for step in order if isinstance(step, Group)}
        for group in order:
            stored = [v for v in group.level if v in needed] if isinstance(group, Group) and group.reduced is None else []
            if len(stored) == 1:
                outside = [r for r in readers.get(stored[0], ()) if r is not group]
                if len(outside) != 1 or stored[0].type.size < SMALL or not self.reads_rows(outside[0], stored[0]):
                    continue
                both = length[group] + length.get(outside[0], 0)
                if both <= MOST_MEMBERS:
                    length[outside[0]] = both
                    found.append((group, stored[0]))
        return found

    def reads_rows(self, reader: Var | Group, v: Var) -> bool:
        """Whether a view that is copied, or an elementwise group, reads each element of a value once, in rows as they lie."""
        if isinstance(reader, Group):
            (axes, reads), apart = self.reads_of_group(reader, v), False
        else:
            axes, reads, apart = self.reads_of_view(reader, v)
        last = next((a for a in reversed(axes) if a.size > 1), None)
        return len(reads) == 1 and (apart or math.prod(a.size for a in axes) <= 2 * v.type.size) and \
            last is not None and last.size >= LONG_ROW and reads.pop().coefficient(last) == 1

    def reads_of_group(self, group: Group, v: Var) -> tuple[Sequence[Axis], set[Index]]:
        if group.reduced is not None:
            return (), set()
        of_members = [reads_of(eqn, self.producers) for eqn in group.eqns]
        at = [at for reads in of_members for x, at in reads.operands if x is v]
        return of_members[0].axes, {linear(index, squeezed(v.type.shape)) for index in at}

    def reads_of_view(self, x: Var, v: Var) -> tuple[Sequence[Axis], set[Index], bool]:
        """Axes, where on them a value is read, and whether only the piece that is made of it is computed there."""
        if not is_view(x, self.producers) or self.dense_base(x) is not None:
            return (), set(), False
        found: set[Index] = set()

        def leaf(var, at):
            if var is v:
                found.add(linear(at, v.type.shape))
            return None if is_view(var, self.producers) else pull.load(var, at)
        pull = Pull(leaf, self.producers)
        axes = axes_of(x.type.shape)
        root = pull.value(x, index_of(axes))
        return axes, found, self.target.by_pieces and joins(intervals(axes, postorder(root, ())))

    def add_kernel(self, group: Group, needed: set[Var]) -> None:
        stored = {v for v in group.level if v in needed}
        if stored:
            self.append_kernel(build_kernel(group, self.producers, stored, self.recomputed - set(group.level)))

    def append_kernel(self, kernel: Kernel) -> None:
        self.steps.append(KernelStep(kernel, [v for v in kernel.inputs], kernel.outputs))
        self.in_memory.update(kernel.outputs)

    def materialize(self, x: Var) -> Var:
        """Make sure that a value is in memory, densely: it is, or shares another's memory, or is copied."""
        if x in self.in_memory or x in self.alias:
            return x
        base = self.dense_base(x)
        if base is not None:
            self.alias[x] = self.materialize(base)
        else:
            self.append_kernel(copy_kernel(x, self.producers, self.recomputed))
        return x

    def dense_base(self, x: Var) -> Var | None:
        """The value whose memory, read in order, is this view of it."""
        reads: list[tuple] = []

        def leaf(v, at):
            if is_view(v, self.producers):
                return None
            reads.append((v, linear(at, v.type.shape)))
            return pull.node(LOAD, (), (v, Index(), pull.guards), v.type.dtype)
        pull = Pull(leaf, self.producers)
        axes = axes_of(x.type.shape)
        found = pull.value(x, index_of(axes))
        if found.kind != LOAD or found.data[2] or len(reads) != 1:
            return None
        base, offset = reads[0]
        same = base.type.size == x.type.size and base.type.dtype == x.type.dtype
        return base if same and offset == linear(index_of(axes), x.type.shape) else None

    def add_single(self, eqn: Eqn) -> None:
        reads = [self.materialize(x) for x in eqn.inputs if isinstance(x, Var)]
        self.in_memory.update(eqn.outputs)
        if not isinstance(eqn.op, (Scan, While, Cond)):
            self.steps.append(NativeStep(eqn, reads, list(eqn.outputs), self.target.scratch_of(eqn)))
            return
        loop, why_not = loop_in_registers(eqn, self.target)
        programs = [] if loop else [lower(g, self.target, owned_params(eqn.op, g)) for g in subgraphs_of(eqn.op)]
        shares = 1 if loop else self.target.shares_of(eqn, programs)
        region = Region(self.target.loop_bytes(loop) if loop else shares * control_bytes(eqn, programs))
        self.steps.append(ControlStep(eqn, programs, reads, list(eqn.outputs), region, loop, why_not, shares))


def loop_in_registers(eqn: Eqn, target: Target) -> tuple[RegisterLoop | None, str]:
    """The loop with its carry in registers, or why not."""
    if isinstance(eqn.op, Cond):
        return None, ""
    try:
        loop = contract(register_loop(eqn, subgraphs_of(eqn.op), target.packed is not None))
        loop = target.packed(loop) if target.packed else loop
        why_not = target.refusal(eqn, loop)
        return (None, why_not) if why_not else (loop, "")
    except NotInRegisters as reason:
        return None, str(reason)


def subgraphs_of(op) -> list[Graph]:
    if isinstance(op, Scan):
        return [op.body]
    return [op.cond, op.body] if isinstance(op, While) else list(op.branches)


def carry_params(op: Scan | While) -> list[Var]:
    """The params of a loop's body that hold its carry: the loop's own memory."""
    consts = op.n_consts if isinstance(op, Scan) else op.n_body_consts
    return op.body.params[consts:consts + op.n_carry]


def carry_operands(eqn: Eqn) -> list:
    """What a loop's carry begins as."""
    return eqn.op.parts(eqn.inputs)[2]


def owned_params(op, graph: Graph) -> list[Var]:
    return carry_params(op) if isinstance(op, (Scan, While)) and graph is op.body else []


def update_in_place(program: Program, owned: set[Var]) -> None:
    """Give an op that changes one of its operands that operand's memory, if nobody reads the operand afterwards."""
    results = {program.home(r) for r in program.graph.results if isinstance(r, Var)}
    params = set(program.graph.params)
    for i, (operand, out) in [(i, pair) for i, step in enumerate(program.steps) for pair in changed_by(step)]:
        home = program.home(operand)
        read_later = any(program.home(v) is home for later in program.steps[i + 1:] for v in later.reads)
        others = [x for x in program.steps[i].eqn.inputs if isinstance(x, Var) and x is not operand]
        if read_later or home in results or any(program.home(x) is home for x in others) or home in params - owned:
            continue
        program.alias[out] = operand
        if home in params:
            program.overwritten.add(home)
        if program.home(out) is home and out in results:
            results = {program.home(r) for r in program.graph.results if isinstance(r, Var)}


def changed_by(step: Step) -> list[tuple[Var, Var]]:
    """Operands that a step changes, each with the result that is the changed one."""
    if isinstance(step, NativeStep) and step.eqn.op.overwrites is not None:
        pairs = [(step.eqn.inputs[step.eqn.op.overwrites], step.eqn.outputs[0])]
    elif isinstance(step, ControlStep) and isinstance(step.eqn.op, (Scan, While)):
        pairs = [(x, step.eqn.outputs[k]) for k, x in enumerate(carry_operands(step.eqn)) if stays_in_place(step, k)]
    else:
        pairs = []
    return [(x, out) for x, out in pairs if isinstance(x, Var) and step.eqn.inputs.count(x) == 1]


def stays_in_place(step: ControlStep, k: int) -> bool:
    """Whether a loop changes carry k where it lies. (Not one in registers that runs while a condition holds.)"""
    if step.registers is not None:
        return not step.registers.may_not_end and step.registers.carried[k].in_memory
    return step.programs[-1].stays(k, carry_params(step.eqn.op)[k])


def reusable(program: Program, donated: Sequence[Var]) -> dict[int, int]:
    """Which results may be written into the memory of which donated params: those that nobody reads any more."""
    number = {p: k for k, p in enumerate(program.graph.params)}
    homes = [program.home(r) if isinstance(r, Var) else None for r in program.graph.results]
    count = Counter(homes)
    found: dict[int, int] = {}
    free = dict.fromkeys(donated)
    for j, home in enumerate(homes):
        if home in number and home in free:     # updated in place, or passed through
            found[j] = number[home]
            del free[home]
    for j, home in enumerate(homes):
        if home is None or home in number or count[home] > 1:
            continue
        match = next((p for p in free if p.type.strong() is home.type.strong() and may_replace(program, home, p)), None)
        if match is not None:
            found[j] = number[match]
            del free[match]
    return found


def may_replace(program: Program, value: Var, param: Var) -> bool:
    """Whether the step that writes a value is the last to read a param, and reads it only where it writes."""
    writer = next((i for i, step in enumerate(program.steps) if any(v is value for v in step.writes)), None)
    is_result = any(program.home(r) is param for r in program.graph.results if isinstance(r, Var))
    if writer is None or param in program.overwritten or is_result:
        return False
    readers = [i for i, step in enumerate(program.steps) if any(program.home(v) is param for v in step.reads)]
    if any(i > writer for i in readers):
        return False
    if writer not in readers:
        return True
    step = program.steps[writer]
    kernel = step.kernel if isinstance(step, KernelStep) else step.epilogue if isinstance(step, NativeStep) else None
    if kernel is None or len(kernel.stages) > 1 or kernel.fold_axes:
        return False
    if isinstance(step, NativeStep) and any(program.home(v) is param for v in step.eqn.inputs if isinstance(v, Var)):
        return False
    offset = next((s.offset for s in kernel.stages[0].stores if s.var is value), None)
    loads = [e for e in kernel.loads if program.home(e.data[0]) is param]
    return all(e.data[0] is param and e.data[1] == offset for e in loads)


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def size_of(t) -> int:
    return 16 if isinstance(t, TapeType) else t.nbytes


def control_bytes(eqn: Eqn, programs: list[Program]) -> int:
    """Scratch of a control step: its programs' arenas one at a time, and two copies of a loop's carry."""
    if not programs:
        return 0
    carry = eqn.op.n_carry if isinstance(eqn.op, (Scan, While)) else 0
    twice = 2 * sum(aligned(size_of(v.type)) for v in eqn.outputs[:carry])
    records = sum(aligned(size_of(r.type)) for r in programs[-1].graph.results) if carry or isinstance(eqn.op, Scan) else 0
    return max((p.arena for p in programs), default=0) + twice + records + ALIGN


def plan_memory(program: Program) -> None:
    """Offsets in the arena: each value from the step that writes it to the last that reads it; freed space is reused."""
    results = {program.home(r) for r in program.graph.results if isinstance(r, Var)}
    params = set(program.graph.params)
    last: dict[Any, int] = {}
    for i, step in enumerate(program.steps):
        for v in [*step.reads, *step.writes]:
            last[program.home(v)] = i
    free: list[tuple[int, int]] = [(0, 1 << 62)]
    ending: dict[int, list[tuple[int, int]]] = {}
    for i, step in enumerate(program.steps):
        wanted: list[tuple[Any, int]] = [(v, size_of(v.type)) for v in step.writes if v not in results and v not in params]
        if isinstance(step, ControlStep):
            wanted.append((step.region, step.region.nbytes))
        if isinstance(step, NativeStep):
            wanted.append((step, step.scratch))
        for v, nbytes in wanted:
            offset = take(free, aligned(max(nbytes, 1)))
            program.offsets[v] = offset
            program.arena = max(program.arena, offset + aligned(max(nbytes, 1)))
            ending.setdefault(last.get(v, i), []).append((offset, aligned(max(nbytes, 1))))
        for offset, nbytes in ending.pop(i, ()):
            give_back(free, offset, nbytes)


def take(free: list[tuple[int, int]], nbytes: int) -> int:
    k = next(k for k, (_, size) in enumerate(free) if size >= nbytes)
    offset, size = free[k]
    free[k:k + 1] = [(offset + nbytes, size - nbytes)] if size > nbytes else []
    return offset


def give_back(free: list[tuple[int, int]], offset: int, nbytes: int) -> None:
    free.append((offset, nbytes))
    free.sort()
    joined: list[tuple[int, int]] = []
    for start, size in free:
        if joined and joined[-1][0] + joined[-1][1] == start:
            joined[-1] = joined[-1][0], joined[-1][1] + size
        else:
            joined.append((start, size))
    free[:] = joined

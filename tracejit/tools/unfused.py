"""The kernels of a graph -> why an equation that reads a kernel's value is not part of that kernel."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tracejit.codegen.fuse import MOST_BUFFERS, MOST_MEMBERS, Fuser, Group, Reads, bits_of
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.loops import Index, index_of
from tracejit.lax.kinds import Elementwise, Reduction, View


@dataclass(frozen=True)
class Unfused:
    """A value goes through memory from one equation to another."""
    source: str     # what makes it
    reader: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reader} after {self.source}: {self.reason}"


class ExplainingFuser(Fuser):
    """Fuses as usual, and notes why an equation did not join the group of a value that it reads."""

    def __init__(self, graph: Graph):
        super().__init__(graph, vectors=True)
        self.notes: dict[tuple[Eqn | None, int], str] = {}

    def level_in(self, group: Group, eqn: Eqn, reads: Reads) -> str | None:
        level = super().level_in(group, eqn, reads)
        if level is None:
            self.notes[eqn, group.number] = self.reason(group, reads)
        return level

    def makes_cycle(self, group: Group, needs: int) -> bool:
        found = super().makes_cycle(group, needs)
        if found:
            self.notes[None, group.number] = "something that it needs must run in between"
        return found

    def detach_tail(self, group: Group) -> None:
        for eqn in self.tail_of(group):
            self.notes[eqn, group.number] = "elementary functions of rows would be computed one by one, here in vectors"
        super().detach_tail(group)

    def reason(self, group: Group, reads: Reads) -> str:
        if len(group.eqns) >= MOST_MEMBERS or len(group.operands) + len(reads.operands) > MOST_BUFFERS:
            return "the kernel would be too large"
        if reads.space == group.domain and reads.reduced is not None and group.reduced not in (None, reads.reduced):
            return f"it folds other axes ({reads.reduced}, not {group.reduced})"
        if reads.space not in (group.domain, group.rows):
            folded = f" folded to {group.rows}" if group.reduced else ""
            return f"it runs over {reads.space}, the kernel over {group.domain}{folded}"
        if not self.passes_again(group):
            return "a row is too long to be passed over again while it is in the cache"
        return "it reads the kernel's values at other places than its own" + self.places(group, reads)

    def places(self, group: Group, reads: Reads) -> str:
        own = index_of(reads.axes)
        for v, at in reads.operands:
            if group.level.get(v) == "full" and at != own:
                return f": {self.producers[v].op.name} at {place(at)}, where it computes {place(own)}"
        return ""

    def why(self, eqn: Eqn, other: Any) -> str:
        if not isinstance(other, Group):
            return f"{other.eqn.op.name} is a call of its own"
        if not isinstance(eqn.op, (Elementwise, Reduction)):
            return f"{eqn.op.name} is a call of its own"
        return self.notes.get((eqn, other.number)) or self.notes.get((None, other.number)) or "it joined another kernel first"


def place(index: tuple[Index, ...]) -> str:
    return "[" + ", ".join(repr(i).replace("1*", "") for i in index) + "]"


def why_not_fused(graph: Graph, within: Collection[Eqn] = ()) -> list[Unfused]:
    """Each equation that reads another step's value from memory, and why it is not part of that step.

    What runs `within` products, block by block, reads nothing from memory.
    """
    fuser = ExplainingFuser(graph)
    fuser.run()
    found: dict[Unfused, None] = {}
    for eqn in graph.eqns:
        if isinstance(eqn.op, View) or eqn in within:
            continue
        mine = fuser.step_of.get(eqn.outputs[0]) if eqn.outputs else None
        for number in bits_of(fuser.needs(eqn.inputs)):
            other = fuser.steps.get(number)
            if other is not None and other is not mine:
                eqns = other.eqns if isinstance(other, Group) else [other.eqn]
                source = " ".join(dict.fromkeys(e.op.name for e in eqns))
                found[Unfused(source, eqn.op.name, fuser.why(eqn, other))] = None
    return list(found)

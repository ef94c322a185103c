"""What a Program is made of: kernels, native calls and control flow, in order, and where their values live."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracejit.codegen.kernels import Kernel
from tracejit.codegen.registers import RegisterLoop
from tracejit.ir.graph import Eqn, Graph, Var


@dataclass(eq=False)
class KernelStep:
    kernel: Kernel
    reads: list[Var]
    writes: list[Var]


@dataclass(eq=False)
class NativeStep:
    """One equation whose op emits its own code."""
    eqn: Eqn
    reads: list[Var]
    writes: list[Var]
    scratch: int
    epilogue: Kernel | None = None   # what is computed from each block of a product as soon as it is done


@dataclass(eq=False)
class Region:
    """Scratch bytes as a value of the memory plan."""
    nbytes: int


@dataclass(eq=False)
class ControlStep:
    """A loop or a branch, with the programs of its sub-graphs, which share one region of scratch memory."""
    eqn: Eqn
    programs: list[Program]
    reads: list[Var]
    writes: list[Var]
    region: Region       # the scratch memory that lives during this step
    registers: RegisterLoop | None = None
    why_not: str = ""    # why the loop does not run in registers
    shares: int = 1      # how many trips of the loop may run at once, each with an equal part of the region


Step = KernelStep | NativeStep | ControlStep


@dataclass(eq=False)
class Program:
    """What runs for a graph. `alias` maps a value to the value whose memory it shares."""
    graph: Graph
    steps: list[Step]
    alias: dict[Var, Var]
    producers: dict[Var, Eqn]
    offsets: dict[Any, int] = field(default_factory=dict)
    arena: int = 0
    reused: dict[int, int] = field(default_factory=dict)    # result -> the donated param whose memory it may take
    overwritten: set[Var] = field(default_factory=set)      # params that are changed in place

    def stays(self, k: int, param: Var) -> bool:
        """Whether result k is the param itself, changed in place."""
        result = self.graph.results[k]
        return param in self.overwritten and isinstance(result, Var) and self.home(result) is param

    def home(self, var: Var) -> Var:
        """The value in whose memory this one is found."""
        while var in self.alias:
            var = self.alias[var]
        return var

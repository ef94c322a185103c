"""A program on a GPU -> what it launches, calls and copies: `explain` for arrays that are on a device."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit.codegen.cuda.program import Block, ControlFlow, Copy, Kernels, Library
from tracejit.ir.graph import Graph
from tracejit.runtime.array import as_array
from tracejit.runtime.compile import compile_graph
from tracejit.runtime.cuda.accounts import sized
from tracejit.runtime.device import Device
from tracejit.runtime.report import reports


@dataclass(frozen=True)
class DeviceExplanation:
    """How one program runs on a device. It prints as a text."""
    name: str
    graph: Graph
    device: Device
    code: Any                                   # of codegen/cuda/program.py
    facts: dict[str, Any]                       # kernel -> what the assembler said of it
    copies: dict[str, tuple[int, int]]          # between host and device in one call: why -> (times, bytes)
    is_captured: bool                           # a repeated call is one graph of launches

    def __str__(self) -> str:
        kind = "emulated" if self.device.runtime.is_emulated else self.device.device_kind
        how = "a repeated call is replayed as one graph" if self.is_captured else "each call is driven by the host"
        lines = [f"{self.name} on {self.device} ({kind}): {len(self.graph.eqns)} equations, {len(self.code.sources)} kernels, "
                 f"{sized(self.code.arena_bytes)} of scratch memory; {how}"]
        lines += ["    " + line for line in self.block_lines(self.code.block)]
        lines += [f"    copied {times} x, {sized(nbytes)} together: {why}" for why, (times, nbytes) in self.copies.items()]
        return "\n".join(lines if self.copies else [*lines, "    nothing is copied between host and device"])

    __repr__ = __str__

    def block_lines(self, block: Block) -> Iterator[str]:
        for command in block.commands:
            if isinstance(command, Kernels):
                yield from (self.launch_line(launch) for launch in command.launches)
            elif isinstance(command, Library):
                yield f"library: {command.eqn.op.name} of {', '.join(str(x.type) for x in command.eqn.inputs)}"
            elif isinstance(command, Copy):
                yield f"copy of {sized(command.nbytes)} on the device"
            elif isinstance(command, ControlFlow):
                yield f"{command.step.eqn.op.name}, driven by the host"
                yield from ("    " + line for inner in command.blocks for line in self.block_lines(inner))

    def launch_line(self, launch: Any) -> str:
        found = self.facts[launch.source.name]
        grid = " x ".join(map(str, launch.grid))
        spilled = f", {found.spill_bytes} bytes spilled" if found.spill_bytes else ""
        return f"kernel {launch.source.name[:11]}: {grid} blocks of {launch.source.threads}, {found.registers} registers{spilled}"


def explain_on(device: Device, name: str, graph: Graph, captured: Sequence[Any], leaves: Sequence[Any]) -> DeviceExplanation:
    """Compile for a device, run twice, and tell what the second run did."""
    made = compile_graph(graph, (), (), device)
    report = reports[-1]
    arrays = [as_array(x) for x in [*captured, *leaves]]
    made.run(arrays)
    before = device.transfers()
    made.run(arrays)
    since = lambda why, counts: tuple(now - was for now, was in zip(counts, before.get(why, (0, 0))))
    copies = {why: since(why, counts) for why, counts in device.transfers().items()}
    facts = {source.name: kernel.facts for source, kernel in zip(report.code.sources, device.runtime.load(report.code.sources))}
    return DeviceExplanation(name, graph, device, report.code, facts, {why: n for why, n in copies.items() if n[0]},
                             made.executor.is_capturable)

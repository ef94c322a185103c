"""Ops that compute lane by lane (a window that scatter moves about, a row of a running sum) -> a kernel of one thread per lane.

Such an op says `device_lanes(types)`, how many lanes there are, and `device_lane(b, lane, ins, outs, types)` emits one:
lanes never write what another lane reads or writes.
"""
from __future__ import annotations

from collections.abc import Sequence

from tracejit.codegen.cpu.value import PTR
from tracejit.codegen.cuda.builder import Builder
from tracejit.codegen.cuda.general import THREADS, global_thread
from tracejit.codegen.cuda.instructions import memory_word
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.ir.graph import Eqn


def lane_source(name: str, eqn: Eqn, types: Sequence) -> KernelSource:
    """The kernel of an equation whose op computes lane by lane; `types` are its operands'."""
    b = Builder(name, [(f"p{k}", PTR) for k in range(len(types) + len(eqn.outputs))])
    lane = global_thread(b, eqn.op.device_lanes(types))
    eqn.op.device_lane(b, b.wide(lane), b.params[:len(types)], b.params[len(types):], types)
    signature = tuple(f"*{memory_word(t.dtype)}" for t in [*types, *[v.type for v in eqn.outputs]])
    return KernelSource(name, b.text(), signature, THREADS, functions=tuple(f.text for f in b.functions.values()))

"""A closed Graph -> an executable on a GPU: the compiler's page again, with the back end for CUDA and a Runtime below.

`graphs.py` captures a program that is called again with its arrays at the same addresses.
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cuda.interface import Buffer
from tracejit.codegen.cuda.program import Code, generate
from tracejit.errors import DeviceError, DonatedArrayError, user_source
from tracejit.ir.graph import Graph
from tracejit.ir.types import ArrayType
from tracejit.runtime.cuda import kernels
from tracejit.runtime.cuda.executor import Executor
from tracejit.runtime.cuda.graphs import GraphCache
from tracejit.runtime.device import Device
from tracejit.runtime.placed import PlacedArray, check_copy
from tracejit.runtime.report import Report
from tracejit.transforms.passes.pipeline import DEVICE_PASSES

ARGUMENT, CAPTURED = "an argument of a program was on the host", "an array that a program captured was on the host"


def compile_graph(graph: Graph, consts: Sequence[Any], donated: Sequence[int], device: Device) -> DeviceExecutable:
    """A graph as a program on a device. `consts` are the values of its last params, which are kept there; results may
    take the memory of the params whose numbers are `donated`."""
    report, source = Report(graph), graph
    start, before = time.perf_counter(), (kernels.stats.compiled, kernels.stats.disk)
    for name, change in DEVICE_PASSES:
        graph = report.stage(name, change, graph)
    code: Code = report.stage("generate", generate, graph, [graph.params[i] for i in donated])
    executor = report.stage("compile", Executor, code, device.runtime)
    report.compiled, report.from_disk = kernels.stats.compiled - before[0], kernels.stats.disk - before[1]
    report.seconds = time.perf_counter() - start
    report.finish_on_device(code)
    return DeviceExecutable(executor, source.in_types, source.out_types, consts, device)


class DeviceExecutable:
    """A program on a device: arrays in, PlacedArrays out. Arguments on the host are copied, if transfer_guard allows it."""

    def __init__(self, executor: Executor, in_types: Sequence[ArrayType], out_types: Sequence[ArrayType],
                 consts: Sequence[Any], device: Device) -> None:
        n = len(in_types) - len(consts)
        self.executor, self.device, self.runtime = executor, device, device.runtime
        self.in_types, self.out_types = tuple(in_types[:n]), tuple(out_types)
        self.arena_bytes = executor.code.arena_bytes
        self.donated = dict(executor.code.program.reused)
        self.names = [f"result {k} of a program, {t}, made at {place_text()}" for k, t in enumerate(out_types)]
        self.consts = [self.buffer_of(x, t, CAPTURED, explicit=True) for x, t in zip(consts, in_types[n:])]
        self.graphs = GraphCache(self.runtime)

    def run(self, arrays: Sequence[Any]) -> list[PlacedArray]:
        """The outputs for these inputs. TypeError for other types, DonatedArrayError for deleted inputs."""
        self.check(arrays)
        ins = [self.buffer_of(x, t, ARGUMENT, explicit=False) for x, t in zip(arrays, self.in_types)] + self.consts
        outs = [ins[self.donated[k]] if k in self.donated and self.is_given(arrays, self.donated[k])
                else self.runtime.allocate(max(t.nbytes, 1), name) for k, (t, name) in enumerate(zip(self.out_types, self.names))]
        with self.runtime.current():
            self.graphs.run(self.executor, [b.address for b in ins], [b.address for b in outs])
        for k in self.donated.values():
            if self.is_given(arrays, k):
                arrays[k].delete()
        return [PlacedArray(t, buffer, self.device) for t, buffer in zip(self.out_types, outs)]

    def is_given(self, arrays: Sequence[Any], k: int) -> bool:
        """Whether input k is the caller's own memory on this device: a copy of a host array is not worth keeping."""
        return k < len(arrays) and arrays[k].__class__ is PlacedArray

    def check(self, arrays: Sequence[Any]) -> None:
        if len(arrays) != len(self.in_types):
            raise TypeError(f"compiled for {len(self.in_types)} arrays, called with {len(arrays)}")
        for x, t in zip(arrays, self.in_types):
            if x.__class__ is PlacedArray and x.type is not t:
                raise TypeError(f"compiled for {t}, called with {x.type}")
            if x.__class__ is PlacedArray and x.is_deleted():
                raise DonatedArrayError(f"Array has been deleted with shape={x.type}: it was deleted or donated before this use")

    def buffer_of(self, x: Any, t: ArrayType, why: str, explicit: bool) -> Buffer:
        """The device memory of an input: its own, or that of a copy."""
        if x.__class__ is PlacedArray and x.device is self.device:
            return x.buffer
        if x.__class__ is PlacedArray:
            raise DeviceError(f"the program runs on {self.device!r}, an array is on {x.device!r}", source=user_source(),
                              fix="device_put(x, device)")
        return uploaded(self.device, t, np.asarray(x, t.dtype), why, explicit).buffer


def place_text() -> str:
    source = user_source()
    return "an unknown place" if source is None else source.place


def uploaded(device: Device, t: ArrayType, host: np.ndarray, why: str, explicit: bool) -> PlacedArray:
    """A host array on a device."""
    check_copy("host_to_device", t, explicit)
    runtime = device.runtime
    buffer = runtime.allocate(max(t.nbytes, 1), f"{t} from the host, at {place_text()}")
    if t.nbytes:
        runtime.upload(buffer.address, np.ascontiguousarray(host, t.dtype), why)
    return PlacedArray(t, buffer, device)

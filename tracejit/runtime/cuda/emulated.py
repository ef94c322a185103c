"""`EmulatedRuntime`: a Runtime without a GPU. Memory is NumPy's, kernels run as their compiled PTX in the interpreter.

It checks what a device would leave undefined: each access within the extents of a launch, aligned, no races in shared
memory, nothing read that was not written (new memory is filled with nan), nothing waited for while a graph is captured.
"""
from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.codegen.cuda.interface import ConvWindow, Epilogue, KernelFacts, KernelSource, View
from tracejit.errors import DeviceError
from tracejit.runtime.cuda import kernels, routines
from tracejit.runtime.cuda.accounts import Accounts, Allocating, DeviceBuffer
from tracejit.runtime.cuda.graphs import CapturedGraphs
from tracejit.runtime.cuda.order import HostCalls, waits
from tracejit.runtime.cuda.ptx.machine import launch
from tracejit.runtime.cuda.ptx.memory import Counters
from tracejit.runtime.cuda.ptx.program import Program, compile_program

ALIGNMENT = 256
CAPACITY = 4 << 30
MOST_THREADS, MOST_BLOCKS, MOST_SHARED = 1024, 2**31 - 1, 48 << 10     # of a block, of a launch, bytes of a block
POISON = 0xFF           # four of them are a nan, as an integer a number that stands out


@dataclass(frozen=True)
class EmulatedKernel:
    source: KernelSource
    facts: KernelFacts
    ptx: str
    cubin: bytes

    @functools.cached_property
    def program(self) -> Program:
        return compile_program(self.ptx)


class HostMemory:
    """What NumPy needs to make an array of other memory, which `owner` keeps alive."""

    def __init__(self, view: View, owner: Any) -> None:
        item, self.owner = view.dtype.itemsize, owner
        strides = None if view.strides is None else tuple(item * s for s in view.strides)
        self.__array_interface__ = {"data": (view.address, False), "shape": view.shape, "typestr": f"|V{item}",
                                    "strides": strides, "version": 3}


def array_at(view: View, owner: Any = None) -> np.ndarray:
    """The array in memory that a view describes; it keeps the owner alive."""
    if 0 in view.shape:
        return np.zeros(view.shape, view.dtype)
    return np.asarray(HostMemory(view, owner)).view(view.dtype)


def ordered(method: Callable[..., None]) -> Callable[..., None]:
    """A call that runs in the order of the stream: now, or when the graph that is being captured is replayed."""
    @functools.wraps(method)
    def run_or_record(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.recorded is None:
            method(self, *args, **kwargs)
        else:
            self.recorded.append(functools.partial(method, self, *args, **kwargs))
    return run_or_record


class EmulatedRuntime(HostCalls, Allocating):
    """One emulated device; `counters` say what its kernels did, in detail where `counting` is on."""
    is_emulated = True
    multiprocessors = 132
    factors = routines.HostFactors()

    def __init__(self, compute_capability: tuple[int, int] = (9, 0), capacity: int = CAPACITY) -> None:
        self.compute_capability = compute_capability
        self.accounts, self.captured = Accounts(lambda: capacity), CapturedGraphs()
        self.counters, self.counting = Counters(), False
        self.loaded: dict[KernelSource, EmulatedKernel] = {}
        self.recorded: list[Callable[[], None]] | None = None

    def current(self) -> Any:
        return contextlib.nullcontext()

    library = current

    # --- memory -----------------------------------------------------------------------------------

    def take(self, nbytes: int, what: str) -> DeviceBuffer:
        self.accounts.check_room(nbytes, what)
        memory = np.full(nbytes + ALIGNMENT, POISON, np.uint8)
        address = memory.ctypes.data
        return self.accounts.add(DeviceBuffer(address + -address % ALIGNMENT, nbytes, what, memory))

    def upload(self, address: int, host: np.ndarray, why: str = "") -> None:
        self.accounts.note_copy(why, host.nbytes)
        self.put(address, np.array(host, order="C"))

    @ordered
    def put(self, address: int, host: np.ndarray) -> None:
        array_at(View(address, (host.nbytes,), np.dtype("u1")))[...] = host.reshape(-1).view(np.uint8)

    @waits
    def download(self, view: View, why: str = "") -> np.ndarray:
        found = np.array(array_at(view), order="C")
        self.accounts.note_copy(why, found.nbytes)
        return found

    @ordered
    def copy(self, target: int, source: int, nbytes: int) -> None:
        if abs(target - source) < nbytes:
            raise DeviceError(f"a copy of {nbytes} bytes overlaps itself")
        array_at(View(target, (nbytes,), np.dtype("u1")))[...] = array_at(View(source, (nbytes,), np.dtype("u1")))

    @ordered
    def fill(self, address: int, nbytes: int, byte: int = 0) -> None:
        array_at(View(address, (nbytes,), np.dtype("u1")))[...] = byte

    def array(self, view: View) -> np.ndarray:
        return array_at(view)

    def exported(self, view: View, buffer: DeviceBuffer, stream: Any, max_version: Any) -> Any:
        """A DLPack capsule on the memory of a view."""
        return array_at(view, buffer).__dlpack__(**({} if max_version is None else {"max_version": max_version}))

    def imported(self, tensor: Any, copy: bool | None) -> tuple[DeviceBuffer, tuple[int, ...], np.dtype]:
        """No other library knows this device."""
        raise BufferError("a tensor on a GPU cannot be read where GPUs are emulated")

    def memory_stats(self) -> dict[str, int]:
        return {**self.accounts.stats(), "bytes_reserved": self.accounts.in_use}

    def transfers(self) -> Mapping[str, tuple[int, int]]:
        return self.accounts.transfers()

    # --- kernels ----------------------------------------------------------------------------------

    def load(self, sources: Sequence[KernelSource]) -> list[EmulatedKernel]:
        new = [source for source in dict.fromkeys(sources) if source not in self.loaded]
        for source, found in zip(new, kernels.artifacts_of(new, self.compute_capability)):
            self.loaded[source] = EmulatedKernel(source, found.facts, found.ptx, found.cubin)
        return [self.loaded[source] for source in sources]

    def launcher(self, kernel: EmulatedKernel, grid: tuple[int, ...], extents: Sequence[int] | None = None
                 ) -> Callable[..., None]:
        threads, shared = kernel.source.threads, kernel.facts.shared_bytes
        if not (0 < math.prod(grid) <= MOST_BLOCKS and len(grid) == 1 and threads <= MOST_THREADS and shared <= MOST_SHARED):
            raise DeviceError(f"kernel {kernel.source.name}: no device takes {grid} blocks of {threads} threads and {shared} bytes")
        return functools.partial(self.launch, kernel, grid, extents)

    @ordered
    def launch(self, kernel: EmulatedKernel, grid: tuple[int, ...], extents: Sequence[int] | None, *arguments: Any) -> None:
        launch(kernel.program, grid, kernel.source.threads, arguments, self.regions(kernel, extents, arguments), self.counters,
               self.counting)

    def regions(self, kernel: EmulatedKernel, extents: Sequence[int] | None, arguments: Sequence[Any]) -> list[tuple[int, int]]:
        """What a kernel may touch: the extent of each pointer, which must be memory of this device."""
        live = [b for b in (ref() for ref in list(self.accounts.live.values())) if b is not None]
        if extents is None:
            return [(b.address, b.nbytes) for b in live]
        pointers = [a for a, word in zip(arguments, kernel.source.signature) if word.startswith("*")]
        spans = [(int(a), n) for a, n in zip(pointers, extents, strict=True) if n]
        for address, nbytes in spans:
            if not any(b.address <= address and address + nbytes <= b.address + b.nbytes for b in live):
                raise DeviceError(f"kernel {kernel.source.name}: {nbytes} bytes at {address:#x} are not memory of the device")
        return spans

    # --- library calls ----------------------------------------------------------------------------

    @ordered
    def gemm(self, x: View, y: View, out: View, precision: str = "float32", epilogue: Epilogue | None = None,
             accumulate: bool = False) -> None:
        bias = None if epilogue is None or epilogue.bias is None else array_at(epilogue.bias)
        routines.multiply(np, array_at(x), array_at(y), array_at(out), epilogue, bias, accumulate)

    @ordered
    def conv(self, x: View, w: View, out: View, window: ConvWindow, precision: str = "float32") -> None:
        routines.convolve(np, array_at(x), array_at(w), array_at(out), window)

    # --- order ------------------------------------------------------------------------------------

    @property
    def is_capturing(self) -> bool:
        return self.recorded is not None

    @property
    def stream(self) -> int:
        return 0

    @waits
    def synchronize(self) -> None:
        """Nothing is pending here."""

    def begin_capture(self) -> None:
        if self.recorded is not None:
            raise DeviceError("a graph is being captured already")
        self.recorded = []

    def end_capture(self) -> list[Callable[[], None]]:
        graph, self.recorded = self.recorded, None
        if graph is None:
            raise DeviceError("no graph is being captured")
        return graph

    def replay(self, graph: list[Callable[[], None]]) -> None:
        for call in graph:
            call()

"""`CudaRuntime`: a Runtime on an NVIDIA GPU, by CuPy (memory, library calls, graphs) and cuda.core (kernels).

Written from the packages' sources; it has not run on a GPU. Tests run it on a pretended driver, and look up every call in the
packages that are installed.
"""
from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cupy
import cupyx
import numpy as np
from cuda.core import Device as CoreDevice
from cuda.core import LaunchConfig, ObjectCode, Stream, launch

from tracejit.codegen.cuda.interface import ConvWindow, Epilogue, KernelFacts, KernelSource, View
from tracejit.config import config
from tracejit.errors import DeviceError, DeviceMemoryError
from tracejit.runtime.cuda import kernels, routines
from tracejit.runtime.cuda.accounts import Accounts, Allocating, DeviceBuffer
from tracejit.runtime.cuda.graphs import CapturedGraphs
from tracejit.runtime.cuda.order import HostCalls, exclusive, waits
from tracejit.runtime.cuda.staging import Staging
from tracejit.runtime.device import Device


@functools.cache
def devices() -> tuple[Device, ...]:
    """The GPUs that the driver shows. DeviceError with the driver's words where it shows none."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"the GPU cannot be used: {error}", fix="python -m tracejit.tools.doctor says what to install") from error
    return tuple(Device("gpu", k, cupy.cuda.runtime.getDeviceProperties(k)["name"].decode()) for k in range(count))


@dataclass(frozen=True)
class CudaKernel:
    source: KernelSource
    facts: KernelFacts
    handle: Any


class Optional:
    """What a module over a library that need not be installed does, while it can; `refusals` say what it could not do."""

    def __init__(self, name: str, make: Callable[[Any], Any]) -> None:
        self.refusals: list[str] = []
        self.made = self.tried(lambda: make(importlib.import_module("tracejit.runtime.cuda." + name)))

    def tried(self, call: Callable[[], Any]) -> Any:
        """The value of a call; None, and a reason kept, where the library or a part of it is missing or says no."""
        try:
            return call()
        except DeviceMemoryError:
            raise
        except Exception as error:      # the libraries' own kinds of errors have no common one
            self.refusals.append(f"{type(error).__name__}: {error}"[:500])
            return None

    def planned(self, *what: Any) -> Callable[..., None] | None:
        """How to do it, on addresses; None if another must."""
        return None if self.made is None else self.made.plan(self.tried, *what)


class Lent:
    """Memory that this device and another library use, each in its own order: neither may have it for something else before
    all is done that was started on it. Released when nobody holds it any more."""

    def __init__(self, owner: Any, release: Callable[[Any], None]) -> None:
        self.owner, self.release = owner, release

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.release(self.owner)


class CudaRuntime(HostCalls, Allocating):
    """One GPU with one stream."""
    is_emulated = False

    def __init__(self, number: int = 0) -> None:
        self.number = number
        CoreDevice(number).set_current()
        with cupy.cuda.Device(number) as device:
            capability = device.compute_capability
            self.multiprocessors = device.attributes["MultiProcessorCount"]
            self.cupy_stream = cupy.cuda.Stream(non_blocking=True)
        self.compute_capability = int(capability[:-1]), int(capability[-1])
        self.core_stream = Stream.from_handle(self.cupy_stream.ptr)
        self.pool, self.staging = cupy.cuda.MemoryPool(), Staging()
        self.accounts, self.captured = Accounts(self.capacity), CapturedGraphs()
        self.released: list[Any] = []       # what was lent, and is kept until a capture ends
        self.loaded: dict[KernelSource, CudaKernel] = {}
        self.lock, self.capturing_thread, self.threads = threading.RLock(), 0, threading.local()

    def capacity(self) -> int:
        with self.current():
            return cupy.cuda.runtime.memGetInfo()[1]

    def current(self) -> Any:
        if not getattr(self.threads, "have_context", False):        # CuPy gives a new thread one only when it must change devices
            with cupy.cuda.Device(self.number):
                CoreDevice(self.number).set_current()
            self.threads.have_context = True
        return cupy.cuda.Device(self.number)

    @contextlib.contextmanager
    def library(self) -> Iterator[None]:
        try:
            with (self.current(), cupy.cuda.using_allocator(self.malloc), self.cupy_stream,
                  cupyx.errstate(linalg="raise")):      # else a matrix that has no factors goes unnoticed
                yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise self.accounts.out_of_memory(0, f"temporary memory of a library ({error})") from error

    # --- memory -----------------------------------------------------------------------------------

    def malloc(self, nbytes: int) -> Any:
        """Temporary memory of a library."""
        try:
            return self.pool.malloc(nbytes)
        except cupy.cuda.memory.OutOfMemoryError:
            if not self.captured.give_back():
                raise
            return self.pool.malloc(nbytes)

    def take(self, nbytes: int, what: str) -> DeviceBuffer:
        if config.device_memory_limit:
            self.accounts.check_room(nbytes, what)
        with self.current(), self.cupy_stream:
            try:
                memory = self.pool.malloc(nbytes)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise self.accounts.out_of_memory(nbytes, what) from error
        return self.accounts.add(DeviceBuffer(memory.ptr, nbytes, what, memory))

    @exclusive
    @waits
    def upload(self, address: int, host: np.ndarray, why: str = "") -> None:
        self.accounts.note_copy(why, host.nbytes)
        if host.nbytes:
            self.staging.upload(address, np.ascontiguousarray(host), self.cupy_stream)

    @exclusive
    @waits
    def download(self, view: View, why: str = "") -> np.ndarray:
        out = np.empty(view.shape, view.dtype)
        self.accounts.note_copy(why, out.nbytes)
        if not out.nbytes:
            return out
        with self.library():
            dense = None if view.strides is None else cupy.ascontiguousarray(self.array(view))
            cupy.cuda.runtime.memcpyAsync(out.ctypes.data, view.address if dense is None else dense.data.ptr, out.nbytes,
                                          cupy.cuda.runtime.memcpyDeviceToHost, self.stream)
            self.cupy_stream.synchronize()
        return out

    @exclusive
    def copy(self, target: int, source: int, nbytes: int) -> None:
        cupy.cuda.runtime.memcpyAsync(target, source, nbytes, cupy.cuda.runtime.memcpyDeviceToDevice, self.stream)

    @exclusive
    def fill(self, address: int, nbytes: int, byte: int = 0) -> None:
        cupy.cuda.runtime.memsetAsync(address, byte, nbytes, self.stream)

    def array(self, view: View, owner: Any = None) -> Any:
        item = view.dtype.itemsize
        strides = None if view.strides is None else tuple(item * s for s in view.strides)
        steps = view.strides or [0]
        nbytes = item * (sum((n - 1) * abs(s) for n, s in zip(view.shape, steps)) + 1 if view.strides else int(np.prod(view.shape)))
        memory = cupy.cuda.UnownedMemory(view.address, max(nbytes, 1), owner or self, self.number)
        return cupy.ndarray(view.shape, view.dtype, cupy.cuda.MemoryPointer(memory, 0), strides)

    @exclusive
    def exported(self, view: View, buffer: DeviceBuffer, stream: Any, max_version: Any) -> Any:
        """A DLPack capsule on the memory of a view, which it keeps alive."""
        if stream is None:
            self.synchronize()
        version = {} if max_version is None else {"max_version": max_version}
        with self.library():
            return self.array(view, Lent(buffer, self.after_all)).__dlpack__(stream=stream, **version)

    @exclusive
    def imported(self, tensor: Any, copy: bool | None) -> tuple[DeviceBuffer, tuple[int, ...], np.dtype]:
        """The memory of another library's tensor, which the buffer keeps alive, or of a dense copy of it."""
        with self.library():
            found = cupy.from_dlpack(tensor)
            dense = found.copy() if copy else cupy.ascontiguousarray(found)
        if copy is False and dense.data.ptr != found.data.ptr:
            raise ValueError("this tensor is strided and cannot become an Array without a copy")
        return (DeviceBuffer(dense.data.ptr, dense.nbytes, "memory of another library", Lent(dense, self.after_all)),
                dense.shape, dense.dtype)

    @exclusive
    def after_all(self, owner: Any) -> None:
        """Hold an object until the device has done what all libraries have asked of it."""
        if self.is_capturing:
            self.released.append(owner)
        else:
            cupy.cuda.runtime.deviceSynchronize()

    def memory_stats(self) -> dict[str, int]:
        return {**self.accounts.stats(), "bytes_reserved": self.pool.total_bytes()}

    def transfers(self) -> Mapping[str, tuple[int, int]]:
        return self.accounts.transfers()

    # --- kernels ----------------------------------------------------------------------------------

    def load(self, sources: Sequence[KernelSource]) -> list[CudaKernel]:
        new = [source for source in dict.fromkeys(sources) if source not in self.loaded]
        for source, found in zip(new, kernels.artifacts_of(new, self.compute_capability)):
            with self.current():
                handle = ObjectCode.from_cubin(found.cubin, name=found.name).get_kernel(found.name)
            self.loaded[source] = CudaKernel(source, found.facts, handle)
        return [self.loaded[source] for source in sources]

    def launcher(self, kernel: CudaKernel, grid: tuple[int, ...], extents: Sequence[int] | None = None) -> Callable[..., None]:
        shape, lock = LaunchConfig(grid=grid, block=(kernel.source.threads,)), self.lock
        start = functools.partial(launch, self.core_stream, shape, kernel.handle)

        def locked(*arguments: Any) -> None:
            with lock:
                start(*arguments)
        return locked

    # --- library calls ----------------------------------------------------------------------------

    @functools.cached_property
    def products(self) -> Optional:
        """cuBLASLt, where nvmath-python and the library are installed."""
        return Optional("cublaslt", lambda module: module.Products(self.allocate(module.WORKSPACE, "workspace of matrix products")))

    @functools.cached_property
    def convolutions(self) -> Optional:
        """cuDNN, where cudnn-frontend and the library are installed."""
        return Optional("cudnn", lambda module: module.Convolutions(self.allocate))

    @functools.cached_property
    def factors(self) -> Any:
        """LU factors and triangular systems; loaded when they are needed."""
        return importlib.import_module("tracejit.runtime.cuda.cusolver").DeviceFactors()

    @exclusive
    def gemm(self, x: View, y: View, out: View, precision: str = "float32", epilogue: Epilogue | None = None,
             accumulate: bool = False) -> None:
        epilogue = epilogue or Epilogue()
        run = self.products.planned(x, y, out, precision, epilogue, accumulate)
        if run is not None:
            return run(x, y, out, epilogue.bias, self.stream)
        with self.by_cupy("a matrix product"):
            bias = None if epilogue.bias is None else self.array(epilogue.bias)
            routines.multiply(cupy, self.array(x), self.array(y), self.array(out), epilogue, bias, accumulate)

    @exclusive
    def conv(self, x: View, w: View, out: View, window: ConvWindow, precision: str = "float32") -> None:
        run = self.convolutions.planned(x, w, out, window, precision)
        if run is not None:
            return run(x, w, out, self.stream)
        with self.by_cupy("a convolution"):
            routines.convolve(cupy, self.array(x), self.array(w), self.array(out), window)

    def by_cupy(self, what: str) -> Any:
        """CuPy's functions allocate what they need on the way, which a graph would use again after it was given to others."""
        if self.is_capturing:
            raise DeviceError(f"{what} is done by CuPy here and cannot be captured in a graph")
        return self.library()

    # --- order ------------------------------------------------------------------------------------

    @property
    def stream(self) -> int:
        return self.cupy_stream.ptr

    @exclusive
    @waits
    def synchronize(self) -> None:
        self.cupy_stream.synchronize()

    @property
    def is_capturing(self) -> bool:
        """Whether this thread captures: others wait."""
        return self.capturing_thread == threading.get_ident()

    def begin_capture(self) -> None:
        self.lock.acquire()
        try:
            if self.is_capturing:
                raise DeviceError("a graph is being captured already")
            with self.current():
                self.cupy_stream.begin_capture()
        except BaseException:
            self.lock.release()
            raise
        self.capturing_thread = threading.get_ident()

    def end_capture(self) -> Any:
        if not self.is_capturing:
            raise DeviceError("no graph is being captured")
        self.capturing_thread = 0
        try:
            with self.current():
                return self.cupy_stream.end_capture()
        finally:
            self.lock.release()
            self.forget_released()

    def forget_released(self) -> None:
        held, self.released = self.released, []
        if held:
            self.after_all(held)

    @exclusive
    def replay(self, graph: Any) -> None:
        graph.launch(self.cupy_stream)

"""CuPy and cuda.core as far as `CudaRuntime` uses them, over the host's memory and the PTX interpreter.

With them the runtime's own code runs without a driver: which call it makes when, with what, and what it does about errors.
"""
from __future__ import annotations

import ctypes
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
from cuda.core import LaunchConfig

from tracejit.codegen.cuda.interface import View
from tracejit.runtime.cuda import kernels
from tracejit.runtime.cuda.emulated import array_at
from tracejit.runtime.cuda.ptx.machine import launch as run_kernel
from tracejit.runtime.cuda.ptx.memory import Counters
from tracejit.runtime.cuda.ptx.program import compile_program
from tracejit.runtime.cuda.routines import HostFactors

CAPACITY = 1 << 28
STREAM = 0x5000


class Driver:
    """What the pretended libraries share: memory, and the calls of a graph that is being captured."""

    def __init__(self):
        self.memory, self.recorded, self.launched = {}, None, 0
        self.events_done, self.waited = True, []

    def do(self, call):
        if self.recorded is None:
            call()
        else:
            self.recorded.append(call)

    def used(self):
        return sum(m.nbytes for m in self.memory.values())


class Memory:
    def __init__(self, driver, nbytes):
        self.bytes = np.full(nbytes + 512, 0xFF, np.uint8)
        start = self.bytes.ctypes.data
        self.ptr, self.driver, self.nbytes = start + -start % 512, driver, nbytes
        driver.memory[self.ptr] = SimpleNamespace(nbytes=nbytes)

    def __del__(self):
        self.driver.memory.pop(self.ptr, None)


class DeviceArray(np.ndarray):
    """An array of CuPy: its functions go to the stream that was entered, and the default one does not wait for ours."""
    streams = 0

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def __array_function__(self, function, types, args, kwargs):
        assert DeviceArray.streams, f"{function.__name__} would run on CuPy's own stream"
        return super().__array_function__(function, types, args, kwargs)

    def __array_ufunc__(self, ufunc, method, *args, out=None, **kwargs):
        assert DeviceArray.streams, f"{ufunc.__name__} would run on CuPy's own stream"
        plain = lambda xs: tuple(x.view(np.ndarray) if isinstance(x, DeviceArray) else x for x in xs)
        found = getattr(ufunc, method)(*plain(args), **({} if out is None else {"out": plain(out)}), **kwargs)
        return found.view(DeviceArray) if isinstance(found, np.ndarray) else found


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


def runtime_of(driver) -> SimpleNamespace:
    def memcpyAsync(dst, src, size, kind, stream):
        assert stream == STREAM and kind in (1, 2, 3)
        assert kind == 1 or any(p <= src < p + m.nbytes for p, m in driver.memory.items()), "the source is no device memory"
        assert kind == 2 or any(p <= dst < p + m.nbytes for p, m in driver.memory.items()), "the target is no device memory"
        if kind == 1:       # the host's memory is read before the call returns
            held = ctypes.string_at(src, size)
            driver.do(lambda: ctypes.memmove(dst, held, size))
        else:
            driver.do(lambda: ctypes.memmove(dst, src, size))

    def memsetAsync(ptr, value, size, stream):
        assert stream == STREAM
        driver.do(lambda: ctypes.memset(ptr, value, size))
    def deviceSynchronize():
        assert driver.recorded is None, "a device cannot be waited for while a graph is captured"
        driver.waited.append("device")
    return SimpleNamespace(deviceSynchronize=deviceSynchronize, getDeviceCount=lambda: 1, getDeviceProperties=lambda k: {"name": b"Pretended GPU"}, memcpyAsync=memcpyAsync,
                           memsetAsync=memsetAsync, memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3,
                           memGetInfo=lambda: (CAPACITY - driver.used(), CAPACITY), CUDARuntimeError=CUDARuntimeError)


class Context:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def cupy_of(driver: Driver) -> ModuleType:
    class Device(Context):
        compute_capability, attributes = "90", {"MultiProcessorCount": 132}

        def __init__(self, number):
            assert number == 0

    class Graph:
        def __init__(self, calls):
            self.calls = calls

        def launch(self, stream):
            for call in self.calls:
                call()

    class Stream(Context):
        ptr = STREAM

        def __init__(self, non_blocking=False):
            assert non_blocking

        def __enter__(self):
            DeviceArray.streams += 1
            return self

        def __exit__(self, *error):
            DeviceArray.streams -= 1

        def synchronize(self):
            assert driver.recorded is None, "a captured stream cannot be waited for"

        def record(self):
            return SimpleNamespace(done=driver.events_done, synchronize=lambda: driver.waited.append("event"))

        def begin_capture(self):
            driver.recorded = []

        def end_capture(self):
            graph, driver.recorded = Graph(driver.recorded), None
            return graph

    class MemoryPool:
        def malloc(self, nbytes):
            assert driver.recorded is None, "memory is allocated while a graph is captured"
            if driver.used() + nbytes > CAPACITY:
                raise OutOfMemoryError
            return Memory(driver, nbytes)

        def total_bytes(self):
            return driver.used()

    def pinned(nbytes):
        kind = type("Pinned", (ctypes.c_char * nbytes,), {})
        memory = kind()
        memory.ptr, memory.mem = ctypes.addressof(memory), SimpleNamespace(size=nbytes)
        return memory

    def ndarray(shape, dtype, memptr, strides=None):
        steps = None if strides is None else tuple(s // np.dtype(dtype).itemsize for s in strides)
        return array_at(View(memptr.ptr, tuple(shape), np.dtype(dtype), steps), memptr).view(DeviceArray)

    def ascontiguousarray(x):
        if x.flags.c_contiguous:
            return x
        memory = Memory(driver, x.nbytes)
        dense = array_at(View(memory.ptr, x.shape, x.dtype), memory).view(DeviceArray)
        dense[...] = x
        return dense

    class Foreign:
        """A tensor of another library on the device."""

        def __init__(self, x):
            memory = Memory(driver, x.nbytes)
            self.array = array_at(View(memory.ptr, x.shape, x.dtype), memory).view(DeviceArray)
            self.array[...] = x

        def __dlpack_device__(self):
            return 2, 0

    cupy = ModuleType("cupy")
    cupy.Foreign = Foreign
    cupy.cuda = SimpleNamespace(runtime=runtime_of(driver), Device=Device, Stream=Stream, MemoryPool=MemoryPool,
                                using_allocator=lambda allocate: Context(),
                                memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError), alloc_pinned_memory=pinned,
                                UnownedMemory=lambda ptr, size, owner, device_id=-1: SimpleNamespace(ptr=ptr, owner=owner),
                                MemoryPointer=lambda memory, offset: SimpleNamespace(ptr=memory.ptr + offset, memory=memory))
    cupy.ndarray = ndarray
    cupy.__getattr__ = lambda name: getattr(np, name)       # CuPy's functions are NumPy's
    cupy.ascontiguousarray = ascontiguousarray
    cupy.empty = lambda shape, dtype: np.empty(shape, dtype).view(DeviceArray)
    cupy.ElementwiseKernel = elementwise_kernel
    cupy.from_dlpack = lambda tensor: tensor.array
    return cupy


def factors_of() -> dict[str, ModuleType]:
    """What CuPy has for LU factors and triangular systems, with its conventions: transposed matrices, exchanges counted from 1."""
    host = HostFactors()
    array = lambda x: np.ascontiguousarray(x).view(DeviceArray)
    plain = lambda x: np.asarray(x.view(np.ndarray))

    def _lu_factor(a_t, dtype):
        assert a_t.dtype == dtype and a_t.shape[-1] == a_t.shape[-2]
        packed, pivots = host.lu(np.swapaxes(plain(a_t), -1, -2))
        return array(np.swapaxes(packed, -1, -2)), array(pivots + 1), array(np.zeros(a_t.shape[:-2], np.int32))

    def lu_factor(a, check_finite):
        assert a.ndim == 2 and not check_finite
        return tuple(map(array, host.lu(plain(a))))

    def solve_triangular(a, b, trans, lower, unit_diagonal, check_finite):
        assert a.ndim == b.ndim and a.shape[-2] == b.shape[-2] and trans in ("N", "T") and not check_finite
        return array(host.solve_triangular(plain(a), plain(b), lower, trans == "T", unit_diagonal))
    linalg, decomposition = ModuleType("cupy.linalg"), ModuleType("cupy.linalg._decomposition")
    linalg._decomposition, decomposition._lu_factor = decomposition, _lu_factor
    scipy, of_scipy = ModuleType("cupyx.scipy"), ModuleType("cupyx.scipy.linalg")
    scipy.linalg, of_scipy.lu_factor, of_scipy.solve_triangular = of_scipy, lu_factor, solve_triangular
    return {"cupy.linalg": linalg, "cupy.linalg._decomposition": decomposition, "cupyx.scipy": scipy, "cupyx.scipy.linalg": of_scipy}


def elementwise_kernel(ins, outs, body, name):
    """The one kernel in C that there is."""
    assert (ins, outs, name) == ("raw int32 pivots, int32 count, int32 size", "raw int32 order", "tracejit_exchanges") and "order[" in body

    def run(pivots, count, n, order, size):
        assert pivots.flags.c_contiguous and order.size == size * n and pivots.size == size * count
        order[...] = HostFactors().permutation(pivots.view(np.ndarray), n)
    return run


def cupyx_of() -> ModuleType:
    """NumPy raises of itself where CuPy must be asked to."""
    cupyx = ModuleType("cupyx")

    def errstate(*, linalg):
        assert linalg in ("ignore", "raise")
        return Context()
    cupyx.errstate = errstate
    return cupyx


def core_of(driver: Driver) -> dict:
    threads = set()

    class CoreDevice:
        def __init__(self, number):
            self.number = number

        def set_current(self):
            threads.add(threading.get_ident())

    class Stream:
        @staticmethod
        def from_handle(handle):
            assert handle == STREAM
            return ("stream", handle)

    class ObjectCode:
        @classmethod
        def from_cubin(cls, cubin, *, name=""):
            made = cls()
            made.artifact = next(a for a in kernels.made.values() if a.cubin == cubin)
            return made

        def get_kernel(self, name):
            assert name == self.artifact.name
            return compile_program(self.artifact.ptx)

    def launch(stream, config, kernel, *arguments):
        assert stream == ("stream", STREAM) and isinstance(config, LaunchConfig) and config.block[1:] == (1, 1)
        assert threading.get_ident() in threads, "this thread has no context"
        regions = [(p, m.nbytes) for p, m in driver.memory.items()]
        driver.launched += 1
        driver.do(lambda: run_kernel(kernel, config.grid, config.block[0], arguments, regions, Counters()))
    return {"CoreDevice": CoreDevice, "Stream": Stream, "ObjectCode": ObjectCode, "launch": launch}

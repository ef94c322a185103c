"""What a GPU program asks of the machine that runs it: `Runtime`, with the sources, views and windows that it is given.

    kernel, = runtime.load([KernelSource("axpy", text, ("*f4", "*f4", "i4"))])
    launch = runtime.launcher(kernel, (n_blocks,), extents=(4 * n, 4 * n))
    launch(x.address, out.address, np.int32(n))

Memory is addressed by plain integers, so a program adds offsets to the address of its arena. Everything is in the
order of one stream; only `download`, `host_call` and `synchronize` wait for it. `runtime/cuda/emulated.py` and
`runtime/cuda/device.py` implement it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class KernelSource:
    """A kernel: a Python function called `name` in `text`, for blocks of `threads` threads along x.

    The text sees every name of `codegen/cuda/intrinsics.py`. `signature` has a word per parameter: `*f4` is a pointer to
    float32, `i4` a scalar; the element types are i1 i2 i4 i8 u1 u2 u4 u8 f4 f8, the digit counting bytes. Booleans in
    memory are u1, 16-bit floats u2, complex numbers pairs. At least `min_blocks` blocks shall fit on a multiprocessor
    (0: no matter), which bounds the registers of a thread. With `fma`, products and sums are contracted. `functions` are
    texts of device functions that it calls, each after those that it calls itself; a name has one text per process.
    """
    name: str
    text: str
    signature: tuple[str, ...]
    threads: int = 256
    min_blocks: int = 0
    fma: bool = False
    functions: tuple[str, ...] = ()


class KernelFacts(NamedTuple):
    """What the assembler said about a kernel."""
    registers: int
    spill_bytes: int
    shared_bytes: int
    local_bytes: int


class LoadedKernel(Protocol):
    source: KernelSource
    facts: KernelFacts


class Buffer(Protocol):
    """Device memory, 256-byte aligned; it is free as soon as nobody holds the Buffer."""
    address: int
    nbytes: int
    what: str


class View(NamedTuple):
    """An array in device memory; `strides` count elements, None means dense in row-major order."""
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ConvWindow:
    """A convolution of x[N, C, spatial...] with w[O, C / groups, spatial...], strides of the Views telling the layout.

    Dilating x by `x_dilation` is the gradient of striding. `batch_groups` cuts N instead of C.
    """
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    x_dilation: tuple[int, ...]
    w_dilation: tuple[int, ...]
    groups: int = 1
    batch_groups: int = 1


@dataclass(frozen=True)
class Epilogue:
    """What is done to each element of a product before it is stored: add `bias` (a View of the last axis), then `activation`."""
    bias: View | None = None
    activation: str | None = None      # "relu", "gelu" (the tanh formula), or None


class Runtime(Protocol):
    """A device with one stream. Methods raise DeviceMemoryError, or DeviceError with a fix."""

    is_emulated: bool
    compute_capability: tuple[int, int]
    multiprocessors: int
    factors: Any        # LU factors and triangular systems of stacks of matrices: see runtime/cuda/routines.py

    def current(self) -> AbstractContextManager[Any]:
        """Inside, launches and library calls of this thread go to this device: a program runs inside it."""
        ...

    def library(self) -> AbstractContextManager[Any]:
        """Inside, the array library's own functions take their turn on the stream and their memory from this device's pool."""
        ...

    # --- memory -----------------------------------------------------------------------------------

    def allocate(self, nbytes: int, what: str = "") -> Buffer:
        """Memory from the pool; `what` names it in an out-of-memory error."""
        ...

    def upload(self, address: int, host: np.ndarray, why: str = "") -> None:
        """Copy a dense host array to the device; counted as a transfer, for the reason `why`."""
        ...

    def download(self, view: View, why: str = "") -> np.ndarray:
        """The elements of a view as a new host array, after all that was started before; counted as a transfer."""
        ...

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy on the device; source and target do not overlap."""
        ...

    def fill(self, address: int, nbytes: int, byte: int = 0) -> None:
        ...

    def array(self, view: View) -> Any:
        """The memory of a view as an array of the device's array library: CuPy's, or NumPy's where it is emulated."""
        ...

    def exported(self, view: View, buffer: Buffer, stream: Any, max_version: Any) -> Any:
        """A DLPack capsule on the memory of a view, which it keeps alive."""
        ...

    def imported(self, tensor: Any, copy: bool | None) -> tuple[Buffer, tuple[int, ...], np.dtype]:
        """The memory, shape and dtype of another library's tensor on the device. ValueError if it would need a copy that
        `copy` forbids."""
        ...

    def memory_stats(self) -> dict[str, int]:
        """bytes_in_use, peak_bytes_in_use, bytes_limit, num_allocs, largest_alloc_size, bytes_reserved."""
        ...

    # --- kernels ----------------------------------------------------------------------------------

    def load(self, sources: Sequence[KernelSource]) -> list[LoadedKernel]:
        """Kernels ready to launch: from this process, from disk, or compiled (several at a time)."""
        ...

    def launcher(self, kernel: LoadedKernel, grid: tuple[int, ...],
                 extents: Sequence[int] | None = None) -> Callable[..., None]:
        """A function of the kernel's arguments that launches it: addresses as ints, scalars as NumPy scalars of their type.

        `extents` says how many bytes the kernel may touch from each pointer argument on, in order; an emulated device enforces it.
        """
        ...

    # --- library calls ----------------------------------------------------------------------------

    def gemm(self, x: View, y: View, out: View, precision: str = "float32", epilogue: Epilogue | None = None,
             accumulate: bool = False) -> None:
        """out[..., m, n] = x[..., m, k] @ y[..., k, n] (+ out); 16-bit floats are summed in float32.

        Leading axes of x and y may have stride 0.
        """
        ...

    def conv(self, x: View, w: View, out: View, window: ConvWindow, precision: str = "float32") -> None:
        """A convolution in logical order N, C, spatial."""
        ...

    def host_call(self, function: Callable[[list[np.ndarray]], Sequence[np.ndarray]], ins: Sequence[View],
                  outs: Sequence[View], why: str = "") -> None:
        """Run a Python function on copies of the operands and put its results back: callbacks, and what no library does."""
        ...

    # --- order ------------------------------------------------------------------------------------

    @property
    def stream(self) -> int:
        """The address of the stream, for other libraries."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was started is done."""
        ...

    def begin_capture(self) -> None:
        """From now on calls are recorded, not run. What waits for the device raises DeviceError until `end_capture`."""
        ...

    def end_capture(self) -> Any:
        """The recorded calls as a graph."""
        ...

    def replay(self, graph: Any) -> None:
        """Run a graph: the same calls with the same addresses."""
        ...

    def transfers(self) -> Mapping[str, tuple[int, int]]:
        """What was copied between host and device: {why: (times, bytes)}."""
        ...

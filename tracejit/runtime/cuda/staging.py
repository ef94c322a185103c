"""Host memory that a GPU can read while the host goes on: uploads are copied there first, and then by the device."""
from __future__ import annotations

from typing import Any

import cupy
import numpy as np

LEAST = 1 << 16     # bytes of a buffer


class Staging:
    """Page-locked buffers, each with the event after which it can be used again."""

    def __init__(self) -> None:
        self.buffers: list[tuple[Any, Any]] = []

    def take(self, nbytes: int) -> Any:
        for k, (memory, event) in enumerate(self.buffers):
            if memory.mem.size >= nbytes and event.done:
                del self.buffers[k]
                return memory
        return cupy.cuda.alloc_pinned_memory(max(nbytes, LEAST))

    def upload(self, address: int, host: np.ndarray, stream: Any) -> None:
        """Start a copy of a dense array; the host may change it as soon as this returns."""
        memory = self.take(host.nbytes)
        np.frombuffer(memory, np.uint8, host.nbytes)[:] = host.reshape(-1).view(np.uint8)
        cupy.cuda.runtime.memcpyAsync(address, memory.ptr, host.nbytes, cupy.cuda.runtime.memcpyHostToDevice, stream.ptr)
        self.buffers.append((memory, stream.record()))

"""Host memory that a GPU can read while the host goes on: uploads are copied there first, and then by the device."""
from __future__ import annotations

from typing import Any

import cupy
import numpy as np

LEAST, MOST = 1 << 16, 1 << 26      # bytes of a buffer, a power of two; what is larger is copied in pieces
MOST_BUFFERS = 8


class Staging:
    """Page-locked buffers, each with the event after which it can be used again."""

    def __init__(self) -> None:
        self.buffers: list[tuple[Any, Any]] = []

    def take(self, nbytes: int) -> Any:
        """A buffer that is not in use; where there are many, the host waits for the oldest."""
        while True:
            for k, (memory, event) in enumerate(self.buffers):
                if memory.mem.size >= nbytes and event.done:
                    del self.buffers[k]
                    return memory
            if len(self.buffers) < MOST_BUFFERS:
                return cupy.cuda.alloc_pinned_memory(max(1 << (nbytes - 1).bit_length(), LEAST))
            memory, event = self.buffers.pop(0)
            event.synchronize()
            if memory.mem.size >= nbytes:
                return memory

    def upload(self, address: int, host: np.ndarray, stream: Any) -> None:
        """Start a copy of a dense array; the host may change it as soon as this returns."""
        flat = host.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), MOST):
            piece = flat[start:start + MOST]
            memory = self.take(len(piece))
            np.frombuffer(memory, np.uint8, len(piece))[:] = piece
            cupy.cuda.runtime.memcpyAsync(address + start, memory.ptr, len(piece), cupy.cuda.runtime.memcpyHostToDevice, stream.ptr)
            self.buffers.append((memory, stream.record()))

"""What a device's memory is used for, and what was copied between it and the host."""
from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tracejit.config import config
from tracejit.errors import DeviceMemoryError, user_source

SHOWN = 8       # buffers named by an out-of-memory error


class DeviceBuffer:
    """Device memory that `owner` keeps alive."""
    __slots__ = ("address", "nbytes", "what", "owner", "__weakref__")

    def __init__(self, address: int, nbytes: int, what: str, owner: object) -> None:
        self.address, self.nbytes, self.what, self.owner = address, nbytes, what, owner

    def __repr__(self) -> str:
        return f"DeviceBuffer({self.nbytes} bytes at {self.address:#x}, {self.what})"


def sized(nbytes: int) -> str:
    """
    >>> sized(3 << 20)
    '3.0 MiB'
    """
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if nbytes >= 1 << shift:
            return f"{nbytes / (1 << shift):.1f} {unit}"
    return f"{nbytes} bytes"


class Accounts:
    """The live buffers of a device, with what each is for; never more than `limit()` bytes together."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        self.capacity = capacity
        self.live: dict[int, weakref.ref[DeviceBuffer]] = {}
        self.lock = threading.RLock()       # a buffer may be collected while another is made
        self.in_use = self.peak = self.count = self.largest = 0
        self.copies: Counter[str] = Counter()
        self.copied_bytes: Counter[str] = Counter()

    def limit(self) -> int:
        return config.device_memory_limit or self.capacity()

    def check_room(self, nbytes: int, what: str) -> None:
        if self.in_use + nbytes > self.limit():
            raise self.out_of_memory(nbytes, what)

    def out_of_memory(self, nbytes: int, what: str) -> DeviceMemoryError:
        """The error that says what was wanted and what the memory is full of."""
        buffers = [b for b in (ref() for ref in list(self.live.values())) if b is not None]
        groups: Counter[str] = Counter()
        for b in buffers:
            groups[b.what or "unnamed"] += b.nbytes
        lines = [f"    {sized(total):>10}  {name}" for name, total in groups.most_common(SHOWN)]
        free = max(self.limit() - self.in_use, 0)
        head = f"out of device memory: {what or 'an array'} needs {sized(nbytes)}, {sized(free)} of {sized(self.limit())} are free"
        return DeviceMemoryError("\n".join([head, *(["  in use:"] if lines else []), *lines]), source=user_source())

    def add(self, buffer: DeviceBuffer) -> DeviceBuffer:
        nbytes, key = buffer.nbytes, id(buffer)
        with self.lock:
            self.in_use += nbytes
            self.count += 1
            self.peak, self.largest = max(self.peak, self.in_use), max(self.largest, nbytes)
            self.live[key] = weakref.ref(buffer)
        weakref.finalize(buffer, self.remove, key, nbytes).atexit = False
        return buffer

    def remove(self, key: int, nbytes: int) -> None:
        with self.lock:
            self.in_use -= nbytes
            self.live.pop(key, None)

    def stats(self) -> dict[str, int]:
        return {"bytes_in_use": self.in_use, "peak_bytes_in_use": self.peak, "bytes_limit": self.limit(),
                "num_allocs": self.count, "largest_alloc_size": self.largest}

    def note_copy(self, why: str, nbytes: int) -> None:
        self.copies[why or "unnamed"] += 1
        self.copied_bytes[why or "unnamed"] += nbytes

    def transfers(self) -> Mapping[str, tuple[int, int]]:
        return {why: (times, self.copied_bytes[why]) for why, times in self.copies.items()}


class Allocating:
    """What Runtimes share about memory: `take` is tried again without the graphs that are `captured`."""
    captured: Any

    def take(self, nbytes: int, what: str) -> DeviceBuffer:
        raise NotImplementedError

    def allocate(self, nbytes: int, what: str = "") -> DeviceBuffer:
        try:
            return self.take(nbytes, what)
        except DeviceMemoryError:
            if not self.captured.give_back():
                raise
        return self.take(nbytes, what)

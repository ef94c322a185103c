"""The Array class in plain Python, where native types cannot be made. Same behaviour, more microseconds."""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tracejit.ir.types import FOREIGN_KIND, ArrayType, Typed
from tracejit.runtime.array_methods import ArrayMethods

ALIGNMENT = 64


class PlainArray(Typed, ArrayMethods):
    """An immutable array: `_memory` is the NumPy array of bytes, or other object, that keeps `_data` valid."""
    __slots__ = ("type", "_data", "_memory", "_held", "__weakref__")
    __hash__ = None

    def __new__(cls, *args: Any) -> PlainArray:
        if not args:
            raise TypeError(f"cannot create '{cls.__name__}' instances")
        return object.__new__(cls)

    def __init__(self, t: ArrayType, address: int | None = None, base: Any = None) -> None:
        self.type = t
        if address is None:
            base = np.empty(t.nbytes + ALIGNMENT, np.uint8)
            start = base.__array_interface__["data"][0]
            address = start + -start % ALIGNMENT
        self._data, self._memory = address, base
        self._held = base._held_memory() if isinstance(base, PlainArray) else None     # also when the base is deleted

    @classmethod
    def from_address(cls, t: ArrayType, address: int) -> PlainArray:
        made = cls(t)
        ctypes.memmove(made._data, address, t.nbytes)
        return made

    @classmethod
    def from_numpy(cls, t: ArrayType, x: np.ndarray) -> PlainArray:
        return cls.from_address(t, x.__array_interface__["data"][0])

    @property
    def nbytes(self) -> int:
        return self.type.nbytes

    @property
    def itemsize(self) -> int:
        return self.type.dtype.itemsize

    @property
    def _base(self) -> Any:
        return self._memory if isinstance(self._memory, PlainArray) else None

    def _held_memory(self) -> Any:
        return self._memory if self._held is None else self._held

    def delete(self) -> None:
        """Give the memory back as soon as no view needs it; any later use is an error."""
        self._data, self._memory = 0, None

    def _host(self) -> np.ndarray:
        self._check()
        return np.asarray(Window(self._data, self._memory, self.type)).view(self.type.dtype).reshape(self.type.shape)

    def __buffer__(self, flags: int) -> memoryview:
        if self.is_deleted() or flags & 1 or self.type.dtype in FOREIGN_KIND:
            raise BufferError("an Array that is deleted, or of a dtype unknown to NumPy, or wanted for writing, has no buffer")
        return memoryview(self._host())

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:
        self._check()
        host = self._host().view()
        if copy:
            host = host.copy()
        elif max_version is None or max_version < (1, 0):  # only the newer protocol can say that memory is read-only
            window = Window(self._data, self._memory, self.type, writable=True)
            host = np.asarray(window).view(host.dtype).reshape(host.shape)
        return host.__dlpack__() if max_version is None else host.__dlpack__(max_version=max_version)


class Window:
    """Bytes at an address as NumPy wants to see them; NumPy's array keeps this object, and so the memory, alive."""

    def __init__(self, address: int, memory: Any, t: ArrayType, writable: bool = False) -> None:
        self.memory = memory
        self.__array_interface__ = {"data": (address, not writable), "shape": (t.nbytes,), "typestr": "|u1",
                                    "version": 3}

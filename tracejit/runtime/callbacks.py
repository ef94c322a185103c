"""Python functions that compiled code calls -> C functions by name, which take the interpreter's lock.

    i32 tj_host_7(ptr ins, ptr outs)      0, or the error number of a failed callback, whose exception is kept
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.ir.types import ArrayType
from tracejit.runtime.executable import fail_with
from tracejit.runtime.llvm import add_symbol

SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
POINTER = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True)
class Callback:
    """function(NumPy arrays) -> NumPy arrays, with the types of both."""
    function: Callable[[list[np.ndarray]], Sequence[np.ndarray]]
    in_types: tuple[ArrayType, ...]
    out_types: tuple[ArrayType, ...]

    def __call__(self, ins: int, outs: int) -> int:
        try:
            arrays = [array_at(p, t) for p, t in zip(pointers(ins, len(self.in_types)), self.in_types)]
            results = self.function(arrays)
            for p, t, x in zip(pointers(outs, len(self.out_types)), self.out_types, results, strict=True):
                if t.nbytes:
                    ctypes.memmove(p, np.ascontiguousarray(x).ctypes.data, t.nbytes)
        except BaseException as error:  # no exception can pass through compiled code
            return fail_with(error)
        return 0


def pointers(table: int, n: int) -> list[int]:
    return list((ctypes.c_void_p * n).from_address(table)) if n else []


def array_at(pointer: int | None, t: ArrayType) -> np.ndarray:
    """A copy of what is there: the memory will hold something else when the callback has returned."""
    if not t.nbytes:
        return np.zeros(t.shape, t.dtype)
    return np.frombuffer(ctypes.string_at(pointer, t.nbytes), t.dtype).reshape(t.shape).copy()


def offer(symbol: str, callback: Callback) -> Any:
    """Make a callback known to compiled code under a name; what must be kept as long as the code."""
    function = SIGNATURE(callback)
    add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)
    return function

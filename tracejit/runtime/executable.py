"""A compiled entry point + the types of its inputs and outputs -> something that maps Arrays to Arrays.

Contract: `i32 entry(ptr ins, ptr outs, ptr arena)` returns 0, or the number of an error (`errors`). Inputs are aligned
to their elements, outputs and arena to 64 bytes, and outputs do not overlap inputs, except that output i may be input
donated[i].
"""
from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tracejit.config import config
from tracejit.errors import DonatedArrayError, TracejitRuntimeError
from tracejit.ir.types import ArrayType
from tracejit.runtime import array, threads

INTERRUPTED, CALLBACK_FAILED = 1, 2
ENTRY = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

callback_errors: dict[int, BaseException] = {}  # by thread: what a Python callback raised inside compiled code


def fail_with(error: BaseException) -> int:
    """Remember what a callback raised; it must then make the compiled code return the number that this returns."""
    callback_errors[threading.get_ident()] = error
    return CALLBACK_FAILED


def callback_error() -> BaseException:
    default = TracejitRuntimeError("a callback failed inside compiled code")
    error = callback_errors.pop(threading.get_ident(), default)
    if not config.wrap_callback_errors or isinstance(error, TracejitRuntimeError) or not isinstance(error, Exception):
        return error
    wrapped = TracejitRuntimeError(f"a callback failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


# What the numbers returned by compiled code mean; a backend adds its own.
errors: dict[int, Callable[[], BaseException]] = {INTERRUPTED: KeyboardInterrupt, CALLBACK_FAILED: callback_error}


def raise_error(code: int) -> NoReturn:
    """Raise what a nonzero return code of compiled code stands for."""
    make = errors.get(code)
    raise make() if make else TracejitRuntimeError(f"compiled code stopped with error {code}")


def plain_runner(code: Executable) -> Callable[..., list[Any]]:
    return lambda *arrays: code.run_checked(arrays)


make_runner: Callable[[Executable], Callable[..., list[Any]]] = plain_runner  # native dispatch puts its own here


class Executable:
    """Compiled code with what a call needs to know.

    `consts` are Arrays passed after the arguments; `arena_bytes` is scratch memory; `long_running` code runs without
    the GIL; `donated` maps an output to the input whose memory it takes over; `keep` holds whatever the code refers to.
    """

    def __init__(self, address: int, in_types: Sequence[ArrayType], out_types: Sequence[ArrayType],
                 consts: Sequence[Any] = (), arena_bytes: int = 0, long_running: bool = False,
                 donated: Mapping[int, int] | None = None, keep: Any = None) -> None:
        self.address, self.arena_bytes, self.long_running, self.keep = address, arena_bytes, long_running, keep
        self.in_types, self.out_types, self.consts = tuple(in_types), tuple(out_types), tuple(consts)
        self.donated = dict(donated or {})
        for out, source in self.donated.items():
            if self.in_types[source].nbytes != self.out_types[out].nbytes:
                given, wanted = self.in_types[source], self.out_types[out]
                raise ValueError(f"output {out}, {wanted}, cannot take the memory of {given}")
        self.entry = ENTRY(address)
        self.runner: Callable[..., list[Any]] | None = None

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """The outputs for these inputs. TypeError for other types, DonatedArrayError for deleted inputs."""
        if self.runner is None:
            self.runner = make_runner(self)
        return self.runner(*arrays)

    def run_checked(self, arrays: Sequence[Any]) -> list[Any]:
        """`run` in Python, with a message for each mistake."""
        self.check(arrays)
        outs = [array.empty(t) for t in self.out_types]
        code = self.call(self.pointers([*arrays, *self.consts]), self.pointers(outs))
        for source in self.donated.values():
            arrays[source].delete()
        if code:
            raise_error(code)
        return outs

    def check(self, arrays: Sequence[Any]) -> None:
        given = tuple(x.type for x in arrays)
        if given != self.in_types:
            wanted = ", ".join(map(str, self.in_types))
            raise TypeError(f"compiled for ({wanted}), called with ({', '.join(map(str, given))})")
        elsewhere = [x.device for x in arrays if not isinstance(x, array.ArrayImpl)]
        if elsewhere:
            raise TypeError(f"compiled for the host, called with an array on {elsewhere[0]!r}")
        for x in (*arrays, *self.consts):
            if x.is_deleted():
                raise DonatedArrayError(f"Array has been deleted with shape={x.type}: it was deleted or donated before this use")

    @staticmethod
    def pointers(arrays: Sequence[Any]) -> ctypes.Array:
        return (ctypes.c_void_p * max(len(arrays), 1))(*[x._data for x in arrays])

    def call(self, ins: ctypes.Array, outs: ctypes.Array) -> int:
        scratch, arena = self.scratch()
        if self.long_running:
            return threads.pool.call_released(self.address, ctypes.addressof(ins), ctypes.addressof(outs), arena)
        return self.entry(ctypes.addressof(ins), ctypes.addressof(outs), arena)

    def scratch(self) -> tuple[Any, int | None]:
        if not self.arena_bytes:
            return None, None
        memory = array.empty(ArrayType((self.arena_bytes,), np.dtype("uint8")))
        return memory, memory._data

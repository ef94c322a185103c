"""`tj_parallel(fn, ctx, n)` for compiled code: fn(ctx, i) for each i in [0, n) on a pool of native threads.

Work is claimed, not dealt out: each thread begins with its own share and then takes whatever the others have not, so a sleeping
helper delays nothing. Shares lie where they lay in the job before: what a thread wrote is still in its caches when it is read.
A nested call, or one made while another thread uses the pool, runs serially. Workers never touch Python.
Also `tj_interrupt`, which Ctrl-C sets, `tj_poll`, with which a compiled loop asks whether to stop, and `tj_leave`, with which what
follows it asks whether the loop was stopped.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

from tracejit.config import config
from tracejit.runtime import native
from tracejit.runtime.threads_text import CONSTANTS, MAX_THREADS, TEXT


def quota() -> int:
    """The CPUs that the control group of this process may use, where it is limited."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            allowed, period = file.read().split()
        return max(1, -(-int(allowed) // int(period)))
    except (OSError, ValueError):
        return MAX_THREADS


def available_cpus() -> int:
    """How many CPUs this process may run on: affinity and control group."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, quota(), MAX_THREADS)


class Threads:
    """The native pool seen from Python."""

    def __init__(self, symbols: dict[str, int]) -> None:
        self.limit = ctypes.c_int64.from_address(symbols["tj_threads"])
        self.workers = ctypes.c_int64.from_address(symbols["tj_workers"])
        self.interrupt = ctypes.c_int32.from_address(symbols["tj_interrupt"])
        self.main_thread = ctypes.c_void_p.from_address(symbols["tj_main_thread"])
        self.forget_workers = ctypes.PYFUNCTYPE(None)(symbols["tj_forget_workers"])
        self.watch_interrupt = ctypes.PYFUNCTYPE(None)(symbols["tj_watch_interrupt"])
        self.call_released = ctypes.PYFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)(symbols["tj_call_released"])
        self.forced: list[int] = []
        self.after_fork()
        self.watch_interrupt()
        self.follow_config()
        config.listeners.append(self.follow_config)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        """In a child process there are no workers yet; the next parallel loop starts them."""
        self.forget_workers()
        self.main_thread.value = threading.main_thread().ident

    def follow_config(self) -> None:
        self.limit.value = self.forced[-1] if self.forced else config.shared["threads"] or available_cpus()


pool = Threads(native.load(TEXT, CONSTANTS))


def thread_count() -> int:
    """How many threads compiled code uses now, the calling one included."""
    return pool.limit.value


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside the `with` block compiled code uses at most `n` threads, in the whole process; results stay the same.

    ValueError unless 1 <= n <= 256.

    >>> with threads(1):
    ...     thread_count()
    1
    """
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"threads must be between 1 and {MAX_THREADS}, got {n}")
    pool.forced.append(n)
    pool.follow_config()
    try:
        yield
    finally:
        pool.forced.pop()
        pool.follow_config()

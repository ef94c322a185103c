"""A workload -> times of each backend, taken in interleaved rounds after their results were compared."""
from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.workloads import Run, Workload

PAUSE = 0.15  # seconds between two backends, in which the threads of the one before go to sleep


@dataclass
class Timing:
    """Seconds per unit of work, and the seconds of the very first call (trace, compile, run)."""
    first: float
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def as_json(self) -> dict[str, Any]:
        return {"median_s": self.median, "min_s": min(self.samples), "first_call_s": self.first,
                "samples": len(self.samples)}


@contextlib.contextmanager
def x64_mode(J: ModuleType | None, wanted: bool) -> Iterator[None]:
    """JAX keeps float64 only in its x64 mode."""
    if not wanted or J is None or J.__name__ != "jax":
        yield
        return
    J.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        J.config.update("jax_enable_x64", False)


def finish(J: ModuleType | None, result: Any) -> Any:
    return result if J is None else J.block_until_ready(result)


def as_numpy(J: ModuleType | None, result: Any) -> list[np.ndarray]:
    leaves = [result] if J is None else J.tree_util.tree_leaves(result)
    return [np.asarray(leaf) for leaf in leaves]


def timed(J: ModuleType | None, run: Run) -> tuple[float, Any]:
    start = time.perf_counter()
    result = finish(J, run())
    return time.perf_counter() - start, result


def sample(J: ModuleType | None, run: Run, budget: float, calls: int) -> list[float]:
    """Times of single runs until `budget` seconds are spent, at least one."""
    samples, spent = [], 0.0
    while not samples or spent < budget:
        seconds, _ = timed(J, run)
        spent += seconds
        samples.append(seconds / calls)
    return samples


def check(workload: Workload, results: dict[str, list[np.ndarray]]) -> None:
    """RuntimeError if the backends disagree by more than the tolerance of the workload."""
    if workload.tolerance is None:
        return
    (reference, expected), *others = results.items()
    for name, found in others:
        for x, y in zip(found, expected, strict=True):
            error = float(np.max(np.abs(x.astype(float) - y)) / np.max(np.abs(y)))
            if not error <= workload.tolerance:
                raise RuntimeError(f"{workload.name}: {name} and {reference} differ by {error:.1e}")


def measure(workload: Workload, backends: dict[str, ModuleType | None], rounds: int,
            budget: float) -> dict[str, Timing]:
    """Build, call once, compare, then time in turn; NumPy is the backend None."""
    data = workload.data()
    runs: dict[str, Run] = {}
    timings: dict[str, Timing] = {}
    results: dict[str, list[np.ndarray]] = {}
    for name, J in backends.items():
        with x64_mode(J, workload.x64):
            run = workload.build(J, data) if J else workload.by_numpy and workload.by_numpy(data)
            if run:
                seconds, result = timed(J, run)
                runs[name], timings[name], results[name] = run, Timing(seconds), as_numpy(J, result)
    check(workload, results)
    for _ in range(rounds):
        for name, run in runs.items():
            with x64_mode(backends[name], workload.x64):
                timings[name].samples += sample(backends[name], run, budget, workload.calls)
            time.sleep(PAUSE)
    return timings

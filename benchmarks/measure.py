"""A workload -> times of each backend, taken in interleaved rounds after their results were compared."""
from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.backends import OURS, may_have
from benchmarks.processes import Conditions, Worker, WorkerError, workers
from benchmarks.workload import Workload

PAUSE = 0.15     # seconds between two backends, in which the threads of the one before go to sleep: OpenBLAS's spin for 2^28 cycles
FIRST_CALLS = 3     # fresh processes whose first calls are timed, where these are what is measured
PATIENCE = 4.0      # seconds that a first call may take to be repeated

Row = dict[str, dict[str, Any]]     # backend -> what was found


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and seconds per backend in each."""
    rounds: int = 5
    seconds: float = 0.1


def measure(workload: Workload, backends: list[str], conditions: Conditions, effort: Effort) -> Row:
    """A fresh process per backend. One that fails or disagrees has an entry that says so, and no times."""
    backends = [name for name in backends if may_have(name, workload)]
    with workers(backends, conditions) as ready, tempfile.TemporaryDirectory() as folder:
        row = steady(workload, ready, effort, Path(folder))
    if workload.compiles:
        for backend, found in row.items():
            if "first_s" in found and effort.rounds > 1:
                found["first_s"] = repeated_first(workload, backend, conditions, found["first_s"])
                found["from_disk_s"] = first_from_disk(workload, backend, conditions)
    return row


def steady(workload: Workload, ready: dict[str, Worker], effort: Effort, folder: Path) -> Row:
    """Load and call once in turn, compare, then time in rounds. A backend without a version of the workload has no entry."""
    row: Row = {}
    saved: dict[str, Path] = {}
    for backend, worker in ready.items():
        try:
            loaded = worker.ask("load", workload=workload.name)
            if "absent" in loaded:
                continue
            first, path = worker.ask("first"), folder / f"{backend}.npz"
            row[backend] = {"version": worker.version, "first_s": first["seconds"], "loaded_bytes": loaded["peak"],
                            "peak_bytes": first["peak"]}
            worker.ask("save", path=str(path))
            saved[backend] = path
        except WorkerError as error:
            row.setdefault(backend, {})["error"] = str(error)
    for backend, error in errors(workload, saved).items():
        row[backend] |= {"difference": error, "agrees": bool(error <= workload.tolerance)}
    samples = rounds({name: ready[name] for name in saved if row[name]["agrees"]}, row, workload, effort)
    for backend, times in samples.items():
        row[backend] |= {"median_s": statistics.median(times), "min_s": min(times), "samples": len(times)}
    return row


def rounds(ready: dict[str, Worker], row: Row, workload: Workload, effort: Effort) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(1 if workload.compiles else effort.rounds):
        for name, worker in ready.items():
            try:
                found = worker.ask("time", seconds=effort.seconds)
                samples[name] += found["samples"]
                row[name]["peak_bytes"] = found["peak"]
            except WorkerError as error:
                row[name]["error"] = str(error)
            time.sleep(PAUSE)
    return {name: times for name, times in samples.items() if times}


def repeated_first(workload: Workload, backend: str, conditions: Conditions, first: float) -> float:
    """The median of first calls in fresh processes; one that takes seconds is believed at once."""
    times = [first]
    while len(times) < FIRST_CALLS and first < PATIENCE:
        with Worker(backend, conditions) as worker:
            worker.hello()
            worker.ask("load", workload=workload.name)
            times.append(worker.ask("first")["seconds"])
    return statistics.median(times)


def first_from_disk(workload: Workload, backend: str, conditions: Conditions) -> float | None:
    """The first call of a process that finds on disk what another one compiled. Only tracejit keeps it without being asked to."""
    if backend != OURS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            with Worker(backend, conditions, folder) as worker:
                worker.hello()
                worker.ask("load", workload=workload.name)
                seconds = worker.ask("first")["seconds"]
    return seconds


# --- comparing results -------------------------------------------------------------------------------------------------

def errors(workload: Workload, saved: dict[str, Path]) -> dict[str, float]:
    """Each backend's difference from the reference: JAX, or the first one there is."""
    results = {name: load(path) for name, path in saved.items()}
    if not results:
        return {}
    reference = results.get("jax") or next(iter(results.values()))
    return {name: difference(workload.compared, found, reference) for name, found in results.items()}


def load(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[name] for name in file]


def difference(how: str, found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest |a - b| / largest |b| of any array; inf if shapes, or what is finite, are not the same."""
    if len(found) != len(expected):
        return float("inf")
    worst = 0.0
    for x, y in zip(found, expected):
        if how == "finite":
            worst = max(worst, 0.0 if np.all(np.isfinite(x)) else float("inf"))
            continue
        x, y = viewed(how, x), viewed(how, y)
        if x.shape != y.shape or not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return float("inf")
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        worst = max(worst, float(np.max(np.abs(x - y), initial=0) / (np.max(np.abs(y), initial=0) or 1.0)))
    return worst


def viewed(how: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    if how == "moments":
        return np.array([x.mean(), x.std()])
    return np.sort(x, axis=None) if how == "sorted" else x

"""How long whole processes take: to import a library, to a first compiled and a first eager result."""
from __future__ import annotations

import statistics
import subprocess
import tempfile
import time

from benchmarks.processes import Conditions

ROWS = ("import", "import, then jitted x + 1", "import, then eager x + 1")
NAMESPACE = ("import {0}, {0}.numpy as np", "{0}.jit(lambda x: x + 1)(np.ones(8)).block_until_ready()",
             "(np.ones(8) + 1).block_until_ready()")
PROGRAMS = {    # the import, and what makes the first results; None: there is no such thing
    "torch": ("import torch", None, "torch.ones(8) + 1"),
    "torch_compile": ("import torch", "torch.compile(lambda x: x + 1)(torch.ones(8))", None),
    "numba": ("import numpy as np, numba", "numba.njit(lambda x: x + 1)(np.ones(8))", None),
    "numpy": (None, None, None)}    # the others import it too


def programs(backend: str) -> dict[str, str]:
    first, *rest = PROGRAMS.get(backend) or [line.format(backend) for line in NAMESPACE]
    return {row: f"{first}\n{line}" for row, line in zip(ROWS, ("", *rest)) if first and line is not None}


def seconds(code: str, backend: str, conditions: Conditions, folder: str) -> float:
    start = time.perf_counter()
    process = conditions.start([conditions.python(backend), "-c", code], folder, stderr=subprocess.DEVNULL)
    if process.wait(conditions.timeout):
        raise ImportError(f"{backend} is not installed")
    return time.perf_counter() - start


def measure_start(row: str, backends: list[str], conditions: Conditions, rounds: int = 3) -> dict[str, dict]:
    """Backend -> times, Python's own start included, as on any day but the first: one round more is made before, so that
    files are in memory, and what a library keeps on disk without being asked is there."""
    times: dict[str, list[float]] = {b: [] for b in backends if row in programs(b)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + 1):
            for backend in list(times):
                try:
                    times[backend].append(seconds(programs(backend)[row], backend, conditions, folder))
                except ImportError:
                    del times[backend]
    return {backend: {"median_s": statistics.median(found[1:]), "min_s": min(found[1:]), "samples": rounds, "agrees": True}
            for backend, found in times.items()}

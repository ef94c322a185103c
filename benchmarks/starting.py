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
    "numpy": ("import numpy as np", None, "np.ones(8) + 1")}


def programs(backend: str) -> dict[str, str]:
    first, *rest = PROGRAMS.get(backend) or [line.format(backend) for line in NAMESPACE]
    return {ROWS[0]: first} | {row: f"{first}\n{line}" for row, line in zip(ROWS[1:], rest) if line}


def seconds(code: str, backend: str, conditions: Conditions) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = conditions.start([conditions.python(backend), "-c", code], folder, stderr=subprocess.DEVNULL)
        if process.wait(conditions.timeout):
            raise ImportError(f"{backend} is not installed")
        return time.perf_counter() - start


def measure_starts(backends: list[str], conditions: Conditions, rounds: int = 3) -> dict[str, dict]:
    """Row -> backend -> times. Python's own start is in them; one round more is made before, so that files are in memory."""
    found: dict[str, dict] = {row: {} for row in ROWS}
    for k in range(rounds + 1):
        for backend in list(backends):
            try:
                for row, code in programs(backend).items():
                    found[row].setdefault(backend, []).append(seconds(code, backend, conditions))
            except ImportError:
                backends = [b for b in backends if b != backend]
    return {row: {backend: {"median_s": statistics.median(times[1:]), "min_s": min(times[1:]), "samples": rounds, "agrees": True}
                  for backend, times in by_backend.items() if times[1:]} for row, by_backend in found.items()}

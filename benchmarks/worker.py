"""One backend in one process, told what to do by lines of JSON: `python -m benchmarks.worker BACKEND`.

    {"do": "load", "workload": NAME}    its data and its function; {"absent": true} if the backend has no version of it
    {"do": "first"}                     the first call: trace, compile, run
    {"do": "save", "path": FILE}        what the first call returned, as far as it is compared
    {"do": "time", "seconds": S}        calls until S seconds are spent
    {"do": "quit"}
"""
from __future__ import annotations

import json
import os
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

import numpy as np

from benchmarks.backends import as_numpy, leaves_of, load
from benchmarks.workloads import SWEPT, WORKLOADS

MOST_CALLS = 300


def peak_bytes() -> int:
    """The most memory that the process held so far."""
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def version(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:    # a checkout that is not installed
        return ""


class Worker:
    """What one process holds: a backend, and the workload that was loaded last."""

    def __init__(self, backend: Any, find: Any):
        self.backend, self.find = backend, find
        self.result: Any = None

    def load(self, workload: str) -> dict[str, Any]:
        self.workload = self.find(workload)
        self.run = self.result = None
        self.run = self.backend.build(self.workload, self.workload.data())
        return {"absent": True} if self.run is None else {"peak": peak_bytes()}

    def timed(self) -> float:
        start = time.perf_counter()
        self.result = self.backend.finish(self.run())
        return time.perf_counter() - start

    def first(self) -> dict[str, Any]:
        return {"seconds": self.timed() / self.workload.calls, "peak": peak_bytes()}

    def save(self, path: str) -> dict[str, Any]:
        np.savez(path, *self.losses() if self.workload.compared == "losses" else self.compared())
        return {}

    def compared(self) -> list[np.ndarray]:
        return [as_numpy(leaf) for leaf in list(leaves_of(self.result))[slice(*self.workload.leaves)]]

    def losses(self) -> list[np.ndarray]:
        """The losses of three steps, and by how much each changed: that shows the gradients."""
        found = [self.loss()]
        for _ in range(2):
            self.timed()
            found.append(self.loss())
        return [np.array(found), np.diff(found)]

    def loss(self) -> float:
        return float(as_numpy(next(leaves_of(self.result))))

    def time(self, seconds: float) -> dict[str, Any]:
        self.timed()
        samples, end = [], time.perf_counter() + seconds
        while len(samples) < 2 or time.perf_counter() < end and len(samples) < MOST_CALLS:
            samples.append(self.timed() / self.workload.calls)
        return {"samples": samples, "peak": peak_bytes()}


def main() -> None:
    """Answer each line with a line; whatever libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")     # libraries warn about what they are; the numbers say the rest
    everything = {v.name: v for w in [*WORKLOADS.values(), *SWEPT.values()] for v in [w, *w.variants()]}

    def answer(**words: Any) -> None:
        print(json.dumps(words), file=replies, flush=True)
    try:
        worker = Worker(load(sys.argv[1]), everything.__getitem__)
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(version=version(sys.argv[1].partition("_")[0]))
    for line in sys.stdin:
        order = json.loads(line)
        what = order.pop("do")
        if what == "quit":
            break
        answer(**getattr(worker, what)(**order))
    replies.flush()
    os._exit(0)     # some libraries take seconds to leave


if __name__ == "__main__":
    main()

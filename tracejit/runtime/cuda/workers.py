"""Many kernels to compile -> processes that compile them side by side: Numba holds one lock, and the interpreter another."""
from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tracejit.codegen.cuda.interface import KernelSource
from tracejit.config import config
from tracejit.errors import CompileError
from tracejit.runtime.cuda.artifact import Artifact

KERNELS_PER_WORKER = 6      # below, starting a process takes longer than it saves
COMMAND = [sys.executable, "-m", "tracejit.runtime.cuda.worker"]


class Worker:
    """One compiling process. Plain pipes rather than `multiprocessing`, which would import the user's script again."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def compile(self, source: KernelSource, capability: tuple[int, int]) -> Artifact:
        try:
            pickle.dump((source, capability), self.process.stdin)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (EOFError, OSError) as error:
            raise CompileError(f"the process that compiles kernels ended ({self.process.poll()})") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Workers:
    """The processes of this one, started when there is enough to do, and kept."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.lock = threading.Lock()

    def wanted(self, n_kernels: int) -> int:
        available = (config.threads or len(os.sched_getaffinity(0))) - 1
        return max(0, min(available, n_kernels // KERNELS_PER_WORKER))

    def start(self, n: int) -> list[Worker]:
        with self.lock:
            if not self.workers:
                atexit.register(self.stop)
            while len(self.workers) < n:
                self.workers.append(Worker())
            return self.workers[:n]

    def stop(self) -> None:
        with self.lock:
            for worker in self.workers:
                worker.stop()
            self.workers.clear()

    def compile_all(self, sources: Sequence[KernelSource], capability: tuple[int, int], here: Any) -> list[Artifact]:
        """Each compiled by a worker or by the function `here`, whoever is free first."""
        crew = [worker.compile for worker in self.start(self.wanted(len(sources)))] + [here]
        made: dict[int, Artifact] = {}
        waiting = iter(range(len(sources)))
        turn = threading.Lock()

        def work(compile_one: Any) -> None:
            while True:
                with turn:
                    i = next(waiting, None)
                if i is None:
                    return
                made[i] = compile_one(sources[i], capability)
        with ThreadPoolExecutor(len(crew)) as threads:
            for done in [threads.submit(work, compile_one) for compile_one in crew]:
                done.result()
        return [made[i] for i in range(len(sources))]


workers = Workers()

"""Worker processes: started with the threads and the instruction set that all backends are to use, asked by lines of JSON."""
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.backends import OURS

ROOT = Path(__file__).parent.parent

# What each library reads when it starts; {n} is the number of threads.
THREADS = {"TRACEJIT_THREADS": "{n}", "OMP_NUM_THREADS": "{n}", "MKL_NUM_THREADS": "{n}", "OPENBLAS_NUM_THREADS": "{n}",
           "NUMBA_NUM_THREADS": "{n}"}
ISA = {"avx2": {"TRACEJIT_ISA": "avx2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "ATEN_CPU_CAPABILITY": "avx2",
                "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
                "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}}


@dataclass(frozen=True)
class Conditions:
    """What holds for every worker of a run."""
    pythons: dict[str, str] = field(default_factory=dict)   # backend -> interpreter, where it is not this one
    threads: int | None = None                              # None: all CPUs of this process
    isa: str | None = None
    timeout: float = 240.0                                  # seconds that one answer may take

    def python(self, backend: str) -> str:
        return self.pythons.get(backend, sys.executable)

    def cpus(self) -> list[int]:
        return sorted(os.sched_getaffinity(0))[:self.threads]

    def environment(self, folder: str) -> dict[str, str]:
        """Compile caches on disk are in `folder`."""
        given = {"PYTHONPATH": str(ROOT), "TRACEJIT_COMPILATION_CACHE_DIR": folder, "NUMBA_CACHE_DIR": folder,
                 "TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "JAX_PLATFORMS": "cpu"}
        if self.threads:
            given |= {name: value.format(n=self.threads) for name, value in THREADS.items()}
        return os.environ | given | ISA.get(self.isa or "", {})

    def start(self, command: list[str], folder: str, **more: Any) -> subprocess.Popen:
        """Start a process on the CPUs that it may use, in a session of its own."""
        return subprocess.Popen(command, env=self.environment(folder), cwd=ROOT, start_new_session=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, self.cpus()), **more)


class WorkerError(RuntimeError):
    """A worker died, or did not answer in time."""


class Worker:
    """A backend in a process of its own; `with` ends it and whatever it started."""

    def __init__(self, backend: str, conditions: Conditions, folder: str | None = None):
        self.backend, self.timeout = backend, conditions.timeout
        self.own = None if folder else tempfile.TemporaryDirectory(prefix="benchmarks-")
        self.folder = folder or self.own.name
        self.errors = tempfile.TemporaryFile("w+")
        self.process = conditions.start([conditions.python(backend), "-m", "benchmarks.worker", backend], self.folder,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def hello(self) -> str | None:
        """Wait until the backend is there; if it is not installed, what is missing."""
        found = self.read()
        self.version = found.get("version", "")
        return found.get("missing")

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        with contextlib.suppress(BrokenPipeError):  # its last words are in `errors`
            self.process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            raise WorkerError(f"{self.backend} did not answer within {self.timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise WorkerError(self.errors.read().strip()[-600:] or f"{self.backend} died")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)     # its compiler processes too
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                file.close()
        if self.own:
            self.own.cleanup()


@contextlib.contextmanager
def workers(backends: list[str], conditions: Conditions) -> Iterator[dict[str, Worker]]:
    """One worker per backend that is installed, started side by side."""
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(Worker(name, conditions)) for name in backends}
        ready = {}
        for name, worker in started.items():
            missing = worker.hello()
            if missing:
                print(f"{name} is left out: {missing}", file=sys.stderr)
            else:
                ready[name] = worker
        yield ready


def limits(conditions: Conditions) -> dict[str, Any]:
    """What the machine can do under these conditions, measured now."""
    with tempfile.TemporaryDirectory() as folder:
        process = conditions.start([conditions.python(OURS), "-m", "tracejit.tools.limits"], folder,
                                   stdout=subprocess.PIPE, text=True)
        out, _ = process.communicate(timeout=conditions.timeout)
    return json.loads(out)

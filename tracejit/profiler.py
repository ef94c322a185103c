"""What runs when -> a trace file for Perfetto (https://ui.perfetto.dev): annotated stretches of a program, compilations.

    with tracejit.profiler.trace("/tmp/run"):
        with tracejit.profiler.TraceAnnotation("train", step=3):
            params = step(params)

Code on the CPU has run when a call returns, so a stretch covers its computations.
"""
from __future__ import annotations

import contextlib
import functools
import gzip
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tracejit.absent import getter
from tracejit.runtime.report import reports

__all__ = ["StepTraceAnnotation", "TraceAnnotation", "annotate_function", "start_trace", "stop_trace", "trace"]


class Recording:
    """The events between start_trace and stop_trace."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder, self.start, self.first_report = Path(folder), time.perf_counter(), len(reports)
        self.events: list[dict[str, Any]] = []

    def add(self, name: str, start: float, seconds: float, thread: int, details: dict[str, Any]) -> None:
        self.events.append({"name": name, "ph": "X", "ts": 1e6 * (start - self.start), "dur": 1e6 * seconds,
                            "pid": os.getpid(), "tid": thread, "args": {k: str(v) for k, v in details.items()}})

    def write(self) -> Path:
        for report in reports[self.first_report:]:
            at = report.finished - report.seconds
            self.add("compile", at, report.seconds, 0, {"compiled": report.compiled, "from disk": report.from_disk})
            for name, seconds, _ in report.stages:
                self.add(f"compile: {name}", at, seconds, 0, {})
                at += seconds
        folder = self.folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "perfetto_trace.json.gz"
        with gzip.open(path, "wt") as file:
            json.dump({"traceEvents": self.events, "displayTimeUnit": "ms"}, file)
        return path


class Session:
    """The recording that is going on, if there is one."""
    recording: Recording | None = None


def start_trace(log_dir: str | os.PathLike, create_perfetto_link: bool = False, create_perfetto_trace: bool = False,
                profiler_options: Any = None) -> None:
    """Record annotations and compilations until stop_trace. RuntimeError if a trace is being recorded already."""
    if Session.recording is not None:
        raise RuntimeError("start_trace: a trace is being recorded already; stop_trace ends it")
    Session.recording = Recording(log_dir)


def stop_trace() -> None:
    """Write `plugins/profile/TIME/perfetto_trace.json.gz` under the folder. RuntimeError if nothing is being recorded."""
    if Session.recording is None:
        raise RuntimeError("stop_trace: no trace is being recorded; start_trace begins one")
    recording, Session.recording = Session.recording, None
    recording.write()


@contextlib.contextmanager
def trace(log_dir: str | os.PathLike, create_perfetto_link: bool = False, create_perfetto_trace: bool = False,
          profiler_options: Any = None) -> Iterator[None]:
    """Record what happens inside the block.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with trace(folder), TraceAnnotation("load"):
    ...         pass
    ...     [path.name for path in pathlib.Path(folder).rglob("*.gz")]
    ['perfetto_trace.json.gz']
    """
    start_trace(log_dir)
    try:
        yield
    finally:
        stop_trace()


class TraceAnnotation(contextlib.ContextDecorator):
    """A stretch of the program with a name and details, for a `with` block or as a decorator."""

    def __init__(self, name: str, **details: Any) -> None:
        self.name, self.details, self.starts = name, details, []

    def __enter__(self) -> TraceAnnotation:
        self.starts.append(time.perf_counter())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        start, recording = self.starts.pop(), Session.recording
        if recording is not None:
            recording.add(self.name, start, time.perf_counter() - start, threading.get_native_id(), self.details)


class StepTraceAnnotation(TraceAnnotation):
    """One step of training: `with StepTraceAnnotation("train", step_num=i): ...`."""


def annotate_function(func: Callable, name: str | None = None, **details: Any) -> Callable:
    """func, whose calls are stretches of a trace under its name.

    >>> annotate_function(abs, name="size")(-2)
    2
    """
    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with TraceAnnotation(name or getattr(func, "__qualname__", repr(func)), **details):
            return func(*args, **kwargs)
    return wrapped


__getattr__ = getter(__name__)

"""Programs that were called twice with their arrays at the same addresses -> graphs of launches, which are replayed.

All graphs of a device compute in one arena: they run one after another, in the order of its stream.
"""
from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracejit.codegen.cuda.interface import Buffer, Runtime
    from tracejit.runtime.cuda.executor import Executor

RUNS_BEFORE_CAPTURE = 2
MOST_GRAPHS = 8         # of one program, for different addresses


class GraphCache:
    """Captured graphs of one program by the addresses that they were captured with."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.seen: dict[tuple[int, ...], int] = {}
        self.graphs: dict[tuple[int, ...], tuple[Any, Buffer]] = {}
        self.refusal = ""       # why no graph can be made of the program
        runtime.captured.add(self)

    def run(self, executor: Executor, ins: list[int], outs: list[int]) -> None:
        key = (*ins, *outs)
        found = self.graphs.get(key)
        if found is None and self.is_due(key) and executor.is_capturable and not self.refusal:
            found = self.capture(key, executor, ins, outs)
        if found is None:
            executor.run(ins, outs)
        else:
            self.runtime.replay(found[0])

    def is_due(self, key: tuple[int, ...]) -> bool:
        """Whether these addresses come again; other threads may ask at the same time."""
        times = self.seen[key] = self.seen.pop(key, 0) + 1
        for old in list(self.seen)[:-MOST_GRAPHS]:
            self.seen.pop(old, None)
        return times > RUNS_BEFORE_CAPTURE

    def capture(self, key: tuple[int, ...], executor: Executor, ins: list[int], outs: list[int]) -> tuple[Any, Buffer] | None:
        """Capture a run, and keep its arena as long as the graph. None, and nothing has run, where a call cannot be."""
        arena = self.runtime.captured.arena(executor)
        self.runtime.begin_capture()
        try:
            try:
                executor.run(ins, outs, arena)
            finally:
                graph = self.runtime.end_capture()
        except Exception as error:      # each library has its own kinds
            self.refusal = f"{type(error).__name__}: {error}"
            return None
        for old in list(self.graphs)[:1 - MOST_GRAPHS]:
            self.graphs.pop(old, None)
        self.graphs[key] = graph, arena
        return graph, arena

    def clear(self) -> None:
        self.graphs.clear()
        self.seen.clear()


class CapturedGraphs:
    """The graphs of all programs on one device, and the arena that they share."""

    def __init__(self) -> None:
        self.caches: weakref.WeakSet[GraphCache] = weakref.WeakSet()
        self.shared: Buffer | None = None

    def add(self, cache: GraphCache) -> None:
        self.caches.add(cache)

    def arena(self, executor: Executor) -> Buffer:
        """Memory for the runs of a program. Graphs that were captured in a smaller one keep that."""
        if self.shared is None or self.shared.nbytes < executor.code.arena_bytes:
            self.shared = executor.arena()
        return self.shared

    def give_back(self) -> bool:
        """Forget all graphs, which are made again when they are needed, and free their memory; whether there were any."""
        had_any = self.shared is not None
        self.shared = None
        for cache in list(self.caches):
            cache.clear()
        return had_any

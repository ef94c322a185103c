"""The text of a program -> the objects it was compiled to, kept on disk: a warm start needs neither passes nor code generation.

    key = key_of_program(graph, isa, donated)
    built = find(key) or ...      # all that an Executable needs to know, with the objects loaded
"""
from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

from tracejit.codegen.cpu.isa import Isa
from tracejit.config import config
from tracejit.ir.graph import Graph
from tracejit.runtime import cache

HOST_FUNCTION = "@"     # in the text of a graph: a Python function, which only this process can tell from others


@dataclasses.dataclass(frozen=True)
class Built:
    """A compiled program: the symbol of its entry, its objects, and how to call it."""
    entry: str
    objects: tuple[cache.Object, ...]
    arena_bytes: int
    long_running: bool
    donated: dict[int, int]


@functools.cache
def compiler_id() -> str:
    """Changes whenever a file of the package does."""
    root = Path(__file__).parent.parent
    files = [(path.relative_to(root).as_posix(), path.stat()) for path in sorted(root.rglob("*.py"))]
    return repr([(name, found.st_mtime_ns, found.st_size) for name, found in files])


def key_of_program(graph: Graph, isa: Isa, donated: Sequence[int]) -> str | None:
    """The name of what a graph compiles to; None where that is not to be had from disk, or every stage is to be seen."""
    if cache.object_cache() is None or config.check or config.debug > 1 or HOST_FUNCTION in graph.key():
        return None
    return cache.key_of("program", compiler_id(), graph.key(), repr(isa), repr(config.key()), repr(sorted(donated)))


def find(key: str | None) -> Built | None:
    """A program that was kept, loaded; None if it or one of its objects is not on disk any more."""
    data = key and cache.object_cache().get(key)
    if not data:
        return None
    fields = json.loads(data)
    objects = tuple(cache.Object(**o) for o in fields.pop("objects"))
    donated = {int(out): source for out, source in fields.pop("donated").items()}
    return Built(objects=objects, donated=donated, **fields) if cache.load_kept(objects) else None


def keep(key: str | None, built: Built) -> None:
    if key:
        cache.object_cache().put(key, json.dumps(dataclasses.asdict(built)).encode())

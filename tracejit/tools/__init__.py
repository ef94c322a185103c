"""Tools for looking at what the compiler did."""
from __future__ import annotations

from tracejit.runtime import cache
from tracejit.runtime import compile as compiler


def stats() -> dict[str, float]:
    """What this process compiled so far.

    programs: jitted signatures and eager operations; kernels: pieces of native code that they are made of;
    compile_ms: time from graph to native code; cache_hits: kernels that needed no compilation because this process
    or an earlier one (on disk) had made the same; disk_hits: those of an earlier one.

    >>> sorted(stats())
    ['cache_hits', 'compile_ms', 'disk_hits', 'kernels', 'programs']
    """
    found = cache.stats
    return {"programs": len(compiler.reports), "kernels": found.compiled + found.disk + found.memory,
            "compile_ms": 1e3 * sum(report.seconds for report in compiler.reports),
            "cache_hits": found.disk + found.memory, "disk_hits": found.disk}

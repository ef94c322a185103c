"""Rows -> lines of a terminal: times, and ratios of each peer's time to tracejit's."""
from __future__ import annotations

from typing import Any

from benchmarks.backends import OURS

UNITS = (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
NAME_WIDTH, CELL_WIDTH = 56, 15


def show(seconds: float | None) -> str:
    """Three digits and a unit; nothing for None.

    >>> show(3.14159e-3)
    '3.14 ms'
    """
    if seconds is None:
        return ""
    unit, scale = next((u for u in UNITS if seconds >= u[1]), UNITS[-1])
    number = f"{seconds / scale:.3g}"
    return f"{float(number):.0f} {unit}" if "e" in number else f"{number} {unit}"


def time_of(found: dict[str, Any] | None, key: str = "median_s") -> float | None:
    """The time that counts: none of a backend that failed or whose result disagrees."""
    if not found or "error" in found or not found.get("agrees"):
        return None
    return found.get(key)


def times_of(row: dict[str, Any], compiles: bool = False) -> dict[str, float]:
    times = {name: time_of(found, "first_s" if compiles else "median_s") for name, found in row.items()}
    return {name: t for name, t in times.items() if t is not None}


def best_peer(times: dict[str, float]) -> str | None:
    return min((name for name in times if name != OURS), key=times.__getitem__, default=None)


def ratio(times: dict[str, float], peer: str | None) -> float | None:
    """How many times as long as tracejit a peer takes: above 1, tracejit is faster."""
    return times[peer] / times[OURS] if peer in times and OURS in times else None


def title(backends: list[str]) -> str:
    return f"{'':{NAME_WIDTH}}" + "".join(f"{name:>{CELL_WIDTH}}" for name in backends) + "   best peer / tracejit"


def line_of(name: str, row: dict[str, Any], backends: list[str], compiles: bool = False) -> str:
    times = times_of(row, compiles)
    cells = [cell(row.get(backend), times.get(backend)) for backend in backends]
    found = ratio(times, best_peer(times))
    return f"{name:{NAME_WIDTH}.{NAME_WIDTH}}" + "".join(f"{c:>{CELL_WIDTH}}" for c in cells) + (f"   {found:.2f}" if found else "")


def cell(found: dict[str, Any] | None, seconds: float | None) -> str:
    if found and "error" in found:
        return "failed"
    if found and not found.get("agrees"):
        return f"off {found.get('difference', float('nan')):.0e}"
    return show(seconds)


def show_worst(rows: dict[str, Any], count: int = 25) -> None:
    """The lowest ratios to the best peer: where tracejit is slow."""
    found = []
    for name, row in rows.items():
        times = times_of(row["times"])
        peer = best_peer(times)
        if ratio(times, peer) is not None:
            found.append((ratio(times, peer), name, peer, times[OURS]))
    found.sort()
    slower = sum(r < 1 for r, *_ in found)
    print(f"\nworst of {len(found)}; slower than the best peer: {slower}")
    for r, name, peer, seconds in found[:count]:
        print(f"  {r:6.2f}  {name:50} {show(seconds):>10}, {peer} {show(r * seconds)}")

"""An Explanation -> HTML: tables of its stages and steps, and the graph of its steps as an inline SVG."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from tracejit.ir.graph import Graph

if TYPE_CHECKING:
    from tracejit.tools.explain import Explanation

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 44, 24, 40, 12   # of a box and between boxes, in pixels
MOST_BOXES = 1000       # more would be no picture
SWEEPS = 4              # how often boxes are ordered by the places of their neighbours

STYLE = """<style>
.tracejit { font: 13px/1.45 system-ui, sans-serif; color: #1d2733; background: #fff; padding: 4px }
.tracejit tr, .tracejit td, .tracejit th { color: #1d2733; background: #fff }
.tracejit h3 { font-size: 14px; margin: 14px 0 4px } .tracejit svg { max-width: 100%; height: auto }
.tracejit table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.tracejit td, .tracejit th { padding: 2px 10px; border-bottom: 1px solid #e3e8ee; text-align: right }
.tracejit td:nth-child(2), .tracejit th:nth-child(2) { text-align: left }
</style>"""


def page(found: Explanation) -> str:
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(found.name)}</title>"
            f"<body>{fragment(found)}</body></html>\n")


def fragment(found: Explanation) -> str:
    """What a notebook shows."""
    first, second = found.head().split("\n")
    parts = [STYLE, f"<b>{escape(first)}</b><br>{escape(second)}", "<h3>Steps</h3>", step_table(found), graph_of(found),
             "<h3>Not fused</h3>", listed(map(str, found.unfused)), "<h3>Stages of the compiler</h3>", stage_table(found),
             f"<p>{escape(found.report.line())}</p>", "<h3>Memory</h3>", listed(found.memory_lines())]
    return f"<div class=tracejit>{''.join(parts)}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line = lambda tag, cells: "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"
    return f"<table>{line('th', head)}{''.join(line('td', row) for row in rows)}</table>"


def listed(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else "<p>nothing</p>"


def step_table(found: Explanation) -> str:
    rows = [[str(k), step.name, *found.cells(step)] for k, step in enumerate(found.kernels)]
    return table(["", "step", "time", "share", "moved", "GB/s", "GFLOP/s", "of the limit"], rows)


def stage_table(found: Explanation) -> str:
    rows = [["", "trace", f"{1e3 * found.trace_seconds:.2f}", str(len(found.graph.eqns))]]
    rows += [["", name, f"{1e3 * seconds:.2f}", str(len(out.eqns)) if isinstance(out, Graph) else ""]
             for name, seconds, out in found.report.stages]
    return table(["", "stage", "ms", "equations"], rows)


# --- the graph -------------------------------------------------------------------------------------------------------

def layers_of(count: int, edges: Sequence[tuple[int, int, str]]) -> list[list[int]]:
    """Boxes by the length of the longest way to them, each layer ordered so that few lines cross.

    >>> layers_of(4, [(0, 2, ""), (1, 2, ""), (2, 3, "")])
    [[0, 1], [2], [3]]
    """
    depth = [0] * count
    for a, b, _ in sorted(edges, key=lambda e: e[1]):   # steps are in the order in which they run
        depth[b] = max(depth[b], depth[a] + 1)
    layers = [[k for k in range(count) if depth[k] == d] for d in range(max(depth, default=-1) + 1)]
    near: dict[int, list[int]] = {k: [] for k in range(count)}
    for a, b, _ in edges:
        near[a].append(b)
        near[b].append(a)
    for _ in range(SWEEPS):
        place = {k: i / len(layer) for layer in layers for i, k in enumerate(layer)}
        for layer in layers:
            layer.sort(key=lambda k: sum(place[n] for n in near[k]) / len(near[k]) if near[k] else place[k])
    return layers


def graph_of(found: Explanation) -> str:
    """A box per step, the warmer the more of the call's time it takes; a line per value that goes through memory."""
    if not 0 < len(found.kernels) <= MOST_BOXES:
        return ""
    edges = found.edges()
    layers = layers_of(len(found.kernels), edges)
    across = max(map(len, layers)) * (WIDTH + GAP_X)
    at = {k: (MARGIN + (across - len(layer) * (WIDTH + GAP_X) + GAP_X) / 2 + i * (WIDTH + GAP_X), MARGIN + d * (HEIGHT + GAP_Y))
          for d, layer in enumerate(layers) for i, k in enumerate(layer)}
    width, height = across + 2 * MARGIN, len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    lines = [curve(at[a], at[b], label) for a, b, label in edges]
    boxes = [box(found, k, *at[k]) for k in range(len(found.kernels))]
    return (f'<h3>Graph</h3><svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" font-size="11">'
            f'{"".join(lines)}{"".join(boxes)}</svg>')


def curve(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1]
    bend = max(GAP_Y / 2, (y2 - y1) / 2)
    return (f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}" fill="none" '
            f'stroke="#8a97a6"><title>{escape(label)}</title></path>')


def box(found: Explanation, k: int, x: float, y: float) -> str:
    step = found.kernels[k]
    share = min(1.0, (step.seconds or 0) / found.call_seconds) ** 0.5     # so that a tenth can be told from nothing
    name = step.name if len(step.name) <= 28 else step.name[:27] + "…"
    below = "not timed alone" if step.seconds is None else \
        f"{1e6 * step.seconds:.1f} us, {found.bound(step)[0]:.0f} % of {found.bound(step)[1]}"
    details = "\n".join([step.name, *found.details(step)])
    return (f'<g><title>{escape(details)}</title><rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="5" '
            f'fill="{warmth(share)}" stroke="#5b6b7c"/><text x="{x + 8:.0f}" y="{y + 18:.0f}" fill="#1d2733">'
            f'{k}. {escape(name)}</text><text x="{x + 8:.0f}" y="{y + 34:.0f}" fill="#44515f">{escape(below)}</text></g>')


def warmth(share: float) -> str:
    """A colour from pale blue (nothing) to orange (all of it).

    >>> warmth(0), warmth(1)
    ('#eef4fb', '#ffb066')
    """
    low, high = (0xEE, 0xF4, 0xFB), (0xFF, 0xB0, 0x66)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high))

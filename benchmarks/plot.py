"""Ratios by group -> a picture: rows as faint dots, each library's geometric mean as a large one, on a logarithmic axis."""
from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot

matplotlib.use("agg")
SPREAD = 0.14       # between the lines of two libraries in a group
LABEL = "time / tracejit's time, each row a small dot, geometric means large; right of the line tracejit is faster"


def draw(groups: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str], path: Path) -> None:
    """`groups` maps a name to each library's ratios; `colours` has the libraries in their order."""
    figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(groups) + 1.2), layout="constrained")
    for k, (library, colour) in enumerate(colours.items()):
        shift = SPREAD * ((len(colours) - 1) / 2 - k)
        dots = [(ratio, y + shift) for y, of in enumerate(groups.values()) for ratio in of.get(library, ())]
        means = [(statistics.geometric_mean(ratios), y + shift) for y, of in enumerate(groups.values())
                 if (ratios := of.get(library))]
        if dots:
            axes.scatter(*zip(*dots), s=12, alpha=0.35, color=colour, linewidths=0)
            axes.scatter(*zip(*means), s=52, color=colour, edgecolors="white", linewidths=0.6, label=library, zorder=3)
    dress(axes, list(groups))
    figure.legend(loc="outside upper center", ncols=len(colours), frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def dress(axes: pyplot.Axes, names: list[str]) -> None:
    axes.axvline(1, color="#1d2733", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
    axes.xaxis.set_minor_formatter(lambda x, _: f"{x:g}x" if f"{x:e}"[0] in "25" else "")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(LABEL)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)

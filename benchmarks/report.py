"""Results -> docs/benchmarks.md, docs/benchmarks.png and the table in README.md: `python -m benchmarks.report`.

    python -m benchmarks.report --json benchmarks/results/all.json

Next to that file it also looks for one-thread.json, avx2.json and sweep.json: the same runs under other conditions. Why a row
falls short is told in benchmarks/reasons.toml.
"""
from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS
from benchmarks.backends import KNOWN, OURS
from benchmarks.plot import draw
from benchmarks.starting import ROWS as STARTS
from benchmarks.table import best_peer, ratio, show, time_of, times_of
from benchmarks.workloads import WORKLOADS
from tracejit.runtime.work import Work
from tracejit.tools.limits import Limits, limits_from

ROOT = Path(__file__).parent.parent
PAGE, PICTURE, README = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.png", ROOT / "README.md"
REASONS = Path(__file__).parent / "reasons.toml"
UNMEASURED = dict.fromkeys(("instructions", "divisions"), math.inf)  # rates that older results lack bound nothing
OPEN, CLOSE = "<!-- benchmarks: written by benchmarks/report.py -->", "<!-- end of benchmarks -->"
NAMES = {"jax": "JAX", "torch": "PyTorch", "torch_compile": "torch.compile", "numba": "Numba", "numpy": "NumPy", OURS: "tracejit"}
COLOURS = {"jax": "#d1495b", "torch": "#edae49", "torch_compile": "#a26769", "numba": "#00798c", "numpy": "#8d99ae"}


@dataclass(frozen=True)
class Line:
    """One row of the tables."""
    name: str
    group: str
    row: dict[str, dict[str, Any]]      # backend -> what was found
    times: dict[str, float]             # the time that counts
    limit: float | None                 # what the machine needs at least

    @property
    def best(self) -> str | None:
        return best_peer(self.times)

    def ratio(self, peer: str | None) -> float | None:
        return ratio(self.times, peer)

    @property
    def of_limit(self) -> float | None:
        """Percentage of the machine's limit that tracejit reaches."""
        return 100 * self.limit / self.times[OURS] if self.limit and OURS in self.times else None


@dataclass(frozen=True)
class Run:
    """The file of one run."""
    machine: dict[str, Any]
    lines: list[Line]

    @property
    def peers(self) -> list[str]:
        """Those that have a time in any row, in a fixed order."""
        return [name for name in KNOWN if name != OURS and any(name in line.times for line in self.lines)]

    def compared(self) -> list[Line]:
        return [line for line in self.lines if line.ratio(line.best) is not None]


def load(path: Path) -> Run:
    found = json.loads(path.read_text())
    limits = limits_from(UNMEASURED | found["machine"]["limits"])
    rows = found["rows"]
    lines = [line_of(name, rows[name]["times"], limits) for name in [*WORKLOADS, *STARTS] if name in rows]
    others = [Line(name, name.split(":")[0], row["times"], times_of(row["times"]), None) for name, row in rows.items()
              if name not in WORKLOADS and name not in STARTS]
    return Run(found["machine"], lines + others)


def line_of(name: str, row: dict[str, Any], limits: Limits) -> Line:
    workload = WORKLOADS.get(name)
    if workload is None:
        return Line(name, "start", row, times_of(row), None)
    least = limits.seconds(*workload.moved, Work(products=workload.flops), workload.itemsize)
    return Line(name, workload.group, row, times_of(row, workload.compiles), least or None)


# --- numbers and tables --------------------------------------------------------------------------------------------------

def mean_ratio(ratios: Iterable[float | None]) -> float | None:
    """The geometric mean of what is there."""
    known = [r for r in ratios if r]
    return statistics.geometric_mean(known) if known else None


def number(x: float | None, form: str = ".2f") -> str:
    return "" if x is None else f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 10 else f"{x:{form}}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    align = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, align, *rows]) + "\n"


def groups_of(lines: Iterable[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.group, []).append(line)
    return found


def summary(run: Run) -> str:
    """A line per group: geometric means of the peers' times over tracejit's, and the worst row."""
    rows = []
    for group, lines in [*groups_of(run.compared()).items(), ("**all**", run.compared())]:
        worst = min(lines, key=lambda line: line.ratio(line.best))
        means = [mean_ratio(line.ratio(peer) for line in lines) for peer in run.peers]
        of_best = mean_ratio(line.ratio(line.best) for line in lines)
        rows.append([group, str(len(lines)), *map(number, [*means, of_best]), f"{number(worst.ratio(worst.best))} ({worst.name})"])
    return table(["group", "rows", *(NAMES[p] for p in run.peers), "best peer", "worst row"], rows)


def full_table(run: Run, lines: Sequence[Line]) -> str:
    def cell(line: Line, backend: str) -> str:
        found = line.row.get(backend)
        if found and "error" in found:
            return "failed"
        if found and not found.get("agrees"):
            return "disagrees"
        text = show(line.times.get(backend)).strip()
        return f"**{text}**" if backend == line.best else text
    rows = [[line.name, *(cell(line, b) for b in (OURS, *run.peers)), number(line.ratio("jax")), number(line.ratio(line.best)),
             f"{line.of_limit:.0f} %" if line.of_limit else ""] for line in lines]
    return table(["", NAMES[OURS], *(NAMES[p] for p in run.peers), "JAX / tracejit", "best peer / tracejit", "of the limit"], rows)


def first_table(run: Run) -> str:
    """First calls of everything that is compiled, and tracejit's from disk where it was measured."""
    names = [b for b in (OURS, "jax", "torch_compile", "numba") if b in (OURS, *run.peers)]
    rows = [[line.name, *(show(time_of(line.row.get(b), "first_s")).strip() for b in names),
             show(line.row.get(OURS, {}).get("from_disk_s")).strip()]
            for line in run.lines if line.name in WORKLOADS and line.group != "calls" and OURS in line.row]
    return table(["", *(NAMES[b] for b in names), "tracejit, from disk"], rows)


def memory_table(run: Run) -> str:
    rows = [[line.name, *(f"{found['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in (found := line.row.get(b, {})) else ""
                          for b in (OURS, *run.peers))] for line in run.lines if line.name in WORKLOADS]
    return table(["MB", NAMES[OURS], *(NAMES[p] for p in run.peers)], rows)


def slower(run: Run) -> list[Line]:
    return sorted((line for line in run.compared() if line.ratio(line.best) < 1), key=lambda line: line.ratio(line.best))


def shortfalls(run: Run, reasons: dict[str, str]) -> str:
    head = ["row", "best peer / tracejit", "best peer", "reason"]
    rows = [[line.name, number(line.ratio(line.best)), NAMES[line.best], reasons.get(line.name, "not known yet")]
            for line in slower(run)]
    return table(head, rows) if rows else "None.\n"


# --- pages ---------------------------------------------------------------------------------------------------------------

def versions(run: Run) -> str:
    found = {b: row["version"] for line in run.lines for b, row in line.row.items() if row.get("version")}
    return ", ".join(f"{NAMES[b]} {found[b]}" for b in (*run.peers,) if b in found)


def place(run: Run) -> str:
    """What the numbers were measured on."""
    limits, machine = limits_from(UNMEASURED | run.machine["limits"]), run.machine
    largest = max(limits.read)
    return (f"an {limits.processor} with {limits.isa}, threads: {limits.threads}; {versions(run)}; {machine['date']}. "
            f"Measured limits: {limits.flops / 1e9:.0f} GFLOP/s in float32; from memory {limits.read[largest] / 1e9:.0f} GB/s read,"
            f" {limits.copy[largest] / 1e9:.0f} GB/s copied, {limits.fill[largest] / 1e9:.0f} GB/s written.")


INTRO = """# Benchmarks

Written by `benchmarks/report.py` from the files in `benchmarks/results/`. Every backend runs in a process of its own; results are
compared before anything is timed; rounds are interleaved; times are medians. A ratio is a peer's time over tracejit's: above 1,
tracejit is faster. The limit is the larger of two times: for the bytes that must be moved, and for the multiplications and
additions of products and convolutions, at the rates that this machine reaches at best ([how](performance.md)). Elementary functions
and divisions are not in it, so that rows full of them stay far from it on any library.

    python -m benchmarks --json benchmarks/results/all.json
    python -m benchmarks.report
"""


def page(runs: dict[str, Run], reasons: dict[str, str]) -> str:
    run = runs["all"]
    parts = [INTRO, place(run), "", "## By group", "", "Geometric means of the ratios.", "", summary(run),
             "![Ratios by group](benchmarks.png)", "", "## Every row", ""]
    for group, lines in groups_of(run.lines).items():
        parts += [f"### {group[0].upper() + group[1:]}", "", full_table(run, lines)]
    parts += ["## Rows slower than the best peer", "", shortfalls(run, reasons), "## First calls", "",
              "Trace, compile and run, with empty caches, the compiler awake.", "", first_table(run), "## Peak memory", "",
              "Of the whole process, its libraries included.", "", memory_table(run)]
    for name, title in (("one-thread", "One thread"), ("avx2", "AVX2 only")):
        if name in runs:
            parts += [f"## {title}", "", summary(runs[name]), full_table(runs[name], runs[name].compared()),
                      shortfalls(runs[name], reasons)]
    if "sweep" in runs:
        parts += ["## Other sizes", "", *sweep(runs["sweep"])]
    return "\n".join(parts).rstrip() + "\n"


def sweep(run: Run) -> list[str]:
    lines = sorted(run.compared(), key=lambda line: line.ratio(line.best))
    mean = number(mean_ratio(line.ratio(line.best) for line in lines))
    head = (f"{len(lines)} programs on odd, prime, tiny and huge sizes, strided arrays and other dtypes: geometric mean of best "
            f"peer / tracejit {mean}, slower than the best peer {len(slower(run))}. The worst:")
    return [head, "", full_table(run, lines[:40])]


def readme_block(run: Run) -> str:
    lines, behind = run.compared(), len(slower(run))
    jax, best = (number(mean_ratio(line.ratio(of(line)) for line in lines)) for of in (lambda line: "jax", lambda line: line.best))
    text = (f"{len(lines)} workloads on {place(run).split('. Measured')[0]}. In the geometric mean JAX takes {jax} times as long\n"
            f"as tracejit, and the best of all peers, another one in each row, {best} times. Some peer is faster in {behind} rows.")
    return "\n".join([OPEN, "", text, "", "![How many times as long as tracejit each library takes](docs/benchmarks.png)", "",
                      summary(run), f"[Every row]({PAGE.relative_to(ROOT)}), with what is known about the {behind}.", "", CLOSE])


def put_into_readme(text: str, block: str) -> str:
    """The text with what is between the markers replaced. ValueError if they are not there."""
    pattern = re.compile(re.escape(OPEN) + ".*?" + re.escape(CLOSE), re.S)
    if not pattern.search(text):
        raise ValueError(f"README.md has no lines {OPEN!r} and {CLOSE!r}")
    return pattern.sub(lambda _: block, text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "all.json")
    path = parser.parse_args(argv).json
    files = {"all": path} | {name: path.parent / f"{name}.json" for name in ("one-thread", "avx2", "sweep")}
    runs = {name: load(file) for name, file in files.items() if file.exists()}
    reasons = tomllib.loads(REASONS.read_text()) if REASONS.exists() else {}
    PAGE.write_text(page(runs, reasons))
    README.write_text(put_into_readme(README.read_text(), readme_block(runs["all"])))
    groups = {group: {NAMES[peer]: [r for line in lines if (r := line.ratio(peer))] for peer in runs["all"].peers}
              for group, lines in groups_of(runs["all"].compared()).items()}
    draw(groups, {NAMES[peer]: COLOURS[peer] for peer in runs["all"].peers}, PICTURE)
    print(f"written: {PAGE}, {PICTURE}, {README}")


if __name__ == "__main__":
    main()

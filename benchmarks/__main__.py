"""Time tracejit beside JAX, PyTorch, Numba and NumPy, whichever are installed; keep the numbers as JSON.

    python -m benchmarks --only softmax,product --rounds 3
    python -m benchmarks --peers PATH/bin/python --json benchmarks/results/all.json --resume
    python -m benchmarks --sweep            # other sizes and dtypes; tells the worst ratios
    python -m benchmarks.report             # the tables and the picture of the documentation

Every backend and workload gets a fresh process. Results are compared before anything is timed; rounds are interleaved.
The file is written after each row: a run that was cut off goes on with --resume.
"""
from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.backends import DEFAULT, KNOWN, OURS
from benchmarks.measure import Effort, Row, measure, steady
from benchmarks.processes import Conditions, limits, workers
from benchmarks.starting import ROWS as STARTS
from benchmarks.starting import measure_start
from benchmarks.table import line_of, show_worst, title
from benchmarks.workload import Workload
from benchmarks.workloads import SWEPT, WORKLOADS

RESULTS = Path(__file__).parent / "results"
LEFT_OVER = 3       # exit status: rows are missing because the time was over


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default=",".join(DEFAULT), help=f"of {', '.join(KNOWN)}; default %(default)s")
    parser.add_argument("--only", default="", help="parts of names or groups of workloads, comma separated")
    parser.add_argument("--sweep", action="store_true", help="odd, prime, tiny and huge sizes, strides and other dtypes")
    parser.add_argument("--python", action="append", default=[], metavar="BACKEND=PATH", help="interpreter of one backend")
    parser.add_argument("--peers", metavar="PATH", help="interpreter of all backends but tracejit")
    parser.add_argument("--threads", type=int, help="threads, and CPUs, that each backend may use; default all")
    parser.add_argument("--isa", choices=("avx2",), help="the widest instruction set that each backend may use")
    parser.add_argument("--rounds", type=int, default=Effort.rounds)
    parser.add_argument("--budget", type=float, default=Effort.seconds, help="seconds per backend and round")
    parser.add_argument("--json", type=Path, help="the file of the numbers; by default a new one in benchmarks/results/")
    parser.add_argument("--resume", action="store_true", help="measure only what the file does not hold yet")
    parser.add_argument("--stop-after", type=float, default=float("inf"), metavar="SECONDS", help="start no row after that time")
    parser.add_argument("--list", action="store_true", help="print the names of the workloads and stop")
    args = parser.parse_args(argv)
    if args.resume and not args.json:
        parser.error("--resume goes on with a file: say which with --json")
    return args


def conditions_of(args: argparse.Namespace, backends: list[str]) -> Conditions:
    pythons = {b: args.peers for b in backends if args.peers and b != OURS}
    return Conditions(pythons | dict(pair.split("=", 1) for pair in args.python), args.threads, args.isa)


def is_wanted(only: str, *names: str) -> bool:
    return any(part.strip() in name for part in only.split(",") for name in names)


class Results:
    """The file of a run: what was measured where, row by row."""

    def __init__(self, path: Path, resume: bool):
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if resume and path.exists() else {"rows": {}}

    def has(self, name: str, backends: list[str]) -> bool:
        return set(backends) <= set(self.found["rows"].get(name, {}).get("tried", ()))

    def put(self, name: str, row: Row, backends: list[str]) -> None:
        old = self.found["rows"].get(name, {"tried": [], "times": {}})
        self.found["rows"][name] = {"tried": sorted({*old["tried"], *backends}), "times": old["times"] | row}
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        written = self.path.with_suffix(".tmp")
        written.write_text(json.dumps(self.found, indent=1) + "\n")
        os.replace(written, self.path)


def machine(conditions: Conditions) -> dict[str, Any]:
    return {"date": time.strftime("%Y-%m-%d"), "system": platform.platform(), "threads": len(conditions.cpus()),
            "isa": conditions.isa, "load": os.getloadavg()[0], "limits": limits(conditions)}


def chosen(args: argparse.Namespace) -> list[Workload]:
    families = [*WORKLOADS.values(), *SWEPT.values()] if args.sweep else WORKLOADS.values()
    return [w for w in families if is_wanted(args.only, w.name, w.group, w.family) and (w.sweep or not args.sweep)]


def run_rows(args: argparse.Namespace, results: Results, backends: list[str], conditions: Conditions, until: float) -> bool:
    """Measure the rows that are missing; False if time is over before the last."""
    effort = Effort(args.rounds, args.budget)
    rows = {w.name: functools.partial(measure, w, backends, conditions, effort) for w in chosen(args)}
    rows |= {row: functools.partial(measure_start, row, backends, conditions) for row in STARTS
             if is_wanted(args.only, row, "start")}
    for name, measured in rows.items():
        if not results.has(name, backends):
            if time.monotonic() > until:
                return False
            row = measured()
            results.put(name, row, backends)
            print(line_of(name, row, backends, name in WORKLOADS and WORKLOADS[name].compiles), flush=True)
    return True


def run_sweep(args: argparse.Namespace, results: Results, backends: list[str], conditions: Conditions, until: float) -> bool:
    """The same for the variants of each family, which share one process per backend."""
    effort = Effort(min(args.rounds, 3), args.budget / 2)
    for family in chosen(args):
        variants = [v for v in family.variants() if not results.has(v.name, backends)]
        if variants and time.monotonic() > until:
            return False
        if variants:
            run_variants(variants, results, backends, conditions, effort)
    show_worst(results.found["rows"])
    return True


def run_variants(variants: list[Workload], results: Results, backends: list[str], conditions: Conditions, effort: Effort) -> None:
    with workers(backends, conditions) as ready, tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            row = steady(variant, ready, effort, Path(folder))
            results.put(variant.name, row, backends)
            print(line_of(variant.name, row, backends), flush=True)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for; the rows that were measured, with those of earlier runs."""
    args = parse(argv)
    if args.list:
        print("\n".join(f"{w.group:24} {w.name}" for w in chosen(args)))
        return {}
    backends = args.backends.split(",")
    conditions = conditions_of(args, backends)
    results = Results(args.json or RESULTS / time.strftime("%Y%m%d-%H%M%S.json"), args.resume)
    if os.getloadavg()[0] > 1:
        print(f"other programs are running (load {os.getloadavg()[0]:.1f}): the minima in the file say more than the medians")
    if "machine" not in results.found:
        results.found["machine"] = machine(conditions)
    print(title(backends))
    run = run_sweep if args.sweep else run_rows
    done = run(args, results, backends, conditions, time.monotonic() + args.stop_after)
    print("numbers:", results.path)
    if not done:
        sys.exit(LEFT_OVER)
    return results.found["rows"]


if __name__ == "__main__":
    main()

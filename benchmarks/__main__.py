"""Time tracejit beside JAX and NumPy in one interleaved run; print a table and write the numbers as JSON.

    python -m benchmarks --only matmul,softmax --rounds 5
"""
from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.measure import Timing, measure
from benchmarks.workloads import WORKLOADS, Workload

RESULTS = Path(__file__).parent / "results"
UNITS = (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


def load_backend(name: str) -> ModuleType | None:
    """The module with its public submodules, warm: a trivial function has been compiled."""
    J = importlib.import_module(name)
    for part in ("numpy", "lax", "tree_util"):
        importlib.import_module(f"{name}.{part}")
    J.block_until_ready(J.jit(lambda x: x - 1)(J.numpy.zeros(3)))
    return J


def load_backends(names: list[str]) -> dict[str, ModuleType | None]:
    backends: dict[str, ModuleType | None] = {}
    for name in names:
        if name == "numpy":
            backends[name] = None
        elif importlib.util.find_spec(name) is None:
            print(f"{name} is not installed and is left out")
        else:
            backends[name] = load_backend(name)
    return backends


def show(seconds: float) -> str:
    unit, scale = next((u for u in UNITS if seconds >= u[1]), UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


def verdict(workload: Workload, timings: dict[str, Timing]) -> str:
    """The target and whether it was met; empty where there is nothing to compare with."""
    ours, theirs = timings.get("tracejit"), timings.get("jax")
    if ours and workload.most is not None:
        return f"{'met' if ours.median <= workload.most else 'MISSED'}: <= {show(workload.most)}"
    if ours and theirs and workload.speedup is not None:
        met = theirs.median >= workload.speedup * ours.median
        return f"{'met' if met else 'MISSED'}: {workload.speedup:.3g} x JAX"
    return ""


def row(workload: Workload, timings: dict[str, Timing], names: list[str]) -> list[str]:
    ours = timings.get("tracejit")
    peers = [n for n in names if n != "tracejit"]
    ratios = [f"{timings[n].median / ours.median:.2f}" if ours and n in timings else "" for n in peers]
    times = [show(timings[n].median) if n in timings else "" for n in names]
    return [workload.name, *times, *ratios, verdict(workload, timings)]


def machine() -> dict[str, object]:
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
            "python": platform.python_version(), "system": platform.platform(), "numpy": np.__version__}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="tracejit,jax,numpy", help="comma separated")
    parser.add_argument("--only", default="", help="parts of workload names, comma separated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=0.1, help="seconds per backend and round")
    parser.add_argument("--json", type=Path, help="where to write the numbers; by default a new file in results/")
    return parser.parse_args(argv)


def write_json(path: Path | None, backends: dict[str, ModuleType | None], results: dict[str, object]) -> Path:
    path = path or RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = {name: getattr(J, "__version__", "") for name, J in backends.items() if J}
    path.write_text(json.dumps({"machine": machine() | versions, "results": results}, indent=1) + "\n")
    return path


def print_row(cells: list[str]) -> None:
    print(f"{cells[0]:36}" + "".join(f"{cell:>12}" for cell in cells[1:-1]) + f"   {cells[-1]}", flush=True)


def main(argv: list[str] | None = None) -> dict[str, object]:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRACEJIT_COMPILATION_CACHE_DIR"] = cache  # compile times are those of an empty cache
        if os.getloadavg()[0] > 1:
            print(f"other programs are running (load {os.getloadavg()[0]:.1f}): the minima in the JSON say more than the table")
        backends = load_backends(args.backends.split(","))
        names, results = list(backends), {}
        print_row(["", *names, *(f"{n}/ours" for n in names if n != "tracejit"), "target"])
        for workload in WORKLOADS:
            if any(part in workload.name for part in args.only.split(",")):
                timings = measure(workload, backends, args.rounds, args.budget)
                print_row(row(workload, timings, names))
                results[workload.name] = {n: t.as_json() for n, t in timings.items()} | {
                    "target": verdict(workload, timings)}
        print("numbers:", write_json(args.json, backends, results))
    return results


if __name__ == "__main__":
    main()

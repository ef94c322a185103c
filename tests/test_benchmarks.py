"""The benchmarks run, compare results, write their numbers, go on where they stopped, and their versions fit together."""
from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import tracejit
from benchmarks import __main__ as command
from benchmarks.backends import as_numpy, leaves_of, load, may_have
from benchmarks.by_numpy import VERSIONS
from benchmarks.measure import difference
from benchmarks.processes import Conditions, Worker, WorkerError
from benchmarks.table import best_peer, line_of, ratio, show, show_worst, times_of
from benchmarks.workloads import SWEPT, WORKLOADS

FAMILIES = {w.family: w for w in [*SWEPT.values(), *reversed(WORKLOADS.values())]}
FOLDER = Path(command.__file__).parent


@pytest.fixture
def no_limits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "limits", lambda conditions: {"threads": 1})


def test_run_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, no_limits):
    args = ["--backends", "tracejit,numpy", "--only", "small_perceptron,largest 10", "--rounds", "1", "--budget", "0.01",
            "--json", str(tmp_path / "out.json")]
    command.main(args)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["machine"]["threads"] >= 1 and "perceptron 100-33-7, Adam, batch 17" in written["rows"]
    for row in written["rows"].values():
        for found in row["times"].values():
            assert found["median_s"] >= found["min_s"] > 0 and found["agrees"] and found["peak_bytes"] > 1 << 20
        assert row["tried"] == ["numpy", "tracejit"]
    assert "perceptron 100-33-7" in capsys.readouterr().out
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("what is there is measured again"))
    assert command.main([*args, "--resume"]) == written["rows"]
    monkeypatch.setattr(command, "chosen", lambda args: [FAMILIES["matmul"]])
    with pytest.raises(SystemExit) as stopped:      # and what is missing waits when the time is over
        command.main([*args, "--resume", "--stop-after", "-1"])
    assert stopped.value.code == command.LEFT_OVER


def test_a_sweep_tells_the_worst(tmp_path: Path, capsys: pytest.CaptureFixture, no_limits):
    rows = command.main(["--sweep", "--backends", "tracejit,numpy", "--only", "broadcast", "--rounds", "1", "--budget", "0.01",
                         "--json", str(tmp_path / "out.json")])
    assert set(rows) == {"broadcast: 3x5", "broadcast: 1003x997"}
    assert "worst of 2; slower than the best peer:" in capsys.readouterr().out


def test_conditions_reach_the_workers(tmp_path: Path):
    conditions = Conditions({"jax": "/somewhere/python"}, threads=1, isa="avx2")
    environment = conditions.environment(str(tmp_path))
    assert environment["TRACEJIT_THREADS"] == environment["OMP_NUM_THREADS"] == "1" and environment["TRACEJIT_ISA"] == "avx2"
    assert len(conditions.cpus()) == 1 and conditions.python("jax") == "/somewhere/python"
    process = conditions.start(["sh", "-c", "nproc > $TRACEJIT_COMPILATION_CACHE_DIR/n"], str(tmp_path))
    assert process.wait(10) == 0 and (tmp_path / "n").read_text().strip() == "1"


def test_a_worker_that_dies_says_why():
    with Worker("numpy", Conditions(timeout=60)) as worker:
        assert worker.hello() is None
        with pytest.raises(WorkerError, match="KeyError"):
            worker.ask("load", workload="no such thing")


def test_a_backend_that_is_not_installed_is_left_out():
    with Worker("no_such_library", Conditions(timeout=60)) as worker:
        assert "no_such_library" in worker.hello()


# --- the workloads -----------------------------------------------------------------------------------------------------

def versions_in(file: str) -> set[str]:
    """Names of the decorated functions: of what the library itself is not needed to know."""
    tree = ast.parse((FOLDER / file).read_text())
    return {f.name for f in tree.body if isinstance(f, ast.FunctionDef) and any(
        isinstance(d, ast.Name) and d.id in ("version", "builder", "serial") for d in f.decorator_list)}


@pytest.mark.parametrize("file", ["by_numpy.py", "by_torch.py", "by_numba.py"])
def test_versions_are_of_workloads_that_exist(file: str):
    assert versions_in(file) <= set(FAMILIES) and len(versions_in(file)) > 20


def test_processes_are_started_only_for_versions_that_exist():
    assert may_have("numpy", FAMILIES["sort"]) and not may_have("numpy", FAMILIES["conv"])
    assert may_have("torch", FAMILIES["conv"]) and may_have("jax", FAMILIES["gpt"]) and not may_have("torch", FAMILIES["gpt"])


SMALL = [w for w in (min(f.variants(), key=lambda v: sum(np.size(x) for x in leaves_of(v.data())))
                     for f in FAMILIES.values() if f.sweep and f.family in VERSIONS)]


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_small_sizes_agree_with_numpy(workload):
    data, numpy = workload.data(), load("numpy")
    found = workload.build(tracejit, data)()
    expected = numpy.build(workload, data)()
    pair = [[as_numpy(x) for x in list(leaves_of(out))[slice(*workload.leaves)]] for out in (found, expected)]
    assert difference(workload.compared, *pair) <= workload.tolerance


# --- results -----------------------------------------------------------------------------------------------------------

def test_differences():
    ones = [np.ones(3)]
    assert difference("values", ones, [np.ones(3) * 1.01]) == pytest.approx(0.01 / 1.01)
    assert difference("values", [np.full(3, np.nan)], ones) == difference("values", [np.ones(4)], ones) == float("inf")
    assert difference("values", [np.array([np.inf, 1])], [np.array([np.inf, 1])]) == 0
    assert difference("sorted", [np.array([2, 1, 3])], [np.array([1, 2, 3])]) == 0
    assert difference("moments", [np.array([1.0, 3])], [np.array([3.0, 1])]) == 0
    assert difference("finite", [np.ones(2)], ones) == 0 and difference("finite", [np.array(np.inf)], ones) == float("inf")
    assert difference("values", [], ones) == float("inf")


def row(**seconds: float) -> dict:
    return {name: {"median_s": s, "agrees": True} for name, s in seconds.items()}


def test_a_backend_that_disagrees_has_no_time():
    times = row(tracejit=1e-3, jax=2e-3, numpy=5e-4)
    times["numpy"] |= {"agrees": False, "difference": 0.5}
    times["torch"] = {"error": "it died"}
    assert times_of(times) == {"tracejit": 1e-3, "jax": 2e-3} and best_peer(times_of(times)) == "jax"
    assert ratio(times_of(times), "jax") == 2 and ratio(times_of(times), None) is None
    line = line_of("a row", times, ["tracejit", "jax", "torch", "numpy"])
    assert "1 ms" in line and "failed" in line and "off 5e-01" in line and line.endswith("2.00")


def test_the_worst_come_first(capsys: pytest.CaptureFixture):
    show_worst({"good": {"times": row(tracejit=1.0, jax=2.0)}, "bad": {"times": row(tracejit=2.0, jax=4.0, numpy=1.0)},
                "alone": {"times": row(tracejit=1.0)}})
    head, first, second = capsys.readouterr().out.strip().split("\n")
    assert head.endswith("worst of 2; slower than the best peer: 1") and "0.50  bad" in first and "numpy 1 s" in first and "good" in second


def test_times_are_shown_in_a_fitting_unit():
    assert [show(s) for s in (2.0, 3.14159e-3, 5e-7, 1e-10, 1234.0, None)] == ["2 s ", "3.14 ms", "500 ns", "0.1 ns", "1230 s ", ""]

# --- the report --------------------------------------------------------------------------------------------------------

LIMITS = {"processor": "a machine", "isa": "avx2", "threads": 2, "flops": 1e11,
          "read": {"1000000": 2e10}, "copy": {"1000000": 2e10}, "fill": {"1000000": 1e10}}


@pytest.fixture
def report():
    return pytest.importorskip("benchmarks.report", reason="the picture needs matplotlib", exc_type=ImportError)


def results_file(folder: Path) -> Path:
    rows = {"product, 1024": row(tracejit=0.03, jax=0.06, numpy=0.015), "cumulative sum, 1M": row(tracejit=1e-3, jax=4e-3),
            "x*c + x": {"tracejit": {"first_s": 0.01, "agrees": True, "from_disk_s": 1e-3, "version": "0.1"}}}
    rows["product, 1024"]["jax"] |= {"version": "9.9", "peak_bytes": 123e6}
    path = folder / "all.json"
    path.write_text(json.dumps({"machine": {"date": "2026-01-01", "limits": LIMITS}, "rows": {
        name: {"tried": [], "times": times} for name, times in rows.items()}}))
    return path


def test_the_page_has_every_row_the_ratios_and_the_reasons(tmp_path: Path, report):
    run = report.load(results_file(tmp_path))
    page = report.page({"all": run, "sweep": run}, {"product, 1024": "because"})
    assert "| product, 1024 | 30 ms | 60 ms | **15 ms** | 2.00 | 0.50 | 72 % |" in page   # 2 * 1024**3 / 1e11 s of 30 ms
    assert "| product, 1024 | 0.50 | NumPy | because |" in page and "JAX 9.9" in page and "| 10 ms |" in page
    assert "| **all** | 2 | 2.83 | 0.50 | 1.41 | 0.50 (product, 1024) |" in page
    assert "slower than the best peer 1. The worst:" in page


def test_readme_is_changed_between_the_markers_only(tmp_path: Path, report):
    run = report.load(results_file(tmp_path))
    text = f"before\n{report.OPEN}\nold\n{report.CLOSE}\nafter\n"
    new = report.put_into_readme(text, report.readme_block(run))
    assert new.startswith("before\n") and new.endswith("\nafter\n") and "old" not in new and "**all**" in new
    assert report.put_into_readme(new, report.readme_block(run)) == new
    with pytest.raises(ValueError, match="no lines"):
        report.put_into_readme("nothing", "")


def test_the_picture(tmp_path: Path):
    draw = pytest.importorskip("benchmarks.plot").draw
    draw({"a": {"JAX": [1.0, 2.0]}, "b": {"JAX": [], "NumPy": [0.5]}}, {"JAX": "red", "NumPy": "grey"}, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

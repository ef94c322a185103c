"""The benchmarks run, compare results, and write their numbers."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main, show
from benchmarks.measure import check
from benchmarks.workloads import WORKLOADS


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACEJIT_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    main(["--backends", "tracejit,numpy", "--only", "call,matmul 64,MLP", "--rounds", "1", "--budget", "0.01",
          "--json", str(tmp_path / "out.json")])
    written = json.loads((tmp_path / "out.json").read_text())
    assert set(written["results"]) == {"call x+1, 8 floats", "matmul 64", "MLP 784-512-512-10 step, batch 128"}
    for row in written["results"].values():
        assert row["tracejit"]["median_s"] > 0 and row["numpy"]["samples"] >= 1
    assert "matmul 64" in capsys.readouterr().out and written["machine"]["cores"] >= 1


def test_disagreement_is_an_error():
    matmul = next(w for w in WORKLOADS if w.name == "matmul 64")
    check(matmul, {"a": [np.ones(3)], "b": [np.ones(3) * (1 + 1e-6)]})
    with pytest.raises(RuntimeError, match="b and a differ by 1.0e-02"):
        check(matmul, {"a": [np.ones(3)], "b": [np.ones(3) * 1.01]})
    with pytest.raises(RuntimeError, match="nan"):
        check(matmul, {"a": [np.ones(3)], "b": [np.full(3, np.nan)]})


def test_times_are_shown_in_a_fitting_unit():
    assert [show(s) for s in (2.0, 3.14159e-3, 5e-7, 1e-10)] == ["2 s ", "3.14 ms", "500 ns", "0.1 ns"]

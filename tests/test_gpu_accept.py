"""The script that judges a GPU works where there is none: it starts, and a step that hangs or crashes leaves what it had found."""
from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from benchmarks import gpu_accept

SCRIPT = Path(gpu_accept.__file__)


def stands_for_a_step(monkeypatch, body: str) -> None:
    """A step's process runs `body`, which knows the file of its part as `part`."""
    run = subprocess.run

    def other(command, **options):
        part = command[command.index("--out") + 1]
        return run([sys.executable, "-c", f"import pathlib, os, time; part = pathlib.Path({part!r})\n{body}"], **options)
    monkeypatch.setattr(gpu_accept.subprocess, "run", other)


NOTED = """part.write_text('{"found": {"first": "same"}, "wrong": []}')\n"""


def test_it_starts_as_a_script():
    assert "under 8 minutes" in subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True).stdout


def test_a_step_that_crashes_leaves_what_it_found(monkeypatch, tmp_path):
    stands_for_a_step(monkeypatch, NOTED + "os.abort()")
    out = tmp_path / "report.json"
    wrong = gpu_accept.all_steps(Namespace(emulated=True, only="programs"), out)
    report = json.loads(out.read_text())
    assert report["programs"] == {"first": "same"} and report["wrong"] == wrong and "programs ended with status" in wrong[0]


def test_a_step_that_hangs_is_stopped(monkeypatch):
    stands_for_a_step(monkeypatch, NOTED + "time.sleep(600)")
    kept = gpu_accept.in_a_process("programs", True, 3)
    assert kept["wrong"] == ["programs was stopped after 3 s"] and kept["found"] in ({"first": "same"}, {})

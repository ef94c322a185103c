"""The pages that are written from the source are current, and links between the documents lead somewhere."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
import test_ops

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_current():
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"(?<!\\)\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing, f"{page.name} links to {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_named_in_the_text_exist(page: Path):
    named = re.findall(r"`((?:examples|notebooks|docs|benchmarks|tests|tracejit)/[\w./]*)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"{page.name} names {missing}"


def test_the_op_that_the_how_to_adds_keeps_what_every_op_promises():
    """Its listings are run, and the checks of all samples applied to those that it shows."""
    listings = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding_an_op.md").read_text(), re.S)
    shown = {name: getattr(samples, name) for name in ("Sample", "unary", "binary")} | {"__name__": "how_to"}
    for listing in listings:
        exec(listing, shown)
    checks = [f for f in vars(test_ops).values() if test_ops.EACH_SAMPLE.mark in getattr(f, "pytestmark", [])]
    assert len(checks) > 5 and len(shown["SAMPLES"]) == 2
    for sample in shown["SAMPLES"]:
        for check in checks:
            passed(check, sample)
        for dtype in test_ops.dtypes_of(sample):
            passed(test_ops.test_compiled_is_eval_in_each_dtype, sample, dtype)
    assert np.isclose(shown["softplus"](np.float32(0)), np.log(2))


def passed(check, *args) -> None:
    try:
        check(*args)
    except pytest.skip.Exception:
        pass    # as for any op

"""The demo learns: a few epochs on the real digits, the figure, and the lines that it prints."""
from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "digits"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch):
    for package in ("sklearn", "matplotlib", "tqdm"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(FOLDER))
    import train
    yield train
    for name in ("train", "model", "figure"):
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the plotting packages
def test_a_few_epochs(train, tmp_path: Path, capsys: pytest.CaptureFixture):
    accuracy = train.main(["--epochs", "4", "--figure", str(tmp_path / "digits.png")])
    assert accuracy > 0.85
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert re.search(r"^compiled: \d+ kernels in \d+ ms, \d+ cache hits$", out, re.MULTILINE)
    assert re.search(r"then [\d.]+ ms per step of \d+ images$", out, re.MULTILINE)
    assert out.splitlines()[-1] == f"test accuracy: {100 * accuracy:.1f} %"


def test_parts_do_not_overlap_and_are_stratified(train):
    parts = train.load()
    assert [len(x) for x, _ in parts] == [1149, 288, 360]
    seen = {image.tobytes() for image in parts[0][0]}
    assert not any(image.tobytes() in seen for x, _ in parts[1:] for image in x)
    assert all(0.08 < (y == digit).mean() < 0.12 for _, y in parts for digit in range(10))


@pytest.mark.slow
def test_the_whole_demo_reaches_98_percent(train, tmp_path: Path):
    assert train.main(["--figure", str(tmp_path / "digits.png")]) >= 0.98

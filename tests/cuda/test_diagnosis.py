"""Each thing that can be wrong with a GPU's installation gives one sentence and the command that mends it."""
from __future__ import annotations

import pytest

from tracejit.runtime.cuda.diagnosis import Facts, lines, notes, problems

GOOD = {"numba-cuda": "0.30.4", "numba": "0.68.1", "cuda-core": "1.2.2", "cupy-cuda13x": "14.2.0", "nvidia-nvvm": "13.0.1",
        "nvmath-python": "1.0.0", "nvidia-cudnn-frontend": "1.32.0", "numpy": "2.4.6"}


def test_a_machine_in_order():
    assert not list(problems(Facts(GOOD, 13000))) and not list(notes(Facts(GOOD, 13020)))


@pytest.mark.parametrize("change,driver,what,fix", [
    ({"numba-cuda": "-"}, 13000, "numba-cuda are not installed", "pip install 'tracejit"),
    ({"cupy-cuda13x": "-"}, 13000, "CuPy is not installed", "pip install cupy-cuda13x"),
    ({"cupy-cuda12x": "13.0"}, 13000, "two versions of CuPy", "pip uninstall"),
    ({"nvidia-nvvm": "-"}, 13000, "libNVVM", "CUDA_HOME"),
    ({}, None, "no NVIDIA driver (not found)", "install the driver"),
    ({}, 12040, "the driver knows CUDA 12.4", "update the driver")])
def test_each_problem_has_a_fix(change, driver, what, fix):
    found = list(problems(Facts({**GOOD, **change}, driver, "not found")))
    assert len(found) == 1 and what in found[0].what and fix in found[0].fix


def test_what_is_helped_is_a_note():
    image = {**GOOD, "numpy": "2.5.2", "nvidia-nvvm": "-"}
    assert not list(problems(Facts(image, 13000, toolkit_folder=True)))
    assert [n.split(" is ")[0].split(" needs ")[0] for n in notes(Facts(image, 13000, toolkit_folder=True))] == ["numba-cuda 0.30.4", "libNVVM"]


def test_the_report_is_about_this_machine():
    found = dict(lines())
    if "numba-cuda" in found and found["numba-cuda"] != "-":
        assert found["kernels compile"].startswith("ok")
    else:
        assert "GPU" in found

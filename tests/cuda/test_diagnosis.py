"""Each thing that can be wrong with a GPU's installation gives one sentence and the command that mends it."""
from __future__ import annotations

import pytest

from tracejit.runtime.cuda.diagnosis import Facts, lines, notes, problems

GOOD = {"numba-cuda": "0.30.4", "numba": "0.68.1", "cuda-core": "1.2.2", "cupy-cuda13x": "14.2.0", "nvidia-nvvm": "13.0.1",
        "nvmath-python": "1.0.0", "cuda-bindings": "13.0.3", "nvidia-nvjitlink": "13.0.88", "nvidia-cudnn-frontend": "1.32.0", "numpy": "2.4.6"}


def test_a_machine_in_order():
    assert not list(problems(Facts(GOOD, 13000))) and not list(notes(Facts(GOOD, 13020)))


@pytest.mark.parametrize("change,driver,what,fix", [
    ({"numba-cuda": "-"}, 13000, "numba-cuda are not installed", "pip install 'tracejit"),
    ({"cupy-cuda13x": "-"}, 13000, "CuPy is not installed", "pip install 'cupy-cuda13x[ctk]'"),
    ({"cupy-cuda12x": "13.0"}, 13000, "two versions of CuPy", "pip uninstall"),
    ({"nvidia-nvvm": "-"}, 13000, "libNVVM", "CUDA_HOME"),
    ({}, None, "no NVIDIA driver (not found)", "install the driver"),
    ({"cuda-core": "0.5.1"}, 13000, "cuda-core 0.5.1 is not of the versions from 1.2", "pip install 'cuda-core>=1.2,<2.0'"),
    ({"numba-cuda": "0.31.0"}, 13000, "numba-cuda 0.31.0", "numba-cuda>=0.30,<0.31"),
    ({"cuda-bindings": "12.9.1"}, 13000, "cuda-bindings 12.9.1", "cuda-bindings>=13.0"),
    ({"nvidia-nvvm": "13.5.37", "nvidia-nvjitlink": "13.0.88"}, 13000, "nvidia-nvjitlink 13.0.88 does not know", "--upgrade nvidia-nvjitlink"),
    ({}, 12040, "the driver knows CUDA 12.4", "update the driver")])
def test_each_problem_has_a_fix(change, driver, what, fix):
    found = list(problems(Facts({**GOOD, **change}, driver, "not found")))
    assert len(found) == 1 and what in found[0].what and fix in found[0].fix


@pytest.mark.parametrize("how,hidden,what,fix", [
    (dict(driver=None, status=100), None, "the driver shows no GPU", "nvidia-smi"),
    (dict(driver=None, status=100), "", "CUDA_VISIBLE_DEVICES='' hides all", "unset CUDA_VISIBLE_DEVICES"),
    (dict(driver=None, status=803), None, "different versions", "restart"),
    (dict(driver=13000, capability=(7, 5)), None, "compute capability 7.5", "Ampere"),
    (dict(driver=13000, missing=("cublas", "cufft")), None, "libraries cublas, cufft", "cupy-cuda13x[ctk]")])
def test_each_problem_of_a_machine_has_a_fix(monkeypatch, how, hidden, what, fix):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (found,) = problems(Facts(GOOD, **how))
    assert what in found.what and fix in found.fix


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

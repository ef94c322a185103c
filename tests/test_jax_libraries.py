"""Libraries written for JAX, unmodified, on tracejit: their results agree with the same code on JAX.

How to install one without JAX: `pip install --no-deps optax absl-py`.
"""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
HAVE = {name: importlib.util.find_spec(name) is not None for name in ("jax", "optax", "jaxopt", "blackjax", "einops")}


def run(program: str, on: str, out: Path, *more: str) -> dict[str, np.ndarray]:
    done = subprocess.run([sys.executable, "-W", "ignore", HERE / program, on, out, *more], capture_output=True, text=True,
                          check=False, timeout=900, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])})
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as found:
        return dict(found)


def compare(program: str, folder: Path, tolerance: float, *more: str) -> None:
    ours = run(program, "tracejit", folder / "tracejit.npz", *more)
    errors = {name: str(text) for name, text in ours.items() if name.endswith("#error")}
    assert not errors, "\n".join(f"{name}: {text[-800:]}" for name, text in errors.items())
    assert all(np.isfinite(x).all() for x in ours.values() if x.dtype.kind in "fc")
    if not HAVE["jax"]:
        return
    theirs = run(program, "jax", folder / "jax.npz", *more)
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        assert ours[name].dtype == want.dtype, name
        np.testing.assert_allclose(ours[name], want, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not HAVE["optax"], reason="needs optax: pip install --no-deps optax absl-py")
def test_optax_agrees_with_jax(tmp_path: Path) -> None:
    compare("optax_programs.py", tmp_path, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["jaxopt", "blackjax"])
def test_solvers_and_samplers_agree_with_jax(library: str, tmp_path: Path) -> None:
    if not HAVE[library]:
        pytest.skip(f"needs {library}: pip install --no-deps {library}")
    compare("solver_programs.py", tmp_path, 1e-3, library)

"""The tutorial programs of examples/tutorials run; with JAX installed, the same text on JAX prints the same."""
from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "examples" / "tutorials").glob("*.py"))
IDS = [path.stem for path in TUTORIALS]
SAYS = {"quickstart": "vmap agrees: True", "autodiff_cookbook": "at once: True", "mlp_from_scratch": "epoch 5: accuracy 1.000",
        "vae": "ELBO per image: ", "per_example_gradients": "gradient of mean: True", "rnn_by_scan": "gradient: True",
        "mcmc": "Hamiltonian: mean", "ode_fitting": "found [1.1 0.5 0.4 0.8]", "pytrees": "6 True", "sharp_bits": "nan found"}
NAN_NOTE = "Invalid nan value encountered in the output of a jax.jit function. Calling the de-optimized version.\n"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def run(program: str, **environ: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)} | environ, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", TUTORIALS, ids=IDS)
def test_tutorial_runs(path: Path) -> None:
    assert SAYS[path.stem] in run(path.read_text())


def on_jax(text: str) -> str:
    """The program with its imports changed, and nothing else."""
    text = text.replace("import tracejit as jax\n", "import jax\n")
    return re.sub(r"^(import|from) tracejit\b", r"\1 jax", text, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("path", TUTORIALS, ids=IDS)
def test_tutorial_prints_what_it_prints_on_jax(path: Path) -> None:
    ours, theirs = run(path.read_text()), run(on_jax(path.read_text()), JAX_PLATFORMS="cpu")
    theirs = theirs.replace(NAN_NOTE, "")
    words = [re.sub(r"\s+", "", NUMBER.sub("#", text)) for text in (ours, theirs)]
    assert words[0] == words[1]
    for a, b in zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True):
        assert float(a) == pytest.approx(float(b), rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("path", TUTORIALS, ids=IDS)
def test_tutorial_differs_from_a_jax_program_by_its_imports_only(path: Path) -> None:
    assert "tracejit" not in on_jax(path.read_text()), "an import line is all that names tracejit"

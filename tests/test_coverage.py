"""Nearly all public names of JAX exist; absent ones say so; `import jax` can mean tracejit; compat reads programs."""
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tracejit
from tracejit.absent import instead
from tracejit.tools import compat

ROOT = Path(__file__).parent.parent
NAMES = json.loads((ROOT / "docs" / "jax_names.json").read_text())["names"]
MAIN = ("jax.numpy", "jax.lax", "jax.random", "jax.nn", "jax.scipy")
COUNTED = {name: found for name, found in NAMES.items() if name.startswith(MAIN) and found}


def run_python(program: str, **environ: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT,
                          env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(Path.home()), **environ}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_at_least_99_percent_of_the_main_namespaces() -> None:
    absent = [f"{space}.{name}" for space, names in COUNTED.items() for name in names
              if not compat.is_present(f"{space}.{name}")]
    total = sum(map(len, COUNTED.values()))
    assert total > 900
    assert len(absent) <= 0.01 * total, absent
    assert all("tracejit leaves it out: " in instead(name) for name in absent), absent


@pytest.mark.parametrize("namespace", COUNTED)
def test_a_namespace_lacks_no_more_than_two_names(namespace: str) -> None:
    absent = [name for name in COUNTED[namespace] if not compat.is_present(f"{namespace}.{name}")]
    assert len(absent) <= max(1, 0.01 * len(COUNTED[namespace])), absent


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_the_list_of_names_is_that_of_the_installed_jax() -> None:
    program = "import sys, json; sys.path.insert(0, 'docs'); import names_of_jax; print(json.dumps(names_of_jax.collect()['names']))"
    assert json.loads(run_python(program).splitlines()[-1]) == NAMES


@pytest.mark.parametrize(("name", "hint"), [
    ("lax.infeed_p", "custom_jvp"), ("ffi", "pure_callback"), ("interpreters.pxla", "classes here"), ("lax.psend", "one process")])
def test_absent_names_say_what_to_use_instead(name: str, hint: str) -> None:
    module, _, last = ("tracejit." + name).rpartition(".")
    with pytest.raises(AttributeError, match=hint):
        getattr(importlib.import_module(module), last)


def test_a_name_that_never_was_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match="tracejit.gard does not exist$"):
        tracejit.gard


def test_import_jax_is_tracejit() -> None:
    out = run_python("""
import tracejit; tracejit.install_as_jax(); tracejit.install_as_jax()
import jax, jax.numpy as jnp, numpy as np, importlib.metadata
from jax.scipy.special import logsumexp
from jax._src.flatten_util import ravel_pytree
from jax import lax, random
assert jnp.__name__ == 'jax.numpy' and jnp.ones(1).__array_namespace__() is jnp
from tracejit.numpy import fft, linalg
assert jax.numpy is tracejit.numpy and jax.Array is tracejit.Array and jax.lax is lax
assert int(importlib.metadata.version('jax').split('.')[1]) >= 4 and jax.__version_info__ > (0, 4)
try: import jax._src.interpreters.pxla
except ImportError as error: print(str(error)[-40:])
print(jnp.asarray(np.ones(2)).dtype, jnp.zeros(2, 'float64').dtype)
jax.config.update('jax_enable_x64', True)
print(jnp.asarray(np.ones(2)).dtype, jnp.zeros(2).dtype, jax.config.jax_enable_x64)
""")
    assert out.splitlines()[1:] == ["float32 float32", "float64 float64 True"]


def test_jax_variables_count() -> None:
    program = ("import tracejit; tracejit.install_as_jax(); import jax, jax.numpy as jnp; "
               "print(jnp.ones(2).dtype, jax.config.jax_debug_nans)")
    assert run_python(program, JAX_ENABLE_X64="1", JAX_DEBUG_NANS="true") == "float64 True"


def test_compat_lists_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("import jax\nfrom jax import numpy as jnp\nx = jax.lax.infeed_p\ny = jnp.linalg.svd(jnp.eye(2)).S\n"
                                   "jax.config.update('jax_enable_x64', True)\n")
    (tmp_path / "b.py").write_text("def f():\n    from jax.interpreters import pxla\n    return pxla.Backend\n")
    assert compat.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "present  jax.numpy.linalg.svd" in out and "ABSENT   jax.lax.infeed_p" in out and "a.py:3" in out
    assert "ABSENT   jax.interpreters.pxla" in out and "b.py:2" in out
    assert compat.main([str(ROOT / "tests" / "optax_programs.py")]) == 0

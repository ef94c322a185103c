"""Whether this machine and installation can compile and run programs, and with what: `python -m tracejit.tools.doctor`.

`--measure` also measures what the machine can do at best, with which `explain` compares, and keeps it in the cache folder.
What a GPU needs is looked at last; a machine without one is in order.
"""
from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.codegen.cpu.isa import host_isa
from tracejit.config import config
from tracejit.runtime import cache, threads
from tracejit.runtime.cuda import diagnosis
from tracejit.tools import limits

PACKAGES = ("numpy", "scipy", "llvmlite", "ml_dtypes")


def facts() -> Iterator[tuple[str, str]]:
    yield "python", f"{sys.version.split()[0]} on {platform.platform()}"
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "MISSING"
    isa = host_isa()
    yield "processor", f"{isa.cpu}, {isa.name}, {isa.vector_bits} bits, {isa.triple}"
    yield "threads", f"{threads.thread_count()} of {os.cpu_count()}"
    folder = cache.object_cache()
    held = "off" if folder is None else f"{folder.folder}, {len(folder.entries())} objects, {folder.size() >> 10} KiB"
    yield "object cache", held
    for setting in config.settings.values():
        if config.read(setting.name) != setting.default:
            yield "setting", f"{setting.name} = {config.read(setting.name)!r}"


def compiles_and_runs() -> str:
    x = np.arange(1000, dtype=np.float32)
    start = time.perf_counter()
    found = tj.jit(lambda x: jnp.sum(jnp.sin(x) ** 2 + jnp.cos(x) ** 2))(x)
    assert abs(float(found) - 1000) < 1e-2, f"a sum of ones is {found}"
    return f"{1e3 * (time.perf_counter() - start):.0f} ms"


def product_agrees() -> str:
    x = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    error = np.max(np.abs(np.asarray(tj.jit(jnp.matmul)(x, x)) - x @ x))
    assert error < 1e-3, f"a product is off by {error}"
    return f"error {error:.1e}"


def lapack_works() -> str:
    x = np.eye(4) * 3 + 1
    assert np.allclose(np.asarray(jnp.linalg.inv(x)), np.linalg.inv(x)), "an inverse is wrong"
    return "found"


def derivative_works() -> str:
    found = float(tj.grad(jnp.sin)(0.0))
    assert abs(found - 1) < 1e-6, f"the slope of sin at 0 is {found}"
    return "grad(sin)(0) = 1"


def cache_is_writable() -> str:
    folder = cache.object_cache()
    if folder is None:
        return "off"
    Path(folder.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder.folder):
        return "writable"


CHECKS: tuple[Callable[[], str], ...] = (compiles_and_runs, product_agrees, lapack_works, derivative_works, cache_is_writable)


def print_environment_info(return_string: bool = False) -> str | None:
    """Versions, processor and settings, for a report of a problem: printed, or returned."""
    text = "\n".join(f"{name:22} {text}" for name, text in facts())
    if return_string:
        return text
    print(text)
    return None


def main(options: Sequence[str] = ()) -> int:
    for name, text in facts():
        print(f"{name:22} {text}")
    found = limits.machine_limits(again=True) if "--measure" in options else limits.kept_limits()
    for name, text in limits.lines(found) if found else [("limits", "not measured yet: --measure does that")]:
        print(f"{name:22} {text}")
    failed = 0
    for check in CHECKS:
        try:
            result = "ok, " + check()
        except Exception as error:  # each check is reported, whatever it meets
            result, failed = f"FAILED: {type(error).__name__}: {error}", failed + 1
        print(f"{check.__name__.replace('_', ' '):22} {result}")
    for name, text in diagnosis.lines():
        print(f"{name:22} {text}")
    return failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

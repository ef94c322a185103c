"""The name of a backend -> how it builds a workload, waits for a result and shows it as NumPy arrays."""
from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.workload import Data, Run, Workload

OURS = "tracejit"
DEFAULT = (OURS, "jax", "torch", "numba", "numpy")
KNOWN = (*DEFAULT, "torch_compile")


@dataclass(frozen=True)
class Backend:
    """`build` gives None for a workload of which it has no version; `finish` waits until a result is there."""
    name: str
    build: Callable[[Workload, Data], Run | None]
    finish: Callable[[Any], Any]


def load(name: str) -> Backend:
    """The backend, its libraries imported and its compiler awake. ImportError if it is not installed."""
    loaders = {"torch": torch_eager, "torch_compile": torch_compile, "numba": numba_loops, "numpy": numpy_arrays}
    return loaders[name]() if name in loaders else namespace(name)


def may_have(name: str, workload: Workload) -> bool:
    """Whether it is worth to start a process of the backend: some have no version of a workload, and starting takes seconds.

    Read from the text of its versions, since importing them would need the library.
    """
    file = Path(__file__).parent / f"by_{name}.py"
    if not file.exists():
        return True
    if workload.compiles:
        return name == "numba"
    return re.search(rf"def {workload.family}\b|\"{workload.family}\"", file.read_text()) is not None


def unchanged(result: Any) -> Any:
    return result


def namespace(name: str) -> Backend:
    """tracejit and JAX: the workload's own build."""
    J: ModuleType = importlib.import_module(name)
    for part in ("numpy", "lax", "random", "tree_util", "ops", "scipy.special"):
        importlib.import_module(f"{name}.{part}")
    J.block_until_ready(J.jit(lambda x: x + 1)(J.numpy.zeros(3, J.numpy.float32)))

    def build(workload: Workload, data: Data) -> Run:
        if name == "jax":   # tracejit keeps 64-bit numbers without a switch
            J.config.update("jax_enable_x64", workload.x64 or any(np.asarray(x).dtype == np.float64 for x in leaves_of(data)))
        return workload.build(J, data)
    return Backend(name, build, J.block_until_ready)


def torch_eager() -> Backend:
    versions = importlib.import_module("benchmarks.by_torch")

    def build(workload: Workload, data: Data) -> Run | None:
        found = versions.VERSIONS.get(workload.family)
        has_none = found is None or workload.family in versions.COMPILED_ONLY or workload.compiles
        return None if has_none else found(unchanged, data)
    return Backend("torch", build, unchanged)


def torch_compile() -> Backend:
    versions, torch = importlib.import_module("benchmarks.by_torch"), importlib.import_module("torch")
    importlib.import_module("torch._dynamo").config.cache_size_limit = 64
    compile = lambda function: torch.compile(function, dynamic=False)
    compile(lambda x: x + 1)(torch.zeros(3))

    def build(workload: Workload, data: Data) -> Run | None:
        found = versions.VERSIONS.get(workload.family)
        return None if found is None or workload.family in versions.EAGER_ONLY else found(compile, data)
    return Backend("torch_compile", build, unchanged)


def numba_loops() -> Backend:
    versions, numba = importlib.import_module("benchmarks.by_numba"), importlib.import_module("numba")
    numba.njit(parallel=True)(lambda x: x + 1)(np.zeros(3, np.float32))
    return plain("numba", versions.VERSIONS)


def numpy_arrays() -> Backend:
    return plain("numpy", importlib.import_module("benchmarks.by_numpy").VERSIONS)


def plain(name: str, versions: dict[str, Callable[[Data], Run]]) -> Backend:
    def build(workload: Workload, data: Data) -> Run | None:
        found = versions.get(workload.family)
        return found(data) if found and not (name == "numpy" and workload.compiles) else None
    return Backend(name, build, unchanged)


def leaves_of(result: Any) -> Iterator[Any]:
    """The arrays in tuples, lists and dicts, these by their keys."""
    if isinstance(result, dict):
        result = [result[key] for key in sorted(result)]
    if isinstance(result, (tuple, list)):
        for part in result:
            yield from leaves_of(part)
    else:
        yield result


def as_numpy(leaf: Any) -> np.ndarray:
    array = leaf.detach().numpy() if hasattr(leaf, "detach") else np.asarray(leaf)
    return array.astype(np.float32) if array.dtype.itemsize == 2 and array.dtype.kind not in "iu" else array

"""What is measured: data, a program for a namespace J (the module `tracejit` or `jax`), how results are compared, the least work.

    @program("elementwise", "tanh, 1M", normal(x=(1_000_000,)), moved=floats(M, M))
    def tanh(J, x):
        return J.numpy.tanh(x)

makes a Workload of the family `tanh`; the other backends have a version of that name in by_torch.py, by_numba.py, by_numpy.py.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

Data = dict[str, Any]
Run = Callable[[], Any]
Build = Callable[[ModuleType, Data], Run]

M = 1_000_000


@dataclass(frozen=True)
class Workload:
    """One row of the table. `build(J, data)` gives a function of no arguments; a call of it is `calls` units of work."""
    name: str
    family: str
    group: str
    data: Callable[[], Data] = field(repr=False)
    build: Build = field(repr=False)
    calls: int = 1
    moved: tuple[float, float] = (0, 0)     # bytes that must be read and written at least
    flops: float = 0                        # multiplications and additions of products and convolutions
    itemsize: int = 4
    x64: bool = False                       # float64: JAX needs its x64 mode
    tolerance: float = 1e-4                 # largest |a - b| / largest |b| between two backends
    compared: str = "values"                # or "moments" (random), "sorted" (permutations), "losses" (of three steps), "finite"
    leaves: tuple[int, int | None] = (0, None)   # from which to which leaf results are compared
    compiles: bool = False                  # the first call is what is measured
    sweep: Mapping[str, Callable[[], Data]] = field(default_factory=dict, repr=False)

    def variants(self) -> list[Workload]:
        """The same program on the data of its sweep."""
        return [replace(self, name=f"{self.family}: {label}", data=data, sweep={}, moved=(0, 0), flops=0,
                        tolerance=max(self.tolerance, 1e-3)) for label, data in self.sweep.items()]


WORKLOADS: dict[str, Workload] = {}     # by name
SWEPT: dict[str, Workload] = {}         # families that are measured only in sweeps


def register(workload: Workload, where: dict[str, Workload] = WORKLOADS) -> None:
    assert workload.name not in where, f"two workloads are called {workload.name}"
    where[workload.name] = workload


def on_device(J: ModuleType, data: Any) -> Any:
    return J.tree_util.tree_map(J.numpy.asarray, data)


def jitted(function: Callable) -> Build:
    """The build of a function of J and arrays that is compiled as a whole."""
    def build(J: ModuleType, data: Data) -> Run:
        compiled = J.jit(functools.partial(function, J))
        args = [on_device(J, value) for value in data.values()]  # a tree of a dict would be in the order of its keys
        return lambda: compiled(*args)
    return build


def program(group: str, name: str, data: Callable[[], Data], **more: Any) -> Callable[[Callable], Callable]:
    """Register a function f(J, *arrays) that is jitted, under its own name as family. May be stacked for several sizes."""
    def decorate(function: Callable) -> Callable:
        register(Workload(name, function.__name__, group, data, jitted(function), **more))
        return function
    return decorate


def custom(group: str, name: str, data: Callable[[], Data], **more: Any) -> Callable[[Build], Build]:
    """Register a build(J, data) -> run as it is."""
    def decorate(build: Build) -> Build:
        register(Workload(name, build.__name__, group, data, build, **more))
        return build
    return decorate


def swept(data: Mapping[str, Callable[[], Data]], **more: Any) -> Callable[[Callable], Callable]:
    """Register a jitted function for the size sweep only."""
    def decorate(function: Callable) -> Callable:
        register(Workload(function.__name__, function.__name__, "sweep", dict, jitted(function), sweep=data, **more), SWEPT)
        return function
    return decorate


# --- data --------------------------------------------------------------------------------------------------------------

def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def normal(dtype: str = "float32", scale: float = 1.0, **shapes: tuple[int, ...]) -> Callable[[], Data]:
    """Arrays of normal numbers, the same at each call."""
    def data() -> Data:
        rng = generator()
        return {name: (scale * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
    return data


def uniform(low: float, high: float, dtype: str = "float32", **shapes: tuple[int, ...]) -> Callable[[], Data]:
    def data() -> Data:
        rng = generator()
        return {name: rng.uniform(low, high, shape).astype(dtype) for name, shape in shapes.items()}
    return data


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers, scaled by the square root of the number of terms that a product sums."""
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def floats(reads: float, writes: float) -> tuple[float, float]:
    """Bytes of that many float32 elements read and written."""
    return 4.0 * reads, 4.0 * writes

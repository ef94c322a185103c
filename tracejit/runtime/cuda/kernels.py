"""Kernel sources -> Artifacts: from this process, from the disk cache by content, or compiled. A hit imports no compiler."""
from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from tracejit.codegen.cuda.interface import KernelSource
from tracejit.errors import DeviceError
from tracejit.runtime import cache
from tracejit.runtime.cuda.artifact import Artifact
from tracejit.runtime.cuda.workers import workers

TOOLCHAIN = ("numba-cuda", "numba", "llvmlite", "nvidia-nvvm", "nvidia-nvjitlink", "cuda-core")
TOOLKIT = Path("/usr/local/cuda")
INSTALL = "pip install 'tracejit[cuda]'"


def installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


@functools.cache
def toolchain() -> str:
    """Versions of all that a kernel's machine code depends on besides its text."""
    compilers = [f"{name}={installed(name)}" for name in TOOLCHAIN]
    here = [cache.key_of(path.read_text()) for path in sorted(Path(__file__).parent.glob("compiler.py"))]
    words = Path(__file__).parents[2] / "codegen" / "cuda" / "intrinsics.py"
    return "|".join([*compilers, os.environ.get("CUDA_HOME", ""), *here, cache.key_of(words.read_text())])


def find_toolkit() -> None:
    """Without the wheel of NVVM, Numba-CUDA looks for it in CUDA_HOME; an empty CUDA_HOME hides it."""
    if not os.environ.get("CUDA_HOME"):
        os.environ.pop("CUDA_HOME", None)
        if installed("nvidia-nvvm") == "-" and TOOLKIT.is_dir():
            os.environ["CUDA_HOME"] = str(TOOLKIT)


def compile_here(source: KernelSource, capability: tuple[int, int]) -> Artifact:
    try:
        compiler = importlib.import_module("tracejit.runtime.cuda.compiler")
    except ImportError as error:
        raise DeviceError(f"kernels cannot be compiled: {error}", fix=INSTALL) from error
    return compiler.compile_kernel(source, capability)


def key_of(source: KernelSource, capability: tuple[int, int]) -> str:
    parts = (source.name, source.text, *source.signature, *source.functions)
    numbers = (source.threads, source.min_blocks, source.fma, capability, len(source.functions))
    return cache.key_of("cuda kernel", toolchain(), repr(numbers), *parts)


made: dict[str, Artifact] = {}
lock = threading.Lock()
stats = cache.Stats()


def artifacts_of(sources: Sequence[KernelSource], capability: tuple[int, int]) -> list[Artifact]:
    """An Artifact per source. CompileError for a text that does not compile, DeviceError without the packages."""
    keys = [key_of(source, capability) for source in sources]
    with lock:
        missing = {key: source for key, source in zip(keys, sources) if key not in made}
        stats.memory += len(sources) - len(missing)
        if missing:
            made.update(read(missing))
            missing = {key: source for key, source in missing.items() if key not in made}
        if missing:
            made.update(compile_missing(missing, capability))
    return [made[key] for key in keys]


def read(wanted: dict[str, KernelSource]) -> dict[str, Artifact]:
    disk = cache.object_cache()
    found = {key: disk.get(key) for key in wanted} if disk else {}
    kept = {key: Artifact.from_bytes(data) for key, data in found.items() if data is not None}
    stats.disk += len(kept)
    return kept


def compile_missing(missing: dict[str, KernelSource], capability: tuple[int, int]) -> dict[str, Artifact]:
    find_toolkit()
    new = dict(zip(missing, workers.compile_all(list(missing.values()), capability, compile_here)))
    stats.compiled += len(new)
    disk = cache.object_cache()
    if disk:
        for key, artifact in new.items():
            disk.put(key, artifact.to_bytes())
    return new

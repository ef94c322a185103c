"""What a GPU needs on this machine, what is there, and for each thing that does not fit one sentence and the command that helps."""
from __future__ import annotations

import ctypes
import importlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tracejit.codegen.cuda.interface import KernelSource
from tracejit.errors import TracejitError
from tracejit.runtime.cuda import kernels

PACKAGES = ("numba-cuda", "numba", "cuda-core", "cuda-bindings", "cupy-cuda13x", "cupy-cuda12x", "nvidia-nvvm", "nvidia-nvjitlink",
            "nvmath-python", "nvidia-cudnn-frontend")
NEEDED = ("numba-cuda", "cuda-core")
SUITS = {"numba-cuda": ((0, 30), (0, 31)), "cuda-core": ((1, 2), (2, 0)), "cuda-bindings": ((13, 0), (14, 0)),
         "cupy-cuda13x": ((14, 0), (16, 0)), "nvmath-python": ((1, 0), (2, 0))}      # from, below
LIBRARIES = ("cublas", "cublasLt", "cufft", "cusolver", "nvrtc")     # that CuPy loads
NO_DEVICE, MISMATCH = 100, 803      # of cuInit
OLDEST_GPU = (8, 0)     # its instructions are used
TOOLKIT = 13000         # the CUDA that the extra installs, as drivers number it
OLDEST_DRIVER = "580"   # the first that runs it
PROBE = KernelSource("probe", "def probe(out):\n    out[cuda.threadIdx.x] = f4(1)\n", ("*f4",), 32)
EMULATE = "TRACEJIT_EMULATE_CUDA=1 runs GPU programs, slowly, without one"


class Problem(NamedTuple):
    what: str
    fix: str


@dataclass(frozen=True)
class Facts:
    """What was found: versions of packages ("-": absent), and the driver's CUDA version or why there is none."""
    versions: Mapping[str, str]
    driver: int | None
    driver_error: str = ""
    toolkit_folder: bool = False
    missing: tuple[str, ...] = ()       # libraries that cannot be loaded
    status: int = 0                     # of cuInit
    capability: tuple[int, int] | None = None

    def has(self, name: str) -> bool:
        return self.versions.get(name, "-") != "-"


def driver_facts() -> dict[str, Any]:
    """The newest CUDA that the driver knows, or why it cannot be asked, and what the first GPU is."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"driver": None, "driver_error": str(error)}
    status, version, major, minor = library.cuInit(0), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    if status:
        return {"driver": None, "driver_error": f"cuInit returned {status}", "status": status}
    for number, value in ((75, major), (76, minor)):        # attributes: the two parts of the compute capability
        library.cuDeviceGetAttribute(ctypes.byref(value), number, 0)
    return {"driver": version.value, "capability": (major.value, minor.value)}


def missing_libraries() -> tuple[str, ...]:
    """Those that can neither be found in packages nor in a toolkit; none where nothing could look for them."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:
        return ()
    missing = []
    for name in LIBRARIES:
        try:
            pathfinder.load_nvidia_dynamic_lib(name)
        except Exception:       # of a kind for each reason
            missing.append(name)
    return tuple(missing)


def facts() -> Facts:
    versions = {name: kernels.installed(name) for name in (*PACKAGES, "numpy")}
    return Facts(versions, **driver_facts(), toolkit_folder=kernels.TOOLKIT.is_dir(),
                 missing=missing_libraries() if any(versions[name] != "-" for name in PACKAGES) else ())


def number(version: str) -> tuple[int, ...]:
    """
    >>> number("2.5.2") >= (2, 5)
    True
    """
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def problems(found: Facts) -> Iterator[Problem]:
    """What keeps GPU programs from running, the first thing to mend first."""
    yield from package_problems(found)
    yield from driver_problems(found)


def package_problems(found: Facts) -> Iterator[Problem]:
    missing = [name for name in NEEDED if not found.has(name)]
    if missing:
        yield Problem(f"{' and '.join(missing)} are not installed, so kernels cannot be compiled", kernels.INSTALL)
    for name, (low, high) in SUITS.items():
        if found.has(name) and not low <= number(found.versions[name]) < high:
            text = ".".join(map(str, low))
            yield Problem(f"{name} {found.versions[name]} is not of the versions from {text} on that are used here",
                          f"pip install '{name}>={text},<{'.'.join(map(str, high))}'")
    if found.has("cupy-cuda12x") and found.has("cupy-cuda13x"):
        yield Problem("two versions of CuPy are installed over each other", "pip uninstall -y cupy-cuda12x cupy-cuda13x; "
                      "pip install 'cupy-cuda13x[ctk]'")
    elif not (found.has("cupy-cuda12x") or found.has("cupy-cuda13x")):
        yield Problem("CuPy is not installed, which holds arrays on a GPU", "pip install 'cupy-cuda13x[ctk]'")
    elif found.missing:
        yield Problem(f"the libraries {', '.join(found.missing)} cannot be loaded, which CuPy calls",
                      "pip install 'cupy-cuda13x[ctk]', or export CUDA_HOME=/path/to/cuda")
    if found.has("numba-cuda") and not found.has("nvidia-nvvm") and not found.toolkit_folder:
        yield Problem("the compiler library libNVVM is neither installed as a package nor in /usr/local/cuda",
                      "pip install nvidia-nvvm, or export CUDA_HOME=/path/to/cuda")
    compiler, assembler = (found.versions.get(name, "-") for name in ("nvidia-nvvm", "nvidia-nvjitlink"))
    if "-" not in (compiler, assembler) and number(assembler) < number(compiler):
        yield Problem(f"nvidia-nvjitlink {assembler} does not know the code that nvidia-nvvm {compiler} writes",
                      "pip install --upgrade nvidia-nvjitlink")


def driver_problems(found: Facts) -> Iterator[Problem]:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found.status == NO_DEVICE:
        yield Problem("the driver shows no GPU" if hidden is None else f"CUDA_VISIBLE_DEVICES={hidden!r} hides all GPUs",
                      f"{'nvidia-smi shows what the driver finds' if hidden is None else 'unset CUDA_VISIBLE_DEVICES'}; {EMULATE}")
    elif found.status == MISMATCH:
        yield Problem("the driver's library and its kernel module are of different versions", "restart the machine")
    elif found.driver is None:
        yield Problem(f"there is no NVIDIA driver ({found.driver_error})",
                      f"install the driver, {OLDEST_DRIVER} or newer; {EMULATE}")
    elif found.driver < TOOLKIT and not found.has("cupy-cuda12x"):
        yield Problem(f"the driver knows CUDA {found.driver // 1000}.{found.driver % 1000 // 10}, the packages need "
                      f"{TOOLKIT // 1000}.0", f"update the driver to {OLDEST_DRIVER} or newer")
    elif found.capability is not None and found.capability < OLDEST_GPU:
        yield Problem(f"the GPU has compute capability {'.'.join(map(str, found.capability))}, kernels use instructions of 8.0",
                      "use a GPU of the Ampere generation or later")


def notes(found: Facts) -> Iterator[str]:
    """What does not fit but is helped here."""
    if found.has("numba-cuda") and number(found.versions["numpy"]) >= (2, 5):
        yield (f"numba-cuda {found.versions['numba-cuda']} needs numpy.row_stack, which NumPy {found.versions['numpy']} no longer "
               "has; tracejit puts it back (or: pip install 'numpy<2.5')")
    if found.has("numba-cuda") and not found.has("nvidia-nvvm") and found.toolkit_folder:
        yield f"libNVVM is taken from {kernels.TOOLKIT}"
    if not found.has("nvmath-python"):
        yield "nvmath-python is not installed: matrix products go through CuPy (pip install nvmath-python)"
    if not found.has("nvidia-cudnn-frontend"):
        yield "cudnn-frontend is not installed: convolutions go through CuPy (pip install nvidia-cudnn-frontend nvidia-cudnn-cu13)"


def compiles() -> str:
    """Compile a kernel, for which no GPU is needed. Raises what is wrong with a fix."""
    start = time.perf_counter()
    made, = kernels.artifacts_of([PROBE], (9, 0))
    return f"{len(made.cubin)} bytes in {1e3 * (time.perf_counter() - start):.0f} ms"


def lines() -> Iterator[tuple[str, str]]:
    """The report as (name, text) pairs."""
    found = facts()
    if found.driver is None and not any(found.has(name) for name in PACKAGES):
        yield "GPU", "no driver and no packages for one: programs run on the CPU"
        return
    for name in PACKAGES:
        yield name, found.versions[name]
    yield "driver", "none" if found.driver is None else f"CUDA {found.driver // 1000}.{found.driver % 1000 // 10}"
    if found.has("numba-cuda"):
        try:
            yield "kernels compile", "ok, " + compiles()
        except TracejitError as error:
            yield "kernels compile", f"FAILED: {error.what.splitlines()[0]}; fix: {error.fix}"
    for note in notes(found):
        yield "note", note
    for what, fix in problems(found):
        yield "GPU", f"{what}; fix: {fix}"

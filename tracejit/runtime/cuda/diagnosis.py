"""What a GPU needs on this machine, what is there, and for each thing that does not fit one sentence and the command that helps."""
from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tracejit.codegen.cuda.interface import KernelSource
from tracejit.errors import TracejitError
from tracejit.runtime.cuda import kernels

PACKAGES = ("numba-cuda", "numba", "cuda-core", "cupy-cuda13x", "cupy-cuda12x", "nvidia-nvvm", "nvidia-nvjitlink", "nvmath-python",
            "nvidia-cudnn-frontend")
NEEDED = ("numba-cuda", "cuda-core")
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

    def has(self, name: str) -> bool:
        return self.versions.get(name, "-") != "-"


def driver_version() -> tuple[int | None, str]:
    """(the newest CUDA that the driver knows, "") or (None, why it cannot be asked)."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return None, str(error)
    status, version = library.cuInit(0), ctypes.c_int()
    if status:
        return None, f"cuInit returned {status}"
    library.cuDriverGetVersion(ctypes.byref(version))
    return version.value, ""


def facts() -> Facts:
    versions = {name: kernels.installed(name) for name in (*PACKAGES, "numpy")}
    return Facts(versions, *driver_version(), toolkit_folder=kernels.TOOLKIT.is_dir())


def number(version: str) -> tuple[int, ...]:
    """
    >>> number("2.5.2") >= (2, 5)
    True
    """
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def problems(found: Facts) -> Iterator[Problem]:
    """What keeps GPU programs from running, the first thing to mend first."""
    missing = [name for name in NEEDED if not found.has(name)]
    if missing:
        yield Problem(f"{' and '.join(missing)} are not installed, so kernels cannot be compiled", "pip install 'tracejit[cuda]'")
    if found.has("cupy-cuda12x") and found.has("cupy-cuda13x"):
        yield Problem("two versions of CuPy are installed over each other", "pip uninstall -y cupy-cuda12x cupy-cuda13x; "
                      "pip install cupy-cuda13x")
    elif not (found.has("cupy-cuda12x") or found.has("cupy-cuda13x")):
        yield Problem("CuPy is not installed, which holds arrays on a GPU", "pip install cupy-cuda13x")
    if found.has("numba-cuda") and not found.has("nvidia-nvvm") and not found.toolkit_folder:
        yield Problem("the compiler library libNVVM is neither installed as a package nor in /usr/local/cuda",
                      "pip install nvidia-nvvm, or export CUDA_HOME=/path/to/cuda")
    if found.driver is None:
        yield Problem(f"there is no NVIDIA driver ({found.driver_error})",
                      f"install the driver, {OLDEST_DRIVER} or newer; {EMULATE}")
    elif found.driver < TOOLKIT and not found.has("cupy-cuda12x"):
        yield Problem(f"the driver knows CUDA {found.driver // 1000}.{found.driver % 1000 // 10}, the packages need "
                      f"{TOOLKIT // 1000}.0", f"update the driver to {OLDEST_DRIVER} or newer")


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

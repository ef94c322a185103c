"""The text of a kernel -> PTX (Numba-CUDA, NVVM) -> cubin (nvJitLink), on any machine: neither needs a driver.

Imported only where a kernel is not in the cache, since Numba takes half a second to import.
"""
from __future__ import annotations

import contextlib
import linecache
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numba.cuda.compiler
import numba.cuda.dispatcher
from cuda.core import Linker, LinkerOptions, ObjectCode
from numba import cuda
from numba.cuda import types
from numba.cuda.cudadrv.nvvm import CompilationUnit

from tracejit.codegen.cuda import intrinsics
from tracejit.codegen.cuda.interface import KernelFacts, KernelSource
from tracejit.errors import CompileError
from tracejit.runtime.cuda.artifact import Artifact

if getattr(cuda, "implementation", "NVIDIA") != "NVIDIA":
    raise ImportError("numba.cuda is not the one of the package numba-cuda; run: pip install --force-reinstall numba-cuda")

device = cuda.jit(device=True)
names: dict[str, Any] = {**intrinsics.NAMES, "device": device}
functions: dict[str, str] = {}      # name of a device function -> its text, which is in `names`

MANGLED = re.compile(r"\.entry\s+([\w$]+)\s*\(")
FACTS = {"registers": r"Used (\d+) registers", "spill_bytes": r"(\d+) bytes spill stores",
         "shared_bytes": r"(\d+) bytes smem", "local_bytes": r"(\d+) bytes stack frame"}


def word_type(word: str) -> Any:
    return types.CPointer(intrinsics.TYPES[word[1:]]) if word.startswith("*") else intrinsics.TYPES[word]


def run_text(text: str, label: str, space: dict[str, Any]) -> None:
    """Execute a text so that error messages and tracebacks can show its lines."""
    file = f"<{label}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), space)


def add_function(text: str) -> None:
    """Define a device function once per process, so that it is typed once."""
    name = re.search(r"def (\w+)", text)[1]
    known = functions.get(name)
    if known is None:
        run_text(text, f"device function {name}", names)
        functions[name] = text
    elif known != text:
        raise CompileError(f"two device functions are called {name}, with different texts")


def function_of(source: KernelSource) -> Any:
    for text in source.functions:
        add_function(text)
    space = dict(names)
    run_text(source.text, f"kernel {source.name}", space)
    return space[source.name]


@contextlib.contextmanager
def replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextlib.contextmanager
def compiling(source: KernelSource, capability: tuple[int, int]) -> Iterator[None]:
    """What Numba-CUDA has no argument for: a capability for device functions, which ask the current device even while
    compiling for a stated one; and NVVM's option not to contract products and sums."""
    compile_cuda = numba.cuda.compiler.compile_cuda

    def with_options(*args: Any, nvvm_options: dict[str, Any], **rest: Any) -> Any:
        return compile_cuda(*args, nvvm_options={**nvvm_options, "fma": source.fma}, **rest)
    with (replaced(numba.cuda.dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability)),
          replaced(numba.cuda.compiler, "compile_cuda", with_options)):
        yield


def ptx_of(source: KernelSource, capability: tuple[int, int]) -> str:
    """The PTX of a kernel, whose entry has the kernel's own name."""
    signature = types.void(*map(word_type, source.signature))
    bounds = (source.threads, source.min_blocks) if source.min_blocks else source.threads
    try:
        with compiling(source, capability):
            text, _ = cuda.compile(function_of(source), signature, device=False, abi="numba", cc=capability,
                                   launch_bounds=bounds, output="ptx")
    except Exception as error:
        raise CompileError(f"kernel {source.name} does not compile: {error}\n{compiler_log(error)}\n{source.text}") from error
    text = text.replace(MANGLED.search(text)[1], source.name)
    return "\n".join(line for line in text.splitlines() if "NumbaEnv" not in line)


def compiler_log(error: BaseException) -> str:
    """What NVVM wrote about a module that it refused, which its exception leaves out."""
    frame = error.__traceback__
    while frame is not None:
        unit = frame.tb_frame.f_locals.get("cu")
        if isinstance(unit, CompilationUnit):
            return unit.get_log()
        frame = frame.tb_next
    return ""


def fact_of(pattern: str, log: str) -> int:
    return max(map(int, re.findall(pattern, log)), default=0)


def compile_kernel(source: KernelSource, capability: tuple[int, int]) -> Artifact:
    """A kernel for devices of a compute capability. CompileError with the compiler's words and the text."""
    ptx = ptx_of(source, capability)
    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}", fma=source.fma, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    try:
        cubin = linker.link("cubin").code
    except Exception as error:
        raise CompileError(f"kernel {source.name} cannot be assembled: {error}\n{linker.get_error_log()}") from error
    log = linker.get_info_log()
    facts = KernelFacts(**{name: fact_of(pattern, log) for name, pattern in FACTS.items()})
    return Artifact(source.name, bytes(cubin), ptx, facts)

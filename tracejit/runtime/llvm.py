"""LLVM IR text -> object file -> addresses in this process, plus the C, BLAS and LAPACK symbols it may call.

    data = compile_module("define i32 @seven() { ret i32 7 }")
    load_object(data, ["seven"])["seven"]                        # the address of the function
"""
from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import importlib.machinery
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite.binding import ffi

from tracejit.codegen.cpu.module import REDUCES_ADDRESSES

LIBRARY_PREFIX = "scipy_"  # scipy_dgemm is the Fortran-style dgemm that SciPy was built with
DEFINED = re.compile(r"^define (?!internal|private)[^@\n]*@([\w.$]+)\(", re.MULTILINE)
DECLARED = re.compile(r"^declare [^@\n]*@([\w.$]+)\(", re.MULTILINE)
GLOBAL = re.compile(r"^@([\w.$]+) = (?:global|constant) ", re.MULTILINE)
EXTERNAL = re.compile(r"^@([\w.$]+) = external ", re.MULTILINE)


# A handle of its own: prototypes set on ctypes.pythonapi would be seen by other packages.
api = ctypes.PyDLL(None, handle=ctypes.pythonapi._handle)


class LLVMError(RuntimeError):
    """LLVM rejected a module, or a symbol it needs does not exist."""


@functools.lru_cache(maxsize=1)
def initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


@functools.lru_cache(maxsize=1)
def host_triple() -> str:
    triple = llvm.get_process_triple()
    return triple + "-elf" if os.name == "nt" else triple  # the loader reads only ELF on Windows


@functools.lru_cache(maxsize=1)
def host_cpu() -> tuple[str, str]:
    """(name, feature list) of this processor, as LLVM spells them."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


class Unlocked:
    """llvmlite's C functions without its global lock, so that several threads compile at once.

    Safe because each thread here has its own LLVM context and target machine.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL(ffi.lib._name)

    def __getattr__(self, name: str) -> Any:
        locked = getattr(ffi.lib, name)
        function = getattr(self.library, name)
        function.argtypes, function.restype = locked.argtypes, locked.restype
        setattr(self, name, function)
        return function


@functools.lru_cache(maxsize=1)
def unlocked() -> Unlocked:
    return Unlocked()


class Switch:
    """An option of LLVM that is on while someone is inside. It belongs to the process: others who use llvmlite, such as
    Numba, find it as it was."""

    def __init__(self, option: str) -> None:
        self.option, self.inside, self.lock = option, 0, threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                llvm.set_option("tracejit", self.option)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                llvm.set_option("tracejit", f"{self.option}=false")


# LLVM tries many forms of each address in a loop, a quarter of all its time. Where none would be better, it need not.
addresses_as_written = Switch("-disable-lsr")


def addresses_in(text: str) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext() if REDUCES_ADDRESSES in text else addresses_as_written


class ErrorText:
    """A char* that LLVM fills when a call fails."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_char_p()

    def take(self) -> str:
        text = (self.pointer.value or b"").decode(errors="replace")
        if self.pointer:
            unlocked().LLVMPY_DisposeString(self.pointer)
        return text


class Machines:
    """Target machines by target, of which each thread takes one: LLVM's are not thread-safe, and making one takes 0.2 ms."""

    def __init__(self) -> None:
        self.idle: dict[tuple[str, str, str, int], list[tuple[Any, str]]] = {}

    @contextlib.contextmanager
    def taken(self, triple: str, cpu: str, features: str, opt: int) -> Iterator[tuple[Any, str]]:
        """(machine, data layout), for one thread at a time."""
        idle = self.idle.setdefault((triple, cpu, features, opt), [])
        try:
            made = idle.pop()   # atomic
        except IndexError:
            target = llvm.Target.from_triple(triple)
            machine = target.create_target_machine(cpu=cpu, features=features, opt=opt, jit=True, codemodel="jitdefault")
            made = machine, str(machine.target_data)
        try:
            yield made
        finally:
            idle.append(made)


machines = Machines()


def with_header(text: str, triple: str, layout: str) -> bytes:
    has_triple = "\ntarget triple" in text[:600] or text.startswith("target triple")
    header = "" if has_triple else f'target datalayout = "{layout}"\ntarget triple = "{triple}"\n'
    return (header + text).encode()


def emit(text: str, cpu: str | None, features: str | None, opt: int, triple: str | None, as_object: bool) -> bytes:
    initialize()
    triple = triple or host_triple()
    if cpu is None:
        cpu, features = host_cpu()
    lib = unlocked()
    context = lib.LLVMPY_ContextCreate()
    try:
        with machines.taken(triple, cpu, features or "", opt) as (machine, layout):
            module = parse(lib, context, with_header(text, triple, layout))
            try:
                with addresses_in(text):
                    return emitted(lib, machine, module, as_object)
            finally:
                lib.LLVMPY_DisposeModule(module)
    finally:
        lib.LLVMPY_ContextDispose(context)


def parse(lib: Unlocked, context: Any, text: bytes) -> Any:
    error = ErrorText()
    module = lib.LLVMPY_ParseAssembly(context, text, ctypes.byref(error.pointer))
    if not module:
        raise LLVMError(error.take())
    error = ErrorText()
    if lib.LLVMPY_VerifyModule(module, ctypes.byref(error.pointer)):  # code generation aborts on bad modules
        lib.LLVMPY_DisposeModule(module)
        raise LLVMError(error.take())
    error.take()
    return module


def emitted(lib: Unlocked, machine: Any, module: Any, as_object: bool) -> bytes:
    error = ErrorText()
    buffer = lib.LLVMPY_TargetMachineEmitToMemory(machine, module, int(as_object), ctypes.byref(error.pointer))
    if not buffer:
        raise LLVMError(error.take())
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), lib.LLVMPY_GetBufferSize(buffer))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)


def compile_module(text: str, cpu: str | None = None, features: str | None = None, opt: int = 2,
                   triple: str | None = None) -> bytes:
    """The object file of a module of LLVM IR text; no IR passes are run, and several threads compile in parallel.

    `cpu` and `features` default to this machine; `opt` 0..3 is the effort of instruction selection. A missing
    `target triple` line is added. Raises LLVMError with LLVM's message for text that does not parse or verify.

    >>> data = compile_module("define i32 @doctest_seven() { ret i32 7 }")
    >>> address = load_object(data, ["doctest_seven"])["doctest_seven"]
    >>> import ctypes
    >>> ctypes.CFUNCTYPE(ctypes.c_int32)(address)()
    7
    """
    return emit(text, cpu, features, opt, triple, True)


def assembly_of(text: str, cpu: str | None = None, features: str | None = None, opt: int = 2,
                triple: str | None = None) -> str:
    """The assembly of a module, for reading."""
    return emit(text, cpu, features, opt, triple, False).decode(errors="replace")


def compile_many(texts: Sequence[str], n_threads: int, effort: Callable[[str], int] = lambda text: 2,
                 **target: Any) -> list[bytes]:
    """`compile_module` of each text, with the `opt` that `effort` gives it, on up to `n_threads` threads."""
    objects: dict[int, bytes] = {}
    for same in (True, False):      # turning the switch takes 40 us, and it is that of all threads
        numbers = [i for i, text in enumerate(texts) if (REDUCES_ADDRESSES in text) == same]
        with addresses_in(texts[numbers[0]]) if numbers else contextlib.nullcontext():
            objects |= zip(numbers, compile_at_once([texts[i] for i in numbers], n_threads, effort, **target))
    return [objects[i] for i in range(len(texts))]


def compile_at_once(texts: Sequence[str], n_threads: int, effort: Callable[[str], int], **target: Any) -> list[bytes]:
    if n_threads <= 1 or len(texts) <= 1:
        return [compile_module(text, opt=effort(text), **target) for text in texts]
    initialize()
    objects: dict[int, bytes] = {}
    failures: list[BaseException] = []
    todo = iter(sorted(enumerate(texts), key=lambda item: -len(item[1])))   # long ones first, so that all end together

    def work() -> None:
        try:
            for i, text in todo:  # next() of an iterator on a list is atomic
                objects[i] = compile_module(text, opt=effort(text), **target)
        except BaseException as error:
            failures.append(error)

    helpers = [threading.Thread(target=work) for _ in range(min(n_threads, len(texts)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return [objects[i] for i in range(len(texts))]


def defined_symbols(text: str) -> list[str]:
    """The functions and variables that a module of IR text offers to others."""
    return DEFINED.findall(text) + GLOBAL.findall(text)


def external_symbols(text: str) -> list[str]:
    """The functions and globals that a module of IR text needs from elsewhere."""
    return [name for name in DECLARED.findall(text) + EXTERNAL.findall(text) if not name.startswith("llvm.")]


# --- loading -----------------------------------------------------------------------------------------

class Engine:
    """The one long-lived MCJIT engine: 30 us per object; what is loaded stays loaded."""

    def __init__(self) -> None:
        initialize()
        self.lock = threading.RLock()
        self.addresses: dict[str, int] = {}
        machine = llvm.Target.from_triple(host_triple()).create_target_machine(jit=True, codemodel="jitdefault")
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(f'target triple = "{host_triple()}"'), machine)
        # Native types are deallocated, and worker threads run, until the process is gone.
        api.Py_IncRef(ctypes.py_object(self.engine))

    def load(self, data: bytes, names: Sequence[str], externals: Iterable[str]) -> dict[str, int]:
        with self.lock:
            if not all(name in self.addresses for name in names):
                for name in externals:
                    require_symbol(name)
                with llvm.ObjectFileRef.from_data(data) as file:
                    self.engine.add_object_file(file)
                self.engine.finalize_object()
                for name in names:
                    self.addresses[name] = self.address(name)
            return {name: self.addresses[name] for name in names}

    def address(self, name: str) -> int:
        address = self.engine.get_global_value_address(name)
        if not address:
            raise LLVMError(f"the object does not define {name}")
        return address


@functools.lru_cache(maxsize=1)
def engine() -> Engine:
    return Engine()


def load_object(data: bytes, names: Sequence[str], externals: Iterable[str] = ()) -> dict[str, int]:
    """{symbol: address} of an object file, for the symbols `names` that it defines.

    Symbols are global to the process: name them by content. A name that is already loaded is not loaded again.
    `externals` are the symbols the object needs; each is found or LLVMError is raised, where LLVM itself would abort.
    """
    return engine().load(data, names, externals)


def add_symbol(name: str, address: int) -> None:
    """Let objects loaded from now on refer to `address` as the external symbol `name`."""
    llvm.add_symbol(name, address)


def require_symbol(name: str) -> None:
    """Make sure that `name` can be linked; LLVMError if nothing defines it."""
    if name in engine().addresses or llvm.address_of_symbol(name):
        return
    if name.startswith(LIBRARY_PREFIX):
        add_symbol(name, symbol_of(name.removeprefix(LIBRARY_PREFIX)))
        return
    address = library_threads() if name == "tj_library_threads" else c_function(name)
    if address is None:
        raise LLVMError(f"nothing defines the symbol {name}")
    add_symbol(name, address)


def c_function(name: str) -> int | None:
    """The address of a function of the C library, the C maths library or Python's C API, or None."""
    for library in (api, ctypes.CDLL(None)):
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


# --- BLAS and LAPACK ---------------------------------------------------------------------------------

def scipy_extension(name: str) -> ModuleType:
    """scipy.linalg's extension module `name` without running scipy.linalg itself: 2 ms instead of 130."""
    full = f"scipy.linalg.{name}"
    if full in sys.modules:
        return sys.modules[full]
    parent = importlib.util.find_spec("scipy")
    if parent is None or parent.submodule_search_locations is None:
        raise ImportError("scipy is needed for linear algebra")
    folder = os.path.join(parent.submodule_search_locations[0], "linalg")
    spec = importlib.machinery.PathFinder.find_spec(full, [folder])
    if spec is None or spec.loader is None:
        return importlib.import_module(full)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.lru_cache(maxsize=2)
def capsules_of(extension: str) -> dict[str, Any]:
    return scipy_extension(extension).__pyx_capi__


@functools.cache
def symbol_of(name: str) -> int:
    """The address of the BLAS or LAPACK routine `name`, such as dgemm or zheevd (arguments by pointer, as in Fortran).

    In IR text call it as @scipy_dgemm: the loader links that name to this address.
    """
    for extension in ("cython_blas", "cython_lapack"):
        capsule = capsules_of(extension).get(name)
        if capsule is not None:
            return capsule_pointer(capsule)
    raise LLVMError(f"SciPy has no BLAS or LAPACK routine called {name}")


@functools.cache
def library_threads() -> int:
    """The address of `i32 f(i32 n)`: SciPy's BLAS uses n threads from now on, f says how many before; without OpenBLAS, nothing."""
    capsules_of("cython_blas")      # it loads the library
    folder = os.path.join(os.path.dirname(importlib.util.find_spec("scipy").submodule_search_locations[0]), "scipy.libs")
    for path in glob.glob(os.path.join(folder, "*openblas*.so*")):
        function = getattr(ctypes.CDLL(path), "openblas_set_num_threads_local", None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value
    stub = "define i32 @tj_no_library_threads(i32 %n) { ret i32 0 }"
    return load_object(compile_module(stub), ["tj_no_library_threads"])["tj_no_library_threads"]


def capsule_pointer(capsule: Any) -> int:
    api.PyCapsule_GetName.argtypes, api.PyCapsule_GetName.restype = [ctypes.py_object], ctypes.c_char_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))


def version() -> str:
    """What, besides its text and target, decides what a module compiles to."""
    return f"llvmlite {llvmlite.__version__}"

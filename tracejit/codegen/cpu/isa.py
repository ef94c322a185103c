"""The host (or a forced) instruction set -> vector width, register count and LLVM target text."""
from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np

from tracejit.config import config

_AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd")
_AVX2 = ("avx2", "fma", "f16c", "bmi2")


@dataclass(frozen=True)
class Isa:
    """What code generation must know about a processor.

    `features` is LLVM's comma separated list; together with `cpu`, `triple` and
    `vector_bits` it is the part of a cache key that says where an object may run.

    >>> Isa("avx2", "x86-64-v3", "", 256, 16, "x86_64-unknown-linux-gnu", "").lanes(np.dtype("f4"))
    8
    """

    name: str
    cpu: str
    features: str
    vector_bits: int
    n_registers: int
    triple: str
    data_layout: str

    def lanes(self, dtype: np.dtype) -> int:
        """How many elements of `dtype` one register holds (complex: its real part; bool: bytes)."""
        dtype = np.dtype(dtype)
        bits = dtype.itemsize * (4 if dtype.kind == "c" else 8)
        return max(1, self.vector_bits // bits)

    @property
    def has_fma(self) -> bool:
        return self.name != "baseline"

    @property
    def has_rounding(self) -> bool:
        """Does one instruction round a float to an integral float?"""
        return self.name != "baseline"

    @property
    def has_half_convert(self) -> bool:
        """Does one instruction round f32 to f16?"""
        return self.name != "baseline"

    @property
    def has_avx512(self) -> bool:
        return self.name == "avx512"

    @property
    def wants_prefetches(self) -> bool:
        """Whether lines that are read a few bytes of each at a time come sooner if they are asked for (measured on Zen 3 and 4)."""
        return self.cpu.startswith("znver")

    @property
    def has_tiles(self) -> bool:
        """Does the processor multiply tiles of int8 and bfloat16 (AMX), and does the system let this process use them?"""
        return self.has_avx512 and all(f"+amx-{name}" in self.features.split(",") for name in ("tile", "int8", "bf16"))

    @property
    def words(self) -> Mapping[str, str]:
        """The small dtypes whose products are made by the word of 32 bits, and what lies in the words then: one instruction
        multiplies and adds all of a word."""
        if not self.triple.startswith("x86_64"):
            return {}
        pairs = dict.fromkeys(("int8", "uint8", "int16"), "int16")
        return pairs | ({"int8": "int8", "bfloat16": "bfloat16"} if self.has_tiles else {})

    def masks(self, dtype: np.dtype) -> bool:
        """Are there vector loads and stores of some lanes only?"""
        return self.has_avx512 or self.name == "avx2" and np.dtype(dtype).itemsize >= 4

    @property
    def header(self) -> str:
        """The first lines of every module."""
        layout = f'target datalayout = "{self.data_layout}"\n' if self.data_layout else ""
        return f'{layout}target triple = "{self.triple}"\n'

    @property
    def attributes(self) -> str:
        """Function attributes, to be used inside `attributes #n = { ... }`.

        Both widths are explicit: LLVM otherwise splits 512-bit vectors on processors
        whose tuning prefers 256.
        """
        features = f' "target-features"="{self.features}"' if self.features else ""
        return (
            f'nounwind "target-cpu"="{self.cpu}"{features} '
            f'"prefer-vector-width"="{self.vector_bits}" "min-legal-vector-width"="{self.vector_bits}"'
        )


def _target_layout(triple: str, cpu: str, features: str) -> str:
    target = llvm.Target.from_triple(triple)
    return str(target.create_target_machine(cpu=cpu, features=features).target_data)


@functools.cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


def _best_x86(features: dict[str, bool]) -> str:
    if all(features.get(name) for name in _AVX512):
        return "avx512"
    return "avx2" if all(features.get(name) for name in _AVX2) else "baseline"


_X86 = {  # name: (generic cpu, vector bits, vector registers)
    "avx512": ("x86-64-v4", 512, 32),
    "avx2": ("x86-64-v3", 256, 16),
    "baseline": ("x86-64", 128, 16),
}


def _may_use_tiles() -> bool:
    """Linux gives a process the registers of tiles when it asks for them: for itself, its threads and its children."""
    arch_prctl, request, tile_data = 158, 0x1023, 18
    if platform.system() != "Linux":
        return False
    return ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0


def _x86_isa(wanted: str, triple: str) -> Isa:
    host = dict(llvm.get_host_cpu_features())
    if host.get("amx-tile") and not _may_use_tiles():
        host |= {name: False for name in host if name.startswith("amx")}
    best = _best_x86(host)
    order = list(_X86)
    if wanted not in _X86 or order.index(wanted) < order.index(best):
        wanted = best  # a wider set than the host has would end in an illegal instruction
    cpu, bits, registers = _X86[wanted]
    features = ""
    if wanted == best:
        cpu = llvm.get_host_cpu_name()
        features = ",".join(sorted(("+" if on else "-") + name for name, on in host.items()))
    return Isa(wanted, cpu, features, bits, registers, triple, _target_layout(triple, cpu, features))


def _other_isa(triple: str) -> Isa:
    neon = platform.machine().lower() in ("aarch64", "arm64")
    cpu = llvm.get_host_cpu_name() if neon else "generic"
    name, registers = ("neon", 32) if neon else ("baseline", 16)
    return Isa(name, cpu, "", 128, registers, triple, _target_layout(triple, cpu, ""))


@functools.cache
def make_isa(name: str) -> Isa:
    """The `Isa` called avx512, avx2, baseline or native, never wider than what this host can run."""
    _initialize()
    triple = llvm.get_process_triple()
    if platform.machine().lower() in ("x86_64", "amd64"):
        return _x86_isa(name, triple)
    return _other_isa(triple)


def host_isa() -> Isa:
    """The instruction set to compile for: that of the setting isa, else all that this host has."""
    return make_isa(config.isa or "native")

"""A cubin -> the machine instructions in it, counted: what a test can ask of a kernel without running it."""
from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tracejit.codegen.cuda.interface import KernelFacts
from tracejit.errors import DeviceError

PACKAGE = "nvidia-cuda-nvdisasm"
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
DOUBLE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|F2F\.F64|F2F\.F32\.F64|I2F\.F64|F2I\.\w*F64|MUFU\.\w*64")


def disassembler() -> str:
    """The path of nvdisasm: from its package, or from a toolkit. DeviceError without one."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((str(f.locate()) for f in files if f.name in ("nvdisasm", "nvdisasm.exe")), None) or shutil.which("nvdisasm")
    if found is None:
        raise DeviceError("there is no nvdisasm to read machine code with", fix=f"pip install {PACKAGE}")
    return found


def text_of(cubin: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run([disassembler(), "-c", str(path)], capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Sass:
    """How often each instruction stands in a kernel, and what the assembler said of it."""
    counts: Counter[str]
    facts: KernelFacts

    def starting(self, *prefixes: str) -> int:
        return sum(n for name, n in self.counts.items() if name.startswith(prefixes))

    def wide(self, prefix: str) -> int:
        """Global accesses of 128 bits: wide("LDG"), wide("STG")."""
        return sum(n for name, n in self.counts.items() if name.startswith(prefix) and ".128" in name)

    @property
    def doubles(self) -> int:
        """Instructions on float64."""
        return sum(n for name, n in self.counts.items() if DOUBLE.match(name))

    @property
    def local_accesses(self) -> int:
        return self.starting("LDL", "STL")


def sass_of(cubin: bytes, facts: KernelFacts) -> Sass:
    return Sass(Counter(INSTRUCTION.findall(text_of(cubin))), facts)

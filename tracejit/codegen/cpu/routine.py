"""Native routines in parts: modules that programs share, and tables of just those kernels that a call needs."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .gemm_text import attributes_text
from .isa import Isa

Part = tuple[str, str]  # the name of a module's public function, or what its functions' names end with; its text


@dataclass(frozen=True)
class Routine:
    """A function of one pointer, to a record: its name, its modules with callees first, the record's table of kernels."""

    name: str
    parts: tuple[Part, ...]
    kernels: tuple[str | None, ...] = ()


def part_of(isa: Isa, stem: str, head: str, body: str) -> Part:
    """A module whose public functions, `@ENTRY` or `@ENTRY_...` in the text, are named by its content."""
    text = f"{isa.header}{head}{body}{attributes_text(isa)}"
    name = f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return name, text.replace("@ENTRY", f"@{name}")

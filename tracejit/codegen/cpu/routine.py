"""Native routines in parts: modules that programs share, and tables of just those kernels that a call needs."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from .gemm_text import attributes_text
from .isa import Isa

Part = tuple[str, str]  # the name of a module's public function; its text


@dataclass(frozen=True)
class Routine:
    """A function of one pointer, to a record: its name, its modules with callees first, the record's table of kernels."""

    name: str
    parts: tuple[Part, ...]
    kernels: tuple[str | None, ...] = ()


def routine_of(main: Part, table: Sequence[Part | None]) -> Routine:
    """The routine of this public function, with those parts of its table that it needs."""
    return Routine(main[0], (*(part for part in table if part), main), tuple(part and part[0] for part in table))


def part_of(isa: Isa, stem: str, head: str, body: str) -> Part:
    """A module whose public function, `@ENTRY` in the text, is named by its content."""
    text = f"{isa.header}{head}{body}{attributes_text(isa)}"
    name = f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return name, text.replace("@ENTRY", f"@{name}")

"""What a compiled kernel is on disk: machine code for the device, the PTX for the emulator, and the assembler's facts."""
from __future__ import annotations

import json
from dataclasses import dataclass

from tracejit.codegen.cuda.interface import KernelFacts


@dataclass(frozen=True)
class Artifact:
    """A compiled kernel; `name` is its entry point in both forms.

    >>> made = Artifact("k", b"code", "text", KernelFacts(8, 0, 0, 0))
    >>> Artifact.from_bytes(made.to_bytes()) == made
    True
    """
    name: str
    cubin: bytes
    ptx: str
    facts: KernelFacts

    def to_bytes(self) -> bytes:
        head = json.dumps({"name": self.name, "ptx": self.ptx, "facts": self.facts}).encode()
        return len(head).to_bytes(8, "little") + head + self.cubin

    @classmethod
    def from_bytes(cls, data: bytes) -> Artifact:
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:end])
        return cls(head["name"], data[end:], head["ptx"], KernelFacts(*head["facts"]))

"""Functions, declarations and constant tables -> the text of one LLVM module."""
from __future__ import annotations

import numpy as np

from .isa import Isa
from .value import PTR, Value, literal_text, memory_text

# Metadata numbers are fixed so that every instruction may refer to them.
# A module that says so has loops that multiply their counters: LLVM looks for better forms of addresses in it (runtime/llvm.py).
REDUCES_ADDRESSES = '"reduces-addresses"'
METADATA = "!0 = !{}\n!1 = !{i32 1}\n"
INVARIANT = ", !invariant.load !0"
NONTEMPORAL = ", !nontemporal !1"


class Module:
    """Collects what several Builders emit; `text()` is what LLVM parses.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> Module(host_isa()).text().endswith("}\\n")
    True
    """

    def __init__(self, isa: Isa, shared: dict[str, str] | None = None, reduces_addresses: bool = False):
        """With `shared`, long rarely taken paths go into modules of their own, collected there by name."""
        self.isa, self.shared = isa, shared
        self.attributes = " ".join([isa.attributes, *[REDUCES_ADDRESSES] * reduces_addresses])
        self._declared: dict[str, str] = {}
        self._globals: dict[tuple, tuple[str, str]] = {}
        self._functions: list[str] = []
        self._defined: set[str] = set()
        self.functions: dict[tuple, str] = {}   # an op and its operands' types -> its function
        self.results: dict[str, tuple[np.dtype, int]] = {}     # of internal functions: dtype and lanes

    def declare(self, name: str, ret: str, args: list[str]) -> None:
        """Note that function `name` exists elsewhere; repeated declarations must agree."""
        line = f"declare {ret} @{name}({', '.join(args)})"
        if self._declared.setdefault(name, line) != line:
            raise ValueError(f"{name} declared as {line!r} and as {self._declared[name]!r}")

    def declare_global(self, name: str, kind: str) -> None:
        """Note that a variable of this type exists elsewhere."""
        self._declared.setdefault(f"@{name}", f"@{name} = external global {kind}")

    def define(self, name: str, text: str) -> None:
        if name in self._defined:
            raise ValueError(f"function {name} is defined twice")
        self._defined.add(name)
        self._functions.append(text)

    def is_defined(self, name: str) -> bool:
        return name in self._defined

    def table(self, array: np.ndarray) -> Value:
        """A pointer to a private constant array with the contents of `array` (64-byte aligned)."""
        # Its bits as integers: a bool is a byte in memory, and LLVM has no literals of complex numbers and bfloat16.
        array = np.ascontiguousarray(array).reshape(-1)
        array = array.view(f"i{min(array.dtype.itemsize, 8)}")
        key = (array.dtype.str, array.tobytes())
        if key not in self._globals:
            name = f"@table{len(self._globals)}"
            element = memory_text(array.dtype)
            items = ", ".join(f"{element} {literal_text(v, array.dtype)}" for v in array)
            body = f"private unnamed_addr constant [{array.size} x {element}] [{items}], align 64"
            self._globals[key] = (name, f"{name} = {body}")
        return Value(self._globals[key][0], PTR)

    def text(self) -> str:
        declared = [line for name, line in self._declared.items() if name not in self._defined]
        parts = [self.isa.header, *(text for _, text in self._globals.values()), *declared]
        parts += [*self._functions, METADATA + f"attributes #0 = {{ {self.attributes} }}\n"]
        return "\n".join(parts)

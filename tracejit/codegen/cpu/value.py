"""dtypes -> LLVM type and literal text, and the typed names (`Value`) that a Builder hands out."""
from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np

from tracejit.ir.types import NARROW

BOOL, I8, I16, I32, I64 = (np.dtype(t) for t in ("?", "i1", "i2", "i4", "i8"))
U8, U16, U32, U64 = (np.dtype(t) for t in ("u1", "u2", "u4", "u8"))
F16, F32, F64 = (np.dtype(t) for t in ("f2", "f4", "f8"))
BF16 = np.dtype(ml_dtypes.bfloat16)
C64, C128 = np.dtype("c8"), np.dtype("c16")
PTR = np.dtype("V8")  # an address; only ever the dtype of a Value

# f16 and bf16 travel as their bits: their arithmetic is done in f32, and LLVM would turn
# operations on `bfloat` into calls of compiler-rt functions that a JIT process lacks.
_SCALAR = {BOOL: "i1", F16: "i16", BF16: "i16", F32: "float", F64: "double", PTR: "ptr"}
# So do narrow floats, and integers of fewer than 8 bits.
_SCALAR |= dict.fromkeys(NARROW, "i8")
_SCALAR |= {t: f"i{t.itemsize * 8}" for t in (I8, I16, I32, I64, U8, U16, U32, U64)}
_SUFFIX = {"float": "f32", "double": "f64", "ptr": "p0"}


def is_half(dtype: np.dtype) -> bool:
    """Whether it is a float that is computed in f32."""
    return dtype == F16 or dtype == BF16 or NARROW.get(dtype) == F32


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or is_half(dtype)


def is_nibble(dtype: np.dtype) -> bool:
    """Whether it is an integer of fewer than 8 bits, which are only stored: see `unpacked`."""
    return dtype in NARROW and NARROW[dtype] != F32


def is_signed(dtype: np.dtype) -> bool:
    return dtype.kind == "i"


def is_integer(dtype: np.dtype) -> bool:
    return dtype.kind in "iu"


def is_complex(dtype: np.dtype) -> bool:
    return dtype.kind == "c"


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype."""
    return F32 if dtype == C64 else F64


def bits_dtype(dtype: np.dtype) -> np.dtype:
    """The signed integer dtype of the same width."""
    return (I8, I16, I32, I64)[(1, 2, 4, 8).index(dtype.itemsize)]


def scalar_text(dtype: np.dtype) -> str:
    return _SCALAR[dtype]


def memory_text(dtype: np.dtype) -> str:
    """The type of one element in memory: bool is a byte, complex a pair."""
    if is_complex(dtype):
        return f"[2 x {_SCALAR[real_dtype(dtype)]}]"
    return "i8" if dtype == BOOL else _SCALAR[dtype]


def type_text(dtype: np.dtype, lanes: int = 1) -> str:
    return _SCALAR[dtype] if lanes == 1 else f"<{lanes} x {_SCALAR[dtype]}>"


def suffix_text(dtype: np.dtype, lanes: int = 1) -> str:
    """How an overloaded intrinsic's name spells the type: `v16f32`."""
    scalar = _SCALAR[dtype]
    suffix = _SUFFIX.get(scalar, scalar)
    return suffix if lanes == 1 else f"v{lanes}{suffix}"


def literal_text(value: Any, dtype: np.dtype) -> str:
    """A scalar literal: floats as the hexadecimal bits of the double, so that they are exact."""
    if dtype == BOOL:
        return "true" if value else "false"
    if is_half(dtype):
        return str(int(np.asarray(value, dtype).view(bits_dtype(dtype))))
    if dtype.kind == "f":
        with np.errstate(all="ignore"):
            exact = float(np.asarray(value, dtype))
        return f"0x{struct.unpack('<Q', struct.pack('<d', exact))[0]:016X}"
    return str(int(value))


class Value:
    """An SSA name (or literal) with its dtype and lane count; `const` is the Python value of a literal."""

    __slots__ = ("name", "dtype", "lanes", "const")

    def __init__(self, name: str, dtype: np.dtype, lanes: int = 1, const: Any = None):
        self.name, self.dtype, self.lanes, self.const = name, dtype, lanes, const

    @property
    def text(self) -> str:
        """Type and name, as an operand list spells it."""
        return f"{type_text(self.dtype, self.lanes)} {self.name}"

    def __repr__(self) -> str:
        return f"Value({self.text})"


class ComplexValue:
    """A complex number as two real Values of the same dtype and lane count."""

    __slots__ = ("re", "im")
    const = None

    def __init__(self, re: Value, im: Value):
        self.re, self.im = re, im

    @property
    def dtype(self) -> np.dtype:
        return C64 if self.re.dtype == F32 else C128

    @property
    def lanes(self) -> int:
        return self.re.lanes

    def __repr__(self) -> str:
        return f"ComplexValue({self.re.text}, {self.im.text})"


AnyValue = Value | ComplexValue

"""The AVX-512 instructions scalef, getexp and getmant on a Value of any lane count."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..value import F32, Value

if TYPE_CHECKING:
    from ..builder import Builder


def _in_registers(b: Builder, apply, *xs: Value) -> Value:
    """`apply` on pieces that fill a register: narrow operands are padded, wide ones are cut."""
    lanes, bits = xs[0].lanes, xs[0].dtype.itemsize * 8
    most, least = b.isa.vector_bits // bits, 128 // bits
    if lanes > most:
        pieces = zip(*[b.split(x, most) for x in xs])
        return b.concat([apply(*piece) for piece in pieces])
    if lanes < least:
        order = [i if i < lanes else -1 for i in range(least)]
        wide = apply(*[b.shuffle(x, None, order) for x in xs])
        return b.shuffle(wide, None, range(lanes))
    return apply(*xs)


def _call(b: Builder, stem: str, x: Value, operands: tuple) -> Value:
    """An unmasked call; only the 512-bit forms take a rounding mode (4: the current one)."""
    width = x.lanes * x.dtype.itemsize * 8
    mask = "i16 -1" if x.lanes == 16 else "i8 -1"
    name = f"llvm.x86.avx512.mask.{stem}.p{'s' if x.dtype == F32 else 'd'}.{width}"
    rounding = ("i32 4",) if width == 512 else ()
    return b.call_text(name, x.dtype, x.lanes, (*operands, x, mask, *rounding), merge=True)


def scalef(b: Builder, x: Value, n: Value) -> Value:
    """x * 2**floor(n), rounded once also where the result is denormal; n may be huge."""
    return _in_registers(b, lambda x, n: _call(b, "scalef", x, (x, n)), x, n)


def getexp(b: Builder, x: Value) -> Value:
    """floor(log2|x|) as a float: -inf of 0, inf of inf, exact for denormals."""
    return _in_registers(b, lambda x: _call(b, "getexp", x, (x,)), x)


def getmant(b: Builder, x: Value) -> Value:
    """The significand of x scaled to [0.75, 1.5); nan of a negative number."""
    return _in_registers(b, lambda x: _call(b, "getmant", x, (x, f"i32 {3 | 2 << 2}")), x)

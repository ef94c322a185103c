"""The bits of floats: read as another dtype, or rounded to fewer."""
from __future__ import annotations

import operator
from typing import Any, ClassVar

import numpy as np
from ml_dtypes import iinfo

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, bfloat16, canonicalize_dtype, is_integer, type_of
from tracejit.lax.bits import shift_left, shift_right_logical
from tracejit.lax.broadcast import broadcast_in_dim, iota
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import mul
from tracejit.lax.kinds import Elementwise, op_dataclass
from tracejit.lax.reduce import reduce_or


@op_dataclass
class Bitcast(Elementwise):
    """The bits of x read as another dtype of the same width."""
    moves: ClassVar[bool] = True
    dtype: np.dtype

    def infer(self, x):
        if "b" in x.dtype.kind + self.dtype.kind or x.dtype.itemsize != self.dtype.itemsize or \
                (x.dtype.kind == "c") != (self.dtype.kind == "c"):
            raise DtypeError(f"bitcast: cannot read the bits of {x} as {self.dtype}", source=user_source(),
                             fix="use lax.bitcast_convert_type between dtypes of different widths")
        return ArrayType(x.shape, self.dtype)

    def eval(self, x): return np.ascontiguousarray(x).view(self.dtype).reshape(x.shape)
    def scalar(self, b, x): return b.bitcast(x, self.dtype)


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Any:
    """The bits of an array read as another dtype.

    To a dtype k times narrower, the result has a new last axis of size k (lowest bits first); to one k times
    wider, the operand's last axis must have size k, and goes. DtypeError for bool and complex with another width.

    >>> hex(bitcast_convert_type(np.float32(1), np.int32))
    '0x3f800000'
    """
    dtype, t = canonicalize_dtype(new_dtype), type_of(operand)
    if t.dtype == dtype:
        return convert_element_type(operand, dtype)
    if "b" in t.dtype.kind + dtype.kind or (t.dtype.kind == "c") != (dtype.kind == "c"):
        raise DtypeError(f"bitcast_convert_type: cannot read the bits of {t} as {dtype}", source=user_source(),
                         fix="compare with 0 for booleans; take real and imag of complex numbers")
    before, after = bits_of(t.dtype), bits_of(dtype)
    if before == after:
        # An integer of 4 bits takes a byte, whose other bits mean nothing: as another such, it is wrapped.
        return convert_element_type(operand, dtype) if before < 8 else bind(Bitcast(dtype), operand)
    words = bitcast_convert_type(operand, _word(before))
    change = _split_words if before > after else _joined_words
    return bitcast_convert_type(change(words, _word(after), before, after), dtype)


def bits_of(dtype: np.dtype) -> int:
    """The bits that tell an element of the dtype from others.

    >>> bits_of(np.dtype("float32")), bits_of(np.dtype("int4"))
    (32, 4)
    """
    return iinfo(dtype).bits if is_integer(dtype) else 8 * dtype.itemsize


def _word(bits: int) -> np.dtype:
    return np.dtype(f"uint{bits}")


def _split_words(words, dtype: np.dtype, before: int, after: int):
    t = type_of(words)
    shape = (*t.shape, before // after)
    offsets = mul(iota(t.dtype, shape[-1]), after)
    repeated = broadcast_in_dim(words, shape, range(t.ndim))
    return convert_element_type(shift_right_logical(repeated, broadcast_in_dim(offsets, shape, (t.ndim,))), dtype)


def _joined_words(words, dtype: np.dtype, before: int, after: int):
    t = type_of(words)
    count = after // before
    if t.shape[-1:] != (count,):
        raise ShapeError(f"bitcast_convert_type: the last axis of {t} must have size {count} to be read as {dtype}",
                         source=user_source(), fix=f"reshape so that the last axis has size {count}")
    offsets = broadcast_in_dim(mul(iota(dtype, count), before), t.shape, (t.ndim - 1,))
    return reduce_or(shift_left(convert_element_type(words, dtype), offsets), (t.ndim - 1,))


@op_dataclass
class ReducePrecision(Elementwise):
    """x rounded to a float with fewer exponent and mantissa bits: overflow gives inf, denormals 0."""
    exponent_bits: int
    mantissa_bits: int
    accepts: ClassVar[str] = "f"
    linear: ClassVar[bool] = True
    rounds: ClassVar[bool] = True

    def transpose(self, ctx, ct, x): return (bind(self, ct),)

    def eval(self, x):
        _, exponent, mantissa = _layout(x.dtype)
        wide = x.astype(np.float64)
        quantum = np.maximum(np.frexp(wide)[1], 3 - 2 ** (exponent - 1)) - 1 - min(self.mantissa_bits, mantissa)
        out = np.ldexp(np.rint(np.ldexp(wide, -quantum)), quantum)
        if self.exponent_bits < exponent:
            top = 2.0 ** (2 ** (self.exponent_bits - 1) - 1)
            out = np.where(np.abs(out) >= 2 * top, np.copysign(np.inf, x), out)
            out = np.where(np.abs(out) < 2 / top, np.copysign(0.0, x), out)
        return np.where(np.isfinite(x), out, wide).astype(x.dtype)

    def scalar(self, b, x):
        word, exponent, mantissa = _layout(x.dtype)
        bits = b.bitcast(x, word)
        sign = b.and_(bits, 1 << (exponent + mantissa))
        size = b.xor(bits, sign)
        if self.mantissa_bits < mantissa:  # to nearest, ties to even
            drop = mantissa - self.mantissa_bits
            odd = b.and_(b.shr_logical(size, drop), 1)
            size = b.and_(b.add(size, b.add(odd, (1 << (drop - 1)) - 1)), (1 << (exponent + mantissa)) - (1 << drop))
        if self.exponent_bits < exponent:
            bias, reach = 2 ** (exponent - 1) - 1, 2 ** (self.exponent_bits - 1) - 1
            infinity = b.const(((1 << exponent) - 1) << mantissa, word)
            size = b.select(b.ge(size, (bias + reach + 1) << mantissa), infinity, size)
            size = b.select(b.lt(size, (bias - reach + 1) << mantissa), b.const(0, word), size)
        return b.select(b.ne(x, x), x, b.bitcast(b.or_(sign, size), x.dtype))


def _layout(dtype: np.dtype) -> tuple[np.dtype, int, int]:
    """The integer dtype that holds a float's bits, and the widths of its exponent and mantissa."""
    mantissa = {bfloat16: 7, np.dtype("float16"): 10, np.dtype("float32"): 23}.get(dtype, 52)
    return np.dtype(f"u{dtype.itemsize}"), 8 * dtype.itemsize - 1 - mantissa, mantissa


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    """operand rounded to the nearest float of these widths, kept in its own dtype."""
    exponent, mantissa = operator.index(exponent_bits), operator.index(mantissa_bits)
    if exponent < 1 or mantissa < 0:
        raise ValueError(f"reduce_precision: exponent_bits must be positive and mantissa_bits not negative, got {exponent} "
                         f"and {mantissa}")
    return bind(ReducePrecision(exponent, mantissa), operand)

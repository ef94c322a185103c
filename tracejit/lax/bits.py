"""Operations on the bits of integers: logic, shifts, counts, long products."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.config import config
from tracejit.errors import DtypeError, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.convert import convert_element_type, operands
from tracejit.lax.elementwise import add, mul
from tracejit.lax.kinds import Elementwise, op_dataclass


@op_dataclass
class Bits(Elementwise):
    """Operands are integers, or booleans as one bit."""
    accepts: ClassVar[str] = "biu"


@op_dataclass
class BitwiseAnd(Bits):
    """x and y, bit by bit."""

    def bounds(self, types, x, y):
        """No more than either, where none is negative; what is not negative takes a sign away."""
        least = [hi for lo, hi in (x, y) if lo >= 0]
        if types[0].dtype.kind == "b":
            return min(x[0], y[0]), min(x[1], y[1])
        return (0, min(least)) if least else None

    def eval(self, x, y): return np.bitwise_and(x, y)
    def scalar(self, b, x, y): return b.and_(x, y)


def bitwise_and(x: Any, y: Any) -> Any: return bind(BitwiseAnd(), *operands(x, y))


@op_dataclass
class BitwiseOr(Bits):
    """x or y, bit by bit."""

    def eval(self, x, y): return np.bitwise_or(x, y)
    def scalar(self, b, x, y): return b.or_(x, y)


def bitwise_or(x: Any, y: Any) -> Any: return bind(BitwiseOr(), *operands(x, y))


@op_dataclass
class BitwiseXor(Bits):
    """Either x or y, bit by bit."""

    def eval(self, x, y): return np.bitwise_xor(x, y)
    def scalar(self, b, x, y): return b.xor(x, y)


def bitwise_xor(x: Any, y: Any) -> Any: return bind(BitwiseXor(), *operands(x, y))


@op_dataclass
class BitwiseNot(Bits):
    """Each bit of x turned over."""

    def eval(self, x): return np.invert(x)
    def scalar(self, b, x): return b.not_(x)


def bitwise_not(x: Any) -> Any: return bind(BitwiseNot(), x)


@op_dataclass
class Shift(Elementwise):
    """Shifts by a count that is below 0 or not below the width push all bits out."""
    accepts: ClassVar[str] = "iu"


def _shifted(shift, x: np.ndarray, y: np.ndarray, beyond) -> np.ndarray:
    inside = (y >= 0) & (y < 8 * x.dtype.itemsize)
    return np.where(inside, shift(x, np.where(inside, y, 0).astype(y.dtype)), beyond).astype(x.dtype)


@op_dataclass
class ShiftLeft(Shift):
    """x shifted left by y bits."""

    def eval(self, x, y): return _shifted(np.left_shift, x, y, 0)
    def scalar(self, b, x, y): return b.shl(x, y)


def shift_left(x: Any, y: Any) -> Any: return bind(ShiftLeft(), *operands(x, y))


@op_dataclass
class ShiftRightArithmetic(Shift):
    """x shifted right by y bits, the sign bit filling from the left."""

    def signed(self, x): return x.view(f"i{x.dtype.itemsize}")

    def bounds(self, types, x, y):
        return (x[0] >> y[0], x[1] >> y[0]) if y[0] == y[1] and 0 <= y[0] < 8 * types[0].dtype.itemsize and \
            types[0].dtype.kind == "i" else None

    def eval(self, x, y):
        x, dtype = self.signed(x), x.dtype
        return _shifted(np.right_shift, x, self.signed(y), np.where(x < 0, -1, 0)).astype(dtype)

    def scalar(self, b, x, y): return b.shr_arith(x, y)


def shift_right_arithmetic(x: Any, y: Any) -> Any: return bind(ShiftRightArithmetic(), *operands(x, y))


@op_dataclass
class ShiftRightLogical(Shift):
    """x shifted right by y bits, zeros filling from the left."""

    def eval(self, x, y):
        unsigned = np.dtype(f"u{x.dtype.itemsize}")
        return _shifted(np.right_shift, x.astype(unsigned), y.astype(unsigned), 0).astype(x.dtype)

    def scalar(self, b, x, y): return b.shr_logical(x, y)


def shift_right_logical(x: Any, y: Any) -> Any: return bind(ShiftRightLogical(), *operands(x, y))


@op_dataclass
class PopulationCount(Elementwise):
    """The number of bits of x that are 1."""
    accepts: ClassVar[str] = "iu"

    def eval(self, x): return np.bitwise_count(x.astype(f"u{x.dtype.itemsize}")).astype(x.dtype)
    def scalar(self, b, x): return b.popcount(x)


def population_count(x: Any) -> Any: return bind(PopulationCount(), x)


@op_dataclass
class Clz(Elementwise):
    """The number of 0 bits of x above its highest 1."""
    accepts: ClassVar[str] = "iu"

    def eval(self, x):
        bits = x.astype(f"u{x.dtype.itemsize}").astype(np.uint64)
        used = sum(((bits >> np.uint64(i)) != 0).astype(int) for i in range(8 * x.dtype.itemsize))
        return np.asarray(8 * x.dtype.itemsize - used).astype(x.dtype)


def clz(x: Any) -> Any: return bind(Clz(), x)


def mulhi(x: Any, y: Any, /) -> Any:
    """The upper half of the double-width product of integers x and y.

    >>> print(mulhi(np.uint8(200), np.uint8(100)))  # 20000 = 78 * 256 + 32
    78
    """
    x, y = operands(x, y)
    dtype = type_of(x).dtype
    if dtype.kind not in "iu":
        raise DtypeError(f"mulhi: operands must be integers, not {dtype}", source=user_source())
    if dtype.itemsize == 8:
        return _mulhi64(x, y, dtype)
    wide, bits = np.dtype(f"{dtype.kind}8"), 8 * dtype.itemsize
    shift = shift_right_arithmetic if dtype.kind == "i" else shift_right_logical
    with config.setting(enable_x64=True):  # also where a program's inputs are truncated
        product = mul(convert_element_type(x, wide), convert_element_type(y, wide))
        return convert_element_type(shift(product, bits), dtype)


def _mulhi64(x, y, dtype: np.dtype):
    """Schoolbook multiplication in 32-bit digits (Knuth 4.3.1); the upper digit of x and y carries the sign."""
    high = lambda v: (shift_right_arithmetic if dtype.kind == "i" else shift_right_logical)(v, 32)
    low = lambda v: bitwise_and(v, 0xFFFFFFFF)
    carry = shift_right_logical(mul(low(x), low(y)), 32)
    first = add(mul(high(x), low(y)), carry)
    second = add(mul(low(x), high(y)), low(first))
    return add(mul(high(x), high(y)), add(high(first), high(second)))

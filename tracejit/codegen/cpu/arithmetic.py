"""Typed arithmetic, comparison and bit operations -> the few operations that a back end prints, chosen by the dtype.

Those are `binary`, `test`, `choose`, `negated`, `cast` and `intrinsic`, by LLVM's names: see `instructions.py`.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .value import (BOOL, F32, F64, U16, AnyValue, ComplexValue, Value, bits_dtype, is_float, is_half, is_integer,
                    is_signed)

_COMPARE = {  # name: (float, signed, unsigned)
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"), "lt": ("olt", "slt", "ult"),
    "le": ("ole", "sle", "ule"), "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge"),
}
_INT_IDENTITY = {"add": 0, "sub": 0, "mul": 1, "or": 0, "xor": 0}


def _fold_int(op: str, x: Value, y: Value) -> int | None:
    """The result of an integer operation on literals (unwrapped), or None."""
    if x.const is None or y.const is None:
        return None
    a, b = int(x.const), int(y.const)
    return {"add": a + b, "sub": a - b, "mul": a * b, "and": a & b, "or": a | b, "xor": a ^ b}.get(op)


class Arithmetic:
    """Operations on one or more Values of one dtype; scalars are splat, Python numbers lifted.

    f16 and bf16 are computed in f32 and rounded after every operation; complex is spelled
    out on the parts (in `Complex`).
    """

    # ---- plumbing ----

    def _integer(self, op: str, x: Value, y: Value) -> Value:
        folded = _fold_int(op, x, y)
        if folded is not None:
            return self.const(folded, x.dtype, x.lanes)
        identity = _INT_IDENTITY.get(op)
        if y.const is not None and y.const == identity:
            return x
        if x.const is not None and x.const == identity and op != "sub":
            return y
        if op in ("mul", "and") and 0 in (x.const, y.const):
            return self.const(0, x.dtype, x.lanes)
        return self.binary(op, x, y)

    def _fold_float(self, op: str, x: Value, y: Value) -> Value | None:
        if x.const is None or y.const is None:
            return None
        ufunc = {"fadd": np.add, "fsub": np.subtract, "fmul": np.multiply, "fdiv": np.divide}[op]
        with np.errstate(all="ignore"):
            folded = ufunc(np.asarray(x.const, x.dtype), np.asarray(y.const, x.dtype))
        return self.const(folded, x.dtype, x.lanes)

    def widened(self, operation, *xs: Value) -> Value:
        """`operation` on half-precision operands: in f32, its result rounded back."""
        out = operation(*[self.convert(x, F32) for x in xs])
        return self.convert(out, xs[0].dtype)

    def _arith(self, name: str, integer_op: str, bool_op: str | None, x: Any, y: Any) -> AnyValue:
        x, y = self.match(x, y)
        if isinstance(x, ComplexValue):
            return getattr(self, f"complex_{name}")(x, y)
        if is_half(x.dtype):
            return self.widened(getattr(self, name), x, y)
        if is_float(x.dtype):
            return self._fold_float(f"f{name}", x, y) or self.binary(f"f{name}", x, y)
        if x.dtype == BOOL:
            if bool_op is None:
                raise TypeError(f"{name} is not defined for bool")
            return self.binary(bool_op, x, y)
        return self._integer(integer_op, x, y)

    # ---- arithmetic ----

    def add(self, x: Any, y: Any) -> AnyValue:
        return self._arith("add", "add", "or", x, y)

    def sub(self, x: Any, y: Any) -> AnyValue:
        return self._arith("sub", "sub", "xor", x, y)

    def mul(self, x: Any, y: Any) -> AnyValue:
        return self._arith("mul", "mul", "and", x, y)

    def div(self, x: Any, y: Any) -> AnyValue:
        """x / y; integers truncate, with x/0 = -1 (all bits set) and INT_MIN/-1 = INT_MIN."""
        x, y = self.match(x, y)
        if not is_integer(x.dtype):
            return self._arith("div", "", None, x, y)
        quotient, safe, _ = self._quotient(x, y)
        zero = self.eq(y, 0)
        out = self.select(zero, self.const(-1, x.dtype, x.lanes), quotient)
        return out if safe is y else self._negate_where_minus_one(out, x, y)

    def rem(self, x: Any, y: Any) -> AnyValue:
        """The remainder with the sign of x (C's % and fmod); integers: x % 0 = x."""
        x, y = self.match(x, y)
        if is_half(x.dtype):
            return self.widened(self.rem, x, y)
        if is_float(x.dtype):
            return self._float_rem(x, y)
        quotient, safe, _ = self._quotient(x, y)
        left = self.sub(x, self.mul(quotient, safe))
        out = self.select(self.eq(y, 0), x, left)
        if safe is y or not is_signed(x.dtype):
            return out
        return self.select(self.eq(y, -1), self.const(0, x.dtype, x.lanes), out)

    def _negate_where_minus_one(self, out: Value, x: Value, y: Value) -> Value:
        return self.select(self.eq(y, -1), self.neg(x), out) if is_signed(x.dtype) else out

    def _quotient(self, x: Value, y: Value) -> tuple[Value, Value, None]:
        """x / y where y is neither 0 nor -1, and the divisor really used: those trap on x86."""
        op = "sdiv" if is_signed(x.dtype) else "udiv"
        if y.const not in (None, 0, -1):
            return self.binary(op, x, y), y, None
        bad = self.eq(y, 0)
        if is_signed(x.dtype):
            bad = self.or_(bad, self.eq(y, -1))
        safe = self.select(bad, self.const(1, x.dtype, x.lanes), y)
        if x.lanes == 1 or x.dtype.itemsize == 8:
            return self.binary(op, x, safe), safe, None
        # No vector integer division exists; the quotient of two w-bit integers is exact
        # after truncation when computed with at least 2w + 1 ... here 53 > 32, 24 > 16 bits.
        wide = F64 if x.dtype.itemsize == 4 else F32
        ratio = self.binary("fdiv", self.convert(x, wide), self.convert(safe, wide))
        return self.cast("fptosi" if is_signed(x.dtype) else "fptoui", ratio, x.dtype), safe, None

    def _float_rem(self, x: Value, y: Value) -> Value:
        """fmod by exact partial remainders, as many vector steps as the largest quotient needs.

        x - RN(x/y) * y is exactly representable, so each fma step is exact and takes a
        significand's worth of bits off the quotient.
        """
        if x.dtype == F32:  # in f64 no quotient of f32 numbers overflows
            return self.convert(self._float_rem(self.convert(x, F64), self.convert(y, F64)), F32)
        top, bottom = self.abs(x), self.abs(y)
        inf = self.const(np.inf, F64, x.lanes)
        invalid = self.or_(self.not_(self.lt(top, inf)), self.not_(self.gt(bottom, 0.0)))
        invalid = self.or_(invalid, self.ne(y, y))
        start = self.select(invalid, self.const(0.0, F64, x.lanes), top)

        def more(carry):
            return self.any(self.ge(self.abs(carry[0]), bottom))

        (left,) = self.while_loop([start], more, lambda carry: [self._rem_step(carry[0], bottom)])
        left = self.select(self.lt(left, 0.0), self.add(left, bottom), left)
        out = self.copysign(left, x)
        return self.select(invalid, self.const(np.nan, F64, x.lanes), out)

    def _rem_step(self, left: Value, bottom: Value) -> Value:
        """A smaller number, of either sign, that equals left modulo bottom."""
        size = self.abs(left)
        modulus, ratio = bottom, self.div(size, bottom)
        for _ in range(2):  # a quotient can be as large as 2**2098
            # Where it overflows, a multiple of the (then small) modulus stands in for it.
            huge = self.not_(self.lt(ratio, np.inf))
            modulus = self.select(huge, self.mul(modulus, 2.0**600), modulus)
            ratio = self.div(size, modulus)
        ratio = self.select(self.lt(ratio, 2.0**53), self.floor(ratio), ratio)
        rest = self.copysign(1.0, left)
        rest = self.mul(self.fma(self.neg(ratio), modulus, size), rest)
        return self.select(self.ge(size, bottom), rest, left)  # 0 * inf in lanes that are done

    def fma(self, x: Any, y: Any, z: Any) -> Value:
        """x * y + z rounded once."""
        x, y, z = self.match(x, y, z)
        if is_half(x.dtype):
            return self.widened(self.fma, x, y, z)
        if not is_float(x.dtype):
            return self.add(self.mul(x, y), z)
        if self.isa.has_fma or x.dtype == F64:
            return self.intrinsic("fma", x, y, z)
        return self._fma32_by_double(x, y, z)

    def _fma32_by_double(self, x: Value, y: Value, z: Value) -> Value:
        """The product is exact in f64; the sum is rounded to odd there, hence once in f32."""
        p = self.binary("fmul", self.convert(x, F64), self.convert(y, F64))
        z = self.convert(z, F64)
        total = self.binary("fadd", p, z)
        back = self.binary("fsub", total, p)
        error = self.binary(
            "fadd", self.binary("fsub", p, self.binary("fsub", total, back)), self.binary("fsub", z, back)
        )
        return self.convert(self.round_to_odd(total, error), F32)

    def round_to_odd(self, total: Value, error: Value) -> Value:
        """`total` truncated toward zero, last bit set, where the exact value is total + error != total.

        A value rounded to odd may be rounded again, to a shorter format, without a double
        rounding (Boldo and Melquiond, 2008). `error` may be of any float dtype.
        """
        int_type = bits_dtype(total.dtype)
        bits = self.bitcast(total, int_type)
        inexact = self.and_(self.ne(error, 0.0), self.and_(self.is_finite(total), self.eq(error, error)))
        inward = self.and_(inexact, self.ne(self.lt(error, 0.0), self.lt(bits, 0)))
        moved = self.sub(bits, self.convert(inward, int_type))
        return self.bitcast(self.or_(moved, self.convert(inexact, int_type)), total.dtype)

    def mad(self, x: Any, y: Any, z: Any) -> AnyValue:
        """x * y + z, fused where that is the fast way: for polynomials and sums of products, whose error allows either."""
        x, y, z = self.match(x, y, z)
        if isinstance(x, ComplexValue):
            return self.complex_mad(x, y, z)
        if self.isa.has_fma:
            return self.fma(x, y, z)
        return self.add(self.mul(x, y), z)

    def neg(self, x: AnyValue) -> AnyValue:
        if isinstance(x, ComplexValue):
            return ComplexValue(self.neg(x.re), self.neg(x.im))
        if is_half(x.dtype):
            return self._bitwise_half("xor", x, 0x8000)
        if is_float(x.dtype):
            if x.const is not None:
                return self.const(-x.const, x.dtype, x.lanes)
            return self.negated(x)
        return self._integer("sub", self.const(0, x.dtype, x.lanes), x)

    def _bitwise_half(self, op: str, x: Value, mask: int) -> Value:
        bits = self.binary(op, self.renamed(x, U16), self.const(mask, U16, x.lanes))
        return self.renamed(bits, x.dtype)

    def abs(self, x: AnyValue) -> Value:
        """|x|; of a complex number its modulus (real), of INT_MIN INT_MIN."""
        if isinstance(x, ComplexValue):
            return self.complex_abs(x)
        if is_half(x.dtype):
            return self._bitwise_half("and", x, 0x7FFF)
        if is_float(x.dtype):
            return self.intrinsic("fabs", x)
        return self.intrinsic("abs", x, "i1 false") if is_signed(x.dtype) else x

    def sign(self, x: AnyValue) -> AnyValue:
        """-1, 0 or 1; nan and signed zeros stay; of a complex number x / |x|."""
        if isinstance(x, ComplexValue):
            return self.complex_sign(x)
        if is_half(x.dtype):
            return self.widened(self.sign, x)
        if not is_float(x.dtype) and not is_signed(x.dtype):
            return self.convert(self.ne(x, 0), x.dtype)
        if is_signed(x.dtype):
            return self.sub(self.convert(self.gt(x, 0), x.dtype), self.convert(self.lt(x, 0), x.dtype))
        one = self.copysign(self.const(1.0, x.dtype, x.lanes), x)
        return self.select(self.test("fcmp one", x, self.const(0.0, x.dtype, x.lanes)), one, x)

    def copysign(self, x: Any, y: Any) -> Value:
        """|x| with the sign bit of y."""
        x, y = self.match(x, y)
        if is_half(x.dtype):
            magnitude, sign = self._bitwise_half("and", x, 0x7FFF), self._bitwise_half("and", y, 0x8000)
            return self.binary("or", magnitude, sign)
        return self.intrinsic("copysign", x, y)

    def _unary_float(self, name: str, stem: str, x: Value) -> Value:
        if is_half(x.dtype):
            return self.widened(getattr(self, name), x)
        return self.intrinsic(stem, x) if is_float(x.dtype) else x

    def floor(self, x: Value) -> Value:
        if is_float(x.dtype) and not is_half(x.dtype) and not self.isa.has_rounding:
            near = self.rint(x)
            one, zero = self.const(1.0, x.dtype, x.lanes), self.const(0.0, x.dtype, x.lanes)
            return self.sub(near, self.select(self.gt(near, x), one, zero))
        return self._unary_float("floor", "floor", x)

    def ceil(self, x: Value) -> Value:
        if is_float(x.dtype) and not self.isa.has_rounding:
            return self.neg(self.floor(self.neg(x)))
        return self._unary_float("ceil", "ceil", x)

    def trunc(self, x: Value) -> Value:
        """Toward zero."""
        if is_float(x.dtype) and not self.isa.has_rounding:
            return self.copysign(self.floor(self.abs(x)), x)
        return self._unary_float("trunc", "trunc", x)

    def rint(self, x: Value) -> Value:
        """To the nearest integer, ties to even."""
        if is_float(x.dtype) and not is_half(x.dtype) and not self.isa.has_rounding:
            # Added to it, a large power of two rounds x; without an instruction for it LLVM calls libm.
            size, large = self.abs(x), 2.0**23 if x.dtype == F32 else 2.0**52
            near = self.copysign(self.sub(self.add(size, large), large), x)
            return self.select(self.lt(size, large), near, x)
        return self._unary_float("rint", "rint", x)

    def round_away(self, x: Value) -> Value:
        """To the nearest integer, ties away from zero."""
        return self._unary_float("round_away", "round", x)

    def sqrt(self, x: AnyValue) -> AnyValue:
        if isinstance(x, ComplexValue):
            return self.complex_sqrt(x)
        return self._unary_float("sqrt", "sqrt", x)

    def rsqrt(self, x: AnyValue) -> AnyValue:
        if isinstance(x, ComplexValue):
            return self.complex_div(self.const(1.0, x.dtype, x.lanes), self.complex_sqrt(x))
        if is_half(x.dtype):
            return self.widened(self.rsqrt, x)
        return self.div(self.const(1.0, x.dtype, x.lanes), self.sqrt(x))

    # ---- order ----

    def max(self, x: Any, y: Any) -> AnyValue:
        """The larger; nan if either is; max(-0, 0) = 0; complex by (re, im)."""
        return self._extreme("max", "ge", *self.match(x, y))

    def min(self, x: Any, y: Any) -> AnyValue:
        """The smaller; nan if either is; min(-0, 0) = -0; complex by (re, im)."""
        return self._extreme("min", "le", *self.match(x, y))

    def _extreme(self, name: str, compare: str, x: AnyValue, y: AnyValue) -> AnyValue:
        if isinstance(x, ComplexValue):
            return self.complex_extreme(name, x, y)
        if is_half(x.dtype):
            return self.widened(getattr(self, name), x, y)
        if x.dtype == BOOL:
            return self.or_(x, y) if name == "max" else self.and_(x, y)
        if not is_float(x.dtype):
            return self.intrinsic(("s" if is_signed(x.dtype) else "u") + name, x, y)
        if x.const is not None:
            x, y = y, x
        if y.const is not None and y.const == y.const:
            return self._extreme_with_literal(name, x, y)
        return self.intrinsic(f"{name}imum", x, y)

    def _extreme_with_literal(self, name: str, x: Value, y: Value) -> Value:
        """MAXPS and MINPS return their second operand when either is nan or both are zeros: with the
        literal first they keep nan, and all but one kind of zero, in one instruction."""
        out = self.select(self._compare("gt" if name == "max" else "lt", y, x), y, x)
        if y.const != 0 or np.signbit(y.const) == (name == "max"):
            return out
        # The zero wanted is that of the literal: -0 + 0 is 0, and 0 loses against -0 by the sign bit.
        return self.binary("fadd", out, y) if name == "max" else self.intrinsic("minimum", x, y)

    def _compare(self, name: str, x: Any, y: Any) -> Value:
        x, y = self.match(x, y)
        if isinstance(x, ComplexValue):
            return self.complex_compare(name, x, y)
        if is_half(x.dtype):
            x, y = self.convert(x, F32), self.convert(y, F32)
        kinds = _COMPARE[name]
        if is_float(x.dtype):
            return self.test(f"fcmp {kinds[0]}", x, y)
        return self.test(f"icmp {kinds[1] if is_signed(x.dtype) else kinds[2]}", x, y)

    def eq(self, x: Any, y: Any) -> Value:
        return self._compare("eq", x, y)

    def ne(self, x: Any, y: Any) -> Value:
        """x != y; true if either is nan."""
        return self._compare("ne", x, y)

    def lt(self, x: Any, y: Any) -> Value:
        return self._compare("lt", x, y)

    def le(self, x: Any, y: Any) -> Value:
        return self._compare("le", x, y)

    def gt(self, x: Any, y: Any) -> Value:
        return self._compare("gt", x, y)

    def ge(self, x: Any, y: Any) -> Value:
        return self._compare("ge", x, y)

    def select(self, cond: Value, x: Any, y: Any) -> AnyValue:
        """x where cond, else y, lane by lane (a scalar cond chooses for all lanes)."""
        x, y = self.match(x, y)
        if isinstance(x, ComplexValue):
            return ComplexValue(self.select(cond, x.re, y.re), self.select(cond, x.im, y.im))
        if cond.const is not None:
            return self.splat(x if cond.const else y, max(cond.lanes, x.lanes))
        if cond.lanes > 1:
            x, y = self.splat(x, cond.lanes), self.splat(y, cond.lanes)
        return x if x.name == y.name else self.choose(cond, x, y)

    def is_finite(self, x: AnyValue) -> Value:
        if isinstance(x, ComplexValue):
            return self.and_(self.is_finite(x.re), self.is_finite(x.im))
        if not is_float(x.dtype):
            return self.const(True, BOOL, x.lanes)
        return self.lt(self.abs(x), np.inf)

    def nextafter(self, x: Any, y: Any) -> Value:
        """The neighbour of x toward y."""
        x, y = self.match(x, y)
        bits = bits_dtype(x.dtype)
        ix, size = self.bitcast(x, bits), x.dtype.itemsize * 8
        away = self.eq(self.gt(y, x), self.gt(x, 0.0))
        step = self.select(away, self.const(1, bits, x.lanes), self.const(-1, bits, x.lanes))
        moved = self.bitcast(self.add(ix, step), x.dtype)
        tiny = self.bitcast(self.or_(self.and_(self.bitcast(y, bits), -1 << (size - 1)), 1), x.dtype)
        out = self.select(self.eq(x, 0.0), tiny, moved)
        nan = self.or_(self.ne(x, x), self.ne(y, y))
        out = self.select(nan, self.const(np.nan, x.dtype, x.lanes), out)
        return self.select(self.eq(x, y), y, out)

    # ---- bits ----

    def and_(self, x: Any, y: Any) -> Value:
        return self._integer("and", *self.match(x, y))

    def or_(self, x: Any, y: Any) -> Value:
        return self._integer("or", *self.match(x, y))

    def xor(self, x: Any, y: Any) -> Value:
        return self._integer("xor", *self.match(x, y))

    def not_(self, x: Value) -> Value:
        return self._integer("xor", x, self.const(True if x.dtype == BOOL else -1, x.dtype, x.lanes))

    def _shift(self, op: str, x: Any, y: Any, beyond: str) -> Value:
        x, y = self.match(x, y)
        bits = x.dtype.itemsize * 8
        if y.const is not None and 0 <= y.const < bits:
            return self.binary(op, x, y) if y.const else x
        inside = self.test("icmp ult", y, self.const(bits, x.dtype, x.lanes))
        if beyond == "sign":
            return self.binary(op, x, self.select(inside, y, self.const(bits - 1, x.dtype, x.lanes)))
        count = self.select(inside, y, self.const(0, x.dtype, x.lanes))
        return self.select(inside, self.binary(op, x, count), self.const(0, x.dtype, x.lanes))

    def shl(self, x: Any, y: Any) -> Value:
        """x << y; 0 when y is not below the width."""
        return self._shift("shl", x, y, "zero")

    def shr_arith(self, x: Any, y: Any) -> Value:
        """x >> y filling with the sign; all sign when y is not below the width."""
        return self._shift("ashr", x, y, "sign")

    def shr_logical(self, x: Any, y: Any) -> Value:
        """x >> y filling with zeros; 0 when y is not below the width."""
        return self._shift("lshr", x, y, "zero")

    def popcount(self, x: Value) -> Value:
        return self.intrinsic("ctpop", x)

    def clz(self, x: Value) -> Value:
        """The number of leading zero bits (the width for 0)."""
        return self.intrinsic("ctlz", x, "i1 false")

    # ---- across lanes ----

    def any(self, mask: Value) -> Value:
        """Is any lane of a bool true? (scalar bool)"""
        if mask.lanes == 1:
            return mask
        return self.lane_test("ne", 0, mask)

    def all(self, mask: Value) -> Value:
        """Are all lanes of a bool true? (scalar bool)"""
        if mask.lanes == 1:
            return mask
        return self.lane_test("eq", -1, mask)

    def reduce(self, kind: str, x: AnyValue) -> AnyValue:
        """One scalar from all lanes; kind is add mul min max and or xor; always the same halving tree."""
        combine = getattr(self, {"and": "and_", "or": "or_"}.get(kind, kind))
        while x.lanes > 1:
            half = x.lanes // 2
            x = combine(self.shuffle(x, None, range(half)), self.shuffle(x, None, range(half, x.lanes)))
        return x

"""Every pair of dtypes -> the instructions that convert or reinterpret one as the other."""
from __future__ import annotations

import functools
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tracejit.ir.types import NARROW

from .value import (
    BF16, BOOL, F16, F32, F64, U8, U16, U32, AnyValue, ComplexValue, Value, bits_dtype, is_complex,
    is_float, is_half, is_integer, is_nibble, is_signed, real_dtype, scalar_text, type_text,
)


class Form(NamedTuple):
    """How an 8-bit float is made: a sign, an exponent and a mantissa, and which bits (without the sign) mean what."""
    mantissa: int           # bits
    bias: int               # of the exponent
    largest: int            # the largest finite number
    infinity: int | None
    nan: int                # 0x80 is that of the forms that have no negative zero

    @property
    def beyond(self) -> int:
        """What larger numbers become."""
        return self.nan if self.infinity is None else self.infinity

    @staticmethod
    @functools.cache
    def of(dtype: np.dtype) -> Form:
        info = ml_dtypes.finfo(dtype)
        code = lambda x: int(np.asarray(x, dtype).view(np.uint8))
        has_infinity = bool(np.isinf(np.asarray(np.inf, dtype).astype(np.float32)))
        return Form(info.nmant, 1 - info.minexp, code(info.max), code(np.inf) if has_infinity else None, code(np.nan))


class Conversion:
    """`convert` changes the dtype and keeps the value; `bitcast` keeps the bits."""

    def convert(self, x: AnyValue, dtype: np.dtype) -> AnyValue:
        """x as `dtype`: floats to integers truncate and saturate (nan is 0), to bool is x != 0,
        complex to real drops the imaginary part, everything else rounds to nearest even."""
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        if is_nibble(x.dtype):
            return self.convert(self.unpacked(x), dtype)
        if dtype == BOOL:
            return self.nonzero(x)
        if is_complex(dtype):
            part = real_dtype(dtype)
            im = x.im if isinstance(x, ComplexValue) else self.const(0, self.part_dtype(x), x.lanes)
            return ComplexValue(self.convert(self.real(x), part), self.convert(im, part))
        x = self.real(x)
        if x.dtype == dtype:
            return x
        if is_nibble(dtype):
            return self.packed(x, dtype)
        return self._convert_real(x, dtype)

    # ---- integers of 2 and 4 bits: a byte, whose upper bits mean nothing ----

    def unpacked(self, x: Value) -> Value:
        """x as an 8-bit integer."""
        wide = NARROW[x.dtype]
        if x.const is not None:
            return self.const(x.const, wide, x.lanes)
        shift = 8 - ml_dtypes.iinfo(x.dtype).bits
        shifted = self.shl(self.renamed(x, wide), shift)
        return (self.shr_arith if is_signed(wide) else self.shr_logical)(shifted, shift)

    def packed(self, x: Value, dtype: np.dtype) -> Value:
        """A number as such an integer: integers wrap, floats saturate."""
        info = ml_dtypes.iinfo(dtype)
        if is_float(x.dtype):
            x = self.convert(x, F32)
            x = self.max(self.min(x, float(info.max)), float(info.min))
        x = self.convert(x, NARROW[dtype])
        if x.const is not None:
            return self.const(x.const, dtype, x.lanes)
        return self.renamed(self.unpacked(self.renamed(x, dtype)), dtype)

    def _convert_real(self, x: Value, dtype: np.dtype) -> Value:
        if x.const is not None and (is_float(dtype) or not is_float(x.dtype)):
            return self.const(x.const, dtype, x.lanes)
        if x.dtype == BOOL:
            return self.select(x, self.const(1, dtype, x.lanes), self.const(0, dtype, x.lanes))
        if is_integer(x.dtype):
            return self._int_to_int(x, dtype) if is_integer(dtype) else self._int_to_float(x, dtype)
        if is_integer(dtype):
            return self._float_to_int(x, dtype)
        return self._float_to_float(x, dtype)

    def _int_to_int(self, x: Value, dtype: np.dtype) -> Value:
        if dtype.itemsize == x.dtype.itemsize:
            return self.renamed(x, dtype)
        if dtype.itemsize < x.dtype.itemsize:
            return self.cast("trunc", x, dtype)
        return self.cast("sext" if is_signed(x.dtype) else "zext", x, dtype)

    def _int_to_float(self, x: Value, dtype: np.dtype) -> Value:
        op = "sitofp" if is_signed(x.dtype) else "uitofp"
        if not is_half(dtype):
            return self.cast(op, x, dtype)
        if x.dtype.itemsize <= 2 or dtype == F16:  # exact in f32, or beyond f16 anyway
            return self._float_to_float(self.cast(op, x, F32), dtype)
        if x.dtype.itemsize == 8:
            x = self._fold_low_bits(x)
        return self._float_to_float(self.cast(op, x, F64), dtype)

    def _fold_low_bits(self, x: Value) -> Value:
        """A 64-bit integer beyond 2**53 with its low bits or-ed into one, so that f64 holds it exactly
        and a later rounding sees on which side of a tie it lies."""
        sticky = self.convert(self.ne(self.and_(x, 0x7FF), 0), x.dtype)
        folded = self.or_(self.and_(x, ~0xFFF), self.shl(self.or_(self.and_(self.shr_logical(x, 11), 1), sticky), 11))
        size = self.abs(x)
        # abs of INT64_MIN is negative, and a power of two either way.
        return self.select(self.gt(size, 1 << 53), folded, x)

    def _float_to_int(self, x: Value, dtype: np.dtype) -> Value:
        if is_half(x.dtype):
            x = self._float_to_float(x, F32)
        return self.saturated("fptosi" if is_signed(dtype) else "fptoui", x, dtype)

    def _float_to_float(self, x: Value, dtype: np.dtype) -> Value:
        if is_half(x.dtype):
            wide = (self._f16_to_f32 if x.dtype == F16 else self._bf16_to_f32 if x.dtype == BF16 else self._f8_to_f32)(x)
            return wide if dtype == F32 else self._float_to_float(wide, dtype)
        if not is_half(dtype):
            return self.cast("fpext" if dtype == F64 else "fptrunc", x, dtype)
        if x.dtype == F64:
            near = self.cast("fptrunc", x, F32)
            x = self.round_to_odd(near, self.binary("fsub", x, self.cast("fpext", near, F64)))
        if dtype in NARROW:
            return self._f32_to_f8(x, dtype)
        return self._f32_to_f16(x) if dtype == F16 else self._f32_to_bf16(x)

    # ---- 8-bit floats ----

    def _f8_to_f32(self, x: Value) -> Value:
        form = Form.of(x.dtype)
        bits = self.cast("zext", self.renamed(x, U8), U32)
        size = self.and_(bits, 0x7F)
        normal = self.bitcast(self.add(self.shl(size, 23 - form.mantissa), (127 - form.bias) << 23), F32)
        tiny = self.mul(self.cast("uitofp", size, F32), 2.0 ** (1 - form.bias - form.mantissa))
        out = self.bitcast(self.select(self.lt(size, 1 << form.mantissa), tiny, normal), U32)
        if form.infinity is not None:
            out = self.select(self.ge(size, form.infinity), self.or_(0x7F800000, self.shl(self.and_(size, form.infinity - 1 & 0x7F),
                                                                                       23 - form.mantissa)), out)
        out = self.select(self.eq(bits if form.nan == 0x80 else size, form.nan), 0x7FC00000, out) if form.infinity is None else out
        return self.bitcast(self.or_(out, self.shl(self.and_(bits, 0x80), 24)), F32)

    def _f32_to_f8(self, x: Value, dtype: np.dtype) -> Value:
        form = Form.of(dtype)
        bits = self.bitcast(x, U32)
        size = self.and_(bits, 0x7FFFFFFF)
        drop = 23 - form.mantissa
        odd = self.and_(self.shr_logical(size, drop), 1)
        rounded = self.add(size, self.add(odd, (1 << (drop - 1)) - 1))
        normal = self.sub(self.shr_logical(rounded, drop), (127 - form.bias) << form.mantissa)
        scaled = self.mul(self.bitcast(size, F32), 2.0 ** (form.bias - 1 + form.mantissa))
        tiny = self.and_(self.bitcast(self.add(scaled, 2.0**23), U32), 0x7FFFFF)     # rounded where the last bit is 1
        out = self.select(self.lt(size, (128 - form.bias) << 23), tiny, normal)
        out = self.select(self.gt(out, form.largest), form.beyond, out)
        out = self.select(self.gt(size, 0x7F800000), form.nan, out)
        sign = self.shl(self.shr_logical(bits, 31), 7)
        if form.nan == 0x80:    # there is no negative zero, and nan has its place
            sign = self.select(self.eq(self.and_(out, 0x7F), 0), 0, sign)
        return self.renamed(self.cast("trunc", self.or_(out, sign), U8), dtype)

    # ---- bfloat16: the upper half of an f32 ----

    def _bf16_to_f32(self, x: Value) -> Value:
        bits = self.cast("zext", self.renamed(x, U16), U32)
        return self.bitcast(self.shl(bits, 16), F32)

    def _f32_to_bf16(self, x: Value) -> Value:
        bits = self.bitcast(x, U32)
        odd = self.and_(self.shr_logical(bits, 16), 1)
        rounded = self.add(bits, self.add(odd, 0x7FFF))
        quiet = self.or_(bits, 0x400000)  # rounding could carry a nan into infinity
        kept = self.shr_logical(self.select(self.ne(x, x), quiet, rounded), 16)
        return self.renamed(self.cast("trunc", kept, U16), BF16)

    # ---- float16 ----

    def _half_text(self, lanes: int) -> str:
        return "half" if lanes == 1 else f"<{lanes} x half>"

    def _f16_to_f32(self, x: Value) -> Value:
        if not self.isa.has_half_convert:
            return self._f16_to_f32_by_bits(x)
        half = self.pure(f"bitcast {x.text} to {self._half_text(x.lanes)}", F16, x.lanes)
        return self.pure(f"fpext {self._half_text(x.lanes)} {half.name} to {type_text(F32, x.lanes)}", F32, x.lanes)

    def _f32_to_f16(self, x: Value) -> Value:
        if not self.isa.has_half_convert:
            return self._f32_to_f16_by_bits(x)
        half = self.pure(f"fptrunc {x.text} to {self._half_text(x.lanes)}", F16, x.lanes)
        return self.pure(f"bitcast {self._half_text(x.lanes)} {half.name} to {type_text(F16, x.lanes)}", F16, x.lanes)

    def _f16_to_f32_by_bits(self, x: Value) -> Value:
        """Rebias the exponent; denormals are renormalised by a float subtraction (Giesen's method)."""
        bits = self.cast("zext", self.renamed(x, U16), U32)
        magnitude = self.shl(self.and_(bits, 0x7FFF), 13)
        exponent = self.and_(magnitude, 0x7C00 << 13)
        normal = self.add(magnitude, (127 - 15) << 23)
        special = self.add(normal, (128 - 16) << 23)
        tiny = self.binary("fsub", self.bitcast(self.add(normal, 1 << 23), F32), self.const(2.0**-14, F32, x.lanes))
        out = self.select(self.eq(exponent, 0x7C00 << 13), special, normal)
        out = self.select(self.eq(exponent, 0), self.bitcast(tiny, U32), out)
        return self.bitcast(self.or_(out, self.shl(self.and_(bits, 0x8000), 16)), F32)

    def _f32_to_f16_by_bits(self, x: Value) -> Value:
        bits = self.bitcast(x, U32)
        sign = self.and_(bits, 0x80000000)
        size = self.xor(bits, sign)
        magic = ((127 - 15) + (23 - 10) + 1) << 23
        shifted = self.binary("fadd", self.bitcast(size, F32), self.bitcast(self.const(magic, U32, x.lanes), F32))
        tiny = self.sub(self.bitcast(shifted, U32), magic)
        odd = self.and_(self.shr_logical(size, 13), 1)
        normal = self.shr_logical(self.add(self.add(size, (((15 - 127) << 23) + 0xFFF) & 0xFFFFFFFF), odd), 13)
        out = self.select(self.lt(size, 113 << 23), tiny, normal)
        beyond = self.add(self.shl(self.convert(self.gt(size, 255 << 23), U32), 9), 0x7C00)  # nan or inf
        out = self.select(self.ge(size, (127 + 16) << 23), beyond, out)
        out = self.or_(out, self.shr_logical(sign, 16))
        return self.renamed(self.cast("trunc", out, U16), F16)

    # ---- bits ----

    def bitcast(self, x: Value, dtype: np.dtype) -> Value:
        """The bits of x read as another dtype of the same width."""
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        if x.dtype.itemsize != dtype.itemsize or BOOL in (x.dtype, dtype):
            raise TypeError(f"cannot bitcast {x.dtype} to {dtype}")
        if x.const is not None:
            with np.errstate(all="ignore"):
                return self.const(np.asarray(x.const, x.dtype).view(dtype), dtype, x.lanes)
        if scalar_text(x.dtype) == scalar_text(dtype):
            return self.renamed(x, dtype)
        return self.cast("bitcast", x, dtype)

    def to_bits(self, x: Value) -> Value:
        """The signed integer with the bits of x."""
        return self.bitcast(x, bits_dtype(x.dtype))

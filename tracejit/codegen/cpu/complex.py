"""Complex arithmetic -> operations on the real and imaginary parts."""
from __future__ import annotations

from typing import Any

import numpy as np

from .value import BOOL, C64, F32, F64, AnyValue, ComplexValue, Value, is_complex, real_dtype

_HUGE, _TINY = 2.0**1000, 2.0**-900  # outside them squares in f64 lose digits


class Complex:
    """What the operations of `Arithmetic` mean for a ComplexValue."""

    def complex(self, re: Any, im: Any) -> ComplexValue:
        """re + i im of two real values of one dtype."""
        return ComplexValue(*self.match(re, im))

    def real(self, x: AnyValue) -> Value:
        return x.re if isinstance(x, ComplexValue) else x

    def imag(self, x: AnyValue) -> Value:
        return x.im if isinstance(x, ComplexValue) else self.const(0, x.dtype, x.lanes)

    def conj(self, x: AnyValue) -> AnyValue:
        return ComplexValue(x.re, self.neg(x.im)) if isinstance(x, ComplexValue) else x

    def complex_add(self, x: ComplexValue, y: ComplexValue) -> ComplexValue:
        return ComplexValue(self.add(x.re, y.re), self.add(x.im, y.im))

    def complex_sub(self, x: ComplexValue, y: ComplexValue) -> ComplexValue:
        return ComplexValue(self.sub(x.re, y.re), self.sub(x.im, y.im))

    def complex_mul(self, x: ComplexValue, y: ComplexValue) -> ComplexValue:
        re = self.sub(self.mul(x.re, y.re), self.mul(x.im, y.im))
        return ComplexValue(re, self.add(self.mul(x.re, y.im), self.mul(x.im, y.re)))

    def complex_mad(self, x: ComplexValue, y: ComplexValue, z: ComplexValue) -> ComplexValue:
        re = self.mad(x.re, y.re, self.mad(self.neg(x.im), y.im, z.re))
        return ComplexValue(re, self.mad(x.re, y.im, self.mad(x.im, y.re, z.im)))

    def complex_div(self, x: ComplexValue, y: ComplexValue) -> ComplexValue:
        """Smith's method (1962): scaled by the larger part of y, so that squares cannot overflow."""
        wide = self.ge(self.abs(y.re), self.abs(y.im))
        major, minor = self.select(wide, y.re, y.im), self.select(wide, y.im, y.re)
        ratio = self.select(self.eq(major, 0.0), major, self.div(minor, major))
        scale = self.add(major, self.mul(minor, ratio))
        # Along the larger part: (a + b r) / d and (b - a r) / d; else (a r + b) / d and (b r - a) / d.
        first, second = self.select(wide, x.re, x.im), self.select(wide, x.im, x.re)
        re = self.div(self.add(first, self.mul(second, ratio)), scale)
        im = self.div(self.sub(second, self.mul(first, ratio)), scale)
        return ComplexValue(re, self.select(wide, im, self.neg(im)))

    def scale_real(self, x: ComplexValue, factor: Value) -> ComplexValue:
        """Both parts times a real."""
        return ComplexValue(self.mul(x.re, factor), self.mul(x.im, factor))

    def _range_scale(self, x: ComplexValue) -> tuple[ComplexValue, Value, Value]:
        """x times a power of four that makes its squares safe, that power's inverse and square root."""
        top = self.max(self.abs(x.re), self.abs(x.im))
        huge, tiny = self.gt(top, _HUGE), self.lt(top, _TINY)

        def choose(when_huge: float, when_tiny: float) -> Value:
            one = self.const(1.0, F64, top.lanes)
            return self.select(huge, when_huge, self.select(tiny, when_tiny, one))

        up = choose(2.0**-600, 2.0**600)
        return self.scale_real(x, up), choose(2.0**600, 2.0**-600), choose(2.0**300, 2.0**-300)

    def complex_abs(self, x: ComplexValue) -> Value:
        """The modulus; inf if either part is infinite."""
        if x.dtype == C64:
            wide = self.convert(x, np.complex128)
            square = self.add(self.mul(wide.re, wide.re), self.mul(wide.im, wide.im))
            return self._inf_beats_nan(x, self.convert(self.sqrt(square), F32))
        scaled, down, _ = self._range_scale(x)
        square = self.mad(scaled.re, scaled.re, self.mul(scaled.im, scaled.im))
        return self._inf_beats_nan(x, self.mul(self.sqrt(square), down))

    def _inf_beats_nan(self, x: ComplexValue, out: Value) -> Value:
        infinite = self.or_(self.eq(self.abs(x.re), np.inf), self.eq(self.abs(x.im), np.inf))
        return self.select(infinite, np.inf, out) if out.const is None else out

    def complex_sign(self, x: ComplexValue) -> ComplexValue:
        """x / |x|; towards the part that is infinite, if one is."""
        size, infinite = self.complex_abs(x), [self.eq(self.abs(part), np.inf) for part in (x.re, x.im)]
        zero, one_is = self.eq(size, 0.0), self.xor(*infinite)

        def part_of_unit(part: Value, infinite: Value) -> Value:
            axis = self.select(infinite, self.copysign(self.const(1.0, part.dtype, part.lanes), part), 0.0)
            return self.select(zero, 0.0, self.select(one_is, axis, self.div(part, size)))
        return ComplexValue(part_of_unit(x.re, infinite[0]), part_of_unit(x.im, infinite[1]))

    def complex_sqrt(self, x: ComplexValue) -> ComplexValue:
        """The principal root, by the half-angle formula without cancellation."""
        if x.dtype == C64:
            return self.convert(self.complex_sqrt(self.convert(x, np.complex128)), np.complex64)
        scaled, _, root = self._range_scale(x)
        size = self.sqrt(self.mad(scaled.re, scaled.re, self.mul(scaled.im, scaled.im)))
        major = self.sqrt(self.mul(self.add(self.abs(scaled.re), size), 0.5))
        minor = self.div(self.abs(scaled.im), self.mul(major, 2.0))
        zero = self.eq(major, 0.0)
        minor = self.select(zero, 0.0, minor)
        right = self.not_(self.bitcast_sign(x.re))
        re = self.mul(self.select(right, major, minor), root)
        im = self.copysign(self.mul(self.select(right, minor, major), root), x.im)
        return self._sqrt_at_infinity(x, re, im)

    def _sqrt_at_infinity(self, x: ComplexValue, re: Value, im: Value) -> ComplexValue:
        inf = self.const(np.inf, re.dtype, re.lanes)
        re_inf, im_inf = self.eq(self.abs(x.re), inf), self.eq(self.abs(x.im), inf)
        right = self.gt(x.re, 0.0)
        finite_im = self.is_finite(x.im)
        zero = self.const(0.0, re.dtype, re.lanes)
        at_re = self.select(right, inf, self.select(finite_im, zero, x.im))
        at_im = self.copysign(self.select(right, self.select(finite_im, zero, x.im), inf), x.im)
        re, im = self.select(re_inf, at_re, re), self.select(re_inf, at_im, im)
        return ComplexValue(self.select(im_inf, inf, re), self.select(im_inf, x.im, im))

    def bitcast_sign(self, x: Value) -> Value:
        """Is the sign bit of a real float set? (true for -0)"""
        return self.lt(self.bitcast(x, np.dtype(f"i{x.dtype.itemsize}")), 0)

    def complex_compare(self, name: str, x: ComplexValue, y: ComplexValue) -> Value:
        """Equality of both parts; order by the real part, then by the imaginary."""
        if name == "eq":
            return self.and_(self.eq(x.re, y.re), self.eq(x.im, y.im))
        if name == "ne":
            return self.or_(self.ne(x.re, y.re), self.ne(x.im, y.im))
        strict = "lt" if name in ("lt", "le") else "gt"
        tie = self.and_(self.eq(x.re, y.re), self._compare(name, x.im, y.im))
        return self.or_(self._compare(strict, x.re, y.re), tie)

    def complex_extreme(self, name: str, x: ComplexValue, y: ComplexValue) -> ComplexValue:
        def is_nan(z: ComplexValue) -> Value:
            return self.or_(self.ne(z.re, z.re), self.ne(z.im, z.im))

        first = self.or_(self.complex_compare("ge" if name == "max" else "le", x, y), is_nan(x))
        return self.select(self.and_(first, self.not_(self.and_(is_nan(y), self.not_(is_nan(x))))), x, y)

    def zero_like(self, x: AnyValue) -> AnyValue:
        return self.const(0, x.dtype, x.lanes)

    def part_dtype(self, x: AnyValue) -> np.dtype:
        return real_dtype(x.dtype) if is_complex(x.dtype) else x.dtype

    def nonzero(self, x: AnyValue) -> Value:
        """Is x != 0? (a bool as it is)"""
        return x if x.dtype == BOOL else self.ne(x, 0)

"""Elementwise primitives: arithmetic, elementary functions, comparisons, bits, selection, conversion."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.ir.graph import Lit
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, canonicalize_dtype, real_dtype, type_of
from tracejit.lax.kinds import Elementwise, is_linear, op_dataclass


def operands(*xs: Any) -> list:
    """Values as operands of one op: Python scalars take the dtype of the arrays beside them."""
    types = [type_of(x) for x in xs]
    arrays = [t for t in types if not t.weak_type]
    if not arrays or all(t.dtype == arrays[0].dtype for t in types):
        return list(xs)
    return [Lit(x, ArrayType((), arrays[0].dtype)) if isinstance(x, (bool, int, float, complex)) else x for x in xs]


@op_dataclass
class Neg(Elementwise):
    """-x."""
    linear: ClassVar[bool] = True

    def eval(self, x): return np.negative(x)
    def transpose(self, ctx, ct, x): return (neg(ct),)


def neg(x): return bind(Neg(), x)


@op_dataclass
class Add(Elementwise):
    """x + y."""

    def eval(self, x, y): return np.add(x, y)
    def partials(self, out, x, y): return 1, 1
    def transpose(self, ctx, ct, x, y): return ctx.unbroadcast(ct, x), ctx.unbroadcast(ct, y)


def add(x, y): return bind(Add(), *operands(x, y))


@op_dataclass
class Sub(Elementwise):
    """x - y."""

    def eval(self, x, y): return np.subtract(x, y)
    def partials(self, out, x, y): return 1, -1
    def transpose(self, ctx, ct, x, y): return ctx.unbroadcast(ct, x), ctx.unbroadcast(neg(ct), y)


def sub(x, y): return bind(Sub(), *operands(x, y))


@op_dataclass
class Mul(Elementwise):
    """x * y."""

    def eval(self, x, y): return np.multiply(x, y)
    def partials(self, out, x, y): return y, x

    def transpose(self, ctx, ct, x, y):
        if is_linear(x):
            return ctx.unbroadcast(mul(ct, y), x), None
        return None, ctx.unbroadcast(mul(x, ct), y)


def mul(x, y): return bind(Mul(), *operands(x, y))


@op_dataclass
class Exp(Elementwise):
    """e to the power x."""

    def eval(self, x): return np.exp(x)
    def partials(self, out, x): return (out,)


def exp(x): return bind(Exp(), x)


@op_dataclass
class Sin(Elementwise):
    """Sine of x in radians."""

    def eval(self, x): return np.sin(x)
    def partials(self, out, x): return (cos(x),)


def sin(x): return bind(Sin(), x)


@op_dataclass
class Cos(Elementwise):
    """Cosine of x in radians."""

    def eval(self, x): return np.cos(x)
    def partials(self, out, x): return (neg(sin(x)),)


def cos(x): return bind(Cos(), x)


@op_dataclass
class ConvertElementType(Elementwise):
    """x as another dtype, rounded or truncated as NumPy's astype does."""
    dtype: np.dtype
    weak: bool = False
    linear: ClassVar[bool] = True

    def infer(self, x): return ArrayType(x.shape, self.dtype, self.weak)
    def eval(self, x): return np.asarray(x).astype(self.dtype)
    def scalar(self, b, x): return b.convert(x, self.dtype)
    def transpose(self, ctx, ct, x): return (convert_element_type(ct, x.dtype),)


def convert_element_type(operand, new_dtype):
    dtype = canonicalize_dtype(new_dtype)
    if type_of(operand) is ArrayType(type_of(operand).shape, dtype):
        return operand
    return bind(ConvertElementType(dtype), operand)

"""Arithmetic on real and complex numbers, element by element: sums, products, powers, roots, rounding, extremes."""
from __future__ import annotations

import builtins
import enum
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import complex_dtype, is_inexact, is_integer, real_dtype, type_of
from tracejit.lax.compare import eq, ge, gt, lt, select
from tracejit.lax.convert import convert_element_type as convert_element_type
from tracejit.lax.convert import of_one_dtype, operands
from tracejit.lax.kinds import Elementwise, has_tangent, is_linear, op_dataclass
from tracejit.lax.reference import in_f32, is_half


@op_dataclass
class Number(Elementwise):
    """Operands are numbers, not booleans."""
    accepts: ClassVar[str] = "iufc"


@op_dataclass
class Inexact(Elementwise):
    """Operands are real or complex floating-point numbers."""
    accepts: ClassVar[str] = "fc"
    makes_nan: ClassVar[bool] = True


@op_dataclass
class Float(Elementwise):
    """Operands are real floating-point numbers."""
    accepts: ClassVar[str] = "f"
    makes_nan: ClassVar[bool] = True


@op_dataclass
class Neg(Number):
    """-x."""
    linear: ClassVar[bool] = True

    def bounds(self, types, x): return -x[1], -x[0]
    def eval(self, x): return np.negative(x)
    def transpose(self, ctx, ct, x): return (neg(ct),)


def neg(x: Any) -> Any: return bind(Neg(), x)


@op_dataclass
class Add(Number):
    """x + y."""
    makes_nan: ClassVar[bool] = True

    def bounds(self, types, x, y): return x[0] + y[0], x[1] + y[1]
    def eval(self, x, y): return np.add(x, y)
    def partials(self, out, x, y): return 1, 1
    def transpose(self, ctx, ct, x, y): return ctx.unbroadcast(ct, x), ctx.unbroadcast(ct, y)


def add(x: Any, y: Any) -> Any: return bind(Add(), *operands(x, y))


@op_dataclass
class Sub(Number):
    """x - y."""
    makes_nan: ClassVar[bool] = True

    def bounds(self, types, x, y): return x[0] - y[1], x[1] - y[0]
    def eval(self, x, y): return np.subtract(x, y)
    def partials(self, out, x, y): return 1, -1

    def transpose(self, ctx, ct, x, y):
        return ctx.unbroadcast(ct, x), ctx.unbroadcast(neg(ct), y) if is_linear(y) else None


def sub(x: Any, y: Any) -> Any: return bind(Sub(), *operands(x, y))


@op_dataclass
class Mul(Number):
    """x * y."""
    makes_nan: ClassVar[bool] = True

    def bounds(self, types, x, y):
        corners = [a * b for a in x for b in y]
        return builtins.min(corners), builtins.max(corners)

    def eval(self, x, y): return np.multiply(x, y)
    def partials(self, out, x, y): return y, x

    def transpose(self, ctx, ct, x, y):
        if is_linear(x):
            return ctx.unbroadcast(mul(ct, y), x), None
        return None, ctx.unbroadcast(mul(x, ct), y)


def mul(x: Any, y: Any, *, out_dtype: Any = None) -> Any:
    """x * y; with out_dtype, the product of the operands converted to it."""
    if out_dtype is not None:
        x, y = convert_element_type(x, out_dtype), convert_element_type(y, out_dtype)
    return bind(Mul(), *operands(x, y))


@op_dataclass
class Div(Number):
    """x / y; of integers truncated, with x / 0 = -1 (all bits set)."""
    makes_nan: ClassVar[bool] = True

    def eval(self, x, y): return np.divide(x, y) if is_inexact(x.dtype) else _divided(x, y)

    def checked(self, ctx, args):
        ctx.zero_divisor(args[1])
        return super().checked(ctx, args)

    def jvp(self, ctx, primals, tangents):
        out, (x, y), (tx, ty) = bind(self, *primals), primals, tangents
        if not has_tangent(out):
            return out, None
        terms = [] if tx is None else [bind(self, tx, y)]
        if ty is not None:
            terms.append(mul(mul(neg(ty), x), integer_pow(y, -2)))
        return out, ctx.sum(terms, type_of(out)) if terms else None

    def transpose(self, ctx, ct, x, y): return ctx.unbroadcast(div(ct, y), x), None


def _divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    safe = np.where((y == 0) | (y == -1 if y.dtype.kind == "i" else False), 1, y).astype(y.dtype)
    towards_zero = (x // safe + ((x % safe != 0) & ((x < 0) != (safe < 0)))).astype(x.dtype)
    negated = np.where(y == safe, towards_zero, np.negative(x))
    return np.where(y == 0, ~np.zeros_like(x), negated).astype(x.dtype)


def div(x: Any, y: Any) -> Any: return bind(Div(), *operands(x, y))


@op_dataclass
class Rem(Elementwise):
    """x - y * trunc(x / y), which has the sign of x; of integers x rem 0 = x."""
    makes_nan: ClassVar[bool] = True
    accepts: ClassVar[str] = "iuf"

    def eval(self, x, y):
        return in_f32(np.fmod, x, y) if is_inexact(x.dtype) else np.where(y == 0, x, np.fmod(x, y))

    def bounds(self, types, x, y):
        most = builtins.max(builtins.abs(y[0]), builtins.abs(y[1])) - 1
        below, above = builtins.min(builtins.max(-x[0], 0), most), builtins.min(builtins.max(x[1], 0), most)
        return None if y[0] <= 0 <= y[1] else (-below, above)

    def partials(self, out, x, y): return 1, neg(mul(sign(div(x, y)), floor(abs(div(x, y)))))


def rem(x: Any, y: Any) -> Any: return bind(Rem(), *operands(x, y))


@op_dataclass
class Sign(Number):
    """-1, 0 or 1 (x itself where it is 0 or nan); of a complex number x / |x|."""

    def eval(self, x): return np.copysign(np.sign(x), x) if x.dtype.kind == "f" or is_half(x.dtype) else np.sign(x)


def sign(x: Any) -> Any: return bind(Sign(), x)


@op_dataclass
class Abs(Number):
    """|x|."""
    accepts: ClassVar[str] = "ifc"

    def infer(self, x):
        t = super().infer(x)
        return t.update(dtype=real_dtype(x.dtype))

    def eval(self, x): return np.abs(x)

    def jvp(self, ctx, primals, tangents):
        (x,), (t,), out = primals, tangents, bind(self, *primals)
        if not has_tangent(out):
            return out, None
        if type_of(x).dtype.kind != "c":
            return out, select(ge(x, 0.0), t, neg(t))
        length = select(eq(out, 0.0), 1.0, out)  # the derivative at 0 is taken to be 0
        return out, real(mul(t, div(conj(x), complex(length, 0.0))))


def abs(x: Any) -> Any: return bind(Abs(), x)


@op_dataclass
class Square(Number):
    """x * x."""
    makes_nan: ClassVar[bool] = True

    def eval(self, x): return np.multiply(x, x)
    def scalar(self, b, x): return b.mul(x, x)
    def partials(self, out, x): return (mul(2, x),)


def square(x: Any) -> Any: return bind(Square(), x)


@op_dataclass
class IntegerPow(Number):
    """x to a fixed whole power, by repeated multiplication."""
    makes_nan: ClassVar[bool] = True
    y: int
    ulp: ClassVar[float] = 8

    def infer(self, x):
        if self.y < 0 and not is_inexact(x.dtype):
            raise DtypeError(f"integer_pow: {x} cannot be raised to the negative power {self.y}", source=user_source(),
                             fix="convert to a floating dtype first")
        return super().infer(x)

    def eval(self, x): return in_f32(lambda x: x ** self.y, x)
    def scalar(self, b, x): return b.integer_pow(x, self.y)
    def partials(self, out, x): return (None if self.y == 0 else mul(self.y, integer_pow(x, self.y - 1)),)


def integer_pow(x: Any, y: int) -> Any:
    """x ** y for a Python int y; DtypeError for negative powers of integers.

    >>> print(integer_pow(2.0, -2))
    0.25
    """
    if y == 1:
        return x
    return bind(Square() if y == 2 else IntegerPow(int(y)), x)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    return integer_pow(x, -1)


MOST_ROOTS = 2.5    # a known power of at most this, if twice it is whole, is multiplications and a square root


@op_dataclass
class Pow(Inexact):
    """x to the power y; y may be an integer."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 4

    def result_dtype(self, x, y):
        return super().result_dtype(x, x if is_integer(y) else y)

    def eval(self, x, y):
        if x.dtype.kind != "c":
            return in_f32(np.power, x, y.astype(x.dtype))
        return np.power(x.astype(np.complex128), y).astype(x.dtype)     # in complex64 NumPy loses half the digits of a large one

    def scalar(self, b, x, y):
        y = b.convert(y, x.dtype)
        known = getattr(y, "const", None)
        if known is not None and x.dtype.kind == "f" and x.dtype.itemsize >= 4 and abs(known) <= MOST_ROOTS and 2 * known % 1 == 0:
            return self.by_root(b, x, float(known))
        return b.pow(x, y)

    def by_root(self, b, x, y: float):
        """A small power of which twice is whole, several times as fast: at most three roundings."""
        if y % 1 == 0:
            return b.integer_pow(x, int(y))
        infinite = b.eq(x, -np.inf)     # pow, unlike sqrt, takes it for +inf; and -0 for +0
        x = b.select(infinite, b.const(np.inf, x.dtype), b.add(x, 0))
        whole = int(abs(y) - 0.5)
        power = b.mul(b.integer_pow(x, whole), b.sqrt(x)) if whole else b.sqrt(x)
        return b.div(b.const(1, x.dtype), power) if y < 0 else power

    def partials(self, out, x, y):
        if is_integer(type_of(y).dtype):
            y = convert_element_type(y, type_of(x).dtype)
            safe = select(eq(y, 0.0), 1.0, y)  # x ** 0 is constant, even at x = 0
            return select(eq(y, 0.0), 0.0, mul(y, pow(x, sub(safe, 1.0)))), None
        return mul(y, pow(x, sub(y, 1.0))), mul(log(select(eq(x, 0.0), 1.0, x)), out)


def pow(x: Any, y: Any) -> Any:
    """x ** y of floating x and floating or integer y.

    At x = 0 the derivative with respect to y is taken to be 0.
    """
    if is_integer(type_of(y).dtype) and is_inexact(type_of(x).dtype):
        return bind(Pow(), x, y)
    return bind(Pow(), *operands(x, y))


@op_dataclass
class Log(Inexact):
    """Natural logarithm of x."""
    is_long: ClassVar[bool] = True

    def eval(self, x): return np.log(x)

    def jvp(self, ctx, primals, tangents):
        return bind(self, *primals), div(tangents[0], primals[0])


def log(x: Any, *, accuracy: Any = None) -> Any: return bind(Log(), x)


@op_dataclass
class Sqrt(Inexact):
    """Square root of x."""

    def eval(self, x): return np.sqrt(x)
    def partials(self, out, x): return (div(0.5, out),)


def sqrt(x: Any, *, accuracy: Any = None) -> Any: return bind(Sqrt(), x)


@op_dataclass
class Rsqrt(Inexact):
    """1 / sqrt(x)."""
    ulp: ClassVar[float] = 2

    def eval(self, x): return in_f32(lambda x: 1 / np.sqrt(x), x)
    def partials(self, out, x): return (mul(-0.5, div(out, x)),)


def rsqrt(x: Any, *, accuracy: Any = None) -> Any: return bind(Rsqrt(), x)


@op_dataclass
class Cbrt(Float):
    """Cube root of x."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 2

    def eval(self, x): return np.cbrt(x)
    def partials(self, out, x): return (mul(1 / 3, integer_pow(out, -2)),)


def cbrt(x: Any, *, accuracy: Any = None) -> Any: return bind(Cbrt(), x)


@op_dataclass
class Extreme(Elementwise):
    """The larger or the smaller of two; equal operands share the derivative evenly."""

    def partials(self, out, x, y):
        mine = lambda a, other: select(eq(a, out), select(eq(other, out), 0.5, _one(out)), 0.0)
        return mine(x, y), mine(y, x)


def _one(x): return np.ones((), type_of(x).dtype)


@op_dataclass
class Max(Extreme):
    """The larger of x and y; nan if either is. Complex numbers compare by real, then imaginary part."""

    def bounds(self, types, x, y): return builtins.max(x[0], y[0]), builtins.max(x[1], y[1])
    def eval(self, x, y): return np.maximum(x, y)


def max(x: Any, y: Any) -> Any: return bind(Max(), *operands(x, y))


@op_dataclass
class Min(Extreme):
    """The smaller of x and y; nan if either is. Complex numbers compare by real, then imaginary part."""

    def bounds(self, types, x, y): return builtins.min(x[0], y[0]), builtins.min(x[1], y[1])
    def eval(self, x, y): return np.minimum(x, y)


def min(x: Any, y: Any) -> Any: return bind(Min(), *operands(x, y))


@op_dataclass
class Clamp(Elementwise):
    """x raised to at least lo, then lowered to at most hi."""
    accepts: ClassVar[str] = "biuf"

    def bounds(self, types, lo, x, hi): return tuple(builtins.min(builtins.max(v, a), b) for a, v, b in zip(lo, x, hi))
    def eval(self, lo, x, hi): return np.minimum(np.maximum(x, lo), hi)
    def scalar(self, b, lo, x, hi): return b.min(b.max(x, lo), hi)

    def jvp(self, ctx, primals, tangents):
        out, (lo, x, hi) = bind(self, *primals), primals
        if not has_tangent(out):
            return out, None
        chosen = [lambda: _both(gt(lo, x), lt(lo, hi)), lambda: _both(gt(x, lo), lt(x, hi)), lambda: lt(hi, x)]
        terms = [select(is_chosen(), t, 0.0) for is_chosen, t in zip(chosen, tangents) if t is not None]
        return out, ctx.sum(terms, type_of(out)) if terms else None


def _both(x, y): return select(x, y, False)


def clamp(min: Any, x: Any, max: Any) -> Any:
    """x limited to [min, max], which are zero-dimensional or of x's shape.

    >>> print(clamp(0.0, np.array([-1.0, 0.5, 2.0]), 1.0))
    [0.  0.5 1. ]
    """
    low, x, high = of_one_dtype(min, x, max)
    if type_of(x).dtype.kind == "c":    # ordered by the real parts, then the imaginary ones
        return bind(Min(), bind(Max(), x, low), high)
    return bind(Clamp(), low, x, high)


@op_dataclass
class Floor(Float):
    """The largest whole number that is not above x."""
    makes_nan: ClassVar[bool] = False

    def eval(self, x): return np.floor(x)


def floor(x: Any) -> Any: return bind(Floor(), x)


@op_dataclass
class Ceil(Float):
    """The smallest whole number that is not below x."""
    makes_nan: ClassVar[bool] = False

    def eval(self, x): return np.ceil(x)


def ceil(x: Any) -> Any: return bind(Ceil(), x)


class RoundingMethod(enum.IntEnum):
    """Where `round` takes numbers half-way between two whole ones."""
    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


@op_dataclass
class Round(Float):
    """The whole number nearest to x."""
    makes_nan: ClassVar[bool] = False
    rounding_method: int

    def eval(self, x):
        if self.rounding_method == RoundingMethod.TO_NEAREST_EVEN:
            return np.rint(x)
        whole = np.trunc(x)
        return np.where(np.abs(x - whole) >= 0.5, whole + np.sign(x), whole).astype(x.dtype)

    def scalar(self, b, x):
        return b.rint(x) if self.rounding_method == RoundingMethod.TO_NEAREST_EVEN else b.round_away(x)


def round(x: Any, rounding_method: RoundingMethod = RoundingMethod.AWAY_FROM_ZERO) -> Any:
    """The whole number nearest to x.

    >>> print(round(2.5), round(2.5, RoundingMethod.TO_NEAREST_EVEN))
    3.0 2.0
    """
    return bind(Round(int(RoundingMethod(rounding_method))), x)


@op_dataclass
class Nextafter(Float):
    """The number next to x in the direction of y."""
    makes_nan: ClassVar[bool] = False

    def eval(self, x, y): return np.nextafter(x, y)


def nextafter(x1: Any, x2: Any) -> Any: return bind(Nextafter(), *operands(x1, x2))


# --- complex numbers -------------------------------------------------------------------------------------

@op_dataclass
class Real(Elementwise):
    """The real part of x."""
    accepts: ClassVar[str] = "c"
    linear: ClassVar[bool] = True

    def infer(self, x): return super().infer(x).update(dtype=real_dtype(x.dtype))
    def eval(self, x): return np.real(x)
    def transpose(self, ctx, ct, x): return (complex(ct, 0.0),)


def real(x: Any) -> Any: return bind(Real(), x)


@op_dataclass
class Imag(Elementwise):
    """The imaginary part of x."""
    accepts: ClassVar[str] = "c"
    linear: ClassVar[bool] = True

    def infer(self, x): return super().infer(x).update(dtype=real_dtype(x.dtype))
    def eval(self, x): return np.imag(x)
    def transpose(self, ctx, ct, x): return (complex(0.0, neg(ct)),)


def imag(x: Any) -> Any: return bind(Imag(), x)


@op_dataclass
class Complex(Elementwise):
    """x + i y."""
    accepts: ClassVar[str] = "f"
    linear: ClassVar[bool] = True

    def infer(self, x, y):
        if x.dtype.itemsize < 4:
            raise DtypeError(f"complex: parts must be float32 or float64, not {x.dtype}", source=user_source(),
                             fix="convert both parts first")
        t = super().infer(x, y)
        return t.update(dtype=complex_dtype(t.dtype))

    def eval(self, x, y): return _joined(x, y)

    def transpose(self, ctx, ct, x, y):
        return (ctx.unbroadcast(real(ct), x) if is_linear(x) else None,
                ctx.unbroadcast(neg(imag(ct)), y) if is_linear(y) else None)


def _joined(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), complex_dtype(x.dtype))
    out.real, out.imag = x, y  # x + 1j * y would make nan of an infinite part
    return out


def complex(x: Any, y: Any) -> Any: return bind(Complex(), *operands(x, y))


@op_dataclass
class Conj(Elementwise):
    """The complex conjugate of x; a real x as a complex number."""
    accepts: ClassVar[str] = "fc"
    linear: ClassVar[bool] = True

    def infer(self, x): return super().infer(x).update(dtype=complex_dtype(x.dtype))
    def eval(self, x): return np.conj(x).astype(complex_dtype(x.dtype))
    def scalar(self, b, x): return b.convert(b.conj(x), complex_dtype(x.dtype))
    def transpose(self, ctx, ct, x): return (conj(ct) if x.dtype.kind == "c" else convert_element_type(real(ct), x.dtype),)


def conj(x: Any) -> Any: return bind(Conj(), x)

"""Maps arrays to sums, products, quotients, powers and integer arithmetic, elementwise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import default_dtype, is_float, is_inexact, is_weak, kind_of
from tracejit.numpy import cumulative, reductions
from tracejit.numpy.integer_power import integer_to_integer
from tracejit.numpy.logic import greater, less
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    cast_numpy,
    check_arraylike,
    convert,
    dtype_of,
    literal,
    promote,
    promote_dtypes,
    promote_inexact,
    strong,
)
from tracejit.numpy.ufuncs import binary_ufunc, unary_ufunc
from tracejit.runtime.eager import eager


@binary_ufunc(identity=0, reduce=reductions.sum, accumulate=cumulative.cumsum, at="add")
def add(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x + y; booleans: or.

    >>> jnp.add(jnp.array([1, 2]), 0.5)
    Array([1.5, 2.5], dtype=float32)
    """
    x, y = promote("add", x, y)
    return lax.add(x, y) if kind_of(dtype_of(x)) != "b" else lax.bitwise_or(x, y)


@binary_ufunc(identity=1, reduce=reductions.prod, accumulate=cumulative.cumprod, at="multiply")
def multiply(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x * y; booleans: and.

    >>> jnp.multiply(jnp.array([1, 2]), 3)
    Array([3, 6], dtype=int32)
    """
    x, y = promote("multiply", x, y)
    return lax.mul(x, y) if kind_of(dtype_of(x)) != "b" else lax.bitwise_and(x, y)


@binary_ufunc(at="subtract")
def subtract(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x - y; not defined for booleans.

    >>> jnp.subtract(jnp.array([1, 2]), 3)
    Array([-2, -1], dtype=int32)
    """
    x, y = promote("subtract", x, y)
    if kind_of(dtype_of(x)) == "b":
        raise DtypeError("sub does not accept dtype bool: use jnp.logical_xor, or convert to integers")
    return lax.sub(x, y)


@unary_ufunc
def negative(x: ArrayLike, /) -> Array:
    """-x; unsigned integers wrap around; not defined for booleans.

    >>> jnp.negative(jnp.array([1, -2]))
    Array([-1,  2], dtype=int32)
    """
    check_arraylike("negative", x)
    if kind_of(dtype_of(x)) == "b":
        raise DtypeError("neg does not accept dtype bool: use jnp.logical_not")
    return lax.neg(x)


def _extremum_reduce(reduce):
    def run(a, axis=0, dtype=None, keepdims=False, initial=None, where=None):
        a = a if dtype is None else lax.convert_element_type(a, np.dtype(dtype))
        return reduce(a, axis=axis, keepdims=keepdims, initial=initial, where=where)

    return run


def _running_extremum(scan):
    def run(a, axis=0, dtype=None):
        a = a if dtype is None else lax.convert_element_type(a, np.dtype(dtype))
        return scan(a, axis % a.ndim)

    return run


@binary_ufunc(reduce=_extremum_reduce(reductions.max), accumulate=_running_extremum(lax.cummax), at="max")
def maximum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The larger of x and y; nan if one is nan.

    >>> jnp.maximum(jnp.array([1, 5]), 3)
    Array([3, 5], dtype=int32)
    """
    return lax.max(*promote("maximum", x, y))


@binary_ufunc(reduce=_extremum_reduce(reductions.min), accumulate=_running_extremum(lax.cummin), at="min")
def minimum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The smaller of x and y; nan if one is nan.

    >>> jnp.minimum(jnp.array([1, 5]), 3)
    Array([1, 3], dtype=int32)
    """
    return lax.min(*promote("minimum", x, y))


@eager
def fmax(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The larger of x1 and x2, and the other one where one is nan.

    >>> jnp.fmax(jnp.nan, 2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return _prefer_number(*promote("fmax", x1, x2), greater)


@eager
def fmin(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The smaller of x1 and x2, and the other one where one is nan.

    >>> jnp.fmin(jnp.nan, 2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return _prefer_number(*promote("fmin", x1, x2), less)


def _prefer_number(x: Any, y: Any, better: Any) -> Array:
    x, y = _same_shape(x, y)
    first = better(x, y)
    if is_inexact(dtype_of(x)):
        first = lax.bitwise_or(first, lax.ne(y, y))
    return lax.select(first, x, y)


@eager
def divide(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 / x2; integers give floats.

    >>> jnp.divide(jnp.array([1, 2]), 4)
    Array([0.25, 0.5 ], dtype=float32)
    """
    return lax.div(*promote_inexact("divide", x1, x2))


true_divide = divide


@eager
def floor_divide(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The largest integer not above x1 / x2.

    >>> jnp.floor_divide(jnp.array([7, -7]), 2)
    Array([ 3, -4], dtype=int32)
    """
    divisor = known_divisor(x2)
    x1, x2 = promote("floor_divide", x1, x2)
    dtype = dtype_of(x1)
    if divisor and kind_of(dtype) == "i" and divisor <= np.iinfo(dtype).max:
        if not divisor & (divisor - 1):
            return lax.shift_right_arithmetic(x1, lax.full_like(x1, divisor.bit_length() - 1))
        quotient, below = lax.div(x1, x2), lax.lt(lax.rem(x1, x2), literal(0, dtype))
        return lax.select(below, lax.sub(quotient, 1), quotient)
    if kind_of(dtype) == "b":
        x1, x2, dtype = *(lax.convert_element_type(x, np.dtype("int8")) for x in (x1, x2)), np.dtype("int8")
    if dtype.kind == "c":
        raise DtypeError("floor_divide does not accept complex numbers")
    if kind_of(dtype) == "u":
        return lax.div(x1, x2)
    if kind_of(dtype) == "i":
        x1, x2 = _same_shape(x1, x2)
        quotient = lax.div(x1, x2)
        inexact = lax.bitwise_and(lax.ne(lax.sign(x1), lax.sign(x2)), lax.ne(lax.rem(x1, x2), 0))
        return lax.select(inexact, lax.sub(quotient, 1), quotient)
    return _float_divmod(x1, x2)[0]


def _float_divmod(x1: ArrayLike, x2: ArrayLike) -> tuple[Array, Array]:
    """A zero divisor gives the quotient x1 / x2, infinite or nan, and the remainder nan."""
    x1, x2 = _same_shape(x1, x2)
    zero = literal(0, x1.dtype)
    rest = lax.rem(x1, x2)
    quotient = lax.div(lax.sub(x1, rest), x2)
    wrong_side = lax.bitwise_and(lax.ne(lax.sign(x2), lax.sign(rest)), lax.ne(rest, zero))
    rest = lax.select(wrong_side, lax.add(rest, x2), rest)
    quotient = lax.select(wrong_side, lax.sub(quotient, literal(1, quotient.dtype)), quotient)
    whole, ratio = lax.round(quotient), lax.div(x1, x2)
    whole = lax.select(lax.eq(whole, zero), lax.mul(ratio, zero), whole)    # a zero of the ratio's sign
    return lax.select(lax.eq(x2, zero), ratio, whole), _zero_with_sign_of(x2, rest)


def _zero_with_sign_of(x2: Array, rest: Array) -> Array:
    """A remainder of zero has the divisor's sign, as others have."""
    zero = literal(0, rest.dtype)
    return lax.select(lax.eq(rest, zero), lax.select(lax.lt(x2, zero), lax.neg(zero), zero), rest)


def known_divisor(x: ArrayLike) -> int:
    """A positive integer that is known while tracing; 0 for anything else."""
    return max(int(x), 0) if isinstance(x, (int, np.integer)) and not isinstance(x, bool) else 0


def _same_shape(*args: ArrayLike) -> list[Array]:
    """Promoted operands, all of the full shape."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return [lax.broadcast_in_dim(v, shape, ()) if np.shape(v) != shape else as_array(v) for v in args]


@eager
def remainder(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 modulo x2, with the sign of x2.

    >>> jnp.remainder(jnp.array([7, -7]), 3)
    Array([1, 2], dtype=int32)
    """
    divisor = known_divisor(x2)
    x1, x2 = promote("remainder", x1, x2)
    dtype = dtype_of(x1)
    if divisor and kind_of(dtype) == "i" and divisor <= np.iinfo(dtype).max:
        if not divisor & (divisor - 1):
            return lax.bitwise_and(x1, lax.full_like(x1, divisor - 1))
        rest = lax.rem(x1, x2)
        return lax.select(lax.lt(rest, literal(0, dtype)), lax.add(rest, x2), rest)
    if kind_of(dtype) == "b":
        x1, x2, dtype = *(lax.convert_element_type(x, np.dtype("int8")) for x in (x1, x2)), np.dtype("int8")
    x1, x2 = _same_shape(x1, x2)
    zero = literal(0, x1.dtype)
    rest = lax.rem(x1, x2)
    if kind_of(dtype) in "iu":
        rest = lax.select(lax.eq(x2, zero), lax.full_like(rest, 0), rest)
    if kind_of(dtype) == "u":
        return rest
    wrong_side = lax.bitwise_and(lax.ne(lax.lt(rest, zero), lax.lt(x2, zero)), lax.ne(rest, zero))
    rest = lax.select(wrong_side, lax.add(rest, x2), rest)
    return rest if kind_of(dtype) == "i" else _zero_with_sign_of(x2, rest)


mod = remainder


@eager
def fmod(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The remainder of the division towards zero: it has the sign of x1. That of integers by 0 is 0.

    >>> jnp.fmod(jnp.array([7, -7]), 3)
    Array([ 1, -1], dtype=int32)
    """
    x1, x2 = promote("fmod", x1, x2)
    if kind_of(dtype_of(x1)) not in "iu":
        return lax.rem(x1, x2)
    x1, x2 = _same_shape(x1, x2)
    return lax.rem(x1, lax.select(lax.eq(x2, literal(0, x2.dtype)), lax.full_like(x2, 1), x2))


@eager
def divmod(x1: ArrayLike, x2: ArrayLike, /) -> tuple[Array, Array]:
    """(floor_divide, remainder).

    >>> jnp.divmod(jnp.array([7]), 2)
    (Array([3], dtype=int32), Array([1], dtype=int32))
    """
    x1, x2 = promote("divmod", x1, x2)
    if is_float(dtype_of(x1)):
        return _float_divmod(x1, x2)
    return floor_divide(x1, x2), remainder(x1, x2)


def power(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 to the power x2. An integer to a negative Python integer is a TypeError; use float_power.

    >>> jnp.power(jnp.array([2, 3]), 2), jnp.power(2.0, jnp.array([1, -1]))
    (Array([4, 9], dtype=int32), Array([2. , 0.5], dtype=float32))
    """
    check_arraylike("power", x1, x2)
    if isinstance(x2, (int, np.integer)) and not isinstance(x2, bool) and kind_of(dtype_of(x1)) != "b":
        if x2 < 0 and kind_of(dtype_of(x1)) in "iu":
            raise DtypeError(
                f"Integers cannot be raised to negative powers, got exponent {x2}",
                fix="use jnp.float_power, or a floating-point base",
            )
        x1 = x1 if type(x2) is int else promote_dtypes("power", x1, x2)[0]
        return _to_integer(int(x2))(x1)
    return _to_array(x1, x2)


@functools.lru_cache(maxsize=1024)
def _to_integer(exponent: int) -> Callable:
    """x to a known power: by multiplication."""
    return eager(lambda x: lax.integer_pow(x, exponent))


@eager
def _to_array(x1: ArrayLike, x2: ArrayLike) -> Array:
    whole_exponent = kind_of(dtype_of(x2)) in "iu" and not is_weak(x2)
    if whole_exponent and is_inexact(dtype_of(x1)) and not is_weak(x1):
        x2 = convert(x2, dtype_of(x1))  # no promotion: the base says the dtype
    x1, x2 = promote("power", x1, x2)
    if kind_of(dtype_of(x1)) == "b":
        x1, x2 = (lax.convert_element_type(x, default_dtype("i")) for x in (x1, x2))
    if kind_of(dtype_of(x1)) in "iu":
        return integer_to_integer(x1, x2)
    return lax.pow(strong(x1) if whole_exponent else x1, x2)


pow = power


@eager
def float_power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x to the power y in floating point.

    >>> jnp.float_power(2, -1)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return lax.pow(*promote_inexact("float_power", x, y))


@eager
def reciprocal(x: ArrayLike, /) -> Array:
    """1 / x.

    >>> jnp.reciprocal(jnp.array([2.0, 4.0]))
    Array([0.5 , 0.25], dtype=float32)
    """
    (x,) = promote_inexact("reciprocal", x)
    return lax.div(literal(1, dtype_of(x)), x)


@eager
def positive(x: ArrayLike, /) -> Array:
    """+x.

    >>> jnp.positive(jnp.array([1, -2]))
    Array([ 1, -2], dtype=int32)
    """
    check_arraylike("positive", x)
    return as_array(x)


@eager
def absolute(x: ArrayLike, /) -> Array:
    """The absolute value; of a complex number, its modulus.

    >>> jnp.absolute(jnp.array([-3, 2]))
    Array([3, 2], dtype=int32)
    """
    check_arraylike("absolute", x)
    return lax.abs(x) if dtype_of(x).kind not in "bu" else as_array(x)


abs = absolute


@eager
def fabs(x: ArrayLike, /) -> Array:
    """The absolute value as a float; not defined for complex numbers.

    >>> jnp.fabs(jnp.array([-3, 2]))
    Array([3., 2.], dtype=float32)
    """
    check_arraylike("fabs", x)
    if dtype_of(x).kind == "c":
        raise DtypeError("ufunc 'fabs' does not support complex dtypes")
    return lax.abs(promote_inexact("fabs", x)[0])


@eager
def sign(x: ArrayLike, /) -> Array:
    """-1, 0 or 1; nan stays nan; a complex number is divided by its modulus.

    >>> jnp.sign(jnp.array([-3, 0, 2]))
    Array([-1,  0,  1], dtype=int32)
    """
    check_arraylike("sign", x)
    if kind_of(dtype_of(x)) == "b":
        raise DtypeError("sign does not accept dtype bool")
    return lax.sign(x)


@eager
def square(x: ArrayLike, /) -> Array:
    """x * x.

    >>> jnp.square(jnp.array([-3, 2]))
    Array([9, 4], dtype=int32)
    """
    check_arraylike("square", x)
    return lax.square(x if kind_of(dtype_of(x)) != "b" else convert(x, default_dtype("i")))


@eager
def gcd(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The greatest common divisor of integers, by Euclid's algorithm.

    >>> jnp.gcd(jnp.array([12, 7]), 18)
    Array([6, 1], dtype=int32)
    """
    x1, x2 = _integers("gcd", x1, x2)
    zero = cast_numpy(0, x1.dtype)

    def step(state: tuple) -> tuple:
        a, b = state
        done = lax.eq(b, zero)
        return lax.select(done, a, b), lax.select(done, b, lax.rem(a, lax.select(done, lax.full_like(b, 1), b)))

    found, _ = lax.while_loop(
        lambda s: lax.reduce_or(lax.ne(s[1], zero), tuple(range(x1.ndim))), step, (absolute(x1), absolute(x2))
    )
    return absolute(found)  # the least integer has no absolute value: remainders by it may be negative


@eager
def lcm(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The least common multiple of integers.

    >>> jnp.lcm(jnp.array([4, 6]), 10)
    Array([20, 30], dtype=int32)
    """
    x1, x2 = _integers("lcm", x1, x2)
    divisor = gcd(x1, x2)
    none = lax.eq(divisor, cast_numpy(0, x1.dtype))
    safe = lax.select(none, lax.full_like(divisor, 1), divisor)
    return lax.mul(absolute(x1), lax.div(absolute(x2), safe))


def _integers(name: str, x1: ArrayLike, x2: ArrayLike) -> tuple[Array, Array]:
    x1, x2 = promote(name, x1, x2)
    if kind_of(dtype_of(x1)) not in "iu":
        raise ValueError(f"Arguments to jax.numpy.{name} must be integers.")
    return tuple(_same_shape(x1, x2))

"""Maps arrays to truth values: comparisons, logical and bitwise operations, tests of floats, closeness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import ExtendedDType, is_float, kind_of
from tracejit.numpy import reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import imag, real
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    broadcast_operands,
    cast_numpy,
    check_arraylike,
    check_no_out,
    convert,
    dtype_of,
    promote,
    promote_inexact,
    types_of,
    check_promotion,
)
from tracejit.numpy.ufuncs import binary_ufunc
from tracejit.runtime.eager import eager

BOOL = np.dtype(bool)


# --- comparisons -------------------------------------------------------------------------------------


def _compare(name: str, x: ArrayLike, y: ArrayLike, op: Callable, strict: Callable | None = None) -> Array:
    """op of the promoted arguments; complex numbers compare by real part, then imaginary part."""
    x, y = promote(name, x, y)
    if strict is None or dtype_of(x).kind != "c":
        return op(x, y)
    rx, ry, ix, iy = real(x), real(y), imag(x), imag(y)
    return lax.select(lax.eq(rx, ry), op(ix, iy), strict(rx, ry))


@eager
def equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x == y, elementwise.

    >>> jnp.equal(jnp.array([1, 2]), 2)
    Array([False,  True], dtype=bool)
    """
    return _compare("equal", x, y, lax.eq)


@eager
def not_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x != y, elementwise.

    >>> jnp.not_equal(jnp.array([1, 2]), 2)
    Array([ True, False], dtype=bool)
    """
    return _compare("not_equal", x, y, lax.ne)


@eager
def less(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x < y, elementwise.

    >>> jnp.less(jnp.array([1, 2]), 2)
    Array([ True, False], dtype=bool)
    """
    return _compare("less", x, y, lax.lt, lax.lt)


@eager
def less_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x <= y, elementwise.

    >>> jnp.less_equal(jnp.array([1, 3]), 2)
    Array([ True, False], dtype=bool)
    """
    return _compare("less_equal", x, y, lax.le, lax.lt)


@eager
def greater(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x > y, elementwise.

    >>> jnp.greater(jnp.array([1, 3]), 2)
    Array([False,  True], dtype=bool)
    """
    return _compare("greater", x, y, lax.gt, lax.gt)


@eager
def greater_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x >= y, elementwise.

    >>> jnp.greater_equal(jnp.array([1, 3]), 2)
    Array([False,  True], dtype=bool)
    """
    return _compare("greater_equal", x, y, lax.ge, lax.gt)


# --- logical -----------------------------------------------------------------------------------------


def to_bool(name: str, x: ArrayLike) -> Array:
    check_arraylike(name, x)
    x = as_array(x)
    return x if kind_of(x.dtype) == "b" else lax.ne(x, cast_numpy(0, x.dtype))


def _logical(name: str, op: Callable, x: ArrayLike, y: ArrayLike) -> Array:
    check_promotion(name, types_of(name, (x, y)))
    return op(*broadcast_operands(name, [to_bool(name, x), to_bool(name, y)]))


def _logical_reduce(reduce: Callable) -> Callable:
    def run(
        a: ArrayLike, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = None
    ):
        out = reduce(a, axis=axis, keepdims=keepdims, where=where)
        return out if dtype is None else lax.convert_element_type(out, np.dtype(dtype))

    return run


@binary_ufunc(identity=True, reduce=_logical_reduce(reductions.all))
def logical_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether both are nonzero.

    >>> jnp.logical_and(jnp.array([1, 0]), True)
    Array([ True, False], dtype=bool)
    """
    return _logical("logical_and", lax.bitwise_and, x, y)


@binary_ufunc(identity=False, reduce=_logical_reduce(reductions.any))
def logical_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether one is nonzero.

    >>> jnp.logical_or(jnp.array([1, 0]), False)
    Array([ True, False], dtype=bool)
    """
    return _logical("logical_or", lax.bitwise_or, x, y)


@binary_ufunc(identity=False)
def logical_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether exactly one is nonzero.

    >>> jnp.logical_xor(jnp.array([1, 0]), True)
    Array([False,  True], dtype=bool)
    """
    return _logical("logical_xor", lax.bitwise_xor, x, y)


@eager
def logical_not(x: ArrayLike, /) -> Array:
    """Whether x is zero.

    >>> jnp.logical_not(jnp.array([1, 0]))
    Array([False,  True], dtype=bool)
    """
    return lax.bitwise_not(to_bool("logical_not", x))


# --- bitwise -----------------------------------------------------------------------------------------


def _bits(name: str, x: ArrayLike, y: ArrayLike, kinds: str = "biu") -> list:
    x, y = promote(name, x, y)
    if kind_of(dtype_of(x)) not in kinds:
        raise DtypeError(
            f"{name} does not accept dtype {dtype_of(x)}: only integers" + " and booleans" * ("b" in kinds)
        )
    return [x, y]


def _bitwise_reduce(op: Callable, identity: int) -> Callable:
    def run(
        a: ArrayLike, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = None
    ):
        x = as_array(a) if dtype is None else lax.convert_element_type(a, np.dtype(dtype))
        fill = cast_numpy(identity, x.dtype) if kind_of(x.dtype) != "b" else bool(identity)
        x = reductions.masked(x, where, fill)
        axes = reductions.canonical_axes(axis, x.ndim)
        out = reductions.keep_axes(op(x, axes), axes, keepdims)
        return out

    return run


@binary_ufunc(identity=-1, reduce=_bitwise_reduce(lax.reduce_and, -1))
def bitwise_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in both.

    >>> jnp.bitwise_and(jnp.array([6, 5]), 3)
    Array([2, 1], dtype=int32)
    """
    return lax.bitwise_and(*_bits("bitwise_and", x, y))


@binary_ufunc(identity=0, reduce=_bitwise_reduce(lax.reduce_or, 0))
def bitwise_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in one or both.

    >>> jnp.bitwise_or(jnp.array([6, 5]), 3)
    Array([7, 7], dtype=int32)
    """
    return lax.bitwise_or(*_bits("bitwise_or", x, y))


@binary_ufunc(identity=0, reduce=_bitwise_reduce(lax.reduce_xor, 0))
def bitwise_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The bits that are set in exactly one.

    >>> jnp.bitwise_xor(jnp.array([6, 5]), 3)
    Array([5, 6], dtype=int32)
    """
    return lax.bitwise_xor(*_bits("bitwise_xor", x, y))


@eager
def bitwise_not(x: ArrayLike, /) -> Array:
    """All bits flipped; booleans: not.

    >>> jnp.bitwise_not(jnp.array([0, 5]))
    Array([-1, -6], dtype=int32)
    """
    check_arraylike("bitwise_not", x)
    if kind_of(dtype_of(x)) not in "biu":
        raise DtypeError(f"bitwise_not does not accept dtype {dtype_of(x)}: only integers and booleans")
    return lax.bitwise_not(x)


invert = bitwise_invert = bitwise_not


@eager
def left_shift(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x * 2 ** y in bits; 0 where y is not below the width.

    >>> jnp.left_shift(jnp.array([1, 3]), 2)
    Array([ 4, 12], dtype=int32)
    """
    return lax.shift_left(*_bits("left_shift", x, y, "iu"))


bitwise_left_shift = left_shift


@eager
def right_shift(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 // 2 ** x2: signed integers keep their sign.

    >>> jnp.right_shift(jnp.array([8, -8]), 2)
    Array([ 2, -2], dtype=int32)
    """
    x1, x2 = _bits("right_shift", x1, x2, "iu")
    return (lax.shift_right_logical if kind_of(dtype_of(x1)) == "u" else lax.shift_right_arithmetic)(x1, x2)


bitwise_right_shift = right_shift


@eager
def bitwise_count(x: ArrayLike, /) -> Array:
    """How many bits of |x| are set, as uint8.

    >>> jnp.bitwise_count(jnp.array([7, -8]))
    Array([3, 1], dtype=uint8)
    """
    check_arraylike("bitwise_count", x)
    if kind_of(dtype_of(x)) not in "biu":
        raise DtypeError(f"bitwise_count does not accept dtype {dtype_of(x)}: only integers")
    x = as_array(x)
    x = lax.convert_element_type(x, np.dtype("uint8")) if kind_of(x.dtype) == "b" else x
    return lax.convert_element_type(lax.population_count(lax.abs(x) if kind_of(x.dtype) == "i" else x), np.dtype("uint8"))


# --- tests of floats ---------------------------------------------------------------------------------


@eager
def isnan(x: ArrayLike, /) -> Array:
    """Where x is not a number.

    >>> jnp.isnan(jnp.array([jnp.nan, 1.0]))
    Array([ True, False], dtype=bool)
    """
    check_arraylike("isnan", x)
    return lax.ne(x, x)


@eager
def isfinite(x: ArrayLike, /) -> Array:
    """Where x is neither infinite nor nan.

    >>> jnp.isfinite(jnp.array([jnp.inf, 1.0]))
    Array([False,  True], dtype=bool)
    """
    check_arraylike("isfinite", x)
    x = as_array(x)
    if is_float(x.dtype):
        return lax.is_finite(x)
    if x.dtype.kind == "c":
        return lax.bitwise_and(lax.is_finite(lax.real(x)), lax.is_finite(lax.imag(x)))
    return lax.full_like(x, True, BOOL)


@eager
def isinf(x: ArrayLike, /) -> Array:
    """Where x is infinite.

    >>> jnp.isinf(jnp.array([jnp.inf, 1.0]))
    Array([ True, False], dtype=bool)
    """
    check_arraylike("isinf", x)
    x = as_array(x)
    if is_float(x.dtype):
        return lax.eq(lax.abs(x), cast_numpy(np.inf, x.dtype))
    if x.dtype.kind == "c":
        return lax.bitwise_or(isinf(lax.real(x)), isinf(lax.imag(x)))
    return lax.full_like(x, False, BOOL)


def _is_infinity(name: str, x: ArrayLike, infinity: float) -> Array:
    check_arraylike(name, x)
    x = as_array(x)
    if x.dtype.kind == "c":
        raise ValueError(f"{name} is not well defined for complex inputs: infinity has no single sign")
    return lax.eq(x, cast_numpy(infinity, x.dtype)) if is_float(x.dtype) else lax.full_like(x, False, BOOL)


@compiled
def isposinf(x: ArrayLike, /, out: None = None) -> Array:
    """Where x is +inf.

    >>> jnp.isposinf(jnp.array([jnp.inf, -jnp.inf]))
    Array([ True, False], dtype=bool)
    """
    check_no_out("isposinf", out)
    return _is_infinity("isposinf", x, np.inf)


@compiled
def isneginf(x: ArrayLike, /, out: None = None) -> Array:
    """Where x is -inf.

    >>> jnp.isneginf(jnp.array([jnp.inf, -jnp.inf]))
    Array([False,  True], dtype=bool)
    """
    check_no_out("isneginf", out)
    return _is_infinity("isneginf", x, -np.inf)


# --- closeness ---------------------------------------------------------------------------------------


@compiled
def isclose(
    a: ArrayLike, b: ArrayLike, rtol: ArrayLike = 1e-05, atol: ArrayLike = 1e-08, equal_nan: bool = False
) -> Array:
    """|a - b| <= atol + rtol * |b|, elementwise; equal infinities are close.

    >>> jnp.isclose(jnp.array([1.0, 2.0]), 1.000001)
    Array([ True, False], dtype=bool)
    """
    if isinstance(getattr(a, "dtype", None), ExtendedDType):
        return lax.eq(a, b)
    a, b = promote_inexact("isclose", a, b)
    dtype = np.dtype(f"f{dtype_of(a).itemsize // 2}") if dtype_of(a).kind == "c" else dtype_of(a)
    rtol, atol = convert(rtol, dtype), convert(atol, dtype)
    close = lax.le(lax.abs(lax.sub(a, b)), lax.add(atol, lax.mul(rtol, lax.abs(b))))
    both_finite = lax.bitwise_and(isfinite(a), isfinite(b))
    same = lax.eq(a, b)
    if equal_nan:
        same = lax.bitwise_or(same, lax.bitwise_and(isnan(a), isnan(b)))
    return lax.bitwise_or(lax.bitwise_and(both_finite, close), same)


@compiled
def allclose(
    a: ArrayLike, b: ArrayLike, rtol: ArrayLike = 1e-05, atol: ArrayLike = 1e-08, equal_nan: bool = False
) -> Array:
    """Whether all elements are close, as `isclose` has it.

    >>> jnp.allclose(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.000001]))
    Array(True, dtype=bool)
    """
    return reductions.all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Array:
    """Whether two arrays have the same shape and elements.

    >>> jnp.array_equal(jnp.array([1, 2]), jnp.array([1, 2]))
    Array(True, dtype=bool)
    """
    try:
        a1, a2 = _as_arrays(a1, a2)
    except (TypeError, ValueError):
        return as_array(np.array(False))
    if a1.shape != a2.shape:
        return as_array(np.array(False))
    same = equal(a1, a2)
    if equal_nan:
        same = lax.bitwise_or(same, lax.bitwise_and(isnan(a1), isnan(a2)))
    return reductions.all(same)


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array:
    """Whether two arrays are equal after broadcasting.

    >>> jnp.array_equiv(jnp.array([1, 1]), 1)
    Array(True, dtype=bool)
    """
    try:
        a1, a2 = _as_arrays(a1, a2)
        np.broadcast_shapes(a1.shape, a2.shape)
    except (TypeError, ValueError):
        return as_array(np.array(False))
    return reductions.all(equal(a1, a2))


def _as_arrays(*args: Any) -> list[Array]:
    return [as_array(np.asarray(x) if isinstance(x, (list, tuple)) else x) for x in args]

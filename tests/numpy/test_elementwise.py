"""Elementwise functions against NumPy and jax.numpy: values, dtypes, promotion, special values, errors."""
import numpy as np
import pytest
from oracle import assert_same, bools, check, complexes, floats, ints

import tracejit as tj
import tracejit.numpy as jnp

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5], np.float32)
UNARY_REAL = ["absolute", "abs", "exp", "exp2", "expm1", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh",
              "cosh", "tanh", "arcsinh", "arctanh", "cbrt", "square", "reciprocal", "negative", "positive", "sign", "floor",
              "ceil", "trunc", "rint", "deg2rad", "rad2deg", "radians", "degrees", "sinc", "fabs", "isnan", "isinf", "isfinite",
              "isposinf", "isneginf", "signbit", "conj", "conjugate", "real", "imag", "angle", "logical_not", "iscomplex", "isreal",
              "nan_to_num", "i0", "asin", "acos", "atan", "asinh", "atanh", "log", "log2", "log10", "log1p", "arccosh", "acosh"]
POSITIVE = {"log", "log2", "log10", "arccosh", "acosh", "sqrt"}
NO_BOOL = {"square", "negative", "sign", "positive", "signbit", "reciprocal"}
BINARY = ["add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "fmax", "fmin", "arctan2", "hypot",
          "logaddexp", "logaddexp2", "copysign", "fmod", "mod", "remainder", "floor_divide", "equal", "not_equal", "less",
          "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "heaviside", "nextafter",
          "float_power", "divmod"]
INTEGER_BINARY = ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "gcd", "lcm", "bitwise_left_shift",
                  "bitwise_right_shift"]


@pytest.mark.parametrize("name", UNARY_REAL)
def test_unary(name):
    low = 1.0 if name in POSITIVE else -0.95
    high = 3 if name in POSITIVE else 0.95
    check(name, floats(3, 4, low=low, high=high))
    check(name, floats(0, 2, low=low, high=high))
    check(name, floats(5, low=low, high=high, dtype="float16"), numpy=False, rtol=5e-3)
    check(name, ints(5, low=1, high=9), numpy=name not in ("nan_to_num", "rint", "reciprocal"), rtol=1e-4)


@pytest.mark.parametrize("name", UNARY_REAL)
def test_unary_python_scalars_are_weak(name):
    check(name, 1, weak=name not in ("rint", "angle", "sinc"))
    check(name, 0.5 if name not in POSITIVE else 1.5, weak=name not in ("sinc", "angle"))
    if name == "angle":
        check(name, 0.5 + 1j, weak=True)
    if name not in NO_BOOL:
        check(name, True, numpy=False)


@pytest.mark.parametrize("name", [n for n in UNARY_REAL if n not in ("i0",)])
def test_unary_special_values(name):
    check(name, SPECIAL, numpy=name != "sinc")


@pytest.mark.parametrize("name", ["abs", "exp", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "square", "negative", "conj",
                                  "real", "imag", "angle", "log", "log10", "log2", "log1p", "expm1", "isnan", "isinf", "isfinite",
                                  "reciprocal", "rint", "iscomplex", "isreal", "nan_to_num", "arcsin", "arccos", "arctan",
                                  "arcsinh", "arccosh", "arctanh"])
def test_unary_complex(name):
    check(name, complexes(3, 2), rtol=1e-4)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    check(name, floats(3, 4, low=0.5), floats(4, low=0.5), rtol=1e-4)
    check(name, ints(3, 4, low=1), ints(3, 1, low=1), rtol=1e-4)
    check(name, floats(2, 0), floats(1, 0))
    check(name, floats(4), ints(4, low=1), numpy=name != "nextafter", rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("nextafter", "float_power")])
def test_binary_special_values(name):
    a, b = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    check(name, a, b, numpy=name not in ("floor_divide", "mod", "remainder", "divmod", "fmod", "logaddexp2", "hypot", "heaviside"))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("scalar", [2, 2.5])
def test_binary_with_python_scalar(name, scalar):
    check(name, floats(3, low=0.5), scalar, rtol=1e-4)
    check(name, scalar, floats(3, low=0.5, dtype="float16"), rtol=1e-2, numpy=False)
    check(name, ints(3, low=1, dtype="int8"), scalar, numpy=False, rtol=1e-4, weak=name not in ("hypot", "logaddexp2", "heaviside"))
    check(name, scalar, scalar, rtol=1e-4, weak=name not in ("hypot", "logaddexp2", "heaviside"))


@pytest.mark.parametrize("name", INTEGER_BINARY)
def test_integer_binary(name):
    check(name, ints(4, 3, low=0), ints(3, low=0, high=8))
    check(name, ints(4, low=0, dtype="uint8"), ints(4, low=0, high=7, dtype="uint8"))
    check(name, ints(4, low=-50, dtype="int16"), ints(4, low=0, high=7, dtype="int16"))
    check(name, ints(4, low=0), 3)


def test_integer_division_signs():
    a, b = (g.ravel().astype(np.int32) for g in np.meshgrid(np.arange(-5, 6), [-3, -2, -1, 1, 2, 3]))
    for name in ("floor_divide", "remainder", "fmod", "divmod", "gcd", "lcm"):
        check(name, a, b)
    check("floor_divide", a.astype(np.uint8), np.abs(b).astype(np.uint8))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integer_edges(dtype):
    """The least integer, zeros, -1 and shifts by the width and more, in all pairs."""
    info = np.iinfo(dtype)
    edges = (info.min, info.min + 1, -info.bits, -7, -2, -1, 0, 1, 2, 6, info.bits - 1, info.bits, info.bits + 1, 100, info.max - 1, info.max)
    x = np.array([e for e in edges if info.min <= e <= info.max], dtype)
    a, b = (g.ravel() for g in np.meshgrid(x, x))
    with np.errstate(all="ignore"):
        for name in ("fmod", "remainder", "gcd", "lcm", "left_shift", "right_shift"):
            np.testing.assert_array_equal(getattr(jnp, name)(a, b), getattr(np, name)(a, b), err_msg=name)
        for name in ("sign", "absolute", "negative", "invert"):
            np.testing.assert_array_equal(getattr(jnp, name)(x), getattr(np, name)(x), err_msg=name)
        by_zero = np.where((a == 0) | (info.min == 0), -1, -2).astype(dtype)    # JAX's, where NumPy has 0
        np.testing.assert_array_equal(jnp.floor_divide(a, b), np.where(b == 0, by_zero, np.floor_divide(a, b)))


def test_bool_arithmetic():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    for name in ("add", "multiply", "logical_and", "bitwise_xor", "bitwise_or", "maximum", "minimum", "equal", "less"):
        check(name, a, b)
    for call in (lambda: jnp.subtract(jnp.asarray(a), jnp.asarray(b)), lambda: jnp.negative(jnp.asarray(a))):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("base,exponent", [
    (np.array([2, -3, 0, 1], np.int32), 3), (np.array([2.0, -3, 0.5], np.float32), 3), (np.array([2.0, 3], np.float32), -2),
    (np.array([2.0, 3], np.float32), 0.5), (np.array([2, 3], np.int32), 0.5), (np.array([2, 3, -1, 7], np.int32), np.array([3, 0, 7, 11], np.int32)),
    (np.array([2.0, 3], np.float32), np.array([3, -2], np.int32)), (2, np.array([3, 4], np.int32)), (2.5, 2), (2, 3), (2, 0.5),
    (np.array([2, 3], np.uint8), 2), (np.array([1 + 2j], np.complex64), 2), (np.array([1 + 2j], np.complex64), 0.5)])
def test_power(base, exponent):
    check("power", base, exponent, rtol=1e-4)
    check("pow", base, exponent, rtol=1e-4)


def test_power_of_integer_to_negative_is_refused():
    with pytest.raises(TypeError, match="negative powers"):
        jnp.power(jnp.array([2, 3]), -1)


@pytest.mark.parametrize("decimals", [0, 1, 3, -1])
def test_round(decimals):
    check("round", floats(20, low=-50, high=50), decimals)
    check("around", np.array([0.5, 1.5, 2.5, -0.5], np.float32), decimals)
    if decimals >= 0:
        check("round", ints(4), decimals)
    check("round", complexes(4), decimals)


def test_float_parts():
    x = np.array([0.0, -0.0, 1.0, -2.5, 1e-40, 3e38, np.inf, -np.inf, 0.1], np.float32)
    check("modf", x, jax=False)
    check("frexp", x, jax=False)
    check("ldexp", x[:6], np.array([1, 2, -3, 4, 60, -100], np.int32), jax=False)
    check("spacing", np.array([1.0, -2.0, 1e10], np.float32))
    check("spacing", np.array([1.0, -1.0, -2.5, 0.0, np.inf], np.float16))
    check("nan_to_num", SPECIAL, nan=1.0, posinf=2.0, neginf=-3.0)
    check("heaviside", SPECIAL, 0.5)


def test_derivative_of_the_mantissa():
    x = jnp.array([1.0, -2.5, 0.1, 1e-300, 1e300, 0.0], jnp.float64)
    slopes = tj.vmap(tj.grad(lambda x: jnp.frexp(x)[0]))(x)
    np.testing.assert_array_equal(slopes, 2.0 ** -np.frexp(np.asarray(x))[1].astype(float))
    (_, exponent), (_, change) = tj.jvp(jnp.frexp, (x,), (x,))
    assert exponent.dtype == jnp.int32 and change.dtype == tj.dtypes.float0


def test_clip():
    x = floats(3, 4)
    check("clip", x, -1, 1)
    check("clip", x, floats(4, low=-1, high=0), None, numpy=lambda a, lo, hi: np.clip(a, lo, None))
    check("clip", ints(5), 1.5, 4.0, numpy=False)
    check("clip", ints(5), -2, 2)
    with pytest.raises(ValueError):
        jnp.clip(jnp.array([1j]), 0, 1)


def test_comparison_of_complex_is_lexicographic():
    a, b = np.array([1 + 2j, 1 + 1j, 0j], np.complex64), np.array([1 + 1j, 1 + 1j, 1j], np.complex64)
    for name in ("less", "less_equal", "greater", "greater_equal", "equal"):
        check(name, a, b)


def test_close():
    a = np.array([1.0, np.nan, np.inf, -np.inf, 1e-9], np.float32)
    b = np.array([1.0 + 1e-6, np.nan, np.inf, np.inf, 0.0], np.float32)
    for equal_nan in (False, True):
        check("isclose", a, b, equal_nan=equal_nan)
        check("allclose", a, b, equal_nan=equal_nan)
    check("array_equal", a, a)
    check("array_equal", a, a, equal_nan=True)
    check("array_equal", a, a[:2])
    check("array_equiv", np.ones((2, 3), np.int32), np.ones(3, np.int32))
    check("isclose", ints(3), ints(3))


def test_bitwise_count_and_not():
    check("bitwise_count", ints(9, low=-100, high=100))
    check("bitwise_count", ints(9, low=0, high=100, dtype="uint8"))
    for name in ("bitwise_not", "invert", "bitwise_invert"):
        check(name, ints(4))
        check(name, bools(4))


@pytest.mark.parametrize("call", [
    lambda: jnp.add([1, 2], 3), lambda: jnp.sin("a"), lambda: jnp.add(jnp.ones(3), None), lambda: jnp.bitwise_and(1.0, 2),
    lambda: jnp.left_shift(1.0, 2), lambda: jnp.add(jnp.arange(3), jnp.arange(4)), lambda: jnp.floor(1j)])
def test_type_errors(call):
    with pytest.raises(TypeError):
        call()


def test_shape_error_names_the_shapes():
    with pytest.raises((TypeError, ValueError), match=r"\(3,\).*\(4,\)"):
        jnp.add(jnp.arange(3), jnp.arange(4))


def test_int8_wraps_and_stays_int8():
    check("add", np.array([120], np.int8), np.array([10], np.int8))
    check("multiply", np.array([120], np.int8), 2, numpy=False)


def test_64_bit_arrays_keep_their_dtype():
    for dtype in (np.float64, np.int64, np.complex128):
        x = jnp.asarray(np.ones(3, dtype))
        assert x.dtype == dtype and jnp.add(x, 1).dtype == dtype and jnp.add(x, x).dtype == dtype
    assert jnp.sin(jnp.asarray(np.ones(3))).dtype == np.float64
    assert_same(jnp.exp(np.array([1.0, 2.0])), np.exp([1.0, 2.0]), rtol=1e-14)
    assert (jnp.float32(1) + jnp.asarray(np.ones(2))).dtype == np.float64
    assert (jnp.ones(3) * np.float64(2)).dtype == np.float32


@pytest.mark.parametrize(("call", "weak"), [
    (lambda x: jnp.max(x), False), (lambda x: jnp.nanmin(x), False), (lambda x: jnp.ptp(x), False), (lambda x: jnp.vander(x), False),
    (lambda x: jnp.array([x[0], x[1]]), False), (lambda x: jnp.rint(x.astype(int)), False), (lambda x: jnp.sum(x), False),
    (lambda x: jnp.reciprocal(x), True), (lambda x: jnp.power(x, x), True), (lambda x: jnp.diag(x), True), (lambda x: jnp.diagflat(x), False),
    (lambda x: jnp.logaddexp2(x[0], x[1]), True), (lambda x: jnp.square(x), True)])
def test_whether_results_of_weak_arrays_are_weak(call, weak):
    """As in JAX, operation by operation."""
    x = jnp.broadcast_to(jnp.asarray(0.5), (3,))
    assert x.weak_type and call(x).weak_type is weak
    assert tj.jit(call)(x).weak_type is weak


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("divisor", [1, 2, 3, 8, 10, 64, 127, np.int16(4), 128, 2**31 - 1, 2**40])
def test_division_by_known_positive_numbers(dtype, divisor):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min + 1, -129, -128, -65, -64, -63, -9, -8, -3, -1, 0, 1, 2, 7, 8, 63, 64, 65, info.max - 1, info.max]
                 ).clip(info.min, info.max).astype(dtype)
    if divisor > np.iinfo(np.result_type(x, divisor) if isinstance(divisor, np.generic) else dtype).max:
        return
    for f, wanted in ((jnp.floor_divide, np.floor_divide), (jnp.remainder, np.remainder)):
        for g in (f, tj.jit(lambda x, f=f: f(x, divisor))):
            got = g(x, divisor) if g is f else g(x)
            np.testing.assert_array_equal(got, wanted(x, divisor))

"""Elementary functions of the Builder: largest error in ulp, hard arguments, special values."""
from __future__ import annotations

import mpmath
import numpy as np
import pytest
import tracejit.numpy as jnp
from llvm_harness import TARGET_IDS, TARGETS, Kernels

F32, F64 = np.dtype("f4"), np.dtype("f8")
LONG = np.longdouble
targets = pytest.mark.parametrize("isa, wide", TARGETS, ids=TARGET_IDS)


def ulp_error(got, want):
    """|got - want| in units in the last place of `want`, a long double; nan and infinities must agree."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        _, exponent = np.frexp(np.where(np.isfinite(want), want, 1))
        unit = np.ldexp(LONG(1), np.maximum(exponent, info.minexp + 1) - info.nmant - 1)
        error = np.abs(got.astype(LONG) - want) / unit
    agrees = (got == rounded) | ((got != got) & (rounded != rounded))
    error = np.where(agrees & ~np.isfinite(rounded), 0, error)
    return np.where(np.isfinite(error), error, np.inf).astype("f8")


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)




# name: (reference on long doubles, {dtype: ranges}, largest error f32, f64). A range is an interval
# of arguments, or of binary exponents with either sign ("+-2**") or positive ("2**").
def ranges(single, double):
    return {F32: single, F64: double}


WIDE = ranges([(-4, 4), ("+-2**", -149, 127)], [(-4, 4), ("+-2**", -1074, 1023)])
POSITIVE = ranges([(0.5, 2), ("2**", -149, 127)], [(0.5, 2), ("2**", -1074, 1023)])
UNIT = ranges([(-1, 1), ("+-2**", -149, 0)], [(-1, 1), ("+-2**", -1074, 0)])
ANGLES = ranges([(-100, 100), ("+-2**", -149, 127), ("+-2**", 10, 20)],
                [(-100, 100), ("+-2**", -1074, 1023), ("+-2**", 10, 40)])
CASES = {
    "exp": (np.exp, ranges([(-104, 89), (-1, 1)], [(-746, 710), (-1, 1)]), 1.1, 1.1),
    "exp2": (np.exp2, ranges([(-150, 129), (-1, 1)], [(-1075, 1025), (-1, 1)]), 1.1, 1.2),
    "expm1": (np.expm1, ranges([(-20, 89), (-1, 1), ("+-2**", -149, 6)], [(-40, 710), (-1, 1), ("+-2**", -1074, 9)]), 1.8, 1.9),
    "logistic": (logistic, ranges([(-105, 30), (-4, 4)], [(-745, 50), (-4, 4)]), 2.5, 2.5),
    "log": (np.log, POSITIVE, 1.1, 1.0),
    "log2": (np.log2, POSITIVE, 1.8, 1.6),
    "log1p": (np.log1p, ranges([(-1, 2), ("2**", -149, 127), ("+-2**", -149, -1)], [(-1, 2), ("2**", -1074, 1023), ("+-2**", -1074, -1)]), 1.3, 1.2),
    "sin": (np.sin, ANGLES, 2.1, 2.1),
    "cos": (np.cos, ANGLES, 2.1, 2.3),
    "tan": (np.tan, ANGLES, 2.4, 2.3),
    "asin": (np.arcsin, UNIT, 1.7, 1.8),
    "acos": (np.arccos, UNIT, 1.2, 1.2),
    "atan": (np.arctan, WIDE, 1.9, 1.6),
    "sinh": (np.sinh, ranges([(-3, 3), (-90, 90), ("+-2**", -149, 6)], [(-3, 3), (-711, 711), ("+-2**", -1074, 9)]), 1.5, 1.9),
    "cosh": (np.cosh, ranges([(-3, 3), (-90, 90)], [(-3, 3), (-711, 711)]), 2.1, 1.6),
    "tanh": (np.tanh, ranges([(-3, 3), (-12, 12), ("+-2**", -149, 6)], [(-3, 3), (-30, 30), ("+-2**", -1074, 9)]), 1.9, 2.5),
    "asinh": (np.arcsinh, WIDE, 1.4, 1.5),
    "acosh": (np.arccosh, ranges([(1, 3), ("2**", 0, 127)], [(1, 3), ("2**", 0, 1023)]), 1.2, 1.2),
    "atanh": (np.arctanh, UNIT, 1.3, 1.3),
    "cbrt": (np.cbrt, WIDE, 0.6, 0.6),
}
SPECIAL = [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, -0.5, 2, -2, 1e-40, -1e-40, 5e-324, 3e38, -3e38, 1e308, -1e308]


def draw(rng, spec, size, dtype):
    if spec[0] not in ("2**", "+-2**"):
        return rng.uniform(*spec, size).astype(dtype)
    x = np.exp2(rng.uniform(spec[1], spec[2], size).astype(LONG)).astype(dtype)
    return x if spec[0] == "2**" else x * rng.choice([-1, 1], size).astype(dtype)


@pytest.mark.parametrize("name", CASES)
@targets
@np.errstate(all="ignore")
def test_error_in_ulp(isa, wide, name):
    reference, domains, *limits = CASES[name]
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, x: getattr(b, name)(x), [t], t) for t in (F32, F64)}
    rng = np.random.default_rng(11)
    size = 2000 if isa == "baseline" else 20000
    for (dtype, function), limit in zip(functions.items(), limits):
        for spec in domains[dtype]:
            x = draw(rng, spec, size, dtype)
            error = ulp_error(function(x), reference(x.astype(LONG)))
            worst = int(np.argmax(error))
            slack = 1.4 if isa == "baseline" else 1  # polynomials without fma
            assert error[worst] <= limit * slack, f"{name} {dtype}: {error[worst]:.2f} ulp at {x[worst]!r}"


@pytest.mark.parametrize("name", CASES)
@targets
@np.errstate(all="ignore")
def test_special_values(isa, wide, name):
    reference = CASES[name][0]
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, x: getattr(b, name)(x), [t], t) for t in (F32, F64)}
    for dtype, function in functions.items():
        x = np.array(SPECIAL, dtype)
        got, want = function(x), reference(x.astype(LONG))
        assert (ulp_error(got, want) <= 2.5).all(), (x, got, want)
        zero = (want == 0) & (got == 0)
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("name, dtype, least", [("exp", F32, -150 * np.log(2)), ("exp", F64, -1075 * np.log(2)),
                                                ("exp2", F32, -150), ("exp2", F64, -1075)])
@targets
@np.errstate(all="ignore")
def test_the_last_result_that_is_not_zero(isa, wide, name, dtype, least):
    """All floats around the argument below which results are rounded to 0."""
    function = Kernels(isa, wide).add(lambda b, x: getattr(b, name)(x), [dtype], dtype)
    near, spread = np.array(least, dtype), np.arange(-2000, 2000)
    x = (near.view(f"i{dtype.itemsize}") + spread).astype(f"i{dtype.itemsize}").view(dtype)
    x = np.concatenate([x, x[::7] * dtype.type(1.0002), x[::7] * dtype.type(0.9998)])
    want = getattr(np, name)(x.astype(LONG))
    assert (ulp_error(function(x), want) <= 1).all()
    clear = np.abs(np.log2(want) - np.log2(LONG(np.finfo(dtype).smallest_subnormal)) + 1) > 1e-6
    np.testing.assert_array_equal(function(x)[clear], want.astype(dtype)[clear])


@targets
def test_half_precision_is_rounded_from_f32(isa, wide):
    kernels = Kernels(isa, wide)
    x = np.linspace(-8, 8, 999).astype("f2")
    exp = kernels.add(lambda b, x: b.exp(x), ["f2"], "f2")
    tanh = kernels.add(lambda b, x: b.tanh(x), ["f2"], "f2")
    assert ulp_error(exp(x), np.exp(x.astype(LONG))).max() <= 0.51
    assert ulp_error(tanh(x), np.tanh(x.astype(LONG))).max() <= 0.51


# Floats closest to a multiple of pi / 2 (Kahan and McDonald; Muller, "Elementary functions", 2006),
# and others that reductions have been seen to fail on.
HARD_ANGLES = {
    F64: [6381956970095103 * 2.0**797, 5319372648326541 * 2.0**-52, 1e22, 2.0**1023 * 1.999999, 823549.6645, 3.141592653589793,
          1.5707963267948966, 2.356194490192345, 9.42477796076938, 355.0, 2.0**30, 2.0**30 - 0.5, 1e5, 1.7e308],
    F32: [1.5707964, 3.1415927, 2.0**17, 131071.99, 16367173 * 2.0**72, 5.2671e37, 3.4e38, 1e10, 344.0, 0.78539819, 103993.0],
}


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@targets
def test_hard_angles(isa, wide, name):
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, x: getattr(b, name)(x), [t], t) for t in (F32, F64)}
    for dtype, function in functions.items():
        x = np.array(HARD_ANGLES[dtype], dtype)
        x = np.concatenate([x, -x])
        error = ulp_error(function(x), exactly(getattr(mpmath, name), x))
        assert error.max() <= 2.5, (name, x[error.argmax()], error.max())


def test_a_large_neighbour_changes_nothing():
    """A vector holding a large angle takes another path; its other lanes must not notice."""
    kernels = Kernels("native")
    for dtype in (F32, F64):
        sin = kernels.add(lambda b, x: b.sin(x), [dtype], dtype)
        x = np.random.default_rng(2).uniform(-50, 50, 512).astype(dtype)
        alone = sin(x)
        mixed = x.copy()
        mixed[::5] = 1e30
        np.testing.assert_array_equal(np.delete(sin(mixed), np.s_[::5]), np.delete(alone, np.s_[::5]))


def exactly(function, *xs):
    """An mpmath function as long doubles."""
    out = np.empty(xs[0].shape, LONG)
    with mpmath.workprec(1300):
        for i, values in enumerate(zip(*[x.tolist() for x in xs])):
            exact = function(*[mpmath.mpf(v) for v in values])
            high = float(exact)
            out[i] = LONG(high) + (LONG(float(exact - mpmath.mpf(high))) if np.isfinite(high) else 0)
    return out


def exactly_fast(function, x):
    with mpmath.workprec(100):
        values = [function(mpmath.mpf(v)) for v in x.tolist()]
        return np.array([LONG(float(v)) + LONG(float(v - mpmath.mpf(float(v)))) for v in values])


def log_gamma(x):
    return mpmath.log(abs(mpmath.gamma(x)))


SLOW_CASES = {  # name: (mpmath function, intervals, largest error f32, f64)
    "erf": (mpmath.erf, [(-1.2, 1.2), (-6, 6)], 1.9, 1.7),
    "erfc": (mpmath.erfc, [(-1, 1.5), (1.5, 9), (-4, 0)], 3.0, 3.6),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), [(0, 2), (0, 60), (-9, 0)], 4.0, 5.0),
    "erf_inv": (mpmath.erfinv, [(-1, 1), (0.99, 1)], 3.5, 2.0),
    "lgamma": (log_gamma, [(0.01, 4), (1, 30)], 0.6, 2.2),
    "digamma": (lambda x: mpmath.psi(0, x), [(0.01, 3), (2, 30)], 0.6, 3.0),
}


@pytest.mark.parametrize("name", SLOW_CASES)
def test_error_of_special_functions_in_ulp(name):
    reference, intervals, *limits = SLOW_CASES[name]
    rng = np.random.default_rng(4)
    for dtype, limit in zip((F32, F64), limits):
        x = np.concatenate([rng.uniform(*interval, 120) for interval in intervals]).astype(dtype)
        x = x[np.abs(x) != 1]
        want = exactly_fast(reference, x)
        for isa, wide in (TARGETS[0], TARGETS[2]):
            got = Kernels(isa, wide).add(lambda b, x: getattr(b, name)(x), [dtype], dtype)(x)
            error = ulp_error(got, want)
            assert error.max() <= limit, (name, dtype, isa, x[error.argmax()], error.max())


@targets
@np.errstate(all="ignore")
def test_special_functions_at_special_values(isa, wide):
    inf, nan = np.inf, np.nan
    want = {  # pairs of argument and value
        "erf": [(0.0, 0.0), (-0.0, -0.0), (inf, 1), (-inf, -1), (nan, nan), (1e-300, 1.1283791670955126e-300)],
        "erfc": [(0.0, 1), (inf, 0), (-inf, 2), (nan, nan), (26.0, 5.663192408856143e-296), (27.0, 5.237048923789e-319)],
        "erfcx": [(0.0, 1), (inf, 0), (-inf, inf), (-30.0, inf), (1e300, 5.6418958354775631e-301), (nan, nan)],
        "erf_inv": [(0.0, 0.0), (-0.0, -0.0), (1.0, inf), (-1.0, -inf), (1.5, nan), (nan, nan), (5e-324, 5e-324)],
        "lgamma": [(0.0, inf), (-0.0, inf), (-1.0, inf), (inf, inf), (-inf, inf), (nan, nan), (1.0, 0), (2.0, 0),
                   (-0.5, 1.2655121234846454), (1e308, inf)],
        "digamma": [(0.0, -inf), (-0.0, inf), (-1.0, nan), (inf, inf), (nan, nan), (1.0, -0.5772156649015329),
                    (-0.5, 0.03648997397857652)],
    }
    kernels = Kernels(isa, wide)
    functions = {name: kernels.add(lambda b, x, name=name: getattr(b, name)(x), ["f8"], "f8") for name in want}
    for name, pairs in want.items():
        x, expected = np.array(pairs, "f8").T
        got = functions[name](x)
        np.testing.assert_allclose(got, expected, rtol=2e-15, atol=5e-324, err_msg=name)
        np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[got == 0]))


@targets
@np.errstate(all="ignore")
def test_pow(isa, wide):
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, x, y: b.pow(x, y), [t, t], t) for t in (F32, F64)}
    rng = np.random.default_rng(6)
    for dtype, limit in ((F32, 0.6), (F64, 1.2)):
        for base, exponent in ((("2**", -149, 127), (-3, 3)), ((0.5, 2), (-200, 200)), ((0.999, 1.001), (-7e4, 7e4))):
            x, y = draw(rng, base, 5000, dtype), draw(rng, exponent, 5000, dtype)
            error = ulp_error(functions[dtype](x, y), np.power(x.astype(LONG), y.astype(LONG)))
            assert error.max() <= limit, (dtype, x[error.argmax()], y[error.argmax()], error.max())
        special = np.array([*SPECIAL, 3.0, -3.0, 1.5, -1.5, 2.0**60], dtype)
        x, y = np.repeat(special, special.size), np.tile(special, special.size)
        got, want = functions[dtype](x, y), np.power(x, y)  # NumPy's, which is C's
        np.testing.assert_array_max_ulp(got, want, 2)
        np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


@targets
@np.errstate(all="ignore")
def test_atan2(isa, wide):
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, y, x: b.atan2(y, x), [t, t], t) for t in (F32, F64)}
    rng = np.random.default_rng(6)
    for dtype in (F32, F64):
        top = 127 if dtype == F32 else 1023
        for spec in ((-4, 4), ("+-2**", -top, top), ("+-2**", -5, 5)):
            y, x = draw(rng, spec, 5000, dtype), draw(rng, spec, 5000, dtype)
            error = ulp_error(functions[dtype](y, x), np.arctan2(y.astype(LONG), x.astype(LONG)))
            assert error.max() <= 1.9, (dtype, y[error.argmax()], x[error.argmax()], error.max())
        special = np.array(SPECIAL, dtype)
        y, x = np.repeat(special, special.size), np.tile(special, special.size)
        got, want = functions[dtype](y, x), np.arctan2(y, x)
        np.testing.assert_array_max_ulp(got, want, 2)
        np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[got == 0]))


COMPLEX = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "exp2": lambda z: np.exp(z * np.log(LONG(2))),
}


@pytest.mark.parametrize("name", COMPLEX)
@targets
def test_complex_functions(isa, wide, name):
    """Error of the modulus, in units of the precision, on both sides of every branch cut."""
    rng = np.random.default_rng(9)
    scales = rng.choice([0.01, 1, 10], (2, 600))
    z = rng.normal(size=600) * scales[0] + 1j * rng.normal(size=600) * scales[1]
    cuts = np.tile(np.array([2, -2, 0.3, -0.3], complex), 2)
    cuts.imag[4:] = -0.0
    z = np.concatenate([z, cuts, 1j * cuts[:4]])
    if name == "logistic":
        z = z[np.abs(1 + np.exp(-z)) > 0.3]  # away from the poles, near which every error grows
    kernels = Kernels(isa, wide)
    functions = {t: kernels.add(lambda b, z: getattr(b, name)(z), [t], t) for t in ("c8", "c16")}
    for dtype, function in functions.items():
        x = z.astype(dtype)
        want = COMPLEX[name](x.astype(np.clongdouble))
        error = np.abs(function(x) - want) / np.abs(want) / np.finfo(dtype).eps
        worst = int(np.argmax(np.where(error == error, error, np.inf)))
        assert error[worst] <= 6, (name, x[worst], function(x)[worst], want[worst])


@targets
def test_complex_pow(isa, wide):
    kernels = Kernels(isa, wide)
    rng = np.random.default_rng(9)
    x, y = (rng.normal(size=(2, 300)) + 1j * rng.normal(size=(2, 300))) * 2
    x[:2], y[0], y[1] = 0, 0, 2
    for dtype, limit in (("c8", 2), ("c16", 40)):
        function = kernels.add(lambda b, x, y: b.pow(x, y), [dtype, dtype], dtype)
        kernels = Kernels(isa, wide)
        p, q = x.astype(dtype), y.astype(dtype)
        want = np.exp(q.astype(np.clongdouble) * np.log(np.where(p == 0, 1, p).astype(np.clongdouble)))
        want = np.where(p == 0, (q == 0).astype(want.dtype), want)
        error = np.abs(function(p, q) - want) / np.maximum(np.abs(want), 1e-30) / np.finfo(dtype).eps
        assert error.max() <= limit


def test_complex_powers_of_zero_and_to_zero():
    inf, nan = np.inf, np.nan
    function = Kernels("native").add(lambda b, x, y: b.pow(x, y), ["c16", "c16"], "c16")
    bases = np.array([0, -0.0, 2j, inf, -inf, complex(nan, 1), complex(1, inf), complex(inf, nan)])
    np.testing.assert_array_equal(function(bases, np.zeros(8, complex)), np.ones(8))
    powers = np.array([2, 0.5 + 3j, -1, -2 + 1j, 1j])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(function(np.zeros(5, complex), powers), np.power(np.zeros(5, complex), powers))


def test_complex_exp_does_not_overflow_early():
    function = Kernels("native").add(lambda b, z: b.exp(z), ["c16"], "c16")
    z = np.array([710 + 1.5707963j, 300 - 2j, complex(-np.inf, np.inf), -800 + 1j, 2 + 0j])
    got = function(z)
    with np.errstate(all="ignore"):
        want = np.exp(z.astype(np.clongdouble)).astype("c16")
    np.testing.assert_allclose(got[[0, 1, 3, 4]], want[[0, 1, 3, 4]], rtol=1e-15)
    assert got[2] == 0


SPECIAL = np.array([0., -0., 1., -1., 0.5, -2., np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("name", ["exp", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh",
                                  "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "abs", "sign", "angle"])
def test_complex_functions_of_special_values(name, dtype):
    """As C99's Annex G says, which NumPy follows; the sign of a zero is left open beside a nan and at infinity."""
    huge = np.finfo(dtype).max / 4
    parts = np.concatenate([SPECIAL, [huge, -huge, np.finfo(dtype).tiny]])
    z = np.empty((12, 12), dtype)
    z.real, z.imag = parts[:, None], parts
    got = np.asarray(getattr(jnp, name)(z))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(z)
    for x, y, other in ((got.real, expected.real, expected.imag), (got.imag, expected.imag, expected.real)):
        nan, open_sign = np.isnan(y), np.isnan(other)
        np.testing.assert_array_equal(np.isnan(x), nan)
        x, y = np.where(nan, 0, x), np.where(nan, 0, y)
        np.testing.assert_allclose(np.where(open_sign, abs(x), x), np.where(open_sign, abs(y), y), rtol=2e-6 if dtype == np.complex64 else 1e-14,
                                   atol=2 * np.finfo(dtype).tiny)
        signed = ~nan & ~open_sign & np.isfinite(z) & np.isfinite(y)
        np.testing.assert_array_equal(np.signbit(x)[signed], np.signbit(y)[signed])


def test_complex_powers_of_two_keep_their_size():
    for y in (1e18, 1e300):
        assert abs(abs(complex(jnp.exp2(np.complex128(complex(3, y))))) - 8) < 1e-10

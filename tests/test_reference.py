"""The meaning of ops (`eval`), and compiled code, where functions of NumPy and SciPy are wrong or lose digits."""
from __future__ import annotations

import mpmath
import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.lax.elementary import Exp2, Log1p
from tracejit.lax.elementwise import Pow
from tracejit.lax.incomplete import Igamma, Igammac
from tracejit.lax.kinds import Op
from tracejit.lax.special import Lgamma, Zeta

INF, TINY = np.inf, 5e-324
COMPLEX = ("complex64", "complex128")


def both(op: Op, *args: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(op.eval(*args)), np.asarray(tj.jit(getattr(lax, op.name))(*args))]


def assert_exact(op: Op, exact, *args: np.ndarray, ulp: float = 4) -> None:
    """To a few units in the last place of the larger part."""
    with mpmath.workdps(60):
        want = np.array([complex(exact(*[mpmath.mpmathify(complex(v)) for v in point])) for point in zip(*args)])
    for got in both(op, *args):
        assert got.dtype == args[0].dtype
        assert (np.abs(got - want) <= ulp * np.finfo(got.dtype).eps * np.abs(want)).all()


@pytest.mark.parametrize("dtype", COMPLEX)
def test_log1p_of_small_complex_numbers(dtype):
    assert_exact(Log1p(), lambda z: mpmath.log(1 + z), np.array([-1.28e-14 - 8.45e-15j, 1e-5 + 1e-3j, -5e-7 + 1e-3j, 1e-30j, 3 + 4j], dtype))


@pytest.mark.parametrize("dtype", COMPLEX)
def test_exp2_of_complex_numbers(dtype):
    assert_exact(Exp2(), lambda z: mpmath.power(2, z), np.array([3, 30, 30 - 2j, -100 + 1j, 0.5 + 0.25j], dtype))
    for got in both(Exp2(), np.array([INF, -INF, complex(-INF, 3)], dtype)):
        np.testing.assert_array_equal(got, [INF, 0, 0])
    assert Exp2().eval(np.array(3, dtype)) == 8


def test_powers_of_large_complex_numbers():
    x = np.array([20 - 10j, 7 + 0.5j, -3 + 4j], "complex64")
    assert_exact(Pow(), mpmath.power, x, x)


def test_lgamma_of_subnormal_numbers():
    x = np.array([TINY, 1e-310, -1e-310, 3e-308])
    assert_exact(Lgamma(), lambda x: mpmath.re(mpmath.loggamma(x)), x)


def test_incomplete_gammas_of_subnormal_shapes():
    a, x = np.array([1e-310, 1e-310, 1e-310, 1e-305, TINY]), np.array([1, 0.1, 5, 2, 1e-310])
    for got in both(Igamma(), a, x):
        np.testing.assert_allclose(got, 1, rtol=1e-13)
    with mpmath.workdps(60):
        want = [float(mpmath.gammainc(mpmath.mpf(p), mpmath.mpf(q), regularized=True)) for p, q in zip(a, x)]
    for got in both(Igammac(), a, x):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=2 * TINY)
    for got in both(Igammac(), np.array([TINY, 1e-310, TINY]), np.array([0, 0, 1.0])):
        np.testing.assert_array_equal(got, [1, 1, 0])
        assert not np.signbit(got).any()


def test_zeta_of_an_infinite_exponent():
    """Below 0 even exponents give what odd ones give with the other sign: there is no limit."""
    for got in both(Zeta(), np.full(7, INF), np.array([0.5, 1, 1.5, 2, INF, -0.1, -1.5])):
        np.testing.assert_array_equal(got, [INF, 1, 0, 0, 0, np.nan, np.nan])

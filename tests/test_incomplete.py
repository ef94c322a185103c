"""The incomplete gamma and beta functions against mpmath in all of their regions, and at the corners of their domains."""
from __future__ import annotations

import numpy as np
import pytest

from tracejit import lax

INF, NAN, TINY = np.inf, np.nan, 5e-324
# (a, x, P, Q) and (a, b, x, I), computed by mpmath with 35 digits.
GAMMA_POINTS = [
    (1e-300, 1e-10, 1.0, 2.2448635265138925e-299), (1e-20, 0.3, 1.0, 9.056766516758466e-21),
    (1e-08, 1.0, 0.9999999978061607, 2.1938393664027067e-09), (0.001, 0.001, 0.9936876467088603, 0.00631235329113971),
    (0.01, 0.6, 0.9954268216058799, 0.004573178394120071), (0.3, 1.05, 0.9215703360548394, 0.07842966394516059),
    (0.9, 1.09, 0.7048947306541783, 0.2951052693458217), (0.5, 2.0, 0.9544997361036416, 0.04550026389635842),
    (3.0, 1e-60, 1.6666666666666664e-181, 1.0), (2.0, 2.5, 0.7127025048163542, 0.2872974951836458),
    (9.5, 3.0, 0.0020715447971350258, 0.997928455202865), (9.999, 20.0, 0.9950086847844181, 0.00499131521558194),
    (10.0, 9.0, 0.4125917556680586, 0.5874082443319414), (40.0, 0.001, 1.22442229823491e-168, 1.0),
    (55.0, 80.0, 0.9986816737822973, 0.0013183262177027249), (150.0, 152.0, 0.5752552968970226, 0.4247447031029774),
    (201.0, 205.0, 0.6193460426266206, 0.3806539573733794), (250.0, 180.0, 4.718944298054762e-07, 0.9999995281055702),
    (1000.0, 980.0, 0.26560403888218054, 0.7343959611178195), (3000.0, 3100.0, 0.9649999863009536, 0.03500001369904636),
    (20000.0, 20200.0, 0.9210076300110995, 0.0789923699889005), (1e-12, 30.0, 1.0, 3.021552010700928e-27),
    (7.0, 300.0, 1.0, 5.31856469739069e-119)]
BETA_POINTS = [
    (0.5, 0.5, 0.3, 0.36901011956554536), (2.0, 3.0, 0.8, 0.9728), (0.001, 20.0, 0.4, 0.9999999957072008),
    (30.0, 0.001, 0.7, 2.3453536976691414e-09), (4.0, 1e-12, 0.95, 1.3086906068870104e-12),
    (0.02, 1e-200, 0.99, 5.456289499788219e-199), (1e-30, 0.4, 0.6, 1.0), (12.0, 15.0, 0.45, 0.5286717019604354),
    (300.0, 8.0, 0.99, 0.9869751348205684), (8.0, 3000.0, 0.001, 0.012012919013683995),
    (1.6, 700000.0, 4.7e-06, 0.9006688134614986), (400.0, 350.0, 0.55, 0.8197979771544192),
    (25.0, 40.0, 1e-09, 4.010385537125204e-208), (11.0, 10000.0, 0.002, 0.9893616626627288),
    (2.5, 3.5, 1e-40, 1.086497744840672e-99), (0.3, 0.015, 0.9999, 0.16546504174181434)]


def assert_close(got, want, points):
    """To double precision; where the result is small, the rounding of its logarithm shows."""
    error, allowed = np.abs(np.asarray(got) / want - 1), 1.5e-14 + 4e-16 * np.abs(np.log(want))
    assert np.all(error < allowed), [(p, e) for p, e, most in zip(points, error, allowed) if e >= most]


def test_incomplete_gammas_to_double_precision():
    a, x, lower, upper = map(np.array, zip(*GAMMA_POINTS))
    assert_close(lax.igamma(a, x), lower, GAMMA_POINTS)
    assert_close(lax.igammac(a, x), upper, GAMMA_POINTS)


def test_incomplete_beta_to_double_precision():
    *args, want = map(np.array, zip(*BETA_POINTS))
    assert_close(lax.betainc(*args), want, BETA_POINTS)


def test_large_shapes_near_the_mean():
    """P(a, a) = 1/2 + 1/(3 sqrt(2 pi a)) + ..., and I(p, p, 1/2) = 1/2."""
    a = np.array([1e6, 1e9, 1e12, 1e15])
    first = (1 / 3 + 1 / (540 * a)) / np.sqrt(2 * np.pi * a)
    np.testing.assert_allclose(lax.igamma(a, a), 0.5 + first, rtol=1e-14)
    np.testing.assert_allclose(lax.igammac(a, a), 0.5 - first, rtol=1e-14)
    np.testing.assert_allclose(lax.betainc(a, a, np.full(4, 0.5)), 0.5, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_incomplete_gammas_at_corners(dtype):
    a, x, p = np.array([
        (0, 0, NAN), (0, 1, 1), (0, INF, 1), (0, 1e-3, 1), (2, 0, 0), (2, -0.0, 0), (2, INF, 1), (INF, 1, 0), (INF, 0, 0), (INF, INF, 1),
        (-1, 1, NAN), (1, -1, NAN), (NAN, 1, NAN), (1, NAN, NAN), (3, 1e30, 1), (1e30, 3, 0), (1e-30, 1, 1), (1e-30, 0, 0)], dtype).T
    np.testing.assert_array_equal(lax.igamma(a, x), p)
    exact = x != 1e-30
    np.testing.assert_allclose(np.asarray(lax.igammac(a, x))[exact], (1 - p)[exact], atol=1e-29)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_incomplete_beta_at_corners(dtype):
    a, b, x, want = np.array([
        (0, 2, 0, 0), (0, 2, 0.5, 1), (0, 2, 1, 1), (2, 0, 0, 0), (2, 0, 0.5, 0), (2, 0, 1, 1), (0, 0, 0.5, NAN), (2, 3, 0, 0),
        (2, 3, 1, 1), (INF, 2, 0.5, 0), (INF, 2, 1, 1), (2, INF, 0.5, 1), (2, INF, 0, 0), (INF, INF, 0.5, NAN), (0, INF, 0.5, 1),
        (-1, 2, 0.5, NAN), (2, -1, 0.5, NAN), (2, 3, -0.1, NAN), (2, 3, 1.1, NAN), (2, 3, NAN, NAN), (NAN, 3, 0.5, NAN)], dtype).T
    np.testing.assert_array_equal(lax.betainc(a, b, x), want)


def test_denormal_arguments():
    np.testing.assert_allclose(lax.igamma(np.array([TINY, 1.0, 1e-310]), np.array([1e-300, TINY, 1e-20])), [1, TINY, 1])
    want = [float(-np.euler_gamma - np.log(1e-20)) * 1e-305, 0.04890051070806112 * 1e-305]
    np.testing.assert_allclose(lax.igammac(np.full(2, 1e-305), np.array([1e-20, 2.0])), want, rtol=1e-13)
    np.testing.assert_array_equal(lax.betainc(np.array([TINY, 1.0]), np.array([TINY, 1.0]), np.array([0.3, TINY])), [0.5, TINY])


@pytest.mark.parametrize("op, args", [(lax.igamma, (2.5, 3.0)), (lax.igammac, (0.4, 0.2)), (lax.betainc, (2.5, 0.7, 0.4))])
def test_float32_is_the_rounded_double(op, args):
    single = np.asarray(op(*map(np.float32, args)))
    double = op(*[np.array(np.float32(v), np.float64) for v in args])
    assert abs(single - np.float32(double)) <= np.spacing(single)


def test_zeta_at_infinity():
    x, q, want = np.array([(INF, 0.5, INF), (INF, 1, 1), (INF, 2, 0), (INF, INF, 0), (2, INF, 0), (2, 1, np.pi**2 / 6), (1, INF, INF)]).T
    np.testing.assert_allclose(lax.zeta(x, q), want, rtol=1e-15)

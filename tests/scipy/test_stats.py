"""tracejit.scipy.stats against SciPy: every function of every distribution, descriptive statistics, density estimates."""
from __future__ import annotations

import inspect
import types

import numpy as np
import pytest
from scipy import stats as scipy_stats

import tracejit
import tracejit.numpy as jnp
from tracejit import random
from tracejit.scipy import stats

RNG = np.random.RandomState(0)
X = np.concatenate([RNG.randn(40) * 2, [0.0, 1.0, 2.0]])
Q = np.array([0.0, 0.01, 0.2, 0.5, 0.77, 0.99, 1.0, -0.1, 1.1, np.nan])
COUNTS = np.arange(-2, 15)
CONTINUOUS = {
    "norm": (), "expon": (), "uniform": (), "laplace": (), "logistic": (), "cauchy": (), "gumbel_l": (), "gumbel_r": (), "beta": (2.3, 0.7),
    "gamma": (2.3,), "chi2": (3.0,), "t": (3.5,), "pareto": (2.5,), "gennorm": (1.4,), "truncnorm": (-1.0, 2.0),
}
DISCRETE = {"bernoulli": (0.3,), "binom": (10, 0.3), "betabinom": (10, 2.0, 3.0), "nbinom": (4, 0.3), "geom": (0.3,), "poisson": (3.0,)}


def functions(name):
    return [f for f in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf", "pmf", "logpmf") if hasattr(getattr(stats, name), f)]


@pytest.mark.parametrize("name, function", [(name, f) for name in CONTINUOUS for f in functions(name)])
def test_continuous(name, function):
    at = Q if function in ("ppf", "isf") else X
    for place in ((),) if name == "gennorm" else ((), (0.3, 1.7)):
        with np.errstate(all="ignore"):
            expected = getattr(getattr(scipy_stats, name), function)(at, *CONTINUOUS[name], *place)
        if function in ("ppf", "isf") and name in ("logistic", "norm", "gumbel_l", "gumbel_r", "cauchy"):
            expected = np.where((at < 0) | (at > 1), np.nan, expected)
        ours = np.asarray(getattr(getattr(stats, name), function)(at, *CONTINUOUS[name], *place))
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
    single = getattr(getattr(stats, name), function)(at.astype(np.float32), *CONTINUOUS[name])
    assert single.dtype == np.float32


@pytest.mark.parametrize("bounds", [(1.0, 3.0), (-5.0, -2.0), (20.0, 21.0)])
def test_truncnorm_in_the_tails(bounds):
    at = np.linspace(*bounds, 7)
    for function in ("logpdf", "logcdf", "logsf"):
        expected = getattr(scipy_stats.truncnorm, function)(at, *bounds)
        np.testing.assert_allclose(np.asarray(getattr(stats.truncnorm, function)(at, *bounds)), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name, function", [(name, f) for name in DISCRETE for f in functions(name) if f != "ppf"])
def test_discrete(name, function):
    ours, theirs = getattr(getattr(stats, name), function), getattr(getattr(scipy_stats, name), function)
    np.testing.assert_allclose(np.asarray(ours(COUNTS.astype(float), *DISCRETE[name])), theirs(COUNTS, *DISCRETE[name]), rtol=1e-9, atol=1e-12)
    if function != "cdf":
        np.testing.assert_allclose(np.asarray(ours(COUNTS.astype(float), *DISCRETE[name], 1)), theirs(COUNTS, *DISCRETE[name], 1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted({*CONTINUOUS, *DISCRETE} - {"uniform"}))
def test_nan_stays_nan(name):
    parameters = {**CONTINUOUS, **DISCRETE}[name]
    for function in functions(name):
        out = getattr(getattr(stats, name), function)(np.array([np.nan, 0.5], np.float32), *parameters)
        assert np.isnan(out[0]) and not np.isnan(out[1]) and out.dtype == np.float32, function


def test_bernoulli_of_fractions_is_a_cross_entropy():
    k = np.linspace(0, 1, 5)
    np.testing.assert_allclose(np.asarray(stats.bernoulli.logpmf(k, 0.3)), k * np.log(0.3) + (1 - k) * np.log(0.7), rtol=1e-9)


def test_other_distributions():
    np.testing.assert_allclose(np.asarray(stats.bernoulli.ppf(Q, 0.3)), scipy_stats.bernoulli.ppf(Q, 0.3).clip(0))
    mu = np.array([0.1, 3, 50, 99, 101])
    np.testing.assert_allclose(np.asarray(stats.poisson.entropy(mu)), scipy_stats.poisson.entropy(mu), rtol=1e-6)
    inside = np.linspace(-3, 3, 9)
    np.testing.assert_allclose(np.asarray(stats.vonmises.logpdf(inside, 1.3)), scipy_stats.vonmises.logpdf(inside, 1.3), rtol=1e-9)
    np.testing.assert_allclose(np.asarray(stats.wrapcauchy.logpdf(X, 0.3)), scipy_stats.wrapcauchy.logpdf(X, 0.3), rtol=1e-9)


def test_vectors():
    p, counts = np.array([0.2, 0.3, 0.5]), np.array([[1, 2, 3], [2, 2, 2], [1, 1, 1]])
    np.testing.assert_allclose(np.asarray(stats.multinomial.logpmf(counts, 6, p)), scipy_stats.multinomial.logpmf(counts, 6, p), rtol=1e-9)
    points, alpha = RNG.dirichlet([1, 2, 3], 5).T, np.array([1.0, 2, 3])
    np.testing.assert_allclose(np.asarray(stats.dirichlet.logpdf(points, alpha)), scipy_stats.dirichlet.logpdf(points, alpha), rtol=1e-9)
    np.testing.assert_allclose(np.asarray(stats.dirichlet.pdf(points[:2], alpha)), scipy_stats.dirichlet.pdf(points[:2], alpha), rtol=1e-9)
    x, root = RNG.randn(4, 3), RNG.randn(3, 3)
    for mean, cov in ((x[0], root @ root.T + np.eye(3)), (x[0], 2.0)):
        expected = scipy_stats.multivariate_normal.logpdf(x, mean, cov)
        np.testing.assert_allclose(np.asarray(stats.multivariate_normal.logpdf(x, mean, cov)), expected, rtol=1e-9)
    slope = tracejit.grad(lambda mean: stats.multivariate_normal.logpdf(x[1], mean, np.eye(3)))(jnp.asarray(x[0]))
    np.testing.assert_allclose(np.asarray(slope), x[1] - x[0], rtol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_descriptive(axis):
    a = RNG.randint(0, 4, (6, 5)).astype(float)
    for keepdims in (False, True):
        for ours, theirs in zip(stats.mode(a, axis, keepdims=keepdims), scipy_stats.mode(a, axis, keepdims=keepdims)):
            np.testing.assert_array_equal(np.asarray(ours), theirs)
    for method in ("average", "min", "max", "dense", "ordinal"):
        np.testing.assert_array_equal(np.asarray(stats.rankdata(a, method, axis=axis)), scipy_stats.rankdata(a, method, axis=axis))
    np.testing.assert_allclose(np.asarray(stats.sem(a, axis)), scipy_stats.sem(a, axis), rtol=1e-9)
    with pytest.raises(NotImplementedError):
        stats.mode(a, nan_policy="omit")


@pytest.mark.parametrize("options", [{}, {"weights": RNG.rand(30)}, {"bw_method": "silverman"}, {"bw_method": 0.4}])
def test_kde(options):
    data, points = RNG.randn(2, 30), RNG.randn(2, 7)
    ours, theirs = stats.gaussian_kde(data, **options), scipy_stats.gaussian_kde(data, **options)
    np.testing.assert_allclose(np.asarray(tracejit.jit(lambda kde, x: kde(x))(ours, points)), theirs(points), rtol=1e-8)
    np.testing.assert_allclose(np.asarray(ours.logpdf(points)), theirs.logpdf(points), rtol=1e-8)
    assert float(ours.integrate_gaussian(np.ones(2), np.eye(2))) == pytest.approx(theirs.integrate_gaussian(np.ones(2), np.eye(2)))
    assert float(ours.integrate_kde(ours)) == pytest.approx(theirs.integrate_kde(theirs))
    line, reference = stats.gaussian_kde(data[0]), scipy_stats.gaussian_kde(data[0])
    assert float(line.integrate_box_1d(-1.0, 1.0)) == pytest.approx(reference.integrate_box_1d(-1, 1))
    assert ours.resample(random.key(0), (9,)).shape == (2, 9)


@pytest.mark.parametrize("name", sorted(CONTINUOUS))
def test_density_has_finite_slopes_everywhere(name):
    slope = tracejit.vmap(tracejit.grad(lambda x: getattr(stats, name).pdf(x, *CONTINUOUS[name])))(jnp.asarray(X[:-3]))  # not at the ends of supports
    assert np.isfinite(np.asarray(slope)).all()


def test_signatures_are_those_of_jax():
    jax_stats = pytest.importorskip("jax.scipy.stats")
    for name in dir(jax_stats):
        module = getattr(jax_stats, name)
        for function in dir(module) if isinstance(module, types.ModuleType) and not name.startswith("_") else ():
            if not function.startswith("_"):
                theirs, ours = getattr(module, function), getattr(getattr(stats, name), function)
                assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)

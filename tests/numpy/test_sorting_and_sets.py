"""Sorting, searching, sets, counts and histograms against NumPy and jax.numpy."""
import numpy as np
import pytest
from oracle import assert_same, check, complexes, floats, ints

import tracejit as tj
import tracejit.numpy as jnp

NAN = np.array([3.0, np.nan, 1.0, -np.inf, np.nan, 2.0, np.inf, -0.0], np.float32)


@pytest.mark.parametrize("make", [lambda: floats(3, 4), lambda: ints(3, 4, high=0), lambda: ints(3, 4, low=0, dtype="uint8"), lambda: ints(3, 4, high=0) > -4])
def test_sort(make):
    x = make()
    for axis in (None, 0, 1, -1):
        check("sort", x, axis=axis)
        check("argsort", x, axis=axis, stable=True)
        check("sort", x, numpy=False, axis=axis, descending=True)
        check("argsort", x, numpy=False, axis=axis, descending=True)
    check("partition", x, 1, axis=0, numpy=lambda a, k, axis: np.sort(a, axis), jax=False)
    assert_same(jnp.take_along_axis(jnp.asarray(x), jnp.argpartition(jnp.asarray(x), 2, 1), 1)[:, 2], np.sort(x, 1)[:, 2])


def test_sort_of_special_values_and_complex():
    check("sort", NAN)
    check("argsort", NAN)
    check("sort", complexes(5))
    check("sort_complex", complexes(5))
    check("sort_complex", floats(5))
    check("lexsort", [ints(8, high=-6), ints(8, high=-5)])
    check("lexsort", [floats(2, 8), ints(2, 8, high=-5)], axis=1)
    for bad in (lambda: jnp.sort(jnp.ones(3), kind="quicksort"), lambda: jnp.argsort(jnp.ones(3), order="x"), lambda: jnp.sort(jnp.ones(3), axis=4)):
        with pytest.raises((TypeError, ValueError)):
            bad()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("method", ["scan", "scan_unrolled", "sort", "compare_all"])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9])
def test_searchsorted(side, method, n):
    a = np.sort(ints(n))
    v = ints(3, 4, low=-12, high=12)
    assert_same(jnp.searchsorted(jnp.asarray(a), jnp.asarray(v), side, method=method), np.searchsorted(a, v, side))


def test_searchsorted_options():
    a = floats(6)
    check("searchsorted", a, floats(4), sorter=np.argsort(a).astype(np.int32))
    check("searchsorted", np.sort(NAN), NAN)
    check("digitize", floats(5), np.array([-2.0, 0, 1], np.float32))
    check("digitize", floats(5), np.array([1.0, 0, -2], np.float32), right=True)
    for text in ("fb", "f", "b"):
        check("trim_zeros", np.array([0, 0, 1, 0, 2, 0], np.int32), text)


@pytest.mark.parametrize("make", [lambda: ints(20, high=0), lambda: NAN, lambda: ints(4, 5, high=-4), lambda: np.zeros(0, np.int32), lambda: floats(3) > 0])
def test_unique(make):
    x = make()
    check("unique", x)
    check("unique", x, True, True, True, numpy=False)
    if x.size:
        values, index, inverse, counts = jnp.unique(jnp.asarray(x), True, True, True)
        expected = np.unique(x, True, True, True)
        assert_same([values, index, inverse, counts], list(expected))
        check("unique", x, True, True, True, numpy=False, size=12)
        check("unique", x, True, True, True, numpy=False, size=2)
        check("unique", x, False, True, True, numpy=False, size=12, fill_value=7)
    check("unique", x, numpy=False, equal_nan=False)


def test_unique_along_an_axis():
    x = ints(6, 2, low=0, high=2)
    for axis in (0, 1):
        for options in ({}, {"return_index": True, "return_inverse": True, "return_counts": True}):
            check("unique", x, axis=axis, **options)
    check("unique", x, numpy=False, axis=0, size=5, return_counts=True)
    for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
        check(name, ints(10, high=-4), numpy=name != "unique_values")
    assert_same(tj.jit(lambda v: jnp.unique(v, size=4))(jnp.array([3, 1, 3, 2])), np.array([1, 2, 3, 1]))


def test_set_operations():
    a, b = ints(9, high=0), ints(7, high=-2)
    for name in ("intersect1d", "setdiff1d", "setxor1d", "union1d"):
        check(name, a, b)
        check(name, a, b, numpy=False, size=12, fill_value=99)
    check("intersect1d", a, b, return_indices=True)
    for method in ("auto", "compare_all", "binary_search", "sort"):
        check("isin", ints(3, 4), a, jax=False, numpy=lambda x, t, method: np.isin(x, t), method=method)
        check("isin", ints(3, 4), a, jax=False, numpy=lambda x, t, method, invert: np.isin(x, t, invert=True), method=method, invert=True)
    check("isin", ints(50), ints(40), numpy=True)
    check("isin", ints(3), np.zeros(0, np.int32))


def test_bincount():
    x = ints(20, low=0, high=6)
    check("bincount", x)
    check("bincount", x, floats(20))
    check("bincount", x, minlength=9)
    check("bincount", x, numpy=False, length=3)
    with pytest.raises(TypeError):
        jnp.bincount(jnp.ones(3))


def test_histograms():
    x, y, w = floats(40), floats(40), floats(40, low=0)
    edges = np.array([-3, -1, 0, 0.5, 3], np.float32)
    for bins in (5, edges):
        check("histogram", x, bins, numpy=True)
        check("histogram", x, bins, weights=w)
        check("histogram", x, bins, density=True)
        check("histogram_bin_edges", x, bins)
    check("histogram", x, 4, (-1, 1))
    check("histogram", ints(20), 4)
    check("histogram", np.full(3, 2.0, np.float32))
    check("histogram2d", x, y, 4)
    check("histogram2d", x, y, [3, 4], weights=w)
    check("histogram2d", x, y, 4, [[-1, 1], [-2, 2]], density=True)
    check("histogramdd", np.stack([x, y, w], 1), 3)
    check("histogramdd", np.stack([x, y], 1), [2, 3], density=True)


# --- statistics --------------------------------------------------------------------------------------

FEW = np.array([3.0, np.nan, 1.0, 5.0, np.nan, 2.0, 0.5], np.float32)
METHODS = ["linear", "lower", "higher", "midpoint"]
MORE_METHODS = ["inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
                "median_unbiased", "normal_unbiased"]


@pytest.mark.parametrize("method", METHODS + MORE_METHODS)
def test_quantile(method):
    x, jax = floats(4, 5), method in METHODS
    for q in (0.3, np.array([0.0, 0.25, 0.5, 0.9, 1.0], np.float32)):
        for axis in (None, 0, 1, (0, 1)):
            check("quantile", x, q, axis=axis, method=method, jax=jax)
        check("quantile", x, q, axis=1, method=method, keepdims=True, jax=jax)
        check("nanquantile", FEW, q, method=method, jax=jax)
        check("percentile", x, q * 100, axis=0, method=method, jax=jax)
    check("quantile", ints(7), 0.4, method=method, jax=jax)
    check("quantile", NAN, 0.5, method=method, jax=jax)


def test_nearest_quantiles_of_ties_are_the_lower_ones():
    """As in JAX; NumPy rounds such places to the even one."""
    assert_same(jnp.percentile(np.arange(7), np.array([25, 50, 75]), method="nearest"), np.float32([1, 3, 4]))
    x, q = floats(4, 5), 0.3
    places = np.ceil(q * (np.array(x.shape) - 1) - 0.5).astype(int)
    for axis in (0, 1):
        expected = np.take(np.sort(x, axis), places[axis], axis)
        assert_same(jnp.quantile(x, q, axis=axis, method="nearest"), expected)


def test_bins_that_fall():
    x, bins = np.float32([1, 2, 2.5, 1.5, 3, 3.5, np.inf, -np.inf]), np.float32([3, 2, 1])
    for right in (False, True):
        assert_same(jnp.digitize(x, bins, right=right), np.digitize(x, bins, right).astype(np.int32))


def test_medians():
    for axis in (None, 0, 1):
        check("median", floats(4, 5), axis=axis)
        check("median", floats(4, 5), axis=axis, keepdims=True)
    x = floats(4, 5)
    x[0, 1] = x[2, 1] = x[3, 3] = np.nan
    for axis in (None, 0, 1):
        check("nanmedian", x, axis=axis)
        check("nanquantile", x, np.array([0.2, 0.7], np.float32), axis=axis)
        check("nanpercentile", x, 40.0, axis=axis)
    check("quantile", floats(9), 0.3, method="inverted_cdf", weights=floats(9, low=0.1), jax=False)
    with pytest.raises(ValueError):
        jnp.quantile(jnp.ones(3), 0.5, method="nothing")


def test_covariance():
    x, y = floats(3, 8), floats(3, 8)
    for options in ({}, {"bias": True}, {"ddof": 0}, {"rowvar": False}, {"fweights": ints(8, low=1)}, {"aweights": floats(8, low=0.1)},
                    {"fweights": ints(8, low=1), "aweights": floats(8, low=0.1)}):
        check("cov", x, rtol=1e-4, **options)
    check("cov", x, y, rtol=1e-4)
    check("cov", x[0], rtol=1e-4)
    check("cov", complexes(2, 6), rtol=1e-4)
    check("corrcoef", x, rtol=1e-4)
    check("corrcoef", x[0], y[0], rtol=1e-4)
    check("corrcoef", complexes(3, 6), rtol=1e-4)


# --- numerics ----------------------------------------------------------------------------------------

def test_interp():
    xp, fp, x = np.sort(floats(6)), floats(6), floats(3, 5, low=-5, high=5)
    check("interp", x, xp, fp, rtol=1e-4)
    check("interp", x, xp, fp, left=-1, right=2.5, rtol=1e-4)
    check("interp", x, xp, fp, period=2.0, rtol=1e-3, atol=1e-4)
    check("interp", 0.2, xp, fp, rtol=1e-4, weak=False)
    check("interp", x, xp, fp, numpy=False, left="extrapolate", right="extrapolate", rtol=1e-4)


def test_gradient_and_integral():
    x = floats(5, 6)
    check("gradient", x, rtol=1e-4)
    check("gradient", x, 2.0, axis=1, rtol=1e-4)
    check("gradient", x, np.sort(floats(5)), np.sort(floats(6)), rtol=2e-3)
    check("gradient", ints(5), weak=False)
    check("trapezoid", x, axis=0, rtol=1e-4)
    check("trapezoid", x, np.sort(floats(6)), rtol=1e-4)
    check("trapezoid", x, dx=0.5, rtol=1e-4)
    check("unwrap", floats(3, 8, low=-10, high=10), rtol=1e-4, atol=1e-4)
    check("unwrap", floats(8, low=-10, high=10), discont=4.0, rtol=1e-4, atol=1e-4)
    check("unwrap", ints(8), period=4)


def test_polynomials():
    p, q = ints(4, low=1), ints(3, low=1)
    for name in ("polyadd", "polysub", "polymul"):
        check(name, p, q)
        check(name, q, p)
    check("polyval", p, floats(3, 2), rtol=1e-4)
    check("polyval", floats(40), 0.5, rtol=1e-4)
    check("polydiv", p.astype(np.float32), q.astype(np.float32), numpy=False, rtol=1e-4, atol=1e-4)
    for m in (0, 1, 2, 5):
        check("polyder", p, m)
        check("polyint", p, m, rtol=1e-4)
    check("polyint", p, 2, np.array([3.0, 4.0], np.float32), rtol=1e-4)
    check("poly", floats(4), rtol=1e-4)
    assert_same(np.sort_complex(np.asarray(jnp.roots(jnp.array([0.0, 1, -6, 11, -6, 0])))), np.sort_complex(np.roots([0.0, 1, -6, 11, -6, 0])), rtol=1e-3, atol=1e-4)
    x, y = np.linspace(-1, 1, 9).astype(np.float32), floats(9)
    check("polyfit", x, y, 3, rtol=1e-3, atol=1e-3)
    check("polyfit", x, np.stack([y, y * 2], 1), 2, rtol=1e-3, atol=1e-3)
    check("polyfit", x, y, 2, w=floats(9, low=0.5), rtol=1e-3, atol=1e-3)
    check("polyfit", x, y, 2, cov=True, rtol=1e-3, atol=1e-3)
    assert len(jnp.polyfit(jnp.asarray(x), jnp.asarray(y), 2, full=True)) == 5


def test_windows():
    for name in ("bartlett", "blackman", "hamming", "hanning"):
        for n in (0, 1, 2, 7, 12):
            check(name, n, rtol=1e-4, atol=1e-6)
    for n in (0, 1, 9):
        check("kaiser", n, 5.0, rtol=1e-4)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolution(name, mode):
    for n, m in ((6, 3), (3, 6), (5, 4), (4, 4), (4, 5), (1, 3)):
        check(name, floats(n), floats(m), mode=mode, rtol=1e-4, atol=1e-5)
        check(name, complexes(n), complexes(m), mode=mode, rtol=1e-4, atol=1e-4)
    check(name, ints(5), ints(3), mode=mode)
    with pytest.raises(ValueError):
        getattr(jnp, name)(jnp.ones((2, 2)), jnp.ones(2))


def test_packing_bits():
    x = ints(3, 11, low=0, high=2, dtype="uint8")
    for axis in (None, 0, 1):
        for order in ("big", "little"):
            check("packbits", x, axis=axis, bitorder=order)
            check("unpackbits", x, axis=axis, bitorder=order)
    check("unpackbits", x, axis=1, count=5)
    check("unpackbits", x, axis=1, count=-3)
    check("unpackbits", x, axis=1, count=100)


def test_files(tmp_path):
    x = jnp.asarray(floats(3))
    jnp.save(tmp_path / "x.npy", x)
    assert_same(jnp.load(tmp_path / "x.npy"), np.asarray(x))
    jnp.savez(tmp_path / "x.npz", a=x)
    assert_same(jnp.load(tmp_path / "x.npz")["a"], np.asarray(x))
    jnp.save(tmp_path / "b.npy", x.astype(jnp.bfloat16))
    assert jnp.load(tmp_path / "b.npy").dtype == jnp.bfloat16


def test_text():
    x = jnp.array([1.23456, 2.0])
    assert jnp.array_str(x) == str(np.asarray(x)) and jnp.array_repr(x) == repr(x)
    with jnp.printoptions(precision=2):
        assert "1.23]" in jnp.array_str(x) or "1.23 2" in jnp.array_str(x)

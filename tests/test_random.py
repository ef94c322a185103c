"""Samplers against published vectors, JAX's values (stored, and live where JAX is installed) and SciPy's distributions."""
from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

import tracejit
import tracejit.numpy as jnp
from random_cases import CALLS, CASES, GOLDEN, SEED, plain
from tracejit import lax, random
from tracejit.random import threefry

STORED = json.loads(GOLDEN.read_text())
KEY = random.PRNGKey(SEED)
MANY = 20_000


def u32(*words):
    return jnp.asarray(np.array(words, np.uint32))


@pytest.mark.parametrize("key, counter, expected", [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
])
def test_threefry_known_answers(key, counter, expected):
    """The vectors that Random123 ships (kat_vectors, threefry2x32, 20 rounds)."""
    words = threefry.threefry2x32(u32(*key), *u32(*counter))
    assert tuple(int(word) for word in words) == expected


@pytest.mark.parametrize("name, number", CALLS)
def test_stored_values(name, number):
    out = getattr(random, name)(KEY, *CASES[name][number])
    tolerance = 0 if np.asarray(out).dtype.kind in "iub" else 2e-5
    low_precision = np.asarray(out).dtype.itemsize == 2 and tolerance
    np.testing.assert_allclose(plain(out), STORED[f"{name}-{number}"], rtol=1e-2 if low_precision else tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(CASES))
def test_live_values(name):
    jax = pytest.importorskip("jax")
    for call in CASES[name]:
        ours, theirs = getattr(random, name)(KEY, *call), getattr(jax.random, name)(jax.random.PRNGKey(SEED), *call)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        low_precision = ours.dtype.itemsize == 2 and ours.dtype.kind != "u"
        np.testing.assert_allclose(plain(ours), plain(theirs), rtol=1e-2 if low_precision else 2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["bits", "uniform", "normal", "randint", "gumbel", "gamma", "poisson", "permutation", "choice"])
def test_jit_and_vmap_draw_the_same(name):
    call = CASES[name][0]

    def draw(key):
        return getattr(random, name)(key, *call)

    keys = random.split(random.key(3), 3)
    one_by_one = np.stack([np.asarray(draw(key)) for key in keys])
    for batched in (tracejit.vmap(draw), tracejit.jit(tracejit.vmap(draw))):
        np.testing.assert_allclose(np.asarray(batched(keys)), one_by_one, rtol=1e-6)


DISTRIBUTIONS = {
    "uniform": ((), stats.uniform()),
    "normal": ((), stats.norm()),
    "exponential": ((), stats.expon()),
    "laplace": ((), stats.laplace()),
    "logistic": ((), stats.logistic()),
    "gumbel": ((), stats.gumbel_r()),
    "cauchy": ((), stats.cauchy()),
    "maxwell": ((), stats.maxwell()),
    "truncated_normal": ((-0.5, 2.0), stats.truncnorm(-0.5, 2.0)),
    "gamma": ((0.7,), stats.gamma(0.7)),
    "beta": ((0.7, 2.0), stats.beta(0.7, 2.0)),
    "chisquare": ((3.0,), stats.chi2(3.0)),
    "t": ((4.0,), stats.t(4.0)),
    "f": ((5.0, 7.0), stats.f(5.0, 7.0)),
    "pareto": ((2.5,), stats.pareto(2.5)),
    "rayleigh": ((2.0,), stats.rayleigh(scale=2.0)),
    "weibull_min": ((2.0, 1.5), stats.weibull_min(1.5, scale=2.0)),
    "wald": ((2.0,), stats.invgauss(2.0)),
    "triangular": ((0.0, 1.0, 4.0), stats.triang(0.25, 0, 4)),
    "generalized_normal": ((1.5,), stats.gennorm(1.5)),
    "lognormal": ((0.5,), stats.lognorm(0.5)),
}


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distribution(name, dtype):
    parameters, expected = DISTRIBUTIONS[name]
    samples = getattr(random, name)(random.key(11), *parameters, shape=(MANY,), dtype=dtype)
    assert stats.kstest(np.asarray(samples, np.float64), expected.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name, parameters, expected", [
    ("poisson", (4.0,), stats.poisson(4.0)), ("poisson", (60.0,), stats.poisson(60.0)),
    ("binomial", (12, 0.3), stats.binom(12, 0.3)), ("binomial", (300, 0.8), stats.binom(300, 0.8)),
    ("geometric", (0.3,), stats.geom(0.3)),
])
def test_discrete_distribution(name, parameters, expected):
    samples = np.asarray(getattr(random, name)(random.key(4), *parameters, shape=(MANY,)))
    values = np.arange(expected.ppf(0.01), expected.ppf(0.99) + 1)
    observed = [(samples == value).sum() for value in values]
    probabilities = expected.pmf(values)
    rest = 1 - probabilities.sum()
    assert stats.chisquare([*observed, MANY - sum(observed)], MANY * np.array([*probabilities, rest])).pvalue > 1e-4


@pytest.mark.parametrize("sampler", [random.gamma, random.loggamma])
def test_gamma_gradient_is_that_of_the_quantile(sampler):
    """At a fixed quantile, dx/da = -(dF/da) / (dF/dx)."""
    shape_parameter = 2.3
    x, slope = tracejit.jvp(lambda a: sampler(random.key(1), a, dtype="float64"), (jnp.float64(shape_parameter),), (jnp.float64(1),))
    x, slope = (float(np.exp(x)), float(slope) * float(np.exp(x))) if sampler is random.loggamma else (float(x), float(slope))
    quantile, step = stats.gamma(shape_parameter).cdf(x), 1e-4
    expected = (stats.gamma(shape_parameter + step).ppf(quantile) - stats.gamma(shape_parameter - step).ppf(quantile)) / (2 * step)
    assert slope == pytest.approx(expected, rel=1e-4)


def test_wide_bits_and_float64():
    wide = random.bits(KEY, (3,), "uint64")
    assert wide.dtype == np.uint64
    np.testing.assert_array_equal(np.asarray(wide >> np.uint64(32)) ^ np.asarray(wide & np.uint64(2**32 - 1)), np.asarray(random.bits(KEY, (3,), "uint32")))
    x = np.asarray(random.uniform(KEY, (1000,), "float64"))
    assert x.dtype == np.float64 and len(set(x)) == 1000 and (x != x.astype(np.float32)).any()
    assert random.randint(KEY, (5,), 0, 2**40, "int64").max() > 2**33


def test_samples_depend_on_position_alone():
    """A longer draw begins with the shorter one, so results do not depend on how work is divided."""
    np.testing.assert_array_equal(np.asarray(random.normal(KEY, (10,))), np.asarray(random.normal(KEY, (100,)))[:10])


def test_key_arrays():
    keys = random.split(random.key(0), (2, 3))
    assert (keys.shape, keys.ndim, keys.size, len(keys), str(keys.dtype)) == ((2, 3), 2, 6, 2, "key<fry>")
    assert keys[0].shape == (3,) and keys[1, 2].shape == () and keys[..., 0].shape == (2,) and keys[None].shape == (1, 2, 3)
    assert keys.reshape(6).shape == keys.reshape(3, -1).ravel().shape == (6,)
    assert keys.T.shape == keys.swapaxes(0, 1).shape == (3, 2) and keys[:, :1].squeeze(1).shape == (2,)
    assert bool((keys.T[2, 1] == keys[1, 2]).all()) and [row.shape for row in keys] == [(3,), (3,)]
    assert bool((keys.at[0, 1].set(random.key(9))[0, 1] == random.key(9)).all())
    assert bool((random.wrap_key_data(random.key_data(keys)) == keys).all())
    for misuse in (lambda: bool(keys[0, 0]), lambda: np.asarray(keys), lambda: len(random.key(0)), lambda: hash(keys)):
        with pytest.raises(TypeError):
            misuse()


def test_both_styles_of_key_agree():
    new, old = random.key(8), random.PRNGKey(8)
    np.testing.assert_array_equal(np.asarray(random.key_data(random.split(new, 3))), np.asarray(random.split(old, 3)))
    np.testing.assert_array_equal(np.asarray(random.normal(new, (3,))), np.asarray(random.normal(old, (3,))))
    assert random.key_impl(old) == "threefry2x32" and bool(random.clone(new) == new)


def test_keys_cross_transforms():
    keys = random.split(random.key(0), 4)

    def walk(key, _):
        key, draw_key = random.split(key)
        return key, random.normal(draw_key)

    _, scanned = tracejit.jit(lambda key: lax.scan(walk, key, None, length=3))(keys[0])
    key, expected = keys[0], []
    for _ in range(3):
        key, x = walk(key, None)
        expected.append(float(x))
    np.testing.assert_allclose(np.asarray(scanned), expected, rtol=1e-6)
    mapped = lax.map(lambda key: random.normal(key), keys)
    np.testing.assert_allclose(np.asarray(mapped), np.asarray(tracejit.vmap(random.normal)(keys)), rtol=1e-6)
    folded = tracejit.vmap(random.fold_in, in_axes=(None, 0))(keys[0], jnp.arange(3))
    assert bool((folded[2] == random.fold_in(keys[0], 2)).all())


def test_seeds():
    for seed, words in ((3, (0, 3)), (-1, (0, 2**32 - 1)), (2**40 + 5, (0, 5))):
        assert tuple(random.PRNGKey(seed).tolist()) == words
    assert tuple(random.PRNGKey(jnp.asarray(np.array(2**40 + 5))).tolist()) == (256, 5)
    assert tuple(tracejit.jit(random.PRNGKey)(7).tolist()) == (0, 7)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators(impl):
    key = random.key(0, impl=impl)
    first, second = random.split(key)
    draws = [np.asarray(random.normal(k, (1000,))) for k in (first, second, random.fold_in(key, 5))]
    assert all(stats.kstest(draw, "norm").pvalue > 1e-4 for draw in draws)
    assert all(abs(np.corrcoef(draws)[i, j]) < 0.2 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("call, error", [
    (lambda: random.key(1.5), TypeError),
    (lambda: random.key(jnp.arange(2)), TypeError),
    (lambda: random.key(0, impl="none"), ValueError),
    (lambda: random.normal(random.split(random.key(0))), ValueError),
    (lambda: random.normal(3), TypeError),
    (lambda: random.normal(jnp.zeros(2)), TypeError),
    (lambda: random.normal(KEY, (2.0,)), TypeError),
    (lambda: random.normal(KEY, dtype=int), ValueError),
    (lambda: random.randint(KEY, (2,), 0, 3, float), TypeError),
    (lambda: random.gamma(KEY, jnp.ones(3), (2,)), ValueError),
    (lambda: random.pareto(KEY, jnp.ones(3), dtype="float16"), ValueError),
    (lambda: random.choice(KEY, 3, (4,), replace=False), ValueError),
    (lambda: random.choice(KEY, 3, (2,), p=jnp.ones(2)), ValueError),
    (lambda: random.bernoulli(KEY, 1), TypeError),
    (lambda: random.permutation(KEY, 1.5), TypeError),
    (lambda: random.fold_in(KEY, jnp.arange(2)), TypeError),
    (lambda: random.categorical(KEY, jnp.zeros(3), shape=(4,), replace=False), ValueError),
])
def test_errors(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("draw", [random.uniform, random.normal, random.exponential])
def test_dtypes_that_no_array_has(draw) -> None:
    with pytest.raises(TypeError, match="float8_e8m0fnu is not a dtype that numbers are drawn in"):
        draw(random.key(0), (3,), dtype=jnp.float8_e8m0fnu)

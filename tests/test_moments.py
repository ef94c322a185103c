"""Variances in one pass over memory: as exact as two, whatever is added to the elements, and with the same bits on any number of threads."""
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.ir.trace import trace
from tracejit.lax.moments import squared_deviations
from tracejit.runtime.threads import threads
from tracejit.transforms.passes.pipeline import PASSES

LARGE = [((1200, 1000), 0), ((9001, 130), 0), ((70001, 16), 0), ((400001, 3), 0), ((130, 9001), 0), ((3, 40000), 1),
         ((1100001,), None), ((8, 30, 40, 130), (0, 1, 2)), ((16, 10, 60, 121), (0, 2, 3)), ((1, 1100001), 1)]


def folds(f, *args):
    graph, _ = trace(lambda *xs: [f(*xs)], [jnp.asarray(x).type for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return [eqn.op.name for eqn in graph.eqns].count("reduce_deviations")


def data(shape, offset, dtype=np.float32):
    return (np.random.default_rng(3).standard_normal(shape) + offset).astype(dtype)


@pytest.mark.parametrize("offset", [0, 300, 1e4, 1e6])
@pytest.mark.parametrize("shape,axis", LARGE, ids=str)
def test_variances_are_exact_wherever_the_mean_is(shape, axis, offset):
    x = data(shape, offset)
    mean, variance = tj.jit(lambda x: (jnp.mean(x, axis), jnp.var(x, axis)))(x)
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis), rtol=6e-6)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape,axis", LARGE[:6], ids=str)
def test_variances_in_double_precision(shape, axis):
    with tj.enable_x64(True):
        x = data(shape, 1e9, np.float64)
        exact = (x - 1e9).var(axis)
        np.testing.assert_allclose(tj.jit(lambda x: jnp.var(x, axis))(x), exact, rtol=1e-12)


def test_bits_do_not_depend_on_threads():
    for shape, axis in LARGE:
        x = data(shape, 5)
        found = []
        for n in (1, 2):
            with threads(n):
                found.append(np.asarray(tj.jit(lambda x: jnp.var(x, axis))(x)))
        np.testing.assert_array_equal(*found)


WRITTEN = {
    "squares": lambda x: jnp.mean((x - x.mean(0)) ** 2, 0), "products": lambda x: jnp.sum((x - x.mean(0)) * (x - x.mean(0)), 0),
    "kept axes": lambda x: jnp.var(x, 0, keepdims=True), "the other way round": lambda x: jnp.mean((x.mean(0) - x) ** 2, 0),
    "of what is computed": lambda x: jnp.var(jnp.tanh(x), 0), "standardized": lambda x: (x - x.mean(0)) / x.std(0),
    "unbiased": lambda x: jnp.var(x, 0, ddof=1), "of half precision": lambda x: jnp.var(x.astype(jnp.bfloat16), 0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_a_variance_is_folded_in_one_pass(name):
    x = data((2003, 700), 3)
    assert folds(WRITTEN[name], x) == 1
    exact = np.asarray(x if "half" not in name else jnp.asarray(x, jnp.bfloat16), np.float64)
    expected = {"of what is computed": lambda: np.tanh(exact).var(0), "products": lambda: exact.var(0) * 2003, "kept axes": lambda: exact.var(0, keepdims=True),
                "standardized": lambda: (exact - exact.mean(0)) / exact.std(0), "unbiased": lambda: exact.var(0, ddof=1)}
    tolerance = dict(rtol=4e-3) if "half" in name else dict(rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(tj.jit(WRITTEN[name])(x), np.float64), expected.get(name, lambda: exact.var(0))(), **tolerance)


@pytest.mark.parametrize("f", [
    lambda x: jnp.mean((x - x.mean(0)) ** 3, 0), lambda x: jnp.mean((x - x.mean(1, keepdims=True)) ** 2, 0),
    lambda x: jnp.mean((x - x.mean()) ** 2, 0), lambda x: jnp.sum((x - x.sum(0) / 7) ** 2, 0), lambda x: jnp.mean((x - jnp.flip(x.mean(0))) ** 2, 0),
    lambda x: jnp.mean((x - jnp.abs(x).mean(0)) ** 2, 0), lambda x: jnp.var(x[:50], 0), lambda x: jnp.var(x, 1),
])
def test_what_is_none_or_stays_in_the_cache_is_left_alone(f):
    x = data((2003, 700), 3)
    assert folds(f, x) == 0
    np.testing.assert_allclose(tj.jit(f)(x), f(jnp.asarray(x)), rtol=1e-4, atol=1e-4)


def test_special_values():
    x = np.ones((3001, 400), np.float32)
    x[7, 1], x[-1, 2], x[:, 3], x[:, 4], x[5, 5] = np.inf, -np.inf, 1e30, 3e38, np.nan
    found = np.asarray(tj.jit(lambda x: jnp.var(x, 0))(x))
    assert np.isnan(found[[1, 2, 5]]).all() and (np.delete(found, [1, 2, 4, 5]) == 0).all()


def test_gradients_of_variances():
    x = data((2003, 600), 3)
    for f, g in [(lambda x: jnp.var(x, 0), lambda x: 2 * (x - x.mean(0)) / len(x))]:
        np.testing.assert_allclose(tj.jit(tj.grad(lambda x: f(x).sum()))(x), g(x.astype(np.float64)), rtol=1e-4, atol=1e-7)
        twice = tj.jit(tj.grad(lambda x: (tj.grad(lambda x: f(x).sum())(x) ** 2).sum()))(x)
        np.testing.assert_allclose(twice, 8 * (x - x.mean(0, dtype=np.float64)) / len(x) ** 2, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(tj.grad(lambda x: squared_deviations(x, (0,)).sum())(x[:9, :4]), 2 * (x[:9, :4] - x[:9, :4].mean(0)), atol=1e-5)

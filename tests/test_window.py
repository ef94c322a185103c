"""Reductions over windows: against windows cut out one by one; pooling's derivatives to second order; errors."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.errors import ShapeError

RNG = np.random.default_rng(0)
KINDS = {"sum": (lax.add, 0.0, np.add), "max": (lax.max, -np.inf, np.maximum), "min": (lax.min, np.inf, np.minimum),
         "product": (lax.mul, 1.0, np.multiply)}
GEOMETRY = [
    dict(window_dimensions=(1, 2, 3), window_strides=(1, 2, 2)),
    dict(window_dimensions=(2, 3, 3), window_strides=(1, 1, 2), padding="SAME"),
    dict(window_dimensions=(1, 3, 2), padding="SAME_LOWER"),
    dict(window_dimensions=(2, 2, 3), window_strides=(2, 1, 1), padding=((0, 1), (2, 1), (1, 0)), base_dilation=(1, 2, 1),
         window_dilation=(1, 1, 2)),
    dict(window_dimensions=(1, 1, 4), padding=((0, 0), (-1, 0), (2, -3)), base_dilation=(1, 1, 3)),
    dict(window_dimensions=(1, 1, 1)),
]


def reduced(x, init, combine, window_dimensions, window_strides=None, padding="VALID", base_dilation=None, window_dilation=None):
    """Every window cut out of the padded array."""
    n = x.ndim
    strides, base, holes = ((1,) * n if v is None else v for v in (window_strides, base_dilation, window_dilation))
    spread = np.full([(m - 1) * b + 1 for m, b in zip(x.shape, base)], init)
    spread[tuple(slice(None, None, b) for b in base)] = x
    reach = [(k - 1) * d + 1 for k, d in zip(window_dimensions, holes)]
    pads = lax.padtype_to_pads(spread.shape, reach, strides, padding) if isinstance(padding, str) else padding
    full = np.pad(spread, [(max(low, 0), max(high, 0)) for low, high in pads], constant_values=init)
    full = full[tuple(slice(max(-low, 0), size - max(-high, 0)) for (low, high), size in zip(pads, full.shape))]
    counts = [(m - r) // s + 1 for m, r, s in zip(full.shape, reach, strides)]
    out = np.empty(counts)
    for at in np.ndindex(*counts):
        cut = full[tuple(slice(p * s, p * s + r, d) for p, s, r, d in zip(at, strides, reach, holes))]
        out[at] = combine.reduce(cut.reshape(-1), initial=init)
    return out


@pytest.mark.parametrize("kind, geometry", list(itertools.product(KINDS, GEOMETRY)), ids=str)
def test_windows_are_reduced(kind, geometry):
    function, init, combine = KINDS[kind]
    x = RNG.normal(size=(3, 7, 8))
    wanted = reduced(x, init, combine, **geometry)
    found = tj.jit(lambda x: lax.reduce_window(x, init, function, **geometry))(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    shape = lax.reduce_window_shape_tuple(x.shape, geometry["window_dimensions"], geometry.get("window_strides", (1, 1, 1)),
                                          geometry.get("padding", "VALID"), geometry.get("base_dilation"),
                                          geometry.get("window_dilation"))
    assert shape == wanted.shape


@pytest.mark.parametrize("kind", ["sum", "max", "min"])
@pytest.mark.parametrize("geometry", GEOMETRY[:4], ids=str)
def test_derivatives_to_second_order(kind, geometry):
    function, init, combine = KINDS[kind]
    x = RNG.permutation(168).reshape(3, 7, 8) / 10.0  # no ties
    pooled = lambda x: lax.reduce_window(x, init, function, **geometry)
    ct, t = RNG.normal(size=pooled(x).shape), RNG.normal(size=x.shape)
    slope = lambda f, x, t, h=1e-6: (np.asarray(f(x + h * t)) - np.asarray(f(x - h * t))) / (2 * h)
    straight = lambda x: np.nan_to_num(np.asarray(pooled(x)), posinf=0, neginf=0)
    pulled, = tj.vjp(pooled, x)[1](ct)
    np.testing.assert_allclose(np.sum(np.asarray(pulled) * t), np.sum(ct * slope(straight, x, t)), rtol=1e-6)
    cubed = lambda x: tj.vjp(lambda x: pooled(lax.integer_pow(x, 3)), x)[1](ct)[0]
    _, found = tj.jvp(cubed, (x + 1,), (t,))
    np.testing.assert_allclose(found, slope(cubed, x + 1, t), rtol=1e-5, atol=1e-5)


def test_an_extreme_s_derivative_goes_to_its_first_element():
    x = np.float32([[1, 1, 2, 2, 0, 0, -1, -1]])
    ct = np.float32([[1, 2, 3, 4]])
    for function, init in ((lax.max, -np.inf), (lax.min, np.inf)):
        pooled = lambda x: lax.reduce_window(x, init, function, (1, 2), (1, 2))
        pulled, = tj.vjp(pooled, x)[1](ct)
        np.testing.assert_array_equal(pulled, [[1, 0, 2, 0, 3, 0, 4, 0]])


def test_average_pooling_counts_what_is_there():
    x = RNG.uniform(size=(1, 5, 5, 2)).astype(np.float32)
    window = dict(window_dimensions=(1, 2, 2, 1), window_strides=(1, 2, 2, 1), padding="SAME")

    @tj.jit
    def pool(x):
        total, count = (lax.reduce_window(v, np.float32(0), lax.add, **window) for v in (x, lax.full_like(x, 1)))
        return lax.div(total, count)
    found = np.asarray(pool(x))
    np.testing.assert_allclose(found[0, 2, 2], x[0, 4, 4], rtol=1e-6)
    np.testing.assert_allclose(found[0, 0, 2], x[0, :2, 4].mean(0), rtol=1e-6)


def test_any_function_and_trees():
    x = RNG.uniform(0.5, 2, (4, 6))
    found = lax.reduce_window(x, 1.0, lambda a, b: lax.add(lax.mul(a, b), 0.0), (2, 2))
    np.testing.assert_allclose(found, reduced(x, 1.0, np.multiply, (2, 2)), rtol=1e-12)

    def later(a, b):
        pick = lax.ge(b[0], a[0])
        return lax.select(pick, b[0], a[0]), lax.select(pick, b[1], a[1])
    place = np.arange(24.0).reshape(4, 6)
    values, places = lax.reduce_window((x, place), (-np.inf, -1.0), later, (1, 3))
    np.testing.assert_array_equal(values, reduced(x, -np.inf, np.maximum, (1, 3)))
    np.testing.assert_array_equal(np.take(x, np.asarray(places).astype(int)), values)


def test_integers_and_other_first_values():
    x = RNG.integers(-50, 50, (3, 9)).astype(np.int8)
    found = lax.reduce_window(x, np.int8(7), lax.max, (1, 3), (1, 3))
    np.testing.assert_array_equal(found, np.maximum(x.reshape(3, 3, 3).max(-1), 7))
    assert found.dtype == np.int8


def test_vmap_is_a_loop():
    x = RNG.normal(size=(4, 5, 6))
    f = lambda x: lax.reduce_window(x, -np.inf, lax.max, (2, 3), (1, 2), "SAME")
    np.testing.assert_array_equal(tj.vmap(f)(x), [np.asarray(f(v)) for v in x])
    g = tj.vmap(tj.grad(lambda x: lax.reduce_sum(f(x), (0, 1))))
    np.testing.assert_array_equal(g(x), [np.asarray(tj.grad(lambda x: lax.reduce_sum(f(x), (0, 1)))(v)) for v in x])


@pytest.mark.parametrize("call, error, message", [
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (2,)), ShapeError, "1 entries for 2 axes"),
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 0)), ShapeError, "at least 1"),
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), padding=((1, 1),)), ShapeError, "1 pairs of padding"),
    (lambda x: lax.reduce_window((x, x), (0.0,), lax.add, (2, 2)), ValueError, "2 operands need as many init values"),
    (lambda x: lax.reduce_window((x, x[:2]), (0.0, 0.0), lax.add, (2, 2)), ShapeError, "different shapes"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((3, 4)))

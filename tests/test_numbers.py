"""A Python number beside a float64 array has its full value, in every way in which both can enter a program."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config

X, S = np.arange(1.0, 4.0), 0.1
scaled = lambda x, s: x * s
pair = lambda c: (c[0] * c[1], c[1])
WAYS = {
    "jit": lambda x, s: tj.jit(scaled)(x, s),
    "keywords": lambda x, s: tj.jit(scaled)(x=x, s=s),
    "a pytree": lambda x, s: tj.jit(lambda d: d["x"] * d["s"])({"x": x, "s": s}),
    "a tuple": lambda x, s: tj.jit(lambda p, y: p[0] * y)((s, None), x),
    "static beside": lambda x, s: tj.jit(lambda x, s, n: x * s * n, static_argnums=2)(x, s, 1),
    "ahead of time": lambda x, s: tj.jit(scaled).lower(x, s).compile()(x, s),
    "nested": lambda x, s: tj.jit(lambda x: tj.jit(scaled)(x, s))(x),
    "captured": lambda x, s: tj.jit(lambda s: jnp.asarray(x) * s)(s),
    "vmap": lambda x, s: tj.vmap(scaled, in_axes=(0, None))(x, s),
    "jit of vmap": lambda x, s: tj.jit(tj.vmap(scaled, in_axes=(0, None)))(x, s),
    "jvp": lambda x, s: tj.jvp(scaled, (x, s), (x, 1.0))[0],
    "vjp": lambda x, s: tj.vjp(scaled, x, s)[0],
    "linearize": lambda x, s: tj.linearize(scaled, x, s)[0],
    "grad": lambda x, s: x * tj.jit(tj.grad(lambda x, s: (x * s).sum()))(x, s),
    "checkpoint": lambda x, s: tj.jit(lambda x: tj.checkpoint(scaled)(x, s))(x),
    "scan": lambda x, s: lax.scan(lambda c, x: (c, x * c), s, x)[1],
    "fori_loop": lambda x, s: lax.fori_loop(0, 1, lambda _, c: pair(c), (x, s))[0],
    "fori_loop of a traced length": lambda x, s: tj.jit(lambda n: lax.fori_loop(0, n, lambda _, c: pair(c), (x, s))[0])(1),
    "while_loop": lambda x, s: lax.while_loop(lambda c: c[2] < 1, lambda c: (*pair(c), c[2] + 1), (x, s, 0))[0],
    "cond": lambda x, s: tj.jit(lambda x: lax.cond(x[0] > 0, scaled, scaled, x, s))(x),
    "eager": lambda x, s: jnp.asarray(x) * s,
}


@pytest.mark.parametrize("way", WAYS)
def test_beside_float64_a_number_keeps_its_digits(way):
    found = WAYS[way](X, S)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, X * S)


@pytest.mark.parametrize("way", WAYS)
def test_beside_float32_it_stays_single(way):
    found = WAYS[way](X.astype(np.float32), S)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X.astype(np.float32) * np.float32(S))


def test_native_dispatch_converts_the_number():
    """One trace per kind of argument, whatever the number; later calls do not pass through Python."""
    calls = []
    f = tj.jit(lambda x, s: calls.append(1) or x * s)
    for s in (0.1, 0.2, 0.3):
        np.testing.assert_array_equal(f(X, s), X * s)
        np.testing.assert_array_equal(f(X.astype(np.complex128), s), X * s)
        assert f(X.astype(np.float32), s).dtype == np.float32
    assert len(calls) == 3


def test_complex_numbers_too():
    np.testing.assert_array_equal(tj.jit(scaled)(X, 0.1j), X * 0.1j)
    assert tj.jit(scaled)(X.astype(np.float32), 0.1j).dtype == np.complex64


def test_without_64_bits_all_is_single():
    with config.setting(enable_x64=False):
        assert tj.jit(scaled)(X, S).dtype == np.float32


def test_a_number_alone_is_single():
    assert tj.jit(lambda s: s * 2)(S).dtype == np.float32


def test_without_64_bits_random_words_and_long_products_are_the_same():
    """They are computed in 64 bits inside, whatever happens to a program's inputs."""
    def compute():
        key = tj.random.key(0, impl="rbg")
        state, bits = tj.lax.rng_bit_generator(np.uint32([1, 2, 2**32 - 1, 4]), (5,))
        return (state, bits, tj.random.normal(key, (4,)),
                tj.lax.mulhi(jnp.array([2**31 - 1, -5, 77777777], jnp.int32), jnp.array([77, 2**30, -99999999], jnp.int32)))
    expected = compute()
    with config.setting(enable_x64=False):
        for want, got in zip(expected, compute()):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(expected[3], [38, -2, (77777777 * -99999999) >> 32])
    assert tj.lax.mulhi(2**30, 2**4).dtype == np.int32
    np.testing.assert_array_equal(expected[0], [1, 2, 1, 5])  # blocks of four words: the counter moved by two, with a carry

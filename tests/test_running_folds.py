"""cumsum, cummax and their like along every axis, at lengths that fill vectors and blocks and that do not."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.runtime.threads import threads

CASES = [((1,), 0), ((7,), 0), ((65536,), 0), ((70001,), 0), ((3, 40000), 1), ((20, 333), 1), ((20, 333), 0), ((4, 5, 64), 1),
         ((2, 30, 33), 1), ((0, 3), 0), ((3, 0), 0)]
KINDS = {"sum": (lax.cumsum, np.add), "max": (lax.cummax, np.maximum), "min": (lax.cummin, np.minimum)}


def reference(ufunc, x, axis: int, reverse: bool):
    turn = lambda v: np.flip(v, axis) if reverse else v
    return turn(ufunc.accumulate(turn(x), axis, dtype=x.dtype))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape,axis", CASES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_integers_exactly(kind, shape, axis, reverse):
    x = np.random.default_rng(1).integers(-100, 100, shape).astype(np.int32)
    function, ufunc = KINDS[kind]
    got = tj.jit(lambda x: function(x, axis, reverse=reverse))(x)
    np.testing.assert_array_equal(np.asarray(got), reference(ufunc, x, axis, reverse))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape,axis", [((70001,), 0), ((20, 333), 1), ((20, 333), 0)], ids=str)
def test_sums_of_floats(shape, axis, dtype):
    rng = np.random.default_rng(2)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype) if dtype == np.complex64 else \
        rng.standard_normal(shape).astype(dtype)
    want = np.cumsum(x.astype(np.complex128), axis)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.asarray(tj.jit(lambda x: lax.cumsum(x, axis))(x)), want, atol=40 * eps * np.abs(want).max())


def test_nothing_leaks_backward():
    x = np.ones(1000, np.float32)
    x[501] = np.nan
    got = np.asarray(tj.jit(lambda x: lax.cumsum(x))(x))
    assert np.isfinite(got[:501]).all() and np.isnan(got[501:]).all()


def test_same_bits_for_any_number_of_threads():
    x = np.random.default_rng(3).standard_normal(200_001).astype(np.float32)
    f = tj.jit(lambda x: lax.cumsum(x))
    with threads(1):
        one = np.asarray(f(x)).tobytes()
    with threads(3):
        assert np.asarray(f(x)).tobytes() == one


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumlogsumexp_of_complex_numbers(dtype: str, reverse: bool) -> None:
    """Against the sum of exponentials in long doubles, beside numbers that overflow or vanish there, and at the edges."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 33)) * 3 + 1j * rng.uniform(-9, 9, (3, 33))).astype(dtype)
    turn = lambda v: v[:, ::-1] if reverse else v
    expected = turn(np.log(np.cumsum(np.exp(turn(x).astype(np.clongdouble)), 1)))
    f = lambda x: lax.cumlogsumexp(x, 1, reverse)
    for out in (f(jnp.asarray(x)), tj.jit(f)(x), tj.vmap(lambda r: lax.cumlogsumexp(r, 0, reverse))(x)):
        assert out.dtype == dtype
        np.testing.assert_allclose(np.exp(out), np.exp(expected), rtol=3e-4 if dtype == "complex64" else 1e-12)
    far = jnp.asarray([[500 + 1j, -500 + 2j, 1000 - 1j]], dtype)
    np.testing.assert_allclose(lax.cumlogsumexp(far, 1), [[500 + 1j, 500 + 1j, 1000 - 1j]], rtol=1e-6)
    edges = np.asarray(lax.cumlogsumexp(jnp.asarray([-np.inf, -np.inf, 1 + 2j, np.nan, 0], dtype), 0))
    assert edges[:2].real.tolist() == [-np.inf] * 2 and np.isclose(edges[2], 1 + 2j) and np.isnan(edges[3:]).all()
    assert lax.cumlogsumexp(jnp.zeros((2, 0), dtype), 1).shape == (2, 0)
    grad = tj.grad(lambda x: lax.cumlogsumexp(x, 0)[-1].real, holomorphic=False)(jnp.asarray(x[0]))
    np.testing.assert_allclose(grad, np.exp(x[0] - np.log(np.exp(x[0]).sum())), rtol=2e-4)

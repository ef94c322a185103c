"""tracejit.nn against NumPy formulas, SciPy and finite differences, and against JAX where it is installed."""
from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.special as sp

import tracejit
import tracejit.numpy as jnp
from tracejit import nn, random

X = np.concatenate([np.random.RandomState(0).randn(30) * 3, [0, -0.0, 6, 1, -1, -3, 3, 20, -20]]).astype(np.float32)
ROWS = np.random.RandomState(1).randn(4, 6).astype(np.float32)
KEPT = np.random.RandomState(2).rand(4, 6) > 0.4
SOFTPLUS = {"softplus": lambda x: np.logaddexp(x, 0), "log_sigmoid": lambda x: -np.logaddexp(-x, 0)}

FORMULAS = {
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "sigmoid": sp.expit,
    "silu": lambda x: x * sp.expit(x),
    "soft_sign": lambda x: x / (1 + abs(x)),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "tanh": np.tanh,
    **SOFTPLUS,
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_activation(name, dtype):
    x = jnp.asarray(X, dtype)
    out = getattr(nn, name)(x)
    assert out.dtype == x.dtype
    tolerance = {"float32": 3e-6, "float64": 1e-12, "bfloat16": 5e-2}[dtype]
    np.testing.assert_allclose(np.asarray(out, np.float64), FORMULAS[name](np.asarray(x, np.float64)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_activation_gradient(name):
    x = np.array([-4.7, -2.1, -0.4, 0.6, 2.3, 5.1, 7.2])
    step = 1e-6
    expected = (FORMULAS[name](x + step) - FORMULAS[name](x - step)) / (2 * step)
    slope = tracejit.vmap(tracejit.grad(getattr(nn, name)))(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(slope), expected, rtol=1e-5, atol=1e-7)


def test_derivatives_at_the_corners():
    assert [float(tracejit.grad(nn.relu)(x)) for x in (-1.0, 0.0, 1.0)] == [0, 0, 1]
    assert [float(tracejit.grad(nn.relu6)(x)) for x in (0.0, 3.0, 6.0)] == [0, 1, 0]
    assert np.isfinite(float(tracejit.grad(nn.elu)(200.0))) and np.isfinite(float(tracejit.grad(nn.softplus)(-200.0)))
    assert np.isnan(float(nn.relu(np.nan)))


def test_exact_gelu_glu_and_log1mexp():
    np.testing.assert_allclose(np.asarray(nn.gelu(jnp.asarray(X), approximate=False)), X * sp.ndtr(np.float64(X)), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(nn.glu(ROWS, axis=0)), ROWS[:2] * sp.expit(ROWS[2:]), rtol=1e-5)
    x = np.array([1e-6, 0.1, 0.7, 30.0])
    np.testing.assert_allclose(np.asarray(nn.log1mexp(jnp.asarray(x))), np.where(x < 0.6, np.log(-np.expm1(-x)), np.log1p(-np.exp(-x))), rtol=1e-10 if jnp.asarray(x).dtype == np.float64 else 1e-4)
    with pytest.raises(ValueError):
        nn.glu(ROWS[:3], axis=0)


@pytest.mark.parametrize("axis", [-1, 0, (0, 1)])
@pytest.mark.parametrize("where", [None, KEPT], ids=["all", "some"])
def test_softmax_family(axis, where):
    hidden = ROWS if where is None else np.where(where, ROWS, -np.inf)
    weights = sp.softmax(hidden.astype(np.float64), axis)
    np.testing.assert_allclose(np.asarray(nn.softmax(ROWS, axis, where)), weights, rtol=1e-5, atol=1e-7)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.asarray(nn.log_softmax(ROWS, axis, where)), np.log(weights), rtol=1e-4, atol=1e-6)
    total = sp.logsumexp(hidden.astype(np.float64), axis, keepdims=True)
    np.testing.assert_allclose(np.asarray(nn.logsumexp(ROWS, axis, keepdims=True, where=where)), total, rtol=1e-5)
    count = np.isfinite(hidden).sum(axis, keepdims=True)
    np.testing.assert_allclose(np.asarray(nn.logmeanexp(ROWS, axis, where, keepdims=True)), total - np.log(count), rtol=1e-5, atol=1e-6)


def test_softmax_derivatives():
    weights = np.asarray(nn.softmax(ROWS[0]), np.float64)
    jacobian = tracejit.jacrev(nn.softmax)(jnp.asarray(ROWS[0]))
    np.testing.assert_allclose(np.asarray(jacobian), np.diag(weights) - np.outer(weights, weights), atol=1e-6)
    np.testing.assert_allclose(np.asarray(tracejit.jacfwd(nn.log_softmax)(jnp.asarray(ROWS[0]))), np.eye(6) - weights, atol=1e-6)
    np.testing.assert_allclose(np.asarray(tracejit.hessian(nn.logsumexp)(jnp.asarray(ROWS[0]))), np.diag(weights) - np.outer(weights, weights), atol=1e-6)


def test_logsumexp_corners():
    assert float(nn.logsumexp(jnp.array([-jnp.inf, -jnp.inf]))) == -np.inf and float(nn.logsumexp(jnp.array([jnp.inf, 1.0]))) == np.inf
    a, b = jnp.array([1.0, 2.0]), jnp.array([1.0, -3.0])
    value, sign = nn.logsumexp(a, b=b, return_sign=True)
    assert float(sign) == -1 and float(value) == pytest.approx(np.log(3 * np.e**2 - np.e), rel=1e-6)
    assert np.isnan(float(nn.logsumexp(a, b=b))) and nn.logsumexp(jnp.array([1, 2])).dtype == np.float32
    z = np.array([1 + 2j, 3 - 1j], np.complex64)
    assert complex(nn.logsumexp(z)) == pytest.approx(np.log(np.exp(z).sum()), rel=1e-5)


@pytest.mark.parametrize("algorithm", ["fast", "stable"])
def test_standardize(algorithm):
    expected = (ROWS - ROWS.mean(0)) / np.sqrt(ROWS.var(0) + 1e-5)
    np.testing.assert_allclose(np.asarray(nn.standardize(ROWS, 0, algorithm=algorithm)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(nn.standardize(ROWS, mean=1.0, variance=4.0, epsilon=0.0)), (ROWS - 1) / 2, rtol=1e-5)


def test_one_hot():
    labels = np.array([[0, 2], [5, -1]])
    expected = (labels[..., None] == np.arange(3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(nn.one_hot(labels, 3)), expected)
    np.testing.assert_array_equal(np.asarray(nn.one_hot(labels, 3, axis=0, dtype=int)), np.moveaxis(expected, -1, 0))
    spread = tracejit.vmap(lambda x: nn.one_hot(x, 3, axis="classes"), axis_name="classes", in_axes=None, axis_size=3)
    np.testing.assert_array_equal(np.asarray(spread(labels)), np.moveaxis(expected, -1, 0))


def attention_in_numpy(q, k, v, seen):
    groups = q.shape[2] // k.shape[2]
    k, v = np.repeat(k, groups, 2), np.repeat(v, groups, 2)
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    weights = sp.softmax(np.where(seen, scores, -1e30), -1)
    return np.einsum("bnts,bsnh->btnh", weights, v), np.moveaxis(sp.logsumexp(np.where(seen, scores, -1e30), -1), 1, 2)


POSITION, SOURCE = np.arange(5)[:, None], np.arange(7)
LENGTHS = np.array([3, 5], np.int32), np.array([4, 7], np.int32)


@pytest.mark.parametrize("options, seen", [
    ({}, np.True_),
    ({"is_causal": True}, POSITION >= SOURCE),
    ({"local_window_size": (2, 1)}, (POSITION <= SOURCE + 2) & (POSITION >= SOURCE - 1)),
    ({"mask": (POSITION + SOURCE)[None, None] % 3 > 0}, (POSITION + SOURCE) % 3 > 0),
    ({"key_value_seq_lengths": LENGTHS[1]}, SOURCE < LENGTHS[1][:, None, None, None]),
])
def test_attention(options, seen):
    rng = np.random.RandomState(0)
    q, k, v = (rng.randn(2, length, heads, 8).astype(np.float32) for length, heads in ((5, 4), (7, 2), (7, 2)))
    expected, residual = attention_in_numpy(q, k, v, seen)
    out, lse = nn.dot_product_attention(q, k, v, **options, return_residual=True)
    np.testing.assert_allclose(np.asarray(out), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(lse), residual, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(nn.dot_product_attention(q[0], k[0], v[0])), attention_in_numpy(q, k, v, True)[0][0], rtol=1e-4, atol=1e-5)


def test_attention_pads_queries_and_checks_shapes():
    q = np.ones((2, 5, 2, 4), np.float32)
    out = np.asarray(nn.dot_product_attention(q, q, q, query_seq_lengths=LENGTHS[0]))
    assert (out[0, 3:] == 0).all() and (out[1] == 1).all()
    for arguments in ((q, q[:, :, :1], q), (q[:, :, :1], q, q), (q, q, q, None, np.ones((1, 1, 5, 5)))):
        with pytest.raises(ValueError):
            nn.dot_product_attention(*arguments)


def test_scaled_products():
    rng = np.random.RandomState(0)
    a, b = rng.randn(2, 3, 8).astype(np.float32), rng.randn(2, 5, 8).astype(np.float32)
    s, t = rng.rand(2, 3, 2).astype(np.float32), rng.rand(2, 5, 2).astype(np.float32)
    expected = np.einsum("bmk,bnk->bmn", a * np.repeat(s, 4, -1), b * np.repeat(t, 4, -1))
    np.testing.assert_allclose(np.asarray(nn.scaled_matmul(a, b, s, t)), expected, rtol=1e-4, atol=1e-5)
    product = nn.scaled_dot_general(a, b, (((2,), (2,)), ((0,), (0,))))
    np.testing.assert_allclose(np.asarray(product), np.einsum("bmk,bnk->bmn", a, b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, variance", [
    ("glorot_uniform", 2 / 500), ("glorot_normal", 2 / 500), ("lecun_uniform", 1 / 300), ("lecun_normal", 1 / 300),
    ("he_uniform", 2 / 300), ("he_normal", 2 / 300),
])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_initializer_variance(name, variance, dtype):
    weights = np.asarray(getattr(nn.initializers, name)()(random.key(0), (300, 200), dtype))
    assert weights.dtype == dtype and (abs(weights) ** 2).mean() == pytest.approx(variance, rel=0.03) and abs(weights.mean()) < 1e-3


def test_initializers():
    init, key = nn.initializers, random.key(1)
    assert (np.asarray(init.constant(3.0)(key, (2, 2))) == 3).all() and np.asarray(init.ones(key, (2,), int)).dtype == np.int32
    assert np.asarray(init.normal(0.5)(key, (5000,))).std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.asarray(init.truncated_normal(0.5)(key, (5000,)))).max() <= 1 and np.asarray(init.uniform(2.0)(key, (5000,))).max() <= 2
    q = np.asarray(init.orthogonal(2.0, column_axis=0)(key, (3, 2, 4))).reshape(3, 8)
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(3), atol=1e-5)
    kernel = np.asarray(init.delta_orthogonal()(key, (3, 3, 2, 4)))
    np.testing.assert_allclose(kernel[1, 1] @ kernel[1, 1].T, np.eye(2), atol=1e-6)
    assert np.count_nonzero(kernel.reshape(9, -1).any(1)) == 1 and isinstance(init.zeros, init.Initializer)
    for call in (lambda: init.he_normal()(key, (3,)), lambda: init.variance_scaling(1.0, "x", "normal")(key, (3, 3)),
                 lambda: init.variance_scaling(1.0, "fan_in", "x")(key, (3, 3)), lambda: init.delta_orthogonal()(key, (3, 4, 2))):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("name", sorted(set(nn.__all__) - {"initializers"}))
def test_signature_is_that_of_jax(name):
    jax_nn = pytest.importorskip("jax.nn")
    assert list(inspect.signature(getattr(nn, name)).parameters) == list(inspect.signature(getattr(jax_nn, name)).parameters)


@pytest.mark.parametrize("name", ["glorot_uniform", "lecun_normal", "he_normal", "orthogonal", "normal", "truncated_normal"])
def test_initializer_draws_what_jax_draws(name):
    jax = pytest.importorskip("jax")
    ours = getattr(nn.initializers, name)()(random.PRNGKey(3), (2, 3, 4))
    theirs = getattr(jax.nn.initializers, name)()(jax.random.PRNGKey(3), (2, 3, 4))
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-5, atol=1e-6)


def test_one_hot_of_floats_is_warned_of():
    with pytest.warns(DeprecationWarning, match="should be integer-typed"):
        np.testing.assert_array_equal(np.asarray(nn.one_hot(1.0, 3)), [0, 1, 0])

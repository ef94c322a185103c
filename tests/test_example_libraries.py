"""The small optimisers and layers: by hand, by training, and against JAX's where it is installed."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit
import tracejit.numpy as jnp
from tracejit import random, tree_util
from tracejit.example_libraries import optimizers, stax

OPTIMIZERS = {"sgd": {}, "momentum": {"mass": 0.9}, "nesterov": {"mass": 0.9}, "adagrad": {}, "rmsprop": {}, "rmsprop_momentum": {}, "adam": {},
              "adamax": {}, "sm3": {}}
IMAGES = np.asarray(jnp.asarray(np.random.RandomState(0).randn(2, 8, 9, 3), float))  # in the default dtype


def run(library, name, steps, rate=0.1):
    init, update, params = getattr(library, name)(rate, **OPTIMIZERS[name])
    state = init({"w": np.arange(6, dtype=np.float32).reshape(2, 3) / 3, "b": np.ones(3, np.float32)} if name != "sm3" else np.ones((2, 3), np.float32))
    for i in range(steps):
        state = update(i, tree_util.tree_map(lambda x: np.sin(np.asarray(x)) + 0.3, params(state)), state)
    return params(state), state


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_like_jax(name):
    theirs = pytest.importorskip("jax.example_libraries.optimizers")
    for rate in ("0.1", "exponential_decay(0.1, 10, 0.9)", "inverse_time_decay(0.1, 5, 0.5, True)", "polynomial_decay(0.1, 7, 0.01, 2.0)",
                 "piecewise_constant([3, 6], [0.1, 0.05, 0.01])"):
        ours, expected = (run(library, name, 8, eval(rate, vars(library)))[0] for library in (optimizers, theirs))
        for a, b in zip(tree_util.tree_leaves(ours), tree_util.tree_leaves(expected)):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizer_descends_in_one_compiled_loop(name):
    init, update, params = getattr(optimizers, name)(0.3 if name == "adagrad" else 0.05, **OPTIMIZERS[name])
    loss = lambda x: ((x - 1.0) ** 2).sum()
    start = jnp.array([3.0, -2.0])
    end = tracejit.lax.fori_loop(0, 300, lambda i, state: update(i, tracejit.grad(loss)(params(state)), state), init(start)) \
        if name != "sm3" else run(optimizers, name, 0)[1]
    assert float(loss(params(end))) < 0.5


def test_first_steps_by_hand():
    x, g = 2.0, np.sin(2.0) + 0.3
    for name, expected in (("sgd", x - 0.1 * g), ("momentum", x - 0.1 * g), ("nesterov", x - 0.1 * 1.9 * g), ("adam", x - 0.1)):
        init, update, params = getattr(optimizers, name)(0.1, **OPTIMIZERS[name])
        assert float(params(update(0, jnp.float32(g), init(jnp.float32(x))))) == pytest.approx(expected, rel=1e-5)


def test_packing_clipping_and_errors():
    _, state = run(optimizers, "adam", 2)
    again = optimizers.pack_optimizer_state(optimizers.unpack_optimizer_state(state))
    for a, b in zip(tree_util.tree_leaves(again), tree_util.tree_leaves(state)):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    clipped = optimizers.clip_grads({"a": jnp.array([3.0, 4.0])}, 1.0)
    np.testing.assert_allclose(np.asarray(clipped["a"]), [0.6, 0.8], rtol=1e-6)
    init, update, _ = optimizers.sgd(0.1)
    with pytest.raises(TypeError):
        update(0, {"other": 1.0}, init({"w": 1.0}))
    with pytest.raises(TypeError):
        optimizers.make_schedule(np.ones(2))


def network(library):
    return library.serial(
        library.Conv(4, (3, 3), padding="SAME"), library.BatchNorm(), library.Relu, library.MaxPool((2, 2)),
        library.AvgPool((2, 2), strides=(2, 2), padding="SAME"), library.SumPool((1, 2)), library.FanOut(2),
        library.parallel(library.Conv(3, (2, 2), (2, 1)), library.serial(library.Conv(2, (2, 2), (2, 1)), library.Elu)), library.FanInConcat(),
        library.ConvTranspose(3, (3, 3), (2, 2), "SAME"), library.ConvTranspose(3, (3, 2), (2, 1)), library.Flatten, library.Dense(5), library.Gelu,
        library.FanOut(2), library.parallel(library.Identity, library.Tanh), library.FanInSum,
        library.shape_dependent(lambda shape: library.Dense(shape[-1])), library.LogSoftmax)


def test_layers():
    init, apply = network(stax)
    shape, params = init(random.PRNGKey(0), IMAGES.shape)
    out = tracejit.jit(apply)(params, IMAGES)
    assert out.shape == shape == (2, 5)
    np.testing.assert_allclose(np.exp(np.asarray(out)).sum(1), 1, rtol=1e-5)


def test_layers_like_jax():
    theirs = pytest.importorskip("jax.example_libraries.stax")
    outs = []
    for library in (stax, theirs):
        init, apply = network(library)
        outs.append(np.asarray(apply(init(random.PRNGKey(0) if library is stax else np.asarray(random.PRNGKey(0)), IMAGES.shape)[1], IMAGES)))
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-4, atol=1e-5)


def test_dropout_and_training():
    _, drop = stax.Dropout(0.6)
    kept = np.asarray(drop((), np.ones(1000, np.float32), rng=random.key(0)))
    assert set(np.unique(kept.round(4))) == {0, np.float32(1 / 0.6).round(4)} and kept.mean() == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError):
        drop((), kept)
    init, apply = stax.serial(stax.Dense(16), stax.Relu, stax.Dense(2), stax.LogSoftmax)
    _, params = init(random.key(1), (-1, 2))
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    loss = lambda params: -(apply(params, x) * np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]).mean()
    opt_init, update, get = optimizers.adam(0.05)
    step = tracejit.jit(lambda i, state: update(i, tracejit.grad(loss)(get(state)), state))
    state = opt_init(params)
    for i in range(150):
        state = step(i, state)
    assert (np.asarray(apply(get(state), x)).argmax(1) == [0, 1, 1, 0]).all()


def test_sm3_of_a_number_is_that_of_a_vector_of_one():
    init, update, params = optimizers.sm3(0.1)
    number, vector = init(jnp.float32(1)), init(jnp.ones(1, jnp.float32))
    for i in range(4):
        number, vector = update(i, jnp.sin(params(number)), number), update(i, jnp.sin(params(vector)), vector)
    assert params(number).shape == () and params(number) == params(vector)[0]


def test_gradients_of_another_structure_are_refused():
    init, update, _ = optimizers.adam(0.1)
    with pytest.raises(TypeError, match="passed a gradient tree that did not match the parameter tree structure"):
        update(0, [1.], init({"a": 1.}))

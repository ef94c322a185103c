"""odeint against SciPy's integrator and closed forms, and its adjoint gradients against differences."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import tracejit
import tracejit.numpy as jnp
from tracejit.experimental.jet import jet
from tracejit.experimental.ode import odeint

TIMES = np.linspace(0.0, 3, 11)
START = np.array([np.pi - 0.1, 0.0])


def pendulum(y, t, damping, gravity):
    return jnp.stack([y[1], -damping * y[1] - gravity * jnp.sin(y[0])])


def reference(start, times, damping, gravity):
    rate = lambda t, y: [y[1], -damping * y[1] - gravity * np.sin(y[0])]
    return solve_ivp(rate, (times[0], times[-1]), start, t_eval=times, rtol=1e-11, atol=1e-11).y.T


def test_solution():
    ours = odeint(pendulum, jnp.asarray(START), TIMES, 0.25, 9.8)
    np.testing.assert_allclose(np.asarray(ours), reference(START, TIMES, 0.25, 9.8), rtol=1e-5, atol=1e-6)


def test_single_precision_and_trees():
    y0 = {"a": jnp.ones(2), "b": jnp.float32(0.0)}
    ys = odeint(lambda y, t: {"a": -y["a"], "b": y["a"].sum()}, y0, jnp.linspace(0.0, 1.0, 3), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(ys["a"][:, 0]), np.exp([0, -0.5, -1]), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(ys["b"]), 2 - 2 * np.exp([0, -0.5, -1]), atol=1e-4)


def test_gradients():
    def loss(solve, start, times, damping, gravity):
        return (np if solve is reference else jnp).sin(solve(start, times, damping, gravity)).sum()

    arguments = (START, TIMES, 0.25, 9.8)
    ours = tracejit.jit(tracejit.grad(lambda *a: loss(lambda *b: odeint(pendulum, *b), *a), argnums=(0, 1, 2, 3)))(*map(jnp.asarray, arguments))
    for i, place in ((0, 0), (0, 1), (1, 3), (1, 10), (2, ()), (3, ())):
        moved = []
        for sign in (1, -1):
            changed = [np.array(a, float) for a in arguments]
            changed[i][place] += sign * 1e-6
            moved.append(loss(reference, *changed))
        expected = (moved[0] - moved[1]) / 2e-6
        assert float(np.asarray(ours[i])[place]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_gradient_of_captured_values():
    slope = tracejit.grad(lambda k: odeint(lambda y, t: -k * y, jnp.asarray(1.0), jnp.array([0.0, 2.0]))[-1])(jnp.asarray(0.3))
    assert float(slope) == pytest.approx(-2 * np.exp(-0.6), rel=1e-3)


def test_batch():
    starts = jnp.stack([jnp.asarray(START), jnp.asarray(START) / 2])
    both = tracejit.vmap(lambda y: odeint(pendulum, y, TIMES, 0.25, 9.8))(starts)
    np.testing.assert_allclose(np.asarray(both[1]), reference(START / 2, TIMES, 0.25, 9.8), rtol=1e-5, atol=1e-6)


def test_limits_and_errors():
    stopped = odeint(lambda y, t: -y, jnp.asarray(1.0), jnp.array([0.0, 50.0]), mxstep=2)
    assert np.isfinite(np.asarray(stopped)).all()
    with pytest.raises(TypeError):
        odeint(lambda y, t: y, jnp.asarray(1.0), jnp.arange(3))
    with pytest.raises(TypeError):
        odeint(lambda y, t, f: y, jnp.asarray(1.0), jnp.array([0.0, 1.0]), "text")


def test_jet():
    """Against derivatives of a composition known in closed form, and JAX's own where it is installed."""
    value, terms = jet(lambda x: jnp.exp(2 * x), (jnp.asarray(0.3),), ((jnp.asarray(1.0), jnp.asarray(0.0), jnp.asarray(0.0)),))
    np.testing.assert_allclose([float(value), *map(float, terms)], np.exp(0.6) * np.array([1, 2, 4, 8]), rtol=1e-5)
    _, coefficients = jet(lambda x: jnp.exp(2 * x), (0.3,), ((1.0, 0.0, 0.0),), factorial_scaled=False)
    np.testing.assert_allclose([float(c) for c in coefficients], np.exp(0.6) * np.array([2, 2, 8 / 6]), rtol=1e-5)
    with pytest.raises(ValueError):
        jet(jnp.sin, (0.0, 1.0), ((1.0,),))
    jax_jet = pytest.importorskip("jax.experimental.jet")
    import jax.numpy as reference_numpy
    arguments = ((np.array([0.3, 0.5], np.float32), 0.2), ((np.ones(2, np.float32), np.full(2, 0.5, np.float32)), (0.4, 0.5)))
    ours = jet(lambda x, y: jnp.sin(x) * jnp.exp(y) + jnp.dot(x, x), *arguments)
    theirs = jax_jet.jet(lambda x, y: reference_numpy.sin(x) * reference_numpy.exp(y) + reference_numpy.dot(x, x), *arguments)
    for a, b in zip((ours[0], *ours[1]), (theirs[0], *theirs[1])):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)


@pytest.mark.parametrize("f", [lambda x: x > 1, jnp.argmax, lambda x: x.astype(int), jnp.isfinite])
def test_jet_of_results_without_derivatives(f):
    x = jnp.array([1., 3., 2.])
    value, terms = jet(lambda x: (f(x), x * x), (x,), ([jnp.ones(3), jnp.zeros(3)],))[0][0], jet(f, (x,), ([x, x],))[1]
    assert value.dtype == f(x).dtype and (value == f(x)).all()
    assert all(term.dtype == value.dtype and term.shape == value.shape and not term.any() for term in terms)

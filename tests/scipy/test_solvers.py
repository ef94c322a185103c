"""tracejit.scipy.optimize, .sparse.linalg, .interpolate, .integrate and .cluster."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.cluster.vq
import scipy.interpolate

import tracejit
import tracejit.numpy as jnp
from tracejit.scipy import integrate, interpolate
from tracejit.scipy.cluster.vq import vq
from tracejit.scipy.optimize import minimize
from tracejit.scipy.sparse import linalg

RNG = np.random.RandomState(0)
M = RNG.randn(8, 8)
DEFINITE, GENERAL, RIGHT = M @ M.T + 8 * np.eye(8), M + 6 * np.eye(8), RNG.randn(8)
LBFGS = "l-bfgs-experimental-do-not-rely-on-this"


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def himmelblau(p):
    return (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2


PROBLEMS = {
    "rosenbrock": (rosenbrock, np.array([-1.2, 1, -0.5, 2, 0.3]), 0.0),
    "himmelblau": (himmelblau, np.ones(2), 0.0),
    "matyas": (lambda p: 0.26 * (p**2).sum() - 0.48 * p[0] * p[1], np.ones(2), 0.0),
    "cosh": (lambda x: jnp.cosh(x - 2).sum(), np.zeros(3), 3.0),
    "quartic": (lambda x: (x**4).sum() * 1e-3, np.full(4, 50.0), 0.0),
}


@pytest.mark.parametrize("method", ["BFGS", LBFGS])
@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_minimize(name, method):
    function, start, lowest = PROBLEMS[name]
    result = tracejit.jit(lambda x: minimize(function, x, method=method))(start)
    assert bool(result.success) and int(result.status) == 0 and float(result.fun) == pytest.approx(lowest, abs=1e-5)
    assert (result.hess_inv is None) == (method == LBFGS) and int(result.nit) < 100


def test_minimize_options_and_failure():
    scaled = minimize(lambda x, a: ((x - a) ** 2).sum(), np.zeros(2), (3.0,), method="BFGS", tol=1e-8)
    np.testing.assert_allclose(np.asarray(scaled.x), 3, rtol=1e-6)
    stopped = minimize(rosenbrock, np.array([-1.2, 1.0]), method="BFGS", options={"maxiter": 3})
    assert not bool(stopped.success) and int(stopped.status) == 1 and int(stopped.nit) == 3
    np.testing.assert_allclose(np.asarray(minimize(himmelblau, np.ones(2), method="bfgs").hess_inv),
                               np.linalg.inv(np.asarray(tracejit.hessian(himmelblau)(jnp.array([3.0, 2.0])))), rtol=0.2, atol=1e-3)
    for call, error in ((lambda: minimize(rosenbrock, np.ones(2), [1], method="BFGS"), TypeError),
                        (lambda: minimize(rosenbrock, np.ones(2), method="x"), ValueError), (lambda: minimize(rosenbrock, np.ones((2, 2)), method="BFGS"), ValueError)):
        with pytest.raises(error):
            call()


SOLVERS = [(linalg.cg, DEFINITE), (linalg.bicgstab, GENERAL), (linalg.gmres, GENERAL), (linalg.gmres, GENERAL + 1j * M), (linalg.bicgstab, GENERAL + 1j * M)]


@pytest.mark.parametrize("solver, matrix", SOLVERS)
def test_krylov_solvers(solver, matrix):
    right = RIGHT + 1j if np.iscomplexobj(matrix) else RIGHT
    for operator in (matrix, lambda v: jnp.dot(matrix, v)):
        x, info = solver(operator, right, tol=1e-10)
        assert info is None or info == 0  # gmres says 0, as in JAX
        np.testing.assert_allclose(np.asarray(x), np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-8)
    preconditioned, _ = solver(matrix, right, x0=right * 0 + 1, tol=1e-10, M=np.linalg.inv(matrix), maxiter=2)
    np.testing.assert_allclose(np.asarray(preconditioned), np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver, matrix", SOLVERS[:3])
def test_krylov_gradients(solver, matrix):
    ours = tracejit.grad(lambda a, b: jnp.sin(solver(a, b, tol=1e-12)[0]).sum(), argnums=(0, 1))(jnp.asarray(matrix), jnp.asarray(RIGHT))
    exact = tracejit.grad(lambda a, b: jnp.sin(jnp.linalg.solve(a, b)).sum(), argnums=(0, 1))(jnp.asarray(matrix), jnp.asarray(RIGHT))
    for a, b in zip(ours, exact):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-7)


def test_krylov_on_trees():
    def operator(tree):
        flat = jnp.concatenate([tree["a"], tree["b"].ravel()])
        product = jnp.dot(GENERAL, flat)
        return {"a": product[:3], "b": product[3:].reshape(5, 1)}

    x, _ = linalg.gmres(operator, {"a": RIGHT[:3], "b": RIGHT[3:].reshape(5, 1)}, restart=3, tol=1e-9)
    np.testing.assert_allclose(np.concatenate([np.asarray(x["a"]), np.asarray(x["b"]).ravel()]), np.linalg.solve(GENERAL, RIGHT), rtol=1e-5)
    for call, error in ((lambda: linalg.cg(np.ones((2, 3)), np.ones(3)), ValueError), (lambda: linalg.cg(3, np.ones(3)), TypeError),
                        (lambda: linalg.cg(DEFINITE, RIGHT, x0=RIGHT[:3]), ValueError), (lambda: linalg.gmres(GENERAL, RIGHT, solve_method="x"), ValueError)):
        with pytest.raises(error):
            call()


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("fill_value", [np.nan, None, 0.0])
def test_grid_interpolation(method, fill_value):
    grid, values = (np.array([0.0, 1, 3, 4]), np.array([-1.0, 0, 0.5])), RNG.randn(4, 3, 2)
    points = RNG.rand(5, 6, 2) * [8, 3] - [0, 2]
    ours = interpolate.RegularGridInterpolator(grid, values, method, False, fill_value)
    theirs = scipy.interpolate.RegularGridInterpolator(grid, values, method, False, fill_value)
    expected = theirs(points)
    np.testing.assert_allclose(np.asarray(tracejit.jit(lambda f, x: f(x))(ours, points)), expected, rtol=1e-8)
    np.testing.assert_allclose(np.asarray(ours((points[..., 0], points[..., 1]))), expected, rtol=1e-8)


def test_grid_interpolation_derivative_and_errors():
    line = interpolate.RegularGridInterpolator((np.array([0.0, 2.0]),), np.array([1.0, 5.0]))
    assert float(tracejit.grad(lambda x: line(x[None, None])[0])(jnp.asarray(0.5))) == pytest.approx(2)
    for arguments, error in ((((np.arange(2.0),), np.ones(2), "x"), ValueError), (((np.arange(2.0),), np.ones(2), "linear", True), NotImplementedError),
                             (((np.arange(2.0),) * 2, np.ones(2)), ValueError)):
        with pytest.raises(error):
            interpolate.RegularGridInterpolator(*arguments)


def test_trapezoid_and_vq():
    assert float(integrate.trapezoid(jnp.array([1.0, 2.0, 4.0]), jnp.array([0.0, 1.0, 3.0]))) == 7.5
    observations, codes = RNG.randn(10, 3), RNG.randn(4, 3)
    for ours, theirs in zip(vq(observations, codes), scipy.cluster.vq.vq(observations, codes)):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-8)
    for ours, theirs in zip(vq(observations[0], codes[0]), scipy.cluster.vq.vq(observations[0], codes[0])):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-8)
    with pytest.raises(ValueError):
        vq(observations, codes[:, :2])

"""custom_linear_solve and custom_root: their derivatives are those of the equation, in every mode and order."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.runtime.array import from_numpy

RNG = np.random.default_rng(0)
A, B = from_numpy(RNG.normal(size=(3, 3)) + 3 * np.eye(3)), from_numpy(RNG.normal(size=3))
SWAP, DOT = (((1,), (0,)), ((), ())), (((0,), (0,)), ((), ()))


def matvec(a):
    return lambda x: lax.dot_general(a, x, SWAP)


def iterate(apply, b):
    """Richardson's method, which reverse mode alone would have to record."""
    return lax.fori_loop(0, 400, lambda i, x: lax.add(x, lax.mul(0.15, lax.sub(b, apply(x)))), lax.full_like(b, 0))


def solution(a, b):
    return lax.custom_linear_solve(matvec(a), b, iterate, transpose_solve=iterate)


def exact(a, b):
    q, r = lax.linalg.qr(a)
    right = lax.reshape(lax.dot_general(q, b, DOT), (3, 1))
    return lax.reshape(lax.linalg.triangular_solve(r, right, left_side=True), (3,))


def loss(solve):
    return lambda a, b: lax.reduce_sum(lax.sin(solve(a, b)), (0,))


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-7, atol=1e-9)


def test_solution():
    close(solution(A, B), np.linalg.solve(A, B))
    close(tj.jit(solution)(A, B), np.linalg.solve(A, B))


@pytest.mark.parametrize("argnum", [0, 1])
def test_reverse_mode(argnum: int):
    close(tj.grad(loss(solution), argnum)(A, B), tj.grad(loss(exact), argnum)(A, B))
    close(tj.jit(tj.grad(loss(solution), argnum))(A, B), tj.grad(loss(exact), argnum)(A, B))


def test_forward_mode():
    tangents = from_numpy(RNG.normal(size=(3, 3))), from_numpy(RNG.normal(size=3))
    close(tj.jvp(solution, (A, B), tangents)[1], tj.jvp(exact, (A, B), tangents)[1])


@pytest.mark.parametrize("argnum", [0, 1])
def test_second_order(argnum: int):
    twice = lambda f: tj.hessian(loss(f), argnum)(A, B)
    close(twice(solution), twice(exact))


def test_lanes():
    bs = from_numpy(RNG.normal(size=(4, 3)))
    matrices = from_numpy(RNG.normal(size=(4, 3, 3)) * 0.3 + 3 * np.eye(3))
    close(tj.vmap(solution, (None, 0))(A, bs), np.linalg.solve(A, np.asarray(bs).T).T)
    close(tj.vmap(tj.grad(loss(solution)))(matrices, bs), tj.vmap(tj.grad(loss(exact)))(matrices, bs))


def test_symmetric_needs_no_transposed_solver():
    spd = from_numpy(np.asarray(A) @ np.asarray(A).T / 6)
    direct = lambda b: lax.reduce_sum(lax.sin(lax.custom_linear_solve(matvec(spd), b, iterate, symmetric=True)), (0,))
    close(tj.grad(direct)(B), tj.grad(loss(exact), 1)(spd, B))
    with pytest.raises(TypeError, match="transpose_solve"):
        tj.grad(lambda b: lax.reduce_sum(lax.custom_linear_solve(matvec(A), b, iterate), (0,)))(B)


def test_auxiliary_result():
    solve = lambda apply, b: (iterate(apply, b), {"steps": np.int32(400)})
    x, aux = lax.custom_linear_solve(matvec(A), B, solve, solve, has_aux=True)
    close(x, np.linalg.solve(A, B))
    assert int(aux["steps"]) == 400


# --- roots ---------------------------------------------------------------------------------------------------

def bisect(f, start):
    def halve(i, ends):
        low, high = ends
        middle = lax.mul(0.5, lax.add(low, high))
        below = lax.lt(f(middle), 0.0)
        return lax.select(below, middle, low), lax.select(below, high, middle)
    low, high = lax.fori_loop(0, 60, halve, (lax.sub(start, 10.0), lax.add(start, 10.0)))
    return lax.mul(0.5, lax.add(low, high))


def scalar_solve(g, y):
    return lax.div(y, g(lax.full_like(y, 1.0)))


def cube_root(t):
    return lax.custom_root(lambda x: lax.sub(lax.integer_pow(x, 3), t), lax.full_like(t, 1.0), bisect, scalar_solve)


T = from_numpy(np.float64(5))


def test_root():
    close(cube_root(T), 5 ** (1 / 3))
    close(tj.jit(cube_root)(T), 5 ** (1 / 3))


def test_derivatives_of_a_root():
    close(tj.grad(cube_root)(T), 5 ** (-2 / 3) / 3)
    close(tj.jvp(cube_root, (T,), (from_numpy(np.float64(2)),))[1], 2 * 5 ** (-2 / 3) / 3)
    close(tj.grad(tj.grad(cube_root))(T), -2 / 9 * 5 ** (-5 / 3))
    close(tj.jit(tj.grad(cube_root))(T), 5 ** (-2 / 3) / 3)


def test_lanes_of_roots():
    ts = from_numpy(np.float64([2, 5, 9]))
    close(tj.vmap(cube_root)(ts), np.asarray(ts) ** (1 / 3))
    close(tj.vmap(tj.grad(cube_root))(ts), np.asarray(ts) ** (-2 / 3) / 3)


def test_root_with_a_linear_solver():
    def root(t):
        f = lambda x: lax.sub(matvec(A)(lax.add(x, lax.mul(0.1, lax.sin(x)))), t)
        step = lambda f, x: lax.fori_loop(0, 300, lambda i, x: lax.sub(x, lax.mul(0.12, f(x))), x)
        return lax.custom_root(f, lax.full_like(t, 0), step, lambda g, y: lax.custom_linear_solve(g, y, iterate, iterate))
    total = lambda t: lax.reduce_sum(lax.sin(root(t)), (0,))
    step = 1e-5 * np.eye(3)
    slope = [(float(total(from_numpy(np.asarray(B) + s))) - float(total(from_numpy(np.asarray(B) - s)))) / 2e-5 for s in step]
    np.testing.assert_allclose(np.asarray(tj.grad(total)(B)), slope, rtol=1e-6)


def test_solvers_that_take_their_maps_apart():
    """tangent_solve and solve may differentiate, vmap and transpose the linear map that they are given."""
    dense = lambda g, y: jnp.linalg.solve(tj.jacobian(g)(y), y)

    def root(a):
        f = lambda x: x ** 3 + x * a - jnp.array([1., 2.])
        newton = lambda f, x: lax.fori_loop(0, 30, lambda i, x: x - dense(lambda d: tj.jvp(f, (x,), (d,))[1], f(x)), x)
        return lax.custom_root(f, jnp.ones(2), newton, dense)
    a = jnp.array([.5, 1.5])
    x = np.asarray(root(a))
    np.testing.assert_allclose(x ** 3 + x * a, [1, 2], rtol=1e-5)
    expected = np.diag(-x / (3 * x ** 2 + np.asarray(a)))
    for jacobian in (tj.jacfwd, tj.jacrev, lambda f: tj.jit(tj.jacrev(f))):
        np.testing.assert_allclose(jacobian(root)(a), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tj.vmap(tj.jacrev(root))(jnp.stack([a, a]))[1], expected, rtol=1e-4, atol=1e-6)

    matrix = np.array([[3., 1.], [.5, 2.]])
    for m, options in ((matrix, {"transpose_solve": dense}), (matrix + matrix.T, {"symmetric": True})):
        solve = lambda b: lax.custom_linear_solve(lambda x: m @ x, b, dense, **options)
        for jacobian in (tj.jacfwd, tj.jacrev, lambda f: tj.jit(tj.jacrev(f))):
            np.testing.assert_allclose(jacobian(solve)(jnp.array([1., 2.])), np.linalg.inv(m), rtol=1e-6)
        np.testing.assert_allclose(tj.vmap(tj.jacrev(solve))(jnp.ones((3, 2)))[2], np.linalg.inv(m), rtol=1e-6)


def test_a_root_whose_tangent_solver_fails_is_still_a_root():
    def refuse(g, y):
        raise NotImplementedError("no solver here")
    f = lambda a: lax.custom_root(lambda x: x * x - a, a, lambda f, x: lax.fori_loop(0, 30, lambda i, x: x - f(x) / (2 * x), x), refuse)
    assert float(f(jnp.float32(4))) == 2
    with pytest.raises(TypeError, match="no solver here"):
        tj.grad(f)(4.)

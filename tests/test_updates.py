"""Gradients of reads x[i] add to the gradient of x in place: as right as before, and as cheap as what was read."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.graph import evaluate, fields_of, subgraphs
from tracejit.ir.verify import verify
from tracejit.transforms.passes.pipeline import PASSES

N = 12
IDS = np.array([[3, 0, 3], [11, 11, 11], [5, 3, 0], [0, 11, 2]], np.int32)


def by_number(x):
    return lax.fori_loop(0, N, lambda i, c: jnp.sin(c * x[i]) + x[N - 1 - i], 1.0)


def by_scan(x):
    return lax.scan(lambda c, i: (jnp.tanh(c + x[i]) * x[(i * 5) % N], None), 0.5, jnp.arange(N))[0]


def by_rows(x):
    rows = jnp.reshape(x, (6, 2))
    return lax.scan(lambda c, i: (jnp.tanh(c + rows[i % 6] * 2), None), jnp.zeros((3, 2), x.dtype), jnp.asarray(IDS))[0].sum()


def by_slices(x):
    return lax.fori_loop(0, 9, lambda i, c: c * lax.dynamic_slice(x, (i,), (3,)), jnp.ones(3, x.dtype)).sum()


def nested(x):
    inner = lambda i, c: lax.fori_loop(0, 3, lambda j, c: jnp.cos(c + x[(i * 3 + j) % N]), c)
    return lax.fori_loop(0, 5, inner, 0.25)


def while_found(x):
    return lax.while_loop(lambda c: c[0] < N - 2, lambda c: (c[0] + 2, c[1] * x[c[0]] + x[c[0] + 1]), (0, 1.0))[1]


def without_a_loop(x):
    return (x[IDS].sum(0) * x[3]).sum() + (x[2:9] ** 2).sum() + x[-1]


EACH = pytest.mark.parametrize("f", [by_number, by_scan, by_rows, by_slices, nested, while_found, without_a_loop],
                               ids=lambda f: f.__name__)


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(0.5, 1.5, N)


def slope(f, x, k):
    step = np.zeros(N)
    step[k] = 1e-6
    return (float(tj.jit(f)(jnp.asarray(x + step))) - float(tj.jit(f)(jnp.asarray(x - step)))) / 2e-6


@EACH
def test_gradient_is_the_finite_difference(f, x):
    found = tj.jit(tj.grad(f))(jnp.asarray(x))
    np.testing.assert_allclose(found, [slope(f, x, k) for k in range(N)], rtol=2e-8, atol=2e-8)


@EACH
def test_vmap_and_second_derivatives(f, x):
    points = jnp.asarray(np.stack([x, 2 - x, x[::-1]]))
    each = [tj.grad(f)(p) for p in points]
    np.testing.assert_allclose(tj.jit(tj.vmap(tj.grad(f)))(points), each, rtol=1e-12, atol=1e-12)
    twice = tj.jit(tj.hessian(f))(points[0])
    one = lambda h: tj.jit(tj.grad(f))(points[0] + h * jnp.arange(N))
    np.testing.assert_allclose(twice @ jnp.arange(N), (one(1e-6) - one(-1e-6)) / 2e-6, rtol=1e-6, atol=1e-6)


def innermost(graph):
    inner = [s for eqn in graph.eqns for _, value in fields_of(eqn.op) for s in subgraphs(value)]
    return [b for s in inner for b in innermost(s)] or [graph]


@EACH
def test_no_innermost_trip_touches_the_whole_array(f, x):
    """No equation of an innermost body makes something of the size of x but in the memory of what was there."""
    _, after = passed(tj.grad(f), jnp.asarray(x))
    for eqn in [eqn for body in innermost(after) if body is not after for eqn in body.eqns]:
        large = any(getattr(v.type, "size", 0) >= N for v in eqn.outputs)
        assert not large or eqn.op.overwrites is not None or eqn.op.name == "reshape", eqn.op


def passed(f, *args):
    """The graph of a function and what the passes make of it, as functions of NumPy arrays."""
    made = tj.make_graph(f)(*args)
    after = made.graph
    for _, change in PASSES:
        after = verify(change(after))
    return made, after


def all_meanings(f, *args):
    """The results by the graph's meaning, by that of the graph after the passes, and compiled."""
    made, after = passed(f, *map(jnp.asarray, args))
    full = [*made.consts, *args]
    return zip(evaluate(made.graph, full), evaluate(after, full), tj.jit(f)(*args))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "c8"])
def test_sums_with_updates_of_zeros(dtype):
    rng = np.random.default_rng(1)
    x, u = (rng.integers(0, 3, n).astype(dtype) for n in (20, 4))
    at = jnp.asarray([[7], [2], [7], [19]])

    def f(x, u):
        put = lambda z, y: z.at[at[:, 0]].add(y)
        zeros = jnp.zeros_like(x)
        moved = lax.dynamic_update_slice(zeros, u, (5,))
        return put(zeros, u) + x, x + (put(zeros, u) + put(put(zeros, u), u)), moved + x, put(zeros, u) + put(zeros, u)
    for a, b, c in all_meanings(f, x, u):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_updates_that_somebody_else_reads_stay():
    def f(x, u):
        y = jnp.zeros(20).at[jnp.asarray([3, 3])].add(u)
        return x + y, y * 2
    x, u = np.arange(20, dtype="f4"), np.ones(2, "f4")
    for a, b, c in all_meanings(f, x, u):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_an_operand_that_is_used_later_is_not_overwritten():
    x = jnp.arange(50.0)
    f = tj.jit(lambda x, i: (x + lax.dynamic_update_slice(jnp.zeros(50), jnp.ones(3), (i,)), x * 2))
    y, twice = f(x, 4)
    assert np.array_equal(x, np.arange(50.0)) and np.array_equal(twice, 2 * np.arange(50.0))
    assert np.array_equal(y, np.arange(50.0) + (np.abs(np.arange(50) - 5) <= 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.int8, np.bool_, np.float16])
@pytest.mark.parametrize("shape,window", [((2,) * 7, (slice(None), 1, 1)), ((3, 5, 4, 9), (slice(1, 3), slice(None), 2)),
                                          ((3, 5, 4, 9), (slice(1, 3), slice(1, 2), slice(None))), ((4, 0, 3), (1,)), ((6,), (2,)),
                                          ((3, 5, 4, 9), (slice(None), slice(None), slice(1, 4), slice(2, 7)))], ids=str)
def test_windows_of_many_axes(dtype, shape, window):
    """Axes that lie behind each other in both arrays are walked as one, and those of one element not at all."""
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    new = (np.ones(x[window].shape) * 3).astype(dtype)
    for kind in ("set", "add") if dtype is not np.bool_ else ("set",):
        want = x.copy()
        want[window] = new if kind == "set" else want[window] + new
        got = tj.jit(lambda x, y, kind=kind: getattr(x.at[window], kind)(y))(x, new)
        np.testing.assert_array_equal(np.asarray(got), want)


def test_sums_of_more_values_than_python_calls_may_be_deep():
    xs = [np.full(3, k, np.float32) for k in range(1500)]
    np.testing.assert_array_equal(tj.jit(lambda *xs: sum(xs))(*xs), np.full(3, 1500 * 1499 / 2, np.float32))

"""Cotangents of reads of one number in each row: selections, of NumPy's values."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn
from tracejit.ir.trace import trace
from tracejit.ir.types import type_of
from tracejit.transforms.passes.pipeline import PASSES

rng = np.random.default_rng(0)
X, CUBE = rng.standard_normal((5, 7)), rng.standard_normal((3, 5, 7))
OF_ROWS, OF_COLUMNS = np.array([3, 0, 6, 6, 1], np.int32), np.array([4, 0, 0, 2, 4, 1, 3], np.int64)
OF_CUBE = rng.integers(0, 7, (3, 5)).astype(np.int32)
ROWS, COLUMNS = np.arange(5), np.arange(7)

# what is read, and the place of each number that it reads (None: none)
READS = {
    "along rows": (lambda x: jnp.take_along_axis(x, OF_ROWS[:, None], 1), X, (ROWS, OF_ROWS)),
    "along columns": (lambda x: jnp.take_along_axis(x, OF_COLUMNS[None], 0), X, (OF_COLUMNS, COLUMNS)),
    "by positions": (lambda x: x[jnp.arange(5), OF_ROWS], X, (ROWS, OF_ROWS)),
    "by positions behind": (lambda x: x[OF_COLUMNS, jnp.arange(7)], X, (OF_COLUMNS, COLUMNS)),
    "from the end": (lambda x: x[jnp.arange(5), OF_ROWS - 7], X, (ROWS, OF_ROWS)),
    "unsigned": (lambda x: x[jnp.arange(5), OF_ROWS.astype(np.uint8)], X, (ROWS, OF_ROWS)),
    "two positions": (lambda x: x[jnp.arange(3)[:, None], jnp.arange(5), OF_CUBE], CUBE, (np.arange(3)[:, None], ROWS, OF_CUBE)),
    "turned positions": (lambda x: x[jnp.arange(3), jnp.arange(5)[:, None], OF_CUBE.T], CUBE,
                         (np.arange(3), ROWS[:, None], OF_CUBE.T)),
    "last of three": (lambda x: jnp.take_along_axis(x, OF_CUBE[..., None], -1), CUBE, (np.arange(3)[:, None], ROWS, OF_CUBE)),
    "lanes": (lambda x: tj.vmap(lambda row, i: row[i])(x, OF_ROWS), X, (ROWS, OF_ROWS)),
    "one number": (lambda x: x[jnp.asarray(OF_ROWS)[2]], X[0], (OF_ROWS[2],)),
    "float32": (lambda x: x[jnp.arange(5), OF_ROWS], X.astype(np.float32), (ROWS, OF_ROWS)),
    "float16": (lambda x: x[jnp.arange(5), OF_ROWS], X.astype(np.float16), (ROWS, OF_ROWS)),
    "outside, nearest": (lambda x: jnp.asarray(x).at[jnp.arange(5), OF_ROWS + 4].get(mode="clip"), X, (ROWS, np.minimum(OF_ROWS + 4, 6))),
    "outside, nothing": (lambda x: jnp.asarray(x).at[jnp.arange(5), OF_ROWS + 4].get(mode="fill", fill_value=0), X,
                         (ROWS[[1, 4]], OF_ROWS[[1, 4]] + 4)),
}
STAY = {
    "rows that are read twice": (lambda x: jnp.take_along_axis(x, np.stack([OF_ROWS, OF_ROWS], 1), 1), X),
    "whole rows": (lambda x: x[OF_ROWS % 5], X),
    "some rows": (lambda x: x[jnp.arange(1, 5), OF_ROWS[1:]], X),
    "rows in another order": (lambda x: x[jnp.arange(5)[::-1], OF_ROWS], X),
}


def gradient(f):
    """Of a sum with other weights for each number."""
    return lambda x: tj.grad(lambda x: (lambda y: (y * jnp.arange(1, y.size + 1, dtype=y.dtype).reshape(y.shape)).sum())(f(x)))(x)


def ops_of(f, *args) -> set[str]:
    graph, captured = trace(lambda *xs: [f(*xs)], [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return {eqn.op.name for eqn in graph.eqns}


@pytest.mark.parametrize("name", READS)
def test_selections(name):
    f, x, place = READS[name]
    weights = np.arange(1, np.asarray(f(x)).size + 1, dtype=x.dtype).reshape(np.shape(f(x)))
    if name == "outside, nothing":
        weights = weights[[1, 4]]
    wanted = np.zeros_like(x)
    wanted[place] = weights.reshape(np.broadcast_shapes(*map(np.shape, place)))
    found = tj.jit(gradient(f))(x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", READS)
def test_no_scatter_is_left(name):
    f, x, _ = READS[name]
    # places that are known are gathered and scattered as slices are: here they are arguments
    places = {n: v for n, v in (("OF_ROWS", OF_ROWS), ("OF_COLUMNS", OF_COLUMNS), ("OF_CUBE", OF_CUBE)) if n in f.__code__.co_names}

    def of_places(x, *values):
        own = type(f)(f.__code__, f.__globals__ | dict(zip(places, values)))
        return gradient(own)(x)
    assert "scatter_add" not in ops_of(of_places, x, *places.values())


@pytest.mark.parametrize("name", STAY)
def test_other_updates_stay(name):
    f, x = STAY[name]
    assert "scatter_add" in ops_of(gradient(f), x)
    weights = np.asarray(gradient(f)(x))
    np.testing.assert_array_equal(tj.jit(gradient(f))(x), weights)


def test_zeros_keep_their_signs_and_nan_its_place():
    f = tj.jit(lambda ct, i: lax.full((3, 4), 0., np.float32).at[jnp.arange(3), i].add(ct))
    found = np.asarray(f(np.array([-0., np.nan, np.inf], np.float32), np.array([1, 2, 0])))
    assert np.isnan(found[1, 2]) and np.isinf(found[2, 0]) and np.isnan(found).sum() == np.isinf(found).sum() == 1
    assert not np.signbit(found[0]).any()


def test_cross_entropy():
    def loss(x, y):
        return -jnp.take_along_axis(nn.log_softmax(x), y[:, None], 1).mean()
    e = np.exp(X - X.max(1, keepdims=True))
    p, one_hot = e / e.sum(1, keepdims=True), np.eye(7)[OF_ROWS]
    value, found = tj.jit(tj.value_and_grad(loss))(X, OF_ROWS)
    np.testing.assert_allclose(value, -np.log(p[ROWS, OF_ROWS]).mean(), rtol=1e-12)
    np.testing.assert_allclose(found, (p - one_hot) / 5, rtol=1e-10, atol=1e-15)
    hessian = tj.jit(tj.hessian(loss))(X, OF_ROWS)
    wanted = np.einsum("ij,ik,il->ijkl", p, np.eye(5), np.ones((5, 7)))
    wanted = np.einsum("ik,ij,jl->ijkl", np.eye(5), p, np.eye(7)) - np.einsum("ik,ij,il->ijkl", np.eye(5), p, p)
    np.testing.assert_allclose(hessian, wanted / 5, rtol=1e-9, atol=1e-14)
    lanes = tj.jit(tj.vmap(tj.grad(loss)))(np.stack([X, 2 * X]), np.stack([OF_ROWS, OF_ROWS]))
    np.testing.assert_allclose(lanes[0], found, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_constant_places_of_any_integer_type(dtype):
    places = OF_ROWS.astype(dtype)
    np.testing.assert_array_equal(tj.jit(lambda x: x[jnp.arange(5), places])(X), X[ROWS, OF_ROWS])
    if dtype[0] == "i":
        np.testing.assert_array_equal(tj.jit(lambda x: x[jnp.arange(5), places - places.dtype.type(7)])(X), X[ROWS, OF_ROWS])


@pytest.mark.parametrize("dtype", ["u1", "i1"])
@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
def test_places_of_a_narrow_dtype_along_a_long_axis(dtype, mode):
    numbers = lax.GatherDimensionNumbers((), (1,), (1,), (0,), (0,))
    x, places = np.ones((4, 300)), np.array([[1], [2], [3], [120]], dtype)
    f = tj.jit(tj.grad(lambda x, places: lax.gather(x, places, numbers, (1, 1), mode=mode).sum()))
    np.testing.assert_array_equal(np.argwhere(f(x, places)), np.column_stack([np.arange(4), places]))

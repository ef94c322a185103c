"""Kernels that read along one axis and write along another: NumPy's results for shapes around whole tiles, and how they are walked."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.codegen.kernels import Kernel
from tracejit.codegen.tiles import tiles_of
from tracejit.runtime import compile as compiler

RNG = np.random.default_rng(0)


def numbers(dtype: str, *shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) * 50).astype(dtype)


@pytest.mark.parametrize("dtype, rows, columns", [
    ("f4", 64, 128), ("f4", 300, 17), ("f8", 65, 131), ("i2", 200, 35), ("u1", 70, 1000), ("f2", 130, 99), ("c8", 65, 131),
    ("?", 200, 90), ("i8", 200, 5)])
def test_operands_that_lie_across(dtype, rows, columns):
    x, y = numbers(dtype, rows, columns), numbers(dtype, columns, rows)
    f = tj.jit(lambda x, y: (jnp.where(x.T > y, x.T, y), x.T + x[0][:, None]))
    for found, wanted in zip(f(x, y), (np.where(x.T > y, x.T, y), x.T + x[0][:, None])):
        np.testing.assert_array_equal(np.asarray(found), wanted)


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1), (2, 1, 0)])
def test_inner_axes(order):
    x = numbers("f4", 9, 80, 66)
    found = tj.jit(lambda x: jnp.transpose(x, order) * 2)(x)
    np.testing.assert_array_equal(np.asarray(found), x.transpose(order) * 2)


def test_both_orders_of_one_array():
    x = numbers("f8", 131, 131)
    np.testing.assert_array_equal(np.asarray(tj.jit(lambda x: x + x.T)(x)), x + x.T)
    found = tj.jit(tj.grad(lambda x: ((x - x.T) ** 2).sum()))(x)
    np.testing.assert_allclose(np.asarray(found), 4 * (x - x.T))
    np.testing.assert_array_equal(np.asarray(tj.vmap(lambda x: x.T - 1)(x[None])), x.T[None] - 1)


def test_whole_tiles_and_what_is_left():
    tj.jit(lambda x, y: x.T + y)(np.ones((150, 101), "f4"), np.ones((101, 150), "f4"))
    kernel: Kernel = compiler.reports[-1].code.program.steps[0].kernel
    parts = tiles_of(kernel)
    assert [[a.size for a in part.row_axes] for part, _ in parts] == [[6, 2, 16, 64], [101, 22], [5, 128]]
    assert [across is None for _, across in parts] == [False, True, True]

"""Products of int8, int16 and bfloat16 by the word: exact in integers, float32 sums of bfloat16, in every layout and on every path."""
from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.codegen.cpu.isa import Isa, make_isa
from tracejit.config import config
from tracejit.ir.types import bfloat16
from tracejit.lax.words import WordProduct
from tracejit.runtime import compile as compiler

SHAPES = [(5, 16, 5), (9, 70, 48), (40, 50, 2), (33, 100, 47), (16, 64, 32), (70, 3001, 19), (130, 77, 260), (6, 17, 6)]
LAYOUTS = ["ij,jk->ik", "ji,jk->ik", "ij,kj->ik", "ji,kj->ik", "bij,bjk->bik", "ibj,kbj->bik"]


def without_tiles(isa: Isa) -> Isa:
    return dataclasses.replace(isa, features=isa.features.replace("+amx", "-amx"))


@pytest.fixture(params=["native", "without tiles", "avx2", "baseline"])
def isa(request, monkeypatch) -> Isa:
    if request.param == "without tiles":
        found = without_tiles(make_isa("native"))
        monkeypatch.setattr(compiler, "host_isa", lambda: found)
        yield found
    else:
        with config.setting(isa=None if request.param == "native" else request.param):
            yield make_isa(request.param)


def operands(spec: str, m: int, k: int, n: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    sizes = dict(i=m, j=k, k=n, b=3)
    rng = np.random.default_rng(m + k)
    shapes = [tuple(sizes[a] for a in term) for term in spec.split("->")[0].split(",")]
    if dtype == bfloat16:
        return tuple(rng.standard_normal(s).astype(bfloat16) for s in shapes)
    limits = np.iinfo(dtype)
    x, y = (rng.integers(limits.min, limits.max + 1, s).astype(dtype) for s in shapes)
    x.flat[:9], y.flat[:9] = limits.min, limits.min
    return x, y


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_integers_are_exact(isa, dtype):
    for spec, shape in zip(LAYOUTS, SHAPES):
        x, y = operands(spec, *shape, dtype)
        exact = np.einsum(spec, x.astype(np.int64), y.astype(np.int64))
        for out in (np.int32, np.dtype(dtype)):
            got = tj.jit(lambda x, y: jnp.einsum(spec, x, y, preferred_element_type=out))(x, y)
            np.testing.assert_array_equal(np.asarray(got), exact.astype(out))


def test_sums_of_bfloat16_are_float32(isa):
    for spec, (m, k, n) in zip(LAYOUTS, SHAPES):
        x, y = operands(spec, m, k, n, bfloat16)
        exact = np.einsum(spec, x.astype(float), y.astype(float))
        size = np.einsum(spec, abs(x.astype(float)), abs(y.astype(float)))
        got = np.asarray(tj.jit(lambda x, y: jnp.einsum(spec, x, y, preferred_element_type=np.float32))(x, y))
        assert got.dtype == np.float32 and (abs(got - exact) <= size * k * 2.0 ** -24).all()
        rounded = np.asarray(tj.jit(lambda x, y: jnp.einsum(spec, x, y))(x, y))
        np.testing.assert_array_equal(rounded, got.astype(bfloat16))


def test_infinities_and_nans_stay_where_they_are(isa):
    x, y = operands("ij,jk->ik", 33, 47, 35, bfloat16)
    x[2, 46], y[46, 34], x[31, 0] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        want = x.astype(np.float32) @ y.astype(np.float32)
    got = np.asarray(tj.jit(lambda x, y: jnp.matmul(x, y, preferred_element_type=np.float32))(x, y))
    for what in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(what(got), what(want))


def test_small_numbers_count_as_in_jax():
    """Below the normal range of float32 they may be zero, and are nothing else."""
    x = np.full((8, 32), 1e-30, bfloat16)
    got = np.asarray(tj.jit(lambda x, y: jnp.matmul(x, y, preferred_element_type=np.float32))(x, x.T.copy()))
    assert ((got == 0) | (abs(got - 32e-60) < 1e-45)).all()


def test_results_do_not_depend_on_the_number_of_threads():
    for dtype, out in (("int8", np.int32), (bfloat16, np.float32)):
        x, y = operands("ij,jk->ik", 300, 3000, 200, dtype)
        f = tj.jit(lambda x, y, out=out: jnp.matmul(x, y, preferred_element_type=out))
        with config.setting(threads=1):
            alone = np.asarray(f(x, y))
        np.testing.assert_array_equal(alone, np.asarray(f(x, y)))


def test_what_follows_and_derivatives():
    x, y = operands("ij,jk->ik", 40, 50, 60, bfloat16)
    loss = lambda x, y: (jnp.tanh(x @ y).astype(np.float32) ** 2).sum()
    wide = [v.astype(np.float32) for v in (x, y)]
    for got, want in zip(tj.jit(tj.grad(loss, (0, 1)))(x, y), tj.jit(tj.grad(loss, (0, 1)))(*wide)):
        want = np.asarray(want)
        assert got.dtype == bfloat16 and abs(np.asarray(got).astype(np.float32) - want).max() < .03 * abs(want).max()
    many = np.stack([x] * 3)
    np.testing.assert_array_equal(np.asarray(tj.jit(tj.vmap(jnp.matmul, (0, None)))(many, y))[2], np.asarray(tj.jit(jnp.matmul)(x, y)))


def test_every_stage_means_the_same():
    with config.setting(check=True):
        for dtype in ("int8", "int16", bfloat16):
            for spec in LAYOUTS:
                x, y = operands(spec, 10, 35, 11, dtype)
                tj.jit(lambda x, y: jnp.einsum(spec, x, y, preferred_element_type=np.float32 if dtype is bfloat16 else np.int32))(x, y)


def test_the_op_says_what_the_routine_does():
    x, y = operands("bij,bjk->bik", 6, 32, 7, "int16")
    words = np.ascontiguousarray(y.reshape(3, 16, 2, 7).swapaxes(2, 3)).view(np.uint32)[..., 0]
    op = WordProduct(((2,), (1,)), ((0,), (0,)), None, np.dtype("int32"), np.dtype("int16"))
    exact = (x.astype(np.int64) @ y.astype(np.int64)).astype(np.int32)
    np.testing.assert_array_equal(op.eval(x, words), exact)
    turned = dataclasses.replace(op, contract=((2,), (2,)))
    np.testing.assert_array_equal(turned.eval(x, y.swapaxes(1, 2)), exact)

"""8-bit floats and integers of 2 and 4 bits: every value converts as ml_dtypes says, and operations compute in wider dtypes."""
import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.types import NARROW

FLOATS = [d for d, wide in NARROW.items() if wide.kind == "f"]
INTEGERS = [d for d, wide in NARROW.items() if wide.kind != "f"]
NAMES = {"ids": lambda d: d.name}


def same(mine, theirs):
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert mine.dtype == theirs.dtype
    a, b = mine.astype(np.float64), theirs.astype(np.float64)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


@pytest.mark.parametrize("dtype", FLOATS, **NAMES)
@pytest.mark.filterwarnings("ignore:invalid value")     # NumPy's, at signalling nans
def test_floats_convert_exactly_and_round_to_nearest_even(dtype):
    every = np.arange(256, dtype=np.uint8).view(dtype)
    same(jnp.asarray(every).astype(jnp.float32), every.astype(np.float32))
    values = every.astype(np.float32)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        around = np.concatenate([values, (values[1:] + values[:-1]) / 2, rng.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32),
                                 (rng.normal(size=20_000) * 10.0 ** rng.uniform(-8, 6, 20_000)).astype(np.float32)])
        same(jnp.asarray(around).astype(dtype), around.astype(dtype))
        wide = rng.normal(size=20_000) * 10.0 ** rng.uniform(-8, 6, 20_000)
        same(jnp.asarray(wide).astype(dtype), wide.astype(dtype))


@pytest.mark.parametrize("dtype", INTEGERS, **NAMES)
def test_integers_wrap_and_floats_saturate(dtype):
    numbers = np.arange(-300, 300)
    same(jnp.asarray(numbers).astype(dtype), numbers.astype(dtype))
    info = ml_dtypes.iinfo(dtype)
    assert jnp.float32([-1e9, 0.7, 1e9]).astype(dtype).tolist() == [info.min, 0, info.max]


X, Y = np.arange(5).astype(ml_dtypes.float8_e4m3fn), np.arange(-3, 4).astype(ml_dtypes.int4)
IN_STEPS = {    # what JAX rounds after each operation, so does NumPy with ml_dtypes
    "add": lambda np, x: x + x, "product": lambda np, x: x * x + x, "negative": lambda np, x: -x,
    "maximum": lambda np, x: np.maximum(x, x[::-1]), "concatenate": lambda np, x: np.concatenate([x, x]),
    "where": lambda np, x: np.where(x > x[1], x, x[0]), "equal": lambda np, x: x == x[2], "stack": lambda np, x: np.stack([x, x], 1),
}


@pytest.mark.parametrize("name", IN_STEPS)
@pytest.mark.parametrize("x", [X, Y], ids=["float8", "int4"])
def test_operations_against_numpy(name, x):
    expected = IN_STEPS[name](np, x)
    expected = expected.astype(x.dtype) if expected.dtype == np.int8 else expected    # ml_dtypes negates to int8
    same(IN_STEPS[name](jnp, jnp.asarray(x)), expected)
    same(tj.jit(lambda x: IN_STEPS[name](jnp, x))(x), expected)


def test_folds_sorts_and_products():
    assert jnp.sum(X) == 10 and jnp.mean(X) == 2 and jnp.max(Y) == 3 and jnp.argmin(Y) == 0
    assert jnp.cumsum(X).tolist() == [0, 1, 3, 6, 10] and jnp.sort(-jnp.asarray(Y)).tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert jnp.nonzero(Y)[0].tolist() == [0, 1, 2, 4, 5, 6] and jnp.unique(Y).tolist() == Y.tolist()
    out = lax.dot(jnp.asarray(X), jnp.asarray(X), preferred_element_type=jnp.float32)
    assert out.dtype == np.float32 and out == 30
    mixed = lax.dot(jnp.asarray(X), X.astype(ml_dtypes.float8_e5m2))
    assert mixed.dtype == "float8_e5m2" and mixed == np.float32(30).astype(ml_dtypes.float8_e5m2)
    assert (jnp.asarray(Y) // 2).tolist() == [-2, -1, -1, 0, 0, 1, 1] and (jnp.asarray(Y) & 1).tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_transforms():
    x = jnp.asarray(X)
    assert tj.vmap(tj.grad(lambda v: v * v * v))(x).tolist() == [0, 3, 12, 28, 48]     # 27 rounds to 28
    out, tangent = tj.jvp(lambda v: v * v, (x,), (x,))
    assert tangent.dtype == x.dtype and tangent.tolist() == [0, 2, 8, 18, 32]
    assert tj.hessian(lambda v: (v * v * v).sum())(x[1:2]).tolist() == [[6]]
    carry, ys = lax.scan(lambda c, v: (c + v, c), x[0], x)
    assert carry == 10 and ys.dtype == x.dtype
    assert lax.while_loop(lambda c: c < 5, lambda c: c + 1, x[1]) == 5
    assert lax.cond(True, lambda v: v + v, lambda v: v, jnp.asarray(Y)).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert x.at[0].set(4).tolist() == [4, 1, 2, 3, 4] and x.at[1].add(3).tolist() == [0, 4, 2, 3, 4]


def test_bits():
    y = jnp.arange(-4, 4, dtype="int4")
    assert y.view("uint4").tolist() == [12, 13, 14, 15, 0, 1, 2, 3]
    assert y.view("uint8").tolist() == [0xDC, 0xFE, 0x10, 0x32] and y.view("uint8").view("int4").tolist() == y.tolist()
    assert lax.bitcast_convert_type(jnp.float32(1), "uint4").tolist() == [0, 0, 0, 0, 0, 8, 15, 3]
    assert lax.bitcast_convert_type(jnp.asarray(X[:2]), "uint8").tolist() == [0, 0x38]
    assert tj.dtypes.itemsize_bits("int4") == 4


def test_promotion():
    assert (jnp.asarray(X) + 1).dtype == X.dtype and (jnp.asarray(X) * 1.5).dtype == X.dtype and (jnp.asarray(Y) + 1).dtype == Y.dtype
    assert (jnp.asarray(X) + jnp.arange(5)).dtype == X.dtype
    for call in (lambda: jnp.asarray(X) + jnp.float32(1), lambda: jnp.asarray(Y) + jnp.int32(1), lambda: jnp.asarray(Y) * 1.5):
        with pytest.raises(ValueError, match="have no available implicit dtype promotion path"):
            call()


def test_arrays():
    y = jnp.int4([1, -2])
    assert repr(y) == "Array([1, -2], dtype=int4)" and isinstance(y, tj.Array) and y.nbytes == 2
    for again in (pickle.loads(pickle.dumps(y)), copy.deepcopy(y), jnp.array(np.asarray(y))):
        assert again.dtype == y.dtype and again.tolist() == [1, -2]
    assert jnp.uint4(0).dtype == "uint4" and jnp.zeros(2, "float8_e5m2").tolist() == [0, 0] and lax.iota("int4", 3).tolist() == [0, 1, 2]
    assert tj.make_jaxpr(lambda x: x + x)(X).in_avals[0].str_short(True) == "f8_e4m3fn[5]"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e3m4"])
def test_random_floats_have_all_digits(dtype):
    x = tj.random.uniform(tj.random.key(0), (2000,), dtype)
    digits = ml_dtypes.finfo(dtype).nmant
    assert x.dtype == dtype and sorted(set(np.asarray(x, np.float32))) == [i / 2**digits for i in range(2**digits)]
    assert abs(np.asarray(tj.random.normal(tj.random.key(1), (2000,), dtype), np.float32).std() - 1) < 0.15


def test_random_integers_of_four_bits():
    x = tj.random.randint(tj.random.key(0), (200,), -2, 3, "int4")
    assert x.dtype == "int4" and sorted(set(x.tolist())) == [-2, -1, 0, 1, 2]

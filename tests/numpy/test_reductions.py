"""Reductions and running sums against NumPy and jax.numpy, with every option."""
import numpy as np
import pytest
from oracle import assert_same, bools, check, complexes, floats, ints

import tracejit.numpy as jnp

REDUCTIONS = ["sum", "prod", "max", "min", "amax", "amin", "mean", "var", "std", "all", "any", "ptp", "count_nonzero"]
AXES = [None, 0, 1, -1, (0, 1), (0, -1), (2, 0, 1), ()]
NAN = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, np.nan], [np.nan, 0.5, -2.0]], np.float32)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_axes(name, axis):
    if name == "ptp" and axis == ():
        pytest.skip("NumPy refuses it")
    check(name, floats(2, 3, 4), axis=axis)
    check(name, floats(2, 3, 4), axis=axis, keepdims=True)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("make", [lambda: ints(3, 4, low=1, high=4), lambda: bools(3, 4), lambda: ints(3, 4, low=0, high=3, dtype="uint8"),
                                  lambda: floats(3, 4, dtype="float16"), lambda: ints(3, 4, low=0, high=3, dtype="int8")])
def test_dtypes(name, make):
    x = make()
    if name == "ptp" and x.dtype == bool:
        pytest.skip("not defined for booleans")
    check(name, x, axis=0, numpy=False, rtol=2e-3)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "all", "any"])
def test_complex_and_where(name):
    x, mask = complexes(3, 4), np.array([True, False, True, True])
    check(name, x, axis=1)
    if name not in ("all", "any"):
        check(name, floats(3, 4), axis=1, where=mask)
    check(name, floats(3, 4) > 0, axis=0, where=np.broadcast_to(mask, (3, 4)).copy())
    check(name, 2.5)
    check(name, 2)


def test_initial_and_dtype():
    x = ints(3, 4, low=1, high=4)
    check("sum", x, axis=0, initial=5)
    check("prod", x, axis=0, initial=2)
    check("max", x, axis=0, initial=3)
    check("min", x, axis=0, initial=2, where=x > 2)
    check("sum", x, dtype="float32")
    check("sum", x.astype(np.int8), dtype="int8")
    check("sum", x.astype(np.int8), numpy=False, promote_integers=False)
    check("mean", x, dtype="float16", numpy=False, rtol=1e-2)
    check("var", floats(5), ddof=1)
    check("std", floats(5), correction=1)
    check("var", floats(3, 4), axis=1, mean=np.zeros((3, 1), np.float32))


def test_empty_axes():
    for name in ("sum", "prod", "all", "any", "mean"):
        check(name, np.zeros((0, 3), np.float32), axis=0)
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError):
            getattr(jnp, name)(jnp.zeros((0, 3)), axis=0)
    check("max", np.zeros((0, 3), np.float32), axis=0, initial=-1.0)
    check("max", np.zeros((3, 0), np.float32), axis=0)


@pytest.mark.parametrize("name", ["argmax", "argmin", "nanargmax", "nanargmin"])
def test_positions(name):
    x = ints(3, 4, high=3).astype(np.float32)
    for axis in (None, 0, 1, -1):
        check(name, x, axis=axis)
        check(name, x, axis=axis, keepdims=True)
    check(name, ints(5))
    check(name, NAN, axis=0)
    check(name, NAN)
    if not name.startswith("nan"):
        check(name, bools(4))


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd", "nanmedian"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_nan_reductions(name, axis):
    check(name, NAN, axis=axis)
    check(name, NAN, axis=axis, keepdims=True)
    check(name, ints(3, 3), axis=axis, numpy=False)
    check(name, np.full((2, 2), np.nan, np.float32), axis=axis)


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "nancumsum", "nancumprod"])
def test_running(name):
    for axis in (None, 0, 1, -1):
        check(name, floats(3, 4), axis=axis)
    check(name, NAN, axis=0)
    check(name, ints(5, low=1, high=3))
    check(name, bools(4), numpy=False)
    check(name, ints(5, low=1, high=3, dtype="int8"), numpy=False)
    check(name, ints(5), dtype="float32")
    check(name, 3.0)


def test_cumulative_of_the_array_api():
    for name in ("cumulative_sum", "cumulative_prod"):
        check(name, ints(4))
        check(name, floats(2, 3), axis=1, include_initial=True)
        check(name, ints(4, dtype="int8"), jax=name == "cumulative_sum")
        with pytest.raises(ValueError):
            getattr(jnp, name)(jnp.ones((2, 2)))


def test_diff():
    for n in (0, 1, 2, 5):
        check("diff", ints(4), n)
    check("diff", floats(3, 4), axis=0)
    check("diff", floats(3, 4), prepend=0.0, append=np.ones((3, 2), np.float32))
    check("diff", bools(5))
    check("ediff1d", ints(2, 3))
    check("ediff1d", ints(5), to_begin=np.array([7, 8], np.int32), to_end=9)


def test_average():
    x, w = floats(3, 4), floats(3, 4, low=0.1)
    check("average", x, weights=w)
    check("average", x, axis=1, weights=w[0], returned=True)
    check("average", x, axis=(0, 1), weights=w, keepdims=True)
    check("average", ints(4))


@pytest.mark.parametrize("call", [lambda: jnp.sum(jnp.ones(3), axis=1), lambda: jnp.sum(jnp.ones((2, 2)), axis=(0, 0)),
                                  lambda: jnp.max(jnp.ones(3), where=jnp.array([True, False, True]))])
def test_value_errors(call):
    with pytest.raises(ValueError):
        call()


def test_out_and_lists_are_refused():
    with pytest.raises(NotImplementedError):
        jnp.sum(jnp.ones(3), out=jnp.ones(()))
    with pytest.raises(TypeError):
        jnp.sum([1, 2])


def test_float64_sums_in_float64():
    x = np.random.default_rng(1).normal(size=1000)
    assert_same(jnp.sum(jnp.asarray(x)), x.sum(), rtol=1e-12)
    assert jnp.mean(jnp.asarray(x)).dtype == np.float64

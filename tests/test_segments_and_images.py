"""Segment reductions, ravel_pytree and image resampling against NumPy, and against JAX where it is installed."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit
import tracejit.numpy as jnp
from tracejit import flatten_util, image, ops

ROWS = np.random.RandomState(0).randn(9, 2).astype(np.float32)
IDS = np.array([0, 2, 2, 5, -1, 0, 3, 9, 3])
PICTURE = np.random.RandomState(1).rand(5, 7, 2).astype(np.float32)


@pytest.mark.parametrize("name, reduce, neutral", [
    ("segment_sum", np.sum, 0), ("segment_prod", np.prod, 1), ("segment_max", np.max, -np.inf), ("segment_min", np.min, np.inf),
])
@pytest.mark.parametrize("bucket_size", [None, 2])
def test_segments(name, reduce, neutral, bucket_size):
    expected = np.stack([reduce(ROWS[IDS == i], axis=0) if (IDS == i).any() else np.full(2, neutral) for i in range(6)])
    out = tracejit.jit(lambda rows: getattr(ops, name)(rows, IDS, 6, bucket_size=bucket_size))(ROWS)
    np.testing.assert_allclose(np.asarray(out), expected, rtol=1e-6)


def test_segment_defaults_and_derivative():
    out = ops.segment_max(jnp.array([3, 1, 2]), jnp.array([1, 1, 3]))
    lowest = np.iinfo(np.int32).min
    assert out.tolist() == [lowest, 3, lowest, 2] and ops.segment_min(jnp.array([True]), jnp.array([1])).tolist() == [True, True]
    slope = tracejit.grad(lambda x: (ops.segment_sum(x, jnp.array([0, 0, 1])) ** 2).sum())(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(np.asarray(slope), [6, 6, 6])
    with pytest.raises(ValueError):
        ops.segment_sum(ROWS, IDS, -1)


def test_ravel_pytree():
    tree = {"a": jnp.ones((2, 3)), "b": [jnp.arange(2), 4.0], "c": ()}
    flat, unravel = flatten_util.ravel_pytree(tree)
    assert flat.shape == (9,) and flat.dtype == np.float32
    back = unravel(flat * 2)
    assert back["b"][0].dtype == np.int32 and back["b"][0].tolist() == [0, 2] and float(back["b"][1]) == 8 and back["a"].shape == (2, 3)
    with pytest.raises(TypeError):
        unravel(flat.astype(jnp.float16))
    with pytest.raises(ValueError):
        unravel(flat[:-1])
    assert flatten_util.ravel_pytree(())[0].shape == (0,)
    slope = tracejit.grad(lambda v: flatten_util.ravel_pytree({"x": v, "y": v[0]})[0].sum())(jnp.ones(3))
    assert slope.tolist() == [2, 1, 1]


def test_linear_resize_is_interp():
    x = np.array([1.0, 4.0, 2.0], np.float32)
    at = (np.arange(6) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(np.asarray(image.resize(x, (6,), "linear")), np.interp(at, np.arange(3), x), rtol=1e-6)


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3", "lanczos5", "area", "cubic-pytorch"])
def test_resize_keeps_constants_and_scales_by_blocks(method):
    np.testing.assert_allclose(np.asarray(image.resize(np.full((4, 6), 3.0, np.float32), (8, 3), method)), 3, rtol=1e-5)
    if method == "area":
        blocks = PICTURE[:4, :6].reshape(2, 2, 3, 2, 2).mean((1, 3))
        np.testing.assert_allclose(np.asarray(image.resize(PICTURE[:4, :6], (2, 3, 2), "area")), blocks, rtol=1e-5)


def test_nearest_and_errors():
    assert image.resize(jnp.arange(4), (2,), "nearest").tolist() == [1, 3] and image.resize(jnp.arange(2), (4,), "nearest").tolist() == [0, 0, 1, 1]
    for call in (lambda: image.resize(PICTURE, (3, 3), "linear"), lambda: image.resize(PICTURE, (3, 3, 2), "none"),
                 lambda: image.scale_and_translate(PICTURE, (3, 3, 2), (0,), jnp.ones(1), jnp.ones(1), "nearest")):
        with pytest.raises(ValueError):
            call()


def test_translation_has_a_derivative():
    ramp = jnp.arange(10.0)
    moved = lambda t: image.scale_and_translate(ramp, (10,), (0,), jnp.ones(1), t[None], "linear")[5]
    value, slope = tracejit.value_and_grad(moved)(jnp.float32(1.25))
    assert float(value) == pytest.approx(3.75) and float(slope) == pytest.approx(-1)


METHODS = ["nearest", "linear", "cubic", "cubic-pytorch", "lanczos3", "lanczos5", "area"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(3, 11, 2), (10, 4, 2)])
def test_resize_like_jax(method, antialias, shape):
    jax = pytest.importorskip("jax")
    expected = jax.image.resize(PICTURE, shape, method, antialias)
    np.testing.assert_allclose(np.asarray(image.resize(PICTURE, shape, method, antialias)), np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS[1:])
def test_scale_and_translate_like_jax(method):
    jax = pytest.importorskip("jax")
    arguments = PICTURE, (6, 9, 2), (0, 1), np.array([1.3, 0.7], np.float32), np.array([0.4, -1.2], np.float32), method
    expected = jax.image.scale_and_translate(*arguments)
    np.testing.assert_allclose(np.asarray(image.scale_and_translate(*arguments)), np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.complex64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("kind,ufunc", [("add", np.add), ("max", np.maximum), ("min", np.minimum), ("multiply", np.multiply)])
def test_many_updates_of_few_elements(kind, ufunc, dtype):
    """Combined in parts that are put together: as one after another."""
    if dtype == np.complex64 and kind in ("max", "min"):
        return
    rng = np.random.default_rng(0)
    index, n = rng.integers(-3, 103, 70_001).astype(np.int32), 100
    values = rng.integers(1, 9, index.size).astype(dtype) if kind != "multiply" else rng.integers(0, 2, index.size).astype(dtype) * 2 - 1
    start = np.arange(n).astype(dtype)
    place = np.where(index < 0, n, index)       # negative indices count from the end, which NumPy does too: drop them
    got = tracejit.jit(lambda x, i, v: getattr(x.at[i], kind)(v, mode="drop"))(start, place, values)
    want, inside = start.copy(), place < n
    ufunc.at(want, place[inside], values[inside])
    np.testing.assert_array_equal(np.asarray(got), want)

"""custom_batching, test_util, profiler, sharding for one device, ragged products, vjp functions as pytrees."""
from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.custom_batching import custom_vmap, sequential_vmap
from tracejit.sharding import NamedSharding, PartitionSpec, get_mesh, make_mesh, set_mesh
from tracejit.test_util import check_grads

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def test_custom_vmap_rule_is_used_under_jit_and_nested_vmap() -> None:
    seen = []

    @custom_vmap
    def f(x, y):
        return x * y

    @f.def_vmap
    def rule(size, in_batched, x, y):
        seen.append((size, in_batched))
        return x * y + 100.0, True
    x = jnp.arange(3.0)
    np.testing.assert_allclose(tj.jit(tj.vmap(f, in_axes=(0, None)))(x, 2.0), np.arange(3.0) * 2 + 100)
    assert seen == [(3, [True, False])]
    assert f(2.0, 3.0) == 6.0 and tj.grad(f)(2.0, 3.0) == 3.0
    np.testing.assert_allclose(tj.vmap(tj.grad(f), (0, None))(x, 2.0), [2, 2, 2])


def test_sequential_vmap_maps_pytrees() -> None:
    f = sequential_vmap(lambda d, y: {"sum": d["a"] + y})
    out = tj.vmap(f, in_axes=({"a": 0}, None))({"a": jnp.arange(3.0)}, 1.0)
    np.testing.assert_allclose(out["sum"], [1, 2, 3])


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_check_grads_finds_a_wrong_derivative(mode: str) -> None:
    @tj.custom_jvp
    def wrong(x):
        return x**2
    wrong.defjvp(lambda primals, tangents: (primals[0] ** 2, primals[0] * tangents[0]))
    check_grads(lambda x: x**2 * jnp.sin(x), (1.3,), order=2, modes=mode)
    with pytest.raises(AssertionError):
        check_grads(wrong, (2.0,), order=1, modes=mode)


def test_check_grads_of_trees_integers_and_complex_numbers() -> None:
    check_grads(lambda p, i: p["w"][i] * p["b"], ({"w": normal(4), "b": np.float32(0.5)}, 2), order=1)
    check_grads(lambda z: jnp.exp(z) * z, (np.complex64(1 + 2j),), order=2)


def test_a_trace_names_stretches_and_compilations(tmp_path: Path) -> None:
    with tj.profiler.trace(tmp_path), tj.profiler.StepTraceAnnotation("train", step_num=3):
        tj.jit(lambda x: x * 3.25 + jnp.sin(x))(np.ones(7, "float32"))
    (path,) = tmp_path.rglob("*.json.gz")
    events = json.loads(gzip.open(path, "rt").read())["traceEvents"]
    names = [e["name"] for e in events]
    assert "train" in names and "compile" in names and events[names.index("train")]["args"] == {"step_num": "3"}
    with pytest.raises(RuntimeError):
        tj.profiler.stop_trace()


def test_vjp_functions_pass_through_jit() -> None:
    x, w = normal(2, 3), normal(3, 2)
    f = lambda x, w: jnp.sin(x @ w)
    y, pull = tj.jit(lambda *args: tj.vjp(f, *args))(x, w)
    got, want = tj.jit(lambda pull, ct: pull(ct))(pull, y), tj.vjp(f, x, w)[1](y)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[2, 0, 3], [1, 1, 1], [5, 0, 0]])
def test_ragged_products(sizes: list[int]) -> None:
    x, w, other, counts = normal(5, 4), normal(3, 4, 2), normal(5, 2), np.int32(sizes)
    group = np.repeat(np.arange(3), sizes)
    want = np.zeros((5, 2), "float32")
    want[:len(group)] = np.stack([x[i] @ w[g] for i, g in enumerate(group)])
    kept = lax.RaggedDotDimensionNumbers((([1], [1]), ([], [])), [0], [0])
    np.testing.assert_allclose(lax.ragged_dot_general(x, w, counts, kept), want, rtol=1e-4, atol=1e-5)
    contracted = lax.RaggedDotDimensionNumbers((([0], [0]), ([], [])), [0], [])
    each = [x[:len(group)][group == g].T @ other[:len(group)][group == g] for g in range(3)]
    np.testing.assert_allclose(lax.ragged_dot_general(x, other, counts, contracted), each, rtol=1e-4, atol=1e-5)


def test_ragged_all_to_all_over_a_vmap_axis() -> None:
    # lane 0 sends rows 0 to itself and 1, 2 to lane 1; lane 1 sends row 0 to lane 0 and 1 to itself
    operand = np.float32([[1, 2, 3], [4, 5, 6]])
    starts, sizes = np.int32([[0, 1], [0, 1]]), np.int32([[1, 2], [1, 1]])
    places, got = np.int32([[0, 0], [1, 2]]), np.int32([[1, 1], [2, 1]])
    f = lambda *args: lax.ragged_all_to_all(*args, axis_name="i")
    out = tj.vmap(f, axis_name="i")(operand, np.zeros((2, 4), "float32"), starts, sizes, places, got)
    np.testing.assert_array_equal(out, [[1, 4, 0, 0], [2, 3, 5, 0]])


def test_shardings_of_one_device() -> None:
    mesh = make_mesh((1,), ("x",))
    with set_mesh(mesh):
        assert get_mesh() is mesh
        out = tj.shard_map(lambda v: lax.psum(v, "x"), in_specs=PartitionSpec("x"), out_specs=PartitionSpec())(np.ones(2, "float32"))
    assert get_mesh().empty and out.shape == (2,)
    sharding = NamedSharding(mesh, PartitionSpec("x", None))
    x = jnp.ones((4, 2))
    assert tj.jit(lambda x: lax.with_sharding_constraint(x, sharding))(x).shape == (4, 2)
    with pytest.raises(ValueError, match="names 2 axes"):
        lax.with_sharding_constraint(jnp.ones(3), sharding)


def test_platform_dependent_and_old_cond() -> None:
    assert lax.platform_dependent(1.0, tpu=lambda x: x, default=lambda x: x + 2.0) == 3.0
    with pytest.raises(NotImplementedError):
        lax.platform_dependent(1.0, tpu=lambda x: x)
    assert tj.jit(lambda p: lax.cond(p, 2.0, lambda x: x * 2, 3.0, lambda y: y * 3))(False) == 9.0
    assert lax.cond(True, lambda x: x is None, lambda x: False, operand=None)

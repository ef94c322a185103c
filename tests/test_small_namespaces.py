"""custom_batching, test_util, profiler, sharding for one device, ragged products, vjp functions as pytrees."""
from __future__ import annotations

import pickle
import collections
import gzip
import json
import re
import typing
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import export, lax, monitoring
from tracejit.custom_batching import custom_vmap, sequential_vmap
from tracejit.custom_derivatives import linear_call
from tracejit.experimental import multihost_utils
from tracejit.experimental.mesh_utils import create_device_mesh
from tracejit.experimental.random import stateful_rng
from tracejit.extend.random import define_prng_impl, random_seed, seed_with_impl
from tracejit.sharding import NamedSharding, PartitionSpec, Sharding, get_mesh, make_mesh, set_mesh
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


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_a_type_says_that_nothing_is_split(shape: tuple[int, ...]) -> None:
    x = jnp.ones(shape)
    sharding = tj.typeof(x).sharding
    assert sharding.is_fully_replicated and sharding.mesh.empty and sharding.shard_shape(shape) == shape
    assert sharding.spec == PartitionSpec(*[None] * len(shape)) and sharding.device_set == set()
    traced = tj.jit(lambda v: lax.with_sharding_constraint(v, tj.typeof(v).sharding), out_shardings=sharding)(x)
    np.testing.assert_array_equal(traced, x)
    np.testing.assert_array_equal(tj.device_put(x, sharding), x)
    assert isinstance(x.sharding, Sharding) and x.sharding.is_fully_replicated and x.sharding.shard_shape(shape) == shape
    assert NamedSharding(make_mesh((1,), ("x",)), PartitionSpec("x")).is_fully_replicated
    assert sharding.update(spec=()).spec == PartitionSpec() and sharding.update(memory_kind="device").spec == sharding.spec


def test_an_axis_may_be_left_to_the_compiler() -> None:
    free = PartitionSpec.UNCONSTRAINED
    assert pickle.loads(pickle.dumps(free)) is free and repr(PartitionSpec("x", free)) == "P('x', UNCONSTRAINED)"
    sharding = NamedSharding(make_mesh((1,), ("x",)), PartitionSpec(free, "x"))
    assert lax.with_sharding_constraint(jnp.ones((2, 3)), sharding).shape == (2, 3)


def test_pmap_of_a_number_along_an_axis_is_an_error() -> None:
    with pytest.raises(ValueError):
        tj.pmap(lambda x, n: x * n)(jnp.ones((1, 2)), 100)


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


class Pair(typing.NamedTuple):
    first: object
    second: object


export.register_namedtuple_serialization(Pair, serialized_name="tests.Pair")


@pytest.mark.parametrize("f", [
    lambda p, x: lax.scan(lambda c, r: (c + r, jnp.sin(c)), x[0] * p["w"], x), lambda p, x: Pair(tj.nn.relu(x @ CONSTANT), [p["b"], ()]),
    lambda p, x: lax.while_loop(lambda c: c.sum() < 50, lambda c: c * 2, jnp.abs(x)), lambda p, x: lax.cond(p["b"] > 0, jnp.sin, jnp.cos, x),
    lambda p, x: (jnp.sort(x)[::2], x.at[jnp.array([0, 1])].add(1.0), jnp.fft.fft(x).real, jnp.linalg.qr(x)[1]),
    lambda p, x: x + tj.random.normal(tj.random.key(1), (3,))])
def test_an_exported_function_runs_after_a_round_trip(f) -> None:
    p, x = {"w": normal(3), "b": np.float32(0.5)}, normal(4, 3)
    exported = export.export(tj.jit(f))(p, tj.ShapeDtypeStruct((4, 3), "float32"))
    loaded = export.deserialize(exported.serialize())
    got, want = loaded.call(p, x), f(p, jnp.asarray(x))
    assert tj.tree.structure(got) == tj.tree.structure(want)
    for a, b in zip(tj.tree.leaves(got), tj.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="exported for an argument"):
        loaded.call(p, x[:2])


CONSTANT = normal(3, 2)


def test_an_exported_function_has_derivatives_and_lanes() -> None:
    f = lambda x: jnp.sum(jnp.tanh(x) ** 2)
    loaded = export.deserialize(export.export(tj.jit(f))(normal(3)).serialize())
    x = normal(3)
    np.testing.assert_allclose(tj.jit(tj.grad(loaded.call))(x), tj.grad(f)(x), rtol=1e-6)
    np.testing.assert_allclose(tj.vmap(loaded.call)(np.stack([x, 2 * x])), [f(x), f(2 * x)], rtol=1e-6)


def test_what_cannot_be_exported() -> None:
    with pytest.raises(ValueError, match="Python function"):
        export.export(tj.jit(lambda x: tj.pure_callback(np.sin, x, x)))(normal(2))
    with pytest.raises(ValueError, match="platform"):
        export.export(tj.jit(jnp.sin), platforms=["tpu"])
    with pytest.raises(ValueError, match="not made by"):
        export.deserialize(b"other bytes")
    with pytest.raises(ValueError, match="registered"):
        export.export(tj.jit(lambda x: collections.OrderedDict(a=x)))(normal(2)).serialize()


def test_listeners_hear_what_is_recorded() -> None:
    heard: list = []
    hear = lambda *args, **details: heard.append((args, details))
    for kind in ("event", "event_duration_secs", "event_time_span", "scalar"):
        getattr(monitoring, f"register_{kind}_listener")(hear)
    monitoring.record_event("/e", a=1)
    monitoring.record_event_duration_secs("/d", 0.5)
    monitoring.record_event_time_span("/t", 1.0, 2.0)
    monitoring.record_scalar("/s", 3)
    assert heard == [(("/e",), {"a": 1}), (("/d", 0.5), {}), (("/t", 1.0, 2.0), {}), (("/s", 3), {})]
    monitoring.unregister_event_listener(hear)
    monitoring.record_event("/e")
    monitoring.clear_event_listeners()
    monitoring.record_scalar("/s", 3)
    assert len(heard) == 4
    with pytest.raises(ValueError, match="not registered"):
        monitoring.unregister_scalar_listener(hear)


def test_one_process() -> None:
    x = np.arange(3)
    np.testing.assert_array_equal(multihost_utils.process_allgather(x), [x])
    np.testing.assert_array_equal(multihost_utils.process_allgather(x, tiled=True), x)
    np.testing.assert_array_equal(multihost_utils.broadcast_one_to_all({"x": x})["x"], x)
    assert create_device_mesh((1, 1)).shape == (1, 1) and tj.process_indices() == [0] and tj.local_devices(process_index=0)
    for wrong in (lambda: create_device_mesh((2,)), lambda: tj.local_devices(1), lambda: tj.distributed.initialize(num_processes=2)):
        with pytest.raises((ValueError, NotImplementedError)):
            wrong()
    (shard,) = jnp.ones((2, 3)).addressable_shards
    assert shard.data.shape == (2, 3) and shard.index == (slice(None), slice(None)) and jnp.ones(3).addressable_data(0).size == 3
    assert jnp.ones(3).on_device_size_in_bytes() == 12
    np.testing.assert_array_equal(tj.make_array_from_process_local_data(None, x), x)


def test_signatures_of_jax() -> None:
    f = tj.checkpoint(lambda x, power: x**power, static_argnames="power")
    assert tj.grad(lambda x: f(x, power=3))(2.0) == 12
    assert tj.jit(lambda x: x, compiler_options={"xla_embed_ir_in_executable": True})(2.0) == 2
    with tj.debug_nans(new_val=True), tj.checking_leaks(), tj.enable_checks(False):
        assert tj.config.debug_nans and tj.config.jax_check_tracer_leaks
    assert tj.dtypes.result_type(1.0, return_weak_type_flag=True) == (np.dtype("float32"), True)
    assert tj.ShapeDtypeStruct.like(np.ones((2, 3), "int8")) == tj.ShapeDtypeStruct((2, 3), "int8")
    x = jnp.zeros(4).at[jnp.array([1, 9])].set(5.0, indices_are_sorted=True, unique_indices=True, mode="drop", out_sharding=None)
    np.testing.assert_array_equal(x.at[-1].add(1.0, wrap_negative_indices=False, mode="drop"), [0, 5, 0, 0])
    np.testing.assert_array_equal(x.at[1].apply(jnp.square, mode="clip"), [0, 25, 0, 0])
    np.testing.assert_array_equal(tj.dlpack.from_dlpack(np.arange(3.0), copy=True), [0, 1, 2])


def test_an_aux_result_may_be_anything() -> None:
    f = lambda x: (x * x, {"text": "s", "value": x, "none": None})
    gradient, aux = tj.grad(f, has_aux=True)(3.0)
    assert gradient == 6 and aux["text"] == "s" and aux["value"] == 3 and aux["none"] is None
    assert tj.vjp(f, 3.0, has_aux=True)[2]["text"] == tj.jvp(f, (3.0,), (1.0,), has_aux=True)[2]["text"] == "s"
    assert tj.jit(lambda x: tj.value_and_grad(f, has_aux=True)(x)[1])(3.0) == 6


def test_what_reverse_mode_keeps_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    f = lambda p, *xs, k=1.0: jnp.sum(jnp.sin(p["w"] @ xs[0])) * k
    tj.ad_checkpoint.print_saved_residuals(f, {"w": normal(2, 3)}, normal(3), k=2.0)
    kept = capsys.readouterr().out.splitlines()
    assert "f32[3] from the argument xs[0]" in kept and "f32[2,3] from the argument p['w']" in kept
    assert any(re.fullmatch(r"f32\[2\] output of cos from .*test_small_namespaces.py:\d+", line) for line in kept), kept
    tj.ad_checkpoint.print_saved_residuals(tj.checkpoint(f), {"w": normal(2, 3)}, normal(3))
    assert all("argument" in line for line in capsys.readouterr().out.splitlines())


def test_the_registry_and_the_class_of_jitted_functions() -> None:
    registry = tj.tree_util.default_registry
    assert registry.flatten_one_level({"b": 1, "a": (2, 3)}) == (((2, 3), 1), ("a", "b"))
    assert registry.flatten_one_level(1) is None and registry.is_node(None) and not registry.is_node(1)
    assert [str(key) for key, _ in registry.flatten_one_level_with_keys([4, 5])[0]] == ["[0]", "[1]"]
    assert isinstance(tj.jit(jnp.sin), tj.stages.Wrapped) and not isinstance(np.sin, tj.stages.Wrapped)


# --- linear_call -----------------------------------------------------------------------------------------------------

def divide(r, x):
    return linear_call(lambda r, x: x / r, lambda r, ct: ct / r, r, x)


def transposed(f, example):
    return lambda ct: tj.linear_transpose(f, example)(ct)[0]


def test_linear_call_is_transposed_as_told_and_back() -> None:
    wrong = lambda x: linear_call(lambda _, x: x, lambda _, ct: 7., (), x)
    assert [float(f(1.)) for f in (wrong, transposed(wrong, 1.), transposed(transposed(wrong, 1.), 1.))] == [1, 7, 1]
    f = lambda x: jnp.sin(x + divide(3., x))
    expected = np.cos(0.8 + 0.8 / 3) * (1 + 1 / 3)
    for slope in (tj.grad(f), tj.jit(tj.grad(f)), lambda x: tj.jvp(f, (x,), (1.,))[1]):
        np.testing.assert_allclose(slope(0.8), expected, rtol=1e-6)
    check_grads(f, (jnp.asarray(0.8, "float64"),), order=2)


def test_linear_call_of_trees_lanes_and_closures() -> None:
    w, x, ct = normal(3, 4), {"x": normal(4)}, normal(3)
    scale = jnp.asarray(2.)
    f = lambda w, x: linear_call(lambda w, x: [scale * (w @ x["x"])], lambda w, cts: {"x": scale * (cts[0] @ w)}, w, x)
    np.testing.assert_allclose(f(w, x)[0], 2 * w @ x["x"], rtol=1e-5)
    np.testing.assert_allclose(tj.vjp(lambda x: f(w, x), x)[1]([ct])[0]["x"], 2 * ct @ w, rtol=1e-5)
    many, cts = normal(5, 3, 4), normal(5, 3)
    for axes, ws in ((0, many), (None, w)):
        pulled = tj.vmap(lambda w, ct: tj.vjp(lambda x: f(w, x), x)[1]([ct])[0]["x"], (axes, 0))(ws, cts)
        np.testing.assert_allclose(pulled, 2 * np.einsum("li,lij->lj", cts, np.broadcast_to(ws, many.shape)), rtol=1e-4, atol=1e-6)


def test_misuse_of_linear_call() -> None:
    with pytest.raises(TypeError, match="transpose output pytree structure must match"):
        linear_call(lambda _, x: x, lambda _, ct: (ct, ct), (), 1.)
    with pytest.raises(tj.errors.UnexpectedTracerError, match="linear_call"):
        tj.grad(divide)(3., 1.)


# --- generators ------------------------------------------------------------------------------------------------------

def test_a_generator_of_ones_own() -> None:
    counting = define_prng_impl(
        key_shape=(3,), seed=lambda s: jnp.full(3, s).astype("uint32"), fold_in=lambda k, i: k + i, tag="count",
        split=lambda k, shape: jnp.broadcast_to(k, (*shape, 3)) + jnp.arange(shape[0], dtype="uint32")[:, None],
        random_bits=lambda k, width, shape: jnp.broadcast_to(k[0], shape).astype(f"uint{width}"))
    key = tj.random.key(5, impl=counting)
    assert repr(key.dtype) == "key<count>" and random_seed(5, counting) == seed_with_impl(counting, 5) == key
    assert tj.random.key_data(tj.jit(tj.random.split)(key)).tolist() == [[5] * 3, [6] * 3]
    assert tj.random.bits(tj.random.fold_in(key, 2), (2,)).tolist() == [7, 7]
    with pytest.raises(ValueError, match="one axis"):
        define_prng_impl(key_shape=(2, 2), seed=None, split=None, random_bits=None, fold_in=None)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_raw_keys_are_of_the_default_generator(impl: str) -> None:
    with tj.default_prng_impl(impl):
        raw = tj.random.PRNGKey(3)
        assert raw.shape == (4,) and tj.random.split(raw).shape == (2, 4)
        assert tj.random.uniform(raw) == tj.random.uniform(tj.random.key(3, impl=impl)) == tj.jit(tj.random.uniform)(raw)
        with pytest.raises(ValueError, match="uint32"):
            tj.random.uniform(raw[:2])


def test_a_generator_with_state() -> None:
    rng, key = stateful_rng(42), tj.random.key(42)
    draw = lambda i, f, *args: f(tj.random.fold_in(key, i), *args)
    assert rng.uniform() == draw(0, tj.random.uniform)
    assert tj.jit(lambda: rng.normal(2., 3.))() == 2. + 3. * draw(1, tj.random.normal)
    np.testing.assert_array_equal(rng.integers(3, 9, (2,)), draw(2, tj.random.randint, (2,), 3, 9))
    np.testing.assert_array_equal(rng.random(4), draw(3, tj.random.uniform, (4,)))
    lanes = rng.split(3)
    np.testing.assert_array_equal(tj.vmap(lambda r: r.uniform())(lanes),
                                  [tj.random.uniform(tj.random.fold_in(k, 0)) for k in draw(4, tj.random.split, 3)])
    with pytest.raises(ValueError, match="split"):
        lanes.uniform()
    assert [c.integers(9).shape for c in rng.spawn(2)] == [(), ()] and rng.key(2).shape == (2,)
    assert stateful_rng().uniform() != stateful_rng().uniform()
    with pytest.raises(TypeError, match="seed"):
        tj.jit(lambda: stateful_rng().uniform())()

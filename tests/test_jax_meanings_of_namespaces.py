"""Small namespaces (trees, shardings, jet, export, stages, debug, ops, dtypes) give what JAX's of the same name give."""
from __future__ import annotations

import dataclasses

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import debug, export, ops, tree_util
from tracejit.experimental.jet import jet
from tracejit.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding, make_mesh

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_updates_take_lists():
    expected = X.copy()
    expected[0] = 1, 2, 3, 4
    assert np.array_equal(jnp.asarray(X).at[0].set([1, 2, 3, 4]), expected)
    assert np.array_equal(tj.jit(lambda x: x.at[0].set((1, x[0, 2], 3, 4)))(X), expected)
    assert np.array_equal(jnp.asarray(X).at[1:, 0].add([1, 2])[:, 0], [0, 5, 10])
    with pytest.raises(TypeError):
        jnp.add([1, 2], X)


def test_take_that_clips_does_not_count_from_the_end():
    x, at = np.arange(4, dtype=np.float32), np.array([0, 9, -1, -9])
    assert np.array_equal(jnp.take(x, at, mode="clip"), np.take(x, at, mode="clip"))
    assert np.array_equal(tj.jit(lambda x, i: x.take(i, mode="clip"))(jnp.asarray(x), at), [0, 3, 0, 0])
    assert np.array_equal(jnp.take(X, -1, axis=1, mode="clip"), X[:, 0])
    with pytest.raises(ValueError, match="integer"):
        jnp.take(x, 1.0)


def test_jet_keeps_weak_types_and_lists_the_derivatives_of_each_leaf():
    value, terms = jet(lambda x: {"a": x ** 3, "b": (x,)}, (2.0,), ([1.0, 0.0],))
    assert value["a"] == 8 and value["a"].weak_type and [float(t) for t in terms["a"]] == [12, 12]
    assert [float(t) for t in terms["b"][0]] == [1, 0] and terms["a"][1].weak_type
    value, terms = jet(jnp.sin, (np.float32(1),), ([np.float32(1)],))
    assert not value.weak_type and not terms[0].weak_type
    assert jet(jnp.sin, (1.0,), ([],))[1] == []


def test_leaves_and_dataclasses_of_trees():
    assert not tree_util.all_leaves([None]) and tree_util.all_leaves([1, "a"]) and tree_util.all_leaves([None], is_leaf=lambda x: x is None)
    with pytest.raises(ValueError, match="must not overlap"):
        tree_util.register_dataclass(dataclasses.make_dataclass("Pair", ["a", "b"]), ["a"], ["a", "b"])


def test_shardings_on_one_device():
    mesh = make_mesh((1,), ("x",))
    single, named = SingleDeviceSharding(tj.devices()[0]), NamedSharding(mesh, PartitionSpec("x"))
    assert single.memory_kind == named.memory_kind == "device" and single == jnp.zeros(2).sharding
    assert single.is_equivalent_to(named, 1) and single.num_devices == named.num_devices == 1
    assert repr(PartitionSpec("a")) == "P('a',)" and repr(PartitionSpec("a", None, ("b", "c"))) == "P('a', None, ('b', 'c'))"
    assert PartitionSpec("a") + PartitionSpec("b") == PartitionSpec("a", "b") and isinstance(PartitionSpec("a") + ("b",), PartitionSpec)
    assert repr(mesh) == "Mesh(axis_sizes=(1,), axis_names=('x',), axis_types=(Explicit,))" and str(tj.devices()[0]) == "cpu:0"


def test_stages_and_exports():
    lowered = tj.jit(lambda x, *, y: x * y).lower(X, y=X)
    args, kwargs = lowered.in_avals
    assert isinstance(args, tuple) and args[0].shape == (3, 4) and list(kwargs) == ["y"] and isinstance(lowered.args_info[0], tuple)
    assert export.export(tj.jit(lambda x: x))(X).nr_devices == 1
    with pytest.raises(ValueError, match="result of jit"):
        export.export(lambda x: x)


def test_mistakes_of_debugging_and_segments():
    for wrong, error in ((lambda: debug.print("{}"), IndexError), (lambda: debug.print("{x}"), KeyError), (lambda: debug.callback(3, X), TypeError),
                         (lambda: tj.jit(lambda i: ops.segment_sum(X[:, 0], i))(np.array([0, 1, 1])), tj.errors.ConcretizationTypeError)):
        with pytest.raises(error):
            wrong()


def test_bfloat16_is_a_type_of_numbers():
    assert tj.dtypes.bfloat16 is ml_dtypes.bfloat16 and jnp.dtype(tj.dtypes.bfloat16) == jnp.bfloat16

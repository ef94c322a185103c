"""Collectives over the lanes of vmap, against NumPy and, where it is installed, JAX; pmap and shard_map on one device."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax
from tracejit.sharding import Mesh, NamedSharding, PartitionSpec, make_mesh

X = np.arange(12, dtype=np.float32).reshape(3, 4)
SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)
BLOCKS = np.arange(18, dtype=np.float32).reshape(3, 6)

CASES = {
    "psum": (X, lambda lax, x: lax.psum(x * x, "i")),
    "pmean": (X, lambda lax, x: lax.pmean(x, "i")),
    "pmax": (X, lambda lax, x: lax.pmax(x, "i")),
    "pmin": (X, lambda lax, x: lax.pmin(x, "i")),
    "all_gather": (X, lambda lax, x: lax.all_gather(x, "i")),
    "all_gather along 1": (X, lambda lax, x: lax.all_gather(x, "i", axis=1)),
    "all_gather tiled": (X, lambda lax, x: lax.all_gather(x, "i", tiled=True)),
    "ppermute": (X, lambda lax, x: lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 0)])),
    "pshuffle": (X, lambda lax, x: lax.pshuffle(x, "i", [2, 0, 1])),
    "axis_index": (X, lambda lax, x: x * lax.axis_index("i")),
    "psum of a number": (X, lambda lax, x: x / lax.psum(1, "i")),
    "all_to_all": (SQUARE, lambda lax, x: lax.all_to_all(x, "i", 0, 0)),
    "all_to_all tiled": (BLOCKS, lambda lax, x: lax.all_to_all(x, "i", 0, 0, tiled=True)),
    "psum_scatter": (SQUARE, lambda lax, x: lax.psum_scatter(x, "i")),
    "psum_scatter tiled": (BLOCKS, lambda lax, x: lax.psum_scatter(x, "i", tiled=True)),
}
NO_DERIVATIVE = {"pmax", "pmin"}  # in JAX


@pytest.mark.parametrize("name", CASES)
def test_equals_jax(name: str):
    jax = pytest.importorskip("jax")
    x, f = CASES[name]

    def programs(m):
        one = lambda x: f(m.lax, x)
        loss = lambda x: (one(x) ** 2).sum()
        inner = m.vmap(one, axis_name="i")
        yield inner, x
        yield m.jit(m.vmap(inner)), np.stack([x, x + 1])
        yield m.vmap(lambda y: m.vmap(lambda x: one(x + y.sum()))(x), axis_name="i"), np.stack([x, x + 1, 2 * x])
        if name not in NO_DERIVATIVE:
            yield m.vmap(m.grad(loss), axis_name="i"), x
            yield m.grad(lambda x: (inner(x) ** 2).sum()), x
    for (ours, args), (theirs, _) in zip(programs(tj), programs(jax), strict=True):
        np.testing.assert_allclose(ours(args), theirs(args), rtol=1e-5)


@pytest.mark.parametrize("split, concat", [(1, 0), (1, 1), (1, 2)])
def test_all_to_all_axes(split: int, concat: int):
    jax = pytest.importorskip("jax")
    x = np.arange(36, dtype=np.float32).reshape(3, 2, 3, 2)
    run = lambda m: m.vmap(lambda x: m.lax.all_to_all(x, "i", split, concat), axis_name="i")(x)
    np.testing.assert_array_equal(run(tj), run(jax))


def test_derivative_of_pmax():
    grads = tj.vmap(tj.grad(lambda x: lax.pmax(x, "i")), axis_name="i")(jnp.array([0., 2., 2.]))
    np.testing.assert_allclose(grads, [0, 1.5, 1.5])
    tangents = tj.jvp(tj.vmap(lambda x: lax.pmax(x, "i"), axis_name="i"), (jnp.array([0., 3.]),), (jnp.array([5., 7.]),))[1]
    np.testing.assert_allclose(tangents, [7, 7])


def test_partial_permutation_and_broadcast():
    x = jnp.array([1., 2., 3.])
    np.testing.assert_array_equal(tj.vmap(lambda x: lax.ppermute(x, "i", [(0, 2)]), axis_name="i")(x), [0, 0, 1])
    np.testing.assert_array_equal(tj.vmap(lambda x: lax.pbroadcast(x, "i", 1), axis_name="i")(x), [2, 2, 2])
    with pytest.raises(ValueError, match="unique"):
        tj.vmap(lambda x: lax.ppermute(x, "i", [(0, 1), (2, 1)]), axis_name="i")(x)


def test_inside_loops_branches_and_jit():
    x = jnp.array([1., 2., 3.])

    def f(x):
        total = lax.fori_loop(0, 2, lambda i, s: s + lax.psum(x, "i") * lax.axis_index("i"), 0.)
        some = lax.cond(x.sum() > 0, lambda: lax.psum(x, "i"), lambda: x)
        ys = lax.scan(lambda c, _: (c, lax.axis_index("i")), 0, None, length=2)[1]
        return total + some + tj.jit(lambda: lax.axis_index("i"))() + ys.sum()
    np.testing.assert_allclose(tj.vmap(f, axis_name="i")(x), [6 + 12 * i + i + 2 * i for i in range(3)])


def test_two_names():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    both = lambda f: tj.vmap(tj.vmap(f, axis_name="j"), axis_name="i")(x)
    np.testing.assert_allclose(both(lambda x: lax.psum(x, ("i", "j"))), np.full((2, 3), 15))
    np.testing.assert_allclose(both(lambda x: lax.psum(x, "i")), np.tile(x.sum(0), (2, 1)))
    np.testing.assert_array_equal(both(lambda x: lax.axis_index(("i", "j"))), np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(both(lambda x: lax.all_gather(x, ("i", "j")))[0, 0], np.arange(6))
    assert tj.vmap(lambda x: lax.axis_size("i") * jnp.ones(()), axis_name="i")(jnp.ones(5))[0] == 5


def test_unbound_names():
    with pytest.raises(errors.AxisNameError, match="'q'; bound here: 'i'"):
        tj.vmap(lambda x: lax.psum(x, "q"), axis_name="i")(jnp.ones(2))
    with pytest.raises(NameError):
        lax.axis_index("i")


def test_one_device():
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(tj.pmap(lambda x, k: x * k + lax.psum(x, "i"), "i", in_axes=(0, None))(x, 3.), 4 * x)
    np.testing.assert_array_equal(tj.pmap(lambda x, k: x * k, static_broadcasted_argnums=1)(x, 3), 3 * x)
    with pytest.raises(ValueError, match="2 elements, but there are 1 devices"):
        tj.pmap(lambda x: x)(np.ones((2, 1)))
    mesh = make_mesh((1, 1), ("a", "b"))
    spec = PartitionSpec("a", None)
    placed = tj.device_put(np.ones((4, 2)), NamedSharding(mesh, spec))
    f = tj.shard_map(lambda x: {"s": lax.psum(x, ("a", "b"))}, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(tj.jit(f)(placed)["s"], np.ones((4, 2)))
    whole = {tj.devices()[0]: (slice(None), slice(None))}
    assert NamedSharding(mesh, spec).devices_indices_map((4, 2)) == whole
    assert jnp.ones((4, 2)).sharding.devices_indices_map((4, 2)) == whole
    assert NamedSharding(mesh, spec).shard_shape((4, 2)) == (4, 2) and Mesh(tj.devices(), "x").shape == {"x": 1}
    with pytest.raises(ValueError, match="no axis"):
        NamedSharding(mesh, PartitionSpec("z"))
    with pytest.raises(ValueError, match="needs 2 devices"):
        make_mesh((2,), ("a",))


GROUPS = [[0, 3], [2, 1], [5, 4]]
LANES = np.random.default_rng(0).normal(size=(6, 4, 3))


def by_group(f):
    """f(values of a lane's group, its place in it) for each lane."""
    group_of = {lane: group for group in GROUPS for lane in group}
    return np.stack([f(LANES[group_of[lane]], group_of[lane].index(lane)) for lane in range(6)])


@pytest.mark.parametrize("collective, expected", [
    (lambda x: lax.psum(x, "i", axis_index_groups=GROUPS), lambda xs, _: xs.sum(0)),
    (lambda x: lax.pmean(x, "i", axis_index_groups=GROUPS), lambda xs, _: xs.mean(0)),
    (lambda x: lax.pmax(x, "i", axis_index_groups=GROUPS), lambda xs, _: xs.max(0)),
    (lambda x: lax.pmin(x, "i", axis_index_groups=GROUPS), lambda xs, _: xs.min(0)),
    (lambda x: lax.all_gather(x, "i", axis_index_groups=GROUPS), lambda xs, _: xs),
    (lambda x: lax.all_gather(x, "i", axis_index_groups=GROUPS, axis=1), lambda xs, _: np.moveaxis(xs, 0, 1)),
    (lambda x: lax.all_gather(x, "i", axis_index_groups=GROUPS, axis=-1, tiled=True), lambda xs, _: np.concatenate(xs, -1)),
    (lambda x: lax.psum_scatter(x, "i", axis_index_groups=GROUPS, tiled=True), lambda xs, p: xs.sum(0)[2 * p:2 * p + 2]),
    (lambda x: lax.psum_scatter(x[:2], "i", axis_index_groups=GROUPS), lambda xs, p: xs.sum(0)[p]),
    (lambda x: lax.all_to_all(x[:2], "i", 0, 1, axis_index_groups=GROUPS), lambda xs, p: xs[:, p].T),
    (lambda x: lax.all_to_all(x, "i", 0, 1, axis_index_groups=GROUPS, tiled=True),
     lambda xs, p: np.concatenate(xs[:, 2 * p:2 * p + 2], 1)),
], ids=lambda f: "")
def test_groups_of_lanes(collective, expected):
    over_lanes = tj.vmap(collective, axis_name="i")
    want = by_group(expected)
    np.testing.assert_allclose(tj.jit(over_lanes)(LANES), want)
    tangents = np.random.default_rng(1).normal(size=LANES.shape)
    step = 1e-6
    slope = (np.asarray(over_lanes(LANES + step * tangents)) - np.asarray(over_lanes(LANES - step * tangents))) / (2 * step)
    np.testing.assert_allclose(tj.jvp(over_lanes, (LANES,), (tangents,))[1], slope, atol=1e-7)
    pulled = tj.vjp(over_lanes, LANES)[1](want)[0]
    np.testing.assert_allclose((pulled * tangents).sum(), (want * slope).sum(), rtol=1e-6)
    np.testing.assert_allclose(tj.vmap(over_lanes)(np.stack([LANES, 2 * LANES])), np.stack([want, 2 * want]))


def test_groups_of_numbers_and_what_is_no_partition():
    count = tj.vmap(lambda x: x * lax.psum(1, "i", axis_index_groups=GROUPS), axis_name="i")
    np.testing.assert_array_equal(count(np.ones(6)), np.full(6, 2.0))
    for groups in ([[0, 1], [2]], [[0, 1], [1, 2]], [[0, 3]]):
        with pytest.raises(ValueError, match="equally long"):
            tj.vmap(lambda x: lax.psum(x, "i", axis_index_groups=groups), axis_name="i")(np.ones(3))


@pytest.mark.parametrize("reduce, fold", [(lax.psum, np.sum), (lax.pmax, np.max), (lax.pmin, np.min)])
def test_integers_name_axes_of_the_array(reduce, fold):
    np.testing.assert_array_equal(reduce(X, 0), fold(X, 0))
    np.testing.assert_array_equal(reduce(X, (0, -1)), fold(X))
    np.testing.assert_array_equal(tj.vmap(lambda x: reduce(x, ("i", 0)), axis_name="i")(X), np.full(3, fold(X)))
    np.testing.assert_array_equal(tj.vmap(lambda x: reduce(x, 0), axis_name="i")(X), fold(X, 1))
    with pytest.raises(ValueError, match="axis 2"):
        reduce(X, 2)


def test_derivative_of_a_sum_over_axes_of_the_array():
    np.testing.assert_array_equal(tj.grad(lambda x: lax.psum(x * x, (0, 1)))(X), 2 * X)


@pytest.mark.parametrize("words, specs", [
    ("must refer to an axis of the mesh", dict(in_specs=PartitionSpec("j"), out_specs=PartitionSpec())),
    ("an in_specs entry which is too long", dict(in_specs=PartitionSpec("i", None), out_specs=PartitionSpec("i"))),
    ("different lengths of tuple at key path\n    shard_map in_specs", dict(in_specs=(PartitionSpec("i"), PartitionSpec()), out_specs=PartitionSpec("i"))),
    ("different types at key path\n    shard_map out_specs", dict(in_specs=PartitionSpec("i"), out_specs=(PartitionSpec("i"), PartitionSpec()))),
])
def test_specs_that_do_not_fit(words, specs):
    with pytest.raises(ValueError, match=words):
        tj.shard_map(lambda x: x, mesh=tj.make_mesh((1,), ("i",)), **specs)(np.ones(4, np.float32))


def test_a_result_has_the_axes_that_its_spec_names():
    with pytest.raises(ValueError, match="an out_specs entry which is too long"):
        tj.shard_map(jnp.sum, mesh=tj.make_mesh((1,), ("i",)), in_specs=PartitionSpec("i"), out_specs=PartitionSpec("i"))(np.ones(4, np.float32))


def test_a_constrained_numpy_array_is_an_array():
    x = lax.with_sharding_constraint(np.ones(2), NamedSharding(tj.make_mesh((1,), ("i",)), PartitionSpec("i")))
    assert isinstance(x, tj.Array)

"""Arrays of keys: whatever moves elements moves keys, checked against NumPy on the numbers of the keys; the rest refuses them."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import dtypes, lax, random

KEYS = random.split(random.key(0), 6).reshape(2, 3)
NUMBERS = np.arange(6).reshape(2, 3)    # KEYS[i, j] is number NUMBERS[i, j]
WORDS = np.asarray(random.key_data(KEYS)).reshape(6, 2)


def same(keys: Any, numbers: Any) -> None:
    """Keys are those with these numbers."""
    assert jnp.issubdtype(keys.dtype, dtypes.prng_key) and keys.shape == np.shape(numbers)
    np.testing.assert_array_equal(np.asarray(random.key_data(keys)), WORDS[np.asarray(numbers)])


MASK = np.array([[True, False, True], [False, True, True]])
MOVES: list[Callable] = [     # of (module, array)
    lambda np, x: np.stack([x[0], x[1], x[0]], axis=1), lambda np, x: np.concatenate([x, x[:, :1]], axis=-1),
    lambda np, x: np.where(MASK, x, x[:, ::-1]), lambda np, x: np.where(MASK, x[0, 0], x), lambda np, x: np.take(x, np.array([2, 0]), axis=1),
    lambda np, x: np.take(x, np.array([[5, -1]])), lambda np, x: np.reshape(x, (3, -1)), lambda np, x: np.ravel(x),
    lambda np, x: np.expand_dims(x, (0, -1)), lambda np, x: np.squeeze(x[None, :, :1]), lambda np, x: np.broadcast_to(x[:, :1], (4, 2, 3)),
    lambda np, x: np.transpose(x), lambda np, x: np.tile(x, (2, 1)), lambda np, x: np.repeat(x, 2, axis=1), lambda np, x: np.split(x, 3, 1)[-1],
    lambda np, x: np.moveaxis(x, 0, -1), lambda np, x: np.flip(x), lambda np, x: np.roll(x, 4), lambda np, x: np.roll(x, 1, axis=0),
    lambda np, x: np.rot90(x), lambda np, x: np.array([[x[0, 1]], [x[1, 0]]]), lambda np, x: np.asarray(x), lambda np, x: np.copy(x),
    lambda np, x: np.atleast_2d(x[1, 1]), lambda np, x: np.vstack([x, x]), lambda np, x: np.append(x, x[0, 0]), lambda np, x: np.delete(x, 1, 0),
    lambda np, x: np.diagonal(x), lambda np, x: np.take_along_axis(x, np.array([[2], [0]]), 1), lambda np, x: np.full((2,), x[1, 2]),
    lambda np, x: x[..., 1], lambda np, x: x[None, 1], lambda np, x: x[np.array([1, 0])], lambda np, x: x[np.array([1, 0]), np.array([2, 2])],
    lambda np, x: x[MASK], lambda np, x: x[::-1, 1:], lambda np, x: x[:0], lambda np, x: x.T, lambda np, x: x.swapaxes(0, 1),
    lambda np, x: x.ravel().repeat(2), lambda np, x: x.flatten(), lambda np, x: x[None].squeeze(0), lambda np, x: x.take(np.array([3])),
]


@pytest.mark.parametrize("move", MOVES)
def test_what_moves_elements_moves_keys(move: Callable) -> None:
    expected = move(np, NUMBERS)
    same(move(jnp, KEYS), expected)
    same(tj.jit(lambda keys: move(jnp, keys))(KEYS), expected)


def test_lax_and_updates() -> None:
    flat, numbers = KEYS.reshape(6), np.arange(6)
    same(lax.select(MASK, KEYS, KEYS[::-1]), np.where(MASK, NUMBERS, NUMBERS[::-1]))
    same(lax.dynamic_slice(flat, (np.int32(4),), (2,)), [4, 5])
    same(lax.dynamic_update_slice(flat, flat[:2], (3,)), [0, 1, 2, 0, 1, 5])
    same(lax.dynamic_index_in_dim(flat, 2, keepdims=False), 2)
    same(lax.concatenate([flat, flat], 0), np.tile(numbers, 2))
    same(lax.pad(flat, flat[5], [(1, -2, 0)]), [5, 0, 1, 2, 3])
    same(flat.at[1].set(flat[4]), [0, 4, 2, 3, 4, 5])
    same(KEYS.at[:, 1].set(flat[:2]), [[0, 0, 2], [3, 1, 5]])
    same(flat.at[np.array([0, 3])].set(flat[4:]), [4, 1, 2, 5, 4, 5])
    same(flat.at[9].set(flat[0], mode="drop"), numbers)
    same(tj.jit(lambda i, key: flat.at[i].set(key))(2, flat[0]), [0, 1, 0, 3, 4, 5])
    assert not np.asarray(random.key_data(jnp.zeros_like(KEYS))).any() and jnp.empty(3, KEYS.dtype).shape == (3,)
    same(jnp.full_like(KEYS[0], KEYS[1, 1]), [4, 4, 4])
    same(jnp.insert(flat, 1, flat[5]), [0, 5, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(np.asarray(KEYS == KEYS[0, 1]), NUMBERS == 1)
    np.testing.assert_array_equal(np.asarray(jnp.not_equal(KEYS, KEYS[0])), NUMBERS != NUMBERS[0])
    assert jnp.array_equal(KEYS, KEYS) and not jnp.array_equal(KEYS, KEYS[::-1])


def test_loops_and_branches_carry_keys() -> None:
    flat = KEYS.reshape(6)
    carry, seen = lax.scan(lambda c, key: (key, jnp.stack([c, key])), flat[5], flat[:3], reverse=True)
    same(carry, 0)
    same(seen, [[1, 0], [2, 1], [5, 2]])
    same(lax.fori_loop(0, 5, lambda i, keys: keys.at[i].set(keys[i + 1]), flat), [1, 2, 3, 4, 5, 5])
    same(lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, flat[s[0]]), (1, flat[0]))[1], 3)
    same(tj.jit(lambda p, a, b: lax.cond(p, lambda: a, lambda: b))(False, flat[1], flat[2]), 2)
    same(lax.switch(2, [lambda keys: keys[0], lambda keys: keys[1], lambda keys: keys[4]], flat), 4)
    same(lax.map(lambda keys: keys[1], KEYS), [1, 4])


def test_vmap_along_every_axis() -> None:
    same(tj.vmap(lambda keys: keys[0], in_axes=1)(KEYS), [0, 1, 2])
    same(tj.vmap(lambda keys: keys[0], in_axes=-1)(KEYS), [0, 1, 2])
    same(tj.vmap(lambda keys: keys[::-1], out_axes=-1)(KEYS), NUMBERS[:, ::-1].T)
    same(tj.vmap(lambda a, b: jnp.stack([a, b]), in_axes=(0, None))(KEYS[0], KEYS[1, 1]), [[0, 4], [1, 4], [2, 4]])
    same(tj.vmap(lambda keys, i, key: keys.at[i].set(key))(KEYS, np.array([0, 2]), KEYS[:, 1]), [[1, 1, 2], [3, 4, 4]])
    same(tj.vmap(jnp.where)(np.array([True, False]), KEYS, KEYS[::-1]), [[0, 1, 2], [0, 1, 2]])


def test_keys_are_leaves() -> None:
    tree = {"a": KEYS, "b": [KEYS[0]]}
    assert tj.tree.map(jnp.shape, tree) == {"a": (2, 3), "b": [(3,)]} and len(tj.tree.leaves(tree)) == 2
    assert repr(tj.tree.structure(tree)) == "PyTreeDef({'a': *, 'b': [*]})"
    assert [tj.tree_util.keystr(path) for path, _ in tj.tree.leaves_with_path(tree)] == ["['a']", "['b'][0]"]
    draws = tj.tree.map(lambda key: random.normal(key, (2,)), {"a": KEYS[0, 0]})
    assert draws["a"].dtype == np.float32 and draws["a"].shape == (2,)
    same(tj.tree.map(lambda *keys: jnp.stack(keys), {"a": KEYS[0, 1]}, {"a": KEYS[1, 0]})["a"], [1, 3])


def test_types_of_keys() -> None:
    dtype = KEYS.dtype
    assert repr(tj.typeof(KEYS)) == "key<fry>[2,3]" and jnp.result_type(KEYS, KEYS) == dtype
    assert repr(tj.eval_shape(lambda key: random.split(key, 5), KEYS[0, 0])) == "ShapeDtypeStruct(shape=(5,), dtype=key<fry>)"
    assert tj.eval_shape(lambda keys: random.bits(keys[1]), tj.ShapeDtypeStruct((2,), dtype)).shape == ()
    assert not jnp.iscomplexobj(KEYS) and jnp.isrealobj(KEYS[0, 0])
    assert jnp.issubdtype(dtype, dtypes.extended) and not jnp.issubdtype(dtype, np.integer) and dtype != np.dtype("uint32")
    assert repr(KEYS[0, 0]).startswith("Array((), dtype=key<fry>) overlaying:\n[")


@pytest.mark.parametrize("misuse", [
    lambda x: x + 1, lambda x: 1 + x, lambda x: x + x, lambda x: -x, lambda x: x < x, lambda x: x @ x, jnp.sin, jnp.sum, jnp.sort,
    lambda x: x.astype(np.uint32), lambda x: jnp.where(True, x, 1), lambda x: x.at[0].add(x[1]), lambda x: x.at[0].set(3),
    lambda x: lax.bitcast_convert_type(x, np.float32), lambda x: lax.reduce_max(x, (0,)), lambda x: tj.vmap(lambda key: lax.psum(key, "i"), axis_name="i")(x), lambda x: jnp.zeros(3).at[0].set(x[0, 0]),
    np.asarray, lambda x: float(x[0, 0]), lambda x: jnp.where(True, x[0, 0], random.key(0, impl="rbg"))])
def test_what_computes_with_elements_refuses_keys(misuse: Callable) -> None:
    with pytest.raises(TypeError):
        misuse(KEYS)
    with pytest.raises(TypeError):
        tj.jit(misuse)(KEYS)


def test_callbacks_take_keys(capfd) -> None:
    words = tj.ShapeDtypeStruct((2,), np.uint32)
    read = lambda key: tj.pure_callback(lambda key: np.asarray(random.key_data(key)), words, key, vmap_method="sequential")
    for f in (read, tj.jit(read)):
        np.testing.assert_array_equal(f(KEYS[1, 2]), random.key_data(KEYS[1, 2]))
    np.testing.assert_array_equal(tj.vmap(read)(KEYS[0]), random.key_data(KEYS[0]))
    tj.jit(lambda key: tj.debug.print("key {} {n}", key, n=1))(KEYS[0, 0])
    tj.effects_barrier()
    assert "key Array((), dtype=key<fry>)" in capfd.readouterr().out

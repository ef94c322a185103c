"""x[index] and x.at[index] against NumPy: basic, advanced and mixed indices, masks, modes, random indices."""
import numpy as np
import pytest
from oracle import assert_same, check, convert, floats, ints

import tracejit.numpy as jnp
from tracejit import ds, grad, jit, tree, vmap

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
I2 = np.array([[0, 2], [1, -1]], np.int32)
INDICES = [
    0, -1, (0, 1), (0, 1, 2), (0, -1, ...), slice(None), slice(1, 3), slice(None, None, -1), slice(2, 0, -1), (slice(None), 2),
    (..., 1), (slice(0, 2), slice(1, None, 2), slice(None, None, -2)), None, (None, 0, None), (..., None), (slice(None), None, 1),
    np.array([0, 2]), np.array([], np.int32), I2, (np.array([0, 2]), 1), (1, np.array([0, 2])), (slice(None), np.array([3, 0])),
    (np.array([0, 2]), slice(None), np.array([1, 4])), (0, slice(None), np.array([1, 4])), (np.array([0, 2]), np.array([1, 3])),
    (I2, slice(1, 4), np.array([1, 2])), (slice(None), I2, np.array([[4], [0]])), (slice(1, None), np.array([1, 2]), slice(None, None, 2)),
    (None, np.array([0, 1]), slice(None), np.array([0, 1])), (np.array([0, 1]), None, np.array([0, 1])), (..., np.array([0, -1])),
    (np.array([0, 1]), ..., np.array([0, 1])), (slice(None), np.array([True, False, True, True])), X[:, :, 0] > 20, X > 30,
    (X[:, 0, 0] > 1, slice(None), 2), True, False, (True, 0), (..., np.array([False] * 5)), (np.array([True, False, True]), 0),
    ([0, 2], slice(None)), (np.int64(1), np.uint8(2)), (slice(5, 2),), (slice(-2, 10), slice(None, None, 3)),
    (np.array(1), np.array([0, 1])), (0, None, np.array([[1], [2]]), slice(1, 2)), (slice(None), 1, np.array([0, 3])), (),
    (slice(None, None, -1), np.array([1, 1, 2]), slice(None, None, -2)), (np.array([0, -3]), slice(3, 0, -2), np.array([-1, -5])),
]


def ids(i):
    return str(i).replace("\n", "")[:50]


def on_device(index):
    return convert(index, jnp.asarray) if isinstance(index, (tuple, np.ndarray)) else index


@pytest.mark.parametrize("index", INDICES, ids=ids)
def test_reading(index):
    assert_same(jnp.asarray(X)[index], X[index])
    assert_same(jnp.asarray(X)[on_device(index)], X[index])
    assert_same(jnp.asarray(X).at[index].get(), X[index])


@pytest.mark.parametrize("index", INDICES, ids=ids)
@pytest.mark.parametrize("how", ["set", "add", "multiply", "min", "max", "subtract", "divide", "power"])
def test_updating(index, how):
    place = X[index]
    values = np.asarray(np.random.default_rng(3).uniform(1, 3, place.shape), np.float32)
    x = X + 1
    expected = x.copy()
    if how == "set":
        if len(set(np.ravel(np.arange(60).reshape(X.shape)[index]))) < place.size:
            pytest.skip("an element is set twice")
        expected[index] = values
    else:
        ufunc = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum, "subtract": np.subtract,
                 "divide": np.divide, "power": np.power}[how]
        ufunc.at(expected, index, values)
    assert_same(getattr(jnp.asarray(x).at[index], how)(jnp.asarray(values)), expected, rtol=1e-4)
    expected_scalar = x.copy()
    if how == "set":
        expected_scalar[index] = 7
        assert_same(jnp.asarray(x).at[on_device(index)].set(7), expected_scalar)


@pytest.mark.parametrize("seed", range(60))
def test_random_indices(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, rng.integers(1, 5)))
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    index, used, joint = [], 0, tuple(rng.integers(1, 3, rng.integers(0, 3)))
    ellipsis_at = rng.integers(0, 6)
    while used < len(shape) and rng.random() < 0.85:
        n, kind = shape[used], rng.integers(0, 6)
        if kind == 0:
            index.append(int(rng.integers(-n, n)))
        elif kind in (1, 2):
            ends = [None if rng.random() < 0.4 else int(rng.integers(-n - 1, n + 2)) for _ in range(2)]
            index.append(slice(*ends, [None, 1, -1, 2, -2][rng.integers(0, 5)]))
        elif kind == 3:
            index.append(None)
            continue
        elif kind == 4:
            index.append(rng.integers(-n, n, joint[rng.integers(0, len(joint) + 1):]))
        else:
            index.append(rng.integers(-n, n, joint))
        used += 1
    if ellipsis_at <= len(index):
        index.insert(int(ellipsis_at), Ellipsis)
    index = tuple(index)
    try:
        expected = x[index]
    except IndexError:  # an Ellipsis that stands for axes moved an index to a shorter one
        return
    assert_same(jnp.asarray(x)[index], expected)
    assert_same(jnp.asarray(x)[on_device(index)], expected)
    added = x.copy()
    np.add.at(added, index, np.ones_like(expected) * 3)
    assert_same(jnp.asarray(x).at[index].add(jnp.asarray(np.ones_like(expected) * 3)), added)


def test_out_of_bounds():
    x = jnp.arange(3)
    assert_same(x[jnp.array([5, -1, -9])], np.array([2, 2, 0]))
    assert int(x[10]) == 2 and int(x[-10]) == 0 and int(x[jnp.array(10)]) == 2
    assert_same(x.at[5].set(2), np.arange(3))
    assert_same(x.at[jnp.array([-5, 0])].set(7), np.array([7, 1, 2]))
    assert_same(x.at[jnp.array([0, 7])].set(9, mode="clip"), np.array([9, 1, 9]))
    assert_same(x.at[jnp.array([0, 7])].add(9, mode="drop"), np.array([9, 1, 2]))
    assert int(x.at[5].get(mode="fill", fill_value=7)) == 7
    assert np.isnan(jnp.arange(3.0).at[jnp.array([5])].get(mode="fill")).all()
    assert int(x.at[jnp.array(5)].get(mode="clip")) == 2
    assert_same(x.at[jnp.array([-1, 1])].get(mode="fill", fill_value=0, wrap_negative_indices=False), np.array([0, 1]))


@pytest.mark.parametrize("index,error", [
    (1.0, TypeError), ("a", TypeError), ((0, 0, 0, 0), IndexError), ([0, 1], TypeError), (object(), IndexError), ((..., ...), IndexError),
    (np.array([True, False]), IndexError), (np.array([0.5]), TypeError), ((np.array([0, 1]), np.array([0, 1, 2])), (ValueError, IndexError, TypeError))])
def test_refused(index, error):
    with pytest.raises(error):
        jnp.asarray(X)[index]
    with pytest.raises(error):
        jnp.asarray(X).at[index].set(0)


def test_values_must_fit():
    with pytest.raises(ValueError):
        jnp.asarray(X).at[0].set(jnp.ones(3))
    with pytest.raises(ValueError):
        jnp.asarray(X).at[0].set(jnp.ones((1, 4, 5)))
    with pytest.warns(FutureWarning, match="incompatible types"):
        assert_same(jnp.arange(3).at[0].set(2.5), np.array([2, 1, 2]))


def test_apply_and_item_assignment():
    assert_same(jnp.asarray(X).at[0, 1:3].apply(jnp.sin), np.where((np.arange(60).reshape(X.shape) >= 5) & (np.arange(60).reshape(X.shape) < 15), np.sin(X), X))
    assert_same(jnp.arange(4.0).at[jnp.array([1, 3])].apply(lambda v: v * 10), np.array([0, 10, 2, 30.0]))
    with pytest.raises(TypeError, match="at"):
        jnp.asarray(X)[0] = 1


def test_repeated_indices():
    assert_same(jnp.zeros(3).at[jnp.array([0, 0, 1])].add(1), np.array([2, 1, 0.0]))
    assert_same(jnp.ones(3).at[jnp.array([0, 0])].multiply(3), np.array([9, 1, 1.0]))


def test_take():
    for mode in ("clip", "wrap"):
        check("take", X, np.array([0, 7, -9]), axis=1, mode=mode)
    check("take", X, I2, axis=-1)
    check("take", X, np.array([3, 50]))
    check("take", X, 2, axis=1)
    assert np.isnan(jnp.take(jnp.asarray(X), jnp.array([9]), axis=0)).all()
    assert int(jnp.take(jnp.arange(3), 9)) == np.iinfo(np.int32).min
    with pytest.raises(TypeError):
        jnp.take(jnp.arange(3), jnp.array([0.5]))


def test_take_along_axis():
    order = np.argsort(-X, axis=1)
    check("take_along_axis", X, order, 1)
    check("take_along_axis", X, order[:, :2], 1)
    check("take_along_axis", X, np.zeros((1, 1, 1), np.int32), 0)
    check("take_along_axis", X, np.array([0, 59, -1]), None)
    with pytest.raises(ValueError):
        jnp.take_along_axis(jnp.asarray(X), jnp.array([0]), 0)
    with pytest.raises(TypeError):
        jnp.take_along_axis(jnp.asarray(X), jnp.zeros((1, 1, 1)), 0)


def test_put_functions():
    x, index = np.zeros((3, 4), np.float32), np.argsort(floats(3, 4), axis=1)[:, :2]
    expected = x.copy()
    np.put_along_axis(expected, index, 5, 1)
    assert_same(jnp.put_along_axis(jnp.asarray(x), jnp.asarray(index), 5, 1, inplace=False), expected)
    expected = x.copy()
    np.put(expected, [0, 5, -1], [1, 2])
    assert_same(jnp.put(jnp.asarray(x), jnp.array([0, 5, -1]), jnp.array([1, 2]), inplace=False), expected)
    expected = x.copy()
    np.place(expected, np.eye(3, 4) > 0, [1, 2])
    assert_same(jnp.place(jnp.asarray(x), jnp.eye(3, 4) > 0, jnp.array([1, 2]), inplace=False), expected)
    for shape, value in (((3, 4), 2), ((4, 3), [1, 2]), ((3, 3, 3), 5)):
        expected = np.zeros(shape, np.float32)
        np.fill_diagonal(expected, value)
        assert_same(jnp.fill_diagonal(jnp.zeros(shape), jnp.array(value), inplace=False), expected)
    for call in (lambda: jnp.put(jnp.ones(3), jnp.array([0]), 1), lambda: jnp.fill_diagonal(jnp.ones((2, 2)), 1)):
        with pytest.raises((ValueError, NotImplementedError), match="inplace"):
            call()


def test_where_and_select():
    x, y = floats(3, 4), floats(4)
    check("where", x > 0, x, y)
    check("where", x > 0, 1, 2)
    check("where", ints(3), x[:, :3].copy(), 0)
    check("where", x > 0)
    check("select", [x < -1, x > 1], [x, x * 2], 7.0)
    check("select", [x < 0], [ints(3, 4)])
    check("choose", np.array([0, 1, 2, 1], np.int32), [y, y + 1, y + 2])
    check("choose", np.array([0, 5, -2], np.int32), [y[:3], y[1:]], mode="clip")
    check("choose", np.array([0, 5, -2], np.int32), [y[:3], y[1:]], mode="wrap")
    check("piecewise", y, [y < 0, y >= 0], numpy=False, funclist=[1.0, 2.0], jax=False)
    for traced in (lambda f: f, jit):
        pieces = traced(lambda x: jnp.piecewise(x, [x < 0, x > 1], [lambda v: -v, lambda v: v * 2, 5.0]))
        assert_same(pieces(jnp.asarray(x)), np.piecewise(x, [x < 0, x > 1], [lambda v: -v, lambda v: v * 2, 5.0]))
    with pytest.raises(TypeError):
        jnp.where(jnp.array([True]), 1)


def test_nonzero():
    x = ints(4, 5, low=0, high=2)
    check("nonzero", x)
    check("argwhere", x)
    check("flatnonzero", x)
    for size in (3, 30):
        check("nonzero", x, numpy=False, size=size)
        check("nonzero", x, numpy=False, size=size, fill_value=-1)
        check("nonzero", x, numpy=False, size=size, fill_value=(7, 8))
        check("argwhere", x, numpy=False, size=size, fill_value=2)
        check("where", x, numpy=False, size=size, fill_value=9)
    check("extract", x > 0, x)
    check("compress", np.array([True, False, True]), x, axis=0)
    check("compress", np.array([True, False, True]), x, numpy=False, axis=1, size=3, fill_value=-3)
    with pytest.raises(ValueError):
        jnp.nonzero(jnp.array(3))


def test_index_arithmetic():
    check("unravel_index", np.array([0, 5, 11, -1], np.int32), (3, 4), numpy=False)
    check("unravel_index", 7, (3, 4), weak=False)
    check("ravel_multi_index", (np.array([0, 2], np.int32), np.array([3, 1], np.int32)), (3, 4))
    check("ravel_multi_index", (np.array([0, 2], np.int32), np.array([3, 1], np.int32)), (3, 4), order="F")
    for mode in ("clip", "wrap"):
        check("ravel_multi_index", (np.array([-1, 5], np.int32), np.array([3, 9], np.int32)), (3, 4), mode=mode)
    for name in ("tril_indices", "triu_indices"):
        for args in ((3,), (3, 1), (3, -1, 5)):
            check(name, *args)
        check(name + "_from", X[0], 1)
    check("diag_indices", 3, 3)
    check("diag_indices_from", np.ones((2, 2)))
    assert_same(jnp.mask_indices(3, jnp.triu), np.mask_indices(3, np.triu))
    check("ix_", np.array([0, 2], np.int32), np.array([True, False, True]), jax=False)
    check("ix_", np.array([0, 2], np.int32), np.array([1], np.int32))


def test_index_tricks():
    for name in ("mgrid", "ogrid"):
        for key in (slice(0, 3), slice(0, 1, 5j), (slice(0, 3), slice(2, 4)), (slice(0, 1, 3j), slice(0, 2))):
            assert_same(getattr(jnp, name)[key], getattr(np, name)[key])
    a, b = np.array([1, 2, 3], np.int32), np.array([[1, 2], [3, 4]], np.int32)
    for key in ((a, 0, 0, a), slice(0, 5), (slice(0, 1, 3j), 7.0), ("0,2", a, a), ("1,3", b, b), (b, b), (-1, b), ("0,2,0", a, a)):
        try:
            expected = np.r_[key]
        except ValueError:
            continue
        assert_same(jnp.r_[key], expected)
    for key in ((a, a), (b, np.array([7, 8])), (slice(0, 3), a)):
        assert_same(jnp.c_[key], np.c_[key])
    assert jnp.s_[1:2, None] == np.s_[1:2, None] and jnp.index_exp[0] == (0,)


@pytest.mark.parametrize("start", [0, 2, 7, 9, 20, -1, -3, -12])
@pytest.mark.parametrize("size", [0, 1, 3, 10])
def test_ds(start: int, size: int) -> None:
    """Reading is moved inside, negative starts count from the end once; writing and `mode` take the window as it is."""
    x = np.arange(10, dtype=np.int32)
    inside = min(max(start + 10 if start < 0 else start, 0), 10 - size)
    fits = 0 <= start <= 10 - size
    written = x.copy()
    written[start : start + size] += 70 * fits
    for s in (start, np.int32(start), jnp.asarray(start), jnp.asarray(start, "int8")):
        assert_same(jnp.asarray(x)[ds(s, size)], x[inside : inside + size])
        assert_same(jnp.asarray(x).at[ds(s, size)].add(70), written)
        filled = jnp.asarray(x).at[ds(s, size)].get(mode="fill", fill_value=-5)
        assert_same(filled, x[start : start + size] if fits else np.full(size, -5, np.int32))
    assert_same(jit(lambda x, s: x[ds(s, size)])(x, start), x[inside : inside + size])
    assert_same(jit(lambda x, s: x.at[ds(s, size)].add(70))(x, start), written)


def test_ds_beside_other_indices() -> None:
    i, rows = jnp.asarray(2), np.array([2, 0])
    for index, plain in [
        ((slice(1, 3), ds(i, 2)), (slice(1, 3), slice(2, 4))), ((ds(0, 2), ds(i, 1), 3), (slice(0, 2), slice(2, 3), 3)),
        ((rows, ds(i, 2)), (rows, slice(2, 4))), ((rows, ds(i, 2), np.array([1, 4])), (rows, slice(2, 4), np.array([1, 4]))),
        ((None, ds(1, 2), ..., i), (None, slice(1, 3), ..., 2)), ((..., ds(i, 2, 2)), (..., slice(2, 5, 2))),
        ((ds(2), ..., ds(i - 2, 3, 2)), (slice(2), ..., slice(0, 5, 2))), (ds(None), slice(None)),
    ]:
        expected = X.copy()
        expected[plain] = 7
        assert_same(jnp.asarray(X)[index], X[plain])
        assert_same(jnp.asarray(X).at[index].set(7), expected)
    assert_same(jnp.asarray(X)[..., ds(3, 3, 2)], X[..., [3, 4, 4]])    # each element of a strided one is moved inside
    assert_same(vmap(lambda i: jnp.asarray(X)[ds(i, 2)])(np.arange(2)), np.stack([X[:2], X[1:]]))
    assert_same(grad(lambda x, i: (x[ds(i, 2)] ** 2).sum())(jnp.arange(4.0), 1), np.array([0, 2, 4, 0], np.float32), weak=False)


def test_ds_is_a_pytree_of_what_is_an_array() -> None:
    assert tree.leaves(ds(1, 2)) == [] and len(tree.leaves(ds(jnp.asarray(1), 2))) == 1
    assert_same(jit(lambda x, s: x[s])(np.arange(5), ds(jnp.asarray(1), 2, 2)), np.array([1, 3]))
    assert type(ds(1)).from_slice(slice(1, 8, 3), 9) == ds(1, 3, 3)


@pytest.mark.parametrize("index", [lambda n: ds(0, n), lambda n: ds(0, 12), lambda n: ds(0, -1), lambda n: ds(0.5, 2),
                                   lambda n: ds(np.array([1, 2]), 2), lambda n: ds(0, 2, -1)])
def test_misuse_of_ds(index) -> None:
    with pytest.raises((TypeError, ValueError)):
        jit(lambda n: jnp.arange(10)[index(n)])(3)

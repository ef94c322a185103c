"""Sorting and selection: NumPy's stable results for every dtype, axis and length, their derivatives, and errors."""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.errors import DtypeError, ShapeError

RNG = np.random.default_rng(0)
DTYPES = [np.dtype(t) for t in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", ml_dtypes.bfloat16, "f4", "f8",
                                "c8", "c16")]
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1, -1]


def numbers(dtype: np.dtype, *size: int) -> np.ndarray:
    """Random numbers with many ties, and for floats zeros of both signs, infinities and nan."""
    x = RNG.normal(size=size) * 20
    if dtype.kind == "c":
        return (np.round(x / 10) + 1j * np.round(RNG.normal(size=size))).astype(dtype)
    if dtype.kind in "iub":
        return (abs(x) if dtype.kind == "u" else x).astype(dtype)
    special = RNG.uniform(size=size) < 0.3
    x[special] = RNG.choice(SPECIAL, np.count_nonzero(special))
    return x.astype(dtype)


def order_of(x: np.ndarray, axis: int) -> np.ndarray:
    wide = x.astype(np.float64) if x.dtype.kind == "V" or x.dtype == ml_dtypes.bfloat16 else x
    if wide.dtype.kind == "c":
        return np.lexsort((wide.imag, wide.real), axis)
    return np.argsort(wide, axis, kind="stable")


def same(found, wanted: np.ndarray) -> None:
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if wanted.dtype == ml_dtypes.bfloat16:
        found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_array_equal(found, wanted)
    if wanted.dtype.kind == "f":
        known = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(wanted)[known])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape, axis", [((7,), 0), ((300,), 0), ((5, 60, 3), 1), ((5, 6, 3), 0), ((2, 100), 1), ((0, 3), 0),
                                         ((0, 3), 1), ((1,), 0)], ids=str)
def test_sort_is_stable(dtype, shape, axis):
    x, place = numbers(dtype, *shape), np.arange(np.prod(shape)).reshape(shape)
    order = order_of(x, axis)
    same(lax.sort(x, axis), np.take_along_axis(x, order, axis))
    keys, places = lax.sort_key_val(x, place, axis)
    same(keys, np.take_along_axis(x, order, axis))
    same(places, np.take_along_axis(place, order, axis))


@pytest.mark.parametrize("dtype", [t for t in DTYPES if t.kind != "c"], ids=str)
@pytest.mark.parametrize("shape, axis", [((33, 100), 1), ((100, 33), 0), ((9, 2), 1), ((8, 7), 1), ((3, 17, 40), 1), ((20, 17), 1)],
                         ids=str)
def test_short_lanes_are_sorted_side_by_side(dtype, shape, axis):
    x, other = numbers(dtype, *shape), RNG.normal(size=shape)
    order = order_of(x, axis)
    same(lax.sort(x, axis), np.take_along_axis(x, order, axis))
    found = lax.sort((x, other, other > 0), axis)
    for array, wanted in zip(found, (x, other, other > 0)):
        same(array, np.take_along_axis(wanted, order, axis))


@pytest.mark.parametrize("n", [*range(2, 12), 31, 64, 100, 511, 2048])
def test_the_network_sorts_zeros_and_ones(n):
    """Which sort everything if they sort these (Knuth 5.3.4Z); all of them up to a length of 11."""
    x = (np.arange(2**n)[:, None] >> np.arange(n) & 1 if n < 12 else RNG.random((16, n)) < 0.5).astype("f4")
    same(lax.sort(x, 1), np.sort(x, 1))


@pytest.mark.parametrize("n", [1, 2, 39, 40, 41, 42, 255, 256, 257, 70_000])
def test_lengths_around_the_change_of_algorithm(n):
    x = RNG.normal(size=n)
    same(lax.sort(x), np.sort(x))
    same(lax.sort_key_val(x, np.arange(n))[1], np.argsort(x, kind="stable"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_long_lane(dtype):
    """Sorted in parts by all threads: values alone, with a payload that fits beside the key, with one that does not."""
    n = 70_001
    x, place = numbers(dtype, n), np.arange(n)
    order = order_of(x, 0)
    same(lax.sort(x), x[order])
    for payload in (place.astype(np.int32), place):
        keys, moved = lax.sort_key_val(x, payload)
        same(keys, x[order])
        same(moved, payload[order])
    first = RNG.integers(0, 3, n)
    for found, wanted in zip(lax.sort((first, x, place), num_keys=2), (first, x, place)):
        same(found, wanted[order][np.argsort(first[order], kind="stable")])


def test_long_lanes_that_need_no_pass_or_zeros_of_one_kind():
    x = np.zeros(1 << 16, np.float32)
    same(lax.sort(x), x)
    x[7] = -0.0
    same(lax.sort(x), x)
    many = RNG.permutation(1 << 17).astype(np.float64)
    values, places = lax.top_k(many, 1000)
    same(values, np.sort(many)[:-1001:-1])
    same(many[np.asarray(places)], np.sort(many)[:-1001:-1])


def test_several_keys():
    first, second = RNG.integers(0, 3, (4, 90)), numbers(np.dtype("f4"), 4, 90)
    place = np.arange(360).reshape(4, 90)
    found = lax.sort((first, second, place), num_keys=2)
    order = np.lexsort((second, first), axis=-1)
    for x, y in zip(found, (first, second, place)):
        same(x, np.take_along_axis(y, order, -1))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "c"], ids=str)
@pytest.mark.parametrize("shape, axis, k", [((9,), 0, 3), ((3, 200), 1, 5), ((50, 4), 0, 50), ((3, 4), 0, 0),
                                            ((2, 333), 1, 1), ((400, 2), 0, 40), ((2, 400), 1, 41)], ids=str)
def test_top_k(dtype, shape, axis, k):
    x = numbers(dtype, *shape)
    x = x if x.dtype.kind in "iub" else np.where(x == 0, np.abs(x), x)  # of zeros, top_k prefers the positive one
    values, places = map(np.asarray, lax.top_k(x, k, axis=axis))
    wide = np.moveaxis(x.astype(np.float64) if x.dtype.kind not in "iub" else x.astype(object), axis, -1)
    rank = lambda row: sorted(range(len(row)), key=lambda i: (row[i] == row[i], -row[i] if row[i] == row[i] else 0, i))[:k]
    wanted = np.array([rank(row) for row in wide.reshape(-1, shape[axis])]).reshape(*wide.shape[:-1], k)
    assert places.dtype == np.int32 and values.dtype == dtype
    np.testing.assert_array_equal(places, np.moveaxis(wanted, -1, axis))
    same(values, np.take_along_axis(x, places, axis))


def test_approximate_selection_is_exact():
    x = RNG.normal(size=(3, 50)).astype(np.float32)
    values, places = lax.approx_max_k(x, 4)
    same(values, -np.sort(-x, -1)[:, :4])
    same(lax.approx_min_k(x, 4)[0], np.sort(x, -1)[:, :4])
    same(values, np.take_along_axis(x, np.asarray(places), -1))
    with pytest.raises(ValueError, match="array of floats"):
        lax.approx_max_k(np.arange(5), 2)


def test_derivatives_move_with_the_values():
    x, y, ct = RNG.normal(size=(3, 50)), RNG.normal(size=(3, 50)), RNG.normal(size=(3, 50))
    order = np.argsort(x, -1)
    _, pullback = tj.vjp(lambda x, y: lax.sort((x, y)), x, y)
    ct_x, ct_y = pullback((np.zeros((3, 50)), ct))
    wanted = np.zeros_like(ct)
    np.put_along_axis(wanted, order, ct, -1)
    np.testing.assert_array_equal(ct_y, wanted)
    assert not np.asarray(ct_x).any()
    _, t = tj.jvp(lambda x: lax.top_k(x, 4)[0], (x,), (y,))
    np.testing.assert_array_equal(t, np.take_along_axis(y, np.argsort(-x, -1)[:, :4], -1))


@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 1)], ids=str)
def test_vmap(in_axes):
    x, y = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 4))
    x, y = (v if a is not None else v[0] for v, a in zip((x, y), in_axes))
    found = np.asarray(tj.vmap(lambda x, y: lax.sort((x, y))[1], in_axes=in_axes)(x, y))
    for k in range(4):
        pick = lambda v, a: v if a is None else np.take(v, k, a)
        one = pick(x, in_axes[0]), pick(y, in_axes[1])
        np.testing.assert_array_equal(found[k], one[1][np.argsort(one[0])])


@pytest.mark.parametrize("call, error, message", [
    (lambda x: lax.sort((x, x[:2])), ShapeError, "different shapes"),
    (lambda x: lax.sort(x, dimension=2), ShapeError, "axis 2 is out of"),
    (lambda x: lax.sort(np.float32(1)), ShapeError, "axis -1 is out of"),
    (lambda x: lax.sort((x, x), num_keys=3), ValueError, "num_keys=3"),
    (lambda x: lax.sort(()), TypeError, "at least one"),
    (lambda x: lax.top_k(x, 5), ShapeError, "k=5 but axis 1 of .* has 4 elements"),
    (lambda x: lax.top_k(x * 1j, 2), DtypeError, "not ordered"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((3, 4)))

"""Integers that are affine in loop axes: worked out while compiling, with the results of single steps."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.test_loops import loops_of
from tracejit import lax
from tracejit.ir.loops import INDEX, Axis, Index, Pull, loads_of

I32, U8 = np.dtype("i4"), np.dtype("u1")
T = Axis("t", 10)


def pull() -> Pull:
    return Pull(lambda var, index: None, {})


def test_sums_and_products_of_indices_are_indices():
    b = pull()
    t = b.index_value(Index({T: 1}), I32)
    found = b.add(b.mul(b.convert(t, np.dtype("i8")), 3), 7)
    assert found.kind == INDEX and found.data == Index({T: 3}, 7) and found.dtype == np.dtype("i8")
    assert b.sub(t, t).data == Index()
    assert b.mul(t, t).kind != INDEX


def test_comparisons_are_decided_by_ranges():
    b = pull()
    t = b.index_value(Index({T: 1}), I32)
    tests = {"lt": (False, None, True), "le": (None, None, True), "gt": (None, None, False), "ge": (True, None, False),
             "eq": (None, None, False), "ne": (None, None, True)}
    for name, wanted in tests.items():
        assert tuple(getattr(b, name)(t, k).truth for k in (0, 5, 10)) == wanted
    assert b.select(b.lt(t, 0), b.add(t, 10), t) is t


def test_what_would_wrap_around_is_computed():
    b = pull()
    t = b.index_value(Index({T: 1}), U8)
    assert b.sub(t, 1).kind != INDEX and b.mul(t, 100).kind != INDEX and b.add(t, 246).kind == INDEX


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start, step, dtype", [(0, 1, "i4"), (7, -3, "i8"), (250, 1, "u1"), (-128, 5, "i1"), (2, 0, "i4")])
def test_counters_count(start, step, dtype, reverse):
    """Also those that wrap around, and where scans run backwards."""
    def f(x):
        def trip(carry, v):
            i, total = carry
            return (i + np.asarray(step, dtype), total + v * i), (i, x[jnp.abs(i) % 30])
        return lax.scan(trip, (jnp.asarray(start, dtype), 0.), x, reverse=reverse)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(30))
    with np.errstate(over="ignore"):
        counts = np.asarray(start, dtype) + np.arange(31).astype(dtype) * np.asarray(step, dtype)
    (last, total), (seen, read) = tj.jit(f)(x)
    order = np.arange(30)[::-1] if reverse else np.arange(30)
    assert last == counts[30] and last.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(seen)[order], counts[:30])
    np.testing.assert_allclose(total, sum(np.asarray(x)[order] * counts[:30]))
    np.testing.assert_array_equal(np.asarray(read)[order], np.asarray(x)[np.abs(counts[:30]) % 30])


def test_elements_at_the_counter_are_read_without_checks():
    x = np.arange(12.)
    [loop] = loops_of(lambda x: lax.fori_loop(1, 11, lambda i, s: s * .5 + x[i - 1] * x[i + 1] + x[-i], 0.), x)
    offsets = [e.data[1] for root in loop.registers.roots for e in loads_of(root)]
    assert len(offsets) >= 3 and all(isinstance(atom, Axis) for at in offsets for atom, _ in at.terms)


def test_places_outside_are_moved_inside_or_left_out():
    def f(x):
        k = jnp.arange(5)
        return x[k + 3], x.at[k + 3].get(mode="fill", fill_value=-1.), x[k - 2], x[k * 2], x.at[k + 3].add(1., mode="drop")
    x = np.arange(6.)
    got = tj.jit(f)(jnp.asarray(x))
    wanted = [3, 4, 5, 5, 5], [3, 4, 5, -1, -1], [4, 5, 0, 1, 2], [0, 2, 4, 5, 5], [0, 1, 2, 4, 5, 6]
    for y, want in zip(got, wanted):
        np.testing.assert_array_equal(y, want)

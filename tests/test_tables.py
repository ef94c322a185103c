"""Loops in registers that change arrays in memory, a few elements per trip."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.test_loops import loops_of
from tracejit import lax

A, B = np.random.default_rng(0).integers(0, 3, (2, 23)).astype(np.int32)
X = np.random.default_rng(1).standard_normal(23)


def common_subsequence(a, b):
    def row(i, table):
        def cell(j, table):
            longer = jnp.maximum(table[i, j + 1], table[i + 1, j])
            return table.at[i + 1, j + 1].set(jnp.where(a[i] == b[j], table[i, j] + 1, longer))
        return lax.fori_loop(0, b.shape[0], cell, table)
    return lax.fori_loop(0, a.shape[0], row, jnp.zeros((a.shape[0] + 1, b.shape[0] + 1), jnp.int32))


def two_of_one_place(a, x):
    """The later of two writes stays, and sums see the earlier ones."""
    def step(i, c):
        x, y = c
        x = x.at[a[i]].set(1. * i).at[a[(i + 1) % 23]].set(x[i] + 1)
        return x, y.at[jnp.array([0, 3, 0])].add(jnp.stack([x[0], 2., 3.]) * 0 + i)
    return lax.fori_loop(0, 23, step, (x, x))


def outside(a, x):
    """Places out of bounds are left out, negative ones count from the end, or are moved inside."""
    def step(i, c):
        x, y, z = c
        return x.at[i + 15].set(7., mode="drop"), y.at[i - 8].set(2.), lax.dynamic_update_slice(z, jnp.full(4, 1. * i), [i + 12])
    return lax.fori_loop(0, 23, step, (x, x, x))


def read_outside(a, x):
    """The array before the loop is another value than the carried one."""
    return lax.fori_loop(1, 23, lambda i, y: y.at[i].set(x[i] + y[i - 1] + x[22 - i]), x), x


def while_it_is_true(a, x):
    def step(c):
        i, flags, count = c
        return i + a[i] + 1, flags.at[i].set(~flags[i]), count.at[a[i]].multiply(2)
    flags = lax.full((40,), True)
    return lax.while_loop(lambda c: (c[0] < 22) & c[1][c[0]], step, (0, flags, jnp.ones(3, jnp.int32)))


def swapped(a, x):
    return lax.fori_loop(0, 5, lambda i, c: (c[1].at[i].set(7. * i), c[0].at[i].multiply(2.)), (x, x + 1))


def sieve(a, x):
    def strike(i, flags):
        return lax.fori_loop(0, (199 - i * i) // i + 1, lambda k, f: f.at[i * (i + k)].set(False), flags)
    return lax.fori_loop(2, 15, lambda i, f: lax.cond(f[i], strike, lambda _, f: f, i, f), lax.full((200,), True))


def of_all_kinds(a, x):
    def step(i, c):
        least, most, product, complex_sum, applied = c
        k = a[i]
        return (least.at[k].min(x[i]), most.at[k].max(x[i]), product.at[k].mul(x[i]),
                complex_sum.at[k].add(x[i] + 1j), applied.at[k].apply(jnp.sin))
    return lax.fori_loop(0, 23, step, (x[:3], x[:3], x[:3], x[:3] + 0j, x[:3]))


def no_trips(a, x):
    return lax.fori_loop(5, 5, lambda i, x: x.at[i].set(0.), x)


def from_registers(a, x):
    """Elements that one of the last trips wrote: one, two and four trips ago, over each other, from the end, of many kinds."""
    fibonacci = lax.fori_loop(2, 23, lambda i, y: y.at[i].set(y[i - 1] + y[i - 2]), x)
    far = lax.fori_loop(4, 23, lambda i, y: y.at[i].set(y[i - 4] * .5 + x[i]), x)
    bubble = lambda j, y: y.at[j].set(jnp.minimum(y[j], y[j + 1])).at[j + 1].set(jnp.maximum(y[j], y[j + 1]))
    met = lambda i, y: y.at[i + 1].set(y[i] + 1).at[(i * i) % 23].set(7.)
    backwards = lax.scan(lambda y, i: (y.at[i].set(y[i + 1] + x[i]), y[i]), x, jnp.arange(20), reverse=True)
    down = lax.fori_loop(0, 20, lambda i, y: y.at[20 - i].add(y[21 - i]).at[22 - i].set(y[21 - i] * 2), x)
    pairs = lambda i, y: y.at[2 * i + 2].set(y[2 * i] + y[2 * i + 1]).at[2 * i + 3].set(y[2 * i] - 1)
    sorted_once = lax.fori_loop(0, a[0] + 9, bubble, x)
    return fibonacci, far, sorted_once, lax.fori_loop(0, 22, met, x), backwards, down, lax.fori_loop(0, 10, pairs, x)


def too_few_trips(a, x):
    """As many trips as no element waits for, and none: what would be loaded before them lies outside."""
    step = lambda i, y: y.at[i].set(y[i - 4] + 1)
    return [lax.fori_loop(4, 4 + n, step, x[:5 + n]) for n in (0, 1, 3)] + [lax.fori_loop(0, a[0] * 0, lambda i, y: y.at[i + 1].set(y[i]), x)]


PROGRAMS = [from_registers, too_few_trips, common_subsequence, two_of_one_place, outside, read_outside, while_it_is_true, swapped, sieve, of_all_kinds, no_trips]


@pytest.mark.parametrize("f", PROGRAMS)
def test_results_are_those_of_single_steps(f):
    args = list(map(jnp.asarray, (A, B) if f is common_subsequence else (A, X)))
    got = tj.jit(f)(*args)
    with tj.disable_jit():
        wanted = f(*args)
    for x, y in zip(tj.tree.leaves(got), tj.tree.leaves(wanted)):
        assert np.dtype(x.dtype) == np.dtype(y.dtype)
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-15)


def test_the_loop_is_one_kernel():
    [loop] = loops_of(lambda x: lax.fori_loop(0, 23, lambda i, x: x.at[i].add(x[i - 1]), x), X)
    assert loop.registers.writes and not loop.programs


@pytest.mark.parametrize("ages, step", [([1], lambda i, y: y.at[i].set(y[i - 1] + 1)), ([1, 2], lambda i, y: y.at[i].set(y[i - 2] + y[i])),
                                        ([], lambda i, y: y.at[i].set(y[i + 1] + 1)), ([], lambda i, y: y.at[i].add(y[i - 1])),
                                        ([], lambda i, y: y.at[i].set(y[i - 1]).at[i * i].set(0.)),
                                        ([1], lambda i, y: y.at[i].set(y[i - 1]).at[i - 1].set(0.))])
def test_what_the_last_trips_wrote_stays_in_registers(ages, step):
    [loop] = loops_of(lambda x: lax.fori_loop(5, 23, step, x), X)
    assert [sum(k.loads != [] for k in loop.registers.kept), len(loop.registers.kept)] == [min(1, len(ages)), len(ages)]


def test_an_inner_loop_changes_the_array_of_the_outer_one():
    [outer] = loops_of(common_subsequence, A, B)
    [inner] = outer.registers.steps
    assert inner.loop.writes and not outer.programs
    np.testing.assert_array_equal(tj.jit(common_subsequence)(A, A)[-1, -1], len(A))


def test_arguments_are_not_changed_unless_donated():
    fill = lambda x: lax.fori_loop(0, 23, lambda i, x: x.at[i].set(1. * i), x)
    x = jnp.asarray(X)
    np.testing.assert_array_equal(tj.jit(fill)(x), np.arange(23.))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(tj.jit(fill, donate_argnums=0)(x), np.arange(23.))


@pytest.mark.parametrize("f", [two_of_one_place, read_outside, outside])
def test_derivatives_and_lanes(f):
    def total(x):
        return sum(jnp.sum(y * y) for y in tj.tree.leaves(f(jnp.asarray(A), jnp.asarray(x))))
    gradient = tj.jit(tj.grad(total))(X)
    d = np.random.default_rng(2).standard_normal(23)
    slope = (total(X + 1e-6 * d) - total(X - 1e-6 * d)) / 2e-6
    np.testing.assert_allclose(np.dot(gradient, d), slope, rtol=1e-6)
    for x, many in zip(tj.tree.leaves(f(jnp.asarray(A), jnp.asarray(X))), tj.tree.leaves(tj.jit(tj.vmap(lambda x: f(jnp.asarray(A), x)))(np.stack([X + 1, X])))):
        np.testing.assert_allclose(many[1], x, rtol=1e-14)

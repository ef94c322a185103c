"""Loops and branches inside of the trips of loops in registers: one kernel."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.test_loops import loops_of
from tracejit import lax

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal(23)
EDGES = RANDOM.integers(0, 17, (40, 2)).astype(np.int32)


def insertion_sort(x):
    def insert(i, x):
        v = x[i]
        shift = lambda c: (c[0] - 1, c[1].at[c[0]].set(c[1][c[0] - 1]))
        j, x = lax.while_loop(lambda c: (c[0] > 0) & (c[1][c[0] - 1] > v), shift, (i, x))
        return x.at[j].set(v)
    return lax.fori_loop(1, x.shape[0], insert, x)


def heap_sort(x):
    n = x.shape[0]

    def sift(x, i, end):
        def down(c):
            i, x, _ = c
            child = 2 * i + 1
            child = jnp.where((child + 1 < end) & (x[jnp.minimum(child + 1, n - 1)] > x[jnp.minimum(child, n - 1)]), child + 1, child)
            more = (child < end) & (x[jnp.minimum(child, n - 1)] > x[i])
            child = jnp.where(more, child, i)
            return child, x.at[i].set(x[child]).at[child].set(x[i]), more
        return lax.while_loop(lambda c: c[2], down, (i, x, True))[1]

    def pop(k, x):
        last = n - 1 - k
        x = x.at[0].set(x[last]).at[last].set(x[0])
        return sift(x, 0, last)
    x = lax.fori_loop(0, n // 2, lambda k, x: sift(x, n // 2 - 1 - k, n), x)
    return lax.fori_loop(0, n - 1, pop, x)


def union_find(edges):
    root = lambda p, x: lax.while_loop(lambda x: p[x] != x, lambda x: p[x], x)

    def join(p, ends):
        a, b = root(p, ends[0]), root(p, ends[1])
        return p.at[jnp.maximum(a, b)].set(jnp.minimum(a, b)), a == b
    return lax.scan(join, jnp.arange(17, dtype=jnp.int32), edges)


def matrix_chain(sizes):
    n = sizes.shape[0] - 1

    def chain(length, table):
        def start(i, table):
            j = i + length
            cost = lambda k: table[i, k] + table[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
            return table.at[i, j].set(lax.fori_loop(i, j, lambda k, best: jnp.minimum(best, cost(k)), jnp.int32(2**31 - 1)))
        return lax.fori_loop(0, n - length, start, table)
    return lax.fori_loop(1, n, chain, jnp.zeros((n, n), jnp.int32))


def lu(a):
    n = a.shape[0]

    def column(k, a):
        def row(i, a):
            factor = a[i, k] / a[k, k]
            return lax.fori_loop(k + 1, n, lambda j, a: a.at[i, j].add(-factor * a[k, j]), a.at[i, k].set(factor))
        return lax.fori_loop(k + 1, n, row, a)
    return lax.fori_loop(0, n - 1, column, a)


def queens(n):
    full = (1 << n) - 1

    def step(c):
        d, taken, free, count = c
        bit = free[d] & -free[d]

        def place(_):
            columns, left, right = taken[d, 0] | bit, (taken[d, 1] | bit) << 1, (taken[d, 2] | bit) >> 1
            is_done = columns == full
            return jnp.where(is_done, d, d + 1), taken.at[d + 1].set(jnp.stack([columns, left, right])), \
                free.at[d].set(free[d] ^ bit).at[d + 1].set(full & ~(columns | left | right)), count + is_done
        return lax.cond(free[d] == 0, lambda _: (d - 1, taken, free, count), place, None)
    zeros = jnp.zeros((9, 3), jnp.int32)
    return lax.while_loop(lambda c: c[0] >= 0, step, (jnp.int32(0), zeros, zeros[:, 0].at[0].set(full), jnp.int32(0)))[3]


def greatest_divisors(n):
    def row(_, i):
        divisor = lambda j: lax.while_loop(lambda c: c[1] > 0, lambda c: (c[1], c[0] % c[1]), (i, j))[0]
        return _, lax.scan(lambda c, j: (c, divisor(j)), 0, jnp.arange(1, 20))[1]
    return lax.scan(row, 0, jnp.arange(1, 14) + 0 * n)[1]


def network_in_network(w):
    """Small products in the inner loop, whose stacked results another inner loop reads backwards."""
    def outer(h, row):
        h, ys = lax.scan(lambda h, v: (jnp.tanh(w @ h + v),) * 2, h, row)
        back, sums = lax.scan(lambda s, y: (s * .5 + y.sum(), s), jnp.zeros((), w.dtype), ys, reverse=True)
        return h * .5, (sums, ys[3], back)
    return lax.scan(outer, jnp.ones(4, w.dtype), jnp.sin(jnp.arange(20, dtype=w.dtype)).reshape(4, 5))


def changed_and_read(x):
    """Reads of the array as it was before, between and after its changes in one trip."""
    def step(i, c):
        x, log = c
        first = x[i]
        y = x.at[i].set(x[i - 1] + 1)
        second = y[i] * 2 + first
        y = lax.fori_loop(0, i, lambda j, y: y.at[j].add(.5 * x[i] + second), y)
        return lax.cond(y[0] > 3, lambda y: y.at[i].set(y[0]).at[0].set(-3. * y[i]), lambda y: y, y), log.at[i].set(y[i] + first)
    return lax.fori_loop(1, 20, step, (x, x))


def three_ways(x):
    def step(i, c):
        x, total = c
        grow = lambda x, t: (lax.fori_loop(0, i % 4, lambda j, x: x.at[j].add(1.), x), t + x[i])
        swap = lambda x, t: (x.at[i].set(x[0]).at[0].set(x[i]), t)
        keep = lambda x, t: (x, lax.while_loop(lambda t: t > 2, lambda t: t / 2, t * x[1]))
        return lax.switch(i % 3, [grow, swap, keep], x, total)
    return lax.fori_loop(0, 23, step, (x, 0.))


def no_trips(x):
    """Inner loops that do nothing."""
    def step(i, c):
        s, x = c
        s, x = lax.fori_loop(3, i, lambda j, c: (c[0] + c[1][j], c[1].at[j].set(0.)), (s, x))
        return lax.while_loop(lambda s: s > 100, lambda s: s / x[i], s), x
    return lax.fori_loop(0, 4, step, (0., x)), lax.fori_loop(4, 4, step, (1., x))


PROGRAMS = [(insertion_sort, X), (heap_sort, X), (union_find, EDGES), (matrix_chain, RANDOM.integers(1, 50, 14).astype(np.int32)),
            (lu, X[:16].reshape(4, 4) + 4 * np.eye(4)), (queens, np.int32(6)), (greatest_divisors, np.int32(1)),
            (network_in_network, X[:16].reshape(4, 4)), (changed_and_read, X), (three_ways, X), (no_trips, X)]


@pytest.mark.parametrize("f, arg", PROGRAMS, ids=lambda p: getattr(p, "__name__", ""))
def test_results_are_those_of_single_steps(f, arg):
    got = tj.jit(f)(arg)
    with tj.disable_jit():
        wanted = f(jnp.asarray(arg))
    for x, y in zip(tj.tree.leaves(got), tj.tree.leaves(wanted), strict=True):
        assert np.dtype(x.dtype) == np.dtype(y.dtype)
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("f, arg", [p for p in PROGRAMS if p[0] not in (heap_sort, no_trips)], ids=lambda p: getattr(p, "__name__", ""))
def test_the_nest_is_one_kernel(f, arg):
    [loop] = loops_of(lambda x: tj.tree.leaves(f(x))[0], arg)
    assert loop.registers.steps and not loop.programs


def test_sorts_sort():
    for f in (insertion_sort, heap_sort):
        np.testing.assert_array_equal(tj.jit(f)(X), np.sort(X))
    assert [int(tj.jit(queens)(np.int32(n))) for n in (4, 5, 6, 8)] == [2, 10, 4, 92]


def test_arguments_stay_what_they_are():
    x = X.copy()
    tj.jit(insertion_sort)(x)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("f, arg", [(lu, X[:16].reshape(4, 4) + 4 * np.eye(4)), (network_in_network, X[:16].reshape(4, 4))])
def test_gradients(f, arg):
    total = lambda x: sum(jnp.sum(jnp.sin(y)) for y in tj.tree.leaves(f(x)))
    slopes, step = tj.jit(tj.grad(total))(arg), 1e-6
    for at in [(0, 0), (1, 2), (3, 1)]:
        moved = arg.copy()
        moved[at] += step
        np.testing.assert_allclose(slopes[at], (total(moved) - total(arg)) / step, rtol=1e-4, atol=1e-4)


def test_what_a_loop_changes_twice_is_not_one_kernel():
    """Both loops begin with the array as it was."""
    def step(i, c):
        x, y = c
        first = lax.fori_loop(0, i, lambda j, x: x.at[j].add(1.), x)
        second = lax.fori_loop(0, i, lambda j, x: x.at[j].multiply(2.), x)
        return first, y + second[0]
    f = lambda x: lax.fori_loop(1, 6, step, (x, 0.))
    x, y = tj.jit(f)(X)
    wanted, total = X.copy(), 0.
    for i in range(1, 6):
        total += wanted[0] * 2
        wanted[:i] += 1
    np.testing.assert_allclose(x, wanted, rtol=1e-15)
    np.testing.assert_allclose(y, total, rtol=1e-15)


def test_a_while_loop_records_what_its_inner_loops_compute():
    def f(x):
        inner = lambda c: lax.scan(lambda d, _: (jnp.tanh(d) + x * .1, None), c, None, length=2)[0]
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, inner(c[1]) * x), (0, x))[1]
    at, step = np.float64(.6), 1e-6
    wanted = (f(at + step) - f(at - step)) / (2 * step)
    np.testing.assert_allclose(tj.jit(tj.grad(lambda x: f(x)))(at), wanted, rtol=1e-8)
    np.testing.assert_allclose(tj.jit(lambda x: tj.jvp(f, (x,), (1.,))[1])(at), wanted, rtol=1e-8)


# --- sums of inner loops begin with what the outer one has added up ------------------------------------------------------

def read_in_loops(x, w):
    x, w = jnp.asarray(x), jnp.asarray(w)

    def outer(s, i):
        return s + lax.fori_loop(0, 5, lambda j, t: jnp.sin(t + x[(i * j) % 7] * w[i]), s * .5), None
    return lax.scan(outer, jnp.zeros((), x.dtype), jnp.arange(6))[0]


def test_gradients_of_what_inner_loops_read_are_summed_in_place():
    x, w = X[:7], X[7:13]
    slopes = tj.jit(tj.grad(read_in_loops, (0, 1)))(x, w)
    for k, (got, at) in enumerate(zip(slopes, (x, w))):
        for i in range(len(at)):
            moved = [np.array(x), np.array(w)]
            moved[k][i] += 1e-6
            np.testing.assert_allclose(got[i], (read_in_loops(*moved) - read_in_loops(x, w)) / 1e-6, rtol=1e-4, atol=1e-5)
    loops = loops_of(lambda x: tj.grad(lambda x: read_in_loops(x, jnp.ones(6)))(x), x)
    assert all(loop.registers is not None for loop in loops)


def test_only_additions_to_elements_join_what_is_summed():
    """Numbers and whole arrays are summed in the order in which they are written; zeros that others need stay."""
    def outer(c, i):
        s, h, x = c
        add = lambda j, t: (t[0] + x[j], t[1].at[j % 3].add(x[j]))
        t, g = lax.fori_loop(0, 5, add, (jnp.zeros((), x.dtype), jnp.zeros_like(h)))
        return (s + t, h + g, x * .5), g.sum() + t
    (s, h, _), ys = tj.jit(lambda x: lax.scan(outer, (jnp.zeros((), x.dtype), jnp.zeros(3, x.dtype), x), jnp.arange(4)))(X)
    trips = [X * .5**k for k in range(4)]
    np.testing.assert_allclose(s, sum(x[:5].sum() for x in trips), rtol=1e-14)
    np.testing.assert_allclose(h, sum(np.bincount(np.arange(5) % 3, x[:5], 3) for x in trips), rtol=1e-14)
    np.testing.assert_allclose(ys, [2 * x[:5].sum() for x in trips], rtol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype, step", [("int8", 3), ("int32", 1), ("int32", -2), ("uint8", 1)])
def test_stacked_counters_need_no_loop(dtype, step, reverse):
    def f(x):
        count = lambda c, v: ((c[0] + jnp.asarray(step, dtype), c[1] + v), (c[0], c[1]))
        return lax.scan(count, (jnp.asarray(9, dtype), jnp.zeros((), x.dtype)), x, reverse=reverse)
    (last, total), (counted, sums) = tj.jit(f)(X[:5])
    wanted = (9 + step * np.arange(5))[::-1 if reverse else 1]
    assert counted.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(counted, wanted)
    assert int(last) == 9 + 5 * step
    np.testing.assert_allclose(total, X[:5].sum(), rtol=1e-14)
    [loop] = loops_of(lambda x: f(x)[1][1], X[:5])
    assert len(loop.eqn.op.body.results) == 2

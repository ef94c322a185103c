"""Ranges of integers: every op's rule against its own elements, what they decide, and that loops mean what they did."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.samples import SAMPLES
from tracejit import lax
from tracejit.ir.graph import Graph, subgraphs
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.compare import SelectN
from tracejit.lax.dynamic import DynamicSlice
from tracejit.lax.index import Scatter
from tracejit.lax.loops import Scan
from tracejit.transforms.passes.ranges import Known, decide_by_ranges, fitted, full

RNG = np.random.default_rng(3)
I32 = np.dtype("int32")
COUNTED = [s for s in SAMPLES if not s.op.multiple and s.args and all(x.dtype.kind in "biu" for x in s.args)]


def range_of(x: np.ndarray) -> tuple[int, int]:
    return (int(x.min()), int(x.max())) if x.dtype.kind in "biu" else (0, 0)


@pytest.mark.parametrize("sample", COUNTED, ids=str)
def test_results_lie_in_their_bounds(sample):
    with np.errstate(all="ignore"):
        out = np.asarray(sample.op.eval(*sample.args))
    if out.dtype.kind in "biu" and out.size and all(x.size for x in sample.args):
        lo, hi = fitted(sample.op.bounds([type_of(x) for x in sample.args], *map(range_of, sample.args)), type_of(out))
        assert lo <= out.min() and out.max() <= hi


@pytest.mark.parametrize("f", [lax.add, lax.sub, lax.mul, lax.rem, lax.max, lax.min, lax.bitwise_and, lax.lt, lax.le, lax.gt, lax.ge,
                               lax.eq, lax.ne, lambda x, y: lax.select(lax.lt(x, y), x, y), lambda x, y: lax.clamp(x, y, x + 9),
                               lambda x, y: lax.convert_element_type(x, np.int8), lambda x, y: -x])
def test_bounds_of_random_integers_hold_also_where_they_wrap_around(f):
    for _ in range(40):
        ends = np.sort(RNG.integers(-2**31, 2**31, (2, 2)) >> RNG.integers(0, 31, (2, 1)), 1)
        x, y = (RNG.integers(lo, hi + 1, 50).astype(I32) for lo, hi in ends)
        graph = trace_closed(lambda x, y: [f(x, y)], [ArrayType((50,), I32)] * 2)
        lo, hi = Known(graph, [tuple(map(int, r)) for r in ends]).of(graph.results[0])
        out = np.asarray(f(x, y))
        assert lo <= out.min() and out.max() <= hi


def test_bounds_are_as_narrow_as_can_be():
    graph = trace_closed(lambda x: [x % 7, x & 12, jnp.clip(x, 2, 5), jnp.argmax(jnp.arange(9) * x), lax.iota(np.int32, 4) + 1],
                         [ArrayType((), I32)])
    known = Known(graph, [(0, 90)])
    assert [known.of(r) for r in graph.results] == [(0, 6), (0, 12), (2, 5), (0, 8), (1, 4)]


def ops_in(graph: Graph) -> list:
    inner = [g for eqn in graph.eqns for value in vars(eqn.op).values() for g in subgraphs(value)]
    return [eqn.op for eqn in graph.eqns] + [op for g in inner for op in ops_in(g)]


def decided_ops(f, *args) -> list:
    return ops_in(decide_by_ranges(trace_closed(lambda *xs: tj.tree.leaves(f(*xs)), [type_of(x) for x in args])))


X = np.arange(12, dtype=np.float32) % 5


def ring(x):
    def step(c, v):
        buffer, i = c
        return (buffer.at[i].set(v), (i + 1) % 7), buffer[i]
    return lax.scan(step, (jnp.zeros(7), 0), x)[1]


def rows_and_columns(x):
    """A place per axis, each with its own range; the trip count is known at run time only."""
    def row(i, table):
        return lax.fori_loop(0, 11 - i, lambda j, t: t.at[i, j + 1].add(t[i, j] + x[j]), table)
    return lax.fori_loop(0, 3, row, jnp.zeros((3, 12)))


def insertion_sort(x):
    def insert(i, x):
        v = x[i]
        going = lambda c: (c[0] > 0) & (c[1][c[0] - 1] > v)
        j, x = lax.while_loop(going, lambda c: (c[0] - 1, c[1].at[c[0]].set(c[1][c[0] - 1])), (i, x))
        return x.at[j].set(v)
    return lax.fori_loop(1, 12, insert, x)


@pytest.mark.parametrize("f", [ring, rows_and_columns, insertion_sort])
def test_counters_rings_and_conditions_decide_where_places_lie(f):
    ops = decided_ops(f, X)
    assert all(op.clips for op in ops if isinstance(op, Scatter))
    assert f is ring or not any(isinstance(op, SelectN) for op in ops)
    assert sum(isinstance(op, DynamicSlice) and op.wraps for op in ops) == (1 if f is insertion_sort else 0)   # of the condition


def test_a_run_time_length_gets_its_bound():
    [outer, inner] = [op for op in decided_ops(rows_and_columns, X) if isinstance(op, Scan)]
    assert outer.length == 3 and inner.length is None and inner.at_most == 11


def wraps_around(x):
    """A counter of eight bits comes back to where it began."""
    step = lambda c, v: ((c[0] + jnp.uint8(100), c[1].at[c[0] % 5].add(v)), c[0])
    return lax.scan(step, (jnp.uint8(3), jnp.zeros(5)), x)


def counts_down(x):
    step = lambda c, v: ((c[0] - 1, c[1].at[c[0]].set(v)), c[1][c[0]])
    return lax.scan(step, (3, jnp.arange(12.)), x)


def grows_at_random_times(x):
    def step(c, v):
        top, stack = c
        top = jnp.maximum(top + jnp.where(v > 1, 1, -1), 0)
        return (top, stack.at[top].set(v)), top
    return lax.scan(step, (0, jnp.zeros(4)), x)


def swaps(x):
    """Each carry takes the other's range, one trip later."""
    return lax.scan(lambda c, v: ((c[1], c[0] + 1, c[2].at[c[0]].add(v)), c[0]), (0, -3, jnp.zeros(9)), x)


def chosen_inside(x):
    def step(c, v):
        i = lax.cond(v > 2, lambda i: i + 2, lambda i: i - 5, c)
        return lax.switch(i % 3, [lambda i: i, lambda i: -i, lambda i: i * 2], i), x[i]
    return lax.scan(step, 4, x)


def while_between(x):
    return lax.while_loop(lambda c: (c[0] < 12) & (3 <= c[0]), lambda c: (c[0] + 4, c[1].at[c[0] - 3].set(7.)), (3, x))


def no_trip_at_all(x):
    return lax.while_loop(lambda c: c[0] > 5, lambda c: (c[0] - 9, c[1].at[c[0]].set(7.)), (5, x))


PROGRAMS = [ring, rows_and_columns, insertion_sort, wraps_around, counts_down, grows_at_random_times, swaps, chosen_inside,
            while_between, no_trip_at_all]


@pytest.mark.parametrize("f", PROGRAMS)
def test_results_are_those_of_single_steps(f):
    got = tj.jit(f)(jnp.asarray(X))
    with tj.disable_jit():
        wanted = f(jnp.asarray(X))
    for x, y in zip(tj.tree.leaves(got), tj.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.parametrize("f", PROGRAMS)
def test_ranges_of_carries_hold_in_every_trip(f):
    """What the analysis says of a program's results, against what they are."""
    graph = trace_closed(lambda x: tj.tree.leaves(f(x)), [type_of(X)])
    known = Known(graph, [full(type_of(X))])
    for r, x in zip(graph.results, tj.tree.leaves(tj.jit(f)(jnp.asarray(X)))):
        if r.type.dtype.kind in "biu":
            lo, hi = known.of(r)
            assert lo <= np.min(x) and np.max(x) <= hi

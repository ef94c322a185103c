"""What known masks throw away is left out, and the results stay what they were, special values included."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.ir.graph import Graph, evaluate
from tracejit.ir.trace import trace
from tracejit.ir.types import ArrayType
from tracejit.transforms.passes import masks, parts
from tracejit.transforms.passes.dead import remove_dead
from tracejit.transforms.passes.masks import kept_range, leave_out_masked
from tracejit.transforms.passes.pipeline import PASSES

rng = np.random.default_rng(0)
QKV = [rng.standard_normal((2, 2, 64, 8)).astype(np.float32) for _ in range(3)]
WIDE = [rng.standard_normal((n, 8)).astype(np.float32) for n in (67, 91, 91)]


def softmax(x, axis=-1):
    e = jnp.exp(x - jnp.max(x, axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def positions(q, k):
    return jnp.arange(q.shape[-2])[:, None], jnp.arange(k.shape[-2])


def masked(mask, fill):
    def f(q, k, v):
        scores = q @ jnp.swapaxes(k, -1, -2) * 0.3
        return softmax(jnp.where(mask(*positions(q, k)), scores, fill)) @ v
    return f


def causal(i, j): return i >= j
def window(i, j): return abs(i - j) <= 5
def later(i, j): return j >= i
def blind_rows(i, j): return (i >= j) & (i % 7 != 3)


def keys_first(q, k, v):
    scores = jnp.where(jnp.arange(k.shape[0])[:, None] <= jnp.arange(q.shape[0]), k @ q.T, -jnp.inf)
    return softmax(scores, 0).T @ v


def masked_twice(q, k, v):
    seen = causal(*positions(q, k))
    e = jnp.where(seen, jnp.exp(q @ jnp.swapaxes(k, -1, -2) - 3), 0)
    return e @ v, jnp.where(seen, e * 2, 1).sum(-1), jnp.min(jnp.where(seen, e, 9), -1)


def over_heads_too(q, k, v):
    return jnp.where(causal(*positions(q, k)), q @ jnp.swapaxes(k, -1, -2), -2).sum((1, 3))


PROGRAMS = {
    "causal": (masked(causal, -1e30), QKV), "causal, infinite": (masked(causal, -jnp.inf), QKV),
    "a rest that counts": (masked(causal, 0.5), QKV), "not (later)": (masked(lambda i, j: ~(j > i), -jnp.inf), QKV),
    "window": (masked(window, -jnp.inf), QKV), "later keys": (masked(later, -1e30), QKV),
    "rows that see nothing": (masked(blind_rows, -1e30), QKV), "rows of nan": (masked(blind_rows, -jnp.inf), QKV),
    "lengths that differ": (masked(causal, -1e30), WIDE), "keys first": (keys_first, [WIDE[1], WIDE[1], WIDE[2]]),
    "doubles": (masked(causal, -jnp.inf), [x.astype(np.float64) for x in QKV]), "twice": (masked_twice, QKV),
    "over heads": (over_heads_too, QKV),
}
AS_BEFORE = {
    "which key": (lambda q, k, v: jnp.argmax(jnp.where(causal(*positions(q, k)), q @ jnp.swapaxes(k, -1, -2), -9), -1), QKV),
    "scores are a result": (lambda q, k, v: jnp.where(causal(*positions(q, k)), q @ jnp.swapaxes(k, -1, -2), -9), QKV),
    "masked in steps of two": (masked(lambda i, j: (i + j) % 2 == 0, -1e30), QKV),
    "a mask that is computed": (lambda q, k, v: masked(lambda i, j: q[0, 0, :, :1] >= j, -1e30)(q, k, v), QKV),
}
HALVES = [jnp.bfloat16, np.float16]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 4096)
    monkeypatch.setattr(masks, "LEAST_PART", 8)


def graph_of(f, args) -> Graph:
    graph, captured = trace(lambda *a: tj.tree_util.tree_leaves(f(*a)), [ArrayType(a.shape, a.dtype) for a in args])
    assert not captured
    for name, change in PASSES:
        if name == "leave out what masks drop":
            return graph
        graph = change(graph)


def flops(graph: Graph) -> float:
    return sum(eqn.op.flops(*[x.type for x in eqn.inputs]) for eqn in graph.eqns if eqn.op.name == "dot_general")


def assert_same(wanted, got):
    for x, y in zip(wanted, got, strict=True):
        assert np.asarray(y).dtype == x.dtype
        np.testing.assert_allclose(y, x, rtol=3e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_less_is_computed_and_means_the_same(name):
    f, args = PROGRAMS[name]
    whole = graph_of(f, args)
    narrow = remove_dead(leave_out_masked(whole))
    assert flops(narrow) < 0.85 * flops(whole)
    assert_same(evaluate(whole, args), evaluate(narrow, args))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["causal, infinite", "a rest that counts", "window", "later keys", "twice"])
def test_16_bit_floats_are_rounded_no_more_often(name, dtype):
    """Against the same program in float32: what is left out may not add to the error."""
    f, args = PROGRAMS[name]
    halves = [x.astype(dtype) for x in args]
    whole = graph_of(f, halves)
    narrow = remove_dead(leave_out_masked(whole))
    assert flops(narrow) < 0.85 * flops(whole)
    exact = evaluate(graph_of(f, args), [x.astype(np.float32) for x in halves])
    for x, before, after in zip(exact, evaluate(whole, halves), evaluate(narrow, halves), strict=True):
        assert after.dtype == before.dtype
        error = lambda y: np.abs(y.astype(np.float32) - x).max()
        assert error(after) <= 1.3 * error(before) + 1e-3 * np.abs(x).max()


@pytest.mark.parametrize("name", AS_BEFORE)
def test_what_is_needed_as_a_whole_stays(name):
    whole = graph_of(*AS_BEFORE[name])
    assert str(leave_out_masked(whole)) == str(whole)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("fill", [-1e30, -np.inf])
@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("where", range(3))
def test_special_values_go_where_they_went(fill, special, where):
    args = [x.copy() for x in QKV]
    args[where][0, 1, 40, 3] = special
    whole = graph_of(masked(causal, fill), args)
    assert_same(evaluate(whole, args), evaluate(leave_out_masked(whole), args))


def test_sums_that_would_overflow_stay_finite():
    q, k, v = QKV
    large = np.full_like(v, 3e38)
    out = evaluate(leave_out_masked(graph_of(masked(causal, -jnp.inf), [q, k, large])), [q, k, large])[0]
    np.testing.assert_allclose(out, large, rtol=1e-5)


@pytest.mark.parametrize("name", ["causal", "a rest that counts", "window", "twice"])
def test_compiled(name):
    f, args = PROGRAMS[name]
    wanted = evaluate(graph_of(f, args), args)
    tj.clear_caches()
    assert_same(wanted, tj.tree_util.tree_leaves(tj.jit(lambda *a: f(*a))(*args)))
    tj.clear_caches()


def test_gradients_and_lanes():
    q, k, v = QKV
    loss = lambda q, k, v: (masked(causal, -1e30)(q, k, v) ** 3).sum()
    args = (q, k, v)
    graph = graph_of(tj.grad(loss, (0, 1, 2)), args)
    assert_same(evaluate(graph, args), evaluate(leave_out_masked(graph), args))
    lanes = graph_of(tj.vmap(masked(causal, -1e30)), args)
    narrow = leave_out_masked(lanes)
    assert flops(narrow) < 0.85 * flops(lanes)
    assert_same(evaluate(lanes, args), evaluate(narrow, args))


def test_the_range_that_a_mask_keeps():
    mask = np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]], bool)
    assert kept_range(mask, 1) == [(1, 4, 5)]
    assert kept_range(np.ones((3, 4), bool), 1) == kept_range(np.zeros((0, 4), bool), 1) == kept_range(np.eye(2, dtype=bool), 1) == []
    assert kept_range(np.array([1, 1, 0, 1, 0, 0], bool), 0) in ([(0, 4, 6), (2, 6, 6)], [(2, 6, 6), (0, 4, 6)])

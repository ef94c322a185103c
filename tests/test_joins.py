"""Joins that are wanted in memory are put there once, in the memory of what they change; short ways to compute again stay short."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.lower import Target, lower
from tracejit.ir.graph import Graph, evaluate, fields_of, subgraphs
from tracejit.ir.loops import LOAD
from tracejit.lax.barrier import Copy
from tracejit.transforms.passes.joins import store_joins
from tracejit.transforms.passes.pipeline import PASSES

N = 70


def waves(carry, _):
    """A change of the interior in the carry's memory, read by the next change and as an output."""
    e, h = carry
    h = h.at[:, :-1].set(0.9 * h[:, :-1] + 0.5 * (e[:, 1:] - e[:, :-1]))
    e = e.at[1:-1, 1:-1].set(0.9 * e[1:-1, 1:-1] + 0.5 * (h[1:-1, 1:-1] - h[1:-1, :-2]))
    return (e, h), e[3, 4]


def streams(carry, _):
    """A roll of the carry, which several read."""
    moved = jnp.roll(carry, (1, 2), (0, 1))
    mean = moved.mean(0)
    return moved - 0.5 * (moved - mean), None


def joined(carry, _):
    y = jnp.concatenate([carry[N // 2:] * 2, jnp.sin(carry[:N // 2])])
    return y, (y * y).sum()


def padded(carry, _):
    y = jnp.pad(carry[2:-2, 3:-3], ((2, 2), (3, 3)), constant_values=0.25)
    return y * 0.5 + jnp.cos(y[::-1]), y.max()


START = np.random.default_rng(0).normal(size=(N, N))
EACH = pytest.mark.parametrize("step, start", [
    (waves, (START, START.T.copy())), (streams, START), (joined, START), (padded, START)], ids=lambda x: getattr(x, "__name__", ""))


def program(step):
    return lambda start: lax.scan(step, start, None, length=5)


def improved(graph: Graph) -> Graph:
    for _, change in PASSES:
        graph = change(graph)
    return graph


@EACH
@pytest.mark.parametrize("change", [lambda f: f, lambda f: tj.grad(lambda x: sum(jnp.sum(y * jnp.cos(y)) for y in tj.tree.leaves(f(x)))),
                                    lambda f: lambda x: tj.vmap(f)(tj.tree.map(lambda y: jnp.stack([y, 2 * y]), x))],
                         ids=["value", "grad", "vmap"])
def test_loops_that_join(step, start, change):
    f = change(program(step))
    meaning = tj.make_jaxpr(f)(start).graph
    for a, b in zip(tj.tree.leaves(tj.jit(f)(start)), evaluate(meaning, tj.tree.leaves(start)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * np.max(np.abs(b)))


def body_of(step, start) -> Graph:
    graph = improved(tj.make_jaxpr(program(step))(start).graph)
    return next(body for eqn in graph.eqns for _, field in fields_of(eqn.op) for body in subgraphs(field))


def test_a_join_that_is_wanted_in_memory_is_copied_before_it_is_read():
    body = body_of(waves, (START, START))
    assert sum(isinstance(eqn.op, Copy) for eqn in body.eqns) == 2
    assert store_joins(body) is body


def test_joins_that_only_fused_operations_read_are_not():
    body = body_of(lambda x, _: (jnp.cos(jnp.concatenate([x[1:], x[:1]])), None), START)
    assert not any(isinstance(eqn.op, Copy) for eqn in body.eqns)


def test_a_change_of_a_carry_is_one_kernel():
    """... which computes the new elements where they are written: no value of the loop is in memory but the carry."""
    body = body_of(waves, (START, START))
    lowered = lower(body, Target(lambda eqn: 0, lambda eqn: None), list(body.params))
    large = [v for step in lowered.steps for v in step.writes if v.type.size >= N]
    assert len(large) == 2


def pairs(n: int):
    """Sums of neighbours, then of neighbours' sums: each level reads two elements of the one before."""
    def f(x):
        levels = []
        for _ in range(n):
            x = x[::2] + x[1::2]
            levels.append(x)
        for level in reversed(levels):
            x = lax.pad(x, 0.0, [(0, 1, 1)])[:2 * x.size] + jnp.repeat(level, 2)
        return x
    return f


def loads(lowered) -> int:
    return max(sum(e.kind == LOAD for e in step.kernel.loads) for step in lowered.steps)


def test_what_is_computed_again_does_not_grow_with_the_length_of_a_chain():
    graph = improved(tj.make_jaxpr(pairs(5))(np.zeros(1 << 16, np.float32)).graph)
    assert loads(lower(graph, Target(lambda eqn: 0, lambda eqn: None))) <= 6
    x = np.random.default_rng(1).normal(size=1 << 16)
    np.testing.assert_allclose(tj.jit(pairs(5))(x), evaluate(tj.make_jaxpr(pairs(5))(x).graph, [x])[0], rtol=1e-12, atol=1e-12)


def test_long_products_of_a_scan_compile_to_small_kernels():
    def last(a, x):
        return lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, x))[1]
    types = [np.zeros((256, 32), np.complex64)] * 2
    graph = improved(tj.make_jaxpr(lambda a, x: tj.vjp(last, a, x)[1](x))(*types).graph)
    assert loads(lower(graph, Target(lambda eqn: 0, lambda eqn: None))) <= 24

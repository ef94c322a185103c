"""Large values computed part by part: the loops compute what the whole program does, and the large values are gone."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn
from tracejit.ir.graph import evaluate, fields_of, subgraphs
from tracejit.ir.trace import trace
from tracejit.ir.types import ArrayType
from tracejit.transforms.passes import parts
from tracejit.transforms.passes.parts import cut_large_values
from tracejit.transforms.passes.pipeline import PASSES, everywhere

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def softmax(x):
    e = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v):
    return softmax(q @ jnp.swapaxes(k, -1, -2) * 0.3) @ v


def causal(q, k, v):
    seen = jnp.tril(jnp.ones((q.shape[-2],) * 2, bool))
    return softmax(jnp.where(seen, q @ jnp.swapaxes(k, -1, -2), -1e30)) @ v


W = normal(8, 8)


def two_layers(q):
    x = jnp.tanh(attention(q, q, q) @ W)
    return jnp.mean(jnp.tanh(attention(x, q, x) @ W) ** 2)


def of_gradient(f):
    return tj.value_and_grad(lambda *a: jnp.mean(jnp.tanh(f(*a) @ W) ** 2), (0, 1, 2))


def squared_distances(x, c):
    return (x ** 2).sum(1)[:, None] - 2 * x @ c.T + (c ** 2).sum(1)


def nearest(x, c):
    d = squared_distances(x, c)
    return jnp.argmin(d, 1), d.min(1)


def mixture(x, c):
    return jnp.sum(nn.logsumexp(-squared_distances(x, c), 1))


def cross_entropy(h, w):
    logits = h @ w
    return jnp.mean(nn.logsumexp(logits, -1) - logits[:, 3])


def in_a_loop(q):
    return lax.scan(lambda c, _: (jnp.tanh(attention(c, c, c) @ W), c.sum()), q, None, length=2)[0]


def grouped(**options):
    return lambda q, k, v: nn.dot_product_attention(q, k, v, **options)


QKV = [normal(2, 2, 61, 8) for _ in range(3)]
EVEN = [normal(1, 3, 64, 8) for _ in range(3)]
HEADS = [normal(2, 48, 4, 8), normal(2, 48, 2, 8), normal(2, 48, 2, 8)]
PROGRAMS = {
    "forwards": (attention, EVEN), "a prime length": (attention, QKV), "a mask": (causal, EVEN),
    "gradient": (of_gradient(attention), EVEN), "gradient, prime length": (of_gradient(causal), QKV),
    "gradient without a wait": (tj.grad(lambda q, k, v: (attention(q, k, v) ** 3).sum(), (0, 1, 2)), EVEN),
    "two layers": (tj.value_and_grad(two_layers), QKV[:1]), "lanes": (tj.vmap(of_gradient(attention)), EVEN),
    "in a loop": (tj.grad(lambda q: in_a_loop(q).sum()), EVEN[:1]),
    "groups of heads": (of_gradient(grouped()), HEADS), "a window": (grouped(local_window_size=5), HEADS),
    "a bias": (tj.grad(lambda q, k, v, b: (nn.dot_product_attention(q, k, v, b) ** 3).sum(), 3), [*HEADS, normal(1, 4, 48, 48)]),
    "nearest of many": (nearest, [normal(300, 4), normal(200, 4)]),
    "mixture": (tj.value_and_grad(mixture, (0, 1)), [normal(300, 4), normal(200, 4)]),
    "classes": (tj.value_and_grad(cross_entropy, (0, 1)), [normal(200, 8), normal(8, 300)]),
    "complex": (lambda q, k, v: jnp.abs(attention(q + 1j * k, k, v)), EVEN),
}
STORED = {"a bias", "in a loop"}     # large values are results, or stored by another loop


@pytest.fixture(params=[1 << 27, 0], ids=["kept", "computed again"])
def small_parts(monkeypatch, request):
    monkeypatch.setattr(parts, "PART_BYTES", 4096)
    monkeypatch.setattr(parts, "SHARED_BYTES", 4096)
    monkeypatch.setattr(parts, "KEPT_BYTES", request.param)


def graph_of(f, args):
    """The program as it is when it is cut, and its inputs: captured arrays too."""
    graph, captured = trace(lambda *a: tj.tree_util.tree_leaves(f(*a)), [ArrayType(a.shape, a.dtype) for a in args])
    for name, change in PASSES:
        if name == "cut large values":
            break
        graph = change(graph)
    return graph, [*map(np.asarray, captured), *args]


def largest(graph) -> int:
    """Bytes of the largest product or carried value in memory, in sub-graphs too."""
    inner = [largest(g) for eqn in graph.eqns for _, value in fields_of(eqn.op) for g in subgraphs(value)]
    products = [v.type.nbytes for eqn in graph.eqns if eqn.op.name in ("dot_general", "scan") for v in eqn.outputs]
    return max([*inner, *products], default=0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_loops_mean_the_same(small_parts, name):
    whole, args = graph_of(*PROGRAMS[name])
    cut = everywhere(cut_large_values)(whole)
    assert str(cut).count("scan[") > str(whole).count("scan[")
    for x, y in zip(evaluate(whole, args), evaluate(cut, args), strict=True):
        np.testing.assert_allclose(y, x, rtol=2e-4, atol=1e-6 + 1e-5 * np.abs(x).max())


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in STORED])
def test_no_large_value_is_left(monkeypatch, name):
    monkeypatch.setattr(parts, "PART_BYTES", 4096)
    monkeypatch.setattr(parts, "SHARED_BYTES", 4096)
    monkeypatch.setattr(parts, "KEPT_BYTES", 0)
    whole, _ = graph_of(*PROGRAMS[name])
    assert 2 * largest(everywhere(cut_large_values)(whole)) <= largest(whole)


@pytest.mark.parametrize("name", ["gradient, prime length", "groups of heads", "nearest of many"])
def test_compiled(small_parts, name):
    f, args = PROGRAMS[name]
    whole, all_args = graph_of(f, args)
    tj.clear_caches()
    for x, y in zip(evaluate(whole, all_args), tj.tree_util.tree_leaves(tj.jit(lambda *a: f(*a))(*args)), strict=True):
        np.testing.assert_allclose(y, x, rtol=2e-4, atol=1e-6 + 1e-5 * np.abs(x).max())


def test_a_large_convolution_stays(small_parts):
    f = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    whole, _ = graph_of(f, [normal(2, 16, 16, 1), normal(3, 3, 1, 32)])
    assert str(everywhere(cut_large_values)(whole)) == str(whole)


def test_small_values_and_values_that_are_returned_stay(small_parts):
    q, k, v = EVEN
    returned = lambda q, k, v: (attention(q, k, v), softmax(q @ jnp.swapaxes(k, -1, -2) * 0.3), q @ jnp.swapaxes(k, -1, -2))
    for f, args in ((returned, EVEN), (attention, [x[:, :, :8] for x in EVEN])):
        whole, _ = graph_of(f, args)
        assert str(everywhere(cut_large_values)(whole)) == str(whole)


def test_long_causal_attention_reads_no_later_keys():
    q, k, v = normal(1, 700, 2, 8), normal(1, 700, 2, 8), normal(1, 700, 2, 8)
    v[:, 600:] = np.nan
    out = np.asarray(nn.dot_product_attention(q, k, v, is_causal=True))
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(8)
    weights = np.exp(np.where(np.tril(np.ones((700, 700), bool)), scores, -np.inf))
    expected = np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), np.nan_to_num(v))
    np.testing.assert_allclose(out[:, :560], expected[:, :560], rtol=1e-3, atol=1e-5)

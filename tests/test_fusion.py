"""What runs as one step: elementwise work in the epilogue of products, at any size, with several readers, in donated memory."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen import schedule
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.fuse import MOST_MEMBERS
from tracejit.codegen.steps import KernelStep, NativeStep
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import bfloat16, type_of
from tracejit.transforms.passes.pipeline import PASSES
from tracejit.runtime.threads import threads

SIZES = [(5, 30, 7), (64, 64, 64), (1, 100, 50), (50, 100, 1), (1, 2000, 2), (33, 17, 129), (130, 800, 200), (4, 2000, 40)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def steps_of(function, *args):
    def program(*xs):
        out = function(*xs)
        return list(out) if isinstance(out, tuple) else [out]
    graph = trace_closed(program, [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return generate(graph, host_isa()).program.steps


def normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def close(got, want, depth=1, dtype=np.float32):
    eps = float(np.finfo(dtype).eps) if dtype != bfloat16 else 2.0**-8
    scale = np.abs(want).max() + 1
    np.testing.assert_allclose(np.asarray(got).astype(np.float64), want, rtol=0, atol=4 * eps * scale * np.sqrt(depth))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("m,k,n", SIZES)
def test_bias_activation_and_residual_run_in_the_product(rng, m, k, n, dtype):
    x, w, b, z = (normal(rng, *s, dtype=dtype) for s in ((m, k), (k, n), (n,), (m, n)))

    def layer(x, w, b, z):
        return jnp.maximum(x @ w + b, 0) * 0.5 + z
    [step] = steps_of(layer, x, w, b, z)
    assert isinstance(step, NativeStep) and step.epilogue is not None
    close(tj.jit(layer)(x, w, b, z), np.maximum(x.astype("f8") @ w.astype("f8") + b, 0) * 0.5 + z, k, dtype)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("k", [50, 2000, 70001])
def test_inner_products_are_folds(rng, batch, k):
    x, y = normal(rng, *batch, k), normal(rng, *batch, k)
    inner = lambda x, y: jnp.tanh(jnp.einsum("...k,...k->...", x * 2, y) / 1000)
    assert all(isinstance(step, KernelStep) for step in steps_of(inner, x, y))
    close(tj.jit(inner)(x, y), np.tanh((x.astype("f8") * 2 * y).sum(-1) / 1000), k)


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
@pytest.mark.parametrize("m,n", [(9, 21), (1, 40), (40, 1)])
def test_batches_of_products(rng, batch, m, n):
    x, w, b = normal(rng, *batch, m, 65), normal(rng, *batch, 65, n), normal(rng, *batch, m, n)
    layer = lambda x, w, b: jnp.tanh(x @ w) - b
    assert [type(s) for s in steps_of(layer, x, w, b)] == [NativeStep]
    close(tj.jit(layer)(x, w, b), np.tanh(x.astype("f8") @ w) - b, 65)


def test_conversion_of_the_result(rng):
    x, w = normal(rng, 40, 300).astype(bfloat16), normal(rng, 300, 50).astype(bfloat16)
    layer = lambda x, w: jnp.maximum(x @ w, 0)
    assert any(isinstance(s, NativeStep) and s.epilogue is not None for s in steps_of(layer, x, w))
    close(tj.jit(layer)(x, w), np.maximum(x.astype("f8") @ w.astype("f8"), 0), 300, bfloat16)


def test_the_product_itself_and_two_kinds_of_result(rng):
    x, w, b = normal(rng, 37, 50), normal(rng, 50, 41), normal(rng, 41)

    def layer(x, w, b):
        c = x @ w
        return c, c + b > 0, jnp.sin(c), c.sum(0)
    c, positive, sine, sums = tj.jit(layer)(x, w, b)
    want = x.astype("f8") @ w
    close(c, want, 50)
    assert np.mean(np.asarray(positive) == (want + b > 0)) > 0.999
    close(sine, np.sin(want), 50)
    close(sums, want.sum(0), 50 * 37)


def test_later_readers_of_the_product_still_find_it(rng):
    x, w = normal(rng, 64, 64), normal(rng, 64, 64)

    def layer(x, w):
        c = x @ w
        return jnp.exp(-c * c) @ w + c.T
    want = x.astype("f8") @ w
    close(tj.jit(layer)(x, w), np.exp(-want * want) @ w + want.T, 64)


def test_two_products_and_one_sum(rng):
    x, h, u, w = normal(rng, 32, 60), normal(rng, 32, 128), normal(rng, 60, 100), normal(rng, 128, 100)
    cell = lambda x, h, u, w: jnp.tanh(x @ u + h @ w)
    assert not any(isinstance(s, KernelStep) for s in steps_of(cell, x, h, u, w))
    close(tj.jit(cell)(x, h, u, w), np.tanh(x.astype("f8") @ u + h.astype("f8") @ w), 128)


def test_a_transposed_reader_waits(rng):
    x, w, z = normal(rng, 70, 30), normal(rng, 30, 70), normal(rng, 70, 70)
    layer = lambda x, w, z: (x @ w).T * z
    close(tj.jit(layer)(x, w, z), (x.astype("f8") @ w).T * z, 30)


def test_a_reader_of_one_row_per_batch_entry(rng):
    x, w, b = normal(rng, 4, 6, 50), normal(rng, 50, 40), normal(rng, 4, 1, 40)
    layer = lambda x, w, b: (x @ w + b) * jnp.arange(6.0)[:, None]
    close(tj.jit(layer)(x, w, b), (x.astype("f8") @ w + b) * np.arange(6.0)[:, None], 50)


def test_donated_weights_are_updated_from_the_product(rng):
    w, x, g = normal(rng, 96, 80), normal(rng, 64, 96), normal(rng, 64, 80)
    update = tj.jit(lambda w, x, g: w - 0.1 * (x.T @ g), donate_argnums=0)
    want = w.astype("f8")
    held = jnp.asarray(w)
    for _ in range(3):
        held = update(held, x, g)
        want = want - 0.1 * (x.T.astype("f8") @ g)
    close(held, want, 64)


def test_results_may_take_each_others_donated_memory(rng):
    p, m, g = (normal(rng, 256) for _ in range(3))

    def step(state, g):
        m, p = state
        m = 0.9 * m + g
        return p - 0.1 * m, m
    got = tj.jit(step, donate_argnums=0)((jnp.asarray(m), jnp.asarray(p)), g)
    want_m = 0.9 * m.astype("f8") + g
    close(got[1], want_m)
    close(got[0], p - 0.1 * want_m)


def test_a_weight_that_the_product_reads_is_not_overwritten_early(rng):
    w, x = normal(rng, 64, 64), normal(rng, 64, 64)
    update = tj.jit(lambda w, x: w - 0.1 * (x @ w), donate_argnums=0)
    close(update(jnp.asarray(w), x), w - 0.1 * (x.astype("f8") @ w), 64)


@pytest.mark.parametrize("layout", [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")], ids=["features last", "features first"])
@pytest.mark.parametrize("stride,dilation", [(1, 1), (2, 1), (1, 2)])
def test_convolution_with_bias_and_activation(rng, layout, stride, dilation):
    x, w, b = normal(rng, 2, 9, 11, 5), normal(rng, 3, 3, 5, 24), normal(rng, 24)
    plain = lambda x, w: lax.conv_general_dilated(x, w, (stride, stride), ((1, 1), (1, 1)), lhs_dilation=(dilation, dilation),
                                                  dimension_numbers=layout)
    if layout[0] == "NCHW":
        x, w, b = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), b[:, None, None]
    got = tj.jit(lambda x, w, b: jnp.maximum(plain(x, w) + b, 0))(x, w, b)
    close(got, np.maximum(np.asarray(plain(x.astype("f8"), w.astype("f8"))) + b, 0), 45)


def test_gradient_of_a_layer_leaves_no_transposing_kernel(rng):
    x, w, b = normal(rng, 32, 48), normal(rng, 48, 40), normal(rng, 40)
    loss = lambda w, b, x: (jnp.tanh(x @ w + b) ** 2).sum()
    dw, db = tj.jit(tj.grad(loss, (0, 1)))(w, b, x)
    t = np.tanh(x.astype("f8") @ w + b)
    dz = 2 * t * (1 - t * t)
    close(dw, x.T @ dz, 32)
    close(db, dz.sum(0), 32)
    products = [s for s in steps_of(tj.grad(loss, (0, 1)), w, b, x) if isinstance(s, NativeStep)]
    assert {s.eqn.outputs[0].type.shape for s in products} == {(32, 40), (48, 40)}


def test_epilogues_do_not_depend_on_threads(rng):
    x, w, b = normal(rng, 300, 400), normal(rng, 400, 200), normal(rng, 200)
    layer = tj.jit(lambda x, w, b: jnp.tanh(x @ w + b))
    with threads(1):
        alone = np.asarray(layer(x, w, b)).tobytes()
    assert alone == np.asarray(layer(x, w, b)).tobytes()


@pytest.mark.parametrize("shape", [(2000, 1030), (4100, 600), (8, 300, 700), (2100, 1024)])
def test_folds_of_wide_columns(rng, shape):
    x = normal(rng, *shape)
    axes = tuple(range(len(shape) - 1))
    want = x.astype("f8")

    def moments(x):
        mean = x.mean(axes)
        return mean, ((x - mean) ** 2).mean(axes), jnp.sqrt(x.var(axes)) + mean
    mean, var, both = tj.jit(moments)(x)
    np.testing.assert_allclose(mean, want.mean(axes), atol=1e-6)
    np.testing.assert_allclose(var, want.var(axes), rtol=1e-5)
    np.testing.assert_allclose(both, want.std(axes) + want.mean(axes), rtol=1e-5, atol=1e-6)
    total, top = tj.jit(lambda x: (x.sum(axes), x.max(axes)))(x)
    np.testing.assert_allclose(total, want.sum(axes), atol=1e-3)
    assert np.array_equal(top, x.max(axes))


def test_many_rows_of_few_columns_are_shared_out(rng):
    x = normal(rng, 60000, 70)
    np.testing.assert_allclose(tj.jit(lambda x: x.sum(0))(x), x.astype("f8").sum(0), atol=2e-3)


@pytest.mark.parametrize("shape", [(8_400_003,), (2100, 4000), (2100, 4001)], ids=str)
def test_results_larger_than_the_caches(rng, shape):
    x, y = (rng.random(shape, dtype=np.float32) for _ in range(2))
    total, product = tj.jit(lambda x, y: (x + y, x * y))(x, y)
    assert np.array_equal(total, x + y) and np.array_equal(product, x * y)


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_a_large_result_in_memory_of_any_alignment(rng, offset):
    memory = np.zeros(8_400_016, np.float32)
    x = memory[offset:offset + 8_400_000]
    x[:] = np.arange(x.size) % 1000
    got = tj.jit(lambda x: x + 1, donate_argnums=0)(jnp.asarray(x))
    assert np.array_equal(got, np.arange(x.size) % 1000 + 1)


def test_equal_kernels_of_deep_programs_are_generated_once(rng):
    x, w = normal(rng, 16, 32), normal(rng, 32, 32)

    def deep(x, w):
        for k in range(6):
            x = jnp.tanh(x @ w + 1.0) if k % 2 else jnp.sin(x @ w + 1.0)
        return x
    graph = trace_closed(lambda *xs: [deep(*xs)], [type_of(x), type_of(w)])
    for _, change in PASSES:
        graph = change(graph)
    names = [text for text in generate(graph, host_isa()).modules if "@tj_kernel_" in text and "@tj_entry_" not in text]
    assert len(names) == 2
    want = x.astype("f8")
    for k in range(6):
        want = (np.tanh if k % 2 else np.sin)(want @ w + 1.0)
    np.testing.assert_allclose(tj.jit(deep)(x, w), want, atol=0.02)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "c8", "bool"])
@pytest.mark.parametrize("shape", [(5, 7), (33, 40), (3, 128), (1, 9)])
def test_axes_that_are_repeated_tiled_and_reversed(rng, shape, dtype):
    x = (rng.normal(size=shape) * 10).astype(dtype)
    for by, axis in [(2, 0), (4, 1), (5, 1), (17, 1), (8, 0)]:
        found = tj.jit(lambda x: jnp.tile(jnp.repeat(x, by, axis), (2, 3)))(x)
        np.testing.assert_array_equal(found, np.tile(np.repeat(x, by, axis), (2, 3)))
    for turned in (lambda x: x[::-1, ::-1], lambda x: x[:, ::-1], lambda x: x[::-1, -2::-2], lambda x: x[::-1].T.reshape(shape)):
        np.testing.assert_array_equal(tj.jit(turned)(x), turned(x))
    joined = tj.jit(lambda x: jnp.concatenate([x[:, ::-1], x], 1)[:, ::-1])(x)      # reversed reads in parts
    np.testing.assert_array_equal(joined, np.concatenate([x[:, ::-1], x], 1)[:, ::-1])


@pytest.mark.parametrize("shape", [(4099, 3), (40000, 8), (2000, 20), (9001, 130), (33, 40000), (3, 5000, 100), (8000, 300)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "c8"])
def test_weighted_folds_of_columns(rng, shape, dtype):
    x, w = (normal(rng, *s).astype(dtype) if dtype[0] != "i" else rng.integers(-9, 9, s).astype(dtype)
            for s in (shape, shape[-2:-1]))
    total, weighted = tj.jit(lambda x, w: (x.sum(-2), (x * w[:, None]).sum(-2)))(x, w)
    want = x.astype("c16" if dtype == "c8" else "f8")
    np.testing.assert_allclose(total, want.sum(-2), rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(weighted, (want * w[:, None]).sum(-2), rtol=1e-5, atol=2e-3)
    if dtype != "c8":
        top, where = tj.jit(lambda x: (x.max(-2), x.argmax(-2)))(x)
        assert np.array_equal(top, x.max(-2)) and np.array_equal(where, x.argmax(-2))


def test_column_folds_do_not_depend_on_threads(rng):
    f = tj.jit(lambda x: (x.sum(0), (x * x[:, :1]).sum(0), x.argmin(0)))
    for shape in ((30000, 9), (9001, 130), (2100, 1030)):
        x = normal(rng, *shape)
        together = [np.asarray(v).tobytes() for v in f(x)]
        with threads(1):
            assert together == [np.asarray(v).tobytes() for v in f(x)]


def test_the_axis_of_most_memory_is_the_vector():
    """Weights along the folded axis do not make its far neighbours one vector."""
    x, w = np.ones((5000, 64), "f4"), np.ones(5000, "f4")
    for f, along in ((lambda x, w: (x * w[:, None]).sum(0), False), (lambda x, w: (x.T * w).sum(1), False),
                     (lambda x, w: (x * x[0]).sum(1), True)):
        graph = trace_closed(lambda x, w: [f(x, w)], [type_of(x), type_of(w)])
        assert generate(graph, host_isa()).schedules[-1].along == along


def test_chains_that_were_cut_stay_cut():
    x = np.linspace(-1, 1, 100_001)

    def chain(x):
        y = x
        for _ in range(400):
            y = jnp.tanh(y * 0.5) + x
        return y
    assert len(steps_of(chain, x)) >= 1200 // MOST_MEMBERS
    y = x
    for _ in range(400):
        y = np.tanh(y * 0.5) + x
    np.testing.assert_allclose(tj.jit(chain)(x), y, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("n, m", [(32, 32), (9, 50), (70, 300), (7, 64)])
def test_elementary_functions_of_rows_are_a_kernel_in_vectors(rng, n, m):
    """Unless a full value waits for them, there are few rows, or rows lie side by side in vectors anyway."""
    w, x = normal(rng, n, m), normal(rng, m)
    shift = normal(rng, n)

    def layer(w, x, shift):
        folded = lax.reduce_sum(w * x, (1,))
        return jnp.tanh(folded + shift) * 2, folded
    assert len(steps_of(layer, w, x, shift)) == (2 if n >= 8 else 1)
    want = (w.astype(np.float64) * x).sum(1)
    got, folded = tj.jit(layer)(w, x, shift)
    np.testing.assert_allclose(folded, want, atol=1e-4)
    np.testing.assert_allclose(got, 2 * np.tanh(want + shift), atol=1e-4)
    gated = lambda w: w * lax.expand_dims(jnp.exp(lax.reduce_max(w, (1,))), (1,))
    assert len(steps_of(gated, w)) == 1
    np.testing.assert_allclose(tj.jit(gated)(w), w * np.exp(w.max(1))[:, None], rtol=1e-5)
    assert len(steps_of(lambda w: jnp.exp(lax.reduce_max(w, (0,))), w)) == 1


def test_row_values_that_others_share_stay_in_their_order(rng):
    """Two folds, functions of both, and readers of those in other kernels."""
    def f(w):
        low, high = lax.reduce_min(w, (1,)), lax.reduce_max(w, (1,))
        spread = jnp.log(high - low)
        return spread, jnp.sum(spread), w - lax.expand_dims(low, (1,)), jnp.exp(spread[::-1]) + low
    w = normal(rng, 20, 40)
    low, high = w.min(1), w.max(1)
    spread = np.log(high - low)
    for got, want in zip(tj.jit(f)(w), (spread, spread.sum(), w - low[:, None], np.exp(spread[::-1]) + low)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_vectors_of_long_chains_fill_two_registers(rng):
    """Long elementwise kernels; not short ones, few elements, complex numbers, or what lies apart in memory."""
    chain = lambda x: jnp.exp(jnp.sin(x) * jnp.cos(x))
    register = host_isa().lanes(np.dtype("f4"))

    def lanes(f, x):
        return generate(trace_closed(lambda x: [f(x)], [type_of(x)]), host_isa()).schedules[-1].lanes
    x = normal(rng, 1000)
    assert lanes(chain, x) == 2 * register and lanes(jnp.exp, x) == register
    assert lanes(chain, x[:register]) == register and lanes(lambda x: chain(x[::3]), x) == register
    for size in (1000, 1024, 9_000_017):     # with and without an end; streamed past the cache
        x = normal(rng, size)
        want = np.exp(np.sin(x) * np.cos(x))
        assert np.abs(np.asarray(tj.jit(chain)(x)) - want).max() < 1e-6
        assert np.array_equal(tj.jit(lambda x: chain(x) * (x > 0))(x) == 0, x <= 0)


@pytest.mark.parametrize("shape", [(70, 128), (33, 100), (5, 3, 64), (64,)])
def test_large_results_of_rows_are_streamed(rng, shape, monkeypatch):
    """What a row's later stages read again is kept in the cache; only results go past it."""
    def f(x):
        kept = jnp.exp(x - x.max(-1, keepdims=True))
        y = kept / kept.sum(-1, keepdims=True)
        return y, (y - y.mean(-1, keepdims=True)) * x, x.astype("bfloat16") / x.sum(-1, keepdims=True)
    x = normal(rng, *shape)
    want = [np.asarray(v).tobytes() for v in tj.jit(f)(x)]
    monkeypatch.setattr(schedule, "STREAM_BYTES", 0)
    assert [np.asarray(v).tobytes() for v in tj.jit(lambda x: f(x))(x)] == want
    graph = trace_closed(lambda x: list(f(x)), [type_of(x)])
    assert any(s.streams for s in generate(graph, host_isa()).schedules if s.kernel.fold_axes) == (shape[-1] % 16 == 0)


@pytest.mark.parametrize("shape", [(20000, 256), (4300, 250), (700, 1700)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_long_columns_are_folded_by_one_kernel_and_read_again_by_another(rng, shape, dtype):
    with tj.enable_x64(dtype == np.float64):
        x = normal(rng, *shape, dtype=dtype)
        centred = lambda x: x - x.mean(0)
        assert len(steps_of(centred, x)) == 2
        np.testing.assert_allclose(tj.jit(centred)(x), x - x.mean(0, dtype=np.float64), atol=1e-6)
        softmax = lambda x: jnp.exp(x - x.max(0)) / jnp.exp(x - x.max(0)).sum(0)
        want = np.exp(x - x.max(0), dtype=np.float64)
        np.testing.assert_allclose(tj.jit(softmax)(x), want / want.sum(0), rtol=2e-5)

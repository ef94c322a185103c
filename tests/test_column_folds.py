"""Folds over the rows of a row kernel, in passing: gradients of normalisations, sums of both kinds at once."""
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.steps import KernelStep
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import bfloat16, type_of
from tracejit.runtime.threads import threads
from tracejit.transforms.passes.pipeline import PASSES

SHAPES = [(4096, 256), (7, 100), (1000, 33), (3, 5, 70), (4, 200, 513), (2, 300), (1, 300), (600, 4100), (70, 25), (40, 9000)]


def kernels_of(f, *args):
    graph = trace_closed(lambda *xs: list(f(*xs)), [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return [step for step in generate(graph, host_isa()).program.steps if isinstance(step, KernelStep)]


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)


def layer_norm(x, g, b):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * g + b


def both_ways(x, g, b, ct):
    out, vjp = tj.vjp(layer_norm, x, g, b)
    return out, *vjp(ct)


def expected(x, g, b, ct):
    x, g, b, ct = (np.asarray(a, np.float64) for a in (x, g, b, ct))
    mean, rows = x.mean(-1, keepdims=True), tuple(range(x.ndim - 1))
    r = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)
    h, e = (x - mean) * r, ct * g
    dx = r * (e - e.mean(-1, keepdims=True) - h * (e * h).mean(-1, keepdims=True))
    return h * g + b, dx, (ct * h).sum(rows), ct.sum(rows)


def operands(shape, dtype=np.float32):
    return [normal(*s, dtype=dtype) for s in (shape, shape[-1:], shape[-1:], shape)]


@pytest.mark.parametrize("shape,dtype,eps", [(shape, np.float32, 1e-6) for shape in SHAPES] + [
    (shape, dtype, eps) for shape in SHAPES[1:4] for dtype, eps in ((np.float64, 1e-14), (bfloat16, 3e-2))], ids=str)
def test_layer_normalisation_and_its_gradient(shape, dtype, eps):
    with tj.enable_x64(dtype == np.float64):
        args = operands(shape, dtype)
        for found, want in zip(tj.jit(both_ways)(*args), expected(*args)):
            np.testing.assert_allclose(np.asarray(found, np.float64), want, atol=eps * max(np.abs(want).max(), 1), rtol=0)


@pytest.mark.parametrize("shape", [(4096, 256), (1000, 33), (4, 200, 513)], ids=str)
def test_they_are_one_kernel(shape):
    assert len(kernels_of(both_ways, *operands(shape))) == 1


def test_bits_do_not_depend_on_threads():
    for shape in SHAPES:
        args, found = operands(shape), []
        for n in (1, 2):
            with threads(n):
                found.append([np.asarray(x).tobytes() for x in tj.jit(both_ways)(*args)])
        assert found[0] == found[1], shape


FOLDS = {
    "sums both ways": (lambda x: (x.sum(1), x.sum(0)), lambda x: (x.sum(1), x.sum(0))),
    "extremes": (lambda x: (x.max(1), x.max(0), x.min(0)), lambda x: (x.max(1), x.max(0), x.min(0))),
    "places": (lambda x: (x.sum(1), x.argmax(0)), lambda x: (x.sum(1), x.argmax(0))),
    "of a later stage": (lambda x: (x / x.sum(1, keepdims=True), (x / x.sum(1, keepdims=True)).sum(0)),
                         lambda x: (x / x.sum(1, keepdims=True), (x / x.sum(1, keepdims=True)).sum(0))),
    "read afterwards": (lambda x: (x.sum(1), x + x.sum(0)), lambda x: (x.sum(1), x + x.sum(0))),
    "any and all": (lambda x: (x.sum(1), (x > 0.5).any(0), (x > -3).all(0)), lambda x: (x.sum(1), (x > 0.5).any(0), (x > -3).all(0))),
}


@pytest.mark.parametrize("shape", [(1, 40), (65, 40), (900, 131), (3000, 64), (40, 3001)], ids=str)
@pytest.mark.parametrize("name", FOLDS)
def test_folds_of_both_axes(name, shape):
    f, reference = FOLDS[name]
    x = normal(*shape) + 2
    for found, want in zip(tj.jit(f)(x), reference(x.astype(np.float64))):
        np.testing.assert_allclose(np.asarray(found, np.float64), want, rtol=1e-4, atol=1e-4)


def test_folds_of_other_dtypes():
    for dtype in (np.int32, np.uint8, np.complex64, bool):
        x = np.random.default_rng(1).integers(0, 9, (300, 70)).astype(dtype)
        rows, columns = tj.jit(lambda x: (x.sum(1), x.sum(0)))(x)
        np.testing.assert_allclose(np.asarray(rows), x.astype(rows.dtype).sum(1), rtol=1e-5)
        np.testing.assert_allclose(np.asarray(columns), x.astype(rows.dtype).sum(0), rtol=1e-5)


def test_what_needs_the_sums_of_all_rows_runs_later():
    """The group that folds in passing may be followed by what reads its sums, and by rows that wait for that."""
    x = normal(500, 90)

    def f(x):
        shifted = x - x.mean(1, keepdims=True)
        scale = jnp.abs(shifted).sum(0)
        return (shifted / scale).sum(1), scale
    shifted = (lambda v: v - v.mean(1, keepdims=True))(x.astype(np.float64))
    scale = np.abs(shifted).sum(0)
    for found, want in zip(tj.jit(f)(x), ((shifted / scale).sum(1), scale)):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_batches_and_loops_of_them():
    x, g, b, ct = operands((6, 50, 40))
    many = tj.jit(tj.vmap(both_ways, (0, None, None, 0)))(x, g, b, ct)
    looped = tj.jit(lambda x, g, b, ct: lax.map(lambda pair: both_ways(pair[0], g, b, pair[1]), (x, ct)))(x, g, b, ct)
    for i in range(6):
        for a, c, want in zip(many, looped, expected(x[i], g, b, ct[i])):
            np.testing.assert_allclose(a[i], want, atol=2e-5)
            np.testing.assert_allclose(c[i], want, atol=2e-5)

"""Whole programs on an emulated device: every op's samples, and programs of each kind of kernel, against the ops' NumPy
meaning and against the CPU."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba.cuda")

from device_harness import RUNTIME, agrees, close, f32, launches, on_device, run
from programs import PROGRAMS
from samples import SAMPLES

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, tree
from tracejit.ir.types import bfloat16, type_of
from tracejit.runtime.compile import graph_of_op
from tracejit.tools.fuzz import differs


# What a library of the host does for want of one on the device; documented in docs/gpu.md.
ON_HOST = {"eig", "schur", "hessenberg", "tridiagonal", "tridiagonal_solve", "householder_product", "ormqr"}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_samples(sample):
    args, before = [np.asarray(x) for x in sample.args], RUNTIME.transfers()
    found, _ = run(graph_of_op(sample.op, [type_of(x) for x in args]), args)
    detours = [why for why, n in RUNTIME.transfers().items() if n != before.get(why) and "no routine on the device" in why]
    assert not detours or sample.op.name in ON_HOST or getattr(sample.op, "pivoting", False), "a silent detour is right, and slow"
    with np.errstate(all="ignore"):
        wanted = sample.op.eval(*args)
    for x, y in zip(found, wanted if sample.op.multiple else (wanted,), strict=True):
        close(x, y, 1e4)


ELEMENTWISE = {
    "whole tiles": (lambda x, y: jnp.sin(x) * 2. + y, [f32(2048), f32(2048)]),
    "a tail": (lambda x, y: jnp.exp(x) - y, [f32(1003), f32(1003)]),
    "columns repeat": (lambda x, y: jnp.maximum(x + y, 0.), [f32(20, 64), f32(64)]),
    "rows repeat": (lambda x, y: x * y[:, None], [f32(20, 64), f32(20)]),
    "bfloat16": (lambda x, y: x * y + 1, [f32(333).astype(bfloat16), f32(333).astype(bfloat16)]),
    "float16": (lambda x: jnp.tanh(x), [f32(64).astype(np.float16)]),
    "complex": (lambda x: x * x + 1, [f32(50) + np.complex64(1j) * f32(50)]),
    "bool": (lambda x, y: (x > 0) & y, [f32(500), f32(500) > 0]),
    "several results": (lambda x: (jnp.sin(x), x > 0, x * 1j), [f32(500)]),
    "gather": (lambda x, i: x[i] * 2., [f32(500), np.arange(400, dtype=np.int32)[::-1]]),
    "padding": (lambda x: jnp.pad(x, ((3, 5), (4, 4))) * 2, [f32(30, 24)]),
    "transpose": (lambda x: x.T + 1, [f32(33, 68)]),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_has_the_bits_of_the_cpu(name):
    f, args = ELEMENTWISE[name]
    found, code = on_device(f, *args)
    for x, y in zip(found, tree.leaves(tj.jit(f)(*args)), strict=True):
        np.testing.assert_array_equal(x, np.asarray(y))
    assert launches(code) == 1


FOLDS = {
    "a warp per row": (lambda x: x.sum(1), [f32(37, 64)]),
    "a block per row": (lambda x: x.max(1), [f32(3, 5000)]),
    "odd rows": (lambda x: x.sum(1), [f32(5, 1037)]),
    "argmax": (lambda x: jnp.argmax(x, 1), [f32(6, 300)]),
    "softmax": (tj.nn.softmax, [f32(5, 1024)]),
    "softmax of odd rows": (tj.nn.softmax, [f32(3, 1001)]),
    "softmax in a warp": (tj.nn.softmax, [f32(5, 96)]),
    "moments": (lambda x: (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-3), [f32(4, 512)]),
    "a whole array": (lambda x: x.sum(), [1 + f32(150, 200)]),
    "a whole array in parts": (lambda x: (x * x).mean(), [f32(200, 401)]),
    "columns": (lambda x: x.sum(0), [f32(300, 70)]),
    "softmax of columns": (lambda x: tj.nn.softmax(x, 0), [f32(100, 40)]),
    "moments of columns": (lambda x: (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-3), [f32(130, 37)]),
    "argmax of columns": (lambda x: jnp.argmax(x - x.max(0), 0), [f32(70, 64)]),
    "outer axes": (lambda x: x.max((0, 2)), [f32(7, 30, 9)]),
    "complex": (lambda x: x.sum(1), [f32(6, 200) + np.complex64(1j) * f32(6, 200)]),
    "bool": (lambda x: (x > 2).any(1), [f32(9, 120)]),
    "int8": (lambda x: x.sum(1), [np.arange(600).reshape(6, 100).astype(np.int8)]),
    "nan": (lambda x: (x.max(1), x.min(1)), [np.where(f32(6, 100) > 2, np.float32(np.nan), 1)]),
    "stages and stores": (lambda x: (jnp.exp(x).sum(1), jnp.exp(x).max(1), jnp.exp(x) * 2), [f32(6, 256)]),
    "nothing": (lambda x: x.sum(1), [f32(6, 0)]),
    "stores of all widths": (lambda x: (jnp.tanh(x.astype("bfloat16")), jnp.sin(x.astype("float64")), x.max(1), (x > 0).astype("int8")),
                             [f32(9, 101)]),
    "loads of all widths": (lambda x, y, z, b: (x + y + z + b).sum(1), [f32(9, 101).astype(np.float64), f32(9, 101).astype(bfloat16),
                                                                       f32(9, 101), f32(9, 101) > 0]),
    "stores of all widths, even": (lambda x: (jnp.tanh(x.astype("float16")), x.astype("complex128"), x.max(1)), [f32(5, 64)]),
}


@pytest.mark.parametrize("name", FOLDS)
def test_folds(name):
    f, args = FOLDS[name]
    agrees(f, *args)


@pytest.mark.parametrize("shift", [4, 8])
def test_memory_that_is_not_aligned(shift):
    """Views of other libraries' arrays, and the slices of a loop, begin anywhere."""
    agrees(lambda x, y: x * 2 + y, f32(1000), f32(1000), shift=shift)
    agrees(tj.nn.softmax, f32(3, 64), shift=shift)


def test_folds_have_the_same_bits_each_time():
    x = f32(40_000)
    first, _ = on_device(lambda x: x.sum(), x)
    again, _ = on_device(lambda x: x.sum(), x)
    assert first[0].tobytes() == again[0].tobytes()


# --- loops and branches

def lorenz(s):
    x, y, z = s
    return jnp.stack([10. * (y - x), x * (28. - z) - y, x * y - 8 / 3 * z])


def midpoint(s, _):
    s = s + .01 * lorenz(s + .005 * lorenz(s))
    return s, s


def newton(x):
    return lax.while_loop(lambda s: jnp.abs(s * s - 2.) > 1e-5, lambda s: s - (s * s - 2.) / (2 * s), x)


def trained(w, x):
    return lax.fori_loop(0, 5, lambda i, s: jnp.tanh(s * w[0] + w[1]), x).sum()


def recurrent(w, x):
    return lax.scan(lambda h, v: (jnp.tanh(h @ w + v),) * 2, jnp.zeros(40), x)[1]


def test_an_ensemble_is_one_kernel():
    code = agrees(tj.vmap(lambda s: lax.scan(midpoint, s, None, 4)[0]), f32(40, 3))
    assert launches(code) == 1


LOOPS = {
    "ensemble, stacked": (tj.vmap(lambda s: lax.scan(midpoint, s, None, 4)[1]), [f32(20, 3)]),
    "ensemble, gradient": (tj.grad(lambda s: tj.vmap(lambda s: lax.scan(midpoint, s, None, 4)[0])(s).sum()), [f32(20, 3)]),
    "sums over lanes": (tj.grad(trained), [f32(2), f32(50)]),
    "while": (newton, [np.float32(3)]),
    "while by lanes": (tj.vmap(newton), [abs(f32(30)) + np.float32(.5)]),
    "tapes": (tj.grad(lambda x: lax.fori_loop(0, lax.convert_element_type(x, np.int32), lambda i, s: jnp.sin(s) * x, x)),
              [np.float32(3.4)]),
    "recurrent": (recurrent, [f32(40, 40) * .1, f32(3, 40)]),
    "recurrent, gradient": (tj.grad(lambda w, x: recurrent(w, x).sum()), [f32(40, 40) * .1, f32(3, 40)]),
    "branch": (lambda p, x: lax.cond(p > 0, lambda x: jnp.sin(x) @ x, lambda x: x @ x * 2, x), [np.int32(1), f32(20, 20)]),
    "choice by lanes": (tj.vmap(lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.exp], x)), [np.int32([0, 1, 2, 1]), f32(4, 3)]),
    "in place": (lambda x: lax.fori_loop(0, 3, lambda i, x: x.at[i].set(x[i - 1] * 2.), x), [f32(3000)]),
    "from the host": (lambda x: lax.while_loop(lambda s: s.sum() < 1e3, lambda s: jnp.sort(s) * 2., x), [abs(f32(20))]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name):
    f, args = LOOPS[name]
    agrees(f, *args, ulps=2000)


def test_training_step():
    def loss(w, x, y):
        return ((jnp.maximum(x @ w[0], 0.) @ w[1] - y)**2).mean()
    agrees(tj.grad(loss), [f32(20, 32) * .2, f32(32, 10) * .2], f32(16, 20), f32(16, 10), ulps=1e4)


def test_products_with_epilogues():
    """The library adds the bias and takes what is positive, unless the product itself is needed too."""
    x, w, b = f32(20, 30), f32(30, 24), f32(24)
    code = agrees(lambda x, w, b: jnp.maximum(x @ w + b, 0.), x, w, b, ulps=2000)
    assert launches(code) == 0 and len(code.block.commands) == 1
    assert launches(agrees(lambda x, w: jnp.maximum(x @ w, 0.), x, w, ulps=2000)) == 0
    assert launches(agrees(lambda x, w, b: (x @ w, x @ w + b), x, w, b, ulps=2000)) == 1
    assert launches(agrees(lambda x, w, b: jnp.sin(x @ w + b), x, w, b, ulps=2000)) == 1


def test_products_of_halves():
    x, y = f32(20, 30).astype(bfloat16), f32(30, 24).astype(bfloat16)
    found, _ = on_device(lambda x, y: (x @ y, lax.dot(x, y, preferred_element_type=np.float32)), x, y)
    exact = x.astype(np.float64) @ y.astype(np.float64)
    assert [v.dtype for v in found] == [bfloat16, np.float32]
    np.testing.assert_allclose(found[0].astype(np.float64), exact, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found[1], exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_zoo(program):
    found, _ = run(program.graph, program.inputs)
    with np.errstate(all="ignore"):
        assert differs(found, program.graph, program.inputs) is None


def test_random_bits_are_those_of_the_cpu():
    found, _ = on_device(lambda k: tj.random.bits(tj.random.key(3), (50,)) + k, np.uint32(0))
    np.testing.assert_array_equal(found[0], np.asarray(tj.random.bits(tj.random.key(3), (50,))))


def test_running_folds_of_long_axes():
    """Cut into parts, and the parts' totals too."""
    agrees(lambda x: lax.cumsum(x, 0), f32(20_000), ulps=1e4)
    agrees(lambda x: (lax.cummax(x, 0, reverse=True), lax.cumlogsumexp(x, 0), lax.cumprod(x, 0)), f32(300, 3), ulps=1e4)
    agrees(lambda x: lax.cumsum(x, 1, reverse=True), np.arange(2 * 1000 * 3, dtype=np.int32).reshape(2, 1000, 3))


MANY = np.random.default_rng(0).integers(-2, 11, 2000).astype(np.int32)
ONE = np.full(2000, 3, np.int32)
UPDATES = {
    "rows": (lambda x, i, u: x.at[i].add(u), [f32(9, 3), MANY, f32(2000, 3)]),
    "one element": (lambda x, i, u: x.at[i].add(u), [f32(9), ONE, f32(2000)]),
    "each element once": (lambda x, i, u: x.at[i].add(u), [f32(2000), np.arange(2000, dtype=np.int32)[::-1], f32(2000)]),
    "columns": (lambda x, i, u: x.at[:, i].add(u), [f32(3, 9), MANY, f32(3, 2000)]),
    "pairs": (lambda x, i, u: x.at[i, i[::-1]].add(u), [f32(9, 10), MANY, f32(2000)]),
    "complex": (lambda x, i, u: x.at[i].add(u), [np.zeros(9, np.complex64), MANY, f32(2000) + np.complex64(1j) * f32(2000)]),
    "float64": (lambda x, i, u: x.at[i].add(u), [np.zeros(9), MANY, f32(2000).astype(np.float64)]),
    "integers": (lambda x, i, u: x.at[i].add(u), [np.zeros(9, np.int64), MANY, np.arange(2000)]),
    "batched": (tj.vmap(lambda x, i, u: x.at[i].add(u)), [f32(2, 9), MANY.reshape(2, 1000), f32(2, 1000)]),
    "batched updates": (tj.vmap(lambda x, i, u: x.at[i].add(u), (None, None, 0)), [f32(9), MANY[:500], f32(3, 500)]),
    "windows that overlap": (tj.vmap(lambda i, u: lax.dynamic_update_slice(jnp.zeros(20), u, (i,))), [MANY[:9], f32(9, 4)]),
    "gradient of reading": (tj.grad(lambda x, i, w: (x[i] * w).sum()), [f32(9, 5), MANY, f32(2000, 5)]),
    "gradient of windows": (tj.grad(lambda x, i, w: (tj.vmap(lambda k: lax.dynamic_slice(x, (k,), (4,)))(i) * w).sum()),
                            [f32(30), MANY[:300], f32(300, 4)]),
    "segment sums": (lambda u, i: tj.ops.segment_sum(u, i, 7), [f32(1500, 2), MANY[:1500]]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_sums_of_many_updates(name):
    """Several threads add to one element, in an order that is always the same."""
    f, args = UPDATES[name]
    code = agrees(f, *args, ulps=3e4)
    assert "atomic_add_f" not in "".join(source.text for source in code.sources)


def test_sums_of_many_updates_do_not_depend_on_what_others_add():
    """nan and infinity stay where they fall; sums are of like accuracy as in order."""
    u, i = f32(3000), np.random.default_rng(1).integers(0, 40, 3000).astype(np.int32)
    u[i == 7] = np.nan
    u[np.flatnonzero(i == 9)[5]] = np.inf
    (found,), _ = on_device(lambda x, i, u: x.at[i].add(u), np.zeros(40, "f4"), i, u)
    exact = np.zeros(40)
    np.add.at(exact, i, u.astype(np.float64))
    assert np.array_equal(np.isnan(found), np.arange(40) == 7) and np.isinf(found[9])
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_sums_of_many_halves_are_made_in_32_bits():
    u, i = (1 + abs(f32(4000))).astype(bfloat16), np.zeros(4000, np.int32)
    (found,), _ = on_device(lambda x, i, u: x.at[i].add(u), np.zeros(2, bfloat16), i, u)
    np.testing.assert_allclose(float(found[0]), u.astype(np.float64).sum(), rtol=2**-8)


def test_scatter_adds_in_order():
    x, where = f32(7, 5), np.int32([1, 3, 1, 1, 6])
    agrees(lambda x, i, u: x.at[i].add(u), x, where, f32(5, 5))
    agrees(lambda x, i, u: x.at[i].set(u), x, where, f32(5, 5))


def test_callbacks_run_on_the_host():
    seen = []
    f = lambda x: tj.pure_callback(lambda v: seen.append(v) or v + 1, type_of(x), x * 2)
    found, _ = on_device(f, f32(4))
    assert np.array_equal(found[0], np.asarray(seen[0]) + 1)

"""Loops without a carry: their trips run side by side, and compute what they do one after another."""
from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import scipy.ndimage

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu import trips
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.steps import ControlStep
from tracejit.ir.trace import trace
from tracejit.ir.types import type_of
from tracejit.runtime.threads import threads
from tracejit.transforms.passes.pipeline import PASSES

rng = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def loops_of(f, *args) -> list[ControlStep]:
    graph, _ = trace(lambda *xs: tj.tree_util.tree_leaves(f(*xs)), [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return [step for step in generate(graph, host_isa()).program.steps if isinstance(step, ControlStep)]


def mapped(body):
    return lambda *args: lax.map(lambda xs: body(*xs), args)


A, B, W = normal(7, 70, 90), normal(7, 90, 64), normal(64, 64)
ONE_MORE, IMAGES = normal(8, 50, 60, 40), normal(5, 1, 3, 30, 40)


def nested(x):
    return lax.map(lambda rows: lax.map(lambda r: jnp.tanh(r @ r.T).sum(0), rows), x)


def backwards(a, b):
    return lax.scan(lambda _, ab: (None, (ab[0] @ ab[1], jnp.exp(ab[0]).sum())), None, (a, b), reverse=True)[1]


def with_a_loop_inside(a, b):
    return lax.map(lambda ab: lax.fori_loop(0, 3, lambda i, y: jnp.tanh(y @ W), ab[0] @ ab[1]), (a, b))


# each with what NumPy makes of it
PROGRAMS = {
    "products": (mapped(lambda a, b: jnp.tanh(a @ b)), (A, B), lambda: np.tanh(A @ B)),
    "what all trips read": (lambda a, b, w: lax.map(lambda ab: ab[0] @ ab[1] @ w, (a, b)), (A, B, W), lambda: A @ B @ W),
    "several results, from the end": (backwards, (A, B), lambda: (A @ B, np.exp(A).sum((1, 2)))),
    "a loop in a loop": (nested, (ONE_MORE,), lambda: np.tanh(ONE_MORE @ ONE_MORE.swapaxes(-1, -2)).sum(-2)),
    "a carry inside": (with_a_loop_inside, (A, B), lambda: np.tanh(np.tanh(np.tanh(A @ B @ W) @ W) @ W)),
    "two trips": (mapped(lambda a, b: a @ b), (A[:2], B[:2]), lambda: A[:2] @ B[:2]),
    "float64": (mapped(lambda a: a @ a.T), (A.astype(float),), lambda: np.einsum("tij,tkj->tik", A.astype(float), A.astype(float))),
    "convolutions": (mapped(lambda x: lax.conv(x, jnp.ones((8, 3, 3, 3), x.dtype), (1, 1), "SAME")), (IMAGES,),
                     lambda: np.repeat(scipy.ndimage.convolve(IMAGES.sum(2, keepdims=True), np.ones((1, 1, 1, 3, 3)), mode="constant"), 8, 2)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_trips_at_once(name):
    f, args, wanted = PROGRAMS[name]
    assert [loop.shares for loop in loops_of(f, *args)] == [len(args[0])]
    compiled, found = tj.jit(f), []
    for n in (1, 2, 3, 16):
        with threads(n):
            found.append([np.asarray(x).copy() for x in tj.tree_util.tree_leaves(compiled(*args))])
    for x, y in zip(found[0], tj.tree_util.tree_leaves(wanted()), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)
    for others in found[1:]:
        for x, y in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(x, y)


def test_derivatives_and_lanes():
    def loss(a, b):
        return (mapped(lambda a, b: jnp.tanh(a @ b))(a, b) ** 2).sum()
    a, b = A.astype(float), B.astype(float)
    y = np.tanh(a @ b)
    ct = 2 * y * (1 - y ** 2)
    found = tj.jit(tj.grad(loss, (0, 1)))(a, b)
    np.testing.assert_allclose(found[0], ct @ b.swapaxes(-1, -2), rtol=1e-10)
    np.testing.assert_allclose(found[1], a.swapaxes(-1, -2) @ ct, rtol=1e-10)
    lanes = tj.jit(tj.vmap(mapped(lambda a, b: a @ b), (1, 1), 1))(np.stack([A, 2 * A], 1), np.stack([B, B], 1))
    np.testing.assert_allclose(lanes, np.stack([A @ B, 2 * A @ B], 1), rtol=2e-4, atol=2e-5)


def carried(a, b):
    return lax.scan(lambda c, ab: (c + 1, ab[0] @ ab[1] + c), jnp.zeros(()), (a, b))


def called_back(a):
    return lax.map(lambda x: tj.pure_callback(np.cosh, tj.ShapeDtypeStruct(x.shape, x.dtype), x @ x.T @ x), a)


@pytest.mark.parametrize("f, args", [
    (carried, (A, B)), (called_back, (A,)), (mapped(lambda x: x[:4, :4] @ x[:4, :4]), (A,)), (mapped(jnp.linalg.qr), (A,)),
], ids=["a carry", "calls of Python", "little to do", "a library"])
def test_one_after_another(f, args):
    assert all(loop.shares == 1 for loop in loops_of(f, *args))


def test_scratch_memory_of_all_trips_is_bounded(monkeypatch):
    f, args = mapped(lambda a, b: jnp.tanh(jnp.tanh(a @ b) @ W)), (A, B)
    each = loops_of(f, *args)[0].region.nbytes // 7
    monkeypatch.setattr(trips, "SHARES_BYTES", 3 * each + each // 2)
    loop, = loops_of(f, *args)
    assert (loop.shares, loop.region.nbytes) == (3, 3 * each)
    monkeypatch.setattr(trips, "SHARES_BYTES", each)
    assert loops_of(f, *args)[0].shares == 1


def test_after_an_interruption_that_is_ignored_no_trip_is_missing():
    x = normal(64, 500, 500) / 500
    f = tj.jit(mapped(lambda x: x @ x @ x @ x))
    wanted, seen = np.asarray(f(x)).copy(), []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        while len(seen) < 2:
            timer = threading.Timer(.01, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            np.testing.assert_array_equal(f(x), wanted)
            timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interruption_leaves_the_loop():
    x = normal(64, 500, 500) / 500
    f = tj.jit(mapped(lambda x: lax.fori_loop(0, 50, lambda i, y: y @ x, x)))
    f(x[:, :1, :1])
    threading.Timer(.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(50):
            f(x)

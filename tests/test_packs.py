"""Loops in registers whose elements are computed side by side in vectors: the same bits as one by one."""
from __future__ import annotations

import numpy as np
import pytest
from test_loops import loops_of

import tracejit as tj
import tracejit.codegen.cpu.program as cpu_program
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.contraction import contract
from tracejit.codegen.lower import subgraphs_of
from tracejit.codegen.packs import PICK, packed, trip_time
from tracejit.codegen.registers import register_loop
from tracejit.ir.graph import evaluate
from tracejit.ir.trace import trace
from tracejit.ir.types import type_of

LANES = lambda dtype: max(1, 64 // dtype.itemsize)


def affine(n, dtype):
    """Products with a matrix, what it reads and what it stacks, for any number of elements."""
    rng = np.random.default_rng(n)
    w, xs = (rng.uniform(-1, 1, s) if dtype.kind == "f" else rng.integers(-3, 4, s) for s in ((n, n), (6, n)))

    def f(w, xs):
        def step(c, x):
            y = (w @ c + x) / n if dtype.kind == "f" else w @ c + x
            return y, (y * x)[::-1]
        return lax.scan(step, xs[0], xs)
    return f, [w.astype(dtype), xs.astype(dtype)]


def filtered():
    """A Kalman filter: matrices of several shapes, a small inverse."""
    rng = np.random.default_rng(0)
    F, H, zs = np.eye(4) + .1 * np.eye(4, k=2), np.eye(2, 4), rng.normal(size=(9, 2))

    def f(F, H, zs):
        def step(c, z):
            x, P = c
            x, P = F @ x, F @ P @ F.T + .01 * jnp.eye(4)
            S = H @ P @ H.T + .5 * jnp.eye(2)
            inverse = jnp.array([[S[1, 1], -S[0, 1]], [-S[1, 0], S[0, 0]]]) / (S[0, 0] * S[1, 1] - S[0, 1] * S[1, 0])
            K = P @ H.T @ inverse
            return (x + K @ (z - H @ x), P - K @ H @ P), x
        return lax.scan(step, (jnp.zeros(4), jnp.eye(4)), zs)
    return f, [a.astype(np.float32) for a in (F, H, zs)]


def best_path():
    """Maxima and where they are, a column chosen at run time."""
    rng = np.random.default_rng(0)
    A, E, seen = rng.normal(size=(7, 7)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32), rng.integers(0, 3, 20)

    def f(A, E, seen):
        def step(d, o):
            v = d[:, None] + A
            return jnp.max(v, 0) + E[:, o], jnp.argmax(v, 0)
        return lax.scan(step, jnp.zeros(7), seen)
    return f, [A, E, seen.astype(np.int32)]


def gated():
    """Elementary functions of slices, choices, several arrays of carries, one of them a truth value for each element."""
    rng = np.random.default_rng(0)
    w, xs = rng.normal(size=(4, 16)).astype(np.float32), rng.normal(size=(11, 16)).astype(np.float32)

    def f(w, xs):
        def step(c, x):
            h, c, above = c
            i, g, o, q = jnp.split(h @ w + x, 4)
            c = jnp.where(above, .5 * c, c / (1 + jnp.exp(-g)) + jnp.tanh(q) / (1 + jnp.exp(-i)))
            h = jnp.tanh(c) * jnp.sqrt(jnp.abs(o))
            return (h, c, jnp.abs(h) > .3), (h, jnp.sum(c))
        return lax.scan(step, (jnp.zeros(4), jnp.zeros(4), jnp.zeros(4, bool)), xs)
    return f, [w, xs]


def converging():
    """A condition, and integers that are divided."""
    A = (np.eye(6) * 3 + np.arange(36).reshape(6, 6) % 5).astype(np.float64)

    def f(A):
        def step(c):
            v, k, i = c
            w = A @ v
            return w / jnp.sqrt(jnp.sum(w * w)), k // 2 + k % 3 + np.arange(6, dtype=np.int32), i + 1
        return lax.while_loop(lambda c: (jnp.sum((A @ c[0] - c[0]) ** 2) > 1) & (c[2] < 9), step, (np.ones(6), np.arange(6, dtype=np.int32) * 7, 0))
    return f, [A]


PROGRAMS = {"kalman": filtered(), "viterbi": best_path(), "gates": gated(), "while": converging(),
            **{f"affine {n} {t}": affine(n, np.dtype(t)) for n in (2, 3, 4, 5, 9) for t in ("f4", "f8", "i4", "u1")}}


def flat(f):
    return lambda *args: tj.tree.leaves(f(*args))


def run(f, args, monkeypatch, pack):
    """Compiled anew: element by element, or in vectors wherever that is possible."""
    def change(loop, lanes):
        with pytest.MonkeyPatch.context() as always:
            always.setattr("tracejit.codegen.packs.WORTH", 1e9)
            return packed(loop, lanes) if pack else loop
    monkeypatch.setattr(cpu_program, "packed", change)
    return [np.asarray(x) for x in tj.jit(lambda *args: f(*args))(*args)]


@pytest.fixture(autouse=True)
def no_cache():
    before = tj.config.enable_compilation_cache
    tj.config.update("enable_compilation_cache", False)
    yield
    tj.config.update("enable_compilation_cache", before)


@pytest.mark.parametrize("name", PROGRAMS)
def test_vectors_give_the_bits_of_scalars(name, monkeypatch):
    f, args = PROGRAMS[name]
    f = flat(f)
    graph, captured = trace(f, [type_of(x) for x in args])
    one_by_one, in_vectors = run(f, args, monkeypatch, False), run(f, args, monkeypatch, True)
    for a, b, want in zip(one_by_one, in_vectors, evaluate(graph, [*captured, *args])):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(b, want, rtol=2e-5 if a.dtype == np.float32 else 1e-12, atol=1e-5)


@pytest.mark.parametrize("name", ["kalman", "gates", "while", "affine 3 f4", "affine 9 f8"])
def test_gradients_too(name, monkeypatch):
    f, args = PROGRAMS[name]

    def slope(*args):
        return tj.grad(lambda *args: sum(jnp.sum(jnp.sin(x)) for x in tj.tree.leaves(f(*args)) if x.dtype.kind == "f"), 0)(*args)
    one_by_one, in_vectors = run(flat(slope), args, monkeypatch, False), run(flat(slope), args, monkeypatch, True)
    np.testing.assert_array_equal(one_by_one[0], in_vectors[0])
    assert np.abs(in_vectors[0]).max() > 0


def test_vectors_are_taken_where_they_save_time():
    def loop_of(f, *args):
        [step] = loops_of(lambda *args: jnp.concatenate([jnp.ravel(x).astype(float) for x in flat(f)(*args)]), *args)
        return contract(register_loop(step.eqn, subgraphs_of(step.eqn.op)))
    for name in ("kalman", "viterbi", "gates", "affine 4 f4", "affine 9 f4"):
        loop = loop_of(PROGRAMS[name][0], *PROGRAMS[name][1])
        found = packed(loop, LANES)
        assert trip_time(found) < trip_time(loop) and any(c.widths != [1] * len(c.points) for c in found.carried)

    w = PROGRAMS["affine 3 f8"][1][0]
    powers = lambda w: [lax.scan(lambda c, _: (w @ c + 1, None), w, None, length=99)[0]]
    for loop in (loop_of(PROGRAMS["affine 5 f8"][0], *PROGRAMS["affine 5 f8"][1]), loop_of(powers, w)):
        assert packed(loop, LANES) is loop      # a long vector that is half idle costs more than it saves

    def lorenz(s, _):
        x, y, z = s
        return s + .01 * jnp.stack([10. * (y - x), x * (28. - z) - y, x * y - 8 / 3 * z]), None
    loop = loop_of(lambda s: lax.scan(lorenz, s, None, length=9)[0], np.ones(3))
    assert packed(loop, LANES) is loop      # nothing is alike


def test_a_product_of_matrices_is_a_few_vectors():
    [step] = loops_of(lambda a, xs: lax.scan(lambda c, x: (c @ x, None), a, xs)[0], np.eye(4, dtype=np.float32), np.ones((9, 4, 4), np.float32))
    found = step.registers
    [[product, *_]] = found.next
    count = lambda e, kind: (e.kind == kind) + sum(count(a, kind) for a in e.args)
    width = min(16, host_isa().lanes(np.dtype(np.float32)))
    assert found.carried[0].widths == [width] * (16 // width) and count(product, PICK) <= 8


def bodies(n, trips):
    """Bodies that attract each other: more elements are carried than there are registers, and axes that lanes could be."""
    dt = .2 / trips
    x, v = np.random.default_rng(0).normal(size=(2, n, 3)).astype(np.float32)

    def pull(x):
        d = x[None] - x[:, None]
        return jnp.sum(d * (jnp.sum(d * d, -1) + .1)[..., None] ** -1.5, 1)

    def f(x, v):
        def step(c, _):
            x, v, a = c
            x = x + dt * v + .5 * dt * dt * a
            b = pull(x)
            return (x, v + .5 * dt * (a + b), b), None
        return lax.scan(step, (x, v, pull(x)), None, length=trips)[0][0]
    return f, x, v


@pytest.mark.parametrize("n, trips, in_registers", [(4, 20, True), (10, 20, False), (10, 3000, True), (40, 20, False)])
def test_many_elements_that_share_vectors_stay_in_registers(n, trips, in_registers):
    f, x, v = bodies(n, trips)
    assert (loops_of(f, x, v)[-1].registers is not None) == in_registers     # few trips do not pay for their compilation
    dt, a, y, w = .2 / trips, None, x.astype(float), v.astype(float)
    for k in range(trips + 1):
        d = y[None] - y[:, None]
        b = (d * ((d * d).sum(-1) + .1)[..., None] ** -1.5).sum(1)
        if k:
            w = w + .5 * dt * (a + b)
        a = b
        if k < trips:
            y = y + dt * w + .5 * dt * dt * a
    np.testing.assert_allclose(tj.jit(f)(x, v), y, rtol=1e-4, atol=1e-5)
    wide = x.astype(float), v.astype(float)
    energy = tj.jit(lambda x: jnp.sum(f(x, wide[1]) ** 2))
    step = np.zeros_like(wide[0])
    step[1, 2] = 1e-6
    slope = (energy(wide[0] + step) - energy(wide[0] - step)) / 2e-6
    np.testing.assert_allclose(tj.jit(tj.grad(energy))(wide[0])[1, 2], slope, rtol=1e-6)


@pytest.mark.parametrize("n, trips, in_registers", [(12, 9, True), (40, 9, False), (40, 2000, True), (70, 2000, False)])
def test_products_are_written_out_where_trips_pay_for_it(n, trips, in_registers):
    w = np.random.default_rng(0).uniform(-1, 1, (n, n)) / n
    [step] = loops_of(f := lambda w, c: lax.scan(lambda c, _: (w @ c + 1, None), c, None, length=trips)[0], w, np.ones(n))
    assert (step.registers is not None) == in_registers
    np.testing.assert_allclose(tj.jit(f)(w, np.ones(n)), np.linalg.solve(np.eye(n) - w, np.ones(n)), rtol=1e-3 if trips < 99 else 1e-12)

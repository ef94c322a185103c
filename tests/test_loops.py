"""Compiled loops: carries in registers and lanes, updates in place, tapes, donated memory, Ctrl-C, thread counts."""
from __future__ import annotations

import os
import resource
import signal
import threading
from fractions import Fraction

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.contraction import name_of
from tracejit.codegen.lower import ControlStep
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.ir.loops import in_order
from tracejit.ir.trace import trace
from tracejit.ir.types import type_of
from tracejit.runtime.threads import threads
from tracejit.transforms.passes.pipeline import PASSES


def program_of(f, *args):
    """The lowered program of a flat function."""
    graph, captured = trace(lambda *xs: [f(*xs)], [type_of(x) for x in args])
    assert not captured
    for _, change in PASSES:
        graph = change(graph)
    return generate(graph, host_isa()).program


def loops_of(f, *args) -> list[ControlStep]:
    return [step for step in program_of(f, *args).steps if isinstance(step, ControlStep)]


def difference(f, x: float, eps: float = 1e-6) -> float:
    return (f(x + eps) - f(x - eps)) / (2 * eps)


def lorenz(s):
    x, y, z = s
    return jnp.stack([10. * (y - x), x * (28. - z) - y, x * y - 8 / 3 * z])


def rk4(s, _):
    h = .01
    k1 = lorenz(s)
    k2 = lorenz(s + h / 2 * k1)
    k3 = lorenz(s + h / 2 * k2)
    k4 = lorenz(s + h * k3)
    s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return s, s


def rk4_numpy(s, n):
    def f(s):
        x, y, z = s.T
        return np.stack([10. * (y - x), x * (28. - z) - y, x * y - 8 / 3 * z], -1)
    h, out = .01, []
    for _ in range(n):
        k1 = f(s)
        k2 = f(s + h / 2 * k1)
        k3 = f(s + h / 2 * k2)
        k4 = f(s + h * k3)
        s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        out.append(s)
    return s, np.stack(out, 1)


@pytest.mark.parametrize("n_lanes", [1, 7, 8, 9, 100, 1003])
def test_ensemble_of_odes(n_lanes):
    start = np.random.default_rng(0).uniform(.9, 1.1, (n_lanes, 3))
    last, path = tj.jit(tj.vmap(lambda s: lax.scan(rk4, s, None, length=20)))(start)
    want_last, want_path = rk4_numpy(start, 20)
    np.testing.assert_allclose(last, want_last, rtol=1e-12)
    np.testing.assert_allclose(path, want_path, rtol=1e-12)


def test_ensemble_runs_in_registers_and_so_does_its_gradient():
    start = np.ones((100, 3))
    simulate = tj.vmap(lambda s: lax.scan(rk4, s, None, length=20)[0])
    assert [loop.registers is not None for loop in loops_of(simulate, start)] == [True]
    gradient = tj.grad(lambda s: jnp.sum(simulate(s) ** 2))
    assert all(loop.registers is not None for loop in loops_of(gradient, start))
    one = start * 1.01
    eps = np.zeros_like(one)
    eps[3, 1] = 1e-6
    energy = lambda s: (rk4_numpy(s, 20)[0] ** 2).sum()
    np.testing.assert_allclose(gradient(one)[3, 1], (energy(one + eps) - energy(one - eps)) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("n_lanes", [1, 30, 1003])
def test_gradient_of_what_all_lanes_share(n_lanes):
    w, b = np.sin(np.arange(9.)).reshape(3, 3) * .5, np.arange(3.) * .1
    start = np.cos(np.arange(3. * n_lanes)).reshape(n_lanes, 3)

    def loss(w, b):
        step = lambda y, _: (y + .1 * jnp.tanh(w @ y + b), None)
        return jnp.mean(tj.vmap(lambda y: lax.scan(step, y, None, length=10)[0])(start) ** 2)

    def by_numpy(w, b):
        y = start
        for _ in range(10):
            y = y + .1 * np.tanh(y @ w.T + b)
        return np.mean(y ** 2)
    d_w, d_b = tj.jit(tj.grad(loss, (0, 1)))(w, b)
    unit = np.zeros((3, 3))
    unit[1, 2] = 1e-6
    np.testing.assert_allclose(d_w[1, 2], (by_numpy(w + unit, b) - by_numpy(w - unit, b)) / 2e-6, rtol=1e-6)
    np.testing.assert_allclose(d_b[1], difference(lambda v: by_numpy(w, np.array([b[0], v, b[2]])), b[1]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.complex64])
def test_scan_with_slices_and_stacks(dtype):
    xs = (np.arange(1, 13).reshape(4, 3) % 5).astype(dtype)

    def step(c, x):
        return c * x + x[::-1], c - x
    carry, ys = lax.scan(step, np.ones(3, dtype), xs)
    back, back_ys = lax.scan(step, np.ones(3, dtype), xs, reverse=True)
    for order, got, got_ys in ((range(4), carry, ys), (range(3, -1, -1), back, back_ys)):
        c, stack = np.ones(3, dtype), [None] * 4
        for i in order:
            c, stack[i] = c * xs[i] + xs[i][::-1], c - xs[i]
        np.testing.assert_allclose(got, c)
        np.testing.assert_allclose(got_ys, np.stack(stack))


def collatz(n):
    return lax.while_loop(lambda c: c[0] != 1, lambda c: (jnp.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1), (n, 0))[1]


def test_lanes_of_a_while_loop_stop_by_themselves():
    ns = np.arange(1, 200, dtype=np.int32)
    assert loops_of(tj.vmap(collatz), ns)[0].registers is not None

    def count(n):
        trips = 0
        while n != 1:
            n, trips = (n // 2 if n % 2 == 0 else 3 * n + 1), trips + 1
        return trips
    assert list(np.asarray(tj.vmap(collatz)(ns))) == [count(int(n)) for n in ns]


def test_condition_on_all_lanes_together_stops_them_together():
    def halve(x):  # a lane that is small enough goes on as long as any is not
        return lax.while_loop(lambda x: jnp.any(x > 1), lambda x: x / 2, x)
    x = np.linspace(.1, 100, 50)
    trips = int(np.ceil(np.log2(100)))
    np.testing.assert_array_equal(halve(x), x / 2 ** trips)


def test_neighbours_that_depend_on_each_other_are_no_lanes():
    u = np.sin(np.arange(40.))
    smooth = lambda u: lax.fori_loop(0, 6, lambda i, u: .5 * u + .25 * (jnp.roll(u, 1) + jnp.roll(u, -1)), u)
    want = u
    for _ in range(6):
        want = .5 * want + .25 * (np.roll(want, 1) + np.roll(want, -1))
    big = np.tile(u, 50)
    np.testing.assert_allclose(smooth(u), want, rtol=1e-13)
    assert loops_of(smooth, big)[0].registers is None


# --- reverse mode through loops of unknown length --------------------------------------------------------------

def damped(x):
    """Nested run-time loops; x from before the loops is used in them and after them."""
    def outer(c):
        i, y = c
        inner = lax.while_loop(lambda d: d[1] < 2. + i, lambda d: (d[0] * jnp.sin(d[0]) + x, d[1] + 1.), (y, 0.))[0]
        return i + 1, inner * x
    return lax.while_loop(lambda c: c[0] < 3, outer, (0, x))[1] + x * x


def damped_python(x):
    i, y = 0, x
    while i < 3:
        d, k = y, 0.
        while k < 2. + i:
            d, k = d * np.sin(d) + x, k + 1
        y, i = d * x, i + 1
    return y + x * x


def test_nested_run_time_loops_have_derivatives():
    x = .7
    assert float(damped(x)) == pytest.approx(damped_python(x), rel=1e-6)
    assert float(tj.grad(damped)(np.float64(x))) == pytest.approx(difference(damped_python, x), rel=1e-7)
    second = float(tj.grad(tj.grad(damped))(np.float64(x)))
    assert second == pytest.approx(difference(lambda v: difference(damped_python, v, 1e-4), x, 1e-4), rel=1e-4)
    assert float(tj.jit(tj.grad(damped))(np.float64(x))) == pytest.approx(difference(damped_python, x), rel=1e-7)


def test_gradient_of_newton_steps_by_lanes_that_share_a_number():
    """The loop hands the shared number to its backward pass, which computes other residuals from it again."""
    x = np.linspace(.5, 1.5, 20)

    def minima(scale):
        u = np.zeros(20)
        for _ in range(10):
            first, second = 2 * u / np.exp(scale) ** 2 + x * np.exp(u * x), 2 / np.exp(scale) ** 2 + x * x * np.exp(u * x)
            u = u - first / second
        return u.sum()

    def looped(scale):
        def energy(u, x):
            return u * u / jnp.exp(scale) ** 2 + jnp.exp(u * x)

        def minimum(x):
            return lax.fori_loop(0, 10, lambda i, u: u - tj.grad(energy)(u, x) / tj.grad(tj.grad(energy))(u, x), x * 0)
        return tj.vmap(minimum)(x).sum()
    got = tj.jit(tj.grad(looped))(np.float64(-1.))
    assert float(got) == pytest.approx(difference(minima, -1.), rel=1e-6)


@pytest.mark.parametrize("trips", [0, 1, 5])
def test_run_time_trip_counts(trips):
    power = tj.jit(lambda n, x: lax.fori_loop(0, n, lambda i, c: jnp.sin(c) * x, x))

    def python(x):
        c = x
        for _ in range(trips):
            c = np.sin(c) * x
        return c
    assert float(power(trips, np.float64(.7))) == pytest.approx(python(.7))
    slope = tj.jit(tj.grad(lambda x, n: lax.fori_loop(0, n, lambda i, c: jnp.sin(c) * x, x)))
    assert float(slope(np.float64(.7), trips)) == pytest.approx(difference(python, .7), rel=1e-7)


def test_lanes_with_their_own_trip_counts_have_derivatives():
    def grow(x):
        return lax.while_loop(lambda c: c < 3., lambda c: c * c + x, x)
    xs = np.linspace(.5, 2, 6)
    each = [float(tj.grad(grow)(x)) for x in xs]
    np.testing.assert_allclose(tj.vmap(tj.grad(grow))(xs), each, rtol=1e-6)
    np.testing.assert_allclose(tj.grad(lambda v: jnp.sum(tj.vmap(grow)(v)))(xs), each, rtol=1e-6)


def test_nan_of_a_branch_not_taken_stays_out_of_the_derivative():
    def safe(x):
        return lax.cond(x > 0, lambda x: jnp.sqrt(x), lambda x: 0. * x, x)
    xs = np.array([-1., 0., 4.])
    np.testing.assert_array_equal(tj.grad(lambda v: jnp.sum(tj.vmap(safe)(v)))(xs), [0., 0., .25])


def test_tapes_are_freed():
    slope = tj.jit(tj.grad(damped))
    slope(np.float64(.7))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20_000):
        slope(np.float64(.7))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


# --- memory ----------------------------------------------------------------------------------------------------------

def test_update_in_a_loop_writes_one_element():
    n = 2_000
    fill = lambda x: lax.fori_loop(0, n, lambda i, x: x.at[i].set(i * 1.), x)
    [loop] = loops_of(fill, np.zeros(n))
    assert loop.registers.writes
    x = np.zeros(n)
    np.testing.assert_array_equal(tj.jit(fill)(x), np.arange(n))
    assert not x.any()


def test_updates_that_are_read_afterwards_copy():
    def f(x):
        y = x.at[2].set(5.)
        return y, y.at[3].set(6.), x
    y, z, x = tj.jit(f)(np.zeros(6))
    assert list(y) == [0, 0, 5, 0, 0, 0] and list(z) == [0, 0, 5, 6, 0, 0] and not np.any(x)


def test_arrays_that_change_places_in_a_loop():
    step = lambda i, c: (c[1].at[i].set(7. * i), c[0].at[i].multiply(2.))
    x, y = np.arange(8.), np.arange(8.) + 100
    got = tj.jit(lambda x, y: lax.fori_loop(0, 5, step, (x, y)))(x, y)
    for i in range(5):
        a, b = y.copy(), x.copy()
        a[i], b[i] = 7. * i, 2 * b[i]
        x, y = a, b
    np.testing.assert_array_equal(got[0], x)
    np.testing.assert_array_equal(got[1], y)


def test_donated_memory_is_taken_only_where_nobody_reads_it_any_more():
    reverse_and_add = tj.jit(lambda x: (x[::-1] * 1., x + 1), donate_argnums=0)
    backwards, added = reverse_and_add(jnp.arange(6.))
    assert list(backwards) == [5, 4, 3, 2, 1, 0] and list(added) == [1, 2, 3, 4, 5, 6]
    x = jnp.arange(5.)
    seen = np.asarray(x)
    y = tj.jit(lambda x: x + 1, donate_argnums=0)(x)
    assert x.is_deleted() and list(seen) == [0, 1, 2, 3, 4] and list(y) == [1, 2, 3, 4, 5]


# --- running -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("body", ["registers", "steps"])
def test_ctrl_c_leaves_a_loop_that_never_ends(body):
    inside = (lambda c: (c[0] + 1, c[1])) if body == "registers" else (lambda c: (c[0] + 1, lax.sort(c[1])))
    forever = tj.jit(lambda x, y: lax.while_loop(lambda c: c[0] >= 0, inside, (x, y))[0])
    threading.Timer(.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        forever(1., np.arange(3.))


def test_results_do_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(0).standard_normal((700, 331)).astype(np.float32)
    programs = [lambda x: jnp.sum(x), lambda x: jnp.sum(x, 0), lambda x: jnp.exp(x).mean(1), lambda x: x @ x.T,
                lambda x: jnp.sum(jnp.sin(x) ** 2, 0), lambda x: jnp.cumsum(x, 1), lambda x: jnp.var(x.ravel())]
    for f in programs:
        compiled = tj.jit(f)
        with threads(1):
            one = np.asarray(compiled(x)).copy()
        with threads(2):
            np.testing.assert_array_equal(one, np.asarray(compiled(x)))


def test_a_branch_of_few_operations_is_a_selection():
    cheap = lambda x: lax.cond(x > 0, lambda x: x * 2, lambda x: x - 1, x)
    assert not loops_of(cheap, np.float32(1))
    assert [float(cheap(v)) for v in (3., -3.)] == [6., -4.]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32], ids=lambda d: d.__name__)
@pytest.mark.parametrize("lanes", [255, 256, 257, 700, 1300])
def test_batched_scans_over_rows(lanes, dtype, reverse):
    """Lanes that read a row each trip, with a carry of their own, one that all share, and constants."""
    x = (np.arange(23 * lanes).reshape(23, lanes) % 13).astype(dtype)
    scale = (np.arange(lanes) % 3).astype(dtype)

    def step(carry, row):
        total, count = carry
        total = total * scale - row + count
        return (total, count + 1), total - count

    start = (np.ones(lanes, dtype), dtype(2))
    (total, count), ys = tj.jit(lambda start, x: lax.scan(step, start, x, reverse=reverse))(start, x % 2)
    carry, want = start, np.zeros_like(x)
    for t in (reversed(range(23)) if reverse else range(23)):
        carry, want[t] = step(carry, x[t] % 2)
    np.testing.assert_array_equal(np.asarray(total), carry[0])
    np.testing.assert_array_equal(np.asarray(count), carry[1])
    np.testing.assert_array_equal(np.asarray(ys), want)


def test_gradient_of_a_batched_scan_over_rows():
    x = np.linspace(-1, 1, 12 * 300).reshape(12, 300)

    def last(x):
        return jnp.sum(lax.scan(lambda c, row: (jnp.sin(c + row), None), x[0], x)[0])
    got = np.asarray(tj.jit(tj.grad(last))(x))
    carries = [x[0]]
    for row in x:
        carries.append(np.sin(carries[-1] + row))
    want, ct = np.zeros_like(x), np.ones(300)
    for t in reversed(range(12)):
        ct = ct * np.cos(carries[t] + x[t])
        want[t] = ct
    want[0] += ct
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("trips", [0, 1, 7, 8, 9, 50, 200])
def test_masked_loops_end_when_nothing_changes(trips):
    """Lanes that stop at different trips, or never, or hold nan: as if every trip had been made."""
    start = np.linspace(-3, 3, 77).astype(np.float32)
    start[5], limit = np.nan, np.linspace(0.5, 40, 77).astype(np.float32)

    def body(_, carry):
        x, count = carry
        live = jnp.abs(x) < limit
        return jnp.where(live, x * 1.25 + 0.125, x), count + live
    x, count = tj.jit(lambda x: lax.fori_loop(0, trips, body, (x, jnp.zeros(77, jnp.int32))))(start)
    want, counted = start.copy(), np.zeros(77, np.int32)
    for _ in range(trips):
        live = np.abs(want) < limit
        want, counted = np.where(live, want * np.float32(1.25) + np.float32(0.125), want), counted + live
    np.testing.assert_allclose(np.asarray(x), want, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(count), counted)


def test_trips_that_count_are_all_made():
    def body(i, carry):
        x, seen = carry
        return jnp.where(i == 40, x + 1, x), jnp.where(i % 20 == 3, seen + 1, seen)
    x, seen = tj.jit(lambda x: lax.fori_loop(0, 60, body, (x, x)))(np.zeros(100, np.float32))
    assert (np.asarray(x) == 1).all() and (np.asarray(seen) == 3).all()


def fused_operations(f, *args) -> int:
    """How many products are rounded together with a sum in the loops of a function."""
    return sum(name_of(e) == "mad" for step in loops_of(f, *args) for e in in_order(step.registers.roots))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_carried_through_products_and_sums_is_rounded_once(dtype):
    def henon(s):
        return lax.fori_loop(0, 6, lambda _, s: (dtype(1) - dtype(1.4) * s[0]**2 + s[1], dtype(.3) * s[0]), s)
    start = (np.array(.1, dtype), np.array(.2, dtype))
    assert fused_operations(lambda x, y: henon((x, y))[0], *start) == 1
    x, y = (Fraction(float(v)) for v in start)
    for _ in range(6):
        x, y = 1 - Fraction(float(dtype(1.4))) * x * x + y, Fraction(float(dtype(.3))) * x
    np.testing.assert_allclose(np.asarray(tj.jit(henon)(start)), [float(x), float(y)], rtol=20 * np.finfo(dtype).eps)


def test_16_bit_floats_and_complex_numbers_are_rounded_step_by_step():
    def power(x):
        return lax.fori_loop(0, 5, lambda _, c: c * c * x + c, x)
    assert fused_operations(power, np.float32(.5)) == 1
    for dtype in (np.float16, jnp.bfloat16, np.complex64, np.int32):
        assert fused_operations(power, np.array(.5, dtype)) == 0


@pytest.mark.parametrize("decide", [lambda d, x: jnp.where(d > 0, d, x), lambda d, x: jnp.floor(d) + x,
                                    lambda d, x: x + d.astype(np.int32), lambda d, x: x + jnp.arange(9.)[d.astype(np.int32)]])
def test_no_decision_hangs_on_a_product_that_is_not_rounded(decide):
    def loop(x, y):
        return lax.fori_loop(0, 5, lambda _, c: decide(c * c - y * y, c), x)
    assert fused_operations(loop, np.float32(.7), np.float32(.7)) == 0
    assert loop(np.float32(.7), np.float32(.7)) == five_trips(decide, np.float32(.7))


def five_trips(decide, x):
    """The same five trips, one by one."""
    y = x
    for _ in range(5):
        x = decide(jnp.asarray(x * x) - y * y, x)
    return x


def test_equal_products_cancel():
    def root(x, y):
        return lax.fori_loop(0, 50, lambda _, c: c + jnp.sqrt(c * c - (c * y) * (c / y)), x)
    for x in np.linspace(.1, 1, 40, dtype=np.float32):
        assert root(x, np.float32(2)) == x
    assert fused_operations(root, np.float32(.7), np.float32(2)) == 0


def test_what_is_stacked_does_not_change_what_is_carried():
    def trip(s, _):
        x, y = s
        return (x + .01 * (y * x - x), y - .01 * (x * y - y)), (y * x, y * x - x)
    start = (np.float64(.9), np.float64(1.3))
    stacking = tj.jit(lambda s: lax.scan(trip, s, None, length=1000)[0])
    only = tj.jit(lambda s: lax.fori_loop(0, 1000, lambda _, s: trip(s, None)[0], s))
    with_all = tj.jit(lambda s: lax.scan(trip, s, None, length=1000))
    for x, y, z in zip(stacking(start), only(start), with_all(start)[0]):
        assert x == y == z


def test_a_random_walk_takes_the_same_steps_inside_and_outside_of_a_loop():
    def step(state):
        key, x = state
        key, own = tj.random.split(key)
        return key, x + .1 * tj.random.normal(own)
    state = tj.random.key(3), jnp.float32(0)
    _, inside = tj.jit(lambda s: lax.fori_loop(0, 20, lambda _, s: step(s), s))(state)
    for _ in range(20):
        state = step(state)
    assert inside == state[1]


def test_the_counter_of_a_loop_is_weak_as_in_jax():
    n, zero = jnp.int32(3), jnp.int8(0)
    assert lax.fori_loop(0, n, lambda i, x: x + i, zero).dtype == jnp.int8
    assert tj.jit(lambda n: lax.fori_loop(0, n, lambda i, x: x + i, zero))(n).dtype == jnp.int8
    assert lax.fori_loop(np.uint8(250), np.uint8(255), lambda i, x: x + i, 0) == 1260
    assert lax.fori_loop(0., 4.9, lambda i, x: x + i, 0.) == 6
    with pytest.raises(TypeError):  # the counter has the type of its first bound
        tj.jit(lambda n: lax.fori_loop(n, 9, lambda i, x: x + i, zero))(n)


@pytest.mark.parametrize("n, in_registers", [(0, True), (1, True), (4, True), (16, True)])
def test_elementary_functions_of_a_loop_without_lanes_fill_vectors(n, in_registers):
    start, slopes = np.linspace(-1, 1, n, dtype=np.float32), np.linspace(.5, 2, 30, dtype=np.float32)

    def iterate(x, a):
        return lax.scan(lambda x, a: (jnp.tanh(a * x) + jnp.exp(-x * x), None), x, a)[0]
    if n:
        assert (loops_of(iterate, start, slopes)[0].registers is not None) == in_registers
    expected = start.astype(float)
    for a in slopes:
        expected = np.tanh(a * expected) + np.exp(-expected**2)
    np.testing.assert_allclose(np.asarray(tj.jit(iterate)(start, slopes)), expected, rtol=1e-4)


def test_functions_of_scalars_stay_in_registers():
    def iterate(x):
        for _ in range(20):
            x = jnp.sin(x)
        return x
    assert loops_of(lambda x: lax.fori_loop(0, 3, lambda _, x: iterate(x), x), np.float64(1))[0].registers is not None


@pytest.mark.parametrize("shape", [(20, 30), (3, 4, 5)])
def test_a_while_loop_below_several_vmaps_is_one_loop_over_lanes(shape):
    """Each lane stops by itself; the second vmap adds no second choice."""
    def halvings(x):
        return lax.while_loop(lambda c: c[0] > 1, lambda c: (c[0] * .5 / (c[0] > 1), c[1] + 1), (x, 0))
    f = halvings
    for _ in shape:
        f = tj.vmap(f)
    x = np.random.default_rng(0).uniform(.1, 1e6, shape)
    y, n = tj.jit(f)(x)
    want = np.maximum(np.ceil(np.log2(x)), 0).astype(int)
    np.testing.assert_array_equal(n, want)
    np.testing.assert_allclose(y, x * .5 ** want)
    np.testing.assert_allclose(tj.jit(tj.grad(lambda x: f(x)[0].sum()))(x), .5 ** want)
    one = tj.value_and_grad(lambda x: halvings(x)[0])
    for _ in shape:
        one = tj.vmap(one)
    np.testing.assert_allclose(tj.jit(one)(x)[1], .5 ** want)


def test_a_while_loop_over_lanes_of_lanes_runs_in_registers():
    def steps(x):
        return lax.while_loop(lambda c: c[0] > 1, lambda c: (c[0] * .5, c[1] + 1), (x, 0))[1]
    [loop] = loops_of(tj.vmap(tj.vmap(steps)), np.ones((20, 30)))
    assert loop.registers is not None


def test_lanes_that_stop_by_themselves_share_what_they_all_read():
    """A table that all lanes search lies in memory once, not once for each lane."""
    table, wanted = np.sort(np.random.default_rng(0).uniform(size=1000)), np.random.default_rng(1).uniform(size=300)

    def search(x, table):
        def halve(c):
            lo, hi = c
            middle = (lo + hi) // 2
            above = table[middle] < x
            return jnp.where(above, middle + 1, lo), jnp.where(above, hi, middle)
        return lax.while_loop(lambda c: c[0] < c[1], halve, (jnp.int32(0), jnp.int32(1000)))[0]
    find = tj.vmap(search, (0, None))
    np.testing.assert_array_equal(tj.jit(find)(wanted, table), np.searchsorted(table, wanted))
    assert program_of(find, wanted, table).arena < table.nbytes
    at = tj.grad(lambda table: jnp.sum(tj.vmap(lambda x: lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * table[c[1]], c[1] + 1),
                                                                        (x, 0))[0])(wanted)))
    np.testing.assert_allclose(tj.jit(at)(table)[:3] * table[:3], np.full(3, np.prod(table[:3]) * wanted.sum()), rtol=1e-6)


@pytest.mark.parametrize("lower, upper, trips", [(0.0, 3.0, 3), (0.5, 3.2, 3), (0.0, 2.5, 3), (3.0, 1.0, 0), (0.0, np.nan, 0), (-1.5, -0.5, 1)])
def test_counters_of_floats_count_by_one(lower: float, upper: float, trips: int) -> None:
    """As `while lower < upper: ...; lower += 1`, also with a bound for each lane."""
    f = tj.jit(lambda lower, upper: tj.lax.fori_loop(lower, upper, lambda i, c: (c[0] + i, c[1] + 1), (0.0, 0)))
    total, count = f(np.float32(lower), np.float32(upper))
    assert count == trips and total == sum(lower + k for k in range(trips))
    totals, counts = tj.vmap(f, (None, 0))(np.float32(lower), np.float32([upper, lower + 1.5, upper]))
    assert counts.tolist() == [trips, 2, trips] and totals[2] == total

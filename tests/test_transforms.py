"""Transforms of loops, branches and pytrees: the traps that compilers of such programs fall into."""
from __future__ import annotations

import functools
import gc

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax

F64 = jnp.float64


def slope(f, x: float, h: float = 1e-6) -> float:
    return float((f(jnp.asarray(x + h, F64)) - f(jnp.asarray(x - h, F64))) / (2 * h))


def check_derivatives(f, x: float, rtol: float = 1e-7) -> None:
    """Both modes, jitted or not, over lanes or not, give the slope; and so to the second order."""
    at, expected = jnp.asarray(x, F64), slope(f, x)
    push = lambda y: tj.jvp(f, (y,), (jnp.ones_like(y),))[1]
    for d in (tj.grad(f), tj.jit(tj.grad(f)), push, tj.jit(push)):
        np.testing.assert_allclose(d(at), expected, rtol=rtol)
    lanes = jnp.stack([at, at])
    np.testing.assert_allclose(tj.vmap(tj.grad(f))(lanes), [expected] * 2, rtol=rtol)
    second = slope(tj.grad(f), x)
    np.testing.assert_allclose(tj.grad(tj.grad(f))(at), second, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(tj.jit(tj.hessian(f))(at), second, rtol=rtol, atol=1e-8)


# --- loops -----------------------------------------------------------------------------------------------------------

LOOPS = {
    "scan": lambda body, x, n: lax.scan(lambda c, _: (body(c), None), x, None, length=n)[0],
    "static fori": lambda body, x, n: lax.fori_loop(0, n, lambda i, c: body(c), x),
    "run-time fori": lambda body, x, n: lax.fori_loop(0, jnp.asarray(n), lambda i, c: body(c), x),
    "while": lambda body, x, n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, body(c[1])), (0, x))[1],
}
EACH_LOOP = pytest.mark.parametrize("loop", list(LOOPS.values()), ids=list(LOOPS))


@EACH_LOOP
@pytest.mark.parametrize("trips", [0, 1, 4])
def test_trip_counts(loop, trips):
    check_derivatives(lambda x: loop(lambda c: jnp.sin(c) * c + 0.1, x, trips) * x, 0.7)


@EACH_LOOP
def test_value_from_before_the_loop_used_after_it(loop):
    def f(x):
        before = jnp.exp(x)
        after = loop(lambda c: c * jnp.cos(before), before, 3)
        return after * before + jnp.sin(before)
    check_derivatives(f, 0.3)


@EACH_LOOP
def test_nonlinear_use_of_the_accumulator(loop):
    check_derivatives(lambda x: loop(lambda c: c * c * 0.5 + x, x, 4) ** 2, 0.4)


@EACH_LOOP
@pytest.mark.parametrize("inner", list(LOOPS.values()), ids=list(LOOPS))
def test_nested_loops(loop, inner):
    check_derivatives(lambda x: loop(lambda c: inner(lambda d: jnp.tanh(d) + x * 0.1, c, 2) * x, x, 3), 0.6)


def test_inner_trip_count_made_by_the_outer_loop():
    def f(x):
        return lax.fori_loop(0, 4, lambda i, s: s + lax.fori_loop(0, i, lambda j, t: t * x + 1., x), x * 0)
    check_derivatives(f, 0.5)

    def by_hand(x):
        total = 0.
        for i in range(4):
            t = x
            for _ in range(i):
                t = t * x + 1
            total += t
        return total
    np.testing.assert_allclose(tj.jit(f)(jnp.asarray(0.5, F64)), by_hand(0.5))


def test_early_exit():
    def f(x):
        return lax.while_loop(lambda c: c < 10, lambda c: c * c + 0.5, x)
    check_derivatives(f, 1.3)
    xs = jnp.array([0.9, 1.3, 3.0, 20.0], F64)
    expected = [slope(f, float(x)) for x in xs]
    np.testing.assert_allclose(tj.vmap(tj.grad(f))(xs), expected, rtol=1e-7)
    np.testing.assert_allclose(tj.jit(tj.grad(lambda xs: tj.vmap(f)(xs).sum()))(xs), expected, rtol=1e-7)


def test_lanes_with_their_own_trip_counts():
    def f(n, x):
        return lax.fori_loop(0, n, lambda i, c: c * x + i, x)
    ns, xs = jnp.array([0, 3, 1, 5]), jnp.array([0.5, 0.7, 2.0, -1.1], F64)
    value = lambda n, x: functools.reduce(lambda c, i: c * x + i, range(int(n)), x)
    np.testing.assert_allclose(tj.vmap(f)(ns, xs), [value(n, float(x)) for n, x in zip(ns, xs)])
    expected = [slope(functools.partial(f, n), float(x)) for n, x in zip(ns, xs)]
    np.testing.assert_allclose(tj.jit(tj.vmap(tj.grad(f, 1)))(ns, xs), expected, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_of_trees(reverse):
    def f(x):
        xs = {"a": jnp.arange(1., 5., dtype=F64) * x, "b": (jnp.ones((4, 2), F64),)}

        def body(carry, x):
            total, state = carry
            y = jnp.sin(total) * x["a"] + x["b"][0].sum()
            return (total + y * state["k"], {"k": state["k"] * 0.9}), {"y": y, "none": None}
        (total, _), ys = lax.scan(body, (x, {"k": x * x}), xs, reverse=reverse)
        return total + (ys["y"] ** 2).sum()
    check_derivatives(f, 0.3)


@pytest.mark.parametrize("unroll", [1, 3, True])
def test_unroll_changes_nothing(unroll):
    f = lambda x: lax.scan(lambda c, k: (c * k + x, c), x, jnp.arange(7., dtype=F64), unroll=unroll)
    ys = [0.5]
    for k in range(6):
        ys.append(ys[-1] * k + 0.5)
    np.testing.assert_allclose(f(jnp.asarray(0.5, F64))[1], ys)


def test_map_and_associative_scan():
    xs = jnp.linspace(0.1, 1., 7, dtype=F64)
    for size in (None, 1, 3, 7):
        np.testing.assert_allclose(lax.map(lambda x: x * jnp.sin(x), xs, batch_size=size), xs * np.sin(xs))
    g = tj.grad(lambda xs: lax.associative_scan(jnp.multiply, xs)[-1])(xs)
    np.testing.assert_allclose(g, np.prod(xs) / xs)


# --- branches --------------------------------------------------------------------------------------------------------

def test_nan_of_the_branch_not_taken_stays_out():
    def f(x):
        return lax.cond(x > 0, lambda: jnp.sqrt(x) * jnp.log(x), lambda: x * 2)
    xs = jnp.array([-1., 0.25, -3., 4.], F64)
    expected = [2., slope(f, 0.25), 2., slope(f, 4.)]
    for d in (tj.vmap(tj.grad(f)), tj.jit(tj.vmap(tj.grad(f))), tj.grad(lambda xs: tj.vmap(f)(xs).sum()),
              lambda xs: tj.jvp(tj.vmap(f), (xs,), (jnp.ones_like(xs),))[1]):
        np.testing.assert_allclose(d(xs), expected, rtol=1e-6)
    hessians = tj.vmap(tj.grad(tj.grad(f)))(xs)
    assert np.isfinite(hessians).all() and float(hessians[0]) == 0


def test_nan_beyond_the_end_of_a_lane_stays_out():
    def f(x):  # one trip more would take the square root of a negative number
        return lax.while_loop(lambda c: c > 1, lambda c: jnp.sqrt(c - 1), x)
    xs = jnp.array([0.5, 1.5, 4., 30.], F64)
    expected = [slope(f, float(x)) for x in xs]
    np.testing.assert_allclose(tj.vmap(tj.grad(f))(xs), expected, rtol=1e-6)


@pytest.mark.parametrize("index", [-1, 0, 1, 2, 7])
def test_switch(index):
    branches = [lambda x: x, lambda x: x * x, lambda x: jnp.sin(x)]
    f = lambda x: lax.switch(index, branches, x)
    check_derivatives(lambda x: lax.switch(jnp.asarray(index), branches, x), 0.7)
    np.testing.assert_allclose(f(jnp.asarray(0.7, F64)), [0.7, 0.49, np.sin(0.7)][min(max(index, 0), 2)])


def test_switch_over_lanes():
    branches = [lambda x: x, lambda x: x * x, lambda x: jnp.log(x)]
    i, x = jnp.array([0, 1, 2, 1]), jnp.array([-1., 2., 3., -4.], F64)
    np.testing.assert_allclose(tj.vmap(tj.grad(lambda x, i: lax.switch(i, branches, x)))(x, i), [1, 4, 1 / 3, -8])


def test_only_the_taken_branch_runs():
    seen = []

    def loud(x):
        tj.debug.callback(lambda v: seen.append(float(v)), x)
        return x
    f = tj.jit(lambda p, x: lax.cond(p, loud, lambda x: x * 2, x))
    f(False, 3.)
    assert seen == []
    f(True, 3.)
    assert seen == [3.]


# --- jit -------------------------------------------------------------------------------------------------------------

def test_static_arguments():
    traces = []

    @functools.partial(tj.jit, static_argnames=("n",))
    def f(x, n):
        traces.append(n)
        return x * n
    assert [float(f(2., 3)), float(f(2., n=3)), float(f(2., 4)), float(f(5., 4))] == [6, 6, 8, 20]
    assert sorted(set(traces)) == [3, 4] and len(traces) <= 3


def test_donated_arguments():
    f = tj.jit(lambda x, y: x + y, donate_argnums=0)
    x, y = jnp.ones(1000), jnp.ones(1000)
    np.testing.assert_array_equal(f(x, y), 2 * np.ones(1000))
    assert x.is_deleted() and not y.is_deleted()
    with pytest.raises(errors.DonatedArrayError):
        x + 1


def test_closures_over_traced_values():
    @tj.jit
    def f(x):
        inner = tj.jit(lambda y: y * x)
        return inner(2.) + tj.grad(lambda y: y * y * x)(3.) + tj.vmap(lambda y: y * x)(jnp.arange(3.)).sum()
    assert float(f(5.)) == 10 + 30 + 15
    assert float(tj.grad(f)(5.)) == 2 + 6 + 3


def test_methods_and_trees():
    class Model:
        def __init__(self):
            self.w = jnp.arange(3.)

        @functools.partial(tj.jit, static_argnums=0)
        def __call__(self, x):
            return {"out": (self.w * x).sum(), "aux": [x, None]}
    out = Model()(jnp.ones(3))
    assert float(out["out"]) == 3 and out["aux"][1] is None


def test_leaked_tracers():
    kept = []
    tj.jit(lambda x: kept.append(x) or x)(1.)
    with pytest.raises(errors.UnexpectedTracerError):
        kept[0] + 1
    with pytest.raises(errors.UnexpectedTracerError):
        tj.jit(lambda y: y + kept[0])(1.)


KEPT: list = []
LEAKS = {
    "jit": lambda f: tj.jit(f)(1.0), "jit in jit": lambda f: tj.jit(lambda x: tj.jit(f)(x) + 1)(1.0),
    "grad": lambda f: tj.grad(f)(1.0), "vmap": lambda f: tj.vmap(f)(jnp.ones(2)), "checkpoint": lambda f: tj.checkpoint(f)(1.0),
    "scan": lambda f: lax.scan(lambda c, _: (f(c), None), 1.0, None, length=2), "while": lambda f: lax.while_loop(lambda x: x < 1.5, f, 1.0),
    "cond": lambda f: lax.cond(True, f, lambda x: x, 1.0),
    "an outer value in scan": lambda f: tj.jit(lambda x: lax.scan(lambda c, _: (f(x) + c, None), x, None, length=2)[0])(1.0),
}


@pytest.mark.parametrize("way", LEAKS)
def test_checking_leaks(way):
    """Values that outlive their function raise where it was traced; what only a cycle without users refers to does not."""
    def harmless(x):
        cycle = [x]
        cycle.append(cycle)
        return (lambda y: y * x)(jnp.sin(x)) + 1
    with tj.checking_leaks():
        LEAKS[way](harmless)
        with pytest.raises(errors.UnexpectedTracerError, match="still referred to"):
            LEAKS[way](lambda x: KEPT.append(x * 2) or x * 2)
    KEPT.clear()
    LEAKS[way](lambda x: KEPT.append(x * 2) or x * 2)
    KEPT.clear()


def test_python_control_flow_under_grad():
    def f(x):
        while x < 10:
            x = x * x if x > 2 else x + 1
        return x
    assert float(tj.grad(f)(1.5)) == float(tj.jvp(f, (1.5,), (1.,))[1]) == 2 * 2.5 * 2 * 6.25
    assert float(tj.grad(lambda x: x * int(x))(2.5)) == 2
    with pytest.raises(errors.TracerBoolConversionError):
        tj.jit(tj.grad(f))(1.5)


def test_disable_jit_runs_step_by_step():
    seen = []

    def body(c, x):
        seen.append(float(c))
        return c + x, c
    with tj.disable_jit(), tj.disable_jit(disable=True):
        total, ys = tj.jit(lambda x: lax.scan(body, x, jnp.arange(3.)))(1.)
        assert float(lax.while_loop(lambda c: bool(c < 5), lambda c: c * 2, 1.)) == 8
        assert float(lax.cond(True, lambda x: x if x > 0 else -x, lambda x: x, 2.)) == 2
        assert int(lax.fori_loop(0, 3, lambda i, s: s + int(i), 0)) == 3
        with tj.disable_jit(disable=False), pytest.raises(errors.ConcretizationTypeError):
            tj.jit(float)(1.)
    assert seen == [1., 1., 2.] and float(total) == 4
    np.testing.assert_array_equal(ys, [1, 1, 2])


def test_stages():
    f = tj.jit(lambda x, y: {"z": x @ y}, donate_argnums=())
    x = jnp.ones((4, 5))
    lowered = f.lower(x, tj.ShapeDtypeStruct((5, 6), np.float32))
    assert lowered.out_info["z"].shape == (4, 6) and "dot_general" in lowered.as_text()
    compiled = lowered.compile()
    assert compiled.cost_analysis()["flops"] == 2 * 4 * 5 * 6
    assert compiled.memory_analysis().output_size_in_bytes == 4 * 6 * 4 and "define" in compiled.as_text()
    np.testing.assert_array_equal(compiled(x, jnp.ones((5, 6)))["z"], np.full((4, 6), 5.))
    with pytest.raises(TypeError, match="'y' compiled with float32.5,6. and called with float32.5,7."):
        compiled(x, jnp.ones((5, 7)))
    g = tj.jit(lambda x, n: x * n, static_argnums=1).lower(2., 3).compile()
    assert float(g(4.)) == 12
    assert f.eval_shape(x, jnp.ones((5, 2)))["z"].shape == (4, 2)
    assert f.trace(x, jnp.ones((5, 2))).jaxpr.out_avals[0].shape == (4, 2)


def test_programs_to_look_at():
    made, shapes = tj.make_jaxpr(lambda x: {"y": x * 2.}, return_shape=True)(jnp.ones(3))
    assert [e.op.name for e in made.eqns] == ["mul"] and shapes["y"] == tj.ShapeDtypeStruct((3,), np.float32)
    assert str(made.in_avals) == str(made.out_avals) == "[f32[3]]" and "mul" in str(made)
    np.testing.assert_allclose(tj.core.eval_jaxpr(made.jaxpr, made.consts, jnp.ones(3))[0], 2 * np.ones(3))
    axis = tj.make_graph(lambda x: lax.psum(x, "i"), axis_env=[("i", 4)])(1.)
    assert "axis_size=4" in str(axis)
    assert tj.eval_shape(lambda x: x[:2], tj.ShapeDtypeStruct((5, 2), np.int8)).shape == (2, 2)


def test_clear_caches_and_live_arrays():
    f = tj.jit(lambda x: x + 41.)
    mine = f(1.)
    tj.clear_caches()
    assert float(f(1.)) == 42 and any(x is mine for x in tj.live_arrays())
    gc.collect()


# --- against JAX -----------------------------------------------------------------------------------------------------

def function_of_trees(np_like):
    def f(params, x):
        h = np_like.tanh(x @ params["w"] + params["b"])
        return {"loss": (h ** 2).sum(0), "h": [h.mean()]}
    return f


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "hessian"])
def test_jacobians_equal_jax(name):
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": rng.normal(size=2).astype(np.float32)}
    x = rng.normal(size=(4, 3)).astype(np.float32)
    for argnums in (0, 1, (0, 1)):
        ours = getattr(tj, name)(function_of_trees(jnp), argnums)(params, x)
        theirs = getattr(jax, name)(function_of_trees(jax.numpy), argnums)(params, x)
        ours_leaves, theirs_leaves = tj.tree.leaves(ours), jax.tree.leaves(theirs)
        assert len(ours_leaves) == len(theirs_leaves)
        for a, b in zip(ours_leaves, theirs_leaves):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_linear_functions_equal_jax():
    jax = pytest.importorskip("jax")
    x, t = np.arange(3., dtype=np.float32), np.ones(3, np.float32)
    y, push = tj.linearize(lambda x: {"a": jnp.sin(x) * x}, x)
    y2, push2 = jax.linearize(lambda x: {"a": jax.numpy.sin(x) * x}, x)
    np.testing.assert_allclose(y["a"], y2["a"], rtol=1e-6)
    np.testing.assert_allclose(push(t)["a"], push2(t)["a"], rtol=1e-6)
    f = lambda x: (x * 3, x[:2].sum())
    ours = tj.linear_transpose(f, x)((t, 2.))
    theirs = jax.linear_transpose(f, x)((t, np.float32(2)))
    np.testing.assert_allclose(ours[0], theirs[0])


def test_complex_derivatives_equal_jax():
    jax = pytest.importorskip("jax")
    z = np.complex64(0.3 + 0.4j)
    for h in (lambda n: lambda z: n.sin(z) * z, lambda n: lambda z: n.exp(z) / (1 + z)):
        np.testing.assert_allclose(tj.grad(h(jnp), holomorphic=True)(z), jax.grad(h(jax.numpy), holomorphic=True)(z), rtol=1e-5)
    h = lambda n: lambda z: (n.abs(z) ** 2 * n.real(z)).sum()
    zs = np.array([0.3 + 0.4j, 1 - 2j], np.complex64)
    np.testing.assert_allclose(tj.vjp(h(jnp), zs)[1](np.float32(1))[0], jax.vjp(h(jax.numpy), zs)[1](np.float32(1))[0], rtol=1e-5)


def test_vmap_knows_what_all_lanes_share() -> None:
    """Numbers pass as they are, arrays that no mapped argument goes into have values; so they may decide shapes and branches."""
    def f(x, w, n, name):
        twos = jnp.ones((n, 3)) + 1
        assert type(n) is int and name == "a" and twos.sum() == 2 * twos.size and w.max() > 0
        for unknown in (x > 0, lax.axis_index("i") == 0, lax.psum(x, "i") > 0):
            with pytest.raises(tj.errors.TracerBoolConversionError):
                bool(unknown)
        slope = tj.grad(lambda w: (w * x).sum() if w.sum() > 1 else x)(w)
        return jnp.broadcast_to(x, (n,)) + slope[0]
    mapped = tj.vmap(f, in_axes=(0, None, None, None), axis_name="i")
    np.testing.assert_array_equal(mapped(jnp.arange(3.0), np.ones(2, np.float32), 2, "a"), [[0, 0], [2, 2], [4, 4]])
    with pytest.raises(tj.errors.TracerBoolConversionError):
        tj.jit(lambda x, w: mapped(x, w, 2, "a"))(jnp.arange(3.0), jnp.ones(2))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_cotangent_of_a_conjugated_real_has_its_dtype(dtype):
    x = jnp.asarray([0.5, -2.0, 3.0], dtype)
    gradient = tj.grad(lambda x: lax.real(lax.conj(x * x)).sum())(x)
    assert gradient.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(gradient, np.float64), [1.0, -4.0, 6.0])


# --- what JAX refuses ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("one", "other"), [(1., 1), (True, 1), (1j, 1.), (jnp.float32(1), 1), (1, jnp.float32(1)), (jnp.int32(1), True)])
def test_branches_of_two_kinds_of_numbers(one, other):
    for make in (lambda i, fs: lax.cond(i, *fs), lambda i, fs: lax.switch(jnp.asarray(i, int), fs)):
        with pytest.raises(TypeError, match="must have equal output types"):
            make(True, [lambda: one, lambda: other])


def test_branches_give_weak_numbers_the_other_width():
    for strong, weak in ((jnp.bfloat16(2), 1.), (jnp.asarray(2, "float64"), 1.), (jnp.asarray(2, "int8"), 1), (jnp.complex64(2), 1j)):
        out = lax.cond(jnp.asarray(False), lambda: strong, lambda: weak)
        assert out.dtype == jnp.asarray(strong).dtype and out == weak


def test_a_branch_given_twice_is_traced_once():
    seen = []
    assert lax.switch(jnp.asarray(1), [lambda x: -x, f := lambda x: (seen.append(0), x)[1], f], 3.) == 3. and seen == [0]


@pytest.mark.parametrize(("primal", "tangent"), [(1., 1), (1., True), (1j, 1.), (jnp.ones(3), np.ones(3, int)), (1, 1), (True, True),
                                                 (1, 1.), (jnp.bfloat16(1), jnp.float32(1))])
def test_tangents_of_another_kind(primal, tangent):
    f = lambda x: x * x
    for push in (lambda: tj.jvp(f, (primal,), (tangent,)), lambda: tj.linearize(f, primal)[1](tangent), lambda: tj.vjp(f, primal)[1](tangent)):
        with pytest.raises((TypeError, ValueError), match="expected"):
            push()


def branches_around(n: int):
    def around(f):
        return lambda x: lax.cond(x > -5, f, lambda x: x, x * 0.9)
    return functools.reduce(lambda f, _: around(f), range(n), jnp.sin)


def loops_around(n: int):
    def around(f):
        return lambda x: lax.fori_loop(0, 1, lambda _, c: f(c) * 0.9, x)
    return functools.reduce(lambda f, _: around(f), range(n), jnp.sin)


@pytest.mark.parametrize("around, slope", [(branches_around, lambda s, x: s * np.cos(s * x)), (loops_around, lambda s, x: s * np.cos(x))])
def test_deep_nesting_takes_time_in_proportion_to_its_depth(around, slope):
    """Time that doubles with each level would be hours here."""
    x, f = np.array([0.5, 1.0]), around(20)
    for found in (tj.vmap(tj.grad(f))(x), [tj.jit(lambda x: tj.jvp(f, (x,), (1.0,))[1])(v) for v in x]):
        np.testing.assert_allclose(found, slope(0.9**20, x), rtol=1e-6)


# --- what branches share ---------------------------------------------------------------------------------------------

def test_what_every_branch_hands_on_does_not_depend_on_the_index():
    kept = jnp.arange(3.)

    def f(i, x, y):
        return lax.cond(i > 0, lambda x, y: (x, y, -x, kept), lambda x, y: (x, x, x, kept), x, y)
    x, y = jnp.asarray(2.), jnp.asarray(3.)
    for g in (f, tj.jit(f)):
        for i, expected in ((1, (2, 3, -2)), (0, (2, 2, 2))):
            out = g(jnp.asarray(i), x, y)
            assert out[:3] == expected and (out[3] == kept).all()
    ys = tj.vmap(f, (0, None, None), (None, 0, 0, None))(jnp.arange(2), x, y)
    assert ys[0] == 2 and ys[1].tolist() == [2, 3] and ys[2].tolist() == [2, -2] and (ys[3] == kept).all()
    slope = tj.grad(lambda x: sum(f(jnp.asarray(1), x, y)[:3]))(x)
    assert slope == 0 and tj.jit(lambda i: lax.switch(i, [lambda x: x] * 3, x))(2) == 2


def test_hessian_of_a_batch_of_branches_in_a_loop():
    """The choice by lanes is made of whole batches, so its value counts as one that differs from lane to lane of the tangents."""
    x = np.array([[.2, .9, .4], [1.5, .1, .3]])

    def looped(w):
        def step(c, value):
            return lax.cond(value > c, lambda c: jnp.sin(c * w), lambda c: c + w * c, c), None
        return tj.vmap(lambda row: lax.scan(step, row[0], row[1:])[0])(x).sum()

    def written_out(w):
        c = x[:, 0]
        for value in x[:, 1:].T:
            c = np.where(value > c, np.sin(c * w), c + w * c)
        return c.sum()
    w, h = .7, 1e-4
    second = (written_out(w + h) - 2 * written_out(w) + written_out(w - h)) / h ** 2
    for f in (tj.hessian(looped), tj.jit(tj.jacfwd(tj.grad(looped)))):
        np.testing.assert_allclose(f(np.float64(w)), second, rtol=1e-5)

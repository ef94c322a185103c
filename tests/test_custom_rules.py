"""Custom derivative rules, and checkpoint: under every transform, with every kind of argument."""
from __future__ import annotations

import functools

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax

F64 = jnp.float64


# --- custom rules ----------------------------------------------------------------------------------------------------

def with_jvp():
    @tj.custom_jvp
    def f(x, y):
        return jnp.sin(x) * y
    f.defjvps(lambda t, out, x, y: 10 * t * y, lambda t, out, x, y: 100 * t * x)
    return f


def with_vjp():
    @tj.custom_vjp
    def f(x, y):
        return jnp.sin(x) * y
    f.defvjp(lambda x, y: (f(x, y), {"x": x, "y": y}), lambda res, ct: (10 * ct * res["y"], 100 * ct * res["x"]))
    return f


@pytest.mark.parametrize("make", [with_jvp, with_vjp])
def test_custom_rules_under_every_transform(make):
    f, x, y = make(), jnp.asarray(0.5, F64), jnp.asarray(2., F64)
    assert float(f(x, y)) == float(tj.jit(f)(x, y)) == pytest.approx(np.sin(0.5) * 2)
    for d in (tj.grad(f, (0, 1)), tj.jit(tj.grad(f, (0, 1))), tj.grad(tj.jit(f), (0, 1)), tj.grad(tj.checkpoint(f), (0, 1)),
              tj.jacrev(f, (0, 1)), lambda x, y: tj.vjp(f, x, y)[1](jnp.ones_like(x))):
        np.testing.assert_allclose(d(x, y), (20, 50))
    xs = jnp.array([0.5, 1.5], F64)
    np.testing.assert_allclose(tj.vmap(tj.grad(f, (0, 1)), (0, None))(xs, y), [[20, 20], [50, 150]])
    np.testing.assert_allclose(tj.grad(lambda y: tj.vmap(f, (0, None))(xs, y).sum())(y), 200)
    np.testing.assert_allclose(tj.grad(tj.grad(f), 1)(x, y), 10)
    in_scan = lambda x: lax.scan(lambda c, _: (f(c, y), None), x, None, length=2)[0]
    np.testing.assert_allclose(tj.grad(in_scan)(x), 400)
    in_while = lambda x: lax.while_loop(lambda c: c[1] < 2, lambda c: (f(c[0], y), c[1] + 1), (x, 0))[0]
    np.testing.assert_allclose(tj.grad(in_while)(x), 400)
    in_cond = lambda x: lax.cond(x > 0, lambda x: f(x, y), lambda x: x, x)
    np.testing.assert_allclose(tj.vmap(tj.grad(in_cond))(jnp.array([0.5, -1.], F64)), [20, 1])


def test_custom_jvp_in_forward_mode():
    f = with_jvp()
    np.testing.assert_allclose(tj.jvp(f, (0.5, 2.), (1., 1.))[1], 70, rtol=1e-6)
    np.testing.assert_allclose(tj.jacfwd(f)(0.5, 2.), 20, rtol=1e-6)
    np.testing.assert_allclose(tj.linearize(f, 0.5, 2.)[1](1., 0.), 20, rtol=1e-6)


def test_custom_rule_arguments():
    @functools.partial(tj.custom_jvp, nondiff_argnums=(0,))
    def apply(g, x, n=2):
        return g(x) * n
    apply.defjvp(lambda g, primals, tangents: (apply(g, *primals), 7. * tangents[0]))
    np.testing.assert_allclose(tj.grad(lambda x: apply(jnp.sin, x))(1.), 7)
    np.testing.assert_allclose(tj.jit(tj.grad(lambda x: apply(jnp.sin, x, n=3)))(1.), 7)

    @functools.partial(tj.custom_vjp, nondiff_argnums=(1,))
    def scale(x, k):
        return {"out": x["a"] * k}
    scale.defvjp(lambda x, k: (scale(x, k), None), lambda k, res, ct: ({"a": ct["out"] * 10 * k, "b": None},))
    grads = tj.grad(lambda x: scale(x, 3.)["out"])({"a": 1., "b": 2.})
    assert float(grads["a"]) == 30 and float(grads["b"]) == 0


def test_custom_rule_that_closes_over_values():
    table = jnp.arange(3.)

    def outer(y):
        @tj.custom_jvp
        def f(x):
            return x * y
        f.defjvp(lambda p, t: (p[0] * y, t[0] * y * table[2]))
        return tj.grad(f)(2.)
    assert float(outer(5.)) == 10 and float(tj.jit(outer)(5.)) == 10
    np.testing.assert_allclose(tj.vmap(outer)(table), [0, 2, 4])
    with pytest.raises(errors.UnexpectedTracerError, match="closes over"):
        tj.grad(lambda y: closing(y)(2.))(3.)


def closing(y):
    @tj.custom_jvp
    def f(x):
        return x * y
    f.defjvp(lambda p, t: (p[0] * y, t[0] * y))
    return f


def test_eager_calls_compile_once():
    table = jnp.arange(3.)
    f = closing(table)
    g = lambda x: f(x).sum()

    def run():
        return tj.grad(g)(1.), tj.vmap(g)(table), tj.vmap(tj.grad(g))(table), tj.vjp(g, 1.)[1](1.), table[0] + 2 * table
    run()
    before = tj.tools.stats()["programs"]
    run()
    assert tj.tools.stats()["programs"] == before


def test_custom_vjp_symbolic_zeros():
    seen = []

    @tj.custom_vjp
    def f(x, y):
        return x * y

    def fwd(x, y):
        seen.append((x.perturbed, y.perturbed))
        return x.value * y.value, (x.value, y.value)
    f.defvjp(fwd, lambda res, ct: (ct * res[1], ct * res[0]), symbolic_zeros=True)
    assert float(tj.grad(f)(2., 3.)) == 3 and seen == [(True, False)]


def test_integer_arguments_of_custom_rules():
    @tj.custom_vjp
    def f(x, i):
        return x * i
    f.defvjp(lambda x, i: (f(x, i), i), lambda i, ct: (ct * i, None))
    assert float(tj.grad(f)(2., 3)) == 3
    np.testing.assert_allclose(tj.vmap(tj.grad(f), (0, 0))(jnp.ones(2), jnp.array([3, 4])), [3, 4])


def test_bwd_may_give_one_array_for_a_node_that_holds_one():
    f = tj.custom_vjp(lambda p: p["x"][0] * p["y"])
    f.defvjp(lambda p: (f(p), p), lambda p, ct: ({"x": ct * p["y"], "y": ct * p["x"][0]},))
    assert tj.grad(f)({"x": [3.], "y": 2.}) == {"x": [2.], "y": 3.}
    f.defvjp(lambda p: (f(p), p), lambda p, ct: ({"x": None, "y": ct},))
    assert tj.grad(f)({"x": [3.], "y": 2.}) == {"x": [0.], "y": 1.}
    f.defvjp(lambda p: (f(p), p), lambda p, ct: (ct,))
    with pytest.raises(errors.TreeError, match="structure"):
        tj.grad(f)({"x": [3.], "y": 2.})


# --- checkpoint ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy", [None, "everything_saveable", "nothing_saveable", "dots_saveable",
                                    "dots_with_no_batch_dims_saveable", "checkpoint_dots"])
def test_checkpoint_policies(policy):
    rule = policy and getattr(tj.checkpoint_policies, policy)
    w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))

    def f(x):
        return jnp.sum(jnp.sin(jnp.sin(x) @ w) ** 2)
    x = jnp.array([0.1, 0.2, 0.3], F64)
    expected = tj.grad(f)(x)
    g = tj.checkpoint(f, policy=rule)
    for d in (tj.grad(g), tj.jit(tj.grad(g))):
        np.testing.assert_allclose(d(x), expected, rtol=1e-12)
    np.testing.assert_allclose(tj.hessian(g)(x), tj.hessian(f)(x), rtol=1e-10)
    np.testing.assert_allclose(tj.vmap(tj.grad(g))(jnp.stack([x, x])), [expected] * 2, rtol=1e-12)


def test_checkpoint_traces_wherever_it_is_called():
    seen = []
    f = tj.checkpoint(lambda x, flag: (seen.append(type(flag)), jnp.sin(x) if flag else x)[1])
    fixed = tj.checkpoint(lambda x, flag: (seen.append(type(flag)), x)[1], static_argnums=1)
    assert f(0.5, True) == jnp.sin(0.5) and f(0.5, False) == 0.5 and fixed(0.5, True) == 0.5
    assert isinstance(f(0.5, True), tj.Array) and seen[-2:] == [bool, seen[0]] and issubclass(seen[0], tj.core.Tracer)


def test_checkpoint_names():
    from_names = tj.checkpoint_policies.save_only_these_names

    def f(x):
        return jnp.sin(tj.ad_checkpoint.checkpoint_name(jnp.sin(x), "e"))

    def sines(policy):
        graph = tj.jit(tj.grad(tj.checkpoint(f, policy=policy))).trace(jnp.asarray(0.5)).jaxpr
        return str(graph).count("= sin[")
    assert sines(from_names("e")) < sines(from_names("other")) == sines(None)
    both = tj.checkpoint_policies.save_from_both_policies(from_names("e"), tj.checkpoint_policies.dots_saveable)
    assert sines(both) == sines(from_names("e"))
    for policy in (from_names("e"), both, tj.checkpoint_policies.save_anything_except_these_names("e"),
                   tj.checkpoint_policies.save_any_names_but_these("x")):
        np.testing.assert_allclose(tj.grad(tj.checkpoint(f, policy=policy))(0.5), tj.grad(f)(0.5), rtol=1e-6)


def test_checkpoint_static_arguments():
    @functools.partial(tj.checkpoint, static_argnums=(1,))
    def f(x, flag):
        return jnp.sin(x) if flag else x
    np.testing.assert_allclose(tj.grad(f)(0.5, True), np.cos(0.5), rtol=1e-6)
    assert float(tj.jit(tj.grad(f), static_argnums=1)(0.5, False)) == 1


def test_rules_close_over_traced_values():
    def slope(y, from_residuals):
        @tj.custom_vjp
        def f(x):
            return 2. * jnp.sin(x)
        if from_residuals:
            f.defvjp(lambda x: (f(x), y), lambda y, ct: (2. * jnp.cos(y) * ct,))
        else:
            inner = lambda: jnp.cos(y)
            f.defvjp(lambda x: (f(x), ()), lambda _, ct: (2. * inner() * ct,))
        return tj.grad(f)(1.)
    ys = np.arange(3, dtype=np.float32)
    for flag in (False, True):
        f = functools.partial(slope, from_residuals=flag)
        for transformed in (tj.vmap(f), tj.jit(tj.vmap(f)), tj.vmap(tj.jit(f)), lambda ys: jnp.stack([tj.jit(f)(y) for y in ys])):
            np.testing.assert_allclose(transformed(ys), 2 * np.cos(ys), rtol=1e-6)
        np.testing.assert_allclose(tj.grad(f)(4.), -2 * np.sin(4.), rtol=1e-6)


def test_a_rule_may_read_what_is_differentiated_outside():
    def f(y):
        @tj.custom_jvp
        def g(x):
            return jnp.sin(x)
        g.defjvp(lambda primals, tangents: (g(*primals), y * tangents[0]))
        return g(2.) * y
    np.testing.assert_allclose(tj.grad(f)(3.), np.sin(2.), rtol=1e-6)


def test_cotangents_that_nobody_asked_for_are_symbolic():
    seen = []

    def make():
        @tj.custom_vjp
        def f(x, y):
            return x * 2, y * 3

        def bwd(_, cts):
            seen.append([isinstance(ct, tj.custom_derivatives.SymbolicZero) for ct in cts])
            return cts[0], None if seen[-1][1] else cts[1]
        f.defvjp(lambda x, y: (f(x.value, y.value), None), bwd, symbolic_zeros=True)
        return f
    assert tj.grad(lambda x: make()(x, x)[0])(1.) == 1 and seen == [[False, True]]
    assert tj.grad(lambda x: sum(make()(x, x)))(1.) == 2 and seen[1:] == [[False, False]]
    np.testing.assert_array_equal(tj.grad(lambda x: tj.vmap(make())(x, x)[0].sum())(jnp.ones(2)), [1, 1])
    assert seen[2:] == [[False, True]]


def test_the_derivative_of_a_batching_rule_is_that_of_the_rule():
    @tj.custom_batching.custom_vmap
    def f(x):
        return jnp.sin(x)

    @f.def_vmap
    def rule(size, in_batched, x):
        return jnp.cos(x), in_batched[0]
    push = lambda x, t: tj.jvp(f, (x,), (t,))
    x, t = np.arange(3., dtype=np.float32), np.array([2., 3., 5.], np.float32)
    for y, dy in (tj.vmap(push)(x, t), tj.jvp(tj.vmap(f), (x,), (t,)), tj.jit(tj.vmap(push))(x, t)):
        np.testing.assert_allclose(y, np.cos(x), rtol=1e-6)
        np.testing.assert_allclose(dy, -np.sin(x) * t, rtol=1e-6)
    y, dy = tj.vmap(push, in_axes=(None, 0), out_axes=(None, 0))(1., t)
    np.testing.assert_allclose(dy, -np.sin(1.) * t, rtol=1e-6)
    y, dy = tj.vmap(push, in_axes=(0, None))(x, 2.)
    np.testing.assert_allclose(dy, -np.sin(x) * 2, rtol=1e-6)
    np.testing.assert_allclose(tj.jacfwd(f)(x), -np.diag(np.sin(x)), rtol=1e-6)
    np.testing.assert_allclose(tj.vmap(tj.vmap(push))(x[None], t[None])[1][0], -np.sin(x) * t, rtol=1e-6)


def test_rules_of_a_function_inside():
    @tj.custom_vjp
    @tj.custom_batching.custom_vmap
    def f(x):
        return jnp.sin(x)
    f.def_vmap(lambda size, in_batched, x: (jnp.cos(x), True))
    f.defvjp(lambda x: (f(x), x), lambda x, ct: (7 * ct,))
    np.testing.assert_allclose(tj.vmap(f)(np.ones(2, np.float32)), np.cos([1., 1.]), rtol=1e-6)
    assert tj.grad(f)(1.) == 7


def test_functions_with_fixed_arguments():
    f = functools.partial(lambda x, y, a: x + y * a, a=.5)
    g = tj.custom_jvp(f)
    g.defjvp(functools.partial(tj.jvp, f))
    assert tj.grad(lambda xs: g(*xs))((1., 2.)) == (1., .5)


def test_known_arguments_at_compile_time():
    @tj.custom_jvp
    def f(x):
        return x + (1 if x > 0 else 2)
    f.defjvp(lambda primals, tangents: 1 / 0)

    def g():
        with tj.ensure_compile_time_eval():
            return f(0.)
    assert tj.jit(g)() == 2

"""Python called from compiled code: values, order, lanes, errors, and that nothing is called in vain."""
from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import debug, lax
from tracejit.errors import ShapeError, TreeError
from tracejit.experimental import io_callback
from tracejit.runtime.array import ArrayImpl

X = np.float32([1, 2, 3])
LIKE_X = np.zeros(3, np.float32)


@pytest.mark.parametrize("wrap", [tj.jit, lambda f: f], ids=["jit", "eager"])
def test_trees_and_keywords_come_and_go(wrap):
    def host(x, *, pair):
        assert isinstance(x, ArrayImpl)
        return {"sum": np.asarray(x) + np.asarray(pair[0]), "n": np.int32(len(pair))}

    def f(x):
        out = tj.pure_callback(host, {"sum": LIKE_X, "n": np.int32(0)}, x, pair=(x, x))
        return lax.mul(out["sum"], np.float32(2)), out["n"]
    total, n = wrap(f)(X)
    np.testing.assert_array_equal(total, 4 * X)
    assert int(n) == 2


@pytest.mark.parametrize("method, shapes", [("sequential", [((3,), (3,))] * 2), ("expand_dims", [((2, 3), (1, 3))]),
                                            ("broadcast_all", [((2, 3), (2, 3))])])
def test_vmap_methods(method, shapes):
    seen = []

    def host(x, y):
        seen.append((x.shape, y.shape))
        return np.asarray(x) * np.asarray(y)
    f = lambda x, y: tj.pure_callback(host, LIKE_X, x, y, vmap_method=method)
    found = tj.jit(tj.vmap(f, in_axes=(0, None)))(np.stack([X, 2 * X]), X)
    np.testing.assert_array_equal(found, [X * X, 2 * X * X])
    assert seen == shapes


def test_vmap_needs_a_method():
    f = lambda x: tj.pure_callback(np.sin, LIKE_X, x)
    with pytest.raises(NotImplementedError, match="vmap_method is one of 'sequential'"):
        tj.vmap(f)(np.stack([X, X]))
    with pytest.raises(ValueError, match="must be one of the allowed methods .* but got: parallel"):
        tj.pure_callback(np.sin, LIKE_X, X, vmap_method="parallel")


def test_unused_pure_callbacks_are_not_called():
    @tj.jit
    def f(x):
        tj.pure_callback(pytest.fail, LIKE_X, x)
        return x
    np.testing.assert_array_equal(f(X), X)


def test_io_callbacks_run_once_each_and_in_order():
    log = []

    @tj.jit
    def f(x):
        for k in range(4):
            io_callback(lambda v, k=k: log.append((k, float(v))), None, x, ordered=k % 2 == 0)
        return lax.neg(x)
    for value in (1.0, 2.0):
        f(np.float32(value))
    assert log == [(k, v) for v in (1.0, 2.0) for k in range(4)]


def test_a_counter_has_its_own_state():
    count = iter(range(100))

    @tj.jit
    def f():
        draw = lambda: io_callback(lambda: np.int32(next(count)), np.int32(0))
        return draw(), draw()
    assert [int(v) for v in f()] == [0, 1]


def test_effects_in_loops_and_branches(capsys):
    def step(total, k):
        debug.print("step {} of {total}", k, total=total)
        return lax.add(total, k), total

    def f(n):
        total, _ = lax.scan(step, np.int32(0), np.arange(3, dtype=np.int32))
        lax.cond(lax.gt(n, 0), lambda: debug.print("positive"), lambda: debug.print("not positive"))
        return lax.while_loop(lambda k: lax.lt(k, 2), lambda k: (debug.print("while {}", k), lax.add(k, 1))[1], n)
    assert int(tj.jit(f)(np.int32(1))) == 2
    assert capsys.readouterr().out.splitlines() == ["step 0 of 0", "step 1 of 0", "step 2 of 1", "positive", "while 1"]


def test_effects_in_loops_whose_values_are_computed_ahead(capsys):
    w = jnp.arange(256.0).reshape(16, 16) / 256

    def body(c, x):
        debug.print("c {}", c.ndim)
        return c + w @ x + jnp.sin(jnp.exp(x[0])), None
    f = lambda xs: lax.scan(body, jnp.zeros(16), xs)[0]
    xs = jnp.linspace(0.0, 1.0, 40 * 16).reshape(40, 16)
    found = np.asarray(tj.jit(f)(xs))
    assert capsys.readouterr().out == "c 1\n" * 40
    np.testing.assert_allclose(found, (xs @ w.T).sum(0) + np.sin(np.exp(xs[:, 0])).sum(), rtol=1e-5)


def test_derivatives_pass_debug_callbacks_by(capsys):
    def f(x):
        debug.print("x is {x:.1f}", x=x)
        return lax.mul(x, x)
    assert float(tj.grad(f)(np.float32(3))) == 6
    assert float(tj.jvp(f, (np.float32(3),), (np.float32(1),))[1]) == 6
    assert capsys.readouterr().out == "x is 3.0\n" * 2


def test_lanes_print_one_by_one(capsys):
    tj.vmap(lambda x: debug.print("lane {}", x))(X)
    assert capsys.readouterr().out == "lane 1.0\nlane 2.0\nlane 3.0\n"
    with pytest.raises(ValueError, match="ordered"):
        tj.vmap(lambda x: io_callback(print, None, x, ordered=True))(X)


def test_debug_callbacks_take_any_argument(capsys):
    tj.jit(lambda x: debug.callback(lambda name, x, unit: print(name, x, unit), "length", x, unit="m"))(np.float32(2))
    assert capsys.readouterr().out == "length 2.0 m\n"


@pytest.mark.parametrize("fmt, args, kwargs, message", [
    ("{} {}", (1,), {}, r"asks for \['1'\]"), ("{x}", (), {}, r"asks for \['x'\]"), ("{}", (1, 2), {}, r"\['1'\] do not occur"),
    ("done", (), {"x": 1}, r"\['x'\] do not occur")])
def test_formats_are_checked_when_traced(fmt, args, kwargs, message):
    with pytest.raises((ValueError, LookupError), match=message):
        debug.print(fmt, *args, **kwargs)


class Refused(Exception):
    """Raised by callbacks."""


def refuse(x):
    raise Refused(float(x))


@pytest.mark.parametrize("wrap", [tj.jit, lambda f: f], ids=["jit", "eager"])
def test_what_a_callback_raises_is_raised_by_the_call(wrap):
    f = wrap(lambda x: lax.add(tj.pure_callback(refuse, np.float32(0), x), np.float32(1)))
    for value in (1.0, 2.0):
        with pytest.raises(Refused, match=str(value)):
            f(np.float32(value))
    ok = wrap(lambda x: lax.add(x, np.float32(1)))
    assert float(ok(np.float32(1))) == 2


@pytest.mark.parametrize("host, error, message", [
    (lambda x: np.zeros(4, np.float32), ShapeError, r"returned shape \(4,\) where result_shape_dtypes says f32\[3\]"),
    (lambda x: np.zeros(3, np.complex64), ShapeError, "returned complex64"), (lambda x: (x, x), TreeError, "the callback returned"),
])
def test_results_are_checked(host, error, message):
    with pytest.raises(error, match=message):
        tj.jit(lambda x: tj.pure_callback(host, LIKE_X, x))(X)


@pytest.mark.parametrize("call", [lambda x: tj.pure_callback(np.sin, LIKE_X, x), lambda x: io_callback(np.sin, LIKE_X, x)],
                         ids=["pure", "io"])
def test_no_derivatives_of_results(call):
    with pytest.raises(ValueError, match="callbacks do not support JVP"):
        tj.jvp(call, (X,), (X,))


def test_callbacks_from_several_threads():
    f = tj.jit(lambda x: tj.pure_callback(lambda v: np.asarray(v) * 2, LIKE_X, x))
    wrong = []

    def work(k):
        for _ in range(50):
            if not np.array_equal(f(X * k), 2 * k * X):
                wrong.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_callback_may_call_compiled_code():
    inner = tj.jit(lambda x: lax.add(x, np.float32(1)))
    outer = tj.jit(lambda x: tj.pure_callback(lambda v: inner(v), LIKE_X, x))
    np.testing.assert_array_equal(outer(X), X + 1)


def test_arguments_outlive_the_call():
    kept = []
    host = kept.append
    for k in range(3):
        io_callback(host, None, X * k)
        gc.collect()
    for k in range(3):
        np.testing.assert_array_equal(kept[k], X * k)

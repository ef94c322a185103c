"""Refs: reads and writes at once, in compiled programs, loops and branches, against the same statements on NumPy arrays."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax, ref


def value(r: tj.Ref) -> np.ndarray:
    return np.asarray(r[...])


def statements(r) -> None:
    r[0] = 5.
    r[1:] += 2.
    r[jnp.array([2, 3])] = r[:2] * 10.
    r[...] = r[...] - 1.


EXPECTED = np.array([4., 2., 49., 29.], np.float32)


def test_at_once() -> None:
    r = tj.new_ref(jnp.arange(4.))
    statements(r)
    np.testing.assert_array_equal(value(r), EXPECTED)
    assert (r.shape, r.dtype, r.ndim, r.size, len(r)) == ((4,), np.float32, 1, 4, 4) and isinstance(r, ref.Ref)
    assert repr(tj.new_ref(jnp.arange(2))) == "Ref([0, 1], dtype=int32)" and repr(tj.typeof(r)) == "Ref{f32[4]}"
    assert float(ref.swap(r, 1, 7)) == 2. and float(ref.get(r, 1)) == 7.
    r.addupdate(jnp.ones(2), jnp.array([0, 0]))
    assert float(r[0]) == 6. and ref.freeze(r).shape == (4,)
    with pytest.raises(ValueError):
        r[0]


def test_compiled_arguments_and_closures() -> None:
    outer, traces = tj.new_ref(jnp.zeros(())), []

    @tj.jit
    def f(r, x):
        traces.append(1)
        statements(r)
        made = tj.new_ref(x)
        made[...] *= 2.
        outer[...] += made[...]
        return r[0] + outer[...]
    for i, expected in enumerate([4. + 6., 4. + 12.]):
        r = tj.new_ref(jnp.arange(4.))
        assert float(f(r, 3.)) == expected
        np.testing.assert_array_equal(value(r), EXPECTED)
        assert float(outer[...]) == 6. * (i + 1)
    assert len(traces) == 1
    outer[...] = 100.
    assert float(tj.jit(lambda: tj.jit(lambda: outer[...] * 2)())()) == 200.
    assert float(tj.jit(lambda r, x: f(r, x))(tj.new_ref(jnp.arange(4.)), 0.)) == 104.
    with pytest.raises(ValueError):
        f(outer, outer)


@pytest.mark.parametrize("compiled", [False, True])
def test_loops_and_branches(compiled: bool) -> None:
    r, total = tj.new_ref(jnp.zeros(5)), tj.new_ref(jnp.zeros((), jnp.int32))

    def step(c, x):
        r[c] = x * r[c - 1] + 1.
        total[...] += c
        return c + 1, r[0]

    def branch(i):
        r[i] = -r[i]

    def run(n):
        seen = lax.scan(step, 1, jnp.arange(1., 5.))[1]
        lax.fori_loop(0, 3, lambda i, c: [total.__setitem__(..., total[...] * 2), c][1], None)
        lax.fori_loop(0, n, lambda i, c: [total.__setitem__(..., total[...] + 1), c][1], ())
        lax.while_loop(lambda i: r[i] > 0, lambda i: [r.__setitem__(i, 0.), i + 1][1], 3)
        lax.cond(n > 1, branch, lambda i: None, 1)
        lax.switch(n, [lambda: None, lambda: None, lambda: branch(2)])
        lax.cond(n > 5, lambda a: a.__setitem__(0, 9.), lambda a: a.__setitem__(0, 8.), r)
        return seen
    seen = (tj.jit(run) if compiled else run)(2)
    np.testing.assert_array_equal(np.asarray(seen), np.zeros(4))
    np.testing.assert_array_equal(value(r), [8., -1., -3., 0., 0.])
    assert int(total[...]) == 82


def test_derivatives_of_functions_that_make_refs() -> None:
    def f(x):
        r = tj.new_ref(jnp.zeros(3))
        r[0] = x
        lax.fori_loop(1, 3, lambda i, _: r.__setitem__(i, jnp.sin(r[i - 1]) * x), None)
        return r[2]

    def plain(x):
        return jnp.sin(jnp.sin(x) * x) * x
    for g in (f, tj.jit(f)):
        np.testing.assert_allclose(float(tj.grad(g)(0.7)), float(tj.grad(plain)(0.7)), rtol=1e-6)
        np.testing.assert_allclose(float(tj.jvp(g, (0.7,), (1.,))[1]), float(tj.grad(plain)(0.7)), rtol=1e-6)
    xs = jnp.arange(3.)
    np.testing.assert_allclose(np.asarray(tj.vmap(f)(xs)), np.asarray(plain(xs)), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(tj.vmap(tj.grad(f))(xs)), np.asarray(tj.vmap(tj.grad(plain))(xs)), rtol=1e-5)


def test_vmap_over_refs() -> None:
    rows, shift = tj.new_ref(jnp.arange(6.).reshape(2, 3)), tj.new_ref(jnp.asarray(10.))

    def f(row, x):
        row[0] = x + shift[...]
        return row[1]
    np.testing.assert_array_equal(np.asarray(tj.vmap(f)(rows, jnp.arange(2.))), [1., 4.])
    np.testing.assert_array_equal(value(rows), [[10., 1., 2.], [11., 4., 5.]])
    tj.vmap(lambda column: column.__setitem__(1, 0.), in_axes=1)(rows)
    np.testing.assert_array_equal(value(rows), [[10., 1., 2.], [0., 0., 0.]])
    with pytest.raises(errors.OuterWriteError):
        tj.vmap(lambda x: shift.__setitem__(..., x))(jnp.arange(2.))


def test_misuse() -> None:
    r = tj.new_ref(jnp.zeros(3))
    for misuse in (lambda: r + 1, lambda: np.asarray(r), lambda: jnp.sin(r), lambda: iter(r), lambda: r.__setitem__(0, np.ones(1, np.int32)[0]),
                   lambda: r.__setitem__(..., jnp.ones(4)), lambda: tj.new_ref(r), lambda: ref.get(jnp.ones(2), 0)):
        with pytest.raises((TypeError, ValueError)):
            misuse()
    kept = []
    tj.jit(lambda: kept.append(tj.new_ref(jnp.zeros(2))))()
    with pytest.raises(errors.OuterWriteError):
        kept[0][...]
    with pytest.raises(errors.DtypeError):
        tj.jit(lambda: tj.new_ref(jnp.zeros(2)))()
    empty = tj.empty_ref(tj.ShapeDtypeStruct((0, 2), np.int8))
    empty[...] = 1
    assert value(empty).shape == (0, 2)


def test_gradients_of_functions_that_write_refs_of_others() -> None:
    seen = tj.new_ref(jnp.zeros(()))

    def f(x):
        y = tj.checkpoint(lambda x: [seen.__setitem__(..., jnp.sin(x)), jnp.cos(x)][1])(x)
        return y * seen[...]
    for g in (tj.grad(f), tj.jit(tj.grad(f))):
        seen[...] = 0.
        np.testing.assert_allclose(float(g(0.3)), np.cos(0.6), rtol=1e-6)
        np.testing.assert_allclose(float(seen[...]), np.sin(0.3), rtol=1e-6)
    assert float(tj.value_and_grad(lambda x: (x * x, [seen.__setitem__(..., x), x][1]), has_aux=True)(2.)[0][1]) == 2. == float(seen[...])

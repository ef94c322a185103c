"""`eager`: operations on known arrays run compiled code at once, and run their Python function everywhere else."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.types import ArrayType
from tracejit.runtime import array
from tracejit.runtime.eager import eager


def f32(*values):
    return array.from_numpy(np.array(values, np.float32))


def counted():
    calls = []

    def add(x, y):
        calls.append((x, y))
        return lax.add(x, y)
    return eager(add), calls


def test_each_kind_of_call_is_traced_once():
    add, calls = counted()
    x = f32(1, 2)
    for n_traces, other in enumerate([x, 1.0, 2, np.float32(3)], start=1):
        for _ in range(3):
            np.testing.assert_array_equal(add(x, other), np.asarray(x) + np.asarray(other, np.float32))
        assert len(calls) == n_traces
    np.testing.assert_array_equal(add(x, np.ones(2, np.float32)), [2, 3])  # the types of add(x, x)
    np.testing.assert_array_equal(add(x, 7.0), [8, 9])                     # another number, the same code
    assert len(calls) == 4


def test_weak_numbers_do_not_promote():
    add, _ = counted()
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = array.from_numpy(np.ones(3).astype(ArrayType((3,), dtype).dtype))
        for _ in range(2):
            assert add(x, 1.5).dtype == x.dtype and add(x, 1).dtype == x.dtype


def test_other_arguments_reach_the_function():
    same = eager(lambda *args, **kwargs: (args, kwargs))
    assert same(1, 2) == ((1, 2), {}) and same("a") == (("a",), {}) and same() == ((), {})
    x = f32(1)
    args, kwargs = same(x, k=x)
    assert args[0] is x and kwargs["k"] is x
    refuses = eager(lambda x, y: NotImplemented)
    assert refuses(x, "a") is NotImplemented


def test_inside_transforms():
    add, calls = counted()
    x = f32(1, 2, 3)
    np.testing.assert_array_equal(tj.jit(lambda x: add(x, add(x, 1.0)))(x), [3, 5, 7])
    np.testing.assert_array_equal(tj.grad(lambda x: lax.reduce_sum(add(x, x), (0,)))(x), [2, 2, 2])
    np.testing.assert_array_equal(tj.vmap(lambda x: add(x, 1.0))(x), [2, 3, 4])


def test_binds_as_an_operator():
    class Number:
        def __init__(self, x):
            self.x = x
        __add__ = eager(lambda self, other: lax.add(self.x, other))
    np.testing.assert_array_equal(Number(f32(1, 2)) + 1.0, [2, 3])


def test_errors_name_the_users_line():
    add, _ = counted()
    with pytest.raises(TypeError, match="test_eager.py"):
        add(f32(1, 2), f32(1, 2, 3))


def test_static_arguments_are_compiled_in():
    traces = []

    def scaled(x, by=2, shift=None, *, name="a"):
        traces.append((by, name))
        out = lax.mul(x, np.float32(by))
        return out if shift is None else lax.add(out, shift)
    f, x = eager(scaled, ["by", "name"]), f32(1, 2)
    for _ in range(3):
        np.testing.assert_array_equal(f(x), [2, 4])
        np.testing.assert_array_equal(f(x, 3, x), [4, 8])
        np.testing.assert_array_equal(f(x, name="b", by=3), [3, 6])
        np.testing.assert_array_equal(f(x=x, by=True), [1, 2])      # equal to 1, and another argument
        np.testing.assert_array_equal(f(x, by=1), [1, 2])
    assert len(traces) == 5
    np.testing.assert_array_equal(f(np.ones(2, np.float32)), [2, 2])    # no Array: at once
    assert len(traces) == 6
    with pytest.raises(TypeError):
        f(x, [1, 2], x, x)


def test_many_static_arguments_are_forgotten(monkeypatch):
    monkeypatch.setattr("tracejit.runtime.eager.MOST_PROGRAMS", 3)
    f = eager(lambda x, by: lax.mul(x, np.float32(by)), ["by"])
    for by in [*range(8), *range(8)]:
        np.testing.assert_array_equal(f(f32(1, 2), by), [by, 2 * by])


@pytest.mark.parametrize("shape", [(2, 3, 4), (24,), (1, 24, 1), (4, 1, 6)])
def test_arrays_of_other_shapes_share_memory(shape):
    x = jnp.arange(24.0).reshape(4, 6) + 1
    y = x.reshape(shape)
    assert y.shape == shape and y.dtype == x.dtype and (y is x or y.unsafe_buffer_pointer() == x.unsafe_buffer_pointer())
    step = tj.jit(lambda x: x + 1, donate_argnums=0)
    wanted = np.asarray(x).reshape(shape)
    z = step(x)         # the memory stays as long as y does
    assert x.is_deleted()
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(z, wanted.reshape(4, 6) + 1)
    other = step(y)
    np.testing.assert_array_equal(other, wanted + 1)
    for same in (jnp.expand_dims(z, (0, 2)), z[None], jnp.squeeze(z[:, None]), z.ravel(), z[..., None]):
        assert same.unsafe_buffer_pointer() == z.unsafe_buffer_pointer()
    assert jnp.zeros((0, 3)).reshape(3, 0).shape == (3, 0)


def test_constants_are_remembered_and_each_call_has_its_own():
    step = tj.jit(lambda x: x + 1, donate_argnums=0)
    for make in (lambda: jnp.zeros((2, 3)), lambda: jnp.arange(5), lambda: jnp.eye(2, dtype=jnp.int8), lambda: jnp.full(3, 2.5),
                 lambda: tj.random.PRNGKey(3)):
        first = np.asarray(make()).copy()
        for _ in range(3):
            np.testing.assert_array_equal(step(make()), first + 1)
        np.testing.assert_array_equal(make(), first)
    made = [jnp.full(2, x) for x in (1, 1.0, True, 0.0, -0.0, np.float64(1), np.nan, 1 + 0j) for _ in range(2)]
    assert [str(x.dtype) for x in made[::2]] == ["int32", "float32", "bool", "float32", "float32", str(made[10].dtype), "float32", "complex64"]
    assert np.signbit(made[9]).all() and not np.signbit(made[7]).any()
    with tj.enable_x64(True):
        assert jnp.zeros((2, 3)).dtype == jnp.float64 and jnp.arange(5).dtype == jnp.int64
    assert jnp.zeros((2, 3)).dtype == jnp.float32
    assert jnp.zeros([2]).shape == jnp.zeros(jnp.array(2)).shape == (2,)
    with pytest.raises(TypeError):
        jnp.zeros("a")


def test_sequences_of_arrays_are_compiled_once():
    x, y = jnp.arange(3.0), np.ones(3)
    for _ in range(3):
        np.testing.assert_array_equal(jnp.stack([x, x + 1], axis=1), np.stack([x, x + 1], 1))
        np.testing.assert_array_equal(jnp.concatenate((x, y)), np.concatenate((x, y)))
        np.testing.assert_array_equal(jnp.stack([x[0], 2.5]), [0, 2.5])
        np.testing.assert_array_equal(jnp.stack(jnp.ones((2, 3)), axis=1), np.ones((3, 2)))
    assert jnp.concatenate([x, y]).dtype == np.float64
    for wrong, error in (([x, jnp.ones((2, 2))], (TypeError, ValueError)), ([], ValueError), ([x, "a"], TypeError)):
        with pytest.raises(error):
            jnp.concatenate(wrong)
    np.testing.assert_array_equal(tj.grad(lambda x: (jnp.stack([x, 2 * x]) ** 2).sum())(x), 10 * np.asarray(x))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i1", "c8", "?"])
def test_numbers_written_into_arrays(dtype):
    wanted = np.arange(6).astype(dtype)
    x = jnp.asarray(wanted)
    number = {"f": 0.1, "i": 3, "c": 1j, "b": True}[wanted.dtype.kind]
    for _ in range(3):
        for index in (0, -1, slice(1, 3), slice(None, 2), slice(-2, None), slice(2, 2), (slice(1, 9),)):
            expected = wanted.copy()
            expected[index] = number
            found = x.at[index].set(number)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == x.dtype and found.weak_type is False
            np.testing.assert_array_equal(x[index], wanted[index])


def test_axes_in_every_form():
    x = jnp.arange(6.0).reshape(2, 3)
    for axes in ((1, 0), [1, 0], np.array([1, 0]), (-1, -2)):
        np.testing.assert_array_equal(x.transpose(axes), np.asarray(x).T)
        np.testing.assert_array_equal(jnp.transpose(x, axes), np.asarray(x).T)
    np.testing.assert_array_equal(x.transpose(1, 0), x.transpose(None))
    for shape in ((3, 2), [3, 2], np.array([3, 2]), (np.int64(3), -1)):
        np.testing.assert_array_equal(x.reshape(shape), np.arange(6).reshape(3, 2))
    assert x.reshape(np.int64(6)).shape == x.reshape(jnp.array(6)).shape == x.reshape(-1).shape == (6,)
    for wrong in (lambda: jnp.moveaxis(x, None, 0), lambda: x.reshape(2.5), lambda: x.reshape("a")):
        with pytest.raises(TypeError):
            wrong()

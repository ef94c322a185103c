"""`eager`: operations on known arrays run compiled code at once, and run their Python function everywhere else."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
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

"""Products through cuBLASLt, up to the library's own door: what is called, with as many arguments and of the kinds that it takes."""
from __future__ import annotations

import ctypes
import math
import re

import numpy as np
import pytest

cublasLt = pytest.importorskip("nvmath.bindings.cublasLt", reason="needs nvmath-python")

from tracejit.codegen.cuda.interface import Epilogue, View
from tracejit.runtime.cuda import cublaslt

ITEM = np.dtype("float32").itemsize
DTYPES = {"matmul_desc_set_attribute": "get_matmul_desc_attribute_dtype", "matrix_layout_set_attribute": "get_matrix_layout_attribute_dtype",
          "matmul_preference_set_attribute": "get_matmul_preference_attribute_dtype"}


def checked(name: str, calls: list):
    """A function that takes what the library's does by its documented signature, and notes it."""
    signature = re.search(r"\((.*?)\)", getattr(cublasLt, name).__doc__)[1]
    parameters = [p for p in signature.split(",") if p.strip()]

    def call(*arguments):
        assert len(arguments) == len(parameters), f"{name}({signature})"
        assert all(not isinstance(a, np.ndarray) and a == int(a) for a in arguments)
        calls.append((name, arguments))
        if name in DTYPES:
            kind = np.dtype(getattr(cublasLt, DTYPES[name])(int(arguments[1])))
            assert arguments[-1] == kind.itemsize, f"{name}: attribute {arguments[1]!r} is a {kind}"
        if name == "matmul_algo_get_heuristic":
            ctypes.c_int32.from_address(arguments[-1]).value = 1
        return len(calls)
    return call


@pytest.fixture
def calls(monkeypatch):
    made: list = []
    for name in ("create", "matmul_desc_create", "matmul_desc_set_attribute", "matrix_layout_create", "matrix_layout_set_attribute",
                 "matmul_preference_create", "matmul_preference_set_attribute", "matmul_preference_destroy",
                 "matmul_algo_get_heuristic", "matmul"):
        monkeypatch.setattr(cublasLt, name, checked(name, made))
    return made


@pytest.fixture
def products(calls):
    return cublaslt.Products(type("Workspace", (), {"address": 0x10000})())


def views(dtype, *, at: int = 0x1000) -> list[View]:
    return [View(at * k, shape, np.dtype(dtype)) for k, shape in enumerate([(2, 3, 4, 5), (2, 3, 5, 6), (2, 3, 4, 6)], 1)]


@pytest.mark.parametrize("precision", ["float32", "tensorfloat32", "bfloat16"])
@pytest.mark.parametrize("dtype", list(cublaslt.DATA), ids=str)
def test_calls_have_the_librarys_signature(calls, products, dtype, precision):
    x, y, out = views(dtype)
    products.plan(lambda make: make(), x, y, out, precision, Epilogue(), False)(x, y, out, None, 0x5000)
    (_, found), = [c for c in calls if c[0] == "matmul"]
    assert [found[k] for k in (3, 5, 8, 10)] == [y.address, x.address, out.address, out.address] and found[-1] == 0x5000


def test_a_plan_serves_other_addresses_of_the_same_alignment(calls, products):
    plan = lambda at: products.plan(lambda make: make(), *views("float32", at=at), "float32", Epilogue(), False)
    assert plan(0x1000) and plan(0x3000) and len(products.plans) == 1
    assert plan(0x1004) and len(products.plans) == 2


def test_alignment_counts_the_steps_between_matrices():
    assert cublaslt.alignment_of(0x5000, 5 * ITEM) == math.gcd(256, 20) == 4


class Memory:
    """What cuBLASLt would do with the calls: each matrix is read in columns, at the address and with the steps that it is told."""

    def __init__(self, calls, arrays):
        self.calls, self.arrays = calls, arrays

    def matrix(self, address, layout):
        _, (_, rows, columns, leading) = self.calls[layout - 1]     # its number is the call that made it
        flat = self.arrays[address // 0x100000]
        assert leading >= rows and (columns - 1) * leading + rows <= flat.size
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (ITEM, leading * ITEM))


@pytest.mark.parametrize("left", ["as it lies", "transposed", "one row"])
@pytest.mark.parametrize("right", ["as it lies", "transposed", "one column"])
def test_columns_of_the_library_are_rows_of_ours(calls, products, left, right):
    """The product that cuBLASLt is asked for, done by NumPy on the memory that it is told of, is ours."""
    rng, shape = np.random.default_rng(0), lambda how, m, n: (n, m) if how == "transposed" else (m, n)
    m, k, n = 1 if left == "one row" else 3, 5, 1 if right == "one column" else 4
    a, b = rng.normal(size=shape(left, m, k)).astype("f4"), rng.normal(size=shape(right, k, n)).astype("f4")
    x, y = a.T if left == "transposed" else a, b.T if right == "transposed" else b
    view = lambda at, v: View(at, v.shape, v.dtype, tuple(s // ITEM for s in v.strides))
    out = np.zeros((m, n), "f4")
    views = view(0x100000, x), view(0x200000, y), View(0x300000, out.shape, out.dtype)
    products.plan(lambda make: make(), *views, "float32", Epilogue(), False)(*views, None, 0x5000)
    memory = Memory(calls, {1: a.ravel(), 2: b.ravel(), 3: out.ravel()})
    (_, made), = [c for c in calls if c[0] == "matmul"]
    matrices = [memory.matrix(made[at], made[at + 1]) for at in (3, 5, 10)]
    flips = [cublaslt.matrix_of(v).is_transposed for v in (views[1], views[0])]
    first, second = [v.T if flip else v for v, flip in zip(matrices, flips)]
    matrices[2][...] = first @ second
    np.testing.assert_allclose(memory.arrays[3].reshape(m, n), x @ y, rtol=1e-5)


def test_overlapping_columns_are_refused():
    assert cublaslt.matrix_of(View(0, (3, 4), np.dtype("f4"), (0, 1))) is None
    assert cublaslt.matrix_of(View(0, (3, 4), np.dtype("f4"), (2, 1))) is None


def test_what_the_library_refuses_is_not_asked_again(products):
    x, y, out = views("float32")
    asked = []
    for _ in range(3):
        assert products.plan(asked.append, x, y, out, "float32", Epilogue(), False) is None
    assert len(asked) == 1

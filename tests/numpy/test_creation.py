"""Array creation, ranges, grids, dtypes against NumPy and jax.numpy."""
import numpy as np
import pytest
from oracle import assert_same, check, floats, ints

import tracejit.numpy as jnp


@pytest.mark.parametrize("value", [1, 1.5, 1j, True, [1, 2], [1.0, 2], [True, 2], [[1], [2]], [], [[], []], (1, 2), range(3), [1j, 2],
                                   np.float32(2), np.int8(3), np.arange(3, dtype=np.int16), [np.float32(1), 2], [[1, 2.5], [3, 4]]])
def test_array_of_python_objects(value):
    check("array", value)
    check("asarray", value)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int8", "uint8", "bool", "complex64", "float16", float, int, bool])
def test_array_with_dtype(dtype):
    check("array", [0, 1, 2], numpy=False, dtype=dtype)
    check("asarray", 3, numpy=False, dtype=dtype)
    check("zeros", (2, 3), numpy=False, dtype=dtype)
    check("ones", 3, numpy=False, dtype=dtype)
    check("full", (2,), 7, numpy=False, dtype=dtype)


def test_array_of_arrays():
    x = jnp.array([jnp.array([1, 2]), jnp.array([3.5, 4])])
    assert_same(x, np.array([[1, 2], [3.5, 4]], np.float32))
    assert jnp.array([[1, jnp.float32(2)], [3, 4]]).dtype == np.float32
    assert jnp.array(x, ndmin=4).shape == (1, 1, 2, 2)
    assert jnp.array([jnp.int8(1), jnp.int8(2)]).dtype == np.int8


@pytest.mark.parametrize("value,error", [("a", TypeError), (b"abc", TypeError), (None, ValueError), ({1: 2}, TypeError),
                                         ([[1], [1, 2]], ValueError), ([None], TypeError), (["a"], TypeError)])
def test_array_refuses(value, error):
    with pytest.raises(error):
        jnp.array(value)


def test_order_and_copy_arguments():
    with pytest.raises(NotImplementedError):
        jnp.array([1], order="F")
    x = jnp.ones(3)
    assert jnp.asarray(x) is x
    assert jnp.array(x) is not x


@pytest.mark.parametrize("args", [(3,), (1, 5), (5, 1, -2), (0, 1, 0.25), (0, 10, 3), (3.5,), (-2, 2.5), (0,), (5, 2), (2, 8, 2)])
def test_arange(args):
    check("arange", *args)
    check("arange", *args, dtype="float32")


def test_arange_of_odd_arguments():
    check("arange", np.int8(3), numpy=False)
    check("arange", 3, numpy=False, dtype="uint8")
    with pytest.raises(TypeError):
        jnp.arange("a")
    assert jnp.arange(np.int64(4)).dtype == np.int32
    assert jnp.arange(start=1, stop=3).shape == (2,)


@pytest.mark.parametrize("num", [0, 1, 2, 5, 50])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace(num, endpoint):
    check("linspace", 0, 1, num, endpoint=endpoint)
    check("linspace", -2.5, 7, num, endpoint=endpoint)
    check("linspace", floats(3), floats(3), num, endpoint=endpoint, axis=-1)
    check("linspace", floats(3), 5, num, endpoint=endpoint)
    check("linspace", 0, 1, num, endpoint=endpoint, retstep=True, numpy=num > 1)


def test_spaces():
    check("linspace", 0, 10, 4, dtype=int, numpy=False)
    check("linspace", 0, 1j, 4)
    check("logspace", 0, 3, 7, rtol=1e-4)
    check("logspace", 0, 3, 7, base=2, endpoint=False, rtol=1e-4)
    check("geomspace", 1, 1000, 4, rtol=1e-4)
    check("geomspace", -1, -1000, 4, rtol=1e-4)
    with pytest.raises(ValueError):
        jnp.linspace(0, 1, -1)


def test_eye_and_triangles():
    for n, m, k in [(3, None, 0), (2, 4, 1), (4, 2, -1), (3, 3, 5), (0, 0, 0)]:
        check("eye", n, m, k)
        check("tri", n, m, k)
    check("identity", 3)
    check("eye", 2, dtype=int, numpy=False)


def test_like_functions():
    x = floats(2, 3, dtype="float16")
    for name in ("zeros_like", "ones_like"):
        check(name, x)
        check(name, x, dtype="int32")
        check(name, 1.0)
        check(name, 1)
        check(name, x, shape=(4,))
    check("full_like", x, 2.5)
    check("full_like", ints(3), 2.5)
    check("full", (2, 3), np.array([1, 2, 3], np.int32))
    check("full", 3, 1.0)
    check("full", (), 2)
    assert jnp.empty((2, 3)).shape == (2, 3) and jnp.empty_like(jnp.ones(4)).shape == (4,)


def test_grids():
    a, b, c = floats(3), ints(4), floats(2)
    for indexing in ("xy", "ij"):
        for sparse in (False, True):
            check("meshgrid", a, b, indexing=indexing, sparse=sparse)
            check("meshgrid", a, b, c, indexing=indexing, sparse=sparse)
    check("meshgrid", a)
    check("indices", (2, 3))
    check("indices", (2, 3), sparse=True)
    check("indices", (2,), dtype="float32")
    assert_same(jnp.fromfunction(lambda i, j: i * 10 + j, (2, 3)), np.fromfunction(lambda i, j: i * 10 + j, (2, 3)))


def test_reading_buffers():
    check("frombuffer", b"\x01\x02\x03", numpy=lambda b, dtype: np.frombuffer(b, dtype), dtype="uint8")
    check("fromstring", "1 2 3", dtype=int, sep=" ")
    for name in ("fromfile", "fromiter"):
        with pytest.raises(NotImplementedError):
            getattr(jnp, name)(None)
    assert_same(jnp.from_dlpack(np.arange(3.0, dtype=np.float32)), np.arange(3.0))


def test_negative_size_is_refused():
    with pytest.raises((TypeError, ValueError)):
        jnp.zeros((-1,))


# --- dtypes ------------------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "bfloat16", "float32", "complex64"]


@pytest.mark.parametrize("a", DTYPES)
def test_promote_types_is_jaxs(a):
    jax_numpy = pytest.importorskip("jax.numpy")
    for b in DTYPES:
        da, db = np.dtype(getattr(jnp, a)), np.dtype(getattr(jnp, b))
        assert jnp.promote_types(da, db) == jax_numpy.promote_types(da, db)
        assert jnp.result_type(jnp.ones(1, da), jnp.ones(1, db)) == jax_numpy.result_type(jax_numpy.ones(1, da), jax_numpy.ones(1, db))
    for scalar in (True, 1, 1.0, 1j):
        mine, theirs = jnp.multiply(jnp.ones(2, da), scalar), jax_numpy.multiply(jax_numpy.ones(2, da), scalar)
        assert (mine.dtype, mine.weak_type) == (theirs.dtype, theirs.weak_type)


def test_scalar_types():
    x = jnp.float32(3)
    assert x.dtype == np.float32 and x.shape == () and float(x) == 3.0
    assert jnp.float32 == np.float32 and jnp.float32 == np.dtype("float32") and jnp.float32 != np.float64
    assert np.dtype(jnp.bfloat16).itemsize == 2 and jnp.zeros(2, jnp.bfloat16).dtype == jnp.bfloat16
    assert {np.dtype("float32"): 1}[np.dtype(jnp.float32)] == 1
    assert jnp.int64 != int and jnp.bool_ == np.bool_ and jnp.bool is jnp.bool_
    assert jnp.int_ is jnp.int32 and jnp.float_ is jnp.float32 and jnp.double is jnp.float64 and jnp.single is jnp.float32
    assert np.zeros(2, jnp.int8).dtype == np.int8 and jnp.ones(2).astype(jnp.int32).dtype == jnp.int32
    assert isinstance(np.float32(1), jnp.float32)


def test_questions_about_dtypes():
    assert jnp.issubdtype(jnp.float32, jnp.floating) and jnp.issubdtype("int8", jnp.integer)
    assert jnp.issubdtype(jnp.bfloat16, jnp.floating) and jnp.issubdtype(jnp.bfloat16, jnp.inexact)
    assert not jnp.issubdtype(jnp.int32, jnp.floating) and jnp.issubdtype(jnp.complex64, np.complexfloating)
    assert jnp.issubdtype(np.float64, float) and not jnp.issubdtype("f4", float)
    assert jnp.issubdtype(jnp.uint8, jnp.unsignedinteger) and not jnp.issubdtype(bool, np.integer)
    assert jnp.isdtype(jnp.float32, "real floating") and jnp.isdtype(jnp.int8, ("bool", "integral"))
    assert jnp.isdtype(jnp.float32, jnp.float32) and not jnp.isdtype("int32", "complex floating")
    with pytest.raises(ValueError):
        jnp.isdtype("int32", "nothing")
    assert jnp.can_cast("int8", "int32") and not jnp.can_cast(jnp.float32, jnp.int32)
    assert jnp.finfo(jnp.float32).eps == np.finfo(np.float32).eps and jnp.finfo(jnp.bfloat16).bits == 16
    assert jnp.iinfo(jnp.int8).max == 127
    assert jnp.result_type(1, 2.0) == np.float32 and jnp.result_type(jnp.int8(1), 2) == np.int8
    assert jnp.promote_types(float, "float16") == np.float16


def test_astype():
    x = np.array([1.7, -1.7, 0.0], np.float32)
    for dtype in ("int32", "bool", "complex64", "float16", "uint8"):
        check("astype", x if dtype != "uint8" else np.abs(x), dtype, numpy=lambda v, d: v.astype(d))
    assert_same(jnp.astype(jnp.array([1 + 2j]), "float32"), np.array([1.0], np.float32))
    assert jnp.array([2.5]).astype(int).dtype == np.int32


def test_constants():
    assert jnp.pi == np.pi and jnp.e == np.e and jnp.inf == np.inf and np.isnan(jnp.nan) and jnp.newaxis is None
    assert jnp.euler_gamma == np.euler_gamma

"""Arrays, the buffer pool and executables; these and the dispatch tests run again with the plain Python classes at the end."""
from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest
from runtime_harness import ADD, F8, FAIL, add, add_and_subtract, entry, f8, run_python, scalar

from tracejit import errors
from tracejit.ir.types import FOREIGN_KIND, SHORT_NAMES, ArrayType
from tracejit.runtime import array, device, library
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.executable import Executable, fail_with

DTYPES = list(SHORT_NAMES)
needs_native = pytest.mark.skipif(not array.is_native, reason="only native types do this")


def sample(dtype: np.dtype, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    values = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 5)
    return np.asarray(values + 1j).astype(dtype) if dtype.kind == "c" else values.astype(dtype)


# --- conversion ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0, 2), (2, 1, 3)])
@pytest.mark.parametrize("dtype", DTYPES, ids=SHORT_NAMES.get)
def test_numpy_round_trip(dtype, shape):
    x = sample(dtype, shape)
    a = array.from_numpy(x)
    assert a.type is ArrayType(shape, dtype) and a.shape == shape and a.dtype == dtype and not a.weak_type
    assert (a.ndim, a.size, a.nbytes, a.itemsize) == (x.ndim, x.size, x.nbytes, x.itemsize)
    y = np.asarray(a)
    assert y.dtype == dtype and y.shape == shape and not y.flags.writeable
    np.testing.assert_array_equal(y, x)


def test_view_is_zero_copy_and_keeps_the_array_alive():
    a = f8()
    y, address = np.asarray(a), a.unsafe_buffer_pointer()
    assert y.__array_interface__["data"][0] == address
    del a
    gc.collect()
    others = [f8(100 + i) for i in range(50)]
    np.testing.assert_array_equal(y, np.arange(8))
    assert len(others) == 50


def test_conversion_to_another_dtype_and_copies():
    a = f8()
    assert np.asarray(a, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError):
        a.__array__(np.float64, copy=False)
    c = np.array(a)
    c[0] = 7
    assert c[0] == 7 and float(np.asarray(a)[0]) == 0


def test_source_mutation_is_not_seen():
    x = np.ones(5)
    a = array.from_numpy(x)
    x[:] = 2
    np.testing.assert_array_equal(a, np.ones(5))


def test_zero_copy_from_numpy():
    x = np.arange(6.0).reshape(2, 3)
    a = array.from_numpy(x, copy=False)
    assert a.unsafe_buffer_pointer() == x.__array_interface__["data"][0]
    with pytest.raises(ValueError, match="without a copy"):
        array.from_numpy(x.T, copy=False)


@pytest.mark.parametrize("x", [np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::-2], np.arange(4, dtype=">f4"),
                               np.broadcast_to(np.float32(3), (2, 3))], ids=["transposed", "reversed", "big-endian", "broadcast"])
def test_other_layouts(x):
    a = array.from_numpy(x)
    assert a.dtype.isnative
    np.testing.assert_array_equal(a, x)


@pytest.mark.parametrize("value, dtype, weak", [
    (True, "bool", False), (3, "int32", True), (2.5, "float32", True), (1j, "complex64", True),
    (np.float32(1), "float32", False), (np.float64(1), "float64", True), (np.int8(1), "int8", False), (2**40, "int64", True)])
def test_scalars(value, dtype, weak):
    a = array.from_numpy(value)
    assert a.dtype == np.dtype(dtype) and a.weak_type is weak and a.item() == value


def test_what_cannot_be_an_array():
    for bad in (np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "M8[D]")):
        with pytest.raises(TypeError):
            array.from_numpy(bad)
    with pytest.raises(OverflowError):
        array.from_numpy(2**70)


def test_memory_is_aligned():
    assert all(array.empty(ArrayType((n,), np.dtype("u1"))).unsafe_buffer_pointer() % 64 == 0 for n in (0, 1, 64, 1000, 10**7))


# --- Python protocols ------------------------------------------------------------------------------------

def test_numbers():
    x = scalar(2.5)
    assert float(x) == 2.5 and int(x) == 2 and complex(x) == 2.5 and bool(x) and x.item() == 2.5
    assert range(5)[array.from_numpy(3)] == 3
    for convert in (int, float, complex):
        with pytest.raises(TypeError):
            convert(f8())
    with pytest.raises(TypeError):
        range(5)[x]
    with pytest.raises(ValueError, match="more than one"):
        bool(f8())
    with pytest.raises(ValueError, match="empty"):
        bool(array.from_numpy(np.zeros(0)))


def test_sequence_protocol():
    a = array.from_numpy(np.arange(6).reshape(3, 2))
    assert len(a) == 3 and [row.tolist() for row in a] == [[0, 1], [2, 3], [4, 5]] and a.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert [row.tolist() for row in reversed(a)] == [[4, 5], [2, 3], [0, 1]]
    first, *_ = array.from_numpy(np.arange(3.0))
    assert first.shape == () and first.dtype == np.float64
    for use in (len, iter):
        with pytest.raises(TypeError):
            use(scalar(1))


def test_immutable_and_unhashable():
    a = f8()
    with pytest.raises(errors.ImmutableArrayError, match=r"x = x\.at\[1:, 0\]\.set\(value\)"):
        a[1:, 0] = 3
    with pytest.raises(TypeError):
        del a[0]
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)
    with pytest.raises((TypeError, ValueError, BufferError)):
        np.asarray(a)[0] = 1


@pytest.mark.parametrize("value, text", [
    (np.array([1.0, 2.0], np.float32), "Array([1., 2.], dtype=float32)"), (1.5, "Array(1.5, dtype=float32, weak_type=True)"),
    (np.zeros((0, 3)), "Array([], shape=(0, 3), dtype=float64)"), (np.array([True]), "Array([ True], dtype=bool)"),
    (np.arange(4, dtype=np.int8).reshape(2, 2), "Array([[0, 1],\n       [2, 3]], dtype=int8)"),
    (np.array([1], ml_dtypes.bfloat16), "Array([1], dtype=bfloat16)")])
def test_repr(value, text):
    assert repr(array.from_numpy(value)) == text


def test_text():
    assert str(f8()) == str(np.arange(8, dtype=np.float32)) and f"{scalar(2.5):.3f}" == "2.500"
    long = array.from_numpy(np.arange(9.0) + 1e6)
    assert repr(long).splitlines()[-1] == "      dtype=float64)" or len(repr(long).splitlines()[-1]) <= 75
    gone = f8()
    gone.delete()
    assert "deleted" in repr(gone)


@pytest.mark.parametrize("dtype", DTYPES, ids=SHORT_NAMES.get)
def test_pickle_and_copies(dtype):
    a = array.from_numpy(sample(dtype))
    for b in (pickle.loads(pickle.dumps(a)), copy.copy(a), copy.deepcopy(a)):
        assert b.type is a.type and b.unsafe_buffer_pointer() != a.unsafe_buffer_pointer()
        np.testing.assert_array_equal(b, a)
    weak = pickle.loads(pickle.dumps(array.from_numpy(2.0)))
    assert weak.weak_type


def test_device():
    a = f8()
    assert a.device == device.cpu() and a.devices() == {device.cpu()} and a.block_until_ready() is a
    assert str(a.device) == "cpu:0" and a.sharding.device_set == {device.cpu()}
    with pytest.raises(RuntimeError):
        device.devices("tpu")


def test_methods_can_be_attached(monkeypatch):
    add = lambda self, other: array.from_numpy(np.asarray(self) + np.asarray(other))
    monkeypatch.setattr(array.ArrayImpl, "doubled", lambda self: array.from_numpy(np.asarray(self) * 2), raising=False)
    monkeypatch.setattr(array.ArrayImpl, "__add__", add)
    monkeypatch.setattr(array.ArrayImpl, "__radd__", add)
    assert float(np.asarray(f8().doubled())[3]) == 6 and float(np.asarray(f8() + f8())[2]) == 4
    assert isinstance(np.ones(8, np.float32) + f8(), array.ArrayImpl)


def test_class_cannot_be_instantiated():
    with pytest.raises(TypeError):
        array.ArrayImpl()
    if array.is_native:
        with pytest.raises(TypeError):
            object.__new__(array.ArrayImpl)


def test_weakrefs_are_cleared():
    a, seen = f8(), []
    ref = weakref.ref(a, lambda _: seen.append(True))
    assert ref() is a
    del a
    gc.collect()
    assert ref() is None and seen == [True]


# --- deletion, views, exchange ---------------------------------------------------------------------------

def test_delete():
    a = f8()
    a.delete()
    a.delete()
    assert a.is_deleted() and a.shape == (8,)
    for use in (np.asarray, lambda x: x.item(0), lambda x: x.block_until_ready(), copy.copy, list):
        with pytest.raises(RuntimeError, match="deleted"):
            use(a)


def test_memory_outlives_deletion_while_it_is_viewed():
    a = f8()
    host, part = np.asarray(a), array.view_of(a, ArrayType((4,), np.dtype("f4")), 16)
    a.delete()
    others = [f8(50 + i) for i in range(20)]
    np.testing.assert_array_equal(host, np.arange(8))
    np.testing.assert_array_equal(part, np.arange(4, 8))
    assert len(others) == 20


def test_views_stay_inside():
    with pytest.raises(ValueError):
        array.view_of(f8(), ArrayType((8,), np.dtype("f4")), 4)


@needs_native
def test_buffer_protocol():
    view = memoryview(array.from_numpy(np.arange(6, dtype=np.int16).reshape(2, 3)))
    assert (view.format, view.shape, view.strides, view.readonly, view.itemsize) == ("h", (2, 3), (6, 2), True, 2)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]] and bytes(view) == np.arange(6, dtype=np.int16).tobytes()
    with pytest.raises(BufferError):
        memoryview(array.from_numpy(np.array([1], ml_dtypes.bfloat16)))
    a = f8()
    held = memoryview(a)
    assert a._exports == 1
    held.release()
    assert a._exports == 0
    a.delete()
    with pytest.raises(BufferError, match="deleted"):
        memoryview(a)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in FOREIGN_KIND], ids=SHORT_NAMES.get)
def test_dlpack_round_trip(dtype):
    a = array.from_numpy(sample(dtype))
    there = np.from_dlpack(a)
    np.testing.assert_array_equal(there, a)
    assert there.__array_interface__["data"][0] == a.unsafe_buffer_pointer()
    back = array.from_dlpack(a)
    assert back.type is a.type
    np.testing.assert_array_equal(back, a)


def test_dlpack_lends_memory():
    x = np.arange(5.0)
    a = array.from_dlpack(x)
    assert a.unsafe_buffer_pointer() == x.__array_interface__["data"][0]
    address = a.unsafe_buffer_pointer()
    del x
    gc.collect()
    np.testing.assert_array_equal(a, np.arange(5.0))
    b = np.from_dlpack(f8())
    gc.collect()
    np.testing.assert_array_equal(b, np.arange(8))
    assert array.from_dlpack(a, copy=True).unsafe_buffer_pointer() != address
    np.testing.assert_array_equal(array.from_dlpack(np.arange(6.0).reshape(2, 3).T), np.arange(6.0).reshape(2, 3).T)
    with pytest.raises(ValueError):
        array.from_dlpack(np.arange(6.0).reshape(2, 3).T, copy=False)
    with pytest.raises(TypeError):
        array.from_dlpack([1, 2])


@needs_native
def test_an_unused_capsule_gives_the_array_back():
    a = f8()
    capsule = a.__dlpack__()
    assert a._exports == 1
    del capsule
    assert a._exports == 0


# --- the pool --------------------------------------------------------------------------------------------

@needs_native
def test_memory_is_reused():
    big = ArrayType((1 << 20,), np.dtype("f4"))
    first = array.empty(big)
    address = first.unsafe_buffer_pointer()
    del first
    assert array.empty(big).unsafe_buffer_pointer() == address


@needs_native
def test_idle_memory_is_bounded():
    library.blocks.trim()
    assert library.blocks.idle_bytes == 0
    many = [array.empty(ArrayType((900_000,), np.dtype("u1"))) for _ in range(400)]
    del many
    assert 0 < library.blocks.idle_bytes <= library.blocks.limit_bytes
    library.blocks.trim()
    assert library.blocks.idle_bytes == 0


def test_absurd_sizes_raise_memory_error():
    with pytest.raises(MemoryError, match=str(1 << 45) if array.is_native else None):
        array.empty(ArrayType((1 << 45,), np.dtype("u1")))


# --- executables -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("released", [False, True])
def test_run(released):
    total, difference = add_and_subtract(long_running=released).run([f8(1), f8()])
    np.testing.assert_array_equal(total, 2 * np.arange(8) + 1)
    np.testing.assert_array_equal(difference, np.ones(8))


def test_run_checks_its_arguments():
    code = add()
    with pytest.raises(TypeError, match="compiled for"):
        code.run([f8(), scalar(1)])
    gone = f8()
    gone.delete()
    with pytest.raises(errors.DonatedArrayError):
        code.run([gone, f8()])


def test_constants_and_arena():
    code = Executable(entry(ADD, "test_add"), [F8], [F8], consts=[f8(10)], arena_bytes=5000)
    np.testing.assert_array_equal(code.run([f8()])[0], 2 * np.arange(8) + 10)


@pytest.mark.parametrize("code, error", [(1, KeyboardInterrupt), (77, RuntimeError)])
@pytest.mark.parametrize("released", [False, True])
def test_error_codes(code, error, released):
    failing = Executable(entry(FAIL, f"test_fail_{code}", code=code), [F8], [F8], long_running=released)
    f = Jitted(lambda x: failing.run([x])[0])
    for _ in range(2):
        with pytest.raises(error):
            f(f8())
        f.add_entry((F8,), failing, 0)


def test_callback_errors():
    failing = Executable(entry(FAIL, "test_fail_2", code=2), [F8], [F8])
    f = Jitted(lambda x: failing.run([x])[0])
    for _ in range(2):
        fail_with(ZeroDivisionError("in the callback"))
        with pytest.raises(ZeroDivisionError, match="in the callback"):
            f(f8())
        f.add_entry((F8,), failing, 0)


# --- interpreters -----------------------------------------------------------------------------------------

SECOND_INTERPRETER = """
import sys
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
import tracejit.runtime.native
code = '''
import sys
sys.path.insert(0, ".")
try:
    import tracejit.runtime.native
except ImportError:
    print("refused", flush=True)
'''
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(interpreters.create(), code)
"""


def test_subinterpreters_are_refused():
    assert "refused" in run_python(SECOND_INTERPRETER)


@needs_native
def test_the_plain_classes_pass_the_same_tests():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__,
                           __file__.replace("test_runtime", "test_dispatch")],
                          env={**os.environ, "TRACEJIT_NATIVE_DISPATCH": "0"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]

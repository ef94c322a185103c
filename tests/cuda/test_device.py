"""The CUDA runtime's own code on a pretended driver: order and arguments of its calls, memory, graphs, errors."""
from __future__ import annotations

import importlib
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="needs numba-cuda")
pytest.importorskip("cuda.core", reason="needs cuda-core")

from pretended_gpu import CAPACITY, CUDARuntimeError, Driver, core_of, cupy_of, cupyx_of, factors_of

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cuda.interface import View
from tracejit.config import config
from tracejit.errors import DeviceError, DeviceMemoryError
from tracejit.runtime.cuda import devices as known

NAMES = ("tracejit.runtime.cuda.device", "tracejit.runtime.cuda.staging", "tracejit.runtime.cuda.cusolver")


@pytest.fixture
def driver(monkeypatch):
    """A driver, with the modules that use it loaded anew."""
    made = Driver()
    cupy = cupy_of(made)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    cupyx, factors = cupyx_of(), factors_of()
    cupyx.scipy = factors["cupyx.scipy"]
    for name, module in {"cupyx": cupyx, **factors}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(NAMES[0])
    for name, value in core_of(made).items():
        monkeypatch.setattr(module, name, value)
    known.runtime_of.cache_clear()
    made.cupy = cupy
    with config.setting(emulate_cuda=0):
        yield made
    known.runtime_of.cache_clear()
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def gpu(driver):
    return tj.devices("gpu")[0]


def test_the_device_is_found(gpu):
    assert (gpu.device_kind, repr(gpu)) == ("Pretended GPU", "CudaDevice(id=0)")
    assert gpu.runtime.compute_capability == (9, 0) and gpu.runtime.multiprocessors == 132 and not gpu.runtime.is_emulated


def test_no_driver_is_an_error_with_a_fix(driver):
    def fail():
        raise CUDARuntimeError("cudaErrorInsufficientDriver")
    driver.cupy.cuda.runtime.getDeviceCount = fail
    with pytest.raises(DeviceError, match=r"(?s)cudaErrorInsufficientDriver.*doctor"):
        tj.device_put(1.0, "gpu")


@pytest.mark.parametrize("n", [0, 7, 100_000])
@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "float32", "complex128"])
def test_arrays_go_and_come_back(gpu, dtype, n):
    x = np.asarray(jnp.asarray(np.arange(n) % 3).astype(dtype))
    y = tj.device_put(x, gpu)
    assert np.asarray(y).tobytes() == x.tobytes() and y.device == gpu


def test_programs_run_and_are_replayed(gpu, driver):
    a = np.linspace(-1, 1, 300, dtype="f4").reshape(20, 15)
    x = tj.device_put(a, gpu)
    f = tj.jit(lambda x: jnp.exp(x) / jnp.exp(x).sum(1, keepdims=True))
    for _ in range(8):
        assert np.allclose(np.asarray(f(x)), np.exp(a) / np.exp(a).sum(1, keepdims=True), rtol=1e-5)
    g = tj.jit(lambda x: x + 1, donate_argnums=0)
    y = x + 0
    for k in range(6):
        y = g(y)
    assert np.allclose(np.asarray(y), a + 6) and driver.launched


def test_products_loops_and_callbacks(gpu):
    a = np.random.default_rng(0).normal(size=(8, 8)).astype("f4")

    @tj.jit
    def f(x):
        x = lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c @ x), x)
        x = lax.cond(x[0, 0] > 5, lambda x: x * 2, lambda x: x - 1, x)
        return tj.pure_callback(lambda x: np.asarray(x) * 2, tj.ShapeDtypeStruct((8, 8), "float32"), x)
    assert np.allclose(np.asarray(f(tj.device_put(a, gpu))), np.asarray(f(a)), atol=1e-5)


def test_functions_of_the_array_library_keep_the_order_of_the_stream(gpu):
    a = np.random.default_rng(0).normal(size=(5, 7)).astype("f4")
    f = tj.jit(lambda x: (jnp.sort(x, 1), jnp.fft.fft(x).real, jnp.argsort(x, 0)))
    for got, want in zip(f(tj.device_put(a, gpu)), (np.sort(a, 1), np.fft.fft(a).real, np.argsort(a, 0)), strict=True):
        assert np.allclose(np.asarray(got), want, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5, 5), (2, 6, 3), (0, 3, 3), (2, 0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_factors_are_made_on_the_device(gpu, dtype, shape):
    rng = np.random.default_rng(0)
    a = (rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype[0] == "c" else 0)).astype(dtype)
    h = np.swapaxes(a.conj(), -1, -2) @ a + np.eye(shape[-1], dtype=dtype)
    x, y = tj.device_put(a, gpu), tj.device_put(h, gpu)
    before = dict(gpu.runtime.transfers())
    q, r = tj.jit(jnp.linalg.qr)(x)
    u, s, vh = tj.jit(lambda x: jnp.linalg.svd(x, full_matrices=False))(x)
    factor, (values, vectors) = tj.jit(lax.linalg.cholesky)(y), tj.jit(jnp.linalg.eigh)(y)
    assert 0 in shape or not [why for why in gpu.runtime.transfers() if why not in before], "nothing goes through the host"
    q, r, u, s, vh, factor, values, vectors = map(np.asarray, (q, r, u, s, vh, factor, values, vectors))
    near = lambda got, want: np.testing.assert_allclose(got, want, atol=1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-12)
    near(q @ r, a)
    near((u * s[..., None, :]) @ vh, a)
    near(factor @ np.swapaxes(factor.conj(), -1, -2), h)
    near((vectors * values[..., None, :]) @ np.swapaxes(vectors.conj(), -1, -2), h)
    near(s, np.linalg.svd(a, compute_uv=False))
    near(values, np.linalg.eigvalsh(h))


@pytest.mark.parametrize("lead", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_systems_are_solved_on_the_device(gpu, dtype, lead):
    rng = np.random.default_rng(0)
    made = lambda *shape: (rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype[0] == "c" else 0)).astype(dtype)
    a, b, wide = made(*lead, 5, 5), made(*lead, 5, 2), made(*lead, 3, 5)
    there = [tj.device_put(x, gpu) for x in (a, b, wide)]
    before = dict(gpu.runtime.transfers())
    packed, pivots, order = tj.jit(lax.linalg.lu)(there[0])
    flat, _, flat_order = tj.jit(lax.linalg.lu)(there[2])
    x, y = tj.jit(jnp.linalg.solve)(*there[:2]), tj.jit(tj.grad(lambda a, b: abs(jnp.linalg.solve(a, b)).sum(), 1))(*there[:2])
    kinds = [dict(left_side=left, lower=lower, transpose_a=turned, conjugate_a=conjugate, unit_diagonal=unit) for left in (True, False)
             for lower in (True, False) for turned in (True, False) for conjugate in (True, False) for unit in (True, False)]
    right = tj.device_put(np.swapaxes(b, -1, -2).copy(), gpu)
    solved = [tj.jit(lambda a, b, k=k: lax.linalg.triangular_solve(a, b, **k))(there[0], there[1] if k["left_side"] else right) for k in kinds]
    assert not [why for why in gpu.runtime.transfers() if why not in before], "nothing goes through the host"
    near = lambda got, want: np.testing.assert_allclose(np.asarray(got), np.asarray(want), atol=2e-3 if dtype == "float32" else 1e-9, rtol=1e-3)
    for matrix, factors, rows in ((a, packed, order), (wide, flat, flat_order)):
        factors, n = np.asarray(factors), min(matrix.shape[-2:])
        lower = np.tril(factors[..., :n], -1) + np.eye(matrix.shape[-2], n)
        near(lower @ np.triu(factors[..., :n, :]), np.take_along_axis(matrix, np.asarray(rows)[..., None], -2))
    near(a @ np.asarray(x), b)
    near(y, tj.grad(lambda a, b: abs(jnp.linalg.solve(a, b)).sum(), 1)(a, b))
    assert np.array_equal(np.asarray(pivots), np.asarray(lax.linalg.lu(a)[1]))
    for k, got in zip(kinds, solved, strict=True):
        near(got, lax.linalg.triangular_solve(a, b if k["left_side"] else np.swapaxes(b, -1, -2), **k))


def test_only_the_matrices_without_factors_are_nan(gpu):
    a = np.stack([np.eye(3), -np.eye(3), np.full((3, 3), np.nan)]).astype("f4")
    found = np.asarray(tj.jit(lax.linalg.cholesky)(tj.device_put(a, gpu)))
    assert np.array_equal(found[0], np.eye(3)) and np.isnan(np.diagonal(found[1:], axis1=1, axis2=2)).all()


def test_precision_of_products(gpu, monkeypatch):
    asked = []
    runtime = gpu.runtime
    gemm = runtime.gemm
    monkeypatch.setattr(runtime, "gemm", lambda *args, precision="float32", **rest: (asked.append(precision), gemm(*args, **rest)))
    x = tj.device_put(np.ones((40, 40), "f4"), gpu)
    for precision in (None, "highest", "high", "tensorfloat32", lax.DotAlgorithmPreset.BF16_BF16_F32, lax.DotAlgorithmPreset.F32_F32_F32):
        tj.jit(lambda x, p=precision: jnp.matmul(x, x, precision=p))(x)
    with tj.default_matmul_precision("tensorfloat32"):
        tj.jit(lambda x: x @ x)(x)
    assert asked == ["float32", "float32", "tensorfloat32", "tensorfloat32", "bfloat16", "float32", "tensorfloat32"]


def test_what_cannot_be_captured_runs_without_a_graph(gpu, driver):
    a = np.random.default_rng(0).normal(size=(40, 40)).astype("f4")
    x, f = tj.device_put(a, gpu), tj.jit(lambda x: x @ x + 1)
    for _ in range(6):
        assert np.allclose(np.asarray(f(x)), a @ a + 1, atol=1e-4)
    assert driver.recorded is None and not gpu.runtime.is_capturing


def test_programs_run_in_new_threads(gpu):
    x, f, found = tj.device_put(np.arange(4, dtype="f4"), gpu), tj.jit(lambda x: x * 2), []
    f(x)
    thread = threading.Thread(target=lambda: found.append(np.asarray(f(x))))
    thread.start()
    thread.join()
    assert found[0].tolist() == [0, 2, 4, 6]


def test_threads_wait_while_one_captures(gpu):
    runtime, started = gpu.runtime, threading.Event()
    buffer = runtime.allocate(400, "ours")

    def other():
        started.set()
        runtime.upload(buffer.address, np.ones(100, "f4"))
    runtime.begin_capture()
    thread = threading.Thread(target=other)
    thread.start()
    started.wait()
    runtime.fill(buffer.address, 400)
    graph = runtime.end_capture()
    thread.join()
    assert len(graph.calls) == 1, "the other thread's copy is not in the graph"
    runtime.replay(graph)
    assert not np.asarray(runtime.download(View(buffer.address, (100,), np.dtype("f4")))).any()


def test_a_library_that_refuses_leaves_its_reason(driver, monkeypatch):
    from tracejit.runtime.cuda.device import Optional

    class Refusing:
        def plan(self, tried, *what):
            return tried(lambda: 1 // 0)
    found = Optional("staging", lambda module: Refusing())
    assert found.planned() is None and found.refusals == ["ZeroDivisionError: integer division or modulo by zero"]
    absent = Optional("no_such_module", lambda module: module)
    assert absent.planned() is None and "no_such_module" in absent.refusals[0]


def test_convolutions(gpu):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 9, 8)).astype("f4"), rng.normal(size=(4, 3, 3, 2)).astype("f4")
    f = tj.jit(lambda x, w: lax.conv(x, w, (2, 1), "SAME"))
    assert np.allclose(np.asarray(f(tj.device_put(x, gpu), tj.device_put(w, gpu))), np.asarray(f(x, w)), atol=1e-5)


def test_memory_runs_out(gpu):
    x = tj.device_put(np.zeros(100, "f4"), gpu)
    with pytest.raises(DeviceMemoryError, match=r"(?s)too much needs 256.0 MiB, .* of 256.0 MiB are free.*400 bytes  f32\[100\]"):
        gpu.runtime.allocate(CAPACITY, "too much")
    with config.setting(device_memory_limit=1000), pytest.raises(DeviceMemoryError):
        gpu.runtime.allocate(1001)
    stats = gpu.memory_stats()
    assert stats["bytes_limit"] == CAPACITY and stats["bytes_reserved"] >= stats["bytes_in_use"] >= 400 and x.size


def test_strided_views_are_downloaded(gpu):
    x = tj.device_put(np.arange(12, dtype="f4"), gpu)
    view = View(x.unsafe_buffer_pointer(), (4, 3), np.dtype("f4"), (1, 4))
    assert np.array_equal(gpu.runtime.download(view), np.arange(12).reshape(3, 4).T)


def test_uploads_are_staged(gpu):
    runtime = gpu.runtime
    host = np.arange(1 << 16, dtype="f4")
    for _ in range(3):
        x = tj.device_put(host, gpu)
        host += 1
        assert np.asarray(x)[5] == host[5] - 1
    assert len(runtime.staging.buffers) == 1, "page-locked memory is used again"


def test_large_uploads_go_in_pieces_and_wait_for_the_oldest(gpu, driver, monkeypatch):
    staging = sys.modules["tracejit.runtime.cuda.staging"]
    monkeypatch.setattr(staging, "LEAST", 1 << 10)
    monkeypatch.setattr(staging, "MOST", 1 << 12)
    driver.events_done = False      # nothing that was started is done
    host = np.arange(3 * (1 << 12) + 123, dtype="i4")
    x = tj.device_put(host, gpu)
    assert np.array_equal(np.asarray(x), host) and "event" in driver.waited
    assert len(gpu.runtime.staging.buffers) <= staging.MOST_BUFFERS
    assert {memory.mem.size for memory, _ in gpu.runtime.staging.buffers} <= {1 << 10, 1 << 11, 1 << 12}


def test_memory_of_other_libraries_is_held_until_all_is_done(gpu, driver):
    """They may use it again at once, while what was started here still reads it."""
    runtime = gpu.runtime
    x = tj.dlpack.from_dlpack(driver.cupy.Foreign(np.arange(6, dtype="f4")))
    before = driver.waited.count("device")
    del x
    assert driver.waited.count("device") == before + 1
    x = tj.dlpack.from_dlpack(driver.cupy.Foreign(np.arange(6, dtype="f4")))
    runtime.begin_capture()
    del x
    assert driver.waited.count("device") == before + 1 and len(runtime.released) == 1, "nothing can be waited for now"
    runtime.end_capture()
    assert driver.waited.count("device") == before + 2 and not runtime.released


def test_exchange_with_other_libraries(gpu):
    x = tj.device_put(np.arange(6, dtype="f4").reshape(2, 3), gpu)
    found = x.__cuda_array_interface__
    assert (found["shape"], found["typestr"], found["data"], found["version"]) == ((2, 3), "<f4", (x.unsafe_buffer_pointer(), True), 3)
    assert x.__dlpack_device__() == (2, 0)
    assert not hasattr(tj.device_put(jnp.zeros(2, "bfloat16"), gpu), "__cuda_array_interface__")


def test_tensors_of_other_libraries_are_used_in_place(gpu, driver):
    tensor = driver.cupy.Foreign(np.arange(6, dtype="f4").reshape(2, 3))
    x = tj.dlpack.from_dlpack(tensor)
    assert x.device == gpu and x.unsafe_buffer_pointer() == tensor.array.ctypes.data and np.asarray(x + 1).tolist() == [[1, 2, 3], [4, 5, 6]]
    tensor.array = tensor.array[:, ::2]
    with pytest.raises(ValueError, match="strided"):
        tj.dlpack.from_dlpack(tensor, copy=False)
    assert np.asarray(tj.dlpack.from_dlpack(tensor)).tolist() == [[0, 2], [3, 5]]

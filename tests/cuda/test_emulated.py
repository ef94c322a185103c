"""Kernel texts through the whole toolchain, run on an emulated device: every intrinsic, the cache, memory, graphs."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="needs numba-cuda")

from tracejit.codegen.cuda import intrinsics
from tracejit.codegen.cuda.interface import ConvWindow, Epilogue, KernelSource, View
from tracejit.config import config
from tracejit.errors import CompileError, DeviceError, DeviceMemoryError
from tracejit.runtime.cuda import kernels
from tracejit.runtime.cuda.emulated import EmulatedRuntime
from tracejit.runtime.cuda.ptx.parse import PTXError

DTYPES = {**{f"{k}{n}": np.dtype(f"{k}{n}") for k in "iu" for n in (1, 2, 4, 8)}, "f4": np.dtype("f4"), "f8": np.dtype("f8")}


@pytest.fixture(scope="module")
def runtime():
    return EmulatedRuntime()


def put(runtime, x):
    buffer = runtime.allocate(x.nbytes, "test")
    runtime.upload(buffer.address, x, "test")
    return buffer


def run(runtime, text, *arrays, n=None, out="f4", threads=32, grid=(1,), **options):
    """The array of n elements that the kernel `k(arrays..., out)` writes."""
    n = len(arrays[0]) if n is None else n
    words = {v: k for k, v in DTYPES.items()}
    signature = tuple("*" + words[x.dtype] for x in arrays) + ("*" + out,)
    kernel, = runtime.load([KernelSource("k", text, signature, threads, **options)])
    buffers = [put(runtime, x) for x in arrays]
    result = runtime.allocate(n * DTYPES[out].itemsize, "result")
    extents = [*(x.nbytes for x in arrays), n * DTYPES[out].itemsize]
    runtime.launcher(kernel, grid, extents)(*[b.address for b in buffers], result.address)
    return runtime.download(View(result.address, (n,), DTYPES[out]), "test")


def each(runtime, expression, *arrays, out):
    """`expression` of the elements a, b, ... of arrays of 32 elements."""
    names = "abc"[:len(arrays)]
    loads = "".join(f"    {v} = p{v}[t]\n" for v in names)
    text = f"def k({', '.join('p' + v for v in names)}, out):\n    t = cuda.threadIdx.x\n{loads}    out[t] = {expression}\n"
    return run(runtime, text, *arrays, out=out)


INTEGERS = np.array([0, 1, -1, 2, 3, -7, 100, 127, -128, 5, 6, -3, 77, -90, 11, 12] * 2)
NONZERO = np.where(np.roll(INTEGERS, 3) == 0, 5, np.roll(INTEGERS, 3))
FLOATS = np.array([0.0, -0.0, 1.5, -2.5, 0.5, -0.5, 2.5, 3.49999, np.inf, -np.inf, np.nan, 1e10, -1e10, 1e-30, 300.7, -129.2] * 2)


@pytest.mark.parametrize("w", intrinsics.INTEGERS)
def test_integer_intrinsics(runtime, w):
    a, b = INTEGERS.astype(DTYPES[w]), NONZERO.astype(DTYPES[w])
    s, wide = ("s" if w[0] == "i" else "u"), 8 * int(w[1])
    x, y = [int(v) for v in a], [int(v) for v in b]
    quotient = [abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) for p, q in zip(x, y)]
    cast = lambda values: np.array([v % (1 << wide) for v in values], f"u{w[1]}").view(DTYPES[w])
    cases = {f"{s}div_{w}(a, b)": quotient, f"{s}rem_{w}(a, b)": [p - q * r for p, q, r in zip(x, y, quotient)],
             f"{s}max_{w}(a, b)": list(map(max, x, y)), f"{s}min_{w}(a, b)": list(map(min, x, y)),
             f"shl_{w}(a, {w}(3))": [p << 3 for p in x], f"shr_{w}(a, {w}(2))": [p >> 2 for p in x],
             f"ctpop_{w}(a)": [(p % (1 << wide)).bit_count() for p in x],
             f"ctlz_{w}(a)": [wide - (p % (1 << wide)).bit_length() for p in x],
             "select(a < b, a, b)": list(map(min, x, y))}
    if s == "s":
        cases[f"abs_{w}(a)"] = list(map(abs, x))
    if wide >= 32:
        cases[f"mulhi_{w}(a, b)"] = [p * q >> wide for p, q in zip(x, y)]
    body = "".join(f"    out[t + {32 * k}] = {e}\n" for k, e in enumerate(cases))
    text = f"def k(pa, pb, out):\n    t = cuda.threadIdx.x\n    a = pa[t]\n    b = pb[t]\n{body}"
    found = run(runtime, text, a, b, n=32 * len(cases), out=w).reshape(len(cases), 32)
    for name, want, got in zip(cases, cases.values(), found):
        assert np.array_equal(got, cast(want)), name


@pytest.mark.parametrize("w", ["f4", "f8"])
def test_float_intrinsics(runtime, w):
    a = FLOATS.astype(DTYPES[w])
    b = np.roll(a, 5)
    with np.errstate(all="ignore"):
        away = np.trunc(a) + np.where(np.abs(a - np.trunc(a)) >= 0.5, np.copysign(1, a), 0).astype(a.dtype)
        cases = {f"div_{w}(a, b)": a / b, f"fabs_{w}(a)": np.abs(a), f"round_{w}(a)": away, f"sqrt_{w}(a)": np.sqrt(a),
                 f"copysign_{w}(a, b)": np.copysign(a, b), f"rint_{w}(a)": np.rint(a), f"floor_{w}(a)": np.floor(a),
                 f"ceil_{w}(a)": np.ceil(a), f"trunc_{w}(a)": np.trunc(a), f"maximum_{w}(a, b)": np.maximum(a, b),
                 f"minimum_{w}(a, b)": np.minimum(a, b), f"fma_{w}(a, a, a)": a * a + a,
                 f"shfl_xor_{w}(a, 5)": a[np.arange(32) ^ 5], f"shfl_from_{w}(a, 2)": np.full(32, a[2]),
                 f"shfl_down_{w}(a, 1)": a[np.minimum(np.arange(32) + 1, 31)], f"shfl_up_{w}(a, 1)": a[np.maximum(np.arange(32) - 1, 0)]}
    body = "".join(f"    out[t + {32 * k}] = {e}\n" for k, e in enumerate(cases))
    text = f"def k(pa, pb, out):\n    t = cuda.threadIdx.x\n    a = pa[t]\n    b = pb[t]\n{body}"
    found = run(runtime, text, a, b, n=32 * len(cases), out=w).reshape(len(cases), 32)
    for name, want, got in zip(cases, cases.values(), found):
        if "fma" in name:
            assert np.allclose(got, want, rtol=1e-6, equal_nan=True)
        else:
            assert np.array_equal(got, want, equal_nan=True), name


@pytest.mark.parametrize("w", ["f4", "f8"])
def test_conversions(runtime, w):
    a = FLOATS.astype(DTYPES[w])
    for target in intrinsics.INTEGERS:
        info = np.iinfo(target)
        want = [0 if v != v else int(min(max(v, info.min), info.max)) if np.isfinite(v) else (info.max if v > 0 else info.min)
                for v in a.tolist()]
        assert each(runtime, f"sat_{target}(a)", a, out=target).tolist() == want, target
    with np.errstate(over="ignore"):
        halves = a.astype("f2")
    assert np.array_equal(each(runtime, f"{w}_f2(a)", a, out="u2").view("f2"), halves, equal_nan=True)
    assert np.array_equal(each(runtime, f"f2_{w}(a)", halves.view("u2"), out=w), halves.astype(w), equal_nan=True)
    bits = a.view(f"u{w[1]}")
    assert np.array_equal(each(runtime, f"bitcast_u{w[1]}(a)", a, out=f"u{w[1]}"), bits)
    assert np.array_equal(each(runtime, f"bitcast_{w}(a)", bits, out=w), a, equal_nan=True)


def test_bfloat16(runtime):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    a = FLOATS.astype("f4")
    want = a.astype(bfloat16)
    assert np.array_equal(each(runtime, "f4_b2(a)", a, out="u2").view(bfloat16).astype("f4"), want.astype("f4"), equal_nan=True)
    assert np.array_equal(each(runtime, "b2_f4(a)", want.view("u2"), out="f4"), want.astype("f4"), equal_nan=True)
    pair = each(runtime, "f4_b2x2(a, b)", a, np.roll(a, 1), out="u4")
    both = np.stack([want, np.roll(want, 1)], 1).astype("f4")
    assert np.array_equal(pair.view("u2").view(bfloat16).astype("f4").reshape(32, 2), both, equal_nan=True)


@pytest.mark.parametrize("name", sorted(n for n in intrinsics.NAMES if n.startswith("vload_") and "constant" not in n))
def test_vectors_are_one_access(runtime, name):
    w, n = name.removeprefix("vload_").split("x")
    n, load = int(n), name.replace("vload_", "vload_constant_")
    x = np.arange(64 * n).astype(DTYPES[w])
    text = (f"def k(a, out):\n    i = cuda.threadIdx.x * {n}\n    v = {name}(a, i)\n    u = {load}(a, i + {32 * n})\n"
            f"    vstore_{w}x{n}(out, i, u)\n    vstore_{w}x{n}(out, i + {32 * n}, v)\n")
    runtime.counting = True
    before = runtime.counters.load_requests, runtime.counters.store_requests
    found = run(runtime, text, x, out=w)
    runtime.counting = False
    assert np.array_equal(found, np.roll(x, 32 * n))
    assert (runtime.counters.load_requests - before[0], runtime.counters.store_requests - before[1]) == (2, 2)


@pytest.mark.parametrize("w", ["i4", "u4", "f4", "i8", "u8", "f8"])
def test_atomics(runtime, w):
    x = (np.arange(32) * 3 % 17).astype(DTYPES[w])
    start = f"    t = cuda.threadIdx.x\n    if t < 8: out[t] = {w}(0)\n    cuda.syncthreads()\n"
    changes = f"    atomic_add_{w}(out, 0, a[t])\n    if atomic_fetch_add_{w}(out, 1, {w}(1)) == {w}(31): out[2] = {w}(9)\n"
    if w[0] != "f":
        changes += f"    atomic_max_{w}(out, 3, a[t])\n    atomic_min_{w}(out, 4, a[t])\n"
    if w[0] == "u":
        changes += f"    atomic_or_{w}(out, 5, {w}(1) << {w}(t))\n    atomic_xor_{w}(out, 6, a[t])\n    atomic_fetch_cas_{w}(out, 7, {w}(0), {w}(t + 1))\n"
    found = run(runtime, f"def k(a, out):\n{start}{changes}", x, n=8, out=w)
    assert found[:3].tolist() == [x.sum(), 32, 9]
    if w[0] != "f":
        assert found[3:5].tolist() == [x.max(), 0]
    if w[0] == "u":
        assert found[5:].tolist() == [2 ** 32 - 1, np.bitwise_xor.reduce(x), 1]


CONTRACTED = "def k(a, out):\n    t = cuda.threadIdx.x\n    out[t] = a[t] * a[t] + a[t + 32]\n"


def test_products_are_contracted_only_where_asked(runtime):
    x = (1 + np.arange(32) * 2.0 ** -20).astype("f4")
    both = np.concatenate([x, -(x * x)])
    assert not run(runtime, CONTRACTED, both, n=32).any()
    assert run(runtime, CONTRACTED, both, n=32, fma=True).any()
    kernel, = runtime.load([KernelSource("k", CONTRACTED, ("*f4", "*f4"))])
    assert "fma" not in kernel.ptx


def test_device_functions_are_shared(runtime):
    double = "@device\ndef test_double(x):\n    return x + x\n"
    twice = "@device\ndef test_twice(x):\n    return test_double(test_double(x))\n"
    x = np.arange(32.0).astype("f4")
    text = "def k(a, out):\n    t = cuda.threadIdx.x\n    out[t] = test_twice(a[t])\n"
    assert np.array_equal(run(runtime, text, x, functions=(double, twice)), 4 * x)
    with pytest.raises(CompileError, match="two device functions are called test_double"):
        run(runtime, text + "\n", x, functions=(double, double.replace("x + x", "x * x"), twice))


def test_a_text_with_a_mistake_is_shown(runtime):
    with pytest.raises(CompileError, match="no_such_name"):
        run(runtime, "def k(a, out):\n    out[0] = no_such_name(a[0])\n", np.zeros(1, "f4"))


def test_kernels_stay_within_their_extents(runtime):
    text = "def k(a, out):\n    t = cuda.threadIdx.x\n    out[t] = a[t + 1]\n"
    with pytest.raises(PTXError, match="out of bounds"):
        run(runtime, text, np.zeros(32, "f4"))


# --- memory and order -------------------------------------------------------------------------------------

def test_memory_is_counted_and_bounded():
    runtime = EmulatedRuntime(capacity=1000)
    first = runtime.allocate(600, "weights")
    assert first.address % 256 == 0 and runtime.memory_stats()["bytes_in_use"] == 600
    with pytest.raises(DeviceMemoryError, match=r"activations needs 500 bytes, 400 bytes of 1000 bytes are free(.|\n)*600 bytes  weights"):
        runtime.allocate(500, "activations")
    del first
    runtime.allocate(900)
    stats = runtime.memory_stats()
    assert (stats["bytes_in_use"], stats["peak_bytes_in_use"], stats["num_allocs"]) == (0, 900, 2)
    with config.setting(device_memory_limit=100), pytest.raises(DeviceMemoryError):
        runtime.allocate(101)


def test_new_memory_is_nan_and_copies_are_counted():
    runtime = EmulatedRuntime()
    buffer = runtime.allocate(64, "x")
    view = View(buffer.address, (4, 2), np.dtype("f4"), (1, 4))
    assert np.isnan(runtime.download(view, "look")).all()
    runtime.upload(buffer.address, np.arange(8.0, dtype="f4"), "input")
    assert np.array_equal(runtime.download(view, "look"), np.arange(8.0).reshape(2, 4).T)
    runtime.copy(buffer.address + 32, buffer.address, 32)
    runtime.fill(buffer.address, 16)
    assert runtime.download(View(buffer.address, (16,), np.dtype("f4")), "end").tolist() == [0] * 4 + [4, 5, 6, 7] + list(range(8))
    assert runtime.transfers() == {"look": (2, 64), "input": (1, 32), "end": (1, 64)}


def test_graphs_run_what_was_captured():
    runtime = EmulatedRuntime()
    x, out = put(runtime, np.arange(32, dtype="f4")), runtime.allocate(128)
    text = "def k(a, out):\n    t = cuda.threadIdx.x\n    out[t] = a[t] + f4(1)\n"
    kernel, = runtime.load([KernelSource("k", text, ("*f4", "*f4"), 32)])
    runtime.begin_capture()
    runtime.launcher(kernel, (1,), (128, 128))(x.address, out.address)
    runtime.copy(x.address, out.address, 128)
    with pytest.raises(DeviceError, match="cannot be captured"):
        runtime.download(View(out.address, (1,), np.dtype("f4")))
    graph = runtime.end_capture()
    assert np.isnan(runtime.download(View(out.address, (32,), np.dtype("f4")))).all()
    for _ in range(3):
        runtime.replay(graph)
    assert np.array_equal(runtime.download(View(x.address, (32,), np.dtype("f4"))), np.arange(32) + 3)


def test_callbacks_see_host_arrays():
    runtime = EmulatedRuntime()
    x, out = put(runtime, np.arange(6, dtype="f4")), runtime.allocate(12)
    runtime.host_call(lambda arrays: [arrays[0].sum(0)], [View(x.address, (2, 3), np.dtype("f4"))],
                      [View(out.address, (3,), np.dtype("f4"))], "callback")
    assert runtime.download(View(out.address, (3,), np.dtype("f4"))).tolist() == [3, 5, 7]


# --- library calls ------------------------------------------------------------------------------------------

def test_products_and_epilogues():
    runtime, rng = EmulatedRuntime(), np.random.default_rng(0)
    x, y, bias = (rng.normal(size=s).astype("f4") for s in ((2, 5, 7), (7, 3), (3,)))
    bx, by, bb, out = put(runtime, x), put(runtime, y), put(runtime, bias), runtime.allocate(120)
    f4 = np.dtype("f4")
    vx, vy = View(bx.address, x.shape, f4), View(by.address, (2, 7, 3), f4, (0, 3, 1))
    view = View(out.address, (2, 5, 3), f4)
    runtime.gemm(vx, vy, view)
    assert np.allclose(runtime.download(view), x @ y, atol=1e-5)
    runtime.gemm(vx, vy, view, accumulate=True)
    assert np.allclose(runtime.download(view), 2 * (x @ y), atol=1e-5)
    runtime.gemm(vx, vy, view, epilogue=Epilogue(View(bb.address, (3,), f4), "relu"))
    assert np.allclose(runtime.download(view), np.maximum(x @ y + bias, 0), atol=1e-5)


@pytest.mark.parametrize("window", [
    ConvWindow((1,), ((0, 0),), (1,), (1,)), ConvWindow((2,), ((1, 2),), (1,), (2,)), ConvWindow((1,), ((2, 2),), (3,), (1,)),
    ConvWindow((1,), ((-1, 1),), (1,), (1,), groups=2), ConvWindow((1,), ((0, 0),), (1,), (1,), batch_groups=2)])
def test_convolution_by_its_definition(window):
    runtime, rng = EmulatedRuntime(), np.random.default_rng(1)
    x, w = rng.normal(size=(4, 4, 9)).astype("f4"), rng.normal(size=(6, 4 // window.groups, 3)).astype("f4")
    low, high = window.padding[0]
    full = np.zeros((4, 4, 8 * window.x_dilation[0] + 1))
    full[..., ::window.x_dilation[0]] = x
    full = np.pad(full, ((0, 0), (0, 0), (max(low, 0), max(high, 0))))[..., max(-low, 0):]
    span = 2 * window.w_dilation[0] + 1
    positions = range(0, full.shape[2] - span + 1, window.strides[0])
    want = np.zeros((4 // window.batch_groups, 6, len(positions)))
    for n in range(want.shape[0]):
        for o in range(6):
            group = o * window.groups // 6
            row = n + o * window.batch_groups // 6 * want.shape[0]
            block = full[row, group * w.shape[1]:(group + 1) * w.shape[1]]
            for k, at in enumerate(positions):
                want[n, o, k] = (block[:, at:at + span:window.w_dilation[0]] * w[o]).sum()
    bx, bw, out = put(runtime, x), put(runtime, w), runtime.allocate(want.size * 4)
    view = View(out.address, want.shape, np.dtype("f4"))
    runtime.conv(View(bx.address, x.shape, x.dtype), View(bw.address, w.shape, w.dtype), view, window)
    assert np.allclose(runtime.download(view), want, atol=1e-5)


# --- cache ----------------------------------------------------------------------------------------------------

def sources(n):
    return [KernelSource(f"k{i}", f"def k{i}(out):\n    out[cuda.threadIdx.x] = f4({i})\n", ("*f4",)) for i in range(n)]


def test_kernels_come_from_this_process_and_from_disk(tmp_path, monkeypatch):
    with config.setting(compilation_cache_dir=str(tmp_path)):
        monkeypatch.setattr(kernels, "made", {})
        before = kernels.stats.compiled
        first = kernels.artifacts_of(sources(2), (9, 0))
        assert kernels.stats.compiled - before == 2
        assert kernels.artifacts_of(sources(2), (9, 0)) == first and kernels.stats.compiled - before == 2
        monkeypatch.setattr(kernels, "made", {})
        assert kernels.artifacts_of(sources(2), (9, 0)) == first and kernels.stats.compiled - before == 2
        for path in tmp_path.glob("??/*.o"):
            path.write_bytes(path.read_bytes()[:-1])        # damaged files count as absent
        monkeypatch.setattr(kernels, "made", {})
        assert [a.ptx for a in kernels.artifacts_of(sources(1), (9, 0))] == [first[0].ptx] and kernels.stats.compiled - before == 3


WARM = """
import sys
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.runtime.cuda import kernels
kernels.artifacts_of([KernelSource("warm", "def warm(out):\\n    out[0] = f4(1)\\n", ("*f4",))], (9, 0))
print(kernels.stats.compiled, kernels.stats.disk, "numba" in sys.modules, "cuda.core" in sys.modules)
"""


def test_a_warm_start_imports_no_compiler(tmp_path):
    import os
    environment = {**os.environ, "TRACEJIT_COMPILATION_CACHE_DIR": str(tmp_path)}
    said = [subprocess.run([sys.executable, "-c", WARM], env=environment, capture_output=True, text=True, check=True).stdout.split()
            for _ in range(2)]
    assert said == [["1", "0", "True", "True"], ["0", "1", "False", "False"]]


@pytest.mark.slow
def test_many_kernels_are_compiled_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "made", {})
    with config.setting(compilation_cache_dir=str(tmp_path), threads=2):
        found = kernels.artifacts_of(sources(14), (9, 0))
    assert [a.name for a in found] == [f"k{i}" for i in range(14)] and len(kernels.workers.workers) == 1
    assert len({a.cubin for a in found}) == 14
    kernels.workers.stop()

"""Arrays and programs on devices, with emulated ones: where things are, what is copied and when, what is refused."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="needs numba-cuda")

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config
from tracejit.errors import DeviceError, DeviceMemoryError, DonatedArrayError, NonFiniteError
from tracejit.runtime.placed import PlacedArray


@pytest.fixture(autouse=True)
def two_devices():
    with config.setting(emulate_cuda=2):
        yield


@pytest.fixture
def gpu():
    return tj.devices("gpu")[0]


def copies(device, why=None):
    found = device.transfers()
    return sum(times for times, _ in found.values()) if why is None else found.get(why, (0, 0))[0]


def on(device, x):
    assert isinstance(x, tj.Array) and x.device == device and x.devices() == {device}
    return np.asarray(x)


# --- devices and arrays ---------------------------------------------------------------------------------

def test_devices_have_names(gpu):
    assert tj.devices("cuda") == tj.devices("gpu") and len(tj.devices("gpu")) == tj.device_count("gpu") == 2
    assert (repr(gpu), str(gpu), gpu.platform, gpu.id) == ("CudaDevice(id=0)", "cuda:0", "gpu", 0)
    assert tj.devices() == tj.devices("cpu") and tj.default_backend() == "cpu"
    with pytest.raises(RuntimeError, match="tpu.*there is none here"):
        tj.devices("tpu")


def test_without_a_gpu_the_error_says_what_to_do():
    with config.setting(emulate_cuda=0):
        with pytest.raises(DeviceError, match=r"(?s)(GPU|packages).*fix:"):
            tj.device_put(1.0, "cuda")


@pytest.mark.parametrize("place", ["cuda", "gpu", "device", "sharding"])
def test_arrays_are_put_and_got(gpu, place):
    x = np.arange(6, dtype="f4").reshape(2, 3)
    target = {"device": gpu, "sharding": tj.sharding.SingleDeviceSharding(gpu)}.get(place, place)
    y = tj.device_put({"a": x, "b": [1, True]}, target)
    assert np.array_equal(on(gpu, y["a"]), x) and np.asarray(y["b"][1]).dtype == bool
    got = tj.device_get(y)
    assert isinstance(got["a"], np.ndarray) and np.array_equal(got["a"], x) and got["b"][0] == 1
    back = tj.device_put(y["a"], tj.devices("cpu")[0])
    assert not isinstance(back, PlacedArray) and np.array_equal(back, x)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "uint64", "float16", "bfloat16", "float32", "float64",
                                   "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)])
def test_every_dtype_and_shape(gpu, dtype, shape):
    x = jnp.asarray((np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape)).astype(dtype)
    y = tj.device_put(x, gpu)
    assert (y.shape, y.dtype, y.ndim, y.size, y.nbytes, y.weak_type) == (x.shape, x.dtype, x.ndim, x.size, x.nbytes, x.weak_type)
    assert np.asarray(y).tobytes() == np.asarray(x).tobytes() and repr(y) == repr(x)
    assert y.aval is x.aval and tj.device_put(y, gpu) is y


def test_methods_of_arrays(gpu):
    x = tj.device_put(np.arange(6, dtype="f4").reshape(2, 3), gpu)
    assert (x[1, 2].item(), float(x.sum()), int(x[0, 1]), bool(x[0, 0]), len(x), x.tolist()) == (5, 15, 1, False, 2, [[0, 1, 2], [3, 4, 5]])
    assert [row.device for row in x] == [gpu, gpu] and np.array_equal(on(gpu, x.T), np.arange(6).reshape(2, 3).T)
    assert np.array_equal(on(gpu, x.at[0, 1].set(9)), [[0, 9, 2], [3, 4, 5]])
    assert np.array_equal(on(gpu, x[:, ::-1]), np.arange(6).reshape(2, 3)[:, ::-1])
    assert np.array_equal(on(gpu, copy.deepcopy(x)), x) and np.array_equal(pickle.loads(pickle.dumps(x)), x)
    assert x.block_until_ready() is x and tj.block_until_ready([x])[0] is x
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 1
    x.delete()
    assert x.is_deleted() and "deleted" in repr(x)
    for use in (lambda: np.asarray(x), lambda: x + 1, lambda: tj.jit(lambda x: x)(x)):
        with pytest.raises(RuntimeError, match="deleted"):
            use()


def test_operators_run_on_the_device(gpu):
    a = np.array([[1.5, -2, 3], [4, 5, 0.25]], "f4")
    x = tj.device_put(a, gpu)
    for got, want in ((x + 1, a + 1), (2 - x, 2 - a), (x * a, a * a), (a / x, a / a), (x > 1, a > 1), (-x, -a), (abs(x), abs(a)),
                      (x @ x.T, a @ a.T), (x ** 2, a ** 2), (x // 2, a // 2), (x == a, a == a)):
        assert np.allclose(on(gpu, got), want)
    assert on(gpu, jnp.concatenate([x, x])).shape == (4, 3) and np.allclose(on(gpu, jnp.exp(x)), np.exp(a), rtol=1e-6)


# --- where programs run ---------------------------------------------------------------------------------

def test_programs_run_where_their_arrays_are(gpu):
    f = tj.jit(lambda x, y: {"s": x + y, "c": jnp.arange(3)})
    host = f(np.ones(3, "f4"), 1.0)
    out = f(tj.device_put(np.ones(3, "f4"), gpu), 1.0)
    assert host["s"].device.platform == "cpu" and np.array_equal(on(gpu, out["s"]), [2, 2, 2]) and np.array_equal(on(gpu, out["c"]), [0, 1, 2])
    assert f(np.ones(3, "f4"), 1.0)["s"].device.platform == "cpu", "the device's program is not used for the host"


def test_derivatives_and_batches(gpu):
    a = np.linspace(-1, 1, 12, dtype="f4").reshape(3, 4)
    loss = lambda x: (jnp.tanh(x) ** 2).sum()
    for f in (tj.grad(loss), tj.jit(tj.grad(loss)), tj.vmap(tj.grad(loss)), tj.jacfwd(lambda x: jnp.sin(x).sum(0))):
        assert np.allclose(on(gpu, f(tj.device_put(a, gpu))), f(a), atol=1e-6)


def test_captured_arrays_decide_where_no_argument_does(gpu):
    w = tj.device_put(np.arange(3, dtype="f4"), gpu)
    f = tj.jit(lambda x: x * w)
    assert np.array_equal(on(gpu, f(np.full(3, 2, "f4"))), [0, 2, 4])
    assert np.array_equal(on(gpu, f(np.full(3, 3, "f4"))), [0, 3, 6])


def test_jit_on_a_named_device(gpu):
    f = tj.jit(lambda x: x + 1, device=gpu)
    assert on(gpu, f(np.zeros(2, "f4"))).tolist() == [1, 1] and on(gpu, f(jnp.zeros(2))).tolist() == [1, 1]
    assert on(gpu, tj.jit(lambda x: x + 1, backend="gpu")(1.0)) == 2

    @tj.jit(device="cpu")
    def host(x):
        return x + 1
    out = host(tj.device_put(np.zeros(2, "f4"), gpu))
    assert out.device.platform == "cpu" and out.tolist() == [1, 1] and host(np.zeros(2, "f4")).tolist() == [1, 1]


def test_default_device(gpu):
    f = tj.jit(lambda x: x * 2)
    with tj.default_device(gpu):
        assert on(gpu, jnp.zeros(3)).tolist() == [0, 0, 0] and on(gpu, f(np.ones(2, "f4"))).tolist() == [2, 2]
        assert on(gpu, tj.device_put(3.0)) == 3 and tj.devices() == tj.devices("gpu") and tj.default_backend() == "gpu"
        key = tj.random.key(0)
        bits = on(gpu, tj.random.bits(key, (5,)))
    assert jnp.zeros(3).device.platform == "cpu" and f(np.ones(2, "f4")).device.platform == "cpu"
    assert np.array_equal(bits, tj.random.bits(tj.random.key(0), (5,))), "the same bits everywhere"
    with tj.default_device("gpu"):
        assert on(gpu, jnp.ones(2)).tolist() == [1, 1]


def test_arrays_of_two_devices_do_not_mix(gpu):
    x, y = tj.device_put(np.ones(2, "f4"), gpu), tj.device_put(np.ones(2, "f4"), tj.devices("gpu")[1])
    for use in (lambda: x + y, lambda: tj.jit(lambda x, y: x + y)(x, y), lambda: jnp.concatenate([x, y])):
        with pytest.raises(DeviceError, match=r"(?s)CudaDevice\(id=0\) and on CudaDevice\(id=1\).*test_placement.*device_put"):
            use()
    with pytest.raises(DeviceError, match="runs on"):
        tj.jit(lambda x: x + 1, device=gpu)(y)
    moved = tj.device_put(y, gpu)
    assert on(gpu, moved + x).tolist() == [2, 2]


def test_stages(gpu):
    x = tj.device_put(np.arange(4, dtype="f4"), gpu)
    compiled = tj.jit(lambda x: x * 3).lower(x).compile()
    assert on(gpu, compiled(x)).tolist() == [0, 3, 6, 9] and compiled.memory_analysis().argument_size_in_bytes == 16


# --- copies ---------------------------------------------------------------------------------------------

def test_a_program_on_its_own_arrays_copies_nothing(gpu):
    x = tj.device_put(np.arange(5, dtype="f4"), gpu)
    f = tj.jit(lambda x: jnp.sin(x).sum())
    f(x)
    before = copies(gpu)
    y = f(x)
    assert copies(gpu) == before
    float(y), float(y)
    assert copies(gpu) == before + 1, "the elements are fetched once"
    f(np.arange(5, dtype="f4"))
    x + np.arange(5, dtype="f4")
    assert copies(gpu, "an argument of a program was on the host") > 0


def test_hidden_copies_are_told_or_refused(gpu, capsys):
    x = tj.device_put(np.arange(5, dtype="f4"), gpu)
    f = tj.jit(lambda x, y: x + y)
    f(x, x)
    with tj.transfer_guard("log"):
        np.asarray(f(x, np.ones(5, "f4")))
    said = capsys.readouterr().err
    assert "hidden copy from host to device: f32[5]" in said and "hidden copy from device to host" in said and "test_placement" in said
    with tj.transfer_guard("disallow"):
        y = tj.device_put(np.ones(5, "f4"), gpu)
        assert tj.device_get(f(x, y)).tolist() == [1, 2, 3, 4, 5]
        for use in (lambda: np.asarray(f(x, y)), lambda: f(x, np.ones(5, "f4")), lambda: float(f(x, y)[0])):
            with pytest.raises(DeviceError, match="transfer_guard forbids a hidden copy"):
                use()
    with tj.transfer_guard("disallow_explicit"), pytest.raises(DeviceError, match="an explicit copy"):
        tj.device_put(np.ones(5, "f4"), gpu)


def test_memory_is_counted_and_runs_out(gpu):
    second = tj.devices("gpu")[1]
    before = second.memory_stats()["bytes_in_use"]
    x = tj.device_put(np.ones(1000, "f4"), second)
    assert second.memory_stats()["bytes_in_use"] == before + 4000 and tj.devices("cpu")[0].memory_stats() is None
    with config.setting(device_memory_limit=before + 6000):
        with pytest.raises(DeviceMemoryError, match=r"(?s)result 0 of a program, f32\[1000\].*test_placement.*in use:.*3.9 KiB  f32\[1000\] from the host"):
            x + 1
    x.delete()
    assert second.memory_stats()["bytes_in_use"] == before


def test_donated_memory_is_used_again(gpu):
    f = tj.jit(lambda x: x + 1, donate_argnums=0)
    x = tj.device_put(np.arange(4, dtype="f4"), gpu)
    address = x.unsafe_buffer_pointer()
    y = f(x)
    assert y.unsafe_buffer_pointer() == address and x.is_deleted() and on(gpu, y).tolist() == [1, 2, 3, 4]
    with pytest.raises(DonatedArrayError):
        f(x)
    host = np.arange(4, dtype="f4")
    assert on(gpu, tj.jit(lambda x: x + 1, donate_argnums=0, device=gpu)(host)).tolist() == [1, 2, 3, 4] and host[1] == 1


# --- the rest of the contract ---------------------------------------------------------------------------

def test_control_flow_and_callbacks(gpu):
    x = tj.device_put(np.arange(4, dtype="f4"), gpu)

    @tj.jit
    def f(x):
        x = lax.fori_loop(0, 3, lambda i, c: c * 2 + i, x)
        x = lax.while_loop(lambda c: c.sum() < 500, lambda c: c + 1, x)
        x = lax.cond(x[0] > 3, lambda x: x - 1, lambda x: x + 1, x)
        return tj.pure_callback(lambda x: np.asarray(x)[::-1].copy(), tj.ShapeDtypeStruct((4,), "float32"), x)
    assert np.array_equal(on(gpu, f(x)), f(np.arange(4, dtype="f4")))


def test_repeated_calls_are_replayed_as_graphs(gpu):
    x = tj.device_put(np.linspace(0, 1, 7, dtype="f4"), gpu)
    f = tj.jit(lambda x: jnp.cumsum(jnp.sin(x) * 2)[::-1] + x.mean())
    want = np.asarray(f(np.linspace(0, 1, 7, dtype="f4")))
    for _ in range(6):
        assert np.allclose(on(gpu, f(x)), want, atol=1e-6)


def test_debug_nans(gpu):
    x = tj.device_put(np.array([1.0, -1.0], "f4"), gpu)
    with tj.debug_nans(True), pytest.raises(NonFiniteError, match=r"invalid value \(nan\) encountered in log"):
        tj.jit(lambda x: jnp.log(x) * 2)(x)


def test_explain_tells_launches_and_copies(gpu):
    x = tj.device_put(np.ones((8, 8), "f4"), gpu)
    text = str(tj.explain(lambda x, y: jnp.sin(x @ x).sum() + y)(x, np.float32(1)))
    assert "on cuda:0 (emulated)" in text and "registers" in text
    assert "copied 1 x, 4 bytes together: an argument of a program was on the host" in text
    assert "nothing is copied" in str(tj.explain(lambda x: x + 1)(x))
    looped = str(tj.explain(lambda x: lax.while_loop(lambda c: c.sum() < 1e4, lambda c: c @ c, x))(x))
    assert "while, driven by the host" in looped and "the condition of a loop" in looped


def test_exchange(gpu):
    a = np.arange(6, dtype="f4").reshape(2, 3)
    x = tj.device_put(a, gpu)
    y = np.from_dlpack(x)
    assert np.array_equal(y, a) and y.ctypes.data == x.unsafe_buffer_pointer() and not hasattr(x, "__cuda_array_interface__")
    assert tj.live_arrays("gpu") and all(z.device == gpu for z in tj.live_arrays("gpu"))

"""How fast is the GPU? The measuring steps of gpu_accept.py: bandwidth, costs of the host, JAX and PyTorch beside.

Times are of many calls that wait for the device once; bandwidth is given as a share of a device copy's.
"""
from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from benchmarks.backends import load
from benchmarks.workloads import WORKLOADS


def gpu() -> tj.Device:
    return tj.devices("gpu")[0]


def put(x: Any) -> Any:
    return tj.device_put(x, gpu())


def seconds(call: Callable[[], Any], wait: Callable[[Any], Any] = tj.block_until_ready, least: float = 0.05) -> float:
    """The shortest time per call of several runs of many calls, which wait for the device at the end."""
    wait(call())
    wait(call())
    n, best = 1, float("inf")
    for _ in range(12):
        start = time.perf_counter()
        for _ in range(n):
            out = call()
        wait(out)
        took = time.perf_counter() - start
        if took < least:
            n *= 2
        else:
            best = min(best, took / n)
    return best if best < float("inf") else took / n


def copy_speed() -> float:
    """Bytes read and written per second by a copy on the device."""
    runtime, nbytes = gpu().runtime, 1 << 30
    a, b = runtime.allocate(nbytes), runtime.allocate(nbytes)
    return 2 * nbytes / seconds(lambda: runtime.copy(b.address, a.address, nbytes), lambda _: runtime.synchronize())


BANDWIDTH: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], int]] = {      # and passes over the memory
    "axpy 256M": (lambda x, y: 2 * x + y, ((1 << 28,), (1 << 28,)), 3),
    "gelu 256M": (tj.nn.gelu, ((1 << 28,),), 2),
    "row sum 64k x 4096": (lambda x: x.sum(1), ((1 << 16, 4096),), 1),
    "softmax 64k x 4096": (lambda x: tj.nn.softmax(x, 1), ((1 << 16, 4096),), 2),
    "layer norm 64k x 4096": (lambda x: tj.nn.standardize(x, 1), ((1 << 16, 4096),), 2),
    "full sum 256M": (lambda x: x.sum(), ((1 << 28,),), 1),
    "column sum 64k x 4096": (lambda x: x.sum(0), ((1 << 16, 4096),), 1),
    "transpose 16k x 16k": (lambda x: x.T + 0, ((1 << 14, 1 << 14),), 2),
}


def filled(shape: tuple[int, ...]) -> Any:
    return tj.random.uniform(tj.random.key(1), shape)


def bandwidth(run: Any) -> dict[str, str]:
    ceiling = copy_speed()
    found = {"a copy of 1 GiB": f"{ceiling / 1e12:.2f} TB/s"}
    for name, (f, shapes, passes) in BANDWIDTH.items():
        try:
            with tj.default_device(gpu()):
                args = [filled(shape) for shape in shapes]
            g = tj.jit(f)
            took = seconds(lambda g=g, args=args: g(*args))
            moved = passes * 4 * np.prod(shapes[0])
            found[name] = f"{moved / took / 1e12:.2f} TB/s, {100 * moved / took / ceiling:.0f} % of a copy, {1e6 * took:.0f} us"
        except Exception as error:
            found[name] = run.failed(name, error)
            run.wrong.append(f"{name}: {found[name]}")
        run.note(found)
    return found


def host_costs(run: Any) -> dict[str, str]:
    """What a call costs the host: small programs whose launches are replayed as one graph."""
    with tj.default_device(gpu()):
        x = filled((1024,))
    f = tj.jit(lambda x: x + 1)
    step = tj.jit(tj.value_and_grad(lambda w, x: (jnp.tanh(x @ w) ** 2).sum()))
    with tj.default_device(gpu()):
        w, batch = filled((64, 64)), filled((32, 64))
    cold = time.perf_counter()
    tj.block_until_ready(tj.jit(lambda x: jnp.sin(x) * time.time())(x))
    return {"x + 1, us per call": f"{1e6 * seconds(lambda: f(x)):.1f}",
            "training step, us per call": f"{1e6 * seconds(lambda: step(w, batch)):.1f}",
            "first call of a new kernel, ms": f"{1e3 * (time.perf_counter() - cold):.0f}"}


def ensemble(J: Any, steps: int) -> Callable[[Any], Any]:
    """RK4 of a pendulum, one lane per element."""
    def field_of(s: Any) -> tuple[Any, Any]:
        return s[1], -J.numpy.sin(s[0])

    def step(_: int, s: tuple[Any, Any]) -> tuple[Any, Any]:
        h = 0.01
        moved = lambda k, c: (s[0] + c * k[0], s[1] + c * k[1])
        a = field_of(s)
        b = field_of(moved(a, h / 2))
        c = field_of(moved(b, h / 2))
        d = field_of(moved(c, h))
        return tuple(x + h / 6 * (p + 2 * q + 2 * r + t) for x, p, q, r, t in zip(s, a, b, c, d))
    return J.jit(lambda x: J.lax.fori_loop(0, steps, step, (x, x)))


def beside(run: Any) -> dict[str, str]:
    """Milliseconds of tracejit and of JAX for the benchmark's workloads and the ensemble, on the same device."""
    found, jax = {}, load("jax") if other("jax") is not None else None
    has_gpu = jax is not None and other("jax").default_backend() == "gpu"
    found["JAX"] = "runs on the GPU" if has_gpu else "is not installed for a GPU"
    with tj.default_device(gpu()):
        for workload in [w for w in WORKLOADS.values() if not (w.x64 or w.compiles)]:
            found[workload.name] = against(run, workload.name, *workload_calls(workload, jax if has_gpu else None))
            run.note(found)
            if run.is_late:
                break
        found["100,000 pendulums x 1000 RK4 steps"] = against(run, "ensemble", *ensemble_calls(other("jax") if has_gpu else None))
    return found


def other(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def against(run: Any, name: str, ours: Callable[[], float], theirs: Callable[[], float] | None) -> str:
    """Both times; where one fails, why."""
    took = {}
    for who, measure in (("ours", ours), ("JAX", theirs)):
        try:
            took[who] = None if measure is None else measure()
        except Exception as error:
            took[who] = run.failed(f"{name}, {who}", error)
    mine, its = took["ours"], took["JAX"]
    if isinstance(mine, float) and isinstance(its, float):
        return f"{1e3 * mine:.3f} ms, JAX {1e3 * its:.3f} ms: {its / mine:.2f} x"
    return f"{f'{1e3 * mine:.3f} ms' if isinstance(mine, float) else mine}{f', JAX: {its}' if its else ''}"


def workload_calls(workload: Any, jax: Any) -> tuple[Callable[[], float], Callable[[], float] | None]:
    """The CPU's benchmark as it stands."""
    data = workload.data()
    ours = lambda: seconds(workload.build(tj, data)) / workload.calls
    return ours, None if jax is None else lambda: seconds(jax.build(workload, data), jax.finish) / workload.calls


def ensemble_calls(jax: Any) -> tuple[Callable[[], float], Callable[[], float] | None]:
    x = np.linspace(0.1, 3, 100_000, dtype=np.float32)

    def ours() -> float:
        f, mine = ensemble(tj, 1000), put(x)
        return seconds(lambda: f(mine))

    def theirs() -> float:
        f, its = ensemble(jax, 1000), jax.numpy.asarray(x)
        return seconds(lambda: f(its), jax.block_until_ready)
    return ours, None if jax is None else theirs


def beside_torch(run: Any) -> dict[str, str]:
    torch = other("torch")
    if torch is None or not torch.cuda.is_available():
        return {"torch": "is not installed for a GPU"}
    x, found = torch.rand(1 << 16, 4096, device="cuda"), {}
    for name, f in {"softmax 64k x 4096": lambda: torch.softmax(x, 1), "gelu 64k x 4096": lambda: torch.nn.functional.gelu(x),
                    "matmul 4096": lambda: x[:4096] @ x[:4096]}.items():
        found[name] = f"{1e3 * seconds(f, lambda _: torch.cuda.synchronize()):.3f} ms"
    return found

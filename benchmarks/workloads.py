"""What is timed: each workload written once for a namespace J (the module `tracejit` or `jax`), and in NumPy."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Data = dict[str, Any]
Run = Callable[[], Any]


@dataclass(frozen=True)
class Workload:
    """`build(J, data)` gives a function that is timed; one call of it is `calls` units of work."""
    name: str
    data: Callable[[], Data]
    build: Callable[[ModuleType, Data], Run]
    by_numpy: Callable[[Data], Run] | None = None
    calls: int = 1
    x64: bool = False         # float64: JAX needs its x64 mode, tracejit does not
    tolerance: float | None = 1e-4  # largest |a - b| / largest |b| between backends; None: chaotic
    most: float | None = None       # target: seconds
    speedup: float | None = None    # target: times JAX's speed


def normal(**shapes: tuple[int, ...]) -> Callable[[], Data]:
    def data() -> Data:
        rng = np.random.default_rng(0)
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return data


def on_device(J: ModuleType, data: Data) -> Data:
    return J.tree_util.tree_map(J.numpy.asarray, data)


CHAIN = 1000


def call_overhead(J: ModuleType, data: Data) -> Run:
    x = J.numpy.asarray(data["x"])
    f = J.jit(lambda x: x + 1)

    def run() -> Any:
        y = x
        for _ in range(CHAIN):
            y = f(y)
        return y
    return run


def numpy_call_overhead(data: Data) -> Run:
    def run() -> Any:
        y = data["x"]
        for _ in range(CHAIN):
            y = y + np.float32(1)
        return y
    return run


# A float32 constant that no earlier run used, so that nothing is found in a cache.
fresh = map(lambda n: 1 + n * 2.0**-22, itertools.count(int(np.random.default_rng().integers(1 << 20))))


def first_call(formula: Callable[[ModuleType, Any, float], Any]) -> Callable[[ModuleType, Data], Run]:
    """Each run traces, compiles and calls `formula` with a constant of its own."""
    def build(J: ModuleType, data: Data) -> Run:
        x = J.numpy.asarray(data["x"])

        def run() -> Any:
            c = next(fresh)
            return J.jit(lambda x: formula(J, x, c))(x)
        return run
    return build


LORENZ_STEPS, DT = 100_000, 0.01


def lorenz_slope(p: tuple[Any, ...]) -> tuple[Any, ...]:
    x, y, z = p
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z


def rk4(p: tuple[Any, ...]) -> tuple[Any, ...]:
    """One step of the classical Runge-Kutta method."""
    def shifted(k: tuple[Any, ...], h: float) -> tuple[Any, ...]:
        return tuple([a + h * b for a, b in zip(p, k)])
    k1 = lorenz_slope(p)
    k2 = lorenz_slope(shifted(k1, DT / 2))
    k3 = lorenz_slope(shifted(k2, DT / 2))
    k4 = lorenz_slope(shifted(k3, DT))
    return tuple([a + DT / 6 * (b + 2 * c + 2 * d + e) for a, b, c, d, e in zip(p, k1, k2, k3, k4)])


def lorenz(J: ModuleType, data: Data) -> Run:
    start = tuple([J.numpy.asarray(v) for v in data["p"]])
    f = J.jit(lambda p: J.lax.fori_loop(0, LORENZ_STEPS, lambda _, p: rk4(p), p))
    return lambda: f(start)


def multiply_add(J: ModuleType, data: Data) -> Run:
    a, b = on_device(J, data).values()
    f = J.jit(lambda a, b: a * b + a)
    return lambda: f(a, b)


def softmax(J: ModuleType, data: Data) -> Run:
    x = J.numpy.asarray(data["x"])

    def rows(x: Any) -> Any:
        e = J.numpy.exp(x - J.numpy.max(x, axis=-1, keepdims=True))
        return e / J.numpy.sum(e, axis=-1, keepdims=True)
    f = J.jit(rows)
    return lambda: f(x)


def numpy_softmax(data: Data) -> Run:
    def run() -> Any:
        e = np.exp(data["x"] - data["x"].max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    return run


SIZES, BATCH, RATE = (784, 512, 512, 10), 128, 0.1


def mlp_data() -> Data:
    rng = np.random.default_rng(0)
    params = [((rng.standard_normal((m, n)) / np.sqrt(m)).astype(np.float32), np.zeros(n, np.float32))
              for m, n in itertools.pairwise(SIZES)]
    return {"params": params, "x": rng.standard_normal((BATCH, SIZES[0])).astype(np.float32),
            "y": rng.integers(0, SIZES[-1], BATCH).astype(np.int32)}


def mlp_step(J: ModuleType, data: Data) -> Run:
    """A training step of a perceptron with relu and cross-entropy; the parameters are donated and carried on."""
    jnp = J.numpy

    def loss(params: Any, x: Any, y: Any) -> Any:
        for w, b in params[:-1]:
            x = jnp.maximum(x @ w + b, 0)
        logits = x @ params[-1][0] + params[-1][1]
        shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
        log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))
        return -jnp.mean(jnp.sum(log_p * (y[:, None] == jnp.arange(SIZES[-1])), axis=-1))

    def step(params: Any, x: Any, y: Any) -> Any:
        value, grads = J.value_and_grad(loss)(params, x, y)
        return J.tree_util.tree_map(lambda p, g: p - RATE * g, params, grads), value

    device = on_device(J, data)
    state = {"params": J.tree_util.tree_map(lambda p: jnp.array(p, copy=True), device["params"])}
    f = J.jit(step, donate_argnums=0)

    def run() -> Any:
        state["params"], value = f(state["params"], device["x"], device["y"])
        return value
    return run


def numpy_mlp_step(data: Data) -> Run:
    params, x, y = [list(p) for p in data["params"]], data["x"], data["y"]

    def run() -> Any:
        hidden = [x]
        for w, b in params[:-1]:
            hidden.append(np.maximum(hidden[-1] @ w + b, 0))
        logits = hidden[-1] @ params[-1][0] + params[-1][1]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        ct = np.exp(log_p)
        ct[np.arange(BATCH), y] -= 1
        ct /= np.float32(BATCH)
        for i in reversed(range(len(params))):
            h, (w, b) = hidden[i], params[i]
            params[i] = [w - np.float32(RATE) * (h.T @ ct), b - np.float32(RATE) * ct.sum(axis=0)]
            ct = (ct @ w.T) * (h > 0)
        return -log_p[np.arange(BATCH), y].mean()
    return run


def matmul(J: ModuleType, data: Data) -> Run:
    a, b = on_device(J, data).values()
    f = J.jit(lambda a, b: a @ b)
    return lambda: f(a, b)


WORKLOADS = (
    Workload("call x+1, 8 floats", normal(x=(8,)), call_overhead, numpy_call_overhead, calls=CHAIN, most=0.2e-6),
    Workload("compile x*c+x", normal(x=(1000,)), first_call(lambda J, x, c: x * c + x), tolerance=None, most=10e-3),
    Workload("compile sin(x)*c+x*x", normal(x=(1000,)), first_call(lambda J, x, c: J.numpy.sin(x) * c + x * x),
             tolerance=None, most=10e-3),
    Workload("Lorenz RK4, 100k steps, f64", lambda: {"p": np.ones(3)}, lorenz, x64=True, tolerance=None,
             speedup=2.4 / 1.6),
    Workload("a*b+a, 10M", normal(a=(10_000_000,), b=(10_000_000,)), multiply_add,
             lambda d: lambda: d["a"] * d["b"] + d["a"], speedup=2),
    Workload("softmax 4096x1024", normal(x=(4096, 1024)), softmax, numpy_softmax, speedup=1.5),
    Workload("MLP 784-512-512-10 step, batch 128", mlp_data, mlp_step, numpy_mlp_step, tolerance=1e-3, speedup=1),
    *(Workload(f"matmul {n}", normal(a=(n, n), b=(n, n)), matmul, lambda d: lambda: d["a"] @ d["b"], speedup=1)
      for n in (64, 128, 256, 512, 1024, 2048)),
)

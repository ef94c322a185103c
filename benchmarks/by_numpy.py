"""The workloads in NumPy and SciPy, as one would write them: functions of the arrays, and builders for those with a state."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import scipy.special

from benchmarks.workload import M, Data, Run
from benchmarks.workloads.networks import ADAM_RATE, BETA1, BETA2, EPSILON, MOMENTUM, RATE
from benchmarks.workloads.transforms import FEW, MANY, formula, repeated

VERSIONS: dict[str, Callable[[Data], Run]] = {}
f32 = np.float32


def version(function: Callable) -> Callable:
    VERSIONS[function.__name__] = lambda data: lambda: function(*data.values())
    return function


def builder(build: Callable[[Data], Run]) -> Callable:
    VERSIONS[build.__name__] = build
    return build


# --- elementwise, normalisations, distances, reductions ----------------------------------------------------------------

@version
def chain(x):
    return np.sin(x) * np.exp(-x * x) + np.tanh(x) * x.dtype.type(0.5) + np.sqrt(np.abs(x))


@version
def multiply_add(a, b):
    y = a * b
    y += a
    return y


@version
def gelu_and_slope(x):
    below = f32(0.5) * (1 + scipy.special.erf(x * f32(0.5**0.5)))
    return np.sum(x * below), below + x * np.exp(f32(-0.5) * x * x) * f32((2 * np.pi) ** -0.5)


@version
def strided(x):
    x = x[::2, ::3]
    return np.exp(x) + x * f32(0.5)


@version
def transposed(x):
    return np.swapaxes(x, -1, -2) * f32(2)


@version
def broadcast(x, y, z):
    return (x - y) * z


@version
def black_scholes(s, k, t):
    spread = 0.3 * np.sqrt(t)
    d1 = (np.log(s / k) + (0.02 + 0.5 * 0.3**2) * t) / spread
    discounted = k * np.exp(-0.02 * t)
    call = s * scipy.special.ndtr(d1) - discounted * scipy.special.ndtr(d1 - spread)
    return call, call - s + discounted


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e


@version
def softmax_rows(x):
    return softmax(x, -1)


@version
def softmax_columns(x):
    return softmax(x, 0)


@version
def layer_norm_passes(x, scale, shift, ct):
    normed = x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt((normed * normed).mean(-1, keepdims=True) + f32(1e-5))
    normed *= inverse
    scaled = ct * scale
    back = inverse * (scaled - scaled.mean(-1, keepdims=True) - normed * (scaled * normed).mean(-1, keepdims=True))
    return normed * scale + shift, back, (ct * normed).sum(0), ct.sum(0)


@version
def distances(x, y):
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


@version
def soft_nearest(x, y):
    return scipy.special.logsumexp(-distances(x, y), 1)


@version
def sum_columns(x):
    return x.sum(0)


@version
def sum_rows(x):
    return x.sum(1)


@version
def sum_all(x):
    return x.sum()


@version
def moments_columns(x):
    return x.mean(0), x.var(0)


@version
def moments_rows(x):
    return x.mean(1), x.var(1)


@version
def argmax_rows(x):
    return x.argmax(1)


@version
def largest_integer(x):
    return x.max()


@version
def erf_inv(x):
    return scipy.special.erfinv(np.tanh(x))


@builder
def random_normal(data):
    rng = np.random.default_rng(0)
    return lambda: rng.standard_normal(10 * M, np.float32)


@builder
def random_uniform(data):
    rng = np.random.default_rng(0)
    return lambda: rng.random(10 * M, np.float32)


@builder
def random_permutation(data):
    rng = np.random.default_rng(0)
    return lambda: rng.permutation(M)


# --- products, networks --------------------------------------------------------------------------------------------------

@version
def matmul(a, b):
    return a @ b


@version
def batched_matmul(a, b):
    return a @ b


@version
def matmul_of_transposed(a, b):
    return a @ b + (b.T @ a.T).T


@version
def linear_relu(x, w, b):
    y = x @ w
    y += b
    return np.maximum(y, 0, out=y)


Update = Callable[[list, list], None]


def momentum(params: list) -> Update:
    state = [np.zeros_like(p) for p in params]

    def update(params: list, grads: list) -> None:
        for p, m, g in zip(params, state, grads):
            m *= f32(MOMENTUM)
            m += g
            p -= f32(RATE) * m
    return update


def adam(params: list) -> Update:
    first, second, t = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], 0

    def update(params: list, grads: list) -> None:
        nonlocal t
        t += 1
        c1, c2 = f32(1 - BETA1**t), f32(1 - BETA2**t)
        for p, m, v, g in zip(params, first, second, grads):
            m += f32(1 - BETA1) * (g - m)
            v += f32(1 - BETA2) * (g * g - v)
            p -= f32(ADAM_RATE) * (m / c1) / (np.sqrt(v / c2) + f32(EPSILON))
    return update


def perceptron(data: Data, optimizer: Callable[[list], Update]) -> Run:
    """A training step with its gradient by hand."""
    params, x, y = [a.copy() for pair in data["params"] for a in pair], data["x"], data["y"]
    update, rows = optimizer(params), np.arange(len(y))

    def run() -> Any:
        layers = list(zip(params[::2], params[1::2]))
        hidden = [x]
        for w, b in layers[:-1]:
            hidden.append(np.maximum(hidden[-1] @ w + b, 0))
        logits = hidden[-1] @ layers[-1][0] + layers[-1][1]
        logits -= logits.max(1, keepdims=True)
        e = np.exp(logits)
        total = e.sum(1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - logits[rows, y])
        ct = e / total
        ct[rows, y] -= 1
        ct /= f32(len(y))
        grads: list = []
        for k in reversed(range(len(layers))):
            grads[:0] = [hidden[k].T @ ct, ct.sum(0)]
            if k:
                ct = (ct @ layers[k][0].T) * (hidden[k] > 0)
        update(params, grads)
        return (loss,)
    return run


@builder
def perceptron_momentum(data):
    return perceptron(data, momentum)


@builder
def perceptron_adam(data):
    return perceptron(data, adam)


@builder
def small_perceptron_adam(data):
    return perceptron(data, adam)


# --- calls, loops, stencils ------------------------------------------------------------------------------------------------

@builder
def eager_add(data):
    return repeated(lambda x: x + 1, data["x"], MANY)


@builder
def eager_formula(data):
    return repeated(lambda x: formula(np, x), data["x"], FEW)


@version
def eager_formula_large(x):
    return formula(np, x)


def slope(s):
    x, y, z = s
    return np.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z])


@version
def lorenz_paths(s):
    s, dt = np.ascontiguousarray(s.T), 0.01
    for _ in range(1000):
        k1 = slope(s)
        k2 = slope(s + dt / 2 * k1)
        k3 = slope(s + dt / 2 * k2)
        k4 = slope(s + dt * k3)
        s = s + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return s.T


@version
def newton(x):
    y, error = x, 1.0
    while error > 1e-6:
        following = f32(0.5) * (y + x / y)
        error, y = np.max(np.abs(following - y) / following), following
    return y


@version
def mandelbrot(re, im):
    x, y, count = np.zeros_like(re), np.zeros_like(re), np.zeros(re.shape, np.int32)
    for _ in range(100):
        x2, y2 = x * x, y * y
        inside = x2 + y2 <= 4
        x, y = np.where(inside, x2 - y2 + re, x), np.where(inside, 2 * x * y + im, y)
        count += inside
    return count


@version
def matrix_chain(a):
    c = np.eye(16, dtype=f32)
    for m in a:
        c = np.tanh(c @ m)
    return c


@version
def heat_slices(u):
    u = u.copy()
    for _ in range(100):
        inner = u[1:-1, 1:-1]
        inner += f32(0.1) * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner)
    return u


@version
def heat_rolls(u):
    roll = np.roll
    for _ in range(100):
        u = u + f32(0.1) * (roll(u, 1, 0) + roll(u, -1, 0) + roll(u, 1, 1) + roll(u, -1, 1) - 4 * u)
    return u


# --- indexing, linear algebra ----------------------------------------------------------------------------------------------

@version
def embedding(table, ids, ct):
    return table[ids]


@version
def embedding_gradient(table, ids, ct):
    out = np.zeros_like(table)
    np.add.at(out, ids, ct)
    return out


@version
def segment_sum(x, ids):
    return np.bincount(ids, x, 10_000)


@version
def sort(x):
    return np.sort(x)


@version
def argsort(x):
    return np.argsort(x)


@version
def cumsum(x):
    return np.cumsum(x)


@version
def cumsum_columns(x):
    return np.cumsum(x, 0)


@version
def top_k(x):
    found = np.argpartition(-x, 10, axis=1)[:, :10]
    values = np.take_along_axis(x, found, 1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(found, order, 1)


@version
def cholesky(a):
    return np.linalg.cholesky(a)


@version
def cholesky_small(a):
    return np.linalg.cholesky(a)


@version
def solve(a, b):
    return np.linalg.solve(a, b)


@version
def solve_small(a, b):
    return np.linalg.solve(a, b)


@version
def svd(a):
    return tuple(np.linalg.svd(a))


@version
def eigh(a):
    return tuple(np.linalg.eigh(a))


@version
def fft(x):
    return scipy.fft.fft(x, workers=-1)


@version
def rfft(x):
    return scipy.fft.rfft(x, workers=-1)

"""Training steps of small networks, recurrent layers and transformer blocks. Parameters are lists and tuples of arrays."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.workload import Data, Run, custom, generator, on_device, program, weights
from benchmarks.workloads.arrays import ROOT_HALF, layer_norm, softmax
from benchmarks.workloads.products import convolve

RATE, MOMENTUM = 0.01, 0.9
BETA1, BETA2, EPSILON, ADAM_RATE = 0.9, 0.999, 1e-8, 1e-3
SIZES, BATCH = (784, 512, 512, 10), 128


def dense_params(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(weights(rng, m, n), np.zeros(n, np.float32)) for m, n in itertools.pairwise(sizes)]


def perceptron_data(sizes: tuple[int, ...] = SIZES, batch: int = BATCH) -> Callable[[], Data]:
    def data() -> Data:
        rng = generator()
        return {"params": dense_params(rng, sizes), "x": rng.standard_normal((batch, sizes[0])).astype(np.float32),
                "y": rng.integers(0, sizes[-1], batch).astype(np.int32)}
    return data


def perceptron(J: ModuleType, params: Any, x: Any) -> Any:
    for w, b in params[:-1]:
        x = J.numpy.maximum(x @ w + b, 0)
    return x @ params[-1][0] + params[-1][1]


def cross_entropy(J: ModuleType, logits: Any, y: Any) -> Any:
    jnp = J.numpy
    largest = J.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    total = largest[..., 0] + jnp.log(jnp.sum(jnp.exp(logits - largest), axis=-1))
    return jnp.mean(total - jnp.take_along_axis(logits, y[..., None], axis=-1)[..., 0])


Optimizer = tuple[Callable, Callable]   # init(params) -> state; update(grads, params, state) -> params, state


def momentum(J: ModuleType, rate: float = RATE) -> Optimizer:
    tree_map = J.tree_util.tree_map

    def update(grads: Any, params: Any, state: Any) -> tuple[Any, Any]:
        state = tree_map(lambda m, g: MOMENTUM * m + g, state, grads)
        return tree_map(lambda p, m: p - rate * m, params, state), state
    return lambda params: tree_map(J.numpy.zeros_like, params), update


def adam(J: ModuleType) -> Optimizer:
    tree_map, jnp = J.tree_util.tree_map, J.numpy

    def init(params: Any) -> Any:
        zeros = lambda: tree_map(jnp.zeros_like, params)
        return jnp.zeros((), jnp.float32), zeros(), zeros()

    def update(grads: Any, params: Any, state: Any) -> tuple[Any, Any]:
        t, first, second = state[0] + 1, state[1], state[2]
        first = tree_map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
        second = tree_map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
        c1, c2 = 1 - BETA1**t, 1 - BETA2**t
        moved = tree_map(lambda p, m, v: p - ADAM_RATE * (m / c1) / (jnp.sqrt(v / c2) + EPSILON), params, first, second)
        return moved, (t, first, second)
    return init, update


def training(J: ModuleType, data: Data, loss: Callable, optimizer: Optimizer) -> Run:
    """Steps that carry parameters and the optimizer's state, both donated; each returns its loss and the state."""
    device, (init, update) = on_device(J, data), optimizer
    state = [(device["params"], init(device["params"]))]

    def step(state: Any, x: Any, y: Any) -> Any:
        params, rest = state
        value, grads = J.value_and_grad(loss)(params, x, y)
        return value, update(grads, params, rest)
    compiled = J.jit(step, donate_argnums=(0,))

    def run() -> Any:
        value, state[0] = compiled(state[0], device["x"], device["y"])
        return value, state[0]
    return run


DENSE = sum(m * n for m, n in itertools.pairwise(SIZES))
# Forward, the gradients of all weights, and those of all inputs but the first.
DENSE_FLOPS = 2 * BATCH * (3 * DENSE - SIZES[0] * SIZES[1])


def perceptron_step(optimizer: Callable) -> Callable:
    def build(J: ModuleType, data: Data) -> Run:
        return training(J, data, lambda p, x, y: cross_entropy(J, perceptron(J, p, x), y), optimizer(J))
    return build


@custom("training", "perceptron 784-512-512-10, momentum, batch 128", perceptron_data(), flops=DENSE_FLOPS, compared="losses",
        tolerance=1e-2)
def perceptron_momentum(J, data):
    return perceptron_step(momentum)(J, data)


@custom("training", "perceptron 784-512-512-10, Adam, batch 128", perceptron_data(), flops=DENSE_FLOPS, compared="losses",
        tolerance=1e-2)
def perceptron_adam(J, data):
    return perceptron_step(adam)(J, data)


@custom("training", "perceptron 100-33-7, Adam, batch 17", perceptron_data((100, 33, 7), 17), compared="losses", tolerance=1e-2)
def small_perceptron_adam(J, data):
    return perceptron_step(adam)(J, data)


def cnn_data() -> Data:
    rng = generator()
    filters = [(weights(rng, 5, 5, c, f), np.zeros(f, np.float32)) for c, f in ((1, 32), (32, 64))]
    return {"params": [filters, dense_params(rng, (7 * 7 * 64, 128, 10))],
            "x": rng.standard_normal((64, 28, 28, 1)).astype(np.float32), "y": rng.integers(0, 10, 64).astype(np.int32)}


def max_pool(J: ModuleType, x: Any) -> Any:
    return J.lax.reduce_window(x, -float("inf"), J.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


FIRST, SECOND = 2 * 64 * 28**2 * 25 * 32, 2 * 64 * 14**2 * 25 * 32 * 64


@custom("training", "LeNet-like network 32-64-128, batch 64", cnn_data, compared="losses", tolerance=1e-2,
        flops=2 * FIRST + 3 * SECOND + 6 * 64 * (3136 * 128 + 1280))
def cnn_momentum(J, data):
    def loss(params: Any, x: Any, y: Any) -> Any:
        filters, dense = params
        for w, b in filters:
            x = max_pool(J, J.numpy.maximum(convolve(J, x, w) + b, 0))
        return cross_entropy(J, perceptron(J, dense, x.reshape(x.shape[0], -1)), y)
    return training(J, data, loss, momentum(J))


# --- recurrent -----------------------------------------------------------------------------------------------------------

STEPS, WIDTH = 100, 128


def recurrent_data(gates: int, batch: int = 32) -> Callable[[], Data]:
    def data() -> Data:
        rng, n = generator(), gates * WIDTH
        return {"x": rng.standard_normal((STEPS, batch, WIDTH)).astype(np.float32), "wx": weights(rng, WIDTH, n),
                "wh": weights(rng, WIDTH, n), "bx": weights(rng, n), "bh": weights(rng, n)}
    return data


def sigmoid(J: ModuleType, x: Any) -> Any:
    return 1 / (1 + J.numpy.exp(-x))


def recurrent(J: ModuleType, cell: Callable, carry: Any, x: Any, params: tuple) -> Any:
    """Mean square of all outputs, and the gradients of the parameters."""
    def loss(params: tuple) -> Any:
        wx, wh, bx, bh = params
        _, ys = J.lax.scan(lambda c, xt: cell(c, xt, wh, bh), carry, x @ wx + bx)
        return J.numpy.mean(ys * ys)
    return J.value_and_grad(loss)(params)


@program("recurrent", "LSTM, 100 steps, 128 wide, batch 32, both passes", recurrent_data(4), tolerance=1e-3,
         flops=10 * STEPS * 32 * WIDTH * 4 * WIDTH)
def lstm(J, x, wx, wh, bx, bh):
    jnp = J.numpy

    def cell(carry: Any, xt: Any, wh: Any, bh: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(xt + h @ wh + bh, 4, axis=-1)
        c = sigmoid(J, f) * c + sigmoid(J, i) * jnp.tanh(g)
        h = sigmoid(J, o) * jnp.tanh(c)
        return (h, c), h
    zero = jnp.zeros_like(x[0])
    return recurrent(J, cell, (zero, zero), x, (wx, wh, bx, bh))


@program("recurrent", "GRU, 100 steps, 128 wide, batch 32, both passes", recurrent_data(3), tolerance=1e-3,
         flops=10 * STEPS * 32 * WIDTH * 3 * WIDTH)
def gru(J, x, wx, wh, bx, bh):
    jnp = J.numpy

    def cell(h: Any, xt: Any, wh: Any, bh: Any) -> Any:
        (hr, hz, hn), (xr, xz, xn) = jnp.split(h @ wh + bh, 3, axis=-1), jnp.split(xt, 3, axis=-1)
        r, z = sigmoid(J, xr + hr), sigmoid(J, xz + hz)
        h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
        return h, h
    return recurrent(J, cell, jnp.zeros_like(x[0]), x, (wx, wh, bx, bh))


# --- transformers ------------------------------------------------------------------------------------------------------

def block_params(rng: np.random.Generator, d: int) -> tuple[np.ndarray, ...]:
    ones, zeros = np.ones(d, np.float32), np.zeros(d, np.float32)
    return (ones, zeros, weights(rng, d, 3 * d), weights(rng, d, d), ones.copy(), zeros.copy(), weights(rng, d, 4 * d),
            np.zeros(4 * d, np.float32), weights(rng, 4 * d, d), zeros.copy())


def gelu(J: ModuleType, x: Any) -> Any:
    return 0.5 * x * (1 + J.lax.erf(x * ROOT_HALF))


def causal_attention(J: ModuleType, q: Any, k: Any, v: Any) -> Any:
    t, d = q.shape[-2:]
    scores = q @ J.numpy.swapaxes(k, -1, -2) * d**-0.5
    return softmax(J, J.numpy.where(J.numpy.tril(J.numpy.ones((t, t), bool)), scores, -1e30), -1) @ v


def block(J: ModuleType, params: tuple, x: Any, heads: int) -> Any:
    scale1, shift1, qkv, proj, scale2, shift2, up, up_bias, down, down_bias = params
    b, t, c = x.shape
    parts = (layer_norm(J, x, scale1, shift1) @ qkv).reshape(b, t, 3, heads, c // heads)
    q, k, v = (parts[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    x = x + causal_attention(J, q, k, v).transpose(0, 2, 1, 3).reshape(b, t, c) @ proj
    return x + gelu(J, layer_norm(J, x, scale2, shift2) @ up + up_bias) @ down + down_bias


def block_data() -> Data:
    rng = generator()
    return {"params": block_params(rng, 256), "x": rng.standard_normal((8, 128, 256)).astype(np.float32),
            "y": rng.standard_normal((8, 128, 256)).astype(np.float32)}


TOKENS, ATTENTION = 8 * 128, 4 * 8 * 128 * 128 * 256


@custom("transformer", "block, 256 wide, 8 heads, 8x128 tokens, step", block_data, compared="losses", tolerance=1e-2,
        flops=3 * (2 * TOKENS * 12 * 256**2 + ATTENTION) - 2 * TOKENS * 3 * 256**2)
def block_momentum(J, data):
    return training(J, data, lambda p, x, y: J.numpy.mean((block(J, p, x, 8) - y) ** 2), momentum(J, rate=0.1))


@program("transformer", "causal attention, 8 heads of 64, 2048 tokens", lambda: {
    name: generator().standard_normal((1, 8, 2048, 64)).astype(np.float32) for name in "qkv"}, flops=4 * 8 * 2048**2 * 64)
def attention(J, q, k, v):
    return causal_attention(J, q, k, v)


def gpt_data(layers: int, d: int = 128, words: int = 256, batch: int = 2, t: int = 64) -> Callable[[], Data]:
    def data() -> Data:
        rng = generator()
        params = [10 * weights(rng, words, d), weights(rng, t, d), [block_params(rng, d) for _ in range(layers)],
                  np.ones(d, np.float32), np.zeros(d, np.float32), weights(rng, d, words)]
        tokens = lambda: rng.integers(0, words, (batch, t)).astype(np.int32)
        return {"params": params, "x": tokens(), "y": tokens()}
    return data


def transformer(layers: int) -> Callable:
    return program("compilation", f"transformer of {layers} layers, value and gradient", gpt_data(layers), compiles=True,
                   leaves=(0, 1), tolerance=1e-3)


@transformer(1)
@transformer(4)
@transformer(12)
def gpt(J, params, x, y):
    def loss(params: Any) -> Any:
        words, places, blocks, scale, shift, head = params
        h = words[x] + places
        for one in blocks:
            h = block(J, one, h, 4)
        return cross_entropy(J, layer_norm(J, h, scale, shift) @ head, y)
    return J.value_and_grad(loss)(params)

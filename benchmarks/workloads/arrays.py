"""Elementwise formulas, normalisations, distances, reductions and random numbers."""
from __future__ import annotations

import numpy as np

from benchmarks.workload import M, Data, floats, generator, normal, program, swept, uniform

LENGTHS = (1, 7, 64, 1000, 4099, 65_537, 1_000_003, 33_554_467)
ROOT_HALF = 0.7071067811865476


def vectors(dtype: str = "float32", sizes: tuple[int, ...] = LENGTHS) -> dict:
    return {f"{n}, {dtype}": normal(dtype, x=(n,)) for n in sizes}


def matrices(*shapes: tuple[int, int]) -> dict:
    return {f"{m}x{n}": normal(x=(m, n)) for m, n in shapes}


@program("elementwise", "sin exp tanh sqrt, 10M", normal(x=(10 * M,)), moved=floats(10 * M, 10 * M), tolerance=1e-5,
         sweep=vectors() | vectors("float64", (4099, M)) | vectors("float16", (4099, M)))
def chain(J, x):
    jnp = J.numpy
    return jnp.sin(x) * jnp.exp(-x * x) + jnp.tanh(x) * 0.5 + jnp.sqrt(jnp.abs(x))


@program("elementwise", "a*b + a, 10M", normal(a=(10 * M,), b=(10 * M,)), moved=floats(20 * M, 10 * M))
def multiply_add(J, a, b):
    return a * b + a


@program("elementwise", "GELU and its slope, 4M", normal(x=(4 * M,)), moved=floats(4 * M, 4 * M), tolerance=1e-5)
def gelu_and_slope(J, x):
    return J.value_and_grad(lambda x: J.numpy.sum(0.5 * x * (1 + J.lax.erf(x * ROOT_HALF))))(x)


@swept({"1000x1001 of 2000x3003": normal(x=(2000, 3003)), "33x7 of 66x21": normal(x=(66, 21))})
def strided(J, x):
    x = x[::2, ::3]
    return J.numpy.exp(x) + x * 0.5


@swept({"1023x1025": normal(x=(1023, 1025)), "7x100003": normal(x=(7, 100_003)), "100x33x65": normal(x=(100, 33, 65)),
        "4096x4096": normal(x=(4096, 4096))})
def transposed(J, x):
    return J.numpy.swapaxes(x, -1, -2) * 2.0


@swept({"1003x997": normal(x=(1003, 997), y=(997,), z=(1003, 1)), "3x5": normal(x=(3, 5), y=(5,), z=(3, 1))})
def broadcast(J, x, y, z):
    return (x - y) * z


def options(n: int):
    def data() -> Data:
        rng = generator()
        return {"s": rng.uniform(10, 50, n), "k": rng.uniform(10, 50, n), "t": rng.uniform(0.5, 2, n)}
    return data


@program("elementwise", "Black-Scholes, 2M, f64", options(2 * M), moved=(48e6, 32e6), x64=True, tolerance=1e-11, itemsize=8,
         sweep={str(n): options(n) for n in (1, 13, 1001, 100_003)})
def black_scholes(J, s, k, t):
    """Prices of European calls and puts; rate 2 %, volatility 30 %."""
    jnp = J.numpy
    below = lambda z: 0.5 * (1 + J.lax.erf(z * ROOT_HALF))
    spread = 0.3 * jnp.sqrt(t)
    d1 = (jnp.log(s / k) + (0.02 + 0.5 * 0.3**2) * t) / spread
    discounted = k * jnp.exp(-0.02 * t)
    call = s * below(d1) - discounted * below(d1 - spread)
    return call, call - s + discounted


# --- normalisations ----------------------------------------------------------------------------------------------------

def softmax(J, x, axis):
    e = J.numpy.exp(x - J.numpy.max(x, axis=axis, keepdims=True))
    return e / J.numpy.sum(e, axis=axis, keepdims=True)


SHAPES = matrices((1, 1), (3, 7), (128, 10), (1000, 17), (4096, 1023), (17, 65_537), (100_003, 3), (1, M + 3))


@program("normalisation", "softmax of rows, 4096x1024", normal(x=(4096, 1024)), moved=floats(4 * M, 4 * M), sweep=SHAPES)
def softmax_rows(J, x):
    return softmax(J, x, -1)


@program("normalisation", "softmax of columns, 4096x1024", normal(x=(4096, 1024)), moved=floats(4 * M, 4 * M), sweep=SHAPES)
def softmax_columns(J, x):
    return softmax(J, x, 0)


def layer_norm(J, x, scale, shift):
    jnp = J.numpy
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * J.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5) * scale + shift


def layer_norm_data(m: int, n: int):
    return normal(x=(m, n), scale_=(n,), shift=(n,), ct=(m, n))


@program("normalisation", "layer norm, both passes, 4096x1024", layer_norm_data(4096, 1024), moved=floats(8 * M, 8 * M),
         sweep={f"{m}x{n}": layer_norm_data(m, n) for m, n in ((1, 1), (3, 7), (1000, 17), (257, 1023), (7, 65_537))})
def layer_norm_passes(J, x, scale_, shift, ct):
    y, pullback = J.vjp(lambda *args: layer_norm(J, *args), x, scale_, shift)
    return y, *pullback(ct)


# --- distances -----------------------------------------------------------------------------------------------------------

def distances_of(J, x, y):
    return J.numpy.sqrt(J.numpy.sum((x[:, None] - y[None]) ** 2, axis=-1))


POINTS = {f"{m}x{n}x{d}": normal(x=(m, d), y=(n, d)) for m, n, d in ((1, 1, 1), (7, 1001, 2), (1001, 7, 5), (333, 777, 13))}


@program("distances", "pairwise distances, 2000x2000x3", normal(x=(2000, 3), y=(2000, 3)), moved=floats(0, 4 * M), sweep=POINTS)
def distances(J, x, y):
    return distances_of(J, x, y)


@program("distances", "logsumexp of distances, 2000x2000x3", normal(x=(2000, 3), y=(2000, 3)))
def soft_nearest(J, x, y):
    z = -distances_of(J, x, y)
    largest = J.numpy.max(z, axis=1)
    return largest + J.numpy.log(J.numpy.sum(J.numpy.exp(z - largest[:, None]), axis=1))


# --- reductions ------------------------------------------------------------------------------------------------------------

BIG, ODD = normal(x=(8192, 4096)), matrices((1, 1), (7, 5), (1000, 17), (17, 1000), (1023, 1025), (3, 100_003), (100_003, 3))


@program("reductions", "sum of columns, 8192x4096", BIG, moved=floats(8192 * 4096, 0), sweep=ODD)
def sum_columns(J, x):
    return J.numpy.sum(x, axis=0)


@program("reductions", "sum of rows, 8192x4096", BIG, moved=floats(8192 * 4096, 0), sweep=ODD)
def sum_rows(J, x):
    return J.numpy.sum(x, axis=1)


@program("reductions", "sum of all, 8192x4096", BIG, moved=floats(8192 * 4096, 0), tolerance=1e-3, sweep=ODD)
def sum_all(J, x):
    return J.numpy.sum(x)


@program("reductions", "mean and variance of columns, 8192x4096", BIG, moved=floats(8192 * 4096, 0), sweep=ODD)
def moments_columns(J, x):
    return J.numpy.mean(x, axis=0), J.numpy.var(x, axis=0)


@program("reductions", "mean and variance of rows, 8192x4096", BIG, moved=floats(8192 * 4096, 0), sweep=ODD)
def moments_rows(J, x):
    return J.numpy.mean(x, axis=1), J.numpy.var(x, axis=1)


@swept(ODD)
def argmax_rows(J, x):
    return J.numpy.argmax(x, axis=1)


@swept({"int32, 1000003": lambda: {"x": generator().integers(-9, 9, M + 3).astype(np.int32)},
        "uint8, 1000003": lambda: {"x": generator().integers(0, 255, M + 3).astype(np.uint8)}})
def largest_integer(J, x):
    return J.numpy.max(x)


# --- random numbers ------------------------------------------------------------------------------------------------------

def seed() -> Data:
    return {"seed": np.uint32(0)}


@program("random", "normal, 10M", seed, moved=floats(0, 10 * M), compared="moments", tolerance=5e-3)
def random_normal(J, seed):
    return J.random.normal(J.random.key(seed), (10 * M,))


@program("random", "uniform, 10M", seed, moved=floats(0, 10 * M), compared="moments", tolerance=5e-3)
def random_uniform(J, seed):
    return J.random.uniform(J.random.key(seed), (10 * M,))


@program("random", "permutation, 1M", seed, moved=floats(0, M), compared="sorted", tolerance=0)
def random_permutation(J, seed):
    return J.random.permutation(J.random.key(seed), M)


@swept({"n": uniform(-3, 3, x=(1_000_003,))})
def erf_inv(J, x):
    return J.scipy.special.erfinv(J.numpy.tanh(x))

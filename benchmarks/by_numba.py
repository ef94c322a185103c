"""The workloads as explicit loops in Numba, parallel and with fast math, where that is how one would write them."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import njit, prange

from benchmarks.workload import Data, Run
from benchmarks.workloads.transforms import MANY, repeated

VERSIONS: dict[str, Callable[[Data], Run]] = {}
f32 = np.float32
HALF, ROOT_HALF, NORMAL = f32(0.5), f32(0.5**0.5), f32((2 * math.pi) ** -0.5)
PARTS = numba.get_num_threads()     # what is folded by hand is folded in that many parts


def version(function: Callable, parallel: bool = True) -> Callable:
    compiled = njit(parallel=parallel, fastmath=True)(function)
    VERSIONS[function.__name__] = lambda data: lambda: compiled(*data.values())
    return compiled


def serial(function: Callable) -> Callable:
    return version(function, parallel=False)


# --- elementwise -------------------------------------------------------------------------------------------------------

@version
def chain(x):
    y = np.empty_like(x)
    for i in prange(x.size):
        v = x[i]
        y[i] = math.sin(v) * math.exp(-v * v) + math.tanh(v) * HALF + math.sqrt(abs(v))
    return y


@version
def multiply_add(a, b):
    y = np.empty_like(a)
    for i in prange(a.size):
        y[i] = a[i] * b[i] + a[i]
    return y


@version
def gelu_and_slope(x):
    slope, total = np.empty_like(x), 0.0
    for i in prange(x.size):
        v = x[i]
        below = HALF * (f32(1) + math.erf(v * ROOT_HALF))
        total += v * below
        slope[i] = below + v * math.exp(-HALF * v * v) * NORMAL
    return total, slope


@version
def strided(x):
    y = np.empty(((x.shape[0] + 1) // 2, (x.shape[1] + 2) // 3), np.float32)
    for i in prange(y.shape[0]):
        for j in range(y.shape[1]):
            v = x[2 * i, 3 * j]
            y[i, j] = math.exp(v) + v * HALF
    return y


@version
def black_scholes(s, k, t):
    call, put = np.empty_like(s), np.empty_like(s)
    for i in prange(s.size):
        spread = 0.3 * math.sqrt(t[i])
        d1 = (math.log(s[i] / k[i]) + (0.02 + 0.5 * 0.3**2) * t[i]) / spread
        discounted = k[i] * math.exp(-0.02 * t[i])
        c = s[i] * 0.5 * (1 + math.erf(d1 * 0.5**0.5)) - discounted * 0.5 * (1 + math.erf((d1 - spread) * 0.5**0.5))
        call[i], put[i] = c, c - s[i] + discounted
    return call, put


# --- normalisations, distances -------------------------------------------------------------------------------------------

@version
def softmax_rows(x):
    y = np.empty_like(x)
    for i in prange(x.shape[0]):
        largest, total = x[i, 0], f32(0)
        for j in range(x.shape[1]):
            largest = max(largest, x[i, j])
        for j in range(x.shape[1]):
            y[i, j] = math.exp(x[i, j] - largest)
            total += y[i, j]
        for j in range(x.shape[1]):
            y[i, j] *= f32(1) / total
    return y


@version
def softmax_columns(x):
    m, n = x.shape
    y = np.empty_like(x)
    for part in prange(PARTS):
        low, high = part * n // PARTS, (part + 1) * n // PARTS
        largest, total = x[0, low:high].copy(), np.zeros(high - low, np.float32)
        for i in range(m):
            for j in range(high - low):
                largest[j] = max(largest[j], x[i, low + j])
        for i in range(m):
            for j in range(high - low):
                e = math.exp(x[i, low + j] - largest[j])
                y[i, low + j] = e
                total[j] += e
        for i in range(m):
            for j in range(high - low):
                y[i, low + j] /= total[j]
    return y


@version
def layer_norm_passes(x, scale, shift, ct):
    m, n = x.shape
    y, back = np.empty_like(x), np.empty_like(x)
    by_scale, by_shift = np.zeros((PARTS, n), np.float32), np.zeros((PARTS, n), np.float32)
    for part in prange(PARTS):
        for i in range(part * m // PARTS, (part + 1) * m // PARTS):
            mean, variance, first, second = f32(0), f32(0), f32(0), f32(0)
            for j in range(n):
                mean += x[i, j]
            mean /= f32(n)
            for j in range(n):
                variance += (x[i, j] - mean) ** 2
            inverse = f32(1) / math.sqrt(variance / f32(n) + f32(1e-5))
            for j in range(n):
                normed, c = (x[i, j] - mean) * inverse, ct[i, j]
                y[i, j] = normed * scale[j] + shift[j]
                by_scale[part, j] += c * normed
                by_shift[part, j] += c
                first += c * scale[j]
                second += c * scale[j] * normed
            for j in range(n):
                normed = (x[i, j] - mean) * inverse
                back[i, j] = inverse * (ct[i, j] * scale[j] - first / f32(n) - normed * second / f32(n))
    return y, back, by_scale.sum(0), by_shift.sum(0)


@version
def distances(x, y):
    z = np.empty((x.shape[0], y.shape[0]), np.float32)
    for i in prange(x.shape[0]):
        for j in range(y.shape[0]):
            total = f32(0)
            for k in range(x.shape[1]):
                total += (x[i, k] - y[j, k]) ** 2
            z[i, j] = math.sqrt(total)
    return z


@version
def soft_nearest(x, y):
    out = np.empty(x.shape[0], np.float32)
    for i in prange(x.shape[0]):
        z = np.empty(y.shape[0], np.float32)
        for j in range(y.shape[0]):
            total = f32(0)
            for k in range(x.shape[1]):
                total += (x[i, k] - y[j, k]) ** 2
            z[j] = -math.sqrt(total)
        largest, total = z[0], f32(0)
        for j in range(z.size):
            largest = max(largest, z[j])
        for j in range(z.size):
            total += math.exp(z[j] - largest)
        out[i] = largest + math.log(total)
    return out


# --- reductions ----------------------------------------------------------------------------------------------------------

@version
def sum_columns(x):
    m, n = x.shape
    total = np.zeros((PARTS, n), np.float32)
    for part in prange(PARTS):
        for i in range(part * m // PARTS, (part + 1) * m // PARTS):
            for j in range(n):
                total[part, j] += x[i, j]
    return total.sum(0)


@version
def sum_rows(x):
    out = np.empty(x.shape[0], np.float32)
    for i in prange(x.shape[0]):
        total = f32(0)
        for j in range(x.shape[1]):
            total += x[i, j]
        out[i] = total
    return out


@version
def sum_all(x):
    total = 0.0
    for i in prange(x.shape[0]):
        row = f32(0)
        for j in range(x.shape[1]):
            row += x[i, j]
        total += row
    return total


@version
def moments_rows(x):
    m, n = x.shape
    mean, variance = np.empty(m, np.float32), np.empty(m, np.float32)
    for i in prange(m):
        total, squares = f32(0), f32(0)
        for j in range(n):
            total += x[i, j]
        centre = total / f32(n)
        for j in range(n):
            squares += (x[i, j] - centre) ** 2
        mean[i], variance[i] = centre, squares / f32(n)
    return mean, variance


# --- loops -----------------------------------------------------------------------------------------------------------------

@njit(fastmath=True)
def slope(x, y, z):
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z


@njit(fastmath=True)
def rk4(x, y, z, dt):
    h = dt / 2
    a1, b1, c1 = slope(x, y, z)
    a2, b2, c2 = slope(x + h * a1, y + h * b1, z + h * c1)
    a3, b3, c3 = slope(x + h * a2, y + h * b2, z + h * c2)
    a4, b4, c4 = slope(x + dt * a3, y + dt * b3, z + dt * c3)
    return (x + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4), y + dt / 6 * (b1 + 2 * b2 + 2 * b3 + b4),
            z + dt / 6 * (c1 + 2 * c2 + 2 * c3 + c4))


@serial
def lorenz(s):
    x, y, z = s
    for _ in range(100_000):
        x, y, z = rk4(x, y, z, 0.01)
    return np.array([x, y, z])


@version
def lorenz_paths(s):
    out = np.empty_like(s)
    for i in prange(s.shape[0]):
        x, y, z = s[i, 0], s[i, 1], s[i, 2]
        for _ in range(1000):
            x, y, z = rk4(x, y, z, 0.01)
        out[i, 0], out[i, 1], out[i, 2] = x, y, z
    return out


@serial
def recurrence_gradient(x):
    carry, c = np.empty(x.size, np.float32), f32(0)
    for t in range(x.size):
        c = math.tanh(f32(0.9) * c + x[t])
        carry[t] = c
    out, ct = np.empty_like(x), f32(1)
    for t in range(x.size - 1, -1, -1):
        out[t] = ct * (f32(1) - carry[t] * carry[t])
        ct = out[t] * f32(0.9)
    return c, out


@version
def newton(x):
    y, error = x.copy(), f32(1)
    while error > 1e-6:
        errors = np.zeros(PARTS, np.float32)
        for part in prange(PARTS):
            worst = f32(0)
            for i in range(part * x.size // PARTS, (part + 1) * x.size // PARTS):
                following = HALF * (y[i] + x[i] / y[i])
                worst = max(worst, abs(following - y[i]) / following)
                y[i] = following
            errors[part] = worst
        error = errors.max()
    return y


@version
def mandelbrot(re, im):
    count = np.empty(re.shape, np.int32)
    for i in prange(re.shape[0]):
        for j in range(re.shape[1]):
            x, y, k = f32(0), f32(0), 0
            while k < 100 and x * x + y * y <= f32(4):
                x, y = x * x - y * y + re[i, j], f32(2) * x * y + im[i, j]
                k += 1
            count[i, j] = k
    return count


@version
def heat_slices(start):
    u, v = start.copy(), start.copy()
    m, n = u.shape
    for _ in range(100):
        for i in prange(1, m - 1):
            for j in range(1, n - 1):
                v[i, j] = u[i, j] + f32(0.1) * (u[i + 1, j] + u[i - 1, j] + u[i, j + 1] + u[i, j - 1] - f32(4) * u[i, j])
        u, v = v, u
    return u


@version
def heat_rolls(start):
    u, v = start.copy(), start.copy()
    m, n = u.shape
    for _ in range(100):
        for i in prange(m):
            above, here, below = u[i - 1 if i else m - 1], u[i], u[i + 1 if i + 1 < m else 0]
            for j in range(1, n - 1):
                v[i, j] = here[j] + f32(0.1) * (above[j] + below[j] + here[j + 1] + here[j - 1] - f32(4) * here[j])
            for j in (0, n - 1):
                right, left = here[j + 1 if j + 1 < n else 0], here[j - 1 if j else n - 1]
                v[i, j] = here[j] + f32(0.1) * (above[j] + below[j] + right + left - f32(4) * here[j])
        u, v = v, u
    return u


# --- indexing ----------------------------------------------------------------------------------------------------------------

@version
def embedding(table, ids, ct):
    out = np.empty((ids.size, table.shape[1]), np.float32)
    for i in prange(ids.size):
        out[i] = table[ids[i]]
    return out


@version
def embedding_gradient(table, ids, ct):
    out = np.empty_like(table)
    for part in prange(PARTS):      # each owns its share of the table
        low, high = part * table.shape[0] // PARTS, (part + 1) * table.shape[0] // PARTS
        out[low:high] = 0
        for i in range(ids.size):
            if low <= ids[i] < high:
                for j in range(table.shape[1]):
                    out[ids[i], j] += ct[i, j]
    return out


@version
def segment_sum(x, ids):
    total = np.zeros((PARTS, 10_000), np.float32)
    for part in prange(PARTS):
        for i in range(part * x.size // PARTS, (part + 1) * x.size // PARTS):
            total[part, ids[i]] += x[i]
    return total.sum(0)


@serial
def cumsum(x):
    y, total = np.empty_like(x), f32(0)
    for i in range(x.size):
        total += x[i]
        y[i] = total
    return y


# --- calls and compilation -------------------------------------------------------------------------------------------------

def call(data: Data) -> Run:
    return repeated(njit(lambda x: x + f32(1)), data["x"], MANY)


VERSIONS["call"] = call


def chain_of(n: int) -> Callable[[Data], Run]:
    """Numba compiles loops, so a chain of n operations is the body of one."""
    steps = ("math.sin(v)", "v * f32(1.01)", "v + f32(0.125)", "math.tanh(v)")
    body = "\n".join(f"        v = {steps[k % 4]}" for k in range(n))

    def build(data: Data) -> Run:
        scope: dict[str, Any] = {"np": np, "math": math, "f32": f32}
        exec(f"def f(x):\n    y = np.empty_like(x)\n    for i in range(x.size):\n        v = x[i]\n{body}\n"
             "        y[i] = v\n    return y\n", scope)
        compiled = njit(fastmath=True)(scope["f"])
        return lambda: compiled(data["x"])
    return build


VERSIONS |= {f"elementwise_chain_{n}": chain_of(n) for n in (10, 100, 1000)}
VERSIONS["small_formula"] = lambda data: (lambda f: lambda: f(data["x"]))(njit(lambda x: x * f32(1.25) + x))

"""Factorisations large and small, and Fourier transforms."""
from __future__ import annotations

import numpy as np

from benchmarks.workload import M, Data, floats, generator, normal, program


def squares(n: int):
    def data() -> Data:
        a = generator().standard_normal((n, n))
        return {"a": a.astype(np.float32)}
    return data


def positive(n: int, batch: tuple[int, ...] = ()):
    def data() -> Data:
        a = generator().standard_normal((*batch, n, n))
        return {"a": (a @ np.swapaxes(a, -1, -2) / n + np.eye(n)).astype(np.float32)}
    return data


def symmetric(n: int):
    def data() -> Data:
        a = generator().standard_normal((n, n))
        return {"a": ((a + a.T) / 2).astype(np.float32)}
    return data


def systems(n: int, count: int):
    def data() -> Data:
        rng = generator()
        return {"a": (rng.standard_normal((count, n, n)) + 2 * n * np.eye(n)).astype(np.float32),
                "b": rng.standard_normal((count, n, 1)).astype(np.float32)}
    return data


ODD = (1, 3, 17, 65, 257)


@program("linear algebra", "Cholesky, 256", positive(256), sweep={str(n): positive(n) for n in ODD} | {
    f"{b}x{n}": positive(n, (b,)) for b, n in ((1000, 4), (333, 9), (10, 65))})
def cholesky(J, a):
    return J.numpy.linalg.cholesky(a)


@program("linear algebra", "solve, 256, 64 right-hand sides", lambda: squares(256)() | normal(b=(256, 64))(), tolerance=1e-2)
def solve(J, a, b):
    return J.numpy.linalg.solve(a, b)


@program("linear algebra", "singular values and vectors, 256", squares(256), leaves=(1, 2),
         sweep={str(n): squares(n) for n in (3, 17, 65)})
def svd(J, a):
    return tuple(J.numpy.linalg.svd(a))


@program("linear algebra", "eigenvalues and vectors, symmetric, 256", symmetric(256), leaves=(0, 1),
         sweep={str(n): symmetric(n) for n in (3, 17, 65)})
def eigh(J, a):
    return tuple(J.numpy.linalg.eigh(a))


@program("linear algebra", "10,000 systems of 3", systems(3, 10_000), moved=floats(120_000, 30_000), tolerance=1e-3,
         sweep={f"{count} of {n}": systems(n, count) for n, count in ((2, 1001), (4, 1000), (8, 1000), (17, 100), (65, 10))})
def solve_small(J, a, b):
    return J.numpy.linalg.solve(a, b)


@program("linear algebra", "1000 Cholesky factors of 8", positive(8, (1000,)), tolerance=1e-3)
def cholesky_small(J, a):
    return J.numpy.linalg.cholesky(a)


def waves(*shape: int):
    def data() -> Data:
        rng = generator()
        return {"x": (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)}
    return data


@program("Fourier transforms", "complex, 1M", waves(M), moved=(8e6, 8e6), tolerance=1e-3,
         sweep={str(n): waves(n) for n in (1, 7, 1000, 4099, 1 << 16)} | {"1000x33": waves(1000, 33)})
def fft(J, x):
    return J.numpy.fft.fft(x)


@program("Fourier transforms", "real, 1000 rows of 1024", normal(x=(1000, 1024)), moved=floats(1024_000, 1026_000), tolerance=1e-3)
def rfft(J, x):
    return J.numpy.fft.rfft(x)

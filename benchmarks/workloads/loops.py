"""Differential equations, loops on arrays, stencils, and the gradients of loops."""
from __future__ import annotations

import numpy as np

from benchmarks.workload import M, Data, generator, normal, program, uniform

DT = 0.01


def slope(J, s):
    """Lorenz's equations."""
    x, y, z = s[0], s[1], s[2]
    return J.numpy.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z])


def rk4(J, s):
    """One step of the classical Runge-Kutta method."""
    k1 = slope(J, s)
    k2 = slope(J, s + DT / 2 * k1)
    k3 = slope(J, s + DT / 2 * k2)
    k4 = slope(J, s + DT * k3)
    return s + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def path(J, s, steps: int):
    return J.lax.fori_loop(0, steps, lambda _, s: rk4(J, s), s)


def starts(n: int, dtype: str = "float64"):
    return uniform(0.9, 1.1, dtype, s=(n, 3))


# Chaotic: the end point depends on the last bit, so only that it is finite can be compared.
@program("differential equations", "Lorenz, RK4, 100,000 steps, f64", lambda: {"s": np.ones(3)}, x64=True, compared="finite")
def lorenz(J, s):
    return path(J, s, 100_000)


@program("differential equations", "Lorenz, RK4, 1000 paths of 1000 steps, f64", starts(1000), x64=True, tolerance=1e-3,
         sweep={str(n): starts(n) for n in (1, 7, 33, 1001)})
def lorenz_paths(J, s):
    return J.vmap(lambda s: path(J, s, 1000))(s)


@program("loop gradients", "gradient through RK4, 1000 paths of 100 steps, f64", starts(1000), x64=True)
def lorenz_gradient(J, s):
    def end(s):
        s, _ = J.lax.scan(lambda s, _: (rk4(J, s), None), s, None, length=100)
        return J.numpy.sum(s * s)
    return J.vmap(J.value_and_grad(end))(s)


@program("loop gradients", "gradient of a linear recurrence, 10,000 steps", normal(x=(10_000,), scale=0.1))
def recurrence_gradient(J, x):
    def last(x):
        c, _ = J.lax.scan(lambda c, v: (J.numpy.tanh(0.9 * c + v), None), J.numpy.float32(0), x)
        return c
    return J.value_and_grad(last)(x)


@program("loop gradients", "gradient of 50 heat steps, 256x256", normal(u=(256, 256)))
def heat_gradient(J, u):
    def energy(u):
        u, _ = J.lax.scan(lambda u, _: (heat_rolled(J, u), None), u, None, length=50)
        return J.numpy.sum(u * u)
    return J.value_and_grad(energy)(u)


# --- loops on arrays ---------------------------------------------------------------------------------------------------

@program("loops", "Newton's square root until it stands, 1M", uniform(0.1, 100, x=(M,)), tolerance=1e-5,
         sweep={str(n): uniform(0.1, 100, x=(n,)) for n in (1, 9, 1001, 65_537)})
def newton(J, x):
    jnp = J.numpy

    def step(carry):
        y, _ = carry
        following = 0.5 * (y + x / y)
        return following, jnp.max(jnp.abs(following - y) / following)
    return J.lax.while_loop(lambda carry: carry[1] > 1e-6, step, (x, jnp.float32(1)))[0]


def plane(n: int):
    def data() -> Data:
        x, y = np.linspace(-2, 0.6, n, dtype=np.float32), np.linspace(-1.3, 1.3, n, dtype=np.float32)
        return {"re": np.tile(x, (n, 1)), "im": np.tile(y[:, None], (1, n))}
    return data


# A pixel on the border depends on the last bit, so the mean of the counts is compared.
@program("loops", "Mandelbrot, 512x512, 100 steps", plane(512), compared="moments", tolerance=1e-3,
         sweep={str(n): plane(n) for n in (3, 33, 257)})
def mandelbrot(J, re, im):
    jnp = J.numpy

    def step(_, carry):
        x, y, count = carry
        x2, y2 = x * x, y * y
        inside = x2 + y2 <= 4
        return jnp.where(inside, x2 - y2 + re, x), jnp.where(inside, 2 * x * y + im, y), count + inside
    zero = jnp.zeros_like(re)
    return J.lax.fori_loop(0, 100, step, (zero, zero, jnp.zeros(re.shape, jnp.int32)))[2]


@program("loops", "product of 500 matrices 16x16 by scan", lambda: {
    "a": (0.25 * generator().standard_normal((500, 16, 16)) + 0.5 * np.eye(16)).astype(np.float32)}, tolerance=1e-3)
def matrix_chain(J, a):
    return J.lax.scan(lambda c, m: (J.numpy.tanh(c @ m), None), J.numpy.eye(16, dtype=J.numpy.float32), a)[0]


# --- stencils ----------------------------------------------------------------------------------------------------------

def heat_rolled(J, u):
    roll = J.numpy.roll
    return u + 0.1 * (roll(u, 1, 0) + roll(u, -1, 0) + roll(u, 1, 1) + roll(u, -1, 1) - 4 * u)


FIELDS = {f"{m}x{n}": normal(u=(m, n)) for m, n in ((3, 5), (33, 1025), (257, 255))}


@program("stencils", "heat by slices, 1024x1024, 100 steps", normal(u=(1024, 1024)), sweep=FIELDS)
def heat_slices(J, u):
    def step(_, u):
        inner = u[1:-1, 1:-1]
        return u.at[1:-1, 1:-1].set(inner + 0.1 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner))
    return J.lax.fori_loop(0, 100, step, u)


@program("stencils", "heat by rolls, 1024x1024, 100 steps", normal(u=(1024, 1024)), sweep=FIELDS)
def heat_rolls(J, u):
    return J.lax.fori_loop(0, 100, lambda _, u: heat_rolled(J, u), u)

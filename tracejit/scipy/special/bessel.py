"""Bessel functions and spherical harmonics."""
from __future__ import annotations

import math
import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import inexact


@jit
def i0e(x):
    """exp(-abs(x)) i0(x), the scaled modified Bessel function of order 0.

    >>> print(i0e(0.0))
    1.0
    """
    return lax.bessel_i0e(inexact("i0e", x))


@jit
def i0(x):
    """The modified Bessel function of the first kind of order 0.

    >>> print(i0(0.0))
    1.0
    """
    x = inexact("i0", x)
    return jnp.exp(jnp.abs(x)) * lax.bessel_i0e(x)


@jit
def i1e(x):
    """exp(-abs(x)) i1(x), the scaled modified Bessel function of order 1.

    >>> print(i1e(0.0))
    0.0
    """
    return lax.bessel_i1e(inexact("i1e", x))


@jit
def i1(x):
    """The modified Bessel function of the first kind of order 1.

    >>> print(i1(0.0))
    0.0
    """
    x = inexact("i1", x)
    return jnp.exp(jnp.abs(x)) * lax.bessel_i1e(x)


@partial(jit, static_argnames=("v", "n_iter"))
def bessel_jn(z, *, v: int, n_iter: int = 50):
    """The Bessel functions of the first kind J_0(z) .. J_v(z), stacked along a new first axis.

    Miller's downward recurrence from order ``n_iter``, which should be well above v and abs(z).

    >>> print(bessel_jn(0.0, v=1))
    [1. 0.]
    """
    z, v = jnp.asarray(inexact("bessel_jn", z)), operator.index(v)
    if jnp.issubdtype(z.dtype, np.complexfloating):
        raise ValueError("bessel_jn does not support complex-valued inputs")
    safe = jnp.where(z == 0, 1, z)

    large = float(jnp.finfo(z.dtype).max) ** 0.4

    def down(state, order):
        above, current, even, scalings = state
        below = 2 * (order + 1) * current / safe - above
        even = even + jnp.where(order % 2 == 0, 2 * below, 0)
        # The values grow without bound towards low orders: count how often they are scaled down.
        growing = jnp.abs(below) > large
        current, below, even = (jnp.where(growing, x / large, x) for x in (current, below, even))
        scalings = scalings + growing.astype(z.dtype)
        return (current, below, even, scalings), (below, scalings)

    start = (jnp.zeros_like(z), jnp.full_like(z, 1e-16), jnp.zeros_like(z), jnp.zeros_like(z))
    orders = jnp.arange(operator.index(n_iter) + 1, dtype=z.dtype)
    (_, lowest, even, total), (values, scalings) = lax.scan(down, start, orders, reverse=True)
    # 1 = J_0 + 2 J_2 + 2 J_4 + ... gives the scale; the sum above counts J_0 twice.
    values = values[:v + 1] * large ** (scalings[:v + 1] - total) / (even - lowest)
    at_zero = (jnp.arange(v + 1) == 0).astype(z.dtype).reshape(-1, *(1,) * z.ndim)
    return jnp.where(z == 0, at_zero, values)


def sph_harm_y(n, m, theta, phi, diff_n=None, n_max=None):
    """The spherical harmonic of degree n and order m, ``abs(m) <= n``, at polar angle theta and azimuth phi; complex.

    All four are arrays that broadcast together. ``n_max``, the largest degree, must be known while tracing; the
    default is the largest n. ``diff_n`` (derivatives) is not offered: use `grad`.

    >>> import tracejit.numpy as jnp
    >>> print(sph_harm_y(jnp.array([0]), jnp.array([0]), 0.5, jnp.array([0.5])).real)
    [0.2820948]
    """
    if diff_n is not None:
        raise NotImplementedError("sph_harm_y: diff_n is not supported; differentiate with grad or jvp")
    n_max = int(np.max(np.asarray(n))) if n_max is None else operator.index(n_max)
    n, m, theta, phi = (jnp.atleast_1d(jnp.asarray(x)) for x in (n, m, theta, phi))
    return harmonics(n, m, inexact("sph_harm_y", theta), inexact("sph_harm_y", phi), n_max)


@partial(jit, static_argnames=("n_max",))
def harmonics(n, m, theta, phi, n_max):
    legendre = normalized_legendre(n, jnp.abs(m), theta, n_max)
    angle = jnp.abs(m) * phi
    real, imag = legendre * jnp.cos(angle), legendre * jnp.sin(angle)
    mirrored = jnp.where(m % 2 == 0, 1, -1).astype(real.dtype)
    return lax.complex(jnp.where(m < 0, mirrored * real, real), jnp.where(m < 0, -mirrored * imag, imag))


def normalized_legendre(n, m, theta, n_max):
    """P_n^m(cos(theta)) with the factor of a spherical harmonic, by recurrence in the degree."""
    x, sine, m = jnp.cos(theta), jnp.sin(theta), m.astype(theta.dtype)
    first = jnp.full(jnp.broadcast_shapes(n.shape, m.shape, theta.shape), math.sqrt(0.25 / math.pi), theta.dtype)

    def step(degree, state):
        before, current, wanted = state
        k = degree.astype(theta.dtype)
        diagonal = -jnp.sqrt(1 + 0.5 / k) * sine * current
        # Entries with k <= m are not used and must not be infinite.
        squares = jnp.where(k > m, k * k - m * m, 1)
        previous = jnp.where(k > m + 1, (k - 1) ** 2 - m * m, 0)
        weight = jnp.sqrt(previous / jnp.maximum(4 * (k - 1) ** 2 - 1, 3))
        upward = jnp.sqrt((4 * k * k - 1) / squares) * (x * current - weight * before)
        new = jnp.where(k <= m, diagonal, upward)
        return current, new, jnp.where(n == degree, new, wanted)

    return lax.fori_loop(1, n_max + 1, step, (jnp.zeros_like(first), first, first))[2]

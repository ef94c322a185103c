"""Associated Legendre functions and spherical harmonics."""
from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, jvp, lax
from tracejit.numpy.promotion import inexact


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


def lpmn_values(m: int, n: int, z: Any, is_normalized: bool) -> Any:
    """The associated Legendre functions P_l^k of all orders k (rows) and degrees l (columns) up to m = n, at a vector z.

    The result has the shape (m + 1, n + 1, len(z)) and is zero where k > l. With is_normalized each is multiplied by
    sqrt((2l + 1) (l - k)! / (4 pi (l + k)!)), the factor of a spherical harmonic.

    >>> import tracejit.numpy as jnp
    >>> print(lpmn_values(1, 1, jnp.array([0.6]), False)[..., 0])
    [[ 1.   0.6]
     [ 0.  -0.8]]
    """
    dtype = jnp.asarray(z).dtype
    if dtype not in ("float32", "float64"):
        raise TypeError(f"lpmn_values: z must be float32 or float64, not {dtype}")
    if np.ndim(z) != 1:
        raise ValueError(f"lpmn_values: z must be a vector, but its shape is {np.shape(z)}")
    if operator.index(m) != operator.index(n):
        raise NotImplementedError(f"lpmn_values: m and n must be equal, got {m} and {n}")
    return legendre_functions(operator.index(n), bool(is_normalized), z)


def lpmn(m: int, n: int, z: Any) -> tuple[Any, Any]:
    """(the values, the derivatives) of the associated Legendre functions of all orders and degrees up to m = n.

    >>> import tracejit.numpy as jnp
    >>> print(lpmn(1, 1, jnp.array([0.6]))[1][..., 0])
    [[0.   1.  ]
     [0.   0.75]]
    """
    return jvp(lambda x: lpmn_values(m, n, x, False), (z,), (jnp.ones_like(z),))


@partial(jit, static_argnums=(0, 1))
def legendre_functions(n: int, normalized: bool, z: Any) -> Any:
    """By recurrence in the degree, from P_k^k = (-1)^k (2k - 1)!! (1 - z^2)^(k / 2)."""
    zero, squared = jnp.zeros_like(z), 1 - z * z
    rows = []
    for k in range(n + 1):
        factor = (-1) ** k * math.prod(range(1, 2 * k, 2))
        if normalized:
            factor *= math.sqrt((2 * k + 1) / (4 * math.pi * math.factorial(2 * k)))
        before, current = zero, factor * squared ** (k / 2) if k else jnp.full_like(z, factor)
        row = [zero] * k + [current]
        for degree in range(k + 1, n + 1):
            if normalized:
                up = math.sqrt((4 * degree**2 - 1) / (degree**2 - k**2))
                back = up * math.sqrt(((degree - 1) ** 2 - k**2) / (4 * (degree - 1) ** 2 - 1)) if degree > k + 1 else 0.0
            else:
                up, back = (2 * degree - 1) / (degree - k), (degree + k - 1) / (degree - k)
            before, current = current, up * z * current - back * before
            row.append(current)
        rows.append(jnp.stack(row))
    return jnp.stack(rows)

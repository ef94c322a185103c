"""Bessel functions."""
from __future__ import annotations

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

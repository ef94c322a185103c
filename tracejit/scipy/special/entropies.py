"""Functions with x log x in them, logits and Box-Cox transforms: where a limit replaces 0 times infinity."""
from __future__ import annotations

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax
from tracejit.nn.numeric import numeric_function
from tracejit.numpy.promotion import inexact

from .real import real_function


@custom_jvp
def log_odds(x):
    return jnp.log(x / (1 - x))


@log_odds.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return log_odds(x), dx / (x * (1 - x))


@jit
def logit(x):
    """log(x / (1 - x)), the inverse of `expit`.

    >>> print(logit(0.5))
    0.0
    """
    return log_odds(jnp.asarray(inexact("logit", x)))


@jit
def expit(x):
    """1 / (1 + exp(-x)).

    >>> print(expit(0.0))
    0.5
    """
    return lax.logistic(inexact("expit", x))


@custom_jvp
def x_log_y(x, y):
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x * jnp.log(y))


@x_log_y.defjvp
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return x_log_y(x, y), dx * jnp.log(y) + dy * (x / y)


@numeric_function
def xlogy(x, y):
    """x log(y), and 0 where x is 0, whatever y is (except nan).

    >>> print(xlogy(0.0, 0.0))
    0.0
    """
    return x_log_y(*jnp.broadcast_arrays(x, y))


@custom_jvp
def x_log1p_y(x, y):
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x * jnp.log1p(y))


@x_log1p_y.defjvp
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return x_log1p_y(x, y), dx * jnp.log1p(y) + dy * (x / (1 + y))


@numeric_function
def xlog1py(x, y):
    """x log(1 + y), and 0 where x is 0, whatever y is (except nan).

    >>> print(xlog1py(0.0, -1.0))
    0.0
    """
    return x_log1p_y(*jnp.broadcast_arrays(x, y))


@custom_jvp
def x_log_x(x):
    return x_log_y(x, x)


@x_log_x.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return x_log_x(x), dx * (jnp.log(x) + 1)


@real_function
def entr(x):
    """-x log(x): 0 at 0, -inf below.

    >>> print(entr(1.0))
    -0.0
    """
    return jnp.where(x < 0, -np.inf, -x_log_x(x))


@real_function
def rel_entr(p, q):
    """p log(p / q): 0 where p is 0 and q is not negative, inf where either is out of its domain.

    >>> print(rel_entr(1.0, 1.0))
    0.0
    """
    inside = (p > 0) & (q > 0)
    safe_p, safe_q = jnp.where(inside, p, 1), jnp.where(inside, q, 1)
    outside = jnp.where((p == 0) & (q >= 0), 0, np.inf)
    return jnp.where(inside, x_log_x(safe_p) - x_log_y(safe_p, safe_q), outside)


@real_function
def kl_div(p, q):
    """p log(p / q) - p + q, which is never negative.

    >>> print(kl_div(1.0, 1.0))
    0.0
    """
    return rel_entr(p, q) - p + q


def box_cox(log_x, power):
    linear = power == 0
    safe = jnp.where(linear, 1, power)
    return jnp.where(linear, log_x, jnp.expm1(safe * log_x) / safe)


@numeric_function
def boxcox(x, lmbda):
    """The Box-Cox transform (x**lmbda - 1) / lmbda, and log(x) where lmbda is 0.

    >>> print(boxcox(1.0, 2.0))
    0.0
    """
    return box_cox(jnp.log(x), lmbda)


@numeric_function
def boxcox1p(x, lmbda):
    """The Box-Cox transform of 1 + x, accurate for small x.

    >>> print(boxcox1p(0.0, 2.0))
    0.0
    """
    return box_cox(jnp.log1p(x), lmbda)

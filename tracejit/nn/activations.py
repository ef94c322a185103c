"""Activation functions: arrays -> arrays of the same shape, elementwise (`glu` halves one axis)."""
from __future__ import annotations

from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax
from tracejit.numpy.promotion import canonical_axis, inexact

from .numeric import numeric_function

# Klambauer et al., "Self-normalizing neural networks" (2017).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@jit
def identity(x):
    """x itself, as an array.

    >>> print(identity(3.0))
    3.0
    """
    return jnp.asarray(x)


@jit
def relu(x):
    """max(x, 0), with derivative 0 at 0.

    >>> import tracejit.numpy as jnp
    >>> print(relu(jnp.array([-1., 0., 2.])))
    [0. 0. 2.]
    """
    # A select rather than a maximum: that would split the derivative at 0. A nan stays one.
    return jnp.where(jnp.asarray(x) <= 0, 0, x)


@jit
def relu6(x):
    """min(max(x, 0), 6), with derivative 0 at both ends.

    >>> import tracejit.numpy as jnp
    >>> print(relu6(jnp.array([-1., 3., 8.])))
    [0. 3. 6.]
    """
    x = jnp.asarray(x)
    return jnp.where(x <= 0, 0.0, jnp.where(x >= 6, 6.0, x))


@numeric_function
def squareplus(x, b=4):
    """(x + sqrt(x**2 + b)) / 2, a smooth `relu` without exponentials (Barron, 2021).

    >>> print(squareplus(0.0))
    1.0
    """
    x = jnp.asarray(x)
    return (x + jnp.sqrt(jnp.square(x) + b)) / 2


@jit
def softplus(x):
    """log(1 + exp(x)), without overflow.

    >>> print(softplus(100.0))
    100.0
    """
    return jnp.logaddexp(x, 0)


@jit
def sparse_plus(x):
    """0 below -1, x above 1, and the parabola (x + 1)**2 / 4 that joins them (Fung et al., 2024).

    >>> print(sparse_plus(0.0))
    0.25
    """
    x = jnp.asarray(x)
    return jnp.where(x <= -1.0, 0.0, jnp.where(x >= 1.0, x, (x + 1.0) ** 2 / 4))


@jit
def sparse_sigmoid(x):
    """The derivative of `sparse_plus`: x/2 + 1/2 clipped to [0, 1].

    >>> print(sparse_sigmoid(0.5))
    0.75
    """
    return 0.5 * jnp.clip(jnp.asarray(x) + 1.0, 0.0, 2.0)


@jit
def soft_sign(x):
    """x / (1 + abs(x)).

    >>> print(soft_sign(1.0))
    0.5
    """
    x = jnp.asarray(x)
    return x / (jnp.abs(x) + 1)


@jit
def sigmoid(x):
    """1 / (1 + exp(-x)).

    >>> print(sigmoid(0.0))
    0.5
    """
    return lax.logistic(inexact("sigmoid", x))


@jit
def silu(x):
    """x sigmoid(x), also called swish.

    >>> print(silu(0.0))
    0.0
    """
    return jnp.asarray(x) * sigmoid(x)


swish = silu


@jit
def mish(x):
    """x tanh(softplus(x)) (Misra, 2019).

    >>> print(mish(0.0))
    0.0
    """
    return jnp.asarray(x) * jnp.tanh(softplus(x))


@jit
def log_sigmoid(x):
    """log(sigmoid(x)), without underflow.

    >>> print(log_sigmoid(-100.0))
    -100.0
    """
    return -softplus(-jnp.asarray(x))


@numeric_function
def elu(x, alpha=1.0):
    """x for x > 0, else alpha (exp(x) - 1) (Clevert et al., 2015).

    >>> print(elu(2.0))
    2.0
    """
    x = jnp.asarray(x)
    # The inner select keeps exp from overflowing on the branch not taken, whose gradient would be nan.
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x)))


@numeric_function
def celu(x, alpha=1.0):
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1)) (Barron, 2017).

    >>> print(celu(2.0))
    2.0
    """
    return jnp.maximum(x, 0.0) + alpha * jnp.expm1(jnp.minimum(x, 0.0) / alpha)


@jit
def selu(x):
    """The `elu` that keeps mean 0 and variance 1 from layer to layer (Klambauer et al., 2017).

    >>> print(selu(0.0))
    0.0
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


@numeric_function
def leaky_relu(x, negative_slope=0.01):
    """x for x >= 0, else negative_slope x.

    >>> print(leaky_relu(-2.0, 0.5))
    -1.0
    """
    x = jnp.asarray(x)
    return jnp.where(x >= 0, x, negative_slope * x)


@partial(jit, static_argnames=("approximate",))
def gelu(x, approximate: bool = True):
    """x times the normal distribution function of x (Hendrycks and Gimpel, 2016).

    ``approximate`` takes their formula with tanh (error below 1e-3), else it is exact, with erfc.

    >>> print(gelu(0.0))
    0.0
    """
    x = inexact("gelu", x)
    if not approximate:
        return x * (0.5 * lax.erfc(-x * np.sqrt(0.5).astype(x.dtype)))
    # (1 + tanh(u)) / 2 is the sigmoid of 2 u, which is cheaper and keeps its digits for negative u.
    return x * lax.logistic(np.sqrt(8 / np.pi).astype(x.dtype) * (x + 0.044715 * (x * x * x)))


@partial(jit, static_argnames=("axis",))
def glu(x, axis: int = -1):
    """The first half of x along ``axis``, times the sigmoid of the second half; the axis must have even size.

    >>> import tracejit.numpy as jnp
    >>> print(glu(jnp.array([4., 0.])))
    [2.]
    """
    x = jnp.asarray(x)
    axis = canonical_axis(axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} must have even size, got {x.shape[axis]}")
    value, gate = jnp.split(x, 2, axis)
    return value * sigmoid(gate)


@jit
def hard_sigmoid(x):
    """relu6(x + 3) / 6, a piecewise linear sigmoid.

    >>> print(hard_sigmoid(0.0))
    0.5
    """
    return relu6(jnp.asarray(x) + 3.0) / 6.0


@jit
def hard_silu(x):
    """x hard_sigmoid(x), also called hard swish (Howard et al., 2019).

    >>> print(hard_silu(3.0))
    3.0
    """
    return jnp.asarray(x) * hard_sigmoid(x)


hard_swish = hard_silu


@jit
def hard_tanh(x):
    """x clipped to [-1, 1].

    >>> print(hard_tanh(2.0))
    1.0
    """
    x = jnp.asarray(x)
    return jnp.where(x > 1, 1, jnp.where(x < -1, -1, x))


@custom_jvp
def log1mexp_of(x):
    # Maechler, "Accurately computing log(1 - exp(-|a|))" (2012): either form loses digits on the other's side of log 2.
    return jnp.where(x < np.log(2), jnp.log(-jnp.expm1(-x)), jnp.log1p(-jnp.exp(-x)))


@log1mexp_of.defjvp
def _(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return log1mexp_of(x), tangent / jnp.expm1(x)


@jit
def log1mexp(x):
    """log(1 - exp(-x)) for x > 0, accurate for small and large x.

    >>> print(log1mexp(100.0))
    -3.783506e-44
    """
    return log1mexp_of(inexact("log1mexp", x))

"""Scores -> distributions and standardised features: the softmax family, `standardize`, `one_hot`."""
from __future__ import annotations

from functools import partial, wraps

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, lax
from tracejit.errors import warn_user
from tracejit.numpy.promotion import canonical_axis, concrete_int, inexact, promote_inexact


def over_axes(*static: str):
    """`jit` for a function whose second argument, `axis`, may also be a list."""
    def compiled(fun):
        run = jit(fun, static_argnames=("axis", *static))

        @wraps(fun)
        def call(x, *args, **kwargs):
            if args:
                args = (axes_of(args[0]), *args[1:])
            elif "axis" in kwargs:
                kwargs["axis"] = axes_of(kwargs["axis"])
            return run(x, *args, **kwargs)
        return call
    return compiled


def axes_of(axis):
    return tuple(axis) if isinstance(axis, list) else axis


@over_axes("keepdims", "return_sign")
def logsumexp(a, axis=None, b=None, keepdims: bool = False, return_sign: bool = False, where=None):
    """log(sum(b exp(a))) over the given axes (default: all), without overflow.

    ``b`` are weights, of any sign; a negative sum gives nan, or with ``return_sign`` the pair (log of the absolute
    value, sign). ``where`` leaves entries out. Complex ``a`` gives the complex logarithm.

    >>> import tracejit.numpy as jnp
    >>> print(logsumexp(jnp.array([1000., 1000.])))
    1000.6931
    """
    a, b = (inexact("logsumexp", a), None) if b is None else promote_inexact("logsumexp", a, b)
    a = jnp.asarray(a)
    # What is left out or has weight 0 must not decide the shift, nor turn into nan where it is infinite.
    a = a if where is None else jnp.where(where, a, 0)
    a = a if b is None else jnp.where(b != 0, a, -np.inf)
    highest = jnp.max(a.real, axis, keepdims=True, where=where, initial=-np.inf)
    highest = lax.stop_gradient(jnp.where(jnp.isfinite(highest), highest, 0))
    terms = jnp.exp(a - highest.astype(a.dtype))
    total = jnp.sum(terms if b is None else terms * b, axis, keepdims=keepdims, where=where)
    sign = jnp.sign(total)
    shift = (highest if keepdims else jnp.squeeze(highest, axis)).astype(total.dtype)
    if return_sign:
        return jnp.log(jnp.abs(total)) + shift.real, sign
    if b is None or jnp.issubdtype(total.dtype, np.complexfloating):
        return jnp.log(total) + shift
    return jnp.where(sign < 0, np.nan, jnp.log(jnp.abs(total)) + shift)


@partial(jit, static_argnames=("axis", "keepdims"))
def logmeanexp(x, axis=None, where=None, keepdims: bool = False):
    """log(mean(exp(x))) over the given axes, without overflow.

    >>> import tracejit.numpy as jnp
    >>> print(logmeanexp(jnp.zeros(4)))
    0.0
    """
    total = logsumexp(x, axis=axis, where=where, keepdims=keepdims)
    taken = jnp.ones((), total.dtype) if where is None else jnp.asarray(where).astype(total.dtype)
    count = jnp.sum(jnp.broadcast_to(taken, np.shape(x)), axis, keepdims=keepdims)
    return total - jnp.log(count)


@partial(custom_jvp, nondiff_argnums=(1,))
def weights_of(x, axis, where):
    highest = jnp.max(x, axis, where=where, initial=-np.inf, keepdims=True)
    scaled = jnp.exp((x if where is None else jnp.where(where, x, -np.inf)) - highest)
    weights = scaled / jnp.sum(scaled, axis, where=where, keepdims=True)
    return weights if where is None else jnp.where(where, weights, 0)


@weights_of.defjvp
def _(axis, primals, tangents):
    # From the weights alone: neither the scores nor the exponentials are kept for the backward pass.
    weights = weights_of(primals[0], axis, primals[1])
    weighted = weights * tangents[0]
    return weights, weighted - weights * jnp.sum(weighted, axis, where=primals[1], keepdims=True)


@over_axes()
def softmax(x, axis=-1, where=None):
    """exp(x) / sum(exp(x)) over the given axes: non-negative, with sum 1. Entries where ``where`` is False are 0.

    >>> import tracejit.numpy as jnp
    >>> print(softmax(jnp.zeros(4)))
    [0.25 0.25 0.25 0.25]
    """
    return weights_of(jnp.asarray(inexact("softmax", x)), axis, where)


@over_axes()
def log_softmax(x, axis=-1, where=None):
    """The logarithm of `softmax`, without underflow. Entries where ``where`` is False are -inf.

    >>> import tracejit.numpy as jnp
    >>> print(log_softmax(jnp.array([0., 1000.])))
    [-1000.     0.]
    """
    x = jnp.asarray(inexact("log_softmax", x))
    highest = jnp.max(x, axis, where=where, initial=-np.inf, keepdims=True)
    shifted = (x if where is None else jnp.where(where, x, -np.inf)) - lax.stop_gradient(highest)
    result = shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis, where=where, keepdims=True))
    return result if where is None else jnp.where(where, result, -np.inf)


def standardize(x, axis=-1, mean=None, variance=None, epsilon=1e-5, where=None, *, algorithm: str = "fast"):
    """(x - mean) / sqrt(variance + epsilon), with mean and variance taken over the given axes unless they are given.

    ``algorithm`` 'fast' takes the variance from the mean square in the same pass; 'stable' from squared deviations.

    >>> import tracejit.numpy as jnp
    >>> print(standardize(jnp.array([1., 3.]), epsilon=0.0))
    [-1.  1.]
    """
    if algorithm not in ("fast", "stable"):
        raise ValueError(f"standardize: algorithm must be 'fast' or 'stable', got {algorithm!r}")
    x, axis = jnp.asarray(inexact("standardize", x)), axes_of(axis)
    # A compiled function would round Python's floats to the default dtype.
    mean, variance, epsilon = (np.array(v, x.dtype) if isinstance(v, (int, float)) else v for v in (mean, variance, epsilon))
    return standardized(x, axis, mean, variance, epsilon, where, algorithm)


@partial(jit, static_argnames=("axis", "algorithm"))
def standardized(x, axis, mean, variance, epsilon, where, algorithm):
    if mean is None:
        mean = jnp.mean(x, axis, keepdims=True, where=where)
    if variance is None and algorithm == "stable":
        variance = jnp.mean(jnp.square(x - mean), axis, keepdims=True, where=where)
    elif variance is None:
        # Rounding can make the difference negative.
        variance = jnp.clip(jnp.mean(jnp.square(x), axis, keepdims=True, where=where) - jnp.square(mean), 0)
    return (x - mean) * lax.rsqrt(jnp.asarray(variance + epsilon))


def one_hot(x, num_classes: int, *, dtype=None, axis=-1):
    """For each integer in x a vector of ``num_classes`` entries along a new ``axis``: 1 at its index, else 0.

    Indices out of range give zeros. ``axis`` may name a mapped axis of size ``num_classes``; the result is then spread
    over it.

    >>> import tracejit.numpy as jnp
    >>> print(one_hot(jnp.array([1, 0, 5]), 3))
    [[0. 1. 0.]
     [1. 0. 0.]
     [0. 0. 0.]]
    """
    dtype = np.dtype(jnp.result_type(float if dtype is None else dtype))
    x = jnp.asarray(x)
    if x.dtype.kind not in "iu":
        warn_user(f"jax.nn.one_hot input should be integer-typed; got dtype={x.dtype}", DeprecationWarning)
    return indicator(x, concrete_int(num_classes, "The value in jax.nn.one_hot argument `num_classes`"), dtype, axis)


@partial(jit, static_argnames=("num_classes", "dtype", "axis"))
def indicator(x, num_classes, dtype, axis):
    if not hasattr(axis, "__index__"):
        if lax.axis_size(axis) != num_classes:
            raise ValueError(f"one_hot: the mapped axis {axis!r} has size {lax.axis_size(axis)}, not {num_classes}")
        return (x == lax.axis_index(axis)).astype(dtype)
    axis = canonical_axis(axis, x.ndim + 1)
    classes = lax.broadcasted_iota(x.dtype, [num_classes if i == axis else 1 for i in range(x.ndim + 1)], axis)
    return (jnp.expand_dims(x, axis) == classes).astype(dtype)

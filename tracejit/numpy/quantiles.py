"""Maps arrays to medians, quantiles and percentiles along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.numpy import reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.logic import isnan
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    Axis,
    as_array,
    canonical_axes,
    check_arraylike,
    check_no_out,
    expand_to,
    literal,
    promote_dtypes_inexact,
    strong,
)
from tracejit.numpy.taking import gather_along

# Hyndman and Fan's continuous estimators: the quantile q lies at n q + a + q (1 - a - b) - 1 among n sorted elements.
_CONTINUOUS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_ROUNDED = ("lower", "higher", "midpoint", "nearest")
_STEPS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")


@compiled
def quantile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """The value below which a part q in [0, 1] of the elements lies, by any method of NumPy; nan if one is nan.

    A smaller q counts as 0, a larger one as 1.

    >>> jnp.quantile(jnp.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    Array(2.5, dtype=float32)
    """
    return _quantile("quantile", a, q, axis, out, overwrite_input, method, keepdims, weights, skip_nan=False)


@compiled
def nanquantile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """As `quantile` of the elements that are not nan.

    >>> jnp.nanquantile(jnp.array([1.0, jnp.nan, 3.0]), 0.5)
    Array(2., dtype=float32)
    """
    return _quantile("nanquantile", a, q, axis, out, overwrite_input, method, keepdims, weights, skip_nan=True)


@compiled
def percentile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
    out_sharding: Any = None,
) -> Array:
    """As `quantile` with q in [0, 100].

    >>> jnp.percentile(jnp.array([1.0, 2.0, 3.0]), 50)
    Array(2., dtype=float32)
    """
    return _quantile("percentile", a, q, axis, out, overwrite_input, method, keepdims, weights, skip_nan=False, of=100)


@compiled
def nanpercentile(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    """As `percentile` of the elements that are not nan.

    >>> jnp.nanpercentile(jnp.array([1.0, jnp.nan, 3.0]), 50)
    Array(2., dtype=float32)
    """
    return _quantile("nanpercentile", a, q, axis, out, overwrite_input, method, keepdims, weights, skip_nan=True, of=100)


@compiled
def median(
    a: ArrayLike, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Array:
    """The middle element, or the mean of the two middle ones; nan if one is nan.

    >>> jnp.median(jnp.array([3, 1, 2, 4]))
    Array(2.5, dtype=float32)
    """
    return _quantile("median", a, 0.5, axis, out, overwrite_input, "midpoint", keepdims, None, skip_nan=False)


@compiled
def nanmedian(
    a: ArrayLike, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Array:
    """The median of the elements that are not nan.

    >>> jnp.nanmedian(jnp.array([3, jnp.nan, 2]))
    Array(2.5, dtype=float32)
    """
    return _quantile("nanmedian", a, 0.5, axis, out, overwrite_input, "midpoint", keepdims, None, skip_nan=True)


def _quantile(
    name: str,
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis,
    out: None,
    overwrite_input: bool,
    method: str,
    keepdims: bool,
    weights: ArrayLike | None,
    skip_nan: bool,
    of: int = 1,
) -> Array:
    check_no_out(name, out)
    if overwrite_input:
        raise ValueError(f"jax.numpy.{name} does not support overwrite_input=True or out != None")
    check_arraylike(name, a, q)
    if of != 1:
        (q,) = promote_dtypes_inexact(name, q)
        q = lax.div(q, literal(of, np.dtype("float32")))
    if method not in _CONTINUOUS and method not in _ROUNDED + _STEPS:
        raise ValueError(f"{method!r} is not a method of {name}; expected one of {[*_CONTINUOUS, *_ROUNDED, *_STEPS]}")
    if weights is not None and method != "inverted_cdf":
        raise ValueError("Weighted quantile is only implemented for method='inverted_cdf'.")
    (x,) = promote_dtypes_inexact(name, strong(a))
    x, q = (as_array(v) for v in promote_dtypes_inexact(name, x, q))
    if x.dtype.kind == "c":
        raise ValueError(f"jnp.{name} does not support complex input, as the operation is poorly defined.")
    axes = canonical_axes(axis, x.ndim)
    rows, rest = _rows(x, axes)
    flat_q = lax.reshape(q, (q.size,))
    if weights is None:
        result = _at_quantiles(rows, flat_q, method, skip_nan)
    else:
        result = _weighted(rows, _rows(_full_weights(weights, x, axis, axes), axes)[0], flat_q, skip_nan)
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape)) if keepdims else rest
    return lax.reshape(result, (*q.shape, *shape))


def _rows(x: Array, axes: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """(the axes as one leading axis, the shape of the others)."""
    others = [i for i in range(x.ndim) if i not in axes]
    rest = tuple(x.shape[i] for i in others)
    n = int(np.prod([x.shape[i] for i in axes]))
    return lax.reshape(lax.transpose(x, [*axes, *others]) if x.ndim else x, (n, *rest)), rest


def _at_quantiles(x: Array, q: Array, method: str, skip_nan: bool) -> Array:
    """The quantiles along the leading axis, for each of a vector of q."""
    missing = isnan(x)
    n = x.shape[0]
    x = lax.sort(x, dimension=0)  # nan last
    shape = (q.shape[0], *x.shape[1:])
    count = lax.full(x.shape[1:], n, x.dtype)
    if skip_nan:
        count = lax.sub(count, reductions.sum(missing, 0, dtype=x.dtype))
    else:
        x = lax.select(expand_to(reductions.any(missing, 0, keepdims=True), x.shape), lax.full_like(x, np.nan), x)
    count = expand_to(count, shape)
    q = lax.broadcast_in_dim(lax.clamp(literal(0, q.dtype), q, literal(1, q.dtype)), shape, (0,))
    last = lax.max(lax.sub(count, literal(1, x.dtype)), literal(0, x.dtype))
    low, high, part = _places(q, count, last, method)
    read = lambda place: gather_along(x, lax.convert_element_type(place, np.dtype("int32")), 0, "clip", None)
    low_value, high_value = read(low), read(high)
    value = lax.add(lax.mul(low_value, lax.sub(literal(1, x.dtype), part)), lax.mul(high_value, part))
    value = lax.select(lax.eq(low_value, high_value), low_value, value)  # infinities times a part of 0 give nan
    return lax.select(lax.bitwise_or(isnan(q), lax.eq(count, literal(0, x.dtype))), lax.full_like(value, np.nan), value)


def _places(q: Array, n: Array, last: Array, method: str) -> tuple[Array, Array, Array]:
    """(position below, position above, how far between them)."""
    number = lambda v: literal(v, q.dtype)
    clamp = lambda place: lax.max(number(0), lax.min(place, last))
    if method in _CONTINUOUS:
        alpha, beta = _CONTINUOUS[method]
        if method == "linear":
            place = lax.mul(q, last)
        else:
            place = lax.sub(lax.add(lax.mul(q, lax.add(n, number(1 - alpha - beta))), number(alpha)), number(1))
        place = clamp(place)
        low = lax.floor(place)
        return low, clamp(lax.add(low, number(1))), lax.sub(place, low)
    if method in _ROUNDED:
        place = lax.mul(q, last)
        low, high = lax.floor(place), lax.ceil(place)
        half = lax.select(lax.eq(low, high), lax.full_like(q, 0), lax.full_like(q, 0.5))
        nearest = lax.ceil(lax.sub(place, number(0.5)))  # of two that are equally near the lower one, as in JAX
        zero = lax.full_like(q, 0)
        return {
            "lower": (low, low, zero),
            "higher": (high, high, zero),
            "midpoint": (low, high, half),
            "nearest": (nearest, nearest, zero),
        }[method]
    place = lax.mul(q, n)
    if method == "closest_observation":
        nearest = clamp(lax.sub(lax.round(place, lax.RoundingMethod.TO_NEAREST_EVEN), number(1)))
        return nearest, nearest, lax.full_like(q, 0)
    low = clamp(lax.sub(lax.ceil(place), number(1)))
    if method == "inverted_cdf":
        return low, low, lax.full_like(q, 0)
    whole = lax.eq(place, lax.floor(place))
    return low, clamp(lax.floor(place)), lax.select(whole, lax.full_like(q, 0.5), lax.full_like(q, 0))


def _full_weights(weights: ArrayLike, x: Array, axis: Axis, axes: tuple[int, ...]) -> Array:
    check_arraylike("quantile weights", weights)
    w = lax.convert_element_type(weights, x.dtype)
    if w.shape == x.shape:
        return w
    if axis is None or w.shape != tuple(x.shape[i] for i in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    return lax.broadcast_in_dim(w, x.shape, axes)


def _weighted(x: Array, w: Array, q: Array, skip_nan: bool) -> Array:
    """The first sorted element at which the running weight reaches q times the total."""
    missing = isnan(x)
    if skip_nan:
        w = lax.select(missing, lax.full_like(w, 0), w)
    x_sorted, w_sorted = lax.sort((x, w), dimension=0, num_keys=1)
    running = lax.cumsum(w_sorted, 0)
    n = x.shape[0]
    total = lax.slice_in_dim(running, n - 1, n)
    shape = (q.shape[0], *x.shape)
    wide_q = lax.mul(
        lax.broadcast_in_dim(q, (q.shape[0], *total.shape), (0,)), expand_to(total, (q.shape[0], *total.shape))
    )
    short = lax.lt(expand_to(running, shape), expand_to(wide_q, shape))
    place = lax.min(reductions.sum(short, 1, dtype=np.dtype("int32")), np.int32(n - 1))
    result = gather_along(x_sorted, place, 0, "clip", None)
    if skip_nan:
        return result
    return lax.select(expand_to(reductions.any(missing, 0), result.shape), lax.full_like(result, np.nan), result)

"""Maps samples to covariances, correlations, counts and histograms."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import canonicalize_dtype, requested_dtype, default_dtype, is_inexact, real_dtype
from tracejit.numpy import creation, ranges, reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import conjugate
from tracejit.numpy.cumulative import diff
from tracejit.numpy.indexing import get_item
from tracejit.numpy.joining import concatenate
from tracejit.numpy.linear import dot
from tracejit.numpy.manipulation import atleast_2d, ravel, reshape
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    cast_numpy,
    check_arraylike,
    concrete,
    convert,
    expand_to,
    literal,
    promote_dtypes,
    promote_dtypes_inexact,
)
from tracejit.numpy.sorting import searchsorted

INT = np.dtype("int32")


@compiled
def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """The covariance matrix of variables in rows (rowvar) or columns.

    >>> jnp.cov(jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    args = (m,) if y is None else (m, y)
    check_arraylike("cov", *args)
    x, *second = (as_array(v) for v in promote_dtypes_inexact("cov", *args))
    if dtype is not None:
        x, *second = (lax.convert_element_type(v, requested_dtype(dtype)) for v in (x, *second))
    if any(v.ndim > 2 for v in (x, *second)):
        raise ValueError("m has more than 2 dimensions")
    x = _variables(x, rowvar)
    if second:
        x = concatenate([x, _variables(second[0], rowvar or second[0].ndim == 1 and second[0].shape[0] == 1)], 0)
    if x.shape[0] == 0:
        return lax.full((0, 0), 0, x.dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    return _weighted_cov(x, ddof, _weights("fweights", fweights, x, True), _weights("aweights", aweights, x, False))


def _variables(x: Array, rowvar: bool) -> Array:
    x2 = atleast_2d(x)
    return lax.transpose(x2, (1, 0)) if not rowvar and x.ndim != 1 else x2


def _weights(name: str, w: ArrayLike | None, x: Array, whole: bool) -> Array | None:
    if w is None:
        return None
    check_arraylike("cov", w)
    w = as_array(w)
    if w.ndim != 1 or w.shape[0] != x.shape[1]:
        raise ValueError(f"{name}: expected a vector of length {x.shape[1]}, got shape {w.shape}")
    if whole and w.dtype.kind not in "iu":
        raise TypeError("fweights must be integer.")
    return lax.abs(w) if w.dtype.kind != "u" else w


def _weighted_cov(x: Array, ddof: int, f: Array | None, a: Array | None) -> Array:
    w = f if a is None else a if f is None else lax.mul(*promote_dtypes("cov", f, a))
    if w is None:
        apart = lax.sub(x, expand_to(reductions.mean(x, 1, keepdims=True), x.shape))
        factor: Any = cast_numpy(x.shape[1] - ddof, real_dtype(x.dtype))
        scaled = apart
    else:
        w = lax.convert_element_type(w, x.dtype)
        total = reductions.sum(w)
        mean = lax.div(reductions.sum(lax.mul(x, expand_to(w, x.shape)), 1, keepdims=True), total)
        if ddof == 0:
            factor = total
        elif a is None:
            factor = lax.sub(total, literal(ddof, x.dtype))
        else:
            a = lax.convert_element_type(a, x.dtype)
            factor = lax.sub(total, lax.div(lax.mul(literal(ddof, x.dtype), reductions.sum(lax.mul(w, a))), total))
        apart = lax.sub(x, expand_to(mean, x.shape))
        scaled = lax.mul(apart, expand_to(w, x.shape))
    product = dot(apart, conjugate(lax.transpose(scaled, (1, 0))))
    result = lax.div(product, convert(factor, product.dtype))
    return lax.reshape(result, ()) if result.shape == (1, 1) else result


@compiled
def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, dtype: DTypeLike | None = None) -> Array:
    """The matrix of correlation coefficients, in [-1, 1].

    >>> jnp.corrcoef(jnp.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])).round(3)
    Array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    if dtype is not None and not is_inexact(canonicalize_dtype(dtype)):
        raise ValueError(f"corrcoef: dtype must be a subclass of float or complex; got dtype={dtype}")
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return lax.div(c, c)
    n = c.shape[0]
    places = np.arange(n)
    scale = lax.sqrt(lax.real(get_item(c, (places, places))) if c.dtype.kind == "c" else get_item(c, (places, places)))
    scale = lax.convert_element_type(scale, c.dtype)
    c = lax.div(lax.div(c, lax.broadcast_in_dim(scale, c.shape, (0,))), lax.broadcast_in_dim(scale, c.shape, (1,)))
    limit = lambda v: lax.clamp(cast_numpy(-1, v.dtype), v, cast_numpy(1, v.dtype))
    return lax.complex(limit(lax.real(c)), limit(lax.imag(c))) if c.dtype.kind == "c" else limit(c)


# --- counting ----------------------------------------------------------------------------------------


def bincount(
    x: ArrayLike,
    weights: ArrayLike | None = None,
    minlength: int = 0,
    *,
    length: int | None = None,
    out_sharding: Any = None,
) -> Array:
    """How often each non-negative integer occurs, or the sum of its weights. Under jit `length` fixes the size.

    >>> jnp.bincount(jnp.array([1, 1, 3]))
    Array([0, 2, 0, 1], dtype=int32)
    """
    check_arraylike("bincount", x)
    x = as_array(x)
    if x.dtype.kind not in "iub":
        raise TypeError(f"x argument to bincount must have an integer type; got {x.dtype}")
    if x.ndim != 1:
        raise ValueError("only 1-dimensional input supported.")
    minlength = operator.index(minlength)
    if length is None:
        values = concrete(x, "bincount without length=")
        length = max(minlength, int(values.max()) + 1 if values.size else 0)
    else:
        length = operator.index(length)
    if weights is None:
        weights = np.asarray(1, INT)
    else:
        check_arraylike("bincount", weights)
        if np.shape(weights) != x.shape:
            raise ValueError("shape of weights must match shape of x.")
    zeros = lax.full((length,), 0, as_array(weights).dtype)
    x = lax.convert_element_type(x, INT) if x.dtype.kind == "b" else x
    x = lax.max(x, cast_numpy(0, x.dtype)) if x.dtype.kind == "i" else x
    return zeros.at[x].add(weights, mode="drop")


def histogram_bin_edges(a: ArrayLike, bins: Any = 10, range: Any = None, weights: ArrayLike | None = None) -> Array:
    """The edges of bins: given ones, or that many of equal width over the range of the data.

    >>> jnp.histogram_bin_edges(jnp.array([0.0, 4.0]), 2)
    Array([0., 2., 4.], dtype=float32)
    """
    if isinstance(bins, str):
        raise NotImplementedError("string values for `bins` not implemented.")
    check_arraylike("histogram_bin_edges", a)
    x = ravel(a)
    dtype = x.dtype if is_inexact(x.dtype) else default_dtype("f")
    if np.ndim(bins) == 1:
        return as_array(creation.asarray(bins, dtype=dtype))
    count = operator.index(bins)
    if range is None:
        if x.size == 0:
            return ranges.linspace(0, 1, count + 1, dtype=dtype)
        low, high = reductions.min(x), reductions.max(x)
    else:
        low, high = (creation.asarray(v) for v in (range if not isinstance(range, Array) else (range[0], range[1])))
    low, high = lax.convert_element_type(low, dtype), lax.convert_element_type(high, dtype)
    flat = lax.eq(low, high)
    low, high = (lax.select(flat, lax.add(v, cast_numpy(d, dtype)), v) for v, d in ((low, -0.5), (high, 0.5)))
    return ranges.linspace(low, high, count + 1, dtype=dtype)


def histogram(
    a: ArrayLike, bins: Any = 10, range: Any = None, weights: ArrayLike | None = None, density: bool | None = None
) -> tuple[Array, Array]:
    """(how many elements, or what weight, falls in each bin; the edges). The last bin includes its right edge.

    >>> jnp.histogram(jnp.array([1.0, 2.0, 2.0, 4.0]), 3)[0]
    Array([1., 2., 1.], dtype=float32)
    """
    check_arraylike("histogram", a)
    if weights is not None and np.shape(weights) != np.shape(a):
        raise ValueError("weights should have the same shape as a.")
    edges = histogram_bin_edges(a, bins, range)
    x = lax.convert_element_type(ravel(a), edges.dtype)
    w = lax.full_like(x, 1) if weights is None else as_array(convert(ravel(weights), _float_of(weights, edges.dtype)))
    counts = (
        lax.full((edges.shape[0] - 1,), 0, w.dtype)
        .at[_bin_of(x, edges)]
        .add(w, mode="drop", wrap_negative_indices=False)
    )
    if density:
        widths = lax.convert_element_type(diff(edges), counts.dtype)
        counts = lax.div(lax.div(counts, widths), reductions.sum(counts))
    return counts, edges


def _float_of(weights: ArrayLike, dtype: np.dtype) -> np.dtype:
    own = as_array(weights).dtype
    return own if is_inexact(own) else dtype


def _bin_of(x: Array, edges: Array) -> Array:
    """The number of the bin of each x; outside all bins a number that is out of bounds."""
    n = edges.shape[0]
    place = searchsorted(edges, x, side="right")
    last = lax.slice_in_dim(edges, n - 1, n)
    place = lax.select(lax.eq(x, expand_to(last, x.shape)), lax.full_like(place, n - 1), place)
    return lax.sub(place, cast_numpy(1, place.dtype))


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, Array, Array]:
    """(counts, edges of x, edges of y).

    >>> jnp.histogram2d(jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0]), 2)[0]
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    check_arraylike("histogram2d", x, y)
    if isinstance(bins, (list, tuple)):
        per_axis = all(np.ndim(b) == 0 for b in bins) and len(bins) not in (1, 2)
    else:
        per_axis = np.ndim(bins) == 1 and len(bins) not in (1, 2)
    sample = concatenate([reshape(x, (-1, 1)), reshape(y, (-1, 1))], 1)
    counts, edges = histogramdd(sample, [creation.asarray(bins)] * 2 if per_axis else bins, range, weights, density)
    return counts, edges[0], edges[1]


def histogramdd(
    sample: ArrayLike, bins: Any = 10, range: Any = None, weights: ArrayLike | None = None, density: bool | None = None
) -> tuple[Array, list[Array]]:
    """(counts, list of edges for each axis) of a sample of shape (points, axes).

    >>> jnp.histogramdd(jnp.array([[0.0, 1.0], [1.0, 0.0]]), 2)[0]
    Array([[0, 1],
           [1, 0]], dtype=int32)
    """
    if isinstance(sample, (list, tuple)):
        sample = creation.asarray(sample).T
    check_arraylike("histogramdd", sample)
    sample = as_array(promote_dtypes_inexact("histogramdd", sample)[0])
    sample = lax.expand_dims(sample, (1,)) if sample.ndim == 1 else sample
    points, axes = sample.shape
    if weights is not None and np.shape(weights) != (points,):
        raise ValueError("should have one weight for each sample.")
    if range is not None and (len(range) != axes or any(r is not None and len(r) != 2 for r in range)):
        raise ValueError(f"For sample.shape={sample.shape}, range should be a sequence of {axes} pairs or Nones.")
    bins = [bins] * axes if not isinstance(bins, (list, tuple)) and np.ndim(bins) == 0 else list(bins)
    if len(bins) != axes:
        raise ValueError("should be a bin for each dimension.")
    columns = [lax.reshape(lax.slice_in_dim(sample, i, i + 1, axis=1), (points,)) for i in np.arange(axes).tolist()]
    edges = [
        histogram_bin_edges(c, b, None if range is None else range[i])
        for i, (c, b) in enumerate(zip(columns, bins, strict=True))
    ]
    places = tuple(_bin_of(c, e) for c, e in zip(columns, edges, strict=True))
    shape = tuple(e.shape[0] - 1 for e in edges)
    w = lax.full((points,), 1, default_dtype("i")) if weights is None else as_array(convert(weights, sample.dtype))
    counts = lax.full(shape, 0, w.dtype).at[places].add(w, mode="drop", wrap_negative_indices=False)
    if density:
        counts = lax.convert_element_type(counts, sample.dtype)
        total = reductions.sum(counts)
        for i, e in enumerate(edges):
            counts = lax.div(counts, lax.broadcast_in_dim(diff(e), shape, (i,)))
        counts = lax.div(counts, total)
    return counts, edges

"""Maps arrays to sums, extrema, moments and positions of extrema along axes."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import canonicalize_dtype, requested_dtype, default_dtype, is_float, is_inexact, kind_of, real_dtype
from tracejit.numpy.compiled import compiled
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    as_array,
    canonical_axes,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    check_no_out,
    convert,
    dtype_of,
    expand_to,
    inexact,
    inexact_type,
    is_arraylike,
    promote_dtypes,
    strong,
)


def is_half(dtype: np.dtype) -> bool:
    return is_float(dtype) and dtype.itemsize < 4


# --- the frame of a reduction ------------------------------------------------------------------------


def check_where(name: str, where: ArrayLike | None) -> None:
    if where is not None and (not is_arraylike(where) or dtype_of(where).kind != "b"):
        raise DtypeError(f"jnp.{name}: where must be None or a boolean array; got {where!r}")


def masked(x: Array, where: ArrayLike | None, identity: Any) -> Array:
    """x with the identity of the reduction where the mask is False."""
    if where is None:
        return x
    check_arraylike("where", where)
    mask = lax.convert_element_type(where, np.dtype(bool))
    shape = np.broadcast_shapes(x.shape, mask.shape)
    x = expand_to(x, shape)
    return lax.select(expand_to(mask, shape), x, lax.full(shape, identity, x.dtype))


def keep_axes(out: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return lax.expand_dims(out, sorted(axes)) if keepdims and axes else out


def _accumulation_dtype(dtype: np.dtype, promote_integers: bool) -> np.dtype:
    """Booleans add as integers; with promote_integers narrow integers add as the default ones."""
    if dtype.kind == "b":
        return default_dtype("i")
    if promote_integers and dtype.kind in "iu" and dtype.itemsize < default_dtype("i").itemsize:
        return default_dtype(dtype.kind)
    return dtype


def _fold(
    name: str,
    a: ArrayLike,
    axis: Axis,
    dtype: DTypeLike | None,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
    promote_integers: bool,
    reduce: Callable,
    combine: Callable,
    identity: int,
) -> Array:
    """Sum or product: reduce in the accumulation dtype, then combine with `initial`."""
    check_arraylike(name, a)
    x = as_array(a)
    axes = canonical_axes(axis, x.ndim)
    result = requested_dtype(dtype) if dtype is not None else _accumulation_dtype(x.dtype, promote_integers)
    compute = np.dtype("float32") if is_half(result) else result
    x = lax.convert_element_type(x, compute) if x.weak_type or x.dtype != compute else x
    check_where(name, where)
    x = masked(x, where, identity)
    axes = canonical_axes(axis, x.ndim)
    out = keep_axes(reduce(x, axes) if axes else x, axes, keepdims)
    if initial is not None:
        check_arraylike(name, initial)
        out = combine(
            out, convert(initial, compute) if np.ndim(initial) == 0 else expand_to(convert(initial, compute), out.shape)
        )
    return out if compute == result else lax.convert_element_type(out, result)


@compiled
def sum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
    promote_integers: bool = True,
) -> Array:
    """The sum over axes; booleans count, small integers are widened to int32 unless promote_integers is False.

    >>> jnp.sum(jnp.array([[1, 2], [3, 4]]), axis=0)
    Array([4, 6], dtype=int32)
    """
    check_no_out("sum", out)
    return _fold("sum", a, axis, dtype, keepdims, initial, where, promote_integers, lax.reduce_sum, lax.add, 0)


@compiled
def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
    promote_integers: bool = True,
) -> Array:
    """The product over axes.

    >>> jnp.prod(jnp.array([2, 3, 4]))
    Array(24, dtype=int32)
    """
    check_no_out("prod", out)
    return _fold("prod", a, axis, dtype, keepdims, initial, where, promote_integers, lax.reduce_prod, lax.mul, 1)


def _extremum(
    name: str,
    a: ArrayLike,
    axis: Axis,
    out: None,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
    reduce: Callable,
    combine: Callable,
    worst: Callable,
) -> Array:
    check_no_out(name, out)
    check_arraylike(name, a)
    x = as_array(a)
    if where is not None and initial is None:
        raise ValueError(
            f"reduction operation {name} does not have an identity, so to use a where mask one has to specify 'initial'"
        )
    check_where(name, where)
    x = masked(x, where, worst(x.dtype))
    axes = canonical_axes(axis, x.ndim)
    if initial is None and builtins.any(x.shape[i] == 0 for i in axes):
        raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
    result = keep_axes(reduce(x, axes) if axes else x, axes, keepdims)
    if initial is None:
        return result
    check_arraylike(name, initial)
    return combine(
        result,
        convert(initial, x.dtype) if np.ndim(initial) == 0 else expand_to(convert(initial, x.dtype), result.shape),
    )


def lowest(dtype: np.dtype) -> Any:
    """The value below every other: the identity of max."""
    if dtype.kind == "b":
        return False
    return -np.inf if is_inexact(dtype) else ml_dtypes.iinfo(dtype).min


def highest(dtype: np.dtype) -> Any:
    """The value above every other: the identity of min."""
    if dtype.kind == "b":
        return True
    return np.inf if is_inexact(dtype) else ml_dtypes.iinfo(dtype).max


@compiled
def max(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The largest element over axes; nan if there is one. An empty axis needs `initial`.

    >>> jnp.max(jnp.array([[1, 5], [3, 4]]), axis=1)
    Array([5, 4], dtype=int32)
    """
    return strong(_extremum("max", a, axis, out, keepdims, initial, where, lax.reduce_max, lax.max, lowest))


@compiled
def min(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The smallest element over axes; nan if there is one. An empty axis needs `initial`.

    >>> jnp.min(jnp.array([[1, 5], [3, 4]]), axis=1)
    Array([1, 3], dtype=int32)
    """
    return strong(_extremum("min", a, axis, out, keepdims, initial, where, lax.reduce_min, lax.min, highest))


amax, amin = max, min


def _quantifier(
    name: str,
    a: ArrayLike,
    axis: Axis,
    out: None,
    keepdims: bool,
    where: ArrayLike | None,
    reduce: Callable,
    identity: bool,
) -> Array:
    check_no_out(name, out)
    check_arraylike(name, a)
    x = as_array(a)
    x = x if x.dtype.kind == "b" else lax.ne(x, cast_numpy(0, x.dtype))
    check_where(name, where)
    x = masked(x, where, identity)
    axes = canonical_axes(axis, x.ndim)
    return keep_axes(reduce(x, axes) if axes else x, axes, keepdims)


@compiled
def all(
    a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: ArrayLike | None = None
) -> Array:
    """Whether all elements over axes are nonzero.

    >>> jnp.all(jnp.array([1, 0]))
    Array(False, dtype=bool)
    """
    return _quantifier("all", a, axis, out, keepdims, where, lax.reduce_and, True)


@compiled
def any(
    a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: ArrayLike | None = None
) -> Array:
    """Whether some element over axes is nonzero.

    >>> jnp.any(jnp.array([1, 0]))
    Array(True, dtype=bool)
    """
    return _quantifier("any", a, axis, out, keepdims, where, lax.reduce_or, False)


# --- moments -----------------------------------------------------------------------------------------


def _count(
    shape: tuple[int, ...], axes: tuple[int, ...], where: ArrayLike | None, keepdims: bool, dtype: np.dtype
) -> Any:
    """How many elements a mean is over: a number, or an array where there is a mask."""
    if where is None:
        n = 1
        for i in axes:
            n *= shape[i]
        return cast_numpy(n, dtype)
    mask = expand_to(lax.convert_element_type(where, np.dtype(bool)), shape)
    return sum(mask, axes, dtype=dtype, keepdims=keepdims)


def _divide_count(total: Array, n: Any) -> Array:
    return lax.div(total, convert(n, total.dtype))


def _mean_dtypes(dtype: np.dtype, asked: DTypeLike | None) -> tuple[np.dtype, np.dtype]:
    """(dtype to compute in, dtype of the result)."""
    result = requested_dtype(asked) if asked is not None else inexact_type(dtype)
    return (np.dtype("float32") if is_half(result) else result), result


@compiled
def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
) -> Array:
    """The arithmetic mean over axes; integers give floats. Halves are added in float32.

    >>> jnp.mean(jnp.array([1, 2, 4]))
    Array(2.3333333, dtype=float32)
    """
    check_no_out("mean", out)
    check_where("mean", where)
    check_arraylike("mean", a)
    x = as_array(a)
    compute, result = _mean_dtypes(x.dtype, dtype)
    axes = canonical_axes(axis, x.ndim)
    x = convert(x, compute, x.weak_type and dtype is None)
    total = sum(x, axes, None if x.weak_type else compute, keepdims=keepdims, where=where)
    real = real_dtype(compute) if kind_of(compute) in "fc" else compute
    shape = x.shape if where is None else np.broadcast_shapes(x.shape, np.shape(where))
    out_ = _divide_count(total, _count(shape, axes, where, keepdims, real))
    return out_ if compute == result else lax.convert_element_type(out_, result)


@compiled
def average(
    a: ArrayLike, axis: Axis = None, weights: ArrayLike | None = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """The weighted mean over axes; with `returned` also the sum of the weights.

    >>> jnp.average(jnp.array([1.0, 3.0]), weights=jnp.array([3, 1]))
    Array(1.5, dtype=float32)
    """
    if weights is None:
        result = mean(a, axis, keepdims=keepdims)
        n = np.size(a) / np.size(result) if np.size(result) else 0
        return (result, lax.full_like(result, n)) if returned else result
    check_arraylike("average", a, weights)
    a, weights = promote_dtypes("average", inexact("average", a), inexact("average", weights))
    a = as_array(a)
    axes = canonical_axes(axis, a.ndim)
    weights = _fit_weights(as_array(weights), a.shape, axis, axes)
    total = sum(weights, axes, keepdims=keepdims)
    result = lax.div(sum(lax.mul(a, weights), axes, keepdims=keepdims), total)
    return (result, total) if returned else result


def _fit_weights(weights: Array, shape: tuple[int, ...], axis: Axis, axes: tuple[int, ...]) -> Array:
    if weights.shape == shape:
        return weights
    if axis is None:
        raise ValueError("Axis must be specified when shapes of a and weights differ.")
    if weights.shape != tuple(shape[i] for i in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    weights = lax.transpose(weights, order) if order != list(range(len(axes))) else weights
    return lax.broadcast_in_dim(weights, shape, tuple(sorted(axes)))


def _degrees(ddof: int, correction: int | float | None) -> int | float:
    if correction is None:
        return ddof
    if not isinstance(ddof, int) or ddof != 0:
        raise ValueError("ddof and correction can't be provided simultaneously.")
    return correction


@compiled
def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    correction: int | float | None = None,
) -> Array:
    """The variance over axes: squared distances from the mean, added up and divided by n - ddof; nan if that is not positive.

    >>> jnp.var(jnp.array([1.0, 2.0, 3.0]), ddof=1)
    Array(1., dtype=float32)
    """
    check_no_out("var", out)
    check_where("var", where)
    check_arraylike("var", a)
    x = as_array(a)
    ddof = _degrees(ddof, correction)
    if dtype is not None and x.dtype.kind == "c" and canonicalize_dtype(dtype).kind != "c":
        raise ValueError("jnp.var does not yet support real dtype parameters for complex inputs")
    compute, result = _mean_dtypes(x.dtype, dtype)
    axes = canonical_axes(axis, x.ndim)
    x = convert(x, compute, x.weak_type and dtype is None)
    center = _mean(x, axes, x.dtype, keepdims=True, where=where) if mean is None else convert(as_array(mean), compute)
    if mean is not None and center.ndim < x.ndim:
        center = lax.expand_dims(center, axes)
    shape = x.shape if where is None else np.broadcast_shapes(x.shape, np.shape(where))
    apart = lax.sub(expand_to(x, shape), convert(expand_to(center, shape), compute))
    squares = lax.square(apart) if compute.kind != "c" else lax.real(lax.mul(apart, lax.conj(apart)))
    total = sum(squares, axes, None if squares.weak_type else squares.dtype, keepdims=keepdims, where=where)
    n = _count(shape, axes, where, keepdims, squares.dtype)
    n = lax.sub(n, cast_numpy(ddof, squares.dtype)) if where is not None else n - cast_numpy(ddof, squares.dtype)
    if dtype is None and kind_of(result) == "c":
        result = real_dtype(result)
    out_ = convert(lax.div(total, n), result)
    if not is_inexact(result):
        out_ = convert(out_, default_dtype("f"), True)     # as JAX, which chooses between whole numbers and nan
    if where is None:
        return out_ if n > 0 else lax.full_like(out_, np.nan)
    return lax.select(lax.le(n, cast_numpy(0, n.dtype)), lax.full_like(out_, np.nan), out_)


_mean = mean


@compiled
def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    correction: int | float | None = None,
) -> Array:
    """The standard deviation over axes: the square root of `var`.

    >>> jnp.std(jnp.array([1.0, 3.0]))
    Array(1., dtype=float32)
    """
    check_no_out("std", out)
    check_where("std", where)
    if dtype is not None and not is_inexact(canonicalize_dtype(dtype)):
        raise ValueError(f"dtype argument to jnp.std must be inexact; got {dtype}")
    return lax.sqrt(var(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction))


@compiled
def ptp(a: ArrayLike, axis: Axis = None, out: None = None, keepdims: bool = False) -> Array:
    """Peak to peak: max - min over axes.

    >>> jnp.ptp(jnp.array([3, 9, 5]))
    Array(6, dtype=int32)
    """
    check_no_out("ptp", out)
    check_arraylike("ptp", a)
    return lax.sub(max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims))


@compiled
def count_nonzero(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many elements over axes are nonzero.

    >>> jnp.count_nonzero(jnp.array([0, 2, 5]))
    Array(2, dtype=int32)
    """
    check_arraylike("count_nonzero", a)
    x = as_array(a)
    return sum(
        x if x.dtype.kind == "b" else lax.ne(x, cast_numpy(0, x.dtype)),
        axis,
        dtype=default_dtype("i"),
        keepdims=keepdims,
    )


# --- positions ---------------------------------------------------------------------------------------


def _position(name: str, a: ArrayLike, axis: int | None, out: None, keepdims: bool | None, search: Callable) -> Array:
    check_no_out(name, out)
    check_arraylike(name, a)
    x = as_array(a)
    original_ndim = x.ndim
    if axis is None:
        x = lax.reshape(x, (x.size,))
    where = 0 if axis is None else canonical_axis(axis, x.ndim)
    if x.shape[where] == 0:
        raise ValueError(f"attempt to get {name} of an empty sequence")
    result = search(x, where, default_dtype("i"))
    if not keepdims:
        return result
    return lax.expand_dims(result, tuple(range(original_ndim)) if axis is None else (where,))


@compiled
def argmax(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first largest element (the first nan, if there is one), in the flattened array if axis is None.

    >>> jnp.argmax(jnp.array([1, 7, 7]))
    Array(1, dtype=int32)
    """
    return _position("argmax", a, axis, out, keepdims, lax.argmax)


@compiled
def argmin(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first smallest element (the first nan, if there is one), in the flattened array if axis is None.

    >>> jnp.argmin(jnp.array([4, 1, 1]))
    Array(1, dtype=int32)
    """
    return _position("argmin", a, axis, out, keepdims, lax.argmin)

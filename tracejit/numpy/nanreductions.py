"""Maps arrays to reductions that leave nan out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracejit import lax
from tracejit.ir.types import is_inexact
from tracejit.numpy import reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.logic import isnan
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    Axis,
    DTypeLike,
    as_array,
    canonical_axes,
    check_arraylike,
    check_no_out,
    expand_to,
    strong,
)


def _filled(name: str, a: ArrayLike, fill: Callable | float) -> tuple[Array, Array | None]:
    """(a with its nans replaced, where they were); integers have none."""
    check_arraylike(name, a)
    x = as_array(a)
    if not is_inexact(x.dtype):
        return x, None
    missing = isnan(x)
    return lax.select(missing, lax.full_like(x, fill(x.dtype) if callable(fill) else fill), x), missing


def _extremum(
    name: str,
    reduce: Callable,
    worst: Callable,
    a: ArrayLike,
    axis: Axis,
    out: None,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
) -> Array:
    check_no_out(name, out)
    reductions.check_where(name, where)
    x, missing = _filled(name, a, worst)
    result = reduce(x, axis, keepdims=keepdims, initial=initial, where=where)
    if missing is None or initial is not None:
        return result
    none_left = reductions.all(missing, axis, keepdims=keepdims, where=where)
    return lax.select(none_left, lax.full_like(result, np.nan), result)


@compiled
def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The largest element that is not nan; nan if there is none.

    >>> jnp.nanmax(jnp.array([1, jnp.nan, 3]))
    Array(3., dtype=float32)
    """
    return strong(_extremum("nanmax", reductions.max, reductions.lowest, a, axis, out, keepdims, initial, where))


@compiled
def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The smallest element that is not nan; nan if there is none.

    >>> jnp.nanmin(jnp.array([1, jnp.nan, 3]))
    Array(1., dtype=float32)
    """
    return strong(_extremum("nanmin", reductions.min, reductions.highest, a, axis, out, keepdims, initial, where))


@compiled
def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The sum of what is not nan.

    >>> jnp.nansum(jnp.array([1, jnp.nan, 3]))
    Array(4., dtype=float32)
    """
    check_no_out("nansum", out)
    reductions.check_where("nansum", where)
    return reductions.sum(_filled("nansum", a, 0)[0], axis, dtype, None, keepdims, initial, where)


@compiled
def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The product of what is not nan.

    >>> jnp.nanprod(jnp.array([2, jnp.nan, 3]))
    Array(6., dtype=float32)
    """
    check_no_out("nanprod", out)
    reductions.check_where("nanprod", where)
    return reductions.prod(_filled("nanprod", a, 1)[0], axis, dtype, None, keepdims, initial, where)


def _kept(x: Array, where: ArrayLike | None) -> Array:
    kept = lax.bitwise_not(isnan(x))
    if where is None:
        return kept
    shape = np.broadcast_shapes(x.shape, np.shape(where))
    return lax.bitwise_and(expand_to(kept, shape), expand_to(lax.convert_element_type(where, np.dtype(bool)), shape))


@compiled
def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The mean of what is not nan; nan if nothing is left.

    >>> jnp.nanmean(jnp.array([1, jnp.nan, 3]))
    Array(2., dtype=float32)
    """
    check_no_out("nanmean", out)
    reductions.check_where("nanmean", where)
    check_arraylike("nanmean", a)
    x = as_array(a)
    if not is_inexact(x.dtype):
        return reductions.mean(x, axis, dtype, None, keepdims, where=where)
    return reductions.mean(x, axis, dtype, None, keepdims, where=_kept(x, where))


@compiled
def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
) -> Array:
    """The variance of what is not nan; nan if at most ddof elements are left.

    >>> jnp.nanvar(jnp.array([1, jnp.nan, 3]))
    Array(1., dtype=float32)
    """
    check_no_out("nanvar", out)
    reductions.check_where("nanvar", where)
    check_arraylike("nanvar", a)
    x = as_array(a)
    if not is_inexact(x.dtype):
        return reductions.var(x, axis, dtype, None, ddof, keepdims, where=where, mean=mean)
    kept = _kept(x, where)
    axes = canonical_axes(axis, x.ndim)
    return reductions.var(
        lax.select(expand_to(kept, x.shape), x, lax.full_like(x, 0)) if kept.shape == x.shape else x,
        axes,
        dtype,
        None,
        ddof,
        keepdims,
        where=kept,
        mean=mean,
    )


@compiled
def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: None = None,
    ddof: int = 0,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    mean: ArrayLike | None = None,
) -> Array:
    """The standard deviation of what is not nan.

    >>> jnp.nanstd(jnp.array([1, jnp.nan, 3]))
    Array(1., dtype=float32)
    """
    check_no_out("nanstd", out)
    reductions.check_where("nanstd", where)
    return lax.sqrt(nanvar(a, axis, dtype, None, ddof, keepdims, where, mean))


def _position(
    name: str, search: Callable, worst: Callable, a: ArrayLike, axis: int | None, out: None, keepdims: bool | None
) -> Array:
    check_no_out(name, out)
    x, missing = _filled(name, a, worst)
    result = search(x, axis, keepdims=keepdims)
    if missing is None:
        return result
    none_left = reductions.all(missing, axis, keepdims=bool(keepdims))
    return lax.select(none_left, lax.full_like(result, -1), result)


@compiled
def nanargmax(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first largest element that is not nan; -1 if there is none.

    >>> jnp.nanargmax(jnp.array([1, jnp.nan, 3]))
    Array(2, dtype=int32)
    """
    return _position("nanargmax", reductions.argmax, reductions.lowest, a, axis, out, keepdims)


@compiled
def nanargmin(a: ArrayLike, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Array:
    """The index of the first smallest element that is not nan; -1 if there is none.

    >>> jnp.nanargmin(jnp.array([jnp.nan, 1, 3]))
    Array(1, dtype=int32)
    """
    return _position("nanargmin", reductions.argmin, reductions.highest, a, axis, out, keepdims)

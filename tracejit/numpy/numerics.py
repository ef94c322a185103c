"""Maps sampled functions to interpolated values, derivatives, integrals and unwrapped phases."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.ir.types import is_complex
from tracejit.numpy import reductions
from tracejit.numpy.arithmetic import remainder
from tracejit.numpy.compiled import compiled
from tracejit.numpy.cumulative import diff
from tracejit.numpy.indexing import get_item
from tracejit.numpy.manipulation import moveaxis
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    canonical_axes,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    convert,
    expand_to,
    inexact,
    literal,
    promote_dtypes_inexact,
)
from tracejit.numpy.selection import choose_by
from tracejit.numpy.sorting import searchsorted


@compiled
def interp(
    x: ArrayLike, xp: ArrayLike, fp: ArrayLike, left: Any = None, right: Any = None, period: ArrayLike | None = None
) -> Array:
    """Linear interpolation of the points (xp, fp), xp rising; beyond: the end values, left, right, or "extrapolate".

    >>> jnp.interp(jnp.array([0.5, 9.0]), jnp.array([0.0, 1.0]), jnp.array([10.0, 20.0]))
    Array([15., 20.], dtype=float32)
    """
    check_arraylike("interp", x, xp, fp)
    if np.shape(xp) != np.shape(fp) or np.ndim(xp) != 1:
        raise ValueError("xp and fp must be one-dimensional arrays of equal size")
    x, xp = (as_array(v) for v in promote_dtypes_inexact("interp", x, xp))
    fp = as_array(inexact("interp", fp))
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, period)
        left = right = None
    if is_complex(x.dtype):
        raise ValueError("jnp.interp: complex x values not supported.")
    n = xp.shape[0]
    place = lax.clamp(np.int32(1), searchsorted(xp, x, side="right"), np.int32(max(n - 1, 1)))
    before = lax.sub(place, np.int32(1))
    y0, y1, x0, x1 = (get_item(v, (i,)) for v, i in ((fp, before), (fp, place), (xp, before), (xp, place)))
    width = lax.sub(x1, x0)
    # A step that is no wider has no slope, so that no gradient overflows.
    none = lax.le(lax.abs(width), np.spacing(ml_dtypes.finfo(xp.dtype).eps).astype(xp.dtype))
    part = lax.div(lax.sub(x, x0), lax.select(none, lax.full_like(width, 1), width))
    part, y0, y1 = promote_dtypes_inexact("interp", part, y0, y1)
    value = lax.add(y0, lax.mul(part, lax.sub(y1, y0)))
    value = lax.select(none, y0, value)
    value = _beyond(value, lax.lt(x, get_item(xp, 0)), left, get_item(fp, 0), "left")
    return _beyond(value, lax.gt(x, get_item(xp, n - 1)), right, get_item(fp, n - 1), "right")


def _beyond(value: Array, outside: Array, wanted: Any, end: Array, name: str) -> Array:
    if isinstance(wanted, str):
        if wanted != "extrapolate":
            raise ValueError(f"the only valid string value of `{name}` is 'extrapolate', but got: {wanted!r}")
        return value
    end = convert(end if wanted is None else wanted, value.dtype)
    return choose_by(outside, end, value)


def _periodic(x: Array, xp: Array, fp: Array, period: ArrayLike) -> tuple[Array, Array, Array]:
    if np.ndim(period) != 0:
        raise ValueError(f"period must be a scalar; got {period}")
    period = lax.abs(as_array(convert(period, x.dtype)))
    x, xp = remainder(x, period), remainder(xp, period)
    xp, fp = lax.sort((xp, fp), dimension=0, num_keys=1)
    n = xp.shape[0]
    lead = lambda v: (lax.slice_in_dim(v, n - 1, n), lax.slice_in_dim(v, 0, 1))
    (x_last, x_first), (f_last, f_first) = lead(xp), lead(fp)
    xp = lax.concatenate([lax.sub(x_last, period), xp, lax.add(x_first, period)], 0)
    return x, xp, lax.concatenate([f_last, fp, f_first], 0)


def gradient(f: ArrayLike, *varargs: ArrayLike, axis: Any = None, edge_order: int | None = None) -> Any:
    """Derivatives by central differences inside and one-sided ones at the ends; spacings are numbers or coordinates.

    >>> jnp.gradient(jnp.array([0.0, 1.0, 4.0]))
    Array([1., 2., 3.], dtype=float32)
    """
    if edge_order not in (None, 1):
        raise NotImplementedError("The 'edge_order' argument to jnp.gradient is not supported beyond 1.")
    check_arraylike("gradient", f, *varargs)
    f, *spacings = (as_array(v) for v in promote_dtypes_inexact("gradient", f, *varargs))
    axes = canonical_axes(axis, f.ndim)
    if not spacings:
        spacings = [None]
    if len(spacings) == 1:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"Invalid number of spacing arguments {len(varargs)} for axes={axes}")
    out = [_gradient_along(f, h, i) for h, i in zip(spacings, axes, strict=True)]
    return out[0] if len(out) == 1 else out


def _gradient_along(f: Array, h: Array | None, axis: int) -> Array:
    n = f.shape[axis]
    if n < 2:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, at least 2 elements are required."
        )
    part = lambda lo, hi: lax.slice_in_dim(f, lo, hi, axis=axis)
    first, last = lax.sub(part(1, 2), part(0, 1)), lax.sub(part(n - 1, n), part(n - 2, n - 1))
    if h is None or h.ndim == 0:
        step = literal(1, f.dtype) if h is None else h
        middle = lax.mul(lax.sub(part(2, n), part(0, n - 2)), literal(0.5, f.dtype))
        out = lax.concatenate([first, middle, last], axis)
        return out if h is None else lax.div(out, step)
    if h.ndim != 1 or h.shape[0] != n:
        raise ValueError("Spacing arrays must have the same length as the dimension of gradient.")
    steps = diff(h)
    wide = lambda v: lax.broadcast_in_dim(
        v, tuple(v.shape[0] if i == axis else d for i, d in enumerate(f.shape)), (axis,)
    )
    before, after = wide(lax.slice_in_dim(steps, 0, n - 2)), wide(lax.slice_in_dim(steps, 1, n - 1))
    total = lax.add(before, after)
    middle = lax.add(
        lax.add(
            lax.mul(lax.neg(lax.div(after, lax.mul(before, total))), part(0, n - 2)),
            lax.mul(lax.div(lax.sub(after, before), lax.mul(before, after)), part(1, n - 1)),
        ),
        lax.mul(lax.div(before, lax.mul(after, total)), part(2, n)),
    )
    ends = (
        lax.div(first, wide(lax.slice_in_dim(steps, 0, 1))),
        lax.div(last, wide(lax.slice_in_dim(steps, n - 2, n - 1))),
    )
    return lax.concatenate([ends[0], middle, ends[1]], axis)


@compiled
def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Array:
    """The integral by the trapezoidal rule, over coordinates x or steps dx.

    >>> jnp.trapezoid(jnp.array([1.0, 2.0, 3.0]))
    Array(4., dtype=float32)
    """
    args = (y,) if x is None else (y, x)
    check_arraylike("trapezoid", *args)
    y, *rest = (as_array(v) for v in promote_dtypes_inexact("trapezoid", *args))
    y = moveaxis(y, axis, -1)
    n = y.shape[-1]
    pairs = lax.add(lax.slice_in_dim(y, 1, n, axis=y.ndim - 1), lax.slice_in_dim(y, 0, n - 1, axis=y.ndim - 1))
    if rest:
        steps = diff(rest[0]) if rest[0].ndim == 1 else diff(moveaxis(rest[0], axis, -1), axis=-1)
        total = reductions.sum(lax.mul(pairs, expand_to(steps, pairs.shape)), -1)
    else:
        dx = as_array(inexact("trapezoid", dx))
        total = (
            lax.mul(reductions.sum(pairs, -1), convert(dx, y.dtype) if dx.ndim == 0 else dx)
            if dx.ndim == 0
            else reductions.sum(lax.mul(pairs, expand_to(convert(dx, y.dtype), pairs.shape)), -1)
        )
    return lax.mul(total, literal(0.5, total.dtype))


def unwrap(p: ArrayLike, discont: ArrayLike | None = None, axis: int = -1, period: ArrayLike = 2 * math.pi) -> Array:
    """Phases with jumps of more than half a period (or discont) taken out.

    >>> jnp.unwrap(jnp.array([0, 1, 2, 0, 1]), period=3)
    Array([0, 1, 2, 3, 4], dtype=int32)
    """
    check_arraylike("unwrap", p)
    whole = as_array(p).dtype.kind in "iu" and isinstance(period, (int, np.integer))
    x = as_array(p) if whole else as_array(promote_dtypes_inexact("unwrap", p, period)[0])
    if x.dtype.kind == "c":
        raise ValueError("jnp.unwrap does not support complex inputs.")
    axis = canonical_axis(axis, x.ndim)
    if x.shape[axis] == 0:
        return x
    step = diff(x, axis=axis)
    size, half = (cast_numpy(v, x.dtype) for v in (period, np.asarray(period) / 2 if not whole else period // 2))
    low = lax.neg(half)
    wrapped_step = lax.add(remainder(lax.sub(step, low), size), low)
    if not whole or period % 2 == 0:
        at_low = lax.bitwise_and(lax.eq(wrapped_step, low), lax.gt(step, cast_numpy(0, x.dtype)))
        wrapped_step = lax.select(at_low, lax.full_like(step, half), wrapped_step)
    correction = lax.sub(wrapped_step, step)
    limit = half if discont is None else convert(discont, x.dtype)
    correction = lax.select(lax.lt(lax.abs(step), lax.max(limit, half)), lax.full_like(step, 0), correction)
    shifted = lax.add(lax.slice_in_dim(x, 1, None, axis=axis), lax.cumsum(correction, axis))
    return lax.concatenate([lax.slice_in_dim(x, 0, 1, axis=axis), shifted], axis)

"""Descriptive statistics: the most frequent value, ranks, the standard error of the mean."""
from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import canonical_axis, inexact

POLICIES = ("propagate", "omit", "raise")
RANKS = ("average", "min", "max", "dense", "ordinal")


class ModeResult(NamedTuple):
    """What `mode` returns: the values and how often they occur."""

    mode: Any
    count: Any


def check_policy(name: str, nan_policy: str) -> None:
    if nan_policy not in POLICIES:
        raise ValueError(f"{name}: nan_policy must be one of {POLICIES}, got {nan_policy!r}")
    if nan_policy != "propagate":
        raise NotImplementedError(f"{name}: nan_policy={nan_policy!r} would need values while tracing; filter nans "
                                  "before")


@partial(jit, static_argnames=("axis", "nan_policy", "keepdims"))
def mode(a, axis: int | None = 0, nan_policy: str = "propagate", keepdims: bool = False) -> ModeResult:
    """The most frequent value along an axis (None: of all entries), the smallest of several, and its count.

    >>> import tracejit.numpy as jnp
    >>> print(mode(jnp.array([2, 1, 2, 3])).mode)
    2
    """
    check_policy("mode", nan_policy)
    x = jnp.atleast_1d(a)
    axes = range(x.ndim) if axis is None else (canonical_axis(axis, x.ndim),)
    lines = x.reshape(-1, 1) if axis is None else jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keepdims or i not in axes)
    if lines.shape[0] == 0:
        return ModeResult(jnp.full(shape, np.nan), jnp.zeros(shape))
    values, counts = most_frequent(lines)
    return ModeResult(values.reshape(shape), counts.reshape(shape))


def most_frequent(lines):
    """Per column: in sorted order the length of the run that ends at each entry; the first longest run wins."""
    lines = lax.sort(lines, dimension=0)
    position = jnp.arange(lines.shape[0])[:, None]
    # All nans are equal here, as they are for counting.
    same = (lines[1:] == lines[:-1]) | ((lines[1:] != lines[1:]) & (lines[:-1] != lines[:-1]))
    starts = jnp.concatenate([jnp.ones((1, lines.shape[1]), bool), ~same])
    first = lax.cummax(jnp.where(starts, position, 0), axis=0)
    length = position - first + 1
    best = jnp.argmax(length, axis=0)[None]
    return jnp.take_along_axis(lines, best, 0)[0], jnp.take_along_axis(length, best, 0)[0]


@partial(jit, static_argnames=("method", "axis", "nan_policy"))
def rankdata(a, method: str = "average", *, axis: int | None = None, nan_policy: str = "propagate"):
    """Ranks from 1 on, as floats, along an axis (None: of all entries in one list).

    Equal entries get the 'average', 'min' or 'max' of their ranks; 'dense' leaves no gaps after them; 'ordinal'
    numbers them in order. A line with a nan is nan.

    >>> import tracejit.numpy as jnp
    >>> print(rankdata(jnp.array([10, 30, 20, 20])))
    [1.  4.  2.5 2.5]
    """
    check_policy("rankdata", nan_policy)
    if method not in RANKS:
        raise ValueError(f"rankdata: method must be one of {RANKS}, got {method!r}")
    a = jnp.asarray(a)
    if axis is None:
        return ranks(a.reshape(-1), method)
    return jnp.moveaxis(ranks(jnp.moveaxis(a, axis, -1), method), -1, axis)


def ranks(lines, method: str):
    """Ranks along the last axis."""
    number = jnp.broadcast_to(jnp.arange(lines.shape[-1]), lines.shape)
    ordered, order = lax.sort((lines, number), dimension=-1, num_keys=1)
    starts = jnp.concatenate([jnp.ones((*lines.shape[:-1], 1), bool), ordered[..., 1:] != ordered[..., :-1]], -1)
    first = lax.cummax(jnp.where(starts, number, 0), axis=lines.ndim - 1)
    following = jnp.where(jnp.concatenate([starts[..., 1:], jnp.ones_like(starts[..., :1])], -1), number,
                          lines.shape[-1])
    last = lax.cummin(following, axis=lines.ndim - 1, reverse=True)
    by_method = {"ordinal": number + 1, "min": first + 1, "max": last + 1, "average": (first + last) / 2 + 1,
                 "dense": jnp.cumsum(starts, axis=-1)}
    inverse = jnp.argsort(order, axis=-1)
    out = jnp.take_along_axis(by_method[method].astype(float), inverse, -1)
    return jnp.where((lines != lines).any(-1, keepdims=True), np.nan, out)


@partial(jit, static_argnames=("axis", "ddof", "nan_policy", "keepdims"))
def sem(a, axis: int | None = 0, ddof: int = 1, nan_policy: str = "propagate", *, keepdims: bool = False):
    """The standard error of the mean along an axis (None: of all entries): standard deviation over root of the count.

    ``nan_policy='omit'`` leaves nans out.

    >>> import tracejit.numpy as jnp
    >>> print(sem(jnp.array([1., 3.])))
    1.0
    """
    if nan_policy not in ("propagate", "omit"):
        raise ValueError(f"sem: nan_policy must be 'propagate' or 'omit', got {nan_policy!r}")
    a = jnp.asarray(inexact("sem", a))
    if nan_policy == "omit":
        count = (~jnp.isnan(a)).sum(axis, keepdims=keepdims)
        return jnp.nanstd(a, axis, ddof=ddof, keepdims=keepdims) / jnp.sqrt(count.astype(a.dtype))
    return jnp.std(a, axis, ddof=ddof, keepdims=keepdims) / math.sqrt(a.size if axis is None else a.shape[axis])

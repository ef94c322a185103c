"""Maps polynomials, as vectors of coefficients with the highest power first, to values, roots, products and fits."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import complex_dtype
from tracejit.numpy import linalg, reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.convolution import convolve
from tracejit.numpy.indexing import get_item
from tracejit.numpy.linear import diag, dot, outer, vander
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    cast_numpy,
    check_arraylike,
    concrete,
    expand_to,
    literal,
    promote_dtypes,
    promote_dtypes_inexact,
)
from tracejit.numpy.selection import where
from tracejit.numpy.sorting import trim_zeros


def _vector(name: str, p: ArrayLike) -> Array:
    check_arraylike(name, p)
    p = as_array(p)
    return lax.reshape(p, (1,)) if p.ndim == 0 else p


@compiled
def polyval(p: ArrayLike, x: ArrayLike, *, unroll: int = 16) -> Array:
    """The polynomial's values at x, by Horner's rule.

    >>> jnp.polyval(jnp.array([1, 0, 2]), 3)
    Array(11, dtype=int32)
    """
    check_arraylike("polyval", p, x)
    p, x = (as_array(v) for v in promote_dtypes("polyval", p, x))
    if p.ndim < 1:
        raise ValueError("polyval: the coefficients must be a vector")
    shape = np.broadcast_shapes(p.shape[1:], x.shape)
    x, start = expand_to(x, shape), lax.full(shape, 0, p.dtype)
    step = lambda y, c: lax.add(lax.mul(y, x), expand_to(c, shape))
    if p.shape[0] <= max(unroll, 1):
        for i in range(p.shape[0]):
            start = step(start, get_item(p, i))
        return start
    out, _ = lax.scan(lambda y, c: (step(y, c), None), start, p, unroll=unroll)
    return out


def _total(name: str, a1: ArrayLike, a2: ArrayLike) -> Array:
    """The shorter one added to the last coefficients of the longer one."""
    a1, a2 = (_vector(name, v) for v in promote_dtypes(name, a1, a2))
    long, short = (a1, a2) if a1.shape[0] >= a2.shape[0] else (a2, a1)
    return long.at[long.shape[0] - short.shape[0]:].add(short)


@compiled
def polyadd(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The sum of two polynomials.

    >>> jnp.polyadd(jnp.array([1, 2]), jnp.array([5]))
    Array([1, 7], dtype=int32)
    """
    return _total("polyadd", a1, a2)


@compiled
def polysub(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The difference of two polynomials.

    >>> jnp.polysub(jnp.array([1, 2]), jnp.array([5]))
    Array([ 1, -3], dtype=int32)
    """
    check_arraylike("polysub", a1, a2)
    return _total("polysub", a1, lax.neg(as_array(a2)))


def polymul(a1: ArrayLike, a2: ArrayLike, *, trim_leading_zeros: bool = False) -> Array:
    """The product of two polynomials; leading zeros are dropped only on request, since that needs known values.

    >>> jnp.polymul(jnp.array([1, 1]), jnp.array([1, -1]))
    Array([ 1.,  0., -1.], dtype=float32)
    """
    a1, a2 = (_vector("polymul", v) for v in promote_dtypes_inexact("polymul", a1, a2))
    if trim_leading_zeros and (a1.shape[0] > 1 or a2.shape[0] > 1):
        a1, a2 = trim_zeros(a1, "f"), trim_zeros(a2, "f")
    a1, a2 = (v if v.shape[0] else lax.full((1,), 0, v.dtype) for v in (a1, a2))
    return convolve(a1, a2, precision="highest")


def polydiv(u: ArrayLike, v: ArrayLike, *, trim_leading_zeros: bool = False) -> tuple[Array, Array]:
    """(quotient, remainder) of two polynomials.

    >>> jnp.polydiv(jnp.array([1.0, 0.0, -1.0]), jnp.array([1.0, 1.0]))[0]
    Array([ 1., -1.], dtype=float32)
    """
    u, v = (_vector("polydiv", x) for x in promote_dtypes_inexact("polydiv", u, v))
    m, n = u.shape[0] - 1, v.shape[0] - 1
    quotient = lax.full((max(m - n + 1, 1),), 0, u.dtype)
    scale = lax.div(literal(1, v.dtype), get_item(v, 0))
    for k in range(m - n + 1):
        d = lax.mul(scale, get_item(u, k))
        quotient = quotient.at[k].set(d)
        u = u.at[k : k + n + 1].add(lax.neg(lax.mul(d, v)))
    if trim_leading_zeros:
        kept = trim_zeros(u, "f")
        u = kept if kept.shape[0] else lax.full((1,), 0, u.dtype)
    return quotient, u


@compiled
def polyder(p: ArrayLike, m: int = 1) -> Array:
    """The m-th derivative.

    >>> jnp.polyder(jnp.array([3, 2, 1]))
    Array([6., 2.], dtype=float32)
    """
    (p,) = promote_dtypes_inexact("polyder", _vector("polyder", p))
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of derivative must be positive")
    if m == 0:
        return p
    n = p.shape[0]
    if m >= n:
        return lax.full((0,), 0, p.dtype)
    powers = np.arange(n - 1, m - 1, -1)
    factors = np.prod([powers - k for k in range(m)], axis=0)
    return lax.mul(lax.slice_in_dim(p, 0, n - m), cast_numpy(factors, p.dtype))


def polyint(p: ArrayLike, m: int = 1, k: Any = None) -> Array:
    """The m-th antiderivative, with constants of integration k (0 by default).

    >>> jnp.polyint(jnp.array([6.0, 2.0]))
    Array([3., 2., 0.], dtype=float32)
    """
    m = operator.index(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    p, k = promote_dtypes_inexact("polyint", _vector("polyint", p), 0 if k is None else k)
    p, k = as_array(p), as_array(k)
    k = lax.reshape(k, (k.size,))
    if m == 0:
        return p
    if k.shape[0] not in (1, m):
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or m.")
    k = expand_to(k, (m,))
    n = p.shape[0]
    joined = lax.concatenate([p, k], 0)
    powers = np.maximum(np.arange(n + m - 1, -1, -1), 0)
    # A coefficient of the power j was integrated i times: divided by j (j-1) ... , one factor each time.
    factors = np.ones(n + m)
    for place, power in enumerate(powers):
        times = min(m, power) if place < n else power
        factors[place] = np.prod([power - i for i in range(times)]) if times else 1.0
    return lax.div(joined, cast_numpy(factors, joined.dtype))


def poly(seq_of_zeros: ArrayLike) -> Array:
    """The monic polynomial with these roots, or the characteristic polynomial of a square matrix.

    >>> jnp.poly(jnp.array([1.0, 2.0]))
    Array([ 1., -3.,  2.], dtype=float32)
    """
    check_arraylike("poly", seq_of_zeros)
    x = as_array(promote_dtypes_inexact("poly", seq_of_zeros)[0])
    x = lax.reshape(x, (1,)) if x.ndim == 0 else x
    if x.ndim == 2 and x.shape[0] == x.shape[1] and x.shape[0]:
        x = linalg.eigvals(x)
    if x.ndim != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    out = lax.full((1,), 1, x.dtype)
    for i in range(x.shape[0]):
        root = lax.slice_in_dim(x, i, i + 1)
        zero = lax.full((1,), 0, x.dtype)
        out = lax.sub(
            lax.concatenate([out, zero], 0), lax.mul(lax.concatenate([zero, out], 0), expand_to(root, (i + 2,)))
        )
    return out


def roots(p: ArrayLike, *, strip_zeros: bool = True) -> Array:
    """The roots, as eigenvalues of the companion matrix. Under jit pass strip_zeros=False: a nan for each leading 0.

    >>> jnp.sort(jnp.roots(jnp.array([1.0, -3.0, 2.0])).real)
    Array([1., 2.], dtype=float32)
    """
    p = as_array(promote_dtypes_inexact("roots", _vector("roots", p))[0])
    if p.ndim != 1:
        raise ValueError("Input must be a rank-1 array.")
    if not strip_zeros:
        return _roots_of_any(p)
    used = np.nonzero(concrete(p, "roots with strip_zeros=True"))[0]
    if not used.size:
        return lax.full((0,), 0, complex_dtype(p.dtype))
    found = _companion_roots(lax.slice_in_dim(p, int(used[0]), int(used[-1]) + 1))
    return lax.concatenate([found, lax.full((p.shape[0] - 1 - int(used[-1]),), 0, found.dtype)], 0)


def _roots_of_any(p: Array) -> Array:
    """The roots of a polynomial whose leading coefficients may be 0: a nan for each of these at the end."""
    n = p.shape[0]
    if n < 2:
        return lax.full((0,), 0, complex_dtype(p.dtype))
    is_zero = lambda x: lax.convert_element_type(lax.eq(x, cast_numpy(0, x.dtype)), np.int32)
    leading = reductions.sum(lax.cumprod(is_zero(p)))
    turned = lax.dynamic_slice_in_dim(lax.concatenate([p, p], 0), leading, n)
    found = _companion_roots(where(lax.eq(leading, n), 1.0, turned))
    found = lax.sort_key_val(is_zero(found), found)[1]
    return where(lax.lt(lax.iota(np.int32, n - 1), lax.sub(n - 1, leading)), found, complex(np.nan, np.nan))


def _companion_roots(p: Array) -> Array:
    n = p.shape[0]
    found = lax.full((0,), 0, complex_dtype(p.dtype))
    if n > 1:
        row = lax.neg(lax.div(lax.slice_in_dim(p, 1, n), get_item(p, 0)))
        companion = diag(lax.full((n - 2,), 1, p.dtype), -1) if n > 2 else lax.full((1, 1), 0, p.dtype)
        found = linalg.eigvals(companion.at[0, :].set(row))
    return found


def polyfit(
    x: ArrayLike,
    y: ArrayLike,
    deg: int,
    rcond: float | None = None,
    full: bool = False,
    w: ArrayLike | None = None,
    cov: Any = False,
) -> Any:
    """The polynomial of a degree with the least squared error, by a scaled Vandermonde system.

    >>> jnp.polyfit(jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 5.0]), 1).round(3)
    Array([2., 1.], dtype=float32)
    """
    check_arraylike("polyfit", x, y)
    x, y = (as_array(v) for v in promote_dtypes_inexact("polyfit", x, y))
    deg = operator.index(deg)
    _check_fit(x, y, deg)
    rcond = (
        x.shape[0] * float(np.finfo(np.float32 if x.dtype.itemsize < 8 else np.float64).eps) if rcond is None else rcond
    )
    left, right = vander(x, deg + 1), y
    if w is not None:
        w = lax.convert_element_type(as_array(w), x.dtype)
        if w.ndim != 1 or w.shape[0] != y.shape[0]:
            raise (TypeError if w.ndim != 1 else ValueError)("expected a 1-d array for weights as long as y")
        left = lax.mul(left, lax.broadcast_in_dim(w, left.shape, (0,)))
        right = lax.mul(right, lax.broadcast_in_dim(w, right.shape, (0,)))
    scale = lax.sqrt(reductions.sum(lax.square(left), 0))
    left = lax.div(left, lax.broadcast_in_dim(scale, left.shape, (1,)))
    c, residuals, rank, s = linalg.lstsq(left, right, rcond)
    c = lax.div(c, lax.broadcast_in_dim(scale, c.shape, (0,)))
    if full:
        return c, residuals, rank, s, as_array(np.asarray(rcond, np.float32))
    if not cov:
        return c
    base = linalg.inv(dot(lax.transpose(left, (1, 0)), left))
    base = lax.div(base, outer(scale, scale))
    if cov == "unscaled":
        return c, base
    if x.shape[0] <= deg + 1:
        raise ValueError("the number of data points must exceed order to scale the covariance matrix")
    factor = lax.div(residuals, cast_numpy(x.shape[0] - deg - 1, residuals.dtype))
    if y.ndim == 1:
        return c, lax.mul(base, lax.reshape(factor, ()))
    wide = (*base.shape, factor.shape[0])
    return c, lax.mul(lax.broadcast_in_dim(base, wide, (0, 1)), lax.broadcast_in_dim(factor, wide, (2,)))


def _check_fit(x: Array, y: Array, deg: int) -> None:
    if deg < 0:
        raise ValueError("expected deg >= 0")
    if x.ndim != 1:
        raise TypeError("expected 1D vector for x")
    if x.size == 0:
        raise TypeError("expected non-empty vector for x")
    if y.ndim not in (1, 2):
        raise TypeError("expected 1D or 2D array for y")
    if x.shape[0] != y.shape[0]:
        raise TypeError("expected x and y to have same length")

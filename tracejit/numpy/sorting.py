"""Maps arrays to sorted arrays, orders and positions in sorted arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype, is_inexact
from tracejit.numpy.compiled import compiled
from tracejit.numpy.indexing import get_item
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    concrete_int,
    expand_to,
    promote_dtypes,
)


def _axis_to_sort(name: str, a: ArrayLike, axis: int | None, kind: Any = None, order: Any = None) -> tuple[Array, int]:
    if kind is not None:
        raise TypeError(f"'kind' argument to jnp.{name} is not supported: use stable=True or stable=False")
    if order is not None:
        raise TypeError(f"'order' argument to jnp.{name} is not supported.")
    check_arraylike(name, a)
    x = as_array(a)
    if axis is None:
        return lax.reshape(x, (x.size,)), 0
    return x, canonical_axis(axis, x.ndim)


@compiled
def sort(
    a: ArrayLike,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
) -> Array:
    """Sorted along an axis (flattened if None); nan last.

    >>> jnp.sort(jnp.array([3, 1, 2]), descending=True)
    Array([3, 2, 1], dtype=int32)
    """
    x, axis = _axis_to_sort("sort", a, axis, kind, order)
    out = lax.sort(x, dimension=axis, is_stable=stable)
    return lax.rev(out, (axis,)) if descending else out


@compiled
def argsort(
    a: ArrayLike,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
    dtype: DTypeLike | None = None,
) -> Array:
    """The order that sorts an axis (flattened if None); nan last.

    >>> jnp.argsort(jnp.array([3, 1, 2]))
    Array([1, 2, 0], dtype=int32)
    """
    x, axis = _axis_to_sort("argsort", a, axis, kind, order)
    dtype = default_dtype("i") if dtype is None else np.dtype(dtype)
    places = lax.broadcasted_iota(dtype, x.shape, axis)
    if not descending:
        return lax.sort((x, places), dimension=axis, is_stable=stable, num_keys=1)[1]
    # Equal elements must keep their order: sort the reversed axis, and reverse the result.
    _, out = lax.sort((lax.rev(x, (axis,)), lax.rev(places, (axis,))), dimension=axis, is_stable=stable, num_keys=1)
    return lax.rev(out, (axis,))


@compiled
def sort_complex(a: ArrayLike) -> Array:
    """Sorted by real part, then imaginary part, as complex numbers.

    >>> jnp.sort_complex(jnp.array([2.0, 1.0]))
    Array([1.+0.j, 2.+0.j], dtype=complex64)
    """
    out = sort(a)
    wide = (
        np.dtype("complex128") if out.dtype in (np.dtype("float64"), np.dtype("complex128")) else np.dtype("complex64")
    )
    return lax.convert_element_type(out, wide)


def lexsort(keys: Any, axis: int = -1) -> Array:
    """The order that sorts by several keys, the last being the most significant.

    >>> jnp.lexsort((jnp.array([2, 1, 0]), jnp.array([0, 0, 1])))
    Array([1, 0, 2], dtype=int32)
    """
    keys = [as_array(k) for k in keys]
    if not keys:
        raise TypeError("need sequence of keys with len > 0 in lexsort")
    if len({k.shape for k in keys}) > 1:
        raise ValueError("all keys need to be the same shape")
    if keys[0].ndim == 0:
        return lax.full((), 0, default_dtype("i"))
    axis = canonical_axis(axis, keys[0].ndim)
    places = lax.broadcasted_iota(default_dtype("i"), keys[0].shape, axis)
    return lax.sort((*keys[::-1], places), dimension=axis, num_keys=len(keys))[-1]


def partition(a: ArrayLike, kth: int, axis: int = -1) -> Array:
    """Rearranged so that element kth is where sorting puts it, with no larger ones before and no smaller ones behind.

    >>> jnp.partition(jnp.array([3, 1, 2]), 0)[0]
    Array(1, dtype=int32)
    """
    x, axis = _axis_to_sort("partition", a, axis)
    _check_kth("partition", x, kth, axis)
    return lax.sort(x, dimension=axis)


def argpartition(a: ArrayLike, kth: int, axis: int = -1) -> Array:
    """The indices by which `partition` rearranges.

    >>> jnp.argpartition(jnp.array([3, 1, 2]), 0)[0]
    Array(1, dtype=int32)
    """
    x, axis = _axis_to_sort("argpartition", a, axis)
    _check_kth("argpartition", x, kth, axis)
    return argsort(x, axis)


def _check_kth(name: str, x: Array, kth: Any, axis: int) -> None:
    if x.dtype.kind == "c":
        raise NotImplementedError(f"jnp.{name} for complex dtype is not implemented.")
    canonical_axis(concrete_int(kth, "kth"), x.shape[axis])


# --- searching sorted arrays -------------------------------------------------------------------------


@compiled
def searchsorted(
    a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None, *, method: str = "scan"
) -> Array:
    """Where v would go in the sorted vector a: before ("left") or behind ("right") equal elements.

    method: "scan" and "scan_unrolled" bisect, "sort" sorts both together, "compare_all" compares every pair.

    >>> jnp.searchsorted(jnp.array([1, 3, 5]), jnp.array([0, 3, 9]))
    Array([0, 1, 3], dtype=int32)
    """
    if side not in ("left", "right"):
        raise ValueError(f"{side!r} is an invalid value for keyword 'side'. Expected one of ['left', 'right'].")
    if method not in ("scan", "scan_unrolled", "sort", "compare_all"):
        raise ValueError(
            f"{method!r} is an invalid value for keyword 'method'. Expected one of "
            "['sort', 'scan', 'scan_unrolled', 'compare_all']."
        )
    check_arraylike("searchsorted", a, v)
    a, v = (as_array(x) for x in promote_dtypes("searchsorted", a, v))
    if a.ndim != 1:
        raise ValueError("a should be 1-dimensional")
    if sorter is not None:
        check_arraylike("searchsorted", sorter)
        a = get_item(a, (as_array(sorter),))
    if a.shape[0] == 0 or v.size == 0:
        return lax.full(v.shape, 0, default_dtype("i"))
    search = _by_comparing_all if method == "compare_all" else _by_bisection
    return search(a, v, side)


def sorts_before(x: Array, y: Array) -> Array:
    """x < y in the order of sort: nan after every number, complex numbers by real part first."""
    if x.dtype.kind == "c":
        rx, ry = lax.real(x), lax.real(y)
        same = lax.bitwise_not(lax.bitwise_or(sorts_before(rx, ry), sorts_before(ry, rx)))
        return lax.select(same, sorts_before(lax.imag(x), lax.imag(y)), sorts_before(rx, ry))
    less = lax.lt(x, y)
    if not is_inexact(x.dtype):
        return less
    return lax.bitwise_or(less, lax.bitwise_and(lax.ne(y, y), lax.eq(x, x)))


def _goes_behind(element: Array, v: Array, side: str) -> Array:
    """Whether v goes behind this element of a."""
    return sorts_before(element, v) if side == "left" else lax.bitwise_not(sorts_before(v, element))


def _by_comparing_all(a: Array, v: Array, side: str) -> Array:
    shape = (*v.shape, a.shape[0])
    behind = _goes_behind(
        lax.broadcast_in_dim(a, shape, (len(shape) - 1,)), lax.broadcast_in_dim(v, shape, tuple(range(v.ndim))), side
    )
    return lax.reduce_sum(lax.convert_element_type(behind, default_dtype("i")), (v.ndim,))


def _by_bisection(a: Array, v: Array, side: str) -> Array:
    """The answer is in [low, low + 2 ** step): each round reads one element and halves that."""
    n, dtype = a.shape[0], default_dtype("i")
    rounds = n.bit_length()

    def halve(k: Array, low: Array) -> Array:
        width = lax.shift_left(
            cast_numpy(1, dtype), lax.sub(cast_numpy(rounds - 1, dtype), lax.convert_element_type(k, dtype))
        )
        middle = lax.add(low, expand_to(width, v.shape))
        inside = lax.le(middle, cast_numpy(n, dtype))
        element = get_item(a, (lax.min(lax.sub(middle, cast_numpy(1, dtype)), cast_numpy(n - 1, dtype)),))
        return lax.select(lax.bitwise_and(inside, _goes_behind(element, v, side)), middle, low)

    return lax.fori_loop(0, rounds, halve, lax.full(v.shape, 0, dtype))


@compiled
def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False, *, method: str | None = None) -> Array:
    """The number of the bin that each x falls in; bins may rise or fall.

    >>> jnp.digitize(jnp.array([0.5, 2.5]), jnp.array([0.0, 1.0, 2.0]))
    Array([1, 3], dtype=int32)
    """
    check_arraylike("digitize", x, bins)
    bins = as_array(bins)
    if bins.ndim != 1:
        raise ValueError(f"digitize: bins must be a 1-dimensional array; got bins={bins}")
    if bins.shape[0] == 0:
        return lax.full(np.shape(x), 0, default_dtype("i"))
    side, method = "left" if right else "right", method or "scan"
    n = bins.shape[0]
    rising = searchsorted(bins, x, side, method=method)
    falling = searchsorted(lax.rev(bins, (0,)), x, side, method=method)
    up = lax.ge(lax.index_in_dim(bins, n - 1, 0, keepdims=False), lax.index_in_dim(bins, 0, 0, keepdims=False))
    return lax.select(up, rising, lax.sub(cast_numpy(n, rising.dtype), falling))


def trim_zeros(filt: ArrayLike, trim: str = "fb", axis: Any = None) -> Array:
    """Without leading ("f") and trailing ("b") zeros; the values must be known.

    >>> jnp.trim_zeros(jnp.array([0, 1, 0, 2, 0]))
    Array([1, 0, 2], dtype=int32)
    """
    x = as_array(np.asarray(filt) if isinstance(filt, (list, tuple)) else filt)
    values = np.asarray(x) != 0
    axes = (
        tuple(range(x.ndim))
        if axis is None
        else tuple(canonical_axis(i, x.ndim) for i in ((axis,) if np.ndim(axis) == 0 else axis))
    )
    index = [slice(None)] * x.ndim
    for i in axes:
        used = np.nonzero(values.any(axis=tuple(k for k in range(x.ndim) if k != i)))[0]
        low = (used[0] if used.size else x.shape[i]) if "f" in trim.lower() else 0
        high = (used[-1] + 1 if used.size else low) if "b" in trim.lower() else x.shape[i]
        index[i] = slice(int(low), int(high))
    return get_item(x, tuple(index))

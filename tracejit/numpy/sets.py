"""Maps arrays to sets: unique elements, membership, union, intersection, differences. Under jit the sizes are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype, is_inexact
from tracejit.numpy import reductions
from tracejit.numpy.indexing import get_item
from tracejit.numpy.joining import concatenate
from tracejit.numpy.logic import isnan
from tracejit.numpy.manipulation import moveaxis, ravel
from tracejit.numpy.promotion import (
    SIZED,
    Array,
    ArrayLike,
    as_array,
    canonical_axis,
    check_arraylike,
    concrete,
    convert,
    expand_to,
    promote_dtypes,
)
from tracejit.numpy.selection import choose_by, places_of
from tracejit.numpy.sorting import searchsorted

INT = np.dtype("int32")


class UniqueAllResult(NamedTuple):
    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCountsResult(NamedTuple):
    values: Array
    counts: Array


class UniqueInverseResult(NamedTuple):
    values: Array
    inverse_indices: Array


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
    sorted: bool = True,
) -> Any:
    """The distinct elements (or slices of an axis), sorted. Under jit `size` says how many; missing are fill_value.

    return_index: where each is found first; return_inverse: which of them each element is; return_counts: how often.

    >>> jnp.unique(jnp.array([3, 1, 3]), return_counts=True)
    (Array([1, 3], dtype=int32), Array([1, 2], dtype=int32))
    """
    check_arraylike("unique", ar)
    x = as_array(ar)
    shape = x.shape
    if axis is None:
        rows = lax.reshape(x, (x.size, 1))
        inner: tuple[int, ...] = ()
    else:
        axis = canonical_axis(axis, x.ndim)
        x = moveaxis(x, axis, 0)
        inner = x.shape[1:]
        rows = lax.reshape(x, (x.shape[0], int(np.prod(inner))))
    values, index, inverse, counts = _unique_rows(
        rows, equal_nan, size, fill_value, return_index, return_inverse, return_counts
    )
    values = lax.reshape(values, (values.shape[0], *inner))
    out = [values if axis is None else moveaxis(values, 0, axis)]
    if return_index:
        out.append(index)
    if return_inverse:
        out.append(lax.reshape(inverse, shape) if axis is None else inverse)
    if return_counts:
        out.append(counts)
    return out[0] if len(out) == 1 else tuple(out)


def _unique_rows(
    rows: Array,
    equal_nan: bool,
    size: int | None,
    fill_value: Any,
    want_index: bool,
    want_inverse: bool,
    want_counts: bool,
) -> tuple:
    n, width = rows.shape
    if n == 0:
        return _unique_of_nothing(rows, size, fill_value)
    columns = [lax.reshape(lax.slice_in_dim(rows, j, j + 1, axis=1), (n,)) for j in range(width)]
    if not columns:
        columns = [lax.full((n,), 0, INT)]
    *_, order = lax.sort((*columns, lax.iota(INT, n)), dimension=0, is_stable=True, num_keys=len(columns))
    ordered = get_item(rows, (order,))
    first = _first_of_run(ordered, equal_nan)
    count = int(concrete(reductions.sum(first), "unique without size=", SIZED)) if size is None else size
    bounds = places_of(first, size=count + 1, fill_value=n)[0]
    starts = lax.slice_in_dim(bounds, 0, count)
    values = get_item(ordered, (lax.min(starts, np.int32(n - 1)),))
    present = lax.lt(starts, np.int32(n))
    if size is not None:
        fill = (
            lax.slice_in_dim(ordered, 0, 1)
            if fill_value is None
            else expand_to(convert(fill_value, rows.dtype), (1, width))
        )
        values = choose_by(lax.expand_dims(present, (1,)), values, fill)
    index = inverse = counts = None
    if want_index:
        index = get_item(order, (lax.min(starts, np.int32(n - 1)),))
        missing = (
            lax.full_like(index, 0) if fill_value is not None else expand_to(lax.slice_in_dim(order, 0, 1), index.shape)
        )
        index = lax.select(present, index, missing)
    if want_inverse:
        rank = lax.sub(lax.cumsum(lax.convert_element_type(first, INT), 0), np.int32(1))
        inverse = lax.full((n,), 0, INT).at[order].set(rank, unique_indices=True)
    if want_counts:
        counts = lax.sub(lax.slice_in_dim(bounds, 1, count + 1), starts)
    return values, *[x if x is None else convert(x, default_dtype("i")) for x in (index, inverse, counts)]


def _first_of_run(ordered: Array, equal_nan: bool) -> Array:
    """Which sorted rows differ from the row before."""
    n = ordered.shape[0]
    ahead, behind = lax.slice_in_dim(ordered, 1, n), lax.slice_in_dim(ordered, 0, n - 1)
    differs = lax.ne(ahead, behind)
    if equal_nan and is_inexact(ordered.dtype):
        both = lax.bitwise_and(isnan(ahead), isnan(behind))
        differs = lax.bitwise_and(differs, lax.bitwise_not(both))
    return lax.concatenate([lax.full((1,), True, np.dtype(bool)), lax.reduce_or(differs, (1,))], 0)


def _unique_of_nothing(rows: Array, size: int | None, fill_value: Any) -> tuple:
    if size and fill_value is None:
        raise ValueError("jnp.unique: for zero-sized input with nonzero size argument, fill_value must be specified")
    count = size or 0
    values = lax.full((count, rows.shape[1]), 0 if fill_value is None else fill_value, rows.dtype)
    zeros = lax.full((count,), 0, default_dtype("i"))
    return values, zeros, lax.full((0,), 0, zeros.dtype), zeros


def unique_all(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None) -> UniqueAllResult:
    """(values, indices, inverse_indices, counts) of the distinct elements; nans count as different.

    >>> jnp.unique_all(jnp.array([3, 1, 3])).counts
    Array([1, 2], dtype=int32)
    """
    return UniqueAllResult(*unique(x, True, True, True, equal_nan=False, size=size, fill_value=fill_value))


def unique_counts(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueCountsResult:
    """(values, counts) of the distinct elements; nans count as different.

    >>> jnp.unique_counts(jnp.array([3, 1, 3])).values
    Array([1, 3], dtype=int32)
    """
    return UniqueCountsResult(*unique(x, return_counts=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_inverse(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueInverseResult:
    """(values, inverse_indices) of the distinct elements; nans count as different.

    >>> jnp.unique_inverse(jnp.array([3, 1, 3])).inverse_indices
    Array([1, 0, 1], dtype=int32)
    """
    return UniqueInverseResult(*unique(x, return_inverse=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_values(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The distinct elements; nans count as different.

    >>> jnp.unique_values(jnp.array([3, 1, 3]))
    Array([1, 3], dtype=int32)
    """
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


# --- membership --------------------------------------------------------------------------------------


def isin(
    element: ArrayLike,
    test_elements: ArrayLike,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    method: str = "auto",
) -> Array:
    """Which elements are among test_elements. method: "compare_all", "binary_search", "sort" or "auto".

    >>> jnp.isin(jnp.array([1, 2, 3]), jnp.array([2, 3]))
    Array([False,  True,  True], dtype=bool)
    """
    x, tests = (as_array(v) for v in promote_dtypes("isin", element, test_elements))
    tests = ravel(tests)
    if method not in ("auto", "compare_all", "binary_search", "sort"):
        raise ValueError(f"Unrecognized method: {method!r}")
    if x.size == 0 or tests.size == 0:
        found = lax.full(x.shape, False, np.dtype(bool))
    elif method == "compare_all" or (method == "auto" and tests.size <= 16):
        shape = (*x.shape, tests.size)
        same = lax.eq(
            lax.broadcast_in_dim(x, shape, tuple(range(x.ndim))), lax.broadcast_in_dim(tests, shape, (x.ndim,))
        )
        found = lax.reduce_or(same, (x.ndim,))
    else:
        tests = lax.sort(tests)
        place = lax.min(searchsorted(tests, x), np.int32(tests.size - 1))
        found = lax.eq(get_item(tests, (place,)), x)
    return lax.bitwise_not(found) if invert else found


def union1d(ar1: ArrayLike, ar2: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The distinct elements of both.

    >>> jnp.union1d(jnp.array([1, 2]), jnp.array([2, 3]))
    Array([1, 2, 3], dtype=int32)
    """
    check_arraylike("union1d", ar1, ar2)
    joined = concatenate([ravel(ar1), ravel(ar2)])
    return unique(joined, size=size, fill_value=fill_value)


def setdiff1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Array:
    """The distinct elements of ar1 that are not in ar2.

    >>> jnp.setdiff1d(jnp.array([1, 2, 3]), jnp.array([2]))
    Array([1, 3], dtype=int32)
    """
    check_arraylike("setdiff1d", ar1, ar2)
    x = ravel(ar1)
    if x.size == 0:
        return lax.full((size or 0,), 0 if fill_value is None else fill_value, x.dtype)
    if size is None:
        x = x if assume_unique else unique(x)
        return get_item(x, (isin(x, ar2, invert=True),))
    if not assume_unique:
        x, keep = _first_occurrences(x)
    else:
        keep = lax.full(x.shape, True, np.dtype(bool))
    keep = lax.bitwise_and(keep, isin(x, ar2, invert=True))
    return _picked(x, keep, size, 0 if fill_value is None else fill_value)


def _first_occurrences(x: Array) -> tuple[Array, Array]:
    ordered = lax.sort(x)
    return ordered, _first_of_run(lax.expand_dims(ordered, (1,)), equal_nan=True)


def _picked(x: Array, keep: Array, size: int | None, fill_value: Any) -> Array:
    """The elements to keep, `size` of them; missing ones are fill_value, or the smallest kept."""
    if size is None:
        return get_item(x, (keep,))
    places = places_of(keep, size=size, fill_value=x.shape[0])[0]
    values = get_item(x, (places,))
    present = lax.lt(places, np.int32(x.shape[0]))
    if fill_value is None:
        fill = lax.slice_in_dim(values, 0, 1) if size else lax.full((1,), 0, x.dtype)
        any_kept = reductions.any(keep)
        fill = lax.select(expand_to(any_kept, (1,)), fill, lax.full((1,), 0, x.dtype))
    else:
        fill = expand_to(convert(fill_value, x.dtype), (1,))
    return choose_by(present, values, fill)


def setxor1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Array:
    """The elements that are in exactly one of the two.

    >>> jnp.setxor1d(jnp.array([1, 2]), jnp.array([2, 3]))
    Array([1, 3], dtype=int32)
    """
    check_arraylike("setxor1d", ar1, ar2)
    a, b = promote_dtypes("setxor1d", ravel(ar1), ravel(ar2))
    ordered, source = _sorted_pair(a, b)
    n = ordered.shape[0]
    if n == 0:
        return ordered
    first, last = _run_ends(ordered)
    from_a, from_b = _run_sources(source, first)
    keep = lax.bitwise_and(first, lax.ne(from_a, from_b))
    return _picked(ordered, keep, size, fill_value)


def _sorted_pair(a: Array, b: Array) -> tuple[Array, Array]:
    """(both sorted together, which came from the second)."""
    joined = concatenate([as_array(a), as_array(b)])
    source = lax.concatenate([lax.full((np.size(a),), 0, INT), lax.full((np.size(b),), 1, INT)], 0)
    return tuple(lax.sort((joined, source), dimension=0, num_keys=1, is_stable=True))


def _run_ends(ordered: Array) -> tuple[Array, Array]:
    first = _first_of_run(lax.expand_dims(ordered, (1,)), equal_nan=False)
    n = ordered.shape[0]
    return first, lax.concatenate([lax.slice_in_dim(first, 1, n), lax.full((1,), True, np.dtype(bool))], 0)


def _run_sources(source: Array, first: Array) -> tuple[Array, Array]:
    """For each sorted element: does its run of equal elements hold one of the first set, one of the second?"""
    run = lax.sub(lax.cumsum(lax.convert_element_type(first, INT), 0), np.int32(1))
    n = source.shape[0]
    in_b = lax.full((n,), 0, INT).at[run].max(source)
    in_a = lax.full((n,), 0, INT).at[run].max(lax.sub(np.int32(1), source))
    return lax.eq(get_item(in_a, (run,)), np.int32(1)), lax.eq(get_item(in_b, (run,)), np.int32(1))


def intersect1d(
    ar1: ArrayLike,
    ar2: ArrayLike,
    assume_unique: bool = False,
    return_indices: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Any:
    """The distinct elements that are in both; with return_indices also where each is found first.

    >>> jnp.intersect1d(jnp.array([1, 2, 3]), jnp.array([2, 3, 4]))
    Array([2, 3], dtype=int32)
    """
    check_arraylike("intersect1d", ar1, ar2)
    a, b = (as_array(v) for v in promote_dtypes("intersect1d", ravel(ar1), ravel(ar2)))
    if a.size == 0 or b.size == 0:
        values = lax.full((size or 0,), 0 if fill_value is None else fill_value, a.dtype)
        nothing = lax.full((size or 0,), 0, INT)
        return (values, nothing, nothing) if return_indices else values
    order = lax.sort((a, lax.iota(INT, a.size)), dimension=0, num_keys=1, is_stable=True)
    ordered, where_a = order
    b_sorted, where_b = lax.sort((b, lax.iota(INT, b.size)), dimension=0, num_keys=1, is_stable=True)
    place = lax.min(searchsorted(b_sorted, ordered), np.int32(b.size - 1))
    first = _first_of_run(lax.expand_dims(ordered, (1,)), equal_nan=False)
    keep = lax.bitwise_and(first, lax.eq(get_item(b_sorted, (place,)), ordered))
    values = _picked(ordered, keep, size, fill_value)
    if not return_indices:
        return values
    found_b = get_item(where_b, (place,))
    if size is None:
        return values, get_item(where_a, (keep,)), get_item(found_b, (keep,))
    return values, _picked(where_a, keep, size, a.size), _picked(found_b, keep, size, b.size)

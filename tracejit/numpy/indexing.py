"""Maps x[index] and x.at[index] to gathers and scatters; for known arrays, to compiled programs.

A program is made for the kind of index (which axes are sliced, to what size, which are picked by an integer or an
array); the numbers themselves are its data, so that x[i:i + 10] in a Python loop is compiled once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.trace import current_builder
from tracejit.numpy.creation import asarray
from tracejit.numpy.gathering import (
    SCATTERS,
    block_shape,
    cast_update,
    is_whole_mask,
    read_entries,
    set_where,
    update_box,
    update_entries,
)
from tracejit.numpy.index_plan import GAP, INT32, NEW_AXIS, Pick, Span, Window, entries_of, index_dtype
from tracejit.numpy.promotion import Array, ArrayLike, as_array, check_arraylike, convert
from tracejit.runtime.array import CONCRETE, ArrayImpl, view_of
from tracejit.runtime.eager import eager

# --- the kind of an index, and its numbers -----------------------------------------------------------

BOUNDS = (int, type(None))
WHOLE, AT, PICK, NEW, PARTED = "whole", "at", "pick", "new", "parted"  # a window is ("window", size); else the Span


def kind_of_index(entries: list, shape: tuple[int, ...], clamp: bool) -> tuple[tuple, list] | None:
    """(what stays the same in a loop, the numbers); None for an integer out of bounds (unless clamped), a scalar mask or ds."""
    kinds, numbers, sizes = [], [], iter(shape)
    for e in entries:
        if e is NEW_AXIS or e is GAP:
            kinds.append(NEW if e is NEW_AXIS else PARTED)
            continue
        if isinstance(e, Window) or isinstance(e, Pick) and not e.consumes:
            return None
        n = next(sizes)
        if isinstance(e, Span):
            window = e.step == 1 and 0 < e.size < n
            kinds.append(WHOLE if e.step == 1 and e.size == n else ("window", e.size) if window else e)
            numbers += [e.start] if window else []
        elif isinstance(e.index, int):
            if not clamp and not -n <= e.index < n or not n:
                return None
            kinds.append(AT)
            numbers.append(min(max(e.index + n if e.index < 0 else e.index, 0), n - 1))
        else:
            kinds.append(PICK)
            numbers.append(e.index)
    return tuple(kinds), numbers


def kind_of_plain(idx: Any, shape: tuple[int, ...]) -> tuple[tuple, list] | None:
    """`kind_of_index` of integers in bounds and slices of neighbours, found without resolving; None for anything else."""
    items = idx if idx.__class__ is tuple else (idx,)
    if len(items) > len(shape):
        return None
    kinds, numbers = [WHOLE] * len(shape), []
    for axis, i in enumerate(items):
        n = shape[axis]
        if i.__class__ is int and -n <= i < n:
            kinds[axis] = AT
            numbers.append(i + n if i < 0 else i)
        elif i.__class__ is slice and i.step is None and i.start.__class__ in BOUNDS and i.stop.__class__ in BOUNDS:
            start, stop, _ = i.indices(n)
            if start >= stop:
                return None
            if stop - start < n:
                kinds[axis] = "window", stop - start
                numbers.append(start)
        else:
            return None
    return tuple(kinds), numbers


def entries_of_kind(shape: tuple[int, ...], kinds: tuple, numbers: Iterator) -> tuple[list, list, list]:
    """(the entries left once a box is cut out, where the box starts, its sizes)."""
    entries, starts, box = [], [], []
    for kind in kinds:
        if kind == NEW or kind == PARTED:
            entries.append(NEW_AXIS if kind == NEW else GAP)
            continue
        n = shape[len(box)]
        size = 1 if kind == AT else kind[1] if kind[0] == "window" else n
        moves = size != n or kind == AT or kind[0] == "window"
        starts.append(lax.convert_element_type(next(numbers), index_dtype(n)) if moves else np.int32(0))
        box.append(size)
        is_span = isinstance(kind, Span)
        entries.append(Pick(0) if kind == AT else Pick(next(numbers)) if kind == PICK else kind if is_span else Span(0, size, 1))
    return entries, starts, box


# --- reading -----------------------------------------------------------------------------------------

def get_item(x: Array, idx: Any) -> Array:
    """x[idx], exactly as in NumPy, except that out-of-bounds numbers are clamped."""
    return read(x, idx)


def read(
    x: Array,
    idx: Any,
    mode: Any = None,
    fill_value: Any = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    wrap_negative_indices: bool = True,
) -> Array:
    """x[idx] with the options of x.at[idx].get."""
    known = x.__class__ is ArrayImpl and current_builder() is None
    if known and mode is None and _is_mask_index(idx):
        return as_array(np.asarray(x)[_on_host(idx)])  # as long as the mask says: no program fits the next mask
    options = (mode, fill_value, indices_are_sorted, unique_indices, wrap_negative_indices)
    kind = kind_of_plain(idx, x.shape) if known and mode is None and wrap_negative_indices else None
    if kind is not None:
        return reader(kind[0], (None, None, False, False, True))(x, *kind[1])
    entries = entries_of(x.shape, idx)
    if known and not isinstance(fill_value, (Array, np.ndarray)):
        kind = kind_of_index(entries, x.shape, clamp=True) if mode is None and wrap_negative_indices else None
        if kind is not None and NEW in kind[0] and all(k in (WHOLE, NEW, PARTED) for k in kind[0]):
            return view_of(x, x.type.update(shape=block_shape(entries)))
        if kind is not None:
            return reader(kind[0], options)(x, *kind[1])
    return read_entries(x, entries, *options)


def _is_mask(i: Any) -> bool:
    return isinstance(i, (*CONCRETE, np.ndarray)) and i.dtype.kind == "b" and i.ndim > 0


def _is_mask_index(idx: Any) -> bool:
    """Whether the index is a known mask, alone or beside slices."""
    if not isinstance(idx, tuple):
        return _is_mask(idx)
    return any(map(_is_mask, idx)) and all(i is None or i is Ellipsis or isinstance(i, slice) or _is_mask(i) for i in idx)


def _on_host(idx: Any) -> Any:
    if isinstance(idx, tuple):
        return tuple(np.asarray(i) if isinstance(i, CONCRETE) else i for i in idx)
    return np.asarray(idx)


@functools.lru_cache(maxsize=4096)
def reader(kinds: tuple, options: tuple) -> Callable:
    """The compiled x[index] for one kind of index."""
    def run(x: Array, *numbers: Any) -> Array:
        entries, starts, box = entries_of_kind(x.shape, kinds, iter(numbers))
        if any(not isinstance(s, np.int32) for s in starts):
            x = lax.dynamic_slice(x, starts, box)
        return read_entries(x, entries, *options)
    return eager(run)


# --- writing -----------------------------------------------------------------------------------------

def is_exact(number: Any, dtype: np.dtype) -> bool:
    """Whether a Python number can enter a program and be converted there: no loss that a warning would be due for."""
    if number.__class__ is float:
        return dtype.kind == "f" and dtype.itemsize >= 4
    return number.__class__ is int and dtype == INT32 and -2**31 <= number < 2**31


def update_at(
    x: ArrayLike,
    idx: Any,
    values: Any,
    how: str,
    *,
    func: Callable | None = None,
    mode: Any = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    wrap_negative_indices: bool = True,
) -> Array:
    """x with the elements at idx set, added to, multiplied, ..., by values that broadcast to x[idx]."""
    check_arraylike("at", x)
    x = as_array(x)
    if mode is not None:
        lax.GatherScatterMode.from_any(mode)  # refuses other names, also where all is known to lie inside
    if how != "apply":
        if isinstance(values, (list, tuple)):   # as in JAX, here only
            values = asarray(values)
        check_arraylike(f".at[].{how}", values)
        values = values if is_exact(values, x.dtype) else cast_update(x, values)
        if how == "set" and is_whole_mask(x, idx) and np.ndim(values) == 0:
            return set_where(x, idx, as_array(convert(values, x.dtype)))
    known = x.__class__ is ArrayImpl and current_builder() is None
    if known and how in SCATTERS and wrap_negative_indices:
        kind = kind_of_plain(idx, x.shape)
        if kind is not None:
            shape = tuple(n if k == WHOLE else k[1] for n, k in zip(x.shape, kind[0], strict=True) if k != AT)
            return box_writer(kind[0], how, shape)(x, values, *kind[1])
    entries = entries_of(x.shape, idx)
    flags = (("indices_are_sorted", indices_are_sorted), ("unique_indices", unique_indices), ("mode", mode))
    if known and how != "apply" and wrap_negative_indices:
        kind = kind_of_index(entries, x.shape, clamp=False)
        if kind is not None:
            return _update_now(x, entries, values, how, flags, *kind)
    values = values if how == "apply" else as_array(convert(values, x.dtype))
    return update_entries(x, entries, values, how, func, wrap_negative_indices, dict(flags))


def _update_now(x: Array, entries: list, values: Array, how: str, flags: tuple, kinds: tuple, numbers: list) -> Array:
    if how in SCATTERS and all(k in (WHOLE, AT, NEW, PARTED) or k[0] == "window" for k in kinds):
        return box_writer(kinds, how, block_shape(entries))(x, values, *numbers)
    # A scatter takes windows as they are: their place is part of the kind.
    spans = tuple(e if isinstance(e, Span) else k for e, k in zip(entries, kinds, strict=True))
    picks = [e.index for e in entries if isinstance(e, Pick)]
    return scatter_writer(spans, how, flags)(x, values, *picks)


@functools.lru_cache(maxsize=4096)
def box_writer(kinds: tuple, how: str, shape: tuple[int, ...]) -> Callable:
    """The compiled x.at[box].how(values) for one kind of box."""
    def run(x: Array, values: Array, *numbers: Any) -> Array:
        values = lax.convert_element_type(values, x.dtype)
        _, starts, box = entries_of_kind(x.shape, kinds, iter(numbers))
        return update_box(x, starts, box, [], values, shape, SCATTERS[how][1])
    return eager(run)


@functools.lru_cache(maxsize=4096)
def scatter_writer(kinds: tuple, how: str, flags: tuple) -> Callable:
    """The compiled x.at[index].how(values) for one kind of index with index arrays."""
    markers = {NEW: NEW_AXIS, PARTED: GAP}

    def run(x: Array, values: Array, *picks: Any) -> Array:
        values = lax.convert_element_type(values, x.dtype)
        numbers = iter(picks)
        entries = [k if isinstance(k, Span) else markers[k] if k in markers else Pick(next(numbers)) for k in kinds]
        return update_entries(x, entries, values, how, None, True, dict(flags))
    return eager(run)


# --- x.at --------------------------------------------------------------------------------------------


class IndexUpdateHelper:
    """x.at: x.at[index] names a place whose methods give a new array with that place changed."""

    __slots__ = ("array",)

    def __init__(self, array: Array):
        self.array = array

    def __getitem__(self, index: Any) -> IndexUpdateRef:
        return IndexUpdateRef(self.array, index)

    def __repr__(self) -> str:
        return f"_IndexUpdateHelper({self.array!r})"


class IndexUpdateRef:
    """x.at[index]: get, set, apply, add, subtract, multiply, divide, power, min, max.

    Each takes mode ("drop" or None: ignore out-of-bounds; "clip"; "promise_in_bounds"), indices_are_sorted,
    unique_indices and wrap_negative_indices.

    >>> jnp.zeros(3).at[1].set(5)
    Array([0., 5., 0.], dtype=float32)
    """

    __slots__ = ("array", "index")

    def __init__(self, array: Array, index: Any):
        self.array, self.index = array, index

    def __repr__(self) -> str:
        return f"_IndexUpdateRef({self.array!r}, {self.index!r})"

    def get(
        self,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: Any = None,
        fill_value: ArrayLike | None = None,
        out_sharding: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """x[index]; out of bounds: clamped, or with mode="fill" fill_value (nan by default)."""
        if mode is None and fill_value is not None:
            mode = "fill"
        return read(self.array, self.index, mode, fill_value, indices_are_sorted, unique_indices, wrap_negative_indices)

    def _update(self, values: Any, how: str, func: Callable | None = None, **options: Any) -> Array:
        return update_at(self.array, self.index, values, how, func=func, **options)

    def set(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
            out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] = values."""
        return self._update(values, "set", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def apply(self, func: Callable, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
              wrap_negative_indices: bool = True) -> Array:
        """x with func applied to each element at index."""
        return self._update(None, "apply", func, mode=mode, indices_are_sorted=indices_are_sorted,
                            unique_indices=unique_indices, wrap_negative_indices=wrap_negative_indices)

    def add(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
            out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] += values; an index given twice is added to twice."""
        return self._update(values, "add", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def subtract(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
                 out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] -= values."""
        return self._update(values, "subtract", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def multiply(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
                 out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] *= values."""
        return self._update(values, "multiply", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    mul = multiply

    def divide(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
               out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] /= values."""
        return self._update(values, "divide", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def power(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
              out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] **= values."""
        return self._update(values, "power", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def min(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
            out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] = minimum(x[index], values)."""
        return self._update(values, "min", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

    def max(self, values: ArrayLike, *, indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None,
            out_sharding: Any = None, wrap_negative_indices: bool = True) -> Array:
        """x with x[index] = maximum(x[index], values)."""
        return self._update(values, "max", mode=mode, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
                            wrap_negative_indices=wrap_negative_indices)

"""Maps a NumPy index (integers, slices, None, Ellipsis, masks, arrays) and a shape to a plan of one gather or scatter.

x[:, i, None, 2:5]  ->  window over axes 0 and 2, one index array for axis 1, a new axis in the result
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit import lax
from tracejit.errors import AxisError, ConcretizationTypeError, DtypeError, NonConcreteBooleanIndexError, ShapeError
from tracejit.ir import trace
from tracejit.numpy.dslice import Slice
from tracejit.numpy.promotion import Array, Var, as_array, cast_numpy, expand_to

INT32, INT64 = np.dtype("int32"), np.dtype("int64")


class Span(NamedTuple):
    """A slice of one axis, resolved against its size: size elements from start in steps."""

    start: int
    size: int
    step: int


class Window(Span):
    """A Span whose start is an array, possibly a traced one: it may lie outside."""


class Pick(NamedTuple):
    """An integer index: static (a Python int or NumPy array) or a traced or device array. axis False: a scalar mask."""

    index: Any
    consumes: bool = True


WHOLE = "convert it with .astype(int), or divide whole numbers with //"
NEW_AXIS, GAP = object(), object()  # GAP: an Ellipsis was here, which parts index arrays even if it stands for no axis


# --- reading the index -------------------------------------------------------------------------------


def entries_of(shape: tuple[int, ...], idx: Any) -> list:
    """The index as a list of Span, Pick, NEW_AXIS and GAP, one Span or Pick for each axis of shape."""
    items = [_checked(i) for i in (idx if isinstance(idx, tuple) else (idx,))]
    if not isinstance(idx, tuple) and isinstance(idx, (list, range)):
        raise DtypeError(
            "Using a non-tuple sequence for multidimensional indexing is not allowed; use `arr[array(seq)]` "
            "instead of `arr[seq]`.", fix="x[jnp.array(list)] for several rows, x[tuple(list)] for one element"
        )
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(_axes_used(i) for i in items)
    if used > len(shape):
        raise AxisError(f"Too many indices: array is {len(shape)}-dimensional, but {used} were indexed",
                        fix="give no more indices than the array has axes; None adds one")
    rest = [slice(None)] * (len(shape) - used)
    if Ellipsis in [i for i in items if i is Ellipsis]:
        at = next(k for k, i in enumerate(items) if i is Ellipsis)
        items[at : at + 1] = [GAP, *rest]
    else:
        items += rest
    entries, axis = [], 0
    for i in items:
        entries += _resolved(i, shape, axis)
        axis += 0 if i is GAP else _axes_used(i)
    return entries


def _checked(i: Any) -> Any:
    """One item of the index, with lists as arrays; anything that is no index is refused."""
    if i is None or i is Ellipsis or isinstance(i, (slice, Slice, Var, Array)):
        return i
    if isinstance(i, str):
        raise TypeError(f"string indexing is not supported; got idx={i!r}")
    if isinstance(i, (bool, int, np.ndarray, np.generic)):
        return i
    if hasattr(i, "__jax_array__"):
        return as_array(i)
    if isinstance(i, (list, tuple, range)):
        return _list_as_array(i)
    if hasattr(i, "__index__"):
        return operator.index(i)
    if isinstance(i, (float, complex)):
        raise DtypeError(f"Indexer must have integer or boolean type, got indexer with type {np.asarray(i).dtype}", fix=WHOLE)
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), newaxis (`None`) and integer or boolean arrays are "
        f"valid indices. Got {i}"
    )


def _list_as_array(i: Sequence) -> Any:
    flat = list(i)
    if any(isinstance(k, (Var, Array)) for k in flat):
        return lax.concatenate([lax.reshape(as_array(k), (1, *np.shape(k))) for k in flat], 0)
    return np.asarray(flat) if flat else np.zeros((0,), INT32)


def _is_mask(i: Any) -> bool:
    return isinstance(i, (bool, np.bool_)) or (isinstance(i, (Array, Var, np.ndarray)) and i.dtype.kind == "b")


def _axes_used(i: Any) -> int:
    if i is None or i is Ellipsis or i is GAP:
        return 0
    return np.ndim(i) if _is_mask(i) else 1


def _resolved(i: Any, shape: tuple[int, ...], axis: int) -> list:
    if i is GAP:
        return [GAP]
    if i is None:
        return [NEW_AXIS]
    if isinstance(i, slice):
        return [_span(i, shape[axis], axis)]
    if isinstance(i, Slice):
        return [_window(i)]
    if _is_mask(i):
        return _mask_picks(i, shape, axis)
    if isinstance(i, (Array, Var, np.ndarray, np.generic)) and i.dtype.kind not in "iu":
        raise DtypeError(f"Indexer must have integer or boolean type, got indexer with type {i.dtype}", fix=WHOLE)
    if isinstance(i, np.generic) or (isinstance(i, np.ndarray) and i.ndim == 0):
        i = int(i)
    return [Pick(i)]


def _span(s: slice, size: int, axis: int) -> Span:
    ends = []
    for part in (s.start, s.stop, s.step):
        value = trace.concrete_value(part) if isinstance(part, Var) else part
        if value is None and part is not None:
            raise IndexError(
                f"Slice entries must be static integers. Got {s} at position {axis}: use lax.dynamic_slice, "
                "or mark the argument static"
            )
        ends.append(None if value is None else operator.index(value))
    start, stop, step = slice(*ends).indices(size)
    return Span(start, len(range(start, stop, step)), step)


def _window(s: Slice) -> Window:
    size = trace.concrete_value(s.size) if isinstance(s.size, Var) else s.size
    if size is None:
        raise ConcretizationTypeError(f"ds: the size must be known while tracing, it is {s.size.type} here", fix="mark it static")
    start = as_array(s.start)
    if start.ndim or start.dtype.kind not in "iu":
        raise DtypeError(f"ds: the start must be an integer scalar, got {start.dtype}{list(start.shape)}")
    return Window(start, operator.index(size), s.stride)


def _mask_picks(mask: Any, shape: tuple[int, ...], axis: int) -> list[Pick]:
    value = trace.concrete_value(mask) if isinstance(mask, Var) else mask
    if value is None:
        raise NonConcreteBooleanIndexError(
            f"Array boolean indices must be concrete; got {mask.type if hasattr(mask, 'type') else mask}"
        )
    value = np.asarray(value)
    if value.ndim == 0:
        return [Pick(np.zeros(int(value), INT32), consumes=False)]
    for k, (own, expected) in enumerate(zip(value.shape, shape[axis : axis + value.ndim], strict=True)):
        if own != expected:
            raise IndexError(
                f"boolean index did not match shape of indexed array in index {axis + k}: got "
                f"{value.shape}, expected {list(shape[axis : axis + value.ndim])}"
            )
    return [Pick(where.astype(INT32)) for where in np.nonzero(value)]


# --- picks as non-negative numbers -------------------------------------------------------------------


def index_dtype(size: int) -> np.dtype:
    return INT32 if size < 2**31 else INT64


def wrapped(index: Any, size: int, wrap: bool = True) -> Any:
    """An index with negative numbers counted from the end."""
    dtype = index_dtype(size)
    if isinstance(index, int):
        return index + size if wrap and index < 0 else index
    if isinstance(index, np.ndarray):
        if index.dtype.itemsize < INT64.itemsize:
            index = index.astype(INT64)     # which holds all limits
        if index.dtype.kind == "u":
            return np.minimum(index, np.iinfo(dtype).max).astype(dtype)
        index = np.clip(index, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
        return np.where(index < 0, index + dtype.type(size), index) if wrap else index
    signed = index.dtype.kind == "i"
    index = lax.convert_element_type(index, dtype) if index.dtype != dtype or index.weak_type else index
    if not (wrap and signed):
        return index
    return lax.select(lax.lt(index, cast_numpy(0, dtype)), lax.add(index, cast_numpy(size, dtype)), index)


# --- the plan ----------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """One gather, or the scatter that is its mirror image."""

    indices: Any  # batch_shape + (number of indexed axes,)
    offset_dims: tuple[int, ...]  # axes of the result that run over the window
    collapsed: tuple[int, ...]  # axes of the operand that the index removes
    start_index_map: tuple[int, ...]  # the operand axis of each index component
    window: tuple[int, ...]  # window size of each operand axis
    shape: tuple[int, ...]  # of the gather's result
    reversed: tuple[int, ...]  # axes of the gather's result to reverse afterwards
    new_axes: tuple[int, ...]  # axes to insert last
    unique: bool  # known to hold no index twice
    sorted: bool  # known to be in order
    inside: bool  # known to be in bounds

    @property
    def result_shape(self) -> tuple[int, ...]:
        rest, shape = iter(self.shape), []
        for d in range(len(self.shape) + len(self.new_axes)):
            shape.append(1 if d in self.new_axes else next(rest))
        return tuple(shape)


class _Axes:
    """The axes of a plan's result while they are laid out from left to right."""

    def __init__(self, shape: tuple[int, ...], joint: list[int]):
        self.shape, self.joint = shape, joint
        self.out: list[int] = []
        self.batch: list[int] = []
        self.first_joint = 0
        self.offset_dims: list[int] = []
        self.flips: list[int] = []
        self.new_axes: list[int] = []
        self.collapsed: list[int] = []
        self.window = [1] * len(shape)
        self.components: list[tuple[int, Any, int | None]] = []  # (operand axis, index, its batch axis)

    def add_new(self) -> None:
        self.new_axes.append(len(self.out) + len(self.new_axes))

    def add_joint(self) -> None:
        self.first_joint = len(self.batch)
        self.batch += self.joint
        self.out += self.joint

    def add_span(self, axis: int, e: Span) -> None:
        if abs(e.step) == 1 or e.size <= 1:
            self.add_window(axis, e)
        else:  # a strided slice becomes an index array of its own
            dtype = index_dtype(self.shape[axis])
            start = lax.convert_element_type(e.start, dtype) if isinstance(e, Window) else e.start
            index = np.arange(e.size, dtype=dtype) * e.step + start
            self.components.append((axis, index, len(self.batch)))
            self.batch.append(e.size)
            self.collapsed.append(axis)
        self.out.append(e.size)

    def add_window(self, axis: int, e: Span) -> None:
        here, backwards = len(self.out), e.step < 0 and e.size > 1
        self.offset_dims.append(here)
        self.window[axis] = e.size
        if e.size != self.shape[axis] or isinstance(e, Window):
            self.components.append((axis, e.start - e.size + 1 if backwards else e.start, None))
        if backwards:
            self.flips.append(here)

    def add_pick(self, axis: int, index: Any) -> None:
        self.components.append((axis, index, -1))
        self.collapsed.append(axis)


def make_plan(shape: tuple[int, ...], entries: list, wrap: bool = True) -> Plan:
    """The plan for resolved entries; index arrays are broadcast together."""
    picks = [e for e in entries if isinstance(e, Pick)]
    axes, axis_of = _Axes(shape, _joint_shape(picks)), _operand_axes(entries)
    for k in _layout(entries):
        if k is None:
            axes.add_joint()
        elif entries[k] is NEW_AXIS:
            axes.add_new()
        else:
            axes.add_span(axis_of[k], entries[k])
    for k, e in enumerate(entries):
        if isinstance(e, Pick) and e.consumes:
            axes.add_pick(axis_of[k], wrapped(e.index, shape[axis_of[k]], wrap))
    axes.components.sort(key=lambda c: c[0])
    static = not any(isinstance(p.index, (Array, Var)) for p in picks) and not any(isinstance(e, Window) for e in entries)
    return Plan(
        indices=_stacked(axes.components, tuple(axes.batch), axes.first_joint, axes.joint),
        offset_dims=tuple(axes.offset_dims),
        collapsed=tuple(sorted(axes.collapsed)),
        start_index_map=tuple(c[0] for c in axes.components),
        window=tuple(axes.window),
        shape=tuple(axes.out),
        reversed=tuple(axes.flips),
        new_axes=tuple(axes.new_axes),
        unique=not any(np.size(p.index) > 1 for p in picks),
        sorted=not picks and not axes.flips,
        inside=static and _inside(axes.components, shape),
    )


def _inside(components: list, shape: tuple[int, ...]) -> bool:
    return all(np.size(i) == 0 or (np.min(i) >= 0 and np.max(i) < shape[axis]) for axis, i, _ in components)


def _operand_axes(entries: list) -> dict[int, int]:
    axes, n = {}, 0
    for k, e in enumerate(entries):
        if isinstance(e, Span) or (isinstance(e, Pick) and e.consumes):
            axes[k], n = n, n + 1
    return axes


def _joint_shape(picks: list[Pick]) -> list[int]:
    try:
        return list(np.broadcast_shapes(*[np.shape(p.index) for p in picks]))
    except ValueError:
        shapes = ", ".join(str(np.shape(p.index)) for p in picks)
        raise ShapeError(f"Incompatible shapes for broadcasting: index arrays of shapes {shapes}") from None


def _layout(entries: list) -> list[int | None]:
    """The entries in the order of their axes in the result; None stands for the joint axes of index arrays.

    They appear where the index arrays stand if those are neighbours, else in front.
    """
    at = [k for k, e in enumerate(entries) if isinstance(e, Pick)]
    others = [k for k, e in enumerate(entries) if e is NEW_AXIS or isinstance(e, Span)]
    if not at:
        return list(others)
    together = at == list(range(at[0], at[-1] + 1))
    if not together and all(np.ndim(entries[k].index) == 0 for k in at):
        return [None, *others]
    return [*[k for k in others if k < at[0]], None, *[k for k in others if k > at[0]]] if together else [None, *others]


def _stacked(components: list, batch: tuple[int, ...], first_joint: int, joint: list[int]) -> Any:
    """The index components, each broadcast to the batch axes, along a new last axis."""
    if not components:
        return np.zeros((*batch, 0), INT32)
    spread = [_spread(index, at, batch, first_joint, joint) for _, index, at in components]
    if all(isinstance(i, np.ndarray) for i in spread):
        dtype = INT64 if any(i.dtype == INT64 for i in spread) else INT32
        return np.stack([np.broadcast_to(i, batch) for i in spread], -1).astype(dtype)
    dtype = INT64 if any(i.dtype == INT64 for i in spread) else INT32
    parts = [lax.convert_element_type(i, dtype) if i.dtype != dtype else i for i in spread]
    if len(parts) == 1 and parts[0].shape == batch:
        return lax.expand_dims(parts[0], (len(batch),))
    return lax.concatenate([lax.expand_dims(expand_to(i, batch), (len(batch),)) for i in parts], len(batch))


def _spread(index: Any, at: int | None, batch: tuple[int, ...], first_joint: int, joint: list[int]) -> Any:
    """An index with its axes where they belong among the batch axes."""
    if isinstance(index, int):
        limit = np.iinfo(INT32)
        return np.asarray(min(max(index, limit.min), limit.max), INT32)
    if at is None:
        return index
    after = len(batch) - at - 1 if at >= 0 else len(batch) - first_joint - len(joint)
    shape = (*np.shape(index), *[1] * after)
    if isinstance(index, np.ndarray):
        return index.reshape(shape)
    return lax.reshape(index, shape) if after else index

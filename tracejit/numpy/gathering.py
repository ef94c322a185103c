"""Maps resolved indices to slices, gathers and scatters: what x[index] and x.at[index] are made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import ArrayType, canonicalize_dtype, default_dtype, is_inexact, kind_of, promote, type_of
from tracejit.numpy.index_plan import NEW_AXIS, Pick, Plan, Span, Window, index_dtype, make_plan, wrapped
from tracejit.numpy.integer_power import integer_to_integer
from tracejit.numpy.promotion import Array, ArrayLike, Var, as_array, check_promotion, convert, expand_to

# --- reading -----------------------------------------------------------------------------------------


def read_entries(
    x: Array,
    entries: list,
    mode: Any = None,
    fill_value: ArrayLike | None = None,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    wrap_negative_indices: bool = True,
) -> Array:
    """x at resolved entries; out of bounds is clamped unless mode says otherwise."""
    picks = [e for e in entries if isinstance(e, Pick)]
    clamps = mode is None or lax.GatherScatterMode.from_any(mode).value in ("clip", "promise_in_bounds")
    if clamps and wrap_negative_indices:
        x, entries = cut_windows(x, entries)
    if clamps and wrap_negative_indices and all(np.ndim(p.index) == 0 and p.consumes for p in picks):
        return _read_block(x, entries)
    x, entries = _slice_first(x, entries)
    plan = make_plan(x.shape, entries, wrap_negative_indices)
    if 0 in plan.shape:  # nothing is read, so an axis without elements is no obstacle
        return _finished(lax.full(plan.shape, 0, x.dtype), plan)
    dims = lax.GatherDimensionNumbers(
        offset_dims=plan.offset_dims, collapsed_slice_dims=plan.collapsed, start_index_map=plan.start_index_map
    )
    if mode is None or plan.inside:
        mode = "promise_in_bounds" if plan.inside else "clip"
    out = lax.gather(
        x,
        plan.indices,
        dims,
        plan.window,
        unique_indices=unique_indices or plan.unique,
        indices_are_sorted=indices_are_sorted or plan.sorted,
        mode=mode,
        fill_value=fill_value,
    )
    return _finished(out, plan)


def _finished(out: Array, plan: Plan) -> Array:
    if plan.reversed:
        out = lax.rev(out, plan.reversed)
    return lax.expand_dims(out, plan.new_axes) if plan.new_axes else out


def cut_windows(x: Array, entries: list) -> tuple[Array, list]:
    """x without what lies outside of the windows, moved inside where they are not, and the entries left."""
    axes = [e for e in entries if isinstance(e, Span) or (isinstance(e, Pick) and e.consumes)]
    windows = [(axis, e) for axis, e in enumerate(axes) if isinstance(e, Window)]
    if not windows:
        return x, entries
    starts, box = [0] * x.ndim, list(x.shape)
    for axis, e in windows:
        if e.step == 1:
            starts[axis], box[axis] = e.start, e.size
        else:
            index = np.arange(e.size, dtype=index_dtype(x.shape[axis])) * e.step + wrapped(e.start, x.shape[axis])
            whole = [Span(0, n, 1) for n in x.shape]
            x = read_entries(x, [*whole[:axis], Pick(index), *whole[axis + 1:]], wrap_negative_indices=False)
            box[axis] = e.size
    return lax.dynamic_slice(x, starts, box), [Span(0, e.size, 1) if isinstance(e, Window) else e for e in entries]


def _read_block(x: Array, entries: list) -> Array:
    """Slices and single integers: a (dynamic) slice, and no gather."""
    axes = [e for e in entries if isinstance(e, (Span, Pick))]
    is_late = [isinstance(e, Pick) and not _is_inside(e.index, n) for e, n in zip(axes, x.shape, strict=True)]
    x = _static_slice(x, [_as_span(e, n) for e, n in zip(axes, x.shape, strict=True)])
    if any(is_late):
        starts = [e.index if late else np.int32(0) for e, late in zip(axes, is_late, strict=True)]
        x = lax.dynamic_slice(x, starts, [1 if isinstance(e, Pick) else n for e, n in zip(axes, x.shape, strict=True)])
    shape = block_shape(entries)
    return x if shape == x.shape else lax.reshape(x, shape)


def block_shape(entries: list) -> tuple[int, ...]:
    return tuple(1 if e is NEW_AXIS else e.size for e in entries if e is NEW_AXIS or isinstance(e, Span))


def _is_inside(index: Any, n: int) -> bool:
    """Whether this is an integer known to lie in an axis of size n. One that does not is read as run-time ones are."""
    return isinstance(index, int) and -n <= index < n


def _as_span(e: Any, n: int) -> Span:
    """The part of an axis of size n that a static slice or static integer reads; all of it for a late one."""
    if isinstance(e, Span):
        return e
    if _is_inside(e.index, n):
        return Span(e.index % n, 1, 1)
    if n == 0:
        raise IndexError(f"index {e.index} is out of bounds for an axis of size 0")
    return Span(0, n, 1)


def _static_slice(x: Array, spans: list[Span]) -> Array:
    """x[start:...:step] for every axis; backwards where the step is negative."""
    if any(s.size != n or s.step not in (1, -1) for s, n in zip(spans, x.shape, strict=True)):
        lows = [s.start if s.step > 0 else s.start + (s.size - 1) * s.step for s in spans]
        lows = [low if s.size else 0 for low, s in zip(lows, spans, strict=True)]
        steps = [abs(s.step) if s.size > 1 else 1 for s in spans]
        ends = [
            low + (s.size - 1) * step + 1 if s.size else low for low, s, step in zip(lows, spans, steps, strict=True)
        ]
        x = lax.slice(x, lows, ends, None if all(s == 1 for s in steps) else steps)
    backwards = [i for i, s in enumerate(spans) if s.step < 0 and s.size > 1]
    return lax.rev(x, backwards) if backwards else x


def _slice_first(x: Array, entries: list) -> tuple[Array, list]:
    """The slices of a mixed index done at once, which leaves whole axes beside the index arrays."""
    axes = [e for e in entries if isinstance(e, Span) or (isinstance(e, Pick) and e.consumes)]
    known = lambda e: isinstance(e, Span) and not isinstance(e, Window)
    spans = [e if known(e) else Span(0, n, 1) for e, n in zip(axes, x.shape, strict=True)]
    return _static_slice(x, spans), [Span(0, e.size, 1) if known(e) else e for e in entries]


# --- writing -----------------------------------------------------------------------------------------

SCATTERS: dict[str, tuple[Callable, Callable | None]] = {
    "set": (lax.scatter, lambda old, new: new),
    "add": (lax.scatter_add, lax.add),
    "subtract": (lax.scatter_sub, lax.sub),
    "multiply": (lax.scatter_mul, lax.mul),
    "min": (lax.scatter_min, lax.min),
    "max": (lax.scatter_max, lax.max),
}


def update_entries(
    x: Array, entries: list, values: Any, how: str, func: Callable | None, wrap: bool, options: dict
) -> Array:
    """x with the elements at resolved entries set, added to, ..., by values of x's dtype."""
    if how not in ("divide", "power"):
        return _scatter(x, entries, values, how, func, wrap, options)
    factors = _scatter(lax.full_like(x, 1), entries, values, "multiply", None, wrap, options)
    if how == "power":
        return integer_to_integer(x, factors) if x.dtype.kind in "iu" else lax.pow(x, factors)
    if not is_inexact(x.dtype):
        x = lax.convert_element_type(x, default_dtype("f"))
    return lax.div(x, convert(factors, x.dtype))


def is_whole_mask(x: Array, idx: Any) -> bool:
    return (
        isinstance(idx, (Array, Var, np.ndarray))
        and idx.dtype.kind == "b"
        and 0 < idx.ndim <= x.ndim
        and idx.shape == x.shape[: idx.ndim]
    )


def set_where(x: Array, mask: Any, value: ArrayLike) -> Array:
    mask = lax.broadcast_in_dim(mask, x.shape, tuple(range(mask.ndim))) if mask.shape != x.shape else mask
    return lax.select(mask, lax.broadcast_in_dim(value, x.shape, ()), x)


def cast_update(x: Array, values: ArrayLike) -> Any:
    """values in x's dtype; a cast that loses something warns, as in JAX."""
    t = type_of(values)
    if t.dtype == x.dtype and isinstance(values, (Array, Var)):
        return values
    check_promotion("scatter", (type_of(x), t))
    fits = t.dtype == x.dtype or (t.weak_type and kind_of(t.dtype) == kind_of(x.dtype))
    if not fits and _loses(x, t):
        warnings.warn(
            "scatter inputs have incompatible types: cannot safely cast value from "
            f"dtype={t.dtype} to dtype={x.dtype}. In future releases this will result in an error.",
            FutureWarning,
            stacklevel=4,
        )
    return as_array(convert(as_array(values) if type(values) is complex else values, x.dtype))


def _loses(x: Array, t: ArrayType) -> bool:
    dtype, weak = promote([(x.dtype, x.weak_type), (t.dtype, t.weak_type)])
    return canonicalize_dtype(dtype) != x.dtype and not (weak and x.weak_type)


def _scatter(x: Array, entries: list, values: Any, how: str, func: Callable | None, wrap: bool, options: dict) -> Array:
    options = dict(options)
    if how != "apply" and _is_static_block(entries, x.shape, wrap):
        return _update_block(x, entries, values, SCATTERS[how][1])
    plan = make_plan(x.shape, entries, wrap)
    dims = lax.ScatterDimensionNumbers(
        update_window_dims=plan.offset_dims,
        inserted_window_dims=plan.collapsed,
        scatter_dims_to_operand_dims=plan.start_index_map,
    )
    if how != "apply":
        values = broadcast_update(values, plan.result_shape)
    if 0 in plan.shape:
        return x
    options["unique_indices"] |= plan.unique
    options["indices_are_sorted"] |= plan.sorted
    if plan.inside and options["mode"] is None:
        options["mode"] = "promise_in_bounds"
    if how == "apply":
        return lax.scatter_apply(x, plan.indices, func, dims, update_shape=plan.shape, **options)
    if plan.new_axes:
        values = lax.reshape(values, plan.shape)
    if plan.reversed:
        values = lax.rev(values, plan.reversed)
    return SCATTERS[how][0](x, plan.indices, values, dims, **options)


def broadcast_update(values: Array, shape: tuple[int, ...]) -> Array:
    if len(values.shape) > len(shape):
        raise ShapeError(f"Cannot broadcast to shape with fewer dimensions: arr_shape={values.shape} shape={shape}")
    if any(a not in (1, b) for a, b in zip(values.shape[::-1], shape[::-1], strict=False)):
        raise ShapeError(
            f"Incompatible shapes for broadcasting: the values have shape {values.shape} and the place to "
            f"update has shape {shape}"
        )
    return expand_to(values, shape)


def _is_static_block(entries: list, shape: tuple[int, ...], wrap: bool) -> bool:
    """Whether the index is a box of consecutive elements, known while tracing and in bounds."""
    axes = [e for e in entries if isinstance(e, (Span, Pick))]
    first = lambda n: -n if wrap else 0
    return all(
        not isinstance(e, Window) and (abs(e.step) == 1 or e.size <= 1) if isinstance(e, Span) else
        isinstance(e.index, int) and first(n) <= e.index < n
        for e, n in zip(axes, shape, strict=False)
    ) and len(axes) == len(shape)


def _update_block(x: Array, entries: list, values: Array, combine: Callable) -> Array:
    axes = [e for e in entries if isinstance(e, (Span, Pick))]
    spans = [_as_span(e, n) for e, n in zip(axes, x.shape, strict=True)]
    lows = [s.start - (s.size - 1) * (s.step < 0) if s.size else 0 for s in spans]
    backwards = [i for i, s in enumerate(spans) if s.step < 0 and s.size > 1]
    return update_box(x, lows, [s.size for s in spans], backwards, values, block_shape(entries), combine)


def update_box(
    x: Array,
    lows: list,
    box: list[int],
    backwards: list[int],
    values: Array,
    shape: tuple[int, ...],
    combine: Callable,
) -> Array:
    """x with a box of consecutive elements combined with values, which broadcast to `shape` (the box as it was indexed)."""
    values = broadcast_update(values, shape)
    values = lax.reshape(values, box) if values.shape != tuple(box) else values
    values = lax.rev(values, backwards) if backwards else values
    if 0 in box:
        return x
    if tuple(box) == x.shape:
        return convert(combine(x, values), x.dtype)
    lows = [np.int32(low) if isinstance(low, int) else low for low in lows]
    new = convert(combine(lax.dynamic_slice(x, lows, box), values), x.dtype)
    return lax.dynamic_update_slice(x, new, lows)

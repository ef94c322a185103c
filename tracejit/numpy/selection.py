"""Maps conditions and arrays to choices between them: where, select, clip and the places where a mask is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype, is_inexact
from tracejit.lax.first_true import first_true
from tracejit.numpy.compiled import compiled
from tracejit.numpy.indexing import read
from tracejit.numpy.logic import to_bool
from tracejit.numpy.promotion import (
    SIZED,
    Array,
    ArrayLike,
    Var,
    as_array,
    broadcast_shape,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    check_no_out,
    concrete,
    convert,
    dtype_of,
    expand_to,
    is_traced,
    promote,
    promote_dtypes,
)
from tracejit.runtime.eager import eager

INT = np.dtype("int32")


def where(
    condition: ArrayLike,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    /,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """x where the condition holds and y elsewhere; with the condition alone, the indices of its nonzero elements.

    >>> jnp.where(jnp.array([True, False]), 1, jnp.array([10, 20]))
    Array([ 1, 20], dtype=int32)
    """
    if x is None and y is None:
        check_arraylike("where", condition)
        return nonzero(condition, size=size, fill_value=fill_value)
    check_arraylike("where", condition, x, y)
    if size is not None or fill_value is not None:
        raise ValueError("size and fill_value arguments cannot be used in three-term where function.")
    return _where(condition, x, y)


@eager
def _where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Array:
    return choose_by(to_bool("where", condition), *promote_dtypes("where", x, y))


def choose_by(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Array:
    """x where a boolean holds, else y; both of one dtype; all are broadcast together."""
    shape = broadcast_shape("where", [np.shape(condition), np.shape(x), np.shape(y)])
    mask = condition if np.shape(condition) == () else expand_to(condition, shape)
    return lax.select(mask, expand_to(x, shape), expand_to(y, shape))


def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Array:
    """The choice of the first condition that holds, elementwise; default where none does.

    >>> x = jnp.arange(4)
    >>> jnp.select([x < 1, x > 2], [x - 10, x + 10])
    Array([-10,   0,   0,  13], dtype=int32)
    """
    if len(condlist) != len(choicelist):
        raise ValueError(f"condlist must have length equal to choicelist ({len(condlist)} vs {len(choicelist)})")
    if not condlist:
        raise ValueError("condlist must be non-empty")
    check_arraylike("select", *condlist, *choicelist, default)
    *choices, out = promote_dtypes("select", *choicelist, default)
    for condition, choice in zip(condlist[::-1], choices[::-1], strict=True):
        out = choose_by(to_bool("select", condition), choice, out)
    return out


def choose(a: ArrayLike, choices: Any, out: None = None, mode: str = "raise") -> Array:
    """choices[a[i]][i]. In the default mode "raise" the numbers in a must be known while tracing.

    >>> jnp.choose(jnp.array([1, 0]), [jnp.array([1, 2]), jnp.array([3, 4])])
    Array([3, 2], dtype=int32)
    """
    check_no_out("choose", out)
    choices = (
        [as_array(c) for c in choices] if not isinstance(choices, (Array, Var, np.ndarray)) else list(as_array(choices))
    )
    check_arraylike("choose", a, *choices)
    which = as_array(a)
    if which.dtype.kind not in "iub":
        raise ValueError("`a` array must be integer typed")
    n = len(choices)
    which = _in_mode("choose", lax.convert_element_type(which, INT), n, mode)
    shape = broadcast_shape("choose", [which.shape, *[c.shape for c in choices]])
    table = lax.concatenate([lax.expand_dims(expand_to(c, shape), (0,)) for c in promote_dtypes("choose", *choices)], 0)
    grid = [lax.broadcasted_iota(INT, shape, i) for i in range(len(shape))]
    return table[(expand_to(which, shape), *grid)]


def jitted_with_raise(name: str) -> str:
    return f"The error occurred because {name} was jit-compiled with mode='raise'. Use mode='wrap' or mode='clip' instead. It"


def _in_mode(name: str, index: Any, n: int, mode: str) -> Any:
    """Indices brought into [0, n) by a mode of NumPy's: raise, wrap or clip."""
    if mode == "raise":
        values = concrete(index, jitted_with_raise(f"jnp.{name}" if name == "choose" else name))
        if values.size and (values.min() < -(n if name != "choose" else 0) or values.max() >= n):
            raise ValueError(f"invalid entry in {name} array")
        return index
    if mode == "wrap":
        size = cast_numpy(n, index.dtype)
        return lax.rem(lax.add(lax.rem(index, size), size), size)
    if mode == "clip":
        return lax.clamp(cast_numpy(0, index.dtype), index, cast_numpy(n - 1, index.dtype))
    raise ValueError(f"mode={mode!r} not understood. Must be 'raise', 'wrap', or 'clip'")


@compiled
def clip(arr: ArrayLike | None = None, /, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Array:
    """arr limited to [min, max]; either bound may be left out.

    >>> jnp.clip(jnp.array([-2, 0, 9]), 0, 5)
    Array([0, 0, 5], dtype=int32)
    """
    if arr is None:
        raise ValueError("At most one of a_min and a_max may be None")
    bounds = [b for b in (min, max) if b is not None]
    check_arraylike("clip", arr, *bounds)
    if any(dtype_of(v).kind == "c" for v in (arr, *bounds)):
        raise ValueError(
            "Clip received a complex value either through the input or the min/max keywords. Complex values "
            "have no ordering and cannot be clipped."
        )
    if min is not None:
        arr = lax.max(*promote("clip", arr, min))
    if max is not None:
        arr = lax.min(*promote("clip", arr, max))
    return as_array(arr)


@compiled
def nan_to_num(
    x: ArrayLike,
    copy: bool = True,
    nan: ArrayLike = 0.0,
    posinf: ArrayLike | None = None,
    neginf: ArrayLike | None = None,
) -> Array:
    """nan as `nan`, infinities as the largest finite numbers or as given.

    >>> jnp.nan_to_num(jnp.array([jnp.nan, 1.0]))
    Array([0., 1.], dtype=float32)
    """
    check_arraylike("nan_to_num", x)
    x = as_array(x)
    if not is_inexact(x.dtype):
        return x
    if x.dtype.kind == "c":
        return lax.complex(
            nan_to_num(lax.real(x), copy, nan, posinf, neginf), nan_to_num(lax.imag(x), copy, nan, posinf, neginf)
        )
    limits = _largest(x.dtype)
    high, low = limits if posinf is None else posinf, -limits if neginf is None else neginf
    infinity = cast_numpy(np.inf, x.dtype)
    value = lambda v: convert(v, x.dtype)
    out = choose_by(lax.ne(x, x), value(nan), x)
    out = choose_by(lax.eq(x, infinity), value(high), out)
    return choose_by(lax.eq(x, lax.neg(infinity)), value(low), out)


def _largest(dtype: np.dtype) -> Any:
    return dtype.type(ml_dtypes.finfo(dtype).max)


# --- where a mask is true ----------------------------------------------------------------------------


def nonzero(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """The indices of nonzero elements, an array per axis. Under jit `size` says how many; missing ones are fill_value.

    >>> jnp.nonzero(jnp.array([0, 5, 6]), size=3, fill_value=-1)
    (Array([ 1,  2, -1], dtype=int32),)
    """
    return tuple(convert(i, default_dtype("i")) for i in places_of(a, size, fill_value))


def places_of(a: ArrayLike, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """`nonzero` with int32 indices."""
    check_arraylike("nonzero", a)
    mask = to_bool("nonzero", a)
    if mask.ndim == 0:
        raise ValueError("Calling nonzero on 0d arrays is not allowed. Use jnp.atleast_1d(scalar).nonzero() instead.")
    if size is None:
        return tuple(as_array(i.astype(INT)) for i in np.nonzero(concrete(mask, "nonzero without size=", SIZED)))
    flat = lax.reshape(mask, (mask.size,))
    size = int(size)
    fills = fill_value if isinstance(fill_value, tuple) else (0 if fill_value is None else fill_value,) * mask.ndim
    if len(fills) != mask.ndim:
        raise ValueError(f"fill_value must be a scalar or a tuple with one value per axis, got {fill_value}")
    if mask.size == 0 or size == 0:
        return tuple(lax.full((size,), int(concrete(f, "fill_value")) if not is_traced(f) else 0, INT) for f in fills)
    where_ = first_true(flat, size)
    missing = lax.eq(where_, np.int32(mask.size))
    coordinates = []
    for n in mask.shape[::-1]:
        coordinates.append(lax.rem(where_, np.int32(max(n, 1))))
        where_ = lax.div(where_, np.int32(max(n, 1)))
    return tuple(
        lax.select(missing, expand_to(convert(f, INT), (size,)), c)
        for f, c in zip(fills, coordinates[::-1], strict=True)
    )


def flatnonzero(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The positions of nonzero elements in the flattened array.

    >>> jnp.flatnonzero(jnp.array([[0, 5], [6, 0]]))
    Array([1, 2], dtype=int32)
    """
    check_arraylike("flatnonzero", a)
    x = as_array(a)
    return nonzero(lax.reshape(x, (x.size,)), size=size, fill_value=fill_value)[0]


def argwhere(a: ArrayLike, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The indices of nonzero elements, a row for each.

    >>> jnp.argwhere(jnp.array([[0, 5], [6, 0]]))
    Array([[0, 1],
           [1, 0]], dtype=int32)
    """
    check_arraylike("argwhere", a)
    x = as_array(a)
    if x.ndim == 0:
        rows = nonzero(lax.reshape(x, (1,)), size=size, fill_value=fill_value)[0]
        return lax.full((rows.shape[0], 0), 0, INT)
    columns = nonzero(x, size=size, fill_value=fill_value)
    return lax.concatenate([lax.expand_dims(c, (1,)) for c in columns], 1)


def extract(condition: ArrayLike, arr: ArrayLike, *, size: int | None = None, fill_value: ArrayLike = 0) -> Array:
    """The elements of the flattened arr where the flattened condition holds.

    >>> jnp.extract(jnp.array([True, False]), jnp.array([1, 2]))
    Array([1], dtype=int32)
    """
    check_arraylike("extract", condition, arr)
    return compress(lax.reshape(as_array(condition), (np.size(condition),)), arr, size=size, fill_value=fill_value)


def compress(
    condition: Any,
    a: ArrayLike,
    axis: int | None = None,
    *,
    size: int | None = None,
    fill_value: ArrayLike = 0,
    out: None = None,
) -> Array:
    """The parts of a along an axis where a vector of conditions holds.

    >>> jnp.compress(jnp.array([True, False, True]), jnp.array([1, 2, 3]))
    Array([1, 3], dtype=int32)
    """
    check_no_out("compress", out)
    check_arraylike("compress", condition, a)
    x = as_array(a)
    keep = to_bool("compress", condition)
    if keep.ndim != 1:
        raise ValueError("condition must be a 1D array")
    if axis is None:
        x, axis = lax.reshape(x, (x.size,)), 0
    axis = canonical_axis(axis, x.ndim)
    n = min(keep.shape[0], x.shape[axis])
    if keep.shape[0] > n and not is_traced(keep) and bool(np.asarray(keep)[n:].any()):
        raise ValueError("condition contains entries that are out of bounds")
    keep = lax.slice_in_dim(keep, 0, n)
    if size is None:
        return x[(slice(None),) * axis + (np.nonzero(concrete(keep, "compress without size=", SIZED))[0],)]
    rows = nonzero(keep, size=size, fill_value=x.shape[axis])[0]
    return read(x, (slice(None),) * axis + (rows,), mode="fill", fill_value=fill_value)


def piecewise(x: ArrayLike, condlist: Any, funclist: Sequence, *args: Any, **kw: Any) -> Array:
    """The function or value of the condition that holds at each element; one more function serves where none does.

    >>> x = jnp.array([-1.0, 2.0])
    >>> jnp.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v * 10])
    Array([ 1., 20.], dtype=float32)
    """
    check_arraylike("piecewise", x)
    x = as_array(x)
    is_list = isinstance(condlist, (list, tuple))
    if all(np.ndim(c) == 0 for c in condlist) if is_list else np.ndim(condlist) < 2:
        one_each = (is_list or np.ndim(condlist)) and len(funclist) - len(condlist) in (0, 1)
        condlist = condlist if one_each else [condlist]  # as in JAX, where NumPy sees one condition on the elements of x
    conditions = [
        to_bool("piecewise", as_array(np.asarray(c)) if isinstance(c, (list, tuple)) else c) for c in condlist
    ]
    if len(funclist) not in (len(conditions), len(conditions) + 1):
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or {len(conditions) + 1} functions are "
            f"expected; got {len(funclist)}"
        )
    functions = list(funclist)
    out = functions.pop() if len(functions) > len(conditions) else 0
    value = lambda f: expand_to(convert(f(x, *args, **kw) if callable(f) else f, x.dtype), x.shape)
    out = value(out)
    for condition, f in zip(conditions, functions, strict=True):
        out = choose_by(condition, value(f), out)
    return out

"""Maps arrays and indices along an axis to the elements there, or to arrays with those elements replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import requested_dtype, default_dtype
from tracejit.numpy.compiled import compiled
from tracejit.numpy.index_plan import wrapped
from tracejit.numpy.indexing import get_item, read
from tracejit.numpy.manipulation import ravel
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    Var,
    as_array,
    broadcast_shape,
    canonical_axis,
    canonical_shape,
    cast_numpy,
    check_arraylike,
    check_no_out,
    concrete,
    convert,
    dtype_of,
    expand_to,
)
from tracejit.numpy.selection import jitted_with_raise, nonzero

INT = np.dtype("int32")


def _integer_indices(name: str, indices: ArrayLike) -> Any:
    indices = indices if isinstance(indices, (Array, Var)) else np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise DtypeError(f"{name} indices must be of integer type, got {indices.dtype}")
    return indices


@compiled
def take(
    a: ArrayLike,
    indices: ArrayLike,
    axis: int | None = None,
    out: None = None,
    mode: str | None = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    fill_value: Any = None,
) -> Array:
    """The elements at indices along an axis (of the flattened array if None).

    mode: "fill" (default: nan, or fill_value, out of bounds), "wrap", "clip".

    >>> jnp.take(jnp.array([10, 20, 30]), jnp.array([2, 0]))
    Array([30, 10], dtype=int32)
    """
    check_no_out("take", out)
    check_arraylike("take", a, indices)
    x = as_array(a)
    if axis is None:
        x, axis = lax.reshape(x, (x.size,)), 0
    axis = canonical_axis(axis, x.ndim)
    if dtype_of(indices).kind == "b":  # as 0 and 1
        indices = as_array(indices).astype(INT)
    indices = _integer_indices("take", indices)
    if not x.shape[axis] and np.size(indices):
        raise IndexError("Cannot do a non-empty jnp.take() from an empty axis.")
    if mode == "raise":
        raise NotImplementedError("The 'raise' mode to jnp.take is not supported.")
    if mode == "wrap":
        indices, mode = _modulo(indices, x.shape[axis]), "promise_in_bounds"
    elif mode == "clip":    # also at 0: as in NumPy, this mode does not count from the end
        indices = lax.max(indices, cast_numpy(0, indices.dtype)) if indices.dtype.kind == "i" else indices
    index = (slice(None),) * axis + (indices,)
    return read(x, index, mode or "fill", fill_value, indices_are_sorted, unique_indices)


def _modulo(indices: Any, n: int) -> Any:
    if isinstance(indices, np.ndarray):
        return indices % n
    size = cast_numpy(n, indices.dtype)
    rest = lax.rem(indices, size)
    return (
        lax.select(lax.lt(rest, cast_numpy(0, rest.dtype)), lax.add(rest, size), rest)
        if rest.dtype.kind == "i"
        else rest
    )


@compiled
def take_along_axis(
    arr: ArrayLike,
    indices: ArrayLike,
    axis: int | None = -1,
    mode: Any = None,
    fill_value: Any = None,
    *,
    wrap_negative_indices: bool | None = None,
) -> Array:
    """arr[..., indices[..., j, ...], ...] along an axis; the other axes go together and are broadcast.

    >>> x = jnp.array([[3, 1], [2, 5]])
    >>> jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1)
    Array([[1, 3],
           [2, 5]], dtype=int32)
    """
    check_arraylike("take_along_axis", arr, indices)
    x, indices = as_array(arr), _integer_indices("take_along_axis", indices)
    if axis is None:
        if indices.ndim != 1:
            raise ValueError(f"take_along_axis indices must be 1D if axis=None, got shape {indices.shape}")
        x, axis = lax.reshape(x, (x.size,)), 0
    if x.ndim != indices.ndim:
        raise ValueError(f"indices and arr must have the same number of dimensions; {indices.ndim} vs. {x.ndim}")
    axis = canonical_axis(axis, x.ndim)
    rest = broadcast_shape(
        "take_along_axis", [tuple(1 if i == axis else d for i, d in enumerate(s)) for s in (x.shape, indices.shape)]
    )
    sizes = lambda n: tuple(n if i == axis else d for i, d in enumerate(rest))
    n = x.shape[axis]
    index = wrapped(indices, n, wrap_negative_indices is not False)
    return gather_along(
        expand_to(x, sizes(n)), expand_to(index, sizes(indices.shape[axis])), axis, mode or "fill", fill_value
    )


def gather_along(x: Array, index: Array, axis: int, mode: Any, fill_value: Any) -> Array:
    if 0 in index.shape:
        return lax.full(index.shape, 0, x.dtype)
    others = tuple(i for i in range(x.ndim) if i != axis)
    dims = lax.GatherDimensionNumbers(
        offset_dims=(),
        collapsed_slice_dims=(axis,),
        start_index_map=(axis,),
        operand_batching_dims=others,
        start_indices_batching_dims=others,
    )
    return lax.gather(x, lax.expand_dims(index, (x.ndim,)), dims, (1,) * x.ndim, mode=mode, fill_value=fill_value)


def _refuse_inplace(name: str, inplace: bool) -> None:
    if inplace:
        raise ValueError(
            f"jax.numpy.{name} cannot modify arrays in-place, because arrays are immutable. Pass inplace=False to "
            "instead return an updated array."
        )


def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str | None = None, *, inplace: bool = True) -> Array:
    """a with the flat positions ind set to v, which is repeated; with inplace=False.

    >>> jnp.put(jnp.zeros(3), jnp.array([0, 2]), jnp.array([1, 2]), inplace=False)
    Array([1., 0., 2.], dtype=float32)
    """
    _refuse_inplace("put", inplace)
    check_arraylike("put", a, ind, v)
    x, ind, v = as_array(a), ravel(as_array(ind)), ravel(as_array(v))
    if x.size == 0 or ind.size == 0 or v.size == 0:
        return x
    if ind.size != v.size:
        v = get_item(v, (np.arange(ind.size) % v.size,))
    if mode == "wrap":
        ind = _modulo(ind, x.size)
    elif mode == "clip":
        ind = lax.clamp(cast_numpy(0, ind.dtype), ind, cast_numpy(x.size - 1, ind.dtype))
    elif mode is not None and mode != "raise":
        raise ValueError(f"mode should be one of 'wrap' or 'clip'; got {mode=}")
    elif mode == "raise":
        raise NotImplementedError("The 'raise' mode to jnp.put is not supported.")
    return lax.reshape(ravel(x).at[ind].set(convert(v, x.dtype), mode="drop"), x.shape)


def place(arr: ArrayLike, mask: ArrayLike, vals: ArrayLike, *, inplace: bool = True) -> Array:
    """arr with the elements where mask holds replaced by vals in turn; with inplace=False.

    >>> jnp.place(jnp.zeros(3), jnp.array([True, False, True]), jnp.array([1, 2]), inplace=False)
    Array([1., 0., 2.], dtype=float32)
    """
    _refuse_inplace("place", inplace)
    check_arraylike("place", arr, mask, vals)
    x, mask, vals = as_array(arr), as_array(mask), ravel(as_array(vals))
    if x.size != mask.size:
        raise ValueError("place: arr and mask must be the same size")
    if not vals.size:
        raise ValueError("Cannot place values from an empty array")
    if not x.size:
        return x
    flat = lax.reshape(lax.convert_element_type(mask, np.dtype(bool)), (x.size,))
    turn = lax.sub(lax.cumsum(lax.convert_element_type(flat, INT), 0), np.int32(1))
    picked = get_item(vals, (_modulo(turn, vals.size),))
    return lax.select(lax.reshape(flat, x.shape), lax.reshape(convert(picked, x.dtype), x.shape), x)


def put_along_axis(
    arr: ArrayLike,
    indices: ArrayLike,
    values: ArrayLike,
    axis: int | None,
    inplace: bool = True,
    *,
    mode: str | None = None,
) -> Array:
    """arr with the elements that take_along_axis would read replaced by values; with inplace=False.

    >>> jnp.put_along_axis(jnp.zeros((2, 2)), jnp.array([[0], [1]]), 7, 1, inplace=False)
    Array([[7., 0.],
           [0., 7.]], dtype=float32)
    """
    _refuse_inplace("put_along_axis", inplace)
    check_arraylike("put_along_axis", arr, indices, values)
    x, indices = as_array(arr), _integer_indices("put_along_axis", indices)
    if axis is None:
        return lax.reshape(ravel(x).at[indices].set(values, mode=mode), x.shape)
    axis = canonical_axis(axis, x.ndim)
    shape = np.broadcast_shapes(tuple(1 if i == axis else d for i, d in enumerate(x.shape)), indices.shape)
    grid = [lax.broadcasted_iota(INT, tuple(d if j == i else 1 for j in range(x.ndim)), i) for i, d in enumerate(shape)]
    grid[axis] = indices
    return x.at[tuple(grid)].set(values, mode=mode)


def fill_diagonal(a: ArrayLike, val: ArrayLike, wrap: bool = False, *, inplace: bool = True) -> Array:
    """a with val on its main diagonal; with inplace=False.

    >>> jnp.fill_diagonal(jnp.zeros((2, 2)), 5, inplace=False)
    Array([[5., 0.],
           [0., 5.]], dtype=float32)
    """
    if inplace:
        raise NotImplementedError("arrays are immutable: pass inplace=False and use the result of jnp.fill_diagonal")
    if wrap:
        raise NotImplementedError("wrap=True is not implemented, must be False")
    check_arraylike("fill_diagonal", a, val)
    x = as_array(a)
    if x.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if x.ndim > 2 and len(set(x.shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    n = min(x.shape)
    value = as_array(val)
    if value.ndim:
        value = get_item(ravel(value), (np.arange(n) % value.size,))
    steps = np.arange(n, dtype=np.int32)
    return x.at[(steps,) * x.ndim].set(convert(value, x.dtype), unique_indices=True)


# --- index arithmetic --------------------------------------------------------------------------------


def unravel_index(indices: ArrayLike, shape: Any) -> tuple[Array, ...]:
    """Flat positions as an index for each axis; clamped to the array's bounds.

    >>> jnp.unravel_index(jnp.array([3, 4]), (2, 3))
    (Array([1, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    check_arraylike("unravel_index", indices)
    sizes = canonical_shape(shape)
    flat = as_array(indices)
    total = int(np.prod(sizes))
    lower = convert(np.int64(total), flat.dtype)
    flat = (
        lax.select(lax.lt(flat, cast_numpy(0, flat.dtype)), lax.add(flat, lower), flat)
        if flat.dtype.kind == "i"
        else flat
    )
    flat = lax.clamp(cast_numpy(0, flat.dtype), flat, cast_numpy(max(total - 1, 0), flat.dtype))
    out = []
    for n in sizes[::-1]:
        size = cast_numpy(max(n, 1), flat.dtype)
        out.append(lax.rem(flat, size))
        flat = lax.div(flat, size)
    return tuple(out[::-1])


def ravel_multi_index(
    multi_index: Sequence[ArrayLike],
    dims: Sequence[int],
    mode: str = "raise",
    order: str = "C",
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    """An index for each axis as flat positions; mode "raise" needs known indices, "wrap" and "clip" do not.

    >>> jnp.ravel_multi_index((jnp.array([1, 0]), jnp.array([2, 1])), (2, 3))
    Array([5, 1], dtype=int32)
    """
    if len(multi_index) != len(dims):
        raise ValueError(f"len(multi_index)={len(multi_index)} != len(dims)={len(dims)}")
    check_arraylike("ravel_multi_index", *multi_index)
    dims = canonical_shape(dims)
    result = default_dtype("i") if dtype is None else requested_dtype(dtype)
    parts = [lax.convert_element_type(_integer_indices("ravel_multi_index", i), result) for i in multi_index]
    if mode == "raise":
        for i, n in zip(parts, dims, strict=True):
            values = concrete(i, jitted_with_raise("ravel_multi_index"))
            if values.size and (values.min() < 0 or values.max() >= n):
                raise ValueError("invalid entry in coordinates array")
    elif mode == "clip":
        parts = [
            lax.clamp(cast_numpy(0, result), i, cast_numpy(n - 1, result)) for i, n in zip(parts, dims, strict=True)
        ]
    elif mode == "wrap":
        parts = [_modulo(i, n) for i, n in zip(parts, dims, strict=True)]
    else:
        raise ValueError(f"invalid mode={mode!r}. Expected 'raise', 'wrap', or 'clip'")
    if order not in ("C", "F"):
        raise ValueError(f"invalid order={order!r}. Expected 'C' or 'F'")
    strides = [1]
    for n in dims[:0:-1] if order == "C" else dims[:-1]:
        strides.append(strides[-1] * n)
    strides = strides[::-1] if order == "C" else strides
    total = parts[0] * cast_numpy(strides[0], result)
    for i, s in zip(parts[1:], strides[1:], strict=True):
        total = total + i * cast_numpy(s, result)
    return total


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """The indices of the main diagonal of an n by n (by n ...) array.

    >>> jnp.diag_indices(2)
    (Array([0, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    if n < 0 or ndim < 0:
        raise ValueError(f"diag_indices: n and ndim must be nonnegative, got {n} and {ndim}")
    return (lax.iota(default_dtype("i"), n),) * ndim


def diag_indices_from(arr: ArrayLike) -> tuple[Array, ...]:
    """The indices of the main diagonal of an array.

    >>> jnp.diag_indices_from(jnp.ones((2, 2)))[0]
    Array([0, 1], dtype=int32)
    """
    check_arraylike("diag_indices_from", arr)
    shape = np.shape(arr)
    if len(shape) < 2:
        raise ValueError("input array must be at least 2-d")
    if len(set(shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    return diag_indices(shape[0], len(shape))


def _static_indices(mask: np.ndarray) -> tuple[Array, Array]:
    return tuple(as_array(i.astype(default_dtype("i"))) for i in np.nonzero(mask))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The indices at and below the k-th diagonal of an n by m matrix.

    >>> jnp.tril_indices(2)
    (Array([0, 1, 1], dtype=int32), Array([0, 0, 1], dtype=int32))
    """
    return _static_indices(np.tri(n, m, k, dtype=bool))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The indices at and above the k-th diagonal of an n by m matrix.

    >>> jnp.triu_indices(2)
    (Array([0, 0, 1], dtype=int32), Array([0, 1, 1], dtype=int32))
    """
    return _static_indices(~np.tri(n, m, k - 1, dtype=bool))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """tril_indices of a matrix.

    >>> jnp.tril_indices_from(jnp.ones((2, 2)))[0]
    Array([0, 1, 1], dtype=int32)
    """
    n, m = _matrix_shape(arr)
    return tril_indices(n, k, m)


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """triu_indices of a matrix.

    >>> jnp.triu_indices_from(jnp.ones((2, 2)))[0]
    Array([0, 0, 1], dtype=int32)
    """
    n, m = _matrix_shape(arr)
    return triu_indices(n, k, m)


def _matrix_shape(arr: Any) -> tuple[int, int]:
    if len(np.shape(arr)) != 2:
        raise ValueError("Only 2-D inputs are accepted")
    return np.shape(arr)


def mask_indices(n: int, mask_func: Callable, k: int = 0, *, size: int | None = None) -> tuple[Array, ...]:
    """The indices where mask_func(ones((n, n)), k) is nonzero.

    >>> jnp.mask_indices(2, jnp.triu)[0]
    Array([0, 0, 1], dtype=int32)
    """
    return nonzero(mask_func(lax.full((n, n), 1, default_dtype("f")), k), size=size)

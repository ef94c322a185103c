"""Maps Python objects, shapes and ranges to new arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.trace import current_builder
from tracejit.ir.types import (
    FLOAT0,
    SHORT_NAMES,
    ArrayType,
    ExtendedDType,
    canonicalize_dtype,
    default_dtype,
    is_inexact,
    kind_of,
    requested_dtype,
)
from tracejit.ir.types import promote as join_types
from tracejit.ir.types import type_of as type_of_any
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    Var,
    as_array,
    canonical_shape,
    cast_numpy,
    check_arraylike,
    convert,
    expand_to,
    strong,
    check_promotion,
)
from tracejit.numpy.remembered import remembered
from tracejit.pytree import COMPOSITES
from tracejit.runtime.array import from_dlpack as array_on_tensor
from tracejit.runtime.placed import GPU_MEMORY, PlacedArray, default_place
from tracejit.runtime.transfer import device_put

# --- from Python objects -----------------------------------------------------------------------------


def array(
    object: Any,
    dtype: DTypeLike | None = None,
    copy: bool = True,
    order: str | None = "K",
    ndmin: int = 0,
    *,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """An array of a scalar, nested sequences or another array; floats are float32 unless the object says otherwise.

    >>> jnp.array([[1, 2.5], [3, 4]])
    Array([[1. , 2.5],
           [3. , 4. ]], dtype=float32)
    """
    if order not in (None, "K"):
        raise NotImplementedError("Only implemented for order='K'")
    result = _from_object(object, None if dtype is None else requested_dtype(dtype), copy)
    if ndmin > result.ndim:
        result = lax.expand_dims(result, tuple(range(ndmin - result.ndim)))
    return place_on(result, device, out_sharding)


def asarray(
    a: Any,
    dtype: DTypeLike | None = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """`array`, which copies only if copy is True.

    >>> jnp.asarray([True, 2]).dtype
    dtype('int32')
    """
    if isinstance(a, (Array, Var)) and dtype is None and not copy and order is None and device is None:
        return a
    if copy is False and isinstance(a, (Array, Var)) and dtype is not None and canonicalize_dtype(dtype) != a.dtype:
        raise ValueError(f"jnp.asarray: cannot convert to {dtype} without a copy (copy=False)")
    return array(a, dtype, bool(copy), order, device=device, out_sharding=out_sharding)


def place_on(x: Array, device: Any, sharding: Any = None) -> Array:
    """x on the device asked for, else on the default device."""
    target = device if device is not None else sharding
    return x if target is None and default_place() is None else device_put(x, target)


def _from_object(x: Any, dtype: np.dtype | None, copy: bool) -> Array:
    if hasattr(x, "__jax_array__"):
        x = x.__jax_array__()
    if isinstance(x, (Array, Var)):
        return _from_array(x, dtype, copy)
    if isinstance(x, (bool, int, float, complex, np.generic)):
        return as_array(x if dtype is None else _checked_cast(x, dtype))
    if isinstance(x, (list, tuple, range)):
        return _from_sequence(x, dtype)
    if x is None:
        raise ValueError("None is not a valid value for jnp.array")
    numbers = np.asarray(x)
    return as_array(_checked(np.array(numbers, dtype=dtype or canonicalize_dtype(numbers.dtype)), x))


def _from_array(x: Array, dtype: np.dtype | None, copy: bool) -> Array:
    if dtype is not None and (x.dtype != dtype or x.weak_type):
        return lax.convert_element_type(x, dtype)
    if copy and isinstance(x, Array) and not isinstance(x, Var) and not x.weak_type:
        return x._copy()  # its own memory: the original may be donated later
    return x


def _checked(numbers: np.ndarray, source: Any) -> np.ndarray:
    if numbers.dtype not in SHORT_NAMES:
        raise DtypeError(
            f"Value {str(source)[:80]!r} with dtype {numbers.dtype} is not a valid array type. "
            "Only arrays of numeric types are supported."
        )
    return numbers


def _checked_cast(x: Any, dtype: np.dtype) -> np.ndarray:
    if dtype not in SHORT_NAMES:
        raise DtypeError(f"{dtype} is not a dtype of arrays")
    if type(x) is int and dtype.kind in "iu":
        return np.array(x, dtype)  # raises OverflowError for a Python int that does not fit
    return cast_numpy(x, dtype)


def _from_sequence(x: Sequence, dtype: np.dtype | None) -> Array:
    if _types_in(x) <= _NUMBERS:
        return _from_numbers(x, dtype)
    leaves = list(_leaves(x))
    if dtype is None:
        dtype = _dtype_of_leaves(x, leaves)
    if any(isinstance(leaf, Var) or leaf.__class__ in COMPOSITES for leaf in leaves):
        return _stack_nested(x, dtype)
    numbers = np.array(_without_arrays(x) if any(isinstance(leaf, Array) for leaf in leaves) else x)
    return as_array(cast_numpy(numbers, dtype))


_NUMBERS = {bool, int, float, complex}
_SEQUENCES = {list, tuple, range}


def _types_in(x: Sequence) -> set[type]:
    """The types of the leaves of nested sequences."""
    types = {int} if isinstance(x, range) else set(map(type, x))
    if types & _SEQUENCES:
        types = (types - _SEQUENCES).union(*(_types_in(item) for item in x if type(item) in _SEQUENCES))
    return types


def _from_numbers(x: Sequence, dtype: np.dtype | None) -> Array:
    """Nested sequences of Python numbers: default dtypes, 64 bits where an integer needs them."""
    if dtype is not None and dtype.kind in "iu" and _types_in(x) <= {int, bool} and np.size(x):
        return as_array(np.array(x, dtype))  # raises OverflowError for a Python int that does not fit
    numbers = np.array(x)
    if numbers.dtype == object:
        raise OverflowError("Python int too large to convert to C long")
    if dtype is not None and dtype.kind in "iuf" and numbers.dtype.kind == "c":
        raise DtypeError(f"complex numbers are no {dtype}", fix="take their real parts, or ask for a complex dtype")
    if dtype is None:
        dtype = default_dtype(numbers.dtype.kind)
        limits = np.iinfo(dtype) if dtype.kind in "iu" and numbers.size else None
        if limits is not None and (numbers.min() < limits.min or numbers.max() > limits.max):
            dtype = canonicalize_dtype(numbers.dtype)
            if dtype != numbers.dtype:
                raise OverflowError(f"Python int {numbers.max()} does not fit in {dtype}")
    return as_array(cast_numpy(numbers, dtype))


def _leaves(x: Any) -> Iterator[Any]:
    for item in x:
        if isinstance(item, (list, tuple, range)):
            yield from _leaves(item)
        else:
            yield item.__jax_array__() if hasattr(item, "__jax_array__") else item


def _dtype_of_leaves(x: Sequence, leaves: list) -> np.dtype:
    pairs = set()
    for leaf in leaves:
        if leaf is None:
            raise DtypeError("None is not a valid value for jnp.array")
        if isinstance(leaf, (str, bytes)) or isinstance(leaf, dict):
            raise DtypeError(f"Value {str(x)[:80]!r} is not a valid array. Only arrays of numeric types are supported.")
        t = (
            type_of_any(leaf)
            if not hasattr(leaf, "__array__") or hasattr(leaf, "dtype")
            else type_of_any(np.asarray(leaf))
        )
        pairs.add((t.dtype, t.weak_type))
    check_promotion("array", [ArrayType((), *pair) for pair in pairs])
    dtype, weak = join_types(sorted(pairs, key=str))
    return default_dtype(kind_of(dtype)) if weak and is_inexact(dtype) else dtype


def _without_arrays(x: Any) -> Any:
    if isinstance(x, (list, tuple, range)):
        return [_without_arrays(item) for item in x]
    return np.asarray(x)


def _stack_nested(x: Any, dtype: np.dtype) -> Array:
    if not isinstance(x, (list, tuple, range)):
        return as_array(convert(x, dtype))
    parts = [strong(_stack_nested(item, dtype)) for item in x]
    if len({p.shape for p in parts}) > 1:
        raise ValueError(f"setting an array element with a sequence: the shapes {[p.shape for p in parts]} differ")
    return lax.concatenate([lax.expand_dims(p, (0,)) for p in parts], 0)


def copy(a: ArrayLike, order: str | None = None) -> Array:
    """A copy of an array with its own memory.

    >>> jnp.copy(jnp.array([1, 2]))
    Array([1, 2], dtype=int32)
    """
    check_arraylike("copy", a)
    return array(a, copy=True)


def frombuffer(buffer: Any, dtype: DTypeLike = float, count: int = -1, offset: int = 0) -> Array:
    """An array from the bytes of a buffer. As in NumPy, `float` means 64-bit values in the buffer.

    >>> jnp.frombuffer(b"\\x01\\x02", dtype=jnp.uint8)
    Array([1, 2], dtype=uint8)
    """
    return asarray(np.frombuffer(buffer, dtype=np.dtype(dtype), count=count, offset=offset), dtype=dtype)


def fromstring(string: str, dtype: DTypeLike = float, count: int = -1, *, sep: str) -> Array:
    """An array from text of numbers separated by `sep`.

    >>> jnp.fromstring("1 2", dtype=jnp.int32, sep=" ")
    Array([1, 2], dtype=int32)
    """
    return asarray(np.fromstring(string, dtype=np.dtype(dtype), count=count, sep=sep), dtype=dtype)


def fromfile(*args: Any, **kwargs: Any) -> Array:
    """Not implemented: reading a file is no traceable function; use jnp.asarray(np.fromfile(...))."""
    raise NotImplementedError("fromfile has side effects; use jnp.asarray(np.fromfile(...))")


def fromiter(*args: Any, **kwargs: Any) -> Array:
    """Not implemented: consuming an iterator is no traceable function; use jnp.asarray(np.fromiter(...))."""
    raise NotImplementedError("fromiter has side effects; use jnp.asarray(np.fromiter(...))")


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array from an object of another library that has `__dlpack__`.

    >>> jnp.from_dlpack(np.arange(2, dtype="int32"))
    Array([0, 1], dtype=int32)
    """
    if isinstance(x, Array):
        return asarray(x, copy=copy, device=device)
    on_gpu = hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == GPU_MEMORY
    return asarray(array_on_tensor(x, copy) if on_gpu else np.from_dlpack(x), copy=None if on_gpu else copy, device=device)


# --- constant arrays ---------------------------------------------------------------------------------


SMALL = 1 << 16  # elements: outside of a trace a smaller constant is made at once, without compiling for its shape


def made_at_once(size: int) -> bool:
    return size <= SMALL and current_builder() is None


def _filled(shape: tuple[int, ...], value: Any, dtype: np.dtype) -> Array:
    if made_at_once(math.prod(shape)) and dtype in SHORT_NAMES:
        return as_array(np.full(shape, cast_numpy(value, dtype)))
    return lax.full(shape, value, dtype)


@remembered
def zeros(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """An array of zeros.

    >>> jnp.zeros(2)
    Array([0., 0.], dtype=float32)
    """
    if dtype is FLOAT0:
        return np.zeros(shape, FLOAT0)
    return place_on(_filled(canonical_shape(shape), 0, dtype_arg(dtype)), device, out_sharding)


@remembered
def ones(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """An array of ones.

    >>> jnp.ones((1, 2), dtype=int)
    Array([[1, 1]], dtype=int32)
    """
    return place_on(_filled(canonical_shape(shape), 1, dtype_arg(dtype)), device, out_sharding)


def empty(shape: Any, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None) -> Array:
    """As `zeros`: no array has undefined contents.

    >>> jnp.empty(2)
    Array([0., 0.], dtype=float32)
    """
    return zeros(shape, dtype, device=device, out_sharding=out_sharding)


@remembered
def full(
    shape: Any, fill_value: ArrayLike, dtype: DTypeLike | None = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """An array of copies of fill_value, which broadcasts to shape.

    >>> jnp.full((2, 2), jnp.array([1, 2]))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    check_arraylike("full", fill_value)
    shape = canonical_shape(shape)
    if np.ndim(fill_value) == 0:
        dtype = None if dtype is None else dtype_arg(dtype)
        known = dtype is not None and not isinstance(fill_value, (Array, Var))
        result = _filled(shape, fill_value, dtype) if known else lax.full(shape, fill_value, dtype)
    else:
        result = expand_to(asarray(fill_value, dtype), shape)
    return place_on(result, device, out_sharding)


def dtype_arg(dtype: DTypeLike | None) -> np.dtype:
    result = requested_dtype(float if dtype is None else dtype)
    if result not in SHORT_NAMES and not isinstance(result, ExtendedDType):
        raise DtypeError(f"{result} is not a dtype of arrays")
    return result


def _like(name: str, a: Any, fill: ArrayLike, dtype: DTypeLike | None, shape: Any, device: Any) -> Array:
    if not (hasattr(a, "shape") and hasattr(a, "dtype")):
        check_arraylike(name, a)
        a = as_array(a)
    shape = tuple(a.shape) if shape is None else canonical_shape(shape)
    device = a.device if device is None and isinstance(a, PlacedArray) else device
    if dtype is None and getattr(a, "weak_type", False):
        return place_on(full(shape, convert(fill, a.dtype, weak=True)), device)
    dtype = type_of_any(a).dtype if dtype is None else dtype_arg(dtype)
    return place_on(full(shape, fill, dtype) if np.ndim(fill) else _filled(shape, fill, dtype), device)


def zeros_like(
    a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """Zeros of the shape and dtype of another array, where not said otherwise.

    >>> jnp.zeros_like(jnp.array([1, 2]))
    Array([0, 0], dtype=int32)
    """
    return _like("zeros_like", a, 0, dtype, shape, device if device is not None else out_sharding)


def ones_like(
    a: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None, out_sharding: Any = None
) -> Array:
    """Ones of the shape and dtype of another array, where not said otherwise.

    >>> jnp.ones_like(jnp.array([3, 2]))
    Array([1, 1], dtype=int32)
    """
    return _like("ones_like", a, 1, dtype, shape, device if device is not None else out_sharding)


def empty_like(prototype: Any, dtype: DTypeLike | None = None, shape: Any = None, *, device: Any = None) -> Array:
    """As `zeros_like`.

    >>> jnp.empty_like(jnp.array([3, 2]))
    Array([0, 0], dtype=int32)
    """
    return _like("empty_like", prototype, 0, dtype, shape, device)


def full_like(
    a: Any,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    shape: Any = None,
    *,
    device: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Copies of fill_value in the shape and dtype of another array.

    >>> jnp.full_like(jnp.array([3, 2]), 7.5)
    Array([7, 7], dtype=int32)
    """
    check_arraylike("full_like", fill_value)
    return _like("full_like", a, fill_value, dtype, shape, device if device is not None else out_sharding)

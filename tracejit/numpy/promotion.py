"""Maps what users pass to jnp functions to operands of lax: checked, of one dtype, broadcast together."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.config import config
from tracejit.errors import AxisError, ConcretizationTypeError, DtypeError, ShapeError, TracerIntegerConversionError
from tracejit.ir import graph, trace
from tracejit.ir.types import ArrayType, canonicalize_dtype, requested_dtype, complex_dtype, default_dtype, is_inexact, kind_of
from tracejit.ir.types import promote as join_types
from tracejit.ir.types import type_of as type_of_any
from tracejit.lax.convert import ConvertElementType, converted
from tracejit.runtime.array import Array

ArrayLike = Any
DTypeLike = Any
Shape = Sequence[int]
Axis = int | Sequence[int] | None
Var = graph.Var

PYTHON_TYPE = {"i": int, "u": int, "f": float, "c": complex}
_ACCEPTED = (Array, Var, np.ndarray, bool, int, float, complex, np.bool_, np.number)


SIZED = "give size=n, the most elements that there can be; of where, give all three arguments: jnp.where(mask, x, y)"

# --- checks ------------------------------------------------------------------------------------------


def is_arraylike(x: Any) -> bool:
    """Whether jnp functions take x as it is: an array, a traced value or a scalar; no list."""
    return isinstance(x, _ACCEPTED) or hasattr(x, "__jax_array__") or isinstance(x, np.generic)


def check_arraylike(name: str, *args: Any) -> None:
    for position, x in enumerate(args):
        if not is_arraylike(x):
            how = f"jnp.{name}(jnp.asarray(x))" if isinstance(x, (list, tuple)) else "pass an array or a number"
            raise DtypeError(f"{name} requires ndarray or scalar arguments, got {type(x)} at position {position}.", fix=how)


def check_no_out(name: str, out: Any) -> None:
    if out is not None:
        raise NotImplementedError(f"The 'out' argument to jnp.{name} is not supported.")


def type_of(name: str, x: Any) -> ArrayType:
    check_arraylike(name, x)
    return type_of_any(x)


def dtype_of(x: Any) -> np.dtype:
    return type_of_any(x).dtype


def is_traced(x: Any) -> bool:
    return isinstance(x, Var)


def concrete(x: Any, what: str, fix: str | None = None) -> np.ndarray:
    """The numbers in x, which must be known while tracing: a size, a static index, a mask that fixes a shape."""
    value = trace.concrete_value(x)
    if value is None and isinstance(x, Var):
        raise ConcretizationTypeError(
            f"Abstract tracer value encountered where concrete value is expected. {what} needs known values here: they decide "
            f"the shape of a result or which error to raise. This one is a traced value of type {x.type}", fix=fix
        )
    return np.asarray(x if value is None else value)


def concrete_int(x: Any, what: str) -> int:
    if type(x) is int:
        return x
    if isinstance(x, Var):
        return operator.index(concrete(x, what)[()])
    return operator.index(x)


# --- conversion --------------------------------------------------------------------------------------


def as_array(x: ArrayLike) -> Array:
    """x as an Array or a traced value; lists are refused by check_arraylike before."""
    if isinstance(x, (Array, Var)):
        return x
    if hasattr(x, "__jax_array__"):
        return as_array(x.__jax_array__())
    if trace.current_builder() is not None and not np.ndim(x):  # a literal of the program, not a captured array
        t = type_of_any(x)
        return trace.bind(ConvertElementType(t.dtype, t.weak_type), x)
    return trace.hooks.as_array(x)


def convert(x: ArrayLike, dtype: np.dtype, weak: bool = False) -> ArrayLike:
    """x in this dtype. Scalars stay scalars, so that they become literals of the program."""
    if type(x) is int:
        check_fits(x, dtype)
    if isinstance(x, (Array, Var)):
        if x.dtype == dtype and (x.weak_type or not weak):  # weak with strong gives strong without a conversion
            return x
        return trace.bind(ConvertElementType(dtype, True), x) if weak else converted(x, dtype)
    if hasattr(x, "__jax_array__"):
        return convert(x.__jax_array__(), dtype, weak)
    if weak and np.ndim(x):
        return convert(as_array(x), dtype, weak)
    if weak:
        return PYTHON_TYPE[kind_of(dtype)](x) if dtype == default_dtype(kind_of(dtype)) else dtype.type(x)
    return cast_numpy(x, dtype) if canonicalize_dtype(dtype) == dtype else converted(x, dtype)


def check_fits(x: int, dtype: np.dtype) -> None:
    """Small Python ints wrap around in narrow dtypes, as in JAX; one beyond 32 bits that wraps is a mistake."""
    if dtype.kind in "iu" and not -2**31 <= x < 2**31 and not np.iinfo(dtype).min <= x <= np.iinfo(dtype).max:
        raise OverflowError(f"Python int {x} does not fit in {dtype}")


def cast_numpy(x: Any, dtype: np.dtype) -> np.ndarray:
    """A NumPy array or a scalar in another dtype; integers wrap around, imaginary parts are dropped with a ComplexWarning."""
    if type(x) is complex and dtype.kind not in "cb":
        raise DtypeError(f"the complex number {x} is no {dtype}", fix="take its real part, or ask for a complex dtype")
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(dtype)


def literal(value: Any, dtype: np.dtype) -> Any:
    """A Python number of the kind of dtype: beside an array it takes its dtype, and leaves a weak one weak."""
    return PYTHON_TYPE[kind_of(dtype)](value)


def strong(x: ArrayLike) -> ArrayLike:
    """x without the weak flag."""
    t = type_of_any(x)
    return lax.convert_element_type(x, t.dtype) if t.weak_type else as_array(x)


def inexact_type(dtype: np.dtype) -> np.dtype:
    """The dtype in which functions of the reals compute: itself, or the default float for integers and booleans.

    With x64 enabled that is float64 for 64-bit integers only, as in JAX.
    """
    if is_inexact(dtype):
        return dtype
    return default_dtype("f") if dtype.itemsize == 8 else np.dtype("float32")


# --- promotion ---------------------------------------------------------------------------------------


def types_of(name: str, args: Sequence[ArrayLike]) -> list[ArrayType]:
    return [type_of(name, x) for x in args]


def common_type(name: str, types: Sequence[ArrayType]) -> tuple[np.dtype, bool]:
    """The (dtype, weak) of the result of an operation on these, checked against numpy_dtype_promotion.

    It is one that numbers have too: an array made while x64 was on is made narrow to meet one when it is off.
    """
    check_promotion(name, types)
    dtype, weak = join_types([(t.dtype, t.weak_type) for t in types])
    return canonicalize_dtype(dtype), weak


_KIND_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def check_promotion(name: str, types: Sequence[ArrayType]) -> None:
    """If numpy_dtype_promotion is strict, arrays must share a dtype; a number may join arrays of its own or a higher kind."""
    if config.numpy_dtype_promotion != "strict":
        return
    strong_dtypes = {t.dtype for t in types if not t.weak_type}
    rank = max((_KIND_RANK[kind_of(d)] for d in strong_dtypes), default=3)
    if len(strong_dtypes) > 1 or any(t.weak_type and _KIND_RANK[kind_of(t.dtype)] > rank for t in types):
        raise DtypeError(
            f"{name}: Input dtypes {tuple(t.dtype.name for t in types)} have no available implicit dtype promotion path: "
            f"numpy_dtype_promotion is 'strict' and the arguments are {', '.join(map(str, types))}",
            fix="convert one with x.astype(dtype), or set numpy_dtype_promotion to 'standard'",
        )


def promote_dtypes(name: str, *args: ArrayLike) -> list:
    """args in their common dtype; shapes are left alone."""
    types = types_of(name, args)
    if all(t.dtype == types[0].dtype and t.weak_type == types[0].weak_type for t in types):
        return [as_array(x) if hasattr(x, "__jax_array__") else x for x in args]
    dtype, weak = common_type(name, types)
    return [convert(x, dtype, weak) for x in args]


def promote_dtypes_inexact(name: str, *args: ArrayLike) -> list:
    """args in their common dtype, made floating if it is not."""
    dtype, weak = common_type(name, types_of(name, args))
    return [convert(x, inexact_type(dtype), weak and dtype.kind != "b") for x in args]


def promote_dtypes_complex(name: str, *args: ArrayLike) -> list:
    dtype, weak = common_type(name, types_of(name, args))
    return [convert(x, complex_dtype(inexact_type(dtype)), weak and dtype.kind != "b") for x in args]


def promote(name: str, *args: ArrayLike) -> list:
    """args in their common dtype and shapes that lax's elementwise functions take together."""
    return broadcast_operands(name, promote_dtypes(name, *args))


def promote_inexact(name: str, *args: ArrayLike) -> list:
    return broadcast_operands(name, promote_dtypes_inexact(name, *args))


def inexact(name: str, x: ArrayLike) -> ArrayLike:
    """One argument, made floating if it is not."""
    t = type_of(name, x)
    if is_inexact(t.dtype):
        return as_array(x) if hasattr(x, "__jax_array__") else x
    return convert(x, inexact_type(t.dtype), t.weak_type)


# --- broadcasting ------------------------------------------------------------------------------------


def broadcast_shape(name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = ", ".join(map(str, shapes))
        raise ShapeError(f"{name} got incompatible shapes for broadcasting: {listed}.",
                         fix="axes are matched from the last; insert axes of size 1 with x[:, None] or jnp.expand_dims") from None


def broadcast_operands(name: str, args: list) -> list:
    """args with one shape, except that scalars stay scalars: lax takes those as they are."""
    shapes = [np.shape(x) for x in args]
    ranked = {s for s in shapes if s}
    if len(ranked) <= 1:
        return args
    target = broadcast_shape(name, shapes)
    check_rank_promotion(name, shapes)
    return [x if not s or s == target else expand_to(x, target) for x, s in zip(args, shapes, strict=True)]


def check_rank_promotion(name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    if config.numpy_rank_promotion != "allow" and len({len(s) for s in shapes if s}) > 1:
        message = (
            f"Operands could not be broadcast together for {name} on shapes {' '.join(map(str, shapes))} "
            f"and with the config option numpy_rank_promotion='{config.numpy_rank_promotion}'."
        )
        if config.numpy_rank_promotion == "raise":
            raise ShapeError(message)
        warnings.warn(message, stacklevel=4)


def expand_to(x: ArrayLike, shape: tuple[int, ...]) -> Array:
    """x broadcast to shape, by NumPy's rule."""
    own = np.shape(x)
    if own == shape:
        return as_array(x)
    lead = len(shape) - len(own)
    if lead < 0 or any(a not in (1, b) for a, b in zip(own, shape[lead:], strict=True)):
        raise ShapeError(f"Incompatible shapes for broadcasting: {own} and requested shape {shape}")
    kept = [i for i, d in enumerate(own) if d == shape[lead + i]]
    if len(kept) < len(own):
        x = lax.reshape(x, tuple(own[i] for i in kept))
    return lax.broadcast_in_dim(x, shape, tuple(lead + i for i in kept))


# --- axes and sizes ----------------------------------------------------------------------------------


def canonical_axis(axis: Any, ndim: int) -> int:
    """axis as a number in [0, ndim); AxisError if it is out of range."""
    index = axis if type(axis) is int else concrete_int(axis, "axis")
    if not -ndim <= index < ndim:
        raise AxisError(f"axis {index} is out of bounds for array of dimension {ndim}",
                        fix=f"give an axis from {-ndim} to {ndim - 1}" if ndim else "the array has no axes")
    return index % ndim


def axes_given(axis: Any) -> tuple:
    """An axis, or several in anything that can be iterated over, as a tuple.

    >>> axes_given(1), axes_given(range(2)), int(axes_given(np.array([0, 2]))[1])
    ((1,), (0, 1), 2)
    """
    return tuple(axis) if isinstance(axis, Iterable) and getattr(axis, "ndim", 1) else (axis,)


def canonical_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """An axis, several or None (all) as a tuple of distinct numbers in [0, ndim)."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(canonical_axis(a, ndim) for a in axes_given(axis))
    if len(set(axes)) != len(axes):
        raise AxisError(f"repeated axis: duplicate value in 'axis': {axis}")
    return axes


def canonical_shape(shape: Any) -> tuple[int, ...]:
    """A shape or a single size as a tuple of Python ints."""
    sizes = (shape,) if getattr(shape, "ndim", None) == 0 or np.isscalar(shape) else tuple(shape)
    result = tuple(map(_size, sizes))
    if any(d < 0 for d in result):
        raise ShapeError(f"a shape must have every element be nonnegative, got {result}.")
    return result


def _size(d: Any) -> int:
    try:
        return concrete_int(d, "shape")
    except TypeError:
        kind = TracerIntegerConversionError if isinstance(d, Var) else DtypeError
        raise kind(f"Shapes must be 1D sequences of concrete values of integer type, got {d!r}.\nIf using `jit`, try using "
                   "`static_argnums` or applying `jit` to smaller subfunctions.") from None


def dtype_or(dtype: DTypeLike, default: Any) -> np.dtype:
    """The dtype asked for, or the default."""
    return requested_dtype(default if dtype is None else dtype)

"""What samplers ask of their arguments: user-given shape, dtype and parameters -> canonical ones, or an error."""
from __future__ import annotations

import operator

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.types import SHORT_NAMES, requested_dtype
from tracejit.numpy.promotion import axes_given


KINDS = {np.floating: "float", np.inexact: "float or complex", np.unsignedinteger: "unsigned integer"}


def shape_of(shape) -> tuple[int, ...]:
    """A shape given as a sequence of integers or one integer."""
    try:
        sizes = tuple(map(operator.index, axes_given(shape)))
    except TypeError as error:
        raise TypeError(f"Shapes must be 1D sequences of concrete values of integer type, got {shape}.") from error
    if any(size < 0 for size in sizes):
        raise ValueError(f"a shape has no negative sizes, got {sizes}")
    return sizes


def broadcast_shape(caller: str, shape, *parameters) -> tuple[int, ...]:
    """``shape``, or the broadcast shape of the parameters if it is None; they must broadcast to it exactly."""
    shapes = [np.shape(parameter) for parameter in parameters]
    if shape is None:
        return np.broadcast_shapes(*shapes)
    shape = shape_of(shape)
    check_shape(caller, shape, *shapes)
    return shape


def check_shape(caller: str, shape: tuple[int, ...], *parameter_shapes: tuple[int, ...]) -> None:
    if np.broadcast_shapes(shape, *parameter_shapes) != shape:
        raise ValueError(f"random.{caller}: parameters of shapes {list(parameter_shapes)} do not broadcast to the "
                         f"requested shape {shape}")


def dtype_of(caller: str, dtype, default: type, kind: type) -> np.dtype:
    """``dtype``, or the default one of Python's ``default`` type, which must be of NumPy's ``kind``."""
    dtype = requested_dtype(default if dtype is None else dtype)
    if not jnp.issubdtype(dtype, kind):
        error = TypeError if caller == "randint" else ValueError
        name = KINDS.get(kind, kind.__name__)
        raise error(f"dtype argument to `{caller}` must be {'an' if name[0] in 'aeiou' else 'a'} {name} dtype, got {dtype}")
    if dtype not in SHORT_NAMES:
        raise DtypeError(f"random.{caller}: {dtype} is not a dtype that numbers are drawn in",
                         fix="draw float32 numbers, and convert them")
    return dtype


def float_dtype(caller: str, dtype) -> np.dtype:
    return dtype_of(caller, dtype, float, np.floating)


def check_castable(caller: str, dtype: np.dtype, *parameters) -> None:
    """A parameter of a wider dtype than the result is a mistake rather than a wish for fewer digits."""
    for parameter in parameters:
        if np.dtype(jnp.result_type(parameter, dtype)) != dtype:
            raise ValueError(f"random.{caller}: a parameter of dtype {jnp.result_type(parameter)} does not fit "
                                     f"into {dtype}; pass dtype= or cast the parameter")


def exact(dtype: np.dtype, *parameters) -> list:
    """Scalars as arrays of ``dtype``, arrays as they are: a compiled function rounds Python's floats to the default dtype."""
    return [np.array(x, dtype) if isinstance(x, (bool, int, float, np.generic)) else x for x in parameters]


def cast_to(dtype: np.dtype, shape: tuple[int, ...], *parameters) -> list:
    return [jnp.broadcast_to(lax.convert_element_type(parameter, dtype), shape) for parameter in parameters]

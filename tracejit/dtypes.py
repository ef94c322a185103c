"""Dtypes: the canonical form of a dtype, promotion, limits, and float0, the dtype of integers' derivatives."""
from typing import Any

import numpy as np

from tracejit.errors import DtypeError as TypePromotionError
from tracejit.ir import types as _types
from tracejit.ir.types import FLOAT0 as float0
from tracejit.ir.types import ExtendedDType as ExtendedDType
from tracejit.ir.types import kind_of
from tracejit.lax.reinterpret import bits_of
from tracejit.numpy.dtypes import finfo as finfo
from tracejit.numpy.dtypes import iinfo as iinfo
from tracejit.numpy.dtypes import promote_types as promote_types
from tracejit.numpy import dtypes as _dtypes
from tracejit.random.keys import extended as extended
from tracejit.random.keys import prng_key as prng_key
from tracejit.typing import DTypeLike

DType = np.dtype
bfloat16 = _types.bfloat16.type

__all__ = ["ExtendedDType", "TypePromotionError", "bfloat16", "canonicalize_dtype", "extended", "finfo", "float0", "iinfo",
           "issubdtype", "itemsize_bits", "prng_key", "promote_types", "result_type", "scalar_type_of"]


def canonicalize_dtype(dtype: DTypeLike, allow_extended_dtype: bool = False) -> Any:
    """A dtype-like as the dtype that arrays of it have: 64 bits are kept unless x64 mode was switched off.

    >>> canonicalize_dtype("float64")
    dtype('float64')
    """
    return dtype if allow_extended_dtype and dtype in (extended, prng_key) else _types.canonicalize_dtype(dtype)


def to_complex_dtype(dtype: DTypeLike) -> np.dtype:
    """The complex dtype for values of a dtype: complex128 for 64-bit numbers and complex128, else complex64.

    >>> to_complex_dtype("float64")
    dtype('complex128')
    """
    wide = canonicalize_dtype(dtype).name in ("float64", "complex128", "int64", "uint64")
    return np.dtype("complex128" if wide else "complex64")


def issubdtype(a: Any, b: Any) -> bool:
    """Whether a dtype lies below another or below an abstract kind.

    >>> issubdtype("float32", np.floating)
    True
    """
    return _dtypes.issubdtype(a, b)


def result_type(*args: Any, return_weak_type_flag: bool = False) -> Any:
    """The dtype that arrays, scalars and dtypes promote to together; with the flag, also whether it is weak.

    >>> result_type(1.0, return_weak_type_flag=True)
    (dtype('float32'), True)
    """
    dtype = _dtypes.result_type(*args)
    return (dtype, _types.result_type(*args)[1]) if return_weak_type_flag else dtype


def scalar_type_of(x: object) -> type:
    """The Python type whose values are like x: bool, int, float or complex.

    >>> scalar_type_of(1.5)
    <class 'float'>
    """
    return {"b": bool, "i": int, "u": int, "f": float, "c": complex}[kind_of(result_type(x))]


def itemsize_bits(dtype: DTypeLike) -> int:
    """The bits that one element takes.

    >>> itemsize_bits("float32"), itemsize_bits("int4")
    (32, 4)
    """
    return bits_of(np.dtype(dtype))

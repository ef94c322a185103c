"""Dtypes: the canonical form of a dtype, promotion, limits, and float0, the dtype of integers' derivatives."""
import numpy as np

from tracejit.errors import DtypeError as TypePromotionError
from tracejit.ir.types import FLOAT0 as float0
from tracejit.ir.types import bfloat16 as bfloat16
from tracejit.ir.types import canonicalize_dtype as canonicalize_dtype
from tracejit.ir.types import kind_of
from tracejit.numpy.dtypes import finfo as finfo
from tracejit.numpy.dtypes import iinfo as iinfo
from tracejit.numpy.dtypes import issubdtype as issubdtype
from tracejit.numpy.dtypes import promote_types as promote_types
from tracejit.numpy.dtypes import result_type as result_type
from tracejit.random.keys import extended as extended
from tracejit.random.keys import prng_key as prng_key
from tracejit.typing import DTypeLike

__all__ = ["TypePromotionError", "bfloat16", "canonicalize_dtype", "extended", "finfo", "float0", "iinfo", "issubdtype",
           "itemsize_bits", "prng_key", "promote_types", "result_type", "scalar_type_of"]


def scalar_type_of(x: object) -> type:
    """The Python type whose values are like x: bool, int, float or complex.

    >>> scalar_type_of(1.5)
    <class 'float'>
    """
    return {"b": bool, "i": int, "u": int, "f": float, "c": complex}[kind_of(result_type(x))]


def itemsize_bits(dtype: DTypeLike) -> int:
    """The bits that one element takes.

    >>> itemsize_bits("float32")
    32
    """
    return np.dtype(dtype).itemsize * 8

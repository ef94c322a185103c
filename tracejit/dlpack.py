"""Exchanging memory with other libraries."""
from typing import Any

import numpy as np

from tracejit import numpy as jnp
from tracejit.absent import getter
from tracejit.ir.types import SHORT_NAMES


def from_dlpack(external_array: Any, device: Any = None, copy: bool | None = None) -> Any:
    """An Array from an object of another library that has `__dlpack__`, on its memory where that is dense.

    >>> from_dlpack(np.arange(3.0))
    Array([0., 1., 2.], dtype=float64)
    """
    return jnp.from_dlpack(external_array, device=device, copy=copy)


def is_supported_dtype(dtype: Any) -> bool:
    """Whether arrays of a dtype can be exchanged.

    >>> is_supported_dtype("float32"), is_supported_dtype(object)
    (True, False)
    """
    if dtype is None:
        raise TypeError("is_supported_dtype: expected a dtype, got None")
    return np.dtype(dtype) in SHORT_NAMES


__getattr__ = getter(__name__)

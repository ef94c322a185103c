"""Exchanging memory with other libraries."""
from typing import Any

from tracejit import numpy as jnp
from tracejit.absent import getter


def from_dlpack(external_array: Any, device: Any = None, copy: bool | None = None) -> Any:
    """An Array from an object of another library that has `__dlpack__`, on its memory where that is dense.

    >>> from_dlpack(np.arange(3.0))
    Array([0., 1., 2.], dtype=float64)
    """
    return jnp.from_dlpack(external_array, device=device, copy=copy)


__getattr__ = getter(__name__)

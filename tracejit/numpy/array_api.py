"""What the Python array API standard asks of a namespace beyond functions: its version and a description of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.types import default_dtype
from tracejit.numpy.dtypes import isdtype
from tracejit.runtime.device import CPU

__array_api_version__ = "2024.12"
_DTYPES = {
    n: np.dtype(n)
    for n in (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
}


class ArrayNamespaceInfo:
    """Capabilities, devices and dtypes (array API standard, "inspection")."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing works outside jit; result shapes may depend on data outside jit; any rank.

        >>> jnp.__array_namespace_info__().capabilities()["boolean indexing"]
        True
        """
        return {"boolean indexing": True, "data-dependent shapes": False, "max dimensions": 64}

    def default_device(self) -> Any:
        return CPU

    def devices(self) -> list:
        return [CPU]

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        return {
            "real floating": default_dtype("f"),
            "complex floating": default_dtype("c"),
            "integral": default_dtype("i"),
            "indexing": default_dtype("i"),
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        return {n: d for n, d in _DTYPES.items() if kind is None or (kind != () and isdtype(d, kind))}


def __array_namespace_info__() -> ArrayNamespaceInfo:
    """The namespace's description of itself."""
    return ArrayNamespaceInfo()

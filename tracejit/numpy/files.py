"""Maps arrays to NumPy's file formats and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.types import bfloat16
from tracejit.numpy.creation import asarray

save = np.save
savez = np.savez


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """What save or savez wrote; a .npy file as an array (bfloat16, which .npy has no name for, included).

    >>> import io
    >>> buffer = io.BytesIO(); jnp.save(buffer, jnp.array([1, 2])); _ = buffer.seek(0)
    >>> jnp.load(buffer)
    Array([1, 2], dtype=int32)
    """
    out = np.load(file, *args, **kwargs)
    if not isinstance(out, np.ndarray) or out.dtype == object:
        return out
    return asarray(out.view(bfloat16) if out.dtype == np.dtype("V2") else out)

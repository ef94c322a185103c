"""Arrays made out of parts per device, in JAX's terms: with one device there is one part, the whole."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import ShapeError
from tracejit.ir.types import type_of
from tracejit.runtime.transfer import device_put


def whole(caller: str, x: Any, shape: Sequence[int], dtype: Any) -> Any:
    made = device_put(x if dtype is None else x.astype(dtype))
    if type_of(made).shape != tuple(shape):
        raise ShapeError(f"{caller}: the part for the one device must have the shape {tuple(shape)}, got {type_of(made)}")
    return made


def make_array_from_callback(shape: Sequence[int], sharding: Any, data_callback: Callable, dtype: Any = None) -> Any:
    """The Array whose part for a device is data_callback(index), index being a tuple of slices.

    >>> import numpy as np
    >>> make_array_from_callback((2,), None, lambda index: np.arange(2.0)[index])
    Array([0., 1.], dtype=float64)
    """
    return whole("make_array_from_callback", data_callback(tuple(slice(None) for _ in shape)), shape, dtype)


def make_array_from_single_device_arrays(shape: Sequence[int], sharding: Any, arrays: Sequence[Any], *, dtype: Any = None
                                         ) -> Any:
    """The Array that is made of one array per device. ValueError unless there is one.

    >>> import numpy as np
    >>> make_array_from_single_device_arrays((2,), None, [np.ones(2, "float32")])
    Array([1., 1.], dtype=float32)
    """
    if len(arrays) != 1:
        raise ValueError(f"make_array_from_single_device_arrays: one device holds one array, got {len(arrays)}")
    return whole("make_array_from_single_device_arrays", arrays[0], shape, dtype)


def make_array_from_process_local_data(sharding: Any, local_data: Any, global_shape: Sequence[int] | None = None) -> Any:
    """The Array that is made of what every process has: one process has all of it.

    >>> import numpy as np
    >>> make_array_from_process_local_data(None, np.ones(2, "float32"))
    Array([1., 1.], dtype=float32)
    """
    shape = type_of(local_data).shape if global_shape is None else global_shape
    return whole("make_array_from_process_local_data", local_data, shape, None)

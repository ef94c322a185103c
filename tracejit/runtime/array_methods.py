"""What an Array can do from Python, written once for both classes: numbers, text, pickling, conversion.

A class that takes these methods has `type`, `_data` (an address, 0 once deleted) and `_host()` (a read-only view).
"""
from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit import errors
from tracejit.ir.types import ArrayType
from tracejit.runtime.device import CPU, Device, SingleDeviceSharding


def index_text(index: Any) -> str:
    """An index as it is written between brackets.

    >>> index_text((slice(1, None), 0, ...))
    '1:, 0, ...'
    """
    if isinstance(index, tuple):
        return ", ".join(map(index_text, index)) or "()"
    if isinstance(index, slice):
        parts = ["" if part is None else str(part) for part in (index.start, index.stop)]
        return ":".join(parts + ([] if index.step is None else [str(index.step)]))
    if index is Ellipsis:
        return "..."
    return repr(index) if isinstance(index, (int, str, bool, type(None))) else "index"


def check_scalar(x: Any) -> None:
    if x.type.size != 1 or x.type.ndim:
        raise TypeError(f"Only scalar arrays can be converted to Python scalars; this one is {x.type}")


@dataclass(frozen=True)
class Shard:
    """The part of an array that one device holds."""
    device: Device
    index: tuple[slice, ...]
    replica_id: int
    data: Any


class ArrayMethods:
    """The methods; see the module."""
    __slots__ = ()
    __array_priority__ = 100  # numpy_array + array is ours

    type: ArrayType
    _data: int
    _host: Any

    # --- where it is -----------------------------------------------------------------------------

    @property
    def device(self) -> Device:
        """The device that holds the memory."""
        return CPU

    def devices(self) -> set[Device]:
        return {CPU}

    @property
    def sharding(self) -> SingleDeviceSharding:
        return SingleDeviceSharding(CPU)

    @property
    def is_fully_addressable(self) -> bool:
        return True

    @property
    def is_fully_replicated(self) -> bool:
        return True

    @property
    def committed(self) -> bool:
        return False

    @property
    def aval(self) -> ArrayType:
        """The type of the array."""
        return self.type

    def on_device_size_in_bytes(self) -> int:
        """The bytes that the elements take."""
        return self.type.nbytes

    def addressable_data(self, index: int) -> Any:
        """The part of the array on the index-th device: on the one that there is, all of it."""
        return [self][index]

    @property
    def addressable_shards(self) -> list[Shard]:
        """The parts of the array by device: one, the whole."""
        return [Shard(CPU, tuple(slice(None) for _ in self.type.shape), 0, self)]

    global_shards = addressable_shards

    @property
    def format(self) -> None:
        """How the elements lie in memory, where that is not row by row."""

    def is_deleted(self) -> bool:
        """Was the memory given away or deleted?"""
        return self._data == 0

    def unsafe_buffer_pointer(self) -> int:
        """The address of the first element; valid as long as the array is."""
        self._check()
        return self._data

    def block_until_ready(self) -> Any:
        """The array itself: results are complete when a call returns."""
        self._check()
        return self

    def copy_to_host_async(self) -> None:
        """Nothing: the memory is on the host."""

    def _check(self) -> None:
        if self._data == 0:
            raise errors.DonatedArrayError(f"Array has been deleted with type {self.type}")

    # --- to NumPy and Python ---------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = self._host()
        if dtype is not None and np.dtype(dtype) != host.dtype:
            if copy is False:
                raise ValueError(f"converting {host.dtype} to {np.dtype(dtype)} needs a copy")
            return host.astype(dtype)
        return host.copy() if copy else host

    def item(self, *args: int) -> Any:
        """One element as a Python scalar: the only one, or that at an index."""
        return self._host().item(*args)

    def tolist(self) -> Any:
        """Nested lists of Python scalars; a scalar for rank 0."""
        return self._host().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self._host().tobytes(order)

    def __bool__(self) -> bool:
        if self.type.size == 0:
            raise ValueError("The truth value of an empty array is ambiguous; use x.size > 0")
        if self.type.size > 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous; "
                             "use x.any() or x.all()")
        return bool(self._host().reshape(()))

    def __int__(self) -> int:
        check_scalar(self)
        return int(self._host())

    def __float__(self) -> float:
        check_scalar(self)
        return float(self._host())

    def __complex__(self) -> complex:
        check_scalar(self)
        return complex(self._host())

    def __index__(self) -> int:
        if self.type.ndim or self.type.dtype.kind not in "iu":
            raise TypeError(f"Only integer scalar arrays can be converted to a scalar index. This one is {self.type}")
        return operator.index(self._host()[()])

    def __len__(self) -> int:
        if not self.type.shape:
            raise TypeError("len() of unsized object")
        return self.type.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.type.shape:
            raise TypeError("iteration over a 0-d array")
        self._check()
        return iter([self._row(i) for i in range(self.type.shape[0])])

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def __setitem__(self, index: Any, value: Any) -> None:
        raise errors.ImmutableArrayError("arrays are immutable and do not support in-place item assignment",
                                         fix=f"x = x.at[{index_text(index)}].set(value)")

    def __delitem__(self, index: Any) -> None:
        raise errors.ImmutableArrayError("elements of an Array cannot be deleted", fix="use jnp.delete(x, index)")

    __hash__ = None

    # --- text ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self.is_deleted():
            return f"<deleted Array with type {self.type}>"
        dtype = f"dtype={self.type.dtype.name}" + (", weak_type=True" if self.type.weak_type else "") + ")"
        if self.type.size == 0:
            return f"Array([], shape={self.type.shape}, {dtype}"
        text = np.array2string(self._host(), prefix="Array(", suffix=",", separator=", ")
        last = len(text) - (text.rfind("\n") + 1)
        fits = last + len(dtype) + 1 <= np.get_printoptions()["linewidth"]
        return f"Array({text}, {dtype}" if fits else f"Array({text},\n{' ' * 6}{dtype}"

    def __str__(self) -> str:
        return str(self._host())

    def __format__(self, spec: str) -> str:
        return format(self._host()[()], spec)

    # --- copies ----------------------------------------------------------------------------------

    def __copy__(self) -> Any:
        return self._copy()

    def __deepcopy__(self, memo: dict) -> Any:
        return self._copy()

    # --- exchange --------------------------------------------------------------------------------

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # kDLCPU

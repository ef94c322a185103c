"""DLPack capsules of other libraries -> address, shape and dtype (https://dmlc.github.io/dlpack/latest/)."""
from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from tracejit.ir.types import NARROW, bfloat16
from tracejit.runtime import llvm

KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
BFLOAT, OPAQUE = 4, 3
FLOAT8 = {"float8_e3m4": 7, "float8_e4m3": 8, "float8_e4m3b11fnuz": 9, "float8_e4m3fn": 10,
          "float8_e4m3fnuz": 11, "float8_e5m2": 12, "float8_e5m2fnuz": 13}
CPU_DEVICES = (1, 3)  # host memory, and host memory that an accelerator has pinned
USED = {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}  # not copied by SetName: keep


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class OldTensor(ctypes.Structure):
    """DLManagedTensor, of capsules called "dltensor"."""
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class VersionedTensor(ctypes.Structure):
    """DLManagedTensorVersioned, of capsules called "dltensor_versioned"."""
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", Tensor)]


NAMES: dict[bytes, type[ctypes.Structure]] = {b"dltensor": OldTensor, b"dltensor_versioned": VersionedTensor}

valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", llvm.api))
pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", llvm.api))
rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", llvm.api))


def dtype_word(dtype: np.dtype) -> int:
    """DLDataType {code, bits, lanes} as a little-endian word."""
    code = BFLOAT if dtype == bfloat16 else FLOAT8.get(dtype.name, OPAQUE) if dtype in NARROW else KINDS[dtype.kind]
    return code | dtype.itemsize * 8 << 8 | 1 << 16


def dtype_of(tensor: Tensor) -> np.dtype:
    if tensor.lanes == 1:
        if tensor.code == BFLOAT and tensor.bits == 16:
            return bfloat16
        if tensor.code in FLOAT8.values():
            return np.dtype(next(name for name, code in FLOAT8.items() if code == tensor.code))
        for kind, code in KINDS.items():
            if code == tensor.code and tensor.bits % 8 == 0:
                return np.dtype(f"{kind}{tensor.bits // 8}")
    raise TypeError(f"arrays have no dtype like DLPack's code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes")


class Consumed:
    """A tensor that another library lent; it is given back when this object dies."""

    def __init__(self, capsule: Any) -> None:
        name = next((name for name in NAMES if valid(capsule, name)), None)
        if name is None:
            raise TypeError("__dlpack__ did not return a DLPack capsule that is still unused")
        self.managed = NAMES[name].from_address(pointer_of(capsule, name))
        tensor = self.managed.tensor
        if tensor.device_type not in CPU_DEVICES:
            raise BufferError(f"the tensor is on DLPack device {tensor.device_type}, not on the host")
        self.dtype = dtype_of(tensor)
        rename(capsule, USED[name])  # from here on the tensor is ours to delete
        self.is_owned = True
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.shape = tuple(tensor.shape[:tensor.ndim])
        self.strides = tuple(tensor.strides[:tensor.ndim]) if tensor.strides else dense_strides(self.shape)

    @property
    def is_dense(self) -> bool:
        """Is it in C order and aligned, so that it can be used as it is?"""
        needed = [(d, s, c) for d, s, c in zip(self.shape, self.strides, dense_strides(self.shape)) if d != 1]
        dense = math.prod(self.shape) == 0 or all(s == c for _, s, c in needed)
        part = self.dtype.itemsize // (2 if self.dtype.kind == "c" else 1)
        return dense and self.address != 0 and self.address % part == 0

    def to_numpy(self) -> np.ndarray:
        """A view in the tensor's own layout."""
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, self.dtype)
        raw = f"|V{self.dtype.itemsize}"
        strides = tuple(s * self.dtype.itemsize for s in self.strides)
        self.__array_interface__ = {"data": (self.address, True), "shape": self.shape, "strides": strides,
                                    "typestr": raw, "version": 3}
        return np.asarray(self).view(self.dtype)

    def __del__(self) -> None:
        if getattr(self, "is_owned", False) and self.managed.deleter:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.managed.deleter)(ctypes.addressof(self.managed))


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1:]) for i in range(len(shape)))


def consume(x: Any) -> Consumed:
    """Take the tensor that `x.__dlpack__()` lends; TypeError for an object without that method."""
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack needs an object with __dlpack__, got {type(x).__name__}")
    try:
        return Consumed(x.__dlpack__(max_version=(1, 0)))  # the older protocol cannot lend read-only memory
    except TypeError:
        return Consumed(x.__dlpack__())

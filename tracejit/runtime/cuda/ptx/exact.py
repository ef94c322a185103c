"""Fused multiply-add of NumPy arrays with one rounding, as on a device: NumPy has none, so a native loop does it."""
from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np

from tracejit.runtime import cache

LOOP = """
declare {t} @llvm.fma.{w}({t}, {t}, {t})
define void @tj_ptx_fma_{w}(ptr %x, ptr %y, ptr %z, ptr %out, i64 %n) {{
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %px = getelementptr {t}, ptr %x, i64 %i
  %py = getelementptr {t}, ptr %y, i64 %i
  %pz = getelementptr {t}, ptr %z, i64 %i
  %po = getelementptr {t}, ptr %out, i64 %i
  %a = load {t}, ptr %px
  %b = load {t}, ptr %py
  %c = load {t}, ptr %pz
  %d = call {t} @llvm.fma.{w}({t} %a, {t} %b, {t} %c)
  store {t} %d, ptr %po
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@functools.cache
def loop_for(dtype: np.dtype) -> Callable[..., None]:
    t, w = ("float", "f32") if dtype.itemsize == 4 else ("double", "f64")
    address = cache.load_module(LOOP.format(t=t, w=w))[f"tj_ptx_fma_{w}"]
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)(address)


def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """x * y + z, rounded once.

    >>> third = np.float32(1 / 3)
    >>> float(fma(third, np.float32(3), np.float32(-1)))
    2.9802322387695312e-08
    """
    shape = np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z))
    operands = [np.ascontiguousarray(np.broadcast_to(a, shape)) for a in (x, y, z)]
    out = np.empty(shape, operands[0].dtype)
    loop_for(out.dtype)(*[a.ctypes.data for a in (*operands, out)], out.size)
    return out

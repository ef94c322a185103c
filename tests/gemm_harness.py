"""Test support: compile the matrix product and convolution routines with a serial tj_parallel and call them."""
from __future__ import annotations

import ctypes
import functools

import llvmlite.binding as llvm
import numpy as np

from tracejit.codegen.cpu.conv import CONV, Convolution, conv_calls, conv_module
from tracejit.codegen.cpu.gemm import CALL, gemm_module, gemm_scratch
from tracejit.codegen.cpu.isa import Isa, make_isa

# Backwards, so that a result which depends on the order of the tasks shows.
SERIAL = """define void @tj_parallel(ptr %f, ptr %ctx, i64 %n) #0 {
entry:
  br label %loop
loop:
  %i = phi i64 [ %n, %entry ], [ %j, %loop ]
  %j = sub i64 %i, 1
  call void %f(ptr %ctx, i64 %j)
  %more = icmp sgt i64 %j, 0
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
_alive: list[object] = []


def native(name: str, text: str, isa: Isa):
    """The routine `name` of the module as a function of one pointer."""
    module = llvm.parse_assembly(text.replace("declare void @tj_parallel(ptr, ptr, i64)\n", SERIAL))
    module.verify()
    target = llvm.Target.from_triple(isa.triple)
    machine = target.create_target_machine(cpu=isa.cpu, features=isa.features, opt=2, jit=True, codemodel="jitdefault")
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _alive.append((engine, module))
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(name))


def aligned(n_bytes: int) -> np.ndarray:
    raw = np.empty(n_bytes + 64, np.uint8)
    return raw[-raw.ctypes.data % 64:][:n_bytes]


@functools.lru_cache(maxsize=None)
def gemm_routine(dtype: str, isa_name: str):
    isa = make_isa(isa_name)
    return native(*gemm_module(np.dtype(dtype), isa), isa)


def record_of(record, **values) -> np.ndarray:
    """A struct of 8-byte members; what is not given is 0."""
    packed = np.zeros(len(record.members), np.int64)
    for name, value in values.items():
        packed[record.members.index(name)] = value
    return packed


def steps(x: np.ndarray | None) -> list[int]:
    return [0] * 4 if x is None else [s // x.itemsize for s in x.strides]


def gemm_call(a, b, c, d=None, scratch=None, **more) -> np.ndarray:
    """The record for 4-dimensional views: two batch axes (size 1: none), then the matrix."""
    (a0, a1, ar, ac), (b0, b1, br, bc), (c0, c1, ldc, _) = steps(a), steps(b), steps(c)
    d0, d1, ldd, _ = steps(d)
    return record_of(
        CALL, A=a.ctypes.data, B=b.ctypes.data, C=c.ctypes.data, D=0 if d is None else d.ctypes.data,
        M=c.shape[2], N=c.shape[3], K=a.shape[3], a_row=ar, a_col=ac, b_row=br, b_col=bc, ldc=ldc, ldd=ldd,
        batch0=c.shape[0], batch1=c.shape[1], a0=a0, a1=a1, b0=b0, b1=b1, c0=c0, c1=c1, d0=d0, d1=d1,
        scratch=scratch.ctypes.data, scratch_bytes=scratch.nbytes, **more)


def gemm(a, b, c, d=None, isa: str = "native", **more) -> None:
    """c = a @ b + d by the native routine, in place."""
    n_bytes = gemm_scratch(c.dtype, make_isa(isa), *c.shape[2:], a.shape[3], c.shape[0] * c.shape[1])
    scratch = aligned(n_bytes)
    call = gemm_call(a, b, c, d, scratch, **more)
    gemm_routine(c.dtype.str, isa)(call.ctypes.data)


@functools.lru_cache(maxsize=None)
def conv_routine(dtype: str, isa_name: str):
    isa = make_isa(isa_name)
    return native(*conv_module(np.dtype(dtype), isa), isa)


def conv(x, w, y, d=None, kind: str = "", isa: str = "native", epilogue: int = 0, **parameters) -> None:
    """y = x * w + d in place; axes in the order of JAX's specs: x (n, c, *space), w (o, i, *space), y (n, o, *space)."""
    shapes = [v for array in (x, w, y) for v in (array.shape, tuple(steps(array)))]
    calls, n_bytes = conv_calls(Convolution(*shapes, **parameters), y.dtype, make_isa(isa), kind)
    scratch = aligned(n_bytes)
    routine = conv_routine(y.dtype.str, isa)
    for members in calls:
        call = record_of(CONV, x=x.ctypes.data, w=w.ctypes.data, y=y.ctypes.data, d=0 if d is None else d.ctypes.data,
                         scratch=scratch.ctypes.data, epilogue=epilogue, ctx=77, **members)
        routine(call.ctypes.data)

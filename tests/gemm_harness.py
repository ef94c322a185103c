"""Test support: compile the matrix product and convolution routines with a serial tj_parallel and call them."""
from __future__ import annotations

import ctypes
import functools

import llvmlite.binding as llvm
import numpy as np

from tracejit.codegen.cpu.conv import CONV, Convolution, conv_calls, conv_routine
from tracejit.codegen.cpu.gemm import gemm_routine, gemm_scratch
from tracejit.codegen.cpu.gemm_call import CALL
from tracejit.codegen.cpu.isa import Isa, make_isa
from tracejit.codegen.cpu.routine import Routine

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


class Engine:
    """The modules of one instruction set, each compiled once, with a serial tj_parallel."""

    def __init__(self, isa: Isa):
        target = llvm.Target.from_triple(isa.triple)
        machine = target.create_target_machine(cpu=isa.cpu, features=isa.features, opt=2, jit=True, codemodel="jitdefault")
        serial = llvm.parse_assembly(f"{isa.header}{SERIAL}attributes #0 = {{ {isa.attributes} }}\n")
        self.engine = llvm.create_mcjit_compiler(serial, machine)
        self.names: set[str] = set()

    def function(self, routine: Routine):
        """The routine as a function of one pointer, and its table of kernels."""
        for name, text in routine.parts:
            if name not in self.names:
                module = llvm.parse_assembly(text)
                module.verify()
                self.engine.add_module(module)
                self.names.add(name)
        self.engine.finalize_object()
        address = self.engine.get_function_address
        table = np.array([name and address(name) or 0 for name in routine.kernels], np.int64)
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address(routine.name)), table


@functools.lru_cache(maxsize=None)
def engine_of(isa_name: str) -> Engine:
    return Engine(make_isa(isa_name))


def aligned(n_bytes: int) -> np.ndarray:
    raw = np.empty(n_bytes + 64, np.uint8)
    return raw[-raw.ctypes.data % 64:][:n_bytes]


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
    fields = {name: int(value) for name, value in zip(CALL.members, call)}
    function, kernels = engine_of(isa).function(gemm_routine(c.dtype, make_isa(isa), fields))
    call[CALL.members.index("kernels")] = kernels.ctypes.data
    function(call.ctypes.data)


def conv(x, w, y, d=None, kind: str = "", isa: str = "native", epilogue: int = 0, **parameters) -> None:
    """y = x * w + d in place; axes in the order of JAX's specs: x (n, c, *space), w (o, i, *space), y (n, o, *space)."""
    shapes = [v for array in (x, w, y) for v in (array.shape, tuple(steps(array)))]
    calls, n_bytes = conv_calls(Convolution(*shapes, **parameters), y.dtype, make_isa(isa), kind)
    scratch = aligned(n_bytes)
    for members in calls:
        function, kernels = engine_of(isa).function(conv_routine(members, y.dtype, make_isa(isa)))
        call = record_of(CONV, x=x.ctypes.data, w=w.ctypes.data, y=y.ctypes.data, d=0 if d is None else d.ctypes.data,
                         scratch=scratch.ctypes.data, kernels=kernels.ctypes.data, epilogue=epilogue, ctx=77, **members)
        function(call.ctypes.data)

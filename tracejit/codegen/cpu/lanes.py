"""Native code of ops that work lane by lane (a matrix of a stack, a row to be sorted) -> one function, run in parallel.

    op.call(b, ...)  ->  b.lanes(...)  ->  void lanes_<hash>(ptr context, i64 task), its lanes in a loop
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Module, Value

I32, I64 = np.dtype("i4"), np.dtype("i8")
LARGE_LANE = 1 << 20    # bytes from which a library's own threads pay; on less they mostly wait for each other
LIBRARY_PREFIX = "scipy_"  # the loader links scipy_dgemm to the Fortran-style dgemm that SciPy was built with


class LaneBuilder(Builder):
    """Builds the function of a task; `lane` is the number of the current lane; `routine` calls BLAS and LAPACK."""
    lane: Value
    calls_library = False

    def routine(self, name: str, *args: Any) -> None:
        """Call a Fortran routine: int, str and NumPy scalars are passed as pointers to constants, None as null."""
        self.calls_library = True
        pointers = [self.constant(x) for x in args]
        self.call(LIBRARY_PREFIX + name, None, pointers)

    def constant(self, x: Any) -> Value:
        if isinstance(x, Value):
            return x
        if x is None:
            return Value("null", PTR)
        if isinstance(x, str):
            return self.module.table(np.frombuffer(x.encode(), np.uint8))
        value = np.asarray(x, np.int32 if isinstance(x, int) else None)
        return self.module.table(value.view(f"f{value.itemsize // 2}") if value.dtype.kind == "c" and value.ndim
                                 else np.array([value.real, value.imag]) if value.dtype.kind == "c" else value)


def emit_lanes(b: Any, n: int, tasks: int, operands: Sequence[tuple[Value, int]], scratch_bytes: int,
               emit: Callable[[LaneBuilder, list[Value], Value], None]) -> None:
    """Run `emit(f, pointers, scratch)` for each of n lanes, in `tasks` shares that run in parallel.

    `operands` are pointers with the bytes from one lane to the next; each share has `scratch_bytes` of scratch memory.
    """
    if not n:
        return
    module = Module(b.module.isa, reduces_addresses=True)   # what ops write multiplies the numbers of rows and columns
    f = LaneBuilder(module, "LANES", [("context", PTR), ("task", I64)])
    context, task = f.params
    bases = [f.load(PTR, f.gep(context, k, PTR)) for k in range(len(operands) + 1)]
    scratch = f.gep(bases.pop(), f.mul(task, scratch_bytes))
    share = lambda t: f.div(f.mul(t, n), tasks)
    with f.loop(share(task), share(f.add(task, 1))) as loop:
        f.lane = loop.index
        emit(f, [f.gep(base, f.mul(loop.index, step)) for base, (_, step) in zip(bases, operands)], scratch)
    f.ret()
    f.finish()
    name = b.emitter.add_module(module.text(), "LANES", "tj_lanes")
    table = b.alloca(8 * (len(operands) + 1))
    for k, pointer in enumerate([*[p for p, _ in operands], b.scratch()]):
        b.store(pointer, b.gep(table, k, PTR))
    if not f.calls_library or (tasks == 1 and max((step for _, step in operands), default=0) > LARGE_LANE):
        return b.parallel(name, table, tasks)
    before = b.call("tj_library_threads", I32, [b.const(1, I32)])
    b.parallel(name, table, tasks)
    b.call("tj_library_threads", I32, [before])

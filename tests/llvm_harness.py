"""Test support: elementwise kernels built with a Builder -> functions on NumPy arrays."""
from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence

import llvmlite.binding as llvm
import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Module
from tracejit.codegen.cpu.isa import Isa, make_isa

# (instruction set, lanes are a full register?) that builder and elementary functions are tested with.
TARGETS = [("avx512", True), ("avx2", True), ("avx2", False), ("baseline", True)]
TARGET_IDS = [f"{isa}-{'vector' if wide else 'scalar'}" for isa, wide in TARGETS]

_counter = itertools.count()
_alive: list[object] = []


def compile_module(module: Module) -> llvm.ExecutionEngine:
    isa = module.isa
    parsed = llvm.parse_assembly(module.text())
    parsed.verify()
    target = llvm.Target.from_triple(isa.triple)
    machine = target.create_target_machine(cpu=isa.cpu, features=isa.features, opt=2, jit=True, codemodel="jitdefault")
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _alive.append((engine, parsed))
    return engine


def address(engine: llvm.ExecutionEngine, name: str, result, *args):
    return ctypes.CFUNCTYPE(result, *args)(engine.get_function_address(name))


class Kernels:
    """Elementwise kernels that are compiled together, on the first call of one of them."""

    def __init__(self, isa: Isa | str, wide: bool = True):
        self.module = Module(make_isa(isa) if isinstance(isa, str) else isa)
        self.wide = wide
        self._engine: llvm.ExecutionEngine | None = None

    def lanes(self, dtypes: Sequence[np.dtype]) -> int:
        return min(self.module.isa.lanes(t) for t in dtypes) if self.wide else 1

    def add(self, body: Callable, in_dtypes: Sequence, out_dtype, lanes: int | None = None) -> Callable:
        """`body(b, *values)` as a function of equally long arrays."""
        in_dtypes, out_dtype = [np.dtype(t) for t in in_dtypes], np.dtype(out_dtype)
        lanes = lanes or self.lanes([*in_dtypes, out_dtype])
        params = [(f"p{i}", PTR) for i in range(len(in_dtypes))] + [("out", PTR), ("n", np.dtype("i8"))]
        b = Builder(self.module, f"kernel{next(_counter)}", params)
        *ins, out, n = b.params
        with b.loop(0, n, lanes) as loop:
            values = [b.load(t, b.gep(p, loop.index, t), lanes) for p, t in zip(ins, in_dtypes)]
            b.store(b.splat(body(b, *values), lanes), b.gep(out, loop.index, out_dtype))
        b.ret()
        b.finish()
        self._engine = None  # what was compiled before lacks this kernel
        return lambda *arrays: self._run(b.name, in_dtypes, out_dtype, lanes, arrays)

    def _run(self, name: str, in_dtypes, out_dtype, lanes: int, arrays) -> np.ndarray:
        self._engine = self._engine or compile_module(self.module)
        function = address(self._engine, name, None, *[ctypes.c_void_p] * (len(arrays) + 1), ctypes.c_int64)
        size = arrays[0].size
        padded = -size % lanes
        ins = [np.concatenate([np.asarray(a, t).ravel(), np.ones(padded, t)]) for a, t in zip(arrays, in_dtypes)]
        out = np.empty(size + padded, out_dtype)
        function(*[a.ctypes.data for a in ins], out.ctypes.data, size + padded)
        return out[:size]


def elementwise(body: Callable, in_dtypes: Sequence, out_dtype, isa: Isa | str, lanes: int) -> Callable:
    """One kernel of its own module."""
    return Kernels(isa).add(body, in_dtypes, out_dtype, lanes)

"""Test support: one elementwise kernel built with a Builder -> a function on NumPy arrays."""
from __future__ import annotations

import ctypes
import itertools

import llvmlite.binding as llvm
import numpy as np

from tracejit.codegen.cpu.builder import PTR, Builder, Module
from tracejit.codegen.cpu.isa import Isa, make_isa

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


def elementwise(body, in_dtypes, out_dtype, isa: Isa | str, lanes: int):
    """`body(b, *values)` as a function of equally long 1-d arrays whose length divides by `lanes`."""
    isa = make_isa(isa) if isinstance(isa, str) else isa
    module = Module(isa)
    names = [(f"p{i}", PTR) for i in range(len(in_dtypes))] + [("out", PTR), ("n", np.dtype("i8"))]
    b = Builder(module, f"kernel{next(_counter)}", names)
    *ins, out, n = b.params
    with b.loop(0, n, lanes) as loop:
        values = [b.load(t, b.gep(p, loop.index, t), lanes) for p, t in zip(ins, in_dtypes)]
        b.store(b.splat(body(b, *values), lanes), b.gep(out, loop.index, out_dtype))
    b.ret()
    b.finish()
    engine = compile_module(module)
    return _wrap(engine, b.name, [np.dtype(t) for t in in_dtypes], np.dtype(out_dtype), lanes)


def _wrap(engine, name, in_dtypes, out_dtype, lanes):
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(in_dtypes) + 1), ctypes.c_int64)
    function = signature(engine.get_function_address(name))

    def run(*arrays):
        size = arrays[0].size
        padded = -size % lanes
        ins = [np.concatenate([np.asarray(a, t).ravel(), np.ones(padded, t)]) for a, t in zip(arrays, in_dtypes)]
        out = np.empty(size + padded, out_dtype)
        function(*[a.ctypes.data for a in ins], out.ctypes.data, size + padded)
        return out[:size]

    return run

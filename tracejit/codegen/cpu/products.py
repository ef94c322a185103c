"""Matrix products -> calls of the universal native routine. Dots come here in the form that passes/dots.py leaves:
f32 or f64, each of their batch, free and contracted axis groups walked with one stride."""
from __future__ import annotations

import functools
import math

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.gemm import CALL, gemm_module, gemm_scratch
from tracejit.codegen.cpu.isa import Isa
from tracejit.ir.graph import Eqn
from tracejit.lax.dot import DotGeneral
from tracejit.transforms.passes.dots import merged_axes

gemm_text = functools.lru_cache(maxsize=None)(gemm_module)


def scratch_bytes(isa: Isa, eqn: Eqn) -> int:
    """Scratch memory of a product."""
    x, _ = (v.type for v in eqn.inputs)
    fields = gemm_fields(eqn)
    return gemm_scratch(x.dtype, isa, fields["M"], fields["N"], fields["K"], fields["batch0"] * fields["batch1"])


def gemm_fields(eqn: Eqn) -> dict[str, int]:
    """The sizes and strides of a product, as members of the routine's record."""
    op: DotGeneral = eqn.op
    x, y = (v.type for v in eqn.inputs)
    spec = op.spec(x.ndim, y.ndim)
    m, a_row = merged_axes(x.shape, spec.free[0])[0]
    n, b_col = merged_axes(y.shape, spec.free[1])[0]
    k, a_col = merged_axes(x.shape, spec.contract[0])[0]
    b_row = merged_axes(y.shape, spec.contract[1])[0][1]
    a_batch, b_batch = merged_axes(x.shape, spec.batch[0]), merged_axes(y.shape, spec.batch[1])
    if len(a_batch) != len(b_batch):
        a_batch, b_batch = unmerged_batch(x.shape, spec.batch[0]), unmerged_batch(y.shape, spec.batch[1])
    pad = lambda axes: [(1, 0)] * (2 - len(axes)) + axes
    (batch0, a0), (batch1, a1) = pad(a_batch)
    (_, b0), (_, b1) = pad(b_batch)
    return dict(M=m, N=n, K=k, a_row=a_row, a_col=a_col, b_row=b_row, b_col=b_col, ldc=n, ldd=0, batch0=batch0,
                batch1=batch1, a0=a0, a1=a1, b0=b0, b1=b1, c0=batch1 * m * n, c1=m * n, d0=0, d1=0)


def unmerged_batch(shape, axes) -> list[tuple[int, int]]:
    return [(shape[a], math.prod(shape[a + 1:])) for a in axes if shape[a] != 1]


def emit_contraction(emitter, eqn: Eqn, ins: list[Value], out: Value) -> None:
    b = emitter.b
    dtype = eqn.inputs[0].type.dtype
    name, text = gemm_text(dtype, emitter.isa)
    emitter.add_named(name, text)
    record = b.alloca(CALL.n_bytes)
    null = Value("null", PTR)
    fields: dict = {k: b.const(v, I64) for k, v in gemm_fields(eqn).items()}
    fields |= dict(A=ins[0], B=ins[1], C=out, D=null, epilogue=null, ctx=null, scratch=b.scratch_at,
                   scratch_bytes=b.const(scratch_bytes(emitter.isa, eqn), I64))
    for member, value in fields.items():
        b.store(value, b.gep(record, CALL.offset(member)))
    b.call(name, None, [record])

"""Products and convolutions -> calls of the universal native routines. They come here in the form that
passes/products.py leaves: f32, f64 or integer, and each axis group of a product walked with one stride."""
from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.conv import CONV, Convolution, conv_calls, conv_routine
from tracejit.codegen.cpu.gemm import gemm_routine, gemm_scratch
from tracejit.codegen.cpu.gemm_call import CALL
from tracejit.codegen.cpu.gemm_tile import Tile
from tracejit.codegen.cpu.isa import Isa
from tracejit.codegen.cpu.routine import Routine
from tracejit.codegen.epilogue import Blocks
from tracejit.ir.graph import Eqn
from tracejit.ir.types import ArrayType
from tracejit.lax.conv import ConvGeneralDilated
from tracejit.lax.dot import DotGeneral
from tracejit.lax.kinds import Contraction
from tracejit.lax.words import WordProduct
from tracejit.transforms.passes.products import merged_axes

NULL = Value("null", PTR)


def scratch_bytes(isa: Isa, eqn: Eqn) -> int:
    """Scratch memory of a product."""
    x = eqn.inputs[0].type
    if isinstance(eqn.op, ConvGeneralDilated):
        return conv_calls(convolution_of(eqn), x.dtype, isa)[1]
    fields = gemm_fields(eqn)
    dtype, element = dtypes_of(eqn)
    return gemm_scratch(dtype, isa, fields["M"], fields["N"], fields["K"], fields["batch0"] * fields["batch1"], element)


def dtypes_of(eqn: Eqn) -> tuple[np.dtype, np.dtype | None]:
    """Of the sums of a product, and of what lies in the words of its operands, if they are read by the word."""
    if isinstance(eqn.op, WordProduct):
        return eqn.op.preferred, eqn.op.dtype
    return eqn.inputs[0].type.dtype, None


def op_scratch_bytes(isa: Isa, eqn: Eqn) -> int:
    """Scratch memory of any equation; that of the products which an op's own code makes is behind the op's."""
    if isinstance(eqn.op, Contraction):
        return scratch_bytes(isa, eqn)
    types = [x.type for x in eqn.inputs]
    products = [gemm_scratch(dtype, isa, *sizes) for dtype, *sizes in eqn.op.products(types)]
    return eqn.op.scratch_bytes(types) + max(products, default=0)


def blocks_of(isa: Isa, eqn: Eqn) -> Blocks | None:
    """In which blocks an epilogue would see the result of an equation; None where there is no epilogue."""
    if isinstance(eqn.op, DotGeneral):
        fields = gemm_fields(eqn)
        return Blocks(fields["N"], fields["K"]) if eqn.outputs[0].type.size and fields["K"] else None
    if not isinstance(eqn.op, ConvGeneralDilated) or not eqn.outputs[0].type.size:
        return None
    calls, _ = conv_calls(convolution_of(eqn), eqn.inputs[0].type.dtype, isa)
    pitches = {numbers["pitch"] for numbers in calls}
    kernel = eqn.inputs[1].type
    depth = kernel.size // max(1, kernel.shape[eqn.op.dimension_numbers[1][0]])
    return Blocks(pitches.pop(), depth) if len(pitches) == 1 and min(n["cols"] for n in calls) >= 4 else None


def panel_width(eqn: Eqn, isa: Isa) -> int:
    """All blocks of the result but those of its last columns are a multiple of it wide."""
    if isinstance(eqn.op, ConvGeneralDilated):
        return 1
    fields = gemm_fields(eqn)
    return Tile(isa, *dtypes_of(eqn)).nr if fields["M"] > 1 and fields["N"] > 1 else 1


def gemm_fields(eqn: Eqn) -> dict[str, int]:
    """The sizes and strides of a product, as members of the routine's record."""
    return fields_of_product(eqn.op, *(v.type for v in eqn.inputs))


@functools.lru_cache(maxsize=256)       # deep programs repeat their layers
def fields_of_product(op: DotGeneral, x: ArrayType, y: ArrayType) -> dict[str, int]:
    if isinstance(op, WordProduct):
        return fields_of_words(op, x, y)
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


def fields_of_words(op: WordProduct, x: ArrayType, y: ArrayType) -> dict[str, int]:
    batch, m, n = op.infer(x, y).shape
    k = x.shape[2] * op.dtype.itemsize // 4
    b_row, b_col = (1, k) if y.dtype == op.dtype else (n, 1)
    return dict(M=m, N=n, K=k, a_row=k, a_col=1, b_row=b_row, b_col=b_col, ldc=n, ldd=0, batch0=1, batch1=batch,
                a0=0, a1=m * k, b0=0, b1=k * n, c0=0, c1=m * n, d0=0, d1=0)


def unmerged_batch(shape, axes) -> list[tuple[int, int]]:
    return [(shape[a], math.prod(shape[a + 1:])) for a in axes if shape[a] != 1]


def emit_contraction(emitter, eqn: Eqn, ins: list[Value], out: Value, epilogue: tuple[Value, Value] | None) -> None:
    """`epilogue`: the function to call per finished block, and its context."""
    emit = emit_convolution if isinstance(eqn.op, ConvGeneralDilated) else emit_product
    function, context = epilogue or (NULL, NULL)
    emit(emitter, eqn, ins, dict(epilogue=function, ctx=context), out)


def emit_product(emitter, eqn: Eqn, ins: list[Value], epilogue: dict[str, Value], out: Value) -> None:
    b = emitter.b
    fields = gemm_fields(eqn)
    dtype, element = dtypes_of(eqn)
    routine = added(emitter, gemm_routine(dtype, emitter.isa, fields, element))
    pointers = dict(A=ins[0], B=ins[1], C=out, D=NULL, scratch=b.scratch_at) | epilogue
    call_routine(b, routine.name, CALL, pointers, fields | {"scratch_bytes": scratch_bytes(emitter.isa, eqn)}, routine.kernels)


def emit_added_product(b, dtype: np.dtype, target: Value, pitch: int, left: tuple, right: tuple, sizes: tuple[int, int, int],
                       scratch: Value) -> None:
    """target += left right, for matrices of (pointer, stride of rows, of columns)."""
    (a, a_row, a_col), (y, b_row, b_col), (m, n, k) = left, right, sizes
    fields = dict(M=m, N=n, K=k, a_row=a_row, a_col=a_col, b_row=b_row, b_col=b_col, ldc=pitch, ldd=pitch, batch0=1, batch1=1)
    routine = added(b.emitter, gemm_routine(dtype, b.emitter.isa, fields))
    pointers = dict(A=a, B=y, C=target, D=target, scratch=scratch, epilogue=NULL, ctx=NULL)
    numbers = fields | {"scratch_bytes": gemm_scratch(dtype, b.emitter.isa, m, n, k)}
    call_routine(b, routine.name, CALL, pointers, numbers, routine.kernels)


def added(emitter, routine: Routine) -> Routine:
    for part in routine.parts:
        emitter.add_named(*part)
    return routine


def call_routine(b, routine: str, layout, pointers: dict[str, Value], numbers: dict[str, int],
                 kernels: Sequence[str | None] = ()) -> None:
    """Call a routine that takes a record of these members; those that are not given are zero. `kernels`: the functions in
    the table that its member of this name points to.

    Calls with the same numbers share the function that fills in the record.
    """
    key = hashlib.sha256(repr((list(pointers), sorted(numbers.items()), kernels)).encode()).hexdigest()[:16]
    name = f"{routine}_{key}"
    if not b.module.is_defined(name):
        f = b.internal_function(name, [(member, PTR) for member in pointers])
        given = dict(zip(pointers, f.params))
        if kernels:
            given["kernels"] = table_of(f, kernels)
        record = f.alloca(layout.n_bytes)
        for member in layout.members:
            value = given.get(member) or f.const(numbers.get(member, 0), I64)
            f.store(value, f.gep(record, layout.offset(member)))
        f.call(routine, None, [record])
        f.ret()
        f.finish()
    b.call(name, None, list(pointers.values()))


def table_of(f, kernels: Sequence[str | None]) -> Value:
    table = f.alloca(8 * len(kernels))
    for i, name in enumerate(kernels):
        if name is not None:
            f.module.declare(name, "void", [])
            f.store(Value(f"@{name}", PTR), f.gep(table, 8 * i))
    return table


def element_strides(shape) -> list[int]:
    return [math.prod(shape[d + 1:]) for d in range(len(shape))]


def convolution_of(eqn: Eqn) -> Convolution:
    op: ConvGeneralDilated = eqn.op
    shapes = [v.type.shape for v in (*eqn.inputs, eqn.outputs[0])]
    places = []
    for shape, spec in zip(shapes, op.dimension_numbers):
        strides = element_strides(shape)
        places += [tuple(shape[a] for a in spec), tuple(strides[a] for a in spec)]
    return Convolution(*places, op.window_strides, op.padding, op.lhs_dilation, op.rhs_dilation,
                       op.feature_group_count, op.batch_group_count)


def emit_convolution(emitter, eqn: Eqn, ins: list[Value], epilogue: dict[str, Value], out: Value) -> None:
    b, dtype = emitter.b, eqn.inputs[0].type.dtype
    calls, _ = conv_calls(convolution_of(eqn), dtype, emitter.isa)
    pointers = dict(x=ins[0], w=ins[1], y=out, d=NULL, scratch=b.scratch_at) | epilogue
    for numbers in calls:
        routine = added(emitter, conv_routine(numbers, dtype, emitter.isa))
        call_routine(b, routine.name, CONV, pointers, numbers, routine.kernels)

"""Every op has code for a GPU: kernels whose text Python can read, or a library call. Nothing here needs Numba."""
from __future__ import annotations

import ast

import numpy as np
import pytest
from samples import SAMPLES

from tracejit import lax
from tracejit.codegen.cuda.interface import KernelSource
from tracejit.codegen.cuda.program import Code, Copy, Kernels, Launch, Library, generate
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import bfloat16, type_of
from tracejit.runtime.compile import graph_of_op
from tracejit.transforms.passes.pipeline import DEVICE_PASSES


def code_of(graph) -> Code:
    for _, change in DEVICE_PASSES:
        graph = change(graph)
    return generate(graph)


def program_of(f, *args) -> Code:
    return code_of(trace_closed(lambda *xs: [f(*xs)], [type_of(x) for x in args]))


def names_used_before_assignment(source: KernelSource) -> set[str]:
    """Names that a kernel reads and that neither it nor its device functions define, by prefixes that are only ours."""
    tree = ast.parse(source.text)
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    stored |= {a.arg for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) for a in n.args.args}
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return {name for name in read - stored if name[0] in "vckp" and name[1:].isdigit()}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_sample_has_code(sample):
    code = code_of(graph_of_op(sample.op, [type_of(np.asarray(x)) for x in sample.args]))
    for source in code.sources:
        assert not names_used_before_assignment(source)
        assert source.text.startswith(f"def {source.name}(") and len(source.signature) == source.text.split("\n")[0].count(",") + 1
    assert all(isinstance(c, (Kernels, Library, Copy)) for c in code.block.commands)


def test_equal_kernels_are_one():
    code = program_of(lambda x: lax.sort(lax.sin(lax.sort(lax.sin(lax.sort(x))))), np.zeros(50, np.float32))
    assert len(code.sources) == 1 and sum(isinstance(c, Kernels) for c in code.block.commands) == 2


def test_halves_are_computed_in_float32():
    [source] = program_of(lambda x, y: x * y, *[np.zeros(8, bfloat16)] * 2).sources
    [lane] = source.functions
    assert source.signature == ("*u2", "*u2", "*u2") and lane.count("b2_f4") == 2 and "f4_b2" in lane
    assert source.text.count("vload_u2x8") == 2 and source.text.count("vstore_u2x8") == 1, "eight halves are one access"


def test_a_loop_over_lanes_is_one_kernel():
    code = program_of(lambda x: lax.fori_loop(0, 100, lambda i, s: s * 1.5 - lax.sin(s), x), np.zeros(10_000, np.float32))
    [kernels] = code.block.commands
    [launch] = kernels.launches
    assert "in range(i4(0), i4(100), i4(1))" in launch.source.text and launch.grid == (79,)


def test_large_arrays_are_indexed_with_64_bits():
    """Only where their offsets do not fit 32 bits."""
    [small] = program_of(lambda x: x + 1, np.broadcast_to(np.float32(0), (1 << 20,))).sources
    [large] = program_of(lambda x: x + 1, np.broadcast_to(np.float32(0), (1 << 32,))).sources
    assert "i8(" not in small.text and "i8(" in large.text
    parts, _ = program_of(lambda x: lax.reduce_sum(x, (0,)), np.broadcast_to(np.float32(0), (1 << 32,))).sources
    assert "i8(4294967296)" in parts.text


def launches(f, *args) -> list[Launch]:
    return [launch for c in program_of(f, *args).block.commands if isinstance(c, Kernels) for launch in c.launches]


def zeros(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0), shape)


def test_softmax_reads_and_writes_a_row_once():
    def softmax(x):
        e = lax.exp(lax.sub(x, lax.broadcast_in_dim(lax.reduce_max(x, (1,)), x.shape, (0,))))
        return lax.div(e, lax.broadcast_in_dim(lax.reduce_sum(e, (1,)), x.shape, (0,)))
    [launch] = launches(softmax, zeros(512, 4096))
    text = launch.source.text
    assert launch.grid == (512,) and text.count("vload_f4x4") == text.count("vstore_f4x4") == 4096 // 4 // launch.source.threads
    assert text.count("syncthreads") == 2


def test_folds_of_few_rows_are_cut_into_parts():
    parts, combined = launches(lambda x: lax.reduce_sum(x, (0,)), zeros(1 << 24))
    assert parts.grid[0] == 512 and combined.grid == (1,)
    parts, combined = launches(lambda x: lax.reduce_sum(x, (0,)), zeros(4096, 512))
    assert parts.grid[0] * parts.source.threads >= 1 << 15 and combined.grid[0] <= 64


def test_many_columns_are_one_launch():
    [launch] = launches(lambda x: lax.reduce_sum(x, (0,)), zeros(4096, 4096))
    assert launch.grid == (128,) and launch.source.threads == 1024


def test_rows_of_one_warp_share_a_block():
    [launch] = launches(lambda x: lax.reduce_sum(x, (1,)), zeros(1000, 128))
    assert launch.source.threads == 128 and launch.grid == (250,) and "syncthreads" not in launch.source.text


def test_products_of_halves_stay_such():
    x = np.broadcast_to(np.zeros((), bfloat16), (64, 64))
    [product] = program_of(lambda x, y: lax.dot_general(x, y, (((1,), (0,)), ((), ()))), x, x).block.commands
    assert isinstance(product, Library) and [v.type.dtype for v in (*product.eqn.inputs, *product.eqn.outputs)] == [bfloat16] * 3


def test_running_sums_are_cut():
    code = program_of(lambda x: lax.cumsum(x, 0), zeros(1 << 20))
    grids = [launch.grid[0] for c in code.block.commands if isinstance(c, Kernels) for launch in c.launches]
    assert len(grids) >= 4 and max(grids) > 64

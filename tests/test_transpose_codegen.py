"""The native transposing copy against NumPy: shapes with every kind of edge, permutations, item sizes."""
from __future__ import annotations

import functools
import itertools
import math

import gemm_harness as harness
import numpy as np
import pytest

import tracejit
from tracejit import lax
from tracejit.codegen.cpu.isa import make_isa
from tracejit.codegen.cpu.routine import Routine
from tracejit.codegen.cpu.transpose import TRANSPOSE, transpose_fields, transpose_module


@functools.lru_cache(maxsize=None)
def routine(item_bytes: int, isa: str):
    module = transpose_module(item_bytes, make_isa(isa))
    return harness.engine_of(isa).function(Routine(module[0], (module,)))[0]


def fields_of(shape, permutation, item_bytes=4) -> dict[str, int] | None:
    """For y = x.transpose(permutation), both dense."""
    x_strides = [math.prod(shape[a + 1:]) for a in range(len(shape))]
    sizes = [shape[a] for a in permutation]
    y_strides = [math.prod(sizes[a + 1:]) for a in range(len(sizes))]
    return transpose_fields([(n, x_strides[a], y) for n, a, y in zip(sizes, permutation, y_strides)], item_bytes)


def run(x: np.ndarray, permutation, isa: str) -> np.ndarray | None:
    fields = fields_of(x.shape, permutation, x.itemsize)
    if fields is None:
        return None
    shape = [x.shape[a] for a in permutation]
    guarded = np.full(x.size + 64, 77, x.dtype)
    y = guarded[32:-32].reshape(shape)
    call = harness.record_of(TRANSPOSE, x=x.ctypes.data, y=y.ctypes.data, **fields)
    routine(x.itemsize, isa)(call.ctypes.data)
    assert (guarded[:32] == 77).all() and (guarded[-32:] == 77).all()
    return y


@pytest.mark.parametrize("isa", ("avx512", "avx2", "baseline"))
@pytest.mark.parametrize("dtype", ("i1", "i2", "f4", "f8"))
def test_matrices(isa, dtype):
    for m, n in [(2, 2), (3, 70), (16, 16), (17, 15), (64, 64), (65, 130), (300, 257), (128, 1024)]:
        x = np.random.default_rng(1).integers(0, 100, (m, n)).astype(dtype)
        assert np.array_equal(run(x, (1, 0), isa), x.T)


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(4))))
def test_permutations(permutation):
    x = np.random.default_rng(1).standard_normal((3, 17, 5, 20)).astype(np.float32)
    y = run(x, permutation, "native")
    if y is None:
        assert permutation[-1] == 3
    else:
        assert np.array_equal(y, x.transpose(permutation))


def test_what_is_left_to_others():
    assert fields_of((3, 4), (0, 1)) is None
    assert fields_of((3, 4, 5), (1, 0, 2)) is None
    assert fields_of((3, 0), (1, 0)) is None
    assert fields_of((1, 4), (1, 0)) is None
    assert fields_of((2,) * 9, (8, 1, 6, 3, 4, 5, 2, 7, 0)) is None


@pytest.mark.parametrize("dtype", ("?", "i1", "f2", "f4", "f8", "c8", "c16"))
def test_compiled_programs_use_it(dtype):
    """Through jit: with a slice and a reversal among the axes, where the routine may or may not serve."""
    x = np.random.default_rng(1).integers(0, 2, (6, 70, 50)).astype(dtype)
    programs = [lambda x: lax.transpose(x, (2, 0, 1)), lambda x: lax.transpose(lax.rev(x, (0,)), (0, 2, 1)),
                lambda x: lax.transpose(lax.rev(x, (2,)), (0, 2, 1)), lambda x: lax.transpose(x, (0, 2, 1))]
    wanted = [x.transpose(2, 0, 1), x[::-1].transpose(0, 2, 1), x[:, :, ::-1].transpose(0, 2, 1), x.transpose(0, 2, 1)]
    for program, want in zip(programs, wanted):
        assert np.array_equal(np.asarray(tracejit.jit(program)(x)), want)
        sliced = tracejit.jit(lambda x: program(lax.slice(x, (1, 3, 4), (5, 66, 49))))
        assert sliced(x).shape == program(x[1:5, 3:66, 4:49]).shape
        assert np.array_equal(np.asarray(sliced(x)), np.asarray(program(x[1:5, 3:66, 4:49])))

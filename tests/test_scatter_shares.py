"""Many updates of a scatter, which threads share: by parts of the updates, or by columns of their windows."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.ir.types import ArrayType
from tracejit.lax.index import ScatterAdd
from tracejit.lax.updates import column_shares, parts_of
from tracejit.runtime.threads import threads

RNG = np.random.default_rng(5)
ROWS = lax.ScatterDimensionNumbers((1,), (0,), (0,))
REFERENCES = {lax.scatter_add: np.add.at, lax.scatter_mul: np.multiply.at, lax.scatter_max: np.maximum.at}


def operands(rows: int, n: int, width: int, dtype: str) -> tuple:
    indices = RNG.integers(-2, n + 2, (rows, 1)).astype(np.int32)
    numbers = lambda *shape: RNG.integers(-3, 4, shape).astype(dtype)
    return numbers(n, width), indices, numbers(rows, width)


def how(rows: int, n: int, width: int, dtype: str) -> tuple[int, int]:
    op = ScatterAdd((1,), (0,), (0,), (), (), (1, width), "fill")
    types = ArrayType((n, width), np.dtype(dtype)), ArrayType((rows, 1), np.dtype("i4")), ArrayType((rows, width), np.dtype(dtype))
    return parts_of(op, types), column_shares(op, types)


# (updates, rows of the result, width, dtype) and how they are shared: parts, columns
CASES = [((40001, 7, 1, "f4"), (8, 1)), ((60000, 8500, 1, "f8"), (4, 1)), ((20001, 11, 17, "i4"), (8, 1)), ((2500, 900, 513, "f4"), (0, 2)),
         ((1500, 1100, 1030, "c8"), (0, 8)), ((2000, 1100, 2049, "i2"), (0, 4)), ((300, 40, 5, "f4"), (0, 1)), ((70000, 70, 3, "u1"), (8, 1))]


@pytest.mark.parametrize("case, shares", CASES, ids=str)
def test_are_as_in_order(case, shares):
    assert how(*case) == shares
    x, indices, updates = operands(*case)
    inside = (indices[:, 0] >= 0) & (indices[:, 0] < len(x))
    for scatter, reference in REFERENCES.items():
        if scatter is not lax.scatter_add and case[-1] not in ("i4", "i2", "u1"):
            continue
        wanted = x.copy()
        reference(wanted, indices[inside, 0], updates[inside])
        run = tj.jit(lambda x, indices, updates, scatter=scatter: scatter(x, indices, updates, ROWS))
        found = np.asarray(run(x, indices, updates))
        np.testing.assert_array_equal(found, wanted)
    last = np.asarray(tj.jit(lambda *args: lax.scatter(*args, ROWS))(x, indices, updates))
    wanted = x.copy()
    for i, update in zip(indices[inside, 0], updates[inside]):
        wanted[i] = update
    np.testing.assert_array_equal(last, wanted)


@pytest.mark.parametrize("case", [(40001, 7, 1, "f4"), (2500, 900, 513, "f4")], ids=str)
def test_bits_do_not_depend_on_threads(case):
    rows, n, width, dtype = case
    x, indices = np.zeros((n, width), dtype), operands(*case)[1]
    updates = RNG.normal(size=(rows, width)).astype(dtype)
    run = tj.jit(lambda *args: lax.scatter_add(*args, ROWS))
    with threads(1):
        one = np.asarray(run(x, indices, updates))
    with threads(3):
        np.testing.assert_array_equal(np.asarray(run(x, indices, updates)), one)

"""The native matrix product against NumPy in float64: sizes, strides, batches, D, epilogue, both wide ISAs."""
from __future__ import annotations

import ctypes
import itertools

import gemm_harness as native
import numpy as np
import pytest

ISAS = ("avx512", "avx2", "baseline")
FLOATS = ("<f4", "<f8")
SIZES = [(1, 1, 1), (2, 3, 5), (14, 32, 7), (15, 33, 8), (17, 16, 17), (29, 65, 40), (48, 48, 48), (61, 130, 33), (200, 90, 31)]


def random(shape, dtype, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def laid_out(shape, dtype, layout, seed=0) -> np.ndarray:
    """A matrix with contiguous rows, contiguous columns, gaps in both, or rows in a wider array."""
    m, n = shape
    if layout == "columns":
        return random((n, m), dtype, seed).T
    if layout == "gaps":
        return random((2 * m, 3 * n), dtype, seed)[::2, ::3]
    return random((m, n + 5), dtype, seed)[:, :n] if layout == "wide" else random(shape, dtype, seed)


def check(c, a, b, d=0.0) -> None:
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = (np.abs(a) @ np.abs(b) + np.abs(d)) * np.finfo(c.dtype).eps * (a.shape[-1] / 2 + 2)
    assert np.all(np.abs(c - (a @ b + d)) <= bound)


def product(a, b, isa, d=None, **more) -> np.ndarray:
    c = np.full((a.shape[0], b.shape[1]), np.nan if a.dtype.kind == "f" else 99, a.dtype)
    native.gemm(a[None, None], b[None, None], c[None, None], d if d is None else d[None, None], isa, **more)
    return c


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layouts", list(itertools.product(("rows", "columns", "gaps", "wide"), repeat=2)))
def test_sizes_and_strides(dtype, isa, layouts):
    for m, n, k in SIZES:
        a, b = laid_out((m, k), dtype, layouts[0], 1), laid_out((k, n), dtype, layouts[1], 2)
        check(product(a, b, isa), a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layouts", list(itertools.product(("rows", "columns"), repeat=2)))
def test_packed_and_split_along_k(dtype, isa, layouts):
    m, n, k = 131, 150, 1700
    a, b = laid_out((m, k), dtype, layouts[0], 1), laid_out((k, n), dtype, layouts[1], 2)
    d = random((m, n), dtype, 3)
    check(product(a, b, isa, d), a, b, d)


@pytest.mark.parametrize("dtype", FLOATS)
def test_several_chunks_of_rows_and_columns(dtype):
    a, b = random((2300, 20), dtype, 1), random((20, 2200), dtype, 2)
    check(product(a, b, "native"), a, b)
    a = laid_out((2300, 20), dtype, "columns")
    check(product(a, b, "native"), a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ("rows", "columns", "gaps", "wide"))
def test_one_row_or_one_column(dtype, isa, layout):
    for n, k in [(1, 1), (1, 300), (7, 5), (64, 33), (129, 70), (400, 400)]:
        row, matrix = laid_out((1, k), dtype, "gaps", 1), laid_out((k, n), dtype, layout, 2)
        bias = random((1, n), dtype, 3)
        check(product(row, matrix, isa, bias), row, matrix, bias)
        check(product(matrix.T, row.T, isa, bias.T.copy()), matrix.T, row.T, bias.T)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [*FLOATS, "<i4"])
@pytest.mark.parametrize("m, n, k", [(2, 50, 16), (3, 3, 1200), (90, 5, 41), (13, 300, 2100)])
def test_few_lines(dtype, isa, m, n, k):
    """Both operands lie along K, one has few lines."""
    draw = random if dtype in FLOATS else lambda shape, dtype, seed: np.random.default_rng(seed).integers(-99, 99, shape, dtype)
    a, b = draw((m, k + 3), dtype, 1)[:, :k], draw((n, k), dtype, 2).T
    routine = native.gemm_routine(a.dtype, native.make_isa(isa), dict(M=m, N=n, K=k, a_row=k + 3, a_col=1, b_row=1, b_col=k))
    assert routine.name.startswith("gemd_")
    for d in (None, draw((1, n), dtype, 3).repeat(m, 0), np.broadcast_to(draw((n,), dtype, 3), (m, n))):
        c = product(a, b, isa, d)
        check(c, a, b, 0 if d is None else d) if dtype in FLOATS else np.testing.assert_array_equal(c, a @ b + (0 if d is None else d))
    if dtype in FLOATS:
        batch = np.empty((1, 2, m, n), dtype)
        native.gemm(np.broadcast_to(a, (1, 2, m, k)), np.broadcast_to(b, (1, 2, k, n)), batch, isa=isa)
        assert np.array_equal(batch[0, 0], product(a, b, isa)) and np.array_equal(batch[0, 1], batch[0, 0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m, n", [(20, 40), (1, 40), (20, 1)])
def test_d_is_bias_or_accumulator(dtype, isa, m, n):
    a, b, c = random((m, 9), dtype, 1), random((9, n), dtype, 2), random((m, n), dtype, 3)
    bias = np.broadcast_to(random((n,), dtype, 4), (m, n))
    check(product(a, b, isa, bias), a, b, bias)
    before = c.copy()
    native.gemm(a[None, None], b[None, None], c[None, None], c[None, None], isa)
    check(c, a, b, before)


@pytest.mark.parametrize("dtype", FLOATS)
def test_empty_sizes(dtype):
    for m, n in [(3, 40), (1, 7), (7, 1), (1, 1)]:
        a, b, d = np.zeros((m, 0), dtype), np.zeros((0, n), dtype), random((m, n), dtype)
        assert np.array_equal(product(a, b, "native"), np.zeros((m, n)))
        assert np.array_equal(product(a, b, "native", d), d)
    for m, n in [(0, 4), (4, 0), (0, 0)]:
        assert product(np.zeros((m, 3), dtype), np.zeros((3, n), dtype), "native").shape == (m, n)


def test_nothing_is_written_outside_c():
    frame = np.full((40, 100), 7.0, np.float32)
    a, b = random((30, 6), "<f4"), random((6, 37), "<f4")
    for isa in ISAS:
        c = frame[5:35, 40:77]
        native.gemm(a[None, None], b[None, None], c[None, None], isa=isa)
        check(c, a, b)
        c[...] = 7
        assert (frame == 7).all()


@pytest.mark.parametrize("isa", ("avx512", "avx2"))
@pytest.mark.parametrize("m, n, k", [(4, 5, 6), (1, 9, 20), (9, 1, 20), (150, 140, 130)])
def test_two_batch_axes_of_any_stride(isa, m, n, k):
    """As in attention: heads lie between the rows of each matrix, and one operand is shared."""
    a = random((3, m, 5, k), "<f4", 1).transpose(0, 2, 1, 3)
    b = np.broadcast_to(random((3, 1, n, k), "<f4", 2).transpose(0, 1, 3, 2), (3, 5, k, n))
    c = np.full((3, m, 5, n), np.nan, np.float32).transpose(0, 2, 1, 3)
    d = np.broadcast_to(random((n,), "<f4", 3), c.shape)
    native.gemm(a, b, c, d, isa)
    check(c, a, b, d)


@pytest.mark.parametrize("isa", ("avx512", "avx2"))
@pytest.mark.parametrize("lines", (False, True))
@pytest.mark.parametrize("count, m, n, k", [(1, 70, 90, 20), (1, 33, 40, 2000), (1, 1, 300, 4), (1, 300, 1, 4), (7, 20, 40, 5), (2, 300, 300, 60)])
def test_epilogue_sees_each_block_of_c_once_and_finished(isa, count, m, n, k, lines):
    a, b = random((1, count, m, k), "<f4", 1), random((1, count, k, n), "<f4", 2)
    b = b.swapaxes(2, 3).copy().swapaxes(2, 3) if lines else b
    c, seen = np.full((1, count, m, n), np.nan, np.float32), np.zeros((count * m, n), int)
    words = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 5

    @ctypes.CFUNCTYPE(None, *words)
    def negate(ctx, block, row, col, rows, cols, ldc):
        assert ctx == 77 and block == c.ctypes.data + 4 * (row * ldc + col)
        seen[row:row + rows, col:col + cols] += 1
        flat = c.reshape(count * m, n)
        flat[row:row + rows, col:col + cols] *= -1

    native.gemm(a, b, c, isa=isa, epilogue=ctypes.cast(negate, ctypes.c_void_p).value, ctx=77)
    assert (seen == 1).all()
    check(-c, a, b)


def test_result_does_not_depend_on_the_position():
    """A row of the product is the same bits whatever rows, columns or batch entries lie around it."""
    a, b = random((100, 700), "<f4", 1), random((700, 100), "<f4", 2)
    whole = product(a, b, "native")
    assert np.array_equal(product(a[17:31], b, "native"), whole[17:31])
    assert np.array_equal(product(a, b[:, 40:77], "native"), whole[:, 40:77])
    c = np.empty((1, 3, 100, 100), np.float32)
    native.gemm(np.broadcast_to(a, (1, 3, 100, 700)), np.broadcast_to(b, (1, 3, 700, 100)), c)
    assert np.array_equal(c[0, 2], whole)


def test_specials_pass_through():
    a, b = np.zeros((20, 3), np.float32), np.ones((3, 40), np.float32)
    a[3, 1], a[4, 2], b[0, 7] = np.nan, np.inf, np.inf
    with np.errstate(invalid="ignore"):
        assert np.array_equal(product(a, b, "native"), a @ b, equal_nan=True)


@pytest.mark.parametrize("isa", ("avx512", "avx2", "baseline"))
@pytest.mark.parametrize("dtype", ("<i1", "<i2", "<i4", "<i8", "<u1", "<u4"))
def test_integers_wrap(isa, dtype):
    info = np.iinfo(dtype)
    draw = np.random.default_rng(5).integers
    for m, n, k in [(1, 1, 1), (17, 33, 9), (40, 150, 70), (1, 70, 20), (70, 1, 200), (60, 140, 3200)]:
        a, b, d = (draw(info.min, info.max, shape, dtype, endpoint=True) for shape in ((m, k), (n, k), (m, n)))
        assert np.array_equal(product(a, b.T, isa, d), a @ b.T + d)
        assert np.array_equal(product(a, np.ascontiguousarray(b.T), isa), a @ b.T)


def test_only_the_copies_that_may_be_needed_are_compiled():
    def copies(m, n, k, a=(0, 1), b=(0, 1)) -> set[str]:
        strides = dict(zip(("a_row", "a_col", "b_row", "b_col"), (a[0] or k, a[1], b[0] or n, b[1])))
        parts = native.gemm_routine(np.dtype("f4"), native.make_isa("native"), dict(M=m, N=n, K=k) | strides).parts
        return {name.split("_")[1] for name, _ in parts if name.startswith("pack_")}
    assert copies(32, 32, 32) == copies(1, 64, 64) == set()
    assert copies(32, 32, 32, b=(1, 32)) == {"columns"} and copies(32, 32, 32, b=(2, 64)) == {"any"}
    assert copies(640, 640, 640) == {"rows", "panels"} and copies(640, 640, 640, a=(1, 640)) == {"columns", "panels"}
    assert copies(8, 8, 0) == {"any"} and copies(1, 64, 64, a=(64, 2)) == {"any"}

"""Kernels that read along one axis and write along another: NumPy's results for shapes around whole tiles, and how they are walked."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.tiles import asks, pieces_of, tiles_of
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import ArrayType, type_of

RNG = np.random.default_rng(0)


def numbers(dtype: str, *shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) * 50).astype(dtype)


@pytest.mark.parametrize("dtype, rows, columns", [
    ("f4", 64, 128), ("f4", 300, 17), ("f8", 65, 131), ("i2", 200, 35), ("u1", 70, 1000), ("f2", 130, 99), ("c8", 65, 131),
    ("?", 200, 90), ("i8", 200, 5)])
def test_operands_that_lie_across(dtype, rows, columns):
    x, y = numbers(dtype, rows, columns), numbers(dtype, columns, rows)
    f = tj.jit(lambda x, y: (jnp.where(x.T > y, x.T, y), x.T + x[0][:, None]))
    for found, wanted in zip(f(x, y), (np.where(x.T > y, x.T, y), x.T + x[0][:, None])):
        np.testing.assert_array_equal(np.asarray(found), wanted)


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1), (2, 1, 0)])
def test_inner_axes(order):
    x = numbers("f4", 9, 80, 66)
    found = tj.jit(lambda x: jnp.transpose(x, order) * 2)(x)
    np.testing.assert_array_equal(np.asarray(found), x.transpose(order) * 2)


def test_both_orders_of_one_array():
    x = numbers("f8", 131, 131)
    np.testing.assert_array_equal(np.asarray(tj.jit(lambda x: x + x.T)(x)), x + x.T)
    found = tj.jit(tj.grad(lambda x: ((x - x.T) ** 2).sum()))(x)
    np.testing.assert_allclose(np.asarray(found), 4 * (x - x.T))
    np.testing.assert_array_equal(np.asarray(tj.vmap(lambda x: x.T - 1)(x[None])), x.T[None] - 1)


def test_whole_tiles_and_what_is_left():
    graph = trace_closed(lambda x, y: [lax.transpose(x, (1, 0)) + y],
                         [ArrayType(shape, np.dtype("f4")) for shape in ((150, 101), (101, 150))])
    parts = tiles_of(generate(graph, host_isa()).program.steps[0].kernel)
    assert [[a.size for a in part.row_axes] for part, _ in parts] == [[6, 2, 16, 64], [101, 22], [5, 128]]
    assert [across is None for _, across in parts] == [False, True, True]


@pytest.mark.parametrize("pads", [[((0, 40), (0, 0)), ((9, 31), (0, 0))], [((0, 0), (70, 0)), ((0, 0), (0, 70))],
                                  [((3, 37), (5, 65)), ((40, 0), (0, 70))], [((-3, 43), (0, 70)), ((0, 40), (70, 0))]])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_sums_of_padded_operands_that_lie_across(dtype, pads):
    """Both results are as large as the first pads say."""
    x, y = numbers(dtype, 80, 110), numbers(dtype, 80, 110)
    pad = lambda a, widths: lax.pad(a, np.zeros((), dtype), [(*w, 0) for w in widths])
    shape = np.add((110, 80), [sum(w) for w in pads[0]])
    wanted = np.zeros(shape, dtype)
    for a, ((top, _), (left, _)) in zip((x, y), pads):
        skip = max(-top, 0)
        wanted[max(top, 0):top + 110, left:left + 80] += a.T[skip:]
    found = tj.jit(lambda x, y: pad(x.T, pads[0]) + pad(y.T, pads[1]))(x, y)
    np.testing.assert_array_equal(np.asarray(found), wanted)


def test_pieces_ask_nothing():
    def padded(n):
        return lambda *xs: [sum(lax.pad(lax.transpose(x, (1, 0)), np.float32(0), [(0, 64 * (n - 1 - i), 0), (0, 0, 0)])
                                for i, x in enumerate(xs))]
    pieces = {}
    for n in (3, 12):
        types = [ArrayType((96, 64 * (i + 1)), np.dtype("f4")) for i in range(n)]
        kernel, = [s.kernel for s in generate(trace_closed(padded(n), types), host_isa()).program.steps]
        pieces[n] = pieces_of(kernel)
    assert [[a.size for a in piece.row_axes] for piece in pieces[3]] == 3 * [[64, 96]]
    assert len(pieces[12]) == 12 and not any(map(asks, pieces[3] + pieces[12]))


@pytest.mark.parametrize("n", [8, 10, 16, 23])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_short_rows_are_folded_side_by_side(dtype, n):
    x = numbers(dtype, 133, n)
    x[3] = x[5, ::-1] = 7
    if dtype != "i4":
        x[::9, 1::2] = np.nan
        x[4] = np.where(np.arange(n) % 2, 0.0, -0.0)
    for name in ("sum", "max", "argmax", "argmin"):
        found = tj.jit(lambda x, name=name: getattr(jnp, name)(x, 1))(x)
        np.testing.assert_allclose(np.asarray(found), getattr(np, name)(x, 1), rtol=1e-5, atol=1e-3)
    found = tj.jit(lambda x: jnp.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(1)))(x)
    np.testing.assert_allclose(np.asarray(found), np.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(1)), rtol=1e-4, atol=1e-2)
    found = tj.jit(tj.vmap(lambda x: (x * x[0]).sum(0), in_axes=1))(x)
    np.testing.assert_allclose(np.asarray(found), (x * x[:1]).sum(0), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("n", [8, 10, 16, 23])
def test_short_rows_are_stored_in_squares(n):
    x = numbers("f4", 133, n) / 50
    e = np.exp(x - x.max(1, keepdims=True))
    for out in ((133, n), (7, 19, n)):
        found = tj.jit(lambda x: tj.nn.softmax(x))(x.reshape(out))
        np.testing.assert_allclose(np.asarray(found), (e / e.sum(1, keepdims=True)).reshape(out), rtol=1e-5)
    y, total = tj.jit(lambda x: (x - x.sum(1, keepdims=True), x.sum(1)))(x)
    np.testing.assert_allclose(np.asarray(y), x - x.sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(np.asarray(total), x.sum(1), atol=1e-5)
    labels = RNG.integers(0, n, 133)
    loss = lambda x: -tj.nn.log_softmax(x)[np.arange(133), labels].sum()
    one_hot = np.eye(n)[labels]
    np.testing.assert_allclose(np.asarray(tj.jit(tj.grad(loss))(x)), e / e.sum(1, keepdims=True) - one_hot, atol=1e-5)


@pytest.mark.parametrize("n", [8, 10, 16, 23, 40])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_long_code_for_short_rows_is_a_loop_over_the_lines_of_a_square(dtype, n):
    x, tight = numbers(dtype, 133, n) / 50, 1e-2 if dtype == "f2" else 1e-5
    graph = trace_closed(lambda x: [jnp.tanh(jnp.exp(x)).sum(1)], [ArrayType((133, n), np.dtype(dtype))])
    assert sum(text.count("llvm.fabs.v") for text in generate(graph, host_isa()).modules) < 12
    y, total, largest = tj.jit(lambda x: (jnp.tanh(x) * 2, jnp.tanh(x).sum(1), jnp.exp(x).max(1)))(x)
    wide = x.astype("f8")
    np.testing.assert_allclose(np.asarray(y), np.tanh(wide) * 2, rtol=tight, atol=tight)
    np.testing.assert_allclose(np.asarray(total), np.tanh(wide).sum(1), rtol=tight, atol=10 * tight)
    np.testing.assert_allclose(np.asarray(largest), np.exp(wide).max(1), rtol=tight)


@pytest.mark.parametrize("dtype, rows, columns", [("f4", 64, 128), ("f4", 300, 17), ("f8", 65, 131), ("f2", 130, 99)])
def test_long_code_for_operands_that_lie_across(dtype, rows, columns):
    x, y = numbers(dtype, rows, columns) / 50, numbers(dtype, columns, rows) / 50
    found = tj.jit(lambda x, y: jnp.tanh(x.T) + y)(x, y)
    tight = 4e-3 if dtype == "f2" else 1e-6
    np.testing.assert_allclose(np.asarray(found), np.tanh(x.T.astype("f8")) + y, rtol=tight, atol=tight)


PIECES = [(n, shape, axis) for n in (4, 9, 40) for shape, axis in (((100,), 0), ((3, 40), 0), ((3, 40), 1), ((20, 17), -1), ((0, 5), 0))]


@pytest.mark.parametrize("n, shape, axis", PIECES)
def test_joins_of_many_pieces(n, shape, axis):
    rng = np.random.default_rng(n)
    xs = [rng.standard_normal(shape).astype("f4") for _ in range(n)]
    xs[1] = np.concatenate([xs[1], xs[1]], axis)

    def join(np_or_jnp):
        def f(*xs):
            parts = [np_or_jnp.exp(x) * (k + 1) for k, x in enumerate(xs)]
            joined = np_or_jnp.concatenate(parts, axis)
            return joined, np_or_jnp.stack([2 * p for p in parts[2:]], axis), joined[::-1] + 1, joined.sum(axis)
        return f
    for got, want in zip(tj.jit(join(jnp))(*xs), join(np)(*xs)):
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-5)
    total = lambda *xs: (join(jnp)(*xs)[0] ** 2).sum()
    for x, got, k in zip(xs, tj.jit(tj.grad(total, tuple(range(n))))(*xs), range(n)):
        np.testing.assert_allclose(got, 2 * (k + 1) ** 2 * np.exp(2 * x), rtol=5e-6)


def test_each_piece_of_a_join_is_a_kernel_and_equal_ones_have_one_code():
    xs = [np.arange(2000, dtype="f4") + k for k in range(20)]
    graph = trace_closed(lambda *xs: [jnp.concatenate([jnp.sqrt(x) for x in xs])], [type_of(x) for x in xs])
    code = generate(graph, host_isa())
    assert len(code.schedules) == 20 and sum("define void @tj_kernel_" in text for text in code.modules) == 1

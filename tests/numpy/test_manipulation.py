"""Shapes, joins, splits, repeats, rolls, padding and products against NumPy and jax.numpy."""
import numpy as np
import pytest
from oracle import assert_same, check, complexes, floats, ints

import tracejit.numpy as jnp

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_reshape():
    for shape in [(24,), (4, 6), (-1, 2), (2, -1, 3), -1, (2, 3, 4, 1)]:
        check("reshape", X, shape)
        check("reshape", X, shape, order="F")
    check("ravel", X)
    check("ravel", X, order="F")
    check("reshape", np.zeros((0, 3), np.float32), (3, 0))
    for bad in [(5, 5), (-1, 5), (-1, -1), (-2, 4)]:
        with pytest.raises((TypeError, ValueError)):
            jnp.reshape(jnp.asarray(X), bad)
    assert jnp.ones((2, 3)).reshape(3, 2).shape == (3, 2) and jnp.ones((2, 3)).reshape((6,)).shape == (6,)


def test_axes():
    for axes in [None, (0, 1, 2), (2, 0, 1), (-1, 0, 1)]:
        check("transpose", X, axes)
    check("permute_dims", X, (2, 0, 1))
    check("swapaxes", X, 0, -1)
    for source, destination in [(0, 2), (-1, 0), ((0, 1), (1, 2)), ((2, 0), (0, 1))]:
        check("moveaxis", X, source, destination)
    for axis, start in [(0, 3), (2, 0), (1, 2), (-1, 1)]:
        check("rollaxis", X, axis, start)
    check("matrix_transpose", X)
    for axis in [0, -1, (0, 2), (1, -1)]:
        check("expand_dims", X, axis)
    y = np.ones((1, 3, 1), np.float32)
    for axis in [None, 0, (0, 2), -1]:
        check("squeeze", y, axis)
    for bad in (lambda: jnp.transpose(jnp.asarray(X), (0, 0, 1)), lambda: jnp.squeeze(jnp.asarray(X), 0), lambda: jnp.expand_dims(jnp.ones(2), 5)):
        with pytest.raises((TypeError, ValueError)):
            bad()


def test_at_least():
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        for x in (3.0, np.ones(3, np.float32), np.ones((2, 3), np.float32), X):
            check(name, x)
        check(name, np.ones(2, np.float32), np.ones((1, 2), np.float32))


def test_flips_and_rolls():
    for axis in [None, 0, -1, (0, 2)]:
        check("flip", X, axis)
    check("flipud", X)
    check("fliplr", X)
    for k in range(-1, 5):
        check("rot90", X, k)
        check("rot90", X, k, (2, 0))
    for shift, axis in [(2, None), (-1, 0), (3, 2), ((1, 2), (0, 1)), (1, (0, 2)), (7, 1), ((1, 1), 0)]:
        check("roll", X, shift, axis)
    assert_same(jnp.roll(jnp.asarray(X), jnp.array(2), 1), np.roll(X, 2, 1))
    assert_same(jnp.roll(jnp.asarray(X), jnp.array([1, -2]), (0, 2)), np.roll(X, [1, -2], (0, 2)))


def test_broadcasting():
    check("broadcast_to", np.arange(3), (2, 3))
    check("broadcast_to", np.ones((2, 1), np.float32), (4, 2, 3))
    check("broadcast_to", 2.0, (2,))
    check("broadcast_arrays", np.ones((2, 1), np.float32), np.arange(3), 2.0)
    check("broadcast_shapes", (2, 1), (3,), 1)
    with pytest.raises(ValueError):
        jnp.broadcast_to(jnp.ones(3), (2,))
    with pytest.raises(ValueError):
        jnp.broadcast_shapes((2,), (3,))


def test_joining():
    a, b = X, X[:, :1]
    for axis in (1, -2):
        check("concatenate", [a, b], axis)
    check("concatenate", [a, b], None)
    check("concat", [a, b], axis=1)
    check("concatenate", [ints(2), floats(3)])
    check("concatenate", [ints(2), floats(3)], dtype="float16", numpy=False)
    for axis in (0, 1, -1):
        check("stack", [a, a + 1], axis)
    check("stack", [1, 2.5])
    check("unstack", a, axis=1)
    for name in ("vstack", "hstack", "dstack", "column_stack"):
        check(name, [np.arange(3), np.arange(3) + 5])
        check(name, [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)])
    check("append", a, b, 1)
    check("append", np.arange(3), 7)
    assert_same(jnp.concatenate(jnp.asarray(X)), np.concatenate(X))
    assert_same(jnp.stack(jnp.asarray(X), 1), np.stack(X, 1))
    for bad in (lambda: jnp.concatenate([]), lambda: jnp.concatenate([jnp.ones((2, 3)), jnp.ones((2, 3, 1))]),
                lambda: jnp.stack([jnp.ones(2), jnp.ones(3)]), lambda: jnp.concatenate([1, 2])):
        with pytest.raises((TypeError, ValueError)):
            bad()


def test_block():
    a, b = np.ones((2, 2), np.float32), np.zeros((2, 3), np.float32)
    for blocks in ([[a, b], [b, a]], [a, b], a, [1, 2, 3], [[a], [a]], [[[a], [a]], [[a], [a]]]):
        assert_same(jnp.block(blocks), np.block(blocks))
    with pytest.raises(ValueError):
        jnp.block([1, [2]])


def test_splitting():
    for where in [3, [1], [1, 2], [0, 5]]:
        check("array_split", X, where, 1, jax=where != [0, 5])
        check("split", X, where, 1, jax=where != [0, 5])
    check("array_split", np.arange(7), 3)
    check("vsplit", X, 2)
    check("hsplit", X, 3)
    check("dsplit", X, [1, 3])
    check("hsplit", np.arange(4), 2)
    with pytest.raises(ValueError):
        jnp.split(jnp.arange(5), 2)


def test_repeating():
    for reps in [2, (2, 1), (1, 2, 3), (2, 1, 1, 2), 0, ()]:
        check("tile", X, reps)
    for repeats, axis in [(2, None), (3, 1), (np.array([1, 0, 2]), 1), (np.array([2]), 0), (0, 2)]:
        check("repeat", X, repeats, axis)
    check("repeat", X, np.array([1, 0, 2]), numpy=False, axis=1, total_repeat_length=5)
    check("repeat", X, np.array([1, 0, 2]), numpy=False, axis=1, total_repeat_length=2)
    check("repeat", 3.0, 2, weak=False)
    for shape in [(3, 4), 30, (0,), (2, 2)]:
        check("resize", np.arange(5), shape)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp", "maximum", "minimum", "mean", "median"])
@pytest.mark.parametrize("width", [1, (1, 2), ((1, 0), (0, 2)), ((4, 7), (3, 5)), 0, ((2,), (1,))], ids=str)
def test_pad(mode, width):
    check("pad", floats(3, 4), width, mode=mode, jax=width != ((2,), (1,)))
    check("pad", ints(2, 3), width, mode=mode, jax=mode not in ("mean", "median", "linear_ramp") and width != ((2,), (1,)), numpy=mode not in ("mean", "median"))


def test_pad_options():
    x = floats(3, 4)
    check("pad", x, 2, constant_values=5)
    check("pad", x, ((1, 2), (3, 0)), constant_values=((1, 2), (3, 4)))
    check("pad", x, 2, mode="linear_ramp", end_values=(1, 7))
    check("pad", x, 2, mode="maximum", stat_length=2)
    check("pad", x, 2, mode="mean", stat_length=((1, 2), (3, 1)))
    for mode in ("reflect", "symmetric"):
        check("pad", x, ((2, 1), (3, 2)), mode=mode, reflect_type="odd")
    check("pad", x, {0: 1, -1: (2, 3)}, jax=False, numpy=lambda a, w: np.pad(a, ((1, 1), (2, 3))))
    check("pad", np.zeros((0,), np.float32), 2)
    for bad in (lambda: jnp.pad(jnp.ones(3), -1), lambda: jnp.pad(jnp.ones(3), 1, mode="edge", constant_values=2),
                lambda: jnp.pad(jnp.zeros(0), 1, mode="edge"), lambda: jnp.pad(jnp.ones(3), ((1, 2), (3, 4)))):
        with pytest.raises(ValueError):
            bad()


def test_insert_and_delete():
    x = ints(3, 5)
    for obj in [1, -1, slice(0, 3, 2), np.array([0, 2]), np.array([True, False, True]), np.array([], int)]:
        check("delete", x, obj, axis=0)
    check("delete", x, 3)
    check("insert", x, 1, 7)
    check("insert", x, 1, 7, axis=1)
    check("insert", x, np.array([0, 3]), np.array([[7], [8]], np.int32), axis=0)
    check("insert", x, -1, ints(3), axis=1)
    check("insert", np.arange(4), np.array([1, 1, 3]), np.array([5, 6, 7]))
    check("insert", np.arange(4), slice(0, 3, 2), 9)


# --- products ----------------------------------------------------------------------------------------

MATMULS = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)),
           ((5, 1, 2, 3), (6, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 4)),
           ((4, 1, 2, 3), (1, 5, 3, 2))]


@pytest.mark.parametrize("left,right", MATMULS, ids=str)
def test_matmul(left, right):
    check("matmul", floats(*left), floats(*right), rtol=1e-4)
    check("matmul", ints(*left), ints(*right))
    check("dot", floats(*left), floats(*right), rtol=1e-4) if left[-1] == right[max(len(right) - 2, 0)] else None


def test_other_products():
    check("dot", floats(2, 3), 2.0)
    check("dot", complexes(2, 3), floats(3, 2), rtol=1e-4)
    check("vdot", complexes(2, 3), complexes(2, 3), rtol=1e-4)
    check("inner", floats(2, 3), floats(4, 3), rtol=1e-4)
    check("outer", floats(2, 2), ints(3))
    check("kron", ints(2, 3), ints(3, 1))
    check("kron", floats(3), floats(2, 2))
    check("vecdot", complexes(4, 3), complexes(3), rtol=1e-4)
    check("vecdot", floats(3, 4), floats(3, 4), axis=0, rtol=1e-4)
    check("matvec", floats(5, 2, 3), floats(5, 3), rtol=1e-4)
    check("vecmat", complexes(5, 2), complexes(5, 2, 3), rtol=1e-4)
    for axes in (0, 1, 2, ((0, 1), (1, 0)), (0, 1), ((1,), (0,))):
        check("tensordot", floats(3, 3), floats(3, 3), axes=axes, rtol=1e-4)
    for n in ((3,), (2, 3)):
        check("cross", floats(*n), floats(*n), rtol=1e-4)
    check("cross", floats(3, 4), floats(3, 4), axis=0, rtol=1e-4)
    for bad in (lambda: jnp.dot(jnp.ones(3), jnp.ones(2)), lambda: jnp.matmul(jnp.ones((2, 3)), jnp.ones((2, 3))), lambda: jnp.matmul(1, 2)):
        with pytest.raises((TypeError, ValueError)):
            bad()


EINSUMS = [("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->ji", (2, 3)), ("ij->", (2, 3)),
           ("...ij,...jk->...ik", (5, 2, 3), (5, 3, 4)), ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("i,j->ij", (2,), (3,)), ("i,i", (3,), (3,)),
           ("ij,ij->i", (2, 3), (2, 3)), ("ijk,jil->kl", (2, 3, 4), (3, 2, 5)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("a,ab,abc->abc", (2,), (2, 3), (2, 3, 4)),
           ("ij,kj->", (2, 3), (4, 3)), ("...i->...", (2, 3, 4)), ("i...,j...->ij...", (2, 4), (3, 4)), ("ij,ij->ij", (1, 3), (2, 3)), ("iij->j", (3, 3, 2)),
           ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 2), (2, 3)), (",ij->ij", (), (2, 3)), ("i,ij,j->", (2,), (2, 3), (3,)), ("ijij->ij", (2, 3, 2, 3)),
           ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("...a,...b->...ab", (4, 2), (3,)), ("ba", (2, 3)), ("abc->ca", (2, 3, 4))]


@pytest.mark.parametrize("case", EINSUMS, ids=lambda c: c[0])
def test_einsum(case):
    text, *shapes = case
    operands = [floats(*s) for s in shapes]
    check("einsum", text, *operands, rtol=1e-4)
    for optimize in ("optimal", "greedy", False, True):
        assert_same(jnp.einsum(text, *operands, optimize=optimize), np.einsum(text, *operands), rtol=1e-4)


def test_einsum_of_lists_and_errors():
    a, b = floats(2, 3), floats(3, 4)
    assert_same(jnp.einsum(a, [0, 1], b, [1, 2], [0, 2]), a @ b, rtol=1e-4)
    assert_same(jnp.einsum(a, [0, 1], b, [1, 2]), a @ b, rtol=1e-4)
    assert_same(jnp.einsum(a, ["row", "over"], b, ["over", "column"], ["row", "column"]), a @ b, rtol=1e-4)
    assert_same(jnp.einsum(a, [100, 7], b, [7, 3]), (a @ b).T, rtol=1e-4)
    assert_same(jnp.einsum(a, [Ellipsis, 1], b, [1, 0], [Ellipsis, 0]), a @ b, rtol=1e-4)
    assert jnp.einsum_path("ij,jk->ik", a, b)[0] == np.einsum_path("ij,jk->ik", a, b)[0][1:]
    for bad in (lambda: jnp.einsum("ij,jk->il", a, b), lambda: jnp.einsum("ij,jk", a, a), lambda: jnp.einsum("ij", a, b), lambda: jnp.einsum("ijk", a)):
        with pytest.raises((TypeError, ValueError)):
            bad()


def test_diagonals_and_triangles():
    for k in (-1, 0, 2):
        check("diagonal", X, k)
        check("diagonal", X, k, 1, 2)
        check("diag", np.arange(3, dtype=np.float32), k)
        check("diag", X[0], k)
        check("diagflat", X[0], k)
        check("tril", X, k)
        check("triu", X, k)
        check("trace", X, k)
    check("tril", np.arange(3), jax=False)
    check("trace", ints(3, 3), dtype="float32")
    check("vander", ints(3))
    check("vander", floats(3), 5, increasing=True, rtol=1e-4)


def test_shape_questions():
    check("shape", X)
    check("ndim", X)
    check("size", X)
    check("size", X, 1)
    check("isscalar", 3)
    check("isscalar", X)
    check("iterable", X)
    assert jnp.isscalar(jnp.array(1)) and not jnp.iterable(jnp.array(1))

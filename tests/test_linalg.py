"""lax.linalg: factors multiply back, solutions solve, failures are nan; stacks, empty matrices, derivatives, errors."""
from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

import tracejit as tj
from tracejit import lax
from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.trace import bind
from tracejit.lax import linalg
from tracejit.lax.eigen import eigvalsh
from tracejit.lax.solve import LuSolve
from tracejit.runtime.threads import threads

RNG = np.random.default_rng(0)
DTYPES = [np.dtype(t) for t in ("f4", "f8", "c8", "c16")]
EACH_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)
SHAPES = [(4, 3), (3, 4), (2, 3, 3), (1, 1), (0, 3), (3, 0), (2, 0, 2, 2), (50, 30), (30, 50)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def normal(dtype, *size: int) -> np.ndarray:
    x = RNG.normal(size=size)
    return (x + 1j * RNG.normal(size=size) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def adjoint(x) -> np.ndarray:
    return np.swapaxes(np.asarray(x).conj(), -1, -2)


def definite(dtype, *size: int) -> np.ndarray:
    x = normal(dtype, *size)
    return (x @ adjoint(x) + size[-1] * np.eye(size[-1])).astype(dtype)


def close(found, wanted, scale: float = 1.0) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    limit = scale * 1e3 * np.finfo(wanted.dtype).eps * max(1.0, float(np.abs(np.nan_to_num(wanted)).max(initial=0)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=limit)


def is_identity(x) -> None:
    x = np.asarray(x)
    close(x, np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape))


# --- factors ---------------------------------------------------------------------------------------------------------

@EACH_DTYPE
@pytest.mark.parametrize("size", [(4, 4), (2, 3, 5, 5), (0, 0), (3, 1, 1), (70, 70)], ids=str)
def test_cholesky(dtype, size):
    x = definite(dtype, *size)
    factor = np.asarray(tj.jit(linalg.cholesky)(x))
    close(factor @ adjoint(factor), x)
    assert not np.triu(factor, 1).any()


def test_cholesky_of_an_indefinite_matrix_is_nan_below_the_diagonal():
    found = np.asarray(linalg.cholesky(np.stack([-np.eye(2), np.eye(2)])))
    np.testing.assert_array_equal(found, [[[np.nan, 0], [np.nan, np.nan]], np.eye(2)])
    halves = linalg.cholesky(np.float64([[4, 99], [2, 5]]), symmetrize_input=False)
    close(halves, [[2.0, 0], [1, 2]])


@EACH_DTYPE
@EACH_SHAPE
def test_lu(dtype, shape):
    x = normal(dtype, *shape)
    packed, pivots, order = map(np.asarray, tj.jit(linalg.lu)(x))
    m, n = shape[-2:]
    k = min(m, n)
    left = np.tril(packed[..., :k], -1) + np.eye(m, k, dtype=dtype)
    close(left @ np.triu(packed[..., :k, :]), np.take_along_axis(x, order[..., None], -2))
    assert pivots.dtype == order.dtype == np.int32 and pivots.shape == (*shape[:-2], k)
    np.testing.assert_array_equal(linalg.lu_pivots_to_permutation(pivots, m), order)


@EACH_DTYPE
@EACH_SHAPE
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("pivoting", [True, False])
def test_qr(dtype, shape, full, pivoting):
    x = normal(dtype, *shape)
    q, r, *order = map(np.asarray, tj.jit(lambda x: linalg.qr(x, full_matrices=full, pivoting=pivoting))(x))
    m, n = shape[-2:]
    assert q.shape == (*shape[:-2], m, m if full else min(m, n))
    is_identity(adjoint(q) @ q)
    assert not np.tril(r, -1).any()
    close(q @ r, np.take_along_axis(x, order[0][..., None, :].astype(int), -1) if pivoting else x)


@EACH_DTYPE
def test_reflectors(dtype):
    x = normal(dtype, 2, 5, 5)
    packed, taus = linalg.hessenberg(x)
    inner, c = np.ascontiguousarray(np.asarray(packed)[:, 1:, :-1]), normal(dtype, 2, 4, 3)
    q = np.asarray(linalg.householder_product(inner, taus))
    is_identity(adjoint(q) @ q)
    close(linalg.ormqr(inner, taus, c), q @ c)
    close(linalg.ormqr(inner, taus, c, transpose=True), adjoint(q) @ c)
    close(linalg.ormqr(inner, taus, adjoint(c), left=False), adjoint(c) @ q)
    whole = np.zeros_like(x)
    whole[:, 0, 0], whole[:, 1:, 1:] = 1, q
    form = np.triu(np.asarray(packed), -1)
    close(whole @ form @ adjoint(whole), x)


@EACH_DTYPE
@pytest.mark.parametrize("lower", [True, False])
def test_tridiagonal(dtype, lower):
    x = definite(dtype, 3, 6, 6)
    _, d, e, _ = map(np.asarray, linalg.tridiagonal(x, lower=lower))
    form = np.stack([np.diag(d[k]) + np.diag(e[k], 1) + np.diag(e[k], -1) for k in range(3)])
    close(np.linalg.eigvalsh(form), np.linalg.eigvalsh(x))


# --- solutions -------------------------------------------------------------------------------------------------------

@EACH_DTYPE
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_triangular_solve(dtype, left, lower, unit):
    a, b = normal(dtype, 2, 4, 4) / 4 + 2 * np.eye(4, dtype=dtype), normal(dtype, 2, 4, 3)
    b = b if left else adjoint(b)
    half = np.tril(a, -1 if unit else 0) if lower else np.triu(a, 1 if unit else 0)
    half = half + np.eye(4, dtype=dtype) if unit else half
    for transpose, conjugate in ((False, False), (True, False), (False, True), (True, True)):
        op = np.swapaxes(half, -1, -2) if transpose else half
        op = op.conj() if conjugate else op
        x = np.asarray(linalg.triangular_solve(a, b, left_side=left, lower=lower, transpose_a=transpose,
                                               conjugate_a=conjugate, unit_diagonal=unit))
        close(op @ x if left else x @ op, b)


@EACH_DTYPE
@pytest.mark.parametrize("n", [1, 3, 40])
def test_solve(dtype, n):
    a, b = normal(dtype, 2, n, n) + n * np.eye(n, dtype=dtype), normal(dtype, 2, n, 3)
    close(a @ np.asarray(tj.jit(linalg.solve)(a, b)), b)


@EACH_DTYPE
def test_tridiagonal_solve(dtype):
    dl, d, du, b = normal(dtype, 2, 5), normal(dtype, 2, 5) + 5, normal(dtype, 2, 5), normal(dtype, 2, 5, 3)
    full = np.stack([np.diag(d[k]) + np.diag(dl[k, 1:], -1) + np.diag(du[k, :-1], 1) for k in range(2)])
    close(full @ np.asarray(linalg.tridiagonal_solve(dl, d, du, b)), b)
    assert np.isnan(np.asarray(linalg.tridiagonal_solve(dl, 0 * d, 0 * du, b))).all()


def test_updates_and_symmetric_products():
    r, w = np.linalg.cholesky(definite("f8", 2, 4, 4)).swapaxes(-1, -2), normal("f8", 2, 4)
    updated = np.asarray(linalg.cholesky_update(r, w))
    close(adjoint(updated) @ updated, adjoint(r) @ r + w[..., :, None] * w[..., None, :])
    assert (np.diagonal(updated, 0, -2, -1) > 0).all()
    a, c = normal("f4", 3, 2), definite("f4", 3, 3)
    close(linalg.symmetric_product(a, c, alpha=2.0, beta=0.5), (2 * a @ a.T + c / 2).astype(np.float32))


@EACH_DTYPE
def test_polar_decomposition(dtype):
    x = normal(dtype, 2, 5, 3)
    u, h, _, converged = linalg.qdwh(x)
    u, h = np.asarray(u), np.asarray(h)
    is_identity(adjoint(u) @ u)
    close(u @ h, x)
    assert converged and (np.linalg.eigvalsh(h) > 0).all()


# --- eigenvalues -----------------------------------------------------------------------------------------------------

@EACH_DTYPE
@pytest.mark.parametrize("n", [0, 1, 4, 30])
def test_eigh(dtype, n):
    x = definite(dtype, 2, n, n)
    for lower in (True, False):
        half = np.tril(x) if lower else np.triu(x)
        v, w = map(np.asarray, linalg.eigh(half, lower=lower, symmetrize_input=False))
        is_identity(adjoint(v) @ v)
        close(v * w[..., None, :] @ adjoint(v), x)
        assert (np.diff(w, axis=-1) >= 0).all()
        close(eigvalsh(half, lower=lower, symmetrize_input=False), w)
    v, w = linalg.eigh(x, subset_by_index=(0, n // 2))
    assert v.shape == (2, n, n // 2) and w.shape == (2, n // 2)


@EACH_DTYPE
@EACH_SHAPE
def test_svd(dtype, shape):
    x = normal(dtype, *shape)
    k = min(shape[-2:])
    s = np.asarray(linalg.svd(x, compute_uv=False))
    for full in (True, False):
        u, values, vh = map(np.asarray, linalg.svd(x, full_matrices=full))
        is_identity(adjoint(u) @ u)
        is_identity(vh @ adjoint(vh))
        close(u[..., :k] * values[..., None, :] @ vh[..., :k, :], x)
        close(values, s)
    assert (np.diff(s, axis=-1) <= 0).all()


@EACH_DTYPE
@pytest.mark.parametrize("n", [1, 5, 30])
def test_eig(dtype, n):
    x = normal(dtype, 2, n, n)
    w, left, right = map(np.asarray, tj.jit(linalg.eig)(x))
    close(x @ right, (right * w[..., None, :]).astype(right.dtype), 10)
    close(adjoint(left) @ x, (w[..., :, None] * adjoint(left)).astype(left.dtype), 10)
    assert len(linalg.eig(x, compute_left_eigenvectors=False)) == 2


@EACH_DTYPE
def test_schur(dtype):
    x = normal(dtype, 2, 5, 5)
    t, q = map(np.asarray, linalg.schur(x))
    is_identity(adjoint(q) @ q)
    close(q @ t @ adjoint(q), x)
    assert not np.tril(t, -2 if dtype.kind == "f" else -1).any()
    close(linalg.schur(x, compute_schur_vectors=False)[0], t)


def test_nan_gives_nan():
    x = np.full((2, 3, 3), np.nan)
    x[1] = np.eye(3)
    for found in (linalg.eigh(x)[1], linalg.cholesky(x)):
        assert np.isnan(np.asarray(found)[0]).any() and not np.isnan(np.asarray(found)[1]).any()


def test_stacks_of_many_small_matrices():
    x, b = definite("f8", 1000, 3, 3), normal("f8", 1000, 3, 1)
    close(linalg.cholesky(x), np.linalg.cholesky(x))
    close(tj.vmap(linalg.solve)(x, b), np.linalg.solve(x, b))
    close(tj.vmap(linalg.solve, in_axes=(None, 0))(x[0], b), np.linalg.solve(x[:1], b))


def special_stack(dtype, m: int, n: int) -> np.ndarray:
    """Matrices that algorithms stumble over, among others."""
    x = normal(dtype, 20, m, n)
    x[1], x[2], x[3], x[4, :, 0] = 0, 1, np.eye(m, n), 0
    x[5] = np.outer(np.arange(m), np.arange(n))
    x[6] *= np.finfo(dtype).max / 1000
    x[7] *= np.finfo(dtype).tiny * 1000
    x[8] = x[8] * np.logspace(0, -30, n).astype(dtype)
    return x


def scaled_close(found, x, slack: float = 40.0) -> None:
    """To the precision of the dtype, relative to each matrix."""
    size = np.maximum(np.abs(x).max((-2, -1), keepdims=True), np.finfo(x.dtype).tiny)
    np.testing.assert_allclose(found / size, x / size, rtol=0, atol=slack * np.finfo(x.dtype).eps)


@EACH_DTYPE
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (5, 3), (4, 1), (12, 12), (20, 31), (31, 20)], ids=str)
@pytest.mark.parametrize("full", [True, False])
def test_orthogonal_factors_side_by_side(dtype, shape, full):
    x, k = special_stack(dtype, *shape), min(shape)
    q, r = map(np.asarray, linalg.qr(x, full_matrices=full))
    is_identity(adjoint(q) @ q)
    scaled_close(q @ r, x)
    assert not np.tril(r, -1).any()
    scaled_close(np.linalg.qr(x[8:], "r"), r[8:, :k], 200)     # and with LAPACK's signs
    u, s, vh = map(np.asarray, linalg.svd(x, full_matrices=full))
    is_identity(adjoint(u) @ u)
    is_identity(vh @ adjoint(vh))
    scaled_close(u[..., :k] * s[:, None] @ vh[:, :k], x, 100)
    assert (np.diff(s) <= 0).all() and (s >= 0).all()
    np.testing.assert_array_equal(linalg.svd(x, compute_uv=False), s)
    scaled_close(s[:, None], np.linalg.svd(x, compute_uv=False)[:, None], 100)


@EACH_DTYPE
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 32])
def test_eigenvalues_side_by_side(dtype, n):
    x = special_stack(dtype, n, n)
    x = x / 2 + adjoint(x) / 2
    for lower in (True, False):
        half = np.tril(x) if lower else np.triu(x)
        v, w = map(np.asarray, linalg.eigh(half, lower=lower, symmetrize_input=False))
        is_identity(adjoint(v) @ v)
        scaled_close(v * w[:, None] @ adjoint(v), x, 100)
        scaled_close(w[:, None], np.linalg.eigvalsh(x)[:, None], 100)
        np.testing.assert_array_equal(eigvalsh(half, lower=lower, symmetrize_input=False), w)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(80, 80), (2, 129, 129), (90, 300), (300, 90), (200, 60), (257, 259)], ids=str)
def test_lu_in_blocks(dtype, shape):
    x = normal(dtype, *shape)
    x[..., 5, :], x[..., :, 45] = x[..., 6, :], 0       # no full rank: some pivots are zero or noise
    packed, pivots, order = map(np.asarray, tj.jit(linalg.lu)(x))
    k = min(shape[-2:])
    left = np.tril(packed[..., :k], -1) + np.eye(shape[-2], k, dtype=dtype)
    scaled_close(left @ np.triu(packed[..., :k, :]), np.take_along_axis(x, order[..., None], -2), 100)
    assert abs(left).max() == 1
    np.testing.assert_array_equal(linalg.lu_pivots_to_permutation(pivots, shape[-2]), order)
    clear = normal(dtype, *shape[-2:])
    np.testing.assert_array_equal(linalg.lu(clear)[1], scipy.linalg.lu_factor(clear)[1])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n, columns", [(80, 8), (130, 70), (200, 200)])
def test_systems_in_blocks(dtype, n, columns):
    x, b = definite(dtype, n, n) / n, normal(dtype, n, columns)
    scaled_close(x @ np.asarray(linalg.solve(x, b)), b, 100)
    factors = linalg.lu(x)[:2]
    for transposed in (False, True):
        found = np.asarray(bind(LuSolve(transposed), x, *factors, b))
        scaled_close((x.T if transposed else x) @ found, b, 100)
    for lower, turned, unit in itertools.product((True, False), repeat=3):
        half = np.tril(x) if lower else np.triu(x)
        found = np.asarray(linalg.triangular_solve(x, b, left_side=True, lower=lower, transpose_a=turned, unit_diagonal=unit))
        if unit:
            np.fill_diagonal(half, 1)
        scaled_close((half.T if turned else half) @ found, b, 100)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_systems_in_blocks_without_a_solution_are_not_finite_and_singular_factors_are(dtype):
    x = np.eye(100, dtype=dtype)
    x[50, 50] = 0
    assert np.isfinite(np.asarray(linalg.lu(x)[0])).all()
    assert not np.isfinite(np.asarray(linalg.solve(x, np.ones((100, 9), dtype)))).all()
    x[3, 3] = np.nan
    assert np.isnan(np.asarray(linalg.solve(x, np.ones((100, 9), dtype)))).any()


def test_blocks_have_the_same_bits_for_any_number_of_threads():
    x, b = definite("f4", 300, 300), normal("f4", 300, 300)
    found = []
    for n in (1, 2):
        with threads(n):
            found.append([np.asarray(v) for v in (*linalg.lu(x), linalg.solve(x, b))])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@EACH_DTYPE
def test_what_is_side_by_side_does_not_see_its_neighbours(dtype):
    x = definite(dtype, 20, 6, 6)
    spoiled = x.copy()
    spoiled[[1, 3, 17]] = [np.full((6, 6), v, dtype) for v in (np.nan, np.inf, 1)]
    for f in (linalg.cholesky, linalg.lu, linalg.qr, linalg.eigh, linalg.svd, lambda a: linalg.solve(a, x)):
        for one, other in zip(*(map(np.atleast_1d, tj.tree.leaves(f(a))) for a in (x, spoiled))):
            kept = np.delete(np.arange(20), [1, 3, 17])
            np.testing.assert_array_equal(np.asarray(one)[kept], np.asarray(other)[kept])
            if one.dtype != np.int32:
                assert np.isnan(np.asarray(other)[1]).any()


# --- derivatives -----------------------------------------------------------------------------------------------------

SPECTRA = {
    "cholesky": (lambda x: linalg.cholesky(x), definite),
    "eigh": (lambda x: linalg.eigh(x)[1], definite), "eigvalsh": (eigvalsh, definite), "eigh vectors": (lambda x: square(linalg.eigh(x)[0]), definite),
    "svd": (lambda x: linalg.svd(x, compute_uv=False), normal),
    "svd vectors": (lambda x: square(linalg.svd(x, full_matrices=False)[0]), normal),
    "svd rows": (lambda x: square(linalg.svd(x, full_matrices=False)[2]), normal),
    "qr": (lambda x: linalg.qr(x)[1], normal), "q": (lambda x: linalg.qr(x, pivoting=True)[0], normal),
    "lu": (lambda x: linalg.lu(x)[0], normal), "solve": (lambda x: linalg.solve(x, np.ones((4, 2), x.dtype)), definite),
    "eig": (lambda x: linalg.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=False)[0], normal),
    "eig vectors": (lambda x: square(linalg.eig(x, compute_left_eigenvectors=False, enable_eigvec_derivs=True)[1]), normal),
}


def square(x):
    return lax.real(lax.mul(x, lax.conj(x))) if np.dtype(x.dtype).kind == "c" else lax.mul(x, x)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_derivatives_are_difference_quotients(name, dtype):
    f, make = SPECTRA[name]
    x, t = make(dtype, 4, 4), normal(dtype, 4, 4)
    t = (t + adjoint(t)) / 2 if make is definite else t
    ahead, behind = (np.asarray(f(x + h * t)) for h in (1e-6, -1e-6))
    out, found = tj.jvp(f, (x,), (t,))
    np.testing.assert_allclose(found, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6)
    ct = normal(np.asarray(out).dtype, *out.shape)
    pulled, = tj.vjp(f, x)[1](ct)
    np.testing.assert_allclose(np.sum(np.asarray(pulled) * t).real, np.sum(ct * np.asarray(found)).real, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)], ids=str)
def test_derivatives_of_factors_of_oblong_matrices(shape):
    x, t = normal("f8", *shape), normal("f8", *shape)
    for f in (linalg.qr, lambda x: linalg.qr(x, full_matrices=False), lambda x: linalg.svd(x, full_matrices=False)[:2], linalg.lu):
        parts = [k for k, v in enumerate(f(x)) if np.dtype(v.dtype).kind == "f"]
        for k in parts:
            slope = (np.asarray(f(x + 1e-6 * t)[k]) - np.asarray(f(x - 1e-6 * t)[k])) / 2e-6
            np.testing.assert_allclose(tj.jvp(lambda x: f(x)[k], (x,), (t,))[1], slope, rtol=1e-5, atol=1e-6)


def test_second_derivative_of_the_log_determinant():
    """d2/dt2 of log det(a + t b) is -trace((inv(a) b)^2)."""
    a, b = definite("f8", 4, 4), definite("f8", 4, 4)

    def log_det(t):
        factor = linalg.cholesky(lax.add(a, lax.mul(t, b)))
        return lax.mul(2.0, lax.reduce_sum(lax.log(lax.reduce_max(lax.mul(factor, np.eye(4)), (1,))), (0,)))
    second = tj.grad(tj.grad(log_det))(0.0 * a[0, 0])
    m = np.linalg.solve(a, b)
    np.testing.assert_allclose(second, -np.trace(m @ m), rtol=1e-9)


def test_derivatives_of_tridiagonal_systems():
    args = [normal("f8", 5), normal("f8", 5) + 5, normal("f8", 5), normal("f8", 5, 2)]
    tangents = [normal("f8", *x.shape) for x in args]
    ahead, behind = ([x + h * t for x, t in zip(args, tangents)] for h in (1e-6, -1e-6))
    slope = (np.asarray(linalg.tridiagonal_solve(*ahead)) - np.asarray(linalg.tridiagonal_solve(*behind))) / 2e-6
    _, found = tj.jvp(linalg.tridiagonal_solve, tuple(args), tuple(tangents))
    np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-8)


# --- errors ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, error, message", [
    (lambda: linalg.cholesky(np.ones((2, 3))), ShapeError, "square matrices, not 2x3"),
    (lambda: linalg.eigh(np.ones(3)), ShapeError, "at least 2 axes"),
    (lambda: linalg.svd(np.ones((2, 2), int)), DtypeError, "must be float32, float64, complex64 or complex128"),
    (lambda: linalg.qr(np.ones((2, 2), np.float16)), DtypeError, "convert it with lax.convert_element_type"),
    (lambda: linalg.triangular_solve(np.ones((3, 3)), np.ones((4, 2)), left_side=True), ShapeError, "whose axis 0 is 4"),
    (lambda: linalg.solve(np.ones((2, 3, 3)), np.ones((3, 3))), ShapeError, "different leading axes"),
    (lambda: linalg.solve(np.ones((3, 3)), np.ones((3, 3), np.float32)), DtypeError, "different dtypes"),
    (lambda: linalg.tridiagonal_solve(*np.ones((3, 4)), np.ones((3, 1))), ShapeError, "must be as long"),
    (lambda: linalg.svd(np.eye(3), subset_by_index=(0, 2)), ValueError, "cannot both be set"),
    (lambda: tj.grad(lambda x: lax.reduce_sum(linalg.svd(x)[0], (0, 1)))(np.ones((3, 2))), NotImplementedError, "full_matrices"),
    (lambda: tj.jvp(linalg.eig, (np.eye(2),), (np.eye(2),)), NotImplementedError, "enable_eigvec_derivs"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""tracejit.scipy.linalg against SciPy in double precision, and by the equations that results must satisfy."""
from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.linalg as sla

import tracejit
import tracejit.numpy as jnp
from tracejit.scipy import linalg

RNG = np.random.RandomState(0)
A, B, POLE = RNG.randn(5, 5), RNG.randn(5, 3), RNG.randn(5, 5)
P = A @ A.T + np.eye(5)
C = A + 1j * RNG.randn(5, 5)
H = C + C.conj().T
V, U, D, E = RNG.randn(5), RNG.randn(3), RNG.randn(6), RNG.randn(5)

LIKE_SCIPY = [
    ("cholesky", (P,), {}), ("cholesky", (P,), {"lower": True}), ("cholesky", (H @ H,), {}),
    ("lu", (A,), {}), ("lu", (A[:, :3],), {}), ("lu", (A[:3],), {}), ("lu", (C,), {"permute_l": True}), ("lu_factor", (A,), {}),
    ("qr", (A,), {}), ("qr", (A[:, :3],), {"mode": "economic"}), ("qr", (A[:, :3],), {}), ("qr", (A,), {"pivoting": True}), ("qr", (A,), {"mode": "r"}),
    ("qr_multiply", (A[:, :3], B.T[:2]), {}), ("qr_multiply", (A[:, :3], B[:3]), {"mode": "left"}),
    ("qr_multiply", (C, B[:, 0]), {"mode": "left", "conjugate": True}), ("qr_multiply", (C, B[:, 0]), {"pivoting": True}),
    ("polar", (A,), {}), ("polar", (A[:, :3],), {"side": "left"}), ("polar", (C,), {}),
    ("hessenberg", (A,), {}), ("hessenberg", (C,), {"calc_q": True}), ("svd", (A,), {"compute_uv": False}),
    ("solve", (A, B), {}), ("solve", (A, B[:, 0]), {}), ("solve", (P, B), {"assume_a": "pos"}), ("det", (A,), {}), ("inv", (A,), {}),
    *(("solve_triangular", (C, B), {"trans": trans}) for trans in (0, 1, 2, "N", "T", "C")),
    ("solve_triangular", (C, B[:, 0]), {"trans": 2, "lower": True, "unit_diagonal": True}),
    ("eigh", (H,), {"eigvals_only": True}), *(("eigh", (H, P), {"eigvals_only": True, "type": kind}) for kind in (1, 2, 3)),
    ("eigh_tridiagonal", (D, E), {"eigvals_only": True}), ("eigh_tridiagonal", (D, E), {"eigvals_only": True, "select": "i", "select_range": (1, 3)}),
    ("eigh_tridiagonal", (D, E), {"eigvals_only": True, "select": "v", "select_range": (-1, 1)}),
    ("expm", (A,), {}), ("expm", (C,), {}), ("expm", (np.stack([A, 4 * A]),), {}), ("expm", (np.zeros((3, 3)),), {}), ("expm_frechet", (A, POLE), {}),
    ("sqrtm", (P,), {}), ("solve_sylvester", (A, P, B @ RNG.randn(3, 5)), {}), ("solve_sylvester", (A, P, POLE), {"method": "eigen"}),
    ("toeplitz", (V,), {}), ("toeplitz", (V, U), {}), ("hankel", (V,), {}), ("hankel", (V, U), {}), ("circulant", (V,), {}),
    ("leslie", (V, V[1:]), {}), ("companion", (V,), {}), ("fiedler", (V,), {}), ("block_diag", (A, B, V), {}), ("block_diag", (), {}),
    *(("fiedler_companion", (RNG.randn(n),), {}) for n in range(2, 8)),
    *(("convolution_matrix", (V, n), {"mode": mode}) for n in (1, 3, 8) for mode in ("full", "same", "valid")),
    *((name, (n,), {}) for name in ("hilbert", "invhilbert", "pascal", "invpascal", "helmert", "dft") for n in (1, 5)),
    ("pascal", (4,), {"kind": "lower"}), ("invpascal", (4,), {"kind": "upper"}), ("helmert", (4,), {"full": True}), ("hadamard", (8,), {}), ("dft", (5, "sqrtn"), {}),
]


def leaves(out):
    return out if isinstance(out, (tuple, list)) else (out,)


@pytest.mark.parametrize("name, arguments, options", LIKE_SCIPY, ids=[f"{i}-{case[0]}" for i, case in enumerate(LIKE_SCIPY)])
def test_like_scipy(name, arguments, options):
    theirs = getattr(sla, name)(*arguments, **{k: v for k, v in options.items() if k != "method"})
    for ours, expected in zip(leaves(getattr(linalg, name)(*arguments, **options)), leaves(theirs), strict=True):
        from_size = name in ("hilbert", "invhilbert", "pascal", "invpascal", "helmert", "dft")  # of the default dtype
        tolerance = 1e-5 if from_size else 1e-8
        np.testing.assert_allclose(np.asarray(ours), expected, rtol=tolerance, atol=tolerance)


def test_solving_with_factors():
    for right in (B, B[:, 0]):
        np.testing.assert_allclose(np.asarray(linalg.cho_solve(linalg.cho_factor(P), right)), np.linalg.solve(P, right), rtol=1e-8)
        np.testing.assert_allclose(np.asarray(linalg.cho_solve(linalg.cho_factor(P, True), right)), np.linalg.solve(P, right), rtol=1e-8)
        for trans, matrix in enumerate((C, C.T, C.conj().T)):
            np.testing.assert_allclose(np.asarray(linalg.lu_solve(linalg.lu_factor(C), right, trans)), np.linalg.solve(matrix, right), rtol=1e-8)


def test_generalised_eigenvectors():
    for kind, left, right in ((1, H, P), (2, H @ P, np.eye(5)), (3, P @ H, np.eye(5))):
        w, v = (np.asarray(x) for x in linalg.eigh(H, P, type=kind))
        np.testing.assert_allclose(left @ v, right @ v * w, atol=1e-8)


def test_schur_forms():
    T, Z = (np.asarray(x) for x in linalg.schur(A))
    np.testing.assert_allclose(Z @ T @ Z.T, A, atol=1e-10)
    for t, z in (linalg.rsf2csf(T, Z), linalg.schur(A, "complex")):
        t, z = np.asarray(t), np.asarray(z)
        assert abs(np.tril(t, -1)).max() < 1e-12
        np.testing.assert_allclose(z @ t @ z.conj().T, A, atol=1e-10)
        np.testing.assert_allclose(z @ z.conj().T, np.eye(5), atol=1e-10)


def test_functions_of_matrices():
    root = np.asarray(linalg.sqrtm(C))
    np.testing.assert_allclose(root @ root, C, atol=1e-9)
    np.testing.assert_allclose(np.asarray(linalg.funm(A, jnp.exp)), sla.expm(A), atol=1e-8)
    np.testing.assert_allclose(np.asarray(linalg.expm(np.triu(A), upper_triangular=True)), sla.expm(np.triu(A)), rtol=1e-9)
    np.testing.assert_allclose(np.asarray(linalg.expm(A.astype(np.float32))), sla.expm(A), rtol=1e-3, atol=1e-4)
    assert np.isnan(np.asarray(linalg.expm(1e7 * A))).all() and float(linalg.funm(A, jnp.sin, disp=False)[1]) < 1e-12
    assert np.isnan(np.asarray(linalg.solve_sylvester(np.eye(2), -np.eye(2), np.eye(2)))).all()


@pytest.mark.parametrize("name, function, reference", [
    ("expm", linalg.expm, sla.expm), ("sqrtm", lambda a: linalg.sqrtm(a @ a.T + jnp.eye(5)).real, lambda a: sla.sqrtm(a @ a.T + np.eye(5)).real),
    ("solve", lambda a: linalg.solve(a @ a.T + jnp.eye(5), B, assume_a="pos"), lambda a: sla.solve(a @ a.T + np.eye(5), B)),
    ("solve_sylvester", lambda a: linalg.solve_sylvester(a, P, POLE), lambda a: sla.solve_sylvester(a, P, POLE)),
    ("toeplitz", lambda a: linalg.toeplitz(a[0], a[1]) ** 2, lambda a: sla.toeplitz(a[0], a[1]) ** 2),
])
def test_gradient(name, function, reference):
    weights = np.cos(np.arange(reference(A).size)).reshape(reference(A).shape)
    slope = np.asarray(tracejit.grad(lambda a: (function(a) * weights).sum())(jnp.asarray(A)))
    for place in ((0, 1), (1, 0), (0, 0), (4, 2)):
        step = np.zeros((5, 5))
        step[place] = 1e-6
        expected = ((reference(A + step) - reference(A - step)) * weights).sum() / 2e-6
        np.testing.assert_allclose(slope[place], expected, rtol=1e-5, atol=1e-7)


def test_batches():
    stack = np.stack([P, 2 * P])
    for function in (linalg.cholesky, linalg.expm, linalg.inv, linalg.sqrtm, lambda a: linalg.lu(a)[2]):
        np.testing.assert_allclose(np.asarray(function(stack)[1]), np.asarray(function(2 * P)), rtol=1e-7)
    rows = np.arange(1.0, 7).reshape(2, 3)
    for function in (linalg.toeplitz, linalg.hankel, linalg.circulant, linalg.companion, linalg.fiedler, linalg.fiedler_companion):
        np.testing.assert_allclose(np.asarray(function(rows)[1]), np.asarray(function(rows[1])), rtol=1e-6)


@pytest.mark.parametrize("call", [
    lambda: linalg.qr(A, mode="x"), lambda: linalg.polar(A, side="x"), lambda: linalg.expm(B), lambda: linalg.solve(A, B, assume_a="x"),
    lambda: linalg.hadamard(3), lambda: linalg.leslie(V, V), lambda: linalg.companion(V[:1]), lambda: linalg.block_diag(np.ones((2, 2, 2))),
    lambda: linalg.eigh(H, type=4), lambda: linalg.schur(A, "x"), lambda: linalg.solve_triangular(A, B, trans=3), lambda: linalg.pascal(3, "x"),
])
def test_errors(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize("name", linalg.__all__)
def test_signature_is_that_of_jax(name):
    jax_linalg = pytest.importorskip("jax.scipy.linalg")
    assert list(inspect.signature(getattr(linalg, name)).parameters) == list(inspect.signature(getattr(jax_linalg, name)).parameters)


def test_lu_solve_refuses_a_right_hand_side_of_another_size():
    factors = linalg.lu_factor(np.eye(3) + 1)
    for b in (np.ones(4), np.ones((4, 3)), np.ones((2, 2))):
        with pytest.raises(ValueError, match="does not fit"):
            linalg.lu_solve(factors, b)

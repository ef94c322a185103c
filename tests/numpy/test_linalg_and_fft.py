"""jnp.linalg and jnp.fft against NumPy and jax.numpy."""
import numpy as np
import pytest
from oracle import assert_same, check, complexes, floats

import tracejit as tj
import tracejit.numpy as jnp

A = floats(4, 4) + 4 * np.eye(4, dtype=np.float32)
S = (A + A.T) / 2 + 3 * np.eye(4, dtype=np.float32)
C = complexes(3, 3) + 3 * np.eye(3, dtype=np.complex64)
STACK = floats(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)
R = floats(5, 3)
LOOSE = dict(rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "pinv", "matrix_rank", "eigvalsh", "svdvals", "trace", "diagonal", "matrix_transpose"])
def test_functions_of_one_matrix(name):
    for x in (A, S, STACK, C):
        if name == "eigvalsh":
            x = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
        check(f"linalg.{name}", x, **LOOSE)
    for n in (1, 2, 3):
        if name in ("inv", "det", "slogdet"):
            check(f"linalg.{name}", A[:n, :n], **LOOSE)


def test_factorizations():
    for x in (R, R.T, STACK, complexes(4, 3)):
        u, s, vh = jnp.linalg.svd(jnp.asarray(x), full_matrices=False)
        assert_same(np.asarray(u) * np.asarray(s)[..., None, :] @ np.asarray(vh), x, **LOOSE)
        assert_same(s, np.linalg.svd(x, compute_uv=False), **LOOSE)
        q, r = jnp.linalg.qr(jnp.asarray(x))
        assert_same(np.asarray(q) @ np.asarray(r), x, **LOOSE)
        assert jnp.linalg.qr(jnp.asarray(x), mode="complete").Q.shape[-1] == x.shape[-2]
        assert_same(np.abs(jnp.linalg.qr(jnp.asarray(x), mode="r")), np.abs(np.linalg.qr(x, mode="r")), **LOOSE)
    w, v = jnp.linalg.eigh(jnp.asarray(S))
    assert_same(S @ np.asarray(v), np.asarray(v) * np.asarray(w), **LOOSE)
    check("linalg.eigvalsh", S, "U", **LOOSE)
    u, s, vh = jnp.linalg.svd(jnp.asarray(S - 5), hermitian=True)
    assert_same(np.asarray(u) * np.asarray(s) @ np.asarray(vh), S - 5, **LOOSE)
    positive = S @ S.T
    check("linalg.cholesky", positive, **LOOSE)
    check("linalg.cholesky", positive, upper=True, **LOOSE)
    w, v = jnp.linalg.eig(jnp.asarray(A))
    assert_same(A @ np.asarray(v), np.asarray(v) * np.asarray(w), **LOOSE)
    assert_same(np.sort_complex(np.asarray(jnp.linalg.eigvals(jnp.asarray(A)))), np.sort_complex(np.linalg.eigvals(A).astype(np.complex64)), **LOOSE)
    assert np.isnan(np.asarray(jnp.linalg.cholesky(-jnp.eye(2)))).any()
    for x in (A, R, R.T, C):
        assert_same(jnp.linalg.qr(jnp.asarray(x), mode="raw"), np.linalg.qr(x, mode="raw"), **LOOSE)
    check("linalg.slogdet", A, numpy=False, method="qr", **LOOSE)


def test_solutions():
    for b in (floats(4), floats(4, 2)):
        check("linalg.solve", A, b, **LOOSE)
    check("linalg.solve", STACK, floats(2, 3, 2), **LOOSE)
    check("linalg.solve", STACK[0], floats(5, 3, 2), **LOOSE)
    for b in (floats(5), floats(5, 2)):
        mine, expected = jnp.linalg.lstsq(jnp.asarray(R), jnp.asarray(b)), np.linalg.lstsq(R, b, rcond=None)
        assert_same(mine[0], expected[0], **LOOSE)
        assert_same(np.ravel(mine[1]), np.ravel(expected[1]), **LOOSE)
        assert int(mine[2]) == expected[2]
    check("linalg.tensorinv", floats(2, 3, 6) + np.eye(6, dtype=np.float32).reshape(2, 3, 6) * 5, **LOOSE)
    check("linalg.tensorsolve", floats(2, 3, 6) + np.eye(6, dtype=np.float32).reshape(2, 3, 6) * 5, floats(2, 3), **LOOSE)
    for bad in (lambda: jnp.linalg.solve(jnp.ones((2, 3)), jnp.ones(2)), lambda: jnp.linalg.inv(jnp.ones((2, 3))), lambda: jnp.linalg.det(jnp.ones(3))):
        with pytest.raises((TypeError, ValueError)):
            bad()


def test_norms():
    x = floats(3, 4)
    for ord in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        check("linalg.norm", x, ord, **LOOSE)
        check("linalg.norm", STACK, ord, axis=(1, 2), keepdims=True, **LOOSE)
        check("linalg.norm", STACK, ord, axis=(0, 2), **LOOSE)
    for ord in (None, 0, 1, 2, 3.5, np.inf, -np.inf, -1):
        check("linalg.norm", x, ord, axis=1, **LOOSE)
        check("linalg.norm", x[0], ord, **LOOSE)
        if ord is not None:
            check("linalg.vector_norm", x, ord=ord, axis=0, **LOOSE)
            check("linalg.vector_norm", x, ord=ord, keepdims=True, **LOOSE)
    check("linalg.norm", complexes(3, 2), **LOOSE)
    check("linalg.norm", STACK, **LOOSE)
    check("linalg.matrix_norm", STACK, **LOOSE)
    for p in (None, 2, -2, 1, "fro", np.inf):
        check("linalg.cond", A, p, **LOOSE)


def test_products():
    for n in (0, 1, 3, 6, -2):
        check("linalg.matrix_power", A / 4, n, **LOOSE)
    check("linalg.multi_dot", [floats(2, 5), floats(5, 3), floats(3, 6), floats(6)], **LOOSE)
    check("linalg.multi_dot", [floats(5), floats(5, 3)], **LOOSE)
    check("linalg.cross", floats(2, 3), floats(2, 3), **LOOSE)
    check("linalg.outer", floats(2), floats(3))
    check("linalg.matmul", A, A, **LOOSE)
    check("linalg.vecdot", A, A, **LOOSE)
    check("linalg.tensordot", A, A, axes=1, **LOOSE)
    assert int(jnp.linalg.matrix_rank(jnp.array([[1.0, 2], [2, 4]]))) == 1


@pytest.mark.parametrize("function", [jnp.linalg.det, lambda a: jnp.linalg.slogdet(a)[1], lambda a: jnp.linalg.inv(a).sum(), lambda a: jnp.linalg.norm(a),
                                      lambda a: jnp.linalg.solve(a, jnp.ones(4)).sum(), lambda a: jnp.linalg.cholesky(a @ a.T).sum(),
                                      lambda a: jnp.linalg.pinv(a).sum(), lambda a: jnp.linalg.svdvals(a).sum(), lambda a: jnp.linalg.eigvalsh(a + a.T)[0]])
def test_gradients_by_differences(function):
    x = jnp.asarray(A.astype(np.float64))
    direction = np.random.default_rng(0).normal(size=(4, 4))
    slope = float(jnp.sum(tj.grad(function)(x) * direction))
    h = 1e-5
    expected = (float(function(x + h * direction)) - float(function(x - h * direction))) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-7)
    assert_same(tj.jit(function)(x), np.asarray(function(x)), rtol=1e-10)
    assert_same(tj.vmap(function)(jnp.stack([x, x * 2]))[0], np.asarray(function(x)), rtol=1e-10)


# --- fft ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@pytest.mark.parametrize("norm", [None, "ortho", "forward", "backward"])
def test_fft_along_an_axis(name, norm):
    x = floats(3, 8) if name in ("rfft", "ihfft") else complexes(3, 8)
    check(f"fft.{name}", x, norm=norm, rtol=1e-3, atol=1e-4)
    for n in (5, 8, 12):
        check(f"fft.{name}", x, n, norm=norm, rtol=1e-3, atol=1e-4)
    check(f"fft.{name}", x, axis=0, norm=norm, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"])
def test_fft_over_several_axes(name):
    x = floats(3, 4, 6) if name.startswith("r") else complexes(3, 4, 6)
    check(f"fft.{name}", x, rtol=1e-3, atol=1e-4)
    check(f"fft.{name}", x, s=(4, 4), axes=(0, 2), rtol=1e-3, atol=1e-4)
    check(f"fft.{name}", x, norm="ortho", rtol=1e-3, atol=1e-4)
    if name.endswith("n"):
        check(f"fft.{name}", floats(2, 2, 3, 2, 4) if name.startswith("r") else complexes(2, 2, 3, 2, 4), rtol=1e-3, atol=1e-4)


def test_frequencies_and_shifts():
    for n in (1, 4, 5):
        check("fft.fftfreq", n)
        check("fft.fftfreq", n, 0.25)
        check("fft.rfftfreq", n, 2.0)
    for name in ("fftshift", "ifftshift"):
        check(f"fft.{name}", floats(4, 5))
        check(f"fft.{name}", floats(4, 5), 1)
    for bad in (lambda: jnp.fft.rfft(jnp.array([1j])), lambda: jnp.fft.fft(jnp.ones(3), norm="x"), lambda: jnp.fft.fft(jnp.ones(3), 0)):
        with pytest.raises(ValueError):
            bad()
    assert jnp.fft.fft(np.ones(4)).dtype == np.complex128

"""Fourier transforms of every kind, at lengths that take every path; derivatives; errors."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.errors import DtypeError, ShapeError
from tracejit.runtime.threads import threads

RNG = np.random.default_rng(0)
NUMPY = {"FFT": np.fft.fftn, "IFFT": np.fft.ifftn, "RFFT": np.fft.rfftn, "IRFFT": np.fft.irfftn}
# powers of radices, mixed radices, the largest radix, primes beyond it, and lengths done one at a time
LENGTHS = [1, 2, 3, 4, 5, 8, 12, 15, 16, 31, 37, 64, 100, 101, 210, 1024, 4099, 8192]


def operand(kind: str, lengths: tuple[int, ...], lead: tuple[int, ...], dtype: str) -> np.ndarray:
    last = lengths[-1] // 2 + 1 if kind == "IRFFT" else lengths[-1]
    x = RNG.normal(size=(*lead, *lengths[:-1], last))
    return x.astype(dtype) if kind == "RFFT" else (x + 1j * RNG.normal(size=x.shape)).astype(np.result_type(dtype, "c8"))


def check(kind: str, lengths: tuple[int, ...], lead: tuple[int, ...], dtype: str) -> None:
    x = operand(kind, lengths, lead, dtype)
    wide = x.astype(np.float64 if kind == "RFFT" else np.complex128)
    wanted = NUMPY[kind](wide, lengths, range(-len(lengths), 0))
    found = np.asarray(tj.jit(lambda x: lax.fft(x, kind, lengths))(x))
    assert found.dtype == (np.dtype(dtype) if kind == "IRFFT" else np.result_type(dtype, "c8"))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(wanted).max())


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", NUMPY)
def test_lengths(kind, n):
    for dtype in ("f4", "f8"):
        for lead in ((), (3,), (40,)) if n < 1000 else ((),):
            check(kind, (n,), lead, dtype)


@pytest.mark.parametrize("rows, n", [(8, 16), (17, 40), (16, 32), (33, 128), (20, 1030), (17, 512), (3, 1024), (2, 720),
                                     (17, 499), (20, 1009), (33, 97), (5, 1031), (3, 1543)], ids=str)
@pytest.mark.parametrize("kind", NUMPY)
def test_rows_that_fill_squares_of_registers_and_those_that_do_not(kind, rows, n):
    for dtype in ("f4", "f8"):
        check(kind, (n,), (rows,), dtype)


@pytest.mark.parametrize("lengths, lead", [((8, 6), (2,)), ((7, 5), (3,)), ((40, 33, 20), ()), ((16, 16), ()), ((3, 4), (0,))], ids=str)
@pytest.mark.parametrize("kind", NUMPY)
def test_several_axes(kind, lengths, lead):
    if 0 in lead:
        x = operand(kind, lengths, lead, "f8")
        assert np.asarray(lax.fft(x, kind, lengths)).size == 0
    else:
        check(kind, lengths, lead, "f8")


# long ones: sides of 17 ... 128 numbers, whole squares of registers and cut ones, real ones of odd length, large primes
@pytest.mark.parametrize("lengths, lead", [((4116,), ()), ((7429,), (2,)), ((2 * 4116,), (2,)), ((6561,), ()), ((16384,), ()),
                                           ((10006,), ()), ((10007,), (2,)), ((5, 4913), ()), ((4913,), (17,)), ((8232,), (16,)), ((5003,), (2, 8))],
                         ids=str)
@pytest.mark.parametrize("kind", NUMPY)
def test_long_ones(kind, lengths, lead):
    for dtype in ("f4", "f8"):
        check(kind, lengths, lead, dtype)


@pytest.mark.parametrize("n, lead", [(6561, ()), (16384, ()), (10007, ()), (6561, (18,)), (10007, (16,))])
@pytest.mark.parametrize("kind", ["FFT", "RFFT", "IRFFT"])
def test_long_ones_have_the_same_bits_for_any_number_of_threads(kind, n, lead):
    x, found = operand(kind, (n,), lead, "f4"), []
    f = tj.jit(lambda x: lax.fft(x, kind, (n,)))
    for count in (1, 2, 5):
        with threads(count):
            found.append(np.asarray(f(x)).tobytes())
    assert found[0] == found[1] == found[2]


def test_a_long_one_of_columns_and_one_that_reads_what_it_overwrites():
    x = operand("FFT", (5000, 3), (), "f8")
    found = np.asarray(tj.jit(lambda x: lax.fft(x, "FFT", (5000, 3)), donate_argnums=0)(x.copy()))
    np.testing.assert_allclose(found, np.fft.fft2(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [5000, 5003])
def test_gradient_and_batch_of_a_long_one(n):
    x, w = RNG.normal(size=(2, n)), RNG.normal(size=n // 2 + 1)
    energy = lambda x: (w * abs(lax.fft(x, "RFFT", (n,))) ** 2).sum()
    found = np.asarray(tj.jit(tj.vmap(tj.grad(energy)))(x))
    full = np.concatenate([w[:1], w[1:(n + 1) // 2] / 2, w[n // 2:n // 2 + 1] if n % 2 == 0 else w[:0]])
    weight = np.concatenate([full, w[1:(n + 1) // 2][::-1] / 2])     # of both frequencies k and n - k
    np.testing.assert_allclose(found, 2 * n * np.fft.ifft(weight * np.fft.fft(x)).real, rtol=0, atol=1e-12 * n * np.abs(x).max() * 8)


def test_a_long_one_passes_on_nan_and_keeps_zeros():
    x = np.zeros(8192, np.complex64)
    assert not np.asarray(lax.fft(x, "FFT", (8192,))).any()
    x[4000] = np.nan
    assert np.isnan(np.asarray(lax.fft(x, "FFT", (8192,)))).all()


def test_inverses_and_names():
    x = RNG.normal(size=(3, 50)).astype(np.float32)
    spectrum = lax.fft(x, lax.FftType.RFFT, (50,))
    np.testing.assert_allclose(lax.fft(spectrum, "irfft", (50,)), x, atol=1e-6)
    np.testing.assert_allclose(lax.fft(lax.fft(x, 0, (50,)), lax.FftType.IFFT, (50,)), x, atol=1e-6)


def test_imaginary_parts_that_a_real_signal_cannot_have_are_ignored():
    for n in (6, 7):
        half = operand("IRFFT", (n,), (), "f8")
        np.testing.assert_allclose(lax.fft(half, "IRFFT", (n,)), np.fft.irfft(half, n), atol=1e-12)


@pytest.mark.parametrize("lengths", [(6,), (7,), (4, 6)], ids=str)
@pytest.mark.parametrize("kind", NUMPY)
def test_transposes(kind, lengths):
    """<ct, F t> = <Fᵀ ct, t>, the products without conjugation."""
    x, t = operand(kind, lengths, (2,), "f8"), operand(kind, lengths, (2,), "f8")
    f = lambda x: lax.fft(x, kind, lengths)
    out, moved = tj.jvp(f, (x,), (t,))
    moved = np.asarray(moved)
    ct = RNG.normal(size=moved.shape) + (1j * RNG.normal(size=moved.shape) if moved.dtype.kind == "c" else 0)
    pulled = np.asarray(tj.vjp(f, x)[1](ct)[0])
    np.testing.assert_allclose(np.sum(pulled * t).real, np.sum(ct * moved).real, rtol=1e-10)


@pytest.mark.parametrize("call, error, message", [
    (lambda x: lax.fft(x, "FFT", (5,)), ShapeError, r"needs the last axes to be \(5,\)"),
    (lambda x: lax.fft(x, "IRFFT", (8,)), ShapeError, r"needs the last axes to be \(5,\)"),
    (lambda x: lax.fft(x + 1j, "RFFT", (4,)), DtypeError, "for real numbers"),
    (lambda x: lax.fft(x, "DCT", (4,)), ValueError, "unknown transform 'DCT'"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((3, 4)))

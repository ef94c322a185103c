"""Matrices of a given structure: Toeplitz and its kin from vectors, classical test matrices from a size."""
from __future__ import annotations

import math
import operator

import numpy as np

import tracejit.numpy as jnp
from tracejit.numpy.promotion import inexact, promote_dtypes

KINDS = ("symmetric", "lower", "upper")


def float_array(values):
    return jnp.asarray(values, jnp.result_type(float))


def vector(name: str, x, least: int = 0):
    x = jnp.atleast_1d(jnp.asarray(x))
    if x.shape[-1] < least:
        raise ValueError(f"{name} takes vectors of {least} entries at least, got shape {x.shape}")
    return x


def block_diag(*arrs):
    """The matrices (vectors count as rows) along the diagonal, zeros elsewhere.

    >>> import tracejit.numpy as jnp
    >>> print(block_diag(1.0, jnp.ones((1, 2))))
    [[1. 0. 0.]
     [0. 1. 1.]]
    """
    arrays = [jnp.asarray(x) for x in arrs or (jnp.zeros((1, 0)),)]
    blocks = [jnp.atleast_2d(x) for x in promote_dtypes("block_diag", *arrays)]
    for position, block in enumerate(blocks):
        if block.ndim > 2:
            raise ValueError(f"block_diag takes arrays of 2 axes at most, got shape {block.shape} at argument "
                             f"{position}")
    width, start, rows = sum(block.shape[1] for block in blocks), 0, []
    for block in blocks:
        rows.append(jnp.pad(block, ((0, 0), (start, width - start - block.shape[1]))))
        start += block.shape[1]
    return jnp.concatenate(rows)


def gathered(line, index):
    """line[..., index] for a constant matrix of indices."""
    return jnp.take(line, index, axis=-1)


def toeplitz(c, r=None):
    """The matrix with first column c and first row r (default: conj(c); its first entry is not used), constant along
    diagonals.

    >>> import tracejit.numpy as jnp
    >>> print(toeplitz(jnp.array([1, 2])))
    [[1 2]
     [2 1]]
    """
    c = vector("toeplitz", c)
    c, r = promote_dtypes("toeplitz", c, jnp.conj(c) if r is None else vector("toeplitz", r))
    rows, columns = c.shape[-1], r.shape[-1]
    if rows == 0 or columns == 0:
        return jnp.zeros((*np.broadcast_shapes(c.shape[:-1], r.shape[:-1]), rows, columns), c.dtype)
    line = joined(jnp.flip(c, -1), r[..., 1:])
    return gathered(line, np.arange(rows - 1, -1, -1)[:, None] + np.arange(columns))


def joined(left, right):
    batch = np.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return jnp.concatenate([jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in (left, right)], -1)


def hankel(c, r=None):
    """The matrix with first column c and last row r (default: zeros; its first entry is not used), constant along
    antidiagonals.

    >>> import tracejit.numpy as jnp
    >>> print(hankel(jnp.array([1, 2])))
    [[1 2]
     [2 0]]
    """
    c = jnp.asarray(c)
    r = jnp.zeros_like(c) if r is None else jnp.asarray(r)
    if c.ndim == 0 or r.ndim == 0:
        raise ValueError("hankel takes vectors, got a scalar")
    c, r = promote_dtypes("hankel", c, r)
    return gathered(joined(c, r[..., 1:]), np.arange(c.shape[-1])[:, None] + np.arange(r.shape[-1]))


def circulant(c):
    """The matrix whose columns are c moved down by 0, 1, 2 ... places, cyclically.

    >>> import tracejit.numpy as jnp
    >>> print(circulant(jnp.array([1, 2])))
    [[1 2]
     [2 1]]
    """
    c = vector("circulant", c)
    n = np.arange(c.shape[-1])
    return gathered(c, (n[:, None] - n) % max(len(n), 1))


def leslie(f, s):
    """The Leslie matrix of fecundities f [n] (first row) and survival rates s [n - 1] (first subdiagonal).

    >>> import tracejit.numpy as jnp
    >>> print(leslie(jnp.array([1., 2.]), jnp.array([0.5])))
    [[1.  2. ]
     [0.5 0. ]]
    """
    f, s = promote_dtypes("leslie", vector("leslie", f, 2), vector("leslie", s))
    if s.shape[-1] != f.shape[-1] - 1:
        raise ValueError(f"leslie takes f of n and s of n - 1 entries, got shapes {f.shape} and {s.shape}")
    return under_row(f, s)


def under_row(row, diagonal):
    """A matrix with the given first row and first subdiagonal."""
    n, batch = row.shape[-1], np.broadcast_shapes(row.shape[:-1], diagonal.shape[:-1])
    padded = jnp.pad(diagonal, [(0, 0)] * (diagonal.ndim - 1) + [(0, 1)])
    below = jnp.broadcast_to(jnp.eye(n, k=-1, dtype=row.dtype), (*batch, n, n)) * padded[..., None, :]
    return below.at[..., 0, :].set(row)


def companion(a):
    """The companion matrix of the polynomial with coefficients a, highest power first: its eigenvalues are the roots.

    >>> import tracejit.numpy as jnp
    >>> print(companion(jnp.array([1., -3., 2.])))
    [[ 3. -2.]
     [ 1.  0.]]
    """
    a = vector("companion", inexact("companion", jnp.asarray(a)), 2)
    row = -a[..., 1:] / a[..., :1]
    return under_row(row, jnp.ones_like(row[..., 1:]))


def fiedler(a):
    """The symmetric matrix of abs(a[i] - a[j]).

    >>> import tracejit.numpy as jnp
    >>> print(fiedler(jnp.array([1, 3])))
    [[0 2]
     [2 0]]
    """
    a = vector("fiedler", a)
    return jnp.abs(a[..., :, None] - a[..., None, :])


def fiedler_companion(a):
    """A pentadiagonal companion matrix of the polynomial with coefficients a, highest power first (Fiedler, 2003).

    >>> import tracejit.numpy as jnp
    >>> print(fiedler_companion(jnp.array([1., -3., 2.])))
    [[ 3. -2.]
     [ 1.  0.]]
    """
    a = vector("fiedler_companion", inexact("fiedler_companion", jnp.asarray(a)), 1)
    n = a.shape[-1] - 1
    a = a / a[..., :1]
    if n < 2:
        return -a[..., 1:, None] if n else jnp.zeros((*a.shape[:-1], 0, 0), a.dtype)
    out = jnp.zeros((*a.shape[:-1], n, n), a.dtype).at[..., 0, 0].set(-a[..., 1])
    for k in range(2, n + 1):
        # Odd coefficients start a row pair, even ones a column pair.
        out = out.at[..., k - 1 if k % 2 else k - 2, k - 2 if k % 2 else k - 1].set(-a[..., k])
    for k in range(0, n - 2, 2):
        out = out.at[..., k, k + 2].set(1)
    for k in range(1, n - 2, 2):
        out = out.at[..., k + 2, k].set(1)
    return out.at[..., 1, 0].set(1)


def convolution_matrix(a, n: int, mode: str = "full"):
    """The Toeplitz matrix A for which ``A @ v`` is the convolution of a with vectors v of n entries, for the given
    mode.

    >>> import tracejit.numpy as jnp
    >>> print(convolution_matrix(jnp.array([1, 2]), 2))
    [[1 0]
     [2 1]
     [0 2]]
    """
    n, a = operator.index(n), jnp.asarray(a)
    if n <= 0:
        raise ValueError(f"convolution_matrix takes n > 0, got {n}")
    if a.ndim == 0 or a.shape[-1] < 1:
        raise ValueError(f"convolution_matrix takes vectors of 1 entry at least, got shape {a.shape}")
    if mode not in ("full", "valid", "same"):
        raise ValueError(f"convolution_matrix: mode must be 'full', 'valid' or 'same', got {mode!r}")
    zeros = jnp.zeros((*a.shape[:-1], n - 1), a.dtype)
    full = toeplitz(jnp.concatenate([a, zeros], -1), jnp.concatenate([a[..., :1], zeros], -1))
    cut = min(n, a.shape[-1]) - 1
    first, last = {"full": (0, 0), "same": (cut // 2, cut - cut // 2), "valid": (cut, cut)}[mode]
    return full[..., first:full.shape[-2] - last, :]


def hilbert(n: int):
    """The Hilbert matrix of 1 / (i + j + 1), i and j from 0.

    >>> print(hilbert(1))
    [[1.]]
    """
    i = np.arange(n)
    return float_array(1 / (i[:, None] + i + 1.0))


def invhilbert(n: int):
    """The inverse of the Hilbert matrix, exact up to rounding.

    >>> print(invhilbert(2))
    [[ 4. -6.]
     [-6. 12.]]
    """
    comb = math.comb

    def entry(i, j):
        size = (i + j + 1) * comb(n + i, n - j - 1) * comb(n + j, n - i - 1) * comb(i + j, i) ** 2
        return -size if (i + j) % 2 else size

    return float_array(table(n, entry))


def table(n: int, entry) -> np.ndarray:
    return np.array([[float(entry(i, j)) for j in range(n)] for i in range(n)]).reshape(n, n)


def of_kind(name: str, kind, lower: np.ndarray, symmetric: np.ndarray):
    kind = "symmetric" if kind is None else kind
    if kind not in KINDS:
        raise ValueError(f"{name}: kind must be one of {KINDS}, got {kind!r}")
    return float_array({"lower": lower, "upper": lower.T, "symmetric": symmetric}[kind])


def pascal(n: int, kind: str | None = None):
    """Pascal's triangle as a 'lower' or 'upper' triangular matrix, or the product of both ('symmetric', the default).

    >>> print(pascal(2))
    [[1. 1.]
     [1. 2.]]
    """
    return of_kind("pascal", kind, table(n, math.comb), table(n, lambda i, j: math.comb(i + j, i)))


def invpascal(n: int, kind: str | None = None):
    """The inverse of `pascal`.

    >>> print(invpascal(2))
    [[ 2. -1.]
     [-1.  1.]]
    """
    lower = table(n, lambda i, j: (-1) ** (i + j) * math.comb(i, j))
    return of_kind("invpascal", kind, lower, lower.T @ lower)


def helmert(n: int, full: bool = False):
    """The Helmert matrix of order n, ``[n - 1, n]`` with orthonormal rows; ``full`` adds the constant row on top.

    >>> helmert(3).shape
    (2, 3)
    """
    if n < 1:
        raise ValueError(f"helmert takes n > 0, got {n}")
    k = np.arange(1, n)[:, None]
    j = np.arange(n)
    rows = np.where(j < k, 1.0, np.where(j == k, -k, 0.0)) / np.sqrt(k * (k + 1.0))
    return float_array(np.concatenate([np.full((1, n), n**-0.5), rows]) if full else rows)


def hadamard(n: int, dtype=int):
    """The Hadamard matrix of order n, a power of 2: entries 1 and -1, orthogonal rows (Sylvester's construction).

    >>> print(hadamard(2))
    [[ 1  1]
     [ 1 -1]]
    """
    if n < 1 or n & (n - 1):
        raise ValueError(f"hadamard takes a power of 2, got {n}")
    out = np.ones((1, 1), int)
    while len(out) < n:
        out = np.block([[out, out], [out, -out]])
    return jnp.asarray(out, jnp.result_type(dtype))


def dft(n: int, scale: str | None = None, *, dtype=None):
    """The matrix of the discrete Fourier transform of n points, over 'sqrtn' or 'n' if ``scale`` says so.

    >>> dft(2).real.tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    if scale not in (None, "sqrtn", "n"):
        raise ValueError(f"dft: scale must be None, 'sqrtn' or 'n', got {scale!r}")
    dtype = np.dtype(jnp.result_type(complex if dtype is None else dtype))
    if not jnp.issubdtype(dtype, np.complexfloating):
        raise ValueError(f"dft: dtype must be complex, got {dtype}")
    k = np.arange(n)
    # The phase is taken modulo n first: that keeps it exact.
    wave = np.exp(-2j * np.pi * (k[:, None] * k % max(n, 1)) / max(n, 1))
    return jnp.asarray(wave / {None: 1, "sqrtn": math.sqrt(max(n, 1)), "n": max(n, 1)}[scale], dtype)

"""Maps (stacks of) matrices to factorizations, determinants, inverses and solutions, in terms of lax.linalg."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.ir.types import real_dtype
from tracejit.lax.eigen import eigvalsh as eigenvalues
from tracejit.numpy import linear, manipulation, reductions
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import conjugate
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    as_array,
    check_arraylike,
    convert,
    expand_to,
    literal,
    promote_dtypes_inexact,
)
from tracejit.numpy.ranges import eye

INT = np.dtype("int32")


class EigResult(NamedTuple):
    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    U: Array
    S: Array
    Vh: Array


def as_matrices(name: str, *args: ArrayLike) -> list[Array]:
    """Arguments as floating arrays of one dtype, each with at least two axes."""
    check_arraylike(f"jnp.linalg.{name}", *args)
    out = [as_array(x) for x in promote_dtypes_inexact(name, *args)]
    for x in out:
        if x.ndim < 2:
            raise ValueError(f"{name}: expected arrays of at least two dimensions, got shape {x.shape}")
    return out


def as_square(name: str, a: ArrayLike) -> Array:
    (a,) = as_matrices(name, a)
    if a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"Argument to {name}() must have shape [..., n, n], got {a.shape}")
    return a


def _adjoint(x: Array) -> Array:
    return conjugate(manipulation.matrix_transpose(x))


def eps_of(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(real_dtype(dtype)).eps)


def matrix_diagonal(x: Array) -> Array:
    return linear.diagonal(x, axis1=-2, axis2=-1)


# --- factorizations ----------------------------------------------------------------------------------


@compiled
def cholesky(a: ArrayLike, *, upper: bool = False, symmetrize_input: bool = True) -> Array:
    """The lower triangular L with L L^H = a (or upper triangular U with U^H U = a); nan if a is not positive definite.

    >>> jnp.linalg.cholesky(jnp.array([[4.0, 0.0], [0.0, 9.0]]))
    Array([[2., 0.],
           [0., 3.]], dtype=float32)
    """
    lower = lax.linalg.cholesky(as_square("cholesky", a), symmetrize_input=symmetrize_input)
    return _adjoint(lower) if upper else lower


@compiled
def svd(
    a: ArrayLike,
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    subset_by_index: tuple[int, int] | None = None,
) -> Any:
    """Singular values S (falling) and vectors: a = U diag(S) Vh.

    >>> jnp.linalg.svd(jnp.array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False)
    Array([4., 3.], dtype=float32)
    """
    (a,) = as_matrices("svd", a)
    if hermitian:
        return _hermitian_svd(a, compute_uv)
    if not compute_uv:
        return lax.linalg.svd(a, full_matrices=full_matrices, compute_uv=False, subset_by_index=subset_by_index)
    u, s, vh = lax.linalg.svd(a, full_matrices=full_matrices, compute_uv=True, subset_by_index=subset_by_index)
    return SVDResult(u, s, vh)


def _hermitian_svd(a: Array, compute_uv: bool) -> Any:
    w, v = eigh(a)
    size = lax.abs(w)
    last = size.ndim - 1
    places = lax.broadcasted_iota(INT, size.shape, last)
    _, order = lax.sort((lax.neg(size), places), dimension=last, num_keys=1)
    pick = lambda x: take_columns(x, order)
    s = lax.neg(lax.sort(lax.neg(size), dimension=last))
    if not compute_uv:
        return s
    sign = lax.select(lax.lt(w, literal(0, w.dtype)), lax.full_like(w, -1), lax.full_like(w, 1))
    signed = lax.mul(
        v, lax.convert_element_type(lax.broadcast_in_dim(sign, v.shape, (*range(last), last + 1)), v.dtype)
    )
    return SVDResult(pick(v), s, _adjoint(pick(signed)))


def take_columns(x: Array, order: Array) -> Array:
    """The columns of each matrix in an order of its own."""
    index = lax.broadcast_in_dim(order, x.shape, (*range(order.ndim - 1), x.ndim - 1))
    grid = [lax.broadcasted_iota(INT, x.shape, i) for i in range(x.ndim - 1)]
    return x[(*grid, index)]


def svdvals(x: ArrayLike, /) -> Array:
    """The singular values, falling.

    >>> jnp.linalg.svdvals(jnp.array([[3.0, 0.0], [0.0, 4.0]]))
    Array([4., 3.], dtype=float32)
    """
    return svd(x, compute_uv=False, full_matrices=False)


@compiled
def eigh(a: ArrayLike, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """Rising eigenvalues and orthonormal eigenvectors (columns) of a Hermitian matrix.

    >>> jnp.linalg.eigh(jnp.array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Array([1., 2.], dtype=float32)
    """
    v, w = lax.linalg.eigh(as_square("eigh", a), lower=is_lower(UPLO), symmetrize_input=symmetrize_input)
    return EighResult(w, v)


def is_lower(UPLO: str | None) -> bool:
    if UPLO not in (None, "L", "U"):
        raise ValueError(f"UPLO must be one of None, 'L', or 'U', got {UPLO}")
    return UPLO != "U"


@compiled
def eigvalsh(a: ArrayLike, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Array:
    """The rising eigenvalues of a Hermitian matrix.

    >>> jnp.linalg.eigvalsh(jnp.array([[2.0, 0.0], [0.0, 1.0]]))
    Array([1., 2.], dtype=float32)
    """
    return eigenvalues(as_square("eigvalsh", a), lower=is_lower(UPLO), symmetrize_input=symmetrize_input)


@compiled
def eig(a: ArrayLike) -> EigResult:
    """Complex eigenvalues and eigenvectors (columns) of a square matrix.

    >>> jnp.linalg.eig(jnp.array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    Array([2.+0.j, 1.+0.j], dtype=complex64)
    """
    w, v = lax.linalg.eig(as_square("eig", a), compute_left_eigenvectors=False)
    return EigResult(w, v)


@compiled
def eigvals(a: ArrayLike) -> Array:
    """The complex eigenvalues of a square matrix.

    >>> jnp.linalg.eigvals(jnp.array([[2.0, 0.0], [0.0, 1.0]]))
    Array([2.+0.j, 1.+0.j], dtype=complex64)
    """
    return lax.linalg.eig(as_square("eigvals", a), compute_left_eigenvectors=False, compute_right_eigenvectors=False)[0]


@compiled
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """a = Q R with orthonormal Q and upper triangular R; mode "reduced", "complete", "r" or "raw".

    >>> jnp.abs(jnp.linalg.qr(jnp.array([[3.0], [4.0]]), mode="r"))
    Array([[5.]], dtype=float32)
    """
    (a,) = as_matrices("qr", a)
    if mode == "raw":
        packed, taus = _reflectors(a)
        return QRResult(manipulation.matrix_transpose(packed), taus)
    if mode not in ("reduced", "complete", "r", "full"):
        raise ValueError(f"Unsupported QR decomposition mode '{mode}'")
    q, r = lax.linalg.qr(a, full_matrices=mode in ("complete", "full"))
    return r if mode == "r" else QRResult(q, r)


def _reflectors(a: Array) -> tuple[Array, Array]:
    """(R with the Householder vectors below its diagonal, their factors tau), as LAPACK's geqrf leaves them."""
    m, n = a.shape[-2:]
    count, real = min(m, n), real_dtype(a.dtype)
    rows, columns = (lax.broadcasted_iota(INT, a.shape, a.ndim - 2 + i) for i in (0, 1))
    places = lax.broadcasted_iota(INT, (*a.shape[:-2], count), a.ndim - 2)

    def step(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        x, taus = state
        here = lax.eq(columns, k)
        column = reductions.sum(lax.select(here, x, lax.full_like(x, 0)), -1, keepdims=True)
        below = lax.gt(rows[..., :1], k)
        at_k = lax.eq(rows[..., :1], k)
        zero = lax.full_like(column, 0)
        alpha = reductions.sum(lax.select(at_k, column, zero), -2, keepdims=True)
        tail = lax.select(below, column, zero)
        tail_size = reductions.sum(lax.square(lax.abs(tail)), -2, keepdims=True)
        length = lax.sqrt(lax.add(lax.square(lax.abs(alpha)), tail_size))
        part = lax.real(alpha) if x.dtype.kind == "c" else alpha
        beta = lax.select(lax.ge(part, literal(0, real)), lax.neg(length), length)
        none = lax.eq(tail_size, literal(0, real))  # already zero below, and real: no reflection, as LAPACK has it
        if x.dtype.kind == "c":
            none = lax.bitwise_and(none, lax.eq(lax.imag(alpha), literal(0, real)))
        safe = lambda v, one: lax.select(none, lax.full_like(v, one), v)
        beta = convert(safe(beta, 1), x.dtype)
        tau = lax.select(none, lax.full_like(alpha, 0), lax.div(lax.sub(beta, alpha), beta))
        tail = lax.div(tail, expand_to(safe(lax.sub(alpha, beta), 1), tail.shape))
        v = lax.add(tail, lax.convert_element_type(at_k, x.dtype))
        dots = linear.matmul(_adjoint(v), x, precision="highest")
        reflected = lax.sub(x, lax.mul(expand_to(conjugate(tau), x.shape), linear.matmul(v, dots, precision="highest")))
        kept = lax.select(expand_to(below, x.shape), expand_to(tail, x.shape), reflected)
        x = lax.select(here, kept, lax.select(lax.gt(columns, k), reflected, x))
        tau = expand_to(lax.squeeze(tau, (tau.ndim - 1,)), taus.shape)
        return x, lax.select(lax.eq(places, k), tau, taus)

    return lax.fori_loop(0, count, step, (a, lax.full(places.shape, 0, a.dtype)))


# --- determinants and inverses -----------------------------------------------------------------------


@compiled
def slogdet(a: ArrayLike, *, method: str | None = None) -> SlogdetResult:
    """The sign of the determinant and the logarithm of its size; method "lu" or "qr".

    >>> jnp.linalg.slogdet(jnp.array([[2.0, 0.0], [0.0, 1.0]])).sign
    Array(1., dtype=float32)
    """
    a = as_square("slogdet", a)
    if method not in (None, "lu", "qr"):
        raise ValueError(f"Unknown slogdet method '{method}'. Supported methods are 'lu' (`None`), and 'qr'.")
    if method == "qr":
        q, r = lax.linalg.qr(a)
        diagonal, parity = matrix_diagonal(r), slogdet(q).sign
    else:
        factors, pivots, _ = lax.linalg.lu(a)
        diagonal = matrix_diagonal(factors)
        parity = _parity(pivots, a.dtype)
    size = lax.abs(diagonal)
    zero = literal(0, size.dtype)
    singular = reductions.any(lax.eq(size, zero), -1)
    direction = (
        lax.div(diagonal, lax.convert_element_type(size, a.dtype)) if a.dtype.kind == "c" else lax.sign(diagonal)
    )
    sign = lax.mul(parity, lax.reduce_prod(direction, (direction.ndim - 1,)))
    log_size = lax.reduce_sum(lax.log(size), (size.ndim - 1,))
    return SlogdetResult(
        lax.select(singular, lax.full_like(sign, 0), sign),
        lax.select(singular, lax.full_like(log_size, -np.inf), log_size),
    )


def _parity(pivots: Array, dtype: np.dtype) -> Array:
    """-1 to the number of rows that pivoting exchanged."""
    last = pivots.ndim - 1
    moved = lax.ne(pivots, lax.broadcasted_iota(pivots.dtype, pivots.shape, last))
    swaps = lax.reduce_sum(lax.convert_element_type(moved, INT), (last,))
    odd = lax.ne(lax.bitwise_and(swaps, np.int32(1)), np.int32(0))
    return lax.select(odd, lax.full(odd.shape, -1, dtype), lax.full(odd.shape, 1, dtype))


@compiled
def det(a: ArrayLike) -> Array:
    """The determinant; of 2 by 2 and 3 by 3 matrices by their formula, else by LU factorization.

    >>> jnp.linalg.det(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array(-2., dtype=float32)
    """
    a = as_square("det", a)
    n = a.shape[-1]
    at = lambda i, j: a[..., i, j]
    if n == 2:
        return at(0, 0) * at(1, 1) - at(0, 1) * at(1, 0)
    if n == 3:
        return (
            at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1))
            - at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0))
            + at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0))
        )
    factors, pivots, _ = lax.linalg.lu(a)
    diagonal = matrix_diagonal(factors)
    return lax.mul(_parity(pivots, a.dtype), lax.reduce_prod(diagonal, (diagonal.ndim - 1,)))


@compiled
def solve(a: ArrayLike, b: ArrayLike) -> Array:
    """x with a x = b, where b is a vector or a matrix (stacks are broadcast).

    >>> jnp.linalg.solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 4.0]))
    Array([1., 1.], dtype=float32)
    """
    check_arraylike("jnp.linalg.solve", a, b)
    a, b = (as_array(x) for x in promote_dtypes_inexact("solve", a, b))
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"solve needs shapes a=[..., m, m] and b=[..., m, k] or b=[m]; got a={a.shape}, b={b.shape}"
        )
    vector = b.ndim == 1
    b = lax.expand_dims(b, (1,)) if vector else b
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"solve needs shapes a=[..., m, m] and b=[..., m, k] or b=[m]; got a={a.shape}, b={b.shape}"
        )
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = lax.linalg.solve(expand_to(a, (*batch, *a.shape[-2:])), expand_to(b, (*batch, *b.shape[-2:])))
    return lax.squeeze(x, (x.ndim - 1,)) if vector else x


@compiled
def inv(a: ArrayLike) -> Array:
    """The inverse of a square matrix.

    >>> jnp.linalg.inv(jnp.array([[2.0, 0.0], [0.0, 4.0]]))
    Array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    a = as_square("inv", a)
    return solve(a, expand_to(eye(a.shape[-1], dtype=a.dtype), a.shape))


@compiled
def pinv(
    a: ArrayLike, rtol: ArrayLike | None = None, hermitian: bool = False, *, rcond: ArrayLike | None = None
) -> Array:
    """The Moore-Penrose inverse, by singular values above rtol times the largest.

    >>> jnp.linalg.pinv(jnp.array([[2.0, 0.0], [0.0, 0.0]]))
    Array([[0.5, 0. ],
           [0. , 0. ]], dtype=float32)
    """
    (a,) = as_matrices("pinv", a)
    rtol = rcond if rtol is None else rtol
    if rtol is None:
        rtol = 10.0 * max(a.shape[-2:]) * eps_of(a.dtype)
    if a.size == 0:
        return lax.full((*a.shape[:-2], a.shape[-1], a.shape[-2]), 0, a.dtype)
    u, s, vh = svd(a, full_matrices=False, hermitian=hermitian)
    limit = lax.mul(
        lax.slice_in_dim(s, 0, 1, axis=s.ndim - 1), expand_to(_trailing(convert(rtol, s.dtype), 1), (*s.shape[:-1], 1))
    )
    kept = lax.gt(s, expand_to(limit, s.shape))
    inverse = lax.select(
        kept, lax.div(literal(1, s.dtype), lax.select(kept, s, lax.full_like(s, 1))), lax.full_like(s, 0)
    )
    scaled = lax.mul(
        _adjoint(vh),
        lax.convert_element_type(
            lax.broadcast_in_dim(inverse, _adjoint(vh).shape, (*range(s.ndim - 1), s.ndim)), a.dtype
        ),
    )
    return linear.matmul(scaled, _adjoint(u), precision="highest")


def _trailing(x: ArrayLike, n: int) -> Array:
    """x with n axes of length 1 behind."""
    x = as_array(x)
    return lax.reshape(x, x.shape + (1,) * n)


def matrix_power(a: ArrayLike, n: int) -> Array:
    """A square matrix to an integer power, by repeated squaring; negative powers invert.

    >>> jnp.linalg.matrix_power(jnp.array([[1.0, 1.0], [0.0, 1.0]]), 3)
    Array([[1., 3.],
           [0., 1.]], dtype=float32)
    """
    check_arraylike("jnp.linalg.matrix_power", a)
    a = as_array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise TypeError("matrix_power: Last 2 dimensions of the array must be square, got shape " + str(a.shape))
    try:
        n = operator.index(n)
    except TypeError as e:
        raise TypeError(f"exponent must be an integer, got {n}") from e
    if n == 0:
        return expand_to(eye(a.shape[-1], dtype=a.dtype), a.shape)
    if n < 0:
        a, n = inv(a), -n
    out = None
    while n:
        if n & 1:
            out = a if out is None else linear.matmul(out, a)
        n >>= 1
        a = linear.matmul(a, a) if n else a
    return out


@compiled
def matrix_rank(
    M: ArrayLike, rtol: ArrayLike | None = None, *, hermitian: bool = False, tol: ArrayLike | None = None
) -> Array:
    """How many singular values are above rtol. A vector has rank 1 unless it is zero.

    As in JAX, rtol (or tol, its older name) is not multiplied by the largest singular value, in spite of its name;
    the default is that times the larger dimension times the dtype's epsilon.

    >>> jnp.linalg.matrix_rank(jnp.array([[1.0, 2.0], [2.0, 4.0]]))
    Array(1, dtype=int32)
    """
    check_arraylike("jnp.linalg.matrix_rank", M)
    if rtol is not None and tol is not None:
        raise ValueError("matrix_rank: only one of tol or rtol may be specified.")
    limit = tol if rtol is None else rtol
    if np.ndim(M) < 2:
        return as_array(M).any().astype(int)
    (M,) = as_matrices("matrix_rank", M)
    s = lax.abs(eigvalsh(M)) if hermitian else svdvals(M)
    if limit is None:
        limit = lax.mul(reductions.max(s, -1), literal(max(M.shape[-2:]) * eps_of(M.dtype), s.dtype))
    limit = expand_to(_trailing(convert(limit, s.dtype), 1), (*s.shape[:-1], 1))
    return reductions.sum(lax.gt(s, expand_to(limit, s.shape)), -1)


def lstsq(
    a: ArrayLike, b: ArrayLike, rcond: float | None = None, *, numpy_resid: bool = False
) -> tuple[Array, Array, Array, Array]:
    """(x with the least |a x - b|, squared residuals, rank, singular values), by singular values.

    >>> jnp.linalg.lstsq(jnp.array([[1.0], [1.0]]), jnp.array([1.0, 3.0]))[0].round(3)
    Array([2.], dtype=float32)
    """
    check_arraylike("jnp.linalg.lstsq", a, b)
    a, b = (as_array(x) for x in promote_dtypes_inexact("lstsq", a, b))
    if a.shape[0] != b.shape[0]:
        raise ValueError("Leading dimensions of input arrays must match")
    vector = b.ndim == 1
    b = lax.expand_dims(b, (1,)) if vector else b
    if a.ndim != 2:
        raise TypeError(f"{a.ndim}-dimensional array given. Array must be two-dimensional")
    if b.ndim != 2:
        raise TypeError(f"{b.ndim}-dimensional array given. Array must be one or two-dimensional")
    m, n = a.shape
    eps = eps_of(a.dtype)
    rcond = eps * max(m, n) if rcond is None else (eps if not hasattr(rcond, "shape") and rcond < 0 else rcond)
    u, s, vh = svd(a, full_matrices=False)
    kept = lax.ge(s, expand_to(lax.mul(as_array(convert(rcond, s.dtype)), s[0]), s.shape))
    rank = reductions.sum(kept, dtype=INT)
    inverse = lax.select(
        kept, lax.div(literal(1, s.dtype), lax.select(kept, s, lax.full_like(s, 1))), lax.full_like(s, 0)
    )
    projected = linear.matmul(_adjoint(u), b, precision="highest")
    x = linear.matmul(
        _adjoint(vh),
        lax.mul(projected, lax.convert_element_type(lax.broadcast_in_dim(inverse, projected.shape, (0,)), a.dtype)),
        precision="highest",
    )
    if numpy_resid:
        full_rank = m > n and int(rank) == n
        residuals = _squared_residuals(a, x, b) if full_rank else lax.full((0,), 0, s.dtype)
    else:
        residuals = _squared_residuals(a, x, b)
    return (lax.squeeze(x, (1,)) if vector else x), residuals, rank, s


def _squared_residuals(a: Array, x: Array, b: Array) -> Array:
    apart = lax.sub(b, linear.matmul(a, x, precision="highest"))
    return reductions.sum(lax.square(lax.abs(apart)), 0)

"""Linear algebra with SciPy's signatures: factorisations, solvers, functions of matrices, structured matrices."""
from __future__ import annotations

import tracejit.numpy as jnp

from .eigen import eigh, eigh_tridiagonal, rsf2csf, schur, solve_sylvester
from .factorize import cho_factor, cho_solve, cholesky, hessenberg, lu, lu_factor, lu_solve, polar, qr, qr_multiply
from .functions import expm, expm_frechet, funm, sqrtm
from .solve import det, inv, solve, solve_triangular
from .structured import (
    block_diag,
    circulant,
    companion,
    convolution_matrix,
    dft,
    fiedler,
    fiedler_companion,
    hadamard,
    hankel,
    helmert,
    hilbert,
    invhilbert,
    invpascal,
    leslie,
    pascal,
    toeplitz,
)


def svd(a, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: bool = False, check_finite: bool = True,
        lapack_driver: str = "gesdd"):
    """``(U, s, Vh)`` with ``a = U diag(s) Vh``, or s alone without ``compute_uv``; see `tracejit.numpy.linalg.svd`.

    >>> import tracejit.numpy as jnp
    >>> print(svd(jnp.array([[-2.0]]), compute_uv=False))
    [2.]
    """
    return jnp.linalg.svd(a, full_matrices=full_matrices, compute_uv=compute_uv)


__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "circulant", "companion", "convolution_matrix", "det",
    "dft", "eigh", "eigh_tridiagonal", "expm", "expm_frechet", "fiedler", "fiedler_companion", "funm", "hadamard",
    "hankel", "helmert", "hessenberg", "hilbert", "inv", "invhilbert", "invpascal", "leslie", "lu", "lu_factor",
    "lu_solve", "pascal", "polar", "qr", "qr_multiply", "rsf2csf", "schur", "solve", "solve_sylvester",
    "solve_triangular", "sqrtm", "svd", "toeplitz",
]

"""Sparse arrays that pass through every transform: BCOO (coordinates) and BCSR (compressed rows), in batches, with dense blocks.

>>> from tracejit.experimental import sparse
>>> M = sparse.BCOO.fromdense(jnp.array([[0., 1., 0.], [3., 0., 4.]]))
>>> tj.jit(lambda M, v: M @ v)(M, jnp.ones(3))
Array([1., 7.], dtype=float32)
"""
from __future__ import annotations

from tracejit.absent import getter
from tracejit.experimental.sparse import linalg as linalg
from tracejit.experimental.sparse import operators as operators
from tracejit.experimental.sparse.base import (CuSparseEfficiencyWarning, JAXSparse, SparseEfficiencyError,
                                               SparseEfficiencyWarning)
from tracejit.experimental.sparse.bcoo import (BCOO, bcoo_eliminate_zeros, bcoo_extract, bcoo_fromdense, bcoo_sort_indices,
                                               bcoo_sum_duplicates, bcoo_todense)
from tracejit.experimental.sparse.bcsr import (BCSR, bcsr_broadcast_in_dim, bcsr_concatenate, bcsr_dot_general, bcsr_extract,
                                               bcsr_fromdense, bcsr_sum_duplicates, bcsr_todense)
from tracejit.experimental.sparse.coordinates import (COO, CSC, CSR, coo_fromdense, coo_matmat, coo_matvec, coo_todense,
                                                      csr_fromdense, csr_matmat, csr_matvec, csr_todense)
from tracejit.experimental.sparse.creation import empty, eye, todense
from tracejit.experimental.sparse.derivatives import grad, jacfwd, jacobian, jacrev, value_and_grad
from tracejit.experimental.sparse.products import (bcoo_dot_general, bcoo_dot_general_sampled, bcoo_multiply_dense,
                                                   bcoo_multiply_sparse)
from tracejit.experimental.sparse.random import random_bcoo
from tracejit.experimental.sparse.sparsify import sparsify
from tracejit.experimental.sparse.views import (bcoo_broadcast_in_dim, bcoo_concatenate, bcoo_dynamic_slice, bcoo_gather,
                                                bcoo_reduce_sum, bcoo_reshape, bcoo_rev, bcoo_slice, bcoo_squeeze,
                                                bcoo_transpose, bcoo_update_layout)

__getattr__ = getter(__name__)

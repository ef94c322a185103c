"""experimental.sparse: every operation agrees with the dense one, for all layouts, with duplicates, and under transforms."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental import sparse
from tracejit.experimental.sparse import BCOO, BCSR

RNG = np.random.default_rng(0)


def holes(*shape: int) -> np.ndarray:
    """Random numbers, half of them zero."""
    return np.where(RNG.uniform(size=shape) < 0.5, RNG.normal(size=shape), 0).astype("float32")


A, B, C, X = holes(3, 4), holes(4, 5), holes(3, 4), holes(2, 3, 4)
V, W = RNG.normal(size=4).astype("f"), RNG.normal(size=3).astype("f")
DUPLICATES = BCOO(([1.0, 2, 3, 0, 9], [[0, 1], [2, 0], [0, 1], [1, 1], [3, 4]]), shape=(3, 4))     # and one outside
MATRICES = {"plain": BCOO.fromdense(A), "duplicates": DUPLICATES, "rows": BCOO.fromdense(A, n_batch=1),
            "dense columns": BCOO.fromdense(A, n_dense=1)}
DENSE = {"plain": A, "duplicates": np.float32([[0, 4, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]]), "rows": A, "dense columns": A}
OTHER = {"plain": {}, "duplicates": {}, "rows": {"n_batch": 1}, "dense columns": {"n_dense": 1}}


def dense(x: Any) -> Any:
    return tj.tree.map(sparse.todense, x, is_leaf=lambda leaf: isinstance(leaf, sparse.JAXSparse))


def same(got: Any, want: Any) -> None:
    got, want = (tj.tree.leaves(dense(t)) for t in (got, want))
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


# of (the matrix, an array or sparse matrix of its shape)
OPERATIONS: dict[str, Callable] = {
    "matvec": lambda M, N: M @ V, "vecmat": lambda M, N: W @ M, "matmul": lambda M, N: M @ B, "T": lambda M, N: M * 1,
    "times": lambda M, N: 2 * M * 3.0, "over": lambda M, N: M / 2, "by row": lambda M, N: M * V, "by column": lambda M, N: M * W[:, None],
    "plus": lambda M, N: M + N, "minus": lambda M, N: M - N, "neg": lambda M, N: -M, "abs": lambda M, N: abs(M), "power": lambda M, N: M**2,
    "sum": lambda M, N: M.sum(), "sum 0": lambda M, N: M.sum(0), "sum 1": lambda M, N: M.sum(axis=1), "int": lambda M, N: M.astype("int32"),
    "row": lambda M, N: M[1], "last row": lambda M, N: M[-1], "part": lambda M, N: M[1:, ::2], "new axis": lambda M, N: M[None],
}


@pytest.mark.parametrize("layout", MATRICES)
def test_operations(layout: str) -> None:
    every = lambda M, N: {name: f(M, N) for name, f in OPERATIONS.items()}
    same(tj.jit(every)(MATRICES[layout], BCOO.fromdense(C, **OTHER[layout])), every(DENSE[layout], C))


@pytest.mark.parametrize("layout", ["plain", "duplicates"])
def test_two_sparse_operands(layout: str) -> None:
    M, D, N = MATRICES[layout], DENSE[layout], BCOO.fromdense(C)
    products = lambda M, N, B: [M * N, M @ B, M.T @ N, M.T, M[:, 1], M.reshape(2, 6), M[1, 1]]
    same(tj.jit(products)(M, N, BCOO.fromdense(B)), products(D, C, B))
    same(sparse.bcoo_dot_general(M, N, dimension_numbers=(((0, 1), (0, 1)), ((), ()))), (D * C).sum())
    assert (M @ BCOO.fromdense(B)).nse <= 15


@pytest.mark.parametrize("n_batch", [0, 1, 2])
@pytest.mark.parametrize("n_dense", [0, 1])
def test_layouts(n_batch: int, n_dense: int) -> None:
    M = BCOO.fromdense(X, n_batch=n_batch, n_dense=n_dense)
    assert (M.n_batch, M.n_dense, M.shape) == (n_batch, n_dense, X.shape)
    same(M, X)
    same(M.sum((0, 1)), X.sum((0, 1)))
    same(M.sum(2), X.sum(2))
    same(M.sum_duplicates(), X)
    same(M.sort_indices(), X)
    same(M.update_layout(n_batch=0, n_dense=0), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(M.update_layout(n_batch=1, n_dense=1, on_inefficient="warn"), X)
    Y = holes(2, 4, 5)
    two = [(((2,), (1,)), ((), ())), (((2, 0), (1, 0)), ((), ())), *([(((2,), (1,)), ((0,), (0,)))] if n_batch else [])]
    same(tj.jit(lambda M: [sparse.bcoo_dot_general(M, Y, dimension_numbers=dims) for dims in two])(M),
         [lax.dot_general(X, Y, dims) for dims in two])
    if n_batch:
        same(tj.vmap(lambda M, y: M @ y)(M, Y), X @ Y)
    places = np.where((X != 0) if not n_dense else (X != 0).any(2, keepdims=True), X + 1, 0)
    views = {
        "product": (lambda M: sparse.bcoo_dot_general(Y, M, dimension_numbers=(((1,), (2,)), ((), ()))), np.einsum("abc,xyb->acxy", Y, X)),
        "joined": (lambda M: sparse.bcoo_concatenate([M, M], dimension=0), np.concatenate([X, X])),
        "beside": (lambda M: sparse.bcoo_concatenate([M, M], dimension=1), np.concatenate([X, X], 1)),
        "backwards": (lambda M: sparse.bcoo_rev(M, (0, 1, 2)), X[::-1, ::-1, ::-1]),
        "part": (lambda M: sparse.bcoo_slice(M, start_indices=(0, 1, 1), limit_indices=(2, 3, 4), strides=(1, 1, 2)), X[:, 1:, 1:4:2]),
        "window": (lambda M: sparse.bcoo_dynamic_slice(M, (1, 1, 9), (1, 2, 2)), X[1:, 1:, 2:]),
        "wide": (lambda M: sparse.bcoo_broadcast_in_dim(M, shape=(2, 3, 3, 4), broadcast_dimensions=(0, 1, 3)), np.repeat(X[:, :, None], 3, 2)),
        "shape": (lambda M: sparse.bcoo_reshape(M, new_sizes=(1, 2, 3, 4)), X[None]),
        "squeezed": (lambda M: sparse.bcoo_squeeze(M[:1], dimensions=(0,)), X[0]),
        "extracted": (lambda M: sparse.bcoo_extract(M, X + 1), places),
        "gradient": (sparse.grad(lambda M: (M.todense() ** 2).sum()), 2 * X)}
    same(tj.jit(lambda M: {name: f(M) for name, (f, _) in views.items()})(M), {name: want for name, (_, want) in views.items()})


def test_a_batch_axis_of_size_one_is_shared() -> None:
    M = BCOO((np.ones((1, 2), "f"), np.int32([[[0], [1]], [[1], [1]], [[3], [4]]])), shape=(3, 4))
    want = np.float32([[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
    same(M, want)
    same(M @ V, want @ V)
    same(M.sum(0), want.sum(0))


@pytest.mark.parametrize("layout", ["plain", "duplicates"])
def test_derivatives(layout: str) -> None:
    M, D = MATRICES[layout], DENSE[layout]
    loss = lambda M, v: ((M @ v) ** 3).sum()
    value, (by_matrix, by_vector) = sparse.value_and_grad(loss, argnums=(0, 1))(M, V)
    want_matrix, want_vector = tj.grad(loss, argnums=(0, 1))(jnp.asarray(D), V)
    same((value, by_vector), (loss(D, V), want_vector))
    same(by_matrix.data[:-1], np.asarray(want_matrix)[tuple(np.asarray(M.indices)[:-1].T)])
    for jacobian in (sparse.jacfwd, sparse.jacrev, sparse.jacobian):
        found = jacobian(lambda M: M @ V)(M)
        assert found.shape == (3, 3, 4) and found.n_batch == 1
    same(tj.hessian(lambda v: loss(M, v))(V), tj.hessian(lambda v: loss(jnp.asarray(D), v))(V))
    gradient, more = sparse.grad(lambda M: (M.sum(), {"sum": M.sum()}), has_aux=True)(M)
    assert more["sum"] == M.sum() and gradient.nse == M.nse


@pytest.mark.parametrize(("f", "n"), [
    (lambda M: 2 * jnp.dot(jnp.log1p(abs(M).T), W) + 1, 1), (lambda M: jnp.einsum("ij,jk->ki", M, B), 1), (lambda M: M.mean(), 1),
    (lambda M: jnp.exp(sparse.todense(M)), 1), (lambda M: lax.fori_loop(0, 3, lambda i, x: x * 2, M), 1), (lambda M: jnp.tan(M), 1),
    (lambda M: lax.cond(True, lambda x: x * 2, lambda x: x * 3, M), 1), (lambda M: lax.scan(lambda c, v: (c + M @ v, M), jnp.zeros(3), B.T), 0),
    (lambda M: jnp.concatenate([M, M]), 1), (lambda M: tj.nn.relu(M @ V), 1), (lambda M: {"a": (M, 3.0)}, 1), (lambda M: jnp.where(V > 0, V, 0) @ M.T, 1),
    (lambda M: lax.while_loop(lambda x: x.sum() < 40, lambda x: x * x + x, abs(M)), 1)])
def test_sparsify(f: Callable, n: int) -> None:
    M = MATRICES["plain"]
    if not n:
        f = lambda M: lax.scan(lambda c, v: (c + M @ v, v.sum()), jnp.zeros(3), B.T)
    same(sparse.sparsify(f)(M), f(jnp.asarray(A)))
    same(tj.jit(sparse.sparsify(f))(M), f(jnp.asarray(A)))


@pytest.mark.parametrize("f", [jnp.exp, jnp.cos, lambda M: M + 1, lambda M: M - C, lambda M: 1 / M, lambda M: M**0, jnp.sort])
def test_dense_results_are_refused(f: Callable) -> None:
    with pytest.raises(NotImplementedError, match="dense"):
        sparse.sparsify(f)(MATRICES["plain"])


def test_duplicates_and_zeros() -> None:
    M = DUPLICATES.sum_duplicates()
    assert M.nse == 2 and M.unique_indices and M.indices_sorted
    np.testing.assert_array_equal(M.indices, [[0, 1], [2, 0]])
    np.testing.assert_array_equal(M.data, [4, 2])
    assert DUPLICATES.sum_duplicates(remove_zeros=False).nse == 3
    padded = tj.jit(lambda M: M.sum_duplicates(nse=6))(DUPLICATES)
    np.testing.assert_array_equal(padded.indices, [[0, 1], [2, 0]] + [[3, 4]] * 4)
    same(padded, DENSE["duplicates"])
    same(tj.jit(lambda x: BCOO.fromdense(x, nse=3))(A).data, A[A != 0][:3])
    with pytest.raises(tj.errors.ConcretizationTypeError):
        tj.jit(BCOO.fromdense)(A)
    with pytest.raises(sparse.SparseEfficiencyError):
        MATRICES["plain"].update_layout(n_batch=1)


@pytest.mark.parametrize("kind", [sparse.COO, sparse.CSR, sparse.CSC, BCSR])
def test_matrix_formats(kind: type) -> None:
    M = kind.fromdense(A)
    same(M, A)
    same(tj.jit(lambda M: (M @ V, M @ B))(M), (A @ V, A @ B))
    if kind is not BCSR:
        same(M.T, A.T)
        same(sparse.eye(3, sparse_format=kind.__name__.lower()), np.eye(3))
        same(sparse.empty((3, 4), sparse_format=kind.__name__.lower()), np.zeros((3, 4)))
    gradient = sparse.grad(lambda M: (M @ V).sum())(M)
    same(gradient, np.where(A != 0, V, 0))
    assert isinstance(gradient, kind) and repr(M) == f"{kind.__name__}(float32[3, 4], nse={(A != 0).sum()})"


def test_compressed_rows() -> None:
    M = BCSR.fromdense(A)
    want = scipy.sparse.csr_matrix(A)
    np.testing.assert_array_equal(M.indptr, want.indptr)
    np.testing.assert_array_equal(M.indices, want.indices)
    same(BCSR.from_scipy_sparse(want), A)
    same(BCOO.from_scipy_sparse(want), A)
    same(BCSR.from_bcoo(DUPLICATES), DENSE["duplicates"])
    batch = BCSR.fromdense(X, n_batch=1)
    same(sparse.bcsr_dot_general(batch, B, dimension_numbers=(((2,), (0,)), ((), ()))), X @ B)
    same((batch[0], BCSR.fromdense(X, n_dense=1)), (X[0], X))
    same(sparse.bcsr_concatenate([M, M], dimension=0), np.concatenate([A, A]))
    same(sparse.bcsr_broadcast_in_dim(M, shape=(2, 3, 4), broadcast_dimensions=(1, 2)), np.stack([A, A]))
    same(sparse.bcsr_extract(M.indices, M.indptr, C), C[A != 0])
    same(tj.vmap(lambda M: M @ V)(batch), X @ V)


def test_spsolve_and_its_derivatives() -> None:
    S = holes(4, 4) + 3 * np.eye(4, dtype="f")
    M = BCSR.fromdense(S)
    solve = lambda data, b: sparse.linalg.spsolve(data, M.indices, M.indptr, b)
    same(tj.jit(solve)(M.data, V), np.linalg.solve(S, V))
    by_data, by_b = tj.grad(lambda data, b: (solve(data, b) ** 2).sum(), argnums=(0, 1))(M.data, V)
    want_S, want_b = tj.grad(lambda S, b: (jnp.linalg.solve(S, b) ** 2).sum(), argnums=(0, 1))(S, V)
    same((by_data, by_b), (want_S[S != 0], want_b))
    same(tj.jvp(lambda b: solve(M.data, b), (V,), (V,))[1], np.linalg.solve(S, V))
    same(tj.vmap(lambda b: solve(M.data, b))(B.T), np.linalg.solve(S, B).T)


def test_random_and_constant_matrices() -> None:
    M = sparse.random_bcoo(tj.random.key(0), (2, 4, 5), nse=3, n_batch=1)
    assert M.shape == (2, 4, 5) and M.nse == 3 and all(len(set(map(tuple, i))) == 3 for i in np.asarray(M.indices).tolist())
    assert sparse.random_bcoo(tj.random.key(0), (4, 5), nse=0.3, sorted_indices=True).indices_sorted
    for k in (-5, -1, 0, 2, 9):
        same(sparse.eye(3, 4, k), np.eye(3, 4, k))
    same(sparse.eye(3, n_batch=1), np.eye(3))
    same(sparse.empty((2, 3), n_batch=1, nse=2), np.zeros((2, 3)))
    same(sparse.bcoo_dot_general_sampled(C, B, np.int32([[0, 1], [2, 4]]), dimension_numbers=(((1,), (0,)), ((), ()))),
         np.stack([(C @ B)[0, 1], (C @ B)[2, 4]]))


@pytest.mark.parametrize("call", [
    lambda: BCOO((np.ones(2), np.zeros((3, 1), int)), shape=(3,)), lambda: sparse.empty((2, 3), n_batch=2, n_dense=2),
    lambda: sparse.random_bcoo(tj.random.key(0), (2, 2), nse=9), lambda: sparse.bcoo_transpose(MATRICES["plain"], permutation=(0, 0)),
    lambda: tj.vmap(lambda M: M.todense())(MATRICES["plain"]), lambda: sparse.eye(2, sparse_format="dia")])
def test_wrong_arguments(call: Callable) -> None:
    with pytest.raises(ValueError, match="BCOO|empty|random_bcoo|transpose|sparse_format|vmap"):
        call()


@pytest.mark.parametrize("f", [
    lambda m, i: m.zeros((2, 0))[..., i], lambda m, i: m.zeros(0)[i], lambda m, i: m.zeros((0, 3))[i, i], lambda m, i: m.take(m.zeros(0), i),
    lambda m, i: m.take_along_axis(m.zeros((2, 0)), m.zeros((2, 0), int), 1)])
def test_an_empty_index_of_an_empty_axis(f: Callable) -> None:
    i = np.zeros(0, int)
    assert f(jnp, jnp.asarray(i)).shape == f(np, i).shape
    assert jnp.zeros(0).at[jnp.asarray(i)].add(1.0).shape == (0,)

"""grad and friends for functions of sparse arrays: derivatives by the specified elements, as sparse arrays of the same pattern."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.experimental.sparse.base import JAXSparse
from tracejit.experimental.sparse.bcoo import BCOO
from tracejit.transforms import derivatives
from tracejit.tree_util import tree_flatten, tree_map, tree_unflatten


def is_sparse(x: Any) -> bool:
    return isinstance(x, JAXSparse)


def data_of(x: Any) -> Any:
    """An argument without its indices, which have no derivative."""
    return tree_map(lambda leaf: leaf.data if is_sparse(leaf) else leaf, x, is_leaf=is_sparse)


def with_data(x: Any, data: Any) -> Any:
    """An argument with other values (or with derivatives by them, which may have further leading axes)."""
    leaves, tree = tree_flatten(x, is_leaf=is_sparse)
    return tree_unflatten(tree, [rebuilt(leaf, d) for leaf, d in zip(leaves, tree_flatten(data)[0], strict=True)])


def rebuilt(x: Any, data: Any) -> Any:
    if not is_sparse(x):
        return data
    (_, *places), aux = x.tree_flatten()
    more = data.ndim - x.data.ndim
    if more and not isinstance(x, BCOO):
        raise NotImplementedError(f"sparse: derivatives of arrays by a {type(x).__name__} array; use BCOO")
    return type(x).tree_unflatten(aux, [data, *[p.reshape((1,) * more + p.shape) for p in places]])


def sparse_derivative(transform: Callable, fun: Callable, argnums: Any, has_aux: bool, options: dict, place: Callable) -> Callable:
    """transform(fun) with respect to the data of sparse arguments; `place` puts derivatives into their patterns."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def derivative(*args: Any, **kwargs: Any) -> Any:
        if any(not -len(args) <= n < len(args) for n in numbers):
            raise ValueError(f"sparse: argnums {argnums} names an argument that is not among the {len(args)} given")
        at = [n % len(args) for n in numbers]

        def of_data(*values: Any) -> Any:
            full = list(args)
            for n, value in zip(at, values):
                full[n] = with_data(args[n], value)
            return fun(*full, **kwargs)
        run = transform(of_data, argnums=tuple(range(len(at))), has_aux=has_aux, **options)
        pattern = lambda found: (lambda all: all[0] if isinstance(argnums, int) else all)(
            tuple(with_data(args[n], d) for n, d in zip(at, found)))
        return place(run(*[data_of(args[n]) for n in at]), pattern)
    return derivative


def first_of(has_aux: bool) -> Callable:
    return lambda out, pattern: (pattern(out[0]), out[1]) if has_aux else pattern(out)


def value_and_grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, **kwargs: Any) -> Callable:
    """tracejit.value_and_grad; of a sparse argument the gradient is by its specified elements, and as sparse.

    >>> from tracejit.experimental import sparse
    >>> X = sparse.BCOO.fromdense(jnp.arange(6.))
    >>> sparse.value_and_grad(lambda X, y: X @ y)(X, jnp.ones(6))
    (Array(15., dtype=float32), BCOO(float32[6], nse=5))
    """
    return sparse_derivative(derivatives.value_and_grad, fun, argnums, has_aux, kwargs,
                             lambda out, pattern: (out[0], pattern(out[1])))


def grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, **kwargs: Any) -> Callable:
    """tracejit.grad; of a sparse argument the gradient is by its specified elements, and as sparse.

    >>> from tracejit.experimental import sparse
    >>> X = sparse.BCOO.fromdense(jnp.arange(3.))
    >>> sparse.grad(lambda X: (X * X).sum())(X).data
    Array([2., 4.], dtype=float32)
    """
    return sparse_derivative(derivatives.grad, fun, argnums, has_aux, kwargs, first_of(has_aux))


def jacfwd(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, **kwargs: Any) -> Callable:
    """tracejit.jacfwd of a function with one dense result; by a sparse argument it is sparse, with batch axes for the result.

    >>> from tracejit.experimental import sparse
    >>> M = sparse.BCOO.fromdense(jnp.eye(2))
    >>> sparse.jacfwd(lambda M: M @ jnp.ones(2))(M)
    BCOO(float32[2, 2, 2], nse=2, n_batch=1)
    """
    return sparse_derivative(derivatives.jacfwd, fun, argnums, has_aux, kwargs, first_of(has_aux))


def jacrev(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, **kwargs: Any) -> Callable:
    """tracejit.jacrev of a function with one dense result; by a sparse argument it is sparse, with batch axes for the result."""
    return sparse_derivative(derivatives.jacrev, fun, argnums, has_aux, kwargs, first_of(has_aux))


jacobian = jacrev

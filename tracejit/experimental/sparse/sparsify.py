"""sparsify: a function of arrays -> the same function of sparse arrays. Also what makes BCOO's operators.

The function is traced on the shapes of its arguments; its graph is then replayed with sparse values. `apply_sparse` says
for each op that can what it does to them; everything that has no sparse operand stays as it is.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import filtered
from tracejit.experimental.sparse import products, views
from tracejit.experimental.sparse.base import JAXSparse
from tracejit.experimental.sparse.bcoo import BCOO, bcoo_extract, bcoo_sum_duplicates, whole_batch
from tracejit.experimental.sparse.bcsr import BCSR
from tracejit.ir.graph import Eqn, Graph, Lit, replay
from tracejit.ir.trace import bind, is_traced, record_eqn, trace
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.branches import Cond
from tracejit.lax.broadcast import BroadcastInDim, ReduceSum, Transpose
from tracejit.lax.convert import ConvertElementType
from tracejit.lax.custom import Call, Name
from tracejit.lax.dot import DotGeneral
from tracejit.lax.dynamic import DynamicSlice
from tracejit.lax.elementwise import Add, Div, Mul, Sub
from tracejit.lax.index import Gather
from tracejit.lax.kinds import Elementwise, Op, op_dataclass
from tracejit.lax.loops import Scan, While
from tracejit.lax.shape import Concatenate, Reshape, Rev, Slice
from tracejit.tree_util import tree_flatten, tree_unflatten


def is_sparse(x: Any) -> bool:
    return isinstance(x, JAXSparse)


def sparse_type(x: Any) -> Any:
    return ArrayType(x.shape, x.dtype, type_of(x.data).weak_type) if is_sparse(x) else type_of(x)


def sparsify(f: Callable, use_tracer: bool = False) -> Callable:
    """f for arguments that may be BCOO or BCSR arrays, anywhere in pytrees.

    What f computes of them stays sparse where zeros stay zeros: products, linear views, sums, functions with f(0) = 0, sums
    of sparse arrays; loops and branches may carry them. NotImplementedError for an operation whose result would be
    dense: apply `todense` in f where that is meant.

    >>> from tracejit.experimental.sparse import BCOO
    >>> f = sparsify(lambda M, v: 2 * jnp.dot(jnp.log1p(M.T), v) + 1)
    >>> f(BCOO.fromdense(jnp.array([[1., 0.], [0., 3.]])), jnp.ones(2))
    Array([2.3862944, 3.7725887], dtype=float32)
    """
    @filtered
    @functools.wraps(f)
    def sparse_function(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = tree_flatten((args, kwargs), is_leaf=is_sparse)
        out_tree = None

        def flat(*values):
            nonlocal out_tree
            a, k = tree_unflatten(tree, values)
            outs, out_tree = tree_flatten(f(*a, **k), is_leaf=is_sparse)
            return outs
        graph, captured = trace(flat, [sparse_type(x) for x in leaves])
        return tree_unflatten(out_tree, run_sparse(graph, [*captured, *leaves]))
    return sparse_function


def run_sparse(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Run a graph on values of which some are sparse."""
    def apply(eqn: Eqn, inputs: list) -> Sequence[Any]:
        if not any(map(is_sparse, inputs)):
            return record_eqn(eqn, inputs)
        rows = any(isinstance(x, BCSR) for x in inputs)
        outs = apply_sparse(eqn.op, *[x.to_bcoo() if isinstance(x, BCSR) else x for x in inputs])
        outs = outs if eqn.op.multiple else [outs]
        return [BCSR.from_bcoo(y) if rows and isinstance(y, BCOO) and y.n_sparse == 2 else y for y in outs]
    return [x.value if isinstance(x, Lit) else x for x in replay(graph, values, apply)]


def dense_result(op: Op) -> NotImplementedError:
    return NotImplementedError(f"sparsify: {op.name} of a sparse array is not implemented, because its result would be "
                               "dense; use sparse.todense() on the argument if that is meant")


@functools.singledispatch
def apply_sparse(op: Op, *xs: Any) -> Any:
    """What an op does to values of which at least one is a BCOO array."""
    raise dense_result(op)


# --- element by element ------------------------------------------------------------------------------------------

@apply_sparse.register
def _(op: Elementwise, *xs: Any) -> Any:
    """A function of one sparse array and numbers acts on the elements if it keeps zero."""
    (mat,) = [x for x in xs if is_sparse(x)] if sum(map(is_sparse, xs)) == 1 else (None,)
    numbers = [value_of(x) for x in xs if not is_sparse(x)]
    if mat is None or any(is_traced(v) or np.ndim(v) for v in numbers) or not keeps_zero(op, xs, mat.dtype):
        raise dense_result(op)
    mat = mat if op.linear or mat.unique_indices else bcoo_sum_duplicates(mat, mat.nse)
    data = bind(op, *[mat.data if is_sparse(x) else x for x in xs])
    return mat.replaced(data, mat.indices, indices_sorted=mat.indices_sorted, unique_indices=mat.unique_indices)


def keeps_zero(op: Elementwise, xs: Sequence[Any], dtype: np.dtype) -> bool:
    with np.errstate(all="ignore"):
        return not np.any(op.eval(*[np.zeros((), dtype) if is_sparse(x) else np.asarray(value_of(x)) for x in xs]))


@op_dataclass
class Todense(Name):
    """x itself, and under sparsify x as a dense array."""


@apply_sparse.register
def _(op: Todense, x: BCOO) -> Any: return x.todense()


@apply_sparse.register
def _(op: ConvertElementType, x: BCOO) -> Any:
    return x.replaced(bind(op, x.data), x.indices, indices_sorted=x.indices_sorted, unique_indices=x.unique_indices)


@apply_sparse.register
def _(op: Mul, x: Any, y: Any) -> Any:
    if is_sparse(x) and is_sparse(y):
        if x.indices is y.indices and x.unique_indices:
            return x.replaced(lax.mul(x.data, y.data), x.indices, indices_sorted=x.indices_sorted, unique_indices=True)
        return products.bcoo_multiply_sparse(x, y)
    mat, v = (x, y) if is_sparse(x) else (y, x)
    data = products.bcoo_multiply_dense(mat, value_of(v))
    return mat.replaced(data, mat.indices, indices_sorted=mat.indices_sorted, unique_indices=mat.unique_indices)


@apply_sparse.register
def _(op: Div, x: Any, y: Any) -> Any:
    if is_sparse(y):
        raise dense_result(op)
    y = value_of(y)
    whole = jnp.broadcast_to(y, x.shape) if y.ndim else y
    over = bcoo_extract(x, whole, assume_unique=True).data if y.ndim else y
    return x.replaced(lax.div(x.data, over), x.indices, indices_sorted=x.indices_sorted, unique_indices=x.unique_indices)


@apply_sparse.register
def _(op: Add, x: Any, y: Any) -> Any:
    if not (is_sparse(x) and is_sparse(y)):
        mat, dense = (x, value_of(y)) if is_sparse(x) else (y, value_of(x))
        if dense.shape != mat.shape:
            raise NotImplementedError(f"sparsify: {mat} plus an array of shape {dense.shape} would be dense; use "
                                      "sparse.todense() if that is meant")
        return lax.add(mat.todense(), dense)
    if x.indices is y.indices:
        return x.replaced(lax.add(x.data, y.data), x.indices, indices_sorted=x.indices_sorted, unique_indices=x.unique_indices)
    if (x.n_batch, x.n_dense) != (y.n_batch, y.n_dense):
        raise NotImplementedError(f"sparsify: the sum of {x} and {y}, whose layouts differ; use update_layout")
    x, y, n = whole_batch(x), whole_batch(y), x.n_batch
    return x.replaced(lax.concatenate([x.data, y.data], n), lax.concatenate([x.indices, y.indices], n))


@apply_sparse.register
def _(op: Sub, x: Any, y: Any) -> Any:
    if not (is_sparse(x) and is_sparse(y)):
        raise NotImplementedError("sparsify: a difference of a sparse and a dense array is dense; use sparse.todense()")
    minus = y.replaced(lax.neg(y.data), y.indices, indices_sorted=y.indices_sorted, unique_indices=y.unique_indices)
    return apply_sparse(Add(), x, minus)


def value_of(x: Any) -> Any:
    return jnp.asarray(x.value) if isinstance(x, Lit) else x


# --- views, sums and products --------------------------------------------------------------------------------------

@apply_sparse.register
def _(op: DotGeneral, x: Any, y: Any) -> Any:
    return products.bcoo_dot_general(x, y, dimension_numbers=(op.contract, op.batch_axes), preferred_element_type=op.preferred)


@apply_sparse.register
def _(op: ReduceSum, x: BCOO) -> Any:
    out = views.bcoo_reduce_sum(x, axes=op.axes)
    return out if out.shape else out.data.sum(dtype=out.dtype)


@apply_sparse.register
def _(op: Transpose, x: BCOO) -> Any: return x.transpose(op.permutation)
@apply_sparse.register
def _(op: Rev, x: BCOO) -> Any: return views.bcoo_rev(x, op.dimensions)
@apply_sparse.register
def _(op: Concatenate, *xs: Any) -> Any: return views.bcoo_concatenate(xs, dimension=op.dimension)


@apply_sparse.register
def _(op: Reshape, x: BCOO) -> Any:
    ones = [d for d, n in enumerate(x.shape) if n == 1]
    if tuple(n for n in x.shape if n != 1) == op.shape and ones:
        return views.bcoo_squeeze(x, dimensions=ones)
    return views.bcoo_reshape(x, new_sizes=op.shape)


@apply_sparse.register
def _(op: BroadcastInDim, x: BCOO) -> Any:
    return views.bcoo_broadcast_in_dim(x, shape=op.shape, broadcast_dimensions=op.dimensions)


@apply_sparse.register
def _(op: Slice, x: BCOO) -> Any:
    return views.bcoo_slice(x, start_indices=op.start_indices, limit_indices=op.limit_indices, strides=op.strides)


@apply_sparse.register
def _(op: DynamicSlice, x: BCOO, *starts: Any) -> Any:
    return views.bcoo_dynamic_slice(x, list(map(value_of, starts)), op.slice_sizes)


@apply_sparse.register
def _(op: Gather, x: BCOO, indices: Any) -> Any:
    numbers = lax.GatherDimensionNumbers(op.offset_dims, op.collapsed, op.index_map, op.operand_batching, op.indices_batching)
    return views.bcoo_gather(x, indices, numbers, op.sizes)


# --- calls, branches and loops -----------------------------------------------------------------------------------

@apply_sparse.register
def _(op: Call, *xs: Any) -> Any:
    return run_sparse(op.graph, xs)


@apply_sparse.register
def _(op: Cond, index: Any, *xs: Any) -> Any:
    return lax.switch(index, [functools.partial(lambda g, *xs: run_sparse(g, xs), g) for g in op.branches], *xs)


@apply_sparse.register
def _(op: While, *xs: Any) -> Any:
    cond_consts, consts, carry = op.parts(xs)
    return lax.while_loop(lambda c: run_sparse(op.cond, [*cond_consts, *c])[0],
                          lambda c: run_sparse(op.body, [*consts, *c]), list(carry))


@apply_sparse.register
def _(op: Scan, *xs: Any) -> Any:
    _, consts, carry, stacks = op.parts(xs)
    if any(map(is_sparse, stacks)) or op.length is None:
        raise NotImplementedError("sparsify: a scan over slices of a sparse array, or of unknown length")

    def step(c, x):
        outs = run_sparse(op.body, [*consts, *c, *x])
        return outs[:op.n_carry], outs[op.n_carry:]
    last, ys = lax.scan(step, list(carry), list(stacks), op.length, op.reverse)
    return [*last, *ys]

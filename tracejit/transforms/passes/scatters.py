"""Sums of many updates for machines with many threads. After this, no two updates of a large ScatterAdd of floats meet.

    sort the updates by where they fall; add up each run of equal places; add the totals to what was there

The order of all sums is given by shapes and places alone, so the bits are the same each time; integers, whose sums do not
depend on the order, are left to instructions that add in memory.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph
from tracejit.ir.trace import replaced
from tracejit.ir.types import is_inexact
from tracejit.lax.index import FEW_UPDATES, ScatterAdd
from tracejit.lax.reference import is_half

CHUNK = 32          # updates that one thread adds up, one after another


def lower_scatters(graph: Graph) -> Graph:
    return replaced(graph, is_large, lambda op, *xs: [sorted_sums(op, *xs)])


def is_large(eqn: Eqn) -> bool:
    """Whether so many updates may fall on one element that threads must share them."""
    if not isinstance(eqn.op, ScatterAdd) or eqn.op.unique or not is_inexact(eqn.inputs[0].type.dtype):
        return False
    shape = eqn.inputs[2].type.shape
    together = [n for a, n in enumerate(shape) if a not in eqn.op.apart(len(shape))]
    return math.prod(together) > FEW_UPDATES and 0 not in shape


def sorted_sums(op: ScatterAdd, operand: Any, indices: Any, updates: Any) -> Any:
    """The operand as [batch, place, rest], the updates as [batch, number, rest], with a place for each number."""
    dtype, (batch, places, rest) = operand.type.dtype, operand_axes(op)
    shape = operand.type.shape
    target = lax.transpose(operand, (*batch, *places, *rest))
    sizes = [math.prod(shape[d] for d in dims) for dims in (batch, places, rest)]
    keys, values = keyed(op, operand.type.shape, indices, updates)
    keys, order = lax.sort((keys, lax.broadcasted_iota(np.int32, keys.type.shape, 1)), num_keys=1)
    follows = lax.concatenate([lax.full((sizes[0], 1), False), lax.eq(part(keys, 1, None), part(keys, 0, -1))], 1)
    totals = numbers_of(running_sums(floats_of(taken(values, order)), follows), dtype)
    is_last = lax.concatenate([lax.ne(part(keys, 1, None), part(keys, 0, -1)), lax.full((sizes[0], 1), True)], 1)
    nowhere = lax.full_like(keys, sizes[1])
    numbers = lax.ScatterDimensionNumbers((2,), (1,), (1,), (0,), (0,))
    added = lax.scatter_add(lax.reshape(target, sizes), lax.expand_dims(lax.select(is_last, keys, nowhere), (2,)),
                            totals, numbers, unique_indices=True, mode="drop")
    back = np.argsort([*batch, *places, *rest])
    return lax.transpose(lax.reshape(added, target.type.shape), tuple(map(int, back)))


def floats_of(x: Any) -> Any:
    """Numbers [..., rest] as floats that are added alike: the parts of complex ones side by side, 16-bit ones in 32."""
    if x.type.dtype.kind == "c":
        return lax.concatenate([lax.real(x), lax.imag(x)], x.type.ndim - 1)
    return lax.convert_element_type(x, np.float32) if is_half(x.type.dtype) else x


def numbers_of(x: Any, dtype: np.dtype) -> Any:
    """The inverse of `floats_of`."""
    if dtype.kind != "c":
        return lax.convert_element_type(x, dtype)
    axis, half = x.type.ndim - 1, x.type.shape[-1] // 2
    return lax.complex(lax.slice_in_dim(x, 0, half, axis=axis), lax.slice_in_dim(x, half, None, axis=axis))


def operand_axes(op: ScatterAdd) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Axes of the operand: those that updates have too, those that indices move along, those that windows cover."""
    rest = [d for d in range(len(op.sizes)) if d not in op.operand_batching and d not in op.index_map]
    return op.operand_batching, op.index_map, tuple(rest)


def keyed(op: ScatterAdd, shape: tuple[int, ...], indices: Any, updates: Any) -> tuple[Any, Any]:
    """(place of each update, [batch, number]; the updates, [batch, number, rest])."""
    w, ndim = op.windows, updates.type.ndim
    axes, window = w.batch_axes(ndim), dict(zip(w.window_axes(), op.offset_dims))
    batch = [axes[k] for k in op.indices_batching]
    rest = [window[d] for d in operand_axes(op)[2]]
    many = [a for a in range(ndim) if a not in (*batch, *rest)]
    whole = tuple(updates.type.shape[a] for a in (*batch, *many))
    spread = lambda x, dims: lax.broadcast_in_dim(x, whole, tuple((*batch, *many).index(a) for a in dims))
    key, outside = lax.full(whole, 0, np.int32), lax.full(whole, False)
    for k, d in enumerate(op.index_map):
        last = shape[d] - op.sizes[d]
        start = lax.index_in_dim(indices, k, indices.type.ndim - 1, keepdims=False)
        inside = lax.clamp(lax.full_like(start, 0), start, lax.full_like(start, min(last, np.iinfo(start.type.dtype).max)))
        if not op.clips:
            outside = lax.bitwise_or(outside, spread(lax.ne(inside, start), axes))
        at = spread(lax.convert_element_type(inside, np.int32), axes)
        if op.sizes[d] > 1:
            at = lax.add(at, spread(lax.iota(np.int32, op.sizes[d]), [window[d]]))
        key = lax.add(lax.mul(key, lax.full_like(key, shape[d])), at)
    key = lax.select(outside, lax.full_like(key, math.prod(shape[d] for d in op.index_map)), key)
    n_batch, n = math.prod(whole[:len(batch)]), math.prod(whole[len(batch):])
    values = lax.reshape(lax.transpose(updates, (*batch, *many, *rest)), (n_batch, n, updates.type.size // (n_batch * n)))
    return lax.reshape(key, (n_batch, n)), values


def taken(values: Any, order: Any) -> Any:
    """values[b, order[b, i], rest]."""
    numbers = lax.GatherDimensionNumbers((2,), (1,), (1,), (0,), (0,))
    return lax.gather(values, lax.expand_dims(order, (2,)), numbers, (1, 1, values.type.shape[2]), unique_indices=True)


def part(x: Any, start: int, stop: int | None) -> Any:
    """x[:, start:stop]."""
    return lax.slice_in_dim(x, start, stop, axis=1)


def running_sums(x: Any, follows: Any) -> Any:
    """x[b, i, rest] added to the sum before it where it `follows` [b, i]: each chunk by one thread, then the chunks' totals so."""
    batch, n, rest = x.type.shape
    chunks, missing = -(-n // CHUNK), -n % CHUNK
    cut = lambda v, fill: lax.reshape(lax.pad(v, v.type.dtype.type(fill), [(0, missing * (d == 1), 0) for d in range(v.type.ndim)]),
                                      (batch, chunks, CHUNK, *v.type.shape[2:]))
    values = lax.transpose(cut(x, 0), (2, 0, 1, 3))
    joins = lax.transpose(lax.broadcast_in_dim(cut(follows, False), (batch, chunks, CHUNK, rest), (0, 1, 2)), (2, 0, 1, 3))

    def step(carry, element):
        (total, is_joined), (value, joins_it) = carry, element
        total = lax.add(lax.select(joins_it, total, lax.full_like(total, 0)), value)
        is_joined = lax.bitwise_and(is_joined, joins_it)
        return (total, is_joined), (total, is_joined)
    start = lax.full((batch, chunks, rest), 0, x.type.dtype), lax.full((batch, chunks, rest), True)
    (last, is_joined), (totals, joined) = lax.scan(step, start, (values, joins))
    if chunks > 1:
        whole = lax.index_in_dim(is_joined, 0, 2, keepdims=False)
        sums = lax.pad(running_sums(last, whole), x.type.dtype.type(0), [(0, 0, 0), (1, -1, 0), (0, 0, 0)])
        before = lax.broadcast_in_dim(sums, totals.type.shape, (1, 2, 3))
        totals = lax.select(joined, lax.add(before, totals), totals)
    return part(lax.reshape(lax.transpose(totals, (1, 2, 0, 3)), (batch, chunks * CHUNK, rest)), 0, n)

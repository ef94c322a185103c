"""Ops on arrays that are made of arrays, such as those of keys: the parts of an element move together, as lanes of a vmap do.

    bind(Reshape((6,)), keys[2, 3])    is    bind(Reshape((6,)), .) over the last axis of their data, u32[2, 3, words]
"""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from tracejit.ir.graph import Graph
from tracejit.ir.trace import call, hooks, trace_closed
from tracejit.ir.types import ExtendedDType, type_of
from tracejit.pytree import COMPOSITES
from tracejit.transforms.batching import Batch
from tracejit.transforms.vmap import move_axis


def is_extended(t: Any) -> bool:
    return isinstance(t.dtype, ExtendedDType)


def run_on_parts(op: Any, args: Sequence) -> Any:
    """An op on operands of which some are composite; DtypeError if it does more with elements than move or compare them."""
    types = tuple([type_of(x) for x in args])
    dtype = next(op.accepted(t.dtype) for t in types if is_extended(t))
    out = op.infer(*types)
    data = [x.data if is_extended(t) else x for x, t in zip(args, types)]
    result, = call(parts_graph(op, types), data)
    return dtype.wrap(result) if is_extended(out) else result


@functools.lru_cache(maxsize=4096)
def parts_graph(op: Any, types: tuple) -> Graph:
    """The program of an op on the data of its composite operands."""
    composite = [is_extended(t) for t in types]
    dtype = types[composite.index(True)].dtype
    ctx = Batch(dtype.parts)

    def f(*data: Any) -> list:
        lanes = [move_axis(x, t.ndim, 0) if c else x for x, t, c in zip(data, types, composite)]
        out, batched = op.batch(ctx, lanes, composite)
        out, t = ctx.materialize(out, batched), op.infer(*types)
        return [move_axis(out, 0, t.ndim) if is_extended(t) else op.joined(ctx, out)]
    return trace_closed(f, [t.dtype.type_of_data(t.shape) if c else t for t, c in zip(types, composite)])


hooks.run_on_parts = run_on_parts


def register_composite(cls: type) -> type:
    """Make a pytree node class of one child, `data`, a class of arrays: its `dtype` is an ExtendedDType."""
    COMPOSITES.add(cls)
    return cls

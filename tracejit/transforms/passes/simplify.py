"""Rewriting each equation to what is cheaper and the same: rules, folded literals, views of views, common values.

The program is traced again, so equal equations become one.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.config import config
from tracejit.ir.graph import Eqn, Graph, Lit, Var, fields_of, is_graphs, replay, subgraphs
from tracejit.ir.trace import bind, record_eqn, rewrite, sourced
from tracejit.ir.types import NARROW, is_float, is_inexact, is_integer, type_of
from tracejit.lax.branches import Cond
from tracejit.lax.broadcast import BroadcastInDim, Transpose
from tracejit.lax.convert import ConvertElementType
from tracejit.lax.dynamic import DynamicSlice, DynamicUpdateSlice, region
from tracejit.lax.elementwise import Add, Sub
from tracejit.lax.kinds import Elementwise, Reduction
from tracejit.lax.shape import Concatenate, Pad, Reshape, Rev, Slice
from tracejit.transforms.passes.rules import apply_rules, literal_of

MOST_ULP = 1        # literals are folded where the reference meaning is as good as compiled code


def simplify(graph: Graph) -> Graph:
    """The graph with every equation, in sub-graphs too, replaced by the simplest that means the same."""
    inexact = config.inexact_rules

    def apply(eqn: Eqn, inputs: list):
        with sourced(eqn.source):
            found = None if eqn.op.multiple or eqn.op.has_effects else simpler(eqn.op, inputs, inexact)
        if found is None:
            return choose_branch(eqn, inputs) or record_eqn(with_simplified_subgraphs(eqn), inputs)
        return [of_type(found, eqn.outputs[0].type)]
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def with_simplified_subgraphs(eqn: Eqn) -> Eqn:
    changes = {}
    for name, value in fields_of(eqn.op):
        if is_graphs(value):
            subs = tuple(simplify(g) for g in subgraphs(value))
            changes[name] = subs if isinstance(value, tuple) else subs[0]
    return Eqn(dataclasses.replace(eqn.op, **changes), eqn.inputs, eqn.outputs, eqn.source) if changes else eqn


def choose_branch(eqn: Eqn, inputs: list) -> list | None:
    """The results of the branch taken, where the choice is a literal."""
    if not isinstance(eqn.op, Cond) or inputs[0].__class__ is not Lit:
        return None
    graph = simplify(eqn.op.branches[int(inputs[0].value)])
    return replay(graph, inputs[1:], record_eqn)


def of_type(x: Any, t) -> Any:
    """A value as one of type t, up to weakness: a number becomes a literal, what is zero-dimensional is repeated."""
    if isinstance(x, (bool, int, float)):
        x = Lit(x, t.update(shape=()))
    return x if type_of(x).shape == t.shape else lax.broadcast_in_dim(x, t.shape, ())


def simpler(op: Any, inputs: list, inexact: bool) -> Any:
    """A simpler value of op(*inputs), or None."""
    if isinstance(op, Elementwise):
        found = folded(op, inputs)
        if found is not None:
            return found
    if isinstance(op, Reduction):
        return reduce_nothing(op, inputs)
    found = apply_rules(op, inputs, inexact)
    shortcut = SHORTCUTS.get(type(op)) if found is None else None
    return shortcut(op, *inputs) if shortcut else found


def folded(op: Elementwise, inputs: list) -> Any:
    """The literal that an exact operation on literals gives, repeated in its shape."""
    found = [literal_of(x) for x in inputs]
    if not inputs or op.ulp > MOST_ULP or any(x is None for x in found):
        return None
    shape = max((x.type.shape for x in inputs), key=len)
    with np.errstate(all="ignore"):
        value = op.eval(*[np.asarray(x.value) for x in found])
    lit = Lit(value, op.infer(*[x.type for x in found]))
    return lax.broadcast_in_dim(lit, shape, ()) if shape else lit


def reduce_nothing(op: Reduction, inputs: list) -> Any:
    """A fold over axes of size 1 (or none) with one monoid only changes the shape."""
    t = inputs[0].type
    if op.monoid is None or any(t.shape[a] != 1 for a in op.axes):
        return None
    shape = op.infer(t).shape
    again = reshape_again(Reshape(shape), inputs[0])
    return lax.reshape(inputs[0], shape) if again is None else again


# --- views of views: op(x) where x is itself a view ---------------------------------------------------------------

def made_by(x, cls: type) -> Eqn | None:
    made = x.eqn if x.__class__ is Var else None
    return made if made is not None and made.op.__class__ is cls else None


def reshape_again(op: Reshape, x) -> Any:
    if x.type.shape == op.shape:
        return x
    made = made_by(x, Reshape) or made_by(x, BroadcastInDim)
    if made is None or made.inputs[0].type.size != x.type.size:
        return None
    source = made.inputs[0]
    return source if source.type.shape == op.shape else lax.reshape(source, op.shape)


def transpose_again(op: Transpose, x) -> Any:
    if op.permutation == tuple(range(len(op.permutation))):
        return x
    made = made_by(x, Transpose)
    return lax.transpose(made.inputs[0], [made.op.permutation[p] for p in op.permutation]) if made else None


def broadcast_again(op: BroadcastInDim, x) -> Any:
    if x.type.shape == op.shape:
        return x
    made = made_by(x, BroadcastInDim)
    return lax.broadcast_in_dim(made.inputs[0], op.shape, [op.dimensions[d] for d in made.op.dimensions]) if made else None


def reverse_again(op: Rev, x) -> Any:
    if all(x.type.shape[d] == 1 for d in op.dimensions):
        return x
    made = made_by(x, Rev)
    if made is None:
        return None
    rest = sorted({*op.dimensions} ^ {*made.op.dimensions})
    return lax.rev(made.inputs[0], rest) if rest else made.inputs[0]


def slice_again(op: Slice, x) -> Any:
    if op.infer(x.type).shape == x.type.shape:
        return x
    made = made_by(x, Slice)
    if made is None or not op.infer(x.type).size:
        return None
    both = zip(op.start_indices, op.limit_indices, op.strides, made.op.start_indices, made.op.strides)
    cuts = [(a0 + a * s0, a0 + (z - 1) * s0 + 1, s * s0) for a, z, s, a0, s0 in both]
    return lax.slice(made.inputs[0], *zip(*cuts))


def pad_nothing(op: Pad, x, value) -> Any:
    return x if all(config == (0, 0, 0) for config in op.padding_config) else None


def concatenate_one(op: Concatenate, *xs) -> Any:
    some = [x for x in xs if x.type.shape[op.dimension]]
    return some[0] if len(some) == 1 else lax.concatenate(some, op.dimension) if some and len(some) < len(xs) else None


def convert_again(op: ConvertElementType, x) -> Any:
    if x.type.dtype == op.dtype:
        return x
    made = made_by(x, ConvertElementType)
    if made is None or not holds_all(made.op.dtype, made.inputs[0].type.dtype):
        return None
    source = made.inputs[0]
    return source if source.type.dtype == op.dtype else bind(op, source)


def holds_all(wide: np.dtype, dtype: np.dtype) -> bool:
    """Whether each value of a dtype is one of the wide dtype, so that converting to it changes nothing."""
    if wide in NARROW:
        return False
    if dtype.kind == "b":
        return wide.kind != "b"
    if is_integer(dtype) and is_inexact(wide):
        bits = 8 * dtype.itemsize - (dtype.kind == "i")
        return is_float(wide) and bits <= mantissa_bits(wide)
    if is_integer(dtype) and is_integer(wide):
        return np.can_cast(dtype, wide)
    if is_float(dtype) and is_float(wide):
        return wide.itemsize > dtype.itemsize and wide.itemsize >= 4
    return dtype.kind == wide.kind == "c" and wide.itemsize >= dtype.itemsize


def mantissa_bits(dtype: np.dtype) -> int:
    return {2: 8, 4: 24, 8: 53}[dtype.itemsize]


# --- slices that start at known places ----------------------------------------------------------------------------

def known_starts(shape: tuple[int, ...], sizes: tuple[int, ...], starts: tuple) -> list[int] | None:
    if any(start.__class__ is not Lit for start in starts):
        return None
    return [part.start for part in region(shape, sizes, [start.value for start in starts])]


def slice_at_known_place(op: DynamicSlice, x, *starts) -> Any:
    begin = known_starts(x.type.shape, op.slice_sizes, starts)
    if begin is None:
        return None
    cut = Slice(tuple(begin), tuple(a + n for a, n in zip(begin, op.slice_sizes)), (1,) * len(begin))
    again = slice_again(cut, x)
    return bind(cut, x) if again is None else again


def update_at_known_place(op: DynamicUpdateSlice, x, y, *starts) -> Any:
    """`x[a:b] = x[a:b] + y` is x + y in a frame of -0.0, which changes no bits: sums fuse and chains of them stay short."""
    shape, sizes = x.type.shape, y.type.shape
    begin = known_starts(shape, sizes, starts)
    if sizes == shape:
        return y
    if begin is None or x.type.dtype in NARROW or 2 * y.type.size <= x.type.size:
        return None
    made = made_by(y, Add) or made_by(y, Sub)
    for part, other in (made.inputs, made.inputs[::-1])[:1 if isinstance(made.op, Sub) else 2] if made else ():
        read = made_by(part, Slice)
        if read and read.inputs[0] is x and list(read.op.start_indices) == begin and set(read.op.strides) == {1}:
            nothing = Lit(0 if isinstance(made.op, Sub) else -0.0, y.type.update(shape=()))
            frame = [(a, n - a - size, 0) for a, n, size in zip(begin, shape, sizes)]
            whole = other if other.type.shape == sizes else bind(BroadcastInDim(sizes, ()), other)
            return bind(made.op, x, lax.pad(whole, nothing, frame))
    return None


SHORTCUTS: dict[type, Callable] = {
    Reshape: reshape_again, Transpose: transpose_again, BroadcastInDim: broadcast_again, Rev: reverse_again, Slice: slice_again,
    Pad: pad_nothing, Concatenate: concatenate_one, ConvertElementType: convert_again,
    DynamicSlice: slice_at_known_place, DynamicUpdateSlice: update_at_known_place,
}

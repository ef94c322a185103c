"""Collectives over the lanes of an enclosing vmap, by axis name: psum, all_gather, ppermute and so on.

They exist only while a program is being traced: the batch rule of the vmap that binds the name replaces each by
ordinary operations along the batch axis. Rules of other vmaps pass them by.
"""
from __future__ import annotations

import builtins
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tracejit import tree
from tracejit.errors import AxisError, AxisNameError, ShapeError, user_source
from tracejit.ir.trace import bind, bound_axes
from tracejit.ir.types import ArrayType, is_inexact, type_of
from tracejit.lax.broadcast import broadcasted_iota, full, reduce_sum
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.dynamic import dynamic_slice_in_dim
from tracejit.lax.elementwise import add, div, mul
from tracejit.lax.index import index_take
from tracejit.lax.kinds import Op, op_dataclass
from tracejit.lax.reduce import reduce_max, reduce_min
from tracejit.lax.shape import concatenate, reshape, transpose
from tracejit.pytree import tree_flatten, unflatten


def size_of(name: Hashable) -> int:
    """The number of lanes under an axis name; AxisNameError if no enclosing vmap binds it."""
    found = bound_axes()
    if name not in found:
        bound = f"; bound here: {', '.join(map(repr, found))}" if found else ""
        raise AxisNameError(f"unbound axis name: {name!r}{bound}", source=user_source())
    return found[name]


def names_of(axis_name: Any) -> tuple:
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


# --- ops -------------------------------------------------------------------------------------------------------------

@op_dataclass
class Collective(Op):
    """An op over the lanes of the vmap that binds `axis_name`, of which there are `axis_size`."""
    axis_name: Hashable
    axis_size: int
    lane_dependent: ClassVar[bool] = True

    def infer(self, x: ArrayType) -> ArrayType: return x

    def batch(self, ctx, args, batched):
        if ctx.axis_name != self.axis_name:
            return bind(self.one_deeper() if any(batched) else self, *args), any(batched)
        return self.over_lanes(ctx, *args, *batched)

    def one_deeper(self):
        """The same op on operands that got another leading axis."""
        return self

    def over_lanes(self, ctx, x, batched: bool):
        """(result, whether it differs from lane to lane), from an operand with the lanes at axis 0."""
        raise NotImplementedError


@op_dataclass
class Psum(Collective):
    """The sum over lanes."""
    fold: ClassVar[Callable] = staticmethod(reduce_sum)
    linear: ClassVar[bool] = True

    def over_lanes(self, ctx, x, batched):
        if batched:
            return self.fold(x, (0,)), False
        return mul(x, full(type_of(x).shape, ctx.size, type_of(x).dtype)), False

    def transpose(self, ctx, ct, x): return (bind(self, ct),)


@op_dataclass
class Pmax(Collective):
    """The largest over lanes. Lanes that share the largest value share its derivative."""
    fold: ClassVar[Callable] = staticmethod(reduce_max)

    def over_lanes(self, ctx, x, batched):
        return (self.fold(x, (0,)) if batched else x), False

    def jvp(self, ctx, primals, tangents):
        x, t = primals[0], tangents[0]
        out, total = bind(self, x), Psum(self.axis_name, self.axis_size)
        if not is_inexact(type_of(x).dtype):
            return out, None
        chosen = convert_element_type(eq(x, out), type_of(x).dtype)
        return out, div(bind(total, mul(chosen, t)), bind(total, chosen))


@op_dataclass
class Pmin(Pmax):
    """The smallest over lanes."""
    fold: ClassVar[Callable] = staticmethod(reduce_min)


@op_dataclass
class AllGather(Collective):
    """The values of all lanes, stacked along a new axis."""
    axis: int
    linear: ClassVar[bool] = True

    def infer(self, x):
        return x.update(shape=(*x.shape[:self.axis], self.axis_size, *x.shape[self.axis:]))

    def one_deeper(self): return replace(self, axis=self.axis + 1)
    def over_lanes(self, ctx, x, batched): return moved_to(ctx.materialize(x, batched), self.axis), False

    def transpose(self, ctx, ct, x):
        total = bind(Psum(self.axis_name, self.axis_size), ct)
        return (own_part(total, self.axis, self.axis_name, self.axis_size),)


@op_dataclass
class Ppermute(Collective):
    """Lane `target` gets the value of lane `source`, for each pair; zeros where no pair names it."""
    perm: tuple[tuple[int, int], ...]
    linear: ClassVar[bool] = True

    def over_lanes(self, ctx, x, batched):
        x = ctx.materialize(x, batched)
        t = type_of(x)
        zero, source = full((1, *t.shape[1:]), 0, t.dtype), [ctx.size] * ctx.size
        for a, b in self.perm:
            source[b] = a
        return take_rows(concatenate([x, zero], 0), source), True

    def transpose(self, ctx, ct, x):
        return (bind(replace(self, perm=tuple((b, a) for a, b in self.perm)), ct),)


@op_dataclass
class AllToAll(Collective):
    """Lane i's slice j along `split_axis` becomes lane j's slice i along `concat_axis`."""
    split_axis: int
    concat_axis: int
    linear: ClassVar[bool] = True

    def infer(self, x):
        rest = x.shape[:self.split_axis] + x.shape[self.split_axis + 1:]
        return x.update(shape=(*rest[:self.concat_axis], self.axis_size, *rest[self.concat_axis:]))

    def one_deeper(self): return replace(self, split_axis=self.split_axis + 1, concat_axis=self.concat_axis + 1)

    def over_lanes(self, ctx, x, batched):
        x = ctx.materialize(x, batched)
        rest = [d for d in range(1, type_of(x).ndim) if d != self.split_axis + 1]
        rest.insert(self.concat_axis, 0)
        return transpose(x, (self.split_axis + 1, *rest)), True

    def transpose(self, ctx, ct, x):
        return (bind(replace(self, split_axis=self.concat_axis, concat_axis=self.split_axis), ct),)


@op_dataclass
class AxisIndex(Collective):
    """The number of the lane."""

    def infer(self): return ArrayType((), np.dtype("int32"))

    def batch(self, ctx, args, batched):
        if ctx.axis_name != self.axis_name:
            return bind(self), False
        return broadcasted_iota(np.int32, (ctx.size,), 0), True


# --- arrays ----------------------------------------------------------------------------------------------------------

def moved_to(x, axis: int):
    """Axis 0 moved to `axis`."""
    order = list(range(1, type_of(x).ndim))
    order.insert(axis, 0)
    return transpose(x, tuple(order))


def take_rows(x, rows: list[int]):
    """Rows of x by number."""
    n = len(rows)
    pieces = index_take(x, (np.asarray(rows, np.int32),), (0,))
    return reshape(pieces, (n, *type_of(x).shape[1:]))


def own_part(x, axis: int, name: Hashable, size: int):
    """The slice along an axis, which goes away, whose number is the lane's."""
    piece = dynamic_slice_in_dim(x, bind(AxisIndex(name, size)), 1, axis)
    shape = type_of(x).shape
    return reshape(piece, shape[:axis] + shape[axis + 1:])


def each(x: Any, f: Callable) -> Any:
    leaves, tree = tree_flatten(x)
    return unflatten(tree, [f(leaf) for leaf in leaves])


def is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, complex, np.generic))


@dataclass
class Groups:
    """Lanes that work together: row i of `members` has the lanes of lane i's group, `place` its place among them."""
    name: Hashable
    members: np.ndarray
    place: np.ndarray

    @property
    def size(self) -> int: return self.members.shape[1]

    def rows(self, x: Any) -> Any:
        """The values of the lane's group along a new leading axis."""
        lane, size = axis_index(self.name), len(self.members)
        own = reshape(dynamic_slice_in_dim(self.members, lane, 1, 0), (self.size,))
        everywhere = bind(AllGather(self.name, size, 0), x)
        return reshape(index_take(everywhere, (own,), (0,)), (self.size, *type_of(x).shape))

    def own_place(self) -> Any:
        return reshape(dynamic_slice_in_dim(self.place, axis_index(self.name), 1, 0), ())


def groups_of(what: str, groups: Any, axis_name: Any) -> Groups | None:
    """axis_index_groups as given: equally many lanes in each, and every lane in one."""
    if groups is None:
        return None
    (name,) = names_of(axis_name)
    groups = [[int(i) for i in group] for group in groups]
    if sorted(i for group in groups for i in group) != list(range(size_of(name))) or len({len(group) for group in groups}) != 1:
        raise ValueError(f"{what}: axis_index_groups must be equally long and name each of the {size_of(name)} lanes once, "
                         f"got {groups}")
    members, place = np.empty((size_of(name), len(groups[0])), np.int32), np.empty(size_of(name), np.int32)
    for group in groups:
        members[group], place[group] = group, np.arange(len(group))
    return Groups(name, members, place)


def axis_in(what: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise AxisError(f"{what}: axis {axis} is out of range for {ndim} axes", source=user_source())
    return axis % ndim


# --- public functions ------------------------------------------------------------------------------------------------

def reduced(what: str, op: type[Collective], x: Any, axis_name: Any, axis_index_groups: Any) -> Any:
    groups = groups_of(what, axis_index_groups, axis_name)
    positions = [axis for axis in names_of(axis_name) if isinstance(axis, int)]
    names = [(name, size_of(name)) for name in names_of(axis_name) if not isinstance(name, int)]

    def one(leaf: Any) -> Any:
        if type_of(leaf).dtype == bool and op is Psum:
            leaf = convert_element_type(leaf, np.int32)
        if positions:
            leaf = op.fold(leaf, tuple([axis_in(what, axis, type_of(leaf).ndim) for axis in positions]))
        if groups:
            return leaf * groups.size if op is Psum and is_number(leaf) else op.fold(groups.rows(leaf), (0,))
        for name, size in names:
            leaf = leaf * size if op is Psum and is_number(leaf) else bind(op(name, size), leaf)
        return leaf
    return tree.map(one, x)


def psum(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The sum of x (a pytree) over the lanes of the vmap that has this axis name, or of several. A number gives a number.

    An integer among the names is an axis of x itself (psum, pmax, pmin). With axis_index_groups, here and below, over the
    lanes of each lane's group: lists of lanes, equally long, that name each once.

    >>> import tracejit as tj
    >>> tj.vmap(lambda x: x / lax.psum(x, "i"), axis_name="i")(np.array([1., 3.]))
    Array([0.25, 0.75], dtype=float64)
    """
    return reduced("psum", Psum, x, axis_name, axis_index_groups)


def pmean(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The mean of x over the lanes.

    >>> import tracejit as tj
    >>> tj.vmap(lambda x: x - lax.pmean(x, "i"), axis_name="i")(np.array([1., 3.]))
    Array([-1.,  1.], dtype=float64)
    """
    total = psum(x, axis_name, axis_index_groups=axis_index_groups)
    n = psum(1, axis_name, axis_index_groups=axis_index_groups)

    def mean(leaf: Any) -> Any:
        if is_number(leaf):
            return leaf / n
        t = type_of(leaf)
        if not is_inexact(t.dtype):
            leaf = convert_element_type(leaf, np.float32)
            t = type_of(leaf)
        return div(leaf, full(t.shape, n, t.dtype))
    return each(total, mean)


def pmax(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The largest of x over the lanes, element by element."""
    return reduced("pmax", Pmax, x, axis_name, axis_index_groups)


def pmin(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The smallest of x over the lanes, element by element."""
    return reduced("pmin", Pmin, x, axis_name, axis_index_groups)


def axis_index(axis_name: Any) -> Any:
    """The number of the lane, int32; of several names the last counts fastest.

    >>> import tracejit as tj
    >>> tj.vmap(lambda x: x + lax.axis_index("i"), axis_name="i")(np.zeros(3, np.int32))
    Array([0, 1, 2], dtype=int32)
    """
    index = None
    for name in names_of(axis_name):
        size = size_of(name)
        here = bind(AxisIndex(name, size))
        index = here if index is None else add(mul(index, np.int32(size)), here)
    return index


def axis_size(axis_name: Any) -> int:
    """The number of lanes."""
    return psum(1, axis_name)


def all_gather(x: Any, axis_name: Any, *, axis_index_groups: Any = None, axis: int = 0, tiled: bool = False,
               to: str = "varying") -> Any:
    """The values of x of all lanes, along a new axis; with tiled=True one after the other along that axis of x.

    >>> import tracejit as tj
    >>> tj.vmap(lambda x: lax.all_gather(x, "i"), axis_name="i")(np.array([1, 2]))
    Array([[1, 2],
           [1, 2]], dtype=int64)
    """
    groups = groups_of("all_gather", axis_index_groups, axis_name)

    def one(leaf: Any) -> Any:
        t = type_of(leaf)
        at, shape = axis_in("all_gather", axis, t.ndim + (not tiled)), t.shape
        n = groups.size if groups else 1
        if groups:
            leaf = moved_to(groups.rows(leaf), at)
        for name in () if groups else reversed(names_of(axis_name)):
            leaf = bind(AllGather(name, size_of(name), at), leaf)
            n *= size_of(name)
            leaf = reshape(leaf, (*shape[:at], n, *shape[at:]))
        return reshape(leaf, (*shape[:at], n * shape[at], *shape[at + 1:])) if tiled else leaf
    return each(x, one)


def psum_scatter(x: Any, axis_name: Any, *, scatter_dimension: int = 0, axis_index_groups: Any = None,
                 tiled: bool = False) -> Any:
    """The sum over lanes, of which each lane keeps its own slice along an axis (with tiled=True its own block)."""
    groups = groups_of("psum_scatter", axis_index_groups, axis_name)
    n = groups.size if groups else psum(1, axis_name)
    place = groups.own_place() if groups else axis_index(axis_name)

    def one(leaf: Any) -> Any:
        at = axis_in("psum_scatter", scatter_dimension, type_of(leaf).ndim)
        shape = type_of(leaf).shape
        if shape[at] % n or not tiled and shape[at] != n:
            raise ShapeError(f"psum_scatter: axis {at} of {type_of(leaf)} cannot be split among {n} lanes",
                             source=user_source())
        block = shape[at] // n
        total = psum(leaf, axis_name, axis_index_groups=axis_index_groups)
        start = mul(place, np.int32(block))
        piece = dynamic_slice_in_dim(total, start, block, at)
        return piece if tiled else reshape(piece, shape[:at] + shape[at + 1:])
    return each(x, one)


def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """x moved between lanes: for each (source, target), the target gets the source's; lanes that no pair names get zeros.

    >>> import tracejit as tj
    >>> tj.vmap(lambda x: lax.ppermute(x, "i", [(0, 1), (1, 2)]), axis_name="i")(np.array([1, 2, 3]))
    Array([0, 1, 2], dtype=int64)
    """
    (name,) = names_of(axis_name)
    size, pairs = size_of(name), tuple((int(a), int(b)) for a, b in perm)
    sources, targets = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(sources)) < len(sources) or len(set(targets)) < len(targets):
        raise ValueError(f"ppermute: sources and targets must be unique, got {perm}")
    if any(not 0 <= i < size for i in sources + targets):
        raise ValueError(f"ppermute: lanes must be in [0, {size}), got {perm}")
    return each(x, lambda leaf: bind(Ppermute(name, size, pairs), leaf))


def pshuffle(x: Any, axis_name: Any, perm: Sequence[int]) -> Any:
    """Lane i gets the value of lane perm[i]."""
    if sorted(perm) != list(range(len(perm))):
        raise ValueError(f"pshuffle: {perm} is not a permutation")
    return ppermute(x, axis_name, list(zip(perm, range(len(perm)))))


def pswapaxes(x: Any, axis_name: Any, axis: int, *, axis_index_groups: Any = None) -> Any:
    """Swap the lanes with an axis of x, which must be as long."""
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


def all_to_all(x: Any, axis_name: Any, split_axis: int, concat_axis: int, *, axis_index_groups: Any = None,
               tiled: bool = False) -> Any:
    """Lane i's slice j along split_axis becomes lane j's slice i along concat_axis (with tiled=True: blocks)."""
    (name,) = names_of(axis_name)
    groups = groups_of("all_to_all", axis_index_groups, axis_name)
    size = groups.size if groups else size_of(name)

    def exchanged(leaf: Any, split: int, concat: int) -> Any:
        if groups is None:
            return bind(AllToAll(name, size, split, concat), leaf)
        rows = dynamic_slice_in_dim(groups.rows(leaf), groups.own_place(), 1, split + 1)
        shape = type_of(rows).shape
        return moved_to(reshape(rows, shape[:split + 1] + shape[split + 2:]), concat)

    def one(leaf: Any) -> Any:
        t = type_of(leaf)
        split, concat = axis_in("all_to_all", split_axis, t.ndim), axis_in("all_to_all", concat_axis, t.ndim)
        if t.shape[split] % size or not tiled and t.shape[split] != size:
            raise ShapeError(f"all_to_all: axis {split} of {t} cannot be split among {size} lanes", source=user_source())
        if not tiled:
            return exchanged(leaf, split, concat)
        leaf = reshape(leaf, (*t.shape[:split], size, t.shape[split] // size, *t.shape[split + 1:]))
        out = exchanged(leaf, split, concat)
        shape = type_of(out).shape
        return reshape(out, (*shape[:concat], shape[concat] * shape[concat + 1], *shape[concat + 2:]))
    return each(x, one)


def pbroadcast(x: Any, axis_name: Any, source: int) -> Any:
    """The value of lane `source` on every lane."""
    is_source = eq(axis_index(axis_name), np.int32(source))

    def one(leaf: Any) -> Any:
        t = type_of(leaf)
        mask = is_source if not t.ndim else broadcast_mask(is_source, t.shape)
        return psum(select(mask, leaf, full(t.shape, 0, t.dtype)), axis_name)
    return each(x, one)


def broadcast_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    return full(shape, mask, np.dtype(bool))


def pvary(x: Any, axis_name: Any) -> Any:
    """x itself: every value here may differ from lane to lane."""
    builtins.any(size_of(name) for name in names_of(axis_name))
    return x

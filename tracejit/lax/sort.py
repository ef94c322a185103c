"""Sorting and selection: several arrays by lexicographic keys (`Sort`), the k largest elements (`TopK`).

Sorting orders floats with nan last and -0.0 equal to 0.0; complex numbers by real part, then imaginary part.
"""
from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, is_float, type_of
from tracejit.lax import long_sort, sort_network
from tracejit.lax.broadcast import axis_of, broadcasted_iota, full
from tracejit.lax.elementwise import neg
from tracejit.lax.index import GatherDimensionNumbers, GatherScatterMode, gather
from tracejit.lax.kinds import Opaque, has_tangent, op_dataclass
from tracejit.lax.radix import (FEW, Strided, alone, place_areas, select_largest, sort_places, sort_values, store_places,
                                take_sorted)
from tracejit.lax.reference import is_half
from tracejit.lax.shape import reshape
from tracejit.lax.shares import Shares


def order_bits(x: np.ndarray, total: bool = False) -> np.ndarray:
    """NumPy: integers that compare as the numbers do. `total` tells -0.0 from 0.0 and -nan from nan."""
    if not is_float(x.dtype):
        return x.view(np.uint8) if x.dtype.kind == "b" else x
    if not total:
        x = np.where(np.isnan(x), np.array(np.nan, x.dtype), np.where(x == 0, np.zeros((), x.dtype), x))
    dense = x if x.flags.c_contiguous else np.ascontiguousarray(x).reshape(x.shape)
    bits = dense.view(f"i{x.dtype.itemsize}")
    return np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)


def key_columns(x: np.ndarray) -> list[np.ndarray]:
    parts = [x.real, x.imag] if x.dtype.kind == "c" else [x]
    return [order_bits(part) for part in parts]


def take_along(x: Any, where: Any, axis: int):
    """x at positions `where` along an axis; x and where have the same other axes."""
    if not type_of(x).size:
        return full(type_of(where).shape, 0, type_of(x).dtype)
    t, others = type_of(x), tuple(a for a in range(type_of(x).ndim) if a != axis)
    numbers = GatherDimensionNumbers((), (axis,), (axis,), others, others)
    index = reshape(where, (*type_of(where).shape, 1))
    return gather(x, index, numbers, (1,) * t.ndim, unique_indices=True, mode=GatherScatterMode.PROMISE_IN_BOUNDS)


def lanes_along(t: ArrayType, axis: int) -> Strided:
    return Strided(t.shape[axis], math.prod(t.shape[:axis]), math.prod(t.shape[axis + 1:]))


def work_areas(b: Any, where: Strided, areas: list) -> list:
    """The work areas of the only share."""
    return [b.scratch(offset) for offset in share_lanes(where, areas).offsets[:-1]]


def share_lanes(where: Strided, areas: list) -> Shares:
    return Shares.of(where.lanes if where.n else 0, areas)


@op_dataclass
class Sort(Opaque):
    """Reorders all operands along one axis so that the first `num_keys` of them ascend, the first before the second."""
    dimension: int
    num_keys: int = 1
    is_stable: bool = True
    multiple: ClassVar[bool] = True

    def infer(self, *types: ArrayType) -> tuple[ArrayType, ...]:
        return types

    def eval(self, *arrays):
        columns = [column for x in arrays[:self.num_keys] for column in key_columns(np.asarray(x))]
        order = np.lexsort(columns[::-1], axis=self.dimension)
        return tuple(np.take_along_axis(x, order, self.dimension) for x in arrays)

    def jvp(self, ctx, primals, tangents):
        """Tangents move as their values do."""
        position = broadcasted_iota(np.int32, type_of(primals[0]).shape, self.dimension)
        *outs, where = bind(self, *primals, position)
        return outs, [None if t is None else take_along(t, where, self.dimension) for t in tangents]

    def batch(self, ctx, args, batched):
        moved = dataclasses.replace(self, dimension=self.dimension + 1)
        return bind(moved, *[ctx.materialize(x, b) for x, b in zip(args, batched)]), (True,) * len(args)

    def areas(self, types) -> list[tuple[int, np.dtype]]:
        where, dtype = lanes_along(types[0], self.dimension), types[0].dtype
        if long_sort.is_long(where):
            return long_sort.value_areas(dtype, where.n) if self.values_only(types) else long_sort.place_areas(where.n)
        return alone(dtype).bytes(where.n) if self.values_only(types) else place_areas(where.n)

    def values_only(self, types) -> bool:
        return len(types) == 1 and types[0].dtype.kind != "c"

    def shares(self, types) -> Shares:
        where, dtypes = lanes_along(types[0], self.dimension), [t.dtype for t in types]
        by_network = sort_network.suits(where, dtypes, self.num_keys)
        return sort_network.groups_of(where, dtypes) if by_network else share_lanes(where, self.areas(types))

    def scratch_bytes(self, types): return self.shares(types).nbytes

    def device_call(self, runtime, ins, outs):
        """A stable sort by each key, the last first, with functions that CuPy has too."""
        arrays, order = [runtime.array(x) for x in ins], None
        for key in reversed(arrays[:self.num_keys]):
            key = key.astype(np.float32) if is_half(key.dtype) else key
            key = key if order is None else np.take_along_axis(key, order, self.dimension)
            step = np.argsort(key, axis=self.dimension, kind="stable")
            order = step if order is None else np.take_along_axis(order, step, self.dimension)
        for x, out in zip(arrays, outs):
            runtime.array(out)[...] = np.take_along_axis(x, order, self.dimension)

    def call(self, b, ins, outs, types):
        where, dtypes = lanes_along(types[0], self.dimension), [t.dtype for t in types]
        if long_sort.is_long(where):
            return self.call_long(b, ins, outs, dtypes, where.n, work_areas(b, where, self.areas(types)))

        by_network = sort_network.suits(where, dtypes, self.num_keys)

        def emit(f, pointers, areas):
            sources, targets = pointers[:len(ins)], pointers[len(ins):]
            if by_network:
                return sort_network.emit(f, where, sources, targets, *areas, dtypes)
            if self.values_only(types):
                return sort_values(f, where, sources[0], targets[0], areas, dtypes[0])
            found = sort_places(f, where, sources, areas, dtypes[:self.num_keys])
            for source, target, dtype in zip(sources, targets, dtypes):
                take_sorted(f, where, *found, source, target, dtype, where.n)
        self.shares(types).run(b, [*ins, *outs], emit)

    def call_long(self, b, ins, outs, dtypes: list[np.dtype], n: int, areas: list):
        if len(dtypes) == 1 and dtypes[0].kind != "c":
            return long_sort.sort_values(b, n, ins[0], outs[0], areas, dtypes[0])
        if long_sort.makes_pairs(dtypes, self.num_keys):
            return long_sort.sort_pairs(b, n, ins, outs, areas, dtypes)
        found = long_sort.sort_places(b, n, ins, areas, dtypes[:self.num_keys])
        one_column = self.num_keys == 1 and dtypes[0].kind != "c"
        for k, (source, target, dtype) in enumerate(zip(ins, outs, dtypes)):
            take = long_sort.take_keys if one_column and k == 0 else long_sort.take_sorted
            take(b, n, *found, source, target, dtype)


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1):
    """Sorts along an axis. A sequence of arrays of one shape is reordered by its first `num_keys` members.

    Equal keys keep their order. nan comes last; complex numbers compare by real part, then imaginary part.
    Raises ShapeError for different shapes or an axis that is not there.

    >>> import numpy as np
    >>> np.asarray(sort(np.int32([3, 1, 2])))
    array([1, 2, 3], dtype=int32)
    """
    several = isinstance(operand, (tuple, list))
    operands = list(operand) if several else [operand]
    if not operands:
        raise TypeError("sort needs at least one operand")
    types = [type_of(x) for x in operands]
    if any(t.shape != types[0].shape for t in types):
        raise ShapeError(f"sort: operands {', '.join(map(str, types))} have different shapes",
                         fix="broadcast them to one shape first")
    if not 1 <= num_keys <= len(operands):
        raise ValueError(f"sort: num_keys={num_keys} must be between 1 and the number of operands, {len(operands)}")
    outs = bind(Sort(axis_of("sort", dimension, types[0].ndim, from_end=True), int(num_keys), bool(is_stable)), *operands)
    return tuple(outs) if several else outs[0]


def sort_key_val(keys: Any, values: Any, dimension: int = -1, is_stable: bool = True):
    """(sorted keys, values in the same order); shapes must be equal.

    >>> import numpy as np
    >>> np.asarray(sort_key_val(np.int32([3, 1, 2]), np.int32([30, 10, 20]))[1])
    array([10, 20, 30], dtype=int32)
    """
    return sort((keys, values), dimension, is_stable, 1)


@op_dataclass
class TopK(Opaque):
    """The k largest elements along an axis, largest first, and their positions; of equals, the first."""
    k: int
    axis: int
    multiple: ClassVar[bool] = True
    dispatches: ClassVar[bool] = True

    def infer(self, x: ArrayType) -> tuple[ArrayType, ArrayType]:
        shape = (*x.shape[:self.axis], self.k, *x.shape[self.axis + 1:])
        return ArrayType(shape, x.dtype, x.weak_type), ArrayType(shape, np.dtype("int32"))

    def eval(self, x):
        order = np.argsort(~order_bits(x, total=True), axis=self.axis, kind="stable")
        where = order[(*[slice(None)] * self.axis, slice(self.k))]
        return np.take_along_axis(x, where, self.axis), where.astype(np.int32)

    def jvp(self, ctx, primals, tangents):
        values, where = bind(self, *primals)
        if not has_tangent(values):
            return [values, where], [None, None]
        return [values, where], [take_along(tangents[0], where, self.axis), None]

    def batch(self, ctx, args, batched):
        return bind(TopK(self.k, self.axis + 1), *args), (True, True)

    def scratch_bytes(self, types): return share_lanes(lanes_along(types[0], self.axis), self.areas(types)).nbytes

    def areas(self, types):
        where = lanes_along(types[0], self.axis)
        return (long_sort.place_areas if self.sorts_long(where) else place_areas)(where.n)

    def selects(self, where: Strided) -> bool: return 0 < self.k <= min(FEW, where.n // 4)
    def sorts_long(self, where: Strided) -> bool: return long_sort.is_long(where) and self.k > 0 and not self.selects(where)

    def call(self, b, ins, outs, types):
        where, dtype = lanes_along(types[0], self.axis), types[0].dtype
        if self.sorts_long(where):
            areas, how = work_areas(b, where, self.areas(types)), {"total": True, "descending": True}
            found = long_sort.sort_places(b, where.n, ins, areas, [dtype], **how)
            long_sort.take_keys(b, self.k, *found, ins[0], outs[0], dtype, **how)
            return long_sort.store_places(b, self.k, *found, outs[1])

        def emit(f, pointers, areas):
            source, values, places = pointers
            if self.selects(where):
                found = select_largest(f, where, source, areas, dtype, self.k)
            else:
                found = sort_places(f, where, [source], areas, [dtype], total=True, descending=True)
            take_sorted(f, where, *found, source, values, dtype, self.k)
            store_places(f, where, *found, places, self.k)
        share_lanes(where, self.areas(types)).run(b, [*ins, *outs], emit)


def top_k(operand: Any, k: int, *, axis: int = -1):
    """The k largest elements along an axis, in descending order, and their int32 positions.

    nan counts as the largest number. Raises ValueError where the axis has fewer than k elements.

    >>> import numpy as np
    >>> [np.asarray(x).tolist() for x in top_k(np.int32([5, 9, 7]), 2)]
    [[9, 7], [1, 2]]
    """
    t = type_of(operand)
    if t.dtype.kind == "c":
        raise DtypeError(f"top_k: complex numbers of {t} are not ordered", fix="select by lax.real(x) or abs(x)")
    axis, k = axis_of("top_k", axis, t.ndim, from_end=True), int(k)
    if t.shape[axis] > np.iinfo(np.int32).max:
        raise ValueError(f"top_k returns int32 indices, which will overflow for axes of more than 2**31 - 1 elements; got {t}")
    if not 0 <= k <= t.shape[axis]:
        raise ShapeError(f"top_k: k={k} but axis {axis} of {t} has {t.shape[axis]} elements",
                         fix=f"take at most {t.shape[axis]}")
    values, where = bind(TopK(k, axis), operand)
    return [values, where]


def approx_max_k(operand: Any, k: int, reduction_dimension: int = -1, recall_target: float = 0.95,
                 reduction_input_size_override: int = -1, aggregate_to_topk: bool = True):
    """The k largest elements along an axis and their positions; exact, so the recall is always 1.

    >>> import numpy as np
    >>> np.asarray(approx_max_k(np.float32([5, 9, 7]), 1)[1])
    array([1], dtype=int32)
    """
    check_float_operand(operand, "approx_max_k")
    return list(top_k(operand, k, axis=reduction_dimension))


def approx_min_k(operand: Any, k: int, reduction_dimension: int = -1, recall_target: float = 0.95,
                 reduction_input_size_override: int = -1, aggregate_to_topk: bool = True):
    """The k smallest elements along an axis and their positions; exact, so the recall is always 1.

    >>> import numpy as np
    >>> np.asarray(approx_min_k(np.float32([5, 9, 7]), 1)[1])
    array([0], dtype=int32)
    """
    check_float_operand(operand, "approx_min_k")
    values, where = top_k(neg(operand), k, axis=reduction_dimension)
    return neg(values), where


def check_float_operand(operand: Any, what: str) -> None:
    if not is_float(type_of(operand).dtype):
        raise ValueError(f"{what}: operand must be an array of floats, got {type_of(operand)}")


__all__ = ["sort", "sort_key_val", "top_k", "approx_max_k", "approx_min_k"]

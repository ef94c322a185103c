"""Reading and writing at places that are computed: gather and the scatter family, each other's transposes."""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from ml_dtypes import iinfo

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.graph import Graph, replay
from tracejit.ir.trace import bind, record_eqn, trace
from tracejit.ir.types import ArrayType, kind_of, short_name, type_of
from tracejit.lax.broadcast import full, full_like, ints, iota, is_own
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import convert_element_type, of_one_dtype
from tracejit.lax.elementwise import Add, Max, Min, Mul, add, div, mul, neg, rem
from tracejit.lax.kinds import Elementwise, Op, Opaque, View, has_tangent, hull, is_linear, op_dataclass
from tracejit.lax.native import emit_scalars, eval_scalars, offset_of
from tracejit.lax.reduce import highest, lowest
from tracejit.lax.shape import concatenate, expand_dims, reshape
from tracejit.lax.updates import by_columns, by_parts, column_shares, parts_of, pitch
from tracejit.lax.window_checks import check_dimensions
from tracejit.lax.windows import GatherDimensionNumbers as GatherDimensionNumbers
from tracejit.lax.windows import GatherScatterMode as GatherScatterMode
from tracejit.lax.windows import ScatterDimensionNumbers as ScatterDimensionNumbers
from tracejit.lax.windows import Windows


def moved(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes after a new first one was put before them."""
    return tuple([a + 1 for a in axes])


@op_dataclass
class Indexed(Op):
    """What gather and scatter have in common: their geometry, and what to do outside the operand."""
    offset_dims: tuple[int, ...]
    collapsed: tuple[int, ...]
    index_map: tuple[int, ...]
    operand_batching: tuple[int, ...]
    indices_batching: tuple[int, ...]
    sizes: tuple[int, ...]
    mode: str
    unique: bool = False

    @property
    def windows(self) -> Windows:
        return Windows(self.offset_dims, self.collapsed, self.index_map, self.operand_batching, self.indices_batching,
                       self.sizes)

    @property
    def clips(self) -> bool:
        return self.mode != "fill"

    def checked(self, ctx, args):
        shape = type_of(args[0]).shape
        ctx.outside(shape, self.index_map, args[1], [shape[d] - self.sizes[d] for d in self.index_map])
        return super().checked(ctx, args)

    def batched_op(self, size: int, operand: bool, indices: bool) -> Indexed:
        """The same over a leading batch axis of the operand, of the indices, or of both."""
        own = dataclasses.replace(self, offset_dims=moved(self.offset_dims))
        if operand:
            own = dataclasses.replace(own, collapsed=moved(self.collapsed), index_map=moved(self.index_map),
                                      operand_batching=moved(self.operand_batching), sizes=(1, *self.sizes))
        if not indices:
            return dataclasses.replace(own, offset_dims=(0, *own.offset_dims), sizes=(size, *self.sizes))
        own = dataclasses.replace(own, indices_batching=moved(self.indices_batching))
        if not operand:
            return own
        return dataclasses.replace(own, operand_batching=(0, *own.operand_batching),
                                   indices_batching=(0, *own.indices_batching))


@op_dataclass
class Gather(Indexed, View):
    """out[batch, window] = operand[indices[batch] + window]; outside, the fill value or the nearest window."""
    fill_value: Any = None
    linear: ClassVar[bool] = True

    def infer(self, operand, indices):
        self.windows.check("gather", operand, indices)
        return ArrayType(self.windows.result_shape(indices.shape), operand.dtype, operand.weak_type)

    def fill(self, dtype: np.dtype) -> Any:
        if self.fill_value is not None:
            return self.fill_value
        return np.nan if kind_of(dtype) not in "biu" else True if dtype.kind == "b" else (
            iinfo(dtype).min if kind_of(dtype) == "i" else iinfo(dtype).max)

    def bounds(self, types, operand, indices):
        fill = int(self.fill(types[0].dtype)) if types[0].dtype.kind in "biu" and not self.clips else operand[0]
        return hull(operand, (fill, fill))

    def eval(self, operand, indices):
        shape = self.windows.result_shape(indices.shape)
        if not operand.size:
            return np.full(shape, self.fill(operand.dtype), operand.dtype)
        place, inside = self.windows.places(shape, operand.shape, indices)
        out = np.broadcast_to(operand[place], shape)
        return out if self.clips else np.where(inside, out, np.asarray(self.fill(operand.dtype)).astype(operand.dtype))

    def pull(self, b, index, read, types):
        fill = b.const(self.fill(types[0].dtype), types[0].dtype)
        if not types[0].size:
            return fill
        place, inside = self.windows.at(b, index, lambda i: read(1, i), types[0], self.clips)
        element = read(0, place)  # safe wherever the window is meant to lie: `place` is clamped
        return b.select(functools.reduce(b.and_, inside), element, fill) if inside else element

    def jvp(self, ctx, primals, tangents):
        out = bind(self, *primals)
        if tangents[0] is None or not has_tangent(out):
            return out, None
        return out, bind(dataclasses.replace(self, fill_value=0), tangents[0], primals[1])

    def transpose(self, ctx, ct, operand, indices):
        zeros = full(operand.shape, 0, operand.dtype)
        return bind(scatter_like(self, ScatterAdd), zeros, indices, ct), None

    def batch(self, ctx, args, batched): return bind(self.batched_op(ctx.size, *batched), *args), True


def scatter_like(op: Indexed, kind: type[Scatter]) -> Scatter:
    return kind(*[getattr(op, f.name) for f in dataclasses.fields(Indexed)])


def gather_like(op: Scatter, **how: Any) -> Gather:
    """The gather that reads the elements that a scatter writes, and zeros outside."""
    return Gather(*[getattr(op, f.name) for f in dataclasses.fields(Indexed)], **{"fill_value": 0, **how})


def gather(operand: Any, start_indices: Any, dimension_numbers: GatherDimensionNumbers, slice_sizes: Sequence[int], *,
           unique_indices: bool = False, indices_are_sorted: bool = False, mode: str | GatherScatterMode | None = None,
           fill_value: Any = None) -> Any:
    """Windows of operand, of slice_sizes, that start at the vectors along the last axis of start_indices.

    The dimension numbers are XLA's. A window that does not lie in the operand is, by mode, filled (with fill_value,
    else nan or the farthest integer), moved inside, or undefined.

    >>> numbers = GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
    >>> print(gather(np.array([[1, 2], [3, 4]]), np.array([[1], [0], [1]]), numbers, (1, 2)))
    [[3 4]
     [1 2]
     [3 4]]
    """
    mode = GatherScatterMode.from_any(GatherScatterMode.PROMISE_IN_BOUNDS if mode is None else mode)
    numbers, t = tuple(map(ints, dimension_numbers)), type_of(start_indices)
    check_dimensions("gather", numbers, len(numbers[0]) + t.ndim - 1, type_of(operand), t)
    op = Gather(*numbers, ints(slice_sizes), mode.value, bool(unique_indices), fill_value)
    return bind(op, operand, start_indices)


FEW_UPDATES = 256       # which a GPU adds in their order
ATOMIC = ("i32", "i64", "u32", "u64")       # what a GPU can add to in memory, and with one result in any order


WRITTEN_OUT = 4         # steps along the row of a window without a loop


def vector_spans(n: int, lanes: int) -> list[tuple[int, int, int]]:
    """(start, stop, lanes) that cover n elements: full vectors, then ever narrower ones for what is left."""
    spans, start = [], 0
    while lanes:
        stop = n - (n - start) % lanes
        spans += [(start, stop, lanes)] if start < stop else []
        start, lanes = stop, lanes // 2
    return spans


# --- scatter -----------------------------------------------------------------------------------------------------

@op_dataclass
class Scatter(Indexed, Opaque):
    """operand with windows replaced by the updates, one after another: of two for one element the later stays."""
    moves: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    accepts: ClassVar[str] = "biufcV"
    overwrites: ClassVar[int | None] = 0
    atomic: ClassVar[bool] = False      # it adds

    def infer(self, operand, indices, updates):
        self.windows.check(self.name, operand, indices)
        if operand.dtype != updates.dtype:
            raise DtypeError(f"{self.name}: cannot write {updates} into {operand}", source=user_source(),
                             fix="convert the updates with lax.convert_element_type")
        if updates.shape != self.windows.result_shape(indices.shape):
            raise ShapeError(f"{self.name}: Bounds of the scatter dimensions of updates must be those of the indices: updates must "
                             f"have shape {self.windows.result_shape(indices.shape)}, not {updates.shape}",
                             source=user_source(), fix="see ScatterDimensionNumbers")
        return ArrayType(operand.shape, self.accepted(operand.dtype), operand.weak_type and updates.weak_type)

    def bounds(self, types, operand, indices, updates):
        return hull(operand, updates) if type(self) is Scatter else None

    def combine(self, b, old, new):
        """What becomes of an element that an update falls on, against the Builder."""
        return new

    def call(self, b, ins, outs, types):
        """A copy of the operand, and native loops over the updates in order, by vectors along a common last axis."""
        operand, indices, updates = types
        b.emitter.copy(outs[0], ins[0], operand.nbytes)
        if updates.size:
            write = by_columns if column_shares(self, types) > 1 else type(self).write_all
            write(self, b, outs[0], *ins[1:], types)

    def write_all(self, b, target, where, source, types, ends=None, columns=None):
        """Write the updates in order; `ends` limits their first batch axis, `columns` the last axis of each window."""
        operand, indices, updates = types
        axes = self.windows.batch_axes(updates.ndim)
        ranges = [(0, updates.shape[a]) for a in axes]
        if ends is not None:
            ranges[0] = ends
        with contextlib.ExitStack() as loops:
            batch = [loops.enter_context(b.loop(*ends)).index for ends in ranges]
            begin, inside = self.windows.native(b, batch, where, operand, indices, self.clips)
            write = lambda: self.write_window(b, target, source, types, batch, begin, columns)
            write() if inside is None else b.when(inside, write)

    def order(self, shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The positions of the updates in the order in which they are written: windows one after another."""
        axes = [*self.windows.batch_axes(len(shape)), *self.offset_dims]
        for at in itertools.product(*[range(shape[a]) for a in axes]):
            yield tuple(at[axes.index(a)] for a in range(len(shape)))

    def apart(self, ndim: int, atomic: bool = False) -> list[int]:
        """The axes of the updates whose positions never fall on one element of the operand: all, where no two windows meet;
        else those that the index vectors do not move along, and those that the operand is batched along."""
        if self.unique or atomic:
            return list(range(ndim))
        batch = self.windows.batch_axes(ndim)
        moving = {d for d in self.index_map if self.sizes[d] > 1}
        windows = [a for a, d in zip(self.offset_dims, self.windows.window_axes()) if d not in moving]
        return sorted([*windows, *[batch[k] for k in self.indices_batching]])

    def is_atomic(self, types) -> bool:
        """Whether a GPU's threads may combine in any order: where it has the instruction, and the order does not matter."""
        return self.atomic and types[2].size > FEW_UPDATES and short_name(types[0].dtype) in ATOMIC

    def device_lanes(self, types):
        return math.prod(types[2].shape[a] for a in self.apart(types[2].ndim, self.is_atomic(types)))

    def device_lane(self, b, lane, ins, outs, types):
        """The updates at one position of the axes that are `apart`, one after another."""
        operand, indices, updates = types
        atomic = self.is_atomic(types)
        apart, batch, index = self.apart(updates.ndim, atomic), self.windows.batch_axes(updates.ndim), {}
        for a in reversed(apart):
            whole = b.div(lane, updates.shape[a])
            index[a], lane = b.sub(lane, b.mul(whole, updates.shape[a])), whole
        with contextlib.ExitStack() as loops:
            for a in [*batch, *self.offset_dims]:
                if a not in index:
                    index[a] = loops.enter_context(b.loop(0, updates.shape[a])).index
            begin, inside = self.windows.native(b, [index[a] for a in batch], ins[1], operand, indices, self.clips)
            for a, d in zip(self.offset_dims, self.windows.window_axes()):
                begin[d] = b.add(begin[d], index[a])
            to = lambda: b.gep(outs[0], offset_of(b, begin, operand.shape), operand.dtype)
            read = lambda: b.gep(ins[2], offset_of(b, [index[d] for d in range(updates.ndim)], updates.shape), updates.dtype)
            element = self.add_element if atomic and not self.unique else self.write_elements
            write = lambda: element(b, to(), read(), operand.dtype, 1)
            write() if inside is None else b.when(inside, write)

    def add_element(self, b, to, read, dtype: np.dtype, lanes: int):
        b.atomic_add(b.load(dtype, read), to)

    def write_window(self, b, target, source, types, batch: list, begin: list, columns: int | None):
        operand, _, updates = types
        place = dict(zip(self.windows.batch_axes(updates.ndim), batch))
        to = b.gep(target, offset_of(b, begin, operand.shape), operand.dtype)
        read = b.gep(source, offset_of(b, [place.get(a, 0) for a in range(updates.ndim)], updates.shape), updates.dtype)
        *outer, (n, far, wide) = self.window_nest(operand.shape, updates.shape)
        moved = lambda pointer, k, step: b.gep(pointer, b.mul(k, step), operand.dtype)
        with contextlib.ExitStack() as loops:
            for size, *steps in outer:
                k = loops.enter_context(b.loop(0, size)).index
                to, read = moved(to, k, steps[0]), moved(read, k, steps[1])
            write = lambda k, lanes: self.write_elements(b, moved(to, k, far), moved(read, k, wide), operand.dtype, lanes)
            for start, stop, step in vector_spans(columns or n, b.isa.lanes(operand.dtype) if far == wide == 1 else 1):
                if stop - start <= WRITTEN_OUT * step:
                    for k in range(start, stop, step):
                        write(b.index(k), step)
                    continue
                with b.loop(start, stop, step) as loop:
                    write(loop.index, step)

    def window_nest(self, shape: Sequence[int], updates: Sequence[int]) -> list[tuple[int, int, int]]:
        """The loops over a window: sizes, steps in the operand and in the updates. Axes that lie behind each other in both
        are one, and those of one element are none."""
        nest: list[tuple[int, int, int]] = []
        for a, d in zip(self.offset_dims, self.windows.window_axes()):
            size, far, wide = updates[a], math.prod(shape[d + 1:]), math.prod(updates[a + 1:])
            if size > 1 and nest and nest[-1][1:] == (size * far, size * wide):
                nest[-1] = nest[-1][0] * size, far, wide
            elif size > 1:
                nest.append((size, far, wide))
        return nest or [(1, 1, 1)]

    def write_elements(self, b, to, read, dtype: np.dtype, lanes: int):
        b.store(self.combine(b, b.load(dtype, to, lanes), b.load(dtype, read, lanes)), to)

    def eval(self, operand, indices, updates):
        out = operand.copy()
        if not updates.size:
            return out
        place, inside = self.windows.places(updates.shape, operand.shape, indices)
        inside = np.broadcast_to(inside | self.clips, updates.shape)
        self.write(out, tuple(np.broadcast_to(p, updates.shape)[inside] for p in place), updates[inside])
        return out

    def write(self, out, place, values): out[place] = values

    def jvp(self, ctx, primals, tangents):
        operand, indices, updates = primals
        t_operand, _, t_updates = ctx.instantiate(primals, tangents)
        return bind(self, *primals), bind(self, t_operand, indices, t_updates)

    def transpose(self, ctx, ct, operand, indices, updates):
        ct_operand = ct_updates = None
        if is_linear(operand):
            ct_operand = bind(self, ct, indices, full(updates.shape, 0, ct.dtype))
        if is_linear(updates):
            ct_updates = bind(gather_like(self), ct, indices)
            if not self.unique:
                ct_updates = select(self.stays(operand.shape, indices, updates.shape), ct_updates, 0)
        return ct_operand, None, ct_updates

    def stays(self, shape, indices, updates):
        """Which elements of the updates no later one overwrites."""
        numbers = reshape(iota(np.int32, math.prod(updates)), updates)
        last = bind(self, full(shape, -1, np.int32), indices, numbers)
        return eq(bind(gather_like(self), last, indices), numbers)

    def batch(self, ctx, args, batched):
        operand, indices, updates = args
        op = self.batched_op(ctx.size, True, batched[1])
        return bind(op, ctx.materialize(operand, batched[0]), indices, ctx.materialize(updates, batched[2])), True


@op_dataclass
class ScatterCombine(Scatter):
    """operand with each element of the updates combined into the element that it falls on."""
    moves: ClassVar[bool] = False
    monoid: ClassVar[Elementwise]
    linear: ClassVar[bool] = False
    accepts: ClassVar[str] = "biufc"

    def neutral(self, dtype: np.dtype): raise NotImplementedError
    def combine(self, b, old, new): return self.monoid.scalar(b, old, new)

    def scratch_bytes(self, types): return parts_of(self, types) * pitch(types[0])

    def call(self, b, ins, outs, types):
        if not parts_of(self, types):
            return super().call(b, ins, outs, types)
        b.emitter.copy(outs[0], ins[0], types[0].nbytes)
        by_parts(self, b, outs[0], *ins[1:], types)


@op_dataclass
class ScatterAdd(ScatterCombine):
    """operand with the updates added."""
    makes_nan: ClassVar[bool] = True
    monoid: ClassVar[Elementwise] = Add()
    accepts: ClassVar[str] = "iufc"
    linear: ClassVar[bool] = True
    atomic: ClassVar[bool] = True
    ulp: ClassVar[float] = 16

    def neutral(self, dtype): return -0.0 if dtype.kind == "f" else 0

    def write(self, out, place, values): np.add.at(out, place, values)

    def transpose(self, ctx, ct, operand, indices, updates):
        return (ct if is_linear(operand) else None, None,
                bind(gather_like(self), ct, indices) if is_linear(updates) else None)


@op_dataclass
class ScatterMul(ScatterCombine):
    """operand with the updates multiplied in."""
    makes_nan: ClassVar[bool] = True
    monoid: ClassVar[Elementwise] = Mul()
    accepts: ClassVar[str] = "iufc"
    ulp: ClassVar[float] = 16

    def neutral(self, dtype): return 1

    def write(self, out, place, values): np.multiply.at(out, place, values)

    def jvp(self, ctx, primals, tangents):
        (operand, indices, updates), (t_operand, _, t_updates) = primals, tangents
        out, terms = bind(self, *primals), []
        if t_operand is not None:
            terms.append(mul(t_operand, bind(self, full_like(operand, 1), indices, updates)))
        if t_updates is not None:
            others = mul(bind(gather_like(self), operand, indices), self.others(operand, indices, updates))
            terms.append(bind(scatter_like(self, ScatterAdd), full_like(operand, 0), indices, mul(t_updates, others)))
        return out, ctx.sum(terms, type_of(out))

    def others(self, operand, indices, updates):
        """For each element of the updates, the product of the others that fall on its place (zeros counted apart)."""
        is_zero = eq(updates, 0)
        nonzero = select(is_zero, 1, updates)
        product = bind(gather_like(self), bind(self, full_like(operand, 1), indices, nonzero), indices)
        zeros = convert_element_type(is_zero, np.int32)
        count = bind(scatter_like(self, ScatterAdd), full_like(operand, 0, np.int32), indices, zeros)
        other_zeros = add(bind(gather_like(self), count, indices), neg(zeros))
        return select(eq(other_zeros, 0), select(is_zero, product, div(product, nonzero)), 0)


@op_dataclass
class ScatterExtreme(ScatterCombine):
    """operand with each element raised (or lowered) to the updates on it; equal ones share the derivative evenly."""

    def jvp(self, ctx, primals, tangents):
        operand, indices, updates = primals
        t_operand, _, t_updates = ctx.instantiate(primals, tangents)
        out, dtype = bind(self, *primals), type_of(operand).dtype
        stays = convert_element_type(eq(operand, out), dtype)
        wins = convert_element_type(eq(updates, bind(gather_like(self), out, indices)), dtype)
        total = lambda base, values: bind(scatter_like(self, ScatterAdd), base, indices, values)
        return out, div(total(mul(t_operand, stays), mul(t_updates, wins)), total(stays, wins))


@op_dataclass
class ScatterMin(ScatterExtreme):
    """operand lowered to the updates."""
    monoid: ClassVar[Elementwise] = Min()

    def neutral(self, dtype): return highest(dtype)

    def write(self, out, place, values): np.minimum.at(out, place, values)


@op_dataclass
class ScatterMax(ScatterExtreme):
    """operand raised to the updates."""
    monoid: ClassVar[Elementwise] = Max()

    def neutral(self, dtype): return lowest(dtype)

    def write(self, out, place, values): np.maximum.at(out, place, values)


@op_dataclass
class ScatterApply(Scatter):
    """operand with a function applied to the element under each element of the updates, as often as it is met."""
    function: Graph = None
    linear: ClassVar[bool] = False
    accepts: ClassVar[str] = "biufc"

    def combine(self, b, old, new): return emit_scalars(b, self.function, [old])[0]

    def write(self, out, place, values):
        for at in zip(*place):
            out[at] = eval_scalars(self.function, [out[at]])[0]

    def jvp(self, ctx, primals, tangents):
        raise NotImplementedError("scatter_apply has a derivative only with unique_indices=True")


def scatter_op(kind: type[Scatter], operand, updates, numbers, unique: bool, mode, **fields) -> Scatter:
    """The op with these dimension numbers, whose window sizes are those of the updates."""
    numbers = Windows(*map(ints, numbers), ())
    left_out, window = {*numbers.collapsed, *numbers.operand_batching}, iter(numbers.offset_dims)
    shape = type_of(updates).shape
    sizes = tuple([1 if d in left_out else shape[next(window)] for d in range(type_of(operand).ndim)])
    return kind(*numbers[:5], sizes, GatherScatterMode.from_any(mode).value, bool(unique), **fields)


def scattered(kind: type[Scatter], operand, indices, updates, numbers, unique: bool, mode) -> Any:
    operand, updates = of_one_dtype(operand, updates)
    t = type_of(operand)
    check_dimensions("scatter", tuple(map(ints, numbers)), type_of(updates).ndim, t, type_of(indices))
    if not t.size:  # no update lands
        return operand if is_own(operand) else full(t.shape, 0, t.dtype)
    return bind(scatter_op(kind, operand, updates, numbers, unique, mode), operand, indices, updates)


def scatter(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
            indices_are_sorted: bool = False, unique_indices: bool = False,
            mode: str | GatherScatterMode | None = None) -> Any:
    """operand with windows replaced by the updates: of several for one element the last in row-major order stays.

    >>> numbers = ScatterDimensionNumbers((), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,))
    >>> print(scatter(np.array([1, 2, 3]), np.array([[2], [0]]), np.array([7, 8]), numbers))
    [8 2 7]
    """
    return scattered(Scatter, operand, scatter_indices, updates, dimension_numbers, unique_indices, mode)


def scatter_add(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                indices_are_sorted: bool = False, unique_indices: bool = False,
                mode: str | GatherScatterMode | None = None) -> Any:
    """operand with the updates added to the elements that they fall on."""
    return scattered(ScatterAdd, operand, scatter_indices, updates, dimension_numbers, unique_indices, mode)


def scatter_sub(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                indices_are_sorted: bool = False, unique_indices: bool = False,
                mode: str | GatherScatterMode | None = None) -> Any:
    """operand with the updates subtracted from the elements that they fall on."""
    return scattered(ScatterAdd, operand, scatter_indices, neg(updates), dimension_numbers, unique_indices, mode)


def scatter_mul(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                indices_are_sorted: bool = False, unique_indices: bool = False,
                mode: str | GatherScatterMode | None = None) -> Any:
    """operand with the elements that updates fall on multiplied by them."""
    return scattered(ScatterMul, operand, scatter_indices, updates, dimension_numbers, unique_indices, mode)


def scatter_min(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                indices_are_sorted: bool = False, unique_indices: bool = False,
                mode: str | GatherScatterMode | None = None) -> Any:
    """operand with the elements that updates fall on lowered to them."""
    return scattered(ScatterMin, operand, scatter_indices, updates, dimension_numbers, unique_indices, mode)


def scatter_max(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                indices_are_sorted: bool = False, unique_indices: bool = False,
                mode: str | GatherScatterMode | None = None) -> Any:
    """operand with the elements that updates fall on raised to them."""
    return scattered(ScatterMax, operand, scatter_indices, updates, dimension_numbers, unique_indices, mode)


def scatter_apply(operand: Any, scatter_indices: Any, func: Callable[[Any], Any],
                  dimension_numbers: ScatterDimensionNumbers, *, update_shape: Sequence[int] = (),
                  indices_are_sorted: bool = False, unique_indices: bool = False,
                  mode: str | GatherScatterMode | None = None) -> Any:
    """operand with an elementwise func applied to the elements under windows of update_shape, once per window."""
    dtype = type_of(operand).dtype
    graph, captured = trace(lambda x: [convert_element_type(func(x), dtype)], [ArrayType((), dtype)])
    if captured or not all(isinstance(eqn.op, Elementwise) for eqn in graph.eqns):
        raise TypeError("scatter_apply: the function may use its argument, constants and elementwise operations only")
    updates = full(update_shape, 0, dtype)
    if not unique_indices:
        op = scatter_op(ScatterApply, operand, updates, dimension_numbers, False, mode, function=graph)
        return bind(op, operand, scatter_indices, updates)
    op = scatter_op(Scatter, operand, updates, dimension_numbers, True, mode)
    applied, = replay(graph, [bind(gather_like(op), operand, scatter_indices)], record_eqn)
    return bind(op, operand, scatter_indices, applied)


def index_take(src: Any, idxs: Sequence[Any], axes: Sequence[int]) -> Any:
    """src at one index array per axis in `axes`, which must be its first ones; indices count modulo the axis's size."""
    sizes, axes = type_of(src).shape, ints(axes)
    columns = [expand_dims(rem(add(rem(i, sizes[a]), sizes[a]), sizes[a]), (1,)) for i, a in zip(idxs, axes)]
    numbers = GatherDimensionNumbers(tuple(range(1, len(sizes) - len(axes) + 1)), axes, axes)
    window = [1 if d in axes else n for d, n in enumerate(sizes)]
    return gather(src, concatenate(columns, 1), numbers, window, mode=GatherScatterMode.PROMISE_IN_BOUNDS)

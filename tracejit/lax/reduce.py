"""Folds of whole axes: products, extremes, logic, argmax, and `reduce` with a function of two scalars."""
from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit import tree
from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.graph import Graph, replay
from tracejit.ir.trace import bind, record_eqn, trace
from tracejit.ir.types import ArrayType, canonicalize_dtype, type_of
from tracejit.lax.bits import BitwiseAnd, BitwiseOr, BitwiseXor
from tracejit.lax.broadcast import axes_of, axis_of, broadcast_in_dim
from tracejit.lax.broadcast import reduce_sum as reduce_sum
from tracejit.lax.compare import eq
from tracejit.lax.convert import convert_element_type
from tracejit.lax.elementwise import Max, Min, Mul, add, div, mul
from tracejit.lax.kinds import Elementwise, Opaque, Reduction, has_tangent, op_dataclass
from tracejit.lax.native import emit_scalars, eval_scalars, offset_of
from tracejit.lax.reference import is_half
from tracejit.lax.shape import concatenate, reshape, slice_in_dim, transpose


def reduced(op: Reduction, x: Any) -> Any:
    """op on x, axes checked and counted from 0; products of 16-bit floats are formed in float32."""
    t = type_of(x)
    op = type(op)(axes_of(op.name, op.axes, t.ndim))
    if is_half(t.dtype) and op.widens:
        return convert_element_type(bind(op, convert_element_type(x, np.float32)), t.dtype)
    return bind(op, x)


def as_rows(x: Any, axes: Sequence[int]) -> Any:
    """x with the given axes joined into one leading axis."""
    shape = type_of(x).shape
    kept = [i for i in range(len(shape)) if i not in axes]
    return reshape(transpose(x, [*axes, *kept]), [math.prod(shape[a] for a in axes), *[shape[i] for i in kept]])


def fold_halves(f: Callable[[Sequence, Sequence], list], xs: Sequence) -> list:
    """Fold arrays along their first axis with an associative f, halving it log2(n) times."""
    n = type_of(xs[0]).shape[0]
    while n > 1:
        half, odd = divmod(n, 2)
        first, second, rest = zip(*[(slice_in_dim(x, 0, half), slice_in_dim(x, half, 2 * half),
                                     slice_in_dim(x, 2 * half, n)) for x in xs])
        joined = f(first, second)
        xs = [concatenate([x, last], 0) for x, last in zip(joined, rest)] if odd else joined
        n -= half
    return [reshape(x, type_of(x).shape[1:]) for x in xs]


@op_dataclass
class ReduceProd(Reduction):
    """The product over some axes."""
    makes_nan: ClassVar[bool] = True
    monoid: ClassVar[Elementwise] = Mul()
    accepts: ClassVar[str] = "iufc"
    widens: ClassVar[bool] = True
    ulp: ClassVar[float] = 64

    def eval(self, x): return np.multiply.reduce(x, self.axes, dtype=x.dtype)
    def init(self, b, types): return (b.const(1, types[0].dtype),)

    def jvp(self, ctx, primals, tangents):
        """By halves, with the product rule: there is no division, so zeros are no exception."""
        out, (x,), (t,) = bind(self, *primals), primals, tangents
        if not type_of(x).size:
            return out, ctx.zeros(type_of(out))
        rule = lambda a, b: [mul(a[0], b[0]), add(mul(a[1], b[0]), mul(a[0], b[1]))]
        return out, fold_halves(rule, [as_rows(x, self.axes), as_rows(t, self.axes)])[1]


def reduce_prod(operand: Any, axes: Sequence[int]) -> Any:
    """The product over `axes`.

    >>> print(reduce_prod(np.array([[1, 2], [3, 4]]), (0,)))
    [3 8]
    """
    return reduced(ReduceProd(axes), operand)


@op_dataclass
class ReduceExtreme(Reduction):
    """The largest or the smallest over some axes; nan if any is; equal elements share the derivative evenly."""
    picks: ClassVar[bool] = True

    def init(self, b, types): return (b.const(self.neutral(types[0].dtype), types[0].dtype),)

    def jvp(self, ctx, primals, tangents):
        out, (x,), (t,) = bind(self, *primals), primals, tangents
        shape = type_of(x).shape
        spread = broadcast_in_dim(out, shape, [i for i in range(len(shape)) if i not in self.axes])
        chosen = convert_element_type(eq(x, spread), type_of(out).dtype)
        return out, div(reduce_sum(mul(t, chosen), self.axes), reduce_sum(chosen, self.axes))


def lowest(dtype: np.dtype) -> Any:
    """The value that no other of this dtype is below."""
    if dtype.kind == "c":
        return complex(-np.inf, -np.inf)
    return False if dtype.kind == "b" else np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def highest(dtype: np.dtype) -> Any:
    """The value that no other of this dtype is above."""
    return {"b": True}.get(dtype.kind, np.iinfo(dtype).max if dtype.kind in "iu" else -lowest(dtype))


@op_dataclass
class ReduceMax(ReduceExtreme):
    """The largest over some axes."""
    monoid: ClassVar[Elementwise] = Max()

    def neutral(self, dtype): return lowest(dtype)
    def eval(self, x): return np.maximum.reduce(x, self.axes, initial=x.dtype.type(lowest(x.dtype)))


def reduce_max(operand: Any, axes: Sequence[int]) -> Any:
    """The largest over `axes`; over none, the lowest value of the dtype."""
    return reduced(ReduceMax(axes), operand)


@op_dataclass
class ReduceMin(ReduceExtreme):
    """The smallest over some axes."""
    monoid: ClassVar[Elementwise] = Min()

    def neutral(self, dtype): return highest(dtype)
    def eval(self, x): return np.minimum.reduce(x, self.axes, initial=x.dtype.type(highest(x.dtype)))


def reduce_min(operand: Any, axes: Sequence[int]) -> Any:
    """The smallest over `axes`; over none, the highest value of the dtype."""
    return reduced(ReduceMin(axes), operand)


@op_dataclass
class ReduceAnd(Reduction):
    """Bitwise and over some axes."""
    monoid: ClassVar[Elementwise] = BitwiseAnd()
    accepts: ClassVar[str] = "biu"

    def eval(self, x): return np.bitwise_and.reduce(x, self.axes, initial=~np.zeros((), x.dtype)[()])
    def init(self, b, types): return (b.const(True if types[0].dtype.kind == "b" else -1, types[0].dtype),)


def reduce_and(operand: Any, axes: Sequence[int]) -> Any:
    """Bitwise and over `axes`: of booleans, whether all are true."""
    return reduced(ReduceAnd(axes), operand)


@op_dataclass
class ReduceOr(Reduction):
    """Bitwise or over some axes."""
    monoid: ClassVar[Elementwise] = BitwiseOr()
    accepts: ClassVar[str] = "biu"

    def eval(self, x): return np.bitwise_or.reduce(x, self.axes)
    def init(self, b, types): return (b.const(0, types[0].dtype),)


def reduce_or(operand: Any, axes: Sequence[int]) -> Any:
    """Bitwise or over `axes`: of booleans, whether any is true."""
    return reduced(ReduceOr(axes), operand)


@op_dataclass
class ReduceXor(Reduction):
    """Bitwise exclusive or over some axes."""
    monoid: ClassVar[Elementwise] = BitwiseXor()
    accepts: ClassVar[str] = "biu"

    def eval(self, x): return np.bitwise_xor.reduce(x, self.axes)
    def init(self, b, types): return (b.const(0, types[0].dtype),)


def reduce_xor(operand: Any, axes: Sequence[int]) -> Any:
    """Bitwise exclusive or over `axes`: of booleans, whether an odd number is true."""
    return reduced(ReduceXor(axes), operand)


# --- where the extremes are -----------------------------------------------------------------------------------

@op_dataclass
class ArgExtreme(Reduction):
    """The first position of an extreme along one axis; of the first nan if there is one."""
    index_dtype: np.dtype
    accepts: ClassVar[str] = "biuf"

    def infer(self, x):
        t = super().infer(x)
        if not math.prod(x.shape[a] for a in self.axes):
            raise ShapeError(f"{self.name}: axis {self.axes[0]} of {x} has no elements", source=user_source(),
                             fix="reduce an axis that is not empty")
        return ArrayType(t.shape, self.index_dtype)

    def bounds(self, types, x): return 0, types[0].shape[self.axes[0]] - 1

    def init(self, b, types):
        dtype = types[0].dtype
        return b.const(self.neutral(dtype), dtype), b.const(np.iinfo(self.index_dtype).max, self.index_dtype)

    def element(self, b, index, x): return x, b.index_value(index[0], self.index_dtype)

    def combine(self, b, x, y):
        (xv, xi), (yv, yi) = x, y
        above = b.and_(b.not_(self.reaches(b, xv, yv)), b.eq(xv, xv))     # y is better or nan, and x is not nan
        level = b.or_(b.eq(xv, yv), b.ne(yv, yv))
        take_y = b.or_(above, b.and_(level, b.lt(yi, xi)))
        return b.select(take_y, yv, xv), b.select(take_y, yi, xi)

    def finish(self, b, x): return x[1]
    def jvp(self, ctx, primals, tangents): return bind(self, *primals), None


@op_dataclass
class ArgMax(ArgExtreme):
    """The first position of the largest element along an axis."""

    def eval(self, x): return np.argmax(x, self.axes[0]).astype(self.index_dtype)
    def neutral(self, dtype): return lowest(dtype)
    def reaches(self, b, x, y): return b.ge(x, y)


def argmax(operand: Any, axis: int, index_dtype: Any) -> Any:
    """The first position of the largest element along an axis; nan counts as largest.

    >>> print(argmax(np.array([1, 3, 3]), 0, np.int32))
    1
    """
    return bind(ArgMax((axis_of("argmax", axis, type_of(operand).ndim),), index_dtype_of(index_dtype)), operand)


@op_dataclass
class ArgMin(ArgExtreme):
    """The first position of the smallest element along an axis."""

    def eval(self, x): return np.argmin(x, self.axes[0]).astype(self.index_dtype)
    def neutral(self, dtype): return highest(dtype)
    def reaches(self, b, x, y): return b.le(x, y)


def argmin(operand: Any, axis: int, index_dtype: Any) -> Any:
    """The first position of the smallest element along an axis; nan counts as smallest."""
    return bind(ArgMin((axis_of("argmin", axis, type_of(operand).ndim),), index_dtype_of(index_dtype)), operand)


def index_dtype_of(dtype: Any) -> np.dtype:
    dtype = canonicalize_dtype(dtype)
    if dtype.kind not in "iu":
        raise DtypeError(f"positions must have an integer dtype, not {dtype}", source=user_source(), fix="use int32")
    return dtype


# --- any function of two scalars ------------------------------------------------------------------------------

@op_dataclass
class Reduce(Opaque):
    """Operands folded together with an associative function (x1 ... xn, y1 ... yn) -> n results."""
    moves: ClassVar[bool] = True
    makes_nan: ClassVar[bool] = True
    axes: tuple[int, ...]
    computation: Graph
    multiple: ClassVar[bool] = True

    def infer(self, *types): return tuple(ArrayType(self.kept(t.shape), t.dtype) for t in types)
    def kept(self, sizes): return tuple(n for i, n in enumerate(sizes) if i not in self.axes)

    def eval(self, *xs):
        order = [*self.axes, *self.kept(range(xs[0].ndim))]
        rows = list(zip(*[x.transpose(order).reshape(-1, *self.kept(x.shape)) for x in xs]))
        return tuple(functools.reduce(lambda a, b: eval_scalars(self.computation, [*a, *b]), rows))

    def call(self, b, ins, outs, types):
        """Native loops over the kept axes, and in them over the folded ones."""
        shape = types[0].shape
        with contextlib.ExitStack() as loops:
            index = [loops.enter_context(b.loop(0, n)).index for n in self.kept(shape)]
            self.fold_row(b, ins, outs, types, index)

    def device_lanes(self, types): return math.prod(self.kept(types[0].shape))

    def device_lane(self, b, lane, ins, outs, types):
        index = []
        for n in reversed(self.kept(types[0].shape)):
            whole = b.div(lane, n)
            index, lane = [b.sub(lane, b.mul(whole, n)), *index], whole
        self.fold_row(b, ins, outs, types, index)

    def fold_row(self, b, ins, outs, types, index):
        """The results at an index of the kept axes."""
        shape = types[0].shape
        first, place = b.index(0), offset_of(b, index, self.kept(shape))
        for i, stride in zip(index, self.kept([math.prod(shape[a + 1:]) for a in range(len(shape))])):
            first = b.add(first, b.mul(i, stride))
        state = [b.const(False, np.dtype(bool)), *[b.const(0, t.dtype) for t in types]]
        for x, out, t in zip(self.fold(b, ins, types, first, state, list(self.axes))[1:], outs, types):
            b.store(x, b.gep(out, place, t.dtype))

    def fold(self, b, ins, types, at, state: list, axes: list[int]) -> list:
        """The state after the elements along `axes` from offset `at` on; its first member: is there one yet?"""
        if not axes:
            xs = [b.load(t.dtype, b.gep(x, at, t.dtype)) for x, t in zip(ins, types)]
            both = emit_scalars(b, self.computation, [*state[1:], *xs])
            return [b.const(True, np.dtype(bool)), *[b.select(state[0], v, x) for v, x in zip(both, xs)]]
        shape = types[0].shape
        with b.loop(0, shape[axes[0]], carries=state) as loop:
            here = b.add(at, b.mul(loop.index, math.prod(shape[axes[0] + 1:])))
            loop.carry(*self.fold(b, ins, types, here, loop.carries, axes[1:]))
        return loop.results

    def batch(self, ctx, args, batched):
        op = Reduce(tuple(a + 1 for a in self.axes), self.computation)
        return bind(op, *map(ctx.materialize, args, batched)), [True] * len(args)

    def jvp(self, ctx, primals, tangents):
        n, nonzero = len(primals), [has_tangent(x) for x in primals]
        outs = bind(self, *primals)
        graph, _ = ctx.jvp(self.computation, nonzero * 2, nonzero)
        given = ctx.instantiate(primals, tangents)
        rows = [as_rows(x, self.axes) for x in [*primals, *[t for t, nz in zip(given, nonzero) if nz]]]
        rule = lambda a, b: replay(graph, [*a[:n], *b[:n], *a[n:], *b[n:]], record_eqn)
        moved = iter(fold_halves(rule, rows)[n:])
        return outs, [next(moved) if nz else None for nz in nonzero]


def reduce(operands: Any, init_values: Any, computation: Callable[[Any, Any], Any], dimensions: Sequence[int],
           out_sharding: Any = None) -> Any:
    """Fold trees of arrays along `dimensions` with an associative function of two trees of scalars.

    Functions that are one of this module's monoids (add, mul, max, min, bitwise and, or, xor) become that reduction.

    >>> from tracejit import lax
    >>> print(reduce(np.array([1, 2, 3]), 10, lax.add, (0,)))
    16
    """
    xs, structure = tree.flatten(operands)
    inits = [convert_element_type(i, type_of(x).dtype) for i, x in zip(tree.leaves(init_values), xs, strict=True)]
    for init in inits:
        if type_of(init).ndim:
            raise ShapeError(f"reduce: initial values must be zero-dimensional, got {type_of(init)}", source=user_source(),
                             fix="combine an array with the result afterwards")
    if len({type_of(x).shape for x in xs}) != 1:
        raise ShapeError(f"reduce: operands {', '.join(str(type_of(x)) for x in xs)} have different shapes",
                         source=user_source(), fix="broadcast them first")
    graph = _scalar_graph(computation, structure, [type_of(x).dtype for x in xs])
    axes = axes_of("reduce", dimensions, type_of(xs[0]).ndim)
    if not math.prod(type_of(xs[0]).shape[a] for a in axes):
        kept = [n for i, n in enumerate(type_of(xs[0]).shape) if i not in axes]
        return tree.unflatten(structure, [broadcast_in_dim(i, kept, ()) for i in inits])
    known = monoid_of(graph)
    outs = [reduced(known(axes), xs[0])] if known else bind(Reduce(axes, graph), *xs)
    return tree.unflatten(structure, replay(graph, [*inits, *outs], record_eqn))


def _scalar_graph(computation: Callable, structure, dtypes: Sequence[np.dtype]) -> Graph:
    n = len(dtypes)

    def flat(*values):
        out = computation(tree.unflatten(structure, values[:n]), tree.unflatten(structure, values[n:]))
        return [convert_element_type(v, d) for v, d in zip(tree.leaves(out), dtypes, strict=True)]
    graph, captured = trace(flat, [ArrayType((), d) for d in dtypes] * 2)
    odd = [eqn.op.name for eqn in graph.eqns if not isinstance(eqn.op, Elementwise)]
    if captured or odd:
        raise TypeError("reduce: the function may use its arguments, constants and elementwise operations only"
                        + (f", not {', '.join(odd)}" if odd else "; it captures arrays"))
    return graph


def monoid_of(graph: Graph) -> type[Reduction] | None:
    """The reduction that folds with this function of two scalars, if it is one operation on both."""
    if len(graph.eqns) != 1 or len(graph.params) != 2 or set(graph.eqns[0].inputs) != set(graph.params):
        return None
    op = graph.eqns[0].op
    return next((kind for kind in every_subclass(Reduction) if kind.monoid == op), None)


def every_subclass(cls: type) -> list[type]:
    return [c for sub in cls.__subclasses__() for c in (sub, *every_subclass(sub))]

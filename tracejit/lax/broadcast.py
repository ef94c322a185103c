"""Repeating and summing, each other's transposes; reordering axes; the arrays that are made of nothing else: full, iota."""
from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError, called_by_program, user_source
from tracejit.ir.graph import Lit
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, ExtendedDType, requested_dtype, type_of
from tracejit.lax.convert import ConvertElementType, convert_element_type, converted
from tracejit.lax.elementwise import Add
from tracejit.lax.kinds import Cut, Elementwise, Reduction, View, op_dataclass
from tracejit.lax.reference import is_half


def ints(values: Iterable) -> tuple[int, ...]:
    """Sizes, axes or offsets as a tuple of Python ints."""
    return tuple([operator.index(v) for v in values])


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape that may be given as one size."""
    sizes = ints(shape) if isinstance(shape, Iterable) else (operator.index(shape),)
    if any([n < 0 for n in sizes]):
        raise ShapeError(f"sizes must not be negative, got shape {sizes}", source=user_source())
    return sizes


def axis_of(name: str, axis: Any, ndim: int, from_end: bool = False) -> int:
    """An axis in [0, ndim), negative ones counted from the end where that is allowed; ShapeError if there is none."""
    i, first = operator.index(axis), -ndim if from_end else 0
    if first <= i < ndim:
        return i % ndim
    raise ShapeError(f"{name}: axis {i} is out of bounds for array of dimension {ndim}", source=user_source(),
                     fix=f"give an axis from {first} to {ndim - 1}" if ndim else "a zero-dimensional array has no axes")


def axes_of(name: str, axes: Iterable, ndim: int, from_end: bool = False) -> tuple[int, ...]:
    """Distinct axes in [0, ndim), in the order given."""
    found = tuple([axis_of(name, a, ndim, from_end) for a in axes])
    if len(set(found)) < len(found):
        raise ShapeError(f"{name}: dimensions are not unique: an axis occurs twice in {found}", source=user_source(),
                         fix="name each axis once")
    return found


def resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """The shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1:])


def is_own(x: Any) -> bool:
    """Whether x is already an array of this package, or traced."""
    return hasattr(x, "type")


@op_dataclass
class Transpose(View):
    """out's axis k is x's axis permutation[k]."""
    permutation: tuple[int, ...]

    def infer(self, x):
        if sorted(self.permutation) != list(range(x.ndim)):
            raise ShapeError(f"transpose: {self.permutation} is not a permutation of the {x.ndim} axes of {x}",
                             source=user_source(), fix=f"name each of 0 ... {x.ndim - 1} once")
        return ArrayType(tuple([x.shape[p] for p in self.permutation]), x.dtype, x.weak_type)

    def eval(self, x): return np.transpose(x, self.permutation)
    def inverse(self): return tuple(int(i) for i in np.argsort(self.permutation))
    def pull(self, b, index, read, types): return read(0, tuple(index[i] for i in self.inverse()))
    def transpose(self, ctx, ct, x): return (bind(Transpose(self.inverse()), ct),)
    def cuts(self, types, out): return [Cut(a, (p,)) for a, p in enumerate(self.permutation)]

    def batch(self, ctx, args, batched):
        return bind(Transpose((0, *[p + 1 for p in self.permutation])), *args), True


def transpose(operand: Any, permutation: Sequence[int]) -> Any:
    """operand with its axes in the order `permutation`.

    >>> print(transpose(np.array([[1, 2, 3]]), (1, 0)).shape)
    (3, 1)
    """
    permutation = ints(permutation)
    if permutation == tuple(range(len(permutation))) and is_own(operand) and type_of(operand).ndim == len(permutation):
        return operand
    return bind(Transpose(permutation), operand)


@op_dataclass
class BroadcastInDim(View):
    """out[i] = x[i at dimensions]: x's axis k becomes axis dimensions[k]; the others, and axes of size 1, repeat."""
    shape: tuple[int, ...]
    dimensions: tuple[int, ...]

    def infer(self, x):
        dims = self.dimensions
        fits = len(dims) == x.ndim and all(0 <= d < len(self.shape) for d in dims)
        if fits and all(a < b for a, b in zip(dims, dims[1:])):
            if all(n == self.shape[d] or n == 1 for n, d in zip(x.shape, dims)):
                return ArrayType(self.shape, x.dtype, x.weak_type)
        wrong = "broadcast_dimensions must have length equal to operand ndim" if len(dims) != x.ndim else \
            "target broadcast shape must have equal or higher rank to the operand shape" if len(self.shape) < x.ndim else \
            "broadcast_in_dim broadcast_dimensions must be a subset of output dimensions" if \
            not all(0 <= d < len(self.shape) for d in dims) else "broadcast_dimensions must be strictly increasing" if not fits or \
            any(a >= b for a, b in zip(dims, dims[1:])) else "operand dimension sizes must either be 1, or be equal to their " \
            "corresponding dimensions in the target broadcast shape"
        raise ShapeError(f"broadcast_in_dim: cannot place the axes of {x} at {dims} of shape {self.shape}: {wrong}",
                         source=user_source(), fix="give each axis a place of its own where the shape has the axis's "
                         "size (or the axis has size 1)")

    def lies_as(self, x): return math.prod(self.shape) == x.size

    def eval(self, x):
        shape = [1] * len(self.shape)
        for d, n in zip(self.dimensions, x.shape):
            shape[d] = n
        return np.broadcast_to(x.reshape(shape), self.shape)

    def pull(self, b, index, read, types):
        return read(0, tuple(index[d] if n == self.shape[d] else index[d] * 0
                             for d, n in zip(self.dimensions, types[0].shape)))

    def transpose(self, ctx, ct, x):
        kept = [d for d, n in zip(self.dimensions, x.shape) if n == self.shape[d]]
        total = bind(ReduceSum(tuple(d for d in range(len(self.shape)) if d not in kept)), ct)
        own = [i for i, d in enumerate(self.dimensions) if d in kept]
        return (broadcast_in_dim(total, x.shape, own),)

    def cuts(self, types, out):
        own = {d: k for k, d in enumerate(self.dimensions) if types[0].shape[k] == self.shape[d]}
        return [Cut(a, (own.get(a),)) for a in range(out.ndim)]

    def part(self, axis, start, size, args):
        return bind(BroadcastInDim(resized(self.shape, axis, size), self.dimensions), *args)

    def batch(self, ctx, args, batched):
        moved = (0, *[d + 1 for d in self.dimensions])
        return bind(BroadcastInDim((ctx.size, *self.shape), moved), *args), True


def broadcast_in_dim(operand: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int], *,
                     out_sharding: Any = None) -> Any:
    """operand as an array of `shape`, its axis k placed at broadcast_dimensions[k], repeated along the others.

    The places are distinct, in any order.

    >>> print(broadcast_in_dim(np.array([1, 2]), (2, 3), (0,)))
    [[1 1 1]
     [2 2 2]]
    """
    shape, dims = ints(shape), ints(broadcast_dimensions)
    if is_own(operand) and type_of(operand).shape == shape and dims == tuple(range(len(shape))):
        return operand
    if any(a > b for a, b in zip(dims, dims[1:])) and type_of(operand).ndim == len(dims):
        order = sorted(range(len(dims)), key=dims.__getitem__)
        operand, dims = transpose(operand, order), tuple(sorted(dims))
    return bind(BroadcastInDim(shape, dims), operand)


@op_dataclass
class ReduceSum(Reduction):
    """The sum over some axes."""
    makes_nan: ClassVar[bool] = True
    monoid: ClassVar[Elementwise] = Add()
    widens: ClassVar[bool] = True
    ulp: ClassVar[float] = 64
    accepts: ClassVar[str] = "iufc"
    linear: ClassVar[bool] = True

    def eval(self, x): return x.sum(axis=self.axes, dtype=None if is_half(x.dtype) else x.dtype)
    def init(self, b, types): return (b.const(0, types[0].dtype),)
    def cuts(self, types, out): return [*super().cuts(types, out), *[Cut(None, (a,)) for a in self.axes]]

    def transpose(self, ctx, ct, x):
        return (broadcast_in_dim(ct, x.shape, [i for i in range(len(x.shape)) if i not in self.axes]),)


def reduce_sum(operand: Any, axes: Sequence[int], *, out_sharding: Any = None) -> Any:
    """The sum over `axes`; 16-bit floats are added up in float32.

    >>> print(reduce_sum(np.array([[1, 2], [3, 4]]), (0,)))
    [4 6]
    """
    t = type_of(operand)
    op = ReduceSum(axes_of("reduce_sum", axes, t.ndim))
    if is_half(t.dtype):
        return convert_element_type(bind(op, convert_element_type(operand, np.float32)), t.dtype)
    return bind(op, operand)


# --- arrays made of nothing ---------------------------------------------------------------------------------

@op_dataclass
class Iota(View):
    """out[i] = i[dimension]."""
    dtype: np.dtype
    shape: tuple[int, ...]
    dimension: int
    linear: ClassVar[bool] = False

    def infer(self):
        if self.dtype.kind == "b":
            raise DtypeError("iota: bool cannot count", source=user_source(), fix="use an integer dtype")
        axis_of("iota", self.dimension, len(self.shape))
        return ArrayType(self.shape, self.dtype)

    def bounds(self, types): return 0, max(self.shape[self.dimension] - 1, 0)

    def eval(self):
        line = np.arange(self.shape[self.dimension]).astype(self.dtype)
        axes = [i for i in range(len(self.shape)) if i != self.dimension]
        return np.broadcast_to(np.expand_dims(line, axes), self.shape)

    def pull(self, b, index, read, types): return b.index_value(index[self.dimension], self.dtype)
    def cuts(self, types, out): return [Cut(a, ()) for a in range(out.ndim)]

    def part(self, axis, start, size, args):
        line = bind(Iota(self.dtype, resized(self.shape, axis, size), self.dimension))
        return bind(Add(), line, convert_element_type(start, self.dtype)) if axis == self.dimension else line


def iota(dtype: Any, size: int) -> Any:
    """0, 1, ... size - 1."""
    return bind(Iota(requested_dtype(dtype, called_by_program()), shape_of(size), 0))


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int, *, out_sharding: Any = None) -> Any:
    """0, 1, ... along axis `dimension`, repeated along the others.

    >>> print(broadcasted_iota(np.int32, (2, 3), 1))
    [[0 1 2]
     [0 1 2]]
    """
    return bind(Iota(requested_dtype(dtype, called_by_program()), shape_of(shape), operator.index(dimension)))


def full(shape: Sequence[int], fill_value: Any, dtype: Any = None, *, sharding: Any = None) -> Any:
    """fill_value everywhere; without a dtype, that of fill_value.

    >>> print(full((2, 2), 7))
    [[7 7]
     [7 7]]
    """
    t = type_of(fill_value)
    if t.ndim:
        raise ShapeError(f"full: fill_value must be zero-dimensional, not {t}", source=user_source(),
                         fix="use broadcast_in_dim to repeat an array")
    weak = dtype is None and t.weak_type
    if dtype is None:
        dtype = t.dtype
    elif called_by_program() or not isinstance(dtype, np.dtype):    # else it is that of some value, which stays what it is
        dtype = requested_dtype(dtype)
    return bind(BroadcastInDim(shape_of(shape), ()), _scalar(fill_value, dtype, weak))


def _scalar(x: Any, dtype: np.dtype, weak: bool) -> Any:
    if isinstance(x, (bool, int, float, complex, np.generic)):
        if isinstance(dtype, ExtendedDType):
            return dtype.wrap(full((dtype.parts,), x, dtype.part))
        return Lit(x, ArrayType((), dtype, weak))
    return bind(ConvertElementType(dtype, True), x) if weak else converted(x, dtype)


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Sequence[int] | None = None,
              sharding: Any = None) -> Any:
    """fill_value everywhere, in x's shape and dtype unless others are given."""
    t = type_of(x)
    weak = dtype is None and t.weak_type
    if dtype is None:
        dtype = t.dtype
    elif called_by_program() or not isinstance(dtype, np.dtype):    # else it is that of some value, which stays what it is
        dtype = requested_dtype(dtype)
    return bind(BroadcastInDim(t.shape if shape is None else shape_of(shape), ()), _scalar(fill_value, dtype, weak))


def zeros_like_array(x: Any) -> Any:
    """Zeros in x's shape and dtype."""
    return full_like(x, 0)


def empty(shape: Sequence[int], dtype: Any, *, out_sharding: Any = None) -> Any:
    """An array whose values do not matter (they are zeros)."""
    return full(shape, 0, dtype)

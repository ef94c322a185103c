"""Matrix products of every arrangement -> the one op `DotGeneral`: contract some axes, pair (batch) others.

    out[b, i, j] = sum over c of lhs[b, i, c] * rhs[b, j, c]
"""
from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tracejit.config import config
from tracejit.errors import DtypeError, ShapeError, called_by_program
from tracejit.ir.trace import bind
from tracejit.ir.types import (NARROW, ArrayType, bfloat16, is_inexact, kind_of, promote, real_dtype, requested_dtype,
                                type_of)
from tracejit.lax.convert import converted
from tracejit.lax.kinds import Contraction, Cut, is_linear, op_dataclass
from tracejit.lax.shape import transpose

DotDimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


class Precision(enum.Enum):
    """How exact the products of float32 operands are where the hardware offers a choice; a CPU is always exact."""
    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2

    def __repr__(self) -> str:
        return f"Precision.{self.name}"


DotAlgorithmPreset = enum.Enum("DotAlgorithmPreset", """DEFAULT F16_F16_F16 F16_F16_F32 BF16_BF16_BF16 BF16_BF16_F32
    BF16_BF16_F32_X3 BF16_BF16_F32_X6 BF16_BF16_F32_X9 TF32_TF32_F32 TF32_TF32_F32_X3 F32_F32_F32 F64_F64_F64""")


@dataclass(frozen=True)
class DotAlgorithm:
    """How a product is computed: dtypes of the operands and of the sums, and of how many parts it is made.

    >>> DotAlgorithm("float32", "float32", "float32").name
    'F32_F32_F32'
    """
    lhs_precision_type: Any
    rhs_precision_type: Any
    accumulation_type: Any
    lhs_component_count: int = 1
    rhs_component_count: int = 1
    num_primitive_operations: int = 1
    allow_imprecise_accumulation: bool = False

    @property
    def name(self) -> str:
        """The preset that says the same; ValueError if there is none."""
        types = [np.dtype(t) for t in (self.lhs_precision_type, self.rhs_precision_type, self.accumulation_type)]
        parts = ["BF16" if str(t) == "bfloat16" else f"F{8 * t.itemsize}" for t in types]
        count = f"_X{self.num_primitive_operations}" if self.num_primitive_operations > 1 else ""
        name = "_".join(parts) + count
        if name not in DotAlgorithmPreset.__members__:
            raise ValueError(f"{self} is none of the algorithms {', '.join(DotAlgorithmPreset.__members__)}")
        return name


PrecisionLike = None | str | Precision | DotAlgorithmPreset | DotAlgorithm | tuple

_PRECISION_OF_NAME = {
    "default": "default", "bfloat16": "default", "fastest": "default", "high": "high", "bfloat16_3x": "high",
    "tensorfloat32": "high", "highest": "highest", "float32": "highest",
}


def canonicalize_precision(precision: PrecisionLike) -> tuple[str, str] | str | None:
    """A precision as an op's field: None, a level per operand, or the name of an algorithm.

    >>> canonicalize_precision(Precision.HIGH), canonicalize_precision("float32")
    (('high', 'high'), ('highest', 'highest'))
    """
    precision = config.default_matmul_precision if precision is None else precision
    if precision is None:
        return None
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        return tuple((canonicalize_precision(p) or ("default",))[0] for p in precision)
    name = precision.name if isinstance(precision, (enum.Enum, DotAlgorithm)) else precision
    level = isinstance(name, str) and _PRECISION_OF_NAME.get(name.lower())
    if level:
        return level, level
    if name in DotAlgorithmPreset.__members__:
        return name
    raise ValueError(f"precision must be None, a lax.Precision, one of {', '.join(_PRECISION_OF_NAME)}, a pair of "
                     f"these, or a lax.DotAlgorithmPreset or its name; got {precision!r}")


class DotSpec(NamedTuple):
    """Where each axis of the two operands goes: pairs of batch axes, contracted axes and free axes."""
    batch: tuple[tuple[int, ...], tuple[int, ...]]
    contract: tuple[tuple[int, ...], tuple[int, ...]]
    free: tuple[tuple[int, ...], tuple[int, ...]]


def free_axes(ndim: int, *taken: Sequence[int]) -> tuple[int, ...]:
    used = {axis for axes in taken for axis in axes}
    return tuple(a for a in range(ndim) if a not in used)


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype that products are summed in: half floats lose too much in their own."""
    return np.dtype("float32") if dtype in (np.dtype("float16"), bfloat16) else dtype


@op_dataclass
class DotGeneral(Contraction):
    """Sum of products over the contracted axes; result axes: batch, free of lhs, free of rhs."""
    contract: tuple[tuple[int, ...], tuple[int, ...]]
    batch_axes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    precision: Any = None
    preferred: np.dtype | None = None

    def spec(self, x_ndim: int, y_ndim: int) -> DotSpec:
        (xc, yc), (xb, yb) = self.contract, self.batch_axes
        return DotSpec((xb, yb), (xc, yc), (free_axes(x_ndim, xc, xb), free_axes(y_ndim, yc, yb)))

    def flops(self, x: ArrayType, y: ArrayType) -> float:
        """Multiplications and additions."""
        return 2.0 * self.infer(x, y).size * math.prod(x.shape[a] for a in self.contract[0])

    def infer(self, x: ArrayType, y: ArrayType) -> ArrayType:
        check_dot_axes(x, y, self.contract, self.batch_axes)
        if x.dtype != y.dtype:
            raise DtypeError(f"dot: operands have different dtypes: {x} and {y}",
                             fix="convert one of them with lax.convert_element_type")
        (xf, yf), xb = self.spec(x.ndim, y.ndim).free, self.batch_axes[0]
        shape = tuple(x.shape[a] for a in xb + xf) + tuple(y.shape[a] for a in yf)
        return ArrayType(shape, self.preferred or x.dtype, self.preferred is None and x.weak_type and y.weak_type)

    def eval(self, x, y):
        spec, out = self.spec(x.ndim, y.ndim), self.preferred or x.dtype
        acc = np.promote_types(accumulator(x.dtype), accumulator(out)) if self.preferred else accumulator(out)
        sizes = [tuple(x.shape[a] for a in axes) for axes in (spec.batch[0], spec.free[0], spec.contract[0])]
        n, i, c = map(math.prod, sizes)
        yf = tuple(y.shape[a] for a in spec.free[1])
        left = np.transpose(x, spec.batch[0] + spec.free[0] + spec.contract[0]).reshape(n, i, c)
        right = np.transpose(y, spec.batch[1] + spec.contract[1] + spec.free[1]).reshape(n, c, math.prod(yf))
        product = np.matmul(left.astype(acc), right.astype(acc))
        return product.reshape(sizes[0] + sizes[1] + yf).astype(out)

    def transpose(self, ctx, ct, x, y):
        """d/dx: the cotangent's axes that came from y's free axes are contracted with them."""
        other = y if is_linear(x) else x
        if ct.dtype != other.dtype:
            common, _ = mixed_dtypes(type_of(ct), type_of(other))
            ct, other = converted(ct, common), converted(other, common)
        return (self.cotangent(ct, x, other, 0), None) if is_linear(x) else (None, self.cotangent(ct, y, other, 1))

    def cotangent(self, ct, mine, other, side: int):
        ndims = (mine.type.ndim, other.ndim) if side == 0 else (other.ndim, mine.type.ndim)
        spec, n = self.spec(*ndims), len(self.batch_axes[0])
        of_lhs, of_rhs = range(n, n + len(spec.free[0])), range(n + len(spec.free[0]), type_of(ct).ndim)
        op = DotGeneral((tuple(of_lhs if side else of_rhs), spec.free[1 - side]),
                        (tuple(range(n)), spec.batch[1 - side]), self.precision)
        # The result's axes are: batch, free of mine, then the other's contracted axes in the other's order.
        by_other = [a for _, a in sorted(zip(spec.contract[1 - side], spec.contract[side]))]
        order = (*spec.batch[side], *spec.free[side], *by_other)
        return converted(transpose(bind(op, ct, other), np.argsort(order)), mine.dtype)

    def cuts(self, types, out):
        spec = self.spec(types[0].ndim, types[1].ndim)
        paired = [Cut(k, axes) for k, axes in enumerate(zip(*spec.batch))]
        free = [*[(a, None) for a in spec.free[0]], *[(None, a) for a in spec.free[1]]]
        return [*paired, *[Cut(len(paired) + k, axes) for k, axes in enumerate(free)],
                *[Cut(None, axes) for axes in zip(*spec.contract)]]

    def batch(self, ctx, args, batched):
        """Two batched operands pair their batch axes; one batched operand has one free axis more."""
        up = lambda axes, b: tuple(a + 1 for a in axes) if b else axes
        contract = tuple(map(up, self.contract, batched))
        paired = tuple(map(up, self.batch_axes, batched))
        if all(batched):
            both = ((0, *paired[0]), (0, *paired[1]))
            return bind(DotGeneral(contract, both, self.precision, self.preferred), *args), True
        out = bind(DotGeneral(contract, paired, self.precision, self.preferred), *args)
        n = len(paired[0])
        where = n if batched[0] else n + len(free_axes(type_of(args[0]).ndim, contract[0], paired[0]))
        return move_to_front(out, where), True


def move_to_front(x, axis: int):
    rest = [a for a in range(type_of(x).ndim) if a != axis]
    return transpose(x, (axis, *rest)) if axis else x


def check_dot_axes(x: ArrayType, y: ArrayType, contract, batch) -> None:
    for kind, (xs, ys) in (("contracting", contract), ("batch", batch)):
        if len(xs) != len(ys):
            raise ShapeError(f"dot_general: {len(xs)} {kind} axes of lhs {xs} but {len(ys)} of rhs {ys}",
                             fix=f"give one {kind} axis of rhs for each of lhs")
        for a, b in zip(xs, ys):
            if x.shape[a] != y.shape[b]:
                verb = "contract" if kind == "contracting" else "pair the batch axes of"
                raise ShapeError(f"dot: cannot {verb} {x} with {y}: axis {a} of x is {x.shape[a]}, axis {b} of y is "
                                 f"{y.shape[b]}", fix=transposed_fix(x, y, a, b))
    for t, axes, name in ((x, contract[0] + batch[0], "lhs"), (y, contract[1] + batch[1], "rhs")):
        if len(set(axes)) != len(axes):
            raise ShapeError(f"dot_general: an axis of {name} {t} is named twice: contracted and batch axes are {axes}",
                             fix="each axis is contracted, batched or free")


def transposed_fix(x: ArrayType, y: ArrayType, a: int, b: int) -> str:
    """What was probably meant, when another axis does fit."""
    if y.ndim == 2 and y.shape[1 - b] == x.shape[a]:
        return "did you mean x @ y.T?"
    if x.ndim == 2 and x.shape[1 - a] == y.shape[b]:
        return "did you mean x.T @ y?"
    return f"make axis {a} of x and axis {b} of y equally long"


def axes_of(axes: Sequence[int], t: ArrayType, name: str) -> tuple[int, ...]:
    axes = tuple(int(a) for a in axes)
    for a in axes:
        if not 0 <= a < t.ndim:
            raise ShapeError(f"dot_general: axis {a} is out of range for {name} of type {t}",
                             fix=f"axes of {name} run from 0 to {t.ndim - 1}")
    return axes


def dot_general(lhs: Any, rhs: Any, dimension_numbers: DotDimensionNumbers, precision: PrecisionLike = None,
                preferred_element_type: Any = None, *, out_sharding: Any = None):
    """Sum of products over contracted axes, for every index of the batch and free axes.

    `dimension_numbers` is `((lhs_contract, rhs_contract), (lhs_batch, rhs_batch))`. The result's axes are the
    batch axes, then the free axes of lhs, then those of rhs. Products of float16 and bfloat16 are summed in
    float32. `preferred_element_type` is the dtype to sum in and return. Raises ShapeError where sizes differ.

    >>> import numpy as np
    >>> x, y = np.ones((5, 2, 3), "float32"), np.ones((5, 4, 3), "float32")
    >>> dot_general(x, y, (((2,), (2,)), ((0,), (0,)))).shape
    (5, 2, 4)
    """
    (xc, yc), (xb, yb) = dimension_numbers
    x, y = type_of(lhs), type_of(rhs)
    preferred = None if preferred_element_type is None else requested_dtype(preferred_element_type, called_by_program())
    if x.dtype != y.dtype:
        common, result = mixed_dtypes(x, y)
        lhs, rhs, preferred = converted(lhs, common), converted(rhs, common), preferred or result
    op = DotGeneral((axes_of(xc, x, "lhs"), axes_of(yc, y, "rhs")), (axes_of(xb, x, "lhs"), axes_of(yb, y, "rhs")),
                    canonicalize_precision(precision), NARROW.get(preferred, preferred))
    product = bind(op, lhs, rhs)
    return converted(product, preferred) if preferred in NARROW else product


def mixed_dtypes(x: ArrayType, y: ArrayType) -> tuple[np.dtype, np.dtype]:
    """Of operands with different dtypes: the dtype that holds both, and that of their product, which is one of theirs: the
    complex one, the one of the wider range, of more digits, of more bits, the signed one."""
    if x.weak_type or y.weak_type:
        dtype, _ = promote([(x.dtype, x.weak_type), (y.dtype, y.weak_type)])
        return dtype, dtype
    result = max(x.dtype, y.dtype, key=_rank_in_products)
    if not is_inexact(result):
        return result, result
    dtype, _ = promote([(NARROW.get(d, d), False) for d in (x.dtype, y.dtype)])
    return dtype, result


def _rank_in_products(dtype: np.dtype) -> tuple[int, ...]:
    kind = kind_of(dtype)
    part = real_dtype(dtype)
    reach, digits = (ml_dtypes.finfo(part).maxexp, ml_dtypes.finfo(part).nmant) if kind in "fc" else (-1, -1)
    return kind == "c", reach, digits, part.itemsize, kind != "u"


def dot(lhs: Any, rhs: Any, *, dimension_numbers: DotDimensionNumbers | None = None, precision: PrecisionLike = None,
        preferred_element_type: Any = None, out_sharding: Any = None):
    """Vector-vector, matrix-vector or matrix-matrix product: the last axis of lhs with the first of rhs.

    >>> import numpy as np
    >>> float(dot(np.float32([1, 2]), np.float32([3, 4])))
    11.0
    """
    x, y = type_of(lhs), type_of(rhs)
    if dimension_numbers is None:
        if not (1 <= x.ndim <= 2 and 1 <= y.ndim <= 2):
            raise ShapeError(f"dot: operands of types {x} and {y} must have one or two axes",
                             fix="use lax.batch_matmul, lax.dot_general, or jnp.matmul and the @ operator")
        dimension_numbers = (((x.ndim - 1,), (0,)), ((), ()))
    return dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: PrecisionLike = None):
    """Matrix products of the last two axes, for every index of the leading axes, which must agree.

    >>> import numpy as np
    >>> batch_matmul(np.ones((5, 2, 3), "float32"), np.ones((5, 3, 4), "float32")).shape
    (5, 2, 4)
    """
    x, y = type_of(lhs), type_of(rhs)
    if x.ndim < 2 or x.ndim != y.ndim or x.shape[:-2] != y.shape[:-2]:
        raise ShapeError(f"batch_matmul: {x} and {y} must have the same leading axes and two more",
                         fix="use jnp.matmul, which broadcasts")
    batch = tuple(range(x.ndim - 2))
    return dot_general(lhs, rhs, (((x.ndim - 1,), (x.ndim - 2,)), (batch, batch)), precision)

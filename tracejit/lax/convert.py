"""Values as values of another dtype, weak values as operands beside arrays, and values as constants."""
from __future__ import annotations

import warnings
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from tracejit import tree
from tracejit.errors import DtypeError, called_by_program, user_source
from tracejit.ir.graph import Lit
from tracejit.ir.trace import bind, hooks
from tracejit.ir.types import (NARROW, ArrayType, requested_dtype, is_float, is_inexact, is_integer, kind_of, promote,
                               type_of)
from tracejit.lax.kinds import BuiltIn, Elementwise, built_in, op_dataclass
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def operands(*xs: Any) -> tuple:
    """Values as operands of one elementwise op: of one dtype, and axes of size 1 repeated to fit those of the others.

    Only between arrays with as many axes, as in JAX; `infer` refuses the rest.
    """
    xs = of_one_dtype(*xs)
    shapes = [type_of(x).shape for x in xs]
    first = shapes[0]
    if all([s == first or not s for s in shapes]):
        return xs
    arrays = [s for s in shapes if s]
    if len({len(s) for s in arrays}) > 1 or any(len(set(sizes) - {1}) > 1 for sizes in zip(*arrays)):
        return xs
    shape = tuple([next((n for n in sizes if n != 1), 1) for sizes in zip(*arrays)])
    repeat = built_in("broadcast_in_dim")  # its module builds on this one
    where = tuple(range(len(shape)))
    return tuple([repeat.bind(x, shape=shape, dimensions=where) if s and s != shape else x for x, s in zip(xs, shapes)])


def of_one_dtype(*xs: Any) -> tuple:
    """Values as operands of one op: weak ones take the dtype of the arrays beside them.

    A weak value of a higher kind (2.5 beside integers) is left alone, for `infer` to refuse.
    """
    types = [type_of(x) for x in xs]
    first = types[0].dtype
    if all([t.dtype is first or t.dtype == first for t in types]):
        return xs
    strong = [t.dtype for t in types if not t.weak_type]
    dtype, weak = (strong[0], False) if strong else promote([(t.dtype, True) for t in types])
    return tuple([_adopt(x, t, dtype, weak) if t.weak_type and t.dtype != dtype else x for x, t in zip(xs, types)])


def _adopt(x: Any, t: ArrayType, dtype: np.dtype, weak: bool) -> Any:
    if _RANK[kind_of(t.dtype)] > _RANK[kind_of(dtype)]:
        return x
    if isinstance(x, (int, float, complex, np.generic)):
        return Lit(x, ArrayType((), dtype, weak))
    return bind(ConvertElementType(dtype, weak), x)


@op_dataclass
class ConvertElementType(Elementwise):
    """x as another dtype: floats round to nearest even; to integers they truncate and saturate, nan to 0."""
    moves: ClassVar[bool] = True
    dtype: np.dtype
    weak: bool = False
    linear: ClassVar[bool] = True

    def infer(self, x): return ArrayType(x.shape, self.dtype, self.weak)

    def eval(self, x):
        x = np.real(x) if x.dtype.kind == "c" and self.dtype.kind not in "cb" else x
        return _saturated(x, self.dtype) if is_float(x.dtype) and is_integer(self.dtype) else x.astype(self.dtype)

    def bounds(self, types, x):
        kinds = types[0].dtype.kind + self.dtype.kind
        return x if all(k in "biu" for k in kinds) and not (kinds != "bb" and kinds[1] == "b") else None

    def scalar(self, b, x): return b.convert(x, self.dtype)
    def transpose(self, ctx, ct, x): return (bind(ConvertElementType(x.dtype), ct),)


def bind_wide(op: Any, inputs: Any, types: Any) -> list:
    """An op on 8-bit floats or integers of fewer bits: computed in the dtype that `NARROW` names, and rounded (integers wrap)."""
    wide = lambda x: bind(ConvertElementType(NARROW[x.type.dtype], x.type.weak_type), x) if x.type.is_narrow else x
    outs = bind(op, *map(wide, inputs))
    outs = outs if op.multiple else [outs]
    return [bind(ConvertElementType(t.dtype, t.weak_type), x) if t.is_narrow else x for x, t in zip(outs, types, strict=True)]


hooks.bind_wide = bind_wide


def _saturated(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    info = ml_dtypes.iinfo(dtype)
    x = np.trunc(np.nan_to_num(x.astype(np.float64), posinf=np.inf, neginf=-np.inf))
    above, below = x >= float(info.max) + (dtype.itemsize < 8), x < float(info.min)
    inside = np.where(above | below, 0, x).astype(dtype)
    return np.where(above, info.max, np.where(below, info.min, inside)).astype(dtype)


def convert_element_type(operand: Any, new_dtype: Any) -> Any:
    """operand as new_dtype, which is a dtype or Python's bool, int, float or complex.

    A complex array loses its imaginary part unless new_dtype is complex too, with a ComplexWarning; a Python complex
    number has no real dtype.

    >>> convert_element_type(2.75, np.int32)
    Array(2, dtype=int32)
    """
    if new_dtype is None:
        raise DtypeError("convert_element_type: the dtype to convert to is None", source=user_source(), fix="name one")
    return converted(operand, requested_dtype(new_dtype, called_by_program()))


def converted(operand: Any, dtype: np.dtype) -> Any:
    """`convert_element_type` to the dtype of something that is there, which x64 mode does not narrow any more."""
    if type(operand) is int and is_integer(dtype):      # an integer of any size wraps
        operand = int(np.array(operand & 2**64 - 1, np.uint64).astype(dtype))
    t = type_of(operand)
    if t.dtype == dtype and not t.weak_type and not isinstance(operand, (np.ndarray, np.generic, bool)):
        return operand
    if type(operand) is complex and kind_of(dtype) in "iuf":
        raise DtypeError(f"the complex number {operand} is no {dtype}", source=user_source(), fix="take its real part")
    if kind_of(t.dtype) == "c" and kind_of(dtype) != "c":
        warnings.warn("the imaginary part of complex numbers is discarded: use lax.real where that is meant",
                      np.exceptions.ComplexWarning, stacklevel=2)
    return bind(ConvertElementType(dtype), operand)


@op_dataclass
class StopGradient(Elementwise):
    """x, taken as a constant by differentiation."""
    moves: ClassVar[bool] = True
    stops_derivatives = True

    def eval(self, x): return x
    def scalar(self, b, x): return x


stop_gradient_p = BuiltIn(StopGradient)


def stop_gradient(x: Any) -> Any:
    """The arrays of a tree, taken as constants by differentiation.

    >>> print(stop_gradient(2.0))
    2.0
    """
    return tree.map(lambda leaf: bind(StopGradient(), leaf) if is_inexact(type_of(leaf).dtype) else leaf, x)

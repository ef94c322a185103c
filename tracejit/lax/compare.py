"""Comparisons and choices: eq ... ge give booleans, select_n and select pick by them."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, user_source
from tracejit.ir.affine import TESTS
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax.convert import convert_element_type, of_one_dtype, operands
from tracejit.lax.kinds import Elementwise, has_tangent, hull, is_linear, op_dataclass


@op_dataclass
class Comparison(Elementwise):
    """A boolean of two operands of one dtype."""
    accepts: ClassVar[str] = "biuf"

    def infer(self, x, y):
        t = super().infer(x, y)
        return ArrayType(t.shape, np.dtype(bool))

    def bounds(self, types, x, y):
        if types[0].dtype.kind not in "biu":
            return None
        found = TESTS[self.name](x[0] - y[1], x[1] - y[0])
        return None if found is None else (int(found), int(found))


@op_dataclass
class Eq(Comparison):
    """x = y."""
    accepts: ClassVar[str] = "biufcV"

    def eval(self, x, y): return np.equal(x, y)
    def joined(self, ctx, out): return ctx.all(out)


def eq(x: Any, y: Any) -> Any: return bind(Eq(), *operands(x, y))


@op_dataclass
class Ne(Comparison):
    """x is not y."""
    accepts: ClassVar[str] = "biufcV"

    def eval(self, x, y): return np.not_equal(x, y)
    def joined(self, ctx, out): return ctx.any(out)


def ne(x: Any, y: Any) -> Any: return bind(Ne(), *operands(x, y))


@op_dataclass
class Lt(Comparison):
    """x < y."""

    def eval(self, x, y): return np.less(x, y)


def lt(x: Any, y: Any) -> Any: return bind(Lt(), *operands(x, y))


@op_dataclass
class Le(Comparison):
    """x <= y."""

    def eval(self, x, y): return np.less_equal(x, y)


def le(x: Any, y: Any) -> Any: return bind(Le(), *operands(x, y))


@op_dataclass
class Gt(Comparison):
    """x > y."""

    def eval(self, x, y): return np.greater(x, y)


def gt(x: Any, y: Any) -> Any: return bind(Gt(), *operands(x, y))


@op_dataclass
class Ge(Comparison):
    """x >= y."""

    def eval(self, x, y): return np.greater_equal(x, y)


def ge(x: Any, y: Any) -> Any: return bind(Ge(), *operands(x, y))


@op_dataclass
class IsFinite(Elementwise):
    """Whether x is neither infinite nor nan."""
    accepts: ClassVar[str] = "f"

    def infer(self, x): return ArrayType(super().infer(x).shape, np.dtype(bool))
    def eval(self, x): return np.isfinite(x)


def is_finite(x: Any) -> Any: return bind(IsFinite(), x)


@op_dataclass
class SelectN(Elementwise):
    """cases[which], element by element; a boolean `which` takes the second case where it is true."""
    moves: ClassVar[bool] = True
    accepts: ClassVar[str] = "biufcV"

    def infer(self, which, *cases):
        t = super().infer(*cases)
        self.check_which(which, len(cases))
        if which.ndim and t.ndim and which.shape != t.shape:
            raise self.shape_error([which, *cases])
        return t.update(shape=which.shape) if which.ndim else t

    def check_which(self, which, n_cases: int):
        if which.dtype.kind == "b" and n_cases <= 2 or which.dtype == np.int32:
            return
        raise DtypeError(f"select_n: cannot choose among {n_cases} cases by {which}", source=user_source(),
                         fix="choose by booleans (two cases), or by int32")

    def bounds(self, types, which, *cases):
        first, last = (min(max(k, 0), len(cases) - 1) for k in which)
        return hull(*cases[first:last + 1])

    def eval(self, which, *cases):
        if which.dtype.kind == "b":
            return np.where(which, cases[-1], cases[0])
        return np.choose(np.clip(which, 0, len(cases) - 1), np.broadcast_arrays(*cases, which)[:-1])

    def scalar(self, b, which, *cases):
        if which.dtype.kind == "b":
            return b.select(which, cases[-1], cases[0])
        out = cases[-1]
        for i in reversed(range(len(cases) - 1)):
            out = b.select(b.le(which, b.const(i, which.dtype)), cases[i], out)
        return out

    def jvp(self, ctx, primals, tangents):
        out = bind(self, *primals)
        if not has_tangent(out):
            return out, None
        return out, bind(self, primals[0], *ctx.instantiate(primals[1:], tangents[1:]))

    def transpose(self, ctx, ct, which, *cases):
        def part(i):
            zero = np.zeros((), ct.dtype)
            return bind(self, which, *[ct if i == j else zero for j in range(len(cases))])
        return None, *[ctx.unbroadcast(part(i), x) if is_linear(x) else None for i, x in enumerate(cases)]


def select_n(which: Any, *cases: Any) -> Any:
    """cases[which], element by element. `which` is bool (two cases) or an integer; cases share one dtype and shape.

    >>> select_n(np.array([False, True]), np.array([1, 2]), np.array([10, 20]))
    Array([ 1, 20], dtype=int64)
    """
    if not cases:
        raise ValueError("select_n() must have at least one case")
    kind = type_of(which).dtype
    if kind.kind in "iu" and kind != np.int32:
        which = convert_element_type(which, np.int32)
    return bind(SelectN(), which, *of_one_dtype(*cases))


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """on_true where pred, else on_false."""
    on_false, on_true = of_one_dtype(on_false, on_true)
    return bind(SelectN(), pred, on_false, on_true)

"""A few operands for every op: what the tests of all ops are derived from. An op without samples fails the suite."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tracejit.ir.trace import trace
from tracejit.ir.types import ArrayType, type_of
from tracejit.lax import (barrier, bessel, bits, compare, convert, cumulative, dynamic, eigen, elementary, elementwise,
                          factorize, first_true, incomplete, incomplete_beta, index, moments, reinterpret, schur, shape, solve,
                          special, window)
from tracejit.lax.kinds import Op

# Modules whose name in tracejit.lax is that of their main function.
repeat, conv, dot, fft, fold, sort = (import_module(f"tracejit.lax.{name}")
                                      for name in ("broadcast", "conv", "dot", "fft", "reduce", "sort"))

RNG = np.random.default_rng(7)
F32, F64, I32, BOOL = map(np.dtype, ("float32", "float64", "int32", "bool"))


@dataclass(frozen=True)
class Sample:
    """An op with operands. Floats are given in float64; tests convert the operands in `swept` to other dtypes."""
    op: Op
    args: tuple[np.ndarray, ...]
    smooth: bool = True                   # near these operands the op equals its derivative's integral
    twice: bool = True                    # so does its derivative
    swept: tuple[int, ...] | None = None  # operands whose dtype may vary together; by default those of the first's
    half: bool = True                     # also tried in 16-bit floats and small integers
    fixed: tuple[int, ...] = ()           # operands that have no derivative
    exact: bool = True                    # linear rules hold to the last bits

    @property
    def sweep(self) -> tuple[int, ...]:
        if self.swept is not None or not self.args:
            return self.swept or ()
        return tuple(i for i, x in enumerate(self.args) if x.dtype == self.args[0].dtype)

    def __str__(self) -> str:
        return f"{type(self.op).__name__}-{'x'.join(str(type_of(x)) for x in self.args)}"


def uniform(low: float, high: float, *size: int) -> np.ndarray:
    return np.asarray(RNG.uniform(low, high, size))


def integers(low: int, high: int, *size: int, dtype: Any = np.int32) -> np.ndarray:
    return RNG.integers(low, high, size, dtype=dtype)


def distinct(*size: int) -> np.ndarray:
    """Numbers far apart, in random order: so that sorting and extremes are smooth."""
    return RNG.permutation(int(np.prod(size))).reshape(size) * 0.5 - 2.0


def complex_of(*size: int) -> np.ndarray:
    return np.asarray(uniform(-1.5, 1.5, *size) + 1j * uniform(-1.5, 1.5, *size))


def unary(op: Op, low: float, high: float, **how: Any) -> list[Sample]:
    found = [Sample(op, (uniform(low, high, 3, 4),), **how)]
    if "c" in op.accepts:
        found.append(Sample(op, (complex_of(5),), **how))
    return found


def binary(op: Op, low: float = -2, high: float = 2, **how: Any) -> list[Sample]:
    found = [Sample(op, (uniform(low, high, 3, 4), uniform(low, high, 3, 4)), **how),
             Sample(op, (uniform(low, high, 4), uniform(low, high)), **how),
             Sample(op, (uniform(low, high), uniform(low, high, 2)), **how)]
    if "c" in op.accepts:
        found.append(Sample(op, (complex_of(5), complex_of(5)), **how))
    return found


def whole(op: Op, *bounds: tuple[int, int]) -> list[Sample]:
    return [Sample(op, tuple(integers(lo, hi, 3, 4) for lo, hi in bounds))]


def arithmetic() -> list[Sample]:
    e = elementwise
    return [
        *unary(e.Neg(), -2, 2), *binary(e.Add()), *binary(e.Sub()), *binary(e.Mul()), *binary(e.Div(), 0.5, 4),
        Sample(e.Div(), (integers(-9, 9, 20), integers(-3, 4, 20))), *binary(e.Rem(), 0.7, 9),
        Sample(e.Rem(), (uniform(-50, 50, 9), uniform(0.5, 4, 9))), Sample(e.Rem(), (integers(-9, 9, 20), integers(-3, 4, 20))),
        *unary(e.Sign(), -2, 2, smooth=False), Sample(e.Sign(), (np.array([0.0, -0.0, 3, -3, np.inf, np.nan]),), smooth=False),
        *unary(e.Abs(), 0.1, 2), *unary(e.Abs(), -2, -0.1), *unary(e.Square(), -2, 2),
        *[s for y in (-3, -1, 0, 2, 3, 7) for s in unary(e.IntegerPow(y), 0.5, 1.7)],
        *binary(e.Pow(), 0.5, 2), Sample(e.Pow(), (uniform(0.5, 2, 6), integers(-3, 4, 6)), swept=(0,)),
        Sample(e.Pow(), (np.array([0.0, -1.5, 2, -2, 0, 1]), np.array([0, 2.0, -1, 3, 2, np.nan])), smooth=False, twice=False),
        *unary(e.Log(), 0.2, 5), *unary(e.Sqrt(), 0.2, 5), *unary(e.Rsqrt(), 0.2, 5), *unary(e.Cbrt(), 0.2, 5),
        Sample(e.Cbrt(), (uniform(-5, -0.2, 4),)), *binary(e.Max()), *binary(e.Min()),
        Sample(e.Max(), (np.array([1.0, np.nan, 2, -np.inf]), np.array([np.nan, 1.0, 2, 1])), smooth=False),
        Sample(e.Clamp(), (uniform(-1, 0, 7), uniform(-3, 3, 7), uniform(0, 1, 7))),
        Sample(e.Clamp(), (np.array(-0.5), uniform(-3, 3, 3, 4), np.array(0.5))),
        *unary(e.Floor(), -5, 5), *unary(e.Ceil(), -5, 5), *[s for m in (0, 1) for s in unary(e.Round(m), -5, 5)],
        *[Sample(e.Round(m), (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),), smooth=False) for m in (0, 1)],
        *binary(e.Nextafter(), smooth=False), Sample(e.Real(), (complex_of(5),)), Sample(e.Imag(), (complex_of(5),)),
        Sample(e.Complex(), (uniform(-2, 2, 4), uniform(-2, 2, 4)), half=False),
        Sample(e.Complex(), (uniform(-2, 2), uniform(-2, 2, 4)), half=False),
        *unary(e.Conj(), -2, 2, half=False),
    ]


def elementary_functions() -> list[Sample]:
    m = elementary
    return [
        *unary(m.Exp(), -3, 3), *unary(m.Exp2(), -3, 3), *unary(m.Expm1(), -2, 2), *unary(m.Log1p(), -0.8, 4),
        *unary(m.Logistic(), -4, 4), *unary(m.Sin(), -7, 7), *unary(m.Cos(), -7, 7), *unary(m.Tan(), -1.2, 1.2),
        *unary(m.Asin(), -0.9, 0.9), *unary(m.Acos(), -0.9, 0.9), *unary(m.Atan(), -4, 4), *binary(m.Atan2(), 0.3, 3),
        Sample(m.Atan2(), (np.array([0.0, -0.0, 1, -1, 2]), np.array([-1.0, -1, 0, -1, -3])), smooth=False),
        *unary(m.Sinh(), -3, 3), *unary(m.Cosh(), -3, 3), *unary(m.Tanh(), -3, 3), *unary(m.Asinh(), -3, 3),
        *unary(m.Acosh(), 1.3, 5), *unary(m.Atanh(), -0.8, 0.8),
        *unary(special.Erf(), -3, 3), *unary(special.Erfc(), -2, 3), *unary(special.Erfcx(), -2, 3), *unary(special.ErfInv(), -0.9, 0.9),
        *unary(special.Lgamma(), 0.3, 9), *unary(special.Digamma(), 0.3, 9),
        Sample(special.Lgamma(), (uniform(-3.4, -3.1, 4),), half=False),
        Sample(special.Digamma(), (uniform(-3.4, -3.1, 4),), half=False),
        Sample(special.Zeta(), (np.array([2.0, 3, 1.5, 4]), uniform(0.4, 9, 4)), fixed=(0,)),
        Sample(special.Zeta(), (np.array([1.0, 0.5, 2, 3, 2.5, 2, 4]), np.array([2.0, 2, -1.5, -2, -1.5, 1e9, 0])), smooth=False,
               half=False, fixed=(0,)),
        *binary(cumulative.LogAddExp(), -3, 3), *special_functions(),
    ]


def special_functions() -> list[Sample]:
    i, shapes, edges = incomplete, uniform(0.3, 6, 4, 5), (np.array([0.0, 2, 2, -1, 0, 1]), np.array([1.0, 0, np.inf, 1, 0, -1]))
    gammas = [Sample(op, (shapes, uniform(0.1, 9, 4, 5)), half=False, fixed=fixed, twice=False) for op, fixed in (
        (i.Igamma(), ()), (i.Igammac(), ()), (i.IgammaGradA(), (0, 1)), (i.RandomGammaGrad(), (0, 1)))]
    large = [Sample(op, (np.array([50.0, 200, 1e3, 30]), np.array([60.0, 190, 1010, 80])), half=False, fixed=(0, 1))
             for op in (i.Igamma(), i.Igammac(), i.IgammaGradA(), i.RandomGammaGrad())]
    return [
        *gammas, *large, *[Sample(op, edges, fixed=(0, 1), half=False) for op in (i.Igamma(), i.Igammac())],
        Sample(i.Igamma(), (np.array(2.5), uniform(0.1, 9, 6)), half=False, twice=False),
        Sample(incomplete_beta.Betainc(), (uniform(0.3, 5, 9), uniform(0.3, 5, 9), uniform(0.05, 0.95, 9)), half=False, fixed=(0, 1)),
        Sample(incomplete_beta.Betainc(), (np.array([50.0, 300, 2, 0, 2, 2, -1]), np.array([60.0, 200, 3, 2, 0, 3, 1]),
                             np.array([0.4, 0.61, 1, 0.5, 0.5, 0, 0.5])), half=False, fixed=(0, 1, 2)),
        *[Sample(op, (x,), half=False) for op in (bessel.BesselI0e(), bessel.BesselI1e())
          for x in (uniform(-9, 9, 7), np.array([24.9, 25.1, 40, -90, 1e4]), uniform(-24, 24, 2, 3))],
        Sample(bessel.BesselI1e(), (np.array([0.0, np.inf, np.nan, -np.inf]),), half=False, smooth=False),
    ]


def bit_operations() -> list[Sample]:
    two = [(-99, 99), (-99, 99)]
    counts = [(-99, 99), (0, 9)]
    return [
        *[s for op in (bits.BitwiseAnd(), bits.BitwiseOr(), bits.BitwiseXor()) for s in whole(op, *two)],
        *whole(bits.BitwiseNot(), (-99, 99)), Sample(bits.BitwiseNot(), (np.array([True, False]),)),
        *[s for op in (bits.ShiftLeft(), bits.ShiftRightArithmetic(), bits.ShiftRightLogical()) for s in whole(op, *counts)],
        *[Sample(op, (integers(-99, 99, 6), np.array([0, 7, 31, 32, 33, -1], np.int32)))
          for op in (bits.ShiftLeft(), bits.ShiftRightArithmetic(), bits.ShiftRightLogical())],
        *whole(bits.PopulationCount(), (-99, 99)), *whole(bits.Clz(), (-99, 99)),
        Sample(bits.Clz(), (np.array([0, 1, -1, 2**31 - 1], np.int32),)),
        *[Sample(reinterpret.Bitcast(np.dtype(to)), (uniform(-2, 2, 5).astype(of),), swept=(), smooth=False)
          for of, to in (("f4", "i4"), ("f8", "u8"), ("f2", "i2"))],
        Sample(reinterpret.Bitcast(F32), (integers(0, 2**30, 5),), swept=(), smooth=False),
        *[Sample(reinterpret.ReducePrecision(e, m), (np.array([1.2345, -9.87e9, 3e-9, 65504.0, -1e-5, np.inf, np.nan, 0.1]),),
                 smooth=False, half=False, exact=False) for e, m in ((5, 10), (8, 7), (4, 3), (11, 20))],
    ]


def comparisons() -> list[Sample]:
    found = [s for op in (compare.Eq(), compare.Ne(), compare.Lt(), compare.Le(), compare.Gt(), compare.Ge())
             for s in (Sample(op, (np.array([1.0, 2, np.nan, -0.0]), np.array([1.0, 3, np.nan, 0.0]))),
                       Sample(op, (integers(-2, 2, 3, 3), integers(-2, 2, 3, 3))))]
    which = np.array([True, False, True])
    return [
        *found, Sample(compare.IsFinite(), (np.array([1.0, np.inf, -np.inf, np.nan]),)),
        Sample(compare.SelectN(), (which, uniform(-2, 2, 3), uniform(-2, 2, 3)), swept=(1, 2)),
        Sample(compare.SelectN(), (np.array(True), uniform(-2, 2, 2, 3), uniform(-2, 2)), swept=(1, 2)),
        Sample(compare.SelectN(), (which, complex_of(3), complex_of()), swept=()),
        Sample(compare.SelectN(), (integers(0, 3, 4), *[uniform(-2, 2, 4) for _ in range(3)]), swept=(1, 2, 3)),
        *[Sample(convert.ConvertElementType(np.dtype(to)), (np.array([0.0, 1.5, -2.5, 3.99, -0.4]).astype(of),), swept=(),
                 smooth=of == "f8" and to == "c16", exact=False, half=False)
          for of in ("f8", "f4", "f2", "c16", "i4", "?") for to in ("f8", "f4", "i4", "i1", "c16", "?")
          if of != to and not (of == "c16" and to in ("f4",))],
        Sample(convert.ConvertElementType(I32), (np.array([np.nan, np.inf, -np.inf, 3e10, -3e10, 2147483520.0]),), swept=()),
        Sample(convert.ConvertElementType(np.dtype("u1")), (np.array([-1.0, 255, 256, 300]),), swept=()),
        Sample(convert.StopGradient(), (uniform(-2, 2, 3),), smooth=False),
    ]


def views() -> list[Sample]:
    x = uniform(-2, 2, 2, 3, 4)
    s = shape
    return [
        Sample(repeat.BroadcastInDim((2, 5, 3), (0, 2)), (uniform(-2, 2, 2, 3),)),
        Sample(repeat.BroadcastInDim((2, 5, 3), (0, 2)), (uniform(-2, 2, 1, 3),)),
        Sample(repeat.BroadcastInDim((2, 3), ()), (uniform(-2, 2),)), Sample(repeat.BroadcastInDim((), ()), (uniform(-2, 2),)),
        Sample(repeat.BroadcastInDim((0, 3), (1,)), (uniform(-2, 2, 3),)),
        Sample(repeat.Iota(I32, (3, 4), 1), ()), Sample(repeat.Iota(F32, (3,), 0), ()), Sample(repeat.Iota(F64, (0, 3), 1), ()),
        *[Sample(s.Reshape(to), (x,)) for to in ((24,), (6, 4), (2, 12), (4, 6), (1, 2, 3, 1, 4), (3, 2, 4), (8, 3))],
        Sample(s.Reshape(()), (uniform(-2, 2, 1, 1),)), Sample(s.Reshape((1, 1)), (uniform(-2, 2),)),
        Sample(s.Reshape((0, 5)), (np.zeros((3, 0)),)), Sample(repeat.Transpose((2, 0, 1)), (x,)), Sample(repeat.Transpose(()), (uniform(0, 1),)),
        Sample(s.Rev((0, 2)), (x,)), Sample(s.Rev(()), (x,)),
        Sample(s.Slice((0, 1, 0), (2, 3, 4), (1, 1, 2)), (x,)), Sample(s.Slice((1, 0, 1), (1, 3, 4), (1, 2, 3)), (x,)),
        *[Sample(s.Pad((c, (0, 0, 0))), (uniform(-2, 2, 3, 2), uniform(-2, 2)))
          for c in ((1, 2, 0), (-1, 1, 0), (0, 0, 2), (-1, -1, 1), (2, -3, 1), (-2, -1, 0), (3, 0, 0))],
        Sample(s.Pad(((1, 1, 3),)), (np.zeros(0), uniform(-2, 2))),
        Sample(s.Concatenate(1), (uniform(-2, 2, 2, 3), uniform(-2, 2, 2, 1), uniform(-2, 2, 2, 0), uniform(-2, 2, 2, 2))),
        Sample(s.Concatenate(0), (uniform(-2, 2, 3),)),
        *dynamic_slices(), *gathers(), *slides(), Sample(barrier.OptimizationBarrier(), (x, uniform(-1, 1, 2)), swept=(0,)),
        Sample(barrier.Copy(), (x,)),
    ]


def dynamic_slices() -> list[Sample]:
    x, y = uniform(-2, 2, 4, 5), uniform(-2, 2, 2, 3)
    starts = [(1, 2), (3, 4), (-1, -3), (-9, 0), (0, 0)]
    places = [tuple(np.array(i, np.int32) for i in s) for s in starts]
    return [
        *[Sample(dynamic.DynamicSlice((2, 3)), (x, *p)) for p in places],
        Sample(dynamic.DynamicSlice((4, 1)), (x, np.array(3, np.uint8), np.array(200, np.uint8))),
        Sample(dynamic.DynamicSlice((2,)), (np.arange(300.0), np.array(-2, np.int8)), half=False, twice=False),
        *[Sample(dynamic.DynamicUpdateSlice(), (x, y, *p)) for p in places],
        Sample(dynamic.DynamicUpdateSlice(), (x, uniform(-2, 2, 4, 5), *places[0])),
    ]


def numbers(*fields: tuple[int, ...]) -> tuple:
    return fields + ((),) * (5 - len(fields))


def gathers() -> list[Sample]:
    x, rows = uniform(-2, 2, 5, 4), integers(-2, 7, 3, 1)
    points = integers(0, 4, 6, 2)
    cases = [(numbers((1,), (0,), (0,)), (1, 4), rows), (numbers((1, 2), (), (0,)), (2, 3), rows),
             (numbers((), (0, 1), (0, 1)), (1, 1), points), (numbers((0,), (1,), (1,)), (3, 1), rows),
             (numbers((), (1,), (1,), (0,), (0,)), (1, 1), integers(0, 4, 5, 2, 1))]
    found = [Sample(index.Gather(*n, sizes, mode, False, fill), (x, at), smooth=fill is not None or mode == "clip")
             for n, sizes, at in cases for mode in ("clip", "fill") for fill in (None, 7)]
    add = [Sample(kind(*n, sizes, mode), (x, at, uniform(-2, 2, *windows(n, sizes, at))), twice=kind is not index.ScatterMul)
           for kind in (index.Scatter, index.ScatterAdd, index.ScatterMul, index.ScatterMin, index.ScatterMax)
           for n, sizes, at in cases for mode in ("clip", "fill")]
    square, _ = trace(lambda v: [elementwise.square(v)], [ArrayType((), F64)])
    n, sizes, at = cases[2]
    applied = Sample(index.ScatterApply(*n, sizes, "clip", function=square), (x, at, np.zeros(6)), swept=(), fixed=(0, 2))
    zero = Sample(index.ScatterMul(*n, sizes, "clip"), (x, points, np.array([0.0, 2, 0, 3, 1, 2])), twice=False)
    return [*found, *add, applied, zero]


def windows(n: tuple, sizes: tuple[int, ...], at: np.ndarray) -> tuple[int, ...]:
    return index.Windows(*n, sizes).result_shape(at.shape)


def slides() -> list[Sample]:
    plain = window.Track(0, 1, 6, 1, 1, 0)
    spread = window.Track(0, 1, 5, 2, 3, -2, 2)
    windows_of = lambda n: uniform(-2, 2, 3, n)
    return [Sample(window.Slide((plain,)), (windows_of(8), np.array(0.0))),
            Sample(window.Slide((spread,)), (windows_of(6), np.array(0.5)))]


def reductions() -> list[Sample]:
    x = distinct(2, 3, 4)
    pair, _ = trace(lambda a, i, b, j: [elementwise.add(elementwise.mul(a, b), elementwise.add(a, b)), elementwise.max(i, j)],
                    [ArrayType((), F64), ArrayType((), I32)] * 2)
    found = [Sample(kind(axes), (x,), half=kind is not fold.ReduceProd) for kind in (repeat.ReduceSum, fold.ReduceProd,
                                                                                     fold.ReduceMax, fold.ReduceMin)
             for axes in ((1,), (0, 2), (0, 1, 2), ())]
    found += [Sample(moments.ReduceDeviations(axes), (x,), half=False) for axes in ((1,), (0, 2), (0, 1, 2))]
    found += [Sample(kind(axes), (x,)) for kind in (window.WindowMax, window.WindowMin) for axes in ((0,), (0, 1))]
    logic = [Sample(kind(axes), (v,)) for kind in (fold.ReduceAnd, fold.ReduceOr, fold.ReduceXor) for axes in ((0,), (0, 1))
             for v in (integers(-50, 50, 3, 4), integers(0, 2, 3, 4) == 1)]
    where = [Sample(kind((axis,), I32), (x,)) for kind in (fold.ArgMax, fold.ArgMin) for axis in (0, 2)]
    odd = [Sample(kind((0,), I32), (np.array([[1.0, np.nan, np.inf], [2, np.nan, np.inf], [2, 0, 1]]),))
           for kind in (fold.ArgMax, fold.ArgMin)]
    return [
        *found, *logic, *where, *odd, Sample(fold.ReduceProd((0,)), (np.array([[0.0, 2, 0], [3, 4, 0], [1, 2, 5]]),)),
        Sample(repeat.ReduceSum((0,)), (np.zeros((0, 3)),)), Sample(moments.ReduceDeviations((0,)), (np.zeros((0, 3)),)),
        Sample(fold.ReduceMax((0,)), (np.zeros((0, 3)),), smooth=False),
        Sample(fold.ReduceProd((0,)), (np.zeros((0, 3)),)), Sample(repeat.ReduceSum((0, 1)), (complex_of(3, 4),)),
        Sample(fold.ReduceProd((1,)), (complex_of(3, 4),)), Sample(fold.ReduceMax((0,)), (complex_of(6),), smooth=False),
        Sample(fold.ReduceMax((0,)), (np.array([1.0, np.nan, 2]),), smooth=False), Sample(fold.ReduceOr((0,)), (np.zeros((0, 2), bool),)),
        Sample(fold.Reduce((1,), pair), (uniform(-1, 1, 3, 7), integers(0, 9, 3, 7)), swept=()),
        Sample(fold.Reduce((0, 1), pair), (uniform(-1, 1, 3, 2), integers(0, 9, 3, 2)), swept=()),
        *[Sample(kind(axis, reverse), (distinct(3, 5) * 0.3,)) for kind in (cumulative.Cumsum, cumulative.Cumprod, cumulative.Cummax,
                                                                          cumulative.Cummin, cumulative.Cumlogsumexp)
          for axis, reverse in ((0, False), (1, True))],
        Sample(cumulative.Cumprod(0, False), (np.array([2.0, 0, 3, 0, 4]),)), Sample(cumulative.Cumsum(0, True), (complex_of(4),)),
        Sample(cumulative.Cummax(0, False), (np.array([1.0, np.nan, 2]),), smooth=False),
        Sample(cumulative.Cumlogsumexp(0, False), (np.array([-np.inf, -np.inf, 1, 800.0]),), smooth=False, half=False),
    ]


def contractions() -> list[Sample]:
    two = lambda *of: Sample(dot.DotGeneral(*of[2:]), (uniform(-1, 1, *of[0]), uniform(-1, 1, *of[1])))
    one = conv.ConvGeneralDilated
    image = ((0, 1, 2, 3),) * 3
    return [
        two((3, 4), (4, 5), ((1,), (0,))), two((4,), (4,), ((0,), (0,))), two((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))),
        two((3, 4), (5, 4), ((1,), (1,))), two((3, 0), (0, 2), ((1,), (0,))), two((2, 3), (4,), ((), ())),
        Sample(dot.DotGeneral(((1,), (0,))), (complex_of(3, 4), complex_of(4, 2))),
        Sample(one((1,), ((1, 1),), (1,), (1,), ((0, 1, 2),) * 3), (uniform(-1, 1, 2, 3, 6), uniform(-1, 1, 4, 3, 3))),
        Sample(one((2, 1), ((1, 0), (0, 2)), (1, 2), (2, 1), image), (uniform(-1, 1, 2, 2, 6, 5), uniform(-1, 1, 3, 2, 2, 3))),
        Sample(one((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), image, 2), (uniform(-1, 1, 1, 4, 4, 4), uniform(-1, 1, 6, 2, 2, 2))),
        Sample(one((1,), ((0, 0),), (1,), (1,), ((0, 1, 2),) * 3, 1, 2), (uniform(-1, 1, 4, 3, 5), uniform(-1, 1, 2, 3, 2))),
    ]


def sorts() -> list[Sample]:
    keys = np.array([3.0, 1, 2, 1, 3, 1])
    return [
        Sample(sort.Sort(0), (distinct(5, 3),)), Sample(sort.Sort(1), (distinct(3, 5), uniform(-1, 1, 3, 5))),
        Sample(sort.Sort(0), (keys, np.arange(6.0)), smooth=False), Sample(sort.Sort(0, 2), (keys, np.arange(6.0)[::-1].copy()), smooth=False),
        Sample(sort.Sort(0), (np.array([np.nan, 1.0, -np.inf, 0.0, -0.0, np.inf]),), smooth=False),
        *[Sample(first_true.FirstTrue(size), (np.arange(20000) % step == 2,), swept=()) for size, step in ((5, 7), (9000, 3), (0, 2))],
        Sample(sort.TopK(2, 1), (distinct(3, 5),)), Sample(sort.TopK(3, 0), (keys,), smooth=False),
    ]


def spd(*lead: int) -> np.ndarray:
    x = uniform(-1, 1, *lead, 3, 3)
    return x @ np.swapaxes(x, -1, -2) + 3 * np.eye(3)


def matrix_functions() -> list[Sample]:
    square, tall = uniform(-1, 1, 2, 3, 3) + 2 * np.eye(3), uniform(-1, 1, 4, 3)
    fact = lambda op, *args, **how: Sample(op, args, half=False, twice=False, **how)
    return [
        # Cholesky reads one half, and its derivative takes tangents to be symmetric.
        fact(factorize.Cholesky(), spd(), smooth=False), fact(factorize.Cholesky(), spd(2), smooth=False),
        fact(factorize.Lu(), square),
        fact(factorize.LuPivotsToPermutation(3), np.array([2, 1, 2], np.int32), swept=()),
        fact(factorize.Qr(False, False), tall), fact(factorize.Qr(False, True), tall, fixed=(0,)),
        fact(factorize.Qr(True, False), tall, smooth=False),
        fact(solve.TriangularSolve(True, True, False, False, False), np.tril(square), uniform(-1, 1, 2, 3, 2)),
        fact(solve.TriangularSolve(False, False, True, False, True), np.triu(square[0]), uniform(-1, 1, 2, 3)),
        *decompositions(fact, square),
        *[fft_of(kind, (6,), x) for kind, x in (("FFT", complex_of(2, 6)), ("IFFT", complex_of(2, 6)), ("RFFT", uniform(-1, 1, 2, 6)),
                                               ("IRFFT", complex_of(2, 4)))],
        fft_of("FFT", (3, 4), complex_of(3, 4)), fft_of("RFFT", (3, 5), uniform(-1, 1, 3, 5)),
    ]


def decompositions(fact: Callable[..., Sample], square: np.ndarray) -> list[Sample]:
    """Their derivatives have tests of their own: vectors are unique up to their phases only, LAPACK's as far as it is what is called:
    for few matrices that are not tiny."""
    lu, pivots, _ = factorize.Lu().eval(square)
    symmetric, tall = uniform(-1, 1, 2, 5, 5), uniform(-1, 1, 6, 5)
    symmetric += symmetric.mT
    reflectors = (uniform(-1, 1, 4, 2), uniform(0, 1, 2))
    return [
        fact(eigen.Eigh(), symmetric, smooth=False), fact(eigen.Eigh(True, False), symmetric, smooth=False),
        fact(eigen.Eig(False, True, False), square, fixed=(0,)),
        fact(eigen.Svd(True, False), tall, smooth=False), fact(eigen.Svd(False, False), tall, smooth=False),
        fact(schur.Schur(True), square, fixed=(0,)), fact(schur.Hessenberg(), square, fixed=(0,)),
        fact(schur.Tridiagonal(True), spd(), fixed=(0,)), fact(factorize.HouseholderProduct(), *reflectors, fixed=(0, 1)),
        fact(factorize.Ormqr(True, False), *reflectors, uniform(-1, 1, 4, 3), fixed=(0, 1, 2)),
        fact(solve.LuSolve(), square, lu, pivots, uniform(-1, 1, 2, 3, 2), fixed=(0, 1, 2)),
        fact(solve.TridiagonalSolve(), uniform(-1, 1, 5), uniform(3, 4, 5), uniform(-1, 1, 5), uniform(-1, 1, 5, 2),
             fixed=(0, 1, 2)),
    ]


def fft_of(kind: str, lengths: tuple[int, ...], x: np.ndarray) -> Sample:
    return Sample(fft.Fft(kind, lengths), (x,), half=False)


FAMILIES: tuple[Callable[[], list[Sample]], ...] = (
    arithmetic, elementary_functions, bit_operations, comparisons, views, reductions, contractions, sorts, matrix_functions)
SAMPLES: list[Sample] = [sample for family in FAMILIES for sample in family()]

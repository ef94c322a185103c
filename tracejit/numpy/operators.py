"""Attaches operators, methods and properties (x + y, x.sum(), x.T, x.at) to the classes of arrays and traced values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import (
    ConcretizationTypeError,
    ImmutableArrayError,
    TracerArrayConversionError,
    TracerBoolConversionError,
    TracerIntegerConversionError,
)
from tracejit.ir import trace
from tracejit.ir.types import requested_dtype, default_dtype, kind_of
from tracejit.numpy import (
    arithmetic,
    complexes,
    cumulative,
    indexing,
    joining,
    linear,
    logic,
    manipulation,
    reductions,
    rounding,
    selection,
    sorting,
    taking,
)
from tracejit.numpy.creation import asarray
from tracejit.numpy.dtypes import astype
from tracejit.numpy.promotion import Array, Var, is_arraylike
from tracejit.lax.reinterpret import bits_of
from tracejit.runtime.array import CONCRETE, ArrayImpl
from tracejit.runtime.array_methods import index_text
from tracejit.runtime.eager import eager

# --- operators ---------------------------------------------------------------------------------------


def _binary(f: Callable) -> Callable:
    def operate(self: Any, other: Any) -> Any:
        return f(self, other) if is_arraylike(other) else _unknown(f, other)

    return operate


def _reflected(f: Callable) -> Callable:
    def operate(self: Any, other: Any) -> Any:
        return f(other, self) if is_arraylike(other) else _unknown(f, other)

    return operate


def _unknown(f: Callable, other: Any) -> Any:
    """Python asks the other operand; a list or tuple is refused here, for the clearer message."""
    if isinstance(other, (list, tuple, dict, set)):
        raise TypeError(
            f"unsupported operand type(s): {f.__name__} requires arrays or scalars, got {type(other)}; "
            "use jnp.asarray(...)"
        )
    return NotImplemented


def _equality(f: Callable) -> Callable:
    def operate(self: Any, other: Any) -> Any:
        if self.__class__ is Var and other.__class__ is Var:
            return NotImplemented  # the compiler compares the variables of finished programs: by identity
        if isinstance(other, (list, tuple)):
            return _unknown(f, other)
        return f(self, other) if is_arraylike(other) else NotImplemented

    return operate


_BINARY = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.divide,
    "floordiv": arithmetic.floor_divide,
    "mod": arithmetic.remainder,
    "divmod": arithmetic.divmod,
    "pow": arithmetic.power,
    "matmul": linear.matmul,
    "and": logic.bitwise_and,
    "or": logic.bitwise_or,
    "xor": logic.bitwise_xor,
    "lshift": logic.left_shift,
    "rshift": logic.right_shift,
}
_COMPARISONS = {"lt": logic.less, "le": logic.less_equal, "gt": logic.greater, "ge": logic.greater_equal}
_UNARY = {
    "neg": arithmetic.negative,
    "pos": arithmetic.positive,
    "abs": arithmetic.absolute,
    "invert": logic.bitwise_not,
}


def operators() -> dict[str, Callable]:
    """Every operator method by its Python name."""
    table: dict[str, Callable] = {
        "__eq__": _equality(logic.equal),
        "__ne__": _equality(logic.not_equal),
        "__hash__": None,
    }
    for name, f in _BINARY.items():
        table[f"__{name}__"], table[f"__r{name}__"] = _binary(f), _reflected(f)
    table |= {f"__{name}__": _binary(f) for name, f in _COMPARISONS.items()}
    table |= {f"__{name}__": (lambda f: lambda self: f(self))(f) for name, f in _UNARY.items()}
    table["__round__"] = _round
    table["__getitem__"] = indexing.get_item
    table["__contains__"] = lambda self, x: bool(reductions.any(logic.equal(self, x)))
    table["__iter__"] = _iterate
    table["__setitem__"] = _refuse_setitem
    table["__array_namespace__"] = _namespace
    return table


def _row_or_item(self: Any, index: Any) -> Any:
    """x[i] of a known array copies a row straight away; all else is indexing in general."""
    if index.__class__ is int and self.shape and -(n := self.shape[0]) <= index < n and self._data:
        return self._row(index % n)
    return indexing.get_item(self, index)


def _round(self: Any, ndigits: int | None = None) -> Any:
    """round(x) is of an integer dtype, round(x, n) of x's own."""
    rounded = rounding.round(self, ndigits or 0)
    return astype(rounded, default_dtype("i")) if ndigits is None and kind_of(self.dtype) not in "iub" else rounded


def _iterate(self: Any) -> Iterator:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d array")
    return iter(joining.unstack(self))


def _refuse_setitem(self: Any, i: Any, value: Any) -> None:
    raise ImmutableArrayError("arrays are immutable and do not support in-place item assignment",
                              fix=f"x = x.at[{index_text(i)}].set(value)")


# --- methods -----------------------------------------------------------------------------------------


def _reshape(self: Any, *args: Any, order: str = "C", copy: bool | None = None, out_sharding: Any = None) -> Array:
    shape = args[0] if len(args) == 1 else args
    return manipulation.reshape(self, shape, order, copy=copy)


def _transpose(self: Any, *args: Any) -> Array:
    axes = args[0] if len(args) == 1 and (args[0] is None or np.ndim(args[0])) else args
    return manipulation.transpose(self, None if axes is None or not len(axes) else tuple(axes))


def _view(self: Any, dtype: Any = None, type: None = None) -> Array:
    """The same bits as another dtype; the last axis grows or shrinks with the width."""
    if type is not None:
        raise NotImplementedError("`type` argument of array.view() is not supported.")
    target = self.dtype if dtype is None else requested_dtype(dtype)
    if target == self.dtype:
        return self
    source = self.dtype
    before, after = bits_of(source), bits_of(target)
    if source.kind == "b" or source.kind == "c" or target.kind in "bc":
        return _view_special(self, target)
    if before == after:
        return lax.bitcast_convert_type(self, target)
    if self.ndim == 0 or (before < after and self.shape[-1] * before % after):
        raise ValueError(
            "When changing to a larger dtype, its size must be a divisor of the total size in bytes of the last axis"
        )
    if before > after:
        out = lax.bitcast_convert_type(self, target)
        return lax.reshape(out, (*self.shape[:-1], self.shape[-1] * (before // after)))
    group = after // before
    return lax.bitcast_convert_type(lax.reshape(self, (*self.shape[:-1], self.shape[-1] // group, group)), target)


def _view_special(self: Any, target: np.dtype) -> Array:
    if self.dtype.kind == "b":
        return _view(lax.convert_element_type(self, np.dtype("uint8")), target)
    if target.kind == "b":
        return lax.ne(_view(self, np.dtype("uint8")), np.uint8(0))
    if self.dtype.kind == "c":
        parts = joining.stack([lax.real(self), lax.imag(self)], axis=-1)
        return _view(lax.reshape(parts, (*self.shape[:-1], self.shape[-1] * 2) if self.ndim else (2,)), target)
    parts = _view(self, np.dtype(f"f{target.itemsize // 2}"))
    pairs = lax.reshape(parts, (*parts.shape[:-1], parts.shape[-1] // 2, 2))
    return lax.complex(pairs[..., 0], pairs[..., 1])


def _sized(name: str) -> Callable:
    def method(self: Any, *, fill_value: Any = None, size: int | None = None) -> tuple:
        return selection.nonzero(self, fill_value=fill_value, size=size)

    return method


_METHODS = {
    "all": reductions.all,
    "any": reductions.any,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "argpartition": sorting.argpartition,
    "argsort": sorting.argsort,
    "choose": selection.choose,
    "clip": selection.clip,
    "conj": complexes.conj,
    "conjugate": complexes.conjugate,
    "copy": lambda self: asarray(self, copy=True),
    "cumprod": cumulative.cumprod,
    "cumsum": cumulative.cumsum,
    "diagonal": linear.diagonal,
    "dot": linear.dot,
    "flatten": manipulation.ravel,
    "max": reductions.max,
    "mean": reductions.mean,
    "min": reductions.min,
    "nonzero": _sized("nonzero"),
    "partition": sorting.partition,
    "prod": reductions.prod,
    "ptp": reductions.ptp,
    "ravel": manipulation.ravel,
    "repeat": joining.repeat,
    "reshape": _reshape,
    "round": rounding.round,
    "searchsorted": sorting.searchsorted,
    "sort": sorting.sort,
    "squeeze": manipulation.squeeze,
    "std": reductions.std,
    "sum": reductions.sum,
    "swapaxes": manipulation.swapaxes,
    "take": taking.take,
    "trace": linear.trace,
    "transpose": _transpose,
    "var": reductions.var,
    "view": _view,
    "astype": lambda self, dtype, copy=False, device=None: astype(self, dtype, copy=copy, device=device),
    "compress": lambda self, condition, axis=None, *, size=None, fill_value=0, out=None: selection.compress(
        condition, self, axis, size=size, fill_value=fill_value, out=out
    ),
    "to_device": lambda self, device, *, stream=None: asarray(self, device=device),
    "byteswap": lambda self: asarray(np.asarray(self).byteswap()),
    "block_until_ready": lambda self: self,
    "is_ready": lambda self: True,
}

_PROPERTIES = {
    "T": manipulation.transpose,
    "mT": manipulation.matrix_transpose,
    "real": complexes.real,
    "imag": complexes.imag,
    "at": indexing.IndexUpdateHelper,
    "flat": manipulation.ravel,
    "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: self.dtype.itemsize * self.size,
}


def _namespace(self: Any, *, api_version: str | None = None) -> Any:
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"api_version={api_version!r} is not available; available versions are up to 2024.12")
    return sys.modules["tracejit.numpy"]


# --- traced values as Python values ------------------------------------------------------------------


def _known(x: Any, error: type, what: str, instead: str = "") -> Any:
    """The concrete array behind a traced value, if there is one, as outside jit."""
    value = trace.concrete_value(x)
    if value is None:
        shown = f"{what} traced array with shape {x.type.str_short()}"
        raise error(f"{shown}. Its value is known only when the compiled program runs{instead}")
    return value


def _scalar(x: Any, cast: type) -> Any:
    """A traced value as a Python number."""
    if x.shape:
        raise TypeError("Only scalar arrays can be converted to Python scalars; "
                        f"got traced array with shape {x.type.str_short()}")
    name = cast.__name__
    return cast(_known(x, ConcretizationTypeError, f"{_ABSTRACT}: {name}() of",
                       f"; to change its dtype, try using `x.astype({name})`"))


def _truth(x: Any) -> bool:
    if x.size != 1:
        kind = "an array with more than one element" if x.size else "an empty array"
        raise ValueError(f"The truth value of {kind} is ambiguous. Use x.any() or x.all()")
    return bool(_known(x, TracerBoolConversionError, "Attempted boolean conversion of"))


def _index(x: Any) -> int:
    if x.shape or x.dtype.kind not in "iub":
        raise TypeError("Only integer scalar arrays can be converted to a scalar index.")
    return _known(x, TracerIntegerConversionError, "The __index__() method was called on").__index__()


def _as_numpy(x: Any, dtype: Any) -> np.ndarray:
    what = "The numpy.ndarray conversion method __array__() was called on"
    if trace.is_differentiated(x):
        raise TracerArrayConversionError(f"{what} traced array with shape {x.type.str_short()}. It is being differentiated, and "
                                         "NumPy's functions have no derivatives")
    return np.asarray(_known(x, TracerArrayConversionError, what), dtype)


_ABSTRACT = "Abstract tracer value encountered where concrete value is expected"


_CONVERSIONS: dict[str, Callable] = {
    "__bool__": _truth,
    "__int__": lambda self: _scalar(self, int),
    "__float__": lambda self: _scalar(self, float),
    "__complex__": lambda self: _scalar(self, complex),
    "__index__": _index,
    "__array__": lambda self, dtype=None, copy=None: _as_numpy(self, dtype),
    "__len__": lambda self: _length(self),
    "__copy__": lambda self: self,  # a copy would be another variable, which no equation defines
    "__deepcopy__": lambda self, memo: self,
    "item": lambda self, *args: _known(self, ConcretizationTypeError, f"{_ABSTRACT}: item() of").item(*args),
    "tolist": lambda self: _known(self, ConcretizationTypeError, f"{_ABSTRACT}: The tolist() method was called on").tolist(),
    "tobytes": lambda self, order="C": _known(self, ConcretizationTypeError,
                                              f"{_ABSTRACT}: The tobytes() method was called on").tobytes(order),
}


def _length(self: Any) -> int:
    if not self.shape:
        raise TypeError("len() of unsized object")
    return self.shape[0]


# --- installation ------------------------------------------------------------------------------------

# Operators that look only at types, so that a call on known arrays can run compiled code straight away. A power looks
# at its exponent: x ** 2 is x * x.
_COMPILED = {f"__{r}{name}__" for name in _BINARY if name != "pow" for r in ("", "r")}
_COMPILED |= {f"__{name}__" for name in (*_COMPARISONS, *_UNARY, "eq", "ne")}


def install(cls: type) -> None:
    """Give a class of arrays or traced values (shape, dtype, ndim, size, weak_type) NumPy's operators and methods."""
    for name, f in operators().items():
        if not _defines(cls, name):
            setattr(cls, name, eager(f) if cls in CONCRETE and name in _COMPILED else f)
    for name, f in _METHODS.items():
        if not _defines(cls, name):
            setattr(cls, name, f)
    for name, f in _PROPERTIES.items():
        if not _defines(cls, name):
            setattr(cls, name, property(f))
    if issubclass(cls, Var):
        for name, f in _CONVERSIONS.items():
            if not _defines(cls, name):
                setattr(cls, name, f)
        cls.__array_priority__ = 100


def _defines(cls: type, name: str) -> bool:
    """Whether the class has its own (faster) method of this name already."""
    return any(name in vars(base) and not hasattr(vars(base)[name], "is_stand_in")
               for base in cls.__mro__ if base is not object)


ArrayImpl.__getitem__ = _row_or_item
for _cls in (*CONCRETE, Var):
    install(_cls)
    if hasattr(vars(_cls).get("__getattr__"), "is_stand_in"):
        del _cls.__getattr__

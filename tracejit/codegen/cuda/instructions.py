"""One device function as lines of Python that Numba-CUDA compiles: names, constants, blocks, and one line per distinct value.

    x + y of float32     v3 = v1 + v2            x + y of int32     v3 = i4(v1 + v2)       Numba's own sum is 64 bits wide
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tracejit.codegen.cpu.value import (BF16, BOOL, F16, F32, PTR, AnyValue, ComplexValue, Value, is_complex, is_half, is_nibble,
                                        is_integer, real_dtype)

# LLVM's operation: how Python spells it
OPERATORS = {"fadd": "+", "fsub": "-", "fmul": "*", "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^",
             "shl": "<<", "ashr": ">>", "lshr": ">>"}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def word_of(dtype: np.dtype) -> str:
    """The type word of a dtype: `f4` is float32. 16-bit floats travel as their bits."""
    if dtype == BOOL:
        return "bool_"
    return f"u{dtype.itemsize}" if is_half(dtype) or is_nibble(dtype) else f"{dtype.kind}{dtype.itemsize}"


def memory_word(dtype: np.dtype) -> str:
    """The type word of what a pointer to this dtype points to: a bool is a byte, a complex number two floats."""
    return "u1" if dtype == BOOL else word_of(real_dtype(dtype)) if is_complex(dtype) else word_of(dtype)


class DeviceFunction(NamedTuple):
    """A function that kernels call, and the dtype of what it returns."""
    text: str
    dtype: np.dtype


class Machine:
    """What the shared rules ask of a processor: a GPU thread has one lane, and fused multiply-add."""
    has_fma, has_avx512, has_rounding, has_half_convert = True, False, True, True

    def lanes(self, dtype: np.dtype) -> int:
        return 1


class Instructions:
    """The ground of the Builder: what it prints. `functions` are those that it calls, callees first."""
    isa = Machine()

    def __init__(self, name: str, params: Sequence[tuple[str, np.dtype]], functions: dict[str, DeviceFunction] | None = None):
        self.is_kernel = functions is None
        self.name = name
        self.functions: dict[str, DeviceFunction] = {} if functions is None else functions
        self.params = [self.parameter(stem, np.dtype(dtype)) for stem, dtype in params]
        self._header = f"def {name}({', '.join(self.names_of(self.params))}):"
        self._lines: list[str] = []
        self._tables: dict[str, str] = {}
        self._depth, self._count = 1, 0
        self._scopes: list[dict[str, Value]] = [{}]

    def parameter(self, stem: str, dtype: np.dtype) -> AnyValue:
        if is_complex(dtype):
            part = real_dtype(dtype)
            return ComplexValue(Value(f"{stem}r", part), Value(f"{stem}i", part))
        return Value(stem, dtype)

    @staticmethod
    def names_of(values: Sequence[AnyValue]) -> list[str]:
        """The Python names of values; a complex one has two."""
        return [p.name for v in values for p in ((v.re, v.im) if isinstance(v, ComplexValue) else (v,))]

    # ---- lines ----

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def effect(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def pure(self, text: str, dtype: np.dtype) -> Value:
        """The value of an expression, computed only where no open scope has it."""
        for scope in reversed(self._scopes):
            if (found := scope.get(text)) is not None:
                return found
        value = self.impure(text, dtype)
        self._scopes[-1][text] = value
        return value

    def impure(self, text: str, dtype: np.dtype) -> Value:
        name = self.fresh()
        self.effect(f"{name} = {text}")
        return Value(name, dtype)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """The lines inside are the body of `header`; what they compute is not known after them."""
        self.effect(header)
        self._depth += 1
        self._scopes.append({})
        before = len(self._lines)
        try:
            yield
        finally:
            if len(self._lines) == before:
                self.effect("pass")
            self._scopes.pop()
            self._depth -= 1

    def ret(self, value: AnyValue) -> None:
        names = self.names_of([value])
        self.effect(f"return {names[0] if len(names) == 1 else ', '.join(names)}")

    def text(self) -> str:
        tables = ["import numpy", *self._tables.values()] if self._tables else []
        decorator = [] if self.is_kernel else ["@device"]
        return "\n".join([*tables, *decorator, self._header, *(self._lines or ["    pass"])]) + "\n"

    # ---- what Arithmetic and Conversion are written on ----

    def binary(self, op: str, x: Value, y: Value) -> Value:
        word, sign = word_of(x.dtype), OPERATORS.get(op)
        if sign is None:
            stem = "div" if op == "fdiv" else op
            return self.pure(f"{stem}_{word}({x.name}, {y.name})", x.dtype)
        held = {"ashr": "i", "lshr": "u"}.get(op, word[0]) + word[1:]
        if held != word:    # Python shifts by the sign of the type
            return self.pure(f"{word}({held}({x.name}) {sign} {held}({y.name}))", x.dtype)
        exact = op.startswith("f") or x.dtype == BOOL
        return self.pure(f"{x.name} {sign} {y.name}" if exact else f"{word}({x.name} {sign} {y.name})", x.dtype)

    def test(self, compare: str, x: Value, y: Value) -> Value:
        kind, condition = compare.split()
        if condition == "one":
            return self.pure(f"{x.name} < {y.name} or {x.name} > {y.name}", BOOL)
        names = [f"bitcast_u{x.dtype.itemsize}({v.name})" if kind == "icmp" and condition[0] == "u" and x.dtype.kind == "i"
                 else v.name for v in (x, y)]
        return self.pure(f"{names[0]} {COMPARISONS[condition[-2:]]} {names[1]}", BOOL)

    def choose(self, cond: Value, x: Value, y: Value) -> Value:
        return self.pure(f"select({cond.name}, {x.name}, {y.name})", x.dtype)

    def negated(self, x: Value) -> Value:
        return self.pure(f"-{x.name}", x.dtype)

    def cast(self, op: str, x: Value, dtype: np.dtype) -> Value:
        word = word_of(dtype)
        return self.pure(f"bitcast_{word}({x.name})" if op == "bitcast" else f"{word}({x.name})", dtype)

    def renamed(self, x: Value, dtype: np.dtype) -> Value:
        if word_of(x.dtype) == word_of(dtype):
            return Value(x.name, dtype)
        return self.pure(f"{word_of(dtype)}({x.name})", dtype)

    def saturated(self, op: str, x: Value, dtype: np.dtype) -> Value:
        return self.pure(f"sat_{word_of(dtype)}({x.name})", dtype)

    def intrinsic(self, stem: str, x: Value, *rest: Value | str, dtype: np.dtype | None = None) -> Value:
        """LLVM's intrinsic of that name; literal flags such as "i1 false" have one meaning here."""
        names = [x.name, *[r.name for r in rest if isinstance(r, Value)]]
        return self.pure(f"{stem}_{word_of(x.dtype)}({', '.join(names)})", x.dtype if dtype is None else dtype)

    # ---- constants and operands ----

    def const(self, value: Any, dtype: np.dtype, lanes: int = 1) -> AnyValue:
        """A literal of any dtype; floats are rounded to `dtype`, integers wrap."""
        dtype = np.dtype(dtype)
        if is_complex(dtype):
            value, part = complex(value), real_dtype(dtype)
            return ComplexValue(self.const(value.real, part), self.const(value.imag, part))
        if dtype == BOOL:
            return Value(str(bool(value)), dtype, 1, bool(value))
        if is_integer(dtype):
            bits = dtype.itemsize * 8
            value = int(value) & ((1 << bits) - 1)
            value -= (value >> (bits - 1) << bits) if dtype.kind == "i" else 0
            return Value(f"{word_of(dtype)}({value})", dtype, 1, value)
        with np.errstate(all="ignore"):
            exact = np.asarray(value, dtype)
        if is_half(dtype) or is_nibble(dtype):
            word = f"u{dtype.itemsize}"
            return Value(f"{word}({int(exact.view(word))})", dtype, 1, float(exact))
        return Value(f"{word_of(dtype)}({float(exact)!r})", dtype, 1, float(exact))

    def index(self, value: int | Value) -> Value:
        return value if isinstance(value, Value) else self.const(value, np.dtype("i8"))

    def undef(self, dtype: np.dtype, lanes: int = 1) -> AnyValue:
        return self.const(0, dtype)

    def splat(self, x: AnyValue, lanes: int) -> AnyValue:
        return x

    def lift(self, x: Any, like: AnyValue) -> AnyValue:
        """`x` itself, or the Python number `x` as a literal of the dtype of `like`."""
        return x if isinstance(x, (Value, ComplexValue)) else self.const(x, like.dtype)

    def match(self, *xs: Any) -> list[AnyValue]:
        """The operands with one dtype; Python numbers take the dtype of the others."""
        like = next(x for x in xs if isinstance(x, (Value, ComplexValue)))
        values = [self.lift(x, like) for x in xs]
        if any(v.dtype != like.dtype for v in values):
            raise TypeError(f"operands differ in dtype: {', '.join(str(v.dtype) for v in values)}")
        return values

    def _f16_to_f32(self, x: Value) -> Value:
        return self.pure(f"f2_f4({x.name})", F32)

    def _f32_to_f16(self, x: Value) -> Value:
        return self.pure(f"f4_f2({x.name})", F16)

    def _bf16_to_f32(self, x: Value) -> Value:
        return self.pure(f"b2_f4({x.name})", F32)

    def _f32_to_bf16(self, x: Value) -> Value:
        return self.pure(f"f4_b2({x.name})", BF16)

    # ---- tables ----

    @property
    def module(self) -> Instructions:
        """What holds tables."""
        return self

    def table(self, array: np.ndarray) -> Value:
        """Constant memory with the elements of an array."""
        array = np.ascontiguousarray(array).reshape(-1)
        name = f"TABLE_{hashlib.sha256(array.tobytes()).hexdigest()[:12]}"
        items = ", ".join(map(repr, array.tolist()))
        self._tables[name] = f"{name} = numpy.array([{items}], '{array.dtype.str}')"
        return self.pure(f"cuda.const.array_like({name})", PTR)


__all__ = ["PTR", "AnyValue", "ComplexValue", "DeviceFunction", "Instructions", "Value", "memory_word", "word_of"]

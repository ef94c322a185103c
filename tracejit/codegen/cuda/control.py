"""Structured control flow (loop, while, cond) and memory -> Python's own statements, and subscripts of raw pointers."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracejit.codegen.cpu.arithmetic import Arithmetic
from tracejit.codegen.cpu.complex import Complex
from tracejit.codegen.cpu.control import Loop
from tracejit.codegen.cpu.conversion import Conversion
from tracejit.codegen.cpu.value import BOOL, PTR, AnyValue, ComplexValue, Value, is_complex, real_dtype
from tracejit.codegen.cuda.instructions import DeviceFunction, Instructions, word_of


class Pointer(Value):
    """A pointer param and the number of elements to go from there."""

    __slots__ = ("offset",)

    def __init__(self, name: str, offset: Value | None = None):
        super().__init__(name, PTR)
        self.offset = offset


class Control(Instructions, Conversion, Complex, Arithmetic):
    """What a construct computes inside leaves it only as its result."""

    def parameter(self, stem: str, dtype: np.dtype) -> AnyValue:
        return Pointer(stem) if dtype == PTR else super().parameter(stem, dtype)

    # ---- variables: what loops and branches assign more than once ----

    def variables(self, inits: Sequence[AnyValue]) -> list[AnyValue]:
        """New names that begin with these values."""
        made = [self.variable_like(v) for v in inits]
        for name, init in zip(self.names_of(made), self.names_of(inits)):
            self.effect(f"{name} = {init}")
        return made

    def variable_like(self, v: AnyValue) -> AnyValue:
        if isinstance(v, ComplexValue):
            return ComplexValue(self.variable_like(v.re), self.variable_like(v.im))
        return Value(self.fresh("c"), v.dtype)

    def assign(self, targets: Sequence[AnyValue], values: Sequence[AnyValue]) -> None:
        """All at once: a value may be the old content of another target."""
        if [t.dtype for t in targets] != [v.dtype for v in values]:
            raise TypeError(f"variables of {[str(t.dtype) for t in targets]} take {[str(v.dtype) for v in values]}")
        names = self.names_of(targets)
        pairs = [(t, v) for t, v in zip(names, self.names_of(values)) if t != v]
        for k, (target, value) in enumerate(pairs):
            if value in names:
                held = self.fresh()
                self.effect(f"{held} = {value}")
                pairs[k] = target, held
        for target, value in pairs:
            self.effect(f"{target} = {value}")

    # ---- loops and branches ----

    @contextmanager
    def loop(self, start: int | Value, stop: int | Value, step: int | Value = 1,
             carries: Sequence[AnyValue] = ()) -> Iterator[Loop]:
        """for index in range(start, stop, step): the index has the dtype of `stop`, or is int64."""
        kind = next((v.dtype for v in (stop, start) if isinstance(v, Value)), np.dtype("i8"))
        bounds = [v if isinstance(v, Value) else self.const(v, kind) for v in (start, stop, step)]
        state, index = self.variables(carries), Value(self.fresh("k"), kind)
        with self.block(f"for {index.name} in range({', '.join(self.names_of(bounds))}):"):
            loop = Loop(index, state)
            yield loop
            if loop.next_carries is None:
                raise ValueError("the body of a loop with carries must call loop.carry(...)")
            self.assign(state, loop.next_carries)
        loop.results = state

    def while_loop(self, carries: Sequence[AnyValue], cond: Callable[[list], Value],
                   body: Callable[[list], Sequence[AnyValue]]) -> list[AnyValue]:
        """Repeat carries = body(carries) while cond(carries)."""
        state = self.variables(carries)
        with self.block("while True:"):
            self.effect(f"if not {cond(state).name}: break")
            self.assign(state, list(body(state)))
        return state

    def cond(self, pred: Value, then: Callable[[], Any], other: Callable[[], Any]) -> list[AnyValue]:
        """The values of then() if `pred`, else those of other(); only one runs."""
        with self.block(f"if {pred.name}:"):
            values = list(then() or ())
            state = self.variables(values)
        with self.block("else:"):
            self.assign(state, list(other() or ()))
        return state

    def when(self, pred: Value, then: Callable[[], object]) -> None:
        with self.block(f"if {pred.name}:"):
            then()

    def outline(self, name: str, body: Callable[..., Value], *xs: Value) -> Value:
        return self.device_function(name, body, xs)

    def device_function(self, stem: str, body: Callable[..., AnyValue], xs: Sequence[AnyValue]) -> AnyValue:
        """body(builder, *xs) as a call of a function of its own, which other kernels share."""
        name = "_".join([stem, *[f"{x.dtype.kind}{x.dtype.itemsize}" for x in xs]])
        known = self.functions.get(name)
        if known is None:
            inner = type(self)(name, [(f"x{k}", x.dtype) for k, x in enumerate(xs)], self.functions)
            result = body(inner, *inner.params)
            inner.ret(result)
            known = self.functions[name] = DeviceFunction(inner.text(), result.dtype)
        return self.called(f"{name}({', '.join(self.names_of(xs))})", known.dtype)

    def called(self, text: str, dtype: np.dtype) -> AnyValue:
        if not is_complex(dtype):
            return self.pure(text, dtype)
        part = real_dtype(dtype)
        both = self.pure(text, dtype).name
        return ComplexValue(self.pure(f"{both}[0]", part), self.pure(f"{both}[1]", part))

    # ---- memory ----

    def gep(self, ptr: Pointer, index: int | Value, dtype: np.dtype | None = None) -> Pointer:
        """The address `index` elements after `ptr`."""
        index = self.index(index)
        offset = getattr(ptr, "offset", None)
        return Pointer(ptr.name, index if offset is None else self.add(self.wide(offset), self.wide(index)))

    def wide(self, index: Value) -> Value:
        return self.convert(index, np.dtype("i8"))

    def gather(self, dtype: np.dtype, base: Pointer, index: Value, mask: Value | None = None, other: Any = None) -> AnyValue:
        return self.load(dtype, self.gep(base, index), mask=mask, other=other)

    def load(self, dtype: np.dtype, ptr: Pointer, lanes: int = 1, align: int | None = None, mask: Value | None = None,
             other: Any = None, invariant: bool = False) -> AnyValue:
        """The element at `ptr`; where `mask` is false `other`, and memory is not touched."""
        dtype = np.dtype(dtype)
        if mask is not None:
            other = self.const(0 if other is None else other, dtype) if not isinstance(other, (Value, ComplexValue)) else other
            return self.cond(mask, lambda: [self.load(dtype, ptr)], lambda: [other])[0]
        at = ptr.offset if ptr.offset is not None else self.index(0)
        if is_complex(dtype):
            part, twice = real_dtype(dtype), self.add(self.wide(at), self.wide(at))
            parts = [self.impure(f"{ptr.name}[{i.name}]", part) for i in (twice, self.add(twice, 1))]
            return ComplexValue(*parts)
        found = self.impure(f"{ptr.name}[{at.name}]", dtype)
        return self.pure(f"{found.name} != u1(0)", BOOL) if dtype == BOOL else found

    def store(self, value: AnyValue, ptr: Pointer, align: int | None = None, mask: Value | None = None,
              nontemporal: bool = False) -> None:
        if mask is not None:
            return self.when(mask, lambda: self.store(value, ptr))
        at = ptr.offset if ptr.offset is not None else self.index(0)
        if isinstance(value, ComplexValue):
            twice = self.add(self.wide(at), self.wide(at))
            self.effect(f"{ptr.name}[{twice.name}] = {value.re.name}")
            return self.effect(f"{ptr.name}[{self.add(twice, 1).name}] = {value.im.name}")
        return self.effect(f"{ptr.name}[{at.name}] = {f'u1({value.name})' if value.dtype == BOOL else value.name}")

    def atomic_add(self, value: Value, ptr: Pointer) -> None:
        """Add to what other threads may be adding to at the same time."""
        at = ptr.offset if ptr.offset is not None else self.index(0)
        self.effect(f"atomic_add_{word_of(value.dtype)}({ptr.name}, {self.wide(at).name}, {value.name})")

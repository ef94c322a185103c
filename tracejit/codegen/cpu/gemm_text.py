"""Loops, branches and address arithmetic -> the text of one LLVM function, for the hand-scheduled routines.

Everything is an untyped piece of text: `%t3`, `7`, or a vector constant; integers are i64.
"""
from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .isa import Isa

RARELY = "#1"  # attributes of functions that run too rarely for their own speed to matter: LLVM is quick with them


def attributes_text(isa: Isa) -> str:
    """The last lines of a module of these functions."""
    return f"attributes #0 = {{ {isa.attributes} }}\nattributes {RARELY} = {{ {isa.attributes} noinline optnone }}\n"


class Function:
    """One function under construction; `text()` closes it.

    >>> f = Function("inc", "ptr %p")
    >>> f.store("i64", f.add(f.load("i64", "%p"), 1), "%p")
    >>> print(f.text().splitlines()[3].strip())
    %t2 = add i64 %t1, 1
    """

    def __init__(self, name: str, params: str, linkage: str = "", attributes: str = "#0"):
        self.name = name
        self._lines = [f"define {linkage} void @{name}({params}) {attributes} {{", "entry:"]
        self._n = 0
        self.block = "entry"

    def text(self) -> str:
        return "\n".join([*self._lines, "  ret void", "}", ""])

    def do(self, instruction: str) -> None:
        self._lines.append("  " + instruction)

    def name_of_next(self) -> str:
        self._n += 1
        return f"%t{self._n}"

    def value(self, expression: str) -> str:
        name = self.name_of_next()
        self.do(f"{name} = {expression}")
        return name

    # integers
    def _fold(self, op: str, a: str | int, b: str | int) -> str:
        return self.value(f"{op} i64 {a}, {b}")

    def add(self, a: str | int, b: str | int) -> str | int:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        return b if a == 0 else a if b == 0 else self._fold("add", a, b)

    def sub(self, a: str | int, b: str | int) -> str | int:
        return a if b == 0 else self._fold("sub", a, b)

    def mul(self, a: str | int, b: str | int) -> str | int:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if 0 in (a, b):
            return 0
        return b if a == 1 else a if b == 1 else self._fold("mul", a, b)

    def div(self, a: str | int, b: str | int) -> str | int:
        return a if b == 1 else self._fold("udiv", a, b)

    def rem(self, a: str | int, b: str | int) -> str:
        return self._fold("urem", a, b)

    def ceil_div(self, a: str | int, b: str | int) -> str | int:
        return self.div(self.add(a, self.sub(b, 1) if isinstance(b, str) else b - 1), b)

    def floor_div(self, a: str | int, b: str | int) -> str:
        """Quotient rounded towards minus infinity, for a positive `b`."""
        quotient, rest = self._fold("sdiv", a, b), self._fold("srem", a, b)
        return self.select(self.compare("slt", rest, 0), self.sub(quotient, 1), quotient)

    def min(self, a: str | int, b: str | int) -> str:
        return self.select(self.compare("slt", a, b), a, b)

    def max(self, a: str | int, b: str | int) -> str:
        return self.select(self.compare("sgt", a, b), a, b)

    def round_up(self, a: str | int, b: int) -> str | int:
        return self.mul(self.ceil_div(a, b), b)

    def compare(self, how: str, a: str | int, b: str | int, kind: str = "i64") -> str:
        return self.value(f"icmp {how} {kind} {a}, {b}")

    def select(self, condition: str, a: str | int, b: str | int, kind: str = "i64") -> str:
        return self.value(f"select i1 {condition}, {kind} {a}, {kind} {b}")

    def both(self, *conditions: str) -> str:
        """The and of several conditions."""
        result = conditions[0]
        for condition in conditions[1:]:
            result = self.value(f"and i1 {result}, {condition}")
        return result

    def either(self, *conditions: str) -> str:
        result = conditions[0]
        for condition in conditions[1:]:
            result = self.value(f"or i1 {result}, {condition}")
        return result

    # memory
    def offset(self, pointer: str, n_bytes: str | int) -> str:
        if n_bytes == 0:
            return pointer
        return self.value(f"getelementptr inbounds i8, ptr {pointer}, i64 {n_bytes}")

    def load(self, kind: str, pointer: str, align: int = 8) -> str:
        return self.value(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, kind: str, value: str | int, pointer: str, align: int = 8) -> None:
        self.do(f"store {kind} {value}, ptr {pointer}, align {align}")

    # control
    def label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self.block = name

    def _fresh_label(self, what: str) -> str:
        self._n += 1
        return f"{what}{self._n}"

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """The block runs only if the condition holds."""
        inside, after = self._fresh_label("then"), self._fresh_label("after")
        self.do(f"br i1 {condition}, label %{inside}, label %{after}")
        self.label(inside)
        yield
        self.do(f"br label %{after}")
        self.label(after)

    def leave(self) -> None:
        """Return here; what follows needs another way in."""
        self.do("ret void")
        self.label(self._fresh_label("unreachable"))

    def leave_when(self, condition: str) -> None:
        with self.when(condition):
            self.leave()

    def call(self, function: str, *arguments: tuple[str, str | int]) -> None:
        self.do(f"call void {function}({', '.join(f'{kind} {value}' for kind, value in arguments)})")

    def updated(self, condition: str, kind: str, values: Sequence[str],
                update: Callable[[int, str], str]) -> list[str]:
        """Each value, replaced by update(position, value) if the condition holds."""
        before, inside, after = self.block, self._fresh_label("then"), self._fresh_label("after")
        self.do(f"br i1 {condition}, label %{inside}, label %{after}")
        self.label(inside)
        changed = [update(i, value) for i, value in enumerate(values)]
        end = self.block
        self.do(f"br label %{after}")
        self.label(after)
        return [self.value(f"phi {kind} [ {old}, %{before} ], [ {new}, %{end} ]")
                for old, new in zip(values, changed)]

    def opaque(self, value: str, kind: str = "i64") -> str:
        """The same value, about which the optimiser knows nothing (keeps its strength reduction away)."""
        return self.value(f'call {kind} asm "", "=r,0"({kind} {value})')

    def asking_for(self, pointer: str, distance: str, constant: int) -> str:
        """The same pointer; memory at it + distance + constant is asked for (x86).

        LLVM's own prefetch orders all loads around it, and then keeps so many of them in registers that it spills.
        """
        return self.value(f'call ptr asm "prefetcht0 {constant}($0,$2)", "=r,0,r"(ptr {pointer}, i64 {distance})')

    def fence(self) -> None:
        """Loads stay on the side of this line that they are on."""
        self.do('call void asm sideeffect "", "~{memory}"()')

    def loop(self, start: str | int, stop: str | int, step: str | int = 1,
             carry: Sequence[tuple[str, str]] = (), guard: bool = True) -> Loop:
        """`with f.loop(0, n) as loop:` counts `loop.index`; carried (type, first value) pairs are
        in `loop.carried`, set `loop.next` to their new values, read `loop.result` afterwards.
        Without `guard` at least one round is run."""
        return Loop(self, start, stop, step, carry, guard)


class Loop:
    """A counted, bottom-tested loop; see `Function.loop`."""

    def __init__(self, function: Function, start: str | int, stop: str | int, step: str | int,
                 carry: Sequence[tuple[str, str]], guard: bool):
        self._f, self._bounds, self._guard = function, (start, stop, step), guard
        self._carry = list(carry)
        self.next: list[str] = []

    def __enter__(self) -> Loop:
        f, (start, stop, _) = self._f, self._bounds
        self._head, self._exit = f._fresh_label("loop"), f._fresh_label("done")
        self._before = f.block
        if self._guard:
            some = f.compare("slt", start, stop)
            f.do(f"br i1 {some}, label %{self._head}, label %{self._exit}")
        else:
            f.do(f"br label %{self._head}")
        f.label(self._head)
        self.index = f.name_of_next()
        self.carried = [f.name_of_next() for _ in self._carry]
        self._phis = len(f._lines)
        f._lines.append("")
        return self

    def __exit__(self, kind, *_: object) -> None:
        if kind is not None:
            return
        f, (start, stop, step) = self._f, self._bounds
        index = f.add(self.index, step)
        more = f.compare("slt", index, stop)
        f.do(f"br i1 {more}, label %{self._head}, label %{self._exit}")
        entries = [("i64", self.index, start, index)]
        entries += [(t, name, first, n) for (t, first), name, n in zip(self._carry, self.carried, self.next, strict=True)]
        f._lines[self._phis] = "\n".join(
            f"  {name} = phi {t} [ {first}, %{self._before} ], [ {n}, %{f.block} ]" for t, name, first, n in entries)
        latch = f.block
        f.label(self._exit)
        self.result = [self._result(t, first, n, latch) for (t, first), n in zip(self._carry, self.next)]

    def _result(self, kind: str, first: str, last: str, latch: str) -> str:
        if not self._guard:
            return last
        return self._f.value(f"phi {kind} [ {first}, %{self._before} ], [ {last}, %{latch} ]")


class Record:
    """A C struct whose members are all 8 bytes: i64 or, when named `*name`, a pointer.

    >>> Record("n", "*data").offset("data")
    8
    """

    def __init__(self, *members: str):
        self.members = tuple(m.lstrip("*") for m in members)
        self._kinds = {m.lstrip("*"): "ptr" if m.startswith("*") else "i64" for m in members}

    @property
    def n_bytes(self) -> int:
        return 8 * len(self.members)

    def offset(self, member: str) -> int:
        return 8 * self.members.index(member)

    def allocate(self, f: Function) -> str:
        return f.value(f"alloca [{len(self.members)} x i64], align 16")

    def get(self, f: Function, record: str, *members: str) -> list[str]:
        return [f.load(self._kinds[m], f.offset(record, self.offset(m))) for m in members]

    def put(self, f: Function, record: str, **values: str | int) -> None:
        for member, value in values.items():
            f.store(self._kinds[member], value, f.offset(record, self.offset(member)))


class Vector:
    """The register type of one real dtype on one instruction set, and its instructions; integers wrap."""

    def __init__(self, isa: Isa, dtype: np.dtype):
        self._isa, self._dtype, self.size = isa, dtype, dtype.itemsize
        self._is_float, self._fused = dtype.kind == "f", isa.has_fma
        bits = 8 * self.size
        self.element = {"f4": "float", "f8": "double"}[dtype.str[1:]] if self._is_float else f"i{bits}"
        self.lanes = isa.vector_bits // bits
        self.bytes = self.lanes * self.size
        self.type = f"<{self.lanes} x {self.element}>"
        self.mask_type = f"<{self.lanes} x i1>"
        self._count = f"i{max(bits, 32)}"  # lane numbers need more than 8 bits
        self._suffix = f"v{self.lanes}{'f' if self._is_float else 'i'}{bits}"

    def declarations(self) -> str:
        t, s = self.type, self._suffix
        own = (f"declare {t} @llvm.fma.{s}({t}, {t}, {t})",
               f"declare {self.element} @llvm.vector.reduce.fadd.{s}({self.element}, {t})")
        own = own if self._is_float else (f"declare {self.element} @llvm.vector.reduce.add.{s}({t})",)
        n = self.bytes // 4
        fence = f"declare <{n} x float> @llvm.arithmetic.fence.v{n}f32(<{n} x float>)"
        return "\n".join((*own, fence, self.masked_declarations()))

    def masked_declarations(self) -> str:
        t, s = self.type, self._suffix
        return (f"declare {t} @llvm.masked.load.{s}.p0(ptr, {self.mask_type}, {t})\n"
                f"declare void @llvm.masked.store.{s}.p0({t}, ptr, {self.mask_type})\n")

    def short(self, lanes: int) -> Vector:
        """The type of vectors of so many elements."""
        return Vector(dataclasses.replace(self._isa, vector_bits=8 * self.size * lanes), self._dtype)

    def mask(self, f: Function, n: str | int, first: int = 0) -> str:
        """Which of the lanes first, first+1, ... are below n."""
        count, kind = self._count, f"<{self.lanes} x {self._count}>"
        n = f.value(f"trunc i64 {n} to {count}") if count != "i64" else n
        lanes = "<" + ", ".join(f"{count} {first + i}" for i in range(self.lanes)) + ">"
        return f.value(f"icmp slt {kind} {lanes}, {self._splat(f, count, kind, n)}")

    def _splat(self, f: Function, element: str, kind: str, value: str) -> str:
        one = f.value(f"insertelement {kind} poison, {element} {value}, i64 0")
        return f.value(f"shufflevector {kind} {one}, {kind} poison, <{self.lanes} x i32> zeroinitializer")

    def splat(self, f: Function, value: str) -> str:
        return self._splat(f, self.element, self.type, value)

    def load(self, f: Function, pointer: str, mask: str | None = None) -> str:
        if mask is None:
            return f.load(self.type, pointer, self.size)
        return f.value(f"call {self.type} @llvm.masked.load.{self._suffix}.p0(ptr align {self.size} {pointer}, "
                       f"{self.mask_type} {mask}, {self.type} zeroinitializer)")

    def store(self, f: Function, value: str, pointer: str, mask: str | None = None) -> None:
        if mask is None:
            f.store(self.type, value, pointer, self.size)
        else:
            f.do(f"call void @llvm.masked.store.{self._suffix}.p0({self.type} {value}, "
                 f"ptr align {self.size} {pointer}, {self.mask_type} {mask})")

    def fma(self, f: Function, a: str, b: str, c: str) -> str:
        """a * b + c, in two roundings where the processor has no fused form."""
        if self._is_float and self._fused:
            return f.value(f"call {self.type} @llvm.fma.{self._suffix}({self.type} {a}, {self.type} {b}, {self.type} {c})")
        return self.add(f, f.value(f"{'fmul' if self._is_float else 'mul'} {self.type} {a}, {b}"), c)

    def add(self, f: Function, a: str, b: str, kind: str = "") -> str:
        return f.value(f"{'fadd' if self._is_float else 'add'} {kind or self.type} {a}, {b}")

    def sum(self, f: Function, a: str) -> str:
        """The sum of all lanes; floats in an order that depends on the instruction set alone."""
        if not self._is_float:
            return f.value(f"call {self.element} @llvm.vector.reduce.add.{self._suffix}({self.type} {a})")
        return f.value(f"call reassoc {self.element} @llvm.vector.reduce.fadd.{self._suffix}"
                       f"({self.element} 0.0, {self.type} {a})")

    def transpose(self, f: Function, rows: list[str]) -> list[str]:
        """The transpose of a square of registers, as `Builder.turned`."""
        rows, n, distance = list(rows), self.lanes, 1
        while distance < n:
            low = [j if not j & distance else n + j - distance for j in range(n)]
            for i in range(n):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = self.shuffled(f, a, b, low), self.shuffled(f, a, b, [j + distance for j in low])
            distance *= 2
            if distance in (4, 16) and distance < n:
                rows = [self._fenced(f, x) for x in rows]
        return rows

    def _fenced(self, f: Function, x: str) -> str:
        n = self.bytes // 4
        bits = f.value(f"bitcast {self.type} {x} to <{n} x float>")
        same = f.value(f"call <{n} x float> @llvm.arithmetic.fence.v{n}f32(<{n} x float> {bits})")
        return f.value(f"bitcast <{n} x float> {same} to {self.type}")

    def shuffled(self, f: Function, a: str, b: str, order: list[int]) -> str:
        """These elements of the two vectors one behind the other."""
        lanes = ", ".join(f"i32 {i}" for i in order)
        return f.value(f"shufflevector {self.type} {a}, {self.type} {b}, <{len(order)} x i32> <{lanes}>")

"""One function body as lines of LLVM IR: constants, lanes, blocks, and one line per distinct value."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .isa import Isa
from .module import Module
from .value import (
    BOOL, PTR, AnyValue, ComplexValue, Value, is_complex, is_nibble, literal_text, real_dtype,
    suffix_text, type_text,
)

F32 = np.dtype("f4")


def params_like(xs: Sequence[Value]) -> list[tuple]:
    return [(f"x{i}", x.dtype, "", x.lanes) for i, x in enumerate(xs)]


class Instructions:
    """The ground of the Builder: emits pure operations once per dominating scope.

    A scope is a table from an operation's text to its Value. Structured control flow
    (`loop`, `cond`, `while_loop`) opens a scope per block nest, so that what is found in any
    open scope dominates the place of use; a free `label` forgets everything.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        params: Sequence[tuple[str, np.dtype] | tuple[str, np.dtype, str] | tuple[str, np.dtype, str, int]] = (),
        ret: np.dtype | None = None,
        linkage: str = "",
    ):
        """A function `name` of `params`: (name, dtype[, attributes[, lanes]]); `ret` None: void,
        or the type of the value given to `ret()`."""
        self.module, self.name, self.linkage = module, name, linkage
        self._ret_text = "void" if ret is None else type_text(np.dtype(ret))
        self.params, texts = [], []
        for stem, dtype, *more in params:
            attributes, lanes = [*more, "", 1][:2] if len(more) < 2 else more
            value = Value(f"%{stem}", np.dtype(dtype), lanes or 1)
            self.params.append(value)
            texts.append(f"{type_text(value.dtype, value.lanes)} {attributes + ' ' if attributes else ''}{value.name}")
        self._param_text = ", ".join(texts)
        self._lines: list[str] = []
        self._entry_lines: list[str] = []
        self._count = 0
        self._scopes: list[dict[str, Value]] = [{}]
        self.block = "entry"

    @property
    def isa(self) -> Isa:
        return self.module.isa

    # ---- lines ----

    def fresh(self, stem: str = "v") -> str:
        """A name not used before in this function, without its sigil."""
        self._count += 1
        return f"{stem}{self._count}"

    def effect(self, text: str) -> None:
        """Emit an instruction without a result."""
        self._lines.append(f"  {text}")

    def pure(self, text: str, dtype: np.dtype, lanes: int = 1) -> Value:
        """The value of the operation `text`, emitted only where no open scope has it."""
        for scope in reversed(self._scopes):
            if (found := scope.get(text)) is not None:
                return found if found.dtype == dtype else self.renamed(found, dtype)  # LLVM's i32 is int32 and uint32
        value = self.impure(text, dtype, lanes)
        self._scopes[-1][text] = value
        return value

    def impure(self, text: str, dtype: np.dtype, lanes: int = 1) -> Value:
        """The value of an operation that must not be merged with an equal one (load, call, phi)."""
        name = f"%{self.fresh()}"
        self._lines.append(f"  {name} = {text}")
        return Value(name, dtype, lanes)

    def intrinsic(self, stem: str, x: Value, *rest: Value | str, dtype: np.dtype | None = None) -> Value:
        """`llvm.<stem>.<type of x>` of x and `rest` (Values, or literal operands such as "i1 false")."""
        dtype = x.dtype if dtype is None else dtype
        if stem in ("maximum", "minimum") and x.lanes == 1:
            return self._scalar_extreme(stem, x, *rest)
        if stem in ("maximum", "minimum") and self.isa.has_avx512 and x.lanes * x.dtype.itemsize * 8 in (128, 256, 512):
            return self._ranged_extreme(stem, x, *rest)
        name = f"llvm.{stem}.{suffix_text(x.dtype, x.lanes)}"
        return self.call_text(name, dtype, x.lanes, (x, *rest), merge=True)

    def _scalar_extreme(self, stem: str, x: Value, y: Value) -> Value:
        """The intrinsic without the jump, which no processor foresees, that LLVM makes of it on x86.

        Of equal numbers one order of the operands gives one, the other the other: they differ in the sign of zero.
        """
        compare, join = ("ogt", "and") if stem == "maximum" else ("olt", "or")
        first, second = (self.choose(self.test(f"fcmp {compare}", v, w), v, w) for v, w in ((x, y), (y, x)))
        bits = np.dtype(f"i{x.dtype.itemsize}")
        both = self.binary(join, self.cast("bitcast", first, bits), self.cast("bitcast", second, bits))
        unordered = self.test("fcmp uno", x, y)
        return self.choose(unordered, self.binary("fadd", x, y), self.cast("bitcast", both, x.dtype))

    def _ranged_extreme(self, stem: str, x: Value, y: Value) -> Value:
        """The intrinsic by VRANGE, which orders zeros by their signs, but of a number and nan takes the number."""
        bits = x.lanes * x.dtype.itemsize * 8
        name = f"llvm.x86.avx512.mask.range.p{'s' if x.dtype.itemsize == 4 else 'd'}.{bits}"
        order, mask = f"i32 {5 if stem == 'maximum' else 4}", f"i{max(8, x.lanes)} -1"
        out = self.call_text(name, x.dtype, x.lanes, (x, y, order, x, mask, *["i32 4"] * (bits == 512)), merge=True)
        return self.choose(self.test("fcmp uno", x, y), self.binary("fadd", x, y), out)

    def call_text(self, name: str, dtype, lanes: int, args: Iterable[Value | str], merge: bool) -> Value:
        texts = [a if isinstance(a, str) else a.text for a in args]
        types = [t.rsplit(" ", 1)[0] if isinstance(a, str) else type_text(a.dtype, a.lanes)
                 for a, t in zip(args, texts)]
        ret = type_text(dtype, lanes)
        self.module.declare(name, ret, types)
        emit = self.pure if merge else self.impure
        return emit(f"call {ret} @{name}({', '.join(texts)})", dtype, lanes)

    def call(
        self, name: str, ret: np.dtype | None, args: Sequence[Value], lanes: int = 1, pure: bool = False
    ) -> Value | None:
        """Call the function `name`, declaring it; `ret` is the result's dtype (None: void)."""
        if ret is not None:
            return self.call_text(name, np.dtype(ret), lanes, list(args), merge=pure)
        self.module.declare(name, "void", [type_text(a.dtype, a.lanes) for a in args])
        return self.effect(f"call void @{name}({', '.join(a.text for a in args)})")

    def outline(self, name: str, body: Callable[..., Value], *xs: Value, merge: bool = True) -> Value:
        """body(builder, *xs), of the type of xs[0], as a call of a function of its own; `merge` equal calls if it is pure.

        For long rarely taken paths: compiled once per module, or per process, whatever the number of uses.
        """
        full = f"{name}.{suffix_text(xs[0].dtype, xs[0].lanes)}"
        if self.module.shared is None:
            return self.called(full, body, xs, merge)
        full = self.shared_function(full, params_like(xs), body)
        return self.call_text(full, xs[0].dtype, xs[0].lanes, xs, merge)

    def called(self, name: str, body: Callable[..., Value], xs: Sequence[Value], merge: bool = True) -> Value:
        """body(builder, *xs) as a call of a function of this module."""
        if not self.module.is_defined(name):
            inner = self.internal_function(name, params_like(xs))
            result = body(inner, *inner.params)
            inner.ret(result)
            inner.finish()
            self.module.results[name] = result.dtype, result.lanes
        return self.call_text(name, *self.module.results[name], xs, merge)

    def shared_function(self, name: str, params: list, body: Callable[..., Value]) -> str:
        """The name of a function in a module of its own, named by its content."""
        shared = self.module.shared
        found = next((symbol for symbol in shared if symbol.startswith(f"{name}.")), None)
        if found is None:
            module = type(self.module)(self.isa)
            inner = self.function_in(module, "SHARED", params)
            inner.ret(body(inner, *inner.params))
            inner.finish()
            text = module.text()
            found = f"{name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            shared[found] = text.replace("@SHARED(", f"@{found}(")
        return found

    def function_pointer(self, name: str) -> Value:
        """The address of a function defined in this module or declared by a call."""
        return Value(f"@{name}", PTR)

    # ---- the operations that Arithmetic and Conversion are written on ----

    def binary(self, op: str, x: Value, y: Value) -> Value:
        return self.pure(f"{op} {x.text}, {y.name}", x.dtype, x.lanes)

    def test(self, compare: str, x: Value, y: Value) -> Value:
        """`compare` is "icmp" or "fcmp" with its condition."""
        return self.pure(f"{compare} {x.text}, {y.name}", BOOL, x.lanes)

    def choose(self, cond: Value, x: Value, y: Value) -> Value:
        return self.pure(f"select {cond.text}, {x.text}, {y.text}", x.dtype, x.lanes)

    def negated(self, x: Value) -> Value:
        return self.pure(f"fneg {x.text}", x.dtype, x.lanes)

    def cast(self, op: str, x: Value, dtype: np.dtype) -> Value:
        return self.pure(f"{op} {x.text} to {type_text(dtype, x.lanes)}", dtype, x.lanes)

    def renamed(self, x: Value, dtype: np.dtype) -> Value:
        """x as a dtype that LLVM has the same type for."""
        return Value(x.name, dtype, x.lanes)

    def saturated(self, op: str, x: Value, dtype: np.dtype) -> Value:
        """A float as an integer, the nearest that there is; nan as 0. `op` is fptosi or fptoui."""
        limits = np.iinfo(dtype)
        const = lambda value: self.const(value, x.dtype, x.lanes)
        at_least = self.choose(self.test("fcmp ogt", x, const(limits.min)), x, const(limits.min))
        if int(x.dtype.type(limits.max)) == limits.max:
            clipped = self.choose(self.test("fcmp olt", at_least, const(limits.max)), at_least, const(limits.max))
            return self.cast(op, self.choose(self.test("fcmp ord", x, x), clipped, const(0)), dtype)
        above = const(limits.max + 1)   # the largest integer is no such float: all below this one fit
        out = self.cast(op, self.choose(self.test("fcmp olt", x, above), at_least, const(0)), dtype)
        return self.choose(self.test("fcmp oge", x, above), self.const(limits.max, dtype, x.lanes), out)

    def lane_test(self, compare: str, bits: int, mask: Value) -> Value:
        """Compare the lanes of a bool, as the bits of an integer."""
        packed = self.pure(f"bitcast {mask.text} to i{mask.lanes}", np.dtype("i4"))
        return self.pure(f"icmp {compare} i{mask.lanes} {packed.name}, {bits}", BOOL)

    # ---- constants and lanes ----

    def const(self, value: Any, dtype: np.dtype, lanes: int = 1) -> AnyValue:
        """A literal of any dtype; floats are rounded to `dtype`, integers wrap."""
        dtype = np.dtype(dtype)
        if is_complex(dtype):
            value, part = complex(value), real_dtype(dtype)
            return ComplexValue(self.const(value.real, part, lanes), self.const(value.imag, part, lanes))
        if is_nibble(dtype):
            value = int(np.asarray(value).astype(dtype))
        elif dtype.kind in "iu":
            bits = dtype.itemsize * 8
            value = int(value) & ((1 << bits) - 1)
            value -= (value >> (bits - 1) << bits) if dtype.kind == "i" else 0
        elif dtype == BOOL:
            value = bool(value)
        else:
            with np.errstate(all="ignore"):
                value = float(np.asarray(value, dtype))
        literal = literal_text(value, dtype)
        if lanes > 1:
            literal = f"splat ({type_text(dtype)} {literal})"
        return Value(literal, dtype, lanes, value)

    def index(self, value: int | Value) -> Value:
        """An i64, from a Python int or as it is."""
        return value if isinstance(value, Value) else self.const(value, np.int64)

    def undef(self, dtype: np.dtype, lanes: int = 1) -> AnyValue:
        """A value that may be anything (and must not be used)."""
        dtype = np.dtype(dtype)
        if is_complex(dtype):
            return ComplexValue(*[self.undef(real_dtype(dtype), lanes)] * 2)
        return Value("poison", dtype, lanes)

    def splat(self, x: AnyValue, lanes: int) -> AnyValue:
        """The scalar `x` in every one of `lanes` lanes (as it is if it already has them)."""
        if x.lanes == lanes:
            return x
        if isinstance(x, ComplexValue):
            return ComplexValue(self.splat(x.re, lanes), self.splat(x.im, lanes))
        if x.lanes != 1:
            raise TypeError(f"cannot widen {x.lanes} lanes to {lanes}")
        if x.const is not None:
            return self.const(x.const, x.dtype, lanes)
        kind = type_text(x.dtype, lanes)
        one = self.pure(f"insertelement {kind} poison, {x.text}, i64 0", x.dtype, lanes)
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.pure(f"shufflevector {one.text}, {kind} poison, {mask}", x.dtype, lanes)

    def iota(self, lanes: int, dtype: np.dtype) -> Value:
        """0, 1, ... lanes - 1 (an integer or float dtype)."""
        dtype = np.dtype(dtype)
        if lanes == 1:
            return self.const(0, dtype)
        items = ", ".join(f"{type_text(dtype)} {literal_text(i, dtype)}" for i in range(lanes))
        return Value(f"<{items}>", dtype, lanes)

    def extract(self, x: AnyValue, lane: int | Value) -> AnyValue:
        """Lane number `lane` of `x` as a scalar."""
        if isinstance(x, ComplexValue):
            return ComplexValue(self.extract(x.re, lane), self.extract(x.im, lane))
        if x.lanes == 1:
            return x
        if x.const is not None:
            return self.const(x.const, x.dtype)
        return self.pure(f"extractelement {x.text}, {self.index(lane).text}", x.dtype)

    def insert(self, x: AnyValue, scalar: AnyValue, lane: int | Value) -> AnyValue:
        """`x` with lane number `lane` replaced by `scalar`."""
        if isinstance(x, ComplexValue):
            return ComplexValue(self.insert(x.re, scalar.re, lane), self.insert(x.im, scalar.im, lane))
        if x.lanes == 1:
            return scalar
        text = f"insertelement {x.text}, {scalar.text}, {self.index(lane).text}"
        return self.pure(text, x.dtype, x.lanes)

    def shuffle(self, x: AnyValue, y: AnyValue | None, lanes: Sequence[int]) -> AnyValue:
        """Lanes of `x` (0 ... n-1) and `y` (n ... 2n-1) in the order `lanes`; -1 is any."""
        if isinstance(x, ComplexValue):
            im = y.im if y is not None else None
            return ComplexValue(self.shuffle(x.re, y.re if y is not None else None, lanes),
                                self.shuffle(x.im, im, lanes))
        if len(lanes) == 1:
            source = x if lanes[0] < x.lanes else y
            return self.extract(source, lanes[0] % x.lanes)
        if x.lanes == 1:
            return self._gather_scalars(x, y, lanes)
        second = y.name if y is not None else "poison"
        order = ", ".join(f"i32 {'poison' if i < 0 else i}" for i in lanes)
        text = f"shufflevector {x.text}, {type_text(x.dtype, x.lanes)} {second}, <{len(lanes)} x i32> <{order}>"
        return self.pure(text, x.dtype, len(lanes))

    def turned(self, rows: Sequence[AnyValue]) -> list[AnyValue]:
        """The columns of a square of vectors: in each round, neighbours at a distance exchange the halves that lie across."""
        rows, n, distance = list(rows), len(rows), 1
        while distance < n:
            low = [j if not j & distance else n + j - distance for j in range(n)]
            for i in range(n):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = self.shuffle(a, b, low), self.shuffle(a, b, [j + distance for j in low])
            distance *= 2
            if distance in (4, 16) and distance < n:
                rows = [self.fenced(x) for x in rows]
        return rows

    def fenced(self, x: AnyValue) -> AnyValue:
        """x, of which LLVM does not see how it is made: looking through four rounds of shuffles takes it more than all else."""
        if isinstance(x, ComplexValue):
            return ComplexValue(self.fenced(x.re), self.fenced(x.im))
        if x.dtype == BOOL:
            return x
        n = x.lanes * x.dtype.itemsize // 4
        bits = self.pure(f"bitcast {x.text} to {type_text(F32, n)}", F32, n)
        same = self.call(f"llvm.arithmetic.fence.{suffix_text(F32, n)}", F32, [bits], n, pure=True)
        return self.pure(f"bitcast {same.text} to {type_text(x.dtype, x.lanes)}", x.dtype, x.lanes)

    def _gather_scalars(self, x: Value, y: Value | None, lanes: Sequence[int]) -> Value:
        out = self.undef(x.dtype, len(lanes))
        for place, source in enumerate(lanes):
            if source >= 0:
                out = self.insert(out, y if source and y is not None else x, place)
        return out

    def concat(self, parts: Sequence[AnyValue]) -> AnyValue:
        """The lanes of equally wide `parts` one after another (their number is a power of two)."""
        parts = list(parts)
        while len(parts) > 1:
            both = range(2 * parts[0].lanes)
            parts = [self.shuffle(x, y, both) for x, y in zip(parts[::2], parts[1::2])]
        return parts[0]

    def split(self, x: AnyValue, lanes: int) -> list[AnyValue]:
        """`x` cut into pieces of `lanes` lanes."""
        return [self.shuffle(x, None, range(i, i + lanes)) for i in range(0, x.lanes, lanes)]

    # ---- operand handling ----

    def lift(self, x: Any, like: AnyValue) -> AnyValue:
        """`x` itself, or the Python number `x` as a literal of the dtype of `like`."""
        return x if isinstance(x, (Value, ComplexValue)) else self.const(x, like.dtype, like.lanes)

    def match(self, *xs: Any) -> list[AnyValue]:
        """The operands with one dtype and one lane count; Python numbers take the dtype of the others."""
        like = next(x for x in xs if isinstance(x, (Value, ComplexValue)))
        values = [self.lift(x, like) for x in xs]
        if any(v.dtype != like.dtype for v in values):
            raise TypeError(f"operands differ in dtype: {', '.join(str(v.dtype) for v in values)}")
        lanes = max(v.lanes for v in values)
        return [self.splat(v, lanes) for v in values]

    # ---- the whole function ----

    def ret(self, value: Value | None = None) -> None:
        """Return from the function."""
        if value is not None:
            self._ret_text = type_text(value.dtype, value.lanes)
        self.effect(f"ret {value.text}" if value is not None else "ret void")

    def finish(self) -> str:
        """Add the function to the module and return its name."""
        linkage = f"{self.linkage} " if self.linkage else ""
        body = "\n".join(["entry:", *self._entry_lines, *self._lines])
        head = f"define {linkage}{self._ret_text} @{self.name}({self._param_text}) #0"
        self.module.define(self.name, f"{head} {{\n{body}\n}}\n")
        return self.name

    def alloca(self, nbytes: int, align: int = 64) -> Value:
        """Stack memory of a fixed size, reserved in the entry block (never grows in a loop)."""
        name = f"%{self.fresh('stack')}"
        self._entry_lines.append(f"  {name} = alloca [{nbytes} x i8], align {align}")
        return Value(name, PTR)

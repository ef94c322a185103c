"""Loop IR: what a fused kernel computes, as expressions over symbolic indices.

An Index is affine in the axes of the kernel's iteration space, with atoms for what is not (division and
remainder by constants, values read at run time). An Expr is a hash-consed expression of one element:

    exp(x[i, j] - m[i])    Apply(Exp, (Apply(Sub, (Load(x, 64*i + j), Load(m, i))),))

Views have no node of their own: they are index arithmetic. `Pull` builds Exprs from a graph.
"""
from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracejit.ir.affine import known
from tracejit.ir.types import ArrayType


# --- indices -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of an iteration space: its atom runs over 0 .. size-1."""
    name: str
    size: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.size - 1

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """of // by, of >= 0."""
    of: Index
    by: int

    @property
    def range(self) -> tuple[int, int]:
        lo, hi = self.of.range
        return lo // self.by, hi // self.by


@dataclass(frozen=True)
class Remainder:
    """of % by, of >= 0."""
    of: Index
    by: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.by - 1


@dataclass(frozen=True)
class Dynamic:
    """An integer read at run time, clamped to 0 .. size-1 unless it lies there wherever it is used."""
    value: Expr
    size: int
    clamped: bool = True

    @property
    def range(self) -> tuple[int, int]:
        return 0, max(self.size - 1, 0)


IndexAtom = Axis | Quotient | Remainder | Dynamic


class Index:
    """const + sum of coefficient * atom."""

    __slots__ = ("terms", "const", "_hash")

    def __init__(self, terms: dict[Any, int] | tuple = (), const: int = 0):
        self.terms = tuple((a, c) for a, c in (terms.items() if isinstance(terms, dict) else terms) if c)
        self.const = int(const)
        self._hash = hash((frozenset(self.terms), self.const))

    def __eq__(self, other) -> bool:
        return isinstance(other, Index) and self.const == other.const and \
            (self.terms == other.terms or frozenset(self.terms) == frozenset(other.terms))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return " + ".join([f"{c}*{a}" for a, c in self.terms] + ([str(self.const)] if self.const or not self.terms else []))

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value that the atoms' ranges allow."""
        lo = hi = self.const
        for atom, c in self.terms:
            a, b = atom.range
            lo, hi = lo + min(c * a, c * b), hi + max(c * a, c * b)
        return lo, hi

    def __add__(self, other: Index | int) -> Index:
        if not isinstance(other, Index):
            return Index(self.terms, self.const + int(other)) if other else self
        terms = dict(self.terms)
        for atom, c in other.terms:
            terms[atom] = terms.get(atom, 0) + c
        return _rejoined(terms, self.const + other.const)

    __radd__ = __add__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index | int) -> Index:
        return self + (-other)

    def __rsub__(self, other: int) -> Index:
        return -self + other

    def __mul__(self, by: int) -> Index:
        by = int(by)
        return self if by == 1 else Index([(a, c * by) for a, c in self.terms], self.const * by)

    __rmul__ = __mul__

    def _divided(self, by: int) -> tuple[Index, Index]:
        """The part divisible by `by`, already divided, and the rest."""
        whole = Index([(a, c // by) for a, c in self.terms if c % by == 0], self.const // by)
        return whole, Index([(a, c) for a, c in self.terms if c % by], self.const % by)

    def __floordiv__(self, by: int) -> Index:
        if by == 1:
            return self
        whole, rest = self._divided(by)
        lo, hi = rest.range
        if lo >= 0 and hi < by:
            return whole
        if lo < 0:
            whole, rest = Index(), self
        return whole + Index({_quotient(rest, by): 1})

    def __mod__(self, by: int) -> Index:
        if by == 1:
            return Index()
        _, rest = self._divided(by)
        lo, hi = rest.range
        if lo >= 0 and hi < by:
            return rest
        return Index({Remainder(rest if lo >= 0 else self, by): 1})

    def coefficient(self, atom) -> int:
        return next((c for a, c in self.terms if a is atom), 0)

    def atoms(self) -> set:
        """All atoms, those inside quotients and remainders too."""
        out = set()
        for a, _ in self.terms:
            out.add(a)
            if isinstance(a, (Quotient, Remainder)):
                out |= a.of.atoms()
        return out

    def substitute(self, images: dict) -> Index:
        """The index with axes replaced by indices."""
        out = Index((), self.const)
        for a, c in self.terms:
            out = out + image_of(a, images) * c
        return out


def _quotient(rest: Index, by: int):
    """(x // a) // b is x // (a b) when x // a stands alone."""
    if len(rest.terms) == 1 and rest.const == 0 and rest.terms[0][1] == 1 and isinstance(rest.terms[0][0], Quotient):
        inner = rest.terms[0][0]
        return Quotient(inner.of, inner.by * by)
    return Quotient(rest, by)


def _rejoined(terms: dict, const: int) -> Index:
    """The sum of terms, with (x // n) n + x % n as x."""
    for atom, c in terms.items():
        if isinstance(atom, Remainder):
            quotient = _quotient(atom.of, atom.by)
            if c and terms.get(quotient) == c * atom.by:
                rest = {a: k for a, k in terms.items() if a != atom and a != quotient}
                return Index(rest, const) + atom.of * c
    return Index(terms, const)


def image_of(atom, images: dict) -> Index:
    if isinstance(atom, Axis):
        found = images.get(atom)
        return Index({atom: 1}) if found is None else found
    if isinstance(atom, Quotient):
        return atom.of.substitute(images) // atom.by
    if isinstance(atom, Remainder):
        return atom.of.substitute(images) % atom.by
    return Index({replace(atom, value=atom.value.substitute(images)): 1})


ZERO = Index()


def axes_of(shape: Sequence[int], stem: str = "i") -> tuple[Axis, ...]:
    return tuple(Axis(f"{stem}{d}", n) for d, n in enumerate(shape))


def index_of(axes: Sequence[Axis]) -> tuple[Index, ...]:
    return tuple(Index({a: 1}) if a.size != 1 else ZERO for a in axes)


def linear(index: Sequence[Index], shape: Sequence[int]) -> Index:
    """The row-major element offset of an index tuple."""
    offset, stride = ZERO, 1
    for i, n in zip(reversed(index), reversed(shape)):
        offset, stride = offset + i * stride, stride * n
    return offset


@dataclass(frozen=True)
class Inside:
    """The condition lo <= index < hi."""
    index: Index
    lo: int
    hi: int

    def substitute(self, images):
        return Inside(self.index.substitute(images), self.lo, self.hi)


# --- expressions ---------------------------------------------------------------------------------------------------

class Expr:
    """One element of a value. Hash-consed by `Pull`, so equal expressions are the same object."""

    __slots__ = ("kind", "args", "data", "dtype", "cost", "depth", "_hash")

    def __init__(self, kind: str, args: tuple, data: Any, dtype: np.dtype, cost: float = 0.0):
        self.kind, self.args, self.data, self.dtype = kind, args, data, dtype
        self.cost = cost
        self.depth = 1 + max((a.depth for a in args), default=0)
        self._hash = hash((kind, dtype, tuple(map(id, args)), data))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other) -> bool:
        return self is other or (isinstance(other, Expr) and self._hash == other._hash and self.kind == other.kind
                                 and self.dtype == other.dtype
                                 and self.data == other.data and len(self.args) == len(other.args)
                                 and all(a is b or a == b for a, b in zip(self.args, other.args)))

    @property
    def number(self) -> Index | None:
        """The integer that it is, where that is affine in the axes."""
        if self.dtype.kind not in "iu" or self.kind not in (INDEX, CONST):
            return None
        return self.data if self.kind == INDEX else Index((), int(np.frombuffer(*self.data)[0]))

    @property
    def truth(self) -> bool | None:
        """The truth value that it always is."""
        return any(self.data[0]) if self.kind == CONST and self.dtype.kind == "b" else None

    def substitute(self, images: dict, memo: dict | None = None) -> Expr:
        """The expression with axes replaced by indices."""
        memo = {} if memo is None else memo
        for e in postorder(self, memo):
            args, data = tuple(memo[a] for a in e.args), substituted(e.data, images)
            same = data == e.data and all(a is b for a, b in zip(args, e.args))
            memo[e] = e if same else Expr(e.kind, args, data, e.dtype, e.cost)
        return memo[self]

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.args))}{', ' if self.args else ''}{self.data})"


def substituted(data: Any, images: dict) -> Any:
    if isinstance(data, (Index, Inside)):
        return data.substitute(images)
    if isinstance(data, tuple):
        return tuple(substituted(d, images) for d in data)
    return data


# kinds of Expr, and their data:
LOAD = "load"          # (buffer, offset: Index, guards: tuple[Inside])  - a read of memory, where the guards hold
CONST = "const"        # (value bytes, dtype)
INDEX = "index"        # an Index as a number
APPLY = "apply"        # an Elementwise op
METHOD = "method"      # (name, extra args): a Builder method called by a pull rule
WHERE = "where"        # tuple[Inside]: args[0] where all hold, else args[1]
ROW = "row"            # a value reduced along the row, of a group member: the var
CARRY = "carry"        # an element of a loop's carry before the trip: (number of the carry, or its Slot; offset of the element)
RESULT = "result"      # an element that a loop or branch inside of a trip has computed: (Slot, offset of the element)


@dataclass(frozen=True)
class Slot:
    """A carried array of a loop inside of another, or a result of a branch there. `owner` is what it is said to depend on."""
    owner: Axis
    number: int


class Pull:
    """Builds the Expr of an element of a var by pulling its index back through views and elementwise ops.

    `leaf(var, index)` says what a var is that is not to be pulled further: an Expr, or None to go on.
    It is the `b` of the ops' `pull` rules.
    """

    def __init__(self, leaf: Callable[[Any, tuple], Expr | None], eqn_of: dict):
        self.leaf, self.eqn_of = leaf, eqn_of
        self.memo: dict[tuple, Expr] = {}
        self.nodes: dict[Expr, Expr] = {}
        self.guards: tuple[Inside, ...] = ()

    def node(self, kind: str, args: tuple, data: Any, dtype, cost: float = 0.0) -> Expr:
        made = Expr(kind, args, data, dtype, cost)
        return self.nodes.setdefault(made, made)

    def value(self, atom, index: tuple) -> Expr:
        """The element of a graph atom at an index (of its full rank)."""
        if hasattr(atom, "key") and hasattr(atom, "value"):  # a literal
            return self.const(atom.value, atom.type.dtype)
        key = (atom, index, self.guards)
        found = self.memo.get(key)
        if found is None:
            found = self.leaf(atom, index)
            if found is None:
                found = self.pull_eqn(self.eqn_of[atom], atom, index)
            self.memo[key] = found
        return found

    def pull_eqn(self, eqn, var, index: tuple) -> Expr:
        types = [x.type for x in eqn.inputs]
        read = lambda k, at: self.value(eqn.inputs[k], tuple(as_index(i) for i in at))
        return eqn.op.element_of(self, var, index, read, types)

    # --- what pull rules may ask for

    def load(self, var, index: tuple, buffer: Any = None) -> Expr:
        """An element in memory: the var's own, or a buffer that holds it."""
        t: ArrayType = var.type
        offset = linear(index, t.shape)
        lo, hi = offset.range
        is_defined = all(a.of.range[0] >= 0 for a in offset.atoms() if isinstance(a, (Quotient, Remainder)))
        guards = () if is_defined and 0 <= lo and hi < t.size else self.guards     # what is memory anyway needs no guard
        return self.node(LOAD, (), (var if buffer is None else buffer, offset, guards), t.dtype)

    def apply(self, op, args: Sequence[Expr], dtype) -> Expr:
        return self.simplest(op.name, tuple(args), np.dtype(dtype), lambda: self.node(APPLY, tuple(args), op, dtype, 1))

    def simplest(self, name: str, args: tuple, dtype: np.dtype, run: Callable[[], Expr]) -> Expr:
        """run(), unless the operands' indices say what it gives."""
        found = known(name, args, dtype)
        if found is None or isinstance(found, Expr):
            return run() if found is None else found
        return self.index_value(found, dtype) if isinstance(found, Index) else self.const(found, dtype)

    def const(self, value: Any, dtype) -> Expr:
        dtype = np.dtype(dtype)
        return self.node(CONST, (), (np.asarray(value).astype(dtype).tobytes(), dtype), dtype)

    def index_value(self, index, dtype) -> Expr:
        return self.node(INDEX, (), as_index(index), np.dtype(dtype))

    def as_index(self, value: Expr, size: int, clamped: bool = True) -> Index:
        value = unwidened(value)
        number = value.number
        if number is not None and not number.terms:
            return Index((), min(max(number.const, 0), size - 1))
        if number is not None and number.range[0] >= 0 and number.range[1] < size:
            return number
        return Index({Dynamic(value, size, clamped): 1})

    def within(self, value: Expr, last: int) -> Expr:
        """Whether 0 <= value <= last, as one comparison where it must be made."""
        unsigned = np.dtype(f"u{value.dtype.itemsize}")
        last = min(last, np.iinfo(value.dtype).max)
        if value.number is None:
            return self.le(self.bitcast(value, unsigned), self.const(last, unsigned))
        return self.and_(self.ge(value, self.const(0, value.dtype)), self.le(value, self.const(last, value.dtype)))

    def inside(self, index, lo: int, hi: int):
        index = as_index(index)
        a, b = index.range
        if lo <= a and b < hi:
            return True
        if b < lo or a >= hi:
            return False
        return Inside(index, int(lo), int(hi))

    def all(self, conditions: Sequence) -> Any:
        flat = [c for cond in conditions for c in (cond if isinstance(cond, tuple) else (cond,))]
        if any(c is False for c in flat):
            return False
        return tuple(dict.fromkeys(c for c in flat if c is not True)) or True

    def where(self, condition, then: Callable[[], Expr], other: Callable[[], Expr]) -> Expr:
        """then() where the condition holds, else other(); each reads only where it is needed."""
        condition = self.all([condition])
        if condition is True:
            return then()
        if condition is False:
            return other()
        yes = self.guarded(condition, then)
        no = self.guarded(opposite(condition), other)
        return self.node(WHERE, (yes, no), condition, yes.dtype)

    def guarded(self, condition: tuple[Inside, ...], value: Callable[[], Expr]) -> Expr:
        before = self.guards
        self.guards = tuple(dict.fromkeys((*before, *condition)))
        found = value()
        self.guards = before
        return found

    def __getattr__(self, name: str):
        """Any other Builder method, as an expression."""
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args):
            exprs = tuple(a for a in args if isinstance(a, Expr))
            extra = tuple(a for a in args if not isinstance(a, Expr))
            dtype = result_dtype(name, exprs, extra)
            literal = lambda a: a if isinstance(a, Expr) else self.const(a, exprs[-1].dtype)
            operands = tuple(literal(a) for a in args if isinstance(a, (Expr, int)))
            return self.simplest(name, operands, dtype, lambda: self.node(METHOD, exprs, (name, extra), dtype, 1.0))
        return method


def unwidened(e: Expr) -> Expr:
    """The integer that was converted to a type which holds all of its own."""
    while (e.data[0] if e.kind == METHOD else e.data.name if e.kind == APPLY else "") in ("convert", "convert_element_type") and \
            e.args[0].dtype.kind in "iu" and np.can_cast(e.args[0].dtype, e.dtype):
        e = e.args[0]
    return e


def opposite(condition: tuple[Inside, ...]) -> tuple[Inside, ...]:
    """Where a condition does not hold, if that is one interval; else everywhere."""
    if len(condition) == 1:
        [c] = condition
        lo, hi = c.index.range
        if c.lo <= lo:
            return (Inside(c.index, c.hi, hi + 1),)
        if c.hi > hi:
            return (Inside(c.index, lo, c.lo),)
    return ()


def as_index(i) -> Index:
    return i if isinstance(i, Index) else Index((), int(i))


BOOLEAN_METHODS = ("eq", "ne", "lt", "le", "gt", "ge", "is_finite")


def result_dtype(name: str, exprs: tuple, extra: tuple) -> np.dtype:
    """The dtype of a Builder method's result: comparisons give bool, conversions what they are told."""
    if name in BOOLEAN_METHODS:
        return np.dtype(bool)
    if name in ("convert", "bitcast"):
        return np.dtype(extra[0])
    return exprs[1 if name == "select" else 0].dtype


def children(e: Expr) -> list[Expr]:
    """What must be computed before an expression: its arguments and the values inside its indices."""
    out = list(e.args)
    for index in indices_of(e):
        out += [a.value for a in index.atoms() if isinstance(a, Dynamic)]
    return out


def postorder(root: Expr, done) -> list[Expr]:
    """The expressions below root that are not done, children first (chains may be longer than Python's stack)."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        e, ready = stack.pop()
        if ready:
            order.append(e)
        elif e not in seen and e not in done:
            seen.add(e)
            stack.append((e, True))
            stack += [(c, False) for c in children(e)]
    return order


def in_order(roots: Iterable[Expr]) -> list[Expr]:
    """All expressions below the roots, children first."""
    order: dict[Expr, None] = {}
    for root in roots:
        order.update(dict.fromkeys(postorder(root, order)))
    return list(order)


class Dependence:
    """Which axes an expression depends on; of a row value or a carried one, also the marker ROW or CARRY.

    What a kernel itself writes (`written`) and reads again in a later stage is such a value too. What a loop changes
    depends on the loop's time, and a read of such memory on the memory.
    """

    def __init__(self, written: Container = ()) -> None:
        self.memo: dict[Expr, frozenset] = {}
        self.written = written

    def __call__(self, root: Expr) -> frozenset:
        for e in postorder(root, self.memo):
            axes = {a for index in indices_of(e) for a in index.atoms() if isinstance(a, Axis)}
            if e.kind == ROW:
                axes.add(ROW)
            elif e.kind in (CARRY, RESULT):
                axes.add(getattr(e.data[0], "owner", CARRY))
            elif e.kind == LOAD and hasattr(e.data[0], "owner"):
                axes |= {e.data[0], e.data[0].owner}
            elif e.kind == LOAD and e.data[0] in self.written:
                axes.add(ROW)
            self.memo[e] = frozenset(axes).union(*(self.memo[c] for c in children(e)))
        return self.memo[root]


def loads_of(expr: Expr, seen: dict | None = None) -> dict[Expr, None]:
    """All reads of memory in an expression, those inside run-time indices too."""
    seen = {} if seen is None else seen
    found: dict[Expr, None] = {}
    stack = [expr]
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen[e] = None
        if e.kind == LOAD:
            found[e] = None
        stack += e.args
        for index in indices_of(e):
            for atom in index.atoms():
                if isinstance(atom, Dynamic):
                    stack.append(atom.value)
    return found


def zero(dtype: np.dtype) -> Expr:
    return Expr(CONST, (), (bytes(dtype.itemsize), dtype), dtype)


def indices_of(e: Expr) -> list[Index]:
    """The indices that an expression node itself mentions."""
    if e.kind == LOAD:
        return [e.data[1], *[g.index for g in e.data[2]]]
    if e.kind == WHERE:
        return [c.index for c in e.data]
    return [e.data] if e.kind == INDEX else []

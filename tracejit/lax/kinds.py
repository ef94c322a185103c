"""The kinds of op. An op is a frozen dataclass whose fields are its static parameters and whose methods are its rules.

    infer(*types)                  -> type of the result (a tuple where `multiple`)
    eval(*arrays)                  -> NumPy meaning: the oracle that compiled code is tested against
    partials(out, *xs)             -> d out / d x for each x: None (zero), 1, -1, or a value         (Elementwise)
    jvp(ctx, primals, tangents)    -> (outputs, their tangents); a tangent is None where it is zero
    transpose(ctx, ct, *args)      -> a cotangent per arg, None for known args; a linear arg comes as Linear(type)
    batch(ctx, args, batched)      -> (outputs, which are batched); a batched arg has its batch axis at 0, of ctx.size
    cuts(types, out)               -> the ways to compute the result part by part, and `part` records one part
    checked(ctx, args)             -> outputs, telling ctx what can have failed in this run, for checkify
    bounds(types, *ranges)         -> (least, greatest) of an integer or boolean result, from those of the operands
    scalar(b, *xs)                 -> one element of the result, written against the Builder protocol  (Elementwise)
    pull(b, index, read, types)    -> one element of the result at `index`, by reading operands        (View)
    joined(ctx, out)               -> a result that is no key, from the results for each part of the keys along axis 0

Each kind derives what it can, so that most ops state only their mathematics. A rule that must transform a
sub-graph asks `ctx` for it (open recursion), so no op knows any transform.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.graph import Operation
from tracejit.ir.graph import field_names, fields_of, subgraphs
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, is_inexact, kind_of, type_of

KIND_NAMES = {"b": "bool", "i": "integer", "u": "unsigned integer", "f": "floating", "c": "complex", "V": "key"}

def op_dataclass(cls: type) -> type:
    """A frozen dataclass. All that can be inherited is: methods generated for each of 200 classes would make up half
    of the time that the package takes to import."""
    fields = [a for a in vars(cls).get("__annotations__", {}).values() if not a.startswith("ClassVar")]
    return dataclasses.dataclass(cls, eq=False, repr=False, match_args=False) if fields or cls.__bases__ == (Operation,) else cls


class Linear:
    """In a transpose rule: an operand that the op is linear in, of which only the type is known."""

    __slots__ = ("type",)

    def __init__(self, type):
        self.type = type

    @property
    def shape(self):
        return self.type.shape

    @property
    def dtype(self):
        return self.type.dtype


def is_linear(x: Any) -> bool:
    return isinstance(x, Linear)


@dataclasses.dataclass(frozen=True)
class BuiltIn:
    """A class of ops as programs that walk over equations see it: its name, and how to apply it again."""
    op: type
    call_primitive: ClassVar[bool] = False
    map_primitive: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def multiple_results(self) -> bool:
        return self.op.multiple

    def bind(self, *args, **params):
        return bind(self.op(**params), *args)

    def get_bind_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """What `bind` takes, from the params of an equation: the same."""
        return params

    def __repr__(self) -> str:
        return self.name


Range = tuple[int, int]     # the least and the greatest of an array's integers (or booleans: 0 and 1)


def hull(*ranges: Range) -> Range:
    """The least range that holds these."""
    return min(lo for lo, _ in ranges), max(hi for _, hi in ranges)


class Cut(NamedTuple):
    """A way to compute a result part by part: the axis of the result that is cut (None: parts of the result are whole and
    are added up), and that of each operand (None: every part reads all of it)."""
    out: int | None
    ins: tuple[int | None, ...]


def built_in(name: str) -> BuiltIn | None:
    """The ops of a name, None if there are none. What only groups ops has no name of its own here: it cannot be applied.

    >>> built_in("add").bind(1., 2.), built_in("elementwise")
    (Array(3., dtype=float32, weak_type=True), None)
    """
    pending: list[type] = [Op]
    while pending:
        kind = pending.pop()
        if kind.__dict__.get("name") == name and not (kind.__module__ == __name__ and kind.__subclasses__()):
            return BuiltIn(kind)
        pending += kind.__subclasses__()
    return None


@op_dataclass
class Op(Operation):
    multiple: ClassVar[bool] = False       # results are a tuple
    has_effects: ClassVar[bool] = False    # must run, once, in order
    overwrites: ClassVar[int | None] = None  # the operand that the result is a changed copy of
    is_long: ClassVar[bool] = False        # an element takes longer than reading one from memory in the cache
    ulp: ClassVar[float] = 1               # how far compiled code may be from `eval`, in units in the last place
    linear: ClassVar[bool] = False         # linear in all operands together
    rounds: ClassVar[bool] = False         # linear up to a rounding that is its purpose
    accepts: ClassVar[str] = "biufc"       # kinds of dtype that the operands may have
    dispatches: ClassVar[bool] = False     # `eval` runs on CuPy's arrays as it does on NumPy's
    lane_dependent: ClassVar[bool] = False  # under vmap its batch rule applies even to unbatched operands
    makes_nan: ClassVar[bool] = False      # a result may be nan though no operand is

    def __init_subclass__(cls, **kw):
        super().__init_subclass__(**kw)
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__.lstrip("_")).lower()
        cls.has_transpose = cls.transpose is not Op.transpose

    name: ClassVar[str] = "op"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r} of an op")
        self.__dict__[name] = value

    def values(self) -> tuple:
        """The static parameters."""
        own = self.__dict__
        return tuple([own[name] for name in field_names(self.__class__)])

    @property
    def primitive(self) -> Any:
        return BuiltIn(self.__class__)

    @property
    def params(self) -> dict[str, Any]:
        return dict(fields_of(self))

    def __eq__(self, other: object) -> bool:
        return self is other or (self.__class__ is other.__class__ and self.values() == other.values())

    def __hash__(self) -> int:
        found = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.__class__, self.values()))
        return found

    def infer(self, *types):
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def lies_as(self, *types: ArrayType) -> bool:
        """Whether the result's elements lie in memory as the first operand's: it needs none of its own."""
        return False

    def accepted(self, dtype: np.dtype) -> np.dtype:
        """The dtype itself, if it is of a kind that the op accepts."""
        if kind_of(dtype) in self.accepts:
            return dtype
        raise DtypeError(f"{self.name} does not accept {dtype}", source=user_source(), fix="convert to a dtype of one "
                         f"of the kinds {', '.join(KIND_NAMES[k] for k in self.accepts)}")

    def eval(self, *arrays):
        raise NotImplementedError(f"{type(self).__name__}.eval")

    def jvp(self, ctx, primals, tangents):
        """A linear op acts on tangents as it does on values."""
        if not self.linear:
            raise NotImplementedError(f"{self.name} has no derivative rule")
        return bind(self, *primals), bind(self, *ctx.instantiate(primals, tangents))

    def transpose(self, ctx, ct, *args):
        raise NotImplementedError(f"{self.name} has no transpose rule: it is not linear in these operands")

    def batch(self, ctx, args, batched):
        raise NotImplementedError(f"{self.name} has no batching rule")

    def joined(self, ctx, out):
        raise NotImplementedError(f"{self.name} has no rule for results that are no keys")

    def bounds(self, types, *ranges: Range) -> Range | None:
        """The least and the greatest of an integer or boolean result as if numbers had no end; None if nothing is known.
        The operands' are full ranges where nothing is known of them, and (0, 0) of what is no number of these kinds."""
        return None

    def cuts(self, types, out) -> list[Cut]:
        return []

    def part(self, axis: int, start, size: int, args):
        """`size` elements of the result along an axis, from `start` (a value) on, of the operands' parts."""
        return bind(self, *args)

    def checked(self, ctx, args):
        outs = bind(self, *args)
        if self.makes_nan:
            ctx.nan(self.name, outs if self.multiple else [outs])
        return outs

    def split(self, ctx, linear: list[bool]):
        """Of an op that mixes known and linear operands (loops, branches): see transforms/ad.py."""
        raise NotImplementedError(f"{self.name} cannot be split into a known and a linear part")

    def scratch_bytes(self, types) -> int:
        """Scratch memory that the op's own native code needs."""
        return 0

    def products(self, types) -> list[tuple]:
        """(dtype, m, n, k) of products that the op's own code makes by `add_product`: the largest, or all."""
        return []

    def device_lanes(self, types) -> int | None:
        """How many lanes of the op's work do not depend on each other, if `device_lane(b, lane, ins, outs, types)` emits one:
        a GPU runs each in a thread of its own. None: a library does the work, see `device_call`."""
        return None

    def device_call(self, runtime, ins, outs) -> None:
        """The op on arrays in a device's memory (Views). Where `eval` is written with functions that CuPy takes over it runs there;
        else on the host, and the copies are counted as any other."""
        run = lambda arrays: (lambda out: out if self.multiple else (out,))(self.eval(*arrays))
        if not self.dispatches:
            return runtime.host_call(run, ins, outs, f"{self.name} has no routine on the device")
        for out, result in zip(outs, run([runtime.array(x) for x in ins]), strict=True):
            runtime.array(out)[...] = result

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in fields_of(self))
        return f"{type(self).__name__}({fields})"


def has_tangent(x: Any) -> bool:
    """Whether values of this type have derivatives: floats and complex numbers do."""
    return is_inexact(type_of(x).dtype)


@op_dataclass
class Elementwise(Op):
    """out[i] = f(x[i], y[i], ...). Operands share one shape; a zero-dimensional one is repeated."""
    def infer(self, *types: ArrayType) -> ArrayType:
        shape = ()
        for t in types:
            if t.shape != shape and t.ndim:
                if shape:
                    raise self.shape_error(types)
                shape = t.shape
        return ArrayType(shape, self.result_dtype(*[t.dtype for t in types]), all(t.weak_type for t in types))

    def shape_error(self, types) -> ShapeError:
        return ShapeError(f"{self.name}: operands {', '.join(map(str, types))} have different shapes",
                          source=user_source(), fix="broadcast them first, or use the tracejit.numpy function, which does")

    def result_dtype(self, *dtypes: np.dtype) -> np.dtype:
        """By default: operands of one dtype, which is the result's."""
        if any(d != dtypes[0] for d in dtypes):
            raise DtypeError(f"{self.name}: operands have different dtypes: {', '.join(map(str, dtypes))}",
                             source=user_source(), fix="convert them with lax.convert_element_type, "
                             "or use the tracejit.numpy function, which promotes")
        return self.accepted(dtypes[0])

    def element_of(self, b, var, index: tuple, read, types):
        """The element at `index` as an expression of the Loop IR."""
        return b.apply(self, [read(k, index if t.ndim else ()) for k, t in enumerate(types)], var.type.dtype)

    def scalar(self, b, *xs):
        """One element of the result: by default, the Builder's method of the op's own name."""
        return getattr(b, self.name)(*xs)

    def partials(self, out, *xs) -> tuple:
        return (None,) * len(xs)  # integers, comparisons, roundings: flat almost everywhere

    def jvp(self, ctx, primals, tangents):
        """tangent = sum over operands of partial * tangent; a linear op acts on tangents as on values."""
        out = bind(self, *primals)
        if not has_tangent(out):
            return out, None
        if self.linear:
            return out, bind(self, *ctx.instantiate(primals, tangents))
        terms = [ctx.scale(t, partial) for partial, t in zip(self.partials(out, *primals), tangents)
                 if t is not None and partial is not None]
        return out, ctx.sum(terms, type_of(out)) if terms else None

    def cuts(self, types, out):
        return [Cut(a, tuple(a if t.ndim else None for t in types)) for a in range(out.ndim)]

    def batch(self, ctx, args, batched):
        shape = max((type_of(x).shape[b:] for x, b in zip(args, batched)), key=len)
        return bind(self, *[ctx.spread(x, b, shape) for x, b in zip(args, batched)]), True


@op_dataclass
class View(Op):
    """Moves elements without computing: the result at an index is an operand at another index.

    Views vanish at fusion: `pull` maps a result index to operand reads. Linear unless they move integers.
    """
    linear: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    accepts: ClassVar[str] = "biufcV"
    joins: ClassVar[bool] = False   # which operand an element comes from depends on the index

    def bounds(self, types, *ranges):
        """Elements of the first operand, or of any where the view joins them."""
        return hull(*ranges if self.joins else ranges[:1])

    def element_of(self, b, var, index: tuple, read, types):
        return self.pull(b, index, read, types)

    def pull(self, b, index: tuple, read, types):
        raise NotImplementedError(f"{type(self).__name__}.pull")

    def jvp(self, ctx, primals, tangents):
        """The same view of the tangents; operands that only say where (indices) have none."""
        out = bind(self, *primals)
        if not has_tangent(out):
            return out, None
        moved = [zero_if_float(ctx, p, t) for p, t in zip(primals, tangents)]
        return out, bind(self, *moved)


def zero_if_float(ctx, primal, tangent):
    """A tangent to move beside its primal: itself, zeros, or for an integer operand the operand."""
    if tangent is not None:
        return tangent
    return ctx.zeros(type_of(primal)) if has_tangent(primal) else primal


def pairwise(combine: Callable[[Any, Any], Any], xs: Sequence) -> Any:
    """One or more values folded together in a fixed tree: the first half with the second, again and again."""
    while len(xs) > 1:
        half = len(xs) // 2
        xs = [*map(combine, xs[:half], xs[half:2 * half]), *xs[2 * half:]]
    return xs[0]


@op_dataclass
class Reduction(Op):
    """Folds some axes of its operands with a monoid: `init`, `element`, `combine`, `finish` on tuples of scalars.

    The fold's tree is fixed by the shape, never by the number of threads.
    """
    axes: tuple[int, ...]
    monoid: ClassVar[Elementwise | None] = None  # the op that it folds with, where it is just one
    picks: ClassVar[bool] = False                # the result is one of the elements
    widens: ClassVar[bool] = False               # 16-bit floats are folded in float32 by the public function
    joins: ClassVar[int] = 1                     # how many elements are best folded into a state at once

    def infer(self, *types: ArrayType) -> ArrayType:
        shape = tuple(d for i, d in enumerate(types[0].shape) if i not in self.axes)
        return ArrayType(shape, self.accepted(types[0].dtype), types[0].weak_type)

    def init(self, b, types) -> tuple:
        """The monoid's neutral element, as Builder constants."""
        raise NotImplementedError(f"{type(self).__name__}.init")

    def element(self, b, index: tuple, *xs) -> tuple:
        """What one element contributes; `index` gives its position along each reduced axis."""
        return xs

    def bounds(self, types, *ranges):
        return ranges[0] if self.picks and types[0].size else None

    def combine(self, b, x: tuple, y: tuple) -> tuple:
        return (self.monoid.scalar(b, x[0], y[0]),)

    def join(self, b, x: tuple, elements: Sequence[tuple]) -> tuple:
        """A state and some elements: these pairwise first."""
        return self.combine(b, x, pairwise(partial(self.combine, b), elements))

    def finish(self, b, x: tuple):
        return x[0]

    def cuts(self, types, out):
        kept = [a for a in range(types[0].ndim) if a not in self.axes]
        return [Cut(k, (a,) * len(types)) for k, a in enumerate(kept)]

    def batch(self, ctx, args, batched):
        moved = dataclasses.replace(self, axes=tuple(a + 1 for a in self.axes))
        return bind(moved, *[ctx.materialize(x, bd) for x, bd in zip(args, batched)]), True


@op_dataclass
class Contraction(Op):
    """Sums products of two operands over shared axes: matrix products and convolutions. Linear in each operand."""
    makes_nan: ClassVar[bool] = True

    def flops(self, x: ArrayType, y: ArrayType) -> float:
        """Multiplications and additions of one run."""
        raise NotImplementedError(f"{type(self).__name__}.flops")

    def jvp(self, ctx, primals, tangents):
        x, y = primals
        out = bind(self, x, y)
        if not has_tangent(out):
            return out, None
        terms = [bind(self, *pair) for pair, t in (((tangents[0], y), tangents[0]), ((x, tangents[1]), tangents[1]))
                 if t is not None]
        return out, ctx.sum(terms, type_of(out)) if terms else None


@op_dataclass
class Opaque(Op):
    """One call of a library routine or of hand-written native code on whole arrays.

    `call(b, ins, outs, types)` emits the call. Rules that a library op lacks are written by hand on the op.
    """

    def batch(self, ctx, args, batched):
        """By default one call per lane, in a native loop."""
        return ctx.loop_over_lanes(self, args, batched)


@op_dataclass
class Control(Op):
    """Runs sub-graphs: loops and branches, compiled natively into the same executable."""
    multiple: ClassVar[bool] = True
    moves: ClassVar[bool] = True

    @property
    def lane_dependent(self) -> bool:
        return any(g.lane_dependent for _, value in fields_of(self) for g in subgraphs(value))

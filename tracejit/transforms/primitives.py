"""Primitives that a program defines itself: an op whose rules are functions, registered under `Primitive(name)`."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit import lax
from tracejit.errors import ShapeError, user_source
from tracejit.ir.trace import bind, current_builder, trace_closed
from tracejit.ir.types import ArrayType, is_inexact, type_of
from tracejit.lax.control import convert_type
from tracejit.lax.custom import Call
from tracejit.lax.kinds import is_linear, op_dataclass
from tracejit.transforms.custom_rules import Interned, user_values


@dataclass(frozen=True)
class Zero:
    """A tangent or cotangent that is zero, never computed; `aval` is its type."""
    aval: ArrayType

    @classmethod
    def from_primal_value(cls, x: Any) -> Zero:
        """The zero tangent of a value."""
        return cls(type_of(x))

    def instantiate(self) -> Any:
        return lax.full(self.aval.shape, 0, self.aval.dtype)


@dataclass(frozen=True)
class UndefinedPrimal:
    """In a transpose rule: an operand that the primitive is linear in, of which only the type is known."""
    aval: ArrayType


@dataclass(frozen=True)
class AxisData:
    """The axis that is being mapped over, as a batching rule sees it."""
    size: int
    name: Any = None
    spmd_name: Any = None
    explicit_mesh_axis: Any = None


@dataclass(frozen=True)
class LoweringRuleContext:
    """What a lowering rule is told: its primitive, and the types of operands and, where they are declared, of results."""
    primitive: Primitive
    avals_in: Sequence[ArrayType]
    avals_out: Sequence[ArrayType] | None

    @property
    def module_context(self) -> LoweringRuleContext:
        """What rules register with that something must live as long as the program: it does, the program holds it."""
        return self

    def add_keepalive(self, kept: Any) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Lowered:
    """A lowering rule: the program of a function."""
    function: Callable
    multiple_results: bool = True

    def __call__(self, ctx: LoweringRuleContext, *operands: Any, **params: Any) -> list:
        outs = self.function(*operands, **params)
        return list(outs) if self.multiple_results else [outs]


jvp_rules: dict[Primitive, Callable] = {}             # (primals, tangents, **params) -> (outs, tangents)
transpose_rules: dict[Primitive, Callable] = {}       # (cotangent, *operands, **params) -> cotangents
batch_rules: dict[Primitive, Callable] = {}           # (operands, axes, **params) -> (outs, axes)
axis_batch_rules: dict[Primitive, Callable] = {}      # (size, name, None, operands, axes, **params) -> (outs, axes)
axis_data_batch_rules: dict[Primitive, Callable] = {}  # (AxisData, operands, axes, **params) -> (outs, axes)
lowerings: dict[Primitive, Callable] = {}             # (LoweringRuleContext, *operands, **params) -> outs


class Primitive:
    """An operation with rules of its own. `bind` applies it: at once where nothing is traced, else it is recorded.

    `def_impl` gives its meaning on values, `def_abstract_eval` its result types; the rules of transforms go into
    `interpreters.ad.primitive_jvps`, `primitive_transposes`, `interpreters.batching.primitive_batchers`, and what it is
    compiled to is `interpreters.mlir.lower_fun(f)`, or its impl where that can be traced.

    >>> from tracejit.extend.core import Primitive
    >>> twice = Primitive("twice")
    >>> _ = twice.def_impl(lambda x: x * 2.)
    >>> twice.bind(3.)
    6.0
    """
    call_primitive = False
    map_primitive = False
    multiple_results = False

    def __init__(self, name: str):
        self.name = name
        self.impl: Callable | None = None
        self.abstract_eval: Callable | None = None

    def def_impl(self, impl: Callable) -> Callable:
        """Give the function that computes the results; it is returned."""
        self.impl = impl
        return impl

    def def_abstract_eval(self, abstract_eval: Callable) -> Callable:
        """Give the function from types of the operands to types of the results; it is returned."""
        self.abstract_eval = abstract_eval
        return abstract_eval

    def def_effectful_abstract_eval(self, abstract_eval: Callable) -> Callable:
        """As def_abstract_eval, of a function that returns (types, effects)."""
        self.abstract_eval = lambda *types, **params: abstract_eval(*types, **params)[0]
        return abstract_eval

    def bind(self, *args: Any, **params: Any) -> Any:
        """Apply the primitive to values; params are static."""
        if current_builder() is None:
            if self.impl is None:
                raise NotImplementedError(f"Evaluation rule for '{self.name}' not implemented")
            return self.impl(*args, **params)
        outs = bind(UserPrimitive(self.graph(args, params), Bound.of(self, tuple(sorted(params.items())))), *args)
        return outs if self.multiple_results else outs[0]

    def get_bind_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """What `bind` takes, from the params of an equation: the same."""
        return params

    def graph(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """What it is compiled to on operands of these types; the results have the types that abstract_eval says."""
        types = [type_of(x) for x in args]
        wanted = self.results(self.abstract_eval(*types, **params)) if self.abstract_eval else None
        ctx = LoweringRuleContext(self, types, wanted)

        def f(*values: Any) -> list:
            outs = self.lowered(ctx, user_values(values), params)
            return outs if wanted is None else [self.as_declared(x, t) for x, t in zip(outs, wanted, strict=True)]
        return trace_closed(f, types)

    def lowered(self, ctx: LoweringRuleContext, operands: Sequence[Any], params: dict[str, Any]) -> list:
        """What the lowering rule makes of operands, which are traced values. A rule that wants MLIR's values finds none."""
        rule = lowerings.get(self)
        if rule is None and self.impl is not None:
            rule = Lowered(self.impl, self.multiple_results)
        if isinstance(rule, Lowered):
            return rule(ctx, *operands, **params)
        try:
            outs = rule(ctx, *operands, **params)
        except Exception as error:
            raise NotImplementedError(f"primitive '{self.name}' cannot be compiled: its lowering rule writes MLIR, of which "
                                      "there is none here; register interpreters.mlir.lower_fun(f) instead") from error
        return list(outs) if isinstance(outs, (list, tuple)) else [outs]

    def as_declared(self, x: Any, t: Any) -> Any:
        if type_of(x).shape != tuple(t.shape):
            raise ShapeError(f"primitive '{self.name}': abstract_eval says {t}, its lowering gives {type_of(x)}",
                             source=user_source())
        return convert_type(x, ArrayType(tuple(t.shape), t.dtype, getattr(t, "weak_type", False)))

    def results(self, found: Any) -> list:
        """Results of a rule as a list."""
        return list(found) if self.multiple_results else [found]

    def __repr__(self) -> str:
        return self.name


class Bound(Interned):
    """A primitive with its static parameters."""

    @property
    def primitive(self) -> Primitive:
        return self.parts[0]

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.parts[1])

    def __repr__(self) -> str:
        return f"{self.primitive.name}#{self.serial}"


@op_dataclass
class UserPrimitive(Call):
    """A call whose derivative, transpose and batch are the rules registered for its primitive."""
    bound: Bound

    @property
    def primitive(self) -> Primitive:
        return self.bound.primitive

    @property
    def params(self) -> dict[str, Any]:
        return self.bound.params

    def rule(self, table: dict, what: str) -> Callable:
        if self.primitive not in table:
            raise NotImplementedError(f"{what} for '{self.primitive.name}' not implemented")
        return table[self.primitive]

    def jvp(self, ctx, primals, tangents):
        rule = self.rule(jvp_rules, "Differentiation rule")
        given = [Zero(type_of(p)) if t is None else t for p, t in zip(primals, user_values(tangents))]
        outs, moved = rule(user_values(primals), given, **self.bound.params)
        return self.primitive.results(outs), [nonzero(t, out) for t, out in zip(self.primitive.results(moved), self.infer())]

    def split(self, ctx, eqn, linear):
        """Whole into the linear part, if it says how to transpose it."""
        return ([], [eqn]) if self.primitive in transpose_rules else Call.split(self, ctx, eqn, linear)

    def transpose(self, ctx, cts, *args):
        rule = self.rule(transpose_rules, "Transpose rule (for reverse-mode differentiation)")
        given = [Zero(t) if ct is None else ct for t, ct in zip(self.infer(), cts)]
        operands = iter(user_values([x for x in args if not is_linear(x)]))
        found = rule(given if self.primitive.multiple_results else given[0],
                     *[UndefinedPrimal(x.type) if is_linear(x) else next(operands) for x in args], **self.bound.params)
        return [None if ct is None or is_zero(ct) else ct for ct in found]

    def batch(self, ctx, args, batched):
        operands, axes, params = tuple(user_values(args)), tuple(0 if b else None for b in batched), self.bound.params
        if self.primitive in axis_data_batch_rules:
            outs, out_axes = axis_data_batch_rules[self.primitive](AxisData(ctx.size, ctx.axis_name), operands, axes, **params)
        elif self.primitive in axis_batch_rules:
            outs, out_axes = axis_batch_rules[self.primitive](ctx.size, ctx.axis_name, None, operands, axes, **params)
        else:
            outs, out_axes = self.rule(batch_rules, "Batching rule")(operands, axes, **params)
        pairs = list(zip(self.primitive.results(outs), self.primitive.results(out_axes), strict=True))
        return [x if axis is None else to_front(x, axis) for x, axis in pairs], [axis is not None for _, axis in pairs]


def to_front(x: Any, axis: int) -> Any:
    n = type_of(x).ndim
    axis %= n
    return lax.transpose(x, (axis, *[i for i in range(n) if i != axis])) if axis else x


def is_zero(x: Any) -> bool:
    return isinstance(x, Zero) or x is Zero


def nonzero(tangent: Any, t: ArrayType) -> Any:
    """A rule's tangent for a result of type t; None for zero."""
    return None if tangent is None or is_zero(tangent) or not is_inexact(t.dtype) else convert_type(tangent, t.strong())


# --- rules of common forms -------------------------------------------------------------------------------------------

def instantiate_zeros(x: Any) -> Any:
    """Zeros for a Zero; anything else as it is."""
    return x.instantiate() if isinstance(x, Zero) else x


def deflinear2(primitive: Primitive, transpose_rule: Callable) -> None:
    """The primitive is linear in all operands together; transpose_rule(ct, *operands, **params) -> cotangents."""
    def jvp(primals, tangents, **params):
        out = primitive.bind(*primals, **params)
        if all(is_zero(t) for t in tangents):
            return out, Zero.from_primal_value(out)
        return out, primitive.bind(*[instantiate_zeros(t) for t in tangents], **params)
    jvp_rules[primitive], transpose_rules[primitive] = jvp, transpose_rule


def deflinear(primitive: Primitive, transpose_rule: Callable) -> None:
    """As deflinear2, with transpose_rule(ct, **params): operands are not looked at."""
    deflinear2(primitive, lambda ct, *operands, **params: transpose_rule(ct, **params))


def defjvp2(primitive: Primitive, *rules: Callable | None) -> None:
    """One rule per operand, rule(tangent, out, *primals, **params) -> its part of the result's tangent; None: no part."""
    def jvp(primals, tangents, **params):
        out = primitive.bind(*primals, **params)
        parts = [rule(t, out, *primals, **params) for rule, t in zip(rules, tangents, strict=True)
                 if rule is not None and not is_zero(t)]
        return out, sum_of(parts, out)
    jvp_rules[primitive] = jvp


def sum_of(parts: Sequence[Any], out: Any) -> Any:
    if not parts:
        return Zero.from_primal_value(out)
    total = parts[0]
    for part in parts[1:]:
        total = lax.add(total, part)
    return total


def defjvp(primitive: Primitive, *rules: Callable | None) -> None:
    """As defjvp2, with rule(tangent, *primals, **params)."""
    def without_out(rule: Callable) -> Callable:
        return lambda tangent, out, *primals, **params: rule(tangent, *primals, **params)
    defjvp2(primitive, *[None if rule is None else without_out(rule) for rule in rules])


def defbilinear(primitive: Primitive, left: Callable, right: Callable) -> None:
    """The primitive is linear in each of two operands: left(ct, x, y), right(ct, x, y) -> the operand's cotangent."""
    def transpose(ct, x, y, **params):
        if isinstance(x, UndefinedPrimal):
            return left(ct, x, y, **params), None
        return None, right(ct, x, y, **params)
    defjvp(primitive, lambda t, x, y, **params: primitive.bind(t, y, **params),
           lambda t, x, y, **params: primitive.bind(x, t, **params))
    transpose_rules[primitive] = transpose


def defvectorized(primitive: Primitive) -> None:
    """The primitive acts element by element on one operand."""
    batch_rules[primitive] = lambda operands, axes, **params: (primitive.bind(*operands, **params), axes[0])


def defbroadcasting(primitive: Primitive) -> None:
    """The primitive acts element by element on operands that share one shape."""
    def batch(operands, axes, **params):
        size = next(type_of(x).shape[a] for x, a in zip(operands, axes) if a is not None)
        return primitive.bind(*[lanes_first(x, a, size) for x, a in zip(operands, axes)], **params), 0
    batch_rules[primitive] = batch


def lanes_first(x: Any, axis: int | None, size: int) -> Any:
    """The operand with its lanes along axis 0, repeated if it has none."""
    if axis is not None:
        return to_front(x, axis)
    t = type_of(x)
    return lax.broadcast_in_dim(x, (size, *t.shape), tuple(range(1, t.ndim + 1)))

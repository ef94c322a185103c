"""Functions with derivatives of their own: custom_jvp, custom_vjp, custom_gradient, closure_convert, on pytrees."""
from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError, ShapeError, TreeError, filtered, user_source, wraps
from tracejit.ir.graph import Graph, Lit, Var
from tracejit.ir.trace import bind, call, current_builder, inline, knows_values, substituting, trace
from tracejit.ir.types import FLOAT0, ArrayType, is_inexact, type_of, with_wide_numbers
from tracejit.lax.control import convert_type
from tracejit.lax.custom import CustomJvp, CustomVjp, Held, Name
from tracejit.pytree import PyTreeDef, flatten_up_to, tree_flatten, unflatten

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class SymbolicZero:
    """The tangent or cotangent of a value that does not vary: zeros of this type, never computed."""
    aval: ArrayType

    @property
    def shape(self) -> tuple[int, ...]: return self.aval.shape
    @property
    def dtype(self) -> np.dtype: return self.aval.dtype
    @property
    def type(self) -> ArrayType: return self.aval

    @staticmethod
    def from_primal_value(val: Any) -> SymbolicZero:
        """The tangent zero of a value."""
        return SymbolicZero(type_of(val).strong())


@dataclass(frozen=True)
class CustomVJPPrimal:
    """An argument of fwd under symbolic_zeros=True: its value, and whether a derivative with respect to it is wanted."""
    value: Any
    perturbed: bool


def held(captured: Sequence) -> tuple:
    """What a function captured as parts of a rule: arrays are told apart by identity."""
    return tuple(x if isinstance(x, Var) else Held.of(x) for x in captured)


def released(captured: Sequence) -> list:
    return [x.array if isinstance(x, Held) else x for x in captured]


class Interned:
    """Rules with equal parts are one object, so that programs which hold them are equal too."""
    _serials = itertools.count()
    _made: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def __init__(self, *parts: Any):
        self.parts, self.serial = parts, next(self._serials)

    @classmethod
    def of(cls, *parts: Any):
        try:
            hash(parts)
        except TypeError:
            return cls(*parts)
        if any(isinstance(x, Var) for part in parts if isinstance(part, tuple) for x in part):
            return cls(*parts)
        key = cls, parts
        found = cls._made.get(key)
        if found is None:
            found = cls._made.setdefault(key, cls(*parts))
        return found

    def __repr__(self) -> str:
        name = getattr(self.parts[0], "__qualname__", type(self.parts[0]).__name__)
        return f"{type(self).__name__.lower()}({name})#{self.serial}"


def zero_tangent(t: ArrayType) -> Any:
    return lax.full(t.shape, 0, t.dtype) if is_inexact(t.dtype) else np.zeros(t.shape, FLOAT0)


def with_static(static: tuple, n: int, dynamic: Sequence[Any]) -> list:
    """All positional arguments from the static ones (position, value) and the others."""
    fixed, rest = dict(static), iter(dynamic)
    return [fixed[i] if i in fixed else next(rest) for i in range(n)]


def checked_derivative(what: str, x: Any, t: ArrayType, where: str) -> Any:
    """A tangent (cotangent) that a rule returned for a value of type t, in exactly the type it must have; None for zero."""
    if x is None or isinstance(x, SymbolicZero) or not is_inexact(t.dtype):
        return None
    got = type_of(x)
    if got.shape != t.shape:
        raise ShapeError(f"{what}: {where} must have the shape of {t}, got {got}", source=user_source())
    if got.dtype != t.dtype and not got.weak_type:
        raise DtypeError(f"{what}: {where} must have the dtype of {t}, got {got}", source=user_source(),
                         fix=f"convert it with .astype('{t.dtype}')")
    return convert_type(x, t.strong())


def user_values(values: Sequence) -> list:
    """Values of a program as user code may see them: a literal has no operators."""
    return [bind(Name(""), x) if x.__class__ is Lit else x for x in values]


# --- calls of functions that have rules ------------------------------------------------------------------------------

@dataclass
class Traced:
    """One call of a function with a rule: its graph, and what it was called with."""
    graph: Graph
    captured: list
    leaves: list
    in_tree: PyTreeDef
    out_tree: PyTreeDef
    static: tuple
    n_args: int


class WithRule(Generic[P, R]):
    """What custom_jvp and custom_vjp share: arguments by name, static arguments, the call."""
    what = "custom rule"

    def __init__(self, fun: Callable[P, R], nondiff_argnums: Sequence[int] = (), nondiff_argnames: Sequence[str] = ()):
        functools.update_wrapper(self, fun)
        self.fun = fun
        nums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        names = (nondiff_argnames,) if isinstance(nondiff_argnames, str) else tuple(nondiff_argnames)
        self.signature = signature_of(fun)
        if names:
            order = list(self.signature.parameters) if self.signature else []
            nums += tuple(order.index(name) for name in names)
        self.nondiff_argnums = tuple(sorted(set(nums)))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @filtered
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        self.check_rule()
        args = self.positional(args, kwargs)
        if current_builder() is None:
            return self.fun(*args)
        t = self.trace(args)
        outs = bind(self.op(t), *t.captured, *t.leaves)
        return unflatten(t.out_tree, outs)

    def positional(self, args: tuple, kwargs: dict) -> tuple:
        if self.signature is None:
            if kwargs:
                raise TypeError(f"{self.what}: the signature of {self.fun} is not known, so pass its arguments by position")
            return args
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(f"{self.what}: keyword-only arguments {sorted(bound.kwargs)} cannot be passed to a rule")
        return bound.args

    def trace(self, args: tuple) -> Traced:
        n, out_tree = len(args), None
        positions = {i % n for i in self.nondiff_argnums if -n <= i < n}
        static = tuple((i, args[i]) for i in sorted(positions))
        leaves, in_tree = tree_flatten(tuple(x for i, x in enumerate(args) if i not in positions))
        leaves = with_wide_numbers(leaves)

        def flat(*values):
            nonlocal out_tree
            outs, out_tree = tree_flatten(self.fun(*with_static(static, n, unflatten(in_tree, values))))
            return outs
        graph, captured = trace(flat, [type_of(x) for x in leaves], leaves if knows_values() else None)
        return Traced(graph, captured, leaves, in_tree, out_tree, static, n)

    def check_rule(self) -> None:
        raise NotImplementedError

    def op(self, t: Traced) -> Any:
        raise NotImplementedError


def signature_of(fun: Callable) -> inspect.Signature | None:
    try:
        return inspect.signature(fun)
    except (TypeError, ValueError):
        return None


# --- forward rules -----------------------------------------------------------------------------------------------------

class JvpRule(Interned):
    """rule(consts, primals, tangents) -> (outputs, tangents), flat, from the user's rule on pytrees."""

    def __call__(self, consts: Sequence, primals: Sequence, tangents: Sequence) -> tuple[list, list]:
        jvp, in_tree, out_tree, static, symbolic, captured = self.parts
        primals, tangents = user_values(primals), user_values(tangents)
        types = [type_of(x) for x in primals]
        zero = SymbolicZero if symbolic else zero_tangent
        ts = [zero(t.strong()) if x is None else x for x, t in zip(tangents, types)]
        ps = unflatten(in_tree, list(primals))
        with substituting(released(captured), consts):
            result = jvp(*[value for _, value in static], ps, unflatten(in_tree, ts))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"custom_jvp: the rule must return a pair (outputs, tangents), got {type(result).__name__}")
        outs, tree = tree_flatten(result[0])
        out_ts, t_tree = tree_flatten(result[1], is_leaf=lambda x: isinstance(x, SymbolicZero))
        if tree != out_tree or t_tree != out_tree:
            raise TreeError(f"custom_jvp: the function returns {out_tree}, but its rule returns outputs {tree} and tangents "
                            f"{t_tree}", source=user_source(), fix="return outputs and tangents of the function's structure")
        return outs, [checked_derivative("custom_jvp", t, type_of(x), "the tangent of an output")
                      for x, t in zip(outs, out_ts)]


class custom_jvp(WithRule[P, R]):
    """A function whose derivative is given by a rule: f.defjvp(rule), rule(primals, tangents) -> (outputs, tangents).

    The rule is linear in the tangents; reverse mode follows by transposition. Arguments at nondiff_argnums are passed
    to the rule first, one by one, and have no derivative.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> @tj.custom_jvp
    ... def f(x):
    ...     return jnp.log1p(jnp.exp(x))
    >>> @f.defjvp
    ... def f_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return f(x), t / (1 + jnp.exp(-x))
    >>> tj.grad(f)(1000.)
    Array(1., dtype=float32, weak_type=True)
    """
    what = "custom_jvp"
    jvp: Callable | None = None
    symbolic_zeros = False

    def defjvp(self, jvp: Callable, symbolic_zeros: bool = False) -> Callable:
        """Give the rule, which is returned. With symbolic_zeros zero tangents come as SymbolicZero objects."""
        self.jvp, self.symbolic_zeros = jvp, symbolic_zeros
        return jvp

    def defjvps(self, *jvps: Callable | None) -> None:
        """Give one rule per argument, jvp_i(t_i, out, *primals) -> tangent of out; None where it is zero."""
        if self.nondiff_argnums:
            raise TypeError("custom_jvp: defjvps does not go with nondiff_argnums; use defjvp")

        def rule(primals: tuple, tangents: tuple) -> tuple:
            out = self(*primals)
            terms = [jvp(t, out, *primals) for jvp, t in zip(jvps, tangents) if jvp is not None]
            leaves, tree = tree_flatten(out)
            flat = [tree_flatten(term)[0] for term in terms]
            sums = [functools.reduce(lax.add, ts) for ts in zip(*flat)] if flat else \
                [zero_tangent(type_of(x)) for x in leaves]
            return out, unflatten(tree, sums)
        self.defjvp(rule)

    def check_rule(self) -> None:
        if self.jvp is None:
            raise AttributeError(f"custom_jvp: {self.__name__} has no rule yet; give one with {self.__name__}.defjvp(rule)")

    def op(self, t: Traced) -> CustomJvp:
        rule = JvpRule.of(self.jvp, t.in_tree, t.out_tree, t.static, self.symbolic_zeros, held(t.captured))
        return CustomJvp(t.graph, rule, len(t.captured))


# --- reverse rules -----------------------------------------------------------------------------------------------------

class VjpRule(Interned):
    """fwd(consts, primals, perturbed) -> (outputs, residuals, bwd), flat, from the user's pair of rules on pytrees."""

    def __call__(self, consts: Sequence, primals: Sequence, perturbed: Sequence[bool]) -> tuple[list, list, Callable]:
        fwd, bwd, in_tree, out_tree, static, n_args, symbolic, captured = self.parts
        primals = user_values(primals)
        leaves = [CustomVJPPrimal(x, p) for x, p in zip(primals, perturbed)] if symbolic else list(primals)
        with substituting(released(captured), consts):
            result = fwd(*with_static(static, n_args, unflatten(in_tree, leaves)))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"custom_vjp: fwd must return a pair (outputs, residuals), got {type(result).__name__}")
        outs, tree = tree_flatten(result[0])
        if tree != out_tree:
            raise TreeError(f"custom_vjp: the function returns {out_tree}, but fwd returns outputs {tree}",
                            source=user_source(), fix="return (outputs of the function's structure, residuals)")
        residuals, res_tree = tree_flatten(result[1])
        kept, fixed = apart(residuals)
        types = tuple(type_of(x) for x in primals)
        pull = BwdRule.of(bwd, in_tree, out_tree, res_tree, static, types, fixed, captured, tuple(type(x) for _, x in fixed))
        return outs, [*consts, *kept], pull


PYTHON_NUMBERS = (bool, int, float, complex)


def apart(residuals: Sequence) -> tuple[list, tuple]:
    """The residuals that are arrays, and (position, value) of those that are not: bwd gets Python's numbers as they are."""
    kept, fixed = [], []
    for i, x in enumerate(residuals):
        if isinstance(x, Var) or (is_array(x) and not isinstance(x, PYTHON_NUMBERS)):
            kept.append(x)
        else:
            fixed.append((i, x))
    return kept, tuple(fixed)


def is_array(x: Any) -> bool:
    try:
        type_of(x)
    except TypeError:
        return False
    return True


class BwdRule(Interned):
    """bwd(residuals, cotangents of the outputs) -> cotangents of the arguments, flat; None where zero."""

    def __call__(self, residuals: Sequence, cts: Sequence) -> list:
        bwd, in_tree, out_tree, res_tree, static, types, fixed, captured, _ = self.parts  # the last tells 1 from True
        n, residuals, cts = len(captured), user_values(residuals), user_values(cts)
        kept = with_static(fixed, len(residuals) - n + len(fixed), residuals[n:])
        out_cts = unflatten(out_tree, list(cts))
        with substituting(released(captured), residuals[:n]):
            result = bwd(*[value for _, value in static], unflatten(res_tree, kept), out_cts)
        if isinstance(result, list):
            result = tuple(result)
        children = in_tree.children()
        if not isinstance(result, tuple) or len(result) != len(children):
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"custom_vjp: bwd must return a tuple with a cotangent for each of the {len(children)} "
                            f"differentiable arguments, got {got}")
        flat = [ct for i, (part, tree) in enumerate(zip(result, children)) for ct in cotangents_of(part, tree, i)]
        return [checked_derivative("custom_vjp", ct, t, "a cotangent that bwd returns") for ct, t in zip(flat, types)]


def cotangents_of(part: Any, tree: PyTreeDef, i: int) -> list:
    """The leaves of the cotangent of argument i; None stands for zeros."""
    if part is None:
        return [None] * tree.num_leaves
    leaves, prefix = tree_flatten(part, lambda x: x is None)
    try:
        below = [len(tree_flatten(t)[0]) for t in flatten_up_to(prefix, unflatten(tree, range(tree.num_leaves)))]
        if all(n == 1 or x is None for n, x in zip(below, leaves)):     # one array for a node that holds one
            return [x for n, x in zip(below, leaves) for _ in range(n)]
    except TreeError:
        pass
    try:
        return flatten_up_to(tree, part)
    except TreeError as error:
        raise TreeError(f"custom_vjp: the cotangent of argument {i} does not have its structure: {error.what}",
                        source=user_source(), fix="return a cotangent of the argument's structure; None for zeros") from None


class custom_vjp(WithRule[P, R]):
    """A function whose reverse mode is given: f.defvjp(fwd, bwd).

    fwd(*args) -> (outputs, residuals), and bwd(residuals, cotangents of the outputs) -> tuple of cotangents of the
    arguments. Arguments at nondiff_argnums keep their place in fwd and come first in bwd. Forward mode raises TypeError.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> @tj.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, ct: (jnp.clip(ct, -1, 1),))
    >>> tj.grad(lambda x: 100 * clipped(x))(2.)
    Array(1., dtype=float32, weak_type=True)
    """
    what = "custom_vjp"
    fwd: Callable | None = None
    bwd: Callable | None = None
    symbolic_zeros = False

    def defvjp(self, fwd: Callable, bwd: Callable, symbolic_zeros: bool = False, optimize_remat: bool = False) -> None:
        """Give the two rules. With symbolic_zeros fwd gets CustomVJPPrimal objects (value, perturbed)."""
        self.fwd, self.bwd, self.symbolic_zeros = fwd, bwd, symbolic_zeros

    def check_rule(self) -> None:
        if self.fwd is None:
            raise AttributeError(f"custom_vjp: {self.__name__} has no rules yet; give them with "
                                 f"{self.__name__}.defvjp(fwd, bwd)")

    def op(self, t: Traced) -> CustomVjp:
        rule = VjpRule.of(self.fwd, self.bwd, t.in_tree, t.out_tree, t.static, t.n_args, self.symbolic_zeros,
                          held(t.captured))
        return CustomVjp(t.graph, rule, len(t.captured))


# --- rules made of closures ----------------------------------------------------------------------------------------------

def custom_gradient(fun: Callable) -> Callable:
    """A function that returns (value, vjp), vjp mapping the value's cotangent to those of the arguments, as a function
    with that derivative.

    >>> import tracejit as tj
    >>> f = tj.custom_gradient(lambda x: (x ** 2, lambda ct: (ct * x,)))
    >>> tj.grad(f)(3.)
    Array(3., dtype=float32, weak_type=True)
    """
    @custom_vjp
    @wraps(fun)
    def wrapped(*args, **kwargs):
        return fun(*args, **kwargs)[0]

    def fwd(*args):
        value, vjp = fun(*args)
        leaves, tree = tree_flatten(value)
        boxes: list = []

        def flat(*cts):
            found = vjp(unflatten(tree, cts))
            outs, box = tree_flatten(found if isinstance(found, (tuple, list)) else (found,))
            boxes[:] = [box]
            return outs
        graph, captured = trace(flat, [type_of(x).strong() for x in leaves])
        return value, (captured, Static((graph, boxes[0])))

    def bwd(residuals, ct):
        captured, held = residuals
        graph, tree = held.value
        cts = tree_flatten(ct)[0]
        return tuple(unflatten(tree, inline(graph, [*captured, *cts])))
    wrapped.signature = None
    wrapped.defvjp(fwd, bwd)
    return wraps(fun)(lambda *args, **kwargs: wrapped(*args, **kwargs))


class Static:
    """A residual that is no array."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def closure_convert(fun: Callable, *example_args: Any) -> tuple[Callable, list]:
    """fun without hidden inputs: (g, values) with g(*args, *values) == fun(*args), values being the traced floats that
    fun closes over. For handing a closure to a custom_vjp function.

    >>> import tracejit as tj
    >>> def f(y):
    ...     g, values = tj.closure_convert(lambda x: x * y, 1.)
    ...     return g(2., *values)
    >>> tj.grad(f)(5.)
    Array(2., dtype=float32, weak_type=True)
    """
    leaves, in_tree = tree_flatten(example_args)
    out_tree = None

    def flat(*values):
        nonlocal out_tree
        outs, out_tree = tree_flatten(fun(*unflatten(in_tree, values)))
        return outs
    graph, captured = trace(flat, [type_of(x) for x in leaves])
    hoisted = [isinstance(x, Var) and is_inexact(x.dtype) for x in captured]

    def converted(*args_and_values):
        n = len(args_and_values) - sum(hoisted)
        given, tree = tree_flatten(tuple(args_and_values[:n]))
        if tree != in_tree:
            raise TreeError(f"closure_convert: converted for arguments {in_tree}, called with {tree}", source=user_source())
        values = iter(args_and_values[n:])
        consts = [next(values) if h else x for h, x in zip(hoisted, captured)]
        args = [convert_type(x, type_of(y)) for x, y in zip(given, leaves)]
        return unflatten(out_tree, call(graph, [*consts, *args]))
    return converted, [x for x, h in zip(captured, hoisted) if h]

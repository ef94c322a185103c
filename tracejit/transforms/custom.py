"""Functions with derivatives of their own: custom_jvp, custom_vjp, custom_gradient, closure_convert, on pytrees."""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar


from tracejit import lax
from tracejit.errors import TreeError, filtered, user_source, wraps
from tracejit.ir.graph import Graph, Var
from tracejit.ir.trace import bind, call, current_builder, inline, knows_values, runs_known, trace
from tracejit.ir.types import is_inexact, type_of, with_wide_numbers
from tracejit.lax.control import convert_type
from tracejit.lax.custom import CustomJvp, CustomVjp
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten
from tracejit.transforms.custom_rules import JvpRule, VjpRule, closed_over, held, name_of, with_static, zero_tangent

P = ParamSpec("P")
R = TypeVar("R")


# --- calls of functions that have rules ------------------------------------------------------------------------------

@dataclass
class Traced:
    """One call of a function with a rule: its graph, and what it was called with. The last `n_unread` of the captured
    values are read by the rules only."""
    graph: Graph
    captured: list
    n_unread: int
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
        self.fun, self.name = fun, name_of(fun)
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
        if current_builder() is None or runs_known() and not any(isinstance(x, Var) for x in tree_flatten(args)[0]):
            return self.fun(*args)
        t = self.trace(args)
        outs = bind(self.op(t), *t.captured, *t.leaves)
        return unflatten(t.out_tree, outs)

    def positional(self, args: tuple, kwargs: dict) -> tuple:
        if self.signature is None:
            if kwargs:
                raise TypeError(f"{self.what}: the signature of {self.fun} is not known, so pass its arguments by position")
            return args
        refused = (f"The input arguments to the {self.what}-decorated function {self.name} could not be resolved to "
                   "positional-only arguments. Binding failed with the error:\n")
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{refused}{error}") from None
        bound.apply_defaults()
        if bound.kwargs:
            names = ", ".join(bound.kwargs)
            raise TypeError(f"{refused}The following keyword arguments could not be resolved to positions: {names}")
        return bound.args

    def __getattr__(self, name: str) -> Any:
        """The inner function's own ways to give rules: f.def_vmap where f is custom_vjp(custom_vmap(...))."""
        if name.startswith("def") and "fun" in self.__dict__:
            return getattr(self.fun, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def rules(self) -> Sequence[Callable]:
        """The user's functions that say what transformations of the function are."""
        raise NotImplementedError

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
        own = {id(x) for x in captured}
        unread = [x for x in closed_over(self.rules()) if id(x) not in own]
        k = len(captured)
        graph = Graph([*graph.params[:k], *[Var(x.type) for x in unread], *graph.params[k:]], graph.eqns, graph.results)
        return Traced(graph, [*captured, *unread], len(unread), leaves, in_tree, out_tree, static, n)

    def check_rule(self) -> None:
        raise NotImplementedError

    def op(self, t: Traced) -> Any:
        raise NotImplementedError


def signature_of(fun: Callable) -> inspect.Signature | None:
    if isinstance(fun, functools.partial):  # arguments that it names are fixed, and no longer a part of the call
        return None
    try:
        return inspect.signature(fun)
    except (TypeError, ValueError):
        return None


# --- forward rules -----------------------------------------------------------------------------------------------------

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
            raise AttributeError(f"No JVP defined for custom_jvp function {self.name} using defjvp.")

    def rules(self) -> Sequence[Callable]:
        return [self.jvp]

    def op(self, t: Traced) -> CustomJvp:
        rule = JvpRule.of(self.jvp, t.in_tree, t.out_tree, t.static, self.symbolic_zeros, held(t.captured), self.name,
                          tuple(t.graph.out_types))
        return CustomJvp(t.graph, rule, len(t.captured), t.n_unread)


# --- reverse rules -----------------------------------------------------------------------------------------------------

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
            raise AttributeError(f"No VJP defined for custom_vjp function {self.name} using defvjp.")

    def rules(self) -> Sequence[Callable]:
        return [self.fwd, self.bwd]

    def op(self, t: Traced) -> CustomVjp:
        rule = VjpRule.of(self.fwd, self.bwd, t.in_tree, t.out_tree, t.static, t.n_args, self.symbolic_zeros,
                          held(t.captured), self.name, tuple(t.graph.out_types))
        return CustomVjp(t.graph, rule, len(t.captured), t.n_unread)


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
            raise TreeError("The inputs to the closure produced by closure_convert must have the same Pytree structure as the "
                            f"example arguments: expected {in_tree}, but got {tree}", source=user_source())
        values = iter(args_and_values[n:])
        consts = [next(values) if h else x for h, x in zip(hoisted, captured)]
        args = [convert_type(x, type_of(y)) for x, y in zip(given, leaves)]
        return unflatten(out_tree, call(graph, [*consts, *args]))
    return converted, [x for x, h in zip(captured, hoisted) if h]

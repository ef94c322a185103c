"""Functions with batching rules of their own: custom_vmap, and sequential_vmap, which runs the lanes one by one."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit import lax, tree
from tracejit.errors import TreeError, user_source
from tracejit.ir.trace import bind, inline, trace_closed
from tracejit.ir.types import is_inexact, type_of
from tracejit.lax.custom import Call
from tracejit.lax.kinds import op_dataclass
from tracejit.transforms.batching import Batch
from tracejit.transforms.custom import Traced, WithRule

__all__ = ["custom_vmap", "sequential_vmap"]


@dataclass(frozen=True)
class Rule:
    """The user's rule on pytrees, as a function of flat values: rule(size, batched, args) -> (outputs, batched)."""
    function: Callable
    in_tree: Any
    out_tree: Any

    def __call__(self, size: int, batched: Sequence[bool], values: Sequence[Any]) -> tuple[list, list[bool]]:
        args = tree.unflatten(self.in_tree, list(values))
        flags = list(tree.unflatten(self.in_tree, [bool(b) for b in batched]))
        result, out_batched = self.function(size, flags, *args)
        leaves, structure = tree.flatten(result)
        name = getattr(self.function, "__name__", str(self.function))
        try:
            out_flags = tree.leaves(tree.broadcast(out_batched, result))
        except ValueError:
            raise TreeError(f"structure of output value and output batching specification returned by custom vmap rule ({name}) do "
                            f"not match: {structure} and {tree.structure(out_batched)}", source=user_source()) from None
        if structure != self.out_tree:
            raise TreeError(f"structure of output returned by custom vmap rule ({name}) does not match that of original "
                            f"custom-vmapped function: {structure} and {self.out_tree}", source=user_source())
        return leaves, out_flags


@op_dataclass
class CustomVmap(Call):
    """A call whose batch is what its rule says. The batch of its derivative is the derivative of the rule."""
    rule: Callable
    captured: int

    def jvp(self, ctx, primals, tangents):
        n = self.captured
        if any(t is not None for t in tangents[:n]):
            return Call.jvp(Call(self.graph), ctx, primals, tangents)
        moving = [is_inexact(type_of(x).dtype) for x in primals[n:]]
        given = [t for t, m in zip(ctx.instantiate(primals[n:], tangents[n:]), moving) if m]
        graph, nonzero = ctx.jvp(self.graph, [False] * n + moving)
        rule = DerivativeOfRule(self.rule, tuple(t.strong() for t in self.graph.in_types[n:]), tuple(moving), tuple(nonzero), ctx)
        outs = bind(CustomVmap(graph, rule, n), *primals, *given)
        ts = iter(outs[len(nonzero):])
        return outs[:len(nonzero)], [next(ts) if nz else None for nz in nonzero]

    def batch(self, ctx, args, batched):
        n = self.captured
        if any(batched[:n]):
            return Call.batch(Call(self.graph), ctx, args, batched)
        outs, flags = self.rule(ctx.size, batched[n:], args[n:])
        return [x if flag else lax.convert_element_type(x, t.dtype) for x, flag, t in zip(outs, flags, self.graph.out_types)], flags


@dataclass(frozen=True)
class DerivativeOfRule:
    """A rule for values and their tangents: the derivative of the rule, given the arguments that are batched together with
    their tangents. Over the lanes of values or tangents alone it is batched as usual."""
    rule: Callable
    types: tuple            # of one lane's arguments
    moving: tuple[bool, ...]
    nonzero: tuple[bool, ...]
    ctx: Any                # of the derivative

    def __call__(self, size: int, batched: Sequence[bool], values: Sequence[Any]) -> tuple[list, list[bool]]:
        k = len(self.types)
        of_tangents = iter(batched[k:])
        both = [b and (m and next(of_tangents)) if m else False for b, m in zip(batched, self.moving)]
        flags: list[bool] = []

        def rule(*args):
            outs, flags[:] = self.rule(size, both, args)
            return outs
        graph = trace_closed(rule, [t.update(shape=(size, *t.shape)) if b else t for t, b in zip(self.types, both)])
        derivative, _ = self.ctx.jvp(graph, self.moving, self.nonzero)
        alone = [f and not b for f, b in zip(batched, [*both, *[b for b, m in zip(both, self.moving) if m]])]
        lanes, out_alone = Batch(size).batch(derivative, alone)
        outs = inline(lanes, values)
        out_flags = [*flags, *[f for f, nz in zip(flags, self.nonzero) if nz]]
        outs = [diagonal(x, size) if f and a else x for x, f, a in zip(outs, out_flags, out_alone)]
        return outs, [f or a for f, a in zip(out_flags, out_alone)]


def diagonal(x: Any, size: int) -> Any:
    """x[i, i, ...] for each lane i."""
    flat = lax.reshape(x, (size * size, *x.shape[2:]))
    return lax.slice_in_dim(flat, 0, size * size, stride=size + 1)


class custom_vmap(WithRule):
    """A function that is batched by a rule: f.def_vmap(rule), rule(axis_size, in_batched, *args) -> (out, out_batched).

    in_batched is a list with a tree of booleans for each argument; a batched argument has its lanes on axis 0, and so has
    a batched result. The function's derivative is not touched by the rule.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> @custom_vmap
    ... def f(x):
    ...     return x + 1.
    >>> @f.def_vmap
    ... def rule(size, in_batched, x):
    ...     return x + 10., True
    >>> print(f(1.), tj.vmap(f)(jnp.arange(2.)))
    2.0 [10. 11.]
    """
    what = "custom_vmap"
    rule: Callable | None = None

    def def_vmap(self, vmap_rule: Callable) -> Callable:
        """Give the rule, which is returned."""
        self.rule = vmap_rule
        return vmap_rule

    def check_rule(self) -> None:
        if self.rule is None:
            raise AttributeError(f"No batching rule defined for custom_vmap function {self.name} using def_vmap.")

    def rules(self) -> Sequence[Callable]:
        return []       # a rule runs where the function is batched, in the trace that it closes over

    def op(self, t: Traced) -> CustomVmap:
        return CustomVmap(t.graph, Rule(self.rule, t.in_tree, t.out_tree), len(t.captured))


def sequential_vmap(f: Callable) -> custom_vmap:
    """f, whose lanes under vmap run one after the other in a loop, as lax.map does.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> print(tj.vmap(sequential_vmap(lambda x: x * 2.))(jnp.arange(3.)))
    [0. 2. 4.]
    """
    made = custom_vmap(f)

    @made.def_vmap
    def rule(size: int, in_batched: list, *args: Any) -> tuple[Any, Any]:
        leaves, structure = tree.flatten(args)
        flags = tree.leaves(tree.broadcast(tuple(in_batched), args))
        moving = [x for x, flag in zip(leaves, flags) if flag]

        def lane(rows: list) -> Any:
            rest = iter(rows)
            return f(*tree.unflatten(structure, [next(rest) if flag else x for x, flag in zip(leaves, flags)]))
        out = lax.map(lane, moving)
        return out, tree.map(lambda _: True, out)
    return made

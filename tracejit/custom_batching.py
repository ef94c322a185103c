"""Functions with batching rules of their own: custom_vmap, and sequential_vmap, which runs the lanes one by one."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit import lax, tree
from tracejit.errors import TreeError, user_source
from tracejit.lax.custom import Call
from tracejit.lax.kinds import op_dataclass
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
        if structure != self.out_tree:
            raise TreeError(f"custom_vmap: the function returns {self.out_tree}, its rule {structure}", source=user_source())
        return leaves, tree.leaves(tree.broadcast(out_batched, result))


@op_dataclass
class CustomVmap(Call):
    """A call whose batch is what its rule says. Its derivative is that of the function, and batches as usual."""
    rule: Rule
    captured: int

    def jvp(self, ctx, primals, tangents):
        return Call.jvp(Call(self.graph), ctx, primals, tangents)

    def batch(self, ctx, args, batched):
        n = self.captured
        if any(batched[:n]):
            return Call.batch(Call(self.graph), ctx, args, batched)
        outs, flags = self.rule(ctx.size, batched[n:], args[n:])
        return [x if flag else lax.convert_element_type(x, t.dtype) for x, flag, t in zip(outs, flags, self.graph.out_types)], flags


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
            raise AttributeError(f"custom_vmap: {self.__name__} has no rule yet; give one with {self.__name__}.def_vmap(rule)")

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

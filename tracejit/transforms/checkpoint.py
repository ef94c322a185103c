"""checkpoint: a function whose reverse mode keeps little and computes the rest again; policies say what is kept."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.errors import filtered, wraps
from tracejit.ir.cells import read_all, write_all
from tracejit.ir.float0 import flatten_result
from tracejit.ir.graph import Eqn, fields_of
from tracejit.ir.trace import bind, knows_values, trace_with_writes
from tracejit.ir.types import type_of, with_wide_numbers
from tracejit.lax.custom import Checkpoint, Name
from tracejit.lax.dot import DotGeneral
from tracejit.pytree import tree_flatten, unflatten

Policy = Callable[..., bool]    # policy(op, *types of its operands, **its static parameters) -> is its result kept?


# --- policies ------------------------------------------------------------------------------------------------------------

class Policies:
    """What a checkpointed function may keep for its reverse pass, under JAX's names."""

    @staticmethod
    def everything_saveable(op: Any, *types: Any, **params: Any) -> bool:
        """Keep every intermediate value: as without checkpoint."""
        return True

    @staticmethod
    def nothing_saveable(op: Any, *types: Any, **params: Any) -> bool:
        """Keep only the arguments."""
        return False

    @staticmethod
    def dots_saveable(op: Any, *types: Any, **params: Any) -> bool:
        """Keep results of matrix products."""
        return isinstance(op, DotGeneral)

    checkpoint_dots = dots_saveable

    @staticmethod
    def dots_with_no_batch_dims_saveable(op: Any, *types: Any, **params: Any) -> bool:
        """Keep results of matrix products without batch axes, such as those with weights."""
        return isinstance(op, DotGeneral) and not op.batch_axes[0]

    checkpoint_dots_with_no_batch_dims = dots_with_no_batch_dims_saveable

    @staticmethod
    def save_only_these_names(*names: str) -> Policy:
        """Keep the values that checkpoint_name gave one of these names."""
        return NamedPolicy(frozenset(names), "only")

    @staticmethod
    def save_any_names_but_these(*names: str) -> Policy:
        """Keep the values that have a name, but not one of these."""
        return NamedPolicy(frozenset(names), "any but")

    @staticmethod
    def save_anything_except_these_names(*names: str) -> Policy:
        """Keep every value but those of these names."""
        return NamedPolicy(frozenset(names), "anything except")

    @staticmethod
    def save_from_both_policies(first: Policy, second: Policy) -> Policy:
        """Keep what either policy keeps."""
        return Either(first, second)

    @staticmethod
    def save_and_offload_only_these_names(*, names_which_can_be_saved: Sequence[str],
                                          names_which_can_be_offloaded: Sequence[str], offload_src: str,
                                          offload_dst: str) -> Policy:
        """Keep the values of these names, all in the one memory that there is."""
        return NamedPolicy(frozenset([*names_which_can_be_saved, *names_which_can_be_offloaded]), "only")

    @staticmethod
    def offload_dot_with_no_batch_dims(offload_src: str, offload_dst: str) -> Policy:
        """Keep results of matrix products without batch axes, in the one memory that there is."""
        return Policies.dots_with_no_batch_dims_saveable


class NamedPolicy:
    """A policy that looks at names; `kind` is one of `only`, `any but`, `anything except`."""

    def __init__(self, names: frozenset[str], kind: str):
        self.names, self.kind = names, kind

    def __call__(self, op: Any, *types: Any, **params: Any) -> bool:
        listed = isinstance(op, Name) and op.label in self.names
        if self.kind == "only":
            return listed
        return not listed and (self.kind == "anything except" or isinstance(op, Name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedPolicy) and (self.names, self.kind) == (other.names, other.kind)

    def __hash__(self) -> int:
        return hash((self.names, self.kind))

    def __repr__(self) -> str:
        return f"save({self.kind} {','.join(sorted(self.names))})"


class Either:
    """Keeps what one of two policies keeps."""

    def __init__(self, first: Policy, second: Policy):
        self.both = first, second

    def __call__(self, op: Any, *types: Any, **params: Any) -> bool:
        return any(policy(op, *types, **params) for policy in self.both)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Either) and self.both == other.both

    def __hash__(self) -> int:
        return hash(self.both)


checkpoint_policies = Policies


class OfEqn:
    """A policy as the compiler asks it: about an equation."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def __call__(self, eqn: Eqn) -> bool:
        return bool(self.policy(eqn.op, *[x.type for x in eqn.inputs], **dict(fields_of(eqn.op))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfEqn) and self.policy == other.policy

    def __hash__(self) -> int:
        return hash(self.policy)

    def __repr__(self) -> str:
        return f"policy({getattr(self.policy, '__qualname__', self.policy)}@{id(self.policy):x})"


# --- public functions ----------------------------------------------------------------------------------------------------

def checkpoint(fun: Callable | None = None, *, prevent_cse: bool = True, policy: Policy | None = None,
               static_argnums: int | Sequence[int] = (), static_argnames: str | Sequence[str] = (),
               concrete: bool = False) -> Callable:
    """fun, whose reverse-mode derivative keeps only its arguments and what the policy names, and computes the rest again.

    Trades time for memory: a chain of n checkpointed blocks keeps n block inputs. static_argnums and
    static_argnames are arguments that fun needs as Python values. Without `fun`, a decorator.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> f = tj.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    >>> tj.grad(f)(0.)
    Array(1., dtype=float32, weak_type=True)
    """
    if fun is None:
        return functools.partial(checkpoint, prevent_cse=prevent_cse, policy=policy, static_argnums=static_argnums,
                                 static_argnames=static_argnames, concrete=concrete)
    nums = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = {static_argnames} if isinstance(static_argnames, str) else set(static_argnames)
    kept = None if policy is None else OfEqn(policy)

    @filtered
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        n = len(args)
        static = {i % n: args[i % n] for i in nums if -n <= i < n}
        fixed = {k: v for k, v in kwargs.items() if k in names}
        rest = {k: v for k, v in kwargs.items() if k not in names}
        leaves, in_tree = tree_flatten(([x for i, x in enumerate(args) if i not in static], rest))
        leaves, out_tree = with_wide_numbers(leaves), None

        def flat(*values: Any) -> list:
            nonlocal out_tree
            rest, named = unflatten(in_tree, values)
            given = iter(rest)
            outs, out_tree = flatten_result(fun(*[static[i] if i in static else next(given) for i in range(n)], **named, **fixed))
            return outs
        graph, captured, written = trace_with_writes(flat, [type_of(x) for x in leaves], leaves if knows_values() else None)
        outs = bind(Checkpoint(graph, kept), *read_all(captured), *leaves)
        write_all(written, outs[out_tree.num_leaves:])
        return unflatten(out_tree, outs[:out_tree.num_leaves])
    return wrapped


remat = checkpoint


def checkpoint_name(x: Any, name: str) -> Any:
    """x itself, whose values a policy such as save_only_these_names can ask for by this name.

    >>> import tracejit as tj
    >>> checkpoint_name(3., "h")
    Array(3., dtype=float32, weak_type=True)
    """
    leaves, tree = tree_flatten(x)
    return unflatten(tree, [bind(Name(name), leaf) for leaf in leaves])

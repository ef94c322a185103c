"""Functions of pytrees as functions of flat values."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.extend.linear_util import DebugInfo, Store, WrappedFun, transformation_with_aux2
from tracejit.ir.types import type_of
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten

__all__ = ["DebugInfo", "debug_info", "flatten_fun", "flatten_fun_nokwargs", "infer_argnums_and_argnames",
           "safe_map", "shaped_abstractify"]

shaped_abstractify = type_of


def safe_map(f: Callable, *args: Sequence[Any]) -> list:
    """[f(*xs) for xs in zip(*args)]; AssertionError unless the arguments have one length.

    >>> safe_map(lambda x, y: x + y, [1, 2], [10, 20])
    [11, 22]
    """
    args = tuple(map(list, args))
    assert len({len(arg) for arg in args}) <= 1, f"lengths differ: {[len(arg) for arg in args]}"
    return [f(*xs) for xs in zip(*args)]


def debug_info(traced_for: str, fun: Callable, args: Sequence[Any], kwargs: dict[str, Any], **more: Any) -> DebugInfo:
    """What is traced and for whom."""
    return DebugInfo(traced_for, getattr(fun, "__name__", "<unknown>"))


def run_flat(call: Callable, store: Store, in_tree: PyTreeDef, has_kwargs: bool, *leaves: Any) -> list:
    tree = unflatten(in_tree, leaves)
    args, kwargs = tree if has_kwargs else (tree, {})
    outs, out_tree = tree_flatten(call(*args, **kwargs))
    store.store(out_tree)
    return outs


def flatten_fun(f: WrappedFun, in_tree: PyTreeDef) -> tuple[WrappedFun, Callable[[], PyTreeDef]]:
    """f(*args, **kwargs) as a function of the leaves of (args, kwargs) that returns leaves, and its out tree once it ran.

    >>> from tracejit.extend.linear_util import wrap_init
    >>> import tracejit as tj
    >>> leaves, in_tree = tj.tree.flatten(((1, 2), {"c": 3}))
    >>> flat, out_tree = flatten_fun(wrap_init(lambda a, b, c: {"sum": a + b + c}), in_tree)
    >>> flat.call_wrapped(*leaves), out_tree()
    ([6], PyTreeDef({'sum': *}))
    """
    return transformation_with_aux2(run_flat, f, in_tree, True)


def flatten_fun_nokwargs(f: WrappedFun, in_tree: PyTreeDef) -> tuple[WrappedFun, Callable[[], PyTreeDef]]:
    """As flatten_fun, with in_tree the tree of args alone."""
    return transformation_with_aux2(run_flat, f, in_tree, False)


def infer_argnums_and_argnames(sig: inspect.Signature, argnums: int | Iterable[int] | None, argnames: str | Iterable[str] | None
                               ) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Positions and names of arguments, those of the two that are not given by the signature.

    >>> import inspect
    >>> infer_argnums_and_argnames(inspect.signature(lambda x, y, z: x), (0, 2), None)
    ((0, 2), ('x', 'z'))
    """
    nums = None if argnums is None else (argnums,) if isinstance(argnums, int) else tuple(argnums)
    names = None if argnames is None else (argnames,) if isinstance(argnames, str) else tuple(argnames)
    named = [(i, p.name) for i, p in enumerate(sig.parameters.values()) if p.kind == p.POSITIONAL_OR_KEYWORD]
    if nums is None:
        nums = tuple(i for i, name in named if name in (names or ()))
    if names is None:
        names = tuple(name for i, name in named if i in nums)
    return nums, names


__getattr__ = getter(__name__)

"""Functions of pytrees as functions of flat values."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.extend.linear_util import DebugInfo, Store, WrappedFun, transformation_with_aux2
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten

__all__ = ["DebugInfo", "debug_info", "flatten_fun", "flatten_fun_nokwargs"]


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


__getattr__ = getter(__name__)

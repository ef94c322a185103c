"""linear_call: a linear function together with its transpose."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.errors import TreeError, filtered, user_source
from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.control import converted, trace_tree, union_of, with_captures
from tracejit.lax.custom import LinearCall
from tracejit.pytree import tree_flatten, unflatten


@filtered
def linear_call(fun: Callable, fun_transpose: Callable, residual_args: Any, linear_args: Any) -> Any:
    """fun(residual_args, linear_args), linear in the latter; its transpose is fun_transpose(residual_args, cotangents).

    fun_transpose returns what linear_args is, and is transposed to fun in turn. Neither is differentiated with respect to
    residual_args, nor to what it closes over.

    >>> import tracejit as tj
    >>> f = lambda x: linear_call(lambda r, x: x / r, lambda r, ct: ct / r, 2., x)
    >>> tj.grad(f)(3.)
    Array(0.5, dtype=float32, weak_type=True)
    """
    residuals, linear = tree_flatten(residual_args)[0], tree_flatten(linear_args)[0]
    known = [type_of(x) for x in residuals]
    graph, captured, out_tree = trace_tree(fun, (residual_args, linear_args), known + [type_of(x) for x in linear])
    outputs = unflatten(out_tree, graph.out_types)
    back, back_captured, in_tree = trace_tree(fun_transpose, (residual_args, outputs), [*known, *graph.out_types])
    if in_tree != tree_flatten(linear_args)[1]:
        raise TreeError("transpose output pytree structure must match that of linear inputs, got output structure "
                        f"{in_tree} and input structure {tree_flatten(linear_args)[1]}", source=user_source())
    union = union_of(captured, back_captured)
    graph = with_captures(graph, captured, union)
    back = with_captures(converted(back, [type_of(x) for x in linear]), back_captured, union)
    return unflatten(out_tree, bind(LinearCall(graph, back, len(union) + len(residuals)), *union, *residuals, *linear))

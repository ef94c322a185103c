"""vmap: a function of single examples as a function of batches."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import AxisError, ShapeError, TreeError, filtered, user_source, wraps
from tracejit.ir.cells import Cell, CellType, cells_in, read_all, write_all
from tracejit.ir.float0 import flatten_result, is_float0
from tracejit.ir.graph import Graph
from tracejit.ir.trace import axis_bound, call, hooks, inline, trace, trace_closed
from tracejit.ir.types import ArrayType, is_array_like, type_of, with_wide_numbers
from tracejit.pytree import COMPOSITES, keystr, tree_flatten, tree_flatten_with_path, unflatten
from tracejit.tree_util import broadcast_prefix, tree_leaves
from tracejit.ir.arguments import argument_names
from tracejit.transforms.batching import Batch, batch_values


def vmap(fun: Callable, in_axes: Any = 0, out_axes: Any = 0, axis_name: Any = None, axis_size: int | None = None,
         spmd_axis_name: Any = None) -> Callable:
    """fun over a batch: each argument is split along its axis in in_axes (None: the same for all), results are stacked.

    in_axes and out_axes are ints, None, or pytree prefixes of the arguments (results) with such leaves.
    axis_name names the batch axis for psum, pmean, axis_index and the like inside fun.

    >>> import tracejit as tj, numpy as np
    >>> tj.vmap(lambda x, y: x + y, in_axes=(0, None))(np.arange(3.), 10.)
    Array([10., 11., 12.], dtype=float64)
    """
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    check_axes("in_axes", in_axes)
    check_axes("out_axes", out_axes)
    if isinstance(in_axes, dict):
        raise TypeError(f"{ENTRIES}, but got {in_axes}.")

    @filtered
    @wraps(fun, "Vectorized version of {fun}: it takes the same arguments with one more axis, over which {fun} is mapped.")
    def wrapped(*args, **kwargs):
        leaves, treedef = tree_flatten((args, kwargs))
        axes = axes_of_arguments(in_axes, args, kwargs)
        leaves = with_wide_numbers(leaves)
        size = batch_size(fun, leaves, axes, args, kwargs, axis_size)
        everything, static = leaves, [passes_as_it_is(x, a) for x, a in zip(leaves, axes)]
        leaves, axes = ([x for x, s in zip(xs, static) if not s] for xs in (leaves, axes))
        types = [lane_type(x, a) for x, a in zip(leaves, axes)]
        out_tree = None

        def flat(*values):
            nonlocal out_tree
            traced = iter(values)
            a, k = unflatten(treedef, [x if s else next(traced) for x, s in zip(everything, static)])
            outs, out_tree = flatten_result(fun(*a, **k))
            return [*outs, *[Cell.read(x) for x in cells_in(values)]]
        with axis_bound(axis_name, size):
            graph, captured = trace(flat, types, [x if a is None else None for x, a in zip(leaves, axes)])
        batched = (False,) * len(captured) + tuple(a is not None for a in axes)
        moved, out_batched = batched_graph(graph, batched, size, axis_name, tuple(a or 0 for a in axes))
        lane = unflatten(out_tree, graph.results[:out_tree.num_leaves])
        out = [axis_of_data(a, x) for a, x in zip(spread_axes("out_axes", out_axes, lane), tree_leaves(lane)) if not is_float0(x)]
        cells = cells_in(leaves)
        out += [a for a, x in zip(axes, leaves) if isinstance(x, Cell)]
        outs = call(placed_graph(moved, out_batched, tuple(out), size, axis_name), [*captured, *read_all(leaves)])
        write_all(cells, outs[len(outs) - len(cells):])
        return with_lanes(unflatten(out_tree, outs[:len(outs) - len(cells)]), out_axes, size)
    return wrapped


def axes_of_arguments(in_axes: Any, args: tuple, kwargs: dict) -> list:
    """The axis of each leaf, counted from the front; of keywords the first."""
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise TreeError(f"{ENTRIES}, but got len(in_axes)={len(in_axes)}, len(args)={len(args)}", source=user_source())
    leaves = tree_leaves((args, kwargs))
    axes = spread_axes("in_axes", in_axes, args)
    return [normalized(a, x) for a, x in zip(axes + [0] * (len(leaves) - len(axes)), leaves)]


def passes_as_it_is(x: Any, axis: int | None) -> bool:
    """Whether fun sees an argument itself: what all lanes share and decides shapes and branches, or is no array at all."""
    return axis is None and (isinstance(x, int) or not is_array_like(x))


def with_lanes(tree: Any, out_axes: Any, size: int) -> Any:
    """A result of vmap with its float0 arrays, which nothing computes, as large as the batch."""
    leaves, treedef = tree_flatten(tree)
    if not any(map(is_float0, leaves)):
        return tree
    axes = spread_axes("out_axes", out_axes, tree)
    return unflatten(treedef, [zeros_with_axis(x, a, size) if is_float0(x) and a is not None else x
                               for x, a in zip(leaves, axes)])


def zeros_with_axis(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    axis %= x.ndim + 1
    return np.zeros((*x.shape[:axis], size, *x.shape[axis:]), x.dtype)


def spread_axes(what: str, axes: Any, tree: Any) -> list:
    try:
        return broadcast_prefix(axes, tree, is_leaf=lambda x: x is None)
    except (ValueError, TypeError) as error:
        raise TreeError(f"vmap {what} specification must be a tree prefix of the corresponding value, got specification {axes!r} "
                        f"for value tree {tree_flatten(tree)[1]}: {error}", source=user_source()) from None


ENTRIES = ("vmap in_axes must be an int, None, or a tuple of entries corresponding to the positional arguments passed to the "
           "function")


def check_axes(what: str, axes: Any) -> None:
    for axis in tree_flatten(axes)[0]:
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"vmap {what} must be an int, None, or (nested) container with those types as leaves, "
                            f"but got {axes!r}.")


def normalized(axis: int | None, x: Any) -> int | None:
    if axis is None:
        return None
    t = type_of(x)
    if not -t.ndim <= axis < t.ndim:
        raise AxisError(f"vmap was requested to map its argument along axis {axis}, which implies that its rank should be at least "
                        f"{axis + 1 if axis >= 0 else -axis}, but is only {t.ndim} (its shape is {t.shape})", source=user_source(),
                        fix="use in_axes=None for arguments that are the same for the whole batch")
    return axis % t.ndim


def axis_of_data(axis: int | None, x: Any) -> int | None:
    """The batch axis of a result, counted from the front where x is made of an array with more axes."""
    return axis if axis is None or axis >= 0 or x.__class__ not in COMPOSITES else axis + type_of(x).ndim + 1


def lane_type(x: Any, axis: int | None) -> ArrayType:
    t = type_of(x)
    lane = t if axis is None else t.update(shape=t.shape[:axis] + t.shape[axis + 1:])
    return CellType(x.__class__, lane) if isinstance(x, Cell) else lane


def batch_size(fun: Callable, leaves: list, axes: list, args: tuple, kwargs: dict, given: int | None) -> int:
    if not leaves and given is None:
        raise ValueError("vmap wrapped function must be passed at least one argument containing an array, "
                         f"got empty *args={args} and **kwargs={kwargs}; or pass axis_size")
    sizes = [type_of(x).shape[a] for x, a in zip(leaves, axes) if a is not None]
    if given is not None:
        sizes.append(given)
    if not sizes:
        raise AxisError("vmap must have at least one non-None value in in_axes", source=user_source(),
                        fix="give in_axes an axis, or pass axis_size")
    if len(set(sizes)) > 1:
        raise ShapeError(inconsistent_sizes(fun, leaves, axes, args, kwargs, given), source=user_source())
    return sizes[0]


def inconsistent_sizes(fun: Callable, leaves: list, axes: list, args: tuple, kwargs: dict, given: int | None) -> str:
    """Which arguments have which size along their mapped axis; a size that most have comes first."""
    n = len(tree_flatten(args)[0])
    names = argument_names(fun, args, {}) + [f"kwargs{keystr(path)}" for path, _ in tree_flatten_with_path(kwargs)[0]]
    by_size: dict[int, list[str]] = {}
    for i, (name, x, a) in enumerate(zip(names, leaves, axes)):
        if a is not None:
            t = type_of(x)
            what = f"argument {name}" if i < n else name
            by_size.setdefault(t.shape[a], []).append(f"axis {a} of {what} of type {t.str_short()}")
    lines = [f"  * the argument axis_size is {given}"] if given is not None else []
    shown = sorted(by_size.items(), key=lambda item: -len(item[1]))
    for k, (size, found) in enumerate(shown):
        many = "most" if k == 0 and len(shown[-1][1]) < len(found) else "some"
        lines.append(f"  * one axis had size {size}: {found[0]}" if len(found) == 1 else
                     f"  * {many} axes ({len(found)} of them) had size {size}, e.g. {found[0]}")
    return "vmap got inconsistent sizes for array axes to be mapped:\n" + ";\n".join(lines)


@functools.lru_cache(maxsize=1024)
def batched_graph(graph: Graph, batched: tuple[bool, ...], size: int, axis_name: Any, axes: tuple[int, ...]):
    """The batched program, its params with the batch axis where the caller has it. (graph, which results are batched)"""
    ctx, out_batched = Batch(size, axis_name), []
    n = len(graph.params) - len(axes)
    places = (0,) * n + axes

    def f(*values):
        moved = [move_axis(x, a, 0) if b else x for x, b, a in zip(values, batched, places)]
        outs, out_batched[:] = batch_values(ctx, graph, moved, batched)
        return outs
    types = [type_with_axis(p.type, size, a) if b else p.type for p, b, a in zip(graph.params, batched, places)]
    return trace_closed(f, types), tuple(out_batched)


def type_with_axis(t: ArrayType, size: int, axis: int) -> ArrayType:
    return t.update(shape=(*t.shape[:axis], size, *t.shape[axis:]))


@functools.lru_cache(maxsize=1024)
def placed_graph(graph: Graph, batched: tuple[bool, ...], out_axes: tuple, size: int, name: Any) -> Graph:
    """The batched program with its results' batch axes where the caller wants them."""
    ctx = Batch(size)

    def place(x, is_batched, axis):
        if axis is None:
            if is_batched:
                raise AxisError(f"vmap has mapped output (axis_name={name!r}) but out_axes is None" if name is not None else
                                "at vmap out_axes: None for a result that differs from lane to lane", source=user_source(),
                                fix="give an axis for it in out_axes, or reduce it over the lanes, e.g. with lax.psum")
            return x
        x = ctx.materialize(x, is_batched)
        n = type_of(x).ndim
        if not -n <= axis < n:
            raise AxisError(f"vmap: out_axes names axis {axis} of a result that has {n} axes with the batch", source=user_source())
        return move_axis(x, 0, axis % n)

    def f(*values):
        return [place(x, b, a) for x, b, a in zip(inline(graph, values), batched, out_axes)]
    return trace_closed(f, graph.in_types)


def move_axis(x, source: int, target: int):
    if source == target:
        return x
    order = [d for d in range(type_of(x).ndim) if d != source]
    order.insert(target, source)
    return lax.transpose(x, tuple(order))


hooks.vmap = vmap

"""Public control flow on pytrees: cond, switch, scan, while_loop, fori_loop, map, associative_scan."""
from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import ConcretizationTypeError, DtypeError, ShapeError, TreeError, filtered, user_source
from tracejit.ir.cells import Cell, discharging, of_values, read_all, write_all
from tracejit.ir.graph import Graph, Var
from tracejit.ir.trace import bind, concrete_value, hooks, inline, trace
from tracejit.ir.types import ArrayType, is_inexact, kind_of, promote, type_of, with_wide_numbers
from tracejit.lax.agreement import branch_error, branch_structure_error, carry_error, carry_structure_error, check_callable
from tracejit.lax.agreement import index_type, predicate_type
from tracejit.lax.bits import bitwise_or
from tracejit.lax.branches import Cond
from tracejit.lax.broadcast import axis_of, full, is_own
from tracejit.lax.compare import gt, ne
from tracejit.lax.convert import ConvertElementType
from tracejit.lax.elementwise import add, ceil, clamp, convert_element_type, max, select, sub
from tracejit.lax.loops import COUNT, Scan, While
from tracejit.lax.shape import concatenate, index_in_dim, pad, reshape, rev, slice_in_dim, stack
from tracejit.pytree import keystr, tree_flatten, tree_flatten_with_path, unflatten
from tracejit.tree_util import treedef_is_strict_leaf


# --- tracing functions of pytrees -----------------------------------------------------------------------------

def trace_tree(f: Callable, trees: Sequence[Any], types: Sequence[ArrayType]):
    """Trace f(*trees) with leaves of these types: (graph, captured values, treedef of the result)."""
    treedef, out_tree = tree_flatten(tuple(trees))[1], None

    def flat(*values):
        nonlocal out_tree
        outs, out_tree = tree_flatten(f(*unflatten(treedef, values)))
        return outs
    graph, captured = trace(flat, types)
    return graph, captured, out_tree


def with_wide_numbers_in(tree: Any) -> Any:
    """The pytree, where numbers beside 64-bit floats are such, still weak."""
    leaves, treedef = tree_flatten(tree)
    wide = with_wide_numbers(leaves)
    return tree if wide is leaves else unflatten(treedef, wide)


def with_captures(graph: Graph, captured: list, union: list) -> Graph:
    """The graph taking as leading params all of `union`, of which `captured` are its own."""
    own = {id(x): p for x, p in zip(captured, graph.params)}
    lead = [own[id(x)] if id(x) in own else Var(type_of(x)) for x in union]
    return Graph(lead + graph.params[len(captured):], graph.eqns, graph.results)


def union_of(*captures: list) -> list:
    return list({id(x): x for captured in captures for x in captured}.values())


def converted(graph: Graph, types: Sequence[ArrayType]) -> Graph:
    """The graph with its results converted to these types, which differ in weakness or by promotion."""
    if all(have is want for have, want in zip(graph.out_types, types)):
        return graph
    return trace(lambda *v: [convert_type(x, t) for x, t in zip(inline(graph, v), types)],
                 graph.in_types)[0]


def convert_type(x, t: ArrayType):
    """x with the dtype and the weakness of a type."""
    return x if type_of(x) is t else bind(ConvertElementType(t.dtype, t.weak_type), x)


def common_type(types: Sequence[ArrayType]) -> ArrayType | None:
    """The one type that all of these may be converted to, else None: only weak values change their dtype."""
    if any(t.shape != types[0].shape for t in types):
        return None
    dtype, weak = promote([(t.dtype, t.weak_type) for t in types])
    if any(t.dtype != dtype and not t.weak_type for t in types):
        return None
    return ArrayType(types[0].shape, dtype, weak)


# --- step by step, for debugging --------------------------------------------------------------------------------

def step_by_step(x) -> np.ndarray | None:
    """The value of a condition under disable_jit, where it is known: the branch to take is then an ordinary one."""
    known = concrete_value(x) if config.disable_jit else None
    return None if known is None else np.asarray(known)


def scan_in_python(f: Callable, carry: Any, xs: list, xs_tree, n: int, reverse: bool) -> tuple[Any, Any]:
    ys: list = [None] * n
    for i in reversed(range(n)) if reverse else range(n):
        carry, ys[i] = f(carry, unflatten(xs_tree, [index_in_dim(x, i, 0, False) for x in xs]))
    leaves = [tree_flatten(y)[0] for y in ys]
    stacks = [stack(column, 0) for column in zip(*leaves)]
    return carry, unflatten(tree_flatten(ys[0])[1], stacks)


# --- cond, switch ------------------------------------------------------------------------------------------------

@filtered
def cond(pred, true_fun: Callable, false_fun: Callable, *operands: Any, operand: Any = ..., linear=None) -> Any:
    """true_fun(*operands) if pred else false_fun(*operands), both compiled, one run.

    pred is a scalar (a number counts as true when it is not zero). Both functions must return the same
    pytree of shapes and dtypes.

    >>> from tracejit import lax
    >>> lax.cond(True, lambda x: x + 1., lambda x: x - 1., 3.)
    Array(4., dtype=float32, weak_type=True)
    """
    if not callable(true_fun) and len(operands) == 2 and callable(operands[1]):     # cond(pred, x, true_fun, y, false_fun)
        (on_false, false_one), on_true, true_one = operands, true_fun, false_fun
        return cond(pred, lambda x, _: true_one(x), lambda _, y: false_one(y), on_true, on_false)
    operands = operands if operand is ... else (*operands, operand)
    check_callable("cond", "true_fun and false_fun arguments", true_fun, false_fun)
    t = predicate_type(pred)
    known = step_by_step(pred)
    if known is not None:
        return (true_fun if known else false_fun)(*operands)
    is_true = pred if t.dtype == bool else ne(pred, convert_type(0, ArrayType((), t.dtype, t.weak_type)))
    index = convert_element_type(is_true, np.int32)
    return choose("cond", index, (false_fun, true_fun), operands, ("false_fun", "true_fun"))


@filtered
def switch(index, branches: Sequence[Callable], *operands: Any, operand: Any = ...) -> Any:
    """branches[index](*operands), with the index clamped to the branches that there are.

    >>> from tracejit import lax
    >>> lax.switch(1, [lambda x: x, lambda x: 10. * x], 3.)
    Array(30., dtype=float32, weak_type=True)
    """
    branches = tuple(branches)
    operands = operands if operand is ... else (*operands, operand)
    check_callable("switch", "branches argument should be a sequence whose elements", *branches)
    index_type(index)
    if not branches:
        raise ValueError("Empty branch sequence: switch needs a branch")
    if len(branches) == 1:
        return branches[0](*operands)
    known = step_by_step(index)
    if known is not None:
        return branches[builtins.min(builtins.max(int(known), 0), len(branches) - 1)](*operands)
    index = clamp(np.int32(0), convert_element_type(index, np.int32), np.int32(len(branches) - 1))
    return choose("switch", index, branches, operands, [f"branch {i}" for i in range(len(branches))])


def around_cells(functions: Sequence[Callable], operands: Sequence) -> tuple[Sequence[Callable], Sequence]:
    """The functions and their operands, where cells among the operands are closed over instead."""
    if not any(isinstance(x, Cell) for x in operands):
        return functions, operands
    places = [(i, x) for i, x in enumerate(operands) if isinstance(x, Cell)]
    rest = [x for x in operands if not isinstance(x, Cell)]

    def closed(f: Callable) -> Callable:
        def call(*values):
            args = list(values)
            for i, cell in places:
                args.insert(i, cell)
            return f(*args)
        return call
    return [closed(f) for f in functions], rest


def choose_of_values(choose, cells: list, what: str, index, functions, operands, names) -> Any:
    values = read_all(cells)
    pure = [functools.partial(of_values(f, cells), values) for f in functions]
    values, out = choose(what, index, pure, operands, names)
    write_all(cells, values)
    return out


@discharging(choose_of_values)
def choose(what: str, index, functions, operands, names) -> Any:
    functions, operands = around_cells(functions, operands)
    leaves = with_wide_numbers(tree_flatten(operands)[0])
    types = [type_of(x) for x in leaves]
    once = {id(f): trace_tree(f, operands, types) for f in {id(f): f for f in functions}.values()}
    traced = [once[id(f)] for f in functions]
    out_tree, types = traced[0][2], traced[0][0].out_types
    for (graph, _, tree), name in zip(traced[1:], names[1:]):
        if tree != out_tree:
            raise branch_structure_error(what, (names[0], name), (out_tree, tree))
        pairs, types = list(zip(types, graph.out_types)), [branch_type(*pair) for pair in zip(types, graph.out_types)]
        if None in types:
            raise branch_error(what, (names[0], name), tree, types.index(None), pairs[types.index(None)])
    union = union_of(*[captured for _, captured, _ in traced])
    branches = tuple(with_captures(converted(g, types), captured, union) for g, captured, _ in traced)
    return unflatten(out_tree, chosen(index, branches, [*union, *leaves]))


def chosen(index, branches: Sequence[Graph], operands: list) -> list:
    """The results of a branch. One that every branch takes from the same operand is that operand, whatever the index."""
    place = [{p: k for k, (p, x) in enumerate(zip(g.params, operands)) if is_own(x)} for g in branches]
    passed = [{at.get(r) if isinstance(r, Var) else None for at, r in zip(place, rs)} for rs in zip(*[g.results for g in branches])]
    passed = [found.pop() if len(found) == 1 else None for found in passed]
    rest = [k for k, at in enumerate(passed) if at is None]
    op = Cond(tuple(Graph(g.params, g.eqns, [g.results[k] for k in rest]) for g in branches))
    outs = iter(bind(op, index, *operands) if rest or op.has_effects else [])
    return [next(outs) if at is None else operands[at] for at in passed]


def branch_type(a: ArrayType, b: ArrayType) -> ArrayType | None:
    """The type that results of both types are given: a weak number changes its width, not its kind."""
    return common_type((a, b)) if kind_of(a.dtype) == kind_of(b.dtype) else None


# --- loops ---------------------------------------------------------------------------------------------------------

def trace_loop_body(what: str, body: Callable, f: Callable, carry: Any, to_carry: Callable):
    """Trace a loop body at types of the carry that it keeps, by f(types); weak carries take the type the body gives them.

    `to_carry(result)` picks the new carry out of f's result. Returns graph, captured, out tree, carry leaves.
    """
    paths, carry_tree = tree_flatten_with_path(carry)
    leaves = [x for _, x in paths]
    for _ in range(2 + 3 * len(leaves)):
        types = [type_of(x) for x in leaves]
        graph, captured, out_tree = f(types)
        new_tree, new_types = to_carry(out_tree, graph.out_types)
        if new_tree != carry_tree:
            raise carry_structure_error(what, body, carry_tree, new_tree)
        kept = [grown_type(a, b) for a, b in zip(types, new_types)]
        if all(a is b for a, b in zip(kept, types)):
            for (path, _), was, now in zip(paths, types, new_types):
                if common_type((was, now)) is None:
                    raise carry_error(what, body, keystr(path), was, now)
            return graph, captured, out_tree, leaves
        leaves = [convert_type(x, t) for x, t in zip(leaves, kept)]
    raise AssertionError("the carry types did not settle")


def grown_type(was: ArrayType, now: ArrayType) -> ArrayType:
    """The type that a carry should have had, seeing what the body makes of it: a weak 0 that becomes 0.5 was a float."""
    if not was.weak_type or was.shape != now.shape:
        return was
    dtype, weak = promote([(was.dtype, True), (now.dtype, now.weak_type)])
    return ArrayType(was.shape, dtype, weak and dtype == was.dtype)


def scan_of_values(scan, cells: list, f: Callable, init: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    def step(carry, x):
        values, (carry, y) = of_values(f, cells)(*carry, x)
        return (values, carry), y
    (values, carry), ys = scan(step, (read_all(cells), init), *args, **kwargs)
    write_all(cells, values)
    return carry, ys


@filtered
@discharging(scan_of_values)
def scan(f: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False,
         unroll: int | bool = 1, _split_transpose: bool = False) -> tuple[Any, Any]:
    """carry, ys[i] = f(carry, xs[i]) for each i along the leading axis of xs: a compiled loop.

    init, xs and the ys are pytrees; xs may be None with a length given. The carry keeps its shapes and dtypes.

    >>> from tracejit import lax
    >>> import numpy as np
    >>> lax.scan(lambda c, x: (c + x, c * x), np.float32(0), np.arange(4, dtype=np.float32))
    (Array(6., dtype=float32), Array([0., 0., 2., 9.], dtype=float32))
    """
    check_callable("scan", "f argument", f)
    init, xs = with_wide_numbers_in((init, xs))
    xs_leaves, xs_tree = tree_flatten(xs)
    n = scan_length(xs_leaves, length)
    if config.disable_jit and n:
        return scan_in_python(f, init, xs_leaves, xs_tree, n, reverse)
    x_types = [ArrayType(type_of(x).shape[1:], type_of(x).dtype, type_of(x).weak_type) for x in xs_leaves]

    def trace_body(types):
        def checked(carry, x):
            result = f(carry, x)
            if not isinstance(result, tuple) or len(result) != 2:
                raise TreeError(f"scan body output must be a pair, got {result}.", source=user_source(),
                                fix="return carry, y   (y may be None)")
            return result
        return trace_tree(checked, (init, xs), types + x_types)

    def to_carry(tree, types):
        first = tree.children()[0]
        return first, types[:first.num_leaves]
    graph, captured, out_tree, leaves = trace_loop_body("scan", f, trace_body, init, to_carry)
    carry_types = [type_of(x) for x in leaves]
    graph = converted(graph, carry_types + graph.out_types[len(leaves):])
    op = Scan(graph, len(captured), len(leaves), n, bool(reverse))
    outs = bind(op, *captured, *leaves, *xs_leaves)
    return unflatten(out_tree, outs)


def scan_length(xs_leaves: list, length) -> int:
    sizes = []
    for x in xs_leaves:
        if not type_of(x).ndim:
            raise ShapeError(f"scan: xs has a zero-dimensional leaf {type_of(x)}, which has no axis to scan over",
                             source=user_source())
        sizes.append(type_of(x).shape[0])
    if length is not None:
        length = int_of_length(length)
        if any(n != length for n in sizes):
            raise ShapeError(f"scan got `length` argument of {length} which disagrees with leading axis sizes {sizes}.",
                             source=user_source())
        return length
    if not sizes:
        raise ValueError("scan got no values to scan over and `length` not provided.")
    if len(set(sizes)) > 1:
        raise ShapeError(f"scan got values with different leading axis sizes: {', '.join(str(n) for n in sizes)}.",
                         source=user_source())
    return sizes[0]


def int_of_length(length: Any) -> int:
    if concrete_value(length) is None:
        raise ConcretizationTypeError("Abstract tracer value encountered where concrete value is expected: the `length` argument "
                                      f"to `scan` expects a concrete `int` value, got {length}",
                                      fix="use fori_loop or while_loop, whose number of trips may be traced")
    return int(length)


def while_of_values(while_loop, cells: list, cond_fun: Callable, body_fun: Callable, init_val: Any) -> Any:
    values, out = while_loop(lambda state: of_values(cond_fun, cells)(*state)[1], lambda state: of_values(body_fun, cells)(*state),
                             (read_all(cells), init_val))
    write_all(cells, values)
    return out


@filtered
@discharging(while_of_values)
def while_loop(cond_fun: Callable, body_fun: Callable, init_val: Any) -> Any:
    """val = body_fun(val) while cond_fun(val): a compiled loop. Differentiable in both modes.

    Reverse mode records what it needs of each trip on a stack that grows while the loop runs.

    >>> from tracejit import lax
    >>> lax.while_loop(lambda x: x < 100., lambda x: x * 2., 3.)
    Array(192., dtype=float32, weak_type=True)
    """
    check_callable("while_loop", "body_fun and cond_fun arguments", body_fun, cond_fun)
    if config.disable_jit:
        known = step_by_step(cond_fun(init_val))
        while known is not None:
            if not known:
                return init_val
            init_val = body_fun(init_val)
            known = step_by_step(cond_fun(init_val))

    init_val = with_wide_numbers_in(init_val)

    def trace_body(types):
        return trace_tree(body_fun, (init_val,), types)
    body, body_consts, _, leaves = trace_loop_body("while_loop", body_fun, trace_body, init_val, lambda tree, types: (tree, types))
    types = [type_of(x) for x in leaves]
    test, test_consts, test_tree = trace_tree(cond_fun, (init_val,), types)
    if not treedef_is_strict_leaf(test_tree) or test.out_types[0].shape != () or test.out_types[0].dtype != bool:
        got = f"output type(s) {test.out_types}" if treedef_is_strict_leaf(test_tree) else f"pytree {test_tree}"
        raise DtypeError(f"cond_fun must return a boolean scalar, but got {got}.", source=user_source())
    op = While(test, converted(body, types), len(test_consts), len(body_consts))
    outs = bind(op, *test_consts, *body_consts, *leaves)
    return unflatten(tree_flatten(init_val)[1], outs)


def fori_of_values(fori_loop, cells: list, lower, upper, body_fun: Callable, init_val: Any, **kwargs: Any) -> Any:
    def body(i, state):
        values, value = state
        return of_values(body_fun, cells)(values, i, value)
    values, out = fori_loop(lower, upper, body, (read_all(cells), init_val), **kwargs)
    write_all(cells, values)
    return out


@filtered
@discharging(fori_of_values)
def fori_loop(lower, upper, body_fun: Callable, init_val: Any, *, unroll: int | bool | None = None) -> Any:
    """val = body_fun(i, val) for i in lower .. upper-1: a compiled loop, with bounds known when tracing or not.

    >>> from tracejit import lax
    >>> lax.fori_loop(0, 5, lambda i, s: s + i, 0)
    Array(10, dtype=int32, weak_type=True)
    """
    check_callable("fori_loop", "body_fun argument", body_fun)
    lower, upper = (int(x) if isinstance(x, (float, np.floating)) else x for x in (lower, upper))
    static = all(isinstance(x, (int, np.integer)) for x in (lower, upper))
    i_type = loop_counter_type(lower, upper)
    start = convert_type(lower, i_type)

    def step(loop_carry, _):
        i, value = loop_carry
        return (add(i, convert_type(1, i_type)), body_fun(i, value)), None
    if static:
        return scan(step, (start, init_val), None, length=builtins.max(0, int(upper) - int(lower)))[0][1]
    init_val = with_wide_numbers_in(init_val)
    trips = trips_between(start, convert_type(upper, i_type))

    def trace_body(types):
        return trace_tree(lambda carry: step(carry, None)[0], ((start, init_val),), types)
    graph, captured, _, leaves = trace_loop_body("fori_loop", lambda loop_carry: 0, trace_body, (start, init_val),
                                                 lambda tree, types: (tree, types))
    op = Scan(converted(graph, [type_of(x) for x in leaves]), len(captured), len(leaves), None)
    outs = bind(op, trips, *captured, *leaves)
    return unflatten(tree_flatten(init_val)[1], outs[1:])


def trips_between(start, stop):
    """How often a counter that starts there is below `stop`. Also of floats, which count by one too."""
    distance = sub(stop, start)
    if is_inexact(type_of(start).dtype):
        distance = select(gt(stop, start), ceil(distance), convert_type(0, type_of(start)))  # none for nan
    return convert_element_type(max(distance, convert_type(0, type_of(start))), COUNT.dtype)


def loop_counter_type(lower, upper) -> ArrayType:
    """The type of a loop's counter: that of the bounds, weak where the first is; a Python integer's where both are known."""
    a, b = type_of(lower), type_of(upper)
    for t in (a, b):
        if t.ndim or kind_of(t.dtype) not in "iuf":
            raise DtypeError(f"fori_loop: the bounds must be integer or real scalars, got {t}", source=user_source())
    common = common_type((a, b))
    if common is None:
        raise DtypeError(f"lower and upper arguments to fori_loop must have equal types, got {a.dtype} and {b.dtype}",
                         source=user_source())
    if all(concrete_value(x) is not None for x in (lower, upper)):
        return type_of(0)
    return ArrayType((), common.dtype, a.weak_type and a.dtype == common.dtype)


@filtered
def map(f: Callable, xs: Any, *, batch_size: int | None = None) -> Any:
    """f applied to each slice of xs along the leading axis, one after the other in a compiled loop.

    With batch_size, slices are taken that many at a time and f is vectorised over them.

    >>> from tracejit import lax
    >>> import numpy as np
    >>> lax.map(lambda x: x * x, np.arange(3.))
    Array([0., 1., 4.], dtype=float64)
    """
    if batch_size is None:
        return scan(lambda _, x: ((), f(x)), (), xs)[1]
    return map_batches(f, xs, batch_size)


def map_batches(f: Callable, xs: Any, size: int) -> Any:
    leaves, tree = tree_flatten(xs)
    n = type_of(leaves[0]).shape[0]
    whole, rest = n // size, n % size
    head = [reshape(slice_in_dim(x, 0, whole * size), (whole, size, *type_of(x).shape[1:])) for x in leaves]
    lanes = hooks.vmap(f)
    flat = lambda y: reshape(y, (type_of(y).shape[0] * size, *type_of(y).shape[2:]))
    outs, out_tree = tree_flatten(map(lanes, unflatten(tree, head)))
    outs = [flat(y) for y in outs]
    if rest:
        tail = tree_flatten(lanes(unflatten(tree, [slice_in_dim(x, whole * size, n) for x in leaves])))[0]
        outs = [concatenate([a, b], 0) for a, b in zip(outs, tail)]
    return unflatten(out_tree, outs)


@filtered
def associative_scan(fn: Callable, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefix combinations of elems along an axis by an associative function of (batches of) elements.

    The odd-even recursion: log2(n) levels, O(n) applications in total (Ladner and Fischer, 1980).

    >>> from tracejit import lax
    >>> import numpy as np
    >>> lax.associative_scan(lax.add, np.arange(5, dtype=np.int32))
    Array([ 0,  1,  3,  6, 10], dtype=int32)
    """
    check_callable("associative_scan", "fn argument", fn)
    leaves, tree = tree_flatten(elems)
    axis = axis_of("associative_scan", axis, type_of(leaves[0]).ndim, from_end=True)
    if len({type_of(x).shape[axis] for x in leaves}) > 1:
        raise ShapeError("Array inputs to associative_scan must have the same first dimension. "
                         f"(saw: {[type_of(x).shape for x in leaves]})", source=user_source())
    combine = lambda a, b: tree_flatten(fn(unflatten(tree, a), unflatten(tree, b)))[0]
    leaves = [rev(x, (axis,)) for x in leaves] if reverse else leaves
    outs = prefixes(combine, leaves, axis)
    return unflatten(tree, [rev(x, (axis,)) for x in outs] if reverse else outs)


def prefixes(combine: Callable, xs: list, axis: int) -> list:
    n = type_of(xs[0]).shape[axis]
    if n < 2:
        return xs
    every = lambda start, stop, step: [slice_in_dim(x, start, stop, step, axis) for x in xs]
    odd = prefixes(combine, combine(every(0, n - 1, 2), every(1, n, 2)), axis)
    left = [slice_in_dim(x, 0, type_of(x).shape[axis] - (n % 2 == 0), axis=axis) for x in odd]
    even = combine(left, every(2, n, 2)) if n > 2 else []
    first = every(0, 1, 1)
    even = [concatenate([a, b], axis) for a, b in zip(first, even)] if even else first
    return [interleave(a, b, axis) for a, b in zip(even, odd)]


def interleave(even, odd, axis: int):
    """even[0], odd[0], even[1], odd[1], ...: two paddings that do not overlap, added."""
    n_even, n_odd, ndim = type_of(even).shape[axis], type_of(odd).shape[axis], type_of(even).ndim
    zero = full((), 0, type_of(even).dtype)
    spaced = lambda lo, hi: [(lo, hi, 1) if d == axis else (0, 0, 0) for d in range(ndim)]
    a = pad(even, zero, spaced(0, int(n_even == n_odd)))
    b = pad(odd, zero, spaced(1, int(n_even > n_odd)))
    return bitwise_or(a, b) if type_of(even).dtype == bool else add(a, b)

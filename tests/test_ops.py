"""What every op promises, checked on every sample: its rules agree with its meaning, with each other and with compiled code."""
from __future__ import annotations

import importlib
import itertools
import pkgutil

import numpy as np
import pytest
from samples import SAMPLES, Sample

import tracejit as tj
from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir.graph import Graph, Lit, replay
from tracejit.ir.text import parse
from tracejit.ir.trace import bind, trace_closed
from tracejit.ir.types import NARROW, SHORT_NAMES, ArrayType, bfloat16, is_inexact, kind_of, real_dtype, type_of
from tracejit.ir.verify import verify
from tracejit.lax.kinds import Contraction, Control, Elementwise, Op, Reduction
from tracejit.transforms.ad import jvp_graph, linearize_graph
from tracejit.transforms.batching import Batch

EACH_SAMPLE = pytest.mark.parametrize("sample", SAMPLES, ids=str)
LANES = 3


def graph_of(op: Op, args) -> Graph:
    """The program of one op. Operands of size 1 and no axes stay operands, not literals."""
    def program(*xs):
        out = bind(op, *xs)
        return out if op.multiple else [out]
    return trace_closed(program, [type_of(x) if isinstance(x, np.ndarray) else x for x in args])


def evaluate(graph: Graph, args) -> list[np.ndarray]:
    """The reference meaning: each equation by its op's `eval`."""
    def apply(eqn, xs):
        outs = eqn.op.eval(*[np.asarray(x.value) if isinstance(x, Lit) else x for x in xs])
        outs = outs if eqn.op.multiple else [outs]
        for out, var in zip(outs, eqn.outputs, strict=True):
            assert (np.shape(out), np.asarray(out).dtype) == (var.type.shape, var.type.dtype), (eqn.op, var.type)
        return [np.asarray(out) for out in outs]
    with np.errstate(all="ignore"):
        outs = replay(graph, args, apply)
    return [np.asarray(x.value if isinstance(x, Lit) else x) for x in outs]


def moving(args, fixed=()) -> list[bool]:
    return [is_inexact(x.dtype) and i not in fixed for i, x in enumerate(args)]


def direction(x: np.ndarray, rng) -> np.ndarray:
    t = rng.normal(size=x.shape)
    return (t + 1j * rng.normal(size=x.shape) if x.dtype.kind == "c" else t).astype(x.dtype)


def directions(args, fixed=(), seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [direction(x, rng) for x, moves in zip(args, moving(args, fixed)) if moves]


def along(args, tangents, fixed, step: float) -> list[np.ndarray]:
    given = iter(tangents)
    return [x + step * next(given) if moves else x for x, moves in zip(args, moving(args, fixed))]


def differences(graph: Graph, args, tangents, fixed=(), step: float = 1e-6) -> list[np.ndarray]:
    """Central differences of the floating results along the tangents."""
    ahead, behind = (evaluate(graph, along(args, tangents, fixed, s)) for s in (step, -step))
    return [(a - b) / (2 * step) for a, b in zip(ahead, behind) if is_inexact(a.dtype)]


def floating(graph: Graph) -> list[bool]:
    return [is_inexact(r.type.dtype) for r in graph.results]


def derivative(graph: Graph, args, fixed=()) -> Graph:
    """(args, tangents of the moving ones) -> (results, tangents of the floating ones)."""
    return jvp_graph(graph, tuple(moving(args, fixed)), tuple(floating(graph)))[0]


def tangents_of(graph: Graph, args, tangents, fixed=()) -> list[np.ndarray]:
    return evaluate(derivative(graph, args, fixed), [*args, *tangents])[len(graph.results):]


def close(found, wanted, rtol: float, atol: float = 0.0) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype == bfloat16:
            a, b = a.astype(np.float32), b.astype(np.float32)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def differentiable(sample: Sample) -> bool:
    return sample.smooth and any(moving(sample.args, sample.fixed)) and any(floating(graph_of(sample.op, sample.args)))


# --- which samples there are --------------------------------------------------------------------------------

def all_ops(cls: type = Op) -> list[type]:
    return [c for sub in cls.__subclasses__() for c in (sub, *all_ops(sub))]


def test_every_op_has_samples():
    """Ops that hold sub-graphs (loops, branches, custom rules) are tested by programs, elsewhere."""
    for module in pkgutil.iter_modules(lax.__path__, "tracejit.lax."):
        importlib.import_module(module.name)
    sampled = {type(s.op) for s in SAMPLES}
    leaves = [c for c in all_ops() if not c.__subclasses__() and c.__module__.startswith("tracejit.lax.")]
    by_programs = {f"tracejit.lax.{name}" for name in ("custom", "implicit", "parallel", "callback", "collectives", "checks", "words")}
    missing = [c.__name__ for c in leaves
               if c not in sampled and not issubclass(c, Control) and c.__module__ not in by_programs]
    assert not missing


# --- meaning --------------------------------------------------------------------------------------------------

@EACH_SAMPLE
def test_infer_is_the_type_of_eval(sample: Sample):
    evaluate(graph_of(sample.op, sample.args), sample.args)


def shapes_of(sample: Sample) -> list[tuple]:
    """The operands empty, of size 1, zero-dimensional, and with zero-dimensional ones among others."""
    flat = [x.reshape(-1) for x in sample.args]
    cut = lambda *picks: tuple(x[p] if p != 0 else x[0] for x, p in zip(flat, picks))
    n = len(flat)
    found = [cut(*[slice(0, 0)] * n), tuple(x[:1].reshape(1, 1) for x in flat), tuple(np.asarray(x[0]) for x in flat)]
    for k in range(n if n > 1 else 0):
        found.append(tuple(np.asarray(x[0]) if i == k else x[:1] for i, x in enumerate(flat)))
    return found


@pytest.mark.parametrize("sample", [s for s in SAMPLES if isinstance(s.op, Elementwise)], ids=str)
def test_elementwise_at_odd_shapes(sample: Sample):
    for args in shapes_of(sample):
        close(compiled(graph_of(sample.op, args), args), evaluate(graph_of(sample.op, args), args), **tolerance(sample.op, F64))


def test_weak_only_where_all_operands_are():
    weak, strong = ArrayType((), np.float32, True), ArrayType((), np.float32)
    for op in {s.op for s in SAMPLES if isinstance(s.op, Elementwise) and len(s.args) == 2}:
        if "f" in op.accepts and op.infer(strong, strong).dtype.kind != "b":
            assert [op.infer(a, b).weak_type for a, b in itertools.product((weak, strong), repeat=2)] == [True, False, False, False], op


def test_operands_are_checked():
    for op in {s.op for s in SAMPLES if isinstance(s.op, (Elementwise, Reduction))}:
        n = len(next(s for s in SAMPLES if s.op == op).args)
        for dtype in SHORT_NAMES:
            if kind_of(dtype) not in op.accepts:
                with pytest.raises(DtypeError, match="does not accept|parts must be|cannot be raised"):
                    op.infer(*[ArrayType((2,) * 3, dtype)] * n)


@EACH_SAMPLE
def test_text_reads_back(sample: Sample):
    graph = graph_of(sample.op, sample.args)
    again = parse(str(graph))
    assert again == graph and again.eqns[0].op == sample.op
    assert verify(again) is again


# --- derivatives ------------------------------------------------------------------------------------------------

@EACH_SAMPLE
def test_jvp_is_the_difference_quotient(sample: Sample):
    if not differentiable(sample):
        pytest.skip("flat or not smooth here")
    args, fixed = sample.args, sample.fixed
    graph, tangents = graph_of(sample.op, args), directions(args, fixed)
    close(tangents_of(graph, args, tangents, fixed), differences(graph, args, tangents, fixed), rtol=1e-5, atol=1e-6)


def inner(xs, ys) -> float:
    return sum(float(np.sum(x * y).real) for x, y in zip(xs, ys, strict=True))


@EACH_SAMPLE
def test_vjp_is_the_transpose_of_jvp(sample: Sample):
    args, moves = sample.args, moving(sample.args, sample.fixed)
    graph = graph_of(sample.op, args)
    if not (any(moves) and any(floating(graph))):
        pytest.skip("nothing moves")
    tangents = directions(args, sample.fixed)
    found = tangents_of(graph, args, tangents, sample.fixed)
    cts = directions(found, seed=1)
    pulled = evaluate(pullback_of(graph, moves, cts), [*args, *cts])
    for ct, x in zip(pulled, [x for x, m in zip(args, moves) if m], strict=True):
        assert (ct.shape, ct.dtype) == (x.shape, x.dtype)
    there, here = inner(cts, found), inner(pulled, tangents)
    tolerance = 1e-9 if sample.exact else 0.1
    assert np.isclose(there, here, rtol=tolerance, atol=tolerance) or not np.isfinite(there)


def pullback_of(graph: Graph, moves: list[bool], cts) -> Graph:
    """(args, cotangents of the floating results) -> cotangents of the moving args."""
    linear, n = linearize_graph(graph, moves), len(graph.params)

    def pullback(*values):
        given = iter(values[n:])
        all_cts = [next(given) if f else None for f in floating(graph)]
        outs = replay(linear.known, values[:n], record)
        pulled = linear.pullback(outs[linear.n_results:], all_cts)
        types = [p.type for p, m in zip(graph.params, moves) if m]
        return [lax.full(t.shape, 0, t.dtype) if ct is None else ct for ct, t in zip(pulled, types, strict=True)]
    return trace_closed(pullback, [*graph.in_types, *map(type_of, cts)])


def record(eqn, xs):
    outs = bind(eqn.op, *xs)
    return outs if eqn.op.multiple else [outs]


@EACH_SAMPLE
def test_derivative_of_the_derivative(sample: Sample):
    if not (differentiable(sample) and sample.twice):
        pytest.skip("flat or not smooth here")
    args, fixed = sample.args, sample.fixed
    graph = graph_of(sample.op, args)
    first = derivative(graph, args, fixed)
    inputs = [*args, *directions(args, fixed)]
    tangents = directions(inputs, fixed, seed=2)
    found = tangents_of(first, inputs, tangents, fixed)
    close(found, differences(first, inputs, tangents, fixed), rtol=1e-4, atol=1e-5)


# --- lanes --------------------------------------------------------------------------------------------------------

def patterns(n: int) -> list[tuple[bool, ...]]:
    """All operands batched; each alone; and all but the first."""
    found = [(True,) * n, *[tuple(i == k for i in range(n)) for k in range(n)], tuple(i > 0 for i in range(n))]
    return list(dict.fromkeys(p for p in found if any(p)))


@EACH_SAMPLE
def test_vmap_is_a_loop(sample: Sample):
    op, args = sample.op, sample.args
    rng = np.random.default_rng(3)
    graph = graph_of(op, args)
    for batched in patterns(len(args)):
        lanes = [[rng.permutation(x.reshape(-1)).reshape(x.shape) if op_allows_shuffle(op, i) else x for _ in range(LANES)] if b
                 else x for i, (x, b) in enumerate(zip(args, batched))]
        stacked = [np.stack(x) if b else x for x, b in zip(lanes, batched)]
        many, out_batched = Batch(LANES).batch(graph, batched)
        found = evaluate(many, stacked)
        for lane in range(LANES):
            one = evaluate(graph, [x[lane] if b else x for x, b in zip(stacked, batched)])
            here = [x[lane] if b else x for x, b in zip(found, out_batched)]
            close(here, one, rtol=1e-9, atol=1e-9)


def op_allows_shuffle(op: Op, operand: int) -> bool:
    """Matrices with a structure (positive definite, triangular) keep it."""
    return not op.__class__.__module__.endswith(("factorize", "solve", "eigen"))


# --- compiled code --------------------------------------------------------------------------------------------------

F64 = np.dtype("float64")


def compiled(graph: Graph, args) -> list[np.ndarray]:
    outs = tj.jit(lambda *xs: replay(graph, xs, record))(*args)
    return [np.asarray(out) for out in outs]


def tolerance(op: Op, dtype: np.dtype) -> dict[str, float]:
    if not is_inexact(dtype):
        return {"rtol": 0}
    eps = 2.0**-7 if dtype == bfloat16 else float(np.finfo(real_dtype(dtype)).eps)
    ulp = max(op.ulp, 16) if isinstance(op, Contraction) or dtype.kind == "c" else op.ulp
    return {"rtol": 2 * ulp * eps, "atol": eps * ulp if ulp > 8 or dtype.kind == "c" else float(np.finfo(np.float32).tiny)}


def dtypes_of(sample: Sample) -> list[np.dtype]:
    """The dtypes that the sample is also tried in."""
    first = sample.args[sample.sweep[0]].dtype if sample.sweep else None
    if first is None or kind_of(first) == "b":
        return []
    if kind_of(first) in "iu":
        return [d for d in SHORT_NAMES if kind_of(d) in "iu" and kind_of(d) in sample.op.accepts and d not in NARROW]
    if kind_of(first) == "c":
        return [np.dtype("complex64"), np.dtype("complex128")]
    wide = [np.dtype("float32"), np.dtype("float64")]
    half = [np.dtype("float16"), bfloat16] if sample.half else []
    whole = [np.dtype(d) for d in ("int8", "int32", "uint8", "int64")] if sample.half and "i" in sample.op.accepts else []
    return wide + half + whole


def converted(sample: Sample, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    with np.errstate(all="ignore"):
        cast = lambda x: np.nan_to_num(x, posinf=0, neginf=0).astype(dtype) if kind_of(dtype) in "iu" else x.astype(dtype)
        return tuple(np.asarray(cast(x)) if i in sample.sweep else x for i, x in enumerate(sample.args))


@EACH_SAMPLE
def test_compiled_is_eval(sample: Sample):
    args = sample.args
    graph = graph_of(sample.op, args)
    dtype = next((r.type.dtype for r in graph.results if is_inexact(r.type.dtype)), np.dtype(int))
    close(compiled(graph, args), evaluate(graph, args), **tolerance(sample.op, dtype))


@pytest.mark.parametrize("sample, dtype", [(s, d) for s in SAMPLES for d in dtypes_of(s)], ids=str)
def test_compiled_is_eval_in_each_dtype(sample: Sample, dtype: np.dtype):
    args = converted(sample, dtype)
    try:
        graph = graph_of(sample.op, args)
    except DtypeError:
        pytest.skip("not for this dtype")
    with np.errstate(all="ignore"):
        close(compiled(graph, args), evaluate(graph, args), **tolerance(sample.op, dtype))


@pytest.mark.parametrize("sample", [s for s in SAMPLES if differentiable(s)], ids=str)
def test_compiled_derivative_is_eval(sample: Sample):
    args = [*sample.args, *directions(sample.args, sample.fixed)]
    graph = derivative(graph_of(sample.op, sample.args), sample.args, sample.fixed)
    close(compiled(graph, args), evaluate(graph, args), rtol=1e-9, atol=1e-9)


@EACH_SAMPLE
def test_strided_operands(sample: Sample):
    args = [np.repeat(x[..., None], 2, -1)[..., 0] if x.ndim else x for x in sample.args]
    graph = graph_of(sample.op, args)
    dtype = next((r.type.dtype for r in graph.results if is_inexact(r.type.dtype)), np.dtype(int))
    close(compiled(graph, args), evaluate(graph, sample.args), **tolerance(sample.op, dtype))


@pytest.mark.parametrize("dims", [(0, 1), (1, 0), (2, 0), (2, 1), (3, 1)])
@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (0, 2)])
def test_broadcast_in_dim_takes_places_in_any_order(dims: tuple, shape: tuple) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    out = [5, 5, 5, 5]
    for n, d in zip(shape, dims):
        out[d] = n if n != 1 else 4
    ordered = x if dims[0] < dims[1] else x.T
    expected = np.broadcast_to(np.expand_dims(ordered, [d for d in range(4) if d not in dims]), out)
    f = lambda x: lax.broadcast_in_dim(x, out, dims)
    np.testing.assert_array_equal(f(x), expected)
    np.testing.assert_array_equal(tj.jit(f)(x), expected)
    np.testing.assert_array_equal(tj.vmap(f)(x[None])[0], expected)
    np.testing.assert_array_equal(tj.grad(lambda x: f(x).sum())(x), np.full(shape, np.prod(out) / max(x.size, 1), np.float32))


@pytest.mark.parametrize("dims", [(0, 0), (0, 3), (-1, 0), (0,)])
def test_broadcast_in_dim_needs_a_place_for_each_axis(dims: tuple) -> None:
    with pytest.raises(TypeError, match="a place of its own"):
        lax.broadcast_in_dim(np.ones((2, 2), np.float32), (2, 2, 2), dims)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "max", "lt", "atan2", "pow", "nextafter", "igamma"])
def test_elementwise_ops_repeat_axes_of_size_1(op):
    """Between arrays with as many axes, as in JAX; more is numpy's."""
    x, y = np.float32([[0.5], [2], [3]]), np.float32([[1, 2, 3, 4]])
    f = getattr(lax, op)
    want = f(np.broadcast_to(x, (3, 4)).copy(), np.broadcast_to(y, (3, 4)).copy())
    assert np.array_equal(f(x, y), want) and np.array_equal(tj.jit(f)(x, y), want)
    assert np.array_equal(tj.vmap(f, (0, None))(x, y[0]), want)
    for bad in ((x, y[0]), (x, x[:2])):
        with pytest.raises(TypeError, match="different shapes"):
            f(*bad)


def test_derivatives_of_operands_that_are_repeated_are_sums():
    x, y = np.float32([[0.5], [2], [3]]), np.float32([[1, 2, 3, 4]])
    dx, dy = tj.grad(lambda x, y: lax.mul(x, y).sum(), (0, 1))(x, y)
    assert np.array_equal(dx, np.full((3, 1), 10)) and np.array_equal(dy, np.full((1, 4), 5.5))
    with pytest.raises(TypeError):
        lax.select(x > 1, np.ones((3, 4)), np.ones((3, 4)))
    with pytest.raises(TypeError):
        lax.clamp(x, np.ones((3, 4), np.float32), np.float32(2))

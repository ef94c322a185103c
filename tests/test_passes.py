"""Passes keep what a program means; rewrite rules hold to the last bit; golden files show what passes make of programs."""
from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from programs import PROGRAMS, Program
from samples import SAMPLES, Sample
from test_ops import EACH_SAMPLE, close, graph_of

import tracejit as tj
import tracejit.debug
import tracejit.numpy
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config
from tracejit.ir.graph import Graph, Var, evaluate
from tracejit.ir.trace import bind, inline, trace, trace_closed
from tracejit.ir.types import SHORT_NAMES, ArrayType, bfloat16, kind_of, type_of
from tracejit.ir.verify import verify
from tracejit.lax.custom import Checkpoint
from tracejit.lax.dot import DotGeneral
from tracejit.lax.loops import Scan, While
from tracejit.transforms.passes.pipeline import PASSES
from tracejit.transforms.passes.rules import INEXACT_RULES, RULES, Rule, match_inputs
from tracejit.transforms.passes.simplify import simplify

GOLDEN = Path(__file__).parent / "golden"
EACH_PROGRAM = pytest.mark.parametrize("program", PROGRAMS, ids=str)
F32 = np.dtype("float32")


def passed(graph: Graph) -> Graph:
    for _, change in PASSES:
        graph = verify(change(graph))
    return graph


def same_meaning(a: Graph, b: Graph, args, rtol: float, atol: float) -> None:
    with np.errstate(all="ignore"):
        close(evaluate(b, args), evaluate(a, args), rtol=rtol, atol=atol)


@EACH_PROGRAM
def test_each_pass_keeps_the_meaning_of_programs(program: Program):
    graph = verify(program.graph)
    for name, change in PASSES:
        after = verify(change(graph))
        assert [t.strong() for t in after.in_types + after.out_types] == [t.strong() for t in graph.in_types + graph.out_types], name
        same_meaning(graph, after, program.inputs, 2e-5, 2e-5)
        graph = after


@EACH_SAMPLE
def test_passes_keep_the_meaning_of_ops(sample: Sample):
    graph = graph_of(sample.op, sample.args)
    same_meaning(graph, passed(graph), sample.args, 1e-12, 1e-12)


@EACH_PROGRAM
def test_compiled_programs(program: Program):
    with np.errstate(all="ignore"):
        wanted = evaluate(program.graph, program.inputs)
    found = [np.asarray(x) for x in tj.jit(lambda *xs: inline(program.graph, xs))(*program.inputs)]
    close(found, wanted, rtol=1e-4, atol=1e-4)


# --- rules ----------------------------------------------------------------------------------------------------------

SPECIAL = {"f": [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e30, -1e-30, 2.5], "b": [True, False]}
CASES = [(rule, np.dtype(d)) for rule in RULES for d in SHORT_NAMES if rule.holds_for(d)]


def operands_of(rule: Rule, dtype: np.dtype) -> list[np.ndarray]:
    """Every pair of special values, and random ones."""
    rng = np.random.default_rng(1)
    kind, n = kind_of(dtype), len(rule.params)
    if kind in "iu":
        info = np.iinfo(dtype)
        pool = [0, 1, 2, info.min, info.max, info.max - 1, *([-1, -2] if kind == "i" else []), 77]
    elif kind == "c":
        pool = [complex(a, b) for a in SPECIAL["f"][:7] for b in SPECIAL["f"][:7]]
    else:
        pool = SPECIAL[kind] + (list(rng.normal(size=20)) if kind == "f" else [])
    columns = np.array(list(itertools.product(pool, repeat=n)), dtype=object if kind in "iu" else None).T
    with np.errstate(all="ignore"):
        columns = [c.astype(dtype) for c in columns]
    return [rng.integers(0, 2, len(c)) == 1 if p == "p" and kind != "b" else c.astype(bool) if p == "p" else c
            for p, c in zip(rule.params, columns)]


def bits(x: np.ndarray) -> np.ndarray:
    """Values to compare to the last bit, with one nan."""
    x = np.asarray(x)
    if x.dtype == bfloat16 or x.dtype == np.float16:
        x = x.astype(np.float32)
    if x.dtype.kind == "c":
        return np.stack([bits(x.real), bits(x.imag)])
    return np.where(np.isnan(x), np.inf, x).view(f"u{x.dtype.itemsize}") + np.isnan(x) if x.dtype.kind == "f" else x


def one_side(f, rule: Rule, types, result=None) -> Graph:
    def run(*xs):
        out = f(*xs)
        return [out if hasattr(out, "type") else lax.full(types[0].shape, out, result or types[0].dtype)]
    return trace(run, types)[0]


@pytest.mark.parametrize("rule, dtype", CASES, ids=lambda x: getattr(x, "name", str(x)))
def test_exact_rules_hold_to_the_last_bit(rule: Rule, dtype: np.dtype):
    args = operands_of(rule, dtype)
    types = [type_of(x) for x in args]
    left = one_side(rule.left, rule, types)
    right = one_side(rule.right, rule, types, left.out_types[0].dtype)
    with np.errstate(all="ignore"):
        (a,), (b,) = evaluate(left, args), evaluate(right, args)
    np.testing.assert_array_equal(bits(a), bits(b))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_are_used_and_make_programs_shorter(rule: Rule):
    shape = (3,)
    for kind in rule.kinds:
        dtype = {"b": "bool", "i": "int16", "u": "uint8", "f": "float64", "c": "complex128"}[kind]
        left = one_side(rule.left, rule, rule.types(shape, dtype))
        after = simplify(left)
        assert after.key() != left.key() and len(after.eqns) <= len(left.eqns)
        assert after.out_types[0].strong() is left.out_types[0].strong()


@pytest.mark.parametrize("rule", [r for r in RULES if r.commutes], ids=lambda rule: rule.name)
def test_commuting_rules_match_both_ways(rule: Rule):
    root = rule.root
    for inputs in (root.inputs, root.inputs[::-1]):
        graph = trace_closed(lambda *xs: [bind(root.op, *given(inputs, rule, xs))], rule.pattern.in_types)
        assert len(simplify(graph).eqns) < len(rule.pattern.eqns) + 1 and simplify(graph).key() != graph.key()


def given(inputs, rule: Rule, xs):
    """The root's operands, with the pattern's params replaced."""
    names = dict(zip(rule.pattern.params, xs))
    read = lambda x: names[x] if x in names else bind(x.eqn.op, *map(read, x.eqn.inputs)) if isinstance(x, Var) else x
    return [read(x) for x in inputs]


def test_what_is_not_exact_is_off():
    x = ArrayType((3,), F32)
    for rule in INEXACT_RULES:
        assert rule.domain
        left = one_side(rule.left, rule, [x] * len(rule.params))
        assert simplify(left).key() == left.key()
        with config.setting(inexact_rules=True):
            assert len(simplify(left).eqns) < len(left.eqns) or simplify(left).key() != left.key()


def test_signs_of_zero_are_told_apart():
    pattern = next(r for r in RULES if r.name == "x + -0.0 = x")
    (eqn,) = one_side(lambda x: lax.add(x, 0.0), pattern, [ArrayType((), F32)]).eqns
    assert not match_inputs(pattern.root.inputs, eqn.inputs, {})
    assert len(simplify(trace(lambda x: [lax.add(x, -0.0)], [ArrayType((2,), F32)])[0]).eqns) == 0


def test_choices_by_numbers_are_not_turned_round():
    types = [ArrayType((3,), "int32"), ArrayType((3,), F32), ArrayType((3,), F32)]
    graph, _ = trace(lambda i, x, y: [lax.select_n(lax.bitwise_not(i), x, y)], types)
    same_meaning(graph, simplify(graph), [np.array([-2, -1, 0], np.int32), np.ones(3, F32), np.zeros(3, F32)], 0, 0)


def test_true_is_told_from_one():
    graph, _ = trace(lambda p: [lax.select(p, np.float32(1), np.float32(0))], [ArrayType((3,), bool)])
    after = simplify(graph)
    assert after.out_types[0].dtype == F32
    np.testing.assert_array_equal(evaluate(after, [np.array([True, False, True])])[0], [1, 0, 1])


# --- views, literals ---------------------------------------------------------------------------------------------

X = ArrayType((2, 3, 4), F32)
SHORTER = {
    "transpose of transpose": (lambda x: lax.transpose(lax.transpose(x, (2, 0, 1)), (1, 2, 0)), 0),
    "reshape of reshape": (lambda x: lax.reshape(lax.reshape(x, (6, 4)), (24,)), 1),
    "reshape back": (lambda x: lax.reshape(lax.reshape(x, (6, 4)), (2, 3, 4)), 0),
    "rev of rev": (lambda x: lax.rev(lax.rev(x, (0, 2)), (2, 1)), 1),
    "slice of slice": (lambda x: lax.slice(lax.slice(x, (0, 1, 0), (2, 3, 4), (1, 1, 2)), (1, 0, 1), (2, 2, 2)), 1),
    "broadcast of broadcast": (lambda x: lax.broadcast_in_dim(lax.broadcast_in_dim(x, (5, 2, 3, 4), (1, 2, 3)), (5, 2, 7, 3, 4),
                                                              (0, 1, 3, 4)), 1),
    "half to float and back": (lambda x: lax.convert_element_type(lax.convert_element_type(x, np.float64), F32), 0),
    "sum over nothing": (lambda x: lax.reduce_sum(x, ()), 0),
    "largest over size 1": (lambda x: lax.reduce_max(lax.reshape(x, (2, 3, 4, 1)), (3,)), 0),
    "concatenate of one": (lambda x: lax.concatenate([x, lax.slice(x, (0, 0, 0), (2, 0, 4))], 1), 0),
    "literals": (lambda x: lax.add(x, lax.full((2, 3, 4), 2 * 3.0 - 6.0) * np.float32(-1)), 0),
    "equal computations": (lambda x: lax.sub(lax.sin(x), lax.neg(lax.sin(lax.rev(lax.rev(x, (0,)), (0,))))), 2),
}


@pytest.mark.parametrize("name", SHORTER)
def test_views_and_literals(name: str):
    function, n = SHORTER[name]
    graph, _ = trace(lambda x: [function(x)], [X])
    after = verify(tj_passes_dead(simplify(graph)))
    assert len(after.eqns) == n
    x = np.random.default_rng(0).normal(size=X.shape).astype(F32)
    np.testing.assert_array_equal(evaluate(graph, [x])[0], evaluate(after, [x])[0])


def tj_passes_dead(graph: Graph) -> Graph:
    return dict(PASSES)["remove dead code"](graph)


@pytest.mark.parametrize("by", ["float16", "int8", "int32"])
def test_conversions_that_lose_something_stay(by: str):
    graph, _ = trace(lambda x: [lax.convert_element_type(lax.convert_element_type(x, by), F32)], [X])
    assert len(simplify(graph).eqns) == 2


# --- loops ---------------------------------------------------------------------------------------------------------

def named(name: str) -> Program:
    return next(p for p in PROGRAMS if p.name == name)


def loops_of(graph: Graph) -> list:
    return [eqn for eqn in graph.eqns if isinstance(eqn.op, (Scan, While))]


EDGES = np.array([0., -0., np.inf, -np.inf, np.nan, 1e-45, 3.], F32)


@pytest.mark.parametrize("change", [lambda part, y: part + y, lambda part, y: y + part, lambda part, y: part - y])
@pytest.mark.parametrize("start", [0, 1, 9, -1, -7])       # 9 is moved into the array, negative ones count from its end
def test_sums_into_known_slices_are_sums_of_whole_arrays_to_the_last_bit(change, start):
    x = np.tile(EDGES, (3, 1))
    y = np.stack([EDGES[1:], EDGES[:-1]])

    def f(x, y):
        return lax.dynamic_update_slice(x, change(lax.dynamic_slice(x, (1, start), (2, 6)), y), (1, start))
    graph, _ = trace(lambda *xs: [f(*xs)], [type_of(x), type_of(y)])
    ops = [eqn.op.name for eqn in passed(graph).eqns]
    assert "pad" in ops and not any(name.startswith("dynamic") for name in ops)
    with np.errstate(invalid="ignore"):
        [want] = evaluate(graph, [x, y])
    got = tj.jit(f)(x, y)
    np.testing.assert_array_equal(got, want)                   # nan where it is nan
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(want)], np.signbit(want)[~np.isnan(want)])


def test_chains_of_sums_into_slices():
    x = np.arange(2000, dtype=F32).reshape(40, 50)

    def f(x):
        for k in range(1, 7):
            d = jnp.sqrt(jnp.abs(x[:, k:]))
            x = x.at[:, k:].add(d).at[:, :-k].add(-d)
        return x
    want = x.astype(np.float64)
    for k in range(1, 7):
        d = np.sqrt(np.abs(want[:, k:]))
        want[:, k:] += d
        want[:, :-k] -= d
    np.testing.assert_allclose(tj.jit(f)(x), want, rtol=1e-5)


def test_what_a_loop_never_changes_leaves_it():
    (eqn,) = loops_of(passed(named("invariant").graph))
    assert eqn.op.n_carry == 1 and len(eqn.op.body.results) == 2  # kept became a constant, unused went
    assert not any(e.op.name == "exp" for e in eqn.op.body.eqns)


def test_products_with_inputs_leave_the_loop():
    graph = passed(named("scan-rnn").graph)
    (eqn,) = loops_of(graph)
    count = lambda g: sum(isinstance(e.op, DotGeneral) for e in g.eqns)
    assert (count(graph), count(eqn.op.body)) == (1, 1)
    (product,) = [e for e in graph.eqns if isinstance(e.op, DotGeneral)]
    assert product.outputs[0].type.size == 5 * 8 * 16


def test_gradients_of_weights_are_one_product_after_the_loop():
    graph = passed(named("scan-rnn-grad").graph)
    backward = loops_of(graph)[-1].op
    count = lambda g: sum(isinstance(e.op, DotGeneral) for e in g.eqns)
    assert (backward.n_carry, count(backward.body)) == (1, 1)
    assert count(graph) == 4  # x @ w before the loops, two gradients of weights and one of the inputs after them


def test_sums_that_the_loop_reads_stay_in_it():
    def f(w, xs):
        def step(c, x):
            total, y = c
            return (total + x.T @ x, y + total.sum()), y
        return list(lax.scan(step, (w, w[0, 0]), xs)[0])
    graph, _ = trace(f, [ArrayType((8, 8), F32), ArrayType((4, 6, 8), F32)])
    after = passed(graph)
    assert loops_of(after)[0].op.n_carry == 2
    rng = np.random.default_rng(0)
    same_meaning(graph, after, [rng.normal(size=(8, 8)).astype(F32), rng.normal(size=(4, 6, 8)).astype(F32)], 1e-5, 1e-5)


def test_dead_carries_and_results_leave_loops():
    def f(x):
        (a, _, _), (ys, _) = lax.scan(lambda c, _: ((c[0] + 1, c[1] * c[2], c[2] + c[1]), (c[0], c[1])), (x, x, x), None, length=3)
        return [a, ys]
    (eqn,) = loops_of(passed(trace(f, [ArrayType((2,), F32)])[0]))
    assert (eqn.op.n_carry, len(eqn.op.body.results)) == (1, 2)

    def g(x):
        return [lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2, c[2] * c[1]), (0, x, x))[1]]
    (eqn,) = loops_of(passed(trace(g, [ArrayType((2,), F32)])[0]))
    assert eqn.op.n_carry == 2


def test_loops_of_one_trip_are_their_body():
    graph, _ = trace(lambda x: list(lax.scan(lambda c, x: (c + x, c * x), x[0], x)), [ArrayType((1, 2), F32)])
    after = passed(graph)
    assert not loops_of(after)
    same_meaning(graph, after, [np.ones((1, 2), F32)], 0, 0)


def test_effects_stay_in_order():
    seen = []

    def f(x):
        def step(c, _):
            tracejit.debug.callback(seen.append, x)
            return c, None
        return [lax.scan(step, x, None, length=3)[0]]
    graph = trace(f, [ArrayType((), F32)])[0]
    (eqn,) = loops_of(passed(graph))
    assert eqn.op.has_effects and eqn.op.length == 3


def test_recomputation_is_not_merged():
    x = ArrayType((3,), F32)
    inner, _ = trace(lambda y: [lax.sin(lax.sin(y))], [x])
    graph, _ = trace(lambda x: [lax.add(bind(Checkpoint(inner), x)[0], lax.sin(lax.sin(x)))], [x])
    sines = [e for e in passed(graph).eqns if e.op.name == "sin"]
    assert len(sines) == 4
    same_meaning(graph, passed(graph), [np.ones(3, F32)], 0, 0)


# --- golden files ---------------------------------------------------------------------------------------------------

@EACH_PROGRAM
def test_golden_files(program: Program, update_golden: bool):
    """What the passes make of each program; `--update-golden` writes what they make now."""
    if "@" in program.graph.key():
        pytest.skip("holds a Python function")
    path = GOLDEN / f"{program.name}.txt"
    text = f"# as traced\n{program.graph.key()}\n\n# after the passes\n{passed(program.graph).key()}\n"
    if update_golden:
        path.write_text(text)
    assert path.read_text() == text, "run with --update-golden if this is what you want"
    assert SAMPLES


# x, kernel, names of the axes, padding: convolutions that are matrix products, forwards and in the gradient of the kernel
PRODUCTS = [
    ((3, 5, 7, 16), (1, 1, 16, 9), ("NHWC", "HWIO", "NHWC"), "SAME"),
    ((1, 16, 5, 7), (9, 16, 1, 1), ("NCHW", "OIHW", "NCHW"), "SAME"),
    ((7, 6, 8, 16), (6, 8, 16, 9), ("NHWC", "HWIO", "NHWC"), "VALID"),
    ((7, 6, 8, 16), (1, 8, 16, 9), ("NHWC", "HWIO", "NHWC"), "VALID"),
]


@pytest.mark.parametrize("shape, kernel, axes, padding", PRODUCTS, ids=str)
def test_convolutions_without_a_window_are_products(shape, kernel, axes, padding):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape), rng.standard_normal(kernel)

    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=axes)

    def both(x, w):
        y, back = tj.vjp(lambda w: conv(x, w), w)
        return [y, back(y)[0]]

    graph, _ = trace(both, [type_of(x), type_of(w)])
    after = passed(graph)
    ops = [type(eqn.op).__name__ for eqn in after.eqns]
    assert "ConvGeneralDilated" not in ops and ops.count("DotGeneral") == 2
    same_meaning(graph, after, (x, w), 1e-12, 1e-10)


@pytest.mark.parametrize("dtype", (np.dtype("float16"), bfloat16, np.dtype("int8")), ids=str)
@pytest.mark.parametrize("x, y, axes", [((9, 70), (70,), ((1,), (0,))), ((70,), (70, 33), ((0,), (0,))), ((1, 70), (33, 70), ((1,), (1,))),
                                        ((2, 1, 70), (2, 70, 40), ((2,), (1,))), ((9, 70), (70, 4), ((1,), (0,))),
                                        ((70, 9), (70, 4), ((0,), (0,))), ((1, 0), (0, 3), ((1,), (0,)))], ids=str)
def test_matrices_times_few_vectors_are_converted_as_they_are_read(dtype, x, y, axes):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-9, 9, shape).astype(dtype) for shape in (x, y))
    batch = ((0,), (0,)) if x.ndim == 3 else ((), ())
    wide = np.dtype("int32" if dtype.kind == "i" else "float32")

    def product(x, y):
        return [lax.dot_general(x, y, (axes, batch), preferred_element_type=wide)]

    graph, _ = trace(product, [type_of(x), type_of(y)])
    after = passed(graph)
    # columns beside a matrix in rows, of which a fold would read one number of each line, are the exception
    assert any(isinstance(eqn.op, DotGeneral) for eqn in after.eqns) == (x.shape == (9, 70) and y.shape == (70, 4))
    x_rows = x.T if axes == ((0,), (0,)) and x.ndim == 2 else x
    exact = np.matmul(x_rows.astype(wide), y.T.astype(wide) if axes == ((1,), (1,)) else y.astype(wide))
    for out in (evaluate(after, (x, y))[0], tj.jit(product)(x, y)[0]):
        np.testing.assert_array_equal(np.asarray(out), exact)


@pytest.mark.parametrize("x, y, axes, batch", [
    ((5, 3, 20, 16), (5, 3, 16), ((3,), (2,)), ((0, 1), (0, 1))), ((5, 20, 16), (16, 9, 5), ((2,), (0,)), ((0,), (2,))),
    ((20, 5, 16, 3), (3, 16, 5, 9), ((2,), (1,)), ((1, 3), (2, 0))), ((16, 5), (20, 5, 16), ((0,), (2,)), ((1,), (1,)))], ids=str)
@pytest.mark.parametrize("side", (0, 1))
def test_batches_that_read_one_matrix_are_rows_of_one_product(x, y, axes, batch, side):
    shapes, rng = [x, y], np.random.default_rng(0)
    dims = [d for d in range(len(shapes[side])) if d != batch[side][0]]
    values = [rng.normal(size=[n for d, n in enumerate(s) if k != side or d in dims]) for k, s in enumerate(shapes)]

    def product(*values):
        wide = [lax.broadcast_in_dim(v, shapes[k], dims) if k == side else v for k, v in enumerate(values)]
        return [lax.dot_general(*wide, (axes, batch))]
    graph, _ = trace(product, [type_of(v) for v in values])
    after = passed(graph)
    [dot] = [eqn for eqn in after.eqns if isinstance(eqn.op, DotGeneral)]
    assert len(dot.op.batch_axes[0]) == len(batch[0]) - 1
    same_meaning(graph, after, values, 1e-12, 1e-10)
    np.testing.assert_allclose(tj.jit(product)(*values)[0], evaluate(graph, values)[0], rtol=1e-10)


@pytest.mark.parametrize("spec, x, y", [
    ("ij,kj->ik", (3, 500), (70, 500)), ("ij,kj->ik", (70, 500), (6, 500)), ("iab,jab->ij", (2, 10, 30), (50, 10, 30)),
    ("bij,bkj->bik", (5, 4, 200), (5, 60, 200)), ("ibj,kbj->bik", (4, 5, 200), (60, 5, 200)), ("xyj,zj->xyz", (2, 2, 300), (90, 300)),
    ("ij,kj->ik", (4, 9000), (4, 9000))], ids=str)
def test_few_long_lines_are_multiplied_as_they_lie(spec, x, y):
    rng = np.random.default_rng(0)
    for dtype in ("f4", "f8", "i4", "i1", "c8"):
        arrays = [rng.integers(-9, 9, shape).astype(dtype) for shape in (x, y)]
        graph, _ = trace(lambda x, y: [tracejit.numpy.einsum(spec, x, y)], [type_of(v) for v in arrays])
        after = passed(graph)
        products = [eqn for eqn in after.eqns if isinstance(eqn.op, DotGeneral)]
        assert not products or dtype == "c8" or {*products[0].inputs} == {*after.params}
        exact = np.einsum(spec, *(v.astype("c16") for v in arrays))
        exact = exact if dtype == "c8" else exact.real.astype("i8").astype(dtype)
        for out in (evaluate(after, arrays)[0], tj.jit(lambda x, y: tracejit.numpy.einsum(spec, x, y))(*arrays)):
            np.testing.assert_allclose(np.asarray(out), exact, rtol=1e-5)


@pytest.mark.parametrize("reverse", (False, True))
def test_what_waits_for_no_earlier_trip_is_computed_for_all_at_once(reverse):
    """Of slices and of counters, in either direction; what reads the carry stays, and so does what costs little."""
    def f(c, xs, w):
        def step(c, x):
            down, up, y = c
            y = y * jnp.exp(-w * x) + jnp.sin(x + .1 * down.astype(F32)) / (1. + up)
            return (down - 3, up + 2, y), (y, x * x, jnp.cos(c[2]) * y)
        return tj.tree.leaves(lax.scan(step, (np.int32(50), np.int8(-64), c), xs, reverse=reverse))
    graph, _ = trace(f, [ArrayType((2,), F32), ArrayType((60, 2), F32), ArrayType((), F32)])
    after = passed(graph)
    [loop] = loops_of(after)
    names = [eqn.op.name for eqn in loop.op.body.eqns]
    assert "cos" in names and not {"sin", "exp"} & {*names}
    rng = np.random.default_rng(0)
    args = [rng.normal(size=s).astype(F32) for s in ((2,), (60, 2), ())]
    same_meaning(graph, after, args, 1e-5, 1e-5)
    for got, want in zip(tj.jit(f)(*args), evaluate(graph, args)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_random_numbers_of_a_loop_are_drawn_before_it_and_the_same():
    def walk(key, x):
        def step(i, x):
            return x + tj.random.normal(tj.random.fold_in(key, i)) * jnp.abs(x)
        return lax.fori_loop(0, 40, step, x)
    key, x = tj.random.key(3), np.float32(1)
    graph, _ = trace(lambda words, x: [walk(tj.random.wrap_key_data(words), x)], [ArrayType((2,), np.dtype("uint32")), ArrayType((), F32)])
    [loop] = loops_of(passed(graph))
    assert len(loop.op.body.eqns) < 8
    want = x
    for i in range(40):
        want = want + np.asarray(tj.random.normal(tj.random.fold_in(key, i))) * np.abs(want)
    np.testing.assert_allclose(tj.jit(walk)(key, x), want, rtol=1e-5)


@pytest.mark.parametrize("trips, size", [(9, 1), (100, 64)])
def test_few_trips_and_full_vectors_compute_as_they_go(trips, size):
    graph, _ = trace(lambda xs: [lax.scan(lambda c, x: (c + lax.sin(x), None), xs[0], xs)[0]], [ArrayType((trips, size), F32)])
    [loop] = loops_of(passed(graph))
    assert "sin" in [eqn.op.name for eqn in loop.op.body.eqns]


def test_looking_for_what_waits_for_no_trip_takes_linear_time():
    """Each of a hundred values is read twice, so there are 2**100 ways through them."""
    def body(c, x):
        for _ in range(100):
            x = x * x / 2 - x
        return c + 1, x.sum()
    xs = np.linspace(-1, 1, 32 * 16, dtype="f4").reshape(32, 16)
    _, sums = tj.jit(lambda xs: lax.scan(body, 0., xs))(xs)
    np.testing.assert_allclose(sums, [body(0., x)[1] for x in xs], rtol=1e-5)

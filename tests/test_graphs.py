"""The text form reads back, verification finds what is broken, and nothing that is well formed is refused."""
from __future__ import annotations

import numpy as np
import pytest
from programs import PROGRAMS, Program
from samples import SAMPLES, Sample
from test_ops import floating, graph_of, moving

from tracejit.errors import CompileError
from tracejit.ir.graph import Eqn, Graph, Var, evaluate
from tracejit.ir.text import parse
from tracejit.ir.trace import trace
from tracejit.ir.types import ArrayType, type_of
from tracejit.ir.verify import verify, verify_linear
from tracejit.lax.elementwise import Add, Mul, add, mul
from tracejit.transforms.ad import linearize_graph

EACH_PROGRAM = pytest.mark.parametrize("program", PROGRAMS, ids=str)
V = ArrayType((3,), "float32")


def agree(a: Graph, b: Graph, args) -> None:
    with np.errstate(all="ignore"):
        for x, y in zip(evaluate(a, args), evaluate(b, args), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_text_of_each_op_reads_back(sample: Sample):
    graph = graph_of(sample.op, sample.args)
    again = parse(str(verify(graph)))
    assert again == graph and again.eqns[0].op == graph.eqns[0].op and str(again) == graph.key()
    agree(graph, verify(again), sample.args)


@EACH_PROGRAM
def test_text_of_programs_reads_back(program: Program):
    graph = program.graph
    if "@" in graph.key():
        with pytest.raises(ValueError, match="cannot be read back"):
            parse(str(graph))
        return
    again = parse(str(verify(graph)))
    assert again.key() == graph.key()
    agree(graph, verify(again), program.inputs)


@pytest.mark.parametrize("text, message", [("graph():\n  return %0", "%0"), ("graph(%0: f32[]):\n  %1: f32[] = nonsense[] %0\n  return %1", "nonsense"),
                                           ("graph(%0: f99[]):\n  return %0", "not a type"), ("grap():\n return", "expected")])
def test_text_that_is_no_graph(text: str, message: str):
    with pytest.raises((ValueError, KeyError), match=message):
        parse(text)


def test_literals_keep_their_bits():
    graph = parse("graph():\n  return -0.0:f64[], nan:f32[], (1+2j):c64[], inf:bf16[], 0.1:f32[]~, True:bool[], -3:i8[]")
    assert parse(str(graph)) == graph
    assert np.signbit(graph.results[0].value) and graph.results[4].type.weak_type


# --- verification ----------------------------------------------------------------------------------------------

def broken() -> list[Graph]:
    x, y, z = Var(V), Var(V), Var(V)
    make = lambda out, *ins: Eqn(Add(), list(ins), [out])
    return [
        Graph([x], [], [y]),                                   # a result that nobody computes
        Graph([x], [make(y, x, z)], [y]),                      # not closed
        Graph([x], [make(y, x, z), make(z, x, x)], [y]),       # out of order
        Graph([x], [make(y, x, x), make(y, x, x)], [y]),       # made twice
        Graph([x, x], [], [x]),
        Graph([x], [make(Var(ArrayType((4,), "float32")), x, x)], [x]),
        Graph([x], [make(Var(ArrayType((3,), "float64")), x, x)], [x]),
        Graph([x], [Eqn(Add(), [x, x], [y, z])], [y]),
    ]


@pytest.mark.parametrize("graph", broken(), ids=range(len(broken())))
def test_broken_graphs_are_refused(graph: Graph):
    with pytest.raises(CompileError):
        verify(graph)


def test_loops_whose_carry_changes_its_type_are_refused():
    program = next(p for p in PROGRAMS if "scan" in str(p))
    eqn = next(e for e in program.graph.eqns if e.op.name == "scan")
    wrong = [Var(ArrayType((7,), "float32")) for _ in eqn.inputs]
    with pytest.raises(CompileError, match="sub-graph"):
        verify(Graph(wrong, [Eqn(eqn.op, wrong, eqn.outputs)], []))


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_derivatives_are_linear(sample: Sample):
    graph, moves = graph_of(sample.op, sample.args), moving(sample.args, sample.fixed)
    if not (any(moves) and any(floating(graph)) and sample.exact):
        pytest.skip("nothing moves")
    parts = linearize_graph(graph, moves)
    with np.errstate(all="ignore"):
        residuals = evaluate(parts.known, sample.args)[parts.n_results:]
    verify_linear(parts.linear, [False] * len(residuals) + [True] * sum(moves), residuals)


def test_what_is_not_linear_is_refused():
    for f in (lambda x, y: [mul(y, y)], lambda x, y: [add(y, 1.0)]):
        graph, _ = trace(f, [V, V])
        with pytest.raises(CompileError, match="not linear"):
            verify_linear(graph, [False, True])
    verify_linear(trace(lambda x, y: [mul(x, y)], [V, V])[0], [False, True])
    assert Mul.has_transpose and type_of(np.zeros(3)) is not V

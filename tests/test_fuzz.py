"""A short run of the fuzzer, and that it finds, shrinks and prints what is wrong."""
from __future__ import annotations

import os

import numpy as np
import pytest

from tracejit.ir.graph import Graph
from tracejit.ir.text import parse
from tracejit.tools import fuzz
from tracejit.tools.fuzz import Problem, as_test, differs, run, shrink
from tracejit.tools.random_programs import random_program

def test_random_programs():
    """The same programs on each run; `make fuzz` tries new ones."""
    found = run(150, 4000, 4, stop_after=3, shrinking=5)
    assert not found, "\n\n".join(as_test(problem, seed) for seed, problem in found)


@pytest.mark.slow
def test_new_random_programs():
    """New programs on each day, the same ones all day."""
    seed = int(np.datetime64("today").astype(int)) * 10_000
    found = run(10_000, seed, float(os.environ.get("TRACEJIT_FUZZ_SECONDS", "60")) / 60, stop_after=3, shrinking=5)
    assert not found, "\n\n".join(as_test(problem, seed) for seed, problem in found)


def test_programs_depend_on_the_seed_only():
    texts = [random_program(np.random.default_rng(seed))[0].key() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


GRAPH = parse("""graph(%0: f32[3], %1: f32[3]):
  %2: f32[3] = mul[] %0 %1
  %3: f32[3] = sin[] %2
  %4: f32[3] = add[] %3 %3
  %5: f32[3] = neg[] %0
  return %4, %5""")
ARGS = [np.array([1, 2, 3], np.float32), np.array([0.5, -1, 2], np.float32)]


def no_sines(graph: Graph, args) -> str | None:
    return "a sine" if any(eqn.op.name == "sin" for eqn in graph.eqns) else None


def test_failing_programs_are_made_small_and_printed(monkeypatch):
    monkeypatch.setattr(fuzz, "no_sines", no_sines, raising=False)
    small = shrink(Problem("no_sines", GRAPH, ARGS, "a sine"), no_sines)
    assert [eqn.op.name for eqn in small.graph.eqns] == ["sin"] and len(small.args) == 1
    space = {"np": np, "parse": parse, "fuzz": fuzz}
    exec(as_test(small, 7), space)
    with pytest.raises(AssertionError):
        space["test_seed_7"]()


def test_what_rounding_explains_is_no_difference():
    sine, negative = fuzz.evaluate(GRAPH, ARGS)
    assert differs([sine, negative], GRAPH, ARGS) is None
    assert differs([np.nextafter(sine, 9), negative], GRAPH, ARGS) is None
    assert "result 0" in differs([sine * np.float32(1.001), negative], GRAPH, ARGS)
    assert "result 1" in differs([sine, -negative], GRAPH, ARGS)
    assert "float64" in differs([sine.astype(np.float64), negative], GRAPH, ARGS)
    assert "result 0" in differs([sine * np.float32(np.nan), negative], GRAPH, ARGS)


def test_rounding_ops_have_no_exact_adjoint():
    graph = parse("""graph(%0: f32[4]):
  %1: f32[4] = reduce_precision[exponent_bits=3 mantissa_bits=5] %0
  return %1""")
    assert fuzz.check_adjoint(graph, [np.array([-1.3, 0.1, 0.01, 3.0], np.float32)]) is None

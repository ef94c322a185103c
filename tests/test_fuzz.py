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


def test_a_row_of_one_element_is_copied_before_it_is_read_again():
    graph = parse("""graph(%0: bf16[1], %1: bf16[]):
      %2: i32[] = arg_max[axes=(0) index_dtype=i32] %0
      %3: i32[1] = broadcast_in_dim[shape=(1) dimensions=()] %2
      %4: bf16[] = reshape[shape=()] %0
      %5: i32[1] = iota[dtype=i32 shape=(1) dimension=0]
      %6: bool[1] = eq[] %3 %5
      %7: bf16[] = erf_inv[] %4
      %8: bf16[] = square[] %7
      %9: bf16[] = exp[] %8
      %10: bf16[] = mul[] 0.886719:bf16[] %9
      %11: bf16[] = mul[] %1 %10
      %12: f32[] = convert_element_type[dtype=f32 weak=False] %11
      %13: f32[1] = broadcast_in_dim[shape=(1) dimensions=()] %12
      %14: bf16[1] = convert_element_type[dtype=bf16 weak=False] %13
      %15: bf16[1] = select_n[] %6 0:bf16[] %14
      return %15""")
    for value in (-0.25, 0.5, 0.75):
        args = [np.array([value]).astype("bfloat16"), np.array(4 * value).astype("bfloat16")]
        assert fuzz.problem_of(fuzz.check_compiled, graph, args) is None


def test_the_tangent_of_a_weak_16_bit_value_keeps_its_dtype():
    graph = parse("""graph(%0: f32[3]):
      %1: bf16[3]~ = convert_element_type[dtype=bf16 weak=True] %0
      %2: bf16[3]~ = cbrt[] %1
      %3: bf16[3]~ = scan[n_consts=0 n_carry=1 length=2 reverse=False] %2
        graph(%0: bf16[3]~):
          return %0
      return %3""")
    assert fuzz.problem_of(fuzz.check_jvp, graph, [np.array([0.5, 1.0, 2.0], np.float32)]) is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_moved_values_stay_near_and_infinite_ones_infinite(dtype):
    x = np.array([1.5, -2, 0, np.inf, -np.inf, np.nan] * 20, dtype)
    moved = fuzz.moved(x, 2, np.random.default_rng(0))
    finite = np.isfinite(x)
    assert moved.dtype == x.dtype and (moved != x)[x == 1.5].any()
    np.testing.assert_allclose(moved[finite], x[finite], rtol=3 * np.finfo(dtype).eps, atol=1e-6 if dtype == "float16" else 1e-40)
    for infinite in (np.inf, -np.inf):
        assert (moved[x == infinite].real == infinite).any() and not np.isfinite(moved[x == infinite].real).any()


@np.errstate(all="ignore")
def test_results_that_rounding_scrambles_are_no_difference():
    """The sign of the cosine of a large number, of which no digit is known, decides between 0 and infinity."""
    graph = parse("""graph(%0: c64[]):
      %1: c64[] = exp[] %0
      %2: c64[] = exp[] %1
      %3: c64[] = exp[] %2
      return %3""")
    args = [np.array(18.008404 + 44.54018j, "complex64")]
    for found in (0j, 1e3 + 2j):
        assert differs([np.array(found, "complex64")], graph, args) is None


def test_results_beyond_a_pole_may_be_large():
    """The tangent of a number of which no digit is known; but where all digits cancel, the result is small."""
    graph = parse("""graph(%0: f32[], %1: f32[]):
      %2: f32[] = exp[] %0
      %3: f32[] = tan[] %2
      %4: f32[] = add[] %1 1:f32[]
      %5: f32[] = sub[] %4 %1
      return %3, %5""")
    args = [np.float32(25), np.float32(1e4)]
    tangent, one = fuzz.evaluate(graph, args)
    assert differs([np.float32(9e5), one], graph, args) is None
    assert "result 1" in differs([tangent, np.float32(1e3)], graph, args)


@np.errstate(all="ignore")
def test_a_product_may_be_taken_in_any_order():
    graph = parse("""graph(%0: f32[6]):
      %1: f32[] = reduce_prod[axes=(0)] %0
      return %1""")
    args = [np.array([0, 1e30, 1e30, 1e30, 2, 3], np.float32)]
    assert differs([np.float32(np.nan)], graph, args) is None
    assert "result 0" in differs([np.float32(1)], graph, [np.float32([0, 1, 2, 3, 4, 5])])


def test_the_sign_of_nan_is_no_difference():
    graph = parse("""graph(%0: f16[]):
      %1: f16[] = asin[] %0
      %2: i16[] = bitcast[dtype=i16] %1
      return %2""")
    with np.errstate(invalid="ignore"):
        for found in (32256, -512):
            assert differs([np.array(found, np.int16)], graph, [np.array(2.5, np.float16)]) is None
        assert differs([np.array(7, np.int16)], graph, [np.array(0.5, np.float16)])

"""explain: what each step moves and computes, beside the machine's limits; why equations were not fused; text, HTML and graph."""
from __future__ import annotations

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config
from tracejit.ir.trace import trace
from tracejit.ir.types import ArrayType
from tracejit.runtime.compile import reports
from tracejit.runtime.work import Work, work_of_graph
from tracejit.tools import doctor, limits
from tracejit.tools.explain import explain
from tracejit.tools.limits import Limits
from tracejit.tools.picture import layers_of
from tracejit.tools.unfused import why_not_fused

X = np.linspace(0, 1, 1200, dtype=np.float32).reshape(12, 100)
SLOW = Limits("a slow machine", "avx2", 2, 1e9, 1e9, 1e8, {1 << 20: 1e8}, {1 << 20: 1e8}, {1 << 20: 5e7})


@pytest.fixture(autouse=True)
def known_limits(monkeypatch: pytest.MonkeyPatch):
    """No test waits for a measurement."""
    monkeypatch.setitem(limits.known, limits.key(), SLOW)
    monkeypatch.setattr("tracejit.tools.explain.measured_again", lambda found: found)


def program(x):
    return jnp.exp(x * 1) @ jnp.sin(x).T


def test_text():
    found = explain(program)(X)
    text = repr(found)
    assert "program: (f32[12,100]) -> (f32[12,12])" in text and "us per call" in text
    assert "simplify" in text and "GB/s" in text and "bytes of scratch" in text and "% of memory" in text
    assert any("dot_general is a call of its own" in str(line) for line in found.unfused)


def test_bytes_and_operations():
    found = explain(lambda a, b: jnp.maximum(a @ b + 1, 0))(np.ones((64, 48), np.float32), np.ones((48, 80), np.float32))
    (step,) = found.kernels
    assert step.name.startswith("dot_general + ") and found.unfused == [], "the bias and relu run on blocks of the product"
    assert step.work.products == 2 * 64 * 48 * 80 and step.work.elements >= 2 * 64 * 80
    assert step.reads == 4 * (64 * 48 + 48 * 80) and step.writes == 4 * 64 * 80
    assert step.seconds > 0 and found.least_seconds == found.limit_of(step)


def test_a_gather_does_not_read_the_whole_table():
    table, ids = np.ones((100_000, 8), np.float32), np.arange(4, dtype=np.int32)
    steps = explain(lambda t, i: t[i] * 2)(table, ids).kernels
    assert sum(step.reads for step in steps) < 4096 and steps[-1].writes == 4 * 8 * 4


def test_percentages_are_of_the_limits_given():
    found = explain(lambda x: x + 1)(np.ones(1 << 20, np.float32))
    (step,) = found.kernels
    percent, which = found.bound(step)
    assert which == "memory" and np.isclose(percent, 100 * (8 << 20) / 1e8 / step.seconds)


@pytest.mark.parametrize("function, reason", [
    (lambda x: jnp.exp(x).sum(0) + jnp.exp(x).sum(1)[:1], "it folds other axes|runs over"),
    (lambda x: jnp.cumsum(jnp.exp(x), 0) * 2, "call of its own"),
    (lambda x: jnp.exp(x) + jnp.exp(x).T.reshape(x.shape), "other places than its own: exp at [|joined another"),
])
def test_why_not_fused(function, reason: str):
    graph, _ = trace(lambda x: [function(x)], [ArrayType(X.shape, X.dtype)])
    assert any(part in str(line) for line in why_not_fused(graph) for part in reason.split("|"))


def test_loops_are_timed_on_their_own_values_and_show_their_bodies():
    def f(x):
        c, _ = lax.scan(lambda c, r: (jnp.sin(c) @ jnp.ones((100, 100), np.float32) + r, c), x[0], x)
        return lax.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, v[1] * 0.5), (jnp.float32(0), c))[1]
    found = explain(f)(X)
    names = [step.name for step in found.kernels]
    assert "scan" in names and "while" in names and found.on_real_values and all(step.seconds for step in found.kernels)
    assert re.search(r"scan.*\n +(not in registers|runs step by step).*\n +- ", repr(found))
    scan = found.kernels[names.index("scan")]
    assert scan.work.products == 12 * 2 * 100 * 100, "a body counts once per trip"


def test_programs_with_effects_are_timed_on_random_numbers(capsys):
    found = explain(lambda x: tj.debug.print("{}", x.sum()) or jnp.sin(x) @ x.T)(X)
    assert not found.on_real_values and "random numbers" in repr(found) and "not timed alone" in repr(found)
    assert any(step.seconds for step in found.kernels)


def test_one_report_is_left_behind():
    before = len(reports)
    found = explain(program)(X)
    assert len(reports) == before + 1 and reports[-1] is found.report and found.report.code is not None


# --- HTML ------------------------------------------------------------------------------------------------------------

def test_html_is_well_formed_and_has_a_box_per_step():
    found = explain(lambda x: jnp.cumsum(jnp.exp(x), 0) * (x < 2) @ x.T)(X)
    page = found.html()
    assert found._repr_html_() in page and page.startswith("<!doctype html>")
    svg = ElementTree.fromstring(re.search("<svg.*?</svg>", page, re.S)[0])
    space = "{http://www.w3.org/2000/svg}"
    assert len(svg.findall(f"{space}g")) == len(found.kernels) and len(svg.findall(f"{space}path")) == len(found.edges()) > 0
    for row in re.findall("<table>.*?</table>", page, re.S):
        ElementTree.fromstring(row)


def test_names_are_escaped():
    def f(x):
        return x * 2
    f.__name__ = "<script>"
    assert "<script>" not in explain(f)(X).html()


def test_layers_follow_the_order_of_steps():
    edges = [(0, 1, ""), (1, 3, ""), (0, 3, ""), (2, 3, "")]
    assert [sorted(layer) for layer in layers_of(5, edges)] == [[0, 2, 4], [1], [3]]


def test_an_empty_program():
    found = explain(lambda x: x)(np.float32(1))
    assert "x" in repr(found) or found.kernels == []
    assert "<table>" in found.html()


# --- limits and work ---------------------------------------------------------------------------------------------------

def test_limits_interpolate_and_take_the_tighter_bound():
    some = Limits("", "avx2", 1, 1e10, 1e10, 1e9, {100: 1e9, 10_000: 1e8}, {100: 1e9, 10_000: 1e8}, {100: 5e8, 10_000: 5e7})
    assert np.isclose(some.seconds(reads=1000), 1000 / 10**8.5) and np.isclose(some.seconds(reads=10**6), 10**6 / 1e8)
    assert np.isclose(some.seconds(reads=50, writes=50), 100 / 1e9) and np.isclose(some.seconds(writes=100), 100 / 5e8)
    assert some.seconds(reads=1, work=Work(1e10)) == 1 and some.seconds(work=Work(1e10), itemsize=8) == 2


def test_limits_are_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(limits, "SIZES", (1 << 14, 1 << 16))
    monkeypatch.setattr(limits, "BURST", 1e-4)
    monkeypatch.setattr(limits, "known", {})
    with config.setting(compilation_cache_dir=str(tmp_path)):
        assert limits.kept_limits() is None
        assert doctor.main(["--measure"]) == 0 and "multiply-adds" in capsys.readouterr().out
        first = limits.machine_limits()
        assert set(first.read) == set(first.copy) == set(first.fill) == {1 << 14, 1 << 16}
        # How much is not asserted: a burst this short may be interrupted by anything else that runs.
        assert all(0 < rate < math.inf for table in (first.read, first.copy, first.fill) for rate in table.values())
        assert all(0 < rate < math.inf for rate in (first.flops, first.instructions, first.divisions))
        monkeypatch.setattr(limits, "known", {})
        assert limits.kept_limits() == first, "another process reads what was kept"
        (tmp_path / "limits.json").write_text(json.dumps({limits.name_of(limits.key()): {"flops": 1}}))
        monkeypatch.setattr(limits, "known", {})
        assert limits.kept_limits() is None, "another version's file says nothing"


def test_work_counts_products_elements_and_trips():
    graph, _ = trace(lambda x, y: [lax.scan(lambda c, r: (jnp.tanh(c @ y), None), x, None, length=5)[0]],
                     [ArrayType((3, 4), X.dtype), ArrayType((4, 4), X.dtype)])
    work = work_of_graph(graph)
    assert work.products == 5 * 2 * 3 * 4 * 4 and work.elements == 5 * 3 * 4


def test_elementary_functions_count_as_the_instructions_that_they_are():
    """A square of exp takes as many as both; rows count once per row."""
    def counts(f, *shapes):
        (step,) = explain(f)(*[np.ones(shape, np.float32) for shape in shapes]).kernels
        return step.work.elements, step.work.instructions
    n = 1000
    assert counts(lambda x, y: x * y, n, n) == (n, n) and counts(lambda x, y: x / y, n, n) == (n, n)
    of_exp = counts(jnp.exp, n)
    assert of_exp[0] == n and 6 * n < of_exp[1] < 60 * n
    assert counts(lambda x: jnp.exp(x) * jnp.exp(x), n) == (2 * n, of_exp[1] + n)
    elements, _ = counts(lambda x: jnp.sqrt(jnp.sum(x * x, axis=1)), (n, 8))
    assert elements == 8 * n * 2 + n, "a multiplication and an addition at each point, a root per row"
    assert counts(lambda x, y: x + y, n, n)[1] <= counts(lambda x, y: (x + 1j * y).real, n, n)[1]


def test_what_is_the_same_for_a_row_counts_once_per_row():
    """Centred and normalised rows: the two means, the root and its operand are of a row, and found once however many passes."""
    rows, columns = 64, 48

    def work_of(f, *shapes):
        (step,) = explain(f)(*[np.ones(shape, np.float32) for shape in shapes]).kernels
        return step.work
    work = work_of(lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), (rows, columns))
    n = rows * columns
    # At a point: two sums, two differences, a square, a quotient. For a row: two quotients by a constant, and a root.
    assert n * 6 <= work.elements <= n * 7 + rows * 8 and work.instructions <= n * 7 + rows * 8
    assert n <= work.multiplications <= n + rows * 4 and n <= work.divisions <= n + rows * 2
    assert work_of(lambda x: x / 3, (n,)).divisions == 0 < work_of(lambda x: 3 / x, (n,)).divisions == n
    assert work_of(lambda x, y: x / y, (n,), (n,)).divisions == n


def test_narrow_numbers_fill_vectors_and_wide_ones_take_more_of_them():
    def instructions(dtype):
        (step,) = explain(lambda x: x + x)(np.ones(1024, dtype)).kernels
        return step.work.instructions
    assert [instructions(t) for t in ("i1", "i2", "f4", "f8")] == [256, 512, 1024, 2048]


def test_the_least_time_is_that_of_the_slowest_kind_of_work():
    some = Limits("", "avx2", 1, 1e10, 2e10, 1e9, {1: 1e9}, {1: 1e9}, {1: 1e9})
    assert some.seconds(work=Work(products=1e10)) == 1, "as multiply-adds"
    assert some.seconds(work=Work(instructions=2e10, multiplications=1e9)) == 1
    assert some.seconds(work=Work(instructions=1e10, multiplications=1e10)) == 2, "two flops each"
    assert some.seconds(work=Work(instructions=1e9, divisions=1e9)) == 1


def test_limits_that_a_step_beats_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second measurement raises what another program lowered, and lowers nothing."""
    fast = Limits("a slow machine", "avx2", 2, 1e30, 1e30, 1e30, {1 << 20: 1e30}, {1 << 20: 1e7}, {1 << 20: 1e30, 1: 5.0})
    monkeypatch.setattr(limits, "measure", lambda: fast)
    monkeypatch.setattr("tracejit.tools.explain.measured_again", limits.measured_again)
    with config.setting(compilation_cache_dir=str(tmp_path)):
        found = explain(lambda x: jnp.sum(x))(np.ones(1 << 16, np.float32))
        assert found.limits.read == {1 << 20: 1e30} and found.limits.copy == {1 << 20: 1e8} and found.limits.flops == 1e30
        assert not found.beats_limits and limits.known[limits.key()] == found.limits
        monkeypatch.setattr(limits, "known", {})
        assert limits.kept_limits() == found.limits


def test_a_copy_is_named_by_what_it_computes():
    """A doubled array that only its flipped copy reads is computed where the copy is written; a bare view is a copy."""
    x = np.ones((64, 128), np.float32)
    assert [step.name for step in explain(lambda x: jnp.flip(x * 2, 0))(x).kernels] == ["mul copy"]
    assert [step.name for step in explain(lambda x: jnp.flip(x, 0))(x).kernels] == ["copy"]

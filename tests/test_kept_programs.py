"""Whole programs on disk: found by the next process without passes, left where something differs, right in every case."""
from __future__ import annotations

import numpy as np
import pytest
from runtime_harness import run_python

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config
from tracejit.runtime import cache, programs
from tracejit.runtime import compile as compiler

PROGRAM = """
import numpy as np, tracejit as tj, tracejit.numpy as jnp
from tracejit import lax
from tracejit.runtime import compile as compiler
{setup}
def loss(w, x):
    hidden = tj.nn.relu(x @ w)
    return lax.scan(lambda c, row: (jnp.tanh(c) + row.sum(), None), 0.0, hidden)[0]
step = tj.jit(lambda w, x: (w - 0.1 * tj.grad(loss)(w, x), loss(w, x)), donate_argnums=0)
w, value = step(jnp.ones((5, 4)) / 8, jnp.arange(15.).reshape(3, 5))
print(repr(np.asarray(w).tobytes()), float(value))
print([name for name, *_ in compiler.reports[-1].stages], compiler.reports[-1].compiled)
"""


def run(folder, setup="", **environment):
    result, how = run_python(PROGRAM.format(setup=setup), TRACEJIT_COMPILATION_CACHE_DIR=str(folder), **environment).splitlines()
    return result, "generate" in how


def test_the_next_process_loads_the_program(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert first[1] and not second[1] and first[0] == second[0]


def test_another_setting_or_instruction_set_is_another_program(tmp_path):
    run(tmp_path)
    assert run(tmp_path, TRACEJIT_ISA="baseline")[1] and not run(tmp_path)[1]


def test_a_lost_or_damaged_object_is_compiled_again(tmp_path):
    first, _ = run(tmp_path)
    for _, _, path in cache.ObjectCache(tmp_path).entries():
        if b'"entry"' not in path.read_bytes():     # an object, not the note of which objects make a program
            path.unlink()
    assert run(tmp_path) == (first, True) and run(tmp_path) == (first, False)
    for _, _, path in cache.ObjectCache(tmp_path).entries():
        path.write_bytes(path.read_bytes()[:-1])
    assert run(tmp_path) == (first, True) and run(tmp_path) == (first, False)


@pytest.fixture
def fresh(tmp_path):
    with config.setting(compilation_cache_dir=str(tmp_path)):
        yield


def stages(f, *args):
    """The result of a newly jitted function, and the stages that it went through."""
    tj.clear_caches()
    out = tj.jit(f)(*args)
    return out, [name for name, *_ in compiler.reports[-1].stages]


def test_within_a_process(fresh):
    x = jnp.arange(6.0)
    first, through = stages(lambda x: jnp.sin(x) * 2 + x, x)
    again, found = stages(lambda x: jnp.sin(x) * 2 + x, x)
    other, changed = stages(lambda x: jnp.sin(x) * 3 + x, x)
    assert "generate" in through and "generate" not in found and "generate" in changed
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("number", [0.0, -0.0, np.nan, np.inf])
def test_special_constants_are_told_apart(fresh, number):
    for value in (0.0, -0.0, np.inf, number):
        out, _ = stages(lambda x: jnp.copysign(x, value) * 0 + jnp.where(x > 0, jnp.float32(value), x), jnp.ones(3))
        assert np.array_equal(np.signbit(out), np.signbit(np.full(3, value))) and np.array_equal(
            out, np.full(3, value, "f4"), equal_nan=True)


def test_programs_that_call_python_are_not_kept(fresh):
    calls = []

    def program(tag):
        def host(x):
            calls.append(tag)
            return np.asarray(x) + np.float32(1)    # no program of its own
        return lambda x: tj.pure_callback(host, tj.ShapeDtypeStruct((), jnp.float32), x)
    for tag in "ab":
        _, through = stages(program(tag), jnp.float32(1))
        assert "generate" in through
    assert calls == ["a", "b"]


def test_no_cache_no_programs(tmp_path):
    with config.setting(enable_compilation_cache=False):
        graph = tj.make_graph(lambda x: x + 1)(1.0).graph
        assert programs.key_of_program(graph, compiler.host_isa(), ()) is None


def test_donated_results_and_types(fresh):
    for dtype in ("f4", "i8", "c8"):
        for _ in range(2):
            tj.clear_caches()
            x = jnp.ones(300, dtype)
            y = tj.jit(lambda x: x * 2, donate_argnums=0)(x)
            assert x.is_deleted() and y.dtype == dtype and np.array_equal(y, np.full(300, 2, dtype))


def test_while_loops_and_branches(fresh):
    def program(n, x):
        return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, lax.cond(c[0] % 2 == 0, jnp.sin, jnp.cos, c[1])), (0, x))[1]
    first, _ = stages(tj.grad(program, argnums=1), 5, 0.5)
    again, found = stages(tj.grad(program, argnums=1), 5, 0.5)
    assert "generate" not in found and float(first) == float(again) != 0

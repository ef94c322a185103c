"""Programs captured as graphs: when, in which memory, and what becomes of it."""
from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="needs numba-cuda")

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.codegen.cuda.interface import View
from tracejit.codegen.cuda.program import generate
from tracejit.errors import DeviceMemoryError
from tracejit.runtime.cuda.emulated import EmulatedRuntime
from tracejit.runtime.cuda.executor import Executor
from tracejit.runtime.cuda.graphs import MOST_GRAPHS, RUNS_BEFORE_CAPTURE, GraphCache
from tracejit.transforms.passes.pipeline import DEVICE_PASSES

CAPACITY = 1 << 20
X = np.linspace(-1, 1, 1200, dtype="f4").reshape(30, 40)


class Program:
    """A program with memory for its argument and its result, which stay where they are."""

    def __init__(self, runtime, f):
        graph = tj.jit(f).trace(X).graph
        for _, change in DEVICE_PASSES:
            graph = change(graph)
        self.runtime, self.want = runtime, np.asarray(f(X))
        self.executor, self.cache = Executor(generate(graph), runtime), GraphCache(runtime)
        self.x, self.out = runtime.allocate(X.nbytes, "x"), runtime.allocate(self.want.nbytes, "out")
        runtime.upload(self.x.address, X)

    def run(self, times=1, out=None):
        out = out or self.out
        for _ in range(times):
            self.runtime.fill(out.address, out.nbytes, 0xFF)
            self.cache.run(self.executor, [self.x.address], [out.address])
            found = self.runtime.download(View(out.address, self.want.shape, self.want.dtype))
            np.testing.assert_allclose(found, self.want, rtol=1e-5)


def centred(x): return jnp.tanh(x.T).sum(0) / jnp.exp(x).T.sum(1).mean()
def columns(x): return (jnp.cumsum(jnp.sin(x), 0) + x.mean()).sum(0)


@pytest.fixture
def runtime():
    return EmulatedRuntime(capacity=CAPACITY)


def test_a_repeated_call_becomes_a_graph(runtime):
    program = Program(runtime, centred)
    program.run(RUNS_BEFORE_CAPTURE)
    assert not program.cache.graphs
    program.run(3)
    assert len(program.cache.graphs) == 1 and not program.cache.refusal


def test_few_graphs_are_kept(runtime):
    program = Program(runtime, centred)
    outs = [runtime.allocate(program.want.nbytes, "out") for _ in range(MOST_GRAPHS + 3)]
    for out in outs:
        program.run(4, out)
    assert len(program.cache.graphs) == MOST_GRAPHS and len(program.cache.seen) <= MOST_GRAPHS


def test_all_graphs_compute_in_one_arena(runtime):
    programs = [Program(runtime, f) for f in (centred, columns)]
    for program in sorted(programs, key=lambda p: -p.executor.code.arena_bytes):
        program.run(4)
    for program in programs:
        program.run(2)      # what the others left in the arena does not matter
    assert len({id(arena) for p in programs for _, arena in p.cache.graphs.values()}) == 1


def test_when_memory_is_short_graphs_give_theirs_back(runtime):
    program = Program(runtime, columns)
    program.run(4)
    used = runtime.memory_stats()["bytes_in_use"]
    assert runtime.captured.shared is not None
    rest = runtime.allocate(CAPACITY - used + 1, "the rest")      # more than is free
    assert runtime.captured.shared is None and not program.cache.graphs
    del rest
    program.run(4)
    assert program.cache.graphs
    with pytest.raises(DeviceMemoryError, match="too much"):
        runtime.allocate(CAPACITY, "too much")


def test_an_error_about_memory_names_the_largest_intermediate_value_and_its_line(runtime):
    def f(x):
        y = jnp.sort(jnp.exp(x), 1)
        return jnp.sort(jnp.tile(y, (7, 1)), 0).sum()
    graph = tj.jit(f).trace(X).graph
    for _, change in DEVICE_PASSES:
        graph = change(graph)
    executor = Executor(generate(graph), runtime)
    kept = runtime.allocate(CAPACITY - runtime.memory_stats()["bytes_in_use"] - 1000, "what fills the memory")
    with pytest.raises(DeviceMemoryError, match=r"(?s)largest f32\[210,40\] at .*test_graphs.py:\d+ needs .*in use:.*what fills the memory"):
        executor.arena()
    assert kept.nbytes


def test_a_program_that_is_gone_leaves_no_graphs(runtime):
    program = Program(runtime, columns)
    program.run(4)
    del program
    gc.collect()
    assert not list(runtime.captured.caches) and runtime.captured.give_back()
    assert runtime.memory_stats()["bytes_in_use"] == 0


def test_several_threads_ask_for_graphs(runtime):
    cache, wrong = GraphCache(runtime), []

    def ask(k):
        try:
            for i in range(2000):
                cache.is_due((k, i % 11))
        except Exception as error:
            wrong.append(error)
    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not wrong and len(cache.seen) <= MOST_GRAPHS + len(threads)

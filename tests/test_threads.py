"""The native thread pool: every unit once, any number of threads, nesting, forks, and Ctrl-C in a compiled loop."""
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from runtime_harness import entry, run_python

from tracejit.config import config
from tracejit.ir.types import ArrayType
from tracejit.runtime import cache, llvm, native, threads, threads_text
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.executable import Executable

WORK = """
declare void @tj_parallel(ptr, ptr, i64)
define void @test_add_index(ptr %table, i64 %i) {
  %p = getelementptr i64, ptr %table, i64 %i
  %v = load i64, ptr %p
  %w = add i64 %v, %i
  store i64 %w, ptr %p
  ret void
}
define void @test_add_indices(ptr %table, i64 %n) {
  call void @tj_parallel(ptr @test_add_index, ptr %table, i64 %n)
  ret void
}
define void @test_row(ptr %job, i64 %i) {
  %n = load i64, ptr %job
  %p = getelementptr i64, ptr %job, i64 1
  %table = load ptr, ptr %p
  %start = mul i64 %i, %n
  %row = getelementptr i64, ptr %table, i64 %start
  call void @tj_parallel(ptr @test_add_index, ptr %row, i64 %n)
  ret void
}
define void @test_rows(ptr %job, i64 %n) {
  call void @tj_parallel(ptr @test_row, ptr %job, i64 %n)
  ret void
}
"""
SPIN = """
@tj_interrupt = external global i32
declare i32 @tj_leave()
define i32 @test_spin(ptr %ins, ptr %outs, ptr %arena) {
entry:
  br label %loop
loop:
  %flag = load atomic i32, ptr @tj_interrupt monotonic, align 4
  %seen = icmp ne i32 %flag, 0
  br i1 %seen, label %ask, label %loop
ask:
  %stop = call i32 @tj_leave()
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %out, label %loop
out:
  ret i32 1
}
"""


def function(name: str):
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(cache.load_module(WORK)[name])


def indices(n: int) -> np.ndarray:
    """0, 1, ..., n-1, if every index was worked on exactly once."""
    table = np.zeros(n, np.int64)
    function("test_add_indices")(table.ctypes.data, n)
    return table


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 4097])
def test_every_index_once(n, n_threads):
    with threads.threads(n_threads):
        for _ in range(20):
            np.testing.assert_array_equal(indices(n), np.arange(n))


@pytest.mark.parametrize("n", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2_500_000])
def test_many_indices_are_claimed_in_blocks(n):
    np.testing.assert_array_equal(indices(n), np.arange(n))


def test_nested_loops():
    n = 50
    table = np.zeros((n, n), np.int64)
    job = (ctypes.c_int64 * 2)(n, table.ctypes.data)
    with threads.threads(4):
        for _ in range(20):
            function("test_rows")(ctypes.addressof(job), n)
    np.testing.assert_array_equal(table, np.tile(20 * np.arange(n), (n, 1)))


def test_several_python_threads():
    wrong = []

    def work():
        for _ in range(300):
            if not np.array_equal(indices(64), np.arange(64)):
                wrong.append(1)
    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_workers_that_slept_wake_up():
    for _ in range(5):
        time.sleep(0.02)
        np.testing.assert_array_equal(indices(1000), np.arange(1000))


def test_limits():
    before = threads.thread_count()
    with threads.threads(3):
        assert threads.thread_count() == 3
        with threads.threads(1):
            assert threads.thread_count() == 1
        assert threads.thread_count() == 3
    assert threads.thread_count() == before
    for bad in (0, -1, 10_000):
        with pytest.raises(ValueError), threads.threads(bad):
            pass


def test_setting():
    before = config.threads
    config.update("threads", 5)
    try:
        assert threads.thread_count() == 5
    finally:
        config.update("threads", before)
    assert run_python("from tracejit.runtime import threads; print(threads.thread_count())", TRACEJIT_THREADS="3") == "3\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" \
           "from tracejit.runtime import threads; print(threads.thread_count())"
    assert run_python(code) == "1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork():
    with threads.threads(3):
        indices(1000)
        assert threads.pool.workers.value >= 2
        child = os.fork()
        if child == 0:
            started_without = threads.pool.workers.value == 0
            right = all(np.array_equal(indices(1000), np.arange(1000)) for _ in range(50))
            os._exit(0 if started_without and right and threads.pool.workers.value == 2 else 1)
        np.testing.assert_array_equal(indices(1000), np.arange(1000))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


FORK_WHILE_WORKING = """
import os, signal, threading, time
thread = threading.Thread(target=work); thread.start()
codes = []
for k in range(forks):
    time.sleep(pause + 0.3 * pause * k)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if works(k) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop = True
thread.join()
print(set(codes))
"""
FORK_WHILE_BUSY = """
import sys
sys.path.insert(0, "tests")
import numpy as np
import test_threads as t
stop = False
def work():
    while not stop:
        t.indices(3000)
forks, pause, works = 20, 0, lambda k: np.array_equal(t.indices(3000), np.arange(3000))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_another_thread_uses_the_pool():
    assert run_python(FORK_WHILE_BUSY + FORK_WHILE_WORKING, TRACEJIT_THREADS="3", PYTHONWARNINGS="ignore") == "{0}\n"


MULTIPROCESSING = """
import sys, multiprocessing
sys.path.insert(0, "tests")
import test_threads as t
def work(n):
    return int(t.indices(n).sum())
if __name__ == "__main__":
    t.indices(100)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, [10, 1000, 5000]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_multiprocessing():
    expected = [n * (n - 1) // 2 for n in (10, 1000, 5000)]
    assert run_python(MULTIPROCESSING, PYTHONWARNINGS="ignore") == f"{expected}\n"


OTHER_SLEEP = """
import sys, time
sys.path.insert(0, "tests")
from tracejit.runtime import threads_text
import numpy as np
threads_text.TEXT = threads_text.text_of(threads_text.{kind})
import test_threads as t
from tracejit.runtime import threads
with threads.threads({n}) if "{kind}" != "SERIAL" else threads.threads(1):
    for _ in range(200):
        assert np.array_equal(t.indices(500), np.arange(500))
    for _ in range(3):
        time.sleep(0.02)
        assert np.array_equal(t.indices(500), np.arange(500))
    print(threads.pool.workers.value)
"""


@pytest.mark.parametrize("kind, workers", [("CONDITION", 3), ("SERIAL", 0)])
def test_the_other_ways_to_sleep(kind, workers):
    assert run_python(OTHER_SLEEP.format(kind=kind, n=4)) == f"{workers}\n"


def test_all_texts_compile():
    for sleep in (threads_text.FUTEX, threads_text.CONDITION, threads_text.SERIAL):
        assert llvm.compile_module(native.expand(threads_text.text_of(sleep), threads_text.CONSTANTS))


# --- Ctrl-C --------------------------------------------------------------------------------------------

def spinning(released: bool):
    code = Executable(cache.load_module(SPIN)["test_spin"], [], [], long_running=released)
    f = Jitted(lambda: code.run([]))
    f.add_entry((), code, None)
    return f


INTERRUPT = """
import os, signal, sys, threading, time
sys.path.insert(0, "tests")
import test_threads as t
{setup}
f = t.spinning({released})
thread = threading.Thread(target=lambda: (time.sleep({delay}), os.kill(os.getpid(), signal.SIGINT)), daemon=True)
{run}
"""
# The signal is let off inside of `try`: on a busy machine it may come before the loop has begun.
CATCH = """
for _ in range(1):
    try:
        thread.start()
        print("ready", flush=True)
        f()
    except KeyboardInterrupt:
        print("interrupted", t.threads.pool.interrupt.value)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("setup", ["", "signal.signal(signal.SIGINT, signal.default_int_handler)"])
def test_interrupt_stops_a_compiled_loop(setup):
    assert run_python(INTERRUPT.format(setup=setup, released=True, delay=0.3, run=CATCH)) == "ready\ninterrupted 0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_from_another_process_with_the_gil_held():
    code = INTERRUPT.format(setup="", released=False, delay=1e9, run=CATCH)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                               cwd=os.path.dirname(os.path.dirname(__file__)))
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert rest == "interrupted 0\n" and process.returncode == 0


HANDLER = """
seen = []
def handler(number, frame):
    seen.append(number)
    if len(seen) == 2:
        raise ZeroDivisionError
signal.signal(signal.SIGINT, handler)
"""
TWICE = """
def interrupt():
    while len(seen) < 2:  # again and again: signals that come close together count once
        time.sleep({delay})
        os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Thread(target=interrupt, daemon=True).start()
    f()
except ZeroDivisionError:
    print("raised")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_users_handler_runs_inside_the_loop_and_decides():
    assert run_python(INTERRUPT.format(setup=HANDLER, released=True, delay=0.2, run=TWICE.format(delay=0.2))) == "raised\n"


FOREIGN_HANDLER = """
@test_below = global ptr null
@test_calls = global i32 0
define void @test_handler(i32 %number) {
  %old = atomicrmw add ptr @test_calls, i32 1 seq_cst
  %below = load ptr, ptr @test_below
  call void %below(i32 %number)
  ret void
}
"""
CHAIN = """
import ctypes
made = t.cache.load_module(t.FOREIGN_HANDLER)
libc = ctypes.CDLL(None)
libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
ctypes.c_void_p.from_address(made["test_below"]).value = libc.signal(signal.SIGINT, made["test_handler"])
calls = ctypes.c_int.from_address(made["test_calls"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_foreign_handler_that_calls_ours():
    code = INTERRUPT.format(setup=CHAIN, released=True, delay=0.2, run=CATCH + "\nprint(calls.value)")
    assert run_python(code) == "ready\ninterrupted 0\n1\n"


def test_interrupt_outside_compiled_code_is_pythons():
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    f8 = ArrayType((), np.dtype("float32"))
    code = Executable(entry("define i32 @{name}(ptr %i, ptr %o, ptr %a) {{\n  ret i32 0\n}}", "test_nothing"), [], [f8])
    assert code.run([])[0].shape == ()


FORK_WHILE_COMPILING = """
import numpy as np
import tracejit as tj, tracejit.numpy as jnp
tj.config.update("enable_compilation_cache", False)
stop = False
def work(i=0):
    while not stop:
        i += 1
        tj.jit(lambda x: jnp.sum(jnp.sin(x) * i))(np.ones(100, "f"))
        jnp.ones(i) + 1
works = lambda k: tj.jit(lambda x: jnp.cos(x) + k)(0.) == 1 + k and (jnp.ones(2 + k) + 1)[0] == 2
forks, pause = 6, 0.01      # the first fork comes while the compiler's modules are loaded
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_another_thread_compiles():
    assert run_python(FORK_WHILE_COMPILING + FORK_WHILE_WORKING, PYTHONWARNINGS="ignore") == "{0}\n"

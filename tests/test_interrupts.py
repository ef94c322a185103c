"""Ctrl-C in compiled loops of every kind, and what a user's handler that goes on finds: the loop as it was."""
from __future__ import annotations

import sys

import pytest
from runtime_harness import run_python

from tracejit.runtime import array

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
              pytest.mark.skipif(not array.is_native, reason="only native code is interrupted")]

SETUP = """
import os, signal, threading, time
import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

def press(after):
    threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

x, wide = jnp.ones(8), jnp.ones(100_000)
"""
LOOPS = """
loops = {
    "in registers": (lambda x: lax.fori_loop(0, 10**12, lambda i, c: c * 0.5 + 1, x), x),
    "as long as an argument says": (lambda n: lax.fori_loop(0, n, lambda i, c: c * 0.5 + 1, x), jnp.int32(2**31 - 1)),
    "over many lanes": (lambda x: lax.fori_loop(0, 10**9, lambda i, c: jnp.sin(c), x), wide),
    "that changes an array": (lambda x: lax.fori_loop(0, 10**12, lambda i, c: c.at[i % 8].add(1), x), x),
    "without an end": (lambda x: lax.while_loop(lambda c: c[0] > 0, lambda c: c * 0.5 + 1, x), x),
    "without an end in some lanes": (tj.vmap(lambda x: lax.while_loop(lambda c: c > 0, lambda c: c * 0.5 + 1, x)), x),
    "within a loop": (lambda x: lax.fori_loop(0, 10**6, lambda i, c: lax.fori_loop(0, 10**9, lambda j, c: c * 0.5 + i, c), x), x),
    "within a loop that may not end": (lambda x: lax.while_loop(lambda c: c[0] > 0, lambda c: lax.fori_loop(0, 3, lambda j, c: c + 1, c), x), x),
    "that may not end, within a loop": (lambda x: lax.fori_loop(0, 10**6, lambda i, c: lax.while_loop(lambda c: c[0] > 0, lambda c: c + i, c), x), x),
    "of trips side by side": (lambda x: lax.map(lambda v: lax.fori_loop(0, 10**7, lambda i, c: c * 0.5 + v, 1.), x), jnp.ones(10_000)),
    "of products": (lambda x: lax.fori_loop(0, 10**9, lambda i, c: jnp.tanh(c @ c), x), jnp.ones((40, 40))),
}
for name, (f, given) in loops.items():
    f = tj.jit(f)
    f.lower(given).compile()
    try:
        press(0.1)
        f(given)
        print(name, "came to an end")
    except KeyboardInterrupt:
        pass
print(tj.jit(lambda x: lax.fori_loop(0, 10**5, lambda i, c: c * 0.5 + 1, x))(x)[0])
"""


def test_ctrl_c_stops_loops():
    assert run_python(SETUP + LOOPS, timeout=240).strip() == "2.0"


GOES_ON = """
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
count = 30_000_000
loops = [
    (lambda n: lax.fori_loop(0, n, lambda i, c: (c[0] + 1, c[1] ^ c[0]), (jnp.int32(0), jnp.int32(0))), jnp.int32(count)),
    (lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] ^ c[0]), (jnp.int32(0), jnp.int32(0))), jnp.int32(count)),
    (lambda n: lax.fori_loop(0, n, lambda i, c: c.at[i % 4].add(1), jnp.zeros(4, "int32")), jnp.int32(count)),
]
for f, n in loops:
    f = tj.jit(f)
    wanted = [x.tolist() for x in f(n)]
    seen.clear()
    for _ in range(20):
        press(0.01)
        again = [x.tolist() for x in f(n)]
        assert again == wanted, (again, wanted)
        if seen:
            break
    assert seen
print("the same")
"""


def test_loops_go_on_where_the_handler_returns():
    assert run_python(SETUP + GOES_ON, timeout=240).strip() == "the same"


IN_A_THREAD = """
f = tj.jit(lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] ^ c[0]), (jnp.int32(0), jnp.int32(0)))[0])
f(jnp.int32(3))
done = []
thread = threading.Thread(target=lambda: done.append(int(f(jnp.int32(300_000_000)))))
thread.start()
time.sleep(0.05)
try:
    press(0.05)
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    pass
thread.join()
print(done)
"""


def test_loops_of_other_threads_go_on():
    """Only the main thread is interrupted: one that had seen Ctrl-C began its loop anew for ever."""
    assert run_python(SETUP + IN_A_THREAD, timeout=240).strip() == "[300000000]"

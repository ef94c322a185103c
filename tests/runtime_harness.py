"""Small entry points in LLVM text, and the Arrays to call them with, for the tests of the runtime."""
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from tracejit.ir.types import ArrayType
from tracejit.runtime import array, cache
from tracejit.runtime.executable import Executable

F8 = ArrayType((8,), np.dtype("float32"))
F0 = ArrayType((), np.dtype("float32"))

HEAD = "define i32 @{name}(ptr %ins, ptr %outs, ptr %arena) {{\nentry:\n"
LOADS = "".join(f"  %p{i} = getelementptr ptr, ptr %ins, i64 {i}\n  %a{i} = load ptr, ptr %p{i}\n"
                f"  %x{i} = load <8 x float>, ptr %a{i}, align 4\n" for i in range(2))

ADD = HEAD + LOADS + """  %o = load ptr, ptr %outs
  %z = fadd <8 x float> %x0, %x1
  store <8 x float> %z, ptr %o, align 4
  ret i32 0
}}
"""
ADD_AND_SUBTRACT = HEAD + LOADS + """  %o0 = load ptr, ptr %outs
  %po = getelementptr ptr, ptr %outs, i64 1
  %o1 = load ptr, ptr %po
  %z = fadd <8 x float> %x0, %x1
  %w = fsub <8 x float> %x0, %x1
  store <8 x float> %z, ptr %o0, align 4
  store <8 x float> %w, ptr %o1, align 4
  ret i32 0
}}
"""
SUM_OF_SCALARS = HEAD + """  %a0 = load ptr, ptr %ins
  %p1 = getelementptr ptr, ptr %ins, i64 1
  %a1 = load ptr, ptr %p1
  %o = load ptr, ptr %outs
  %x = load {kind}, ptr %a0
  %y = load {kind}, ptr %a1
  %z = {op} {kind} %x, %y
  store {kind} %z, ptr %o
  ret i32 0
}}
"""
FAIL = HEAD + "  ret i32 {code}\n}}\n"
COPY_INPUT_POINTERS = HEAD + """  br label %loop
loop:
  %i = phi i64 [0, %entry], [%i1, %next]
  %more = icmp ult i64 %i, {n}
  br i1 %more, label %next, label %done
next:
  %pi = getelementptr ptr, ptr %ins, i64 %i
  %a = load ptr, ptr %pi
  %po = getelementptr ptr, ptr %outs, i64 %i
  %o = load ptr, ptr %po
  %v = load i32, ptr %a
  store i32 %v, ptr %o
  %i1 = add i64 %i, 1
  br label %loop
done:
  ret i32 0
}}
"""


def entry(text: str, name: str, **parts: object) -> int:
    """The address of an entry point; names must differ where texts do."""
    return cache.load_module(text.format(name=name, **parts))[name]


def add(**options: object) -> Executable:
    return Executable(entry(ADD, "test_add"), [F8, F8], [F8], **options)


def add_and_subtract(**options: object) -> Executable:
    return Executable(entry(ADD_AND_SUBTRACT, "test_add_subtract"), [F8, F8], [F8, F8], **options)


def copies(n: int) -> Executable:
    """Output i is input i, for rank-0 float32."""
    return Executable(entry(COPY_INPUT_POINTERS, f"test_copies_{n}", n=n), [F0] * n, [F0] * n)


def f8(start: float = 0.0) -> object:
    return array.from_numpy(np.arange(8, dtype=np.float32) + np.float32(start))


def scalar(x: float) -> object:
    return array.from_numpy(np.float32(x))


def run_python(code: str, timeout: float = 60, **environment: str) -> str:
    """What a fresh interpreter prints for `code`; AssertionError if it fails."""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=timeout, cwd=os.path.dirname(os.path.dirname(__file__)))
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

"""A kernel -> how many instructions its elements take, counted by emitting each of its operations once."""
from __future__ import annotations

import functools
import math
import re

import numpy as np

from tracejit.codegen.cpu.builder import Builder, Module
from tracejit.codegen.cpu.isa import Isa
from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import APPLY, CONST, METHOD, ROW, Dependence, Expr

FREE = re.compile(r"= (bitcast|phi|extract|insert|shuffle)|= call .*@(?!llvm\.)")   # calls are rare paths, out of line
MULTIPLY = re.compile(r"= (fmul|call .*@llvm\.(fma|fmuladd)\.)")
SLOW = re.compile(r"= (fdiv|frem|[us]div|[us]rem|call .*@llvm\.sqrt)")


def counts(kernel: Kernel, isa: Isa) -> tuple[float, float, float, float]:
    """(operations on elements, an elementary function being one; instructions; multiplications and divisions among these).

    Each expression counts once for every point of the axes that it depends on. Instructions count as so many on one float32.
    """
    depends, outside, found = Dependence(kernel.passed_on), set(), np.zeros(4)
    for stage in kernel.stages:
        stores = [s.expr for s in stage.stores + stage.row_stores]
        folded = [e for fold in stage.folds + stage.column_folds for e in fold.states]
        for e in within(stores + folded):
            if e.kind not in (APPLY, METHOD) or e in outside:
                continue
            axes = depends(e)
            inner = [a.size for a in kernel.fold_axes if a in axes]
            if len(inner) < len(kernel.fold_axes):
                outside.add(e)      # later stages find it computed
            rows = [a.size for a in kernel.row_axes if a in axes or ROW in axes]
            found += math.prod(inner + rows) * np.array([1, *cost(e, isa)])
        for e in folded:
            found += kernel.size * np.array([1, weight(e.dtype), 0, 0])
    return tuple(map(float, found))


def within(roots: list[Expr]) -> set[Expr]:
    """The expressions that these consist of, each once."""
    seen, stack = set(), list(roots)
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            stack += e.args
    return seen


def cost(e: Expr, isa: Isa) -> tuple[float, float, float]:
    return instructions_of(e.data, tuple(a.dtype for a in e.args), bool(e.args) and e.args[-1].kind == CONST, isa)


def weight(dtype: np.dtype) -> float:
    """Of an instruction, where one on float32 has 1: how many elements fit into a vector."""
    return dtype.itemsize / 4


@functools.lru_cache(maxsize=4096)
def instructions_of(what, dtypes: tuple[np.dtype, ...], by_constant: bool, isa: Isa) -> tuple[float, float, float]:
    """(all, multiplications, divisions and roots) of an op, or of a method of the Builder, (name, further arguments).

    A division by a constant is a multiplication.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> from tracejit.lax.elementwise import Mul
    >>> instructions_of(Mul(), (np.dtype("f4"), np.dtype("f4")), False, host_isa())
    (1.0, 1.0, 0.0)
    """
    widest = max(dtypes, key=lambda t: t.itemsize, default=np.dtype("f4"))
    if any(t.kind == "c" for t in dtypes):
        return weight(widest), 0.0, 0.0
    lanes = isa.lanes(widest) if dtypes else 1
    b = Builder(Module(isa, shared={}), "counted", [(f"x{k}", t, "", lanes) for k, t in enumerate(dtypes)])
    if isinstance(what, tuple):
        getattr(b, what[0])(*b.params, *what[1])
    else:
        what.scalar(b, *b.params)
    lines = [line for line in b._lines if " = " in line and not FREE.search(line)]
    times, over = (sum(pattern.search(line) is not None for line in lines) for pattern in (MULTIPLY, SLOW))
    slow = 0 if by_constant else over
    return len(lines) * weight(widest), times * weight(widest), slow * max(weight(widest), 1.0)

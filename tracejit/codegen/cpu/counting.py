"""A kernel -> how many instructions its elements take, counted by emitting each of its operations once."""
from __future__ import annotations

import functools
import math
import re

import numpy as np

from tracejit.codegen.cpu.builder import Builder, Module
from tracejit.codegen.cpu.isa import Isa
from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import APPLY, METHOD, Expr

DIVISION = 10       # multiply-adds that fit into the time of a division or a root
COMPLEX = 4         # operations on real numbers for one on complex numbers
FREE = re.compile(r"= (bitcast|phi|extract|insert|shuffle)|= call .*@(?!llvm\.)")   # calls are rare paths, out of line
SLOW = re.compile(r"= (fdiv|frem|[us]div|[us]rem|call .*@llvm\.sqrt)")


def operations(kernel: Kernel) -> float:
    """Operations on elements, an elementary function being one of them."""
    return total(kernel, lambda e: e.kind in (APPLY, METHOD))


def instructions(kernel: Kernel, isa: Isa) -> float:
    """The same in instructions, as if each were on one element; a division counts as what it takes the time of."""
    return total(kernel, lambda e: instructions_of(e.data, tuple(a.dtype for a in e.args), isa)
                 if e.kind in (APPLY, METHOD) else 0)


def total(kernel: Kernel, cost) -> float:
    """The sum over all points of what the expressions cost: those of a row once per row."""
    rows, points = math.prod(a.size for a in kernel.row_axes), kernel.size
    found = 0.0
    for stage in kernel.stages:
        full = [s.expr for s in stage.stores] + [e for fold in stage.folds for e in fold.states]
        found += points * (sum(map(cost, within(full))) + sum(len(fold.states) for fold in stage.folds))
        found += rows * sum(map(cost, within([s.expr for s in stage.row_stores])))
    return found


def within(roots: list[Expr]) -> set[Expr]:
    """The expressions that these consist of, each once."""
    seen, stack = set(), list(roots)
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            stack += e.args
    return seen


@functools.lru_cache(maxsize=4096)
def instructions_of(what, dtypes: tuple[np.dtype, ...], isa: Isa) -> float:
    """Of an op, or of a method of the Builder, (name, further arguments), on operands of these dtypes.

    >>> from tracejit.codegen.cpu.isa import host_isa
    >>> from tracejit.lax.elementwise import Mul
    >>> instructions_of(Mul(), (np.dtype("f4"), np.dtype("f4")), host_isa())
    1.0
    """
    if any(t.kind == "c" for t in dtypes):
        return float(COMPLEX)
    lanes = isa.lanes(max(dtypes, key=lambda t: t.itemsize)) if dtypes else 1
    b = Builder(Module(isa, shared={}), "counted", [(f"x{k}", t, "", lanes) for k, t in enumerate(dtypes)])
    if isinstance(what, tuple):
        getattr(b, what[0])(*b.params, *what[1])
    else:
        what.scalar(b, *b.params)
    lines = [line for line in b._lines if " = " in line and not FREE.search(line)]
    return float(sum(DIVISION if SLOW.search(line) else 1 for line in lines))

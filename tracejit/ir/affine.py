"""Integers that are affine in the loop axes, worked out while compiling: what they are sums of, and what their ranges decide.

    add(index i, 1) -> index i + 1;    i in 0 .. 9: lt(index i, 0) -> False, select(lt(index i, 0), a, b) -> b
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tracejit.ir.loops import Expr, Index

TESTS: dict[str, Callable[[int, int], bool | None]] = {     # of the range of x - y
    "lt": lambda lo, hi: True if hi < 0 else False if lo >= 0 else None,
    "le": lambda lo, hi: True if hi <= 0 else False if lo > 0 else None,
    "gt": lambda lo, hi: True if lo > 0 else False if hi <= 0 else None,
    "ge": lambda lo, hi: True if lo >= 0 else False if hi < 0 else None,
    "eq": lambda lo, hi: True if lo == hi == 0 else False if lo > 0 or hi < 0 else None,
    "ne": lambda lo, hi: False if lo == hi == 0 else True if lo > 0 or hi < 0 else None,
}


def known(name: str, args: Sequence[Expr], dtype: np.dtype) -> Index | bool | Expr | None:
    """What an operation gives that needs no computing: an index, a truth value, one of its operands; None if it must run."""
    if name in ("select", "select_n") and args[0].truth is not None:
        _, no, yes = args if name == "select_n" else (args[0], args[2], args[1])
        return yes if args[0].truth else no
    if name in ("and", "and_") and dtype.kind == "b":
        decided = next((k for k in (0, 1) if args[k].truth is not None), None)
        return None if decided is None else args[1 - decided] if args[decided].truth else False
    numbers = [e.number for e in args]
    if any(n is None for n in numbers) or not any(n.terms for n in numbers):
        return None
    if name in TESTS:
        return TESTS[name](*(numbers[0] - numbers[1]).range)
    found = result_of(name, numbers)
    return found if found is not None and dtype.kind in "iu" and fits(found, dtype) else None


def result_of(name: str, numbers: list[Index]) -> Index | None:
    if name in ("convert", "convert_element_type"):
        return numbers[0]
    if name == "neg":
        return -numbers[0]
    if name in ("add", "sub"):
        return numbers[0] + numbers[1] if name == "add" else numbers[0] - numbers[1]
    if name == "mul" and not all(n.terms for n in numbers):
        x, factor = numbers if not numbers[1].terms else numbers[::-1]
        return x * factor.const
    return None


def fits(index: Index, dtype: np.dtype) -> bool:
    """Whether no value of an index would wrap around."""
    lo, hi = index.range
    return np.iinfo(dtype).min <= lo and hi <= np.iinfo(dtype).max

"""log(exp(x) + exp(y)) of real and complex numbers, without overflow, made of other operations."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracejit.ir.types import is_complex, type_of
from tracejit.lax.bits import bitwise_and
from tracejit.lax.broadcast import full_like
from tracejit.lax.compare import eq, gt, select
from tracejit.lax.elementary import exp, log1p
from tracejit.lax.elementwise import abs, add, complex, div, imag, mul, real, round, sub


def larger_and_gap(x: Any, y: Any) -> tuple[Any, Any]:
    """(the larger, smaller - larger), complex numbers by their real parts; equal infinities have gap 0, no nan."""
    keys = (real(x), real(y)) if is_complex(type_of(x).dtype) else (x, y)
    first = gt(*keys)
    large, small, key = select(first, x, y), select(first, y, x), select(first, *keys)
    same = bitwise_and(eq(large, small), eq(abs(key), full_like(key, np.inf)))
    return large, sub(select(same, full_like(small, 0), small), select(same, full_like(large, 0), large))


def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)) of operands of one type; imaginary parts in [-pi, pi]."""
    large, gap = larger_and_gap(x, y)
    total = add(large, log1p(exp(gap)))
    return complex(real(total), wrapped(imag(total))) if is_complex(type_of(total).dtype) else total


def wrapped(angle: Any) -> Any:
    turn = full_like(angle, 2 * math.pi)
    return sub(angle, mul(round(div(angle, turn)), turn))

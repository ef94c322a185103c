"""Small matrix algebra on stacks of matrices (the last two axes), in which derivative rules are written."""
from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.ir.types import is_complex, type_of
from tracejit.lax.broadcast import broadcast_in_dim, broadcasted_iota
from tracejit.lax.compare import eq, ge, le, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.dot import dot_general
from tracejit.lax.elementwise import add, complex, conj, imag, real
from tracejit.lax.shape import transpose


def matmul(x: Any, y: Any):
    """x @ y for stacks with the same leading axes."""
    n = type_of(x).ndim
    lead = tuple(range(n - 2))
    return dot_general(x, y, (((n - 1,), (n - 2,)), (lead, lead)), "highest")


def swapped(x: Any):
    """The transposed matrices."""
    n = type_of(x).ndim
    return transpose(x, (*range(n - 2), n - 1, n - 2))


def conjugated(x: Any):
    return conj(x) if is_complex(type_of(x).dtype) else x


def adjoint(x: Any):
    """The conjugate transposed matrices."""
    return conjugated(swapped(x))


def real_part(x: Any):
    return real(x) if is_complex(type_of(x).dtype) else x


def imaginary_part(x: Any):
    """i * imag(x), zero for real x."""
    return complex(zeros_like(real(x)), imag(x))


def zeros_like(x: Any):
    t = type_of(x)
    return broadcast_in_dim(np.zeros((), t.dtype), t.shape, ())


def row_and_column(x: Any) -> tuple:
    """The row and the column number of every element, int32 of x's shape."""
    shape = type_of(x).shape
    return tuple(broadcasted_iota(np.int32, shape, len(shape) - k) for k in (2, 1))


def lower(x: Any, k: int = 0):
    """Elements on and below diagonal k, zeros above."""
    row, column = row_and_column(x)
    return select(le(column, add(row, np.int32(k))), x, zeros_like(x))


def upper(x: Any, k: int = 0):
    """Elements on and above diagonal k, zeros below."""
    row, column = row_and_column(x)
    return select(ge(column, add(row, np.int32(k))), x, zeros_like(x))


def is_diagonal(x: Any):
    row, column = row_and_column(x)
    return eq(row, column)


def diagonal_part(x: Any):
    """x with zeros off the diagonal."""
    return select(is_diagonal(x), x, zeros_like(x))


def identity_like(x: Any):
    return convert_element_type(is_diagonal(x), type_of(x).dtype)


def as_rows(v: Any, like: Any):
    """v[..., j] repeated for every row i of `like`."""
    n = type_of(like).ndim
    return broadcast_in_dim(v, type_of(like).shape, (*range(n - 2), n - 1))


def as_columns(v: Any, like: Any):
    """v[..., i] repeated for every column j of `like`."""
    return broadcast_in_dim(v, type_of(like).shape, tuple(range(type_of(like).ndim - 1)))

"""Maps arrays to text, and objects to the answer whether they are scalars or can be iterated over."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.numpy.promotion import Array, Var

get_printoptions = np.get_printoptions
printoptions = np.printoptions
set_printoptions = np.set_printoptions


def array_repr(
    arr: Any, max_line_width: int | None = None, precision: int | None = None, suppress_small: bool | None = None
) -> str:
    """The text of repr(arr).

    >>> jnp.array_repr(jnp.array([1, 2]))
    'Array([1, 2], dtype=int32)'
    """
    if max_line_width is precision is suppress_small is None:
        return repr(arr)
    with np.printoptions(**_given(linewidth=max_line_width, precision=precision, suppress=suppress_small)):
        return repr(arr)


def array_str(
    a: Any, max_line_width: int | None = None, precision: int | None = None, suppress_small: bool | None = None
) -> str:
    """The text of str(a).

    >>> jnp.array_str(jnp.array([1, 2]))
    '[1 2]'
    """
    return np.array_str(np.asarray(a), max_line_width, precision, suppress_small)


def _given(**options: Any) -> dict:
    return {k: v for k, v in options.items() if v is not None}


def isscalar(element: Any) -> bool:
    """Whether a scalar, or an array without axes.

    >>> jnp.isscalar(jnp.array(1)), jnp.isscalar([1])
    (True, False)
    """
    if isinstance(element, (Array, Var)) or hasattr(element, "__jax_array__"):
        return np.ndim(element) == 0
    return np.isscalar(element) or (isinstance(element, np.ndarray) and element.ndim == 0)


def iterable(y: Any) -> bool:
    """Whether y can be iterated over; an array without axes cannot.

    >>> jnp.iterable([1]), jnp.iterable(jnp.array(1))
    (True, False)
    """
    return len(y.shape) > 0 if isinstance(y, (Array, Var)) else np.iterable(y)

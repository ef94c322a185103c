"""Taylor mode: derivatives of several orders along a curve.

For inputs x(t) with given derivatives at t = 0, the derivatives of ``fun(x(t))`` there, by forward mode in t, nested once per
order: the work grows as two to the order.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tracejit.numpy as jnp
from tracejit import jvp
from tracejit.ir.float0 import is_float0
from tracejit.ir.types import is_weak
from tracejit.numpy.promotion import convert
from tracejit.tree_util import tree_leaves, tree_map


def jet(fun: Callable, primals: Sequence, series: Sequence[Sequence], factorial_scaled: bool = True, **_: Any):
    """``(value, [first, second, ...])``: fun at the primals and its derivatives along the curve that ``series`` gives.

    Where fun returns a pytree, each leaf has its list of derivatives.

    Args:
      fun: a function of arrays (or pytrees of arrays), one per primal, that returns such.
      primals: where the curve is at t = 0.
      series: for each primal its derivatives in t at 0, of order 1, 2, ..., all the same number of them.
      factorial_scaled: derivatives as they are; if False, Taylor coefficients (derivatives over factorials) in and out.

    Raises ValueError unless there are as many series as primals, of one length.

    >>> value, (first, second) = jet(jnp.sin, (0.0,), ((1.0, 0.0),))
    >>> print(value, first, second)
    0.0 1.0 -0.0
    """
    orders = {len(terms) for terms in series}
    if len(primals) != len(series) or len(orders) != 1:
        raise ValueError("jet terms have inconsistent lengths for different arguments: jet takes a series for each of "
                         f"{len(primals)} primals, all of one length, got lengths {[len(terms) for terms in series]}")
    (order,) = orders
    scale = [1 / math.factorial(k) if factorial_scaled else 1.0 for k in range(1, order + 1)]

    def along_curve(t):
        return fun(*(point(x, terms, t) for x, terms in zip(primals, series)))

    def point(x, terms, t):
        def add(x, *terms):
            return sum((term * (c * t**k).astype(jnp.result_type(x, float))
                        for k, (term, c) in enumerate(zip(terms, scale), 1)), jnp.asarray(x, jnp.result_type(x, float)))
        return tree_map(add, x, *terms)

    start = jnp.zeros((), jnp.result_type(float, *(leaf for leaf in tree_leaves(primals))))
    value, *terms = derivatives(along_curve, start, order)
    if not factorial_scaled:
        terms = [tree_map(lambda x, k=k: x / math.factorial(k), term) for k, term in enumerate(terms, 1)]
    if all(is_weak(leaf) for leaf in tree_leaves((primals, series))):
        value, *terms = (tree_map(lambda x: convert(x, x.dtype, weak=True), term) for term in (value, *terms))
    return value, tree_map(lambda _, *derivatives: [*derivatives], value, *terms)


def zero_of_integers(slope: Any, value: Any) -> Any:
    """A derivative as an array that can be returned and computed with."""
    return jnp.zeros_like(value) if is_float0(slope) else slope


def derivatives(function, t, order: int) -> list:
    """The value and the first derivatives of a function of a scalar."""
    def with_derivatives(function, order):
        if order == 0:
            return lambda t: [function(t)]
        lower = with_derivatives(function, order - 1)

        def both(t):
            values, slopes = jvp(lower, (t,), (jnp.ones_like(t),))
            return [*values, tree_map(zero_of_integers, slopes[-1], values[-1])]
        return both

    return with_derivatives(function, order)(t)

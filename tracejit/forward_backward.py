"""A function -> its forward and its backward pass as two compiled functions, for loops that keep them apart."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.runtime.jit import jit
from tracejit.transforms.derivatives import vjp


def fwd_and_bwd(fun: Callable, argnums: int | Sequence[int], has_aux: bool = False, jitted: bool = True
                ) -> tuple[Callable, Callable]:
    """(fwd, bwd) with fwd(*args) -> (value, residuals[, aux]) and bwd(residuals, cotangent) -> cotangents of the
    arguments at argnums; each is compiled once, unless jitted is False.

    >>> fwd, bwd = fwd_and_bwd(lambda x, y: x * y, argnums=1)
    >>> value, residuals = fwd(3., 2.)
    >>> bwd(residuals, 1.)
    Array(3., dtype=float32, weak_type=True)
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def fwd(*args: Any, **kwargs: Any) -> tuple:
        def of_some(*some: Any) -> Any:
            full = list(args)
            for i, x in zip(numbers, some):
                full[i] = x
            return fun(*full, **kwargs)
        return vjp(of_some, *[args[i] for i in numbers], has_aux=has_aux)

    def bwd(residuals: Callable, ct: Any) -> Any:
        cts = residuals(ct)
        return cts[0] if isinstance(argnums, int) else cts
    return (jit(fwd), jit(bwd)) if jitted else (fwd, bwd)

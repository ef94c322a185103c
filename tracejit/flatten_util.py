"""A pytree of arrays <-> one vector."""
from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import tracejit.numpy as jnp
from tracejit.errors import ShapeError, filtered
from tracejit.tree_util import tree_flatten


@filtered
def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The leaves raveled into one vector of their common dtype, and the function that undoes it.

    The inverse restores structure, shapes and dtypes; it takes a vector of the same length and raises
    ShapeError for any other.

    >>> import tracejit.numpy as jnp
    >>> vector, unravel = ravel_pytree({"a": jnp.ones((2, 2)), "b": jnp.zeros(3)})
    >>> vector.shape
    (7,)
    >>> unravel(2 * vector)["a"].tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    leaves, treedef = tree_flatten(pytree)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    kinds = [(a.shape, a.dtype, math.prod(a.shape)) for a in arrays]
    ends = list(accumulate(size for _, _, size in kinds))
    total = ends[-1] if ends else 0
    common = jnp.result_type(*arrays) if arrays else jnp.float32

    @filtered
    def unravel(vector: Any) -> Any:
        if jnp.shape(vector) != (total,):
            raise ShapeError(f"unravel: expected a vector of shape ({total},), got {jnp.shape(vector)}")
        parts = [jnp.reshape(vector[end - size:end], shape).astype(dtype)
                 for (shape, dtype, size), end in zip(kinds, ends)]
        return treedef.unflatten(parts)

    parts = [jnp.ravel(a).astype(common) for a in arrays]
    return (jnp.concatenate(parts) if parts else jnp.zeros(0, common)), unravel

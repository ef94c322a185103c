"""Pytrees of arrays <-> one flat vector."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import ShapeError, filtered
from tracejit.tree_util import PyTreeDef, tree_flatten, tree_unflatten


@filtered
def ravel_pytree(pytree):
    """``(flat, unravel)``: all leaves in one vector of their common dtype, and the function that takes it apart again.

    ``unravel`` gives each leaf its shape and dtype back; it takes vectors of the length and dtype of ``flat``.

    >>> import tracejit.numpy as jnp
    >>> flat, unravel = ravel_pytree({'a': jnp.arange(2.), 'b': 3.0})
    >>> print(flat, unravel(2 * flat)['b'])
    [0. 1. 3.] 6.0
    """
    leaves, treedef = tree_flatten(pytree)
    if not leaves:
        return jnp.zeros((0,), jnp.float32), Unravel(treedef, (), (), np.dtype("float32"))
    dtypes = tuple(np.dtype(jnp.result_type(leaf)) for leaf in leaves)
    common = np.dtype(jnp.result_type(*dtypes))
    flat = lax.concatenate([jnp.ravel(jnp.asarray(leaf)).astype(common) for leaf in leaves], 0)
    return flat, Unravel(treedef, tuple(map(np.shape, leaves)), dtypes, common)


@dataclass(frozen=True)
class Unravel:
    """The way from a vector back to a tree; that of another tree of the same form is equal: a static argument of jit."""
    treedef: PyTreeDef
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    common: np.dtype

    @filtered
    def __call__(self, flat: Any) -> Any:
        mixed = len({*self.dtypes}) > 1
        if not self.shapes:
            return tree_unflatten(self.treedef, [])
        if mixed and flat.dtype != self.common:
            raise TypeError(f"unravel function given array of dtype {flat.dtype}, but expected dtype {self.common}")
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        if np.shape(flat) != (sum(sizes),):
            raise ShapeError(f"unravel takes a vector of shape {(sum(sizes),)}, got {np.shape(flat)}")
        ends = np.cumsum([0, *sizes]).tolist()
        parts = [lax.slice_in_dim(flat, ends[i], ends[i + 1]).reshape(shape) for i, shape in enumerate(self.shapes)]
        # Leaves of one dtype come back in the dtype of the vector, so that unravel serves for tangents of other dtypes too.
        return tree_unflatten(self.treedef, [part.astype(t) for part, t in zip(parts, self.dtypes)] if mixed else parts)

"""Sparse arrays with random elements at random places."""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import random
from tracejit.experimental.sparse.bcoo import BCOO
from tracejit.transforms.vmap import vmap


def random_bcoo(key: Any, shape: Sequence[int], *, dtype: Any = float, indices_dtype: Any = None, nse: float = 0.2,
                n_batch: int = 0, n_dense: int = 0, unique_indices: bool = True, sorted_indices: bool = False,
                generator: Callable[..., Any] = random.uniform, **kwds: Any) -> BCOO:
    """A BCOO array with nse elements (a fraction of all, below 1), at places drawn without replacement if they are unique.

    `generator(key, shape=, dtype=, **kwds)` draws the elements.

    >>> from tracejit.experimental import sparse
    >>> sparse.random_bcoo(random.key(0), (4, 5), nse=0.25)
    BCOO(float32[4, 5], nse=5)
    """
    shape = tuple(operator.index(n) for n in shape)
    n_sparse = len(shape) - n_batch - n_dense
    if min(n_batch, n_dense, n_sparse) < 0:
        raise ValueError(f"random_bcoo: the shape {shape} has no room for n_batch={n_batch}, n_dense={n_dense}")
    batch, inner, dense = shape[:n_batch], shape[n_batch:n_batch + n_sparse], shape[n_batch + n_sparse:]
    places = math.prod(inner)
    if not 0 <= nse < places:
        raise ValueError(f"random_bcoo: nse={nse} must be between 0 and {places}")
    many = math.ceil(nse * places) if 0 < nse < 1 else operator.index(nse)
    index_dtype = np.dtype(indices_dtype or np.int32)

    def draw(key: Any) -> Any:
        flat = random.choice(key, places, shape=(many,), replace=not unique_indices).astype(index_dtype)
        return jnp.stack(jnp.unravel_index(flat, inner), 1).astype(index_dtype) if inner else jnp.zeros((many, 0), index_dtype)
    keys = random.split(key, math.prod(batch) + 1)
    data = generator(keys[0], shape=(*batch, many, *dense), dtype=dtype, **kwds)
    indices = vmap(draw)(keys[1:]).reshape(*batch, many, n_sparse)
    mat = BCOO((data, indices), shape=shape)
    return mat.sort_indices() if sorted_indices else mat

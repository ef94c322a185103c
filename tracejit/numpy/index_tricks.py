"""Maps index expressions between brackets to arrays: mgrid, ogrid, r_, c_, s_, index_exp, and ix_."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import default_dtype
from tracejit.numpy.creation import array
from tracejit.numpy.joining import concatenate, stack
from tracejit.numpy.promotion import Array, ArrayLike, as_array, check_arraylike, concrete, promote_dtypes
from tracejit.numpy.ranges import arange, linspace, meshgrid
from tracejit.numpy.selection import nonzero

index_exp = np.index_exp
s_ = np.s_


def _range_of(s: slice, name: str) -> Array:
    """start:stop:step, or start:stop:nj for n points with the end included."""
    start, stop, step = (
        None if v is None else concrete(v, f"the slice {part} of jnp.{name}")[()]
        for part, v in (("start", s.start), ("stop", s.stop), ("step", s.step))
    )
    start = 0 if start is None else start
    if stop is None:
        raise ValueError("index expressions need an end: start:stop:step")
    if step is not None and np.iscomplexobj(step):
        return linspace(_python(start), _python(stop), int(abs(step)))
    return arange(_python(start), _python(stop), 1 if step is None else _python(step))


def _python(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x


class _Grid:
    def __init__(self, name: str, sparse: bool):
        self.name, self.sparse = name, sparse

    def __repr__(self) -> str:
        return f"jnp.{self.name}"

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return _range_of(key, self.name)
        axes = promote_dtypes(self.name, *[_range_of(k, self.name) for k in key])
        grids = meshgrid(*axes, indexing="ij", sparse=self.sparse)
        if self.sparse:
            return grids
        return stack(grids, 0) if grids else array([])


mgrid = _Grid("mgrid", sparse=False)
ogrid = _Grid("ogrid", sparse=True)


class _Joined:
    """r_ and c_: ranges, scalars and arrays joined along an axis; a leading string "axis,ndim,start" says how."""

    def __init__(self, name: str, axis: int, ndmin: int, trans1d: int):
        self.name, self.axis, self.ndmin, self.trans1d = name, axis, ndmin, trans1d

    def __repr__(self) -> str:
        return f"jnp.{self.name}"

    def __getitem__(self, key: Any) -> Array:
        items = list(key) if isinstance(key, tuple) else [key]
        axis, ndmin, trans1d, as_matrix = self.axis, self.ndmin, self.trans1d, None
        if items and isinstance(items[0], str):
            directive = items.pop(0)
            if directive in ("r", "c"):
                as_matrix = "rc".index(directive)
            else:
                axis, ndmin, trans1d = self._numbers(directive)
        joined = concatenate([self._part(item, ndmin, trans1d) for item in items], axis)
        return lax.expand_dims(joined, (as_matrix,)) if as_matrix is not None and joined.ndim == 1 else joined

    def _numbers(self, directive: str) -> list[int]:
        try:
            numbers = [int(n) for n in directive.split(",")][:3]
        except ValueError:
            raise ValueError(f"could not understand directive {directive!r}") from None
        return numbers + [self.axis, self.ndmin, self.trans1d][len(numbers):]

    def _part(self, item: Any, ndmin: int, trans1d: int) -> Array:
        if isinstance(item, str):
            raise ValueError("string directive must be the first entry.")
        x = _range_of(item, self.name) if isinstance(item, slice) else array(item)
        scalar = x.ndim == 0
        own = max(x.ndim, 1)
        x = lax.reshape(x, (1,)) if scalar else x
        if own >= ndmin:
            return x
        missing = ndmin - own
        if scalar:
            return lax.reshape(x, (1,) * ndmin)
        first = trans1d if trans1d >= 0 else missing + 1 + trans1d  # where the item's own axes begin
        return lax.reshape(x, (1,) * first + x.shape + (1,) * (missing - first))


r_ = _Joined("r_", 0, 1, -1)
c_ = _Joined("c_", -1, 2, 0)


def ix_(*args: ArrayLike) -> tuple[Array, ...]:
    """Vectors as an open mesh, which indexes the rows, columns, ... that they name.

    >>> jnp.arange(9).reshape(3, 3)[jnp.ix_(jnp.array([0, 2]), jnp.array([1, 2]))]
    Array([[1, 2],
           [7, 8]], dtype=int32)
    """
    check_arraylike("ix_", *args)
    out = []
    for i, x in enumerate(map(as_array, args)):
        if x.ndim != 1:
            raise ValueError(f"Arguments to jax.numpy.ix_ must be 1-dimensional, got shape {x.shape}")
        if x.dtype.kind == "b":
            x = nonzero(x)[0]
        if x.size == 0:
            x = lax.convert_element_type(x, default_dtype("i"))
        out.append(lax.reshape(x, (1,) * i + x.shape + (1,) * (len(args) - 1 - i)))
    return tuple(out)

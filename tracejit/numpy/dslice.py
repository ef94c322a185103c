"""ds: an index for a slice of known size, whose start may be known only when the program runs."""
from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from tracejit.ir.graph import Var
from tracejit.runtime.array import Array
from tracejit.tree_util import register_pytree_node_class


@register_pytree_node_class
@dataclass(slots=True)
class Slice:
    """`size` elements from `start` on, `stride` apart. To transforms its leaves are those of the two that are arrays."""
    start: Any
    size: Any
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 0:
            raise ValueError("ds: the stride must not be negative")

    @property
    def is_dynamic_start(self) -> bool:
        return isinstance(self.start, (Array, Var))

    @property
    def is_dynamic_size(self) -> bool:
        return isinstance(self.size, (Array, Var))

    def tree_flatten(self) -> tuple[tuple, tuple]:
        moving = (self.is_dynamic_start, self.is_dynamic_size)
        both = (self.start, self.size)
        return tuple(x for x, m in zip(both, moving) if m), (*[None if m else x for x, m in zip(both, moving)], self.stride)

    @classmethod
    def tree_unflatten(cls, fixed: tuple, leaves: tuple) -> Slice:
        given = iter(leaves)
        start, size = (next(given) if x is None else x for x in fixed[:2])
        made = object.__new__(cls)      # unchecked: pytree code rebuilds nodes around placeholders
        made.start, made.size, made.stride = start, size, fixed[2]
        return made

    @classmethod
    def from_slice(cls, slc: slice, size: int) -> Slice:
        """What a slice takes of an axis of this size."""
        start, stop, step = slc.indices(size)
        if step < 1:
            raise ValueError(f"a slice must have a step >= 1 (found: {step})")
        return cls(start, len(range(start, stop, step)), step)


def ds(start: Any, size: Any = None, stride: int | None = None) -> slice | Slice:
    """The index that takes `size` elements from `start` on: x[ds(i, 3)] is x[i:i + 3] for an i that may be traced.

    ds(n) is the first n elements, ds(None) is all of them. Reading moves a slice that does not fit inside; writing drops it.

    >>> import tracejit as tj, tracejit.numpy as jnp
    >>> tj.jit(lambda x, i: x[tj.ds(i, 2)])(jnp.arange(10), 4)
    Array([4, 5], dtype=int32)
    """
    if start is None:
        return slice(None)
    stride = 1 if stride is None else operator.index(stride)
    return Slice(0, start, stride) if size is None else Slice(start, size, stride)

"""What ops that emit their own loops share: offsets, and functions of scalars inside a loop."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.ir.graph import Graph, Lit, replay


def offset_of(b, index: Sequence, shape: Sequence[int]) -> Any:
    """The row-major offset of an index (Values or ints)."""
    offset = b.index(0)
    for i, n in zip(index, shape):
        offset = b.add(b.mul(offset, n), i)
    return offset


def emit_scalars(b, graph: Graph, xs: Sequence) -> list:
    """The results of a graph of elementwise ops on scalars, in native code."""
    value = lambda x: b.const(x.value, x.type.dtype) if isinstance(x, Lit) else x
    apply = lambda eqn, args: [eqn.op.scalar(b, *map(value, args))]
    return [value(x) for x in replay(graph, xs, apply)]


def eval_scalars(graph: Graph, xs: Sequence) -> list[np.ndarray]:
    """The reference meaning of a graph of elementwise ops."""
    value = lambda x: np.asarray(x.value if isinstance(x, Lit) else x)
    apply = lambda eqn, args: [eqn.op.eval(*map(value, args))]
    return [value(x) for x in replay(graph, xs, apply)]

"""Products of rows with the matrix of the group that they belong to, as in a mixture of experts."""
from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.types import type_of
from tracejit.lax.bits import bitwise_and
from tracejit.lax.broadcast import broadcast_in_dim, broadcasted_iota
from tracejit.lax.compare import ge, lt, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.cumulative import cumsum
from tracejit.lax.dot import PrecisionLike, dot_general
from tracejit.lax.elementwise import sub


def ragged_dot(lhs: Any, rhs: Any, group_sizes: Any, precision: PrecisionLike = None,
               preferred_element_type: Any = None, group_offset: Any = None, out_sharding: Any = None):
    """out[i] = lhs[i] @ rhs[g] for the rows i of group g, which follow one another in groups of `group_sizes` rows.

    lhs is m x k, rhs is groups x k x n, group_sizes holds an integer per group; rows beyond the last group give zeros.
    One product does it: each row is put into the columns of its group.

    >>> import numpy as np
    >>> x, w = np.ones((3, 1), "float32"), np.float32([[[10.0]], [[20.0]]])
    >>> np.asarray(ragged_dot(x, w, np.int32([1, 2])))[:, 0]
    array([10., 20., 20.], dtype=float32)
    """
    x, w, sizes = type_of(lhs), type_of(rhs), type_of(group_sizes)
    if x.ndim != 2 or w.ndim != 3 or x.shape[1] != w.shape[1] or sizes.shape != w.shape[:1]:
        raise ShapeError(f"ragged_dot: {x}, {w} and group sizes {sizes} do not have the shapes (m, k), (groups, k, n) and "
                         "(groups,)", fix="give one k x n matrix and one size per group")
    if group_offset is not None:
        raise NotImplementedError("ragged_dot: group_offset is not supported; pass the groups that are there")
    (m, k), groups = x.shape, w.shape[0]
    stop = cumsum(convert_element_type(group_sizes, np.int32))
    start = sub(stop, convert_element_type(group_sizes, np.int32))
    row = broadcasted_iota(np.int32, (m, groups), 0)
    own = bitwise_and(ge(row, broadcast_in_dim(start, (m, groups), (1,))), lt(row, broadcast_in_dim(stop, (m, groups), (1,))))
    spread = broadcast_in_dim(lhs, (m, groups, k), (0, 2))
    zeros = broadcast_in_dim(np.zeros((), x.dtype), (m, groups, k), ())
    rows = select(broadcast_in_dim(own, (m, groups, k), (0, 1)), spread, zeros)
    return dot_general(rows, rhs, (((1, 2), (0, 1)), ((), ())), precision, preferred_element_type)

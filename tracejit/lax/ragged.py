"""Products of rows with the matrix of the group that they belong to, as in a mixture of experts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.errors import ShapeError
from tracejit.ir.types import bfloat16, type_of
from tracejit.lax.bits import bitwise_and
from tracejit.lax.broadcast import broadcast_in_dim, broadcasted_iota
from tracejit.lax.compare import ge, lt, select
from tracejit.lax.convert import convert_element_type
from tracejit.lax.cumulative import cumsum
from tracejit.lax.dot import PrecisionLike, dot_general
from tracejit.lax.dynamic import dynamic_index_in_dim
from tracejit.lax.elementwise import add, mul, sub
from tracejit.lax.index import GatherDimensionNumbers, gather
from tracejit.lax.parallel import all_gather, axis_index, axis_size
from tracejit.lax.shape import index_in_dim, reshape, transpose


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
    return dot_general(spread_over_groups(lhs, 0, group_sizes), rhs, (((1, 2), (1, 0)), ((), ())), precision,
                       preferred_element_type)


@dataclass(frozen=True)
class RaggedDotDimensionNumbers:
    """The axes of ragged_dot_general: those of dot_general, lhs's axis that is cut into groups, rhs's axis of groups."""
    dot_dimension_numbers: Any
    lhs_ragged_dimensions: Sequence[int]
    rhs_group_dimensions: Sequence[int]


def group_mask(group_sizes: Any, m: int) -> Any:
    """m x groups: whether row i belongs to group g."""
    groups = type_of(group_sizes).shape[0]
    stop = cumsum(convert_element_type(group_sizes, np.int32))
    start = sub(stop, convert_element_type(group_sizes, np.int32))
    row = broadcasted_iota(np.int32, (m, groups), 0)
    over = lambda x: broadcast_in_dim(x, (m, groups), (1,))
    return bitwise_and(ge(row, over(start)), lt(row, over(stop)))


def spread_over_groups(x: Any, axis: int, group_sizes: Any) -> Any:
    """x with a last axis of groups: x where its index along `axis` is in the group, else zero."""
    t, groups = type_of(x), type_of(group_sizes).shape[0]
    shape = (*t.shape, groups)
    own = broadcast_in_dim(group_mask(group_sizes, t.shape[axis]), shape, (axis, t.ndim))
    return select(own, broadcast_in_dim(x, shape, tuple(range(t.ndim))), broadcast_in_dim(np.zeros((), t.dtype), shape, ()))


def ragged_dot_general(lhs: Any, rhs: Any, group_sizes: Any, ragged_dot_dimension_numbers: RaggedDotDimensionNumbers,
                       precision: PrecisionLike = None, preferred_element_type: Any = None, group_offset: Any = None,
                       out_sharding: Any = None):
    """dot_general where one axis of lhs is cut into groups of `group_sizes` (an integer per group).

    If that axis is kept, rhs has a matrix per group and each row meets that of its group. If it is contracted, each
    group is contracted by itself and the result has a leading axis of groups. If it is a batch axis, groups change nothing.

    >>> import numpy as np
    >>> axes = RaggedDotDimensionNumbers((([0], [0]), ([], [])), [0], [])
    >>> ragged_dot_general(np.float32([1, 2, 3]), np.float32([1, 1, 1]), np.int32([1, 2]), axes)
    Array([1., 5.], dtype=float32)
    """
    numbers = ragged_dot_dimension_numbers
    (contract_l, contract_r), (batch_l, batch_r) = (tuple(map(tuple, pair)) for pair in numbers.dot_dimension_numbers)
    if len(numbers.lhs_ragged_dimensions) != 1 or type_of(group_sizes).ndim != 1 or group_offset is not None:
        raise NotImplementedError("ragged_dot_general: one ragged axis, one list of group sizes and no group_offset")
    (axis,), n = numbers.lhs_ragged_dimensions, type_of(lhs).ndim
    if axis in batch_l:
        return dot_general(lhs, rhs, numbers.dot_dimension_numbers, precision, preferred_element_type)
    rows = spread_over_groups(lhs, axis, group_sizes)
    if axis not in contract_l:
        both = (*contract_l, n), (*contract_r, *numbers.rhs_group_dimensions)
        return dot_general(rows, rhs, (both, (batch_l, batch_r)), precision, preferred_element_type)
    out = dot_general(rows, rhs, ((contract_l, contract_r), (batch_l, batch_r)), precision, preferred_element_type)
    groups_at = n - len(contract_l)     # the axis of groups is the last of lhs's own
    order = [groups_at, *(i for i in range(type_of(out).ndim) if i != groups_at)]
    return transpose(out, order)


def ragged_all_to_all(operand: Any, output: Any, input_offsets: Any, send_sizes: Any, output_offsets: Any, recv_sizes: Any, *,
                      axis_name: Any, axis_index_groups: Any = None):
    """all_to_all of pieces of different length: lane i sends rows input_offsets[j] .. + send_sizes[j] of its operand to
    lane j, which puts them at row output_offsets[j] (of the sender) of its output. recv_sizes follows from the others.

    The integer arrays have an entry per lane of the axis; other rows of output are kept.
    """
    if axis_index_groups is not None:
        raise NotImplementedError("ragged_all_to_all: axis_index_groups is not supported")
    me, lanes = axis_index(axis_name), axis_size(axis_name)
    everyone = [all_gather(x, axis_name) for x in (operand, input_offsets, send_sizes, output_offsets)]
    out, t = output, type_of(output)
    row = broadcasted_iota(np.int32, t.shape[:1], 0)
    for sender in range(lanes):
        rows, *numbers = [index_in_dim(x, sender, 0, keepdims=False) for x in everyone]
        read, size, at = [convert_element_type(dynamic_index_in_dim(x, me, 0, keepdims=False), np.int32) for x in numbers]
        place = sub(row, at)
        inside = bitwise_and(ge(place, np.int32(0)), lt(place, size))
        axes = GatherDimensionNumbers(tuple(range(1, t.ndim)), (0,), (0,))
        found = gather(rows, reshape(add(place, read), (*t.shape[:1], 1)), axes, (1, *t.shape[1:]), mode="clip")
        out = select(broadcast_in_dim(inside, t.shape, (0,)), found, out)
    return out


def scaled_dot(lhs: Any, rhs: Any, *, lhs_scale: Any = None, rhs_scale: Any = None,
               dimension_numbers: Any = None, preferred_element_type: Any = None):
    """(lhs * lhs_scale) contracted with (rhs * rhs_scale), where a scale holds one value per block of contracted elements.

    The other axes of a scale are those of its operand. Without dimension_numbers the last axis of lhs and the
    second of rhs (batch x k x n) are contracted. The result has preferred_element_type, bfloat16 if there is none.

    >>> import numpy as np
    >>> x = np.ones((1, 2, 4), "float32")
    >>> scaled_dot(x, np.ones((1, 4, 1), "float32"), lhs_scale=2 * np.ones((1, 2, 2), "float32"))[0, :, 0]
    Array([8, 8], dtype=bfloat16)
    """
    numbers = dimension_numbers or (((2,), (1,)), ((0,), (0,)))
    out = np.dtype(preferred_element_type or bfloat16)

    def scaled(x: Any, scale: Any) -> Any:
        x = convert_element_type(x, out)
        if scale is None:
            return x
        shape, coarse = type_of(x).shape, type_of(scale).shape
        if len(shape) != len(coarse) or any(n % c for n, c in zip(shape, coarse)):
            raise ShapeError(f"scaled_dot: a scale of shape {coarse} does not divide an operand of shape {shape}")
        split = [n for whole, c in zip(shape, coarse) for n in (c, whole // c)]
        blocks = broadcast_in_dim(convert_element_type(scale, out), split, tuple(range(0, 2 * len(shape), 2)))
        return mul(x, reshape(blocks, shape))
    return dot_general(scaled(lhs, lhs_scale), scaled(rhs, rhs_scale), numbers, preferred_element_type=out)

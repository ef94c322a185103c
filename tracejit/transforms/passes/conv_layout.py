"""A convolution -> a matrix product where it is one, else the same with features last, between transposes that fuse.

The routines of the back ends compute many features of one pixel at a time.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tracejit import lax
from tracejit.ir.trace import bind
from tracejit.lax.conv import ConvGeneralDilated
from tracejit.lax.dot import DotGeneral


def as_product(op: ConvGeneralDilated, x, w, dot: Callable):
    """dot(DotGeneral, ., .) in place of a convolution whose space axes are all free or all summed; None for others.

    An axis on which the kernel has one tap is free, one that the kernel covers whole is summed: 1x1 convolutions and
    the gradients of their kernels. None also where the result's axes would have to change places.
    """
    lhs, rhs, out = op.dimension_numbers
    free = [d for d in range(len(lhs) - 2) if w.type.shape[rhs[2 + d]] == 1]
    summed = [d for d in range(len(lhs) - 2) if d not in free]
    covered = all(w.type.shape[rhs[2 + d]] == x.type.shape[lhs[2 + d]] for d in summed)
    steps = {*op.lhs_dilation, *(op.window_strides[d] for d in free), *(op.rhs_dilation[d] for d in summed)}
    pads = {pad for pair in op.padding for pad in pair}
    if not covered or steps | {1} != {1} or pads | {0} != {0} or max(op.feature_group_count, op.batch_group_count) > 1:
        return None
    kept = [a for a in range(w.type.ndim) if a not in {rhs[2 + d] for d in free}]
    roles = sorted((1, *(2 + d for d in summed)), key=lambda role: lhs[role])
    contract = tuple(lhs[role] for role in roles), tuple(kept.index(rhs[role]) for role in roles)
    of_x = [out[lhs.index(a)] for a in range(len(lhs)) if a not in contract[0]]
    shape = op.infer(x.type, w.type).shape
    w = lax.reshape(w, tuple(w.type.shape[a] for a in kept))
    for order, axes, sides in (((x, w), contract, [*of_x, out[1]]), ((w, x), contract[::-1], [out[1], *of_x])):
        long = [a for a in sides if shape[a] != 1]
        if long == sorted(long):
            return lax.reshape(dot(DotGeneral(axes, precision=op.precision), *order), shape)
    return None


def features_last(op: ConvGeneralDilated, x, w):
    """Bind the convolution so that features are contiguous in the result and, where that pays, in the operands."""
    lhs, rhs, out = op.dimension_numbers
    shape = op.infer(x.type, w.type).shape
    x, lhs = reordered(x, lhs, order_of_input(x.type.shape, lhs))
    is_gradient = math.prod(w.type.shape[a] for a in rhs[2:]) > math.prod(shape[a] for a in out[2:])
    if is_gradient and rhs[0] != len(rhs) - 1:  # w is then the cotangent, too large to be repacked by the routine
        w, rhs = reordered(w, rhs, (rhs[1], *sorted(rhs[2:]), rhs[0]))
    order = tuple(range(len(out)))
    if out[1] != len(out) - 1 and shape[out[1]] > 1:
        order = (out[0], *sorted(out[2:]), out[1])
    out = tuple(order.index(a) for a in out)
    y = bind(dataclasses.replace(op, dimension_numbers=(lhs, rhs, out)), x, w)
    return reordered(y, out, tuple(int(a) for a in np.argsort(order)))[0]


def order_of_input(shape: tuple[int, ...], spec: tuple[int, ...]) -> tuple[int, ...]:
    """Space between the two other axes, which keep their order, unless space is not last or one of them is 1."""
    first, second = sorted(spec[:2])
    if second == len(spec) - 1 or min(shape[first], shape[second]) <= 1:
        return tuple(range(len(spec)))
    return (first, *sorted(spec[2:]), second)


def reordered(x, spec: tuple[int, ...], order: tuple[int, ...]):
    """x with its axes in `order`, and where the axes of `spec` are then."""
    if order == tuple(range(len(order))):
        return x, spec
    return lax.transpose(x, order), tuple(order.index(a) for a in spec)

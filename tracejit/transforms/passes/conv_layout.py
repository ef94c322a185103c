"""A convolution with features before space -> the same with features last, between transposes that fuse.

The routines of the back ends compute many features of one pixel at a time.
"""
from __future__ import annotations

import dataclasses
import math

import numpy as np

from tracejit import lax
from tracejit.ir.trace import bind
from tracejit.lax.conv import ConvGeneralDilated


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

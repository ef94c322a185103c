"""A convolution -> a matrix product where it is one, else the same with features last, between transposes that fuse.

The routines of the back ends compute many features of one pixel at a time.
"""
from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from tracejit import lax
from tracejit.ir.trace import bind
from tracejit.lax.conv import ConvGeneralDilated
from tracejit.lax.dot import DotGeneral


MOST_TAPS = 9       # of a convolution that is computed as a sum of shifted images
LEAST_LINE = 16


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
    return image_by_image(op, x, w, contract, shape, dot)


def image_by_image(op: ConvGeneralDilated, x, w, contract, shape, dot: Callable):
    """The product for each image apart, where features lie before space: w is repeated, so it must be small beside x."""
    lhs, _, out = op.dimension_numbers
    n = x.type.shape[lhs[0]]
    space = [out[lhs.index(a)] for a in range(len(lhs)) if a != lhs[0] and a not in contract[0]]
    sides = [a for a in (out[0], out[1], *space) if shape[a] != 1]
    if sides != sorted(sides) or n * w.type.size > x.type.size + math.prod(shape):
        return None
    many = lax.broadcast_in_dim(w, (n, *w.type.shape), range(1, 1 + w.type.ndim))
    axes = tuple(a + 1 for a in contract[1]), contract[0]
    return lax.reshape(dot(DotGeneral(axes, ((0,), (lhs[0],)), op.precision), many, x), shape)


def features_last(op: ConvGeneralDilated, x, w):
    """Bind the convolution so that features are contiguous in the result and, where that pays, in the operands."""
    lhs, rhs, out = op.dimension_numbers
    shape = op.infer(x.type, w.type).shape
    x, lhs = reordered(x, lhs, order_of_input(x.type.shape, lhs))
    is_gradient = math.prod(w.type.shape[a] for a in rhs[2:]) > math.prod(shape[a] for a in out[2:])
    is_depthwise = op.feature_group_count > 1 and w.type.shape[rhs[1]] == 1     # its kernels read w as it is
    if (is_gradient or is_depthwise) and rhs[0] != len(rhs) - 1:    # a gradient's w is the cotangent, too large to be repacked
        w, rhs = reordered(w, rhs, (rhs[1], *sorted(rhs[2:]), rhs[0]))
    order = tuple(range(len(out)))
    if out[1] != len(out) - 1 and shape[out[1]] > 1:
        order = (out[0], *sorted(out[2:]), out[1])
    out = tuple(order.index(a) for a in out)
    y = bind(dataclasses.replace(op, dimension_numbers=(lhs, rhs, out)), x, w)
    return reordered(y, out, tuple(int(a) for a in np.argsort(order)))[0]


def is_stencil(op: ConvGeneralDilated, x, w) -> bool:
    """Whether each channel is on its own, in planes whose lines fill vectors, with few taps at neighbouring places."""
    lhs, rhs, out = op.dimension_numbers
    planes = lhs[-1] == len(lhs) - 1 and lhs == out and w.type.shape[rhs[0]] == op.feature_group_count
    dtypes = {x.type.dtype, op.infer(x.type, w.type).dtype}
    if len(dtypes) > 1 or not dtypes <= {np.dtype("f4"), np.dtype("f8")} or op.batch_group_count > 1 or not w.type.size:
        return False
    steps = {*op.window_strides, *op.lhs_dilation}
    return planes and w.type.shape[rhs[1]] == 1 and steps == {1} and x.type.shape[lhs[-1]] >= LEAST_LINE and \
        min(min(pair) for pair in op.padding) >= 0 and w.type.size <= MOST_TAPS * op.feature_group_count


def stencil(op: ConvGeneralDilated, x, w):
    """A depthwise convolution as a sum of shifted images, which fuses into one kernel that reads lines as they lie."""
    lhs, rhs, out = op.dimension_numbers
    shape = op.infer(x.type, w.type).shape
    w = lax.reshape(lax.transpose(w, rhs), (w.type.shape[rhs[0]], *[w.type.shape[a] for a in rhs[2:]]))
    pads = {lhs[2 + d]: (*pair, 0) for d, pair in enumerate(op.padding)}
    padded = lax.pad(x, np.zeros((), x.type.dtype), [pads.get(a, (0, 0, 0)) for a in range(x.type.ndim)])
    terms = []
    for tap in itertools.product(*map(range, w.type.shape[1:])):
        at = {lhs[2 + d]: t * op.rhs_dilation[d] for d, t in enumerate(tap)}
        start = [at.get(a, 0) for a in range(len(shape))]
        seen = lax.slice(padded, start, [a + n for a, n in zip(start, shape)])
        factor = lax.reshape(lax.slice(w, (0, *tap), (shape[out[1]], *[t + 1 for t in tap])), (shape[out[1]],))
        terms.append(lax.mul(seen, lax.broadcast_in_dim(factor, shape, (out[1],))))
    return functools.reduce(lax.add, terms)


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

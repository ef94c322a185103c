"""What the axes of a convolution's operands mean: layout strings such as ("NHWC", "HWIO", "NHWC") -> axis numbers."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import ShapeError
from tracejit.lax.padding import padtype_to_pads, window_count

Shape = Sequence[int]


class ConvDimensionNumbers(NamedTuple):
    """Axis numbers: lhs and out as (batch, feature, spatial...), rhs as (out feature, in feature, spatial...)."""
    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


ConvGeneralDilatedDimensionNumbers = None | ConvDimensionNumbers | tuple[str, str, str]
_PAIRS = ("NC", "OI", "NC")


def conv_general_permutations(dimension_numbers: tuple[str, str, str]) -> tuple[tuple[int, ...], ...]:
    """Axis numbers of three layout strings; spatial axes come in the order that the kernel's string has them.

    >>> conv_general_permutations(("NHWC", "HWIO", "NHWC"))
    ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    """
    spatial = [set(spec) - set(pair) for spec, pair in zip(dimension_numbers, _PAIRS)]
    for i, (spec, (a, b)) in enumerate(zip(dimension_numbers, _PAIRS)):
        if not spec.count(a) == spec.count(b) == 1:
            raise ShapeError(f"convolution dimension_numbers[{i}] is {spec!r}: it must contain {a!r} and {b!r} once")
        if len(spec) != len(set(spec)):
            raise ShapeError(f"convolution dimension_numbers[{i}] is {spec!r}: it names an axis twice")
    if not spatial[0] == spatial[1] == spatial[2]:
        raise ShapeError(f"convolution dimension_numbers {tuple(dimension_numbers)} do not name the same spatial axes",
                         fix="use the same letters in all three, for example ('NHWC', 'HWIO', 'NHWC')")
    order = [c for c in dimension_numbers[1] if c not in "OI"]
    return tuple(tuple(spec.index(c) for c in (*pair, *order)) for spec, pair in zip(dimension_numbers, _PAIRS))


def conv_dimension_numbers(lhs_shape: Shape, rhs_shape: Shape, dimension_numbers: Any) -> ConvDimensionNumbers:
    """Layout strings, None (NC spatial, OI spatial) or ConvDimensionNumbers -> ConvDimensionNumbers, checked.

    >>> conv_dimension_numbers((1, 2, 8, 8), (3, 2, 5, 5), None).lhs_spec
    (0, 1, 2, 3)
    """
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    if len(lhs_shape) != len(rhs_shape):
        raise ShapeError(f"convolution: lhs of shape {tuple(lhs_shape)} and rhs of shape {tuple(rhs_shape)} must have "
                         "the same number of axes", fix="add axes of size 1 for batch, features or space")
    if dimension_numbers is None:
        iota = tuple(range(len(lhs_shape)))
        return ConvDimensionNumbers(iota, iota, iota)
    if not isinstance(dimension_numbers, (tuple, list)) or len(dimension_numbers) != 3:
        raise ShapeError(f"convolution dimension_numbers must be None or three strings, got {dimension_numbers!r}")
    if not all(isinstance(spec, str) for spec in dimension_numbers):
        return ConvDimensionNumbers(*(tuple(int(a) for a in spec) for spec in dimension_numbers))
    for i, spec in enumerate(dimension_numbers):
        if len(spec) != len(lhs_shape):
            raise ShapeError(f"convolution dimension_numbers[{i}] is {spec!r} with {len(spec)} letters, but operands "
                             f"of shapes {tuple(lhs_shape)} and {tuple(rhs_shape)} have {len(lhs_shape)} axes")
    return ConvDimensionNumbers(*conv_general_permutations(dimension_numbers))


def conv_shape_tuple(lhs_shape: Shape, rhs_shape: Shape, strides: Shape, pads: Any,
                     batch_group_count: int = 1) -> tuple[int, ...]:
    """The result's shape for operands in the order NC spatial, OI spatial, with no dilation.

    >>> conv_shape_tuple((1, 2, 8, 8), (3, 2, 5, 5), (1, 1), "VALID")
    (1, 3, 4, 4)
    """
    pads = padtype_to_pads(lhs_shape[2:], rhs_shape[2:], strides, pads) if isinstance(pads, str) else pads
    if len(pads) != len(lhs_shape) - 2:
        raise ShapeError(f"convolution: {len(pads)} pairs of padding for {len(lhs_shape) - 2} spatial axes")
    padded = [n + low + high for n, (low, high) in zip(lhs_shape[2:], pads)]
    if any(n < 0 for n in padded):
        raise ShapeError(f"convolution: negative padding {tuple(pads)} cuts more than there is: {tuple(lhs_shape[2:])}")
    space = map(window_count, padded, rhs_shape[2:], strides)
    return (lhs_shape[0] // batch_group_count, rhs_shape[0], *space)


def _arrange(shape: Shape, spec: Shape) -> tuple[int, ...]:
    return tuple(int(shape[a]) for a in spec)


def conv_general_shape_tuple(lhs_shape: Shape, rhs_shape: Shape, window_strides: Shape, padding: Any,
                             dimension_numbers: tuple[str, str, str]) -> tuple[int, ...]:
    """The result's shape of a convolution without dilation, for any layout.

    >>> conv_general_shape_tuple((1, 8, 8, 2), (5, 5, 2, 3), (1, 1), "VALID", ("NHWC", "HWIO", "NHWC"))
    (1, 4, 4, 3)
    """
    lhs, rhs, out = conv_general_permutations(dimension_numbers)
    shape = conv_shape_tuple(_arrange(lhs_shape, lhs), _arrange(rhs_shape, rhs), window_strides, padding)
    return _arrange(shape, np.argsort(out))


def conv_transpose_padding(window: int, stride: int, padding: str | tuple[int, int]) -> tuple[int, int]:
    """Pads of the stride-dilated input that undo a convolution with this padding."""
    if padding == "SAME":
        total = window + stride - 2
        low = window - 1 if stride > window - 1 else -(-total // 2)
    elif padding == "VALID":
        total, low = window + stride - 2 + max(window - stride, 0), window - 1
    elif isinstance(padding, (tuple, list)):
        low = window - padding[0] - 1
        total = low + window - padding[1] - 1
    else:
        raise ValueError(f"Invalid padding mode: {padding}")
    return low, total - low


def conv_transpose_shape_tuple(lhs_shape: Shape, rhs_shape: Shape, window_strides: Shape, padding: Any,
                               dimension_numbers: tuple[str, str, str]) -> tuple[int, ...]:
    """The result's shape of `conv_transpose` without kernel dilation.

    >>> conv_transpose_shape_tuple((1, 4, 4, 3), (5, 5, 3, 2), (2, 2), "SAME", ("NHWC", "HWIO", "NHWC"))
    (1, 8, 8, 2)
    """
    lhs, rhs, out = conv_general_permutations(dimension_numbers)
    lhs_shape, rhs_shape = _arrange(lhs_shape, lhs), _arrange(rhs_shape, rhs)
    if isinstance(padding, str):
        padding = [conv_transpose_padding(k, s, padding) for k, s in zip(rhs_shape[2:], window_strides)]
    space = [(n - 1) * s - k + 2 + sum(pads)
             for n, k, s, pads in zip(lhs_shape[2:], rhs_shape[2:], window_strides, padding)]
    return _arrange((lhs_shape[0], rhs_shape[0], *space), np.argsort(out))

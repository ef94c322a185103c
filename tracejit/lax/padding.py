"""Padding modes and window geometry -> explicit (low, high) pads and result sizes, for convolutions and windows."""
from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import ShapeError

Pads = tuple[tuple[int, int], ...]


class PaddingType(enum.Enum):
    """How many zeros go around the input: none, or as many as make ceil(size / stride) windows."""
    VALID = 1
    SAME = 2
    SAME_LOWER = 3


def padtype_to_pads(in_shape: Sequence[int], window_shape: Sequence[int], window_strides: Sequence[int],
                    padding: str | PaddingType) -> list[tuple[int, int]]:
    """(low, high) pads per axis of a padding mode. An odd zero goes after (SAME) or before (SAME_LOWER).

    Raises RuntimeError for an unknown name and TypeError for anything that is not a mode.

    >>> padtype_to_pads((10, 10), (3, 4), (1, 2), "SAME")
    [(1, 1), (1, 1)]
    """
    if isinstance(padding, str):
        if padding.upper() not in PaddingType.__members__:
            raise RuntimeError(f"Unrecognized padding type: expected 'VALID', 'SAME', or 'SAME_LOWER', got {padding}.")
        padding = PaddingType[padding.upper()]
    if not isinstance(padding, PaddingType):
        raise TypeError(f"Unknown padding type: {padding}.")
    if padding is PaddingType.VALID:
        return [(0, 0)] * len(in_shape)
    totals = [max((-(-size // stride) - 1) * stride + window - size, 0)
              for size, window, stride in zip(in_shape, window_shape, window_strides, strict=True)]
    halves = [(total // 2, total - total // 2) for total in map(int, totals)]
    return halves if padding is PaddingType.SAME else [(high, low) for low, high in halves]


def dilated_size(size: int, dilation: int) -> int:
    """The size of an axis with dilation - 1 holes between its elements."""
    return 1 + dilation * (size - 1) if size else 0


def window_count(size: int, window: int, stride: int) -> int:
    """How many windows fit into an axis."""
    return max(0, (size - window) // stride + 1)


def pairs_of(padding: Any, rank: int, what: str) -> Pads:
    """Explicit pads as a tuple of `rank` (low, high) pairs of ints."""
    try:
        pads = tuple((int(low), int(high)) for low, high in padding)
    except (TypeError, ValueError):
        raise ValueError(f"{what}: the padding argument must be 'SAME', 'VALID', 'SAME_LOWER' or a sequence of (low, high) pairs, "
                         f"got {padding!r}") from None
    if len(pads) != rank:
        raise ShapeError(f"{what}: {len(pads)} pairs of padding for {rank} axes: {pads}",
                         fix=f"give {rank} (low, high) pairs")
    return pads


def ints_of(values: Any, rank: int, what: str, least: int = 1) -> tuple[int, ...]:
    """Per-axis integers (strides, dilations); None is one per axis."""
    if values is None:
        return (1,) * rank
    values = tuple(int(v) for v in values)
    if len(values) != rank:
        raise ShapeError(f"{what} {values} has {len(values)} entries for {rank} axes", fix=f"give {rank} integers")
    if any(v < least for v in values):
        raise ShapeError(f"{what} must have every element be at least {least}, got {values}", fix="give positive integers")
    return values


def spread_and_pad(x: np.ndarray, fill: Any, dilation: Sequence[int], pads: Sequence[tuple[int, int]]) -> np.ndarray:
    """NumPy: x with holes between its elements and pads around it, both holding `fill`; negative pads cut."""
    sizes = [dilated_size(n, d) for n, d in zip(x.shape, dilation)]
    spread = np.full(sizes, fill, x.dtype)
    spread[tuple(slice(None, None, d) for d in dilation)] = x
    out = np.full([max(0, n + low + high) for n, (low, high) in zip(sizes, pads)], fill, x.dtype)
    source = tuple(slice(max(0, -low), max(0, min(n, n + high))) for n, (low, high) in zip(sizes, pads))
    target = tuple(slice(max(0, low), max(0, low) + max(0, s.stop - s.start)) for (low, _), s in zip(pads, source))
    out[target] = spread[source]
    return out


def windows(x: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """NumPy: every window of x as a view of shape (counts..., sizes...)."""
    counts = [window_count(n, dilated_size(k, d), s) for n, k, s, d in zip(x.shape, sizes, strides, dilation)]
    if 0 in counts or 0 in sizes:
        return np.zeros((*counts, *sizes), x.dtype)
    steps = [b * s for b, s in zip(x.strides, strides)] + [b * d for b, d in zip(x.strides, dilation)]
    return np.lib.stride_tricks.as_strided(x, (*counts, *sizes), steps, writeable=False)

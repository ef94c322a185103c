"""Where gather reads and scatter writes: index vectors -> the place of each window in the operand.

    indices[batch..., k]   for each batch position, where a window of `sizes` starts along operand axis index_map[k]
    result[batch, window]  of gather (the updates, of scatter): the window's axes are at `offset_dims`
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import DtypeError, ShapeError, user_source
from tracejit.ir.types import ArrayType, is_integer
from tracejit.lax.native import offset_of


class GatherDimensionNumbers(NamedTuple):
    """How gather's operand, indices and result correspond; the fields are those of XLA's gather."""
    offset_dims: tuple[int, ...]
    collapsed_slice_dims: tuple[int, ...]
    start_index_map: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    start_indices_batching_dims: tuple[int, ...] = ()


class ScatterDimensionNumbers(NamedTuple):
    """How scatter's operand, indices and updates correspond; the fields are those of XLA's scatter."""
    update_window_dims: Sequence[int]
    inserted_window_dims: Sequence[int]
    scatter_dims_to_operand_dims: Sequence[int]
    operand_batching_dims: Sequence[int] = ()
    scatter_indices_batching_dims: Sequence[int] = ()


class GatherScatterMode(enum.Enum):
    """What becomes of a window that does not lie in the operand: moved inside, skipped (or filled), or undefined."""
    CLIP = "clip"
    FILL_OR_DROP = "fill"
    PROMISE_IN_BOUNDS = "promise_in_bounds"
    ONE_HOT = "one_hot"

    @staticmethod
    def from_any(mode: str | GatherScatterMode | None) -> GatherScatterMode:
        """The mode of this name; None is FILL_OR_DROP, and "drop" another name of "fill"."""
        if isinstance(mode, GatherScatterMode):
            return mode
        try:
            return GatherScatterMode({None: "fill", "drop": "fill"}.get(mode, mode))
        except ValueError:
            raise ValueError(f'Unknown gather mode "{mode}"') from None


class Windows(NamedTuple):
    """The geometry of one gather, or of one scatter, which is that of the gather that reads what it writes."""
    offset_dims: tuple[int, ...]
    collapsed: tuple[int, ...]
    index_map: tuple[int, ...]
    operand_batching: tuple[int, ...]
    indices_batching: tuple[int, ...]
    sizes: tuple[int, ...]

    def check(self, name: str, operand: ArrayType, indices: ArrayType) -> None:
        """ShapeError or DtypeError if the numbers do not fit each other and the operands."""
        if not is_integer(indices.dtype):
            raise DtypeError(f"{name}: indices must be integers, not {indices}", source=user_source(),
                             fix="convert them with lax.convert_element_type")
        gone = (*self.collapsed, *self.operand_batching)
        problem = next((text for bad, text in (
            (indices.ndim == 0, "indices need a last axis, which holds the index vectors"),
            (len(self.sizes) != operand.ndim, f"there are {len(self.sizes)} window sizes"),
            (any(not 0 <= s <= n for s, n in zip(self.sizes, operand.shape)),
             "Bounds of the window dimensions: a window is larger than the operand"),
            (len(set(gone)) != len(gone), "an operand axis is left out twice"),
            (any(not 0 <= d < operand.ndim for d in (*gone, *self.index_map)), "an operand axis is out of range"),
            (any(self.sizes[d] > 1 for d in gone if d < len(self.sizes)), "an axis that is left out has a window "
             "larger than 1"),
            (indices.shape[-1:] != (len(self.index_map),), f"index vectors have {len(self.index_map)} components"),
            (len(self.offset_dims) != operand.ndim - len(gone), f"{len(self.offset_dims)} places are given for the "
             f"{operand.ndim - len(gone)} axes of the window"),
            (len(self.operand_batching) != len(self.indices_batching), "batching axes do not pair up"),
        ) if bad), None)
        if problem:
            raise ShapeError(f"{name}: {problem} (operand {operand}, indices {indices}, {self})", source=user_source(),
                             fix="see GatherDimensionNumbers; tracejit.numpy indexing (x[i], x.at[i]) is easier")

    def window_axes(self) -> list[int]:
        """The operand axes that the result keeps, in order."""
        return [d for d in range(len(self.sizes)) if d not in self.collapsed and d not in self.operand_batching]

    def batch_axes(self, ndim: int) -> list[int]:
        """The result axes that run over the indices' batch axes."""
        return [d for d in range(ndim) if d not in self.offset_dims]

    def result_shape(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        offsets = dict(zip(self.offset_dims, [self.sizes[d] for d in self.window_axes()]))
        batch = iter(indices[:-1])
        return tuple([offsets[d] if d in offsets else next(batch) for d in range(len(indices) - 1 + len(offsets))])

    def at(self, b, index: tuple, read_index, operand: ArrayType, clip: bool, clamped: bool = True) -> tuple[tuple, list]:
        """The operand index of the result's element at `index`, and the conditions for the window to lie inside; not
        `clamped`: the index is used only where they hold."""
        batch = [index[d] for d in self.batch_axes(len(index))]
        place: list = [0] * operand.ndim
        for out, d in zip(self.offset_dims, self.window_axes()):
            place[d] = index[out]
        for d, k in zip(self.operand_batching, self.indices_batching):
            place[d] = batch[k]
        inside = []
        for k, d in enumerate(self.index_map):
            start, last = read_index((*batch, k)), operand.shape[d] - self.sizes[d]
            place[d] = b.as_index(start, last + 1, clip or clamped) + place[d]
            if not clip:
                inside.append(b.within(start, last))
        return tuple(place), inside

    def native(self, b, batch: list, indices_at, operand: ArrayType, indices: ArrayType, clip: bool):
        """In native code: (where the window of batch position `batch` begins, whether it lies inside or None)."""
        begin: list = [b.index(0)] * operand.ndim
        for d, k in zip(self.operand_batching, self.indices_batching):
            begin[d] = batch[k]
        inside = None
        row = offset_of(b, [*batch, b.index(0)], indices.shape)
        for k, d in enumerate(self.index_map):
            last = operand.shape[d] - self.sizes[d]
            start = b.convert(b.load(indices.dtype, b.gep(indices_at, b.add(row, k), indices.dtype)), np.dtype("int64"))
            if clip:
                start = b.min(b.max(start, 0), last)
            else:
                fits = b.and_(b.ge(start, 0), b.le(start, last))
                inside = fits if inside is None else b.and_(inside, fits)
            begin[d] = b.add(begin[d], start)
        return begin, inside

    def places(self, shape: tuple[int, ...], operand: tuple[int, ...], indices: np.ndarray) -> tuple[tuple, Any]:
        """NumPy's meaning of `at`: an index array per operand axis, clipped, and where windows lie inside."""
        axes = self.batch_axes(len(shape))
        along = lambda n, d: np.arange(n).reshape([-1 if i == d else 1 for i in range(len(shape))])
        place: list[Any] = [np.zeros((1,) * len(shape), np.intp) for _ in operand]
        for out, d in zip(self.offset_dims, self.window_axes()):
            place[d] = along(self.sizes[d], out)
        for d, k in zip(self.operand_batching, self.indices_batching):
            place[d] = along(indices.shape[k], axes[k])
        inside: Any = np.ones((1,) * len(shape), bool)
        for k, d in enumerate(self.index_map):
            last = operand[d] - self.sizes[d]
            spread = [1] * len(shape)
            for axis, n in zip(axes, indices.shape[:-1]):
                spread[axis] = n
            start = indices[..., k].reshape(spread)
            inside = inside & (start >= 0) & (start <= last)
            place[d] = place[d] + np.clip(start, 0, last).astype(np.intp)
        return tuple(place), inside

"""Ops on stacks of small arrays: a library routine on the last axes, once for every index of the leading axes."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, short_name
from tracejit.lax.blocked import area_bytes, products
from tracejit.lax.kinds import Opaque, op_dataclass
from tracejit.lax.lapack import count_up, identity
from tracejit.lax.shares import MOST_SHARES, Shares
from tracejit.lax.side_by_side import LARGEST, TINY, Group, fits, lanes_of

LAPACK_LETTERS = {"f32": "s", "f64": "d", "c64": "c", "c128": "z"}


def letter(dtype: np.dtype) -> str:
    """The first letter of LAPACK's routines for a dtype."""
    return LAPACK_LETTERS[short_name(dtype)]


@op_dataclass
class Stacked(Opaque):
    """Routine on the last `ranks` axes of its operands; the leading axes of all operands are the same."""
    makes_nan: ClassVar[bool] = True
    ranks: ClassVar[tuple[int, ...]] = (2,)
    integers: ClassVar[tuple[int, ...]] = ()   # operands that hold int32 positions
    largest_in_groups: ClassVar[int] = LARGEST  # orders up to which many small matrices are done side by side, and few
    largest_alone: ClassVar[int] = TINY
    own_threads: ClassVar[int] = 80            # from this order on the library's own threads are faster than ours

    def lead(self, *types: ArrayType) -> tuple[int, ...]:
        """The leading axes, after checking ranks, leading axes and dtypes."""
        for t, rank in zip(types, self.ranks, strict=True):
            if t.ndim < rank:
                raise ShapeError(f"{self.name}: {t} must have at least {rank} axes",
                                 fix="add an axis, for example x[:, None] for one column")
        self.check_dtypes([t for i, t in enumerate(types) if i not in self.integers])
        leads = [t.shape[:t.ndim - rank] for t, rank in zip(types, self.ranks)]
        if any(lead != leads[0] for lead in leads):
            raise ShapeError(f"{self.name}: operands {', '.join(map(str, types))} have different leading axes",
                             fix="broadcast them first")
        return leads[0]

    def check_dtypes(self, types: list[ArrayType]) -> None:
        for t in types:
            if short_name(t.dtype) not in LAPACK_LETTERS:
                raise DtypeError(f"{self.name}: {t} must be float32, float64, complex64 or complex128",
                                 fix="convert it with lax.convert_element_type")
            if t.dtype != types[0].dtype:
                raise DtypeError(f"{self.name}: operands have different dtypes: {', '.join(map(str, types))}",
                                 fix="convert them to one dtype")

    def square(self, t: ArrayType) -> int:
        """The order of square matrices."""
        if t.shape[-1] != t.shape[-2]:
            raise ShapeError(f"{self.name}: {t} must hold square matrices, not {t.shape[-2]}x{t.shape[-1]}")
        return t.shape[-1]

    def one(self, *arrays: np.ndarray) -> Any:
        """NumPy meaning for one index of the leading axes."""
        raise NotImplementedError(f"{type(self).__name__}.one")

    def eval(self, *arrays):
        inferred = self.infer(*[ArrayType(x.shape, x.dtype) for x in arrays])
        outs = [np.empty(t.shape, t.dtype) for t in (inferred if self.multiple else (inferred,))]
        for lane in np.ndindex(arrays[0].shape[:arrays[0].ndim - self.ranks[0]]):
            with np.errstate(all="ignore"):
                results = self.one(*[x[lane] for x in arrays])
            for out, result in zip(outs, results if self.multiple else (results,), strict=True):
                out[lane] = result
        return tuple(outs) if self.multiple else outs[0]

    def batch(self, ctx, args, batched):
        outs = bind(self, *[ctx.materialize(x, b) for x, b in zip(args, batched)])
        return outs, (True,) * len(outs) if self.multiple else True

    def whole(self, library: Any, *arrays: Any) -> Any:
        """The results for whole stacks, with functions of numpy.linalg, which CuPy takes over on a GPU, and with what NumPy lacks:
        `library` has lu, permutation and solve_triangular (`runtime/cuda/routines.py`). None: there are none."""
        return None

    def device_call(self, runtime, ins, outs):
        """On the device if it can; where a matrix has no factors, the host finds out which of the stack it is."""
        arrays = [runtime.array(x) for x in ins]
        try:
            found = self.whole(runtime.factors, *arrays) if all(x.size for x in arrays) else None
        except np.linalg.LinAlgError:
            found = None
        if found is None:
            return super().device_call(runtime, ins, outs)
        for out, result in zip(outs, found, strict=True):
            runtime.array(out)[...] = result

    # --- native code: `lane` for one index of the leading axes, with memory as `areas` asks for

    def areas(self, *types: ArrayType) -> list[tuple[int, np.dtype]]:
        """(count, dtype) of each work area that `lane` needs; types without leading axes."""
        return []

    def lane(self, f: Any, ins: list, outs: list, areas: list, types: list[ArrayType]) -> None:
        """Emit the work on one lane, which has elements; types are without leading axes."""
        raise NotImplementedError(f"{type(self).__name__}.lane")

    # For many small matrices: `group` works on as many as fill a vector register, where an op has it.

    def group_areas(self, *types: ArrayType) -> list[tuple[int, np.dtype]] | None:
        """(count, dtype) of each work area of one of a group's matrices; None if they are not done side by side."""
        return None

    def group(self, group: Group, ins: list, outs: list, areas: list, types: list[ArrayType]) -> None:
        raise NotImplementedError(f"{type(self).__name__}.group")

    # For a large real matrix: `blocks` works with products on all threads, on one matrix after the other, where an op has it.

    def block_columns(self, *types: ArrayType) -> int | None:
        """Columns of what its products are added to, with as many rows as its first operand; None: not done in blocks."""
        return None

    def blocks(self, b: Any, ins: list, outs: list, area: Any, types: list[ArrayType]) -> None:
        raise NotImplementedError(f"{type(self).__name__}.blocks")

    def in_blocks(self, types) -> bool:
        own = self.own_types(types)
        return own[0].dtype.kind == "f" and self.is_large(own) and self.block_columns(*own) is not None

    def is_large(self, own) -> bool:
        return min(own[0].shape) > LARGEST and max(d for t in own for d in t.shape) >= self.own_threads

    def products(self, types):
        own = self.own_types(types)
        return products(own[0].dtype, own[0].shape[0], self.block_columns(*own)) if self.in_blocks(types) else []

    def own_types(self, types) -> list[ArrayType]:
        return [ArrayType(t.shape[t.ndim - rank:], t.dtype) for t, rank in zip(types, self.ranks)]

    def n_lanes(self, types) -> int:
        return math.prod(types[0].shape[:types[0].ndim - self.ranks[0]])

    def in_groups(self, types) -> bool:
        own = self.own_types(types)
        allowed = fits(self.n_lanes(types), own, self.largest_in_groups, self.largest_alone)
        return allowed and self.group_areas(*own) is not None

    def shares(self, types) -> Shares:
        own, n = self.own_types(types), self.n_lanes(types)
        if self.in_groups(types):
            lanes = lanes_of(own[0].dtype)
            return Shares.of(-(-n // lanes), [(lanes * count, d) for count, d in self.group_areas(*own)])
        alone = max((d for t in own for d in t.shape), default=0) >= self.own_threads
        return Shares.of(n, self.areas(*own), 1 if alone else MOST_SHARES)

    def scratch_bytes(self, types):
        if not self.in_blocks(types):
            return self.shares(types).nbytes
        own = self.own_types(types)
        return area_bytes(own[0].dtype, own[0].shape[0], self.block_columns(*own))

    def call(self, b, ins, outs, types):
        own, n = self.own_types(types), self.n_lanes(types)
        results = self.infer(*own)
        results = list(results) if self.multiple else [results]
        if self.in_blocks(types):
            with b.loop(0, n) as loop:
                moved = [b.gep(p, b.mul(loop.index, t.nbytes)) for p, t in zip([*ins, *outs], [*own, *results])]
                self.blocks(b, moved[:len(ins)], moved[len(ins):], b.scratch(), own)
            return
        grouped = self.in_groups(types)

        def emit(f, pointers, areas):
            given, made = pointers[:len(ins)], pointers[len(ins):]
            if grouped:
                self.group(Group(f, n, own[0].dtype), given, made, areas, own)
            elif all(t.size for t in own):
                self.lane(f, given, made, areas, own)
            else:
                empty_lane(f, made, results)
        steps = [0 if grouped else t.nbytes for t in [*own, *results]]
        self.shares(types).run(b, [*ins, *outs], emit, steps)


def empty_lane(f: Any, outs: list, types: list[ArrayType]) -> None:
    """Factors of a matrix without elements: identities, permutations that change nothing."""
    for out, t in zip(outs, types):
        if t.ndim == 2:
            identity(f, out, *t.shape, t.dtype)
        elif t.dtype.kind == "i":
            count_up(f, out, t.size)


def stacked(lead: tuple[int, ...], *shape: int, of: np.dtype) -> ArrayType:
    return ArrayType((*lead, *shape), of)


def nan_like(x: np.ndarray) -> np.ndarray:
    return np.full_like(x, np.nan)

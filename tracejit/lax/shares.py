"""Work that is the same for many lanes -> a few shares that run in parallel, each with work areas of its own."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_SHARES, MOST_SCRATCH = 16, 1 << 26  # fixed, so that results do not depend on the number of threads


@dataclass(frozen=True)
class Shares:
    """n lanes in `count` shares; `offsets` are where a share's work areas begin, and their end."""
    n: int
    count: int
    offsets: tuple[int, ...]

    @staticmethod
    def of(n: int, areas: Sequence[tuple[int, np.dtype]], most: int = MOST_SHARES) -> Shares:
        """For work areas of (count, dtype) each; 64-byte aligned."""
        sizes = (-(-count * dtype.itemsize // 64) * 64 for count, dtype in areas)
        offsets = tuple(itertools.accumulate(sizes, initial=0))
        return Shares(n, max(1, min(n, most, MOST_SCRATCH // max(offsets[-1], 1))), offsets)

    @property
    def nbytes(self) -> int:
        return self.count * self.offsets[-1]

    def run(self, b: Any, pointers: Sequence[Any], emit: Callable[[Any, list, list], None],
            steps: Sequence[int] | None = None) -> None:
        """emit(f, pointers, areas) for every lane f.lane; pointers move by `steps` bytes from lane to lane."""
        operands = list(zip(pointers, steps or [0] * len(pointers), strict=True))
        b.lanes(self.n, self.count, operands, self.offsets[-1],
                lambda f, p, scratch: emit(f, p, [f.gep(scratch, offset) for offset in self.offsets[:-1]]))


class WithinLane:
    """Stands for a program's builder inside of a lane: what would run in parallel runs here, with scratch memory of this lane."""

    def __init__(self, f: Any, scratch: Any):
        self.f, self.start = f, scratch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.f, name)

    def scratch(self, offset: int = 0) -> Any:
        return self.f.gep(self.start, offset)

    def lanes(self, n: int, tasks: int, operands: Sequence[tuple[Any, int]], scratch_bytes: int, emit: Callable) -> None:
        f = self.f
        outer = f.lane
        with f.loop(0, n) as loop:
            f.lane = loop.index
            emit(f, [f.gep(p, f.mul(loop.index, step)) for p, step in operands], self.start)
        f.lane = outer

"""Layouts of arrays in memory, as programs name them. Arrays here are dense and row-major."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracejit.absent import getter

__all__ = ["Format", "Layout"]


@dataclass(frozen=True)
class Layout:
    """The order of an array's axes in memory, outermost first. NotImplementedError for one that is not row-major."""
    major_to_minor: tuple[int, ...]
    tiling: Any = None

    def __post_init__(self) -> None:
        if tuple(self.major_to_minor) != tuple(range(len(self.major_to_minor))) or self.tiling:
            raise NotImplementedError(f"{self}: arrays are dense and row-major; transpose the array instead")


@dataclass(frozen=True)
class Format:
    """A layout and a sharding; None leaves either open."""
    layout: Layout | None = None
    sharding: Any = None


__getattr__ = getter(__name__)

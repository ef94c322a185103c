"""How exact elementary functions should be: what their `accuracy` takes.

Functions here have one implementation each, which is within a few units in the last place; a request is checked for
sense and met by it.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass


class AccuracyMode(enum.Enum):
    """The most exact implementation, or the usual one."""
    HIGHEST = 1
    DEFAULT = 2


@dataclass(frozen=True)
class Tolerance:
    """The errors that are accepted: absolute, relative, in units in the last place; at most two of them.

    >>> Tolerance(rtol=1e-3)
    Tolerance(atol=0.0, rtol=0.001, ulps=0)
    """
    atol: float = 0.0
    rtol: float = 0.0
    ulps: int = 0

    def __post_init__(self) -> None:
        if min(self.atol, self.rtol, self.ulps) < 0:
            raise ValueError(f"Tolerance: errors are not negative, got {self}")
        if self.rtol and self.ulps:
            raise ValueError("Tolerance: give rtol or ulps, not both")

"""Types for annotations: what functions of arrays accept."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.runtime.array import Array

ArrayLike = Array | np.ndarray | np.bool_ | np.number | bool | int | float | complex
DTypeLike = str | type[Any] | np.dtype | Any
Shape = Sequence[int]

__all__ = ["Array", "ArrayLike", "DTypeLike", "Shape"]

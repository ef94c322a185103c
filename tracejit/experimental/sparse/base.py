"""What all sparse arrays have in common: a shape, stored elements, and their text."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.trace import is_traced
from tracejit.transforms.vmap import vmap


class SparseEfficiencyError(ValueError):
    """A change of layout would store far more elements than the array has."""


class SparseEfficiencyWarning(UserWarning):
    """A change of layout stores far more elements than the array has."""


class CuSparseEfficiencyWarning(SparseEfficiencyWarning):
    """Of JAX's CUDA back end; never raised here."""


class JAXSparse:
    """A sparse array: `data` holds `nse` specified elements (of each batch), the other arrays where they are."""
    data: Any
    __hash__ = None
    __array_priority__ = 101  # numpy_array @ sparse is ours

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def nse(self) -> int:
        """The number of specified elements."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def T(self) -> Any:
        return self.transpose()

    def __len__(self) -> int:
        return self.shape[0]

    def layout(self) -> dict[str, int]:
        """What the text says besides the shape."""
        return {}

    def __repr__(self) -> str:
        try:
            extra = "".join(f", {k}={v}" for k, v in {"nse": self.nse, **self.layout()}.items())
            text = f"{type(self).__name__}({self.dtype}{list(self.shape)}{extra})"
        except (AttributeError, TypeError, IndexError):     # in the middle of a pytree transform
            return f"{type(self).__name__}(<invalid>)"
        return f"Tracer[{text}]" if is_traced(self.data) else text

    def block_until_ready(self) -> Any:
        return self

    def todense(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.todense")

    def transpose(self, axes: Sequence[int] | None = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.transpose")


def over_batch(f: Callable, n: int, *args: Any) -> Any:
    """f over n leading axes of its arguments; one whose axis has size 1 is the same for the whole batch."""
    if n == 0:
        return f(*args)
    sizes = [x.shape[0] for x in args]
    size = next((s for s in sizes if s != 1), 1)
    axes = tuple(0 if s == size else None for s in sizes)
    lanes = [x if axis == 0 else lax.squeeze(x, (0,)) for x, axis in zip(args, axes)]
    return vmap(partial(over_batch, f, n - 1), in_axes=axes)(*lanes)


def at(indices: Any) -> tuple[Any, ...]:
    """Index vectors [nse, k] as k index arrays."""
    return tuple(indices[:, i] for i in range(indices.shape[-1]))


def read(x: Any, indices: Any) -> Any:
    """x at index vectors along its leading axes, 0 outside."""
    if not indices.shape[-1]:
        return jnp.broadcast_to(x, (indices.shape[0], *x.shape))
    return x.at[at(indices)].get(mode="fill", fill_value=0)


def scattered(data: Any, indices: Any, shape: Sequence[int]) -> Any:
    """Zeros with data[i] added at index vector i of the leading axes; what is outside is dropped."""
    if data.dtype == bool:
        return scattered(data.astype("int32"), indices, shape) != 0
    if not indices.shape[-1]:
        return data.sum(0, dtype=data.dtype)
    return jnp.zeros((*shape, *data.shape[1:]), data.dtype).at[at(indices)].add(data, mode="drop")


def limits(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """The index vector just outside of a shape, which marks elements that are not there."""
    return np.asarray(shape, dtype).reshape(len(shape))


def is_inside(indices: Any, shape: Sequence[int]) -> Any:
    """Which index vectors lie inside of a shape."""
    return (indices < limits(shape, indices.dtype)).all(-1)


def spread(x: Any, ndim: int) -> Any:
    """x with axes of size 1 added at its end."""
    return lax.expand_dims(x, range(x.ndim, ndim))

"""Images of any number of axes -> values between their pixels."""
from __future__ import annotations

import functools
import itertools
import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit


def mirrored(index, size: int):
    """d c b | a b c d | c b a: the edge pixel once."""
    last = max(size - 1, 1)
    return jnp.abs((index + last) % (2 * last) - last) if size > 1 else jnp.zeros_like(index)


def reflected(index, size: int):
    """d c b a | a b c d | d c b a: the edge pixel twice."""
    turn = index % (2 * size)
    return jnp.minimum(turn, 2 * size - 1 - turn)


PLACES = {
    "constant": lambda index, size: jnp.clip(index, 0, size - 1),
    "nearest": lambda index, size: jnp.clip(index, 0, size - 1),
    "wrap": lambda index, size: index % size,
    "mirror": mirrored,
    "reflect": reflected,
}


def map_coordinates(input, coordinates, order: int, mode: str = "constant", cval=0.0):
    """``input`` at the given coordinates, one array per axis, by the nearest pixel (``order`` 0) or linearly (1).

    ``mode`` says what is outside: 'constant' (cval), 'nearest', 'wrap', 'mirror', 'reflect'. The result has the shape
    of the coordinates and the dtype of ``input``.

    >>> import tracejit.numpy as jnp
    >>> print(map_coordinates(jnp.array([0., 10.]), [jnp.array([0.25])], order=1))
    [2.5]
    """
    input, axes = jnp.asarray(input), [jnp.asarray(c) for c in coordinates]
    if len(axes) != input.ndim:
        raise ValueError(f"map_coordinates takes one array per axis: got {len(axes)} for shape {input.shape}")
    if mode not in PLACES:
        raise NotImplementedError(f"map_coordinates: mode must be one of {tuple(PLACES)}, got {mode!r}")
    if order not in (0, 1):
        raise NotImplementedError(f"map_coordinates: order must be 0 or 1, got {order}")
    return mapped(input, axes, jnp.asarray(cval).astype(input.dtype), order, mode)


@partial(jit, static_argnames=("order", "mode"))
def mapped(input, axes, cval, order, mode):
    neighbours = [around(c, size, order, mode) for c, size in zip(axes, input.shape)]
    total = 0
    for corner in itertools.product(*neighbours):
        value = input[tuple(index for index, _, _ in corner)]
        if mode == "constant":
            value = jnp.where(functools.reduce(operator.and_, (inside for _, inside, _ in corner)), value, cval)
        total = total + functools.reduce(operator.mul, (weight for _, _, weight in corner)) * value
    return (jnp.round(total) if jnp.issubdtype(input.dtype, np.integer) else total).astype(input.dtype)


def around(coordinate, size: int, order: int, mode: str) -> list[tuple]:
    """(place, whether it is inside, weight) of the pixels that count along one axis."""
    if jnp.issubdtype(coordinate.dtype, np.integer):
        pixels = [(coordinate.astype("int32"), 1)]
    elif order == 0:
        away = jnp.trunc(coordinate + jnp.copysign(jnp.full_like(coordinate, 0.5), coordinate))
        pixels = [(away.astype("int32"), 1)]
    else:
        lower = jnp.floor(coordinate)
        index, fraction = lower.astype("int32"), coordinate - lower
        pixels = [(index, 1 - fraction), (index + 1, fraction)]
    return [(PLACES[mode](index, size), (index >= 0) & (index < size), weight) for index, weight in pixels]

"""Interpolation on rectilinear grids."""
from __future__ import annotations

import itertools
import math

import numpy as np

import tracejit.numpy as jnp
from tracejit.numpy.promotion import promote_dtypes_inexact
from tracejit.tree_util import register_pytree_node_class

METHODS = ("linear", "nearest")


@register_pytree_node_class
class RegularGridInterpolator:
    """A function of points in a box from values at the crossings of a grid.

    ``points`` are the ascending coordinates of the grid, one vector per axis; ``values`` has these axes first.
    ``method`` is 'linear' or 'nearest'. Outside the box the result is ``fill_value``, or extrapolated if that is None.
    Call it with points ``[..., axes]`` or a tuple of coordinate arrays.

    >>> import tracejit.numpy as jnp
    >>> f = RegularGridInterpolator([jnp.array([0., 1.])], jnp.array([0., 10.]))
    >>> print(f(jnp.array([[0.25]])))
    [2.5]
    """

    def __init__(self, points, values, method: str = "linear", bounds_error: bool = False, fill_value=math.nan):
        if method not in METHODS:
            raise ValueError(f"RegularGridInterpolator: method must be one of {METHODS}, got {method!r}")
        if bounds_error:
            raise NotImplementedError("RegularGridInterpolator: bounds_error would need values while tracing; use "
                                      "fill_value")
        (values,) = promote_dtypes_inexact("RegularGridInterpolator", jnp.asarray(values))
        if len(points) > values.ndim:
            raise ValueError(f"RegularGridInterpolator: {len(points)} vectors of points for values of {values.ndim} "
                             "axes")
        if fill_value is not None and np.issubdtype(np.result_type(fill_value), np.complexfloating) \
                and not jnp.issubdtype(values.dtype, np.complexfloating):
            raise ValueError("RegularGridInterpolator: fill_value must be None or fit the dtype of the values")
        self.method, self.bounds_error, self.fill_value = method, bounds_error, fill_value
        self.grid, self.values = tuple(jnp.asarray(p) for p in points), values

    def tree_flatten(self):
        return (self.grid, self.values, self.fill_value), self.method

    @classmethod
    def tree_unflatten(cls, method, leaves):
        self = cls.__new__(cls)
        self.grid, self.values, self.fill_value = leaves
        self.method, self.bounds_error = method, False
        return self

    def __call__(self, xi, method: str | None = None):
        method = self.method if method is None else method
        if method not in METHODS:
            raise ValueError(f"RegularGridInterpolator: method must be one of {METHODS}, got {method!r}")
        axes = len(self.grid)
        points = stacked(xi, axes)
        if points.shape[-1] != axes:
            raise ValueError(f"RegularGridInterpolator: points have {points.shape[-1]} coordinates, the grid has "
                             f"{axes} axes")
        coordinates = [points[..., i] for i in range(axes)]
        cells = [cell_of(x, grid) for x, grid in zip(coordinates, self.grid)]
        value = (self.linear if method == "linear" else self.nearest)(cells)
        if self.fill_value is None:
            return value
        outside = sum((x < grid[0]) | (x > grid[-1]) for x, grid in zip(coordinates, self.grid)) > 0
        return jnp.where(outside.reshape(*outside.shape, *(1,) * (value.ndim - outside.ndim)), self.fill_value, value)

    def linear(self, cells):
        total = 0
        for corner in itertools.product((0, 1), repeat=len(cells)):
            weight = math.prod(fraction if upper else 1 - fraction for upper, (_, fraction) in zip(corner, cells))
            value = self.values[tuple(index + upper for upper, (index, _) in zip(corner, cells))]
            total = total + weight.reshape(*weight.shape, *(1,) * (value.ndim - weight.ndim)) * value
        return total

    def nearest(self, cells):
        return self.values[tuple(jnp.where(fraction <= 0.5, index, index + 1) for index, fraction in cells)]


def stacked(xi, axes: int):
    """Points as [..., axes]."""
    if isinstance(xi, tuple):
        return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(x) for x in xi)), -1)
    xi = jnp.asarray(xi)
    return xi.reshape(-1, axes) if xi.ndim == 1 else xi


def cell_of(x, grid):
    """The index of the grid point at or below x, and how far x is towards the next one."""
    index = jnp.clip(jnp.searchsorted(grid, x) - 1, 0, grid.size - 2)
    return index, (x - grid[index]) / (grid[index + 1] - grid[index])

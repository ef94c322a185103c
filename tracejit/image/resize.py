"""Resampling: an image and an output shape -> the image at that shape, one weight matrix per resized axis."""
from __future__ import annotations

import enum
import operator
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit, lax
from tracejit.numpy.promotion import canonical_axis, promote_dtypes_inexact


class ResizeMethod(enum.Enum):
    """The ways of interpolation; every function here takes their names as well."""

    NEAREST = 0
    LINEAR = 1
    LANCZOS3 = 2
    LANCZOS5 = 3
    CUBIC = 4
    CUBIC_PYTORCH = 5
    AREA = 6

    @staticmethod
    def from_string(s: str) -> ResizeMethod:
        if s not in NAMES:
            raise ValueError(f"unknown resize method {s!r}; there are {', '.join(NAMES)}")
        return NAMES[s]


NAMES = {
    "nearest": ResizeMethod.NEAREST,
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), ResizeMethod.LINEAR),
    "lanczos3": ResizeMethod.LANCZOS3,
    "lanczos5": ResizeMethod.LANCZOS5,
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), ResizeMethod.CUBIC),
    **dict.fromkeys(("cubic-pytorch", "bicubic-pytorch"), ResizeMethod.CUBIC_PYTORCH),
    "area": ResizeMethod.AREA,
}
SMALLEST_TOTAL = 1000 * float(np.finfo(np.float32).eps)


def triangle(x):
    return jnp.maximum(0, 1 - x)


def lanczos(radius, x):
    """sinc(x) sinc(x / radius) inside the radius."""
    safe = jnp.where(x > 1e-3, x, 1.0)
    inside = radius * jnp.sin(np.pi * safe) * jnp.sin(np.pi * safe / radius) / (np.pi**2 * safe**2)
    return jnp.where(x > radius, 0.0, jnp.where(x > 1e-3, inside, 1.0))


def cubic(a, x):
    """Keys, "Cubic convolution interpolation for digital image processing" (1981); a is the slope at 1."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return jnp.where(x >= 2, 0.0, jnp.where(x >= 1, far, near))


KERNELS = {
    ResizeMethod.LINEAR: triangle,
    ResizeMethod.LANCZOS3: partial(lanczos, 3.0),
    ResizeMethod.LANCZOS5: partial(lanczos, 5.0),
    ResizeMethod.CUBIC: partial(cubic, -0.5),
    ResizeMethod.CUBIC_PYTORCH: partial(cubic, -0.75),
}


def resize(image, shape, method, antialias: bool = True, precision=lax.Precision.HIGHEST):
    """``image`` resampled to ``shape``, which has as many axes.

    Args:
      method: a `ResizeMethod` or its name: 'nearest', 'linear', 'cubic', 'cubic-pytorch', 'lanczos3', 'lanczos5',
        'area'.
      antialias: when an axis shrinks, widen the kernel so that every input counts.
      precision: of the products with the weights.

    >>> import tracejit.numpy as jnp
    >>> print(resize(jnp.array([0., 3.]), (4,), 'linear'))
    [0.   0.75 2.25 3.  ]
    """
    return resized(jnp.asarray(image), tuple(map(operator.index, shape)), method_of(method), antialias, precision)


def method_of(method) -> ResizeMethod:
    return ResizeMethod.from_string(method) if isinstance(method, str) else method


@partial(jit, static_argnums=(1, 2, 3, 4))
def resized(image, shape, method, antialias, precision):
    check_rank(image, shape)
    axes = [axis for axis in range(image.ndim) if image.shape[axis] != shape[axis]]
    if method is ResizeMethod.NEAREST:
        for axis in axes:
            image = jnp.take(image, nearest(image.shape[axis], shape[axis]), axis=axis)
        return image
    (image,) = promote_dtypes_inexact("resize", image)
    scales = [shape[axis] / image.shape[axis] if shape[axis] else 1.0 for axis in axes]
    return contracted(image, shape, axes, scales, [0.0] * len(axes), method, antialias, precision)


def check_rank(image, shape) -> None:
    if len(shape) != image.ndim:
        raise ValueError(f"shape must have length equal to the number of dimensions of x: got {tuple(shape)} for "
                         f"{image.shape}")


def nearest(size: int, new_size: int):
    """The index of the input pixel that the centre of each output pixel lies in."""
    centres = (jnp.arange(new_size, dtype=jnp.float32) + 0.5) * size / new_size
    return jnp.floor(centres).astype(jnp.int32)


def scale_and_translate(image, shape, spatial_dims, scale, translation, method, antialias: bool = True,
                        precision=lax.Precision.HIGHEST):
    """``image`` magnified by ``scale`` and then moved by ``translation`` along ``spatial_dims``, cut to ``shape``.

    Input position x comes to ``x * scale + translation``; what lies outside the input is 0. Differentiable in image,
    scale and translation. Methods as for `resize`, without 'nearest'.

    >>> import tracejit.numpy as jnp
    >>> print(scale_and_translate(jnp.array([1., 2., 3.]), (3,), (0,), jnp.ones(1), jnp.ones(1), 'linear'))
    [0. 1. 2.]
    """
    image, shape, method = jnp.asarray(image), tuple(map(operator.index, shape)), method_of(method)
    check_rank(image, shape)
    if method is ResizeMethod.NEAREST:
        raise ValueError("scale_and_translate does not take the method 'nearest'")
    (image,) = promote_dtypes_inexact("scale_and_translate", image)
    scale, translation = (jnp.asarray(x) for x in promote_dtypes_inexact("scale_and_translate", jnp.asarray(scale),
                                                                         jnp.asarray(translation)))
    axes = [canonical_axis(axis, image.ndim) for axis in spatial_dims]
    return contracted(image, shape, axes, scale, translation, method, antialias, precision)


def contracted(image, shape, axes, scales, translations, method, antialias, precision):
    if method is ResizeMethod.CUBIC_PYTORCH and antialias:
        method = ResizeMethod.CUBIC
    for axis, scale, translation in zip(axes, scales, translations):
        weights = weight_matrix(image.shape[axis], shape[axis], scale, translation, method, antialias)
        product = jnp.tensordot(image, weights.astype(image.dtype), axes=((axis,), (0,)), precision=precision)
        image = jnp.moveaxis(product, -1, axis)
    return image


def weight_matrix(size, new_size, scale, translation, method, antialias):
    """How much each of ``size`` inputs counts for each of ``new_size`` outputs; columns have sum 1, or 0 outside."""
    dtype = jnp.result_type(scale, translation)
    inverse = 1.0 / scale
    left = jnp.arange(new_size, dtype=dtype) * inverse - translation * inverse
    centres = left + 0.5 * inverse - 0.5
    pixels = jnp.arange(size, dtype=dtype)[:, None]
    if method is ResizeMethod.AREA:
        overlap = jnp.minimum(left + inverse, pixels + 1) - jnp.maximum(left, pixels)
        weights = jnp.maximum(0.0, overlap)
    elif method is ResizeMethod.CUBIC_PYTORCH:
        return normalized(edge_weights(size, centres))
    else:
        width = jnp.maximum(inverse, 1.0) if antialias else 1.0
        weights = KERNELS[method](jnp.abs(centres - pixels) / width)
    return jnp.where((centres >= -0.5) & (centres <= size - 0.5), normalized(weights), 0)


def edge_weights(size, centres):
    """Cubic weights where inputs beyond the edge repeat the edge, so that theirs count for it."""
    padded = jnp.arange(-2, size + 2)
    weights = KERNELS[ResizeMethod.CUBIC_PYTORCH](jnp.abs(centres - padded[:, None].astype(centres.dtype)))
    return jnp.zeros((size, weights.shape[1]), weights.dtype).at[jnp.clip(padded, 0, size - 1)].add(weights)


def normalized(weights):
    total = weights.sum(0, keepdims=True)
    return jnp.where(jnp.abs(total) > SMALLEST_TOTAL, weights / jnp.where(total != 0, total, 1), 0)

"""Initial weights: an initializer maps (key, shape, dtype) to an array."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

import tracejit.numpy as jnp
from tracejit import random

# Standard deviation of a unit normal truncated to (-2, 2), and of a complex one truncated to radius 2.
TRUNCATED_DEVIATION, COMPLEX_TRUNCATED_DEVIATION = 0.87962566103423978, 0.95311164380491208
FANS: dict[str, Callable[[float, float], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: (fan_in * fan_out) ** 0.5,
}


@runtime_checkable
class Initializer(Protocol):
    """What initializers are: functions of a key, a shape and a dtype (default: float)."""

    def __call__(self, key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Any:
        raise NotImplementedError


def dtype_or_float(dtype) -> np.dtype:
    return np.dtype(jnp.result_type(float if dtype is None else dtype))


def zeros(key, shape, dtype=None, out_sharding=None):
    """All zeros; the key is not used.

    >>> print(zeros(None, (2,)))
    [0. 0.]
    """
    return jnp.zeros(shape, dtype_or_float(dtype))


def ones(key, shape, dtype=None, out_sharding=None):
    """All ones; the key is not used.

    >>> print(ones(None, (2,)))
    [1. 1.]
    """
    return jnp.ones(shape, dtype_or_float(dtype))


def constant(value, dtype=None) -> Initializer:
    """All ``value``.

    >>> print(constant(3.0)(None, (2,)))
    [3. 3.]
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        return jnp.full(shape, value, dtype_or_float(dtype))
    return init


def uniform(scale=0.01, dtype=None) -> Initializer:
    """Uniform in ``[0, scale)``.

    >>> from tracejit import random
    >>> uniform(10.0)(random.key(0), (2, 3)).shape
    (2, 3)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        dtype = dtype_or_float(dtype)
        return random.uniform(key, shape, dtype) * jnp.asarray(scale, dtype)
    return init


def normal(stddev=0.01, dtype=None) -> Initializer:
    """Normal with mean 0 and the given standard deviation.

    >>> from tracejit import random
    >>> normal(0.1)(random.key(0), (2, 3)).shape
    (2, 3)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        dtype = dtype_or_float(dtype)
        return random.normal(key, shape, dtype) * jnp.asarray(stddev, dtype)
    return init


def truncated_normal(stddev=0.01, dtype=None, lower=-2.0, upper=2.0) -> Initializer:
    """A unit normal truncated to ``(lower, upper)``, times ``stddev``.

    >>> from tracejit import random
    >>> truncated_normal(0.1)(random.key(0), (2, 3)).shape
    (2, 3)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        dtype = dtype_or_float(dtype)
        return random.truncated_normal(key, lower, upper, shape, dtype) * jnp.asarray(stddev, dtype)
    return init


def size_along(shape, axes) -> int:
    return math.prod(shape[i] for i in ((axes,) if isinstance(axes, int) else axes))


def fans(shape, in_axis, out_axis, batch_axis) -> tuple[float, float]:
    """The numbers of inputs and outputs of one unit; axes that are none of the three are a receptive field."""
    if in_axis == -2 and len(shape) <= 1:
        raise ValueError(f"cannot tell inputs from outputs in weights of shape {tuple(shape)}: they need 2 axes at "
                         "least, or in_axis and out_axis must be given")
    fan_in, fan_out = size_along(shape, in_axis), size_along(shape, out_axis)
    field = math.prod(shape) / fan_in / fan_out / size_along(shape, batch_axis)
    return fan_in * field, fan_out * field


def variance_scaling(scale, mode: str, distribution: str, in_axis=-2, out_axis=-1, batch_axis=(),
                     dtype=None) -> Initializer:
    """Weights of variance ``scale / n``, where ``mode`` says what n is: 'fan_in', 'fan_out', 'fan_avg', 'fan_geo_avg'.

    ``distribution`` is 'truncated_normal', 'normal' or 'uniform'. Axes that are neither inputs, outputs nor batch
    count as the receptive field of a convolution.

    >>> from tracejit import random
    >>> variance_scaling(1.0, 'fan_in', 'normal')(random.key(0), (2, 3)).shape
    (2, 3)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        if mode not in FANS:
            raise ValueError(f"variance_scaling: mode must be one of {tuple(FANS)}, got {mode!r}")
        if distribution not in SAMPLERS:
            raise ValueError(f"variance_scaling: distribution must be one of {tuple(SAMPLERS)}, got {distribution!r}")
        dtype = dtype_or_float(dtype)
        units = FANS[mode](*fans(shape, in_axis, out_axis, batch_axis))
        return SAMPLERS[distribution](key, tuple(shape), dtype, jnp.asarray(scale / units, dtype))
    return init


def scaled_normal(key, shape, dtype, variance):
    return random.normal(key, shape, dtype) * jnp.sqrt(variance)


def scaled_uniform(key, shape, dtype, variance):
    if jnp.issubdtype(dtype, np.complexfloating):
        return random_phase(key, shape, dtype, lambda u: jnp.sqrt(2 * u)) * jnp.sqrt(variance)
    return random.uniform(key, shape, dtype, -1) * jnp.sqrt(3 * variance)


def scaled_truncated(key, shape, dtype, variance):
    if jnp.issubdtype(dtype, np.complexfloating):
        deviation = jnp.sqrt(variance) / jnp.asarray(COMPLEX_TRUNCATED_DEVIATION, dtype)
        return random_phase(key, shape, dtype, lambda u: jnp.sqrt(-jnp.log(1 - (1 - math.exp(-4)) * u))) * deviation
    deviation = jnp.sqrt(variance) / jnp.asarray(TRUNCATED_DEVIATION, dtype)
    return random.truncated_normal(key, -2, 2, shape, dtype) * deviation


SAMPLERS = {"truncated_normal": scaled_truncated, "normal": scaled_normal, "uniform": scaled_uniform}


def random_phase(key, shape, dtype, radius_of):
    """Complex numbers of uniform phase, with the given function of a uniform variable as radius."""
    radius_key, phase_key = random.split(key)
    part = np.zeros((), dtype).real.dtype
    radius = radius_of(random.uniform(radius_key, shape, part))
    phase = 2 * np.pi * random.uniform(phase_key, shape, part)
    return radius.astype(dtype) * jnp.exp(1j * phase).astype(dtype)


def glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 1 / fan_avg, uniform (Glorot and Bengio, 2010); also called xavier_uniform.

    >>> from tracejit import random
    >>> glorot_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 1 / fan_avg, truncated normal (Glorot and Bengio, 2010); also called xavier_normal.

    >>> from tracejit import random
    >>> glorot_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 1 / fan_in, uniform (LeCun et al., 1998).

    >>> from tracejit import random
    >>> lecun_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 1 / fan_in, truncated normal (LeCun et al., 1998).

    >>> from tracejit import random
    >>> lecun_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 2 / fan_in, uniform (He et al., 2015); also called kaiming_uniform.

    >>> from tracejit import random
    >>> he_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(in_axis=-2, out_axis=-1, batch_axis=(), dtype=None) -> Initializer:
    """`variance_scaling` by 2 / fan_in, truncated normal (He et al., 2015); also called kaiming_normal.

    >>> from tracejit import random
    >>> he_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal = glorot_uniform, glorot_normal, he_uniform, he_normal


def orthogonal(scale=1.0, column_axis=-1, dtype=None) -> Initializer:
    """Uniform orthogonal matrices times ``scale``; axes other than ``column_axis`` together are the rows.

    >>> from tracejit import random
    >>> orthogonal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        dtype = dtype_or_float(dtype)
        if len(shape) < 2:
            raise ValueError(f"the orthogonal initializer takes shapes of 2 axes at least, got {tuple(shape)}")
        if 0 in shape:
            return jnp.zeros(shape, dtype)
        columns = shape[column_axis]
        matrix = random.orthogonal(key, math.prod(shape) // columns, (), dtype, columns)
        others = np.delete(np.array(shape), column_axis).tolist()
        return jnp.asarray(scale, dtype) * jnp.moveaxis(matrix.reshape(*others, columns), -1, column_axis)
    return init


def delta_orthogonal(scale=1.0, column_axis=-1, dtype=None) -> Initializer:
    """Convolution kernels ``[*window, in, out]`` of 1 to 3 window axes: an orthogonal matrix at the centre, else 0.

    Xiao et al., "Dynamical isometry and a mean field theory of CNNs" (2018). Needs in <= out.

    >>> from tracejit import random
    >>> delta_orthogonal()(random.key(0), (3, 3, 2, 4)).shape
    (3, 3, 2, 4)
    """
    def init(key, shape, dtype=dtype, out_sharding=None):
        dtype = dtype_or_float(dtype)
        if len(shape) not in (3, 4, 5):
            raise ValueError(f"the delta_orthogonal initializer takes shapes of 3, 4 or 5 axes, got {tuple(shape)}")
        if shape[-1] < shape[-2]:
            raise ValueError(f"the delta_orthogonal initializer needs fan_in <= fan_out, got shape {tuple(shape)}")
        matrix = orthogonal(scale, column_axis, dtype)(key, shape[-2:])
        centre = tuple((size - 1) // 2 for size in shape[:-2])
        return jnp.zeros(shape, dtype).at[centre].set(matrix)
    return init

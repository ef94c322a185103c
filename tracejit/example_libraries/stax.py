"""Small neural-network layers as pairs of functions: ``init_fun(key, input_shape) -> (output_shape, params)`` and
``apply_fun(params, inputs, **kwargs) -> outputs``. Combine them with `serial` and `parallel`.
"""
from __future__ import annotations

import functools
import math
import operator

import tracejit.numpy as jnp
from tracejit import lax, nn, random
from tracejit.nn.initializers import glorot_normal, normal, ones, zeros

glorot, randn = glorot_normal, normal
# How layers of images name their axes: batch, height, width, channels; weights height, width, in, out.
IMAGES = ("NHWC", "HWIO", "NHWC")


def elementwise(fun, **fun_kwargs):
    """A layer without parameters that applies ``fun(x, **fun_kwargs)``, which keeps the shape."""
    return lambda key, input_shape: (input_shape, ()), lambda params, inputs, **kwargs: fun(inputs, **fun_kwargs)


Tanh, Relu, Exp = elementwise(jnp.tanh), elementwise(nn.relu), elementwise(jnp.exp)
LogSoftmax, Softmax = elementwise(nn.log_softmax, axis=-1), elementwise(nn.softmax, axis=-1)
Softplus, Sigmoid, Elu, LeakyRelu = (elementwise(f) for f in (nn.softplus, nn.sigmoid, nn.elu, nn.leaky_relu))
Selu, Gelu = elementwise(nn.selu), elementwise(nn.gelu)


# The weights that layers start from unless told otherwise.
GLOROT, SMALL, TINY = glorot_normal(), normal(), normal(1e-6)


def Dense(out_dim: int, W_init=GLOROT, b_init=SMALL):
    """inputs @ W + b over the last axis.

    >>> from tracejit import random
    >>> init, apply = Dense(3)
    >>> shape, params = init(random.key(0), (-1, 2))
    >>> apply(params, jnp.ones((5, 2))).shape
    (5, 3)
    """
    def init_fun(key, input_shape):
        W_key, b_key = random.split(key)
        return (*input_shape[:-1], out_dim), (W_init(W_key, (input_shape[-1], out_dim)), b_init(b_key, (out_dim,)))

    def apply_fun(params, inputs, **kwargs):
        W, b = params
        return jnp.dot(inputs, W) + b

    return init_fun, apply_fun


def kernel_init(W_init, rhs_spec: str):
    return W_init or glorot_normal(rhs_spec.index("I"), rhs_spec.index("O"))


def kernel_shape(rhs_spec: str, filter_shape, in_channels: int, out_chan: int) -> tuple[int, ...]:
    window = iter(filter_shape)
    return tuple({"O": out_chan, "I": in_channels}.get(letter) or next(window) for letter in rhs_spec)


def convolution(dimension_numbers, out_chan, filter_shape, strides, padding, W_init, b_init, apply, output_shape):
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    strides = strides or (1,) * len(filter_shape)
    W_init = kernel_init(W_init, rhs_spec)

    def init_fun(key, input_shape):
        weights = kernel_shape(rhs_spec, filter_shape, input_shape[lhs_spec.index("C")], out_chan)
        bias = tuple(out_chan if letter == "C" else 1 for letter in out_spec)
        W_key, b_key = random.split(key)
        shape = output_shape(input_shape, weights, strides, padding, dimension_numbers)
        return shape, (W_init(W_key, weights), b_init(b_key, bias))

    def apply_fun(params, inputs, **kwargs):
        W, b = params
        return apply(inputs, W, strides, padding, dimension_numbers=dimension_numbers) + b

    return init_fun, apply_fun


def conv_output_shape(input_shape, weights, strides, padding, dimension_numbers):
    return shape_along(input_shape, weights, dimension_numbers, lambda sizes,
                       window: window_output(sizes, window, strides, padding))


def transposed_output_shape(input_shape, weights, strides, padding, dimension_numbers):
    def sizes_of(sizes, window):
        if padding == "SAME":
            return [size * stride for size, stride in zip(sizes, strides)]
        if padding == "VALID":
            return [size * stride + max(k - stride, 0) for size, k, stride in zip(sizes, window, strides)]
        pads = padding
        return [(size - 1) * stride + 1 + sum(pad) - k + 1 for size, k, stride,
                pad in zip(sizes, window, strides, pads)]
    return shape_along(input_shape, weights, dimension_numbers, sizes_of)


def shape_along(input_shape, weights, dimension_numbers, sizes_of):
    """The output's shape: batch and channels carried over, the other axes by
    ``sizes_of(input sizes, window sizes)``."""
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    letters = [letter for letter in rhs_spec if letter not in "IO"]
    sizes = sizes_of([input_shape[lhs_spec.index(letter)] for letter in letters],
                     [weights[rhs_spec.index(letter)] for letter in letters])
    found = dict(zip(letters, sizes), N=input_shape[lhs_spec.index("N")], C=weights[rhs_spec.index("O")])
    return tuple(found[letter] for letter in out_spec)


def window_output(sizes, window, strides, padding) -> list[int]:
    """How often windows fit."""
    if padding == "SAME":
        return [-(-size // stride) for size, stride in zip(sizes, strides)]
    pads = [(0, 0)] * len(window) if padding == "VALID" else padding
    return [(size + sum(pad) - k) // stride + 1 for size, k, stride, pad in zip(sizes, window, strides, pads)]


def GeneralConv(dimension_numbers, out_chan, filter_shape, strides=None, padding="VALID", W_init=None,
                b_init=TINY):
    """A convolution with bias; ``dimension_numbers`` names the axes of inputs, weights and outputs, as in `lax`."""
    return convolution(dimension_numbers, out_chan, filter_shape, strides, padding, W_init, b_init,
                       lax.conv_general_dilated,
                       conv_output_shape)


def GeneralConvTranspose(dimension_numbers, out_chan, filter_shape, strides=None, padding="VALID", W_init=None,
                         b_init=TINY):
    """A transposed convolution with bias, which undoes the change of shape of `GeneralConv`."""
    return convolution(dimension_numbers, out_chan, filter_shape, strides, padding, W_init, b_init, lax.conv_transpose,
                       transposed_output_shape)


Conv = functools.partial(GeneralConv, IMAGES)
ConvTranspose = functools.partial(GeneralConvTranspose, IMAGES)
Conv1DTranspose = functools.partial(GeneralConvTranspose, ("NHC", "HIO", "NHC"))


def BatchNorm(axis=(0, 1, 2), epsilon=1e-5, center=True, scale=True, beta_init=zeros, gamma_init=ones):
    """Standardise over the axes of the batch, then scale by gamma and shift by beta (one of each per other entry)."""
    axis = (axis,) if isinstance(axis, int) else tuple(axis)

    def init_fun(key, input_shape):
        shape = tuple(size for i, size in enumerate(input_shape) if i not in axis)
        beta_key, gamma_key = random.split(key)
        return input_shape, (beta_init(beta_key, shape) if center else (),
                             gamma_init(gamma_key, shape) if scale else ())

    def apply_fun(params, inputs, **kwargs):
        beta, gamma = params
        z = nn.standardize(inputs, axis, epsilon=epsilon)
        z = jnp.expand_dims(gamma, axis) * z if scale else z
        return z + jnp.expand_dims(beta, axis) if center else z

    return init_fun, apply_fun


def pooling(reduce, start, finish=None):
    """A layer maker for windows reduced by ``reduce`` from ``start``; ``finish(sums, counts)`` comes last."""
    def layer(window_shape, strides=None, padding="VALID", spec=None):
        steps = strides or (1,) * len(window_shape)

        def around(values, ndim):
            """Values for the window axes, 1 for batch and channels."""
            if spec is None:
                return (1, *values, 1)
            rest = iter(values)
            return tuple(1 if letter in "NC" else next(rest) for letter in spec)

        def init_fun(key, input_shape):
            window, stride = around(window_shape, len(input_shape)), around(steps, len(input_shape))
            pads = padding if isinstance(padding, str) else [(0, 0) if size == 1 else pad for size,
                                                             pad in zip(window, padding)]
            return tuple(window_output(input_shape, window, stride, pads)), ()

        def apply_fun(params, inputs, **kwargs):
            window, stride = around(window_shape, inputs.ndim), around(steps, inputs.ndim)
            out = lax.reduce_window(inputs, start, reduce, window, stride, padding)
            if finish is None:
                return out
            return finish(out, lax.reduce_window(jnp.ones_like(inputs), start, reduce, window, stride, padding))

        return init_fun, apply_fun

    return layer


MaxPool = pooling(lax.max, -math.inf)
SumPool = pooling(lax.add, 0.0)
AvgPool = pooling(lax.add, 0.0, operator.truediv)


def flatten_shape(key, input_shape):
    return (input_shape[0], math.prod(input_shape[1:])), ()


Flatten = flatten_shape, lambda params, inputs, **kwargs: jnp.reshape(inputs, (inputs.shape[0], -1))
Identity = (lambda key, input_shape: (input_shape, ())), lambda params, inputs, **kwargs: inputs


def FanOut(num: int):
    """The input, ``num`` times."""
    return lambda key, input_shape: ([input_shape] * num, ()), lambda params, inputs, **kwargs: [inputs] * num


FanInSum = (lambda key, input_shape: (input_shape[0], ())), lambda params, inputs, **kwargs: sum(inputs)


def FanInConcat(axis: int = -1):
    """Several inputs joined along an axis."""
    def init_fun(key, input_shape):
        place = axis % len(input_shape[0])
        joined = sum(shape[place] for shape in input_shape)
        return (*input_shape[0][:place], joined, *input_shape[0][place + 1:]), ()

    return init_fun, lambda params, inputs, **kwargs: jnp.concatenate(inputs, axis)


def Dropout(rate, mode: str = "train"):
    """Keep each entry with probability ``rate``, scaled by its inverse, when ``mode`` is 'train'; apply it with
    ``rng=key``."""
    def apply_fun(params, inputs, rng=None, **kwargs):
        if rng is None:
            raise ValueError("Dropout needs a key: apply_fun(params, inputs, rng=key)")
        if mode != "train":
            return inputs
        keep = random.bernoulli(rng, rate, inputs.shape)
        return jnp.where(keep, inputs / rate, 0)

    return lambda key, input_shape: (input_shape, ()), apply_fun


def keys_for(rng, count: int):
    return [None] * count if rng is None else random.split(rng, count)


def serial(*layers):
    """Layers one after the other.

    >>> from tracejit import random
    >>> init, apply = serial(Dense(8), Relu, Dense(2), LogSoftmax)
    >>> shape, params = init(random.key(0), (-1, 4))
    >>> apply(params, jnp.ones((3, 4))).shape
    (3, 2)
    """
    init_funs, apply_funs = zip(*layers)

    def init_fun(key, input_shape):
        params = []
        for init in init_funs:
            key, layer_key = random.split(key)
            input_shape, layer_params = init(layer_key, input_shape)
            params.append(layer_params)
        return input_shape, params

    def apply_fun(params, inputs, **kwargs):
        keys = keys_for(kwargs.pop("rng", None), len(layers))
        for apply, layer_params, key in zip(apply_funs, params, keys):
            inputs = apply(layer_params, inputs, rng=key, **kwargs)
        return inputs

    return init_fun, apply_fun


def parallel(*layers):
    """Layers beside each other, each with an input of its own; often between `FanOut` and `FanInSum`."""
    init_funs, apply_funs = zip(*layers)

    def init_fun(key, input_shape):
        results = [init(k, shape) for init, k, shape in zip(init_funs, random.split(key, len(layers)), input_shape)]
        shapes, params = zip(*results)
        return list(shapes), tuple(params)

    def apply_fun(params, inputs, **kwargs):
        keys = keys_for(kwargs.pop("rng", None), len(layers))
        return [apply(p, x, rng=key, **kwargs) for apply, p, x, key in zip(apply_funs, params, inputs, keys)]

    return init_fun, apply_fun


def shape_dependent(make_layer):
    """The layer ``make_layer(input_shape)``, made when the shape is known."""
    return (lambda key, input_shape: make_layer(input_shape)[0](key, input_shape),
            lambda params, inputs, **kwargs: make_layer(inputs.shape)[1](params, inputs, **kwargs))

"""Initial value problems of ordinary differential equations, differentiable by the adjoint method.

Dormand and Prince's pair of orders 5 and 4 (1980) with adaptive steps and a polynomial of degree 4 between them;
gradients by the adjoint equation, integrated backwards (Chen et al., 2018), which keeps no intermediate states.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import closure_convert, custom_vjp, lax, vjp, vmap
from tracejit.flatten_util import ravel_pytree
from tracejit.tree_util import tree_leaves, tree_map

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
FOURTH_ORDER = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
ERROR = tuple(fifth - fourth for fifth, fourth in zip((*STAGES[-1], 0.0), FOURTH_ORDER))
# Shampine (1986): half a step, to order 4.
MIDDLE = (6025192743 / 30085553152, 0.0, 51252292925 / 65400821598, -2691868925 / 45128329728,
          187940372067 / 1594534317056, -1776094331 / 19743644256, 11237099 / 235043384)


def odeint(func: Callable, y0, t, *args, rtol=1.4e-8, atol=1.4e-8, mxstep=math.inf, hmax=math.inf):
    """The solution of ``dy/dt = func(y, t, *args)`` from y0 at t[0], at all times t: leaves gain a leading time axis.

    Args:
      y0: a pytree of arrays; func returns one like it.
      t: strictly monotonic floats, ascending.
      args: pytrees of arrays on which func depends; the result is differentiable in y0, t and args.
      rtol, atol: tolerances of the local error, relative and absolute; mxstep: most steps between two times; hmax:
        longest step.

    >>> import tracejit.numpy as jnp
    >>> y = odeint(lambda y, t, k: -k * y, jnp.float32(1.0), jnp.array([0.0, 1.0]), 1.0)
    >>> print(y.round(4))
    [1.     0.3679]
    """
    for leaf in tree_leaves(args):
        if callable(leaf) or isinstance(leaf, str):
            raise TypeError(f"odeint: args must be arrays or numbers, got {leaf!r}")
    t = jnp.asarray(t)
    if not jnp.issubdtype(t.dtype, np.floating):
        raise TypeError(f"odeint: t must be floats, got {t.dtype}")
    start, unravel = ravel_pytree(y0)
    # A compiled function would round Python's floats to the default dtype.
    args = tree_map(lambda x: jnp.asarray(x, start.dtype) if isinstance(x, float) else x, args)
    converted, captured = closure_convert(func, y0, t[0], *args)

    def flat_func(y, t, *args):
        return ravel_pytree(converted(unravel(y), t, *args))[0]

    options = (float(rtol), float(atol), float(mxstep), float(hmax))
    return vmap(unravel)(integrated(flat_func, options, start, t, *args, *captured))


@partial(custom_vjp, nondiff_argnums=(0, 1))
def integrated(func, options, y0, ts, *args):
    """[times, n] for a flat y0."""
    rtol, atol, mxstep, hmax = options

    def rate(y, t):
        return func(y, t, *args)

    def to_next_time(state, target):
        def unfinished(inner):
            count, _, _, t, step, *_ = inner
            return (t < target) & (count < mxstep) & (step > 0)

        def advance(inner):
            count, y, slope, t, step, *_ = inner
            slopes = stage_slopes(rate, y, slope, t, step)
            new = y + step.astype(y.dtype) * combined(STAGES[-1], slopes)
            ratio = error_ratio(step.astype(y.dtype) * combined(ERROR, slopes), rtol, atol, y, new)
            polynomial = between(y, new, slopes, step)
            accepted = (count + 1, new, slopes[-1], t + step, t, polynomial)
            count, y, slope, t, last, polynomial = (jnp.where(ratio <= 1, a, b) for a, b in
                                                    zip(accepted, (count + 1, y, slope, t, inner[5], inner[6])))
            return count, y, slope, t, next_step(step, ratio, hmax), last, polynomial

        _, *state = lax.while_loop(unfinished, advance, (jnp.int32(0), *state))
        _, _, t, _, last, polynomial = state
        return tuple(state), evaluated(polynomial, ((target - last) / (t - last)).astype(polynomial.dtype))

    slope = rate(y0, ts[0])
    step = jnp.clip(first_step(rate, ts[0], y0, slope, rtol, atol), 0, hmax)
    state = (y0, slope, ts[0], step, ts[0], jnp.stack([y0] * 5))
    _, ys = lax.scan(to_next_time, state, ts[1:])
    return jnp.concatenate([y0[None], ys])


def combined(weights, slopes):
    return sum(weight * slope for weight, slope in zip(weights, slopes) if weight)


def stage_slopes(rate, y, slope, t, step) -> list:
    slopes = [slope]
    for node, weights in zip(NODES, STAGES):
        slopes.append(rate(y + step.astype(y.dtype) * combined(weights, slopes), t + step * node))
    return slopes


def between(y0, y1, slopes, step):
    """The quartic through both ends and the middle with the slopes of the ends, in the fraction of the step; [5, n]."""
    step = step.astype(y0.dtype)
    middle = y0 + step / 2 * combined(MIDDLE, slopes)
    d0, d1 = step * slopes[0], step * slopes[-1]
    return jnp.stack([2 * (d1 - d0) - 8 * (y1 + y0) + 16 * middle, 5 * d0 - 3 * d1 + 18 * y0 + 14 * y1 - 32 * middle,
                      d1 - 4 * d0 - 11 * y0 - 5 * y1 + 16 * middle, d0, y0])


def evaluated(polynomial, x):
    value = polynomial[0]
    for coefficient in polynomial[1:]:
        value = value * x + coefficient
    return value


def error_ratio(error, rtol, atol, y0, y1):
    """The root mean square of the error over what is tolerated."""
    scaled = jnp.abs(error) / (atol + rtol * jnp.maximum(jnp.abs(y0), jnp.abs(y1)))
    return jnp.sqrt(jnp.mean(jnp.square(scaled)))


def next_step(step, ratio, hmax):
    """A step with nine tenths of the tolerated error, at most ten times longer and five times shorter."""
    least = jnp.where(ratio < 1, 1.0, 0.2)
    factor = jnp.clip(0.9 * jnp.where(ratio > 0, ratio, 1) ** -0.2, least, 10.0)
    return jnp.clip(step * jnp.where(ratio == 0, 10.0, factor).astype(step.dtype), 0, hmax)


def first_step(rate, t, y, slope, rtol, atol):
    """Hairer, Norsett and Wanner, "Solving ordinary differential equations I", section II.4."""
    scale = atol + jnp.abs(y) * rtol

    def size(v):
        return jnp.linalg.norm(v / scale).astype(t.dtype)

    d0, d1 = size(y), size(slope)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    guess = jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1, d1))
    ahead = rate(y + guess.astype(y.dtype) * slope, t + guess)
    d2 = size(ahead - slope) / guess
    largest = jnp.maximum(d1, d2)
    better = jnp.where(largest <= 1e-15, jnp.maximum(1e-6, guess * 1e-3),
                       (0.01 / jnp.where(largest > 0, largest, 1)) ** 0.2)
    return jnp.minimum(100 * guess, better)


def forward(func, options, y0, ts, *args):
    ys = integrated(func, options, y0, ts, *args)
    return ys, (ys, ts, args)


def backward(func, options, saved, cotangent):
    """The adjoint equation, from each time back to the one before; the solution itself is integrated along."""
    ys, ts, args = saved
    rtol, atol, mxstep, hmax = options

    def adjoint_rate(state, minus_t, *args):
        y, y_bar, *_ = state
        slope, pullback = vjp(func, y, -minus_t, *args)
        return (-slope, *pullback(y_bar))

    def to_time_before(state, i):
        y_bar, t0_bar, args_bar = state
        t_bar = jnp.dot(func(ys[i], ts[i], *args), cotangent[i]).real.astype(ts.dtype)
        start = (ys[i], y_bar, t0_bar - t_bar, args_bar)
        ends = odeint(lambda s, t, *args: with_structure(adjoint_rate((s[0], s[1]), t, *args)), start,
                      jnp.stack([-ts[i], -ts[i - 1]]), *args, rtol=rtol, atol=atol, mxstep=mxstep, hmax=hmax)
        _, y_bar, t0_bar, args_bar = tree_map(lambda leaf: leaf[1], ends)
        return (y_bar + cotangent[i - 1], t0_bar, args_bar), t_bar

    start = (cotangent[-1], jnp.zeros((), ts.dtype), tree_map(jnp.zeros_like, args))
    (y_bar, t0_bar, args_bar), ts_bar = lax.scan(to_time_before, start, jnp.arange(len(ts) - 1, 0, -1))
    return (y_bar, jnp.concatenate([t0_bar[None], ts_bar[::-1]]), *args_bar)


def with_structure(rates):
    slope, y_rate, t_rate, *args_rates = rates
    return slope, y_rate, t_rate, tuple(args_rates)


integrated.defvjp(forward, backward)

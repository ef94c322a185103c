"""A step length along a direction that satisfies the strong Wolfe conditions: sufficient decrease, and a flatter
slope."""
from __future__ import annotations

from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit import lax

DECREASE, CURVATURE = 1e-4, 0.9


class Point(NamedTuple):
    """A trial step: its length, value and slope along the line, and the gradient there."""

    step: Any
    value: Any
    slope: Any
    gradient: Any


class Search(NamedTuple):
    """The bracket, its better end first; the trial evaluated last; whether it is accepted, and whether a bracket is
    known."""

    low: Point
    high: Point
    trial: Point
    bracketed: Any
    done: Any
    evaluations: Any


def pick(condition, first, second):
    return Point(*(jnp.where(condition, a, b) for a, b in zip(first, second)))


def minimizer_of_cubic(a: Point, b: Point):
    """Where the cubic through both values and slopes is smallest; the middle where that is at neither side's good."""
    width = b.step - a.step
    safe = jnp.where(width == 0, 1, width)
    mean = a.slope + b.slope - 3 * (b.value - a.value) / safe
    square = mean * mean - a.slope * b.slope
    root = jnp.sign(width) * jnp.sqrt(jnp.maximum(square, 0))
    denominator = b.slope - a.slope + 2 * root
    fraction = 1 - (b.slope + root - mean) / jnp.where(denominator == 0, 1, denominator)
    inside = (square > 0) & (denominator != 0) & (fraction > 0.1) & (fraction < 0.9)
    return a.step + width * jnp.where(inside, fraction, 0.5)


def line_search(value_and_grad, x, direction, value, gradient, first_step, maxiter: int):
    """``(trial, found, evaluations)``; Nocedal and Wright, "Numerical optimization", algorithms 3.5 and 3.6."""
    start = Point(jnp.zeros((), x.dtype), value, gradient @ direction, gradient)

    def evaluate(step):
        value, gradient = value_and_grad(x + step * direction)
        return Point(step, value, gradient @ direction, gradient)

    def advance(state: Search) -> Search:
        step = jnp.where(state.bracketed, minimizer_of_cubic(state.low, state.high), 2 * state.low.step)
        trial = evaluate(jnp.where(state.low.step == 0, jnp.where(state.bracketed, step, first_step), step))
        return judged(state, trial)

    def judged(state: Search, trial: Point) -> Search:
        low, high = state.low, state.high
        fits = trial.value <= start.value + DECREASE * trial.step * start.slope
        worse = ~fits | (trial.value >= low.value) & (low.step > 0) | ~jnp.isfinite(trial.value)
        done = ~worse & (jnp.abs(trial.slope) <= -CURVATURE * start.slope)
        # Downhill in the direction of the search: the minimum lies beyond the trial, else between it and the old end.
        side = jnp.where(state.bracketed, high.step - low.step, 1)
        beyond = trial.slope * side < 0
        bracketed = state.bracketed | worse | ~beyond
        new_high = pick(worse, trial, pick(beyond, high, low))
        return Search(pick(worse, low, trial), new_high, trial, bracketed, done, state.evaluations + 1)

    state = Search(start, start, start, jnp.asarray(False), jnp.asarray(False), jnp.int32(0))
    state = lax.while_loop(lambda s: ~s.done & (s.evaluations < maxiter), advance, state)
    # Out of steps: the best point seen that decreases the value will do.
    usable = state.done | (state.low.step > 0)
    return pick(state.done, state.trial, state.low), usable, state.evaluations

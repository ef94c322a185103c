"""Small first-order optimisers: a recipe for one array's state -> functions on whole trees of parameters.

    opt_init, opt_update, get_params = adam(1e-3)
    state = opt_init(params)
    state = opt_update(step, gradients, state)
    params = get_params(state)
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tracejit.numpy as jnp
from tracejit import tree_util

Schedule = Callable[[Any], Any]


class Optimizer(NamedTuple):
    """``init_fn(params) -> state``, ``update_fn(step, gradients, state) -> state``, ``params_fn(state) -> params``."""

    init_fn: Callable
    update_fn: Callable
    params_fn: Callable


class OptimizerState(NamedTuple):
    """A pytree: for each parameter the leaves of its state, and (static) the structures of the tree and of the
    states."""

    packed_state: tuple
    tree_def: Any
    subtree_defs: tuple


tree_util.register_pytree_node(OptimizerState, lambda s: ((s.packed_state,), (s.tree_def, s.subtree_defs)),
                               lambda static, leaves: OptimizerState(leaves[0], *static))


def optimizer(opt_maker: Callable[..., tuple]) -> Callable[..., Optimizer]:
    """Make an optimiser for trees out of a recipe for single arrays.

    ``opt_maker(*args)`` returns init(x) -> state, update(step, gradient, state) -> state and get_params(state) -> x.

    >>> @optimizer
    ... def descent(rate):
    ...     return lambda x: x, lambda i, g, x: x - rate * g, lambda x: x
    >>> init, update, params = descent(0.5)
    >>> params(update(0, {'w': 2.0}, init({'w': 3.0})))
    {'w': 2.0}
    """
    @functools.wraps(opt_maker)
    def tree_opt_maker(*args, **kwargs):
        init, update, get_params = opt_maker(*args, **kwargs)

        def tree_init(params):
            leaves, tree = tree_util.tree_flatten(params)
            return packed([init(leaf) for leaf in leaves], tree)

        def tree_update(step, gradients, state):
            leaves, tree = tree_util.tree_flatten(gradients)
            if tree != state.tree_def:
                raise TypeError("optimizer update function was passed a gradient tree that did not match the parameter tree "
                                f"structure with which it was initialized: {tree} instead of {state.tree_def}")
            new = packed([update(step, g, old) for g, old in zip(leaves, states_of(state))], tree)
            if new.subtree_defs != state.subtree_defs:
                raise TypeError(f"the optimiser changed the structure of its state from {state.subtree_defs} to "
                                f"{new.subtree_defs}")
            return new

        def tree_params(state):
            return tree_util.tree_unflatten(state.tree_def, [get_params(s) for s in states_of(state)])

        return Optimizer(tree_init, tree_update, tree_params)

    return tree_opt_maker


def packed(states: Sequence, tree) -> OptimizerState:
    flat = [tree_util.tree_flatten(state) for state in states]
    return OptimizerState(tuple(tuple(leaves) for leaves, _ in flat), tree, tuple(subtree for _, subtree in flat))


def states_of(state: OptimizerState) -> list:
    return [tree_util.tree_unflatten(*pair) for pair in zip(state.subtree_defs, state.packed_state)]


@optimizer
def sgd(step_size):
    """Gradient descent: x - step_size(i) g. ``step_size`` is a number or a function of the step."""
    rate = make_schedule(step_size)
    return lambda x: x, lambda i, g, x: x - rate(i) * g, lambda x: x


@optimizer
def momentum(step_size, mass: float):
    """Gradient descent with a velocity that keeps the part ``mass`` of itself in each step."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, velocity = state
        velocity = mass * velocity + g
        return x - rate(i) * velocity, velocity

    return lambda x: (x, jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def nesterov(step_size, mass: float):
    """`momentum` that looks ahead along the velocity."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, velocity = state
        velocity = mass * velocity + g
        return x - rate(i) * (mass * velocity + g), velocity

    return lambda x: (x, jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def adagrad(step_size, momentum=0.9):
    """Steps divided by the root of all squared gradients so far (Duchi et al., 2011), with momentum."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, squares, velocity = state
        squares = squares + jnp.square(g)
        scaled = jnp.where(squares > 0, g / jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        velocity = (1 - momentum) * scaled + momentum * velocity
        return x - rate(i) * velocity, squares, velocity

    return lambda x: (x, jnp.zeros_like(x), jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def rmsprop(step_size, gamma=0.9, eps=1e-8):
    """Steps divided by the root of a running mean of squared gradients (Tieleman and Hinton, 2012)."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, mean = state
        mean = gamma * mean + (1 - gamma) * jnp.square(g)
        return x - rate(i) * g / jnp.sqrt(mean + eps), mean

    return lambda x: (x, jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def rmsprop_momentum(step_size, gamma=0.9, eps=1e-8, momentum=0.9):
    """`rmsprop` with momentum."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, mean, velocity = state
        mean = gamma * mean + (1 - gamma) * jnp.square(g)
        velocity = momentum * velocity + rate(i) * g / jnp.sqrt(mean + eps)
        return x - velocity, mean, velocity

    return lambda x: (x, jnp.zeros_like(x), jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def adam(step_size, b1=0.9, b2=0.999, eps=1e-8):
    """Running means of gradients and of their squares, both corrected for their start at 0 (Kingma and Ba, 2014)."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, mean, square = state
        mean, square = (1 - b1) * g + b1 * mean, (1 - b2) * jnp.square(g) + b2 * square
        power = jnp.asarray(i + 1, mean.dtype)
        unbiased, unbiased_square = mean / (1 - b1**power), square / (1 - b2**power)
        return x - rate(i) * unbiased / (jnp.sqrt(unbiased_square) + eps), mean, square

    return lambda x: (x, jnp.zeros_like(x), jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def adamax(step_size, b1=0.9, b2=0.999, eps=1e-8):
    """`adam` with a running maximum in place of the mean square (Kingma and Ba, 2014)."""
    rate = make_schedule(step_size)

    def update(i, g, state):
        x, mean, largest = state
        mean, largest = (1 - b1) * g + b1 * mean, jnp.maximum(b2 * largest, jnp.abs(g))
        power = jnp.asarray(i + 1, mean.dtype)
        return x - rate(i) / (1 - b1**power) * mean / (largest + eps), mean, largest

    return lambda x: (x, jnp.zeros_like(x), jnp.zeros_like(x)), update, lambda state: state[0]


@optimizer
def sm3(step_size, momentum=0.9):
    """`adagrad` with one accumulator per slice of each axis instead of one per entry (Anil et al., 2019)."""
    rate = make_schedule(step_size)

    def init(x):
        return x, jnp.zeros_like(x), [jnp.zeros(size, x.dtype) for size in x.shape or (1,)], x.ndim

    def update(i, g, state):
        x, velocity, accumulators, ndim = state
        rows = jnp.atleast_1d(g)    # a number is a vector of one
        along = [a.reshape(*(-1 if j == axis else 1 for j in range(rows.ndim))) for axis, a in enumerate(accumulators)]
        squares = functools.reduce(jnp.minimum, along) + jnp.square(rows)
        scaled = jnp.where(squares > 0, rows / jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        velocity = (1 - momentum) * scaled.reshape(g.shape) + momentum * velocity
        others = [tuple(j for j in range(rows.ndim) if j != axis) for axis in range(rows.ndim)]
        return x - rate(i) * velocity, velocity, [squares.max(axes) for axes in others], ndim

    return init, update, lambda state: state[0]


def constant(step_size) -> Schedule:
    """The same step size in every step."""
    return lambda i: step_size


def exponential_decay(step_size, decay_steps, decay_rate) -> Schedule:
    """Multiplied by ``decay_rate`` every ``decay_steps``, continuously."""
    return lambda i: step_size * decay_rate ** (i / decay_steps)


def inverse_time_decay(step_size, decay_steps, decay_rate, staircase: bool = False) -> Schedule:
    """Divided by 1 + decay_rate i / decay_steps; with ``staircase`` that quotient is rounded down."""
    return lambda i: step_size / (1 + decay_rate * (jnp.floor(i / decay_steps) if staircase else i / decay_steps))


def polynomial_decay(step_size, decay_steps, final_step_size, power=1.0) -> Schedule:
    """From ``step_size`` to ``final_step_size`` within ``decay_steps``, as a power of the steps left."""
    def schedule(i):
        left = (1 - jnp.minimum(i, decay_steps) / decay_steps) ** power
        return left * (step_size - final_step_size) + final_step_size
    return schedule


def piecewise_constant(boundaries, values) -> Schedule:
    """values[k] between the boundaries k - 1 and k; there is one value more than there are boundaries."""
    boundaries, values = jnp.asarray(boundaries), jnp.asarray(values)
    if boundaries.ndim != 1 or values.shape != (boundaries.shape[0] + 1,):
        raise ValueError("piecewise_constant takes n boundaries and n + 1 values, got shapes "
                         f"{boundaries.shape} and {values.shape}")
    return lambda i: values[jnp.sum(i > boundaries)]


def make_schedule(scalar_or_schedule) -> Schedule:
    """A schedule as it is, or a number as a constant one.

    >>> make_schedule(0.1)(7)
    0.1
    """
    if callable(scalar_or_schedule):
        return scalar_or_schedule
    if jnp.ndim(scalar_or_schedule) == 0:
        return constant(scalar_or_schedule)
    raise TypeError(f"a step size is a number or a function of the step, got {type(scalar_or_schedule).__name__}")


def l2_norm(tree):
    """The root of the sum of squares of all leaves.

    >>> print(l2_norm({'a': 3.0, 'b': 4.0}))
    5.0
    """
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in tree_util.tree_leaves(tree)))


def clip_grads(grad_tree, max_norm):
    """The gradients, scaled down together if their norm is above ``max_norm``."""
    norm = l2_norm(grad_tree)
    return tree_util.tree_map(lambda g: jnp.where(norm < max_norm, g, g * (max_norm / norm)), grad_tree)


class JoinPoint:
    """Marks where the state of one parameter begins in the tree that `unpack_optimizer_state` returns."""

    def __init__(self, subtree):
        self.subtree = subtree

    def __iter__(self):
        yield self.subtree


def unpack_optimizer_state(opt_state: OptimizerState):
    """The state as a tree like the parameters', with a `JoinPoint` around each parameter's state, for saving."""
    return tree_util.tree_unflatten(opt_state.tree_def, [JoinPoint(state) for state in states_of(opt_state)])


def pack_optimizer_state(marked_pytree) -> OptimizerState:
    """The inverse of `unpack_optimizer_state`."""
    points, tree = tree_util.tree_flatten(marked_pytree, is_leaf=lambda node: isinstance(node, JoinPoint))
    if not all(isinstance(point, JoinPoint) for point in points):
        raise TypeError("pack_optimizer_state takes a tree with a JoinPoint for each parameter")
    return packed([point.subtree for point in points], tree)

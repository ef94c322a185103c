"""Minimisation of smooth functions by quasi-Newton methods, as one compiled loop."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax, value_and_grad

from .line_search import line_search

LBFGS = "l-bfgs-experimental-do-not-rely-on-this"


class OptimizeResults(NamedTuple):
    """What `minimize` found.

    x: the point; success: whether its gradient is small enough; status: 0 if so, 1 if out of iterations, 3 if no step
    decreased the value; fun, jac: value and gradient at x; hess_inv: the approximate inverse Hessian (None for L-BFGS);
    nfev, njev, nit: numbers of values, gradients and iterations.
    """

    x: Any
    success: Any
    status: Any
    fun: Any
    jac: Any
    hess_inv: Any
    nfev: Any
    njev: Any
    nit: Any


class Progress(NamedTuple):
    """State of a quasi-Newton loop; ``memory`` is the method's model of the curvature."""

    x: Any
    value: Any
    gradient: Any
    before: Any
    memory: Any
    converged: Any
    failed: Any
    steps: Any
    evaluations: Any


def minimize(fun: Callable, x0, args: tuple = (), *, method: str, tol: float | None = None,
             options: Mapping[str, Any] | None = None) -> OptimizeResults:
    """Minimise ``fun(x, *args)``, a scalar, from the vector x0.

    Args:
      method: 'BFGS', or 'l-bfgs-experimental-do-not-rely-on-this' for the variant of limited memory.
      tol: the default of the option gtol.
      options: gtol (1e-5) and norm (inf): stop when that norm of the gradient is below; maxiter (200 per variable);
        line_search_maxiter (10), for L-BFGS maxls (20); for L-BFGS also maxcor (10) pairs remembered and ftol, the
        least relative decrease, and maxfun, maxgrad.

    >>> import tracejit.numpy as jnp
    >>> result = minimize(lambda x: ((x - 3.0) ** 2).sum(), jnp.zeros(2), method='BFGS')
    >>> bool(result.success)
    True
    """
    if not isinstance(args, tuple):
        raise TypeError(f"minimize: args must be a tuple, got {type(args).__name__}")
    x0, options = jnp.asarray(x0), dict(options or {})
    if x0.ndim != 1 or not jnp.issubdtype(x0.dtype, np.floating):
        raise ValueError(f"minimize takes a vector of floats as x0, got {x0.dtype} of shape {x0.shape}")
    if tol is not None:
        options.setdefault("gtol", tol)
    evaluate = value_and_grad(lambda x: fun(x, *args))
    if method.lower() == "bfgs":
        return bfgs(evaluate, x0, **options)
    if method.lower() == LBFGS:
        return lbfgs(evaluate, x0, **options)
    raise ValueError(f"minimize: method must be 'BFGS' or {LBFGS!r}, got {method!r}")


def bfgs(evaluate, x0, maxiter=None, norm=math.inf, gtol=1e-5, line_search_maxiter=10) -> OptimizeResults:
    """Nocedal and Wright, algorithm 6.1."""

    def direction(inverse, gradient):
        return -inverse @ gradient

    def update(inverse, s, y):
        curvature = s @ y
        usable = curvature > 0
        rho = 1 / jnp.where(usable, curvature, 1)
        left = jnp.eye(s.size, dtype=s.dtype) - rho * jnp.outer(s, y)
        return jnp.where(usable, left @ inverse @ left.T + rho * jnp.outer(s, s), inverse)

    end = quasi_newton(evaluate, x0, direction, update, jnp.eye(x0.size, dtype=x0.dtype), maxiter, norm, gtol,
                       line_search_maxiter)
    return report(end, end.memory)


def lbfgs(evaluate, x0, maxiter=None, norm=math.inf, maxcor=10, ftol=2.220446049250313e-09, gtol=1e-5, maxfun=None,
          maxgrad=None, maxls=20) -> OptimizeResults:
    """Nocedal and Wright, algorithms 7.4 and 7.5: the inverse Hessian as a product of the last few updates."""
    empty = jnp.zeros((maxcor, x0.size), x0.dtype)

    def direction(memory, gradient):
        steps, changes, rho, scale = memory

        def backwards(q, i):
            alpha = rho[i] * (steps[i] @ q)
            return q - alpha * changes[i], alpha

        def forwards(r, i_alpha):
            i, alpha = i_alpha
            return r + steps[i] * (alpha - rho[i] * (changes[i] @ r)), None

        newest_first = jnp.arange(maxcor - 1, -1, -1)
        q, alphas = lax.scan(backwards, gradient, newest_first)
        r, _ = lax.scan(forwards, scale * q, (newest_first[::-1], alphas[::-1]))
        return -r

    def update(memory, s, y):
        steps, changes, rho, scale = memory
        curvature = s @ y
        usable = curvature > 0
        # A pair of zeros takes no part in the product.
        s, y = (jnp.where(usable, v, 0) for v in (s, y))
        new = [jnp.roll(old, -1, 0).at[-1].set(v) for old, v in ((steps, s), (changes, y))]
        inverse = jnp.where(usable, 1 / jnp.where(usable, curvature, 1), 0)
        return (*new, jnp.roll(rho, -1).at[-1].set(inverse),
                jnp.where(usable, curvature / jnp.where(usable, y @ y, 1), scale))

    memory = (empty, empty, jnp.zeros(maxcor, x0.dtype), jnp.ones((), x0.dtype))
    limit = min(maxfun or math.inf, maxgrad or math.inf)
    return report(quasi_newton(evaluate, x0, direction, update, memory, maxiter, norm, gtol, maxls, ftol, limit), None)


def quasi_newton(evaluate, x0, direction, update, memory, maxiter, norm, gtol, line_steps, ftol=None,
                 limit=math.inf) -> Progress:
    maxiter = 200 * x0.size if maxiter is None else maxiter

    def small(gradient):
        return jnp.linalg.norm(gradient, ord=norm) < gtol

    def goes_on(state: Progress):
        return ~state.converged & ~state.failed & (state.steps < maxiter) & (state.evaluations < min(limit, 2**31 - 1))

    def step(state: Progress) -> Progress:
        p = direction(state.memory, state.gradient)
        slope = state.gradient @ p
        # The first step has no curvature to go by: as far as the last decrease suggests.
        guess = jnp.where(state.steps == 0, jnp.minimum(1, 2.02 * (state.value - state.before) / slope), 1)
        guess = jnp.where(guess > 0, guess, 1)
        trial, found, evaluations = line_search(evaluate, state.x, p, state.value, state.gradient, guess, line_steps)
        s, y = trial.step * p, trial.gradient - state.gradient
        converged = small(trial.gradient)
        if ftol is not None:
            size = jnp.maximum(jnp.abs(state.value), jnp.abs(trial.value))
            decrease = (state.value - trial.value) / jnp.maximum(size, 1)
            converged = converged | found & (decrease <= ftol)
        return Progress(state.x + s, trial.value, trial.gradient, state.value, update(state.memory, s, y), converged,
                        ~found, state.steps + 1, state.evaluations + evaluations)

    value, gradient = evaluate(x0)
    before = value + jnp.linalg.norm(gradient) / 2
    start = Progress(x0, value, gradient, before, memory, small(gradient), jnp.asarray(False), jnp.int32(0),
                     jnp.int32(1))
    return lax.while_loop(goes_on, step, start)


def report(end: Progress, hess_inv) -> OptimizeResults:
    status = jnp.where(end.converged, 0, jnp.where(end.failed, 3, 1))
    return OptimizeResults(end.x, end.converged & ~end.failed, status, end.value, end.gradient, hess_inv,
                           end.evaluations, end.evaluations, end.steps)

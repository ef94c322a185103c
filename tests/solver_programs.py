"""jaxopt's solvers and blackjax's samplers on small problems -> a file of results: `solver_programs.py jax|tracejit OUT.npz`."""
from __future__ import annotations

import importlib
import sys
import traceback

import numpy as np

if sys.argv[1] == "tracejit":
    import tracejit
    tracejit.install_as_jax()

import jax
import jax.numpy as jnp

RNG = np.random.default_rng(0)
X, W = jnp.asarray(RNG.normal(size=(30, 4)).astype("float32")), jnp.asarray(RNG.normal(size=4).astype("float32"))
Y = X @ W + 0.1 * jnp.asarray(RNG.normal(size=30).astype("float32"))
START = jnp.zeros(4)


def jaxopt_programs(jaxopt) -> dict:
    squares = jaxopt.objective.least_squares

    def plain(name: str, **options):
        return lambda: getattr(jaxopt, name)(fun=squares, **options).run(START, data=(X, Y)).params

    def through_the_solution(penalty):
        fun = lambda w, l: jnp.mean((X @ w - Y) ** 2) + l * jnp.sum(w**2)
        return jnp.sum(jaxopt.LBFGS(fun=fun, maxiter=50).run(START, penalty).params ** 2)
    matrix = X.T @ X + jnp.eye(4)
    solvers = ("solve_lu", "solve_cholesky", "solve_cg", "solve_gmres", "solve_bicgstab", "solve_normal_cg", "solve_qr")
    return {
        "gradient_descent": plain("GradientDescent", maxiter=50), "lbfgs": plain("LBFGS", maxiter=30),
        "bfgs": plain("BFGS", maxiter=30), "nonlinear_cg": plain("NonlinearCG", maxiter=30),
        "polyak": plain("PolyakSGD", maxiter=20), "implicit": lambda: jax.grad(through_the_solution)(0.5),
        "lasso": lambda: jaxopt.ProximalGradient(fun=squares, prox=jaxopt.prox.prox_lasso, maxiter=100).run(
            START, 0.3, (X, Y)).params,
        "simplex": lambda: jaxopt.ProjectedGradient(fun=squares, projection=jaxopt.projection.projection_simplex, maxiter=60).run(
            jnp.ones(4) / 4, None, (X, Y)).params,
        "box": lambda: jaxopt.LBFGSB(fun=squares, maxiter=40).run(START, (jnp.full(4, -0.2), jnp.full(4, 0.4)), (X, Y)).params,
        "blocks": lambda: jaxopt.BlockCoordinateDescent(fun=squares, block_prox=jaxopt.prox.prox_lasso, maxiter=50).run(
            START, 0.2, (X, Y)).params,
        "levenberg": lambda: jaxopt.LevenbergMarquardt(residual_fun=lambda w: X @ w - Y, maxiter=20).run(START).params,
        "gauss_newton": lambda: jaxopt.GaussNewton(
            residual_fun=lambda w: jnp.tanh(X @ w) - jnp.tanh(Y), maxiter=20).run(START).params,
        "osqp": lambda: jaxopt.OSQP().run(params_obj=(matrix, W), params_ineq=(jnp.eye(4), jnp.ones(4))).params.primal,
        "bisection": lambda: jaxopt.Bisection(optimality_fun=lambda x, a: x**3 - x - a, lower=0.0, upper=3.0).run(a=2.0).params,
        "fixed_point": lambda: jaxopt.FixedPointIteration(
            fixed_point_fun=lambda x, t: jnp.cos(x) * t, maxiter=100, tol=1e-6).run(jnp.array(0.5), 0.9).params,
        "anderson": lambda: jaxopt.AndersonAcceleration(
            fixed_point_fun=lambda x, t: jnp.cos(x) * t, maxiter=50, tol=1e-6).run(jnp.array([0.5, 0.2]), 0.9).params,
        "broyden": lambda: jaxopt.Broyden(fun=lambda x: jnp.sin(x) - 0.3 * x + 0.1, maxiter=50).run(jnp.array([2.0, 2.5])).params,
        "linear": lambda: [getattr(jaxopt.linear_solve, name)(lambda v: matrix @ v, W) for name in solvers]}


def blackjax_programs(blackjax) -> dict:
    start = {"a": jnp.zeros(2), "b": jnp.array(0.0)}

    def log_density(at):
        return -0.5 * jnp.sum(((at["a"] - 1.0) / jnp.array([1.0, 0.5])) ** 2) - 0.5 * at["b"] ** 2

    def chain(sampler, n: int = 40):
        def body(state, key):
            state, _ = sampler.step(key, state)
            return state, state.position
        return jax.lax.scan(body, sampler.init(start), jax.random.split(jax.random.key(1), n))[1]

    def adapted():
        warm = blackjax.window_adaptation(blackjax.nuts, log_density)
        (_, found), _ = warm.run(jax.random.key(3), start, num_steps=60)
        return found["step_size"], found["inverse_mass_matrix"]
    mass = dict(inverse_mass_matrix=jnp.ones(3))
    walk = blackjax.mcmc.random_walk.normal(jnp.ones(3) * 0.5)
    return {"nuts": lambda: chain(blackjax.nuts(log_density, step_size=0.4, **mass)),
            "hmc": lambda: chain(blackjax.hmc(log_density, step_size=0.3, num_integration_steps=8, **mass)),
            "mala": lambda: chain(blackjax.mala(log_density, step_size=0.1)),
            "random_walk": lambda: chain(blackjax.additive_step_random_walk(log_density, walk)),
            "window_adaptation": adapted}


def main() -> None:
    made = {"jaxopt": jaxopt_programs, "blackjax": blackjax_programs}[sys.argv[3]](importlib.import_module(sys.argv[3]))
    out = {}
    for name, program in made.items():
        try:
            out.update({f"{name}#{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(program()))})
        except Exception:
            out[f"{name}#error"] = np.array(traceback.format_exc(limit=-5))
    np.savez(sys.argv[2], **out)


if __name__ == "__main__":
    main()

"""Every optimiser and loss of optax on one problem -> a file of their results: `optax_programs.py jax|tracejit OUT.npz`."""
from __future__ import annotations

import sys
import traceback

import numpy as np

if sys.argv[1] == "tracejit":
    import tracejit
    tracejit.install_as_jax()

import jax
import jax.numpy as jnp
import optax

RATE = dict(learning_rate=0.02)
KEY = jax.random.PRNGKey(7)
OPTIMISERS = {name: RATE for name in """adabelief adadelta adan adagrad adafactor adam adamax adamaxw adamw amsgrad fromage lamb lars lion
    nadam nadamw noisy_sgd novograd optimistic_gradient_descent optimistic_adam optimistic_adam_v2 rmsprop radam rprop
    sgd sign_sgd signum sm3 yogi muon""".split()}
OPTIMISERS |= {"polyak_sgd": {}, "noisy_sgd": RATE | dict(key=7), "lbfgs": {},
               "rmsprop": RATE | dict(centered=True, momentum=0.9), "sgd": RATE | dict(momentum=0.9, nesterov=True)}
CONTRIB = {"ademamix": RATE, "simplified_ademamix": RATE, "cocob": {}, "dadapt_adamw": {}, "dog": {}, "dowg": {},
           "galore": RATE, "momo": RATE, "momo_adam": RATE, "muon": RATE, "prodigy": {},
           "schedule_free_sgd": RATE, "schedule_free_adamw": RATE, "ano": RATE, "adopt": RATE, "acprop": RATE, "madgrad": RATE}
TRANSFORMS = {
    "add_decayed_weights": (0.1,), "add_noise": (0.01, 0.55, 3), "adaptive_grad_clip": (0.1,), "apply_every": (2,),
    "centralize": (), "clip": (0.1,), "clip_by_block_rms": (0.1,), "clip_by_global_norm": (0.1,), "ema": (0.9,),
    "identity": (), "keep_params_nonnegative": (), "normalize_by_update_norm": (), "scale": (0.3,), "trace": (0.9,),
    "scale_by_param_block_norm": (), "scale_by_param_block_rms": (), "scale_by_rss": (), "scale_by_stddev": (),
    "scale_by_trust_ratio": (), "zero_nans": (), "set_to_zero": (), "scale_by_backtracking_linesearch": (3,),
    "scale_by_zoom_linesearch": (8,)}
SCHEDULES = {
    "constant_schedule": (0.1,), "cosine_decay_schedule": (0.1, 20), "cosine_onecycle_schedule": (20, 0.1),
    "exponential_decay": (0.1, 5, 0.7), "linear_onecycle_schedule": (20, 0.1), "linear_schedule": (0.1, 0.0, 9),
    "piecewise_constant_schedule": (0.1, {3: 0.5, 8: 0.1}), "polynomial_schedule": (0.1, 0.0, 2, 15),
    "warmup_constant_schedule": (0.0, 0.1, 5), "warmup_cosine_decay_schedule": (0.0, 0.1, 5, 20),
    "warmup_exponential_decay_schedule": (0.0, 0.1, 5, 4, 0.5)}


def make_problem() -> tuple:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(16, 6)).astype("float32"), rng.normal(size=(6, 3)).astype("float32")
    params = {"w": jnp.asarray(rng.normal(size=(6, 3)).astype("float32")), "b": jnp.zeros(3) + 0.1}
    y = jnp.asarray(np.tanh(x @ w))
    return params, lambda p: jnp.mean((jnp.tanh(x @ p["w"] + p["b"]) - y) ** 2) + 0.01 * jnp.sum(p["b"] ** 2)


def named(made: optax.GradientTransformation, name: str) -> bool:
    return made.update.__qualname__.startswith(name + ".")


def train(made: optax.GradientTransformation, steps: int = 6, **extra: object) -> list:
    params, loss = make_problem()

    takes_more = isinstance(made, optax.GradientTransformationExtraArgs) and not named(made, "sam")

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        told = dict(value=value, grad=grad, value_fn=loss, **extra) if takes_more else {}
        updates, state = made.update(grad, state, params, **told)
        return optax.apply_updates(params, updates), state, value
    state, values = made.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        values.append(value)
    return [jnp.stack(values), params]


def losses() -> dict:
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.normal(size=(4, 5)).astype("float32")) for _ in range(2))
    p, sign, index = jax.nn.softmax(b), jnp.sign(b), jnp.array([0, 2, 4, 1])
    mask = jnp.asarray(rng.random((4, 5)) > 0.7)
    t, u = jnp.stack([a] * 3, 1)[:, :, :], jnp.array([[1, 2, 3], [2, 2, 0], [4, 0, 0], [1, 4, 2]])
    pad = jnp.zeros((4, 3)), jnp.asarray(np.float32([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]]))
    real = {"squared_error": (a, b), "l2_loss": (a, b), "huber_loss": (a, b), "log_cosh": (a, b),
            "cosine_similarity": (a, b), "cosine_distance": (a, b), "sigmoid_binary_cross_entropy": (a, p),
            "hinge_loss": (a, sign), "perceptron_loss": (a, sign), "softmax_cross_entropy": (a, p),
            "softmax_cross_entropy_with_integer_labels": (a, index), "safe_softmax_cross_entropy": (a, p),
            "convex_kl_divergence": (jax.nn.log_softmax(a), p), "kl_divergence": (jax.nn.log_softmax(a), p),
            "kl_divergence_with_log_targets": (jax.nn.log_softmax(a), jnp.log(p)), "poly_loss_cross_entropy": (a, p),
            "sigmoid_focal_loss": (a, (p > 0.2) * 1.0), "multiclass_hinge_loss": (a, index),
            "multiclass_perceptron_loss": (a, index), "multiclass_logistic_loss": (a, index),
            "multiclass_sparsemax_loss": (a, index), "sparsemax_loss": (a, mask), "ranking_softmax_loss": (a, p),
            "smooth_labels": (p, 0.1), "ctc_loss": (t, pad[0], u, pad[1]), "ntxent": (a, index % 2),
            "triplet_margin_loss": (a, b, p), "squared_hinge_loss": (a, sign), "binary_dice_loss": (a, (p > 0.2) * 1.0),
            "dice_loss": (a, p), "generalized_kl_divergence": (jax.nn.log_softmax(a), p), "multiclass_generalized_dice_loss": (a, p),
            "make_fenchel_young_loss": ()}
    found = {}
    for name, args in real.items():
        f = getattr(optax, name, None) or getattr(optax.losses, name, None)
        if name == "make_fenchel_young_loss":
            f, args = f(max_fun=jax.nn.logsumexp), (a[0], p[0])
        if f is not None:
            found["loss." + name] = lambda f=f, args=args: (jax.jit(f)(*args), jax.grad(
                lambda *xs: jnp.sum(jnp.sin(f(*xs))))(*args))
    return found


def others() -> dict:
    params, loss = make_problem()
    tree = {"sum": optax.tree.sum, "norm": optax.tree.norm, "scale": lambda t: optax.tree.scale(2.0, t),
            "random": lambda t: optax.tree.random_like(KEY, t), "ones": optax.tree.ones_like}
    found = {f"tree.{name}": lambda f=f: f(params) for name, f in tree.items()}
    wrapped = {"masked": lambda: optax.masked(optax.adam(0.1), {"w": True, "b": False}),
               "multi_steps": lambda: optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
               "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(0.1), 3),
               "flatten": lambda: optax.flatten(optax.adam(0.1)), "lookahead_free": lambda: optax.chain(
                   optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale(-0.1)),
               "inject": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(0.1, 0.0, 5)),
               "partition": lambda: optax.partition({"a": optax.adam(0.1), "s": optax.sgd(0.1)}, {"w": "a", "b": "s"}),
               "mechanize": lambda: optax.contrib.mechanize(optax.sgd(0.1)),
               "lookahead_schedule": lambda: optax.sgd(optax.sgdr_schedule([dict(
                   init_value=0.1, peak_value=0.2, warmup_steps=2, decay_steps=9, end_value=0.0)] * 2)),
               "skip": lambda: optax.conditionally_transform(optax.scale(0.5), lambda step: step % 2 == 0),
               "plateau": lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
               "sam": lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05), sync_period=2)}
    found |= {f"wrapper.{name}": lambda f=f: train(f()) for name, f in wrapped.items()}
    found["projections"] = lambda: [
        optax.projections.projection_simplex(params["b"] * jnp.arange(3.0)), optax.projections.projection_l1_ball(params["w"][:, 0]),
        optax.projections.projection_l2_ball(params["w"]), optax.projections.projection_hypercube(params["w"])]
    found["hessian_diagonal"] = lambda: optax.second_order.hessian_diag(
        lambda p, x, y: jnp.sum(p["w"] ** 3 * x) * y, params, jnp.ones(()), jnp.ones(()))
    found["power_iteration"] = lambda: optax.power_iteration(jnp.asarray(params["w"].T @ params["w"]))[0]
    return found


def programs() -> dict:
    found = {f"optimiser.{n}": lambda n=n, k=k: train(getattr(optax, n)(**k)) for n, k in OPTIMISERS.items() if hasattr(optax, n)}
    found |= {f"contrib.{n}": lambda n=n, k=k: train(getattr(optax.contrib, n)(**k)) for n, k in CONTRIB.items()
              if hasattr(optax.contrib, n)}
    found["contrib.sophia"] = lambda: train(optax.contrib.sophia(**RATE), obj_fn=make_problem()[1])
    found |= {f"transform.{n}": lambda n=n, a=a: train(optax.chain(getattr(optax, n)(*a), optax.scale(-0.1)))
              for n, a in TRANSFORMS.items() if hasattr(optax, n)}
    found |= {f"schedule.{n}": lambda n=n, a=a: jax.vmap(getattr(optax, n)(*a))(jnp.arange(25)) for n, a in SCHEDULES.items()}
    return found | losses() | others()


def main() -> None:
    out = {}
    for name, program in programs().items():
        if len(sys.argv) > 3 and sys.argv[3] not in name:
            continue
        try:
            out.update({f"{name}#{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(program()))})
        except Exception:
            out[f"{name}#error"] = np.array(traceback.format_exc(limit=-5))
    np.savez(sys.argv[2], **out)


if __name__ == "__main__":
    main()

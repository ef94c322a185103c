"""y_t = (y_{t-1} + x_t) * w: a Python loop while running eagerly, lax.scan where it is compiled."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax


def with_loop(y, xs, w):
    ys = []
    for x in xs:
        y = (y + x) * w
        ys.append(y)
    return jnp.stack(ys)


@tj.jit
def with_scan(y, xs, w):
    def step(y, x):
        y = (y + x) * w
        return y, y
    return lax.scan(step, y, xs)[1]


def gradients(function, *args):
    return [np.asarray(g) for g in tj.grad(lambda *a: jnp.sum(function(*a) ** 2), argnums=(0, 1, 2))(*args)]


def run(steps, *shape):
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(s).astype(np.float32) for s in (shape, (steps, *shape), shape[-1:])]
    return {"args": args, "loop": np.asarray(with_loop(*args)), "scan": np.asarray(with_scan(*args)),
            "grad_loop": gradients(with_loop, *args), "grad_scan": gradients(with_scan, *args)}


def main():
    return {"vector": run(3, 4), "batch": run(3, 5, 4)}


if __name__ == "__main__":
    print(main()["vector"]["scan"])

"""y = x @ w1 if z > 0 else x @ w2: a Python `if` while running eagerly, lax.cond where it is compiled."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

N, D, H = 3, 4, 5


def with_if(x, w1, w2, z):
    return x @ w1 if z > 0 else x @ w2


@tj.jit
def with_cond(x, w1, w2, z):
    return lax.cond(z > 0, lambda: x @ w1, lambda: x @ w2)


def gradients(function, *args):
    return tj.grad(lambda *a: jnp.sum(function(*a) ** 2), argnums=(0, 1, 2))(*args)


def main():
    rng = np.random.default_rng(0)
    x, w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, D), (D, H), (D, H)))
    args = {z: (x, w1, w2, np.float32(z)) for z in (10, -10)}
    return {"x": x, "w": {10: w1, -10: w2},
            "if": {z: np.asarray(with_if(*a)) for z, a in args.items()},
            "cond": {z: np.asarray(with_cond(*a)) for z, a in args.items()},
            "grad_if": {z: [np.asarray(g) for g in gradients(with_if, *a)] for z, a in args.items()},
            "grad_cond": {z: [np.asarray(g) for g in gradients(with_cond, *a)] for z, a in args.items()}}


if __name__ == "__main__":
    result = main()
    print(result["cond"][10], result["cond"][-10], sep="\n\n")

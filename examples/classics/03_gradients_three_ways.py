"""The gradient of c = sum(x * y + z): by hand in NumPy, by grad, and by vjp with an explicit cotangent."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp

SHAPE = (3, 4)


def by_hand(x, y, z):
    """Back-propagation written out, as without a framework."""
    a = x * y
    b = a + z
    c = np.sum(b)
    grad_c = 1.0
    grad_b = grad_c * np.ones_like(b)
    grad_a, grad_z = grad_b.copy(), grad_b.copy()
    return c, (grad_a * y, grad_a * x, grad_z)


def c(x, y, z):
    return jnp.sum(x * y + z)


def main():
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal(SHAPE).astype(np.float32) for _ in range(3))
    value, by_grad = tj.value_and_grad(c, argnums=(0, 1, 2))(x, y, z)
    _, pullback = tj.vjp(c, x, y, z)
    value_by_hand, hand = by_hand(x, y, z)
    return {"x": x, "y": y, "c": float(value), "c_by_hand": float(value_by_hand), "hand": hand,
            "grad": [np.asarray(g) for g in by_grad], "vjp": [np.asarray(g) for g in pullback(jnp.ones_like(value))]}


if __name__ == "__main__":
    result = main()
    print("c =", result["c"], "dx == y:", np.array_equal(result["grad"][0], result["y"]))

"""A two-layer net run line by line: every step calls grad anew on ordinary Python code (PyTorch's style)."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp

N, D_IN, H, D_OUT, RATE, STEPS = 64, 1000, 100, 10, 1e-6, 500


def data():
    rng = np.random.default_rng(0)
    shapes = ((N, D_IN), (N, D_OUT), (D_IN, H), (H, D_OUT))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def loss(weights, x, y):
    w1, w2 = weights
    prediction = jnp.maximum(x @ w1, 0) @ w2
    return jnp.sum((prediction - y) ** 2)


def by_hand(weights, x, y, steps):
    """The same losses with NumPy and the gradients worked out on paper."""
    w1, w2 = weights
    losses = []
    for _ in range(steps):
        h = np.maximum(x @ w1, 0)
        diff = h @ w2 - y
        losses.append(float(np.sum(diff**2)))
        d_h = 2 * diff @ w2.T * (h > 0)
        w1, w2 = w1 - RATE * (x.T @ d_h), w2 - RATE * (h.T @ (2 * diff))
    return losses


def main(steps=STEPS):
    x, y, *weights = data()
    hand = by_hand(weights, x, y, steps)
    losses = []
    for _ in range(steps):
        value, grads = tj.value_and_grad(loss)(weights, x, y)
        weights = [w - RATE * g for w, g in zip(weights, grads)]
        losses.append(float(value))
    return {"losses": losses, "by_hand": hand}


if __name__ == "__main__":
    print(*main()["losses"][::50], sep="\n")

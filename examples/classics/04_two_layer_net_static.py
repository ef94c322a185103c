"""A two-layer net in one compiled step that holds the loss, the gradients and both updates (TensorFlow 1's style)."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp

N, D, H, RATE, STEPS = 64, 1000, 100, 1e-5, 50


def data():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((N, D), (N, D), (D, H), (H, D))]


def loss(weights, x, y):
    w1, w2 = weights
    diff = jnp.maximum(x @ w1, 0) @ w2 - y
    return jnp.mean(jnp.sum(diff**2, axis=1))


@tj.jit
def train_step(weights, x, y):
    value, grads = tj.value_and_grad(loss)(weights, x, y)
    return value, tj.tree.map(lambda w, g: w - RATE * g, weights, grads)


def by_hand(weights, x, y):
    """The same losses with NumPy and the gradients worked out on paper."""
    w1, w2 = weights
    losses = []
    for _ in range(STEPS):
        h = np.maximum(x @ w1, 0)
        diff = h @ w2 - y
        losses.append(np.mean(np.sum(diff**2, axis=1)))
        d_out = 2 * diff / N
        d_h = (d_out @ w2.T) * (h > 0)
        w1, w2 = w1 - RATE * (x.T @ d_h), w2 - RATE * (h.T @ d_out)
    return losses


def main():
    x, y, *weights = data()
    hand = by_hand(weights, x, y)
    losses = []
    for _ in range(STEPS):
        value, weights = train_step(weights, x, y)
        losses.append(float(value))
    return {"losses": losses, "by_hand": [float(v) for v in hand]}


if __name__ == "__main__":
    print(*main()["losses"], sep="\n")

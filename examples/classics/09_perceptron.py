"""A perceptron with a step function, trained by its own rule, and with a sigmoid, trained by the gradient."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax


def points(n=200):
    """Two classes that a line separates, with a margin."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4 * n, 2)).astype(np.float32)
    side = x @ np.array([1.0, -2.0], np.float32) + 0.3
    keep = np.abs(side) > 0.2
    return x[keep][:n], (side[keep][:n] > 0).astype(np.float32)


def activation(w, x):
    return w[0] + x @ w[1:]


@tj.jit
def train_step_function(x, target):
    """Rosenblatt's rule: each wrong point pulls the weights towards itself; 100 passes."""
    def one_point(w, point):
        x, t = point
        wrong = t - (activation(w, x) > 0)
        return w + wrong * jnp.concatenate([jnp.ones(1), x]), None

    def one_pass(w, _):
        return lax.scan(one_point, w, (x, target))[0], None

    return lax.scan(one_pass, jnp.zeros(3), None, length=100)[0]


@tj.jit
def train_sigmoid(x, target):
    """Gradient descent on the cross-entropy of a sigmoid unit; 1,000 steps."""
    def loss(w):
        a = activation(w, x)
        return jnp.mean(jnp.logaddexp(0, a) - target * a)

    def step(w, _):
        value, slope = tj.value_and_grad(loss)(w)
        return w - 5.0 * slope, value

    return lax.scan(step, jnp.zeros(3), None, length=1000)


def main():
    x, target = points()
    accuracy = lambda w: float(np.mean((activation(np.asarray(w), x) > 0) == target))
    w_step = train_step_function(x, target)
    w_sigmoid, losses = train_sigmoid(x, target)
    return {"step": accuracy(w_step), "sigmoid": accuracy(w_sigmoid), "losses": np.asarray(losses).tolist()}


if __name__ == "__main__":
    result = main()
    print(f"accuracy: step {result['step']:.3f}, sigmoid {result['sigmoid']:.3f}")

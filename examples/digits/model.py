"""A small convolutional network for 8x8 digits, its loss, and Adam: plain functions on dictionaries of arrays."""
import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, random

CLASSES, DROPOUT, SMOOTHING = 10, 0.3, 0.05


def init_params(key):
    """He-normal weights: two 3x3 convolutions (1 -> 16 -> 32 channels), a dense layer and the read-out."""
    shapes = {"conv1": (3, 3, 1, 16), "conv2": (3, 3, 16, 32), "dense": (4 * 4 * 32, 64), "out": (64, CLASSES)}
    keys = random.split(key, len(shapes))
    return {name: {"w": random.normal(k, shape) * jnp.sqrt(2 / jnp.prod(jnp.array(shape[:-1]))),
                   "b": jnp.zeros(shape[-1])}
            for k, (name, shape) in zip(keys, shapes.items())}


def conv(layer, x):
    """Same-size convolution: x is (batch, height, width, channels)."""
    y = lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + layer["b"]


def max_pool(x):
    """The largest of each 2x2 block, which halves height and width."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dense(layer, x):
    return x @ layer["w"] + layer["b"]


def dropout(key, x):
    kept = random.bernoulli(key, 1 - DROPOUT, x.shape)
    return jnp.where(kept, x / (1 - DROPOUT), 0)


def logits_of(params, images, key=None):
    """Scores of the classes, (batch, 10); dropout is on where a key is given."""
    x = jnp.maximum(conv(params["conv1"], images), 0)
    x = max_pool(jnp.maximum(conv(params["conv2"], x), 0))
    x = jnp.maximum(dense(params["dense"], x.reshape(x.shape[0], -1)), 0)
    return dense(params["out"], x if key is None else dropout(key, x))


def example_loss(logits, label):
    """Cross-entropy of one example against a label with a little of its weight spread over all classes."""
    shifted = logits - jnp.max(logits)
    log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted)))
    return -(1 - SMOOTHING) * log_p[label] - SMOOTHING * jnp.mean(log_p)


def loss(params, images, labels, key=None):
    return jnp.mean(tj.vmap(example_loss)(logits_of(params, images, key), labels))


def init_adam(params):
    def zeros():  # one set each: what is donated must not be donated twice
        return tj.tree.map(jnp.zeros_like, params)
    return {"step": jnp.zeros(()), "mean": zeros(), "square": zeros()}


def adam(params, grads, state, rate, b1=0.9, b2=0.999, eps=1e-8):
    """One step of Adam (Kingma and Ba, 2015), leaf by leaf with tree.map."""
    step = state["step"] + 1
    mean = tj.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state["mean"], grads)
    square = tj.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state["square"], grads)

    def update(p, m, v):
        return p - rate * (m / (1 - b1**step)) / (jnp.sqrt(v / (1 - b2**step)) + eps)

    return tj.tree.map(update, params, mean, square), {"step": step, "mean": mean, "square": square}
